package gateway

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/gatehouse-sso/gatehouse/authz"
	"github.com/gatehouse-sso/gatehouse/gateway/bearer"
)

// programs lets a front take tokens and JWTs: at "wiki" the token ci may see /api,
// at "payroll" robots may see everything, and "open" takes none.
type programs struct {
	*front
	tokens *bearer.Tokens
	key    *ecdsa.PrivateKey
	issuer string
	c      bearer.Config
}

func newPrograms(t *testing.T, change ...func(*front, *Config)) *programs {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p := &programs{key: key}
	op := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "k"}}})
	}))
	t.Cleanup(op.Close)
	p.issuer = "https://issuer.example"
	p.front = newFront(t, append([]func(*front, *Config){func(f *front, c *Config) {
		p.tokens, err = bearer.LoadTokens(t.Context(), bearer.TokensConfig{Store: f.st, Key: []byte("key"), Now: f.now, Ended: func() { f.streams.judge.Load().Recheck("", "") }})
		if err != nil {
			t.Fatal(err)
		}
		robots := &bearer.Issuer{
			ID: "robots", Issuer: p.issuer, KeysURL: op.URL, Audience: []string{"payroll"}, Subjects: []string{"robot-*"}, Algorithms: []string{"ES256"},
			Attributes: map[string]string{"mail": "contact"}, Longest: time.Hour, Client: http.DefaultClient,
		}
		p.c = bearer.Config{Services: map[string]bearer.Service{"wiki": {Tokens: true}, "payroll": {Issuers: []*bearer.Issuer{robots}}}, Tokens: p.tokens, Keys: bearer.NewKeys(), Limits: bearer.NewLimits(), Now: f.now}
		c.Callers = bearer.New(p.c)
		rules := rulesOf()
		rules[0].Rules = append(rules[0].Rules, authz.Rule{ID: "ci", Text: "This part is for the build.", Allow: &authz.Match{Callers: []string{"token:ci"}}})
		rules[1].Rules = append(rules[1].Rules, authz.Rule{ID: "robots", Allow: &authz.Match{Callers: []string{"robots"}}})
		c.Policy, _ = authz.Compile(nil, rules)
	}}, change...)...)
	return p
}

// token makes one of a program for paths of the wiki.
func (p *programs) token(name, path string) (id, line string) {
	p.t.Helper()
	made, text, err := p.tokens.Make(p.t.Context(), name, []bearer.Scope{{Service: "wiki", Path: path}}, nil, time.Hour, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	return made.ID, "Authorization: Bearer " + text
}

// jwt makes one of a robot.
func (p *programs) jwt(life time.Duration) (line string) {
	p.t.Helper()
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: p.key, KeyID: "k"}}, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	raw, err := jwt.Signed(s).Claims(map[string]any{"iss": p.issuer, "aud": "payroll", "sub": "robot-7", "contact": "robots@test", "iat": p.now().Unix(), "exp": p.now().Add(life).Unix()}).Serialize()
	if err != nil {
		p.t.Fatal(err)
	}
	return "Authorization: Bearer " + raw
}

func TestP21_AProgramPassesByItsCredentialWhichStaysHere(t *testing.T) {
	t.Parallel()
	p := newPrograms(t)
	_, ci := p.token("ci", "/api")
	for _, c := range []struct{ line, host, path, user, mail string }{
		{ci, "wiki", "/api/x", "caller:token/ci", ""},
		{p.jwt(time.Minute), "payroll", "/", "caller:robots/robot-7", "robots@test"},
	} {
		for range 2 { // fresh, and remembered
			s := p.passed(p.ask(nil, "GET", c.host, c.path, c.line, "X-Forwarded-User: forged", "Remote-User: forged"))
			forged(t, s)
			if s.Header["Authorization"] != nil || strings.Contains(strings.Join(s.Header["Cookie"], ""), "gh_") {
				t.Errorf("the service got %q", s.Header)
			}
			if got := s.Header.Get("X-Forwarded-User") + s.Header.Get("Remote-User"); got != c.user {
				t.Errorf("the service is told %q, want %q", got, c.user)
			}
			if got := s.Header.Get("Remote-Email"); got != c.mail {
				t.Errorf("the mail address %q, want %q", got, c.mail)
			}
			claims, all, err := p.verify(s.Header.Get("X-Gatehouse-Jwt"), c.host)
			if err != nil || claims.Subject != c.user || all["caller"] == nil {
				t.Errorf("the token for the service: %v, %v", all, err)
			}
		}
	}
	if strings.Contains(p.echo.bytes(), "gh_service_") || strings.Contains(p.echo.bytes(), strings.TrimPrefix(ci, "Authorization: Bearer ")) {
		t.Error("a credential reached a service")
	}
	// By the other way of requests too.
	p.passed(p.ask(nil, "POST", "wiki", "/api/x", ci, "Transfer-Encoding: chunked\r\n\r\n0"))
	if strings.Contains(p.echo.bytes(), "gh_service_") {
		t.Error("a credential reached a service by the standard transport")
	}
}

func TestACredentialThatIsNotBelievedIsNotNobody(t *testing.T) {
	t.Parallel()
	p := newPrograms(t)
	id, ci := p.token("ci", "/api")
	_, other := p.token("cd", "/")
	alice := p.guest("alice", "fin")
	for _, c := range []struct {
		what, line, host, path string
		status                 int
		code                   string
	}{
		{"beyond its paths", ci, "wiki", "/", 403, bearer.ReasonScope},
		{"beyond its paths, public", ci, "wiki", "/public/x", 403, bearer.ReasonScope},
		{"no rule names it", other, "wiki", "/x", 403, authz.ReasonNoRule},
		{"forged", ci + "x", "wiki", "/api", 401, bearer.ReasonUnknown},
		{"forged, public", ci + "x", "wiki", "/public/x", 401, bearer.ReasonUnknown},
		{"a JWT where tokens are taken", p.jwt(time.Minute), "wiki", "/api", 401, bearer.ReasonUnknown},
		{"a token where JWTs are taken", ci, "payroll", "/", 403, bearer.ReasonScope},
		{"two", ci + "\r\n" + other, "wiki", "/api", 401, bearer.ReasonUnknown},
		{"nothing in it", "Authorization: Bearer", "wiki", "/api", 401, bearer.ReasonUnknown},
	} {
		before := p.recorded(c.code)
		a := p.ask(nil, "GET", c.host, c.path, c.line)
		p.refused(a, c.status, c.code)
		if p.recorded(c.code) != before+1 {
			t.Errorf("%s: recorded %d times", c.what, p.recorded(c.code)-before)
		}
		if c.status == 401 && !strings.Contains(strings.Join(a.Header["Www-Authenticate"], "\n"), `Bearer realm="Gatehouse", error="invalid_token"`) {
			t.Errorf("%s: told %q", c.what, a.Header["Www-Authenticate"])
		}
		// A session beside it helps nobody: the credential counts.
		if c.what != "a token where JWTs are taken" {
			p.refused(p.ask(alice, "GET", c.host, c.path, c.line), c.status, c.code)
		}
	}
	// Controls: with it, without it, with something else, and where none is taken.
	p.passed(p.ask(nil, "GET", "wiki", "/api", ci))
	p.passed(p.ask(alice, "GET", "wiki", "/x"))
	p.passed(p.ask(alice, "GET", "wiki", "/x", "Authorization: Basic eDp5"))
	p.passed(p.ask(nil, "GET", "open", "/", ci))
	p.refused(p.ask(nil, "GET", "wiki", "/x"), 401, ReasonSignIn)
	if _, err := p.tokens.Revoke(t.Context(), id, nil); err != nil {
		t.Fatal(err)
	}
	p.refused(p.ask(nil, "GET", "wiki", "/api", ci), 401, bearer.ReasonUnknown)
}

func TestP19P20_StreamsOfProgramsEndWithTheirCredential(t *testing.T) {
	t.Parallel()
	ends := map[string]func(p *programs, id string){
		"revoked": func(p *programs, id string) { _, _ = p.tokens.Revoke(t.Context(), id, nil) },
		"old":     func(p *programs, _ string) { p.offset.Add(int64(2 * time.Hour)) },
		"not taken any more": func(p *programs, _ string) {
			c := p.front.c
			c.Callers = bearer.New(bearer.Config{Tokens: p.tokens, Keys: p.c.Keys, Limits: p.c.Limits, Now: p.now})
			if next, err := New(c); err == nil {
				next.Recheck("", "")
			}
		},
		"not named any more": func(p *programs, _ string) {
			c := p.front.c
			c.Policy, _ = authz.Compile(nil, rulesOf())
			if next, err := New(c); err == nil {
				next.Recheck("", "")
			}
		},
	}
	for why, end := range ends {
		t.Run(why, func(t *testing.T) {
			t.Parallel()
			p := newPrograms(t)
			p.echo.does(func(w http.ResponseWriter, r *http.Request) {
				for _, l := range lasting {
					if strings.Contains(l.request, " "+r.URL.Path+" ") {
						l.serve(w, r)
					}
				}
			})
			cuts := map[string]chan string{}
			ids := map[string]string{}
			for what := range lasting {
				id, line := p.token("ci", "/")
				ids[what], cuts[what] = id, p.open(line+"\r\n", "wiki", what)
			}
			var robot chan string
			if why != "revoked" {
				robot = p.open(p.jwt(10*time.Minute)+"\r\n", "payroll", "download")
			}
			alice := p.guest("alice")
			stays := p.stays(alice, "wiki", "server-sent events")
			if why == "old" {
				stays = nil // her session is old too
			}
			for what := range lasting {
				end(p, ids[what])
			}
			for what, cut := range cuts {
				p.onlyCut(what, cut, stays)
			}
			if robot != nil {
				p.onlyCut("a robot's", robot, stays)
			}
		})
	}
}

// A browser sends its session by itself; what the program shows is what counts.
func TestARequestIsOfTheProgramAlone(t *testing.T) {
	t.Parallel()
	p := newPrograms(t)
	_, ci := p.token("ci", "/")
	p.echo.does(lasting["server-sent events"].serve)
	p.open(p.guest("alice").cookie("wiki")+ci+"\r\n", "wiki", "server-sent events")
	for _, st := range p.streams.of(everything) {
		if st.session != "" || st.user != "" || st.bears == nil {
			t.Errorf("the stream is of the session %q, the user %q and %v", st.session, st.user, st.bears)
		}
	}
}

func TestAProxyIsToldOfPrograms(t *testing.T) {
	t.Parallel()
	p := newPrograms(t, behind("traefik"))
	_, ci := p.token("ci", "/api")
	a := p.question("traefik", nil, "GET", "wiki", "/api/x", ci)
	if a.StatusCode != 200 || a.Header.Get("X-Forwarded-User") != "caller:token/ci" || a.Header.Get("Authorization") != "" || a.Header.Get("X-Gatehouse-Jwt") == "" {
		t.Errorf("got %d %q", a.StatusCode, a.Header)
	}
	p.refused(p.question("traefik", nil, "GET", "wiki", "/x", ci), 403, bearer.ReasonScope)
	p.refused(p.question("traefik", nil, "GET", "wiki", "/api", ci+"x"), 401, bearer.ReasonUnknown)
}

// Nobody's requests are paced by address; those of a known program are not, and
// wrong credentials have a measure of their own.
func TestGuessesOfCredentialsAreLimited(t *testing.T) {
	t.Parallel()
	p := newPrograms(t, func(f *front, c *Config) {
		c.Pace = NewPace(PaceConfig{PerAddress: 1, PerPerson: 1, Now: func() time.Time { return time.Unix(1, 0) }})
	})
	_, ci := p.token("ci", "/api")
	for range 30 {
		p.passed(p.ask(nil, "GET", "wiki", "/api", ci))
	}
	said := map[string]int{}
	var last answer
	for range 25 {
		last = p.ask(nil, "GET", "wiki", "/api", ci+"x")
		said[last.code()]++
	}
	if said[bearer.ReasonUnknown] != 20 || said[bearer.ReasonThrottled] != 5 || last.Header.Get("Retry-After") != "6" {
		t.Errorf("said %v, Retry-After %q", said, last.Header.Get("Retry-After"))
	}
	p.passed(p.ask(nil, "GET", "wiki", "/api", ci))
}
