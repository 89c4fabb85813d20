package oidc

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	_ "crypto/sha256" // for hashOf
	_ "crypto/sha512" // for hashOf
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"

	"github.com/go-jose/go-jose/v4"

	"github.com/gatehouse-sso/gatehouse/federation"
)

// The most keys that a provider may publish, and the fewest bits of an RSA key.
const (
	maxKeys    = 100
	minRSABits = 2048
)

// fetchKeys reads the key set (RFC 7517).
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

// usableKeys leaves out what is not for signatures, not public, too weak, or of
// a kind that is not known.
func usableKeys(raw []json.RawMessage) ([]jose.JSONWebKey, error) {
	var keys []jose.JSONWebKey
	for _, r := range raw {
		var k jose.JSONWebKey
		var ops struct {
			KeyOps []string `json:"key_ops"` // go-jose does not read it
		}
		if k.UnmarshalJSON(r) != nil || json.Unmarshal(r, &ops) != nil || !k.Valid() || !k.IsPublic() {
			continue
		}
		if k.Use != "" && k.Use != "sig" || ops.KeyOps != nil && !slices.Contains(ops.KeyOps, "verify") {
			continue
		}
		if pub, ok := k.Key.(*rsa.PublicKey); ok && (pub.N.BitLen() < minRSABits || roca(pub.N)) {
			continue
		}
		keys = append(keys, k)
	}
	if len(keys) == 0 {
		return nil, errors.New("key set: no key in it can be used")
	}
	return keys, nil
}

// roca reports the mark of RSA keys that certain chips made, and that can be
// factored from what is public (CVE-2017-15361): modulo every small prime, the
// modulus is a power of 65537. Of other keys, about one in 2^27 bears it.
func roca(n *big.Int) bool {
	for p := int64(3); p <= 167; p += 2 {
		if !big.NewInt(p).ProbablyPrime(0) {
			continue
		}
		rest := new(big.Int).Mod(n, big.NewInt(p)).Int64()
		power := int64(1)
		for power != rest {
			if power = power * (65537 % p) % p; power == 1 {
				break
			}
		}
		if power != rest {
			return false
		}
	}
	return true
}

// maxToken is how long an ID token may be: 64 KiB of attributes in base64, and
// as much again for names and the rest.
const maxToken = 256 << 10

// signed checks a JWT's form and signature, and gives its payload and algorithm.
// What the token itself says about keys (jwk, jku, x5c, x5u) is not looked at.
// kinds are the values of typ that it may have, in lower case; it may have none.
func (p *Provider) signed(ctx context.Context, token string, kinds ...string) (payload []byte, alg string, err error) {
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
	// Another kind of JWT by the same key, as an access token, is not one.
	if typ, ok := h["typ"]; ok {
		s, _ := typ.(string)
		if t := strings.TrimPrefix(strings.ToLower(s), "application/"); !slices.Contains(kinds, t) {
			return nil, "", federation.Refuse(ReasonToken, "it says it is %q, accepted are %s", brief(s), strings.Join(kinds, ", "))
		}
	}
	jws, err := jose.ParseSignedCompact(token, p.algorithms)
	if err != nil {
		return nil, "", federation.Refuse(ReasonToken, "it can not be read: %s", brief(err.Error()))
	}
	kid, _ := h["kid"].(string)
	payload, err = p.checkSignature(ctx, candidate{jws, token, kid, alg})
	return payload, alg, err
}

// candidate is a token whose signature is to be checked, and what its header says.
type candidate struct {
	jws             *jose.JSONWebSignature
	token, kid, alg string
}

func (p *Provider) checkSignature(ctx context.Context, c candidate) ([]byte, error) {
	keys, err := p.keys.get(ctx, false)
	if err != nil {
		return nil, unavailable(err)
	}
	if payload, ok := c.verify(keys); ok {
		return payload, nil
	}
	// The provider may have begun to use another key a moment ago.
	newer, err := p.keys.get(ctx, true)
	if err != nil {
		return nil, unavailable(err)
	}
	if payload, ok := c.verify(newer); ok {
		return payload, nil
	}
	return nil, federation.Refuse(ReasonSignature, "none of the %d keys that the provider publishes fits (kid %q, %s)", len(newer), brief(c.kid), c.alg)
}

// verify tries the keys that bear the token's kid, or, if it has none, all of
// the right kind. A key that names its algorithm serves for no other.
func (c candidate) verify(keys []jose.JSONWebKey) ([]byte, bool) {
	for _, k := range keys {
		if c.kid != "" && k.KeyID != c.kid || k.Algorithm != "" && k.Algorithm != c.alg || !c.fits(k.Key) {
			continue
		}
		if payload, err := c.jws.Verify(k.Key); err == nil {
			return payload, true
		}
	}
	return nil, false
}

// fits reports whether a key is of the kind that the algorithm needs, and, for
// RSA-PSS, whether the signature's salt is as long as the hash (RFC 7518 section
// 3.5): go-jose takes any length.
func (c candidate) fits(key any) bool {
	switch key := key.(type) {
	case *rsa.PublicKey:
		return strings.HasPrefix(c.alg, "RS") || strings.HasPrefix(c.alg, "PS") && c.exactSalt(key)
	case *ecdsa.PublicKey:
		return map[string]int{"ES256": 256, "ES384": 384, "ES512": 521}[c.alg] == key.Curve.Params().BitSize
	case ed25519.PublicKey:
		return c.alg == "EdDSA"
	}
	return false
}

func (c candidate) exactSalt(key *rsa.PublicKey) bool {
	i := strings.LastIndexByte(c.token, '.')
	hash := hashOf(c.alg)
	h := hash.New()
	h.Write([]byte(c.token[:i]))
	return rsa.VerifyPSS(key, hash, h.Sum(nil), c.jws.Signatures[0].Signature, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}) == nil
}

// hashOf is the hash that goes with an algorithm: the one that its name ends
// with, and SHA-512 with Ed25519.
func hashOf(alg string) crypto.Hash {
	switch {
	case alg == "EdDSA" || strings.HasSuffix(alg, "512"):
		return crypto.SHA512
	case strings.HasSuffix(alg, "384"):
		return crypto.SHA384
	}
	return crypto.SHA256
}
