package gateway

import (
	"cmp"
	"context"
	"errors"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gatehouse-sso/gatehouse/authz"
	"github.com/gatehouse-sso/gatehouse/gateway/bearer"
	"github.com/gatehouse-sso/gatehouse/gateway/lean"
	"github.com/gatehouse-sso/gatehouse/gateway/session"
	"github.com/gatehouse-sso/gatehouse/provisioning"
	"github.com/gatehouse-sso/gatehouse/provisioning/audit"
)

// Streams are the requests that are being served. One that lasts (a WebSocket,
// a stream, a long download) is cut when its right to be ends, and not when the
// person happens to ask for the next thing. They outlive a Gateway: after a
// change of configuration the next one decides about them. The zero Streams are
// none.
type Streams struct {
	mu    sync.Mutex
	first *stream // of a list
	count int
	judge atomic.Pointer[Gateway] // decides: the last one made
	// turn counts how often streams were decided about. A request that sees it
	// move between its decision and its being here asks again.
	turn atomic.Uint64
}

// A stream is one request being served.
type stream struct {
	session, user string         // empty: nobody's
	bears         *bearer.Caller // the program whose it is
	service       string
	method, path  string
	from          netip.Addr
	reply         *reply
	line          lean.Line

	before, after *stream // in the list

	mu     sync.Mutex
	cancel context.CancelCauseFunc // of its context; nil: it has none of its own
	cause  error                   // why it was ended
	over   bool                    // its handler has returned; what it wrote to is not its own any more
}

// cut ends a stream whose right to be has ended, for the reason code, and reports
// whether it was this that ended it.
func (s *stream) cut(code string) bool {
	s.mu.Lock()
	first := !s.over && s.cause == nil
	if first {
		s.cause = errCut
		s.reply.goodbye(code)
	}
	s.mu.Unlock()
	s.end(errCut)
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.over {
		s.reply.cut()
	}
	return first
}

// end ends a stream for a reason; the first one counts.
func (s *stream) end(cause error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return
	}
	if s.cause == nil {
		s.cause = cause
	}
	s.line.Cut()
	if s.cancel != nil {
		s.cancel(s.cause)
	}
}

// also ends a context with the stream.
func (s *stream) also(cancel context.CancelCauseFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cancel = cancel
	if s.cause != nil {
		cancel(s.cause)
	}
}

// why a stream was ended; nil: it was not, or there is none.
func (s *stream) why() error {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cause
}

func (v *visit) newStream() *stream {
	st := &v.stream
	*st = stream{service: v.service.ID, method: v.r.Method, path: v.path, from: v.from, reply: v.w}
	if v.session != nil {
		st.session, st.user = v.session.ID, v.session.UserID
	}
	st.bears = v.bears
	v.w.stream = st
	return st
}

// errCut is the cause with which a stream is cut.
var errCut = errors.New("the right to this stream has ended")

func (f *Streams) add(s *stream) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.first != nil {
		f.first.before = s
	}
	s.after, f.first = f.first, s
	f.count++
}

func (f *Streams) remove(s *stream) {
	s.mu.Lock()
	s.over = true
	s.mu.Unlock()
	f.mu.Lock()
	defer f.mu.Unlock()
	if s.after != nil {
		s.after.before = s.before
	}
	if s.before != nil {
		s.before.after = s.after
	} else {
		f.first = s.after
	}
	f.count--
}

// of returns the streams that match.
func (f *Streams) of(match func(*stream) bool) (list []*stream) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for s := f.first; s != nil; s = s.after {
		if match(s) {
			list = append(list, s)
		}
	}
	return list
}

// Count is how many there are.
func (f *Streams) Count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.count
}

// recheckEvery is how often all streams are decided about anew.
const recheckEvery = 2 * time.Second

// Recheck decides anew about the streams of a session, a user, or, if both are
// empty, of everybody, and cuts those that would not be let in. Not knowing
// cuts too. It does not wait.
func (g *Gateway) Recheck(sessionID, userID string) {
	g.c.Streams.turn.Add(1)
	go g.recheck(func(s *stream) bool {
		return (sessionID == "" || s.session == sessionID) && (userID == "" || s.user == userID)
	})
}

// ticks rechecks all streams from time to time: sessions run out, and so do
// rules that read the clock, without anything that would tell.
func (g *Gateway) ticks(ctx context.Context) {
	every(ctx, recheckEvery, func() { g.recheck(everything) })
}

// every does something from time to time until ctx ends.
func every(ctx context.Context, d time.Duration, do func()) {
	tick := time.NewTicker(d)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			do()
		}
	}
}

func everything(*stream) bool { return true }

func (g *Gateway) recheck(match func(*stream) bool) {
	judge := g.c.Streams.judge.Load()
	var wg sync.WaitGroup
	for _, s := range g.c.Streams.of(match) {
		if code := judge.over(s); code != "" {
			wg.Go(func() {
				if s.cut(code) {
					g.c.Record(audit.Event{Kind: "stream.cut", Code: code, UserID: s.user, Service: s.service, From: s.from.String(), Text: s.method + " " + s.path})
				}
			})
		}
	}
	wg.Wait() // a client that takes nothing holds up no other
}

// over is the reason code for which a stream may not go on; empty: it may.
func (g *Gateway) over(s *stream) string {
	service, who := g.services[s.service], g.anonymous
	if service == nil {
		return ReasonPathUnknown
	}
	if s.session != "" {
		ctx := context.Background()
		row, err := g.c.Sessions.Peek(ctx, s.session)
		if errors.Is(err, session.ErrNone) {
			return ReasonRevoked
		}
		if err != nil {
			return ReasonStore
		}
		who, err = g.prepare(ctx, row, service)
		if errors.Is(err, provisioning.ErrNotFound) {
			return ReasonRevoked
		}
		if err != nil {
			return ReasonStore
		}
	}
	if s.bears != nil {
		if err := g.c.Callers.Still(s.bears, service.ID, s.path); err != nil {
			return reasonOf(err)
		}
		who = g.prepareProgram(s.bears)
	}
	switch d, err := g.decideFor(context.Background(), who, service, s.method, s.path, s.from); {
	case errors.Is(err, provisioning.ErrNotFound):
		return ReasonRevoked
	case err != nil:
		return ReasonStore
	case d.Outcome != authz.Allow:
		return cmp.Or(d.Code, ReasonRevoked)
	}
	return ""
}
