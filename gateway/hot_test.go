package gateway

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/netip"
	"os"
	"runtime"
	"runtime/pprof"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/gatehouse-sso/gatehouse/authz"
	"github.com/gatehouse-sso/gatehouse/gateway/session"
	"github.com/gatehouse-sso/gatehouse/provisioning"
)

func TestTheRequestPathTouchesNoDiskAndSignsNothing(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	alice := f.guest("alice", "fin")
	alice.cookie("wiki")
	alice.cookie("payroll")
	hosts := []string{"wiki", "payroll"}
	for _, h := range hosts {
		f.passed(f.ask(alice, "GET", h, "/"))
	}
	views, updates, signed := f.st.views.Load(), f.st.updates.Load(), f.signed.Load()
	requests := func() (reads, writes, signatures int64) {
		v, u, s := f.st.views.Load(), f.st.updates.Load(), f.signed.Load()
		for i := range 100 {
			s := f.passed(f.ask(alice, "GET", hosts[i%2], fmt.Sprintf("/page/%d", i)))
			if s.Header.Get("X-Gatehouse-Jwt") == "" {
				t.Fatal("no token")
			}
		}
		for range 20 {
			f.refused(f.ask(alice, "GET", "wiki", "/admin/x"), 403, authz.ReasonDenied)
			f.refused(f.ask(nil, "GET", "wiki", "/"), 401, ReasonSignIn)
			f.passed(f.ask(nil, "GET", "open", "/"))
		}
		return f.st.views.Load() - v, f.st.updates.Load() - u, f.signed.Load() - s
	}
	// Behind the sign-in, once, its row is read by who watches the store and its keys
	// are stored. That is not the requests'.
	_, _, first := requests()
	v, u, s := requests()
	for range 2 {
		if v != 0 || u != 0 {
			v, u, s = requests()
		}
	}
	if s += first; v != 0 || u != 0 || s != 0 {
		t.Errorf("%d reads and %d writes of the store, %d signatures", v, u, s)
	}
	// Control: somebody who was not here before costs all three.
	f.passed(f.ask(f.guest("bob"), "GET", "wiki", "/"))
	if f.st.views.Load() == views || f.st.updates.Load() == updates || f.signed.Load() == signed {
		t.Error("the counters do not count")
	}
}

// Of who does not come, next to nothing is kept; who comes again misses nothing.
func TestWhatIsPreparedIsLetGoWhenItsTokensHaveEnded(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	alice, bob, carol := f.guest("alice", "fin"), f.guest("bob"), f.guest("carol")
	kept := func() (names []string) {
		f.sessions.Each(func(s *session.Session) {
			if f.g.ready(s) != nil {
				names = append(names, map[string]string{alice.session: "alice", bob.session: "bob", carol.session: "carol"}[s.ID])
			}
		})
		slices.Sort(names)
		return names
	}
	token := func(g *guest, host string) string {
		return f.passed(f.ask(g, "GET", host, "/")).Header.Get("X-Gatehouse-Jwt")
	}
	first := token(alice, "wiki")
	token(bob, "wiki")
	f.refused(f.ask(carol, "GET", "payroll", "/"), 403, authz.ReasonNoRule) // and gets no token
	f.offset.Add(int64(tokenLife - time.Second))
	f.g.letGo()
	if got := kept(); !slices.Equal(got, []string{"alice", "bob"}) {
		t.Fatalf("while their tokens are good, %v are prepared", got)
	}
	token(bob, "wiki")
	token(alice, "payroll") // one of two is as good as both
	f.offset.Add(int64(2 * time.Second))
	f.g.letGo()
	if got := kept(); !slices.Equal(got, []string{"alice", "bob"}) {
		t.Fatalf("with a token each, %v are prepared", got)
	}
	token(bob, "wiki")
	f.offset.Add(int64(tokenLife - time.Second))
	token(bob, "wiki")
	f.offset.Add(int64(2 * time.Second))
	f.g.letGo()
	if got := kept(); !slices.Equal(got, []string{"bob"}) {
		t.Errorf("when all of alice's tokens have ended, %v are prepared", got)
	}
	if again := token(alice, "wiki"); again == "" || again == first {
		t.Errorf("who comes again gets %q", again)
	}
}

func TestWhatIsRememberedIsWhatIsTrue(t *testing.T) {
	t.Parallel()
	f := newFront(t, func(_ *front, c *Config) {
		p, mistakes := authz.Compile(
			[]authz.Role{{ID: "boss", From: []authz.Match{{Groups: []string{"fin"}, Attributes: map[string][]string{"display_name": {"Boss"}}}}}},
			[]authz.ServiceRules{
				{ID: "wiki", Rules: []authz.Rule{
					{ID: "read", Methods: []string{"GET"}, Allow: &authz.Match{SignedIn: true}},
					{ID: "write", Paths: []string{"/w/*"}, Allow: &authz.Match{Groups: []string{"staff"}}},
					{ID: "closed", Paths: []string{"/closed/*"}, Deny: &authz.Match{When: `request.path.endsWith("/x") && user.user_name != "root"`}},
				}},
				{ID: "payroll", Rules: []authz.Rule{{ID: "boss", Allow: &authz.Match{Roles: []string{"boss"}}}, {ID: "strong", Allow: &authz.Match{Groups: []string{"fin"}, ACR: []string{"mfa"}}}}},
				{ID: "open", Rules: []authz.Rule{{ID: "now", Allow: &authz.Match{SignedIn: true, MaxAge: time.Hour}}}}, {ID: "raw"},
			})
		if mistakes != nil {
			t.Fatal(mistakes)
		}
		c.Policy = p
	})
	serial, most := 0, whole(20, 100)
	rapid.Check(t, func(rt *rapid.T) {
		if serial++; serial > most {
			return
		}
		defer func() {
			if rt.Failed() {
				most = math.MaxInt // what fails is made small
			}
		}()
		p := f.guest(fmt.Sprintf("u%d", serial), "staff")
		sessions := []string{p.session}
		rt.Repeat(map[string]func(*rapid.T){
			"group": func(rt *rapid.T) {
				p.change(func(u *provisioning.User) {
					u.Say(provisioning.Admin, "groups", rapid.SliceOfN(rapid.SampledFrom([]string{"fin", "staff", "x"}), 0, 3).Draw(rt, "groups")...)
				})
			},
			"name": func(rt *rapid.T) {
				p.change(func(u *provisioning.User) {
					u.Say(provisioning.Admin, "display_name", rapid.SampledFrom([]string{"Boss", "Ann"}).Draw(rt, "name"))
				})
			},
			"switch": func(rt *rapid.T) {
				on := rapid.Bool().Draw(rt, "active")
				p.change(func(u *provisioning.User) { u.Active = on })
			},
			"sign in": func(rt *rapid.T) {
				g := f.signIn(p.user, session.Session{Provider: "campus", ACR: rapid.SampledFrom([]string{"", "mfa"}).Draw(rt, "acr"), AuthTime: f.now()})
				sessions = append(sessions, g.session)
			},
			"sign out": func(rt *rapid.T) {
				if err := f.sessions.End(t.Context(), rapid.SampledFrom(sessions).Draw(rt, "session"), session.ReasonAdmin); err != nil {
					rt.Fatal(err)
				}
			},
			"": func(rt *rapid.T) {
				id := rapid.SampledFrom(sessions).Draw(rt, "session")
				sv := f.g.services[rapid.SampledFrom([]string{"wiki", "payroll", "open"}).Draw(rt, "service")]
				method := rapid.SampledFrom([]string{"GET", "HEAD", "POST"}).Draw(rt, "method")
				path := rapid.SampledFrom([]string{"/", "/w/x", "/w", "/closed/x", "/closed/y"}).Draw(rt, "path")
				row, err := f.sessions.Peek(t.Context(), id)
				if err != nil {
					return // ended
				}
				// What a request would use. The store tells of changes a moment
				// after they are made; after that moment both agree for good.
				var diff string
				eventually(t, "remembered and fresh agree: "+diff, func() bool {
					who, err := f.g.prepare(t.Context(), row, sv)
					if err != nil {
						rt.Fatal(err)
					}
					kept, err := f.g.decideFor(t.Context(), who, sv, method, path, netip.Addr{})
					if err != nil {
						rt.Fatal(err)
					}
					ready, err := who.in(t.Context(), sv)
					if err != nil {
						rt.Fatal(err)
					}
					var told []Header
					ready.headers(func(name string, values []string) { told = append(told, Header{name, values}) })

					fresh, err := f.dir.Subject(t.Context(), row.UserID)
					if err != nil {
						rt.Fatal(err)
					}
					fresh.Provider, fresh.ACR, fresh.AMR, fresh.AuthTime = row.Provider, row.ACR, row.AMR, row.AuthTime
					fresh = f.c.Policy.Roles(fresh)
					want := f.c.Policy.Decide(authz.Request{Subject: fresh, Service: sv.ID, Method: method, Path: path, Now: f.now()})
					headers := Outgoing(sv.Headers, f.c.Release.Release("service:"+sv.ID, fresh))
					diff = cmp.Diff(want.Outcome, kept.Outcome) + cmp.Diff(want.Code, kept.Code) + cmp.Diff(headers, told)
					return diff == ""
				})
			},
		})
	})
}

// A service reads the same headers whether they are written by us or by net/http.
func TestWhatIsToldIsTheSameOnBothWays(t *testing.T) {
	t.Parallel()
	f := newFront(t, func(_ *front, c *Config) {
		c.Services[0].Headers = []HeaderRule{
			{Name: "x-user", Attribute: "user_name"}, {Name: "X-Group", Attribute: "groups", List: "repeat"}, {Name: "X-Groups", Attribute: "groups"},
		}
	})
	alice := f.guest("alice", "fin", "staff", "a,b")
	want := map[string][]string{"X-User": {"alice"}, "X-Group": {"a,b", "fin", "staff"}, "X-Groups": {`a\,b,fin,staff`}}
	for way, lines := range map[string][]string{"ours": nil, "net/http's": {"Te: trailers"}} {
		s := f.passed(f.ask(alice, "GET", "wiki", "/", lines...))
		for name, values := range want {
			if got := slices.Sorted(slices.Values(s.Header[name])); !slices.Equal(got, values) {
				t.Errorf("%s way: %s is %q, want %q", way, name, got, values)
			}
		}
	}
}

func BenchmarkProxyAuthenticated(b *testing.B) {
	f := newFront(b)
	f.echo.does(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Forwarded-User") == "" && r.Header.Get("X-Bare") == "" {
			w.WriteHeader(500)
		}
		_, _ = io.WriteString(w, strings.Repeat("x", 1024))
	})
	alice := f.guest("alice")
	bare := &httputil.ReverseProxy{
		Rewrite:   func(p *httputil.ProxyRequest) { p.SetURL(f.echo.url); p.Out.Header.Set("X-Bare", "1") },
		Transport: f.c.Transport, BufferPool: buffers,
	}
	// Without a client and a connection in front: what is measured is the path
	// through the gateway and the connection to the service.
	run := func(b *testing.B, h http.Handler) {
		r := f.request(alice, "GET", "wiki", "/page", nil)
		r.RequestURI, r.RemoteAddr = "/page", "127.0.0.1:1"
		r.Header.Set("User-Agent", "bench")
		head := r.Header
		b.ReportAllocs()
		for b.Loop() {
			r.Header = head.Clone()
			w := untimed{httptest.NewRecorder()}
			h.ServeHTTP(w, r)
			if w.Code != 200 || w.Body.Len() != 1024 {
				b.Fatalf("%d, %d bytes", w.Code, w.Body.Len())
			}
		}
	}
	b.Run("bare", func(b *testing.B) { run(b, bare) })
	b.Run("gatehouse", func(b *testing.B) { run(b, f.g) })
	// The steps before the proxy alone.
	b.Run("gatehouse without the service", func(b *testing.B) {
		c := f.c
		c.Transport = instant{}
		g, err := New(c)
		if err != nil {
			b.Fatal(err)
		}
		g.people.live.Store(true)
		run(b, g)
	})
	b.Run("bare without the service", func(b *testing.B) {
		run(b, &httputil.ReverseProxy{Rewrite: bare.Rewrite, Transport: instant{}, BufferPool: buffers})
	})
}

// untimed takes deadlines, as a connection does.
type untimed struct{ *httptest.ResponseRecorder }

func (untimed) SetWriteDeadline(time.Time) error { return nil }

// instant is a service that needs no time.
type instant struct{}

var kilobyte = strings.Repeat("x", 1024)

func (instant) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: 200, ProtoMajor: 1, Header: http.Header{"Content-Length": {"1024"}}, ContentLength: 1024, Body: io.NopCloser(strings.NewReader(kilobyte)), Request: r}, nil
}

// What a live session that used one service keeps in memory: its row, headers,
// decisions, token, its part of the caches. Of bytes, those of live objects. For
// 20,000 people:
//
//	TMPDIR=/dev/shm go test -run '^$' -bench SessionInMemory -benchtime 20000x ./gateway
func BenchmarkSessionInMemory(b *testing.B) {
	f := newFront(b)
	f.echo.does(func(http.ResponseWriter, *http.Request) {})
	heap := func() uint64 {
		f.echo.mu.Lock()
		f.echo.got, f.echo.wire = nil, bytes.Buffer{} // what the test keeps itself
		f.echo.mu.Unlock()
		f.mu.Lock()
		f.events = nil
		f.mu.Unlock()
		runtime.GC()
		runtime.GC() // what finalizers let go
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	for i := range b.N {
		r := f.request(f.guest(fmt.Sprintf("u%d-%d", before, i), "fin", "staff"), "GET", "wiki", "/page", nil)
		r.RequestURI, r.RemoteAddr = "/page", "127.0.0.1:1"
		w := untimed{httptest.NewRecorder()}
		if f.g.ServeHTTP(w, r); w.Code != http.StatusOK {
			b.Fatal(w.Code)
		}
	}
	b.ReportMetric(float64(heap()-before)/float64(b.N), "B/session")
	if out := os.Getenv("GATEHOUSE_HEAP"); out != "" && b.N > 1 {
		p, err := os.Create(out)
		if err != nil {
			b.Fatal(err)
		}
		defer p.Close()
		if err := pprof.Lookup("heap").WriteTo(p, 0); err != nil {
			b.Fatal(err)
		}
	}
}
