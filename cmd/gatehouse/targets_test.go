package main

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gatehouse-sso/gatehouse/provisioning"
	"github.com/gatehouse-sso/gatehouse/provisioning/connector/connectortest"
	"github.com/gatehouse-sso/gatehouse/provisioning/outbox"
	webapi "github.com/gatehouse-sso/gatehouse/web/api"
)

// ask asks the API of the verbs, as they do.
func (w *world) ask(method, path string, q url.Values, v any) int {
	w.t.Helper()
	rec := httptest.NewRecorder()
	newAPI(w.p, w.p.site.Load()).ServeHTTP(rec, httptest.NewRequest(method, "/v1/"+path+"?"+q.Encode(), nil))
	if v != nil {
		if err := json.Unmarshal(rec.Body.Bytes(), v); err != nil {
			w.t.Fatalf("%s %s: %v in %s", method, path, err, rec.Body)
		}
	}
	return rec.Code
}

// admin is ask where the answer has to be yes.
func (w *world) admin(method, path string, q url.Values, v any) {
	w.t.Helper()
	var raw json.RawMessage
	if code := w.ask(method, path, q, &raw); code != http.StatusOK {
		w.t.Fatalf("%s %s: %d %s", method, path, code, raw)
	}
	if v != nil {
		if err := json.Unmarshal(raw, v); err != nil {
			w.t.Fatal(err)
		}
	}
}

const initiatorsYAML = `
clients:
  - { id: hr-system, title: HR, credentials: [ { bearer: { file: client.secret } } ], mode: persist-and-push }
roles:
  - { id: sales, title: Sales, from: { groups: [sellers] } }
`

// Each of the four that can cause an account does so by itself: the other three
// do nothing meanwhile.
func TestFourInitiatorsCauseAccounts(t *testing.T) {
	t.Parallel()
	y := newYard(t, crowd(1), func(c *yardConfig) { c.Mode = "async" })
	file, err := os.ReadFile(y.file())
	if err != nil {
		t.Fatal(err)
	}
	// hr is for everybody, crm for the role alone.
	parts := strings.SplitN(string(file), "users: { all: true }", 2)
	if err := os.WriteFile(y.file(), []byte(parts[0]+"users: { roles: [sales] }"+parts[1]+initiatorsYAML), 0o600); err != nil {
		t.Fatal(err)
	}
	w := y.run(&clock{})
	crm, hr := y.targets[0], y.targets[1]
	names := func(g *yardTarget) (list []string) {
		for _, r := range g.holds(t) {
			state := ""
			if r.Get("active") != true {
				state = " disabled"
			}
			list = append(list, r.String("userName")+state)
		}
		slices.Sort(list)
		return list
	}
	comes := func(g *yardTarget, want ...string) {
		t.Helper()
		eventually(t, g.id+" holds "+strings.Join(want, ", "), func() bool { return slices.Equal(names(g), want) })
	}

	// A client's request.
	r, err := http.NewRequest(http.MethodPost, fmt.Sprintf("http://localhost:%d/.gatehouse/scim/v2/Users", y.port), strings.NewReader(`{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User"],"userName":"inbound"}`))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+yardClientSecret)
	r.Header.Set("Content-Type", "application/scim+json")
	if p := w.person().send(r); p.status != http.StatusCreated {
		t.Fatalf("%d %s", p.status, p.body)
	}
	comes(hr, "inbound")
	// A sign-in.
	y.arrive(w.person(), "p000").wants(http.StatusOK)
	comes(hr, "inbound", "p000")
	// An administrator.
	w.admin(http.MethodPost, "user/active", url.Values{"name": {"inbound"}, "active": {"false"}}, nil)
	comes(hr, "inbound disabled", "p000")
	if got := names(crm); len(got) > 0 {
		t.Fatalf("crm is for a role that nobody has, and holds %q", got)
	}
	// A role, by being put into the group that gives it, and its end.
	dir := w.p.site.Load().directory
	g, err := dir.CreateGroup(t.Context(), provisioning.Group{Store: "primary", Name: "sellers"}, provisioning.System, provisioning.Move{})
	if err != nil {
		t.Fatal(err)
	}
	u, err := dir.ByName(t.Context(), "primary", "p000")
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := dir.AddMember(t.Context(), g.ID, u.ID, provisioning.System); err != nil {
		t.Fatal(err)
	}
	comes(crm, "p000")
	if _, _, err := dir.RemoveMember(t.Context(), g.ID, u.ID, provisioning.System); err != nil {
		t.Fatal(err)
	}
	comes(crm, "p000 disabled")
	comes(hr, "inbound disabled", "p000")
}

// Whoever tries a target that does not do is told what kind of fault it is, and
// where to look; and that it did not work is how the verb ends.
func TestATargetThatDoesNotDoIsToldWithItsReason(t *testing.T) {
	t.Parallel()
	y := newYard(t, crowd(1), func(c *yardConfig) { c.Mode, c.First = "async", "pass" })
	w := y.run(&clock{})
	crm := y.targets[0]
	y.arrive(w.person(), "p000").wants(http.StatusOK)
	eventually(t, "crm has the account", func() bool { return len(crm.holds(t)) == 1 })
	provision := func() (list attempts) {
		t.Helper()
		w.admin(http.MethodPost, "target/provision", url.Values{"name": {"p000"}, "id": {"crm"}}, &list)
		return list
	}
	if list := provision(); list.No() || len(list) != 1 {
		t.Errorf("at a target that does: %+v", list)
	}
	for _, c := range []struct {
		trick       connectortest.Trick
		class, cure string
	}{
		{connectortest.Fail(503, ""), "(transient)", "see that it runs"},
		{connectortest.Fail(401, ""), "(auth)", "does not take our credentials"},
		{connectortest.HTML(404), "(route)", "see the address"},
	} {
		crm.awkward.When(-1, func(*http.Request) bool { return true }, c.trick)
		for _, path := range []string{"target/test", "target/probe"} {
			var said struct{ Error string }
			if code := w.ask(http.MethodPost, path, url.Values{"id": {"crm"}}, &said); code != http.StatusConflict || !strings.HasPrefix(said.Error, "crm ") || !strings.Contains(said.Error, c.class) || !strings.Contains(said.Error, c.cure) {
				t.Errorf("%s: %d %q, want %s", path, code, said.Error, c.class)
			}
		}
		if list := provision(); !list.No() || list[0].Class != strings.Trim(c.class, "()") || list[0].Steps[0].OK {
			t.Errorf("provisioning on demand: %+v, want %s", list, c.class)
		}
		crm.awkward.Behave()
	}
	if n := len(crm.holds(t)); n != 1 {
		t.Errorf("crm holds %d accounts", n)
	}
}

// What an administrator can see and do about targets, over the API of the verbs.
func TestTargetsAreSeenAndSteered(t *testing.T) {
	t.Parallel()
	y := newYard(t, crowd(2), func(c *yardConfig) { c.Mode, c.First = "async", "pass" })
	w := y.run(&clock{})
	crm := y.targets[0]

	// A paused target is left alone; the other one is not.
	w.admin(http.MethodPost, "target/pause", url.Values{"id": {"crm"}, "why": {"they upgrade"}}, nil)
	y.arrive(w.person(), "p000").wants(http.StatusOK)
	eventually(t, "hr has the account", func() bool { return len(y.targets[1].holds(t)) == 1 })
	var list []outbox.TargetView
	w.admin(http.MethodGet, "targets", nil, &list)
	if len(list) != 2 || list[0].State != "paused" || list[0].Why != "they upgrade" || list[1].State != "working" || len(crm.holds(t)) != 0 {
		t.Errorf("targets %+v, and crm holds %d", list, len(crm.holds(t)))
	}
	// Provisioning on demand says why not, and then the five steps.
	provision := func(user string) outbox.Operation {
		t.Helper()
		var ops []outbox.Operation
		w.admin(http.MethodPost, "target/provision", url.Values{"name": {user}, "id": {"crm"}}, &ops)
		if len(ops) != 1 {
			t.Fatalf("operations %+v", ops)
		}
		return ops[0]
	}
	if op := provision("p000"); !strings.Contains(op.Error, "paused") || len(op.Steps) != 1 {
		t.Errorf("at a paused target: %+v", op)
	}
	w.admin(http.MethodPost, "target/resume", url.Values{"id": {"crm"}}, nil)
	op := provision("p000")
	var steps []string
	for _, s := range op.Steps {
		if steps = append(steps, s.Name); !s.OK || s.Text == "" {
			t.Errorf("step %+v", s)
		}
	}
	if want := []string{"test", "load", "scope", "match", "change"}; op.Error != "" || op.Did != "created" && len(crm.holds(t)) != 1 || !slices.Equal(steps, want) && !slices.Equal(steps, slices.DeleteFunc(slices.Clone(want), func(s string) bool { return s == "match" })) {
		t.Errorf("steps %q of %+v", steps, op)
	}
	raw, _ := json.Marshal(op)
	for _, value := range []string{"p000", "@", yardTargetSecret} {
		if strings.Contains(string(raw), value) {
			t.Errorf("the record of an operation tells %q: %s", value, raw)
		}
	}
	if len(op.Calls) == 0 || !strings.Contains(string(raw), "emails") {
		t.Errorf("the record has no names of what was sent: %s", raw)
	}
	// It is found by the user, and by the support code of the sign-in.
	var audit webapi.Events
	w.admin(http.MethodGet, "audit", url.Values{"kind": {"login"}}, &audit)
	var byFlow, byUser, none []outbox.Operation
	w.admin(http.MethodGet, "operations", url.Values{"flow": {audit.Events[0].Flow}}, &byFlow)
	w.admin(http.MethodGet, "operations", url.Values{"name": {"p000"}, "target": {"crm"}}, &byUser)
	w.admin(http.MethodGet, "operations", url.Values{"flow": {"none-such"}}, &none)
	if len(byFlow) < 2 || len(byUser) == 0 || byUser[0].Target != "crm" || len(none) > 0 {
		t.Errorf("by support code %d, by user %d, by nothing %d", len(byFlow), len(byUser), len(none))
	}

	// An account that is there already is a case, which a person answers.
	crm.plant(t, "p001")
	y.arrive(w.person(), "p001").wants(http.StatusOK)
	var cases []webapi.Case
	eventually(t, "there is a case", func() bool {
		w.admin(http.MethodGet, "target/cases", url.Values{"id": {"crm"}}, &cases)
		return len(cases) == 1
	})
	if c := cases[0]; c.Name != "p001" || len(c.Candidates) != 1 || !c.Candidates[0].SameName {
		t.Fatalf("the case is %+v", c)
	}
	answer := func(account string) int {
		return w.ask(http.MethodPost, "target/case", url.Values{"id": {"crm"}, "name": {"p001"}, "answer": {"adopt"}, "account": {account}}, nil)
	}
	if code := answer("another"); code != http.StatusConflict {
		t.Errorf("an account that is not among them: %d", code)
	}
	if code := answer(cases[0].Candidates[0].RemoteID); code != http.StatusOK {
		t.Errorf("the answer: %d", code)
	}
	eventually(t, "the account is theirs", func() bool {
		return slices.ContainsFunc(crm.ids(t), func(id string) bool { return id != "" && id == cases[0].UserID })
	})
	if w.admin(http.MethodGet, "target/cases", nil, &cases); len(cases) > 0 {
		t.Errorf("the case is still there: %+v", cases)
	}

	// What another configuration would do is told and not done.
	file, err := os.ReadFile(y.file())
	if err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(y.dir, "other.yaml")
	if err := os.WriteFile(other, []byte(strings.Replace(string(file), "users: { all: true }", `users: { when: 'user.user_name == "p000"' }`, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	var v webapi.Preview
	eventually(t, "what was done is noted, and the configuration in force would do nothing", func() bool {
		v = webapi.Preview{}
		w.admin(http.MethodGet, "target/preview", url.Values{"id": {"crm"}}, &v)
		return len(v.Would) == 0
	})
	crm.awkward.Behave()
	w.admin(http.MethodGet, "target/preview", url.Values{"id": {"crm"}, "file": {other}}, &v)
	if len(v.Would) != 1 || v.Would[0].What != outbox.WouldDisable || v.Would[0].Name != "p001" || len(crm.awkward.Seen()) > 0 {
		t.Errorf("the preview is %+v, with %d requests", v, len(crm.awkward.Seen()))
	}

	// A test tells what is wrong.
	crm.awkward.Next(-1, connectortest.Fail(401, ""))
	var no struct{ Error string }
	if code := w.ask(http.MethodPost, "target/test", url.Values{"id": {"crm"}}, &no); code == http.StatusOK || no.Error == "" {
		t.Errorf("with wrong credentials: %d %q", code, no.Error)
	}
	nowhere := url.Values{"id": {"none"}}
	for path, c := range map[string]struct {
		form   url.Values
		status int
	}{
		"target/test": {nowhere, http.StatusNotFound}, "target/probe": {nowhere, http.StatusNotFound},
		"target/pause": {nowhere, http.StatusNotFound}, "target/resume": {nowhere, http.StatusNotFound},
		"target/provision": {url.Values{"id": {"none"}, "name": {"p000"}}, http.StatusNotFound},
		"target/held":      {url.Values{"id": {"crm"}}, http.StatusConflict},
		"target/case":      {url.Values{"id": {"crm"}, "name": {"p000"}, "answer": {"perhaps"}}, http.StatusBadRequest},
	} {
		if code := w.ask(http.MethodPost, path, c.form, &no); code != c.status || no.Error == "" {
			t.Errorf("%s %v: %d %q, want %d", path, c.form, code, no.Error, c.status)
		}
	}
}

// plant makes an account as somebody else would.
func (g *yardTarget) plant(t testing.TB, name string) {
	t.Helper()
	r, err := http.NewRequest(http.MethodPost, g.url+"/scim/v2/Users", strings.NewReader(`{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User"],"userName":"`+name+`"}`))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+yardTargetSecret)
	r.Header.Set("Content-Type", "application/scim+json")
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusCreated {
		t.Fatalf("plant: %s", resp.Status)
	}
}

// ids are the external IDs of its accounts.
func (g *yardTarget) ids(t testing.TB) (list []string) {
	for _, r := range g.holds(t) {
		list = append(list, r.ExternalID())
	}
	return list
}

// The page of the demo's target shows so many accounts, and says when there are more.
func TestThePageOfTheDemosTargetSaysThatThereAreMore(t *testing.T) {
	t.Parallel()
	target, err := newDemoTarget("http://target.invalid", "token", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	says := func() bool {
		w := httptest.NewRecorder()
		target.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
		return strings.Contains(w.Body.String(), fmt.Sprintf("There are %d accounts. The first %d are shown.", mostShown+1, mostShown))
	}
	for n := range mostShown + 1 {
		if n == mostShown && says() {
			t.Fatalf("%d accounts are said to be too many", n)
		}
		r := httptest.NewRequest(http.MethodPost, "/scim/v2/Users", strings.NewReader(fmt.Sprintf(`{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User"],"userName":"u%d"}`, n)))
		r.Header.Set("Content-Type", "application/scim+json")
		r.Header.Set("Authorization", "Bearer token")
		w := httptest.NewRecorder()
		if target.ServeHTTP(w, r); w.Code != http.StatusCreated {
			t.Fatal(w.Code, w.Body)
		}
	}
	if !says() {
		t.Error("nothing says that there are more accounts")
	}
}
