package main

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/gatehouse-sso/gatehouse/authz"
	"github.com/gatehouse-sso/gatehouse/provisioning/audit"
	"github.com/gatehouse-sso/gatehouse/provisioning/outbox"
	webapi "github.com/gatehouse-sso/gatehouse/web/api"
)

// signInBefore is the sign-in by which somebody came to what these events tell of,
// where it is not among them: a page that is met later has a code of its own.
func (a *api) signInBefore(ctx context.Context, list []audit.Event) (before []audit.Event, err error) {
	i := slices.IndexFunc(list, func(e audit.Event) bool { return e.UserID != "" })
	if i < 0 || slices.ContainsFunc(list, func(e audit.Event) bool { return strings.HasPrefix(e.Kind, "login") }) {
		return nil, nil
	}
	looked := 0
	for e, err := range audit.Events(ctx, a.p.store, audit.Query{UserID: list[i].UserID, Before: list[i].Seq}) {
		if err != nil {
			return nil, err
		}
		if looked++; looked > mostOfFlow {
			break
		}
		if e.Kind != "login" || list[i].Provider != "" && e.Provider != list[i].Provider {
			continue
		}
		for same, err := range audit.Events(ctx, a.p.store, audit.Query{Flow: e.Flow, Before: list[i].Seq, Limit: mostOfFlow}) {
			if err != nil {
				return nil, err
			}
			before = append(before, same)
		}
		slices.Reverse(before)
		return before, nil
	}
	return nil, nil
}

// mostOfFlow events of one support code are looked at.
const mostOfFlow = 200

// flow gathers what happened under a support code: who signed in where, what was
// said of them by name, what became of it, and how the rules see them now. It
// holds no values of attributes.
func (a *api) flow(r *http.Request) (any, error) {
	code := strings.ToUpper(strings.TrimSpace(r.FormValue("code")))
	v := webapi.Flow{Code: code, Events: []audit.Event{}}
	user := ""
	for e, err := range audit.Events(r.Context(), a.p.store, audit.Query{Flow: code, Limit: mostOfFlow}) {
		if err != nil {
			return nil, err
		}
		v.Events = append(v.Events, e)
	}
	if len(v.Events) == 0 {
		return nil, errNone(fmt.Sprintf("nothing is known of the support code %q — it may be younger than a second, or mistyped", code))
	}
	slices.Reverse(v.Events)
	before, err := a.signInBefore(r.Context(), v.Events)
	if err != nil {
		return nil, err
	}
	v.Events = append(before, v.Events...)
	v.Names = a.namesIn(r.Context(), v.Events)
	for _, e := range v.Events {
		if e.Kind == "login" {
			v.Said = e.Names
		}
		if strings.HasPrefix(e.Kind, "login") || v.Provider == nil && e.Provider != "" {
			if p, err := a.providerOf(e.Provider); err == nil {
				view := a.providerView(p)
				v.Provider, v.Mapped = &view, view.Mapping
			}
		}
		if e.UserID != "" {
			user = e.UserID
		}
		if e.Service != "" {
			v.Service = e.Service
		}
		if e.Code != "" {
			v.Refused = e.Code
		}
	}
	u, err := a.s.directory.User(r.Context(), user)
	if err != nil { // nobody, or deleted since
		return v, nil
	}
	v.User = &webapi.User{ID: u.ID, UserName: a.s.directory.FullName(u.Store, u.UserName), Active: u.Active, Version: u.Version, Created: u.Created, Modified: u.Modified}
	sub, err := a.subject(r.Context(), u.ID)
	if err != nil {
		return nil, err
	}
	v.User.Roles, v.User.Groups = notNil(sub.Roles), notNil(sub.Groups)
	if v.Provider != nil {
		sub.Provider, sub.AuthTime = v.Provider.ID, v.Events[0].At
	}
	if a.s.serviceTitle(v.Service) != "" && v.Service != "" {
		from, _ := netip.ParseAddr(v.Events[len(v.Events)-1].From) // the page that was met
		d := a.s.rules.policy.Decide(authz.Request{Subject: sub, Service: v.Service, Method: http.MethodGet, Path: "/", From: from, Now: a.p.now()})
		v.Rules, v.Outcome = d.Reasons, d.Outcome.String()
		rel := a.s.rules.release.Release("service:"+v.Service, sub)
		for _, sent := range rel.Sent {
			v.Released = append(v.Released, sent.Attribute)
		}
		v.Withheld = rel.Withheld
	}
	first := v.Events[0].At
	ops, err := a.s.outbox.Operations(r.Context(), outbox.Question{UserID: u.ID, Limit: mostOfFlow})
	for _, op := range ops {
		if !op.At.Add(op.Took).Before(first) {
			v.Steps = append(v.Steps, op)
		}
	}
	return v, err
}
