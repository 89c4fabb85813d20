package main

import (
	"net/http"
	"slices"
	"strings"

	"github.com/gatehouse-sso/gatehouse/authz"
	"github.com/gatehouse-sso/gatehouse/configs"
	"github.com/gatehouse-sso/gatehouse/provisioning"
	webapi "github.com/gatehouse-sso/gatehouse/web/api"
)

// What people are asked and told about what services and targets learn of them.
// Their word is a part of their user, so a change of it reaches headers, tokens
// and targets as any other change does.

func (a *api) consentRoutes() {
	const takesWhom = "name on the machine: whom it is about"
	a.route("GET /v1/me/consents", a.consents, self).doc("Who learns what about the person, where they are asked or told.", []webapi.Recipient{}, takesWhom,
		"service only what is to be said before this one is used")
	a.route("POST /v1/me/consents", a.consent, self).doc("Notes what the person agrees to: of what was shown to them, what is given; the rest is refused, or told where nobody asks.", []webapi.Recipient{}, takesWhom,
		"shown[] recipient, blank, attribute: service:wiki mail", "given[] the same, of what they agree to")
}

// givesNotice: people are told what the recipient learns.
func (s *site) givesNotice(to string) bool {
	return slices.ContainsFunc(s.cfg.Services, func(c configs.Service) bool { return "service:"+c.ID == to && c.Notice })
}

// asks are the recipients about which somebody has a word: services where they
// are asked or told, and targets where they have an account.
func (s *site) asks(sub authz.Subject) (list []string) {
	for _, c := range s.cfg.Services {
		if to := "service:" + c.ID; c.Notice || s.rules.release.NeedsConsent(to) {
			list = append(list, to)
		}
	}
	for _, t := range s.cfg.Targets {
		if to := "target:" + t.ID; s.rules.release.NeedsConsent(to) && s.rules.scopes[t.ID](sub) {
			list = append(list, to)
		}
	}
	return list
}

// unsaid reports whether somebody is to be asked or told something before they use
// a service. Pages of ours tell nobody anything.
func (s *site) unsaid(sub authz.Subject, service string) bool {
	return !strings.HasPrefix(service, "gatehouse:") && slices.ContainsFunc(s.asks(sub), func(to string) bool {
		return (to == "service:"+service || strings.HasPrefix(to, "target:")) && len(s.rules.release.Unsaid(to, sub, s.givesNotice(to))) > 0
	})
}

func (s *site) recipientTitle(to string) string {
	kind, id, _ := strings.Cut(to, ":")
	if kind == "service" {
		return s.serviceTitle(id)
	}
	i := slices.IndexFunc(s.cfg.Targets, func(t configs.Target) bool { return t.ID == id })
	if i < 0 || s.cfg.Targets[i].Title == "" {
		return id
	}
	return s.cfg.Targets[i].Title
}

func (a *api) consents(r *http.Request) (any, error) {
	sub, err := a.self(r)
	if err != nil {
		return nil, err
	}
	return a.recipients(sub, r.FormValue("service")), nil
}

// recipients are those about which somebody has a word; with a service only it and
// targets, and only what they have not been asked or told.
func (a *api) recipients(sub authz.Subject, service string) []webapi.Recipient {
	out := []webapi.Recipient{}
	for _, to := range a.s.asks(sub) {
		var list []authz.Released
		switch {
		case service == "":
			list = a.s.rules.release.Agreeable(to, sub)
		case to == "service:"+service || strings.HasPrefix(to, "target:"):
			list = a.s.rules.release.Unsaid(to, sub, a.s.givesNotice(to))
		}
		v := webapi.Recipient{To: to, Title: a.s.recipientTitle(to)}
		for _, rel := range list {
			v.Values = append(v.Values, webapi.Learnt{Attribute: rel.Attribute, Values: rel.Values, Purpose: rel.Purpose, Basis: rel.Basis, Said: sub.Consents[to][rel.Attribute]})
		}
		if len(v.Values) > 0 {
			out = append(out, v)
		}
	}
	return out
}

// consent notes the person's word about what was shown to them, where there is
// still something to say about it.
func (a *api) consent(r *http.Request) (any, error) {
	sub, err := a.self(r)
	if err != nil {
		return nil, err
	}
	shown, given := r.Form["shown"], r.Form["given"]
	var said []provisioning.Consent
	for _, v := range a.recipients(sub, "") {
		for _, value := range v.Values {
			key := v.To + " " + value.Attribute
			if !slices.Contains(shown, key) {
				continue
			}
			c := provisioning.Consent{To: v.To, Attribute: value.Attribute, Said: authz.Told, At: a.p.now().UTC()}
			if value.Basis == authz.BasisConsent {
				c.Said = authz.Refused
				if slices.Contains(given, key) {
					c.Said = authz.Given
				}
			}
			said = append(said, c)
		}
	}
	_, _, err = a.s.directory.Change(r.Context(), sub.ID, provisioning.Self, func(u *provisioning.User) error {
		for _, c := range said {
			if sub.Consents[c.To][c.Attribute] != c.Said {
				u.Consent(c)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	after, err := a.subject(r.Context(), sub.ID)
	return a.recipients(after, ""), err
}
