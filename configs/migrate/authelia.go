package migrate

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Authelia reads the configuration of Authelia: its access control and its session.
// It goes on as the identity provider, since it can be one by OpenID Connect and
// knows the passwords.
//
// Its first rule that matches decides; of ours any deny wins, and any allow lets in.
// So each rule is written with what would have matched before it taken out:
//
//  1. admin.* /api   two_factor  →  allow acr, on /api
//  2. admin.*        one_factor  →  allow, not on /api
//  3. …              deny        →  nothing: who matches no rule does not pass
func Authelia(files ...Source) (Draft, error) {
	s := &site{userClaim: "preferred_username"}
	for _, f := range files {
		root, err := readYAML(f)
		if err != nil {
			return Draft{}, err
		}
		s.authelia(root)
	}
	return s.write()
}

func (s *site) authelia(root node) {
	session := root.at("session")
	for _, kept := range []struct {
		key string
		to  *string
	}{{"inactivity", &s.idle}, {"expiration", &s.lifetime}} {
		if n := session.at(kept.key); n.there() {
			if *kept.to = duration(n.text()); *kept.to == "" {
				s.left(n.place, "session.%s %q: write it under session", kept.key, n.text())
			}
		}
	}
	if n := session.at("remember_me"); n.there() && n.text() != "-1" {
		s.left(n.place, "session.remember_me: there are no longer sessions by choice")
	}
	for _, c := range session.at("cookies").items() {
		if url := c.at("authelia_url"); url.there() && s.issuer == "" {
			s.issuer = url.text()
			s.fill("identity_providers: Authelia itself stays where people sign in: give the gateway a client in its identity_providers.oidc, with the scopes openid, profile, email and groups")
			s.scopes = []string{"openid", "profile", "email", "groups"}
		}
	}
	known := map[string]bool{"session": true, "access_control": true, "theme": true, "log": true, "server": true, "telemetry": true, "storage": true, "notifier": true, "authentication_backend": true, "jwt_secret": true, "identity_validation": true, "totp": true, "webauthn": true, "duo_api": true, "ntp": true, "password_policy": true, "regulation": true, "certificates_directory": true, "default_2fa_method": true, "identity_providers": true}
	for _, p := range root.pairs() {
		if !known[p.key] {
			s.left(p.value.place, "%s: not carried over; look whether you need it", p.key)
		}
	}
	control := root.at("access_control")
	networks := map[string][]string{}
	for _, n := range control.at("networks").items() {
		networks[n.at("name").text()] = n.at("networks").texts()
	}
	var read []autheliaRule
	var hosts []string
	for _, n := range control.at("rules").items() {
		r := s.autheliaRule(n, networks)
		read = append(read, r)
		for _, d := range r.domains {
			if !strings.HasPrefix(d, "*.") && !slices.Contains(hosts, d) {
				hosts = append(hosts, d)
			}
		}
		for _, d := range r.domains {
			if strings.HasPrefix(d, "*.") {
				s.left(n.place, "domain %q: each host is a service; the rule holds for those that other rules name", d)
			}
		}
	}
	if p := control.at("default_policy"); p.there() && p.text() != "deny" {
		s.left(p.place, "default_policy %q: who matches no rule does not pass", p.text())
	}
	for _, host := range hosts {
		s.services = append(s.services, autheliaService(host, read))
	}
}

// An autheliaRule is one of theirs.
type autheliaRule struct {
	place
	domains  []string
	any      bool // of domains that can not be known
	policy   string
	when     []string // that make it match, all of them; empty: always
	subjects []rule   // one of these people; nil: whoever
	unsaid   bool     // when is not all that makes it match
}

func (s *site) autheliaRule(n node, networks map[string][]string) autheliaRule {
	r := autheliaRule{place: n.place, policy: n.at("policy").text()}
	if !slices.Contains([]string{"bypass", "one_factor", "two_factor", "deny"}, r.policy) {
		r.policy, r.unsaid = "deny", true
		s.left(n.place, "policy %q: what it lets in is not known; nobody passes where the rule counts", n.at("policy").text())
	}
	for _, d := range n.at("domain").texts() {
		if who, rest, ok := strings.Cut(d, "}"); ok && (who == "{user" || who == "{group") {
			r.unsaid, d = true, "*"+rest
			s.left(n.place, "domain %q: a service has one host, whoever asks", who+"}"+rest)
		}
		r.domains = append(r.domains, strings.ToLower(d)) // as it compares them
	}
	if re := n.at("domain_regex"); re.there() {
		r.any = true
		s.left(re.place, "domain_regex: a service has a host; what the rule would have refused is refused, whom it would have let in does not pass")
	}
	if m := n.at("methods").texts(); len(m) > 0 {
		var quoted []string
		for _, one := range m {
			quoted = append(quoted, celString(strings.ToUpper(one)))
		}
		r.when = append(r.when, "request.method in ["+strings.Join(quoted, ", ")+"]")
	}
	if res := n.at("resources"); res.there() {
		var each []string
		for _, re := range res.texts() {
			// Theirs looks at the path with what follows the ?.
			only := strings.ReplaceAll(re, "([/?].*)?$", "(/.*)?$")
			is, err := pathIs(only)
			if err != nil || strings.Contains(only, `\?`) || strings.Contains(only, "?P<") || strings.Contains(only, "[?") || strings.Contains(only, "/?]") {
				r.unsaid = true
				s.left(res.place, "resources %q: rules here look at the path alone", re)
				continue
			}
			if only == re && strings.HasSuffix(re, "$") && r.policy != "deny" {
				s.left(res.place, "resources %q: holds here whatever follows the ?", re)
			}
			each = append(each, is)
		}
		if len(each) > 0 {
			r.when = append(r.when, "("+strings.Join(each, " || ")+")")
		}
	}
	if q := n.at("query"); q.there() {
		r.unsaid = true
		s.left(q.place, "query: rules here look at the path alone")
	}
	if nets := n.at("networks"); nets.there() {
		var quoted []string
		for _, name := range nets.texts() {
			list, ok := networks[name]
			if !ok {
				list = []string{name}
			}
			for _, text := range list {
				if _, err := netip.ParsePrefix(text); err != nil {
					if a, err := netip.ParseAddr(text); err == nil {
						text = netip.PrefixFrom(a, a.BitLen()).String()
					} else {
						r.unsaid = true
						s.left(nets.place, "networks: %q is no network", text)
						continue
					}
				}
				quoted = append(quoted, celString(text))
			}
		}
		if len(quoted) > 0 {
			r.when = append(r.when, "net(request.from, "+strings.Join(quoted, ", ")+")")
		}
	}
	for _, either := range n.at("subject").items() {
		var who rule
		for _, one := range either.items() {
			kind, name, _ := strings.Cut(one.text(), ":")
			switch {
			case kind == "user":
				who.users = append(who.users, name)
			case kind == "group":
				who.when = append(who.when, celString(name)+" in user.groups")
			default:
				who.when = append(who.when, "false")
				s.left(one.place, "subject %q: nobody passes by it", one.text())
			}
		}
		if len(who.users) > 1 { // who is two users is nobody
			who.when = append(who.when, "false")
		}
		r.subjects = append(r.subjects, who)
	}
	if r.policy == "bypass" && r.subjects != nil {
		s.left(n.place, "bypass with subjects: nobody is known before they sign in")
	}
	return r
}

// is says for a host whether a rule is about it.
func (r autheliaRule) is(host string) bool {
	if r.any {
		return true
	}
	return slices.ContainsFunc(r.domains, func(d string) bool {
		if suffix, ok := strings.CutPrefix(d, "*"); ok {
			return strings.HasSuffix(host, suffix)
		}
		return d == host
	})
}

// autheliaService writes the rules for one host.
func autheliaService(host string, rules []autheliaRule) *service {
	sv := &service{host: host, headers: "authelia"}
	var before []string // conditions under which an earlier rule decides
	for _, r := range rules {
		if !r.is(host) {
			continue
		}
		all := "(" + strings.Join(r.when, " && ") + ")"
		if len(r.when) == 0 {
			all = "true"
		}
		whole := all == "true" && r.subjects == nil
		if r.unsaid {
			// It may match where that can not be said. Whoever comes after it might
			// be one whom it would have refused.
			if r.policy != "bypass" {
				return sv
			}
			continue
		}
		if !r.any && r.policy != "deny" {
			made := rule{strong: r.policy == "two_factor", anyone: r.policy == "bypass" && r.subjects == nil, when: slices.Clone(before)}
			if all != "true" {
				made.when = append(made.when, all)
			}
			people := r.subjects
			if people == nil {
				people = []rule{{}}
			}
			for _, who := range people {
				one := made
				one.users, one.when = who.users, append(slices.Clone(made.when), who.when...)
				sv.rules = append(sv.rules, one)
			}
		}
		if whole {
			return sv // nothing after it is ever asked
		}
		if r.policy == "bypass" && !r.any {
			continue // whom it lets in, nothing after it needs to keep out
		}
		before = append(before, "!("+strings.Join(append(slices.Clone(r.when), r.people()...), " && ")+")")
	}
	return sv
}

// people is the condition that somebody is one of the subjects.
func (r autheliaRule) people() []string {
	if r.subjects == nil {
		return nil
	}
	var either []string
	for _, who := range r.subjects {
		all := slices.Clone(who.when)
		for _, u := range who.users {
			all = append(all, fmt.Sprintf("user.user_name == %s", celString(u)))
		}
		either = append(either, "("+strings.Join(all, " && ")+")")
	}
	return []string{"(" + strings.Join(either, " || ") + ")"}
}
