package authz_test

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/gatehouse-sso/gatehouse/authz"
)

// noon is when every request of these tests is made.
var noon = time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC)

// The files of testdata/decide have roles, rules and people in YAML; below a
// line of dashes each line is a case:
//
//	who method path [from] = outcome code +matched -rule(what was not met) needs
//
// with ! behind a rule whose expression failed. Rules about other paths are left out.
type golden struct {
	UserStores []string `yaml:"user_stores"`
	Roles      []struct {
		ID   string  `yaml:"id"`
		From []match `yaml:"from"`
	} `yaml:"roles"`
	Rules []struct {
		ID      string   `yaml:"id"`
		Methods []string `yaml:"methods"`
		Paths   []string `yaml:"paths"`
		Allow   *match   `yaml:"allow"`
		Deny    *match   `yaml:"deny"`
	} `yaml:"rules"`
	People map[string]struct {
		Store      string                         `yaml:"store"`
		Name       string                         `yaml:"name"`
		Inactive   bool                           `yaml:"inactive"`
		Attributes map[string][]string            `yaml:"attributes"`
		Asserted   map[string]map[string][]string `yaml:"asserted"`
		Groups     []string                       `yaml:"groups"`
		Granted    []string                       `yaml:"granted"`
		Provider   string                         `yaml:"provider"`
		ACR        string                         `yaml:"acr"`
		AMR        []string                       `yaml:"amr"`
		Ago        string                         `yaml:"ago"`
	} `yaml:"people"`
}

type match struct {
	Anyone            bool                `yaml:"anyone"`
	SignedIn          bool                `yaml:"signed_in"`
	Roles             []string            `yaml:"roles"`
	Groups            []string            `yaml:"groups"`
	Users             []string            `yaml:"users"`
	IdentityProviders []string            `yaml:"identity_provider"`
	UserStores        []string            `yaml:"user_store"`
	Attributes        map[string][]string `yaml:"attributes"`
	ACR               []string            `yaml:"acr"`
	AMR               []string            `yaml:"amr"`
	MaxAge            time.Duration       `yaml:"max_age"`
	Callers           []string            `yaml:"callers"`
	Networks          []netip.Prefix      `yaml:"networks"`
	When              string              `yaml:"when"`
}

func (m *match) compiled() *authz.Match {
	if m == nil {
		return nil
	}
	out := authz.Match(*m)
	return &out
}

func (g golden) policy() (*authz.Policy, []authz.Mistake) {
	var roles []authz.Role
	for _, r := range g.Roles {
		role := authz.Role{ID: r.ID}
		for _, m := range r.From {
			role.From = append(role.From, *m.compiled())
		}
		roles = append(roles, role)
	}
	svc := authz.ServiceRules{ID: "app"}
	for _, r := range g.Rules {
		svc.Rules = append(svc.Rules, authz.Rule{ID: r.ID, Methods: r.Methods, Paths: r.Paths, Allow: r.Allow.compiled(), Deny: r.Deny.compiled()})
	}
	return authz.Compile(roles, []authz.ServiceRules{svc}, authz.Known{UserStores: g.UserStores})
}

func (g golden) subject(t *testing.T, who string) authz.Subject {
	p, ok := g.People[who]
	if !ok && who != "nobody" {
		t.Fatalf("there is no %q in this file", who)
	}
	if who == "nobody" {
		return authz.Subject{}
	}
	s := authz.Subject{ID: "id-" + who, Store: p.Store, UserName: p.Name, Active: !p.Inactive, Attributes: p.Attributes, Asserted: p.Asserted,
		Groups: p.Groups, Granted: p.Granted, Provider: p.Provider, ACR: p.ACR, AMR: p.AMR}
	if s.Store == "" {
		s.Store = "primary"
	}
	if s.UserName == "" {
		s.UserName = who
	}
	if p.Ago != "" {
		ago, err := time.ParseDuration(p.Ago)
		if err != nil {
			t.Fatal(err)
		}
		s.AuthTime = noon.Add(-ago)
	}
	return s
}

// spell writes a decision as the files do.
func spell(d authz.Decision) string {
	var b strings.Builder
	fmt.Fprint(&b, d.Outcome)
	if d.Code != "" {
		fmt.Fprint(&b, " ", d.Code)
	}
	for _, r := range d.Reasons {
		if r.Matched {
			fmt.Fprint(&b, " +", r.Rule)
		} else {
			var kinds []string
			if len(r.Unmet) == 1 && r.Unmet[0].Kind == "paths" {
				continue
			}
			for _, u := range r.Unmet {
				kinds = append(kinds, u.Kind)
			}
			fmt.Fprintf(&b, " -%s(%s)", r.Rule, strings.Join(kinds, ","))
		}
		if r.Err != "" {
			fmt.Fprint(&b, "!")
		}
	}
	if len(d.Needs.ACR) > 0 {
		fmt.Fprint(&b, " acr=", strings.Join(d.Needs.ACR, ","))
	}
	if d.Needs.MaxAge > 0 {
		fmt.Fprint(&b, " max_age=", d.Needs.MaxAge)
	}
	if d.Needs.Fresh {
		fmt.Fprint(&b, " fresh")
	}
	return b.String()
}

func TestZ12_PrecedenceIsAsDocumented(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/decide/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no cases", err)
	}
	cases := 0
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		head, lines, ok := bytes.Cut(raw, []byte("\n----------\n"))
		if !ok {
			t.Fatalf("%s: no line of dashes", file)
		}
		var g golden
		if err := yaml.UnmarshalWithOptions(head, &g, yaml.Strict()); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		p, mistakes := g.policy()
		if mistakes != nil {
			t.Fatalf("%s: %v", file, mistakes)
		}
		for line := range strings.Lines(string(lines)) {
			line = strings.TrimSpace(line)
			if line == "" || line[0] == '#' {
				continue
			}
			cases++
			ask, want, _ := strings.Cut(line, " = ")
			f := strings.Fields(ask)
			if len(f) < 3 {
				t.Fatalf("%s: %q is no case", file, line)
			}
			r := authz.Request{Subject: p.Roles(g.subject(t, f[0])), Service: "app", Method: f[1], Path: f[2], Now: noon}
			if len(f) > 3 {
				r.From = netip.MustParseAddr(f[3])
			}
			if got := spell(p.Decide(r)); got != want {
				t.Errorf("%s: %s\n got %s\nwant %s", filepath.Base(file), ask, got, want)
			}
		}
	}
	if cases < 60 {
		t.Errorf("%d cases, want 60 or more", cases)
	}
}

// rules makes a policy of one service, "app".
func rules(t testing.TB, roles []authz.Role, rules ...authz.Rule) *authz.Policy {
	t.Helper()
	for i := range rules {
		if rules[i].ID == "" {
			rules[i].ID = fmt.Sprint("rule", i)
		}
	}
	p, mistakes := authz.Compile(roles, []authz.ServiceRules{{ID: "app", Rules: rules}})
	if mistakes != nil {
		t.Fatal(mistakes)
	}
	return p
}

func allow(m authz.Match) authz.Rule { return authz.Rule{Allow: &m} }
func deny(m authz.Match) authz.Rule  { return authz.Rule{Deny: &m} }

func person(groups ...string) authz.Subject {
	return authz.Subject{ID: "u1", Store: "primary", UserName: "kim", Active: true, Attributes: map[string][]string{"groups": groups}}
}

func get(s authz.Subject) authz.Request {
	return authz.Request{Subject: s, Service: "app", Method: "GET", Path: "/", Now: noon, From: netip.MustParseAddr("192.0.2.1")}
}

// check decides and asserts outcome and code.
func check(t *testing.T, p *authz.Policy, r authz.Request, want authz.Outcome, code string) authz.Decision {
	t.Helper()
	d := p.Decide(r)
	if d.Outcome != want || d.Code != code {
		t.Errorf("%s %s: %v, want %v %s", r.Method, r.Path, spell(d), want, code)
	}
	return d
}

func TestZ01_WithoutPolicyEverythingIsDenied(t *testing.T) {
	t.Parallel()
	everyone := allow(authz.Match{Anyone: true})
	check(t, rules(t, nil, everyone), get(person()), authz.Allow, "")
	empty, mistakes := authz.Compile(nil, nil)
	if mistakes != nil {
		t.Fatal(mistakes)
	}
	other := get(person())
	other.Service = "other"
	for name, c := range map[string]struct {
		p *authz.Policy
		r authz.Request
	}{
		"nil policy":      {nil, get(person())},
		"zero policy":     {&authz.Policy{}, get(person())},
		"empty policy":    {empty, get(person())},
		"unknown service": {rules(t, nil, everyone), other},
		"no rules":        {rules(t, nil), get(person())},
	} {
		if d := c.p.Decide(c.r); d.Outcome != authz.Deny || d.Code != authz.ReasonNoRule {
			t.Errorf("%s: %s", name, spell(d))
		}
	}
	var zero authz.Decision
	if zero.Outcome != authz.Deny {
		t.Error("the zero decision lets pass")
	}
}

func TestZ03_NamesAreComparedByteForByte(t *testing.T) {
	t.Parallel()
	p := rules(t, nil, allow(authz.Match{Groups: []string{"admin"}}))
	check(t, p, get(person("staff", "admin")), authz.Allow, "")
	for _, g := range []string{"admins", "Admin", "ADMIN", "a.min", "adm", " admin", "admin ", "admin\x00", "аdmin", "ａdmin", "admi\u0301n", ".*", "*", ""} {
		check(t, p, get(person(g)), authz.Deny, authz.ReasonNoRule)
	}
	// Nor does a pattern in the policy match: it is a name.
	check(t, rules(t, nil, allow(authz.Match{Groups: []string{"a.min"}})), get(person("admin")), authz.Deny, authz.ReasonNoRule)
	check(t, rules(t, nil, allow(authz.Match{Groups: []string{"adm*"}})), get(person("admin")), authz.Deny, authz.ReasonNoRule)
	byDept := rules(t, nil, allow(authz.Match{Attributes: map[string][]string{"dept": {"fin"}}}))
	for _, dept := range []string{"Fin", "finance", "fin "} {
		s := person()
		s.Attributes["dept"] = []string{dept}
		check(t, byDept, get(s), authz.Deny, authz.ReasonNoRule)
	}
}

func TestZ05_WhatIsNotKnownCountsAgainstThePerson(t *testing.T) {
	t.Parallel()
	everyone := allow(authz.Match{SignedIn: true})
	dept := func(vals ...string) authz.Subject {
		s := person()
		s.Attributes["dept"] = vals
		return s
	}
	for name, m := range map[string]authz.Match{
		"typed":      {Attributes: map[string][]string{"dept": {"x"}}},
		"expression": {When: `user.attributes.dept.exists(d, d == "x")`},
	} {
		t.Run(name, func(t *testing.T) {
			p := rules(t, nil, everyone, deny(m))
			check(t, p, get(dept("y")), authz.Allow, "")
			check(t, p, get(dept("x")), authz.Deny, authz.ReasonDenied)
			missing := person()
			d := check(t, p, get(missing), authz.Deny, authz.ReasonDenied)
			if name == "expression" && !strings.Contains(d.Reasons[1].Err, "no such key") {
				t.Errorf("the error is hidden: %+v", d.Reasons[1])
			}
		})
	}
	t.Run("deny if not", func(t *testing.T) {
		p := rules(t, nil, everyone, deny(authz.Match{When: `one(user.attributes.dept) != "x"`}))
		check(t, p, get(dept("x")), authz.Allow, "")
		check(t, p, get(dept("y")), authz.Deny, authz.ReasonDenied)
		check(t, p, get(dept("x", "y")), authz.Deny, authz.ReasonDenied)
		check(t, p, get(dept()), authz.Deny, authz.ReasonDenied)
	})
	t.Run("an error never allows", func(t *testing.T) {
		p := rules(t, nil, allow(authz.Match{When: `one(user.attributes.dept) != "x"`}))
		check(t, p, get(dept("y")), authz.Allow, "")
		d := check(t, p, get(person()), authz.Deny, authz.ReasonNoRule)
		if d.Reasons[0].Err == "" || d.Reasons[0].Matched {
			t.Errorf("%+v", d.Reasons[0])
		}
	})
	t.Run("a role that could not be worked out", func(t *testing.T) {
		blocked := []authz.Role{{ID: "blocked", From: []authz.Match{{When: `one(user.attributes.dept) == "x"`}}}, {ID: "other", From: []authz.Match{{Groups: []string{"g"}}}}}
		for _, m := range []authz.Match{{Roles: []string{"blocked"}}, {When: `"blocked" in user.roles`}} {
			p := rules(t, blocked, everyone, deny(m))
			check(t, p, get(p.Roles(dept("y"))), authz.Allow, "")
			check(t, p, get(p.Roles(dept("x"))), authz.Deny, authz.ReasonDenied)
			check(t, p, get(p.Roles(person())), authz.Deny, authz.ReasonDenied)
		}
		p := rules(t, blocked, allow(authz.Match{Roles: []string{"blocked"}}))
		check(t, p, get(p.Roles(dept("x"))), authz.Allow, "")
		check(t, p, get(p.Roles(person())), authz.Deny, authz.ReasonNoRule)
		// What does not depend on it goes on.
		p = rules(t, blocked, allow(authz.Match{When: `"other" in user.roles`}), deny(authz.Match{When: `"none" in user.roles`}))
		check(t, p, get(p.Roles(person("g"))), authz.Allow, "")
	})
	t.Run("a role by an attribute that nobody told us", func(t *testing.T) {
		blocked := []authz.Role{{ID: "blocked", From: []authz.Match{{Attributes: map[string][]string{"dept": {"x"}}}}}}
		p := rules(t, blocked, everyone, deny(authz.Match{Roles: []string{"blocked"}}))
		check(t, p, get(p.Roles(dept("y"))), authz.Allow, "")
		check(t, p, get(p.Roles(dept("x"))), authz.Deny, authz.ReasonDenied)
		check(t, p, get(p.Roles(person())), authz.Deny, authz.ReasonDenied)
	})
	t.Run("where from", func(t *testing.T) {
		inside := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
		r := get(person())
		r.From = netip.Addr{}
		check(t, rules(t, nil, everyone, deny(authz.Match{Networks: inside})), get(person()), authz.Allow, "")
		check(t, rules(t, nil, everyone, deny(authz.Match{Networks: inside})), r, authz.Deny, authz.ReasonDenied)
		check(t, rules(t, nil, everyone, deny(authz.Match{When: `net(request.from, "10.0.0.0/8")`})), r, authz.Deny, authz.ReasonDenied)
	})
	t.Run("how they signed in", func(t *testing.T) {
		for _, m := range []authz.Match{{ACR: []string{"weak"}}, {AMR: []string{"sms"}}, {IdentityProviders: []string{"old"}}, {MaxAge: time.Minute}} {
			p := rules(t, nil, everyone, deny(m))
			s := person()
			check(t, p, get(s), authz.Deny, authz.ReasonDenied)
			s.ACR, s.AMR, s.Provider, s.AuthTime = "strong", []string{"hwk"}, "campus", noon.Add(-time.Hour)
			check(t, p, get(s), authz.Allow, "")
		}
	})
}

func TestZ07_OnlyHEADFollowsGET(t *testing.T) {
	t.Parallel()
	reader := rules(t, nil, authz.Rule{Methods: []string{"GET"}, Allow: &authz.Match{SignedIn: true}})
	for method, want := range map[string]authz.Outcome{"GET": authz.Allow, "HEAD": authz.Allow, "POST": authz.Deny, "OPTIONS": authz.Deny,
		"PUT": authz.Deny, "get": authz.Deny, "TRACE": authz.Deny, "": authz.Deny, "GETX": authz.Deny} {
		r := get(person())
		r.Method = method
		if d := reader.Decide(r); d.Outcome != want {
			t.Errorf("allow GET, asked %q: %s", method, spell(d))
		}
	}
	noWrites := rules(t, nil, allow(authz.Match{SignedIn: true}), authz.Rule{Methods: []string{"POST", "GET"}, Deny: &authz.Match{Anyone: true}})
	for method, want := range map[string]authz.Outcome{"PUT": authz.Allow, "POST": authz.Deny, "post": authz.Deny, "Post": authz.Deny, "HEAD": authz.Deny, "head": authz.Deny} {
		r := get(person())
		r.Method = method
		if d := noWrites.Decide(r); d.Outcome != want {
			t.Errorf("deny POST, asked %q: %s", method, spell(d))
		}
	}
}

func TestZ09_AnAddressIsTheSameInEverySpelling(t *testing.T) {
	t.Parallel()
	for name, m := range map[string]authz.Match{
		"typed":      {Networks: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fe80::/10")}},
		"mapped":     {Networks: []netip.Prefix{netip.MustParsePrefix("::ffff:10.0.0.0/104"), netip.MustParsePrefix("fe80::/10")}},
		"expression": {When: `net(request.from, "10.0.0.0/8", "fe80::/10")`},
		"list":       {When: `net(request.from, ["::ffff:10.0.0.0/104", "fe80::/10"])`},
	} {
		denied := rules(t, nil, allow(authz.Match{SignedIn: true}), deny(m))
		allowed := rules(t, nil, allow(m))
		for addr, inside := range map[string]bool{
			"10.0.0.1": true, "::ffff:10.0.0.1": true, "::ffff:10.0.0.1%eth0": true, "::ffff:a00:1": true, "fe80::1": true, "fe80::1%eth0": true,
			"11.0.0.1": false, "::ffff:11.0.0.1": false, "::10.0.0.1": false, "2001:db8::1": false, "64:ff9b::a00:1": false,
		} {
			r := get(person())
			r.From = netip.MustParseAddr(addr)
			if d := denied.Decide(r); (d.Outcome == authz.Deny) != inside {
				t.Errorf("%s: deny from %s: %s", name, addr, spell(d))
			}
			if d := allowed.Decide(r); (d.Outcome == authz.Allow) != inside {
				t.Errorf("%s: allow from %s: %s", name, addr, spell(d))
			}
		}
	}
}

func TestZ10_AGroupIsThatOfTheNamedProvider(t *testing.T) {
	t.Parallel()
	admins := []authz.Role{{ID: "admin", From: []authz.Match{{IdentityProviders: []string{"campus"}, Groups: []string{"admins"}}}},
		{ID: "campus", From: []authz.Match{{IdentityProviders: []string{"campus"}}}}}
	p := rules(t, admins,
		authz.Rule{ID: "role", Paths: []string{"/role"}, Allow: &authz.Match{Roles: []string{"admin"}}},
		authz.Rule{ID: "login", Paths: []string{"/login"}, Allow: &authz.Match{IdentityProviders: []string{"campus"}, Groups: []string{"admins"}}},
		authz.Rule{ID: "anyone-of-campus", Paths: []string{"/campus"}, Allow: &authz.Match{Roles: []string{"campus"}}},
		authz.Rule{ID: "plain", Paths: []string{"/plain"}, Allow: &authz.Match{Groups: []string{"admins"}}},
	)
	from := func(provider, signedIn string) authz.Subject {
		s := person("admins") // the union, as the directory makes it
		s.Asserted = map[string]map[string][]string{"idp:" + provider: {"groups": {"admins"}}}
		s.Provider = signedIn
		return p.Roles(s)
	}
	ask := func(s authz.Subject, path string) authz.Request { r := get(s); r.Path = path; return r }
	check(t, p, ask(from("campus", "campus"), "/role"), authz.Allow, "")
	check(t, p, ask(from("partner", "partner"), "/role"), authz.Deny, authz.ReasonNoRule)
	check(t, p, ask(from("partner", "campus"), "/role"), authz.Deny, authz.ReasonNoRule)
	check(t, p, ask(from("campus", "campus"), "/login"), authz.Allow, "")
	check(t, p, ask(from("partner", "campus"), "/login"), authz.Deny, authz.ReasonNoRule)
	check(t, p, ask(from("campus", "partner"), "/login"), authz.Deny, authz.ReasonNoRule)
	check(t, p, ask(from("partner", "partner"), "/plain"), authz.Allow, "")
	check(t, p, ask(from("campus", "partner"), "/campus"), authz.Allow, "")
	check(t, p, ask(from("partner", "campus"), "/campus"), authz.Deny, authz.ReasonNoRule)
	// The directory's own group of that name is not what campus asserts either.
	own := authz.Subject{ID: "u2", Active: true, Groups: []string{"admins"}, Provider: "campus", Asserted: map[string]map[string][]string{"idp:campus": {}}}
	check(t, p, ask(p.Roles(own), "/role"), authz.Deny, authz.ReasonNoRule)
	check(t, p, ask(p.Roles(own), "/login"), authz.Deny, authz.ReasonNoRule)
	check(t, p, ask(p.Roles(own), "/plain"), authz.Allow, "")
}

func TestZ11_RolesAreWorkedOutAfresh(t *testing.T) {
	t.Parallel()
	p := rules(t, []authz.Role{{ID: "fin", From: []authz.Match{{Groups: []string{"fin"}}}}, {ID: "asked"}}, allow(authz.Match{Roles: []string{"fin", "asked"}}))
	s := p.Roles(person("fin"))
	if !slices.Equal(s.Roles, []string{"fin"}) {
		t.Fatal(s.Roles)
	}
	check(t, p, get(s), authz.Allow, "")
	s.Attributes = map[string][]string{"groups": nil}
	if s = p.Roles(s); len(s.Roles) != 0 {
		t.Errorf("a role outlives its group: %v", s.Roles)
	}
	check(t, p, get(s), authz.Deny, authz.ReasonNoRule)
	s.Granted = []string{"asked", "gone", "gatehouse-admin"}
	if s = p.Roles(s); !slices.Equal(s.Roles, []string{"asked"}) {
		t.Errorf("granted roles: %v", s.Roles)
	}
	none, _ := authz.Compile(nil, nil)
	if s = none.Roles(s); len(s.Roles) != 0 {
		t.Errorf("a role outlives its policy: %v", s.Roles)
	}
}

func TestJ10_NoGroupMakesAnAdministratorUnlessMapped(t *testing.T) {
	t.Parallel()
	roles := []authz.Role{{ID: "gatehouse-admin", From: []authz.Match{{IdentityProviders: []string{"campus"}, Groups: []string{"it-core"}}}}}
	p := rules(t, roles, allow(authz.Match{Roles: []string{"gatehouse-admin"}}))
	s := person("admin", "gateway-admins", "gatehouse-admin", "it-core")
	s.Attributes["roles"] = []string{"gatehouse-admin"}
	s.Groups = []string{"gatehouse-admin", "it-core"}
	s.Asserted = map[string]map[string][]string{
		"idp:partner": {"groups": {"admin", "gatehouse-admin", "it-core"}, "roles": {"gatehouse-admin"}},
		"idp:campus":  {"groups": {"gatehouse-admin"}}, "scim:campus": {"groups": {"it-core"}},
	}
	s.Provider, s.Roles = "campus", []string{"gatehouse-admin"}
	check(t, p, get(p.Roles(s)), authz.Deny, authz.ReasonNoRule)
	s.Asserted["idp:campus"]["groups"] = []string{"it-core"}
	check(t, p, get(p.Roles(s)), authz.Allow, "")
}

func TestP07_APathThatCanBeReadTwiceIsRefused(t *testing.T) {
	t.Parallel()
	p := rules(t, nil,
		authz.Rule{Paths: []string{"/public/*", "/open"}, Allow: &authz.Match{Anyone: true}},
		authz.Rule{Paths: []string{"/*"}, Allow: &authz.Match{Groups: []string{"fin"}}},
		authz.Rule{Paths: []string{"/public/secret/*", "/public/one"}, Deny: &authz.Match{Anyone: true}})
	for path, want := range map[string]struct {
		outcome authz.Outcome
		code    string
	}{
		"/public": {authz.Allow, ""}, "/public/": {authz.Allow, ""}, "/public/a/b": {authz.Allow, ""}, "/open": {authz.Allow, ""},
		"/open/":   {authz.Login, authz.ReasonLogin},
		"/publicx": {authz.Login, authz.ReasonLogin}, "/PUBLIC": {authz.Login, authz.ReasonLogin}, "/admin": {authz.Login, authz.ReasonLogin}, "/": {authz.Login, authz.ReasonLogin},
		"/public/secret": {authz.Deny, authz.ReasonDenied}, "/public/secret/x": {authz.Deny, authz.ReasonDenied},
		"/public/one": {authz.Deny, authz.ReasonDenied}, "/public/one/": {authz.Deny, authz.ReasonDenied}, "/public/one/x": {authz.Allow, ""},
		"/public/Secret/x": {authz.Deny, authz.ReasonDenied}, "/public/SECRET": {authz.Deny, authz.ReasonDenied}, "/public/One": {authz.Deny, authz.ReasonDenied},
		"/public/../admin": {authz.Deny, authz.ReasonAmbiguous}, "/public/./x": {authz.Deny, authz.ReasonAmbiguous}, "/public//x": {authz.Deny, authz.ReasonAmbiguous},
		"//public": {authz.Deny, authz.ReasonAmbiguous}, "/public/..": {authz.Deny, authz.ReasonAmbiguous}, "": {authz.Deny, authz.ReasonAmbiguous},
		"public": {authz.Deny, authz.ReasonAmbiguous}, "*": {authz.Deny, authz.ReasonAmbiguous},
	} {
		r := get(authz.Subject{})
		r.Path = path
		if d := p.Decide(r); d.Outcome != want.outcome || d.Code != want.code {
			t.Errorf("%q: %s", path, spell(d))
		}
	}
}

func TestP08_AQuerySatisfiesNoPath(t *testing.T) {
	t.Parallel()
	p := rules(t, nil, authz.Rule{Paths: []string{"/public", "/x/public/*"}, Allow: &authz.Match{Anyone: true}}, allow(authz.Match{SignedIn: true}))
	r := get(authz.Subject{})
	for _, path := range []string{"/admin?x=/public", "/admin?/public", "/admin#/public", "/public?x", "/admin/x/public"} {
		r.Path = path
		check(t, p, r, authz.Login, authz.ReasonLogin)
	}
	r.Path = "/public"
	check(t, p, r, authz.Allow, "")
}

func TestReasonsShowWhatIsMissingAndWhatThereIs(t *testing.T) {
	t.Parallel()
	p := rules(t, []authz.Role{{ID: "finance"}, {ID: "staff", From: []authz.Match{{SignedIn: true}}}},
		authz.Rule{ID: "finance", Text: "Payroll is for the finance office.", Pos: "gatehouse.yaml:7:9", Allow: &authz.Match{
			Roles: []string{"finance"}, ACR: []string{"mfa"}, Attributes: map[string][]string{"dept": {"fin"}}}})
	s := person()
	s.ACR, s.Attributes["dept"] = "pwd", []string{"hr"}
	d := p.Decide(get(p.Roles(s)))
	want := fmt.Sprint([]authz.Clause{
		{Kind: "roles", Want: []string{"finance"}, Have: []string{"staff"}},
		{Kind: "attributes.dept", Want: []string{"fin"}, Have: []string{"hr"}},
		{Kind: "acr", Want: []string{"mfa"}, Have: []string{"pwd"}},
	})
	r := d.Reasons[0]
	if got := fmt.Sprint(r.Unmet); got != want || r.Text != "Payroll is for the finance office." || r.Pos != "gatehouse.yaml:7:9" || r.Effect != authz.Allow {
		t.Errorf("got %+v\nwant unmet %s", r, want)
	}
}

func TestReasonsDoNotShareTheirClauses(t *testing.T) {
	t.Parallel()
	d := rules(t, nil, allow(authz.Match{Groups: []string{"a"}}), allow(authz.Match{UserStores: []string{"b"}})).Decide(get(person()))
	_ = append(d.Reasons[0].Unmet, authz.Clause{Kind: "added"})
	if got := spell(d); !strings.HasSuffix(got, "-rule0(groups) -rule1(user_store)") {
		t.Error(got)
	}
}

func TestEveryCodeHasASentence(t *testing.T) {
	t.Parallel()
	for _, code := range []string{authz.ReasonNoRule, authz.ReasonDenied, authz.ReasonLogin, authz.ReasonStepUp, authz.ReasonInactive, authz.ReasonAmbiguous} {
		if !strings.HasSuffix(authz.Reasons[code], ".") {
			t.Errorf("%s has no sentence", code)
		}
	}
	if len(authz.Reasons) != 6 {
		t.Errorf("%d reasons", len(authz.Reasons))
	}
}
