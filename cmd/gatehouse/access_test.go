package main

import (
	"cmp"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-sso/gatehouse/authz"
	"github.com/gatehouse-sso/gatehouse/provisioning/access"
	"github.com/gatehouse-sso/gatehouse/provisioning/outbox"
	webapi "github.com/gatehouse-sso/gatehouse/web/api"
)

// hasAccount reports whether the target has an account with this name that is active.
func (l *lab) hasAccount(userName string) bool { return l.account(userName) != "" }

// account is what the target says of the active account with this name; empty:
// there is none.
func (l *lab) account(userName string) string {
	l.t.Helper()
	r, err := http.NewRequest(http.MethodGet, l.target+"/scim/v2/Users?"+url.Values{"filter": {`userName eq "` + userName + `" and active eq true`}}.Encode(), nil)
	if err != nil {
		l.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer token-of-the-target")
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		l.t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		l.t.Fatal(resp.Status, err, string(raw))
	}
	if !strings.Contains(string(raw), `"`+userName+`"`) {
		return ""
	}
	return string(raw)
}

// A role that was given by name counts at the next click, without another
// sign-in, at targets too; and is over when it ends, by itself.
func TestAGrantedRoleComesAndGoesWithoutASignIn(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	l.reload(func(s string) string {
		return strings.Replace(s, "users: { all: true }", "users: { roles: [gatehouse-admin] }", 1)
	})
	bob := l.in("campus", "bob")
	bob.open(l.at("admins", "/page")).wants(http.StatusForbidden, "access.no_rule")
	if l.hasAccount("bob") {
		t.Fatal("bob has an account at the target before he has the role")
	}
	var grants []webapi.Grant
	l.admin(http.MethodPost, "grant", url.Values{"name": {"bob"}, "role": {"gatehouse-admin"}, "until": {"4s"}}, &grants)
	if len(grants) != 1 || grants[0].Granter != access.Machine || grants[0].UserName != "bob" {
		t.Errorf("the grant is %+v", grants)
	}
	eventually(t, "bob may open the page", func() bool { return bob.open(l.at("admins", "/page")).status == http.StatusOK })
	if bob.url.Path != "/page" {
		t.Errorf("bob is at %s", bob.url)
	}
	eventually(t, "bob has an account at the target", func() bool { return l.hasAccount("bob") })
	eventually(t, "bob may not open it any more", func() bool { return bob.open(l.at("admins", "/page")).status == http.StatusForbidden })
	eventually(t, "bob's account at the target is disabled", func() bool { return !l.hasAccount("bob") })
	var left []webapi.Grant
	l.admin(http.MethodGet, "grants", nil, &left)
	if len(left) != 0 {
		t.Errorf("grants that ended are there: %+v", left)
	}
	var kinds []string
	for _, e := range l.recorded() {
		if strings.HasPrefix(e.Kind, "role.") {
			kinds = append(kinds, e.Kind+" by "+e.By)
		}
	}
	if want := []string{"role.granted by admin", "role.ended by access"}; !slices.Equal(kinds, want) {
		t.Errorf("audited: %q, want %q", kinds, want)
	}
}

// The end of a grant is kept through a restart, and acts although nothing ran
// when it came.
func TestAGrantThatEndedWhileNothingRanGivesNothing(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	bob := l.in("campus", "bob")
	l.admin(http.MethodPost, "grant", url.Values{"name": {"bob"}, "role": {"gatehouse-admin"}, "until": {"1h"}}, nil)
	eventually(t, "bob may open the page", func() bool { return bob.open(l.at("admins", "/")).status == http.StatusOK })
	l.stop()
	l.clock.advance(61 * time.Minute)
	l.start()
	p := l.in("campus", "bob") // the session was idle for too long
	p.open(l.at("admins", "/")).wants(http.StatusForbidden, "access.no_rule")
}

// Each route of the API is for administrators, and for those duties alone
// that these tables name; who has none, is nobody or is inactive may nothing; and
// nobody changes anything long after they signed in.
func TestA05A07C24_EachDutyMayWhatTheTableSays(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	l.reload(func(s string) string {
		return strings.Replace(s, "admins: { roles: [gatehouse-admin] }", `admins:
  users: [ada]
  release_editors: { users: [rea] }
  approvers: { users: [ann] }
  helpdesk: { users: [hal] }
  auditors: { users: [aud] }
`, 1)
	})
	also := map[string]string{ // besides ada
		"POST /v1/release/rule": "rea", "DELETE /v1/release/rule": "rea", "POST /v1/release/bundle": "rea", "POST /v1/release/case": "rea", "DELETE /v1/release/case": "rea",
		"POST /v1/release/impact": "rea", "POST /v1/release/publish": "rea", "POST /v1/release/rollback": "rea", "POST /v1/release/rebase": "rea", "DELETE /v1/release/draft": "rea",
		"POST /v1/release/trial": "rea", "DELETE /v1/release/trial": "rea", "POST /v1/release/apply": "rea",
	}
	// What is for whoever is signed in: the function behind it looks at who asks, or
	// it is about that person alone. Here the whole list, so that none gets in unseen.
	everybody := map[string]string{
		"POST /v1/request/{answer}": everyone,
		"POST /v1/me/request":       self, "DELETE /v1/me/request": self, "POST /v1/me/consents": self,
		"DELETE /v1/me/sessions": self,
		"POST /v1/me/link":       everyone, "DELETE /v1/me/link": everyone,
	}
	a := routesOf(l.p, l.p.site.Load(), true)
	as := func(name string, age time.Duration, method string) *http.Request {
		r := httptest.NewRequest(method, "/v1/users", nil)
		if name == "nobody" {
			return r
		}
		s := authz.Subject{ID: name, UserName: name, Store: "primary", Active: name != "out", AuthTime: l.clock.now().Add(-age)}
		return r.WithContext(authz.WithSubject(r.Context(), s))
	}
	code := func(err error) string {
		var no *access.Refusal
		if errors.As(err, &no) {
			return no.Code
		}
		return ""
	}
	// Who reads what. A route that is not here is read by nobody.
	readers := map[string]string{
		"ada":             "provider/trial source/test source/preview source/held import/result client/tokens store/backup store/check",
		"ada aud":         "settings target/preview target/held sources imports import clients client/dialect client/held tokens audit audit/export audit/verify keys",
		"ada hal aud":     "users user sessions grants explain overview groups group providers provider targets target/cases operations reconciliation tasks task flow",
		"ada ann hal aud": "requests roles",
		"ada rea aud":     "release release/recipient release/rule release/cases release/preview release/diff release/needs release/impact release/affected release/history release/trial release/export release/record",
		"ada rea hal aud": "attributes services service",
		// Its document, to whoever has a duty.
		"ada rea ann hal aud": "openapi.json",
		// About oneself, or about what one is asked to decide.
		"ada rea ann hal aud kim": "me me/askable me/requests me/consents me/export me/owned me/owned/service decisions decisions/count",
	}
	var readable []string
	unsafe := 0
	for _, route := range a.routes {
		method, _, _ := strings.Cut(route.pattern, " ")
		if method == http.MethodGet {
			var may []string
			for _, name := range []string{"ada", "rea", "ann", "hal", "aud", "kim", "out", "nobody"} {
				if code(a.may(as(name, time.Minute, method), route)) == "" {
					may = append(may, name)
				}
			}
			path := strings.TrimPrefix(route.path(), "/v1/")
			readable = append(readable, path)
			if got := strings.Join(may, " "); !slices.Contains(strings.Fields(readers[got]), path) {
				t.Errorf("%s is read by %s: the table does not say so", route.pattern, got)
			}
			continue
		}
		unsafe++
		for _, name := range []string{"ada", "rea", "ann", "hal", "aud", "kim", "out", "nobody"} {
			want := authz.ReasonNoRule
			if name == "ada" || also[route.pattern] == name || everybody[route.pattern] != "" && name != "out" && name != "nobody" {
				want = ""
			}
			if got := code(a.may(as(name, time.Minute, method), route)); got != want {
				t.Errorf("%s by %s: %q, want %q", route.pattern, name, got, want)
			}
		}
		late := authz.ReasonStepUp
		if everybody[route.pattern] == self {
			late = ""
		}
		if got := code(a.may(as("ada", freshSignIn+time.Second, method), route)); got != late {
			t.Errorf("%s long after the sign-in: %q, want %q", route.pattern, got, late)
		}
	}
	for who, list := range readers {
		for _, path := range strings.Fields(list) {
			if !slices.Contains(readable, path) {
				t.Errorf("the table says that %s read %s, which is not there", who, path)
			}
		}
	}
	if unsafe < 15 {
		t.Errorf("%d routes change something: the table is not whole", unsafe)
	}
	// The table is what answers.
	for name, want := range map[string]int{"hal": http.StatusOK, "ann": http.StatusForbidden, "nobody": http.StatusForbidden} {
		w := httptest.NewRecorder()
		if a.ServeHTTP(w, as(name, time.Hour, http.MethodGet)); w.Code != want {
			t.Errorf("users, listed by %s: %d %s", name, w.Code, w.Body)
		}
	}
}

// Whoever, or whatever, is called as another's ID is gets nothing that was meant for
// the other: the pages say by their IDs whom they mean.
func TestANameThatIsAnIDStandsForNobodyElse(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var meant, thief webapi.User
	w.admin(http.MethodPost, "users", url.Values{"name": {"kim"}}, &meant)
	w.admin(http.MethodPost, "users", url.Values{"name": {meant.ID}}, &thief)
	var finance, other webapi.Group
	w.admin(http.MethodPost, "groups", url.Values{"name": {"finance"}}, &finance)
	w.admin(http.MethodPost, "groups", url.Values{"name": {finance.ID}}, &other)
	w.admin(http.MethodPost, "group/member", url.Values{"group": {finance.ID}, "name": {meant.ID}}, nil)
	w.admin(http.MethodGet, "group", url.Values{"group": {"finance"}}, &finance)
	if len(finance.Members) != 1 || finance.Members[0].ID != meant.ID {
		t.Errorf("in the group are %+v", finance.Members)
	}
	for name, want := range map[string]string{"kim": meant.ID, meant.ID: meant.ID, thief.ID: thief.ID} {
		var got webapi.User
		if w.admin(http.MethodGet, "user", url.Values{"name": {name}}, &got); got.ID != want {
			t.Errorf("%s is taken for %s", name, got.UserName)
		}
	}
}

// Administrators are one to what they change, and each is themselves to the record.
func TestTheRecordSaysWhichAdministratorChangedSomebody(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	var ada, kim webapi.User
	l.admin(http.MethodPost, "users", url.Values{"name": {"ada"}}, &ada)
	l.reload(func(s string) string {
		return strings.Replace(s, "admins: { roles: [gatehouse-admin] }", "admins: { users: [ada] }", 1)
	})
	before := len(l.recorded())
	a := routesOf(l.p, l.p.site.Load(), true)
	act := func(method, path string, q url.Values, v any) {
		t.Helper()
		r := httptest.NewRequest(method, "/v1/"+path+"?"+q.Encode(), nil)
		s := authz.Subject{ID: ada.ID, UserName: "ada", Store: "primary", Active: true, AuthTime: l.clock.now()}
		w := httptest.NewRecorder()
		if a.ServeHTTP(w, r.WithContext(authz.WithSubject(r.Context(), s))); w.Code != http.StatusOK {
			t.Fatalf("%s %s: %d %s", method, path, w.Code, w.Body)
		}
		if v != nil {
			decodeJSON(t, w.Body.String(), v)
		}
	}
	act(http.MethodPost, "users", url.Values{"name": {"kim"}}, &kim)
	act(http.MethodPost, "groups", url.Values{"name": {"finance"}}, nil)
	act(http.MethodPost, "group/member", url.Values{"group": {"finance"}, "name": {"kim"}}, nil)
	act(http.MethodPost, "user/active", url.Values{"name": {"kim"}, "active": {"false"}}, nil)
	act(http.MethodDelete, "user", url.Values{"name": {"kim"}}, nil)
	act(http.MethodPost, "target/pause", url.Values{"id": {"directory"}, "why": {"moving house"}}, nil)
	var targets []outbox.TargetView
	act(http.MethodGet, "targets", nil, &targets)
	i := slices.IndexFunc(targets, func(v outbox.TargetView) bool { return v.Paused != nil })
	if i < 0 || targets[i].Paused.By != "ada" {
		t.Errorf("who paused is not to be seen: %+v", targets)
	}
	act(http.MethodPost, "target/resume", url.Values{"id": {"directory"}}, nil)
	l.admin(http.MethodPost, "users", url.Values{"name": {"lee"}}, nil)
	var got []string
	for _, e := range l.recorded()[before:] {
		if by := cmp.Or(map[string]string{ada.ID: "ada"}[e.By], e.By); strings.HasPrefix(e.Kind, "user.") || strings.HasPrefix(e.Kind, "target.") {
			got = append(got, e.Kind+" by "+by)
		}
	}
	want := []string{"user.created by ada", "user.changed by ada", "user.changed by ada", "user.deleted by ada", "target.paused by ada", "target.resumed by ada", "user.created by admin"}
	if !slices.Equal(got, want) {
		t.Errorf("recorded are %q, want %q", got, want)
	}
}
