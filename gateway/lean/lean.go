// Package lean forwards the usual HTTP/1.1 request to a service.
//
// What the standard transport does with two goroutines and a channel for each
// connection is done here on the goroutine of the request: take a connection
// from the pool, write the head (and a small body) at once, read the head of the
// response (with net/http's own parser, unless it is written in the usual way), copy
// the body, give the connection back.
//
//	         ┌──────────── pool, by address ◀───────────┐
//	Forward ─┤ idle, alive and silent        reusable   │
//	         └ dial ─▶ write ─▶ 1xx … head ─▶ body ─────┘
//
// It takes what [Fits]: no upgrade, no expectation, no trailers, no body but a
// small one of known length. Everything else is for httputil.ReverseProxy, whose
// behaviour is the measure of this package: the tests send the same exchanges
// through both and name each difference.
//
// A connection is used again only if both sides said so, the body ended where it
// was to end, and nothing came after it: bytes that nobody asked for are the
// answer to somebody else's question. A request is sent a second time only if it
// is safe to repeat, has no body, its connection had been idle, and not a byte of
// an answer came.
package lean

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/http/httpguts"
)

// MaxBody is the longest body of a request that Fits, in bytes.
const MaxBody = 64 << 10

// A Transport keeps connections to services. The zero Transport works. It must
// not be copied after first use.
type Transport struct {
	// Dial opens a connection; nil: a net.Dialer's.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	// HeadTimeout is how long a service may take to begin its answer; 0: for ever.
	// From a minute on, it may be given up to one more.
	HeadTimeout time.Duration
	// MaxHead bounds the head of a response in bytes; 0: 64 KiB.
	MaxHead int
	// IdleTimeout closes a connection that nobody used for so long; 0: 90 seconds.
	IdleTimeout time.Duration
	// MaxIdle bounds the idle connections to one address; 0: 1024.
	MaxIdle int

	mu    sync.RWMutex
	pools map[string]*pool
}

// Fits reports whether a request can be forwarded here.
func Fits(r *http.Request) bool {
	if r.ContentLength < 0 || r.ContentLength > MaxBody || r.Trailer != nil {
		return false
	}
	h := r.Header
	return h["Upgrade"] == nil && h["Expect"] == nil && h["Te"] == nil && h["Trailer"] == nil
}

// AppendHead appends the request line and the header fields of a request on its
// way to a service: those of h, less what concerns one connection only and what
// skip names. The empty line that ends the head is Forward's to write, so that
// the caller can append more fields. Names in h are canonical, as net/http's
// server makes them.
func AppendHead(dst []byte, method, target, host string, h http.Header, skip func(name string) bool) []byte {
	dst = append(dst, method...)
	dst = append(dst, ' ')
	dst = append(dst, target...)
	dst = append(dst, " HTTP/1.1\r\nHost: "...)
	dst = append(dst, host...)
	dst = append(dst, '\r', '\n')
	named := h["Connection"]
	for name, vals := range h {
		if hopByHop(name) || skip(name) || named != nil && tokenIn(named, name) {
			continue
		}
		for _, v := range vals {
			dst = AppendField(dst, name, v)
		}
	}
	return dst
}

// AppendField appends one header field. A value that would end its line early is
// left out: net/http lets none in, and none may get out.
func AppendField(dst []byte, name, value string) []byte {
	if !httpguts.ValidHeaderFieldValue(value) {
		return dst
	}
	dst = append(dst, name...)
	dst = append(dst, ':', ' ')
	dst = append(dst, value...)
	return append(dst, '\r', '\n')
}

// hopByHop: fields that concern one connection (RFC 9110, section 7.6.1), and
// those that frame a message, which Forward writes itself.
func hopByHop(name string) bool {
	switch name {
	case "Connection", "Proxy-Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization",
		"Te", "Trailer", "Transfer-Encoding", "Upgrade", "Content-Length", "Host":
		return true
	}
	return false
}

func tokenIn(lines []string, name string) bool {
	return slices.ContainsFunc(lines, func(line string) bool {
		for t := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.TrimSpace(t), name) {
				return true
			}
		}
		return false
	})
}

// Errors of a service that is not to be believed.
var (
	ErrHeadTooLarge = errors.New("the head of the response is too large")
	ErrSwitched     = errors.New("the service switched protocols unasked")
	ErrCut          = errors.New("the exchange was cut")
)

// Forward sends a request that Fits to addr (host and port) and copies the answer
// to w. head is what AppendHead made, and more fields. see sees the response
// before anything of it is copied, without its body and only until it returns, and
// may change its header or refuse it. The
// body of r is read before a connection is taken. The exchange ends with r's
// context, or when line, which may be nil, is cut. An error before w has begun
// comes back; after that, the exchange is aborted as net/http wants it, by a panic
// with http.ErrAbortHandler, so that nobody takes a part for the whole.
func (t *Transport) Forward(w http.ResponseWriter, r *http.Request, addr string, head []byte, line *Line, see func(*http.Response) error) error {
	if r.ContentLength > 0 {
		head = strconv.AppendInt(append(head, "Content-Length: "...), r.ContentLength, 10)
		head = append(head, "\r\n\r\n"...)
		n := len(head)
		head = slices.Grow(head, int(r.ContentLength))[:n+int(r.ContentLength)]
		if _, err := io.ReadFull(r.Body, head[n:]); err != nil {
			return fmt.Errorf("read the body: %w", err)
		}
	} else {
		if r.Method == http.MethodPost || r.Method == http.MethodPut || r.Method == http.MethodPatch {
			head = append(head, "Content-Length: 0\r\n"...)
		}
		head = append(head, '\r', '\n')
	}
	ctx, p := r.Context(), t.pool(addr)
	for {
		c, fresh, err := p.get(ctx)
		if err != nil {
			return err
		}
		again, err := c.exchange(ctx, w, r, head, line, see)
		if again && !fresh && repeatable(r) && ctx.Err() == nil && !line.isCut() {
			continue
		}
		return err
	}
}

// A Line is what one request has to its service; somebody else can cut it. The
// zero Line is whole.
type Line struct {
	mu  sync.Mutex
	c   *conn
	cut bool
}

// Cut ends what the line is used for, now and later.
func (l *Line) Cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut = true
	if l.c != nil {
		l.c.abort()
	}
}

func (l *Line) isCut() bool {
	if l == nil {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cut
}

func (l *Line) hold(c *conn) (whole bool) {
	if l == nil {
		return true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.c = c
	return !l.cut
}

func (l *Line) release() (whole bool) { return l.hold(nil) }

// repeatable: nothing happens twice if it is sent twice (RFC 9110, section 9.2.2).
func repeatable(r *http.Request) bool {
	if r.ContentLength != 0 {
		return false
	}
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
		return true
	}
	return r.Header["Idempotency-Key"] != nil || r.Header["X-Idempotency-Key"] != nil
}

// exchange is one request and its answer. again means that the service closed the
// connection without a byte of an answer.
func (c *conn) exchange(ctx context.Context, w http.ResponseWriter, r *http.Request, head []byte, line *Line, see func(*http.Response) error) (again bool, err error) {
	reusable := false
	c.patience(c.pool.t.HeadTimeout) // before anybody can abort, whose deadline it would move
	stop := afterFunc(ctx, c.onAbort)
	if !line.hold(c) {
		c.abort()
	}
	defer func() {
		if line.release() && stop() && reusable {
			c.pool.put(c)
		} else {
			c.close()
		}
	}()
	if _, err := c.nc.Write(head); err != nil {
		// It may have answered and closed before it read everything.
		if resp, early := c.head(r, w); early == nil && see(resp) == nil { //nolint:bodyclose // it ends with the connection
			return false, c.copy(w, r, resp)
		}
		return c.got == 0, fmt.Errorf("write to the service: %w", err)
	}
	resp, err := c.head(r, w) //nolint:bodyclose // it ends with the exchange, and the connection is kept or closed here
	if err != nil {
		return c.got == 0 && errors.Is(err, errClosed), err
	}
	if int64(c.br.Buffered()) < resp.ContentLength || resp.ContentLength < 0 || c.pool.t.HeadTimeout < slack {
		c.patience(0) // a body may take any time, and so may the next request
	}
	if err := ctx.Err(); err != nil || line.isCut() {
		return false, cmp.Or(err, ErrCut) // and abort's deadline may be gone
	}
	if err := see(resp); err != nil {
		return false, err
	}
	err = c.copy(w, r, resp)
	reusable = err == nil && !resp.Close && c.br.Buffered() == 0
	return false, err
}

// afterFunc is context.AfterFunc, without a context in between where ctx can do
// it by itself.
func afterFunc(ctx context.Context, f func()) (stop func() bool) {
	if a, ok := ctx.(interface{ AfterFunc(func()) func() bool }); ok {
		return a.AfterFunc(f)
	}
	return context.AfterFunc(ctx, f)
}

// errClosed: the service closed the connection before it answered.
var errClosed = errors.New("the service closed the connection without an answer")

// head reads the head of the response, and passes on what comes before it.
func (c *conn) head(r *http.Request, w http.ResponseWriter) (*http.Response, error) {
	c.got, c.left = 0, c.pool.t.maxHead()
	if _, err := c.br.Peek(1); err != nil {
		if c.got == 0 && (errors.Is(err, io.EOF) || reset(err)) {
			err = fmt.Errorf("%w: %w", errClosed, err)
		}
		return nil, err
	}
	for {
		if resp := c.usual(r); resp != nil {
			c.left = unlimited
			return resp, nil
		}
		resp, err := http.ReadResponse(c.br, r)
		if err != nil {
			return nil, fmt.Errorf("read the response: %w", err)
		}
		if resp.StatusCode == http.StatusSwitchingProtocols {
			return nil, ErrSwitched
		}
		if resp.StatusCode >= 200 {
			c.left = unlimited
			return resp, nil
		}
		h := w.Header()
		before := make(http.Header, len(h))
		for name, vals := range h {
			before[name] = vals
		}
		add(h, resp.Header)
		w.WriteHeader(resp.StatusCode)
		clear(h)
		for name, vals := range before {
			h[name] = vals
		}
		if err := r.Context().Err(); err != nil {
			return nil, err
		}
	}
}

// copy gives the response to the client.
func (c *conn) copy(w http.ResponseWriter, r *http.Request, resp *http.Response) error {
	named := resp.Header["Connection"]
	h := w.Header()
	for name := range resp.Header {
		if name != "Content-Length" && hopByHop(name) || named != nil && tokenIn(named, name) {
			delete(resp.Header, name)
		}
	}
	add(h, resp.Header)
	announced := len(resp.Trailer)
	if announced > 0 {
		h["Trailer"] = append(h["Trailer"], strings.Join(slices.Sorted(maps.Keys(resp.Trailer)), ", "))
	}
	w.WriteHeader(resp.StatusCode)
	var err error
	switch {
	case r.Method == http.MethodHead:
	case resp.ContentLength >= 0:
		err = c.copyKnown(w, resp.ContentLength)
	default:
		err = c.copyStream(w, resp.Body)
	}
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if len(resp.Trailer) == 0 {
		return nil
	}
	flush(w) // a body that fitted into the buffer would else get a length, and lose its trailers
	for name, vals := range resp.Trailer {
		if len(resp.Trailer) != announced {
			name = http.TrailerPrefix + name
		}
		h[name] = append(h[name], vals...)
	}
	return nil
}

func add(dst, src http.Header) {
	for name, vals := range src {
		if old := dst[name]; old != nil {
			vals = slices.Concat(old, vals)
		}
		dst[name] = vals
	}
}

// flush lets the client see what there is; what can not flush has nothing held back.
func flush(w http.ResponseWriter) { _ = http.NewResponseController(w).Flush() }

// copyStream copies a body that ends when it ends, and holds nothing back while
// the service is silent. The head goes at once, so that a stream stays one.
func (c *conn) copyStream(w http.ResponseWriter, body io.Reader) error {
	bp := buffers.Get().(*[]byte)
	defer buffers.Put(bp)
	for first := true; ; first = false {
		if first || c.br.Buffered() == 0 {
			flush(w)
		}
		n, err := body.Read(*bp)
		if n > 0 {
			if _, err := w.Write((*bp)[:n]); err != nil {
				return err
			}
		}
		if err != nil {
			if err == io.EOF {
				return nil
			}
			flush(w)
			return err
		}
	}
}

// spliceFrom is how many bytes must wait in the kernel to be worth a splice.
const spliceFrom = 16 << 10

// copyKnown copies a body of n bytes: what is buffered first, and the rest from
// socket to socket where both are such. It waits for the service with nothing in
// hand, so that a deadline of w counts the client's silence alone.
func (c *conn) copyKnown(w http.ResponseWriter, n int64) error {
	var bp *[]byte
	defer func() {
		if bp != nil {
			buffers.Put(bp)
		}
	}()
	to, _ := w.(io.ReaderFrom)
	for n > 0 {
		if b := c.br.Buffered(); b > 0 {
			have, err := c.br.Peek(int(min(int64(b), n)))
			if err != nil {
				return err
			}
			m, err := w.Write(have)
			_, _ = c.br.Discard(m) // it was just peeked at
			if n -= int64(m); err != nil {
				return err
			}
			continue
		}
		waiting := min(int64(c.waiting()), n)
		switch {
		case waiting >= spliceFrom && to != nil && c.tcp != nil:
			c.limited = io.LimitedReader{R: c.tcp, N: waiting}
			m, err := to.ReadFrom(&c.limited)
			if n -= m; err != nil {
				return err
			}
			if m == 0 {
				return io.ErrUnexpectedEOF
			}
		default:
			if waiting == 0 {
				flush(w)
			}
			if bp == nil {
				bp = buffers.Get().(*[]byte)
			}
			m, err := c.Read((*bp)[:min(int64(len(*bp)), n)])
			if m > 0 {
				if _, err := w.Write((*bp)[:m]); err != nil {
					return err
				}
				n -= int64(m)
			}
			if err != nil && n > 0 {
				if errors.Is(err, io.EOF) {
					err = io.ErrUnexpectedEOF
				}
				return err
			}
		}
	}
	return nil
}

// buffers for copying bodies.
var buffers = sync.Pool{New: func() any { b := make([]byte, 32<<10); return &b }}

// Heads are buffers for AppendHead.
var heads = sync.Pool{New: func() any { b := make([]byte, 0, 4<<10); return &b }}

// Head lends a buffer for a head; give it back with Done when Forward is over.
func Head() *[]byte { return heads.Get().(*[]byte) }

// Done takes a buffer back, unless it has grown out of the usual.
func Done(b *[]byte) {
	if cap(*b) <= 16<<10 {
		*b = (*b)[:0]
		heads.Put(b)
	}
}
