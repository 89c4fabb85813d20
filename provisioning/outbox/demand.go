package outbox

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gatehouse-sso/gatehouse/provisioning/connector"
	"github.com/gatehouse-sso/gatehouse/provisioning/store"
	"github.com/gatehouse-sso/gatehouse/provisioning/task"
)

// Provision runs the task of one user at one target now, because a person asks
// for it, and returns the record of what was done. A target that was left alone
// is asked, and a person's word that the user has no account is taken back. The
// error is about us; what went wrong at the target is in the record.
func (o *Outbox) Provision(ctx context.Context, id, userID string) (Operation, error) {
	t := o.targets[id]
	if t == nil {
		return Operation{}, ErrNoTarget
	}
	began := o.c.Now()
	op := Operation{Target: id, UserID: userID, At: began}
	fail := func(err error) (Operation, error) {
		var ce *connector.Error
		if errors.As(err, &ce) {
			op.Class = ce.Class.String()
		}
		op.Error, op.Took = bounded(err.Error()), o.c.Now().Sub(began)
		op.Steps = append(op.Steps, Step{StepTest, false, op.Error})
		return op, nil
	}
	if p := t.paused.Load(); p != nil {
		return fail(fmt.Errorf("the target is paused: %s", p.Why))
	}
	tested := "the target may be asked; its connector has no test"
	if err := o.Test(ctx, id); err == nil {
		tested = "the address and our credentials are right"
	} else if !errors.Is(err, ErrNoTest) {
		return fail(err)
	}
	t.health.retry()
	var last time.Time
	err := o.c.Store.Update(ctx, func(tx store.Tx) error {
		l, ok, err := links.Get(tx, Key(id, userID))
		if err != nil {
			return err
		}
		if last = l.At; ok && l.Answer == AnswerIgnore {
			l.Answer = ""
			if err := links.Put(tx, l); err != nil {
				return err
			}
		}
		return task.AddFirst(tx, Kind, Key(id, userID), began)
	})
	if err != nil {
		return op, fmt.Errorf("provision %s at %s: %w", userID, id, err)
	}
	said := o.c.Run(ctx, Kind, Key(id, userID))
	list, err := o.Operations(ctx, Question{Target: id, UserID: userID, Limit: 1})
	if err != nil {
		return op, fmt.Errorf("provision %s at %s: %w", userID, id, err)
	}
	if len(list) == 0 || list[0].At.Before(began) && !list[0].At.After(last) {
		if said == nil {
			said = errors.New("the task was run by somebody else")
		}
		return fail(said)
	}
	list[0].Steps[0].Text = tested
	return list[0], nil
}
