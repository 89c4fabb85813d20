package connector

import (
	"context"
	"errors"
	"iter"
)

// What follows is what a [Connector] may be able to do besides. Whoever needs it
// asks the connector by a type assertion, and does without where it says no.

// A Getter reads one account by the target's ID of it. That it is not there is
// an error of class Gone, and nothing else is: no page, no empty answer, no
// failure. So a Getter can confirm that an account is missing which a walk did
// not yield.
type Getter interface {
	Get(ctx context.Context, id string) (Account, error)
}

// A Group is what a target holds, or should hold, about a group. Who is in it is
// no part of it: that is asked and changed by [Groups] in pieces of any size.
type Group struct {
	ID         string // the target's own, empty if not known
	ExternalID string // our group's ID: random, immutable, never reused
	Name       string
}

// Groups is a Connector that also keeps groups. As there, every method may be
// repeated and then changes nothing more, and every error is an *Error. Of
// class Gone is only that the group itself is not there.
type Groups interface {
	// SyncGroup makes the group agree with want, and leaves its members alone.
	// have is the target's ID of it; empty: create it, or take the one that has
	// the external ID of want.
	SyncGroup(ctx context.Context, want Group, have string) (id string, err error)
	// FindGroup returns those groups that want might already be, by external
	// ID, then by name; at most a handful.
	FindGroup(ctx context.Context, want Group) ([]Group, error)
	// RemoveGroup deletes the group, not its members' accounts; that it is not
	// there is success.
	RemoveGroup(ctx context.Context, have string) error
	// ChangeMembers puts accounts, by the target's IDs, into the group and takes
	// others out. That one is in it already, or is not any more, is success. It
	// gets at most MaxMembers of both together.
	ChangeMembers(ctx context.Context, group string, add, remove []string) error
	// Members yields the target's IDs of the accounts that are in the group. It
	// stops at the first error.
	Members(ctx context.Context, group string) iter.Seq2[string, error]
	// AllGroups yields all groups there are. It stops at the first error.
	AllGroups(ctx context.Context) iter.Seq2[Group, error]
}

// MaxMembers is how many members a group is changed by in one call.
const MaxMembers = 100

// A Tester asks its target something cheap that changes nothing and needs the
// right address and good credentials: nil means that both are right.
type Tester interface {
	Test(ctx context.Context) error
}

// A Prober finds out by experiment what its target can do. It may make accounts
// and groups to try with, whose names begin with ProbePrefix, and takes them
// away before it returns, also when it is cut short.
type Prober interface {
	Probe(ctx context.Context) (Report, error)
}

// ProbePrefix begins the names of what a Prober makes.
const ProbePrefix = "gatehouse-probe-"

// A Report is what a Prober found.
type Report struct {
	Caps     Caps
	Findings []Finding // in the order in which they were tried
}

// A Finding is one experiment. Its texts have no secret and no value of a person.
type Finding struct {
	What string `json:"what"` // "PATCH with a value filter"
	OK   bool   `json:"ok"`
	Text string `json:"text,omitempty"` // what follows from it, for an administrator
}

// Caps is what a target, or its connector, can not do. The zero Caps can do
// everything that Connector promises. A call that asks for what can not be done
// is an *Error of class Invalid that is ErrCanNot, never success.
type Caps struct {
	NoDisable bool `json:"no_disable,omitempty"` // an account is there and active, or is not there
	NoRemove  bool `json:"no_remove,omitempty"`  // an account can be disabled at most
	NoFind    bool `json:"no_find,omitempty"`    // it can not be asked who is there: nothing is adopted by name
	NoList    bool `json:"no_list,omitempty"`    // it can not be asked who all is there: there is no reconciliation
	NoRename  bool `json:"no_rename,omitempty"`  // a user name stays what it was
	NoGroups  bool `json:"no_groups,omitempty"`  // although the connector has Groups
	// Sink: it is told of changes and holds nothing that could be asked for. It
	// is told the whole account; an ID stands for what was last told, and Sync
	// returns another with every change.
	Sink bool `json:"sink,omitempty"`
}

// ErrCanNot: the target can not do what it is asked for.
var ErrCanNot = errors.New("the target can not do this")

// CanNot is the error of a call that asks for what a target can not do.
func CanNot(what string) *Error {
	return &Error{Class: Invalid, Text: what, Err: ErrCanNot}
}

// Able is a Connector that knows what its target can not do.
type Able interface {
	Caps() Caps
}

// CapsOf is what a connector says of itself; what says nothing can do everything
// but what it has no methods for.
func CapsOf(c Connector) (caps Caps) {
	if a, ok := c.(Able); ok {
		caps = a.Caps()
	}
	if _, ok := c.(Groups); !ok {
		caps.NoGroups = true
	}
	return caps
}
