package authz_test

import (
	"bytes"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/gatehouse-sso/gatehouse/authz"
	"github.com/gatehouse-sso/gatehouse/authz/expr"
)

func releases(t testing.TB, rules ...authz.ReleaseRule) *authz.ReleasePolicy {
	t.Helper()
	p, mistakes := authz.CompileRelease(map[string][]authz.ReleaseRule{"service:app": rules}, authz.Known{UserStores: []string{"primary", "partners"}})
	if mistakes != nil {
		t.Fatal(mistakes)
	}
	return p
}

func kim() authz.Subject {
	return authz.Subject{
		ID: "0192-kim", Store: "partners", UserName: "kim", Active: true, Groups: []string{"wiki-write", "board"}, Roles: []string{"finance", "staff"},
		Attributes: map[string][]string{
			"mail": {"Kim@Partner.example", "k@x.example"}, "groups": {"wiki-read", "fin", "wiki-write"}, "display_name": {"Kim"},
			"empty": {}, "secret": {"hunter2"}, "id": {"not mine"}, "level": {"3", "x"},
		},
		Provider: "campus", ACR: "mfa",
	}
}

// sent writes a release in one line.
func sent(r authz.Release) string {
	var b strings.Builder
	for _, s := range r.Sent {
		fmt.Fprintf(&b, "%s=%s ", s.Name, strings.Join(s.Values, ","))
	}
	return strings.TrimSpace(b.String())
}

func TestReleaseRules(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		rule authz.ReleaseRule
		want string
		back int
		why  string
	}{
		{authz.ReleaseRule{Attribute: "mail"}, "mail=Kim@Partner.example,k@x.example", 0, ""},
		{authz.ReleaseRule{Attribute: "mail", As: "email"}, "email=Kim@Partner.example,k@x.example", 0, ""},
		{authz.ReleaseRule{Attribute: "groups"}, "groups=board,fin,wiki-read,wiki-write", 0, ""},
		{authz.ReleaseRule{Attribute: "groups", Values: []string{"wiki-*"}}, "groups=wiki-read,wiki-write", 2, authz.WhyFiltered},
		{authz.ReleaseRule{Attribute: "groups", Values: []string{"fin", "*-read"}}, "groups=fin,wiki-read", 2, authz.WhyFiltered},
		{authz.ReleaseRule{Attribute: "groups", Values: []string{"wiki"}}, "", 4, authz.WhyFiltered},
		{authz.ReleaseRule{Attribute: "groups", Values: []string{}, When: `true || user.active`}, "", 0, "mistake"},
		{authz.ReleaseRule{Attribute: "mail", Transform: "value.lowerAscii()"}, "mail=kim@partner.example,k@x.example", 0, ""},
		{authz.ReleaseRule{Attribute: "mail", Transform: "first(values).lowerAscii()"}, "mail=kim@partner.example", 0, ""},
		{authz.ReleaseRule{Attribute: "mail", Transform: `value.split("@")[1]`, Values: []string{"*.example"}}, "mail=Partner.example,x.example", 0, ""},
		{authz.ReleaseRule{Attribute: "groups", Transform: `value.split("-")[0]`}, "groups=board,fin,wiki", 0, ""},
		{authz.ReleaseRule{Attribute: "groups", Transform: `values.filter(v, v.startsWith("z"))`}, "", 4, authz.WhyEmptied},
		{authz.ReleaseRule{Attribute: "mail", Transform: `one(values)`}, "", 2, authz.WhyTransform},
		{authz.ReleaseRule{Attribute: "level", Transform: `string(int(value))`}, "", 2, authz.WhyTransform}, // one of two can not
		{authz.ReleaseRule{Attribute: "level", Transform: `string(int(value) + 1)`, Values: []string{"3"}}, "level=4", 1, authz.WhyFiltered},
		{authz.ReleaseRule{Attribute: "mail", When: `"finance" in user.roles`}, "mail=Kim@Partner.example,k@x.example", 0, ""},
		{authz.ReleaseRule{Attribute: "mail", When: `login.acr == "mfa" && user.store == "partners"`}, "mail=Kim@Partner.example,k@x.example", 0, ""},
		{authz.ReleaseRule{Attribute: "mail", When: `"nothing" in user.roles`}, "", 2, authz.WhyWhen},
		{authz.ReleaseRule{Attribute: "mail", When: `user.attributes.consent[0] == "yes"`}, "", 2, authz.WhyWhenErr},
		{authz.ReleaseRule{Attribute: "mail", When: `!(user.attributes.consent[0] == "no")`}, "", 2, authz.WhyWhenErr},
		{authz.ReleaseRule{Attribute: "empty"}, "", 0, authz.WhyNone},
		{authz.ReleaseRule{Attribute: "phone"}, "", 0, authz.WhyNone},
		{authz.ReleaseRule{Attribute: "id"}, "id=0192-kim", 0, ""}, // never the attribute of that name
		{authz.ReleaseRule{Attribute: "user_name"}, "user_name=partners/kim", 0, ""},
		{authz.ReleaseRule{Attribute: "user_store"}, "user_store=partners", 0, ""},
		{authz.ReleaseRule{Attribute: "roles"}, "roles=finance,staff", 0, ""},
		{authz.ReleaseRule{Attribute: "acr"}, "acr=mfa", 0, ""},
		{authz.ReleaseRule{Attribute: "identity_provider"}, "identity_provider=campus", 0, ""},
		{authz.ReleaseRule{Attribute: "pairwise_id"}, "", 1, authz.WhyNoKey},
	} {
		p, mistakes := authz.CompileRelease(map[string][]authz.ReleaseRule{"service:app": {c.rule}}, authz.Known{UserStores: []string{"primary", "partners"}})
		if (mistakes != nil) != (c.why == "mistake") {
			t.Errorf("%+v: %v", c.rule, mistakes)
		}
		if mistakes != nil {
			continue
		}
		r := p.Release("service:app", kim())
		if sent(r) != c.want {
			t.Errorf("%+v: sent %q, want %q", c.rule, sent(r), c.want)
		}
		var back authz.Withheld
		if i := slices.IndexFunc(r.Withheld, func(w authz.Withheld) bool { return w.Attribute == c.rule.Attribute }); i >= 0 {
			back = r.Withheld[i]
		}
		if back.Values != c.back || back.Why != c.why {
			t.Errorf("%+v: withheld %+v, want %d %q", c.rule, back, c.back, c.why)
		}
	}
}

func TestNothingIsReleasedByDefault(t *testing.T) {
	t.Parallel()
	if r := releases(t, authz.ReleaseRule{Attribute: "mail"}).Release("service:app", kim()); len(r.Sent) != 1 {
		t.Fatal("the control is not released", r)
	}
	for name, r := range map[string]authz.Release{
		"nil":                 (*authz.ReleasePolicy)(nil).Release("service:app", kim()),
		"zero":                (&authz.ReleasePolicy{}).Release("service:app", kim()),
		"no rules":            releases(t).Release("service:app", kim()),
		"another recipient":   releases(t, authz.ReleaseRule{Attribute: "mail"}).Release("service:other", kim()),
		"target, not service": releases(t, authz.ReleaseRule{Attribute: "mail"}).Release("target:app", kim()),
	} {
		if len(r.Sent) != 0 {
			t.Errorf("%s: %v", name, r.Sent)
		}
		var names []string
		for _, w := range r.Withheld {
			names = append(names, w.Attribute)
			if w.Why != authz.WhyNoRule || w.Values == 0 {
				t.Errorf("%s: %+v", name, w)
			}
		}
		if want := []string{"display_name", "groups", "id", "level", "mail", "secret"}; !slices.Equal(names, want) {
			t.Errorf("%s: withheld %v, want %v", name, names, want)
		}
	}
	nobody := kim()
	nobody.ID = ""
	if r := releases(t, authz.ReleaseRule{Attribute: "mail"}, authz.ReleaseRule{Attribute: "groups"}).Release("service:app", nobody); len(r.Sent) != 0 {
		t.Errorf("nobody: %v", r)
	}
}

func TestWhatARecipientCanNotDoWithout(t *testing.T) {
	t.Parallel()
	p := releases(t, authz.ReleaseRule{Attribute: "mail", Required: true}, authz.ReleaseRule{Attribute: "phone", Required: true},
		authz.ReleaseRule{Attribute: "fax"}, authz.ReleaseRule{Attribute: "groups", Values: []string{"fin"}, Required: true})
	if got := p.Release("service:app", kim()).Missing(); !slices.Equal(got, []string{"phone"}) {
		t.Errorf("missing %v", got)
	}
}

// A service is told no other name of somebody than its rules let out.
func TestTheNameOfAPersonGoesNoFurtherThanTheRelease(t *testing.T) {
	t.Parallel()
	mail, pairwise := authz.ReleaseRule{Attribute: "mail"}, authz.ReleaseRule{Attribute: "pairwise_id"}
	for name, c := range map[string]struct {
		rules []authz.ReleaseRule
		want  authz.Naming
	}{
		"nothing":                      {nil, authz.Unnamed},
		"what many share":              {[]authz.ReleaseRule{{Attribute: "groups"}, {Attribute: "display_name"}}, authz.Unnamed},
		"a name":                       {[]authz.ReleaseRule{mail}, authz.Named},
		"under another name":           {[]authz.ReleaseRule{{Attribute: "user_name", As: "login"}}, authz.Named},
		"what is left of a name":       {[]authz.ReleaseRule{{Attribute: "mail", Transform: `value.split("@")[1]`}}, authz.Unnamed},
		"a name kept back":             {[]authz.ReleaseRule{{Attribute: "mail", Values: []string{"*@elsewhere"}}}, authz.Unnamed},
		"a name that nobody else has":  {[]authz.ReleaseRule{pairwise}, authz.Pairwise},
		"that one beside a name":       {[]authz.ReleaseRule{mail, pairwise}, authz.Pairwise},
		"that one kept back":           {[]authz.ReleaseRule{mail, {Attribute: "pairwise_id", NeedsBasis: true}}, authz.Unnamed},
		"a name they do not have":      {[]authz.ReleaseRule{{Attribute: "orcid"}}, authz.Unnamed},
		"a name without their consent": {[]authz.ReleaseRule{{Attribute: "mail", Basis: authz.BasisConsent}}, authz.Unnamed},
	} {
		p := releases(t, c.rules...).With([]byte("0123456789abcdef"))
		if got := p.Release("service:app", kim()).Naming; got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
		program := authz.Subject{ID: "caller:x", Caller: "x"}
		if got := p.Release("service:app", program).Naming; got != authz.Named {
			t.Errorf("%s: a program is %s", name, got)
		}
		if got := p.Release("service:app", authz.Subject{}).Naming; got != authz.Unnamed {
			t.Errorf("%s: nobody is %s", name, got)
		}
	}
	named, not := releases(t, mail).Release("service:app", kim()), releases(t, authz.ReleaseRule{Attribute: "mail", Transform: `value.split("@")[1]`}).Release("service:app", kim())
	if diff := authz.Compare(named, not); !slices.Contains(diff, authz.Difference{Name: "sub", What: authz.Changes}) {
		t.Errorf("that sub changes is not told: %v", diff)
	}
}

func TestPairwiseIDsDifferForEveryRecipientAndPerson(t *testing.T) {
	t.Parallel()
	rules := []authz.ReleaseRule{{Attribute: "pairwise_id"}}
	plain, mistakes := authz.CompileRelease(map[string][]authz.ReleaseRule{"service:a": rules, "service:b": rules})
	if mistakes != nil {
		t.Fatal(mistakes)
	}
	key := []byte("0123456789abcdef")
	p := plain.With(key)
	key[0] = 'x' // the caller's key is the caller's
	if p.PairwiseID("service:a", "u1") != plain.With([]byte("0123456789abcdef")).PairwiseID("service:a", "u1") {
		t.Error("not stable")
	}
	seen := map[string]string{}
	for _, to := range []string{"service:a", "service:b", "service:", "service:au"} {
		for _, id := range []string{"u1", "u2", "1", "bu1"} {
			got := p.PairwiseID(to, id)
			if !regexp.MustCompile(`^[0-9a-f]{64}$`).MatchString(got) {
				t.Errorf("%q", got)
			}
			if seen[got] != "" {
				t.Errorf("%s/%s is also %s", to, id, seen[got])
			}
			seen[got] = to + "/" + id
			if got == plain.With([]byte("another key, long enough")).PairwiseID(to, id) {
				t.Error("the key makes no difference")
			}
		}
	}
	s := person()
	if a, b := p.Release("service:a", s), p.Release("service:b", s); sent(a) == sent(b) || sent(a) != "pairwise_id="+p.PairwiseID("service:a", s.ID) {
		t.Errorf("%s, %s", sent(a), sent(b))
	}
	for name, got := range map[string]string{"no key": plain.PairwiseID("a", "u"), "short key": plain.With([]byte("short")).PairwiseID("a", "u"), "nobody": p.PairwiseID("a", "")} {
		if got != "" {
			t.Errorf("%s: %s", name, got)
		}
	}
}

func TestReleaseMistakesAreToldAtOnce(t *testing.T) {
	t.Parallel()
	p, mistakes := authz.CompileRelease(map[string][]authz.ReleaseRule{
		"service:b": {{Attribute: "mail", Pos: "p:1"}, {Attribute: "email", As: "Mail", Pos: "p:2"}},
		"service:a": {
			{Attribute: "", Pos: "p:3"}, {Attribute: "a", Transform: "valeu", Pos: "p:4"}, {Attribute: "b", When: "user.id", Pos: "p:5"},
			{Attribute: "c", When: `request.path == "/"`, Pos: "p:6"}, {Attribute: "d", Transform: `"x"`, Pos: "p:7"}, {Attribute: "e", Values: []string{""}, Pos: "p:8"},
			{Attribute: "f", Transform: "value.size()", Pos: "p:9"}, {Attribute: "g", Transform: "user.id", Pos: "p:10"},
		},
	})
	if p != nil {
		t.Error("a policy with mistakes can be used")
	}
	want := []string{
		`p:3: release of "" to service:a: that is no attribute`, `p:4: release of "a" to service:a: transform: line 1, column 1: there is no variable or function "valeu" here — did you mean "value"?`,
		`p:5: release of "b" to service:a: when: line 1, column 5: a condition must be true or false`, `p:6: release of "c" to service:a: when reads request`,
		`p:7: release of "d" to service:a: transform is the same for everybody`, `p:8: release of "e" to service:a: values has ""`,
		`p:9: release of "f" to service:a: transform: line 1, column 11: a transform must give a text`, `p:10: release of "g" to service:a: transform: line 1, column 1: there is no variable or function "user" here`,
		`p:2: release to service:b: two attributes are called "mail"`,
	}
	for i, m := range mistakes {
		if i >= len(want) || !strings.HasPrefix(m.String(), want[i]) {
			t.Errorf("mistake %d: %s", i, m)
		}
	}
	if len(mistakes) != len(want) {
		t.Errorf("%d mistakes, want %d", len(mistakes), len(want))
	}
}

// Whatever the rules are, nothing goes out that no rule lets out: no value
// outside of a filter, nothing of an attribute that is not named, nothing of a
// rule whose expressions fail; and always the same.
func TestOnlyWhatTheRulesLetOutIsEverSent(t *testing.T) {
	t.Parallel()
	sends := 0
	times(t, func(t *rapid.T) {
		values := rapid.SliceOfN(rapid.StringMatching(`[a-c*-]{0,3}`), 0, 5)
		s := authz.Subject{ID: "u", Active: true, Attributes: map[string][]string{}}
		for _, a := range []string{"a", "b", "c", "groups"} {
			s.Attributes[a] = values.Draw(t, a)
		}
		s.Attributes["canary"] = []string{"CANARY"}
		s.Groups = values.Draw(t, "own groups")
		var rules []authz.ReleaseRule
		for _, a := range rapid.SliceOfDistinct(rapid.SampledFrom([]string{"a", "b", "c", "groups"}), rapid.ID[string]).Draw(t, "attributes") {
			r := authz.ReleaseRule{Attribute: a}
			if rapid.Bool().Draw(t, "filtered") {
				r.Values = rapid.SliceOfN(rapid.StringMatching(`[a-c*-]{1,3}`), 1, 3).Draw(t, "filter")
			}
			r.When = rapid.SampledFrom([]string{"", "", `user.id == "u"`, `user.id == "x"`, `user.attributes.none[0] != "x"`, `one(user.attributes.canary) == "CANARY"`}).Draw(t, "when")
			r.Transform = rapid.SampledFrom([]string{"", "", "", `"<" + value + ">"`, `one(values)`, `values`}).Draw(t, "transform")
			rules = append(rules, r)
		}
		p, mistakes := authz.CompileRelease(map[string][]authz.ReleaseRule{"service:app": rules})
		if mistakes != nil {
			t.Fatal(mistakes)
		}
		before := fmt.Sprint(s)
		out := p.Release("service:app", s)
		if fmt.Sprint(s) != before {
			t.Fatal("the subject was changed")
		}
		other := s
		other.Attributes = maps.Clone(s.Attributes)
		if diff := cmp.Diff(out, p.Release("service:app", other)); diff != "" {
			t.Fatalf("not the same twice: %s", diff)
		}
		if bytes.Contains(fmt.Append(nil, out), []byte("CANARY")) {
			t.Fatalf("the canary is out: %+v", out)
		}
		last := -1
		for _, sent := range out.Sent {
			sends++
			i := slices.IndexFunc(rules, func(r authz.ReleaseRule) bool { return r.Attribute == sent.Attribute })
			if i <= last {
				t.Fatalf("sent without a rule, or out of order: %+v", sent)
			}
			last = i
			r := rules[i]
			if len(sent.Values) == 0 || r.When == `user.id == "x"` || strings.Contains(r.When, "none") {
				t.Fatalf("sent though its condition does not hold: %+v", sent)
			}
			have := append(slices.Clone(s.Attributes[sent.Attribute]), map[bool][]string{true: s.Groups}[sent.Attribute == "groups"]...)
			for j, v := range sent.Values {
				if slices.Contains(sent.Values[:j], v) {
					t.Fatalf("sent twice: %+v", sent)
				}
				if strings.HasPrefix(r.Transform, `"<"`) {
					v = strings.TrimSuffix(strings.TrimPrefix(v, "<"), ">")
				}
				if v == "" || !slices.Contains(have, v) {
					t.Fatalf("%q is not theirs: %v", v, have)
				}
				if r.Values != nil && !slices.ContainsFunc(r.Values, func(g string) bool { return expr.Glob(v, g) }) {
					t.Fatalf("%q is outside of the filter %q", v, r.Values)
				}
			}
		}
	})
	if sends == 0 {
		t.Error("nothing was ever sent: the property shows nothing")
	}
}

// Where a recipient takes nothing without a legal basis, a value without one does
// not go there; with one it does.
func TestNothingGoesWithoutABasisWhereOneIsRequired(t *testing.T) {
	t.Parallel()
	for _, r := range []authz.ReleaseRule{{}, {NeedsBasis: true}, {Basis: "contract"}, {NeedsBasis: true, Basis: "contract"}} {
		r.Attribute = "mail"
		rel := releases(t, r).Release("service:app", kim())
		goes := !r.NeedsBasis || r.Basis != ""
		if (len(rel.Sent) == 1) != goes {
			t.Errorf("needs a basis %t, has %q: sent %v", r.NeedsBasis, r.Basis, rel.Sent)
		}
		if !goes && rel.Withheld[0].Why != authz.WhyNoBasis {
			t.Errorf("withheld because %s", rel.Withheld[0].Why)
		}
	}
}
