package gateway

import (
	"context"
	"errors"
	"net/netip"
	"sync"

	"github.com/gatehouse-sso/gatehouse/authz"
)

// inflight knows the requests of signed-in people that are being served, so
// that one that lasts (a WebSocket, a stream, a long download) is cut when its
// right to be ends, and not when the person happens to ask for the next thing.
type inflight struct {
	mu sync.Mutex
	m  map[string]map[*stream]struct{} // by session
}

// A stream is one request being served.
type stream struct {
	session, user, host string
	service             *service
	method, path        string
	from                netip.Addr
	cancel              context.CancelCauseFunc
}

// errCut is the cause with which a stream is cut.
var errCut = errors.New("the right to this stream has ended")

func (f *inflight) add(s *stream) {
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

func (f *inflight) remove(s *stream) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.m[s.session], s)
	if len(f.m[s.session]) == 0 {
		delete(f.m, s.session)
	}
}

// of returns the streams that match.
func (f *inflight) of(match func(*stream) bool) (list []*stream) {
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

// recheckSession decides anew about the streams of a session.
func (f *inflight) recheckSession(g *Gateway, id string) {
	f.mu.Lock()
	list := make([]*stream, 0, len(f.m[id]))
	for s := range f.m[id] {
		list = append(list, s)
	}
	f.mu.Unlock()
	for _, s := range list {
		go g.recheck(s)
	}
}

// recheckUser decides anew about the streams of a user; an empty ID is everybody.
func (g *Gateway) recheckUser(id string) {
	for _, s := range g.inflight.of(func(s *stream) bool { return id == "" || s.user == id }) {
		go g.recheck(s)
	}
}

// recheck cuts a stream that would not be let in now. Not knowing cuts too.
func (g *Gateway) recheck(s *stream) {
	ctx := context.Background()
	row, err := g.c.Sessions.Peek(ctx, s.session)
	if err == nil {
		var user *authz.Subject
		if user, err = g.people.of(ctx, s.user); err == nil {
			p := g.prepared.of(g, row, user)
			if g.decideFor(p, s.service, s.method, s.path, s.from).Outcome == authz.Allow {
				return
			}
		}
	}
	s.cancel(errCut)
}
