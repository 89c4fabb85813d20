package outbox

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/gatehouse-sso/gatehouse/provisioning"
	"github.com/gatehouse-sso/gatehouse/provisioning/audit"
	"github.com/gatehouse-sso/gatehouse/provisioning/connector"
	"github.com/gatehouse-sso/gatehouse/provisioning/guard"
	"github.com/gatehouse-sso/gatehouse/provisioning/store"
	"github.com/gatehouse-sso/gatehouse/provisioning/task"
)

// KindGroup is the kind of the tasks that make a target agree about a group: that
// it is there, what it is called, and who comes and goes. Their key is
// Key(target, group). Members are sent as what differs, in pieces, so a group of
// any size costs what changes.
const KindGroup = "sync.group"

// A GroupLink is what is known of one of our groups at a target.
type GroupLink struct {
	Target   string    `json:"target"`
	GroupID  string    `json:"group"`            // ours
	RemoteID string    `json:"remote,omitempty"` // the target's; no two groups have the same at one target
	Name     string    `json:"name,omitempty"`   // as last sent
	Made     bool      `json:"made,omitempty"`   // by us, and so ours to delete
	Intent   time.Time `json:"intent,omitzero"`  // a creation was begun and its end is not known
	Error    string    `json:"error,omitempty"`  // of the last run; empty: it went well
	At       time.Time `json:"at"`               // of the last change
}

var groupLinks = store.Table[GroupLink]{
	Name: "account_group",
	Key:  func(l GroupLink) string { return Key(l.Target, l.GroupID) },
	Unique: map[string]func(GroupLink) []string{"remote": func(l GroupLink) []string {
		if l.RemoteID == "" {
			return nil
		}
		return []string{string(store.Key(l.Target, l.RemoteID))}
	}},
}

// A membership is that an account is in a group at a target, or is to be.
type membership struct {
	Target  string `json:"target"`
	Group   string `json:"group"` // ours
	UserID  string `json:"user"`
	Remote  string `json:"remote"`            // the account's ID at the target
	Todo    todo   `json:"todo,omitempty"`    // empty: it is so
	Refused string `json:"refused,omitempty"` // why it is not done, until something changes
	Held    bool   `json:"held,omitempty"`    // it is Refused because a person has to say yes
	Asked   bool   `json:"asked,omitempty"`   // a person takes them out
}

type todo string

const (
	todoAdd    todo = "add"
	todoRemove todo = "remove"
	todoForget todo = "forget" // never stored
)

var memberships = store.Table[membership]{
	Name: "account_member",
	Key:  func(m membership) string { return string(store.Key(m.Target, m.Group, m.UserID)) },
	Index: map[string]func(membership) []string{
		"user": func(m membership) []string { return []string{Key(m.Target, m.UserID)} },
		"todo": func(m membership) []string {
			if m.Todo == "" || m.Refused != "" {
				return nil
			}
			return []string{Key(m.Target, m.Group)}
		},
	},
}

// FollowGroup is the provisioning.GroupFollower that makes tasks of what becomes
// of groups.
func (o *Outbox) FollowGroup(tx store.Tx, before, after provisioning.Group, _ provisioning.Source) error {
	for _, t := range o.c.Targets {
		if t.Groups == nil {
			continue
		}
		id := max(before.ID, after.ID)
		_, known, err := groupLinks.Get(tx, Key(t.ID, id))
		if err != nil {
			return err
		}
		if !known && (after.ID == "" || !t.Groups(after)) {
			continue
		}
		if err := task.Add(tx, KindGroup, Key(t.ID, id), o.c.Now()); err != nil {
			return err
		}
	}
	return nil
}

// groupRun is one attempt to make a target agree about a group.
type groupRun struct {
	o    *Outbox
	t    *target
	c    connector.Groups
	id   string
	g    provisioning.Group // zero: there is none any more, or it is none of the target's
	link GroupLink
}

// HandleGroup is the task.Handler of KindGroup.
func (o *Outbox) HandleGroup(ctx context.Context, key string) error {
	id, groupID, _ := strings.Cut(key, "/")
	if t := o.targets[id]; t != nil && t.Groups == nil {
		return nil // it gets no groups any more, and keeps those it has
	}
	t, err := o.admit(ctx, id)
	if err != nil {
		return err
	}
	r := &groupRun{o: o, t: t, id: groupID}
	err = whole(func() error { return r.attempt(ctx) })
	if errors.Is(err, store.ErrConflict) {
		err = &connector.Error{Class: connector.Conflict, Text: "the group at the target is another of our groups already"}
	}
	ctx = context.WithoutCancel(ctx)
	o.report(ctx, t, err, false)
	return o.instructGroup(ctx, r, err)
}

func (o *Outbox) instructGroup(ctx context.Context, r *groupRun, err error) error {
	var ce *connector.Error
	if !errors.As(err, &ce) {
		return err
	}
	why := bounded(err.Error())
	// The row is there to be shown; if it can not be written, the task says it too.
	_ = o.c.Store.Update(ctx, func(tx store.Tx) error {
		l, ok, err := groupLinks.Get(tx, Key(r.t.ID, r.id))
		if err != nil || !ok {
			return err
		}
		l.Error = why
		return groupLinks.Put(tx, l)
	})
	switch {
	case ce.Class == connector.Conflict, ce.Class == connector.Invalid:
		return &task.Park{Reason: why}
	case ce.Class == connector.Auth, ce.Class == connector.Route, ce.Throttled, ce.After > 0:
		wait, _ := r.t.health.wait(o.c.Now())
		return &task.Retry{After: wait, Reason: why}
	}
	return err
}

func (r *groupRun) attempt(ctx context.Context) error {
	var ok bool
	if r.c, ok = r.t.Connector.(connector.Groups); !ok || connector.CapsOf(r.t.Connector).NoGroups {
		return connector.CanNot("the target keeps no groups")
	}
	err := r.o.c.Store.View(ctx, func(tx store.Tx) error {
		g, ok, err := r.o.c.Directory.GroupTx(tx, r.id)
		if err != nil {
			return err
		}
		if r.g = g; !ok || !r.t.Groups(g) {
			r.g = provisioning.Group{}
		}
		if r.link, ok, err = groupLinks.Get(tx, Key(r.t.ID, r.id)); !ok {
			r.link = GroupLink{Target: r.t.ID, GroupID: r.id}
		}
		return err
	})
	if err != nil {
		return err
	}
	if r.g.ID == "" {
		return r.end(ctx)
	}
	if err := r.there(ctx); err != nil {
		return err
	}
	err = r.members(ctx)
	if is(err, connector.Gone) { // somebody deleted it there: again, with everybody
		if err := r.everybody(ctx); err != nil {
			return err
		}
		r.link.RemoteID, r.link.Name, r.link.Made = "", "", false
		if err := r.there(ctx); err != nil {
			return err
		}
		err = r.members(ctx)
	}
	return err
}

// there sees to it that the target has the group, under its name.
func (r *groupRun) there(ctx context.Context) error {
	want := connector.Group{ExternalID: r.id, Name: r.o.c.Directory.FullName(r.g.Store, r.g.Name)}
	if r.link.RemoteID != "" && r.link.Name == want.Name {
		return nil
	}
	if r.link.RemoteID == "" {
		g, err := r.mine(ctx, want)
		if err != nil {
			return err
		}
		// One that bears our ID after a creation was begun is that creation's.
		r.link.Made = r.link.Made || !r.link.Intent.IsZero() && g.ExternalID == r.id
		r.link.RemoteID, r.link.Intent = g.ID, r.o.c.Now()
		if err := r.note(ctx, ""); err != nil {
			return err
		}
	}
	made := r.link.RemoteID == ""
	var id string
	err := r.t.call(ctx, func(ctx context.Context) (err error) {
		id, err = r.c.SyncGroup(ctx, want, r.link.RemoteID)
		return err
	})
	if err != nil {
		if is(err, connector.Gone) {
			r.link.RemoteID, r.link.Name = "", ""
			if err := r.everybody(ctx); err != nil {
				return err
			}
			return r.there(ctx)
		}
		return err
	}
	r.link.RemoteID, r.link.Name, r.link.Intent, r.link.Made, r.link.Error = id, want.Name, time.Time{}, r.link.Made || made, ""
	did := "updated"
	if made {
		did = "created"
	}
	return r.note(ctx, did)
}

// mine is a group that is there and is ours; the zero Group: there is none. One that
// only has the name is taken where accounts are taken by their name.
func (r *groupRun) mine(ctx context.Context, want connector.Group) (connector.Group, error) {
	var there []connector.Group
	err := r.t.call(ctx, func(ctx context.Context) (err error) {
		there, err = r.c.FindGroup(ctx, want)
		return err
	})
	if err != nil {
		return connector.Group{}, err
	}
	for _, g := range there {
		if g.ExternalID == want.ExternalID {
			return g, nil
		}
	}
	switch {
	case len(there) == 0:
		return connector.Group{}, nil
	case len(there) == 1 && there[0].ExternalID == "" && r.t.Adopt == ByUserName:
		return there[0], nil
	}
	return connector.Group{}, &connector.Error{Class: connector.Conflict, Text: "a group of this name is there already and is not known to be ours"}
}

func (r *groupRun) note(ctx context.Context, did string) error {
	r.link.At = r.o.c.Now()
	return r.o.c.Store.Update(ctx, func(tx store.Tx) error {
		if err := groupLinks.Put(tx, r.link); err != nil || did == "" {
			return err
		}
		return record(tx, r.o.c.Audit, audit.Event{Kind: "account_group." + did, Target: r.t.ID, Text: r.id})
	})
}

// members sends who comes and who goes, in pieces.
func (r *groupRun) members(ctx context.Context) error {
	for {
		var page []membership
		err := r.o.c.Store.View(ctx, func(tx store.Tx) error {
			page = page[:0]
			for m, err := range memberships.Find(tx, "todo", Key(r.t.ID, r.id), "", connector.MaxMembers) {
				if err != nil {
					return err
				}
				page = append(page, m)
			}
			return nil
		})
		if err != nil || len(page) == 0 {
			return err
		}
		if err := r.send(ctx, page); err != nil {
			return err
		}
	}
}

// send sends one piece. What the target refuses for good is found by halves, and
// does not keep the others out.
func (r *groupRun) send(ctx context.Context, page []membership) error {
	page, err := r.allowed(ctx, page)
	if err != nil || len(page) == 0 {
		return err
	}
	var add, remove []string
	for _, m := range page {
		if m.Todo == todoAdd {
			add = append(add, m.Remote)
		} else {
			remove = append(remove, m.Remote)
		}
	}
	err = r.t.call(ctx, func(ctx context.Context) error { return r.c.ChangeMembers(ctx, r.link.RemoteID, add, remove) })
	switch {
	case is(err, connector.Invalid) && len(page) > 1:
		if err := r.send(ctx, page[:len(page)/2]); err != nil {
			return err
		}
		return r.send(ctx, page[len(page)/2:])
	case is(err, connector.Invalid):
		return r.settle(ctx, page, bounded(err.Error()))
	case err != nil:
		return err
	}
	return r.settle(ctx, page, "")
}

// asks is how many members the guard is asked about in one transaction: 16 keys
// each, and the row.
const asks = 5

// allowed are those of a piece that may be done. Whom the guard holds is set aside
// until a person has said something. A group that is none of the target's any more
// is left by all, and nobody is asked.
func (r *groupRun) allowed(ctx context.Context, page []membership) (may []membership, err error) {
	if r.o.c.Guard == nil || r.g.ID == "" {
		return page, nil
	}
	var leaving []membership
	for _, m := range page {
		if m.Todo == todoRemove {
			leaving = append(leaving, m)
		} else {
			may = append(may, m)
		}
	}
	for some := range slices.Chunk(leaving, asks) {
		var let []membership
		err := r.o.c.Store.Update(ctx, func(tx store.Tx) error {
			let = let[:0]
			for _, m := range some {
				a, err := r.o.c.Guard.AskTx(tx, leaves(m))
				if err != nil {
					return err
				}
				if a.Go() {
					let = append(let, m)
					continue
				}
				m.Refused, m.Held = a.Code()+": "+a.Text, true
				if err := memberships.Put(tx, m); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		may = append(may, let...)
	}
	return may, nil
}

// leaves is that somebody is taken out of a group.
func leaves(m membership) guard.Act {
	return guard.Act{Scope: guard.Target(m.Target), Kind: guard.Membership, Subject: m.UserID, Object: m.Group, How: "remove", Reason: "the user is not in the group any more", Asked: m.Asked}
}

// ResumeTx carries on with what the guard held, once a person has said something.
func (o *Outbox) ResumeTx(tx store.Tx, it guard.Item) error {
	target := strings.TrimPrefix(it.Act.Scope, guard.Target(""))
	if it.Act.Kind != guard.Membership {
		return task.AddFirst(tx, Kind, Key(target, it.Act.Subject), o.c.Now())
	}
	m, ok, err := memberships.Get(tx, string(store.Key(target, it.Act.Object, it.Act.Subject)))
	if err != nil || !ok || !m.Held {
		return err
	}
	m.Refused, m.Held = "", false
	if err := memberships.Put(tx, m); err != nil {
		return err
	}
	return task.Add(tx, KindGroup, Key(target, it.Act.Object), o.c.Now())
}

// settle notes that a piece is done, or why it is refused. What was changed
// meanwhile stays to be done.
func (r *groupRun) settle(ctx context.Context, page []membership, refused string) error {
	for len(page) > 0 {
		n := min(len(page), pageOfEverybody)
		err := r.o.c.Store.Update(ctx, func(tx store.Tx) error {
			for _, m := range page[:n] {
				now, ok, err := memberships.Get(tx, memberships.Key(m))
				if err != nil {
					return err
				}
				if !ok || now != m {
					continue
				}
				switch {
				case refused != "":
					now.Refused = refused
				case m.Todo == todoRemove:
					if err := memberships.Delete(tx, memberships.Key(m)); err != nil {
						return err
					}
					continue
				default:
					now.Todo = ""
				}
				if err := memberships.Put(tx, now); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		page = page[n:]
	}
	return nil
}

// everybody has all members added again, and forgets those who were to go: the
// group at the target is another one.
func (r *groupRun) everybody(ctx context.Context) error {
	return r.pages(ctx, func(tx store.Tx, m membership) error {
		if m.Todo == todoRemove {
			return memberships.Delete(tx, memberships.Key(m))
		}
		m.Todo, m.Refused, m.Held, m.Asked = todoAdd, "", false, false
		return memberships.Put(tx, m)
	})
}

// end takes a group away that is none of the target's any more: what we made is
// deleted there, and of another's our people are taken out.
func (r *groupRun) end(ctx context.Context) error {
	if r.link.RemoteID == "" && r.link.Intent.IsZero() {
		return nil
	}
	if r.link.RemoteID == "" {
		g, err := r.mine(ctx, connector.Group{ExternalID: r.id})
		if err != nil {
			return err
		}
		if r.link.RemoteID, r.link.Made = g.ID, true; g.ID == "" {
			return r.forget(ctx)
		}
	}
	if !r.link.Made {
		err := r.pages(ctx, func(tx store.Tx, m membership) error {
			m.Todo, m.Refused, m.Held = todoRemove, "", false
			return memberships.Put(tx, m)
		})
		if err == nil {
			err = r.members(ctx)
		}
		if err != nil && !is(err, connector.Gone) {
			return err
		}
		return r.forget(ctx)
	}
	if err := r.t.call(ctx, func(ctx context.Context) error { return r.c.RemoveGroup(ctx, r.link.RemoteID) }); err != nil {
		return err
	}
	return r.forget(ctx)
}

func (r *groupRun) forget(ctx context.Context) error {
	if err := r.pages(ctx, func(tx store.Tx, m membership) error { return memberships.Delete(tx, memberships.Key(m)) }); err != nil {
		return err
	}
	return r.o.c.Store.Update(ctx, func(tx store.Tx) error {
		if err := groupLinks.Delete(tx, Key(r.t.ID, r.id)); err != nil {
			return err
		}
		return record(tx, r.o.c.Audit, audit.Event{Kind: "account_group.deleted", Target: r.t.ID, Text: r.id})
	})
}

// pages calls fn for each membership of the group, a page in a transaction.
func (r *groupRun) pages(ctx context.Context, fn func(store.Tx, membership) error) error {
	prefix := string(store.Key(r.t.ID, r.id))
	for after := prefix; ; {
		n, next := 0, ""
		err := r.o.c.Store.Update(ctx, func(tx store.Tx) error {
			next = after
			var page []membership
			for m, err := range memberships.All(tx, after, pageOfEverybody) {
				if err != nil {
					return err
				}
				if m.Target != r.t.ID || m.Group != r.id {
					break
				}
				page = append(page, m)
			}
			for _, m := range page {
				if err := fn(tx, m); err != nil {
					return err
				}
				next = memberships.Key(m)
			}
			n = len(page)
			return nil
		})
		if err != nil || n < pageOfEverybody {
			return err
		}
		after = next
	}
}
