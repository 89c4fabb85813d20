package outbox

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gatehouse-sso/gatehouse/provisioning/audit"
	"github.com/gatehouse-sso/gatehouse/provisioning/connector"
	"github.com/gatehouse-sso/gatehouse/provisioning/store"
	"github.com/gatehouse-sso/gatehouse/provisioning/task"
)

// A Case is a question that only a person can answer: an account is there that
// may be the user's, and nothing proves it. Two people with one name must never
// share an account.
type Case struct {
	Target     string      `json:"target"`
	UserID     string      `json:"user"`
	Candidates []Candidate `json:"candidates"`
	At         time.Time   `json:"at"` // first seen
}

// A Candidate is an account that may be the user's.
type Candidate struct {
	RemoteID string `json:"remote"`
	SameName bool   `json:"same_name,omitempty"`
	Foreign  bool   `json:"foreign,omitempty"` // it bears somebody's external ID, and not this user's
	Owner    string `json:"owner,omitempty"`   // our user whose account it is known to be
}

var cases = store.Table[Case]{Name: "account_case", Key: func(c Case) string { return Key(c.Target, c.UserID) }}

// An Answer to a Case.
type Answer string

// Answers. A person may say that one of the candidates is the user's; that none
// is, so that another is to be made; or that the user is to have no account there.
const (
	AnswerAdopt  Answer = "adopt"
	AnswerCreate Answer = "create"
	AnswerIgnore Answer = "ignore"
)

// Errors of Resolve.
var (
	ErrNoCase      = errors.New("outbox: there is no such case")
	ErrNoCandidate = errors.New("outbox: this account is not among the candidates, or is another user's")
)

// Cases lists what waits for a person, of one target or of all, those after a
// Key, at most limit (0: all).
func (o *Outbox) Cases(ctx context.Context, target, after string, limit int) (list []Case, err error) {
	err = o.c.Store.View(ctx, func(tx store.Tx) error {
		list = list[:0]
		for c, err := range cases.All(tx, after, 0) {
			if err != nil {
				return err
			}
			if target == "" || c.Target == target {
				list = append(list, c)
			}
			if limit > 0 && len(list) == limit {
				break
			}
		}
		return nil
	})
	return list, err
}

// Resolve answers a case; by is who says so. The account is taken care of by the
// user's task, which is added.
func (o *Outbox) Resolve(ctx context.Context, target, userID string, a Answer, remoteID, by string) error {
	err := o.c.Store.Update(ctx, func(tx store.Tx) error {
		c, ok, err := cases.Get(tx, Key(target, userID))
		if err != nil {
			return err
		}
		if !ok {
			return ErrNoCase
		}
		l, ok, err := links.Get(tx, Key(target, userID))
		if err != nil {
			return err
		}
		if !ok {
			l = Link{Target: target, UserID: userID}
		}
		l.Invalid, l.Answer, l.Error, l.At = 0, a, "", o.c.Now()
		switch a {
		case AnswerAdopt:
			if !candidate(c, remoteID) {
				return ErrNoCandidate
			}
			l.RemoteID, l.Intent, l.Answer = remoteID, time.Time{}, ""
			if err := record(tx, o.c.Audit, audit.Event{Kind: "account.adopted", UserID: userID, Target: target, By: by}); err != nil {
				return err
			}
		case AnswerCreate, AnswerIgnore:
		default:
			return fmt.Errorf("%q is no answer to a case", a)
		}
		if err := links.Put(tx, l); errors.Is(err, store.ErrConflict) {
			return ErrNoCandidate
		} else if err != nil {
			return err
		}
		if err := cases.Delete(tx, Key(target, userID)); err != nil {
			return err
		}
		if err := record(tx, o.c.Audit, audit.Event{Kind: "account.case." + string(a), UserID: userID, Target: target, By: by}); err != nil {
			return err
		}
		return task.Add(tx, Kind, Key(target, userID), o.c.Now())
	})
	if err != nil {
		return fmt.Errorf("resolve the case of %s at %s: %w", userID, target, err)
	}
	return nil
}

func candidate(c Case, remoteID string) bool {
	for _, x := range c.Candidates {
		if x.RemoteID == remoteID && remoteID != "" && x.Owner == "" {
			return true
		}
	}
	return false
}

func record(tx store.Tx, to func(store.Tx, audit.Event) error, e audit.Event) error {
	if to == nil {
		return nil
	}
	return to(tx, e)
}

// disputed is the error of a run that needs a person.
type disputed struct {
	candidates []connector.Account
}

const disputeText = "an account with this user name or external ID is there already and is not known to be this person's"

func (d *disputed) Error() string { return "conflict: " + disputeText }

// Unwrap makes it an error of the target, of class Conflict.
func (d *disputed) Unwrap() error {
	return &connector.Error{Class: connector.Conflict, Text: disputeText}
}

// case is what is kept of the dispute, with what is known of the candidates.
func (d *disputed) of(tx store.Tx, r *run) (Case, error) {
	c := Case{Target: r.t.ID, UserID: r.userID, At: r.o.c.Now()}
	if old, ok, err := cases.Get(tx, Key(c.Target, c.UserID)); err != nil {
		return c, err
	} else if ok {
		c.At = old.At
	}
	for _, a := range d.candidates {
		x := Candidate{RemoteID: a.ID, SameName: sameName(a.UserName, r.acct.UserName), Foreign: a.ExternalID != "" && a.ExternalID != r.userID}
		owner, ok, err := links.Lookup(tx, "remote", string(store.Key(r.t.ID, a.ID)))
		if err != nil {
			return c, err
		}
		if ok {
			x.Owner = owner.UserID
		}
		c.Candidates = append(c.Candidates, x)
	}
	return c, nil
}
