package lean

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

// A service that says what it is told to, byte for byte, and remembers what it
// was asked.
type service struct {
	ln net.Listener

	mu    sync.Mutex
	asked []string // whole requests, heads sorted
	say   func(c net.Conn, n int, r *http.Request) (keep bool)
	conns int
}

func newService(t testing.TB) *service {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &service{ln: ln}
	var wg sync.WaitGroup
	open := map[net.Conn]bool{}
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.conns++
			open[c] = true
			s.mu.Unlock()
			wg.Go(func() {
				defer c.Close()
				s.serve(c)
			})
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		s.mu.Lock()
		for c := range open {
			_ = c.Close()
		}
		s.mu.Unlock()
		wg.Wait()
	})
	return s
}

func (s *service) serve(c net.Conn) {
	br := bufio.NewReader(c)
	for n := 0; ; n++ {
		var raw bytes.Buffer
		r, err := http.ReadRequest(bufio.NewReaderSize(io.TeeReader(oneByOne{br}, &raw), 16))
		if err != nil {
			return
		}
		body, err := io.ReadAll(r.Body)
		s.mu.Lock()
		s.asked = append(s.asked, described(raw.String(), body, err))
		say := s.say
		s.mu.Unlock()
		if !say(c, n, r) {
			return
		}
	}
}

// oneByOne keeps a second reader from taking more than it needs.
type oneByOne struct{ r *bufio.Reader }

func (o oneByOne) Read(p []byte) (int, error) { return o.r.Read(p[:1]) }

// described is a request with the order of its fields taken out.
func described(raw string, body []byte, err error) string {
	head, _, _ := strings.Cut(raw, "\r\n\r\n")
	lines := strings.Split(head, "\r\n")
	slices.Sort(lines[1:])
	return strings.Join(lines, "\n") + fmt.Sprintf("\n\n%q %v", body, err)
}

func (s *service) does(say func(c net.Conn, n int, r *http.Request) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.say, s.asked = say, nil
}

func (s *service) heard() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.asked)
}

// says replies with these bytes, and goes on with the connection or not.
func says(text string, keep bool) func(net.Conn, int, *http.Request) bool {
	return func(c net.Conn, _ int, _ *http.Request) bool {
		_, err := io.WriteString(c, text)
		return err == nil && keep
	}
}

// Both ways to the same service, with the same rules.
type fronts struct {
	lean, standard *httptest.Server
	transport      *Transport
	direct         *http.Transport
	fitted, all    atomic.Int64
}

func newFronts(t testing.TB, s *service) *fronts {
	f := &fronts{transport: &Transport{}, direct: &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 100, MaxResponseHeaderBytes: 64 << 10}}
	addr := s.ln.Addr().String()
	quiet := log.New(io.Discard, "", 0)
	see := func(resp *http.Response) error {
		if resp.StatusCode == http.StatusSwitchingProtocols {
			return ErrSwitched
		}
		return nil
	}
	broken := func(w http.ResponseWriter, r *http.Request, _ error) {
		if r.Context().Err() != nil {
			panic(http.ErrAbortHandler)
		}
		w.WriteHeader(http.StatusBadGateway)
	}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(p *httputil.ProxyRequest) {
			p.SetURL(&url.URL{Scheme: "http", Host: addr})
			p.Out.Host, p.Out.URL.RawQuery = "service.test", p.In.URL.RawQuery
			p.Out.Header["X-Ours"] = []string{"yes"}
			p.Out.Trailer = nil
		},
		Transport: f.direct, ModifyResponse: see, ErrorHandler: broken, ErrorLog: quiet, FlushInterval: 100 * time.Millisecond,
	}
	start := func(h http.HandlerFunc) *httptest.Server {
		srv := httptest.NewUnstartedServer(h)
		srv.Config.ErrorLog = quiet
		srv.Start()
		t.Cleanup(srv.Close)
		return srv
	}
	// Left to itself, net/http's server guesses a type for what has none.
	f.lean = start(func(w http.ResponseWriter, r *http.Request) {
		w.Header()["Content-Type"] = nil
		f.all.Add(1)
		if !Fits(r) {
			proxy.ServeHTTP(w, r)
			return
		}
		f.fitted.Add(1)
		buf := Head()
		defer Done(buf)
		*buf = AppendHead(*buf, r.Method, r.URL.RequestURI(), "service.test", r.Header, func(name string) bool {
			return name == "Forwarded" || name == "X-Forwarded-For" || name == "X-Forwarded-Host" || name == "X-Forwarded-Proto" // ReverseProxy removes them itself
		})
		*buf = AppendField(*buf, "X-Ours", "yes")
		if err := f.transport.Forward(w, r, addr, *buf, nil, see); err != nil {
			broken(w, r, err)
		}
	})
	f.standard = start(func(w http.ResponseWriter, r *http.Request) {
		w.Header()["Content-Type"] = nil
		proxy.ServeHTTP(w, r)
	})
	t.Cleanup(func() { f.transport.CloseIdleConnections(); f.direct.CloseIdleConnections() })
	return f
}

// seen is what a client sees of one exchange.
type seen struct {
	Interim []string
	Status  string
	Header  http.Header
	Body    string
	Trailer http.Header
	Broken  bool // the body did not end as it should
	Goes    bool // the connection takes another request
	None    bool // there was no answer at all
}

const patience = 10 * time.Second

// ask sends raw bytes to a front, and then, if the answer allows it, another
// request on the same connection.
func ask(t testing.TB, front *httptest.Server, raw, method string) (s seen) {
	t.Helper()
	c, err := net.Dial("tcp", front.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(c, raw); err != nil {
		t.Fatal(err)
	}
	br := bufio.NewReader(c)
	var resp *http.Response
	for {
		resp, err = http.ReadResponse(br, &http.Request{Method: method})
		if err != nil {
			s.None = true
			if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() {
				t.Fatal("no answer in time")
			}
			return s
		}
		if resp.StatusCode >= 200 || resp.StatusCode == 101 {
			break
		}
		s.Interim = append(s.Interim, fmt.Sprint(resp.Status, resp.Header))
	}
	body, err := io.ReadAll(resp.Body)
	if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() {
		t.Fatal("no end in time")
	}
	s.Status, s.Header, s.Body, s.Broken, s.Trailer = resp.Status, resp.Header, string(body), err != nil, resp.Trailer
	s.Header.Del("Date")
	for i, line := range s.Header["Trailer"] { // in no order
		names := strings.Split(line, ", ")
		slices.Sort(names)
		s.Header["Trailer"][i] = strings.Join(names, ", ")
	}
	if resp.Close || err != nil {
		return s
	}
	if _, err := io.WriteString(c, "GET /after HTTP/1.1\r\nHost: x\r\n\r\n"); err == nil {
		_, err := br.Peek(1)
		s.Goes = err == nil
		if after, err := http.ReadResponse(br, &http.Request{Method: http.MethodGet}); err == nil {
			_, _ = io.Copy(io.Discard, after.Body) // so that nothing of it is under way any more
		}
	}
	return s
}

// requests of every shape, by name.
var requests = map[string]string{
	"get":                   "GET /a?b=c HTTP/1.1\r\nHost: x\r\n\r\n",
	"get with everything":   "GET /%41/..%2f?a=1;b=2&c=%zz HTTP/1.1\r\nHost: x\r\nUser-Agent: me\r\nAccept: */*\r\nX-Many: 1\r\nX-Many: 2\r\nx-lower: l\r\nCookie: a=1\r\n\r\n",
	"get of the root":       "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
	"get with ?":            "GET /a? HTTP/1.1\r\nHost: x\r\n\r\n",
	"get by 1.0":            "GET /a HTTP/1.0\r\nHost: x\r\n\r\n",
	"get by 1.0 kept":       "GET /a HTTP/1.0\r\nHost: x\r\nConnection: keep-alive\r\n\r\n",
	"get and close":         "GET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
	"get with hop by hop":   "GET /a HTTP/1.1\r\nHost: x\r\nConnection: X-Gone, Keep-Alive, X-Ours\r\nKeep-Alive: 5\r\nX-Gone: 1\r\nProxy-Connection: x\r\nProxy-Authorization: y\r\nX-Ours: forged\r\n\r\n",
	"get with forwarded":    "GET /a HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 1.2.3.4\r\nForwarded: for=1\r\n\r\n",
	"get with TE":           "GET /a HTTP/1.1\r\nHost: x\r\nTE: trailers\r\nConnection: TE\r\n\r\n",
	"get with upgrade":      "GET /a HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: foo\r\n\r\n",
	"get with empty values": "GET /a HTTP/1.1\r\nHost: x\r\nX-Empty:\r\nX-Space:   \r\n\r\n",
	"get with a range":      "GET /a HTTP/1.1\r\nHost: x\r\nRange: bytes=0-1\r\nIf-None-Match: \"x\"\r\nAccept-Encoding: gzip\r\n\r\n",
	"get with a body":       "GET /a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc",
	"get with length 0":     "GET /a HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
	"absolute form":         "GET http://x/a HTTP/1.1\r\nHost: x\r\n\r\n",
	"head":                  "HEAD /a HTTP/1.1\r\nHost: x\r\n\r\n",
	"options":               "OPTIONS /a HTTP/1.1\r\nHost: x\r\n\r\n",
	"delete":                "DELETE /a HTTP/1.1\r\nHost: x\r\n\r\n",
	"post nothing":          "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
	"post without length":   "POST /a HTTP/1.1\r\nHost: x\r\n\r\n",
	"post":                  "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Type: text/plain\r\n\r\nhello",
	"post much":             "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n" + strings.Repeat("y", 60000),
	"post too much":         "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 90000\r\n\r\n" + strings.Repeat("y", 90000),
	"post chunked":          "POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;ext=1\r\nde\r\n0\r\n\r\n",
	"post with a trailer":   "POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n3\r\nabc\r\n0\r\nX-T: 1\r\n\r\n",
	"post expecting":        "POST /a HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nab",
	"put":                   "PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nz",
	"patch nothing":         "PATCH /a HTTP/1.1\r\nHost: x\r\n\r\n",
	"propfind":              "PROPFIND /a HTTP/1.1\r\nHost: x\r\nDepth: 1\r\n\r\n",
}

// responses of every shape: what the service says, and whether it keeps its
// side of the connection open.
var responses = map[string]struct {
	say  string
	keep bool
}{
	"ok":                         {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", true},
	"empty":                      {"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", true},
	"many headers":               {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-A: 1\r\nX-A: 2\r\nx-b: 3\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Type: text/x\r\nDate: then\r\nServer: me\r\n\r\nok", true},
	"hop by hop":                 {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: X-Gone, keep-alive\r\nX-Gone: 1\r\nKeep-Alive: timeout=5\r\nProxy-Authenticate: x\r\nTe: x\r\nUpgrade: h2c\r\n\r\nok", true},
	"no type":                    {"HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n<html>hm</html>", true},
	"an empty type":              {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Type:\r\n\r\nok", true},
	"said to close":              {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok", false},
	"closed unsaid":              {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", false},
	"until close":                {"HTTP/1.1 200 OK\r\n\r\nuntil the end", false},
	"until close, 1.0":           {"HTTP/1.0 200 OK\r\n\r\nuntil the end", false},
	"1.0 with length":            {"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", false},
	"1.0 kept":                   {"HTTP/1.0 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nok", true},
	"chunked":                    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", true},
	"chunked, empty":             {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", true},
	"chunked, extended":          {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n0;c\r\n\r\n", true},
	"chunked, announced":         {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n3\r\nabc\r\n0\r\nX-T: 1\r\n\r\n", true},
	"chunked, unannounced":       {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-U: 1\r\n\r\n", true},
	"chunked, announced in vain": {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-T, X-V\r\n\r\n3\r\nabc\r\n0\r\nX-T: 1\r\n\r\n", true},
	"chunked and length":         {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n3\r\nabc\r\n0\r\n\r\n", true},
	"chunked by 1.0":             {"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", false},
	"chunked cut":                {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab", false},
	"chunked garbage":            {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nab\r\n0\r\n\r\n", false},
	"cut":                        {"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", false},
	"cut after the head":         {"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n", false},
	"cut in the head":            {"HTTP/1.1 200 OK\r\nContent-Le", false},
	"nothing":                    {"", false},
	"two lengths":                {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nokk", false},
	"two equal lengths":          {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok", true},
	"a length that is none":      {"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok", false},
	"a length with a sign":       {"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok", false},
	"another coding":             {"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", false},
	"too much":                   {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged", true},
	"no content":                 {"HTTP/1.1 204 No Content\r\n\r\n", true},
	"no content with length":     {"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", true},
	"not modified":               {"HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\nContent-Length: 50\r\n\r\n", true},
	"partial":                    {"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-1/5\r\nContent-Length: 2\r\n\r\nok", true},
	"found":                      {"HTTP/1.1 302 Found\r\nLocation: /b\r\nContent-Length: 0\r\n\r\n", true},
	"refused":                    {"HTTP/1.1 401 Unauthorized\r\nWww-Authenticate: Basic\r\nContent-Length: 2\r\n\r\nno", true},
	"failed":                     {"HTTP/1.1 500 Own Words\r\nContent-Length: 2\r\n\r\nno", true},
	"unknown status":             {"HTTP/1.1 299 Own Words\r\nContent-Length: 2\r\n\r\nok", true},
	"no words":                   {"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok", true},
	"early hints":                {"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", true},
	"two interim":                {"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-After: 1\r\n\r\nok", true},
	"continue unasked":           {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", true},
	"switched unasked":           {"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: foo\r\n\r\n", false},
	"not HTTP":                   {"hello\r\n\r\n", false},
	"HTTP/2":                     {"HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nok", false},
	"a bad name":                 {"HTTP/1.1 200 OK\r\nBad Name: x\r\nContent-Length: 2\r\n\r\nok", false},
	"a folded line":              {"HTTP/1.1 200 OK\r\nX-A: 1\r\n 2\r\nContent-Length: 2\r\n\r\nok", true},
	"bare line feeds":            {"HTTP/1.1 200 OK\nContent-Length: 2\n\nok", true},
	"a head without end":         {"HTTP/1.1 200 OK\r\nX-A: " + strings.Repeat("x", 90<<10) + "\r\nContent-Length: 2\r\n\r\nok", false},
	"64 KiB":                     {"HTTP/1.1 200 OK\r\nContent-Length: 65536\r\n\r\n" + strings.Repeat("z", 65536), true},
	"1 MiB":                      {"HTTP/1.1 200 OK\r\nContent-Length: 1048576\r\n\r\n" + strings.Repeat("z", 1<<20), true},
	"64 KiB chunked":             {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10000\r\n" + strings.Repeat("z", 65536) + "\r\n0\r\n\r\n", true},
}

// differences that are meant, each with its reason. The first name is a request,
// the second a response; "" is any.
var differences = []struct{ request, response, why string }{
	{"", "cut", held},
	{"", "cut after the head", held},
	{"", "chunked garbage", held},
	{"", "chunked, empty", "the standard proxy may learn that there is nothing before it sends the head, and then gives the length"},
	{"", "early hints", forgets},
	{"", "two interim", forgets},
	{"", "continue unasked", forgets},
}

const (
	held    = "the standard proxy holds back for up to 100 ms what it has, and so nothing is begun when the service breaks off; here it goes on as soon as the service is silent"
	forgets = "after an interim response the standard proxy forgets what its own server had set before, such as Strict-Transport-Security"
)

// Whatever a client asks and a service answers: both ways the service is asked
// the same, the client sees the same, and the connections go on or end alike.
func TestForwardsAsTheStandardProxyDoes(t *testing.T) {
	t.Parallel()
	s := newService(t)
	f := newFronts(t, s)
	n, used := 0, map[int]bool{}
	whole := os.Getenv("GATEHOUSE_FAULTS") != ""
	for i, rn := range slices.Sorted(maps.Keys(requests)) {
		raw := requests[rn]
		method, _, _ := strings.Cut(raw, " ")
		for j, pn := range slices.Sorted(maps.Keys(responses)) {
			// Every request meets every fourth response, the usual ones all of them.
			if !whole && rn != "get" && rn != "head" && rn != "post" && (i+j)%4 != 0 {
				continue
			}
			p := responses[pn]
			n++
			exchange := func() string {
				// What a service closes unsaid is noticed sooner or later: a race of its own.
				f.transport.CloseIdleConnections()
				f.direct.CloseIdleConnections()
				s.does(says(p.say, p.keep))
				standard := ask(t, f.standard, raw, method)
				wantAsked := s.heard()
				s.does(says(p.say, p.keep))
				lean := ask(t, f.lean, raw, method)
				return cmp.Diff(standard, lean) + cmp.Diff(wantAsked, s.heard())
			}
			diff := exchange()
			// After a broken answer the standard proxy may or may not be in time for the
			// next request. A difference of the two comes each time.
			for again := 0; again < 2 && diff != ""; again++ {
				diff = exchange()
			}
			if diff == "" {
				continue
			}
			i := slices.IndexFunc(differences, func(d struct{ request, response, why string }) bool {
				return (d.request == "" || d.request == rn) && (d.response == "" || d.response == pn)
			})
			if i < 0 {
				t.Errorf("%s, answered by %q (- standard, + lean):\n%s", rn, pn, diff)
			} else {
				used[i] = true
			}
		}
	}
	t.Logf("%d exchanges, %d of %d requests forwarded here", n, f.fitted.Load(), f.all.Load())
	if f.fitted.Load() < f.all.Load()/2 {
		t.Error("most went the other way, so nothing was compared")
	}
	for i, d := range differences {
		if !used[i] {
			t.Logf("this time without the difference of %q: %s", d.response, d.why)
		}
	}
}

func TestMain(m *testing.M) {
	log.SetOutput(io.Discard) // the standard transport tells it of bytes that nobody asked for
	goleak.VerifyTestMain(m)
}
