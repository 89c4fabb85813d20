// Package provisioning keeps people: who they are, who said so, and what
// changed.
//
// A [User] is a person we let in. What is known about them is kept as [Claim]s,
// each with its [Source], so that a sign-in can not overwrite what an
// administrator or a SCIM client said. A [Link] binds a user to what one
// identity provider calls them: (issuer, subject), byte for byte, never an
// e-mail address. A [Directory] is the only thing that writes any of it:
//
//	Login  Create  Change  Delete  groups
//	   └──────┴───────┴──┬───┴───────┘
//	                one transaction:
//	   load → fn(user) → Diff → indexes → Followers (audit, outbox, …)
//
// A change of a group's members that is too large for one transaction is written
// aside, as shifts that count for nothing, and put in force by one row, the
// group's flip:
//
//	Move ──▶ shifts, aside ──▶ flip ──▶ a task makes edges of them, and tells each member
//	             many transactions │ one │      one transaction each
//
// So it happens whole or not at all, everybody sees it at once, and its cost
// is that of what changes, whatever the size of the group.
//
// What follows from a change and is too much for one transaction (telling the
// members of a renamed group, clearing the edges of a deleted one) is a task of
// its own, TaskClear; until it has run, reads already tell the truth.
//
// It knows neither audit nor outbox: it calls Followers inside the transaction
// that changes a user, so they can not be forgotten, and can not happen for a
// change that did not. It never hears of HTTP.
package provisioning

import (
	"time"

	"github.com/gatehouse-sso/gatehouse/federation"
	"github.com/gatehouse-sso/gatehouse/provisioning/store"
)

// A User is a person we let in. The zero User is nobody and not active.
type User struct {
	ID         string // ours: random (UUIDv7), immutable, never reused
	Store      string // the user store
	UserName   string // unique in its store, whatever its case; without the store's prefix
	ExternalID string // what an inbound client calls them
	Version    uint64 // counts changes
	Active     bool
	Attributes map[string][]Claim // by our attribute name, ordered by precedence of their sources
	Grants     []Grant            // roles by name, one each, in the order of their roles
	Consents   []Consent          // by recipient and attribute, in their order
	Created    time.Time
	Modified   time.Time
}

// A Source says who made a claim or a change: "idp:campus", "scim:hr", "feed:staff", "admin", "self", "system".
type Source string

// Sources that always exist.
const (
	Admin  Source = "admin"
	Self   Source = "self"
	System Source = "system"
	Access Source = "access" // roles that were asked for and granted
)

// SourceIDP is the source of what an identity provider asserts.
func SourceIDP(provider string) Source { return Source("idp:" + provider) }

// SourceClient is the source of what an inbound client says.
func SourceClient(client string) Source { return Source("scim:" + client) }

// Kept is the attribute in which a client's claim holds, as one JSON object,
// what it sent and no attribute of ours takes. Its name can not stand in a
// configuration, so nobody releases or maps it.
const Kept = "scim:kept"

// SourceFeed is the source of what a list of people says that the gateway reads by
// itself.
func SourceFeed(source string) Source { return Source("feed:" + source) }

// A Grant is a role that somebody was given by name. Only Admin, System and
// Access change Grants.
type Grant struct {
	Role    string    `json:"role"`
	By      string    `json:"by"`                // who gave it: a user's ID, or "admin" on the machine
	Request string    `json:"request,omitempty"` // what it answers
	Since   time.Time `json:"since"`
	Until   time.Time `json:"until,omitzero"` // zero: without end
}

// Ended reports whether the grant gives nothing any more.
func (g Grant) Ended(now time.Time) bool { return !g.Until.IsZero() && !now.Before(g.Until) }

// A Claim is what one source says an attribute is. A source replaces only its
// own claims. For an attribute that has one value the first claim by
// precedence is effective (administrators first); for one that has several, the
// union.
type Claim struct {
	Source Source    `json:"source"`
	Values []string  `json:"values"`
	At     time.Time `json:"at"` // since when this source has said this
	// Multi marks an attribute that has several values although its name is
	// not one of those that always do. The Directory sets it, as configured,
	// on every user that it hands out; it is not stored.
	Multi bool `json:"-"`
}

// A Link binds a Ref to a user.
type Link struct {
	Ref      federation.Ref
	Provider string
	UserID   string
	Seen     time.Time // when it was made; not moved by each sign-in
}

// A Group of the directory's own. Membership is edges, never an array.
// Groups asserted at a sign-in are not Groups but claims of the user.
type Group struct {
	ID, Store, Name, ExternalID string
	Version                     uint64 // counts changes of the group itself
	Moves                       uint64 // counts changes of who is directly in it
	Created                     time.Time
	Modified                    time.Time // the group itself, or who is in it
}

// A Delta is the difference between a user before and after one change. The
// zero Delta is no difference.
type Delta struct {
	UserID           string
	By               Source
	At               time.Time
	Created, Deleted bool
	Fields           []Field  // ordered by name
	Joined, Left     []string // IDs of the directory's own groups
	Linked           []federation.Ref
	Unlinked         []federation.Ref
	// Regrouped are groups of the user, nested ones included, that were
	// renamed or put into or taken out of another group.
	Regrouped []string
	// Flow is the support code of the request that caused it; may be empty.
	Flow string
	// Actor is the user who acted as Admin; empty: that is not known, or By is another.
	Actor string
}

// A Field that differs: an attribute's effective values, or one of the names
// user_name, external_id, active, store, granted. Old and New are equal where only who
// said it changed, not what.
type Field struct {
	Name     string
	Old, New []string
}

// Empty reports that nothing differs.
func (d Delta) Empty() bool {
	return !d.Created && !d.Deleted && len(d.Fields) == 0 && len(d.Joined) == 0 && len(d.Left) == 0 &&
		len(d.Linked) == 0 && len(d.Unlinked) == 0 && len(d.Regrouped) == 0
}

// A Follower learns of a change inside the transaction that makes it, and may
// write there; its error undoes all. It may be called again for the same
// change, so it touches nothing but tx. At a creation before is zero, at a
// deletion after is.
type Follower func(tx store.Tx, before, after User, d Delta) error

// Noted is an error by which a Follower undoes a change that must not be
// forgotten: Note is called in a transaction of its own after that.
type Noted interface {
	error
	Note(tx store.Tx) error
}
