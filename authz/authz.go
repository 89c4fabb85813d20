// Package authz decides who may pass and what may be known about them: pure
// functions of values, with no clock, no network and no store.
//
//	Request ──▶ Policy.Decide ─────────▶ Decision (outcome, reasons, what is missing)
//	Subject ──▶ ReleasePolicy.Release ─▶ Release  (values sent, values withheld and why)
//
// Deciding and explaining are one pass: what is shown on the denial page, in
// the audit log and by "gatehouse explain" is the same slice of Reasons. Any
// matching deny wins; nothing matches: Deny. An error in an expression counts
// against the person.
package authz

import (
	"net/netip"
	"time"
)

// A Subject is what policy sees of a user and their sign-in. The zero Subject
// is nobody.
type Subject struct {
	ID       string // user ID; empty: nobody is signed in
	Store    string
	UserName string
	Active   bool
	// Attributes are effective values by our names; "groups" holds asserted
	// groups of all sources.
	Attributes map[string][]string
	// Asserted is who said what: source ("idp:campus"), attribute, values.
	Asserted map[string]map[string][]string
	Groups   []string // the directory's own groups, by name, nested ones included
	Roles    []string // filled by Policy.Roles; sorted
	Version  uint64   // of the user

	// Of the sign-in; empty where there is none, as for targets.
	Provider string
	ACR      string
	AMR      []string
	AuthTime time.Time
}

// A Request is what is to be decided.
type Request struct {
	Subject Subject
	Service string
	Method  string
	Path    string // canonical, the path that is forwarded
	From    netip.Addr
	Now     time.Time
}

// Outcome of a decision.
type Outcome int

// The zero Outcome is Deny.
const (
	Deny   Outcome = iota
	Login          // somebody may; nobody is signed in
	StepUp         // this person may, after a stronger or fresher sign-in
	Allow
)

func (o Outcome) String() string { return [...]string{"deny", "login", "step_up", "allow"}[o] }

// A Decision with its reasons. The zero Decision is Deny.
type Decision struct {
	Outcome Outcome
	Code    string // reason code where Outcome is not Allow: access.no_rule, access.denied_by_rule, access.step_up, user.inactive
	Reasons []Reason
	Needs   Needs
}

// A Reason is what one rule contributed, in the order of the rules.
type Reason struct {
	Rule string // ID
	Pos  string // file:line:col
	Text string // the rule's own words for people
	// Effect of the rule: Allow or Deny; Matched: whether it applied.
	Effect  Outcome
	Matched bool
	Unmet   []Clause // why it did not match; empty if it did
	Err     string   // an expression that could not be evaluated; for administrators
}

// A Clause of a rule that was not met.
type Clause struct {
	Kind string   // roles, groups, users, attributes.NAME, acr, amr, max_age, methods, paths, networks, when, signed_in …
	Want []string // any of these
	Have []string // what the subject has instead, where that may be shown to them
}

// Needs is what a sign-in must bring to turn StepUp into Allow.
type Needs struct {
	ACR    []string
	MaxAge time.Duration
	Fresh  bool
}

// A Release is what one recipient learns about a subject.
type Release struct {
	Sent     []Released // in the order of the policy
	Withheld []Withheld
}

// Released is one attribute as its recipient gets it.
type Released struct {
	Attribute string   // ours
	Name      string   // what the recipient calls it
	Values    []string // never empty
	Purpose   string
	Basis     string
}

// Withheld is an attribute that did not go out, or some of its values.
type Withheld struct {
	Attribute string
	Values    int // how many values stayed back; 0: the subject has none
	Why       string
}
