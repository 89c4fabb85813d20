package server_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/gatehouse-sso/gatehouse/provisioning/scim"
	"github.com/gatehouse-sso/gatehouse/provisioning/scim/server"
)

// A lister is a Store of n users that can do nothing but list them.
type lister struct {
	scim.Store
	n int
}

func (c lister) List(_ context.Context, q scim.Query) (scim.Page, error) {
	p := scim.Page{Total: c.n}
	for i := q.Start - 1; i < min(q.Start-1+q.Count, c.n); i++ {
		r := &scim.Resource{Object: *scim.NewObject("userName", fmt.Sprintf("u%05d", i))}
		scim.UserType().Stamp(r, fmt.Sprint(i), time.Unix(int64(i), 0), time.Unix(int64(i), 0), `W/"1"`)
		p.Resources = append(p.Resources, r)
	}
	return p, nil
}

// What a Store can not sort is sorted whole, or refused: a page of some of it would
// look like the beginning of all of it.
func TestSC40_WhatIsTooManyToSortIsRefused(t *testing.T) {
	t.Parallel()
	of := func(n int) site {
		return open(t, func(c *server.Config) {
			c.Resources = []server.Resource{{Type: scim.UserType(), Store: lister{n: n}}, {Type: scim.GroupType(), Store: lister{}, Quiet: true}}
		})
	}
	few, many := of(10_000), of(10_001)
	for name, path := range map[string]string{
		"descending":    query("sortBy", "userName", "sortOrder", "descending", "count", "2"),
		"a page of few": query("sortBy", "userName", "sortOrder", "descending", "count", "0"),
		"by cursor":     query("sortBy", "userName", "sortOrder", "descending", "count", "2", "cursor", ""),
		"both types":    "/scim/v2/?filter=id+pr&sortBy=id&sortOrder=descending&count=2",
	} {
		a := few.do("GET", path, "").want(t, 200, "")
		if list := a.obj.List("Resources"); fmt.Sprint(a.obj.Get("totalResults")) != "10000" || name != "a page of few" && list[0].(*scim.Object).String("id") != "9999" {
			t.Errorf("%s: %.300s", name, a.body)
		}
		many.do("GET", path, "").want(t, 400, scim.TooMany)
	}
	many.do("GET", query("count", "2"), "").want(t, 200, "") // who does not ask for an order is answered
}
