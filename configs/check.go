package configs

import (
	"cmp"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"
)

// A checker looks for what is wrong in a Config whose values can be read.
type checker struct {
	*Config
	found []Mistake

	userStores, providers, roles, targets, services, attributes []string
}

// check finds contradictions, unknown references and what is refused for
// safety. What decoding has complained about already is not said again.
func (c *Config) check() []Mistake {
	k := &checker{Config: c}
	k.userStores = ids(c.UserStores, func(s UserStore) string { return s.ID })
	k.providers = ids(c.IdentityProviders, func(p IdentityProvider) string { return p.ID })
	k.roles = ids(c.Roles, func(r Role) string { return r.ID })
	k.targets = ids(c.Targets, func(t Target) string { return t.ID })
	k.services = ids(c.Services, func(s Service) string { return s.ID })
	k.attributes = ids(c.AttributeTypes(), func(a AttributeType) string { return a.ID })

	unique(k, "user_stores", c.UserStores, func(s UserStore) string { return s.ID })
	unique(k, "identity_providers", c.IdentityProviders, func(p IdentityProvider) string { return p.ID })
	unique(k, "roles", c.Roles, func(r Role) string { return r.ID })
	unique(k, "services", c.Services, func(s Service) string { return s.ID })
	unique(k, "targets", c.Targets, func(t Target) string { return t.ID })
	unique(k, "clients", c.Clients, func(cl Client) string { return cl.ID })
	unique(k, "sources", c.Sources, func(s Source) string { return s.ID })

	if c.StoreKey.IsZero() && !c.StoreKeyBefore.IsZero() {
		k.say("store_key_before", "there is a key from before and none that follows it", "name that with store_key")
	}
	for name, s := range map[string]Secret{"store_key": c.StoreKey, "store_key_before": c.StoreKeyBefore} {
		if key, ok := s.Key(); !ok && s.Value() != "" { // whether it can be read is said elsewhere
			k.say(where(name), fmt.Sprintf("this is no key: it has %d bytes", len(key)), "make one of 64 hexadecimal digits, as `openssl rand -hex 32` does")
		}
	}
	k.server()
	k.site()
	k.attributeTypes()
	for i, p := range c.IdentityProviders {
		if p.ID == "recover" {
			k.say(where("identity_providers").index(i).key("id"), `the id "recover" stands for who comes in without an identity provider`, "choose another")
		}
		k.provider(where("identity_providers").index(i), p)
	}
	for i, name := range c.TrustSelf {
		k.refer(where("trust_self").index(i), "attribute", name, k.attributes, "attributes, or map it at an identity provider")
	}
	for i, r := range c.Roles {
		k.role(where("roles").index(i), r)
	}
	k.addresses()
	for i, s := range c.Services {
		k.service(where("services").index(i), s)
	}
	for i, t := range c.Targets {
		k.target(where("targets").index(i), t)
	}
	for i, cl := range c.Clients {
		k.client(where("clients").index(i), cl)
	}
	for i, s := range c.Sources {
		k.source(where("sources").index(i), s)
	}
	k.people("admins", c.Admins.All())
	for key, p := range map[string]People{
		"release_editors": c.Admins.ReleaseEditors, "approvers": c.Admins.Approvers, "helpdesk": c.Admins.Helpdesk, "auditors": c.Admins.Auditors,
	} {
		k.people(where("admins").key(key), p)
	}
	k.guard("guard", c.Guard)
	k.notify("notify", c.Notify)
	for i, u := range c.UserStores {
		if u.Inactive != nil {
			k.inactive(where("user_stores").index(i).key("inactive"), *u.Inactive)
		}
	}
	k.kept()
	return k.found
}

func ids[T any](list []T, id func(T) string) []string {
	var all []string
	for _, x := range list {
		if id(x) != "" {
			all = append(all, id(x))
		}
	}
	return all
}

// say adds a mistake at a value, or at the nearest thing around it.
func (k *checker) say(at where, what, cure string) {
	k.found = append(k.found, k.note(at, what, cure))
}

func (c *Config) note(at where, what, cure string) Mistake {
	for {
		if pos, ok := c.positions[string(at)]; ok || at == "" {
			return Mistake{cmp.Or(pos.File, c.file), pos.Line, pos.Col, what, cure}
		}
		at = at[:max(0, strings.LastIndexAny(string(at), ".["))]
	}
}

// has reports whether a value is written in the file, readable or not.
func (c *Config) has(at where) bool { _, ok := c.positions[string(at)]; return ok }

// unique checks the form of IDs, and that each stands once.
func unique[T any](k *checker, section where, list []T, id func(T) string) {
	seen := map[string]where{}
	for i, x := range list {
		at, name := section.index(i).key("id"), id(x)
		k.id(at, name)
		if before, twice := seen[name]; twice && name != "" {
			k.say(at, fmt.Sprintf("the id %q is taken", name), fmt.Sprintf("choose another; it is that of line %d", k.positions[string(before)].Line))
		} else {
			seen[name] = at
		}
	}
}

func (k *checker) id(at where, id string) {
	if id == "" || idForm.MatchString(id) {
		return
	}
	cure := "use at most 64 lower-case letters, digits and hyphens, a letter or digit first and last"
	if low := strings.ReplaceAll(strings.ToLower(id), "_", "-"); idForm.MatchString(low) {
		cure = fmt.Sprintf("write %q", low)
	}
	k.say(at, fmt.Sprintf("%q can not be an id", id), cure)
}

// refer checks that something of that name exists.
func (k *checker) refer(at where, what, name string, known []string, section string) {
	if name == "" || slices.Contains(known, name) {
		return
	}
	cure := "add it under " + section
	if near := nearest(name, known); near != "" {
		cure = fmt.Sprintf("did you mean %q?", near)
	}
	k.say(at, fmt.Sprintf("there is no %s %q", what, name), cure)
}

func (k *checker) refers(at where, what string, names []string, known []string, section string) {
	for i, n := range names {
		k.refer(at.index(i), what, n, known, section)
	}
}

// exactlyOne checks that one of some keys is written, and says which are not
// meant together.
func (k *checker) exactlyOne(at where, what string, keys ...string) {
	var there []string
	for _, key := range keys {
		if k.has(at.key(key)) {
			there = append(there, key)
		}
	}
	switch len(there) {
	case 1:
	case 0:
		k.say(at, fmt.Sprintf("%s has none of %s", what, strings.Join(keys, ", ")), "write one of them")
	default:
		k.say(at.key(there[1]), fmt.Sprintf("%s has %s together", what, strings.Join(there, " and ")), "keep one of them")
	}
}

func (k *checker) server() {
	s, at := k.Server, where("server")
	switch hasCert, hasKey := k.has("server.tls.cert"), k.has("server.tls.key"); {
	case hasCert != hasKey:
		k.say("server.tls", "tls has only one of cert and key", "write both")
	case hasCert && k.has("server.tls.acme"):
		k.say("server.tls.acme", "tls has acme beside cert and key", "keep one of them")
	}
	if s.Listen != "" && s.Listen == s.AdminListen {
		k.say(at.key("admin_listen"), "the admin listener is at the address of the gateway itself", "give it another port")
	}
	k.forwardAuth(at.key("forward_auth"), s.ForwardAuth)
	if s.Tracing != nil {
		k.tracing(at.key("tracing"), *s.Tracing)
	}
	u := s.PublicURL
	if u == nil {
		return
	}
	declared := s.TLS.Proxy || len(s.TrustedProxies) > 0 || len(s.ForwardAuth) > 0
	switch {
	case strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.ForceQuery:
		k.say(at.key("public_url"), "public_url has a path or a query", fmt.Sprintf("write %s://%s", u.Scheme, u.Host))
	case u.Scheme == "http" && !isLoopback(u.Hostname()) && !declared:
		k.say(at.key("public_url"), "public_url is http, so sessions could be read on the way", "write https; if a TLS proxy is in front, say so with tls: proxy")
	}
	if !isHost(u.Hostname()) {
		k.say(at.key("public_url"), fmt.Sprintf("%q is no host name", u.Hostname()), "write one in lower case and ASCII, without a dot at its end")
	}
}

// forwardAuth: who may ask, and how they do, must be beyond doubt.
func (k *checker) forwardAuth(section where, list []ForwardAuth) {
	unique(k, section, list, func(f ForwardAuth) string { return f.ID })
	for i, f := range list {
		at := section.index(i)
		for j, n := range f.From {
			if n.Bits() == 0 && n.IsValid() {
				k.say(at.key("from").index(j), "anybody could ask, and say what was asked for", "list the addresses of the proxy")
			}
			for _, other := range list[:i] {
				switch {
				case !slices.ContainsFunc(other.From, n.Overlaps):
				case other.Kind != f.Kind && other.Kind != "" && f.Kind != "":
					k.say(at.key("from").index(j), fmt.Sprintf("%s asks from the same addresses, in the way of %s", other.ID, other.Kind), "give each proxy its own addresses")
				case !slices.Equal(other.Services, f.Services):
					k.say(at.key("from").index(j), fmt.Sprintf("%s asks from the same addresses, about other services", other.ID), "give each proxy its own addresses, or both the same services in the same order")
				}
			}
		}
		k.refers(at.key("services"), "service", f.Services, k.services, "services")
		if u := f.Probe; u != nil && (u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "") {
			k.say(at.key("probe"), "probe is no address of a proxy", "write its scheme, host and port, as in https://10.0.0.5")
		}
		if f.ProbeEvery != 0 && f.ProbeEvery < time.Second {
			k.say(at.key("probe_every"), "that is all the time", "write 5m")
		}
	}
}

func (k *checker) site() {
	if k.Session.Idle > k.Session.Lifetime {
		k.say("session.idle", fmt.Sprintf("a session would end after %s anyway", short(k.Session.Lifetime)), "make idle no longer than lifetime")
	}
	seen := map[string]bool{}
	for i, l := range k.Languages {
		at := where("languages").index(i)
		if l != "" && !languageForm.MatchString(l) {
			k.say(at, fmt.Sprintf("%q is no language tag", l), "write one such as en, de or pt-BR")
		} else if l != "" && seen[l] {
			k.say(at, fmt.Sprintf("the language %q stands here twice", l), "keep one")
		}
		seen[l] = true
	}
}

var languageForm = regexp.MustCompile(`^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$`)

// short is a duration as a person would write it.
func short(d time.Duration) string {
	s := d.String()
	if t, ok := strings.CutSuffix(s, "m0s"); ok {
		s = t + "m"
	}
	if t, ok := strings.CutSuffix(s, "h0m"); ok {
		s = t + "h"
	}
	return s
}

func (k *checker) attributeTypes() {
	seen := map[string]bool{}
	for i, a := range k.Attributes {
		at := where("attributes").index(i).key("id")
		k.attributeName(at, a.ID)
		j := slices.IndexFunc(builtin, func(b AttributeType) bool { return b.ID == a.ID })
		if j >= 0 && builtin[j].Multi != a.Multi {
			k.say(at, fmt.Sprintf("the built-in attribute %s can not change whether it has several values", a.ID), fmt.Sprintf("write multi: %t", builtin[j].Multi))
		}
		if seen[a.ID] && a.ID != "" {
			k.say(at, fmt.Sprintf("the attribute %q stands here twice", a.ID), "keep one")
		}
		seen[a.ID] = true
		if a.SCIM != nil {
			k.scimAttribute(where("attributes").index(i).key("scim"), i, a)
		}
	}
}

var (
	scimNameForm = regexp.MustCompile(`^[A-Za-z$][A-Za-z0-9_-]{0,63}$`)
	urnForm      = regexp.MustCompile(`^urn:[a-z0-9][a-z0-9-]{0,31}:[A-Za-z0-9:._-]{1,200}$`)
)

// placed are the attributes that SCIM has a place for already.
var placed = []string{"department", "display_name", "employee_number", "family_name", "given_name", "groups", "mail", "organization", "phone", "preferred_language", "title"}

func (k *checker) scimAttribute(at where, i int, a AttributeType) {
	s := a.SCIM
	if slices.Contains(placed, a.ID) {
		k.say(at, fmt.Sprintf("%s has a place in SCIM already", a.ID), "remove scim")
	}
	if !scimNameForm.MatchString(s.Name) && s.Name != "" {
		k.say(at.key("name"), fmt.Sprintf("%q can not be the name of an attribute in SCIM", s.Name), "use letters, digits, - and _, a letter first")
	}
	if !urnForm.MatchString(s.Schema) || strings.HasPrefix(strings.ToLower(s.Schema), "urn:ietf:params:scim:") {
		k.say(at.key("schema"), fmt.Sprintf("%q can not be the schema of a site's own attributes", s.Schema), "write a URN of your own, such as urn:example:scim:schemas:extension:uni:1.0:User")
	}
	for _, o := range k.Attributes[:i] {
		if o.SCIM != nil && strings.EqualFold(o.SCIM.Name, s.Name) && strings.EqualFold(o.SCIM.Schema, s.Schema) {
			k.say(at.key("name"), fmt.Sprintf("%s has the name %s in this schema too", o.ID, s.Name), "choose another")
		}
	}
}

func (k *checker) attributeName(at where, name string) {
	switch {
	case name == "":
	case slices.Contains(given, name):
		k.say(at, fmt.Sprintf("%s is the gateway's own word and no attribute that others can say", name), "choose another name; the user name is set by provisioning.user_name")
	case !attrForm.MatchString(name):
		k.say(at, fmt.Sprintf("%q can not be the name of an attribute of ours", name), "use at most 64 lower-case letters, digits and underscores, a letter first")
	}
}

func (k *checker) provider(at where, p IdentityProvider) {
	k.exactlyOne(at, "an identity provider", "oidc", "saml")
	if p.Probe != nil {
		if p.OIDC == nil {
			k.say(at.key("probe"), "only a provider that speaks OpenID Connect can be asked about people", "remove the line")
		}
		if p.Probe.Every > 0 && p.Probe.Every < 10*time.Minute {
			k.say(at.key("probe").key("every"), "the provider would be asked about everybody all the time", "write 10m or more, such as 24h")
		}
	}
	for i, c := range k.Clients {
		if c.ID == p.ID && p.ID != "" {
			k.say(where("clients").index(i).key("id"), fmt.Sprintf("the id %q is that of an identity provider", p.ID), "choose another, so that nobody mistakes who said what")
		}
	}
	for i, dom := range p.Domains {
		if dom != "" && !isHost(dom) {
			k.say(at.key("domains").index(i), fmt.Sprintf("%q is no domain", dom), "write what stands behind the @ of a mail address, in lower case")
		}
	}
	for name, m := range p.Attributes {
		k.mapped(at.key("attributes").key(name), name, m)
		if m.Ask && vouchedFor[name] {
			k.say(at.key("attributes").key(name).key("ask"), "people do not say of themselves what their "+name+" is", "remove the line; the identity provider must send it")
		}
	}
	k.refer(at.key("provisioning").key("user_store"), "user store", p.Provisioning.UserStore, k.userStores, "user_stores")
	if p.Provisioning.Prompt == "choose" {
		k.chosenNames(at.key("provisioning"), p.Provisioning.UserStore)
	}
	if p.OIDC != nil {
		k.oidc(at.key("oidc"), *p.OIDC)
	}
	if p.SAML != nil {
		k.saml(at.key("saml"), *p.SAML)
	}
}

// vouchedFor are attributes that say where somebody belongs and what they may do.
var vouchedFor = map[string]bool{
	"affiliation": true, "assurance": true, "entitlement": true, "groups": true, "member_of": true, "scoped_affiliation": true,
}

// chosenNames refuses names that people choose where somebody's rights hang on
// what they are called: whoever comes first would be them.
func (k *checker) chosenNames(at where, userStore string) {
	first := "primary"
	if len(k.UserStores) > 0 {
		first = k.UserStores[0].ID
	}
	if userStore == "" {
		userStore = first
	}
	for _, name := range namedUsers(reflect.ValueOf(k.Config).Elem()) {
		of := first
		if prefix, _, ok := strings.Cut(name, "/"); ok && slices.Contains(k.userStores, prefix) {
			of = prefix
		}
		if of == userStore {
			k.say(at.key("prompt"), fmt.Sprintf("people would choose their user names, and the configuration names the user %q of the same user store: whoever chooses that name first has their rights", name),
				"write confirm, or give these people a user store of their own, or name roles or groups instead of users")
			return
		}
	}
}

// namedUsers are all that users: names, anywhere in v.
func namedUsers(v reflect.Value) (names []string) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			return namedUsers(v.Elem())
		}
	case reflect.Slice:
		for i := range v.Len() {
			names = append(names, namedUsers(v.Index(i))...)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			f := v.Type().Field(i)
			if !f.IsExported() {
				continue
			}
			if list, ok := reflect.TypeAssert[Some[string]](v.Field(i)); ok && f.Name == "Users" {
				names = append(names, list...)
			} else {
				names = append(names, namedUsers(v.Field(i))...)
			}
		}
	}
	return names
}

func (k *checker) mapped(at where, name string, m Mapped) {
	k.attributeName(at, name)
	if len(k.among(at, keysOf(reflect.TypeFor[Mapped]()))) > 0 {
		k.exactlyOne(at, "an attribute", "from", "expr")
	}
	i := slices.IndexFunc(k.Attributes, func(a AttributeType) bool { return a.ID == name })
	if i >= 0 && m.Multi && !k.Attributes[i].Multi {
		k.say(at.key("multi"), fmt.Sprintf("%s has one value, says line %d", name, k.positions[string(where("attributes").index(i))].Line), "write multi: true there, or remove this line")
	}
	if j := slices.IndexFunc(builtin, func(a AttributeType) bool { return a.ID == name }); j >= 0 && m.Multi && !builtin[j].Multi {
		k.say(at.key("multi"), fmt.Sprintf("the built-in attribute %s has one value", name), "remove the line, or choose another name")
	}
}

func (k *checker) oidc(at where, o OIDC) {
	k.secureURL(at.key("issuer"), o.Issuer, o.InsecureHTTP)
	if o.Issuer != nil && (o.Issuer.RawQuery != "" || o.Issuer.ForceQuery) {
		k.say(at.key("issuer"), "an issuer has no query", "remove the ? and what follows")
	}
	secret, key := k.has(at.key("client_secret")), k.has(at.key("private_key"))
	switch {
	case o.AuthMethod == "private_key_jwt" && !key:
		k.say(at.key("auth_method"), "private_key_jwt needs a private key", "add private_key: { file: PATH }")
	case strings.HasPrefix(o.AuthMethod, "client_secret") && !secret:
		k.say(at.key("auth_method"), o.AuthMethod+" needs a client secret", "add client_secret: { file: PATH }")
	case !secret && !key:
		k.say(at, "oidc has neither client_secret nor private_key", "add client_secret: { file: PATH }")
	}
	for i, s := range o.Scopes {
		if strings.ContainsAny(s, " \t\n\"\\") {
			k.say(at.key("scopes").index(i), fmt.Sprintf("%q is no scope", s), "write each scope as an item of its own")
		}
	}
	k.allowed(at.key("issuer"), o.Issuer)
	k.secureURL(at.key("groups_url"), o.GroupsURL, o.InsecureHTTP)
	k.allowed(at.key("groups_url"), o.GroupsURL)
	switch there := k.has(at.key("groups_url")); {
	case o.GroupsOverage == "fetch" && !there:
		k.say(at.key("groups_overage"), "groups can not be fetched without saying where", "add groups_url, such as https://graph.microsoft.com/v1.0/me/transitiveMemberOf?$select=id")
	case o.GroupsOverage == "refuse" && there:
		k.say(at.key("groups_url"), "groups are not fetched", "write groups_overage: fetch, or remove the line")
	}
	k.skew(at, o.Skew)
}

func (k *checker) skew(at where, d time.Duration) {
	if d > 5*time.Minute {
		k.say(at.key("skew"), fmt.Sprintf("a skew of %s would let old answers live", short(d)), "write at most 5m, and mend the clock")
	}
}

func (k *checker) saml(at where, s SAML) {
	md := at.key("metadata")
	if k.has(md) {
		k.exactlyOne(md, "metadata", "url", "file")
	}
	if u := s.Metadata.URL; u != nil && u.Scheme == "http" && !isLoopback(u.Hostname()) && !k.has(md.key("certificate")) {
		k.say(md.key("url"), "metadata comes by http, so anybody on the way could change it", "write https, or add the certificate that signs it")
	}
	k.allowed(md.key("url"), s.Metadata.URL)
	if k.has(md.key("file")) && k.has(md.key("refresh")) {
		k.say(md.key("refresh"), "a file is read again when it changes", "remove the line")
	}
	if strings.ContainsAny(s.EntityID, " \t\n") || len(s.EntityID) > 1024 {
		k.say(at.key("entity_id"), "an entity ID is an address without spaces, of at most 1024 characters", "write it as one word")
	}
	k.skew(at, s.Skew)
}

// secureURL wants https of what is sent secrets or believed, except on loopback.
func (k *checker) secureURL(at where, u *url.URL, insecure bool) {
	if u != nil && u.Scheme == "http" && !insecure && !isLoopback(u.Hostname()) {
		k.say(at, "http, so anybody on the way could read and change it", "write https, or insecure_http: true where nobody can be on the way")
	}
}

// allowed wants what is certainly a private or loopback address to be listed.
func (k *checker) allowed(at where, u *url.URL) {
	if u == nil {
		return
	}
	host := u.Hostname()
	a, err := netip.ParseAddr(host)
	if err != nil {
		if !isLoopback(host) {
			return
		}
		a = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	a = a.Unmap()
	private := a.IsPrivate() || a.IsLoopback() || a.IsLinkLocalUnicast() || a.IsUnspecified() || a.IsMulticast()
	if private && !slices.ContainsFunc(k.Outbound.Allow, func(p netip.Prefix) bool { return p.Contains(a) }) {
		k.say(at, fmt.Sprintf("%s is a private or loopback address, which the gateway does not call", host), fmt.Sprintf("if it is meant, add %s to outbound.allow", netip.PrefixFrom(a, a.BitLen())))
	}
}

func (k *checker) tracing(at where, t Tracing) {
	k.secureURL(at.key("url"), t.URL, t.InsecureHTTP)
	for name := range t.Headers {
		if !headerForm.MatchString(name) {
			k.say(at.key("headers").key(name), fmt.Sprintf("%q can not be the name of a header", name), "use letters, digits and hyphens")
		}
	}
}

func (k *checker) role(at where, r Role) {
	for i, m := range r.From {
		p := at.key("from").index(i)
		k.match(p, m)
		for _, key := range []string{"anyone", "roles", "acr", "amr", "max_age", "networks", "callers"} {
			if k.has(p.key(key)) {
				k.say(p.key(key), key+" can not make a role: a role belongs to a user, not to one sign-in or request", "say it in the rule of the service")
			}
		}
	}
	k.people(at.key("approvers"), r.Approvers)
	if slices.Equal(r.Approvers.Roles, []string{r.ID}) && len(r.From) == 0 && len(r.Approvers.Users)+len(r.Approvers.Groups) == 0 {
		k.say(at.key("approvers"), "only those who have the role could approve it, and it is only given by approval", "name other approvers, or say from what it comes")
	}
}

func (k *checker) people(at where, p People) {
	k.refers(at.key("roles"), "role", p.Roles, k.roles, "roles")
	k.users(at.key("users"), p.Users)
}

// users checks the user store before a slash.
func (k *checker) users(at where, users []string) {
	for i, u := range users {
		if store, _, ok := strings.Cut(u, "/"); ok {
			k.refer(at.index(i), "user store", store, k.userStores, "user_stores")
		}
	}
}

func (k *checker) match(at where, m Match) {
	if reflect.ValueOf(m).IsZero() {
		if k.has(at.key("anyone")) || k.has(at.key("signed_in")) {
			k.say(at, "this describes nobody in particular", "write signed_in: true for everyone who signed in, anyone: true for everyone")
		}
		return
	}
	if m.Anyone {
		for _, key := range []string{"signed_in", "roles", "groups", "users", "identity_provider", "user_store", "attributes", "acr", "amr", "max_age", "callers"} {
			if k.has(at.key(key)) {
				k.say(at.key(key), "anyone and "+key+" contradict each other", "remove one of them")
			}
		}
	}
	if len(m.Callers) > 0 && !m.Anyone {
		for _, key := range k.among(at, []string{"signed_in", "roles", "groups", "users", "identity_provider", "user_store", "acr", "amr", "max_age"}) {
			k.say(at.key(key), "callers are programs, and "+key+" is about people", "make two rules, one for each")
		}
	}
	k.refers(at.key("roles"), "role", m.Roles, k.roles, "roles")
	k.users(at.key("users"), m.Users)
	k.refers(at.key("identity_provider"), "identity provider", m.IdentityProviders, k.providers, "identity_providers")
	k.refers(at.key("user_store"), "user store", m.UserStores, k.userStores, "user_stores")
	for name := range m.Attributes {
		k.refer(at.key("attributes").key(name), "attribute", name, k.attributes, "attributes, or map it at an identity provider")
	}
}

// addresses checks that every request belongs to one service.
func (k *checker) addresses() {
	public := ""
	if k.Server.PublicURL != nil {
		public = k.Server.PublicURL.Hostname()
	}
	seen := map[[2]string]string{}
	for i, s := range k.Services {
		at := where("services").index(i)
		switch {
		case s.Host == "":
			continue
		case !isHost(s.Host):
			cure := "write one in lower case and ASCII, without port, wildcard or address parts"
			if low := strings.ToLower(s.Host); isHost(low) {
				cure = "write " + low
			}
			k.say(at.key("host"), fmt.Sprintf("%q is no host name", s.Host), cure)
		case s.Host == public:
			k.say(at.key("host"), s.Host+" is the gateway's own host", "give the service another one")
		}
		k.path(at.key("path"), s.Path, false)
		if len(s.Path) > 1 && strings.HasSuffix(s.Path, "/") {
			k.say(at.key("path"), "the path ends in a slash", "write "+strings.TrimRight(s.Path, "/"))
		}
		place := [2]string{s.Host, strings.TrimRight(s.Path, "/")}
		if other, taken := seen[place]; taken {
			k.say(at.key("host"), fmt.Sprintf("the service %q is at the same host and path", other), "give one of them another host or path")
		}
		seen[place] = s.ID
	}
}

// path checks that a path means one thing to everybody who will read it. A
// pattern may end in /* for everything below.
func (k *checker) path(at where, p string, pattern bool) {
	clean := p
	if pattern {
		clean = strings.TrimSuffix(p, "/*") + "/"
	}
	switch {
	case p == "":
	case !strings.HasPrefix(p, "/"):
		k.say(at, fmt.Sprintf("the path %q does not begin with a slash", p), "write /"+p)
	case pattern && strings.Contains(clean, "*"):
		k.say(at, fmt.Sprintf("the path %q has a star elsewhere than at its end", p), "write /reports/* for everything below /reports; for more use when with request.path")
	case strings.ContainsAny(clean, "*?#\\%; \t\n"):
		k.say(at, fmt.Sprintf("the path %q has characters that are no part of one", p), "write it decoded, without query, parameters or spaces")
	case strings.Contains(p, "//") || slices.ContainsFunc(strings.Split(p, "/"), func(s string) bool { return s == "." || s == ".." }):
		k.say(at, fmt.Sprintf("the path %q can be read in two ways", p), "write it without //, . and ..")
	case strings.HasPrefix(p+"/", "/.gatehouse/"):
		k.say(at, "everything under /.gatehouse/ is the gateway's own", "choose another path")
	}
}

func (k *checker) service(at where, s Service) {
	k.upstreams(at, s)
	k.callers(at, s)
	unique(k, at.key("access"), s.Access, func(r Rule) string { return r.ID })
	for i, r := range s.Access {
		k.rule(at.key("access").index(i), r)
	}
	k.refers(at.key("denied").key("request"), "role", s.Denied.Request, k.roles, "roles")
	k.people(at.key("owners"), s.Owners)
	if s.OwnersApprove && s.Owners.Nobody() {
		k.say(at.key("owners_approve"), "the service has no owners who could decide", "say who they are under owners")
	} else if s.OwnersApprove && len(s.Denied.Request) == 0 {
		k.say(at.key("owners_approve"), "the service offers no role that its owners could decide about", "name roles under denied.request")
	}
	k.refers(at.key("identity_provider"), "identity provider", s.IdentityProviders, k.providers, "identity_providers")
	k.refers(at.key("provisioned_by"), "target", s.ProvisionedBy, k.targets, "targets")
	k.headers(at.key("headers"), s.Headers)
	k.release(at.key("release"), s.Release)
	k.refers(at.key("requires"), "attribute", s.Requires, k.released(), "attributes, or map it at an identity provider")
	for i, a := range s.Requires {
		if !s.Edited() && !slices.ContainsFunc(s.Release, func(r Release) bool { return r.Attribute == a }) {
			k.say(at.key("requires").index(i), a+" is required, and never released", "add it to release")
		}
	}
}

var methodForm = regexp.MustCompile(`^[A-Z][A-Z-]*$`)

func (k *checker) rule(at where, r Rule) {
	k.exactlyOne(at, "a rule", "allow", "deny")
	for i, m := range r.Methods {
		if m == "" || methodForm.MatchString(m) {
			continue
		}
		cure := "write GET, POST and so on"
		if up := strings.ToUpper(m); methodForm.MatchString(up) {
			cure = "write " + up
		}
		k.say(at.key("methods").index(i), fmt.Sprintf("%q is no method", m), cure)
	}
	for i, p := range r.Paths {
		k.path(at.key("paths").index(i), p, true)
	}
	if r.Allow != nil {
		k.match(at.key("allow"), *r.Allow)
	}
	if r.Deny != nil {
		k.match(at.key("deny"), *r.Deny)
	}
}

var headerForm = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9-]{0,98}[A-Za-z0-9])?$`)

// taken are headers that HTTP or the gateway uses for something else.
var taken = regexp.MustCompile(`(?i)^(host|connection|keep-alive|te|trailer|upgrade|transfer-encoding|content-.*|` +
	`cookie2?|set-cookie2?|authorization|proxy-.*|expect|origin|referer|date|via|range|if-.*|accept(-.*)?|cache-control|` +
	`forwarded|x-forwarded-(for|host|proto|port|prefix|server)|x-real-ip|x-gatehouse-.*|sec-.*)$`)

func (k *checker) headers(at where, h Headers) {
	seen := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(h.Own)) {
		p := at.key(name)
		switch {
		case !headerForm.MatchString(name):
			k.say(p, fmt.Sprintf("%q can not be the name of a header", name), "use letters, digits and hyphens; some servers read _ and . as a hyphen")
		case taken.MatchString(name):
			k.say(p, fmt.Sprintf("the header %s has a meaning of its own", name), "choose another name, such as X-User-Mail")
		case seen[strings.ToLower(name)]:
			k.say(p, fmt.Sprintf("the header %s stands here twice", name), "keep one; case makes no difference")
		}
		seen[strings.ToLower(name)] = true
		own := h.Own[name]
		if own.Attribute != "jwt" {
			k.refer(p.key("attribute"), "attribute", own.Attribute, k.released(), "attributes, or map it at an identity provider")
		}
		if k.has(p.key("separator")) && own.List != "join" {
			k.say(p.key("separator"), "a separator is for list: join", "remove one of them")
		}
		if strings.ContainsAny(own.Separator, "\\\n\r") {
			k.say(p.key("separator"), "a separator is no backslash and no line end", "write , or ; or |")
		}
	}
}

// released are the attributes that a release can name.
func (k *checker) released() []string { return slices.Concat(k.attributes, releasable) }

func (k *checker) release(at where, list []Release) {
	seen := map[string]bool{}
	for i, r := range list {
		p := at.index(i)
		if r.Attribute == "" {
			continue
		}
		k.refer(p.key("attribute"), "attribute", r.Attribute, k.released(), "attributes, or map it at an identity provider")
		name := cmp.Or(r.As, r.Attribute)
		if strings.ContainsAny(name, " \t\n") {
			k.say(p.key("as"), fmt.Sprintf("%q can not be a name", name), "write it without spaces")
		}
		if seen[name] {
			k.say(p, fmt.Sprintf("%s is released twice", name), "merge the two, or call one otherwise with as")
		}
		seen[name] = true
	}
}

// connectors are all there will be; notYet refuses those that are not built.
var connectors = []string{"scim2", "scim11", "webhook", "exec", "http", "ldap", "csv", "spml", "soap", "google", "salesforce"}

func (k *checker) target(at where, t Target) {
	if n := len(k.among(at, connectors)); n == 0 {
		k.say(at, "a target has no connector", "add scim2: { url: …, auth: … }")
	} else if n > 1 {
		k.exactlyOne(at, "a target", connectors...)
	}
	if s := t.SCIM2; s != nil {
		k.scim(at.key("scim2"), s.URL, s.InsecureHTTP, s.Auth, s.Domain)
		if t.Leave == "delete" && (s.Profile == "salesforce" || s.Profile == "slack") {
			k.say(at.key("leave"), s.Profile+" never deletes accounts, it only disables them", "write leave: disable")
		}
	}
	if s := t.SCIM11; s != nil {
		k.scim(at.key("scim11"), s.URL, s.InsecureHTTP, s.Auth, s.Domain)
	}
	if w := t.Webhook; w != nil {
		k.webhook(at.key("webhook"), *w)
	}
	if e := t.Exec; e != nil {
		k.exec(at.key("exec"), *e)
	}
	if h := t.HTTP; h != nil {
		k.callee(at.key("http"), h.URL, h.InsecureHTTP)
		k.auth(at.key("http").key("auth"), h.Auth)
	}
	if c := t.CSV; c != nil {
		k.drop(at.key("csv"), c.SFTP)
		if t.Wait {
			k.say(at.key("wait"), "nobody can wait for a file: it is written later, and whether somebody read it is not known", "remove the line")
		}
	}
	if l := t.LDAP; l != nil {
		k.ldapTarget(at.key("ldap"), *l)
	}
	users := at.key("users")
	k.refers(users.key("roles"), "role", t.Users.Roles, k.roles, "roles")
	k.refers(users.key("user_store"), "user store", t.Users.UserStores, k.userStores, "user_stores")
	if others := k.among(users, []string{"roles", "groups", "user_store", "when"}); t.Users.All && len(others) > 0 {
		k.say(users.key("all"), "all and "+others[0]+" contradict each other", "remove one of them")
	}
	k.release(at.key("release"), t.Release)
	k.guardLimits(at.key("guard"), t.Guard)
	k.reconcile(at.key("reconcile"), t)
}

// among are those of the keys that are written.
func (k *checker) among(at where, keys []string) []string {
	return slices.DeleteFunc(slices.Clone(keys), func(key string) bool { return !k.has(at.key(key)) })
}

// callee is an address that is sent accounts and secrets.
func (k *checker) callee(at where, u *url.URL, insecure bool) {
	k.secureURL(at.key("url"), u, insecure)
	k.allowed(at.key("url"), u)
}

// scim checks what is the same for both versions of SCIM.
func (k *checker) scim(at where, u *url.URL, insecure bool, auth Auth, domain string) {
	k.callee(at, u, insecure)
	if u != nil && (u.RawQuery != "" || u.ForceQuery || strings.HasSuffix(strings.TrimRight(u.Path, "/"), "/Users")) {
		k.say(at.key("url"), "the address goes too far", "write it up to what stands before /Users")
	}
	if domain != "" && !domainForm.MatchString(domain) {
		k.say(at.key("domain"), fmt.Sprintf("%q can not be the name of a user store", domain), "write its name alone, without a slash, such as AD")
	}
	k.auth(at.key("auth"), auth)
}

var domainForm = regexp.MustCompile(`^[A-Za-z0-9._-]+$`)

func (k *checker) webhook(at where, w Webhook) {
	k.callee(at, w.URL, w.InsecureHTTP)
	for i, s := range w.Secrets {
		if s.Value() != "" && !webhookSecret.MatchString(s.Value()) {
			k.say(at.key("secrets").index(i), "this is no secret of Standard Webhooks", "write whsec_ and base64 of 24 to 64 random bytes, or whsk_ and base64 of an Ed25519 key")
		}
	}
}

// webhookSecret is the form of a secret; whether it is one is seen when it is used.
var webhookSecret = regexp.MustCompile(`^(whsec|whsk)_[A-Za-z0-9+/]{32,88}={0,2}$`)

// ownEnv are variables that a connector's program gets from us.
var ownEnv = []string{"PATH", "LANG", "TZ"}

func (k *checker) exec(at where, e Exec) {
	for _, name := range slices.Sorted(maps.Keys(e.Env)) {
		switch {
		case !envForm.MatchString(name):
			k.say(at.key("env").key(name), fmt.Sprintf("%q can not be the name of a variable", name), "use letters, digits and _, no digit first")
		case slices.Contains(ownEnv, name):
			k.say(at.key("env").key(name), name+" is set by the gateway", "choose another name")
		}
	}
}

var envForm = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// auth wants one way to prove oneself, and a client certificate beside it at most.
func (k *checker) auth(at where, a Auth) {
	if ways := []string{"bearer", "basic", "header", "oauth2"}; len(k.among(at, ways)) > 0 {
		k.exactlyOne(at, "auth", ways...)
	}
	k.basic(at.key("basic"), a.Basic)
	if h := a.Header; h != nil && (!headerForm.MatchString(h.Name) || slices.ContainsFunc(reservedKeyHeaders, func(s string) bool { return strings.EqualFold(s, h.Name) })) {
		k.say(at.key("header").key("name"), fmt.Sprintf("%q can not carry a key", h.Name), "write the header that the target asks for, such as X-Api-Key")
	}
	if o := a.OAuth2; o != nil {
		at := at.key("oauth2")
		if u := o.TokenURL; u != nil && u.Scheme == "http" && !isLoopback(u.Hostname()) {
			k.say(at.key("token_url"), "http, so anybody on the way could read the credentials", "write https")
		}
		k.allowed(at.key("token_url"), o.TokenURL)
		switch ways := k.among(at, []string{"client_secret", "private_key"}); {
		case len(ways) > 1, len(ways) == 0 && a.MTLS == nil:
			k.exactlyOne(at, "oauth2", "client_secret", "private_key")
		case !k.has(at.key("private_key")):
			for _, key := range k.among(at, []string{"key_id", "audience"}) {
				k.say(at.key(key), key+" is for an assertion, and there is none", "add private_key, or remove the line")
			}
		}
	}
}

// reservedKeyHeaders belong to the protocol itself.
var reservedKeyHeaders = []string{"Host", "Content-Type", "Content-Length", "Transfer-Encoding", "Connection", "Accept", "If-Match", "Cookie", "Trailer", "Upgrade", "Te"}

func (k *checker) basic(at where, b *Basic) {
	if b != nil && strings.Contains(b.User, ":") {
		k.say(at.key("user"), "a user name for Basic has no colon", "remove it")
	}
}

// linkedTo checks an identity provider whose people somebody else knows.
func (k *checker) linkedTo(at where, provider string) {
	k.refer(at, "identity provider", provider, k.providers, "identity_providers")
	if i := slices.IndexFunc(k.IdentityProviders, func(p IdentityProvider) bool { return p.ID == provider }); i >= 0 && k.IdentityProviders[i].SAML != nil {
		k.say(at, "links to people of a SAML identity provider are not built yet", "remove links, or name one that speaks OpenID Connect")
	}
}

func (k *checker) client(at where, c Client) {
	k.refers(at.key("user_store"), "user store", c.UserStores, k.userStores, "user_stores")
	k.refers(at.key("targets"), "target", c.Targets, k.targets, "targets")
	k.guardLimits(at.key("guard"), c.Guard)
	if c.Mode == "persist" && len(c.Targets) > 0 {
		k.say(at.key("targets"), "a client that persists pushes to no target", "write mode: persist-and-push, or remove the line")
	}
	k.pushOnly(at, c)
	if l := c.Links; l != nil {
		k.linkedTo(at.key("links").key("identity_provider"), l.IdentityProvider)
	}

	if len(c.Credentials) == 0 && k.has(at.key("credentials")) {
		k.say(at.key("credentials"), "a client without a credential can not prove who it is", "add bearer: { file: PATH }, or remove the line and make it a token with gatehouse clients token add")
	}
	for i, cred := range c.Credentials {
		p := at.key("credentials").index(i)
		k.exactlyOne(p, "a credential", "oauth2", "bearer", "basic")
		if k.has(p.key("basic")) && c.ID != "resident" {
			k.say(p.key("basic"), "Basic authentication is for the client resident alone", "use bearer")
		}
		k.basic(p.key("basic"), cred.Basic)
		if cred.OAuth2 != nil {
			k.exactlyOne(p.key("oauth2"), "oauth2", "secret", "keys")
		}
		if b := cred.Bearer; strings.HasPrefix(b.Value(), "gh_") {
			k.say(p.key("bearer"), "a token that begins with gh_ can only be made by the gateway", "make it with gatehouse clients token add, or choose another")
		}
	}
}

// pushOnly checks a client whose users are kept nowhere.
func (k *checker) pushOnly(at where, c Client) {
	if c.Mode != "push-only" {
		return
	}
	if len(k.Targets) == 0 {
		k.say(at.key("mode"), "there is no target to push to", "add one under targets")
	}
	for _, t := range k.Targets {
		if (t.CSV != nil || t.Webhook != nil) && (len(c.Targets) == 0 || slices.Contains(c.Targets, t.ID)) {
			k.say(at.key("mode"), fmt.Sprintf("the target %s keeps here what it is told until it is sent", t.ID), "name other targets, or write persist-and-push")
		}
	}
	for key, is := range map[string]bool{"links": c.Links != nil, "groups": len(c.Groups) > 0} {
		if is {
			k.say(at.key(key), "a client whose users are kept nowhere has no "+key, "remove the line")
		}
	}
}

// waysIn are all there are of a source.
var waysIn = []string{"csv", "ldap"}

func (k *checker) source(at where, s Source) {
	if len(k.among(at, waysIn)) == 0 {
		k.say(at, "a source has nothing to read", "add csv: { folder: … } or ldap: { server: …, base: … }")
	} else {
		k.exactlyOne(at, "a source", waysIn...)
	}
	k.refers(at.key("user_store"), "user store", s.UserStores, k.userStores, "user_stores")
	if c := s.CSV; c != nil {
		k.drop(at.key("csv"), c.SFTP)
		k.columns(at.key("csv").key("columns"), c.Columns)
		if strings.Contains(c.Files, "/") {
			k.say(at.key("csv").key("files"), "a file is right in the folder", "name the folder with folder, and here only the file")
		}
	}
	if l := s.LDAP; l != nil {
		k.ldapSource(at.key("ldap"), *l)
		if len(s.UserStores) > 1 {
			k.say(at.key("user_store"), "the people of one directory are in one user store", "name one, and make a source for each other")
		}
	}
}

// columns checks what a file's columns are mapped to.
func (k *checker) columns(at where, columns map[string]string) {
	if len(columns) == 0 {
		return
	}
	if columns["user_name"] == "" {
		k.say(at, "nobody has a name", "map user_name to the column with the names")
	}
	known := append([]string{"user_name", "external_id", "user_store", "active"}, k.attributes...)
	heads := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(columns)) {
		k.refer(at.key(name), "attribute", name, known, "attributes")
		if other := heads[columns[name]]; other != "" && columns[name] != "" {
			k.say(at.key(name), fmt.Sprintf("the column %q is mapped to %s already", columns[name], other), "map each column to one attribute")
		}
		heads[columns[name]] = name
	}
}

// drop checks a folder where files are handed over.
func (k *checker) drop(at where, s *SFTP) {
	k.exactlyOne(at, "a place for files", "folder", "sftp")
	if s == nil {
		return
	}
	at = at.key("sftp")
	k.exactlyOne(at, "sftp", "key", "password")
	host, port, err := net.SplitHostPort(s.Address)
	if s.Address == "" {
		return
	}
	if err != nil || host == "" || !isPort(port) {
		k.say(at.key("address"), fmt.Sprintf("%q is no host with a port", s.Address), "write both, as in files.example:22")
		return
	}
	k.allowed(at.key("address"), &url.URL{Scheme: "sftp", Host: s.Address})
}

// kept refuses `absent: keep` for attributes that decide something: who lost a
// group at home would keep what it opened.
func (k *checker) kept() {
	readers := k.readers()
	for i, p := range k.IdentityProviders {
		at := where("identity_providers").index(i)
		for name, m := range p.Attributes {
			if cmp.Or(m.Absent, p.Absent) != "keep" {
				continue
			}
			for _, r := range readers {
				if r.reads(name) {
					place := at.key("attributes").key(name).key("absent")
					if m.Absent == "" {
						place = at.key("absent")
					}
					k.say(place, fmt.Sprintf("%s is kept when the provider no longer says it, but line %d decides by it", name, k.line(r.at)),
						fmt.Sprintf("write absent: replace for %s", name))
					break
				}
			}
		}
	}
}

func (c *Config) line(at where) int { return c.note(at, "", "").Line }

// A reader is something that decides by attributes.
type reader struct {
	at    where
	names []string // by name
	expr  string   // by expression
}

// reads: an expression reads an attribute if it mentions its name as a word.
// That may be too careful, never too careless for a name that is written out.
func (r reader) reads(name string) bool {
	return slices.Contains(r.names, name) || mentions(r.expr, name)
}

func mentions(expr, name string) bool {
	isWord := func(b byte) bool {
		return b == '_' || '0' <= b && b <= '9' || 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z'
	}
	for from := 0; ; {
		i := strings.Index(expr[from:], name)
		if i < 0 {
			return false
		}
		start, end := from+i, from+i+len(name)
		if (start == 0 || !isWord(expr[start-1])) && (end == len(expr) || !isWord(expr[end])) {
			return true
		}
		from = start + 1
	}
}

// readers are all that decides by attributes: roles, rules and targets.
func (k *checker) readers() []reader {
	var all []reader
	match := func(at where, m *Match) {
		if m == nil {
			return
		}
		names := slices.Collect(maps.Keys(m.Attributes))
		if len(m.Groups) > 0 {
			names = append(names, "groups")
		}
		all = append(all, reader{at, names, m.When})
	}
	for i, r := range k.Roles {
		for j := range r.From {
			match(where("roles").index(i).key("from").index(j), &r.From[j])
		}
	}
	for i, s := range k.Services {
		for j, r := range s.Access {
			at := where("services").index(i).key("access").index(j)
			match(at, r.Allow)
			match(at, r.Deny)
		}
	}
	for i, t := range k.Targets {
		match(where("targets").index(i).key("users"), &Match{Groups: t.Users.Groups, When: t.Users.When})
	}
	return all
}
