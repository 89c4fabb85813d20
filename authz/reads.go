package authz

import (
	"net/netip"
)

// Inputs are what the rules of one service read beyond the subject: what a
// remembered decision must be found by. The zero Inputs read nothing.
type Inputs struct {
	Method, Path, From bool
	Now                bool // the clock: a decision may not be remembered at all
	SignIn             bool // how and when the person signed in
	service            *service
}

// A Key finds a remembered decision, together with the service, the session (which
// says who it is, and how they signed in), the version of the user and the policy
// itself.
type Key struct {
	Method string     // only if a rule reads it
	Path   string     // only if an expression reads it
	Paths  uint64     // which patterns of paths fit, one bit each
	From   netip.Addr // only if a rule reads it
}

// maxPatterns is how many patterns of paths a Key can tell apart by bits.
const maxPatterns = 64

// Reads tells what the decisions of a service depend on.
func (p *Policy) Reads(service string) Inputs {
	if p == nil || p.services[service] == nil {
		return Inputs{}
	}
	s := p.services[service]
	in := Inputs{service: s}
	patterns := 0
	for i := range s.rules {
		r := &s.rules[i]
		in.Method = in.Method || len(r.Methods) > 0
		patterns += len(r.patterns)
		for j := range r.match.clauses {
			c := &r.match.clauses[j]
			in.From = in.From || c.kind == networks
			in.Now = in.Now || c.kind == maxAge
			in.SignIn = in.SignIn || c.about == signIn || c.kind == providers
			if c.when != nil {
				in.Method = in.Method || c.when.ReadsUnder("request.method")
				in.Path = in.Path || c.when.ReadsUnder("request.path")
				in.From = in.From || c.when.ReadsUnder("request.from")
				in.Now = in.Now || c.when.ReadsUnder("request.now")
				in.SignIn = in.SignIn || c.when.ReadsUnder("login")
			}
		}
	}
	in.Path = in.Path || patterns > maxPatterns
	return in
}

// Key is by what the decision about a request to the service may be remembered; not
// ok if it may not be.
func (in Inputs) Key(method, path string, from netip.Addr) (k Key, ok bool) {
	if in.Now || in.service == nil || in.service.paths && !canonical(path) {
		return Key{}, false
	}
	if in.Method {
		k.Method = method
	}
	if in.From {
		k.From = from
	}
	if in.Path {
		k.Path = path
		return k, true
	}
	bit := uint64(1)
	for i := range in.service.rules {
		rule := &in.service.rules[i]
		for _, p := range rule.patterns {
			if p.match(path, rule.effect == Deny) {
				k.Paths |= bit
			}
			bit <<= 1
		}
	}
	return k, true
}
