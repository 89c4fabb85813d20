// Package ldapconn is how the gateway speaks LDAP: who may be asked, how it is
// known that they are who they say, and what their answers mean. It knows no
// accounts and no people; the connector and the source that do are its callers.
//
//	Do ── idle connection, or dial → TLS → bind ──▶ fn(*Conn) ──▶ kept, or closed
//	                                                   │
//	                                          every error a *connector.Error
//
// A password never goes over a connection that others can read: without TLS a
// bind is refused except on loopback, or where the configuration says so. Server
// certificates are always verified. What a server sends is bounded before it is
// decoded. Names and values come into distinguished names and filters only
// through [EscapeDN], [Equal] and their like, so that no value changes a
// structure.
package ldapconn

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"iter"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"time"

	ber "github.com/go-asn1-ber/asn1-ber"
	"github.com/go-ldap/ldap/v3"

	"github.com/gatehouse-sso/gatehouse/provisioning/connector"
)

// Config of a Pool.
type Config struct {
	URL      *url.URL       // ldap://HOST[:PORT] or ldaps://HOST[:PORT]
	StartTLS bool           // with ldap://: TLS before anything else is said
	Roots    *x509.CertPool // nil: those of the system
	BindDN   string         // empty: anonymous
	Password string
	// InsecurePlain allows a bind without TLS off loopback.
	InsecurePlain bool
	Timeout       time.Duration // of one operation; 0: 10 s
	Conns         int           // at the same time; 0: 8
	// Dial opens connections; nil: any address.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// Secure: all that is sent is encrypted.
func (c Config) Secure() bool { return c.URL.Scheme == "ldaps" || c.StartTLS }

// A Pool keeps connections to one server. Its methods may be called from many
// goroutines.
type Pool struct {
	c    Config
	host string
	sem  chan struct{}

	mu   sync.Mutex
	idle []*Conn
}

// idleTime is how long a connection that nobody uses is kept.
const idleTime = 30 * time.Second

// New makes a Pool. It dials nothing yet.
func New(c Config) (*Pool, error) {
	if c.URL == nil || c.URL.Scheme != "ldap" && c.URL.Scheme != "ldaps" || c.URL.Hostname() == "" {
		return nil, errors.New("the address of a directory is ldap://HOST or ldaps://HOST")
	}
	if strings.Trim(c.URL.Path, "/") != "" || c.URL.RawQuery != "" || c.URL.User != nil {
		return nil, errors.New("the address of a directory has no path, query or user")
	}
	if c.URL.Scheme == "ldaps" && c.StartTLS {
		return nil, errors.New("ldaps is TLS already: StartTLS is for ldap")
	}
	if c.BindDN != "" && c.Password == "" {
		// To a server that is an anonymous bind which seems to succeed (RFC 4513, 5.1.2).
		return nil, errors.New("a bind with a name and without a password proves nothing")
	}
	if c.BindDN != "" && !c.Secure() && !c.InsecurePlain && !loopback(c.URL.Hostname()) {
		return nil, errors.New("the password would go over the network in the clear: use ldaps or StartTLS")
	}
	if c.Timeout <= 0 {
		c.Timeout = 10 * time.Second
	}
	if c.Conns <= 0 {
		c.Conns = 8
	}
	if c.Dial == nil {
		c.Dial = (&net.Dialer{}).DialContext
	}
	port := c.URL.Port()
	if port == "" {
		port = map[string]string{"ldap": "389", "ldaps": "636"}[c.URL.Scheme]
	}
	return &Pool{c: c, host: net.JoinHostPort(c.URL.Hostname(), port), sem: make(chan struct{}, c.Conns)}, nil
}

func loopback(host string) bool {
	if a, err := netip.ParseAddr(host); err == nil {
		return a.Unmap().IsLoopback()
	}
	return host == "localhost" || strings.HasSuffix(host, ".localhost")
}

// Secure: all that is sent is encrypted.
func (p *Pool) Secure() bool { return p.c.Secure() }

// Close closes the connections that nobody uses. Those in use are closed by who
// uses them.
func (p *Pool) Close() {
	p.mu.Lock()
	all := p.idle
	p.idle = nil
	p.mu.Unlock()
	for _, c := range all {
		c.close()
	}
}

// Do calls fn with a connection that is bound. When ctx ends, so does what fn
// waits for. A connection that the server had closed while it was idle is
// replaced, and fn called again, if nothing was changed over it yet. Every error
// is a *connector.Error; fn may return one of its own making.
func (p *Pool) Do(ctx context.Context, fn func(*Conn) error) error {
	select {
	case p.sem <- struct{}{}:
		defer func() { <-p.sem }()
	case <-ctx.Done():
		return &connector.Error{Class: connector.Transient, Text: "waiting for a connection", Err: context.Cause(ctx)}
	}
	for {
		c, err := p.take(ctx)
		if err != nil {
			return err
		}
		again, err := p.use(ctx, c, fn)
		if !again {
			return err
		}
	}
}

// use calls fn over c. again: the connection was stale, and nothing happened.
func (p *Pool) use(ctx context.Context, c *Conn, fn func(*Conn) error) (again bool, err error) {
	stop := context.AfterFunc(ctx, c.close)
	err = fn(c)
	cut := !stop()
	if cut || c.ldap.IsClosing() || broken(err) {
		c.close()
		if cut && err != nil {
			err = Ended(err, ctx)
		}
		return c.used && !c.wrote && !cut && broken(err), err
	}
	c.used, c.wrote = true, false
	p.keep(c)
	return false, err
}

// broken: the connection, not the server, failed.
func broken(err error) bool {
	var le *ldap.Error
	return errors.As(err, &le) && le.ResultCode >= ldap.ErrorNetwork
}

// Ended says of an error that its cause is that time was up.
func Ended(err error, ctx context.Context) error {
	var ce *connector.Error
	if errors.As(err, &ce) {
		return &connector.Error{Class: connector.Transient, Ambiguous: ce.Ambiguous, Text: "time was up before the directory answered", Err: context.Cause(ctx)}
	}
	return err
}

func (p *Pool) take(ctx context.Context) (*Conn, error) {
	for {
		p.mu.Lock()
		var c *Conn
		if n := len(p.idle); n > 0 {
			c, p.idle = p.idle[n-1], p.idle[:n-1]
		}
		p.mu.Unlock()
		if c == nil {
			return p.dial(ctx)
		}
		if c.expire.Stop() && !c.ldap.IsClosing() {
			return c, nil
		}
		c.close()
	}
}

// keep puts a connection back, for idleTime.
func (p *Pool) keep(c *Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c.expire = time.AfterFunc(idleTime, func() {
		p.mu.Lock()
		for i, o := range p.idle {
			if o == c {
				p.idle = append(p.idle[:i:i], p.idle[i+1:]...)
				break
			}
		}
		p.mu.Unlock()
		c.close()
	})
	p.idle = append(p.idle, c)
}

func (p *Pool) dial(ctx context.Context) (*Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, p.c.Timeout)
	defer cancel()
	raw, err := p.c.Dial(ctx, "tcp", p.host)
	if err != nil {
		return nil, &connector.Error{Class: connector.Transient, Text: "the directory can not be reached", Err: err}
	}
	stop := context.AfterFunc(ctx, func() { _ = raw.Close() })
	conn, err := p.secure(ctx, raw)
	if err != nil {
		stop()
		_ = raw.Close()
		return nil, err
	}
	l := ldap.NewConn(&bounded{Conn: conn}, p.c.Secure())
	l.SetTimeout(p.c.Timeout)
	l.Start()
	c := &Conn{ldap: l}
	if p.c.BindDN != "" {
		err = classify("bind", l.Bind(p.c.BindDN, p.c.Password), false)
	}
	if !stop() && err == nil {
		err = &connector.Error{Class: connector.Transient, Text: "time was up before the directory answered", Err: context.Cause(ctx)}
	}
	if err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

// secure speaks TLS over a connection if it has to be spoken.
func (p *Pool) secure(ctx context.Context, raw net.Conn) (net.Conn, error) {
	if !p.c.Secure() {
		return raw, nil
	}
	if p.c.StartTLS {
		if err := startTLS(raw); err != nil {
			return nil, err
		}
	}
	t := tls.Client(raw, &tls.Config{ServerName: p.c.URL.Hostname(), RootCAs: p.c.Roots, MinVersion: tls.VersionTLS12})
	err := t.HandshakeContext(ctx)
	var cert *tls.CertificateVerificationError
	switch {
	case errors.As(err, &cert):
		return nil, &connector.Error{Class: connector.Route, Text: "the certificate of the directory is not to be trusted", Err: err}
	case err != nil:
		return nil, &connector.Error{Class: connector.Transient, Text: "no TLS with the directory", Err: err}
	}
	return t, nil
}

// oidStartTLS is the extended operation of RFC 4511, 4.14.
const oidStartTLS = "1.3.6.1.4.1.1466.20037"

// startTLS asks the server to go on in TLS. Nothing but its answer is read: what
// somebody put behind it in the clear would be taken for what came encrypted.
func startTLS(c net.Conn) error {
	req := ber.Encode(ber.ClassUniversal, ber.TypeConstructed, ber.TagSequence, nil, "")
	req.AppendChild(ber.NewInteger(ber.ClassUniversal, ber.TypePrimitive, ber.TagInteger, 1, ""))
	op := ber.Encode(ber.ClassApplication, ber.TypeConstructed, ldap.ApplicationExtendedRequest, nil, "")
	op.AppendChild(ber.NewString(ber.ClassContext, ber.TypePrimitive, 0, oidStartTLS, ""))
	req.AppendChild(op)
	if _, err := c.Write(req.Bytes()); err != nil {
		return &connector.Error{Class: connector.Transient, Text: "StartTLS", Err: err}
	}
	raw, err := message(c)
	if err != nil {
		return &connector.Error{Class: connector.Transient, Text: "StartTLS", Err: err}
	}
	answer, err := ber.DecodePacketErr(raw)
	if err == nil {
		err = ldap.GetLDAPError(answer)
	}
	if err != nil {
		return &connector.Error{Class: connector.Route, Text: "the directory does not start TLS", Err: discreet(err)}
	}
	return nil
}

// Errorf is an error of a class, for what a caller finds wrong in an answer.
func Errorf(class connector.Class, format string, args ...any) *connector.Error {
	return &connector.Error{Class: class, Text: fmt.Sprintf(format, args...)}
}

// Walk yields the entries that a query finds, as [Conn.Pages] does, over a
// connection of its own. Every error is a *connector.Error and is the last.
func (p *Pool) Walk(ctx context.Context, q Query) iter.Seq2[*ldap.Entry, error] {
	return func(yield func(*ldap.Entry, error) bool) {
		began, stopped := false, false
		err := p.Do(ctx, func(c *Conn) error {
			if began {
				return Errorf(connector.Transient, "the connection to the directory broke in the middle")
			}
			for e, err := range c.Pages(q) {
				if err != nil {
					return err
				}
				began = true
				if !yield(e, nil) {
					stopped = true
					return nil
				}
			}
			return nil
		})
		if err != nil && !stopped {
			yield(nil, err)
		}
	}
}
