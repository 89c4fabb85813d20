package server

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/gatehouse-sso/gatehouse/provisioning/scim"
)

// all answers at the address of all resources of a type.
func (s *Server) all(w http.ResponseWriter, r *http.Request, res Resource) error {
	if err := method(w, r, http.MethodGet, http.MethodPost); err != nil {
		return err
	}
	par, err := parameters(r)
	if err != nil {
		return err
	}
	if r.Method == http.MethodPost {
		in, err := body(r)
		if err != nil {
			return err
		}
		made, err := res.Type.New(in)
		if err != nil {
			return err
		}
		forget(res.Type, made)
		if made, err = res.Store.Create(r.Context(), made); err != nil {
			return err
		}
		w.Header().Set("Location", s.location(res.Type, made.ID()))
		return s.answer(w, http.StatusCreated, res.Type, made, par)
	}
	return s.list(w, r, res, par)
}

func (s *Server) list(w http.ResponseWriter, r *http.Request, res Resource, par params) error {
	for _, p := range []string{"sortby", "sortorder", "cursor"} {
		if par[p] != "" {
			return unsupported(p)
		}
	}
	q := scim.Query{Start: 1, Count: s.DefaultPage}
	var err error
	if text, ok := par["filter"]; ok {
		if q.Filter, err = res.Type.Filter(text); err != nil {
			return err
		}
		for _, p := range scim.Paths(q.Filter) {
			if p.String() == "meta.location" { // a Store does not know it
				return scim.Errorf(http.StatusBadRequest, scim.InvalidFilter, "resources are not found by meta.location: ask for the location, or filter by id")
			}
		}
	}
	if err := par.int("startindex", &q.Start); err != nil {
		return err
	}
	if err := par.int("count", &q.Count); err != nil {
		return err
	}
	q.Start, q.Count = max(q.Start, 1), min(max(q.Count, 0), s.MaxPage)
	proj := par.projection(res.Type)
	q.Wants = proj.Wants
	page, err := res.Store.List(r.Context(), q)
	if err != nil {
		return err
	}
	items := make([][]byte, 0, len(page.Resources))
	for _, one := range page.Resources {
		items = append(items, s.encode(res.Type, one, proj))
	}
	send(w, http.StatusOK, listResponse(page.Total, q.Start, items))
	return nil
}

// listResponse writes a list message; its Resources are never null.
func listResponse(total, start int, items [][]byte) []byte {
	b := []byte(`{"schemas":["` + scim.ListURN + `"],"totalResults":`)
	b = strconv.AppendInt(b, int64(total), 10)
	b = strconv.AppendInt(append(b, `,"startIndex":`...), int64(start), 10)
	b = strconv.AppendInt(append(b, `,"itemsPerPage":`...), int64(len(items)), 10)
	b = append(b, `,"Resources":[`...)
	for i, it := range items {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, it...)
	}
	return append(b, "]}"...)
}

// one answers at the address of one resource.
func (s *Server) one(w http.ResponseWriter, r *http.Request, res Resource, id string) error {
	if err := method(w, r, http.MethodGet, http.MethodPut, http.MethodPatch, http.MethodDelete); err != nil {
		return err
	}
	par, err := parameters(r)
	if err != nil {
		return err
	}
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		got, err := res.Store.Get(r.Context(), id)
		if err != nil {
			return err
		}
		if match := r.Header.Get("If-None-Match"); match != "" && tagIn(match, got.Version()) {
			w.Header().Set("ETag", got.Version())
			w.WriteHeader(http.StatusNotModified)
			return nil
		}
		return s.answer(w, http.StatusOK, res.Type, got, par)
	}

	match := strings.Join(r.Header.Values("If-Match"), ",")
	if match == "" && s.RequireIfMatch {
		return scim.Errorf(http.StatusPreconditionRequired, "", "say with If-Match which version is meant")
	}
	check := func(cur *scim.Resource) error {
		if match != "" && !tagIn(match, cur.Version()) {
			return scim.Errorf(http.StatusPreconditionFailed, scim.InvalidVers, "the resource is at version %s", cur.Version())
		}
		return nil
	}
	if r.Method == http.MethodDelete {
		if err := res.Store.Delete(r.Context(), id, check); err != nil {
			return err
		}
		w.WriteHeader(http.StatusNoContent)
		return nil
	}

	in, err := body(r)
	if err != nil {
		return err
	}
	edit := func(cur *scim.Resource) (*scim.Resource, error) { return res.Type.Replace(cur, in) }
	if r.Method == http.MethodPatch {
		p, err := scim.ParsePatch(in)
		if err != nil {
			return err
		}
		edit = func(cur *scim.Resource) (*scim.Resource, error) { return res.Type.Patch(cur, p) }
	}
	next, err := res.Store.Change(r.Context(), id, func(cur *scim.Resource) (*scim.Resource, error) {
		if err := check(cur); err != nil {
			return nil, err
		}
		next, err := edit(cur)
		if err == nil {
			forget(res.Type, next)
		}
		return next, err
	})
	if err != nil {
		return err
	}
	if r.Method == http.MethodPatch && res.Quiet && !par.projection(res.Type).Given() {
		w.Header().Set("ETag", next.Version())
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	return s.answer(w, http.StatusOK, res.Type, next, par)
}

// forget drops what is never returned, such as a password. This server does not
// keep passwords, and its configuration says so.
func forget(rt *scim.ResourceType, r *scim.Resource) {
	for _, a := range rt.Schema.Attributes {
		if a.Returned == scim.Never {
			r.Delete(a.Name)
		}
	}
}

func (s *Server) location(rt *scim.ResourceType, id string) string {
	return s.Base + rt.Endpoint + "/" + url.PathEscape(id)
}

func (s *Server) answer(w http.ResponseWriter, status int, rt *scim.ResourceType, r *scim.Resource, par params) error {
	w.Header().Set("ETag", r.Version())
	send(w, status, s.encode(rt, r, par.projection(rt)))
	return nil
}

// encode writes a resource with what the server adds to its meta.
func (s *Server) encode(rt *scim.ResourceType, r *scim.Resource, p scim.Projection) []byte {
	meta := scim.NewObject()
	if stamped := r.Sub("meta"); stamped != nil {
		meta = stamped.Clone()
	}
	meta.Set("location", s.location(rt, r.ID()))
	whole := &scim.Resource{}
	for name, v := range r.All() {
		whole.Set(name, v)
	}
	whole.Set("meta", meta)
	return rt.Project(whole, p).AppendJSON(nil)
}

// tagIn reports whether a list of entity tags has one, weak or not.
func tagIn(list, tag string) bool {
	for _, t := range strings.Split(list, ",") {
		t = strings.TrimSpace(t)
		if t == "*" || strings.TrimPrefix(t, "W/") == strings.TrimPrefix(tag, "W/") {
			return true
		}
	}
	return false
}

// body reads and decodes the message of a request.
func body(r *http.Request) (*scim.Object, error) {
	if ct := r.Header.Get("Content-Type"); ct != "" {
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
	return scim.Decode(data)
}

// params are the query's parameters by lower-case name.
type params map[string]string

func parameters(r *http.Request) (params, error) {
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, scim.Errorf(http.StatusBadRequest, scim.InvalidSyntax, "the query of the address can not be read")
	}
	par := params{}
	for name, vals := range q {
		name = strings.ToLower(name)
		if _, twice := par[name]; twice || len(vals) > 1 {
			return nil, scim.Errorf(http.StatusBadRequest, scim.InvalidSyntax, "a parameter of the query is given twice")
		}
		par[name] = vals[0]
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
