package scim

import (
	"context"
	"errors"
	"net/http"

	"github.com/gatehouse-sso/gatehouse/provisioning"
	"github.com/gatehouse-sso/gatehouse/provisioning/client"
	rfc "github.com/gatehouse-sso/gatehouse/provisioning/scim"
)

// users are the users of the Directory as the client of the context sees them.
type users struct{ *Config }

var _ rfc.Ordered = users{}

// Get returns a user of the client's stores.
func (s users) Get(ctx context.Context, id string) (*rfc.Resource, error) {
	c := client.From(ctx)
	if !grouped(c) {
		u, err := s.user(ctx, id)
		if err != nil {
			return nil, err
		}
		return s.bare(ctx, u)
	}
	u, in, err := s.Directory.PeekInGroups(ctx, id)
	if err == nil && !c.May(u.Store) {
		err = provisioning.ErrNotFound
	}
	if err != nil {
		return nil, answer(err, id)
	}
	r, err := s.bare(ctx, u)
	if err == nil {
		s.among(c, r, in)
	}
	return r, err
}

// grouped reports whether a client sees groups of users at all.
func grouped(c *client.Client) bool { return len(c.Groups) > 0 && c.Reads("groups") }

// user is one of the client's stores, for reading only.
func (s users) user(ctx context.Context, id string) (*provisioning.User, error) {
	u, err := s.Directory.Peek(ctx, id)
	if err == nil && !client.From(ctx).May(u.Store) {
		err = provisioning.ErrNotFound
	}
	return u, answer(err, id)
}

// bare is the resource without groups, as far as the client may see it.
func (s users) bare(ctx context.Context, u *provisioning.User) (*rfc.Resource, error) {
	c := client.From(ctx)
	r, err := s.shape.read(u, c.Source(), c.Join(u.Store, u.UserName))
	if err != nil {
		return nil, err
	}
	return seen(c, r), nil
}

// whole is the resource with its groups, those that the client manages.
func (s users) whole(ctx context.Context, u *provisioning.User) (*rfc.Resource, error) {
	r, err := s.bare(ctx, u)
	if err != nil {
		return nil, err
	}
	return r, s.complete(ctx, []*provisioning.User{u}, []*rfc.Resource{r})
}

// complete gives resources of users their groups.
func (s users) complete(ctx context.Context, us []*provisioning.User, rs []*rfc.Resource) error {
	c := client.From(ctx)
	if !grouped(c) || len(us) == 0 {
		return nil
	}
	ids := make([]string, len(us))
	for i, u := range us {
		ids[i] = u.ID
	}
	in, err := s.Directory.MembershipsOf(ctx, ids)
	if err != nil {
		return err
	}
	for i, r := range rs {
		s.among(c, r, in[i])
	}
	return nil
}

// among sets the groups of a resource.
func (s users) among(c *client.Client, r *rfc.Resource, in []provisioning.Membership) {
	var list []any
	for _, g := range in {
		if !c.Manages(g.Group) {
			continue
		}
		how := "indirect"
		if g.Direct {
			how = "direct"
		}
		list = append(list, rfc.NewObject("value", g.ID, "$ref", s.Base+"/Groups/"+g.ID, "display", c.Join(g.Store, g.Name), "type", how))
	}
	r.Set("groups", list)
}

// Create makes a user, and links it where the client is the authority for that.
func (s users) Create(ctx context.Context, r *rfc.Resource) (*rfc.Resource, error) {
	c := client.From(ctx)
	if !c.Writes("userName") {
		return nil, errMayNotCreate
	}
	if err := written(c, &rfc.Resource{}, r); err != nil {
		return nil, err
	}
	u := provisioning.User{Active: true}
	var err error
	if u.Store, u.UserName, err = split(c, r.String("userName")); err != nil {
		return nil, err
	}
	if err := s.shape.write(&u, c.Source(), &rfc.Resource{}, r); err != nil {
		return nil, err
	}
	u, _, err = s.Directory.Create(ctx, u, c.Source(), links(c, u)...)
	if err != nil {
		return nil, answer(err, "")
	}
	s.settle(ctx, u.ID)
	return s.bare(ctx, &u) // who has just come is in no group
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
	// A long PATCH may take seconds to work out, and nobody can sign in while the
	// store waits for it. So it is done before, and again only if the user changed
	// meanwhile.
	seen, err := s.user(ctx, id)
	if err != nil {
		return nil, err
	}
	cur, next, err := s.edited(ctx, *seen, fn)
	if err != nil {
		return nil, err
	}
	u, _, err := s.Directory.Change(ctx, id, c.Source(), func(u *provisioning.User) error {
		if !c.May(u.Store) {
			return provisioning.ErrNotFound
		}
		if u.Version == seen.Version {
			return s.edit(c, u, cur, next)
		}
		cur, next, err := s.edited(ctx, *u, fn)
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
	s.settle(ctx, u.ID)
	return s.whole(ctx, &u)
}

// edited is the resource of a user, and what fn makes of what the client sees of
// it. What the client does not see stays, unless it may write it and does.
func (s users) edited(ctx context.Context, u provisioning.User, fn rfc.Edit) (cur, next *rfc.Resource, err error) {
	c := client.From(ctx)
	if cur, err = s.shape.read(&u, c.Source(), c.Join(u.Store, u.UserName)); err != nil {
		return nil, nil, err
	}
	if next, err = fn(seen(c, cur)); err != nil {
		return nil, nil, err
	}
	next = withUnseen(c, cur, next)
	return cur, next, written(c, cur, next)
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
	if err := s.shape.write(u, c.Source(), cur, next); err != nil {
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
	if _, err := s.user(ctx, id); err != nil { // before it is said who else is there
		return err
	}
	if !c.Writes("userName") {
		return errMayNotCreate
	}
	err := s.Directory.Delete(ctx, id, c.Source(), func(u provisioning.User) error {
		if !c.May(u.Store) {
			return provisioning.ErrNotFound
		}
		cur, err := s.bare(ctx, &u)
		if err != nil {
			return err
		}
		return check(cur)
	})
	if err != nil {
		return answer(err, id)
	}
	if err := s.EndSessions(ctx, id); err != nil {
		return err
	}
	s.settle(ctx, id)
	return nil
}

// List returns a page, in the order of creation.
func (s users) List(ctx context.Context, q rfc.Query) (rfc.Page, error) {
	q.Sort = rfc.Sort{}
	return s.Walk(ctx, q)
}

// Walk returns a page. All users are walked along an index; those who match a
// filter are found by one, or among few.
func (s users) Walk(ctx context.Context, q rfc.Query) (rfc.Page, error) {
	c := client.From(ctx)
	k := kind[*provisioning.User]{
		id: func(u *provisioning.User) string { return u.ID }, sees: func(u *provisioning.User) bool { return c.May(u.Store) },
		try: s.bare, finish: s.complete,
		name: "userName", byID: s.Directory.Peek, byName: s.Directory.PeekByName,
		byExternal: s.Directory.ByExternalID,
		all: func(userStore string) seq[*provisioning.User] {
			return s.Directory.InOrder(ctx, userStore, provisioning.ByCreation, provisioning.Place{}, 0)
		},
		more: func(f rfc.Filter, userStore string) (seq[*provisioning.User], bool) {
			if mail, ok := valueOf(f, "emails"); ok {
				return s.Directory.ByMail(ctx, userStore, mail), true
			}
			if t, ok := since(f); ok {
				return s.Directory.InOrder(ctx, userStore, provisioning.ByModified, provisioning.ByModified.At(userStore, t), 0), true
			}
			return nil, false
		},
	}
	if !q.WantsAttr("groups") {
		k.finish = nil
	}
	if reads(q.Filter, "groups") {
		k.try, k.finish = s.whole, nil
	}
	if q.Filter != nil {
		return k.matching(ctx, c, q, k.candidates(ctx, c, q.Filter))
	}
	by, ok := order(c, q.Sort)
	if !ok {
		return rfc.Page{}, errors.ErrUnsupported
	}
	found, p, err := s.walk(ctx, c, q, by)
	if err != nil {
		return rfc.Page{}, err
	}
	for _, u := range found {
		r, err := s.bare(ctx, u)
		if err != nil {
			return rfc.Page{}, err
		}
		p.Resources = append(p.Resources, r)
	}
	if k.finish != nil {
		err = k.finish(ctx, found, p.Resources)
	}
	return p, err
}
