package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// received is what the wiki echoes.
func (p *person) received() map[string][]string {
	p.w.t.Helper()
	p.open(p.w.at("wiki", "/headers")).wants(http.StatusOK)
	var v struct{ Headers map[string][]string }
	if err := json.Unmarshal([]byte(p.body), &v); err != nil {
		p.w.t.Fatalf("%v in %s", err, p.body)
	}
	return v.Headers
}

func TestAliceSignsInAndTheWikiKnowsHer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	alice := w.person()
	alice.open(w.at("wiki", "/")).signIn("campus", "alice").wants(http.StatusOK, "Wiki")
	if got, want := alice.url.String(), w.at("wiki", "/"); got != want {
		t.Errorf("came back to %s, want %s", got, want)
	}
	h := alice.received()
	for name, want := range map[string]string{
		"X-Forwarded-User": "alice", "X-Forwarded-Email": "alice@campus.example",
		"X-Forwarded-Groups": "fin,finance-approvers,staff", "X-Gatehouse-Provisioned": "done",
	} {
		if got := strings.Join(h[name], "|"); got != want {
			t.Errorf("%s = %q, want %q", name, got, want)
		}
	}
	if len(h["X-Gatehouse-Jwt"]) != 1 {
		t.Errorf("there is no signed token among %v", h)
	}
	if len(h["Cookie"]) > 0 {
		t.Errorf("the wiki got the cookie %q", h["Cookie"])
	}
	w.person().open(fmt.Sprintf("http://localhost:%d/", w.port+3)).wants(http.StatusOK, "alice", "Alice Liddell")
}

func TestDanaSignsInBySAML(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	dana := w.person()
	dana.open(w.at("wiki", "/report?x=1")).signIn("partner", "dana").wants(http.StatusOK)
	if got, want := dana.url.String(), w.at("wiki", "/report?x=1"); got != want {
		t.Errorf("came back to %s, want %s", got, want)
	}
	if got := dana.received()["X-Forwarded-User"]; len(got) != 1 || got[0] != "partners/dana" {
		t.Errorf("X-Forwarded-User = %q", got)
	}
}

func TestErikMeetsTheMissingAttributePage(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	erik := w.person()
	erik.open(w.at("wiki", "/")).signIn("partner", "erik").wants(http.StatusForbidden, "Partner University", "jit.attribute_missing")
}

func TestBobIsRefusedAtPayrollAndAliceStepsUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	bob := w.person()
	bob.open(w.at("payroll", "/")).signIn("campus", "bob").
		wants(http.StatusForbidden, "Payroll is for the finance office, signed in with a second factor.", "payroll@campus.example", "Bob Ångström")
	alice := w.person()
	alice.open(w.at("wiki", "/")).signIn("campus", "alice").wants(http.StatusOK, "Wiki")
	alice.open(w.at("payroll", "/")).wants(http.StatusOK, "Sign in to continue")
	alice.submit(url.Values{"user": {"alice"}}).wants(http.StatusOK, "second factor")
	alice.submit(url.Values{"user": {"alice"}, "factor": {"yes"}})
	if !strings.Contains(alice.body, "Payroll") || alice.url.Host != fmt.Sprintf("payroll.localhost:%d", w.port) {
		t.Fatalf("alice is at %s (%d):\n%s", alice.url, alice.status, alice.body)
	}
}
