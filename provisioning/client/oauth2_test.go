package client

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/gatehouse-sso/gatehouse/provisioning/store"
)

// A bank is a desk with a token endpoint: hr has a secret and a key, uni a secret
// of the same words, and both are told apart by who they are.
type bank struct {
	*desk
	h       http.Handler
	refused []string
	key     ed25519.PrivateKey
}

func newBank(t *testing.T) *bank {
	t.Helper()
	b := &bank{desk: newDesk(t)}
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	b.key = key
	b.fill(t, b.Registry, pub)
	b.h = b.TokenEndpoint(func(code, from string) { b.refused = append(b.refused, code+" "+from) })
	return b
}

func (b *bank) fill(t *testing.T, r *Registry, key crypto.PublicKey) {
	add(t, r, Client{ID: "hr", UserStores: []string{"primary"}}, Credential{Secret: "s3 cr%et+"}, Credential{Secret: "older", Until: noon.Add(time.Hour)}, Credential{Key: key})
	add(t, r, Client{ID: "uni", UserStores: []string{"partners"}}, Credential{Secret: "s3 cr%et+"})
	add(t, r, Client{ID: Resident, UserStores: []string{"primary"}}, Credential{User: "admin", Password: "admin"})
}

type granted struct {
	status int
	http.Header
	Token string `json:"access_token"`
	Type  string `json:"token_type"`
	Life  int    `json:"expires_in"`
	Scope string `json:"scope"`
	Err   string `json:"error"`
	Text  string `json:"error_description"`
}

func (b *bank) post(t *testing.T, form url.Values, edit func(*http.Request)) (g granted) {
	t.Helper()
	r := httptest.NewRequest("POST", "https://gate.test/.gatehouse/oauth2/token", strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("X-Forwarded-For", "192.0.2.7")
	if edit != nil {
		edit(r)
	}
	w := httptest.NewRecorder()
	b.h.ServeHTTP(w, r)
	if err := json.Unmarshal(w.Body.Bytes(), &g); err != nil {
		t.Fatalf("%s: %v", w.Body, err)
	}
	g.status, g.Header = w.Code, w.Header()
	if g.Get("Cache-Control") != "no-store" || g.Get("Content-Type") != "application/json" {
		t.Errorf("headers are %v", g.Header)
	}
	return g
}

func secret(id, s string) url.Values {
	return url.Values{"grant_type": {"client_credentials"}, "client_id": {id}, "client_secret": {s}}
}

func basic(id, s string) func(*http.Request) {
	return func(r *http.Request) { r.SetBasicAuth(url.QueryEscape(id), url.QueryEscape(s)) }
}

var grant = url.Values{"grant_type": {"client_credentials"}}

func TestAccessTokenIsGotForASecretAndEndsWithIt(t *testing.T) {
	t.Parallel()
	b := newBank(t)
	for name, g := range map[string]granted{
		"post":           b.post(t, secret("hr", "s3 cr%et+"), nil),
		"basic":          b.post(t, grant, basic("hr", "s3 cr%et+")),
		"with its scope": b.post(t, url.Values{"grant_type": {"client_credentials"}, "scope": {"scim"}}, basic("hr", "s3 cr%et+")),
		"the older":      b.post(t, secret("hr", "older"), nil),
	} {
		if g.status != 200 || g.Type != "Bearer" || g.Life != 600 || g.Scope != Scope {
			t.Fatalf("%s: %+v", name, g)
		}
		b.is(t, g.Token, "hr")
	}
	g := b.post(t, secret("uni", "s3 cr%et+"), nil)
	b.is(t, g.Token, "uni")
	older := b.post(t, secret("hr", "older"), nil).Token
	// Another process knows it too; not one where the secret is another.
	if c, err := b.again(t, func(r *Registry) { b.fill(t, r, b.key.Public()) }).Authenticate(ask("Bearer " + older)); err != nil || c.ID != "hr" {
		t.Errorf("%v, %v", c, err)
	}
	if c, err := b.again(t, func(r *Registry) {
		add(t, r, Client{ID: "hr", UserStores: []string{"primary"}}, Credential{Secret: "newer"})
	}).Authenticate(ask("Bearer " + older)); err == nil {
		t.Errorf("the token of a secret that is gone is %v", c)
	}
	for _, wrong := range []string{older + "x", older[:len(older)-2], strings.Replace(older, ".", "x.", 1), accessPrefix, accessPrefix + ".", "x" + older} {
		b.is(t, wrong, "")
	}
	b.now = noon.Add(accessLife - time.Second)
	b.is(t, older, "hr")
	b.now = noon.Add(accessLife)
	b.is(t, older, "")
	b.is(t, g.Token, "")
	b.now = noon.Add(time.Hour - time.Minute)
	older = b.post(t, secret("hr", "older"), nil).Token
	b.is(t, older, "hr")
	b.now = noon.Add(time.Hour)
	b.is(t, older, "") // its secret has ended
	if g := b.post(t, secret("hr", "older"), nil); g.status != 401 {
		t.Errorf("%+v", g)
	}
}

func TestC01_TokenEndpointRefusesEverythingElse(t *testing.T) {
	t.Parallel()
	b := newBank(t)
	ok := secret("hr", "s3 cr%et+")
	with := func(pairs ...string) url.Values {
		v := url.Values{}
		for k, x := range ok {
			v[k] = x
		}
		for i := 0; i < len(pairs); i += 2 {
			v[pairs[i]] = nil
			if pairs[i+1] != "" {
				v[pairs[i]] = strings.Split(pairs[i+1], "|")
			}
		}
		return v
	}
	for name, c := range map[string]struct {
		form   url.Values
		edit   func(*http.Request)
		status int
		code   string
	}{
		"a wrong secret":            {secret("hr", "s3"), nil, 401, "invalid_client"},
		"another's name":            {secret("uni", "older"), nil, 401, "invalid_client"},
		"nobody's name":             {secret("nobody", "s3 cr%et+"), nil, 401, "invalid_client"},
		"no name":                   {with("client_id", ""), nil, 401, "invalid_client"},
		"no secret":                 {with("client_secret", ""), nil, 401, "invalid_client"},
		"two names":                 {with("client_secret", "", "client_id", "uni"), basic("hr", "s3 cr%et+"), 401, "invalid_client"},
		"a Basic password":          {secret("admin", "admin"), nil, 401, "invalid_client"},
		"resident's Basic":          {grant, basic("admin", "admin"), 401, "invalid_client"},
		"a wrong secret in Basic":   {grant, basic("hr", "x"), 401, "invalid_client"},
		"Basic that is no encoding": {grant, func(r *http.Request) { r.SetBasicAuth("hr", "s3 cr%et+") }, 401, "invalid_client"},
		"a bearer":                  {grant, func(r *http.Request) { r.Header.Set("Authorization", "Bearer x") }, 401, "invalid_client"},
		"two ways":                  {ok, basic("hr", "s3 cr%et+"), 400, "invalid_request"},
		"two headers":               {grant, func(r *http.Request) { basic("hr", "x")(r); r.Header.Add("Authorization", "Basic x") }, 400, "invalid_request"},
		"a parameter twice":         {with("scope", "scim|scim"), nil, 400, "invalid_request"},
		"no grant":                  {with("grant_type", ""), nil, 400, "invalid_request"},
		"another grant":             {with("grant_type", "password"), nil, 400, "unsupported_grant_type"},
		"another scope":             {with("scope", "scim admin"), nil, 400, "invalid_scope"},
		"JSON":                      {ok, func(r *http.Request) { r.Header.Set("Content-Type", "application/json") }, 400, "invalid_request"},
		"GET":                       {nil, func(r *http.Request) { r.Method = "GET"; r.URL.RawQuery = ok.Encode() }, 405, "invalid_request"},
		"in the address":            {nil, func(r *http.Request) { r.URL.RawQuery = ok.Encode() }, 401, "invalid_client"},
		"much":                      {with("x", strings.Repeat("x", maxForm)), nil, 400, "invalid_request"},
	} {
		b.refused = nil
		b.Limits.guesses = pails{}
		g := b.post(t, c.form, c.edit)
		if g.status != c.status || g.Err != c.code || g.Token != "" || g.Text == "" {
			t.Errorf("%s: %d %+v", name, g.status, g)
		}
		if want := c.status == 401; want != slices.Equal(b.refused, []string{ReasonUnauthorized + " 192.0.2.7"}) {
			t.Errorf("%s is recorded as %v", name, b.refused)
		}
		if strings.Contains(g.Text, "hr") || strings.Contains(g.Text, "secret") {
			t.Errorf("%s tells %q", name, g.Text)
		}
	}
	if g := b.post(t, ok, nil); g.status != 200 {
		t.Errorf("the right one: %+v", g)
	}
}

func (b *bank) claims(jti string) map[string]any {
	return map[string]any{"iss": "hr", "sub": "hr", "aud": b.Token, "exp": b.now.Add(5 * time.Minute).Unix(), "iat": b.now.Unix(), "jti": jti}
}

func signed(t *testing.T, alg jose.SignatureAlgorithm, key any, claims map[string]any, header map[jose.HeaderKey]any) url.Values {
	t.Helper()
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, &jose.SignerOptions{ExtraHeaders: header})
	if err != nil {
		t.Fatal(err)
	}
	raw, err := jwt.Signed(s).Claims(claims).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return asserting(raw)
}

func asserting(raw string) url.Values {
	return url.Values{"grant_type": {"client_credentials"}, "client_assertion_type": {assertionType}, "client_assertion": {raw}}
}

func TestAssertionsGetATokenOnce(t *testing.T) {
	t.Parallel()
	b := newBank(t)
	form := signed(t, jose.EdDSA, b.key, b.claims("one"), nil)
	g := b.post(t, form, nil)
	if g.status != 200 {
		t.Fatalf("%+v", g)
	}
	b.is(t, g.Token, "hr")
	for range 2 {
		b.refused = nil
		if g := b.post(t, form, nil); g.status != 401 || g.Err != "invalid_client" || !slices.Equal(b.refused, []string{ReasonAssertion + " 192.0.2.7"}) {
			t.Errorf("used again: %+v %v", g, b.refused)
		}
	}
	// Another process that shares the store knows what was used.
	other := b.again(t, func(r *Registry) { b.fill(t, r, b.key.Public()) })
	b.h = other.TokenEndpoint(nil)
	if g := b.post(t, form, nil); g.status != 401 {
		t.Errorf("used elsewhere: %+v", g)
	}
	aud := b.claims("two")
	aud["aud"] = []string{b.Issuer}
	if g := b.post(t, signed(t, jose.EdDSA, b.key, aud, map[jose.HeaderKey]any{"typ": "client-authentication+jwt"}), nil); g.status != 200 {
		t.Errorf("meant for the issuer: %+v", g)
	}
	// Kept for as long as it could be used, no longer.
	rows := func() (n int) {
		if err := b.Store.View(t.Context(), func(tx store.Tx) error {
			for _, err := range assertions.All(tx, "", 0) {
				if err != nil {
					return err
				}
				n++
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		return n
	}
	for _, after := range []time.Duration{0, 50 * time.Minute, 2 * time.Hour} {
		b.now = noon.Add(after)
		if _, err := b.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		if want := 2; rows() != want && after < time.Hour || rows() != 0 && after > time.Hour {
			t.Errorf("%d rows after %v", rows(), after)
		}
	}
	if g := b.post(t, form, nil); g.status != 401 {
		t.Errorf("used when forgotten: %+v", g)
	}
}

func TestAssertionsAreTakenInEachAllowedAlgorithm(t *testing.T) {
	t.Parallel()
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	b := newBank(t)
	add(t, b.Registry, Client{ID: "both", UserStores: []string{"primary"}}, Credential{Key: rsaKey.Public()}, Credential{Key: ecKey.Public()})
	for alg, key := range map[jose.SignatureAlgorithm]any{jose.RS256: rsaKey, jose.PS256: rsaKey, jose.ES256: ecKey} {
		c := b.claims(string(alg))
		c["iss"], c["sub"] = "both", "both"
		if g := b.post(t, signed(t, alg, key, c, nil), nil); g.status != 200 {
			t.Errorf("%s: %+v", alg, g)
		}
	}
}

func TestForgedAndStaleAssertionsAreRefused(t *testing.T) {
	t.Parallel()
	b := newBank(t)
	_, stranger, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	change := func(pairs ...any) url.Values {
		n++
		c := b.claims(fmt.Sprint("jti", n))
		for i := 0; i < len(pairs); i += 2 {
			if c[pairs[i].(string)] = pairs[i+1]; pairs[i+1] == nil {
				delete(c, pairs[i].(string))
			}
		}
		return signed(t, jose.EdDSA, b.key, c, nil)
	}
	good := change().Get("client_assertion")
	parts := strings.Split(good, ".")
	pubAsSecret := []byte(b.key.Public().(ed25519.PublicKey))
	cases := map[string]url.Values{
		"another's key":             signed(t, jose.EdDSA, stranger, b.claims("x"), nil),
		"a shared secret":           signed(t, jose.HS256, append(pubAsSecret, pubAsSecret...), b.claims("x"), nil),
		"no signature":              asserting("eyJhbGciOiJub25lIn0." + parts[1] + "."),
		"signature cut off":         asserting(parts[0] + "." + parts[1] + "."),
		"signature of another":      asserting(parts[0] + "." + strings.Split(change().Get("client_assertion"), ".")[1] + "." + parts[2]),
		"not a JWT":                 asserting("x"),
		"another issuer":            change("iss", "uni"),
		"another subject":           change("sub", "uni"),
		"both another":              change("iss", "uni", "sub", "uni"),
		"nobody":                    change("iss", "nobody", "sub", "nobody"),
		"no subject":                change("sub", nil),
		"another audience":          change("aud", "https://other.test"),
		"ours and another audience": change("aud", []string{b.Token, "https://other.test"}),
		"no audience":               change("aud", nil),
		"no end":                    change("exp", nil),
		"ended":                     change("exp", noon.Add(-2*time.Minute).Unix()),
		"far ahead":                 change("exp", noon.Add(time.Hour).Unix()),
		"not yet":                   change("nbf", noon.Add(5*time.Minute).Unix()),
		"made in the future":        change("iat", noon.Add(5*time.Minute).Unix()),
		"no jti":                    change("jti", nil),
		"a long jti":                change("jti", strings.Repeat("x", maxJTI+1)),
		"of another kind":           signed(t, jose.EdDSA, b.key, b.claims("x"), map[jose.HeaderKey]any{"typ": "at+jwt"}),
		"critical":                  signed(t, jose.EdDSA, b.key, b.claims("x"), map[jose.HeaderKey]any{"crit": []string{"x"}, "x": 1}),
	}
	named := change()
	named.Set("client_id", "uni")
	cases["for another client"] = named
	for name, form := range cases {
		b.refused, b.Limits.guesses = nil, pails{}
		if g := b.post(t, form, nil); g.status != 401 || g.Err != "invalid_client" || !slices.Equal(b.refused, []string{ReasonAssertion + " 192.0.2.7"}) {
			t.Errorf("%s: %d %+v %v", name, g.status, g, b.refused)
		}
	}
	typed := change()
	typed.Set("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:saml2-bearer")
	if g := b.post(t, typed, nil); g.status != 400 || g.Err != "invalid_request" {
		t.Errorf("another type: %+v", g)
	}
	if g := b.post(t, asserting(good), nil); g.status != 200 {
		t.Errorf("the right one: %+v", g)
	}
}

func TestC20_TokenEndpointSlowsDownWhoGuesses(t *testing.T) {
	t.Parallel()
	b := newBank(t)
	compared := 0
	for range 100 {
		switch g := b.post(t, secret("hr", "wrong"), nil); {
		case g.status == 401:
			compared++
		case g.status != 429 || g.Get("Retry-After") == "" || g.Err != "slow_down":
			t.Fatalf("%+v", g)
		}
	}
	if compared != guessBurst {
		t.Errorf("%d were compared", compared)
	}
	if g := b.post(t, secret("hr", "s3 cr%et+"), nil); g.status != 429 {
		t.Errorf("%+v", g)
	}
	if g := b.post(t, secret("uni", "s3 cr%et+"), nil); g.status != 200 {
		t.Errorf("another client: %+v", g)
	}
	if g := b.post(t, secret("hr", "s3 cr%et+"), func(r *http.Request) { r.Header.Set("X-Forwarded-For", "192.0.2.8") }); g.status != 200 {
		t.Errorf("elsewhere: %+v", g)
	}
}

func FuzzTokenEndpoint(f *testing.F) {
	r := NewRegistry(Config{})
	if err := r.Add(Client{ID: "hr", UserStores: []string{"primary"}}, Credential{Secret: rand.Text()}); err != nil { // which nothing can guess
		f.Fatal(err)
	}
	h := r.TokenEndpoint(nil)
	f.Add("grant_type=client_credentials&client_id=hr&client_secret=x", "")
	f.Add("grant_type=client_credentials&client_assertion_type="+url.QueryEscape(assertionType)+"&client_assertion=a.b.c", "Basic eDp5")
	f.Fuzz(func(t *testing.T, body, header string) {
		req := httptest.NewRequest("POST", "/", strings.NewReader(body))
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if header != "" {
			req.Header["Authorization"] = []string{header}
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, req)
		if w.Code < 400 || w.Code >= 500 || !json.Valid(w.Body.Bytes()) {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	})
}
