package authz_test

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/gatehouse-sso/gatehouse/authz"
)

// times repeats a property where long runs are asked for.
func times(t *testing.T, fn func(*rapid.T)) {
	n := 1
	if os.Getenv("GATEHOUSE_FAULTS") == "1" {
		n = 20
	}
	for range n {
		rapid.Check(t, fn)
	}
}

// An oracle is an expression with what it means, in Go.
type oracle struct {
	src    string
	person bool // reads user or login
	means  func(r authz.Request) (bool, error)
}

var errOracle = errors.New("can not be evaluated")

func oracles() []oracle {
	return []oracle{
		{`request.method == "GET"`, false, func(r authz.Request) (bool, error) { return r.Method == "GET", nil }},
		{`request.path.startsWith("/a")`, false, func(r authz.Request) (bool, error) { return strings.HasPrefix(r.Path, "/a"), nil }},
		{`net(request.from, "10.0.0.0/8")`, false, func(r authz.Request) (bool, error) {
			if !r.From.IsValid() {
				return false, errOracle
			}
			return r.From.Unmap().Is4() && r.From.Unmap().As4()[0] == 10, nil
		}},
		{`"g1" in user.groups`, true, func(r authz.Request) (bool, error) {
			return slices.Contains(r.Subject.Groups, "g1") || slices.Contains(r.Subject.Attributes["groups"], "g1"), nil
		}},
		{`!("g1" in user.groups)`, true, func(r authz.Request) (bool, error) {
			return !slices.Contains(r.Subject.Groups, "g1") && !slices.Contains(r.Subject.Attributes["groups"], "g1"), nil
		}},
		{`one(user.attributes.dept) == "a"`, true, func(r authz.Request) (bool, error) {
			if len(r.Subject.Attributes["dept"]) != 1 {
				return false, errOracle
			}
			return r.Subject.Attributes["dept"][0] == "a", nil
		}},
		{`login.acr != "pwd"`, true, func(r authz.Request) (bool, error) { return r.Subject.ACR != "pwd", nil }},
		{`"r2" in user.roles`, true, func(r authz.Request) (bool, error) {
			if slices.Contains(r.Subject.Unsure, "r2") {
				return false, errOracle
			}
			return slices.Contains(r.Subject.Roles, "r2"), nil
		}},
	}
}

func oracleOf(src string) oracle {
	all := oracles()
	return all[slices.IndexFunc(all, func(o oracle) bool { return o.src == src })]
}

// The vocabulary is small, so that things meet.
func words(t *rapid.T, label string, from ...string) []string {
	return rapid.SliceOfNDistinct(rapid.SampledFrom(from), 1, 2, rapid.ID[string]).Draw(t, label)
}

func maybe(t *rapid.T, label string) bool { return rapid.IntRange(0, 3).Draw(t, label) == 0 }

func drawMatch(t *rapid.T) *authz.Match {
	m := &authz.Match{SignedIn: maybe(t, "signed in")}
	if maybe(t, "roles") {
		m.Roles = words(t, "role", "r1", "r2", "r3", "r4")
	}
	if maybe(t, "groups") {
		m.Groups = words(t, "group", "g1", "g2", "G1")
	}
	if maybe(t, "users") {
		m.Users = words(t, "user", "kim", "Lee", "partners/kim")
	}
	if maybe(t, "idps") {
		m.IdentityProviders = words(t, "idp", "campus", "partner")
	}
	if maybe(t, "attributes") {
		m.Attributes = map[string][]string{"dept": words(t, "dept", "a", "b")}
	}
	if maybe(t, "acr") {
		m.ACR = words(t, "acr", "pwd", "mfa")
	}
	if maybe(t, "amr") {
		m.AMR = words(t, "amr", "otp", "hwk")
	}
	if maybe(t, "age") {
		m.MaxAge = 10 * time.Minute
	}
	person := !isEmpty(m)
	if maybe(t, "networks") {
		m.Networks = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	}
	if maybe(t, "when") || isEmpty(m) && rapid.Bool().Draw(t, "only when") {
		m.When = rapid.SampledFrom(oracles()).Draw(t, "expression").src
	}
	if isEmpty(m) || !person && maybe(t, "anyone") {
		m.Anyone = true
	}
	return m
}

func isEmpty(m *authz.Match) bool { return cmp.Equal(*m, authz.Match{}) }

func drawRules(t *rapid.T) []authz.Rule {
	n := rapid.IntRange(0, 6).Draw(t, "rules")
	var out []authz.Rule
	for i := range n {
		r := authz.Rule{ID: fmt.Sprint("rule", i)}
		if maybe(t, "methods") {
			r.Methods = words(t, "method", "GET", "POST")
		}
		if maybe(t, "paths") {
			r.Paths = words(t, "path", "/", "/a", "/a/*", "/b/", "/*")
		}
		if rapid.IntRange(0, 2).Draw(t, "deny") == 0 {
			r.Deny = drawMatch(t)
		} else {
			r.Allow = drawMatch(t)
		}
		out = append(out, r)
	}
	return out
}

func drawRoles() []authz.Role {
	return []authz.Role{
		{ID: "r1", From: []authz.Match{{Groups: []string{"g1"}}, {IdentityProviders: []string{"partner"}, Groups: []string{"g2"}}}},
		{ID: "r2", From: []authz.Match{{When: `one(user.attributes.dept) == "a"`}}},
		{ID: "r3"},
		{ID: "r4", From: []authz.Match{{Attributes: map[string][]string{"dept": {"b"}}}}},
	}
}

func drawSubject(t *rapid.T) authz.Subject {
	if rapid.IntRange(0, 4).Draw(t, "nobody") == 0 {
		return authz.Subject{}
	}
	s := authz.Subject{ID: rapid.SampledFrom([]string{"1", "2"}).Draw(t, "id"), Active: !maybe(t, "inactive"),
		Store: rapid.SampledFrom([]string{"primary", "partners"}).Draw(t, "store"), UserName: rapid.SampledFrom([]string{"kim", "KIM", "lee", "partners/kim"}).Draw(t, "name"),
		Attributes: map[string][]string{}, Asserted: map[string]map[string][]string{}}
	for _, idp := range []string{"campus", "partner"} {
		if rapid.Bool().Draw(t, "asserts") {
			said := map[string][]string{}
			if rapid.Bool().Draw(t, "asserts groups") {
				said["groups"] = words(t, "asserted", "g1", "g2")
				s.Attributes["groups"] = append(s.Attributes["groups"], said["groups"]...)
			}
			if rapid.Bool().Draw(t, "asserts dept") {
				said["dept"] = words(t, "asserted dept", "a", "b")
				s.Attributes["dept"] = said["dept"]
			}
			s.Asserted["idp:"+idp] = said
		}
	}
	if maybe(t, "own groups") {
		s.Groups = words(t, "own", "g1", "g2")
	}
	if maybe(t, "granted") {
		s.Granted = words(t, "grant", "r3", "gone")
	}
	s.Provider = rapid.SampledFrom([]string{"", "campus", "partner"}).Draw(t, "provider")
	s.ACR = rapid.SampledFrom([]string{"", "pwd", "mfa"}).Draw(t, "acr")
	if rapid.Bool().Draw(t, "amr") {
		s.AMR = words(t, "by", "otp", "hwk", "pwd")
	}
	s.AuthTime = rapid.SampledFrom([]time.Time{{}, noon, noon.Add(-time.Hour), noon.Add(time.Hour)}).Draw(t, "at")
	return s
}

// requests are all combinations for a subject.
func requests(s authz.Subject, yield func(authz.Request)) {
	for _, method := range []string{"GET", "HEAD", "POST", "post"} {
		for _, path := range []string{"/", "/a", "/a/", "/a/x", "/b", "/A", "/a//b"} {
			for _, from := range []netip.Addr{{}, netip.MustParseAddr("::ffff:10.0.0.1"), netip.MustParseAddr("192.0.2.1")} {
				yield(authz.Request{Subject: s, Service: "app", Method: method, Path: path, From: from, Now: noon})
			}
		}
	}
}

// reference says what the documentation says, rule by rule, without compiling
// anything. Truth is 0 no, 1 not known, 2 yes.
func reference(rules []authz.Rule, r authz.Request) (outcome authz.Outcome, code string, matched []bool) {
	matched = make([]bool, len(rules))
	s := r.Subject
	for _, rule := range rules {
		if len(rule.Paths) > 0 && strings.Contains(r.Path, "//") {
			return authz.Deny, authz.ReasonAmbiguous, nil
		}
	}
	var denied, later, allowed, login, step bool
	for i, rule := range rules {
		about := refAbout(rule, r)
		if rule.Deny != nil {
			who, how, what := refTruth(*rule.Deny, r, false)
			hit := about && min(who, how, what) >= 1
			if hit && s.ID == "" && rule.Deny.When != "" && oracleOf(rule.Deny.When).person {
				later, hit = true, false
			}
			matched[i] = hit
			denied = denied || hit
			continue
		}
		who, how, what := refTruth(*rule.Allow, r, !rule.Allow.Anyone)
		matched[i] = about && min(who, how, what) == 2
		allowed = allowed || matched[i]
		login = login || about && what == 2
		step = step || about && what == 2 && who == 2 && how < 2
	}
	switch {
	case s.ID != "" && !s.Active:
		return authz.Deny, authz.ReasonInactive, matched
	case denied:
		return authz.Deny, authz.ReasonDenied, matched
	case allowed && !later:
		return authz.Allow, "", matched
	case s.ID == "" && login:
		return authz.Login, authz.ReasonLogin, matched
	case s.ID != "" && step:
		return authz.StepUp, authz.ReasonStepUp, matched
	}
	return authz.Deny, authz.ReasonNoRule, matched
}

func refAbout(rule authz.Rule, r authz.Request) bool {
	deny := rule.Deny != nil
	method, path := r.Method, r.Path
	if deny {
		method = strings.ToUpper(method)
	}
	if method == "HEAD" && !slices.Contains(rule.Methods, "HEAD") {
		method = "GET"
	}
	if len(rule.Methods) > 0 && !slices.Contains(rule.Methods, method) {
		return false
	}
	if len(rule.Paths) == 0 {
		return true
	}
	for _, p := range rule.Paths {
		if deny {
			p, path = strings.ToLower(p), strings.ToLower(path)
		}
		if dir, below := strings.CutSuffix(p, "*"); below {
			if strings.HasPrefix(path+"/", dir) {
				return true
			}
			continue
		}
		if p == path || deny && strings.Trim(p, "/") == strings.Trim(path, "/") {
			return true
		}
	}
	return false
}

// refTruth is of who somebody is, how they signed in, and what they ask.
func refTruth(m authz.Match, r authz.Request, signedIn bool) (who, how, what int) {
	s := r.Subject
	who, how, what = 2, 2, 2
	and := func(t *int, known, holds bool) {
		switch {
		case !known:
			*t = min(*t, 1)
		case !holds:
			*t = 0
		}
	}
	any := func(want, have []string) bool {
		return slices.ContainsFunc(want, func(w string) bool { return slices.Contains(have, w) })
	}
	signedIn = signedIn || m.SignedIn || len(m.Roles)+len(m.Groups)+len(m.Users)+len(m.IdentityProviders)+len(m.Attributes)+len(m.ACR)+len(m.AMR) > 0 || m.MaxAge > 0
	if signedIn && s.ID == "" {
		who = 0
	} else {
		said, groups, known := s.Attributes, append(slices.Clone(s.Groups), s.Attributes["groups"]...), true
		if m.IdentityProviders != nil {
			and(&who, s.Provider != "", any(m.IdentityProviders, []string{s.Provider}))
			said = s.Asserted["idp:"+s.Provider]
			groups, known = said["groups"], s.Provider != ""
		}
		if m.Roles != nil {
			and(&who, any(m.Roles, s.Roles) || !any(m.Roles, s.Unsure), any(m.Roles, s.Roles))
		}
		if m.Groups != nil {
			and(&who, known, any(m.Groups, groups))
		}
		if m.Users != nil {
			and(&who, true, slices.ContainsFunc(m.Users, func(u string) bool {
				store, name := "primary", u
				if strings.HasPrefix(u, "partners/") {
					store, name = "partners", u[len("partners/"):]
				}
				return s.Store == store && strings.EqualFold(s.UserName, name)
			}))
		}
		for a, want := range m.Attributes {
			and(&who, len(said[a]) > 0, any(want, said[a]))
		}
		if m.ACR != nil {
			and(&how, s.ACR != "", any(m.ACR, []string{s.ACR}))
		}
		if m.AMR != nil {
			and(&how, len(s.AMR) > 0, any(m.AMR, s.AMR))
		}
		if m.MaxAge > 0 {
			and(&how, !s.AuthTime.IsZero() && !s.AuthTime.After(noon.Add(5*time.Minute)), noon.Sub(s.AuthTime) <= m.MaxAge)
		}
	}
	for range m.Networks {
		inside := r.From.IsValid() && r.From.Unmap().Is4() && r.From.Unmap().As4()[0] == 10
		and(&what, r.From.IsValid(), inside)
	}
	if m.When != "" {
		o := oracleOf(m.When)
		ok, err := o.means(r)
		if o.person {
			and(&who, err == nil, ok)
		} else {
			and(&what, err == nil, ok)
		}
	}
	return who, how, what
}

// compile makes a policy of drawn rules; some are mistakes, as they should be.
func compile(t *rapid.T, rules []authz.Rule) *authz.Policy {
	p, mistakes := authz.Compile(drawRoles(), []authz.ServiceRules{{ID: "app", Rules: rules}})
	if mistakes != nil {
		t.Fatal(mistakes)
	}
	return p
}

func TestZ04_DecisionsAreThoseOfTheReference(t *testing.T) {
	t.Parallel()
	seen := map[authz.Outcome]int{}
	times(t, func(t *rapid.T) {
		rules := drawRules(t)
		p := compile(t, rules)
		for range 4 {
			s := p.Roles(drawSubject(t))
			requests(s, func(r authz.Request) {
				d := p.Decide(r)
				outcome, code, matched := reference(rules, r)
				if d.Outcome != outcome || d.Code != code {
					t.Fatalf("%s %s from %v by %+v:\n got %s\nwant %v %s", r.Method, r.Path, r.From, s, spell(d), outcome, code)
				}
				for i, m := range matched {
					if d.Reasons[i].Matched != m {
						t.Fatalf("%s %s from %v by %+v: rule %d: got %s, want matched %v", r.Method, r.Path, r.From, s, i, spell(d), m)
					}
				}
				seen[d.Outcome]++
			})
		}
	})
	for _, o := range []authz.Outcome{authz.Deny, authz.Login, authz.StepUp, authz.Allow} {
		if seen[o] == 0 {
			t.Errorf("no case came out as %s", o)
		}
	}
	t.Logf("%v", seen)
}

// The reasons are what the decision follows from: whoever reads them alone comes
// to the same outcome.
func TestZ13_TheReasonsExplainTheDecision(t *testing.T) {
	t.Parallel()
	times(t, func(t *rapid.T) {
		p := compile(t, drawRules(t))
		s := p.Roles(drawSubject(t))
		requests(s, func(r authz.Request) {
			d := p.Decide(r)
			if again := p.Decide(r); !reflect.DeepEqual(d, again) {
				t.Fatalf("asked twice: %s", cmp.Diff(d, again))
			}
			if d.Code == authz.ReasonAmbiguous || d.Code == authz.ReasonInactive {
				return
			}
			want, later := authz.Deny, false
			for _, why := range d.Reasons {
				if why.Matched != (len(why.Unmet) == 0) {
					t.Fatalf("matched with something unmet, or neither: %+v", why)
				}
				later = later || why.Effect == authz.Deny && !why.Matched && slices.ContainsFunc(why.Unmet, func(c authz.Clause) bool { return c.Kind == "signed_in" && s.ID == "" }) && len(why.Unmet) == 1
				if why.Matched && why.Effect == authz.Allow {
					want = authz.Allow
				}
			}
			for _, why := range d.Reasons {
				if why.Matched && why.Effect == authz.Deny {
					want = authz.Deny
				}
			}
			if got := d.Outcome; got != want && !(want == authz.Deny && (got == authz.Login || got == authz.StepUp)) && !(later && got == authz.Login) {
				t.Fatalf("outcome %s, but the reasons say %s: %s", got, want, spell(d))
			}
		})
	})
}

func TestARememberedDecisionIsThatOfAFreshOne(t *testing.T) {
	t.Parallel()
	hits, misses := 0, 0
	times(t, func(t *rapid.T) {
		p := compile(t, drawRules(t))
		in := p.Reads("app")
		for range 3 {
			s := p.Roles(drawSubject(t)) // of one session
			memo := map[authz.Key]authz.Decision{}
			requests(s, func(r authz.Request) {
				k, ok := in.Key(r.Method, r.Path, r.From)
				if !ok {
					misses++
					return
				}
				fresh := p.Decide(r)
				if known, ok := memo[k]; ok {
					hits++
					if !reflect.DeepEqual(known, fresh) {
						t.Fatalf("%s %s from %v is remembered otherwise: %s", r.Method, r.Path, r.From, cmp.Diff(known, fresh))
					}
				}
				memo[k] = fresh
			})
		}
	})
	if hits == 0 || misses == 0 {
		t.Errorf("%d found, %d never remembered: the property shows nothing", hits, misses)
	}
}

func TestReadsNamesEveryInput(t *testing.T) {
	t.Parallel()
	type in struct{ Method, Path, From, Now, SignIn bool }
	for src, want := range map[string]in{
		`request.method == "GET"`:                         {Method: true},
		`request.path == "/"`:                             {Path: true},
		`request.from == "::1"`:                           {From: true},
		`request.now > timestamp("2030-01-01T00:00:00Z")`: {Now: true},
		`login.acr == "x"`:                                {SignIn: true},
		`[request].exists(r, r.path == "/")`:              {true, true, true, true, false},
		`user.id == "x"`:                                  {},
		`request.service == "x"`:                          {},
	} {
		got := rules(t, nil, allow(authz.Match{When: src})).Reads("app")
		if (in{got.Method, got.Path, got.From, got.Now, got.SignIn}) != want {
			t.Errorf("%s reads %+v", src, got)
		}
	}
	for name, c := range map[string]struct {
		rule authz.Rule
		want in
	}{
		"methods":  {authz.Rule{Methods: []string{"GET"}, Allow: &authz.Match{SignedIn: true}}, in{Method: true}},
		"networks": {allow(authz.Match{Networks: []netip.Prefix{netip.MustParsePrefix("::/0")}}), in{From: true}},
		"max_age":  {allow(authz.Match{MaxAge: time.Hour}), in{Now: true, SignIn: true}},
		"acr":      {deny(authz.Match{ACR: []string{"x"}}), in{SignIn: true}},
		"idp":      {deny(authz.Match{IdentityProviders: []string{"x"}}), in{SignIn: true}},
		"groups":   {allow(authz.Match{Groups: []string{"x"}}), in{}},
	} {
		got := rules(t, nil, c.rule).Reads("app")
		if (in{got.Method, got.Path, got.From, got.Now, got.SignIn}) != c.want {
			t.Errorf("%s reads %+v", name, got)
		}
	}
	if _, ok := (authz.Inputs{}).Key("", "", netip.Addr{}); ok {
		t.Error("the zero Inputs let something be remembered")
	}
}

func TestPathsThatNoRuleTellsApartAreOneKey(t *testing.T) {
	t.Parallel()
	p := rules(t, nil, authz.Rule{Paths: []string{"/a/*", "/b"}, Allow: &authz.Match{SignedIn: true}})
	key := func(path string) authz.Key {
		k, ok := p.Reads("app").Key("", path, netip.Addr{})
		if !ok {
			t.Fatalf("%s can not be remembered", path)
		}
		return k
	}
	if key("/a/1") != key("/a/2/3") || key("/c") != key("/d/e") {
		t.Error("one decision is remembered under several keys")
	}
	if key("/a/1") == key("/b") || key("/b") == key("/c") || key("/a/1") == key("/c") {
		t.Error("several decisions are remembered under one key")
	}
	if _, ok := p.Reads("app").Key("", "/a/../b", netip.Addr{}); ok {
		t.Error("an ambiguous path can be remembered")
	}
}
