package gateway

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
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
	one   bool // HTTP/1: deadlines are those of the connection, and silence costs one
	begun bool
}

// Unwrap is for http.ResponseController.
func (w *reply) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *reply) WriteHeader(status int) {
	if status < 200 && status != http.StatusSwitchingProtocols {
		scrub(w.Header()) // early hints come past everything that looks at a response
	} else {
		w.begin()
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *reply) Write(p []byte) (int, error) {
	w.begin()
	return w.ResponseWriter.Write(p)
}

func (w *reply) begin() {
	w.begun = true
	if w.one {
		_ = http.NewResponseController(w.ResponseWriter).SetWriteDeadline(time.Now().Add(stall)) // not every writer has one
	}
}

// Hijack is for protocols that take the connection over.
func (w *reply) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	w.begun = true
	return http.NewResponseController(w.ResponseWriter).Hijack()
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

// patient is a body that may take any time, but not stand still.
type patient struct {
	io.ReadCloser
	c *http.ResponseController
}

func (b patient) Read(p []byte) (int, error) {
	_ = b.c.SetReadDeadline(time.Now().Add(stall))
	n, err := b.ReadCloser.Read(p)
	if err != nil {
		// The server goes on reading, to notice when the client leaves; that
		// may take as long as the answer does.
		_ = b.c.SetReadDeadline(time.Time{})
		if errors.Is(err, os.ErrDeadlineExceeded) {
			err = fmt.Errorf("%w for %s", errStalled, stall)
		}
	}
	return n, err
}
