package idptest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"strings"
)

// opKey is a key that an OP signs with.
type opKey struct {
	kid, alg string
	signer   crypto.Signer
}

// newOPKey makes a key for alg: RS256, PS256, ES256 or EdDSA. Another name is a
// mistake of the program.
func newOPKey(alg string) opKey {
	k := opKey{kid: rand.Text()[:8], alg: alg}
	var err error
	switch alg {
	case "RS256", "PS256":
		k.signer, err = rsa.GenerateKey(rand.Reader, 2048)
	case "ES256":
		k.signer, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "EdDSA":
		_, k.signer, err = ed25519.GenerateKey(rand.Reader)
	default:
		err = fmt.Errorf("no keys for %q", alg)
	}
	if err != nil {
		panic("idptest: " + err.Error())
	}
	return k
}

// jwk is the public key, RFC 7517.
func (k opKey) jwk() map[string]any {
	m := map[string]any{"kid": k.kid, "alg": k.alg, "use": "sig"}
	switch pub := k.signer.Public().(type) {
	case *rsa.PublicKey:
		m["kty"] = "RSA"
		m["n"] = b64(pub.N.Bytes())
		m["e"] = b64(big.NewInt(int64(pub.E)).Bytes())
	case *ecdsa.PublicKey:
		point, _ := pub.Bytes() // 4, X, Y
		m["kty"], m["crv"] = "EC", "P-256"
		m["x"], m["y"] = b64(point[1:33]), b64(point[33:])
	case ed25519.PublicKey:
		m["kty"], m["crv"], m["x"] = "OKP", "Ed25519", b64(pub)
	}
	return m
}

// jws is a compact JWS (RFC 7515) over payload, signed by k whatever header says.
func (k opKey) jws(header map[string]any, payload []byte) string {
	h, _ := json.Marshal(header)
	input := b64(h) + "." + b64(payload)
	sum := sha256.Sum256([]byte(input))
	var sig []byte
	var err error
	switch key := k.signer.(type) {
	case *rsa.PrivateKey:
		if k.alg == "PS256" {
			sig, err = rsa.SignPSS(rand.Reader, key, crypto.SHA256, sum[:], &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
		} else {
			sig, err = rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum[:])
		}
	case *ecdsa.PrivateKey:
		r, s, e := ecdsa.Sign(rand.Reader, key, sum[:])
		if err = e; err == nil {
			sig = append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
		}
	case ed25519.PrivateKey:
		sig = ed25519.Sign(key, []byte(input))
	}
	if err != nil {
		panic("idptest: sign: " + err.Error())
	}
	return input + "." + b64(sig)
}

// verifyJWS checks a compact JWS by RS256, ES256 or EdDSA, as the key's kind is,
// and gives its claims.
func verifyJWS(token string, key crypto.PublicKey) (map[string]any, error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return nil, errors.New("not a compact JWS")
	}
	var raw [3][]byte
	for i, p := range parts {
		var err error
		if raw[i], err = base64.RawURLEncoding.DecodeString(p); err != nil {
			return nil, err
		}
	}
	var header struct {
		Alg string `json:"alg"`
	}
	if err := json.Unmarshal(raw[0], &header); err != nil {
		return nil, err
	}
	input := []byte(parts[0] + "." + parts[1])
	sum := sha256.Sum256(input)
	good := false
	switch pub := key.(type) {
	case *rsa.PublicKey:
		switch header.Alg {
		case "RS256":
			good = rsa.VerifyPKCS1v15(pub, crypto.SHA256, sum[:], raw[2]) == nil
		case "PS256":
			good = rsa.VerifyPSS(pub, crypto.SHA256, sum[:], raw[2], nil) == nil
		}
	case *ecdsa.PublicKey:
		good = header.Alg == "ES256" && len(raw[2]) == 64 &&
			ecdsa.Verify(pub, sum[:], new(big.Int).SetBytes(raw[2][:32]), new(big.Int).SetBytes(raw[2][32:]))
	case ed25519.PublicKey:
		good = header.Alg == "EdDSA" && ed25519.Verify(pub, input, raw[2])
	}
	if !good {
		return nil, errors.New("the signature is wrong")
	}
	claims := map[string]any{}
	return claims, json.Unmarshal(raw[1], &claims)
}

// halfHash is at_hash and c_hash: the left half of the hash that goes with alg
// (OpenID Connect Core 3.1.3.6). Ed25519 goes with SHA-512.
func halfHash(alg, s string) string {
	if alg == "EdDSA" {
		sum := sha512.Sum512([]byte(s))
		return b64(sum[:32])
	}
	sum := sha256.Sum256([]byte(s))
	return b64(sum[:16])
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }
