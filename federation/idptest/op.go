// Package idptest is identity providers made small: an OpenID provider ([OP])
// and a SAML identity provider, both real enough to sign people in, and both
// willing to misbehave when told to. The demo runs them as they are; tests tell
// them what to do wrong.
//
// They ask for no passwords: a page has one button for each person. What they
// issue is made with the standard library alone, so that a fault in a library
// with which answers are checked is not a fault of the answers too.
package idptest

import (
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

// OPConfig is what an OpenID provider is made of.
type OPConfig struct {
	// Issuer is the provider's own URL, without a slash at its end. Endpoints
	// are under it.
	Issuer  string
	Title   string // on its pages
	Clients []OPClient
	People  []Person
	// Algorithm of the signing key: RS256 (if empty), PS256, ES256 or EdDSA.
	Algorithm string
	// ClaimsInIDToken has the ID token say everything; otherwise what scopes
	// ask for is in the userinfo answer alone (OpenID Connect Core 5.4).
	ClaimsInIDToken bool
	// Now is the clock; time.Now if nil.
	Now func() time.Time
	// Client posts logout tokens; http.DefaultClient if nil.
	Client *http.Client
	// OnRequest finds the fault that the parameter misbehave of an authorization
	// request names; it holds for that sign-in. Nil: there is no such parameter.
	OnRequest func(name string) OPFault
}

// An OPClient may send people to be signed in. With a Secret it authenticates by
// client_secret_basic or client_secret_post, with a Key by private_key_jwt, with
// neither not at all.
type OPClient struct {
	ID           string
	Title        string
	Secret       string
	Key          crypto.PublicKey
	RedirectURIs []string // compared byte for byte
	PostLogout   []string
	BackChannel  string // where logout tokens are posted to when a person signs out; empty: nowhere
}

// Lifetimes of what the provider gives out.
const (
	opCodeLife  = time.Minute
	opTokenLife = 10 * time.Minute
	opMost      = 10_000 // codes, tickets and tokens kept at most
)

// OP is an OpenID provider: authorization code flow with PKCE (S256 only),
// discovery, RFC 9207, userinfo, RP-initiated and back-channel logout. Safe for
// concurrent use.
type OP struct {
	cfg OPConfig

	mu      sync.Mutex
	keys    []opKey // the first signs, all are published
	codes   map[string]opGrant
	tickets map[string]opTicket
	tokens  map[string]opGrant
	refresh map[string]opGrant   // good for one use each
	gone    map[string]bool      // IDs of people who have left
	seen    map[string]time.Time // jti of client assertions
	counts  map[string]int
	fault   OPFault
}

// opGrant is one person's sign-in for one client.
type opGrant struct {
	client    string
	redirect  string
	person    Person
	scope     []string
	nonce     string
	challenge string
	sid       string
	acr       string
	amr       []string
	at        time.Time // when the person proved who they are
	issued    time.Time
	used      bool   // of a code
	token     string // of a used code: what to take back
	fault     OPFault
}

// opTicket is a sign-in that waits for the second factor.
type opTicket struct {
	user, query string
	issued      time.Time
}

// NewOP makes a provider with a fresh key.
func NewOP(cfg OPConfig) *OP {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Algorithm == "" {
		cfg.Algorithm = "RS256"
	}
	op := &OP{
		cfg:     cfg,
		codes:   map[string]opGrant{},
		tickets: map[string]opTicket{},
		tokens:  map[string]opGrant{},
		refresh: map[string]opGrant{},
		gone:    map[string]bool{},
		seen:    map[string]time.Time{},
		counts:  map[string]int{},
	}
	op.Rotate(cfg.Algorithm, 0)
	return op
}

// Issuer is the provider's URL.
func (op *OP) Issuer() string { return op.cfg.Issuer }

// Rotate begins to sign with a fresh key of alg, and goes on publishing the
// newest keep of the older ones.
func (op *OP) Rotate(alg string, keep int) {
	k := newOPKey(alg)
	op.mu.Lock()
	defer op.mu.Unlock()
	op.keys = append([]opKey{k}, op.keys[:min(keep, len(op.keys))]...)
}

// Misbehave has the provider do f from here on, in every sign-in; the zero
// fault is to behave.
func (op *OP) Misbehave(f OPFault) {
	op.mu.Lock()
	defer op.mu.Unlock()
	op.fault = f
}

// Count is how often an endpoint was asked: discovery, jwks, authorize, token,
// userinfo, end_session.
func (op *OP) Count(endpoint string) int {
	op.mu.Lock()
	defer op.mu.Unlock()
	return op.counts[endpoint]
}

// Handler answers for everything under the issuer's URL.
func (op *OP) Handler() http.Handler {
	base := ""
	if u, err := url.Parse(op.cfg.Issuer); err == nil {
		base = strings.TrimSuffix(u.Path, "/")
	}
	mux := http.NewServeMux()
	handle := func(path, endpoint string, h http.HandlerFunc) {
		mux.HandleFunc(base+path, func(w http.ResponseWriter, r *http.Request) {
			op.mu.Lock()
			op.counts[endpoint]++
			serve := op.fault.Serve[endpoint]
			op.mu.Unlock()
			if serve != nil {
				serve(w, r)
				return
			}
			r.Body = http.MaxBytesReader(w, r.Body, 64<<10)
			h(w, r)
		})
	}
	handle("/.well-known/openid-configuration", "discovery", op.discovery)
	handle("/jwks", "jwks", op.jwks)
	handle("/authorize", "authorize", op.authorize)
	handle("/token", "token", op.token)
	handle("/userinfo", "userinfo", op.userinfo)
	handle("/end_session", "end_session", op.endSession)
	handle("/{$}", "home", op.home)
	return http.NewCrossOriginProtection().Handler(mux)
}

func (op *OP) home(w http.ResponseWriter, _ *http.Request) {
	op.page(signInPage{
		Heading: op.cfg.Title,
		Message: "This identity provider signs people in for other services. Open one of those to begin.",
	}, w, http.StatusOK)
}

func (op *OP) page(p signInPage, w http.ResponseWriter, status int) {
	p.Title, p.Protocol = op.cfg.Title, "OpenID Connect"
	p.render(w, status)
}

func (op *OP) discovery(w http.ResponseWriter, _ *http.Request) {
	op.mu.Lock()
	fault := op.fault
	algs := []string{}
	for _, k := range op.keys {
		if !slices.Contains(algs, k.alg) {
			algs = append(algs, k.alg)
		}
	}
	op.mu.Unlock()
	iss := op.cfg.Issuer
	doc := map[string]any{
		"issuer":                                         iss,
		"authorization_endpoint":                         iss + "/authorize",
		"token_endpoint":                                 iss + "/token",
		"userinfo_endpoint":                              iss + "/userinfo",
		"jwks_uri":                                       iss + "/jwks",
		"end_session_endpoint":                           iss + "/end_session",
		"backchannel_logout_supported":                   true,
		"backchannel_logout_session_supported":           true,
		"scopes_supported":                               []string{"openid", "profile", "email"},
		"response_types_supported":                       []string{"code"},
		"response_modes_supported":                       []string{"query", "form_post"},
		"grant_types_supported":                          []string{"authorization_code", "refresh_token"},
		"subject_types_supported":                        []string{"public"},
		"id_token_signing_alg_values_supported":          algs,
		"token_endpoint_auth_methods_supported":          []string{"client_secret_basic", "client_secret_post", "private_key_jwt", "none"},
		"code_challenge_methods_supported":               []string{"S256"},
		"acr_values_supported":                           []string{ACRSingle, ACRMulti},
		"claims_supported":                               []string{"sub", "preferred_username", "name", "given_name", "family_name", "email", "email_verified", "groups", "eduperson_scoped_affiliation"},
		"prompt_values_supported":                        []string{"none", "login"},
		"authorization_response_iss_parameter_supported": true,
	}
	if fault.Discovery != nil {
		fault.Discovery(doc)
	}
	writeJSON(w, http.StatusOK, doc)
}

func (op *OP) jwks(w http.ResponseWriter, _ *http.Request) {
	op.mu.Lock()
	fault := op.fault
	keys := []map[string]any{}
	for _, k := range op.keys {
		keys = append(keys, k.jwk())
	}
	op.mu.Unlock()
	doc := map[string]any{"keys": keys}
	if fault.JWKS != nil {
		fault.JWKS(doc)
	}
	writeJSON(w, http.StatusOK, doc)
}

// authorize asks who it is (GET) and takes the answer (POST to the same URL, so
// that the request travels in the query and nothing need be remembered).
func (op *OP) authorize(w http.ResponseWriter, r *http.Request) {
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		op.refusePage(w, "The request can not be read.")
		return
	}
	for name, v := range q {
		if len(v) > 1 {
			op.refusePage(w, "The request says "+name+" twice.")
			return
		}
	}
	client, ok := op.client(q.Get("client_id"))
	if !ok {
		op.refusePage(w, "The service that sent you here is not known.")
		return
	}
	// Without a registered address there is nowhere to send an error to.
	if !slices.Contains(client.RedirectURIs, q.Get("redirect_uri")) {
		op.refusePage(w, "The service asked for an answer at an address that is not registered.")
		return
	}
	fault := op.requested(q)
	back := func(v url.Values) { op.back(w, r, q, fault, v) }
	scope := strings.Fields(q.Get("scope"))
	switch {
	case q.Has("request"):
		back(oauthError("request_not_supported", "request objects are not supported"))
	case q.Has("request_uri"):
		back(oauthError("request_uri_not_supported", "request objects are not supported"))
	case q.Get("response_type") != "code":
		back(oauthError("unsupported_response_type", "only code is supported"))
	case !slices.Contains(scope, "openid"):
		back(oauthError("invalid_scope", "the scope openid is missing"))
	case q.Get("code_challenge_method") != "S256" || len(q.Get("code_challenge")) != 43:
		back(oauthError("invalid_request", "a code_challenge with S256 is required"))
	case q.Get("prompt") == "none":
		back(oauthError("login_required", "nobody is signed in here"))
	case r.Method == http.MethodGet:
		op.page(signInPage{Client: client.name(), Action: r.URL.RequestURI(), People: op.cfg.People, Hint: q.Get("login_hint")}, w, http.StatusOK)
	case r.Method == http.MethodPost:
		op.answer(w, r, q, client, fault)
	default:
		w.Header().Set("Allow", "GET, POST")
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
	}
}

// answer takes what the person pressed.
func (op *OP) answer(w http.ResponseWriter, r *http.Request, q url.Values, client OPClient, fault OPFault) {
	if err := r.ParseForm(); err != nil {
		op.refusePage(w, "The form can not be read.")
		return
	}
	if r.PostForm.Has("cancel") {
		op.back(w, r, q, fault, oauthError("access_denied", "the person cancelled"))
		return
	}
	now := op.cfg.Now()
	user, factors := r.PostForm.Get("user"), false
	if r.PostForm.Get("factor") == "yes" {
		op.mu.Lock()
		t, ok := op.tickets[r.PostForm.Get("ticket")]
		delete(op.tickets, r.PostForm.Get("ticket"))
		op.mu.Unlock()
		if !ok || t.query != r.URL.RawQuery || now.Sub(t.issued) > opTokenLife {
			op.refusePage(w, "That sign-in is over. Go back to the service and begin again.")
			return
		}
		user, factors = t.user, true
	}
	person, ok := personByUser(op.cfg.People, user)
	if !ok {
		op.refusePage(w, "Nobody of that name is here.")
		return
	}
	if slices.Contains(strings.Fields(q.Get("acr_values")), ACRMulti) && person.SecondFactor && !factors {
		ticket := rand.Text()
		op.mu.Lock()
		prune(op.tickets, func(t opTicket) bool { return now.Sub(t.issued) > opTokenLife })
		op.tickets[ticket] = opTicket{user: user, query: r.URL.RawQuery, issued: now}
		op.mu.Unlock()
		op.page(signInPage{Client: client.name(), Action: r.URL.RequestURI(), Confirm: &person, Hidden: url.Values{"ticket": {ticket}}}, w, http.StatusOK)
		return
	}
	g := opGrant{
		client: client.ID, redirect: q.Get("redirect_uri"), person: person, scope: strings.Fields(q.Get("scope")),
		nonce: q.Get("nonce"), challenge: q.Get("code_challenge"), sid: rand.Text(),
		acr: ACRSingle, amr: []string{"pwd"}, at: now, issued: now, fault: fault,
	}
	if factors {
		g.acr, g.amr = ACRMulti, []string{"pwd", "otp", "mfa"}
	}
	code := rand.Text()
	op.mu.Lock()
	prune(op.codes, func(g opGrant) bool { return now.Sub(g.issued) > opTokenLife })
	op.codes[code] = g
	op.mu.Unlock()
	op.back(w, r, q, fault, url.Values{"code": {code}})
}

// back sends the browser to the client with the answer, as response_mode says.
func (op *OP) back(w http.ResponseWriter, r *http.Request, q url.Values, fault OPFault, v url.Values) {
	if s := q.Get("state"); s != "" {
		v.Set("state", s)
	}
	v.Set("iss", op.cfg.Issuer)
	if fault = op.doing(fault); fault.Redirect != nil {
		fault.Redirect(v)
	}
	to := q.Get("redirect_uri")
	if q.Get("response_mode") == "form_post" {
		op.page(signInPage{Heading: "You are signed in", Message: "Continue to the service.", Action: to, Hidden: v, Continue: "Continue"}, w, http.StatusOK)
		return
	}
	sep := "?"
	if strings.Contains(to, "?") {
		sep = "&"
	}
	http.Redirect(w, r, to+sep+v.Encode(), http.StatusSeeOther)
}

func (op *OP) refusePage(w http.ResponseWriter, message string) {
	op.page(signInPage{Heading: "This does not work", Message: message}, w, http.StatusBadRequest)
}

// token gives an ID token and an access token for a code, once.
func (op *OP) token(w http.ResponseWriter, r *http.Request) {
	fail := func(status int, code, text string) {
		writeJSON(w, status, map[string]any{"error": code, "error_description": text})
	}
	if r.Method != http.MethodPost {
		fail(http.StatusMethodNotAllowed, "invalid_request", "POST only")
		return
	}
	if err := r.ParseForm(); err != nil {
		fail(http.StatusBadRequest, "invalid_request", "the form can not be read")
		return
	}
	for name, v := range r.PostForm {
		if len(v) > 1 {
			fail(http.StatusBadRequest, "invalid_request", name+" is given twice")
			return
		}
	}
	client, err := op.authenticate(r)
	if err != nil {
		if _, _, basic := r.BasicAuth(); basic {
			w.Header().Set("WWW-Authenticate", `Basic realm="token"`)
		}
		fail(http.StatusUnauthorized, "invalid_client", err.Error())
		return
	}
	switch r.PostForm.Get("grant_type") {
	case "authorization_code":
	case "refresh_token":
		op.renew(w, r, client.ID, fail)
		return
	default:
		fail(http.StatusBadRequest, "unsupported_grant_type", "only authorization_code and refresh_token are supported")
		return
	}
	code, now := r.PostForm.Get("code"), op.cfg.Now()
	op.mu.Lock()
	g, ok := op.codes[code]
	if ok && g.used { // RFC 6749 section 4.1.2: take back what was given for it
		delete(op.tokens, g.token)
	}
	sum := sha256.Sum256([]byte(r.PostForm.Get("code_verifier")))
	good := ok && !g.used && g.client == client.ID && g.redirect == r.PostForm.Get("redirect_uri") &&
		now.Sub(g.issued) <= opCodeLife && base64.RawURLEncoding.EncodeToString(sum[:]) == g.challenge
	if ok {
		g.used, g.token = true, rand.Text()
		op.codes[code] = g
	}
	if good {
		g.issued = now
		prune(op.tokens, func(g opGrant) bool { return now.Sub(g.issued) > opTokenLife })
		op.tokens[g.token] = g
	}
	key, fault := op.keys[0], op.fault.With(g.fault)
	op.mu.Unlock()
	if !good {
		fail(http.StatusBadRequest, "invalid_grant", "the code is not valid, or not for this client, address or verifier")
		return
	}
	doc := map[string]any{
		"access_token": g.token,
		"token_type":   "Bearer",
		"expires_in":   int(opTokenLife / time.Second),
		"scope":        strings.Join(g.scope, " "),
		"id_token":     op.idToken(key, g, fault),
	}
	if slices.Contains(g.scope, "offline_access") {
		doc["refresh_token"] = op.renewal(g)
	}
	if fault.Response != nil {
		fault.Response(doc)
	}
	writeJSON(w, http.StatusOK, doc)
}

// renewal makes a refresh token.
func (op *OP) renewal(g opGrant) string {
	token := rand.Text()
	op.mu.Lock()
	defer op.mu.Unlock()
	op.refresh[token] = g
	return token
}

// renew exchanges a refresh token for another and an access token (RFC 6749 section 6).
func (op *OP) renew(w http.ResponseWriter, r *http.Request, client string, fail func(int, string, string)) {
	token, now := r.PostForm.Get("refresh_token"), op.cfg.Now()
	op.mu.Lock()
	g, ok := op.refresh[token]
	delete(op.refresh, token)
	if ok = ok && g.client == client && !op.gone[g.person.ID]; ok {
		g.issued, g.token = now, rand.Text()
		op.tokens[g.token] = g
	}
	op.mu.Unlock()
	if !ok {
		fail(http.StatusBadRequest, "invalid_grant", "the refresh token is not valid")
		return
	}
	writeJSON(w, http.StatusOK, map[string]any{
		"access_token": g.token, "token_type": "Bearer", "expires_in": int(opTokenLife / time.Second), "refresh_token": op.renewal(g),
	})
}

// Leave makes a person leave: nothing that was given for them is good any more.
func (op *OP) Leave(id string) {
	op.mu.Lock()
	defer op.mu.Unlock()
	op.gone[id] = true
}

func (op *OP) idToken(key opKey, g opGrant, fault OPFault) string {
	now := op.cfg.Now()
	claims := map[string]any{
		"iss": op.cfg.Issuer, "sub": g.person.ID, "aud": g.client,
		"iat": now.Unix(), "exp": now.Add(opTokenLife).Unix(), "auth_time": g.at.Unix(),
		"acr": g.acr, "amr": g.amr, "sid": g.sid, "at_hash": halfHash(key.alg, g.token),
	}
	if g.nonce != "" {
		claims["nonce"] = g.nonce
	}
	if op.cfg.ClaimsInIDToken {
		maps.Copy(claims, g.person.claims(g.scope))
	}
	if fault.Claims != nil {
		fault.Claims(claims)
	}
	payload, _ := json.Marshal(claims)
	if fault.Payload != nil {
		payload = fault.Payload(payload)
	}
	header := map[string]any{"alg": key.alg, "kid": key.kid, "typ": "JWT"}
	if fault.Header != nil {
		fault.Header(header)
	}
	if fault.Sign != nil {
		return fault.Sign(op, header, payload)
	}
	return key.jws(header, payload)
}

// claims are what the scopes ask for. Groups and affiliation come with profile.
func (p Person) claims(scope []string) map[string]any {
	c := map[string]any{}
	if slices.Contains(scope, "profile") {
		c["preferred_username"] = p.User
		c["name"] = p.Name
		c["given_name"] = p.Given
		if p.Family != "" {
			c["family_name"] = p.Family
		}
		c["groups"] = p.Groups
		c["eduperson_scoped_affiliation"] = p.Affiliation
	}
	if slices.Contains(scope, "email") && p.Mail != "" {
		c["email"] = p.Mail
		c["email_verified"] = true
	}
	return c
}

func (op *OP) userinfo(w http.ResponseWriter, r *http.Request) {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	op.mu.Lock()
	g, ok := op.tokens[token]
	gone := op.gone[g.person.ID]
	key, fault := op.keys[0], op.fault.With(g.fault)
	op.mu.Unlock()
	if !strings.EqualFold(scheme, "Bearer") || !ok || gone || op.cfg.Now().Sub(g.issued) > opTokenLife {
		w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
		http.Error(w, "the access token is not valid", http.StatusUnauthorized)
		return
	}
	doc := g.person.claims(g.scope)
	doc["sub"] = g.person.ID
	if fault.UserInfo != nil {
		fault.UserInfo(doc)
	}
	payload, _ := json.Marshal(doc)
	if fault.UserInfoPayload != nil {
		payload = fault.UserInfoPayload(payload)
	}
	if fault.SignedUserInfo {
		w.Header().Set("Content-Type", "application/jwt")
		_, _ = fmt.Fprint(w, key.jws(map[string]any{"alg": key.alg, "kid": key.kid}, payload))
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = w.Write(payload)
}

func (op *OP) client(id string) (OPClient, bool) {
	i := slices.IndexFunc(op.cfg.Clients, func(c OPClient) bool { return c.ID == id })
	if i < 0 || id == "" {
		return OPClient{}, false
	}
	return op.cfg.Clients[i], true
}

func (c OPClient) name() string {
	if c.Title != "" {
		return c.Title
	}
	return c.ID
}

// authenticate finds the client of a token request by exactly one method.
func (op *OP) authenticate(r *http.Request) (OPClient, error) {
	form := r.PostForm
	id, secret, basic := r.BasicAuth()
	assertion := form.Get("client_assertion")
	methods := 0
	for _, used := range []bool{basic, form.Has("client_secret"), assertion != ""} {
		if used {
			methods++
		}
	}
	if methods > 1 {
		return OPClient{}, fmt.Errorf("more than one way of authentication")
	}
	if basic { // RFC 6749 section 2.3.1: both parts are form-urlencoded first
		var err1, err2 error
		id, err1 = url.QueryUnescape(id)
		secret, err2 = url.QueryUnescape(secret)
		if err1 != nil || err2 != nil {
			return OPClient{}, fmt.Errorf("the client's name or secret is not form-urlencoded")
		}
	} else {
		id, secret = form.Get("client_id"), form.Get("client_secret")
	}
	if assertion != "" {
		return op.authenticateByKey(form, assertion)
	}
	c, ok := op.client(id)
	switch {
	case !ok:
		return OPClient{}, fmt.Errorf("the client is not known")
	case c.Key != nil:
		return OPClient{}, fmt.Errorf("the client must authenticate by private_key_jwt")
	case subtle.ConstantTimeCompare([]byte(secret), []byte(c.Secret)) != 1:
		return OPClient{}, fmt.Errorf("the client's secret is wrong")
	}
	return c, nil
}

// authenticateByKey is private_key_jwt, RFC 7523 section 2.2.
func (op *OP) authenticateByKey(form url.Values, assertion string) (OPClient, error) {
	if form.Get("client_assertion_type") != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" {
		return OPClient{}, fmt.Errorf("the client assertion is of an unknown type")
	}
	id := form.Get("client_id")
	c, ok := op.client(id)
	if !ok || c.Key == nil {
		return OPClient{}, fmt.Errorf("the client is not known, or has no key")
	}
	claims, err := verifyJWS(assertion, c.Key)
	if err != nil {
		return OPClient{}, err
	}
	now := op.cfg.Now()
	exp, _ := claims["exp"].(float64)
	jti, _ := claims["jti"].(string)
	left := time.Unix(int64(exp), 0).Sub(now)
	switch {
	case claims["iss"] != id || claims["sub"] != id:
		return OPClient{}, fmt.Errorf("the client assertion is not by or about the client")
	case claims["aud"] != op.cfg.Issuer && claims["aud"] != op.cfg.Issuer+"/token":
		return OPClient{}, fmt.Errorf("the client assertion is not for this provider")
	case left <= 0 || left > 10*time.Minute:
		return OPClient{}, fmt.Errorf("the client assertion is too old, or lives too long")
	case jti == "":
		return OPClient{}, fmt.Errorf("the client assertion has no jti")
	}
	op.mu.Lock()
	defer op.mu.Unlock()
	prune(op.seen, func(until time.Time) bool { return now.After(until) })
	if _, again := op.seen[jti]; again {
		return OPClient{}, fmt.Errorf("the client assertion was used before")
	}
	op.seen[jti] = now.Add(left)
	return c, nil
}

// requested is what q asks to be done wrong in its sign-in.
func (op *OP) requested(q url.Values) OPFault {
	if name := q.Get("misbehave"); name != "" && op.cfg.OnRequest != nil {
		return op.cfg.OnRequest(name)
	}
	return OPFault{}
}

// doing is what to do wrong now in a sign-in that asked for f.
func (op *OP) doing(f OPFault) OPFault {
	op.mu.Lock()
	defer op.mu.Unlock()
	return op.fault.With(f)
}

// prune keeps a map of things that end from growing: what is over goes, and if
// that is not enough, everything.
func prune[V any](m map[string]V, over func(V) bool) {
	if len(m) < opMost/10 {
		return
	}
	maps.DeleteFunc(m, func(_ string, v V) bool { return over(v) })
	if len(m) >= opMost {
		clear(m)
	}
}

func oauthError(code, text string) url.Values {
	return url.Values{"error": {code}, "error_description": {text}}
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}
