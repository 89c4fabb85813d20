package authz_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-sso/gatehouse/authz"
)

func TestZ02_EveryMistakeIsToldAtOnce(t *testing.T) {
	t.Parallel()
	roles := []authz.Role{
		{ID: "finance", Pos: "c.yaml:1:1", From: []authz.Match{{Groups: []string{"fin"}}}},
		{ID: "finance", Pos: "c.yaml:2:1"},
		{ID: "", Pos: "c.yaml:3:1"},
		{ID: "loop", Pos: "c.yaml:4:1", From: []authz.Match{{Roles: []string{"finance"}}}},
		{ID: "acr", Pos: "c.yaml:5:1", From: []authz.Match{{ACR: []string{"mfa"}}}},
		{ID: "when", Pos: "c.yaml:6:1", From: []authz.Match{{When: `login.acr == "x" && request.path == "/" && "x" in user.roles`}}},
		{ID: "empty", Pos: "c.yaml:7:1", From: []authz.Match{{}}},
		{ID: "everybody", Pos: "c.yaml:8:1", From: []authz.Match{{Anyone: true, Networks: []netip.Prefix{netip.MustParsePrefix("::/0")}, MaxAge: time.Hour, AMR: []string{"x"}}}},
	}
	ok := &authz.Match{SignedIn: true}
	at := func(pos string, r authz.Rule) authz.Rule { r.Pos = "c.yaml:" + pos; r.ID = "r" + pos; return r }
	services := []authz.ServiceRules{{ID: "app", Pos: "c.yaml:20:1", Rules: []authz.Rule{
		at("21", authz.Rule{Allow: &authz.Match{Roles: []string{"finanze"}}}),
		at("22", authz.Rule{Allow: ok, Deny: ok}),
		at("23", authz.Rule{}),
		at("24", authz.Rule{Allow: &authz.Match{}}),
		at("25", authz.Rule{Allow: &authz.Match{When: `user.gruops.size() > 0`}}),
		at("26", authz.Rule{Allow: &authz.Match{When: `user.id.matches("(")`}}),
		at("27", authz.Rule{Allow: &authz.Match{When: `true`}}),
		at("28", authz.Rule{Methods: []string{"get"}, Allow: ok}),
		at("29", authz.Rule{Paths: []string{"reports"}, Allow: ok}),
		at("30", authz.Rule{Paths: []string{"/a/*/b"}, Allow: ok}),
		at("31", authz.Rule{Paths: []string{"/a?b"}, Allow: ok}),
		at("32", authz.Rule{Paths: []string{"/a/../b"}, Allow: ok}),
		at("33", authz.Rule{Paths: []string{"/a%20b"}, Allow: ok}),
		at("34", authz.Rule{Allow: &authz.Match{Anyone: true, Groups: []string{"x"}}}),
		at("35", authz.Rule{Allow: &authz.Match{MaxAge: -time.Second}}),
		at("36", authz.Rule{Allow: &authz.Match{Groups: []string{}}}),
		at("37", authz.Rule{Allow: &authz.Match{Groups: []string{" x"}}}),
		at("38", authz.Rule{Allow: &authz.Match{Attributes: map[string][]string{"dept": nil}}}),
		at("39", authz.Rule{Allow: &authz.Match{Networks: []netip.Prefix{{}}}}),
		at("40", authz.Rule{Allow: &authz.Match{IdentityProviders: []string{"kampus"}}}),
		at("41", authz.Rule{Allow: &authz.Match{UserStores: []string{"partner"}}}),
		at("42", authz.Rule{Allow: &authz.Match{Users: []string{"nowhere/kim"}}}),
		at("43", authz.Rule{Allow: &authz.Match{UserStores: []string{"partners"}, Users: []string{"kim"}}}),
		at("46", authz.Rule{Deny: &authz.Match{When: `"gone" in user.attributes.afiliation`}}),
		at("47", authz.Rule{Allow: &authz.Match{When: `"red" in user.attributes["colour"] && has(user.attributes.affiliation)`}}),
		{ID: "r21", Pos: "c.yaml:44:1", Allow: ok},
		{Pos: "c.yaml:45:1", Allow: ok},
	}}, {ID: "app", Pos: "c.yaml:50:1"}}
	p, mistakes := authz.Compile(roles, services, authz.Known{
		IdentityProviders: []string{"campus"}, UserStores: []string{"primary", "partners"}, Attributes: []string{"affiliation", "mail"},
	})
	if p != nil {
		t.Error("a policy with mistakes can be used")
	}
	var got []string
	for _, m := range mistakes {
		got = append(got, m.String())
	}
	for _, want := range []string{
		`c.yaml:2:1: there is another role with the id "finance" — give each its own`,
		`c.yaml:3:1: the role has no id`,
		`c.yaml:4:1: role "loop": roles can not make a role`,
		`c.yaml:5:1: role "acr": acr can not make a role`,
		`c.yaml:6:1: role "when": when reads user.roles`,
		`c.yaml:6:1: role "when": when reads login`,
		`c.yaml:6:1: role "when": when reads request`,
		`c.yaml:7:1: role "empty" describes nobody in particular`,
		`c.yaml:8:1: role "everybody": anyone can not make a role`,
		`c.yaml:8:1: role "everybody": networks can not make a role`,
		`c.yaml:8:1: role "everybody": max_age can not make a role`,
		`c.yaml:8:1: role "everybody": amr can not make a role`,
		`c.yaml:21: rule "r21" of app: there is no role "finanze" — did you mean "finance"?`,
		`c.yaml:22: rule "r22" of app both allows and denies`,
		`c.yaml:23: rule "r23" of app neither allows nor denies`,
		`c.yaml:24: rule "r24" of app describes nobody in particular — write "signed_in: true"`,
		`c.yaml:25: rule "r25" of app: when: line 1, column 5: there is no field "gruops" — did you mean "groups"?`,
		`c.yaml:26: rule "r26" of app: when: line 1, column 17: `,
		`c.yaml:27: rule "r27" of app: when is the same for every request`,
		`c.yaml:28: rule "r28" of app: "get" is no method — methods are in capitals, as in "GET"`,
		`c.yaml:29: rule "r29" of app: the path "reports" can never match — a path begins with a slash, as in "/reports"`,
		`c.yaml:30: rule "r30" of app: the path "/a/*/b" can never match`,
		`c.yaml:31: rule "r31" of app: the path "/a?b" can never match — rules see the path alone`,
		`c.yaml:32: rule "r32" of app: the path "/a/../b" can never match`,
		`c.yaml:33: rule "r33" of app: the path "/a%20b" can never match`,
		`c.yaml:34: rule "r34" of app can never match anyone: it has anyone and groups`,
		`c.yaml:35: rule "r35" of app: max_age is negative`,
		`c.yaml:36: rule "r36" of app: groups is empty, so it can never match`,
		`c.yaml:37: rule "r37" of app: groups has " x"`,
		`c.yaml:38: rule "r38" of app: attributes.dept has no values`,
		`c.yaml:39: rule "r39" of app: networks has one that is none`,
		`c.yaml:40: rule "r40" of app: there is no identity provider "kampus" — did you mean "campus"?`,
		`c.yaml:41: rule "r41" of app: there is no user store "partner" — did you mean "partners"?`,
		`c.yaml:42: rule "r42" of app: there is no user store "nowhere" of a user`,
		`c.yaml:43: rule "r43" of app can never match: none of the users is of these user stores`,
		`c.yaml:46: rule "r46" of app: when: there is no attribute "afiliation" — did you mean "affiliation"?`,
		`c.yaml:47: rule "r47" of app: when: there is no attribute "colour" — add it under attributes, or map it at an identity provider`,
		`c.yaml:44:1: there is another rule of app with the id "r21"`,
		`c.yaml:45:1: the rule of app has no id`,
		`c.yaml:50:1: there is another service with the id "app"`,
	} {
		i := slices.IndexFunc(got, func(s string) bool { return strings.HasPrefix(s, want) })
		if i < 0 {
			t.Errorf("not told: %s", want)
			continue
		}
		got = slices.Delete(got, i, i+1)
	}
	if len(got) > 0 {
		t.Errorf("told without need:\n%s", strings.Join(got, "\n"))
	}
}

// What is right is not called wrong.
func TestARightPolicyHasNoMistakes(t *testing.T) {
	t.Parallel()
	_, mistakes := authz.Compile(
		[]authz.Role{{ID: "finance", From: []authz.Match{{IdentityProviders: []string{"campus"}, Groups: []string{"fin"}}, {When: `user.store == "partners"`}}}, {ID: "granted"}},
		[]authz.ServiceRules{{ID: "payroll", Rules: []authz.Rule{
			{ID: "finance", Methods: []string{"GET", "PROPFIND", "M-SEARCH"}, Paths: []string{"/", "/*", "/a", "/a/", "/a b/*", "/50%"},
				Allow: &authz.Match{Roles: []string{"finance", "granted"}, ACR: []string{"mfa"}, Users: []string{"kim", "partners/lee"}}},
			{ID: "not-from-outside", Deny: &authz.Match{When: `!net(request.from, "10.0.0.0/8") && request.method != "GET"`}},
			{ID: "public", Allow: &authz.Match{Anyone: true, Networks: []netip.Prefix{netip.MustParsePrefix("10.1.2.3/8")}}},
			{ID: "guests", Allow: &authz.Match{Anyone: true, When: `user.id == ""`}},
		}}, {ID: "empty"}},
		authz.Known{IdentityProviders: []string{"campus"}, UserStores: []string{"primary", "partners"}})
	if mistakes != nil {
		t.Error(mistakes)
	}
}

func TestTheFirstUserStoreNeedsNoName(t *testing.T) {
	t.Parallel()
	p, mistakes := authz.Compile(nil, []authz.ServiceRules{{ID: "app", Rules: []authz.Rule{
		{ID: "a", Allow: &authz.Match{Users: []string{"kim"}}},
		{ID: "b", Allow: &authz.Match{When: `user.user_name in ["lee", "other/lea", "staff/o/x"]`}},
	}}}, authz.Known{UserStores: []string{"staff", "other"}})
	if mistakes != nil {
		t.Fatal(mistakes)
	}
	for name, want := range map[[2]string]authz.Outcome{
		{"staff", "kim"}: authz.Allow, {"staff", "KIM"}: authz.Allow, {"other", "kim"}: authz.Deny, {"primary", "kim"}: authz.Deny, {"", "kim"}: authz.Deny,
		{"staff", "lee"}: authz.Allow, {"other", "lee"}: authz.Deny, {"other", "lea"}: authz.Allow, {"staff", "other/lea"}: authz.Deny, {"staff", "o/x"}: authz.Allow,
	} {
		s := person()
		s.Store, s.UserName = name[0], name[1]
		if d := p.Decide(get(s)); d.Outcome != want {
			t.Errorf("%v: %s", name, spell(d))
		}
	}
}

func TestZ08_AnExpressionWithoutEndDeniesAndEnds(t *testing.T) {
	t.Parallel()
	all := "user.groups"
	costly := all + ".all(a, " + all + ".all(b, " + all + ".all(c, a + b + c != request.path)))"
	s := person()
	for i := range 300 {
		s.Groups = append(s.Groups, strings.Repeat("x", i))
	}
	p := rules(t, nil, allow(authz.Match{When: costly}))
	d := check(t, p, get(s), authz.Deny, authz.ReasonNoRule)
	if !strings.Contains(d.Reasons[0].Err, "cost limit") {
		t.Errorf("%+v", d.Reasons[0])
	}
	check(t, rules(t, nil, allow(authz.Match{SignedIn: true}), deny(authz.Match{When: "!(" + costly + ")"})), get(s), authz.Deny, authz.ReasonDenied)
	check(t, p, get(person("g")), authz.Allow, "") // the same policy goes on
}
