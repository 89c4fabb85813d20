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
