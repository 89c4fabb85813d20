package scim

import (
	"context"
	"net/http"
)

// A Store keeps the resources of one type. Its methods may be called at the
// same time. Resources that it returns or is given are not changed afterwards.
// An error that is an *Error can be sent as it is; any other is a failure of
// the Store. What is not there is an *Error with status 404, as NotFound makes.
type Store interface {
	Get(ctx context.Context, id string) (*Resource, error)
	// List returns a page of the resources that match, in an order that does not change.
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

// A Query asks for a page.
type Query struct {
	Filter Filter // nil: all
	Start  int    // the first one, counted from 1
	Count  int    // at most; 0: only the total
	// Wants says whether the answer will have an attribute of the core schema,
	// so that a Store need not look for what nobody reads. nil: every one.
	Wants func(name string) bool
}

// A Page answers a Query.
type Page struct {
	Total     int // how many match
	Resources []*Resource
}

// NotFound is a Store's error for what is not there.
func NotFound(id string) error {
	return Errorf(http.StatusNotFound, "", "there is no resource %q", clip(id))
}
