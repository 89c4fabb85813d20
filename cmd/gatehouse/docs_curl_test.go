package main

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/gatehouse-sso/gatehouse/provisioning/scim"
)

// The curl lines of the README do what it says of them.
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
	id := curl(lines[0], http.StatusCreated).String("id")
	if page := w.accounts(id); !strings.Contains(page, "Bob of HR") {
		t.Errorf("the target has no account:\n%s", page)
	}
	bob := w.person()
	bob.open(w.at("wiki", "/")).signIn("campus", "bob").wants(http.StatusOK, "Wiki")
	bob.open(w.at("wiki", "/headers")).wants(http.StatusOK, "bob")
	if n, err := w.p.site.Load().directory.Count(t.Context(), "primary"); n != 1 || err != nil {
		t.Errorf("there are %d users, %v: bob was not known", n, err)
	}
	curl(lines[1], http.StatusOK, "Users/ID", "Users/"+id)
	bob.open(w.at("wiki", "/headers"))
	if bob.url.Host == fmt.Sprintf("wiki.localhost:%d", w.port) {
		t.Errorf("bob is still at the wiki:\n%s", bob.body)
	}
	bob.open(w.at("wiki", "/")).signIn("campus", "bob").wants(http.StatusForbidden, "user.inactive")
}
