package gateway

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/gatehouse-sso/gatehouse/authz"
	"github.com/gatehouse-sso/gatehouse/gateway/upstream"
)

// whole is n, or with GATEHOUSE_FAULTS as many as the row says.
func whole(n, all int) int {
	if os.Getenv("GATEHOUSE_FAULTS") != "" {
		return all
	}
	return n
}

// memory is what the process uses for values and stacks, in bytes, after what is
// garbage has gone.
func memory() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}

// R20: thousands of clients that send a line of a head and then nothing. Others are
// served as ever, each of the slow costs little memory, and they are cut.
func TestR20_ThousandsOfSlowClientsHoldUpNobody(t *testing.T) { // alone: it counts memory
	f := newFront(t)
	alice := f.guest("alice")
	f.passed(f.ask(alice, "GET", "wiki", "/"))
	before := memory()
	n := whole(500, 5000)
	conns := make([]net.Conn, n)
	for i := range conns {
		c, err := net.Dial("tcp", f.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		conns[i] = c
		if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: wiki.test\r\nX-Slow"); err != nil {
			t.Fatal(err)
		}
	}
	for range 100 {
		f.passed(f.ask(alice, "GET", "wiki", "/"))
	}
	if each := (memory() - before) / int64(n); each > 48<<10 {
		t.Errorf("a slow client costs %d bytes", each)
	} else {
		t.Logf("%d slow clients, %d bytes each with the client's end", n, each)
	}
	for _, c := range conns {
		_ = c.SetReadDeadline(time.Now().Add(30 * time.Second))
		if _, err := io.Copy(io.Discard, c); err != nil && os.IsTimeout(err) {
			t.Fatal("a slow client is still there")
		}
	}
	f.passed(f.ask(alice, "GET", "wiki", "/"))
}

// R22: bodies of any size pass through and are kept nowhere: memory does not grow
// with what is sent, nor with what is answered.
func TestR22_BodiesOfAnySizeTakeNoMemory(t *testing.T) { // alone: it counts memory
	size, senders := int64(whole(64, 1024))<<20, 4
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got, err := io.Copy(io.Discard, r.Body)
		if r.Method == http.MethodGet {
			_, _ = io.CopyN(w, zeros{}, size)
			return
		}
		fmt.Fprintf(w, "%d, %v", got, err)
	}))
	defer service.Close()
	f := newFront(t, func(_ *front, c *Config) { c.Services[0].Upstream, _ = url.Parse(service.URL) })
	alice := f.guest("alice")
	before := memory()
	var most atomic.Int64
	done := make(chan struct{})
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		for tick := time.NewTicker(50 * time.Millisecond); ; {
			select {
			case <-done:
				tick.Stop()
				return
			case <-tick.C:
				most.Store(max(most.Load(), memory()))
			}
		}
	}()
	c := f.client()
	c.Timeout = 0 // so much takes what it takes
	defer c.CloseIdleConnections()
	var wg sync.WaitGroup
	for range senders {
		wg.Go(func() {
			r := f.request(alice, http.MethodPut, "wiki", "/big", io.LimitReader(zeros{}, size))
			r.ContentLength = size
			resp, err := c.Do(r)
			if err != nil {
				t.Error(err)
				return
			}
			defer resp.Body.Close()
			if said, _ := io.ReadAll(resp.Body); string(said) != fmt.Sprintf("%d, <nil>", size) {
				t.Errorf("the service got %s", said)
			}
		})
		wg.Go(func() {
			resp, err := c.Do(f.request(alice, http.MethodGet, "wiki", "/big", nil))
			if err != nil {
				t.Error(err)
				return
			}
			defer resp.Body.Close()
			if n, err := io.Copy(io.Discard, resp.Body); err != nil || n != size {
				t.Errorf("%d bytes came, %v", n, err)
			}
		})
	}
	wg.Wait()
	close(done)
	<-watched
	if grew := most.Load() - before; grew > 32<<20 {
		t.Errorf("%d bodies of %d MiB took %d MiB", 2*senders, size>>20, grew>>20)
	} else {
		t.Logf("%d bodies of %d MiB took %d KiB", 2*senders, size>>20, grew>>10)
	}
}

// zeros are without end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// R19: services that hang up, reset, break off or go on for ever. Each of their
// requests has an error, at once or when the client has enough; requests to
// others pass meanwhile, and nothing is left.
func TestR19_ServicesThatFailHarmNoOther(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	reset := func(c net.Conn) {
		_ = c.(*net.TCPConn).SetLinger(0)
		_ = c.Close()
	}
	const head = "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"
	for what, does := range map[string]func(net.Conn, *http.Request){
		"hangs up":              func(c net.Conn, _ *http.Request) { _ = c.Close() },
		"resets":                func(c net.Conn, _ *http.Request) { reset(c) },
		"resets in the head":    func(c net.Conn, _ *http.Request) { _, _ = io.WriteString(c, head[:20]); reset(c) },
		"resets in the body":    func(c net.Conn, _ *http.Request) { _, _ = io.WriteString(c, head+"some"); reset(c) },
		"breaks off":            func(c net.Conn, _ *http.Request) { _, _ = io.WriteString(c, head+"some"); _ = c.Close() },
		"closes its side first": func(c net.Conn, _ *http.Request) { _ = c.(*net.TCPConn).CloseWrite(); _, _ = io.Copy(io.Discard, c) },
		"goes on for ever": func(c net.Conn, _ *http.Request) {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n")
			_, _ = io.Copy(c, zeros{})
		},
	} {
		f.rawUp.Store(&does)
		var wg sync.WaitGroup
		for range whole(4, 50) {
			wg.Go(func() {
				c := f.client()
				defer c.CloseIdleConnections()
				resp, err := c.Do(f.request(nil, http.MethodPost, "raw", "/", io.LimitReader(zeros{}, 1<<16)))
				if err != nil {
					return
				}
				defer resp.Body.Close()
				n, err := io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<22))
				if resp.StatusCode == http.StatusOK && err == nil && n < 1<<22 {
					t.Errorf("%s: %d bytes look like the whole answer", what, n)
				}
				if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusBadGateway {
					t.Errorf("%s: %d", what, resp.StatusCode)
				}
			})
			f.passed(f.ask(nil, "GET", "open", "/"))
		}
		wg.Wait()
	}
	eventually(t, "no stream is left", func() bool { return f.streams.Count() == 0 })
}

// R06: a disk that takes its time, or hangs. Who is signed in notices nothing, as no
// request of theirs waits for it; what must be written waits, and is.
func TestR06_ADiskThatHangsHoldsUpNobodyWhoIsSignedIn(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	alice, bob := f.guest("alice", "fin"), f.guest("bob")
	for _, host := range []string{"wiki", "payroll"} {
		f.passed(f.ask(alice, "GET", host, "/"))
	}
	bob.cookie("wiki")
	hung := make(chan struct{})
	f.st.hung.Store(&hung)
	ended := make(chan error, 1)
	began := f.st.updates.Load()
	go func() { _, err := f.sessions.EndUser(t.Context(), bob.user.ID, "test"); ended <- err }()
	eventually(t, "a write hangs", func() bool { return f.st.updates.Load() > began })
	for i := range whole(100, 2000) {
		f.passed(f.ask(alice, "GET", []string{"wiki", "payroll"}[i%2], "/"))
		f.refused(f.ask(alice, "GET", "wiki", "/admin/x"), 403, authz.ReasonDenied)
		f.passed(f.ask(nil, "GET", "open", "/"))
	}
	select {
	case err := <-ended:
		t.Fatalf("the write did not hang: %v", err)
	default:
	}
	f.st.hung.Store(nil)
	close(hung)
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	f.refused(f.ask(bob, "GET", "wiki", "/"), 401, ReasonSignIn)
}

// R43: a request that its client takes back over HTTP/2 is broken off at the service,
// where it does not look whole, and is not sent again; the connection goes on.
func TestR43_ARequestTakenBackIsNotWholeAndNotSentAgain(t *testing.T) {
	t.Parallel()
	f := newFront(t, overTLS)
	type got struct {
		n   int64
		err error
	}
	came, bodies := make(chan struct{}, 10), make(chan got, 10)
	fn := func(c net.Conn, r *http.Request) {
		came <- struct{}{}
		n, err := io.Copy(io.Discard, r.Body)
		bodies <- got{n, err}
		_, _ = io.WriteString(c, "HTTP/1.1 204 No Content\r\n\r\n")
	}
	f.rawUp.Store(&fn)
	h := f.h2conn(t, "raw")
	for i := range 3 {
		id := uint32(1 + 2*i)
		b := h.block(":method", "POST", ":scheme", "https", ":authority", f.at("raw"), ":path", "/", "content-length", "1000000") // a short one would be gathered here first
		if err := h.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: b, EndHeaders: true}); err != nil {
			t.Fatal(err)
		}
		if err := h.fr.WriteData(id, false, []byte("half")); err != nil {
			t.Fatal(err)
		}
		<-came
		if err := h.fr.WriteRSTStream(id, http2.ErrCodeCancel); err != nil {
			t.Fatal(err)
		}
		if g := <-bodies; g.err == nil {
			t.Errorf("a body of %d bytes that was taken back looks whole to the service", g.n)
		}
	}
	if status := h.get(99, f.at("raw"), "/"); status != "204" {
		t.Errorf("after it, on the same connection: %q", status)
	}
	<-came
	if len(came) != 0 {
		t.Error("a request was sent again")
	}
}

// R43: a service over HTTP/2 that goes away in the middle. What it may have acted on
// is not sent again; the next request has a connection of its own.
func TestR43_WhatAServiceMayHaveActedOnIsNotSentAgain(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	var posts, gets atomic.Int64
	var leave atomic.Bool // after a POST
	leave.Store(true)
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				if _, err := io.ReadFull(c, make([]byte, len(http2.ClientPreface))); err != nil {
					return
				}
				fr := http2.NewFramer(c, c)
				fr.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
				_ = fr.WriteSettings()
				for {
					frame, err := fr.ReadFrame()
					if err != nil {
						return
					}
					head, ok := frame.(*http2.MetaHeadersFrame)
					if !ok {
						continue
					}
					if head.PseudoValue("method") == http.MethodPost {
						if posts.Add(1); leave.Load() {
							_ = fr.WriteGoAway(head.StreamID, http2.ErrCodeNo, nil) // it was, or may be, acted on
							return
						}
					} else {
						gets.Add(1)
					}
					_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: head.StreamID, BlockFragment: []byte{0x88}, EndHeaders: true, EndStream: true}) // :status 200
				}
			}()
		}
	}()
	f := serves(t, upstream.Config{Retries: 2, Wire: upstream.Wire{Protocol: upstream.H2C}}, "http://"+ln.Addr().String())
	f.passedStatus(f.ask(nil, "GET", "open", "/"), http.StatusOK)
	for i := range int64(5) {
		if a := f.ask(nil, "POST", "open", "/", "Content-Length: 0"); a.StatusCode != http.StatusBadGateway {
			t.Errorf("a POST whose service went away: %d", a.StatusCode)
		}
		if got := posts.Load(); got != i+1 {
			t.Fatalf("%d POSTs came of %d", got, i+1)
		}
	}
	leave.Store(false)
	f.passedStatus(f.ask(nil, "POST", "open", "/", "Content-Length: 0"), http.StatusOK)
	f.passedStatus(f.ask(nil, "GET", "open", "/"), http.StatusOK)
	if gets.Load() != 2 || posts.Load() != 6 {
		t.Errorf("%d GETs and %d POSTs came", gets.Load(), posts.Load())
	}
}

func (f *front) passedStatus(a answer, want int) {
	f.t.Helper()
	if a.StatusCode != want {
		f.t.Errorf("%d %.200s, want %d", a.StatusCode, a.body, want)
	}
}
