package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/gatehouse-sso/gatehouse/authz"
	"github.com/gatehouse-sso/gatehouse/configs"
	"github.com/gatehouse-sso/gatehouse/federation"
	"github.com/gatehouse-sso/gatehouse/gateway/session"
	"github.com/gatehouse-sso/gatehouse/provisioning"
	"github.com/gatehouse-sso/gatehouse/provisioning/access"
	webapi "github.com/gatehouse-sso/gatehouse/web/api"
)

// peopleRoutes are what the API can do about users.
func (a *api) peopleRoutes() {
	a.route("GET /v1/users", a.users, "helpdesk", "auditors").doc(
		"Users in the order of their IDs; with q, those whose user name begins so, in the order of names.", []webapi.User{},
		"q the beginning of a user name", "after goes on after this one: the ID of the last that was listed or, with q, its user name", takesLimit)
	a.route("GET /v1/user", a.user, "helpdesk", "auditors").doc(
		"One user: who said what and when, roles, groups, sign-ins, accounts at targets, evidence that they left.", webapi.User{}, takesName)
	a.route("GET /v1/attributes", func(*http.Request) (any, error) {
		list := []webapi.Attribute{}
		for _, t := range a.s.cfg.AttributeTypes() {
			list = append(list, webapi.Attribute{ID: t.ID, Title: t.Title, Multi: t.Multi})
		}
		return list, nil
	}, "helpdesk", "auditors", "release_editors").doc("Attributes that people can have.", []webapi.Attribute{})
	a.route("POST /v1/users", a.createUser).doc(
		"Makes a user who can be linked, granted roles and put into groups before they ever sign in.", webapi.User{},
		"name! the user name, with the prefix of the user store where it is not the first", takesAttributes)
	a.route("POST /v1/user/attributes", a.setAttributes).doc(
		"Says attributes of a user in the name of administrators, which comes before whatever others say; what is empty is not said any more.", webapi.User{},
		takesName, takesAttributes)
	a.route("POST /v1/user/active", a.setActive).doc(
		"Lets a user in, or keeps them out and ends their sessions.", webapi.User{}, takesName, "active:boolean! whether they may be let in")
	a.route("DELETE /v1/user", a.deleteUser).doc(
		"Deletes a user and ends their sessions; targets take their accounts away as they are configured to.", webapi.User{}, takesName)
	a.route("POST /v1/user/link", a.link).doc(
		"Lets a user sign in as the person whom an identity provider calls so.", webapi.User{}, takesLink...)
	a.route("DELETE /v1/user/link", a.unlink).doc(
		"Takes that back, and ends the user's sessions.", webapi.User{}, takesLink...)
}

const takesAttributes = "attribute[] an attribute, an equals sign and its value: mail=ada@uni.example; several of one for several values"

var takesLink = []string{takesName, "provider! an identity provider of the configuration", "issuer! how it calls itself", "subject! how it calls the person, byte for byte"}

func (a *api) view(u provisioning.User) webapi.User {
	v := webapi.User{
		ID: u.ID, UserName: a.s.directory.FullName(u.Store, u.UserName), Active: u.Active, Attributes: map[string][]string{},
		Roles: []string{}, Groups: []string{}, Version: u.Version, Created: u.Created, Modified: u.Modified,
	}
	for attr := range u.Attributes {
		v.Attributes[attr] = provisioning.Effective(u, attr)
	}
	return v
}

func (a *api) users(r *http.Request) (any, error) {
	list := []webapi.User{}
	seq := a.s.directory.Users(r.Context(), r.FormValue("after"), limitOf(r))
	if q := r.FormValue("q"); q != "" {
		userStore, prefix := a.s.directory.SplitName(q)
		seq = a.s.directory.Search(r.Context(), userStore, prefix, r.FormValue("after"), limitOf(r))
	}
	for u, err := range seq {
		if err != nil {
			return nil, err
		}
		list = append(list, a.view(u))
	}
	return list, nil
}

// named finds a user by name or by ID.
func (a *api) named(r *http.Request) (provisioning.User, error) {
	name := r.FormValue("name")
	u, err := a.s.userNamed(r.Context(), name)
	if errors.Is(err, provisioning.ErrNotFound) {
		return u, errNone(fmt.Sprintf("there is no user %q — `gatehouse users list` shows those there are", name))
	}
	return u, err
}

// userNamed finds a user by ID or by name. The ID counts first: the pages say whom
// they mean by it, and while nobody can choose an ID, somebody may be called as
// another's is.
func (s *site) userNamed(ctx context.Context, name string) (provisioning.User, error) {
	u, err := s.directory.User(ctx, name)
	if errors.Is(err, provisioning.ErrNotFound) {
		userStore, userName := s.directory.SplitName(name)
		u, err = s.directory.ByName(ctx, userStore, userName)
	}
	return u, err
}

func (a *api) user(r *http.Request) (any, error) {
	u, err := a.named(r)
	if err != nil {
		return nil, err
	}
	v := a.view(u)
	v.Claims, v.Grants = u.Attributes, a.grantsOf(r.Context(), u, "")
	sub, err := a.subject(r.Context(), u.ID)
	if err != nil {
		return nil, err
	}
	v.Roles, v.Groups = notNil(sub.Roles), notNil(sub.Groups)
	if v.Links, err = a.s.directory.Links(r.Context(), u.ID); err != nil {
		return nil, err
	}
	if v.Accounts, err = a.s.outbox.States(r.Context(), u.ID); err != nil {
		return nil, err
	}
	v.Evidence, err = a.s.lifecycle.Evidence(r.Context(), u.ID)
	return v, err
}

func notNil(s []string) []string { return append([]string{}, s...) }

func (a *api) subject(ctx context.Context, id string) (authz.Subject, error) {
	sub, err := a.s.directory.Subject(ctx, id)
	return a.s.rules.policy.Roles(sub), err
}

// said reads attributes of a form: by name, the values.
func (a *api) said(r *http.Request) (map[string][]string, error) {
	known, m := multi(a.s.cfg), map[string][]string{}
	for _, pair := range r.Form["attribute"] {
		name, value, ok := strings.Cut(pair, "=")
		if !ok || !slices.ContainsFunc(a.s.cfg.AttributeTypes(), func(t configs.AttributeType) bool { return t.ID == name }) {
			return nil, errBad(fmt.Sprintf("%q is no attribute, an equals sign and a value — the configuration lists the attributes", pair))
		}
		if value = strings.TrimSpace(value); value != "" || m[name] == nil {
			m[name] = slices.DeleteFunc(append(m[name], value), func(s string) bool { return s == "" })
		}
		if len(m[name]) > 1 && !known[name] {
			return nil, errBad(name + " has one value")
		}
	}
	return m, nil
}

func (a *api) createUser(r *http.Request) (any, error) {
	said, err := a.said(r)
	if err != nil {
		return nil, err
	}
	userStore, name := a.s.directory.SplitName(r.FormValue("name"))
	u := provisioning.User{Store: userStore, UserName: name, Active: true}
	for attr, values := range said {
		u.Say(provisioning.Admin, attr, values...)
	}
	if u, _, err = a.directory(r).Create(r.Context(), u, provisioning.Admin); err != nil {
		return nil, saysNo(err)
	}
	return a.view(u), nil
}

func (a *api) setAttributes(r *http.Request) (any, error) {
	said, err := a.said(r)
	if err != nil {
		return nil, err
	}
	u, err := a.named(r)
	if err != nil {
		return nil, err
	}
	u, _, err = a.directory(r).Change(r.Context(), u.ID, provisioning.Admin, func(u *provisioning.User) error {
		for attr, values := range said {
			u.Say(provisioning.Admin, attr, values...)
		}
		return nil
	})
	if err != nil {
		return nil, saysNo(err)
	}
	return a.view(u), nil
}

func (a *api) setActive(r *http.Request) (any, error) {
	u, err := a.named(r)
	if err != nil {
		return nil, err
	}
	active := r.FormValue("active") == "true"
	if err := a.notOneself(r, u.ID); err != nil && !active {
		return nil, err
	}
	u, _, err = a.directory(r).Change(r.Context(), u.ID, provisioning.Admin, func(u *provisioning.User) error {
		u.Active = active
		return nil
	})
	if err == nil && !active {
		_, err = a.s.sessions.EndUser(r.Context(), u.ID, session.ReasonUser)
	}
	if err != nil {
		return nil, err
	}
	return a.view(u), nil
}

func (a *api) deleteUser(r *http.Request) (any, error) {
	u, err := a.named(r)
	if err != nil {
		return nil, err
	}
	if err := a.notOneself(r, u.ID); err != nil {
		return nil, err
	}
	if err := a.directory(r).Delete(r.Context(), u.ID, provisioning.Admin); err != nil {
		return nil, err
	}
	if _, err := a.s.sessions.EndUser(r.Context(), u.ID, session.ReasonUser); err != nil {
		return nil, err
	}
	return a.view(u), nil
}

// link lets a user sign in as the person that an identity provider calls so. Only
// an administrator can know that both are one.
func (a *api) link(r *http.Request) (any, error) { return a.relink(r, true) }

// unlink takes that back, and ends the user's sessions.
func (a *api) unlink(r *http.Request) (any, error) { return a.relink(r, false) }

func (a *api) relink(r *http.Request, link bool) (any, error) {
	u, err := a.named(r)
	if err != nil {
		return nil, err
	}
	provider, ref := r.FormValue("provider"), federation.Ref{Issuer: r.FormValue("issuer"), Subject: r.FormValue("subject")}
	if !slices.ContainsFunc(a.s.cfg.IdentityProviders, func(p configs.IdentityProvider) bool { return p.ID == provider }) {
		return nil, errNone(fmt.Sprintf("there is no identity provider %q — the configuration lists those there are", provider))
	}
	if err := a.notOneself(r, u.ID); err != nil && !link {
		return nil, err
	}
	if link {
		u, _, err = a.directory(r).Link(r.Context(), u.ID, ref, provider, provisioning.Admin)
	} else if u, _, err = a.directory(r).Unlink(r.Context(), u.ID, ref, provisioning.Admin); err == nil {
		_, err = a.s.sessions.EndUser(r.Context(), u.ID, session.ReasonUser)
	}
	var taken *provisioning.Conflict
	var invalid *provisioning.Invalid
	if errors.As(err, &taken) || errors.As(err, &invalid) {
		return nil, errNo(err.Error())
	}
	if err != nil {
		return nil, err
	}
	return a.view(u), nil
}

// notOneself refuses people what would take their own way in away. Whoever asks
// is an administrator, and so one is left whatever is done to others: the last
// one can not be taken away here. The machine may do it, and undo it.
func (a *api) notOneself(r *http.Request, userID string) error {
	if a.people && authz.SubjectFrom(r.Context()).ID == userID {
		return errOwn
	}
	return nil
}

var errOwn = &access.Refusal{Code: reasonOwn, Text: "this is your own account, and you would lose your way in — another administrator can do it, or `gatehouse users` on the machine"}

// staysAdministrator refuses people a change of themselves after which they would
// administer nothing.
func (a *api) staysAdministrator(r *http.Request, userID string, change func(*authz.Subject)) error {
	s := authz.SubjectFrom(r.Context())
	if !a.people || s.ID != userID {
		return nil
	}
	before, err := a.s.directory.Subject(r.Context(), userID)
	if err != nil {
		return err
	}
	before = before.SignedInAs(s)
	after := before
	change(&after)
	if a.s.has(before) && !a.s.has(after) {
		return errOwn
	}
	return nil
}
