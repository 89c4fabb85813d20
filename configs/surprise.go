package configs

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Surprises are what is allowed and may still not be what was meant, in the
// order of the file. They keep nothing from running.
func (c *Config) Surprises() []Mistake {
	s := &surprises{Config: c, found: slices.Clone(c.surprises)}
	s.server()
	s.insecure()
	if len(c.IdentityProviders) == 0 {
		s.say("", "there is no identity provider, so nobody can sign in", "add one under identity_providers")
	}
	for i, svc := range c.Services {
		s.service(where("services").index(i), svc)
	}
	for i, t := range c.Targets {
		s.target(where("targets").index(i), t)
	}
	if c.Admins.All().Nobody() {
		s.say("", "there are no admins, so nobody can use the admin pages", "add admins: { roles: [ … ] }")
	}
	return Sort(s.found)
}

type surprises struct {
	*Config
	found []Mistake
}

func (s *surprises) say(at where, what, cure string) {
	s.found = append(s.found, s.note(at, what, cure))
}

func (s *surprises) server() {
	srv := s.Server
	if srv.PublicURL == nil || isLoopback(srv.PublicURL.Hostname()) {
		return
	}
	s.anybody("server.trusted_proxies", srv.TrustedProxies)
	s.anybody("server.proxy_protocol", srv.ProxyProtocol)
	if srv.PublicURL.Scheme == "http" {
		s.say("server.public_url", "public_url is http although a proxy speaks TLS", "write https, as browsers see it")
	}
	if !s.has("server.tls.cert") && !s.has("server.tls.acme") && len(srv.TrustedProxies) == 0 && len(srv.ForwardAuth) == 0 {
		s.say("server", "the gateway speaks http and trusts no proxy, so every request seems to come from the TLS proxy itself",
			"add its address to trusted_proxies, or write tls: { cert: …, key: … }")
	}
}

// anybody: who is listed is believed about where a request comes from.
func (s *surprises) anybody(section where, list []netip.Prefix) {
	for i, n := range list {
		if n.IsValid() && n.Bits() == 0 {
			s.say(section.index(i), "everybody is believed who says where a request comes from: rules about networks and limits per address hold for nobody", "list the addresses of the proxy")
		}
	}
}

// insecure lists every switch that weakens something and is set so.
func (s *surprises) insecure() {
	for i, p := range s.IdentityProviders {
		at := where("identity_providers").index(i)
		if p.OIDC != nil && p.OIDC.InsecureHTTP {
			s.say(at.key("oidc").key("insecure_http"), "sign-ins at "+p.ID+" go by http: whoever is on the way can be anybody", "give the provider https")
		}
		if p.SAML != nil && !p.SAML.SignRequests {
			s.say(at.key("saml").key("sign_requests"), "sign-in requests to "+p.ID+" are not signed: anybody can make them", "remove the line, unless the provider can not read signed ones")
		}
		if p.SAML != nil && p.SAML.InsecureAllowSHA1 {
			s.say(at.key("saml").key("insecure_allow_sha1"), "signatures of "+p.ID+" may use SHA-1, which can be forged", "have the provider sign with SHA-256")
		}
		if p.SAML != nil && p.SAML.Metadata.URL != nil && p.SAML.Metadata.EntityID == "" && p.SAML.Metadata.Certificate == nil && len(s.IdentityProviders) > 1 {
			s.say(at.key("saml").key("metadata"), "what "+p.ID+" calls itself is for its own metadata to say: it could take another provider's name", "write entity_id, as that provider gave it to you")
		}
		if p.SAML != nil && p.SAML.Metadata.InsecureNoValidUntil {
			s.say(at.key("saml").key("metadata").key("insecure_no_valid_until"), "metadata of "+p.ID+" need not say until when it is valid: where it can not be fetched, a key that was taken back stays trusted", "have the provider publish validUntil, or pin the metadata in a file")
		}
	}
	for i, src := range s.Sources {
		if src.LDAP != nil && src.LDAP.Server.InsecurePlain {
			s.say(where("sources").index(i).key("ldap").key("server").key("insecure_plain"), "the password for "+src.ID+" goes over the network in the clear", "write an ldaps address, or add start_tls: true")
		}
	}
	for i, t := range s.Targets {
		if t.LDAP != nil && t.LDAP.Server.InsecurePlain {
			s.say(where("targets").index(i).key("ldap").key("server").key("insecure_plain"), "the password for "+t.ID+" goes over the network in the clear", "write an ldaps address, or add start_tls: true")
		}
		if l := t.LDAP; l != nil && l.Kind == "openldap" && l.Disable == (LDAPDisable{}) && t.Leave == "disable" {
			s.say(where("targets").index(i).key("ldap"), "nothing says how an account of "+t.ID+" is disabled, so who leaves keeps it as it is", "add disable, or write leave: delete")
		}
		for name, insecure := range map[string]bool{
			"scim2": t.SCIM2 != nil && t.SCIM2.InsecureHTTP, "scim11": t.SCIM11 != nil && t.SCIM11.InsecureHTTP, "webhook": t.Webhook != nil && t.Webhook.InsecureHTTP, "http": t.HTTP != nil && t.HTTP.InsecureHTTP,
		} {
			if insecure {
				s.say(where("targets").index(i).key(name).key("insecure_http"), "accounts go to "+t.ID+" by http: whoever is on the way can read and change them", "give the target https")
			}
		}
	}
}

// deputy is who does what no others are named for.
func (s *surprises) deputy() string {
	if s.Admins.All().Nobody() {
		return "somebody on this machine"
	}
	return "an administrator"
}

func (s *surprises) service(at where, svc Service) {
	allows := 0
	for i, r := range svc.Access {
		p := at.key("access").index(i)
		if r.Allow == nil {
			continue
		}
		allows++
		if r.Allow.Anyone {
			s.say(p, fmt.Sprintf("public: the rule %s lets people in who did not sign in, to %s", r.ID, pathsOf(r)), "")
		}
		if by, ok := shadow(svc.Access, i); ok {
			s.say(p, fmt.Sprintf("the rule %s changes nothing: the rule %s allows all of it already", r.ID, by), "remove it, or narrow the other")
		}
	}
	editor := s.deputy()
	if !s.Admins.ReleaseEditors.Nobody() {
		editor = "a release editor"
	}
	switch {
	case allows == 0:
		s.say(at, fmt.Sprintf("no rule of %s allows anybody, so everybody is denied", svc.ID), "add access with an allow")
	case len(svc.Release) == 0 && svc.Edited():
		s.say(at, fmt.Sprintf("%s learns nothing about people until %s publishes something", svc.ID, editor), "add release, if it needs to know who they are")
	case len(svc.Release) == 0:
		s.say(at, fmt.Sprintf("%s learns nothing about people", svc.ID), "add release, if it needs to know who they are")
	}
	named := slices.ContainsFunc(svc.Access, func(r Rule) bool { return r.Allow != nil && (len(r.Allow.Callers) > 0 || r.Allow.Anyone) })
	if (svc.Tokens || len(svc.Callers) > 0) && !named {
		s.say(at, fmt.Sprintf("%s takes programs, and no rule lets one in", svc.ID), "add a rule with allow: { callers: [ … ] }")
	}
	for _, c := range svc.Callers {
		if c.InsecureHTTP {
			s.say(at.key("callers"), "keys of "+c.ID+" come by http: whoever is on the way can be any program", "give the issuer https")
		}
	}
	for name, h := range svc.Headers.Own {
		named := slices.ContainsFunc(svc.Release, func(r Release) bool { return r.Attribute == h.Attribute })
		if !named && h.Attribute != "jwt" && !svc.Edited() {
			s.say(at.key("headers").key(name), fmt.Sprintf("the header %s is never sent: %s is not released to %s", name, h.Attribute, svc.ID), "add it to release")
		}
	}
	for i := range s.Services {
		if other := &s.Services[i]; other.Host == svc.Host && below(svc.Path, other.Path) {
			s.say(at.key("path"), fmt.Sprintf("requests under %s go to %s, not to %s, and only the rules of %s count there", svc.Path, svc.ID, other.ID, svc.ID), "")
		}
	}
	for i, id := range svc.Denied.Request {
		j := slices.IndexFunc(s.Roles, func(r Role) bool { return r.ID == id })
		if j < 0 {
			continue
		}
		if s.Roles[j].Approvers.Nobody() && s.Admins.Approvers.Nobody() && !svc.OwnersApprove {
			s.say(at.key("denied").key("request").index(i), fmt.Sprintf("only %s can approve a request for the role %s", s.deputy(), id), "add approvers to the role")
		}
	}
}

func pathsOf(r Rule) string {
	if len(r.Paths) == 0 {
		return "every path"
	}
	return strings.Join(r.Paths, ", ")
}

// below reports whether path is strictly inside of prefix.
func below(path, prefix string) bool {
	prefix = strings.TrimRight(prefix, "/")
	return path != prefix && strings.TrimRight(path, "/") != prefix && strings.HasPrefix(path, prefix+"/")
}

func (s *surprises) target(at where, t Target) {
	u := t.Users
	if !u.All && len(u.Roles)+len(u.Groups)+len(u.UserStores) == 0 && u.When == "" {
		s.say(at, fmt.Sprintf("nobody has an account at %s", t.ID), "add users: { roles: [ … ] }, or { all: true }")
	}
	blocking := slices.ContainsFunc(s.IdentityProviders, func(p IdentityProvider) bool { return p.Provisioning.Mode == "blocking" })
	if t.Wait && !blocking {
		s.say(at.key("wait"), fmt.Sprintf("no sign-in waits for %s: no identity provider provisions in mode blocking", t.ID), "write mode: blocking at one, or remove the line")
	}
}

// shadow finds a rule that allows all that rule i allows. Of two that allow the
// same, the later is in the shadow.
func shadow(rules []Rule, i int) (by string, ok bool) {
	for j, r := range rules {
		if j == i || r.Allow == nil || !covers(r, rules[i]) || j > i && covers(rules[i], r) {
			continue
		}
		return r.ID, true
	}
	return "", false
}

// covers reports whether whatever b allows is allowed by a: only where that
// can be seen without evaluating anything.
func covers(a, b Rule) bool {
	return wider(*a.Allow, *b.Allow) && holds(a.Methods, b.Methods, func(x, y string) bool { return x == y }) && holds(a.Paths, b.Paths, covered)
}

// wider reports whether a describes everybody whom b describes.
func wider(a, b Match) bool {
	asked := len(a.Roles) + len(a.Groups) + len(a.Users) + len(a.IdentityProviders) + len(a.UserStores) + len(a.Attributes) +
		len(a.ACR) + len(a.AMR) + len(a.Networks) + len(a.Callers)
	if asked > 0 || a.MaxAge != 0 || a.When != "" {
		return false
	}
	return a.Anyone || a.SignedIn && !b.Anyone
}

// holds reports whether each of b is inside one of a; no list is everything.
func holds(a, b Some[string], in func(pattern, s string) bool) bool {
	if len(a) == 0 {
		return true
	}
	return len(b) > 0 && !slices.ContainsFunc(b, func(s string) bool {
		return !slices.ContainsFunc(a, func(pattern string) bool { return in(pattern, s) })
	})
}

// covered reports whether a path, or a path with /* at its end, is inside of
// another.
func covered(pattern, s string) bool {
	base, below := strings.CutSuffix(pattern, "/*")
	return pattern == s || below && strings.HasPrefix(s+"/", base+"/")
}
