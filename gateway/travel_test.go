package gateway

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gatehouse-sso/gatehouse/authz"
	"github.com/gatehouse-sso/gatehouse/gateway/upstream"
)

// serves makes the service "open" have these upstreams, and "wiki" the first of
// them under /app, beside the rest of the front.
func serves(t *testing.T, c upstream.Config, urls ...string) *front {
	t.Helper()
	for _, s := range urls {
		u, err := url.Parse(s)
		if err != nil {
			t.Fatal(err)
		}
		c.Addresses = append(c.Addresses, u)
	}
	return newFront(t, func(f *front, g *Config) {
		c.Now = f.now
		set, err := upstream.New(c)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(set.Close)
		g.Services[2].Upstream, g.Services[2].Upstreams = nil, set
		g.Services[0].Upstream, g.Services[0].Upstreams = nil, set
	})
}

// upstreams are servers that say their number, until they are told otherwise.
func upstreams(t *testing.T, n int, does http.HandlerFunc) (servers []*httptest.Server, urls []string) {
	t.Helper()
	for i := range n {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Number", strconv.Itoa(i))
			does(w, r)
		}))
		t.Cleanup(s.Close)
		servers, urls = append(servers, s), append(urls, s.URL)
	}
	return servers, urls
}

func nothingElse(http.ResponseWriter, *http.Request) {}

func dead(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = ln.Close()
	return "http://" + ln.Addr().String()
}

func TestRequestsGoRoundTheUpstreamsOfAService(t *testing.T) {
	t.Parallel()
	_, urls := upstreams(t, 3, nothingElse)
	f := serves(t, upstream.Config{}, urls...)
	got := map[string]int{}
	for range 30 {
		got[f.ask(nil, "GET", "open", "/").Header.Get("X-Number")]++
		got[f.ask(nil, "POST", "open", "/", "Transfer-Encoding: chunked\r\n\r\n0").Header.Get("X-Number")]++ // not the quick way
	}
	if got["0"] != 20 || got["1"] != 20 || got["2"] != 20 {
		t.Errorf("of 60: %v", got)
	}
}

func TestARequestWhoseUpstreamIsGoneGoesToAnother(t *testing.T) {
	t.Parallel()
	for _, silence := range []time.Duration{0, time.Minute} { // the quick way and the other
		_, urls := upstreams(t, 1, nothingElse)
		f := serves(t, upstream.Config{Retries: 1, Timeouts: upstream.Timeouts{Silence: silence}}, dead(t), urls[0])
		for i := range 20 {
			if a := f.ask(nil, "GET", "open", "/"); a.StatusCode != 200 {
				t.Fatalf("silence %v: request %d got %d: %s", silence, i, a.StatusCode, a.body)
			}
		}
	}
	// Seen to fail: without retries every second one is lost, until the dead one is
	// ejected.
	_, urls := upstreams(t, 1, nothingElse)
	f := serves(t, upstream.Config{}, dead(t), urls[0])
	lost := 0
	for range 20 {
		if a := f.ask(nil, "GET", "open", "/"); a.StatusCode != 200 {
			f.refused(a, 502, ReasonUpstream)
			lost++
		}
	}
	if lost != 5 {
		t.Errorf("%d of 20 were lost, and five failures eject", lost)
	}
}

// A body is sent once, whatever becomes of it.
func TestARequestWithABodyIsNeverSentAgain(t *testing.T) {
	t.Parallel()
	for _, silence := range []time.Duration{0, time.Minute} {
		var mu sync.Mutex
		bodies := 0
		_, urls := upstreams(t, 3, func(_ http.ResponseWriter, r *http.Request) {
			b, _ := io.ReadAll(r.Body)
			mu.Lock()
			bodies += strings.Count(string(b), "pay")
			mu.Unlock()
			panic(http.ErrAbortHandler)
		})
		f := serves(t, upstream.Config{Retries: 2, Timeouts: upstream.Timeouts{Silence: silence}}, urls...)
		f.refused(f.ask(nil, "POST", "open", "/", "Content-Length: 3\r\n\r\npay"), 502, ReasonUpstream)
		mu.Lock()
		if bodies != 1 {
			t.Errorf("silence %v: the body arrived %d times", silence, bodies)
		}
		mu.Unlock()
	}
	// A GET that breaks off is, at each of the others.
	var mu sync.Mutex
	asked := 0
	_, urls := upstreams(t, 3, func(http.ResponseWriter, *http.Request) {
		mu.Lock()
		asked++
		mu.Unlock()
		panic(http.ErrAbortHandler)
	})
	f := serves(t, upstream.Config{Retries: 2}, urls...)
	f.refused(f.ask(nil, "GET", "open", "/"), 502, ReasonUpstream)
	mu.Lock()
	defer mu.Unlock()
	if asked != 3 {
		t.Errorf("the GET arrived %d times", asked)
	}
}

func TestAServiceThatIsDownSaysSo(t *testing.T) {
	t.Parallel()
	f := serves(t, upstream.Config{Failures: 1}, dead(t), dead(t))
	f.refused(f.ask(nil, "GET", "open", "/"), 502, ReasonUpstream) // one of the two may be there
	for range 3 {
		a := f.ask(nil, "GET", "open", "/")
		f.refused(a, 503, ReasonUpstreamDown)
		if a.Header.Get("Retry-After") == "" {
			t.Error("nobody says when to come again")
		}
	}
	page := f.ask(nil, "GET", "open", "/", "Accept: text/html")
	if page.StatusCode != 503 || !strings.Contains(page.body, "The service is down") || !strings.Contains(page.Header.Get("Content-Type"), "text/html") {
		t.Errorf("a browser got %d %.300s", page.StatusCode, page.body)
	}
	// It is not recorded as an upstream's answer, and others work.
	if a := f.ask(nil, "GET", "raw", "/"); a.StatusCode == 503 {
		t.Error("another service is down too")
	}
}

func TestAServiceThatComesBackIsBack(t *testing.T) {
	t.Parallel()
	at := filepath.Join(t.TempDir(), "s") // nobody else comes by that address meanwhile
	f := serves(t, upstream.Config{Failures: 1}, "unix://"+at)
	f.refused(f.ask(nil, "GET", "open", "/"), 503, ReasonUpstreamDown)
	ln, err := net.Listen("unix", at)
	if err != nil {
		t.Fatal(err)
	}
	s := &httptest.Server{Listener: ln, Config: &http.Server{Handler: http.HandlerFunc(nothingElse)}} //nolint:gosec // of a test
	s.Start()
	t.Cleanup(s.Close)
	f.refused(f.ask(nil, "GET", "open", "/"), 503, ReasonUpstreamDown)
	f.offset.Add(int64(time.Second))
	if a := f.ask(nil, "GET", "open", "/"); a.StatusCode != 200 {
		t.Errorf("a second later: %d", a.StatusCode)
	}
	if a := f.ask(nil, "GET", "open", "/"); a.StatusCode != 200 {
		t.Errorf("then: %d", a.StatusCode)
	}
}

// TestP21_P22_TheStickyCookieIsBetweenTheBrowserAndUs: it works, and no service
// sees or sets it.
func TestP21_TheStickyCookieIsBetweenTheBrowserAndUs(t *testing.T) {
	t.Parallel()
	for _, silence := range []time.Duration{0, time.Minute} {
		var mu sync.Mutex
		var saw []string
		_, urls := upstreams(t, 3, func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			saw = append(saw, r.Header.Get("Cookie"))
			mu.Unlock()
			for _, ck := range r.URL.Query()["set"] {
				w.Header().Add("Set-Cookie", ck+"=forged")
			}
		})
		f := serves(t, upstream.Config{Sticky: upstream.ByCookie, Key: []byte("key"), Timeouts: upstream.Timeouts{Silence: silence}}, urls...)
		first := f.ask(nil, "GET", "open", "/")
		if len(first.Cookies()) != 1 || first.Header.Get("Cache-Control") != `no-cache="Set-Cookie"` {
			t.Fatalf("got %q", first.Header)
		}
		ck := first.Cookies()[0]
		if !ck.HttpOnly || ck.Path != "/" || strings.Contains(ck.Value, "127") {
			t.Errorf("the cookie is %q", first.Header["Set-Cookie"])
		}
		for range 12 {
			a := f.ask(nil, "GET", "open", "/?set="+ck.Name, "Cookie: a=1; "+ck.Name+"="+ck.Value)
			if a.Header.Get("X-Number") != first.Header.Get("X-Number") {
				t.Fatalf("was at %s and came to %s", first.Header.Get("X-Number"), a.Header.Get("X-Number"))
			}
			if a.Header["Set-Cookie"] != nil {
				t.Errorf("set again: %q", a.Header["Set-Cookie"])
			}
		}
		for i, s := range saw {
			if s != "" && s != "a=1" {
				t.Errorf("request %d brought the service %q", i, s)
			}
		}
	}
}

func TestASessionStaysWhereItIs(t *testing.T) {
	t.Parallel()
	_, urls := upstreams(t, 3, nothingElse)
	f := serves(t, upstream.Config{Sticky: upstream.BySession}, urls...)
	all := map[string]bool{}
	for i := range 12 {
		p := f.guest(fmt.Sprint("p", i))
		first := f.ask(p, "GET", "wiki", "/").Header.Get("X-Number")
		for range 3 {
			if got := f.ask(p, "GET", "wiki", "/").Header.Get("X-Number"); got != first || got == "" {
				t.Fatalf("%s was at %s and came to %s", p.name(), first, got)
			}
		}
		all[first] = true
	}
	if len(all) < 2 {
		t.Errorf("twelve sessions are all at %v", all)
	}
}

func TestPathsAreRewrittenThereAndBack(t *testing.T) {
	t.Parallel()
	for _, silence := range []time.Duration{0, time.Minute} {
		_, urls := upstreams(t, 1, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Got", r.RequestURI+" "+r.Header.Get("X-Forwarded-Prefix")+" "+r.Host)
			w.Header().Set("Location", r.URL.Query().Get("to"))
			w.Header().Set("Set-Cookie", "a=1; Path="+r.URL.Path)
			w.WriteHeader(http.StatusFound)
		})
		f := serves(t, upstream.Config{Rewrite: upstream.Rewrite{Strip: "/app", Add: "/v1"}, Timeouts: upstream.Timeouts{Silence: silence}}, urls...)
		a := f.ask(nil, "GET", "open", "/app/x%20y?to=/v1/z%3Fq&;odd", "X-Forwarded-Prefix: /forged")
		if got := a.Header.Get("X-Got"); got != "/v1/x%20y?to=/v1/z%3Fq&;odd /app "+f.at("open") {
			t.Errorf("the service got %s", got)
		}
		if got := a.Header.Get("Location"); got != "/app/z?q" {
			t.Errorf("the browser is sent to %s", got)
		}
		if got := a.Header.Get("Set-Cookie"); got != "a=1; Path=/app/x y" {
			t.Errorf("the browser gets the cookie %s", got)
		}
		if got := f.ask(nil, "GET", "open", "/app/?to="+url.QueryEscape(urls[0]+"/v1/z")).Header.Get("Location"); got != "http://"+f.at("open")+"/app/z" {
			t.Errorf("a redirect to the upstream's own address leads to %s", got)
		}
	}
}

// What a rule sees is the path before the gateway, whatever becomes of it behind.
func TestRulesSeeThePathThatTheClientAskedFor(t *testing.T) {
	t.Parallel()
	_, urls := upstreams(t, 1, func(w http.ResponseWriter, r *http.Request) { w.Header().Set("X-Got", r.RequestURI) })
	f := serves(t, upstream.Config{Rewrite: upstream.Rewrite{Strip: "/public", Add: "/admin"}}, urls...)
	if a := f.ask(nil, "GET", "wiki", "/public/x"); a.Header.Get("X-Got") != "/admin/x" { // public to everybody
		t.Errorf("got %d, the service %q", a.StatusCode, a.Header.Get("X-Got"))
	}
	f.refused(f.ask(f.guest("bob"), "GET", "wiki", "/admin/x"), 403, authz.ReasonDenied)
}

func TestAnswersHaveBounds(t *testing.T) {
	t.Parallel()
	for _, silence := range []time.Duration{0, time.Minute} {
		_, urls := upstreams(t, 1, func(w http.ResponseWriter, r *http.Request) {
			n, _ := strconv.Atoi(r.URL.Query().Get("n"))
			if r.URL.Path == "/head" {
				w.Header().Set("X-Long", strings.Repeat("x", n))
				return
			}
			if r.URL.Path == "/chunked" {
				_ = http.NewResponseController(w).Flush()
			} else {
				w.Header().Set("Content-Length", strconv.Itoa(n))
			}
			_, _ = io.WriteString(w, strings.Repeat("x", n))
		})
		f := serves(t, upstream.Config{MaxBody: 1000, MaxHead: 8 << 10, Timeouts: upstream.Timeouts{Silence: silence}}, urls...)
		for _, path := range []string{"/known", "/chunked"} {
			if a := f.ask(nil, "GET", "open", path+"?n=1000"); a.StatusCode != 200 || len(a.body) != 1000 {
				t.Errorf("%s: 1000 bytes became %d with %d", path, a.StatusCode, len(a.body))
			}
		}
		f.refused(f.ask(nil, "GET", "open", "/known?n=1001"), 502, ReasonUpstreamLarge)
		if a := f.ask(nil, "HEAD", "open", "/known?n=1001"); a.StatusCode != 200 {
			t.Errorf("a HEAD has no body, and got %d", a.StatusCode)
		}
		if a, err := f.tryRaw("open", "GET /chunked?n=100000 HTTP/1.1\r\nHost: "+f.at("open")+"\r\n\r\n"); err == nil && a.StatusCode == 200 {
			t.Errorf("the client took %d bytes for the whole answer", len(a.body))
		}
		if a := f.ask(nil, "GET", "open", "/head?n=4000"); a.StatusCode != 200 {
			t.Errorf("an ordinary head became %d", a.StatusCode)
		}
		f.refused(f.ask(nil, "GET", "open", "/head?n=20000"), 502, ReasonUpstream)
	}
}

func TestAnswersHaveTimes(t *testing.T) {
	t.Parallel()
	stuck := make(chan bool)
	_, urls := upstreams(t, 1, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/late":
		case "/stops":
			_, _ = io.WriteString(w, "some")
			_ = http.NewResponseController(w).Flush()
		default:
			return
		}
		select {
		case <-stuck:
		case <-r.Context().Done():
		}
	})
	t.Cleanup(func() { close(stuck) })
	const soon = 100 * time.Millisecond
	for _, c := range []struct {
		times upstream.Timeouts
		path  string
		head  bool // it is the head that does not come
	}{
		{upstream.Timeouts{Head: soon}, "/late", true},
		{upstream.Timeouts{Head: soon, Silence: time.Minute}, "/late", true},
		{upstream.Timeouts{Whole: soon}, "/late", true},
		{upstream.Timeouts{Whole: soon, Silence: time.Minute}, "/late", true},
		{upstream.Timeouts{Whole: soon}, "/stops", false},
		{upstream.Timeouts{Silence: soon}, "/stops", false},
	} {
		f := serves(t, upstream.Config{Timeouts: c.times}, urls...)
		if a := f.ask(nil, "GET", "open", "/"); a.StatusCode != 200 {
			t.Errorf("%+v: what is quick got %d", c.times, a.StatusCode)
		}
		if c.head {
			f.refused(f.ask(nil, "GET", "open", c.path), 504, ReasonUpstreamTimeout)
		} else if a, err := f.tryRaw("open", "GET "+c.path+" HTTP/1.1\r\nHost: "+f.at("open")+"\r\n\r\n"); err == nil {
			t.Errorf("%+v: the client took %q for the whole answer", c.times, a.body)
		}
	}
}

func TestUpstreamsWithTLSAreWhoTheySayAndKnowUs(t *testing.T) {
	t.Parallel()
	own := &tls.Config{}
	cert := serverTLS(t, own) // for *.test; own trusts it
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s %d", r.Proto, len(r.TLS.PeerCertificates))
	}))
	s.TLS = cert.Clone()
	s.TLS.ClientAuth, s.TLS.ClientCAs = tls.RequireAndVerifyClientCert, own.RootCAs
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(s.Close)
	pool := own.RootCAs
	for _, c := range []struct {
		name string
		wire upstream.Wire
		body string // empty: refused
	}{
		{"known by both", upstream.Wire{TLS: &tls.Config{RootCAs: pool, ServerName: "wiki.test", Certificates: cert.Certificates}}, "HTTP/2.0 1"},
		{"HTTP/1.1 alone", upstream.Wire{TLS: &tls.Config{RootCAs: pool, ServerName: "wiki.test", Certificates: cert.Certificates}, Protocol: upstream.HTTP1}, "HTTP/1.1 1"},
		{"HTTP/2 alone", upstream.Wire{TLS: &tls.Config{RootCAs: pool, ServerName: "wiki.test", Certificates: cert.Certificates}, Protocol: upstream.HTTP2}, "HTTP/2.0 1"},
		{"no certificate of ours", upstream.Wire{TLS: &tls.Config{RootCAs: pool, ServerName: "wiki.test"}}, ""},
		{"another authority", upstream.Wire{TLS: &tls.Config{RootCAs: x509.NewCertPool(), ServerName: "wiki.test", Certificates: cert.Certificates}}, ""},
		{"another name", upstream.Wire{TLS: &tls.Config{RootCAs: pool, ServerName: "other.example", Certificates: cert.Certificates}}, ""},
		{"the system's authorities", upstream.Wire{}, ""},
	} {
		f := serves(t, upstream.Config{Wire: c.wire}, s.URL)
		a := f.ask(nil, "GET", "open", "/")
		switch {
		case c.body == "":
			f.refused(a, 502, ReasonUpstream)
		case a.body != c.body:
			t.Errorf("%s: %d %q", c.name, a.StatusCode, a.body)
		}
	}
}
