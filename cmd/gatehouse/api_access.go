package main

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/gatehouse-sso/gatehouse/authz"
	"github.com/gatehouse-sso/gatehouse/gateway/session"
	"github.com/gatehouse-sso/gatehouse/provisioning"
	"github.com/gatehouse-sso/gatehouse/provisioning/access"
	webapi "github.com/gatehouse-sso/gatehouse/web/api"
)

// freshSignIn is how long ago somebody may have signed in who changes something.
const freshSignIn = 10 * time.Minute

// What a route can have in place of duties. Both are for whoever is signed in.
const (
	// everyone: what the function behind it does depends on who asks.
	everyone = "everyone"
	// self: it is about the person alone, who need not have signed in just now.
	self = "self"
)

// may refuses whom a route is not for. The zero Subject is nobody and may nothing.
func (a *api) may(r *http.Request, rt *apiRoute) error {
	if !a.people {
		return nil
	}
	s := authz.SubjectFrom(r.Context())
	mine := slices.Contains(rt.duties, self)
	switch {
	case (mine || slices.Contains(rt.duties, everyone)) && s.ID != "" && s.Active:
		if mine {
			return nil
		}
	case !a.s.has(s, rt.duties...):
		return &access.Refusal{Code: authz.ReasonNoRule, Text: "this is not among your duties"}
	}
	if (!rt.safe() || rt.fresh) && a.p.now().Sub(s.AuthTime) > freshSignIn {
		return &access.Refusal{Code: authz.ReasonStepUp, Text: "sign in again: changes need a sign-in from the last ten minutes"}
	}
	return nil
}

// has reports whether somebody is an administrator or has one of these duties.
func (s *site) has(sub authz.Subject, duties ...string) bool {
	if sub.ID == "" || !sub.Active {
		return false
	}
	if sub.Provider == session.Recovery && sub.ID == session.Recovery {
		return true // who has the machine; no identity provider or user is called so
	}
	sub = s.rules.policy.Roles(sub)
	return s.rules.admin(sub) || slices.ContainsFunc(duties, func(d string) bool { return s.rules.duties[d] != nil && s.rules.duties[d](sub) })
}

// actor is who does what a request wants: a user's ID, or the machine.
func (a *api) actor(r *http.Request) string {
	if !a.people {
		return access.Machine
	}
	return authz.SubjectFrom(r.Context()).ID
}

// directory is where whoever asks changes users in their own name.
func (a *api) directory(r *http.Request) *provisioning.Directory {
	if !a.people {
		return a.s.directory
	}
	return a.s.directory.As(a.actor(r))
}

func (a *api) accessRoutes() {
	const takesRole = "role! of the configuration"
	a.route("GET /v1/requests", a.requests, "approvers", "helpdesk", "auditors").doc("Requests for roles in the order in which they came.", []webapi.Request{},
		"state:pending|approved|denied|withdrawn|lapsed|all in this state; pending where nothing is said", takesAfter, takesLimit)
	a.route("POST /v1/request/{answer}", a.decideRequest, everyone).doc("Approves or denies a request.", webapi.Request{}, // who decides depends on the role
		"answer:approve|deny! which", "id! of the request", takesUntil, "text for the person")
	a.route("GET /v1/roles", a.roles, "helpdesk", "auditors", "approvers").doc("Roles of the configuration.", []webapi.Role{})
	a.route("GET /v1/grants", a.grants, "helpdesk", "auditors").doc("Who was given roles by name, and until when.", []webapi.Grant{}, "role this one; any where none is named", takesAfter, takesLimit)
	a.route("POST /v1/grant", a.grant).doc("Gives a user a role; it takes the place of an earlier grant of it.", []webapi.Grant{}, takesName, takesRole, takesUntil)
	a.route("DELETE /v1/grant", a.revoke).doc("Takes a granted role away.", []webapi.Grant{}, takesName, takesRole)
}

// nameOf is a user's name, or their ID if they are gone.
func (s *site) nameOf(ctx context.Context, id string) string {
	if u, err := s.directory.User(ctx, id); err == nil {
		return s.directory.FullName(u.Store, u.UserName)
	}
	return id
}

func (a *api) viewRequest(ctx context.Context, r access.Request) webapi.Request {
	v := webapi.Request{Request: r, UserName: a.s.nameOf(ctx, r.UserID), RoleTitle: a.s.roleTitle(r.Role)}
	if r.Service != "" {
		v.ServiceTitle = a.s.serviceTitle(r.Service)
	}
	if r.By != "" {
		v.Decider = a.s.nameOf(ctx, r.By)
	}
	return v
}

func (a *api) viewRequests(ctx context.Context, found []access.Request) []webapi.Request {
	list := []webapi.Request{}
	for _, q := range found {
		list = append(list, a.viewRequest(ctx, q))
	}
	return list
}

// requests lists those in a state: pending where none is named, "all" for any.
func (a *api) requests(r *http.Request) (any, error) {
	state := cmp.Or(r.FormValue("state"), access.Pending)
	if state == "all" {
		state = ""
	}
	found, err := a.s.access.All(r.Context(), state, r.FormValue("after"), limitOf(r))
	return a.viewRequests(r.Context(), found), err
}

func (a *api) decideRequest(r *http.Request) (any, error) {
	answer := r.PathValue("answer")
	if answer != "approve" && answer != "deny" {
		return nil, errNo("a request can be approved and denied")
	}
	until, err := endOf(r.FormValue("until"), a.p.now())
	if err != nil {
		return nil, err
	}
	q, err := a.s.access.Decide(r.Context(), r.FormValue("id"), a.actor(r), access.Answer{Approve: answer == "approve", Until: until, Text: r.FormValue("text")})
	if err != nil {
		return nil, err
	}
	return a.viewRequest(r.Context(), q), nil
}

// endOf reads an end as people write it: a day (2026-12-31), which is over when
// the day is over in UTC, a time (RFC 3339), or how long from now (8h, 30d).
func endOf(s string, now time.Time) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if t, err := time.Parse(time.DateOnly, s); err == nil {
		return t.Add(24 * time.Hour), nil
	}
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return t, nil
	}
	if days, ok := strings.CutSuffix(s, "d"); ok {
		var n int
		if _, err := fmt.Sscanf(days+"!", "%d!", &n); err == nil && n > 0 && n < 100_000 {
			return now.Add(time.Duration(n) * 24 * time.Hour), nil
		}
	}
	if d, err := time.ParseDuration(s); err == nil && d > 0 {
		return now.Add(d), nil
	}
	return time.Time{}, &access.Refusal{Code: access.ReasonUntil, Text: fmt.Sprintf("%q is no end: write a day (2026-12-31), a time (2026-12-31T17:00:00Z) or how long (8h, 30d)", s)}
}

func (a *api) grantsOf(ctx context.Context, u provisioning.User, role string) (list []webapi.Grant) {
	for _, g := range u.Grants {
		if role == "" || g.Role == role {
			list = append(list, webapi.Grant{UserName: a.s.directory.FullName(u.Store, u.UserName), UserID: u.ID, Grant: g, RoleTitle: a.s.roleTitle(g.Role), Granter: a.s.nameOf(ctx, g.By)})
		}
	}
	return list
}

func (a *api) grants(r *http.Request) (any, error) {
	list := []webapi.Grant{}
	for u, err := range a.s.directory.Granted(r.Context(), r.FormValue("role"), r.FormValue("after"), limitOf(r)) {
		if err != nil {
			return nil, err
		}
		list = append(list, a.grantsOf(r.Context(), u, r.FormValue("role"))...)
	}
	return list, nil
}

func (a *api) grant(r *http.Request) (any, error) {
	u, err := a.named(r)
	if err != nil {
		return nil, err
	}
	until, err := endOf(r.FormValue("until"), a.p.now())
	if err != nil {
		return nil, err
	}
	if u, err = a.s.access.Grant(r.Context(), u.ID, r.FormValue("role"), until, a.actor(r)); err != nil {
		return nil, err
	}
	return a.grantsOf(r.Context(), u, r.FormValue("role")), nil
}

func (a *api) revoke(r *http.Request) (any, error) {
	u, err := a.named(r)
	if err != nil {
		return nil, err
	}
	role := r.FormValue("role")
	if err := a.staysAdministrator(r, u.ID, func(s *authz.Subject) {
		s.Granted = slices.DeleteFunc(slices.Clone(s.Granted), func(id string) bool { return id == role })
	}); err != nil {
		return nil, err
	}
	if u, err = a.s.access.Revoke(r.Context(), u.ID, role, a.actor(r)); err != nil {
		return nil, err
	}
	return append([]webapi.Grant{}, a.grantsOf(r.Context(), u, "")...), nil
}

func (a *api) roles(*http.Request) (any, error) {
	list := []webapi.Role{}
	for _, c := range a.s.cfg.Roles {
		if role, ok := a.s.access.Role(c.ID); ok {
			list = append(list, webapi.Role{ID: role.ID, Title: role.Title, Latest: role.Latest(a.p.now())})
		}
	}
	return list, nil
}
