package gateway

import (
	"context"
	"errors"
	"net/netip"
	"sync"

	"github.com/gatehouse-sso/gatehouse/authz"
)

// Streams are the requests of signed-in people that are being served. One that
// lasts (a WebSocket, a stream, a long download) is cut when its right to be
// ends, and not when the person happens to ask for the next thing. They outlive
// a Gateway: after a change of configuration the next one decides about them.
// The zero Streams are none.
type Streams struct {
	mu sync.Mutex
	m  map[string]map[*stream]struct{} // by session
}

// A stream is one request being served.
type stream struct {
	session, user string
	service       string
	method, path  string
	from          netip.Addr
	cancel        context.CancelCauseFunc
}

// errCut is the cause with which a stream is cut.
var errCut = errors.New("the right to this stream has ended")

func (f *Streams) add(s *stream) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.m == nil {
		f.m = map[string]map[*stream]struct{}{}
	}
	if f.m[s.session] == nil {
		f.m[s.session] = map[*stream]struct{}{}
	}
	f.m[s.session][s] = struct{}{}
}

func (f *Streams) remove(s *stream) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.m[s.session], s)
	if len(f.m[s.session]) == 0 {
		delete(f.m, s.session)
	}
}

// of returns the streams that match.
func (f *Streams) of(match func(*stream) bool) (list []*stream) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, set := range f.m {
		for s := range set {
			if match(s) {
				list = append(list, s)
			}
		}
	}
	return list
}

// Recheck decides anew about the streams of a session, a user, or, if both are
// empty, of everybody, and cuts those that would not be let in. Not knowing
// cuts too.
func (g *Gateway) Recheck(sessionID, userID string) {
	list := g.c.Streams.of(func(s *stream) bool {
		return (sessionID == "" || s.session == sessionID) && (userID == "" || s.user == userID)
	})
	if len(list) == 0 {
		return
	}
	go func() {
		for _, s := range list {
			if !g.maySend(s) {
				s.cancel(errCut)
			}
		}
	}()
}

func (g *Gateway) maySend(s *stream) bool {
	ctx := context.Background()
	row, err := g.c.Sessions.Peek(ctx, s.session)
	if err != nil {
		return false
	}
	user, err := g.people.of(ctx, s.user)
	if err != nil {
		return false
	}
	service := g.services[s.service]
	return service != nil && g.decideFor(g.prepared.of(g, row, user), service, s.method, s.path, s.from).Outcome == authz.Allow
}
