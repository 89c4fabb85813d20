package webhook

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"strconv"
	"strings"
	"time"
)

// A signer signs what is sent, as Standard Webhooks 1.0.0 says.
type signer func(content []byte) string

// newSigner reads a secret: "whsec_" and base64 of 24 to 64 bytes for HMAC-SHA256
// (v1), or "whsk_" and base64 of an Ed25519 key (v1a), as the seed of 32 bytes or
// the 64 bytes of seed and public key.
func newSigner(secret string) (signer, error) {
	kind, text, _ := strings.Cut(secret, "_")
	key, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		key, err = base64.RawStdEncoding.DecodeString(text)
	}
	switch {
	case err != nil:
	case kind == "whsec" && len(key) >= 24 && len(key) <= 64:
		return func(content []byte) string {
			h := hmac.New(sha256.New, key)
			h.Write(content)
			return "v1," + base64.StdEncoding.EncodeToString(h.Sum(nil))
		}, nil
	case kind == "whsk" && len(key) == ed25519.SeedSize:
		return edSigner(ed25519.NewKeyFromSeed(key)), nil
	case kind == "whsk" && len(key) == ed25519.PrivateKeySize:
		private := ed25519.NewKeyFromSeed(key[:ed25519.SeedSize])
		if !private.Equal(ed25519.PrivateKey(key)) {
			return nil, errors.New("the two halves of a whsk_ secret are not of one key")
		}
		return edSigner(private), nil
	}
	// The secret itself is in no error.
	return nil, errors.New("a secret must be whsec_ and base64 of 24 to 64 bytes, or whsk_ and base64 of an Ed25519 key")
}

func edSigner(key ed25519.PrivateKey) signer {
	return func(content []byte) string {
		return "v1a," + base64.StdEncoding.EncodeToString(ed25519.Sign(key, content))
	}
}

// signature is the header for a message: one part of every secret, so that a
// receiver that knows any of them can check it.
func signature(signers []signer, id string, at time.Time, body []byte) string {
	content := append([]byte(id+"."+strconv.FormatInt(at.Unix(), 10)+"."), body...)
	parts := make([]string, len(signers))
	for i, sign := range signers {
		parts[i] = sign(content)
	}
	return strings.Join(parts, " ")
}
