package outbox

import (
	"context"
	"slices"
	"strings"

	"github.com/gatehouse-sso/gatehouse/provisioning"
	"github.com/gatehouse-sso/gatehouse/provisioning/store"
	"github.com/gatehouse-sso/gatehouse/provisioning/task"
)

// KindRefs is the kind of the tasks of the second lane: what needs the account of
// a user to be there; their key is Key(target, user). Such a task asks no target:
// it finds out who else is concerned, and gives them tasks.
const KindRefs = "sync.refs"

// KindLater is the kind of the tasks that wait until a disabled account is to be
// deleted; their key is Key(target, user).
const KindLater = "sync.later"

// HandleLater is the task.Handler of KindLater: it makes the user's own task do it.
func (o *Outbox) HandleLater(ctx context.Context, key string) error {
	return o.c.Store.Update(ctx, func(tx store.Tx) error {
		l, ok, err := links.Get(tx, key)
		if err != nil || !ok || l.Left.IsZero() {
			return err
		}
		return task.Add(tx, Kind, key, o.c.Now())
	})
}

// A reference is that the account of one user names another user.
type reference struct {
	Target string `json:"target"`
	From   string `json:"from"` // whose account it is
	To     string `json:"to"`   // whom it names
	// Remote is the ID by which the account names them; empty: they have no
	// account there yet, and the account names nobody.
	Remote string `json:"remote,omitempty"`
}

var references = store.Table[reference]{
	Name: "account_reference",
	Key:  func(r reference) string { return string(store.Key(r.Target, r.From, r.To)) },
	Index: map[string]func(reference) []string{
		"from": func(r reference) []string { return []string{Key(r.Target, r.From)} },
		"to":   func(r reference) []string { return []string{Key(r.Target, r.To)} },
	},
}

// refer puts the target's IDs in place of those of our users, and keeps whom the
// account names. Who has no account there yet is left out: the account is sent
// again when they have.
func (r *run) refer(tx store.Tx) error {
	for _, name := range r.t.References {
		values, ok := r.acct.Attributes[name]
		if !ok {
			continue
		}
		var remote []string
		for _, v := range values {
			u, ok, err := r.o.userOf(tx, v)
			if err != nil {
				return err
			}
			if !ok {
				continue
			}
			l, _, err := links.Get(tx, Key(r.t.ID, u.ID))
			if err != nil {
				return err
			}
			r.refs = append(r.refs, reference{r.t.ID, r.userID, u.ID, l.RemoteID})
			if l.RemoteID != "" {
				remote = append(remote, l.RemoteID)
			}
		}
		r.acct.Attributes[name] = remote
	}
	return nil
}

// userOf finds a user by ID, or by name with the prefix of the user store.
func (o *Outbox) userOf(tx store.Tx, value string) (provisioning.User, bool, error) {
	u, ok, err := o.c.Directory.UserTx(tx, value)
	if err != nil || ok {
		return u, ok, err
	}
	userStore, name := o.c.Directory.SplitName(value)
	return o.c.Directory.ByNameTx(tx, userStore, name)
}

// maxRefs is how many references of one account are followed.
const maxRefs = 8

// keepRefs stores whom the account names, as it was sent.
func (r *run) keepRefs(tx store.Tx) error {
	if len(r.t.References) == 0 {
		return nil
	}
	refs := r.refs[:min(len(r.refs), maxRefs)]
	var old []string
	for was, err := range references.Find(tx, "from", Key(r.t.ID, r.userID), "", 0) {
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(refs, func(n reference) bool { return n.To == was.To }) {
			old = append(old, references.Key(was))
		}
	}
	for _, key := range old[:min(len(old), maxRefs)] {
		if err := references.Delete(tx, key); err != nil {
			return err
		}
	}
	for _, n := range refs {
		if err := references.Put(tx, n); err != nil {
			return err
		}
		// Whoever got an account, or another, while this run went on did not find
		// the row that was just put.
		l, _, err := links.Get(tx, Key(n.Target, n.To))
		if err != nil {
			return err
		}
		if l.RemoteID != n.Remote {
			if err := task.Add(tx, Kind, Key(r.t.ID, r.userID), r.o.c.Now()); err != nil {
				return err
			}
		}
	}
	return nil
}

// pageOfRefs is how many rows of the second lane are written in one transaction:
// each is up to six keys with its task, and three of what the guard forgets.
const pageOfRefs = 10

// HandleRefs is the task.Handler of KindRefs: whoever names the user is sent
// again, and the groups that the user is in, or was, get tasks.
func (o *Outbox) HandleRefs(ctx context.Context, key string) error {
	id, userID, _ := strings.Cut(key, "/")
	t := o.targets[id]
	if t == nil {
		return &task.Retry{After: unknownTarget, Reason: "target " + id + " is not in the configuration"}
	}
	if err := o.dependents(ctx, id, userID); err != nil {
		return err
	}
	if t.Groups == nil {
		return nil
	}
	for more := true; more; {
		err := o.c.Store.Update(ctx, func(tx store.Tx) (err error) {
			more, err = o.enrol(tx, t, userID)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// dependents adds the tasks of those whose account names the user by an ID that
// is not theirs any more, or names nobody yet. Whose task is due already is passed
// over: with thousands of them, a run that broke off is gone on with.
func (o *Outbox) dependents(ctx context.Context, id, userID string) error {
	for after := ""; ; {
		n, next := 0, ""
		var keys []string
		err := o.c.Store.View(ctx, func(tx store.Tx) error {
			n, next, keys = 0, after, nil
			l, _, err := links.Get(tx, Key(id, userID))
			if err != nil {
				return err
			}
			for ref, err := range references.Find(tx, "to", Key(id, userID), after, pageOfRefs) {
				if err != nil {
					return err
				}
				n, next = n+1, references.Key(ref)
				if ref.Remote == l.RemoteID {
					continue
				}
				key := Key(id, ref.From)
				t, ok, err := task.Get(tx, Kind, key)
				if err != nil {
					return err
				}
				if !ok || t.State != task.Waiting || t.Due.After(o.c.Now()) {
					keys = append(keys, key)
				}
			}
			return nil
		})
		if err == nil && len(keys) > 0 {
			err = o.c.Store.Update(ctx, func(tx store.Tx) error {
				for _, key := range keys {
					if err := task.Add(tx, Kind, key, o.c.Now()); err != nil {
						return err
					}
				}
				return nil
			})
		}
		if err != nil || n < pageOfRefs {
			return err
		}
		after = next
	}
}

// enrol compares the groups that the user should be in at the target with those
// that they are in there, and notes what differs, as much as fits into tx.
func (o *Outbox) enrol(tx store.Tx, t *target, userID string) (more bool, err error) {
	l, _, err := links.Get(tx, Key(t.ID, userID))
	if err != nil {
		return false, err
	}
	should := map[string]bool{}
	u, ok, err := o.c.Directory.UserTx(tx, userID)
	if err != nil {
		return false, err
	}
	if ok && l.RemoteID != "" {
		s, err := o.subject(tx, u)
		if err != nil {
			return false, err
		}
		all, err := o.c.Directory.GroupsOfTx(tx, userID)
		if err != nil {
			return false, err
		}
		for _, g := range all {
			if t.wants(u, s) && t.Groups(g) {
				should[g.ID] = true
			}
		}
	}
	var changed []membership
	for m, err := range memberships.Find(tx, "user", Key(t.ID, userID), "", 0) {
		if err != nil {
			return false, err
		}
		next := m
		switch {
		case should[m.Group] && m.Remote == l.RemoteID && m.Todo != todoRemove:
			delete(should, m.Group)
			continue
		case should[m.Group]:
			next.Remote, next.Todo = l.RemoteID, todoAdd
		case m.Remote != l.RemoteID: // the account is not there any more, so it is in no group
			next.Todo = todoForget
		case m.Todo == todoRemove:
			continue
		default:
			next.Todo = todoRemove
		}
		delete(should, m.Group)
		next.Refused, next.Asked = "", m.Asked && next.Todo == todoRemove
		changed = append(changed, next)
	}
	for group := range should {
		changed = append(changed, membership{Target: t.ID, Group: group, UserID: userID, Remote: l.RemoteID, Todo: todoAdd})
	}
	for _, m := range changed[:min(len(changed), pageOfRefs)] {
		if m.Held && o.c.Guard != nil { // they are back, or gone altogether
			if err := o.c.Guard.WithdrawTx(tx, leaves(m)); err != nil {
				return false, err
			}
		}
		m.Held = false
		if m.Todo == todoForget {
			if err := memberships.Delete(tx, memberships.Key(m)); err != nil {
				return false, err
			}
			continue
		}
		if err := memberships.Put(tx, m); err != nil {
			return false, err
		}
		if err := task.Add(tx, KindGroup, Key(t.ID, m.Group), o.c.Now()); err != nil {
			return false, err
		}
	}
	return len(changed) > pageOfRefs, nil
}
