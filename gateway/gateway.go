// Package gateway is the front door. Every request goes from the top of
// [Gateway.ServeHTTP] to its bottom:
//
//	1 read    method, host, canonical path, who is the peer
//	2 strip   every identity header in any spelling
//	3 recall  the session of this host's cookie        in memory
//	4         its user, as policy sees them            in memory
//	5 decide  allow, deny, log in, step up             remembered under what the rules read
//	6 release headers and token                        made once a session, service and user version
//	7 proxy   to the service
//
// Steps outside this line (signing in, handing a session to another host,
// waiting for accounts, signing out) live under /.gatehouse/ and end with a
// redirect back to step 1, never with each other. A step that can not be done,
// for whatever reason, ends in a refusal: a status, a reason code, a support
// code, as a page, as JSON or as a gRPC status, by what the caller is.
//
// The hot path touches no disk, signs nothing and compiles nothing. What it
// remembers is dropped the moment the store says that it changed.
package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/maypok86/otter/v2"

	"github.com/gatehouse-sso/gatehouse/authz"
	"github.com/gatehouse-sso/gatehouse/federation"
	"github.com/gatehouse-sso/gatehouse/gateway/bearer"
	"github.com/gatehouse-sso/gatehouse/gateway/lean"
	"github.com/gatehouse-sso/gatehouse/gateway/session"
	"github.com/gatehouse-sso/gatehouse/gateway/tracing"
	"github.com/gatehouse-sso/gatehouse/gateway/upstream"
	"github.com/gatehouse-sso/gatehouse/provisioning"
	"github.com/gatehouse-sso/gatehouse/provisioning/audit"
	"github.com/gatehouse-sso/gatehouse/provisioning/outbox"
	"github.com/gatehouse-sso/gatehouse/provisioning/store"
	"github.com/gatehouse-sso/gatehouse/web"
)

// Config is everything that a Gateway needs, ready to use.
type Config struct {
	// Public is the gateway's own address: scheme, host and port.
	Public    *url.URL
	Services  []Service
	Providers []Provider // in the order of the chooser
	Policy    *authz.Policy
	Release   *authz.ReleasePolicy
	// Beside is told what is released, when headers and token for somebody at a
	// service ("service:wiki") are made ready; nil: nobody is. It must be quick.
	Beside         func(to string, s authz.Subject, rel authz.Release)
	Directory      *provisioning.Directory
	Sessions       *session.Store
	Cookie         session.Cookie
	Outbox         *outbox.Outbox
	Keys           *Keys
	Pages          *web.Pages
	Record         func(audit.Event)           // must not block
	Streams        *Streams                    // those under way; nil: none yet
	Multi          func(attribute string) bool // whether an attribute can have several values
	TrustedProxies []netip.Prefix
	Proxies        []Proxy           // who may ask about requests that they serve themselves; trusted as TrustedProxies are
	Transport      http.RoundTripper // to services
	Lean           *lean.Transport   // to services over plain HTTP, in the usual case; nil: Transport in every case, unless that is nil too
	Callers        *bearer.Callers   // programs that services take; nil: none
	Log            *slog.Logger
	Access         *AccessLog                 // gets a line for each request; nil: none is written
	Meter          func(service string) Meter // of a service, or of OwnMeter; nil: nobody counts
	Pace           *Pace                      // of those who are not signed in; nil: nobody is slowed, which is for tests
	Tracer         *tracing.Tracer            // of requests; nil: none is traced
	// SignedIn is told of each answer of an identity provider, with the reason
	// code if it was refused, and how long it was worked on. nil: nobody is.
	SignedIn func(provider, reason string, took time.Duration)
	// Unsaid reports whether somebody is to be asked or told something before they
	// use a service, at ConsentURL. nil: never.
	Unsaid     func(s authz.Subject, service string) bool
	ConsentURL string
	// Tried is told what came of a Trial. nil: nobody is.
	Tried func(t Trial, id federation.Identity, err error)
	// Recovered is called in the transaction that lets somebody in by a code of the
	// machine, with the support code and the address; its error undoes that.
	Recovered  func(tx store.Tx, flow, from string) error
	Now        func() time.Time
	Contact    string // whom to ask where a service names nobody
	ContactURL string

	// Asking says what somebody to whom a service was denied can do about it; back
	// is the page that they wanted. nil: nothing.
	Asking func(ctx context.Context, s authz.Subject, service string, d authz.Decision, back string) Asking

	// Own serves programs on the gateway's own host, which prove themselves
	// without cookies: by the beginning of their path below /.gatehouse/,
	// "scim/v2/". Aliases are other paths of that host for such a beginning:
	// "/scim2/".
	Own     map[string]http.Handler
	Aliases map[string]string
}

// A Service behind the gateway.
type Service struct {
	ID, Title, Description, LogoURL string
	Host                            string // canonical, without a port
	Path                            string // "/", or the part of the host that is this service's
	// Exactly one of Upstream, which is reached by Config.Transport, Upstreams
	// and Handler serves it.
	Upstream  *url.URL
	Upstreams *upstream.Set
	// Handler serves it in this process. On the gateway's own host its Path may be
	// below /.gatehouse/: pages of ours for who is signed in.
	Handler             http.Handler
	Headers             []HeaderRule
	IdentityProviders   []string // empty: all
	Contact, ContactURL string
	DeniedText          string
	KeepAuthorization   bool
	NoWebSocket         bool
	ProvisionedBy       []string // targets whose state the service learns
	// ProvisionedWithin is how long a first request is held while one of them has
	// no account yet; 0: not at all.
	ProvisionedWithin time.Duration
}

// Asking is what somebody can do to whom a service was denied. The zero Asking is
// nothing.
type Asking struct {
	URL     string       // where they ask for what is missing
	Waiting *web.Waiting // what they have asked for already
}

// A Provider is an identity provider with what follows a sign-in there.
type Provider struct {
	ID, Title, LogoURL, Hint string
	federation.Provider
	JIT provisioning.JIT
	// Blocking: the first use of a session waits for the user's accounts at
	// targets that sign-ins wait for, at most Timeout; then Continue or not.
	Blocking bool
	Timeout  time.Duration
	Continue bool
	// Callback is the path of the answer below /.gatehouse/, and Metadata that
	// of our own metadata, empty for none.
	Callback string
	Metadata func() ([]byte, error)
	// CrossSite: the answer is a POST from the provider's site.
	CrossSite bool
	ErrorURL  string
	Recipient string // how the provider knows us
	// Issuer is how an OpenID provider calls itself where it, or another site,
	// begins a sign-in; empty: it can not.
	Issuer string
}

// A Gateway is an http.Handler. It is made from one configuration and never
// changes; a change of configuration makes another one.
type Gateway struct {
	c         Config
	routes    routes
	services  map[string]*service
	providers map[string]*Provider
	callbacks map[string]*Provider // by path below /.gatehouse/
	wall      *wall
	people    *people
	subjects  *otter.Cache[*prepared, *authz.Subject] // with sign-in and roles, of those for whom something was worked out last
	programs  *otter.Cache[string, *prepared]         // those that came last
	anonymous *prepared
	recoverer *authz.Subject // see recover.go
	host      string         // Public's
	assets    http.Handler
	language  http.Handler
	noise     *log.Logger // what the proxy says about connections
	hsts      []string
	meter     Meter // of what the gateway answers itself
}

// service is a Service with what is made of it once.
type service struct {
	Service
	reads     authz.Inputs
	authority string        // host and port, as browsers have them
	upstreams *upstream.Set // nil: Handler serves it
	prefix    []string      // of paths, that the service does not see; nil: none
	callers   bool          // it takes programs
	tokens    []string      // the headers that bear the token
	names     []string      // of the headers that its rules give it
	held      []string      // names of the wall that it gets nothing under, in lower case
	allowed   sync.Map      // of *authz.Decision, by rule: see allowing
	meter     Meter
}

func newService(s Service, g *Gateway) *service {
	sv := &service{Service: s, reads: g.c.Policy.Reads(s.ID), authority: g.authority(s.Host), tokens: []string{jwtHeader}, meter: g.c.Meter(s.ID)}
	for _, h := range s.Headers {
		name := http.CanonicalHeaderKey(h.Name)
		sv.names = append(sv.names, name)
		if h.Attribute == JWTAttribute && !slices.Contains(sv.tokens, name) {
			sv.tokens = append(sv.tokens, name)
		}
	}
	sv.callers = g.c.Callers.Takes(s.ID)
	if sv.upstreams = s.Upstreams; s.Upstream != nil {
		sv.upstreams = upstream.One(s.Upstream, g.c.Transport, g.c.Lean, g.c.Now)
	}
	if sv.upstreams != nil && sv.upstreams.Rewrite.Strip != "" {
		sv.prefix = []string{sv.upstreams.Rewrite.Strip}
	}
	return sv
}

// New checks what can be checked and makes a Gateway. Run keeps what it
// remembers true.
func New(c Config) (*Gateway, error) {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Record == nil {
		c.Record = func(audit.Event) {}
	}
	if c.Streams == nil {
		c.Streams = &Streams{}
	}
	if c.Recovered == nil {
		c.Recovered = func(store.Tx, string, string) error { return nil }
	}
	if c.Multi == nil {
		c.Multi = func(string) bool { return false }
	}
	if c.Meter == nil {
		c.Meter = func(string) Meter { return silent{} }
	}
	if c.Transport == nil {
		c.Transport, c.Lean = upstream.Transport(nil), upstream.Lean(nil)
	}
	if err := checkProxies(c.Proxies); err != nil {
		return nil, err
	}
	for _, p := range c.Proxies {
		c.TrustedProxies = slices.Concat(c.TrustedProxies, p.From)
	}
	g := &Gateway{
		c: c, services: map[string]*service{}, providers: map[string]*Provider{}, callbacks: map[string]*Provider{},
		people: newPeople(c.Directory), meter: c.Meter(OwnMeter), host: canonicalHost(c.Public.Host),
		assets: c.Pages.Assets(), language: c.Pages.Language(),
		noise: slog.NewLogLogger(c.Log.Handler(), slog.LevelDebug),
	}
	if c.Public.Scheme == "https" {
		g.hsts = []string{"max-age=31536000"}
	}
	if g.host == "" {
		return nil, fmt.Errorf("public address %q has no host", c.Public)
	}
	var list []*service
	for _, s := range c.Services {
		if s.Host == "" || s.Host != canonicalHost(s.Host) {
			return nil, fmt.Errorf("service %s: host %q is not in its canonical form", s.ID, s.Host)
		}
		if s.Path == "" {
			s.Path = "/"
		}
		if n := truth(s.Upstream != nil) + truth(s.Upstreams != nil) + truth(s.Handler != nil); n != 1 {
			return nil, fmt.Errorf("service %s: exactly one upstream is needed", s.ID)
		}
		if _, reserved := own(s.Path); reserved && (s.Handler == nil || s.Host != g.host) {
			return nil, fmt.Errorf("service %s: what is below /.gatehouse/ is the gateway's own", s.ID)
		}
		for _, h := range s.Headers {
			if !ValidHeaderName(h.Name) {
				return nil, fmt.Errorf("service %s: %q can not be the name of a header of ours", s.ID, h.Name)
			}
		}
		s.Headers = Several(s.Headers, c.Multi)
		sv := newService(s, g)
		if g.services[s.ID] != nil {
			return nil, fmt.Errorf("two services are called %s", s.ID)
		}
		g.services[s.ID] = sv
		list = append(list, sv)
	}
	for i := range c.Providers {
		p := &c.Providers[i]
		if p.ID == session.Recovery {
			return nil, fmt.Errorf("no identity provider may be called %s", p.ID)
		}
		g.providers[p.ID] = p
		g.callbacks[p.Callback] = p
	}
	var err error
	if g.routes, err = newRoutes(list); err != nil {
		return nil, err
	}
	g.wall = newWall(list)
	for _, s := range list {
		s.held = g.wall.without(s)
	}
	g.subjects, g.programs, g.anonymous = recent[*prepared, *authz.Subject](maxSubjects), recent[string, *prepared](maxPrograms), g.fix(&authz.Subject{})
	g.recoverer = recoverer()
	c.Streams.judge.Store(g)
	return g, nil
}

// Run keeps what the gateway remembers about users true, and cuts streams whose
// right to be has ended, until ctx ends.
func (g *Gateway) Run(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { g.ticks(ctx) })
	wg.Go(func() { every(ctx, lettingGo, g.letGo) })
	g.people.run(ctx, func(id string) { g.Recheck("", id) })
}

// visit is one request on its way through.
type visit struct {
	g       *Gateway
	w       *reply
	r       *http.Request
	turn    uint64 // of the streams, when this request came
	host    string
	path    string // canonical: decoded, the one that rules see
	from    netip.Addr
	service *service
	trip    upstream.Trip
	session *session.Session
	bears   *bearer.Caller // the program that asks, where it is none of a person
	who     *prepared      // the person, ready to be decided about; nobody to begin with
	ready   *forService    // what is ready for them at the service
	support string         // the code on the page and in the log; made when needed
	began   time.Time      // by the clock of the machine: it is only measured with
	broke   bool           // off, because nobody waits for an answer any more, or half of one was sent
	proxy   *Proxy         // that asks whether this request may pass
	checks  *check         // by gRPC
	trial   *Trial         // that this sign-in is
	form    bool           // it is a form of a page of ours, whose answer leads on
	page    bool           // and wants what the person is to see who may not
	linking string         // the user to whom a sign-in that begins adds an identity
	span    *tracing.Span  // of this request; nil: it is not traced

	// What w is, and what w.stream may be: made with the visit.
	reply  reply
	stream stream
}

// ServeHTTP takes one request from the top to the bottom.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	v := &visit{g: g, r: r, turn: g.c.Streams.turn.Load(), who: g.anonymous, began: time.Now()}
	v.reply = reply{ResponseWriter: w, one: r.ProtoMajor == 1}
	v.w = &v.reply
	if g.c.Tracer != nil {
		v.trace()
	}
	defer v.end()
	defer v.recover()
	if g.hsts != nil {
		w.Header()["Strict-Transport-Security"] = g.hsts
	}
	if g.c.Proxies != nil {
		if err := v.question(); err != nil {
			v.from = v.peer()
			v.refuse(err)
			return
		}
	}
	if err := v.read(); err != nil {
		v.refuse(err)
		return
	}
	g.wall.strip(v.r.Header)
	if rest, ok := own(v.path); ok && v.proxy != nil {
		v.refuse(refusal{code: ReasonPathUnknown, detail: "a proxy asks about " + v.path + ", which is ours"})
		return
	} else if v.service = g.routes.page(v.host, v.path); ok && v.service == nil {
		v.ours(rest)
		return
	}
	if rest, ok := v.alias(); ok && v.proxy == nil {
		v.ours(rest)
		return
	}
	if v.service == nil {
		v.service, _ = g.routes.match(v.host, v.path)
	}
	if v.service == nil {
		v.refuse(refusal{code: ReasonPathUnknown, detail: "no service is at " + v.host + v.path})
		return
	}
	if v.proxy != nil && !v.proxy.Serves(v.service.ID) {
		v.refuse(refusal{code: ReasonNotBehind, detail: "proxy " + v.proxy.ID + " asks about " + v.service.ID})
		return
	}
	if err := v.recall(); err != nil {
		v.refuse(err)
		return
	}
	if v.service.callers {
		if err := v.bear(); err != nil {
			v.refuse(err)
			return
		}
	}
	if v.paced() {
		return
	}
	d, err := v.judge()
	if err != nil {
		v.refuse(refusal{code: ReasonStore, detail: "decide: " + err.Error()})
		return
	}
	v.service.meter.Decision(d.Outcome.String(), d.Rule())
	switch d.Outcome {
	case authz.Allow:
		switch {
		case v.held() || v.arriving() || v.unsaid():
		case v.proxy != nil:
			v.approve()
		default:
			v.pass()
		}
	case authz.Login:
		v.signIn()
	case authz.StepUp:
		v.stepUp(d)
	default:
		v.deny(d)
	}
}

// read takes from the request what everything else depends on, and refuses
// what could be read in two ways.
func (v *visit) read() error {
	r := v.r
	v.from = v.peer()
	if !methods[r.Method] {
		return refusal{code: ReasonMethod, detail: "method " + r.Method}
	}
	lines := 0
	for _, vals := range r.Header {
		lines += len(vals)
	}
	if lines > maxHeaderLines {
		return refusal{code: ReasonHeaders, detail: fmt.Sprintf("%d header lines", lines)}
	}
	if v.host = canonicalHost(r.Host); v.host == "" {
		return refusal{code: ReasonHostUnknown, detail: "host " + r.Host}
	}
	if !sameName(r.TLS, v.host) {
		return refusal{code: ReasonHostUnknown, detail: "the connection was opened for another host than " + v.host}
	}
	if r.URL.User != nil {
		return refusal{code: ReasonHostUnknown, detail: "user info before the host"}
	}
	// HTTP/2 lets a space in, which would end the target in the line that a service gets.
	if strings.ContainsAny(r.RequestURI, "# ") {
		return refusal{code: ReasonPath, detail: "a fragment or a space in the request target"}
	}
	var err error
	if v.path, err = canonicalPath(r.URL); err != nil {
		return refusal{code: ReasonPath, detail: err.Error()}
	}
	// The page that refuses a host needs its style there.
	if _, known := v.g.routes.hosts[v.host]; !known && v.host != v.g.host && !strings.HasPrefix(v.path, web.AssetsPath) {
		return refusal{code: ReasonHostUnknown, detail: "host " + v.host}
	}
	return nil
}

// sameName: a TLS connection that named a host serves that host alone.
func sameName(c *tls.ConnectionState, host string) bool {
	return c == nil || c.ServerName == "" || canonicalHost(c.ServerName) == host
}

// Limits of any request.
const (
	maxHeaderLines = 100
	maxCookies     = 60
)

// methods that a service can get. CONNECT and TRACE are for proxies, and what
// is in no registry is for nobody.
var methods = func() map[string]bool {
	m := map[string]bool{}
	for _, s := range strings.Fields(`GET HEAD POST PUT PATCH DELETE OPTIONS
		PROPFIND PROPPATCH MKCOL COPY MOVE LOCK UNLOCK REPORT SEARCH MKCALENDAR ACL BIND REBIND UNBIND
		CHECKIN CHECKOUT UNCHECKOUT VERSION-CONTROL MERGE MKACTIVITY MKWORKSPACE LABEL UPDATE BASELINE-CONTROL ORDERPATCH LINK UNLINK QUERY`) {
		m[s] = true
	}
	return m
}()

// recall finds the session and its user. Nobody is no error; not knowing is.
func (v *visit) recall() error {
	if n := strings.Count(strings.Join(v.r.Header["Cookie"], ";"), ";"); n >= maxCookies {
		for _, ck := range v.flows() {
			v.dropFlow(ck.Name) // ours, at least, are fewer the next time
		}
		return refusal{code: ReasonHeaders, detail: fmt.Sprintf("more than %d cookies", maxCookies)}
	}
	s, err := v.g.c.Sessions.Lookup(v.r, v.host)
	switch {
	case errors.Is(err, session.ErrNone):
		return nil
	case errors.Is(err, session.ErrAmbiguous):
		http.SetCookie(v.w, v.g.c.Cookie.Make("", ""))
		return refusal{code: ReasonCookies, detail: err.Error()}
	case err != nil:
		return refusal{code: ReasonStore, detail: "look up session: " + err.Error()}
	}
	who, err := v.g.prepare(v.r.Context(), s, v.service)
	if errors.Is(err, provisioning.ErrNotFound) {
		return nil // deleted meanwhile, or not good for this service: nobody
	}
	if err != nil {
		return refusal{code: ReasonStore, detail: "load user: " + err.Error()}
	}
	v.session, v.who = s, who
	return nil
}

// scheme of everything that is ours: what the public address says.
func (g *Gateway) scheme() string { return g.c.Public.Scheme }

// authority of a host behind this gateway: all are on the public address's port.
func (g *Gateway) authority(host string) string {
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if p := g.c.Public.Port(); p != "" {
		host += ":" + p
	}
	return host
}

func (g *Gateway) origin(host string) string { return g.scheme() + "://" + g.authority(host) }

// here is the address of this request, as the browser has it.
func (v *visit) here() string { return v.g.origin(v.host) + v.r.URL.RequestURI() }
