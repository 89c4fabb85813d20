package outbox

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/gatehouse-sso/gatehouse/provisioning"
	"github.com/gatehouse-sso/gatehouse/provisioning/connector"
	"github.com/gatehouse-sso/gatehouse/provisioning/store"
	"github.com/gatehouse-sso/gatehouse/provisioning/task"
)

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

func (r *run) attempt(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, r.t.Timeout)
	defer cancel()
	if err := r.load(ctx); err != nil {
		return err
	}
	switch {
	case r.want && (r.link.begun() || r.user.Active):
		return r.agree(ctx)
	case r.link.begun() && r.t.Leave != Keep:
		return r.leave(ctx)
	}
	return nil // no account, and none should be; or nobody is to touch it
}

// load reads everything in one snapshot.
func (r *run) load(ctx context.Context) error {
	return r.o.c.Store.View(ctx, func(tx store.Tx) error {
		r.user, r.want, r.acct = provisioning.User{}, false, connector.Account{}
		link, ok, err := links.Get(tx, Key(r.t.ID, r.userID))
		if err != nil {
			return err
		}
		if r.link = link; !ok {
			r.link = Link{Target: r.t.ID, UserID: r.userID}
		}
		u, ok, err := r.o.c.Directory.UserTx(tx, r.userID)
		if err != nil || !ok {
			return err
		}
		r.user = u
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
		r.acct.Attributes = cleared(r.acct.Attributes, r.link.Sent)
		return nil
	})
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
	if r.link.RemoteID == "" {
		return r.find(ctx)
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
		return err
	case there != "":
		return r.adopt(ctx, there)
	case !r.user.Active: // nobody makes an account in order to disable it
		return r.nothingYet()
	}
	return r.create(ctx)
}

// mine is the ID of an account that is there and is, or may become, this
// user's; empty if there is none.
func (r *run) mine(ctx context.Context) (string, error) {
	if connector.CapsOf(r.t.Connector).NoFind {
		return "", nil // a second creation is for the target to see through
	}
	there, err := r.t.Connector.Find(ctx, r.acct)
	if err != nil {
		return "", err
	}
	var named []connector.Account
	for _, a := range there {
		if a.ExternalID == r.user.ID && (r.t.Adopt != Never || !r.link.Intent.IsZero()) {
			return a.ID, nil
		}
		if a.ExternalID == r.user.ID || provisioning.Fold(a.UserName) == provisioning.Fold(r.acct.UserName) {
			named = append(named, a)
		}
	}
	switch {
	case len(named) == 0:
		return "", nil
	case len(named) == 1 && named[0].ExternalID == "" && r.t.Adopt == ByUserName:
		return named[0].ID, nil
	}
	return "", &connector.Error{Class: connector.Conflict, Text: "an account with this user name or external ID is there already and is not known to be this person's"}
}

// adopt makes an account that is there already this user's: first with us, so
// that it can not be two users', then at the target. That it was taken over is
// recorded as it is claimed: who comes after a death in between only updates it.
func (r *run) adopt(ctx context.Context, id string) error {
	r.link.RemoteID, r.link.Intent = id, time.Time{}
	if err := r.note(ctx, "adopted"); err != nil {
		r.link.RemoteID = ""
		return err
	}
	return r.sync(ctx, "")
}

func (r *run) create(ctx context.Context) error {
	r.link.Intent = r.o.c.Now()
	if err := r.note(ctx, ""); err != nil {
		return err
	}
	id, err := r.t.Connector.Sync(ctx, r.acct, "")
	var ce *connector.Error
	switch {
	case err == nil:
		r.link.RemoteID = id
		r.done("created")
	case is(err, connector.Conflict):
		// It appeared between our look and our creation, or a search does not
		// find what has the name.
		r.link.Intent = time.Time{}
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
	return err
}

// sync makes the known account be as wanted, and is recorded as did.
func (r *run) sync(ctx context.Context, did string) error {
	if sent := r.sending(); len(sent) > len(r.link.Sent) {
		if err := r.note(ctx, ""); err != nil {
			return err
		}
	}
	id, err := r.t.Connector.Sync(ctx, r.acct, r.link.RemoteID)
	if err != nil {
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

// note stores what is about to be done, and records what that is, if anything.
func (r *run) note(ctx context.Context, did string) error {
	next := r.link
	next.UserName, next.Sent, next.At = r.acct.UserName, r.sending(), r.o.c.Now()
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
	for name, values := range r.acct.Attributes {
		if len(values) > 0 {
			r.link.Sent = append(r.link.Sent, name)
		}
	}
	slices.Sort(r.link.Sent)
}

// leave does what the target's policy says about an account whose user is out
// of scope or gone. Whether it is disabled already is for the target to say: the
// answer to an earlier attempt to enable it may have been lost.
func (r *run) leave(ctx context.Context) error {
	gone := connector.Account{ExternalID: r.userID, UserName: r.link.UserName, Version: r.user.Version}
	if r.link.RemoteID == "" && connector.CapsOf(r.t.Connector).NoFind {
		// What was begun may have arrived: it is told that it is over.
		id, err := r.t.Connector.Sync(ctx, gone, "")
		if err != nil {
			return err
		}
		r.link.RemoteID, r.link.Intent = id, time.Time{}
	}
	if r.link.RemoteID == "" {
		there, err := r.t.Connector.Find(ctx, gone)
		if err != nil {
			return err
		}
		for _, a := range there {
			if a.ExternalID == r.userID {
				r.link.RemoteID, r.link.Intent = a.ID, time.Time{}
			}
		}
		if r.link.RemoteID == "" {
			return r.nothingYet()
		}
	}
	if r.t.Leave == Delete {
		err := r.t.Connector.Remove(ctx, r.link.RemoteID)
		if err == nil {
			r.did = "deleted"
			r.link.forget()
		}
		return err
	}
	id, err := r.t.Connector.Sync(ctx, gone, r.link.RemoteID)
	switch {
	case is(err, connector.Gone):
		r.link.forget()
		return nil
	case err != nil:
		return err
	}
	if !r.link.Disabled {
		r.did = "disabled"
	}
	r.link.RemoteID, r.link.Disabled = id, true
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
