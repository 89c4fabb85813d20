package boltstore

import (
	"bytes"
	"context"
	"iter"
	"sync"
)

// maxPending is how many keys wait for one watcher before it is told to read
// everything again instead.
const maxPending = 1 << 14

// A hub tells watchers which keys changed.
type hub struct {
	mu       sync.Mutex
	watchers map[*watcher]struct{}
	closed   chan struct{}
}

func newHub() *hub {
	return &hub{watchers: map[*watcher]struct{}{}, closed: make(chan struct{})}
}

func (h *hub) close() { close(h.closed) }

// publish never waits for a watcher.
func (h *hub) publish(keys [][]byte) {
	if len(keys) == 0 {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for w := range h.watchers {
		w.tell(keys)
	}
}

func (h *hub) watch(ctx context.Context, prefix []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		w := &watcher{prefix: prefix, gap: true, pending: map[string]struct{}{}, wake: make(chan struct{}, 1)}
		h.mu.Lock()
		h.watchers[w] = struct{}{}
		h.mu.Unlock()
		defer func() {
			h.mu.Lock()
			delete(h.watchers, w)
			h.mu.Unlock()
		}()
		w.wake <- struct{}{} // the gap before the beginning
		for {
			select {
			case <-ctx.Done():
				return
			case <-h.closed:
				return
			case <-w.wake:
			}
			gap, keys := w.take()
			if gap && !yield(nil) {
				return
			}
			for _, key := range keys {
				if ctx.Err() != nil || !yield([]byte(key)) {
					return
				}
			}
		}
	}
}

// A watcher is one range over Watch.
type watcher struct {
	prefix []byte
	wake   chan struct{} // holds a token when there is something to take

	mu      sync.Mutex
	gap     bool
	pending map[string]struct{} // a key that waits already is not told again
	order   []string
}

func (w *watcher) tell(keys [][]byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	told := false
	for _, key := range keys {
		if !bytes.HasPrefix(key, w.prefix) {
			continue
		}
		told = true
		if _, waits := w.pending[string(key)]; waits || w.gap {
			continue
		}
		if len(w.order) == maxPending {
			w.gap, w.order = true, nil
			clear(w.pending)
			continue
		}
		w.pending[string(key)] = struct{}{}
		w.order = append(w.order, string(key))
	}
	if told {
		select {
		case w.wake <- struct{}{}:
		default:
		}
	}
}

func (w *watcher) take() (gap bool, keys []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	gap, keys = w.gap, w.order
	w.gap, w.order = false, nil
	clear(w.pending)
	return gap, keys
}
