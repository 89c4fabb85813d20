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

// users are the users of the Directory as the client of the context sees them.
type users struct{ *Config }

var _ rfc.Store = users{}

// Get returns a user of the client's stores.
func (s users) Get(ctx context.Context, id string) (*rfc.Resource, error) {
	u, err := s.user(ctx, id)
	if err != nil {
		return nil, err
	}
	return s.whole(ctx, u)
}

func (s users) user(ctx context.Context, id string) (provisioning.User, error) {
	u, err := s.Directory.User(ctx, id)
	if err == nil && !client.From(ctx).May(u.Store) {
		err = provisioning.ErrNotFound
	}
	return u, answer(err, id)
}

func (s users) bare(ctx context.Context, u provisioning.User) (*rfc.Resource, error) {
	c := client.From(ctx)
	return read(u, c.Source(), c.Join(u.Store, u.UserName))
}

// whole is the resource with its groups.
func (s users) whole(ctx context.Context, u provisioning.User) (*rfc.Resource, error) {
	return s.bare(ctx, u)
}

// Create makes a user, and links it where the client is the authority for that.
func (s users) Create(ctx context.Context, r *rfc.Resource) (*rfc.Resource, error) {
	c := client.From(ctx)
	u := provisioning.User{Active: true}
	var err error
	if u.Store, u.UserName, err = split(c, r.String("userName")); err != nil {
		return nil, err
	}
	if err := write(&u, c.Source(), &rfc.Resource{}, r); err != nil {
		return nil, err
	}
	u, _, err = s.Directory.Create(ctx, u, c.Source(), links(c, u)...)
	if err != nil {
		return nil, answer(err, "")
	}
	return s.whole(ctx, u)
}

// links are those that a user is created with.
func links(c *client.Client, u provisioning.User) []provisioning.Link {
	if c.Links == nil {
		return nil
	}
	ref := c.Links.Ref(u.UserName, u.ExternalID)
	if ref.Subject == "" {
		return nil
	}
	return []provisioning.Link{{Ref: ref, Provider: c.Links.Provider}}
}

func split(c *client.Client, name string) (userStore, rest string, err error) {
	if userStore, rest, err = c.Split(name); err != nil {
		return "", "", rfc.Errorf(http.StatusBadRequest, rfc.InvalidValue,
			"userName begins with a user store that this client does not have: leave out what stands before the slash, or name a store that it has")
	}
	return userStore, rest, nil
}

// Change lets fn edit a user in one transaction. Whoever is not active after it
// has no session any more, also if it was so before: an earlier attempt may have
// got no further.
func (s users) Change(ctx context.Context, id string, fn rfc.Edit) (*rfc.Resource, error) {
	c := client.From(ctx)
	u, _, err := s.Directory.Change(ctx, id, c.Source(), func(u *provisioning.User) error {
		if !c.May(u.Store) {
			return provisioning.ErrNotFound
		}
		cur, err := s.bare(ctx, *u)
		if err != nil {
			return err
		}
		next, err := fn(cur)
		if err != nil {
			return err
		}
		return s.edit(c, u, cur, next)
	})
	if err != nil {
		return nil, answer(err, id)
	}
	if !u.Active {
		if err := s.EndSessions(ctx, u.ID); err != nil {
			return nil, err
		}
	}
	return s.whole(ctx, u)
}

func (s users) edit(c *client.Client, u *provisioning.User, cur, next *rfc.Resource) error {
	before := *u
	if name := next.String("userName"); name != cur.String("userName") {
		userStore, rest, err := split(c, name)
		if err != nil {
			return err
		}
		if userStore != u.Store {
			return rfc.Errorf(http.StatusBadRequest, rfc.Mutability, "a user can not be moved to another user store")
		}
		u.UserName = rest
	}
	if err := write(u, c.Source(), cur, next); err != nil {
		return err
	}
	if l := c.Links; l != nil {
		was, is := l.Ref(before.UserName, before.ExternalID), l.Ref(u.UserName, u.ExternalID)
		if was != is && was.Subject != "" {
			return rfc.Errorf(http.StatusBadRequest, rfc.Mutability, "what names the person at an identity provider can not be changed: delete the user and create another")
		}
	}
	return nil
}

// Delete removes a user for ever.
func (s users) Delete(ctx context.Context, id string, check func(*rfc.Resource) error) error {
	c := client.From(ctx)
	err := s.Directory.Delete(ctx, id, c.Source(), func(u provisioning.User) error {
		if !c.May(u.Store) {
			return provisioning.ErrNotFound
		}
		cur, err := s.bare(ctx, u)
		if err != nil {
			return err
		}
		return check(cur)
	})
	if err != nil {
		return answer(err, id)
	}
	return s.EndSessions(ctx, id)
}

// List returns a page, ordered by ID, which is the order of creation.
func (s users) List(ctx context.Context, q rfc.Query) (rfc.Page, error) {
	c := client.From(ctx)
	if q.Filter == nil {
		return s.all(ctx, c, q)
	}
	full := reads(q.Filter, "groups")
	var found []provisioning.User
	looked := 0
	for u, err := range s.candidates(ctx, c, q.Filter) {
		if err != nil {
			return rfc.Page{}, answer(err, "")
		}
		if looked++; looked > maxScan {
			return rfc.Page{}, errTooMany
		}
		if !c.May(u.Store) {
			continue
		}
		of := s.bare
		if full {
			of = s.whole
		}
		r, err := of(ctx, u)
		if err != nil {
			return rfc.Page{}, err
		}
		if q.Filter.Match(&r.Object) {
			found = append(found, u)
		}
	}
	slices.SortFunc(found, func(a, b provisioning.User) int { return cmp.Compare(a.ID, b.ID) })
	p := rfc.Page{Total: len(found)}
	from := min(q.Start-1, len(found))
	for _, u := range found[from:min(from+q.Count, len(found))] {
		r, err := s.whole(ctx, u)
		if err != nil {
			return rfc.Page{}, err
		}
		p.Resources = append(p.Resources, r)
	}
	return p, nil
}

// all is a page of everybody.
func (s users) all(ctx context.Context, c *client.Client, q rfc.Query) (p rfc.Page, err error) {
	for u, err := range s.Directory.Users(ctx, "", 0) {
		if err != nil {
			return rfc.Page{}, err
		}
		if !c.May(u.Store) {
			continue
		}
		if p.Total++; p.Total < q.Start || len(p.Resources) == q.Count {
			continue
		}
		r, err := s.whole(ctx, u)
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

// candidates are the users who can match a filter: those that an index finds,
// else all of the client's stores.
func (s users) candidates(ctx context.Context, c *client.Client, f rfc.Filter) iter.Seq2[provisioning.User, error] {
	if id, ok := rfc.Equal(f, "id"); ok {
		return one(s.Directory.User(ctx, id))
	}
	if name, ok := rfc.Equal(f, "userName"); ok {
		userStore, rest, err := c.Split(name)
		if err != nil { // a name with a slash in it that is no store's
			if len(c.UserStores) == 0 {
				return one(provisioning.User{}, provisioning.ErrNotFound)
			}
			userStore, rest = c.UserStores[0], name
		}
		return one(s.Directory.ByName(ctx, userStore, rest))
	}
	of := func(userStore string) iter.Seq2[provisioning.User, error] {
		return s.Directory.Search(ctx, userStore, "", "", maxScan+1)
	}
	if ext, ok := rfc.Equal(f, "externalId"); ok {
		of = func(userStore string) iter.Seq2[provisioning.User, error] {
			return s.Directory.ByExternalID(ctx, userStore, ext)
		}
	}
	return each(c.UserStores, of)
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
