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
	"fmt"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/gatehouse-sso/gatehouse/provisioning/store"
)

// Keys are the gateway's own secrets: one signs the tokens that services get,
// one seals what a browser carries for us, one makes pairwise identifiers. They
// are made once, kept in the store sealed, and the same on every replica.
type Keys struct {
	kid      string
	sign     jose.Signer
	public   []byte // the JWK set
	seal     cipher.AEAD
	pairwise []byte
}

// A key row, as stored. Sealed is under the row's own key, so that two rows
// can not be exchanged.
type keyRow struct {
	ID      string    `json:"id"`
	Sealed  []byte    `json:"sealed"`
	Created time.Time `json:"created"`
}

var keyTable = store.Table[keyRow]{Name: "gateway_key", Key: func(k keyRow) string { return k.ID }}

// Secret reads what is kept sealed under an ID, or keeps what fresh makes.
func Secret(ctx context.Context, st store.Store, sealer *store.Sealer, id string, now time.Time, fresh func() ([]byte, error)) (plain []byte, err error) {
	err = st.Update(ctx, func(tx store.Tx) error {
		aad := store.Key("gateway_key", id)
		row, ok, err := keyTable.Get(tx, id)
		if err != nil {
			return err
		}
		if ok {
			plain, err = sealer.Open(aad, row.Sealed)
			return err
		}
		if plain, err = fresh(); err != nil {
			return err
		}
		return keyTable.Put(tx, keyRow{id, sealer.Seal(aad, plain), now})
	})
	if err != nil {
		return nil, fmt.Errorf("gateway key %s: %w", id, err)
	}
	return plain, nil
}

// LoadKeys reads the keys, or makes them where there are none.
func LoadKeys(ctx context.Context, st store.Store, sealer *store.Sealer, now time.Time) (*Keys, error) {
	get := func(id string, fresh func() ([]byte, error)) ([]byte, error) {
		return Secret(ctx, st, sealer, id, now, fresh)
	}
	secret := func() ([]byte, error) { return random(32), nil }
	der, err := get("jwt", func() ([]byte, error) {
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, err
		}
		return x509.MarshalECPrivateKey(k)
	})
	if err != nil {
		return nil, err
	}
	key, err := x509.ParseECPrivateKey(der)
	if err != nil {
		return nil, err
	}
	pairwise, err := get("pairwise", secret)
	if err != nil {
		return nil, err
	}
	sealKey, err := get("cookie", secret)
	if err != nil {
		return nil, err
	}
	return newKeys(key, pairwise, sealKey)
}

func newKeys(key *ecdsa.PrivateKey, pairwise, sealKey []byte) (*Keys, error) {
	block, err := aes.NewCipher(sealKey)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, err
	}
	jwk := jose.JSONWebKey{Key: key.Public(), Algorithm: string(jose.ES256), Use: "sig"}
	thumb, err := jwk.Thumbprint(crypto.SHA256)
	if err != nil {
		return nil, err
	}
	jwk.KeyID = base64.RawURLEncoding.EncodeToString(thumb[:12])
	set, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{jwk}})
	if err != nil {
		return nil, err
	}
	signer, err := jose.NewSigner(
		jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: jwk.KeyID}},
		(&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return nil, err
	}
	return &Keys{jwk.KeyID, signer, set, aead, pairwise}, nil
}

// Pairwise is the key of pairwise identifiers, for authz.
func (k *Keys) Pairwise() []byte { return k.pairwise }

// JWKS is the public half of the signing key, as a JWK set (RFC 7517).
func (k *Keys) JWKS() []byte { return k.public }

// Sign makes a JWT (RFC 7519) of claims.
func (k *Keys) Sign(claims map[string]any) (string, error) {
	return jwt.Signed(k.sign).Claims(claims).Serialize()
}

// Seal makes v readable and changeable by nobody but us, as base64url. It opens
// only for the same purpose.
func (k *Keys) Seal(purpose string, v any) (string, error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return "", err
	}
	return base64.RawURLEncoding.EncodeToString(k.seal.Seal(nil, nil, raw, []byte(purpose))), nil
}

var errSeal = errors.New("not sealed by this gateway for this purpose")

// Open reads what Seal made.
func (k *Keys) Open(purpose, sealed string, v any) error {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(sealed)
	if err != nil {
		return errSeal
	}
	plain, err := k.seal.Open(nil, nil, raw, []byte(purpose))
	if err != nil {
		return errSeal
	}
	if err := json.Unmarshal(plain, v); err != nil {
		return errSeal
	}
	return nil
}

func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

// supportCode makes a short code that a person can read to a help desk: eight
// characters without look-alikes, 40 bit.
func supportCode() string {
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
