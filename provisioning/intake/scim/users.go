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

// whole is the resource with its groups, those that the client manages.
func (s users) whole(ctx context.Context, u provisioning.User) (*rfc.Resource, error) {
	r, err := s.bare(ctx, u)
	c := client.From(ctx)
	if err != nil || len(c.Groups) == 0 {
		return r, err
	}
	all, err := s.Directory.GroupsOf(ctx, u.ID)
	if err != nil {
		return nil, err
	}
	direct, err := s.Directory.DirectGroups(ctx, u.ID)
	if err != nil {
		return nil, err
	}
	var list []any
	for _, g := range all {
		if !c.Manages(g) {
			continue
		}
		how := "indirect"
		if slices.ContainsFunc(direct, func(d provisioning.Group) bool { return d.ID == g.ID }) {
			how = "direct"
		}
		list = append(list, rfc.NewObject("value", g.ID, "$ref", s.Base+"/Groups/"+g.ID, "display", c.Join(g.Store, g.Name), "type", how))
	}
	r.Set("groups", list)
	return r, nil
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
	if c.Links != nil && next.ExternalID() == "" { // left out is not changed: it can not be taken away
		next = next.Clone()
		next.Set("externalId", cur.ExternalID())
	}
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
	of := s.bare
	if reads(q.Filter, "groups") {
		of = s.whole
	}
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
	of = s.wanted(q)
	for _, u := range paged(found, q) {
		r, err := of(ctx, u)
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
		r, err := s.wanted(q)(ctx, u)
		if err != nil {
			return rfc.Page{}, err
		}
		p.Resources = append(p.Resources, r)
	}
	return p, nil
}

// wanted makes the resources of an answer: with groups if they are in it.
func (s users) wanted(q rfc.Query) func(context.Context, provisioning.User) (*rfc.Resource, error) {
	if q.Wants != nil && !q.Wants("groups") {
		return s.bare
	}
	return s.whole
}

// paged are those of the page that a query asks for.
func paged[T any](all []T, q rfc.Query) []T {
	from := min(q.Start-1, len(all))
	return all[from : from+min(q.Count, len(all)-from)]
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
		userStore, rest := own(c, name)
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
