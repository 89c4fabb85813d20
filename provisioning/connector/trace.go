package connector

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"
)

// A Call is one request to a target and its answer, as it may be kept and shown:
// names are there, values are not.
type Call struct {
	Method string        `json:"method"`
	Path   string        `json:"path"` // without identifiers and query values
	Status int           `json:"status,omitempty"`
	Sent   string        `json:"sent,omitempty"` // names in the request
	Got    string        `json:"got,omitempty"`  // names in the answer
	Took   time.Duration `json:"took"`
}

// A Trace collects the calls that are made under its context.
type Trace struct {
	mu    sync.Mutex
	calls []Call
}

// Bounds of a Trace.
const (
	maxCalls  = 8
	maxNames  = 512      // bytes of Sent and Got
	readAhead = 64 << 10 // bytes of a body that are looked at
)

type traceKey struct{}

type lookedKey struct{}

// JustLooked says to a Sync without an ID that Find found nothing a moment ago, so
// that it need not look again before it creates.
func JustLooked(ctx context.Context) context.Context {
	return context.WithValue(ctx, lookedKey{}, true)
}

// Looked reports that the caller has JustLooked.
func Looked(ctx context.Context) bool { return ctx.Value(lookedKey{}) != nil }

type unsentKey struct{}

// NeverSent says to a Find that no target was ever told the external ID, so that
// no account can have it.
func NeverSent(ctx context.Context) context.Context {
	return context.WithValue(ctx, unsentKey{}, true)
}

// Sent reports that an account may have the external ID: the caller does not know
// better.
func Sent(ctx context.Context) bool { return ctx.Value(unsentKey{}) == nil }

// WithTrace makes calls under the context that it returns be collected in t.
func WithTrace(ctx context.Context, t *Trace) context.Context {
	return context.WithValue(ctx, traceKey{}, t)
}

// Calls are those that were made, the first of them if there are many.
func (t *Trace) Calls() []Call {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append([]Call(nil), t.calls...)
}

// Add is for connectors that are not asked over HTTP.
func Add(ctx context.Context, c Call) {
	if t, ok := ctx.Value(traceKey{}).(*Trace); ok {
		t.add(c)
	}
}

func (t *Trace) add(c Call) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.calls) < maxCalls {
		t.calls = append(t.calls, c)
	}
}

// Traced is a transport whose requests are collected by the Trace of their
// context, if it has one.
func Traced(rt http.RoundTripper) http.RoundTripper { return traced{rt} }

type traced struct{ rt http.RoundTripper }

func (t traced) RoundTrip(r *http.Request) (*http.Response, error) {
	tr, ok := r.Context().Value(traceKey{}).(*Trace)
	if !ok {
		return t.rt.RoundTrip(r)
	}
	c := Call{Method: r.Method, Path: pathNames(r)}
	if r.GetBody != nil {
		if b, err := r.GetBody(); err == nil {
			c.Sent = Names(head(b))
			_ = b.Close() // it is only read
		}
	}
	began := time.Now()
	resp, err := t.rt.RoundTrip(r)
	c.Took = time.Since(began)
	if err != nil {
		tr.add(c)
		return resp, err
	}
	c.Status = resp.StatusCode
	resp.Body = &heard{ReadCloser: resp.Body, done: func(b []byte) { c.Got = shape(b, false); tr.add(c) }}
	return resp, nil
}

// heard keeps the beginning of what is read from a body, for when it is closed.
type heard struct {
	io.ReadCloser
	kept []byte
	done func([]byte)
}

func (h *heard) Read(p []byte) (int, error) {
	n, err := h.ReadCloser.Read(p)
	h.kept = append(h.kept, p[:min(n, readAhead-len(h.kept))]...)
	return n, err
}

func (h *heard) Close() error {
	if h.done != nil {
		h.done(h.kept)
		h.done = nil
	}
	return h.ReadCloser.Close()
}

func head(r io.Reader) []byte {
	b, _ := io.ReadAll(io.LimitReader(r, readAhead)) // what can be read of it
	return b
}

// pathNames is the path without what may identify somebody: a segment that is no
// plain word is left out, and of the query only the names stay.
func pathNames(r *http.Request) string {
	segs := strings.Split(r.URL.EscapedPath(), "/")
	for i, s := range segs {
		if !word(s) {
			segs[i] = "…"
		}
	}
	path := strings.Join(segs, "/")
	sep := "?"
	for _, part := range strings.Split(r.URL.RawQuery, "&") {
		if name, _, _ := strings.Cut(part, "="); word(name) && name != "" {
			path += sep + name
			sep = "&"
		}
	}
	return cut(path)
}

// word: letters, or a version such as v2.
func word(s string) bool {
	if len(s) > 32 {
		return false
	}
	digits := 0
	for _, r := range s {
		switch {
		case r >= '0' && r <= '9':
			digits++
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r == '.', r == '-', r == '_':
		default:
			return false
		}
	}
	return digits <= 1
}

// Names is what a JSON document looks like without its values, cut to a few
// hundred bytes: its members' names in order, in the operations of a SCIM patch
// also what they do and where. Of anything else it is empty.
func Names(doc []byte) string { return shape(doc, true) }

// shape is Names of what is ours. What is not ours may repeat, under any name or
// as one, whom it was asked about and who asked: of it only plain names are kept.
func shape(doc []byte, ours bool) string {
	doc = bytes.TrimSpace(doc)
	if len(doc) == 0 || doc[0] != '{' && doc[0] != '[' {
		return ""
	}
	out := make([]byte, 0, 128)
	last := "" // the name before what comes
	for i := 0; i < len(doc) && len(out) < maxNames; i++ {
		switch c := doc[i]; c {
		case '{', '[':
			last = ""
			if n := len(out); n > 0 && (out[n-1] == '}' || out[n-1] == ']') {
				out = append(out, ' ')
			}
			out = append(out, c)
		case '}', ']':
			out = append(out, c)
		case '"':
			end := stringEnd(doc, i)
			if end < 0 {
				return cut(string(out))
			}
			text := doc[i+1 : end]
			i = end
			rest := bytes.TrimLeft(doc[end+1:], " \t\r\n")
			switch {
			case len(rest) > 0 && rest[0] == ':':
				if n := len(out); n > 0 && out[n-1] != '{' {
					out = append(out, ' ')
				}
				last = string(text)
				if !ours && !plainName(last) {
					last = "…"
				}
				out = append(out, last...)
			case ours && (last == "op" || last == "path"):
				var plain string
				if json.Unmarshal(doc[end-len(text)-1:end+1], &plain) == nil {
					out = append(append(out, '='), unquoted(plain)...)
				}
				last = ""
			}
		}
	}
	return cut(string(out))
}

// plainName: as attributes and URNs of schemas are called, and not as people are.
func plainName(s string) bool {
	return len(s) <= 100 && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune(":._-$", r)
	})
}

// stringEnd is where the string that begins at a quotation mark ends; -1: nowhere.
func stringEnd(doc []byte, at int) int {
	for i := at + 1; i < len(doc); i++ {
		switch doc[i] {
		case '\\':
			i++
		case '"':
			return i
		}
	}
	return -1
}

// unquoted is a SCIM path without the values that its filter compares with.
func unquoted(path string) string {
	parts := strings.Split(path, `"`)
	for i := 1; i < len(parts); i += 2 {
		parts[i] = "…"
	}
	return strings.Join(parts, `"`)
}

func cut(s string) string {
	if len(s) > maxNames {
		return strings.ToValidUTF8(s[:maxNames], "") + "…"
	}
	return s
}
