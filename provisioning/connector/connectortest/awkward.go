package connectortest

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
)

// Awkward stands in front of a target's handler and misbehaves on request. The
// zero Awkward with a Handler only passes on and takes notes.
type Awkward struct {
	Handler http.Handler
	// Change reports whether a request is to change something. nil: if its method
	// is not GET.
	Change func(Seen) bool

	mu    sync.Mutex
	plans []plan
	seen  []Seen
}

// A Trick answers in place of the target, or spoils its answer.
type Trick func(w http.ResponseWriter, r *http.Request, target http.Handler)

type plan struct {
	left   int
	which  func(*http.Request) bool
	writes bool // only those that are to change something
	trick  Trick
}

// Seen is a request that came, whatever became of it.
type Seen struct {
	Method, URI string
	Header      http.Header
	Body        string
}

// Next plays a trick on the next n requests; on -1 it never ends.
func (a *Awkward) Next(n int, t Trick) { a.plan(plan{left: n, trick: t}) }

// Writes plays a trick on the next n requests that are to change something.
func (a *Awkward) Writes(n int, t Trick) { a.plan(plan{left: n, writes: true, trick: t}) }

// When plays a trick on the next n requests that which chooses.
func (a *Awkward) When(n int, which func(*http.Request) bool, t Trick) {
	a.plan(plan{left: n, which: which, trick: t})
}

func (a *Awkward) plan(p plan) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.plans = append(a.plans, p)
}

func (a *Awkward) changes(s Seen) bool {
	if a.Change != nil {
		return a.Change(s)
	}
	return s.Method != http.MethodGet
}

// Behave forgets all tricks and notes.
func (a *Awkward) Behave() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.plans, a.seen = nil, nil
}

// Seen lists the requests that came since Behave.
func (a *Awkward) Seen() []Seen {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]Seen(nil), a.seen...)
}

// Changes lists those of them that were to change something.
func (a *Awkward) Changes() []Seen {
	var out []Seen
	for _, s := range a.Seen() {
		if a.changes(s) {
			out = append(out, s)
		}
	}
	return out
}

func (a *Awkward) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(io.LimitReader(r.Body, 2<<20))
	r.Body = io.NopCloser(strings.NewReader(string(body)))
	if t := a.note(r, string(body)); t != nil {
		t(w, r, a.Handler)
		return
	}
	a.Handler.ServeHTTP(w, r)
}

func (a *Awkward) note(r *http.Request, body string) Trick {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := Seen{r.Method, r.RequestURI, r.Header.Clone(), body}
	a.seen = append(a.seen, s)
	for i := range a.plans {
		if p := &a.plans[i]; p.left != 0 && (p.which == nil || p.which(r)) && (!p.writes || a.changes(s)) {
			p.left--
			return p.trick
		}
	}
	return nil
}

// Fail answers with a status and nothing else; retryAfter is the header, if not empty.
func Fail(status int, retryAfter string) Trick {
	return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		if retryAfter != "" {
			w.Header().Set("Retry-After", retryAfter)
		}
		w.WriteHeader(status)
	}
}

// Say answers with a status and a body of a type.
func Say(status int, contentType, body string) Trick {
	return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		w.Header().Set("Content-Type", contentType)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// HTML answers with a page, as what stands in front of a target does.
func HTML(status int) Trick {
	return Say(status, "text/html; charset=utf-8", "<!doctype html><title>"+strconv.Itoa(status)+"</title><p>Something else answers here.")
}

// Hang never answers. It ends when the client goes away.
func Hang() Trick {
	return func(_ http.ResponseWriter, r *http.Request, _ http.Handler) { <-r.Context().Done() }
}

// DropReply lets the target do its work and cuts the connection instead of answering.
func DropReply() Trick {
	return func(_ http.ResponseWriter, r *http.Request, target http.Handler) {
		target.ServeHTTP(httptest.NewRecorder(), r)
		panic(http.ErrAbortHandler)
	}
}

// Cut lets the target do its work and breaks off in the middle of its answer.
func Cut() Trick {
	return func(w http.ResponseWriter, r *http.Request, target http.Handler) {
		rec := httptest.NewRecorder()
		target.ServeHTTP(rec, r)
		w.Header().Set("Content-Type", rec.Header().Get("Content-Type"))
		w.Header().Set("Content-Length", strconv.Itoa(rec.Body.Len()+1))
		w.WriteHeader(rec.Code)
		_, _ = w.Write(rec.Body.Bytes()[:rec.Body.Len()/2])
		panic(http.ErrAbortHandler)
	}
}

// Huge lets the target do its work and answers with its status, its type and n bytes of JSON.
func Huge(n int) Trick {
	return func(w http.ResponseWriter, r *http.Request, target http.Handler) {
		rec := httptest.NewRecorder()
		target.ServeHTTP(rec, r)
		w.Header().Set("Content-Type", rec.Header().Get("Content-Type"))
		w.WriteHeader(rec.Code)
		_, _ = io.WriteString(w, `{"id":"`)
		chunk := strings.Repeat("a", 64<<10)
		for ; n > 0; n -= len(chunk) {
			if _, err := io.WriteString(w, chunk); err != nil {
				return
			}
		}
		_, _ = io.WriteString(w, `"}`)
	}
}

// Redirect sends the client to another address.
func Redirect(status int, to string) Trick {
	return func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
		w.Header().Set("Location", to)
		w.WriteHeader(status)
	}
}

// Rewrite lets the target do its work and changes the text of its answer.
func Rewrite(old, with string) Trick {
	return func(w http.ResponseWriter, r *http.Request, target http.Handler) {
		rec := httptest.NewRecorder()
		target.ServeHTTP(rec, r)
		for k, v := range rec.Header() {
			w.Header()[k] = v
		}
		w.WriteHeader(rec.Code)
		_, _ = fmt.Fprint(w, strings.ReplaceAll(rec.Body.String(), old, with))
	}
}
