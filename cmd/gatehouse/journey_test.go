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

// The story that the README and the demo tell: bob is denied, asks on the spot, alice
// approves, and the page that he wanted opens, with his second factor.
func TestTheDenialOfTheDemoBecomesAccess(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	bob, alice := w.person(), w.person()
	bob.open(w.at("payroll", "/slips")).signIn("campus", "bob").wants(http.StatusForbidden, "Payroll is for the finance office, signed in with a second factor.")
	bob.click("Ask for access").submit(url.Values{"reason": {"Payslips in May"}}).wants(http.StatusOK, "Payslips in May")
	bob.do(http.MethodGet, w.at("payroll", "/slips"), nil).wants(http.StatusForbidden, "You have asked for access") // it looks again by itself
	alice.open(w.at("", "/")).signIn("campus", "alice").click("To decide").wants(http.StatusOK, "<bdi>Bob Ångström</bdi>", "<bdi>Finance office</bdi>")
	alice.submit(url.Values{"answer": {"approve"}}).wants(http.StatusOK, "The request is approved")
	bob.open(w.at("payroll", "/slips")).submit(url.Values{"user": {"bob"}}).wants(http.StatusOK, "Confirm with your second factor")
	bob.submit(url.Values{"factor": {"yes"}}).wants(http.StatusOK, "Remote-User")
	if bob.url.Path != "/slips" {
		t.Errorf("bob is at %s", bob.url)
	}
}

// Who has no second factor is told what is missing and who can help, and stays out.
func TestWhoHasNoSecondFactorIsToldSo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	frida := w.person()
	frida.open(w.at("wiki", "/")).signIn("campus", "frida").wants(http.StatusOK)
	w.admin(http.MethodPost, "grant", url.Values{"name": {"frida"}, "role": {"finance"}, "until": {"1h"}}, nil)
	frida.open(w.at("payroll", "/")).submit(url.Values{"user": {"frida"}}).wants(http.StatusForbidden,
		"A stronger sign-in is needed", "If you are not asked for one, ask the help desk of your institution to set it up.", "login.context_too_weak")
}
