// Package federation is the vocabulary of signing people in somewhere else.
//
// It knows protocols' common ground and nothing else: not users, not sessions,
// not services. What an identity provider said about one person at one sign-in
// is an [Identity]: evidence, not a user. Whoever speaks to an identity provider
// implements [Provider]; package oidc and package saml do.
//
//	gateway            Provider                      identity provider
//	   │  Begin(Login)    │                                   │
//	   ├─────────────────▶│  Challenge, Pending               │
//	   │◀─────────────────┤                                   │
//	   │  Challenge: redirect or self-posting form            │
//	   ├──────────────────────────────────(browser)──────────▶│
//	   │◀─────────────────────────────────(browser)───────────┤
//	   │  Finish(answer, Pending)                             │
//	   ├─────────────────▶│  Identity, or a Refusal           │
//
// A Provider keeps no state about sign-ins in flight: what it must remember
// travels in Pending, which the gateway seals into a cookie of that browser.
// So a flood of begun sign-ins costs no memory, and an answer that comes to
// another browser than the one that asked finds no Pending and goes nowhere.
package federation

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

// A Ref names a person as one identity provider names them. Both parts are
// compared byte for byte: never folded, trimmed or joined. Never an e-mail
// address, unless an administrator chose one as the subject on purpose.
type Ref struct {
	Issuer  string `json:"issuer"`
	Subject string `json:"subject"`
}

// An Identity is what one identity provider said about one person at one
// sign-in. The zero Identity names nobody.
type Identity struct {
	Ref Ref
	// Provider is the ID of the configured provider that vouches for it.
	Provider string
	// Attributes are as asserted, under the provider's names. A JSON claim
	// that is an object is flattened with dots (realm_access.roles); a number
	// or boolean is its JSON text. A name that is present with no values is a
	// statement ("no groups"); an absent name is silence.
	Attributes map[string][]string
	Context    Context
	// Renewal is what the provider gave for asking about the person again: an
	// OIDC refresh token. Empty unless the provider is configured to ask for it.
	// Never shown, never logged.
	Renewal string
	// Once lists what this sign-in used up. Whoever acts on the Identity
	// records every entry in the transaction that acts, and refuses the whole
	// sign-in with ReasonReplayed if one is there already.
	Once []Once
}

// Context is how and when the person proved who they are.
type Context struct {
	ACR string   // authentication context class (OIDC acr, SAML AuthnContextClassRef)
	AMR []string // methods, as the provider names them
	At  time.Time
	// Until ends the session at the provider's word (SAML SessionNotOnOrAfter);
	// zero: it said nothing.
	Until time.Time
	// Session is the provider's own name of its session (OIDC sid, SAML
	// SessionIndex), for single logout.
	Session string
	// Name is how the provider names the person when it ends a session: OIDC
	// sub, or the SAML NameID with its qualifiers. It need not be Ref.Subject.
	Name string
	// LogoutHint is what the provider wants back at logout: an ID token for
	// OIDC, the NameID as XML for SAML. Never shown, never logged.
	LogoutHint string
}

// Once is a thing that works one time only: an assertion ID, a flow's state.
type Once struct {
	Key   string    // unique over all providers; contains the issuer
	Until time.Time // after this it would be refused for its age anyway
}

// A Login is what the gateway wants of a sign-in.
type Login struct {
	ACR    []string      // any of these contexts will do; empty: the provider's choice
	Fresh  bool          // ask the person again, even if the provider knows them
	MaxAge time.Duration // at most this long ago; zero: no limit
	Hint   string        // who it probably is
	All    bool          // say all there is to say about the person, also what nobody reads
}

// Pending is what a Provider must remember between Begin and Finish.
type Pending struct {
	// State names the flow; the answer carries it back (state, RelayState).
	State string            `json:"s"`
	Began time.Time         `json:"t"`
	Login Login             `json:"l,omitzero"`
	Keep  map[string]string `json:"k,omitempty"` // the provider's own: nonce, verifier, request ID
}

// A Challenge sends the browser to the identity provider: a redirect, or, if
// Form is not nil, a form that posts itself to URL.
type Challenge struct {
	URL  *url.URL
	Form url.Values
}

// A Provider speaks to one identity provider. Its methods may be called at
// the same time from many goroutines.
type Provider interface {
	// Begin makes the challenge. It may fetch the provider's metadata, never
	// more; an error that is ErrUnavailable means: not now.
	Begin(ctx context.Context, l Login) (Challenge, Pending, error)
	// Finish checks the answer that came to the provider's callback address.
	// Every error is a *Refusal; the Identity is then zero.
	Finish(r *http.Request, p Pending) (Identity, error)
}

// StateOf reads from an answer, before anything in it is believed, which flow
// it claims to belong to: the parameter RelayState or state. It is an error if
// it is missing, given twice, or longer than 512 bytes. For a POST only the
// body counts, for a GET only the query; the caller has limited the body.
func StateOf(r *http.Request) (string, error) {
	vals := r.URL.Query()
	if r.Method == http.MethodPost {
		if err := r.ParseForm(); err != nil {
			return "", Refuse(ReasonMalformed, "the answer's form can not be read: %w", err)
		}
		vals = r.PostForm
	}
	got := append(append([]string(nil), vals["state"]...), vals["RelayState"]...)
	if len(got) != 1 || got[0] == "" || len(got[0]) > 512 {
		return "", Refuse(ReasonStateUnknown, "the answer names no sign-in that this browser began")
	}
	return got[0], nil
}

// ErrRefused is what every Refusal is, by errors.Is.
var ErrRefused = errors.New("sign-in refused")

// ErrGone: the identity provider says, in so many words, that what it gave for a
// person is not good any more. That it can not be reached, or fails, is not this.
var ErrGone = errors.New("the identity provider does not vouch for the person any more")

// ErrUnavailable: the identity provider can not be reached or gives rubbish;
// trying later may help. A Refusal with ReasonUnavailable is it, by errors.Is.
var ErrUnavailable = errors.New("identity provider unavailable")

// A Refusal says why an answer was not accepted.
type Refusal struct {
	Code   string // a reason code, stable, from Reasons
	Detail string // for the log and the administrator; no secrets, no assertion text
	Err    error
}

// Refuse makes a Refusal; the arguments are as for fmt.Errorf.
func Refuse(code, format string, args ...any) *Refusal {
	err := fmt.Errorf(format, args...)
	return &Refusal{Code: code, Detail: err.Error(), Err: errors.Unwrap(err)}
}

func (r *Refusal) Error() string { return r.Code + ": " + r.Detail }

// Reason is the reason code.
func (r *Refusal) Reason() string { return r.Code }

// Unwrap gives the cause.
func (r *Refusal) Unwrap() error { return r.Err }

// Is reports ErrRefused for all, ErrUnavailable for ReasonUnavailable.
func (r *Refusal) Is(target error) bool {
	return target == ErrRefused || target == ErrUnavailable && r.Code == ReasonUnavailable
}

// Reason codes that both protocols share; each protocol's own are in its package.
const (
	ReasonStateUnknown = "login.state_unknown"
	ReasonStateExpired = "login.state_expired"
	ReasonReplayed     = "login.replayed"
	ReasonMalformed    = "login.malformed"
	ReasonTooLarge     = "login.too_large"
	ReasonUnavailable  = "login.provider_unavailable"
	ReasonDenied       = "login.provider_refused" // the provider said no: cancelled, not allowed there
	ReasonClaims       = "login.claims"           // what it said about the person can not be used
	ReasonTooMany      = "login.too_many_values"
	ReasonStepUp       = "login.context_too_weak"
)

// Reasons says what each code of this package means, in one sentence for an
// administrator. The reference table is made from it.
var Reasons = map[string]string{
	ReasonStateUnknown: "The answer belongs to no sign-in that this browser began, or that sign-in is one of more than twenty.",
	ReasonStateExpired: "The sign-in was begun more than ten minutes ago.",
	ReasonReplayed:     "The same answer was used before.",
	ReasonMalformed:    "The answer can not be read.",
	ReasonTooLarge:     "The answer is larger than what is accepted.",
	ReasonUnavailable:  "The identity provider can not be reached, or what it publishes about itself can not be used.",
	ReasonDenied:       "The identity provider itself refused the sign-in.",
	ReasonClaims:       "What the identity provider said about the person is missing, empty or of the wrong kind.",
	ReasonTooMany:      "The identity provider sent more groups or values than what is accepted.",
	ReasonStepUp:       "The person signed in with a weaker method than what was asked for.",
}
