package main

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-sso/gatehouse/federation/idptest"
	"github.com/gatehouse-sso/gatehouse/provisioning/scim"
	webapi "github.com/gatehouse-sso/gatehouse/web/api"
)

// listens opens a stream, and says when it ended.
func (p *person) listens(to string) <-chan time.Time {
	t := p.w.t
	t.Helper()
	r, err := http.NewRequest(http.MethodGet, to, nil)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := p.client.Transport.RoundTrip(withCookies(r, p))
	if err != nil || stream.StatusCode != http.StatusOK {
		t.Fatal(stream, err)
	}
	if _, err := io.ReadFull(stream.Body, make([]byte, 5)); err != nil {
		t.Fatal(err)
	}
	ended := make(chan time.Time, 1)
	go func() {
		_, _ = io.Copy(io.Discard, stream.Body)
		ended <- time.Now()
		_ = stream.Body.Close()
	}()
	return ended
}

// Whatever takes the right away, and not the session, counts for the session that there
// is, as soon as the directory has told of it, and cuts what is open: a group of the directory, by an
// administrator and by SCIM, one that the identity provider does not say any more, a role
// that was given, and the policy itself.
func TestT12Z11P20_ALostRightCountsForTheSessionThatThereIsAndCutsStreams(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	says := func(groups ...string) {
		l.campus.Misbehave(idptest.OPUserinfoSays(map[string]any{"groups": append([]string{}, groups...)}))
	}
	says()
	p := l.in("campus", "alice")
	q := p.copied(l, "wiki", "wiki")
	const everyone = "access: [ { id: everyone, text: The wiki is for everyone who is signed in., allow: { signed_in: true } } ]"
	const crew = "access: [ { id: crew, allow: { groups: [crew] } }, { id: desk, allow: { roles: [desk] } } ]"
	l.reload(func(yaml string) string {
		yaml = strings.Replace(yaml, everyone, crew, 1)
		yaml = strings.Replace(yaml, "roles:\n", "roles:\n  - { id: desk }\n", 1)
		return yaml + "clients:\n  - { id: hr, credentials: [ { bearer: of-hr } ], groups: [crew] }\n"
	})
	hr := &scimClient{l.world, func(r *http.Request) { r.Header.Set("Authorization", "Bearer of-hr") }, l.at("", "/.gatehouse/scim/v2")}
	alice := hr.find(`userName eq "alice"`).String("id")
	l.admin(http.MethodPost, "groups", url.Values{"name": {"crew"}}, nil)
	group := hr.do(200, "GET", "/Groups?"+url.Values{"filter": {`displayName eq "crew"`}}.Encode(), "").List("Resources")[0].(*scim.Object).String("id")
	member := url.Values{"group": {"crew"}, "name": {"alice"}}
	gets := func(status int, when string) {
		t.Helper()
		eventually(t, fmt.Sprint(status, " ", when), func() bool { return q.program(http.MethodGet, l.at("wiki", "/")).status == status })
	}
	elsewhere := func() { l.person().open(l.at("", "/")).signIn("campus", "alice").wants(http.StatusOK) }
	for _, c := range []struct {
		what         string
		gives, takes func()
	}{
		{"a group, by an administrator", func() { l.admin(http.MethodPost, "group/member", member, nil) }, func() { l.admin(http.MethodDelete, "group/member", member, nil) }},
		{"a group, by SCIM", func() {
			hr.do(204, "PATCH", "/Groups/"+group, scimPatch(`{"op":"add","path":"members","value":[{"value":"`+alice+`"}]}`))
		}, func() {
			hr.do(204, "PATCH", "/Groups/"+group, scimPatch(`{"op":"remove","path":"members[value eq \"`+alice+`\"]"}`))
		}},
		{"a group that the identity provider says", func() { says("crew"); elsewhere() }, func() { says(); elsewhere() }},
		{"a role", func() {
			l.admin(http.MethodPost, "grant", url.Values{"name": {"alice"}, "role": {"desk"}, "until": {"1h"}}, nil)
		}, func() { l.admin(http.MethodDelete, "grant", url.Values{"name": {"alice"}, "role": {"desk"}}, nil) }},
		{"the policy", func() { l.reload(func(yaml string) string { return strings.Replace(yaml, crew, everyone, 1) }) },
			func() { l.reload(func(yaml string) string { return strings.Replace(yaml, everyone, crew, 1) }) }},
	} {
		gets(http.StatusForbidden, "before "+c.what)
		c.gives()
		gets(http.StatusOK, "with "+c.what)
		ended := q.listens(l.at("wiki", "/events"))
		c.takes()
		gets(http.StatusForbidden, "without "+c.what)
		<-ended
	}
}

// TestFaultsRevocationIsFelt ends sessions in every way there is, each time with a
// stream open, and asserts that no request that begins afterwards is let in and
// that every stream ends. How long both took is printed; with GATEHOUSE_FAULTS=1
// of 1,000 trials.
func TestFaultsRevocationIsFelt(t *testing.T) {
	t.Parallel()
	trials := 8
	if os.Getenv("GATEHOUSE_FAULTS") != "" {
		trials = 1000
	}
	l := newLab(t, nil)
	alice := idptest.Campus()[0].ID
	ways := []struct {
		name string
		end  func(p *person, sid, id string)
	}{
		{"sign-out", func(p *person, _, _ string) {
			p.open(l.at("", "/.gatehouse/logout")).post(url.Values{"scope": {"here"}})
		}},
		{"administrator", func(_ *person, _, id string) { l.admin(http.MethodDelete, "sessions", url.Values{"id": {id}}, nil) }},
		{"back channel", func(_ *person, sid, _ string) {
			if p := l.backChannel("campus", l.campus.LogoutToken("gatehouse", alice, sid, idptest.OPFault{})); p.status != http.StatusOK {
				t.Errorf("back channel: %d %s", p.status, p.body)
			}
		}},
		{"disabled", func(*person, string, string) {
			l.admin(http.MethodPost, "user/active", url.Values{"name": {"alice"}, "active": {"false"}}, nil)
		}},
	}
	refused, cut := map[string][]time.Duration{}, map[string][]time.Duration{}
	for i := range trials {
		way := ways[i%len(ways)]
		p := l.in("campus", "alice")
		sid := l.theirs("campus", "alice")[0]
		var list []webapi.Session
		l.admin(http.MethodGet, "sessions", url.Values{"name": {"alice"}}, &list)
		q := p.copied(l, "wiki", "wiki")
		ended := q.listens(l.at("wiki", "/events"))
		if q.program(http.MethodGet, l.at("wiki", "/")); q.status != http.StatusOK {
			t.Fatalf("%s: a request before it gets %d", way.name, q.status)
		}
		began := time.Now()
		way.end(p, sid, list[0].ID)
		if q.program(http.MethodGet, l.at("wiki", "/")); q.status != http.StatusUnauthorized {
			t.Fatalf("%s: a request that begins afterwards gets %d", way.name, q.status)
		}
		refused[way.name] = append(refused[way.name], time.Since(began))
		cut[way.name] = append(cut[way.name], (<-ended).Sub(began))
		l.admin(http.MethodPost, "user/active", url.Values{"name": {"alice"}, "active": {"true"}}, nil)
		q.client.CloseIdleConnections()
		p.client.CloseIdleConnections()
	}
	t.Logf("%-14s %8s %28s %28s", "", "trials", "next request refused", "stream cut")
	for _, way := range ways {
		a, b := refused[way.name], cut[way.name]
		slices.Sort(a)
		slices.Sort(b)
		of := func(d []time.Duration, part float64) time.Duration {
			return d[min(len(d)-1, int(part*float64(len(d))))].Round(100 * time.Microsecond)
		}
		t.Logf("%-14s %8d   p50 %-9s p99 %-9s   p50 %-9s p99 %-9s", way.name, len(a), of(a, .5), of(a, .99), of(b, .5), of(b, .99))
	}
}
