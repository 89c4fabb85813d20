package main

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/gatehouse-sso/gatehouse/provisioning/scim"
)

// The curl lines of the README do what it says of them, to whom has done first what
// it says first.
func TestDocsCurlLinesOfTheReadmeMakeAndDisableSomebody(t *testing.T) {
	t.Parallel()
	var lines []string
	for _, f := range fences(readDoc(t, "README.md")) {
		if strings.HasPrefix(f.body, "curl ") {
			lines = append(lines, f.body)
		}
	}
	if len(lines) != 2 {
		t.Fatalf("the README has %d curl lines", len(lines))
	}
	w := newWorld(t)
	token := w.p.site.Load().cfg.Clients[0].Credentials[0].Bearer.Value()
	curl := func(line string, want int, replace ...string) *scim.Object {
		t.Helper()
		status, body := w.curl(strings.NewReplacer(append(replace, "TOKEN", token)...).Replace(line))
		if status != want {
			t.Fatalf("%d, want %d: %s", status, want, body.AppendJSON(nil))
		}
		return body
	}
	w.person().open(w.at("wiki", "/")).signIn("campus", "alice").wants(http.StatusOK, "Wiki")
	w.person().open(w.at("payroll", "/")).signIn("campus", "bob").wants(http.StatusForbidden, "Ask for access")
	id := curl(lines[0], http.StatusCreated).String("id")
	if page := w.accounts(id); !strings.Contains(page, "Frida of HR") {
		t.Errorf("the target has no account:\n%s", page)
	}
	frida := w.person()
	frida.open(w.at("wiki", "/")).signIn("campus", "frida").wants(http.StatusOK, "Wiki")
	frida.open(w.at("wiki", "/headers")).wants(http.StatusOK, "frida")
	frida.open(w.at("", "/.gatehouse/me")).wants(http.StatusOK, "Frida of HR", "HR system")
	if n, err := w.p.site.Load().directory.Count(t.Context(), "primary"); n != 3 || err != nil {
		t.Errorf("there are %d users, %v: frida was not known", n, err)
	}
	curl(lines[1], http.StatusOK, "Users/ID", "Users/"+id)
	frida.open(w.at("wiki", "/headers"))
	if frida.url.Host == fmt.Sprintf("wiki.localhost:%d", w.port) {
		t.Errorf("frida is still at the wiki:\n%s", frida.body)
	}
	frida.open(w.at("wiki", "/")).signIn("campus", "frida").wants(http.StatusForbidden, "user.inactive")
}
