package oidc_test

import (
	"errors"
	"net/http"
	"testing"

	"github.com/gatehouse-sso/gatehouse/federation"
	"github.com/gatehouse-sso/gatehouse/federation/idptest"
	"github.com/gatehouse-sso/gatehouse/federation/oidc"
)

func TestWhoHasLeftTheProviderIsNotRenewed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{rp: func(c *oidc.Config) { c.Renew = true }})
	id, err := w.signIn()
	if err != nil || id.Renewal == "" {
		t.Fatalf("nothing to ask with: %v", err)
	}
	token := id.Renewal
	for _, userinfo := range []bool{false, true} {
		next, err := w.Renew(t.Context(), token, id.Ref.Subject, userinfo)
		if err != nil || next == "" || next == token {
			t.Fatalf("userinfo %t: %q, %v", userinfo, next, err)
		}
		token = next
	}
	w.op.Leave(id.Ref.Subject)
	if next, err := w.Renew(t.Context(), token, id.Ref.Subject, false); !errors.Is(err, federation.ErrGone) || next != "" {
		t.Errorf("after they left: %q, %v", next, err)
	}
}

// What is not the provider's clear no says nothing about the person.
func TestAProviderThatFailsSaysNothingAboutThePerson(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		serve    http.HandlerFunc
		endpoint string
		gone     bool
	}{
		"500": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) }, "token", false},
		"500 that says no": {func(w http.ResponseWriter, _ *http.Request) {
			answer(w, http.StatusInternalServerError, `{"error":"invalid_grant"}`)
		}, "token", false},
		"our credentials": {func(w http.ResponseWriter, _ *http.Request) {
			answer(w, http.StatusUnauthorized, `{"error":"invalid_client"}`)
		}, "token", false},
		"a page": {func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, `<html>`) }, "token", false},
		"a clear no": {func(w http.ResponseWriter, _ *http.Request) {
			answer(w, http.StatusBadRequest, `{"error":"invalid_grant"}`)
		}, "token", true},
		"userinfo that fails":      {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }, "userinfo", false},
		"userinfo of another":      {func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, `{"sub":"somebody"}`) }, "userinfo", false},
		"userinfo knows them not":  {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) }, "userinfo", true},
		"userinfo forbidden to us": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }, "userinfo", false},
	} {
		w := newWorld(t, setup{rp: func(c *oidc.Config) { c.Renew = true }})
		id, err := w.signIn()
		if err != nil {
			t.Fatal(err)
		}
		w.op.Misbehave(idptest.OPFault{Serve: map[string]http.HandlerFunc{c.endpoint: c.serve}})
		if _, err := w.Renew(t.Context(), id.Renewal, id.Ref.Subject, true); err == nil || errors.Is(err, federation.ErrGone) != c.gone {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func answer(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(body))
}

func TestNoRefreshTokenIsKeptUnlessItIsWanted(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{rp: func(c *oidc.Config) { c.Scopes = []string{"profile", "email", "offline_access"} }})
	if id, err := w.signIn(); err != nil || id.Renewal != "" {
		t.Errorf("%q, %v", id.Renewal, err)
	}
}
