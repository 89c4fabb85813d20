package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-sso/gatehouse/gateway/session"
	"github.com/gatehouse-sso/gatehouse/provisioning/audit"
	"github.com/gatehouse-sso/gatehouse/provisioning/scim"
	webapi "github.com/gatehouse-sso/gatehouse/web/api"
)

// A scimClient is what the HR department runs: no browser, no cookies.
type scimClient struct {
	w    *world
	auth func(*http.Request)
	base string
}

// hr is the demo's client with the token that the demo prints.
func (w *world) hr() *scimClient {
	token := w.p.site.Load().cfg.Clients[0].Credentials[0].Bearer.Value()
	return &scimClient{w, func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) }, w.at("", "/.gatehouse/scim/v2")}
}

func (w *world) resident(base string) *scimClient {
	return &scimClient{w, func(r *http.Request) { r.SetBasicAuth("admin", "admin") }, w.at("", base)}
}

// A returned is what the gateway answered to a SCIM client, whatever it was.
type returned struct {
	status int
	header http.Header
	obj    *scim.Object // nil: nothing, or no JSON
	raw    string
}

// ask asks for what is at a path below the base; headers are pairs.
func (c *scimClient) ask(method, path, body string, headers ...string) returned {
	c.w.t.Helper()
	r, err := http.NewRequest(method, c.base+path, strings.NewReader(body))
	if err != nil {
		c.w.t.Fatal(err)
	}
	r.Header.Set("Content-Type", scim.MediaType)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	c.auth(r)
	tr := localTransport()
	defer tr.CloseIdleConnections()
	resp, err := tr.RoundTrip(r)
	if err != nil {
		c.w.t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		c.w.t.Fatal(err)
	}
	o, _ := scim.Decode(raw) // nothing, with 204
	return returned{resp.StatusCode, resp.Header, o, string(raw)}
}

// do is ask by somebody who wants a status, and SCIM or nothing.
func (c *scimClient) do(want int, method, path, body string) *scim.Object {
	c.w.t.Helper()
	r := c.ask(method, path, body)
	if r.status != want || r.raw != "" && r.obj == nil {
		c.w.t.Fatalf("%s %s: %d, want %d: %s", method, path, r.status, want, r.raw)
	}
	return r.obj
}

// find is the one user whom a filter finds.
func (c *scimClient) find(filter string) *scim.Object {
	c.w.t.Helper()
	list := c.do(200, "GET", "/Users?"+url.Values{"filter": {filter}}.Encode(), "")
	if len(list.List("Resources")) != 1 || list.Get("totalResults") != json.Number("1") {
		c.w.t.Fatalf("%s finds %s", filter, list.AppendJSON(nil))
	}
	return list.List("Resources")[0].(*scim.Object)
}

func scimUser(rest string) string { return `{"schemas":["` + scim.UserURN + `"],` + rest + `}` }

func scimPatch(ops string) string {
	return `{"schemas":["` + scim.PatchURN + `"],"Operations":[` + ops + `]}`
}

// accounts waits until the target has agreed about a user, and shows its page.
func (w *world) accounts(userID string) string {
	w.t.Helper()
	if done, err := w.p.site.Load().outbox.Settle(w.t.Context(), userID); err != nil || !done {
		w.t.Fatalf("the target does not agree: %t, %v", done, err)
	}
	return w.person().open(fmt.Sprintf("http://localhost:%d/", w.port+3)).body
}

func TestUserMadeBySCIMIsKnownAtTheFirstSignIn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	hr := w.hr()
	made := hr.do(201, "POST", "/Users", scimUser(`"userName":"bob","externalId":"J3nYt8RwE6uHbD05","displayName":"Bob of HR","password":"hunter2"`))
	id := made.String("id")
	if page := w.accounts(id); !strings.Contains(page, "Bob of HR") {
		t.Errorf("the target has no account before the first sign-in:\n%s", page)
	}
	bob := w.person()
	bob.open(w.at("wiki", "/")).signIn("campus", "bob").wants(http.StatusOK, "Wiki")
	if got := hr.find(`userName eq "bob"`); got.String("id") != id || got.String("displayName") != "Bob of HR" {
		t.Errorf("after the sign-in hr reads %s", got.AppendJSON(nil))
	}
	if n := hr.do(200, "GET", "/Users?count=0", "").Get("totalResults"); n != json.Number("1") {
		t.Errorf("there are %v users", n)
	}
	sessions, err := w.p.site.Load().sessions.Find(t.Context(), session.Filter{User: id}, "", 10)
	if err != nil || len(sessions) != 1 {
		t.Errorf("the sessions of the user are %v, %v", sessions, err)
	}
	// What he can be seen by at the wiki is what HR says of him, and what Campus
	// adds to it.
	h := bob.received()
	if h["X-Forwarded-User"][0] != "bob" || h["X-Forwarded-Email"][0] != "bob@campus.example" {
		t.Errorf("the wiki received %v", h)
	}
	if strings.Contains(w.log.String(), "hunter2") {
		t.Error("the password is in the log")
	}
}

// Somebody who has the name, but is not the person whom hr named, does not get
// the account: no sign-in is linked by name.
func TestUserMadeBySCIMIsNotTakenOverByName(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.hr().do(201, "POST", "/Users", scimUser(`"userName":"bob","emails":[{"value":"bob@campus.example"}]`))
	w.person().open(w.at("wiki", "/")).signIn("campus", "bob").wants(http.StatusForbidden, "jit.conflict")
}

func TestC11_DisabledBySCIMIsRefusedAtTheNextClick(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	hr := w.hr()
	alice := w.person()
	alice.open(w.at("wiki", "/")).signIn("campus", "alice").wants(http.StatusOK, "Wiki")
	alice.open(w.at("wiki", "/headers")).wants(http.StatusOK, "alice")
	id := hr.find(`userName eq "Alice"`).String("id")

	hr.do(200, "PATCH", "/Users/"+id, scimPatch(`{"op":"replace","value":{"active":false}}`))
	alice.open(w.at("wiki", "/headers"))
	if strings.Contains(alice.body, "alice@campus.example") || alice.url.Host == fmt.Sprintf("wiki.localhost:%d", w.port) {
		t.Fatalf("alice is still at the wiki: %s\n%s", alice.url, alice.body)
	}
	alice.open(w.at("wiki", "/")).signIn("campus", "alice").wants(http.StatusForbidden, "user.inactive")
	w.accounts(id)
	states, err := w.p.site.Load().outbox.Accounts(t.Context(), id, "", 10)
	if err != nil || len(states) != 1 || !states[0].Disabled {
		t.Errorf("the accounts of the user are %+v, %v", states, err)
	}
	events := slices.Collect(func(yield func(audit.Event) bool) {
		for e, err := range audit.Events(t.Context(), w.p.store, audit.Query{UserID: id, Kind: "user.changed", Limit: 1}) {
			if err != nil {
				t.Fatal(err)
			}
			if !yield(e) {
				return
			}
		}
	})
	if len(events) != 1 || events[0].By != "scim:hr" || !slices.Contains(events[0].Names, "active") {
		t.Errorf("the last change is recorded as %+v", events)
	}

	// Let in again, she works again.
	hr.do(200, "PATCH", "/Users/"+id, scimPatch(`{"op":"replace","path":"active","value":true}`))
	alice.open(w.at("wiki", "/")).signIn("campus", "alice").wants(http.StatusOK, "Wiki")
	alice.open(w.at("wiki", "/headers")).wants(http.StatusOK, "alice")
	hr.do(204, "DELETE", "/Users/"+id, "")
	alice.open(w.at("wiki", "/headers"))
	if alice.url.Host == fmt.Sprintf("wiki.localhost:%d", w.port) {
		t.Errorf("deleted, alice is still at the wiki:\n%s", alice.body)
	}
}

func TestC25_CookieIsNoCredentialOfAClient(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	carol := w.person()
	carol.open(w.at("", "/")).signIn("campus", "carol").wants(http.StatusOK)
	carol.do("GET", w.at("", "/.gatehouse/scim/v2/Users"), nil)
	if carol.status != http.StatusUnauthorized || carol.header.Get("WWW-Authenticate") == "" {
		t.Errorf("an administrator's cookie: %d %v", carol.status, carol.header)
	}
	w.hr().do(200, "GET", "/Users", "")
}

func TestResidentUsesItsStoresByPrefixAtTheOldAddress(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	old := w.resident("/scim2")
	made := old.do(201, "POST", "/Users", scimUser(`"userName":"mysql/kim"`))
	if made.String("userName") != "mysql/kim" {
		t.Errorf("made %s", made.AppendJSON(nil))
	}
	u, err := w.p.site.Load().directory.User(t.Context(), made.String("id"))
	if err != nil || u.Store != "mysql" || u.UserName != "kim" {
		t.Errorf("it is %+v, %v", u, err)
	}
	if got := w.resident("/.gatehouse/scim/v2").find(`userName eq "mysql/kim"`); got.String("id") != u.ID {
		t.Errorf("found %s", got.AppendJSON(nil))
	}
	old.do(400, "POST", "/Users", scimUser(`"userName":"oracle/kim"`))
	w.hr().do(404, "GET", "/Users/"+u.ID, "")
	// The alias belongs to the gateway's own host alone.
	w.person().open(w.at("wiki", "/scim2/Users")).wants(http.StatusOK, "Choose your institution")
}

// The configuration decides what a client may, and a changed one decides it at
// once: a credential that is taken out of it is worth nothing.
func TestC01_ConfigurationSaysWhoMayProvisionAndWhatIsPushed(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	as := func(token string) *scimClient {
		return &scimClient{l.world, func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) }, l.at("", "/.gatehouse/scim/v2")}
	}
	as("quiet-1").do(401, "GET", "/Users", "")
	l.reload(func(yaml string) string {
		return yaml + `clients:
  - { id: quiet, credentials: [ { bearer: quiet-1 }, { bearer: quiet-2 } ] }
  - { id: loud, credentials: [ { bearer: loud-1 } ], user_store: [partners, primary], mode: persist-and-push }
  - { id: astray, credentials: [ { bearer: astray-1 } ], mode: persist-and-push, links: { identity_provider: campus } }
`
	})
	accounts := func(id string) int {
		t.Helper()
		states, err := l.p.site.Load().outbox.States(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		return len(states)
	}
	quiet := as("quiet-1").do(201, "POST", "/Users", scimUser(`"userName":"kim"`)).String("id")
	loud := as("loud-1").do(201, "POST", "/Users", scimUser(`"userName":"dana"`)).String("id")
	if q, d := accounts(quiet), accounts(loud); q != 0 || d != 1 {
		t.Errorf("pushed are %d and %d, want 0 and 1", q, d)
	}
	as("quiet-2").do(200, "GET", "/Users/"+quiet, "")
	as("quiet-2").do(404, "GET", "/Users/"+loud, "")
	if got := as("loud-1").find(`userName eq "primary/kim"`); got.String("id") != quiet {
		t.Errorf("found %s", got.AppendJSON(nil))
	}
	as("loud-1").do(200, "PATCH", "/Users/"+quiet, scimPatch(`{"op":"add","path":"title","value":"x"}`))
	if n := accounts(quiet); n != 1 {
		t.Errorf("a change by who pushes made %d accounts", n)
	}
	l.reload(func(yaml string) string { return strings.Replace(yaml, "{ bearer: quiet-1 }, ", "", 1) })
	as("quiet-1").do(401, "GET", "/Users", "")
	as("quiet-2").do(200, "GET", "/Users/"+quiet, "")
}

// A token that is made opens every way in, until it is revoked; nothing shows it
// again.
func TestC26_TokensOfClientsAreMadeAndEnded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	api := newAPI(w.p, w.p.site.Load())
	ask := func(want int, method, path string, v any) string {
		t.Helper()
		rec := httptest.NewRecorder()
		api.ServeHTTP(rec, httptest.NewRequest(method, "/v1/"+path, nil))
		if rec.Code != want {
			t.Fatalf("%s %s: %d %s", method, path, rec.Code, rec.Body)
		}
		if v != nil {
			if err := json.Unmarshal(rec.Body.Bytes(), v); err != nil {
				t.Fatal(err)
			}
		}
		return rec.Body.String()
	}
	var made webapi.MadeToken
	ask(200, "POST", "client/tokens?client=hr&expires=90d", &made)
	if !strings.HasPrefix(made.Text, "gh_token_"+made.ID+"_") || made.Until.Sub(made.Created) != 90*24*time.Hour {
		t.Fatalf("%+v", made)
	}
	ask(404, "POST", "client/tokens?client=nobody", nil)
	ask(400, "POST", "client/tokens?client=hr&expires=soon", nil)
	client := func(base string) *scimClient {
		return &scimClient{w, func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+made.Text) }, w.at("", base)}
	}
	bases := []string{"/.gatehouse/scim/v2", "/scim2", "/.gatehouse/scim/v1"}
	for _, base := range bases {
		client(base).do(200, "GET", "/Users", "")
	}
	shown := ask(200, "GET", "client/tokens", nil) + ask(200, "GET", "clients", nil)
	for e, err := range audit.Events(t.Context(), w.p.store, audit.Query{Kind: "client.token_made"}) {
		if err != nil {
			t.Fatal(err)
		}
		shown += e.Text
	}
	if secret := strings.TrimPrefix(made.Text, "gh_token_"+made.ID+"_"); strings.Contains(shown, secret) || strings.Contains(w.log.String(), secret) || !strings.Contains(shown, made.ID) || !strings.Contains(shown, "token "+made.ID+" of client hr") {
		t.Errorf("shown is %s", shown)
	}
	ask(200, "DELETE", "client/tokens?id="+made.ID, nil)
	ask(404, "DELETE", "client/tokens?id="+made.ID, nil)
	for _, base := range bases {
		client(base).do(401, "GET", "/Users", "")
	}
	// The token endpoint is there, and gives nothing to whoever asks.
	r, err := http.NewRequest("POST", w.at("", "/.gatehouse/oauth2/token"), strings.NewReader("grant_type=client_credentials&client_id=hr&client_secret="+made.Text))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	tr := localTransport()
	defer tr.CloseIdleConnections()
	resp, err := tr.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if raw, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != 401 || !strings.Contains(string(raw), "invalid_client") {
		t.Errorf("%s %s %v", resp.Status, raw, err)
	}
}

// What a client would take away from too many waits where an administrator sees it,
// and is done once they say so, without the client's doing.
func TestB09_WhatAClientTakesFromManyIsDecidedByAPerson(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	l.reload(func(s string) string {
		return s + `
clients:
  - { id: hr, credentials: [ { bearer: hr-token } ], groups: "*", guard: { removals: { count: 1 }, memberships: { count: 1 } } }
`
	})
	hr := &scimClient{l.world, func(r *http.Request) { r.Header.Set("Authorization", "Bearer hr-token") }, l.at("", "/.gatehouse/scim/v2")}
	var ids []string
	members := ""
	for i := range 3 {
		ids = append(ids, hr.do(201, "POST", "/Users", scimUser(fmt.Sprintf(`"userName":"u%d"`, i))).String("id"))
		members += fmt.Sprintf(`,{"value":"%s"}`, ids[i])
	}
	group := hr.do(201, "POST", "/Groups", `{"schemas":["`+scim.GroupURN+`"],"displayName":"staff","members":[`+members[1:]+`]}`).String("id")
	l.clock.advance(2 * time.Hour)

	disable := scimPatch(`{"op":"replace","path":"active","value":false}`)
	hr.do(200, "PATCH", "/Users/"+ids[0], disable)
	hr.do(429, "PATCH", "/Users/"+ids[1], disable)
	hr.do(429, "DELETE", "/Groups/"+group, "")
	var held webapi.Held
	l.admin(http.MethodGet, "client/held", url.Values{"id": {"hr"}}, &held)
	if held.Case == nil || len(held.Items) != 4 || held.Next != "" {
		t.Fatalf("held: %+v", held)
	}
	// All of it is found on pages too, each item once.
	var paged []webapi.HeldItem
	for next := ""; len(paged) < 10; {
		var page webapi.Held
		l.admin(http.MethodGet, "client/held", url.Values{"id": {"hr"}, "limit": {"1"}, "after": {next}}, &page)
		paged = append(paged, page.Items...)
		if next = page.Next; next == "" {
			break
		}
	}
	if !slices.Equal(paged, held.Items) {
		t.Errorf("on pages there are %+v, want %+v", paged, held.Items)
	}
	// Who names somebody of whom nothing is held decides about nobody.
	var no struct{ Error string }
	for status, form := range map[int]url.Values{
		http.StatusNotFound:   {"id": {"hr"}, "name": {"u1", "u0", "nobody"}, "answer": {"approve"}},
		http.StatusBadRequest: {"id": {"hr"}, "name": {"u1"}, "answer": {"perhaps"}},
	} {
		if code := l.ask(http.MethodPost, "client/held", form, &no); code != status || no.Error == "" {
			t.Errorf("%v: %d %q, want %d", form, code, no.Error, status)
		}
	}
	if code := l.ask(http.MethodPost, "client/held", url.Values{"id": {"hr"}, "name": {""}, "answer": {"approve"}}, &no); code != http.StatusNotFound {
		t.Errorf("that nobody is named is answered with %d", code)
	}
	held = webapi.Held{}
	if l.admin(http.MethodGet, "client/held", url.Values{"id": {"hr"}}, &held); len(held.Items) != 4 {
		t.Fatalf("after refused decisions there are %+v", held)
	}
	if code := l.ask(http.MethodGet, "client/held", url.Values{"id": {"hr"}, "after": {"not a place"}}, &no); code != http.StatusBadRequest && code != http.StatusConflict {
		t.Errorf("a place that is none: %d", code)
	}
	if !hr.do(200, "GET", "/Users/"+ids[1], "").Get("active").(bool) {
		t.Error("what is held was done")
	}
	// On the page nobody is ticked, and then one of them.
	carol, page := l.person(), l.at("", deskPath+"/client?client=hr")
	carol.open(page).signIn("campus", "carol").wants(http.StatusOK, "u1")
	for _, ticked := range [][]string{nil, {ids[1]}} {
		carol.do(http.MethodPost, page, url.Values{"do": {"approve"}, "id": {"hr"}, "name": ticked})
		held = webapi.Held{}
		if l.admin(http.MethodGet, "client/held", url.Values{"id": {"hr"}}, &held); len(held.Items) != 4-2*len(ticked) {
			t.Errorf("after %d are ticked there are %+v", len(ticked), held.Items)
		}
	}
	l.admin(http.MethodPost, "client/held", url.Values{"id": {"hr"}, "answer": {"approve"}}, nil)
	eventually(t, "it is done", func() bool {
		return hr.ask("GET", "/Groups/"+group, "").status == 404 && hr.do(200, "GET", "/Users/"+ids[1], "").Get("active") == false
	})
	if hr.do(200, "GET", "/Users/"+ids[2], "").Get("active") != true {
		t.Error("more was done than what was approved")
	}
}
