package oidc

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	gooidc "github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"

	"github.com/gatehouse-sso/gatehouse/federation"
)

// published is what of the provider's metadata is used.
type published struct {
	auth, token, userinfo, keys string
	issParam                    bool     // promises the parameter iss, RFC 9207
	methods                     []string // token_endpoint_auth_methods_supported
}

// discover fetches the metadata (OpenID Connect Discovery 1.0 section 4).
func (p *Provider) discover(ctx context.Context) (published, error) {
	var none published
	op, err := gooidc.NewProvider(gooidc.ClientContext(ctx, p.client), p.cfg.Issuer)
	if err != nil {
		return none, fmt.Errorf("discovery: %s", brief(err.Error()))
	}
	var raw json.RawMessage
	if err := op.Claims(&raw); err != nil {
		return none, fmt.Errorf("discovery: %s", brief(err.Error()))
	}
	doc, err := decode(raw)
	if err != nil {
		return none, fmt.Errorf("discovery document: %w", err)
	}
	if iss, _ := doc.text("issuer"); iss != p.cfg.Issuer {
		return none, fmt.Errorf("discovery document: the issuer is %q, configured is %q", brief(iss), p.cfg.Issuer)
	}
	var m published
	for _, e := range []struct {
		name     string
		to       *string
		required bool
	}{
		{"authorization_endpoint", &m.auth, true},
		{"token_endpoint", &m.token, true},
		{"jwks_uri", &m.keys, true},
		{"userinfo_endpoint", &m.userinfo, p.cfg.UserInfo == Always},
	} {
		v, ok := doc.text(e.name)
		if !ok && !e.required {
			continue
		}
		if err := p.endpoint(v); err != nil {
			return none, fmt.Errorf("discovery document: %s: %w", e.name, err)
		}
		*e.to = v
	}
	m.issParam = doc["authorization_response_iss_parameter_supported"] == true
	m.methods, _ = doc.list("token_endpoint_auth_methods_supported")
	return m, nil
}

// endpoint checks an address that the provider publishes: where the issuer has
// https, everything has.
func (p *Provider) endpoint(raw string) error {
	u, err := url.Parse(raw)
	switch {
	case err != nil || u.Host == "" || u.User != nil || u.Fragment != "" || u.Opaque != "":
		return fmt.Errorf("%q is no address", brief(raw))
	case u.Scheme == "https", u.Scheme == "http" && strings.HasPrefix(p.cfg.Issuer, "http://"):
		return nil
	}
	return fmt.Errorf("%q must begin with https", brief(raw))
}

// The most keys that a provider may publish, and the fewest bits of an RSA key.
const (
	maxKeys    = 100
	minRSABits = 2048
)

// fetchKeys reads the key set (RFC 7517). Keys that are not for signatures, not
// public, too weak, or of a kind that is not known are left out.
func (p *Provider) fetchKeys(ctx context.Context) ([]jose.JSONWebKey, error) {
	m, err := p.published.get(ctx, false)
	if err != nil {
		return nil, err
	}
	body, _, err := p.fetch(ctx, m.keys, "")
	if err != nil {
		return nil, fmt.Errorf("key set: %w", err)
	}
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(body, &set); err != nil {
		return nil, fmt.Errorf("key set: %s", brief(err.Error()))
	}
	if len(set.Keys) > maxKeys {
		return nil, fmt.Errorf("key set: %d keys, %d are accepted", len(set.Keys), maxKeys)
	}
	return usableKeys(set.Keys)
}

func usableKeys(raw []json.RawMessage) ([]jose.JSONWebKey, error) {
	var keys []jose.JSONWebKey
	for _, r := range raw {
		var k jose.JSONWebKey
		if k.UnmarshalJSON(r) != nil || !k.Valid() || !k.IsPublic() || k.Use != "" && k.Use != "sig" {
			continue
		}
		if pub, ok := k.Key.(*rsa.PublicKey); ok && pub.N.BitLen() < minRSABits {
			continue
		}
		keys = append(keys, k)
	}
	if len(keys) == 0 {
		return nil, errors.New("key set: no key in it can be used")
	}
	return keys, nil
}

// fetch gets a document, with a bearer token if there is one. A status that is
// not 200 is a *statusError.
func (p *Provider) fetch(ctx context.Context, address, bearer string) (body []byte, contentType string, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, "", err
	}
	r.Header.Set("Accept", "application/json, application/jwt;q=0.9, application/jwk-set+json;q=0.9")
	if bearer != "" {
		r.Header.Set("Authorization", "Bearer "+bearer)
	}
	resp, err := p.client.Do(r)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, "", &statusError{resp.StatusCode}
	}
	body, err = io.ReadAll(resp.Body)
	return body, resp.Header.Get("Content-Type"), err
}

type statusError struct{ code int }

func (e *statusError) Error() string {
	return fmt.Sprintf("the provider answers with status %d", e.code)
}

// maxToken is how long an ID token may be: 64 KiB of attributes in base64, and
// as much again for names and the rest.
const maxToken = 256 << 10

// signed checks a JWT's form and signature, and gives its payload and algorithm.
// What the token itself says about keys (jwk, jku, x5c, x5u) is not looked at.
func (p *Provider) signed(ctx context.Context, token string) (payload []byte, alg string, err error) {
	if len(token) > maxToken {
		return nil, "", federation.Refuse(ReasonToken, "it is %d bytes long, %d are accepted", len(token), maxToken)
	}
	// Counted before anything is taken apart: encrypted tokens have four dots, an
	// attack a million.
	if n := strings.Count(token, "."); n != 2 {
		return nil, "", federation.Refuse(ReasonToken, "it has %d dots, a signed JWT has 2", n)
	}
	head, _, _ := strings.Cut(token, ".")
	raw, err := base64.RawURLEncoding.DecodeString(head)
	if err != nil {
		return nil, "", federation.Refuse(ReasonToken, "its header is not base64url")
	}
	h, err := decode(raw)
	if err != nil {
		return nil, "", federation.Refuse(ReasonToken, "its header: %w", err)
	}
	alg, _ = h.text("alg")
	if !slices.Contains(p.cfg.Algorithms, alg) {
		return nil, "", federation.Refuse(ReasonAlgorithm, "it says %q, accepted are %s", brief(alg), strings.Join(p.cfg.Algorithms, ", "))
	}
	if _, ok := h["crit"]; ok {
		return nil, "", federation.Refuse(ReasonToken, "its header demands extensions that are not known")
	}
	// Another kind of JWT by the same key, as a logout or access token, is not one.
	if typ, ok := h["typ"]; ok {
		s, _ := typ.(string)
		if t := strings.ToLower(strings.TrimPrefix(strings.ToLower(s), "application/")); t != "jwt" {
			return nil, "", federation.Refuse(ReasonToken, "it says it is %q, not a JWT", brief(s))
		}
	}
	jws, err := jose.ParseSignedCompact(token, p.algorithms)
	if err != nil {
		return nil, "", federation.Refuse(ReasonToken, "it can not be read: %s", brief(err.Error()))
	}
	kid, _ := h["kid"].(string)
	payload, err = p.checkSignature(ctx, jws, kid, alg)
	return payload, alg, err
}

func (p *Provider) checkSignature(ctx context.Context, jws *jose.JSONWebSignature, kid, alg string) ([]byte, error) {
	keys, err := p.keys.get(ctx, false)
	if err != nil {
		return nil, unavailable(err)
	}
	if payload, ok := verify(jws, keys, kid, alg); ok {
		return payload, nil
	}
	// The provider may have begun to use another key a moment ago.
	newer, err := p.keys.get(ctx, true)
	if err != nil {
		return nil, unavailable(err)
	}
	if payload, ok := verify(jws, newer, kid, alg); ok {
		return payload, nil
	}
	return nil, federation.Refuse(ReasonSignature, "none of the %d keys that the provider publishes fits (kid %q, %s)", len(newer), brief(kid), alg)
}

// verify tries the keys that bear the token's kid, or, if it has none, all of
// the right kind. A key that names its algorithm serves for no other.
func verify(jws *jose.JSONWebSignature, keys []jose.JSONWebKey, kid, alg string) ([]byte, bool) {
	for _, k := range keys {
		if kid != "" && k.KeyID != kid || k.Algorithm != "" && k.Algorithm != alg || !kindFits(k.Key, alg) {
			continue
		}
		if payload, err := jws.Verify(k.Key); err == nil {
			return payload, true
		}
	}
	return nil, false
}

func kindFits(key any, alg string) bool {
	switch key.(type) {
	case *rsa.PublicKey:
		return strings.HasPrefix(alg, "RS") || strings.HasPrefix(alg, "PS")
	case *ecdsa.PublicKey:
		return strings.HasPrefix(alg, "ES")
	case ed25519.PublicKey:
		return alg == "EdDSA"
	}
	return false
}

// unavailable is the refusal for a provider that did not answer, or nonsense.
func unavailable(err error) *federation.Refusal {
	return &federation.Refusal{Code: federation.ReasonUnavailable, Detail: brief(err.Error()), Err: err}
}
