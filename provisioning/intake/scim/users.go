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

// A person is a user and, if grouped, the groups that they were in at the same moment.
type person struct {
	*provisioning.User
	in      []provisioning.Membership
	grouped bool
}

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
func (s users) whole(ctx context.Context, p person) (*rfc.Resource, error) {
	r, err := s.bare(ctx, p.User)
	if err != nil {
		return nil, err
	}
	return r, s.complete(ctx, []person{p}, []*rfc.Resource{r})
}

// complete gives resources of users their groups.
func (s users) complete(ctx context.Context, ps []person, rs []*rfc.Resource) error {
	c := client.From(ctx)
	if !grouped(c) {
		return nil
	}
	var ids []string
	for _, p := range ps {
		if !p.grouped {
			ids = append(ids, p.ID)
		}
	}
	var rest [][]provisioning.Membership
	if len(ids) > 0 {
		var err error
		if rest, err = s.Directory.MembershipsOf(ctx, ids); err != nil {
			return err
		}
	}
	for i, p := range ps {
		in := p.in
		if !p.grouped {
			in, rest = rest[0], rest[1:]
		}
		s.among(c, rs[i], in)
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
	return s.whole(ctx, person{User: &u})
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
	k := userKind{users: s, c: c, tries: reads(q.Filter, "groups")}
	k.shows = q.WantsAttr("groups") && !k.tries
	if q.Filter != nil {
		return (&search[person]{kind: k, c: c, q: q}).page(ctx)
	}
	by, ok := order(c, q.Sort)
	if !ok {
		return rfc.Page{}, errors.ErrUnsupported
	}
	found, p, err := s.walk(ctx, c, q, by)
	if err != nil {
		return rfc.Page{}, err
	}
	for _, one := range found {
		r, err := s.bare(ctx, one.User)
		if err != nil {
			return rfc.Page{}, err
		}
		p.Resources = append(p.Resources, r)
	}
	return p, k.finish(ctx, found, p.Resources)
}

// userKind is how users are looked for.
type userKind struct {
	users
	c *client.Client
	// Groups are read while a filter that reads them is tried, or for what is shown.
	tries, shows bool
}

func (k userKind) id(p person) string { return p.ID }
func (k userKind) sees(p person) bool { return k.c.May(p.Store) }
func (k userKind) name() string       { return "userName" }

func (k userKind) try(ctx context.Context, p person) (*rfc.Resource, error) {
	if k.tries {
		return k.whole(ctx, p)
	}
	return k.bare(ctx, p.User)
}

func (k userKind) finish(ctx context.Context, ps []person, rs []*rfc.Resource) error {
	if !k.shows {
		return nil
	}
	return k.complete(ctx, ps, rs)
}

func (k userKind) byID(ctx context.Context, id string) (person, error) {
	u, in, err := k.Directory.PeekInGroups(ctx, id)
	return person{u, in, true}, err
}

func (k userKind) byName(ctx context.Context, userStore, name string) (person, error) {
	u, in, err := k.Directory.PeekByName(ctx, userStore, name)
	return person{u, in, true}, err
}

func (k userKind) byExternal(ctx context.Context, userStore, externalID string) seq[person] {
	return persons(k.Directory.ByExternalID(ctx, userStore, externalID))
}

func (k userKind) all(ctx context.Context, userStore string) seq[person] {
	return persons(k.Directory.InOrder(ctx, userStore, provisioning.ByCreation, provisioning.Place{}, 0))
}

func (k userKind) more(ctx context.Context, f rfc.Filter, userStore string) (seq[person], bool) {
	if mail, ok := valueOf(f, "emails"); ok {
		return persons(k.Directory.ByMail(ctx, userStore, mail)), true
	}
	if t, ok := since(f); ok {
		return persons(k.Directory.InOrder(ctx, userStore, provisioning.ByModified, provisioning.ByModified.At(userStore, t), 0)), true
	}
	return nil, false
}

// persons are users of whom nothing else was read yet.
func persons(us seq[*provisioning.User]) seq[person] {
	return func(yield func(person, error) bool) {
		for u, err := range us {
			if !yield(person{User: u}, err) {
				return
			}
		}
	}
}
