package scim

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"iter"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/gatehouse-sso/gatehouse/provisioning"
	"github.com/gatehouse-sso/gatehouse/provisioning/client"
	rfc "github.com/gatehouse-sso/gatehouse/provisioning/scim"
)

// maxScan is how many users, or groups, are looked at for a filter that no
// index answers.
const maxScan = 1000

var errTooMany = rfc.Errorf(http.StatusBadRequest, rfc.TooMany,
	"what is looked up is id, userName, displayName of groups, externalId, emails.value, members, and meta.lastModified with gt or ge; for another filter there are more than %d to look at: add one of these", maxScan)

type seq[T any] = iter.Seq2[T, error]

// A kind is what users and groups have in common when those that match a filter
// are looked for.
type kind[T any] interface {
	id(T) string
	sees(T) bool // whether it is there for the client
	// try makes what a filter is tried on, and finish makes of it what is answered.
	try(context.Context, T) (*rfc.Resource, error)
	finish(context.Context, []T, []*rfc.Resource) error

	// How the Directory finds them; name is what SCIM calls their name.
	name() string
	byID(ctx context.Context, id string) (T, error)
	byName(ctx context.Context, userStore, name string) (T, error)
	byExternal(ctx context.Context, userStore, externalID string) seq[T]
	all(ctx context.Context, userStore string) seq[T]
	more(ctx context.Context, f rfc.Filter, userStore string) (seq[T], bool) // further indexes
}

// A search makes the page of those that the client sees and a filter matches; nil
// matches all.
type search[T any] struct {
	kind kind[T]
	c    *client.Client
	q    rfc.Query

	looked int
	tried  []*rfc.Resource
	found  map[string]T // by ID
}

// page looks at those who can match the filter: whom an index finds, else all of the
// client's stores.
func (s *search[T]) page(ctx context.Context) (rfc.Page, error) {
	if id, ok := rfc.Equal(s.q.Filter, "id"); ok {
		v, err := s.kind.byID(ctx, id)
		return s.one(ctx, v, err)
	}
	if name, ok := rfc.Equal(s.q.Filter, s.kind.name()); ok {
		userStore, rest := own(s.c, name)
		v, err := s.kind.byName(ctx, userStore, rest)
		return s.one(ctx, v, err)
	}
	ext, byExternal := rfc.Equal(s.q.Filter, "externalId")
	return s.among(ctx, each(s.c.UserStores, func(userStore string) seq[T] {
		if byExternal {
			return s.kind.byExternal(ctx, userStore, ext)
		}
		if found, ok := s.kind.more(ctx, s.q.Filter, userStore); ok {
			return found
		}
		return s.kind.all(ctx, userStore)
	}))
}

// one makes the page of the only one who can match, if there is one.
func (s *search[T]) one(ctx context.Context, v T, err error) (rfc.Page, error) {
	switch {
	case errors.Is(err, provisioning.ErrNotFound):
	case err != nil:
		return rfc.Page{}, answer(err, "")
	default:
		if err := s.try(ctx, v); err != nil {
			return rfc.Page{}, err
		}
	}
	return s.cut(ctx)
}

// among makes the page of candidates.
func (s *search[T]) among(ctx context.Context, candidates seq[T]) (rfc.Page, error) {
	for v, err := range candidates {
		if err != nil {
			return rfc.Page{}, answer(err, "")
		}
		if s.looked++; s.q.Filter != nil && s.looked > maxScan {
			return rfc.Page{}, errTooMany
		}
		if err := s.try(ctx, v); err != nil {
			return rfc.Page{}, err
		}
	}
	return s.cut(ctx)
}

func (s *search[T]) try(ctx context.Context, v T) error {
	id := s.kind.id(v)
	if _, twice := s.found[id]; twice || !s.kind.sees(v) {
		return nil
	}
	r, err := s.kind.try(ctx, v)
	if err != nil || s.q.Filter != nil && !s.q.Filter.Match(&r.Object) {
		return err
	}
	s.tried = append(s.tried, r)
	if s.found == nil {
		s.found = map[string]T{}
	}
	s.found[id] = v
	return nil
}

func (s *search[T]) cut(ctx context.Context) (rfc.Page, error) {
	p, err := s.q.Cut(s.tried)
	if err != nil {
		return rfc.Page{}, err
	}
	page := make([]T, len(p.Resources))
	for i, r := range p.Resources {
		page[i] = s.found[r.ID()]
	}
	return p, s.kind.finish(ctx, page, p.Resources)
}

// reads reports whether a filter reads an attribute.
func reads(f rfc.Filter, attr string) bool {
	return rfc.Reads(f, func(p rfc.Path) bool { return strings.EqualFold(p.Name, attr) })
}

// valueOf is the value that one element of a list must have for a filter to hold,
// however that is written: members eq "x", members.value eq "x",
// members[value eq "x"], members[type eq "User" and value eq "x"],
// members[value eq "x"].type eq "User".
func valueOf(f rfc.Filter, list string) (string, bool) {
	switch f := f.(type) {
	case rfc.And:
		if v, ok := valueOf(f.Left, list); ok {
			return v, true
		}
		return valueOf(f.Right, list)
	case rfc.Has:
		if strings.EqualFold(f.Path.Name, list) && f.Path.URN == "" && f.Path.Filter != nil {
			return rfc.Equal(f.Path.Filter, "value")
		}
	case rfc.Compare:
		p := f.Path
		switch {
		case !strings.EqualFold(p.Name, list) || p.URN != "":
		case p.Filter != nil && f.Op != rfc.Ne && f.Value != nil: // holds only where there is such an element
			return rfc.Equal(p.Filter, "value")
		case p.Filter == nil && f.Op == rfc.Eq && (p.Sub == "" || strings.EqualFold(p.Sub, "value")):
			v, ok := f.Value.(string)
			return v, ok
		}
	}
	return "", false
}

// since is the time after which a user must have changed for a filter to hold.
func since(f rfc.Filter) (time.Time, bool) {
	switch f := f.(type) {
	case rfc.And:
		if t, ok := since(f.Left); ok {
			return t, true
		}
		return since(f.Right)
	case rfc.Compare:
		if f.Path.Name == "meta" && strings.EqualFold(f.Path.Sub, "lastModified") && (f.Op == rfc.Gt || f.Op == rfc.Ge) {
			text, _ := f.Value.(string)
			t, err := rfc.ParseTime(text)
			return t, err == nil
		}
	}
	return time.Time{}, false
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

// each is what there is of each, one after the other.
func each[T any](list []string, of func(string) seq[T]) seq[T] {
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

// A spot is a place in a walk over all users of a client: in the order of its
// stores, and inside a store as the walk is ordered.
type spot struct {
	Turn  int // of the store
	Store string
	Place provisioning.Place
}

// order is the index that has an order of users; not for a client of several
// stores, which are read one after the other.
func order(c *client.Client, s rfc.Sort) (provisioning.Order, bool) {
	if s.IsZero() {
		return provisioning.ByCreation, true
	}
	if s.Descending || len(c.UserStores) != 1 {
		return "", false
	}
	switch s.Path.String() {
	case "userName":
		return provisioning.ByUserName, c.Reads("userName")
	case "meta.lastModified":
		return provisioning.ByModified, true
	case "meta.created", "id":
		return provisioning.ByCreation, true
	}
	return "", false
}

// walk finds the users on a page of all those of the client, reading no others,
// and their index where it is asked for by number. The page has no resources yet.
func (s users) walk(ctx context.Context, c *client.Client, q rfc.Query, by provisioning.Order) (found []person, p rfc.Page, err error) {
	for _, userStore := range c.UserStores {
		n, err := s.Directory.Count(ctx, userStore)
		if err != nil {
			return nil, rfc.Page{}, err
		}
		p.Total += n
	}
	if q.Count == 0 || len(c.UserStores) == 0 {
		return nil, p, nil
	}
	at := spot{Store: c.UserStores[0]}
	skip := q.Start - 1
	if q.After != "" {
		skip = 0
		if err := json.Unmarshal([]byte(q.After), &at); err != nil || !c.May(at.Store) {
			return nil, rfc.Page{}, rfc.Errorf(http.StatusBadRequest, rfc.InvalidCursor, "the cursor does not fit the query")
		}
	}
	var last spot
	for i := slices.Index(c.UserStores, at.Store); i < len(c.UserStores); i++ {
		userStore := c.UserStores[i]
		if userStore != at.Store {
			at = spot{Store: userStore}
		}
		if skip > 0 {
			var skipped int
			if at.Place, skipped, err = s.Directory.Skip(ctx, userStore, by, at.Place, skip); err != nil {
				return nil, rfc.Page{}, err
			}
			if skip -= skipped; skip > 0 {
				continue
			}
		}
		for u, err := range s.Directory.InOrder(ctx, userStore, by, at.Place, q.Count-len(found)+1) {
			if err != nil {
				return nil, rfc.Page{}, err
			}
			if len(found) == q.Count { // one more: there is another page
				next, err := json.Marshal(last)
				p.Next = string(next)
				return found, p, err
			}
			found = append(found, person{User: u})
			last = spot{i, userStore, by.Place(*u)}
		}
	}
	return found, p, nil
}

// Earlier is as in [rfc.Ordered].
func (s users) Earlier(q rfc.Query, a, b string) bool {
	var x, y spot
	if q.Filter != nil || json.Unmarshal([]byte(a), &x) != nil || json.Unmarshal([]byte(b), &y) != nil || x.Store == "" {
		return q.Earlier(a, b)
	}
	return cmp.Or(cmp.Compare(x.Turn, y.Turn), cmp.Compare(x.Place.Value, y.Place.Value), cmp.Compare(x.Place.Key, y.Place.Key)) < 0
}

// Earlier is as in [rfc.Ordered].
func (s groups) Earlier(q rfc.Query, a, b string) bool { return q.Earlier(a, b) }
