package main

import (
	"context"
	"net/http"
	"net/netip"
	"net/url"
	"slices"

	"github.com/gatehouse-sso/gatehouse/authz"
	"github.com/gatehouse-sso/gatehouse/configs"
	"github.com/gatehouse-sso/gatehouse/gateway"
	"github.com/gatehouse-sso/gatehouse/provisioning"
	"github.com/gatehouse-sso/gatehouse/provisioning/access"
	"github.com/gatehouse-sso/gatehouse/web"
	webapi "github.com/gatehouse-sso/gatehouse/web/api"
	"github.com/gatehouse-sso/gatehouse/web/portal"
)

// How somebody who may not use a service asks for what is missing, and how those
// who decide learn what they decide about.

func (a *api) askRoutes() {
	const takesWhom = "name on the machine: whom it is about"
	a.route("GET /v1/me/askable", a.askable, self).doc("What the person can ask for because of a service.", webapi.Askable{}, takesWhom, "service! which", "url the page that they wanted to open")
	a.route("GET /v1/me/requests", a.myRequests, self).doc("The person's own requests, the latest first.", []webapi.Request{}, takesWhom, takesLimit)
	a.route("POST /v1/me/request", a.ask, self).doc("Asks for a role.", webapi.Request{}, takesWhom,
		"role which", "reason why, in a few words", takesUntil, "service where it is missing", "url the page that they wanted to open")
	a.route("DELETE /v1/me/request", a.withdraw, self).doc("Takes a request of one's own back.", webapi.Request{}, takesWhom, "id which")
	a.route("GET /v1/decisions", a.decisions, everyone).doc("Requests about which whoever asks decides, with what each would give.", []webapi.Decision{}, takesAfter, takesLimit)
	a.route("GET /v1/decisions/count", a.countDecisions, everyone).doc("How many of these there are, and for how many services whoever asks answers.", webapi.Waiting{})
}

// me is who a route of the person's own is about: the person, or whom the machine
// names.
func (a *api) me(r *http.Request) (provisioning.User, error) {
	if !a.people {
		return a.named(r)
	}
	return a.s.directory.User(r.Context(), authz.SubjectFrom(r.Context()).ID)
}

// self is me as policy sees them: of a person, with how they signed in.
func (a *api) self(r *http.Request) (authz.Subject, error) {
	if a.people {
		return a.s.rules.policy.Roles(authz.SubjectFrom(r.Context())), nil
	}
	u, err := a.named(r)
	if err != nil {
		return authz.Subject{}, err
	}
	return a.subject(r.Context(), u.ID)
}

// wanted are the roles that could open a service to somebody to whom it was
// denied: those that its configuration offers and those that its rules name, if
// somebody decides about them and the person does not have them.
func (s *site) wanted(sub authz.Subject, service string, d authz.Decision) (list []access.Role) {
	i := slices.IndexFunc(s.cfg.Services, func(c configs.Service) bool { return c.ID == service })
	if i < 0 || d.Code != authz.ReasonNoRule {
		return nil
	}
	ids := slices.Clone([]string(s.cfg.Services[i].Denied.Request))
	for _, r := range d.Reasons {
		for _, c := range r.Unmet {
			if r.Effect == authz.Allow && c.Kind == "roles" {
				ids = append(ids, c.Want...)
			}
		}
	}
	for i, id := range ids {
		role, known := s.access.Role(id)
		if known && role.Askable(service) && !slices.Contains(sub.Roles, id) && !slices.Contains(ids[:i], id) {
			list = append(list, role)
		}
	}
	return list
}

// asking is what the denial page offers.
func (s *site) asking(ctx context.Context, sub authz.Subject, service string, d authz.Decision, back string) gateway.Asking {
	roles := s.wanted(sub, service, d)
	if len(roles) == 0 {
		return gateway.Asking{}
	}
	public := s.cfg.Server.PublicURL.String()
	list, err := s.access.Of(ctx, sub.ID, 100)
	if err != nil {
		return gateway.Asking{} // asking would fail too
	}
	for _, r := range list {
		if i := slices.IndexFunc(roles, func(role access.Role) bool { return role.ID == r.Role }); i >= 0 && r.State == access.Pending {
			return gateway.Asking{Waiting: &web.Waiting{Role: roles[i].Title, Made: r.Made, Until: r.Until, URL: public + portal.RequestsPath}}
		}
	}
	return gateway.Asking{URL: public + portal.RequestsPath + "/ask?" + url.Values{"service": {service}, "back": {back}}.Encode()}
}

// ours is an address that somebody came from, if it is one behind this gateway;
// else nothing.
func (s *site) ours(address string) *url.URL {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.User != nil || u.Opaque != "" || u.Scheme != s.cfg.Server.PublicURL.Scheme || u.Port() != s.cfg.Server.PublicURL.Port() {
		return nil
	}
	if !serves(s.cfg, u.Hostname()) {
		return nil
	}
	return u
}

// askable answers what can be asked for because of a service, at the page in url.
func (a *api) askable(r *http.Request) (any, error) {
	sub, err := a.self(r)
	if err != nil {
		return nil, err
	}
	out := webapi.Askable{Wants: []string{}, Roles: []webapi.Role{}}
	path := "/"
	if u := a.s.ours(r.FormValue("url")); u != nil {
		out.URL, path = u.String(), max(u.Path, "/")
	}
	service := r.FormValue("service")
	i := slices.IndexFunc(a.s.cfg.Services, func(c configs.Service) bool { return c.ID == service })
	if i < 0 {
		return nil, errNone("there is no such service")
	}
	out.Service, out.Title = service, a.s.serviceTitle(service)
	d := a.s.rules.policy.Decide(authz.Request{Subject: sub, Service: service, Method: http.MethodGet, Path: path, From: fromOf(r), Now: a.p.now()})
	for _, why := range d.Reasons {
		if why.Effect == authz.Allow && why.Text != "" && !slices.Contains(out.Wants, why.Text) {
			out.Wants = append(out.Wants, why.Text)
		}
	}
	mine, err := a.s.access.Of(r.Context(), sub.ID, 100)
	if err != nil {
		return nil, err
	}
	for _, role := range a.s.wanted(sub, service, d) {
		v := webapi.Role{ID: role.ID, Title: role.Title, Latest: role.Latest(a.p.now())}
		for _, q := range mine {
			if q.Role == role.ID && q.State == access.Pending {
				waiting := a.viewRequest(r.Context(), q)
				v.Waiting = &waiting
			}
		}
		out.Roles = append(out.Roles, v)
	}
	return out, nil
}

// fromOf is where a person's request came from; of the machine, here.
func fromOf(r *http.Request) netip.Addr {
	if from, err := netip.ParseAddr(r.Header.Get("X-Forwarded-For")); err == nil {
		return from
	}
	return machine
}

// machine is where a request comes from of which nothing else is known.
var machine = netip.IPv6Loopback()

func (a *api) myRequests(r *http.Request) (any, error) {
	u, err := a.me(r)
	if err != nil {
		return nil, err
	}
	found, err := a.s.access.Of(r.Context(), u.ID, limitOf(r))
	return a.viewRequests(r.Context(), found), err
}

// ask makes a request for a role. Where a service is named, the role must be one
// that could open it.
func (a *api) ask(r *http.Request) (any, error) {
	u, err := a.me(r)
	if err != nil {
		return nil, err
	}
	until, err := endOf(r.FormValue("until"), a.p.now())
	if err != nil {
		return nil, err
	}
	q := access.Request{UserID: u.ID, Role: r.FormValue("role"), Service: r.FormValue("service"), Reason: r.FormValue("reason"), Until: until}
	if to := a.s.ours(r.FormValue("url")); to != nil {
		q.URL = to.String()
	}
	if q.Service != "" && !a.s.offers(q.Service, q.Role) {
		return nil, &access.Refusal{Code: access.ReasonRole, Text: "the service does not ask for this role"}
	}
	if q, err = a.s.access.Ask(r.Context(), q); err != nil {
		return nil, err
	}
	return a.viewRequest(r.Context(), q), nil
}

// offers reports whether a service offers a role to those whom it denies, or
// names it in a rule.
func (s *site) offers(service, role string) bool {
	return slices.ContainsFunc(s.cfg.Services, func(c configs.Service) bool {
		return c.ID == service && (slices.Contains(c.Denied.Request, role) || slices.ContainsFunc(c.Access, func(r configs.Rule) bool {
			return r.Allow != nil && slices.Contains(r.Allow.Roles, role)
		}))
	})
}

func (a *api) withdraw(r *http.Request) (any, error) {
	u, err := a.me(r)
	if err != nil {
		return nil, err
	}
	q, err := a.s.access.Withdraw(r.Context(), r.FormValue("id"), u.ID)
	if err != nil {
		return nil, err
	}
	return a.viewRequest(r.Context(), q), nil
}

// open are the requests about which whoever asks decides.
func (a *api) open(r *http.Request, limit int) ([]access.Request, error) {
	if !a.people {
		return a.s.access.All(r.Context(), access.Pending, r.FormValue("after"), limit)
	}
	return a.s.access.Open(r.Context(), authz.SubjectFrom(r.Context()), r.FormValue("after"), limit)
}

func (a *api) decisions(r *http.Request) (any, error) {
	found, err := a.open(r, min(limitOf(r), pageOf))
	if err != nil {
		return nil, err
	}
	list := []webapi.Decision{}
	for _, q := range found {
		v, err := a.decision(r.Context(), q)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	return list, nil
}

// decision says what a request would give, as policy sees it.
func (a *api) decision(ctx context.Context, q access.Request) (webapi.Decision, error) {
	v := webapi.Decision{Request: a.viewRequest(ctx, q), Has: []string{}, Opens: []string{}, Accounts: []string{}, Latest: q.Until}
	u, err := a.s.directory.User(ctx, q.UserID)
	if err != nil {
		return v, err
	}
	v.Name = webapi.First(provisioning.Effective(u, "display_name"))
	before, err := a.subject(ctx, u.ID)
	if err != nil {
		return v, err
	}
	for _, id := range before.Roles {
		v.Has = append(v.Has, a.s.roleTitle(id))
	}
	v.Has = append(v.Has, before.Groups...)
	for _, g := range before.Attributes["groups"] {
		if !slices.Contains(v.Has, g) {
			v.Has = append(v.Has, g)
		}
	}
	after := before
	after.Granted = append(slices.Clone(before.Granted), q.Role)
	after = a.s.rules.policy.Roles(after)
	for _, c := range a.s.cfg.Services {
		if a.s.opens(after, c, a.p.now()) && !a.s.opens(before, c, a.p.now()) {
			v.Opens = append(v.Opens, a.s.serviceTitle(c.ID))
		}
	}
	for _, t := range a.s.cfg.Targets {
		if in := a.s.rules.scopes[t.ID]; in(after) && !in(before) {
			v.Accounts = append(v.Accounts, a.s.targetTitle(t.ID))
		}
	}
	if role, ok := a.s.access.Role(q.Role); ok {
		if latest := role.Latest(a.p.now()); !latest.IsZero() && latest.Before(v.Latest) {
			v.Latest = latest
		}
	}
	return v, nil
}

func (s *site) roleTitle(id string) string {
	if r, ok := s.access.Role(id); ok {
		return r.Title
	}
	return id
}

// mostCounted requests are counted for a menu.
const mostCounted = 100

func (a *api) countDecisions(r *http.Request) (any, error) {
	found, err := a.open(r, mostCounted)
	sub := authz.SubjectFrom(r.Context())
	return webapi.Waiting{Decides: !a.people || a.s.access.Decides(sub), Count: len(found), Owns: len(a.s.ownedBy(sub))}, err
}
