package scim

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
)

// A Sort is an order of resources (RFC 7644 section 3.4.2.3). The zero Sort is
// the order of creation, which also decides between those that are otherwise
// equal, and the id between those created in the same millisecond (ids that
// sort by age make that exact): the order is total, and nobody changes place
// because others come and go.
type Sort struct {
	Path       Path
	Descending bool
}

// IsZero reports whether this is the order of creation.
func (s Sort) IsZero() bool { return s.Path.Name == "" }

// String writes the order; the same order gives the same text.
func (s Sort) String() string {
	if s.IsZero() {
		return ""
	}
	if s.Descending {
		return s.Path.String() + " descending"
	}
	return s.Path.String()
}

// Sort reads sortBy and sortOrder. What may not be read may not be sorted by.
func (rt *ResourceType) Sort(by, order string) (Sort, error) {
	switch {
	case by == "":
		return Sort{}, nil
	case order != "" && !sameName(order, "ascending") && !sameName(order, "descending"):
		return Sort{}, bad(InvalidValue, "sortOrder must be ascending or descending")
	}
	p, err := rt.Path(by)
	if err == nil {
		p.Filter = nil
		err = readable(p)
	}
	if err == nil && p.sub == nil && p.attr.Type == Complex {
		if p.sub = find(p.attr.Sub, "value"); p.sub == nil {
			err = bad(InvalidPath, "%s is complex: sort by one of its sub-attributes", p.Name)
		}
	}
	if err != nil {
		e := *AsError(err)
		e.Type, e.Detail = InvalidPath, "sortBy: "+e.Detail
		return Sort{}, &e
	}
	return Sort{Path: p, Descending: sameName(order, "descending")}, nil
}

// maxKey is how many bytes of a text decide its place.
const maxKey = 256

// place is where a resource stands in an order.
type place struct{ Key, Created, ID string }

func (s Sort) place(r *Resource) place {
	return place{s.key(r), r.Sub("meta").String("created"), r.ID()}
}

// key is text that sorts as the value does. Of several values it is the primary
// one's, else the first one's. Who has none comes after all others.
func (s Sort) key(r *Resource) string {
	if s.IsZero() {
		return ""
	}
	c := s.Path.container(&r.Object)
	v := c.Get(s.Path.Name)
	if list, ok := v.([]any); ok {
		v = list[max(0, slices.IndexFunc(list, isPrimary))]
	}
	a := s.Path.attr
	if s.Path.sub != nil {
		a = s.Path.sub
		el, _ := v.(*Object)
		v = el.Get(a.Name)
	}
	switch v := v.(type) {
	case string:
		if a.Type == DateTime {
			if t, err := ParseTime(v); err == nil {
				return "0" + t.UTC().Format("2006-01-02T15:04:05.000000000")
			}
		}
		if !a.CaseExact {
			v = Fold(v)
		}
		if len(v) > maxKey {
			v = strings.ToValidUTF8(v[:maxKey], "")
		}
		return "0" + v
	case bool:
		return fmt.Sprintf("0%t", v) // false comes before true
	case json.Number:
		if x, ok := number(v); ok {
			bits := math.Float64bits(x) // ordered as text once the sign is turned
			if x < 0 {
				bits = ^bits
			} else {
				bits |= 1 << 63
			}
			return fmt.Sprintf("0%016x", bits)
		}
	}
	return "1"
}

func (s Sort) compare(a, b place) int {
	c := strings.Compare(a.Key, b.Key)
	if s.Descending {
		c = -c
	}
	if c == 0 {
		c = strings.Compare(a.Created, b.Created)
	}
	if c == 0 {
		c = strings.Compare(a.ID, b.ID)
	}
	return c
}

// Cut makes the page that a query asks for from everything that matches its
// filter, in any order: what a Store without an order of its own can do.
// Resources need their meta.created and id.
func (q Query) Cut(all []*Resource) (Page, error) {
	type placed struct {
		place
		r *Resource
	}
	rows := make([]placed, len(all))
	for i, r := range all {
		rows[i] = placed{q.Sort.place(r), r}
	}
	slices.SortFunc(rows, func(a, b placed) int { return q.Sort.compare(a.place, b.place) })
	from := max(q.Start, 1) - 1
	if q.After != "" {
		var last place
		if err := json.Unmarshal([]byte(q.After), &last); err != nil {
			return Page{}, bad(InvalidCursor, "the cursor does not fit the query")
		}
		var found bool
		if from, found = slices.BinarySearchFunc(rows, last, func(p placed, l place) int { return q.Sort.compare(p.place, l) }); found {
			from++
		}
	}
	from = min(from, len(rows))
	to := min(from+q.Count, len(rows))
	p := Page{Total: len(rows)}
	for _, row := range rows[from:to] {
		p.Resources = append(p.Resources, row.r)
	}
	if from < to && to < len(rows) {
		next, err := json.Marshal(rows[to-1].place)
		if err != nil {
			return Page{}, err
		}
		p.Next = string(next)
	}
	return p, nil
}

// Earlier reports whether a position that Cut gave comes before another of the
// same query.
func (q Query) Earlier(a, b string) bool {
	var x, y place
	if json.Unmarshal([]byte(a), &x) != nil || json.Unmarshal([]byte(b), &y) != nil {
		return false
	}
	return q.Sort.compare(x, y) < 0
}
