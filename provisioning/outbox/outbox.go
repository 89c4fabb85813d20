// Package outbox makes targets agree with the directory.
//
// A change of a user becomes, in the same transaction, one task for each target
// that it can matter to: "target T agrees about user U". The task has no
// payload. Whoever runs it reads the user as they are then, so ten changes are
// one update, a stale write can not last, and a target that was down for a
// day costs one call a user. What takes access away overtakes the rest.
//
//	change ──Follow──▶ task (target, user)
//	                     │ Handle
//	        load user, scope, what is known of the account (Link)
//	                     │
//	   in scope ─────────┼───────── not in scope, or user gone
//	   account known: Sync          account known: disable, delete or keep
//	   not known: Find → claim, Sync
//	              none → intent, Sync
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
	"strings"
	"time"

	"github.com/gatehouse-sso/gatehouse/authz"
	"github.com/gatehouse-sso/gatehouse/provisioning"
	"github.com/gatehouse-sso/gatehouse/provisioning/audit"
	"github.com/gatehouse-sso/gatehouse/provisioning/connector"
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
	Timeout time.Duration // of one run; 0: 10 s
	Wait    bool          // blocking sign-ins wait for it
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
	// Run runs one task now: task.Runner.Now.
	Run func(ctx context.Context, kind, key string) error
	Now func() time.Time // nil: time.Now
}

// An Outbox makes targets agree with the directory.
type Outbox struct {
	c       Config
	targets map[string]*target
}

// target is a Target with its breaker.
type target struct {
	Target
	breaker breaker
}

// New makes an Outbox.
func New(c Config) *Outbox {
	if c.Now == nil {
		c.Now = time.Now
	}
	o := &Outbox{c: c, targets: map[string]*target{}}
	for _, t := range c.Targets {
		if t.Timeout == 0 {
			t.Timeout = 10 * time.Second
		}
		o.targets[t.ID] = &target{Target: t}
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
		case !busy && !link.Disabled && o.c.Skip != nil && o.c.Skip(d.By, t.ID):
			continue
		}
		if err := add(tx, Kind, key, d.At); err != nil {
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

// Handle is the task.Handler of Kind.
func (o *Outbox) Handle(ctx context.Context, key string) error {
	id, userID, _ := strings.Cut(key, "/")
	t := o.targets[id]
	if t == nil {
		return &task.Retry{After: unknownTarget, Reason: "target " + id + " is not in the configuration"}
	}
	if wait, why := t.breaker.open(o.c.Now()); wait > 0 {
		return &task.Retry{After: wait, Reason: bounded("target " + id + " is left alone for a while: " + why)}
	}
	r := run{o: o, t: t, userID: userID}
	return o.outcome(context.WithoutCancel(ctx), &r, r.attempt(ctx))
}
