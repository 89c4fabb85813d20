package gateway

import (
	"crypto/tls"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

func TestP10_WhatThePeerSaysAboutTheRequestIsIgnored(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	lines := []string{
		"X-Forwarded-Uri: /public/forged", "X-Forwarded-Host: open.test", "X-Forwarded-Proto: https,forged", "X-Forwarded-Method: forged", "X-Forwarded-For: 10.0.0.1",
		"Forwarded: for=10.0.0.1;host=open.test;by=forged", "X-Original-URL: /public/forged", "X-Original-Uri: /public/forged", "X-Rewrite-URL: /public/forged",
		"X-HTTP-Method-Override: forged", "X-Method-Override: forged", "X-HTTP-Method: forged", "X-Real-IP: 10.0.0.1", "True-Client-IP: 10.0.0.1", "X-Host: forged", "X-Envoy-Original-Path: /public/forged",
	}
	f.refused(f.ask(nil, "GET", "wiki", "/secret", lines...), 401, ReasonSignIn)
	s := f.passed(f.ask(nil, "GET", "wiki", "/public/x", lines...))
	forged(t, s)
	for name, want := range map[string]string{"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Host": f.at("wiki"), "X-Forwarded-Proto": "http", "X-Real-Ip": "", "Forwarded": "", "True-Client-Ip": ""} {
		if got := strings.Join(s.Header[http.CanonicalHeaderKey(name)], "|"); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if s.Host != f.at("wiki") || s.Method != "GET" {
		t.Errorf("the service got %s %s", s.Method, s.Host)
	}
}

func TestP11_TheClientIsTheRightmostUntrustedHop(t *testing.T) {
	t.Parallel()
	proxies := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("10.0.0.0/8")}
	for _, tc := range []struct {
		what, remote string
		forwarded    []string
		trusted      []netip.Prefix
		want         string
	}{
		{"nobody is trusted", "127.0.0.1:1", []string{"1.2.3.4"}, nil, "127.0.0.1"},
		{"no header", "127.0.0.1:1", nil, proxies, "127.0.0.1"},
		{"one hop", "127.0.0.1:1", []string{"1.2.3.4"}, proxies, "1.2.3.4"},
		{"a lie before it", "127.0.0.1:1", []string{"10.9.9.9, 1.2.3.4"}, proxies, "1.2.3.4"},
		{"two lines", "127.0.0.1:1", []string{"9.9.9.9", "1.2.3.4, 10.0.0.2"}, proxies, "1.2.3.4"},
		{"peer is not trusted", "8.8.8.8:1", []string{"1.2.3.4"}, proxies, "8.8.8.8"},
		{"garbage", "127.0.0.1:1", []string{"10.0.0.5, garbage"}, proxies, "127.0.0.1"},
		{"garbage behind a trusted hop", "127.0.0.1:1", []string{"1.2.3.4, <script>, 10.0.0.5"}, proxies, "10.0.0.5"},
		{"empty", "127.0.0.1:1", []string{""}, proxies, "127.0.0.1"},
		{"a port", "127.0.0.1:1", []string{"1.2.3.4:80"}, proxies, "127.0.0.1"},
		{"mapped and zoned", "[::ffff:127.0.0.1]:1", []string{"fe80::1%eth0"}, proxies, "fe80::1"},
		{"all trusted", "127.0.0.1:1", []string{"10.0.0.1, 10.0.0.2"}, proxies, "10.0.0.1"},
		{"a thousand hops", "127.0.0.1:1", []string{strings.Repeat("6.6.6.6, ", 999) + "1.2.3.4"}, proxies, "1.2.3.4"},
	} {
		if got := peer(tc.remote, tc.forwarded, tc.trusted).String(); got != tc.want {
			t.Errorf("%s: %s, want %s", tc.what, got, tc.want)
		}
	}
	// Over the wire, behind a trusted proxy.
	f := newFront(t, func(_ *front, c *Config) { c.TrustedProxies = proxies })
	if s := f.passed(f.ask(nil, "GET", "open", "/", "X-Forwarded-For: 10.0.0.9, 1.2.3.4")); s.Header.Get("X-Forwarded-For") != "1.2.3.4" {
		t.Errorf("the service got %q", s.Header["X-Forwarded-For"])
	}
	if s := f.passed(f.ask(nil, "GET", "open", "/", "X_Forwarded_For: 1.2.3.4")); s.Header.Get("X-Forwarded-For") != "127.0.0.1" {
		t.Errorf("the service got %q", s.Header["X-Forwarded-For"])
	}
}

func TestP12P29_OnlyKnownHostsInTheirCanonicalForm(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	for _, host := range []string{"wiki.test:" + f.port, "WIKI.Test:" + f.port, "wiki.test", "wiki.test:1", "Wiki.Test"} {
		s := f.passed(f.raw("GET /public/x HTTP/1.1\r\nHost: " + host + "\r\n\r\n"))
		if s.Host != f.at("wiki") || s.Header.Get("X-Forwarded-Host") != f.at("wiki") {
			t.Errorf("host %q reached the service as %q", host, s.Host)
		}
	}
	n := f.echo.count()
	for _, host := range []string{"wiki.test.", "wiki.test.:80", "", "nobody.test", "127.0.0.1", "[::1]", "[::1]:80", "localhost", "evil@wiki.test", "wiki.test@evil.test", "wiki.test:80:80", "wiki.test:x", "wiki.test:",
		"wiki.test/x", "wiki.test\\evil", "wiki .test", "xn--wiki.test", ".wiki.test", "wiki..test", "w%69ki.test", "wiki.test,open.test", "wiki.test#", "ｗiki.test", "a.wiki.test"} {
		a := f.raw("GET /public/x HTTP/1.1\r\nHost: " + host + "\r\n\r\n")
		// Some are no host at all to net/http.
		if a.StatusCode != 400 && (a.StatusCode != 421 || a.code() != ReasonHostUnknown) {
			t.Errorf("host %q: %d %q", host, a.StatusCode, a.code())
		}
	}
	for _, raw := range []string{
		"GET /public/x HTTP/1.1\r\nHost: wiki.test\r\nHost: open.test\r\n\r\n",
		"GET /public/x HTTP/1.1\r\n\r\n",
		"GET http://nobody.test/public/x HTTP/1.1\r\nHost: wiki.test\r\n\r\n",
		"GET http://evil@wiki.test/public/x HTTP/1.1\r\nHost: wiki.test\r\n\r\n",
		"GET http://wiki.test@evil.test/public/x HTTP/1.1\r\nHost: wiki.test\r\n\r\n",
		"GET http:wiki.test/public/x HTTP/1.1\r\nHost: wiki.test\r\n\r\n",
		"GET /public/x HTTP/1.0\r\n\r\n",
	} {
		if a := f.raw(raw); a.StatusCode != 400 && a.StatusCode != 421 {
			t.Errorf("%q: %d", raw, a.StatusCode)
		}
	}
	if f.echo.count() != n {
		t.Error("a request for no host of ours reached a service")
	}
	if f.recorded(ReasonHostUnknown) == 0 {
		t.Error("nothing was recorded")
	}
	// The absolute form is as good as a Host of the same name, and counts before another.
	if s := f.passed(f.raw("GET http://wiki.test/public/x HTTP/1.1\r\nHost: payroll.test\r\n\r\n")); s.Host != f.at("wiki") || s.URI != "/public/x" {
		t.Errorf("the service got %s %s", s.Host, s.URI)
	}
	// A known host with no service at the path.
	f.refused(f.ask(nil, "GET", "gate", "/"), 404, ReasonPathUnknown)
	f.refused(f.raw("GET / HTTP/1.1\r\nHost: nobody.test\r\n\r\n"), 421, ReasonHostUnknown)
}

func TestP13_AConnectionServesTheHostItWasOpenedFor(t *testing.T) {
	t.Parallel()
	f := newFront(t, overTLS)
	get := func(sni, host string) answer {
		a, err := f.tryRaw(sni, "GET /public/x HTTP/1.1\r\nHost: "+f.at(host)+"\r\n\r\n")
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	if s := f.passed(get("wiki", "wiki")); s.Header.Get("X-Forwarded-Proto") != "https" {
		t.Errorf("the service got %q", s.Header["X-Forwarded-Proto"])
	}
	f.refused(get("wiki", "open"), 421, ReasonHostUnknown)
	f.refused(get("open", "wiki"), 421, ReasonHostUnknown)

	// HTTP/2: a browser reuses a connection for another host of the same
	// certificate; it must be told to open another.
	c := f.h2conn(t, "wiki")
	for i, tc := range []struct{ authority, status string }{{f.at("wiki"), "200"}, {f.at("open"), "421"}, {f.at("wiki"), "200"}} {
		if got := c.get(uint32(2*i+1), tc.authority, "/public/x"); got != tc.status {
			t.Errorf("%s on a connection for wiki: %s", tc.authority, got)
		}
	}
	if f.echo.count() != 3 {
		t.Errorf("%d requests reached a service", f.echo.count())
	}
}

// h2conn is an HTTP/2 connection in a test's own hands.
type h2conn struct {
	t  testing.TB
	c  *tls.Conn
	fr *http2.Framer
	hb strings.Builder
	en *hpack.Encoder
}

func (f *front) h2conn(t testing.TB, host string) *h2conn {
	t.Helper()
	tc := f.tls.Clone()
	tc.ServerName, tc.NextProtos = host+".test", []string{"h2"}
	c, err := tls.Dial("tcp", f.addr, tc)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	h := &h2conn{t: t, c: c}
	h.en = hpack.NewEncoder(&h.hb)
	if _, err := c.Write([]byte(http2.ClientPreface)); err != nil {
		t.Fatal(err)
	}
	h.fr = http2.NewFramer(c, c)
	h.fr.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	if err := h.fr.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	return h
}

func (h *h2conn) block(fields ...string) []byte {
	h.hb.Reset()
	for i := 0; i < len(fields); i += 2 {
		_ = h.en.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
	return []byte(h.hb.String())
}

func (h *h2conn) head(id uint32, authority, path string, more ...string) {
	h.t.Helper()
	b := h.block(append([]string{":method", "GET", ":scheme", "https", ":authority", authority, ":path", path}, more...)...)
	if err := h.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: b, EndHeaders: true, EndStream: true}); err != nil {
		h.t.Fatal(err)
	}
}

// get is the status of a request; "" if its stream was reset, "gone" if the
// connection was.
func (h *h2conn) get(id uint32, authority, path string) string {
	h.t.Helper()
	h.head(id, authority, path)
	return h.status(id)
}

func (h *h2conn) status(id uint32) (status string) {
	for {
		fr, err := h.fr.ReadFrame()
		if err != nil {
			return "gone"
		}
		switch fr := fr.(type) {
		case *http2.SettingsFrame:
			if !fr.IsAck() {
				_ = h.fr.WriteSettingsAck()
			}
		case *http2.MetaHeadersFrame:
			if fr.StreamID == id {
				status = fr.PseudoValue("status")
				if fr.StreamEnded() {
					return status
				}
			}
		case *http2.DataFrame:
			if fr.StreamID == id && fr.StreamEnded() {
				return status
			}
		case *http2.RSTStreamFrame:
			if fr.StreamID == id {
				return status
			}
		case *http2.GoAwayFrame:
			return "gone"
		}
	}
}

func TestP14_NoUserAgentIsLetInForWhatItSaysItIs(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	for _, ua := range []string{"GoogleHC/1.0", "kube-probe/1.30", "ELB-HealthChecker/2.0", "Amazon-Route53-Health-Check-Service"} {
		for _, p := range []string{"/", "/healthz", "/ping", "/readyz"} {
			f.refused(f.ask(nil, "GET", "wiki", p, "User-Agent: "+ua), 401, ReasonSignIn)
		}
	}
	if f.echo.count() != 0 {
		t.Error("a probe reached the service")
	}
	f.passed(f.ask(f.guest("alice"), "GET", "wiki", "/healthz", "User-Agent: kube-probe/1.30"))
}

func TestP15_MethodsThatNoServiceGets(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	alice := f.guest("alice")
	for _, m := range []string{"CONNECT", "TRACE", "TRACK", "get", "Get", "*", "GETT", "DEBUG", "PRI", "X"} {
		target := "/"
		if m == "CONNECT" {
			target = f.at("wiki")
		}
		a := f.ask(alice, m, "wiki", target)
		if m == "PRI" && a.StatusCode == 400 {
			continue // the beginning of HTTP/2, to net/http
		}
		f.refused(a, 405, ReasonMethod)
		if !strings.Contains(a.Header.Get("Allow"), "GET") {
			t.Errorf("%s: Allow is %q", m, a.Header.Get("Allow"))
		}
	}
	f.refused(f.ask(alice, "OPTIONS", "wiki", "*"), 400, ReasonPath)
	if f.echo.count() != 0 {
		t.Error("one reached the service")
	}
	for _, m := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"} {
		if a := f.ask(alice, m, "wiki", "/", "Content-Length: 0"); a.StatusCode != 200 || m != "HEAD" && a.seen().Method != m {
			t.Errorf("%s: %d", m, a.StatusCode)
		}
	}
}

func TestP25_OnlyConfiguredUpstreamsAreDialled(t *testing.T) {
	t.Parallel()
	canary := newEcho(t)
	f := newFront(t)
	alice := f.guest("alice")
	there := canary.url.Host
	for _, raw := range []string{
		"GET http://" + there + "/ HTTP/1.1\r\nHost: wiki.test\r\n",
		"GET //" + there + "/ HTTP/1.1\r\nHost: wiki.test\r\n",
		"GET / HTTP/1.1\r\nHost: " + there + "\r\n",
		"GET @" + there + "/ HTTP/1.1\r\nHost: wiki.test\r\n",
		"GET /@" + there + "/ HTTP/1.1\r\nHost: wiki.test\r\n",
		"GET /http://" + there + "/ HTTP/1.1\r\nHost: wiki.test\r\n",
		"GET / HTTP/1.1\r\nHost: wiki.test\r\nX-Forwarded-Host: " + there + "\r\n",
		"GET / HTTP/1.1\r\nHost: wiki.test\r\nX-Host: " + there + "\r\n",
		"GET /?url=http://" + there + "/ HTTP/1.1\r\nHost: wiki.test\r\n",
	} {
		a := f.raw(raw + alice.cookie("wiki") + "\r\n")
		if a.StatusCode >= 500 {
			t.Errorf("%q: %d", raw, a.StatusCode)
		}
	}
	if n := canary.count(); n != 0 {
		t.Errorf("%d requests went where the client said", n)
	}
}

// A method that only asks, or one that says it is another, gets nobody more than the
// method that it is: no preflight reaches a service for nobody.
func TestZ07_MethodsThatAskOrPretendGetNoMore(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	preflight := []string{"Origin: http://other.test", "Access-Control-Request-Method: GET", "Access-Control-Request-Headers: authorization"}
	for _, m := range []string{"GET", "HEAD", "OPTIONS", "PROPFIND", "POST"} {
		for _, lines := range [][]string{nil, preflight, {"X-HTTP-Method-Override: OPTIONS", "X-HTTP-Method: HEAD", "X-Method-Override: GET"}} {
			a := f.ask(nil, m, "wiki", "/secret?_method=OPTIONS", append(lines, "Content-Length: 0")...)
			if a.StatusCode != 401 || a.Header.Get("Access-Control-Allow-Origin") != "" {
				t.Errorf("%s %q: %d %v", m, lines, a.StatusCode, a.Header)
			}
		}
	}
	if f.echo.count() != 0 {
		t.Error("one reached the service")
	}
	if s := f.passed(f.ask(f.guest("alice"), "OPTIONS", "wiki", "/secret", preflight...)); s.Method != "OPTIONS" {
		t.Errorf("the service got %s", s.Method)
	}
}
