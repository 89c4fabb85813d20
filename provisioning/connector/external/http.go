package external

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptrace"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/gatehouse-sso/gatehouse/provisioning/connector"
	"github.com/gatehouse-sso/gatehouse/provisioning/connector/post"
)

// HTTP posts every call to one address. An answer has status 200; any other
// counts as what it usually means, unless its content is an answer with an error.
type HTTP struct {
	client *post.Client
	auth   func(*http.Request)
	shown  atomic.Pointer[[]string] // the credentials of the last call, as they went out
}

// NewHTTP makes a Carrier to an address. c does the calls and bounds their time;
// nil: the default transport. auth adds credentials to a request; nil: none.
func NewHTTP(address string, c *http.Client, auth func(*http.Request)) (*HTTP, error) {
	p, err := post.New(address, c)
	if err != nil {
		return nil, fmt.Errorf("external connector: %w", err)
	}
	return &HTTP{client: p, auth: auth}, nil
}

// plain are the headers of a call in which no credential goes out.
var plain = []string{"Host", "User-Agent", "Content-Length", "Content-Type", "Accept", "Accept-Encoding", "Transfer-Encoding"}

// Secrets are our credentials, as no answer may tell them.
func (h *HTTP) Secrets() []string {
	if p := h.shown.Load(); p != nil {
		return *p
	}
	return nil
}

// noting notes what goes out with a call that may be a credential: also what a
// transport adds, which is why the wire is listened to.
func (h *HTTP) noting(ctx context.Context) context.Context {
	var out []string
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		WroteHeaderField: func(name string, values []string) {
			if slices.Contains(plain, http.CanonicalHeaderKey(name)) || strings.HasPrefix(name, ":") {
				return
			}
			for _, v := range values {
				_, word, _ := strings.Cut(v, " ")
				out = append(out, v, word)
				if pair, err := base64.StdEncoding.DecodeString(word); err == nil { // Basic
					_, password, _ := strings.Cut(string(pair), ":")
					out = append(out, password)
				}
			}
		},
		WroteHeaders: func() {
			shown := out
			out = nil
			h.shown.Store(&shown)
		},
	})
}

// Carry posts the call.
func (h *HTTP) Carry(ctx context.Context, call []byte) ([]byte, error) {
	ctx = h.noting(ctx)
	r, err := h.client.Post(ctx, call, func(req *http.Request) {
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Accept", "application/json")
		if h.auth != nil {
			h.auth(req)
		}
	})
	switch {
	case err != nil:
		return nil, err
	case r.Status/100 != 2:
		return refused(r)
	case r.Cut != nil:
		return nil, &connector.Error{Ambiguous: true, Text: "the answer breaks off", Err: r.Cut}
	case len(r.Body) > MaxAnswer:
		return nil, &connector.Error{Class: connector.Route, Ambiguous: true, Text: tooLarge}
	case r.HTML:
		return nil, &connector.Error{Class: connector.Route, Ambiguous: true, Text: "the answer is a web page"}
	}
	return r.Body, nil
}

// refused reads an answer whose status says no.
func refused(r post.Reply) ([]byte, error) {
	if a, ok := read(r.Body); ok && a.Error != nil {
		return r.Body, nil
	}
	e := &connector.Error{Class: connector.Invalid, After: r.After, Throttled: r.Status == http.StatusTooManyRequests, Text: strconv.Itoa(r.Status) + " " + http.StatusText(r.Status)}
	switch s := r.Status; {
	case s == http.StatusTooManyRequests, s == http.StatusTooEarly:
		e.Class = connector.Transient
	case s >= 500, s == http.StatusRequestTimeout:
		e.Class, e.Ambiguous = connector.Transient, true
	case s == http.StatusUnauthorized, s == http.StatusForbidden:
		e.Class = connector.Auth
	case s < 400, s == http.StatusNotFound, s == http.StatusGone, s == http.StatusMethodNotAllowed, r.HTML:
		e.Class = connector.Route // an account that is not there is said in an answer
	case s == http.StatusConflict, s == http.StatusPreconditionFailed:
		e.Class = connector.Conflict
	}
	return nil, e
}
