package federationtest

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
)

// A Net is a network inside the process: HTTP servers by host name, no ports,
// no name service. It works within a testing/synctest bubble, where waiting for
// a slow server takes no time. A URL with https reaches the same server, as
// if TLS had been agreed.
type Net struct {
	mu    sync.Mutex
	hosts map[string]*pipes
}

// NewNet makes a Net that ends with the test.
func NewNet() *Net { return &Net{hosts: map[string]*pipes{}} }

// Serve has h answer for host (without a port) until the test ends, or until
// Serve is called for the same host again; h is nil for nobody.
func (n *Net) Serve(t testing.TB, host string, h http.Handler) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if old := n.hosts[host]; old != nil {
		_ = old.Close()
	}
	delete(n.hosts, host)
	if h == nil {
		return
	}
	p := &pipes{conns: make(chan net.Conn), done: make(chan struct{})}
	n.hosts[host] = p
	srv := &http.Server{Handler: h, ErrorLog: log.New(io.Discard, "", 0)}
	var wg sync.WaitGroup
	wg.Go(func() { _ = srv.Serve(p) })
	t.Cleanup(func() { _ = p.Close(); _ = srv.Close(); wg.Wait() })
}

// Client is a client on this network.
func (n *Net) Client(t testing.TB) *http.Client {
	tr := &http.Transport{DialContext: n.dial, DialTLSContext: n.dial}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

func (n *Net) dial(ctx context.Context, _, addr string) (net.Conn, error) {
	host, _, _ := strings.Cut(addr, ":")
	n.mu.Lock()
	p := n.hosts[host]
	n.mu.Unlock()
	if p == nil {
		return nil, fmt.Errorf("dial %s: nobody is there", addr)
	}
	here, there := net.Pipe()
	select {
	case p.conns <- there:
		return here, nil
	case <-p.done:
		return nil, fmt.Errorf("dial %s: closed", addr)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// pipes is a net.Listener whose connections are made in memory.
type pipes struct {
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.done) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "memory", Net: "memory"} }
