package gateway

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"time"
)

// stall is how long a client may take to send, or to take, the next bytes of a
// body. Streams may be silent for as long as they like: only a write that finds
// no room, or a body that does not go on, counts.
const stall = time.Minute

// A reply is a response on its way to the client. It knows whether it has
// begun, which is when it is too late for another.
type reply struct {
	http.ResponseWriter
	one     bool // HTTP/1: deadlines are those of the connection, and silence costs one
	begun   atomic.Bool
	taken   atomic.Pointer[socket] // by another protocol
	stream  *stream                // nil: not to a service
	interim int                    // responses before the response
	status  int                    // of the response; 0: none was said
	size    int64                  // of its body, in bytes
	writing time.Time              // when the client was last given time to take something
}

// maxInterim is how many responses a service may send before its response.
const maxInterim = 16

var errFlood = errors.New("the service sent no end of interim responses")

// Unwrap is for http.ResponseController.
func (w *reply) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *reply) WriteHeader(status int) {
	if status < 200 && status != http.StatusSwitchingProtocols {
		if w.interim++; w.interim > maxInterim {
			w.stream.end(errFlood)
			return
		}
		scrub(w.Header()) // early hints come past everything that looks at a response
	} else {
		w.begin()
		if w.status == 0 {
			w.status = status
		}
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *reply) Write(p []byte) (int, error) {
	w.begin()
	n, err := w.ResponseWriter.Write(p)
	w.size += int64(n)
	return n, err
}

// ReadFrom is for what the kernel can copy by itself.
func (w *reply) ReadFrom(src io.Reader) (int64, error) {
	w.begin()
	if to, ok := w.ResponseWriter.(io.ReaderFrom); ok {
		n, err := to.ReadFrom(src)
		w.size += n
		return n, err
	}
	n, err := io.Copy(struct{ io.Writer }{w.ResponseWriter}, src)
	w.size += n
	return n, err
}

func (w *reply) begin() {
	if !w.begun.Load() {
		if w.one && w.stream.why() != nil {
			// A deadline ended the server's look at the connection, and with it the
			// context of every request that would come by it.
			w.Header().Set("Connection", "close")
		}
		w.begun.Store(true)
	}
	if !w.one {
		return
	}
	if now := time.Now(); now.Sub(w.writing) > stall/60 {
		w.writing = now
		_ = http.NewResponseController(w.ResponseWriter).SetWriteDeadline(now.Add(stall)) // not every writer has one
	}
}

// Hijack is for protocols that take the connection over.
func (w *reply) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	w.begun.Store(true)
	c, rw, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err != nil {
		return c, rw, err
	}
	s := &socket{Conn: c}
	w.taken.Store(s)
	return s, rw, nil
}

// goodbye says why, where the protocol has a way to say it.
func (w *reply) goodbye(code string) {
	if s := w.taken.Load(); s != nil {
		s.goodbye(code)
	}
}

// cut ends what is under way whatever the client does: one that neither sends
// nor takes would otherwise keep it.
func (w *reply) cut() {
	if c := w.taken.Load(); c != nil {
		_ = c.Close()
		return
	}
	c := http.NewResponseController(w.ResponseWriter)
	_ = c.SetReadDeadline(time.Unix(1, 0))
	if w.begun.Load() {
		_ = c.SetWriteDeadline(time.Unix(1, 0))
	}
}

// abandon leaves a body that nobody will read: neither the answer nor the next
// request on this connection waits for it.
func (w *reply) abandon(r *http.Request) {
	if !w.one || r.ContentLength == 0 {
		return
	}
	w.Header().Set("Connection", "close")
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(lastWords))
}

// lastWords is how long a client may go on with a body after its answer.
const lastWords = time.Second

// errStalled: the client stopped in the middle of a body.
var errStalled = errors.New("the client sent nothing more of its body")

// patient is a body that may take any time, but not stand still, and ends with
// its request's context.
type patient struct {
	io.ReadCloser
	c   *http.ResponseController
	ctx context.Context
	one bool // HTTP/1; the silence of one HTTP/2 stream costs no connection
}

func (b patient) Read(p []byte) (int, error) {
	if b.one {
		_ = b.c.SetReadDeadline(time.Now().Add(stall))
	}
	if err := b.ctx.Err(); err != nil {
		return 0, err // and that deadline came after the one that was to cut this
	}
	n, err := b.ReadCloser.Read(p)
	if err != nil && b.one && b.ctx.Err() == nil {
		// The server goes on reading, to notice when the client leaves; that
		// may take as long as the answer does.
		_ = b.c.SetReadDeadline(time.Time{})
		if errors.Is(err, os.ErrDeadlineExceeded) {
			err = fmt.Errorf("%w for %s", errStalled, stall)
		}
	}
	return n, err
}
