package gateway

import (
	"context"
	"encoding/base64"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unique"

	"github.com/maypok86/otter/v2"
	"golang.org/x/net/http/httpguts"

	"github.com/gatehouse-sso/gatehouse/authz"
	"github.com/gatehouse-sso/gatehouse/gateway/session"
	"github.com/gatehouse-sso/gatehouse/provisioning"
)

// people knows which users are as they were, until the directory says that they
// changed.
type people struct {
	dir  *provisioning.Directory
	mu   sync.RWMutex
	gen  uint64      // counts what was forgotten, so that a read that began before is not remembered after
	live atomic.Bool // whether the directory tells us of changes
	m    map[string]*person
}

// A person is one version of a user. Everything that was worked out from it holds
// until it is old; then there is another.
type person struct {
	old atomic.Bool
}

// maxPeople bounds what is remembered; then all is forgotten and read again.
const maxPeople = 200_000

func newPeople(d *provisioning.Directory) *people {
	return &people{dir: d, m: map[string]*person{}}
}

// of returns the version of a user that is at hand, with what policy sees of it if
// that had to be read.
func (p *people) of(ctx context.Context, id string) (*person, *authz.Subject, error) {
	p.mu.RLock()
	known, gen := p.m[id], p.gen
	p.mu.RUnlock()
	if known != nil {
		return known, nil, nil
	}
	fresh, err := p.dir.Subject(ctx, id)
	if err != nil {
		return nil, nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	known = &person{}
	if !p.live.Load() || p.gen != gen {
		known.old.Store(true)
		return known, &fresh, nil
	}
	if first := p.m[id]; first != nil {
		return first, &fresh, nil
	}
	if len(p.m) >= maxPeople {
		p.clear()
	}
	p.m[id] = known
	return known, &fresh, nil
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
		p.clear()
	} else if known := p.m[id]; known != nil {
		known.old.Store(true)
		delete(p.m, id)
	}
}

func (p *people) clear() {
	for _, known := range p.m {
		known.old.Store(true)
	}
	clear(p.m)
}

// prepared is a signed-in person with everything that can be known before a
// request comes: decisions, headers, tokens. It holds for one session row and one
// version of the user; another of either makes another prepared. There is one for
// each session in memory, so it has next to nothing in it: what policy sees of the
// person is read again when something has to be worked out.
type prepared struct {
	g       *Gateway
	session *session.Session // nil: fixed is all there is
	person  *person
	fixed   *authz.Subject // who is not in the directory: nobody, a program, who recovers
	known   bool           // somebody: a person or a program
	first   atomic.Pointer[forService]
}

// forService is what is ready for one service.
type forService struct {
	next    *forService // for another
	who     *prepared
	service *service
	told    told
	unsaid  bool // see Config.Unsaid
	signing atomic.Bool
	arrived atomic.Bool // all accounts that matter to the service are there
	token   atomic.Pointer[token]
	allowed atomic.Pointer[allowed]
}

// told are the headers that tell a service of somebody, one to a line. Their names are
// the same for most people, and longer than what they say, so they are kept once for
// all.
type told struct {
	names  unique.Handle[string]
	values string
}

// lines are the headers one after the other.
func (t told) lines(yield func(name, value string) bool) {
	for names, values := t.names.Value(), t.values; names != ""; {
		var name, value string
		name, names, _ = strings.Cut(names, "\n")
		value, values, _ = strings.Cut(values, "\n")
		if !yield(name, value) {
			return
		}
	}
}

// AppendTo appends the headers as they go over the wire.
func (t told) AppendTo(dst []byte) []byte {
	for name, value := range t.lines {
		dst = append(append(append(append(dst, name...), ": "...), value...), "\r\n"...)
	}
	return dst
}

// allowed is a remembered decision to let pass. Most people have one or two for a
// service, so a list is found through faster than a map, and is a tenth of its
// size. Refusals are not remembered: they are worked out for the page that says
// why.
type allowed struct {
	key  unique.Handle[authz.Key]
	d    *authz.Decision
	next *allowed
	n    int // how many there are, with this one
}

// maxAllowed bounds how many decisions are remembered for one person and service;
// rules that read paths could otherwise fill the memory.
const maxAllowed = 64

// fix prepares somebody who is not in the directory.
func (g *Gateway) fix(s *authz.Subject) *prepared {
	return &prepared{g: g, fixed: s, known: s.ID != ""}
}

// Bounds of what the gateway remembers: of what policy sees of people, each some
// KiB, and of what is prepared for programs.
const (
	maxSubjects = 500
	maxPrograms = 10_000
)

func recent[K comparable, V any](most int) *otter.Cache[K, V] {
	return otter.Must(&otter.Options[K, V]{MaximumSize: most})
}

// ready is what was prepared for a session, if it still holds.
func (g *Gateway) ready(s *session.Session) *prepared {
	if s.Ready == nil {
		return nil
	}
	if p, _ := s.Ready.Load().(*prepared); p != nil && p.g == g && p.person != nil && !p.person.old.Load() {
		return p
	}
	return nil
}

// prepare returns what is prepared for a session, as far as it is good for a
// service; nil is for what the gateway does itself. provisioning.ErrNotFound:
// nobody's.
func (g *Gateway) prepare(ctx context.Context, s *session.Session, at *service) (*prepared, error) {
	if s.Recovers() {
		if at != nil && !g.ours(at) {
			return nil, provisioning.ErrNotFound
		}
		full := signedIn(*g.recoverer, s)
		full = g.c.Policy.Roles(full)
		return g.fix(&full), nil
	}
	if g.providers[s.Provider] == nil {
		return nil, provisioning.ErrNotFound // nobody vouches for them any more
	}
	if p := g.ready(s); p != nil {
		return p, nil
	}
	who, subject, err := g.people.of(ctx, s.UserID)
	if err != nil {
		return nil, err
	}
	p := &prepared{g: g, session: s, person: who, known: true}
	if subject != nil {
		p.keep(*subject)
	}
	if s.Ready != nil {
		s.Ready.Store(p)
	}
	return p, nil
}

// lettingGo is how often what nobody needs is looked for.
const lettingGo = time.Minute

// letGo lets go of what is prepared for sessions that have no token that is good: people
// who have not come for as long as one lasts. It is made again when they come.
func (g *Gateway) letGo() {
	now := g.c.Now().UnixNano()
	g.c.Sessions.Each(func(s *session.Session) {
		if p, _ := s.Ready.Load().(*prepared); p != nil && p.spent(now) {
			s.Ready.CompareAndSwap(p, (*prepared)(nil))
		}
	})
}

// spent: no token is good; who was only refused has none.
func (p *prepared) spent(now int64) bool {
	for f := p.first.Load(); f != nil; f = f.next {
		if t := f.token.Load(); t != nil && t.expires > now {
			return false
		}
	}
	return true
}

// signedIn is a subject with its sign-in.
func signedIn(subject authz.Subject, s *session.Session) authz.Subject {
	subject.Provider, subject.ACR, subject.AMR, subject.AuthTime = s.Provider, s.ACR, s.AMR, s.AuthTime
	return subject
}

// keep makes of a user, as the directory knows them, what policy sees.
func (p *prepared) keep(user authz.Subject) *authz.Subject {
	full := p.g.c.Policy.Roles(signedIn(user, p.session))
	p.g.subjects.Set(p, &full)
	return &full
}

// subject is what policy sees of the person, with sign-in and roles.
func (p *prepared) subject(ctx context.Context) (*authz.Subject, error) {
	if p.fixed != nil {
		return p.fixed, nil
	}
	if s, ok := p.g.subjects.GetIfPresent(p); ok {
		return s, nil
	}
	user, err := p.g.c.Directory.Subject(ctx, p.session.UserID)
	if err != nil {
		return nil, err
	}
	return p.keep(user), nil
}

// in returns what is ready for a service, made at its first use: the release is
// worked out here and nowhere else.
func (p *prepared) in(ctx context.Context, s *service) (*forService, error) {
	first := p.first.Load()
	for f := first; f != nil; f = f.next {
		if f.service == s {
			return f, nil
		}
	}
	f := &forService{who: p, service: s}
	var names, values strings.Builder
	var sent []authz.Released
	if p.known {
		subject, err := p.subject(ctx)
		if err != nil {
			return nil, err
		}
		g := p.g
		rel := g.c.Release.Release("service:"+s.ID, *subject)
		if g.c.Beside != nil {
			g.c.Beside("service:"+s.ID, *subject, rel)
		}
		for _, h := range Outgoing(s.Headers, rel) {
			for _, val := range h.Values {
				if httpguts.ValidHeaderFieldValue(val) { // it ends no line early
					names.WriteString(h.Name + "\n")
					values.WriteString(val + "\n")
				}
			}
		}
		f.unsaid = g.c.Unsaid != nil && g.c.Unsaid(*subject, s.ID)
		sent = rel.Sent
	}
	f.told = told{unique.Make(names.String()), strings.Clone(values.String())} // without the room to grow
	if f.next = first; !p.first.CompareAndSwap(first, f) {
		return p.in(ctx, s) // somebody made one meanwhile, perhaps this
	}
	for _, v := range sent {
		s.meter.Released(v.Attribute)
	}
	return f, nil
}

// headers are what the service is told, by name.
func (f *forService) headers(each func(name string, values []string)) {
	all, name := make([]string, 0, strings.Count(f.told.values, "\n")), ""
	from := 0
	for n, value := range f.told.lines {
		if n != name && len(all) > from {
			each(name, all[from:len(all):len(all)])
			from = len(all)
		}
		name, all = n, append(all, value)
	}
	if len(all) > from {
		each(name, all[from:])
	}
}

// decide makes ready what the visit needs at its service, and decides about it.
func (v *visit) decide() (d authz.Decision, err error) {
	ctx := v.r.Context()
	if v.ready, err = v.who.in(ctx, v.service); err != nil {
		return d, err
	}
	return v.ready.decide(ctx, v.r.Method, v.path, v.from)
}

func (g *Gateway) decideFor(ctx context.Context, p *prepared, s *service, method, path string, from netip.Addr) (authz.Decision, error) {
	f, err := p.in(ctx, s)
	if err != nil {
		return authz.Decision{}, err
	}
	return f.decide(ctx, method, path, from)
}

// decide asks the policy, or remembers what it said under the same inputs.
func (f *forService) decide(ctx context.Context, method, path string, from netip.Addr) (authz.Decision, error) {
	g, s := f.who.g, f.service
	key, ok := s.reads.Key(method, path, from)
	if ok {
		for a := f.allowed.Load(); a != nil; a = a.next {
			if a.key.Value() == key {
				return *a.d, nil
			}
		}
	}
	subject, err := f.who.subject(ctx)
	if err != nil {
		return authz.Decision{}, err
	}
	began := time.Now()
	d := g.c.Policy.Decide(authz.Request{Subject: *subject, Service: s.ID, Method: method, Path: path, From: from, Now: g.c.Now()})
	s.meter.Evaluated(time.Since(began))
	if ok && d.Outcome == authz.Allow {
		f.remember(key, s.allowing(d))
	}
	return d, nil
}

func (f *forService) remember(key authz.Key, d *authz.Decision) {
	a := &allowed{key: unique.Make(key), d: d, n: 1}
	first := f.allowed.Load()
	if first != nil && first.n < maxAllowed {
		a.next, a.n = first, first.n+1
	}
	f.allowed.CompareAndSwap(first, a) // else somebody else remembers, and this one is asked again
}

// allowing is one decision for all that let pass by the same rule: who they let
// pass, and by what, is not remembered.
func (s *service) allowing(d authz.Decision) *authz.Decision {
	rule := d.Rule()
	known, _ := s.allowed.LoadOrStore(rule, &authz.Decision{Outcome: authz.Allow, Reasons: []authz.Reason{{Rule: rule, Effect: authz.Allow, Matched: true}}})
	return known.(*authz.Decision)
}

// A token is a signed JWT and when it ends. There is one for each session and
// service, so it is kept as bytes, a quarter shorter than as text, and its head,
// which only tells of the key, once for all.
type token struct {
	head    unique.Handle[string] // as text
	rest    []byte                // the claims, then the signature
	claims  int                   // how much of rest is claims
	expires int64                 // in nanoseconds since 1970
}

// newToken takes a token in the compact serialisation (RFC 7515, section 7.1).
func newToken(raw string, expires time.Time) (*token, error) {
	head, rest, _ := strings.Cut(raw, ".")
	claims, signature, _ := strings.Cut(rest, ".")
	b, err := base64.RawURLEncoding.AppendDecode(make([]byte, 0, len(rest)*3/4), []byte(claims))
	n := len(b)
	if err == nil {
		b, err = base64.RawURLEncoding.AppendDecode(b, []byte(signature))
	}
	if err != nil {
		return nil, err
	}
	return &token{unique.Make(head), b, n, expires.UnixNano()}, nil
}

// AppendTo appends the token as text.
func (t *token) AppendTo(dst []byte) []byte {
	dst = append(append(dst, t.head.Value()...), '.')
	dst = append(base64.RawURLEncoding.AppendEncode(dst, t.rest[:t.claims]), '.')
	return base64.RawURLEncoding.AppendEncode(dst, t.rest[t.claims:])
}

// text is a header value with the token; without one, nothing.
func (t *token) text() []string {
	if t == nil {
		return nothing
	}
	var room [1 << 10]byte // of most; it is not kept
	return []string{string(t.AppendTo(room[:0]))}
}

// Times of the token that services get. It is never served with less than
// tokenLeft to live, and renewed beside the requests from tokenRenew on.
const (
	tokenLife  = 5 * time.Minute
	tokenRenew = 150 * time.Second
	tokenLeft  = time.Minute
)

// jwt is the token for a service: the one at hand, or a fresh one; nil for nobody.
func (f *forService) jwt(ctx context.Context) (*token, error) {
	if !f.who.known {
		return nil, nil
	}
	t, now := f.token.Load(), f.who.g.c.Now()
	if t == nil {
		return f.sign(ctx, now)
	}
	switch left := time.Duration(t.expires - now.UnixNano()); {
	case left > tokenLife || left < tokenLeft:
		return f.sign(ctx, now)
	case left < tokenRenew && f.signing.CompareAndSwap(false, true):
		go func() {
			defer f.signing.Store(false)
			_, _ = f.sign(context.WithoutCancel(ctx), now) // whoever comes when it is too late signs, and sees the error
		}()
	}
	return t, nil
}

func (f *forService) sign(ctx context.Context, now time.Time) (*token, error) {
	g := f.who.g
	subject, err := f.who.subject(ctx)
	if err != nil {
		return nil, err
	}
	claims := tokenClaims(f, subject, g.c.Release.Release("service:"+f.service.ID, *subject))
	claims["iat"], claims["nbf"], claims["exp"] = now.Unix(), now.Unix(), now.Add(tokenLife).Unix()
	claims["jti"] = encode(random(12))
	raw, err := g.c.Keys.Sign(claims)
	if err != nil {
		return nil, err
	}
	t, err := newToken(raw, now.Add(tokenLife))
	if err != nil {
		return nil, err
	}
	f.token.Store(t)
	return t, nil
}

// reserved claims are ours to set, whatever a release calls an attribute.
var reserved = map[string]bool{"iss": true, "aud": true, "sub": true, "iat": true, "nbf": true, "exp": true, "jti": true, "acr": true, "amr": true, "auth_time": true, "sid": true, "azp": true, "cnf": true, "caller": true}

// tokenClaims says in a token what the release says in headers: names as
// released, several values as a list. sub names the person no further than the
// release does: it is ours where the service knows them by a name that others
// know, the pairwise one where it gets that, and else one that nobody knows again,
// of this session at this service. Then when they signed in stays back too, which
// is told to all services alike.
func tokenClaims(f *forService, subject *authz.Subject, rel authz.Release) map[string]any {
	g, s := f.who.g, f.service
	c := map[string]any{"iss": g.c.Public.String(), "aud": s.ID}
	switch rel.Naming {
	case authz.Named:
		c["sub"] = subject.ID
	case authz.Unnamed:
		if f.who.session != nil {
			c["sub"] = g.c.Release.PairwiseID("service:"+s.ID, "session "+f.who.session.ID)
		}
	}
	if subject.Caller != "" {
		c["caller"] = subject.Caller
	}
	if rel.Naming != authz.Unnamed && !subject.AuthTime.IsZero() {
		c["auth_time"] = subject.AuthTime.Unix()
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
