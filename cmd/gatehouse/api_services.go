package main

import (
	"cmp"
	"fmt"
	"maps"
	"net/http"
	"slices"

	"github.com/gatehouse-sso/gatehouse/configs"
	webapi "github.com/gatehouse-sso/gatehouse/web/api"
)

// serviceRoutes show what is behind the gateway, as the configuration says.
func (a *api) serviceRoutes() {
	a.route("GET /v1/services", a.services, "helpdesk", "auditors", "release_editors").doc("Services in the order of the configuration, with their rules and what they may learn.", []webapi.Service{})
	a.route("GET /v1/service", a.service, "helpdesk", "auditors", "release_editors").doc("One of them.", webapi.Service{}, "id! which")
}

func (a *api) services(*http.Request) (any, error) {
	list := []webapi.Service{}
	for _, c := range a.s.cfg.Services {
		list = append(list, a.serviceView(c))
	}
	return list, nil
}

func (a *api) service(r *http.Request) (any, error) {
	id := r.FormValue("id")
	for _, c := range a.s.cfg.Services {
		if c.ID == id {
			return a.serviceView(c), nil
		}
	}
	return nil, errNone(fmt.Sprintf("there is no service %q — the configuration lists those there are", id))
}

func (a *api) serviceView(c configs.Service) webapi.Service {
	v := webapi.Service{
		ID: c.ID, Title: cmp.Or(c.Title, c.ID), Description: c.Description, URL: a.s.addressOf(c), Upstreams: []string{}, Providers: c.IdentityProviders,
		Headers: cmp.Or(c.Headers.Preset, "default"), Rules: []webapi.Rule{}, Release: releaseView(c.Release), Provisioned: c.ProvisionedBy,
		Contact: cmp.Or(c.Denied.Contact, a.s.cfg.Help.Contact), Offers: c.Denied.Request,
	}
	for _, u := range c.Upstream {
		v.Upstreams = append(v.Upstreams, u.URL().Redacted())
	}
	for _, r := range c.Access {
		if r.Allow != nil {
			v.Rules = append(v.Rules, ruleView(r, "allow", *r.Allow))
		}
		if r.Deny != nil {
			v.Rules = append(v.Rules, ruleView(r, "deny", *r.Deny))
		}
	}
	return v
}

func ruleView(r configs.Rule, effect string, m configs.Match) webapi.Rule {
	v := webapi.Rule{ID: r.ID, Text: r.Text, Effect: effect, Methods: r.Methods, Paths: r.Paths, Whom: []webapi.Clause{}}
	add := func(kind string, values ...string) {
		if len(values) > 0 {
			v.Whom = append(v.Whom, webapi.Clause{Kind: kind, Values: values})
		}
	}
	if m.Anyone {
		v.Whom = append(v.Whom, webapi.Clause{Kind: "anyone"})
	}
	if m.SignedIn {
		v.Whom = append(v.Whom, webapi.Clause{Kind: "signed_in"})
	}
	add("roles", m.Roles...)
	add("groups", m.Groups...)
	add("users", m.Users...)
	add("identity_provider", m.IdentityProviders...)
	add("user_store", m.UserStores...)
	for _, attr := range slices.Sorted(maps.Keys(m.Attributes)) {
		add("attributes."+attr, m.Attributes[attr]...)
	}
	add("acr", m.ACR...)
	add("amr", m.AMR...)
	if m.MaxAge > 0 {
		add("max_age", m.MaxAge.String())
	}
	for _, n := range m.Networks {
		add("networks", n.String())
	}
	if m.When != "" {
		add("when", m.When)
	}
	return v
}

func releaseView(rules []configs.Release) []webapi.ReleasedValue {
	list := []webapi.ReleasedValue{}
	for _, r := range rules {
		list = append(list, webapi.ReleasedValue{Attribute: r.Attribute, As: r.As, Values: r.Values, Purpose: r.Purpose, Basis: r.Basis, When: r.When})
	}
	return list
}
