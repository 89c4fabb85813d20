package loop

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.uber.org/goleak"
	"golang.org/x/net/http/httpguts"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A site is one handler behind both servers.
type site struct {
	ours, standard string // addresses
	server         *Server
	here, all      atomic.Int64 // requests that the loop served, of those that our server got
	others         sync.Map     // addresses of clients that net/http's half served
}

const limit = 16 << 10 // of heads

// patient is for what must come; nothing is measured by it.
const patient = 20 * time.Second

func newSite(t testing.TB, h http.HandlerFunc, set ...func(*Server)) *site {
	t.Helper()
	s := &site{}
	quiet := log.New(io.Discard, "", 0)
	start := func(srv interface {
		Serve(net.Listener) error
		Close() error
	}) string {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { done <- srv.Serve(ln) }()
		t.Cleanup(func() {
			_ = srv.Close()
			if err := <-done; !errors.Is(err, http.ErrServerClosed) {
				t.Errorf("Serve: %v", err)
			}
		})
		return ln.Addr().String()
	}
	s.server = &Server{Server: http.Server{ErrorLog: quiet, MaxHeaderBytes: limit, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.all.Add(1)
		if _, ok := w.(*response); ok {
			s.here.Add(1)
		} else {
			s.others.Store(r.RemoteAddr, true)
		}
		h(w, r)
	})}}
	for _, f := range set {
		f(s.server)
	}
	s.ours = start(s.server)
	s.standard = start(&http.Server{Handler: h, ErrorLog: quiet, MaxHeaderBytes: limit})
	return s
}

// seen is one answer, as a client sees it.
type seen struct {
	Status  string
	Header  http.Header
	Length  int64
	Coding  []string
	Close   bool
	Body    string
	Trailer http.Header
	Broken  bool
	Reset   bool // what was not read any more made the kernel take back what had been sent: a race
}

// differ tells how answers differ, as far as that is no race.
func differ(standard, ours []seen) string {
	reset := func(s seen) bool { return s.Reset }
	if slices.ContainsFunc(standard, reset) || slices.ContainsFunc(ours, reset) {
		n := min(len(standard), len(ours)) - 1
		standard, ours = standard[:max(n, 0)], ours[:max(n, 0)]
	}
	return cmp.Diff(standard, ours, cmpopts.EquateEmpty())
}

// talk says raw bytes and reads all that comes.
func talk(t testing.TB, address, raw string) []seen {
	t.Helper()
	c := open(t, address, "")
	defer c.Close()
	return talkOn(t, c, raw)
}

func talkOn(t testing.TB, c net.Conn, raw string) (all []seen) {
	t.Helper()
	if _, err := io.WriteString(c, raw); err != nil {
		t.Fatal(err)
	}
	br := bufio.NewReader(c)
	for _, line := range strings.Split(raw, "\r\n") {
		method, rest, _ := strings.Cut(line, " ")
		if !strings.HasSuffix(rest, " HTTP/1.1") && !strings.HasSuffix(rest, " HTTP/1.0") {
			continue
		}
		for {
			resp, err := http.ReadResponse(br, &http.Request{Method: method})
			if err != nil {
				if errors.Is(err, syscall.ECONNRESET) {
					return append(all, seen{Reset: true})
				}
				if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() {
					t.Fatalf("no answer in time to %.200q", raw)
				}
				return all
			}
			body, err := io.ReadAll(resp.Body)
			if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() {
				t.Fatalf("no end in time to %.200q", raw)
			}
			if _, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
				resp.Header.Set("Date", "a time")
			}
			all = append(all, seen{resp.Status, resp.Header, resp.ContentLength, resp.TransferEncoding, resp.Close, string(body), resp.Trailer, err != nil, errors.Is(err, syscall.ECONNRESET)})
			if resp.StatusCode >= 200 {
				break
			}
		}
	}
	return all
}

const after = "GET /after HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"

// answers are what handlers do.
var answers = map[string]http.HandlerFunc{
	"nothing":         func(http.ResponseWriter, *http.Request) {},
	"a word":          func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") },
	"a page to guess": func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>x</html>") },
	"a type": func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "a/b")
		fmt.Fprint(w, "x")
	},
	"no type": func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["Content-Type"] = nil
		fmt.Fprint(w, "<html>")
	},
	"an encoding": func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "br")
		fmt.Fprint(w, "<html>")
	},
	"much":               func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, strings.Repeat("y", 100_000)) },
	"in pieces":          pieces(10, 1000, false),
	"in small pieces":    pieces(3, 7, false),
	"flushed":            pieces(3, 10, true),
	"flushed, large":     pieces(3, 20_000, true),
	"just what is kept":  pieces(1, maxSmall, false),
	"one more":           pieces(1, maxSmall+1, false),
	"kept and one":       pieces(2, maxSmall/2+1, false),
	"flush alone":        func(w http.ResponseWriter, _ *http.Request) { w.(http.Flusher).Flush() },
	"a length":           long(5, 5, true),
	"a length, untyped":  long(5, 5, false),
	"a length, large":    long(50_000, 50_000, true),
	"too short":          long(10, 5, true),
	"too short, untyped": long(10, 5, false),
	"too long":           long(5, 10, true),
	"no length at all": func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "x")
		fmt.Fprint(w, "hello")
	},
	"length 0":         long(0, 0, true),
	"not found":        func(w http.ResponseWriter, r *http.Request) { http.NotFound(w, r) },
	"found":            func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/b", http.StatusFound) },
	"no content":       status(204, ""),
	"no content, some": status(204, "x"),
	"not modified":     status(304, "x"),
	"strange status":   status(299, "x"),
	"stranger status":  status(799, "x"),
	"status twice":     func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(201); w.WriteHeader(500) },
	"early hints": func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Link", "</a>")
		w.Header().Set("Content-Length", "2")
		w.WriteHeader(103)
		fmt.Fprint(w, "ok")
	},
	"header after status": func(w http.ResponseWriter, _ *http.Request) {
		h := w.Header()
		h.Set("X-A", "1")
		w.WriteHeader(200)
		h.Set("X-A", "2")
		h.Set("X-B", "2")
		fmt.Fprint(w, "ok")
	},
	"header after length": func(w http.ResponseWriter, _ *http.Request) {
		h := w.Header()
		h.Set("Content-Type", "a/b")
		h.Set("Content-Length", "2")
		w.WriteHeader(200)
		h.Set("X-B", "2")
		fmt.Fprint(w, "ok")
	},
	"headers": func(w http.ResponseWriter, _ *http.Request) {
		h := w.Header()
		h["X-Many"] = []string{"1", "2"}
		h["X-Line"] = []string{"a\r\nX-Forged: 1"}
		h["X-Space"] = []string{"  a  "}
		h["X-Empty"] = []string{""}
		h["X-None"] = nil
		h["Bad Name"] = []string{"x"}
		h["x-lower"] = []string{"l"}
		h["Date"] = []string{"own"}
	},
	"close": func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Connection", "close")
		fmt.Fprint(w, "x")
	},
	"keep-alive": func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Connection", "keep-alive")
		fmt.Fprint(w, "x")
	},
	"coding chunked":      coded("chunked", ""),
	"coding identity":     coded("identity", ""),
	"coding and length":   coded("chunked", "5"),
	"identity and length": coded("identity", "5"),
	"panic":               func(http.ResponseWriter, *http.Request) { panic("x") },
	"abort":               func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	"abort after some":    func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "x"); panic(http.ErrAbortHandler) },
	"abort after much": func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, strings.Repeat("x", 9000))
		panic(http.ErrAbortHandler)
	},
	"abort after flush": func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "x")
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	},
	"abort within a length": func(w http.ResponseWriter, r *http.Request) {
		long(10, 5, true)(w, r)
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	},
	"bad status": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(99) },
	"trailers": func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Trailer", "X-T, Content-Length, x-u")
		fmt.Fprint(w, "x")
		w.Header().Set("X-T", "1")
		w.Header().Add("X-U", "2")
	},
	"trailers unannounced": func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "x")
		w.(http.Flusher).Flush()
		w.Header().Set(http.TrailerPrefix+"X-T", "1")
	},
	"the request": func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		host, _, _ := net.SplitHostPort(r.RemoteAddr)
		r.RemoteAddr = host
		w.Header().Set("Content-Type", "text/plain")
		local := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
		fmt.Fprint(w, described(r), string(body), err, r.RemoteAddr, local.Network(), r.Context().Err(), r.Context().Value(http.ServerContextKey) != nil)
	},
	"some of the body": func(w http.ResponseWriter, r *http.Request) { _, _ = io.CopyN(w, r.Body, 2) },
	"a body closed": func(w http.ResponseWriter, r *http.Request) {
		_ = r.Body.Close()
		_, err := r.Body.Read(make([]byte, 1))
		fmt.Fprint(w, err != nil)
	},
	"from a reader": func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.Copy(w, strings.NewReader(strings.Repeat("z", 5000)))
	},
	"from a file of a length": func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "x.txt", time.Unix(1e9, 0), bytes.NewReader(make([]byte, 30_000)))
	},
	"deadlines": func(w http.ResponseWriter, _ *http.Request) {
		c := http.NewResponseController(w)
		fmt.Fprint(w, c.SetReadDeadline(time.Now().Add(time.Hour)), c.SetWriteDeadline(time.Now().Add(time.Hour)))
	},
	"a deadline that was": func(w http.ResponseWriter, _ *http.Request) {
		c := http.NewResponseController(w)
		fmt.Fprint(w, "x")
		_ = c.Flush()
		_ = c.SetWriteDeadline(time.Unix(1, 0))
		fmt.Fprint(w, "y")
		_ = c.Flush()
	},
}

func pieces(n, size int, flush bool) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := range n {
			_, _ = io.WriteString(w, strings.Repeat(string(rune('a'+i)), size))
			if flush {
				w.(http.Flusher).Flush()
			}
		}
	}
}

func long(said, written int, typed bool) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(said))
		if typed {
			w.Header()["Content-Type"] = nil
		}
		for written := written; written > 0; written -= 5 {
			_, _ = io.WriteString(w, "hello")
		}
	}
}

func status(code int, text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(len(text)))
		w.Header().Set("Content-Type", "text/x")
		w.WriteHeader(code)
		_, _ = io.WriteString(w, text)
	}
}

func coded(coding, length string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Transfer-Encoding", coding)
		if length != "" {
			w.Header().Set("Content-Length", length)
		}
		fmt.Fprint(w, "hello")
	}
}

// asked are requests, each with whether the loop serves it and what comes after it.
var asked = map[string]struct {
	raw   string
	usual bool
}{
	"get":                   {"GET /a?b=c HTTP/1.1\r\nHost: x\r\n\r\n", true},
	"get closing":           {"GET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", true},
	"get keeping":           {"GET /a HTTP/1.1\r\nHost: x\r\nConnection: Keep-Alive\r\n\r\n", true},
	"get with much":         {"GET /%41%2f?a=1;b=2&c=%zz HTTP/1.1\r\nhost:x:80\r\nX-Many: 1\r\nx-many:\t2 \r\nPragma: no-cache\r\nCookie: a=1\r\nX-Empty:\r\nX-8: \xff\r\n\r\n", true},
	"get with a body":       {"GET /a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc", true},
	"head":                  {"HEAD /a HTTP/1.1\r\nHost: x\r\n\r\n", true},
	"post":                  {"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello", true},
	"post nothing":          {"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", true},
	"post without length":   {"POST /a HTTP/1.1\r\nHost: x\r\n\r\n", true},
	"two at once":           {"GET /1 HTTP/1.1\r\nHost: x\r\n\r\nPOST /2 HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nab", true},
	"one and one by 1.0":    {"GET /1 HTTP/1.1\r\nHost: x\r\n\r\nGET /2 HTTP/1.0\r\nHost: x\r\nConnection: keep-alive\r\n\r\n", false},
	"get by 1.0":            {"GET /a HTTP/1.0\r\nHost: x\r\n\r\n", false},
	"propfind":              {"PROPFIND /a HTTP/1.1\r\nHost: x\r\n\r\n", false},
	"absolute":              {"GET http://y/a HTTP/1.1\r\nHost: x\r\n\r\n", false},
	"options *":             {"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", false},
	"post chunked":          {"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", false},
	"post expecting":        {"POST /a HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nab", false},
	"post much":             {"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n" + strings.Repeat("y", 60000), false},
	"upgrade":               {"GET /a HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: foo\r\n\r\n", false},
	"a head that is large":  {"GET /a HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("y", bufferSize) + "\r\n\r\n", false},
	"no host":               {"GET /a HTTP/1.1\r\n\r\n", false},
	"two hosts":             {"GET /a HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", false},
	"a bad host":            {"GET /a HTTP/1.1\r\nHost: x/y\r\n\r\n", false},
	"bare line feeds":       {"GET /a HTTP/1.1\nHost: x\n\n", false},
	"a folded line":         {"GET /a HTTP/1.1\r\nHost: x\r\nX: a\r\n b\r\n\r\n", false},
	"a space before :":      {"GET /a HTTP/1.1\r\nHost: x\r\nX : a\r\n\r\n", false},
	"an address that is no": {"GET /%zz HTTP/1.1\r\nHost: x\r\n\r\n", false},
	"a control character":   {"GET /a HTTP/1.1\r\nHost: x\r\nX: a\x01\r\n\r\n", false},
	"two lengths":           {"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n", false},
	"a signed length":       {"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: +0\r\n\r\n", false},
	"length and coding":     {"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", false},
}

// Whatever a handler does with whatever request: clients see the same as with
// net/http's server, and the connection goes on or ends alike.
func TestClientsSeeWhatNetHTTPWouldSay(t *testing.T) {
	t.Parallel()
	var does atomic.Pointer[http.HandlerFunc]
	s := newSite(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/after" {
			fmt.Fprint(w, "after")
			return
		}
		(*does.Load())(w, r)
	})
	n := 0
	for name, h := range answers {
		does.Store(&h)
		for what, a := range asked {
			n++
			here := s.here.Load()
			c := open(t, s.ours, "")
			s.others.Delete(c.LocalAddr().String()) // another connection may have had the port
			ours := talkOn(t, c, a.raw+after)
			_, other := s.others.Load(c.LocalAddr().String())
			if diff := differ(talk(t, s.standard, a.raw+after), ours); diff != "" {
				t.Errorf("%s, answered with %s (- net/http, + loop):\n%s", what, name, diff)
			}
			if a.usual && (other || s.here.Load() == here) {
				t.Errorf("%s, answered with %s: net/http served it: %v, the loop %d", what, name, other, s.here.Load()-here)
			}
			_ = c.Close()
		}
	}
	t.Logf("%d exchanges, %d of %d requests served by the loop", n, s.here.Load(), s.all.Load())
}

// However the bytes come, a request is the same one.
func TestPiecesMakeTheSameRequest(t *testing.T) {
	t.Parallel()
	s := newSite(t, answers["the request"], func(s *Server) { s.InClear = func(net.Conn) bool { return true } })
	for what, a := range asked {
		if len(a.raw) > 1000 || strings.Contains(what, "100") {
			continue
		}
		want := talk(t, s.standard, a.raw+after)
		for _, at := range []int{1, 3, len(a.raw) / 2, len(a.raw) - 2, len(a.raw) - 1} {
			got := inPieces(t, s.ours, a.raw+after, at)
			if diff := differ(want, got); diff != "" {
				t.Errorf("%s, cut at %d (- whole, by net/http; + in pieces):\n%s", what, at, diff)
			}
		}
	}
}

// inPieces is talk, with a pause after so many bytes that is longer than the loop
// waits for the rest.
func inPieces(t testing.TB, address, raw string, at int) []seen {
	t.Helper()
	relay, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer relay.Close()
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		in, err := relay.Accept()
		if err != nil {
			return
		}
		defer in.Close()
		out, err := net.Dial("tcp", address)
		if err != nil {
			return
		}
		defer out.Close()
		wg.Go(func() { _, _ = io.CopyN(out, in, int64(at)); time.Sleep(2 * patience); _, _ = io.Copy(out, in) })
		_, _ = io.Copy(in, out)
	})
	return talk(t, relay.Addr().String(), raw)
}

// open begins a connection and says something.
func open(t testing.TB, address, raw string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(patient))
	if _, err := io.WriteString(c, raw); err != nil {
		t.Fatal(err)
	}
	return c
}

const get = "GET /a HTTP/1.1\r\nHost: x\r\n\r\n"

// The context of a request ends when its client has left, and when it has been
// served; whoever waits for it by any means hears of it.
func TestContextsEndWithTheirRequest(t *testing.T) {
	t.Parallel()
	contexts := make(chan context.Context, 1)
	wait := make(chan bool)
	s := newSite(t, func(w http.ResponseWriter, r *http.Request) {
		contexts <- r.Context()
		if r.URL.Path == "/a" {
			<-r.Context().Done()
			wait <- true
		}
	})
	c := open(t, s.ours, get)
	ctx := <-contexts
	if ctx.Err() != nil {
		t.Error("over before its client left")
	}
	child, cancel := context.WithCancel(ctx)
	defer cancel()
	func() {
		defer context.AfterFunc(ctx, func() { t.Error("this was stopped") })()
	}()
	context.AfterFunc(ctx, func() { wait <- true })
	_ = c.Close()
	<-wait
	<-wait
	<-child.Done()
	if !errors.Is(ctx.Err(), context.Canceled) || !errors.Is(child.Err(), context.Canceled) {
		t.Errorf("%v, %v", ctx.Err(), child.Err())
	}
	// Another one is served, and over then: whoever comes later is told at once.
	if got := talk(t, s.ours, after); len(got) != 1 {
		t.Fatal(got)
	}
	ctx = <-contexts
	<-ctx.Done()
	context.AfterFunc(ctx, func() { wait <- true })
	<-wait
	if n := s.here.Load(); n != 2 {
		t.Errorf("%d requests served by the loop", n)
	}
}

// A body that is read after its request would be another request's bytes.
// A deadline of one request does not reach the next one, wherever that is served.
func TestDeadlinesEndWithTheirRequest(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(w http.ResponseWriter, r *http.Request) {
		c := http.NewResponseController(w)
		fmt.Fprint(w, "said")
		_ = c.Flush()
		if r.URL.Path == "/late" {
			_ = c.SetWriteDeadline(time.Unix(1, 0)) // nothing is written after it
		}
	})
	for _, next := range []string{"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "PROPFIND / HTTP/1.1\r\nHost: x\r\n\r\n"} {
		got := talk(t, s.ours, "HEAD /late HTTP/1.1\r\nHost: x\r\n\r\n"+next)
		if len(got) != 2 || got[1].Body != "said" || got[1].Broken {
			t.Errorf("%q: %+v", next, got)
		}
	}
}

func TestABodyEndsWithItsRequest(t *testing.T) {
	t.Parallel()
	bodies := make(chan io.Reader, 2)
	s := newSite(t, func(_ http.ResponseWriter, r *http.Request) { bodies <- r.Body })
	post := "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"
	if got := talk(t, s.ours, post+post); len(got) != 2 {
		t.Fatalf("%d answers", len(got))
	}
	// By the second answer the first request is over.
	if n, err := (<-bodies).Read(make([]byte, 5)); n != 0 || !errors.Is(err, http.ErrBodyReadAfterClose) {
		t.Errorf("%d bytes, %v", n, err)
	}
	if s.here.Load() != 2 {
		t.Error("not served by the loop")
	}
}

// Who says nothing is let go, at first and between requests; who is being served
// is not, however long that takes.
func TestP26_SilentConnectionsEnd(t *testing.T) {
	t.Parallel()
	served := make(chan bool)
	s := newSite(t, func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			<-served
		}
	}, func(s *Server) {
		s.ReadHeaderTimeout, s.IdleTimeout = beat, 2*beat
		s.InClear = func(net.Conn) bool { return true }
	})
	slow := open(t, s.ours, "GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
	for _, said := range []string{"", get, preface[:5]} {
		if _, err := io.Copy(io.Discard, open(t, s.ours, said)); err != nil {
			t.Errorf("after %q: %v", said, err)
		}
	}
	close(served)
	if resp, err := http.ReadResponse(bufio.NewReader(slow), nil); err != nil || resp.StatusCode != 200 {
		t.Errorf("%v, %v", resp, err)
	}
}

// A client that takes nothing is let go when the handler's deadline has passed,
// and a deadline that is moved in time does no harm.
func TestP26_ClientsThatTakeNothingAreLetGo(t *testing.T) {
	t.Parallel()
	ended := make(chan error, 1)
	s := newSite(t, func(w http.ResponseWriter, r *http.Request) {
		c := http.NewResponseController(w)
		if r.URL.Path == "/after" {
			_ = c.SetWriteDeadline(time.Now().Add(time.Millisecond))
			time.Sleep(3 * beat)
			_ = c.SetWriteDeadline(time.Now().Add(time.Hour))
			return
		}
		_ = c.SetWriteDeadline(time.Now().Add(beat))
		for {
			if _, err := w.Write(make([]byte, 1<<20)); err != nil {
				ended <- err
				return
			}
		}
	})
	open(t, s.ours, get)
	if err := <-ended; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error(err)
	}
	if got := talk(t, s.ours, after); len(got) != 1 || got[0].Status != "200 OK" {
		t.Errorf("%+v", got)
	}
}

// Shutdown lets requests end that are under way, here and at net/http, ends what
// waits, and then Serve has ended as well.
// A handler that ends its goroutine (as a test does that fails in one) leaves no
// client behind that waits for ever.
func TestAHandlerThatEndsItsGoroutineEndsItsConnection(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(http.ResponseWriter, *http.Request) { runtime.Goexit() })
	for _, address := range []string{s.standard, s.ours} {
		c := open(t, address, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		if b, err := io.ReadAll(c); len(b) > 0 || err != nil {
			t.Errorf("%q, %v", b, err)
		}
	}
}

func TestShutdownLosesNothing(t *testing.T) {
	t.Parallel()
	var under sync.WaitGroup
	under.Add(2)
	serve := make(chan bool)
	s := newSite(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/after" {
			under.Done()
			<-serve
		}
		_, _ = io.WriteString(w, "done")
	})
	idle := open(t, s.ours, "GET /after HTTP/1.1\r\nHost: x\r\n\r\n")
	idleReader := bufio.NewReader(idle)
	if resp, err := http.ReadResponse(idleReader, nil); err != nil || resp.Close {
		t.Fatal(resp, err)
	} else if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Fatal(err)
	}
	here := open(t, s.ours, get)
	there := open(t, s.ours, "GET /a HTTP/1.1\r\nHost: x\r\nUpgrade: x\r\n\r\n")
	under.Wait()
	down := make(chan error)
	go func() { down <- s.server.Shutdown(t.Context()) }()
	if _, err := io.Copy(io.Discard, idleReader); err != nil {
		t.Errorf("a connection that waits: %v", err)
	}
	select {
	case <-down:
		t.Error("did not wait")
	default:
	}
	close(serve)
	for _, c := range []net.Conn{here, there} {
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil || !resp.Close {
			t.Fatalf("%v, %v", resp, err)
		}
		if b, err := io.ReadAll(resp.Body); string(b) != "done" || err != nil {
			t.Errorf("%q, %v", b, err)
		}
	}
	if err := <-down; err != nil {
		t.Error(err)
	}
	if c, err := net.Dial("tcp", s.ours); err == nil {
		_ = c.Close()
		t.Error("somebody still listens")
	}
}

// Who counts connections counts each once.
func TestConnectionsAreTold(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	open := map[net.Conn]bool{}
	s := newSite(t, func(http.ResponseWriter, *http.Request) {}, func(s *Server) {
		s.ConnState = func(c net.Conn, st http.ConnState) {
			mu.Lock()
			defer mu.Unlock()
			switch st {
			case http.StateNew:
				open[c] = true
			case http.StateClosed:
				delete(open, c)
			}
		}
	})
	talk(t, s.ours, get+after)
	talk(t, s.ours, "GET /a HTTP/1.0\r\n\r\n")
	for {
		mu.Lock()
		n := len(open)
		mu.Unlock()
		if n == 0 {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// described is all of a request that handlers can see.
func described(r *http.Request) string {
	var lines []string
	for name, values := range r.Header {
		lines = append(lines, fmt.Sprintf("%q: %q", name, values))
	}
	slices.Sort(lines)
	u := *r.URL
	return fmt.Sprintf("%q %q %q %d.%d %q %d %v %q close %v url %#v\n%s\n", r.Method, r.RequestURI, r.Proto, r.ProtoMajor, r.ProtoMinor, r.Host, r.ContentLength, r.TransferEncoding, r.Trailer, r.Close, u, strings.Join(lines, "\n"))
}

// Whatever the loop takes for a request, net/http takes for the same one, of the
// same length.
func FuzzRequest(f *testing.F) {
	for _, a := range asked {
		f.Add([]byte(a.raw))
		f.Add([]byte(a.raw + after))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var h head
		if h.read(raw) != whole {
			return
		}
		size := h.n + h.body
		for n := range size {
			if (&head{}).read(raw[:n]) == whole {
				t.Fatalf("%q ends at %d, and at %d", raw, n, size)
			}
		}
		x := &exchange{ctx: requestContext{Context: t.Context()}}
		usual := h.request(x, raw)
		br := bufio.NewReaderSize(bytes.NewReader(raw), 64<<10)
		standard, err := http.ReadRequest(br)
		if !usual {
			return
		}
		if err != nil {
			t.Fatalf("net/http does not take %q: %v", raw, err)
		}
		if !httpguts.ValidHostHeader(standard.Host) || standard.Host == "" {
			t.Fatalf("net/http would refuse the host of %q", raw)
		}
		for name, values := range standard.Header {
			if !httpguts.ValidHeaderFieldName(name) || slices.ContainsFunc(values, func(v string) bool { return !httpguts.ValidHeaderFieldValue(v) }) {
				t.Fatalf("net/http would refuse the fields of %q", raw)
			}
		}
		if want, got := described(standard), described(&x.request); want != got {
			t.Fatalf("of %q net/http makes\n%s\nand the loop\n%s", raw, want, got)
		}
		if body, err := io.ReadAll(standard.Body); err != nil || string(body) != string(raw[h.n:size]) {
			t.Fatalf("the body of %q is %q (%v) for net/http and %q for the loop", raw, body, err, raw[h.n:size])
		}
		if rest, _ := io.ReadAll(br); string(rest) != string(raw[size:]) {
			t.Fatalf("after %q net/http goes on with %q, and the loop with %q", raw, rest, raw[size:])
		}
	})
}

// R21: when there are no more file descriptors, connections wait and none is lost;
// the server goes on when there are some again.
func TestR21_WithoutFileDescriptorsConnectionsWait(t *testing.T) {
	t.Parallel()
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln := &scarce{Listener: inner}
	ln.left.Store(6)
	srv := &Server{}
	srv.Handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "served") })
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ln) }()
	c := &http.Client{Timeout: patient, Transport: &http.Transport{DisableKeepAlives: true}}
	for range 5 {
		resp, err := c.Get("http://" + inner.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if string(b) != "served" {
			t.Errorf("%d %s", resp.StatusCode, b)
		}
	}
	if ln.left.Load() > 0 {
		t.Error("there were always some left")
	}
	_ = srv.Close()
	if err := <-done; !errors.Is(err, http.ErrServerClosed) {
		t.Errorf("Serve: %v", err)
	}
}

// scarce is a listener without descriptors for the first calls.
type scarce struct {
	net.Listener
	left atomic.Int64
}

func (s *scarce) Accept() (net.Conn, error) {
	if s.left.Add(-1) >= 0 {
		return nil, &net.OpError{Op: "accept", Err: os.NewSyscallError("accept4", syscall.EMFILE)}
	}
	return s.Listener.Accept()
}

// inClear is a client that speaks HTTP/2 without TLS.
func inClear(t *testing.T) *http.Client {
	tr := &http.Transport{Protocols: new(http.Protocols)}
	tr.Protocols.SetUnencryptedHTTP2(true)
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: patient}
}

func TestHTTP2WithoutTLSIsForThoseWhoAreLet(t *testing.T) {
	t.Parallel()
	says := func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Proto, r.URL.Path) }
	const begins = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
	let := newSite(t, says, func(s *Server) { s.InClear = func(net.Conn) bool { return true } })
	for range 2 { // one after the other on one connection
		resp, err := inClear(t).Get("http://" + let.ours + "/x")
		if err != nil {
			t.Fatal(err)
		}
		if body, _ := io.ReadAll(resp.Body); string(body) != "HTTP/2.0/x" {
			t.Errorf("who is let gets %q", body)
		}
		resp.Body.Close()
	}
	if a := talk(t, let.ours, "GET /y HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"); len(a) != 1 || a[0].Body != "HTTP/1.1/y" {
		t.Errorf("HTTP/1.1 beside it: %+v", a)
	}
	// Who is not let is told what net/http tells whom it does not speak it with.
	for what, set := range map[string]func(*Server){
		"nobody is let": func(*Server) {}, "somebody else is let": func(s *Server) { s.InClear = func(net.Conn) bool { return false } },
	} {
		s := newSite(t, says, set)
		if d := differ(talk(t, s.standard, begins), talk(t, s.ours, begins)); d != "" {
			t.Errorf("%s:\n%s", what, d)
		}
		if resp, err := inClear(t).Get("http://" + s.ours + "/x"); err == nil {
			resp.Body.Close()
			t.Errorf("%s, and it is spoken", what)
		}
	}
}

// A connection that has said a part of the preface is nobody's yet, however long the
// rest takes: each piece has been read, and the clock has looked twice, before the next.
func TestHTTP2WithoutTLSMayBeginInPieces(t *testing.T) {
	t.Parallel()
	read := make(chan bool, 100)
	s := newSite(t, answers["the request"], func(s *Server) {
		s.InClear = func(net.Conn) bool { read <- true; return true }
	})
	c := open(t, s.ours, "")
	for _, piece := range []string{"P", "RI", " * HTTP/2.0\r", "\n"} {
		if _, err := io.WriteString(c, piece); err != nil {
			t.Fatal(err)
		}
		select {
		case <-read:
		case <-time.After(patient):
			t.Fatalf("who says %q is not looked at", piece)
		}
		for from := s.server.tick.Load(); piece != "\n" && s.server.tick.Load() < from+2; {
			time.Sleep(beat / 10)
		}
	}
	const rest = "\r\nSM\r\n\r\n" + "\x00\x00\x00\x04\x00\x00\x00\x00\x00" // SETTINGS, empty
	if _, err := io.WriteString(c, rest); err != nil {
		t.Fatal(err)
	}
	frame := make([]byte, 9)
	if _, err := io.ReadFull(c, frame); err != nil || frame[3] != 4 {
		t.Errorf("the first frame: %q %v", frame, err)
	}
}

func TestAShutdownWaitsForHTTP2WithoutTLS(t *testing.T) {
	t.Parallel()
	inside, goOn := make(chan struct{}), make(chan struct{})
	s := newSite(t, func(w http.ResponseWriter, r *http.Request) {
		close(inside)
		<-goOn
		fmt.Fprint(w, "done")
	}, func(s *Server) { s.InClear = func(net.Conn) bool { return true } })
	said := make(chan string, 1)
	go func() {
		resp, err := inClear(t).Get("http://" + s.ours + "/")
		if err != nil {
			said <- err.Error()
			return
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		said <- string(body)
	}()
	<-inside
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.server.Shutdown(over); !errors.Is(err, context.Canceled) {
		t.Errorf("with a request under way and no time left: %v", err)
	}
	close(goOn)
	if got := <-said; got != "done" {
		t.Error(got)
	}
	if err := s.server.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}
