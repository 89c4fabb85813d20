package upstream

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/gatehouse-sso/gatehouse/gateway/lean"
)

// A Dial opens a connection.
type Dial = func(ctx context.Context, network, addr string) (net.Conn, error)

// A Wire is how members are spoken to.
type Wire struct {
	TLS      *tls.Config // for https; nil: as the system has it
	Protocol Protocol
}

// A Protocol is a version of HTTP.
type Protocol int

// Protocols. Auto is HTTP/1.1, and HTTP/2 where a member of https offers it.
const (
	Auto Protocol = iota
	HTTP1
	HTTP2 // by https
	H2C   // HTTP/2 without TLS, known beforehand (RFC 9113, section 3.3)
)

// headTimeout is how long a member may take to begin its answer: a long poll is
// no fault.
const headTimeout = 5 * time.Minute

var dialer = &net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}

// Transport makes what speaks to services: many idle connections, no
// compression of its own, bounded response headers. dial may be nil.
func Transport(dial Dial) *http.Transport {
	if dial == nil {
		dial = Config{}.dial(nil)
	}
	return &http.Transport{
		DialContext:            dial,
		ForceAttemptHTTP2:      true,
		MaxIdleConnsPerHost:    1024,
		IdleConnTimeout:        90 * time.Second,
		TLSHandshakeTimeout:    10 * time.Second,
		ResponseHeaderTimeout:  headTimeout,
		ExpectContinueTimeout:  time.Second,
		MaxResponseHeaderBytes: 64 << 10,
		DisableCompression:     true,
	}
}

// Lean makes what speaks to services in the usual case. dial may be nil.
func Lean(dial Dial) *lean.Transport {
	if dial == nil {
		dial = Config{}.dial(nil)
	}
	return &lean.Transport{Dial: dial, HeadTimeout: headTimeout}
}

// plain: HTTP/1.1 without TLS, and nothing that has to look at each piece of an
// answer.
func (c Config) plain() bool {
	https := slices.ContainsFunc(c.Addresses, func(u *url.URL) bool { return u.Scheme == "https" })
	return !https && (c.Wire.Protocol == Auto || c.Wire.Protocol == HTTP1) && c.Timeouts.Silence == 0
}

// dial connects to a host and port, or to the socket that stands for it.
func (c Config) dial(sockets map[string]string) Dial {
	d := dialer
	if c.Timeouts.Connect > 0 {
		own := *dialer
		own.Timeout = c.Timeouts.Connect
		d = &own
	}
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		if path, ok := sockets[addr]; ok {
			network, addr = "unix", path
		}
		conn, err := d.DialContext(ctx, network, addr)
		if err != nil {
			return nil, &dialError{err}
		}
		return conn, nil
	}
}

func (c Config) transport(dial Dial) *http.Transport {
	t := Transport(dial)
	t.TLSClientConfig = c.Wire.TLS
	if c.Timeouts.Head > 0 {
		t.ResponseHeaderTimeout = c.Timeouts.Head
	}
	if c.Timeouts.Connect > 0 {
		t.TLSHandshakeTimeout = c.Timeouts.Connect
	}
	if c.MaxHead > 0 {
		t.MaxResponseHeaderBytes = int64(c.MaxHead)
	}
	if c.Wire.Protocol != Auto {
		t.ForceAttemptHTTP2 = false
		t.Protocols = new(http.Protocols)
		t.Protocols.SetHTTP1(c.Wire.Protocol == HTTP1)
		t.Protocols.SetHTTP2(c.Wire.Protocol == HTTP2)
		t.Protocols.SetUnencryptedHTTP2(c.Wire.Protocol == H2C)
	}
	return t
}
