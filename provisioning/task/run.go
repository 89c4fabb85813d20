package task

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gatehouse-sso/gatehouse/provisioning/store"
)

// A run is one call of a handler for a task that was taken, and all that is
// written about it. It is in the handler's context.
type run struct {
	r *Runner
	entry
	claim    string
	prepared any

	taken bool      // the row says that it is this run's
	stays time.Time // until when its worker goes on in the lane; zero: it does not
	next  *run      // what its worker goes on with

	began     time.Time
	ctx       context.Context // of the handler
	cancel    context.CancelCauseFunc
	concluded bool // what the handler says is stored
	looking   atomic.Bool

	mu      sync.Mutex // held while the row is looked at beside the handler
	over    bool
	until   time.Time // of the lease
	renewal *time.Timer
}

func (r *Runner) newRun(t entry) *run { return &run{r: r, entry: t, claim: r.self + rand.Text()} }

type runKey struct{}

// Prepared gives a handler what the Prepare of its kind returned; nil where it
// was called by somebody else than a [Runner].
func Prepared(ctx context.Context) any {
	if u, ok := ctx.Value(runKey{}).(*run); ok {
		return u.prepared
	}
	return nil
}

// Conclude runs fn in a transaction that stores, too, what a handler is about to
// return, said: one commit, where the runner would need another. The handler
// calls it last, with its own context or one that was made of it, and returns
// said; or, if Conclude fails, an error. fn is as for [store.Store.Update]. Where no runner called the handler,
// there is nothing but fn to be stored.
func Conclude(ctx context.Context, s store.Store, said error, fn func(store.Tx) error) error {
	u, ok := ctx.Value(runKey{}).(*run)
	if !ok {
		return s.Update(ctx, fn)
	}
	commit := func(on bool) error {
		return s.Update(ctx, func(tx store.Tx) error {
			if err := fn(tx); err != nil {
				return err
			}
			if err := turnRow(tx, u.kind, u.key, u.ending(said)); err != nil || !on {
				return err
			}
			return u.goOn(tx)
		})
	}
	err := commit(!u.concluded && u.mayGoOn())
	if errors.Is(err, store.ErrLimit) && u.next != nil { // both are too much for one transaction
		u.letGo()
		err = commit(false)
	}
	if u.next != nil && err != nil { // it may have happened: the next looks whether it was taken
		u.next.taken = false
	}
	u.concluded = u.concluded || err == nil
	return err
}

// ending is what becomes of the row by what the handler said.
func (u *run) ending(said error) func(store.Tx, *row) fate {
	stopped := said != nil && u.ctx.Err() != nil
	return func(_ store.Tx, t *row) fate {
		if t == nil || t.Claim != u.claim {
			return leave // stored already, or the lease was lost
		}
		t.Claim, t.Lease, t.State = "", time.Time{}, Waiting
		return t.end(said, stopped, u.r.c.Now())
	}
}

type fate int

const (
	leave fate = iota
	put
	remove
)

// turnRow lets fn say what becomes of the row of a task; fn gets nil if there is
// none.
func turnRow(tx store.Tx, kind, key string, fn func(tx store.Tx, t *row) fate) error {
	was, ok, err := tasks.Get(tx, id(kind, key))
	if err != nil {
		return err
	}
	if !ok {
		fn(tx, nil)
		return nil
	}
	t := was
	switch fn(tx, &t) {
	case put:
		return tasks.Swap(tx, was, t)
	case remove:
		if err := tasks.Drop(tx, was); err != nil {
			return err
		}
		return ended(tx, kind, key)
	}
	return nil
}

// change runs fn on the row of a task in a transaction, again if the store does
// not know whether it happened; so fn must see that it happened.
func (r *Runner) change(ctx context.Context, kind, key string, fn func(tx store.Tx, t *row) fate) (err error) {
	for try := 0; ; try++ {
		err = r.c.Store.Update(ctx, func(tx store.Tx) error { return turnRow(tx, kind, key, fn) })
		switch {
		case err == nil, ctx.Err() != nil, errors.Is(err, store.ErrClosed), try == tries:
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(10 * time.Millisecond << min(try, 6)):
		}
	}
}

// begin takes the task, if nobody has it and it is due or need not be. It returns
// the row as it found it.
func (u *run) begin(ctx context.Context, anyTime bool) (got bool, t row, err error) {
	err = u.r.change(ctx, u.kind, u.key, func(tx store.Tx, have *row) (f fate) {
		t, got, f = u.take(tx, have, anyTime)
		return f
	})
	return got && err == nil, t, err
}

// take is what begin does to the row, which is nil if there is none.
func (u *run) take(tx store.Tx, have *row, anyTime bool) (was row, got bool, f fate) {
	if have == nil {
		return row{}, false, leave
	}
	was = *have
	if have.Claim == u.claim {
		return was, true, leave // a commit whose answer was lost
	}
	now := u.r.c.Now()
	switch {
	case have.Wish != "" && !have.Lease.After(now): // told to stop, and died
		have.stop()
		return *have, false, put
	case have.State == Waiting && (anyTime || !have.Due.After(now)):
	case have.State == Running && !have.Lease.After(now):
	default:
		return was, false, leave
	}
	have.State, have.Due, have.Ran, have.Claim, have.Lease = Running, now, have.Version, u.claim, now.Add(leaseTime)
	if prepare := u.r.c.Prepare[u.kind]; prepare != nil {
		u.prepared = prepare(tx, u.key)
	}
	return was, true, put
}

// do calls the handler of a task that was taken, and stores what it said.
func (u *run) do(ctx context.Context) error {
	r := u.r
	ctx, u.cancel = context.WithCancelCause(ctx)
	u.ctx = context.WithValue(ctx, runKey{}, u)
	u.mu.Lock()
	u.began, u.until = time.Now(), r.c.Now().Add(leaseTime)
	u.renewal = time.AfterFunc(leaseTime/3, u.renew)
	u.mu.Unlock()
	r.mu.Lock()
	r.runs[u.id] = u
	r.mu.Unlock()

	said := call(u.ctx, r.c.Handlers[u.kind], u.key)
	end := u.ending(said) // before its context is over by our own doing
	u.cancel(nil)
	u.mu.Lock()
	u.over = true
	u.renewal.Stop()
	u.mu.Unlock()
	r.mu.Lock()
	delete(r.runs, u.id)
	r.mu.Unlock()
	if u.concluded {
		return said
	}

	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), finishTime)
	defer cancel()
	err := r.change(ctx, u.kind, u.key, end)
	if err != nil && said == nil {
		return fmt.Errorf("run task %s %s: it succeeded, which could not be stored, so it will run again: %w", u.kind, u.key, err)
	}
	return said
}

// call calls h and makes an error of a panic.
func call(ctx context.Context, h Handler, key string) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the handler panicked: %v", p)
		}
	}()
	return h(ctx, key)
}

// errLost is why a run is told to stop.
var errLost = errors.New("task: the lease was lost")

// renew keeps the lease for another time, and ends the run if that can not be
// done until it is over, or if a person wants the run to stop.
func (u *run) renew() {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.over {
		return
	}
	var ours bool
	var why error
	lease := u.r.c.Now().Add(leaseTime)
	err := u.r.change(u.ctx, u.kind, u.key, func(_ store.Tx, t *row) fate {
		if ours = t != nil && t.Claim == u.claim; !ours {
			return leave
		}
		t.Lease, why = lease, wish[t.Wish]
		return put
	})
	switch {
	case err == nil && why != nil:
		u.cancel(why)
	case err == nil && ours:
		u.until = lease
	case err == nil, !u.r.c.Now().Before(u.until):
		u.cancel(errLost)
		return
	}
	u.renewal.Reset(leaseTime / 3)
}

// glanceAfter is how old a run is before it looks whether a person told it to
// stop. Most are over by then, and what changed in their rows was their own doing.
const glanceAfter = 20 * time.Millisecond

// glance has the row looked at, since it changed. It does not wait.
func (u *run) glance() {
	if !u.looking.CompareAndSwap(false, true) {
		return
	}
	time.AfterFunc(glanceAfter-time.Since(u.began), func() {
		u.looking.Store(false)
		u.mu.Lock()
		defer u.mu.Unlock()
		if u.over {
			return
		}
		if why := u.wished(); why != nil {
			u.cancel(why)
		}
	})
}

// wish is why a run ends that a person told to stop.
var wish = map[State]error{Paused: ErrPaused, Cancelled: ErrCancelled}

// wished looks whether a person told the run to stop.
func (u *run) wished() (why error) {
	_ = u.r.c.Store.View(u.ctx, func(tx store.Tx) error { // the next renewal looks again
		t, ok, err := tasks.Get(tx, u.id)
		if ok && t.Claim == u.claim {
			why = wish[t.Wish]
		}
		return err
	})
	return why
}
