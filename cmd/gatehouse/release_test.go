package main

import (
	"context"
	"crypto/rand"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatehouse-sso/gatehouse/authz"
	"github.com/gatehouse-sso/gatehouse/authz/versions"
	"github.com/gatehouse-sso/gatehouse/provisioning"
	"github.com/gatehouse-sso/gatehouse/provisioning/store"
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

// A mortal store dies in the middle of a comparison over everybody: as soon as a part
// of it is written nothing more is, by anybody, as when the process is killed.
type mortal struct {
	store.Store
	died atomic.Bool
	dead chan struct{}
}

func (m *mortal) Update(ctx context.Context, fn func(store.Tx) error) error {
	if m.died.Load() {
		return errors.New("killed")
	}
	if err := m.Store.Update(ctx, fn); err != nil {
		return err
	}
	return m.View(ctx, func(tx store.Tx) error {
		rep, ok, err := versions.ReadReport(tx, versions.Impact)
		if ok && rep.Compared > 0 && rep.Ended.IsZero() && m.died.CompareAndSwap(false, true) {
			close(m.dead)
		}
		return err
	})
}

// Killed in the middle, the comparison over everybody goes on where it was: nobody is
// left out, and nobody is counted twice.
func TestTheComparisonOverEverybodyOutlivesAKill(t *testing.T) {
	t.Parallel()
	l := newLab(t, func(c *labConfig) { c.Dir = memoryDir(t) })
	l.reload(func(s string) string {
		return strings.Replace(s, "    release: [ user_name, mail, display_name, groups ]\n", "    release_in: editor\n", 1)
	})
	e := editor{t: t, w: l.world}
	e.must("POST /v1/target/pause", url.Values{"id": {"directory"}}, nil)
	e.must("POST /v1/release/rule", url.Values{"to": {"service:wiki"}, "attribute": {"mail"}, "revision": {""}}, nil)
	many := impactBucket*2 + 10
	for some := range slices.Chunk(make([]int, many), 4) { // as many as one transaction takes
		if err := l.p.store.Update(t.Context(), func(tx store.Tx) error {
			for range some {
				u := provisioning.User{Store: "primary", UserName: rand.Text(), Active: true}
				u.Say(provisioning.Admin, "mail", u.UserName+"@uni.example")
				if _, _, err := l.p.site.Load().directory.CreateTx(tx, u, provisioning.Admin); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	m := &mortal{dead: make(chan struct{})}
	if err := l.p.engine.Exchange(t.Context(), func(now store.Store) (store.Store, error) { m.Store = now; return m, nil }); err != nil {
		t.Fatal(err)
	}
	e.must("POST /v1/release/impact", nil, nil)
	<-m.dead
	l.restart()
	var rep webapi.ReleaseReport
	look := func() versions.Report {
		rep = webapi.ReleaseReport{}
		e.must("GET /v1/release/impact", nil, &rep)
		return rep.Report
	}
	begun := look()
	if begun.Compared < impactBucket {
		t.Errorf("what was compared before the kill is lost: %d are left", begun.Compared)
	}
	eventually(t, "the comparison ends", func() bool { return !look().Ended.IsZero() })
	if wiki := rep.Recipients["service:wiki"]; rep.Compared != many || wiki.Compared != many || wiki.Gains["mail"] != many || !rep.Started.Equal(begun.Started) {
		t.Errorf("of %d people %d were compared, %+v", many, rep.Compared, wiki)
	}
}

// Rules may read how and when somebody signed in, and each page of the editor that
// shows what would be sent supposes a sign-in as it is told, without scripts.
func TestTheEditorSupposesASignIn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.person().open(w.at("wiki", "/")).signIn("campus", "alice").wants(http.StatusOK)
	carol := w.person()
	carol.open(w.at("", "/")).signIn("campus", "carol").wants(http.StatusOK)
	page := func(path string, q url.Values) *person {
		return carol.open(w.at("", "/.gatehouse/admin/release"+path+"?"+q.Encode())).wants(http.StatusOK)
	}
	e := editor{t: t, w: w}
	const when = `"otp" in login.amr && login.acr == "strong" && login.provider == "campus" && login.at < timestamp("2026-01-01T00:00:00Z")`
	e.must("POST /v1/release/rule", url.Values{"to": {"service:wiki"}, "attribute": {"given_name"}, "as": {"first"}, "transform": {`"sent:" + value`}, "when": {when}}, nil)
	right := url.Values{"idp": {"campus"}, "acr": {"strong"}, "amr": {"pwd, otp"}, "signed_in": {"2025-12-31T17:00:00Z"}}
	for path, q := range map[string]url.Values{
		"/to":              {"to": {"service:wiki"}, "name": {"alice"}},
		"/rule":            {"to": {"service:wiki"}, "was": {"first"}, "name": {"alice"}},
		"/preview":         {"name": {"alice"}},
		"/preview?made_up": {"user_name": {"Alice"}, "attributes": {"given_name: Alice"}},
	} {
		path, _, _ = strings.Cut(path, "?")
		as := maps.Clone(q)
		maps.Copy(as, right)
		if body := page(path, as).body; !strings.Contains(body, "sent:Alice") || !strings.Contains(body, `value="pwd, otp"`) || !strings.Contains(body, `<option value="campus" selected`) {
			t.Errorf("%s: with that sign-in it is not sent, or not shown what was supposed", path)
		}
		for name, other := range map[string]string{"idp": "partner", "acr": "weak", "amr": "pwd", "signed_in": "5m"} {
			if strings.Contains(page(path, with(as, name, other)).body, "sent:Alice") {
				t.Errorf("%s: sent although %s is %s", path, name, other)
			}
		}
		page(path, with(as, "signed_in", "yesterday")).wants(http.StatusOK, "signed_in is a time", "yesterday")
	}
	// A preview is kept as a test case with the sign-in that it supposed.
	c := maps.Clone(right)
	maps.Copy(c, url.Values{"do": {"save"}, "name": {"strong"}, "to": {"service:wiki"}, "user_name": {"Alice"}, "attributes": {"given_name: Alice"}, "sends": {"first: sent:Alice"}, "revision": {e.revision()}})
	carol.do(http.MethodPost, w.at("", "/.gatehouse/admin/release/cases"), c).settle().wants(http.StatusOK, "strong", "Holds")
	c.Set("signed_in", "yesterday")
	c.Set("revision", e.revision())
	carol.do(http.MethodPost, w.at("", "/.gatehouse/admin/release/cases"), c).wants(http.StatusConflict, "signed_in is a time", "sent:Alice")
}

// Who looked at whose values is recorded, once in a while and not at each key that
// is pressed; another person, another editor, or a later look is another one.
func TestALookAtSomebodysValuesIsRecordedOnce(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	for _, user := range []string{"alice", "bob", "carol"} {
		l.in("campus", user)
	}
	looks := func() (n int) {
		for _, e := range l.recorded() {
			if e.Kind == "release.previewed" {
				n++
			}
		}
		return n
	}
	look := func(as, at string, want int) {
		t.Helper()
		for range 3 {
			editor{t: t, w: l.world, as: as}.must("GET /v1/release/preview", url.Values{"name": {at}}, nil)
		}
		if got := looks(); got != want {
			t.Errorf("%d looks are recorded after %s looked at %s, want %d", got, as, at, want)
		}
	}
	look("carol", "alice", 1)
	look("carol", "bob", 2)
	look("", "bob", 3)
	l.clock.advance(glanceTime - time.Minute)
	look("carol", "alice", 3)
	l.clock.advance(time.Minute)
	look("carol", "alice", 4)
	editor{t: t, w: l.world, as: "carol"}.must("GET /v1/release/preview", url.Values{"person": {`{"user_name":"nobody"}`}}, nil)
	if looks() != 4 {
		t.Error("a look at a made-up person is recorded")
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
func TestC22_TheRecordOfProcessingIsSafeInASpreadsheet(t *testing.T) {
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
