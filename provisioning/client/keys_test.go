package client

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"testing"

	"github.com/go-jose/go-jose/v4"
)

func TestPublicKeysAreReadAndPrivateOnesRefused(t *testing.T) {
	t.Parallel()
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block := func(kind string, der []byte, err error) []byte {
		if err != nil {
			t.Fatal(err)
		}
		return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	}
	der, err := x509.MarshalPKIXPublicKey(ed.Public())
	one := block("PUBLIC KEY", der, err)
	der, err = x509.MarshalPKIXPublicKey(ec.Public())
	two := block("PUBLIC KEY", der, err)
	der, err = x509.MarshalPKCS8PrivateKey(ec)
	private := block("PRIVATE KEY", der, err)
	jwks := func(keys ...any) []byte {
		var set jose.JSONWebKeySet
		for _, k := range keys {
			set.Keys = append(set.Keys, jose.JSONWebKey{Key: k})
		}
		b, err := json.Marshal(set)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	single, err := json.Marshal(jose.JSONWebKey{Key: ec.Public()})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		data []byte
		n    int
	}{
		"PEM": {one, 1}, "two in PEM": {append(one, two...), 2}, "a JWK set": {jwks(ed.Public(), ec.Public()), 2}, "a JWK": {single, 1},
		"a private key": {private, 0}, "both": {append(two, private...), 0}, "a private JWK": {jwks(ec), 0}, "a shared one": {jwks([]byte("0123456789abcdef")), 0},
		"nothing": {nil, 0}, "an empty set": {[]byte(`{"keys":[]}`), 0}, "words": {[]byte("key"), 0}, "broken JSON": {[]byte(`{"keys":`), 0},
	} {
		if keys, err := ParseKeys(c.data); len(keys) != c.n || (err == nil) != (c.n > 0) {
			t.Errorf("%s: %d keys, %v", name, len(keys), err)
		}
	}
}
