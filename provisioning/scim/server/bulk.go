package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/gatehouse-sso/gatehouse/provisioning/scim"
)

// run carries out a bulk and answers it (RFC 7644 section 3.7). Operations happen in their order,
// but one that another refers to happens before it. Where operations refer to
// each other in a circle, a resource is first made without the reference, which
// is put in once all exist; if that is refused the resource is taken back, so
// that an operation has happened as a whole or not at all.
func (b *batch) run(ctx context.Context) reply {
	b.carryOut(ctx)
	rep := reply{status: http.StatusOK}
	var results []any
	for _, op := range b.ops {
		if rep.operations = append(rep.operations, op.result); op.result != nil {
			results = append(results, op.result)
		}
	}
	rep.body = scim.NewObject("schemas", []any{scim.BulkResponseURN}, "Operations", results).AppendJSON(nil)
	return rep
}

// A batch is a bulk that is under way.
type batch struct {
	s       *Server
	ops     []*operation
	byID    map[string]*operation // by bulkId
	failAt  int                   // after so many failures the rest is left; 0: never
	failed  int
	partial []*operation // made without all their references
}

type operation struct {
	method, path, bulkID, version string

	data    *scim.Object
	begun   bool
	res     *Resource
	id      string       // of the resource
	result  *scim.Object // nil: not done
	refusal *scim.Error  // why it failed
}

const bulkRef = "bulkId:"

func (s *Server) readBulk(in *scim.Object) (*batch, error) {
	bad := func(typ, format string, args ...any) error {
		return scim.Errorf(http.StatusBadRequest, typ, format, args...)
	}
	if !slices.ContainsFunc(in.List("schemas"), func(v any) bool { t, _ := v.(string); return strings.EqualFold(t, scim.BulkRequestURN) }) {
		return nil, bad(scim.InvalidSyntax, "the attribute schemas must list %s", scim.BulkRequestURN)
	}
	list := in.List("Operations")
	switch {
	case len(list) == 0:
		return nil, bad(scim.InvalidSyntax, "Operations must be an array with at least one operation")
	case len(list) > s.MaxOperations:
		return nil, scim.Errorf(http.StatusRequestEntityTooLarge, "", "a bulk has at most %d operations", s.MaxOperations)
	}
	b := &batch{s: s, byID: map[string]*operation{}}
	if v := in.Get("failOnErrors"); v != nil {
		n, _ := v.(json.Number)
		var err error
		if b.failAt, err = strconv.Atoi(string(n)); err != nil || b.failAt < 1 {
			return nil, bad(scim.InvalidValue, "failOnErrors must be a whole number from 1")
		}
	}
	for i, v := range list {
		o, ok := v.(*scim.Object)
		if !ok {
			return nil, bad(scim.InvalidSyntax, "operation %d is not an object", i+1)
		}
		op := &operation{
			method: strings.ToUpper(o.String("method")), path: o.String("path"), bulkID: o.String("bulkId"),
			version: o.String("version"), data: o.Sub("data"),
		}
		switch {
		case !slices.Contains([]string{http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete}, op.method):
			return nil, bad(scim.InvalidSyntax, "the method of operation %d must be POST, PUT, PATCH or DELETE", i+1)
		case op.path == "":
			return nil, bad(scim.InvalidSyntax, "operation %d has no path", i+1)
		case op.method == http.MethodPost && op.bulkID == "":
			return nil, bad(scim.InvalidSyntax, "operation %d is a POST and has no bulkId", i+1)
		case op.method != http.MethodDelete && op.data == nil:
			return nil, bad(scim.InvalidSyntax, "operation %d has no data", i+1)
		case op.method == http.MethodPost && b.byID[op.bulkID] != nil:
			return nil, bad(scim.InvalidValue, "operation %d has a bulkId that another operation has", i+1)
		case op.method == http.MethodPost:
			b.byID[op.bulkID] = op
		}
		b.ops = append(b.ops, op)
	}
	return b, nil
}

func (b *batch) carryOut(ctx context.Context) {
	for _, op := range b.ops {
		if b.stopped() || ctx.Err() != nil {
			break
		}
		b.once(ctx, op)
	}
	for _, op := range b.partial { // also for a client that is gone
		b.complete(context.WithoutCancel(ctx), op)
	}
}

func (b *batch) stopped() bool { return b.failAt > 0 && b.failed >= b.failAt }

// once carries out an operation, those that it refers to before it.
func (b *batch) once(ctx context.Context, op *operation) {
	if op.begun {
		return
	}
	op.begun = true
	for _, id := range refs(nil, op) {
		if to := b.byID[id]; to != nil && !b.stopped() {
			b.once(ctx, to)
		}
	}
	if b.stopped() { // what it waited for failed, and was one too many
		return
	}
	rep, err := b.call(ctx, op)
	b.done(op, rep, err)
}

// call makes a request of an operation.
func (b *batch) call(ctx context.Context, op *operation) (reply, error) {
	c := call{method: op.method, match: op.version}
	var err error
	if c.res, c.id, err = b.target(op); err != nil {
		return reply{}, err
	}
	op.res, op.id = c.res, c.id
	r := resolver{b: b, open: op.method == http.MethodPost}
	v, _ := r.value(op.data, true)
	if r.err != nil {
		return reply{}, r.err
	}
	c.in, _ = v.(*scim.Object)
	rep, err := b.s.do(ctx, c)
	if err != nil {
		return reply{}, err
	}
	if op.method == http.MethodPost {
		op.id = rep.id
	}
	if r.left {
		b.partial = append(b.partial, op)
	}
	return rep, nil
}

// target finds what the path of an operation names.
func (b *batch) target(op *operation) (*Resource, string, error) {
	path := strings.TrimPrefix(op.path, b.s.Base)
	name, id, one := strings.Cut(strings.Trim(path, "/"), "/")
	for i := range b.s.Resources {
		res := &b.s.Resources[i]
		if !strings.EqualFold("/"+name, res.Type.Endpoint) {
			continue
		}
		if one == (op.method == http.MethodPost) {
			return nil, "", scim.Errorf(http.StatusMethodNotAllowed, "", "%s is not possible at %.80q", op.method, op.path)
		}
		if ref, ok := strings.CutPrefix(id, bulkRef); ok {
			id, err := b.made(ref)
			return res, id, err
		}
		id, err := url.PathUnescape(id)
		if err != nil || strings.Contains(id, "/") {
			break
		}
		return res, id, nil
	}
	return nil, "", scim.Errorf(http.StatusNotFound, "", "there is nothing at %.80q", op.path)
}

var errCircle = errors.New("two operations wait for each other")

// made is the id of what the operation with a bulkId made.
func (b *batch) made(bulkID string) (string, error) {
	op := b.byID[bulkID]
	switch {
	case op == nil:
		return "", scim.Errorf(http.StatusBadRequest, scim.InvalidValue, "no operation has the bulkId %.80q", bulkID)
	case op.refusal != nil:
		return "", scim.Errorf(http.StatusConflict, "", "the operation with the bulkId %.80q, which this one refers to, failed", bulkID)
	case op.result == nil:
		return "", errCircle
	}
	return op.id, nil
}

// complete gives a resource the references that it was made without.
func (b *batch) complete(ctx context.Context, op *operation) {
	r := resolver{b: b}
	v, _ := r.value(op.data, true)
	in, _ := v.(*scim.Object)
	rep, err := reply{}, r.err
	if err == nil {
		rep, err = b.s.do(ctx, call{method: http.MethodPut, res: op.res, id: op.id, match: "*", in: in})
	}
	if err == nil {
		rep.status = http.StatusCreated
		b.done(op, rep, nil)
		return
	}
	if undo := op.res.Store.Delete(ctx, op.id, func(*scim.Resource) error { return nil }); undo != nil {
		b.s.Log.ErrorContext(ctx, "scim bulk: a resource whose references were refused could not be taken back", "id", op.id, "error", undo)
	}
	b.done(op, reply{}, err)
}

// done notes how an operation ended.
func (b *batch) done(op *operation, rep reply, err error) {
	o := scim.NewObject("method", op.method)
	if op.bulkID != "" {
		o.Set("bulkId", op.bulkID)
	}
	if rep.tag != "" {
		o.Set("version", rep.tag)
	}
	if op.res != nil && op.id != "" && (err == nil || op.method != http.MethodPost) {
		o.Set("location", b.s.location(op.res.Type, op.id))
	}
	status := rep.status
	if err != nil {
		op.refusal = scim.AsError(err)
		status = op.refusal.Status
		o.Set("response", op.refusal.Object())
		b.failed++
		if status >= 500 {
			b.s.Log.Error("scim bulk operation failed", "method", op.method, "path", op.path, "error", err)
		}
	}
	o.Set("status", strconv.Itoa(status))
	op.result = o
}

// refs lists the bulkIds that an operation refers to.
func refs(list []string, op *operation) []string {
	if _, id, ok := strings.Cut(op.path, "/"+bulkRef); ok {
		list = append(list, id)
	}
	if op.data == nil {
		return list
	}
	return refsIn(list, op.data)
}

func refsIn(list []string, v any) []string {
	switch v := v.(type) {
	case string:
		if id, ok := strings.CutPrefix(v, bulkRef); ok {
			list = append(list, id)
		} else if strings.Contains(v, `"`+bulkRef) { // in the path of a PATCH
			for part := range strings.SplitSeq(v, `"`) {
				if id, ok := strings.CutPrefix(part, bulkRef); ok {
					list = append(list, id)
				}
			}
		}
	case *scim.Object:
		for _, x := range v.All() {
			list = refsIn(list, x)
		}
	case []any:
		for _, x := range v {
			list = refsIn(list, x)
		}
	}
	return list
}

// A resolver puts ids where bulkIds are.
type resolver struct {
	b    *batch
	open bool // a reference to what does not exist yet is left out, with the value that it is in
	left bool // one was
	err  error
}

// value resolves v; false: it is to be left out. top: v is a resource or an
// extension, of which an attribute is left out and not the whole.
func (r *resolver) value(v any, top bool) (any, bool) {
	switch v := v.(type) {
	case string:
		return r.text(v)
	case *scim.Object:
		if v == nil {
			return v, true
		}
		o := v.Clone()
		for name, x := range v.All() {
			y, ok := r.value(x, top && strings.HasPrefix(strings.ToLower(name), "urn:"))
			switch {
			case !ok && !top:
				return nil, false
			case !ok || r.left && empty(y) && !empty(x):
				o.Delete(name)
			case !empty(y): // what is unassigned stays: to a PATCH it says something
				o.Set(name, y)
			}
		}
		return o, true
	case []any:
		list := make([]any, 0, len(v))
		for _, x := range v {
			if y, ok := r.value(x, false); ok {
				list = append(list, y)
			}
		}
		return list, true
	}
	return v, true
}

func empty(v any) bool {
	list, isList := v.([]any)
	return v == nil || isList && len(list) == 0
}

func (r *resolver) text(s string) (any, bool) {
	if ref, ok := strings.CutPrefix(s, bulkRef); ok {
		return r.id(ref)
	}
	if !strings.Contains(s, `"`+bulkRef) {
		return s, true
	}
	parts := strings.Split(s, `"`)
	for i, p := range parts {
		if ref, ok := strings.CutPrefix(p, bulkRef); ok {
			id, ok := r.id(ref)
			if !ok {
				return nil, false
			}
			parts[i] = fmt.Sprint(id)
		}
	}
	return strings.Join(parts, `"`), true
}

func (r *resolver) id(ref string) (any, bool) {
	id, err := r.b.made(ref)
	switch {
	case err == nil:
		return id, true
	case errors.Is(err, errCircle) && r.open:
		r.left = true
	case errors.Is(err, errCircle):
		r.err = scim.Errorf(http.StatusConflict, "", "the operation with the bulkId %.80q, which this one refers to, was not carried out", ref)
	case r.err == nil:
		r.err = err
	}
	return nil, false
}
