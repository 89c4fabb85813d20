package main

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/gatehouse-sso/gatehouse/authz"
	"github.com/gatehouse-sso/gatehouse/configs"
	"github.com/gatehouse-sso/gatehouse/federation"
	"github.com/gatehouse-sso/gatehouse/gateway/session"
	"github.com/gatehouse-sso/gatehouse/provisioning"
	"github.com/gatehouse-sso/gatehouse/provisioning/access"
	"github.com/gatehouse-sso/gatehouse/provisioning/audit"
	webapi "github.com/gatehouse-sso/gatehouse/web/api"
	"github.com/gatehouse-sso/gatehouse/web/portal"
)

// What people can see of themselves, and do about it. None of these routes takes
// whom it is about: that is who asks.

func (a *api) meRoutes() {
	const takesWhom = "name on the machine: whom it is about"
	a.route("GET /v1/me", a.myData, self).doc("What is known about the person, who says so since when, and who learns of it.", webapi.Me{}, takesWhom)
	a.route("GET /v1/me/export", a.exportMine, self).doc("All that is stored about the person.", webapi.Everything{}, takesWhom)
	a.route("DELETE /v1/me/sessions", a.endMine, self).doc("Ends one of the person's sessions, or all but the one that asks.", map[string]int{}, takesWhom, "id which; left out: all others")
	a.route("POST /v1/me/link", a.linkMine, everyone).doc("Where to go to add an identity by signing in with it.", webapi.Link{}, "provider! identity provider")
	a.route("DELETE /v1/me/link", a.unlinkMine, everyone).doc("Takes an identity away; never the only one, nor the one that the person is signed in with.", map[string]int{}, takesWhom,
		"provider! identity provider", "issuer! as the provider calls itself", "subject! as it calls the person")
}

func (a *api) myData(r *http.Request) (any, error) {
	u, err := a.me(r)
	if err != nil {
		return nil, err
	}
	return a.everythingOf(r.Context(), u)
}

// everythingOf is what u may know of u.
func (a *api) everythingOf(ctx context.Context, u provisioning.User) (v webapi.Me, err error) {
	sub, err := a.subject(ctx, u.ID)
	if err != nil {
		return v, err
	}
	if asking := authz.SubjectFrom(ctx); asking.ID == u.ID { // rules may look at the sign-in
		sub = a.s.rules.policy.Roles(sub.SignedInAs(asking))
	}
	v = webapi.Me{
		ID: u.ID, UserName: a.s.directory.FullName(u.Store, u.UserName), Active: u.Active, Created: u.Created, Modified: u.Modified,
		Claims: u.Attributes, Roles: []string{}, Groups: notNil(sub.Groups), Grants: append([]webapi.Grant{}, a.grantsOf(ctx, u, "")...),
		Services: []webapi.Learner{}, Targets: []webapi.Learner{}, Sessions: []webapi.MySession{}, Links: []webapi.MyLink{}, Providers: []string{},
	}
	for _, id := range sub.Roles {
		v.Roles = append(v.Roles, a.s.roleTitle(id))
	}
	if v.Sessions, err = a.mySessions(ctx, u.ID); err != nil {
		return v, err
	}
	if v.Services, err = a.myServices(ctx, sub); err != nil {
		return v, err
	}
	if v.Targets, err = a.myTargets(ctx, sub); err != nil {
		return v, err
	}
	if v.Links, err = a.myLinks(ctx, u.ID); err != nil {
		return v, err
	}
	for _, p := range a.s.cfg.IdentityProviders {
		v.Providers = append(v.Providers, p.ID)
	}
	return v, nil
}

// mostSessions of one person are shown.
const mostSessions = 100

func (a *api) mySessions(ctx context.Context, userID string) ([]webapi.MySession, error) {
	rows, err := a.s.sessions.Find(ctx, session.Filter{User: userID}, "", mostSessions)
	list := []webapi.MySession{}
	current := session.Current(ctx)
	for _, row := range rows {
		list = append(list, webapi.MySession{ID: row.ID, Provider: row.Provider, Created: row.Created, Seen: row.Seen, Until: row.Until, Current: current != nil && current.ID == row.ID})
	}
	slices.SortFunc(list, func(x, y webapi.MySession) int { return y.Seen.Compare(x.Seen) })
	return list, err
}

// myServices are those that the person may open, with what they are told now.
func (a *api) myServices(ctx context.Context, sub authz.Subject) ([]webapi.Learner, error) {
	list := []webapi.Learner{}
	visited, err := a.s.sessions.Visited(ctx, sub.ID)
	if err != nil {
		return nil, err
	}
	for _, c := range a.s.cfg.Services {
		if !a.s.opens(sub, c, a.p.now()) {
			continue
		}
		rel := a.s.rules.release.Release("service:"+c.ID, sub)
		v := webapi.Learner{ID: c.ID, Title: a.s.serviceTitle(c.ID), Sent: append([]authz.Released{}, rel.Sent...), Withheld: append([]authz.Withheld{}, rel.Withheld...), Seen: visited[c.Host]}
		list = append(list, v)
	}
	return list, nil
}

// opens reports whether somebody may open a service's front page, if need be by a
// stronger sign-in.
func (s *site) opens(sub authz.Subject, c configs.Service, now time.Time) bool {
	d := s.rules.policy.Decide(authz.Request{Subject: sub, Service: c.ID, Method: http.MethodGet, Path: c.Path, From: machine, Now: now})
	return d.Outcome == authz.Allow || d.Outcome == authz.StepUp
}

// myTargets are those that have an account of the person, or are about to.
func (a *api) myTargets(ctx context.Context, sub authz.Subject) ([]webapi.Learner, error) {
	list := []webapi.Learner{}
	states, err := a.s.outbox.States(ctx, sub.ID)
	if err != nil {
		return nil, err
	}
	accounts, err := a.s.outbox.Accounts(ctx, sub.ID, "", mostSessions)
	if err != nil {
		return nil, err
	}
	for _, st := range states {
		v := webapi.Learner{ID: st.Target, Title: a.s.targetTitle(st.Target), Status: st.Status, Sent: []authz.Released{}, Withheld: []authz.Withheld{}}
		if in := a.s.rules.scopes[st.Target]; in != nil && in(sub) {
			rel := a.s.rules.release.Release("target:"+st.Target, sub)
			v.Sent, v.Withheld = append(v.Sent, rel.Sent...), append(v.Withheld, rel.Withheld...)
		}
		for _, l := range accounts {
			if l.Target == st.Target {
				v.At, v.Since, v.Told = l.At, l.Since, l.Sent
			}
		}
		list = append(list, v)
	}
	return list, nil
}

func (a *api) myLinks(ctx context.Context, userID string) ([]webapi.MyLink, error) {
	found, err := a.s.directory.Links(ctx, userID)
	list := []webapi.MyLink{}
	for _, l := range found {
		v := webapi.MyLink{Provider: l.Provider, Issuer: l.Ref.Issuer, Subject: l.Ref.Subject, Since: l.Seen}
		switch s := session.Current(ctx); {
		case len(found) == 1:
			v.Keeps = "only"
		case s != nil && s.Issuer == l.Ref.Issuer && s.Subject == l.Ref.Subject:
			v.Keeps = "current"
		}
		list = append(list, v)
	}
	return list, err
}

// mostExported events about one person are exported.
const mostExported = 10_000

func (a *api) exportMine(r *http.Request) (any, error) {
	u, err := a.me(r)
	if err != nil {
		return nil, err
	}
	v := webapi.Everything{Made: a.p.now(), Events: []audit.Event{}}
	if v.Me, err = a.everythingOf(r.Context(), u); err != nil {
		return nil, err
	}
	found, err := a.s.access.Of(r.Context(), u.ID, mostExported)
	if err != nil {
		return nil, err
	}
	v.Requests = a.viewRequests(r.Context(), found)
	for e, err := range audit.Events(r.Context(), a.p.store, audit.Query{UserID: u.ID, Limit: mostExported}) {
		if err != nil {
			return nil, err
		}
		v.Events = append(v.Events, e)
	}
	return v, nil
}

// endMine ends sessions of the person alone: an ID of somebody else's is as one
// that does not exist.
func (a *api) endMine(r *http.Request) (any, error) {
	u, err := a.me(r)
	if err != nil {
		return nil, err
	}
	ctx, id := r.Context(), r.FormValue("id")
	if id == "" { // all others
		f := session.Filter{User: u.ID}
		if current := session.Current(ctx); current != nil {
			f.Except = current.ID
		}
		n, err := a.s.sessions.EndAll(ctx, f, session.ReasonEverywhere)
		return map[string]int{"ended": n}, err
	}
	row, err := a.s.sessions.Row(ctx, id)
	if errors.Is(err, session.ErrNone) || err == nil && row.UserID != u.ID {
		return nil, errNone("there is no such session of yours")
	}
	if err != nil {
		return nil, err
	}
	return map[string]int{"ended": 1}, a.s.sessions.End(ctx, id, session.ReasonSignedOut)
}

func (a *api) linkMine(r *http.Request) (any, error) {
	s := session.Current(r.Context())
	if s == nil {
		return nil, &access.Refusal{Code: authz.ReasonLogin, Text: "only somebody who is signed in can add an identity"}
	}
	to, err := a.s.gateway.LinkURL(&s.Session, r.FormValue("provider"), portal.MePath)
	return webapi.Link{URL: to}, err
}

// errKeeps: the identity has to stay.
var errKeeps = errors.New("this identity can not be taken away: it is the only one, or the one that you are signed in with")

func (a *api) unlinkMine(r *http.Request) (any, error) {
	u, err := a.me(r)
	if err != nil {
		return nil, err
	}
	ref, provider := federation.Ref{Issuer: r.FormValue("issuer"), Subject: r.FormValue("subject")}, r.FormValue("provider")
	if s := session.Current(r.Context()); s != nil && s.Issuer == ref.Issuer && s.Subject == ref.Subject {
		return nil, &access.Refusal{Code: access.ReasonKeeps, Text: errKeeps.Error()}
	}
	_, d, err := a.s.directory.Unlink(r.Context(), u.ID, ref, provisioning.Self, func(left []provisioning.Link) error {
		if len(left) == 0 {
			return errKeeps
		}
		return nil
	})
	if errors.Is(err, errKeeps) {
		return nil, &access.Refusal{Code: access.ReasonKeeps, Text: errKeeps.Error()}
	}
	if err != nil {
		return nil, err
	}
	// Sign-ins by that identity are over with it, also of one that went before: then
	// they could not be ended.
	rows, err := a.s.sessions.Find(r.Context(), session.Filter{User: u.ID, Provider: provider}, "", 0)
	if err != nil {
		return nil, err
	}
	ended := 0
	for _, row := range rows {
		if row.Issuer == ref.Issuer && row.Subject == ref.Subject {
			if err := a.s.sessions.End(r.Context(), row.ID, session.ReasonUser); err != nil {
				return nil, err
			}
			ended++
		}
	}
	if len(d.Unlinked)+ended == 0 {
		return nil, errNone("there is no such identity of yours")
	}
	return map[string]int{"ended": ended}, nil
}
