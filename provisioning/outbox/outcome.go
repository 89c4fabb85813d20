package outbox

import (
	"context"
	"errors"
	"fmt"
	"strings"

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
	o.report(ctx, r.t, err, true)
	if ce := (*connector.Error)(nil); errors.As(err, &ce) && ce.Over && r.t.paused.Load() == nil {
		_ = o.Pause(ctx, r.t.ID, "the target", ce.Error()) // the next run is told so again
	}
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
	if l.RemoteID != r.had && l.RemoteID != "" && l.Since.IsZero() {
		l.Since = l.At
	}
	var dispute *disputed
	errors.As(err, &dispute)
	op := r.operation(err)
	op.Slot, l.Runs = l.Runs%slots, (l.Runs+1)%slots
	was, held, heldDoor := l.Case, l.Held, l.HeldDoor
	l.Held, l.HeldDoor = held && err != nil, heldDoor && err != nil
	l.Case = dispute != nil || was && err != nil
	switch {
	case err == nil:
		l.Error, l.Invalid, l.Tries, l.Applied = "", 0, 0, r.user.Version
	case is(err, connector.Invalid):
		// Once it is parked, a change has as many tries again.
		l.Error, l.Invalid = bounded(err.Error()), (l.Invalid+1)%maxInvalid
	case r.scheduled(err):
		// Once it is parked, a change has the whole schedule again.
		l.Error, l.Tries = bounded(err.Error()), (l.Tries+1)%(len(r.t.Schedule)+1)
	default:
		l.Error = bounded(err.Error())
	}
	err = task.Conclude(ctx, o.c.Store, o.instruct(r, err), func(tx store.Tx) error {
		if err := r.keep(tx, l); err != nil {
			return err
		}
		switch {
		case dispute != nil:
			c, err := dispute.of(tx, r)
			if err == nil {
				err = cases.Put(tx, c)
			}
			if err != nil {
				return err
			}
		case was && !l.Case:
			if err := cases.Delete(tx, Key(r.t.ID, r.userID)); err != nil {
				return err
			}
		}
		if held && !l.Held && r.o.c.Guard != nil { // the user is back: nobody needs to say anything
			if err := r.o.c.Guard.WithdrawTx(tx, r.removal("", "")); err != nil {
				return err
			}
		}
		if heldDoor && !l.HeldDoor && r.o.c.Guard != nil { // it is as it was
			for _, name := range r.t.Sensitive {
				if err := r.o.c.Guard.WithdrawTx(tx, r.sensitive(name)); err != nil {
					return err
				}
			}
		}
		if err := r.next(tx, l); err != nil {
			return err
		}
		if err := operations.Put(tx, op); err != nil {
			return err
		}
		return r.record(tx, r.did)
	})
	if err == nil && o.c.Tried != nil {
		o.c.Tried(op)
	}
	return err
}

// keep stores what is known of the account after a run, or that nothing is. That a
// person asked for something while it went on stays so.
func (r *run) keep(tx store.Tx, l Link) error {
	now, there, err := links.Get(tx, Key(r.t.ID, r.userID))
	if err != nil {
		return err
	}
	l.Asked = l.Asked || now.Asked && !r.asked
	l.Meant = l.Meant || now.Meant && !r.meant
	switch bare := !l.begun() && l.Error == "" && l.Answer == ""; {
	case bare && there:
		return links.Drop(tx, now)
	case bare:
		return nil
	case there:
		return links.Swap(tx, now, l)
	}
	return links.Put(tx, l)
}

// next adds what follows from a run: references and memberships wait for the
// account's ID, and a deletion for its time.
func (r *run) next(tx store.Tx, l Link) error {
	if err := r.keepRefs(tx); err != nil {
		return err
	}
	if r.t.second() && (l.RemoteID != r.had || r.did == "disabled" || r.did == "created" || r.did == "adopted") {
		if err := task.Add(tx, KindRefs, Key(r.t.ID, r.userID), l.At); err != nil {
			return err
		}
	}
	if r.t.Leave == Delete && !l.Left.IsZero() {
		return task.Add(tx, KindLater, Key(r.t.ID, r.userID), l.Left.Add(r.t.DeleteAfter))
	}
	return nil
}

// record writes into the audit log what was done; empty: nothing was.
func (r *run) record(tx store.Tx, did string) error {
	if r.o.c.Audit == nil || did == "" {
		return nil
	}
	return r.o.c.Audit(tx, audit.Event{Kind: "account." + did, UserID: r.userID, Target: r.t.ID})
}

// scheduled: the target's schedule says when there is another run after this.
func (r *run) scheduled(err error) bool {
	var ce *connector.Error
	return len(r.t.Schedule) > 0 && errors.As(err, &ce) && ce.Class == connector.Transient && ce.After == 0 && !ce.Throttled
}

// instruct is what the runner should do after a run.
//
//	transient        again, with growing delays or by the target's schedule; what the target asks for is a snooze
//	gone             the same: the next run creates
//	auth, route      the target is left alone, and so is every other user's task
//	invalid          parked after some refusals, until the user changes
//	conflict         parked, until the user changes or a person has looked
func (o *Outbox) instruct(r *run, err error) error {
	var ce *connector.Error
	if !errors.As(err, &ce) {
		return err
	}
	why := bounded(err.Error())
	switch {
	case r.scheduled(err) && r.link.Tries < len(r.t.Schedule):
		return &task.Retry{After: r.t.Schedule[r.link.Tries], Reason: why}
	case r.scheduled(err):
		return &task.Park{Reason: why}
	case ce.Class == connector.Conflict, ce.Class == connector.Invalid && r.link.Invalid+1 >= maxInvalid:
		return &task.Park{Reason: why}
	case ce.Class == connector.Auth, ce.Class == connector.Route, ce.Throttled, ce.After > 0:
		wait, _ := r.t.health.wait(o.c.Now())
		return &task.Retry{After: wait, Reason: why}
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
