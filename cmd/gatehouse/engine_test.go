package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/gatehouse-sso/gatehouse/authz"
	"github.com/gatehouse-sso/gatehouse/authz/versions"
	"github.com/gatehouse-sso/gatehouse/configs"
	"github.com/gatehouse-sso/gatehouse/gateway/session"
	"github.com/gatehouse-sso/gatehouse/provisioning"
	webapi "github.com/gatehouse-sso/gatehouse/web/api"
)

// An engine is a lab whose services and target learn what release editors
// publish, and tell it back as it was: each attribute in a header of its own.
type engine struct {
	*lab
	people []visitor
	seen   map[string]int // what came out, by kind
	cases  int            // a policy, a person, a recipient
}

// A visitor is a person who is signed in.
type visitor struct {
	*person
	id, name string
	row      session.Session
}

// memoryDir is a folder that needs no disk, where the machine has one: what is
// tested is not whether it lasts, and most of the time would be waiting for it.
func memoryDir(t testing.TB) string {
	dir, err := os.MkdirTemp("/dev/shm", "gatehouse")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// learnable are the attributes of the drawn rules, the built-in ones and of both
// kinds of others.
func learnable() []string {
	return append(authz.Builtin(), "mail", "display_name", "scoped_affiliation", "department")
}

func newEngine(t *testing.T) *engine {
	e := &engine{lab: newLab(t, func(c *labConfig) { c.Services, c.Dir = []string{"books"}, memoryDir(t) }), seen: map[string]int{}}
	e.reload(func(s string) string {
		own := "    headers:\n      preset: none\n"
		for _, a := range learnable() {
			own += fmt.Sprintf("      X-Own-%s: { attribute: %s, list: json }\n", strings.ReplaceAll(a, "_", "-"), a)
		}
		for old, next := range map[string]string{
			"    release: [ user_name, mail, display_name, groups ]\n": "    release_in: editor\n    requires: [ mail ]\n" + own,
			"    title: books\n":                    "    title: books\n    release_in: editor\n    require_basis: true\n    pairwise: true\n" + own,
			"    release: [ mail, display_name ]\n": "    release_in: editor\n",
			"users: { all: true }":                  `users: { when: '"g1" in user.groups || login.provider != ""' }`,
		} {
			if !strings.Contains(s, old) {
				t.Fatalf("the configuration of a lab has no %q", old)
			}
			s = strings.Replace(s, old, next, 1)
		}
		// What stands in the file for books gives way to the editors.
		at := strings.Index(s, "  - id: books")
		return s[:at] + strings.Replace(s[at:], "    release: [ user_name ]\n", "", 1)
	})
	for _, g := range [][3]string{{"campus", "alice", "payroll"}, {"campus", "bob", "wiki"}, {"partner", "dana", "wiki"}} {
		p := e.person()
		p.open(e.at(g[2], "/")).signIn(g[0], g[1]).wants(http.StatusOK)
		for _, host := range []string{"wiki", "books"} {
			p.open(e.at(host, "/")).wants(http.StatusOK)
		}
		me := p.myData(e.lab)
		found, err := e.p.site.Load().sessions.Find(t.Context(), session.Filter{User: me.ID}, "", 1)
		if err != nil || len(found) != 1 {
			t.Fatal(err, found)
		}
		e.people = append(e.people, visitor{p, me.ID, me.UserName, found[0].Session})
	}
	return e
}

// drawRule draws one that editors may save; its names at the target are paths.
func (e *engine) drawRule(target bool) *rapid.Generator[versions.Rule] {
	return rapid.Custom(func(t *rapid.T) versions.Rule {
		one := func(label string, from ...string) string { return rapid.SampledFrom(from).Draw(t, label) }
		r := versions.Rule{
			Attribute: one("attribute", learnable()...),
			When: one("when", "", "", "", `"g1" in user.groups`, `login.acr == "https://refeds.org/profile/mfa"`, `login.provider == "campus"`,
				`one(user.attributes.department) == "red"`, `"finance" in user.roles`, `"otp" in login.amr`, fmt.Sprintf("login.at > timestamp(%q)", e.people[0].row.AuthTime.Format(time.RFC3339Nano))),
			Transform: one("transform", "", "", "", "value.lowerAscii()", "one(values)", `value.split("@")[0]`, `values.filter(v, v.startsWith("r"))`),
			Basis:     one("basis", "", "contract", "consent"),
		}
		if target {
			r.As = one("path", "title", "nickName", "userType", "name.givenName", "name.familyName", "displayName")
		} else {
			r.As = one("as", "", "", "", "first", "second", "sub", "acr", "exp")
		}
		if rapid.Bool().Draw(t, "filtered") {
			r.Values = rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"r*", "g1", "*@campus.example", "*e*"}), 1, 2, rapid.ID[string]).Draw(t, "values")
		}
		return r
	})
}

func (e *engine) drawPolicy(t *rapid.T) versions.Policy {
	p := versions.Policy{Rules: map[string][]versions.Rule{}}
	for _, to := range []string{"service:wiki", "service:books", "target:directory"} {
		p.Rules[to] = rapid.SliceOfNDistinct(e.drawRule(strings.HasPrefix(to, "target:")), 0, 8, func(r versions.Rule) string { return r.Name() }).Draw(t, to)
	}
	return p
}

// A saying is what is said of a person: by their provider, by themselves, and about
// what recipients learn.
type saying struct {
	campus, self map[string][]string
	word         func(to, attribute string) string
}

// drawSaying draws claims of a provider and of somebody themselves, and a word about
// each attribute to each recipient.
func drawSaying(t *rapid.T, g visitor) saying {
	some := func(label string, most int, from ...string) []string {
		return rapid.SliceOfNDistinct(rapid.SampledFrom(from), 0, most, rapid.ID[string]).Draw(t, label)
	}
	return saying{
		campus: map[string][]string{
			"groups":             some("groups", 3, "g1", "g2", "fin", "red,green"),
			"mail":               some("mail", 1, g.row.ID+"@campus.example", "x@x.example"),
			"scoped_affiliation": some("affiliation", 2, "staff@campus.example", "member@campus.example", "rare@elsewhere.example"),
			"department":         some("department", 1, "red", "Řeka"),
			"display_name":       some("name", 1, "Rée", "Kim"),
		},
		self: map[string][]string{
			"department":   some("their department", 1, "red", "blue"),
			"display_name": some("their name", 1, "Robin"),
		},
		word: func(string, string) string {
			return rapid.SampledFrom([]string{authz.Given, authz.Given, authz.Refused}).Draw(t, "word")
		},
	}
}

// change makes somebody another person.
func (e *engine) change(t rapid.TB, g visitor, to saying) {
	dir, campus := e.p.site.Load().directory, provisioning.Source("idp:"+g.row.Provider)
	say := func(by provisioning.Source, claims map[string][]string, consents []provisioning.Consent) {
		_, _, err := dir.Change(e.t.Context(), g.id, by, func(u *provisioning.User) error {
			for attribute, values := range claims {
				u.Say(by, attribute, values...)
			}
			for _, c := range consents {
				u.Consent(c)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	var consents []provisioning.Consent
	for _, recipient := range []string{"service:wiki", "service:books", "target:directory"} {
		for _, a := range learnable() {
			consents = append(consents, provisioning.Consent{To: recipient, Attribute: a, Said: to.word(recipient, a), At: e.clock.now()})
		}
	}
	say(campus, to.campus, nil)
	say(provisioning.Self, to.self, consents)
}

// everyKind are policies, and what is said of everybody, by which each kind of
// outcome is met whatever is drawn later.
func everyKind() ([]versions.Policy, saying) {
	named := versions.Policy{Rules: map[string][]versions.Rule{
		"service:wiki": {
			{Attribute: "user_name"},
			{Attribute: "mail", Values: []string{"nobody@*"}},
			{Attribute: "department", When: `user.user_name == "nobody"`},
			{Attribute: "display_name", Transform: "values[7]"},
			{Attribute: "groups", Transform: `values.filter(v, v == "nothing")`},
			{Attribute: "user_store", When: `one(user.attributes.scoped_affiliation) == "staff"`},
			{Attribute: "scoped_affiliation"},
			{Attribute: "id", Basis: "consent"},
		},
		"service:books":    {{Attribute: "mail"}, {Attribute: "display_name", Basis: "contract"}},
		"target:directory": {{Attribute: "display_name", As: "displayName"}},
	}}
	unnamed := versions.Policy{Rules: map[string][]versions.Rule{
		"service:wiki": {{Attribute: "department"}}, "service:books": {}, "target:directory": {},
	}}
	return []versions.Policy{named, unnamed}, saying{
		campus: map[string][]string{"groups": {"g1"}, "mail": {"x@x.example"}, "scoped_affiliation": nil, "department": {"red"}, "display_name": {"Rée"}},
		word:   func(string, string) string { return authz.Refused },
	}
}

// publish puts a policy into force.
func (e *engine) publish(t rapid.TB, p versions.Policy) {
	raw, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	newAPI(e.p, e.p.site.Load()).ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/v1/release/apply", strings.NewReader(string(raw))))
	if w.Code != http.StatusOK {
		t.Fatalf("%s: %s", raw, w.Body)
	}
	ed := editor{t: e.t, w: e.world}
	ed.must("POST /v1/release/publish", url.Values{"revision": {ed.revision()}, "accept": {"true"}}, nil)
}

// agrees compares, for one person, what the services and the target get with
// what is said that they get.
func (e *engine) agrees(t rapid.TB, g visitor) {
	s, ed := e.p.site.Load(), editor{t: e.t, w: e.world}
	equal := func(what string, want, got any) {
		t.Helper()
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("%s, %s (-explain +it):\n%s", g.name, what, diff)
		}
	}
	me := g.myData(e.lab)
	q := url.Values{"name": {g.id}, "idp": {g.row.Provider}, "acr": {g.row.ACR}, "amr": g.row.AMR, "signed_in": {g.row.AuthTime.Format(time.RFC3339Nano)}}
	var preview []webapi.ReleasePreview
	ed.must("GET /v1/release/preview", with(q, "of", "live"), &preview)
	previewOf := func(to string) webapi.ReleasePreview {
		return preview[slices.IndexFunc(preview, func(p webapi.ReleasePreview) bool { return p.To == to })]
	}
	var x webapi.Explanation
	for _, id := range []string{"wiki", "books"} {
		x = webapi.Explanation{}
		ed.must("GET /v1/explain", with(q, "service", id), &x)
		e.count(x)
		p := previewOf("service:" + id)
		equal("preview of what "+id+" gets", x.Sent, p.Sent)
		equal("preview of what is kept from "+id, x.Withheld, p.Withheld)
		equal("preview of headers for "+id, x.Headers, p.Headers)
		equal("what they lack", authz.Release{Withheld: x.Withheld}.Missing(), p.Missing)
		mine := me.Services[slices.IndexFunc(me.Services, func(l webapi.Learner) bool { return l.ID == id })]
		equal("my data about "+id, x.Sent, mine.Sent)
		equal("my data about what is kept from "+id, x.Withheld, mine.Withheld)

		g.program(http.MethodGet, e.at(id, "/")).wants(http.StatusOK)
		var got struct{ Headers http.Header }
		decodeJSON(e.t, g.body, &got)
		headers, claims := map[string][]string{}, map[string]any{}
		for _, sent := range x.Sent {
			name := http.CanonicalHeaderKey("X-Own-" + strings.ReplaceAll(sent.Attribute, "_", "-"))
			if headers[name] == nil {
				headers[name] = sent.Values
			}
			switch {
			case sent.Attribute == "acr":
				claims["acr"] = sent.Values[0]
			case slices.Contains([]string{"sub", "acr", "exp"}, sent.Name):
			case multi(s.cfg)[sent.Attribute] || len(sent.Values) > 1:
				list := []any{}
				for _, v := range sent.Values {
					list = append(list, v)
				}
				claims[sent.Name] = list
			default:
				claims[sent.Name] = sent.Values[0]
			}
		}
		there := map[string][]string{}
		for name, values := range got.Headers {
			if strings.HasPrefix(name, "X-Own-") {
				var list []string
				decodeJSON(e.t, values[0], &list)
				there[name] = list
			}
		}
		equal("headers at "+id, headers, there)
		said := tokenOf(e.t, got.Headers.Get("X-Gatehouse-Jwt"))
		equal("naming at "+id, x.Naming, p.Naming)
		sub := map[string]string{"named": g.id, "unnamed": s.rules.release.PairwiseID("service:"+id, "session "+g.row.ID)}[x.Naming]
		if i := slices.IndexFunc(x.Sent, func(r authz.Released) bool { return r.Attribute == "pairwise_id" }); i >= 0 {
			sub = x.Sent[i].Values[0]
		}
		if _, when := said["auth_time"]; when == (x.Naming == "unnamed") {
			t.Fatalf("the token for %s, by which they are %s, tells when they signed in: %t", id, x.Naming, when)
		}
		e.seen[x.Naming]++
		if said["sub"] != sub || said["aud"] != id {
			t.Fatalf("the token for %s is about %v, for %v; want %s", id, said["sub"], said["aud"], sub)
		}
		for _, ours := range []string{"iss", "aud", "sub", "iat", "nbf", "exp", "jti", "auth_time"} {
			delete(said, ours)
		}
		equal("token at "+id, claims, said)
	}

	i := slices.IndexFunc(s.cfg.Targets, func(c configs.Target) bool { return c.ID == "directory" })
	target, err := s.target(s.cfg.Targets[i])
	if err != nil {
		t.Fatal(err)
	}
	u, err := s.directory.User(e.t.Context(), g.id)
	if err != nil {
		t.Fatal(err)
	}
	bare, err := s.directory.Subject(e.t.Context(), g.id) // as the outbox sees people: nobody signs in at a target
	if err != nil {
		t.Fatal(err)
	}
	bare = s.rules.policy.Roles(bare)
	acc, err := target.Account(u, bare)
	if err != nil {
		t.Fatal(err)
	}
	p, fields := previewOf("target:directory"), map[string][]string{}
	for _, sent := range x.Targets[0].Sent {
		fields[sent.Name] = sent.Values
	}
	maps.DeleteFunc(acc.Attributes, func(_ string, v []string) bool { return v == nil })
	equal("account", fields, acc.Attributes)
	equal("preview of the account", x.Targets[0].Sent, p.Sent)
	equal("whether there is an account", []bool{x.Targets[0].Account, x.Targets[0].Account}, []bool{target.Scope(bare), p.Account})
	e.cases += 3
}

func with(q url.Values, name, value string) url.Values {
	q = maps.Clone(q)
	q.Set(name, value)
	return q
}

func (e *engine) count(x webapi.Explanation) {
	e.seen["sent"] += len(x.Sent)
	for _, w := range x.Withheld {
		e.seen[w.Why]++
	}
	if len(x.Targets[0].Sent) > 0 {
		e.seen["sent to the target"]++
	}
}

// tried publishes a policy, and compares for everybody.
func (e *engine) tried(t rapid.TB, p versions.Policy, say func(visitor) saying) {
	for _, g := range e.people {
		e.change(t, g, say(g))
	}
	e.publish(t, p)
	for _, g := range e.people {
		e.agrees(t, g)
	}
}

// Whatever editors publish, and whoever comes: headers and token as the upstream
// gets them, the account at a target, explain, the editors' preview and what
// people see of it themselves say the same. GATEHOUSE_FAULTS=1 takes 10,000 cases.
func TestOneEngineTellsEverybodyTheSame(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	policies, all := everyKind()
	for _, p := range policies {
		e.tried(t, p, func(visitor) saying { return all })
	}
	for _, kind := range []string{
		"sent", "sent to the target", authz.WhyNoRule, authz.WhyNone, authz.WhyFiltered, authz.WhyWhen, authz.WhyWhenErr, authz.WhyTransform, authz.WhyEmptied,
		authz.WhyNoBasis, authz.WhyNoConsent, "named", "pairwise", "unnamed",
	} {
		if e.seen[kind] == 0 {
			t.Errorf("no case had %q", kind)
		}
	}
	want := 100
	if os.Getenv("GATEHOUSE_FAULTS") != "" {
		want = 10_000
	}
	for e.cases < want && !t.Failed() {
		rapid.Check(t, func(rt *rapid.T) {
			if e.cases < want {
				e.tried(rt, e.drawPolicy(rt), func(g visitor) saying { return drawSaying(rt, g) })
			}
		})
	}
	t.Logf("%d cases: %v", e.cases, e.seen)
}
