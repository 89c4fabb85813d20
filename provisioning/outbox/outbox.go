// Package outbox makes targets agree with the directory.
//
// A change of a user becomes, in the same transaction, one task for each target
// that it can matter to: "target T agrees about user U". The task has no
// payload. Whoever runs it reads the user as they are then, so ten changes are
// one update, a stale write can not last, and a target that was down for a
// day costs one call a user. What takes access away overtakes the rest.
//
//	change ──Follow──▶ task (target, user)
//	                     │ Handle, if the target may be asked (health, Limit, pause)
//	        load user, scope, what is known of the account (Link)
//	                     │
//	   in scope ─────────┼───────── not in scope, or user gone
//	   account known: Sync          account known: disable, delete or keep
//	   not known: Find → claim, Sync       (if Guard says that it may)
//	              none → intent, Sync
//	              somebody's → Case
//	                     │ the account's ID
//	              task (target, user): references and memberships ─▶ task (target, group)
//
// What is about to be done is noted before it is done, where the doing could not
// be taken back or found again: an intent before a creation, a claim before
// an account that is there becomes this user's, the name of an attribute before it
// is first sent. If the process dies, or the answer is lost, between the target's
// yes and our note of it, the next run finds the note and searches before it
// creates. An account that is there already is taken if it bears our external ID,
// or by the target's policy, and never if it is another user's; otherwise a
// person has to look: two people with one name must never share an account.
//
// It knows no protocol: a Connector speaks to the target, and its errors have a
// class, from which follows when to try again, or whether at all.
package outbox

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gatehouse-sso/gatehouse/authz"
	"github.com/gatehouse-sso/gatehouse/provisioning"
	"github.com/gatehouse-sso/gatehouse/provisioning/audit"
	"github.com/gatehouse-sso/gatehouse/provisioning/connector"
	"github.com/gatehouse-sso/gatehouse/provisioning/guard"
	"github.com/gatehouse-sso/gatehouse/provisioning/store"
	"github.com/gatehouse-sso/gatehouse/provisioning/task"
)

// Kind of the tasks; their key is Key(target, user).
const Kind = "sync"

// Key of a task. The target is its lane.
func Key(target, userID string) string { return target + "/" + userID }

// Leave says what becomes of an account whose user leaves the target's scope,
// or is deleted.
type Leave string

// What can become of it. The zero Leave disables.
const (
	Disable Leave = "disable"
	Delete  Leave = "delete"
	Keep    Leave = "keep"
)

// Adopt says which accounts that are there already may become a user's.
type Adopt string

// The zero Adopt takes accounts that bear our external ID, which only we give.
// ByUserName also takes one that has the user's name and bears no external ID.
// Never takes none but what we ourselves may just have created.
const (
	ByExternalID Adopt = "external_id"
	ByUserName   Adopt = "user_name"
	Never        Adopt = "never"
)

// A Target is a system that holds accounts.
type Target struct {
	ID, Title string // an ID has no slash
	Connector connector.Connector
	// Scope says who should have an account. nil: nobody.
	Scope func(authz.Subject) bool
	// Account is what the target may know of a user; ExternalID and Active are
	// set here. What an earlier Account had and this one has not is cleared.
	Account func(provisioning.User, authz.Subject) (connector.Account, error)
	Leave   Leave
	Adopt   Adopt
	// DeleteAfter is how long an account whose user left stays disabled before
	// Leave deletes it; 0: it is deleted at once.
	DeleteAfter time.Duration
	// Groups chooses those of the directory's groups that the target has too. nil: none.
	Groups func(provisioning.Group) bool
	// References are those attributes of Account whose values are IDs or names of
	// our users, and stand at the target for its own IDs of their accounts.
	References []string
	// Sensitive are those attributes of Account that open doors: the Guard is asked
	// before they change.
	Sensitive []string
	Timeout   time.Duration // of one call; 0: 10 s
	Rate      int           // calls a second; 0: no limit
	// Schedule is how long after each run that failed for a time the next is made;
	// after the last, a person or a change is needed. nil: growing delays.
	Schedule []time.Duration
	Wait     bool // blocking sign-ins wait for it
	// Form stands for what Scope and Account say: when it is another than it
	// was, everybody's account is looked at again.
	Form string
}

// wants: the user should have an account here.
func (t *Target) wants(u provisioning.User, s authz.Subject) bool {
	return u.ID != "" && t.Scope != nil && t.Scope(s)
}

// Config of an Outbox.
type Config struct {
	Store     store.Store
	Directory *provisioning.Directory
	// Roles fills a subject's roles, for scopes.
	Roles   func(authz.Subject) authz.Subject
	Targets []Target
	// Skip says of whose changes a target is not told. nil: of none. Whoever
	// loses access loses it everywhere, and has it back when it is given back:
	// that is told in any case.
	Skip func(by provisioning.Source, target string) bool
	// Audit, if not nil, records in the transaction that notes an outcome.
	Audit func(tx store.Tx, e audit.Event) error
	// Guard says whether an account may be taken away, a membership ended, or an
	// attribute changed that opens doors. nil: any may.
	Guard *guard.Guard
	// Run runs one task now: task.Runner.Now.
	Run func(ctx context.Context, kind, key string) error
	// Tried, if not nil, is told of each attempt whose outcome was noted.
	Tried func(Operation)
	Now   func() time.Time // nil: time.Now
}

// An Outbox makes targets agree with the directory.
type Outbox struct {
	c       Config
	targets map[string]*target
	// since is when this Outbox was made. Who was created since then was not yet in
	// a backup that the store was put back from: what is not noted was not done.
	since time.Time

	open    context.Context // until Close
	close   context.CancelFunc
	runs    sync.WaitGroup // for people who wait
	mu      sync.Mutex
	running map[string]*awaited // by key
}

// target is a Target and how it does.
type target struct {
	Target
	health health
	limit  *connector.Limit
	paused atomic.Pointer[Paused] // nil: it is not
}

// second: there is a second lane.
func (t *target) second() bool { return t.Groups != nil || len(t.References) > 0 }

// mayAsk says in how long it is worth another look whether the target may be
// asked, and why it may not be asked now; zero: it may.
func (t *target) mayAsk(now time.Time) (time.Duration, string) {
	if p := t.paused.Load(); p != nil {
		return pausedLook, "the target is paused: " + p.Why
	}
	return t.health.wait(now)
}

// pausedLook is how often it is looked whether a target is still paused.
const pausedLook = 5 * time.Second

// New makes an Outbox. Close it before its store.
func New(c Config) *Outbox {
	if c.Now == nil {
		c.Now = time.Now
	}
	o := &Outbox{c: c, targets: map[string]*target{}, since: c.Now(), running: map[string]*awaited{}}
	o.open, o.close = context.WithCancel(context.Background())
	for _, t := range c.Targets {
		if t.Timeout == 0 {
			t.Timeout = 10 * time.Second
		}
		o.targets[t.ID] = &target{Target: t, limit: connector.NewLimit(t.Rate, c.Now)}
	}
	return o
}

// Follow is the provisioning.Follower that makes tasks of changes: one for each
// target that has the user's account, may be getting it, or should have it.
func (o *Outbox) Follow(tx store.Tx, _, after provisioning.User, d provisioning.Delta) error {
	var s authz.Subject
	if after.ID != "" {
		var err error
		if s, err = o.subject(tx, after); err != nil {
			return err
		}
	}
	for _, t := range o.c.Targets {
		key := Key(t.ID, d.UserID)
		link, known, err := links.Get(tx, key)
		if err != nil {
			return err
		}
		// A run under way has looked at the user as they were: it may be about to
		// create what is not wanted any more, or to send what is old.
		_, busy, err := task.Get(tx, Kind, key)
		if err != nil {
			return err
		}
		add := task.Add
		switch wanted := t.wants(after, s); {
		case !wanted && !known && !busy:
			continue
		case !wanted || !after.Active:
			add = task.AddFirst
			if err := o.asked(tx, link, d); err != nil {
				return err
			}
		case !busy && !link.Disabled && o.c.Skip != nil && o.c.Skip(d.By, t.ID):
			continue
		case len(t.Sensitive) > 0 && byPerson(d.By) && link.begun() && !link.Meant:
			link.Meant = true
			if err := links.Put(tx, link); err != nil {
				return err
			}
		}
		if err := add(tx, Kind, key, d.At); err != nil {
			return err
		}
		if t.Groups != nil && (d.Deleted || len(d.Joined)+len(d.Left)+len(d.Regrouped) > 0) {
			if err := o.askedToLeave(tx, t.ID, d); err != nil {
				return err
			}
			if err := task.Add(tx, KindRefs, key, d.At); err != nil {
				return err
			}
		}
	}
	return nil
}

// asked notes that a person takes the user's access away: that is not held back.
func (o *Outbox) asked(tx store.Tx, l Link, d provisioning.Delta) error {
	if !byPerson(d.By) || !l.begun() || l.Asked {
		return nil
	}
	l.Asked = true
	return links.Put(tx, l)
}

// byPerson: somebody did it by hand, and knows what they do.
func byPerson(by provisioning.Source) bool {
	return by == provisioning.Admin || by == provisioning.Self
}

// askedToLeave notes that a person takes the user out of groups.
func (o *Outbox) askedToLeave(tx store.Tx, target string, d provisioning.Delta) error {
	if !byPerson(d.By) {
		return nil
	}
	for _, group := range d.Left[:min(len(d.Left), maxRefs)] {
		m, ok, err := memberships.Get(tx, string(store.Key(target, group, d.UserID)))
		if err != nil {
			return err
		}
		if !ok || m.Asked {
			continue
		}
		m.Asked = true
		if err := memberships.Put(tx, m); err != nil {
			return err
		}
	}
	return nil
}

func (o *Outbox) subject(tx store.Tx, u provisioning.User) (authz.Subject, error) {
	s, err := o.c.Directory.SubjectTx(tx, u)
	if err != nil {
		return s, err
	}
	return o.c.Roles(s), nil
}

// unknownTarget is how often a task looks whether its target is configured again.
const unknownTarget = time.Hour

// Prepare is what task.Config.Prepare wants for Kind: in the commit that begins a
// run it reads all that the run is about and, where an account seems to be
// missing, writes the intent to create it. So a run is two commits: this, and
// that of its outcome.
func (o *Outbox) Prepare(tx store.Tx, key string) any {
	id, userID, _ := strings.Cut(key, "/")
	t := o.targets[id]
	if t == nil {
		return nil
	}
	if wait, _ := t.mayAsk(o.c.Now()); wait > 0 {
		return nil // it is most likely not asked
	}
	r := o.newRun(t, userID)
	r.unread, r.read = whole(func() error { return r.prepare(tx) }), true
	return r
}

// Handle is the task.Handler of Kind.
func (o *Outbox) Handle(ctx context.Context, key string) (err error) {
	id, userID, _ := strings.Cut(key, "/")
	t, err := o.admit(ctx, id)
	if err != nil {
		return err
	}
	r, ok := task.Prepared(ctx).(*run)
	if !ok || r.o != o { // the configuration may be another since
		r = o.newRun(t, userID)
	}
	r.scout = o.sent(key)
	r.step(StepTest, true, "the target may be asked")
	err = whole(func() error { return r.attempt(ctx) })
	if err == nil {
		o.agreed(key, r)
	}
	return o.outcome(context.WithoutCancel(ctx), r, err)
}

func (o *Outbox) newRun(t *target, userID string) *run {
	return &run{o: o, t: t, userID: userID, began: o.c.Now(), trace: new(connector.Trace)}
}

// admit finds a target that may be asked.
func (o *Outbox) admit(ctx context.Context, id string) (*target, error) {
	t := o.targets[id]
	if t == nil {
		return nil, &task.Retry{After: unknownTarget, Reason: "target " + id + " is not in the configuration"}
	}
	now := o.c.Now()
	var wait time.Duration
	var why string
	switch p := t.paused.Load(); {
	case p != nil:
		wait, why = pausedLook, "it is paused: "+p.Why
	case ctx.Value(waiting{}) != nil:
		wait, why = t.health.look(now)
	default:
		wait, why = t.health.admit(now)
	}
	if wait > 0 {
		return nil, &task.Retry{After: wait, Reason: bounded("target " + id + " is left alone for a while: " + why)}
	}
	return t, nil
}

// waiting marks the context of a run that a person waits for.
type waiting struct{}

// whole makes an error of a panic: what throws must not be taken for what is
// still out to see how the target does.
func whole(fn func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &connector.Error{Ambiguous: true, Text: fmt.Sprintf("the connector broke: %T", p)}
		}
	}()
	return fn()
}

// Closed is how long nothing in a lane of tasks needs to be looked at, because
// its target is not asked: for task.Config. Who waits for a person is looked at
// again soon, since the answer comes without notice.
func (o *Outbox) Closed(kind, lane string) time.Duration {
	if kind != Kind && kind != KindGroup {
		return 0
	}
	wait, _ := o.LeftAlone(lane)
	return wait
}

// LeftAlone is for how long a target is not asked, and why; zero: it may be asked.
func (o *Outbox) LeftAlone(id string) (time.Duration, string) {
	t := o.targets[id]
	if t == nil {
		return 0, ""
	}
	return t.mayAsk(o.c.Now())
}
