package reconcile

import (
	"context"
	"fmt"
	"hash/fnv"
	"time"

	"github.com/gatehouse-sso/gatehouse/provisioning/store"
	"github.com/gatehouse-sso/gatehouse/provisioning/task"
)

// TaskPlan is the kind of the tasks that begin reconciliations on time; their key
// is the target's.
const TaskPlan = "reconcile.plan"

// A Plan says when a target is reconciled by itself. The zero Plan: never.
type Plan struct {
	Every       time.Duration // a full one; 0: never
	At          time.Duration // since midnight, UTC, of a full one that is made every so many days
	Incremental time.Duration // an incremental one; 0: never
	Mode        Mode          // of the full one: Run (also if empty) or Preview
}

// spread is how much later than planned a full one may begin, so that not all
// targets, and not all gateways, begin at the same moment.
func (p Plan) spread(target string) time.Duration {
	h := fnv.New64a()
	_, _ = h.Write([]byte(target))
	most := min(p.Every/10, time.Hour)
	if most <= 0 {
		return 0
	}
	return time.Duration(h.Sum64() % uint64(most)) // #nosec G115 -- most is positive
}

// next is when the next full one begins, if the last one began at last, or the
// plan was begun with at begun and there was none.
func (p Plan) next(target string, last, begun time.Time) time.Time {
	if p.Every <= 0 {
		return time.Time{}
	}
	if p.Every%(24*time.Hour) != 0 {
		if last.IsZero() {
			return begun.Add(p.spread(target))
		}
		return last.Add(p.Every)
	}
	day := begun.UTC().Truncate(24 * time.Hour)
	if !last.IsZero() {
		day = last.UTC().Truncate(24 * time.Hour).Add(p.Every)
	}
	at := day.Add(p.At + p.spread(target))
	for last.IsZero() && at.Before(begun) {
		at = at.Add(24 * time.Hour)
	}
	return at
}

// Begin adds the tasks of the plans.
func (r *Reconciler) Begin(ctx context.Context) error {
	for _, t := range r.c.Targets {
		if t.Plan.Every <= 0 && t.Plan.Incremental <= 0 {
			continue
		}
		if err := r.c.Store.Update(ctx, func(tx store.Tx) error { return task.Add(tx, TaskPlan, t.ID, r.c.Now()) }); err != nil {
			return fmt.Errorf("begin with the plan of target %s: %w", t.ID, err)
		}
	}
	return nil
}

// HandlePlan is the task.Handler of TaskPlan: it begins what is due, and waits
// for the next.
func (r *Reconciler) HandlePlan(ctx context.Context, id string) error {
	t := r.targets[id]
	if t == nil {
		return nil
	}
	now, mode := r.c.Now(), t.Plan.Mode
	if mode == "" {
		mode = Run
	}
	begun := now
	if err := r.c.Store.View(ctx, func(tx store.Tx) error {
		t, ok, err := task.Get(tx, TaskPlan, id)
		if ok {
			begun = t.Added
		}
		return err
	}); err != nil {
		return err
	}
	wait := time.Duration(0)
	due := func(m Mode, at func(last time.Time) time.Time) error {
		rep, _, err := r.Report(ctx, id, m)
		if err != nil {
			return err
		}
		when := at(rep.Started)
		if when.IsZero() {
			return nil
		}
		if !when.After(now) {
			if err := r.Start(ctx, id, m); err != nil {
				return err
			}
			when = now.Add(time.Minute) // until the report says when it began
		}
		if w := when.Sub(now); wait == 0 || w < wait {
			wait = w
		}
		return nil
	}
	if err := due(mode, func(last time.Time) time.Time { return t.Plan.next(id, last, begun) }); err != nil {
		return err
	}
	if err := due(Incremental, func(last time.Time) time.Time {
		if t.Plan.Incremental <= 0 {
			return time.Time{}
		}
		return last.Add(t.Plan.Incremental)
	}); err != nil {
		return err
	}
	if wait == 0 {
		return nil
	}
	return &task.Retry{After: wait, Reason: "until the next reconciliation"}
}
