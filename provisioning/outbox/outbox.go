// Package outbox makes targets agree with the directory.
//
// A change of a user becomes, in the same transaction, one task for each target
// that it can matter to: "target T agrees about user U". The task has no
// payload. Whoever runs it reads the user as they are then, so ten changes are
// one update, a stale write can not happen, and a target that was down for a
// day costs one call a user.
//
//	change ──Follow──▶ task (target, user)
//	                     │ run
//	        load user, scope, what we know of the account (Link)
//	                     │
//	   in scope ─────────┼───────── not in scope, or user gone
//	   account known: Sync          account known: disable, delete or keep
//	   not known: intent → Find → adopt | create
//
// Before the first create an intent is written. If the process dies, or the
// answer is lost, between the target's yes and our note of it, the next run
// finds an intent without an account and searches before it creates. An account
// that is there already is adopted if it bears our external ID, or by the
// target's policy; otherwise a person has to look: two people with one name must
// never share an account.
package outbox

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"sync"
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

// Key of a task.
func Key(target, userID string) string { return target + "/" + userID }

// Leave says what becomes of an account whose user leaves the target's scope,
// or is deleted.
type Leave string

// The zero Leave disables.
const (
	Disable Leave = "disable"
	Delete  Leave = "delete"
	Keep    Leave = "keep"
)

// Adopt says which accounts that are there already may become a user's.
type Adopt string

// The zero Adopt takes accounts that bear our external ID, which only we give.
const (
	ByExternalID Adopt = "external_id"
	ByUserName   Adopt = "user_name"
)

// A Target is a system that holds accounts.
type Target struct {
	ID, Title string
	Connector connector.Connector
	// Scope says who should have an account. nil: nobody.
	Scope func(authz.Subject) bool
	// Account is what the target may know of a user; Active is set here.
	Account func(provisioning.User, authz.Subject) (connector.Account, error)
	Leave   Leave
	Adopt   Adopt
	Timeout time.Duration // of one run; 0: 10 s
	Wait    bool          // blocking sign-ins wait for it
}

// A Link is what is known of a user's account at a target.
type Link struct {
	Target   string    `json:"target"`
	UserID   string    `json:"user"`
	RemoteID string    `json:"remote,omitempty"`
	UserName string    `json:"user_name,omitempty"` // as last sent
	Intent   time.Time `json:"intent,omitzero"`     // a create was begun and its end is not known
	Applied  uint64    `json:"applied,omitempty"`   // version of the user that the target agrees about
	Disabled bool      `json:"disabled,omitempty"`  // the account is there and not active
	Invalid  int       `json:"invalid,omitempty"`   // refusals in a row that trying again will not change
	Error    string    `json:"error,omitempty"`     // of the last run; empty: it went well
	At       time.Time `json:"at"`
}

var links = store.Table[Link]{
	Name: "account",
	Key:  func(l Link) string { return Key(l.Target, l.UserID) },
	Unique: map[string]func(Link) []string{"remote": func(l Link) []string {
		if l.RemoteID == "" {
			return nil
		}
		return []string{string(store.Key(l.Target, l.RemoteID))}
	}},
	Index: map[string]func(Link) []string{"user": func(l Link) []string { return []string{l.UserID} }},
}

// Config of an Outbox.
type Config struct {
	Store     store.Store
	Directory *provisioning.Directory
	// Roles fills a subject's roles, for scopes.
	Roles   func(authz.Subject) authz.Subject
	Targets []Target
	// Audit, if not nil, records in the transaction that notes an outcome.
	Audit func(tx store.Tx, e audit.Event) error
	// Run runs one task now: task.Runner.Now.
	Run func(ctx context.Context, kind, key string) error
	Now func() time.Time
}

// An Outbox makes targets agree with the directory.
type Outbox struct {
	c       Config
	targets map[string]*target
}

// target is a Target with its breaker.
type target struct {
	Target
	mu      sync.Mutex
	closed  time.Duration // how long the breaker stayed open the last time
	openTil time.Time
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
// target that has the user's account or should have it.
func (o *Outbox) Follow(tx store.Tx, _, after provisioning.User, d provisioning.Delta) error {
	var s authz.Subject
	if after.ID != "" {
		var err error
		if s, err = o.subject(tx, after); err != nil {
			return err
		}
	}
	for _, t := range o.c.Targets {
		_, known, err := links.Get(tx, Key(t.ID, d.UserID))
		if err != nil {
			return err
		}
		if !known && !t.wants(after, s) {
			continue
		}
		if err := task.Add(tx, Kind, Key(t.ID, d.UserID), d.At); err != nil {
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

// wants: the user should have an account here.
func (t *Target) wants(u provisioning.User, s authz.Subject) bool {
	return u.ID != "" && t.Scope != nil && t.Scope(s)
}

// Handle is the task.Handler of Kind.
func (o *Outbox) Handle(ctx context.Context, key string) error {
	id, userID, _ := strings.Cut(key, "/")
	t := o.targets[id]
	if t == nil {
		return &task.Park{Reason: "target " + id + " is not configured"}
	}
	if wait := t.open(o.c.Now()); wait > 0 {
		return &task.Retry{After: wait, Reason: "target " + id + " is not tried for a while"}
	}
	ctx, cancel := context.WithTimeout(ctx, t.Timeout)
	defer cancel()
	r := run{o: o, t: t, userID: userID}
	err := r.load(ctx)
	if err == nil {
		err = r.converge(ctx)
	}
	return o.outcome(context.WithoutCancel(ctx), &r, err)
}

// run is one attempt to make a target agree about a user.
type run struct {
	o      *Outbox
	t      *target
	userID string
	user   provisioning.User // zero: there is none any more
	want   bool              // in scope
	acct   connector.Account // what should be, if want
	link   Link
	did    string // "created", "adopted", "updated", "disabled", "deleted"; empty: nothing
}

// load reads everything in one snapshot.
func (r *run) load(ctx context.Context) error {
	return r.o.c.Store.View(ctx, func(tx store.Tx) error {
		var ok bool
		var err error
		if r.link, ok, err = links.Get(tx, Key(r.t.ID, r.userID)); err != nil {
			return err
		} else if !ok {
			r.link = Link{Target: r.t.ID, UserID: r.userID}
		}
		if r.user, ok, err = r.o.c.Directory.UserTx(tx, r.userID); err != nil {
			return err
		} else if !ok {
			r.user = provisioning.User{}
			return nil
		}
		s, err := r.o.subject(tx, r.user)
		if err != nil {
			return err
		}
		if r.want = r.t.wants(r.user, s); !r.want {
			return nil
		}
		if r.acct, err = r.t.Account(r.user, s); err != nil {
			return &connector.Error{Class: connector.Invalid, Text: "the account can not be worked out", Err: err}
		}
		r.acct.ExternalID, r.acct.Active = r.user.ID, r.user.Active
		return nil
	})
}

func (r *run) converge(ctx context.Context) error {
	known := r.link.RemoteID != "" || !r.link.Intent.IsZero()
	switch {
	case r.want && (known || r.user.Active):
		return r.sync(ctx)
	case known:
		return r.leave(ctx)
	}
	return nil // no account, and none should be
}

// sync makes the account be as it should.
func (r *run) sync(ctx context.Context) error {
	if r.link.RemoteID != "" {
		id, err := r.t.Connector.Sync(ctx, r.acct, r.link.RemoteID)
		if err == nil {
			r.link.RemoteID = id
			r.changed("updated")
			return nil
		}
		if connector.ClassOf(err) != connector.Gone {
			return err
		}
		// Somebody deleted it there. The user should have one, so: again.
		r.link.RemoteID, r.link.Intent = "", time.Time{}
	}
	found, err := r.find(ctx)
	if err != nil {
		return err
	}
	if found == "" {
		if err := r.intend(ctx); err != nil {
			return err
		}
		id, err := r.t.Connector.Sync(ctx, r.acct, "")
		if connector.ClassOf(err) == connector.Conflict && err != nil {
			// It appeared between our look and our create, or bears the name
			// without being found by it.
			r.link.Intent = time.Time{}
			if found, ferr := r.find(ctx); ferr != nil {
				return ferr
			} else if found == "" {
				return err
			} else if err := r.adopt(ctx, found); err != nil {
				return err
			}
			return nil
		}
		if id != "" {
			r.link.RemoteID = id
		}
		if err != nil {
			var ce *connector.Error
			if errors.As(err, &ce) && !ce.Ambiguous && id == "" {
				r.link.Intent = time.Time{} // it surely did not happen
			}
			return err
		}
		r.changed("created")
		return nil
	}
	return r.adopt(ctx, found)
}

// adopt makes an account that is there already this user's.
func (r *run) adopt(ctx context.Context, found string) error {
	id, err := r.t.Connector.Sync(ctx, r.acct, found)
	if err != nil {
		return err
	}
	r.link.RemoteID = id
	r.changed("adopted")
	return nil
}

func (r *run) changed(did string) {
	r.did, r.link.Intent, r.link.Disabled, r.link.UserName = did, time.Time{}, !r.acct.Active, r.acct.UserName
}

// find looks for an account that is, or may become, this user's.
func (r *run) find(ctx context.Context) (string, error) {
	there, err := r.t.Connector.Find(ctx, r.acct)
	if err != nil {
		return "", err
	}
	var named []connector.Account
	for _, a := range there {
		if a.ExternalID == r.user.ID {
			return a.ID, nil
		}
		if sameName(a.UserName, r.acct.UserName) {
			named = append(named, a)
		}
	}
	if len(named) == 0 {
		return "", nil
	}
	if r.t.Adopt == ByUserName && len(named) == 1 && named[0].ExternalID == "" {
		return named[0].ID, nil
	}
	return "", &connector.Error{Class: connector.Conflict, Text: "an account with this user name is there already and is not known to be this person's"}
}

func sameName(a, b string) bool { return provisioning.Fold(a) == provisioning.Fold(b) }

// intend notes that a create begins.
func (r *run) intend(ctx context.Context) error {
	r.link.Intent, r.link.At = r.o.c.Now(), r.o.c.Now()
	return r.o.c.Store.Update(ctx, func(tx store.Tx) error { return links.Put(tx, r.link) })
}

// leave does what the target's policy says about an account whose user is out
// of scope or gone.
func (r *run) leave(ctx context.Context) error {
	if r.t.Leave == Keep {
		return nil
	}
	gone := connector.Account{ExternalID: r.userID, UserName: r.link.UserName}
	if r.user.UserName != "" && gone.UserName == "" {
		gone.UserName = r.user.UserName
	}
	if r.link.RemoteID == "" {
		// A create was begun and its end is not known.
		there, err := r.t.Connector.Find(ctx, gone)
		if err != nil {
			return err
		}
		for _, a := range there {
			if a.ExternalID == r.userID {
				r.link.RemoteID = a.ID
			}
		}
		r.link.Intent = time.Time{}
		if r.link.RemoteID == "" {
			return nil
		}
	}
	if r.t.Leave == Delete {
		if err := r.t.Connector.Remove(ctx, r.link.RemoteID); err != nil {
			return err
		}
		r.did, r.link.RemoteID, r.link.UserName, r.link.Disabled = "deleted", "", "", false
		return nil
	}
	if r.link.Disabled {
		return nil
	}
	_, err := r.t.Connector.Sync(ctx, gone, r.link.RemoteID)
	if connector.ClassOf(err) == connector.Gone && err != nil {
		r.link.RemoteID, err = "", nil
	}
	if err != nil {
		return err
	}
	r.did, r.link.Disabled = "disabled", true
	return nil
}

// maxInvalid is how often a target may say that it will never take an account
// before nobody asks again.
const maxInvalid = 3

// outcome notes what came of a run, and turns an error into an instruction.
func (o *Outbox) outcome(ctx context.Context, r *run, err error) error {
	r.link.At = o.c.Now()
	if err == nil {
		r.link.Error, r.link.Invalid, r.link.Applied = "", 0, r.user.Version
		r.t.shut()
	} else {
		r.link.Error = bounded(err.Error())
		if connector.ClassOf(err) == connector.Invalid {
			r.link.Invalid++
		}
	}
	empty := r.link.RemoteID == "" && r.link.Intent.IsZero() && r.link.Error == ""
	werr := o.c.Store.Update(ctx, func(tx store.Tx) error {
		if empty {
			if err := links.Delete(tx, Key(r.t.ID, r.userID)); err != nil {
				return err
			}
		} else if err := links.Put(tx, r.link); err != nil {
			return err
		}
		if o.c.Audit == nil || r.did == "" {
			return nil
		}
		return o.c.Audit(tx, audit.Event{Kind: "account." + r.did, UserID: r.userID, Target: r.t.ID})
	})
	if errors.Is(werr, store.ErrConflict) {
		return &task.Park{Reason: "the account at " + r.t.ID + " belongs to another user already"}
	}
	if werr != nil {
		// What the target has is not noted; the next run finds it again.
		return fmt.Errorf("note account at %s: %w", r.t.ID, werr)
	}
	return r.t.instruct(err, r.link.Invalid, o.c.Now())
}

// instruct turns a target's error into what the runner should do.
func (t *target) instruct(err error, invalid int, now time.Time) error {
	if err == nil {
		return nil
	}
	var ce *connector.Error
	errors.As(err, &ce)
	switch class := connector.ClassOf(err); {
	case class == connector.Auth, class == connector.Route:
		return &task.Retry{After: t.trip(now), Reason: bounded(err.Error())}
	case class == connector.Conflict, class == connector.Invalid && invalid >= maxInvalid:
		return &task.Park{Reason: bounded(err.Error())}
	case ce != nil && ce.After > 0:
		t.pause(now.Add(ce.After))
		return &task.Retry{After: ce.After, Reason: bounded(err.Error())}
	}
	return err
}

func bounded(s string) string {
	if len(s) > 400 {
		return strings.ToValidUTF8(s[:400], "") + "…"
	}
	return s
}

// The breaker: a target whose credentials or address are wrong is left alone
// for a while, longer each time, instead of being asked once for every user.
const (
	breakFirst = 30 * time.Second
	breakMost  = 15 * time.Minute
)

// open is how long the target is still to be left alone.
func (t *target) open(now time.Time) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.openTil.Sub(now)
}

func (t *target) trip(now time.Time) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.openTil.After(now) {
		t.closed = min(max(2*t.closed, breakFirst), breakMost)
		t.openTil = now.Add(t.closed)
	}
	return t.openTil.Sub(now)
}

func (t *target) pause(until time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if until.After(t.openTil) {
		t.openTil = until
	}
}

func (t *target) shut() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed, t.openTil = 0, time.Time{}
}

// Status of a user at a target.
const (
	Done    = "done"
	Pending = "pending"
	Failed  = "failed"
)

// State is how far a user's account at a target is.
type State struct {
	Target, Title string
	Wait          bool
	Status        string // Done, Pending, Failed
	Error         string // for administrators
	RemoteID      string
}

// States tells how far a user's accounts are, at the targets that have one or
// should.
func (o *Outbox) States(ctx context.Context, userID string) (list []State, err error) {
	err = o.c.Store.View(ctx, func(tx store.Tx) error {
		list = list[:0]
		for _, t := range o.c.Targets {
			l, known, err := links.Get(tx, Key(t.ID, userID))
			if err != nil {
				return err
			}
			tk, waiting, err := task.Get(tx, Kind, Key(t.ID, userID))
			if err != nil {
				return err
			}
			if !known && !waiting {
				continue
			}
			s := State{Target: t.ID, Title: t.Title, Wait: t.Wait, Status: Done, Error: l.Error, RemoteID: l.RemoteID}
			switch {
			case waiting && tk.State == task.Parked:
				s.Status = Failed
			case waiting && tk.Error != "":
				s.Status, s.Error = Failed, tk.Error
			case waiting:
				s.Status = Pending
			}
			list = append(list, s)
		}
		return nil
	})
	return list, err
}

// Settle runs a user's tasks at the targets that sign-ins wait for, at the same
// time, until ctx ends, and reports whether every one of them agrees.
func (o *Outbox) Settle(ctx context.Context, userID string) (done bool, err error) {
	states, err := o.States(ctx, userID)
	if err != nil {
		return false, err
	}
	var wg sync.WaitGroup
	for _, s := range states {
		if s.Wait && s.Status != Done {
			wg.Go(func() { _ = o.c.Run(ctx, Kind, Key(s.Target, userID)) }) // what it says is in the state
		}
	}
	wg.Wait()
	if states, err = o.States(context.WithoutCancel(ctx), userID); err != nil {
		return false, err
	}
	for _, s := range states {
		if s.Wait && s.Status != Done {
			return false, nil
		}
	}
	return true, nil
}

// Accounts yields what is known of a user's accounts, or of all if userID is
// empty, from after (a Key), at most limit.
func (o *Outbox) Accounts(ctx context.Context, userID, after string, limit int) (list []Link, err error) {
	err = o.c.Store.View(ctx, func(tx store.Tx) error {
		list = list[:0]
		var rows iter.Seq2[Link, error] = links.All(tx, after, limit)
		if userID != "" {
			rows = links.Find(tx, "user", userID, after, limit)
		}
		for l, err := range rows {
			if err != nil {
				return err
			}
			list = append(list, l)
		}
		return nil
	})
	return list, err
}
