package authz

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/gatehouse-sso/gatehouse/authz/expr"
)

// A Change is from one release policy to another, made ready to be asked about many
// people. It says what Compare says of their releases, for less: a rule that both
// policies have sends the same by both, so it is not evaluated; one that several
// recipients have is evaluated once for a person; and recipients whose rules change
// alike are compared once. It never changes, so it may be used by many goroutines.
type Change struct {
	rules []changing
	pairs []pair
}

// A changing rule is one that is evaluated.
type changing struct {
	releaseRule
	of  *ReleasePolicy
	to  string // a recipient that has it: the only one, where that makes a difference
	key string // the same for rules that send the same
}

// A pair is what some recipients have by both policies, less what can make no
// difference.
type pair struct {
	to      []string
	was, is side
}

// A side of a pair: its rules, and their places among those of the Change.
type side struct {
	rules []releaseRule
	at    []int
}

// NewChange compares two policies at some recipients.
func NewChange(was, is *ReleasePolicy, recipients []string) *Change {
	c := &Change{}
	alike := was != nil && is != nil && was.first == is.first && bytes.Equal(was.key, is.key)
	places, pairs := map[string]int{}, map[string]int{}
	for _, to := range recipients {
		a, b := was.changing(to, true), is.changing(to, alike)
		// How somebody is named follows from all rules that could name them.
		named := slices.ContainsFunc(slices.Concat(only(a, b), only(b, a)), func(r changing) bool { return r.names() })
		p := pair{[]string{to}, c.side(a, b, named, places), c.side(b, a, named, places)}
		same := fmt.Sprint(p.was.at, p.is.at) // rules of targets have places of their own
		if i, ok := pairs[same]; ok {
			c.pairs[i].to = append(c.pairs[i].to, to)
			continue
		}
		pairs[same] = len(c.pairs)
		c.pairs = append(c.pairs, p)
	}
	return c
}

// changing are the rules of a recipient with their keys. Of policies that are not
// alike, those of the second have other keys than those of the first.
func (p *ReleasePolicy) changing(to string, first bool) (list []changing) {
	if p == nil {
		return nil
	}
	for _, r := range p.by[to] {
		at := fmt.Sprint(isTarget(to))
		if r.Attribute == "pairwise_id" || r.Basis == BasisConsent {
			at = to
		}
		key := fmt.Sprintf("%t %q %q %q %q %q %t %q %t %t", first, at, r.Attribute, r.As, r.When, r.Transform, r.Values == nil, r.Values, r.Basis == BasisConsent, r.NeedsBasis && r.Basis == "")
		list = append(list, changing{r, p, to, key})
	}
	return list
}

// only are the rules of a list that the other list has not.
func only(list, other []changing) (out []changing) {
	for _, r := range list {
		if !slices.ContainsFunc(other, func(o changing) bool { return o.key == r.key }) {
			out = append(out, r)
		}
	}
	return out
}

// side makes a side of the rules that the other has not and, where it is asked how
// people are named, of all that name them.
func (c *Change) side(list, other []changing, named bool, places map[string]int) (s side) {
	differ := only(list, other)
	for _, r := range list {
		if !(named && r.names()) && !slices.ContainsFunc(differ, func(d changing) bool { return d.key == r.key }) {
			continue
		}
		at, ok := places[r.key]
		if !ok {
			at = len(c.rules)
			places[r.key] = at
			c.rules = append(c.rules, r)
		}
		s.rules, s.at = append(s.rules, r.releaseRule), append(s.at, at)
	}
	return s
}

// Each gives, for one person, what differs at which recipients, also where nothing
// does. It is given each recipient once.
func (c *Change) Each(s Subject, fn func(to []string, diff []Difference)) {
	if s.ID == "" {
		s = Subject{}
	}
	a := asked{Change: c, s: s, bare: s.SignedOut(), sent: make([]*[]string, len(c.rules)), vars: make(map[reader]*expr.Vars, 2)}
	for i := range c.pairs {
		p := &c.pairs[i]
		target := isTarget(p.to[0])
		fn(p.to, Compare(a.release(p.was, target), a.release(p.is, target)))
	}
}

// asked is a Change that is asked about one person.
type asked struct {
	*Change
	s, bare Subject
	sent    []*[]string // by rule; nil: not known yet
	vars    map[reader]*expr.Vars
}

// A reader reads a person: a policy, for a service or for a target.
type reader struct {
	policy *ReleasePolicy
	target bool
}

// release is a Release as far as Compare reads it.
func (a *asked) release(s side, target bool) (out Release) {
	for i, at := range s.at {
		if values := a.values(at, target); len(values) > 0 {
			out.Sent = append(out.Sent, Released{Attribute: s.rules[i].Attribute, Name: s.rules[i].As, Values: values})
		}
	}
	if !target {
		out.Naming = naming(s.rules, out, a.s)
	}
	return out
}

// values are what a rule sends.
func (a *asked) values(at int, target bool) []string {
	if a.sent[at] != nil {
		return *a.sent[at]
	}
	r, s := &a.rules[at], &a.s
	if target {
		s = &a.bare
	}
	by := reader{r.of, target}
	if r.when != nil && a.vars[by] == nil {
		a.vars[by] = variables(*s, r.of.first)
	}
	values, _, _ := r.releaseRule.values(r.of, r.to, *s, a.vars[by])
	a.sent[at] = &values
	return values
}
