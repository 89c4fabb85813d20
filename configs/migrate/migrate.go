// Package migrate makes of the configuration of another gateway a draft of ours.
//
//	files ──parse──▶ lines with their places ──read──▶ site ──write──▶ Draft
//	                                             └──────▶ Left, Fill
//
// It reads what says who signs in where, what is protected and who may use it,
// and says that in our words. What can not be said in them is not guessed: it is
// named in Left, with its place. Where it would have narrowed who may pass, whatever
// it would have narrowed is left out with it, so that a draft lets in fewer people
// than what it was made of, never more. Secrets are not copied; the name of a file
// stands in their place, and Fill says so.
package migrate

import (
	"cmp"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// A Source is a file that is read.
type Source struct{ Name, Text string }

// A Note is about a line of a file, or, with Line 0, about the draft.
type Note struct {
	File string
	Line int
	Text string
}

// String is one line, without what would tell a terminal something.
func (n Note) String() string {
	text := n.Text
	if n.Line > 0 {
		text = fmt.Sprintf("%s:%d: %s", n.File, n.Line, n.Text)
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return '?'
		}
		return r
	}, text)
}

// A Draft is what became of a configuration.
type Draft struct {
	YAML string
	Fill []Note // what stands in the draft in place of something, and what to put there
	Left []Note // what was not carried over, and why
}

// Formats are those that can be read, by the name of the program.
var Formats = map[string]func(...Source) (Draft, error){
	"oauth2-proxy": OAuth2Proxy, "authelia": Authelia, "mod_auth_openidc": ModAuthOpenIDC,
}

// place is where something was said.
type place struct {
	file string
	line int
}

// site is what all of them say, in our words.
type site struct {
	public, cert, key      string
	issuer, client         string
	scopes                 []string
	groupsClaim, userClaim string
	mail                   string // expression or name of the claim
	idle, lifetime         string
	services               []*service
	draft                  Draft
}

type service struct {
	place
	host, path, upstream, headers string
	strip, add                    string // what the path loses and gets in front
	rules                         []rule
	required                      bool // something is said about who may use it
	shut                          bool // nobody may: what would have narrowed its rules can not be said
}

type rule struct {
	deny, anyone, strong bool
	groups, users        []string
	attributes           map[string][]string
	paths, methods       []string
	networks             []string
	when                 []string // all of them
}

func (s *site) fill(format string, args ...any) {
	s.draft.Fill = append(s.draft.Fill, Note{Text: fmt.Sprintf(format, args...)})
}

func (s *site) left(at place, format string, args ...any) {
	s.draft.Left = append(s.draft.Left, Note{at.file, at.line, fmt.Sprintf(format, args...)})
}

// What stands in a draft in place of what is not known.
const (
	someHost     = "gate.example.org"
	someIssuer   = "https://idp.example.org"
	someUpstream = "http://127.0.0.1:8000"
	someClient   = "gatehouse"
	strongACR    = "https://refeds.org/profile/mfa"
	secretFile   = "client.secret"
)

// write makes the draft.
func (s *site) write() (Draft, error) {
	slices.SortStableFunc(s.draft.Left, func(a, b Note) int { return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line)) })
	if len(s.services) == 0 {
		return s.draft, fmt.Errorf("nothing in it is protected: no upstream, location or rule was found — name all files of its configuration, and the gateway that they are of")
	}
	if s.public == "" || slices.ContainsFunc(s.services, func(sv *service) bool { return "https://"+sv.host == s.public }) {
		s.public = "https://" + someHost
		s.fill("server.public_url: a host for the gateway itself, which no service has; people sign in there")
	}
	if s.issuer == "" {
		s.issuer = someIssuer
		s.fill("identity_providers: issuer: where people sign in, by OpenID Connect")
	}
	if s.client == "" {
		s.client = someClient
		s.fill("identity_providers: client_id: what the identity provider calls the gateway")
	}
	s.fill("%s: put the client's secret into this file beside the draft, readable by the gateway alone; it was not copied", secretFile)
	s.fill("register %s/.gatehouse/oidc/idp/callback at the identity provider", s.public)
	var b strings.Builder
	p := func(format string, args ...any) { fmt.Fprintf(&b, format, args...) }
	p("version: 1\nserver:\n  public_url: %q\n", s.public)
	if s.cert != "" && s.key != "" {
		p("  tls: { cert: %q, key: %q }\n", s.cert, s.key)
	} else {
		p("  listen: 127.0.0.1:8080\n  tls: proxy\n  trusted_proxies: [127.0.0.1]\n")
		s.fill("server: tls: the draft expects something in front, on this machine, that speaks TLS; otherwise write cert and key, or acme, and listen: \":443\"")
	}
	p("store: bolt:./data/gatehouse.db\n")
	if s.idle != "" || s.lifetime != "" {
		p("session: { idle: %s, lifetime: %s }\n", cmp.Or(s.idle, "30m"), cmp.Or(s.lifetime, "8h"))
	}
	p("identity_providers:\n  - id: idp\n    title: Sign in\n    oidc:\n      issuer: %q\n      client_id: %q\n      client_secret: { file: %s }\n", s.issuer, s.client, secretFile)
	if len(s.scopes) > 0 {
		p("      scopes: %s\n", list(s.scopes))
	}
	if s.groupsClaim != "" {
		p("      groups_claim: %q\n", s.groupsClaim)
	}
	p("    attributes:\n      mail: %q\n      display_name: name\n      groups: %q\n", cmp.Or(s.mail, "email"), cmp.Or(s.groupsClaim, "groups"))
	p("    provisioning: { mode: async, user_name: %q }\n", cmp.Or(s.userClaim, "preferred_username"))
	p("services:\n")
	seen := map[string]bool{}
	for _, sv := range s.services {
		id := idOf(sv.host, sv.path)
		for n := 2; seen[id]; n++ {
			id = fmt.Sprintf("%s-%d", idOf(sv.host, sv.path), n)
		}
		seen[id] = true
		if sv.host == "" {
			sv.host = id + ".example.org"
			s.fill("services: %s: host: the name that people type", id)
		}
		if sv.upstream == "" {
			sv.upstream = someUpstream
			s.fill("services: %s: upstream: where %s%s is served", id, sv.host, sv.path)
		}
		sv.write(p, id)
		if len(sv.rules) == 0 || sv.shut {
			s.fill("services: %s: access: nobody passes; say who may", id)
		}
	}
	s.draft.YAML = b.String()
	return s.draft, nil
}

func (sv *service) write(p func(string, ...any), id string) {
	p("  - id: %s\n    title: %q\n    host: %q\n", id, sv.host+strings.TrimSuffix(sv.path, "/"), sv.host)
	if path := strings.TrimSuffix(sv.path, "/"); path != "" {
		p("    path: %q\n", path)
	}
	p("    upstream: %q\n", sv.upstream)
	if sv.strip != sv.add {
		var change []string
		if sv.strip != "" {
			change = append(change, fmt.Sprintf("strip: %q", sv.strip))
		}
		if sv.add != "" {
			change = append(change, fmt.Sprintf("add: %q", sv.add))
		}
		p("    rewrite: { %s }\n", strings.Join(change, ", "))
	}
	p("    headers: %s\n    release: [user_name, mail, display_name, groups]\n", cmp.Or(sv.headers, "default"))
	if len(sv.rules) == 0 || sv.shut {
		p("    access: []\n")
		return
	}
	p("    access:\n")
	for n, r := range sv.rules {
		p("      - id: rule-%d\n", n+1)
		if len(r.paths) > 0 {
			p("        paths: %s\n", list(r.paths))
		}
		if len(r.methods) > 0 {
			p("        methods: %s\n", list(r.methods))
		}
		effect := "allow"
		if r.deny {
			effect = "deny"
		}
		p("        %s: { %s }\n", effect, r.match())
	}
}

// match describes whom a rule is about.
func (r rule) match() string {
	var parts []string
	say := func(key string, values []string) {
		if len(values) > 0 {
			parts = append(parts, key+": "+list(values))
		}
	}
	switch {
	case r.anyone:
		parts = append(parts, "anyone: true")
	case !r.deny && len(r.groups)+len(r.users)+len(r.attributes) == 0:
		parts = append(parts, "signed_in: true")
	}
	say("groups", r.groups)
	say("users", r.users)
	if len(r.attributes) > 0 {
		var each []string
		for name, values := range r.attributes {
			each = append(each, name+": "+list(values))
		}
		slices.Sort(each)
		parts = append(parts, "attributes: { "+strings.Join(each, ", ")+" }")
	}
	if r.strong {
		say("acr", []string{strongACR})
	}
	say("networks", r.networks)
	if len(r.when) > 0 {
		parts = append(parts, fmt.Sprintf("when: %q", strings.Join(r.when, " && ")))
	}
	return strings.Join(parts, ", ")
}

func list(words []string) string {
	var quoted []string
	for _, w := range words {
		quoted = append(quoted, fmt.Sprintf("%q", w))
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

var notID = regexp.MustCompile(`[^a-z0-9]+`)

func idOf(host, path string) string {
	first, _, _ := strings.Cut(host, ".")
	return cmp.Or(strings.Trim(notID.ReplaceAllString(strings.ToLower(first+path), "-"), "-"), "service")
}

// hostOf is the host of an address, without a port.
func hostOf(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return strings.ToLower(u.Hostname())
}

// origin is scheme, host and port of an address of http or https.
func origin(address string) string {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return ""
	}
	return u.Scheme + "://" + u.Host
}

// pathIs is a condition that holds where a regular expression matches the path.
func pathIs(re string) (condition string, err error) {
	if _, err := regexp.Compile(re); err != nil {
		return "", err
	}
	return fmt.Sprintf("request.path.matches(%s)", celString(re)), nil
}

// celString writes a text as the expression language does.
func celString(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "\r", `\r`, "\t", `\t`).Replace(s) + `"`
}

var durations = regexp.MustCompile(`^(\d+)\s*([a-z]*)\s*`)

var unitSeconds = map[string]int{
	"": 1, "s": 1, "second": 1, "seconds": 1, "m": 60, "minute": 60, "minutes": 60, "h": 3600, "hour": 3600, "hours": 3600,
	"d": 86400, "day": 86400, "days": 86400, "w": 7 * 86400, "week": 7 * 86400, "weeks": 7 * 86400,
}

// duration makes of one of theirs, numbers with units, one of ours; without a unit
// it is seconds. "" if it is none, or has no end.
func duration(d string) string {
	seconds := 0
	for d = strings.TrimSpace(d); d != ""; {
		m := durations.FindStringSubmatch(d)
		if m == nil {
			return ""
		}
		n, err := strconv.Atoi(m[1])
		if err != nil || n > 1e9 {
			return ""
		}
		of, known := unitSeconds[m[2]]
		if !known {
			return ""
		}
		seconds, d = seconds+n*of, d[len(m[0]):]
	}
	for _, unit := range []struct {
		of   int
		name string
	}{{86400, "d"}, {3600, "h"}, {60, "m"}, {1, "s"}} {
		if seconds > 0 && seconds%unit.of == 0 {
			return fmt.Sprint(seconds/unit.of, unit.name)
		}
	}
	return ""
}
