package provisioning

import (
	"context"
	"fmt"

	"github.com/gatehouse-sso/gatehouse/provisioning/store"
	"github.com/gatehouse-sso/gatehouse/provisioning/task"
)

// TaskClear is the kind of task that the directory adds for itself, with the ID
// of a user or group as key. Its handler is Directory.Clear.
const TaskClear = "directory.clear"

// clearBatch edges or links are cleared in one transaction, members told in
// one step; innerBatch groups are asked to tell theirs. An edge is three keys,
// a request with its task up to six.
const (
	clearBatch = 25
	innerBatch = 8
)

// Clear is the task.Handler of TaskClear.
func (d *Directory) Clear(ctx context.Context, id string) error {
	for {
		more, err := d.ClearStep(ctx, id)
		if err != nil || !more {
			return err
		}
	}
}

// ClearStep does a bounded part of what follows from the deletion of a user or
// group, or from the renaming or nesting of a group, and says whether there is
// more. It may be repeated and broken off at any point. Each member of a
// group is told in a transaction of their own, as their Followers may write
// much.
//
//	user deleted     links and edges go
//	group deleted    each member has left it; groups inside it are told
//	group's members  what was written aside becomes edges, each member is told
//	group changed    each member is told, then the groups inside it
func (d *Directory) ClearStep(ctx context.Context, id string) (more bool, err error) {
	var t tombstoneRow
	var dead bool
	err = d.Store.View(ctx, func(tx store.Tx) (err error) {
		t, dead, err = tombstones.Get(tx, id)
		return err
	})
	switch {
	case err != nil:
	case dead && t.Kind == "user":
		more, err = d.clearUser(ctx, id)
	case dead:
		more, err = d.clearGroup(ctx, id)
	default:
		if more, err = d.settle(ctx, id); err == nil && !more {
			more, err = d.tell(ctx, id)
		}
	}
	if err != nil {
		return false, fmt.Errorf("clear %s: %w", id, err)
	}
	return more, nil
}

func (d *Directory) clearUser(ctx context.Context, id string) (more bool, err error) {
	err = d.Store.Update(ctx, func(tx store.Tx) error {
		ls, err := some(links.Find(tx, "user", id, "", clearBatch))
		if err != nil {
			return err
		}
		for _, l := range ls {
			if err := links.Delete(tx, refKey(l.Ref)); err != nil {
				return err
			}
		}
		if more = len(ls) > 0; more {
			return nil
		}
		ms, err := some(members.Find(tx, "user", id, "", clearBatch))
		for _, m := range ms {
			if err := members.Delete(tx, pair(m.Group, m.User)); err != nil {
				return err
			}
		}
		more = len(ms) > 0
		return err
	})
	return more, err
}

func (d *Directory) clearGroup(ctx context.Context, id string) (more bool, err error) {
	var ms []memberRow
	if err := d.Store.View(ctx, func(tx store.Tx) (err error) {
		ms, err = some(members.Find(tx, "group", id, "", clearBatch))
		return err
	}); err != nil {
		return false, err
	}
	for _, m := range ms {
		if err := d.Store.Update(ctx, func(tx store.Tx) error {
			if _, in, err := members.Get(tx, pair(id, m.User)); err != nil || !in {
				return err
			}
			if err := members.Delete(tx, pair(id, m.User)); err != nil {
				return err
			}
			return d.told(tx, m.User, Delta{By: System, Left: []string{id}})
		}); err != nil {
			return false, err
		}
	}
	if len(ms) > 0 {
		return true, nil
	}
	err = d.Store.Update(ctx, func(tx store.Tx) error {
		inner, err := some(nests.Find(tx, "parent", id, "", innerBatch))
		if err != nil {
			return err
		}
		for _, n := range inner {
			if err := cmpErr(nests.Delete(tx, pair(id, n.Child)), d.touch(tx, n.Child)); err != nil {
				return err
			}
		}
		if more = len(inner) > 0; more {
			return nil
		}
		outer, err := some(nests.Find(tx, "child", id, "", clearBatch))
		for _, n := range outer {
			if err := nests.Delete(tx, pair(n.Parent, id)); err != nil {
				return err
			}
		}
		more = len(outer) > 0
		return err
	})
	return more, err
}

// touch asks that every member of a group is told. Those of a deleted group
// are told by its deletion.
func (d *Directory) touch(tx store.Tx, group string) error {
	if _, ok, err := groups.Get(tx, group); err != nil || !ok {
		return err
	}
	t, _, err := touches.Get(tx, group)
	if err != nil {
		return err
	}
	return cmpErr(
		touches.Put(tx, touchRow{Group: group, Gen: t.Gen + 1}),
		task.Add(tx, TaskClear, group, d.now()),
	)
}

// tell goes on telling the members of a group, then asks the groups inside it
// to do the same.
func (d *Directory) tell(ctx context.Context, id string) (more bool, err error) {
	var t touchRow
	var ms []memberRow
	if err := d.Store.View(ctx, func(tx store.Tx) (err error) {
		if t, more, err = touches.Get(tx, id); err != nil || !more || t.Inner {
			return err
		}
		ms, err = some(members.Find(tx, "group", id, t.Member, clearBatch))
		return err
	}); err != nil || !more {
		return false, err
	}
	for _, m := range ms {
		if err := d.Store.Update(ctx, func(tx store.Tx) error {
			if _, in, err := members.Get(tx, pair(id, m.User)); err != nil || !in {
				return err
			}
			return d.told(tx, m.User, Delta{By: System, Regrouped: []string{id}})
		}); err != nil {
			return false, err
		}
		t.Member = pair(id, m.User)
	}
	more = true
	err = d.Store.Update(ctx, func(tx store.Tx) error {
		more = true
		t := t
		now, ok, err := touches.Get(tx, id)
		if err != nil || !ok || now.Gen != t.Gen {
			return err
		}
		if !t.Inner {
			t.Inner = len(ms) < clearBatch
			return touches.Put(tx, t)
		}
		inner, err := some(nests.Find(tx, "parent", id, t.Child, innerBatch))
		if err != nil {
			return err
		}
		for _, n := range inner {
			if err := d.touch(tx, n.Child); err != nil {
				return err
			}
			t.Child = pair(id, n.Child)
		}
		if more = len(inner) == innerBatch; more {
			return touches.Put(tx, t)
		}
		return touches.Delete(tx, id)
	})
	return more, err
}

// told is a change of a user by what happened to their groups.
func (d *Directory) told(tx store.Tx, userID string, dl Delta) error {
	u, ok, err := d.UserTx(tx, userID)
	if err != nil || !ok {
		return err
	}
	_, err = d.commit(tx, u, u.Clone(), dl)
	return err
}
