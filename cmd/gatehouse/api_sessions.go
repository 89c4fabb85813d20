package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"

	"github.com/gatehouse-sso/gatehouse/configs"
	"github.com/gatehouse-sso/gatehouse/gateway/session"
	"github.com/gatehouse-sso/gatehouse/provisioning/access"
	"github.com/gatehouse-sso/gatehouse/provisioning/audit"
	"github.com/gatehouse-sso/gatehouse/provisioning/store"
	webapi "github.com/gatehouse-sso/gatehouse/web/api"
)

// sessionRoutes are what the API can do about sign-ins that last.
func (a *api) sessionRoutes() {
	which := []string{"name of this user: user name or ID", "idp begun at this identity provider", "service with which this service's host was opened"}
	a.route("GET /v1/sessions", a.sessions, "helpdesk", "auditors").doc(
		"Sessions in the order of their IDs, without what opens them.", []webapi.Session{}, append(which, takesAfter, takesLimit)...)
	a.route("DELETE /v1/sessions", a.endSessions).doc(
		"Ends one session, or all of a user, an identity provider or a service, or all there are.", map[string]int{}, append(which, "id one session", "all all there are, if it is `true`")...)
	if !a.people { // a way in is made by who has the machine alone
		a.route("POST /v1/recover", a.recover).doc("Makes a link by which somebody comes in without an identity provider.", webapi.WayIn{})
	}
}

func (a *api) recover(r *http.Request) (any, error) {
	code, until, err := a.s.sessions.OfferRecovery(r.Context(), func(tx store.Tx) error {
		return a.p.audit.Append(tx, audit.Event{Kind: "recovery.offered", By: access.Machine})
	})
	if err != nil {
		return nil, err
	}
	return webapi.WayIn{URL: a.s.cfg.Server.PublicURL.String() + "/.gatehouse/recover?" + url.Values{"code": {code}}.Encode(), Until: until}, nil
}

// sessionFilter reads of whom (name), from where (idp) and for which service
// sessions are wanted.
func (a *api) sessionFilter(r *http.Request) (f session.Filter, err error) {
	if r.FormValue("name") != "" {
		u, err := a.named(r)
		if err != nil {
			return f, err
		}
		f.User = u.ID
	}
	// One that is not configured any more can have left sessions all the same.
	if f.Provider = r.FormValue("idp"); f.Provider != "" && !slices.ContainsFunc(a.s.cfg.IdentityProviders, func(c configs.IdentityProvider) bool { return c.ID == f.Provider }) {
		left, err := a.s.sessions.Find(r.Context(), session.Filter{Provider: f.Provider}, "", 1)
		if err != nil {
			return f, err
		}
		if len(left) == 0 {
			return f, errNone(fmt.Sprintf("there is no identity provider %q, and no session is from it — the configuration lists those there are", f.Provider))
		}
	}
	if id := r.FormValue("service"); id != "" {
		i := slices.IndexFunc(a.s.cfg.Services, func(c configs.Service) bool { return c.ID == id })
		if i < 0 {
			return f, errNone(fmt.Sprintf("there is no service %q — the configuration lists those there are", id))
		}
		f.Host = a.s.cfg.Services[i].Host
	}
	return f, nil
}

func (a *api) sessions(r *http.Request) (any, error) {
	f, err := a.sessionFilter(r)
	if err != nil {
		return nil, err
	}
	rows, err := a.s.sessions.Find(r.Context(), f, r.FormValue("after"), limitOf(r))
	if err != nil {
		return nil, err
	}
	list := []webapi.Session{}
	for _, s := range rows {
		list = append(list, a.sessionView(r.Context(), s))
	}
	return list, nil
}

func (a *api) sessionView(ctx context.Context, s session.Row) webapi.Session {
	v := webapi.Session{ID: s.ID, UserID: s.UserID, User: s.UserID, Provider: s.Provider, ACR: s.ACR, Created: s.Created, Seen: s.Seen, Until: s.Until, Waiting: s.Hold != nil}
	if u, err := a.s.directory.User(ctx, s.UserID); err == nil {
		v.User = a.s.directory.FullName(u.Store, u.UserName)
	}
	return v
}

func (a *api) endSessions(r *http.Request) (any, error) {
	if id := r.FormValue("id"); id != "" {
		if _, err := a.s.sessions.Peek(r.Context(), id); errors.Is(err, session.ErrNone) {
			return nil, errNone(fmt.Sprintf("there is no session %q — `gatehouse sessions list` shows those there are", id))
		}
		return map[string]int{"ended": 1}, a.s.sessions.End(r.Context(), id, session.ReasonAdmin)
	}
	f, err := a.sessionFilter(r)
	if err != nil {
		return nil, err
	}
	if f.User == "" && f.Provider == "" && f.Host == "" && r.FormValue("all") != "true" {
		return nil, errBad("nothing says which sessions — name an ID, or --user, --idp, --service or --all")
	}
	n, err := a.s.sessions.EndAll(r.Context(), f, session.ReasonAdmin)
	return map[string]int{"ended": n}, err
}
