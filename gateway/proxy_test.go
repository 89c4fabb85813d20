package gateway

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-sso/gatehouse/authz"
	"github.com/gatehouse-sso/gatehouse/gateway/upstream"
)

func TestP17_OnlyWebSocketsSwitchProtocols(t *testing.T) {
	t.Parallel()
	f := newFront(t, func(_ *front, c *Config) { c.Services[2].NoWebSocket = true })
	alice := f.guest("alice")
	for _, up := range [][]string{
		{"Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA"},
		{"Connection: Upgrade", "Upgrade: foo"},
		{"Connection: Upgrade", "Upgrade: websocket, h2c"},
		{"Connection: Upgrade", "Upgrade: websocket", "Upgrade: h2c"},
		{"Connection: Upgrade", "Upgrade: TLS/1.0"},
		{"Connection: close", "Upgrade: websocket"},
		{"Upgrade: websocket"},
	} {
		s := f.passed(f.ask(alice, "GET", "wiki", "/", up...))
		if s.Header["Upgrade"] != nil || s.Header["Http2-Settings"] != nil || strings.Contains(strings.ToLower(strings.Join(s.Header["Connection"], ",")), "upgrade") {
			t.Errorf("%q: the service got %q", up, s.Header)
		}
	}
	ws := []string{"Connection: keep-alive, Upgrade", "Upgrade: WebSocket"}
	if s := f.passed(f.ask(alice, "GET", "wiki", "/", ws...)); !strings.EqualFold(s.Header.Get("Upgrade"), "websocket") || s.Header.Get("Connection") != "Upgrade" {
		t.Errorf("a WebSocket came as %q", s.Header)
	}
	if s := f.passed(f.ask(alice, "GET", "open", "/", ws...)); s.Header["Upgrade"] != nil {
		t.Error("a service that takes none was asked for a WebSocket")
	}
	if s := f.passed(f.ask(alice, "POST", "wiki", "/", append(ws, "Content-Length: 0")...)); s.Header["Upgrade"] != nil {
		t.Error("a POST was forwarded as a WebSocket")
	}
	// A service that switches although nobody asked is broken, not obeyed.
	for _, reply := range []string{"HTTP/1.1 101 Switching Protocols\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: foo\r\n\r\n"} {
		f.rawSays(reply)
		f.refused(f.ask(nil, "GET", "raw", "/"), 502, ReasonUpstream)
	}
}

func TestP21_OurCookiesAndTokensStayHere(t *testing.T) {
	t.Parallel()
	f := newFront(t, func(_ *front, c *Config) {
		c.Services[1].KeepAuthorization = true
		c.Services[3] = Service{ID: "raw", Title: "In process", Host: "raw.test", Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintf(w, "%q %q %q", r.Header["Cookie"], r.Header["Authorization"], authz.SubjectFrom(r.Context()).UserName)
		})}
	})
	alice := f.guest("alice", "fin")
	name := f.c.Cookie.Name("")
	secret := strings.TrimSuffix(strings.SplitN(alice.cookie("wiki"), "=", 2)[1], "\r\n")
	lines := []string{
		"Authorization: Bearer forged", "Proxy-Authorization: Basic forged",
		"Cookie: a=1; " + f.c.Cookie.Name("bind") + "=forged; __Host-gatehouse=forged; __Secure-gatehouse=forged; GATEHOUSE-1=forged; gatehouse_language=de; gatehouse=forged; b=2;gatehouse-99=forged",
		`Cookie: c="x; ` + f.c.Cookie.Name("login-x") + `=forged"`,
	}
	s := f.passed(f.ask(alice, "GET", "wiki", "/", lines...))
	forged(t, s)
	if got := s.Header.Get("Cookie"); got != `a=1; b=2; c="x` {
		t.Errorf("the service got the cookies %q", got)
	}
	if strings.Contains(f.echo.bytes(), secret) || strings.Contains(strings.ToLower(f.echo.bytes()), name) {
		t.Error("the session cookie reached the service")
	}
	if s := f.passed(f.ask(alice, "GET", "wiki", "/")); s.Header["Cookie"] != nil {
		t.Errorf("an empty Cookie header: %q", s.Header["Cookie"])
	}
	alice.cookie("payroll")
	if s := f.passed(f.ask(alice, "GET", "payroll", "/", "Authorization: Bearer kept")); s.Header.Get("Authorization") != "Bearer kept" {
		t.Error("Authorization did not reach a service that is configured to get it")
	}
	a := f.ask(alice, "GET", "raw", "/", "Authorization: Bearer forged", "Cookie: a=1; gatehouse_language=de")
	if a.body != `["gatehouse_language=de"] [] "alice"` {
		t.Errorf("a service in this process got %s", a.body)
	}
}

func TestP22_ServicesCanNotSpeakForUs(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	ours := f.c.Cookie.Name("")
	head := "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Gatehouse-Jwt: forged\r\nX_Gatehouse_User: forged\r\n" +
		"Set-Cookie: " + ours + "=forged; Path=/\r\nSet-Cookie:  " + strings.ToUpper(ours) + " =forged\r\nSet-Cookie: __Host-gatehouse=forged; Secure; Path=/\r\n" +
		"Set-Cookie: =" + ours + "=forged\r\nSet-Cookie: " + ours + "\r\nSet-Cookie: gatehouse_language=forged\r\n" +
		"Set-Cookie: app=1; Domain=test; Path=/x; HttpOnly\r\nSet-Cookie: app2=2; domain = .raw.test\r\nSet-Cookie: plain=3; SameSite=Lax\r\nX-App: yes\r\n"
	early := "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nSet-Cookie: " + ours + "=forged\r\nX-Gatehouse-Early: forged\r\n\r\n"
	f.rawSays(early + head + "\r\nok")
	c := f.dial("raw")
	defer c.Close()
	_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: "+f.at("raw")+"\r\nConnection: close\r\n\r\n")
	all, err := io.ReadAll(c)
	if err != nil {
		t.Fatal(err)
	}
	got := string(all)
	if strings.Contains(got, "forged") || strings.Contains(strings.ToLower(got), strings.ToLower(ours)) {
		t.Errorf("the browser got\n%s", got)
	}
	if strings.Contains(strings.ToLower(got), "domain") {
		t.Errorf("a cookie reaches other hosts:\n%s", got)
	}
	for _, want := range []string{"Link: </a.css>", "Set-Cookie: app=1; Path=/x; HttpOnly\r\n", "Set-Cookie: app2=2\r\n", "Set-Cookie: plain=3; SameSite=Lax\r\n", "X-App: yes", "\r\n\r\nok"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is missing in\n%s", want, got)
		}
	}
}

func TestP23_ABrokenAnswerDoesNotLookComplete(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	half := func(head, body string) {
		t.Helper()
		f.rawSays(head + body)
		a, err := f.tryRaw("raw", "GET / HTTP/1.1\r\nHost: "+f.at("raw")+"\r\n\r\n")
		if err == nil {
			t.Errorf("%.60q…: the client took %d %q for the whole answer", head, a.StatusCode, a.body)
		}
	}
	half("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n", "half")
	half("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "4\r\nhalf\r\n")
	half("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "4\r\nhalfgarbage")
	for _, reply := range []string{
		"", "HTTP/1.1", "garbage\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Len",
		"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nx",
		"HTTP/1.1 999999 OK\r\n\r\n",
		strings.Repeat("HTTP/1.1 100 Continue\r\nX-Fill: "+strings.Repeat("x", 1000)+"\r\n\r\n", 500) + "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
	} {
		f.rawSays(reply)
		f.refused(f.ask(nil, "GET", "raw", "/"), 502, ReasonUpstream)
	}
	// More than was promised is cut off, not the beginning of the next answer.
	f.rawSays("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged")
	if a := f.ask(nil, "GET", "raw", "/"); a.StatusCode != 200 || a.body != "ok" {
		t.Errorf("got %d %q", a.StatusCode, a.body)
	}
	// One that panics.
	f.echo.does(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "half")
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	})
	if a, err := f.tryRaw("open", "GET / HTTP/1.1\r\nHost: "+f.at("open")+"\r\n\r\n"); err == nil {
		t.Errorf("the client took %q for the whole answer", a.body)
	}
	eventually(t, "no stream is left", func() bool { return len(f.streams.of(everything)) == 0 })
	// Nobody there at all, and nobody who answers.
	gone := newFront(t, func(_ *front, c *Config) {
		c.Services[2].Upstream = &url.URL{Scheme: "http", Host: "127.0.0.1:1"}
		tr := upstream.Transport(nil)
		tr.ResponseHeaderTimeout = 50 * time.Millisecond
		c.Transport = tr
		c.Lean.HeadTimeout = 50 * time.Millisecond
		t.Cleanup(tr.CloseIdleConnections)
	})
	gone.refused(gone.ask(nil, "GET", "open", "/"), 502, ReasonUpstream)
	silent := func(c net.Conn, r *http.Request) { _, _ = io.Copy(io.Discard, c) }
	gone.rawUp.Store(&silent)
	gone.refused(gone.ask(nil, "GET", "raw", "/"), 504, ReasonUpstreamTimeout)
}

func TestP30_ServicesCanNotSplitOrFloodAnswers(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	for _, reply := range []string{
		"HTTP/1.1 200 OK\r\nX-Big: " + strings.Repeat("x", 100<<10) + "\r\nContent-Length: 0\r\n\r\n",
		"HTTP/1.1 200 OK\r\n" + strings.Repeat("X-Many: y\r\n", 10000) + "Content-Length: 0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nBad Name: x\r\nContent-Length: 0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nno colon\r\nContent-Length: 0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nX-Nul: a\x00b\r\nContent-Length: 0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nX-Cr: a\rSet-Cookie: forged=1\r\nContent-Length: 2\r\n\r\nok",
	} {
		f.rawSays(reply)
		f.refused(f.ask(nil, "GET", "raw", "/"), 502, ReasonUpstream)
	}
	f.rawSays("HTTP/1.1 200 OK\r\nX-Ok: 1\r\nContent-Length: 2\r\n\r\nok")
	if a := f.ask(nil, "GET", "raw", "/"); a.body != "ok" || a.Header.Get("X-Ok") != "1" {
		t.Errorf("an ordinary answer became %d %q", a.StatusCode, a.body)
	}
}

func TestP31_ExpectationsNeverHang(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	alice := f.guest("alice")
	post := "POST / HTTP/1.1\r\nHost: " + f.at("wiki") + "\r\nExpect: 100-continue\r\nContent-Length: 5\r\n"

	// Nobody: refused at once, without asking for the body.
	a, err := f.tryRaw("wiki", post+"\r\n")
	if err != nil {
		t.Fatal(err)
	}
	f.refused(a, 401, ReasonSignIn)

	// Somebody: 100, then the body.
	c := f.dial("wiki")
	defer c.Close()
	_, _ = io.WriteString(c, post+alice.cookie("wiki")+"\r\n")
	br := bufio.NewReader(c)
	if line, err := br.ReadString('\n'); err != nil || !strings.HasPrefix(line, "HTTP/1.1 100") {
		t.Fatalf("got %q, %v", line, err)
	}
	_, _ = br.ReadString('\n')
	_, _ = io.WriteString(c, "hello")
	if a, err = readAnswer(br, post); err != nil || f.passed(a).Body != "hello" {
		t.Errorf("got %v, %v", a.body, err)
	}

	// A service that refuses before it has the body.
	f.rawSays("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")
	a, err = f.tryRaw("raw", "POST / HTTP/1.1\r\nHost: "+f.at("raw")+"\r\nExpect: 100-continue\r\nContent-Length: 1000000\r\n\r\n")
	if err != nil || a.StatusCode != 403 || a.body != "no" {
		t.Errorf("an early answer became %v, %v", a.body, err)
	}
	if a := f.ask(alice, "POST", "wiki", "/", "Expect: tea", "Content-Length: 0"); a.StatusCode != http.StatusExpectationFailed {
		t.Errorf("an unknown expectation: %d", a.StatusCode)
	}
}

func TestP32_OwnAnswersAreWhatTheySay(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	eve := f.guest("eve")
	for _, tc := range []struct {
		who          *guest
		host, target string
		status       int
		kind         string
		html         bool
	}{
		{eve, "payroll", "/", 403, "text/html; charset=utf-8", true},
		{eve, "payroll", "/", 403, "application/problem+json", false},
		{nil, "gate", "/.gatehouse/jwks.json", 200, "application/jwk-set+json", false},
		{nil, "gate", "/.gatehouse/nothing", 404, "text/html; charset=utf-8", true},
		{nil, "gate", "/.gatehouse/login", 200, "text/html; charset=utf-8", true},
		{nil, "wiki", "/a//b", 400, "text/html; charset=utf-8", true},
	} {
		lines := []string{"Range: bytes=0-3", "If-None-Match: *", "If-Modified-Since: Thu, 01 Jan 2099 00:00:00 GMT", "If-Range: x"}
		if tc.html {
			lines = append(lines, "Accept: text/html", "Sec-Fetch-Mode: navigate")
		}
		a := f.ask(tc.who, "GET", tc.host, tc.target, lines...)
		if a.StatusCode != tc.status || a.Header.Get("Content-Type") != tc.kind || a.Header.Get("X-Content-Type-Options") != "nosniff" || a.Header.Get("Content-Range") != "" {
			t.Errorf("%s%s: %d %v", tc.host, tc.target, a.StatusCode, a.Header)
		}
		if tc.html && !strings.Contains(a.Header.Get("Content-Security-Policy"), "frame-ancestors 'none'") {
			t.Errorf("%s%s: policy %q", tc.host, tc.target, a.Header.Get("Content-Security-Policy"))
		}
		h := f.ask(tc.who, "HEAD", tc.host, tc.target, lines...)
		if h.StatusCode != tc.status || h.body != "" || h.Header.Get("Content-Type") != tc.kind {
			t.Errorf("HEAD %s%s: %d %q", tc.host, tc.target, h.StatusCode, h.Header.Get("Content-Type"))
		}
	}
}

func TestRefusalsSpeakTheCallersLanguage(t *testing.T) {
	t.Parallel()
	f := newFront(t, overTLS)
	eve := f.guest("eve")
	nav := []string{"Accept: text/html", "Sec-Fetch-Mode: navigate"}
	for _, tc := range []struct {
		what   string
		who    *guest
		method string
		lines  []string
		status int
		kind   string
		also   func(answer) bool
	}{
		{"browser without a session", nil, "GET", nav, 303, "text/html; charset=utf-8", func(a answer) bool {
			return strings.HasPrefix(a.Header.Get("Location"), f.c.Public.String()+"/.gatehouse/login?")
		}},
		{"program without a session", nil, "GET", []string{"Accept: application/json"}, 401, "application/problem+json", func(a answer) bool {
			return a.code() == ReasonSignIn && strings.Contains(a.Header.Get("WWW-Authenticate"), "/.gatehouse/login") && strings.Contains(a.body, `"login_url"`)
		}},
		{"script of a page", nil, "GET", []string{"Accept: text/html", "Sec-Fetch-Mode: cors"}, 401, "application/problem+json", nil},
		{"XMLHttpRequest of old", nil, "GET", []string{"Accept: text/html", "X-Requested-With: XMLHttpRequest"}, 401, "application/problem+json", nil},
		{"form without a session", nil, "POST", append(nav, "Content-Length: 3"), 401, "text/html; charset=utf-8", nil},
		{"browser that may not", eve, "GET", nav, 403, "text/html; charset=utf-8", func(a answer) bool { return strings.Contains(a.body, "Payroll is for the finance office.") }},
		{"program that may not", eve, "GET", nil, 403, "application/problem+json", func(a answer) bool { return a.code() == authz.ReasonNoRule }},
		{"gRPC that may not", eve, "POST", []string{"Content-Type: application/grpc+proto", "Content-Length: 0"}, 200, "application/grpc", func(a answer) bool {
			return a.Header.Get("Grpc-Status") == "7" && strings.HasPrefix(a.Header.Get("Grpc-Message"), authz.ReasonNoRule)
		}},
		{"gRPC without a session", nil, "POST", []string{"Content-Type: application/grpc", "Content-Length: 0"}, 200, "application/grpc", func(a answer) bool { return a.Header.Get("Grpc-Status") == "16" }},
	} {
		a, err := f.tryRaw("payroll", fmt.Sprintf("%s / HTTP/1.1\r\nHost: %s\r\n%s%s\r\n\r\n", tc.method, f.at("payroll"), tc.who.cookie("payroll"), strings.Join(tc.lines, "\r\n")))
		if err != nil {
			t.Errorf("%s: %v", tc.what, err)
			continue
		}
		if a.StatusCode != tc.status || a.Header.Get("Content-Type") != tc.kind || tc.also != nil && !tc.also(a) {
			t.Errorf("%s: %d %v %.200s", tc.what, a.StatusCode, a.Header, a.body)
		}
		if a.Header.Get("Cache-Control") != "no-store" || a.Header.Get("Strict-Transport-Security") == "" {
			t.Errorf("%s: %v", tc.what, a.Header)
		}
	}
	if f.echo.count() != 0 {
		t.Error("one reached the service")
	}
}

func TestT20_WhatNobodyPostsReachesNobody(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	const secret = "hunter2-in-the-body"
	for _, lines := range [][]string{{"Accept: text/html", "Sec-Fetch-Mode: navigate"}, {"Accept: application/json"}} {
		a := f.raw("POST /save HTTP/1.1\r\nHost: " + f.at("wiki") + "\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 200000\r\n" + strings.Join(lines, "\r\n") + "\r\n\r\npassword=" + secret)
		if a.StatusCode != 401 || strings.Contains(a.body, secret) || !a.Close {
			t.Errorf("%v: %d, closes %v, %.300q", lines, a.StatusCode, a.Close, a.body)
		}
	}
	if f.echo.bytes() != "" {
		t.Errorf("the service got %q", f.echo.bytes())
	}
	alice := f.guest("alice")
	if s := f.passed(f.raw("POST /save HTTP/1.1\r\nHost: " + f.at("wiki") + "\r\n" + alice.cookie("wiki") + fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(secret), secret))); s.Body != secret {
		t.Errorf("the service got %q", s.Body)
	}
}

func TestT21_NothingOfOursIsKeptByCaches(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	eve := f.guest("eve")
	nav := []string{"Accept: text/html", "Sec-Fetch-Mode: navigate"}
	ck := f.c.Cookie.Name("")
	for _, a := range []answer{
		f.ask(nil, "GET", "wiki", "/", nav...), f.ask(nil, "GET", "wiki", "/"), f.ask(eve, "GET", "payroll", "/", nav...), f.ask(eve, "GET", "payroll", "/"),
		f.ask(nil, "GET", "gate", "/.gatehouse/login", nav...), f.ask(nil, "GET", "gate", "/.gatehouse/logout", nav...), f.ask(nil, "GET", "wiki", "/.gatehouse/logout", nav...),
		f.ask(nil, "GET", "wiki", "/a//b", nav...), f.ask(nil, "GET", "wiki", "/.gatehouse/session?ticket=x", nav...),
		f.ask(nil, "GET", "wiki", "/", "Cookie: "+ck+"=a; "+ck+"=b"),
	} {
		if cc := a.Header.Get("Cache-Control"); cc != "no-store" {
			t.Errorf("%d %v: Cache-Control %q", a.StatusCode, a.Header, cc)
		}
	}
	// What may be kept sets no cookie.
	for _, p := range []string{"/.gatehouse/jwks.json"} {
		if a := f.ask(eve, "GET", "gate", p); a.Header["Set-Cookie"] != nil || !strings.Contains(a.Header.Get("Cache-Control"), "public") {
			t.Errorf("%s: %v", p, a.Header)
		}
	}
}

func TestT17_ACookieFloodIsRefused(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	alice := f.guest("alice")
	if a := f.ask(alice, "GET", "wiki", "/", "Cookie: "+strings.Repeat("a=;", 50000)); a.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("150 KB of cookies: %d", a.StatusCode)
	}
	f.refused(f.ask(alice, "GET", "wiki", "/", "Cookie: "+strings.Repeat("a=;", 500)), 431, ReasonHeaders)
	var lines []string
	for range 101 {
		lines = append(lines, "X-A: b")
	}
	f.refused(f.ask(alice, "GET", "wiki", "/", lines...), 431, ReasonHeaders)
	if f.echo.count() != 0 {
		t.Error("one reached the service")
	}
	f.passed(f.ask(alice, "GET", "wiki", "/", "Cookie: "+strings.Repeat("a=;", 40)))
}

func TestTwoSessionCookiesAreBothRefused(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	alice, eve := f.guest("alice"), f.guest("eve")
	a := f.ask(alice, "GET", "wiki", "/", strings.TrimSpace(eve.cookie("wiki")))
	f.refused(a, 400, ReasonCookies)
	if sc := a.Header.Get("Set-Cookie"); !strings.Contains(sc, "Max-Age=0") {
		t.Errorf("the cookie is not cleared: %q", sc)
	}
	f.passed(f.ask(alice, "GET", "wiki", "/"))
}

// R24: what panics is one request.
func TestR24_APanicIsA500OfItsRequestAlone(t *testing.T) {
	t.Parallel()
	begun := false
	f := newFront(t, func(_ *front, c *Config) {
		c.Services[3] = Service{ID: "raw", Title: "In process", Host: "raw.test", Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if begun {
				_, _ = io.WriteString(w, "half")
				_ = http.NewResponseController(w).Flush()
			}
			panic("ouch")
		})}
	})
	a := f.ask(nil, "GET", "raw", "/")
	f.refused(a, 500, ReasonInternal)
	if strings.Contains(a.body, "ouch") {
		t.Error("the panic is on the page")
	}
	begun = true
	if a, err := f.tryRaw("raw", "GET / HTTP/1.1\r\nHost: "+f.at("raw")+"\r\n\r\n"); err == nil {
		t.Errorf("half an answer looks complete: %q", a.body)
	}
	f.passed(f.ask(nil, "GET", "open", "/"))
	if f.recorded(ReasonInternal) != 2 {
		t.Errorf("recorded %d times", f.recorded(ReasonInternal))
	}
}

func TestTrailersOfServicesPassOverHTTP2(t *testing.T) {
	t.Parallel()
	up := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Content-Type", "application/grpc")
		w.Header().Set("Trailer", "Grpc-Status")
		_, _ = w.Write(append([]byte(r.Header.Get("Te")+"|"), body...))
		w.Header().Set("Grpc-Status", "0")
		w.Header().Set(http.TrailerPrefix+"Grpc-Message", "fine")
	}))
	up.EnableHTTP2 = true
	up.StartTLS()
	t.Cleanup(up.Close)
	f := newFront(t, overTLS, func(_ *front, c *Config) {
		tr := upstream.Transport(nil)
		tr.TLSClientConfig = up.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
		c.Transport = tr
		t.Cleanup(tr.CloseIdleConnections)
		u, _ := url.Parse(up.URL)
		c.Services[2].Upstream = u
	})
	r := f.request(nil, "POST", "open", "/pkg.Service/Call", strings.NewReader("hello"))
	r.Header.Set("Te", "trailers")
	r.Header.Set("Content-Type", "application/grpc")
	a := f.h2(t, r)
	if a.body != "trailers|hello" || a.Trailer.Get("Grpc-Status") != "0" || a.Trailer.Get("Grpc-Message") != "fine" {
		t.Errorf("got %q, trailers %v", a.body, a.Trailer)
	}
}

func TestLargeBodiesPassUnchangedBothWays(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	alice := f.guest("alice")
	f.echo.does(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == "PUT" {
			h := sha256.New()
			n, _ := io.Copy(h, r.Body)
			fmt.Fprintf(w, "%d %x", n, h.Sum(nil))
			return
		}
		http.ServeContent(w, r, "x.bin", time.Unix(1, 0), bytes.NewReader(bytes.Repeat([]byte("0123456789"), 1000)))
	})
	body := bytes.Repeat([]byte("gatehouse"), 3<<20) // 27 MiB
	c := f.client()
	defer c.CloseIdleConnections()
	resp, err := c.Do(f.request(alice, "PUT", "wiki", "/big", bytes.NewReader(body)))
	if err != nil {
		t.Fatal(err)
	}
	got, _ := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if want := fmt.Sprintf("%d %x", len(body), sha256.Sum256(body)); string(got) != want {
		t.Errorf("the service got %s, want %s", got, want)
	}
	a := f.ask(alice, "GET", "wiki", "/x", "Range: bytes=15-24")
	if a.StatusCode != http.StatusPartialContent || a.body != "5678901234" || a.Header.Get("Content-Range") != "bytes 15-24/10000" {
		t.Errorf("a range: %d %q %q", a.StatusCode, a.body, a.Header.Get("Content-Range"))
	}
}

func TestT16_WithoutTheStoreNobodyPasses(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	known, cold := f.guest("alice"), f.guest("bob")
	known.cookie("wiki")
	cold.cookie("wiki")
	f.passed(f.ask(known, "GET", "wiki", "/"))
	if err := f.st.Close(); err != nil {
		t.Fatal(err)
	}
	f.refused(f.ask(cold, "GET", "wiki", "/"), 503, ReasonStore)
	f.refused(f.ask(cold, "GET", "wiki", "/public/x"), 503, ReasonStore)
	eventually(t, "what was remembered is not trusted without the store", func() bool {
		a := f.ask(known, "GET", "wiki", "/")
		return a.StatusCode == 503 && a.code() == ReasonStore
	})
	f.refused(f.ask(nil, "GET", "wiki", "/"), 401, ReasonSignIn)
	f.passed(f.ask(nil, "GET", "wiki", "/public/x")) // control: public is public
}

func TestT14_NobodyGetsTheIdentityOfAnother(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	c := f.client()
	defer c.CloseIdleConnections()
	const people, each = 200, 10
	guests := make([]*guest, people)
	for i := range guests {
		guests[i] = f.guest(fmt.Sprintf("user%d", i))
		guests[i].cookie("wiki")
	}
	errs := make(chan error, people)
	sem := make(chan struct{}, 64)
	for _, p := range guests {
		go func() {
			var err error
			defer func() { errs <- err }()
			for n := range each {
				sem <- struct{}{}
				err = f.echoesOf(c, p, n)
				<-sem
				if err != nil {
					return
				}
			}
		}()
	}
	for range guests {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}

// echoesOf asks once and compares what the service got with who asked.
func (f *front) echoesOf(c *http.Client, p *guest, n int) error {
	target := fmt.Sprintf("/%s/%d", p.name(), n)
	resp, err := c.Do(f.request(p, "POST", "wiki", target, strings.NewReader(target)))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	s := answer{resp, string(body)}.seen()
	if s.Header.Get("X-Forwarded-User") != p.name() || s.Header.Get("X-Forwarded-Email") != p.name()+"@test" || s.URI != target || s.Body != target {
		return fmt.Errorf("%s asked, the service saw %s %s", target, s.Header.Get("X-Forwarded-User"), s.URI)
	}
	if sub := unverified(s.Header.Get("X-Gatehouse-Jwt"))["sub"]; sub != p.user.ID {
		return fmt.Errorf("%s asked, the token is of %v", target, sub)
	}
	return nil
}

// A client that closes its half of the connection counts as gone; it must not
// take the end of its request for an empty answer.
func TestHalfGoneIsNotAnswered200(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	began := make(chan struct{})
	f.echo.does(func(w http.ResponseWriter, r *http.Request) {
		close(began)
		<-r.Context().Done()
	})
	c := f.dial("open")
	defer c.Close()
	_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: "+f.at("open")+"\r\n\r\n")
	<-began
	_ = c.(*net.TCPConn).CloseWrite()
	if a, err := readAnswer(bufio.NewReader(c), "GET"); err == nil {
		t.Errorf("got %d %q", a.StatusCode, a.body)
	}
}

func TestARequestOfSomebodyGoneIsAborted(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	began, ended := make(chan struct{}), make(chan struct{})
	f.echo.does(func(w http.ResponseWriter, r *http.Request) {
		close(began)
		<-r.Context().Done()
		close(ended)
	})
	ctx, cancel := context.WithCancel(t.Context())
	c := f.client()
	defer c.CloseIdleConnections()
	go func() {
		resp, err := c.Do(f.request(nil, "GET", "open", "/", nil).WithContext(ctx))
		if err == nil {
			_ = resp.Body.Close()
		}
	}()
	<-began
	cancel()
	<-ended
	eventually(t, "no stream is left", func() bool { return len(f.streams.of(everything)) == 0 })
}

// TestF7_NoProxyBeginsWithADirector: with one, a client's Connection header
// takes away headers that the gateway set.
func TestF7_NoProxyBeginsWithADirector(t *testing.T) {
	t.Parallel()
	files := 0
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		var src []byte
		if err == nil && strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, "_test.go") {
			src, err = os.ReadFile(path)
			files++
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil // somebody works in the tree
		}
		for _, bad := range []string{"NewSingleHostReverseProxy(", "Director:", ".Director ="} {
			if strings.Contains(string(src), bad) {
				t.Errorf("%s: %s", path, bad)
			}
		}
		return err
	})
	if err != nil || files < 50 {
		t.Errorf("%d files, %v", files, err)
	}
}
