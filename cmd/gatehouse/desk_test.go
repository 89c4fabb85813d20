package main

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"github.com/gatehouse-sso/gatehouse/authz"
	"github.com/gatehouse-sso/gatehouse/configs"
	"github.com/gatehouse-sso/gatehouse/federation/idptest"
	"github.com/gatehouse-sso/gatehouse/gateway"
	"github.com/gatehouse-sso/gatehouse/provisioning/audit"
	"github.com/gatehouse-sso/gatehouse/provisioning/store"
	"github.com/gatehouse-sso/gatehouse/provisioning/task"
	"github.com/gatehouse-sso/gatehouse/web"
	webapi "github.com/gatehouse-sso/gatehouse/web/api"
	"github.com/gatehouse-sso/gatehouse/web/webtest"
)

// deskPages are all pages of the desk of administrators, by the duties that open
// them besides administrators'.
var deskPages = map[string][]string{
	"/overview":                              {"helpdesk", "auditors"},
	"/people":                                {"helpdesk", "auditors"},
	"/people?q=b":                            {"helpdesk", "auditors"},
	"/person?name=bob":                       {"helpdesk", "auditors"},
	"/person?name=bob&service=payroll":       {"helpdesk", "auditors"},
	"/person/delete?name=bob":                {"helpdesk", "auditors"},
	"/groups":                                {"helpdesk", "auditors"},
	"/group?group=crew":                      {"helpdesk", "auditors"},
	"/sessions":                              {"helpdesk", "auditors"},
	"/sessions?idp=campus":                   {"helpdesk", "auditors"},
	"/services":                              {"helpdesk", "auditors", "release_editors"},
	"/service?id=payroll":                    {"helpdesk", "auditors", "release_editors"},
	"/targets":                               {"helpdesk", "auditors"},
	"/target?id=directory":                   {"helpdesk", "auditors"},
	"/target?id=directory&name=bob":          {"helpdesk", "auditors"},
	"/tasks":                                 {"helpdesk", "auditors"},
	"/tasks?kind=sync&state=waiting":         {"helpdesk", "auditors"},
	"/providers":                             {"helpdesk", "auditors"},
	"/provider?id=campus":                    {"helpdesk", "auditors"},
	"/provider?id=partner":                   {"helpdesk", "auditors"},
	"/clients":                               {"auditors"},
	"/client?client=hr":                      {"auditors"},
	"/audit":                                 {"auditors"},
	"/audit?kind=login&verify=yes":           {"auditors"},
	"/flow":                                  {"helpdesk", "auditors"},
	"/settings":                              {"auditors"},
	"/release":                               {"release_editors", "auditors"},
	"/release?q=wiki":                        {"release_editors", "auditors"},
	"/release/to?to=service:wiki":            {"release_editors", "auditors"},
	"/release/to?to=service:wiki&name=bob":   {"release_editors", "auditors"},
	"/release/rule?to=service:wiki&was=mail": {"release_editors", "auditors"},
	"/release/draft":                         {"release_editors", "auditors"},
	"/release/affected":                      {"release_editors", "auditors"},
	"/release/preview?name=bob":              {"release_editors", "auditors"},
	"/release/cases":                         {"release_editors", "auditors"},
	"/release/history":                       {"release_editors", "auditors"},
	"/release/diff?was=0&is=live":            {"release_editors", "auditors"},
	"/mine":                                  {everyone},
	"/mine/service?id=payroll":               {"owners"},
}

// deskPath is where the pages are.
const deskPath = "/.gatehouse/admin"

// inDuty is a world in which alice, bob and dana have a duty each, erik decides about
// requests, and carol administers. In its configuration more is replaced: old, new,
// old, new …
func inDuty(t *testing.T, more ...string) *world {
	w := newWorld(t)
	w.reconfigure(func(s string) string {
		return strings.NewReplacer(append(more, "admins: { roles: [gatehouse-admin] }", `admins:
  roles: [gatehouse-admin]
  helpdesk: { users: [alice] }
  auditors: { users: [bob] }
  release_editors: { users: [partners/dana] }
  approvers: { users: [partners/erik] }
`)...).Replace(s)
	})
	return w
}

// Each page of the desk opens for administrators and for the duties that the table
// names, in every language, and for nobody else.
func TestA05_EachPageOpensForItsDutiesAlone(t *testing.T) {
	t.Parallel()
	// Erik answers for payroll, too; he can sign in without a mail address.
	w := inDuty(t, "mail: { from: mail, required: true }", "mail: mail", "    headers: remote-user\n", "    headers: remote-user\n    owners: { users: [partners/erik] }\n")
	duty := map[string]string{"alice": "helpdesk", "bob": "auditors", "dana": "release_editors", "erik": "owners", "carol": administrator}
	people := map[string]*person{}
	for name := range duty {
		provider := "campus"
		if name == "dana" || name == "erik" {
			provider = "partner"
		}
		people[name] = w.person()
		people[name].open(w.at("", "/")).signIn(provider, name).wants(http.StatusOK)
	}
	w.admin(http.MethodPost, "groups", url.Values{"name": {"crew"}}, nil)
	w.admin(http.MethodPost, "group/member", url.Values{"group": {"crew"}, "name": {"bob"}}, nil)
	opened := map[string]int{}
	for path, duties := range deskPages {
		for name, p := range people {
			want := http.StatusForbidden
			switch {
			case slices.Contains(duties, duty[name]) || slices.Contains(duties, everyone):
				want = http.StatusOK
				opened[name]++
			case slices.Contains(duties, "owners"): // who does not own it is not told that it is there
				want = http.StatusNotFound
			case name == "carol":
				want = http.StatusOK
			}
			if p.open(w.at("", deskPath+path)); p.status != want {
				t.Errorf("%s for %s: %d, want %d\n%s", path, name, p.status, want, p.body)
			}
		}
		// Who only looks finds no form that changes anything.
		if bob := people["bob"]; bob.status == http.StatusOK && strings.Contains(bob.body, `method="post"`) {
			t.Errorf("%s offers an auditor to change something", path)
		}
	}
	if opened["dana"] < 10 || opened["erik"] != 2 {
		t.Errorf("pages that open by a duty: %v", opened)
	}
	// Whoever has a duty, or answers for something, is led to the first page of theirs.
	for name, first := range map[string]string{"alice": "/overview", "bob": "/overview", "dana": "/services", "erik": "/mine", "carol": "/overview"} {
		if people[name].open(w.at("", "/")).wants(http.StatusOK, deskPath+"/").open(w.at("", deskPath+"/")); people[name].url.Path != deskPath+first {
			t.Errorf("%s is led to %s", name, people[name].url)
		}
	}
	// What a page would do for an administrator the API does not do for the others.
	for _, name := range []string{"alice", "bob", "dana", "erik"} {
		p := people[name].open(w.at("", deskPath+"/"))
		p.do(http.MethodPost, w.at("", deskPath+"/person?name=dana"), url.Values{"do": {"disable"}, "name": {"partners/dana"}})
		if p.status != http.StatusForbidden {
			t.Errorf("%s switched somebody off: %d", name, p.status)
		}
	}
}

// reconfigure changes the demo's file, and waits until it is in force.
func (w *world) reconfigure(change func(string) string) {
	w.t.Helper()
	file, before := filepath.Join(w.dir, "gatehouse.yaml"), w.p.site.Load()
	raw, err := os.ReadFile(file)
	if err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(change(string(raw))), 0o600); err != nil {
		w.t.Fatal(err)
	}
	eventually(w.t, "the configuration is taken", func() bool { return w.p.site.Load() != before })
}

// The page of sessions lists and ends them by person, identity provider and service:
// those that it was asked for, and no others.
func TestT22_ThePageOfSessionsEndsThoseItShows(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	open := func(service, provider, name string) *person {
		p := w.person()
		p.open(w.at(service, "/")).signIn(provider, name)
		return p
	}
	passes := func(p *person, service string) bool {
		p.open(w.at(service, "/"))
		return p.status == http.StatusOK && p.url.Path == "/"
	}
	page := w.at("", deskPath+"/sessions")
	carol := open("", "campus", "carol")
	for _, c := range []struct {
		by       url.Values
		ends     string
		provider string
	}{
		{url.Values{"name": {"alice"}}, "alice", "campus"},
		{url.Values{"idp": {"partner"}}, "partners/dana", "partner"},
		{url.Values{"service": {"payroll"}}, "alice", "campus"},
	} {
		people := map[string]*person{"alice": open("payroll", "campus", "alice"), "bob": open("wiki", "campus", "bob"), "partners/dana": open("wiki", "partner", "dana")}
		at := page + "?" + c.by.Encode()
		carol.open(at).wants(http.StatusOK, ">"+c.ends+"<", "End all of these sessions")
		for name := range people {
			if name != c.ends && strings.Contains(carol.body, ">"+name+"<") {
				t.Errorf("%s shows %s", at, name)
			}
		}
		form := url.Values{"do": {"end_these"}}
		maps.Copy(form, c.by)
		carol.do(http.MethodPost, at, form).wants(http.StatusOK, "The sessions are over.", "There is no such session.")
		for name, p := range people {
			if got := passes(p, "wiki"); got != (name != c.ends) {
				t.Errorf("%s: %s passes: %v", at, name, got)
			}
		}
		carol.open(page).do(http.MethodPost, page, url.Values{"do": {"end_these"}}).wants(http.StatusBadRequest, "nothing says which sessions")
		carol.open(page).wants(http.StatusOK, "End all sessions of everybody")
		for name, p := range people { // the next round begins with nobody
			if name == c.ends {
				continue
			}
			var list []webapi.Session
			w.admin(http.MethodGet, "sessions", url.Values{"name": {name}}, &list)
			carol.do(http.MethodPost, page, url.Values{"do": {"end"}, "id": {list[0].ID}}).wants(http.StatusOK, "The session is over.")
			if passes(p, "wiki") {
				t.Errorf("%s passes with a session that was ended", name)
			}
		}
	}
	carol.do(http.MethodPost, page, url.Values{"do": {"end_these"}, "all": {"true"}})
	if carol.open(page); strings.Contains(carol.body, "<h1>Sessions") {
		t.Error("the session of who ended all lives")
	}
}

// A test sign-in shows its administrator what the identity provider said and what
// would be made of it; nobody is let in, no user is made, and nobody else sees it.
func TestA10_ATestSignInLetsNobodyIn(t *testing.T) {
	t.Parallel()
	w := inDuty(t)
	carol, alice := w.person(), w.person()
	carol.open(w.at("", deskPath)).signIn("campus", "carol").wants(http.StatusOK)
	alice.open(w.at("", deskPath)).signIn("campus", "alice").wants(http.StatusOK)
	for provider, who := range map[string][3]string{"campus": {"bob", "bob@campus.example", "student@campus.example"}, "partner": {"dana", "dana@partner.example", "would be made as partners/dana"}} {
		page := w.at("", deskPath+"/provider?id="+provider)
		carol.open(page).do(http.MethodPost, page, url.Values{"do": {"try"}, "id": {provider}}).wants(http.StatusOK).settle()
		carol.submit(url.Values{"user": {who[0]}})
		carol.wants(http.StatusOK, "Nobody was let in", who[1], who[2])
		shown := carol.url.String()
		carol.open(shown).wants(http.StatusOK, who[1])
		// It is carol's alone, although alice has a duty too.
		if alice.open(shown); alice.status == http.StatusOK || strings.Contains(alice.body, who[1]) {
			t.Errorf("alice sees what came of carol's trial at %s: %d", provider, alice.status)
		}
		carol.open(w.at("", "/.gatehouse/api/v1/user?name="+who[0])).wants(http.StatusNotFound, reasonNotFound)
	}
	carol.open(w.at("", deskPath+"/people")).wants(http.StatusOK, "carol")
	if strings.Contains(carol.body, "dana") || strings.Contains(carol.body, ">bob<") {
		t.Error("a trial made a user")
	}
	// Whom a sign-in would refuse is refused, and that is said.
	page := w.at("", deskPath+"/provider?id=partner")
	carol.open(page).do(http.MethodPost, page, url.Values{"do": {"try"}, "id": {"partner"}}).settle()
	carol.submit(url.Values{"user": {"erik"}}).wants(http.StatusOK, "They would be refused", "jit.attribute_missing")
	// A ticket is for whom it was made, and nobody makes their own.
	alice.do(http.MethodPost, w.at("", "/.gatehouse/api/v1/provider/try"), url.Values{"id": {"campus"}}).wants(http.StatusForbidden, "access.no_rule")
	carol.do(http.MethodPost, w.at("", "/.gatehouse/api/v1/provider/try"), url.Values{"id": {"campus"}}).wants(http.StatusOK)
	var begun struct{ URL string }
	if err := json.Unmarshal([]byte(carol.body), &begun); err != nil {
		t.Fatal(err)
	}
	for _, to := range []string{begun.URL, "/.gatehouse/login?try=made-up"} {
		alice.open(w.at("", to))
		if alice.status == http.StatusOK || !strings.Contains(alice.body, gateway.ReasonTicket) {
			t.Errorf("alice begins %s: %d %s", to, alice.status, alice.body)
		}
	}
}

// A sign-in asks userinfo for what the configuration reads and the ID token does not
// say; a test sign-in asks in any case, since it is a look at all that could be read.
func TestATestSignInShowsWhatNobodyReadsToo(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	l.campus.Misbehave(idptest.OPFault{
		Claims: func(c map[string]any) {
			c["email"], c["name"], c["groups"], c["preferred_username"] = "c@campus.example", "Carol", []string{"gatehouse-admin"}, "carol"
		},
		UserInfo: func(c map[string]any) { c["locker"] = "number-47" },
	})
	carol := l.person()
	carol.open(l.at("", deskPath)).signIn("campus", "carol").wants(http.StatusOK)
	if n := l.campus.Count("userinfo"); n != 0 {
		t.Errorf("userinfo was asked %d times for what the ID token says", n)
	}
	page := l.at("", deskPath+"/provider?id=campus")
	carol.open(page).do(http.MethodPost, page, url.Values{"do": {"try"}, "id": {"campus"}}).settle()
	carol.submit(url.Values{"user": {"carol"}}).wants(http.StatusOK, "Nobody was let in", "number-47")
}

// A support code opens the whole flow, by names and without values.
func TestASupportCodeOpensTheWholeFlow(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	bob, carol := w.person(), w.person()
	bob.open(w.at("payroll", "/")).signIn("campus", "bob").wants(http.StatusForbidden)
	code := supportCode.FindString(bob.body)
	carol.open(w.at("", deskPath+"/overview")).signIn("campus", "carol").wants(http.StatusOK, "Support code")
	eventually(t, "the denial is recorded", func() bool {
		return strings.Contains(carol.open(w.at("", deskPath+"/flow?code="+code)).body, "access.no_rule")
	})
	carol.wants(http.StatusOK, "Campus", "Payroll", "a role: Finance office", "What was tried at Staff directory", "Bring it into step")
	for _, value := range []string{"bob@campus.example", "student@campus.example"} {
		if strings.Contains(carol.body, value) {
			t.Errorf("%s is on the page", value)
		}
	}
	// What became of the session after the page was met is no part of how it was met.
	newAPI(w.p, w.p.site.Load()).ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "http://admin.sock/v1/user/active?name=bob&active=false", nil))
	carol.open(w.at("", deskPath+"/flow?code="+code)).wants(http.StatusOK, "the oldest first", "Switched off", "access.no_rule")
	if strings.Contains(carol.body, "session.user_changed") {
		t.Error("the end of the session stands before the page that was met in it")
	}
	carol.open(w.at("", deskPath+"/flow?code=ZZZZ-ZZZZ")).wants(http.StatusOK, reasonNotFound, "nothing is known")
	// What the identity provider said of him at his sign-in, by name.
	signIn := ""
	for e, err := range audit.Events(t.Context(), w.p.store, audit.Query{Kind: "login", Limit: 10}) {
		if err != nil {
			t.Fatal(err)
		}
		if slices.Contains(e.Names, "email") {
			signIn = e.Flow
		}
	}
	carol.open(w.at("", deskPath+"/flow?code="+signIn)).wants(http.StatusOK, "email", "preferred_username", "What is made of what it says")
}

// Each kind of task has a name that people can read; what the languages have is the same.
func TestEachKindOfTaskHasAName(t *testing.T) {
	t.Parallel()
	texts := webtest.Texts(t)
	for kind := range (&process{}).handlers() {
		if _, ok := texts["admin.task."+kind]; !ok {
			t.Errorf("the page of tasks has no name for %s", kind)
		}
	}
}

// What is exported opens in a spreadsheet as text: no cell is a formula, whatever
// strangers have put into the log.
func TestC22_AnExportIsHarmlessInASpreadsheet(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	evil := []string{`=HYPERLINK("http://evil.example")`, "+1+1", "-2+3", "@SUM(A1)", "\t=1", "\r=1", `"quoted", and more`, "plain"}
	for _, text := range evil {
		w.p.recorder.Record(audit.Event{Kind: "refused", Text: text, Names: []string{text}, From: text})
	}
	carol := w.person()
	carol.open(w.at("", deskPath)).signIn("campus", "carol").wants(http.StatusOK)
	var rows [][]string
	eventually(t, "the events are written", func() bool {
		carol.open(w.at("", "/.gatehouse/api/v1/audit/export?format=csv&kind=refused")).wants(http.StatusOK)
		var err error
		if rows, err = csv.NewReader(strings.NewReader(carol.body)).ReadAll(); err != nil {
			t.Fatal(err)
		}
		return len(rows) == len(evil)+1
	})
	if got := carol.header.Get("Content-Disposition"); !strings.HasPrefix(got, `attachment; filename="audit-`) {
		t.Errorf("the browser would open it itself: %q", got)
	}
	plain := false
	for _, row := range rows[1:] {
		for i, cell := range row {
			if strings.ContainsRune("=+-@\t\r", []rune(cell + " ")[0]) {
				t.Errorf("column %s would be run: %q", rows[0][i], cell)
			}
		}
		plain = plain || slices.Contains(row, "plain")
	}
	if !plain {
		t.Errorf("what is harmless is not as it was: %q", rows)
	}
	carol.open(w.at("", "/.gatehouse/api/v1/audit/export?format=jsonl&kind=refused")).wants(http.StatusOK)
	if n := strings.Count(carol.body, "\n"); n != len(evil) {
		t.Errorf("%d lines of JSON, want %d", n, len(evil))
	}
}

// Nothing that opens or signs anything is on a page or in an answer: the secrets of
// the configuration, the token of a session, those that were made for clients.
func TestA15_NoSecretIsOnAPageOrInAnAnswer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	raw, err := os.ReadFile(filepath.Join(w.dir, "gatehouse.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var secrets []string
	for _, m := range regexp.MustCompile(`(?:client_secret|bearer): "([^"]+)"`).FindAllStringSubmatch(string(raw), -1) {
		secrets = append(secrets, m[1])
	}
	if len(secrets) < 3 {
		t.Fatalf("%d secrets in the demo's configuration", len(secrets))
	}
	w.person().open(w.at("wiki", "/")).signIn("campus", "bob").wants(http.StatusOK)
	carol := w.person()
	carol.open(w.at("", deskPath)).signIn("campus", "carol").wants(http.StatusOK)
	page := w.at("", deskPath+"/client?client=hr")
	carol.open(page).do(http.MethodPost, page, url.Values{"do": {"make"}, "client": {"hr"}}).wants(http.StatusOK, "shown this once")
	made := regexp.MustCompile(`class="once"[^>]*><code>([^<]+)<`).FindStringSubmatch(carol.body)
	if made == nil {
		t.Fatalf("the token is not shown:\n%s", carol.body)
	}
	secrets = append(secrets, made[1])
	at, err := url.Parse(w.at("", "/"))
	if err != nil {
		t.Fatal(err)
	}
	for _, ck := range carol.client.Jar.Cookies(at) {
		if len(ck.Value) > 20 {
			secrets = append(secrets, ck.Value)
		}
	}
	look := func(path string) {
		if carol.open(w.at("", path)); carol.status != http.StatusOK {
			return
		}
		for _, secret := range secrets {
			if strings.Contains(carol.body, secret) {
				t.Errorf("%s shows %s…", path, secret[:6])
			}
		}
	}
	for path := range deskPages {
		look(deskPath + path)
	}
	for _, rt := range routesOf(w.p, w.p.site.Load(), true).routes {
		if rt.safe() && rt.media == "" {
			look("/.gatehouse/api" + rt.path() + "?name=bob&id=campus&client=hr&service=wiki&target=directory")
			look("/.gatehouse/api" + rt.path())
		}
	}
}

// The record can not be changed by any route, and what was changed in the file is
// found on the page.
func TestA13_NobodyChangesTheRecordUnnoticed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, rt := range routesOf(w.p, w.p.site.Load(), true).routes {
		if strings.HasPrefix(rt.path(), "/v1/audit") && !rt.safe() {
			t.Errorf("%s writes the record", rt.pattern)
		}
	}
	carol := w.person()
	carol.open(w.at("", deskPath)).signIn("campus", "carol").wants(http.StatusOK)
	carol.open(w.at("", deskPath+"/audit?verify=yes")).wants(http.StatusOK, "Whole: every event")
	damage(t, w)
	carol.open(w.at("", deskPath+"/audit?verify=yes")).wants(http.StatusOK, "The chain is broken")
}

// damage changes a row of the record behind its back.
func damage(t *testing.T, w *world) {
	t.Helper()
	err := w.p.store.Update(t.Context(), func(tx store.Tx) error {
		for pair, err := range tx.Scan(store.Key("audit", "r"), store.Key("audit", "s"), 1) {
			if err != nil {
				return err
			}
			return tx.Put(pair.Key, bytes.Replace(pair.Val, []byte(`"kind":"`), []byte(`"kind":"x`), 1))
		}
		return errors.New("there is no record")
	})
	if err != nil {
		t.Fatal(err)
	}
}

// unfilled is a place in a text that nobody gave a value for.
var unfilled = regexp.MustCompile(`>[^<]*\{[a-z_]+\}`)

// Whoever follows the links of the portal and of the desk, from page to page, meets
// no page that is not there.
func TestNoLinkLeadsNowhere(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	bob := w.person()
	bob.open(w.at("payroll", "/")).signIn("campus", "bob").wants(http.StatusForbidden)
	w.person().open(w.at("payroll", "/")).signIn("campus", "alice").wants(http.StatusOK)
	carol := w.person()
	carol.open(w.at("", "/")).signIn("campus", "carol").wants(http.StatusOK)
	e := editor{t: t, w: w}
	e.must("POST /v1/release/rule", url.Values{"to": {"service:wiki"}, "attribute": {"given_name"}}, nil)
	e.must("POST /v1/release/publish", url.Values{"revision": {e.revision()}}, nil)
	e.must("POST /v1/release/rule", url.Values{"to": {"service:wiki"}, "attribute": {"family_name"}}, nil)

	// Of pages with the same path and the same parameters one is enough.
	kind := func(u *url.URL) string { return u.Path + "?" + strings.Join(slices.Sorted(maps.Keys(u.Query())), "&") }
	start, _ := url.Parse(w.at("", "/"))
	next, seen := []*url.URL{start}, map[string]bool{kind(start): true}
	for len(next) > 0 {
		from := next[0]
		next = next[1:]
		if carol.open(from.String()); carol.status != http.StatusOK {
			t.Errorf("%s: %d", from, carol.status)
		}
		for _, hole := range unfilled.FindAllString(carol.body, -1) {
			t.Errorf("%s: a text of which %s was not filled in", from, hole)
		}
		doc, err := html.Parse(strings.NewReader(carol.body))
		if err != nil {
			t.Fatal(err)
		}
		walk(doc, func(n *html.Node) bool {
			to, err := from.Parse(attr(n, "href"))
			if n.Data != "a" || err != nil || to.Host != start.Host || strings.Contains(to.Path, "/logout") || strings.Contains(to.Path, "/api/") || seen[kind(to)] {
				return true
			}
			seen[kind(to)] = true
			next = append(next, to)
			return true
		})
	}
	if len(seen) < 40 {
		t.Errorf("only %d kinds of pages were met", len(seen))
	}
}

// A page of a list that leaves most of it out looks at so many rows and no more,
// and says where to go on: whoever goes on misses nothing.
func TestAPageThatLooksAtSoManySaysWhereToGoOn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for i := range 12 {
		e := audit.Event{Kind: "test", Service: map[bool]string{true: "rare", false: "usual"}[i%5 == 0]}
		if err := w.p.store.Update(t.Context(), func(tx store.Tx) error {
			if i < 8 {
				if err := task.Add(tx, "test.none", fmt.Sprintf("%02d", i), time.Now().Add(time.Hour)); err != nil {
					return err
				}
			}
			return w.p.audit.Append(tx, e)
		}); err != nil {
			t.Fatal(err)
		}
	}
	h := routesOf(w.p, w.p.site.Load(), false)
	h.looks = 3
	c := webapi.Client{Handler: h}
	found, pages, empty := 0, 0, 0
	for before := ""; ; pages++ {
		var v webapi.Events
		if err := c.Call(t.Context(), "GET /v1/audit", url.Values{"kind": {"test"}, "service": {"rare"}, "before": {before}, "limit": {"2"}}, &v); err != nil {
			t.Fatal(err)
		}
		if found += len(v.Events); len(v.Events) == 0 {
			empty++
		}
		if v.Next == 0 {
			break
		}
		before = fmt.Sprint(v.Next)
	}
	if found != 3 || pages < 3 || empty == 0 {
		t.Errorf("found %d events of 3 on %d pages, %d of them empty", found, pages, empty)
	}
	if err := task.Pause(t.Context(), w.p.store, "test.none", "07"); err != nil {
		t.Fatal(err)
	}
	found, pages = 0, 0
	for after := ""; ; pages++ {
		var v webapi.Tasks
		if err := c.Call(t.Context(), "GET /v1/tasks", url.Values{"kind": {"test.none"}, "state": {"paused"}, "after": {after}}, &v); err != nil {
			t.Fatal(err)
		}
		found += len(v.Tasks)
		if v.Next == "" {
			break
		}
		after = v.Next
	}
	if found != 1 || pages < 2 {
		t.Errorf("found %d tasks of 1 on %d pages", found, pages)
	}
}

// What has a name is called by it, in the language of the page; IDs stand beside it.
func TestPagesCallThingsByTheirNames(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.reconfigure(func(s string) string {
		return strings.Replace(s, "\nroles:\n", "\nattributes: [ { id: shoe_size, title: Schuhnummer } ]\nroles:\n", 1)
	})
	p := w.person()
	p.open(w.at("", "/")).signIn("campus", "carol").wants(http.StatusOK)
	w.admin(http.MethodPost, "users", url.Values{"name": {"gina"}, "attribute": {"employee_number=7", "shoe_size=38"}}, nil)
	w.admin(http.MethodPost, "grant", url.Values{"name": {"gina"}, "role": {"finance"}, "until": {"1h"}}, nil)
	p.setCookie(w.at("", "/"), &http.Cookie{Name: web.LanguageCookie, Value: "de", Path: "/"})
	page := func(path string, shown ...string) {
		t.Helper()
		p.open(w.at("", deskPath+path)).wants(http.StatusOK, append(shown, `lang="de"`)...)
	}
	page("/person?name=gina", ">Personalnummer<", "<bdi>employee_number</bdi>", ">Schuhnummer<", "Die Verwaltung", "<bdi>Finance office</bdi>", "Staff directory")
	page("/person?name=carol", "<bdi>Campus</bdi>", "Anzeigename")
	page("/service?id=payroll", "hat eine Rolle: Finance office", "E-Mail-Adresse")
	page("/service?id=wiki", ">Staff directory<")
	page("/provider?id=partner", "<bdi>Partner universities</bdi>")
	page("/client?client=hr", "Client: <bdi>HR system</bdi>")
	page("/settings", "In Gebrauch", "Signiert Tokens für Dienste", "Dienst-Tokens", "Gatehouse administrators")
	page("/release/rule?to=service:wiki&attribute=orcid", "orcid – ORCID iD", "phone – Telefonnummer")
	page("/tasks", "<bdi>gina</bdi>")
	for _, id := range []string{"idp:campus", "no rule releases it"} {
		if p.open(w.at("", deskPath+"/person?name=carol&service=wiki")); strings.Contains(p.body, id) {
			t.Errorf("the page of a person shows %q", id)
		}
	}
	p.open(w.at("", "/.gatehouse/me")).wants(http.StatusOK, "Anzeigename")
	// Our own pages are one thing to whoever signs out, and no list of English words.
	p.open(w.at("", "/.gatehouse/logout")).wants(http.StatusOK, ">Wiki<", ">Gatehouse demo<")
	for _, own := range []string{"API", "Sign-in", "Administration"} {
		if strings.Contains(p.body, ">"+own+"<") {
			t.Errorf("the page on which one signs out lists %s", own)
		}
	}
}

// All attributes that are built in, all keys and their states have words.
func TestWhatIsBuiltInHasWords(t *testing.T) {
	t.Parallel()
	texts := webtest.Texts(t)
	want := []string{"admin.key_state." + keyInUse, "admin.key_state." + keyAnnounced, "admin.key_state." + keyStillTaken}
	for _, a := range new(configs.Config).AttributeTypes() {
		want = append(want, "attribute."+a.ID)
	}
	for _, id := range authz.Builtin() {
		want = append(want, "attribute."+id)
	}
	for _, k := range keyPurposes {
		want = append(want, "admin.key."+k.name, "admin.key_does."+k.name)
	}
	for _, key := range want {
		if texts[key] == nil {
			t.Errorf("there is no text %q", key)
		}
	}
}

// A list of tasks says whom and what each is about: people, targets, groups, requests.
func TestTasksSayWhatTheyAreAbout(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.reconfigure(func(s string) string { return s })
	bob := w.person()
	bob.open(w.at("payroll", "/")).signIn("campus", "bob").wants(http.StatusForbidden).click("Ask for access").submit(url.Values{"reason": {"Payslips in May"}}).wants(http.StatusOK)
	w.admin(http.MethodPost, "target/pause", url.Values{"id": {"directory"}}, nil)
	w.admin(http.MethodPost, "user/attributes", url.Values{"name": {"bob"}, "attribute": {"given_name=Robert"}}, nil)
	var found webapi.Tasks
	w.admin(http.MethodGet, "tasks", nil, &found)
	about := map[string]string{}
	for _, k := range found.Tasks {
		about[k.Kind] = strings.Join(found.About(k), ", ")
	}
	if about["access.lapse"] != "bob: Finance office" || about["sync"] != "Staff directory, bob" {
		t.Errorf("tasks are about %q", about)
	}
}
