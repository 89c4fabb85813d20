package server

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/gatehouse-sso/gatehouse/provisioning/scim"
)

// maxSort is how many resources the server reads for an order, or a cursor,
// that a Store does not have itself.
const maxSort = 10_000

// A part of a query are the resources of one type.
type part struct {
	res    *Resource
	filter scim.Filter
	proj   scim.Projection
}

// list answers a query over the resources of one or several types (RFC 7644 section 3.4.2).
func (s *Server) list(ctx context.Context, in []*Resource, par params) (reply, error) {
	q := query{Query: scim.Query{Start: 1, Count: s.DefaultPage}}
	if err := par.int("startindex", &q.Start); err != nil {
		return reply{}, err
	}
	if err := par.int("count", &q.Count); err != nil {
		return reply{}, err
	}
	q.Start, q.Count = max(q.Start, 1), min(max(q.Count, 0), s.MaxPage)
	parts, err := s.parts(ctx, in, par)
	if err != nil {
		return reply{}, err
	}
	if q.Sort, err = sortOf(parts, par); err != nil {
		return reply{}, err
	}

	var cursor string
	cursor, q.byCursor = par["cursor"]
	walk := walk{who: s.Who(ctx), filter: par["filter"], sort: q.Sort.String(), count: q.Count}
	for _, p := range parts {
		walk.endpoint += p.res.Type.Endpoint
	}
	remembered := false
	switch {
	case q.byCursor && par["startindex"] != "":
		return reply{}, scim.Errorf(http.StatusBadRequest, scim.InvalidCursor, "give a cursor or a startIndex, not both")
	case q.byCursor && cursor != "":
		if q.After, err = s.seal.open(cursor, walk, s.Now().Add(-s.CursorTimeout)); err != nil {
			return reply{}, err
		}
	case !q.byCursor:
		q.After, remembered = s.walks.take(walk, q.Start, s.Now())
	}
	page, err := s.page(ctx, parts, q)
	if err != nil {
		return reply{}, err
	}
	l := listed{total: page.Total, start: q.Start, n: len(page.found)}
	switch {
	case q.byCursor:
		l.start = 0
		if page.Next != "" {
			l.next = s.seal.close(page.Next, walk, s.Now())
		}
	default:
		if remembered { // counted as the client has counted so far
			l.total = q.Start - 1 + l.n
			if page.Next != "" {
				l.total = max(l.total+1, page.Total)
			}
		}
		if page.Next != "" {
			s.walks.put(walk, q.Start+l.n, page.Next, s.Now(), q.earlier(parts))
		}
	}
	return reply{status: http.StatusOK, body: l.encode(func(b []byte, i int) []byte {
		f := page.found[i]
		return s.append(ctx, b, f.part.res, f.r, f.part.proj)
	})}, nil
}

// parts are the types that the client may ask for, each with what the query means for it.
func (s *Server) parts(ctx context.Context, in []*Resource, par params) ([]part, error) {
	types := make([]*scim.ResourceType, len(in))
	for i, res := range in {
		types[i] = res.Type
	}
	var parts []part
	var refused error
	for _, res := range in {
		if err := s.Authorise(ctx, Access{Method: http.MethodGet, Type: res.Type}); err != nil {
			refused = err
			continue
		}
		p := part{res: res, proj: par.projection(res.Type)}
		if text, ok := par["filter"]; ok {
			var err error
			if p.filter, err = s.filter(ctx, res.Type, types, text); err != nil {
				return nil, err
			}
		}
		parts = append(parts, p)
	}
	if len(parts) == 0 {
		return nil, refused
	}
	return parts, nil
}

// sortOf is the order that the client wants; of several types, one must know the attribute.
func sortOf(parts []part, par params) (o scim.Sort, err error) {
	for _, p := range parts {
		if o, err = p.res.Type.Sort(par["sortby"], par["sortorder"]); err == nil {
			break
		}
	}
	return o, err
}

func (s *Server) filter(ctx context.Context, rt *scim.ResourceType, among []*scim.ResourceType, text string) (scim.Filter, error) {
	var err error
	if d := s.dialect(ctx); d.Filter != nil {
		if text, err = d.Filter(rt, text); err != nil {
			return nil, err
		}
	}
	f, err := rt.FilterAmong(text, among)
	if err != nil {
		return nil, err
	}
	if scim.Reads(f, func(p scim.Path) bool { return p.Name == "meta" && p.Sub == "location" }) { // a Store does not know it
		return nil, scim.Errorf(http.StatusBadRequest, scim.InvalidFilter, "resources are not found by meta.location: ask for the location, or filter by id")
	}
	return f, nil
}

// A query is what is asked of all parts; its filter is each part's own.
type query struct {
	scim.Query
	byCursor bool
}

func (q query) of(p part) query {
	q.Filter, q.Wants = p.filter, p.proj.Wants
	return q
}

// earlier says which of two positions of the query comes first; nil: nobody knows.
func (q query) earlier(parts []part) func(a, b string) bool {
	if len(parts) > 1 {
		return nil
	}
	one := q.of(parts[0]).Query
	switch st := parts[0].res.Store.(type) {
	case scim.Ordered:
		return func(a, b string) bool { return st.Earlier(one, a, b) }
	case scim.Walker:
		return nil
	}
	return one.Earlier
}

type found struct {
	part part
	r    *scim.Resource
}

// A page is a scim.Page of resources of several types.
type page struct {
	Total int
	Next  string
	found []found
}

func (s *Server) page(ctx context.Context, parts []part, q query) (page, error) {
	if len(parts) > 1 {
		return s.pageOfAll(ctx, parts, q)
	}
	got, err := s.pageOf(ctx, parts[0], q.of(parts[0]))
	p := page{Total: got.Total, Next: got.Next}
	for _, r := range got.Resources {
		p.found = append(p.found, found{parts[0], r})
	}
	return p, err
}

// pageOf asks the Store, or does what the Store can not.
func (s *Server) pageOf(ctx context.Context, p part, q query) (scim.Page, error) {
	if w, ok := p.res.Store.(scim.Walker); ok {
		got, err := w.Walk(ctx, q.Query)
		if !errors.Is(err, errors.ErrUnsupported) {
			return got, err
		}
	}
	if q.Sort.IsZero() && !q.byCursor {
		return p.res.Store.List(ctx, q.Query)
	}
	all, err := everything(ctx, p)
	if err != nil {
		return scim.Page{}, err
	}
	return q.Cut(all)
}

// everything reads what matches, within a bound.
func everything(ctx context.Context, p part) ([]*scim.Resource, error) {
	all, err := p.res.Store.List(ctx, scim.Query{Filter: p.filter, Start: 1, Count: maxSort + 1})
	if err == nil && all.Total > maxSort {
		err = scim.Errorf(http.StatusBadRequest, scim.TooMany, "more than %d resources match, which are too many to sort: filter them", maxSort)
	}
	return all.Resources, err
}

// pageOfAll makes a page of several types: sorted together, or one type after
// the other. A position is then the number of the part and the position in it.
func (s *Server) pageOfAll(ctx context.Context, parts []part, q query) (page, error) {
	var p page
	if !q.Sort.IsZero() {
		var all []*scim.Resource
		of := map[*scim.Resource]part{}
		for _, pt := range parts {
			rs, err := everything(ctx, pt)
			if err != nil {
				return page{}, err
			}
			for _, r := range rs {
				of[r] = pt
			}
			all = append(all, rs...)
		}
		got, err := q.Cut(all)
		for _, r := range got.Resources {
			p.found = append(p.found, found{of[r], r})
		}
		p.Total, p.Next = got.Total, got.Next
		return p, err
	}
	at, after := 0, ""
	if q.After != "" {
		num, rest, _ := strings.Cut(q.After, ":")
		var err error
		if at, err = strconv.Atoi(num); err != nil || at >= len(parts) {
			return page{}, errCursor
		}
		after = rest
	}
	lost := false // a Store that is no Walker does not say where it ended
	for i, pt := range parts {
		sub := q.of(pt)
		sub.After, sub.Count = "", q.Count-len(p.found)
		switch {
		case q.After == "":
			sub.Start = max(q.Start-p.Total, 1)
		case i == at && after != "":
			sub.After = after
		default:
			sub.Start = 1
		}
		if q.After != "" && i < at {
			sub.Count = 0
		}
		got, err := s.pageOf(ctx, pt, sub)
		if err != nil {
			return page{}, err
		}
		if q.After == "" && q.Start-p.Total > got.Total {
			got.Resources, got.Next = nil, ""
		}
		p.Total += got.Total
		full := len(p.found) >= q.Count
		lost = lost || !full && sub.After == "" && got.Next == "" && got.Total > sub.Start-1+len(got.Resources)
		for _, r := range got.Resources {
			p.found = append(p.found, found{pt, r})
		}
		switch {
		case lost || p.Next != "" || len(p.found) == 0:
		case got.Next != "":
			p.Next = strconv.Itoa(i) + ":" + got.Next
		case full && got.Total > 0 && i > at:
			p.Next = strconv.Itoa(i) + ":"
		}
	}
	return p, nil
}

// listed is a list message.
type listed struct {
	total, start, n int // start 0: not said; n resources are in it
	next            string
}

// encode writes the message; its Resources are never null. item appends one.
func (l listed) encode(item func(b []byte, i int) []byte) []byte {
	b := append(make([]byte, 0, 256+768*l.n), `{"schemas":["`+scim.ListURN+`"],"totalResults":`...)
	b = strconv.AppendInt(b, int64(l.total), 10)
	if l.start > 0 {
		b = strconv.AppendInt(append(b, `,"startIndex":`...), int64(l.start), 10)
	}
	b = strconv.AppendInt(append(b, `,"itemsPerPage":`...), int64(l.n), 10)
	if l.next != "" {
		b = append(append(append(b, `,"nextCursor":"`...), l.next...), '"')
	}
	b = append(b, `,"Resources":[`...)
	for i := range l.n {
		if i > 0 {
			b = append(b, ',')
		}
		b = item(b, i)
	}
	return append(b, "]}"...)
}
