package authz

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/gatehouse-sso/gatehouse/authz/expr"
)

// A Policy decides. The zero Policy, and nil, deny everything. It never changes,
// so it may be used by many goroutines.
type Policy struct {
	roles    []role // by ID
	services map[string]*service
	first    string // user store whose names have no prefix
}

type role struct {
	id   string
	from []match
}

type service struct {
	rules   []rule
	clauses int  // of all rules: how many a decision may have to name
	paths   bool // any rule is about paths
}

type rule struct {
	Rule
	effect   Outcome
	methods  Clause
	patterns []pattern
	paths    Clause
	match    match
	needs    Needs
}

// A match is a Match made ready.
type match struct {
	clauses   []clause
	providers []string // narrows groups and attributes to what these assert
}

// A clause holds or not. Which of its fields are used depends on its kind.
type clause struct {
	Clause // what is said of it where it is not met
	kind   kind
	about  aspect
	attr   string
	names  []userName
	nets   []netip.Prefix
	age    time.Duration
	when   *expr.Program
}

type kind uint8

const (
	signedIn kind = iota
	roles
	groups
	users
	providers
	stores
	attribute
	acr
	amr
	maxAge
	networks
	callers
	when
)

// An aspect is what a clause speaks of.
type aspect uint8

const (
	person  aspect = iota // who they are; nobody meets it
	signIn                // how and when they signed in: another sign-in may mend it
	request               // what is asked, whoever asks
)

// Compile makes a Policy, or tells every mistake at once, in the order of the
// roles and services; then the Policy is nil.
func Compile(roles []Role, services []ServiceRules, known ...Known) (*Policy, []Mistake) {
	c := newCompiler(known)
	for _, r := range roles {
		c.id(&c.roleIDs, r.Pos, "role", r.ID)
	}
	p := &Policy{services: map[string]*service{}, first: c.first}
	for _, r := range roles {
		p.roles = append(p.roles, c.role(r))
	}
	slices.SortFunc(p.roles, func(a, b role) int { return strings.Compare(a.id, b.id) })
	var seen []string
	for _, s := range services {
		c.id(&seen, s.Pos, "service", s.ID)
		p.services[s.ID] = c.service(s)
	}
	if len(c.mistakes) > 0 {
		return nil, c.mistakes
	}
	return p, nil
}

type compiler struct {
	known    Known
	first    string
	roleIDs  []string
	mistakes []Mistake
}

func newCompiler(known []Known) *compiler {
	c := &compiler{first: "primary"}
	for _, k := range known {
		c.known = k
	}
	if len(c.known.UserStores) > 0 {
		c.first = c.known.UserStores[0]
	}
	return c
}

func (c *compiler) wrong(pos Pos, cure, format string, args ...any) {
	c.mistakes = append(c.mistakes, Mistake{pos, fmt.Sprintf(format, args...), cure})
}

// id notes an ID in seen, where it must be there once.
func (c *compiler) id(seen *[]string, pos Pos, what, id string) {
	switch {
	case id == "":
		c.wrong(pos, "give it one", "the %s has no id", what)
	case slices.Contains(*seen, id):
		c.wrong(pos, "give each its own", "there is another %s with the id %q", what, id)
	default:
		*seen = append(*seen, id)
	}
}

func (c *compiler) role(r Role) role {
	out := role{id: r.ID}
	for _, m := range r.From {
		where := fmt.Sprintf("role %q", r.ID)
		for _, no := range []struct {
			given bool
			name  string
		}{
			{m.Anyone, "anyone"}, {len(m.Roles) > 0, "roles"}, {len(m.ACR) > 0, "acr"}, {len(m.AMR) > 0, "amr"},
			{m.MaxAge != 0, "max_age"}, {len(m.Networks) > 0, "networks"}, {m.Callers != nil, "callers"},
		} {
			if no.given {
				c.wrong(r.Pos, "write it in the rule of the service", "%s: %s can not make a role, which is the same wherever the person comes from", where, no.name)
			}
		}
		if m.Anyone { // told once
			m.Anyone, m.SignedIn = false, true
		}
		compiled := c.match(r.Pos, where, m)
		for _, cl := range compiled.clauses {
			for _, path := range []string{"user.roles", "login", "request"} {
				if cl.when != nil && cl.when.ReadsUnder(path) {
					c.wrong(r.Pos, "write it in the rule of the service", "%s: when reads %s, which can not make a role", where, path)
				}
			}
		}
		out.from = append(out.from, compiled)
	}
	return out
}

func (c *compiler) service(s ServiceRules) *service {
	out := &service{}
	var seen []string
	for _, r := range s.Rules {
		if r.Pos == "" {
			r.Pos = s.Pos
		}
		c.id(&seen, r.Pos, "rule of "+s.ID, r.ID)
		compiled := c.rule(s.ID, r)
		out.rules = append(out.rules, compiled)
		out.clauses += 1 + len(compiled.match.clauses)
		out.paths = out.paths || len(compiled.patterns) > 0
	}
	return out
}

func (c *compiler) rule(service string, r Rule) rule {
	where := fmt.Sprintf("rule %q of %s", r.ID, service)
	out := rule{Rule: r, methods: Clause{Kind: "methods", Want: r.Methods}, paths: Clause{Kind: "paths", Want: r.Paths}}
	for _, m := range c.list(r.Pos, where, "methods", r.Methods) {
		if up := strings.ToUpper(m); up != m || strings.ContainsFunc(m, func(r rune) bool { return (r < 'A' || r > 'Z') && r != '-' }) {
			c.wrong(r.Pos, fmt.Sprintf("methods are in capitals, as in %q", up), "%s: %q is no method", where, m)
		}
	}
	for _, p := range c.list(r.Pos, where, "paths", r.Paths) {
		compiled, cure := newPattern(p)
		if cure != "" {
			c.wrong(r.Pos, cure, "%s: the path %q can never match", where, p)
		}
		out.patterns = append(out.patterns, compiled)
	}
	var m Match
	switch {
	case r.Allow != nil && r.Deny != nil:
		c.wrong(r.Pos, "make two rules", "%s both allows and denies", where)
		return out
	case r.Allow != nil:
		out.effect, m = Allow, *r.Allow
		if !m.Anyone && !m.SignedIn && m.Callers == nil && !m.empty() {
			m.SignedIn = true
		}
	case r.Deny != nil:
		out.effect, m = Deny, *r.Deny
	default:
		c.wrong(r.Pos, "say whom it allows or denies", "%s neither allows nor denies", where)
		return out
	}
	out.match = c.match(r.Pos, where, m)
	out.needs = Needs{ACR: m.ACR, MaxAge: m.MaxAge}
	return out
}

func (m Match) empty() bool {
	return !m.Anyone && !m.SignedIn && m.Roles == nil && m.Groups == nil && m.Users == nil && m.IdentityProviders == nil &&
		m.UserStores == nil && m.Attributes == nil && m.ACR == nil && m.AMR == nil && m.MaxAge == 0 && m.Networks == nil && m.Callers == nil && m.When == ""
}

// match compiles the clauses in a fixed order: who, how, from where, and last
// what takes longest.
func (c *compiler) match(pos Pos, where string, m Match) match {
	if m.empty() {
		c.wrong(pos, `write "signed_in: true" for everyone who is signed in, "anyone: true" for everyone`, "%s describes nobody in particular", where)
	}
	out := match{providers: m.IdentityProviders}
	add := func(k kind, a aspect, name string, want []string) *clause {
		if want = c.list(pos, where, name, want); len(want) == 0 {
			return &clause{}
		}
		out.clauses = append(out.clauses, clause{Clause: Clause{Kind: name, Want: want}, kind: k, about: a})
		return &out.clauses[len(out.clauses)-1]
	}
	if m.SignedIn {
		out.clauses = append(out.clauses, clause{Clause: Clause{Kind: "signed_in"}, kind: signedIn})
	}
	if m.Callers != nil {
		c.callers(pos, where, m)
	}
	add(callers, request, "callers", m.Callers)
	add(providers, person, "identity_provider", m.IdentityProviders)
	add(stores, person, "user_store", m.UserStores)
	add(roles, person, "roles", m.Roles)
	add(groups, person, "groups", m.Groups)
	names := add(users, person, "users", m.Users)
	for _, u := range names.Want {
		names.names = append(names.names, c.userName(u))
	}
	for _, a := range slices.Sorted(maps.Keys(m.Attributes)) {
		if len(m.Attributes[a]) == 0 {
			c.wrong(pos, "list the values that will do", "%s: attributes.%s has no values", where, a)
		}
		add(attribute, person, "attributes."+a, m.Attributes[a]).attr = a
	}
	add(acr, signIn, "acr", m.ACR)
	add(amr, signIn, "amr", m.AMR)
	if m.MaxAge < 0 {
		c.wrong(pos, "as in 1h", "%s: max_age is negative", where)
	} else if m.MaxAge > 0 {
		add(maxAge, signIn, "max_age", []string{m.MaxAge.String()}).age = m.MaxAge
	}
	c.networks(pos, where, m.Networks, add)
	c.when(pos, where, m.When, &out)

	c.names(pos, where, "role", m.Roles, c.roleIDs, "")
	if c.known.IdentityProviders != nil {
		c.names(pos, where, "identity provider", m.IdentityProviders, c.known.IdentityProviders, "")
	}
	if c.known.UserStores != nil {
		c.names(pos, where, "user store", m.UserStores, c.known.UserStores, "")
		for _, u := range names.names {
			c.names(pos, where, "user store", []string{u.store}, c.known.UserStores, " of a user")
		}
	}
	if m.Anyone {
		for _, cl := range out.clauses {
			if cl.about != request && cl.kind != when {
				c.wrong(pos, "leave out one of the two", "%s can never match anyone: it has anyone and %s", where, cl.Kind)
			}
		}
	}
	if len(m.UserStores) > 0 && len(names.names) > 0 &&
		!slices.ContainsFunc(names.names, func(u userName) bool { return slices.Contains(m.UserStores, u.store) }) {
		c.wrong(pos, "leave out user_store", "%s can never match: none of the users is of these user stores", where)
	}
	return out
}

// callers checks that a match is not about people and programs at once.
func (c *compiler) callers(pos Pos, where string, m Match) {
	for _, no := range []struct {
		given bool
		name  string
	}{
		{m.Anyone, "anyone"}, {m.SignedIn, "signed_in"}, {m.Roles != nil, "roles"}, {m.Groups != nil, "groups"}, {m.Users != nil, "users"}, {m.IdentityProviders != nil, "identity_provider"},
		{m.UserStores != nil, "user_store"}, {m.ACR != nil, "acr"}, {m.AMR != nil, "amr"}, {m.MaxAge != 0, "max_age"},
	} {
		if no.given {
			c.wrong(pos, "make two rules, one for each", "%s has callers, which are programs, and %s, which is about people", where, no.name)
		}
	}
}

// list checks that a list that was given has something in it, and nothing that
// can never match.
func (c *compiler) list(pos Pos, where, name string, vals []string) []string {
	if vals != nil && len(vals) == 0 {
		c.wrong(pos, "leave it out if it does not matter", "%s: %s is empty, so it can never match", where, name)
	}
	for _, v := range vals {
		if v == "" || strings.TrimSpace(v) != v {
			c.wrong(pos, "leave the space out", "%s: %s has %q, which is empty or begins or ends with a space", where, name, v)
		}
	}
	return vals
}

// names checks that every name is among those there are.
func (c *compiler) names(pos Pos, where, what string, names, there []string, of string) {
	for _, n := range names {
		if slices.Contains(there, n) {
			continue
		}
		cure := "there is none"
		if len(there) > 0 {
			cure = "there are " + strings.Join(there, ", ")
		}
		c.wrong(pos, meant(n, there, cure), "%s: there is no %s %q%s", where, what, n, of)
	}
}

// meant asks whether another name was meant; if none is near, it is otherwise.
func meant(name string, there []string, otherwise string) string {
	if near := expr.Nearest(name, there); near != "" {
		return fmt.Sprintf("did you mean %q?", near)
	}
	return otherwise
}

func (c *compiler) networks(pos Pos, where string, nets []netip.Prefix, add func(kind, aspect, string, []string) *clause) {
	want := make([]string, 0, len(nets))
	for _, n := range nets {
		if !n.IsValid() {
			c.wrong(pos, `as in "10.0.0.0/8"`, "%s: networks has one that is none", where)
		}
		want = append(want, n.String())
	}
	if nets != nil {
		add(networks, request, "networks", want).nets = nets
	}
}

func (c *compiler) when(pos Pos, where, src string, m *match) {
	if src == "" {
		return
	}
	p, mistake := c.condition(src)
	if mistake != nil {
		mistake.Pos, mistake.Text = pos, where+": when: "+mistake.Text
		c.mistakes = append(c.mistakes, *mistake)
		return
	}
	if len(p.Reads()) == 0 {
		c.wrong(pos, "leave it out", "%s: when is the same for every request", where)
	}
	cl := clause{Clause: Clause{Kind: "when"}, kind: when, about: request, when: p}
	if p.ReadsUnder("user") || p.ReadsUnder("login") {
		cl.about = person
	}
	m.clauses = append(m.clauses, cl)
}

// condition compiles an expression, with its mistake in our words.
func (c *compiler) condition(src string) (*expr.Program, *Mistake) {
	return c.program(expr.Condition, src)
}

func (c *compiler) program(k expr.Kind, src string) (*expr.Program, *Mistake) {
	p, err := c.known.Programs.Compile(k, src)
	if err == nil {
		return p, c.unknownAttribute(p)
	}
	var e *expr.Error
	if errors.As(err, &e) {
		return nil, &Mistake{Text: fmt.Sprintf("line %d, column %d: %s", e.Line, e.Col, e.Text), Cure: e.Cure}
	}
	return nil, &Mistake{Text: err.Error()}
}

// unknownAttribute tells of an attribute that an expression reads and nobody can
// have. It would be an error of each evaluation: the expression could never hold.
func (c *compiler) unknownAttribute(p *expr.Program) *Mistake {
	for _, path := range p.Reads() {
		name, ok := strings.CutPrefix(path, "user.attributes.")
		if !ok || c.known.Attributes == nil || slices.Contains(c.known.Attributes, name) {
			continue
		}
		return &Mistake{Text: fmt.Sprintf("there is no attribute %q", name), Cure: meant(name, c.known.Attributes, "add it under attributes, or map it at an identity provider")}
	}
	return nil
}

// A pattern of paths: base alone, or, if below, base and everything below it.
type pattern struct {
	base  string
	below bool
}

// newPattern reads a pattern; if it could never match, cure says how to mend it.
func newPattern(s string) (p pattern, cure string) {
	p.base, p.below = strings.CutSuffix(s, "/*")
	switch {
	case !strings.HasPrefix(s, "/"):
		return p, fmt.Sprintf("a path begins with a slash, as in %q", "/"+s)
	case strings.Contains(p.base, "*"):
		return p, `a star stands only at the end, as in "/reports/*"; elsewhere use when with request.path`
	case strings.ContainsAny(s, "?#"):
		return p, "rules see the path alone, never a query"
	case strings.ContainsAny(s, ";\\"):
		return p, "such paths are refused before any rule"
	case percent(s):
		return p, "rules see the decoded path: write the character itself"
	case !p.below && !canonical(s), p.below && !canonical(p.base+"/"):
		return p, "write it without empty or dot segments"
	}
	return p, ""
}

// percent reports whether s has an escaped character.
func percent(s string) bool {
	hex := func(b byte) bool { return strings.IndexByte("0123456789abcdefABCDEF", b) >= 0 }
	for i := 0; i+2 < len(s); i++ {
		if s[i] == '%' && hex(s[i+1]) && hex(s[i+2]) {
			return true
		}
	}
	return false
}

// canonical reports whether a path means one thing to everybody: it begins with
// a slash and has neither empty nor dot segments.
func canonical(path string) bool {
	if path == "" || path[0] != '/' {
		return false
	}
	for rest, more := path[1:], true; more; {
		var seg string
		seg, rest, more = strings.Cut(rest, "/")
		if seg == "" && more || seg == "." || seg == ".." {
			return false
		}
	}
	return true
}

// match reports whether the path fits; loosely, neither the case of letters nor a
// slash at the end of the path makes a difference.
func (p pattern) match(path string, loosely bool) bool {
	if loosely {
		path, p.base = Fold(path), Fold(p.base)
	}
	if p.below {
		rest, ok := strings.CutPrefix(path, p.base)
		return ok && (rest == "" || rest[0] == '/')
	}
	return path == p.base || loosely && strings.TrimSuffix(path, "/") == strings.TrimSuffix(p.base, "/")
}
