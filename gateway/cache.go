package gateway

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"

	"github.com/gatehouse-sso/gatehouse/authz"
	"github.com/gatehouse-sso/gatehouse/gateway/lean"
	"github.com/gatehouse-sso/gatehouse/gateway/session"
	"github.com/gatehouse-sso/gatehouse/provisioning"
)

// people remembers users as policy sees them, until the directory says that
// they changed.
type people struct {
	dir  *provisioning.Directory
	mu   sync.RWMutex
	gen  uint64      // counts what was forgotten, so that a read that began before is not remembered after
	live atomic.Bool // whether the directory tells us of changes
	m    map[string]*authz.Subject
}

// maxPeople bounds what is remembered; then all is forgotten and read again.
const maxPeople = 200_000

func newPeople(d *provisioning.Directory) *people {
	return &people{dir: d, m: map[string]*authz.Subject{}}
}

func (p *people) of(ctx context.Context, id string) (*authz.Subject, error) {
	p.mu.RLock()
	s, gen := p.m[id], p.gen
	p.mu.RUnlock()
	if s != nil {
		return s, nil
	}
	fresh, err := p.dir.Subject(ctx, id)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.live.Load() && p.gen == gen {
		if len(p.m) >= maxPeople {
			clear(p.m)
		}
		p.m[id] = &fresh
	}
	return &fresh, nil
}

// run forgets who changed, and then tells changed; an empty ID is everybody.
func (p *people) run(ctx context.Context, changed func(id string)) {
	for id := range p.dir.Watch(ctx) {
		p.forget(id)
		p.live.Store(true)
		changed(id)
	}
	p.live.Store(false)
	p.forget("")
}

// forget a user, or everybody if id is empty.
func (p *people) forget(id string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.gen++
	if id == "" {
		clear(p.m)
	} else {
		delete(p.m, id)
	}
}

// prepared is a signed-in person with everything that can be known before a
// request comes: roles, decisions, headers, tokens. It holds for one session
// row and one version of the user; another of either makes another prepared.
type prepared struct {
	session *session.Session
	user    *authz.Subject // as the directory knows them
	subject *authz.Subject // with sign-in and roles

	mu  sync.RWMutex
	svc map[string]*forService
}

// forService is what is ready for one service.
type forService struct {
	headers []Header
	block   []byte // the same, as they go over the wire
	who     *prepared
	service *service
	unsaid  bool // see Config.Unsaid
	token   atomic.Pointer[token]
	signing atomic.Bool

	mu          sync.RWMutex
	decisions   []remembered
	provisioned string // "done" once it is; the other states are asked for each time
}

// A remembered decision. Most people have one or two for a service, so a list is
// found through faster than a map, and is a tenth of its size.
type remembered struct {
	key authz.Key
	d   authz.Decision
}

// maxDecisions bounds how many decisions are remembered for one person and
// service; rules that read paths could otherwise fill the memory.
const maxDecisions = 64

func prepare(s *session.Session, user, subject *authz.Subject) *prepared {
	return &prepared{session: s, user: user, subject: subject, svc: map[string]*forService{}}
}

// cache keeps the prepared of the sessions used last.
type cache struct {
	c *otter.Cache[string, *prepared]
}

const maxPrepared = 100_000

func newCache() *cache {
	return &cache{otter.Must(&otter.Options[string, *prepared]{MaximumSize: maxPrepared})}
}

// of returns what is prepared for a session and this version of its user.
func (c *cache) of(g *Gateway, s *session.Session, user *authz.Subject) *prepared {
	if p, ok := c.c.GetIfPresent(s.ID); ok && p.session == s && p.user == user {
		return p
	}
	full := *user
	full.Provider, full.ACR, full.AMR, full.AuthTime = s.Provider, s.ACR, s.AMR, s.AuthTime
	full = g.c.Policy.Roles(full)
	p := prepare(s, user, &full)
	c.c.Set(s.ID, p)
	return p
}

// in returns what is ready for a service, made at its first use: the release is
// worked out here and nowhere else.
func (p *prepared) in(g *Gateway, s *service) *forService {
	p.mu.RLock()
	f := p.svc[s.ID]
	p.mu.RUnlock()
	if f != nil {
		return f
	}
	f = &forService{who: p, service: s}
	var told []string
	if p.subject.ID != "" {
		rel := g.c.Release.Release("service:"+s.ID, *p.subject)
		if g.c.Beside != nil {
			g.c.Beside("service:"+s.ID, *p.subject, rel)
		}
		f.headers = Outgoing(s.Headers, rel)
		for _, h := range f.headers {
			for _, val := range h.Values {
				f.block = lean.AppendField(f.block, h.Name, val)
			}
		}
		f.unsaid = g.c.Unsaid != nil && g.c.Unsaid(*p.subject, s.ID)
		for _, sent := range rel.Sent {
			told = append(told, sent.Attribute)
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if first := p.svc[s.ID]; first != nil {
		return first
	}
	p.svc[s.ID] = f
	for _, name := range told {
		s.meter.Released(name)
	}
	return f
}

// decide asks the policy, or remembers what it said under the same inputs.
func (g *Gateway) decide(v *visit) authz.Decision {
	return g.decideFor(v.who, v.service, v.r.Method, v.path, v.from)
}

func (g *Gateway) decideFor(p *prepared, s *service, method, path string, from netip.Addr) authz.Decision {
	r := authz.Request{Subject: *p.subject, Service: s.ID, Method: method, Path: path, From: from, Now: g.c.Now()}
	key, ok := s.reads.Key(r)
	if !ok {
		return g.evaluate(s, r)
	}
	f := p.in(g, s)
	f.mu.RLock()
	i := slices.IndexFunc(f.decisions, func(r remembered) bool { return r.key == key })
	if i >= 0 {
		d := f.decisions[i].d
		f.mu.RUnlock()
		return d
	}
	f.mu.RUnlock()
	d := g.evaluate(s, r)
	f.mu.Lock()
	if len(f.decisions) >= maxDecisions {
		f.decisions = nil
	}
	f.decisions = append(f.decisions, remembered{key, d})
	f.mu.Unlock()
	return d
}

// evaluate asks the policy, and counts how long it thinks.
func (g *Gateway) evaluate(s *service, r authz.Request) authz.Decision {
	began := time.Now()
	d := g.c.Policy.Decide(r)
	s.meter.Evaluated(time.Since(began))
	return d
}

// A token is a signed JWT and when it ends.
type token struct {
	raw     string
	expires time.Time
}

// Times of the token that services get. It is never served with less than
// tokenLeft to live, and renewed beside the requests from tokenRenew on.
const (
	tokenLife  = 5 * time.Minute
	tokenRenew = 150 * time.Second
	tokenLeft  = time.Minute
)

// jwt is the token for a service: the one at hand, or a fresh one.
func (g *Gateway) jwt(f *forService) (string, error) {
	t, now := f.token.Load(), g.c.Now()
	switch left := time.Duration(0); {
	case t != nil:
		if left = t.expires.Sub(now); left >= tokenRenew && left <= tokenLife {
			return t.raw, nil
		} else if left >= tokenLeft && left <= tokenLife {
			if f.signing.CompareAndSwap(false, true) {
				go func() {
					defer f.signing.Store(false)
					_, _ = g.sign(f, now) // whoever comes when it is too late signs, and sees the error
				}()
			}
			return t.raw, nil
		}
	}
	return g.sign(f, now)
}

func (g *Gateway) sign(f *forService, now time.Time) (string, error) {
	claims := tokenClaims(g, f.service, f.who, g.c.Release.Release("service:"+f.service.ID, *f.who.subject))
	claims["iat"], claims["nbf"], claims["exp"] = now.Unix(), now.Unix(), now.Add(tokenLife).Unix()
	claims["jti"] = encode(random(12))
	raw, err := g.c.Keys.Sign(claims)
	if err != nil {
		return "", err
	}
	f.token.Store(&token{raw, now.Add(tokenLife)})
	return raw, nil
}

// reserved claims are ours to set, whatever a release calls an attribute.
var reserved = map[string]bool{"iss": true, "aud": true, "sub": true, "iat": true, "nbf": true, "exp": true, "jti": true, "acr": true, "amr": true, "auth_time": true, "sid": true, "azp": true, "cnf": true, "caller": true}

// tokenClaims says in a token what the release says in headers: names as
// released, several values as a list. sub names the person no further than the
// release does: it is ours where the service knows them by a name that others
// know, the pairwise one where it gets that, and else one that nobody knows again,
// of this session at this service. Then when they signed in stays back too, which
// is told to all services alike.
func tokenClaims(g *Gateway, s *service, p *prepared, rel authz.Release) map[string]any {
	c := map[string]any{"iss": g.c.Public.String(), "aud": s.ID}
	switch rel.Naming {
	case authz.Named:
		c["sub"] = p.subject.ID
	case authz.Unnamed:
		if p.session != nil {
			c["sub"] = g.c.Release.PairwiseID("service:"+s.ID, "session "+p.session.ID)
		}
	}
	if p.subject.Caller != "" {
		c["caller"] = p.subject.Caller
	}
	if rel.Naming != authz.Unnamed && !p.subject.AuthTime.IsZero() {
		c["auth_time"] = p.subject.AuthTime.Unix()
	}
	for _, v := range rel.Sent {
		if v.Attribute == "pairwise_id" {
			c["sub"] = v.Values[0]
		}
		if v.Attribute == "acr" {
			c["acr"] = v.Values[0]
			continue
		}
		if reserved[v.Name] {
			continue
		}
		if len(v.Values) > 1 || g.c.Multi(v.Attribute) {
			// A list even with one value, so that its type does not depend on
			// the person.
			c[v.Name] = v.Values
		} else {
			c[v.Name] = v.Values[0]
		}
	}
	return c
}
