// Package server answers SCIM 2.0 over HTTP (RFC 7644) for resources that live
// in a scim.Store.
//
// It knows the protocol: addresses, methods, headers, paging, projection,
// errors. What a resource may look like is package scim's to say; who may ask,
// and where resources are, is handed in:
//
//	request ─▶ Authenticate ─▶ route ─▶ Decode ─▶ scim: New, Replace, Patch, Filter
//	                                                   │
//	answer ◀── Project ◀── location ◀── Resource ◀── scim.Store
//
// A change is a function that the Store calls with what is there, in its own
// transaction, so two changes at the same time never undo each other, and a
// condition (If-Match) is tested on what is really replaced.
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
	"slices"
	"strings"

	"github.com/gatehouse-sso/gatehouse/provisioning/scim"
)

// A Resource is an endpoint: a type and where its resources are.
type Resource struct {
	Type  *scim.ResourceType
	Store scim.Store
	// Quiet answers a PATCH with 204 unless the client asks for attributes.
	Quiet bool
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
	// RequireIfMatch refuses a change without a condition with 428.
	RequireIfMatch bool
	MaxPage        int // of one page; 0: 200
	DefaultPage    int // where the client gives no count; 0: 100
	// Log is told why an answer was 500; nil: slog.Default.
	Log *slog.Logger
}

// A Server is an http.Handler.
type Server struct {
	Config
	path string // of Base
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
	if c.Log == nil {
		c.Log = slog.Default()
	}
	return &Server{c, u.EscapedPath()}, nil
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
	if err == nil {
		r = r.WithContext(ctx)
		err = s.route(w, r)
	} else if e := (*scim.Error)(nil); !errors.As(err, &e) {
		err = scim.Errorf(http.StatusUnauthorized, "", "%w", err)
	}
	if err == nil {
		return
	}
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
	send(w, e.Status, e.Object().AppendJSON(nil))
}

func send(w http.ResponseWriter, status int, body []byte) {
	w.Header().Set("Content-Type", scim.MediaType)
	w.WriteHeader(status)
	_, _ = w.Write(body) // the client went away: there is nobody to tell
}

var errRoute = scim.Errorf(http.StatusNotFound, "", "there is nothing at this address")

// route finds what is asked for. Names of endpoints are taken in any case and
// with a slash at the end, since clients send both.
func (s *Server) route(w http.ResponseWriter, r *http.Request) error {
	rest, ok := strings.CutPrefix(r.URL.EscapedPath(), s.path+"/")
	if !ok {
		return errRoute
	}
	seg := strings.Split(strings.TrimSuffix(rest, "/"), "/")
	for i := range seg {
		var err error
		if seg[i], err = url.PathUnescape(seg[i]); err != nil {
			return errRoute
		}
	}
	if len(seg) > 2 || slices.Contains(seg, "") {
		return errRoute
	}
	for _, res := range s.Resources {
		if !strings.EqualFold("/"+seg[0], res.Type.Endpoint) {
			continue
		}
		if len(seg) == 2 {
			if seg[1] == ".search" {
				return unsupported("searching with POST")
			}
			return s.one(w, r, res, seg[1])
		}
		return s.all(w, r, res)
	}
	switch name := strings.ToLower(seg[0]); {
	case len(seg) == 1 && (name == "bulk" || name == "me" || name == ".search"):
		return unsupported(seg[0])
	case len(seg) == 1 && (name == "serviceproviderconfig" || name == "serviceproviderconfigs" || name == "serviceconfiguration"):
		return s.discovery(w, r, func() ([]byte, error) { return s.config(), nil })
	case name == "resourcetypes":
		return s.discovery(w, r, func() ([]byte, error) { return oneOrAll(s.resourceTypes(), seg[1:]) })
	case name == "schemas":
		return s.discovery(w, r, func() ([]byte, error) { return oneOrAll(s.schemas(), seg[1:]) })
	}
	return errRoute
}

func unsupported(what string) error {
	return scim.Errorf(http.StatusNotImplemented, "", "this server does not offer %s", what)
}

func method(w http.ResponseWriter, r *http.Request, allowed ...string) error {
	if slices.Contains(allowed, r.Method) || r.Method == http.MethodHead && slices.Contains(allowed, http.MethodGet) {
		return nil
	}
	w.Header().Set("Allow", strings.Join(allowed, ", "))
	return scim.Errorf(http.StatusMethodNotAllowed, "", "this address takes %s", strings.Join(allowed, ", "))
}
