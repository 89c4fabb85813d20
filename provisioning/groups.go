package provisioning

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/gatehouse-sso/gatehouse/provisioning/store"
	"github.com/gatehouse-sso/gatehouse/provisioning/task"
)

// ErrCycle: a group would, through others, be inside itself.
var ErrCycle = errors.New("a group can not be inside itself")

// CreateGroup makes a group with these members: all of them or no group. It
// gives it its ID, version 1 and its times. A taken name is a *Conflict.
func (d *Directory) CreateGroup(ctx context.Context, g Group, by Source, with Move) (Group, error) {
	if g.ID != "" || g.Version != 0 || g.Moves != 0 || !g.Created.IsZero() || !g.Modified.IsZero() {
		return Group{}, &Invalid{"id", "version and times of a group are given by the directory"}
	}
	g.ID = d.newID()
	out, err := d.move(ctx, g.ID, by, with, func(tx store.Tx) error {
		if _, there, err := groups.Get(tx, g.ID); err != nil || there {
			return err // a repeated try finds what the first one made
		}
		_, err := d.commitGroup(tx, Group{}, g, by)
		return err
	})
	if err != nil {
		return Group{}, fmt.Errorf("create group: %w", err)
	}
	return out, nil
}

// RenameGroup gives a group another name. Its members follow at once; that
// their user changed is told to Followers by a task (see ClearStep).
func (d *Directory) RenameGroup(ctx context.Context, id, name string, by Source) (Group, error) {
	return d.ChangeGroup(ctx, id, by, func(g *Group) error { g.Name = name; return nil })
}

// ChangeGroup is to a group what Change is to a user.
func (d *Directory) ChangeGroup(ctx context.Context, id string, by Source, fn func(*Group) error) (Group, error) {
	var out Group
	err := d.Store.Update(ctx, func(tx store.Tx) (err error) {
		out, err = d.editGroup(tx, id, by, fn)
		return err
	})
	if err != nil {
		return Group{}, fmt.Errorf("change group %s: %w", id, err)
	}
	return out, nil
}

// editGroup lets fn change a group; a nil fn changes nothing.
func (d *Directory) editGroup(tx store.Tx, id string, by Source, fn func(*Group) error) (Group, error) {
	before, err := getGroup(tx, id)
	if err != nil || fn == nil {
		return before, err
	}
	after := before
	if err := fn(&after); err != nil {
		return Group{}, err
	}
	if after.ID != before.ID || after.Version != before.Version || after.Moves != before.Moves || !after.Created.Equal(before.Created) || !after.Modified.Equal(before.Modified) {
		return Group{}, &Invalid{"id", "version and times of a group are given by the directory"}
	}
	return d.commitGroup(tx, before, after, by)
}

func (d *Directory) commitGroup(tx store.Tx, before, after Group, by Source) (Group, error) {
	if after == before {
		return before, nil
	}
	if err := d.checkName(after.Store, "group name", after.Name); err != nil {
		return Group{}, err
	}
	if text := badText(after.ExternalID, MaxName); text != "" {
		return Group{}, &Invalid{"external_id", text}
	}
	after.Modified = d.now()
	after.Version = before.Version + 1
	if before.ID == "" {
		after.Created = after.Modified
	}
	if err := groups.Put(tx, groupRowOf(after)); errors.Is(err, store.ErrConflict) {
		return Group{}, &Conflict{"group name", after.Name}
	} else if err != nil {
		return Group{}, err
	}
	if before.ID != "" && (before.Name != after.Name || before.Store != after.Store) {
		if err := d.touch(tx, after.ID); err != nil {
			return Group{}, err
		}
	}
	return after, d.followGroup(tx, before, after, by)
}

func (d *Directory) followGroup(tx store.Tx, before, after Group, by Source) error {
	for _, f := range d.GroupFollowers {
		if err := f(tx, before, after, by); err != nil {
			return err
		}
	}
	return nil
}

// DeleteGroup removes a group at once and for ever. From then on nobody is in
// it; its edges are cleared, and its members' Followers told, by a task. Each of
// checks is asked in the same transaction; its error leaves the group and is
// returned, wrapped.
func (d *Directory) DeleteGroup(ctx context.Context, id string, by Source, checks ...func(Group) error) error {
	err := d.Store.Update(ctx, func(tx store.Tx) error {
		g, err := getGroup(tx, id)
		if err != nil {
			return err
		}
		for _, check := range checks {
			if err := check(g); err != nil {
				return err
			}
		}
		now := d.now()
		return cmpErr(
			groups.Delete(tx, id),
			tombstones.Put(tx, tombstoneRow{id, "group", by, now}),
			touches.Delete(tx, id),
			rolls.Delete(tx, id),
			flips.Delete(tx, id),
			task.Add(tx, TaskClear, id, now),
			d.followGroup(tx, g, Group{}, by),
		)
	})
	if err != nil {
		return fmt.Errorf("delete group %s: %w", id, err)
	}
	return nil
}

// Group returns a group by ID, or ErrNotFound.
func (d *Directory) Group(ctx context.Context, id string) (Group, error) {
	return view(ctx, d, "group "+id, func(tx store.Tx) (Group, bool, error) {
		r, ok, err := groups.Get(tx, id)
		if err != nil || !ok {
			return Group{}, ok, err
		}
		g, err := rolled(tx, groupOf(r))
		return g, true, err
	})
}

// GroupByName returns the group that has a name in a user store, in any
// spelling that folds to the same, or ErrNotFound.
func (d *Directory) GroupByName(ctx context.Context, userStore, name string) (Group, error) {
	return view(ctx, d, fmt.Sprintf("group %q in %s", name, userStore), func(tx store.Tx) (Group, bool, error) {
		r, ok, err := groups.Lookup(tx, "name", pair(userStore, Fold(name)))
		if err != nil || !ok {
			return Group{}, ok, err
		}
		g, err := rolled(tx, groupOf(r))
		return g, true, err
	})
}

// groupPages is pages of groups.
func (d *Directory) groupPages(ctx context.Context, after string, limit int, key func(Group) string, read func(tx store.Tx, after string, n int) iter.Seq2[groupRow, error]) iter.Seq2[Group, error] {
	return pages(ctx, d, after, limit, key, func(tx store.Tx, after string, n int) iter.Seq2[Group, error] {
		return func(yield func(Group, error) bool) {
			for r, err := range read(tx, after, n) {
				g := groupOf(r)
				if err == nil {
					g, err = rolled(tx, g)
				}
				if !yield(g, err) || err != nil {
					return
				}
			}
		}
	}, func(g Group) Group { return g })
}

// Groups yields groups as Users yields users.
func (d *Directory) Groups(ctx context.Context, after string, limit int) iter.Seq2[Group, error] {
	return d.groupPages(ctx, after, limit, func(g Group) string { return g.ID }, func(tx store.Tx, after string, n int) iter.Seq2[groupRow, error] {
		return groups.All(tx, after, n)
	})
}

// GroupsByExternalID yields groups as ByExternalID yields users.
func (d *Directory) GroupsByExternalID(ctx context.Context, userStore, externalID string) iter.Seq2[Group, error] {
	return d.groupPages(ctx, "", 0, func(g Group) string { return g.ID }, func(tx store.Tx, after string, n int) iter.Seq2[groupRow, error] {
		return groups.Find(tx, "external", pair(userStore, externalID), after, n)
	})
}

// SearchGroups yields groups as Search yields users.
func (d *Directory) SearchGroups(ctx context.Context, userStore, prefix, after string, limit int) iter.Seq2[Group, error] {
	from := namePrefix(userStore, Fold(prefix))
	to := string(store.End([]byte(from)))
	if after != "" {
		after = pair(userStore, Fold(after))
	}
	key := func(g Group) string { return pair(g.Store, Fold(g.Name)) }
	return d.groupPages(ctx, after, limit, key, func(tx store.Tx, after string, n int) iter.Seq2[groupRow, error] {
		return groups.Range(tx, "by_name", laterOf(from, after), to, n)
	})
}

// AddMember puts a user into a group. It is a change of the user.
func (d *Directory) AddMember(ctx context.Context, groupID, userID string, by Source) (User, Delta, error) {
	return d.relink(ctx, userID, Delta{By: by, Joined: []string{groupID}}, func(tx store.Tx) (bool, error) {
		if _, err := getGroup(tx, groupID); err != nil {
			return false, err
		}
		return d.place(tx, groupID, userID, true, by)
	})
}

// RemoveMember takes a user out of a group. It is a change of the user.
func (d *Directory) RemoveMember(ctx context.Context, groupID, userID string, by Source) (User, Delta, error) {
	return d.relink(ctx, userID, Delta{By: by, Left: []string{groupID}}, func(tx store.Tx) (bool, error) {
		return d.place(tx, groupID, userID, false, by)
	})
}

// place makes it true that a user is, or is not, directly in a group, and counts
// that. It reports whether there is something to tell: of what a shift in force
// has said nobody was told yet.
func (d *Directory) place(tx store.Tx, groupID, userID string, in bool, by Source) (tell bool, err error) {
	_, edge, err := members.Get(tx, pair(groupID, userID))
	if err != nil {
		return false, err
	}
	was := edge
	s, shifted, err := shiftOf(tx, groupID, userID)
	if err != nil {
		return false, err
	}
	if shifted {
		was = s.In
	}
	if was == in {
		return false, nil
	}
	if shifted {
		if err := shifts.Delete(tx, pair(s.Change, userID)); err != nil {
			return false, err
		}
	}
	if err := d.roll(tx, groupID); err != nil {
		return false, err
	}
	switch {
	case in == edge:
		return false, nil
	case in:
		return true, members.Put(tx, memberRow{groupID, userID, by, d.now()})
	}
	return true, members.Delete(tx, pair(groupID, userID))
}

// roll counts a change of who is in a group.
func (d *Directory) roll(tx store.Tx, groupID string) error {
	if _, ok, err := groups.Get(tx, groupID); err != nil || !ok {
		return err // deleted: nobody asks
	}
	r, _, err := rolls.Get(tx, groupID)
	if err != nil {
		return err
	}
	return rolls.Put(tx, rollRow{groupID, r.Version + 1, d.now()})
}

// rolled is a group with what its roll says.
func rolled(tx store.Tx, g Group) (Group, error) {
	r, ok, err := rolls.Get(tx, g.ID)
	if err != nil || !ok {
		return g, err
	}
	g.Moves = r.Version
	if r.At.After(g.Modified) {
		g.Modified = r.At
	}
	return g, nil
}

// Nest puts a group inside another: who is in child is in parent too. What
// would be a cycle is ErrCycle.
func (d *Directory) Nest(ctx context.Context, parent, child string, by Source) error {
	return d.nestIn(ctx, parent, child, func(tx store.Tx) error { return d.nest(tx, parent, child, by) })
}

func (d *Directory) nestIn(ctx context.Context, parent, child string, fn func(store.Tx) error) error {
	if err := d.Store.Update(ctx, fn); err != nil {
		return fmt.Errorf("group %s inside %s: %w", child, parent, err)
	}
	return nil
}

func (d *Directory) nest(tx store.Tx, parent, child string, by Source) error {
	return d.renest(tx, child, by, func() (bool, error) {
		if parent == child {
			return false, ErrCycle
		}
		if _, err := getGroup(tx, parent); err != nil {
			return false, err
		}
		above, err := (&ascent{d: d, tx: tx}).above([]string{parent})
		if err != nil {
			return false, err
		}
		if slices.ContainsFunc(above, func(g Group) bool { return g.ID == child }) {
			return false, ErrCycle
		}
		if _, in, err := nests.Get(tx, pair(parent, child)); err != nil || in {
			return false, err
		}
		return true, cmpErr(nests.Put(tx, nestRow{parent, child, by, d.now()}), d.roll(tx, parent))
	})
}

// Unnest takes a group out of another.
func (d *Directory) Unnest(ctx context.Context, parent, child string, by Source) error {
	return d.nestIn(ctx, parent, child, func(tx store.Tx) error { return d.unnest(tx, parent, child, by) })
}

func (d *Directory) unnest(tx store.Tx, parent, child string, by Source) error {
	return d.renest(tx, child, by, func() (bool, error) {
		if _, in, err := nests.Get(tx, pair(parent, child)); err != nil || !in {
			return false, err
		}
		return true, cmpErr(nests.Delete(tx, pair(parent, child)), d.roll(tx, parent))
	})
}

// renest changes an edge between groups: a change of the inner group, whose
// members are told by a task.
func (d *Directory) renest(tx store.Tx, child string, by Source, fn func() (bool, error)) error {
	g, err := getGroup(tx, child)
	if err != nil {
		return err
	}
	did, err := fn()
	if err != nil || !did {
		return err
	}
	after := g
	after.Version++
	after.Modified = d.now()
	return cmpErr(groups.Put(tx, groupRowOf(after)), d.touch(tx, child), d.followGroup(tx, g, after, by))
}

// Members yields the IDs of users who are directly in a group, those after a
// given ID, at most limit (0: all).
func (d *Directory) Members(ctx context.Context, groupID, after string, limit int) iter.Seq2[string, error] {
	itself := func(id string) string { return id }
	return pages(ctx, d, after, limit, itself, func(tx store.Tx, after string, n int) iter.Seq2[string, error] {
		return inGroup(tx, groupID, after, n)
	}, itself)
}

// Inside returns the groups that are directly inside a group, by name.
func (d *Directory) Inside(ctx context.Context, groupID string) ([]Group, error) {
	return d.nested(ctx, "parent", groupID, func(r nestRow) string { return r.Child })
}

// Outside returns the groups that a group is directly inside of, by name.
func (d *Directory) Outside(ctx context.Context, groupID string) ([]Group, error) {
	return d.nested(ctx, "child", groupID, func(r nestRow) string { return r.Parent })
}

func (d *Directory) nested(ctx context.Context, index, groupID string, other func(nestRow) string) ([]Group, error) {
	return viewGroups(ctx, d, func(tx store.Tx) ([]Group, error) {
		var all []Group
		for r, err := range nests.Find(tx, index, groupID, "", 0) {
			if err != nil {
				return nil, err
			}
			g, ok, err := groups.Get(tx, other(r))
			if err != nil {
				return nil, err
			}
			if ok {
				all = append(all, groupOf(g))
			}
		}
		return all, nil
	})
}

// GroupsOf returns the groups that a user is in, by name, those reached
// through other groups included.
func (d *Directory) GroupsOf(ctx context.Context, userID string) ([]Group, error) {
	return viewGroups(ctx, d, func(tx store.Tx) ([]Group, error) { return d.groupsOf(tx, userID) })
}

// A Membership is a group that a user is in.
type Membership struct {
	Group
	Direct bool // not only through another group
}

// Memberships are the groups that a user is in, by user store and name.
func (d *Directory) Memberships(ctx context.Context, userID string) ([]Membership, error) {
	all, err := d.MembershipsOf(ctx, []string{userID})
	if err != nil {
		return nil, err
	}
	return all[0], nil
}

// MembershipsOf are the Memberships of several users, in their order and as of one moment.
func (d *Directory) MembershipsOf(ctx context.Context, userIDs []string) (all [][]Membership, err error) {
	err = d.Store.View(ctx, func(tx store.Tx) error {
		all = make([][]Membership, len(userIDs))
		a := ascent{d: d, tx: tx}
		for i, id := range userIDs {
			if all[i], err = a.memberships(id); err != nil {
				return fmt.Errorf("groups of user %s: %w", id, err)
			}
		}
		return nil
	})
	return all, err
}

func (g Group) order() string { return pair(g.Store, g.Name) }

func viewGroups(ctx context.Context, d *Directory, fn func(store.Tx) ([]Group, error)) ([]Group, error) {
	all, err := view(ctx, d, "groups", func(tx store.Tx) ([]Group, bool, error) {
		gs, err := fn(tx)
		return gs, true, err
	})
	slices.SortFunc(all, func(a, b Group) int { return strings.Compare(a.order(), b.order()) })
	return all, err
}

// GroupsOfTx is GroupsOf inside a transaction, in no order.
func (d *Directory) GroupsOfTx(tx store.Tx, userID string) ([]Group, error) {
	return d.groupsOf(tx, userID)
}

// GroupTx is Group inside a transaction.
func (d *Directory) GroupTx(tx store.Tx, id string) (Group, bool, error) {
	r, ok, err := groups.Get(tx, id)
	return groupOf(r), ok, err
}

func (d *Directory) groupsOf(tx store.Tx, userID string) ([]Group, error) {
	a := ascent{d: d, tx: tx}
	direct, err := a.direct(userID)
	if err != nil {
		return nil, err
	}
	return a.above(direct)
}

func getGroup(tx store.Tx, id string) (Group, error) {
	r, ok, err := groups.Get(tx, id)
	if err == nil && !ok {
		err = fmt.Errorf("group %s: %w", id, ErrNotFound)
	}
	if err != nil {
		return Group{}, err
	}
	return rolled(tx, groupOf(r))
}
