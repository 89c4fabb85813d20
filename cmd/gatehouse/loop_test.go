package main

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-sso/gatehouse/provisioning/access"
	webapi "github.com/gatehouse-sso/gatehouse/web/api"
)

// ledger adds to a lab a service that wants a role about which alice decides, and
// a target that makes accounts for those who have it.
func ledger(l *lab) {
	l.t.Helper()
	l.reload(func(s string) string {
		_, upstream, _ := strings.Cut(s, "upstream: ")
		upstream, _, _ = strings.Cut(upstream, "\n")
		s = strings.Replace(s, "  - { id: gatehouse-admin,", "  - { id: books, title: Bookkeeping, approvers: { users: [alice, bob] }, longest: 90d }\n  - { id: gatehouse-admin,", 1)
		s = strings.Replace(s, "targets:\n", `  - id: ledger
    title: Ledger
    host: ledger.localhost
    upstream: `+upstream+`
    access: [ { id: books, text: The ledger is for bookkeepers., allow: { roles: [books] } } ]
    denied: { request: [books] }
    release: [ user_name ]
targets:
`, 1)
		return strings.Replace(s, "users: { all: true }", "users: { roles: [books] }", 1)
	})
}

// The whole loop: who is denied asks on the spot, who decides sees it, and the
// next click on the page that was wanted works, in the same session, with headers
// and an account at the target; until the end.
func TestADenialEndsInAccess(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	ledger(l)
	bob, alice := l.in("campus", "bob"), l.in("campus", "alice")
	page := l.at("ledger", "/2026?month=11")
	bob.open(page).wants(http.StatusForbidden, "The ledger is for bookkeepers.", "Ask for access")
	bob.click("Ask for access").wants(http.StatusOK, "Ask for access to Ledger", "Bookkeeping", `max="`)
	day := l.clock.now().UTC().Add(20 * 24 * time.Hour).Format(time.DateOnly)
	bob.submit(url.Values{"reason": {"Month end <b>closing</b>"}, "until": {day}}).wants(http.StatusOK, "Your request was sent", "Waiting", "Month end &lt;b&gt;closing&lt;/b&gt;", `Wanted until</dt><dd><time datetime="`+day+`">`)
	bob.do(http.MethodGet, page, nil).wants(http.StatusForbidden, "You have asked for access")
	if strings.Contains(bob.body, "Ask for access</a>") || bob.header.Get("Refresh") == "" {
		t.Error("who has asked is offered to ask again, or the page does not look again")
	}
	// Bob decides about the role, but not about himself.
	bob.open(l.at("", "/.gatehouse/requests/open")).wants(http.StatusOK, "Nothing waits for you")

	alice.open(l.at("", "/")).wants(http.StatusOK, "To decide")
	alice.click("To decide").wants(http.StatusOK, "asks for", "Bob", "Ledger", "Month end", "Would give an account at")
	shorter := l.clock.now().UTC().Add(5 * 24 * time.Hour).Format(time.DateOnly)
	alice.submit(url.Values{"answer": {"approve"}, "until": {shorter}, "text": {"five days will do"}}).wants(http.StatusOK, "The request is approved", "Nothing waits for you")

	var u webapi.User
	l.admin(http.MethodGet, "user", url.Values{"name": {"bob"}}, &u)
	if len(u.Grants) != 1 || u.Grants[0].Granter != "alice" || u.Grants[0].RoleTitle != "Bookkeeping" {
		t.Errorf("administrators see %+v", u.Grants)
	}
	before := l.posts.Load()
	eventually(t, "bob's page opens", func() bool { return bob.do(http.MethodGet, page, nil).status == http.StatusOK })
	bob.wants(http.StatusOK, `"X-Forwarded-User":["bob"]`, "/2026?month=11")
	eventually(t, "bob has an account at the target", func() bool { return l.hasAccount("bob") })
	if l.posts.Load() > before+1 {
		t.Error("the account was made more than once")
	}
	bob.open(l.at("", "/.gatehouse/requests")).wants(http.StatusOK, "Approved", "five days will do", page, `Approved until</dt><dd><time datetime="`+shorter+`">`)

	var kinds []string
	for _, e := range l.recorded() {
		if strings.HasPrefix(e.Kind, "request.") {
			kinds = append(kinds, e.Kind+" "+e.Service)
		}
	}
	if want := []string{"request.made ledger", "request.approved ledger"}; !slices.Equal(kinds, want) {
		t.Errorf("audited %q, want %q", kinds, want)
	}

	// The end takes all of it back.
	l.stop()
	l.clock.advance(7 * 24 * time.Hour)
	l.start()
	l.in("campus", "bob").open(page).wants(http.StatusForbidden, "Ask for access")
	eventually(t, "bob's account at the target is disabled", func() bool { return !l.hasAccount("bob") })
}

// The owner of a service decides about what was asked for because of it, if the
// service says so, and about nothing else.
func TestTheOwnerOfAServiceDecidesAboutRequestsBecauseOfIt(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	ledger(l)
	owned := func(with string) {
		l.reload(func(s string) string {
			s = strings.Replace(s, "\n    owners_approve: true", "", 1)
			s = strings.Replace(s, "\n    owners: { users: [partners/dana] }", "", 1)
			return strings.Replace(s, "\n    denied: { request: [books] }", "\n    denied: { request: [books] }\n    owners: { users: [partners/dana] }"+with, 1)
		})
	}
	bob, alice, dana := l.in("campus", "bob"), l.in("campus", "alice"), l.in("partner", "dana")
	call := func(p *person, method, path string, form url.Values, want int, into any) {
		t.Helper()
		p.open(l.at("", "/")).wants(http.StatusOK)
		if method == http.MethodGet {
			path += "?" + form.Encode()
			form = nil
		}
		p.do(method, l.at("", "/.gatehouse/api/v1/"+path), form).wants(want)
		if into != nil {
			decodeJSON(t, p.body, into)
		}
	}
	asked := func(service string) (r webapi.Request) {
		t.Helper()
		if service == "" { // as after a telephone call, because of no service
			l.admin(http.MethodPost, "me/request", url.Values{"name": {"bob"}, "role": {"books"}, "reason": {"month end"}, "until": {"8h"}}, &r)
			return r
		}
		call(bob, http.MethodPost, "me/request", url.Values{"role": {"books"}, "reason": {"month end"}, "until": {"8h"}, "service": {service}}, http.StatusOK, &r)
		return r
	}
	waits := func(p *person) int {
		var list []webapi.Decision
		call(p, http.MethodGet, "decisions", nil, http.StatusOK, &list)
		return len(list)
	}
	decide := func(p *person, answer string, r webapi.Request, want int, code string) {
		t.Helper()
		call(p, http.MethodPost, "request/"+answer, url.Values{"id": {r.ID}}, want, nil)
		if !strings.Contains(p.body, code) {
			t.Errorf("%s, want %s", p.body, code)
		}
	}

	owned("") // an owner alone does not decide
	r := asked("ledger")
	if waits(dana) != 0 || waits(alice) != 1 {
		t.Error("an owner who does not decide is asked, or the approver is not")
	}
	decide(dana, "approve", r, http.StatusForbidden, "access.not_approver")
	decide(alice, "deny", r, http.StatusOK, "denied")

	owned("\n    owners_approve: true")
	r = asked("")
	if waits(dana) != 0 {
		t.Error("an owner is asked about a request that is not because of their service")
	}
	decide(dana, "approve", r, http.StatusForbidden, "access.not_approver")
	decide(alice, "deny", r, http.StatusOK, "denied")
	r = asked("ledger")
	if waits(dana) != 1 {
		t.Error("the owner is not asked")
	}
	decide(bob, "approve", r, http.StatusForbidden, "access.own_request")
	bob.do(http.MethodGet, l.at("ledger", "/"), nil).wants(http.StatusForbidden)
	decide(dana, "approve", r, http.StatusOK, "approved")
	eventually(t, "bob's page opens", func() bool { return bob.do(http.MethodGet, l.at("ledger", "/"), nil).status == http.StatusOK })

	// An owner does not decide about themselves.
	var own webapi.Request
	call(dana, http.MethodPost, "me/request", url.Values{"role": {"books"}, "reason": {"me too"}, "until": {"8h"}, "service": {"ledger"}}, http.StatusOK, &own)
	decide(dana, "approve", own, http.StatusForbidden, "access.own_request")
}

// Nobody asks for what a service does not want, decides about what is not theirs
// or sees it; and what was typed is there again after a refusal.
func TestAskingAndDecidingStayWithinTheirBounds(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	ledger(l)
	bob, alice, carol := l.in("campus", "bob"), l.in("campus", "alice"), l.in("campus", "carol")
	form := l.at("", "/.gatehouse/requests/ask?service=ledger&back="+url.QueryEscape(l.at("ledger", "/")))
	day := func(n int) string {
		return l.clock.now().UTC().Add(time.Duration(n) * 24 * time.Hour).Format(time.DateOnly)
	}

	bob.open(form).submit(url.Values{"reason": {"kept <i>text</i>"}, "until": {day(300)}}).
		wants(http.StatusForbidden, "access.until", "kept &lt;i&gt;text&lt;/i&gt;", day(300))
	bob.open(form).submit(url.Values{"reason": {" "}, "until": {day(3)}}).wants(http.StatusForbidden, "access.reason_missing")
	bob.open(form).submit(url.Values{"role": {"gatehouse-admin"}, "reason": {"please"}, "until": {day(3)}}).wants(http.StatusForbidden, "access.role_unknown")
	bob.open(form).submit(url.Values{"service": {"admins"}, "role": {"books"}, "reason": {"please"}, "until": {day(3)}}).wants(http.StatusForbidden, "access.role_unknown")
	// The way back is to this gateway or nowhere.
	for _, evil := range []string{"http://evil.example/", "//evil.example/", "javascript:alert(1)", "http://ledger.localhost.evil.example/", "http://x@ledger.localhost/"} {
		bob.open(l.at("", "/.gatehouse/requests/ask?service=ledger&back="+url.QueryEscape(evil))).wants(http.StatusOK, `name="back" value=""`)
		if strings.Contains(bob.body, "Go back to the page") {
			t.Errorf("%s is the way back", evil)
		}
	}
	bob.open(form).wants(http.StatusOK, "Go back to the page")
	bob.open(form).submit(url.Values{"reason": {"secret of bob"}, "until": {day(3)}}).wants(http.StatusOK, "Waiting")
	bob.open(form).submit(url.Values{"reason": {"again"}, "until": {day(3)}}).wants(http.StatusForbidden, "access.request_waiting")

	var list []webapi.Request
	l.admin(http.MethodGet, "requests", nil, &list)
	if len(list) != 1 || list[0].Service != "ledger" || list[0].URL != l.at("ledger", "/") {
		t.Fatalf("requests: %+v", list)
	}
	id := list[0].ID
	post := func(p *person, path string, with url.Values) *person {
		p.open(l.at("", "/.gatehouse/requests"))
		return p.do(http.MethodPost, l.at("", path), with)
	}
	// A student sees and decides nothing of it; neither does Bob.
	l.reload(func(s string) string {
		return strings.Replace(s, "admins: { roles: [gatehouse-admin] }", "admins: { users: [kim] }", 1)
	})
	for _, p := range []*person{bob, carol} {
		want := map[*person]string{bob: "access.own_request", carol: "access.not_approver"}[p]
		post(p, "/.gatehouse/requests/decide", url.Values{"id": {id}, "answer": {"approve"}}).wants(http.StatusForbidden, want)
		if strings.Contains(p.body, "secret of bob") {
			t.Errorf("%s: the page shows what Bob wrote", want)
		}
	}
	post(carol, "/.gatehouse/requests/withdraw", url.Values{"id": {id}}).wants(http.StatusForbidden, "access.request_unknown")
	// Who signed in long ago signs in again first; what was typed stays.
	l.clock.advance(11 * time.Minute)
	post(alice, "/.gatehouse/requests/decide", url.Values{"id": {id}, "answer": {"approve"}, "text": {"typed before"}}).
		wants(http.StatusForbidden, "access.step_up", "typed before", "/.gatehouse/fresh?return=")
	post(alice, "/.gatehouse/requests/decide", url.Values{"id": {id}, "answer": {"perhaps"}}).wants(http.StatusForbidden)
	post(bob, "/.gatehouse/requests/withdraw", url.Values{"id": {id}}).settle().wants(http.StatusOK, "Your request was withdrawn", "Withdrawn")
	// By the machine: in Bob's name, and decided.
	var made webapi.Request
	l.admin(http.MethodPost, "me/request", url.Values{"name": {"bob"}, "role": {"books"}, "reason": {"by telephone"}, "until": {"8h"}}, &made)
	l.admin(http.MethodPost, "request/deny", url.Values{"id": {made.ID}, "text": {"not today"}}, &made)
	if made.State != access.Denied || made.UserName != "bob" {
		t.Errorf("denied: %+v", made)
	}
	bob.open(l.at("", "/.gatehouse/requests")).wants(http.StatusOK, "Denied", "not today")
}
