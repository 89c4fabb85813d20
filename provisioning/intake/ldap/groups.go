package ldap

import (
	"context"
	"errors"
	"fmt"
	"slices"

	goldap "github.com/go-ldap/ldap/v3"

	"github.com/gatehouse-sso/gatehouse/provisioning"
	"github.com/gatehouse-sso/gatehouse/provisioning/guard"
	"github.com/gatehouse-sso/gatehouse/provisioning/ldapconn"
	"github.com/gatehouse-sso/gatehouse/provisioning/store"
)

// allGroups reads all groups and makes ours agree: first the groups, then who is
// in them, since one can be inside another.
func (r *reading) allGroups(ctx context.Context) error {
	mine := map[string]group{} // by the entry's ID
	err := r.c.Store.View(ctx, func(tx store.Tx) error {
		clear(mine)
		for g, err := range groups.Find(tx, "source", r.s.ID, "", 0) {
			if err != nil {
				return err
			}
			mine[g.Remote] = g
		}
		return nil
	})
	if err != nil {
		return err
	}
	had := len(mine)
	seen := map[string]bool{}
	for e, err := range r.s.Pool.Walk(ctx, r.named()) {
		if err != nil {
			return err
		}
		id := ldapconn.ID(e, r.s.Dialect)
		if id == "" {
			r.note(Problem{Entry: e.DN, Code: ReasonNoID, Text: "the group shows no " + r.s.Dialect.IDAttribute()}, outcome{what: skipped})
			continue
		}
		seen[id] = true
		if r.method == Timestamp {
			r.stamped = max(r.stamped, ldapconn.Value(e, r.s.stamp()))
		}
		g, err := r.group(ctx, e, mine[id])
		if err != nil {
			return err
		}
		if g.Group != "" {
			mine[id] = g
		}
	}
	for _, id := range sortedKeys(seen) {
		if g, ok := mine[id]; ok {
			if err := r.members(ctx, g); err != nil {
				return err
			}
		}
	}
	r.rep.Groups = len(seen)
	w := guard.Walk{Had: had, Got: len(seen)}
	if unsound := w.Sound(); unsound != nil {
		r.rep.Unsound = "groups: " + unsound.Error()
		return nil
	}
	for _, id := range sortedKeys(mine) {
		if !seen[id] {
			if err := r.endGroup(ctx, mine[id]); err != nil {
				return err
			}
		}
	}
	return nil
}

// named is the query for groups without their members.
func (r *reading) named() ldapconn.Query {
	q := r.s.groups()
	q.Attrs = []string{r.s.Dialect.IDAttribute(), r.s.stamp(), r.s.Groups.Name}
	return q
}

// group makes the group of an entry, or renames it. Its row is written with it.
func (r *reading) group(ctx context.Context, e *goldap.Entry, row group) (group, error) {
	name, dn, by := ldapconn.Value(e, r.s.Groups.Name), ldapconn.Normal(e.DN), r.s.by()
	id := ldapconn.ID(e, r.s.Dialect)
	fail := func(err error) (group, error) {
		p, is := hurt(err, said{remote: id, name: name})
		if !is {
			return row, err
		}
		if p.Code == provisioning.ReasonConflict {
			p.Code, p.Text = ReasonGroup, Reasons[ReasonGroup]
		}
		r.note(p, outcome{what: skipped})
		return row, nil
	}
	if row.Group != "" {
		g, err := r.c.Directory.Group(ctx, row.Group)
		if err == nil {
			if g.Name != name {
				if _, err := r.c.Directory.RenameGroup(ctx, g.ID, name, by); err != nil {
					return fail(err)
				}
			}
			if row.DN == dn {
				return row, nil
			}
			row.DN = dn
			return row, r.c.Store.Update(ctx, func(tx store.Tx) error { return groups.Put(tx, row) })
		}
		if !errors.Is(err, provisioning.ErrNotFound) {
			return row, err
		}
		if err := r.c.Store.Update(ctx, func(tx store.Tx) error { return groups.Delete(tx, row.key()) }); err != nil {
			return row, err
		}
		row = group{}
	}
	// If the process dies behind this, the group is known by its external ID.
	made, err := r.c.Directory.CreateGroup(ctx, provisioning.Group{Store: r.s.UserStore, Name: name, ExternalID: string(by) + ":" + id}, by, provisioning.Move{})
	if p, is := hurt(err, said{}); is && p.Code == provisioning.ReasonConflict {
		old, ferr := r.c.Directory.GroupByName(ctx, r.s.UserStore, name)
		if ferr != nil || old.ExternalID != string(by)+":"+id {
			return fail(err)
		}
		made, err = old, nil
	}
	if err != nil {
		return fail(err)
	}
	row = group{Source: r.s.ID, Remote: id, Group: made.ID, DN: dn}
	return row, r.c.Store.Update(ctx, func(tx store.Tx) error { return groups.Put(tx, row) })
}

// members makes who is in a group agree. People and groups who are not of this
// source stay as they are.
func (r *reading) members(ctx context.Context, g group) error {
	e, err := r.find(ctx, g.Remote, r.s.groups())
	if err != nil || e == nil {
		return err // gone this moment: the next reading sees to it
	}
	var dns []string
	err = r.s.Pool.Do(ctx, func(c *ldapconn.Conn) (err error) {
		dns, err = c.All(e, r.s.Groups.Member)
		return err
	})
	if err != nil {
		return err
	}
	users, inner := map[string]bool{}, map[string]bool{}
	for part := range slices.Chunk(dns, 200) {
		err := r.c.Store.View(ctx, func(tx store.Tx) error {
			for _, dn := range part {
				key := string(store.Key(r.s.ID, ldapconn.Normal(dn)))
				for p, err := range persons.Find(tx, "dn", key, "", 0) {
					if err != nil {
						return err
					}
					if p.Gone.IsZero() {
						users[p.User] = true
					}
				}
				for o, err := range groups.Find(tx, "dn", key, "", 0) {
					if err != nil {
						return err
					}
					inner[o.Group] = true
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	join, err := r.moves(ctx, g, users)
	if err != nil {
		return err
	}
	nests, err := r.nests(ctx, g, inner)
	if err != nil {
		return err
	}
	for _, m := range append(nests, join...) {
		if _, err := r.c.Directory.Move(ctx, g.Group, r.s.by(), m, nil); errors.Is(err, provisioning.ErrCycle) {
			r.note(Problem{Entry: g.Remote, Code: provisioning.ReasonInvalid, Text: "the directory has a group inside itself"}, outcome{what: skipped})
		} else if err != nil {
			return fmt.Errorf("members of group %s: %w", g.Group, err)
		}
	}
	return nil
}

// moves are the people who join and leave; none: nothing differs.
func (r *reading) moves(ctx context.Context, g group, users map[string]bool) ([]provisioning.Move, error) {
	var m provisioning.Move
	for id, err := range r.c.Directory.Members(ctx, g.Group, "", 0) {
		if err != nil {
			return nil, err
		}
		if users[id] {
			delete(users, id)
			continue
		}
		may, err := r.mayLeave(ctx, g, id)
		if err != nil {
			return nil, err
		}
		if may {
			m.Leave = append(m.Leave, id)
		}
	}
	for _, id := range sortedKeys(users) {
		if _, err := r.c.Directory.User(ctx, id); err == nil {
			m.Join = append(m.Join, id)
		}
	}
	r.rep.Joined += len(m.Join)
	r.rep.Left += len(m.Leave)
	if len(m.Join)+len(m.Leave) == 0 {
		return nil, nil
	}
	return []provisioning.Move{m}, nil
}

// mayLeave: somebody of this source may be taken out of a group.
func (r *reading) mayLeave(ctx context.Context, g group, userID string) (may bool, err error) {
	out := outcome{}
	err = r.c.Store.Update(ctx, func(tx store.Tx) error {
		may, out = false, outcome{}
		_, ours, err := persons.Lookup(tx, "user", string(store.Key(r.s.ID, userID)))
		if err != nil || !ours {
			return err
		}
		if may = r.c.Guard == nil; may {
			return nil
		}
		a := guard.Act{Scope: r.s.scope(), Kind: guard.Membership, Subject: userID, Object: g.Group, How: "remove", Cycle: r.rep.Cycle, Reason: "is not in the group of the directory any more"}
		ans, err := r.c.Guard.AskTx(tx, a)
		if may = ans.Go(); !may && err == nil {
			out.why = &problem{ans.Code(), ans.Text}
		}
		return err
	})
	if out.why != nil {
		p, _ := hurt(out.why, said{remote: g.Remote})
		r.note(p, out)
	}
	return may, err
}

// nests are the groups that come into a group or leave it, a few at a time.
func (r *reading) nests(ctx context.Context, g group, inner map[string]bool) (all []provisioning.Move, err error) {
	now, err := r.c.Directory.Inside(ctx, g.Group)
	if err != nil {
		return nil, err
	}
	for _, o := range now {
		if inner[o.ID] {
			delete(inner, o.ID)
			continue
		}
		mine := false
		err := r.c.Store.View(ctx, func(tx store.Tx) error {
			row, ok, err := groups.Lookup(tx, "group", o.ID)
			mine = ok && row.Source == r.s.ID
			return err
		})
		if err != nil {
			return nil, err
		}
		if mine {
			all = append(all, provisioning.Move{Unnest: []string{o.ID}})
		}
	}
	for _, id := range sortedKeys(inner) {
		all = append(all, provisioning.Move{Nest: []string{id}})
	}
	return all, nil
}

// endGroup deletes the group of an entry that is gone, when the directory has
// said so and everybody of this source may leave it.
func (r *reading) endGroup(ctx context.Context, g group) error {
	e, err := r.find(ctx, g.Remote, r.named())
	if err != nil || e != nil {
		return err
	}
	for id, err := range r.c.Directory.Members(ctx, g.Group, "", 0) {
		if err != nil {
			return err
		}
		if may, err := r.mayLeave(ctx, g, id); err != nil {
			return err
		} else if !may {
			return nil
		}
		r.rep.Left++
	}
	if err := r.c.Directory.DeleteGroup(ctx, g.Group, r.s.by()); err != nil && !errors.Is(err, provisioning.ErrNotFound) {
		return err
	}
	return r.c.Store.Update(ctx, func(tx store.Tx) error { return groups.Delete(tx, g.key()) })
}
