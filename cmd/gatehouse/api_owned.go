package main

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"

	"github.com/gatehouse-sso/gatehouse/authz"
	"github.com/gatehouse-sso/gatehouse/configs"
	"github.com/gatehouse-sso/gatehouse/gateway/session"
	"github.com/gatehouse-sso/gatehouse/provisioning/access"
	webapi "github.com/gatehouse-sso/gatehouse/web/api"
)

// Who answers for a service sees it and what happens at it, and nothing of others:
// a service of somebody else is not there for them, as one that does not exist.

func (a *api) ownedRoutes() {
	const takesWhom = "name on the machine: whom it is about"
	a.route("GET /v1/me/owned", a.owned, self).doc("The services for which the person answers.", []webapi.Service{}, takesWhom)
	a.route("GET /v1/me/owned/service", a.ownedService, self).doc("One of them: who may use it, who was given its roles, who asks for them, what happened.", webapi.OwnedService{}, takesWhom, "id! which")
}

// ownedBy are the services for which somebody answers, in the order of the
// configuration.
func (s *site) ownedBy(sub authz.Subject) (list []configs.Service) {
	if sub.ID == "" || !sub.Active {
		return nil
	}
	sub = s.rules.policy.Roles(sub)
	for _, c := range s.cfg.Services {
		if owns := s.rules.owners[c.ID]; owns != nil && owns(sub) {
			list = append(list, c)
		}
	}
	return list
}

func (a *api) owned(r *http.Request) (any, error) {
	sub, err := a.self(r)
	if err != nil {
		return nil, err
	}
	list := []webapi.Service{}
	for _, c := range a.s.ownedBy(sub) {
		list = append(list, a.serviceView(c))
	}
	return list, nil
}

// So many of each are shown of a service.
const (
	ownedGrants   = 200
	ownedRequests = 50
	ownedEvents   = 50
)

func (a *api) ownedService(r *http.Request) (any, error) {
	sub, err := a.self(r)
	if err != nil {
		return nil, err
	}
	id, mine := r.FormValue("id"), a.s.ownedBy(sub)
	i := slices.IndexFunc(mine, func(c configs.Service) bool { return c.ID == id })
	if i < 0 {
		return nil, errNone(fmt.Sprintf("there is no service %q for which you answer", id))
	}
	v := webapi.OwnedService{Service: a.serviceView(mine[i]), Granted: []webapi.Grant{}, Waiting: []webapi.Request{}, Events: []webapi.OwnedEvent{}}
	if v.SignedIn, err = a.signedIn(r.Context(), mine[i].Host); err != nil {
		return nil, err
	}
	if err := a.grantedAt(r.Context(), id, &v); err != nil {
		return nil, err
	}
	waiting, err := a.s.access.All(r.Context(), access.Pending, "", 10*pageOf)
	if err != nil {
		return nil, err
	}
	for _, q := range waiting {
		if q.Service == id && len(v.Waiting) < ownedRequests {
			v.Waiting = append(v.Waiting, a.viewRequest(r.Context(), q))
		}
	}
	r.Form.Set("service", id)
	found, err := a.someEvents(r, ownedEvents)
	for _, e := range found.Events {
		v.Events = append(v.Events, webapi.OwnedEvent{At: e.At, Kind: e.Kind, Code: e.Code, Flow: e.Flow, User: a.who(r.Context(), e.UserID), By: a.who(r.Context(), cmp.Or(e.By, e.UserID)), Text: e.Text})
	}
	return v, err
}

// signedIn counts the people who are signed in at a host.
func (a *api) signedIn(ctx context.Context, host string) (n int, err error) {
	rows, err := a.s.sessions.Find(ctx, session.Filter{Host: host}, "", maxUsers)
	people := map[string]bool{}
	for _, row := range rows {
		people[row.UserID] = true
	}
	return len(people), err
}

// grantedAt adds who was given, by name, a role that opens a service.
func (a *api) grantedAt(ctx context.Context, service string, v *webapi.OwnedService) error {
	for _, role := range a.s.cfg.Roles {
		if !a.s.offers(service, role.ID) {
			continue
		}
		for u, err := range a.s.directory.Granted(ctx, role.ID, "", ownedGrants) {
			if err != nil {
				return err
			}
			v.Granted = append(v.Granted, a.grantsOf(ctx, u, role.ID)...)
		}
	}
	return nil
}
