package gateway

import (
	"context"
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/gatehouse-sso/gatehouse/provisioning/store"
)

// Keys are the gateway's own secrets: those that sign the tokens that services get,
// those that seal what a browser carries for us, one that makes pairwise
// identifiers. They are made once, kept in the store sealed, and the same on every
// replica. Keys that follow others are read by Reload.
type Keys struct {
	st       store.Store
	sealer   *store.Sealer
	now      func() time.Time
	pairwise []byte
	ring     atomic.Pointer[keyRing]
}

// A keyRing is what the keys were when they were read, in the order of Ring.
type keyRing struct {
	sign []signKey
	seal []sealKey
}

type signKey struct {
	from, until time.Time
	signer      jose.Signer
	public      jose.JSONWebKey
}

type sealKey struct {
	from time.Time
	aead cipher.AEAD
}

// Purposes of keys that are rotated here.
const (
	PurposeJWT    = "jwt"
	PurposeCookie = "cookie"
)

// FreshJWT makes a key that signs tokens for services.
func FreshJWT() ([]byte, error) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	return x509.MarshalECPrivateKey(k)
}

// FreshSecret makes a key of 32 bytes.
func FreshSecret() ([]byte, error) { return random(32), nil }

// LoadKeys reads the keys, or makes them where there are none.
func LoadKeys(ctx context.Context, st store.Store, sealer *store.Sealer, now func() time.Time) (*Keys, error) {
	k := &Keys{st: st, sealer: sealer, now: now}
	var err error
	if k.pairwise, err = Secret(ctx, st, sealer, "pairwise", now(), FreshSecret); err != nil {
		return nil, err
	}
	return k, k.Reload(ctx)
}

// Reload reads keys that came, and forgets those that went.
func (k *Keys) Reload(ctx context.Context) error {
	signs, err := Ring(ctx, k.st, k.sealer, PurposeJWT, k.now(), FreshJWT)
	if err != nil {
		return err
	}
	seals, err := Ring(ctx, k.st, k.sealer, PurposeCookie, k.now(), FreshSecret)
	if err != nil {
		return err
	}
	r := &keyRing{}
	for _, s := range signs {
		made, err := newSignKey(s)
		if err != nil {
			return err
		}
		r.sign = append(r.sign, made)
	}
	for _, s := range seals {
		block, err := aes.NewCipher(s.Plain)
		if err != nil {
			return err
		}
		aead, err := cipher.NewGCMWithRandomNonce(block)
		if err != nil {
			return err
		}
		r.seal = append(r.seal, sealKey{s.From, aead})
	}
	k.ring.Store(r)
	return nil
}

func newSignKey(k Key) (signKey, error) {
	key, err := x509.ParseECPrivateKey(k.Plain)
	if err != nil {
		return signKey{}, err
	}
	jwk := jose.JSONWebKey{Key: key.Public(), Algorithm: string(jose.ES256), Use: "sig"}
	thumb, err := jwk.Thumbprint(crypto.SHA256)
	if err != nil {
		return signKey{}, err
	}
	jwk.KeyID = base64.RawURLEncoding.EncodeToString(thumb[:12])
	signer, err := jose.NewSigner(
		jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: jwk.KeyID}},
		(&jose.SignerOptions{}).WithType("JWT"))
	return signKey{k.From, k.Until, signer, jwk}, err
}

// inUse is the place of the key in use: the one that began last.
func inUse[T any](keys []T, from func(T) time.Time, now time.Time) T {
	at := 0
	for i, k := range keys {
		if began := from(k); !began.After(now) && began.After(from(keys[at])) {
			at = i
		}
	}
	return keys[at]
}

// Pairwise is the key of pairwise identifiers, for authz.
func (k *Keys) Pairwise() []byte { return k.pairwise }

// JWKS is the public halves of the signing keys, as a JWK set (RFC 7517): of the one
// in use, of those that are announced and of those that are still taken.
func (k *Keys) JWKS() []byte {
	set, now := jose.JSONWebKeySet{}, k.now()
	for _, s := range k.ring.Load().sign {
		if s.until.IsZero() || now.Before(s.until) {
			set.Keys = append(set.Keys, s.public)
		}
	}
	raw, err := json.Marshal(set)
	if err != nil {
		panic(err) // they were made of keys
	}
	return raw
}

// Sign makes a JWT (RFC 7519) of claims.
func (k *Keys) Sign(claims map[string]any) (string, error) {
	key := inUse(k.ring.Load().sign, func(s signKey) time.Time { return s.from }, k.now())
	return jwt.Signed(key.signer).Claims(claims).Serialize()
}

// Seal makes v readable and changeable by nobody but us, as base64url. It opens
// only for the same purpose.
func (k *Keys) Seal(purpose string, v any) (string, error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return "", err
	}
	key := inUse(k.ring.Load().seal, func(s sealKey) time.Time { return s.from }, k.now())
	return base64.RawURLEncoding.EncodeToString(key.aead.Seal(nil, nil, raw, []byte(purpose))), nil
}

var errSeal = errors.New("not sealed by this gateway for this purpose")

// Open reads what Seal made.
func (k *Keys) Open(purpose, sealed string, v any) error {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(sealed)
	if err != nil {
		return errSeal
	}
	for _, key := range k.ring.Load().seal {
		if plain, err := key.aead.Open(nil, nil, raw, []byte(purpose)); err == nil {
			if err := json.Unmarshal(plain, v); err != nil {
				return errSeal
			}
			return nil
		}
	}
	return errSeal
}

func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

// SupportCode makes a short code that a person can read to a help desk: eight
// characters without look-alikes, 40 bit.
func SupportCode() string {
	const alphabet = "23456789ABCDEFGHJKMNPQRSTVWXYZ" // 30: no 0 O 1 I L U
	raw := random(8)
	var c [9]byte
	for i := range 8 {
		at := i
		if i >= 4 {
			at++
		}
		c[at] = alphabet[int(raw[i])%len(alphabet)]
	}
	c[4] = '-'
	return string(c[:])
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }
