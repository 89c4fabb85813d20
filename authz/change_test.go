package authz_test

import (
	"cmp"
	"fmt"
	"slices"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/gatehouse-sso/gatehouse/authz"
)

var (
	pairwiseKey = []byte("0123456789abcdef")
	recipients  = []string{"service:one", "service:two", "service:three", "target:one", "target:two"}
)

func compileRelease(t rapid.TB, by map[string][]authz.ReleaseRule, key []byte, stores ...string) *authz.ReleasePolicy {
	p, mistakes := authz.CompileRelease(by, authz.Known{UserStores: stores})
	if mistakes != nil {
		t.Fatal(mistakes)
	}
	return p.With(key)
}

// nameOf is what the recipient calls an attribute.
func nameOf(r authz.ReleaseRule) string { return cmp.Or(r.As, r.Attribute) }

// agree: a change says of somebody what comparing whole releases says, of each
// recipient once.
func agree(t rapid.TB, was, is *authz.ReleasePolicy, s authz.Subject) {
	before, seen := fmt.Sprint(s), map[string]bool{}
	authz.NewChange(was, is, recipients).Each(s, func(to []string, diff []authz.Difference) {
		for _, to := range to {
			if seen[to] {
				t.Fatalf("%s is compared twice", to)
			}
			seen[to] = true
			if d := gocmp.Diff(authz.Compare(was.Release(to, s), is.Release(to, s)), diff, cmpopts.EquateEmpty()); d != "" {
				t.Fatalf("%s (-whole +change):\n%s", to, d)
			}
		}
	})
	if len(seen) != len(recipients) {
		t.Fatalf("compared at %v", seen)
	}
	if fmt.Sprint(s) != before {
		t.Fatal("the subject was changed")
	}
}

// Whatever two policies say, and whoever is asked about.
func TestAChangeSaysWhatWholeReleasesSay(t *testing.T) {
	t.Parallel()
	one := func(t *rapid.T, label string, from ...string) string { return rapid.SampledFrom(from).Draw(t, label) }
	// The vocabulary is small, so that rules stay, move, and are shared.
	rule := rapid.Custom(func(t *rapid.T) authz.ReleaseRule {
		r := authz.ReleaseRule{
			Attribute: one(t, "attribute", "user_name", "mail", "dept", "pairwise_id", "groups", "acr"),
			As:        one(t, "as", "", "", "", "first", "sub"),
			When:      one(t, "when", "", "", `"g1" in user.groups`, `login.acr == "mfa"`, `one(user.attributes.none) == "x"`),
			Transform: one(t, "transform", "", "", "value.lowerAscii()", "one(values)"),
			Basis:     one(t, "basis", "", "", "contract", "consent"), NeedsBasis: rapid.Bool().Draw(t, "needs a basis"),
			Purpose: one(t, "purpose", "", "another"),
		}
		if rapid.Bool().Draw(t, "filtered") {
			r.Values = []string{one(t, "value", "g1", "*@*", "A*")}
		}
		return r
	})
	policy := func(t *rapid.T) map[string][]authz.ReleaseRule {
		p := map[string][]authz.ReleaseRule{}
		for _, to := range recipients {
			p[to] = rapid.SliceOfNDistinct(rule, 0, 4, nameOf).Draw(t, to)
		}
		return p
	}
	times(t, func(t *rapid.T) {
		a := policy(t)
		b := map[string][]authz.ReleaseRule{}
		fresh := policy(t)
		for _, to := range recipients { // most stay as they are, or become another's
			from := rapid.SampledFrom(recipients).Draw(t, "like")
			b[to] = map[string][]authz.ReleaseRule{"same": a[to], "other": a[from], "fresh": fresh[to], "more": slices.Concat(a[to], fresh[to])}[one(t, "becomes", "same", "other", "fresh", "more")]
			named := map[string]bool{}
			b[to] = slices.DeleteFunc(slices.Clone(b[to]), func(r authz.ReleaseRule) bool {
				again := named[nameOf(r)]
				named[nameOf(r)] = true
				return again
			})
		}
		s := authz.Subject{
			ID: "u", UserName: "Kim", Store: one(t, "store", "primary", "partners"), Active: true, ACR: one(t, "acr", "", "mfa"),
			Attributes: map[string][]string{"mail": {"Kim@x.example"}, "dept": {"A", "b"}}, Groups: words(t, "group", "g1", "g2"),
			Consents: map[string]map[string]string{},
		}
		for _, to := range recipients {
			s.Consents[to] = map[string]string{"mail": one(t, "word", authz.Given, authz.Refused)}
		}
		if maybe(t, "a program") {
			s.Caller = "token:ci"
		}
		if maybe(t, "nobody") {
			s.ID = ""
		}
		was := compileRelease(t, a, pairwiseKey)
		agree(t, was, compileRelease(t, b, pairwiseKey), s)
		agree(t, was, compileRelease(t, b, []byte("another key, as long")), s)
		agree(t, was, compileRelease(t, b, pairwiseKey, "partners", "primary"), s)
		agree(t, nil, was, s)
		agree(t, was, nil, s)
	})
}

// What differs is told, and what names people counts as much as what is sent.
func TestAChangeTellsWhatDiffers(t *testing.T) {
	t.Parallel()
	was := compileRelease(t, map[string][]authz.ReleaseRule{
		"service:one":   {{Attribute: "mail"}, {Attribute: "dept"}},
		"service:two":   {{Attribute: "mail"}, {Attribute: "dept"}},
		"service:three": {{Attribute: "user_name"}, {Attribute: "dept"}},
		"target:one":    {{Attribute: "mail", Basis: "consent"}, {Attribute: "acr"}},
		"target:two":    {{Attribute: "mail", Basis: "consent"}},
	}, pairwiseKey)
	is := compileRelease(t, map[string][]authz.ReleaseRule{
		"service:one":   {{Attribute: "dept", Purpose: "said better"}, {Attribute: "mail", Transform: "value.lowerAscii()"}},
		"service:two":   {{Attribute: "mail", Transform: "value.lowerAscii()"}, {Attribute: "dept"}},
		"service:three": {{Attribute: "dept", As: "department"}, {Attribute: "mail"}, {Attribute: "user_name"}},
		"target:one":    {{Attribute: "mail"}},
		"target:two":    {{Attribute: "mail"}, {Attribute: "user_name"}},
	}, pairwiseKey)
	s := authz.Subject{
		ID: "u", UserName: "kim", Store: "primary", ACR: "mfa", Attributes: map[string][]string{"mail": {"Kim@x.example"}, "dept": {"a"}},
		Consents: map[string]map[string]string{"target:two": {"mail": authz.Given}},
	}
	got := map[string][]authz.Difference{}
	together := 0
	authz.NewChange(was, is, recipients).Each(s, func(to []string, diff []authz.Difference) {
		together = max(together, len(to))
		for _, to := range to {
			got[to] = diff
		}
	})
	lowered := []authz.Difference{{Attribute: "mail", Name: "mail", What: authz.Changes}, {Name: "sub", What: authz.Changes}}
	want := map[string][]authz.Difference{
		"service:one": lowered, "service:two": lowered,
		"service:three": {{Attribute: "dept", Name: "department", What: authz.Gains}, {Attribute: "dept", Name: "dept", What: authz.Loses}, {Attribute: "mail", Name: "mail", What: authz.Gains}},
		"target:one":    {{Attribute: "mail", Name: "mail", What: authz.Gains}},
		"target:two":    {{Attribute: "user_name", Name: "user_name", What: authz.Gains}},
	}
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if together != 2 {
		t.Errorf("%d recipients are compared together, want the two services that change alike", together)
	}
	agree(t, was, is, s)
	// Where policies are not alike, rules that say the same do not send the same.
	named := map[string][]authz.ReleaseRule{"service:one": {{Attribute: "pairwise_id"}, {Attribute: "dept", When: `user.user_name == "kim"`}, {Attribute: "user_name"}}}
	agree(t, compileRelease(t, named, pairwiseKey), compileRelease(t, named, []byte("another key, as long")), s)
	agree(t, compileRelease(t, named, pairwiseKey), compileRelease(t, named, pairwiseKey, "partners", "primary"), s)
}
