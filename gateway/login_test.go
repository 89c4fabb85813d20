package gateway

import (
	"bufio"
	"errors"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/gatehouse-sso/gatehouse/federation"
	"github.com/gatehouse-sso/gatehouse/gateway/session"
	"github.com/gatehouse-sso/gatehouse/provisioning"
	"github.com/gatehouse-sso/gatehouse/provisioning/store"
)

// doors is a Gateway that knows where its services are, and nothing else.
func doors(t testing.TB, public string) *Gateway {
	t.Helper()
	u, err := url.Parse(public)
	if err != nil {
		t.Fatal(err)
	}
	g := &Gateway{c: Config{Public: u}, host: canonicalHost(u.Host)}
	if g.routes, err = newRoutes([]*service{
		{Service: Service{ID: "wiki", Host: "wiki.example.org", Path: "/"}},
		{Service: Service{ID: "notes", Host: "shared.example.org", Path: "/notes"}},
		{Service: Service{ID: "portal", Host: "gate.example.org", Path: "/"}},
	}); err != nil {
		t.Fatal(err)
	}
	return g
}

// isOurs checks what a destination promises: an address that every reader takes
// for one of our hosts, below http or https as the public address is, and not
// one of the gateway's own.
func isOurs(t testing.TB, g *Gateway, raw string) {
	t.Helper()
	d := g.destination(raw)
	u, err := url.Parse(d.url)
	if err != nil {
		t.Fatalf("%q became %q: %v", raw, d.url, err)
	}
	hosts := map[string]bool{"gate.example.org": true, "wiki.example.org": true, "shared.example.org": true}
	switch {
	case u.Scheme != g.c.Public.Scheme, u.User != nil, u.Opaque != "", u.Port() != g.c.Public.Port(), !hosts[u.Hostname()]:
		t.Errorf("%q became %q", raw, d.url)
	case u.Hostname() != d.host:
		t.Errorf("%q became %q, which is said to be at %q", raw, d.url, d.host)
	case strings.ContainsFunc(d.url, func(r rune) bool { return r <= ' ' || r == '\\' || r >= 0x7f }):
		t.Errorf("%q became %q, which browsers could read otherwise", raw, d.url)
	case !strings.HasPrefix(d.url, g.origin(d.host)+"/"):
		t.Errorf("%q became %q, which does not begin with %q", raw, d.url, g.origin(d.host)+"/")
	}
	if _, own := own(d.path); own {
		t.Errorf("%q leads back into the gateway: %q", raw, d.url)
	}
	if again := g.destination(d.url); again.url != d.url {
		t.Errorf("%q became %q, and that %q", raw, d.url, again.url)
	}
}

func TestT18_OnlyOurOwnAddressesAreReturnedTo(t *testing.T) {
	t.Parallel()
	file, err := os.Open("testdata/redirects/openredirects.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for _, public := range []string{"https://gate.example.org", "http://gate.example.org:8080"} {
		g := doors(t, public)
		for _, raw := range []string{
			`\\evil.example`, `/\evil.example`, `/%5cevil.example`, `///evil.example`, `//evil.example`, `http:evil.example`, `https:/evil.example`, `javascript:alert(1)`,
			`https://wiki.example.org@evil.example/`, `https://evil.example#wiki.example.org`, `https://wiki.example.org.evil.example/`, `https://evilwiki.example.org/`,
			"https://wiki.example.org\x00.evil.example/", "https://wiki.example.org\t/", `https://wiki.example.org:443@evil.example/`, `https://WIKI.example.org/`,
			`https://wiki.example.org/.gatehouse/logout`, `/.gatehouse/session?ticket=x`, `https://wiki.example.org/a/../.gatehouse/login`, `https://wiki.example.org:8443/`,
			`data:text/html,x`, `https://[::1]/`, strings.Repeat("/a", 1000), `https://wiki.example.org/%zz`, `//wiki.example.org\@evil.example/`, "https://wiki.example.org/ü",
		} {
			isOurs(t, g, raw)
		}
		if _, err := file.Seek(0, 0); err != nil {
			t.Fatal(err)
		}
		n := 0
		for s := bufio.NewScanner(file); s.Scan(); n++ {
			isOurs(t, g, s.Text())
			if plain, err := url.QueryUnescape(s.Text()); err == nil {
				isOurs(t, g, plain)
			}
		}
		if n < 500 {
			t.Errorf("the list has %d lines only", n)
		}
		// What is ours is returned to, byte for byte.
		for _, path := range []string{"/", "/report", "/a%20b?x=1&y=%2F", "/a/b/"} {
			if want := g.origin("wiki.example.org") + path; g.destination(want).url != want {
				t.Errorf("%q became %q", want, g.destination(want).url)
			}
		}
		if d := g.destination("/me?x=1"); d.url != public+"/me?x=1" || d.service == nil || d.service.ID != "portal" {
			t.Errorf("a path of the gateway's own host became %+v", d)
		}
		if d := g.destination(g.origin("shared.example.org") + "/notes/1"); d.service == nil || d.service.ID != "notes" {
			t.Errorf("a service at a path became %+v", d)
		}
	}
}

func FuzzReturnAddress(f *testing.F) {
	file, err := os.Open("testdata/redirects/openredirects.txt")
	if err != nil {
		f.Fatal(err)
	}
	defer file.Close()
	for s := bufio.NewScanner(file); s.Scan(); {
		f.Add(s.Text())
	}
	f.Add("https://wiki.example.org/report?x=1")
	g := doors(f, "https://gate.example.org")
	f.Fuzz(func(t *testing.T, raw string) { isOurs(t, g, raw) })
}

// A sign-in that is too much for one transaction, and fails in the next, leaves no
// session behind.
func TestASignInThatFailsAtItsSecondTransactionIsNotRemembered(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	alice, ref := f.guest("alice").user, federation.Ref{Issuer: "https://campus.test", Subject: "1"}
	if _, _, err := f.dir.Link(t.Context(), alice.ID, ref, "campus", provisioning.Admin); err != nil {
		t.Fatal(err)
	}
	eventually(t, "sessions that begin are remembered", func() (remembered bool) {
		began := f.signIn(alice, session.Session{Provider: "campus"})
		f.sessions.Each(func(s *session.Session) { remembered = remembered || s.ID == began.session })
		return remembered
	})
	full := errors.New("the disk is full")
	said := []error{store.ErrLimit}
	fails := func() error {
		if len(said) == 0 {
			return full
		}
		err := said[0]
		said = said[1:]
		return err
	}
	f.st.fails.Store(&fails)
	v := &visit{g: f.g, r: httptest.NewRequest("GET", "/", nil)}
	b := f.sessions.Beginning(session.Row{}, "gate.test", "")
	p := &Provider{ID: "campus", JIT: provisioning.JIT{Provider: "campus"}}
	err := v.admit(p, flow{}, federation.Identity{Provider: "campus", Ref: ref}, b)
	if !errors.Is(err, full) || len(said) > 0 {
		t.Fatalf("%v, %d transactions too few", err, len(said))
	}
	f.sessions.Each(func(s *session.Session) {
		if s.ID == b.Row.ID {
			t.Error("a session that never began is in memory")
		}
	})
}
