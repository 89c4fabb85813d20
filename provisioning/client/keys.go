package client

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/go-jose/go-jose/v4"
)

// ParseKeys reads public keys: PEM (PUBLIC KEY, CERTIFICATE), a JWK, or a JWK set.
// What holds a private key is refused: it belongs to the client alone.
func ParseKeys(data []byte) (keys []crypto.PublicKey, err error) {
	if bytes.HasPrefix(bytes.TrimSpace(data), []byte("{")) {
		return parseJWKs(data)
	}
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		var key crypto.PublicKey
		switch block.Type {
		case "PUBLIC KEY":
			key, err = x509.ParsePKIXPublicKey(block.Bytes)
		case "CERTIFICATE":
			var c *x509.Certificate
			if c, err = x509.ParseCertificate(block.Bytes); err == nil {
				key = c.PublicKey
			}
		default:
			err = fmt.Errorf("a block %q is no public key", block.Type)
		}
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	if keys == nil {
		return nil, errors.New("there is no public key in it: write PEM, or a JWK set")
	}
	return keys, nil
}

func parseJWKs(data []byte) (keys []crypto.PublicKey, err error) {
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(data, &set); err != nil {
		return nil, err
	}
	if set.Keys == nil {
		var one jose.JSONWebKey
		if err := json.Unmarshal(data, &one); err != nil {
			return nil, err
		}
		set.Keys = []jose.JSONWebKey{one}
	}
	for _, k := range set.Keys {
		if !k.Valid() || !k.IsPublic() {
			return nil, errors.New("a key of the set is no public key")
		}
		keys = append(keys, k.Key)
	}
	if keys == nil {
		return nil, errors.New("the set has no keys")
	}
	return keys, nil
}
