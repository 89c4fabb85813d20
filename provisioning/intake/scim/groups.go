package scim

import (
	"cmp"
	"context"
	"errors"
	"hash/fnv"
	"net/http"
	"slices"

	"github.com/gatehouse-sso/gatehouse/provisioning"
	"github.com/gatehouse-sso/gatehouse/provisioning/client"
	rfc "github.com/gatehouse-sso/gatehouse/provisioning/scim"
)

// groups are the groups of the Directory that the client of the context
// manages. Members are edges there: of a change only who came and who went is
// written, each in a transaction of its own, so that two changes at the same time
// both happen. All of it is checked before the first is written; if the store
// fails in between, the request can be repeated.
type groups struct{ *Config }

var _ rfc.Store = groups{}

// Get returns a group with its members.
func (s groups) Get(ctx context.Context, id string) (*rfc.Resource, error) {
	g, err := s.group(ctx, id)
	if err != nil {
		return nil, err
	}
	return s.whole(ctx, g)
}

func (s groups) group(ctx context.Context, id string) (provisioning.Group, error) {
	g, err := s.Directory.Group(ctx, id)
	if err == nil && !client.From(ctx).Manages(g) {
		err = provisioning.ErrNotFound
	}
	return g, answer(err, id)
}

// bare is the resource without members, and so without a version.
func (s groups) bare(ctx context.Context, g provisioning.Group) (*rfc.Resource, error) {
	return s.with(ctx, g, nil, ""), nil
}

func (groups) with(ctx context.Context, g provisioning.Group, members []any, version string) *rfc.Resource {
	rt := rfc.GroupType()
	r := &rfc.Resource{Object: *rfc.NewObject("schemas", []any{rt.Schema.ID})}
	if g.ExternalID != "" {
		r.Set("externalId", g.ExternalID)
	}
	r.Set("displayName", client.From(ctx).Join(g.Store, g.Name))
	r.Set("members", members)
	if rt.Stamp(r, g.ID, g.Created, g.Modified, version); version == "" {
		r.Sub("meta").Delete("version")
	}
	return r
}

// whole is the resource with those members whom the client may see. A group's
// own version does not count its members, so the tag is made of both.
func (s groups) whole(ctx context.Context, g provisioning.Group) (*rfc.Resource, error) {
	c := client.From(ctx)
	sum := fnv.New64a()
	var list []any
	add := func(id, kind, display string) {
		_, _ = sum.Write([]byte(id + "\n")) // a hash takes everything
		list = append(list, rfc.NewObject("value", id, "$ref", s.Base+"/"+kind+"s/"+id, "type", kind, "display", display))
	}
	for id, err := range s.Directory.Members(ctx, g.ID, "", 0) {
		if err != nil {
			return nil, err
		}
		u, err := s.Directory.User(ctx, id)
		switch {
		case errors.Is(err, provisioning.ErrNotFound): // deleted, and its edges not cleared yet
		case err != nil:
			return nil, err
		case c.May(u.Store):
			add(u.ID, "User", c.Join(u.Store, u.UserName))
		}
	}
	inside, err := s.Directory.Inside(ctx, g.ID)
	if err != nil {
		return nil, err
	}
	for _, in := range inside {
		if c.Manages(in) {
			add(in.ID, "Group", c.Join(in.Store, in.Name))
		}
	}
	return s.with(ctx, g, list, tag(g.Version, sum.Sum64())), nil
}

var errNoGroups = rfc.Errorf(http.StatusForbidden, "", "this client may not manage a group of this name")

// Create makes a group, then puts its members in.
func (s groups) Create(ctx context.Context, r *rfc.Resource) (*rfc.Resource, error) {
	c := client.From(ctx)
	var g provisioning.Group
	if err := name(c, &g, r); err != nil {
		return nil, err
	}
	g.ExternalID = r.ExternalID()
	come, err := s.members(ctx, idsOf(r))
	if err != nil {
		return nil, err
	}
	if g, err = s.Directory.CreateGroup(ctx, g, c.Source()); err != nil {
		return nil, answer(err, "")
	}
	if err := s.move(ctx, g.ID, come, nil); err != nil {
		return nil, err
	}
	return s.whole(ctx, g)
}

// name gives g the name that a resource has, in the client's store.
func name(c *client.Client, g *provisioning.Group, r *rfc.Resource) error {
	userStore, rest, err := c.Split(r.String("displayName"))
	if err != nil {
		return rfc.Errorf(http.StatusBadRequest, rfc.InvalidValue, "displayName begins with a user store that this client does not have")
	}
	switch {
	case g.Store != "" && g.Store != userStore:
		return rfc.Errorf(http.StatusBadRequest, rfc.Mutability, "a group can not be moved to another user store")
	case !c.Manages(provisioning.Group{Store: userStore, Name: rest}):
		return errNoGroups
	}
	g.Store, g.Name = userStore, rest
	return nil
}

// Change lets fn edit a group as it is, and writes what differs.
func (s groups) Change(ctx context.Context, id string, fn rfc.Edit) (*rfc.Resource, error) {
	c := client.From(ctx)
	cur, err := s.Get(ctx, id)
	if err != nil {
		return nil, err
	}
	next, err := fn(cur)
	if err != nil {
		return nil, err
	}
	was, is := idsOf(cur), idsOf(next)
	come, err := s.members(ctx, without(is, was))
	if err != nil {
		return nil, err
	}
	leave, err := s.members(ctx, without(was, is))
	if err != nil {
		return nil, err
	}
	g, err := s.Directory.ChangeGroup(ctx, id, c.Source(), func(g *provisioning.Group) error {
		if !c.Manages(*g) {
			return provisioning.ErrNotFound
		}
		if next.String("displayName") != cur.String("displayName") {
			if err := name(c, g, next); err != nil {
				return err
			}
		}
		if next.ExternalID() != cur.ExternalID() {
			g.ExternalID = next.ExternalID()
		}
		return nil
	})
	if err != nil {
		return nil, answer(err, id)
	}
	if err := s.move(ctx, id, come, leave); err != nil {
		return nil, err
	}
	return s.whole(ctx, g)
}

// Delete removes a group for ever; its members stay.
func (s groups) Delete(ctx context.Context, id string, check func(*rfc.Resource) error) error {
	cur, err := s.Get(ctx, id)
	if err != nil {
		return err
	}
	if err := check(cur); err != nil {
		return err
	}
	return answer(s.Directory.DeleteGroup(ctx, id, client.From(ctx).Source()), id)
}

// idsOf are the members that a resource names, each once.
func idsOf(r *rfc.Resource) map[string]bool {
	all := map[string]bool{}
	for _, v := range r.List("members") {
		el, _ := v.(*rfc.Object)
		all[el.String("value")] = true
	}
	return all
}

func without(a, b map[string]bool) map[string]bool {
	rest := map[string]bool{}
	for id := range a {
		if !b[id] {
			rest[id] = true
		}
	}
	return rest
}

// A member is a user or a group.
type member struct {
	id    string
	group bool
}

// members finds out what is meant by IDs. What the client can not see is not there.
func (s groups) members(ctx context.Context, ids map[string]bool) ([]member, error) {
	var all []member
	for id := range ids {
		_, err := users(s).user(ctx, id)
		m := member{id: id}
		if notThere(err) {
			m.group = true
			_, err = s.group(ctx, id)
		}
		if notThere(err) {
			return nil, rfc.Errorf(http.StatusBadRequest, rfc.InvalidValue, "members: there is no user and no group %.80q", id)
		}
		if err != nil {
			return nil, err
		}
		all = append(all, m)
	}
	slices.SortFunc(all, func(a, b member) int { return cmp.Compare(a.id, b.id) })
	return all, nil
}

func notThere(err error) bool {
	var e *rfc.Error
	return errors.As(err, &e) && e.Status == http.StatusNotFound
}

// move takes members out of a group and puts others in.
func (s groups) move(ctx context.Context, id string, come, leave []member) error {
	by := client.From(ctx).Source()
	for _, m := range leave {
		var err error
		if m.group {
			err = s.Directory.Unnest(ctx, id, m.id, by)
		} else {
			_, _, err = s.Directory.RemoveMember(ctx, id, m.id, by)
		}
		if err != nil && !errors.Is(err, provisioning.ErrNotFound) { // deleted meanwhile: out already
			return answer(err, id)
		}
	}
	for _, m := range come {
		var err error
		if m.group {
			err = s.Directory.Nest(ctx, id, m.id, by)
		} else {
			_, _, err = s.Directory.AddMember(ctx, id, m.id, by)
		}
		if err != nil {
			return answer(err, id)
		}
	}
	return nil
}

// List returns a page. Of a client without groups nothing is read.
func (s groups) List(ctx context.Context, q rfc.Query) (rfc.Page, error) {
	c := client.From(ctx)
	if len(c.Groups) == 0 {
		return rfc.Page{}, nil
	}
	k := kind[provisioning.Group]{
		id: func(g provisioning.Group) string { return g.ID }, sees: c.Manages,
		try: s.bare, make: s.whole,
		name: "displayName", all: s.Directory.Groups, byID: s.Directory.Group, byName: s.Directory.GroupByName,
		byExternal: s.Directory.GroupsByExternalID, search: s.Directory.SearchGroups,
	}
	if reads(q.Filter, "members") || reads(q.Filter, "meta") {
		k.try = s.whole
	}
	if q.Wants != nil && !q.Wants("members") {
		k.make = s.bare
	}
	return k.page(ctx, c, q)
}
