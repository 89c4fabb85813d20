// The test of small RSA keys needs one.
//go:debug rsa1024min=0

package oidc_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gatehouse-sso/gatehouse/federation"
	"github.com/gatehouse-sso/gatehouse/federation/federationtest"
	"github.com/gatehouse-sso/gatehouse/federation/idptest"
	"github.com/gatehouse-sso/gatehouse/federation/oidc"
)

// signIn is one whole sign-in of alice.
func (w *world) signIn() (federation.Identity, error) { return w.signInAs("alice", federation.Login{}) }

func (w *world) signInAs(user string, l federation.Login) (federation.Identity, error) {
	w.t.Helper()
	c, p, err := w.Begin(w.t.Context(), l)
	if err != nil {
		return federation.Identity{}, err
	}
	return w.Finish(w.browse(w.t, c, federationtest.Act{User: user}), p)
}

// accepts is the positive control.
func (w *world) accepts() federation.Identity {
	w.t.Helper()
	id, err := w.signIn()
	if err != nil {
		w.t.Fatalf("honest sign-in was refused: %v", err)
	}
	if id.Ref != (federation.Ref{Issuer: w.cfg.Issuer, Subject: idptest.Campus()[0].ID}) {
		w.t.Fatalf("honest sign-in of alice became %v", id.Ref)
	}
	return id
}

// refuses checks that a sign-in in which the provider does f is refused with
// code, and that the same one is accepted as soon as the provider behaves.
func (w *world) refuses(code string, f idptest.OPFault) {
	w.t.Helper()
	w.op.Misbehave(f)
	id, err := w.signIn()
	w.op.Misbehave(idptest.OPFault{})
	wantRefusal(w.t, id, err, code)
	w.clock.Advance(2 * time.Minute) // whatever was fetched in vain may be fetched again
	w.accepts()
}

func wantRefusal(t *testing.T, id federation.Identity, err error, code string) {
	t.Helper()
	if err == nil {
		t.Errorf("accepted as %v, want %s", id.Ref, code)
		return
	}
	var ref *federation.Refusal
	if !errors.As(err, &ref) || ref.Code != code {
		t.Errorf("refused with %v, want %s", err, code)
		return
	}
	if oidc.Reasons[code] == "" && federation.Reasons[code] == "" {
		t.Errorf("%s is in no table", code)
	}
	if len(err.Error()) > 1024 || strings.ContainsAny(err.Error(), "<>\r\n") {
		t.Errorf("not fit for a log line: %q", err)
	}
	if diff := cmp.Diff(federation.Identity{}, id); diff != "" {
		t.Errorf("refused, but with an identity: %s", diff)
	}
}

// OIDF: oidcc-client-test, -idtoken-sig-rs256, -client-secret-basic,
// -scope-userinfo-claims, -userinfo-bearer-header, -kid-absent-single-jwks,
// -nonce-unless-code-flow, -missing-athash, -discovery-openid-config,
// -discovery-jwks-uri-keys.
func TestO01_HonestProvidersAreUnderstood(t *testing.T) {
	t.Parallel()
	for _, alg := range []string{"RS256", "PS256", "ES256", "EdDSA"} {
		t.Run(alg, func(t *testing.T) {
			t.Parallel()
			newWorld(t, setup{op: func(c *idptest.OPConfig) { c.Algorithm = alg }}).accepts()
		})
	}
	for name, f := range map[string]idptest.OPFault{
		"no kid, one key":          idptest.OPHeader("kid", nil),
		"no at_hash":               idptest.OPOmits("at_hash"),
		"no typ":                   idptest.OPHeader("typ", nil),
		"typ as a media type":      idptest.OPHeader("typ", "application/JWT"),
		"azp is us":                idptest.OPSays("azp", "gate:house"),
		"audience is a list of us": idptest.OPSays("aud", []string{"gate:house"}),
		"two audiences, azp is us": {Claims: func(c map[string]any) { c["aud"], c["azp"] = []string{"other", "gate:house"}, "gate:house" }},
		"no auth_time":             idptest.OPOmits("auth_time"),
		"times with fractions":     {Claims: func(c map[string]any) { c["exp"] = float64(c["exp"].(int64)) + 0.5 }},
		"keys of unknown kinds": {JWKS: func(d map[string]any) {
			d["keys"] = append([]map[string]any{{"kty": "OKP", "crv": "X448", "x": "AA"}, {"kty": "future"}, {"kty": "oct", "k": "AAAA", "kid": "h"}}, d["keys"].([]map[string]any)...)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, setup{})
			w.op.Misbehave(f)
			w.accepts()
		})
	}
	t.Run("claims in the ID token alone", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, setup{op: func(c *idptest.OPConfig) { c.ClaimsInIDToken = true }, rp: func(c *oidc.Config) { c.UserInfo = oidc.Never }})
		if id := w.accepts(); id.Attributes["email"][0] != "alice@campus.example" {
			t.Errorf("email = %q", id.Attributes["email"])
		}
		if n := w.op.Count("userinfo"); n != 0 {
			t.Errorf("userinfo was asked %d times", n)
		}
	})
	t.Run("userinfo not needed", func(t *testing.T) {
		t.Parallel()
		for name, c := range map[string]struct {
			reads []string
			when  oidc.UserInfo
			token func(map[string]any)
			login federation.Login
			asked bool
		}{
			"all that is read is said":  {reads: []string{"email", "groups"}},
			"all, even if it is empty":  {reads: []string{"nickname"}, token: func(c map[string]any) { c["nickname"] = "" }},
			"nobody says what is read":  {asked: true},
			"a part of what is read":    {reads: []string{"email", "groups"}, token: func(c map[string]any) { delete(c, "groups") }, asked: true},
			"null is not said":          {reads: []string{"email"}, token: func(c map[string]any) { c["email"] = nil }, asked: true},
			"what nobody has":           {reads: []string{"email", "locker"}, asked: true},
			"all is wanted for a look":  {reads: []string{"email"}, login: federation.Login{All: true}, asked: true},
			"the configuration says so": {reads: []string{"email"}, when: oidc.Always, asked: true},
		} {
			w := newWorld(t, setup{op: func(c *idptest.OPConfig) { c.ClaimsInIDToken = true }, rp: func(rp *oidc.Config) { rp.Reads, rp.UserInfo = c.reads, c.when }})
			w.op.Misbehave(idptest.OPFault{Claims: c.token})
			challenge, pending, err := w.Begin(t.Context(), c.login)
			if err != nil {
				t.Fatal(err)
			}
			id, err := w.Finish(w.browse(t, challenge, federationtest.Act{User: "alice"}), pending)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if got := w.op.Count("userinfo") > 0; got != c.asked {
				t.Errorf("%s: userinfo was asked: %v", name, got)
			}
			if _, said := id.Attributes["email"]; !said {
				t.Errorf("%s: nobody said email", name)
			}
		}
	})
	t.Run("userinfo signed", func(t *testing.T) { // oidcc-client-test-userinfo-signed
		t.Parallel()
		w := newWorld(t, setup{})
		w.op.Misbehave(idptest.OPFault{SignedUserInfo: true})
		w.accepts()
		w.refuses(oidc.ReasonUserInfo, idptest.OPFault{SignedUserInfo: true, UserInfo: func(c map[string]any) { c["iss"] = "https://other.example" }})
		w.refuses(oidc.ReasonUserInfo, idptest.OPFault{SignedUserInfo: true, UserInfo: func(c map[string]any) { c["aud"] = "other" }})
	})
}

// OIDF: oidcc-client-test-invalid-iss.
func TestO02_WrongIssuerIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	for _, iss := range []any{
		"https://evil.example", "https://op.example/", "https://OP.example", "http://op.example", "https://op.example:443",
		" https://op.example", "https://op.example\n", "op.example", "", nil, 1, []string{"https://op.example"},
	} {
		w.refuses(oidc.ReasonIssuer, idptest.OPSays("iss", iss))
	}
	w.refuses(oidc.ReasonIssuer, idptest.OPOmits("iss"))
}

// go-oidc takes this issuer with or without its scheme; we do not.
func TestO02_GooglesIssuerWithoutSchemeIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{host: "accounts.google.com"})
	w.refuses(oidc.ReasonIssuer, idptest.OPWrongIssuer("accounts.google.com"))
}

// OIDF: oidcc-client-test-invalid-aud, -missing-aud.
func TestO03_WrongAudienceIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	w.refuses(oidc.ReasonAudience, idptest.OPWrongAudience())
	for _, aud := range []any{
		[]string{"other"}, []string{}, "", nil, "GATE:HOUSE", "gate:house ", []any{"gate:house", 1}, map[string]any{"gate:house": true}, []any{[]string{"gate:house"}},
	} {
		w.refuses(oidc.ReasonAudience, idptest.OPSays("aud", aud))
	}
	w.refuses(oidc.ReasonAudience, idptest.OPOmits("aud"))
}

func TestO04_SeveralAudiencesNeedAzp(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	w.refuses(oidc.ReasonAZP, idptest.OPTwoAudiences())
	w.refuses(oidc.ReasonAZP, idptest.OPSays("azp", "other"))
	w.refuses(oidc.ReasonAZP, idptest.OPSays("azp", nil))
	w.refuses(oidc.ReasonAZP, idptest.OPSays("azp", []string{"gate:house"}))
	w.refuses(oidc.ReasonAZP, idptest.OPFault{Claims: func(c map[string]any) { c["aud"], c["azp"] = []string{"gate:house", "other"}, "other" }})
}

func TestO05_IncompleteConfigurationIsRefused(t *testing.T) {
	t.Parallel()
	good := oidc.Config{ID: "campus", Issuer: "https://op.example", ClientID: "c", Secret: "s", RedirectURL: "https://gate.example/cb"}
	if _, err := oidc.New(good); err != nil {
		t.Fatalf("positive control: %v", err)
	}
	_, key, _ := ed25519.GenerateKey(rand.Reader)
	p384, _ := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	for name, tt := range map[string]struct {
		change func(*oidc.Config)
		says   string
	}{
		"no client ID":          {func(c *oidc.Config) { c.ClientID = "" }, "no client ID"},
		"no ID":                 {func(c *oidc.Config) { c.ID = "" }, "no ID"},
		"no issuer":             {func(c *oidc.Config) { c.Issuer = "" }, "issuer"},
		"plain http":            {func(c *oidc.Config) { c.Issuer = "http://op.example" }, "https"},
		"issuer with a query":   {func(c *oidc.Config) { c.Issuer += "?a=b" }, "query"},
		"issuer with a user":    {func(c *oidc.Config) { c.Issuer = "https://u@op.example" }, "web address"},
		"no redirect address":   {func(c *oidc.Config) { c.RedirectURL = "" }, "redirect address"},
		"no secret":             {func(c *oidc.Config) { c.Secret = "" }, "secret"},
		"secret, but none":      {func(c *oidc.Config) { c.AuthMethod = oidc.None }, "none"},
		"no key":                {func(c *oidc.Config) { c.AuthMethod = oidc.PrivateKeyJWT }, "key"},
		"key and secret":        {func(c *oidc.Config) { c.Key = key }, "no secret"},
		"key of another curve":  {func(c *oidc.Config) { c.Key, c.Secret = p384, "" }, "P-256"},
		"unknown method":        {func(c *oidc.Config) { c.AuthMethod = "tls" }, "not known"},
		"alg none":              {func(c *oidc.Config) { c.Algorithms = []string{"RS256", "none"} }, "none"},
		"alg HS256":             {func(c *oidc.Config) { c.Algorithms = []string{"HS256"} }, "HS256"},
		"no algorithm":          {func(c *oidc.Config) { c.Algorithms = []string{} }, "empty"},
		"wide skew":             {func(c *oidc.Config) { c.Skew = time.Hour }, "5m"},
		"parameter of ours":     {func(c *oidc.Config) { c.Params = map[string]string{"redirect_uri": "https://evil.example"} }, "redirect_uri"},
		"unknown userinfo":      {func(c *oidc.Config) { c.UserInfo = "sometimes" }, "sometimes"},
		"groups from plain web": {func(c *oidc.Config) { c.GroupsURL = "http://graph.example" }, "https"},
	} {
		cfg := good
		tt.change(&cfg)
		if _, err := oidc.New(cfg); err == nil || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %v, want a sentence about %q", name, err, tt.says)
		}
	}
	_, err := oidc.New(oidc.Config{})
	for _, want := range []string{"no ID", "issuer", "redirect address", "client ID", "secret"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("not every mistake at once: %q is missing in %v", want, err)
		}
	}
	for _, issuer := range []string{"http://localhost:8081", "http://campus.localhost", "http://127.0.0.1:1", "http://[::1]:1"} {
		cfg := good
		cfg.Issuer = issuer
		if _, err := oidc.New(cfg); err != nil {
			t.Errorf("loopback: %v", err)
		}
	}
}

// OIDF: oidcc-client-test-missing-sub, -missing-iat.
func TestO06_MissingClaimsAreRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	w.refuses(federation.ReasonClaims, idptest.OPOmits("sub"))
	w.refuses(oidc.ReasonIssuedAt, idptest.OPOmits("iat"))
	w.refuses(oidc.ReasonExpired, idptest.OPOmits("exp"))
	for _, v := range []any{"1", nil, true, -1, 1e300, []int{1}} {
		w.refuses(oidc.ReasonExpired, idptest.OPSays("exp", v))
		w.refuses(oidc.ReasonIssuedAt, idptest.OPSays("iat", v))
		w.refuses(oidc.ReasonIssuedAt, idptest.OPSays("nbf", v))
	}
}

func TestO06_TimesAreHeldWithinTheSkew(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	now := w.clock.Now().Unix()
	set := func(m map[string]any) idptest.OPFault {
		return idptest.OPFault{Claims: func(c map[string]any) { maps.Copy(c, m) }}
	}
	for _, tt := range []struct {
		name  string
		after int64
		want  string
	}{
		{"exp", -59, ""}, {"exp", -60, oidc.ReasonExpired}, {"exp", -3600, oidc.ReasonExpired},
		{"iat", 60, ""}, {"iat", 61, oidc.ReasonIssuedAt},
		{"nbf", 60, ""}, {"nbf", 61, oidc.ReasonIssuedAt},
		{"auth_time", 60, ""}, {"auth_time", 61, oidc.ReasonIssuedAt},
	} {
		w.op.Misbehave(set(map[string]any{tt.name: now + tt.after}))
		id, err := w.signIn()
		if tt.want != "" {
			wantRefusal(t, id, err, tt.want)
		} else if err != nil {
			t.Errorf("%s %+d s: %v", tt.name, tt.after, err)
		}
	}
	w.refuses(oidc.ReasonExpired, idptest.OPAge(-time.Hour))
	w.refuses(oidc.ReasonIssuedAt, idptest.OPAge(time.Hour))
}

// OIDF: oidcc-client-test-idtoken-sig-none.
func TestO07_UnsignedIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	for _, alg := range []string{"none", "None", "nOnE", "NONE", "", "none "} {
		w.refuses(oidc.ReasonAlgorithm, idptest.OPAlgNone(alg))
	}
	w.refuses(oidc.ReasonSignature, idptest.OPNoSignature())
	w.refuses(oidc.ReasonAlgorithm, idptest.OPHeader("alg", nil))
	w.refuses(oidc.ReasonAlgorithm, idptest.OPHeader("alg", []string{"ES256"}))
	w.refuses(oidc.ReasonToken, idptest.OPFault{Sign: func(_ *idptest.OP, _ map[string]any, payload []byte) string {
		// The name of the algorithm twice: what one reader checks, another ignores.
		return base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"ES256","alg":"none"}`)) + "." + base64.RawURLEncoding.EncodeToString(payload) + "."
	}})
}

// OIDF: oidcc-client-test-invalid-sig-hs256.
func TestO08_HMACIsRefused(t *testing.T) {
	t.Parallel()
	for _, alg := range []string{"RS256", "ES256"} {
		w := newWorld(t, setup{op: func(c *idptest.OPConfig) { c.Algorithm = alg }})
		w.refuses(oidc.ReasonAlgorithm, idptest.OPHS256WithPublicKey())
		w.refuses(oidc.ReasonAlgorithm, idptest.OPHS256(secret))
		f := idptest.OPHS256(secret)
		f.JWKS = func(d map[string]any) {
			d["keys"] = append(d["keys"].([]map[string]any), map[string]any{"kty": "oct", "alg": "HS256", "k": base64.RawURLEncoding.EncodeToString([]byte(secret))})
		}
		w.refuses(oidc.ReasonAlgorithm, f)
	}
}

// OIDF: oidcc-client-test-invalid-sig-rs256, -invalid-sig-es256.
func TestO09_WrongSignatureIsRefused(t *testing.T) {
	t.Parallel()
	for _, alg := range []string{"RS256", "PS256", "ES256", "EdDSA"} {
		t.Run(alg, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, setup{op: func(c *idptest.OPConfig) { c.Algorithm = alg }})
			w.refuses(oidc.ReasonSignature, idptest.OPBadSignature())
			w.refuses(oidc.ReasonSignature, idptest.OPForeignKey(alg, ""))
			w.refuses(oidc.ReasonSignature, idptest.OPForeignKey("EdDSA", ""))
		})
	}
	t.Run("algorithm not on the list", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, setup{rp: func(c *oidc.Config) { c.Algorithms = []string{"RS256"} }})
		id, err := w.signIn()
		wantRefusal(t, id, err, oidc.ReasonAlgorithm)
		w.op.Rotate("RS256", 0)
		w.accepts()
	})
	t.Run("key of 1024 bits", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, setup{})
		w.refuses(federation.ReasonUnavailable, idptest.OPSmallKey(smallKey(t)))
	})
	t.Run("key for encryption, key for another algorithm", func(t *testing.T) {
		t.Parallel()
		for name, v := range map[string]string{"use": "enc", "alg": "ES384"} {
			w := newWorld(t, setup{})
			w.op.Misbehave(idptest.OPFault{JWKS: func(d map[string]any) { d["keys"].([]map[string]any)[0][name] = v }})
			if id, err := w.signIn(); err == nil {
				t.Errorf("%s %s: accepted as %v", name, v, id.Ref)
			}
		}
	})
}

// OIDF: oidcc-client-test-kid-absent-multiple-jwks. Accepted if one key fits.
func TestO10_WithoutKidAnyPublishedKeyMayFit(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	w.op.Rotate("RS256", 2)
	w.op.Rotate("ES256", 2)
	w.op.Misbehave(idptest.OPHeader("kid", nil))
	w.accepts()
	f := idptest.OPForeignKey("ES256", "")
	f.Header = func(h map[string]any) { delete(h, "kid") }
	w.refuses(oidc.ReasonSignature, f)
}

func TestO11_KeysInTheHeaderAreIgnored(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	w.accepts()
	hits := 0
	w.net.Serve(t, "canary.example", http.HandlerFunc(func(http.ResponseWriter, *http.Request) { hits++ }))
	w.refuses(oidc.ReasonSignature, idptest.OPKeyInHeader("https://canary.example/jwks"))
	for _, kid := range []string{"../../x", "https://canary.example/k", "'; --", strings.Repeat("k", 100_000), "\x00"} {
		w.refuses(oidc.ReasonSignature, idptest.OPForeignKey("ES256", kid))
	}
	w.refuses(oidc.ReasonToken, idptest.OPHeader("crit", []string{"exp"}))
	if hits != 0 {
		t.Errorf("the address in the header was visited %d times", hits)
	}
}

// OIDF: oidcc-client-test-nonce-invalid.
func TestO12_NonceMustFit(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	w.refuses(oidc.ReasonNonce, idptest.OPNoNonce())
	w.refuses(oidc.ReasonNonce, idptest.OPOtherNonce())
	w.refuses(oidc.ReasonNonce, idptest.OPSays("nonce", ""))
	w.refuses(oidc.ReasonNonce, idptest.OPSays("nonce", nil))
	w.refuses(oidc.ReasonNonce, idptest.OPFault{Claims: func(c map[string]any) { c["nonce"] = []any{c["nonce"]} }})
	w.refuses(oidc.ReasonNonce, idptest.OPFault{Claims: func(c map[string]any) { delete(c, "nonce"); c["nonce_supported"] = false }})

	// The nonce of another tab of the same person.
	_, other, err := w.Begin(t.Context(), federation.Login{})
	if err != nil {
		t.Fatal(err)
	}
	w.refuses(oidc.ReasonNonce, idptest.OPSays("nonce", other.Keep["n"]))
}

// OIDF: oidcc-client-test-invalid-athash, -invalid-chash, -missing-chash.
func TestO13_HashesMustFitWherePresent(t *testing.T) {
	t.Parallel()
	for _, alg := range []string{"ES256", "EdDSA"} {
		w := newWorld(t, setup{op: func(c *idptest.OPConfig) { c.Algorithm = alg }})
		w.accepts() // bears an at_hash
		for _, v := range []any{"x", "", nil, 1} {
			w.refuses(oidc.ReasonHash, idptest.OPSays("at_hash", v))
			w.refuses(oidc.ReasonHash, idptest.OPSays("c_hash", v))
		}
		w.refuses(oidc.ReasonHash, idptest.OPFault{Response: func(d map[string]any) { d["access_token"] = "another" }})
	}
}

// OIDF: oidcc-client-test-userinfo-invalid-sub.
func TestO14_UserinfoAboutSomebodyElseIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	w.refuses(oidc.ReasonUserInfo, idptest.OPUserinfoOtherSub())
	for _, sub := range []any{nil, "", 1, strings.ToUpper(idptest.Campus()[0].ID), idptest.Campus()[1].ID} {
		w.refuses(oidc.ReasonUserInfo, idptest.OPUserinfoSays(map[string]any{"sub": sub}))
	}
	w.refuses(oidc.ReasonUserInfo, idptest.OPFault{UserInfo: func(c map[string]any) { delete(c, "sub") }})
	w.refuses(oidc.ReasonUserInfo, idptest.OPFault{UserInfoPayload: func(b []byte) []byte {
		return []byte(strings.Replace(string(b), "{", `{"sub":"somebody-else",`, 1))
	}})
	w.refuses(oidc.ReasonUserInfo, idptest.OPAnswers("userinfo", 401, "text/plain", "no"))
	w.refuses(oidc.ReasonUserInfo, idptest.OPAnswers("userinfo", 200, "text/html", "<h1>hello</h1>"))
	w.refuses(federation.ReasonUnavailable, idptest.OPAnswers("userinfo", 503, "text/plain", "later"))
}

// OIDF: oidcc-client-test-discovery-issuer-mismatch.
func TestO15_MetadataOfAnotherIssuerIsRefused(t *testing.T) {
	t.Parallel()
	for _, iss := range []any{"https://evil.example", "https://op.example/", "http://op.example", "", nil} {
		w := newWorld(t, setup{})
		w.op.Misbehave(idptest.OPFault{Discovery: func(d map[string]any) { d["issuer"] = iss }})
		_, err := w.signIn()
		if !errors.Is(err, federation.ErrUnavailable) {
			t.Errorf("issuer %v: %v, want ErrUnavailable", iss, err)
		}
		w.op.Misbehave(idptest.OPFault{})
		w.clock.Advance(6 * time.Second)
		w.accepts()

		// On a refresh the last good one is kept.
		w.clock.Advance(2 * time.Hour)
		w.op.Misbehave(idptest.OPFault{Discovery: func(d map[string]any) {
			d["issuer"], d["token_endpoint"] = iss, "https://evil.example/token"
		}})
		before := w.op.Count("discovery")
		w.accepts()
		if n := w.op.Count("discovery"); n != before+1 {
			t.Errorf("%d refreshes, want 1", n-before)
		}
	}
}

// go-oidc reads names in any case.
func TestO15_IssuerUnderAnotherNameIsNone(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	w.op.Misbehave(idptest.OPFault{Discovery: func(d map[string]any) { d["ISSUER"] = d["issuer"]; delete(d, "issuer") }})
	if _, err := w.signIn(); !errors.Is(err, federation.ErrUnavailable) {
		t.Errorf("%v, want ErrUnavailable", err)
	}
}

func TestO15_UnsafeEndpointsAreRefused(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"authorization_endpoint", "token_endpoint", "jwks_uri", "userinfo_endpoint"} {
		for _, v := range []any{"http://op.example/x", "javascript:alert(1)", "//op.example", "https://u:p@op.example/", "file:///etc/passwd", "https://op.example/#f", 1} {
			w := newWorld(t, setup{rp: func(c *oidc.Config) { c.UserInfo = oidc.Always }})
			w.op.Misbehave(idptest.OPFault{Discovery: func(d map[string]any) { d[name] = v }})
			if _, err := w.signIn(); !errors.Is(err, federation.ErrUnavailable) {
				t.Errorf("%s = %v: %v, want ErrUnavailable", name, v, err)
			}
		}
	}
	newWorld(t, setup{}).accepts()
}

// OIDF: oidcc-client-test-signing-key-rotation, -signing-key-rotation-just-before-signing.
func TestO16_KeyRotationIsFollowed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	w.accepts()
	w.op.Rotate("ES256", 0) // a moment after the keys were fetched
	w.accepts()
	if n := w.op.Count("jwks"); n != 2 {
		t.Errorf("keys were fetched %d times, want 2", n)
	}
	for range 3 {
		w.clock.Advance(time.Minute)
		c, p, err := w.Begin(t.Context(), federation.Login{})
		if err != nil {
			t.Fatal(err)
		}
		r := w.browse(t, c, federationtest.Act{User: "alice"})
		w.op.Rotate("RS256", 1) // between the person's sign-in and the token
		if _, err := w.Finish(r, p); err != nil {
			t.Errorf("rotation just before signing: %v", err)
		}
	}
	// A key that the provider has withdrawn serves no longer than an hour.
	old := idptest.OPForeignKey("ES256", "withdrawn")
	old.JWKS = nil
	w.clock.Advance(time.Hour + time.Second)
	before := w.op.Count("jwks")
	w.accepts()
	if n := w.op.Count("jwks"); n != before+1 {
		t.Errorf("keys an hour old were fetched %d times, want once", n-before)
	}
}

func TestO17_StateMustBeThatOfThisSignInAndRecent(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	c, p, _ := w.Begin(t.Context(), federation.Login{})
	r := w.browse(t, c, federationtest.Act{User: "alice"})
	tokens := w.op.Count("token")
	for _, state := range []string{"", "x", p.State + "x", strings.ToLower(p.State), p.State[:len(p.State)-1]} {
		bad := r.Clone(t.Context())
		q := r.URL.Query()
		q.Set("state", state)
		bad.URL.RawQuery = q.Encode()
		id, err := w.Finish(bad, p)
		wantRefusal(t, id, err, federation.ReasonStateUnknown)
	}
	w.clock.Advance(oidc.Lifetime + time.Second)
	id, err := w.Finish(r, p)
	wantRefusal(t, id, err, federation.ReasonStateExpired)
	if n := w.op.Count("token"); n != tokens {
		t.Errorf("the code was redeemed %d times before the state was checked", n-tokens)
	}
	w.accepts()
}

func TestO18_CodeOfAnotherSignInIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	c1, _, _ := w.Begin(t.Context(), federation.Login{})
	c2, victim, _ := w.Begin(t.Context(), federation.Login{})
	attacker := w.browse(t, c1, federationtest.Act{User: "bob"})
	r := w.browse(t, c2, federationtest.Act{User: "alice"})
	q := r.URL.Query()
	q.Set("code", attacker.URL.Query().Get("code"))
	r.URL.RawQuery = q.Encode()
	id, err := w.Finish(r, victim)
	wantRefusal(t, id, err, oidc.ReasonTokenEndpoint) // PKCE
	w.accepts()
}

func TestO19_PKCEIsAlwaysS256AndNeverRepeats(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{op: func(c *idptest.OPConfig) {}})
	w.op.Misbehave(idptest.OPFault{Discovery: func(d map[string]any) { delete(d, "code_challenge_methods_supported") }})
	seen := map[string]bool{}
	for range 1000 {
		c, p, err := w.Begin(t.Context(), federation.Login{})
		if err != nil {
			t.Fatal(err)
		}
		q := c.URL.Query()
		verifier := p.Keep["v"]
		for _, v := range []string{q.Get("code_challenge"), q.Get("state"), q.Get("nonce"), verifier} {
			if len(v) < 22 || seen[v] {
				t.Fatalf("%q is short or was seen before", v)
			}
			seen[v] = true
		}
		if q.Get("code_challenge_method") != "S256" || len(verifier) < 43 {
			t.Fatalf("method %q, verifier of %d characters", q.Get("code_challenge_method"), len(verifier))
		}
		if strings.Contains(c.URL.String(), verifier) {
			t.Fatal("the verifier is in the address")
		}
	}
}

func TestO20_IssParameterMustBeTheIssuer(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	w.accepts()
	tokens := func() int { return w.op.Count("token") }
	for _, iss := range []string{"https://evil.example", "https://op.example/", ""} {
		before := tokens()
		w.op.Misbehave(idptest.OPRedirectSays("iss", iss))
		id, err := w.signIn()
		wantRefusal(t, id, err, oidc.ReasonIssParam)
		if tokens() != before {
			t.Error("the code was sent before iss was checked")
		}
	}
	w.op.Misbehave(idptest.OPFault{Redirect: func(v url.Values) { v.Set("iss", "") }})
	id, err := w.signIn()
	wantRefusal(t, id, err, oidc.ReasonIssParam)
	// An error of somebody else is not this provider's.
	w.op.Misbehave(idptest.OPFault{Redirect: func(v url.Values) {
		v.Del("code")
		v.Set("error", "access_denied")
		v.Set("iss", "https://evil.example")
	}})
	id, err = w.signIn()
	wantRefusal(t, id, err, oidc.ReasonIssParam)
	w.op.Misbehave(idptest.OPFault{})
	w.accepts()

	// A provider that does not promise it need not send it; if it does, it counts.
	quiet := newWorld(t, setup{})
	promise := func(d map[string]any) { delete(d, "authorization_response_iss_parameter_supported") }
	f := idptest.OPRedirectSays("iss", "")
	f.Discovery = promise
	quiet.op.Misbehave(f)
	quiet.accepts()
	f = idptest.OPRedirectSays("iss", "https://evil.example")
	f.Discovery = promise
	quiet.op.Misbehave(f)
	id, err = quiet.signIn()
	wantRefusal(t, id, err, oidc.ReasonIssParam)
}

// Whoever mixes up two providers' sign-ins is stopped before a code is sent to
// the wrong one.
func TestO20_SignInBegunElsewhereSendsNoCode(t *testing.T) {
	t.Parallel()
	c, n := newClock(), federationtest.NewNet()
	one, two := newWorld(t, setup{host: "one.example", net: n, clock: c}), newWorld(t, setup{host: "two.example", net: n, clock: c})
	challenge, p, err := two.Begin(t.Context(), federation.Login{})
	if err != nil {
		t.Fatal(err)
	}
	r := two.browse(t, challenge, federationtest.Act{User: "alice"})
	id, err := one.Finish(r, p)
	wantRefusal(t, id, err, federation.ReasonStateUnknown)
	if n := one.op.Count("token"); n != 0 {
		t.Errorf("the code was sent %d times", n)
	}
	if _, err := two.Finish(r, p); err != nil {
		t.Errorf("positive control: %v", err)
	}
}

func TestO21_ConcurrentSignInsAtTwoProvidersKeepTheirOwnPerson(t *testing.T) {
	t.Parallel()
	c, n := newClock(), federationtest.NewNet()
	worlds := []*world{newWorld(t, setup{host: "a.example", net: n, clock: c}), newWorld(t, setup{host: "b.example", net: n, clock: c})}
	var wg sync.WaitGroup
	for i := range 200 {
		w, who := worlds[i%2], idptest.Campus()[i/2%3]
		wg.Go(func() {
			id, err := w.signInAs(who.User, federation.Login{})
			if err != nil {
				t.Errorf("%s: %v", who.User, err)
			} else if id.Ref != (federation.Ref{Issuer: w.cfg.Issuer, Subject: who.ID}) || id.Attributes["preferred_username"][0] != who.User {
				t.Errorf("%s at %s became %v", who.User, w.cfg.Issuer, id.Ref)
			}
		})
	}
	wg.Wait()
	for _, w := range worlds {
		if d, k := w.op.Count("discovery"), w.op.Count("jwks"); d != 1 || k != 1 {
			t.Errorf("100 sign-ins at once fetched metadata %d and keys %d times, want once each", d, k)
		}
	}
}

func TestO22_RedirectAddressIsTheConfiguredOne(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	c, p, err := w.Begin(t.Context(), federation.Login{})
	if err != nil {
		t.Fatal(err)
	}
	if got := c.URL.Query().Get("redirect_uri"); got != w.cfg.RedirectURL {
		t.Errorf("redirect_uri = %q, want %q", got, w.cfg.RedirectURL)
	}
	r := w.browse(t, c, federationtest.Act{User: "alice"})
	r.Host = "evil.example"
	for _, h := range []string{"X-Forwarded-Host", "X-Forwarded-Proto", "Forwarded", "X-Original-Host"} {
		r.Header.Set(h, "evil.example")
	}
	// The token request repeats the address; the provider compares it.
	if _, err := w.Finish(r, p); err != nil {
		t.Errorf("with evil hosts in the headers: %v", err)
	}
}

func TestO23_ErrorsOfTheProviderAreBoundedText(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	say := func(code, text string) idptest.OPFault {
		return idptest.OPFault{Redirect: func(v url.Values) {
			v.Del("code")
			v.Set("error", code)
			v.Set("error_description", text)
			v.Set("error_uri", "https://evil.example")
		}}
	}
	for _, text := range []string{"", "<script>alert(1)</script>", strings.Repeat("long ", 5_000), "a\r\nSet-Cookie: b=c", "\x1b[31m", "\u202eevil"} {
		w.refuses(federation.ReasonDenied, say("access_denied", text))
		w.refuses(federation.ReasonDenied, say("<b>"+text, text))
	}
	w.refuses(federation.ReasonTooLarge, say("access_denied", strings.Repeat("x", 100_000)))
	w.refuses(federation.ReasonUnavailable, say("temporarily_unavailable", ""))
	w.refuses(federation.ReasonStepUp, say("unmet_authentication_requirements", ""))
	w.refuses(oidc.ReasonTokenEndpoint, idptest.OPAnswers("token", 400, "application/json", `{"error":"invalid_grant","error_description":"<b>no</b>\r\n`+strings.Repeat("x", 5000)+`"}`))
	// An error beside a code is an error.
	w.refuses(federation.ReasonDenied, idptest.OPFault{Redirect: func(v url.Values) { v.Set("error", "access_denied") }})
}

func TestO24_DoubledParametersAreRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	for name, code := range map[string]string{"state": federation.ReasonStateUnknown, "code": federation.ReasonMalformed, "iss": federation.ReasonMalformed, "session_state": federation.ReasonMalformed} {
		for _, second := range []string{"", "x", "same"} {
			f := idptest.OPFault{Redirect: func(v url.Values) {
				if v.Get(name) == "" {
					v.Set(name, "a")
				}
				if second == "same" {
					second = v.Get(name)
				}
				v.Add(name, second)
			}}
			w.refuses(code, f)
		}
	}
	c, p, _ := w.Begin(t.Context(), federation.Login{})
	r := w.browse(t, c, federationtest.Act{User: "alice"})
	r.URL.RawQuery += "&a=%zz"
	id, err := w.Finish(r, p)
	wantRefusal(t, id, err, federation.ReasonMalformed)
}

// OIDF: oidcc-client-test-form-post-error.
func TestO28_FormPostAnswersAndErrors(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{rp: func(c *oidc.Config) { c.FormPost = true }})
	w.accepts()
	c, p, _ := w.Begin(t.Context(), federation.Login{})
	if got := c.URL.Query().Get("response_mode"); got != "form_post" {
		t.Errorf("response_mode = %q", got)
	}
	id, err := w.Finish(w.browse(t, c, federationtest.Act{Cancel: true}), p)
	wantRefusal(t, id, err, federation.ReasonDenied)

	// A POST from another site that knows no state.
	r := httptest.NewRequest(http.MethodPost, w.cfg.RedirectURL, strings.NewReader("code=abc"))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	id, err = w.Finish(r, p)
	wantRefusal(t, id, err, federation.ReasonStateUnknown)

	// More than an answer may be, read before by somebody who allows it.
	r = httptest.NewRequest(http.MethodPost, w.cfg.RedirectURL, strings.NewReader(url.Values{"state": {p.State}, "code": {"x"}, "other": {strings.Repeat("x", 100_000)}}.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if err := r.ParseForm(); err != nil {
		t.Fatal(err)
	}
	id, err = w.Finish(r, p)
	wantRefusal(t, id, err, federation.ReasonTooLarge)

	// The gateway reads the state before it hands the request on.
	c, p, _ = w.Begin(t.Context(), federation.Login{})
	r = w.browse(t, c, federationtest.Act{User: "alice"})
	if s, err := federation.StateOf(r); err != nil || s != p.State {
		t.Fatalf("StateOf = %q, %v", s, err)
	}
	if _, err := w.Finish(r, p); err != nil {
		t.Errorf("after StateOf has read the form: %v", err)
	}
}

func TestO29_VerifiedIsSaidOfTheAddressBesideIt(t *testing.T) {
	t.Parallel()
	type doc = map[string]any
	for _, tt := range []struct {
		name     string
		id, info doc
		mail     []string
		verified []string // nil: not said
	}{
		{"true", nil, doc{"email": "a@x", "email_verified": true}, []string{"a@x"}, []string{"true"}},
		{"false", nil, doc{"email": "a@x", "email_verified": false}, []string{"a@x"}, []string{"false"}},
		{"absent", nil, doc{"email": "a@x"}, []string{"a@x"}, nil},
		{"the text true", nil, doc{"email": "a@x", "email_verified": "true"}, []string{"a@x"}, []string{"false"}},
		{"the text false", nil, doc{"email": "a@x", "email_verified": "false"}, []string{"a@x"}, []string{"false"}},
		{"a number", nil, doc{"email": "a@x", "email_verified": 1}, []string{"a@x"}, []string{"false"}},
		{"null", nil, doc{"email": "a@x", "email_verified": nil}, []string{"a@x"}, []string{"false"}},
		{"only in the other document", doc{"email": "victim@x"}, doc{"email": "a@x", "email_verified": true}, []string{"victim@x"}, nil},
		{"of the other document's address", doc{"email_verified": true}, doc{"email": "a@x"}, []string{"a@x"}, nil},
		{"no address beside it in the other document", doc{"email": "victim@x"}, doc{"email_verified": true}, []string{"victim@x"}, nil},
		{"same address, said in one", doc{"email": "a@x"}, doc{"email": "a@x", "email_verified": true}, []string{"a@x"}, []string{"true"}},
		{"same address, case differs", doc{"email": "A@x"}, doc{"email": "a@x", "email_verified": true}, []string{"A@x"}, nil},
		{"same address, the ID token says no", doc{"email": "a@x", "email_verified": false}, doc{"email": "a@x", "email_verified": true}, []string{"a@x"}, []string{"false"}},
	} {
		w := newWorld(t, setup{})
		w.op.Misbehave(idptest.OPFault{
			Claims: func(c map[string]any) { maps.Copy(c, tt.id) },
			UserInfo: func(c map[string]any) {
				delete(c, "email")
				delete(c, "email_verified")
				maps.Copy(c, tt.info)
			},
		})
		id := w.accepts()
		if got := id.Attributes["email"]; !slices.Equal(got, tt.mail) {
			t.Errorf("%s: email = %q, want %q", tt.name, got, tt.mail)
		}
		if got, there := id.Attributes["email_verified"]; !slices.Equal(got, tt.verified) || there != (tt.verified != nil) {
			t.Errorf("%s: email_verified = %q, want %q", tt.name, got, tt.verified)
		}
	}
}

// What an address is worth is the policy's to say: it comes through as it was
// asserted, so that a rule sees the same text that a person would.
func TestO30_AddressesComeThroughUnchanged(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	for _, mail := range []string{
		"a@evil.com@corp.com", `"x@corp.com"@evil.com`, "x@evilcorp.com", "x@corp.com.", "x@corp．com", "x@xn--crp-fka.com",
		" x@corp.com", "x@corp.com\n", "X@CORP.COM", "x@corp.com\u200b", "x@[127.0.0.1]", "x+y@corp.com",
	} {
		w.op.Misbehave(idptest.OPUserinfoSays(map[string]any{"email": mail}))
		if got := w.accepts().Attributes["email"]; !slices.Equal(got, []string{mail}) {
			t.Errorf("%q became %q", mail, got)
		}
	}
}

func TestO31_EmptyClaimsAreNoClaims(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	for _, sub := range []any{"", nil, " ", " a", "a\n", "a\x00", "\u0085", strings.Repeat("a", 256)} {
		w.refuses(federation.ReasonClaims, idptest.OPSays("sub", sub))
	}
	for _, groups := range []any{nil, map[string]any{"fin": true}, 5, true, []any{"fin", nil}, []any{"fin", ""}, []any{1}, []any{[]any{"fin"}}} {
		w.refuses(federation.ReasonClaims, idptest.OPSays("groups", groups))
		w.refuses(federation.ReasonClaims, idptest.OPUserinfoSays(map[string]any{"groups": groups}))
	}
	w.op.Misbehave(idptest.OPUserinfoSays(map[string]any{"preferred_username": "", "groups": []string{}, "family_name": nil}))
	id := w.accepts()
	for _, name := range []string{"preferred_username", "groups"} {
		if v, there := id.Attributes[name]; !there || len(v) != 0 {
			t.Errorf("%s = %q (%v), want a statement of no values", name, v, there)
		}
	}
	if v, there := id.Attributes["family_name"]; there {
		t.Errorf("family_name null became %q, want silence", v)
	}
}

func TestO32_ClaimsHaveOneReading(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	alice := idptest.Campus()[0].ID
	for name, payload := range map[string]string{
		"sub twice":            `{%s,"sub":"x"}`,
		"sub twice, equal":     `{%s,"sub":"` + alice + `"}`,
		"sub twice, escaped":   `{%s,"\u0073ub":"x"}`,
		"SUB beside sub":       `{%s,"SUB":"x"}`,
		"Groups beside groups": `{%s,"groups":["a"],"Groups":["b"]}`,
		"Kelvin and long s":    `{%s,"\u017fub":"x"}`,
		"twice, deeper":        `{%s,"a":{"b":1,"B":2}}`,
		"twice in a list":      `{%s,"a":[{"b":1,"b":2}]}`,
		"NaN":                  `{%s,"a":NaN}`,
		"Infinity":             `{%s,"a":-Infinity}`,
		"something behind":     `{%s} {"sub":"x"}`,
		"comment":              `{%s/**/}`,
		"trailing comma":       `{%s,}`,
		"a list":               `[{%s}]`,
		"half a pair":          `{%s,"a":"\ud800"}`,
		"halves swapped":       `{%s,"a":"\udc00\ud800"}`,
		"no UTF-8":             "{%s,\"a\":\"\xff\"}",
		"too deep":             `{%s,"a":` + strings.Repeat("[", 40) + strings.Repeat("]", 40) + `}`,
		"90,000 deep":          `{%s,"a":` + strings.Repeat("[", 90_000) + strings.Repeat("]", 90_000) + `}`,
		"null":                 `null`,
		"two paths, one name":  `{%s,"a.b":"x","a":{"b":"y"}}`,
	} {
		t.Log(name)
		w.refuses(federation.ReasonClaims, idptest.OPPayload(payload))
	}
	w.refuses(federation.ReasonClaims, idptest.OPDuplicateClaims("sub", "x"))
	w.refuses(federation.ReasonClaims, idptest.OPSays("sub", 12345))
	w.refuses(federation.ReasonClaims, idptest.OPSays("sub", []string{alice}))
	w.refuses(oidc.ReasonExpired, idptest.OPFault{Payload: func(b []byte) []byte {
		var c map[string]json.RawMessage
		_ = json.Unmarshal(b, &c)
		c["exp"] = json.RawMessage("1e400")
		out, _ := json.Marshal(c)
		return out
	}})

	// What is unusual and has one reading.
	w.op.Misbehave(idptest.OPPayload(`{%s,"SURNAME":"L","pair":"\ud83d\ude00","back":"\\ud800","big":1e400,"n":1.50,"t":true,"realm_access":{"roles":["a","b"]},` +
		`"https://x.example/r":["c"],"list":["a",1,true,null,{"k":"v"}],"empty":{},"groups":"one"}`))
	id := w.accepts()
	want := map[string][]string{
		"SURNAME": {"L"}, "pair": {"😀"}, "back": {`\ud800`}, "big": {"1e400"}, "n": {"1.50"}, "t": {"true"}, "realm_access.roles": {"a", "b"},
		"https://x.example/r": {"c"}, "list": {"a", "1", "true", `{"k":"v"}`}, "groups": {"one"},
	}
	for name, v := range want {
		if diff := cmp.Diff(v, id.Attributes[name]); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	for _, name := range []string{"iss", "aud", "exp", "nonce", "at_hash", "acr", "empty"} {
		if v, there := id.Attributes[name]; there {
			t.Errorf("%s = %q is an attribute", name, v)
		}
	}

	many := make([]string, 10_000)
	for i := range many {
		many[i] = fmt.Sprint("g", i)
	}
	w.refuses(federation.ReasonTooMany, idptest.OPUserinfoSays(map[string]any{"groups": many}))
	w.refuses(federation.ReasonTooMany, idptest.OPSays("note", strings.Repeat("x", 65<<10)))
}

func TestO38_ForgedSignaturesDoNotFloodTheKeySet(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	w.accepts()
	forge := func(n int) {
		for i := range n {
			f := idptest.OPBadSignature()
			if i%2 == 0 {
				f = idptest.OPHeader("kid", fmt.Sprint("forged-", i))
			}
			w.op.Misbehave(f)
			id, err := w.signIn()
			wantRefusal(t, id, err, oidc.ReasonSignature)
		}
		w.op.Misbehave(idptest.OPFault{})
	}
	before := w.op.Count("jwks")
	forge(250)
	w.clock.Advance(30 * time.Second)
	forge(250)
	if n := w.op.Count("jwks") - before; n != 1 {
		t.Errorf("500 forged tokens in a minute caused %d fetches of the keys, want 1", n)
	}
	w.clock.Advance(31 * time.Second)
	forge(10)
	if n := w.op.Count("jwks") - before; n != 2 {
		t.Errorf("a minute later: %d fetches, want 2", n)
	}
	w.accepts()
	// A rotation that falls into the pause is followed when it is over.
	w.op.Rotate("ES256", 0)
	id, err := w.signIn()
	wantRefusal(t, id, err, oidc.ReasonSignature)
	w.clock.Advance(time.Minute)
	w.accepts()
}

func TestO39_HostileEndpointsAreBounded(t *testing.T) {
	t.Parallel()
	sites := map[string]string{ // endpoint → reason where the answer can not be used
		"discovery": federation.ReasonUnavailable,
		"jwks":      federation.ReasonUnavailable,
		"token":     oidc.ReasonTokenEndpoint,
		"userinfo":  oidc.ReasonUserInfo,
	}
	for endpoint, rubbish := range sites {
		t.Run(endpoint, func(t *testing.T) {
			t.Parallel()
			hits := 0
			try := func(code string, f idptest.OPFault) {
				t.Helper()
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t, setup{})
					w.net.Serve(t, "elsewhere.example", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { hits++; _, _ = io.WriteString(w, "{}") }))
					w.op.Misbehave(f)
					start := time.Now()
					id, err := w.signIn()
					wantRefusal(t, id, err, code)
					if d := time.Since(start); d > 11*time.Second {
						t.Errorf("took %v", d)
					}
					// Nothing stays broken.
					w.op.Misbehave(idptest.OPFault{})
					w.clock.Advance(6 * time.Second)
					w.accepts()
				})
			}
			try(federation.ReasonUnavailable, idptest.OPHugeBody(endpoint, 2<<30))
			try(federation.ReasonUnavailable, idptest.OPGzipBomb(endpoint, 64<<20))
			try(federation.ReasonUnavailable, idptest.OPSlow(endpoint, time.Second))
			try(federation.ReasonUnavailable, idptest.OPRedirects(endpoint, 302, "https://elsewhere.example/x"))
			try(federation.ReasonUnavailable, idptest.OPRedirects(endpoint, 307, "https://elsewhere.example/x"))
			try(federation.ReasonUnavailable, idptest.OPRedirects(endpoint, 302, "http://op.example/x"))
			try(federation.ReasonUnavailable, idptest.OPRedirects(endpoint, 302, "file:///etc/passwd"))
			try(federation.ReasonUnavailable, idptest.OPAnswers(endpoint, 500, "text/html", "<h1>no</h1>"))
			try(rubbish, idptest.OPAnswers(endpoint, 200, "text/html", "<h1>hello</h1>"))
			try(rubbish, idptest.OPAnswers(endpoint, 200, "application/json", "[]"))
			try(rubbish, idptest.OPAnswers(endpoint, 200, "application/json", ""))
			if hits != 0 {
				t.Errorf("another host was asked %d times", hits)
			}
		})
	}
}

func TestO39_CertificatesAreVerified(t *testing.T) {
	t.Parallel()
	var op *idptest.OP
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { op.Handler().ServeHTTP(w, r) }))
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.StartTLS()
	t.Cleanup(srv.Close)
	op = idptest.NewOP(idptest.OPConfig{Issuer: srv.URL, Algorithm: "ES256"})
	cfg := oidc.Config{ID: "x", Issuer: srv.URL, ClientID: "c", Secret: "s", RedirectURL: "https://gate.example/cb"}
	cfg.Client = &http.Client{Transport: http.DefaultTransport.(*http.Transport).Clone()}
	p, err := oidc.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := p.Begin(t.Context(), federation.Login{}); !errors.Is(err, federation.ErrUnavailable) || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("a certificate that nobody vouches for: %v", err)
	}
	cfg.Client = srv.Client()
	if p, err = oidc.New(cfg); err != nil {
		t.Fatal(err)
	}
	if _, _, err := p.Begin(t.Context(), federation.Login{}); err != nil {
		t.Errorf("positive control: %v", err)
	}
}

func TestO40_TokensThatCostAreRefusedUnread(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	b := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
	part := b("x")
	for name, token := range map[string]string{
		"JWE":                b(`{"alg":"RSA-OAEP","enc":"A256GCM","zip":"DEF"}`) + "." + part + "." + part + "." + part + "." + part,
		"PBES2":              b(`{"alg":"PBES2-HS256+A128KW","enc":"A128GCM","p2c":1000000000,"p2s":"AAAA"}`) + "." + part + "." + part + "." + part + "." + part,
		"a JWE's head alone": b(`{"alg":"PBES2-HS256+A128KW","enc":"A128GCM","p2c":1000000000}`) + "." + part + "." + part,
		"dots":               strings.Repeat(".", 500_000),
		"no dots":            strings.Repeat("A", 200_000),
		"long":               b(`{"alg":"ES256"}`) + "." + strings.Repeat("A", 600_000) + "." + part,
		"JSON serialisation": `{"payload":"` + part + `","signatures":[{"protected":"` + b(`{"alg":"ES256"}`) + `","signature":"AA"}]}`,
		"empty":              "",
		"head is no JSON":    b("hello") + "." + part + "." + part,
		"head is no base64":  "!." + part + "." + part,
		"head is padded":     base64.URLEncoding.EncodeToString([]byte(`{"alg":"ES256" }`)) + "." + part + "." + part,
		"logout token":       b(`{"alg":"ES256","typ":"logout+jwt"}`) + "." + part + "." + part,
		"access token":       b(`{"alg":"ES256","typ":"at+jwt"}`) + "." + part + "." + part,
	} {
		code := oidc.ReasonToken
		if name == "a JWE's head alone" {
			code = oidc.ReasonAlgorithm
		}
		t.Log(name)
		w.refuses(code, idptest.OPToken(token))
	}
	w.refuses(federation.ReasonUnavailable, idptest.OPToken(strings.Repeat("A", 2<<20))) // more than any answer may be
}

func TestO44_ClientAuthenticationIsUnderstood(t *testing.T) {
	t.Parallel()
	edkey, rsakey, eckey := newKeys(t)
	for name, s := range map[string]setup{
		"basic, everything encoded": {}, // ID and secret hold : % + and more
		"basic, asked for":          {rp: func(c *oidc.Config) { c.AuthMethod = oidc.Basic }},
		"post":                      {rp: func(c *oidc.Config) { c.AuthMethod = oidc.Post }},
		"none": {
			client: func(c *idptest.OPClient) { c.Secret = "" },
			rp:     func(c *oidc.Config) { c.AuthMethod = oidc.None },
		},
		"EdDSA": {
			client: func(c *idptest.OPClient) { c.Secret, c.Key = "", edkey.Public() },
			rp:     func(c *oidc.Config) { c.Key = edkey },
		},
		"RS256": {
			client: func(c *idptest.OPClient) { c.Secret, c.Key = "", rsakey.Public() },
			rp:     func(c *oidc.Config) { c.Key, c.KeyID = rsakey, "k" },
		},
		"ES256, audience is the issuer": {
			client: func(c *idptest.OPClient) { c.Secret, c.Key = "", eckey.Public() },
			rp:     func(c *oidc.Config) { c.Key, c.AssertionAudience = eckey, c.Issuer },
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, s)
			w.accepts()
			w.accepts() // an assertion is good for once, so there is another
		})
	}
	t.Run("post where the provider takes nothing else", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, setup{})
		var body []byte
		var basic bool
		h := w.op.Handler()
		w.net.Serve(t, "op.example", http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/token" {
				_, _, basic = r.BasicAuth()
				body, _ = io.ReadAll(r.Body)
				r.Body = io.NopCloser(bytes.NewReader(body))
			}
			h.ServeHTTP(rw, r)
		}))
		w.op.Misbehave(idptest.OPFault{Discovery: func(d map[string]any) {
			d["token_endpoint_auth_methods_supported"] = []string{"client_secret_post", "private_key_jwt"}
		}})
		w.accepts()
		if basic || !bytes.Contains(body, []byte("client_secret=")) {
			t.Errorf("basic %v, body %q", basic, body)
		}
	})
	t.Run("wrong secret", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, setup{rp: func(c *oidc.Config) { c.Secret = "wrong" }})
		id, err := w.signIn()
		wantRefusal(t, id, err, oidc.ReasonTokenEndpoint)
	})
	t.Run("wrong key", func(t *testing.T) {
		t.Parallel()
		_, other, _ := ed25519.GenerateKey(rand.Reader)
		w := newWorld(t, setup{client: func(c *idptest.OPClient) { c.Secret, c.Key = "", edkey.Public() }, rp: func(c *oidc.Config) { c.Key = other }})
		id, err := w.signIn()
		wantRefusal(t, id, err, oidc.ReasonTokenEndpoint)
	})
}

// Our own side of it: neither code nor secret follows a redirect, not even on
// the same host. The gateway's redirects are its own rows.
func TestO45_CredentialsAreNotPostedAgain(t *testing.T) {
	t.Parallel()
	for _, status := range []int{301, 302, 303, 307, 308} {
		w := newWorld(t, setup{})
		again := 0
		h := w.op.Handler()
		w.net.Serve(t, "op.example", http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/again" {
				again++
			}
			h.ServeHTTP(rw, r)
		}))
		w.refuses(federation.ReasonUnavailable, idptest.OPRedirects("token", status, "https://op.example/again"))
		if again != 0 {
			t.Errorf("status %d: the token request was repeated elsewhere", status)
		}
	}
	// The provider's own answer to the person's POST is 303: the browser repeats nothing.
	w := newWorld(t, setup{})
	c, _, _ := w.Begin(t.Context(), federation.Login{})
	client := *w.cfg.Client
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	resp, err := client.PostForm(c.URL.String(), url.Values{"user": {"alice"}})
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusSeeOther {
		t.Errorf("status %d, want 303", resp.StatusCode)
	}
}

func TestAccessTokenMustBeABearerToken(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	for _, kind := range []any{"DPoP", "mac", "N_A"} {
		w.refuses(oidc.ReasonTokenEndpoint, idptest.OPFault{Response: func(d map[string]any) { d["token_type"] = kind }})
	}
	w.refuses(oidc.ReasonTokenEndpoint, idptest.OPFault{Response: func(d map[string]any) { delete(d, "access_token") }})
	w.refuses(oidc.ReasonToken, idptest.OPFault{Response: func(d map[string]any) { delete(d, "id_token") }})
	w.refuses(oidc.ReasonToken, idptest.OPFault{Response: func(d map[string]any) { d["id_token"] = []any{d["id_token"]} }})
	w.op.Misbehave(idptest.OPFault{Response: func(d map[string]any) { d["token_type"] = "bearer" }})
	w.accepts()
}

func TestGroupsOverageIsNeverReadAsNoGroups(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	w.refuses(oidc.ReasonOverage, idptest.OPGroupsOverage("https://canary.example/groups"))
	w.refuses(oidc.ReasonOverage, idptest.OPSays("hasgroups", true))
	w.refuses(oidc.ReasonOverage, idptest.OPSays("hasgroups", "true"))
	w.refuses(oidc.ReasonOverage, idptest.OPUserinfoSays(map[string]any{"_claim_names": map[string]any{"groups": "src1"}, "_claim_sources": map[string]any{"src1": map[string]any{"endpoint": "https://canary.example"}}}))
	w.op.Misbehave(idptest.OPSays("hasgroups", false))
	w.accepts()
	roles := newWorld(t, setup{rp: func(c *oidc.Config) { c.GroupsClaim = "roles" }})
	roles.refuses(oidc.ReasonOverage, idptest.OPFault{Claims: func(c map[string]any) {
		c["_claim_names"], c["_claim_sources"] = map[string]any{"roles": "s"}, map[string]any{"s": map[string]any{"endpoint": "https://canary.example"}}
	}})
}

// OIDF: oidcc-client-test-aggregated-claims, -distributed-claims. Claims that are
// not groups and that another party would have to be asked for are silence.
func TestDistributedClaimsAreSilence(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	hits := 0
	w.net.Serve(t, "canary.example", http.HandlerFunc(func(http.ResponseWriter, *http.Request) { hits++ }))
	w.op.Misbehave(idptest.OPFault{Claims: func(c map[string]any) {
		c["_claim_names"] = map[string]any{"phone": "a", "shoe_size": "d"}
		c["_claim_sources"] = map[string]any{"a": map[string]any{"JWT": "e30.e30.e30"}, "d": map[string]any{"endpoint": "https://canary.example/c", "access_token": "t"}}
	}})
	id := w.accepts()
	for _, name := range []string{"phone", "shoe_size"} {
		if v, there := id.Attributes[name]; there {
			t.Errorf("%s = %q", name, v)
		}
	}
	if hits != 0 {
		t.Errorf("another party was asked %d times", hits)
	}
}

func TestGroupsOverageIsFetchedWhereConfigured(t *testing.T) {
	t.Parallel()
	over := idptest.OPGroupsOverage("https://canary.example/groups")
	for name, tt := range map[string]struct {
		pages []string
		want  []string
		code  string
	}{
		"texts":         {pages: []string{`{"value":["a","b"]}`}, want: []string{"a", "b"}},
		"objects":       {pages: []string{`{"value":[{"id":"a","displayName":"A"}]}`}, want: []string{"a"}},
		"none":          {pages: []string{`{"value":[]}`}, want: []string{}},
		"pages":         {pages: []string{`{"value":["a"],"@odata.nextLink":"https://graph.example/?page=1"}`, `{"value":["b"]}`}, want: []string{"a", "b"}},
		"another host":  {pages: []string{`{"value":["a"],"@odata.nextLink":"https://canary.example/?page=1"}`}, code: oidc.ReasonOverage},
		"no list":       {pages: []string{`{}`}, code: oidc.ReasonOverage},
		"twice":         {pages: []string{`{"value":[],"value":["a"]}`}, code: oidc.ReasonOverage},
		"numbers":       {pages: []string{`{"value":[1]}`}, code: oidc.ReasonOverage},
		"no id":         {pages: []string{`{"value":[{"name":"a"}]}`}, code: oidc.ReasonOverage},
		"for ever":      {pages: []string{`{"value":["a"],"@odata.nextLink":"https://graph.example/?page=0"}`}, code: federation.ReasonTooMany},
		"too many":      {pages: []string{`{"value":["a"` + strings.Repeat(`,"b"`, 1000) + `]}`}, code: federation.ReasonTooMany},
		"not allowed":   {pages: []string{"403"}, code: oidc.ReasonOverage},
		"not available": {pages: []string{"503"}, code: federation.ReasonUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, setup{rp: func(c *oidc.Config) { c.GroupsURL = "https://graph.example/me/groups" }})
			w.net.Serve(t, "graph.example", http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				if !strings.HasPrefix(r.Header.Get("Authorization"), "Bearer ") {
					t.Error("asked without the access token")
				}
				i := 0
				_, _ = fmt.Sscan(r.URL.Query().Get("page"), &i)
				switch tt.pages[i] {
				case "403":
					rw.WriteHeader(http.StatusForbidden)
				case "503":
					rw.WriteHeader(http.StatusServiceUnavailable)
				default:
					_, _ = io.WriteString(rw, tt.pages[i])
				}
			}))
			w.op.Misbehave(over)
			id, err := w.signIn()
			if tt.code != "" {
				wantRefusal(t, id, err, tt.code)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, id.Attributes["groups"]); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestR14_AProviderThatIsDownStopsNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	w.net.Serve(t, "op.example", nil)
	for range 20 {
		if _, _, err := w.Begin(t.Context(), federation.Login{}); !errors.Is(err, federation.ErrUnavailable) {
			t.Fatalf("%v, want ErrUnavailable", err)
		}
	}
	w.net.Serve(t, "op.example", w.op.Handler())
	w.clock.Advance(6 * time.Second)
	w.accepts()

	// Later it is down again: who is signed in elsewhere does not notice, and
	// metadata is what it was.
	w.clock.Advance(3 * time.Hour)
	w.op.Misbehave(idptest.OPAnswers("discovery", 500, "text/plain", "no").With(idptest.OPAnswers("jwks", 500, "text/plain", "no")))
	w.accepts()
	before := w.op.Count("discovery")
	for range 20 {
		w.accepts()
	}
	if n := w.op.Count("discovery") - before; n != 0 {
		t.Errorf("%d attempts within a minute of the last", n)
	}
}

// What a provider says of itself and its keys is rubbish for a day: what was good
// before is used on, and keys that nobody has seen stay unknown.
func TestR16_RubbishForADayStopsNobody(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	w.accepts()
	for i, rubbish := range []string{"<html>Sign in to the Wi-Fi</html>", "", "{", `{"issuer":"https://evil.example","keys":[]}`, `{"keys":[{"kty":"oct","k":"AAAA"}]}`} {
		w.op.Misbehave(idptest.OPAnswers("discovery", 200, "text/html", rubbish).With(idptest.OPAnswers("jwks", 200, "application/json", rubbish)))
		for range 5 {
			w.clock.Advance(time.Hour)
			w.accepts()
		}
		if i == 4 {
			w.op.Rotate("ES256", 0)
			id, err := w.signIn()
			wantRefusal(t, id, err, oidc.ReasonSignature)
		}
	}
	w.op.Misbehave(idptest.OPFault{})
	w.clock.Advance(time.Hour)
	w.accepts()
}

func TestSubjectClaimIsTakenFromTheIDTokenAlone(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{rp: func(c *oidc.Config) { c.SubjectClaim = "oid" }})
	w.op.Misbehave(idptest.OPSays("oid", "0000-1"))
	id, err := w.signIn()
	if err != nil || id.Ref.Subject != "0000-1" {
		t.Fatalf("%v, %v", id.Ref, err)
	}
	w.op.Misbehave(idptest.OPUserinfoSays(map[string]any{"oid": "0000-1"}))
	id, err = w.signIn()
	wantRefusal(t, id, err, federation.ReasonClaims)
	w.op.Misbehave(idptest.OPSays("oid", ""))
	id, err = w.signIn()
	wantRefusal(t, id, err, federation.ReasonClaims)
}

func TestRequestSaysWhatWasAskedFor(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{rp: func(c *oidc.Config) {
		c.Params = map[string]string{"domain_hint": "uni.example", "prompt": "select_account"}
		c.Scopes = []string{"groups"}
	}})
	for _, tt := range []struct {
		login federation.Login
		want  map[string]string
	}{
		{federation.Login{}, map[string]string{"scope": "openid groups", "response_type": "code", "client_id": "gate:house", "prompt": "select_account", "domain_hint": "uni.example", "max_age": "", "acr_values": ""}},
		{federation.Login{Fresh: true, MaxAge: time.Hour}, map[string]string{"prompt": "login", "max_age": "0"}},
		{federation.Login{MaxAge: 90 * time.Second, ACR: []string{"a", "b"}, Hint: "kim"}, map[string]string{"max_age": "90", "acr_values": "a b", "login_hint": "kim"}},
		{federation.Login{MaxAge: time.Millisecond, Hint: strings.Repeat("x", 300)}, map[string]string{"max_age": "1", "login_hint": ""}},
	} {
		c, _, err := w.Begin(t.Context(), tt.login)
		if err != nil {
			t.Fatal(err)
		}
		q := c.URL.Query()
		for name, want := range tt.want {
			if got := q.Get(name); got != want {
				t.Errorf("%+v: %s = %q, want %q", tt.login, name, got, want)
			}
		}
	}
}

func TestContextCarriesTheProvidersSession(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	id, err := w.signInAs("alice", federation.Login{ACR: []string{idptest.ACRMulti}})
	if err != nil {
		t.Fatal(err)
	}
	c := id.Context
	if c.ACR != idptest.ACRMulti || !slices.Equal(c.AMR, []string{"pwd", "otp", "mfa"}) || c.Session == "" || strings.Count(c.LogoutHint, ".") != 2 || !c.At.Equal(w.clock.Now()) {
		t.Errorf("%+v", c)
	}
	w.op.Misbehave(idptest.OPOmits("auth_time"))
	if id := w.accepts(); !id.Context.At.IsZero() {
		t.Errorf("the provider does not say when, yet it was at %v", id.Context.At)
	}
	id, err = w.signInAs("alice", federation.Login{MaxAge: time.Hour})
	wantRefusal(t, id, err, federation.ReasonStepUp)
	w.op.Misbehave(idptest.OPSays("note", strings.Repeat("x", 8<<10)))
	if id := w.accepts(); id.Context.LogoutHint != "" {
		t.Errorf("a hint of %d bytes is kept", len(id.Context.LogoutHint))
	}
}

func newKeys(t *testing.T) (ed25519.PrivateKey, *rsa.PrivateKey, *ecdsa.PrivateKey) {
	t.Helper()
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	r, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	e, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return ed, r, e
}

func smallKey(t *testing.T) *rsa.PrivateKey {
	t.Helper()
	k, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	return k
}
