package main

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
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

// An editor's whole way by plain forms: a draft, what it changes, its publication,
// and the version before again.
func TestTheReleaseEditorFromDraftToRollback(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	alice := w.person()
	alice.open(w.at("wiki", "/")).signIn("campus", "alice").wants(http.StatusOK)
	carol := w.person()
	carol.open(w.at("", "/")).signIn("campus", "carol").wants(http.StatusOK)
	page := func(path string) string { return w.at("", "/.gatehouse/admin"+path) }
	carol.open(page("/release")).wants(http.StatusOK, "Wiki", "From the file", "There is no draft")
	carol.open(page("/release/to?to=service%3Apayroll")).wants(http.StatusOK, "release_in: editor")
	carol.open(page("/release/to?to=service%3Awiki&name=alice")).wants(http.StatusOK, "alice@campus.example", "To send notices")
	do := func(path string, form url.Values, parts ...string) {
		t.Helper()
		carol.do(http.MethodPost, page(path), form).settle().wants(http.StatusOK, parts...)
	}
	revision := func() string { return editor{t: t, w: w}.revision() }
	do("/release/to?to=service%3Awiki", url.Values{"do": {"remove"}, "to": {"service:wiki"}, "name": {"mail"}, "revision": {""}}, "The draft was saved")
	// What is typed in vain is not lost.
	carol.do(http.MethodPost, page("/release/rule?to=service%3Awiki"), url.Values{"do": {"save"}, "to": {"service:wiki"}, "attribute": {"given_name"}, "purpose": {"To greet"}, "transform": {"nonsense("}, "revision": {revision()}}).
		wants(http.StatusConflict, "release.invalid", "nonsense(", "To greet")
	carol.do(http.MethodPost, page("/release/rule?to=service%3Awiki"), url.Values{"do": {"save"}, "to": {"service:wiki"}, "attribute": {"given_name"}, "revision": {"another"}}).
		wants(http.StatusConflict, "release.changed_meanwhile")
	do("/release/rule?to=service%3Awiki", url.Values{"do": {"save"}, "to": {"service:wiki"}, "attribute": {"given_name"}, "as": {"first"}, "purpose": {"To greet"}, "revision": {revision()}}, "The draft was saved")
	do("/release/cases", url.Values{"do": {"save"}, "name": {"no mail"}, "to": {"service:wiki"}, "attributes": {"mail: a@b.example"}, "withholds": {"mail"}, "revision": {revision()}}, "no mail", "Holds")
	carol.open(page("/release/preview?attributes=given_name%3A+Kim")).wants(http.StatusOK, "Kim", "first")
	carol.open(page("/release/draft")).wants(http.StatusOK, "first", "carol")
	carol.open(page("/release/affected")).wants(http.StatusOK, "alice", "first", "mail")
	do("/release/draft", url.Values{"do": {"impact"}})
	eventually(t, "everybody was looked at", func() bool {
		var rep webapi.ReleaseReport
		editor{t: t, w: w}.must("GET /v1/release/impact", nil, &rep)
		return !rep.Ended.IsZero()
	})
	carol.open(page("/release/draft")).wants(http.StatusOK, "mail: ")
	do("/release/draft", url.Values{"do": {"publish"}, "revision": {revision()}, "comment": {"less mail"}}, "It is in force", "less mail")
	if got, _ := alice.learnt("X-Forwarded-Email"); got != "" {
		t.Errorf("the wiki still learns %s", got)
	}
	carol.open(page("/release/diff?was=0&is=1")).wants(http.StatusOK, "first")
	do("/release/history", url.Values{"do": {"rollback"}, "version": {"0"}}, "It is in force", "Version 0 again")
	if got, _ := alice.learnt("X-Forwarded-Email"); got == "" {
		t.Error("what was before is not in force again")
	}
	bob := w.person()
	bob.open(w.at("", "/")).signIn("campus", "bob").wants(http.StatusOK)
	for _, path := range []string{"/release", "/release/draft", "/release/preview?name=alice", "/release/cases", "/release/history"} {
		if bob.open(page(path)).wants(http.StatusForbidden); strings.Contains(bob.body, "alice@") {
			t.Errorf("%s tells Bob about Alice", path)
		}
	}
}

// What a rule would send is shown before it is saved, and nothing is kept by looking.
func TestARuleIsLookedAtBeforeItIsSaved(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.person().open(w.at("wiki", "/")).signIn("campus", "alice").wants(http.StatusOK)
	e := editor{t: t, w: w}
	rule := func(more ...string) url.Values {
		q := url.Values{"to": {"service:wiki"}, "attribute": {"given_name"}, "as": {"first"}, "name": {"alice"}}
		for i := 0; i < len(more); i += 2 {
			q.Set(more[i], more[i+1])
		}
		return q
	}
	var seen webapi.ReleasePreview
	e.must("GET /v1/release/rule", rule("transform", "value.upperAscii()"), &seen)
	i := slices.IndexFunc(seen.Sent, func(s authz.Released) bool { return s.Name == "first" })
	if i < 0 || !slices.Equal(seen.Sent[i].Values, []string{"ALICE"}) {
		t.Errorf("sent %+v", seen.Sent)
	}
	if want := []authz.Difference{{Attribute: "given_name", Name: "first", What: authz.Gains}}; !slices.Equal(seen.Differs, want) {
		t.Errorf("differs by %+v, want %+v", seen.Differs, want)
	}
	e.must("GET /v1/release/rule", rule("was", "mail"), &seen)
	if want := (authz.Difference{Attribute: "mail", Name: "mail", What: authz.Loses}); !slices.Contains(seen.Differs, want) {
		t.Errorf("differs by %+v, want also %+v", seen.Differs, want)
	}
	for code, q := range map[string]url.Values{
		"release.invalid": rule("transform", "nonsense("), "release.in_file": rule("to", "service:payroll"), "release.none": rule("was", "nothing"), reasonNotFound: rule("name", "nobody"),
	} {
		if got := e.refused("GET /v1/release/rule", q); got != code {
			t.Errorf("%v: %s, want %s", q, got, code)
		}
	}
	if d := e.release("draft").Draft; d != nil {
		t.Errorf("looking made a draft: %+v", d)
	}
}

// A draft that is tried beside what is in force counts differences, and neither
// sends nor keeps a value.
func TestADraftIsTriedBesideWhatIsInForce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	e := editor{t: t, w: w}
	e.must("DELETE /v1/release/rule", url.Values{"to": {"service:wiki"}, "name": {"mail"}}, nil)
	e.must("POST /v1/release/trial", nil, nil)
	alice := w.person()
	alice.open(w.at("wiki", "/")).signIn("campus", "alice").wants(http.StatusOK)
	if got, _ := alice.learnt("X-Forwarded-Email"); got == "" {
		t.Error("the trial is in force")
	}
	var rep webapi.ReleaseReport
	e.must("GET /v1/release/trial", nil, &rep)
	c := rep.Recipients["service:wiki"]
	if c == nil || c.Differ == 0 || c.Loses["mail"] != c.Compared || len(c.Gains)+len(c.Changes) != 0 || len(c.Some) != 1 {
		t.Fatalf("counted %+v", c)
	}
	if raw := fmt.Sprintf("%+v", rep); strings.Contains(raw, "alice@campus.example") {
		t.Errorf("a value is in the report: %s", raw)
	}
	e.must("DELETE /v1/release/trial", nil, nil)
	e.must("DELETE /v1/release/draft", url.Values{"revision": {e.revision()}}, nil)
	if got := e.refused("DELETE /v1/release/trial", nil); got != "release.none" {
		t.Error(got)
	}
}

// What is exported is applied without loss, and what is wrong is refused whole.
func TestAnExportedPolicyIsAppliedWithoutLoss(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	e := editor{t: t, w: w}
	var before, after json.RawMessage
	e.must("GET /v1/release/export", nil, &before)
	apply := func(raw string) (int, string) {
		r := httptest.NewRequest(http.MethodPost, "/v1/release/apply", strings.NewReader(raw))
		rec := httptest.NewRecorder()
		newAPI(w.p, w.p.site.Load()).ServeHTTP(rec, r)
		return rec.Code, rec.Body.String()
	}
	if st, body := apply(string(before)); st != http.StatusOK {
		t.Fatal(st, body)
	}
	var diff webapi.ReleaseDiff
	e.must("GET /v1/release/diff", nil, &diff)
	if len(diff.Changes) != 0 {
		t.Errorf("applying what was exported changes %+v", diff.Changes)
	}
	e.must("POST /v1/release/publish", url.Values{"revision": {e.revision()}}, nil)
	e.must("GET /v1/release/export", nil, &after)
	if string(before) != string(after) {
		t.Errorf("exported\n%s\nand after it was applied\n%s", before, after)
	}
	for raw, code := range map[string]string{
		`{"release":{"service:wiki":[{"attribute":"mial"}]}}`:                                        "release.invalid",
		`{"release":{"service:wiki":[{"attribute":"mail"},{"attribute":"eppn","as":"MAIL"}]}}`:       "release.invalid",
		`{"release":{"service:payroll":[{"attribute":"groups"}]}}`:                                   "release.in_file",
		`{"release":{},"cases":[{"name":"x","to":"service:none","person":{},"withholds":["mail"]}]}`: "release.invalid",
		`{"releases":{}}`: "release.invalid",
	} {
		if st, body := apply(raw); st != http.StatusConflict || !strings.Contains(body, code) {
			t.Errorf("%s: %d %s, want %s", raw, st, body, code)
		}
	}
}

// What a service requires of people who use it is not taken away unseen, nor is
// anything published while a test case fails.
func TestWhatAServiceRequiresIsNotTakenAwayUnseen(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.person().open(w.at("wiki", "/")).signIn("campus", "alice").wants(http.StatusOK)
	e := editor{t: t, w: w}
	e.must("DELETE /v1/release/rule", url.Values{"to": {"service:wiki"}, "name": {"user_name"}}, nil)
	publish := func(more ...string) url.Values {
		q := url.Values{"revision": {e.revision()}}
		for _, name := range more {
			q.Set(name, "true")
		}
		return q
	}
	var needs []webapi.ReleaseNeed
	e.must("GET /v1/release/needs", nil, &needs)
	if len(needs) != 1 || needs[0].People != 1 || needs[0].Of != 1 || needs[0].Attribute != "user_name" {
		t.Errorf("needs %+v", needs)
	}
	if got := e.refused("POST /v1/release/publish", publish()); got != "release.required_lost" {
		t.Error(got)
	}
	e.must("POST /v1/release/case", url.Values{"revision": {e.revision()}, "case": {`{"name":"named","to":"service:wiki","person":{"user_name":"kim"},"sends":{"user_name":["kim"]}}`}}, nil)
	if got := e.refused("POST /v1/release/publish", publish("accept")); got != "release.case_fails" {
		t.Error(got)
	}
	e.must("DELETE /v1/release/case", url.Values{"revision": {e.revision()}, "name": {"named"}}, nil)
	e.must("POST /v1/release/publish", publish("accept"), nil)
}

// The record of processing can be opened in a spreadsheet: no cell is a formula.
func TestTheRecordOfProcessingIsSafeInASpreadsheet(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	e := editor{t: t, w: w}
	e.must("POST /v1/release/rule", url.Values{"to": {"service:wiki"}, "attribute": {"phone"}, "purpose": {`=HYPERLINK("http://evil.example")`}, "basis": {"contract"}, "retention": {"@year"}}, nil)
	e.must("POST /v1/release/publish", url.Values{"revision": {e.revision()}}, nil)
	var raw []byte
	e.must("GET /v1/release/record", url.Values{"format": {"csv"}}, &raw)
	rows, err := csv.NewReader(strings.NewReader(string(raw))).ReadAll()
	if err != nil || len(rows) < 5 {
		t.Fatal(err, string(raw))
	}
	found := false
	for _, row := range rows {
		for _, cell := range row {
			if cell != "" && strings.ContainsRune("=+-@\t\r", rune(cell[0])) {
				t.Errorf("a spreadsheet would run %q", cell)
			}
			found = found || strings.Contains(cell, "HYPERLINK")
		}
	}
	if !found {
		t.Error("the purpose is not in the record")
	}
}
