package federation

import (
	"context"
	"errors"
	"net/http"
)

// A Leaver is a Provider that can end sessions, at either side's word.
//
//	gateway ── Leave ──▶ browser ──▶ identity provider     somebody signs out here
//	gateway ◀── Left ─── browser ◀── its answer
//	gateway ◀── Over ─── identity provider                 somebody signed out there
//
// Whoever calls Leave has ended the gateway's own session before: what the
// identity provider answers can add to that, and take nothing away.
type Leaver interface {
	Provider
	// Leave makes what the browser takes to the identity provider, so that it
	// ends the session that s came from. ErrNoLogout: it offers no way to.
	Leave(ctx context.Context, s SignedIn) (Challenge, Pending, error)
	// Left checks the answer to Leave. Nil: the identity provider says that the
	// session there is over. Every error is a *Refusal.
	Left(r *http.Request, p Pending) error
	// Over reads an identity provider's own word that sessions are over. Every
	// error is a *Refusal, and then the Ending is zero.
	Over(r *http.Request) (Ending, error)
}

// ErrNoLogout: the identity provider offers no way to end a session there, or
// the session holds nothing by which it could be named.
var ErrNoLogout = errors.New("the identity provider can not be asked to end its session")

// SignedIn is a session by what its identity provider said of it.
type SignedIn struct {
	Session string // Context.Session; empty: all that the person has there
	Hint    string // Context.LogoutHint
}

// An Ending is an identity provider's word that sessions are over: those of
// which everything fits that is not empty here. At least Name or Sessions is
// not.
type Ending struct {
	// Name is whose, as Context.Name has it; empty: whoever has the Sessions.
	Name string
	// Sessions are which, as Context.Session has them; empty: all of Name.
	Sessions []string
	// Once is to be recorded when the sessions have ended, and the message
	// refused with ReasonReplayed if it was there already.
	Once []Once
	// Answer makes what the browser takes back to the identity provider; nil:
	// the message did not come by a browser. ended is false if some session
	// that fits may still be there.
	Answer func(ctx context.Context, ended bool) (Challenge, error)
}
