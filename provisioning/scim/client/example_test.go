package client_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/gatehouse-sso/gatehouse/provisioning/scim"
	"github.com/gatehouse-sso/gatehouse/provisioning/scim/client"
	"github.com/gatehouse-sso/gatehouse/provisioning/scim/memstore"
	"github.com/gatehouse-sso/gatehouse/provisioning/scim/server"
)

// All users of a server, page by page, by cursor where the server has them.
func ExampleClient_All() {
	ts := httptest.NewServer(people("kim", "lee", "sam"))
	defer ts.Close()

	ctx := context.Background()
	c, err := client.New(ts.URL+"/scim/v2", nil, func(r *http.Request) { r.Header.Set("Authorization", "Bearer secret") })
	if err != nil {
		fmt.Println(err)
		return
	}
	q := client.Query{SortBy: "userName", Descending: true, Count: 2}
	if q.ByCursor, err = c.Cursors(ctx); err != nil {
		fmt.Println(err)
		return
	}
	for u, err := range c.All(ctx, "/Users", q) {
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(u.String("userName"))
	}
	// Output:
	// sam
	// lee
	// kim
}

// Several changes in one request, one of which refers to another.
func ExampleClient_Bulk() {
	ts := httptest.NewServer(people())
	defer ts.Close()
	c, err := client.New(ts.URL+"/scim/v2", nil, func(r *http.Request) { r.Header.Set("Authorization", "Bearer secret") })
	if err != nil {
		fmt.Println(err)
		return
	}
	results, err := c.Bulk(context.Background(), []client.Operation{
		{Method: "POST", Path: "/Users", BulkID: "a", Data: scim.NewObject("schemas", []any{scim.UserURN}, "userName", "kim")},
		{Method: "PATCH", Path: "/Users/bulkId:a", Data: scim.Patch{Operations: []scim.Operation{{Op: "add", Path: "title", Value: "Dr"}}}.Object()},
		{Method: "DELETE", Path: "/Users/nobody"},
	}, 0)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, r := range results {
		fmt.Println(r.Method, r.Status)
	}
	// Output:
	// POST 201
	// PATCH 200
	// DELETE 404
}

// people is a server with these users.
func people(names ...string) http.Handler {
	store := memstore.New(scim.UserType(), nil)
	for _, n := range names {
		if _, err := store.Create(context.Background(), &scim.Resource{Object: *user(n)}); err != nil {
			panic(err)
		}
	}
	s, err := server.New(server.Config{Base: at, Authenticate: server.Bearer("secret"), Resources: []server.Resource{{Type: scim.UserType(), Store: store}}})
	if err != nil {
		panic(err)
	}
	return s
}
