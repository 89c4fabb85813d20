package outbox

import (
	"context"
	"fmt"

	"github.com/gatehouse-sso/gatehouse/provisioning"
	"github.com/gatehouse-sso/gatehouse/provisioning/connector"
	"github.com/gatehouse-sso/gatehouse/provisioning/guard"
	"github.com/gatehouse-sso/gatehouse/provisioning/store"
	"github.com/gatehouse-sso/gatehouse/provisioning/task"
)

// KindEverybody is the kind of the tasks that follow from a change of a
// target's configuration; their key is the target's ID.
const KindEverybody = "sync.everybody"

// Begin sees to it that targets whose Form is another than it was come into
// step. It is called when the configuration is in force.
func (o *Outbox) Begin(ctx context.Context) error {
	for _, t := range o.c.Targets {
		err := o.c.Store.Update(ctx, func(tx store.Tx) error {
			was, _, err := targetRows.Get(tx, t.ID)
			if err != nil || was.Form == t.Form {
				return err
			}
			was.Target, was.Form = t.ID, t.Form
			if err := targetRows.Put(tx, was); err != nil {
				return err
			}
			return task.Add(tx, KindEverybody, t.ID, o.c.Now())
		})
		if err != nil {
			return fmt.Errorf("begin with target %s: %w", t.ID, err)
		}
	}
	return nil
}

// What would become of an account.
const (
	WouldCreate  = "create"
	WouldChange  = "change"
	WouldDisable = "disable"
	WouldDelete  = "delete"
	WouldNothing = "" // it is as it should be, as far as is known here
)

// A Would is what would become of one user's account.
type Would struct {
	UserID string `json:"user"`
	Name   string `json:"name"` // of the user
	What   string `json:"what"`
	// Names of the attributes that the account would have.
	Names []string `json:"names,omitempty"`
}

// would says what the task of a user would do, as far as that is known without
// asking the target.
func (o *Outbox) would(tx store.Tx, t *target, u provisioning.User) (Would, error) {
	r := run{o: o, t: t, userID: u.ID}
	w := Would{UserID: u.ID, Name: o.c.Directory.FullName(u.Store, u.UserName)}
	err := r.loadTx(tx)
	if is(err, connector.Invalid) {
		w.What, err = WouldChange, nil // the task will say what is wrong with it
		return w, err
	}
	if err != nil {
		return w, err
	}
	switch l := r.link; {
	case l.Answer == AnswerIgnore:
	case r.want && !l.begun() && u.Active:
		w.What = WouldCreate
	case r.want && l.begun() && !u.Active && !l.Disabled:
		w.What = WouldDisable
	case r.want && l.begun() && (l.Digest != digest(r.acct) || l.Disabled == u.Active):
		w.What = WouldChange
	case r.want || !l.begun() || t.Leave == Keep:
	case t.Leave == Delete && t.DeleteAfter == 0:
		w.What = WouldDelete
	case !l.Disabled:
		w.What = WouldDisable
	}
	if w.What == WouldCreate || w.What == WouldChange {
		for name, values := range r.acct.Attributes {
			if len(values) > 0 {
				w.Names = append(w.Names, name)
			}
		}
	}
	return w, nil
}

// Preview says what the tasks of users would do if all of them ran now, those
// after a given user, at most limit of them (0: all), and writes nothing. next is
// where to go on; empty: that was everybody.
func (o *Outbox) Preview(ctx context.Context, id, after string, limit int, each func(Would) error) (next string, err error) {
	t := o.targets[id]
	if t == nil {
		return "", ErrNoTarget
	}
	n := 0
	for u, err := range o.c.Directory.Users(ctx, after, limit) {
		if err != nil {
			return "", err
		}
		var w Would
		if err := o.c.Store.View(ctx, func(tx store.Tx) (err error) {
			w, err = o.would(tx, t, u)
			return err
		}); err != nil {
			return "", err
		}
		if w.What != WouldNothing {
			if err := each(w); err != nil {
				return "", err
			}
		}
		if n++; limit > 0 && n == limit {
			next = u.ID
		}
	}
	return next, nil
}

// pageOfEverybody is how many users get a task in one transaction: each is up to
// three keys of store.MaxKeys.
const pageOfEverybody = 25

// HandleEverybody is the task.Handler of KindEverybody: it adds the task of
// whomever the configuration in force says something else about than what their
// account is. Who would lose it is counted first: where that is more than may be
// taken away at once, all of them wait for a person, from the first on. Without a
// Guard nobody loses it by this: then it takes something about the user to change.
func (o *Outbox) HandleEverybody(ctx context.Context, id string) error {
	t := o.targets[id]
	if t == nil {
		return &task.Retry{After: unknownTarget, Reason: "target " + id + " is not in the configuration"}
	}
	if o.c.Guard != nil {
		removals := 0
		if _, err := o.Preview(ctx, id, "", 0, func(w Would) error {
			if w.What == WouldDisable || w.What == WouldDelete {
				removals++
			}
			return nil
		}); err != nil {
			return err
		}
		if _, err := o.c.Guard.Foresee(ctx, guard.Target(id), "", guard.Removal, removals); err != nil {
			return err
		}
	}
	if err := o.everyGroup(ctx, t); err != nil {
		return err
	}
	var page []string
	add := func() error {
		defer func() { page = page[:0] }()
		return o.c.Store.Update(ctx, func(tx store.Tx) error {
			for _, userID := range page {
				u, ok, err := o.c.Directory.UserTx(tx, userID)
				if err != nil {
					return err
				}
				if !ok {
					continue
				}
				w, err := o.would(tx, t, u)
				if err != nil {
					return err
				}
				if w.What == WouldNothing || o.c.Guard == nil && (w.What == WouldDisable || w.What == WouldDelete) {
					continue
				}
				if err := task.Add(tx, Kind, Key(id, userID), o.c.Now()); err != nil {
					return err
				}
			}
			return nil
		})
	}
	for u, err := range o.c.Directory.Users(ctx, "", 0) {
		if err != nil {
			return err
		}
		if page = append(page, u.ID); len(page) == pageOfEverybody {
			if err := add(); err != nil {
				return err
			}
		}
	}
	return add()
}

// everyGroup adds the task of each group that the target is to have, or has, and
// of the memberships of each account.
func (o *Outbox) everyGroup(ctx context.Context, t *target) error {
	if t.Groups == nil {
		return nil
	}
	for g, err := range o.c.Directory.Groups(ctx, "", 0) {
		if err != nil {
			return err
		}
		err := o.c.Store.Update(ctx, func(tx store.Tx) error {
			_, known, err := groupLinks.Get(tx, Key(t.ID, g.ID))
			if err != nil || !known && !t.Groups(g) {
				return err
			}
			return task.Add(tx, KindGroup, Key(t.ID, g.ID), o.c.Now())
		})
		if err != nil {
			return err
		}
	}
	for after := t.ID + "/"; ; {
		list, err := o.Accounts(ctx, "", after, pageOfEverybody)
		if err != nil {
			return err
		}
		err = o.c.Store.Update(ctx, func(tx store.Tx) error {
			for _, l := range list {
				if l.Target != t.ID {
					continue
				}
				if err := task.Add(tx, KindRefs, Key(t.ID, l.UserID), o.c.Now()); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil || len(list) < pageOfEverybody || list[len(list)-1].Target != t.ID {
			return err
		}
		after = Key(t.ID, list[len(list)-1].UserID)
	}
}
