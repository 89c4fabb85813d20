package guard

import (
	"context"
	"fmt"
	"time"

	"github.com/gatehouse-sso/gatehouse/provisioning/audit"
	"github.com/gatehouse-sso/gatehouse/provisioning/store"
	"github.com/gatehouse-sso/gatehouse/provisioning/task"
)

// TaskCase is the kind of the tasks that carry a decision to a case's items, and
// that reject a case nobody decides; their key is the case's ID.
const TaskCase = "guard.case"

// Cases lists cases of a scope, or of all if it is empty, oldest first, those
// after a case's ID, at most limit (0: all); open ones alone if open.
func (g *Guard) Cases(ctx context.Context, scope, after string, open bool, limit int) (list []Case, err error) {
	err = g.c.Store.View(ctx, func(tx store.Tx) error {
		list = nil
		rows := cases.All(tx, after, 0)
		if scope != "" {
			rows = cases.Find(tx, "scope", scope, after, 0)
		}
		for c, err := range rows {
			if err != nil {
				return err
			}
			if open && c.State != CaseOpen {
				continue
			}
			if list = append(list, c); len(list) == limit {
				break
			}
		}
		return nil
	})
	return list, err
}

// Case returns a case by ID, or ErrNotFound.
func (g *Guard) Case(ctx context.Context, id string) (c Case, err error) {
	err = g.c.Store.View(ctx, func(tx store.Tx) error {
		var ok bool
		if c, ok, err = cases.Get(tx, id); err == nil && !ok {
			err = fmt.Errorf("%w: %s", ErrNotFound, id)
		}
		return err
	})
	return c, err
}

// Items lists the items of a case that are in a state, those after the one with this
// key (empty: from the beginning), at most limit (0: all).
func (g *Guard) Items(ctx context.Context, caseID, state, after string, limit int) (list []Item, err error) {
	err = g.c.Store.View(ctx, func(tx store.Tx) error {
		list = nil
		for it, err := range items.Find(tx, "case", caseState(caseID, state), after, limit) {
			if err != nil {
				return err
			}
			list = append(list, it)
		}
		return nil
	})
	return list, err
}

// Approve approves all of an open case, or, if there are subjects, what is about
// them; the rest waits on. It returns when that is stored; who asked is made to
// ask again a little later. by says who decides.
func (g *Guard) Approve(ctx context.Context, caseID, by string, subjects ...string) error {
	return g.decide(ctx, caseID, by, CaseApproved, subjects)
}

// Reject is Approve with the other answer.
func (g *Guard) Reject(ctx context.Context, caseID, by string, subjects ...string) error {
	return g.decide(ctx, caseID, by, CaseRejected, subjects)
}

func (g *Guard) decide(ctx context.Context, caseID, by, state string, subjects []string) error {
	err := g.c.Store.Update(ctx, func(tx store.Tx) error {
		c, ok, err := cases.Get(tx, caseID)
		if err != nil {
			return err
		}
		if !ok || c.State != CaseOpen {
			return ErrNotFound
		}
		if len(subjects) == 0 {
			return g.close(tx, c, by, state)
		}
		return nil
	})
	if err == nil && len(subjects) > 0 {
		err = g.decideSome(ctx, caseID, by, state, subjects)
	}
	if err != nil {
		return fmt.Errorf("decide case %s: %w", caseID, err)
	}
	return nil
}

// close decides about all that a case still holds.
func (g *Guard) close(tx store.Tx, c Case, by, state string) error {
	c.State, c.By, c.At = state, by, g.now()
	if err := cases.Put(tx, c); err != nil {
		return err
	}
	if err := task.Add(tx, TaskCase, c.ID, c.At); err != nil {
		return err
	}
	return g.record(tx, audit.Event{Kind: "guard." + state, By: by, Text: fmt.Sprintf("%s: case %s: %d held", c.Scope, c.ID, c.Held)})
}

// page is how many items get a decision in one transaction: each is up to 16 keys.
const page = 5

// decided is the state that the items of a case come to by an answer.
var decided = map[string]string{CaseApproved: ItemApproved, CaseRejected: ItemRejected}

// decideSome gives those items of a case a decision that are about the subjects; none,
// if there is nothing about one of these. An item that has this decision already has it
// by an attempt that got no further.
func (g *Guard) decideSome(ctx context.Context, caseID, by, state string, subjects []string) error {
	wanted := map[string]bool{}
	for _, s := range subjects {
		wanted[s] = true
	}
	var some []Item
	found := map[string]bool{}
	for _, now := range []string{decided[state], ItemHeld} {
		for after := ""; ; {
			list, err := g.Items(ctx, caseID, now, after, 200)
			if err != nil {
				return err
			}
			if len(list) == 0 {
				break
			}
			after = list[len(list)-1].Key()
			for _, it := range list {
				if !wanted[it.Act.Subject] {
					continue
				}
				if found[it.Act.Subject] = true; now == ItemHeld {
					some = append(some, it)
				}
			}
		}
	}
	for _, s := range subjects {
		if !found[s] {
			return fmt.Errorf("%w: it holds nothing about %s", ErrNotFound, s)
		}
	}
	return g.settle(ctx, caseID, by, state, some, func(tx store.Tx, it Item) error {
		return g.record(tx, audit.Event{Kind: "guard." + state, By: by, UserID: it.Act.Subject, Text: fmt.Sprintf("%s: case %s", it.Act.Scope, caseID)})
	})
}

// settle gives items a decision, and makes whoever asked ask again.
func (g *Guard) settle(ctx context.Context, caseID, by, state string, list []Item, also func(store.Tx, Item) error) error {
	for len(list) > 0 {
		some := list[:min(page, len(list))]
		list = list[len(some):]
		err := g.c.Store.Update(ctx, func(tx store.Tx) error {
			c, ok, err := cases.Get(tx, caseID)
			if err != nil || !ok {
				return err
			}
			for _, it := range some {
				it, ok, err := items.Get(tx, itemKey(it.Act))
				if err != nil {
					return err
				}
				if !ok || it.State != ItemHeld || it.Case != caseID {
					continue // somebody was quicker
				}
				it.At, it.State = g.now(), decided[state]
				c.Held--
				if state == CaseApproved {
					c.Approved++
				} else {
					it.Why = "by a person"
					if by == byTime {
						it.Why = "nobody decided in time"
					}
					c.Rejected++
				}
				if err := items.Put(tx, it); err != nil {
					return err
				}
				if err := also(tx, it); err != nil {
					return err
				}
				if g.c.Resume != nil {
					if err := g.c.Resume(tx, it); err != nil {
						return err
					}
				}
			}
			return cases.Put(tx, c)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// byTime decides about what nobody has decided about.
const byTime = "time"

// HandleCase is the task.Handler of TaskCase.
func (g *Guard) HandleCase(ctx context.Context, id string) error {
	c, err := g.Case(ctx, id)
	if err != nil {
		return err
	}
	if c.State == CaseOpen {
		if wait := c.Expires.Sub(g.c.Now()); wait > 0 {
			return &task.Retry{After: wait, Reason: fmt.Sprintf("%d wait for approval; without one they are rejected then", c.Held)}
		}
		err := g.c.Store.Update(ctx, func(tx store.Tx) error {
			now, ok, err := cases.Get(tx, id)
			if err != nil || !ok || now.State != CaseOpen {
				return err
			}
			return g.close(tx, now, byTime, CaseRejected)
		})
		if err != nil {
			return err
		}
		if c, err = g.Case(ctx, id); err != nil {
			return err
		}
	}
	if c.State == CaseClosed {
		return nil
	}
	for {
		list, err := g.Items(ctx, id, ItemHeld, "", 200)
		if err != nil {
			return err
		}
		if len(list) == 0 {
			break
		}
		// The decision about all of them was recorded as it was made.
		if err := g.settle(ctx, id, c.By, c.State, list, func(store.Tx, Item) error { return nil }); err != nil {
			return err
		}
	}
	return g.c.Store.Update(ctx, func(tx store.Tx) error {
		c, ok, err := cases.Get(tx, id)
		if err != nil || !ok {
			return err
		}
		c.State = CaseClosed
		return cases.Put(tx, c)
	})
}

// Sweep forgets one batch of what does not count any more: acts that were let
// through, tallies of cycles, decisions that have expired. Cases stay. more says
// that there are others.
func (g *Guard) Sweep(ctx context.Context) (more bool, err error) {
	const batch = 20
	err = g.c.Store.Update(ctx, func(tx store.Tx) error {
		more = false
		before := moment(g.now().Add(-longest))
		var dead []string
		for it, err := range items.Range(tx, "old", "", before, batch) {
			if err != nil {
				return err
			}
			dead = append(dead, itemKey(it.Act))
		}
		for _, key := range dead {
			if err := items.Delete(tx, key); err != nil {
				return err
			}
		}
		more = len(dead) == batch
		dead = nil
		for t, err := range tallies.Range(tx, "old", "", before, batch) {
			if err != nil {
				return err
			}
			dead = append(dead, tallies.Key(t))
		}
		for _, key := range dead {
			if err := tallies.Delete(tx, key); err != nil {
				return err
			}
		}
		more = more || len(dead) == batch
		return nil
	})
	if err != nil {
		return false, fmt.Errorf("sweep guard: %w", err)
	}
	return more, nil
}

// longest is for how long anything but cases is kept: longer than any decision
// or cycle counts.
const longest = 32 * 24 * time.Hour
