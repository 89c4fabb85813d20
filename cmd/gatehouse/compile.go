package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/gatehouse-sso/gatehouse/authz"
	"github.com/gatehouse-sso/gatehouse/configs"
	"github.com/gatehouse-sso/gatehouse/federation/saml"
	"github.com/gatehouse-sso/gatehouse/gateway"
	"github.com/gatehouse-sso/gatehouse/provisioning"
	"github.com/gatehouse-sso/gatehouse/provisioning/connector/scim2"
	intakeldap "github.com/gatehouse-sso/gatehouse/provisioning/intake/ldap"
)

// rules are what a configuration says about who may what, compiled. The same
// are used by run, check and explain.
type rules struct {
	policy  *authz.Policy
	release *authz.ReleasePolicy
	// scopes decide who has an account at a target, by target.
	scopes map[string]func(authz.Subject) bool
	jit    map[string]provisioning.JIT // by identity provider
	look   look
	// directories are the sources that are LDAP directories, but for their connections.
	directories map[string]intakeldap.Source
	// protected says who is never taken away by itself.
	protected func(authz.Subject) bool
	// admin says who may do everything, duties who has a part of it, by duty, and
	// approves who decides about a role, by role.
	admin            func(authz.Subject) bool
	duties, approves map[string]func(authz.Subject) bool
	// answers is approves without those who may decide about everything.
	answers map[string]func(authz.Subject) bool
	// owners are who answers for a service, by service.
	owners map[string]func(authz.Subject) bool
}

// compile turns the plain data of a configuration into rules. Every mistake is
// reported at its place.
func compile(cfg *configs.Config, programs *authz.Programs) (rules, []configs.Mistake) {
	var out []configs.Mistake
	add := func(ms []authz.Mistake) {
		for _, m := range ms {
			out = append(out, configs.At(m.Pos, m.Text, m.Cure))
		}
	}
	out = append(out, mayMistakes(cfg)...)
	known := authz.Known{UserStores: storeIDs(cfg), Attributes: cfg.Readable(), Programs: programs}
	for _, p := range cfg.IdentityProviders {
		known.IdentityProviders = append(known.IdentityProviders, p.ID)
	}

	var roles []authz.Role
	for i, r := range cfg.Roles {
		role := authz.Role{ID: r.ID, Title: r.Title, Pos: cfg.Pos("roles", i)}
		for _, m := range r.From {
			role.From = append(role.From, match(m))
		}
		roles = append(roles, role)
	}
	var services []authz.ServiceRules
	for i, s := range cfg.Services {
		sr := authz.ServiceRules{ID: s.ID, Pos: cfg.Pos("services", i)}
		for j, r := range s.Access {
			rule := authz.Rule{ID: r.ID, Text: r.Text, Pos: cfg.Pos("services", i, "access", j), Methods: r.Methods, Paths: r.Paths}
			if r.Allow != nil {
				m, ok := vouched(match(*r.Allow), s.IdentityProviders)
				if !ok {
					out = append(out, configs.At(rule.Pos, "the rule is for people from identity providers that the service takes nobody from", "add them to identity_provider of the service, or remove the rule"))
				}
				rule.Allow = &m
			}
			if r.Deny != nil {
				m := match(*r.Deny)
				rule.Deny = &m
			}
			sr.Rules = append(sr.Rules, rule)
		}
		services = append(services, sr)
		services = append(services, people("owners:"+s.ID, cfg.Pos("services", i, "owners"), s.Owners))
	}
	services = append(services, ownRules()...)
	services = append(services,
		people("gatehouse:admins", cfg.Pos("admins"), cfg.Admins.All()),
		people("gatehouse:protected", cfg.Pos("guard", "protect"), configs.People{Roles: cfg.Guard.Protect.Roles, Groups: cfg.Guard.Protect.Groups}))
	for duty, p := range dutiesOf(cfg) {
		services = append(services, people("gatehouse:"+duty, cfg.Pos("admins", duty), p))
	}
	for i, r := range cfg.Roles {
		services = append(services, people("approvers:"+r.ID, cfg.Pos("roles", i, "approvers"), r.Approvers))
	}
	for i, t := range cfg.Targets {
		out = append(out, paths(cfg, t, i)...)
		// A scope is a rule like any other: who may have an account.
		pos := cfg.Pos("targets", i)
		if scoped(t.Users) {
			m := authz.Match{Roles: t.Users.Roles, Groups: t.Users.Groups, UserStores: t.Users.UserStores, When: t.Users.When, SignedIn: t.Users.All}
			services = append(services, authz.ServiceRules{ID: scopeOf(t.ID), Pos: pos, Rules: []authz.Rule{{ID: "users", Pos: cfg.Pos("targets", i, "users"), Allow: &m}}})
		}
	}

	out = append(out, ldapMistakes(cfg)...)

	r := rules{scopes: map[string]func(authz.Subject) bool{}, jit: map[string]provisioning.JIT{}}
	var ms []authz.Mistake
	r.policy, ms = authz.Compile(roles, services, known)
	add(ms)
	r.release, ms = authz.CompileRelease(releaseRules(cfg), known)
	add(ms)
	among := func(service string) func(authz.Subject) bool {
		return func(s authz.Subject) bool {
			s.Active = true // an inactive user keeps an account that is disabled
			return r.policy.Decide(authz.Request{Subject: s, Service: service, Method: "GET", Path: "/"}).Outcome == authz.Allow
		}
	}
	for _, t := range cfg.Targets {
		in := among(scopeOf(t.ID))
		r.scopes[t.ID] = func(s authz.Subject) bool { return in(s.SignedOut()) }
	}
	r.admin, r.protected = among("gatehouse:admins"), among("gatehouse:protected")
	r.duties, r.approves = map[string]func(authz.Subject) bool{administrator: r.admin}, map[string]func(authz.Subject) bool{}
	for duty := range dutiesOf(cfg) {
		r.duties[duty] = among("gatehouse:" + duty)
	}
	r.owners, r.answers = map[string]func(authz.Subject) bool{}, map[string]func(authz.Subject) bool{}
	for _, s := range cfg.Services {
		r.owners[s.ID] = among("owners:" + s.ID)
	}
	for _, role := range cfg.Roles {
		if !askable(cfg, role) {
			continue
		}
		own, all := among("approvers:"+role.ID), r.duties["approvers"]
		r.answers[role.ID] = func(s authz.Subject) bool { return own(s) || all(s) }
		r.approves[role.ID] = func(s authz.Subject) bool { return own(s) || all(s) || r.admin(s) }
	}
	for i, p := range cfg.IdentityProviders {
		jit, errs := compileJIT(cfg, p, i)
		out = append(out, errs...)
		r.jit[p.ID] = jit
	}
	looks, errs := compileLook(cfg)
	out = append(out, errs...)
	r.look = looks
	directories, errs := compileDirectories(cfg)
	r.directories = directories
	return r, append(out, errs...)
}

// vouched narrows what lets people in to those who signed in where the service
// takes people from; what is for anyone stays so. It is not ok if nobody is left.
func vouched(m authz.Match, by []string) (_ authz.Match, ok bool) {
	switch {
	case m.Anyone || len(by) == 0:
	case len(m.IdentityProviders) == 0:
		m.IdentityProviders = by
	default:
		both := slices.DeleteFunc(slices.Clone(m.IdentityProviders), func(id string) bool { return !slices.Contains(by, id) })
		if len(both) == 0 {
			return m, false
		}
		m.IdentityProviders = both
	}
	return m, true
}

// scoped: somebody is meant to have an account at the target.
func scoped(s configs.Scope) bool {
	return s.All || len(s.Roles) > 0 || len(s.Groups) > 0 || len(s.UserStores) > 0 || s.When != ""
}

// scopeOf names a target's scope among the services of the policy; the colon
// keeps it apart from every service's ID.
func scopeOf(target string) string { return "target:" + target }

// people are described as those who may use a service that nobody reaches, so
// that roles and groups mean the same everywhere.
func people(id, pos string, p configs.People) authz.ServiceRules {
	s := authz.ServiceRules{ID: id, Pos: pos}
	for name, m := range map[string]authz.Match{"roles": {Roles: p.Roles}, "groups": {Groups: p.Groups}, "users": {Users: p.Users}} {
		if len(m.Roles)+len(m.Groups)+len(m.Users) > 0 {
			s.Rules = append(s.Rules, authz.Rule{ID: name, Pos: pos, Allow: &m})
		}
	}
	return s
}

func storeIDs(cfg *configs.Config) []string {
	var ids []string
	for _, s := range cfg.UserStores {
		ids = append(ids, s.ID)
	}
	if ids == nil {
		ids = []string{"primary"}
	}
	return ids
}

func match(m configs.Match) authz.Match {
	out := authz.Match{
		Anyone: m.Anyone, SignedIn: m.SignedIn, Roles: m.Roles, Groups: m.Groups, Users: m.Users,
		IdentityProviders: m.IdentityProviders, UserStores: m.UserStores, ACR: m.ACR, AMR: m.AMR,
		MaxAge: m.MaxAge, Networks: m.Networks, Callers: m.Callers, When: m.When,
	}
	for name, vals := range m.Attributes {
		if out.Attributes == nil {
			out.Attributes = map[string][]string{}
		}
		out.Attributes[name] = vals
	}
	return out
}

// paths finds what is released to a target under a name that is no place in an
// account there.
func paths(cfg *configs.Config, t configs.Target, i int) (out []configs.Mistake) {
	n := namesOf(t)
	var there []string
	for j, r := range t.Release {
		path := n.place(r.Attribute, r.As)
		pos := cfg.Pos("targets", i, "release", j)
		if path == "" {
			out = append(out, configs.At(pos, fmt.Sprintf("nothing says where %s goes at the target %s", r.Attribute, t.ID), n.say))
		} else if err := n.check(path); err != nil {
			out = append(out, configs.At(pos, fmt.Sprintf("%q is no %s: %v", path, n.called, err), n.mend))
		}
		there = append(there, path)
	}
	if t.SCIM2 == nil || t.Edited() { // what is published is looked at when it is
		return out
	}
	if lacks := scim2.Profiles[t.SCIM2.Profile].Lacks(there); len(lacks) > 0 {
		out = append(out, configs.At(cfg.Pos("targets", i), fmt.Sprintf("%s makes no account without %s", t.SCIM2.Profile, strings.Join(lacks, ", ")), "release attributes to it that go there, with as where they have another place"))
	}
	return out
}

// issuer is what the configuration itself says that a provider is called.
func issuer(p configs.IdentityProvider) string {
	switch {
	case p.OIDC != nil:
		return address(p.OIDC.Issuer)
	case p.SAML != nil:
		return p.SAML.Metadata.EntityID
	}
	return ""
}

func compileJIT(cfg *configs.Config, p configs.IdentityProvider, i int) (provisioning.JIT, []configs.Mistake) {
	var out []configs.Mistake
	jit := provisioning.JIT{Provider: p.ID, UserStore: p.Provisioning.UserStore}
	if jit.UserStore == "" {
		jit.UserStore = storeIDs(cfg)[0]
	}
	for _, o := range cfg.IdentityProviders {
		if o.ID != p.ID && issuer(o) != "" && issuer(o) == issuer(p) {
			jit.SameIssuer = append(jit.SameIssuer, o.ID)
		}
	}
	switch p.Provisioning.Mode {
	case "blocking":
		jit.Mode = provisioning.Blocking
	case "async":
		jit.Mode = provisioning.Async
	}
	switch p.Provisioning.Prompt {
	case "confirm":
		jit.Prompt = provisioning.Confirm
	case "choose":
		jit.Prompt = provisioning.Choose
	}
	name := p.Provisioning.UserName
	if name == "" {
		name = "preferred_username"
		if p.SAML != nil {
			name = "uid"
		}
	}
	// An administrator may write a SAML attribute's full name too.
	theirs := func(name string) string { return name }
	if p.SAML != nil {
		theirs = saml.Friendly
	}
	var err error
	if jit.UserName, err = provisioning.CompileFrom(theirs(name)); err != nil {
		out = append(out, configs.At(cfg.Pos("identity_providers", i, "provisioning", "user_name"), err.Error(), "name one of the provider's attributes, or write an expression over claims"))
	}
	var maps []provisioning.MapRule
	for attr, m := range p.Attributes {
		from := theirs(m.From)
		if m.Expr != "" {
			from = m.Expr
		}
		absent := m.Absent
		if absent == "" {
			absent = p.Absent
		}
		maps = append(maps, provisioning.MapRule{
			Attribute: attr, From: from, Keep: absent == "keep", Required: m.Required, Ask: m.Ask,
			Pos: cfg.Pos("identity_providers", i, "attributes", attr),
		})
	}
	var errs []configs.Mistake
	jit.Mapping, errs = compileMapping(maps, cfg.Pos("identity_providers", i, "attributes"))
	return jit, append(out, errs...)
}

// compileMapping compiles rules in the order of their attributes; a mistake that
// has no place of its own is at pos.
func compileMapping(rules []provisioning.MapRule, pos string) (provisioning.Mapping, []configs.Mistake) {
	slices.SortFunc(rules, func(a, b provisioning.MapRule) int { return strings.Compare(a.Attribute, b.Attribute) })
	m, err := provisioning.CompileMapping(rules)
	if err == nil {
		return m, nil
	}
	var out []configs.Mistake
	for _, e := range joined(err) {
		pos, text := pos, e.Error()
		for _, r := range rules {
			if rest, ok := strings.CutPrefix(text, r.Pos+": "); ok {
				pos, text = r.Pos, rest
			}
		}
		out = append(out, configs.At(pos, text, "name one of their attributes, or write an expression over claims"))
	}
	return m, out
}

// joined are the errors that errors.Join joined.
func joined(err error) []error {
	var j interface{ Unwrap() []error }
	if errors.As(err, &j) {
		return j.Unwrap()
	}
	return []error{err}
}

// multi says which attributes can have several values.
func multi(cfg *configs.Config) map[string]bool {
	m := map[string]bool{"groups": true, "roles": true}
	for _, a := range cfg.AttributeTypes() {
		if a.Multi {
			m[a.ID] = true
		}
	}
	return m
}

// headers are the header rules of a service: its preset's, then its own.
func headers(h configs.Headers) []gateway.HeaderRule {
	list := slices.Clone(gateway.Presets[h.Preset])
	for name, own := range h.Own {
		list = slices.DeleteFunc(list, func(r gateway.HeaderRule) bool { return strings.EqualFold(r.Name, name) })
		list = append(list, gateway.HeaderRule{Name: name, Attribute: own.Attribute, List: own.List, Separator: own.Separator, Text: own.Encoding})
	}
	slices.SortStableFunc(list, func(a, b gateway.HeaderRule) int { return strings.Compare(a.Name, b.Name) })
	return list
}
