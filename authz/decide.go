package authz

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/gatehouse-sso/gatehouse/authz/expr"
)

// clockSkew is how far in the future a sign-in may seem to be.
const clockSkew = 5 * time.Minute

// Roles is the subject with its roles: those that it is given by what is known
// of it, and those granted to it that the policy has. Roles that it had before do
// not count, so it may be asked again after a change of the policy.
func (p *Policy) Roles(s Subject) Subject {
	s.Roles, s.Unsure = nil, nil
	if p == nil || s.ID == "" || s.Caller != "" {
		return s
	}
	f := facts{Request: Request{Subject: s}, policy: p}
	for _, r := range p.roles {
		switch has := r.describes(&f); {
		case has == yes || slices.Contains(s.Granted, r.id):
			s.Roles = append(s.Roles, r.id)
		case has == unsure:
			s.Unsure = append(s.Unsure, r.id)
		}
	}
	return s
}

func (r *role) describes(f *facts) truth {
	best := no
	for i := range r.from {
		m := &r.from[i]
		if len(m.providers) == 0 {
			best = max(best, m.all(f))
			continue
		}
		for _, id := range m.providers {
			f.source = sourceOf(id)
			if f.Subject.Asserted[f.source] != nil {
				best = max(best, m.all(f))
			}
		}
		f.source = ""
	}
	return best
}

// all reports whether every clause of a role's match holds. An identity provider
// is one that says something, which the caller has seen to.
func (m *match) all(f *facts) truth {
	all := yes
	for i := range m.clauses {
		if c := &m.clauses[i]; c.kind != providers {
			t, _ := c.holds(f)
			all = min(all, t)
		}
	}
	return all
}

// Decide decides, and says why. The order of what counts is in the comment of
// the package.
func (p *Policy) Decide(r Request) Decision {
	var s *service
	if p != nil {
		s = p.services[r.Service]
	}
	if s == nil {
		return Decision{Code: ReasonNoRule}
	}
	if s.paths && !canonical(r.Path) {
		return Decision{Code: ReasonAmbiguous}
	}
	f := facts{Request: r, policy: p}
	nobody := r.Subject.ID == ""
	unmet := make([]Clause, 0, s.clauses) // of all rules, one after the other
	d := Decision{Reasons: make([]Reason, len(s.rules))}
	var denied, undecided, allowed bool
	var could, stronger *rule // the first that lets somebody in after a sign-in, after another one
	var needs Needs           // of stronger
	asks := true              // whatever could let somebody in asks for more than a sign-in
	for i := range s.rules {
		rule, why := &s.rules[i], &d.Reasons[i]
		*why = Reason{Rule: rule.ID, Pos: rule.Pos, Text: rule.Text, Effect: rule.effect}
		from := len(unmet)
		v := rule.judge(&f, &unmet)
		why.Err = v.err
		switch {
		case rule.effect == Deny && v.holds() && nobody && rule.readsPerson():
			undecided = true // it depends on who will sign in
			unmet = append(unmet, Clause{Kind: "signed_in"})
		case rule.effect == Deny:
			why.Matched = v.holds()
			denied = denied || why.Matched
		default:
			why.Matched = v.holds()
			allowed = allowed || why.Matched
			if nobody && !v.lacks[request] {
				asks = asks && !rule.needs.none()
				if could == nil {
					could = rule
				}
			}
			if !nobody && stronger == nil && v.lacks == [...]bool{signIn: true, request: false} {
				stronger, needs = rule, rule.needs
				needs.Fresh = v.stale
			}
		}
		if len(unmet) > from {
			why.Unmet = unmet[from:len(unmet):len(unmet)]
		}
	}
	switch {
	case !nobody && !r.Subject.Active:
		d.Code = ReasonInactive
	case denied:
		d.Code = ReasonDenied
	case allowed && !undecided:
		d.Outcome = Allow
	case nobody && could != nil:
		d.Outcome, d.Code = Login, ReasonLogin
		if asks {
			d.Needs = could.needs
		}
	case stronger != nil:
		d.Outcome, d.Code, d.Needs = StepUp, ReasonStepUp, needs
	default:
		d.Code = ReasonNoRule
	}
	return d
}

func (n Needs) none() bool { return len(n.ACR) == 0 && n.MaxAge == 0 }

// A verdict is what one rule says.
type verdict struct {
	lacks [3]bool // by aspect: a clause of it is not met
	stale bool    // one of them is mended only by asking the person again
	err   string
}

func (v verdict) holds() bool { return v.lacks == [3]bool{} }

// judge looks at every clause of a rule; those that are not met are appended
// to unmet. What is not known is met for a deny, and is not for an allow.
func (r *rule) judge(f *facts, unmet *[]Clause) (v verdict) {
	if c := r.outOfScope(f); c != nil {
		*unmet = append(*unmet, *c)
		v.lacks[request] = true
		return v
	}
	least := yes
	if r.effect == Deny {
		least = unsure
	}
	if len(r.match.providers) > 0 {
		f.source = sourceOf(f.Subject.Provider)
	}
	for i := range r.match.clauses {
		c := &r.match.clauses[i]
		t, err := c.holds(f)
		if err != nil {
			v.err = err.Error()
		}
		if t < least {
			*unmet = append(*unmet, c.unmet(f))
			v.lacks[c.about] = true
			v.stale = v.stale || c.kind == amr || c.kind == maxAge
		}
	}
	f.source = ""
	return v
}

// sourceOf is the source of what an identity provider asserts.
func sourceOf(provider string) string { return "idp:" + provider }

// outOfScope is the clause by which a rule is not about this request, or nil.
func (r *rule) outOfScope(f *facts) *Clause {
	loosely := r.effect == Deny
	if len(r.Methods) > 0 && !slices.ContainsFunc(r.Methods, func(m string) bool {
		return m == f.Method || m == "GET" && f.Method == "HEAD" ||
			loosely && (strings.EqualFold(m, f.Method) || m == "GET" && strings.EqualFold(f.Method, "HEAD"))
	}) {
		return &r.methods
	}
	if len(r.patterns) > 0 && !slices.ContainsFunc(r.patterns, func(p pattern) bool { return p.match(f.Path, loosely) }) {
		return &r.paths
	}
	return nil
}

func (r *rule) readsPerson() bool {
	return slices.ContainsFunc(r.match.clauses, func(c clause) bool { return c.about != request })
}

// truth of a clause; what is not known is between no and yes.
type truth uint8

const (
	no truth = iota
	unsure
	yes
)

func is(b bool) truth {
	if b {
		return yes
	}
	return no
}

// facts are what one decision is made of.
type facts struct {
	Request
	policy *Policy
	source string // narrows groups and attributes to what it asserts; empty: effective
	vars   *expr.Vars
}

// attribute gives the values of an attribute.
func (f *facts) attribute(name string) []string {
	if f.source != "" {
		return f.Subject.Asserted[f.source][name]
	}
	return f.Subject.proven(name)
}

// holds tells whether the clause holds; an error comes with unsure.
func (c *clause) holds(f *facts) (truth, error) {
	s := &f.Subject
	if s.ID == "" && c.about != request && c.kind != when {
		return no, nil
	}
	switch c.kind {
	case signedIn:
		return is(s.Caller == ""), nil
	case callers:
		return is(s.Caller != "" && slices.ContainsFunc(c.Want, func(want string) bool { return expr.Glob(s.Caller, want) })), nil
	case roles:
		if t := is(common(c.Want, s.Roles)); t == yes || !common(c.Want, s.Unsure) {
			return t, nil
		}
		return unsure, nil
	case groups:
		in := common(c.Want, f.attribute("groups")) || f.source == "" && common(c.Want, s.Groups)
		return given(f.source != sourceOf(""), in)
	case users:
		return is(slices.Contains(c.names, userName{s.Store, Fold(s.UserName)})), nil
	case stores:
		return is(slices.Contains(c.Want, s.Store)), nil
	case providers:
		return given(s.Provider != "", slices.Contains(c.Want, s.Provider))
	case attribute:
		have := f.attribute(c.attr)
		return given(len(have) > 0, common(c.Want, have))
	case acr:
		return given(s.ACR != "", slices.Contains(c.Want, s.ACR))
	case amr:
		return given(len(s.AMR) > 0, common(c.Want, s.AMR))
	case maxAge:
		age := f.Now.Sub(s.AuthTime)
		return given(!s.AuthTime.IsZero() && !f.Now.IsZero() && age >= -clockSkew, age <= c.age)
	case networks:
		for _, n := range c.nets {
			if expr.Contains(n, f.From) {
				return yes, nil
			}
		}
		return given(f.From.IsValid(), false)
	case when:
		vars := f.variables()
		ok, err := c.when.Holds(vars)
		if err == nil && len(s.Unsure) > 0 && c.when.ReadsUnder("user.roles") {
			with := *vars
			with.User.Roles = union(s.Roles, s.Unsure)
			if other, _ := c.when.Holds(&with); other != ok {
				err = fmt.Errorf("it depends on the roles %q, which could not be worked out", s.Unsure)
			}
		}
		if err != nil {
			return unsure, err
		}
		return is(ok), nil
	}
	return unsure, nil
}

// given is what a clause says about something that may not be known.
func given(known, holds bool) (truth, error) {
	if !known {
		return unsure, nil
	}
	return is(holds), nil
}

// unmet is the clause with what the person has instead.
func (c *clause) unmet(f *facts) Clause {
	out, s := c.Clause, &f.Subject
	switch c.kind {
	case roles:
		out.Have = s.Roles
	case groups:
		if out.Have = f.attribute("groups"); f.source == "" && len(s.Groups) > 0 {
			out.Have = union(s.Groups, out.Have)
		}
	case providers:
		out.Have = some(s.Provider)
	case stores:
		out.Have = some(s.Store)
	case attribute:
		out.Have = f.attribute(c.attr)
	case acr:
		out.Have = some(s.ACR)
	case amr:
		out.Have = s.AMR
	}
	return out
}

func some(s string) []string {
	if s == "" {
		return nil
	}
	return []string{s}
}

// common reports whether the lists share an element.
func common(a, b []string) bool {
	for _, x := range a {
		if slices.Contains(b, x) {
			return true
		}
	}
	return false
}

// union of both lists, sorted, each element once.
func union(a, b []string) []string {
	all := slices.Concat(a, b)
	slices.Sort(all)
	return slices.Compact(all)
}

// variables of expressions, made once for a decision.
func (f *facts) variables() *expr.Vars {
	if f.vars == nil {
		f.vars = variables(f.Subject, f.policy.first)
		f.vars.Request = expr.Request{Service: f.Service, Method: f.Method, Path: f.Path, Now: f.Now}
		if f.From.IsValid() {
			f.vars.Request.From = f.From.Unmap().WithZone("").String()
		}
	}
	return f.vars
}

func variables(s Subject, first string) *expr.Vars {
	return &expr.Vars{
		User: expr.User{
			ID: s.ID, Store: s.Store, UserName: s.fullName(first), Active: s.Active,
			Attributes: s.allProven(), Asserted: s.Asserted, Groups: s.groups(), Roles: s.Roles,
		},
		Login: expr.Login{Provider: s.Provider, ACR: s.ACR, AMR: s.AMR, At: s.AuthTime},
	}
}

// proven is an attribute as far as rules believe it.
func (s *Subject) proven(name string) []string {
	if v, ok := s.Proven[name]; ok {
		return v
	}
	return s.Attributes[name]
}

// allProven are all attributes as far as conditions believe them.
func (s *Subject) allProven() map[string][]string {
	if len(s.Proven) == 0 {
		return s.Attributes
	}
	all := maps.Clone(s.Attributes)
	for name, values := range s.Proven {
		if all[name] = values; len(values) == 0 {
			delete(all, name)
		}
	}
	return all
}

// fullName is the user name with its store before it, if that is not the first.
// No two users have the same: a name in the first store that has a slash of its
// own is written with its store too.
func (s *Subject) fullName(first string) string {
	if s.UserName == "" || s.Store == first && !strings.Contains(s.UserName, "/") {
		return s.UserName
	}
	return s.Store + "/" + s.UserName
}

// A userName is how users are compared.
type userName struct{ store, name string }

func (c *compiler) userName(s string) userName {
	store, name, ok := strings.Cut(s, "/")
	if !ok {
		store, name = c.first, s
	}
	return userName{store, Fold(name)}
}
