package gateway

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/gatehouse-sso/gatehouse/authz"
	"github.com/gatehouse-sso/gatehouse/gateway/session"
)

// unverified are the claims of a token, for tests that are not about its signature.
func unverified(raw string) map[string]any {
	parts := strings.Split(raw, ".")
	if len(parts) != 3 {
		return nil
	}
	b, _ := base64.RawURLEncoding.DecodeString(parts[1])
	var c map[string]any
	_ = json.Unmarshal(b, &c)
	return c
}

// verify checks a token as a service should: by the published keys, for itself.
func (f *front) verify(raw, aud string) (jwt.Claims, map[string]any, error) {
	f.t.Helper()
	a := f.ask(nil, "GET", aud, "/.gatehouse/jwks.json")
	var keys jose.JSONWebKeySet
	if err := json.Unmarshal([]byte(a.body), &keys); err != nil {
		f.t.Fatal(err)
	}
	var c jwt.Claims
	var all map[string]any
	tok, err := jwt.ParseSigned(raw, []jose.SignatureAlgorithm{jose.ES256})
	if err == nil {
		err = tok.Claims(keys, &c, &all)
	}
	if err == nil {
		err = c.ValidateWithLeeway(jwt.Expected{Issuer: f.c.Public.String(), AnyAudience: jwt.Audience{aud}, Time: f.now()}, time.Second)
	}
	return c, all, err
}

func TestP28_TokensAreForOneServiceAndShort(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	alice := f.guest("alice", "fin", "staff")
	token := func(host string, lines ...string) string {
		t.Helper()
		s := f.passed(f.ask(alice, "GET", host, "/", lines...))
		if n := len(s.Header["X-Gatehouse-Jwt"]); n != 1 {
			t.Fatalf("%d tokens", n)
		}
		return s.Header.Get("X-Gatehouse-Jwt")
	}
	wiki, payroll := token("wiki", "X-Gatehouse-Jwt: forged", "x_gatehouse_jwt: forged"), token("payroll")
	for host, raw := range map[string]string{"wiki": wiki, "payroll": payroll} {
		c, all, err := f.verify(raw, host)
		if err != nil {
			t.Fatalf("%s: %v", host, err)
		}
		if c.Subject != alice.user.ID || len(c.Audience) != 1 || c.ID == "" || c.Expiry.Time().Sub(c.IssuedAt.Time()) != 5*time.Minute {
			t.Errorf("%s: %+v", host, c)
		}
		if all["user_name"] != "alice" || all["X-Forwarded-User"] != nil || len(all["groups"].([]any)) != 2 {
			t.Errorf("%s: %v", host, all)
		}
	}
	if _, _, err := f.verify(payroll, "wiki"); err == nil {
		t.Error("a token for payroll is good at wiki")
	}
	if _, _, err := f.verify(wiki[:strings.LastIndex(wiki, ".")]+payroll[strings.LastIndex(payroll, "."):], "wiki"); err == nil {
		t.Error("a token with another signature is good")
	}
	if tok, err := jwt.ParseSigned(wiki, []jose.SignatureAlgorithm{jose.ES256}); err != nil || tok.Headers[0].KeyID == "" {
		t.Errorf("%v %+v", err, tok)
	}
	f.offset.Add(int64(6 * time.Minute))
	if _, _, err := f.verify(wiki, "wiki"); err == nil {
		t.Error("a token is good after five minutes")
	}
	// Nobody gets none, on a public path too.
	if s := f.passed(f.ask(nil, "GET", "wiki", "/public/x", "X-Gatehouse-Jwt: "+wiki)); s.Header["X-Gatehouse-Jwt"] != nil {
		t.Error("nobody has a token")
	}
}

func TestP28_TokensAreRenewedBesideRequestsAndNeverServedStale(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	alice := f.guest("alice")
	alice.cookie("wiki")
	left := func() time.Duration {
		t.Helper()
		s := f.passed(f.ask(alice, "GET", "wiki", "/"))
		c, _, err := f.verify(s.Header.Get("X-Gatehouse-Jwt"), "wiki")
		if err != nil {
			t.Fatal(err)
		}
		return c.Expiry.Time().Sub(f.now()).Round(time.Second)
	}
	signed := func() int64 { return f.signed.Load() }

	if l := left(); l < 299*time.Second || l > 300*time.Second || signed() != 1 {
		t.Fatalf("first: %s left, %d signed", l, signed())
	}
	// Young: the same one.
	f.offset.Add(int64(2 * time.Minute))
	if l := left(); l < 178*time.Second || l > 181*time.Second || signed() != 1 {
		t.Errorf("after two minutes: %s left, %d signed", l, signed())
	}
	// Past half its life: served as it is, and another made meanwhile.
	f.offset.Add(int64(time.Minute))
	if l := left(); l < 118*time.Second || l > 121*time.Second {
		t.Errorf("after three minutes: %s left", l)
	}
	eventually(t, "another token is made", func() bool { return signed() == 2 })
	eventually(t, "it is served", func() bool { return left() >= 290*time.Second })
	// Nobody asked for so long that it is too late: signed while the request waits.
	f.offset.Add(int64(4*time.Minute + 10*time.Second))
	if l := left(); l < 299*time.Second || signed() != 3 {
		t.Errorf("with less than a minute left: %s left, %d signed", l, signed())
	}
	// At no age is it served with less than a minute left.
	for range 40 {
		f.offset.Add(int64(17 * time.Second))
		if l := left(); l < tokenLeft-time.Second {
			t.Errorf("served with %s left", l)
		}
	}
	// A clock that jumped back: one that would live too long is not served.
	f.offset.Add(-int64(time.Hour))
	if l := left(); l > tokenLife+time.Second {
		t.Errorf("served with %s left", l)
	}
}

// Whoever learns no name of a person learns none by the token either: it can not
// know them again in their next session, nor by when they signed in.
func TestP28_TheTokenOfAnAnonymousPersonIsNobodysName(t *testing.T) {
	t.Parallel()
	f := newFront(t, func(_ *front, c *Config) {
		rel, mistakes := authz.CompileRelease(map[string][]authz.ReleaseRule{
			"service:wiki": {{Attribute: "groups"}}, "service:payroll": {{Attribute: "groups"}, {Attribute: "pairwise_id"}},
		})
		if mistakes != nil {
			t.Fatal(mistakes)
		}
		c.Release = rel.With([]byte("0123456789abcdef0123456789abcdef"))
	})
	alice := f.guest("alice", "staff", "fin")
	again := f.signIn(alice.user, session.Session{Provider: "campus", AuthTime: f.now()})
	claims := func(p *guest, host string) map[string]any {
		t.Helper()
		_, all, err := f.verify(f.passed(f.ask(p, "GET", host, "/")).Header.Get("X-Gatehouse-Jwt"), host)
		if err != nil {
			t.Fatal(err)
		}
		if all["sub"] == nil || all["sub"] == "" || all["sub"] == alice.user.ID {
			t.Fatalf("sub at %s is %v", host, all["sub"])
		}
		return all
	}
	first, second := claims(alice, "wiki"), claims(again, "wiki")
	if first["sub"] == second["sub"] || first["auth_time"] != nil {
		t.Errorf("the same person in two sessions: %v and %v", first, second)
	}
	f.offset.Add(int64(6 * time.Minute)) // another token of the same session
	if later := claims(alice, "wiki"); later["sub"] != first["sub"] || later["jti"] == first["jti"] {
		t.Errorf("one session is called %v, and then %v", first["sub"], later["sub"])
	}
	// The control: who may be known again is, and by nothing that the wiki has.
	if a, b := claims(alice, "payroll"), claims(again, "payroll"); a["sub"] != b["sub"] || a["sub"] == first["sub"] || a["auth_time"] == nil {
		t.Errorf("pairwise: %v and %v", a, b)
	}
}

func TestTokenClaimsAreOursToName(t *testing.T) {
	t.Parallel()
	f := newFront(t, func(_ *front, c *Config) {
		rel, mistakes := authz.CompileRelease(map[string][]authz.ReleaseRule{"service:wiki": {
			{Attribute: "user_name", As: "sub2"}, {Attribute: "pairwise_id"}, {Attribute: "mail", As: "email"}, {Attribute: "display_name", As: "iss"}, {Attribute: "groups"},
		}})
		if mistakes != nil {
			t.Fatal(mistakes)
		}
		c.Release = rel.With([]byte("0123456789abcdef0123456789abcdef"))
		c.Multi = func(a string) bool { return a == "mail" }
	})
	alice := f.guest("alice")
	_, all, err := f.verify(f.passed(f.ask(alice, "GET", "wiki", "/")).Header.Get("X-Gatehouse-Jwt"), "wiki")
	if err != nil {
		t.Fatal(err)
	}
	if all["sub"] == alice.user.ID || all["sub"] != all["pairwise_id"] {
		t.Errorf("sub is %v, the pairwise ID %v", all["sub"], all["pairwise_id"])
	}
	if all["sub2"] != "alice" || all["iss"] != f.c.Public.String() || len(all["email"].([]any)) != 1 {
		t.Errorf("%v", all)
	}
}
