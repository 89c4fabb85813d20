package client

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/gatehouse-sso/gatehouse/provisioning/scim"
)

// An Operation of a bulk (RFC 7644 section 3.7). In Path and Data bulkId:x stands
// for the id of what the operation with the BulkID x makes.
type Operation struct {
	Method, Path    string       // "POST", "/Users"
	BulkID, Version string       // a POST must have a BulkID
	Data            *scim.Object // nil with DELETE
}

// A Result says what became of an Operation.
type Result struct {
	Operation
	ID     string // of the resource; empty if it was not made
	Status int    // of HTTP; 0: the server did not carry it out
	Type   string // scimType of the refusal
}

// Bulk sends operations, and returns a Result for each in the same order. After
// failures as many as failOnErrors the server stops; 0: it does not.
func (c *Client) Bulk(ctx context.Context, ops []Operation, failOnErrors int) ([]Result, error) {
	cl := call{method: http.MethodPost, endpoint: "/Bulk"}
	if c.v1 {
		return nil, &Error{Op: cl.op(), Err: errors.ErrUnsupported}
	}
	var list []any
	for _, op := range ops {
		o := scim.NewObject("method", op.Method, "path", op.Path)
		if op.BulkID != "" {
			o.Set("bulkId", op.BulkID)
		}
		if op.Version != "" {
			o.Set("version", op.Version)
		}
		o.Set("data", op.Data)
		list = append(list, o)
	}
	cl.body = scim.NewObject("schemas", []any{scim.BulkRequestURN}, "Operations", list)
	if failOnErrors > 0 {
		cl.body.Set("failOnErrors", failOnErrors)
	}
	o, _, err := c.do(ctx, cl)
	if err != nil {
		return nil, err
	}
	results := make([]Result, len(ops))
	taken := make([]bool, len(ops))
	for i, op := range ops {
		results[i].Operation = op
	}
	for _, v := range o.List("Operations") {
		r, _ := v.(*scim.Object)
		i := which(ops, taken, r)
		if i < 0 {
			return nil, cl.unreadable(errors.New("the answer has an operation that was not asked for"))
		}
		taken[i] = true
		if results[i].Status, err = strconv.Atoi(r.String("status")); err != nil {
			return nil, cl.unreadable(errors.New("an operation of the answer has no status"))
		}
		if t := r.Sub("response").String("scimType"); known(t) {
			results[i].Type = t
		}
		if loc := r.String("location"); loc != "" {
			results[i].ID = lastSegment(loc)
		}
		if v := r.String("version"); v != "" {
			results[i].Version = v
		}
	}
	return results, nil
}

// which operation an answer is of: that with its bulkId, else the one at its
// address, else the first of its method whose address only the server knows.
func which(ops []Operation, taken []bool, r *scim.Object) int {
	method, bulkID, loc := r.String("method"), r.String("bulkId"), r.String("location")
	first := -1
	for i, op := range ops {
		switch {
		case taken[i] || op.Method != method || op.BulkID != bulkID:
		case bulkID != "" || loc != "" && lastSegment(loc) == lastSegment(op.Path):
			return i
		case first < 0 && (loc == "" || strings.Contains(op.Path, "/bulkId:")):
			first = i
		}
	}
	return first
}

func lastSegment(address string) string {
	id := address[strings.LastIndexByte(address, '/')+1:]
	if plain, err := url.PathUnescape(id); err == nil {
		return plain
	}
	return id
}
