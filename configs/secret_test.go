package configs

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

const password = "correct horse battery staple"

// B12: whatever prints a secret, or something that it is in, prints "…".
func TestB12_SecretIsNeverShown(t *testing.T) {
	t.Parallel()
	value := password
	s := Secret{&value}
	if s.Value() != password {
		t.Fatal("the secret can not be had at all")
	}
	o := OIDC{ClientID: "gatehouse", ClientSecret: s}
	hiding := struct{ in Secret }{s} // fmt calls no methods of what is not exported
	c := &Config{StoreKey: s, IdentityProviders: []IdentityProvider{{ID: "campus", OIDC: &o}}}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t", "%p", "%U", "%10s", "%e"} {
		for _, x := range []any{s, &s, o, &o, []Secret{s}, map[string]Secret{"a": s}, hiding, &hiding, c, *c, fmt.Errorf("with %v", s)} {
			refuseShown(t, verb, fmt.Sprintf(verb, x))
		}
	}
	if got := fmt.Sprintf("%+v", o); !strings.Contains(got, "gatehouse") || !strings.Contains(got, "…") {
		t.Errorf("not even the rest is shown: %s", got)
	}
	for name, marshal := range map[string]func(any) ([]byte, error){"json": json.Marshal, "yaml": yaml.Marshal} {
		b, err := marshal(struct{ Secret Secret }{s})
		if err != nil || !strings.Contains(string(b), "…") {
			t.Errorf("%s: %s, %v", name, b, err)
		}
		refuseShown(t, name, string(b))
	}
	b, _ := xml.Marshal(s)
	refuseShown(t, "xml", string(b))

	var log bytes.Buffer
	for _, h := range []slog.Handler{slog.NewTextHandler(&log, nil), slog.NewJSONHandler(&log, nil)} {
		slog.New(h).Info("start", "secret", s, "oidc", o, "config", c, "group", slog.GroupValue(slog.Any("s", &s)))
	}
	refuseShown(t, "slog", log.String())
	if !strings.Contains(log.String(), "secret=…") {
		t.Errorf("slog: %s", log.String())
	}
}

func refuseShown(t *testing.T, how, text string) {
	t.Helper()
	for _, shown := range []string{password, "correct", fmt.Sprintf("%x", password), fmt.Sprintf("%X", password)} {
		if strings.Contains(text, shown) {
			t.Errorf("%s shows it: %s", how, text)
		}
	}
}

func TestSecretsAreReadFromFilesAndVariables(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "campus"), password+"\n", 0o600)
	write(t, filepath.Join(dir, "wide"), "s\r\n", 0o644)
	write(t, filepath.Join(dir, "empty"), "\n", 0o600)
	write(t, filepath.Join(dir, "huge"), strings.Repeat("x", maxSecret+1), 0o600)
	t.Setenv("GATEHOUSE_TEST_TOKEN", "token")
	t.Setenv("GATEHOUSE_TEST_EMPTY", "")
	good := strings.Replace(string(source(t, "testdata/good.yaml")), "{ public_url", "{ trusted_proxies: [10.0.0.2], public_url", 1)

	load := func(secret, token string) (*Config, []Mistake) {
		text := strings.Replace(strings.Replace(good, "{ file: campus }", secret, 1), "{ env: CRM }", token, 1)
		path := filepath.Join(dir, "gate.yaml")
		write(t, path, text, 0o600)
		return Load(path)
	}
	c, mistakes := load("{ file: campus }", "{ env: GATEHOUSE_TEST_TOKEN }")
	if len(mistakes) > 0 {
		t.Fatal(mistakes)
	}
	if got := c.IdentityProviders[0].OIDC.ClientSecret.Value(); got != password {
		t.Errorf("from a file beside the configuration: %q", got)
	}
	if got := c.Targets[0].SCIM2.Auth.Bearer.Value(); got != "token" {
		t.Errorf("from a variable: %q", got)
	}
	if got := c.Surprises(); len(got) > 0 {
		t.Errorf("surprises without a reason: %v", got)
	}

	c, mistakes = load("{ file: wide }", "{ env: GATEHOUSE_TEST_TOKEN }")
	if len(mistakes) > 0 || c.IdentityProviders[0].OIDC.ClientSecret.Value() != "s" {
		t.Errorf("a file that is open to others is no mistake: %v", mistakes)
	}
	if got := c.Surprises(); len(got) != 1 || !strings.Contains(got[0].What, "mode 0644") || got[0].Line != 7 {
		t.Errorf("a file that is open to others is a surprise: %v", got)
	}

	for secret, want := range map[string]string{
		"{ file: nowhere }":              "no such file",
		"{ file: empty }":                "empty",
		"{ file: huge }":                 "too large",
		"{ file: . }":                    "not a regular file",
		"{ file: /dev/zero }":            "not a regular file",
		"{ env: GATEHOUSE_TEST_EMPTY }":  "empty or not there",
		"{ env: GATEHOUSE_TEST_ABSENT }": "empty or not there",
	} {
		_, mistakes := load(secret, "{ env: GATEHOUSE_TEST_TOKEN }")
		if len(mistakes) != 1 || !strings.Contains(mistakes[0].What, want) || mistakes[0].Line != 7 {
			t.Errorf("%s: %v", secret, mistakes)
		}
	}
}

// Only the demo says what its secrets are in the file itself.
func TestInlineSecretsAreForTheDemoAlone(t *testing.T) {
	t.Parallel()
	text := strings.Replace(string(source(t, "testdata/good.yaml")), "{ file: campus }", password, 1)
	if _, mistakes := Parse("x", []byte(text), SkipFiles); len(mistakes) != 1 || !strings.Contains(mistakes[0].What, "written into the file") {
		t.Errorf("accepted: %v", mistakes)
	}
	c, mistakes := Parse("x", []byte(text), SkipFiles, AllowInlineSecrets)
	if len(mistakes) > 0 || c.IdentityProviders[0].OIDC.ClientSecret.Value() != password {
		t.Errorf("the demo can not say its secret: %v", mistakes)
	}
}

func write(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

func TestSecretOfAWebhookHasItsForm(t *testing.T) {
	for value, good := range map[string]bool{
		"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw": true, "whsk_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo=": true,
		"hunter2": false, "whsec_short": false, "whpk_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw": false,
	} {
		t.Setenv("HOOK", value)
		src := strings.Replace(string(source(t, "minimal.yaml")), "\nservices:", "\ntargets: [ { id: hook, webhook: { url: https://hook.example/in, secrets: { env: HOOK } } } ]\nservices:", 1)
		_, mistakes := Parse("x", []byte(src))
		told := slices.ContainsFunc(mistakes, func(m Mistake) bool { return m.What == "this is no secret of Standard Webhooks" })
		if told == good {
			t.Errorf("%s: %v", value, mistakes)
		}
		for _, m := range mistakes {
			if strings.Contains(m.String(), value) {
				t.Errorf("the secret is told: %s", m)
			}
		}
	}
}
