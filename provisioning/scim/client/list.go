package client

import (
	"context"
	"errors"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/gatehouse-sso/gatehouse/provisioning/scim"
	"github.com/gatehouse-sso/gatehouse/provisioning/scim/v1"
)

// Query asks for a page.
type Query struct {
	Filter     scim.Filter // nil: all
	SortBy     string      // an attribute; empty: the server's own order
	Descending bool
	Start      int // counted from 1; 0: not said
	// ByCursor asks for pages by cursor; Cursor is the Next of the page before, empty for the first one.
	ByCursor   bool
	Cursor     string
	Count      int      // 0: not said
	Attributes []string // that the answer has; nil: those of the server's choice
	Without    []string // attributes that the answer need not have
	// Post asks with the message .search, so that names stand in no address and no log.
	Post bool
}

// A Page answers a Query.
type Page struct {
	Total     int // 0 also where a server that pages by cursor does not say
	Resources []*scim.Resource
	Next      string // the cursor of the next page; empty: this is the last one
}

// List reads a page.
func (c *Client) List(ctx context.Context, endpoint string, q Query) (Page, error) {
	cl := call{method: http.MethodGet, endpoint: endpoint}
	if q.Post {
		cl = call{method: http.MethodPost, endpoint: endpoint + "/.search"}
	}
	if c.v1 && (q.Post || q.ByCursor) {
		return Page{}, &Error{Op: cl.op(), Err: errors.ErrUnsupported}
	}
	if q.Post {
		cl.body = q.message()
	} else {
		cl.query = q.values(c.v1)
	}
	o, _, err := c.do(ctx, cl)
	if err != nil {
		return Page{}, err
	}
	total, ok := number(o.Get("totalResults"))
	if !ok && !q.ByCursor {
		return Page{}, cl.unreadable(errors.New("the answer is no list"))
	}
	p := Page{Total: total, Next: o.String("nextCursor")}
	for _, v := range o.List("Resources") {
		one, ok := v.(*scim.Object)
		if !ok {
			return Page{}, cl.unreadable(errors.New("the list has something that is no resource"))
		}
		p.Resources = append(p.Resources, &scim.Resource{Object: *one})
	}
	return p, nil
}

func (q Query) values(old bool) url.Values {
	par := url.Values{}
	for name, v := range q.message().All() {
		switch v := v.(type) {
		case string:
			if old {
				v = v1.WriteText(v)
			}
			par.Set(name, v)
		case int:
			par.Set(name, strconv.Itoa(v))
		case []any:
			if name == "schemas" || old && name == "excludedAttributes" {
				continue
			}
			par.Set(name, joined(v))
		}
	}
	if q.ByCursor {
		par.Set("cursor", q.Cursor)
	}
	return par
}

func joined(list []any) string {
	names := make([]string, len(list))
	for i, v := range list {
		names[i], _ = v.(string)
	}
	return strings.Join(names, ",")
}

// message is the query as a SearchRequest (RFC 7644 section 3.4.3).
func (q Query) message() *scim.Object {
	o := scim.NewObject("schemas", []any{scim.SearchURN})
	set := func(name, v string) {
		if v != "" {
			o.Set(name, v)
		}
	}
	if q.Filter != nil {
		set("filter", q.Filter.String())
	}
	if set("sortBy", q.SortBy); q.SortBy != "" && q.Descending {
		set("sortOrder", "descending")
	}
	if q.Start > 0 {
		o.Set("startIndex", q.Start)
	}
	if q.Count > 0 {
		o.Set("count", q.Count)
	}
	if q.ByCursor {
		o.Set("cursor", q.Cursor)
	}
	o.Set("attributes", anys(q.Attributes))
	o.Set("excludedAttributes", anys(q.Without))
	return o
}

func anys(list []string) []any {
	var all []any
	for _, s := range list {
		all = append(all, s)
	}
	return all
}

func number(v any) (int, bool) {
	n, ok := v.(interface{ Int64() (int64, error) })
	if !ok {
		return 0, false
	}
	i, err := n.Int64()
	return int(i), err == nil && i >= 0
}

// Cursors reports whether the server says that it has cursors (RFC 9865 section 4).
func (c *Client) Cursors(ctx context.Context) (bool, error) {
	o, err := c.Config(ctx)
	if err != nil {
		return false, err
	}
	return !c.v1 && o.Sub("pagination").Get("cursor") == true, nil
}

// maxEmpty is how many pages in a row may have nothing before a walk is given up.
const maxEmpty = 10

// All yields every resource that a query finds, page by page, each once. It
// ends after the first error. A server that does not come to an end, because it
// answers the same page or the same cursor again, is one.
func (c *Client) All(ctx context.Context, endpoint string, q Query) iter.Seq2[*scim.Resource, error] {
	return func(yield func(*scim.Resource, error) bool) {
		seen := map[string]bool{}
		empty := 0
		q.Start, q.Cursor = 1, ""
		if q.ByCursor {
			q.Start = 0
		}
		for {
			p, err := c.List(ctx, endpoint, q)
			if err != nil {
				yield(nil, err)
				return
			}
			fresh := false
			for _, r := range p.Resources {
				if seen[r.ID()] {
					continue
				}
				seen[r.ID()], fresh = true, true
				if !yield(r, nil) {
					return
				}
			}
			if empty++; fresh {
				empty = 0
			}
			last := p.Next == ""
			if !q.ByCursor {
				q.Start += len(p.Resources)
				last = len(p.Resources) == 0 || q.Start > p.Total
			}
			switch {
			case last:
				return
			case len(p.Resources) > 0 && !fresh, q.ByCursor && p.Next == q.Cursor, empty > maxEmpty:
				yield(nil, call{method: http.MethodGet, endpoint: endpoint}.unreadable(errors.New("the list does not go on")))
				return
			}
			q.Cursor = p.Next
		}
	}
}
