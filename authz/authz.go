// Package authz decides who may pass and what may be known about them: pure
// functions of values, with no clock, no network and no store.
//
//	Request ──▶ Policy.Decide ─────────▶ Decision (outcome, reasons, what is missing)
//	Subject ──▶ ReleasePolicy.Release ─▶ Release  (values sent, values withheld and why)
//
// Deciding and explaining are one pass: what is shown on the denial page, in
// the audit log and by "gatehouse explain" is the same slice of Reasons.
//
// # Precedence
//
// Of the rules of a service that are about this method and path, in any order:
//
//  1. An inactive user is refused, whatever the rules say.
//  2. Any deny that matches refuses.
//  3. Any allow that matches lets pass.
//  4. Nobody is signed in, and somebody who is could match an allow: Login.
//  5. An allow fails only on how or when the person signed in: StepUp.
//  6. Everything else is refused: no policy, no service, no rule.
//
// Every rule is looked at, whatever the others said.
//
// # What is not known counts against the person
//
// An expression that fails, an attribute the person has no value of, a sign-in
// that did not say how it was made: for an allow such a clause is not met, for a
// deny it is. So a deny of dept x also stops those whose dept nobody told us.
// Nobody is not a person without attributes: a deny that speaks of people
// (roles, groups, attributes, …) does not match nobody. But if an expression that
// reads user or login denies nobody, they sign in first and are judged then.
//
// # Groups and who said so
//
// Groups are the directory's own together with those that any source asserts.
// Where a Match also names identity providers, its groups and attributes are only
// what that provider asserts: "admins" of a partner is not our "admins".
//
// # Programs
//
// A program with a credential of its own is a subject with a Caller. It is no
// person who signed in: it has no roles, and of an allow that is not for anyone
// only Callers let it pass. A deny counts for it as for everybody, and what it
// has no value of is not known.
//
// # Methods and paths
//
// GET stands for HEAD too, no other method for another. A path is "/reports" for
// that path alone or "/reports/*" for it and everything below; it is compared
// byte for byte with the decoded path, never with a query. What some servers take
// for the same (post and POST, /reports/ and /reports) a deny takes for the same
// and an allow does not.
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
	UserName string // unique in its store whatever its case; without the store's prefix
	Active   bool
	// Attributes are effective values by our names; "groups" holds asserted
	// groups of all sources.
	Attributes map[string][]string
	// Proven is, of each attribute for which the person's own word counts, what
	// others say of it. It is all that rules and conditions see of those.
	Proven map[string][]string
	// Asserted is who said what: source ("idp:campus"), attribute, values.
	Asserted map[string]map[string][]string
	// Consents are what the person said, or was told, about what recipients learn:
	// recipient, attribute, then Given, Refused or Told.
	Consents map[string]map[string]string
	Groups   []string // the directory's own groups, by name, nested ones included
	Granted  []string // roles given to them by name, after a request
	Roles    []string // filled by Policy.Roles; sorted
	// Unsure are roles that depend on something that is not known: an attribute
	// that nobody told us, an expression that failed. The person does not have
	// them, but a deny counts them.
	Unsure  []string
	Version uint64 // of the user

	// Caller is what a program is called that has a credential of its own:
	// "token:NAME" or the ID of a caller; empty: a person.
	Caller string

	// Of the sign-in; empty where there is none, as for targets.
	Provider string
	ACR      string
	AMR      []string
	AuthTime time.Time
}

// SignedOut is the subject without what belongs to a sign-in: as targets see it,
// which are kept in step while nobody is there.
func (s Subject) SignedOut() Subject { return s.SignedInAs(Subject{}) }

// SignedInAs is the subject with the sign-in of another.
func (s Subject) SignedInAs(o Subject) Subject {
	s.Provider, s.ACR, s.AMR, s.AuthTime = o.Provider, o.ACR, o.AMR, o.AuthTime
	return s
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
	Code    string // reason code where Outcome is not Allow, a key of Reasons
	Reasons []Reason
	Needs   Needs
}

// Rule is the ID of the rule that made the decision: the first that applied and has
// its effect; "" if none did.
func (d *Decision) Rule() string {
	effect := Deny
	if d.Outcome == Allow {
		effect = Allow
	}
	for i := range d.Reasons {
		if r := &d.Reasons[i]; r.Matched && r.Effect == effect {
			return r.Rule
		}
	}
	return ""
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
	Kind string   // signed_in, roles, groups, users, identity_provider, user_store, attributes.NAME, acr, amr, max_age, networks, when, methods, paths
	Want []string // any of these
	Have []string // what the subject has instead, where that may be shown to them
}

// Needs is what a sign-in must bring to turn StepUp into Allow. At Login it is
// what every rule asks for that could let the person in, to ask for it at once.
type Needs struct {
	ACR    []string
	MaxAge time.Duration
	Fresh  bool // ask the person again, even if the provider knows them
}

// Reason codes of decisions.
const (
	ReasonNoRule    = "access.no_rule"
	ReasonDenied    = "access.denied_by_rule"
	ReasonLogin     = "access.login"
	ReasonStepUp    = "access.step_up"
	ReasonInactive  = "user.inactive"
	ReasonAmbiguous = "path.ambiguous"
)

// Reasons says what each code of this package means, in one sentence for an
// administrator.
var Reasons = map[string]string{
	ReasonNoRule:    "No rule of the service allows this person to do this.",
	ReasonDenied:    "A rule of the service denies it.",
	ReasonLogin:     "Nobody is signed in, and somebody who is might be allowed.",
	ReasonStepUp:    "The person would be allowed after a stronger or fresher sign-in.",
	ReasonInactive:  "The user is not active.",
	ReasonAmbiguous: "The path can be read in more than one way, and the service has rules about paths.",
}

// A Release is what one recipient learns about a subject.
type Release struct {
	Sent     []Released // in the order of the policy
	Withheld []Withheld // in the order of the policy, then what no rule names, by name
	// Naming is how a service may know the person again; Unnamed for a target,
	// which knows them by its own account.
	Naming Naming
}

// A Naming is how a recipient may know a person again.
type Naming int

// The zero Naming is Unnamed.
const (
	Unnamed  Naming = iota // not at all: nothing that goes out is a name of theirs
	Pairwise               // by a name that no other recipient knows
	Named                  // by a name that others know too
)

func (n Naming) String() string { return [...]string{"unnamed", "pairwise", "named"}[n] }

// Missing names the attributes that the recipient can not do without and does
// not get.
func (r Release) Missing() []string {
	var names []string
	for _, w := range r.Withheld {
		if w.Required {
			names = append(names, w.Attribute)
		}
	}
	return names
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
	Required  bool // the recipient can not do without it, and gets none of it
}
