package migrate_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode"

	"github.com/google/go-cmp/cmp"

	"github.com/gatehouse-sso/gatehouse/configs/migrate"
)

var update = flag.Bool("update", false, "write the drafts of testdata anew")

// Each file of testdata becomes the draft beside it, with what is to be filled in
// and what was left out as comments at its end. That such drafts are configurations,
// and let in nobody more, the program's own tests see.
func TestDraftsAreThese(t *testing.T) {
	t.Parallel()
	formats := map[string]string{
		"oauth2-proxy.cfg": "oauth2-proxy", "oauth2-proxy-narrowed.env": "oauth2-proxy", "oauth2-proxy-alpha.yaml": "oauth2-proxy",
		"oauth2-proxy-asked.cfg": "oauth2-proxy", "oauth2-proxy-alpha-narrowed.yaml": "oauth2-proxy",
		"authelia.yml": "authelia", "authelia-narrowed.yml": "authelia", "mod_auth_openidc.conf": "mod_auth_openidc", "mod_auth_openidc-narrowed.conf": "mod_auth_openidc",
	}
	for name, format := range formats {
		text, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		d, err := migrate.Formats[format](migrate.Source{Name: name, Text: string(text)})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var b strings.Builder
		b.WriteString(d.YAML)
		for _, n := range d.Fill {
			fmt.Fprintf(&b, "# fill in: %s\n", n)
		}
		for _, n := range d.Left {
			fmt.Fprintf(&b, "# left out: %s\n", n)
		}
		golden := filepath.Join("testdata", name+".draft")
		if *update {
			if err := os.WriteFile(golden, []byte(b.String()), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), b.String()); diff != "" {
			t.Errorf("%s (run with -update):\n%s", name, diff)
		}
		for _, secret := range []string{"b2YgdGhl", "OQINaROshtE9", "c2VjcmV0", "of-the-directory", "unsecure_session", "of the web server", "of-the-cookies"} {
			if strings.Contains(b.String(), secret) {
				t.Errorf("%s: the draft says the secret %s…", name, secret)
			}
		}
	}
}

// What can not be read is an error with its place, and what protects nothing is no draft.
func TestWhatIsNoConfigurationIsRefused(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ format, text, want string }{
		{"oauth2-proxy", "provider", "f:1: there is no ="},
		{"oauth2-proxy", "x = 1\nupstreams = [ \"a\"", "f:2: the list does not end"},
		{"oauth2-proxy", `upstreams = "http://a`, "f:1: the quotes"},
		{"oauth2-proxy", `provider = "oidc"`, "nothing in it is protected"},
		{"authelia", "a: [", "f: "},
		{"authelia", "", "there is nothing in it"},
		{"authelia", "theme: dark", "nothing in it is protected"},
		{"mod_auth_openidc", `ServerName "x`, "f:1: the quotes"},
		{"mod_auth_openidc", "ServerName x", "nothing in it is protected"},
		{"mod_auth_openidc", "OIDCRemoteUserClaim", "nothing in it is protected"},
		{"authelia", "a: &a { <<: *a }", "nothing in it is protected"},
		{"oauth2-proxy", `upstreams = "file:///var/www"`, "nothing in it is protected"},
	} {
		if d, err := migrate.Formats[c.format](migrate.Source{Name: "f", Text: c.text}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s of %q: %v, want %q\n%s", c.format, c.text, err, c.want, d.YAML)
		}
	}
}

// Of what a mapping takes over from others the first counts, as it does for those whose
// files these are: what narrows who may pass is not replaced by what came behind it.
func TestOfWhatIsTakenOverTheFirstCounts(t *testing.T) {
	t.Parallel()
	for _, over := range []string{"[*closed, *open]", "[*closed, *open, *closed]", "*both"} {
		text := "closed: &closed { policy: two_factor, subject: \"group:admins\" }\nopen: &open { policy: bypass }\nboth: &both { <<: [*closed, *open] }\n" +
			"access_control: { rules: [ { <<: " + over + ", domain: a.test } ] }\n"
		d, err := migrate.Authelia(migrate.Source{Name: "f", Text: text})
		if err != nil || strings.Contains(d.YAML, "anyone") || !strings.Contains(d.YAML, `\"admins\" in user.groups`) || !strings.Contains(d.YAML, "acr: ") {
			t.Errorf("%s: %v\n%s", over, err, d.YAML)
		}
	}
}

// Nobody passes where something that was not read may keep them out.
func TestWhatMayNarrowAPlaceClosesIt(t *testing.T) {
	t.Parallel()
	for format, text := range map[string]string{
		"authelia":         "access_control: { rules: [ { domain: A.test, policy: deny }, { domain: a.test, policy: bypass } ] }",
		"mod_auth_openidc": "ServerName a.test\n<Location /x>\nRequire valid-user\nInclude more.conf\n</Location>",
	} {
		d, err := migrate.Formats[format](migrate.Source{Name: "f", Text: text})
		if err != nil || strings.Contains(d.YAML, "allow:") {
			t.Errorf("%s: %v\n%s", format, err, d.YAML)
		}
		d, err = migrate.Formats[format](migrate.Source{Name: "f", Text: strings.NewReplacer("A.test", "b.test", "Include more.conf", "").Replace(text)})
		if err != nil || !strings.Contains(d.YAML, "allow:") {
			t.Errorf("control: %s: %v\n%s", format, err, d.YAML)
		}
	}
}

// A few lines that name each other again and again are read as fast as others, to the
// last.
func TestWhatIsTakenOverIsReadOnce(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	b.WriteString("a0: &a0 { inactivity: 5m }\n")
	for i := 1; i < 40; i++ {
		fmt.Fprintf(&b, "a%d: &a%d { <<: [*a%d, *a%d, *a%d], k%d: 1 }\n", i, i, i-1, i-1, i-1, i)
	}
	b.WriteString("session: *a39\naccess_control: { rules: [ { domain: a.test, policy: one_factor } ] }\n")
	d, err := migrate.Authelia(migrate.Source{Name: "f", Text: b.String()})
	if err != nil || !strings.Contains(d.YAML, "idle: 5m") {
		t.Errorf("%v\n%s", err, d.YAML)
	}
}

// A note is one line of text, whatever a file has: a terminal is told nothing.
func TestNotesAreLinesOfText(t *testing.T) {
	t.Parallel()
	d, err := migrate.ModAuthOpenIDC(migrate.Source{Name: "f", Text: "<Location /x>\nRequire valid-user\nProxyPass \x1b]0;title\x07\x1b[2J\r\u009b2J\n</Location>"})
	if err != nil || len(d.Left) == 0 {
		t.Fatal(d.Left, err)
	}
	for _, n := range d.Left {
		if strings.ContainsFunc(n.String(), unicode.IsControl) {
			t.Errorf("%q", n.String())
		}
	}
}

// No text makes a reader panic.
func FuzzFormats(f *testing.F) {
	files, err := filepath.Glob("testdata/*")
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, read := range migrate.Formats {
			_, _ = read(migrate.Source{Name: "f", Text: text})
			_, _ = read(migrate.Source{Name: "f.yaml", Text: text})
		}
	})
}
