// Package upstream says which of a service's upstreams gets a request.
//
//	request ─▶ Set.Begin ─▶ Trip.Next ─▶ Member ─▶ its answer ─▶ Trip.Answered
//	                           ▲            │
//	                           │            └─ or a failure ──▶ Trip.Again
//	                           └──────────────────────────────────┘  another member, if that does no harm
//	Set.Run asks each member now and then whether it is well
//
// A [Member] is well, ejected or down. Requests that fail in a row eject it for a
// while; its checks, where there are any, put it down and up again. Who is
// ejected gets requests only if nobody is well, and who could not even be
// connected to gets one a second then, so that people wait for no dead machine
// and a service that comes back is back. Who is down gets none. With nobody left,
// a Trip goes nowhere, and the person is told that the service is down.
//
// A request is sent again only if it has no body, no answer began, and either no
// connection was made or its method is safe (RFC 9110, section 9.2.1). One that
// took too long is not: what could not be done in that time would be asked of the
// others too.
//
// Choosing is a function of what is known and of the time; it takes no lock and
// allocates nothing. Connections and checks are at the rim.
package upstream

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/gatehouse-sso/gatehouse/gateway/lean"
)

// A Balance is how requests are spread over members that are well.
type Balance int

// Balances.
const (
	RoundRobin    Balance = iota
	LeastRequests         // the one with the fewest under way
)

// A Sticky is what keeps a person at one member.
type Sticky int

// What keeps people where they were.
const (
	Nothing   Sticky = iota
	ByCookie         // of the gateway's, which says nothing and can not be made up
	BySession        // the same session always has the same member
)

// Config of a Set. The zero value of each field but Addresses is its default.
type Config struct {
	// Addresses are http://HOST:PORT, https://HOST:PORT or unix:///PATH.
	Addresses []*url.URL
	Balance   Balance
	Sticky    Sticky
	Key       []byte // of the values of sticky cookies
	// Retries is how often a request may be sent again to another member.
	Retries int
	// Failures in a row eject a member for Eject; 0: five, for 30 seconds. Where
	// Statuses is true, the answers 502, 503 and 504 are failures.
	Failures int
	Eject    time.Duration
	Statuses bool
	Check    *Check // nil: nobody asks

	Timeouts Timeouts
	// MaxHead bounds the head of a response and MaxBody its body, in bytes; 0: 64 KiB,
	// and any length.
	MaxHead int
	MaxBody int64
	Rewrite Rewrite
	Wire    Wire
	// Changed is told when a member's State changes, and why. It must not block.
	Changed func(member string, s State, why error)
	Now     func() time.Time // nil: time.Now
}

// Timeouts of a request. 0 is the default.
type Timeouts struct {
	Connect time.Duration // until there is a connection; 10 seconds
	Head    time.Duration // until the answer begins; 5 minutes
	Whole   time.Duration // until the answer ends; any time
	Silence time.Duration // between two pieces of an answer; any time
}

// A State is how a member is.
type State int32

// States.
const (
	Well    State = iota
	Ejected       // requests failed
	Down          // its checks failed
)

// States are all there are, by name.
var States = []string{"well", "ejected", "down"}

func (s State) String() string { return States[s] }

// A Set is the upstreams of one service.
type Set struct {
	Config
	// Transport reaches every member, as does Lean by its Addr; nil: none has one.
	Transport http.RoundTripper
	Lean      *lean.Transport

	members []*Member
	turn    atomic.Uint32 // counts requests, for RoundRobin
	now     func() time.Time
}

// A Member is one upstream of a Set.
type Member struct {
	Name string   // its address as configured
	URL  *url.URL // scheme and host for Set.Transport
	Addr string   // for Set.Lean; empty: it is for Set.Transport alone
	// token is its value of a sticky cookie, and salt what the hash of a session
	// is mixed with.
	token string
	salt  uint64

	under atomic.Int64 // requests under way, where Balance counts them

	// What requests have shown.
	fails atomic.Int32 // in a row
	until atomic.Int64 // ejected until this time, in nanoseconds since 1970; 0: it is not
	gone  atomic.Bool  // no connection could be made
	trial atomic.Int64 // when one that is gone may be tried again

	// What checks have shown.
	down   atomic.Bool
	known  atomic.Bool // there was a check
	streak atomic.Int32
}

// maxMembers of a Set: a Trip has one bit for each.
const maxMembers = 64

// New makes a Set with connections of its own.
func New(c Config) (*Set, error) {
	if len(c.Addresses) == 0 || len(c.Addresses) > maxMembers {
		return nil, errors.New("a service has from 1 to " + strconv.Itoa(maxMembers) + " upstreams")
	}
	s := newSet(c)
	sockets := map[string]string{}
	for i, u := range c.Addresses {
		m := &Member{Name: u.String(), URL: &url.URL{Scheme: u.Scheme, Host: u.Host}}
		if u.Scheme == "unix" {
			host := "socket-" + strconv.Itoa(i) + ".invalid" // a name that nothing else has (RFC 6761, section 6.4)
			m.URL = &url.URL{Scheme: "http", Host: host}
			sockets[net.JoinHostPort(host, "80")] = u.Path
		}
		if c.plain() {
			m.Addr = addressOf(m.URL)
		}
		s.add(m)
	}
	dial := c.dial(sockets)
	s.Transport = c.transport(dial)
	if c.plain() {
		s.Lean = Lean(dial)
		s.Lean.MaxHead = c.MaxHead
		if c.Timeouts.Head > 0 {
			s.Lean.HeadTimeout = c.Timeouts.Head
		}
	}
	return s, nil
}

// One is the Set of a single upstream that is reached by what is there already.
// fast may be nil.
func One(u *url.URL, tr http.RoundTripper, fast *lean.Transport, now func() time.Time) *Set {
	s := newSet(Config{Addresses: []*url.URL{u}, Now: now})
	m := &Member{Name: u.String(), URL: u}
	if s.Transport = tr; u.Scheme == "http" {
		m.Addr, s.Lean = addressOf(u), fast
	}
	s.add(m)
	return s
}

func newSet(c Config) *Set {
	if c.Failures == 0 {
		c.Failures = 5
	}
	if c.Eject == 0 {
		c.Eject = 30 * time.Second
	}
	s := &Set{Config: c, now: c.Now}
	if s.now == nil {
		s.now = time.Now
	}
	return s
}

func (s *Set) add(m *Member) {
	m.token, m.salt = s.tokenOf(m.Name), saltOf(m.Name)
	s.members = append(s.members, m)
}

// addressOf is the host and port of an http address.
func addressOf(u *url.URL) string {
	if u.Port() == "" {
		return net.JoinHostPort(u.Hostname(), "80")
	}
	return u.Host
}

// Members are all of them, in the order of the configuration.
func (s *Set) Members() []*Member { return s.members }

// Close closes the connections that nobody uses.
func (s *Set) Close() {
	if s.Lean != nil {
		s.Lean.CloseIdleConnections()
	}
	if c, ok := s.Transport.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

// Inherit takes over what another Set knows about members that both have, so
// that a change of the configuration forgets nothing.
func (s *Set) Inherit(old *Set) {
	if old == nil {
		return
	}
	for _, m := range s.members {
		i := slices.IndexFunc(old.members, func(o *Member) bool { return o.Name == m.Name })
		if i < 0 {
			continue
		}
		o := old.members[i]
		m.fails.Store(o.fails.Load())
		m.until.Store(o.until.Load())
		m.gone.Store(o.gone.Load())
		m.trial.Store(o.trial.Load())
		if s.Check != nil && old.Check != nil {
			m.down.Store(o.down.Load())
			m.known.Store(o.known.Load())
		}
	}
}

// State of a member at a time.
func (m *Member) State(now time.Time) State {
	switch until := m.until.Load(); {
	case m.down.Load():
		return Down
	case now.UnixNano() < until:
		return Ejected
	}
	return Well
}

// clear: nothing speaks against the member, whatever the time.
func (m *Member) clear() bool { return m.until.Load() == 0 && !m.down.Load() }

// Down reports whether every member is known to be down, or to be one to which
// no connection can be made.
func (s *Set) Down() bool {
	now := s.now()
	return !slices.ContainsFunc(s.members, func(m *Member) bool {
		st := m.State(now)
		return st == Well || st == Ejected && !m.gone.Load()
	})
}

// RetryAfter is in how many seconds a service without a member may have one again.
func (s *Set) RetryAfter() int {
	if s.Check == nil {
		return 1
	}
	return max(1, min(60, int((s.Check.Every+time.Second-1)/time.Second)))
}

// A Hint is what says where a person was.
type Hint struct {
	Cookie  string // the value of their sticky cookie
	Session string // their session, or what else stays the same
}

// A Trip is one request on its way. It is not for two goroutines.
type Trip struct {
	set      *Set
	hint     Hint
	at       *Member
	tried    uint64 // a bit for each member that was
	sent     int
	answered bool
}

// Begin a trip.
func (s *Set) Begin(h Hint) Trip { return Trip{set: s, hint: h} }

// Set is where the trip goes; nil: it has not begun.
func (t *Trip) Set() *Set { return t.set }

// Next is where the request goes; nil: nowhere, the service is down.
func (t *Trip) Next() *Member {
	t.End()
	m, i := t.set.pick(t.hint, t.tried)
	if m == nil {
		return nil
	}
	t.tried |= 1 << i
	t.sent++
	t.at = m
	if t.set.Balance == LeastRequests {
		m.under.Add(1)
	}
	return m
}

// End of a trip, wherever it is.
func (t *Trip) End() {
	if t.at != nil && t.set.Balance == LeastRequests {
		t.at.under.Add(-1)
	}
	t.at = nil
}

// Answered notes that an answer began.
func (t *Trip) Answered(status int) {
	if t.at == nil {
		return
	}
	t.answered = true
	if t.set.Statuses && (status == http.StatusBadGateway || status == http.StatusServiceUnavailable || status == http.StatusGatewayTimeout) {
		t.set.failed(t.at, errors.New("the answer "+strconv.Itoa(status)))
		return
	}
	t.set.served(t.at)
}

// Again notes how a request ended, and says whether it may go to another member.
func (t *Trip) Again(r *http.Request, err error) bool {
	if err == nil || t.answered || t.at == nil || r.Context().Err() != nil {
		return false
	}
	t.set.failed(t.at, err)
	if t.sent > t.set.Retries || r.ContentLength != 0 || len(r.TransferEncoding) > 0 {
		return false
	}
	if !unreached(err) && (!safe(r.Method) || slow(err)) {
		return false
	}
	_, i := t.set.well(t.hint, t.tried)
	return i >= 0
}

// Host is the host and port of the member that the trip is at.
func (t *Trip) Host() string {
	if t.at == nil {
		return ""
	}
	return t.at.URL.Host
}

// Cookie is the value that a person's sticky cookie should have, if it has
// another.
func (t *Trip) Cookie() (value string, set bool) {
	if t.at == nil || t.set.Sticky != ByCookie || t.at.token == t.hint.Cookie {
		return "", false
	}
	return t.at.token, true
}

func safe(method string) bool {
	return method == http.MethodGet || method == http.MethodHead || method == http.MethodOptions
}

func slow(err error) bool {
	var e net.Error
	return errors.As(err, &e) && e.Timeout()
}

// unreached: no connection was made, so nothing was sent.
func unreached(err error) bool {
	var e *dialError
	return errors.As(err, &e)
}

// trialEvery is how often one that is gone is tried, if there is no other.
const trialEvery = time.Second

// pick chooses a member that was not tried, and its place; nil if nobody is left.
func (s *Set) pick(h Hint, tried uint64) (*Member, int) {
	if len(s.members) == 1 && s.members[0].clear() { // nearly always
		if tried != 0 {
			return nil, -1
		}
		return s.members[0], 0
	}
	if m, i := s.well(h, tried); m != nil {
		return m, i
	}
	now := s.now().UnixNano()
	if m, i := s.choose(h, func(i int, m *Member) bool { return tried>>i&1 == 0 && !m.down.Load() && !m.gone.Load() }); m != nil {
		return m, i
	}
	for i, m := range s.members {
		if at := m.trial.Load(); tried>>i&1 == 0 && !m.down.Load() && now >= at && m.trial.CompareAndSwap(at, now+int64(trialEvery)) {
			return m, i
		}
	}
	return nil, -1
}

// well chooses among members that are well.
func (s *Set) well(h Hint, tried uint64) (*Member, int) {
	now := s.now()
	return s.choose(h, func(i int, m *Member) bool { return tried>>i&1 == 0 && (m.clear() || m.State(now) == Well) })
}

// choose among the members that may be chosen.
func (s *Set) choose(h Hint, may func(int, *Member) bool) (*Member, int) {
	switch {
	case s.Sticky == ByCookie && h.Cookie != "":
		for i, m := range s.members {
			if m.token == h.Cookie && may(i, m) {
				return m, i
			}
		}
	case s.Sticky == BySession && h.Session != "":
		return s.hashed(h.Session, may)
	}
	at, n := int(s.turn.Add(1)-1), len(s.members) //nolint:gosec // it may wrap round
	best := -1
	for k := range n {
		i := (at + k) % n
		if i < 0 {
			i += n
		}
		if !may(i, s.members[i]) {
			continue
		}
		if s.Balance == RoundRobin {
			return s.members[i], i
		}
		if best < 0 || s.members[i].under.Load() < s.members[best].under.Load() {
			best = i
		}
	}
	if best < 0 {
		return nil, -1
	}
	return s.members[best], best
}

// served notes that a member answered.
func (s *Set) served(m *Member) {
	if m.fails.Load() == 0 {
		return
	}
	m.fails.Store(0)
	m.gone.Store(false)
	if m.until.Swap(0) != 0 && !m.down.Load() {
		s.tell(m, Well, nil)
	}
}

// failed notes that a member did not.
func (s *Set) failed(m *Member, err error) {
	n := m.fails.Add(1)
	m.gone.Store(unreached(err))
	if int(n) < s.Failures {
		return
	}
	now := s.now().UnixNano()
	m.trial.Store(now + int64(trialEvery))
	if m.until.Swap(now+int64(s.Eject)) == 0 && !m.down.Load() {
		s.tell(m, Ejected, err)
	}
}

func (s *Set) tell(m *Member, st State, why error) {
	if s.Changed != nil {
		s.Changed(m.Name, st, why)
	}
}

// A dialError is a connection that could not be made.
type dialError struct{ err error }

func (e *dialError) Error() string { return e.err.Error() }
func (e *dialError) Unwrap() error { return e.err }

// Timeout and Temporary are those of what it wraps, as net.Error.
func (e *dialError) Timeout() bool   { return slow(e.err) || errors.Is(e.err, context.DeadlineExceeded) }
func (e *dialError) Temporary() bool { return false }
