package scim

import (
	"cmp"
	"context"
	"errors"
	"hash/fnv"
	"net/http"
	"slices"
	"sync"

	"github.com/gatehouse-sso/gatehouse/provisioning"
	"github.com/gatehouse-sso/gatehouse/provisioning/client"
	rfc "github.com/gatehouse-sso/gatehouse/provisioning/scim"
	"github.com/gatehouse-sso/gatehouse/provisioning/scim/dialect"
)

// groups are the groups of the Directory that the client of the context
// manages. Members are edges there: of a change only who came and who went is
// written, all of it or nothing, and two changes at the same time both happen.
// A change of some members does not read the others.
type groups struct {
	*Config
	// turns keeps two replacements of one group's members from making each other
	// begin again for ever.
	turns *[64]sync.Mutex
}

var (
	_ rfc.Ordered     = groups{}
	_ rfc.MemberStore = groups{}
)

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

// bare is the resource without members.
func (s groups) bare(ctx context.Context, g provisioning.Group) (*rfc.Resource, error) {
	return s.with(ctx, g, nil), nil
}

func (groups) with(ctx context.Context, g provisioning.Group, members []any) *rfc.Resource {
	rt := rfc.GroupType()
	r := &rfc.Resource{Object: *rfc.NewObject("schemas", []any{rt.Schema.ID})}
	if g.ExternalID != "" {
		r.Set("externalId", g.ExternalID)
	}
	r.Set("displayName", client.From(ctx).Join(g.Store, g.Name))
	r.Set("members", members)
	rt.Stamp(r, g.ID, g.Created, g.Modified, tag(g.Version, g.Moves))
	return r
}

// complete gives resources their members.
func (s groups) complete(ctx context.Context, gs []provisioning.Group, rs []*rfc.Resource) (err error) {
	for i, g := range gs {
		if rs[i], err = s.whole(ctx, g); err != nil {
			return err
		}
	}
	return nil
}

// whole is the resource with those members whom the client may see.
func (s groups) whole(ctx context.Context, g provisioning.Group) (*rfc.Resource, error) {
	c := client.From(ctx)
	var list []any
	for id, err := range s.Directory.Members(ctx, g.ID, "", 0) {
		if err != nil {
			return nil, err
		}
		u, err := s.Directory.Peek(ctx, id)
		switch {
		case errors.Is(err, provisioning.ErrNotFound): // deleted, and its edges not cleared yet
		case err != nil:
			return nil, err
		case c.May(u.Store):
			display := labelled(u, c.Source(), g.ID)
			if display == "" {
				display = c.Join(u.Store, u.UserName)
			}
			list = append(list, s.member("User", u.ID, display))
		}
	}
	inside, err := s.Directory.Inside(ctx, g.ID)
	if err != nil {
		return nil, err
	}
	for _, in := range inside {
		if c.Manages(in) {
			list = append(list, s.member("Group", in.ID, c.Join(in.Store, in.Name)))
		}
	}
	return s.with(ctx, g, list), nil
}

func (s groups) member(kind, id, display string) *rfc.Object {
	return rfc.NewObject("value", id, "$ref", s.Base+"/"+kind+"s/"+id, "type", kind, "display", display)
}

var errNoGroups = rfc.Errorf(http.StatusForbidden, "", "this client may not manage a group of this name")

// Create makes a group with its members.
func (s groups) Create(ctx context.Context, r *rfc.Resource) (*rfc.Resource, error) {
	c := client.From(ctx)
	var g provisioning.Group
	if err := name(c, &g, r); err != nil {
		return nil, err
	}
	g.ExternalID = r.ExternalID()
	m, err := s.move(ctx, idsOf(r), nil)
	if err != nil {
		return nil, err
	}
	if g, err = s.Directory.CreateGroup(ctx, g, c.Source(), m); err != nil {
		return nil, answer(err, "")
	}
	if err := s.relabelAll(ctx, g.ID, r.List("members"), nil); err != nil {
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

// edit gives g what differs between cur and next, members aside.
func (s groups) edit(c *client.Client, g *provisioning.Group, cur, next *rfc.Resource) error {
	if next.String("displayName") != cur.String("displayName") {
		if err := name(c, g, next); err != nil {
			return err
		}
	}
	if next.ExternalID() != cur.ExternalID() {
		g.ExternalID = next.ExternalID()
	}
	return nil
}

// errChanged: the group is not as it was read.
var errChanged = errors.New("the group changed meanwhile")

// maxTries bounds how often a change of a whole group is worked out anew.
const maxTries = 10

// Change lets fn edit a group with all its members, and writes what differs. If
// the group changed while that was worked out, it is worked out again.
func (s groups) Change(ctx context.Context, id string, fn rfc.Edit) (*rfc.Resource, error) {
	sum := fnv.New32a()
	_, _ = sum.Write([]byte(id)) // a hash takes everything
	turn := &s.turns[sum.Sum32()%uint32(len(s.turns))]
	turn.Lock()
	defer turn.Unlock()
	for range maxTries {
		r, err := s.change(ctx, id, fn)
		if !errors.Is(err, errChanged) {
			return r, err
		}
	}
	return nil, rfc.Errorf(http.StatusServiceUnavailable, "", "the group changed each time that this was tried: try again, or say only who comes and who goes")
}

func (s groups) change(ctx context.Context, id string, fn rfc.Edit) (*rfc.Resource, error) {
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
	m, err := s.move(ctx, without(is, was), without(was, is))
	if err != nil {
		return nil, err
	}
	if err := s.mayLeave(ctx, id, m); err != nil {
		return nil, err
	}
	g, err := s.Directory.Move(ctx, id, c.Source(), m, func(g *provisioning.Group) error {
		switch {
		case !c.Manages(*g):
			return provisioning.ErrNotFound
		case tag(g.Version, g.Moves) != cur.Version():
			return errChanged
		}
		return s.edit(c, g, cur, next)
	})
	if err != nil {
		return nil, answer(err, id)
	}
	if err := s.relabelAll(ctx, id, named(cur, next), m.Leave); err != nil {
		return nil, err
	}
	return s.whole(ctx, g)
}

// ChangeMembers lets fn edit a group without reading its members, and moves some.
func (s groups) ChangeMembers(ctx context.Context, id string, fn rfc.Edit, ms rfc.Members) (*rfc.Resource, error) {
	c := client.From(ctx)
	g, err := s.group(ctx, id)
	if err != nil { // before it is said who else is there
		return nil, err
	}
	edit := func(g *provisioning.Group) error {
		cur := s.with(ctx, *g, nil)
		next, err := fn(cur)
		if err != nil {
			return err
		}
		return s.edit(c, g, cur, next)
	}
	tried := g
	if err := edit(&tried); err != nil { // before anybody is asked whether somebody may leave
		return nil, answer(err, id)
	}
	var add []string
	var come []any
	for _, o := range ms.Add {
		add, come = append(add, o.String("value")), append(come, o)
	}
	m, err := s.move(ctx, add, ms.Remove)
	if err != nil {
		return nil, err
	}
	if err := s.mayLeave(ctx, id, m); err != nil {
		return nil, err
	}
	g, err = s.Directory.Move(ctx, id, c.Source(), m, func(g *provisioning.Group) error {
		if !c.Manages(*g) {
			return provisioning.ErrNotFound
		}
		return edit(g)
	})
	if err != nil {
		return nil, answer(err, id)
	}
	if err := s.relabelAll(ctx, id, come, m.Leave); err != nil {
		return nil, err
	}
	return s.bare(ctx, g)
}

// Delete removes a group for ever; its members stay.
func (s groups) Delete(ctx context.Context, id string, check func(*rfc.Resource) error) error {
	c := client.From(ctx)
	g, err := s.group(ctx, id)
	if err == nil {
		err = check(s.with(ctx, g, nil))
	}
	if err == nil {
		err = s.mayGo(ctx, id)
	}
	if err != nil {
		return err
	}
	return answer(s.Directory.DeleteGroup(ctx, id, c.Source(), func(g provisioning.Group) error {
		if !c.Manages(g) {
			return provisioning.ErrNotFound
		}
		return check(s.with(ctx, g, nil))
	}), id)
}

// idsOf are the members that a resource names, each once, in order.
func idsOf(r *rfc.Resource) []string {
	var all []string
	for _, v := range r.List("members") {
		el, _ := v.(*rfc.Object)
		all = append(all, el.String("value"))
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// without is what of a is not in b; both are in order.
func without(a, b []string) []string {
	return slices.DeleteFunc(slices.Clone(a), func(id string) bool {
		_, in := slices.BinarySearch(b, id)
		return in
	})
}

// move finds out what is meant by IDs. What the client can not see is not there:
// who is not there can not come, and need not go. Clients of a dialect that sends
// such members have them left out.
func (s groups) move(ctx context.Context, come, leave []string) (m provisioning.Move, err error) {
	c := client.From(ctx)
	for _, id := range come {
		isUser, isGroup, err := s.what(ctx, id)
		switch {
		case err != nil:
			return m, err
		case isUser:
			m.Join = append(m.Join, id)
		case isGroup:
			m.Nest = append(m.Nest, id)
		case c.Dialect.Strangers():
			s.rewritten(c, []dialect.Rewrite{c.Dialect.Stranger()})
		default:
			return m, rfc.Errorf(http.StatusBadRequest, rfc.InvalidValue, "members: there is no user and no group %.80q", id)
		}
	}
	for _, id := range leave {
		isUser, isGroup, err := s.what(ctx, id)
		switch {
		case err != nil:
			return m, err
		case isUser:
			m.Leave = append(m.Leave, id)
		case isGroup:
			m.Unnest = append(m.Unnest, id)
		}
	}
	return m, nil
}

// what says whether the client sees a user, or a group, with an ID.
func (s groups) what(ctx context.Context, id string) (isUser, isGroup bool, err error) {
	c := client.From(ctx)
	u, err := s.Directory.Peek(ctx, id)
	if err == nil {
		return c.May(u.Store), false, nil
	}
	if !errors.Is(err, provisioning.ErrNotFound) {
		return false, false, err
	}
	g, err := s.Directory.Group(ctx, id)
	if errors.Is(err, provisioning.ErrNotFound) {
		return false, false, nil
	}
	return false, err == nil && c.Manages(g), err
}

// List returns a page.
func (s groups) List(ctx context.Context, q rfc.Query) (rfc.Page, error) { return s.Walk(ctx, q) }

// Walk returns a page. Of a client without groups nothing is read.
func (s groups) Walk(ctx context.Context, q rfc.Query) (rfc.Page, error) {
	c := client.From(ctx)
	if len(c.Groups) == 0 {
		return rfc.Page{}, nil
	}
	k := groupKind{groups: s, c: c, tries: reads(q.Filter, "members"), shows: q.WantsAttr("members")}
	found := search[provisioning.Group]{kind: &k, c: c, q: q}
	if id, ok := valueOf(q.Filter, "members"); ok {
		k.member = id
		return found.among(ctx, s.around(ctx, id))
	}
	return found.page(ctx)
}

// groupKind is how groups are looked for.
type groupKind struct {
	groups
	c *client.Client
	// Members are read while a filter that reads them is tried, or for what is shown. Of
	// all of them only member matters, if that is not empty.
	tries, shows bool
	member       string
}

func (k *groupKind) id(g provisioning.Group) string { return g.ID }
func (k *groupKind) sees(g provisioning.Group) bool { return k.c.Manages(g) }
func (k *groupKind) name() string                   { return "displayName" }

func (k *groupKind) try(ctx context.Context, g provisioning.Group) (*rfc.Resource, error) {
	switch {
	case k.member != "":
		return k.with(ctx, g, []any{rfc.NewObject("value", k.member)}), nil
	case k.tries:
		return k.whole(ctx, g)
	}
	return k.bare(ctx, g)
}

func (k *groupKind) finish(ctx context.Context, gs []provisioning.Group, rs []*rfc.Resource) error {
	if !k.shows {
		return nil
	}
	return k.complete(ctx, gs, rs)
}

func (k *groupKind) byID(ctx context.Context, id string) (provisioning.Group, error) {
	return k.Directory.Group(ctx, id)
}

func (k *groupKind) byName(ctx context.Context, userStore, name string) (provisioning.Group, error) {
	return k.Directory.GroupByName(ctx, userStore, name)
}

func (k *groupKind) byExternal(ctx context.Context, userStore, externalID string) seq[provisioning.Group] {
	return k.Directory.GroupsByExternalID(ctx, userStore, externalID)
}

func (k *groupKind) all(ctx context.Context, userStore string) seq[provisioning.Group] {
	return k.Directory.SearchGroups(ctx, userStore, "", "", 0)
}

func (k *groupKind) more(context.Context, rfc.Filter, string) (seq[provisioning.Group], bool) {
	return nil, false
}

// around are the groups that a user or group is directly in, if the client sees it.
func (s groups) around(ctx context.Context, id string) seq[provisioning.Group] {
	return func(yield func(provisioning.Group, error) bool) {
		isUser, isGroup, err := s.what(ctx, id)
		var all []provisioning.Group
		switch {
		case err != nil:
			yield(provisioning.Group{}, err)
			return
		case isUser:
			var ms []provisioning.Membership
			ms, err = s.Directory.Memberships(ctx, id)
			for _, m := range ms {
				if m.Direct {
					all = append(all, m.Group)
				}
			}
		case isGroup:
			all, err = s.Directory.Outside(ctx, id)
		}
		slices.SortFunc(all, func(a, b provisioning.Group) int { return cmp.Compare(a.ID, b.ID) })
		for _, g := range all {
			// What Memberships says of a group does not count who is in it.
			if g, err = s.Directory.Group(ctx, g.ID); errors.Is(err, provisioning.ErrNotFound) {
				err = nil
				continue
			}
			if !yield(g, err) {
				return
			}
		}
		if err != nil {
			yield(provisioning.Group{}, err)
		}
	}
}
