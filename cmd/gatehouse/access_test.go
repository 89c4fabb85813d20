package main

import (
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-sso/gatehouse/provisioning/access"
)

// has reports whether the target has an account with this name that is active.
func (l *lab) hasAccount(userName string) bool {
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
	return strings.Contains(string(raw), `"`+userName+`"`)
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
	var grants []grantView
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
	var left []grantView
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
