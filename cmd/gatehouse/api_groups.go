package main

import (
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/gatehouse-sso/gatehouse/authz"
	"github.com/gatehouse-sso/gatehouse/provisioning"
	webapi "github.com/gatehouse-sso/gatehouse/web/api"
)

// groupRoutes are what the API can do about the directory's own groups.
func (a *api) groupRoutes() {
	const takesGroup, takesUser = "group! a group: name, with the prefix of the user store where it is not the first, or ID", "name! a user: user name or ID"
	a.route("GET /v1/groups", a.groups, "helpdesk", "auditors").doc("Groups in the order of their IDs; with q, those whose name begins so, in the order of names.", []webapi.Group{},
		"q the beginning of a name", "after goes on after this one: the ID of the last that was listed or, with q, its name", takesLimit)
	a.route("GET /v1/group", a.group, "helpdesk", "auditors").doc("One group and a page of those who are directly in it.", webapi.Group{}, takesGroup, "after goes on after this member: an ID", takesLimit)
	a.route("POST /v1/groups", a.createGroup).doc("Makes a group without members.", webapi.Group{}, "name! of the group")
	a.route("DELETE /v1/group", a.deleteGroup).doc("Deletes a group; from then on nobody is in it.", webapi.Group{}, takesGroup)
	a.route("POST /v1/group/member", a.addMember).doc("Puts a user into a group.", webapi.Group{}, takesGroup, takesUser)
	a.route("DELETE /v1/group/member", a.removeMember).doc("Takes a user out of a group.", webapi.Group{}, takesGroup, takesUser)
}

func (a *api) groupView(g provisioning.Group) webapi.Group {
	return webapi.Group{ID: g.ID, Name: a.s.directory.FullName(g.Store, g.Name), Modified: g.Modified}
}

func (a *api) groups(r *http.Request) (any, error) {
	list := []webapi.Group{}
	seq := a.s.directory.Groups(r.Context(), r.FormValue("after"), limitOf(r))
	if q := r.FormValue("q"); q != "" {
		userStore, prefix := a.s.directory.SplitName(q)
		_, after := a.s.directory.SplitName(r.FormValue("after"))
		seq = a.s.directory.SearchGroups(r.Context(), userStore, prefix, after, limitOf(r))
	}
	for g, err := range seq {
		if err != nil {
			return nil, err
		}
		list = append(list, a.groupView(g))
	}
	return list, nil
}

// groupNamed finds a group by ID or by name, as userNamed does users.
func (a *api) groupNamed(r *http.Request) (provisioning.Group, error) {
	name := r.FormValue("group")
	g, err := a.s.directory.Group(r.Context(), name)
	if errors.Is(err, provisioning.ErrNotFound) {
		groupStore, groupName := a.s.directory.SplitName(name)
		g, err = a.s.directory.GroupByName(r.Context(), groupStore, groupName)
	}
	if errors.Is(err, provisioning.ErrNotFound) {
		return g, errNone(fmt.Sprintf("there is no group %q", name))
	}
	return g, err
}

func (a *api) group(r *http.Request) (any, error) {
	g, err := a.groupNamed(r)
	if err != nil {
		return nil, err
	}
	v, limit := a.groupView(g), limitOf(r)
	for id, err := range a.s.directory.Members(r.Context(), g.ID, r.FormValue("after"), limit+1) {
		if err != nil {
			return nil, err
		}
		if len(v.Members) == limit {
			v.More = v.Members[limit-1].ID
			break
		}
		v.Members = append(v.Members, webapi.Member{ID: id, Name: a.s.nameOf(r.Context(), id)})
	}
	inside, err := a.s.directory.Inside(r.Context(), g.ID)
	for _, in := range inside {
		v.Inside = append(v.Inside, a.s.directory.FullName(in.Store, in.Name))
	}
	return v, err
}

// saysNo turns what the directory can not store into an answer of no.
func saysNo(err error) error {
	var taken *provisioning.Conflict
	var invalid *provisioning.Invalid
	if errors.As(err, &taken) || errors.As(err, &invalid) {
		return errNo(err.Error())
	}
	return err
}

func (a *api) createGroup(r *http.Request) (any, error) {
	userStore, name := a.s.directory.SplitName(r.FormValue("name"))
	g, err := a.s.directory.CreateGroup(r.Context(), provisioning.Group{Store: userStore, Name: name}, provisioning.Admin, provisioning.Move{})
	return a.groupView(g), saysNo(err)
}

func (a *api) deleteGroup(r *http.Request) (any, error) {
	g, err := a.groupNamed(r)
	if err != nil {
		return nil, err
	}
	if err := a.staysWithout(r, authz.SubjectFrom(r.Context()).ID, g); err != nil {
		return nil, err
	}
	return a.groupView(g), a.s.directory.DeleteGroup(r.Context(), g.ID, provisioning.Admin)
}

func (a *api) addMember(r *http.Request) (any, error) { return a.member(r, true) }

func (a *api) removeMember(r *http.Request) (any, error) { return a.member(r, false) }

func (a *api) member(r *http.Request, in bool) (any, error) {
	g, err := a.groupNamed(r)
	if err != nil {
		return nil, err
	}
	u, err := a.named(r)
	if err != nil {
		return nil, err
	}
	if in {
		_, _, err = a.directory(r).AddMember(r.Context(), g.ID, u.ID, provisioning.Admin)
	} else if err = a.staysWithout(r, u.ID, g); err == nil {
		_, _, err = a.directory(r).RemoveMember(r.Context(), g.ID, u.ID, provisioning.Admin)
	}
	return a.groupView(g), saysNo(err)
}

// staysWithout refuses people to leave a group by which alone they administer.
func (a *api) staysWithout(r *http.Request, userID string, g provisioning.Group) error {
	name := a.s.directory.FullName(g.Store, g.Name)
	return a.staysAdministrator(r, userID, func(s *authz.Subject) {
		s.Groups = slices.DeleteFunc(slices.Clone(s.Groups), func(in string) bool { return in == name })
	})
}
