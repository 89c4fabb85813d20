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
type kind[T any] struct {
	id   func(T) string
	sees func(T) bool // whether it is there for the client
	// try makes what a filter is tried on, and finish makes of it what is answered;
	// nil: that is the same.
	try    func(context.Context, T) (*rfc.Resource, error)
	finish func(context.Context, []T, []*rfc.Resource) error

	// How the Directory finds them; name is what SCIM calls their name.
	name       string
	byID       func(ctx context.Context, id string) (T, error)
	byName     func(ctx context.Context, userStore, name string) (T, error)
	byExternal func(ctx context.Context, userStore, externalID string) seq[T]
	all        func(userStore string) seq[T]
	more       func(f rfc.Filter, userStore string) (seq[T], bool) // further indexes; may be nil
}

// candidates are those who can match a filter: whom an index finds, else all of
// the client's stores.
func (k kind[T]) candidates(ctx context.Context, c *client.Client, f rfc.Filter) seq[T] {
	if id, ok := rfc.Equal(f, "id"); ok {
		return one(k.byID(ctx, id))
	}
	if name, ok := rfc.Equal(f, k.name); ok {
		userStore, rest := own(c, name)
		return one(k.byName(ctx, userStore, rest))
	}
	ext, byExternal := rfc.Equal(f, "externalId")
	return each(c.UserStores, func(userStore string) seq[T] {
		if byExternal {
			return k.byExternal(ctx, userStore, ext)
		}
		if k.more != nil {
			if found, ok := k.more(f, userStore); ok {
				return found
			}
		}
		return k.all(userStore)
	})
}

// matching makes the page of those candidates that the client sees and a filter
// matches; nil matches all.
func (k kind[T]) matching(ctx context.Context, c *client.Client, q rfc.Query, candidates seq[T]) (rfc.Page, error) {
	var tried []*rfc.Resource
	found := map[string]T{}
	looked := 0
	for v, err := range candidates {
		if err != nil {
			return rfc.Page{}, answer(err, "")
		}
		if looked++; q.Filter != nil && looked > maxScan {
			return rfc.Page{}, errTooMany
		}
		if _, twice := found[k.id(v)]; twice || !k.sees(v) {
			continue
		}
		r, err := k.try(ctx, v)
		if err != nil {
			return rfc.Page{}, err
		}
		if q.Filter == nil || q.Filter.Match(&r.Object) {
			tried = append(tried, r)
			found[k.id(v)] = v
		}
	}
	p, err := q.Cut(tried)
	if err != nil {
		return rfc.Page{}, err
	}
	if k.finish == nil {
		return p, nil
	}
	page := make([]T, len(p.Resources))
	for i, r := range p.Resources {
		page[i] = found[r.ID()]
	}
	return p, k.finish(ctx, page, p.Resources)
}

// reads reports whether a filter reads an attribute.
func reads(f rfc.Filter, attr string) bool {
	return f != nil && slices.ContainsFunc(rfc.Paths(f), func(p rfc.Path) bool { return strings.EqualFold(p.Name, attr) })
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

// one is a sequence of what was found, if it was.
func one[T any](v T, err error) seq[T] {
	return func(yield func(T, error) bool) {
		if !errors.Is(err, provisioning.ErrNotFound) {
			yield(v, err)
		}
	}
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
func (s users) walk(ctx context.Context, c *client.Client, q rfc.Query, by provisioning.Order) (found []*provisioning.User, p rfc.Page, err error) {
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
			found = append(found, u)
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
