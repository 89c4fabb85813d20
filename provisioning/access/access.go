// Package access is how somebody who may not comes to be somebody who may: a
// role asked for, approved by who answers for it, and over when it should be.
//
//	Ask ──▶ pending ──Decide──▶ approved ──▶ Grant in the user's row ──Until──▶ ended
//	           │        └─────▶ denied                │
//	           ├─Withdraw─▶ withdrawn                 └─ Directory.Change: policy, headers and
//	           └─Until────▶ lapsed                        targets follow as for any other change
//
// A grant is a part of the user, so that nothing else has to know of it: whoever
// reads the user sees it, and whoever follows the user learns when it comes and
// goes. A [Request] is the story: who wanted it, why, until when, and who said
// what. An end acts by a task on time; and a grant that has ended counts for
// nothing even before that.
//
// Nobody decides about themselves, whatever roles they have. Whether somebody may
// decide is asked in the transaction that does it.
package access

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/gatehouse-sso/gatehouse/authz"
	"github.com/gatehouse-sso/gatehouse/provisioning"
	"github.com/gatehouse-sso/gatehouse/provisioning/audit"
	"github.com/gatehouse-sso/gatehouse/provisioning/store"
	"github.com/gatehouse-sso/gatehouse/provisioning/task"
)

// Machine is who acts on the machine itself, without a user.
const Machine = "admin"

// A Role that can be granted.
type Role struct {
	ID, Title string
	Longest   time.Duration // of a grant; 0: no bound
	// Approves reports whether somebody, with their roles, decides about it.
	Approves func(authz.Subject) bool
	// Answers are those among them who are told when somebody asks; the others are
	// if there is none. nil: there is none.
	Answers func(authz.Subject) bool
	// Owners are who decide about it besides, and are told, where it was asked for because a
	// service, by ID, wanted it. Without Approves and Owners nobody decides, and it
	// can not be asked for.
	Owners map[string]func(authz.Subject) bool
}

// Askable reports whether it can be asked for, because of a service or of none.
func (r Role) Askable(service string) bool { return r.Approves != nil || r.Owners[service] != nil }

// decides reports whether somebody decides about it, asked for because of a service.
func (r Role) decides(s authz.Subject, service string) bool {
	owns := r.Owners[service]
	return r.Approves != nil && r.Approves(s) || owns != nil && owns(s)
}

// mayDecide reports whether somebody might decide about it, asked for somehow.
func (r Role) mayDecide(s authz.Subject) bool {
	if r.decides(s, "") {
		return true
	}
	for service := range r.Owners {
		if r.decides(s, service) {
			return true
		}
	}
	return false
}

// Limits on asking.
type Limits struct {
	Open int // requests of one person that nobody has decided; 0: 5
	Day  int // requests of one person in 24 hours; 0: 10
}

// Config of an Access.
type Config struct {
	Store     store.Store
	Directory *provisioning.Directory
	Roles     []Role // in the order that people see
	// Resolve fills in the roles of somebody, as policy does.
	Resolve func(authz.Subject) authz.Subject
	Limits  Limits
	// Audit records in the transaction that does it. nil: nothing does.
	Audit func(tx store.Tx, e audit.Event) error
	// Told is called in the transaction that makes or decides a request, to tell
	// those whom it concerns. nil: nobody is told.
	Told func(tx store.Tx, r Request) error
	Now  func() time.Time // nil: time.Now
}

// An Access gives and takes roles.
type Access struct{ c Config }

// New makes an Access.
func New(c Config) *Access {
	c.Limits.Open, c.Limits.Day = cmp.Or(c.Limits.Open, 5), cmp.Or(c.Limits.Day, 10)
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Audit == nil {
		c.Audit = func(store.Tx, audit.Event) error { return nil }
	}
	if c.Told == nil {
		c.Told = func(store.Tx, Request) error { return nil }
	}
	return &Access{c}
}

// States of a request.
const (
	Pending   = "pending"
	Approved  = "approved"
	Denied    = "denied"
	Withdrawn = "withdrawn"
	Lapsed    = "lapsed" // nobody decided before the end that was asked for
)

// A Request for a role.
type Request struct {
	ID      string    `json:"id"`
	UserID  string    `json:"user"`
	Role    string    `json:"role"`
	Service string    `json:"service,omitempty"` // where it was missing
	URL     string    `json:"url,omitempty"`     // the page that they wanted to open
	Reason  string    `json:"reason"`
	Until   time.Time `json:"until"` // as asked for
	Made    time.Time `json:"made"`
	State   string    `json:"state"`
	By      string    `json:"by,omitempty"`   // who decided: a user's ID, or Machine
	Text    string    `json:"text,omitempty"` // what they said about it
	Decided time.Time `json:"decided,omitzero"`
	Granted time.Time `json:"granted_until,omitzero"` // the end that was approved
}

// Keys begin with the time, so that they are in the order in which requests came.
var requests = &store.Table[Request]{
	Name: "request",
	Key:  func(r Request) string { return r.ID },
	Index: map[string]func(Request) []string{
		"user": func(r Request) []string { return []string{r.UserID} },
		"open": func(r Request) []string {
			if r.State != Pending {
				return nil
			}
			return []string{r.Role}
		},
	},
}

// Reason codes of refusals.
const (
	ReasonRole     = "access.role_unknown"
	ReasonWhy      = "access.reason_missing"
	ReasonUntil    = "access.until"
	ReasonLimit    = "access.request_limit"
	ReasonWaiting  = "access.request_waiting"
	ReasonUnknown  = "access.request_unknown"
	ReasonDecided  = "access.request_decided"
	ReasonOwn      = "access.own_request"
	ReasonApprover = "access.not_approver"
	ReasonNone     = "access.no_grant"
	ReasonKeeps    = "access.last_identity"
)

// Reasons says each code in one sentence for an administrator.
var Reasons = map[string]string{
	ReasonRole:     "There is no such role, or nobody decides about it, so it can not be asked for.",
	ReasonWhy:      "A request says in a few words why somebody needs the role.",
	ReasonUntil:    "The end is missing, past, or further away than the role or the request allows.",
	ReasonLimit:    "The person has asked for as much as one person may at a time.",
	ReasonWaiting:  "A request of this person for this role is being decided.",
	ReasonUnknown:  "There is no such request, or it does not concern this person.",
	ReasonDecided:  "The request was decided, withdrawn or lapsed before.",
	ReasonOwn:      "Nobody decides about what they asked for themselves.",
	ReasonApprover: "This person does not decide about the role.",
	ReasonNone:     "The person has no grant of this role.",
	ReasonKeeps:    "Somebody wanted to give up the identity that they are signed in with, or their only one.",
}

// A Refusal is why something was not done; nothing was written.
type Refusal struct{ Code, Text string }

func (r *Refusal) Error() string { return r.Text }

// Reason is its code.
func (r *Refusal) Reason() string { return r.Code }

func refuse(code, format string, args ...any) error {
	return &Refusal{code, fmt.Sprintf(format, args...)}
}

// MaxReason is how long a reason or an answer may be, in bytes.
const MaxReason = 1000

func (a *Access) now() time.Time { return stored(a.c.Now()) }

// stored is a time as it is stored: UTC, whole milliseconds.
func stored(t time.Time) time.Time { return t.UTC().Truncate(time.Millisecond) }

// Role finds a role.
func (a *Access) Role(id string) (Role, bool) {
	for _, r := range a.c.Roles {
		if r.ID == id {
			return r, true
		}
	}
	return Role{}, false
}

// newID is unique, and sorts by time.
func newID(t time.Time) string {
	var b [8]byte
	rand.Read(b[:])
	return idFrom(t) + hex.EncodeToString(b[:])
}

// idFrom is before all IDs made at t or later.
func idFrom(t time.Time) string { return fmt.Sprintf("%012x-", t.UnixMilli()) }

// Ask makes a request. Of r it reads who, which role, for what, why and until
// when.
func (a *Access) Ask(ctx context.Context, r Request) (Request, error) {
	now := a.now()
	r = Request{ID: newID(now), UserID: r.UserID, Role: r.Role, Service: r.Service, URL: r.URL, Reason: words(r.Reason), Until: stored(r.Until), Made: now, State: Pending}
	role, ok := a.Role(r.Role)
	switch {
	case !ok || !role.Askable(r.Service):
		return Request{}, refuse(ReasonRole, "the role %q can not be asked for", r.Role)
	case r.Reason == "":
		return Request{}, refuse(ReasonWhy, "say why you need it")
	}
	if err := role.end(r.Until, now); err != nil {
		return Request{}, err
	}
	err := a.c.Store.Update(ctx, func(tx store.Tx) error {
		if _, made, err := requests.Get(tx, r.ID); err != nil || made {
			return err // a repeated try finds what the first one made
		}
		if _, ok, err := a.c.Directory.UserTx(tx, r.UserID); err != nil || !ok {
			return cmpErr(err, provisioning.ErrNotFound)
		}
		open, day := 0, idFrom(now.Add(-24*time.Hour))
		asked := 0
		for old, err := range requests.Find(tx, "user", r.UserID, "", 0) {
			if err != nil {
				return err
			}
			if old.ID >= day {
				asked++
			}
			if !old.pending(now) {
				continue
			}
			if open++; old.Role == r.Role {
				return refuse(ReasonWaiting, "your request for this is being decided")
			}
		}
		if open >= a.c.Limits.Open || asked >= a.c.Limits.Day {
			return refuse(ReasonLimit, "you have %d requests that nobody has decided yet, and made %d in the last 24 hours; allowed are %d and %d", open, asked, a.c.Limits.Open, a.c.Limits.Day)
		}
		if err := a.put(tx, r, "request.made", r.UserID); err != nil {
			return err
		}
		return task.Add(tx, TaskLapse, r.ID, r.Until)
	})
	if err != nil {
		return Request{}, fmt.Errorf("ask for %s: %w", r.Role, err)
	}
	return r, nil
}

// put writes a request, records it and tells.
func (a *Access) put(tx store.Tx, r Request, kind, by string) error {
	if err := requests.Put(tx, r); err != nil {
		return err
	}
	e := audit.Event{At: a.now(), Kind: kind, UserID: r.UserID, By: by, Service: r.Service, Text: "role " + r.Role + " " + ending(r.Until) + ", request " + r.ID}
	if r.State == Approved {
		e.Text = "role " + r.Role + " " + ending(r.Granted) + ", request " + r.ID
	}
	if err := a.c.Audit(tx, e); err != nil {
		return err
	}
	return a.c.Told(tx, r)
}

func ending(t time.Time) string {
	if t.IsZero() {
		return "without end"
	}
	return "until " + t.Format(time.RFC3339)
}

// pending: it can still be decided.
func (r Request) pending(now time.Time) bool { return r.State == Pending && now.Before(r.Until) }

// Latest is the last end that it can have; zero: there is none.
func (r Role) Latest(now time.Time) time.Time {
	if r.Longest == 0 {
		return time.Time{}
	}
	return now.Add(r.Longest)
}

// end refuses an end that the role does not allow.
func (r Role) end(until, now time.Time) error {
	switch {
	case until.IsZero():
		return refuse(ReasonUntil, "say until when")
	case !now.Before(until):
		return refuse(ReasonUntil, "the end is past")
	case r.Longest > 0 && until.After(now.Add(r.Longest)):
		return refuse(ReasonUntil, "the role %s can be had until %s at most", r.ID, now.Add(r.Longest).Format(time.DateOnly))
	}
	return nil
}

// words are what a person wrote, bounded.
func words(s string) string {
	s = strings.TrimSpace(strings.ToValidUTF8(s, ""))
	for len(s) > MaxReason {
		_, n := utf8.DecodeLastRuneInString(s[:MaxReason+1])
		s = s[:MaxReason+1-n]
	}
	return s
}

// An Answer to a request.
type Answer struct {
	Approve bool
	Until   time.Time // earlier than asked for; zero: as asked for
	Text    string    // for the person
}

// Decide approves or denies a request. by is a user's ID, or Machine.
func (a *Access) Decide(ctx context.Context, id, by string, ans Answer) (Request, error) {
	now := a.now()
	var r Request
	err := a.c.Store.Update(ctx, func(tx store.Tx) error {
		var ok bool
		var err error
		if r, ok, err = requests.Get(tx, id); err != nil {
			return err
		}
		if !ok {
			return refuse(ReasonUnknown, "there is no such request")
		}
		if err := a.mayDecide(tx, by, r); err != nil {
			return err
		}
		if !r.pending(now) {
			return refuse(ReasonDecided, "the request is decided: %s", r.at(now).State)
		}
		r.State, r.By, r.Text, r.Decided = Denied, by, words(ans.Text), now
		if !ans.Approve {
			return a.put(tx, r, "request.denied", by)
		}
		r.State, r.Granted = Approved, r.Until
		if !ans.Until.IsZero() {
			if r.Granted = stored(ans.Until); r.Granted.After(r.Until) {
				return refuse(ReasonUntil, "approve what was asked for, until %s, or less", r.Until.Format(time.RFC3339))
			}
		}
		role, ok := a.Role(r.Role)
		if !ok {
			return refuse(ReasonRole, "there is no role %q any more", r.Role)
		}
		if err := role.end(r.Granted, now); err != nil {
			return err
		}
		if _, _, err := a.c.Directory.ChangeTx(tx, r.UserID, provisioning.Access, func(u *provisioning.User) error {
			for _, g := range u.Grants {
				if g.Role == r.Role && !g.Ended(now) && (g.Until.IsZero() || g.Until.After(r.Granted)) {
					return nil // they have it for longer
				}
			}
			u.Give(provisioning.Grant{Role: r.Role, By: by, Request: r.ID, Since: now, Until: r.Granted})
			return nil
		}); err != nil {
			return err
		}
		return a.put(tx, r, "request.approved", by)
	})
	if err != nil {
		return Request{}, fmt.Errorf("decide: %w", err)
	}
	return r, nil
}

// mayDecide refuses who may not decide about a request, as things are in tx.
func (a *Access) mayDecide(tx store.Tx, by string, r Request) error {
	if by == Machine {
		return nil
	}
	if by == r.UserID {
		return refuse(ReasonOwn, "you asked for it yourself: somebody else decides")
	}
	u, ok, err := a.c.Directory.UserTx(tx, by)
	if err != nil {
		return err
	}
	if ok && u.Active {
		s, err := a.c.Directory.SubjectTx(tx, u)
		if err != nil {
			return err
		}
		if role, known := a.Role(r.Role); known && role.decides(a.c.Resolve(s), r.Service) {
			return nil
		}
	}
	return refuse(ReasonApprover, "you do not decide about the role %s", r.Role)
}

// Withdraw takes one's own request back.
func (a *Access) Withdraw(ctx context.Context, id, userID string) (Request, error) {
	var r Request
	err := a.c.Store.Update(ctx, func(tx store.Tx) error {
		var ok bool
		var err error
		if r, ok, err = requests.Get(tx, id); err != nil {
			return err
		}
		switch {
		case !ok || r.UserID != userID:
			return refuse(ReasonUnknown, "there is no such request of yours")
		case !r.pending(a.now()):
			return refuse(ReasonDecided, "the request is decided: %s", r.at(a.now()).State)
		}
		r.State, r.By, r.Decided = Withdrawn, userID, a.now()
		return a.put(tx, r, "request.withdrawn", userID)
	})
	if err != nil {
		return Request{}, fmt.Errorf("withdraw: %w", err)
	}
	return r, nil
}

// Grant gives a role by name, without a request. A zero until is without end,
// where the role has no longest. It takes the place of an earlier grant of it.
func (a *Access) Grant(ctx context.Context, userID, roleID string, until time.Time, by string) (provisioning.User, error) {
	role, ok := a.Role(roleID)
	if !ok {
		return provisioning.User{}, refuse(ReasonRole, "there is no role %q", roleID)
	}
	now := a.now()
	if until.IsZero() && role.Longest > 0 {
		until = now.Add(role.Longest)
	}
	if !until.IsZero() {
		until = stored(until)
		if err := role.end(until, now); err != nil {
			return provisioning.User{}, err
		}
	}
	return a.change(ctx, userID, by, "role.granted", "role "+roleID+" "+ending(until), func(u *provisioning.User) error {
		u.Give(provisioning.Grant{Role: roleID, By: by, Since: now, Until: until})
		return nil
	})
}

// Revoke takes a granted role away.
func (a *Access) Revoke(ctx context.Context, userID, roleID, by string) (provisioning.User, error) {
	return a.change(ctx, userID, by, "role.revoked", "role "+roleID, func(u *provisioning.User) error {
		if !u.Drop(roleID) {
			return refuse(ReasonNone, "%s was not granted to %s", roleID, u.UserName)
		}
		return nil
	})
}

func (a *Access) change(ctx context.Context, userID, by, kind, text string, fn func(*provisioning.User) error) (u provisioning.User, err error) {
	if by == userID {
		return u, refuse(ReasonOwn, "nobody grants roles to themselves or takes their own away")
	}
	err = a.c.Store.Update(ctx, func(tx store.Tx) error {
		if u, _, err = a.c.Directory.ChangeTx(tx, userID, provisioning.Access, fn); err != nil {
			return err
		}
		return a.c.Audit(tx, audit.Event{At: a.now(), Kind: kind, UserID: userID, By: by, Text: text})
	})
	return u, err
}

// Kinds of tasks. The key of TaskEnds and TaskForget is a user's ID, that of
// TaskLapse a request's.
const (
	TaskEnds   = "access.ends"
	TaskLapse  = "access.lapse"
	TaskForget = "access.forget"
)

// Follow is the provisioning.Follower that sees when grants end, and forgets the
// requests of deleted users.
func (a *Access) Follow(tx store.Tx, _, after provisioning.User, d provisioning.Delta) error {
	if d.Deleted {
		return task.Add(tx, TaskForget, d.UserID, d.At)
	}
	if next := nextEnd(after); !next.IsZero() {
		return task.Add(tx, TaskEnds, after.ID, next)
	}
	return nil
}

// nextEnd is the first end of a user's grants; zero: there is none.
func nextEnd(u provisioning.User) (next time.Time) {
	for _, g := range u.Grants {
		if !g.Until.IsZero() && (next.IsZero() || g.Until.Before(next)) {
			next = g.Until
		}
	}
	return next
}

// HandleEnds is the task.Handler of TaskEnds: it takes away what has ended.
func (a *Access) HandleEnds(ctx context.Context, userID string) error {
	now := a.now()
	var next time.Time
	err := a.c.Store.Update(ctx, func(tx store.Tx) error {
		var ended []provisioning.Grant
		u, _, err := a.c.Directory.ChangeTx(tx, userID, provisioning.Access, func(u *provisioning.User) error {
			for _, g := range u.Clone().Grants {
				if g.Ended(now) {
					ended = append(ended, g)
					u.Drop(g.Role)
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		next = nextEnd(u)
		for _, g := range ended {
			if err := a.c.Audit(tx, audit.Event{At: now, Kind: "role.ended", UserID: userID, By: string(provisioning.Access), Text: "role " + g.Role + " " + ending(g.Until)}); err != nil {
				return err
			}
		}
		return nil
	})
	if errors.Is(err, provisioning.ErrNotFound) {
		return nil
	}
	if err == nil && !next.IsZero() {
		return &task.Retry{After: next.Sub(a.c.Now()), Reason: "until the next grant ends"}
	}
	return err
}

// HandleLapse is the task.Handler of TaskLapse: it closes what nobody decided.
func (a *Access) HandleLapse(ctx context.Context, id string) error {
	return a.c.Store.Update(ctx, func(tx store.Tx) error {
		r, ok, err := requests.Get(tx, id)
		if err != nil || !ok || r.State != Pending {
			return err
		}
		if now := a.now(); r.pending(now) {
			return &task.Retry{After: r.Until.Sub(now), Reason: "until the end that was asked for"}
		}
		r.State, r.Decided = Lapsed, a.now()
		return a.put(tx, r, "request.lapsed", string(provisioning.Access))
	})
}

// forgetAtOnce requests are forgotten in one transaction.
const forgetAtOnce = 20

// HandleForget is the task.Handler of TaskForget.
func (a *Access) HandleForget(ctx context.Context, userID string) error {
	for more := true; more; {
		err := a.c.Store.Update(ctx, func(tx store.Tx) error {
			list, err := collect(requests.Find(tx, "user", userID, "", forgetAtOnce))
			if err != nil {
				return err
			}
			for _, r := range list {
				if err := requests.Delete(tx, r.ID); err != nil {
					return err
				}
			}
			more = len(list) == forgetAtOnce
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// at is a request as it is at a time: what is past its end has lapsed.
func (r Request) at(now time.Time) Request {
	if r.State == Pending && !r.pending(now) {
		r.State = Lapsed
	}
	return r
}

// Get returns a request, or a Refusal. Somebody other than Machine sees their own
// and what they decide about.
func (a *Access) Get(ctx context.Context, id, by string) (r Request, mayDecide bool, err error) {
	err = a.c.Store.View(ctx, func(tx store.Tx) error {
		var ok bool
		if r, ok, err = requests.Get(tx, id); err != nil {
			return err
		}
		if !ok {
			return refuse(ReasonUnknown, "there is no such request")
		}
		r = r.at(a.now())
		var no *Refusal
		err := a.mayDecide(tx, by, r)
		if errors.As(err, &no) && by != r.UserID {
			return refuse(ReasonUnknown, "there is no such request")
		}
		mayDecide = err == nil
		if no != nil {
			return nil
		}
		return err
	})
	if err != nil {
		return Request{}, false, err
	}
	return r, mayDecide, nil
}

// Open are the pending requests about which s decides, in the order in which
// they came, those after one, at most limit.
func (a *Access) Open(ctx context.Context, s authz.Subject, after string, limit int) (list []Request, err error) {
	s = a.c.Resolve(s)
	err = a.c.Store.View(ctx, func(tx store.Tx) error {
		list = nil
		for _, role := range a.c.Roles {
			if !role.mayDecide(s) {
				continue
			}
			n := 0
			for r, err := range requests.Find(tx, "open", role.ID, after, 0) {
				if err != nil {
					return err
				}
				if r.pending(a.now()) && r.UserID != s.ID && role.decides(s, r.Service) {
					list = append(list, r)
					n++
				}
				if n >= limit {
					break
				}
			}
		}
		return nil
	})
	slices.SortFunc(list, func(x, y Request) int { return cmp.Compare(x.ID, y.ID) })
	return list[:min(len(list), limit)], err
}

// Decides reports whether s decides about any role.
func (a *Access) Decides(s authz.Subject) bool {
	s = a.c.Resolve(s)
	return slices.ContainsFunc(a.c.Roles, func(r Role) bool { return r.mayDecide(s) })
}

// DecidesAbout reports whether s decides about a request, which is never one of
// their own, and whether they are among those who are told of it first.
func (a *Access) DecidesAbout(s authz.Subject, r Request) (decides, answers bool) {
	role, ok := a.Role(r.Role)
	if !ok || !s.Active || s.ID == r.UserID {
		return false, false
	}
	s = a.c.Resolve(s)
	owns := role.Owners[r.Service]
	return role.decides(s, r.Service), role.Answers != nil && role.Answers(s) || owns != nil && owns(s)
}

// Of are the requests of one user, the latest first, at most limit.
func (a *Access) Of(ctx context.Context, userID string, limit int) (list []Request, err error) {
	err = a.c.Store.View(ctx, func(tx store.Tx) (err error) {
		list, err = collect(requests.Find(tx, "user", userID, "", 0))
		return err
	})
	slices.Reverse(list)
	list = list[:min(len(list), limit)]
	for i := range list {
		list[i] = list[i].at(a.now())
	}
	return list, err
}

// All are requests of everybody in the order in which they came, those in a
// state (empty: any) and after one, at most limit.
func (a *Access) All(ctx context.Context, state, after string, limit int) (list []Request, err error) {
	err = a.c.Store.View(ctx, func(tx store.Tx) error {
		list = nil
		for r, err := range requests.All(tx, after, 0) {
			if err != nil {
				return err
			}
			if r = r.at(a.now()); state == "" || r.State == state {
				list = append(list, r)
			}
			if len(list) == limit {
				break
			}
		}
		return nil
	})
	return list, err
}

// Waiting is the pending request of a user for a role, if there is one.
func (a *Access) Waiting(ctx context.Context, userID, role string) (r Request, ok bool, err error) {
	list, err := a.Of(ctx, userID, 100)
	for _, r := range list {
		if r.Role == role && r.State == Pending {
			return r, true, nil
		}
	}
	return Request{}, false, err
}

func collect(seq func(func(Request, error) bool)) (list []Request, err error) {
	for r, err := range seq {
		if err != nil {
			return nil, err
		}
		list = append(list, r)
	}
	return list, nil
}

// cmpErr is the first that is not nil.
func cmpErr(a, b error) error {
	if a != nil {
		return a
	}
	return b
}
