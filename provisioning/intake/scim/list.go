package scim

import (
	"cmp"
	"context"
	"errors"
	"iter"
	"net/http"
	"slices"

	"github.com/gatehouse-sso/gatehouse/provisioning"
	"github.com/gatehouse-sso/gatehouse/provisioning/client"
	rfc "github.com/gatehouse-sso/gatehouse/provisioning/scim"
)

// maxScan is how many users, or groups, are looked at for a filter that no
// index answers.
const maxScan = 1000

var errTooMany = rfc.Errorf(http.StatusBadRequest, rfc.TooMany,
	"only userName, displayName of groups, externalId and id are looked up; for another filter there are more than %d to look at: add a comparison of one of these with eq", maxScan)

// A kind is what users and groups have in common when a page of them is made.
type kind[T any] struct {
	id   func(T) string
	sees func(T) bool // whether it is there for the client
	// try makes what a filter is tried on, make what is answered.
	try, make func(context.Context, T) (*rfc.Resource, error)

	// How the Directory finds them; name is what SCIM calls their name.
	name       string
	all        func(ctx context.Context, after string, limit int) iter.Seq2[T, error]
	byID       func(ctx context.Context, id string) (T, error)
	byName     func(ctx context.Context, userStore, name string) (T, error)
	byExternal func(ctx context.Context, userStore, externalID string) iter.Seq2[T, error]
	search     func(ctx context.Context, userStore, prefix, after string, limit int) iter.Seq2[T, error]
}

// candidates are those who can match a filter: whom an index finds, else all of
// the client's stores.
func (k kind[T]) candidates(ctx context.Context, c *client.Client, f rfc.Filter) iter.Seq2[T, error] {
	if f == nil {
		return k.all(ctx, "", 0)
	}
	if id, ok := rfc.Equal(f, "id"); ok {
		return one(k.byID(ctx, id))
	}
	if name, ok := rfc.Equal(f, k.name); ok {
		userStore, rest := own(c, name)
		return one(k.byName(ctx, userStore, rest))
	}
	ext, byExternal := rfc.Equal(f, "externalId")
	return each(c.UserStores, func(userStore string) iter.Seq2[T, error] {
		if byExternal {
			return k.byExternal(ctx, userStore, ext)
		}
		return k.search(ctx, userStore, "", "", maxScan+1)
	})
}

// page makes the page that a query asks for, ordered by ID, which is the order
// of creation.
func (k kind[T]) page(ctx context.Context, c *client.Client, q rfc.Query) (rfc.Page, error) {
	var p rfc.Page
	var found []T
	looked := 0
	for v, err := range k.candidates(ctx, c, q.Filter) {
		if err != nil {
			return rfc.Page{}, answer(err, "")
		}
		if looked++; q.Filter != nil && looked > maxScan {
			return rfc.Page{}, errTooMany
		}
		if !k.sees(v) {
			continue
		}
		if q.Filter == nil { // ordered by ID already
			if p.Total++; p.Total >= q.Start && len(found) < q.Count {
				found = append(found, v)
			}
			continue
		}
		r, err := k.try(ctx, v)
		if err != nil {
			return rfc.Page{}, err
		}
		if q.Filter.Match(&r.Object) {
			found = append(found, v)
		}
	}
	if q.Filter != nil {
		slices.SortFunc(found, func(a, b T) int { return cmp.Compare(k.id(a), k.id(b)) })
		p.Total = len(found)
		from := min(q.Start-1, len(found))
		found = found[from : from+min(q.Count, len(found)-from)]
	}
	for _, v := range found {
		r, err := k.make(ctx, v)
		if err != nil {
			return rfc.Page{}, err
		}
		p.Resources = append(p.Resources, r)
	}
	return p, nil
}

// reads reports whether a filter reads an attribute.
func reads(f rfc.Filter, attr string) bool {
	return slices.ContainsFunc(rfc.Paths(f), func(p rfc.Path) bool { return p.Name == attr })
}

// own is where a name is looked for. One with a slash in it that is no store's
// may have come by a sign-in; it is in the client's own store.
func own(c *client.Client, name string) (userStore, rest string) {
	userStore, rest, err := c.Split(name)
	if err != nil && len(c.UserStores) > 0 {
		return c.UserStores[0], name
	}
	return userStore, rest
}

// one is a sequence of what was found, if it was.
func one[T any](v T, err error) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		if !errors.Is(err, provisioning.ErrNotFound) {
			yield(v, err)
		}
	}
}

// each is what there is of each, one after the other.
func each[T any](list []string, of func(string) iter.Seq2[T, error]) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for _, x := range list {
			for v, err := range of(x) {
				if !yield(v, err) {
					return
				}
			}
		}
	}
}
