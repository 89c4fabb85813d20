package server

import (
	"context"
	"net/http"
	"net/url"
	"strings"

	"github.com/gatehouse-sso/gatehouse/provisioning/scim"
)

// A call is what a client asks for, by a request of its own or in a bulk.
type call struct {
	method           string // GET, POST, PUT, PATCH or DELETE
	res              *Resource
	id               string // empty with POST
	par              params
	match, noneMatch string
	in               *scim.Object // with POST, PUT and PATCH
}

var rfc Dialect

func (s *Server) dialect(ctx context.Context) *Dialect {
	if s.Dialect != nil {
		if d := s.Config.Dialect(ctx); d != nil {
			return d
		}
	}
	return &rfc
}

// do carries out a call.
func (s *Server) do(ctx context.Context, c call) (reply, error) {
	if err := s.Authorise(ctx, Access{c.method, c.res.Type, c.id}); err != nil {
		return reply{}, err
	}
	if c.method == http.MethodGet {
		return s.get(ctx, c)
	}
	if c.id != "" && c.match == "" && s.RequireIfMatch {
		return reply{}, scim.Errorf(http.StatusPreconditionRequired, "", "say with If-Match which version is meant")
	}
	if c.method == http.MethodDelete {
		if err := c.res.Store.Delete(ctx, c.id, c.check); err != nil {
			return reply{}, err
		}
		return reply{status: http.StatusNoContent}, nil
	}
	d := s.dialect(ctx)
	if d.Message != nil {
		var err error
		if c.in, err = d.Message(c.res.Type, c.method, c.in); err != nil {
			return reply{}, err
		}
	}
	switch c.method {
	case http.MethodPost:
		return s.create(ctx, c)
	case http.MethodPut:
		return s.replace(ctx, c, d)
	}
	return s.patch(ctx, c, d)
}

func (s *Server) get(ctx context.Context, c call) (reply, error) {
	got, err := c.res.Store.Get(ctx, c.id)
	if err != nil {
		return reply{}, err
	}
	if c.noneMatch != "" && tagIn(c.noneMatch, got.Version()) {
		return reply{status: http.StatusNotModified, tag: got.Version()}, nil
	}
	return s.answer(ctx, http.StatusOK, c, got), nil
}

func (s *Server) create(ctx context.Context, c call) (reply, error) {
	made, err := c.res.Type.New(c.in)
	if err != nil {
		return reply{}, err
	}
	forget(c.res.Type, made)
	if err := c.res.validate(ctx, made); err != nil {
		return reply{}, err
	}
	if made, err = c.res.Store.Create(ctx, made); err != nil {
		return reply{}, err
	}
	rep := s.answer(ctx, http.StatusCreated, c, made)
	rep.id, rep.location = made.ID(), s.location(c.res.Type, made.ID())
	return rep, nil
}

func (s *Server) replace(ctx context.Context, c call, d *Dialect) (reply, error) {
	next, err := c.res.Store.Change(ctx, c.id, c.edit(ctx, func(cur *scim.Resource) (*scim.Resource, error) {
		if d.Keep {
			return c.res.Type.ReplaceGiven(cur, c.in)
		}
		return c.res.Type.Replace(cur, c.in)
	}))
	if err != nil {
		return reply{}, err
	}
	return s.answer(ctx, http.StatusOK, c, next), nil
}

func (s *Server) patch(ctx context.Context, c call, d *Dialect) (reply, error) {
	p, err := scim.ParsePatch(c.in)
	if err != nil {
		return reply{}, err
	}
	p.Make, p.SkipReadOnly = d.Make, d.SkipReadOnly
	rt := c.res.Type
	proj := c.par.projection(rt)
	quiet := (d.PatchStatus == http.StatusNoContent || d.PatchStatus == 0 && c.res.Quiet) && !proj.Given()

	var next *scim.Resource
	if ms, m, rest, ok := c.members(p); ok {
		next, err = ms.ChangeMembers(ctx, c.id, c.edit(ctx, func(cur *scim.Resource) (*scim.Resource, error) {
			if len(rest.Operations) == 0 {
				return cur, nil
			}
			return rt.Patch(cur, rest)
		}), m)
		if err == nil && !quiet && proj.Wants("members") {
			next, err = ms.Get(ctx, c.id)
		}
	} else {
		next, err = c.res.Store.Change(ctx, c.id, c.edit(ctx, func(cur *scim.Resource) (*scim.Resource, error) { return rt.Patch(cur, p) }))
	}
	switch {
	case err != nil:
		return reply{}, err
	case quiet:
		return reply{status: http.StatusNoContent, tag: next.Version()}, nil
	}
	return s.answer(ctx, http.StatusOK, c, next), nil
}

// members takes apart a patch for a Store that changes members by themselves.
func (c call) members(p scim.Patch) (scim.MemberStore, scim.Members, scim.Patch, bool) {
	ms, ok := c.res.Store.(scim.MemberStore)
	if !ok {
		return nil, scim.Members{}, p, false
	}
	m, rest, ok := c.res.Type.Members(p)
	return ms, m, rest, ok
}

// check tests the client's condition on what is there.
func (c call) check(cur *scim.Resource) error {
	if c.match != "" && !tagIn(c.match, cur.Version()) {
		return scim.Errorf(http.StatusPreconditionFailed, scim.InvalidVers, "the resource is at version %s", cur.Version())
	}
	return nil
}

// edit is what a Store is given to change a resource.
func (c call) edit(ctx context.Context, fn scim.Edit) scim.Edit {
	return func(cur *scim.Resource) (*scim.Resource, error) {
		if err := c.check(cur); err != nil {
			return nil, err
		}
		next, err := fn(cur)
		if err == nil && next != cur {
			forget(c.res.Type, next)
			err = c.res.validate(ctx, next)
		}
		return next, err
	}
}

func (res *Resource) validate(ctx context.Context, r *scim.Resource) error {
	if res.Validate == nil {
		return nil
	}
	return res.Validate(ctx, r)
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

func (s *Server) answer(ctx context.Context, status int, c call, r *scim.Resource) reply {
	return reply{status: status, tag: r.Version(), body: s.append(ctx, make([]byte, 0, 1024), c.res, r, c.par.projection(c.res.Type))}
}

// append writes a resource with what the server adds to its meta.
func (s *Server) append(ctx context.Context, b []byte, res *Resource, r *scim.Resource, p scim.Projection) []byte {
	if res.Show != nil {
		r = res.Show(ctx, r)
	}
	return res.Type.AppendJSON(b, r, p, s.location(res.Type, r.ID()))
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
