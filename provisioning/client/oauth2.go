package client

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/gatehouse-sso/gatehouse/provisioning/store"
)

const (
	// Scope is the only one there is.
	Scope = "scim"
	// accessLife is how long an access token lives.
	accessLife = 10 * time.Minute
	// assertionLife is how far ahead an assertion may end.
	assertionLife = 10 * time.Minute
	// skew is how much clocks may differ.
	skew = time.Minute
	// maxForm bounds the body of a token request, maxJTI the jti of an assertion.
	maxForm = 64 << 10
	maxJTI  = 256
)

// algorithms are those that assertions are signed with. No shared secret is among
// them, and no signature that a key of another kind could make.
var algorithms = []jose.SignatureAlgorithm{jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512, jose.ES256, jose.ES384, jose.ES512, jose.EdDSA}

const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

func checkKey(k crypto.PublicKey) error {
	switch k := k.(type) {
	case *rsa.PublicKey:
		if k.N.BitLen() < 2048 {
			return errors.New("its RSA key is shorter than 2048 bits")
		}
	case *ecdsa.PublicKey, ed25519.PublicKey:
	default:
		return fmt.Errorf("a key of type %T signs no assertions", k)
	}
	return nil
}

// mark names a credential in access tokens, so that they end with it, without
// giving it away.
func (r *Registry) mark(client string, cr Credential) (string, error) {
	m := hmac.New(sha256.New, r.Key)
	m.Write(store.Key("credential", client, cr.Bearer, cr.User, cr.Password, cr.Secret))
	if cr.Key != nil {
		der, err := x509.MarshalPKIXPublicKey(cr.Key)
		if err != nil {
			return "", err
		}
		m.Write(der)
	}
	return hex.EncodeToString(m.Sum(nil)[:8]), nil
}

// ticket is what an access token says.
type ticket struct {
	Client string `json:"c"`
	Mark   string `json:"k"` // the credential that it was got for
	Until  int64  `json:"e"` // Unix time
}

func (r *Registry) grant(k known) string {
	b, err := json.Marshal(ticket{k.client.ID, k.mark, r.Now().Add(accessLife).Unix()})
	if err != nil {
		panic(err) // strings and a number
	}
	body := base64.RawURLEncoding.EncodeToString(b)
	return accessPrefix + body + "." + base64.RawURLEncoding.EncodeToString(seal(r.Key, body))
}

func seal(key []byte, body string) []byte {
	m := hmac.New(sha256.New, key)
	m.Write(store.Key("access", body))
	return m.Sum(nil)
}

// access is the client that an access token was given to, nil if it is none of ours.
func (r *Registry) access(text string) *Client {
	body, mac, _ := strings.Cut(strings.TrimPrefix(text, accessPrefix), ".")
	got, err := base64.RawURLEncoding.DecodeString(mac)
	ours := subtle.ConstantTimeCompare(got, seal(r.Key, body))
	for _, key := range r.AlsoTaken {
		ours |= subtle.ConstantTimeCompare(got, seal(key, body))
	}
	if err != nil || ours != 1 {
		return nil
	}
	raw, err := base64.RawURLEncoding.DecodeString(body)
	var t ticket
	if err != nil || json.Unmarshal(raw, &t) != nil || r.Now().Unix() >= t.Until {
		return nil
	}
	for _, k := range r.known {
		if k.mark == t.Mark && k.client.ID == t.Client && k.alive(r.Now()) {
			return r.of(t.Client, time.Unix(t.Until, 0).Add(-accessLife))
		}
	}
	return nil
}

// tokenError is an error of RFC 6749 section 5.2.
type tokenError struct {
	status     int
	code, text string
	reason     string
	basic      bool // the client used the Authorization header
	after      time.Duration
}

func (e *tokenError) Error() string { return e.code + ": " + e.text }

func badRequest(code, text string) *tokenError {
	return &tokenError{status: http.StatusBadRequest, code: code, text: text, reason: ReasonRequest}
}

// TokenEndpoint gives access tokens for the grant client_credentials (RFC 6749
// section 4.4), to clients that prove themselves by client_secret_basic,
// client_secret_post or private_key_jwt (RFC 7523). refused, which must not
// block, is told of who is refused: a reason code and from where; nil: nobody is.
func (r *Registry) TokenEndpoint(refused func(code, from string)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		h := w.Header()
		h.Set("Content-Type", "application/json")
		h.Set("Cache-Control", "no-store")
		h.Set("Pragma", "no-cache")
		h.Set("X-Content-Type-Options", "nosniff")
		text, err := r.token(w, req)
		if err == nil {
			reply(w, http.StatusOK, map[string]any{"access_token": text, "token_type": "Bearer", "expires_in": int(accessLife / time.Second), "scope": Scope})
			return
		}
		var te *tokenError
		if !errors.As(err, &te) {
			te = &tokenError{status: http.StatusServiceUnavailable, code: "temporarily_unavailable", text: "try again later"}
		}
		if te.reason != "" && te.reason != ReasonRequest && refused != nil {
			refused(te.reason, network(req))
		}
		if te.basic {
			h.Set("WWW-Authenticate", `Basic realm="token", charset="UTF-8"`)
		}
		if te.after > 0 {
			h.Set("Retry-After", strconv.Itoa(int(te.after/time.Second)))
		}
		reply(w, te.status, map[string]any{"error": te.code, "error_description": te.text})
	})
}

func reply(w http.ResponseWriter, status int, v map[string]any) {
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the client went away: there is nobody to tell
}

func (r *Registry) token(w http.ResponseWriter, req *http.Request) (string, error) {
	if req.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		e := badRequest("invalid_request", "send a POST")
		e.status = http.StatusMethodNotAllowed
		return "", e
	}
	if kind, _, err := mime.ParseMediaType(req.Header.Get("Content-Type")); err != nil || kind != "application/x-www-form-urlencoded" {
		return "", badRequest("invalid_request", "send application/x-www-form-urlencoded")
	}
	req.Body = http.MaxBytesReader(w, req.Body, maxForm)
	if err := req.ParseForm(); err != nil {
		return "", badRequest("invalid_request", "the form can not be read")
	}
	form := req.PostForm
	for name, values := range form {
		if len(values) != 1 {
			return "", badRequest("invalid_request", fmt.Sprintf("the parameter %.40q is given more than once", name))
		}
	}
	k, err := r.asker(req, form)
	if err != nil {
		return "", err
	}
	switch {
	case form.Get("grant_type") == "":
		return "", badRequest("invalid_request", "grant_type is missing")
	case form.Get("grant_type") != "client_credentials":
		return "", badRequest("unsupported_grant_type", "the grant type is client_credentials")
	case form.Get("scope") != "" && form.Get("scope") != Scope:
		return "", badRequest("invalid_scope", "the scope is "+Scope)
	}
	return r.grant(k), nil
}

// asker finds the client that asks for a token, by exactly one of the ways in
// which it can prove itself. Who does not is told no more than that.
func (r *Registry) asker(req *http.Request, form url.Values) (known, error) {
	header := req.Header.Values("Authorization")
	refused := &tokenError{status: http.StatusUnauthorized, code: "invalid_client", text: "the client did not prove who it is", reason: ReasonUnauthorized, basic: len(header) > 0}
	id, secret, assertion := form.Get("client_id"), form.Get("client_secret"), form.Get("client_assertion")
	ways := 0
	for _, is := range []bool{len(header) > 0, secret != "", assertion != ""} {
		if is {
			ways++
		}
	}
	if ways > 1 || len(header) > 1 {
		return known{}, badRequest("invalid_request", "the client proves itself in more than one way")
	}
	if len(header) == 1 {
		user, password, ok := req.BasicAuth()
		// RFC 6749 section 2.3.1: both are form encoded before they are put together.
		user, err1 := url.QueryUnescape(user)
		password, err2 := url.QueryUnescape(password)
		if !ok || err1 != nil || err2 != nil || id != "" && id != user {
			return known{}, refused
		}
		id, secret = user, password
	}
	now, from := r.Now(), network(req)
	claimed := id
	if assertion != "" {
		claimed = claimant(assertion)
	}
	if err := r.Limits.guesses.full(from, claimed, now); err != nil {
		return known{}, throttled(err)
	}
	var who known
	ok := false
	switch {
	case assertion != "":
		if form.Get("client_assertion_type") != assertionType {
			return known{}, badRequest("invalid_request", "client_assertion_type is not "+assertionType)
		}
		var err error
		if who, err = r.asserted(req.Context(), id, assertion); errors.Is(err, errAssertion) {
			refused.reason = ReasonAssertion
		} else if err != nil {
			return known{}, err
		}
		ok = err == nil
	case secret != "":
		sum := r.sum(Credential{User: id, Secret: secret})
		for _, k := range r.known {
			if subtle.ConstantTimeCompare(sum[:], k.sum[:]) == 1 && k.secret && k.alive(now) {
				who, ok = k, true
			}
		}
	}
	if ok {
		return who, nil
	}
	if err := r.Limits.guesses.take(from, claimed, now); err != nil {
		return known{}, throttled(err)
	}
	return known{}, refused
}

func throttled(err error) error {
	e := &tokenError{status: http.StatusTooManyRequests, code: "slow_down", text: err.Error(), reason: ReasonThrottled}
	var t *Throttled
	if errors.As(err, &t) {
		e.after = t.After
	}
	return e
}

var errAssertion = errors.New("the assertion is not valid")

// nobody has a key, so that an assertion of an unknown client takes as long to
// refuse as a wrong one.
var nobody = sync.OnceValue(func() *ecdsa.PublicKey {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err) // there is no randomness
	}
	return &k.PublicKey
})

// claimant is whom an assertion claims to be from, unverified: only for counting.
func claimant(assertion string) string {
	parts := strings.Split(assertion, ".")
	if len(parts) != 3 {
		return ""
	}
	raw, err := base64.RawURLEncoding.DecodeString(parts[1])
	var c struct {
		Issuer string `json:"iss"`
	}
	if err != nil || json.Unmarshal(raw, &c) != nil {
		return ""
	}
	return c.Issuer
}

// claims of an assertion (RFC 7523 section 3).
type claims struct {
	Issuer   string           `json:"iss"`
	Subject  string           `json:"sub"`
	Audience jwt.Audience     `json:"aud"`
	Expiry   *jwt.NumericDate `json:"exp"`
	Begins   *jwt.NumericDate `json:"nbf"`
	Issued   *jwt.NumericDate `json:"iat"`
	ID       string           `json:"jti"`
}

// asserted finds the client that signed an assertion, which then is used up. id is
// what the form says of who asks; empty: nothing.
func (r *Registry) asserted(ctx context.Context, id, assertion string) (known, error) {
	tok, err := jwt.ParseSigned(assertion, algorithms)
	if err != nil || len(tok.Headers) != 1 {
		return known{}, errAssertion
	}
	if typ, given := tok.Headers[0].ExtraHeaders[jose.HeaderType]; given {
		text, _ := typ.(string)
		if !strings.EqualFold(text, "JWT") && !strings.EqualFold(text, "client-authentication+jwt") {
			return known{}, errAssertion
		}
	}
	claimed, now := claimant(assertion), r.Now()
	var who known
	var c claims
	tried := false
	for _, k := range r.known {
		if k.key == nil || k.client.ID != claimed || !k.alive(now) {
			continue
		}
		tried = true
		if tok.Claims(k.key, &c) == nil {
			who = k
			break
		}
		c = claims{}
	}
	if !tried {
		_ = tok.Claims(nobody(), &claims{}) // takes its time, and fails
	}
	if who.client == nil || r.Store == nil {
		return known{}, errAssertion
	}
	switch {
	case c.Issuer != who.client.ID || c.Subject != c.Issuer || id != "" && id != c.Issuer,
		len(c.Audience) != 1 || c.Audience[0] == "" || c.Audience[0] != r.Token && c.Audience[0] != r.Issuer,
		c.Expiry == nil || !now.Before(c.Expiry.Time().Add(skew)) || c.Expiry.Time().After(now.Add(assertionLife+skew)),
		c.Begins != nil && c.Begins.Time().After(now.Add(skew)),
		c.Issued != nil && c.Issued.Time().After(now.Add(skew)),
		c.ID == "" || len(c.ID) > maxJTI:
		return known{}, errAssertion
	}
	row := assertionRow{ID: usedID(c.Issuer, c.ID), Until: c.Expiry.Time().Add(skew).UTC()}
	err = r.Store.Update(ctx, func(tx store.Tx) error {
		_, used, err := assertions.Get(tx, row.ID)
		if err != nil {
			return err
		}
		if used {
			return errAssertion
		}
		return assertions.Put(tx, row)
	})
	if err != nil {
		return known{}, err
	}
	return who, nil
}

// assertionRow is an assertion that was used, until it is too old to be used.
type assertionRow struct {
	ID    string    `json:"id"` // SHA-256 of client and jti, hex
	Until time.Time `json:"until"`
}

var assertions = &store.Table[assertionRow]{
	Name:  "client_assertion",
	Key:   func(r assertionRow) string { return r.ID },
	Index: map[string]func(assertionRow) []string{"until": func(r assertionRow) []string { return []string{moment(r.Until)} }},
}

func moment(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05Z") }

func usedID(client, jti string) string {
	sum := sha256.Sum256(store.Key(client, jti))
	return hex.EncodeToString(sum[:])
}

// Sweep forgets some used assertions that are too old to be used again, and says
// whether there are more.
func (r *Registry) Sweep(ctx context.Context) (more bool, err error) {
	const batch = 40
	err = r.Store.Update(ctx, func(tx store.Tx) error {
		var dead []string
		for row, err := range assertions.Range(tx, "until", "", moment(r.Now().Add(-time.Hour)), batch) {
			if err != nil {
				return err
			}
			dead = append(dead, row.ID)
		}
		for _, id := range dead {
			if err := assertions.Delete(tx, id); err != nil {
				return err
			}
		}
		more = len(dead) == batch
		return nil
	})
	return more, err
}
