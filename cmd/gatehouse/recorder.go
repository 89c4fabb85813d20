package main

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/gatehouse-sso/gatehouse/provisioning/audit"
	"github.com/gatehouse-sso/gatehouse/provisioning/store"
)

// A recorder writes audit events that change nothing else: refusals and denials.
// They are queued, so that a flood of refused requests costs no disk on the
// request path and can not fill the disk faster than it is written. What did
// not fit is counted, and the count is recorded. Refusals of people who are not
// signed in cost them nothing, so of each kind no more are recorded one by one
// than a disk can take for ever. Sign-ins, changes and ends of sessions do not
// pass here: they are recorded in their own transactions.
type recorder struct {
	st      store.Store
	log     *audit.Log
	slog    *slog.Logger
	now     func() time.Time
	queue   chan audit.Event
	dropped atomic.Uint64
	failed  func(events int) // is told of events that could not be written; may be nil
	// strangers bounds events without a user, by kind; other kinds have no bound.
	strangers map[string]*rate.Limiter
}

// Of strangers, so many refusals of one kind are recorded at once, and then so
// many a second: some 2 GB a day at the very most.
const (
	strangersBurst  = 1000
	strangersSecond = 5
)

// recordBatch events are written in one transaction, within store.MaxKeys.
const recordBatch = 12

func newRecorder(st store.Store, log *audit.Log, sl *slog.Logger, now func() time.Time) *recorder {
	r := &recorder{st: st, log: log, slog: sl, now: now, queue: make(chan audit.Event, 4096), strangers: map[string]*rate.Limiter{}}
	for _, kind := range []string{"refused", "denied", "login.refused"} {
		r.strangers[kind] = rate.NewLimiter(strangersSecond, strangersBurst)
	}
	return r
}

// Record queues an event; it never blocks.
func (r *recorder) Record(e audit.Event) {
	if e.At.IsZero() {
		e.At = r.now()
	}
	if l := r.strangers[e.Kind]; l != nil && e.UserID == "" && !l.Allow() {
		r.dropped.Add(1)
		return
	}
	select {
	case r.queue <- e:
	default:
		r.dropped.Add(1)
	}
}

// run writes until ctx ends, then what is left.
func (r *recorder) run(ctx context.Context) {
	for {
		select {
		case e := <-r.queue:
			r.write(r.batch(e), r.dropped.Swap(0))
		case <-ctx.Done():
			for {
				select {
				case e := <-r.queue:
					r.write(r.batch(e), r.dropped.Swap(0))
				default:
					return
				}
			}
		}
	}
}

func (r *recorder) batch(first audit.Event) []audit.Event {
	list := []audit.Event{first}
	for len(list) < recordBatch {
		select {
		case e := <-r.queue:
			list = append(list, e)
		default:
			return list
		}
	}
	return list
}

// write writes events, and how many were dropped before.
func (r *recorder) write(list []audit.Event, dropped uint64) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	err := r.st.Update(ctx, func(tx store.Tx) error {
		for _, e := range list {
			if err := r.log.Append(tx, e); err != nil {
				return err
			}
		}
		if dropped == 0 {
			return nil
		}
		return r.log.Append(tx, audit.Event{Kind: "audit.dropped", Text: fmt.Sprintf("%d refusals were not recorded one by one: they came faster than they are written, or could not be written", dropped)})
	})
	if err != nil {
		r.dropped.Add(dropped + uint64(len(list)))
		if r.failed != nil {
			r.failed(len(list))
		}
		r.slog.Error("audit events could not be written", "events", len(list), "error", err)
	}
}
