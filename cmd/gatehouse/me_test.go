package main

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-sso/gatehouse/provisioning"
	webapi "github.com/gatehouse-sso/gatehouse/web/api"
)

// sent posts a form from a page of ours.
func (p *person) sent(l *lab, path string, form url.Values) *person {
	l.t.Helper()
	p.open(l.at("", "/.gatehouse/me")).wants(http.StatusOK)
	return p.do(http.MethodPost, l.at("", path), form).settle()
}

func (p *person) myData(l *lab) (me webapi.Me) {
	l.t.Helper()
	p.open(l.at("", "/.gatehouse/api/v1/me")).wants(http.StatusOK)
	decodeJSON(l.t, p.body, &me)
	return me
}

// People see who said what about them, who learns of it, where they are signed
// in and what they asked for; and can keep all of it as a file.
func TestPeopleSeeWhatIsKnownAboutThemAndWhoLearnsOfIt(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	ledger(l)
	bob := l.in("campus", "bob")
	l.admin(http.MethodPost, "grant", url.Values{"name": {"bob"}, "role": {"books"}, "until": {"8h"}}, nil)
	eventually(t, "bob has an account at the target", func() bool { return l.hasAccount("bob") })
	bob.open(l.at("", "/")).wants(http.StatusOK).click("My data")
	bob.wants(http.StatusOK, "bob@campus.example", "Campus", "Wiki", "Ledger", "Bookkeeping", "Given by", "directory", "Last told", "This browser", "Your only one")
	if strings.Contains(bob.body, "Payroll") {
		t.Error("a service that bob may not open is said to learn something")
	}
	bob.open(l.at("", "/.gatehouse/me/export")).wants(http.StatusOK)
	if bob.header.Get("Content-Disposition") != `attachment; filename="my-data.json"` || bob.header.Get("Content-Type") != "application/json" {
		t.Errorf("the export is no file: %v", bob.header)
	}
	var all webapi.Everything
	if err := json.Unmarshal([]byte(bob.body), &all); err != nil {
		t.Fatal(err)
	}
	kinds := []string{}
	for _, e := range all.Events {
		kinds = append(kinds, e.Kind)
	}
	if all.Me.UserName != "bob" || len(all.Me.Claims["mail"]) != 1 || string(all.Me.Claims["mail"][0].Source) != "idp:campus" || all.Me.Claims["mail"][0].At.IsZero() || !slices.Contains(kinds, "login") || !slices.Contains(kinds, "role.granted") {
		t.Errorf("the export has %+v, events %q", all.Me, kinds)
	}
	i := slices.IndexFunc(all.Me.Services, func(r webapi.Learner) bool { return r.ID == "wiki" })
	if i < 0 || len(all.Me.Services[i].Sent) == 0 || all.Me.Services[i].Seen.IsZero() {
		t.Errorf("services: %+v", all.Me.Services)
	}
	if len(all.Me.Targets) != 1 || all.Me.Targets[0].At.IsZero() || len(all.Me.Targets[0].Sent) == 0 {
		t.Errorf("targets: %+v", all.Me.Targets)
	}
}

// Whatever somebody asks for about themselves is about them: another person's
// session, request or identity is as if it were not there, whatever is named.
func TestA05_NothingOfAnotherPersonIsReachable(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	ledger(l)
	alice, bob := l.in("campus", "alice"), l.in("campus", "bob")
	var asked webapi.Request
	l.admin(http.MethodPost, "me/request", url.Values{"name": {"bob"}, "role": {"books"}, "service": {"ledger"}, "reason": {"a matter of bob"}, "until": {"8h"}}, &asked)
	his := bob.myData(l)
	hers := alice.myData(l)
	if len(his.Sessions) != 1 || len(his.Links) != 1 || len(hers.Sessions) != 1 {
		t.Fatalf("sessions and links: %+v %+v", his, hers)
	}
	l.reload(func(s string) string { // alice decides about nothing
		return strings.Replace(s, "approvers: { users: [alice, bob] }", "approvers: { users: [kim] }", 1)
	})
	link := his.Links[0]
	for name, q := range map[string]url.Values{"": {}, "by name": {"name": {"bob"}}, "by ID": {"name": {his.ID}}, "as user": {"user": {his.ID}}} {
		for _, path := range []string{"/me", "/me/export", "/me/requests", "/decisions", "/decisions/count", "/me/askable?service=ledger"} {
			to := l.at("", "/.gatehouse/api/v1"+path)
			if len(q) > 0 {
				to += map[bool]string{true: "&", false: "?"}[strings.Contains(path, "?")] + q.Encode()
			}
			if alice.open(to); strings.Contains(alice.body, "a matter of bob") || strings.Contains(alice.body, "bob@campus") || strings.Contains(alice.body, his.Sessions[0].ID) {
				t.Errorf("%s %s shows alice %s", path, name, alice.body)
			}
		}
	}
	same := map[string]string{"Sec-Fetch-Site": "same-origin"}
	for _, c := range []struct{ method, path string }{
		{http.MethodDelete, "/me/sessions?id=" + his.Sessions[0].ID},
		{http.MethodDelete, "/me/sessions?name=bob&id=" + his.Sessions[0].ID},
		{http.MethodDelete, "/me/request?id=" + asked.ID},
		{http.MethodDelete, "/me/request?name=bob&id=" + asked.ID},
		{http.MethodDelete, "/me/link?" + url.Values{"provider": {link.Provider}, "issuer": {link.Issuer}, "subject": {link.Subject}}.Encode()},
		{http.MethodPost, "/request/approve?id=" + asked.ID},
		{http.MethodPost, "/request/deny?id=" + asked.ID},
	} {
		r, err := http.NewRequest(c.method, l.at("", "/.gatehouse/api/v1"+c.path), nil)
		if err != nil {
			t.Fatal(err)
		}
		for k, v := range same {
			r.Header.Set(k, v)
		}
		if alice.send(r); alice.status < 400 || strings.Contains(alice.body, "a matter of bob") {
			t.Errorf("%s %s: %d %s", c.method, c.path, alice.status, alice.body)
		}
	}
	// All others of hers, with none, ends none of his.
	alice.sent(l, "/.gatehouse/me/session", url.Values{"id": {""}}).wants(http.StatusOK)
	after := bob.myData(l)
	if len(after.Sessions) != 1 || len(after.Links) != 1 {
		t.Errorf("bob has %+v", after)
	}
	bob.open(l.at("", "/.gatehouse/requests")).wants(http.StatusOK, "a matter of bob", "Waiting")
	// The same calls by Bob work: it is he who was missing.
	bob.sent(l, "/.gatehouse/requests/withdraw", url.Values{"id": {asked.ID}}).wants(http.StatusOK, "Withdrawn")
}

func TestPeopleEndTheirSessionsOneByOneOrAllOthers(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	here, there, elsewhere := l.in("campus", "bob"), l.in("campus", "bob"), l.in("campus", "bob")
	me := here.myData(l)
	if len(me.Sessions) != 3 {
		t.Fatalf("%d sessions", len(me.Sessions))
	}
	other := there.myData(l)
	i := slices.IndexFunc(other.Sessions, func(s webapi.MySession) bool { return s.Current })
	here.sent(l, "/.gatehouse/me/session", url.Values{"id": {other.Sessions[i].ID}}).wants(http.StatusOK, "The session was ended.")
	if there.open(l.at("wiki", "/")); there.url.Host == mustURL(t, l.at("wiki", "/")).Host {
		t.Error("the session that was ended opens the wiki")
	}
	elsewhere.open(l.at("wiki", "/")).wants(http.StatusOK, `"X-Forwarded-User":["bob"]`)
	here.sent(l, "/.gatehouse/me/session", url.Values{"id": {""}}).wants(http.StatusOK, "All other sessions were ended.")
	here.open(l.at("wiki", "/")).wants(http.StatusOK, `"X-Forwarded-User":["bob"]`)
	if me := here.myData(l); len(me.Sessions) != 1 || !me.Sessions[0].Current {
		t.Errorf("left: %+v", me.Sessions)
	}
	here.sent(l, "/.gatehouse/me/session", url.Values{"id": {"nothing"}}).wants(http.StatusNotFound, "no such session")
}

// Somebody adds an identity by signing in with it, for a link that this session
// asked for; nobody can be made to, and nobody takes another's.
func TestAnIdentityIsAddedByASignInWithItAndTakenAwayAgain(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	bob := l.in("campus", "bob")
	link := func(p *person, provider string) *person {
		return p.sent(l, "/.gatehouse/me/link", url.Values{"provider": {provider}})
	}
	// Dana is somebody already.
	l.in("partner", "dana")
	link(bob, "partner").submit(url.Values{"user": {"dana"}}).wants(http.StatusForbidden, "login.link_taken")
	link(bob, "partner").submit(url.Values{"user": {"erik"}}).wants(http.StatusOK, "The identity was added", "Partner University")
	if me := bob.myData(l); me.UserName != "bob" || len(me.Links) != 2 {
		t.Fatalf("after adding: %+v", me.Links)
	}
	// Signed in with it, bob is bob.
	again := l.in("partner", "erik")
	me := again.myData(l)
	if me.UserName != "bob" {
		t.Fatalf("erik at Partner is %s", me.UserName)
	}
	// What one is signed in with stays; the other goes, with its sessions.
	form := func(provider string) url.Values {
		for _, x := range me.Links {
			if x.Provider == provider {
				return url.Values{"provider": {x.Provider}, "issuer": {x.Issuer}, "subject": {x.Subject}}
			}
		}
		t.Fatalf("no identity of %s among %+v", provider, me.Links)
		return nil
	}
	again.sent(l, "/.gatehouse/me/unlink", form("partner")).wants(http.StatusForbidden, "access.last_identity")
	bob.sent(l, "/.gatehouse/me/unlink", form("partner")).wants(http.StatusOK, "The identity was taken away")
	if again.open(l.at("wiki", "/")); again.url.Host == mustURL(t, l.at("wiki", "/")).Host {
		t.Error("a session by the identity that was taken away goes on")
	}
	bob.sent(l, "/.gatehouse/me/unlink", form("campus")).wants(http.StatusForbidden, "access.last_identity")
	// On the machine it is the last all the same.
	if me := bob.myData(l); len(me.Links) != 1 {
		t.Errorf("left: %+v", me.Links)
	}
}

// A link is of the session that asked for it, for ten minutes.
func TestA01_NobodyIsMadeToAddAnIdentity(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	bob, kim := l.in("campus", "bob"), l.in("campus", "alice")
	begin, same := l.at("", "/.gatehouse/api/v1/me/link?provider=partner"), map[string]string{"Sec-Fetch-Site": "same-origin"}
	kim.from(begin, nil).wants(http.StatusForbidden, "request.cross_site")
	var to webapi.Link
	decodeJSON(t, kim.from(begin, same).wants(http.StatusOK).body, &to)
	bob.open(to.URL).wants(http.StatusForbidden, "login.link")
	l.person().open(to.URL).wants(http.StatusForbidden, "login.link")
	bob.open(l.at("", "/.gatehouse/login?link=x&idp=partner")).wants(http.StatusForbidden, "login.link")
	// The session ends while the person is away: nothing is added.
	kim.open(to.URL).wants(http.StatusOK)
	l.admin(http.MethodDelete, "sessions", url.Values{"name": {"alice"}}, nil)
	kim.submit(url.Values{"user": {"erik"}}).wants(http.StatusForbidden, "login.link")
	again := l.in("campus", "alice")
	decodeJSON(t, again.from(begin, same).wants(http.StatusOK).body, &to)
	l.clock.advance(11 * time.Minute)
	again.open(to.URL).wants(http.StatusForbidden, "login.link")
	if me := again.myData(l); len(me.Links) != 1 {
		t.Errorf("alice has %+v", me.Links)
	}
}

// Of a user who was deleted nothing is left that says which services they opened.
func TestADeletedUserLeavesNoVisits(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	l.in("campus", "bob")
	s := l.p.site.Load()
	bob, err := s.directory.ByName(t.Context(), "primary", "bob")
	if err != nil {
		t.Fatal(err)
	}
	visited := func() int {
		hosts, err := s.sessions.Visited(t.Context(), bob.ID)
		if err != nil {
			t.Fatal(err)
		}
		return len(hosts)
	}
	if visited() == 0 {
		t.Fatal("there is nothing to be forgotten")
	}
	if err := s.directory.Delete(t.Context(), bob.ID, provisioning.SourceClient("hr")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the visits are gone", func() bool { return visited() == 0 })
}
