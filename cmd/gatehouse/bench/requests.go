package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gatehouse-sso/gatehouse/federation/idptest"
)

// A side is one of those that requests are measured of.
type side struct {
	name    string
	pid     int // with its children
	address string
	host    string
	header  http.Header // of each request
	path    string      // asked for in place of the one that is measured
	seen    string      // what the service saw, as it says itself
}

// tree is the time that a process and its children have spent.
func tree(pid int) time.Duration {
	sum := cpu(pid)
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		child, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", child))
		if err != nil {
			continue
		}
		f := strings.Fields(string(raw[strings.LastIndexByte(string(raw), ')')+1:]))
		if f[1] == strconv.Itoa(pid) {
			sum += cpu(child)
		}
	}
	return sum
}

const connections = 32

// newTransport is for so many connections that are kept alive.
func newTransport() *http.Transport {
	return &http.Transport{MaxIdleConnsPerHost: connections, DisableCompression: true}
}

// load sends n GETs over connections of its own and checks each answer.
func (s side) load(ctx context.Context, path string, n int) (perSecond float64, err error) {
	tr := newTransport()
	defer tr.CloseIdleConnections()
	return s.loadBy(ctx, tr, path, n)
}

func (s side) loadBy(ctx context.Context, tr *http.Transport, path string, n int) (perSecond float64, err error) {
	var left atomic.Int64
	left.Store(int64(n))
	var first atomic.Pointer[error]
	began := time.Now()
	var wg sync.WaitGroup
	for range connections {
		wg.Go(func() {
			for left.Add(-1) >= 0 && first.Load() == nil && ctx.Err() == nil {
				if err := s.one(ctx, tr, path); err != nil {
					first.CompareAndSwap(nil, &err)
				}
			}
		})
	}
	wg.Wait()
	if e := first.Load(); e != nil {
		return 0, fmt.Errorf("%s: %w", s.name, *e)
	}
	return float64(n) / time.Since(began).Seconds(), ctx.Err()
}

func (s side) one(ctx context.Context, tr *http.Transport, path string) error {
	size := sizes[path]
	if s.path != "" {
		path, size = s.path, 0
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.address+path, nil)
	if err != nil {
		return err
	}
	r.Host = s.host
	if s.header != nil {
		r.Header = s.header
	}
	resp, err := tr.RoundTrip(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	n, err := io.Copy(io.Discard, resp.Body)
	if err != nil {
		return err
	}
	switch saw := resp.Header.Get("X-Seen"); {
	case resp.StatusCode != http.StatusOK:
		return fmt.Errorf("status %d for %s", resp.StatusCode, path)
	case n != int64(size):
		return fmt.Errorf("%d bytes for %s", n, path)
	case s.path != "" && resp.Header.Get("X-Forwarded-User")+" "+strconv.FormatBool(resp.Header.Get("X-Gatehouse-Jwt") != "") != s.seen:
		return fmt.Errorf("the answer says %v", resp.Header)
	case s.path == "" && saw != s.seen:
		return fmt.Errorf("the service saw %q, want %q", saw, s.seen)
	}
	return nil
}

// measureRequests prints what a request costs at each side, rounds interleaved.
func measureRequests(ctx context.Context, sides []side, rounds, requests int) error {
	fmt.Printf("a request, %d connections, %d requests a round, medians of %d rounds\n\n", connections, requests, rounds)
	fmt.Printf("%-6s %-52s %14s %11s %9s %9s\n", "answer", "", "CPU µs/request", "requests/s", "÷ bare", "÷ nginx")
	for _, path := range []string{"/1k", "/64k"} {
		cpus, rates := make([][]float64, len(sides)), make([][]float64, len(sides))
		for round := range rounds + 1 {
			for i, s := range sides {
				if s.path != "" && path != "/1k" {
					continue // its answer has no body
				}
				before := tree(s.pid)
				rate, err := s.load(ctx, path, requests)
				if err != nil {
					return err
				}
				if round > 0 { // the first warms up
					cpus[i] = append(cpus[i], micros(tree(s.pid)-before, requests))
					rates[i] = append(rates[i], rate)
				}
			}
		}
		bare, nginx := 0.0, 0.0
		for i, s := range sides {
			switch s.name {
			case nameBare:
				bare = median(cpus[i])
			case nameNginx:
				nginx = median(cpus[i])
			}
		}
		for i, s := range sides {
			if len(cpus[i]) == 0 {
				continue
			}
			c := median(cpus[i])
			by := "        –"
			if nginx > 0 {
				by = fmt.Sprintf("%8.2f×", c/nginx)
			}
			fmt.Printf("%-6s %-52s %14.1f %11.0f %8.2f× %s\n", path, s.name, c, median(rates[i]), c/bare, by)
		}
	}
	return nil
}

const (
	nameBare  = "httputil.ReverseProxy, tuned, nobody signed in"
	nameNginx = "nginx proxy_pass, nobody signed in"
)

// The identity providers, which know the same people.
type providers struct {
	op, idp net.Addr
	saml    *idptest.IDP
	servers []*http.Server
}

// startProviders starts them in this process; callbacks are where the OpenID
// provider may send people back.
func startProviders(people []idptest.Person, callbacks ...string) (*providers, error) {
	opLn, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	idpLn, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	op := idptest.NewOP(idptest.OPConfig{
		Issuer: "http://" + opLn.Addr().String(), Title: "OpenID", People: people, Algorithm: "ES256", ClaimsInIDToken: true,
		Clients: []idptest.OPClient{{ID: "bench", Secret: "bench-secret", RedirectURIs: callbacks}},
	})
	p := &providers{op: opLn.Addr(), idp: idpLn.Addr(), saml: idptest.NewIDP(idptest.IDPConfig{Base: "http://" + idpLn.Addr().String(), Title: "SAML", People: people})}
	for _, s := range []struct {
		ln net.Listener
		h  http.Handler
	}{{opLn, op.Handler()}, {idpLn, p.saml.Handler()}} {
		srv := &http.Server{Handler: s.h, ReadHeaderTimeout: 5 * time.Second}
		p.servers = append(p.servers, srv)
		go func() { _ = srv.Serve(s.ln) }()
	}
	return p, nil
}

func (p *providers) stop() {
	for _, s := range p.servers {
		_ = s.Close()
	}
}

// persons are n people who may do everything.
func persons(n int) (list []idptest.Person) {
	for i := range n {
		id := fmt.Sprintf("u%d", i)
		list = append(list, idptest.Person{
			User: id, ID: "subject-" + id, Name: "Person " + id, Given: "Person", Family: id, Mail: id + "@bench.example",
			Groups: []string{"staff", "readers"}, Affiliation: []string{"staff@bench.example"},
		})
	}
	return list
}
