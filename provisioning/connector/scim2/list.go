package scim2

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/gatehouse-sso/gatehouse/provisioning/connector"
	"github.com/gatehouse-sso/gatehouse/provisioning/connector/scimuser"
	"github.com/gatehouse-sso/gatehouse/provisioning/scim"
	"github.com/gatehouse-sso/gatehouse/provisioning/scim/client"
)

// What begins a Listing's cursor: by which of a server's own ways it goes on.
const (
	byCursor = "c" // RFC 9865, and the server's cursor behind it
	byIndex  = "i" // startIndex
	bySorted = "s" // startIndex of a list sorted by id
)

// List reads a page of accounts: by cursor where the target says it can, else by
// index, sorted by id where it can sort. A walk by index may miss an account that
// is moved to a page that was read already.
func (c *Connector) List(ctx context.Context, q connector.Listing) (connector.Page, error) {
	way, at := q.Cursor, ""
	if way != "" {
		way, at = way[:1], way[1:]
	} else {
		way = c.walks(ctx)
	}
	lq := client.Query{Count: c.page}
	if !q.Since.IsZero() {
		lq.Filter = scim.Compare{Path: scim.Path{Name: "meta", Sub: "lastModified"}, Op: scim.Ge, Value: q.Since.UTC().Format(time.RFC3339)}
	}
	start := 1
	switch way {
	case byCursor:
		lq.ByCursor, lq.Cursor = true, at
	case bySorted:
		lq.SortBy = "id"
		fallthrough
	default:
		if at != "" {
			start, _ = strconv.Atoi(at)
		}
		lq.Start = max(start, 1)
	}
	got, err := c.client.List(ctx, users, lq)
	if !q.Since.IsZero() && status(err) == http.StatusBadRequest {
		return connector.Page{}, connector.CanNot("the target does not search by meta.lastModified")
	}
	if err != nil {
		return connector.Page{}, classify(err, false)
	}
	p := connector.Page{Total: got.Total}
	for _, r := range got.Resources {
		if r.ID() == "" {
			return connector.Page{}, &connector.Error{Class: connector.Route, Text: "the target lists an account without an id"}
		}
		a := scimuser.Account(r)
		a.UserName = c.ours(a.UserName)
		p.Accounts = append(p.Accounts, a)
	}
	switch next := start + len(got.Resources); {
	case way == byCursor && got.Next != "":
		p.Next = byCursor + got.Next
	case way != byCursor && len(got.Resources) > 0 && next <= got.Total:
		p.Next = way + strconv.Itoa(next)
	}
	return p, nil
}

// walks asks how the target can be walked.
func (c *Connector) walks(ctx context.Context) string {
	o, err := c.client.Config(ctx)
	switch {
	case err != nil:
		return byIndex
	case o.Sub("pagination").Get("cursor") == true:
		return byCursor
	case o.Sub("sort").Get("supported") == true:
		return bySorted
	}
	return byIndex
}
