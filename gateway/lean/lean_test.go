package lean

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/gatehouse-sso/gatehouse/gateway/socket"
)

// open sends a request to a front and gives the connection back.
func open(t *testing.T, front *httptest.Server, raw string) (net.Conn, *bufio.Reader) {
	t.Helper()
	c, err := net.Dial("tcp", front.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(c, raw); err != nil {
		t.Fatal(err)
	}
	return c, bufio.NewReader(c)
}

// until reads until what is there.
func until(t *testing.T, r io.Reader, what string) {
	t.Helper()
	var got strings.Builder
	b := make([]byte, 1)
	for !strings.HasSuffix(got.String(), what) {
		if _, err := r.Read(b); err != nil {
			t.Fatalf("never came to %q: %v after\n%s", what, err, got.String())
		}
		got.Write(b)
	}
}

const get = "GET /a HTTP/1.1\r\nHost: x\r\n\r\n"

// A service that goes on only when the client has what there is would wait for
// ever if anything were held back.
func TestHoldsNothingBackWhileTheServiceIsSilent(t *testing.T) {
	t.Parallel()
	s := newService(t)
	f := newFronts(t, s)
	for _, c := range []struct{ name, head, end string }{
		{"stream", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "0\r\n\r\n"},
		{"known length", "HTTP/1.1 200 OK\r\nContent-Length: 60\r\n\r\n", ""},
		{"until close", "HTTP/1.1 200 OK\r\n\r\n", ""},
	} {
		next := make(chan bool)
		s.does(func(conn net.Conn, _ int, _ *http.Request) bool {
			_, _ = io.WriteString(conn, c.head)
			for i := range 3 {
				<-next
				piece := fmt.Sprintf("piece %d of what the service", i)[:20]
				if c.end != "" {
					piece = fmt.Sprintf("14\r\n%s\r\n", piece)
				}
				_, _ = io.WriteString(conn, piece)
			}
			_, _ = io.WriteString(conn, c.end)
			return false
		})
		_, br := open(t, f.lean, get)
		until(t, br, "\r\n\r\n") // the head came before any of the body
		for i := range 3 {
			next <- true
			until(t, br, fmt.Sprintf("piece %d of what the ", i)[:20])
		}
	}
}

func TestASafeRequestIsSentAgainWhenItsConnectionWasGone(t *testing.T) {
	t.Parallel()
	s := newService(t)
	f := newFronts(t, s)
	// The connection looks alive, and ends when it is used again.
	half := func(c net.Conn, n int, _ *http.Request) bool {
		if n > 0 {
			return false
		}
		_, err := io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		return err == nil
	}
	for _, c := range []struct {
		raw    string
		status string
		asked  int
	}{
		{get, "200 OK", 3},
		{"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nab", "502 Bad Gateway", 2},
		{"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", "502 Bad Gateway", 2},
		{"POST /a HTTP/1.1\r\nHost: x\r\nIdempotency-Key: k\r\nContent-Length: 0\r\n\r\n", "200 OK", 3},
	} {
		f.transport.CloseIdleConnections()
		s.does(half)
		first := ask(t, f.lean, "GET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "GET")
		got := ask(t, f.lean, strings.Replace(c.raw, "Host: x", "Host: x\r\nConnection: close", 1), "GET")
		if n := len(s.heard()); first.Body != "ok" || got.Status != c.status || n != c.asked {
			t.Errorf("%.20q: %s after %s, %d requests; want %s, %d", c.raw, got.Status, first.Status, n, c.status, c.asked)
		}
	}
}

// What a service says before it is asked is the answer to nothing.
func TestBytesThatNobodyAskedForAreNoAnswer(t *testing.T) {
	t.Parallel()
	s := newService(t)
	f := newFronts(t, s)
	said := make(chan bool)
	s.does(func(c net.Conn, n int, _ *http.Request) bool {
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		if n == 0 {
			go func() {
				time.Sleep(20 * time.Millisecond) // after the answer was read, before the next question
				_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged")
				close(said)
			}()
		}
		s.mu.Lock()
		s.say = says("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", true)
		s.mu.Unlock()
		return true
	})
	closing := strings.Replace(get, "Host: x", "Host: x\r\nConnection: close", 1)
	if a := ask(t, f.lean, closing, "GET"); a.Body != "ok" {
		t.Fatal(a)
	}
	<-said
	if a := ask(t, f.lean, closing, "GET"); a.Body != "ok" {
		t.Errorf("got %q", a.Body)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conns != 2 {
		t.Errorf("%d connections, want the second request on one of its own", s.conns)
	}
}

func TestAClientThatLeavesFreesTheConnection(t *testing.T) {
	t.Parallel()
	s := newService(t)
	f := newFronts(t, s)
	asked, gone := make(chan bool), make(chan error)
	s.does(func(c net.Conn, _ int, _ *http.Request) bool {
		asked <- true
		_, err := c.Read(make([]byte, 1))
		gone <- err
		return false
	})
	c, _ := open(t, f.lean, get)
	<-asked
	_ = c.Close()
	if err := <-gone; err == nil {
		t.Error("the service was sent something")
	}
}

func TestALineThatIsCutEndsAnExchangeAtAnyPoint(t *testing.T) {
	t.Parallel()
	s := newService(t)
	for _, say := range []string{"", "HTTP/1.1 200 OK\r\nConte", "HTTP/1.1 103 Early Hints\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"} {
		said := make(chan bool, 1)
		s.does(func(c net.Conn, _ int, _ *http.Request) bool {
			_, _ = io.WriteString(c, say)
			said <- true
			_, _ = io.Copy(io.Discard, c)
			return false
		})
		tr, line := &Transport{}, &Line{}
		ended := make(chan any)
		go func() {
			defer func() { ended <- recover() }()
			r := httptest.NewRequest("GET", "/a", nil)
			err := tr.Forward(httptest.NewRecorder(), r, s.ln.Addr().String(), AppendHead(nil, "GET", "/a", "x", nil, nil), line, func(*http.Response) error { return nil })
			if err != nil {
				panic(err)
			}
		}()
		<-said
		line.Cut()
		if e := <-ended; e == nil {
			t.Errorf("after %q: the exchange ended as if it were whole", say)
		}
		// Cut is for later, too.
		err := tr.Forward(httptest.NewRecorder(), httptest.NewRequest("GET", "/a", nil), s.ln.Addr().String(), AppendHead(nil, "GET", "/a", "x", nil, nil), line, nil)
		if err == nil {
			t.Error("a cut line was used")
		}
	}
}

// hasty is a connection whose reader is cut when it is given time.
type hasty struct {
	net.Conn
	cut func()
}

func (h hasty) SetReadDeadline(t time.Time) error {
	if !t.IsZero() {
		h.cut()
	}
	return h.Conn.SetReadDeadline(t)
}

// The time that a service is given for its answer takes nothing back.
func TestALineThatIsCutStaysCutWhateverTimeTheServiceHas(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		defer theirs.Close()
		go func() { _, _ = io.Copy(io.Discard, theirs) }()
		line := &Line{}
		tr := &Transport{HeadTimeout: time.Hour, Dial: func(context.Context, string, string) (net.Conn, error) { return hasty{ours, line.Cut}, nil }}
		began := time.Now()
		err := tr.Forward(httptest.NewRecorder(), httptest.NewRequest("GET", "/a", nil), "x", AppendHead(nil, "GET", "/a", "x", nil, nil), line, nil)
		if took := time.Since(began); err == nil || took > 0 {
			t.Errorf("%v after %v", err, took)
		}
	})
}

// idle connections end by themselves, or a service that goes away keeps sockets
// of ours for as long as we live.
func TestIdleConnectionsAreClosedInTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		tr := &Transport{IdleTimeout: time.Minute}
		p := tr.pool("x")
		p.put(&conn{nc: ours, pool: p, sock: socket.Of(unseen{ours})})
		go func() { _, _ = io.Copy(io.Discard, theirs) }()
		time.Sleep(59 * time.Second)
		synctest.Wait()
		p.mu.Lock()
		early := len(p.idle) != 1
		p.mu.Unlock()
		if early {
			t.Error("closed too early")
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		p.mu.Lock()
		defer p.mu.Unlock()
		if len(p.idle) != 0 || p.sweep != nil {
			t.Errorf("%d idle connections, sweep %v", len(p.idle), p.sweep)
		}
	})
}

// unseen is a connection with a socket of that kind.
type unseen struct{ net.Conn }

func (unseen) SyscallConn() (syscall.RawConn, error) { return noRaw{}, nil }

// noRaw is a socket that is never looked at before it is too old.
type noRaw struct{}

func (noRaw) Control(func(uintptr)) error    { return io.EOF }
func (noRaw) Read(func(uintptr) bool) error  { return io.EOF }
func (noRaw) Write(func(uintptr) bool) error { return io.EOF }

// A value that could end its line is not sent.
func TestNoFieldEndsItsLineEarly(t *testing.T) {
	t.Parallel()
	got := string(AppendField(AppendField(nil, "X-Good", "a b"), "X-Bad", "a\r\nX-Forged: 1"))
	if got != "X-Good: a b\r\n" {
		t.Errorf("%q", got)
	}
}

// Whatever a service says: both ways the client gets the same, or no answer.
func FuzzResponse(f *testing.F) {
	for _, p := range responses {
		if len(p.say) < 4096 {
			f.Add([]byte(p.say))
		}
	}
	s := newService(f)
	fr := newFronts(f, s)
	f.Fuzz(func(t *testing.T, say []byte) {
		fr.transport.CloseIdleConnections()
		fr.direct.CloseIdleConnections()
		s.does(says(string(say), false))
		raw := "GET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
		standard, lean := ask(t, fr.standard, raw, "GET"), ask(t, fr.lean, raw, "GET")
		if standard.None || lean.None || standard.Broken || lean.Broken || len(standard.Interim)+len(lean.Interim) > 0 {
			if !lean.None && !lean.Broken && (standard.None || standard.Broken) {
				t.Errorf("a broken answer looks whole: %+v", lean)
			}
			return
		}
		if standard.Status != lean.Status || standard.Body != lean.Body {
			t.Errorf("standard %s %q, lean %s %q", standard.Status, standard.Body, lean.Status, lean.Body)
		}
	})
}

// Whatever is read here, net/http's parser reads as the same, and as far.
func FuzzHead(f *testing.F) {
	for _, p := range responses {
		if len(p.say) < 4096 {
			f.Add([]byte(p.say))
		}
	}
	for _, say := range []string{
		"HTTP/1.1 200 OK\r\nPragma: no-cache\r\nContent-Length: 1\r\n\r\nx", "HTTP/1.1 200 OK\r\nconnection: Keep-Alive\r\nCONTENT-LENGTH: 1\r\n\r\nx",
		"HTTP/1.1 200  OK \r\nContent-Length: 1\r\nx-a:\t b \r\n\r\n", "HTTP/1.1 200 \r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close, x\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTrailer: X\r\n\r\nx",
	} {
		f.Add([]byte(say))
	}
	get := httptest.NewRequest(http.MethodGet, "/", nil)
	f.Fuzz(func(t *testing.T, raw []byte) {
		br := bufio.NewReader(bytes.NewReader(raw))
		_, _ = br.Peek(1) // it reads all that there is
		before := br.Buffered()
		c := &conn{br: br, header: http.Header{}}
		ours := c.usual(get)
		if ours == nil {
			if br.Buffered() != before || len(c.header) > 0 {
				t.Fatalf("something was taken of %q", raw)
			}
			return
		}
		rest := bufio.NewReader(bytes.NewReader(raw))
		standard, err := http.ReadResponse(rest, get)
		if err != nil {
			t.Fatalf("net/http does not take %q: %v", raw, err)
		}
		for _, r := range []*http.Response{ours, standard} {
			r.Body, r.Request = nil, nil
		}
		if diff := cmp.Diff(standard, ours, cmpopts.IgnoreUnexported(http.Response{})); diff != "" {
			t.Fatalf("of %q (- net/http, + here):\n%s", raw, diff)
		}
		if rest.Buffered() != br.Buffered() {
			t.Fatalf("of %q net/http leaves %d bytes, and here %d are left", raw, rest.Buffered(), br.Buffered())
		}
	})
}
