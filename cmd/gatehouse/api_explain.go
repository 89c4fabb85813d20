package main

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"time"

	"github.com/gatehouse-sso/gatehouse/authz"
	"github.com/gatehouse-sso/gatehouse/configs"
	"github.com/gatehouse-sso/gatehouse/gateway"
	webapi "github.com/gatehouse-sso/gatehouse/web/api"
)

// explainRoutes are what the API says about decisions.
func (a *api) explainRoutes() {
	a.route("GET /v1/explain", a.explain, "helpdesk", "auditors").doc(
		"Why somebody may or may not use a service, and what it and the targets would learn: by the functions that the gateway itself calls.", webapi.Explanation{},
		append([]string{"name whom: user name or ID; nothing: nobody signed in", "service! which service", "method of the request; GET where nothing is said", "path of the request; / where nothing is said",
			"from address of the caller; 127.0.0.1 where nothing is said"}, takesSignIn...)...)
}

// takesSignIn are what a question supposes of a sign-in that rules may read.
var takesSignIn = []string{
	"idp identity provider of the sign-in; that of the first link where nothing is said", "acr authentication context of the sign-in",
	"amr[] methods of the sign-in, as pwd or otp", "signed_in when: a time (2026-12-31T17:00:00Z) or how long ago (5m); now where nothing is said",
}

// asSignedIn is somebody of the directory with the sign-in that a question supposes,
// and the roles that follow.
func (a *api) asSignedIn(r *http.Request, userID string) (sub authz.Subject, err error) {
	if sub, err = a.s.directory.Subject(r.Context(), userID); err != nil {
		return sub, err
	}
	if sub.Provider = r.FormValue("idp"); sub.Provider == "" {
		if sub.Provider, err = a.s.firstProvider(r.Context(), userID); err != nil {
			return sub, err
		}
	}
	sub.ACR, sub.AMR, sub.AuthTime = r.FormValue("acr"), lines(r.Form["amr"]), a.p.now()
	if at := r.FormValue("signed_in"); at != "" {
		if ago, err := time.ParseDuration(at); err == nil && ago >= 0 {
			sub.AuthTime = sub.AuthTime.Add(-ago)
		} else if sub.AuthTime, err = time.Parse(time.RFC3339, at); err != nil {
			return sub, errBad(fmt.Sprintf("signed_in is a time (2026-12-31T17:00:00Z) or how long ago (5m), not %q", at))
		}
	}
	return a.s.rules.policy.Roles(sub), nil
}

// firstProvider is where somebody would sign in: at the provider of their first
// link. Empty: they have none.
func (s *site) firstProvider(ctx context.Context, userID string) (string, error) {
	links, err := s.directory.Links(ctx, userID)
	if err != nil || len(links) == 0 {
		return "", err
	}
	return links[0].Provider, nil
}

func (a *api) explain(r *http.Request) (any, error) {
	service := r.FormValue("service")
	i := slices.IndexFunc(a.s.cfg.Services, func(c configs.Service) bool { return c.ID == service })
	if i < 0 {
		return nil, errNone(fmt.Sprintf("there is no service %q — the configuration lists those there are", service))
	}
	x := webapi.Explanation{Service: service, Reasons: []authz.Reason{}, Sent: []authz.Released{}, Withheld: []authz.Withheld{}, Headers: []webapi.Header{}}
	var sub authz.Subject
	if r.FormValue("name") != "" {
		u, err := a.named(r)
		if err != nil {
			return nil, err
		}
		x.User = a.view(u)
		if sub, err = a.asSignedIn(r, u.ID); err != nil {
			return nil, err
		}
		x.User.Roles, x.User.Groups = notNil(sub.Roles), notNil(sub.Groups)
	}
	from, err := netip.ParseAddr(cmp.Or(r.FormValue("from"), "127.0.0.1"))
	if err != nil {
		return nil, errBad("from is not an address")
	}
	d := a.s.rules.policy.Decide(authz.Request{
		Subject: sub, Service: service, Method: cmp.Or(r.FormValue("method"), "GET"), Path: cmp.Or(r.FormValue("path"), "/"), From: from, Now: a.p.now(),
	})
	x.Outcome, x.Code, x.Needs = d.Outcome.String(), d.Code, d.Needs
	x.Reasons = append(x.Reasons, d.Reasons...)
	if sub.ID != "" {
		rel := a.s.rules.release.Release("service:"+service, sub)
		x.Naming = rel.Naming.String()
		x.Sent, x.Withheld = append(x.Sent, rel.Sent...), append(x.Withheld, rel.Withheld...)
		multi := multi(a.s.cfg)
		for _, h := range gateway.Outgoing(gateway.Several(headers(a.s.cfg.Services[i].Headers), func(attr string) bool { return multi[attr] }), rel) {
			x.Headers = append(x.Headers, webapi.Header(h))
		}
		for _, t := range a.s.cfg.Targets {
			x.Targets = append(x.Targets, webapi.TargetPreview{Target: t.ID, Account: a.s.rules.scopes[t.ID](sub), Sent: append([]authz.Released{}, a.s.rules.release.Release("target:"+t.ID, sub).Sent...)})
		}
	}
	return x, nil
}
