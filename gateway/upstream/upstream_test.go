package upstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// roundTripper answers for every member.
type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func addresses(t testing.TB, list ...string) (all []*url.URL) {
	t.Helper()
	for _, s := range list {
		u, err := url.Parse(s)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, u)
	}
	return all
}

func three(t testing.TB, c Config) *Set {
	t.Helper()
	c.Addresses = addresses(t, "http://a:1", "http://b:1", "http://c:1")
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func get() *http.Request { return httptest.NewRequest(http.MethodGet, "/", nil) }

// where a fresh trip goes.
func where(s *Set, h Hint) string {
	t := s.Begin(h)
	defer t.End()
	if m := t.Next(); m != nil {
		return m.URL.Hostname()
	}
	return ""
}

func seen(s *Set, h Hint, n int) map[string]int {
	m := map[string]int{}
	for range n {
		m[where(s, h)]++
	}
	return m
}

var (
	errRefused = &dialError{errors.New("connection refused")}
	errBroken  = errors.New("the service closed the connection")
)

type tooLong struct{}

func (tooLong) Error() string   { return "too long" }
func (tooLong) Timeout() bool   { return true }
func (tooLong) Temporary() bool { return false }

// fail lets a member fail so often in a row.
func (s *Set) fail(i, n int, err error) {
	for range n {
		s.failed(s.members[i], err)
	}
}

func TestRequestsGoRound(t *testing.T) {
	t.Parallel()
	s := three(t, Config{})
	for host, n := range seen(s, Hint{}, 300) {
		if n != 100 {
			t.Errorf("%s got %d of 300", host, n)
		}
	}
}

func TestTheOneWithTheFewestRequestsGetsTheNext(t *testing.T) {
	t.Parallel()
	s := three(t, Config{Balance: LeastRequests})
	var trips []*Trip
	for range 6 {
		trip := s.Begin(Hint{})
		trip.Next()
		trips = append(trips, &trip)
	}
	for _, m := range s.members {
		if n := m.under.Load(); n != 2 {
			t.Errorf("%s has %d of 6", m.Name, n)
		}
	}
	for _, trip := range trips {
		if trip.at == s.members[1] {
			trip.End()
			trip.End() // a second end takes nobody else's away
		}
	}
	if got := where(s, Hint{}); got != "b" {
		t.Errorf("the idle one is b, and %s got the request", got)
	}
	if n := s.members[1].under.Load(); n != 0 {
		t.Errorf("%d requests are under way at b", n)
	}
}

func TestWhoFailsIsLeftOutForAWhile(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var told []string
		s := three(t, Config{Failures: 3, Eject: 10 * time.Second, Changed: func(m string, st State, _ error) { told = append(told, m+" "+st.String()) }})
		s.fail(0, 2, errBroken)
		s.served(s.members[0]) // not in a row
		s.fail(0, 2, errBroken)
		if n := seen(s, Hint{}, 30)["a"]; n != 10 {
			t.Errorf("a failed twice and got %d of 30", n)
		}
		s.fail(0, 1, errBroken)
		if n := seen(s, Hint{}, 30)["a"]; n != 0 {
			t.Errorf("a is ejected and got %d of 30", n)
		}
		time.Sleep(10*time.Second - 1)
		if got := s.members[0].State(time.Now()); got != Ejected {
			t.Errorf("too soon it is %v", got)
		}
		time.Sleep(time.Nanosecond)
		if n := seen(s, Hint{}, 30)["a"]; n != 10 {
			t.Errorf("a may be tried again and got %d of 30", n)
		}
		s.fail(0, 1, errBroken) // one is enough for who just was
		if n := seen(s, Hint{}, 30)["a"]; n != 0 {
			t.Errorf("a failed again and got %d of 30", n)
		}
		time.Sleep(10 * time.Second)
		s.served(s.members[0])
		s.fail(0, 2, errBroken)
		if n := seen(s, Hint{}, 30)["a"]; n != 10 {
			t.Errorf("a served and got %d of 30", n)
		}
		if want := []string{"http://a:1 ejected", "http://a:1 well"}; !slices.Equal(told, want) {
			t.Errorf("told %q, want %q", told, want)
		}
	})
}

func TestWhoFailsIsAskedIfNobodyIsWell(t *testing.T) {
	t.Parallel()
	s := three(t, Config{})
	for i := range s.members {
		s.fail(i, 5, errBroken)
	}
	if n := seen(s, Hint{}, 30)[""]; n != 0 || s.Down() {
		t.Errorf("%d of 30 went nowhere though each upstream takes connections; down is %v", n, s.Down())
	}
}

func TestADeadServiceIsTriedOnceASecond(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := three(t, Config{})
		for i := range s.members {
			s.fail(i, 5, errRefused)
		}
		if got := seen(s, Hint{}, 30); got[""] != 30 || !s.Down() {
			t.Errorf("right after the last failure: %v, down is %v", got, s.Down())
		}
		time.Sleep(time.Second)
		if got := seen(s, Hint{}, 30); got[""] != 27 {
			t.Errorf("a second later each may be tried once: %v", got)
		}
		s.served(s.members[2])
		if got := seen(s, Hint{}, 30); got["c"] != 30 || s.Down() {
			t.Errorf("c is back: %v, down is %v", got, s.Down())
		}
	})
}

func TestASingleUpstreamIsNeverLeftOutWhileItTakesConnections(t *testing.T) {
	t.Parallel()
	s := One(addresses(t, "http://a:1")[0], nil, nil, nil)
	s.fail(0, 100, errBroken)
	if got := where(s, Hint{}); got != "a" {
		t.Errorf("the only one there is was left out")
	}
}

func TestWhatMayBeSentAgain(t *testing.T) {
	t.Parallel()
	body := func(method string) *http.Request {
		return httptest.NewRequest(method, "/", io.LimitReader(nil, 1))
	}
	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	for _, c := range []struct {
		name string
		r    *http.Request
		err  error
		want bool
	}{
		{"GET that nobody heard", get(), errRefused, true},
		{"GET that broke off", get(), errBroken, true},
		{"POST without a body that nobody heard", httptest.NewRequest(http.MethodPost, "/", nil), errRefused, true},
		{"POST without a body that broke off", httptest.NewRequest(http.MethodPost, "/", nil), errBroken, false},
		{"DELETE that broke off", httptest.NewRequest(http.MethodDelete, "/", nil), errBroken, false},
		{"GET with a body that nobody heard", body(http.MethodGet), errRefused, false},
		{"PUT with a body that nobody heard", body(http.MethodPut), errRefused, false},
		{"GET that took too long", get(), tooLong{}, false},
		{"GET whose connection took too long", get(), &dialError{tooLong{}}, true},
		{"GET of somebody who left", get().WithContext(cancelled), errBroken, false},
		{"GET that was answered", get(), nil, false},
	} {
		s := three(t, Config{Retries: 1})
		trip := s.Begin(Hint{})
		first := trip.Next()
		if got := trip.Again(c.r, c.err); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		} else if got {
			if second := trip.Next(); second == nil || second == first {
				t.Errorf("%s: went to %v again", c.name, second)
			}
			if trip.Again(get(), errRefused) {
				t.Errorf("%s: a third try, and one may be repeated once", c.name)
			}
		}
	}
	// An answer that began is the end of it.
	s := three(t, Config{Retries: 1})
	trip := s.Begin(Hint{})
	trip.Next()
	trip.Answered(200)
	if trip.Again(get(), errBroken) {
		t.Error("a GET was sent again after its answer had begun")
	}
	// Who left is nobody's failure.
	if n := s.members[0].fails.Load() + s.members[1].fails.Load() + s.members[2].fails.Load(); n != 0 {
		t.Errorf("%d failures were counted", n)
	}
}

func TestAnswersCountAsFailuresWhereThatIsWanted(t *testing.T) {
	t.Parallel()
	for _, wanted := range []bool{false, true} {
		s := three(t, Config{Statuses: wanted, Failures: 1})
		trip := s.Begin(Hint{})
		m := trip.Next()
		trip.Answered(503)
		if got := m.State(time.Now()) == Ejected; got != wanted {
			t.Errorf("wanted %v: ejected is %v", wanted, got)
		}
	}
}

func TestAStickyCookieKeepsAPersonWhereTheyWere(t *testing.T) {
	t.Parallel()
	s := three(t, Config{Sticky: ByCookie, Key: []byte("key"), Failures: 1})
	trip := s.Begin(Hint{})
	home := trip.Next()
	value, set := trip.Cookie()
	if !set || value == "" {
		t.Fatal("no cookie for who has none")
	}
	if got := seen(s, Hint{Cookie: value}, 30); got[home.URL.Hostname()] != 30 {
		t.Errorf("with the cookie of %s: %v", home.Name, got)
	}
	again := s.Begin(Hint{Cookie: value})
	again.Next()
	if _, set := again.Cookie(); set {
		t.Error("a cookie for who has it")
	}
	// Nobody can make one, and one of another gateway is none.
	other := three(t, Config{Sticky: ByCookie, Key: []byte("another key")})
	for _, m := range other.members {
		if len(seen(s, Hint{Cookie: m.token}, 30)) != 3 || len(seen(s, Hint{Cookie: m.Name}, 30)) != 3 {
			t.Error("a cookie that the gateway did not make chose an upstream")
		}
	}
	// Who is ejected keeps nobody, and gives them a new place.
	s.fail(slices.Index(s.members, home), 1, errBroken)
	moved := s.Begin(Hint{Cookie: value})
	if m := moved.Next(); m == home || m == nil {
		t.Errorf("sent to %v, which is ejected", m)
	}
	if next, set := moved.Cookie(); !set || next == value {
		t.Errorf("the cookie is still that of the ejected one")
	}
}

func TestOnlyTheSessionsOfOneThatLeavesMove(t *testing.T) {
	t.Parallel()
	s := three(t, Config{Sticky: BySession, Failures: 1})
	before := map[string]string{}
	count := map[string]int{}
	for i := range 3000 {
		id := fmt.Sprintf("session-%d", i)
		before[id] = where(s, Hint{Session: id})
		count[before[id]]++
	}
	for host, n := range count {
		if n < 800 || n > 1200 {
			t.Errorf("%s has %d of 3000 sessions", host, n)
		}
	}
	s.fail(1, 1, errBroken)
	for id, was := range before {
		switch is := where(s, Hint{Session: id}); {
		case was == "b" && is == "b":
			t.Fatalf("%s is still at b", id)
		case was != "b" && is != was:
			t.Fatalf("%s moved from %s to %s, and b left", id, was, is)
		}
	}
	s.served(s.members[1])
	for id, was := range before {
		if is := where(s, Hint{Session: id}); is != was {
			t.Fatalf("%s did not come back to %s, but is at %s", id, was, is)
		}
	}
}

// Whatever happened to the members, a request never goes to one that is down, or
// twice to the same, and goes nowhere only if there is nobody.
func TestNoRequestGoesWhereItMayNot(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		s := three(t, Config{Balance: Balance(rapid.IntRange(0, 1).Draw(r, "balance")), Sticky: Sticky(rapid.IntRange(0, 2).Draw(r, "sticky")), Retries: 9})
		alive := false
		for i, m := range s.members {
			switch rapid.IntRange(0, 3).Draw(r, "state") {
			case 1:
				s.fail(i, 5, errBroken)
				alive = true
			case 2:
				s.fail(i, 5, errRefused)
			case 3:
				m.down.Store(true)
			default:
				alive = true
			}
		}
		h := Hint{Cookie: rapid.SampledFrom([]string{"", s.members[0].token}).Draw(r, "cookie"), Session: rapid.StringN(0, 3, 9).Draw(r, "session")}
		well := slices.ContainsFunc(s.members, func(m *Member) bool { return m.State(time.Now()) == Well })
		trip := s.Begin(h)
		been := map[*Member]bool{}
		for first := true; ; first = false {
			m := trip.Next()
			if m == nil {
				if first && alive {
					r.Fatal("nowhere to go, and there is somebody")
				}
				return
			}
			if m.down.Load() || been[m] || first && well && m.State(time.Now()) != Well {
				r.Fatalf("sent to %s, which is %v, been there: %v", m.Name, m.State(time.Now()), been[m])
			}
			been[m] = true
		}
	})
}

func TestChecksTakeAMemberOutAndIn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var status atomic.Int32
		status.Store(200)
		var asked atomic.Pointer[http.Request]
		var told []string
		s := three(t, Config{
			Check:   &Check{Path: "/healthz", Host: "wiki.example", Every: 10 * time.Second, Timeout: time.Second, Fails: 3, Passes: 2},
			Changed: func(m string, st State, _ error) { told = append(told, m+" "+st.String()) },
		})
		s.Transport = roundTripper(func(r *http.Request) (*http.Response, error) {
			if r.URL.Hostname() != "a" {
				return &http.Response{StatusCode: 204, Body: http.NoBody}, nil
			}
			asked.Store(r)
			return &http.Response{StatusCode: int(status.Load()), Body: http.NoBody}, nil
		})
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan bool)
		go func() { s.Run(ctx); close(done) }()
		defer func() { stop(); <-done }()
		a := s.members[0]
		state := func(after time.Duration, want State) {
			t.Helper()
			time.Sleep(after)
			synctest.Wait()
			if got := a.State(time.Now()); got != want {
				t.Errorf("a is %v, want %v", got, want)
			}
		}
		state(0, Well)
		if r := asked.Load(); r == nil || r.Method != http.MethodGet || r.URL.Path != "/healthz" || r.Host != "wiki.example" {
			t.Fatalf("asked %+v", r)
		}
		status.Store(500)
		state(20*time.Second, Well) // two are not three
		state(10*time.Second, Down)
		if got := seen(s, Hint{}, 30); got["a"] != 0 {
			t.Errorf("a is down and got requests: %v", got)
		}
		status.Store(302)
		state(10*time.Second, Down)
		status.Store(404) // not in a row
		state(10*time.Second, Down)
		status.Store(200)
		state(10*time.Second, Down)
		state(10*time.Second, Well)
		if want := []string{"http://a:1 down", "http://a:1 well"}; !slices.Equal(told, want) {
			t.Errorf("told %q, want %q", told, want)
		}
	})
}

func TestTheFirstCheckCountsByItself(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := three(t, Config{Check: &Check{Path: "/", Every: 10 * time.Second, Timeout: 2 * time.Second, Fails: 3, Passes: 2}})
		s.Transport = roundTripper(func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done() // it hangs
			return nil, r.Context().Err()
		})
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan bool)
		go func() { s.Run(ctx); close(done) }()
		defer func() { stop(); <-done }()
		if s.Down() {
			t.Error("down before anybody asked")
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if !s.Down() || where(s, Hint{}) != "" {
			t.Error("nobody answers, and requests are sent there")
		}
		if n := s.RetryAfter(); n != 10 {
			t.Errorf("come again in %d", n)
		}
	})
}

func TestAReloadForgetsNothing(t *testing.T) {
	t.Parallel()
	check := &Check{Path: "/", Every: time.Minute, Timeout: time.Second, Fails: 1, Passes: 1}
	old := three(t, Config{Check: check})
	old.fail(0, 5, errBroken)
	old.note(old.members[1], errBroken)
	s, err := New(Config{Addresses: addresses(t, "http://c:1", "http://b:1", "http://a:1", "http://d:1"), Check: check})
	if err != nil {
		t.Fatal(err)
	}
	s.Inherit(old)
	s.Inherit(nil)
	for name, want := range map[int]State{0: Well, 1: Down, 2: Ejected, 3: Well} {
		if got := s.members[name].State(time.Now()); got != want {
			t.Errorf("%s is %v, want %v", s.members[name].Name, got, want)
		}
	}
	// Without checks nobody would ever say that b is back.
	s, _ = New(Config{Addresses: addresses(t, "http://b:1")})
	if s.Inherit(old); s.Down() {
		t.Error("b is down for ever")
	}
}

func TestOnePlainUpstreamCostsNothing(t *testing.T) {
	s := One(addresses(t, "http://a:1")[0], nil, nil, nil)
	if n := testing.AllocsPerRun(1000, func() {
		trip := s.Begin(Hint{})
		trip.Next()
		trip.Answered(200)
		trip.End()
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkTrip(b *testing.B) {
	for name, n := range map[string]int{"one": 1, "three": 3} {
		b.Run(name, func(b *testing.B) {
			s := three(b, Config{})
			s.members = s.members[:n]
			b.ReportAllocs()
			for b.Loop() {
				trip := s.Begin(Hint{})
				trip.Next()
				trip.Answered(200)
				trip.End()
			}
		})
	}
}

func TestPathsThereAndBack(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		w           Rewrite
		front, back string
	}{
		{Rewrite{Strip: "/app"}, "/app/x/y%20z", "/x/y%20z"},
		{Rewrite{Strip: "/app"}, "/app", "/"},
		{Rewrite{Strip: "/app"}, "/app/", "/"},
		{Rewrite{Strip: "/app"}, "/%61pp/x", "/x"},
		{Rewrite{Strip: "/a/b"}, "/a/b/c/", "/c/"},
		{Rewrite{Add: "/v1"}, "/x", "/v1/x"},
		{Rewrite{Add: "/v 1"}, "/x", "/v%201/x"},
		{Rewrite{Strip: "/app", Add: "/v1"}, "/app/x", "/v1/x"},
		{Rewrite{Strip: "/app", Add: "/v1"}, "/app", "/v1"},
	} {
		if got := c.w.Target(c.front); got != c.back {
			t.Errorf("%+v: %s becomes %s, want %s", c.w, c.front, got, c.back)
		}
	}
	const origin, at = "https://wiki.example:8443", "10.0.0.7:8080"
	w := Rewrite{Strip: "/app", Add: "/v1"}
	for from, to := range map[string]string{
		"/v1/x?a=b#c":                     "/app/x?a=b#c",
		"/v1":                             "/app",
		"/v10/x":                          "/v10/x",
		"/elsewhere":                      "/elsewhere",
		"x/y":                             "x/y",
		"?a=b":                            "?a=b",
		"https://wiki.example:8443/v1/x":  origin + "/app/x",
		"http://10.0.0.7:8080/v1/x%2Fy?q": origin + "/app/x%2Fy?q",
		"//10.0.0.7:8080/v1/":             origin + "/app/",
		"https://other.example/v1/x":      "https://other.example/v1/x",
		"mailto:a@b":                      "mailto:a@b",
		"http://x@10.0.0.7:8080/v1/":      "http://x@10.0.0.7:8080/v1/",
		"":                                "",
	} {
		if got := w.Location(from, origin, at); got != to {
			t.Errorf("Location %s becomes %s, want %s", from, got, to)
		}
	}
	if got := (Rewrite{Strip: "/app"}).Location("http://10.0.0.7:8080", origin, at); got != origin+"/app/" {
		t.Errorf("a bare host becomes %s", got)
	}
	for from, to := range map[string]string{
		"a=1; Path=/v1/x; HttpOnly": "a=1; Path=/app/x; HttpOnly",
		"a=1; path=/v1":             "a=1; Path=/app",
		"a=1; Path=/":               "a=1; Path=/app",
		"a=1":                       "a=1",
		"a=1; Path=/other":          "a=1; Path=/other",
		"a=Path=/v1; Secure":        "a=Path=/v1; Secure",
	} {
		if got := w.Cookie(from); got != to {
			t.Errorf("the cookie %q becomes %q, want %q", from, got, to)
		}
	}
	if got := (Rewrite{Add: "/v1"}).Cookie("a=1; Path=/"); got != "a=1; Path=/" {
		t.Errorf("without a prefix of ours the cookie became %q", got)
	}
}

// A path that is sent there and named in a redirect comes back as it was.
func TestARedirectToItselfComesBack(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		seg := rapid.StringMatching(`[a-z0-9.~-]{1,4}x`)
		join := func(list []string) (p string) {
			for _, s := range list {
				p += "/" + s
			}
			return p
		}
		prefix := rapid.SliceOfN(seg, 0, 3)
		w := Rewrite{Strip: join(prefix.Draw(r, "strip")), Add: join(prefix.Draw(r, "add"))}
		path := w.Strip + join(rapid.SliceOfN(seg, 1, 3).Draw(r, "rest"))
		if got := w.Location(w.Target(path), "https://x", "y:1"); got != path {
			r.Fatalf("%+v: %s went as %s and came back as %s", w, path, w.Target(path), got)
		}
	})
}

func TestEveryKindOfUpstreamIsReached(t *testing.T) {
	t.Parallel()
	says := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprintf(w, "%s %s", r.Proto, r.URL.Path) })
	path := t.TempDir() + "/s"
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	socket := httptest.NewUnstartedServer(says)
	_ = socket.Listener.Close()
	socket.Listener = ln
	socket.Start()
	t.Cleanup(socket.Close)
	clear := httptest.NewUnstartedServer(says)
	clear.Config.Protocols = new(http.Protocols)
	clear.Config.Protocols.SetHTTP1(true)
	clear.Config.Protocols.SetUnencryptedHTTP2(true)
	clear.Start()
	t.Cleanup(clear.Close)
	for _, c := range []struct {
		at    string
		wire  Wire
		proto string
		lean  bool
	}{
		{"unix://" + path, Wire{}, "HTTP/1.1", true},
		{clear.URL, Wire{}, "HTTP/1.1", true},
		{clear.URL, Wire{Protocol: H2C}, "HTTP/2.0", false},
	} {
		s, err := New(Config{Addresses: addresses(t, c.at), Wire: c.wire})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Close)
		trip := s.Begin(Hint{})
		m := trip.Next()
		u := *m.URL
		u.Path = "/x"
		r, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, u.String(), nil)
		resp, err := s.Transport.RoundTrip(r)
		if err != nil {
			t.Fatalf("%s: %v", c.at, err)
		}
		b, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if string(b) != c.proto+" /x" {
			t.Errorf("%s got %q", c.at, b)
		}
		if s.Lean == nil || m.Addr == "" {
			if c.lean {
				t.Errorf("%s is not reached the quick way", c.at)
			}
			continue
		}
		w := httptest.NewRecorder()
		if err := s.Lean.Forward(w, r, m.Addr, []byte("GET /lean HTTP/1.1\r\nHost: x\r\n"), nil, func(*http.Response) error { return nil }); err != nil || w.Body.String() != "HTTP/1.1 /lean" {
			t.Errorf("%s: %v, %q", c.at, err, w.Body)
		}
	}
	if _, err := New(Config{}); err == nil {
		t.Error("a service without an upstream")
	}
}

func TestWhoRefusesConnectionsIsKnownAsSuch(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = ln.Close()
	s, err := New(Config{Addresses: addresses(t, "http://"+ln.Addr().String()), Failures: 1})
	if err != nil {
		t.Fatal(err)
	}
	r, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+ln.Addr().String(), nil)
	_, byTransport := s.Transport.RoundTrip(r)
	byLean := s.Lean.Forward(httptest.NewRecorder(), r, s.members[0].Addr, []byte("GET / HTTP/1.1\r\nHost: x\r\n"), nil, nil)
	if !unreached(byTransport) || !unreached(byLean) {
		t.Errorf("got %v and %v", byTransport, byLean)
	}
}
