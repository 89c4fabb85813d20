// Package server answers SCIM 2.0 over HTTP (RFC 7644) for resources that live
// in a scim.Store.
//
// It knows the protocol: addresses, methods, headers, paging, projection,
// errors. What a resource may look like is package scim's to say; who may ask,
// and where resources are, is handed in:
//
//	request ─▶ Authenticate ─▶ route ─▶ Dialect ─▶ call ─▶ Authorise ─▶ scim: New, Replace, Patch, Filter
//	                                                                        │
//	answer ◀── Project ◀── location ◀── Resource ◀── scim.Store ◀───────────┘
//
// A change is a function that the Store calls with what is there, in its own
// transaction, so two changes at the same time never undo each other, and a
// condition (If-Match) is tested on what is really replaced. A PATCH that only
// says who joins and who leaves goes to a scim.MemberStore without reading the
// others.
//
// A page is found by number or by cursor. A cursor is a position of the Store,
// sealed for the client, the query and the count that it was given for. A walk
// by number goes on where its page ended too, as long as it is remembered, so
// that nobody is left out because somebody before them was deleted.
//
// What ServiceProviderConfig says is what is true: what is not offered is
// answered with 501.
package server

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/gatehouse-sso/gatehouse/provisioning/scim"
)

// A Resource is an endpoint: a type and where its resources are.
type Resource struct {
	Type  *scim.ResourceType
	Store scim.Store
	// Quiet answers a PATCH with 204 unless the client asks for attributes.
	Quiet bool
	// Validate refuses a resource, as it would be kept, for what a schema can not say; an
	// *scim.Error is sent as it is. Of a group it may be given a resource without members, when
	// only these change. nil: what its schemas allow is allowed.
	Validate func(ctx context.Context, r *scim.Resource) error
	// Show makes another resource of one that is about to be written, to add or to hide
	// attributes of its schemas; it leaves r alone. nil: as it is.
	Show func(ctx context.Context, r *scim.Resource) *scim.Resource
}

// Config of a Server.
type Config struct {
	// Base is the absolute address that clients use, without a slash at its end:
	// https://sso.example/scim/v2. Locations are made from it, never from the
	// request, and its path is where the server expects to be asked.
	Base      string
	Resources []Resource
	// Authenticate says who asks, and returns the context for the Store. An
	// error is answered with 401, or with its own status if it is an *scim.Error.
	Authenticate func(*http.Request) (context.Context, error)
	// Basic says that Authenticate takes HTTP Basic too, beside bearer tokens.
	Basic bool
	// Who names the client of a context. Cursors, and pages that are remembered, are
	// good for that client alone. nil: all clients are one.
	Who func(context.Context) string
	// Authorise says whether the client of a context may do something; each operation
	// of a bulk is asked for by itself. Its error is sent. nil: whoever is let in may do all.
	Authorise func(context.Context, Access) error
	// Dialect says what the client of a context speaks; nil, or a nil Dialect: what the RFC says.
	Dialect func(context.Context) *Dialect
	// Me names the resource that the client of a context is, by the name of its type and its id,
	// for the address /Me. Its error is sent. nil: there is no such address.
	Me func(context.Context) (resourceType, id string, err error)
	// MaxOperations is how many operations a bulk may have; 0: 1000.
	MaxOperations int
	// Async is how many changes at a time may be carried out after they were answered, for
	// clients that prefer that (RFC 9967); 0: none. See Drain.
	Async int
	// Sign makes a JWT of the claims of a security event token; nil: it is not signed.
	Sign func(claims []byte) (string, error)
	// RequireIfMatch refuses a change without a condition with 428.
	RequireIfMatch bool
	MaxPage        int // of one page; 0: 200
	DefaultPage    int // where the client gives no count; 0: 100
	// Key seals cursors. Servers that answer for each other need the same; nil: a random
	// one, so that cursors end with the process.
	Key []byte
	// CursorTimeout is how long a cursor is good; 0: an hour.
	CursorTimeout time.Duration
	Now           func() time.Time // nil: time.Now
	// Log is told why an answer was 500; nil: slog.Default.
	Log *slog.Logger
}

// An Access is what a client is about to do.
type Access struct {
	Method string // "GET" also for HEAD and for a search by POST
	Type   *scim.ResourceType
	ID     string // empty: none in particular
}

// A Dialect makes legal SCIM of what one kind of client sends. Everything may be left out.
type Dialect struct {
	// Decode reads a message; nil: scim.Decode.
	Decode func(data []byte) (*scim.Object, error)
	// Message rewrites a message with a resource (POST, PUT) or a PATCH. It may change in and return it.
	Message func(t *scim.ResourceType, method string, in *scim.Object) (*scim.Object, error)
	// Filter rewrites the text of a filter.
	Filter func(t *scim.ResourceType, text string) (string, error)
	// Make and SkipReadOnly are what a scim.Patch of the client has.
	Make, SkipReadOnly bool
	// Keep lets a PUT keep what it leaves out.
	Keep bool
	// PatchStatus answers a PATCH with 200 and the resource, or with 204; 0: as the Resource says.
	PatchStatus int
}

// A Server is an http.Handler.
type Server struct {
	Config
	path  string // of Base
	seal  sealer
	walks walks
	later later
}

// New makes a Server.
func New(c Config) (*Server, error) {
	u, err := url.Parse(c.Base)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.RawQuery != "" || u.Fragment != "" || strings.HasSuffix(c.Base, "/"):
		return nil, fmt.Errorf("scim server: the base %q must be an absolute http or https address without a slash at its end", c.Base)
	case c.Authenticate == nil:
		return nil, errors.New("scim server: nothing says who may ask (Authenticate)")
	case len(c.Resources) == 0:
		return nil, errors.New("scim server: there are no resources")
	}
	if c.MaxPage == 0 {
		c.MaxPage = 200
	}
	if c.DefaultPage == 0 {
		c.DefaultPage = min(100, c.MaxPage)
	}
	if c.MaxOperations == 0 {
		c.MaxOperations = 1000
	}
	if c.CursorTimeout == 0 {
		c.CursorTimeout = time.Hour
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Who == nil {
		c.Who = func(context.Context) string { return "" }
	}
	if c.Authorise == nil {
		c.Authorise = func(context.Context, Access) error { return nil }
	}
	s := &Server{Config: c, path: u.EscapedPath()}
	if s.seal, err = newSealer(c.Key); err != nil {
		return nil, fmt.Errorf("scim server: %w", err)
	}
	return s, nil
}

// Bearer authenticates whoever sends one of the tokens. Without tokens it refuses everybody.
func Bearer(tokens ...string) func(*http.Request) (context.Context, error) {
	var sums [][32]byte
	for _, t := range tokens {
		if t != "" {
			sums = append(sums, sha256.Sum256([]byte(t)))
		}
	}
	return func(r *http.Request) (context.Context, error) {
		scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		got := sha256.Sum256([]byte(token))
		known := 0
		for _, s := range sums {
			known |= subtle.ConstantTimeCompare(s[:], got[:])
		}
		if known != 1 || !strings.EqualFold(scheme, "Bearer") || len(r.Header.Values("Authorization")) != 1 {
			return nil, errors.New("the request has no valid bearer token")
		}
		return r.Context(), nil
	}
}

func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ctx, err := s.Authenticate(r)
	if err != nil {
		if e := (*scim.Error)(nil); !errors.As(err, &e) {
			err = scim.Errorf(http.StatusUnauthorized, "", "%w", err)
		}
		s.fail(w, r, err)
		return
	}
	if ctx != r.Context() {
		r = r.WithContext(ctx)
	}
	rep, err := s.route(w, r)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	rep.send(w)
}

func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	e := scim.AsError(err)
	switch {
	case e.Status == http.StatusUnauthorized:
		w.Header().Set("WWW-Authenticate", `Bearer realm="scim"`)
		if s.Basic {
			w.Header().Add("WWW-Authenticate", `Basic realm="scim", charset="UTF-8"`)
		}
	case e.Status >= 500 && e.Status != http.StatusNotImplemented:
		s.Log.ErrorContext(r.Context(), "scim request failed", "method", r.Method, "path", r.URL.Path, "error", err)
	}
	reply{status: e.Status, body: e.Object().AppendJSON(nil)}.send(w)
}

// A reply is the answer to a call.
type reply struct {
	status        int
	tag, location string // empty: none
	kind          string // of the body; empty: scim.MediaType
	body          []byte // nil: none

	id         string         // of a resource that was created
	operations []*scim.Object // of a bulk: how each ended; nil: it was not carried out
}

// mediaType is one header for all answers, which nobody changes.
var mediaType = []string{scim.MediaType}

func (p reply) send(w http.ResponseWriter) {
	h := w.Header()
	if p.tag != "" {
		h.Set("ETag", p.tag)
	}
	if p.location != "" {
		h.Set("Location", p.location)
	}
	switch {
	case p.body == nil:
	case p.kind == "":
		h["Content-Type"] = mediaType
	default:
		h.Set("Content-Type", p.kind)
	}
	w.WriteHeader(p.status)
	_, _ = w.Write(p.body) // the client went away: there is nobody to tell
}
