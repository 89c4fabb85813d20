package configs

import (
	"net/netip"
	"net/url"
	"time"
)

// Config is one configuration file.
type Config struct {
	// Version of this format; the only one there is, is 1.
	Version int `yaml:"version" jsonschema:"required,enum=1"`
	// Server is how the gateway is reached.
	Server Server `yaml:"server" jsonschema:"required"`
	// Store keeps users, sessions and tasks: `bolt:` and the path of a file.
	Store Store `yaml:"store" jsonschema:"required"`
	// StoreKey seals secrets and tokens at rest: 64 hexadecimal digits, as `openssl rand -hex 32` makes them, or 32 bytes. Left out: the gateway makes a key beside the store when it first starts.
	StoreKey Secret `yaml:"store_key"`
	// StoreKeyBefore opens what was sealed before StoreKey was another, until `gatehouse keys rotate store` has sealed it again.
	StoreKeyBefore Secret `yaml:"store_key_before"`
	// Session says how long a sign-in lasts.
	Session Session `yaml:"session"`
	// Branding of the pages.
	Branding Branding `yaml:"branding"`
	// Languages of the pages, the preferred one first; a person's browser chooses among them. Left out: all there are.
	Languages []string `yaml:"languages"`
	// Help is whom people can ask.
	Help Help `yaml:"help"`

	// UserStores are named parts of the directory. Left out: one, `primary`.
	UserStores []UserStore `yaml:"user_stores"`
	// Attributes that services, targets or rules of this site use beyond the built-in ones.
	Attributes []AttributeType `yaml:"attributes"`
	// IdentityProviders are where people prove who they are.
	IdentityProviders []IdentityProvider `yaml:"identity_providers"`
	// TrustSelf are attributes that rules believe although only the person says so. Left out: none.
	TrustSelf []string `yaml:"trust_self"`
	// Roles that rules and targets name.
	Roles []Role `yaml:"roles"`
	// Services behind the gateway.
	Services []Service `yaml:"services"`
	// Targets are systems that hold accounts, kept in step with the directory.
	Targets []Target `yaml:"targets"`
	// Clients are systems that provision users into the directory.
	Clients []Client `yaml:"clients"`
	// Sources are lists of people that the gateway reads by itself.
	Sources []Source `yaml:"sources"`
	// Admins may use the admin pages and the API: everything, or a part.
	Admins Admins `yaml:"admins"`
	// Notify tells people of requests for access. Left out: they see it on their pages alone.
	Notify Notify `yaml:"notify"`
	// Release is what counts for everything that services and targets learn.
	Release ReleasePolicy `yaml:"release"`
	// Guard keeps a mistake from taking everybody's access at once.
	Guard Guard `yaml:"guard"`
	// Outbound says what the gateway itself may call.
	Outbound Outbound `yaml:"outbound"`
	// Limits against overload.
	Limits Limits `yaml:"limits"`

	file      string
	positions map[string]Pos
	surprises []Mistake
	files     []string
}

// Server is how the gateway is reached.
type Server struct {
	// Listen is where people's requests come in: an address, `unix:` and the path of a socket, or `systemd` for a socket that a unit of systemd has opened (`systemd:NAME` for one of several).
	Listen Listen `yaml:"listen" jsonschema:"default=:443"`
	// PublicURL is the gateway's own address as browsers see it, without a path: https, except on loopback or behind a declared TLS proxy.
	PublicURL *url.URL `yaml:"public_url" jsonschema:"required"`
	// TLS is the certificate, or the word `proxy` where something in front of the gateway speaks TLS. Left out: as `proxy`.
	TLS TLS `yaml:"tls"`
	// TrustedProxies are the networks whose `X-Forwarded-*` headers are believed. Empty: nobody's.
	TrustedProxies []netip.Prefix `yaml:"trusted_proxies"`
	// ProxyProtocol lists the networks of load balancers that begin each connection with the PROXY protocol (version 1 or 2), which says who the person is. Connections from there must begin with it; from elsewhere they must not.
	ProxyProtocol []netip.Prefix `yaml:"proxy_protocol"`
	// ForwardAuth lists other proxies that serve services themselves, and ask the gateway before each request, at `/.gatehouse/verify` or, Envoy, by gRPC. Empty: nobody may ask. Their `X-Forwarded-For` is believed.
	ForwardAuth []ForwardAuth `yaml:"forward_auth"`
	// AdminListen is where health checks and metrics are served, and nothing else.
	AdminListen Listen `yaml:"admin_listen" jsonschema:"default=127.0.0.1:9090"`
	// AccessLog writes a line for each request into the log: who, from where, the path without what is behind its question mark, the status, bytes and time.
	AccessLog bool `yaml:"access_log"`
	// Tracing tells a collector of OpenTelemetry what requests, sign-ins and accounts took their time with; never who, and never from where. Left out: nobody is told.
	Tracing *Tracing `yaml:"tracing"`
}

// Tracing is where traces go.
type Tracing struct {
	// URL is where a collector takes OTLP over HTTP, as `http://127.0.0.1:4318/v1/traces`.
	URL *url.URL `yaml:"url" jsonschema:"required"`
	// InsecureHTTP allows http to another machine.
	InsecureHTTP bool `yaml:"insecure_http"`
	// Headers go with each delivery, as a token of the collector.
	Headers map[string]Secret `yaml:"headers"`
	// Percent of the traces that begin at the gateway are kept. Those that a proxy of `trusted_proxies` began are kept as that proxy says, and go on here; what anybody else says about a trace counts for nothing.
	Percent int `yaml:"percent" jsonschema:"default=100,minimum=1,maximum=100"`
}

// ForwardAuth is a proxy that asks before each request.
type ForwardAuth struct {
	// ID, in the log.
	ID string `yaml:"id" jsonschema:"required"`
	// Kind of proxy, which is how it describes a request and what it does with an answer; there is an example of each in `configs/forward-auth`.
	Kind string `yaml:"kind" jsonschema:"required,enum=nginx,enum=traefik,enum=caddy,enum=haproxy,enum=envoy"`
	// From are the networks that it asks from. Proxies of two kinds, or with other services behind them, can not ask from the same one.
	From []netip.Prefix `yaml:"from" jsonschema:"required"`
	// Services that are behind it. It is answered about no others, and `probe` looks for no others there. Left out: all.
	Services Some[string] `yaml:"services"`
	// Probe is where the proxy itself is reached, as `https://10.0.0.5`. Through it the gateway asks for every protected address without signing in, and for the same paths under a host that nobody has, and raises an alarm if it is ever let in. Left out: it does not ask.
	Probe *url.URL `yaml:"probe"`
	// ProbeEvery is how often it asks.
	ProbeEvery time.Duration `yaml:"probe_every" jsonschema:"default=5m"`
}

// TLS is the gateway's certificate, or the word `proxy`.
type TLS struct {
	// Cert is a PEM file with the certificate and its chain; it is read again when it changes.
	Cert File `yaml:"cert"`
	// Key is the PEM file of its private key.
	Key File `yaml:"key"`
	// ACME gets certificates by itself.
	ACME *ACME `yaml:"acme"`

	// Proxy is set by the word `proxy`.
	Proxy bool `yaml:"-"`
}

// ACME gets certificates by itself, with ECDSA keys. A client that takes RSA alone gets none: which kind it takes is what a stranger says, and strangers do not have the authority asked. For such clients use `cert` and `key`.
type ACME struct {
	// Email is told when something is wrong with a certificate.
	Email string `yaml:"email" jsonschema:"required"`
	// Directory of the authority. Left out: Let's Encrypt.
	Directory *url.URL `yaml:"directory"`
	// CA is a PEM file with the certificates that the directory's own is checked by. Left out: those of the system.
	CA File `yaml:"ca"`
	// EAB ties the account to one that exists at the authority.
	EAB *EAB `yaml:"eab"`
}

// EAB ties an ACME account to one that exists at the authority.
type EAB struct {
	// ID of the key, as the authority gave it.
	ID string `yaml:"id" jsonschema:"required"`
	// Key in base64url, as the authority gave it.
	Key Secret `yaml:"key" jsonschema:"required"`
}

// Session says how long a sign-in lasts.
type Session struct {
	// Idle ends a session this long after its last request.
	Idle time.Duration `yaml:"idle" jsonschema:"default=30m"`
	// Lifetime ends a session this long after the sign-in, used or not.
	Lifetime time.Duration `yaml:"lifetime" jsonschema:"default=8h"`
	// SameSite of the session cookie. `strict` makes people who follow a link from elsewhere start without their session.
	SameSite string `yaml:"same_site" jsonschema:"enum=lax,enum=strict,default=lax"`
}

// Branding of the pages.
type Branding struct {
	// Name of the organisation, in titles and headings.
	Name string `yaml:"name" jsonschema:"default=Gatehouse"`
	// Logo is an SVG, PNG, JPEG or WebP file of at most 512 KiB.
	Logo File `yaml:"logo"`
	// Colors of links and buttons. Left out: ours.
	Colors Colors `yaml:"colors"`
	// Texts is a folder with files such as `de.json`, of which each text takes the place of ours, in the form of `web/translations`. A language that is not built in needs all of them.
	Texts Folder `yaml:"texts"`
}

// Colors are accents, as `#0f6b6b`. One that could not be read is refused (WCAG 2.2, contrast of 4.5:1).
type Colors struct {
	// Light is that of the light theme, and of buttons in both.
	Light string `yaml:"light"`
	// Dark is that of the dark theme.
	Dark string `yaml:"dark"`
}

// Help is whom people can ask.
type Help struct {
	// Contact is a mail address or a telephone number.
	Contact string `yaml:"contact"`
	// URL of a page that helps.
	URL *url.URL `yaml:"url"`
}

// Outbound says what the gateway itself may call.
type Outbound struct {
	// Allow lists private and loopback networks in which identity providers, metadata and targets may be. All others of that kind are refused, whatever a name resolves to. Upstreams of services need no entry.
	Allow []netip.Prefix `yaml:"allow"`
}

// Limits against overload.
type Limits struct {
	// HeaderSize is how large a request's headers may be together.
	HeaderSize Size `yaml:"header_size" jsonschema:"default=32KiB"`
	// SessionsPerUser is how many sessions one user may have; the next sign-in ends the oldest.
	SessionsPerUser int `yaml:"sessions_per_user" jsonschema:"default=10,minimum=1"`
	// RequestsPerAddress is how many requests a second one address (of IPv6, one network of 64 bits) may send without a session; ten times as many at once. Behind a proxy, list that under `trusted_proxies`, or all people are one address. A change needs a restart.
	RequestsPerAddress int `yaml:"requests_per_address" jsonschema:"default=50,minimum=1"`
	// SignInsPerPerson is how many sign-ins a minute one person may finish; as many at once. A change needs a restart.
	SignInsPerPerson int `yaml:"sign_ins_per_person" jsonschema:"default=20,minimum=1"`
}

// People are users by role, by group or by name; any one is enough.
type People struct {
	// Roles they have.
	Roles Some[string] `yaml:"roles"`
	// Groups they are in.
	Groups Some[string] `yaml:"groups"`
	// Users by name, with the user store before it where it is not the first: `partners/kim`.
	Users Some[string] `yaml:"users"`
}

// Nobody reports whether they name nobody.
func (p People) Nobody() bool { return len(p.Roles)+len(p.Groups)+len(p.Users) == 0 }

// Admins are who administers the gateway: those named by `roles`, `groups` and `users` may do everything, the others what their name says.
type Admins struct {
	// Roles of administrators.
	Roles Some[string] `yaml:"roles"`
	// Groups of administrators.
	Groups Some[string] `yaml:"groups"`
	// Users who are administrators, by name.
	Users Some[string] `yaml:"users"`
	// ReleaseEditors edit what services and targets learn about people.
	ReleaseEditors People `yaml:"release_editors"`
	// Approvers decide about requests for any role, besides the role's own approvers.
	Approvers People `yaml:"approvers"`
	// Helpdesk reads people, sessions, requests and tasks, and changes nothing.
	Helpdesk People `yaml:"helpdesk"`
	// Auditors read all of that and the audit log.
	Auditors People `yaml:"auditors"`
}

// All are those who may do everything.
func (a Admins) All() People { return People{Roles: a.Roles, Groups: a.Groups, Users: a.Users} }

// UserStore is a named part of the directory.
type UserStore struct {
	// ID, also the prefix of user names: `partners/kim`.
	ID string `yaml:"id" jsonschema:"required"`
	// Title for people.
	Title string `yaml:"title"`
	// Inactive says what becomes of its people who do not sign in any more. Left out: nothing.
	Inactive *Inactive `yaml:"inactive"`
}

// AttributeType is an attribute of a user, as this site knows it.
type AttributeType struct {
	// ID, as mappings, rules and releases name it.
	ID string `yaml:"id" jsonschema:"required"`
	// Title for people.
	Title string `yaml:"title"`
	// Multi says that a user may have several values of it.
	Multi bool `yaml:"multi"`
	// SCIM lets clients read and write it, in a schema of its own beside those of the RFC.
	SCIM *SCIMAttribute `yaml:"scim"`
}

// SCIMAttribute is what an attribute of ours is to clients that speak SCIM (RFC 7643 section 7). It stands in `/Schemas`.
type SCIMAttribute struct {
	// Name of it there.
	Name string `yaml:"name" jsonschema:"required"`
	// Schema is the URN of the extension of users that it belongs to.
	Schema string `yaml:"schema" jsonschema:"default=urn:gatehouse:scim:schemas:extension:site:1.0:User"`
	// Type of its values.
	Type string `yaml:"type" jsonschema:"enum=string,enum=boolean,enum=integer,enum=decimal,enum=dateTime,enum=reference,default=string"`
	// Mutability: `immutable` can be given and not changed; `readOnly` is never taken from a client.
	Mutability string `yaml:"mutability" jsonschema:"enum=readWrite,enum=readOnly,enum=immutable,default=readWrite"`
	// Returned says which answers have it: all that do not leave it out, all, or those that it is asked for.
	Returned string `yaml:"returned" jsonschema:"enum=default,enum=always,enum=request,default=default"`
	// Required of every user that a client makes or replaces.
	Required bool `yaml:"required"`
	// Unique refuses a value that another user has, whatever its case.
	Unique bool `yaml:"unique"`
	// CaseExact compares values exactly in filters.
	CaseExact bool `yaml:"case_exact"`
}

// IdentityProvider is where people prove who they are; exactly one of `oidc` and `saml` says how.
type IdentityProvider struct {
	// ID, part of the callback address; never change it while people sign in there.
	ID string `yaml:"id" jsonschema:"required"`
	// Title on the page where people choose.
	Title string `yaml:"title"`
	// Icon on that page, an SVG, PNG, JPEG or WebP file.
	Icon File `yaml:"icon"`
	// Domains of mail addresses whose owners are offered this provider first. A hint, never a check.
	Domains Some[string] `yaml:"domains"`
	// OIDC speaks OpenID Connect.
	OIDC *OIDC `yaml:"oidc"`
	// SAML speaks SAML 2.0.
	SAML *SAML `yaml:"saml"`
	// Attributes maps ours to theirs: the name of one of theirs, an expression over `claims`, or a mapping.
	Attributes map[string]Mapped `yaml:"attributes"`
	// Absent says what becomes of a value that the provider no longer asserts: `replace` takes it away at the next sign-in, `keep` leaves it.
	Absent string `yaml:"absent" jsonschema:"enum=replace,enum=keep,default=replace"`
	// Scopes drops scoped values (`staff@uni.example`) outside these domains.
	Scopes Some[string] `yaml:"scopes"`
	// Provisioning makes and updates users just in time.
	Provisioning Provisioning `yaml:"provisioning"`
	// Probe asks now and then whether people are still there; of a provider that speaks OpenID Connect. Left out: never.
	Probe *Probe `yaml:"probe"`
}

// OIDC is an OpenID Connect provider.
type OIDC struct {
	// Issuer as the provider's tokens spell it; discovery starts there.
	Issuer *url.URL `yaml:"issuer" jsonschema:"required"`
	// ClientID that the provider gave the gateway.
	ClientID string `yaml:"client_id" jsonschema:"required"`
	// ClientSecret for `client_secret_basic` and `client_secret_post`.
	ClientSecret Secret `yaml:"client_secret"`
	// PrivateKey for `private_key_jwt`, PEM.
	PrivateKey Secret `yaml:"private_key"`
	// AuthMethod is how the gateway proves itself at the token endpoint. Left out: `private_key_jwt` where there is a private key, else `client_secret_basic`.
	AuthMethod string `yaml:"auth_method" jsonschema:"enum=client_secret_basic,enum=client_secret_post,enum=private_key_jwt"`
	// Scopes to ask for; `openid` is always among them. Left out: `openid`, `profile`, `email`.
	Scopes []string `yaml:"scopes"`
	// Algorithms that may sign ID tokens. Left out: RS256, PS256, ES256, EdDSA.
	Algorithms []string `yaml:"algorithms" jsonschema:"enum=RS256,enum=RS384,enum=RS512,enum=PS256,enum=PS384,enum=PS512,enum=ES256,enum=ES384,enum=ES512,enum=EdDSA"`
	// Userinfo asks the userinfo endpoint at each sign-in; otherwise it is asked where the
	// ID token lacks something that is read here.
	Userinfo bool `yaml:"userinfo"`
	// GroupsClaim is the claim that lists groups, watched for an overage (more groups than fit into a token).
	GroupsClaim string `yaml:"groups_claim" jsonschema:"default=groups"`
	// GroupsOverage says what to do then: refuse the sign-in, or fetch the groups from `groups_url`. It is never read as no groups.
	GroupsOverage string `yaml:"groups_overage" jsonschema:"enum=refuse,enum=fetch,default=refuse"`
	// GroupsURL is where the groups are fetched with the person's access token; an address that a token names is not called.
	GroupsURL *url.URL `yaml:"groups_url"`
	// Skew is how far the provider's clock may be off, at most 5m.
	Skew time.Duration `yaml:"skew" jsonschema:"default=1m"`
	// InsecureHTTP allows an http issuer that is not on loopback.
	InsecureHTTP bool `yaml:"insecure_http"`
}

// SAML is a SAML 2.0 identity provider.
type SAML struct {
	// Metadata of the identity provider.
	Metadata Metadata `yaml:"metadata" jsonschema:"required"`
	// EntityID of the gateway towards this provider. Left out: the address of its own metadata.
	EntityID string `yaml:"entity_id"`
	// Binding of the sign-in request. Left out: what the provider offers, the redirect first.
	Binding string `yaml:"binding" jsonschema:"enum=redirect,enum=post"`
	// SignRequests signs sign-in requests.
	SignRequests bool `yaml:"sign_requests" jsonschema:"default=true"`
	// RequireSignedResponse wants the response signed too; the assertion always has to be.
	RequireSignedResponse bool `yaml:"require_signed_response"`
	// Keys of the gateway: the first signs, all are announced in its metadata, and those of RSA decrypt. Left out: the gateway makes one when it first starts.
	Keys []KeyPair `yaml:"keys"`
	// Subject is what names a person: `subject-id`, `pairwise-id`, `nameid:persistent`, `nameid:email`, `nameid:unspecified`, or the name of an attribute that is never given to somebody else. The word `nameid` is the first there is of `subject-id`, `pairwise-id` and `nameid:persistent`.
	Subject string `yaml:"subject" jsonschema:"default=nameid"`
	// Skew is how far the provider's clock may be off, at most 5m.
	Skew time.Duration `yaml:"skew" jsonschema:"default=3m"`
	// InsecureAllowSHA1 accepts signatures with SHA-1, which can be forged.
	InsecureAllowSHA1 bool `yaml:"insecure_allow_sha1"`
}

// Metadata of a SAML identity provider; exactly one of `url` and `file` says where it is.
type Metadata struct {
	// URL to fetch it from; https, or signed with the certificate.
	URL *url.URL `yaml:"url"`
	// File that holds it; it is read again when it changes.
	File File `yaml:"file"`
	// Certificate whose key must have signed the metadata, PEM.
	Certificate *InFile `yaml:"certificate"`
	// Refresh is how often it is fetched; the last good one stays until it expires by its own words.
	Refresh time.Duration `yaml:"refresh" jsonschema:"default=1h"`
	// EntityID of the identity provider, where the document describes several.
	EntityID string `yaml:"entity_id"`
	// InsecureNoValidUntil accepts a document from a URL that does not say until when it is valid, as Entra and Okta publish it: a key that was taken back there is then trusted until the next refresh succeeds, however long that takes.
	InsecureNoValidUntil bool `yaml:"insecure_no_valid_until"`
}

// InFile is something that is kept in a file.
type InFile struct {
	// File, relative to the folder of the configuration.
	File File `yaml:"file" jsonschema:"required"`
}

// KeyPair is a certificate and its private key, both PEM.
type KeyPair struct {
	// Certificate in PEM.
	Certificate InFile `yaml:"certificate" jsonschema:"required"`
	// Key is its private key.
	Key Secret `yaml:"key" jsonschema:"required"`
}

// Mapped is how one of our attributes comes about: the name of one of theirs, an expression over `claims`, or a mapping.
type Mapped struct {
	// From is the name of one of theirs, or an expression if it mentions `claims`.
	From string `yaml:"from"`
	// Expr is an expression over `claims`.
	Expr string `yaml:"expr"`
	// Absent for this attribute. Left out: as the identity provider says. `keep` is refused for what rules, roles or targets read.
	Absent string `yaml:"absent" jsonschema:"enum=replace,enum=keep"`
	// Required refuses the sign-in of somebody without it.
	Required bool `yaml:"required"`
	// Ask the person where the provider does not say it: at their first sign-in, or at any if it is required. What they say goes to services and targets as any attribute does, but no rule believes it unless `trust_self` names it.
	Ask bool `yaml:"ask"`
	// Multi says that a user may have several values of it, of an attribute that is neither built in nor listed under `attributes`.
	Multi bool `yaml:"multi"`
}

// Provisioning makes and updates users just in time.
type Provisioning struct {
	// Mode: `blocking` waits for targets, `async` does not, `off` lets in only people who have a user already.
	Mode string `yaml:"mode" jsonschema:"enum=blocking,enum=async,enum=off,default=off"`
	// UserStore that its users belong to. Left out: the first.
	UserStore string `yaml:"user_store"`
	// UserName of a user that is made, the name of one of theirs or an expression over `claims`. Left out: `preferred_username` for OpenID Connect, `uid` for SAML.
	UserName string `yaml:"user_name"`
	// Timeout for the targets that a blocking sign-in waits for.
	Timeout time.Duration `yaml:"timeout" jsonschema:"default=5s"`
	// OnFailure says what happens when they fail or take longer: `deny` the sign-in, or `continue` while the work goes on.
	OnFailure string `yaml:"on_failure" jsonschema:"enum=deny,enum=continue,default=deny"`
	// Prompt says what a person sees before their user is made: `silent` nothing, unless something is asked of them; `confirm` what is known of them; `choose` that, and they choose their user name.
	Prompt string `yaml:"prompt" jsonschema:"enum=silent,enum=confirm,enum=choose,default=silent"`
}

// Role is a name for some people, that rules, targets and approvals use.
type Role struct {
	// ID, as rules name it.
	ID string `yaml:"id" jsonschema:"required"`
	// Title for people.
	Title string `yaml:"title"`
	// From gives the role to everybody whom one of these describes. Left out: only by grant.
	From Some[Match] `yaml:"from"`
	// Approvers decide about requests for the role.
	Approvers People `yaml:"approvers"`
	// Longest is how long a granted role lasts at most. Left out: without end.
	Longest time.Duration `yaml:"longest"`
}

// Match describes people and requests. Everything that is given must hold; of a list, any one is enough.
type Match struct {
	// Anyone, also people who did not sign in: public.
	Anyone bool `yaml:"anyone"`
	// SignedIn is everyone who signed in.
	SignedIn bool `yaml:"signed_in"`
	// Roles they have.
	Roles Some[string] `yaml:"roles"`
	// Groups they are in, asserted or the directory's own.
	Groups Some[string] `yaml:"groups"`
	// Users by name, with the user store before it where it is not the first: `partners/kim`.
	Users Some[string] `yaml:"users"`
	// IdentityProviders they signed in at.
	IdentityProviders Some[string] `yaml:"identity_provider"`
	// UserStores they belong to.
	UserStores Some[string] `yaml:"user_store"`
	// Attributes of theirs and the values that will do.
	Attributes map[string]Some[string] `yaml:"attributes"`
	// ACR is how they must have signed in: authentication context classes.
	ACR Some[string] `yaml:"acr"`
	// AMR is by which methods, as the provider names them.
	AMR Some[string] `yaml:"amr"`
	// MaxAge of the sign-in; an older one is renewed first.
	MaxAge time.Duration `yaml:"max_age"`
	// Callers are programs, which are no people: `token:NAME` for service tokens of that name, or the ID of a caller of the service, either with `*` for any text. A rule is about people or about programs.
	Callers Some[string] `yaml:"callers"`
	// Networks the request comes from.
	Networks Some[netip.Prefix] `yaml:"networks"`
	// When is an expression over `user`, `login` and `request`.
	When string `yaml:"when"`
}

// Service is an application behind the gateway.
type Service struct {
	// ID, also the audience of its signed token.
	ID string `yaml:"id" jsonschema:"required"`
	// Title for people.
	Title string `yaml:"title"`
	// Description on the portal.
	Description string `yaml:"description"`
	// Logo on the portal, an SVG, PNG, JPEG or WebP file.
	Logo File `yaml:"logo"`
	// Host it is reached at, without a port.
	Host string `yaml:"host" jsonschema:"required"`
	// Path for a part of a host. Where several services share a host, the longest path counts.
	Path string `yaml:"path" jsonschema:"default=/"`
	// Upstream is where requests go: an address such as `http://10.0.0.7:8080`, or `unix://` and the path of a socket. Requests keep their path. Several share the work, and stand in for each other.
	Upstream Some[Upstream] `yaml:"upstream" jsonschema:"required"`
	// Balance is how requests are spread over several upstreams: one after the other, or to the one with the fewest under way.
	Balance string `yaml:"balance" jsonschema:"enum=round_robin,enum=least_requests,default=round_robin"`
	// Sticky keeps a person at one of several upstreams as long as that is well: by a cookie between the browser and the gateway, which no service sees, or by their session.
	Sticky string `yaml:"sticky" jsonschema:"enum=none,enum=cookie,enum=session,default=none"`
	// Retries is how often a request may be sent to another upstream if one fails: one without a body that reached nobody, or whose method is safe (GET, HEAD, OPTIONS) and that no answer had begun to.
	Retries int `yaml:"retries" jsonschema:"default=1,minimum=0"`
	// Health asks each upstream now and then whether it is well. Left out: nobody asks, and only failed requests show it.
	Health *Health `yaml:"health"`
	// Eject leaves out an upstream whose requests fail, for a while.
	Eject Eject `yaml:"eject"`
	// Timeouts of a request.
	Timeouts Timeouts `yaml:"timeouts"`
	// UpstreamTLS is how upstreams of https prove who they are, and we to them. Left out: as the system has it.
	UpstreamTLS *UpstreamTLS `yaml:"upstream_tls"`
	// Protocol that upstreams speak: `auto` is HTTP/1.1, and HTTP/2 where an upstream of https offers it; `http2` is that alone, and `h2c` HTTP/2 without TLS, as servers of gRPC speak it.
	Protocol string `yaml:"protocol" jsonschema:"enum=auto,enum=http1,enum=http2,enum=h2c,default=auto"`
	// Rewrite gives the service another path than browsers see. Left out: the same.
	Rewrite Rewrite `yaml:"rewrite"`
	// Response bounds what the service may answer.
	Response Response `yaml:"response"`
	// Access says who may pass. Any matching deny wins; where nothing matches, nobody passes.
	Access []Rule `yaml:"access"`
	// Denied is what people see who may not.
	Denied Denied `yaml:"denied"`
	// Owners answer for the service: they see what happened at it, and who has asked for it.
	Owners People `yaml:"owners"`
	// OwnersApprove lets the owners decide, beside the roles' own approvers, about requests that were made because of this service, for the roles that `denied.request` offers.
	OwnersApprove bool `yaml:"owners_approve"`
	// Headers that tell the service who it is: a preset, or names of one's own.
	Headers Headers `yaml:"headers"`
	// Release is what the service may learn about people. Left out: what release editors publish, and nothing until then.
	Release []Release `yaml:"release"`
	// Notice shows people what the service learns about them before they use it for the first time, and again when it is more. What has `basis: consent` is asked for in any case.
	Notice bool `yaml:"notice"`
	// ReleaseIn says where its release is kept: here in the file, or by release editors, for whom `release` is the first version. Left out: in the file if it has `release`.
	ReleaseIn string `yaml:"release_in" jsonschema:"enum=file,enum=editor"`
	// RequireBasis keeps back what is released to it without a `basis`.
	RequireBasis bool `yaml:"require_basis"`
	// Requires are attributes without which the service can not work for a person: a release that loses one is not published unseen.
	Requires Some[string] `yaml:"requires"`
	// Pairwise names people to this service by an ID that no other service knows.
	Pairwise bool `yaml:"pairwise"`
	// KeepAuthorization passes the request's Authorization header on; otherwise it is removed.
	KeepAuthorization bool `yaml:"keep_authorization"`
	// ProvisionedBy are targets that must hold the person's account before the service can work for them.
	ProvisionedBy Some[string] `yaml:"provisioned_by"`
	// FirstRequest of somebody of whom a target of `provisioned_by` has no account yet, and whose sign-in did not wait for it: `hold` keeps it for a while, then shows how far the account is; `pass` lets it through. The service is told in X-Gatehouse-Provisioned.
	FirstRequest string `yaml:"first_request" jsonschema:"enum=hold,enum=pass,default=hold"`
	// ProvisionedWithin is how long a first request is held.
	ProvisionedWithin time.Duration `yaml:"provisioned_within" jsonschema:"default=5s"`
	// IdentityProviders that people may sign in at for this service. Left out: all.
	IdentityProviders Some[string] `yaml:"identity_provider"`
	// Tokens takes service tokens, made with `gatehouse tokens create`, from programs that a rule names in `callers`.
	Tokens bool `yaml:"tokens"`
	// Callers are programs that show a JWT of an issuer of their own, and that a rule names in `callers`.
	Callers []Caller `yaml:"callers"`
	// Websocket lets WebSocket connections through.
	Websocket bool `yaml:"websocket" jsonschema:"default=true"`
}

// Caller is a program, or some of one kind, that shows a JWT in the Authorization header. Issuer, audience, subject and an end are always checked.
type Caller struct {
	// ID, as rules name it in `callers`; the service is told `caller:ID/SUBJECT`.
	ID string `yaml:"id" jsonschema:"required"`
	// Issuer as the JWTs spell it. Its keys are found by its discovery document.
	Issuer *url.URL `yaml:"issuer" jsonschema:"required"`
	// Audience that a JWT must be for, any one of these.
	Audience Some[string] `yaml:"audience" jsonschema:"required"`
	// Subjects that are let in, exact or with `*` for any text.
	Subjects Some[string] `yaml:"subjects" jsonschema:"required"`
	// Algorithms that may sign. Left out: RS256, PS256, ES256, EdDSA.
	Algorithms []string `yaml:"algorithms" jsonschema:"enum=RS256,enum=RS384,enum=RS512,enum=PS256,enum=PS384,enum=PS512,enum=ES256,enum=ES384,enum=ES512,enum=EdDSA"`
	// Keys is the address of the issuer's keys (a JWK set), if it has no discovery document.
	Keys *url.URL `yaml:"keys"`
	// Attributes of ours, each from a claim of the JWT; rules can read them, and the service gets them if they are released.
	Attributes map[string]string `yaml:"attributes"`
	// Longest is how long a JWT may live.
	Longest time.Duration `yaml:"longest" jsonschema:"default=24h"`
	// Skew is how far the issuer's clock may be off, at most 5m.
	Skew time.Duration `yaml:"skew" jsonschema:"default=1m"`
	// InsecureHTTP allows an http issuer that is not on loopback.
	InsecureHTTP bool `yaml:"insecure_http"`
}

// Health is how an upstream is asked whether it is well. The first answer counts at once.
type Health struct {
	// Path that a GET is sent for.
	Path string `yaml:"path" jsonschema:"required"`
	// Host that it is sent for. Left out: that of the service.
	Host string `yaml:"host"`
	// Every is the time between two questions.
	Every time.Duration `yaml:"every" jsonschema:"default=10s"`
	// Timeout of a question.
	Timeout time.Duration `yaml:"timeout" jsonschema:"default=2s"`
	// Fails in a row until the upstream gets no more requests.
	Fails int `yaml:"fails" jsonschema:"default=3,minimum=1"`
	// Passes in a row until it gets them again.
	Passes int `yaml:"passes" jsonschema:"default=2,minimum=1"`
	// Status that will do. Left out: 200 to 399.
	Status []int `yaml:"status" jsonschema:"minimum=100"`
}

// Eject leaves out an upstream whose requests fail. Without another that is well it is used all the same; if it takes no connections at all, by one request a second.
type Eject struct {
	// Failures in a row that do it: no connection, no answer, or none in time.
	Failures int `yaml:"failures" jsonschema:"default=5,minimum=1"`
	// For is how long.
	For time.Duration `yaml:"for" jsonschema:"default=30s"`
	// Statuses makes failures of the answers 502, 503 and 504 too.
	Statuses bool `yaml:"statuses"`
}

// Timeouts of a request to an upstream.
type Timeouts struct {
	// Connect is for the connection.
	Connect time.Duration `yaml:"connect" jsonschema:"default=10s"`
	// Head is until the answer begins.
	Head time.Duration `yaml:"head" jsonschema:"default=5m"`
	// Whole is until the answer ends; WebSockets have no such end. Left out: for ever.
	Whole time.Duration `yaml:"whole"`
	// Silence is how long a stream may say nothing. Left out: for ever.
	Silence time.Duration `yaml:"silence"`
}

// UpstreamTLS is TLS between the gateway and upstreams.
type UpstreamTLS struct {
	// CA is a PEM file with the authorities that upstreams' certificates are checked by. Left out: those of the system.
	CA File `yaml:"ca"`
	// ServerName that their certificates must have. Left out: the host of the upstream.
	ServerName string `yaml:"server_name"`
	// Cert is a PEM file with the gateway's own certificate, for upstreams that ask for one.
	Cert File `yaml:"cert"`
	// Key is the private key of that certificate, PEM.
	Key Secret `yaml:"key"`
}

// Rewrite gives a service another path than browsers see. Redirects and the paths of cookies are mapped back, and the service learns what was taken away in `X-Forwarded-Prefix`.
type Rewrite struct {
	// Strip is taken from the front of the path: the service's `path`, or what that is below.
	Strip string `yaml:"strip"`
	// Add is put in front.
	Add string `yaml:"add"`
}

// Response bounds what a service may answer.
type Response struct {
	// HeaderSize is how large the headers may be together.
	HeaderSize Size `yaml:"header_size" jsonschema:"default=64KiB"`
	// Size is how large the body may be. Left out: of any size.
	Size Size `yaml:"size"`
}

// Rule is one rule of access; exactly one of `allow` and `deny` says for whom.
type Rule struct {
	// ID, in reasons and the audit log.
	ID string `yaml:"id" jsonschema:"required"`
	// Text that people read who are refused.
	Text string `yaml:"text"`
	// Methods it is about. Left out: all.
	Methods Some[string] `yaml:"methods"`
	// Paths it is about: `/reports/2026` alone, `/reports/*` for everything below. Left out: all.
	Paths Some[string] `yaml:"paths"`
	// Allow whom this describes.
	Allow *Match `yaml:"allow"`
	// Deny whom this describes.
	Deny *Match `yaml:"deny"`
}

// Denied is what people see who may not use a service.
type Denied struct {
	// Contact whom to ask, a mail address or a telephone number.
	Contact string `yaml:"contact"`
	// Request offers these roles.
	Request Some[string] `yaml:"request"`
	// Text above everything else.
	Text string `yaml:"text"`
}

// Headers that tell a service who it is: a preset, or names of one's own, or both.
type Headers struct {
	// Preset is a set of names that services already know. Left out beside names of one's own: `none`.
	Preset string `yaml:"preset" jsonschema:"enum=default,enum=remote-user,enum=oauth2-proxy,enum=pomerium,enum=authelia,enum=authentik,enum=shibboleth,enum=none,default=default"`
	// Own are names of one's own.
	Own map[string]Header `yaml:",inline"`
}

// Header is what a header of one's own carries: the name of an attribute, or a mapping.
type Header struct {
	// Attribute that it carries, if it is released; `jwt` is the signed token.
	Attribute string `yaml:"attribute" jsonschema:"required"`
	// List is how several values go: joined into one line, as repeated headers, or as JSON.
	List string `yaml:"list" jsonschema:"enum=join,enum=repeat,enum=json,default=join"`
	// Separator of joined values, a comma if left out; inside a value it has a backslash before it, as has a backslash.
	Separator string `yaml:"separator"`
	// Encoding of characters beyond ASCII.
	Encoding string `yaml:"encoding" jsonschema:"enum=utf8,enum=percent,enum=rfc2047,default=utf8"`
}

// Release is one attribute that a service or a target may learn: its name, or a mapping.
type Release struct {
	// Attribute of ours.
	Attribute string `yaml:"attribute" jsonschema:"required"`
	// As is what the recipient calls it. Left out: the same.
	As string `yaml:"as"`
	// Values that may go out, exact or with `*`. Left out: all.
	Values Some[string] `yaml:"values"`
	// Transform is an expression over `value` and `values`.
	Transform string `yaml:"transform"`
	// When is an expression over `user` and `login`; only then it goes out.
	When string `yaml:"when"`
	// Reference: the values are users of the directory, by name or ID, such as somebody's manager; the target gets its own IDs of their accounts instead. For targets alone.
	Reference bool `yaml:"reference"`
	// Purpose, as people read it on their data page.
	Purpose string `yaml:"purpose"`
	// Retention is how long the recipient keeps it, as people read it on their data page.
	Retention string `yaml:"retention"`
	// Basis in law.
	Basis string `yaml:"basis" jsonschema:"enum=consent,enum=contract,enum=legal_obligation,enum=vital_interests,enum=public_task,enum=legitimate_interests"`
}

// ReleasePolicy is what counts for every release.
type ReleasePolicy struct {
	// RequireBasis keeps back, from every service and target, what is released without a `basis`.
	RequireBasis bool `yaml:"require_basis"`
	// SecondPerson: who changed a draft of release editors can not publish it.
	SecondPerson bool `yaml:"second_person"`
}

// Edited reports whether release editors keep the service's release, and not the file.
func (s Service) Edited() bool { return edited(s.ReleaseIn, s.Release) }

// Edited reports whether release editors keep the target's release, and not the file.
func (t Target) Edited() bool { return edited(t.ReleaseIn, t.Release) }

func edited(in string, list []Release) bool { return in == "editor" || in == "" && list == nil }

// Target is a system that holds accounts, kept in step with the directory. Exactly one connector says how.
type Target struct {
	// ID, in tasks and the audit log.
	ID string `yaml:"id" jsonschema:"required"`
	// Title for people.
	Title string `yaml:"title"`
	// SCIM2 speaks SCIM 2.0.
	SCIM2 *SCIM2 `yaml:"scim2"`
	// SCIM11 speaks SCIM 1.1.
	SCIM11 *SCIM11 `yaml:"scim11"`
	// Webhook tells an address of each change; it holds no accounts that could be read.
	Webhook *Webhook `yaml:"webhook"`
	// Exec asks a program on this machine that people wrote themselves.
	Exec *Exec `yaml:"exec"`
	// HTTP asks a server that people wrote themselves.
	HTTP *HTTP `yaml:"http"`
	// CSV writes files.
	CSV *CSVTarget `yaml:"csv"`
	// LDAP keeps entries in a directory.
	LDAP *LDAPTarget `yaml:"ldap"`
	// Users who have an account there. Left out: nobody.
	Users Scope `yaml:"users"`
	// Release is what the target may learn about them, besides user name and whether they are active. Left out: what release editors publish, and nothing until then.
	Release []Release `yaml:"release"`
	// ReleaseIn says where its release is kept: here in the file, or by release editors, for whom `release` is the first version. Left out: in the file if it has `release`.
	ReleaseIn string `yaml:"release_in" jsonschema:"enum=file,enum=editor"`
	// RequireBasis keeps back what is released to it without a `basis`.
	RequireBasis bool `yaml:"require_basis"`
	// Wait makes blocking sign-ins wait for this target.
	Wait bool `yaml:"wait"`
	// Groups of the directory that the target has too, with those of their members who have an account there: by name, or with `*` for any text. Left out: none.
	Groups Some[string] `yaml:"groups"`
	// Leave says what becomes of the account of somebody who is no longer among the users.
	Leave string `yaml:"leave" jsonschema:"enum=disable,enum=delete,enum=keep,default=disable"`
	// DeleteAfter is how long an account that is to be deleted is disabled before.
	DeleteAfter time.Duration `yaml:"delete_after" jsonschema:"default=30d"`
	// Adopt says by what an account that is already there is taken over.
	Adopt string `yaml:"adopt" jsonschema:"enum=external_id,enum=user_name,enum=never,default=external_id"`
	// Guard limits what the target may lose. Left out: as `guard.limits` says.
	Guard GuardLimits `yaml:"guard"`
	// Reconcile compares what the target has with what it should have. Left out: when somebody asks for it, with the defaults.
	Reconcile Reconcile `yaml:"reconcile"`
}

// Scope says who has an account at a target. Everything that is given must hold; of a list, any one is enough.
type Scope struct {
	// All users.
	All bool `yaml:"all"`
	// Roles they have.
	Roles Some[string] `yaml:"roles"`
	// Groups they are in.
	Groups Some[string] `yaml:"groups"`
	// UserStores they belong to.
	UserStores Some[string] `yaml:"user_store"`
	// When is an expression over `user`.
	When string `yaml:"when"`
}

// SCIM2 is a SCIM 2.0 server.
type SCIM2 struct {
	// URL of the server, up to but without `/Users`.
	URL *url.URL `yaml:"url" jsonschema:"required"`
	// Auth is how the gateway proves itself; exactly one way.
	Auth Auth `yaml:"auth" jsonschema:"required"`
	// Profile is what kind of server it is, where it does less, or other, than the standard says.
	Profile string `yaml:"profile" jsonschema:"enum=generic,enum=entra,enum=aws,enum=google,enum=salesforce,enum=slack,enum=keycloak,enum=wso2,default=generic"`
	// Patch: changes go by PATCH, or by PUT of the whole account; `auto` does as the profile says, or asks the server what it can.
	Patch string `yaml:"patch" jsonschema:"enum=auto,enum=patch,enum=put,default=auto"`
	// PageSize is how many accounts a page of a list has. Left out: as the profile says, else 100.
	PageSize int `yaml:"page_size" jsonschema:"minimum=1"`
	// Domain is a user store at the server that user names have before them there, as `AD` in `AD/ana` (WSO2). Left out: none.
	Domain string `yaml:"domain"`
	// Timeout of one request.
	Timeout time.Duration `yaml:"timeout" jsonschema:"default=10s"`
	// CA is a PEM file with the authorities to trust. Left out: those of the system.
	CA File `yaml:"ca"`
	// Rate is how many requests a second it may get. Left out: as many as it takes.
	Rate int `yaml:"rate" jsonschema:"minimum=1"`
	// InsecureHTTP allows an http URL that is not on loopback.
	InsecureHTTP bool `yaml:"insecure_http"`
}

// SCIM11 is a SCIM 1.1 server.
type SCIM11 struct {
	// URL of the server, up to but without `/Users`.
	URL *url.URL `yaml:"url" jsonschema:"required"`
	// Auth is how the gateway proves itself.
	Auth Auth `yaml:"auth" jsonschema:"required"`
	// Patch: changes go by PATCH where it can say them, or by PUT of the whole account; `auto` asks the server what it can.
	Patch string `yaml:"patch" jsonschema:"enum=auto,enum=patch,enum=put,default=auto"`
	// Domain is a user store at the server that user names have before them there, as `AD` in `AD/ana` (WSO2). Left out: none.
	Domain string `yaml:"domain"`
	// NewPassword creates accounts with a random password, which nobody gets to know, for servers that make none without.
	NewPassword bool `yaml:"new_password"`
	// Timeout of one request.
	Timeout time.Duration `yaml:"timeout" jsonschema:"default=10s"`
	// CA is a PEM file with the authorities to trust. Left out: those of the system.
	CA File `yaml:"ca"`
	// Rate is how many requests a second it may get. Left out: as many as it takes.
	Rate int `yaml:"rate" jsonschema:"minimum=1"`
	// InsecureHTTP allows an http URL that is not on loopback.
	InsecureHTTP bool `yaml:"insecure_http"`
}

// Webhook is an address that is told of changes: CloudEvents, signed as Standard Webhooks says.
type Webhook struct {
	// URL that gets every event by POST.
	URL *url.URL `yaml:"url" jsonschema:"required"`
	// Secrets that events are signed with, all of them, so that one can follow another: `whsec_` and base64 of 24 to 64 bytes (HMAC-SHA256), or `whsk_` and base64 of an Ed25519 key.
	Secrets Some[Secret] `yaml:"secrets" jsonschema:"required"`
	// Timeout of one delivery.
	Timeout time.Duration `yaml:"timeout" jsonschema:"default=15s"`
	// CA is a PEM file with the authorities to trust. Left out: those of the system.
	CA File `yaml:"ca"`
	// Rate is how many events a second it may get. Left out: as many as it takes.
	Rate int `yaml:"rate" jsonschema:"minimum=1"`
	// InsecureHTTP allows an http URL that is not on loopback.
	InsecureHTTP bool `yaml:"insecure_http"`
}

// Exec is a program that speaks the connector protocol over its standard input and output. It is started for each call, without a shell.
type Exec struct {
	// Program file.
	Program File `yaml:"program" jsonschema:"required"`
	// Args that it is started with, as they are.
	Args []string `yaml:"args"`
	// Env is its whole environment, besides PATH, LANG and TZ.
	Env map[string]Secret `yaml:"env"`
	// Timeout of one call; then the program and all that it started is ended.
	Timeout time.Duration `yaml:"timeout" jsonschema:"default=30s"`
	// AtOnce is how many of it run at the same time.
	AtOnce int `yaml:"at_once" jsonschema:"default=4,minimum=1"`
	// Rate is how many calls a second it may get. Left out: as many as it takes.
	Rate int `yaml:"rate" jsonschema:"minimum=1"`
}

// HTTP is a server that speaks the connector protocol.
type HTTP struct {
	// URL that gets every call by POST.
	URL *url.URL `yaml:"url" jsonschema:"required"`
	// Auth is how the gateway proves itself.
	Auth Auth `yaml:"auth" jsonschema:"required"`
	// Timeout of one call.
	Timeout time.Duration `yaml:"timeout" jsonschema:"default=10s"`
	// CA is a PEM file with the authorities to trust. Left out: those of the system.
	CA File `yaml:"ca"`
	// Rate is how many calls a second it may get. Left out: as many as it takes.
	Rate int `yaml:"rate" jsonschema:"minimum=1"`
	// InsecureHTTP allows an http URL that is not on loopback.
	InsecureHTTP bool `yaml:"insecure_http"`
}

// Auth is how the gateway proves itself to a target: one of these, with a client certificate beside it or alone, or the word `none`.
type Auth struct {
	// Bearer token.
	Bearer Secret `yaml:"bearer"`
	// Basic is a user name and a password.
	Basic *Basic `yaml:"basic"`
	// Header of the target's own that carries a key.
	Header *KeyHeader `yaml:"header"`
	// OAuth2 gets short-lived tokens from an authorization server (client credentials).
	OAuth2 *TokenSource `yaml:"oauth2"`
	// MTLS is a client certificate, shown to the target and to the authorization server.
	MTLS *ClientCertificate `yaml:"mtls"`

	// None is set by the word `none`.
	None bool `yaml:"-"`
}

// KeyHeader is a header that carries a key.
type KeyHeader struct {
	// Name of the header, such as `X-Api-Key`.
	Name string `yaml:"name" jsonschema:"required"`
	// Value of the header.
	Value Secret `yaml:"value" jsonschema:"required"`
}

// TokenSource is an authorization server and who the gateway is there; exactly one of `client_secret` and `private_key`, or neither beside `mtls`.
type TokenSource struct {
	// TokenURL of the authorization server.
	TokenURL *url.URL `yaml:"token_url" jsonschema:"required"`
	// ClientID of the gateway there.
	ClientID string `yaml:"client_id" jsonschema:"required"`
	// ClientSecret, sent by Basic.
	ClientSecret Secret `yaml:"client_secret"`
	// PrivateKey in PEM, RSA, P-256 or Ed25519, signs an assertion instead (RFC 7523).
	PrivateKey Secret `yaml:"private_key"`
	// KeyID of that key, as the authorization server knows it.
	KeyID string `yaml:"key_id"`
	// Audience of the assertion. Left out: the token URL.
	Audience string `yaml:"audience"`
	// Scopes to ask for. Left out: those that the server gives.
	Scopes Some[string] `yaml:"scopes"`
	// Resource that the token is for (RFC 8707).
	Resource *url.URL `yaml:"resource"`
}

// ClientCertificate is a certificate and its key.
type ClientCertificate struct {
	// Cert is a PEM file with the certificate, and those between it and its root.
	Cert File `yaml:"cert" jsonschema:"required"`
	// Key in PEM.
	Key Secret `yaml:"key" jsonschema:"required"`
}

// Basic is a user name and a password.
type Basic struct {
	// User name, without a colon.
	User string `yaml:"user" jsonschema:"required"`
	// Password of that user.
	Password Secret `yaml:"password" jsonschema:"required"`
}

// Client is a system that provisions users into the directory.
type Client struct {
	// ID, the source of what it says.
	ID string `yaml:"id" jsonschema:"required"`
	// Title for people.
	Title string `yaml:"title"`
	// Credentials that it may use. Left out: only tokens that `gatehouse clients token add` makes.
	Credentials []Credential `yaml:"credentials"`
	// UserStores it may use; others, and who is in them, do not exist for it. Names without a store are in the first. Left out: the first user store there is, for `resident` all.
	UserStores Some[string] `yaml:"user_store"`
	// Mode says where its users go: into the directory, or from there to targets too, or with `push-only` to targets alone, while the request waits: then nothing about them is kept here but IDs and keyed hashes. That somebody of the directory loses access is told to targets in any case.
	Mode string `yaml:"mode" jsonschema:"enum=persist,enum=persist-and-push,enum=push-only,default=persist"`
	// Targets it pushes to. Left out: all.
	Targets Some[string] `yaml:"targets"`
	// Profile is the dialect of SCIM that it speaks: what Microsoft Entra, Okta or WSO2 send is made legal before it is read, and counted (`gatehouse clients dialect`). `rfc` takes nothing for anything else.
	Profile string `yaml:"profile" jsonschema:"enum=rfc,enum=entra,enum=okta,enum=wso2,default=rfc"`
	// Groups of these stores that it may see and change, by name or with `*` for any text. Left out: none, since a group can open doors.
	Groups Some[string] `yaml:"groups"`
	// Read are the attributes of users, by their names in SCIM, that it may see; `id` and `meta` it sees always. Left out: all. `none`: no other.
	Read Some[string] `yaml:"read"`
	// Write are those that it may change. Without `userName` it neither creates nor deletes users. Left out: all. `none`: it changes nothing.
	Write Some[string] `yaml:"write"`
	// Rate is how many requests it may make in a second, twice as many after a pause. Left out: any number.
	Rate int `yaml:"rate"`
	// Links makes the client the authority on who the people of an identity provider are.
	Links *Links `yaml:"links"`
	// Guard limits what the client may take away. Left out: as `guard.limits` says.
	Guard GuardLimits `yaml:"guard"`
}

// Links bind each user whom a client creates to a person of an identity provider, so that the first sign-in finds that user. Nobody is ever found by a name or a mail address.
type Links struct {
	// IdentityProvider whose people they are; one that speaks OpenID Connect.
	IdentityProvider string `yaml:"identity_provider" jsonschema:"required"`
	// Subject is where the client says what the provider calls the person, the claim `sub`.
	Subject string `yaml:"subject" jsonschema:"enum=externalId,enum=userName,default=externalId"`
}

// Credential of a client; exactly one kind.
type Credential struct {
	// OAuth2 gets access tokens, which live ten minutes, at `/.gatehouse/oauth2/token`.
	OAuth2 *ClientOAuth2 `yaml:"oauth2"`
	// Bearer token.
	Bearer Secret `yaml:"bearer"`
	// Basic is for the client `resident` alone.
	Basic *Basic `yaml:"basic"`
	// Expires is the day at whose end, in UTC, it is taken no more. Left out: never.
	Expires Date `yaml:"expires"`
}

// ClientOAuth2 is how a client proves itself where it asks for access tokens; exactly one.
type ClientOAuth2 struct {
	// Secret for `client_secret_basic` and `client_secret_post`.
	Secret Secret `yaml:"secret"`
	// Keys is a file with the public keys for `private_key_jwt`: PEM, or a JWK set.
	Keys File `yaml:"keys"`
}

// CSVTarget writes the accounts into CSV files, for a system that reads those; exactly one of `folder` and `sftp` says where.
type CSVTarget struct {
	// Folder of this machine.
	Folder Folder `yaml:"folder"`
	// SFTP is a folder of another machine.
	SFTP *SFTP `yaml:"sftp"`
	// Content: `full` files hold every account, `delta` files what changed since the last one.
	Content string `yaml:"content" jsonschema:"enum=full,enum=delta,default=full"`
	// Every is how long changes are gathered before a file is written.
	Every time.Duration `yaml:"every" jsonschema:"default=5m"`
	// Keep is how many files stay there; older ones are removed. Left out: all.
	Keep int `yaml:"keep" jsonschema:"minimum=1"`
	// BOM begins each file with the mark by which some spreadsheets know UTF-8.
	BOM bool `yaml:"bom"`
	// Harmless puts an apostrophe before cells that a spreadsheet would run as a formula. That alters what stands in the file.
	Harmless bool `yaml:"harmless"`
}

// SFTP is a folder of another machine; `key` or `password` proves who the gateway is.
type SFTP struct {
	// Address of the machine and its port: `files.example:22`.
	Address string `yaml:"address" jsonschema:"required"`
	// User there.
	User string `yaml:"user" jsonschema:"required"`
	// Folder there. Left out: where the user begins.
	Folder string `yaml:"folder"`
	// KnownHosts is a file as OpenSSH keeps it, with the key that the machine must show. `ssh-keyscan` writes one; compare it with what the machine's administrator says.
	KnownHosts File `yaml:"known_hosts" jsonschema:"required"`
	// Key is a private key without a passphrase, as `ssh-keygen` makes it.
	Key Secret `yaml:"key"`
	// Password, where there is no key.
	Password Secret `yaml:"password"`
	// Timeout to connect and sign in.
	Timeout time.Duration `yaml:"timeout" jsonschema:"default=10s"`
}

// Source is a list of people that the gateway reads by itself; exactly one way says how. What it says is its own: it changes nothing that others said, and takes nobody over whom others made.
type Source struct {
	// ID, the source of what it says.
	ID string `yaml:"id" jsonschema:"required"`
	// Title for people.
	Title string `yaml:"title"`
	// UserStores its people may be in; who is named without one is in the first. Left out: the first user store there is.
	UserStores Some[string] `yaml:"user_store"`
	// Adopt says whether it may take over a user who is there already and is not its own: `never`, or by `user_name`.
	Adopt string `yaml:"adopt" jsonschema:"enum=never,enum=user_name,default=never"`
	// Missing says what becomes of its people who are not in a full list any more.
	Missing string `yaml:"missing" jsonschema:"enum=disable,enum=keep,default=disable"`
	// Guard limits what the source may take away. Left out: as `guard.limits` says.
	Guard GuardLimits `yaml:"guard"`
	// CSV reads files.
	CSV *CSVSource `yaml:"csv"`
	// LDAP reads a directory.
	LDAP *LDAPSource `yaml:"ldap"`
}

// LDAPServer is where a directory is, and who the gateway is there.
type LDAPServer struct {
	// URL of the server, `ldaps://HOST` or `ldap://HOST`.
	URL LDAPAddress `yaml:"url" jsonschema:"required"`
	// StartTLS speaks TLS over an `ldap` address before anything else is said.
	StartTLS bool `yaml:"start_tls"`
	// CA is a PEM file with the authorities to trust. Left out: those of the system.
	CA File `yaml:"ca"`
	// Bind is the distinguished name, or in Active Directory the user principal name, to sign in with. Left out: anonymous.
	Bind string `yaml:"bind"`
	// Password of that entry.
	Password Secret `yaml:"password"`
	// Timeout of one operation.
	Timeout time.Duration `yaml:"timeout" jsonschema:"default=10s"`
	// InsecurePlain allows to send the password without TLS to a server that is not on loopback.
	InsecurePlain bool `yaml:"insecure_plain"`
}

// LDAPTarget is a directory that holds accounts: OpenLDAP and its like, or Active Directory. Names of attributes that are left out are those that its kind usually has.
type LDAPTarget struct {
	// Server is where it is.
	Server LDAPServer `yaml:"server" jsonschema:"required"`
	// Kind of directory.
	Kind string `yaml:"kind" jsonschema:"enum=openldap,enum=active-directory,default=openldap"`
	// Base is the entry below which accounts are made and looked for.
	Base string `yaml:"base" jsonschema:"required"`
	// Classes of an account that is made; by the last one accounts are told from other entries. Left out: `inetOrgPerson`, or those of a user of Active Directory.
	Classes Some[string] `yaml:"classes"`
	// Naming is the attribute that names an entry in its place; it has the user name. Left out: `uid`, or `cn`.
	Naming string `yaml:"naming"`
	// UserName is the attribute with the user name. Left out: `uid`, or `userPrincipalName`.
	UserName string `yaml:"user_name"`
	// UPNSuffix follows the @ of a userPrincipalName whose user name has none.
	UPNSuffix string `yaml:"upn_suffix"`
	// ExternalID is the attribute with our user's ID, by which an account is found again; it has one value and is used for nothing else.
	ExternalID string `yaml:"external_id" jsonschema:"default=employeeNumber"`
	// Disable is how an account is disabled. Left out: it can not be, except in Active Directory, which has its own way.
	Disable LDAPDisable `yaml:"disable"`
	// Groups are kept there too. Left out: none.
	Groups *LDAPTargetGroups `yaml:"groups"`
	// Rate is how many calls a second it may get. Left out: as many as it takes.
	Rate int `yaml:"rate" jsonschema:"minimum=1"`
}

// LDAPDisable is how an account of a directory is disabled: by an attribute, or by moving it elsewhere.
type LDAPDisable struct {
	// Attribute that says it, such as `pwdAccountLockedTime`.
	Attribute string `yaml:"attribute"`
	// Off is its value while the account is disabled, such as `000001010000Z`.
	Off string `yaml:"off"`
	// On is its value while the account is not. Left out: it has none.
	On string `yaml:"on"`
	// MoveTo is the entry below which disabled accounts are.
	MoveTo string `yaml:"move_to"`
}

// LDAPTargetGroups says where groups are.
type LDAPTargetGroups struct {
	// Base is the entry below which groups are made and looked for.
	Base string `yaml:"base" jsonschema:"required"`
	// Classes of a group that is made. Left out: `groupOfNames`, or `group`.
	Classes Some[string] `yaml:"classes"`
	// ExternalID is the attribute with our group's ID; it is used for nothing else.
	ExternalID string `yaml:"external_id" jsonschema:"default=description"`
	// Placeholder is the member of a group that has nobody, where the schema wants somebody. Left out: `base`.
	Placeholder string `yaml:"placeholder"`
}

// LDAPSource reads people, and groups if wanted, from a directory: everything at first and then now and again, and in between what changed.
type LDAPSource struct {
	// Server is where it is.
	Server LDAPServer `yaml:"server" jsonschema:"required"`
	// Kind of directory.
	Kind string `yaml:"kind" jsonschema:"enum=openldap,enum=active-directory,default=openldap"`
	// Base is the entry below which people are.
	Base string `yaml:"base" jsonschema:"required"`
	// Filter that people match. Left out: `(objectClass=inetOrgPerson)`, or `(&(objectCategory=person)(objectClass=user))`.
	Filter string `yaml:"filter"`
	// UserName is the name of an attribute there, or an expression over `claims`. Left out: `uid`, or `sAMAccountName`.
	UserName string `yaml:"user_name"`
	// Attributes of ours, each the name of one there, or an expression over `claims`. What an entry has not is taken back.
	Attributes map[string]Mapped `yaml:"attributes"`
	// Active is the name of an attribute there, or an expression over `claims`, that is `true`, `yes` or `1` of whoever may use anything; without it nobody may. Left out: everybody whom the filter finds. Who is disabled in Active Directory is never active.
	Active string `yaml:"active"`
	// Groups are read too and become groups of the directory. Left out: none.
	Groups *LDAPSourceGroups `yaml:"groups"`
	// Links makes the source the authority on who the people of an identity provider are.
	Links *LDAPLinks `yaml:"links"`
	// Every is how often it is asked what changed.
	Every time.Duration `yaml:"every" jsonschema:"default=5m"`
	// FullEvery is how often everything is read.
	FullEvery time.Duration `yaml:"full_every" jsonschema:"default=24h"`
	// Changes is how it says what changed: `auto` takes the best that it knows, `none` reads everything each time.
	Changes string `yaml:"changes" jsonschema:"enum=auto,enum=syncrepl,enum=dirsync,enum=timestamp,enum=none,default=auto"`
	// DeleteAfter is how long after somebody went missing their user is deleted. Left out: never.
	DeleteAfter time.Duration `yaml:"delete_after"`
}

// LDAPSourceGroups says which groups are read.
type LDAPSourceGroups struct {
	// Base is the entry below which they are.
	Base string `yaml:"base" jsonschema:"required"`
	// Filter that they match. Left out: `(objectClass=groupOfNames)`, or `(objectClass=group)`.
	Filter string `yaml:"filter"`
	// Name is the attribute with the group's name.
	Name string `yaml:"name" jsonschema:"default=cn"`
	// Member is the attribute with the members' distinguished names.
	Member string `yaml:"member" jsonschema:"default=member"`
}

// LDAPLinks bind each user whom a source creates to a person of an identity provider, so that the first sign-in finds that user.
type LDAPLinks struct {
	// IdentityProvider whose people they are; one that speaks OpenID Connect.
	IdentityProvider string `yaml:"identity_provider" jsonschema:"required"`
	// Subject is where the directory has what the provider calls the person, the claim `sub`: the name of an attribute, or an expression over `claims`.
	Subject string `yaml:"subject" jsonschema:"required"`
}

// CSVSource reads CSV files from a folder; exactly one of `folder` and `sftp` says where.
type CSVSource struct {
	// Folder of this machine.
	Folder Folder `yaml:"folder"`
	// SFTP is a folder of another machine.
	SFTP *SFTP `yaml:"sftp"`
	// Files that are meant, by name with `*` for any text; in alphabetical order.
	Files string `yaml:"files" jsonschema:"default=*.csv"`
	// Content: `full` files hold everybody, so that who is missing has left; `delta` files only those about whom something changes.
	Content string `yaml:"content" jsonschema:"enum=full,enum=delta,default=delta"`
	// Poll is how often the folder is looked at. A file is taken when it has not changed between two looks, or when NAME.done stands beside it.
	Poll time.Duration `yaml:"poll" jsonschema:"default=1m"`
	// Columns maps attributes, and `user_name`, `external_id`, `user_store` and `active`, to the headings of the columns; other columns are not read. Left out: the headings are those names themselves.
	Columns map[string]string `yaml:"columns"`
	// Threads is how many parts of a file are worked on at the same time.
	Threads int `yaml:"threads" jsonschema:"default=8,minimum=1"`
}
