package oidc_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gatehouse-sso/gatehouse/federation"
	"github.com/gatehouse-sso/gatehouse/federation/idptest"
	"github.com/gatehouse-sso/gatehouse/federation/oidc"
)

const backChannel = "https://gate.example/.gatehouse/oidc/op.example/backchannel-logout"

func logoutForm(form url.Values) *http.Request {
	r := httptest.NewRequest(http.MethodPost, backChannel, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return r
}

// over is a logout token of alice's that comes.
func (w *world) over(f idptest.OPFault) (federation.Ending, error) {
	return w.Over(logoutForm(url.Values{"logout_token": {w.op.LogoutToken(w.cfg.ClientID, "a11ce", "s1", f)}}))
}

// keeps checks that a logout token with a fault ends nothing, and that the same
// without it is good.
func (w *world) keeps(code string, f idptest.OPFault) {
	w.t.Helper()
	e, err := w.over(f)
	wantNoEnding(w.t, e, err, code)
	w.clock.Advance(2 * time.Minute) // whatever was fetched in vain may be fetched again
	if e, err = w.over(idptest.OPFault{}); err != nil || e.Name != "a11ce" {
		w.t.Errorf("an honest logout token gives %+v, %v", e, err)
	}
}

func wantNoEnding(t *testing.T, e federation.Ending, err error, code string) {
	t.Helper()
	if e.Name != "" || e.Sessions != nil || e.Once != nil {
		t.Errorf("refused, but with an ending: %+v", e)
	}
	wantRefusal(t, federation.Identity{}, err, code)
}

// OIDF: oidcc-client-test-rp-backchannel-rpinitlogout.
func TestO35_LogoutTokenIsUnderstood(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	id := w.accepts()
	if id.Context.Name != id.Ref.Subject || id.Context.Session == "" {
		t.Fatalf("a sign-in that can not be found again: %+v", id.Context)
	}
	for name, want := range map[string]struct {
		sub, sid string
		typ      any
	}{
		"of a session":             {"", "s1", "logout+jwt"},
		"of a person":              {"a11ce", "", "logout+jwt"},
		"of both":                  {"a11ce", "s1", "logout+jwt"},
		"with a typ of its own":    {"a11ce", "s1", "application/LOGOUT+JWT"},
		"with the typ of all JWTs": {"a11ce", "s1", "JWT"},
		"without typ":              {"a11ce", "s1", nil},
	} {
		e, err := w.Over(logoutForm(url.Values{"logout_token": {w.op.LogoutToken(w.cfg.ClientID, want.sub, want.sid, idptest.OPHeader("typ", want.typ))}}))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var sessions []string
		if want.sid != "" {
			sessions = []string{want.sid}
		}
		if e.Name != want.sub || !cmp.Equal(e.Sessions, sessions) || len(e.Once) != 1 || e.Answer != nil {
			t.Errorf("%s: %+v", name, e)
		}
	}
	one, _ := w.over(idptest.OPSays("jti", "x"))
	two, _ := w.over(idptest.OPSays("jti", "x"))
	if one.Once[0] != two.Once[0] || !one.Once[0].Until.After(w.clock.Now().Add(5*time.Minute)) {
		t.Errorf("what makes a token good for one use is %+v, then %+v", one.Once, two.Once)
	}
}

// OIDF: oidcc-client-test-rp-backchannel-rpinitlogout-alg-none, -wrong-alg,
// -wrong-aud, -wrong-iss, -wrong-event, -no-event, -with-nonce.
func TestO36_BadLogoutTokensAreRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	for name, c := range map[string]struct {
		code  string
		fault idptest.OPFault
	}{
		"alg none":          {oidc.ReasonAlgorithm, idptest.OPAlgNone("none")},
		"another algorithm": {oidc.ReasonAlgorithm, idptest.OPHeader("alg", "HS256")},
		"another client":    {oidc.ReasonAudience, idptest.OPWrongAudience()},
		"another issuer":    {oidc.ReasonIssuer, idptest.OPWrongIssuer("https://evil.example")},
		"another event":     {oidc.ReasonLogout, idptest.OPSays("events", map[string]any{"http://schemas.openid.net/event/other": map[string]any{}})},
		"no event":          {oidc.ReasonLogout, idptest.OPOmits("events")},
		"event of a text":   {oidc.ReasonLogout, idptest.OPSays("events", map[string]any{"http://schemas.openid.net/event/backchannel-logout": "yes"})},
		"events as a list":  {oidc.ReasonLogout, idptest.OPSays("events", []string{"http://schemas.openid.net/event/backchannel-logout"})},
		"a nonce":           {oidc.ReasonLogout, idptest.OPSays("nonce", "n")},
		"an empty nonce":    {oidc.ReasonLogout, idptest.OPSays("nonce", nil)},
	} {
		t.Run(name, func(t *testing.T) { w := *w; w.t = t; w.keeps(c.code, c.fault) })
	}
}

func TestO37_LogoutTokensThatAreOldUsedOrAnothersAreRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	at := func(name string, d time.Duration) idptest.OPFault {
		return idptest.OPFault{Claims: func(c map[string]any) { c[name] = w.clock.Now().Add(d).Unix() }}
	}
	for name, c := range map[string]struct {
		code  string
		fault idptest.OPFault
	}{
		"no jti":                 {oidc.ReasonLogout, idptest.OPOmits("jti")},
		"an empty jti":           {oidc.ReasonLogout, idptest.OPSays("jti", "")},
		"a jti that is long":     {oidc.ReasonLogout, idptest.OPSays("jti", strings.Repeat("x", 256))},
		"an hour old":            {oidc.ReasonExpired, at("iat", -time.Hour)},
		"a little too old":       {oidc.ReasonExpired, at("iat", -6*time.Minute-time.Second)},
		"of the future":          {oidc.ReasonIssuedAt, at("iat", 2*time.Minute)},
		"no iat":                 {oidc.ReasonIssuedAt, idptest.OPOmits("iat")},
		"no exp":                 {oidc.ReasonExpired, idptest.OPOmits("exp")},
		"over":                   {oidc.ReasonExpired, at("exp", -time.Minute)},
		"of nobody":              {oidc.ReasonLogout, idptest.OPOmits("sub").With(idptest.OPOmits("sid"))},
		"of a number":            {oidc.ReasonLogout, idptest.OPSays("sub", 7)},
		"of a session of null":   {oidc.ReasonLogout, idptest.OPSays("sid", nil)},
		"with an ID token's typ": {oidc.ReasonToken, idptest.OPHeader("typ", "id_token+jwt")},
		"with another typ":       {oidc.ReasonToken, idptest.OPHeader("typ", "at+jwt")},
		"claims twice": {oidc.ReasonLogout, idptest.OPFault{Payload: func(b []byte) []byte {
			return []byte(strings.Replace(string(b), `{`, `{"sub":"somebody",`, 1))
		}}},
	} {
		t.Run(name, func(t *testing.T) { w := *w; w.t = t; w.keeps(c.code, c.fault) })
	}
	t.Run("an ID token", func(t *testing.T) {
		e, err := w.Over(logoutForm(url.Values{"logout_token": {w.accepts().Context.LogoutHint}}))
		wantNoEnding(t, e, err, oidc.ReasonLogout)
	})
	t.Run("of another provider", func(t *testing.T) {
		other := newWorld(t, setup{host: "evil.example", net: w.net, clock: w.clock})
		e, err := w.Over(logoutForm(url.Values{"logout_token": {other.op.LogoutToken(w.cfg.ClientID, "a11ce", "s1", idptest.OPWrongIssuer(w.cfg.Issuer))}}))
		wantNoEnding(t, e, err, oidc.ReasonSignature)
	})
	good := func() string { return w.op.LogoutToken(w.cfg.ClientID, "a11ce", "s1", idptest.OPFault{}) }
	for name, r := range map[string]*http.Request{
		"twice":          logoutForm(url.Values{"logout_token": {good(), good()}}),
		"none":           logoutForm(url.Values{}),
		"in the address": httptest.NewRequest(http.MethodPost, backChannel+"?logout_token="+good(), nil),
		"by GET":         httptest.NewRequest(http.MethodGet, backChannel+"?logout_token="+good(), nil),
	} {
		t.Run(name, func(t *testing.T) {
			e, err := w.Over(r)
			wantNoEnding(t, e, err, federation.ReasonMalformed)
		})
	}
	also := logoutForm(url.Values{"logout_token": {good()}})
	also.URL.RawQuery = "logout_token=x"
	e, err := w.Over(also)
	wantNoEnding(t, e, err, federation.ReasonMalformed)
	if _, err := w.Over(logoutForm(url.Values{"logout_token": {good()}})); err != nil {
		t.Errorf("an honest one is refused: %v", err)
	}
}

func TestO38_ForgedLogoutTokensDoNotFloodTheKeySet(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	if _, err := w.over(idptest.OPFault{}); err != nil {
		t.Fatal(err)
	}
	before := w.op.Count("jwks")
	for i := range 500 {
		f := idptest.OPHeader("kid", "unknown")
		if i%2 == 1 {
			f = idptest.OPFault{Sign: func(_ *idptest.OP, h map[string]any, payload []byte) string {
				head, _ := json.Marshal(h)
				return strings.Join([]string{base64.RawURLEncoding.EncodeToString(head), base64.RawURLEncoding.EncodeToString(payload), strings.Repeat("A", 86)}, ".")
			}}
		}
		e, err := w.over(f)
		wantNoEnding(t, e, err, oidc.ReasonSignature)
	}
	if n := w.op.Count("jwks") - before; n > 1 {
		t.Errorf("the keys were fetched %d times in a minute", n)
	}
}

// OIDF: oidcc-client-test-rp-init-logout, -no-state, -other-state.
func TestO43_SignOutComesBackWithItsOwnState(t *testing.T) {
	t.Parallel()
	const out = "https://gate.example/.gatehouse/signed-out"
	w := newWorld(t, setup{rp: func(c *oidc.Config) { c.PostLogoutURL = out }, client: func(c *idptest.OPClient) { c.PostLogout = []string{out} }})
	id := w.accepts()
	ch, p, err := w.Leave(t.Context(), federation.SignedIn{Session: id.Context.Session, Hint: id.Context.LogoutHint})
	if err != nil || ch.Form != nil {
		t.Fatal(ch, err)
	}
	client := *w.cfg.Client
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	resp, err := client.Get(ch.URL.String())
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	back := resp.Header.Get("Location")
	if !strings.HasPrefix(back, out+"?state=") {
		t.Fatalf("the provider, asked with %s, answers %s %s", ch.URL, resp.Status, back)
	}
	if err := w.Left(httptest.NewRequest(http.MethodGet, back, nil), p); err != nil {
		t.Errorf("the answer is refused: %v", err)
	}
	for name, r := range map[string]string{"no state": out, "another state": out + "?state=x", "two": back + "&state=x", "an empty one": out + "?state="} {
		err := w.Left(httptest.NewRequest(http.MethodGet, r, nil), p)
		wantRefusal(t, federation.Identity{}, err, federation.ReasonStateUnknown)
		if err == nil {
			t.Error(name)
		}
	}
	w.clock.Advance(oidc.Lifetime + time.Second)
	wantRefusal(t, federation.Identity{}, w.Left(httptest.NewRequest(http.MethodGet, back, nil), p), federation.ReasonStateExpired)
	wantRefusal(t, federation.Identity{}, w.Left(httptest.NewRequest(http.MethodGet, out+"?state=", nil), federation.Pending{}), federation.ReasonStateUnknown)
}

func TestProviderWithoutAWayOutIsNotAsked(t *testing.T) {
	t.Parallel()
	for name, f := range map[string]func(map[string]any){
		"none":   func(d map[string]any) { delete(d, "end_session_endpoint") },
		"unsafe": func(d map[string]any) { d["end_session_endpoint"] = "javascript:alert(1)" },
	} {
		w := newWorld(t, setup{})
		w.op.Misbehave(idptest.OPFault{Discovery: f})
		id := w.accepts()
		if ch, _, err := w.Leave(t.Context(), federation.SignedIn{Hint: id.Context.LogoutHint}); !errors.Is(err, federation.ErrNoLogout) || ch.URL != nil {
			t.Errorf("%s: %v, %v", name, ch, err)
		}
	}
}

// A refresh token is never asked for, and one that comes all the same is not
// kept: so there is no refresh that could name somebody else, fail, or race.
func TestO33_NoRefreshCanNameSomebodyElse(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	w.op.Misbehave(idptest.OPFault{Response: func(d map[string]any) { d["refresh_token"] = "r3fr3sh" }})
	id := w.accepts()
	if raw, _ := json.Marshal(id); strings.Contains(string(raw), "r3fr3sh") {
		t.Errorf("a refresh token is kept: %s", raw)
	}
	ch, _, err := w.Begin(t.Context(), federation.Login{})
	if err != nil || strings.Contains(ch.URL.Query().Get("scope"), "offline_access") {
		t.Errorf("asked for %s, %v", ch.URL, err)
	}
}

func TestO34_NoRefreshCanFail(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	w.op.Misbehave(idptest.OPFault{Response: func(d map[string]any) { d["refresh_token"] = "r3fr3sh"; d["expires_in"] = 1 }})
	w.accepts()
	asked := w.op.Count("token")
	w.clock.Advance(time.Hour)
	if n := w.op.Count("token"); n != asked || asked == 0 {
		t.Errorf("the token endpoint was asked %d times after the sign-in", n-asked)
	}
}
