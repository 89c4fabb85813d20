// Package oauth adds short-lived tokens to what is sent to a target: OAuth 2.0
// client credentials (RFC 6749 section 4.4), with a secret, an assertion signed by
// a private key (RFC 7523 section 2.2), or a client certificate that the transport
// shows (RFC 8705).
//
// A token is fetched when one is needed, kept until a little before its end, and
// fetched anew once if the target does not take it any more. One is fetched at a
// time, whoever else needs it waits. That it can not be had is the target's error:
// of class Auth where the authorization server says no, Transient where it does
// not answer; never Ambiguous, since nothing was sent to the target.
package oauth

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/gatehouse-sso/gatehouse/provisioning/connector"
	"github.com/gatehouse-sso/gatehouse/provisioning/connector/post"
)

// Config of a Transport.
type Config struct {
	TokenURL string
	ClientID string
	// Secret is sent by Basic; Key signs an assertion instead. Neither: the
	// client's ID alone is sent, and its certificate says the rest.
	Secret string
	Key    crypto.Signer // RSA, P-256 or Ed25519
	KeyID  string
	// Audience of the assertion; empty: TokenURL.
	Audience string
	Scopes   []string
	Resource string // what the token is for (RFC 8707); empty: not said

	Client *http.Client     // asks the authorization server
	Now    func() time.Time // nil: time.Now
}

// A Transport is an http.RoundTripper that adds a token. Make one with New.
type Transport struct {
	base   http.RoundTripper
	c      Config
	server *post.Client
	jws    jose.Signer
	turn   chan struct{} // one asks at a time, and has token and until
	token  string
	until  time.Time
}

// New makes a Transport over base; it asks nothing yet.
func New(base http.RoundTripper, c Config) (*Transport, error) {
	p, err := post.New(c.TokenURL, c.Client)
	if err != nil {
		return nil, fmt.Errorf("token endpoint: %w", err)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Audience == "" {
		c.Audience = c.TokenURL
	}
	t := &Transport{base: base, c: c, server: p, turn: make(chan struct{}, 1)}
	if c.Key != nil {
		alg, err := algorithm(c.Key)
		if err != nil {
			return nil, err
		}
		opts := (&jose.SignerOptions{}).WithType("JWT")
		if c.KeyID != "" {
			opts = opts.WithHeader("kid", c.KeyID)
		}
		if t.jws, err = jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: c.Key}, opts); err != nil {
			return nil, fmt.Errorf("sign client assertions: %w", err)
		}
	}
	return t, nil
}

func algorithm(key crypto.Signer) (jose.SignatureAlgorithm, error) {
	switch k := key.(type) {
	case *rsa.PrivateKey:
		if k.N.BitLen() >= 2048 {
			return jose.RS256, nil
		}
	case *ecdsa.PrivateKey:
		if k.Curve.Params().BitSize == 256 {
			return jose.ES256, nil
		}
	case ed25519.PrivateKey:
		return jose.EdDSA, nil
	}
	return "", errors.New("a private key for client assertions must be RSA of 2048 bits, P-256 or Ed25519")
}

// RoundTrip sends the request with a token, and once more with another if the
// target does not take the one that was kept.
func (t *Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	token, kept, err := t.get(r.Context(), "")
	if err != nil {
		closeBody(r)
		return nil, err
	}
	resp, err := t.base.RoundTrip(with(r, token, r.Body))
	if err != nil || resp.StatusCode != http.StatusUnauthorized || !kept || r.Body != nil && r.GetBody == nil {
		return resp, err
	}
	if token, _, err = t.get(r.Context(), token); err != nil {
		return resp, nil //nolint:nilerr // the target's own answer says what is the matter
	}
	var body io.ReadCloser
	if r.Body != nil {
		if body, err = r.GetBody(); err != nil {
			return resp, nil //nolint:nilerr // as above
		}
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10))
	_ = resp.Body.Close()
	return t.base.RoundTrip(with(r, token, body))
}

func closeBody(r *http.Request) {
	if r.Body != nil {
		_ = r.Body.Close()
	}
}

func with(r *http.Request, token string, body io.ReadCloser) *http.Request {
	out := r.Clone(r.Context())
	out.Body = body
	out.Header.Set("Authorization", "Bearer "+token)
	return out
}

// get is a token other than stale; kept: it was there already.
func (t *Transport) get(ctx context.Context, stale string) (token string, kept bool, err error) {
	select {
	case t.turn <- struct{}{}:
		defer func() { <-t.turn }()
	case <-ctx.Done():
		return "", false, &connector.Error{Text: "waiting for a token", Err: ctx.Err()}
	}
	if t.token != "" && t.token != stale && t.c.Now().Before(t.until) {
		return t.token, true, nil
	}
	// What is known of the request under way is not to be known of this one: it
	// has a context of its own that only ends with the other's.
	own, cancel := context.WithCancel(context.Background())
	defer cancel()
	defer context.AfterFunc(ctx, cancel)()
	t.token, t.until, err = t.fetch(own)
	return t.token, false, err
}

// margin is how long before its end a token is not used any more.
const margin = 30 * time.Second

// fetch asks for a token.
func (t *Transport) fetch(ctx context.Context) (string, time.Time, error) {
	form := url.Values{"grant_type": {"client_credentials"}}
	if len(t.c.Scopes) > 0 {
		form.Set("scope", strings.Join(t.c.Scopes, " "))
	}
	if t.c.Resource != "" {
		form.Set("resource", t.c.Resource)
	}
	switch {
	case t.jws != nil:
		a, err := t.assertion()
		if err != nil {
			return "", time.Time{}, &connector.Error{Class: connector.Auth, Text: "sign the client assertion", Err: err}
		}
		form.Set("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
		form.Set("client_assertion", a)
		form.Set("client_id", t.c.ClientID)
	case t.c.Secret == "":
		form.Set("client_id", t.c.ClientID)
	}
	asked := t.c.Now()
	r, err := t.server.Post(ctx, []byte(form.Encode()), func(req *http.Request) {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("Accept", "application/json")
		if t.jws == nil && t.c.Secret != "" { // both parts form-encoded: RFC 6749 section 2.3.1
			req.SetBasicAuth(url.QueryEscape(t.c.ClientID), url.QueryEscape(t.c.Secret))
		}
	})
	if err != nil {
		return "", time.Time{}, &connector.Error{Text: "ask for a token", Err: err}
	}
	if r.Cut != nil {
		return "", time.Time{}, &connector.Error{Text: "the token endpoint's answer breaks off", Err: r.Cut}
	}
	var answer struct {
		AccessToken string          `json:"access_token"`
		TokenType   string          `json:"token_type"`
		ExpiresIn   json.RawMessage `json:"expires_in"` // some send a number as text
		Error       string          `json:"error"`
	}
	readable := len(r.Body) <= post.MaxAnswer && json.Unmarshal(r.Body, &answer) == nil
	switch {
	case r.Status == http.StatusTooManyRequests, r.Status >= 500, r.Status == http.StatusRequestTimeout:
		return "", time.Time{}, &connector.Error{After: r.After, Text: "the token endpoint answers " + strconv.Itoa(r.Status)}
	case r.Status != http.StatusOK:
		text := "the token endpoint answers " + strconv.Itoa(r.Status)
		if known(answer.Error) {
			text += " (" + answer.Error + ")"
		}
		return "", time.Time{}, &connector.Error{Class: connector.Auth, Text: text}
	case !readable, answer.AccessToken == "", strings.ContainsFunc(answer.AccessToken, func(r rune) bool { return r <= ' ' || r > '~' }):
		return "", time.Time{}, &connector.Error{Class: connector.Auth, Text: "the token endpoint's answer has no token"}
	case !strings.EqualFold(answer.TokenType, "Bearer"):
		return "", time.Time{}, &connector.Error{Class: connector.Auth, Text: "the token endpoint gives tokens of another type than Bearer"}
	}
	lives := time.Minute // where it does not say, asked anew soon
	if n, err := strconv.ParseFloat(strings.Trim(string(answer.ExpiresIn), `"`), 64); err == nil {
		lives = time.Duration(min(max(n, 0), (24*time.Hour).Seconds()) * float64(time.Second))
	}
	return answer.AccessToken, asked.Add(lives - min(margin, lives/2)), nil
}

// known are the errors of RFC 6749 section 5.2; other words of a server are not repeated.
func known(code string) bool {
	switch code {
	case "invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type", "invalid_scope", "invalid_target":
		return true
	}
	return false
}

// assertion is a JWT that proves who the client is, good for a minute and for one use.
func (t *Transport) assertion() (string, error) {
	now := t.c.Now()
	payload, err := json.Marshal(map[string]any{
		"iss": t.c.ClientID, "sub": t.c.ClientID, "aud": t.c.Audience, "jti": rand.Text(),
		"iat": now.Unix(), "exp": now.Add(time.Minute).Unix(),
	})
	if err != nil {
		return "", err
	}
	jws, err := t.jws.Sign(payload)
	if err != nil {
		return "", err
	}
	return jws.CompactSerialize()
}
