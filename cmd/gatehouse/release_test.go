package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-sso/gatehouse/authz"
	webapi "github.com/gatehouse-sso/gatehouse/web/api"
)

// editor calls the API as a person with duties, or as the machine.
type editor struct {
	t  testing.TB
	w  *world
	as string // user name; empty: the machine
}

func (e editor) call(route string, form url.Values, into any) error {
	e.t.Helper()
	ctx := context.Background()
	s := e.w.p.site.Load()
	if e.as != "" {
		u, err := s.directory.ByName(ctx, "primary", e.as)
		if err != nil {
			e.t.Fatal(err)
		}
		sub, err := s.directory.Subject(ctx, u.ID)
		if err != nil {
			e.t.Fatal(err)
		}
		sub.Provider, sub.AuthTime = "campus", time.Now()
		ctx = authz.WithSubject(ctx, s.rules.policy.Roles(sub))
	}
	return webapi.Client{Handler: routesOf(e.w.p, s, e.as != "")}.Call(ctx, route, form, into)
}

func (e editor) must(route string, form url.Values, into any) {
	e.t.Helper()
	if err := e.call(route, form, into); err != nil {
		e.t.Fatalf("%s: %v", route, err)
	}
}

// refused is the code of the refusal that a call meets.
func (e editor) refused(route string, form url.Values) string {
	e.t.Helper()
	err, ok := e.call(route, form, nil).(*webapi.Error)
	if !ok {
		e.t.Fatalf("%s: not refused", route)
	}
	return err.Code
}

func (e editor) release(of string) (r webapi.Release) {
	e.t.Helper()
	e.must("GET /v1/release", url.Values{"of": {of}}, &r)
	return r
}

func (e editor) revision() string {
	if d := e.release("draft").Draft; d != nil {
		return d.Revision
	}
	return ""
}

// learnt is what the wiki learnt of a person by a header, and all that it learnt by
// the token.
func (p *person) learnt(header string) (value, token string) {
	p.w.t.Helper()
	h := http.Header(p.received())
	return h.Get(header), fmt.Sprint(tokenOf(p.w.t, h.Get("X-Gatehouse-Jwt")))
}

// targetPage is the page of the demo's target.
func (w *world) targetPage() string {
	w.t.Helper()
	return w.person().open(fmt.Sprintf("http://localhost:%d/", w.port+3)).wants(http.StatusOK).body
}

// What is published is in force on the next request of somebody who is signed in
// already, at targets too; and so is what a rollback brings back.
func TestAPublishedReleaseIsInForceOnTheNextRequest(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	alice := w.person()
	alice.open(w.at("wiki", "/")).signIn("campus", "alice").wants(http.StatusOK)
	mail := func() bool {
		header, token := alice.learnt("X-Forwarded-Email")
		if inToken := strings.Contains(token, "alice@campus.example"); (header != "") != inToken {
			t.Errorf("the header says %q, the token %s", header, token)
		}
		return header != ""
	}
	if !mail() || !strings.Contains(w.targetPage(), "givenName") {
		t.Fatal("nothing to begin with")
	}
	e := editor{t: t, w: w}
	e.must("DELETE /v1/release/rule", url.Values{"to": {"service:wiki"}, "name": {"mail"}, "revision": {""}}, nil)
	e.must("DELETE /v1/release/rule", url.Values{"to": {"target:directory"}, "name": {"given_name"}, "revision": {e.revision()}}, nil)
	if !mail() {
		t.Error("a draft is in force")
	}
	e.must("POST /v1/release/publish", url.Values{"revision": {e.revision()}, "comment": {"no mail"}}, nil)
	if mail() {
		t.Error("the wiki still learns the mail address")
	}
	eventually(t, "the target loses the given name", func() bool { return !strings.Contains(w.targetPage(), "givenName") })
	e.must("POST /v1/release/rollback", url.Values{"version": {"0"}}, nil)
	if !mail() {
		t.Error("what the file says is not in force again")
	}
	eventually(t, "the target has the given name again", func() bool { return strings.Contains(w.targetPage(), "givenName") })
	var list []webapi.ReleaseVersion
	e.must("GET /v1/release/history", nil, &list)
	if len(list) != 2 || list[0].Again != 0 || list[0].Changes != 2 || list[1].Comment != "no mail" {
		t.Errorf("history %+v", list)
	}
}
