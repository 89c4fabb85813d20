// Package loop serves the usual HTTP/1.1 request from a loop of its own, and gives
// everything else to net/http's server, with all the bytes.
//
//	          ┌───────────────────────────────┐
//	accept ─▶ wait ─▶ read ─▶ whole? ─▶ handler ─▶ one write
//	                           │ no: odd, too large, too slow
//	                           ▼
//	                  net/http, from the first byte of that request on, for good
//
// A request is usual if it is here as a whole, head and body, in one buffer, and
// says nothing in a way that could be read in two. So the loop never waits in the
// middle of a request, refuses nothing by itself and has no answers of its own:
// malformed requests, large ones, slow ones, HTTP/1.0, HTTP/2, TLS, upgrades,
// expectations, trailers and chunks are net/http's, with its limits and timeouts.
// HTTP/2 without TLS, which browsers do not speak, is for those alone who are let
// (InClear): with others net/http's half speaks HTTP/1 only.
// What is usual means the same in both: a fuzz test compares each request that
// is read here with what net/http reads, and the tests serve the same handlers by
// both and compare what clients see.
//
// What makes net/http's server cost twice as much is what it does for each request
// that next to none needs: a goroutine that reads ahead to notice that the client
// leaves, timers, a context with its channel, two writers. Here one clock a
// server looks at all connections four times a second: it ends those that are
// silent for too long, and the contexts of requests whose client has left.
package loop

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gatehouse-sso/gatehouse/gateway/socket"
)

// A Server is an http.Server whose Serve takes the usual requests itself. Of its
// fields MaxHeaderBytes, ReadHeaderTimeout and IdleTimeout hold for both, as do
// Shutdown and Close; handlers bound the rest by http.ResponseController.
// BaseContext and ConnContext are only asked by net/http's half; ConnState is told
// here when a connection begins and ends.
type Server struct {
	http.Server
	// InClear reports whether a connection may speak HTTP/2 without TLS, as callers of
	// gRPC do. nil: none may. It is asked where one wants to.
	InClear func(net.Conn) bool

	closing atomic.Bool
	tick    atomic.Int64 // of the clock

	mu      sync.Mutex
	conns   map[*conn]struct{}
	stops   []func() error // close listeners
	odd     *listener
	clear   *http.Server // speaks HTTP/2 without TLS, and nothing else
	inClear *listener    // where it gets its connections from
	ticking bool
	closed  bool
}

const (
	bufferSize = 8 << 10               // bytes of a usual request, with its body
	patience   = 20 * time.Millisecond // how long the rest of a request that has begun may take
	beat       = 250 * time.Millisecond
	newcomer   = 5 * time.Second // how long a shutdown waits for who has just come
)

// Serve serves what comes in at ln, as http.Server.Serve does.
func (s *Server) Serve(ln net.Listener) error {
	if !socket.Supported {
		return s.Server.Serve(ln)
	}
	stop := sync.OnceValue(ln.Close)
	defer func() { _ = stop() }()
	if !s.begin(stop) {
		return http.ErrServerClosed
	}
	for wait := time.Duration(0); ; {
		nc, err := ln.Accept()
		switch {
		case s.closing.Load():
			if err == nil {
				_ = nc.Close()
			}
			return http.ErrServerClosed
		case err == nil:
			wait = 0
			s.take(nc)
		default:
			//lint:ignore SA1019 as net/http has it: too many open files, mostly
			if t, ok := err.(net.Error); !ok || !t.Temporary() { //nolint:errorlint,staticcheck // see above
				return err
			}
			wait = min(max(2*wait, 5*time.Millisecond), time.Second)
			time.Sleep(wait)
		}
	}
}

// begin starts net/http's half, which goes on when Serve returns: what it is given
// comes from connections that were accepted before.
func (s *Server) begin(stop func() error) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing.Load() {
		return false
	}
	if s.conns == nil {
		s.conns = map[*conn]struct{}{}
		s.odd = newListener()
		go func() { _ = s.Server.Serve(s.odd) }() // ends with Shutdown or Close
		s.inClear = newListener()
		s.clear = &http.Server{
			Handler: s.Handler, HTTP2: s.HTTP2, Protocols: new(http.Protocols), ErrorLog: s.ErrorLog, ConnState: s.ConnState,
			MaxHeaderBytes: s.MaxHeaderBytes, ReadHeaderTimeout: s.ReadHeaderTimeout, IdleTimeout: s.IdleTimeout,
		}
		s.clear.Protocols.SetUnencryptedHTTP2(true)
		go func() { _ = s.clear.Serve(s.inClear) }() // as well
	}
	s.stops = append(s.stops, stop)
	return true
}

// take begins to serve a connection.
func (s *Server) take(nc net.Conn) {
	c := &conn{s: s, nc: socket.Of(nc)}
	if c.nc == nil { // nothing that can be looked at
		go s.odd.give(nc)
	} else if s.add(c) {
		go c.serve()
	} else {
		_ = nc.Close()
	}
}

// A listener is where net/http's half gets its connections from.
type listener struct {
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func newListener() *listener {
	return &listener{conns: make(chan net.Conn), done: make(chan struct{})}
}

// give gives a connection to net/http.
func (l *listener) give(nc net.Conn) {
	select {
	case l.conns <- nc:
	case <-l.done:
		_ = nc.Close()
	}
}

// Accept is for net/http.
func (l *listener) Accept() (net.Conn, error) {
	select {
	case nc := <-l.conns:
		return nc, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Close ends it.
func (l *listener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

// Addr is nowhere.
func (l *listener) Addr() net.Addr { return &net.UnixAddr{} }

// Shutdown lets what is under way end, as http.Server.Shutdown does: first here,
// since a request that is here may still turn out to be net/http's.
func (s *Server) Shutdown(ctx context.Context) error {
	err := s.end()
	s.SetKeepAlivesEnabled(false) // of net/http's half
	for poll := time.Millisecond; !s.quiet(); poll = min(2*poll, 100*time.Millisecond) {
		select {
		case <-ctx.Done():
			return errors.Join(err, s.shutdown(ctx))
		case <-time.After(poll):
		}
	}
	return errors.Join(err, s.shutdown(ctx))
}

// shutdown is net/http's half of Shutdown.
func (s *Server) shutdown(ctx context.Context) error {
	if s.clear == nil { // nothing was served here
		return s.Server.Shutdown(ctx)
	}
	both := make(chan error, 1)
	go func() { both <- s.clear.Shutdown(ctx) }()
	return errors.Join(s.Server.Shutdown(ctx), <-both)
}

// end lets nobody in any more.
func (s *Server) end() (err error) {
	s.closing.Store(true)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, stop := range s.stops {
		err = errors.Join(err, stop())
	}
	return err
}

// quiet ends connections that wait for a request, and reports whether there are
// none left.
func (s *Server) quiet() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		if !c.end(waiting) && s.age(c) > newcomer {
			c.end(fresh)
		}
	}
	return len(s.conns) == 0
}

// Close ends everything at once.
func (s *Server) Close() error {
	err := s.end()
	s.mu.Lock()
	s.closed = true
	for c := range s.conns {
		_ = c.nc.Close()
	}
	if s.clear != nil {
		err = errors.Join(err, s.clear.Close())
	}
	s.mu.Unlock()
	return errors.Join(err, s.Server.Close())
}

func (s *Server) add(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	c.since.Store(s.tick.Load())
	s.conns[c] = struct{}{}
	s.told(c.nc.Conn, http.StateNew)
	if !s.ticking {
		s.ticking = true
		go s.clock()
	}
	return true
}

func (s *Server) remove(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	s.told(c.nc.Conn, http.StateClosed) // or net/http's, and then a new one there
}

func (s *Server) told(nc net.Conn, st http.ConnState) {
	if s.ConnState != nil {
		s.ConnState(nc, st)
	}
}

// age is how long a connection has been in its state.
func (s *Server) age(c *conn) time.Duration {
	return time.Duration(s.tick.Load()-c.since.Load()) * beat
}

// clock looks at all connections, for as long as there are any.
func (s *Server) clock() {
	t := time.NewTicker(beat)
	defer t.Stop()
	for range t.C {
		if !s.look() {
			return
		}
	}
}

func (s *Server) look() (more bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tick.Add(1)
	for c := range s.conns {
		age := s.age(c)
		switch state(c.state.Load()) {
		case fresh:
			if d := s.ReadHeaderTimeout; d > 0 && age > d {
				c.end(fresh)
			}
		case waiting:
			if d := s.IdleTimeout; d > 0 && age > d {
				c.end(waiting)
			}
		case serving:
			if age > beat {
				c.check()
			}
		}
	}
	s.ticking = len(s.conns) > 0
	return s.ticking
}

// The states of a connection.
type state int32

const (
	fresh   state = iota // it has not said anything
	waiting              // for the next request
	serving
	ended
)

// A conn is one connection, served by one goroutine.
type conn struct {
	s     *Server
	nc    *socket.Conn
	state atomic.Int32
	since atomic.Int64 // when the state began, in ticks
	buf   []byte       // what was read; its first n bytes are of use
	n     int
	out   []byte // what is to be sent
	head  head

	// What the clock needs of the request that is being served.
	mu      sync.Mutex
	ctx     *requestContext
	writeBy time.Time // zero: whenever
	late    bool      // writeBy was in the past, and the connection knows
}

// become changes the state, unless the connection has been ended.
func (c *conn) become(from, to state) bool {
	c.since.Store(c.s.tick.Load())
	return c.state.CompareAndSwap(int32(from), int32(to))
}

// end ends a connection that is in this state; a request that has begun to come in
// is not lost.
func (c *conn) end(in state) bool {
	if !c.state.CompareAndSwap(int32(in), int32(ended)) {
		return false
	}
	_ = c.nc.Close()
	return true
}

// serve serves one request after the other.
func (c *conn) serve() {
	defer c.s.remove(c)
	given := false
	defer func() {
		if !given {
			_ = c.nc.Close() // also if a handler ended its goroutine
		}
	}()
	remote, at := c.nc.RemoteAddr().String(), fresh
	base := context.WithValue(context.WithValue(context.Background(), http.ServerContextKey, &c.s.Server), http.LocalAddrContextKey, c.nc.LocalAddr())
	c.buf = make([]byte, bufferSize)
	for {
		if c.n == 0 {
			n, err := c.nc.Read(c.buf)
			if c.n = n; n == 0 && err != nil {
				return
			}
		}
		for at == fresh && c.mayBeClear() {
			n, err := c.nc.Read(c.buf[c.n:])
			if c.n += n; n == 0 && err != nil {
				break
			}
		}
		if !c.become(at, serving) {
			return
		}
		x := &exchange{ctx: requestContext{Context: base}}
		if !c.request(x) {
			given = true
			c.giveAway()
			return
		}
		x.request.RemoteAddr = remote
		on := c.one(x)
		size := c.head.n + c.head.body
		c.n = copy(c.buf, c.buf[size:c.n])
		if at = waiting; !on || !c.become(serving, waiting) {
			return
		}
		if c.n == 0 && c.s.closing.Load() && c.end(waiting) {
			return
		}
	}
}

// An exchange is a request and what answers it, made as one.
type exchange struct {
	ctx      requestContext
	request  http.Request
	url      url.URL // of request
	response response
}

// request reads the next request, and reports whether it is a usual one.
func (c *conn) request(x *exchange) bool {
	what := c.head.read(c.buf[:c.n])
	if what == partial {
		what = c.rest()
	}
	if what != whole || c.s.MaxHeaderBytes > 0 && c.head.n > c.s.MaxHeaderBytes {
		return false
	}
	return c.head.request(x, c.buf[:c.n])
}

// rest waits a moment for the rest of a request.
func (c *conn) rest() (what verdict) {
	_ = c.nc.SetReadDeadline(time.Now().Add(patience)) // else it is net/http's to wait
	for what = partial; what == partial && c.n < len(c.buf); what = c.head.read(c.buf[:c.n]) {
		n, err := c.nc.Read(c.buf[c.n:])
		if c.n += n; n == 0 && err != nil {
			break
		}
	}
	_ = c.nc.SetReadDeadline(time.Time{})
	return what
}

// mayBeClear reports whether what has been read is the beginning of the preface and
// nothing else, from somebody who is let. Which server of net/http's half it is for
// only the rest tells; until then the connection has said nothing, to the clock as well.
func (c *conn) mayBeClear() bool {
	return c.n < len(preface) && strings.HasPrefix(preface, string(c.buf[:c.n])) && c.inClear()
}

func (c *conn) inClear() bool { return c.s.InClear != nil && c.s.InClear(c.nc.Conn) }

// giveAway leaves the connection to net/http, with what has been read of it.
func (c *conn) giveAway() {
	to := c.s.odd
	if bytes.HasPrefix(c.buf[:c.n], []byte(preface)) && c.inClear() {
		to = c.s.inClear
	}
	to.give(&given{c.nc.Conn, c.buf[:c.n]})
}

// preface is how HTTP/2 begins without TLS (RFC 9113, section 3.4): its first line.
const preface = "PRI * HTTP/2.0\r\n"

// one serves a request, and reports whether the connection goes on.
func (c *conn) one(x *exchange) (on bool) {
	c.out = outs.Get().(*[maxOut + 1024]byte)[:0]
	r, w := &x.request, &x.response
	*w = response{c: c, r: r, header: http.Header{}, length: -1}
	c.mu.Lock()
	c.ctx = &x.ctx
	c.mu.Unlock()
	var b *body
	if c.head.body > 0 {
		b = &body{left: c.buf[c.head.n : c.head.n+c.head.body]}
		r.Body = b
	}
	defer func() {
		if err := recover(); err != nil {
			on = false
			if w.frozen == nil {
				w.send()
			}
			if e, ok := err.(error); !ok || !errors.Is(e, http.ErrAbortHandler) {
				c.log(r.RemoteAddr, err)
			}
		}
		x.ctx.cancel()
		if b != nil {
			_ = b.Close()
		}
		c.forgive()
		if cap(c.out) == maxOut+1024 {
			outs.Put((*[maxOut + 1024]byte)(c.out[:maxOut+1024]))
		}
		c.out = nil
	}()
	c.s.Handler.ServeHTTP(w, r)
	return w.finish()
}

// outs are buffers for what is to be sent.
var outs = sync.Pool{New: func() any { return new([maxOut + 1024]byte) }}

func (c *conn) log(remote string, err any) {
	if l := c.s.ErrorLog; l != nil {
		l.Printf("http: panic serving %v: %v\n%s", remote, err, debug.Stack())
	}
}

// check is for the clock: whether the client has left, or takes nothing.
func (c *conn) check() {
	gone := c.nc.Left()
	c.mu.Lock()
	defer c.mu.Unlock()
	if gone && c.ctx != nil {
		c.ctx.cancel()
	}
	if !c.writeBy.IsZero() && !c.late && time.Now().After(c.writeBy) {
		c.late = true
		_ = c.nc.SetWriteDeadline(time.Unix(1, 0))
	}
}

// forgive ends what the clock and a deadline had to do with a request, so that
// neither reaches the next one, here or at net/http.
func (c *conn) forgive() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ctx, c.writeBy = nil, time.Time{}
	if c.late {
		c.late = false
		_ = c.nc.SetWriteDeadline(time.Time{}) // else the next write says what is wrong
	}
}

// setWriteDeadline leaves what is to come to the clock, and does at once what is
// to happen now.
func (c *conn) setWriteDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.writeBy = t
	switch past := !t.IsZero() && !t.After(time.Now()); {
	case past:
		c.late = true
		return c.nc.SetWriteDeadline(time.Unix(1, 0))
	case c.late:
		c.late = false
		return c.nc.SetWriteDeadline(time.Time{})
	}
	return nil
}

// A body is here already. It ends with its request, whoever still reads it then.
type body struct {
	mu     sync.Mutex
	left   []byte
	closed bool
}

func (b *body) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return 0, http.ErrBodyReadAfterClose
	}
	if len(b.left) == 0 {
		return 0, io.EOF
	}
	n := copy(p, b.left)
	b.left = b.left[n:]
	return n, nil
}

func (b *body) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed, b.left = true, nil
	return nil
}

// given is a connection that begins with what has been read of it.
type given struct {
	net.Conn
	read []byte
}

func (g *given) Read(p []byte) (int, error) {
	if g.read == nil {
		return g.Conn.Read(p)
	}
	n := copy(p, g.read)
	if g.read = g.read[n:]; len(g.read) == 0 {
		g.read = nil // it is a large buffer
	}
	return n, nil
}

// ReadFrom lets the kernel copy, as it would without us.
func (g *given) ReadFrom(src io.Reader) (int64, error) {
	if to, ok := g.Conn.(io.ReaderFrom); ok {
		return to.ReadFrom(src)
	}
	return io.Copy(struct{ io.Writer }{g.Conn}, src)
}

// CloseWrite lets the client read what was said before the end.
func (g *given) CloseWrite() error {
	if c, ok := g.Conn.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return nil
}
