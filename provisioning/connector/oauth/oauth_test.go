package oauth_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/gatehouse-sso/gatehouse/provisioning/connector"
	"github.com/gatehouse-sso/gatehouse/provisioning/connector/oauth"
)

// world is an authorization server, a target that takes its last token, and a
// clock.
type world struct {
	mu     sync.Mutex
	now    time.Time
	given  []string // tokens
	seen   []url.Values
	basic  []string
	calls  []string // to the target: token and body
	valid  string   // the token that the target takes; empty: the last
	lives  string   // expires_in as it is written
	answer func(http.ResponseWriter) bool
	as, rs *httptest.Server
}

func newWorld(t *testing.T) *world {
	w := &world{now: time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC), lives: "3600"}
	w.as = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.mu.Lock()
		defer w.mu.Unlock()
		_ = r.ParseForm()
		user, password, _ := r.BasicAuth()
		w.seen, w.basic = append(w.seen, r.PostForm), append(w.basic, user+":"+password)
		if w.answer != nil && w.answer(rw) {
			return
		}
		token := fmt.Sprintf("token-%d", len(w.given)+1)
		w.given = append(w.given, token)
		_, _ = fmt.Fprintf(rw, `{"access_token":%q,"token_type":"bearer","expires_in":%s}`, token, w.lives)
	}))
	w.rs = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.mu.Lock()
		defer w.mu.Unlock()
		body, _ := io.ReadAll(r.Body)
		token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
		w.calls = append(w.calls, token+" "+string(body))
		valid := w.valid
		if valid == "" && len(w.given) > 0 {
			valid = w.given[len(w.given)-1]
		}
		if token != valid {
			rw.WriteHeader(http.StatusUnauthorized)
		}
	}))
	t.Cleanup(w.as.Close)
	t.Cleanup(w.rs.Close)
	return w
}

func (w *world) client(t *testing.T, c oauth.Config) *http.Client {
	t.Helper()
	c.TokenURL, c.ClientID = w.as.URL+"/token", "gate house"
	c.Now = func() time.Time { w.mu.Lock(); defer w.mu.Unlock(); return w.now }
	tr, err := oauth.New(w.as.Client().Transport, c)
	if err != nil {
		t.Fatal(err)
	}
	return &http.Client{Transport: tr}
}

func (w *world) post(t *testing.T, c *http.Client, want int) {
	t.Helper()
	resp, err := c.Post(w.rs.URL, "text/plain", strings.NewReader("body"))
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != want {
		t.Errorf("status %d, want %d", resp.StatusCode, want)
	}
}

func TestTokenIsKeptUntilALittleBeforeItsEnd(t *testing.T) {
	t.Parallel()
	for lives, reuse := range map[string]time.Duration{"3600": 3569 * time.Second, `"3600"`: 3569 * time.Second, "20": 9 * time.Second, "null": 29 * time.Second, "1e99": 86369 * time.Second} {
		w := newWorld(t)
		w.lives = lives
		c := w.client(t, oauth.Config{Secret: "s:é"})
		w.post(t, c, 200)
		w.now = w.now.Add(reuse)
		w.post(t, c, 200)
		if len(w.given) != 1 {
			t.Errorf("%s: %d tokens after %v, want 1", lives, len(w.given), reuse)
		}
		w.now = w.now.Add(2 * time.Second)
		w.post(t, c, 200)
		if len(w.given) != 2 {
			t.Errorf("%s: %d tokens after its time, want 2", lives, len(w.given))
		}
		if w.basic[0] != "gate+house:s%3A%C3%A9" || w.seen[0].Get("grant_type") != "client_credentials" || w.seen[0].Has("client_id") || w.seen[0].Has("scope") {
			t.Errorf("asked with %q and %v", w.basic[0], w.seen[0])
		}
	}
}

func TestTokenThatIsNotTakenIsFetchedAnewOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.client(t, oauth.Config{Secret: "s"})
	w.post(t, c, 200)
	w.valid = "token-2" // the first was taken back
	w.post(t, c, 200)
	if want := []string{"token-1 body", "token-1 body", "token-2 body"}; fmt.Sprint(w.calls) != fmt.Sprint(want) {
		t.Errorf("the target got %v, want %v", w.calls, want)
	}
	w.valid = "none"
	w.post(t, c, 401)
	if len(w.given) != 3 || len(w.calls) != 5 {
		t.Errorf("%d tokens, %d calls: it does not stop after one more", len(w.given), len(w.calls))
	}
	w.mu.Lock()
	w.answer = func(rw http.ResponseWriter) bool { rw.WriteHeader(500); return true }
	w.mu.Unlock()
	w.post(t, c, 401) // what the target said stays what it said
}

func TestAssertionProvesTheClient(t *testing.T) {
	t.Parallel()
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for alg, key := range map[jose.SignatureAlgorithm]crypto.Signer{jose.RS256: rsaKey, jose.ES256: ecKey, jose.EdDSA: edKey} {
		w := newWorld(t)
		c := w.client(t, oauth.Config{Key: key, KeyID: "k1", Scopes: []string{"a", "b"}, Resource: "https://crm.test/"})
		w.post(t, c, 200)
		w.valid = "none"
		w.post(t, c, 401) // asks for a second token
		var ids []any
		for _, form := range w.seen {
			if form.Get("scope") != "a b" || form.Get("resource") != "https://crm.test/" || form.Get("client_id") != "gate house" || form.Get("client_assertion_type") != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" || w.basic[0] != ":" {
				t.Errorf("asked with %v %q", form, w.basic[0])
			}
			jws, err := jose.ParseSignedCompact(form.Get("client_assertion"), []jose.SignatureAlgorithm{alg})
			if err != nil {
				t.Fatal(err)
			}
			payload, err := jws.Verify(key.Public())
			if err != nil {
				t.Fatal(err)
			}
			var claims map[string]any
			if err := json.Unmarshal(payload, &claims); err != nil {
				t.Fatal(err)
			}
			at := float64(w.now.Unix())
			if claims["iss"] != "gate house" || claims["sub"] != "gate house" || claims["aud"] != w.as.URL+"/token" || claims["iat"] != at || claims["exp"] != at+60 || jws.Signatures[0].Header.KeyID != "k1" {
				t.Errorf("it claims %v", claims)
			}
			ids = append(ids, claims["jti"])
		}
		if len(ids) != 2 || ids[0] == ids[1] || ids[0] == "" {
			t.Errorf("the assertions have the ids %v", ids)
		}
	}
	small, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := oauth.New(&http.Transport{}, oauth.Config{TokenURL: "https://as.test/token", Key: small}); err == nil {
		t.Error("a key was taken that no usual algorithm is for")
	}
}

func TestClientWithACertificateNamesItself(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.post(t, w.client(t, oauth.Config{}), 200)
	if w.seen[0].Get("client_id") != "gate house" || w.basic[0] != ":" {
		t.Errorf("asked with %v %q", w.seen[0], w.basic[0])
	}
}

func TestB07_TokenEndpointIsJudged(t *testing.T) {
	t.Parallel()
	say := func(status int, body string) func(http.ResponseWriter) bool {
		return func(rw http.ResponseWriter) bool {
			rw.Header().Set("Retry-After", "7")
			rw.WriteHeader(status)
			_, _ = io.WriteString(rw, body)
			return true
		}
	}
	for name, c := range map[string]struct {
		answer func(http.ResponseWriter) bool
		class  connector.Class
		after  time.Duration
		text   string
	}{
		"wrong secret":        {say(401, `{"error":"invalid_client","error_description":"s3cret is wrong"}`), connector.Auth, 0, "the token endpoint answers 401 (invalid_client)"},
		"its own words":       {say(400, `{"error":"s3cret is wrong"}`), connector.Auth, 0, "the token endpoint answers 400"},
		"a redirect":          {say(302, ``), connector.Auth, 0, "the token endpoint answers 302"},
		"too many":            {say(429, ``), connector.Transient, 7 * time.Second, "the token endpoint answers 429"},
		"broken":              {say(503, `<p>s3cret`), connector.Transient, 7 * time.Second, "the token endpoint answers 503"},
		"no token":            {say(200, `{"token_type":"bearer"}`), connector.Auth, 0, "the token endpoint's answer has no token"},
		"a header in it":      {say(200, `{"access_token":"a\r\nX-Evil: 1","token_type":"bearer"}`), connector.Auth, 0, "the token endpoint's answer has no token"},
		"a page":              {say(200, `<p>`), connector.Auth, 0, "the token endpoint's answer has no token"},
		"proof of possession": {say(200, `{"access_token":"a","token_type":"DPoP"}`), connector.Auth, 0, "the token endpoint gives tokens of another type than Bearer"},
		"silence":             {func(http.ResponseWriter) bool { panic(http.ErrAbortHandler) }, connector.Transient, 0, "ask for a token"},
	} {
		w := newWorld(t)
		w.answer = c.answer
		_, err := w.client(t, oauth.Config{Secret: "s3cret"}).Get(w.rs.URL)
		var e *connector.Error
		if !errors.As(err, &e) || e.Class != c.class || e.After != c.after || e.Text != c.text || e.Ambiguous || strings.Contains(e.Error(), "s3cret") {
			t.Errorf("%s: %v, want %v: %s", name, err, c.class, c.text)
		}
		if len(w.calls) > 0 {
			t.Errorf("%s: the target was called without a token", name)
		}
	}
}

func TestOneTokenIsFetchedForMany(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.client(t, oauth.Config{Secret: "s"})
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() { w.post(t, c, 200) })
	}
	wg.Wait()
	if len(w.given) != 1 {
		t.Errorf("%d tokens were fetched", len(w.given))
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	req, _ := http.NewRequestWithContext(ctx, http.MethodGet, w.rs.URL, nil)
	if _, err := c.Do(req); !errors.Is(err, context.Canceled) {
		t.Errorf("a request that is over: %v", err)
	}
}
