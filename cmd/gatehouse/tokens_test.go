package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/google/go-cmp/cmp"

	"github.com/gatehouse-sso/gatehouse/gateway/bearer"
	"github.com/gatehouse-sso/gatehouse/provisioning/audit"
	webapi "github.com/gatehouse-sso/gatehouse/web/api"
)

// An asked is an answer of the API of the verbs.
type asked struct {
	status int
	body   string
}

func (l *lab) verb(method, path string, q url.Values, into any) asked {
	l.t.Helper()
	w := httptest.NewRecorder()
	newAPI(l.p, l.p.site.Load()).ServeHTTP(w, httptest.NewRequest(method, "http://admin.sock/v1/"+path+"?"+q.Encode(), nil))
	raw, _ := io.ReadAll(w.Result().Body)
	if into != nil {
		if err := json.Unmarshal(raw, into); err != nil {
			l.t.Fatalf("%s %s: %d %s", method, path, w.Code, raw)
		}
	}
	return asked{w.Code, string(raw)}
}

// opened lets programs into the wiki.
func (l *lab) opened(service, rules string) {
	l.t.Helper()
	l.reload(func(yaml string) string {
		return strings.Replace(yaml, "    access: [ { id: everyone, text: The wiki is for everyone who is signed in., allow: { signed_in: true } } ]\n",
			service+"    access:\n      - { id: everyone, allow: { signed_in: true } }\n"+rules, 1)
	})
}

// program asks with a credential and no cookie.
func (l *lab) program(method, to, credential string, body io.Reader) (int, string, http.Header) {
	l.t.Helper()
	r, err := http.NewRequestWithContext(l.t.Context(), method, to, body)
	if err != nil {
		l.t.Fatal(err)
	}
	if credential != "" {
		r.Header.Set("Authorization", "Bearer "+credential)
	}
	tr := localTransport()
	defer tr.CloseIdleConnections()
	resp, err := tr.RoundTrip(r)
	if err != nil {
		l.t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(raw), resp.Header
}

// The whole life of a service token: made, used, listed, over a restart, revoked.
func TestAServiceTokenFromItsMakingToItsEnd(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	for _, c := range []struct {
		q    url.Values
		says string
	}{
		{url.Values{"name": {"ci"}, "service": {"wiki"}}, "takes no service tokens"},
		{url.Values{"name": {"ci"}, "service": {"nowhere"}}, "no service"},
		{url.Values{"name": {"ci"}}, "for nothing"},
		{url.Values{"name": {"C I"}, "ask": {"wiki"}}, "name of a program"},
		{url.Values{"name": {"ci"}, "ask": {"wiki"}, "expires": {"367d"}}, "366 days"},
		{url.Values{"name": {"ci"}, "ask": {"wiki"}, "expires": {"soon"}}, "duration"},
	} {
		if a := l.verb("POST", "tokens", c.q, nil); a.status < 400 || !strings.Contains(a.body, c.says) {
			t.Errorf("%v: %d %s", c.q, a.status, a.body)
		}
	}
	l.opened("    tokens: true\n", `      - { id: ci, allow: { callers: "token:ci" } }`+"\n")
	var made webapi.MadeServiceToken
	if a := l.verb("POST", "tokens", url.Values{"name": {"ci"}, "service": {"wiki:/api"}, "expires": {"1h"}}, &made); a.status != 200 || made.Text == "" {
		t.Fatalf("%d %s", a.status, a.body)
	}
	ask := func(path string) (int, string) {
		st, body, _ := l.program("GET", l.at("wiki", path), made.Text, nil)
		return st, body
	}
	if st, body := ask("/api/x"); st != 200 || !strings.Contains(body, "caller:token/ci") || strings.Contains(body, made.Text) {
		t.Errorf("%d %s", st, body)
	}
	if st, body := ask("/"); st != 403 || !strings.Contains(body, bearer.ReasonScope) {
		t.Errorf("beyond its paths: %d %s", st, body)
	}
	var list []bearer.Token
	l.verb("GET", "tokens", nil, &list)
	if len(list) != 1 || list[0].ID != made.ID || list[0].Used.IsZero() || purpose(list[0]) != "wiki:/api" {
		t.Errorf("listed as %+v", list)
	}
	l.restart()
	if st, body := ask("/api/x"); st != 200 {
		t.Errorf("after a restart: %d %s", st, body)
	}
	if a := l.verb("DELETE", "tokens", url.Values{"id": {made.ID}}, nil); a.status != 200 {
		t.Errorf("%d %s", a.status, a.body)
	}
	if st, body := ask("/api/x"); st != 401 || !strings.Contains(body, bearer.ReasonUnknown) {
		t.Errorf("revoked: %d %s", st, body)
	}
	if a := l.verb("DELETE", "tokens", url.Values{"id": {made.ID}}, nil); a.status != 404 {
		t.Errorf("revoked twice: %d %s", a.status, a.body)
	}
	kinds := map[string]string{}
	eventually(t, "the refusal is recorded", func() bool {
		for e, err := range audit.Events(t.Context(), l.p.store, audit.Query{Limit: 100}) {
			if err != nil {
				t.Fatal(err)
			}
			kinds[e.Kind+" "+e.Code] = e.Text
			if strings.Contains(e.Text, made.Text) {
				t.Errorf("the token is in the audit log: %+v", e)
			}
		}
		return kinds["refused "+bearer.ReasonUnknown] != ""
	})
	for _, kind := range []string{"token.made ", "token.revoked "} {
		if !strings.Contains(kinds[kind], made.ID) {
			t.Errorf("%s: recorded %q", kind, kinds[kind])
		}
	}
	if strings.Contains(l.log.String(), made.Text) {
		t.Error("the token is in the log")
	}
}

// A program of another house: its issuer is listed, its keys are fetched through
// the guarded client, and a change of the configuration counts at once.
func TestAProgramWithAJWTOfItsOwnIssuer(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	key := keyOf(t)
	var issuer string
	h := &later{}
	issuer = l.serve(h)
	h.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/keys" {
			_ = json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "k"}}})
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]string{"issuer": issuer, "jwks_uri": issuer + "/keys"})
	})
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: "k"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	now := l.clock.now()
	robot, err := jwt.Signed(signer).Claims(map[string]any{"iss": issuer, "aud": "wiki", "sub": "repo:uni/x", "iat": now.Unix(), "exp": now.Add(time.Hour).Unix(), "contact": "robots@uni.example"}).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	ask := func() (int, string) {
		st, body, _ := l.program("GET", l.at("wiki", "/"), robot, nil)
		return st, body
	}
	if st, _ := ask(); st != 401 {
		t.Errorf("before it is listed: %d", st)
	}
	l.opened("    callers: [ { id: robots, issuer: \""+issuer+"\", audience: wiki, subjects: \"repo:uni/*\", attributes: { mail: contact } } ]\n", "      - { id: robots, allow: { callers: robots } }\n")
	if st, body := ask(); st != 200 || !strings.Contains(body, "caller:robots/repo:uni/x") || !strings.Contains(body, "robots@uni.example") {
		t.Errorf("listed: %d %s", st, body)
	}
	l.reload(func(yaml string) string { return strings.Replace(yaml, "repo:uni/*", "repo:other/*", 1) })
	if st, body := ask(); st != 401 || !strings.Contains(body, bearer.ReasonJWT) {
		t.Errorf("listed no more: %d %s", st, body)
	}
}

// A service asks for the decision that the gateway itself would make, and gets it,
// also for somebody whose rights change.
func TestAServiceAsksForTheGatewaysDecisions(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	l.in("campus", "alice")
	var made webapi.MadeServiceToken
	l.verb("POST", "tokens", url.Values{"name": {"app"}, "ask": {"wiki", "payroll"}}, &made)
	ask := func(at, service, context string) (int, string) {
		r, err := http.NewRequestWithContext(t.Context(), "POST", l.at("", at), strings.NewReader(
			`{"subject":{"type":"user","id":"alice"},"action":{"name":"GET"},"resource":{"type":"service","id":"`+service+`"},"context":`+context+`}`))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Authorization", "Bearer "+made.Text)
		tr := localTransport()
		defer tr.CloseIdleConnections()
		resp, err := tr.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		raw, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, string(raw)
	}
	st, found, _ := l.program("GET", l.at("", "/.well-known/authzen-configuration"), "", nil)
	if st != 200 || !strings.Contains(found, l.at("", "/.gatehouse/access/v1/evaluations")) {
		t.Errorf("%d %s", st, found)
	}
	for _, c := range []struct{ at, service, context, want string }{
		{"/.gatehouse/access/v1/evaluation", "wiki", "{}", `"decision":true`},
		{"/access/v1/evaluation", "wiki", "{}", `"decision":true`},
		{"/access/v1/evaluations", "payroll", "{}", `"id":"access.step_up"`},
		{"/access/v1/evaluation", "payroll", `{"acr":"https://refeds.org/profile/mfa"}`, `"decision":true`},
		{"/access/v1/evaluation", "admins", "{}", bearer.ReasonScope},
	} {
		if _, body := ask(c.at, c.service, c.context); !strings.Contains(body, c.want) {
			t.Errorf("%s %s %s: %s", c.at, c.service, c.context, body)
		}
	}
	l.verb("POST", "user/active", url.Values{"name": {"alice"}, "active": {"false"}}, nil)
	var no struct {
		Context struct {
			ID      string `json:"id"`
			Support string `json:"support_code"`
		}
	}
	_, body := ask("/access/v1/evaluation", "wiki", "{}")
	if decodeJSON(t, body, &no); no.Context.ID != "user.inactive" {
		t.Errorf("disabled: %s", body)
	}
	_, metrics := operate(l.p, "/metrics")
	for _, want := range []string{`{decision="allow",rule="everyone",service="wiki"} 2`, `{decision="deny",rule="",service="wiki"} 1`} {
		if !strings.Contains(metrics, "gatehouse_authzen_decisions_total"+want) {
			t.Errorf("not counted: %s", want)
		}
	}
	// It is for questions, and opens nothing.
	if st, _, _ := l.program("GET", l.at("wiki", "/"), made.Text, nil); st != 401 {
		t.Errorf("it opened the wiki: %d", st)
	}
	l.verb("DELETE", "tokens", url.Values{"id": {made.ID}}, nil)
	if st, body := ask("/access/v1/evaluation", "wiki", "{}"); st != 401 {
		t.Errorf("revoked: %d %s", st, body)
	}
	eventually(t, "the no is recorded", func() bool {
		for e, err := range audit.Events(t.Context(), l.p.store, audit.Query{Flow: no.Context.Support, Limit: 100}) {
			if err == nil && e.Code == "user.inactive" && e.By == "caller:token/app" && e.Service == "wiki" {
				return true
			}
		}
		return false
	})
}

// The questions of the page get the answers of the page, from the demo.
func TestDocsQuestionsOfServicesAreAnsweredAsShown(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.person().open(w.at("wiki", "/")).signIn("campus", "alice").wants(http.StatusOK, "Wiki")
	_, text, err := w.p.tokens.Make(t.Context(), "app", nil, []string{"wiki", "payroll"}, time.Hour, nil)
	if err != nil {
		t.Fatal(err)
	}
	var question string
	n := 0
	for _, f := range fences(readDoc(t, "docs/how-to/authzen.md")) {
		switch f.kind {
		case "sh":
			if status, answer := w.curl(strings.Replace(f.body, "gh_service_…", text, 1)); status != http.StatusOK || !strings.Contains(string(answer.AppendJSON(nil)), "access.step_up") {
				t.Errorf("line %d: %d, %s", f.line, status, answer.AppendJSON(nil))
			}
			n++
		case "json question":
			question = f.body
		case "json answer":
			n++
			r, err := http.NewRequestWithContext(t.Context(), "POST", w.at("", "/.gatehouse/access/v1/evaluations"), strings.NewReader(question))
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Content-Type", "application/json")
			r.Header.Set("Authorization", "Bearer "+text)
			tr := localTransport()
			resp, err := tr.RoundTrip(r)
			if err != nil {
				t.Fatal(err)
			}
			var got, want any
			if err := json.NewDecoder(resp.Body).Decode(&got); err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			tr.CloseIdleConnections()
			decodeJSON(t, f.body, &want)
			anySupportCode(got)
			anySupportCode(want)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("line %d: %s", f.line, diff)
			}
		}
	}
	if n != 3 {
		t.Errorf("the page has %d answers", n)
	}
}

// anySupportCode makes support codes alike, which are made for each question.
func anySupportCode(v any) {
	if a, ok := v.(map[string]any); ok {
		if c, ok := a["context"].(map[string]any); ok && c["support_code"] != nil {
			c["support_code"] = "any"
		}
	}
}

func keyOf(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}
