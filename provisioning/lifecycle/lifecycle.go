// Package lifecycle is how people come and go whom no system tells us about.
//
// A client that provisions says when somebody leaves. Where none does, there are
// signs, each too weak or too dangerous to act on alone: a date that somebody
// entered, months without a sign-in, a file that does not name a person any
// more, an identity provider that does not renew their token. Each sign is an
// [Evidence]: a row that a person can read, with who said it, since when and how
// often, and what came of it. What acts on one is always the same:
//
//	dates        ─┐
//	inactivity   ─┤            guard          Directory.Change
//	missing in a ─┼─▶ Evidence ──▶ Leave ──▶ Go ──▶ disabled or deleted
//	file, probes ─┘                  │
//	                                 └─▶ Held, Rejected, Protected: nothing happens,
//	                                     and the Evidence says so
//
// That a provider, a file or a clock can not be read is evidence of nothing.
//
// Changes that a client makes itself pass the same guard, by [Lifecycle.Follow]:
// what is too much is undone, kept for a person to approve, and then done here.
package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/gatehouse-sso/gatehouse/provisioning"
	"github.com/gatehouse-sso/gatehouse/provisioning/audit"
	"github.com/gatehouse-sso/gatehouse/provisioning/guard"
	"github.com/gatehouse-sso/gatehouse/provisioning/store"
	"github.com/gatehouse-sso/gatehouse/provisioning/task"
)

// Config of a Lifecycle.
type Config struct {
	Store     store.Store
	Directory *provisioning.Directory
	Guard     *guard.Guard
	// Guarded says whose changes the guard looks at. nil: nobody's.
	Guarded func(by provisioning.Source) bool
	// EndSessions ends the sessions of somebody who left. nil: nothing does.
	EndSessions func(ctx context.Context, userID string) error
	// Audit, if not nil, records in the transaction that notes a warning.
	Audit func(tx store.Tx, e audit.Event) error
	// Inactive says, by user store, when who does not sign in has left.
	Inactive map[string]Inactivity
	// Probes ask identity providers about people, by provider.
	Probes map[string]Probe
	// Sealer seals what providers give for asking again. nil: nothing is kept.
	Sealer *store.Sealer
	Now    func() time.Time // nil: time.Now
}

// A Lifecycle watches who comes and goes.
type Lifecycle struct{ c Config }

// New makes a Lifecycle.
func New(c Config) *Lifecycle {
	if c.Now == nil {
		c.Now = time.Now
	}
	return &Lifecycle{c}
}

// now is the time as it is stored: UTC, whole milliseconds.
func (l *Lifecycle) now() time.Time { return l.c.Now().UTC().Truncate(time.Millisecond) }

// How somebody leaves.
const (
	Disable = "disable"
	Delete  = "delete"
)

// A Departure is that somebody is to leave, and why.
type Departure struct {
	UserID string
	By     provisioning.Source // who takes them away: "file:staff", "lifecycle"
	Kind   string              // of the evidence
	Text   string              // in words: "not in the full file staff.csv of 21 November"
	How    string              // Disable or Delete; empty: Disable
	Cycle  string              // the pass that it belongs to, for the guard; empty: none
}

// Leave asks the guard, and if it lets it, disables or deletes the user and ends
// their sessions. What came of it stands in the Answer and the evidence. Done
// already is done.
func (l *Lifecycle) Leave(ctx context.Context, d Departure) (guard.Answer, error) {
	if d.How == "" {
		d.How = Disable
	}
	u, err := l.c.Directory.User(ctx, d.UserID)
	if errors.Is(err, provisioning.ErrNotFound) || err == nil && d.How == Disable && !u.Active {
		return guard.Answer{Verdict: guard.Go}, nil
	}
	if err != nil {
		return guard.Answer{}, err
	}
	ans, err := l.c.Guard.Ask(ctx, guard.Act{
		Scope: guard.Source(string(d.By)), Kind: guard.Removal, Subject: d.UserID, How: d.How, Cycle: d.Cycle, Reason: d.Text, Since: u.Created,
	})
	if err != nil {
		return guard.Answer{}, err
	}
	outcome := ans.Text
	if ans.Go() {
		outcome = d.How + "d"
	}
	// It is noted before it is done: a death in between leaves a reason without
	// an effect, never an effect without a reason.
	if err := l.note(ctx, d, outcome); err != nil || !ans.Go() {
		return ans, err
	}
	return ans, l.take(ctx, d.UserID, d.By, d.How)
}

// take disables or deletes a user.
func (l *Lifecycle) take(ctx context.Context, userID string, by provisioning.Source, how string) (err error) {
	if how == Delete {
		err = l.c.Directory.Delete(ctx, userID, by)
	} else {
		_, _, err = l.c.Directory.Change(ctx, userID, by, func(u *provisioning.User) error {
			u.Active = false
			return nil
		})
	}
	if errors.Is(err, provisioning.ErrNotFound) {
		return nil
	}
	if err == nil && l.c.EndSessions != nil {
		err = l.c.EndSessions(ctx, userID)
	}
	return err
}

// TaskApproved is the kind of the tasks that carry out what a person approved. Their
// key is the scope, a slash and the user's ID, and for a membership a slash and the
// group's; of what goes as a whole it has no user's ID, and ends in a slash and the Whole.
const TaskApproved = "lifecycle.approved"

// Resume is the guard.Config.Resume of what a source would take away.
func (l *Lifecycle) Resume(tx store.Tx, it guard.Item) error {
	key := it.Act.Scope + "/" + it.Act.Subject
	switch {
	case it.Act.Whole != "": // once for all whom it concerns
		key = it.Act.Scope + "//" + it.Act.Object + "/" + it.Act.Whole
	case it.Act.Kind == guard.Membership:
		key += "/" + it.Act.Object
	}
	return task.AddFirst(tx, TaskApproved, key, l.now())
}

// HandleApproved is the task.Handler of TaskApproved.
func (l *Lifecycle) HandleApproved(ctx context.Context, key string) error {
	scope, rest, _ := strings.Cut(key, "/")
	userID, groupID, membership := strings.Cut(rest, "/")
	by, _ := strings.CutPrefix(scope, guard.Source(""))
	if userID == "" {
		groupID, whole, _ := strings.Cut(groupID, "/")
		return l.whole(ctx, provisioning.Source(by), groupID, whole)
	}
	a := guard.Act{Scope: scope, Kind: guard.Removal, Subject: userID}
	if membership {
		a.Kind, a.Object = guard.Membership, groupID
	}
	var it guard.Item
	err := l.c.Store.View(ctx, func(tx store.Tx) (err error) {
		it, _, err = l.c.Guard.LookTx(tx, a)
		return err
	})
	if err != nil || it.State != guard.ItemApproved {
		return err
	}
	if membership {
		_, _, err := l.c.Directory.RemoveMember(ctx, groupID, userID, provisioning.Source(by))
		if errors.Is(err, provisioning.ErrNotFound) {
			return nil
		}
		return err
	}
	if err := l.outcome(ctx, userID, provisioning.Source(by), it.Act.How+"d"); err != nil {
		return err
	}
	return l.take(ctx, userID, provisioning.Source(by), it.Act.How)
}

// whole takes a group out of another, or deletes it, once a person has approved that
// for everybody whom it concerns. For who came since, they are asked again.
func (l *Lifecycle) whole(ctx context.Context, by provisioning.Source, groupID, whole string) error {
	since, err := l.c.Directory.EverybodySince(ctx, whole)
	if err != nil {
		return err
	}
	ans, err := l.c.Guard.AskAll(ctx, guard.Memberships(guard.Source(string(by)), groupID, whole, string(by)+": came in after it was approved", since))
	if err != nil || !ans.Go() {
		return err
	}
	if whole == groupID {
		err = l.c.Directory.DeleteGroup(ctx, groupID, by)
	} else {
		_, err = l.c.Directory.Move(ctx, groupID, by, provisioning.Move{Unnest: []string{whole}}, nil)
	}
	if errors.Is(err, provisioning.ErrNotFound) {
		return nil
	}
	return err
}

// Follow is the provisioning.Follower that lets guarded sources disable and
// delete as many users as the guard lets them, that sees dates, and that
// forgets what was known of deleted users.
func (l *Lifecycle) Follow(tx store.Tx, before, after provisioning.User, d provisioning.Delta) error {
	if err := l.guarded(tx, before, after, d); err != nil {
		return err
	}
	if d.Deleted {
		return l.forget(tx, d.UserID)
	}
	if err := l.dated(tx, after); err != nil {
		return err
	}
	if !before.Active && after.Active {
		return l.seen(tx, after.ID)
	}
	return nil
}

func (l *Lifecycle) guarded(tx store.Tx, before, after provisioning.User, d provisioning.Delta) error {
	left := d.Deleted || before.Active && !after.Active
	if !left || l.c.Guarded == nil || !l.c.Guarded(d.By) {
		return nil
	}
	a := guard.Act{Scope: guard.Source(string(d.By)), Kind: guard.Removal, Subject: d.UserID, How: Disable, Since: before.Created,
		Reason: fmt.Sprintf("%s disabled the user", d.By)}
	if d.Deleted {
		a.How, a.Reason = Delete, fmt.Sprintf("%s deleted the user", d.By)
	}
	ans, err := l.c.Guard.AskTx(tx, a)
	if err != nil || ans.Go() {
		return err
	}
	return l.c.Guard.Refuse(a, ans)
}
