// Package oidc signs people in at an OpenID provider: OpenID Connect Core 1.0,
// authorization code flow, and that flow only.
//
// It trusts what comes over TLS from the configured issuer, and of that only
// what fits the sign-in that was begun:
//
//	Begin    state, nonce and PKCE verifier are made; the browser takes state,
//	         nonce and the verifier's hash to the provider, Pending keeps all
//	Finish   parameters: each once, in the one place they belong
//	         state is Pending's, at most Lifetime old        login.state_…
//	         iss is the issuer (RFC 9207)                    oidc.iss_param
//	         code + verifier → tokens                        oidc.token_endpoint
//	         ID token: form, algorithm, signature            oidc.token … oidc.signature
//	         issuer, audience, azp, times, nonce, hashes     oidc.issuer … oidc.hash
//	         acr and auth_time are what was asked for        login.context_too_weak
//	         userinfo is about the same subject              oidc.userinfo
//	         claims → attributes, within limits              login.claims, login.too_many_values
//
// go-oidc does discovery and checks the ID token, go-jose the signature, x/oauth2
// exchanges the code. What these leave open is done here: bounds on every answer
// (client.go), how often metadata and keys are fetched (kept.go), JSON that two
// readers could understand differently (claims.go), and every check of the ID
// token a second time with a reason of its own (token.go).
//
// It knows nothing of users, and keeps no tokens: the access token is used for
// userinfo and forgotten. Where Config.Renew says so, a refresh token is asked for
// and handed on in the Identity, for asking later whether the person is still there.
package oidc

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/subtle"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"golang.org/x/oauth2"

	"github.com/gatehouse-sso/gatehouse/federation"
)

// Lifetime is how long a begun sign-in may be finished.
const Lifetime = 10 * time.Minute

// AuthMethod is how the gateway proves to the token endpoint who it is.
type AuthMethod string

// Ways of client authentication (OpenID Connect Core section 9). The zero
// AuthMethod is Basic, or Post where the provider says that it takes that and
// not Basic; with a Key it is PrivateKeyJWT.
const (
	Basic         AuthMethod = "client_secret_basic"
	Post          AuthMethod = "client_secret_post"
	PrivateKeyJWT AuthMethod = "private_key_jwt"
	None          AuthMethod = "none" // PKCE alone; must be asked for
)

// UserInfo is when the userinfo endpoint is asked.
type UserInfo string

// The zero UserInfo asks where the provider publishes the endpoint, since by
// OpenID Connect Core 5.4 that is where the claims of scopes are; but not if the ID
// token has all that Config.Reads names: of a claim that both have, the ID token's
// counts, so there is nothing to learn. Always also wants the endpoint published.
const (
	Auto   UserInfo = ""
	Always UserInfo = "always"
	Never  UserInfo = "never"
)

// Config is what a Provider is made of. ID, Issuer, ClientID and RedirectURL are
// required, and a Secret or Key unless AuthMethod is None.
type Config struct {
	ID       string // the provider's own name in the configuration
	Issuer   string // https; compared byte for byte, so a slash at its end counts
	ClientID string
	Secret   string
	// Key signs client assertions: RSA (RS256), P-256 (ES256) or Ed25519. KeyID
	// is their kid; AssertionAudience their aud, the token endpoint if empty.
	Key               crypto.Signer
	KeyID             string
	AssertionAudience string
	AuthMethod        AuthMethod
	// RedirectURL is where answers come. It is never made from a request.
	RedirectURL string
	// PostLogoutURL is where the browser comes back to after Leave, if it is not
	// empty; the provider knows it too.
	PostLogoutURL string
	Scopes        []string // openid is added; openid profile email if nil
	// Algorithms that an ID token may be signed with; RS256 PS256 ES256 EdDSA if
	// nil. none and HS… are not to be had.
	Algorithms []string
	// FormPost asks for answers as a POST from another site. Otherwise they come
	// in the query. One that comes the other way is refused.
	FormPost bool
	UserInfo UserInfo
	// Reads are the attributes that anybody reads; nil: any.
	Reads []string
	// Renew asks for a refresh token, with the scope offline_access.
	Renew bool
	// GroupsClaim is the claim that groups are taken from; groups if empty.
	// Where the provider says that there are too many to list, the sign-in is
	// refused, unless GroupsURL is where to GET them with the access token: a
	// JSON object with a list value of texts or of objects with an id, and
	// perhaps @odata.nextLink to more on the same host, as Microsoft Graph answers.
	GroupsClaim string
	GroupsURL   string
	// SubjectClaim of the ID token names the person; sub if empty. Whatever it
	// is, it must never be given to another person later.
	SubjectClaim string
	// Params are added to the authorization request: prompt, domain_hint …
	Params map[string]string
	// Client makes the outgoing requests; http.DefaultTransport's if nil. It is
	// bounded here, so its CheckRedirect and Jar do not count.
	Client *http.Client
	Now    func() time.Time // time.Now if nil
	// Skew is how far clocks may be apart: one minute if zero, five at most.
	Skew time.Duration
}

// A Provider signs people in at one issuer. It is a federation.Provider.
type Provider struct {
	cfg        Config
	client     *http.Client
	algorithms []jose.SignatureAlgorithm
	signer     jose.Signer // of client assertions; nil: none
	published  kept[published]
	keys       kept[[]jose.JSONWebKey]
}

var _ federation.Provider = (*Provider)(nil)

// New makes a Provider, or says everything that is wrong with cfg. It asks the
// issuer nothing: one that is down must not stop the gateway from starting.
func New(cfg Config) (*Provider, error) {
	cfg = cfg.withDefaults()
	errs := cfg.mistakes()
	p := &Provider{cfg: cfg, client: bounded(cfg.Client)}
	for _, a := range cfg.Algorithms {
		p.algorithms = append(p.algorithms, jose.SignatureAlgorithm(a))
	}
	if cfg.Key != nil {
		var err error
		if p.signer, err = assertionSigner(cfg); err != nil {
			errs = append(errs, err)
		}
	}
	if len(errs) > 0 {
		return nil, fmt.Errorf("oidc provider %q: %w", cfg.ID, errors.Join(errs...))
	}
	p.published = kept[published]{fetch: p.discover, now: cfg.Now}
	p.keys = kept[[]jose.JSONWebKey]{fetch: p.fetchKeys, now: cfg.Now}
	return p, nil
}

func (c Config) withDefaults() Config {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Skew == 0 {
		c.Skew = time.Minute
	}
	if c.Algorithms == nil {
		c.Algorithms = []string{"RS256", "PS256", "ES256", "EdDSA"}
	}
	if c.Scopes == nil {
		c.Scopes = []string{"profile", "email"}
	}
	if !slices.Contains(c.Scopes, "openid") {
		c.Scopes = append([]string{"openid"}, c.Scopes...)
	}
	if c.Renew && !slices.Contains(c.Scopes, "offline_access") {
		c.Scopes = append(slices.Clone(c.Scopes), "offline_access")
	}
	if c.GroupsClaim == "" {
		c.GroupsClaim = "groups"
	}
	if c.SubjectClaim == "" {
		c.SubjectClaim = "sub"
	}
	if c.AuthMethod == "" && c.Key != nil {
		c.AuthMethod = PrivateKeyJWT
	}
	return c
}

// possibleAlgorithms is all that may be on a list of algorithms.
var possibleAlgorithms = []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}

// ownParams are the parameters of the authorization request that Begin decides.
var ownParams = []string{
	"response_type", "response_mode", "client_id", "redirect_uri", "scope", "state", "nonce",
	"code_challenge", "code_challenge_method", "max_age", "request", "request_uri", "login_hint", "acr_values",
}

// mistakes are all that is wrong with c.
func (c Config) mistakes() []error {
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if c.ID == "" {
		wrong("it has no ID")
	}
	if err := webAddress(c.Issuer); err != nil {
		wrong("issuer: %w", err)
	} else if strings.ContainsAny(c.Issuer, "?#") {
		wrong("issuer: %q must have no query and no fragment", c.Issuer)
	}
	if err := webAddress(c.RedirectURL); err != nil {
		wrong("redirect address: %w", err)
	}
	if c.PostLogoutURL != "" {
		if err := webAddress(c.PostLogoutURL); err != nil {
			wrong("address after sign-out: %w", err)
		}
	}
	if c.GroupsURL != "" {
		if err := webAddress(c.GroupsURL); err != nil {
			wrong("address of groups: %w", err)
		}
	}
	if c.ClientID == "" {
		wrong("it has no client ID, and so no audience that tokens could be checked for")
	}
	switch c.AuthMethod {
	case "", Basic, Post:
		if c.Secret == "" || c.Key != nil {
			wrong("it needs a client secret and no key, or another way of authentication")
		}
	case PrivateKeyJWT:
		if c.Key == nil || c.Secret != "" {
			wrong("%s needs a key and no secret", c.AuthMethod)
		}
	case None:
		if c.Key != nil || c.Secret != "" {
			wrong("authentication is none, but there is a secret or key")
		}
	default:
		wrong("authentication %q is not known; known are %s, %s, %s, %s", c.AuthMethod, Basic, Post, PrivateKeyJWT, None)
	}
	if len(c.Algorithms) == 0 {
		wrong("the list of algorithms is empty")
	}
	for _, a := range c.Algorithms {
		if !slices.Contains(possibleAlgorithms, a) {
			wrong("algorithm %q is not possible; possible are %s", a, strings.Join(possibleAlgorithms, ", "))
		}
	}
	if c.UserInfo != Auto && c.UserInfo != Always && c.UserInfo != Never {
		wrong("userinfo %q is not known; known are %s and %s", c.UserInfo, Always, Never)
	}
	if c.Skew < 0 || c.Skew > 5*time.Minute {
		wrong("clocks may be apart by at most 5m, not by %v", c.Skew)
	}
	for _, name := range slices.Sorted(maps.Keys(c.Params)) {
		if slices.Contains(ownParams, name) {
			wrong("the parameter %s is not free to choose", name)
		}
	}
	return errs
}

// webAddress checks that raw is absolute and begins with https, or with http on
// this machine (loopback, localhost).
func webAddress(raw string) error {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || u.User != nil || u.Opaque != "" {
		return fmt.Errorf("%q is no web address", brief(raw))
	}
	if u.Scheme == "https" {
		return nil
	}
	host := strings.ToLower(u.Hostname())
	ip := net.ParseIP(host)
	if u.Scheme == "http" && (host == "localhost" || strings.HasSuffix(host, ".localhost") || ip != nil && ip.IsLoopback()) {
		return nil
	}
	return fmt.Errorf("%q must begin with https", brief(raw))
}

// What Pending.Keep holds.
const (
	keepNonce    = "n"
	keepVerifier = "v"
	keepProvider = "p"
)

// Begin makes the authorization request.
func (p *Provider) Begin(ctx context.Context, l federation.Login) (federation.Challenge, federation.Pending, error) {
	m, err := p.published.get(ctx, false)
	if err != nil {
		return federation.Challenge{}, federation.Pending{}, unavailable(err)
	}
	pending := federation.Pending{
		State: rand.Text(),
		Began: p.cfg.Now(),
		Login: l,
		Keep: map[string]string{
			keepNonce:    rand.Text(),
			keepVerifier: oauth2.GenerateVerifier(),
			keepProvider: p.cfg.ID,
		},
	}
	opts := []oauth2.AuthCodeOption{
		oauth2.SetAuthURLParam("nonce", pending.Keep[keepNonce]),
		oauth2.S256ChallengeOption(pending.Keep[keepVerifier]),
	}
	set := func(name, value string) { opts = append(opts, oauth2.SetAuthURLParam(name, value)) }
	for name, value := range p.cfg.Params {
		set(name, value)
	}
	if p.cfg.FormPost {
		set("response_mode", "form_post")
	}
	if len(l.ACR) > 0 {
		set("acr_values", strings.Join(l.ACR, " "))
	}
	if l.MaxAge > 0 {
		set("max_age", strconv.Itoa(max(1, int(l.MaxAge/time.Second))))
	}
	if l.Fresh {
		// max_age makes auth_time required, so that the answer can be checked.
		set("prompt", "login")
		set("max_age", "0")
	}
	if l.Hint != "" && len(l.Hint) <= 256 {
		set("login_hint", l.Hint)
	}
	u, err := url.Parse(p.oauth(m).AuthCodeURL(pending.State, opts...))
	if err != nil {
		return federation.Challenge{}, federation.Pending{}, unavailable(err)
	}
	return federation.Challenge{URL: u}, pending, nil
}

// finishTime bounds all that Finish asks the provider.
const finishTime = 20 * time.Second

// Finish checks the answer. Nothing is asked of the provider before the answer
// is known to belong to p.
func (p *Provider) Finish(r *http.Request, pending federation.Pending) (federation.Identity, error) {
	id, err := p.finish(r, pending)
	if err == nil {
		return id, nil
	}
	var ref *federation.Refusal
	if !errors.As(err, &ref) {
		ref = unavailable(err)
	}
	return federation.Identity{}, ref
}

func (p *Provider) finish(r *http.Request, pending federation.Pending) (federation.Identity, error) {
	var none federation.Identity
	v, err := p.params(r)
	if err != nil {
		return none, err
	}
	if err := p.belongs(v, pending); err != nil {
		return none, err
	}
	ctx, cancel := context.WithTimeout(r.Context(), finishTime)
	defer cancel()
	m, err := p.published.get(ctx, false)
	if err != nil {
		return none, unavailable(err)
	}
	if iss, ok := v["iss"]; ok && iss[0] != p.cfg.Issuer {
		return none, federation.Refuse(ReasonIssParam, "the answer's iss is %q, asked was %q", brief(iss[0]), p.cfg.Issuer)
	} else if !ok && m.issParam {
		return none, federation.Refuse(ReasonIssParam, "the answer has no iss, though the provider promises it")
	}
	if v.Has("error") {
		return none, providersNo(v.Get("error"), v.Get("error_description"))
	}
	code := v.Get("code")
	if code == "" || len(code) > 4096 {
		return none, federation.Refuse(federation.ReasonMalformed, "the answer has no code, or one of %d bytes", len(code))
	}
	tokens, err := p.exchange(ctx, m, code, pending.Keep[keepVerifier])
	if err != nil {
		return none, err
	}
	claims, err := p.idToken(ctx, tokens, code, pending)
	if err != nil {
		return none, err
	}
	attrs, err := p.attributes(ctx, m, claims, tokens.access, pending.Login.All)
	if err != nil {
		return none, err
	}
	name, _ := claims.text(p.cfg.SubjectClaim)
	if err := subject(name); err != nil {
		return none, federation.Refuse(federation.ReasonClaims, "the claim %s %w", p.cfg.SubjectClaim, err)
	}
	if !p.cfg.Renew {
		tokens.refresh = ""
	}
	return federation.Identity{
		Renewal:    tokens.refresh,
		Ref:        federation.Ref{Issuer: p.cfg.Issuer, Subject: name},
		Provider:   p.cfg.ID,
		Attributes: attrs,
		Context:    contextOf(claims, tokens.id),
		Once: []federation.Once{{
			Key:   "oidc " + p.cfg.Issuer + " " + pending.State,
			Until: pending.Began.Add(Lifetime + p.cfg.Skew),
		}},
	}, nil
}

// maxParams bounds an answer's parameters in bytes.
const maxParams = 64 << 10

// params reads the answer from the query or the body, as was asked for. A GET
// has no say in the body, a POST none in the query.
func (p *Provider) params(r *http.Request) (url.Values, error) {
	want := http.MethodGet
	if p.cfg.FormPost {
		want = http.MethodPost
	}
	if r.Method != want {
		return nil, federation.Refuse(federation.ReasonMalformed, "the answer came by %s, asked for was %s", brief(r.Method), want)
	}
	if len(r.URL.RawQuery) > maxParams {
		return nil, federation.Refuse(federation.ReasonTooLarge, "the answer is %d bytes long", len(r.URL.RawQuery))
	}
	v, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, federation.Refuse(federation.ReasonMalformed, "the answer's query can not be read")
	}
	if want == http.MethodGet {
		return v, nil
	}
	for _, name := range []string{"state", "code", "iss", "error"} {
		if v.Has(name) {
			return nil, federation.Refuse(federation.ReasonMalformed, "the answer has %s in the query too", name)
		}
	}
	if r.PostForm == nil {
		r.Body = http.MaxBytesReader(nil, r.Body, maxParams)
	}
	if err := r.ParseForm(); err != nil {
		var big *http.MaxBytesError
		if errors.As(err, &big) {
			return nil, federation.Refuse(federation.ReasonTooLarge, "the answer is longer than %d bytes", maxParams)
		}
		return nil, federation.Refuse(federation.ReasonMalformed, "the answer's form can not be read")
	}
	size := 0
	for name, values := range r.PostForm {
		for _, v := range values {
			size += len(name) + len(v)
		}
	}
	if size > maxParams {
		return nil, federation.Refuse(federation.ReasonTooLarge, "the answer is %d bytes long", size)
	}
	return r.PostForm, nil
}

// belongs checks that the answer is to the sign-in of pending, and in time.
func (p *Provider) belongs(v url.Values, pending federation.Pending) error {
	states := v["state"]
	if len(states) != 1 || states[0] == "" || subtle.ConstantTimeCompare([]byte(states[0]), []byte(pending.State)) != 1 {
		return federation.Refuse(federation.ReasonStateUnknown, "the answer's state is not that of this sign-in")
	}
	for name, values := range v {
		if len(values) != 1 {
			return federation.Refuse(federation.ReasonMalformed, "the answer has the parameter %s %d times", brief(name), len(values))
		}
	}
	age := p.cfg.Now().Sub(pending.Began)
	if age > Lifetime || age < -p.cfg.Skew {
		return federation.Refuse(federation.ReasonStateExpired, "the sign-in was begun %v ago", age.Round(time.Second))
	}
	k := pending.Keep
	if k[keepProvider] != p.cfg.ID || k[keepNonce] == "" || k[keepVerifier] == "" {
		return federation.Refuse(federation.ReasonStateUnknown, "the sign-in was not begun at this provider")
	}
	return nil
}

// providersNo is the refusal for an error response (RFC 6749 section 4.1.2.1).
func providersNo(code, text string) error {
	reason := federation.ReasonDenied
	switch code {
	case "temporarily_unavailable", "server_error":
		reason = federation.ReasonUnavailable
	case "unmet_authentication_requirements": // OpenID Connect Unmet Authentication Requirements 1.0
		reason = federation.ReasonStepUp
	}
	return federation.Refuse(reason, "the provider answers %s: %s", brief(code), brief(text))
}

// assertionSigner makes what signs client assertions.
func assertionSigner(c Config) (jose.Signer, error) {
	var alg jose.SignatureAlgorithm
	switch k := c.Key.Public().(type) {
	case *rsa.PublicKey:
		if k.N.BitLen() < minRSABits {
			return nil, fmt.Errorf("the key has %d bits, at least %d are needed", k.N.BitLen(), minRSABits)
		}
		alg = jose.RS256
	case *ecdsa.PublicKey:
		if k.Curve.Params().BitSize != 256 {
			return nil, errors.New("an elliptic key must be of the curve P-256")
		}
		alg = jose.ES256
	case ed25519.PublicKey:
		alg = jose.EdDSA
	default:
		return nil, fmt.Errorf("a key of the kind %T can not be used", k)
	}
	opts := (&jose.SignerOptions{}).WithType("JWT")
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: jose.JSONWebKey{Key: c.Key, KeyID: c.KeyID}}, opts)
	if err != nil {
		return nil, fmt.Errorf("the key: %w", err)
	}
	return s, nil
}
