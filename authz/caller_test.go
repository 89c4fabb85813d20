package authz

import (
	"strings"
	"testing"
)

// A program is let in by a rule that names it, and by no rule about people.
func TestProgramsPassOnlyByRulesThatNameThem(t *testing.T) {
	t.Parallel()
	ci := Subject{ID: "caller:token/ci", Store: "caller:token", UserName: "ci", Active: true, Caller: "token:ci", Attributes: map[string][]string{"groups": {"admins"}, "repo": {"uni/x"}}}
	kim := Subject{ID: "1", Store: "primary", UserName: "kim", Active: true, Attributes: map[string][]string{"groups": {"admins"}, "repo": {"uni/x"}}}
	roles := []Role{{ID: "admin", From: []Match{{Groups: []string{"admins"}}}}}
	for _, c := range []struct {
		name            string
		rules           []Rule
		ci, kim, nobody string
	}{
		{"signed in", []Rule{{ID: "a", Allow: &Match{SignedIn: true}}}, "access.no_rule", "allow", "access.login"},
		{"groups", []Rule{{ID: "a", Allow: &Match{Groups: []string{"admins"}}}}, "access.no_rule", "allow", "access.login"},
		{"roles", []Rule{{ID: "a", Allow: &Match{Roles: []string{"admin"}}}}, "access.no_rule", "allow", "access.login"},
		{"attributes", []Rule{{ID: "a", Allow: &Match{Attributes: map[string][]string{"repo": {"uni/x"}}}}}, "access.no_rule", "allow", "access.login"},
		{"networks of people", []Rule{{ID: "a", Allow: &Match{When: `request.method == "GET"`}}}, "access.no_rule", "allow", "access.login"},
		{"by acr", []Rule{{ID: "a", Allow: &Match{ACR: []string{"x"}}}}, "access.no_rule", "access.step_up", "access.login"},
		{"anyone", []Rule{{ID: "a", Allow: &Match{Anyone: true}}}, "allow", "allow", "allow"},
		{"its name", []Rule{{ID: "a", Allow: &Match{Callers: []string{"token:ci"}}}}, "allow", "access.no_rule", "access.no_rule"},
		{"any token", []Rule{{ID: "a", Allow: &Match{Callers: []string{"token:*"}}}}, "allow", "access.no_rule", "access.no_rule"},
		{"any program", []Rule{{ID: "a", Allow: &Match{Callers: []string{"*"}}}}, "allow", "access.no_rule", "access.no_rule"},
		{"another name", []Rule{{ID: "a", Allow: &Match{Callers: []string{"token:cd", "ci"}}}}, "access.no_rule", "access.no_rule", "access.no_rule"},
		{"name and attribute", []Rule{{ID: "a", Allow: &Match{Callers: []string{"*"}, Attributes: map[string][]string{"repo": {"uni/x"}}}}}, "allow", "access.no_rule", "access.no_rule"},
		{"name and another attribute", []Rule{{ID: "a", Allow: &Match{Callers: []string{"*"}, Attributes: map[string][]string{"repo": {"uni/y"}}}}}, "access.no_rule", "access.no_rule", "access.no_rule"},
		{"name and network", []Rule{{ID: "a", Allow: &Match{Callers: []string{"*"}, When: `net(request.from, "10.0.0.0/8")`}}}, "access.no_rule", "access.no_rule", "access.no_rule"},
		{"denied by name", []Rule{{ID: "a", Allow: &Match{Anyone: true}}, {ID: "d", Deny: &Match{Callers: []string{"token:*"}}}}, "access.denied_by_rule", "allow", "allow"},
		{"denied by what is not known", []Rule{{ID: "a", Allow: &Match{Callers: []string{"*"}}}, {ID: "b", Allow: &Match{SignedIn: true}}, {ID: "d", Deny: &Match{When: `user.attributes.dept[0] != "fin"`}}}, "access.denied_by_rule", "access.denied_by_rule", "access.login"},
	} {
		p, mistakes := Compile(roles, []ServiceRules{{ID: "s", Rules: c.rules}})
		if mistakes != nil {
			t.Fatalf("%s: %v", c.name, mistakes)
		}
		for _, who := range []struct {
			name string
			s    Subject
			want string
		}{{"ci", ci, c.ci}, {"kim", kim, c.kim}, {"nobody", Subject{}, c.nobody}} {
			d := p.Decide(Request{Subject: p.Roles(who.s), Service: "s", Method: "GET", Path: "/"})
			got := d.Code
			if d.Outcome == Allow {
				got = "allow"
			}
			if got != who.want {
				t.Errorf("%s: %s gets %s, want %s: %+v", c.name, who.name, got, who.want, d.Reasons)
			}
		}
	}
}

// What a program is called can not be mistaken for a person's name.
func TestNoPersonIsCalledLikeAProgram(t *testing.T) {
	t.Parallel()
	p, _ := CompileRelease(map[string][]ReleaseRule{"service:s": {{Attribute: "user_name"}}}, Known{UserStores: []string{"primary"}})
	name := func(s Subject) string { return p.Release("service:s", s).Sent[0].Values[0] }
	ci := name(Subject{ID: "caller:token/ci", Store: "caller:token", UserName: "ci", Caller: "token:ci"})
	if ci != "caller:token/ci" {
		t.Errorf("the program is called %s", ci)
	}
	for _, s := range []Subject{{ID: "1", Store: "primary", UserName: ci}, {ID: "1", Store: "primary", UserName: "ci"}, {ID: "1", Store: "token", UserName: "ci"}} {
		if name(s) == ci {
			t.Errorf("%+v is called so too", s)
		}
	}
}

func TestARuleIsAboutPeopleOrPrograms(t *testing.T) {
	t.Parallel()
	both := func(m Match) string {
		m.Callers = []string{"token:ci"}
		_, mistakes := Compile([]Role{{ID: "r"}}, []ServiceRules{{ID: "s", Rules: []Rule{{ID: "a", Allow: &m}}}})
		if len(mistakes) == 0 {
			return ""
		}
		return mistakes[0].Text
	}
	if got := both(Match{}); got != "" {
		t.Errorf("callers alone: %s", got)
	}
	for name, m := range map[string]Match{"anyone": {Anyone: true}, "signed_in": {SignedIn: true}, "roles": {Roles: []string{"r"}}, "users": {Users: []string{"kim"}}, "acr": {ACR: []string{"x"}}} {
		if got := both(m); !strings.Contains(got, "callers") || !strings.Contains(got, name) {
			t.Errorf("%s beside callers: %q", name, got)
		}
	}
	if _, mistakes := Compile([]Role{{ID: "r", From: []Match{{Callers: []string{"token:ci"}}}}}, nil); len(mistakes) == 0 {
		t.Error("a role of programs was taken")
	}
}
