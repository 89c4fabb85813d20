package main

import (
	"net/http"
	"strings"
	"testing"
)

func TestWhoHasDutiesMeetsTheDeskAndOthersDoNot(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	carol := w.person()
	carol.open(w.at("", "/")).signIn("campus", "carol").wants(http.StatusOK, "/.gatehouse/admin/")
	carol.open(w.at("", "/.gatehouse/admin")).wants(http.StatusOK, "People", "Carol", "To decide")
	carol.open(w.at("", "/.gatehouse/api/v1/users")).wants(http.StatusOK, `"user_name":"carol"`)

	bob := w.person()
	bob.open(w.at("", "/")).signIn("campus", "bob").wants(http.StatusOK)
	if strings.Contains(bob.body, "/.gatehouse/admin/") {
		t.Error("Bob is led to the desk")
	}
	for _, path := range []string{"/.gatehouse/admin/", "/.gatehouse/admin/people", "/.gatehouse/api/v1/users"} {
		if bob.open(w.at("", path)).wants(http.StatusForbidden); strings.Contains(bob.body, "carol") {
			t.Errorf("%s tells Bob about others", path)
		}
	}
}

// The desk is on the gateway's own host alone.
func TestA06_NoDeskOnTheHostOfAService(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	carol := w.person()
	carol.open(w.at("wiki", "/")).signIn("campus", "carol").wants(http.StatusOK)
	for _, path := range []string{"/.gatehouse/admin/", "/.gatehouse/admin/people", "/.gatehouse/api/v1/users", "/.gatehouse/fresh"} {
		carol.open(w.at("wiki", path)).wants(http.StatusNotFound, "path.unknown")
	}
}

// Another site can not make a signed-in administrator's browser change anything.
func TestA01_APageOfAnotherSiteChangesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	carol := w.person()
	carol.open(w.at("", "/")).signIn("campus", "carol").wants(http.StatusOK)
	w.person().open(w.at("wiki", "/")).signIn("campus", "bob").wants(http.StatusOK)
	change := w.at("", "/.gatehouse/api/v1/user/active?name=bob&active=false")
	for _, site := range []map[string]string{{"Sec-Fetch-Site": "cross-site"}, {"Origin": "http://evil.example"}, {"Origin": "null"}, {}} {
		carol.from(change, site).wants(http.StatusForbidden, "request.cross_site")
	}
	carol.from(change, map[string]string{"Sec-Fetch-Site": "same-origin"}).wants(http.StatusOK, `"active":false`)
}

// from posts to an address with headers that say which page did it.
func (p *person) from(to string, headers map[string]string) *person {
	p.w.t.Helper()
	return p.asks(http.MethodPost, to, headers)
}

// asks is from with another method.
func (p *person) asks(method, to string, headers map[string]string) *person {
	p.w.t.Helper()
	r, err := http.NewRequest(method, to, nil)
	if err != nil {
		p.w.t.Fatal(err)
	}
	for name, value := range headers {
		r.Header.Set(name, value)
	}
	return p.send(r)
}

func TestWhoSignedInLongAgoIsLedThroughAFreshSignIn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	carol := w.person()
	carol.open(w.at("", "/")).signIn("campus", "carol").wants(http.StatusOK)
	carol.open(w.at("", "/.gatehouse/fresh?return=%2F.gatehouse%2Fadmin%2Fpeople")).wants(http.StatusOK, "People")
	carol.open(w.at("", "/.gatehouse/fresh?return=%2F%2Fevil.example%2F")).wants(http.StatusOK)
	if carol.url.Path != "/" {
		t.Errorf("led to %s", carol.url)
	}
}
