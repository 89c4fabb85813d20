package authzen

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/gatehouse-sso/gatehouse/authz"
	"github.com/gatehouse-sso/gatehouse/gateway/bearer"
	"github.com/gatehouse-sso/gatehouse/provisioning/store/boltstore"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A point decides about the service wiki for alice, bob and the retired carol:
// everybody signed in may GET, /admin/* is for the group admins, and /safe for a
// strong sign-in at campus.
type point struct {
	t       *testing.T
	h       http.Handler
	token   string
	denied  []string // of these, the noes, and who may not ask
	decided []string
	broken  bool
	tokens  *bearer.Tokens
}

func newPoint(t *testing.T) *point {
	t.Helper()
	st, err := boltstore.Open(filepath.Join(t.TempDir(), "db"), boltstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	p := &point{t: t}
	if p.tokens, err = bearer.LoadTokens(t.Context(), bearer.TokensConfig{Store: st, Key: []byte("key"), Now: time.Now}); err != nil {
		t.Fatal(err)
	}
	p.token = p.made([]string{"wiki", "gone"})
	policy, mistakes := authz.Compile(nil, []authz.ServiceRules{
		{ID: "wiki", Rules: []authz.Rule{
			{ID: "read", Text: "Everybody may read.", Methods: []string{"GET"}, Allow: &authz.Match{SignedIn: true}},
			{ID: "admins", Text: "This part is for administrators.", Paths: []string{"/admin/*"}, Deny: &authz.Match{When: `!("admins" in user.groups)`}},
			{ID: "strong", Paths: []string{"/strong"}, Methods: []string{"POST"}, Allow: &authz.Match{IdentityProviders: []string{"campus"}, ACR: []string{"mfa"}}},
			{ID: "near", Methods: []string{"PUT"}, Allow: &authz.Match{When: `net(request.from, "10.0.0.0/8")`}},
			{ID: "fresh", Methods: []string{"PATCH"}, Allow: &authz.Match{MaxAge: time.Hour}},
			{ID: "key", Methods: []string{"DELETE"}, Allow: &authz.Match{AMR: []string{"hwk"}}},
		}},
		{ID: "payroll", Rules: []authz.Rule{{ID: "all", Allow: &authz.Match{Anyone: true}}}},
	})
	if mistakes != nil {
		t.Fatal(mistakes)
	}
	people := map[string]authz.Subject{
		"alice": {ID: "1", Store: "primary", UserName: "alice", Active: true, Groups: []string{"admins"}},
		"bob":   {ID: "2", Store: "primary", UserName: "bob", Active: true}, "carol": {ID: "3", Store: "primary", UserName: "carol"},
	}
	p.h = Handler(Config{
		Base: "https://gate.example", Prefix: "/a/", Decide: policy.Decide, Services: []string{"wiki", "payroll"},
		Callers: bearer.New(bearer.Config{Tokens: p.tokens, Limits: bearer.NewLimits(), Now: time.Now}), Now: time.Now,
		Subject: func(_ context.Context, name string) (authz.Subject, error) {
			if p.broken {
				return authz.Subject{}, errors.New("the store can not be read")
			}
			s, ok := people[name]
			if !ok {
				return s, ErrNobody
			}
			return policy.Roles(s), nil
		},
		Support: func() string { return "ABCD-2345" },
		Decided: func(q Question, d authz.Decision) {
			if d.Outcome != authz.Allow {
				p.denied = append(p.denied, q.Token+" "+q.Subject.ID+" "+d.Code)
			}
			p.decided = append(p.decided, q.Support+" "+d.Outcome.String()+" "+d.Rule())
		},
		Refused: func(code, _ string) { p.denied = append(p.denied, code) },
	})
	return p
}

func (p *point) made(asks []string) string {
	p.t.Helper()
	_, text, err := p.tokens.Make(p.t.Context(), "app", nil, asks, time.Hour, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	return text
}

func (p *point) post(path, body string, headers ...string) *httptest.ResponseRecorder {
	p.t.Helper()
	r := httptest.NewRequestWithContext(p.t.Context(), http.MethodPost, "/a/"+path, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer "+p.token)
	r.Header.Set("X-Forwarded-For", "10.1.2.3")
	for i := 0; i+1 < len(headers); i += 2 {
		if r.Header.Del(headers[i]); headers[i+1] != "" {
			r.Header.Set(headers[i], headers[i+1])
		}
	}
	w := httptest.NewRecorder()
	p.h.ServeHTTP(w, r)
	return w
}

func ask(user, method, path, more string) string {
	return fmt.Sprintf(`{"subject":{"type":"user","id":%q},"action":{"name":%q},"resource":{"type":"service","id":"wiki","properties":{"path":%q}}%s}`, user, method, path, more)
}

func TestDecisionsAreThoseOfThePolicy(t *testing.T) {
	t.Parallel()
	p := newPoint(t)
	for _, c := range []struct{ user, method, path, more, code string }{
		{"bob", "GET", "/", "", ""},
		{"bob", "GET", "/admin/x", "", authz.ReasonDenied},
		{"alice", "GET", "/admin/x", "", ""},
		{"alice", "POST", "/", "", authz.ReasonNoRule},
		{"carol", "GET", "/", "", authz.ReasonInactive},
		{"bob", "POST", "/strong", "", authz.ReasonNoRule},
		{"bob", "POST", "/strong", `,"context":{"identity_provider":"campus"}`, authz.ReasonStepUp},
		{"bob", "POST", "/strong", `,"context":{"identity_provider":"campus","acr":"mfa"}`, ""},
		{"bob", "POST", "/strong", `,"context":{"identity_provider":"partner","acr":"mfa"}`, authz.ReasonNoRule},
		{"bob", "PUT", "/", "", authz.ReasonNoRule},
		{"bob", "PUT", "/", `,"context":{"ip":"10.9.9.9"}`, ""},
		{"bob", "PUT", "/", `,"context":{"ip":"::ffff:10.9.9.9"}`, ""},
		{"bob", "PUT", "/", `,"context":{"ip":"192.0.2.1"}`, authz.ReasonNoRule},
		{"bob", "PATCH", "/", "", authz.ReasonStepUp},
		{"bob", "PATCH", "/", `,"context":{"auth_time":"` + time.Now().UTC().Format(time.RFC3339) + `"}`, ""},
		{"bob", "PATCH", "/", `,"context":{"auth_time":"2020-01-01T00:00:00Z"}`, authz.ReasonStepUp},
		{"bob", "DELETE", "/", `,"context":{"amr":["pwd"]}`, authz.ReasonStepUp},
		{"bob", "DELETE", "/", `,"context":{"amr":["pwd","hwk"]}`, ""},
	} {
		w := p.post("evaluation", ask(c.user, c.method, c.path, c.more))
		var a struct {
			Decision *bool
			Context  struct{ ID string }
		}
		if err := json.Unmarshal(w.Body.Bytes(), &a); err != nil || w.Code != 200 || a.Decision == nil {
			t.Fatalf("%+v: %d %s", c, w.Code, w.Body)
		}
		if *a.Decision != (c.code == "") || a.Context.ID != c.code {
			t.Errorf("%+v: %s", c, w.Body)
		}
	}
	if want := "app 2 " + authz.ReasonDenied; p.denied[0] != want {
		t.Errorf("recorded %q, want %q first", p.denied, want)
	}
	if got, want := p.decided[:2], []string{"ABCD-2345 allow read", "ABCD-2345 deny admins"}; !slices.Equal(got, want) {
		t.Errorf("told of %q, want %q", got, want)
	}
	w := p.post("evaluation", ask("bob", "GET", "/admin/x", ""))
	if !strings.Contains(w.Body.String(), `"support_code":"ABCD-2345"`) {
		t.Errorf("a no without its support code: %s", w.Body)
	}
	if !strings.Contains(w.Body.String(), `"reason_user":{"en":"This part is for administrators."}`) {
		t.Errorf("the rule's own words are not there: %s", w.Body)
	}
	if w := p.post("evaluation", ask("bob", "POST", "/strong", `,"context":{"identity_provider":"campus"}`)); !strings.Contains(w.Body.String(), `"acr_values":["mfa"]`) {
		t.Errorf("what a sign-in must bring is not there: %s", w.Body)
	}
	// With the address in the subject, as the specification has it.
	w = p.post("evaluation", `{"subject":{"type":"user","id":"bob","properties":{"ip_address":"10.9.9.9"}},"action":{"name":"PUT"},"resource":{"type":"service","id":"wiki"}}`)
	if !strings.Contains(w.Body.String(), `"decision":true`) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestListsAreWorkedOffAsIsWanted(t *testing.T) {
	t.Parallel()
	p := newPoint(t)
	// yes, no, yes: by path
	body := func(options string) string {
		one := func(path string) string {
			return `{"resource":{"type":"service","id":"wiki","properties":{"path":"` + path + `"}}}`
		}
		return `{"subject":{"type":"user","id":"bob"},"action":{"name":"GET"}` + options + `,"evaluations":[` + one("/") + "," + one("/admin/x") + "," + one("/x") + `]}`
	}
	for options, want := range map[string][]bool{
		"": {true, false, true},
		`,"options":{"evaluations_semantic":"execute_all","other":1}`:  {true, false, true},
		`,"options":{"evaluations_semantic":"deny_on_first_deny"}`:     {true, false},
		`,"options":{"evaluations_semantic":"permit_on_first_permit"}`: {true},
	} {
		w := p.post("evaluations", body(options))
		var got struct {
			Decision    *bool
			Evaluations []struct{ Decision bool }
		}
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != 200 || got.Decision != nil {
			t.Fatalf("%s: %d %s", options, w.Code, w.Body)
		}
		var list []bool
		for _, e := range got.Evaluations {
			list = append(list, e.Decision)
		}
		if !cmp.Equal(list, want) {
			t.Errorf("%s: %v, want %v", options, list, want)
		}
	}
	if w := p.post("evaluations", body(`,"options":{"evaluations_semantic":"first"}`)); w.Code != 400 {
		t.Errorf("an unknown semantic: %d %s", w.Code, w.Body)
	}
	// Without a list it is the other endpoint, and that has no lists.
	for path, b := range map[string]string{"evaluations": ask("bob", "GET", "/", `,"evaluations":[]`), "evaluation": ask("bob", "GET", "/", `,"evaluations":[{}]`)} {
		if w := p.post(path, b); w.Code != 200 || w.Body.String() != `{"decision":true}`+"\n" {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
	// What is wrong with one is said of it, and the next is decided; each default can be
	// replaced.
	w := p.post("evaluations", `{"subject":{"type":"user","id":"bob"},"action":{"name":"GET"},"resource":{"type":"service","id":"wiki"},"context":{"identity_provider":"campus"},"evaluations":[
		{}, {"subject":{"type":"user","id":"nobody"}}, {"subject":{"type":"robot","id":"7"}}, {"action":{"name":"can_read"}}, {"resource":{"type":"service","id":"payroll"}},
		{"resource":{"type":"service","id":"wiki","properties":{"path":"/a/../b"}}}, {"action":{"name":"POST"},"resource":{"type":"service","id":"wiki","properties":{"path":"/strong"}},"context":{"identity_provider":"campus","acr":"mfa"}}, {"subject":{"type":"user","id":"carol"}}]}`)
	var got struct {
		Evaluations []struct {
			Decision bool
			Context  struct {
				ID    string
				Error struct{ Status int }
			}
		}
	}
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
		t.Fatal(w.Body)
	}
	var said []string
	for _, e := range got.Evaluations {
		said = append(said, fmt.Sprintf("%v %d %s", e.Decision, e.Context.Error.Status, e.Context.ID))
	}
	if want := []string{"true 0 ", "false 404 ", "false 400 ", "false 400 ", "false 403 ", "false 400 ", "true 0 ", "false 0 user.inactive"}; !cmp.Equal(said, want) {
		t.Errorf("got %q, want %q", said, want)
	}
}

func TestQuestionsThatAreNoneAreErrors(t *testing.T) {
	t.Parallel()
	p := newPoint(t)
	good := ask("bob", "GET", "/", "")
	for _, c := range []struct {
		name, path, body string
		status           int
	}{
		{"no JSON", "evaluation", "x", 400},
		{"nothing", "evaluation", "", 400},
		{"null", "evaluation", "null", 400},
		{"a list", "evaluation", "[]", 400},
		{"more behind it", "evaluation", good + good, 400},
		{"no subject", "evaluation", strings.Replace(good, `"subject"`, `"Subject"`, 1), 400},
		{"no action", "evaluation", strings.Replace(good, `"action"`, `"act"`, 1), 400},
		{"no resource", "evaluation", strings.Replace(good, `"resource"`, `"res"`, 1), 400},
		{"an id that is a number", "evaluation", strings.Replace(good, `"bob"`, `7`, 1), 400},
		{"an id that is null", "evaluation", strings.Replace(good, `"bob"`, `null`, 1), 400},
		{"an empty id", "evaluation", strings.Replace(good, `"bob"`, `""`, 1), 400},
		{"a path that is a list", "evaluation", strings.Replace(good, `"/"`, `["/"]`, 1), 400},
		{"a path with a query", "evaluation", ask("bob", "GET", "/x?y", ""), 400},
		{"a path that is escaped", "evaluation", ask("bob", "GET", "/%61dmin", ""), 400},
		{"a context that is text", "evaluation", ask("bob", "GET", "/", `,"context":"x"`), 400},
		{"an address that is none", "evaluation", ask("bob", "GET", "/", `,"context":{"ip":"here"}`), 400},
		{"a time that is none", "evaluation", ask("bob", "GET", "/", `,"context":{"auth_time":"now"}`), 400},
		{"amr as text", "evaluation", ask("bob", "GET", "/", `,"context":{"amr":"hwk"}`), 400},
		{"a service that it may not ask about", "evaluation", strings.Replace(good, `"wiki"`, `"payroll"`, 1), 403},
		{"a service that is not there", "evaluation", strings.Replace(good, `"wiki"`, `"nowhere"`, 1), 403},
		{"a service that is there no more", "evaluation", strings.Replace(good, `"wiki"`, `"gone"`, 1), 403},
		{"nobody", "evaluation", strings.Replace(good, `"bob"`, `"nobody"`, 1), 404},
		{"an entry that is text", "evaluations", `{"evaluations":["x"]}`, 400},
		{"two subjects", "evaluation", strings.Replace(good, "{", `{"subject":{"type":"user","id":"carol"},`, 1), 400},
		{"two ids", "evaluation", strings.Replace(good, `"bob"`, `"carol","\u0069d":"bob"`, 1), 400},
		{"two resources in one of several", "evaluations", `{"evaluations":[` + strings.Replace(good, "{", `{"resource":{},`, 1) + "]}", 400},
		{"too many", "evaluations", `{"evaluations":[` + strings.Repeat("{},", maxEvaluations) + `{}]}`, 400},
		{"too large", "evaluation", ask("bob", "GET", "/", `,"context":{"x":"`+strings.Repeat("x", maxBody)+`"}`), 413},
		{"too deep", "evaluation", ask("bob", "GET", "/", `,"context":`+strings.Repeat(`{"x":`, 20000)+"1"+strings.Repeat("}", 20000)), 400},
	} {
		if w := p.post(c.path, c.body); w.Code != c.status || strings.Contains(w.Body.String(), "decision") || w.Body.Len() == 0 {
			t.Errorf("%s: %d %.200s", c.name, w.Code, w.Body)
		}
	}
	if w := p.post("evaluation", good, "Content-Type", "text/plain"); w.Code != 400 {
		t.Errorf("text/plain: %d", w.Code)
	}
	if w := p.post("evaluation", good, "Content-Type", "application/json; charset=utf-8", "X-Request-Id", "7"); w.Code != 200 || w.Header().Get("X-Request-Id") != "7" {
		t.Errorf("a good one: %d %s", w.Code, w.Body)
	}
	p.broken = true
	for _, path := range []string{"evaluation", "evaluations"} {
		if w := p.post(path, ask("bob", "GET", "/", `,"evaluations":[{}]`)); w.Code != 500 || strings.Contains(w.Body.String(), "store") {
			t.Errorf("%s: nobody knows, and it is said %d %s", path, w.Code, w.Body)
		}
	}
}

func TestOnlyTokensForDecisionsMayAsk(t *testing.T) {
	t.Parallel()
	p := newPoint(t)
	good := ask("bob", "GET", "/", "")
	for name, c := range map[string]struct {
		credential string
		status     int
		code       string
	}{
		"nothing":              {"", 401, bearer.ReasonUnknown},
		"Basic":                {"Basic eDp5", 401, bearer.ReasonUnknown},
		"a forged token":       {"Bearer " + p.token + "x", 401, bearer.ReasonUnknown},
		"a JWT":                {"Bearer eyJhbGciOiJub25lIn0.e30.", 401, bearer.ReasonUnknown},
		"one for other things": {"Bearer " + p.made(nil), 403, bearer.ReasonScope},
	} {
		p.denied = nil
		w := p.post("evaluation", good, "Authorization", c.credential)
		if w.Code != c.status || !strings.HasPrefix(w.Body.String(), c.code+": ") || (c.status == 401) != (w.Header().Get("WWW-Authenticate") != "") {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
		if len(p.denied) != 1 || p.denied[0] != c.code {
			t.Errorf("%s: recorded %q", name, p.denied)
		}
	}
	for range 30 {
		p.post("evaluation", good, "Authorization", "Bearer guess")
	}
	if w := p.post("evaluation", good, "Authorization", "Bearer guess"); w.Code != 429 || w.Header().Get("Retry-After") == "" {
		t.Errorf("after thirty guesses: %d", w.Code)
	}
	if w := p.post("evaluation", good); w.Code != 200 {
		t.Errorf("who knows a token: %d", w.Code)
	}
}

func TestTheConfigurationSaysWhereEverythingIs(t *testing.T) {
	t.Parallel()
	p := newPoint(t)
	w := httptest.NewRecorder()
	p.h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/a/configuration", nil))
	var got map[string]string
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || !cmp.Equal(got, map[string]string{
		"policy_decision_point": "https://gate.example", "access_evaluation_endpoint": "https://gate.example/a/evaluation", "access_evaluations_endpoint": "https://gate.example/a/evaluations",
	}) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}
