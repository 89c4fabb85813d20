package main

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/gatehouse-sso/gatehouse/authz/versions"
	"github.com/gatehouse-sso/gatehouse/configs"
	"github.com/gatehouse-sso/gatehouse/federation"
	"github.com/gatehouse-sso/gatehouse/gateway/session"
	"github.com/gatehouse-sso/gatehouse/provisioning"
	"github.com/gatehouse-sso/gatehouse/provisioning/audit"
	"github.com/gatehouse-sso/gatehouse/provisioning/lifecycle"
	"github.com/gatehouse-sso/gatehouse/provisioning/store/storetest"
)

// What takes several of the store's transactions and is refused by one of them can be
// asked for again, and then all of it has happened.
func TestR04_WhatTheStoreRefusesHalfwayCanBeAskedForAgain(t *testing.T) {
	t.Parallel()
	cfg, p, s, power := weak(t)
	h := newAPI(p, s)

	// Ada has two identities, and is signed in by the one that is called work.
	home, work := federation.Ref{Issuer: "https://op.test", Subject: "home"}, federation.Ref{Issuer: "https://op.test", Subject: "work"}
	link := url.Values{"name": {"ada"}, "provider": {"campus"}, "issuer": {work.Issuer}, "subject": {work.Subject}}
	moveIn := func(t *testing.T) provisioning.User {
		u, _, err := s.directory.Create(t.Context(), provisioning.User{Store: storeIDs(cfg)[0], UserName: "ada", Active: true}, provisioning.Admin)
		for _, ref := range []federation.Ref{home, work} {
			if err == nil {
				_, _, err = s.directory.Link(t.Context(), u.ID, ref, "campus", provisioning.Admin)
			}
		}
		if err == nil {
			err = s.sessions.Begin(t.Context(), s.sessions.Beginning(session.Row{Session: session.Session{UserID: u.ID, Provider: "campus"}, Issuer: work.Issuer, Subject: work.Subject}, "localhost", ""))
		}
		if err != nil {
			t.Fatal(err)
		}
		return u
	}
	inKeys := func(t *testing.T) { // each that was made is in the record
		made, noted := -1, 0 // the first was made by nobody
		list, err := p.listKeys(t.Context())
		for _, k := range list {
			if k.Purpose == "jwt" {
				made++
			}
		}
		for _, no := range audit.Events(t.Context(), p.store, audit.Query{Kind: eventKey}) {
			err = errors.Join(err, no)
			noted++
		}
		if err != nil || made != noted {
			t.Errorf("%d keys were made, and %d are in the record, %v", made, noted, err)
		}
	}
	signedOut := func(t *testing.T) {
		u, err := s.userNamed(t.Context(), "ada")
		if err != nil {
			t.Fatal(err)
		}
		if left, err := s.sessions.Find(t.Context(), session.Filter{User: u.ID}, "", 0); err != nil || len(left) > 0 {
			t.Errorf("%d sessions live, %v", len(left), err)
		}
	}
	for _, tc := range []struct {
		name, method, path string
		form               url.Values
		done               func(*testing.T)
	}{
		{"an identity of one's own", http.MethodDelete, "me/link", link, signedOut},
		{"an identity of somebody", http.MethodDelete, "user/link", link, signedOut},
		{"keep somebody out", http.MethodPost, "user/active", url.Values{"name": {"ada"}, "active": {"false"}}, signedOut},
		{"all sessions", http.MethodDelete, "sessions", url.Values{"name": {"ada"}}, signedOut},
		{"another key", http.MethodPost, "keys", url.Values{"purpose": {"jwt"}, "announce": {"0"}}, inKeys},
	} {
		t.Run(tc.name, func(t *testing.T) {
			ask := func(works int) *httptest.ResponseRecorder {
				power.Left = works
				defer func() { power.Left = never }()
				w := httptest.NewRecorder()
				h.ServeHTTP(w, httptest.NewRequest(tc.method, "/v1/"+tc.path+"?"+tc.form.Encode(), nil))
				return w
			}
			for works, whole := 0, false; !whole; works++ {
				if works > 20 {
					t.Fatal("it takes more than 20 transactions")
				}
				u := moveIn(t)
				if whole = ask(works).Code == http.StatusOK; !whole {
					if w := ask(never); w.Code != http.StatusOK {
						t.Errorf("again after %d transactions: %d %s", works, w.Code, w.Body)
					}
				}
				tc.done(t)
				if err := s.directory.Delete(t.Context(), u.ID, provisioning.Admin); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// Whoever was disabled is signed out, also where the store refused that, or whoever
// disabled them died, right after they were: what takes people away by itself finds
// them disabled the next time, and looks no further.
func TestR04_WhoWasDisabledIsSignedOutThoughThatWasRefusedAtFirst(t *testing.T) {
	t.Parallel()
	cfg, p, s, power := weak(t)
	for works, whole := 0, false; !whole; works++ {
		if works > 20 {
			t.Fatal("it takes more than 20 transactions")
		}
		u, _, err := s.directory.Create(t.Context(), provisioning.User{Store: storeIDs(cfg)[0], UserName: "ada", Active: true}, provisioning.Admin)
		if err == nil {
			err = s.sessions.Begin(t.Context(), s.sessions.Beginning(session.Row{Session: session.Session{UserID: u.ID, Provider: "campus"}}, "localhost", ""))
		}
		if err != nil {
			t.Fatal(err)
		}
		leave := func() error {
			_, err := s.lifecycle.Leave(t.Context(), lifecycle.Departure{UserID: u.ID, By: lifecycle.By, Kind: lifecycle.KindDates})
			return err
		}
		power.Left = works
		whole = leave() == nil
		power.Left = never
		if err := errors.Join(leave(), p.runner.Now(t.Context(), taskForget, u.ID)); err != nil {
			t.Fatal(err)
		}
		if left, err := s.sessions.Find(t.Context(), session.Filter{User: u.ID}, "", 0); err != nil || len(left) > 0 {
			t.Errorf("after %d transactions: %d sessions live, %v", works, len(left), err)
		}
		if err := s.directory.Delete(t.Context(), u.ID, provisioning.Admin); err != nil {
			t.Fatal(err)
		}
	}
}

// A trial that could not be begun or ended everywhere is begun or ended by the same
// request again, and who published is told that it is published.
func TestR04_WhatOfAReleaseCouldNotBePutInPlaceIsSaidAndDoneAgain(t *testing.T) {
	t.Parallel()
	cfg, p, s, _ := weak(t)
	h, fails := newAPI(p, s), true
	p.renew = func(ctx context.Context) error {
		if fails {
			return storetest.ErrRefused
		}
		next, err := p.newSite(ctx, cfg, p.site.Load())
		if err == nil {
			p.site.Swap(next).outbox.Close()
		}
		return err
	}
	d, err := s.versions.Save(t.Context(), "ada", "", func(*versions.Policy) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	ask := func(method, path string, form url.Values) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(method, "/v1/release/"+path+"?"+form.Encode(), nil))
		return w
	}
	for _, method := range []string{http.MethodPost, http.MethodDelete} {
		if fails = true; ask(method, "trial", nil).Code == http.StatusOK {
			t.Errorf("%s is said to be done", method)
		}
		fails = false
		if w := ask(method, "trial", nil); w.Code != http.StatusOK || (p.site.Load().trial != nil) != (method == http.MethodPost) {
			t.Errorf("%s again: %d %s", method, w.Code, w.Body)
		}
	}
	fails = true
	if w := ask(http.MethodPost, "publish", url.Values{"revision": {d.Revision}}); w.Code == http.StatusOK || !strings.Contains(w.Body.String(), "version 1 is published") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// weak is a site, in a process that serves nobody, of which a test says after how many
// updates the store refuses all others.
func weak(t *testing.T) (*configs.Config, *process, *site, *storetest.Failing) {
	t.Helper()
	cfg, p := newYard(t, nil, nil).opened(t)
	t.Cleanup(func() { _ = p.store.Close() })
	power := &storetest.Failing{Store: p.store, Left: never}
	p.store = power
	s, err := p.newSite(t.Context(), cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	p.site.Store(s)
	t.Cleanup(func() { p.site.Load().outbox.Close() })
	return cfg, p, s, power
}

// never is after how many updates a store's power goes that stays.
const never = 1 << 40
