package scim2

import (
	"context"
	"errors"
	"iter"
	"net/http"
	"slices"

	"github.com/gatehouse-sso/gatehouse/provisioning/connector"
	"github.com/gatehouse-sso/gatehouse/provisioning/connector/scimuser"
	"github.com/gatehouse-sso/gatehouse/provisioning/scim"
	"github.com/gatehouse-sso/gatehouse/provisioning/scim/client"
)

const groups = "/Groups"

var (
	_ connector.Groups = (*Connector)(nil)
	_ connector.Getter = (*Connector)(nil)
	_ connector.Tester = (*Connector)(nil)
	_ connector.Able   = (*Connector)(nil)
)

// Get reads one account.
func (c *Connector) Get(ctx context.Context, id string) (connector.Account, error) {
	r, err := c.read(ctx, users, id)
	if err != nil {
		return connector.Account{}, err
	}
	a := scimuser.Account(r)
	a.UserName = c.ours(a.UserName)
	return a, nil
}

// read is the resource with this ID, and no other.
func (c *Connector) read(ctx context.Context, endpoint, id string, without ...string) (*scim.Resource, error) {
	r, err := c.client.Get(ctx, endpoint, id, without...)
	if c.profile.MissingIs400 && status(err) == http.StatusBadRequest {
		return nil, &connector.Error{Class: connector.Gone, Text: "there is no such resource: 400, as this target says it", Err: err}
	}
	if err != nil {
		return nil, classify(err, false)
	}
	if r.ID() != id {
		return nil, &connector.Error{Class: connector.Route, Text: "the target answered with something else than was asked for"}
	}
	return r, nil
}

func group(r *scim.Resource) connector.Group {
	return connector.Group{ID: r.ID(), ExternalID: r.ExternalID(), Name: r.String("displayName")}
}

// SyncGroup makes the group agree with want. Its members are neither read nor
// sent, however many there are.
func (c *Connector) SyncGroup(ctx context.Context, want connector.Group, have string) (string, error) {
	if have != "" {
		return have, c.changeGroup(ctx, want, have)
	}
	there, err := c.searchGroups(ctx, "externalId", want.ExternalID)
	if noSearch(err) || err == nil && len(there) == 0 {
		there, err = c.searchGroups(ctx, "displayName", want.Name)
	}
	if err != nil {
		return "", classify(err, false)
	}
	for _, g := range there {
		if g.ExternalID == want.ExternalID && want.ExternalID != "" {
			return g.ID, c.changeGroup(ctx, want, g.ID)
		}
	}
	o := scim.NewObject("schemas", []any{scim.GroupURN}, "externalId", want.ExternalID, "displayName", want.Name)
	c.profile.completeGroup(o)
	made, err := c.client.Create(ctx, groups, o)
	if err != nil {
		return "", classify(err, true)
	}
	if made.ID() == "" {
		return "", &connector.Error{Class: connector.Route, Ambiguous: true, Text: "the target answered a creation without an id"}
	}
	return made.ID(), nil
}

func (c *Connector) changeGroup(ctx context.Context, want connector.Group, id string) error {
	put := c.how(ctx) == Put
	var without []string
	if !put {
		without = []string{"members"}
	}
	r, err := c.read(ctx, groups, id, without...)
	if err != nil {
		return err
	}
	var ops []scim.Operation
	for _, a := range []struct{ name, value string }{{"externalId", want.ExternalID}, {"displayName", want.Name}} {
		if a.value != "" && r.String(a.name) != a.value {
			ops = append(ops, scim.Operation{Op: "replace", Path: a.name, Value: a.value})
			r.Set(a.name, a.value)
		}
	}
	if len(ops) == 0 {
		return nil
	}
	if put {
		return c.putGroup(ctx, r)
	}
	_, err = c.client.Patch(ctx, groups, id, "", scim.Patch{Operations: ops})
	return classify(err, true)
}

// putGroup replaces the group, if nobody has changed it since it was read.
func (c *Connector) putGroup(ctx context.Context, r *scim.Resource) error {
	o := new(scim.Object)
	for name, v := range r.All() {
		if name != "meta" {
			o.Set(name, v)
		}
	}
	_, err := c.client.Replace(ctx, groups, r.ID(), tag(r), o)
	if status(err) == http.StatusPreconditionFailed { // somebody was faster: what they did is to be read first
		return &connector.Error{Text: "the group changed while it was being changed", Err: err}
	}
	return classify(err, true)
}

// FindGroup returns the groups that have the external ID, or else the name, of want.
func (c *Connector) FindGroup(ctx context.Context, want connector.Group) ([]connector.Group, error) {
	got, err := c.searchGroups(ctx, "externalId", want.ExternalID)
	if err != nil && !noSearch(err) {
		return nil, classify(err, false)
	}
	if len(got) > 0 {
		return got, nil
	}
	got, err = c.searchGroups(ctx, "displayName", want.Name)
	return got, classify(err, false)
}

// searchGroups asks for groups by one attribute, and looks at all if the target
// answers with others, as search does.
func (c *Connector) searchGroups(ctx context.Context, attr, value string) ([]connector.Group, error) {
	if value == "" {
		return nil, nil
	}
	has := func(r *scim.Resource) bool {
		if attr == "externalId" {
			return r.ExternalID() == value
		}
		return scim.Fold(r.String(attr)) == scim.Fold(value)
	}
	page, err := c.client.List(ctx, groups, client.Query{
		Filter: scim.Compare{Path: scim.Path{Name: attr}, Op: scim.Eq, Value: value}, Count: 5, Without: []string{"members"},
	})
	ignored := attr == "displayName" && noSearch(err)
	if err != nil && !ignored {
		return nil, err
	}
	var got []connector.Group
	for _, r := range page.Resources {
		if has(r) {
			got = append(got, group(r))
		} else {
			ignored = true
		}
	}
	if !ignored || err == nil && page.Total <= len(page.Resources) {
		return got, nil
	}
	got = nil
	for r, err := range c.walk(ctx, groups, "members") {
		if err != nil {
			return nil, err
		}
		if has(r) {
			got = append(got, group(r))
		}
	}
	return got, nil
}

// RemoveGroup deletes the group.
func (c *Connector) RemoveGroup(ctx context.Context, have string) error {
	return c.remove(ctx, groups, have)
}

// ChangeMembers adds and removes members. The group is read only where the
// target has no PATCH, or refuses to take out who is not in.
func (c *Connector) ChangeMembers(ctx context.Context, id string, add, remove []string) error {
	if len(add)+len(remove) == 0 {
		return nil
	}
	if c.how(ctx) == Put {
		return c.putMembers(ctx, id, add, remove)
	}
	if c.v1 && len(add) > 0 && len(remove) > 0 {
		// There are servers of SCIM 1.1 that take a member who is to go for one to
		// be put in, where both are in one message.
		if err := c.ChangeMembers(ctx, id, nil, remove); err != nil {
			return err
		}
		remove = nil
	}
	_, err := c.client.Patch(ctx, groups, id, "", c.memberOps(add, remove))
	if e := (*client.Error)(nil); len(remove) > 0 && errors.As(err, &e) && e.Type == "noTarget" {
		r, rerr := c.read(ctx, groups, id)
		if rerr != nil {
			return rerr
		}
		there := memberIDs(r)
		remove = slices.DeleteFunc(slices.Clone(remove), func(id string) bool { return !slices.Contains(there, id) })
		if len(add)+len(remove) == 0 {
			return nil
		}
		_, err = c.client.Patch(ctx, groups, id, "", c.memberOps(add, remove))
	}
	if c.profile.MissingIs400 && status(err) == http.StatusBadRequest {
		if _, rerr := c.read(ctx, groups, id, "members"); rerr != nil {
			return rerr
		}
	}
	return classify(err, true)
}

func (c *Connector) memberOps(add, remove []string) (p scim.Patch) {
	if len(add) > 0 {
		var list []any
		for _, id := range add {
			list = append(list, scim.NewObject("value", id))
		}
		p.Operations = append(p.Operations, scim.Operation{Op: "add", Path: "members", Value: list})
	}
	if c.profile.MembersByValue && len(remove) > 0 {
		var list []any
		for _, id := range remove {
			list = append(list, scim.NewObject("value", id))
		}
		p.Operations = append(p.Operations, scim.Operation{Op: "remove", Path: "members", Value: list})
		return p
	}
	for _, id := range remove {
		one := scim.Path{Name: "members", Filter: scim.Compare{Path: scim.Path{Name: "value"}, Op: scim.Eq, Value: id}}
		p.Operations = append(p.Operations, scim.Operation{Op: "remove", Path: one.String()})
	}
	return p
}

func (c *Connector) putMembers(ctx context.Context, id string, add, remove []string) error {
	r, err := c.read(ctx, groups, id)
	if err != nil {
		return err
	}
	there := memberIDs(r)
	list := slices.DeleteFunc(slices.Clone(r.List("members")), func(v any) bool {
		m, ok := v.(*scim.Object)
		return ok && slices.Contains(remove, m.String("value"))
	})
	changed := len(list) < len(there)
	for _, id := range add {
		if !slices.Contains(there, id) {
			list, changed = append(list, scim.NewObject("value", id)), true
		}
	}
	if !changed {
		return nil
	}
	r.Set("members", list)
	return c.putGroup(ctx, r)
}

func memberIDs(r *scim.Resource) (ids []string) {
	for _, v := range r.List("members") {
		if m, ok := v.(*scim.Object); ok {
			ids = append(ids, m.String("value"))
		}
	}
	return ids
}

// Members yields the members of a group as one answer lists them.
func (c *Connector) Members(ctx context.Context, id string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		r, err := c.read(ctx, groups, id)
		if err != nil {
			yield("", err)
			return
		}
		seen := map[string]bool{} // some list a member as often as it was added
		for _, id := range memberIDs(r) {
			if seen[id] {
				continue
			}
			seen[id] = true
			if !yield(id, nil) {
				return
			}
		}
	}
}

// AllGroups yields all groups, with the care of Accounts.
func (c *Connector) AllGroups(ctx context.Context) iter.Seq2[connector.Group, error] {
	return func(yield func(connector.Group, error) bool) {
		for r, err := range c.walk(ctx, groups, "members") {
			if err != nil {
				yield(connector.Group{}, err)
				return
			}
			if !yield(group(r), nil) {
				return
			}
		}
	}
}
