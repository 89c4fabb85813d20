package configs

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// examples are the files that people start from.
func examples(t *testing.T) []string {
	t.Helper()
	all, err := filepath.Glob("*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 4 {
		t.Fatalf("there are %d examples", len(all))
	}
	return all
}

func TestExamplesHaveNoMistakes(t *testing.T) {
	t.Parallel()
	for _, name := range append(examples(t), "testdata/good.yaml") {
		c, mistakes := Load(name, SkipFiles)
		for _, m := range mistakes {
			t.Error(m)
		}
		if c == nil || len(c.Services) == 0 {
			t.Errorf("%s has no services", name)
		}
		if first, _, _ := strings.Cut(string(source(t, name)), "\n"); !strings.HasPrefix(name, "testdata") && first != "# yaml-language-server: $schema="+schemaFile {
			t.Errorf("%s does not name its schema in the first line", name)
		}
	}
}

func TestSmallestExampleHasTenLines(t *testing.T) {
	t.Parallel()
	if n := bytes.Count(source(t, "minimal.yaml"), []byte("\n")); n > 10 {
		t.Errorf("minimal.yaml has %d lines", n)
	}
}

// The example of the contract is read whole; what it names and is not built is
// refused, and so are the roles that it uses and does not define.
func TestContractExampleDecodes(t *testing.T) {
	t.Parallel()
	_, mistakes := Load("testdata/contract.yaml", SkipFiles)
	want := []string{
		"testdata/contract.yaml:32:5: scopes of attribute values, and from-metadata, are not built yet — remove the line; drop foreign values with an expression in attributes",
		`testdata/contract.yaml:39:26: there is no role "finance-lead" — add it under roles`,
		`testdata/contract.yaml:61:22: there is no role "sales" — add it under roles`,
		`testdata/contract.yaml:73:19: there is no role "gatehouse-admin" — add it under roles`,
	}
	if d := cmp.Diff(want, lines(mistakes)); d != "" {
		t.Error(d)
	}
}

// Z02, R13: each of these files is good.yaml with something wrong in it, and
// below it, after "# want ", what is said about it. -update writes those lines.
func TestR13_BrokenFilesAreRefusedWithPlaceAndCure(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/broken/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 60 {
		t.Fatalf("there are %d broken files", len(files))
	}
	for _, name := range files {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".yaml"), func(t *testing.T) {
			t.Parallel()
			var src, want []string
			for line := range strings.Lines(string(source(t, name))) {
				if w, ok := strings.CutPrefix(line, "# want "); ok {
					want = append(want, strings.TrimSuffix(w, "\n"))
				} else {
					src = append(src, line)
				}
			}
			_, mistakes := Parse("x", []byte(strings.Join(src, "")), SkipFiles)
			var got []string
			for _, m := range mistakes {
				if m.Line < 1 || m.Col < 1 || m.What == "" || m.Cure == "" {
					t.Errorf("no place, no reason or no cure: %+v", m)
				}
				if strings.Contains(m.String(), "hunter2") {
					t.Errorf("a secret is shown: %s", m)
				}
				got = append(got, strings.TrimPrefix(m.String(), "x:"))
			}
			if len(got) == 0 {
				t.Error("accepted")
			}
			if *update {
				text := strings.Join(src, "") + "# want " + strings.Join(got, "\n# want ") + "\n"
				if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

func source(t *testing.T, name string) []byte {
	t.Helper()
	src, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return src
}

func lines(ms []Mistake) []string {
	var all []string
	for _, m := range ms {
		all = append(all, m.String())
	}
	return all
}

func TestDefaultsAreThoseOfTheTags(t *testing.T) {
	t.Parallel()
	c, mistakes := Load("testdata/good.yaml", SkipFiles)
	if len(mistakes) > 0 {
		t.Fatal(mistakes)
	}
	p, s, target := c.IdentityProviders[0], c.Services[0], c.Targets[0]
	for what, ok := range map[string]bool{
		"session.idle":          c.Session.Idle == 30*time.Minute,
		"session.lifetime":      c.Session.Lifetime == 8*time.Hour,
		"session.same_site":     c.Session.SameSite == "lax",
		"server.listen":         c.Server.Listen == ":443",
		"server.admin_listen":   c.Server.AdminListen == "127.0.0.1:9090",
		"limits.header_size":    c.Limits.HeaderSize == 32<<10,
		"provisioning.timeout":  p.Provisioning.Timeout == 5*time.Second,
		"provisioning.failure":  p.Provisioning.OnFailure == "deny",
		"absent":                p.Absent == "replace",
		"groups_overage":        p.OIDC.GroupsOverage == "refuse",
		"services.websocket":    s.Websocket,
		"services.path":         s.Path == "/",
		"services.headers":      s.Headers.Preset == "default",
		"targets.leave":         target.Leave == "disable",
		"targets.scim2.timeout": target.SCIM2.Timeout == 10*time.Second,
		"store":                 c.Store.Bolt() == filepath.Join("testdata", "gatehouse.db"),
	} {
		if !ok {
			t.Errorf("%s has another default", what)
		}
	}
	off := strings.Replace(string(source(t, "testdata/good.yaml")), "release: [mail]", "release: [mail]\n    websocket: false\n    headers: { X-Mail: mail }", 1)
	c, mistakes = Parse("x", []byte(off), SkipFiles)
	if len(mistakes) > 0 || c.Services[0].Websocket || c.Services[0].Headers.Preset != "none" {
		t.Errorf("a default overrules what is written: %v %+v", mistakes, c.Services[0])
	}
	bare, mistakes := Load("minimal.yaml", SkipFiles)
	if len(mistakes) > 0 || len(bare.UserStores) != 1 || bare.UserStores[0].ID != "primary" {
		t.Errorf("without user_stores there is one: %v %v", mistakes, bare.UserStores)
	}
}

func TestPositionsLeadToWhatTheyName(t *testing.T) {
	t.Parallel()
	c, _ := Load("testdata/good.yaml", SkipFiles)
	for _, tt := range []struct {
		path []any
		want string
	}{
		{[]any{"services", 0, "host"}, "14:11"},
		{[]any{"services", 0, "access", 0}, "17:9"},
		{[]any{"services", 0, "access", 0, "allow", "roles", 0}, "17:41"},
		{[]any{"services", 0, "access", 0, "allow", "when"}, "17:31"}, // not written: what is around it
		{[]any{"services", 7}, "13:3"},
		{[]any{"identity_providers", 0, "attributes", "mail"}, "8:25"},
		{[]any{"session", "idle"}, ""},
	} {
		got := c.Pos(tt.path...)
		if want := strings.TrimSuffix("testdata/good.yaml:"+tt.want, ":"); got != want {
			t.Errorf("%v is at %s, not at %s", tt.path, got, want)
		}
		if m := At(got, "", ""); (Pos{m.File, m.Line, m.Col}).String() != got {
			t.Errorf("At(%s) is %v", got, m)
		}
	}
}

// What others find is added to what Load found, but not about a rule that Load
// itself found something in.
func TestMergeSaysNothingTwice(t *testing.T) {
	t.Parallel()
	text := strings.Replace(string(source(t, "testdata/good.yaml")), "{ id: finance, allow: { roles: [finance] } }",
		"{ id: a, allow: { roles: [finanse] } }\n      - { id: b, allow: { when: 'usr.id' } }", 1)
	c, mistakes := Parse("x", []byte(text), SkipFiles)
	if len(mistakes) != 1 {
		t.Fatal(mistakes)
	}
	others := []Mistake{
		At(c.Pos("services", 0, "access", 0), "the role is not known", ""),
		At(c.Pos("services", 0, "access", 1), "usr is not known", ""),
	}
	want := []string{`x:17:35: there is no role "finanse" — did you mean "finance"?`, "x:18:9: usr is not known"}
	if d := cmp.Diff(want, lines(c.Merge(mistakes, others))); d != "" {
		t.Error(d)
	}
}

func TestSurprisesAreToldAndStopNothing(t *testing.T) {
	t.Parallel()
	c, mistakes := Load("testdata/surprising.yaml", SkipFiles)
	if len(mistakes) > 0 {
		t.Fatal(mistakes)
	}
	current(t, "testdata/surprising.want", []byte(strings.Join(lines(c.Surprises()), "\n")+"\n"))

	plain := strings.Replace(string(source(t, "testdata/good.yaml")), "{ public_url", "{ trusted_proxies: [10.0.0.2], public_url", 1)
	if c, mistakes = Parse("x", []byte(plain), SkipFiles); len(mistakes)+len(c.Surprises()) > 0 {
		t.Errorf("surprising in a plain file: %v %v", mistakes, c.Surprises())
	}
}

// Who may publish a release, and who decides about requests, is said as it is: those
// whom the file names, else administrators, else who is on the machine.
func TestWhoMayDoWhatIsMissingIsNamed(t *testing.T) {
	t.Parallel()
	for what, c := range map[string]struct {
		admins, approvers, owners string
		learns, approves          string // empty: nothing is said
	}{
		"nobody is named":      {learns: "until somebody on this machine publishes something", approves: "only somebody on this machine can approve"},
		"an administrator":     {admins: "users: [carol]", learns: "until an administrator publishes something", approves: "only an administrator can approve"},
		"a release editor":     {admins: "users: [carol], release_editors: { users: [dave] }", learns: "until a release editor publishes something", approves: "only an administrator can approve"},
		"an approver for all":  {admins: "approvers: { users: [dave] }", learns: "until somebody on this machine publishes something"},
		"an approver":          {admins: "users: [carol]", approvers: ", approvers: { groups: [leads] }", learns: "until an administrator publishes something"},
		"owners":               {admins: "users: [carol]", owners: ", owners: { users: [dave] }", learns: "until an administrator publishes something", approves: "only an administrator can approve"},
		"owners who may do so": {admins: "users: [carol]", owners: ", owners: { users: [dave] }, owners_approve: true", learns: "until an administrator publishes something"},
	} {
		if c.admins != "" {
			c.admins = "admins: { " + c.admins + " }"
		}
		src := fmt.Sprintf(`version: 1
server: { public_url: https://gate.example, tls: proxy, trusted_proxies: [10.0.0.2] }
store: bolt:./x.db
identity_providers: [ { id: campus, oidc: { issuer: https://idp.example, client_id: a, client_secret: { file: campus } } } ]
roles: [ { id: finance, title: Finance, from: { groups: [fin] }%s } ]
services: [ { id: wiki, host: wiki.example, upstream: "http://10.0.0.7", access: [ { id: all, allow: { signed_in: true } } ], denied: { request: finance }%s } ]
%s
`, c.approvers, c.owners, c.admins)
		cfg, mistakes := Parse("x", []byte(src), SkipFiles)
		if len(mistakes) > 0 {
			t.Errorf("%s: %v", what, mistakes)
			continue
		}
		said := strings.Join(lines(cfg.Surprises()), "\n")
		if !strings.Contains(said, "wiki learns nothing about people "+c.learns+" —") {
			t.Errorf("%s: not said: %q in\n%s", what, c.learns, said)
		}
		if got := strings.Contains(said, "can approve"); got != (c.approves != "") || !strings.Contains(said, c.approves) {
			t.Errorf("%s: not said: %q in\n%s", what, c.approves, said)
		}
	}
}

func TestFilesThatAreNoConfigurationAreRefused(t *testing.T) {
	t.Parallel()
	good := source(t, "testdata/good.yaml")
	for name, src := range map[string][]byte{
		"larger than 1 MiB": append(bytes.Repeat([]byte("# comment\n"), MaxSize/10+1), good...),
		"not UTF-8":         append([]byte("# \xff\n"), good...),
		"nested too deep":   bytes.Repeat([]byte("[\n"), MaxSize/2),
		"too deep":          bytes.Repeat([]byte("- "), 4000),
		"nested":            bytes.Repeat([]byte("{a:\n"), MaxSize/4),
		"deep":              bytes.Repeat([]byte("? "), 4000),
		"more than 4096":    bytes.Repeat([]byte("a: 1\n"), MaxSize/5),
		"longer than 64":    append([]byte("store: "), bytes.Repeat([]byte("{}"), 64<<10)...),
	} {
		c, mistakes := Parse("x", src, SkipFiles)
		if c != nil || len(mistakes) != 1 || !strings.Contains(mistakes[0].What, name) {
			t.Errorf("%s: %v", name, mistakes)
		}
	}
	if c, mistakes := Load(filepath.Join(t.TempDir(), "none.yaml")); c != nil || len(mistakes) != 1 || !strings.Contains(mistakes[0].String(), "no such file") {
		t.Errorf("a file that is not there: %v", mistakes)
	}
	if c, mistakes := Load(t.TempDir()); c != nil || len(mistakes) != 1 {
		t.Errorf("a folder: %v", mistakes)
	}
}

// A file full of nonsense is answered in a bounded number of lines.
func TestMistakesAreBounded(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&b, "nonsense%d: 1\n", i)
	}
	_, mistakes := Parse("x", []byte(b.String()), SkipFiles)
	if n := len(mistakes); n != maxMistakes+1 || !strings.Contains(mistakes[n-1].What, "more mistakes") {
		t.Errorf("%d mistakes, the last: %v", n, mistakes[n-1])
	}
}

func TestFilesThatAreNamedMustBeThere(t *testing.T) {
	t.Parallel()
	text := strings.Replace(string(source(t, "testdata/good.yaml")), "{ public_url: https://gate.uni.example }",
		"{ public_url: https://gate.uni.example, tls: { cert: gate.crt, key: gate.key } }", 1)
	_, mistakes := Parse(filepath.Join(t.TempDir(), "x"), []byte(text))
	n := 0
	for _, m := range mistakes {
		if m.Line == 2 && strings.Contains(m.What, "no such file") {
			n++
		}
	}
	if n != 2 {
		t.Errorf("the certificate and its key are not there: %v", mistakes)
	}
}

func FuzzConfig(f *testing.F) {
	files, _ := filepath.Glob("testdata/broken/*.yaml")
	more, _ := filepath.Glob("*.yaml")
	for _, name := range append(append(files, more...), "testdata/contract.yaml", "testdata/good.yaml", "testdata/surprising.yaml") {
		src, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(src)
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		c, mistakes := Parse("x", src, SkipFiles)
		if c == nil && len(mistakes) == 0 {
			t.Fatal("neither a configuration nor a mistake")
		}
		end := bytes.Count(src, []byte("\n")) + bytes.Count(src, []byte("\r")) + 2
		for _, m := range mistakes {
			if m.Line < 1 || m.Line > end || m.Col < 1 || m.What == "" || m.Cure == "" {
				t.Errorf("no place, no reason or no cure: %+v", m)
			}
		}
		_, again := Parse("x", src, SkipFiles)
		if d := cmp.Diff(lines(mistakes), lines(again)); d != "" {
			t.Errorf("two readings differ: %s", d)
		}
		if c == nil || len(mistakes) > 0 {
			return
		}
		if found := c.check(); len(found) > 0 {
			t.Errorf("accepted, and then not: %v", found)
		}
		for _, s := range c.Services {
			if s.ID == "" || s.Host == "" || len(s.Upstream) == 0 || s.Upstream[0] == "" {
				t.Errorf("accepted without what is required: %+v", s)
			}
			for _, r := range s.Access {
				if (r.Allow == nil) == (r.Deny == nil) {
					t.Errorf("a rule that neither allows nor denies, or both: %+v", r)
				}
			}
		}
		c.Surprises()
	})
}
