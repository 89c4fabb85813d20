package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"go/ast"
	"go/constant"
	"go/parser"
	"go/printer"
	gotoken "go/token"
	"io/fs"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/gatehouse-sso/gatehouse/cmd/gatehouse/porttest"
	"github.com/gatehouse-sso/gatehouse/configs"
	"github.com/gatehouse-sso/gatehouse/gateway"
	"github.com/gatehouse-sso/gatehouse/provisioning/audit"
	"github.com/gatehouse-sso/gatehouse/web"
)

// The documents are part of the program: what can be made from the code is made
// from it, between two markers of a page, and what a reader is told to type is
// typed here.

var update = flag.Bool("update", false, "write what is made from the code into docs/")

// repository is where the documents are, seen from this package.
const repository = "../.."

// readDoc is a file of the repository.
func readDoc(t *testing.T, name string) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(repository, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// made compares what stands between the markers of a page with what the code
// says, or puts it there.
func made(t *testing.T, page, what string) {
	t.Helper()
	const begin, end = "<!-- made from the code by `make docs` -->\n", "<!-- end of what is made -->\n"
	text := readDoc(t, page)
	head, rest, ok := strings.Cut(text, begin)
	got, tail, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no place for what is made from the code", page)
	}
	want := "\n" + strings.TrimSpace(what) + "\n\n"
	if got == want {
		return
	}
	if !*update {
		t.Errorf("%s is not what the code says; run make docs\n%s", page, cmp.Diff(want, got))
		return
	}
	if err := os.WriteFile(filepath.Join(repository, page), []byte(head+begin+want+end+tail), 0o644); err != nil {
		t.Fatal(err)
	}
}

// documents are the pages that people read, by their path in the repository.
func documents(t *testing.T) map[string]string {
	t.Helper()
	pages := map[string]string{}
	add := func(path string, d fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, ".md") {
			pages[path] = readDoc(t, path)
		}
		return err
	}
	if err := fs.WalkDir(os.DirFS(repository), "docs", add); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"README.md", "CONTRIBUTING.md", "SECURITY.md"} {
		pages[name] = readDoc(t, name)
	}
	return pages
}

// A fence is a block of code in a page.
type fence struct {
	kind string // what follows the backticks: yaml, console, …
	body string
	line int
}

func fences(page string) (list []fence) {
	var open *fence
	for i, line := range strings.Split(page, "\n") {
		mark := strings.HasPrefix(line, "```")
		switch {
		case mark && open == nil:
			open = &fence{kind: strings.TrimSpace(line[3:]), line: i + 1}
		case mark:
			list, open = append(list, *open), nil
		case open != nil:
			open.body += line + "\n"
		}
	}
	return list
}

// prose is a page without its blocks of code and code in lines.
func prose(page string) string {
	var out []string
	in := false
	for line := range strings.SplitSeq(page, "\n") {
		if strings.HasPrefix(line, "```") {
			in = !in
			line = ""
		}
		if in {
			line = ""
		}
		out = append(out, line)
	}
	return codeSpan.ReplaceAllString(strings.Join(out, "\n"), "code")
}

var codeSpan = regexp.MustCompile("`[^`\n]*`")

// Links and words.

var mdLink = regexp.MustCompile(`\]\(([^)\s]+)\)`)

func TestDocsLinksLeadSomewhere(t *testing.T) {
	t.Parallel()
	pages, anchors := documents(t), map[string][]string{}
	for name, page := range pages {
		anchors[name] = anchorsOf(page)
	}
	checked := 0
	for name, page := range pages {
		for _, m := range mdLink.FindAllStringSubmatch(prose(page), -1) {
			to := m[1]
			if strings.Contains(to, "://") || strings.HasPrefix(to, "mailto:") {
				continue
			}
			checked++
			file, anchor, _ := strings.Cut(to, "#")
			path := name
			if file != "" {
				path = filepath.Join(filepath.Dir(name), file)
			}
			if _, err := os.Stat(filepath.Join(repository, path)); err != nil {
				t.Errorf("%s links to %s, which is not there", name, to)
				continue
			}
			if list, ok := anchors[path]; ok && anchor != "" && !slices.Contains(list, anchor) {
				t.Errorf("%s links to %s, which has no such heading", name, to)
			}
		}
	}
	if checked < 50 {
		t.Errorf("only %d links were found: they are not read any more", checked)
	}
}

// anchorsOf makes of the headings of a page what GitHub makes of them.
func anchorsOf(page string) (list []string) {
	seen := map[string]int{}
	for line := range strings.SplitSeq(page, "\n") {
		if !strings.HasPrefix(line, "#") {
			continue
		}
		var b strings.Builder
		for _, r := range strings.ToLower(strings.TrimSpace(strings.TrimLeft(line, "#"))) {
			switch {
			case r == ' ':
				b.WriteByte('-')
			case r == '-' || r == '_' || '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || r > 0x7f && r != '–' && r != '—' && r != '…' && r != '→':
				b.WriteRune(r)
			}
		}
		a := b.String()
		if n := seen[a]; n > 0 {
			list = append(list, a+"-"+strconv.Itoa(n))
		} else {
			list = append(list, a)
		}
		seen[a]++
	}
	return list
}

// Every page is reached from the first one.
func TestDocsPagesAreAllLinked(t *testing.T) {
	t.Parallel()
	pages := documents(t)
	reached := map[string]bool{}
	var follow func(name string)
	follow = func(name string) {
		if reached[name] || pages[name] == "" {
			return
		}
		reached[name] = true
		for _, m := range mdLink.FindAllStringSubmatch(prose(pages[name]), -1) {
			file, _, _ := strings.Cut(m[1], "#")
			follow(filepath.Join(filepath.Dir(name), file))
		}
	}
	follow("README.md")
	for name := range pages {
		if !reached[name] {
			t.Errorf("%s is not reached from README.md", name)
		}
	}
}

func TestDocsNameNoMachineAndUseOurWords(t *testing.T) {
	t.Parallel()
	for name, page := range documents(t) {
		for _, bad := range []string{"/home/", "TODO", "FIXME"} {
			if strings.Contains(page, bad) {
				t.Errorf("%s says %q", name, bad)
			}
		}
		if !strings.HasPrefix(page, "# ") {
			t.Errorf("%s does not begin with its title", name)
		}
	}
}

func TestDocsImagesAreSmall(t *testing.T) {
	t.Parallel()
	images, err := filepath.Glob(repository + "/docs/images/*")
	if err != nil || len(images) == 0 {
		t.Fatalf("no images: %v", err)
	}
	for _, name := range images {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if info.Size() > 80<<10 {
			t.Errorf("%s has %d bytes", name, info.Size())
		}
	}
}

// Configurations.

// base is what a part of a configuration is put into, to be checked.
var base = []struct{ key, text string }{
	{"version", "version: 1\n"},
	{"server", "server: { public_url: https://gate.example.org, tls: { cert: gate.crt, key: gate.key } }\n"},
	{"store", "store: bolt:./data/gatehouse.db\n"},
	{"identity_providers", "identity_providers:\n  - { id: campus, oidc: { issuer: https://idp.example.org, client_id: gatehouse, client_secret: { file: campus.secret } }, provisioning: { mode: blocking } }\n"},
	{"services", "services:\n  - { id: wiki, host: wiki.example.org, upstream: http://10.0.0.5:8080, access: [ { id: everyone, allow: { signed_in: true } } ], release: [ user_name ] }\n"},
	{"roles", "roles: [ { id: gatehouse-admin, from: { users: [ carol ] } }, { id: finance, from: { groups: [ fin ] } } ]\n"},
	{"admins", "admins: { roles: gatehouse-admin }\n"},
}

var topKey = regexp.MustCompile(`(?m)^([a-z_]+):`)

// Every YAML block is a configuration or some of its sections, and has no
// mistake in it.
func TestDocsConfigurationsAreGood(t *testing.T) {
	t.Parallel()
	n := 0
	for name, page := range documents(t) {
		for _, f := range fences(page) {
			kind, _, _ := strings.Cut(f.kind, " ")
			if kind != "yaml" {
				continue
			}
			n++
			text := f.body
			var there []string
			for _, m := range topKey.FindAllStringSubmatch(text, -1) {
				there = append(there, m[1])
			}
			for _, b := range base {
				if !slices.Contains(there, b.key) {
					text += b.text
				}
			}
			file := filepath.Join(t.TempDir(), "gatehouse.yaml")
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			_, mistakes := loadAll(file, configs.SkipFiles)
			for _, m := range mistakes {
				t.Errorf("%s, the block in line %d: %s", name, f.line, strings.TrimPrefix(m.String(), file+":"))
			}
		}
	}
	if n < 10 {
		t.Errorf("only %d configurations were found: they are not read any more", n)
	}
}

// The examples that people copy from have no mistake but files that they do
// not have.
func TestDocsExamplesAreGood(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(repository + "/configs/*.yaml")
	if err != nil || len(files) < 4 {
		t.Fatalf("%d examples: %v", len(files), err)
	}
	for _, file := range files {
		_, mistakes := loadAll(file, configs.SkipFiles)
		for _, m := range mistakes {
			t.Error(m)
		}
	}
}

// The ten lines of the README are the smallest example.
func TestDocsShowTheSmallestExample(t *testing.T) {
	t.Parallel()
	_, want, _ := strings.Cut(readDoc(t, "configs/minimal.yaml"), "\n") // without the line for editors
	for _, f := range fences(readDoc(t, "README.md")) {
		if strings.HasPrefix(f.kind, "yaml") && f.body == want {
			return
		}
	}
	t.Errorf("README.md does not show configs/minimal.yaml as it is:\n%s", want)
}

// Commands.

// TestDocsProgram is this program as a reader's shell calls it.
func TestDocsProgram(t *testing.T) {
	if os.Getenv("GATEHOUSE_DOCS") == "" {
		t.Skip("only for the commands of the documents")
	}
	os.Args = append([]string{"gatehouse"}, flag.Args()...)
	syscall.Exit(Main()) // os.Exit(0) would fail the test
}

// A shell runs what a page tells its reader to type.
type shell struct {
	dir string
	env []string
}

func newShell(t *testing.T) shell {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	// The name of a socket is short, and so must be that of its folder.
	dir, err := os.MkdirTemp("", "gatehouse-docs-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	script := "#!/bin/sh\nGATEHOUSE_DOCS=1 exec " + exe + " -test.run='^TestDocsProgram$' -- \"$@\"\n"
	if err := os.WriteFile(filepath.Join(bin, "gatehouse"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	return shell{dir, append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "LC_ALL=C", "TZ=UTC")}
}

// run runs the commands of a console block, and compares what they print with
// what the page shows: "…" there stands for anything, even nothing.
func (s shell) run(t *testing.T, page string, f fence) {
	t.Helper()
	type step struct{ command, want string }
	var steps []step
	for line := range strings.Lines(f.body) {
		if c, ok := strings.CutPrefix(line, "$ "); ok {
			steps = append(steps, step{command: strings.TrimSpace(c)})
		} else if len(steps) > 0 {
			steps[len(steps)-1].want += line
		}
	}
	if len(steps) == 0 {
		t.Errorf("%s, line %d: a console block without a command", page, f.line)
	}
	for _, st := range steps {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		cmd := exec.CommandContext(ctx, "sh", "-c", st.command)
		cmd.Dir, cmd.Env = s.dir, s.env
		out, err := cmd.CombinedOutput()
		cancel()
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		if strings.TrimSpace(st.want) == "" {
			if err != nil {
				t.Errorf("%s, line %d: %s: %v\n%s", page, f.line, st.command, err, out)
			}
			continue
		}
		if got := tidy(string(out)); !pattern(tidy(st.want)).MatchString(got) {
			t.Errorf("%s, line %d: %s printed\n%s\nthe page shows\n%s", page, f.line, st.command, got, tidy(st.want))
		}
	}
}

// tidy makes runs of spaces one, as columns are as wide as what is in them.
func tidy(s string) string {
	var lines []string
	for line := range strings.Lines(s) {
		lines = append(lines, strings.Join(strings.Fields(line), " "))
	}
	return strings.TrimSpace(strings.Join(lines, "\n"))
}

func pattern(want string) *regexp.Regexp {
	return regexp.MustCompile(`^(?s)` + strings.ReplaceAll(regexp.QuoteMeta(want), "…", ".*") + `$`)
}

var titled = regexp.MustCompile(`^yaml title="([a-z.-]+)"$`)

// A page with console blocks is a story: its files are written, its commands
// run. Where it speaks of the demo, a demo runs in which alice has read the wiki
// and bob was refused at payroll.
func TestDocsCommandsDoWhatIsShown(t *testing.T) {
	if testing.Short() {
		t.Skip("starts demos")
	}
	ran := 0
	for name, page := range documents(t) {
		var story []fence
		for _, f := range fences(page) {
			if f.kind == "console" || titled.MatchString(f.kind) {
				story = append(story, f)
			}
		}
		if !slices.ContainsFunc(story, func(f fence) bool { return f.kind == "console" }) {
			continue
		}
		ran++
		t.Run(strings.ReplaceAll(name, "/", "."), func(t *testing.T) {
			s := newShell(t)
			code := ""
			if strings.Contains(page, "./connector.py") {
				program := example(t, "connector.py", "python3")
				if err := os.Symlink(program, filepath.Join(s.dir, "connector.py")); err != nil {
					t.Fatal(err)
				}
			}
			if strings.Contains(page, "-c demo/gatehouse.yaml") {
				w := startWorld(t, filepath.Join(s.dir, "demo"), porttest.Free(t, 4))
				w.person().open(w.at("wiki", "/")).signIn("campus", "alice").wants(http.StatusOK, "Wiki")
				bob := w.person().open(w.at("payroll", "/")).signIn("campus", "bob").wants(http.StatusForbidden, "Payroll")
				code = supportCode.FindString(bob.body)
				w.recorded(t, code)
				switch {
				case strings.Contains(page, "id: notes"):
					w.addService(t, page)
				case strings.Contains(page, "Stop the gateway"):
					w.stop()
				}
			}
			for _, f := range story {
				if m := titled.FindStringSubmatch(f.kind); m != nil {
					if err := os.WriteFile(filepath.Join(s.dir, m[1]), []byte(f.body), 0o600); err != nil {
						t.Fatal(err)
					}
					continue
				}
				f.body = strings.ReplaceAll(f.body, shownCode, code)
				s.run(t, name, f)
			}
		})
	}
	if ran < 3 {
		t.Errorf("only %d pages with commands were found: they are not read any more", ran)
	}
}

// recorded waits until an event with a support code is in the audit log.
func (w *world) recorded(t *testing.T, code string) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		for e, err := range audit.Events(t.Context(), w.p.store, audit.Query{Flow: code}) {
			if err != nil {
				t.Fatal(err)
			}
			if e.Flow == code {
				return
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("nothing is recorded under %q", code)
		}
	}
}

// shownCode stands for the support code that a denial page showed.
const shownCode = "HXET-J6N6"

var supportCode = regexp.MustCompile(`[2-9A-HJ-NP-Z]{4}-[2-9A-HJ-NP-Z]{4}`)

// addService does what the tutorial says: one more service in the demo's
// configuration, in front of a server of the reader's own.
func (w *world) addService(t *testing.T, page string) {
	t.Helper()
	upstream := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(rw, "the notes of %s", r.Header.Get("X-Forwarded-User"))
	}))
	t.Cleanup(upstream.Close)
	var part string
	for _, f := range fences(page) {
		if f.kind == "yaml" && strings.Contains(f.body, "id: notes") {
			_, part, _ = strings.Cut(f.body, "services:\n")
		}
	}
	part = strings.Replace(part, "http://127.0.0.1:9000", upstream.URL, 1)
	file := filepath.Join(w.dir, "gatehouse.yaml")
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(string(raw), "\nservices:\n", "\nservices:\n"+part, 1)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); !slices.ContainsFunc(w.p.site.Load().cfg.Services, func(s configs.Service) bool { return s.ID == "notes" }); {
		if time.Now().After(deadline) {
			t.Fatalf("the demo did not take the service of the tutorial:\n%s", w.log)
		}
		time.Sleep(20 * time.Millisecond)
	}
	alice := w.person().open(w.at("notes", "/")).signIn("campus", "alice")
	alice.wants(http.StatusOK, "the notes of alice")
	w.person().open(w.at("notes", "/")).signIn("partner", "dana").wants(http.StatusForbidden, "Notes are for Campus.")
}

// Reference pages.

func TestDocsCommandLineIsCurrent(t *testing.T) {
	t.Setenv("GATEHOUSE_CONFIG", "") // it is a default that would be shown
	var b strings.Builder
	var tell func(c *cobra.Command, depth int)
	tell = func(c *cobra.Command, depth int) {
		if c.Hidden {
			return
		}
		fmt.Fprintf(&b, "%s `%s`\n\n%s.\n", strings.Repeat("#", depth), c.UseLine(), c.Short)
		if c.Long != "" {
			fmt.Fprintf(&b, "\n%s\n", c.Long)
		}
		if c.HasLocalFlags() && c.Runnable() {
			rows := ""
			c.LocalFlags().VisitAll(func(f *pflag.Flag) {
				name := "`--" + f.Name + "`"
				if f.Shorthand != "" {
					name = "`-" + f.Shorthand + "`, " + name
				}
				def := "–"
				if f.DefValue != "" && f.DefValue != "false" {
					def = "`" + f.DefValue + "`"
				}
				rows += fmt.Sprintf("| %s | %s | %s |\n", name, def, f.Usage)
			})
			fmt.Fprintf(&b, "\n| flag | left out | |\n|---|---|---|\n%s", rows)
		}
		b.WriteString("\n")
		for _, sub := range c.Commands() {
			tell(sub, depth+1)
		}
	}
	for _, c := range command().Commands() {
		tell(c, 2)
	}
	made(t, "docs/reference/cli.md", b.String())
}

func TestDocsHeadersAreCurrent(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	for _, preset := range slices.Sorted(maps.Keys(gateway.Presets)) {
		fmt.Fprintf(&b, "### `%s`\n\n| header | attribute | several values |\n|---|---|---|\n", preset)
		for _, h := range gateway.Presets[preset] {
			how := "joined by `,`"
			if h.Separator != "" {
				how = "joined by `" + h.Separator + "`"
			}
			if h.Attribute == gateway.JWTAttribute {
				how = "–"
			}
			fmt.Fprintf(&b, "| `%s` | `%s` | %s |\n", h.Name, h.Attribute, strings.ReplaceAll(how, "|", `\|`))
		}
		b.WriteString("\n")
	}
	p := parsePackage(t, "gateway")
	b.WriteString("### What is removed from every request\n\nEvery header that a preset or a service's own list names, every header that begins with one of\n\n")
	b.WriteString(codeList(p.strings(t, "wallPrefixes")))
	b.WriteString("\n\nand each of\n\n" + codeList(p.strings(t, "wallNames")) + "\n")
	made(t, "docs/reference/headers.md", b.String())
}

func codeList(list []string) string {
	slices.Sort(list)
	return "`" + strings.Join(list, "` `") + "`"
}

// A limit is a constant of the code that somebody outside can run into.
type limit struct{ what, dir, name, unit string }

var limits = []struct {
	title string
	list  []limit
}{
	{"Requests", []limit{
		{"header lines", "gateway", "maxHeaderLines", ""},
		{"cookies", "gateway", "maxCookies", ""},
		{"body of a form posted to the gateway itself", "gateway", "maxForm", "bytes"},
		{"time to send such a body", "gateway", "bodyTime", "time"},
		{"pause within a body, sent or taken; streams may be silent for longer", "gateway", "stall", "time"},
		{"interim responses of a service before its response", "gateway", "maxInterim", ""},
		{"value of one header for a service; longer: not sent", "gateway", "maxHeader", "bytes"},
		{"time that requests under way have after SIGTERM", "cmd/gatehouse", "drainTime", "time"},
	}},
	{"Programs", []limit{
		{"credential that a program shows", "gateway/bearer", "maxBearer", "bytes"},
		{"life of a service token", "gateway/bearer", "MaxLife", "time"},
		{"for how long a JWT that was checked is believed without another look at its signature", "gateway/bearer", "seenFor", "time"},
		{"keys of an issuer are fetched anew after", "gateway/bearer", "keysFresh", "time"},
		{"and believed for, if that fails", "gateway/bearer", "keysLongest", "time"},
		{"body of a question for decisions", "gateway/authzen", "maxBody", "bytes"},
		{"decisions in one question", "gateway/authzen", "maxEvaluations", ""},
		{"upstreams of a service", "gateway/upstream", "maxMembers", ""},
	}},
	{"Sign-ins and sessions", []limit{
		{"from the click to the identity provider's answer", "gateway", "flowLife", "time"},
		{"sign-ins that one browser may have under way; the oldest go", "gateway", "maxFlows", ""},
		{"room for their cookies", "gateway", "maxFlowBytes", "bytes"},
		{"address that a sign-in returns to; longer: the portal", "gateway", "maxReturn", "bytes"},
		{"ticket that hands a session to a service's host", "gateway/session", "TicketLife", "time"},
		{"hosts that one session has a cookie on", "gateway/session", "maxKeys", ""},
		{"how far the stored last use of a session may lag behind", "gateway/session", "SeenEvery", "time"},
		{"token for a service: lives", "gateway", "tokenLife", "time"},
		{"token for a service: left at least when it is sent", "gateway", "tokenLeft", "time"},
	}},
	{"OpenID Connect", []limit{
		{"one answer of a provider", "federation/oidc", "maxBody", "bytes"},
		{"time for one request", "federation/oidc", "maxTime", "time"},
		{"one token", "federation/oidc", "maxToken", "bytes"},
		{"keys in a key set", "federation/oidc", "maxKeys", ""},
		{"values of one attribute", "federation/oidc", "maxValues", ""},
		{"all names and values together", "federation/oidc", "maxTotal", "bytes"},
		{"pages of groups that are fetched", "federation/oidc", "maxPages", ""},
		{"depth of JSON", "federation/oidc", "maxDepth", ""},
	}},
	{"SAML", []limit{
		{"an answer, decoded", "federation/saml", "maxMessage", "bytes"},
		{"a metadata document", "federation/saml", "maxMetadata", "bytes"},
		{"elements and comments of a document", "federation/saml", "maxTokens", ""},
		{"depth of a document", "federation/saml", "maxDepth", ""},
		{"attributes of one element", "federation/saml", "maxAttrs", ""},
		{"namespace prefixes of a document", "federation/saml", "maxPrefixes", ""},
		{"all attribute names and values together", "federation/saml", "maxAttributes", "bytes"},
		{"encrypted keys of one answer", "federation/saml", "maxEncryptedKeys", ""},
		{"signing keys of one identity provider", "federation/saml", "maxSigningKeys", ""},
		{"how far ahead metadata from an address may be valid", "federation/saml", "defaultLongest", "time"},
	}},
	{"People", []limit{
		{"names: of users, groups, attributes, external IDs", "provisioning", "MaxName", "bytes"},
		{"issuer, and subject, of a link", "provisioning", "MaxSubject", "bytes"},
		{"values of one attribute by one source", "provisioning", "MaxValues", ""},
		{"names and values by one identity provider", "provisioning", "MaxSaid", "bytes"},
		{"a user as stored", "provisioning", "MaxUser", "bytes"},
	}},
	{"Policies", []limit{
		{"an expression", "authz/expr", "MaxSource", "bytes"},
		{"cost of one run of an expression, in CEL's units", "authz/expr", "MaxCost", ""},
		{"networks in one call of `net`", "authz/expr", "maxNetworks", ""},
	}},
	{"Store", []limit{
		{"a key", "provisioning/store", "MaxKey", "bytes"},
		{"a value", "provisioning/store", "MaxValue", "bytes"},
		{"keys written in one transaction", "provisioning/store", "MaxKeys", ""},
		{"bytes written in one transaction", "provisioning/store", "MaxTxBytes", "bytes"},
	}},
	{"Work for targets", []limit{
		{"first delay after a failure; it doubles", "provisioning/task", "firstDelay", "time"},
		{"longest delay", "provisioning/task", "mostDelay", "time"},
		{"failures until a task is parked", "provisioning/task", "giveUp", "time"},
		{"refusals in a row that trying again will not change, until parked", "provisioning/outbox", "maxInvalid", ""},
		{"failures of a target in a row until it is left alone", "provisioning/outbox", "openAfter", ""},
		{"pause of a target that answers nobody: first", "provisioning/outbox", "openFirst", "time"},
		{"pause of a target that answers nobody: longest", "provisioning/outbox", "openMost", "time"},
		{"attempts at a target in an hour before it can be in quarantine", "provisioning/outbox", "leastRuns", ""},
		{"failures among them for a quarantine, per cent", "provisioning/outbox", "mostFailed", ""},
		{"operations kept of an account", "provisioning/outbox", "slots", ""},
		{"time that they are kept", "provisioning/outbox", "keepOperations", "time"},
		{"members of a group in one call of a target", "provisioning/connector", "MaxMembers", ""},
		{"answer of a target", "provisioning/scim/client", "MaxAnswer", "bytes"},
		{"`Retry-After` that is believed", "provisioning/scim/client", "MaxRetryAfter", "time"},
	}},
	{"SCIM library", []limit{
		{"a message", "provisioning/scim", "MaxBody", "bytes"},
		{"objects and arrays inside each other", "provisioning/scim", "MaxDepth", ""},
		{"a filter or path", "provisioning/scim", "MaxFilter", "bytes"},
		{"parentheses and brackets inside each other", "provisioning/scim", "MaxFilterDepth", ""},
		{"operations of one PATCH", "provisioning/scim", "MaxOperations", ""},
		{"values of one attribute", "provisioning/scim", "MaxValues", ""},
		{"values that one PATCH looks at, over all its operations", "provisioning/scim", "MaxPatchWork", ""},
	}},
	{"Configuration", []limit{
		{"the file", "configs", "MaxSize", "bytes"},
		{"a file that holds a secret", "configs", "maxSecret", "bytes"},
	}},
}

func TestDocsLimitsAreCurrent(t *testing.T) {
	t.Parallel()
	packages := map[string]sourcePackage{}
	var b strings.Builder
	for _, section := range limits {
		fmt.Fprintf(&b, "## %s\n\n| what | at most |\n|---|---|\n", section.title)
		for _, l := range section.list {
			p, ok := packages[l.dir]
			if !ok {
				p = parsePackage(t, l.dir)
				packages[l.dir] = p
			}
			v, ok := constant.Int64Val(constant.ToInt(p.constant(t, l.name)))
			if !ok {
				t.Errorf("%s.%s is no whole number", l.dir, l.name)
			}
			fmt.Fprintf(&b, "| %s | %s |\n", l.what, amount(v, l.unit))
		}
		b.WriteString("\n")
	}
	made(t, "docs/reference/limits.md", b.String())
}

func amount(v int64, unit string) string {
	switch {
	case unit == "time":
		d := time.Duration(v)
		for _, u := range []struct {
			of   time.Duration
			name string
		}{{24 * time.Hour, "days"}, {time.Hour, "hours"}, {time.Minute, "minutes"}, {time.Second, "seconds"}} {
			if d%u.of == 0 && (d/u.of > 1 || u.of == time.Second) {
				return fmt.Sprintf("%d %s", d/u.of, u.name)
			}
		}
		return d.String()
	case unit == "bytes" && v >= 1<<20 && v%(1<<20) == 0:
		return fmt.Sprintf("%d MiB", v>>20)
	case unit == "bytes" && v >= 1<<10 && v%(1<<10) == 0:
		return fmt.Sprintf("%d KiB", v>>10)
	case unit == "bytes":
		return fmt.Sprintf("%d bytes", v)
	}
	return strconv.FormatInt(v, 10)
}

func TestDocsAmountsAreReadable(t *testing.T) {
	t.Parallel()
	for want, got := range map[string]string{
		"90 seconds": amount(int64(90*time.Second), "time"), "60 seconds": amount(int64(time.Minute), "time"), "14 days": amount(int64(14*24*time.Hour), "time"),
		"2 MiB": amount(2<<20, "bytes"), "256 KiB": amount(256<<10, "bytes"), "1500 bytes": amount(1500, "bytes"), "20": amount(20, ""),
	} {
		if got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

// tableText says what the rows of each table are.
var tableText = map[string]string{
	"account":          "What is known of a user's account at a target. The key is `TARGET/USER`.",
	"audit":            "What happened. The key is 2^64−1 less the sequence number, in 20 digits, so that the newest come first. The raw key (`audit`, `h`) holds the head of the chain: `seq` and `hash` of the last event.",
	"built":            "How far the rows of a table have the indexes of this program; `after` is the key of the last row done. The key is the table's name.",
	"certificate":      "Certificates from an authority, and the account there, sealed. The key is a host's name, or a name of ACME's own.",
	"flip":             "Which large change of a group's members is in force, until its shifts are edges. The key is the group's ID.",
	"evidence":         "A sign that somebody has left, or is about to: what says so, since when, and what came of it. The key is the tuple (user, kind, source).",
	"gateway_key":      "The gateway's own secrets, each of a purpose; the key is the purpose, or PURPOSE/TIME of those that followed. `from` is when it came, or comes, into use, `until` when nothing of it is taken any more: `access` (signs access tokens of clients), `cursor` (seals SCIM cursors), `passing` (keys the hashes of users who pass through), `jwt` (signs tokens for services), `pairwise` (makes pairwise identifiers), `cookie` (seals what a browser carries), `saml` (signs and decrypts where no keys are configured).",
	"grant":            "What an identity provider gave for asking about a person again, where `probe` says so: a refresh token, sealed. The key is `PROVIDER/USER`.",
	"group":            "The directory's own groups. The key is the group's ID.",
	"guard_case":       "What a person has to decide: everything that would be taken away in one scope since a limit was passed. The key is the case's ID.",
	"guard_item":       "What somebody wanted to take away, and what the mass-change guard said. The key is the tuple (scope, kind, subject, object). Kept for 32 days, or as long as it waits for a decision.",
	"guard_tally":      "How much was let through: of a scope within the last hour, by minutes, and of one pass. The key is the tuple (scope, pass); an empty pass is the hour's.",
	"import":           "Files that people are, or were, taken in from. The key is a UUIDv7. Kept for 30 days.",
	"import_last":      "The last full file of a source, with how many rows it had. The key is the source.",
	"import_person":    "Users as a source knows them: by which number or name, and what it last said of their being active. The key is the tuple (source, user).",
	"import_result":    "What became of rows of a file, until its result is written; so it is known which rows are done. The key is the tuple (import, `row`, number) or (import, `who`, user).",
	"ldap_group":       "Groups as a directory that is read knows them: the entry's ID and name, and which group it became. The key is the tuple (source, ID).",
	"ldap_person":      "Users as a directory that is read knows them: the entry's ID and name, what it last said of their being active, and since when it is gone. The key is the tuple (source, ID).",
	"ldap_source":      "What is known of a directory that is read: what to ask with for what changed since, how many people it showed, and how the last reading went. The key is the source.",
	"link":             "Who a user is at an identity provider. The key is SHA-256 over issuer and subject, so that their length does not matter; both stand in the row and are compared.",
	"member":           "Who is in a group: an edge for each membership. The key is the tuple (group, user).",
	"nest":             "Which group is in which: an edge. The key is the tuple (parent, child).",
	"notice":           "What is to be told to a person, once. The key is the tuple (user, kind, stage).",
	"notify_over":      "An address that said that it wants to hear no more of requests, and when. The key is a digest of it.",
	"once":             "What worked once and must not again: flows and assertions. The key is the hash of what is remembered. The raw key (`once`, `h`) holds how far old ones have been swept away.",
	"csv_account":      "What the next file says of an account, of a target that reads CSV files. The key is the tuple (target, ID).",
	"csv_count":        "How many changes a target that reads CSV files had. The key is the target.",
	"progress":         "How far long work is, and how far it came when it is done. The key is that of its task. `cursor` is the handler's own.",
	"request":          "Who asked for a role, why and until when, and who decided what. The key begins with the time of asking, so that rows are in that order.",
	"service_token":    "Tokens by which programs are known, as keyed hashes. The key is the first part of the token, which is no secret.",
	"roll":             "How often it changed who is in a group. The key is the group's ID.",
	"reconcile_seen":   "An account that a reconciliation under way has read. The key is the tuple (task's key, the target's ID). Gone when it ends.",
	"reconciliation":   "What the last reconciliation of a target found, and what came of it. The key is `TARGET/MODE`.",
	"seen":             "When somebody was last seen to be there, exact to a day. The key is the user's ID.",
	"session":          "Sign-ins. The key is a random ID that is no secret.",
	"session_visit":    "When somebody last opened a host, to a day; removed after 30 days, or with the user. The key is the host, a space and the user's ID.",
	"session_key":      "What a browser holds for one host. The key is the hash of the cookie's value; the value itself is stored nowhere.",
	"session_recovery": "The code that `gatehouse admin recover` made last, until it is used. The key is the hash of the code.",
	"shift":            "A member of a large change of a group, written aside. It counts for nothing unless the group's `flip` names its change; then it counts instead of the edge. The key is the tuple (change, user).",
	"tally":            "How many users a user store has, in up to eight parts. The key is the tuple (user store, part).",
	"target":           "What is kept of a target beside its accounts: in what form it last got them (a digest of its connector, scope and release: where it differs at a start or reload, everybody's account is looked at again), and whether it is paused or in quarantine. The key is the target's ID.",
	"task":             "Work that waits. The key is the tuple (kind, key). A task that is done has no row.",
	"tombstone":        "IDs of users and groups that were deleted, for ever, so that none is used again.",
	"touch":            "How far the members of a changed group have been told. The key is the group's ID.",
	"user":             "People. The key is the user's ID, a UUIDv7.",

	"release_draft":   "What release editors are about to publish; `tree` names the rules of each recipient by hash. There is one row, `draft`.",
	"release_part":    "Rules of one recipient, or all test cases. The key is the hash of what they say.",
	"release_report":  "What a draft would change: `impact` for everybody, `shadow` for those who come. Counts, and IDs of a few people; no values.",
	"release_version": "A published release policy; `tree` names the rules of each recipient by hash. The key is 2^31−1 less the number, in 10 digits, so that the newest comes first.",

	"account_case":      "An account that is there already and may be a user's: a question for a person. The key is `TARGET/USER`.",
	"account_group":     "What is known of one of the directory's groups at a target. The key is `TARGET/GROUP`.",
	"account_member":    "An account that is in a group at a target, or is to be. The key is the tuple (target, group, user).",
	"account_reference": "That the account of one user names another user, such as a manager. The key is the tuple (target, whose account it is, whom it names).",
	"operation":         "One attempt to make a target agree about a user, without values. The key is the tuple (target, user, slot): the last few of each account are kept.",

	"unique":           "Who has a value of an attribute that only one user may have. The key is the tuple (attribute, hash of the folded value).",
	"passing":          "All that is kept of a user of a push-only client: our ID, the IDs of the accounts, and keyed hashes of the names by which the client finds the user. The key is our ID.",
	"client_assertion": "Assertions by which clients got access tokens, until they are too old to be used again. The key is SHA-256 over client and `jti`.",
	"client":           "The clients of the configuration in force, and since when each is one without a break: what was given to one before it under the same name is no good.",
	"client_token":     "Bearer tokens that were made for clients. The key is the token's first part, which is no secret; of the token itself only the hash is kept.",
}

func TestDocsStoredFormIsCurrent(t *testing.T) {
	t.Parallel()
	type table struct{ name, dir, fields, unique, index string }
	var tables []table
	for _, dir := range slices.Sorted(maps.Keys(floors)) {
		p := parsePackage(t, dir)
		for _, f := range p.files {
			ast.Inspect(f, func(n ast.Node) bool {
				lit, ok := n.(*ast.CompositeLit)
				if !ok {
					return true
				}
				idx, ok := lit.Type.(*ast.IndexExpr)
				if !ok || p.text(idx.X) != "store.Table" {
					return true
				}
				tb := table{dir: dir, fields: p.fields(t, p.text(idx.Index))}
				for _, e := range lit.Elts {
					kv := e.(*ast.KeyValueExpr)
					switch p.text(kv.Key) {
					case "Name":
						tb.name, _ = strconv.Unquote(p.text(kv.Value))
					case "Unique":
						tb.unique = p.keys(kv.Value)
					case "Index":
						tb.index = p.keys(kv.Value)
					}
				}
				tables = append(tables, tb)
				return true
			})
		}
	}
	slices.SortFunc(tables, func(a, b table) int { return strings.Compare(a.name, b.name) })
	var b strings.Builder
	for _, tb := range tables {
		text := tableText[tb.name]
		if text == "" {
			t.Errorf("table %s of %s is not explained in tableText", tb.name, tb.dir)
		}
		fmt.Fprintf(&b, "### `%s`\n\n%s\n\n", tb.name, text)
		if tb.unique != "" {
			fmt.Fprintf(&b, "Unique: %s.\n\n", tb.unique)
		}
		if tb.index != "" {
			fmt.Fprintf(&b, "Found by: %s.\n\n", tb.index)
		}
		fmt.Fprintf(&b, "| field | type | |\n|---|---|---|\n%s\n", tb.fields)
	}
	if len(tables) != len(tableText) {
		t.Errorf("%d tables are in the code, %d are explained", len(tables), len(tableText))
	}
	made(t, "docs/reference/stored-form.md", b.String())
}

// Every address of ours is in the reference, and no other.
func TestDocsAddressesAreThoseThereAre(t *testing.T) {
	t.Parallel()
	var want []string
	for _, m := range regexp.MustCompile(`rest(?: == |, )"(assets/|[a-z.-]+)"`).FindAllStringSubmatch(readDoc(t, "gateway/ours.go"), -1) {
		want = append(want, m[1])
	}
	for _, m := range regexp.MustCompile(`rest == "(oidc|saml)/"\+p\.ID\+"(/[a-z-]+)"`).FindAllStringSubmatch(readDoc(t, "gateway/ours.go"), -1) {
		want = append(want, m[1]+"/ID"+m[2])
	}
	run := readDoc(t, "cmd/gatehouse/run.go")
	for _, m := range regexp.MustCompile(`"(/callback|/acs|/metadata)"`).FindAllStringSubmatch(run, -1) {
		want = append(want, map[string]string{"/callback": "oidc/ID/callback", "/acs": "saml/ID/acs", "/metadata": "saml/ID/metadata"}[m[1]])
	}
	own := regexp.MustCompile(`Own:\s+map\[string\]http.Handler\{([^}]+)\}`).FindStringSubmatch(run)
	for _, m := range regexp.MustCompile(`"([^"]+)":`).FindAllStringSubmatch(own[1], -1) {
		want = append(want, m[1])
	}
	pages, err := web.New(web.Brand{})
	if err != nil {
		t.Fatal(err)
	}
	l := newLab(t, nil)
	for _, s := range l.p.site.Load().ownPages(l.p, pages, nil) {
		if path, ours := strings.CutPrefix(s.Path, "/.gatehouse/"); ours {
			want = append(want, path)
		}
	}
	var got []string
	for _, m := range regexp.MustCompile("(?m)^\\| `/.gatehouse/([^`]+)`").FindAllStringSubmatch(readDoc(t, "docs/reference/http.md"), -1) {
		got = append(got, m[1])
	}
	slices.Sort(want)
	slices.Sort(got)
	if d := cmp.Diff(slices.Compact(want), got); d != "" {
		t.Errorf("docs/reference/http.md does not list the addresses there are:\n%s", d)
	}
}

// Dependencies, from inside and outside.

func TestDocsFloorsAreCurrent(t *testing.T) {
	t.Parallel()
	on := map[int][]string{}
	for name, floor := range floors {
		on[floor] = append(on[floor], name)
	}
	var b strings.Builder
	b.WriteString("| floor | packages |\n|---|---|\n")
	for _, floor := range slices.Backward(slices.Sorted(maps.Keys(on))) {
		fmt.Fprintf(&b, "| %d | %s |\n", floor, codeList(on[floor]))
	}
	made(t, "docs/explanation/design.md", b.String())
}

var (
	required   = regexp.MustCompile(`(?m)^\t(\S+) (v\S+)$`)
	documented = regexp.MustCompile(`(?m)^### (\S+) (v\S+)$`)
)

func TestDocsDependenciesAreExplained(t *testing.T) {
	t.Parallel()
	list := func(re *regexp.Regexp, text string) map[string]string {
		m := map[string]string{}
		for _, f := range re.FindAllStringSubmatch(text, -1) {
			m[f[1]] = f[2]
		}
		return m
	}
	want, got := list(required, readDoc(t, "go.mod")), list(documented, readDoc(t, "docs/explanation/dependencies.md"))
	if len(want) < 20 {
		t.Fatalf("go.mod requires only %d modules", len(want))
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("docs/explanation/dependencies.md and go.mod differ (-go.mod +docs):\n%s", d)
	}
	used := map[string]bool{}
	everyFile(t, ".go", parser.ImportsOnly, func(_ string, f *ast.File) {
		for _, i := range f.Imports {
			path, _ := strconv.Unquote(i.Path.Value)
			for module := range want {
				used[module] = used[module] || path == module || strings.HasPrefix(path, module+"/")
			}
		}
	})
	for _, part := range strings.Split(readDoc(t, "docs/explanation/dependencies.md"), "\n### ")[1:] {
		module, _, _ := strings.Cut(part, " ")
		if says := strings.Contains(part, "Nothing of ours imports it"); says == used[module] {
			t.Errorf("docs/explanation/dependencies.md is wrong about whether anything of ours imports %s (it is %t)", module, used[module])
		}
	}
}

// Threats.

// threats is docs/reference/threats.json: each row with what goes wrong, in our
// own words, and, if no test bears its name, what else holds it or why nothing does.
type threats struct {
	Sections []struct {
		Letter, Title string
		Open          string // of all rows of the section that say nothing else
		Rows          []struct{ ID, What, Held, Open string }
	}
	Promises []struct {
		Promise string
		Rows    []string
	}
}

func readThreats(t *testing.T) (v threats) {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(readDoc(t, "docs/reference/threats.json")))
	d.DisallowUnknownFields()
	if err := d.Decode(&v); err != nil {
		t.Fatalf("docs/reference/threats.json: %v", err)
	}
	return v
}

var (
	threatTest = regexp.MustCompile(`^(?:Test|Fuzz)((?:[SOJTPZCBADR][0-9]{2})+)_`)
	threatID   = regexp.MustCompile(`[SOJTPZCBADR][0-9]{2}`)
)

// threatTests are the tests of each row, with their packages.
func threatTests(t *testing.T) map[string][]string { return testsOf(t, threatTest, threatID) }

// testsOf are the tests that bear the names of rows, by row, with their packages.
func testsOf(t *testing.T, name, row *regexp.Regexp) map[string][]string {
	t.Helper()
	tests := map[string][]string{}
	note := func(dir, prefix string, f *ast.File) {
		for _, decl := range f.Decls {
			fn, ok := decl.(*ast.FuncDecl)
			if !ok || fn.Recv != nil {
				continue
			}
			if m := name.FindStringSubmatch(prefix + fn.Name.Name); m != nil {
				for _, id := range row.FindAllString(m[1], -1) {
					tests[id] = append(tests[id], fmt.Sprintf("`%s` in `%s`", fn.Name.Name, dir))
				}
			}
		}
	}
	everyFile(t, "_test.go", parser.SkipObjectResolution, func(dir string, f *ast.File) { note(dir, "", f) })
	everyFile(t, ".go", parser.SkipObjectResolution, func(dir string, f *ast.File) {
		if dir == "provisioning/scim/scimtest" { // a suite, whose rows are functions
			note(dir, "Test", f)
		}
	})
	for _, list := range tests {
		slices.Sort(list)
	}
	return tests
}

func TestDocsThreatsAreCurrent(t *testing.T) {
	t.Parallel()
	v, tests := readThreats(t), threatTests(t)
	var b, summary strings.Builder
	known := map[string]bool{}
	summary.WriteString("| | rows | with a test | held otherwise | open |\n|---|---|---|---|---|\n")
	for _, s := range v.Sections {
		fmt.Fprintf(&b, "## %s: %s\n\n| row | what goes wrong | tests |\n|---|---|---|\n", s.Letter, s.Title)
		tested, held := 0, 0
		for i, r := range s.Rows {
			if want := fmt.Sprintf("%s%02d", s.Letter, i+1); r.ID != want && s.Letter != "R" && r.ID < want {
				t.Errorf("row %s stands where %s belongs", r.ID, want)
			}
			if known[r.ID] || r.What == "" {
				t.Errorf("row %s is there twice, or says nothing", r.ID)
			}
			known[r.ID] = true
			cell := strings.Join(tests[r.ID], "<br>")
			switch {
			case cell != "":
				tested++
			case r.Held != "":
				held++
				cell = "*held by* " + r.Held
			default:
				cell = "*open:* " + firstOf(r.Open, s.Open, "there is no test yet")
			}
			fmt.Fprintf(&b, "| %s | %s | %s |\n", r.ID, r.What, cell)
		}
		fmt.Fprintf(&summary, "| [%s](#%s): %s | %d | %d | %d | %d |\n", s.Letter, anchorsOf("## " + s.Letter + ": " + s.Title)[0], s.Title, len(s.Rows), tested, held, len(s.Rows)-tested-held)
		b.WriteString("\n")
	}
	for id := range tests {
		if !known[id] {
			t.Errorf("there are tests of row %s, which threats.json does not have", id)
		}
	}
	made(t, "docs/reference/threats.md", summary.String()+"\n"+b.String())
}

// A promise without a test is not printed.
func TestDocsPromisesAreCurrent(t *testing.T) {
	t.Parallel()
	v, tests := readThreats(t), threatTests(t)
	var b strings.Builder
	n := 0
	for _, p := range v.Promises {
		var held, open []string
		for _, id := range p.Rows {
			if len(tests[id]) > 0 {
				held = append(held, id)
			} else {
				open = append(open, id)
			}
		}
		if len(held) == 0 {
			continue
		}
		n++
		fmt.Fprintf(&b, "%d. %s Shown by %s.", n, p.Promise, strings.Join(held, ", "))
		if len(open) > 0 {
			fmt.Fprintf(&b, " Not shown yet: %s.", strings.Join(open, ", "))
		}
		b.WriteString("\n")
	}
	made(t, "docs/explanation/threat-model.md", b.String())
}

// firstOf is the first that is not empty.
func firstOf(list ...string) string {
	for _, s := range list {
		if s != "" {
			return s
		}
	}
	return ""
}

// The service's side.

// sample:begin

// whoIs reads from a request who sent it, and believes nothing but the
// gateway's signature. keys are the set at GATE/.gatehouse/jwks.json; issuer is
// the gateway's public_url, audience the id of this service.
func whoIs(r *http.Request, keys jose.JSONWebKeySet, issuer, audience string) (name string, err error) {
	token, err := jwt.ParseSigned(r.Header.Get("X-Gatehouse-Jwt"), []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		return "", err
	}
	var claims jwt.Claims
	var released struct {
		UserName string `json:"user_name"`
	}
	if err := token.Claims(keys, &claims, &released); err != nil {
		return "", err
	}
	if claims.Expiry == nil {
		return "", errors.New("a token without an end")
	}
	err = claims.Validate(jwt.Expected{Issuer: issuer, AnyAudience: jwt.Audience{audience}, Time: time.Now()})
	if err != nil {
		return "", err
	}
	return released.UserName, nil
}

// sample:end

// The sample of docs/how-to/protect-the-service.md is this one, and works.
func TestDocsSampleBelievesTheGatewayAlone(t *testing.T) {
	t.Parallel()
	_, sample, _ := strings.Cut(readDoc(t, "cmd/gatehouse/docs_test.go"), "// sample:begin\n\n")
	sample, _, _ = strings.Cut(sample, "\n// sample:end")
	page := readDoc(t, "docs/how-to/protect-the-service.md")
	if !slices.ContainsFunc(fences(page), func(f fence) bool { return f.kind == "go" && f.body == sample }) {
		t.Errorf("docs/how-to/protect-the-service.md does not show the sample as it is:\n%s", sample)
	}

	w := newWorld(t)
	alice := w.person().open(w.at("wiki", "/")).signIn("campus", "alice").wants(http.StatusOK)
	token := alice.received()["X-Gatehouse-Jwt"][0]
	set := w.person().open(w.at("", "/.gatehouse/jwks.json")).wants(http.StatusOK).body
	var keys jose.JSONWebKeySet
	if err := json.Unmarshal([]byte(set), &keys); err != nil {
		t.Fatal(err)
	}
	gate := strings.TrimSuffix(w.at("", "/"), "/")
	ask := func(token, issuer, audience string) (string, error) {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header.Set("X-Gatehouse-Jwt", token)
		return whoIs(r, keys, issuer, audience)
	}
	if name, err := ask(token, gate, "wiki"); name != "alice" || err != nil {
		t.Errorf("the sample read %q, %v", name, err)
	}
	head, rest, _ := strings.Cut(token, ".")
	payload, sig, _ := strings.Cut(rest, ".")
	for what, bad := range map[string][3]string{
		"no token":               {"", gate, "wiki"},
		"another gateway's":      {token, "https://gate.example.net", "wiki"},
		"another service's":      {token, gate, "payroll"},
		"a signature of another": {head + "." + payload + "." + strings.Repeat("A", len(sig)), gate, "wiki"},
		"none":                   {"eyJhbGciOiJub25lIn0." + payload + ".", gate, "wiki"},
	} {
		if name, err := ask(bad[0], bad[1], bad[2]); err == nil || name != "" {
			t.Errorf("%s: the sample takes it for %q, %v", what, name, err)
		}
	}
}

// Reading source.

// A sourcePackage is the files of one package, without its tests.
type sourcePackage struct {
	fset  *gotoken.FileSet
	files []*ast.File
}

func parsePackage(t *testing.T, dir string) sourcePackage {
	t.Helper()
	p := sourcePackage{fset: gotoken.NewFileSet()}
	names, err := filepath.Glob(filepath.Join(repository, dir, "*.go"))
	if err != nil || len(names) == 0 {
		t.Fatalf("no source in %s: %v", dir, err)
	}
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(p.fset, name, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		p.files = append(p.files, f)
	}
	return p
}

// everyFile parses all of our Go files whose names end so, whatever their build
// tags; dir is that of the package.
func everyFile(t *testing.T, suffix string, mode parser.Mode, look func(dir string, f *ast.File)) {
	t.Helper()
	err := filepath.WalkDir(repository, func(path string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil // somebody works in the tree
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "node_modules" || strings.HasPrefix(d.Name(), ".") && path != repository):
			return fs.SkipDir
		case d.IsDir() || !strings.HasSuffix(path, suffix):
			return nil
		}
		f, err := parser.ParseFile(gotoken.NewFileSet(), path, nil, mode)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		dir, err := filepath.Rel(repository, filepath.Dir(path))
		look(filepath.ToSlash(dir), f)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// text is a part of the source as it is written.
func (p sourcePackage) text(n ast.Node) string {
	var b bytes.Buffer
	if err := printer.Fprint(&b, p.fset, n); err != nil {
		panic(err) // what was parsed can be printed
	}
	return b.String()
}

// value is the expression that a package-level name stands for.
func (p sourcePackage) value(name string) ast.Expr {
	for _, f := range p.files {
		for _, d := range f.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok {
				continue
			}
			for _, s := range g.Specs {
				if v, ok := s.(*ast.ValueSpec); ok {
					for i, n := range v.Names {
						if n.Name == name && i < len(v.Values) {
							return v.Values[i]
						}
					}
				}
			}
		}
	}
	return nil
}

// units are the constants of other packages that constants of ours are made of.
var units = map[string]int64{
	"time.Nanosecond": 1, "time.Millisecond": int64(time.Millisecond), "time.Second": int64(time.Second), "time.Minute": int64(time.Minute), "time.Hour": int64(time.Hour),
}

// constant works a constant of the package out.
func (p sourcePackage) constant(t *testing.T, name string) constant.Value {
	t.Helper()
	e := p.value(name)
	if e == nil {
		t.Fatalf("there is no constant %s", name)
	}
	return p.eval(t, e)
}

func (p sourcePackage) eval(t *testing.T, e ast.Expr) constant.Value {
	t.Helper()
	switch e := e.(type) {
	case *ast.BasicLit:
		return constant.MakeFromLiteral(e.Value, e.Kind, 0)
	case *ast.ParenExpr:
		return p.eval(t, e.X)
	case *ast.Ident:
		return p.constant(t, e.Name)
	case *ast.SelectorExpr:
		full := p.text(e)
		if v, ok := units[full]; ok {
			return constant.MakeInt64(v)
		}
		if name, ok := strings.CutPrefix(full, "store."); ok {
			return parsePackage(t, "provisioning/store").constant(t, name)
		}
	case *ast.BinaryExpr:
		x, y := p.eval(t, e.X), p.eval(t, e.Y)
		switch e.Op {
		case gotoken.SHL:
			n, _ := constant.Uint64Val(y)
			return constant.Shift(x, gotoken.SHL, uint(n))
		case gotoken.QUO:
			return constant.BinaryOp(x, gotoken.QUO_ASSIGN, y) // of whole numbers
		default:
			return constant.BinaryOp(x, e.Op, y)
		}
	}
	t.Fatalf("%s is no constant that is understood here", p.text(e))
	return nil
}

// strings are the elements of a list of texts.
func (p sourcePackage) strings(t *testing.T, name string) (list []string) {
	t.Helper()
	lit, ok := p.value(name).(*ast.CompositeLit)
	if !ok {
		t.Fatalf("%s is no list", name)
	}
	for _, e := range lit.Elts {
		s, err := strconv.Unquote(p.text(e))
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, s)
	}
	return list
}

// keys are those of a map literal, as code.
func (p sourcePackage) keys(e ast.Expr) string {
	var list []string
	for _, el := range e.(*ast.CompositeLit).Elts {
		k, _ := strconv.Unquote(p.text(el.(*ast.KeyValueExpr).Key))
		list = append(list, "`"+k+"`")
	}
	slices.Sort(list)
	return strings.Join(list, ", ")
}

// fields are the rows of a table about a struct that is stored as JSON.
func (p sourcePackage) fields(t *testing.T, name string) string {
	t.Helper()
	var b strings.Builder
	for _, f := range p.files {
		ast.Inspect(f, func(n ast.Node) bool {
			ts, ok := n.(*ast.TypeSpec)
			if !ok || ts.Name.Name != name {
				return true
			}
			for _, field := range ts.Type.(*ast.StructType).Fields.List {
				tag := ""
				if len(field.Names) == 0 && field.Tag == nil { // its fields stand in their place
					b.WriteString(p.fields(t, p.text(field.Type)))
					continue
				}
				if field.Tag != nil {
					tag, _ = strconv.Unquote(field.Tag.Value)
				}
				_, tag, _ = strings.Cut(tag, `json:"`)
				tag, _, _ = strings.Cut(tag, `"`)
				tag, _, _ = strings.Cut(tag, ",")
				if tag == "" {
					t.Errorf("%s has a field without a name in the stored form: %s", name, p.text(field))
				}
				if tag != "-" {
					fmt.Fprintf(&b, "| `%s` | %s | %s |\n", tag, storedType(p.text(field.Type)), said(field))
				}
			}
			return false
		})
	}
	if b.Len() == 0 {
		t.Fatalf("there is no stored type %s", name)
	}
	return b.String()
}

// storedType is what a type is in JSON.
func storedType(t string) string {
	switch t {
	case "string", "Source", "State":
		return "text"
	case "[]string":
		return "list of texts"
	case "uint64", "int":
		return "number"
	case "bool":
		return "true or false"
	case "time.Time":
		return "time"
	case "[]byte":
		return "bytes in base64"
	}
	return "`" + t + "`"
}

// said is the comment of a field, on one line.
func said(f *ast.Field) string {
	text := f.Comment.Text()
	if f.Doc != nil {
		text = f.Doc.Text()
	}
	return strings.ReplaceAll(strings.Join(strings.Fields(text), " "), "|", `\|`)
}
