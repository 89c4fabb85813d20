package migrate

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// ModAuthOpenIDC reads a configuration of Apache with mod_auth_openidc: virtual
// hosts, their locations, who they require and where they are proxied to. Each
// location that requires something is a service.
func ModAuthOpenIDC(files ...Source) (Draft, error) {
	s := &site{}
	for _, f := range files {
		a := &apache{site: s, file: f.Name}
		if err := a.read(f.Text); err != nil {
			return Draft{}, err
		}
		a.finish()
	}
	return s.write()
}

// apache is a file on its way through.
type apache struct {
	*site
	file    string
	host    string
	within  []section
	found   []*service
	proxied map[string]string // path: where it is served
	closed  []string          // conditions of places whose own rules can not be said
}

type section struct {
	name, path string
	unsaid     bool // its conditions can not be said in rules
}

func (a *apache) read(text string) error {
	a.proxied = map[string]string{}
	lines := strings.Split(text, "\n")
	for i := 0; i < len(lines); i++ {
		at, line := place{a.file, i + 1}, lines[i]
		for strings.HasSuffix(line, `\`) && i+1 < len(lines) {
			i++
			line = strings.TrimSuffix(line, `\`) + " " + lines[i]
		}
		words, err := arguments(line)
		if err != nil {
			return fmt.Errorf("%s:%d: %w", a.file, at.line, err)
		}
		if len(words) > 0 {
			a.directive(at, strings.ToLower(words[0]), words[0], words[1:])
		}
	}
	return nil
}

// location is the innermost location that a line stands in, "" for none, and whether
// what it says there holds only under what can not be said.
func (a *apache) location() (path string, unsaid bool) {
	for _, s := range a.within {
		if s.name == "location" {
			path = s.path
		}
		unsaid = unsaid || s.unsaid
	}
	return path, unsaid
}

func (a *apache) directive(at place, name, written string, rest []string) {
	arg := strings.Join(rest, " ")
	if end, ok := strings.CutPrefix(name, "</"); ok {
		if len(a.within) > 0 {
			a.within = a.within[:len(a.within)-1]
		}
		if strings.TrimSuffix(end, ">") == "virtualhost" {
			a.finish()
		}
		return
	}
	if begin, ok := strings.CutPrefix(name, "<"); ok {
		a.begin(at, strings.TrimSuffix(begin, ">"), strings.TrimSpace(strings.TrimSuffix(arg, ">")))
		return
	}
	path, unsaid := a.location()
	switch name {
	case "servername":
		a.host = hostOf("https://" + strings.TrimPrefix(strings.TrimPrefix(arg, "http://"), "https://"))
	case "serveralias":
		a.left(at, "ServerAlias %s: a service has one host", arg)
	case "proxypass":
		if path != "" {
			rest = append([]string{path}, rest...)
		}
		if len(rest) < 2 || origin(rest[1]) == "" {
			a.left(at, "ProxyPass %s", arg)
			return
		}
		a.proxied[rest[0]] = rest[1]
	case "require":
		a.require(at, path, unsaid, rest)
	case "oidcprovidermetadataurl":
		a.issuer = strings.TrimSuffix(arg, "/.well-known/openid-configuration")
	case "oidcproviderissuer":
		a.issuer = arg
	case "oidcclientid":
		a.client = arg
	case "oidcscope":
		a.scopes = strings.Fields(arg)
	case "oidcremoteuserclaim":
		claim, more, _ := strings.Cut(arg, " ")
		if a.userClaim = strings.TrimSuffix(claim, "@"); more != "" || a.userClaim != claim {
			a.left(at, "OIDCRemoteUserClaim %s: the claim is taken as it is; write an expression over claims", arg)
		}
	case "oidcsessioninactivitytimeout", "oidcsessionmaxduration":
		kept := &a.idle
		if name == "oidcsessionmaxduration" {
			kept = &a.lifetime
		}
		if *kept = duration(arg); *kept == "" {
			a.left(at, "%s %s: write it under session", written, arg)
		}
	case "authtype":
		if kind := strings.ToLower(arg); kind != "openid-connect" && kind != "auth-openidc" && kind != "none" {
			a.left(at, "AuthType %s: whom it knows is not whom the identity provider knows; nobody passes there", arg)
			a.narrows(at, path)
		}
	case "order", "deny", "allow", "satisfy", "authmerging", "sslrequire", "sslverifyclient":
		a.left(at, "%s %s", written, arg)
		if narrowing(name, strings.ToLower(arg)) {
			a.narrows(at, path)
		}
	case "include", "includeoptional", "use":
		a.left(at, "%s %s: what it brings was not read: put it in its place", written, arg)
		if path != "" {
			a.narrows(at, path)
		}
	case "rewriterule":
		switch {
		case !forbids(rest):
			a.left(at, "%s %s", written, arg)
		case path != "" || unsaid:
			a.left(at, "%s %s: closed with what is around it", written, arg)
			a.narrows(at, path)
		default:
			a.shut(at, written, rest[0])
		}
	case "sslcertificatefile":
		a.cert = arg
	case "sslcertificatekeyfile":
		a.key = arg
	case "oidcclientsecret", "oidccryptopassphrase", "oidcredirecturi", "authname", "proxypassreverse", "proxypreservehost", "proxyrequests", "sslengine", "loadmodule",
		"oidcpkcemethod", "oidccookiepath", "oidccookie", "oidccookiesamesite", "oidccookiehttponly", "oidcresponsetype", "oidcresponsemode", "errorlog", "customlog", "loglevel", "documentroot", "listen",
		"oidcproviderauthrequestmethod", "oidcsessiontype", "oidccachetype", "oidccacheshmmax", "serveradmin":
		// So anyway, without a meaning here, or never copied.
	default:
		a.left(at, "%s %s", written, shown(name, arg))
	}
}

// begin goes into a section.
func (a *apache) begin(at place, name, arg string) {
	s := section{name: name, path: strings.Trim(arg, `"`)}
	switch name {
	case "virtualhost", "ifmodule", "requireany":
	case "location":
		if re, ok := strings.CutPrefix(s.path, "~"); ok {
			a.shut(at, "<Location ~>", strings.TrimSpace(re))
			s.name, s.unsaid = "locationmatch", true
		} else if strings.ContainsAny(s.path, "*?[") {
			fixed, _, _ := strings.Cut(s.path, "[")
			a.shut(at, "<Location> with wild cards", "^"+strings.NewReplacer(`\*`, ".*", `\?`, ".").Replace(regexp.QuoteMeta(fixed)))
			s.name, s.unsaid = "locationmatch", true
		} else {
			a.found = append(a.found, &service{place: at, path: s.path, headers: "remote-user"})
		}
	case "locationmatch":
		a.shut(at, "<LocationMatch>", s.path)
		s.unsaid = true
	default:
		s.unsaid = true
		a.left(at, "<%s %s>: what it holds can not be said in rules; whom it would let in does not pass", name, arg)
	}
	a.within = append(a.within, s)
}

// shut closes the places that a regular expression names, since their own rules can
// not be carried over and those around them must not take their place.
func (a *apache) shut(at place, what, re string) {
	is, err := pathIs(strings.Trim(re, `"`))
	if err != nil || strings.HasPrefix(re, "!") {
		is = "true"
	}
	a.closed = append(a.closed, is)
	a.left(at, "%s %s: closed, whatever it requires: write rules for it", what, re)
}

// service is the latest section about a path; a section that comes again begins anew.
func (a *apache) service(at place, path string) *service {
	for _, sv := range slices.Backward(a.found) {
		if sv.path == path {
			return sv
		}
	}
	sv := &service{place: at, path: path, headers: "remote-user"}
	a.found = append(a.found, sv)
	return sv
}

// narrowing says whether a directive that is no Require may keep somebody out.
func narrowing(name, arg string) bool {
	switch name {
	case "allow":
		return arg != "from all"
	case "satisfy":
		return false // all is so anyway; any lets more in
	case "authmerging":
		return arg == "and"
	case "sslverifyclient":
		return arg == "require"
	}
	return true
}

// forbids says whether a RewriteRule may refuse what it matches.
func forbids(rest []string) bool {
	flags := strings.ToLower(strings.Join(rest[min(2, len(rest)):], ""))
	return slices.ContainsFunc(strings.Split(strings.Trim(flags, "[]"), ","), func(flag string) bool {
		return flag == "f" || flag == "forbidden" || flag == "g" || flag == "gone" || strings.HasPrefix(flag, "r=4") || strings.HasPrefix(flag, "redirect=4")
	})
}

// finish makes services of what a virtual host says.
func (a *apache) finish() {
	comes := func(earlier, later string) bool {
		return strings.TrimSuffix(earlier, "/") == strings.TrimSuffix(later, "/")
	}
	for i, sv := range a.found {
		if again := slices.IndexFunc(a.found[i+1:], func(later *service) bool { return later.required && comes(sv.path, later.path) }); again >= 0 {
			if sv.required {
				a.left(sv.place, "<Location %s>: it comes again later, which counts", sv.path)
			}
			continue
		}
		if !sv.required {
			continue // what is around it decides
		}
		// A location that comes later counts more, however short its path is.
		for _, later := range a.found[i+1:] {
			if later.required && strings.HasPrefix(sv.path, strings.TrimSuffix(later.path, "/")+"/") {
				a.left(sv.place, "<Location %s>: <Location %s> comes later and counts there too", sv.path, later.path)
				sv.rules, sv.shut = slices.Clone(later.rules), later.shut
			}
		}
		best := ""
		for from := range a.proxied {
			if strings.HasPrefix(sv.path+"/", strings.TrimSuffix(from, "/")+"/") && len(from) >= len(best) {
				best = from
			}
		}
		sv.host, sv.upstream = a.host, origin(a.proxied[best])
		if u, err := url.Parse(a.proxied[best]); err == nil && sv.upstream != "" {
			sv.strip, sv.add = strings.TrimSuffix(best, "/"), strings.TrimSuffix(u.Path, "/")
		}
		for _, is := range a.closed {
			sv.rules = append(sv.rules, rule{deny: true, when: []string{is}})
		}
		a.services = append(a.services, sv)
	}
	a.found, a.closed, a.proxied, a.host = nil, nil, map[string]string{}, ""
}

// shown is an argument as it may be repeated: no secret is.
func shown(name, arg string) string {
	for _, word := range []string{"secret", "pass", "key", "token"} {
		if strings.Contains(name, word) {
			return "…"
		}
	}
	return arg
}

// require makes a rule of a Require line; several lines are "any of them", as ours.
func (a *apache) require(at place, path string, unsaid bool, words []string) {
	if unsaid {
		a.left(at, "Require %s: nobody passes by it", strings.Join(words, " "))
		if strings.ToLower(strings.Join(words, " ")) != "all granted" {
			a.narrows(at, path)
		}
		return
	}
	sv := a.service(at, path)
	sv.required = true
	r := rule{}
	switch strings.ToLower(strings.Join(words[:min(1, len(words))], "")) {
	case "valid-user":
	case "user":
		r.users = words[1:]
	case "all":
		if len(words) < 2 || strings.ToLower(words[1]) != "granted" {
			sv.shut = true
			return
		}
		r.anyone = true
	case "claim":
		for _, w := range words[1:] { // any of them
			name, val, ok := strings.Cut(w, ":")
			switch {
			case ok && (name == "groups" || name == "roles" && a.groupsClaim == ""):
				if name == "roles" {
					a.left(at, "Require claim %s: taken as a group; see that the claim roles is mapped to groups", w)
				}
				sv.rules = append(sv.rules, rule{groups: []string{val}})
			case ok && name == "email":
				sv.rules = append(sv.rules, rule{attributes: map[string][]string{"mail": {val}}})
			default:
				a.left(at, "Require claim %s: map the claim to an attribute, and name that in a rule; nobody passes by it", w)
			}
		}
		return
	default:
		a.left(at, "Require %s: nobody passes by it", strings.Join(words, " "))
		return
	}
	sv.rules = append(sv.rules, r)
}

// narrows closes what a Require that can not be said may have narrowed: the location
// it stands in, or everything. What stands in a folder is about files, and none are
// served; what stands in a LocationMatch is closed already.
func (a *apache) narrows(at place, path string) {
	for _, s := range a.within {
		switch s.name {
		case "directory", "directorymatch", "files", "filesmatch", "locationmatch":
			return
		}
	}
	if path == "" {
		a.closed = append(a.closed, "true")
		return
	}
	sv := a.service(at, path)
	sv.required, sv.shut = true, true
}

// arguments are the words of a directive; # begins a comment.
func arguments(line string) (words []string, err error) {
	line = strings.TrimSpace(strings.ReplaceAll(line, "\t", " "))
	if line == "" || line[0] == '#' {
		return nil, nil
	}
	for line != "" {
		if line[0] == '"' {
			end := strings.IndexByte(line[1:], '"')
			if end < 0 {
				return nil, fmt.Errorf("the quotes of %s do not end", line)
			}
			words, line = append(words, line[1:1+end]), strings.TrimLeft(line[end+2:], " ")
			continue
		}
		word, rest, _ := strings.Cut(line, " ")
		words, line = append(words, word), strings.TrimLeft(rest, " ")
	}
	return words, nil
}
