package outbox

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/gatehouse-sso/gatehouse/provisioning/audit"
	"github.com/gatehouse-sso/gatehouse/provisioning/connector"
	"github.com/gatehouse-sso/gatehouse/provisioning/store"
	"github.com/gatehouse-sso/gatehouse/provisioning/task"
)

// maxInvalid is how often a target may say that it will never take an account
// before nobody asks again.
const maxInvalid = 3

// outcome notes what came of a run, and makes of an error what the runner
// should do.
func (o *Outbox) outcome(ctx context.Context, r *run, err error) error {
	werr := o.write(ctx, r, err)
	if errors.Is(werr, store.ErrConflict) {
		// The target made an account under an ID that another user's has.
		r.did, r.link.RemoteID, err = "", "", errTaken
		werr = o.write(ctx, r, err)
	}
	if werr != nil {
		// What the target has is not noted; the next run finds it again.
		return fmt.Errorf("note account at %s: %w", r.t.ID, werr)
	}
	return o.instruct(r, err)
}

func (o *Outbox) write(ctx context.Context, r *run, err error) error {
	l := r.link
	l.At = o.c.Now()
	switch {
	case err == nil:
		l.Error, l.Invalid, l.Applied = "", 0, r.user.Version
	case is(err, connector.Invalid):
		// Once it is parked, a change has as many tries again.
		l.Error, l.Invalid = bounded(err.Error()), (l.Invalid+1)%maxInvalid
	default:
		l.Error = bounded(err.Error())
	}
	return o.c.Store.Update(ctx, func(tx store.Tx) error {
		if !l.begun() && l.Error == "" {
			if err := links.Delete(tx, Key(r.t.ID, r.userID)); err != nil {
				return err
			}
		} else if err := links.Put(tx, l); err != nil {
			return err
		}
		return r.record(tx, r.did)
	})
}

// record writes into the audit log what was done; empty: nothing was.
func (r *run) record(tx store.Tx, did string) error {
	if r.o.c.Audit == nil || did == "" {
		return nil
	}
	return r.o.c.Audit(tx, audit.Event{Kind: "account." + did, UserID: r.userID, Target: r.t.ID})
}

// instruct is what the runner should do after a run.
//
//	transient        again, with growing delays; what the target asks for is a snooze
//	gone             the same: the next run creates
//	auth, route      the target is left alone, and so is every other user's task
//	invalid          parked after some refusals, until the user changes
//	conflict         parked, until the user changes or a person has looked
func (o *Outbox) instruct(r *run, err error) error {
	if err == nil {
		r.t.breaker.shut()
		return nil
	}
	var ce *connector.Error
	if !errors.As(err, &ce) {
		return err
	}
	now, why := o.c.Now(), bounded(err.Error())
	switch {
	case ce.Class == connector.Auth, ce.Class == connector.Route:
		return &task.Retry{After: r.t.breaker.trip(now, why), Reason: why}
	case ce.Class == connector.Conflict, ce.Class == connector.Invalid && r.link.Invalid+1 >= maxInvalid:
		return &task.Park{Reason: why}
	case ce.After > 0:
		r.t.breaker.pause(now.Add(ce.After), why)
		return &task.Retry{After: ce.After, Reason: why}
	}
	return err
}

// maxText bounds what is kept of an error, in bytes.
const maxText = 400

func bounded(s string) string {
	if len(s) > maxText {
		return strings.ToValidUTF8(s[:maxText], "") + "…"
	}
	return s
}

// A breaker keeps a target from being asked once for every user when its
// credentials or its address are wrong, or it asked to be left alone. The zero
// breaker lets everything through.
type breaker struct {
	mu    sync.Mutex
	until time.Time     // left alone
	last  time.Duration // the time that it was tripped for; doubles until something succeeds
	why   string
}

const (
	tripFirst = 30 * time.Second
	tripMost  = 15 * time.Minute
)

// open is how long the target is still to be left alone, and why.
func (b *breaker) open(now time.Time) (time.Duration, string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.until.Sub(now), b.why
}

// trip opens the breaker, if it is not open, longer each time.
func (b *breaker) trip(now time.Time, why string) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.until.After(now) {
		b.last = min(max(2*b.last, tripFirst), tripMost)
		b.until, b.why = now.Add(b.last), why
	}
	return b.until.Sub(now)
}

// pause opens the breaker until a time that the target asked for.
func (b *breaker) pause(until time.Time, why string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if until.After(b.until) {
		b.until, b.why = until, why
	}
}

// shut lets everything through.
func (b *breaker) shut() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.until, b.last, b.why = time.Time{}, 0, ""
}
