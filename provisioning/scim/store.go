package scim

import (
	"context"
	"net/http"
)

// A Store keeps the resources of one type. Its methods may be called at the
// same time. Resources that it returns or is given are not changed afterwards.
// An error that is an *Error can be sent as it is; any other is a failure of
// the Store. What is not there is an *Error with status 404, as NotFound makes.
//
// A Store that can do more says so by being a Walker or a MemberStore too.
type Store interface {
	Get(ctx context.Context, id string) (*Resource, error)
	// List returns a page of the resources that match, by number (Start, Count),
	// in an order that does not change.
	List(ctx context.Context, q Query) (Page, error)
	// Create gives the resource an id and a meta (see ResourceType.Stamp) and keeps it. A value
	// that must be unique and is not is an *Error with status 409 and scimType uniqueness.
	Create(ctx context.Context, r *Resource) (*Resource, error)
	// Change replaces the resource by what fn makes of it, in one transaction. If fn
	// fails, or makes what Equal calls the same, nothing is written. fn may run again.
	Change(ctx context.Context, id string, fn Edit) (*Resource, error)
	// Delete removes the resource if check, called in the same transaction, agrees.
	Delete(ctx context.Context, id string, check func(*Resource) error) error
}

// An Edit makes the next state of a resource and leaves cur alone.
type Edit = func(cur *Resource) (*Resource, error)

// A Walker is a Store that sorts, and that goes on where a page ended even if
// what was on it is gone meanwhile. For a Store that is none the server reads
// what matches, within a bound, and sorts that.
type Walker interface {
	Store
	// Walk is List, and also obeys Sort and After and says what is Next. What it can not do
	// at all, such as to sort by some attribute, is errors.ErrUnsupported: then the server does it.
	Walk(ctx context.Context, q Query) (Page, error)
}

// An Ordered Walker says which of two positions of one query comes first. Then
// several walks by number with the same query, which can not be told apart, leave
// nobody out.
type Ordered interface {
	Walker
	Earlier(q Query, a, b string) bool
}

// A MemberStore is a Store of groups that changes who is in one without reading
// everybody who is. The server uses it for every PATCH that can be said so.
type MemberStore interface {
	Store
	// ChangeMembers is Change and m together, in one transaction. What fn is given has no
	// members, and what ChangeMembers returns has none; its version is the group's all the same.
	ChangeMembers(ctx context.Context, id string, fn Edit, m Members) (*Resource, error)
}

// Members is a change of who is in a group. No value is in both lists, and none
// is in one of them twice. To add who is there, and to remove who is not, changes nothing.
type Members struct {
	Add    []*Object // each with its value, the member's id
	Remove []string  // ids
}

// A Query asks for a page.
type Query struct {
	Filter Filter // nil: all
	Sort   Sort   // zero: the order of creation; only a Walker is asked for another
	Start  int    // the first one, counted from 1
	After  string // instead of Start: a Page's Next; only a Walker is asked
	Count  int    // at most; 0: only the total
	// Wants says whether the answer will have an attribute of the core schema,
	// so that a Store need not look for what nobody reads. nil: every one.
	Wants func(name string) bool
}

// WantsAttr says whether the answer will have an attribute of the core schema.
func (q Query) WantsAttr(name string) bool { return q.Wants == nil || q.Wants(name) }

// A Page answers a Query.
type Page struct {
	Total     int // how many match
	Resources []*Resource
	// Next is where what follows begins, in the Store's own words: a position, not
	// a number, so that it stays true whatever comes and goes. Empty: this is the
	// last page, or the Store is no Walker.
	Next string
}

// NotFound is a Store's error for what is not there.
func NotFound(id string) error {
	return Errorf(http.StatusNotFound, "", "there is no resource %q", clip(id))
}
