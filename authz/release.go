package authz

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/gatehouse-sso/gatehouse/authz/expr"
)

// A ReleaseRule lets one attribute out to one recipient.
type ReleaseRule struct {
	// Attribute of ours, or one of Builtin, which come before attributes of
	// the same name.
	Attribute string
	As        string // what the recipient calls it; empty: the same
	Pos       Pos
	Purpose   string
	Basis     string // in law
	// NeedsBasis: the recipient gets nothing for which Basis is empty.
	NeedsBasis bool
	// Values that may go out, exact or with * for any run of characters; nil:
	// all. They are compared with what we have, before Transform.
	Values []string
	// Transform is an expression over value and values. If it reads value, it
	// is asked once for each value, else once for all.
	Transform string
	// When is a condition over user and login; only if it holds the attribute goes out.
	When     string
	Required bool // the recipient can not do without it
}

// Builtin are the names that a ReleaseRule can give besides attributes.
// "user_name" has the user store before it where that is not the first one,
// "groups" are the directory's own and asserted ones, and "pairwise_id" is a name
// of the person that no other recipient knows.
func Builtin() []string {
	return []string{"acr", "groups", "id", "identity_provider", "pairwise_id", "roles", "user_name", "user_store"}
}

// Why something was withheld.
const (
	WhyNoRule    = "no rule releases it"
	WhyNone      = "the person has none"
	WhyFiltered  = "value filtered"
	WhyWhen      = "its condition does not hold"
	WhyWhenErr   = "its condition could not be evaluated"
	WhyTransform = "transform failed"
	WhyEmptied   = "transform left nothing"
	WhyNoKey     = "there is no key for pairwise identifiers"
	WhyNoConsent = "the person has not agreed to it"
	WhyNoBasis   = "the recipient takes nothing without a legal basis, and none is given"
)

// A ReleasePolicy says who learns what. The zero ReleasePolicy, and nil, release
// nothing. It never changes, so it may be used by many goroutines. What it
// releases depends on the subject alone.
type ReleasePolicy struct {
	by    map[string][]releaseRule
	first string // user store whose names have no prefix
	key   []byte // of pairwise identifiers
}

type releaseRule struct {
	ReleaseRule
	transform, when *expr.Program
	each            bool // transform is asked for each value
}

// CompileRelease makes a ReleasePolicy of the rules for each recipient, as
// "service:payroll" or "target:crm"; or it tells every mistake at once, and the
// policy is nil.
func CompileRelease(by map[string][]ReleaseRule, known ...Known) (*ReleasePolicy, []Mistake) {
	c := newCompiler(known)
	p := &ReleasePolicy{by: map[string][]releaseRule{}, first: c.first}
	for _, to := range slices.Sorted(maps.Keys(by)) {
		var names []string
		for _, r := range by[to] {
			if r.As == "" {
				r.As = r.Attribute
			}
			p.by[to] = append(p.by[to], c.release(to, r))
			// Where names become headers their case makes no difference.
			if i := slices.IndexFunc(names, func(n string) bool { return strings.EqualFold(n, r.As) }); i >= 0 {
				c.wrong(r.Pos, "give each its own with as", "release to %s: two attributes are called %q", to, names[i])
			}
			names = append(names, r.As)
		}
	}
	if len(c.mistakes) > 0 {
		return nil, c.mistakes
	}
	return p, nil
}

func (c *compiler) release(to string, r ReleaseRule) releaseRule {
	where := fmt.Sprintf("release of %q to %s", r.Attribute, to)
	out := releaseRule{ReleaseRule: r}
	if r.Attribute == "" || strings.TrimSpace(r.Attribute) != r.Attribute {
		c.wrong(r.Pos, "name one", "%s: that is no attribute", where)
	}
	c.list(r.Pos, where, "values", r.Values)
	for _, e := range []struct {
		name, src string
		kind      expr.Kind
		program   **expr.Program
	}{{"transform", r.Transform, expr.Transform, &out.transform}, {"when", r.When, expr.Condition, &out.when}} {
		if e.src == "" {
			continue
		}
		p, mistake := c.program(e.kind, e.src)
		if mistake != nil {
			c.wrong(r.Pos, mistake.Cure, "%s: %s: %s", where, e.name, mistake.Text)
			continue
		}
		*e.program = p
		switch {
		case len(p.Reads()) == 0:
			c.wrong(r.Pos, "leave it out", "%s: %s is the same for everybody", where, e.name)
		case p.ReadsUnder("request"):
			c.wrong(r.Pos, "use user or login", "%s: when reads request, but what is released does not depend on it", where)
		}
	}
	out.each = out.transform != nil && out.transform.ReadsUnder("value")
	return out
}

// minPairwiseKey is how short a key of pairwise identifiers may be, in bytes.
const minPairwiseKey = 16

// With is the policy with a key for pairwise identifiers, of 16 bytes or more.
// Without one "pairwise_id" is withheld.
func (p *ReleasePolicy) With(key []byte) *ReleasePolicy {
	if p == nil {
		return nil
	}
	q := *p
	q.key = slices.Clone(key)
	return &q
}

// PairwiseID names a user, or one session of somebody who has no other name there,
// to one recipient: the same always, another one to
// every other recipient, and without the key nobody can tell which belong
// together. It is HMAC-SHA-256 in lower-case hexadecimal, which SAML's pairwise-id
// and OpenID Connect's sub both allow. Without a key or an ID it is empty.
func (p *ReleasePolicy) PairwiseID(to, id string) string {
	if p == nil || len(p.key) < minPairwiseKey || id == "" {
		return ""
	}
	h := hmac.New(sha256.New, p.key)
	h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(to)))) // so that no two pairs run together alike
	h.Write([]byte(to))
	h.Write([]byte(id))
	return hex.EncodeToString(h.Sum(nil))
}

// Release is what the recipient learns about the subject: what its rules let
// out, and what stays back and why. Nobody has nothing to release. The same
// subject always gives the same, in the same order; for a target whether or not
// they are signed in.
func (p *ReleasePolicy) Release(to string, s Subject) Release {
	if s.ID == "" {
		s = Subject{}
	}
	target := isTarget(to)
	if target {
		s = s.SignedOut()
	}
	var out Release
	var rules []releaseRule
	if p != nil {
		rules = p.by[to]
	}
	var vars *expr.Vars
	for i := range rules {
		r := &rules[i]
		if r.when != nil && vars == nil {
			vars = variables(s, p.first)
		}
		values, back, why := r.values(p, to, s, vars)
		if len(values) > 0 {
			out.Sent = append(out.Sent, Released{Attribute: r.Attribute, Name: r.As, Values: values, Purpose: r.Purpose, Basis: r.Basis})
		}
		if why != "" {
			out.Withheld = append(out.Withheld, Withheld{Attribute: r.Attribute, Values: back, Why: why, Required: r.Required && len(values) == 0})
		}
	}
	if !target {
		out.Naming = naming(rules, out, s)
	}
	return withholdRest(out, rules, s)
}

// isTarget: the recipient is a target, which knows people by its own accounts.
func isTarget(to string) bool { return strings.HasPrefix(to, "target:") }

// names: somebody may be known again by what the rule sends.
func (r *releaseRule) names() bool {
	return r.Attribute == "pairwise_id" || telling[r.Attribute] && r.transform == nil
}

// telling are the attributes by which somebody is known from all others.
var telling = map[string]bool{"employee_number": true, "eppn": true, "id": true, "mail": true, "orcid": true, "subject_id": true, "user_name": true}

// naming is how the recipient of a release may know somebody again. Whoever has a
// rule for pairwise identifiers is meant to have no other name, also while it
// keeps this one back. What is left of a name by a transform, as the domain of a
// mail address, need not be one.
func naming(rules []releaseRule, out Release, s Subject) Naming {
	sent := func(r releaseRule) bool {
		return slices.ContainsFunc(out.Sent, func(o Released) bool { return o.Name == r.As })
	}
	rule := func(fits func(releaseRule) bool) bool {
		return slices.ContainsFunc(rules, fits)
	}
	pairwise := func(r releaseRule) bool { return r.Attribute == "pairwise_id" }
	switch {
	case s.ID == "":
		return Unnamed
	case s.Caller != "":
		return Named // a program has no other name
	case rule(pairwise):
		if rule(func(r releaseRule) bool { return pairwise(r) && sent(r) }) {
			return Pairwise
		}
		return Unnamed
	case rule(func(r releaseRule) bool { return r.names() && sent(r) }):
		return Named
	}
	return Unnamed
}

// withholdRest names what no rule is about.
func withholdRest(out Release, rules []releaseRule, s Subject) Release {
	named := func(a string) bool {
		return slices.ContainsFunc(rules, func(r releaseRule) bool { return r.Attribute == a })
	}
	from := len(out.Withheld)
	for a, values := range s.Attributes {
		if a != "groups" && len(values) > 0 && !named(a) {
			out.Withheld = append(out.Withheld, Withheld{Attribute: a, Values: len(values), Why: WhyNoRule})
		}
	}
	if n := len(s.groups()); n > 0 && !named("groups") {
		out.Withheld = append(out.Withheld, Withheld{Attribute: "groups", Values: n, Why: WhyNoRule})
	}
	slices.SortFunc(out.Withheld[from:], func(a, b Withheld) int { return strings.Compare(a.Attribute, b.Attribute) })
	return out
}

// values are what one rule lets out, how many of the person's values it keeps
// back, and why.
func (r *releaseRule) values(p *ReleasePolicy, to string, s Subject, vars *expr.Vars) (values []string, back int, why string) {
	if r.Attribute == "pairwise_id" && s.ID != "" && len(p.key) < minPairwiseKey {
		return nil, 1, WhyNoKey
	}
	have := distinct(p.attribute(r.Attribute, to, s))
	if len(have) == 0 {
		return nil, 0, WhyNone
	}
	if r.NeedsBasis && r.Basis == "" {
		return nil, len(have), WhyNoBasis
	}
	if r.Basis == BasisConsent && s.Consents[to][r.Attribute] != Given {
		return nil, len(have), WhyNoConsent
	}
	if r.when != nil {
		switch ok, err := r.when.Holds(vars); {
		case err != nil:
			return nil, len(have), WhyWhenErr
		case !ok:
			return nil, len(have), WhyWhen
		}
	}
	values = have
	if r.Values != nil {
		values = slices.DeleteFunc(slices.Clone(have), func(v string) bool {
			return !slices.ContainsFunc(r.Values, func(pattern string) bool { return expr.Glob(v, pattern) })
		})
		if back = len(have) - len(values); back > 0 {
			why = WhyFiltered
		}
	}
	if r.transform == nil || len(values) == 0 {
		return values, back, why
	}
	values, err := r.transformed(values)
	switch {
	case err != nil:
		return nil, len(have), WhyTransform
	case len(values) == 0:
		return nil, len(have), WhyEmptied
	}
	return values, back, why
}

// transformed fails as a whole if it fails for one value.
func (r *releaseRule) transformed(values []string) ([]string, error) {
	if !r.each {
		out, err := r.transform.Strings(map[string]any{"values": values})
		return distinct(out), err
	}
	var out []string
	for _, v := range values {
		got, err := r.transform.Strings(map[string]any{"value": v, "values": values})
		if err != nil {
			return nil, err
		}
		out = append(out, got...)
	}
	return distinct(out), nil
}

// attribute gives the values of an attribute or a built-in one.
func (p *ReleasePolicy) attribute(name, to string, s Subject) []string {
	switch name {
	case "acr":
		return some(s.ACR)
	case "groups":
		return s.groups()
	case "id":
		return some(s.ID)
	case "identity_provider":
		return some(s.Provider)
	case "pairwise_id":
		return some(p.PairwiseID(to, s.ID))
	case "roles":
		return s.Roles
	case "user_name":
		return some(s.fullName(p.first))
	case "user_store":
		return some(s.Store)
	}
	return s.Attributes[name]
}

// groups are the directory's own and asserted ones, sorted.
func (s *Subject) groups() []string { return union(s.Groups, s.proven("groups")) }

// distinct is the list without empty values and repetitions, in its order. The
// list itself is never changed.
func distinct(list []string) []string {
	if len(list) == 1 && list[0] != "" {
		return list[:1:1]
	}
	var out []string
	seen := make(map[string]bool, len(list))
	for _, v := range list {
		if v != "" && !seen[v] {
			seen[v] = true
			out = append(out, v)
		}
	}
	return out
}
