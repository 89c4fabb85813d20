package server

import (
	"context"
	"errors"
	"net/http"
	"strconv"

	"github.com/gatehouse-sso/gatehouse/provisioning/scim"
)

// maxSort is how many resources the server reads for an order, or a cursor,
// that a Store does not have itself.
const maxSort = 10_000

// list answers a query over the resources of a type (RFC 7644 section 3.4.2).
func (s *Server) list(ctx context.Context, res *Resource, par params) (reply, error) {
	if err := s.Authorise(ctx, Access{Method: http.MethodGet, Type: res.Type}); err != nil {
		return reply{}, err
	}
	q, err := s.query(ctx, res.Type, par)
	if err != nil {
		return reply{}, err
	}
	proj := par.projection(res.Type)
	q.Wants = proj.Wants

	cursor, byCursor := par["cursor"]
	walk := walk{who: s.Who(ctx), endpoint: res.Type.Endpoint, filter: par["filter"], sort: q.Sort.String(), count: q.Count}
	remembered := false
	switch {
	case byCursor && par["startindex"] != "":
		return reply{}, scim.Errorf(http.StatusBadRequest, scim.InvalidCursor, "give a cursor or a startIndex, not both")
	case byCursor && cursor != "":
		if q.After, err = s.seal.open(cursor, walk, s.Now().Add(-s.CursorTimeout)); err != nil {
			return reply{}, err
		}
	case !byCursor:
		q.After, remembered = s.walks.take(walk, q.Start, s.Now())
	}
	page, err := s.page(ctx, res.Store, q, byCursor)
	if err != nil {
		return reply{}, err
	}
	l := listed{total: page.Total, start: q.Start}
	switch {
	case byCursor:
		l.start = 0
		if page.Next != "" {
			l.next = s.seal.close(page.Next, walk, s.Now())
		}
	default:
		if remembered { // counted as the client has counted so far
			l.total = q.Start - 1 + len(page.Resources)
			if page.Next != "" {
				l.total = max(l.total+1, page.Total)
			}
		}
		if page.Next != "" {
			s.walks.put(walk, q.Start+len(page.Resources), page.Next, s.Now())
		}
	}
	for _, one := range page.Resources {
		l.items = append(l.items, s.encode(res.Type, one, proj))
	}
	return reply{status: http.StatusOK, body: l.encode()}, nil
}

// query reads what a client asks for.
func (s *Server) query(ctx context.Context, rt *scim.ResourceType, par params) (scim.Query, error) {
	q := scim.Query{Start: 1, Count: s.DefaultPage}
	var err error
	if text, ok := par["filter"]; ok {
		if q.Filter, err = s.filter(ctx, rt, text); err != nil {
			return q, err
		}
	}
	if q.Sort, err = rt.Sort(par["sortby"], par["sortorder"]); err != nil {
		return q, err
	}
	if err := par.int("startindex", &q.Start); err != nil {
		return q, err
	}
	if err := par.int("count", &q.Count); err != nil {
		return q, err
	}
	q.Start, q.Count = max(q.Start, 1), min(max(q.Count, 0), s.MaxPage)
	return q, nil
}

func (s *Server) filter(ctx context.Context, rt *scim.ResourceType, text string) (scim.Filter, error) {
	var err error
	if d := s.dialect(ctx); d.Filter != nil {
		if text, err = d.Filter(rt, text); err != nil {
			return nil, err
		}
	}
	f, err := rt.Filter(text)
	if err != nil {
		return nil, err
	}
	for _, p := range scim.Paths(f) {
		if p.String() == "meta.location" { // a Store does not know it
			return nil, scim.Errorf(http.StatusBadRequest, scim.InvalidFilter, "resources are not found by meta.location: ask for the location, or filter by id")
		}
	}
	return f, nil
}

// page asks the Store, or does what the Store can not.
func (s *Server) page(ctx context.Context, st scim.Store, q scim.Query, byCursor bool) (scim.Page, error) {
	if w, ok := st.(scim.Walker); ok {
		p, err := w.Walk(ctx, q)
		if !errors.Is(err, errors.ErrUnsupported) {
			return p, err
		}
	}
	if q.Sort.IsZero() && !byCursor {
		return st.List(ctx, q)
	}
	all, err := st.List(ctx, scim.Query{Filter: q.Filter, Start: 1, Count: maxSort + 1})
	if err != nil {
		return scim.Page{}, err
	}
	if all.Total > maxSort {
		return scim.Page{}, scim.Errorf(http.StatusBadRequest, scim.TooMany, "more than %d resources match, which are too many to sort: filter them", maxSort)
	}
	return q.Cut(all.Resources)
}

// listed is a list message.
type listed struct {
	total, start int // start 0: not said
	next         string
	items        [][]byte
}

// encode writes the message; its Resources are never null.
func (l listed) encode() []byte {
	size := 160
	for _, it := range l.items {
		size += len(it) + 1
	}
	b := append(make([]byte, 0, size), `{"schemas":["`+scim.ListURN+`"],"totalResults":`...)
	b = strconv.AppendInt(b, int64(l.total), 10)
	if l.start > 0 {
		b = strconv.AppendInt(append(b, `,"startIndex":`...), int64(l.start), 10)
	}
	b = strconv.AppendInt(append(b, `,"itemsPerPage":`...), int64(len(l.items)), 10)
	if l.next != "" {
		b = append(append(append(b, `,"nextCursor":"`...), l.next...), '"')
	}
	b = append(b, `,"Resources":[`...)
	for i, it := range l.items {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, it...)
	}
	return append(b, "]}"...)
}
