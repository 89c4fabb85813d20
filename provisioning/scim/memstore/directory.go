package memstore

import (
	"cmp"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/gatehouse-sso/gatehouse/provisioning/scim"
)

// A Directory is users and groups that know of each other: members are users
// and groups that exist, no group is inside itself, the attribute groups of a
// user says which ones they are in, and who is deleted is in none any more.
type Directory struct {
	Users, Groups *Store

	base string
	in   map[string]map[string]bool // the groups that a user or group is a member of
}

// NewDirectory makes an empty Directory. base is the address that $ref begins
// with, as of server.Config; now gives the time, nil: time.Now.
func NewDirectory(base string, now func() time.Time) *Directory {
	return NewDirectoryOf(scim.UserType(), scim.GroupType(), base, now)
}

// NewDirectoryOf is NewDirectory for users and groups with schemas of one's own.
func NewDirectoryOf(user, group *scim.ResourceType, base string, now func() time.Time) *Directory {
	d := &Directory{Users: New(user, now), Groups: New(group, now), base: base, in: map[string]map[string]bool{}}
	d.Users.mu = new(sync.RWMutex)
	d.Groups.mu = d.Users.mu // one lock for both: a change of one is a change of the other
	d.Groups.prepare, d.Groups.changed, d.Users.changed = d.members, d.groupChanged, d.userChanged
	return d
}

// members completes members with what only the server knows.
func (d *Directory) members(group string, list []any) ([]any, error) {
	out := make([]any, 0, len(list))
	seen := map[string]bool{}
	for _, v := range list {
		el, _ := v.(*scim.Object)
		id := el.String("value")
		switch {
		case seen[id]:
			continue
		case d.Users.byID[id] != nil:
		case d.Groups.byID[id] == nil:
			return nil, scim.Errorf(http.StatusBadRequest, scim.InvalidValue, "members: there is no user and no group %.80q", id)
		case group != "" && (id == group || slices.Contains(d.above(group), id)):
			return nil, scim.Errorf(http.StatusBadRequest, scim.InvalidValue, "members: a group can not be inside itself")
		}
		seen[id] = true
		out = append(out, d.member(id))
	}
	return out, nil
}

func (d *Directory) member(id string) *scim.Object {
	if r := d.Users.byID[id]; r != nil {
		return scim.NewObject("value", id, "$ref", d.base+"/Users/"+id, "type", "User", "display", cmp.Or(r.resource.String("displayName"), r.resource.String("userName")))
	}
	return scim.NewObject("value", id, "$ref", d.base+"/Groups/"+id, "type", "Group", "display", d.Groups.byID[id].resource.String("displayName"))
}

// above lists the groups that id is in, those that these are in, and so on.
func (d *Directory) above(id string) []string {
	seen := map[string]bool{}
	var up func(string)
	up = func(id string) {
		for g := range d.in[id] {
			if !seen[g] {
				seen[g] = true
				up(g)
			}
		}
	}
	up(id)
	return slices.Sorted(maps.Keys(seen))
}

func ids(r *scim.Resource) map[string]bool {
	all := map[string]bool{}
	if r != nil {
		for _, v := range r.List("members") {
			el, _ := v.(*scim.Object)
			all[el.String("value")] = true
		}
	}
	return all
}

func (d *Directory) groupChanged(old, next *scim.Resource) {
	was, is := ids(old), ids(next)
	renamed := old != nil && (next == nil || old.String("displayName") != next.String("displayName"))
	touched := map[string]bool{}
	for id := range was {
		if !is[id] {
			delete(d.in[id], old.ID())
		}
		touched[id] = renamed || !is[id]
	}
	for id := range is {
		if d.in[id] == nil {
			d.in[id] = map[string]bool{}
		}
		d.in[id][next.ID()] = true
		touched[id] = renamed || !was[id]
	}
	if renamed {
		d.refresh(old.ID())
	}
	for id, yes := range touched {
		if yes {
			d.recount(id, map[string]bool{})
		}
	}
}

func (d *Directory) userChanged(old, next *scim.Resource) {
	if old != nil && (next == nil || old.String("displayName") != next.String("displayName") || old.String("userName") != next.String("userName")) {
		d.refresh(old.ID())
	}
}

// refresh shows the name of a member in its groups, or takes out one that is gone.
func (d *Directory) refresh(id string) {
	gone := d.Users.byID[id] == nil && d.Groups.byID[id] == nil
	for g := range d.in[id] {
		r := d.Groups.byID[g]
		next := r.resource.Clone()
		var members []any
		for _, v := range next.List("members") {
			switch {
			case v.(*scim.Object).String("value") != id:
				members = append(members, v)
			case !gone:
				members = append(members, d.member(id))
			}
		}
		next.Set("members", members)
		if !gone { // the group says what it said; only a name is shown
			r.resource = next
			continue
		}
		_, _ = d.Groups.put(r, next) // its name is still its own
	}
	if gone {
		delete(d.in, id)
	}
}

// recount says anew which groups a user is in, or all users inside a group.
// The user's version stays: groups are no part of what a client said.
func (d *Directory) recount(id string, seen map[string]bool) {
	if g := d.Groups.byID[id]; g != nil {
		if !seen[id] {
			seen[id] = true
			for m := range ids(g.resource) {
				d.recount(m, seen)
			}
		}
		return
	}
	u := d.Users.byID[id]
	if u == nil {
		return
	}
	var list []any
	for _, g := range d.above(id) {
		how := "indirect"
		if d.in[id][g] {
			how = "direct"
		}
		list = append(list, scim.NewObject("value", g, "$ref", d.base+"/Groups/"+g, "display", d.Groups.byID[g].resource.String("displayName"), "type", how))
	}
	next := u.resource.Clone()
	next.Set("groups", list)
	u.resource = next
}
