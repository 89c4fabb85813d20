package server

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/gatehouse-sso/gatehouse/provisioning/scim"
)

var errRoute = scim.Errorf(http.StatusNotFound, "", "there is nothing at this address")

// route finds what is asked for. Names of endpoints are taken in any case and
// with a slash at the end, since clients send both.
func (s *Server) route(w http.ResponseWriter, r *http.Request) (reply, error) {
	rest, ok := strings.CutPrefix(r.URL.EscapedPath(), s.path+"/")
	if !ok {
		return reply{}, errRoute
	}
	seg := strings.Split(strings.TrimSuffix(rest, "/"), "/")
	for i := range seg {
		var err error
		if seg[i], err = url.PathUnescape(seg[i]); err != nil {
			return reply{}, errRoute
		}
	}
	if len(seg) > 2 || slices.Contains(seg[1:], "") || len(seg) > 1 && seg[0] == "" {
		return reply{}, errRoute
	}
	if strings.EqualFold(seg[0], ".search") || len(seg) == 2 && seg[1] == ".search" {
		return s.search(w, r, seg)
	}
	if seg[0] == "" {
		return s.root(w, r)
	}
	for i := range s.Resources {
		res := &s.Resources[i]
		switch {
		case !strings.EqualFold(seg[0], strings.TrimPrefix(res.Type.Endpoint, "/")):
		case len(seg) == 1:
			return s.many(w, r, res)
		default:
			return s.single(w, r, res, seg[1])
		}
	}
	switch name := strings.ToLower(seg[0]); {
	case name == "events" && len(seg) == 2 && s.Async > 0:
		return s.event(w, r, seg[1])
	case name == "resourcetypes":
		return discovery(w, r, func() ([]byte, error) { return oneOrAll(s.resourceTypes(), seg[1:]) })
	case name == "schemas":
		return discovery(w, r, func() ([]byte, error) { return oneOrAll(s.schemas(), seg[1:]) })
	case len(seg) == 2:
		return reply{}, errRoute
	case name == "me":
		return s.me(w, r)
	case name == "bulk":
		return s.bulks(w, r)
	case name == "serviceproviderconfig", name == "serviceproviderconfigs", name == "serviceconfiguration":
		return discovery(w, r, func() ([]byte, error) { return s.config(), nil })
	}
	return reply{}, errRoute
}

// root answers a query over all types (RFC 7644 section 3.4.2.1).
func (s *Server) root(w http.ResponseWriter, r *http.Request) (reply, error) {
	if err := allow(w, r, http.MethodGet); err != nil {
		return reply{}, err
	}
	par, err := parameters(r)
	if err != nil {
		return reply{}, err
	}
	if par["filter"] == "" { // who asks for nothing in particular is lost
		return reply{}, errRoute
	}
	return s.list(r.Context(), s.all(), par)
}

func (s *Server) all() []*Resource {
	var all []*Resource
	for i := range s.Resources {
		all = append(all, &s.Resources[i])
	}
	return all
}

// search answers a query by POST (RFC 7644 section 3.4.3).
func (s *Server) search(w http.ResponseWriter, r *http.Request, seg []string) (reply, error) {
	in := s.all()
	if len(seg) == 2 {
		in = slices.DeleteFunc(in, func(res *Resource) bool { return !strings.EqualFold("/"+seg[0], res.Type.Endpoint) })
	}
	if len(in) == 0 {
		return reply{}, errRoute
	}
	if err := allow(w, r, http.MethodPost); err != nil {
		return reply{}, err
	}
	o, err := s.body(r)
	if err != nil {
		return reply{}, err
	}
	par, err := searchParams(o)
	if err != nil {
		return reply{}, err
	}
	return s.list(r.Context(), in, par)
}

// searchParams reads the message that stands for the query of an address.
func searchParams(o *scim.Object) (params, error) {
	if !slices.ContainsFunc(o.List("schemas"), func(v any) bool { t, _ := v.(string); return strings.EqualFold(t, scim.SearchURN) }) {
		return nil, scim.Errorf(http.StatusBadRequest, scim.InvalidSyntax, "the attribute schemas must list %s", scim.SearchURN)
	}
	par := params{}
	for name, v := range o.All() {
		name = strings.ToLower(name)
		switch v := v.(type) {
		case nil:
		case string:
			par[name] = v
		case json.Number:
			par[name] = string(v)
		case []any:
			var list []string
			for _, x := range v {
				text, ok := x.(string)
				if !ok {
					return nil, scim.Errorf(http.StatusBadRequest, scim.InvalidSyntax, "%.80q must be an array of strings", name)
				}
				list = append(list, text)
			}
			par[name] = strings.Join(list, ",")
		default:
			return nil, scim.Errorf(http.StatusBadRequest, scim.InvalidSyntax, "%.80q is neither text, a number nor an array", name)
		}
	}
	return par, nil
}

// many answers at the address of all resources of a type.
func (s *Server) many(w http.ResponseWriter, r *http.Request, res *Resource) (reply, error) {
	if err := allow(w, r, http.MethodGet, http.MethodPost); err != nil {
		return reply{}, err
	}
	par, err := parameters(r)
	if err != nil {
		return reply{}, err
	}
	if r.Method != http.MethodPost {
		return s.list(r.Context(), []*Resource{res}, par)
	}
	c := call{method: http.MethodPost, res: res, par: par}
	if c.in, err = s.body(r); err != nil {
		return reply{}, err
	}
	return s.change(w, r, c)
}

// single answers at the address of one resource.
func (s *Server) single(w http.ResponseWriter, r *http.Request, res *Resource, id string) (reply, error) {
	if err := allow(w, r, http.MethodGet, http.MethodPut, http.MethodPatch, http.MethodDelete); err != nil {
		return reply{}, err
	}
	par, err := parameters(r)
	if err != nil {
		return reply{}, err
	}
	c := call{method: r.Method, res: res, id: id, par: par}
	c.match = strings.Join(r.Header.Values("If-Match"), ",")
	c.noneMatch = strings.Join(r.Header.Values("If-None-Match"), ",")
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		c.method = http.MethodGet
		return s.do(r.Context(), c)
	case http.MethodPut, http.MethodPatch:
		if c.in, err = s.body(r); err != nil {
			return reply{}, err
		}
	}
	return s.change(w, r, c)
}

func (s *Server) change(w http.ResponseWriter, r *http.Request, c call) (reply, error) {
	uri := c.res.Type.Endpoint
	if c.id != "" {
		uri += "/" + url.PathEscape(c.id)
	}
	return s.async(w, r, work{c.method, uri, false, func(ctx context.Context) (reply, error) { return s.do(ctx, c) }})
}

// me answers at the address of whoever asks (RFC 7644 section 3.11).
func (s *Server) me(w http.ResponseWriter, r *http.Request) (reply, error) {
	if s.Me == nil {
		return reply{}, unsupported("/Me")
	}
	name, id, err := s.Me(r.Context())
	if err != nil {
		return reply{}, err
	}
	for _, res := range s.all() {
		if res.Type.Name == name {
			rep, err := s.single(w, r, res, id)
			if err == nil && rep.location == "" && r.Method != http.MethodDelete {
				rep.location = s.location(res.Type, id)
			}
			return rep, err
		}
	}
	return reply{}, scim.NotFound(id)
}

func (s *Server) bulks(w http.ResponseWriter, r *http.Request) (reply, error) {
	if err := allow(w, r, http.MethodPost); err != nil {
		return reply{}, err
	}
	in, err := s.body(r)
	if err != nil {
		return reply{}, err
	}
	b, err := s.readBulk(in)
	if err != nil {
		return reply{}, err
	}
	return s.async(w, r, work{http.MethodPost, "/Bulk", true, func(ctx context.Context) (reply, error) { return b.run(ctx), nil }})
}

func unsupported(what string) error {
	return scim.Errorf(http.StatusNotImplemented, "", "this server does not offer %s", what)
}

func allow(w http.ResponseWriter, r *http.Request, methods ...string) error {
	if slices.Contains(methods, r.Method) || r.Method == http.MethodHead && slices.Contains(methods, http.MethodGet) {
		return nil
	}
	w.Header().Set("Allow", strings.Join(methods, ", "))
	return scim.Errorf(http.StatusMethodNotAllowed, "", "this address takes %s", strings.Join(methods, ", "))
}

// body reads and decodes the message of a request.
func (s *Server) body(r *http.Request) (*scim.Object, error) {
	if ct := r.Header.Get("Content-Type"); ct != "" && ct != scim.MediaType {
		kind, par, err := mime.ParseMediaType(ct)
		charset := par["charset"]
		if err != nil || kind != scim.MediaType && kind != "application/json" || charset != "" && !strings.EqualFold(charset, "utf-8") {
			return nil, scim.Errorf(http.StatusUnsupportedMediaType, "", "send %s in UTF-8", scim.MediaType)
		}
	}
	data, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, scim.MaxBody))
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		return nil, scim.Errorf(http.StatusRequestEntityTooLarge, "", "the message is larger than %d bytes", scim.MaxBody)
	}
	if err != nil {
		return nil, scim.Errorf(http.StatusBadRequest, scim.InvalidSyntax, "the message could not be read to its end")
	}
	if d := s.dialect(r.Context()); d.Decode != nil {
		return d.Decode(data)
	}
	return scim.Decode(data)
}

// params are the query's parameters by lower-case name.
type params map[string]string

func parameters(r *http.Request) (params, error) {
	if r.URL.RawQuery == "" {
		return nil, nil
	}
	par := params{}
	for text := range strings.SplitSeq(r.URL.RawQuery, "&") {
		if text == "" {
			continue
		}
		name, value, _ := strings.Cut(text, "=")
		name, err1 := url.QueryUnescape(name)
		value, err2 := url.QueryUnescape(value)
		if err1 != nil || err2 != nil || strings.Contains(text, ";") {
			return nil, scim.Errorf(http.StatusBadRequest, scim.InvalidSyntax, "the query of the address can not be read")
		}
		name = strings.ToLower(name)
		if _, twice := par[name]; twice {
			return nil, scim.Errorf(http.StatusBadRequest, scim.InvalidSyntax, "a parameter of the query is given twice")
		}
		par[name] = value
	}
	return par, nil
}

func (p params) projection(rt *scim.ResourceType) scim.Projection {
	return rt.Projection(p["attributes"], p["excludedattributes"])
}

// int reads a whole number, if the parameter is given. One that is too large for an int is the largest.
func (p params) int(name string, to *int) error {
	text, ok := p[name]
	if !ok {
		return nil
	}
	n, err := strconv.Atoi(text)
	if err != nil && !errors.Is(err, strconv.ErrRange) {
		return scim.Errorf(http.StatusBadRequest, scim.InvalidValue, "%s must be a whole number", name)
	}
	*to = n
	return nil
}
