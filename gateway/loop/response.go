package loop

import (
	"fmt"
	"io"
	"net/http"
	"net/textproto"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/net/http/httpguts"
)

// A response is what a handler writes to. It says what net/http's server would
// have said, with less in between: the head and what fits beside it go out in one
// piece, and nothing is copied that need not be.
//
//	Write ─▶ small: until it is clear how long the body is ─▶ out ─▶ connection
//
// Where the handler says how long the body is, and of what type or that it has
// none, the head is made at once and small is skipped.
type response struct {
	c      *conn
	r      *http.Request
	header http.Header // the handler's

	status  int         // 0: none was said
	frozen  http.Header // what the head will be made of; nil: it is made
	length  int64       // of the body, as the handler said; -1: it did not
	written int64
	small   []byte // of the body, before there is a head
	chunked bool
	names   []string // of trailers, as announced
	close   bool     // the connection ends with this response
	err     error    // of the connection
}

const (
	maxSmall = 2048    // how much of a body is kept until its length is known, as in net/http
	maxOut   = 8 << 10 // how much is kept before it goes out
)

// Header is for the handler.
func (w *response) Header() http.Header { return w.header }

// WriteHeader begins the response, or says something before it.
func (w *response) WriteHeader(status int) {
	if w.status != 0 {
		return
	}
	if status < 100 || status > 999 {
		panic(fmt.Sprintf("invalid WriteHeader code %v", status)) // as net/http does
	}
	if status < 200 && status != http.StatusSwitchingProtocols {
		w.statusLine(status)
		w.fields(w.header, func(name string) bool { return name != "Content-Length" && name != "Transfer-Encoding" })
		w.text("\r\n")
		w.send()
		return
	}
	w.status = status
	var frozen http.Header
	_, typed := w.header["Content-Type"]
	if !typed || w.header["Content-Length"] == nil {
		frozen = w.header.Clone()
	}
	if said := first(w.header, "Content-Length"); said != "" {
		n, err := strconv.ParseInt(said, 10, 64)
		if err == nil && n >= 0 {
			w.length = n
		} else {
			frozen = w.header.Clone()
			w.header.Del("Content-Length")
		}
	}
	if frozen == nil {
		w.head(w.header, nil, false)
	}
	w.frozen = frozen
}

// first is the first value of a field whose name is canonical.
func first(h http.Header, name string) string {
	if v := h[name]; len(v) > 0 {
		return v[0]
	}
	return ""
}

func (w *response) bodyAllowed() bool {
	return w.status >= 200 && w.status != http.StatusNoContent && w.status != http.StatusNotModified
}

// Write writes to the body.
func (w *response) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if len(p) == 0 {
		return 0, nil
	}
	if !w.bodyAllowed() {
		return 0, http.ErrBodyNotAllowed
	}
	w.written += int64(len(p))
	if w.length >= 0 && w.written > w.length {
		return 0, http.ErrContentLength
	}
	if w.frozen != nil {
		if len(w.small)+len(p) <= maxSmall {
			w.small = append(w.small, p...)
			return len(p), nil
		}
		n := 0
		if len(w.small) > 0 {
			n = maxSmall - len(w.small)
			w.small = append(w.small, p[:n]...)
		}
		w.settle(p, false)
		w.body(p[n:])
	} else {
		w.body(p)
	}
	if w.err != nil {
		return 0, w.err
	}
	return len(p), nil
}

// settle makes the head of what there is by now; next is what is written after it.
func (w *response) settle(next []byte, done bool) {
	small := w.small
	if len(small) == 0 {
		small = next // only to be looked at
	}
	w.head(w.frozen, small, done)
	w.frozen = nil
	w.body(w.small)
	w.small = w.small[:0]
}

// body puts a piece of the body on its way.
func (w *response) body(p []byte) {
	if len(p) == 0 || w.r.Method == http.MethodHead {
		return
	}
	if w.chunked {
		w.c.out = strconv.AppendInt(w.c.out, int64(len(p)), 16)
		w.text("\r\n")
	}
	if len(w.c.out)+len(p) > maxOut {
		w.send()
	}
	if len(p) > maxOut {
		w.write(p)
	} else {
		w.c.out = append(w.c.out, p...)
	}
	if w.chunked {
		w.text("\r\n")
	}
}

func (w *response) text(s string) { w.c.out = append(w.c.out, s...) }

// send sends what there is.
func (w *response) send() {
	if len(w.c.out) > 0 {
		w.write(w.c.out)
		w.c.out = w.c.out[:0]
	}
}

func (w *response) write(p []byte) {
	if w.err != nil {
		return
	}
	_, w.err = w.c.nc.Write(p)
}

// Flush is for http.Flusher.
func (w *response) Flush() { _ = w.FlushError() }

// FlushError sends what there is, the head at least.
func (w *response) FlushError() error {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if w.frozen != nil {
		w.settle(nil, false)
	}
	w.send()
	return w.err
}

// ReadFrom copies a body, in the kernel where it can.
func (w *response) ReadFrom(src io.Reader) (int64, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	to, ok := w.c.nc.Conn.(io.ReaderFrom)
	if !ok || w.frozen != nil || w.chunked || !w.bodyAllowed() || w.r.Method == http.MethodHead {
		return io.Copy(struct{ io.Writer }{w}, src)
	}
	if w.send(); w.err != nil {
		return 0, w.err
	}
	if l, ok := src.(*io.LimitedReader); !ok || l.N > w.length-w.written {
		src = io.LimitReader(src, w.length-w.written)
	}
	n, err := to.ReadFrom(src)
	if w.written += n; err != nil {
		w.close = true
	}
	return n, err
}

// SetReadDeadline does nothing: a request is here as a whole before it is served.
func (w *response) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline bounds how long the client may take to take something.
func (w *response) SetWriteDeadline(t time.Time) error { return w.c.setWriteDeadline(t) }

// finish ends the response, and reports whether the connection goes on.
func (w *response) finish() bool {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if w.frozen != nil {
		w.settle(nil, true)
	}
	if w.chunked {
		w.text("0\r\n")
		w.trailers()
		w.text("\r\n")
	}
	w.send()
	short := w.length >= 0 && w.written != w.length && w.bodyAllowed() && w.r.Method != http.MethodHead
	return !w.close && !short && w.err == nil
}

// head writes the status line and the fields of h, and works out how the body
// goes. body is the beginning of it, or all of it if the handler is done.
func (w *response) head(h http.Header, body []byte, done bool) {
	isHead, allowed := w.r.Method == http.MethodHead, w.bodyAllowed()
	coding := first(h, "Transfer-Encoding")
	trailers := len(h["Trailer"]) > 0
	for name := range h {
		trailers = trailers || strings.HasPrefix(name, http.TrailerPrefix)
	}
	for _, line := range h["Trailer"] {
		for name := range strings.SplitSeq(line, ",") {
			if name = http.CanonicalHeaderKey(textproto.TrimString(name)); httpguts.ValidTrailerHeader(name) {
				w.names = append(w.names, name)
			}
		}
	}
	length := int64(-1) // that is to be said by us
	if _, said := h["Content-Length"]; done && !trailers && coding == "" && allowed && !said && (!isHead || len(body) > 0) {
		w.length = int64(len(body))
		length = w.length
	}
	said := first(h, "Connection")
	w.close = w.r.Close || said == "close" || w.c.s.closing.Load()
	measured := w.length >= 0 && (coding == "" || coding == "identity")
	switch {
	case isHead || !allowed || measured:
	case coding == "identity":
		w.close = true
	default:
		w.chunked = true
	}
	w.statusLine(w.status)
	w.fields(h, func(name string) bool {
		switch name {
		case "Content-Length":
			return allowed && !w.chunked && (coding == "" || coding == "identity")
		case "Content-Type":
			return w.status != http.StatusNotModified
		case "Transfer-Encoding":
			return false
		case "Connection":
			return !w.close || httpguts.HeaderValuesContainsToken(h["Connection"][:1], "close")
		}
		return !strings.HasPrefix(name, http.TrailerPrefix)
	})
	if _, typed := h["Content-Type"]; !typed && allowed && coding == "" && len(body) > 0 && first(h, "Content-Encoding") == "" {
		w.text("Content-Type: ")
		w.text(http.DetectContentType(body))
		w.text("\r\n")
	}
	if w.close && !httpguts.HeaderValuesContainsToken([]string{said}, "close") {
		w.text("Connection: close\r\n")
	}
	if length >= 0 {
		w.text("Content-Length: ")
		w.c.out = strconv.AppendInt(w.c.out, length, 10)
		w.text("\r\n")
	}
	if w.chunked {
		w.text("Transfer-Encoding: chunked\r\n")
	}
	if _, dated := h["Date"]; !dated {
		w.text(date())
	}
	w.text("\r\n")
}

func (w *response) statusLine(status int) {
	w.text("HTTP/1.1 ")
	w.c.out = strconv.AppendInt(w.c.out, int64(status), 10)
	if text := http.StatusText(status); text != "" {
		w.text(" ")
		w.text(text)
	} else {
		w.text(" status code ")
		w.c.out = strconv.AppendInt(w.c.out, int64(status), 10)
	}
	w.text("\r\n")
}

// fields writes those fields of h that are to be said. A name that is none is
// left out, a line end in a value becomes a space.
func (w *response) fields(h http.Header, say func(name string) bool) {
	for name, values := range h {
		if len(values) == 0 || !say(name) || !httpguts.ValidHeaderFieldName(name) {
			continue
		}
		for _, v := range values {
			w.text(name)
			w.text(": ")
			w.text(textproto.TrimString(oneLine.Replace(v)))
			w.text("\r\n")
		}
	}
}

var oneLine = strings.NewReplacer("\n", " ", "\r", " ")

func (w *response) trailers() {
	all := http.Header{}
	for name, values := range w.header {
		if name, ok := strings.CutPrefix(name, http.TrailerPrefix); ok {
			all[name] = values
		}
	}
	for _, name := range w.names {
		all[name] = append(all[name], w.header[name]...)
	}
	w.fields(all, func(string) bool { return true })
}

// A dated line is good for a second.
type dated struct {
	second int64
	line   string
}

var today atomic.Pointer[dated]

// date is the Date field of now, made once a second.
func date() string {
	now := time.Now()
	d := today.Load()
	if d == nil || d.second != now.Unix() {
		d = &dated{now.Unix(), "Date: " + now.UTC().Format(http.TimeFormat) + "\r\n"}
		today.Store(d)
	}
	return d.line
}
