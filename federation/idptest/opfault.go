package idptest

import (
	"compress/gzip"
	"crypto"
	"crypto/hmac"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// An OPFault is what an OP does otherwise than it should: functions that change
// what it is about to say. What is said of the ID token
// holds of a logout token made with the fault, too. The zero OPFault changes nothing.
type OPFault struct {
	Discovery func(map[string]any) // the discovery document
	JWKS      func(map[string]any) // the key set
	Redirect  func(url.Values)     // the authorization response
	Response  func(map[string]any) // the token response

	Claims          func(map[string]any)                                       // of the ID token
	Payload         func([]byte) []byte                                        // the ID token's JSON
	Header          func(map[string]any)                                       // the ID token's header
	Sign            func(op *OP, header map[string]any, payload []byte) string // instead of signing
	UserInfo        func(map[string]any)                                       // the userinfo answer
	UserInfoPayload func([]byte) []byte                                        // its JSON
	SignedUserInfo  bool                                                       // answer as application/jwt

	// Serve takes over endpoints: discovery, jwks, authorize, token, userinfo.
	// What is here counts for faults of the whole provider only.
	Serve map[string]http.HandlerFunc
}

// With is both faults, f first; where only one can be, it is g's.
func (f OPFault) With(g OPFault) OPFault {
	out := OPFault{
		Discovery:       both(f.Discovery, g.Discovery),
		JWKS:            both(f.JWKS, g.JWKS),
		Redirect:        both(f.Redirect, g.Redirect),
		Response:        both(f.Response, g.Response),
		Claims:          both(f.Claims, g.Claims),
		Header:          both(f.Header, g.Header),
		UserInfo:        both(f.UserInfo, g.UserInfo),
		Payload:         f.Payload,
		UserInfoPayload: f.UserInfoPayload,
		Sign:            f.Sign,
		SignedUserInfo:  f.SignedUserInfo || g.SignedUserInfo,
		Serve:           f.Serve,
	}
	if g.Payload != nil {
		out.Payload = g.Payload
	}
	if g.UserInfoPayload != nil {
		out.UserInfoPayload = g.UserInfoPayload
	}
	if g.Sign != nil {
		out.Sign = g.Sign
	}
	if len(g.Serve) > 0 {
		out.Serve = maps.Clone(g.Serve)
		for endpoint, h := range f.Serve {
			if out.Serve[endpoint] == nil {
				out.Serve[endpoint] = h
			}
		}
	}
	return out
}

func both[M any](f, g func(M)) func(M) {
	switch {
	case f == nil:
		return g
	case g == nil:
		return f
	}
	return func(m M) { f(m); g(m) }
}

// OPSays has the ID token say value under name; OPOmits leaves it out.
func OPSays(name string, value any) OPFault {
	return OPFault{Claims: func(c map[string]any) { c[name] = value }}
}

// OPOmits leaves name out of the ID token.
func OPOmits(name string) OPFault {
	return OPFault{Claims: func(c map[string]any) { delete(c, name) }}
}

// OPHeader has the ID token's header say value under name; nil: nothing.
func OPHeader(name string, value any) OPFault {
	return OPFault{Header: func(h map[string]any) {
		if h[name] = value; value == nil {
			delete(h, name)
		}
	}}
}

// OPWrongIssuer: the ID token says it is by somebody else.
func OPWrongIssuer(iss string) OPFault { return OPSays("iss", iss) }

// OPWrongAudience: the ID token is for another client.
func OPWrongAudience() OPFault { return OPSays("aud", "another-client") }

// OPTwoAudiences: the ID token is for another client too, and does not say
// which one it was issued to.
func OPTwoAudiences() OPFault {
	return OPFault{Claims: func(c map[string]any) { c["aud"] = []any{c["aud"], "another-client"}; delete(c, "azp") }}
}

// OPNoNonce and OPOtherNonce: the ID token is not bound to the sign-in.
func OPNoNonce() OPFault { return OPOmits("nonce") }

// OPOtherNonce binds the ID token to another sign-in.
func OPOtherNonce() OPFault { return OPSays("nonce", "of-another-sign-in") }

// OPAge moves iat, exp and auth_time by d.
func OPAge(d time.Duration) OPFault {
	return OPFault{Claims: func(c map[string]any) {
		for _, n := range []string{"iat", "exp", "auth_time"} {
			c[n] = c[n].(int64) + int64(d/time.Second)
		}
	}}
}

// OPAlgNone: the ID token is not signed, and says so as spelled: none, None, nOnE.
func OPAlgNone(spelled string) OPFault {
	return OPFault{Sign: func(_ *OP, h map[string]any, payload []byte) string {
		h["alg"] = spelled
		head, _ := json.Marshal(h)
		return b64(head) + "." + b64(payload) + "."
	}}
}

// OPNoSignature: the header is as it should be, the signature is empty.
func OPNoSignature() OPFault {
	return OPFault{Sign: func(op *OP, h map[string]any, payload []byte) string {
		token := op.signingKey().jws(h, payload)
		return token[:strings.LastIndexByte(token, '.')+1]
	}}
}

// OPBadSignature: one bit of the signature is another.
func OPBadSignature() OPFault {
	return OPFault{Sign: func(op *OP, h map[string]any, payload []byte) string {
		token := op.signingKey().jws(h, payload)
		i := strings.LastIndexByte(token, '.') + 10
		flip := byte('A')
		if token[i] == flip {
			flip = 'B'
		}
		return token[:i] + string(flip) + token[i+1:]
	}}
}

// OPForeignKey: the ID token is signed with a key that is not the provider's,
// under the kid of one that is (if kid is empty) or under kid.
func OPForeignKey(alg, kid string) OPFault {
	other := newOPKey(alg)
	return OPFault{Sign: func(op *OP, h map[string]any, payload []byte) string {
		h["alg"] = alg
		if kid != "" {
			h["kid"] = kid
		}
		return other.jws(h, payload)
	}}
}

// OPKeyInHeader: the ID token brings its own key along: as jwk, and under the
// address at, as jku and x5u.
func OPKeyInHeader(at string) OPFault {
	other := newOPKey("ES256")
	return OPFault{Sign: func(_ *OP, h map[string]any, payload []byte) string {
		h["alg"], h["kid"], h["jwk"], h["jku"], h["x5u"] = "ES256", other.kid, other.jwk(), at, at
		return other.jws(h, payload)
	}}
}

// OPHS256 signs with HMAC and secret; if that is empty, with the public key of
// the provider in PEM (OPHS256WithPublicKey).
func OPHS256(secret string) OPFault {
	return OPFault{Sign: func(op *OP, h map[string]any, payload []byte) string {
		key := []byte(secret)
		if secret == "" {
			der, _ := x509.MarshalPKIXPublicKey(op.signingKey().signer.Public())
			key = pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
		}
		h["alg"] = "HS256"
		head, _ := json.Marshal(h)
		input := b64(head) + "." + b64(payload)
		mac := hmac.New(sha256.New, key)
		_, _ = io.WriteString(mac, input)
		return input + "." + b64(mac.Sum(nil))
	}}
}

// OPHS256WithPublicKey is the algorithm swap of old: the public key as a secret.
func OPHS256WithPublicKey() OPFault { return OPHS256("") }

// OPSmallKey signs with an RSA key of 1024 bits that it publishes.
func OPSmallKey(key *rsa.PrivateKey) OPFault {
	small := opKey{kid: "small", alg: "RS256", signer: key}
	return OPFault{
		JWKS: func(doc map[string]any) { doc["keys"] = []any{small.jwk()} },
		Sign: func(_ *OP, h map[string]any, payload []byte) string {
			h["alg"], h["kid"] = "RS256", "small"
			return small.jws(h, payload)
		},
	}
}

// OPToken gives token in place of the ID token.
func OPToken(token string) OPFault {
	return OPFault{Sign: func(*OP, map[string]any, []byte) string { return token }}
}

// OPPayload signs text in place of the claims; %s in it is what they were,
// without the outer braces.
func OPPayload(text string) OPFault {
	return OPFault{Payload: func(b []byte) []byte {
		return []byte(strings.ReplaceAll(text, "%s", string(b[1:len(b)-1])))
	}}
}

// OPDuplicateClaims: the ID token says name twice, our person's first.
func OPDuplicateClaims(name, second string) OPFault {
	v, _ := json.Marshal(second)
	return OPPayload(`{%s,"` + name + `":` + string(v) + `}`)
}

// OPUserinfoOtherSub: the userinfo answer is about somebody else.
func OPUserinfoOtherSub() OPFault {
	return OPFault{UserInfo: func(c map[string]any) { c["sub"] = "somebody-else" }}
}

// OPUserinfoSays has the userinfo answer say all of m.
func OPUserinfoSays(m map[string]any) OPFault {
	return OPFault{UserInfo: func(c map[string]any) { maps.Copy(c, m) }}
}

// OPGroupsOverage: as Entra ID does for people in many groups, the ID token says
// where the groups are instead of which.
func OPGroupsOverage(endpoint string) OPFault {
	return OPFault{Claims: func(c map[string]any) {
		delete(c, "groups")
		c["_claim_names"] = map[string]any{"groups": "src1"}
		c["_claim_sources"] = map[string]any{"src1": map[string]any{"endpoint": endpoint}}
	}, UserInfo: func(c map[string]any) { delete(c, "groups") }}
}

// OPRedirectSays changes the authorization response; an empty value takes the
// parameter out.
func OPRedirectSays(name, value string) OPFault {
	return OPFault{Redirect: func(v url.Values) {
		if v.Set(name, value); value == "" {
			v.Del(name)
		}
	}}
}

// OPServes has h answer at endpoint: discovery, jwks, authorize, token, userinfo.
func OPServes(endpoint string, h http.HandlerFunc) OPFault {
	return OPFault{Serve: map[string]http.HandlerFunc{endpoint: h}}
}

// OPHugeBody answers with n bytes of JSON, each sent as long as somebody reads.
func OPHugeBody(endpoint string, n int64) OPFault {
	return OPServes(endpoint, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"a":"`)
		_, _ = io.CopyN(w, filler{}, n)
		_, _ = io.WriteString(w, `"}`)
	})
}

// OPGzipBomb answers with few bytes that unpack to n.
func OPGzipBomb(endpoint string, n int64) OPFault {
	return OPServes(endpoint, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		_, _ = io.WriteString(z, `{"a":"`)
		_, _ = io.CopyN(z, filler{}, n)
		_, _ = io.WriteString(z, `"}`)
		_ = z.Close()
	})
}

// OPSlow answers a byte every pause, until the other side leaves.
func OPSlow(endpoint string, pause time.Duration) OPFault {
	return OPServes(endpoint, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		for {
			select {
			case <-r.Context().Done():
				return
			case <-time.After(pause):
				if _, err := io.WriteString(w, " "); err != nil {
					return
				}
				_ = http.NewResponseController(w).Flush()
			}
		}
	})
}

// OPRedirects answers with status and the address to.
func OPRedirects(endpoint string, status int, to string) OPFault {
	return OPServes(endpoint, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", to)
		w.WriteHeader(status)
	})
}

// OPAnswers answers with status, a content type and a body.
func OPAnswers(endpoint string, status int, contentType, body string) OPFault {
	return OPServes(endpoint, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	})
}

// SigningKey is the key that ID tokens are checked with.
func (op *OP) SigningKey() crypto.PublicKey { return op.signingKey().signer.Public() }

func (op *OP) signingKey() opKey {
	op.mu.Lock()
	defer op.mu.Unlock()
	return op.keys[0]
}

// filler reads as the letter a for ever.
type filler struct{}

func (filler) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = 'a'
	}
	return len(b), nil
}

// OPAgeOf moves one claim that is a time by d.
func OPAgeOf(name string, d time.Duration) OPFault {
	return OPFault{Claims: func(c map[string]any) { c[name] = c[name].(int64) + int64(d/time.Second) }}
}
