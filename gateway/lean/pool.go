package lean

import (
	"bufio"
	"context"
	"errors"
	"io"
	"math"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"

	"github.com/gatehouse-sso/gatehouse/gateway/field"
	"github.com/gatehouse-sso/gatehouse/gateway/socket"
)

// pool are the idle connections to one address, the one used last on top.
type pool struct {
	t    *Transport
	addr string

	mu    sync.Mutex
	idle  []*conn
	sweep *time.Timer // runs while something is idle
}

// pool of an address. Addresses are those of a configuration, so few.
func (t *Transport) pool(addr string) *pool {
	t.mu.RLock()
	p := t.pools[addr]
	t.mu.RUnlock()
	if p != nil {
		return p
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if p = t.pools[addr]; p == nil {
		if t.pools == nil {
			t.pools = map[string]*pool{}
		}
		p = &pool{t: t, addr: addr}
		t.pools[addr] = p
	}
	return p
}

// CloseIdleConnections closes what nobody uses. Connections in use are closed or
// kept when they are given back, as ever.
func (t *Transport) CloseIdleConnections() {
	t.mu.RLock()
	defer t.mu.RUnlock()
	for _, p := range t.pools {
		p.drop(func(*conn) bool { return true })
	}
}

func (t *Transport) maxHead() int64 {
	if t.MaxHead > 0 {
		return int64(t.MaxHead)
	}
	return 64 << 10
}

func (t *Transport) idleTimeout() time.Duration {
	if t.IdleTimeout > 0 {
		return t.IdleTimeout
	}
	return 90 * time.Second
}

// get takes an idle connection that is alive and silent, or dials.
func (p *pool) get(ctx context.Context) (c *conn, fresh bool, err error) {
	for {
		p.mu.Lock()
		if n := len(p.idle); n > 0 {
			c, p.idle[n-1], p.idle = p.idle[n-1], nil, p.idle[:n-1]
		}
		p.mu.Unlock()
		if c == nil {
			break
		}
		if c.sock.Silent() {
			return c, false, nil
		}
		c.close()
		c = nil
	}
	dial := p.t.Dial
	if dial == nil {
		dial = (&net.Dialer{}).DialContext
	}
	nc, err := dial(ctx, "tcp", p.addr)
	if err != nil {
		return nil, true, err
	}
	c = &conn{nc: nc, pool: p, header: http.Header{}}
	c.onAbort = c.abort
	c.tcp, _ = nc.(*net.TCPConn)
	if c.sock = socket.Of(nc); c.sock != nil { // without it, a connection is not used twice
		c.nc = c.sock
	}
	c.br = bufio.NewReaderSize(c, 4<<10)
	return c, true, nil
}

func (p *pool) put(c *conn) {
	limit := p.t.MaxIdle
	if limit == 0 {
		limit = 1024
	}
	c.since, c.resp = time.Now(), http.Response{}
	clear(c.header)
	p.mu.Lock()
	defer p.mu.Unlock()
	if c.sock == nil || len(p.idle) >= limit {
		c.close()
		return
	}
	p.idle = append(p.idle, c)
	if p.sweep == nil {
		p.sweep = time.AfterFunc(p.t.idleTimeout(), p.expire)
	}
}

// expire closes what was idle for too long, or was closed by the service.
func (p *pool) expire() {
	limit := p.t.idleTimeout()
	p.drop(func(c *conn) bool { return time.Since(c.since) >= limit || !c.sock.Silent() })
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.idle) == 0 {
		p.sweep = nil
	} else {
		p.sweep.Reset(limit / 3)
	}
}

func (p *pool) drop(match func(*conn) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	keep := p.idle[:0]
	for _, c := range p.idle {
		if match(c) {
			c.close()
		} else {
			keep = append(keep, c)
		}
	}
	clear(p.idle[len(keep):])
	p.idle = keep
}

// conn is one connection to a service, used by one request at a time.
type conn struct {
	nc    net.Conn
	tcp   *net.TCPConn  // nil: something else
	sock  *socket.Conn  // nil: it can not be looked at
	br    *bufio.Reader // reads conn
	pool  *pool
	since time.Time // when it became idle
	got   int64     // bytes read since the request was sent
	left  int64     // bytes that a head may still have
	until time.Time // when reading ends; zero: never

	// What is used again and again, to save its allocation.
	onAbort func()        // abort
	fields  []field.Field // of the head that is read
	resp    http.Response // with header
	header  http.Header
	limited io.LimitedReader // for splices
}

const unlimited = math.MaxInt64

// Read reads from the service, within the bound of a head.
func (c *conn) Read(p []byte) (int, error) {
	if c.left <= 0 {
		return 0, ErrHeadTooLarge
	}
	if int64(len(p)) > c.left {
		p = p[:c.left]
	}
	n, err := c.nc.Read(p)
	c.got += int64(n)
	if c.left != unlimited {
		c.left -= int64(n)
	}
	return n, err
}

// slack is how much longer a head may take than it should: then a deadline need not
// be moved for every request of a busy connection.
const slack = time.Minute

// patience bounds reading from here on; 0: it may take for ever.
func (c *conn) patience(d time.Duration) {
	switch now := time.Now(); {
	case d == 0 && c.until.IsZero():
		return
	case d == 0:
		c.until = time.Time{}
	case c.until.After(now.Add(d)):
		return
	case d < slack:
		c.until = now.Add(d)
	default:
		c.until = now.Add(d + slack)
	}
	_ = c.nc.SetReadDeadline(c.until) // else the next read says what is wrong
}

// waiting is how many bytes can be read at once, as far as that can be known.
func (c *conn) waiting() int {
	if c.sock == nil {
		return 0
	}
	return c.sock.Waiting()
}

// abort ends whatever the connection is waiting for.
func (c *conn) abort() { _ = c.nc.SetDeadline(time.Unix(1, 0)) }

func (c *conn) close() { _ = c.nc.Close() }

// reset: the other side does not know this connection any more.
func reset(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}
