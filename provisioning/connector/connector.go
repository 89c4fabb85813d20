// Package connector is the vocabulary of writing accounts into other systems.
//
// A system that we provision out to is a target; what it holds about a user is
// an [Account]; what speaks to it is a [Connector]. Connectors say what must be
// true, not what to send: Sync makes the target agree with an Account and may
// be repeated. Whether an account that is already there may be adopted, when to
// try again and what to do about an error is decided in package outbox.
package connector

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"
)

// An Account is what a target holds, or should hold, about a user.
type Account struct {
	ID         string // the target's own, empty if not known
	ExternalID string // our user's ID: random, immutable, never reused
	UserName   string
	Active     bool
	Version    uint64 // of the user, as wanted: for who tells of changes, no part of what is held
	// Attributes under the target's names (for SCIM: attribute paths such as
	// name.givenName or emails[type eq "work"].value). Sync touches nothing
	// else at the target; a name with no values is cleared.
	Attributes map[string][]string
}

// A Connector speaks to one target. Every method may be repeated with the same
// arguments and then changes nothing more. Methods may be called at the same
// time from many goroutines, never twice at once for the same account.
// Every error is an *Error.
type Connector interface {
	// Sync makes the target agree with want. have is the target's ID of the
	// account; empty: create it. It returns the target's ID, also together
	// with an error where the ID is known. Disable is want.Active == false.
	Sync(ctx context.Context, want Account, have string) (id string, err error)
	// Find returns those accounts at the target that want might already be,
	// by external ID, then by user name; at most a handful.
	Find(ctx context.Context, want Account) ([]Account, error)
	// Remove deletes the account; that it is not there is success.
	Remove(ctx context.Context, have string) error
	// Accounts yields all there are. It stops at the first error.
	Accounts(ctx context.Context) iter.Seq2[Account, error]
}

// Class says what can be done about an error.
type Class int

// The zero Class is Transient: trying again is always safe, giving up is not.
const (
	Transient Class = iota // later may help: dial, timeout, 408, 425, 429, 5xx
	Auth                   // our credentials: 401, 403, invalid_grant
	Gone                   // the account is not there any more
	Conflict               // something else has the name: 409, 412
	Invalid                // the target will never take this: 400, 422
	Route                  // this is not the interface we think it is: 404 without an account, 405, HTML
)

func (c Class) String() string {
	return [...]string{"transient", "auth", "gone", "conflict", "invalid", "route"}[c]
}

// An Error of a target, with its class. Text may be shown to an administrator:
// connectors put no secret and no personal value into it.
type Error struct {
	Class Class
	// Ambiguous: it may or may not have happened (timeout after sending, a
	// reset, a 5xx). Search before a second create.
	Ambiguous bool
	// After is what the target asked for (Retry-After), already bounded by the
	// connector to [0, 24 h]; zero: nothing.
	After time.Duration
	// Throttled: the target says that it is asked too often (429, a quota). It is
	// Transient, nothing happened, and it is no fault of what was asked.
	Throttled bool
	// Over: the target wants nothing more, until an administrator says otherwise.
	Over bool
	Text string
	Err  error
}

func (e *Error) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("%s: %s: %v", e.Class, e.Text, e.Err)
	}
	return fmt.Sprintf("%s: %s", e.Class, e.Text)
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// ClassOf is the class of err; what is not an *Error is Transient.
func ClassOf(err error) Class {
	var e *Error
	if errors.As(err, &e) {
		return e.Class
	}
	return Transient
}
