package migrate

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"
)

// OAuth2Proxy reads the configuration of oauth2-proxy: its file, an environment file
// with OAUTH2_PROXY_ before each name, the alpha configuration in YAML, or several of
// these together.
func OAuth2Proxy(files ...Source) (Draft, error) {
	set := settings{}
	for _, f := range files {
		var err error
		if ext := path.Ext(f.Name); ext == ".yaml" || ext == ".yml" {
			err = set.readAlpha(f)
		} else {
			err = set.readLines(f)
		}
		if err != nil {
			return Draft{}, err
		}
	}
	s := &site{issuer: set.one("oidc_issuer_url"), client: set.one("client_id"), groupsClaim: set.one("oidc_groups_claim")}
	s.scopes = strings.Fields(set.one("scope"))
	provider := set.take("provider")
	switch p := provider.text(); p {
	case "oidc", "keycloak-oidc", "adfs":
	case "entra-id", "azure":
		if tenant := set.take("azure_tenant").text(); s.issuer == "" && tenant != "" {
			s.issuer = "https://login.microsoftonline.com/" + tenant + "/v2.0"
		}
	case "gitlab":
		s.issuer = cmp.Or(s.issuer, "https://gitlab.com")
	case "", "google":
		s.issuer = "https://accounts.google.com"
	default:
		s.issuer = ""
		s.left(provider.place, "provider %q is not reached by OpenID Connect with discovery: name an issuer that is", p)
	}
	host := hostOf(set.one("redirect_url"))
	s.cert, s.key = set.one("tls_cert_file"), set.one("tls_key_file")
	expire := set.take("cookie_expire")
	if s.lifetime = duration(expire.text()); expire.text() != "" && s.lifetime == "" {
		s.left(expire.place, "cookie_expire %q: write it as session.lifetime", expire.text())
	}
	email := cmp.Or(set.one("oidc_email_claim"), "email")
	s.mail = fmt.Sprintf(`has(claims.email_verified) && claims.email_verified == ["false"] ? [] : (has(claims.%[1]s) ? claims.%[1]s : [])`, email)
	if set.one("insecure_oidc_allow_unverified_email") == "true" {
		s.mail = email
	} else if !regexp.MustCompile(`^[a-z_][a-z0-9_]*$`).MatchString(email) {
		s.mail = email
		s.left(place{}, "the claim %s is taken as it is, also where the address was not verified", email)
	}

	rules := s.admitted(set)
	rules = append(rules, s.open(set)...)
	ups, asked := set.take("upstreams"), set.one("set_xauthrequest") == "true"
	for _, up := range ups.values {
		mount, at, _ := strings.Cut(up, "\x00") // the alpha form says both
		if at == "" {
			at, mount = up, ""
		}
		u, err := url.Parse(at)
		if err == nil && u.Scheme == "static" {
			asked = true // such an answer is for the proxy in front
			continue
		}
		if err != nil || origin(at) == "" {
			s.left(ups.place, "upstream %q: only http and https are served", at)
			continue
		}
		if mount == "" {
			mount = u.Path
		} else if strings.ContainsAny(mount, `^$*+?()[]{}|\`) {
			s.left(ups.place, "upstream at the path %q: a service has a path, and no regular expression", mount)
			continue
		}
		s.services = append(s.services, &service{host: host, path: mount, upstream: origin(at), headers: "oauth2-proxy", rules: rules})
	}
	if asked && len(s.services) == 0 {
		s.services = append(s.services, &service{host: host, headers: "oauth2-proxy", rules: rules})
		s.fill("services: it was asked by another proxy whether requests may pass: each host that this one serves is a service; list the proxy under server.forward_auth, or let the gateway serve")
	}
	// What is so anyway, has no meaning here, or is never copied.
	for _, key := range strings.Fields(`client_secret client_secret_file cookie_secret cookie_secret_file cookie_secure cookie_httponly cookie_name cookie_samesite
		pass_user_headers pass_host_header skip_provider_button http_address https_address reverse_proxy cookie_refresh cookie_domains cookie_csrf_per_request cookie_path
		whitelist_domains code_challenge_method provider_display_name session_store_type redis_connection_url email_domains custom_sign_in_logo proxy_prefix ready_path ping_path
		request_logging auth_logging standard_logging silence_ping_logging show_debug_on_error oidc_audience_claims prefer_email_to_user footer banner`) {
		delete(set, key)
	}
	for _, key := range slices.Sorted(maps.Keys(set)) {
		s.left(set[key].place, "%s: not carried over; look whether you need it", key)
	}
	return s.write()
}

// admitted is who may pass with a sign-in.
func (s *site) admitted(set settings) (rules []rule) {
	narrows := false
	for _, key := range strings.Fields(`allowed_roles google_groups google_group keycloak_groups github_org github_team github_repo github_users gitlab_groups gitlab_projects
		entra_id_allowed_tenants azure_tenant bitbucket_team bitbucket_repository`) {
		if v, ok := set[key]; ok {
			delete(set, key)
			narrows = true
			s.left(v.place, "%s: it narrows who may pass and has no word here, so the rule was left out: write it by roles or groups", key)
		}
	}
	if v, ok := set["authenticated_emails_file"]; ok {
		delete(set, "authenticated_emails_file")
		s.left(v.place, "authenticated_emails_file: the people in it do not pass: name them, or a group, in a rule")
	}
	if v, ok := set["htpasswd_file"]; ok {
		delete(set, "htpasswd_file")
		s.left(v.place, "htpasswd_file: there are no passwords here: people sign in at an identity provider")
	}
	domains, groups := set.take("email_domains").values, set.take("allowed_groups").values
	if narrows || len(domains) == 0 {
		return nil
	}
	r := rule{groups: groups}
	if !slices.Contains(domains, "*") {
		var any []string
		for _, d := range domains {
			if sub, all := strings.CutPrefix(strings.TrimPrefix(d, "*"), "."); all {
				any = append(any, fmt.Sprintf("m.endsWith(%s)", celString("."+sub)))
			} else {
				any = append(any, fmt.Sprintf("m.endsWith(%s)", celString("@"+d)))
			}
		}
		r.when = []string{`"mail" in user.attributes && user.attributes.mail.exists(m, ` + strings.Join(any, " || ") + ")"}
	}
	return []rule{r}
}

// open is what passes without a sign-in.
func (s *site) open(set settings) (rules []rule) {
	for _, key := range []string{"skip_auth_routes", "skip_auth_regex"} {
		v := set.take(key)
		for _, route := range v.values {
			method, re, methods := strings.Cut(route, "=")
			if !methods || key == "skip_auth_regex" || strings.ContainsAny(method, "^/") {
				method, re = "", route
			}
			r := rule{anyone: true}
			if not, negated := strings.CutSuffix(method, "!"); negated {
				r.when = append(r.when, fmt.Sprintf("request.method != %s", celString(strings.ToUpper(not))))
			} else if method != "" {
				r.methods = []string{strings.ToUpper(method)}
			}
			is, err := pathIs(re)
			if err != nil {
				s.left(v.place, "%s: %q is no regular expression; it stays closed", key, re)
				continue
			}
			r.when = append(r.when, is)
			rules = append(rules, r)
		}
	}
	if v := set.take("skip_auth_preflight"); v.text() == "true" {
		rules = append(rules, rule{anyone: true, methods: []string{"OPTIONS"}})
	}
	for _, key := range []string{"trusted_ips", "trusted_ip"} {
		v := set.take(key)
		var networks []string
		for _, n := range v.values {
			if _, err := netip.ParsePrefix(n); err != nil {
				if _, err := netip.ParseAddr(n); err != nil {
					s.left(v.place, "%s: %q is no network", key, n)
					continue
				}
			}
			networks = append(networks, n)
		}
		if len(networks) > 0 {
			rules = append(rules, rule{anyone: true, networks: networks})
		}
	}
	return rules
}

// settings are what was set, by name: in lower case, with underscores, as in the file.
type settings map[string]setting

type setting struct {
	place
	values []string
}

func (v setting) text() string { return strings.Join(v.values, " ") }

func (set settings) take(key string) setting {
	v := set[key]
	delete(set, key)
	return v
}

func (set settings) one(key string) string { return set.take(key).text() }

var lineForm = regexp.MustCompile(`^(?:export\s+)?([A-Za-z0-9_-]+)\s*=\s*(.*)$`)

// readLines reads lines of key = "value" and key = [ "a", "b" ], the part of TOML
// that such files use, and NAME=value of an environment, whose lists have commas.
func (set settings) readLines(f Source) error {
	lines := strings.Split(f.Text, "\n")
	for i := 0; i < len(lines); i++ {
		at, line := place{f.Name, i + 1}, strings.TrimSpace(lines[i])
		if line == "" || line[0] == '#' || line[0] == '[' {
			continue
		}
		m := lineForm.FindStringSubmatch(line)
		if m == nil {
			return fmt.Errorf("%s:%d: there is no = in %q", f.Name, i+1, line)
		}
		key, env := strings.CutPrefix(strings.ToLower(strings.ReplaceAll(m[1], "-", "_")), "oauth2_proxy_")
		val := m[2]
		if env {
			set[key] = setting{at, strings.Split(strings.Trim(val, `"'`), ",")}
			continue
		}
		words, more, err := quoted(val, strings.HasPrefix(val, "["))
		for more && err == nil {
			if i++; i == len(lines) {
				return fmt.Errorf("%s:%d: the list does not end", at.file, at.line)
			}
			var some []string
			some, more, err = quoted(strings.TrimSpace(lines[i]), true)
			words = append(words, some...)
		}
		if err != nil {
			return fmt.Errorf("%s:%d: %w", f.Name, i+1, err)
		}
		set[key] = setting{at, words}
	}
	return nil
}

// quoted reads the words of a line, with or without quotes; # begins a comment.
// more: it stands in a list, which does not end there.
func quoted(val string, inList bool) (words []string, more bool, err error) {
	for val = strings.TrimLeft(val, "[, \t"); val != "" && val[0] != '#'; val = strings.TrimLeft(val, ", \t") {
		if val[0] == ']' {
			return words, false, nil
		}
		if q := val[0]; q == '"' || q == '\'' {
			n := strings.IndexByte(val[1:], q)
			if n < 0 {
				return nil, false, fmt.Errorf("the quotes of %s do not end", val)
			}
			word := val[1 : 1+n]
			if q == '"' {
				word = strings.ReplaceAll(word, `\\`, `\`)
			}
			words, val = append(words, word), val[n+2:]
			continue
		}
		end := strings.IndexAny(val, ",] \t#")
		if end < 0 {
			end = len(val)
		}
		words, val = append(words, val[:end]), val[end:]
	}
	return words, inList, nil
}

// alpha is how the file says what the alpha configuration says of a provider; "" is
// what needs no word.
var alpha = map[string]string{
	"id": "", "name": "", "clientSecret": "", "clientSecretFile": "", "code_challenge_method": "", "oidcConfig.audienceClaims": "",
	"provider": "provider", "clientID": "client_id", "scope": "scope", "allowedGroups": "allowed_groups",
	"oidcConfig.issuerURL": "oidc_issuer_url", "oidcConfig.groupsClaim": "oidc_groups_claim", "oidcConfig.emailClaim": "oidc_email_claim",
	"oidcConfig.insecureAllowUnverifiedEmail": "insecure_oidc_allow_unverified_email",
	"keycloakConfig.roles":                    "allowed_roles", "keycloakConfig.groups": "keycloak_groups", "googleConfig.group": "google_groups",
	"githubConfig.org": "github_org", "githubConfig.team": "github_team", "githubConfig.repo": "github_repo", "githubConfig.users": "github_users",
	"gitlabConfig.group": "gitlab_groups", "gitlabConfig.projects": "gitlab_projects",
	"bitbucketConfig.team": "bitbucket_team", "bitbucketConfig.repository": "bitbucket_repository",
	"azureConfig.tenant": "azure_tenant", "microsoftEntraIDConfig.allowedTenants": "entra_id_allowed_tenants",
}

// readAlpha reads the alpha configuration, and says it as the file would.
func (set settings) readAlpha(f Source) error {
	root, err := readYAML(f)
	if err != nil {
		return err
	}
	other := func(name string, at place) { set[name] = setting{at, nil} }
	for _, p := range root.pairs() {
		switch p.key {
		case "upstreamConfig":
			set.upstreams(p.value.at("upstreams"), other)
		case "upstreams":
			set.upstreams(p.value, other)
		case "providers":
			for i, provider := range p.value.items() {
				if i > 0 {
					other(fmt.Sprintf("providers[%d]", i), provider.place)
					continue
				}
				for _, said := range provider.leaves() {
					if as, known := alpha[said.key]; !known {
						other("providers "+said.key, said.value.place)
					} else if as != "" {
						set.copy(as, said.value)
					}
				}
			}
		default:
			other(p.key, p.value.place)
		}
	}
	return nil
}

func (set settings) upstreams(list node, other func(name string, at place)) {
	v := set["upstreams"]
	for _, up := range list.items() {
		if v.line == 0 {
			v.place = up.place
		}
		uri := up.at("uri").text()
		for _, p := range up.pairs() {
			switch p.key {
			case "id", "path", "uri", "passHostHeader", "proxyWebSockets", "flushInterval":
			case "static", "staticCode":
				uri = cmp.Or(uri, "static://")
			default:
				other("upstreams "+p.key, p.value.place)
			}
		}
		v.values = append(v.values, up.at("path").text()+"\x00"+uri)
	}
	set["upstreams"] = v
}

func (set settings) copy(to string, n node) {
	if !n.there() {
		return
	}
	v := setting{n.place, nil}
	for _, item := range n.items() {
		v.values = append(v.values, item.text())
	}
	if len(v.values) == 0 {
		v.values = []string{n.text()}
	}
	set[to] = v
}
