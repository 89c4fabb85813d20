package lentstore

import (
	"context"
	"iter"
	"sync"

	"github.com/gatehouse-sso/gatehouse/provisioning/store"
)

// A Switch is a store whose engine can be exchanged while it is used: what comes
// meanwhile waits, and a Watch goes on with a gap. Make one with NewSwitch.
type Switch struct {
	mu      sync.Mutex
	engine  store.Store
	free    chan struct{} // closed while transactions may begin
	running int
	still   chan struct{} // closed when the last one has ended; nil: nobody waits for that
	changed chan struct{} // closed when engine is another
}

var _ store.Store = (*Switch)(nil)

// NewSwitch returns one with its first engine.
func NewSwitch(engine store.Store) *Switch {
	free := make(chan struct{})
	close(free)
	return &Switch{engine: engine, free: free, changed: make(chan struct{})}
}

// begin waits until transactions may begin, and returns the engine to use.
func (s *Switch) begin(ctx context.Context) (store.Store, error) {
	for {
		s.mu.Lock()
		free := s.free
		select {
		case <-free:
			s.running++
			defer s.mu.Unlock()
			return s.engine, nil
		default:
		}
		s.mu.Unlock()
		select {
		case <-free:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (s *Switch) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running--; s.running == 0 && s.still != nil {
		close(s.still)
		s.still = nil
	}
}

// Exchange waits until no transaction runs and puts the engine that next returns
// into the place of the one that next is given, which next closes. If ctx ends
// before, nothing was exchanged and next was not called. An error of next is
// returned, together with whatever engine it returned; nil is none, and the
// one that was stays. One Exchange runs at a time.
func (s *Switch) Exchange(ctx context.Context, next func(store.Store) (store.Store, error)) error {
	s.mu.Lock()
	free := make(chan struct{})
	s.free = free
	defer close(free)
	still := make(chan struct{})
	if s.running == 0 {
		close(still)
	} else {
		s.still = still
	}
	engine := s.engine
	s.mu.Unlock()
	select {
	case <-still:
	case <-ctx.Done():
		return ctx.Err()
	}
	another, err := next(engine)
	if another != nil {
		s.mu.Lock()
		s.engine = another
		close(s.changed)
		s.changed = make(chan struct{})
		s.mu.Unlock()
	}
	return err
}

// View is as in [store.Store].
func (s *Switch) View(ctx context.Context, fn func(store.Tx) error) error {
	engine, err := s.begin(ctx)
	if err != nil {
		return err
	}
	defer s.end()
	return engine.View(ctx, fn)
}

// Update is as in [store.Store].
func (s *Switch) Update(ctx context.Context, fn func(store.Tx) error) error {
	engine, err := s.begin(ctx)
	if err != nil {
		return err
	}
	defer s.end()
	return engine.Update(ctx, fn)
}

// Watch is as in [store.Store].
func (s *Switch) Watch(ctx context.Context, prefix []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for {
			engine, err := s.begin(ctx) // a watch is no transaction, but has to have an engine that is open
			if err != nil {
				return
			}
			s.mu.Lock()
			changed := s.changed
			s.mu.Unlock()
			s.end()
			for key := range engine.Watch(ctx, prefix) {
				if !yield(key) {
					return
				}
			}
			if ctx.Err() != nil {
				return
			}
			if !s.another(ctx, changed) {
				return
			}
		}
	}
}

// another waits, after an engine has ended a watch, for the next engine; false:
// there is none to come, the store was closed.
func (s *Switch) another(ctx context.Context, changed <-chan struct{}) bool {
	s.mu.Lock()
	free := s.free
	s.mu.Unlock()
	select {
	case <-changed:
		return true
	case <-ctx.Done():
		return false
	case <-free:
	}
	select { // what was freed may have been exchanged
	case <-changed:
		return true
	default:
		return false
	}
}

// Close closes the engine.
func (s *Switch) Close() error {
	s.mu.Lock()
	engine := s.engine
	s.mu.Unlock()
	return engine.Close()
}
