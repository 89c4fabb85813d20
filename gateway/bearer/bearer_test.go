package bearer

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"go.uber.org/goleak"

	"github.com/gatehouse-sso/gatehouse/provisioning/store"
	"github.com/gatehouse-sso/gatehouse/provisioning/store/boltstore"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A world is everything that Callers need, with a clock.
type world struct {
	t       *testing.T
	st      store.Store
	file    string
	ahead   atomic.Int64
	ended   atomic.Int64
	tokens  *Tokens
	issuer  *issuer
	callers *Callers
}

func (w *world) now() time.Time          { return time.Now().Add(time.Duration(w.ahead.Load())) }
func (w *world) advance(d time.Duration) { w.ahead.Add(int64(d)) }

var home = netip.MustParseAddr("10.1.2.3")

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, file: filepath.Join(t.TempDir(), "db")}
	st, err := boltstore.Open(w.file, boltstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	w.st = st
	w.tokens = w.load()
	w.issuer = newIssuer(t)
	w.callers = w.configured(Service{Tokens: true, Issuers: []*Issuer{w.issuer.listed()}})
	return w
}

// load makes Tokens over the store, as a process does.
func (w *world) load() *Tokens {
	w.t.Helper()
	tokens, err := LoadTokens(w.t.Context(), TokensConfig{Store: w.st, Key: []byte("key"), Now: w.now, Ended: func() { w.ended.Add(1) }, Failed: func(err error) { w.t.Error(err) }})
	if err != nil {
		w.t.Fatal(err)
	}
	return tokens
}

// run keeps tokens true until the test ends.
func (w *world) run(tokens *Tokens) (stop func()) {
	ctx, cancel := context.WithCancel(w.t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { tokens.Run(ctx) })
	stop = sync.OnceFunc(func() { cancel(); wg.Wait() })
	w.t.Cleanup(stop)
	return stop
}

// configured is what one configuration makes, whose service is "api".
func (w *world) configured(s Service) *Callers {
	return New(Config{Services: map[string]Service{"api": s}, Tokens: w.tokens, Keys: NewKeys(), Limits: NewLimits(), Now: w.now})
}

func (w *world) make(name string, life time.Duration, uses ...Scope) (Token, string) {
	w.t.Helper()
	made, text, err := w.tokens.Make(w.t.Context(), name, uses, nil, life, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return made, text
}

func (w *world) know(credential, path string) (*Caller, error) {
	return w.callers.Know(w.t.Context(), credential, "api", path, home)
}

// says asserts the reason code with which something is refused; "" is that it is
// believed.
func says(t *testing.T, what, code string, err error) {
	t.Helper()
	var r *Refusal
	switch {
	case code == "" && err != nil:
		t.Errorf("%s: %v", what, err)
	case code != "" && (!errors.As(err, &r) || r.Code != code):
		t.Errorf("%s: got %v, want %s", what, err, code)
	}
}

func TestATokenIsForSomePathsUntilAnEnd(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	made, text := w.make("ci", time.Hour, Scope{"api", "/v1"}, Scope{"api", "/status"}, Scope{"other", "/"})
	k, err := w.know(text, "/v1/users")
	says(t, "within its scope", "", err)
	if k == nil || k.Subject.ID != "caller:token/ci" || k.Subject.Caller != "token:ci" || !k.Subject.Active || k.Subject.Roles != nil {
		t.Fatalf("known as %+v", k)
	}
	for path, code := range map[string]string{"/v1": "", "/v1/": "", "/status": "", "/": ReasonScope, "/v10": ReasonScope, "/v2": ReasonScope, "/V1": ReasonScope, "": ReasonScope} {
		_, err := w.know(text, path)
		says(t, path, code, err)
	}
	if _, err := w.callers.Know(t.Context(), text, "other", "/", home); err == nil {
		t.Error("a service that takes no tokens took one")
	}
	says(t, "still", "", w.callers.Still(k, "api", "/v1"))
	says(t, "still elsewhere", ReasonScope, w.callers.Still(k, "api", "/"))
	w.advance(made.Until.Sub(w.now()) - time.Millisecond)
	_, err = w.know(text, "/v1")
	says(t, "just before its end", "", err)
	w.advance(time.Millisecond)
	_, err = w.know(text, "/v1")
	says(t, "at its end", ReasonUnknown, err)
	says(t, "a stream at its end", ReasonUnknown, w.callers.Still(k, "api", "/v1"))
	if long, _ := w.make("ci", 100*MaxLife); long.Until.Sub(long.Created) != MaxLife {
		t.Errorf("a token lives for %v", long.Until.Sub(long.Created))
	}
}

func TestATokenThatIsNotExactlyItIsNone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	made, text := w.make("ci", time.Hour, Scope{"api", "/"})
	_, other := w.make("cd", time.Hour, Scope{"api", "/"})
	w.callers.Limits = NewLimits()
	wrong := []string{text[:len(text)-1], text + "x", tokenPrefix, tokenPrefix + made.ID, tokenPrefix + made.ID + "_",
		tokenPrefix + made.ID + other[len(tokenPrefix)+len(made.ID):], strings.Replace(text, made.ID, "aaaaaaaaaaaaaaaa", 1)}
	for i := len(tokenPrefix); i < len(text); i += 3 {
		b := []byte(text)
		b[i] ^= 1
		wrong = append(wrong, string(b))
	}
	for _, bad := range wrong {
		w.callers.Limits = NewLimits()
		_, err := w.know(bad, "/")
		says(t, bad, ReasonUnknown, err)
	}
	_, err := w.know(text, "/")
	says(t, "the token itself", "", err)
}

func TestT15_TheStoreHasNoTokenAndNoWayToTryOne(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, text := w.make("ci", time.Hour, Scope{"api", "/"})
	raw, err := os.ReadFile(w.file)
	if err != nil {
		t.Fatal(err)
	}
	secret := text[strings.LastIndexByte(text, '_')+1:]
	if strings.Contains(string(raw), secret) || !strings.Contains(string(raw), `"name":"ci"`) {
		t.Error("the secret is in the store, or the token is not")
	}
	// With another key the rows prove nothing.
	other, err := LoadTokens(t.Context(), TokensConfig{Store: w.st, Key: []byte("another"), Now: w.now})
	if err != nil {
		t.Fatal(err)
	}
	_, err = other.know(text)
	says(t, "under another key", ReasonUnknown, err)
}

func TestARevokedTokenIsGoneBeforeRevokeReturns(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	made, text := w.make("ci", time.Hour, Scope{"api", "/"})
	k, err := w.know(text, "/")
	says(t, "before", "", err)
	if _, err := w.tokens.Revoke(t.Context(), made.ID, func(store.Tx, Token) error { return errors.New("no audit") }); err == nil {
		t.Error("revoked without its record")
	}
	_, err = w.know(text, "/")
	says(t, "what was not recorded was not done", "", err)
	if _, err := w.tokens.Revoke(t.Context(), made.ID, nil); err != nil {
		t.Fatal(err)
	}
	_, err = w.know(text, "/")
	says(t, "after", ReasonUnknown, err)
	says(t, "a stream after", ReasonUnknown, w.callers.Still(k, "api", "/"))
	if w.ended.Load() != 1 {
		t.Errorf("told %d times that a token ended", w.ended.Load())
	}
	if _, err := w.tokens.Revoke(t.Context(), made.ID, nil); !errors.Is(err, ErrNotFound) {
		t.Errorf("revoked twice: %v", err)
	}
}

// Another process over the same store, such as a replica or the one after a
// restart, knows the same tokens, and learns of a revocation.
func TestTokensAreThoseOfTheStore(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	made, text := w.make("ci", time.Hour, Scope{"api", "/"})
	other := w.load()
	stop := w.run(other)
	if _, err := other.know(text); err != nil {
		t.Errorf("unknown to another process: %v", err)
	}
	_, late := w.make("late", time.Hour, Scope{"api", "/"})
	eventually(t, "it learns of a new one", func() bool { _, err := other.know(late); return err == nil })
	if _, err := w.tokens.Revoke(t.Context(), made.ID, nil); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it learns of a revocation", func() bool { _, err := other.know(text); return err != nil })
	stop()
}

func TestTheLastUseIsWrittenBehind(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	made, text := w.make("ci", time.Hour, Scope{"api", "/"})
	stop := w.run(w.tokens)
	before, err := w.know(text, "/")
	says(t, "a use", "", err)
	used := func() time.Time {
		list, err := w.tokens.List(t.Context())
		if err != nil || len(list) != 1 {
			t.Fatal(list, err)
		}
		return list[0].Used
	}
	if used().IsZero() {
		t.Error("the list does not know of the use")
	}
	stop() // which writes down what is left
	list, err := w.load().List(t.Context())
	if err != nil || list[0].Used.IsZero() || list[0].ID != made.ID {
		t.Errorf("not written down: %+v, %v", list, err)
	}
	again := w.load()
	w.tokens = again
	if k, _ := again.know(text); k == nil || k.Key != before.Key {
		t.Error("the use changed the token")
	}
}

// eventually waits for something that must happen.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("it never came true that %s", what)
		}
	}
}

// An issuer is an OpenID provider as far as its keys go.
type issuer struct {
	t       *testing.T
	url     string
	key     *ecdsa.PrivateKey
	kid     atomic.Pointer[string]
	rsa     *rsa.PrivateKey
	broken  atomic.Bool
	fetches atomic.Int64
}

var rsaKey = sync.OnceValue(func() *rsa.PrivateKey {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return k
})

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	i := &issuer{t: t, key: key, rsa: rsaKey()}
	first := "one"
	i.kid.Store(&first)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if i.broken.Load() {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		if r.URL.Path == "/.well-known/openid-configuration" {
			_ = json.NewEncoder(w).Encode(map[string]string{"issuer": i.url, "jwks_uri": i.url + "/keys"})
			return
		}
		i.fetches.Add(1)
		set := map[string]any{"keys": []any{
			map[string]string{"kty": "oct", "k": "c2VjcmV0", "kid": "shared"}, map[string]string{"kty": "of another time"},
			jose.JSONWebKey{Key: i.key.Public(), KeyID: *i.kid.Load(), Algorithm: "ES256", Use: "sig"},
			jose.JSONWebKey{Key: i.rsa.Public(), KeyID: "rsa", Use: "sig"},
			jose.JSONWebKey{Key: i.key.Public(), KeyID: "enc", Use: "enc"},
		}}
		_ = json.NewEncoder(w).Encode(set)
	}))
	t.Cleanup(s.Close)
	i.url = s.URL
	return i
}

func (i *issuer) listed() *Issuer {
	return &Issuer{
		ID: "robots", Issuer: i.url, Audience: []string{"https://api.example", "api"}, Subjects: []string{"robot-*", "exact"}, Algorithms: []string{"ES256", "RS256"},
		Attributes: map[string]string{"repo": "repository", "groups": "groups", "level": "level"}, Longest: time.Hour, Skew: time.Minute,
		Client: &http.Client{Timeout: 5 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
	}
}

// good are claims that are believed at now.
func (w *world) good() map[string]any {
	now := w.now().Unix()
	return map[string]any{"iss": w.issuer.url, "sub": "robot-7", "aud": "api", "iat": now, "exp": now + 600, "repository": "uni/x", "groups": []string{"a", "b"}, "level": 3}
}

// signed makes a JWT of claims.
func (w *world) signed(claims map[string]any, head map[jose.HeaderKey]any) string {
	return w.signedBy(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: w.issuer.key, KeyID: *w.issuer.kid.Load()}}, claims, head)
}

func (w *world) signedBy(key jose.SigningKey, claims map[string]any, head map[jose.HeaderKey]any) string {
	w.t.Helper()
	s, err := jose.NewSigner(key, &jose.SignerOptions{ExtraHeaders: head})
	if err != nil {
		w.t.Fatal(err)
	}
	raw, _ := json.Marshal(claims)
	sig, err := s.Sign(raw)
	if err != nil {
		w.t.Fatal(err)
	}
	text, err := sig.CompactSerialize()
	if err != nil {
		w.t.Fatal(err)
	}
	return text
}

func TestAJWTOfAListedIssuerIsBelieved(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	k, err := w.know(w.signed(w.good(), nil), "/")
	says(t, "a good one", "", err)
	if k == nil || k.Subject.Caller != "robots" || k.Subject.ID != "caller:robots/robot-7" || k.Subject.UserName != "robot-7" {
		t.Fatalf("known as %+v", k)
	}
	if a := k.Subject.Attributes; !slices.Equal(a["repo"], []string{"uni/x"}) || !slices.Equal(a["groups"], []string{"a", "b"}) || !slices.Equal(a["level"], []string{"3"}) || len(a) != 3 {
		t.Errorf("attributes %v", a)
	}
	for name, text := range map[string]string{
		"an access token": w.signed(w.good(), map[jose.HeaderKey]any{"typ": "at+jwt"}),
		"typ JWT":         w.signed(w.good(), map[jose.HeaderKey]any{"typ": "JWT"}),
		"RS256":           w.signedBy(jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: w.issuer.rsa, KeyID: "rsa"}}, w.good(), nil),
		"no key ID":       w.signedBy(jose.SigningKey{Algorithm: jose.ES256, Key: w.issuer.key}, w.good(), nil),
	} {
		_, err := w.know(text, "/")
		says(t, name, "", err)
	}
	if n := w.issuer.fetches.Load(); n != 1 {
		t.Errorf("the keys were fetched %d times", n)
	}
}

func TestAJWTThatIsNotMeantIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	with := func(change map[string]any) string {
		c := w.good()
		maps.Copy(c, change)
		for name, v := range change {
			if v == nil {
				delete(c, name)
			}
		}
		return w.signed(c, nil)
	}
	now := w.now().Unix()
	public, _ := x509.MarshalPKIXPublicKey(w.issuer.key.Public())
	other, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	parts := strings.Split(w.signed(w.good(), nil), ".")
	admin := w.good()
	admin["sub"] = "exact"
	forged, _ := json.Marshal(admin)
	b64 := base64.RawURLEncoding.EncodeToString
	for name, text := range map[string]string{
		"another issuer":                  with(map[string]any{"iss": "https://other.example"}),
		"issuer with a slash":             with(map[string]any{"iss": w.issuer.url + "/"}),
		"no issuer":                       with(map[string]any{"iss": nil}),
		"another audience":                with(map[string]any{"aud": "https://payroll.example"}),
		"audience in part":                with(map[string]any{"aud": "ap"}),
		"no audience":                     with(map[string]any{"aud": nil}),
		"empty audience":                  with(map[string]any{"aud": []string{}}),
		"ended":                           with(map[string]any{"exp": now - 61, "iat": now - 600}),
		"no end":                          with(map[string]any{"exp": nil}),
		"end as text":                     with(map[string]any{"exp": "never"}),
		"lives too long":                  with(map[string]any{"exp": now + 3700}),
		"lives too long, silently":        with(map[string]any{"exp": now + 3700, "iat": nil}),
		"made in the future":              with(map[string]any{"iat": now + 120, "exp": now + 180}),
		"begins later":                    with(map[string]any{"nbf": now + 120}),
		"no subject":                      with(map[string]any{"sub": nil}),
		"empty subject":                   with(map[string]any{"sub": ""}),
		"subject not listed":              with(map[string]any{"sub": "human"}),
		"subject in part":                 with(map[string]any{"sub": "exactly"}),
		"subject with a line":             with(map[string]any{"sub": "robot-\n"}),
		"subject of 300":                  with(map[string]any{"sub": "robot-" + strings.Repeat("x", 300)}),
		"bound to a key":                  with(map[string]any{"cnf": map[string]string{"jkt": "x"}}),
		"a logout token":                  w.signed(w.good(), map[jose.HeaderKey]any{"typ": "logout+jwt"}),
		"a proof":                         w.signed(w.good(), map[jose.HeaderKey]any{"typ": "dpop+jwt"}),
		"a critical header":               w.signed(w.good(), map[jose.HeaderKey]any{"crit": []string{"b64x"}, "b64x": true}),
		"another key":                     w.signedBy(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: other, KeyID: "one"}}, w.good(), nil),
		"a key that is not listed":        w.signedBy(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: w.issuer.key, KeyID: "two"}}, w.good(), nil),
		"a key for something else":        w.signedBy(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: w.issuer.key, KeyID: "enc"}}, w.good(), nil),
		"an algorithm that is not listed": w.signedBy(jose.SigningKey{Algorithm: jose.PS256, Key: jose.JSONWebKey{Key: w.issuer.rsa, KeyID: "rsa"}}, w.good(), nil),
		"HMAC with the public key":        w.signedBy(jose.SigningKey{Algorithm: jose.HS256, Key: jose.JSONWebKey{Key: public, KeyID: "one"}}, w.good(), nil),
		"HMAC with a shared key":          w.signedBy(jose.SigningKey{Algorithm: jose.HS256, Key: jose.JSONWebKey{Key: []byte(strings.Repeat("secret", 6)), KeyID: "shared"}}, w.good(), nil),
		"no signature":                    b64([]byte(`{"alg":"none"}`)) + "." + parts[1] + ".",
		"none with a signature":           b64([]byte(`{"alg":"none","kid":"one"}`)) + "." + parts[1] + "." + parts[2],
		"other claims":                    parts[0] + "." + b64(forged) + "." + parts[2],
		"cut":                             parts[0] + "." + parts[1],
		"text":                            "x.y.z",
		"its own key":                     w.signed(w.good(), map[jose.HeaderKey]any{"jwk": jose.JSONWebKey{Key: other.Public(), KeyID: "one", Algorithm: "ES256"}})[:20],
	} {
		w.callers.Limits = NewLimits()
		_, err := w.know(text, "/")
		says(t, name, ReasonJWT, err)
	}
	_, err := w.know(with(nil), "/")
	says(t, "a good one", "", err)
	_, err = w.know(with(map[string]any{"exp": now - 30, "iat": now - 600}), "/")
	says(t, "ended within the skew", "", err)
	// A service that takes none has nothing to compare with.
	w.callers = w.configured(Service{Tokens: true})
	_, err = w.know(with(nil), "/")
	says(t, "at a service without issuers", ReasonUnknown, err)
	w.callers = w.configured(Service{Issuers: []*Issuer{{ID: "none", Issuer: w.issuer.url, Audience: []string{"api"}, Algorithms: []string{"ES256"}, Longest: time.Hour, Client: http.DefaultClient}}})
	_, err = w.know(with(nil), "/")
	says(t, "of an issuer whose subjects nobody listed", ReasonJWT, err)
}

func TestOfSeveralCallersTheOneThatFitsIsMeant(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, b := w.issuer.listed(), w.issuer.listed()
	a.ID, a.Subjects = "a", []string{"alpha"}
	b.ID, b.Subjects, b.Audience = "b", []string{"beta"}, []string{"for-b"}
	w.callers = w.configured(Service{Issuers: []*Issuer{a, b}})
	for _, c := range []struct{ sub, aud, who string }{{"alpha", "api", "a"}, {"beta", "for-b", "b"}, {"beta", "api", ""}, {"alpha", "for-b", ""}} {
		claims := w.good()
		claims["sub"], claims["aud"] = c.sub, c.aud
		k, err := w.know(w.signed(claims, nil), "/")
		if c.who == "" {
			says(t, c.sub+" for "+c.aud, ReasonJWT, err)
		} else if err != nil || k.Subject.Caller != c.who {
			t.Errorf("%s for %s: %v, %v", c.sub, c.aud, k, err)
		}
	}
}

// F9: however many JWTs name keys that are not there, the issuer is asked at most
// once a minute; and a key that it began to use is found within that.
func TestKeysAreFetchedRarelyAndAnew(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	good := func() error { _, err := w.know(w.signed(w.good(), nil), "/"); return err }
	says(t, "the first", "", good())
	second := "two"
	w.issuer.kid.Store(&second)
	for range 15 {
		says(t, "of a key that was not there a moment ago", ReasonJWT, good())
	}
	if n := w.issuer.fetches.Load(); n != 1 {
		t.Errorf("the keys were fetched %d times within a minute", n)
	}
	w.advance(keysSoonest)
	says(t, "a minute later", "", good())
	if n := w.issuer.fetches.Load(); n != 2 {
		t.Errorf("the keys were fetched %d times", n)
	}
	// A key that the issuer does not name any more ends within the hour.
	third := "three"
	w.advance(keysFresh)
	old := w.signed(w.good(), nil)
	w.issuer.kid.Store(&third)
	_, err := w.know(old, "/")
	says(t, "of a key that was taken back", ReasonJWT, err)
	says(t, "of the key in its place", "", good())
}

func TestAnIssuerThatIsAwayIsNoReasonToBelieveAnybody(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	good := func() error { _, err := w.know(w.signed(w.good(), nil), "/"); return err }
	w.issuer.broken.Store(true)
	says(t, "before its keys were ever had", ReasonKeys, good())
	w.issuer.broken.Store(false)
	says(t, "too soon to ask again", ReasonKeys, good())
	w.advance(keysSoonest)
	says(t, "when it is back", "", good())
	w.issuer.broken.Store(true)
	w.advance(keysFresh)
	says(t, "away for an hour", "", good())
	w.advance(keysLongest)
	says(t, "away for a day", ReasonKeys, good())
}

func TestWhatWasCheckedEndsAllTheSame(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	claims := w.good()
	claims["exp"] = w.now().Unix() + 10
	text := w.signed(claims, nil)
	k, err := w.know(text, "/")
	says(t, "fresh", "", err)
	if again, _ := w.know(text, "/"); again != k {
		t.Error("checked anew within a minute")
	}
	says(t, "a stream", "", w.callers.Still(k, "api", "/"))
	w.advance(71 * time.Second) // 10 s, and the skew
	says(t, "a stream after its end", ReasonJWT, w.callers.Still(k, "api", "/"))
	_, err = w.know(text, "/")
	says(t, "after its end", ReasonJWT, err)
	// A configuration that does not list it any more cuts at once.
	text = w.signed(w.good(), nil)
	k, err = w.know(text, "/")
	says(t, "another", "", err)
	listed := w.issuer.listed()
	listed.Subjects = []string{"somebody-else"}
	says(t, "a stream under another configuration", ReasonJWT, w.configured(Service{Issuers: []*Issuer{listed}}).Still(k, "api", "/"))
	says(t, "a stream of a service that is gone", ReasonJWT, w.callers.Still(k, "gone", "/"))
	var none *Callers
	says(t, "a stream without callers", ReasonScope, none.Still(k, "api", "/"))
}

func TestWhoGuessesIsSlowedDown(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, text := w.make("ci", time.Hour, Scope{"api", "/"})
	jwt := w.signed(w.good(), nil)
	_, err := w.know(jwt, "/")
	says(t, "a JWT", "", err)
	for range guessBurst {
		_, err := w.know(text+"x", "/")
		says(t, "a guess", ReasonUnknown, err)
	}
	_, err = w.know(text+"x", "/")
	says(t, "one guess too many", ReasonThrottled, err)
	_, err = w.know(w.signed(w.good(), map[jose.HeaderKey]any{"typ": "at+jwt"}), "/")
	says(t, "what would cost to check", ReasonThrottled, err)
	_, err = w.know(text, "/")
	says(t, "who knows a token", "", err)
	_, err = w.know(jwt, "/")
	says(t, "who is known already", "", err)
	if _, err := w.callers.Know(t.Context(), text+"x", "api", "/", netip.MustParseAddr("10.1.2.4")); err == nil {
		t.Error("a guess from elsewhere was believed")
	} else {
		says(t, "a guess from elsewhere", ReasonUnknown, err)
	}
	w.advance(guessEvery)
	_, err = w.know(text+"x", "/")
	says(t, "a guess some time later", ReasonUnknown, err)
}

func TestOneCredentialInOneHeader(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		headers []string
		want    string
		bad     bool
	}{
		{nil, "", false},
		{[]string{"Basic eDp5"}, "", false},
		{[]string{"Basic eDp5", "Digest x"}, "", false},
		{[]string{"Bearer abc"}, "abc", false},
		{[]string{"bEARER  abc "}, "abc", false},
		{[]string{"Bearer"}, "", true},
		{[]string{"Bearer "}, "", true},
		{[]string{"Bearer a b"}, "", true},
		{[]string{"Bearer a,Bearer b"}, "", true},
		{[]string{"Bearer a", "Bearer b"}, "", true},
		{[]string{"Basic eDp5", "Bearer b"}, "", true},
		{[]string{"Bearer " + strings.Repeat("x", maxBearer+1)}, "", true},
	} {
		got, err := Credential(c.headers)
		if got != c.want || (err != nil) != c.bad {
			t.Errorf("%.40q: %q, %v", c.headers, got, err)
		}
	}
}
