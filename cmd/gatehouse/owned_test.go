package main

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// Who answers for a service sees on pages of their own who asks for it, who may use
// it and what happened there, decides, and learns nothing of other services.
func TestAnOwnerSeesAndDecidesAboutTheirServiceAlone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.reconfigure(func(s string) string {
		return strings.NewReplacer(
			"    headers: remote-user\n", "    headers: remote-user\n    owners: { users: [partners/dana] }\n    owners_approve: true\n",
			"    release_in: editor               # the list", "    denied: { request: [finance] }\n    release_in: editor               # the list",
		).Replace(s)
	})
	ask := func(name, service, reason string) {
		t.Helper()
		p := w.person()
		p.open(w.at("payroll", "/")).signIn("campus", name).wants(http.StatusForbidden)
		p.open(w.at("", "/")).do(http.MethodPost, w.at("", "/.gatehouse/requests/ask"), url.Values{"role": {"finance"}, "service": {service}, "reason": {reason}, "until": {"30d"}}).settle().wants(http.StatusOK, reason)
	}
	ask("bob", "payroll", "For the closing")
	ask("carol", "wiki", "For the group pages")

	dana := w.person()
	dana.open(w.at("", "/")).signIn("partner", "dana").wants(http.StatusOK, deskPath+"/")
	dana.open(w.at("", deskPath+"/")).wants(http.StatusOK, "My services", "Payroll", "To decide")
	if strings.Contains(dana.body, "wiki") {
		t.Error("dana sees the wiki, for which she does not answer")
	}
	page := w.at("", deskPath+"/mine/service?id=payroll")
	eventually(t, "the denial is recorded", func() bool { return strings.Contains(dana.open(page).body, "access.no_rule") })
	dana.wants(http.StatusOK, "For the closing", "bob", "Finance office", "Nobody was given one by name", "Signed in now", "Payslip notices", "/.gatehouse/requests/open")
	if strings.Contains(dana.body, "For the group pages") {
		t.Error("dana sees who asked because of the wiki")
	}
	for _, path := range []string{"/mine/service?id=wiki", "/mine/service?id=none"} {
		dana.open(w.at("", deskPath+path)).wants(http.StatusNotFound, reasonNotFound)
	}
	for _, path := range []string{"/services", "/service?id=payroll", "/audit?service=payroll", "/people", "/release"} {
		dana.open(w.at("", deskPath+path)).wants(http.StatusForbidden, "access.no_rule")
	}

	dana.open(w.at("", "/.gatehouse/requests/open")).wants(http.StatusOK, "For the closing")
	if strings.Contains(dana.body, "For the group pages") {
		t.Error("dana is asked to decide about the wiki")
	}
	dana.submit(url.Values{"answer": {"approve"}}).wants(http.StatusOK, "Nothing waits for you")
	dana.open(page).wants(http.StatusOK, "Nobody waits", "partners/dana")
	var left []struct{ ID string }
	w.admin(http.MethodGet, "requests", nil, &left)
	if len(left) != 1 {
		t.Fatalf("%d requests wait, want carol's", len(left))
	}
	dana.do(http.MethodPost, w.at("", "/.gatehouse/requests/decide"), url.Values{"id": {left[0].ID}, "answer": {"approve"}})
	if dana.status < http.StatusBadRequest {
		t.Errorf("dana decided about the wiki: %d", dana.status)
	}
}
