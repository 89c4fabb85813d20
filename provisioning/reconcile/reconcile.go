// Package reconcile finds out whether targets are as the directory believes, and
// mends what is not.
//
// The outbox knows what it has done. Somebody may have changed an account at the
// target since, deleted it, or made one there. A reconciliation reads all that
// the target has and puts every account into one situation:
//
//	          account there   known as a user's   reaction
//	linked         yes              yes           where they differ: ours, theirs, report
//	unlinked       yes              no, but is one's by its external ID or name: link, report
//	disputed       yes              no, and may be somebody's who has another: report
//	unmatched      yes              no, nobody's: report, disable, delete
//	deleted        no               yes           recreate, unlink, report
//
// It goes in two phases, each in pages, and the cursor is saved in the
// transaction that did the page; so it goes on after a crash where it was.
//
//	walk   page of the target ─▶ situation of each account ─▶ reaction ─▶ a row: seen
//	miss   known accounts in the order of their IDs, beside the rows of those seen:
//	       who was not seen is looked for by ID, and is gone only if the target says so
//
// A page is all that is in memory. A walk that broke off, that
// found nobody, or that went on while the target changed a lot ([guard.Walk.Sound])
// says nothing about who is missing. No walk by index is believed about that at
// all: only an answer to the question for one account is.
//
// It changes no account itself. What must become true is the outbox's task, with its
// order, its limits and its guard; an account of nobody is taken away only where
// the configuration says so, and then only after a person has approved each one.
package reconcile

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/gatehouse-sso/gatehouse/provisioning"
	"github.com/gatehouse-sso/gatehouse/provisioning/audit"
	"github.com/gatehouse-sso/gatehouse/provisioning/connector"
	"github.com/gatehouse-sso/gatehouse/provisioning/guard"
	"github.com/gatehouse-sso/gatehouse/provisioning/outbox"
	"github.com/gatehouse-sso/gatehouse/provisioning/store"
	"github.com/gatehouse-sso/gatehouse/provisioning/task"
)

// Kind of the tasks of reconciliations; their key is Key(target, mode).
const Kind = "reconcile"

// A Mode is how much a reconciliation does.
type Mode string

// Modes.
const (
	Preview     Mode = "preview"     // finds, and changes nothing anywhere
	Run         Mode = "run"         // finds and mends
	Incremental Mode = "incremental" // Run of what the target changed lately; it can not find what is missing
)

// Key of a task.
func Key(target string, m Mode) string { return target + "/" + string(m) }

// Situations of an account.
const (
	Linked    = "linked"
	Unlinked  = "unlinked"
	Unmatched = "unmatched"
	Disputed  = "disputed"
	Deleted   = "deleted"
)

// What becomes, or became, of an account.
const (
	InStep    = "in step"  // it is as it should be
	Differs   = "differs"  // it is not, and was left alone
	Mended    = "mended"   // it is as it should be now
	Taken     = "taken"    // what it says counts for the user now
	Created   = "created"  // there is one again
	Forgotten = "unlinked" // it is not known as the user's any more
	Reported  = "reported" // a person has to look
	Held      = "held"     // a person has to approve it
	Failed    = "failed"   // the target, or the guard, did not let it; it is tried again
)

// A Policy says what follows from an attribute that the target has otherwise.
type Policy string

// The zero Policy is Ours.
const (
	Ours       Policy = "ours"   // the account is made as it should be
	Theirs     Policy = "theirs" // the target is a source of this attribute
	ReportOnly Policy = "report" // it is shown, and nothing more
)

// Reactions to situations, besides ReportOnly.
const (
	Link     = "link"     // of Unlinked: the account becomes the user's, as the target's adoption says
	Recreate = "recreate" // of Deleted
	Unlink   = "unlink"   // of Deleted: forget that there was one
	Disable  = "disable"  // of Unmatched
	Delete   = "delete"   // of Unmatched
)

// A Target is one that can be reconciled.
type Target struct {
	ID        string
	Connector connector.Connector
	Rate      int // calls a second that a reconciliation may make; 0: no limit
	// Drift of an attribute, by its name at the target; user_name and active are two of them.
	Drift map[string]Policy
	// Attribute is ours, by its name at the target, for Theirs.
	Attribute map[string]string
	Unlinked  string // Link (also if empty) or ReportOnly
	Unmatched string // ReportOnly (also if empty), Disable or Delete
	Deleted   string // Recreate (also if empty), Unlink or ReportOnly
	Plan      Plan
}

// Config of a Reconciler.
type Config struct {
	Store     store.Store
	Directory *provisioning.Directory
	Outbox    *outbox.Outbox
	Guard     *guard.Guard
	Targets   []Target
	// Run runs one task now: task.Runner.Now.
	Run func(ctx context.Context, kind, key string) error
	// Audit, if not nil, records that a reconciliation ended.
	Audit func(tx store.Tx, e audit.Event) error
	Now   func() time.Time // nil: time.Now
}

// A Reconciler compares targets with the directory.
type Reconciler struct {
	c       Config
	targets map[string]*Target
	limits  map[string]*connector.Limit
}

// New makes a Reconciler.
func New(c Config) *Reconciler {
	if c.Now == nil {
		c.Now = time.Now
	}
	r := &Reconciler{c: c, targets: map[string]*Target{}, limits: map[string]*connector.Limit{}}
	for _, t := range c.Targets {
		r.targets[t.ID] = &t
		r.limits[t.ID] = connector.NewLimit(t.Rate, c.Now)
	}
	return r
}

// Errors of Start.
var (
	ErrNoTarget = errors.New("there is no such target")
	ErrNoList   = errors.New("the target can not be asked who all is there, so it can not be reconciled")
)

// Start begins a reconciliation, or lets one go on that is paused.
func (r *Reconciler) Start(ctx context.Context, target string, m Mode) error {
	t := r.targets[target]
	if t == nil {
		return ErrNoTarget
	}
	if connector.CapsOf(t.Connector).NoList {
		return ErrNoList
	}
	switch m {
	case Preview, Run, Incremental:
	default:
		return fmt.Errorf("%q is no way to reconcile: write %s, %s or %s", m, Preview, Run, Incremental)
	}
	paused := false
	err := r.c.Store.Update(ctx, func(tx store.Tx) error {
		old, going, err := task.Get(tx, Kind, Key(target, m))
		paused = going && old.State == task.Paused
		if err != nil || paused || going && (old.State == task.Running || old.State == task.Waiting) {
			return err
		}
		return task.Add(tx, Kind, Key(target, m), r.c.Now())
	})
	if err == nil && paused {
		err = task.Resume(ctx, r.c.Store, Kind, Key(target, m))
	}
	return err
}

// Handle is the task.Handler of Kind.
func (r *Reconciler) Handle(ctx context.Context, key string) error {
	id, mode, _ := strings.Cut(key, "/")
	t := r.targets[id]
	if t == nil {
		return &task.Park{Reason: "target " + id + " is not in the configuration, or can not be reconciled"}
	}
	if wait, why := r.c.Outbox.LeftAlone(id); wait > 0 {
		return &task.Retry{After: wait, Reason: "the target is left alone for a while: " + why}
	}
	p := &pass{r: r, t: t, mode: Mode(mode), key: key, limit: r.limits[id]}
	err := p.run(ctx)
	var ce *connector.Error
	if errors.As(err, &ce) && ce.After > 0 {
		return &task.Retry{After: ce.After, Reason: ce.Error()}
	}
	return err
}

// writes is how many keys one transaction of a pass writes, besides the progress.
const writes = 80

// A finding is what one account came to.
type finding struct {
	Finding
	seen  string // the target's ID: it is there
	keys  int    // that write writes
	write func(tx store.Tx) error
	take  func(context.Context) error // what the target says counts
	heal  string                      // key of the outbox's task that mends it
}

// judge finds the situation of an account that is there.
func (p *pass) judge(tx store.Tx, a connector.Account) (f finding, err error) {
	f.seen, f.RemoteID = a.ID, a.ID
	owner, known, err := outbox.OwnerTx(tx, p.t.ID, a.ID)
	if err != nil {
		return f, err
	}
	if known {
		return p.linked(tx, a, owner.UserID, f)
	}
	return p.stranger(tx, a, f)
}

// linked is an account that is known as a user's.
func (p *pass) linked(tx store.Tx, a connector.Account, userID string, f finding) (finding, error) {
	f.Situation, f.UserID, f.After = Linked, userID, InStep
	e, err := p.r.c.Outbox.Expect(tx, p.t.ID, userID)
	if err != nil {
		return f, err
	}
	switch {
	case e.Invalid != nil:
		f.After, f.Text = Failed, e.Invalid.Error()
		return f, nil
	case !e.Wanted && (e.Leave == outbox.Keep || !a.Active && e.Leave == outbox.Disable):
		return f, nil
	case !e.Wanted && !a.Active: // it is deleted when its time has come
		return f, nil
	case !e.Wanted:
		f.Drift = []string{"active"}
	default:
		f.Drift = connector.Drift(e.Account, a)
		if a.ExternalID != "" && a.ExternalID != userID {
			f.Drift = append(f.Drift, "external_id")
		}
	}
	if len(f.Drift) == 0 {
		return f, nil
	}
	f.After = Differs
	var theirs []string
	for _, name := range f.Drift {
		switch p.t.Drift[name] {
		case Theirs:
			theirs = append(theirs, name)
		case ReportOnly:
		default:
			f.heal, f.After = outbox.Key(p.t.ID, userID), Mended
		}
	}
	if len(theirs) > 0 && e.Wanted {
		if f.heal == "" {
			f.After = Taken
		}
		f.take = func(ctx context.Context) error { return p.take(ctx, userID, a, theirs) }
	}
	return f, nil
}

// stranger is an account that is known as nobody's.
func (p *pass) stranger(tx store.Tx, a connector.Account, f finding) (finding, error) {
	f.Situation, f.After = Unmatched, Reported
	userID, proven, err := p.correlate(tx, a)
	if err != nil {
		return f, err
	}
	if userID == "" {
		if p.t.Unmatched == Disable && a.Active || p.t.Unmatched == Delete {
			f.After = Held
			f.keys, f.write = 12, func(tx store.Tx) error {
				return p.r.c.Guard.HoldTx(tx, guard.Act{
					Scope: guard.Target(p.t.ID), Kind: guard.Removal, Subject: a.ID, Object: Stray, How: p.t.Unmatched, Cycle: p.cycle(),
					Reason: "the account is nobody's: " + cmp.Or(a.UserName, a.ID),
				}, "accounts that are nobody's are taken away only after a person has approved it")
			}
		}
		return f, nil
	}
	f.UserID = userID
	e, err := p.r.c.Outbox.Expect(tx, p.t.ID, userID)
	if err != nil {
		return f, err
	}
	switch {
	case e.Link.RemoteID != "" && e.Link.RemoteID != a.ID:
		f.Situation, f.Text = Disputed, "the user has another account there"
	case !proven && a.ExternalID != "":
		f.Situation, f.Text = Disputed, "the account has the user's name and somebody's external ID"
	case !e.Wanted && !e.Begun:
		f.Situation, f.Text = Unlinked, "the user should have no account there"
	default:
		f.Situation = Unlinked
		if p.t.Unlinked != string(ReportOnly) {
			f.After = Mended
			f.heal = outbox.Key(p.t.ID, userID)
		}
	}
	return f, nil
}

// correlate finds whose an account may be: by our own ID of them, which proves
// it, or by the user name, which does not.
func (p *pass) correlate(tx store.Tx, a connector.Account) (userID string, proven bool, err error) {
	if a.ExternalID != "" {
		u, ok, err := p.r.c.Directory.UserTx(tx, a.ExternalID)
		if err != nil || ok {
			return u.ID, true, err
		}
	}
	if a.UserName == "" {
		return "", false, nil
	}
	userStore, name := p.r.c.Directory.SplitName(a.UserName)
	u, ok, err := p.r.c.Directory.ByNameTx(tx, userStore, name)
	if err != nil || !ok {
		return "", false, err
	}
	return u.ID, false, nil
}

// missing is what comes of a known account that was not seen.
func (p *pass) missing(ctx context.Context, l outbox.Link) (f finding, err error) {
	f.RemoteID, f.UserID = l.RemoteID, l.UserID
	a, there, err := p.confirm(ctx, l)
	switch {
	case err != nil:
		return f, err
	case there == unsure:
		f.Situation, f.After, f.Text = Deleted, Reported, "it was not listed, and the target can not be asked for one account"
		return f, nil
	case there == yes:
		err = p.r.c.Store.View(ctx, func(tx store.Tx) error {
			f, err = p.linked(tx, a, l.UserID, f)
			return err
		})
		return f, err
	}
	f.Situation, f.After = Deleted, Reported
	switch p.t.Deleted {
	case string(ReportOnly):
	case Unlink:
		f.After = Forgotten
		f.keys, f.write = 4, func(tx store.Tx) error { return outbox.UnlinkTx(tx, p.t.ID, l.UserID, l.RemoteID) }
	default:
		f.heal, f.After = outbox.Key(p.t.ID, l.UserID), Created
	}
	return f, nil
}

// Whether an account is there.
type there int

const (
	unsure there = iota
	yes
	no
)

// confirm asks for one account.
func (p *pass) confirm(ctx context.Context, l outbox.Link) (connector.Account, there, error) {
	if g, ok := p.t.Connector.(connector.Getter); ok {
		if err := p.limit.Wait(ctx); err != nil {
			return connector.Account{}, unsure, err
		}
		a, err := g.Get(ctx, l.RemoteID)
		switch {
		case err == nil:
			return a, yes, nil
		case connector.ClassOf(err) == connector.Gone:
			return a, no, nil
		case errors.Is(err, connector.ErrCanNot):
		default:
			return a, unsure, err
		}
	}
	if connector.CapsOf(p.t.Connector).NoFind {
		return connector.Account{}, unsure, nil
	}
	if err := p.limit.Wait(ctx); err != nil {
		return connector.Account{}, unsure, err
	}
	list, err := p.t.Connector.Find(ctx, connector.Account{ExternalID: l.UserID, UserName: l.UserName})
	if err != nil {
		return connector.Account{}, unsure, err
	}
	if i := slices.IndexFunc(list, func(a connector.Account) bool { return a.ID == l.RemoteID }); i >= 0 {
		return list[i], yes, nil
	}
	return connector.Account{}, no, nil
}

// take makes what the target says of a user count.
func (p *pass) take(ctx context.Context, userID string, a connector.Account, names []string) error {
	by := Source(p.t.ID)
	_, _, err := p.r.c.Directory.Change(ctx, userID, by, func(u *provisioning.User) error {
		for _, name := range names {
			if attr := p.t.Attribute[name]; attr != "" {
				u.Say(by, attr, valuesOf(a, name)...)
			}
		}
		return nil
	})
	return err
}

func valuesOf(a connector.Account, name string) []string {
	for n, values := range a.Attributes {
		if strings.EqualFold(n, name) {
			return values
		}
	}
	return nil
}

// Source is the source of what a target says of users.
func Source(target string) provisioning.Source { return provisioning.Source("target:" + target) }
