package outbox

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/gatehouse-sso/gatehouse/provisioning"
	"github.com/gatehouse-sso/gatehouse/provisioning/connector"
	"github.com/gatehouse-sso/gatehouse/provisioning/guard"
	"github.com/gatehouse-sso/gatehouse/provisioning/store"
	"github.com/gatehouse-sso/gatehouse/provisioning/task"
)

// run is one attempt to make a target agree about a user.
type run struct {
	o      *Outbox
	t      *target
	userID string
	began  time.Time
	user   provisioning.User // zero: there is none any more
	want   bool              // in scope
	acct   connector.Account // what should be, if want
	link   Link
	known  bool   // the link is stored
	unsent bool   // no target can have been told of the user by us before this run
	had    string // the account's ID when the run began
	asked  bool   // the link was Asked then
	meant  bool   // and Meant
	did    string // "created", "adopted", "updated", "disabled", "deleted"; empty: nothing
	steps  []Step
	refs   []reference // of the account that was wanted
	trace  *connector.Trace
	scout  *scout // was sent ahead, for a person who waits

	read     bool  // as the run was taken
	unread   error // why it could not be
	intended bool  // the intent to create acct was written then
}

func (r *run) attempt(ctx context.Context) error {
	if err := r.load(ctx); err != nil {
		return err
	}
	switch {
	case r.link.Answer == AnswerIgnore:
		r.step(StepMatch, true, "a person said that the user has no account there")
		return nil
	case r.want && (r.link.begun() || r.user.Active):
		return r.agree(ctx)
	case r.link.begun() && r.t.Leave != Keep:
		return r.leave(ctx)
	}
	r.step(StepChange, true, "nothing is to be done")
	return nil
}

// call makes one call of the target: at its rate, and with time of its own.
func (r *run) call(ctx context.Context, fn func(context.Context) error) error {
	return r.t.call(connector.WithTrace(ctx, r.trace), fn)
}

func (t *target) call(ctx context.Context, fn func(context.Context) error) error {
	if err := t.limit.Wait(ctx); err != nil {
		return &task.Retry{After: time.Second, Reason: "the target gets no more calls at the moment"}
	}
	ctx, cancel := context.WithTimeout(ctx, t.Timeout)
	defer cancel()
	err := fn(ctx)
	var ce *connector.Error
	if errors.As(err, &ce) && ce.Throttled {
		t.limit.Slow()
	}
	return err
}

// prepare reads everything as the run is taken, and writes the intent to create
// an account where none is known. Whether one is there is looked at first all the
// same, so link has no intent until something is about to be sent.
func (r *run) prepare(tx store.Tx) error {
	if err := r.loadTx(tx); err != nil {
		return err
	}
	if !r.want || !r.user.Active || r.link.RemoteID != "" || r.link.Answer == AnswerIgnore {
		return nil
	}
	next := r.noted()
	next.Intent = r.began
	var err error
	if r.known {
		err = links.Swap(tx, r.link, next)
	} else {
		err = links.Insert(tx, next)
	}
	r.intended = err == nil
	return err
}

// load reads everything in one snapshot, unless that was done as the run was
// taken.
func (r *run) load(ctx context.Context) error {
	err := r.unread
	if !r.read {
		err = r.o.c.Store.View(ctx, r.loadTx)
	}
	if err != nil {
		r.step(StepLoad, false, "%v", err)
		return err
	}
	switch {
	case r.user.ID == "":
		r.step(StepLoad, true, "the user is deleted")
	case !r.user.Active:
		r.step(StepLoad, true, "the user is not active; version %d", r.user.Version)
	default:
		r.step(StepLoad, true, "the user is active; version %d", r.user.Version)
	}
	if r.want {
		r.step(StepScope, true, "the user is among those who have an account")
	} else {
		r.step(StepScope, true, "the user is not among those who have an account; %s", cmp.Or(r.t.Leave, Disable))
	}
	return nil
}

func (r *run) loadTx(tx store.Tx) error {
	r.user, r.want, r.acct, r.refs = provisioning.User{}, false, connector.Account{}, nil
	link, ok, err := links.Get(tx, Key(r.t.ID, r.userID))
	if err != nil {
		return err
	}
	if r.link, r.known = link, ok; !ok {
		r.link = Link{Target: r.t.ID, UserID: r.userID}
	}
	r.had, r.asked, r.meant = r.link.RemoteID, r.link.Asked, r.link.Meant
	u, ok, err := r.o.c.Directory.UserTx(tx, r.userID)
	if err != nil || !ok {
		return err
	}
	r.user = u
	if r.unsent = !r.known && u.Created.After(r.o.since); r.unsent {
		_, tried, err := operations.Get(tx, Operation{Target: r.t.ID, UserID: r.userID}.Key())
		if r.unsent = !tried; err != nil {
			return err
		}
	}
	s, err := r.o.subject(tx, u)
	if err != nil {
		return err
	}
	if r.want = r.t.wants(u, s); !r.want {
		return nil
	}
	if r.acct, err = r.t.Account(u, s); err != nil {
		return &connector.Error{Class: connector.Invalid, Text: "the account can not be worked out", Err: err}
	}
	r.acct.ExternalID, r.acct.Active, r.acct.Version = u.ID, u.Active, u.Version
	if err := r.refer(tx); err != nil {
		return err
	}
	r.acct.Attributes = cleared(r.acct.Attributes, r.link.Sent)
	return nil
}

// digest stands for what an account says: equal accounts have equal digests.
func digest(a connector.Account) string {
	a.ID, a.Version = "", 0
	attrs := make(map[string][]string, len(a.Attributes))
	for name, values := range a.Attributes {
		if len(values) > 0 {
			attrs[name] = values
		}
	}
	a.Attributes = attrs
	raw, _ := json.Marshal(a) // texts can always be encoded
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:12])
}

// cleared are the attributes, and without values those that were sent before.
func cleared(attrs map[string][]string, sent []string) map[string][]string {
	all := make(map[string][]string, len(attrs)+len(sent))
	for _, name := range sent {
		all[name] = nil
	}
	for name, values := range attrs {
		all[name] = values
	}
	return all
}

// agree makes the account be as it should.
func (r *run) agree(ctx context.Context) error {
	if !r.user.Active && !r.link.Disabled {
		if err := r.allowed(ctx, "disable", "the user is not active any more"); err != nil {
			return err
		}
	}
	if r.link.RemoteID == "" {
		return r.find(ctx)
	}
	if err := r.opens(ctx); err != nil {
		return err
	}
	err := r.sync(ctx, "updated")
	if !is(err, connector.Gone) {
		return err
	}
	r.link.forget() // somebody deleted it there; the user should have one, so: again
	return r.find(ctx)
}

// find takes an account that is there, or else creates one.
func (r *run) find(ctx context.Context) error {
	there, err := r.mine(ctx)
	switch {
	case err != nil:
		r.step(StepMatch, false, "%v", err)
		return err
	case there != "":
		r.step(StepMatch, true, "an account is there and is taken over")
		return r.adopt(ctx, there)
	case !r.user.Active: // nobody makes an account in order to disable it
		r.step(StepMatch, true, "no account is there, and none is made for a user who is not active")
		return r.nothingYet()
	}
	r.step(StepMatch, true, "no account is there: one is made")
	return r.create(ctx)
}

// mine is the ID of an account that is there and is, or may become, this
// user's; empty if there is none. An answer of a person to the case says that
// nothing but what is proven may.
func (r *run) mine(ctx context.Context) (id string, err error) {
	if connector.CapsOf(r.t.Connector).NoFind {
		return "", nil // Sync itself knows what it made
	}
	there, ok, err := r.heard(ctx)
	if !ok {
		there, err = r.search(ctx)
	}
	if err != nil {
		return "", err
	}
	var named []connector.Account
	for _, a := range there {
		if a.ExternalID == r.user.ID && (r.t.Adopt != Never || !r.link.Intent.IsZero()) {
			return a.ID, nil
		}
		if a.ExternalID == r.user.ID || sameName(a.UserName, r.acct.UserName) {
			named = append(named, a)
		}
	}
	switch {
	case len(named) == 0, r.link.Answer == AnswerCreate:
		return "", nil
	case len(named) == 1 && named[0].ExternalID == "" && r.t.Adopt == ByUserName:
		return named[0].ID, nil
	}
	return "", &disputed{named}
}

// search asks the target which accounts may be this user's.
func (r *run) search(ctx context.Context) (there []connector.Account, err error) {
	if r.unsent {
		ctx = connector.NeverSent(ctx)
	}
	err = r.call(ctx, func(ctx context.Context) (err error) {
		there, err = r.t.Connector.Find(ctx, r.acct)
		return err
	})
	return there, err
}

func sameName(a, b string) bool { return provisioning.Fold(a) == provisioning.Fold(b) }

// adopt makes an account that is there already this user's: first with us, so
// that it can not be two users', then at the target. That it was taken over is
// recorded as it is claimed: who comes after a death in between only updates it.
func (r *run) adopt(ctx context.Context, id string) error {
	was := r.link
	r.link.RemoteID, r.link.Intent = id, time.Time{}
	if err := r.note(ctx, "adopted"); err != nil {
		r.link = was // with the intent, by which it is known as ours
		return err
	}
	return r.sync(ctx, "")
}

func (r *run) create(ctx context.Context) error {
	r.link.Intent = r.o.c.Now()
	if r.intended {
		r.link = r.noted()
	} else if err := r.note(ctx, ""); err != nil {
		return err
	}
	if !connector.CapsOf(r.t.Connector).NoFind {
		ctx = connector.JustLooked(ctx)
	}
	r.unsent = false
	var id string
	err := r.call(ctx, func(ctx context.Context) (err error) {
		id, err = r.t.Connector.Sync(ctx, r.acct, "")
		return err
	})
	var ce *connector.Error
	switch {
	case err == nil:
		r.link.RemoteID = id
		r.done("created")
		return nil
	case is(err, connector.Conflict):
		// It appeared between our look and our creation, or a search does not
		// find what has the name.
		r.link.Intent, r.link.Answer = time.Time{}, ""
		there, ferr := r.mine(ctx)
		if ferr != nil {
			return ferr
		}
		if there != "" {
			return r.adopt(ctx, there)
		}
	case id != "": // it is there, though not as it should be
		r.link.RemoteID, r.link.Intent = id, time.Time{}
	case errors.As(err, &ce) && !ce.Ambiguous: // it surely did not happen
		r.link.Intent = time.Time{}
	}
	r.step(StepChange, false, "%v", err)
	return err
}

// sync makes the known account be as wanted, and is recorded as did.
func (r *run) sync(ctx context.Context, did string) error {
	if sent := r.sending(); len(sent) > len(r.link.Sent) {
		if err := r.note(ctx, ""); err != nil {
			return err
		}
	}
	var id string
	err := r.call(ctx, func(ctx context.Context) (err error) {
		id, err = r.t.Connector.Sync(ctx, r.acct, r.link.RemoteID)
		return err
	})
	if err != nil {
		r.step(StepChange, false, "%v", err)
		return err
	}
	r.link.RemoteID = id
	r.done(did)
	return nil
}

// sending are the attributes that the target may have once the account was sent.
func (r *run) sending() []string {
	names := slices.Clone(r.link.Sent)
	for name, values := range r.acct.Attributes {
		if len(values) > 0 {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// noted is the link as it has to be stored before the account is sent.
func (r *run) noted() Link {
	l := r.link
	l.UserName, l.Sent, l.At = r.acct.UserName, r.sending(), r.o.c.Now()
	return l
}

// note stores what is about to be done, and records what that is, if anything.
func (r *run) note(ctx context.Context, did string) error {
	next := r.noted()
	err := r.o.c.Store.Update(ctx, func(tx store.Tx) error {
		if err := links.Put(tx, next); err != nil {
			return err
		}
		return r.record(tx, did)
	})
	if errors.Is(err, store.ErrConflict) {
		return errTaken
	}
	if err == nil {
		r.link = next
	}
	return err
}

// done: the target has the account as it was wanted.
func (r *run) done(did string) {
	r.did, r.link.Intent, r.link.Disabled, r.link.UserName, r.link.Sent = did, time.Time{}, !r.acct.Active, r.acct.UserName, nil
	r.link.Answer, r.link.Left, r.link.Digest = "", time.Time{}, digest(r.acct)
	r.link.Asked, r.link.Meant, r.link.Doors = r.link.Asked && !r.acct.Active, false, r.doors()
	for name, values := range r.acct.Attributes {
		if len(values) > 0 {
			r.link.Sent = append(r.link.Sent, name)
		}
	}
	slices.Sort(r.link.Sent)
	state := "active"
	if !r.acct.Active {
		state = "disabled"
	}
	r.step(StepChange, true, "the account is as wanted: %s, with %s", state, cmp.Or(strings.Join(r.link.Sent, ", "), "no attributes"))
}

// allowed asks whether the account may be taken away. Whoever is asked may keep a
// mistake from taking everybody's account at once: then the run is parked until a
// person has looked.
func (r *run) allowed(ctx context.Context, how, reason string) error {
	if r.o.c.Guard == nil {
		return nil
	}
	return r.ask(ctx, r.removal(how, reason), &r.link.Held)
}

// ask asks about an act, and notes whether it is held.
func (r *run) ask(ctx context.Context, act guard.Act, held *bool) error {
	a, err := r.o.c.Guard.Ask(ctx, act)
	if err != nil {
		return err
	}
	if *held = !a.Go(); *held {
		r.step(StepChange, false, "%s: %s", a.Code(), a.Text)
		return &task.Park{Reason: a.Code() + ": " + a.Text}
	}
	return nil
}

// doors stands for the values of the attributes that open doors, as they are wanted.
func (r *run) doors() map[string]string {
	if len(r.t.Sensitive) == 0 {
		return nil
	}
	m := map[string]string{}
	for _, name := range r.t.Sensitive {
		m[name] = digest(connector.Account{Attributes: map[string][]string{name: slices.Sorted(slices.Values(r.acct.Attributes[name]))}})
	}
	return m
}

// opens asks whether the account may have other values of attributes that open
// doors than it has. Of what was never sent nothing can be said.
func (r *run) opens(ctx context.Context) error {
	if r.o.c.Guard == nil {
		return nil
	}
	for name, now := range r.doors() {
		if was, known := r.link.Doors[name]; !known || was == now {
			continue
		}
		if err := r.ask(ctx, r.sensitive(name), &r.link.HeldDoor); err != nil {
			return err
		}
	}
	return nil
}

func (r *run) sensitive(name string) guard.Act {
	return guard.Act{Scope: guard.Target(r.t.ID), Kind: guard.Sensitive, Subject: r.userID, Object: name, How: "change", Reason: "the attribute " + name + " changes", Since: r.link.Since, Asked: r.link.Meant}
}

func (r *run) removal(how, reason string) guard.Act {
	return guard.Act{Scope: guard.Target(r.t.ID), Kind: guard.Removal, Subject: r.userID, How: how, Reason: reason, Since: r.link.Since, Asked: r.link.Asked}
}

// leave does what the target's policy says about an account whose user is out
// of scope or gone: it is disabled, and where it is to be deleted, that is done
// when its time has come. Whether it is disabled already is for the target to
// say: the answer to an earlier attempt to enable it may have been lost.
func (r *run) leave(ctx context.Context) error {
	caps := connector.CapsOf(r.t.Connector)
	gone := connector.Account{ExternalID: r.userID, UserName: r.link.UserName, Version: r.user.Version}
	if r.link.RemoteID == "" && caps.NoFind {
		// What was begun may have arrived: it is told that it is over.
		err := r.call(ctx, func(ctx context.Context) error {
			id, err := r.t.Connector.Sync(ctx, gone, "")
			if err == nil {
				r.link.RemoteID, r.link.Intent = id, time.Time{}
			}
			return err
		})
		if err != nil {
			r.step(StepChange, false, "%v", err)
			return err
		}
	}
	if r.link.RemoteID == "" {
		var there []connector.Account
		err := r.call(ctx, func(ctx context.Context) (err error) {
			there, err = r.t.Connector.Find(ctx, gone)
			return err
		})
		if err != nil {
			r.step(StepMatch, false, "%v", err)
			return err
		}
		for _, a := range there {
			if a.ExternalID == r.userID {
				r.link.RemoteID, r.link.Intent = a.ID, time.Time{}
			}
		}
		if r.link.RemoteID == "" {
			r.step(StepMatch, true, "no account is there")
			return r.nothingYet()
		}
	}
	now := r.o.c.Now()
	if r.link.Left.IsZero() {
		r.link.Left = now
	}
	if r.t.Leave == Delete && (r.t.DeleteAfter == 0 || !now.Before(r.link.Left.Add(r.t.DeleteAfter))) {
		if err := r.allowed(ctx, "delete", "the user has left the scope of the target"); err != nil {
			return err
		}
		err := r.call(ctx, func(ctx context.Context) error { return r.t.Connector.Remove(ctx, r.link.RemoteID) })
		if err != nil {
			r.step(StepChange, false, "%v", err)
			return err
		}
		r.did = "deleted"
		r.step(StepChange, true, "the account is deleted")
		r.link.forget()
		return nil
	}
	if r.t.Leave == Delete && caps.NoDisable { // what can not be disabled waits for its time
		r.step(StepChange, true, "the account can not be disabled and stays until it is deleted")
		return nil
	}
	if !r.link.Disabled {
		if err := r.allowed(ctx, "disable", "the user has left the scope of the target"); err != nil {
			return err
		}
	}
	var id string
	err := r.call(ctx, func(ctx context.Context) (err error) {
		id, err = r.t.Connector.Sync(ctx, gone, r.link.RemoteID)
		return err
	})
	switch {
	case is(err, connector.Gone):
		r.step(StepChange, true, "the account is not there any more")
		r.link.forget()
		return nil
	case err != nil:
		r.step(StepChange, false, "%v", err)
		return err
	}
	if !r.link.Disabled {
		r.did = "disabled"
	}
	r.step(StepChange, true, "the account is disabled")
	r.link.RemoteID, r.link.Disabled, r.link.Digest = id, true, ""
	return nil
}

// lateCreation is how long after a creation was begun a target may still carry
// it out.
const lateCreation = time.Minute

// nothingYet ends a run that found no account where a creation was begun that
// is not wanted any more. One that is under way would leave an account behind
// that nobody takes away; so there is another look when that can not be.
func (r *run) nothingYet() error {
	if wait := lateCreation - r.o.c.Now().Sub(r.link.Intent); wait > 0 && wait <= lateCreation {
		return &task.Retry{After: wait, Reason: "a creation was begun a moment ago and may still happen"}
	}
	r.link.forget()
	return nil
}

func is(err error, c connector.Class) bool { return err != nil && connector.ClassOf(err) == c }
