package client_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/gatehouse-sso/gatehouse/provisioning/scim"
	"github.com/gatehouse-sso/gatehouse/provisioning/scim/client"
	"github.com/gatehouse-sso/gatehouse/provisioning/scim/memstore"
	"github.com/gatehouse-sso/gatehouse/provisioning/scim/server"
	"github.com/gatehouse-sso/gatehouse/provisioning/scim/v1"
)

const at = "https://x.test/scim/v2"

func serve(t testing.TB) http.Handler {
	t.Helper()
	s, err := server.New(server.Config{Base: at, Authenticate: server.Bearer("t"), Resources: []server.Resource{
		{Type: scim.UserType(), Store: memstore.New(scim.UserType(), nil)}, {Type: scim.GroupType(), Store: memstore.New(scim.GroupType(), nil)},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func user(name string) *scim.Object {
	return scim.NewObject("schemas", []any{scim.UserURN}, "userName", name)
}

func TestAllFindsEveryoneOnce(t *testing.T) {
	t.Parallel()
	c, ctx := open(t, serve(t)), t.Context()
	for i := range 25 {
		if _, err := c.Create(ctx, "/Users", user(fmt.Sprintf("u%02d", 24-i))); err != nil {
			t.Fatal(err)
		}
	}
	if yes, err := c.Cursors(ctx); err != nil || !yes {
		t.Errorf("cursors: %t, %v", yes, err)
	}
	for _, q := range []client.Query{{Count: 10}, {Count: 10, ByCursor: true}, {Count: 10, ByCursor: true, Post: true}, {Count: 5, Post: true, SortBy: "userName"}} {
		names := map[string]bool{}
		for r, err := range c.All(ctx, "/Users", q) {
			if err != nil {
				t.Fatalf("%+v: %v", q, err)
			}
			if names[r.String("userName")] {
				t.Errorf("%+v: %s twice", q, r.String("userName"))
			}
			names[r.String("userName")] = true
		}
		if len(names) != 25 {
			t.Errorf("%+v finds %d", q, len(names))
		}
	}
	p, err := c.List(ctx, "/Users", client.Query{SortBy: "userName", Descending: true, Count: 2, Attributes: []string{"userName"}})
	if err != nil || p.Resources[0].String("userName") != "u24" || p.Resources[0].Get("meta") != nil {
		t.Errorf("%v, %v", p, err)
	}
}

// A server whose lists do not end must not keep us for ever.
func TestAllEndsWhereTheListDoesNot(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]string{
		"same page":       `{"totalResults":1000,"Resources":[{"id":"1"}]}`,
		"same cursor":     `{"nextCursor":"x","Resources":[]}`,
		"no one, forever": `{"nextCursor":"%d","Resources":[]}`,
	} {
		n := 0
		c := open(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", scim.MediaType)
			n++
			fmt.Fprint(w, strings.ReplaceAll(body, "%d", fmt.Sprint(n)))
		}))
		var last error
		for _, err := range c.All(t.Context(), "/Users", client.Query{ByCursor: !strings.HasPrefix(name, "same page")}) {
			last = err
		}
		if e := failure(t, last); !e.Unreadable || n > 20 {
			t.Errorf("%s: %v after %d requests", name, e, n)
		}
	}
}

func TestBulkSaysWhatBecameOfEach(t *testing.T) {
	t.Parallel()
	c, ctx := open(t, serve(t)), t.Context()
	res, err := c.Bulk(ctx, []client.Operation{
		{Method: "POST", Path: "/Groups", BulkID: "g", Data: scim.NewObject("schemas", []any{scim.GroupURN}, "displayName", "g", "members", []any{scim.NewObject("value", "bulkId:u")})},
		{Method: "POST", Path: "/Users", BulkID: "u", Data: user("kim")},
		{Method: "POST", Path: "/Users", BulkID: "v", Data: user("KIM")},
		{Method: "DELETE", Path: "/Users/nobody"},
		{Method: "DELETE", Path: "/Users/somebody"},
	}, 2)
	if err != nil {
		t.Fatal(err)
	}
	got := ""
	for _, r := range res {
		got += fmt.Sprintf("%d%s ", r.Status, r.Type)
	}
	if got != "201 201 409uniqueness 404 0 " {
		t.Error(got)
	}
	g, err := c.Get(ctx, "/Groups", res[0].ID)
	if err != nil || g.List("members")[0].(*scim.Object).String("value") != res[1].ID || res[1].ID == "" {
		t.Errorf("%v, %v", g, err)
	}
	if _, err := c.Bulk(ctx, nil, 0); failure(t, err).Status != 400 {
		t.Error(err)
	}
}

// The client for 1.1 is given and gives what the one for 2.0 does.
func TestSC65_Client(t *testing.T) {
	t.Parallel()
	h := &v1.Handler{Base: "https://x.test/scim/v1", Server: serve(t), At: at}
	var last *http.Request
	var body *scim.Object
	two := open(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		last = r
		r.URL.Path = strings.Replace(r.URL.Path, "/v2/", "/v1/", 1)
		h.ServeHTTP(w, r)
	}))
	c, ctx := two.V1(), t.Context()
	in := user("kim")
	in.Set(scim.EnterpriseUserURN, scim.NewObject("department", "IT", "manager", scim.NewObject("value", "7")))
	in.Set("emails", []any{scim.NewObject("value", "a@x", "type", "work"), scim.NewObject("value", "b@x")})
	made, err := c.Create(ctx, "/Users", in)
	if err != nil {
		t.Fatal(err)
	}
	body = made.Sub(scim.EnterpriseUserURN)
	if body.Sub("manager").String("value") != "7" || made.Version() != `W/"1"` || last.Header.Get("Content-Type") != "application/json" {
		t.Errorf("%s", made.AppendJSON(nil))
	}
	ops := func(ops ...scim.Operation) scim.Patch { return scim.Patch{Operations: ops} }
	got, err := c.Patch(ctx, "/Users", made.ID(), made.Version(), ops(
		scim.Operation{Op: "replace", Path: "active", Value: false},
		scim.Operation{Op: "replace", Path: "name.givenName", Value: "Kim"},
		scim.Operation{Op: "replace", Path: scim.EnterpriseUserURN + ":department", Value: "HR"},
		scim.Operation{Op: "remove", Path: scim.EnterpriseUserURN + ":manager"},
		scim.Operation{Op: "replace", Path: "emails", Value: []any{scim.NewObject("value", "c@x")}},
	))
	if err != nil {
		t.Fatal(err)
	}
	if ext := got.Sub(scim.EnterpriseUserURN); got.Get("active") != false || got.Sub("name").String("givenName") != "Kim" || ext.String("department") != "HR" || ext.Get("manager") != nil || len(got.List("emails")) != 1 {
		t.Errorf("%s", got.AppendJSON(nil))
	}
	f := scim.Compare{Path: scim.Path{URN: scim.EnterpriseUserURN, Name: "department"}, Op: scim.Eq, Value: "HR"}
	if p, err := c.List(ctx, "/Users", client.Query{Filter: f, Without: []string{"groups"}}); err != nil || p.Total != 1 || p.Resources[0].String("userName") != "kim" || len(p.Resources[0].List("schemas")) != 2 {
		t.Errorf("%v, %v", p, err)
	}
	if q := last.URL.Query(); !strings.HasPrefix(q.Get("filter"), v1.EnterpriseURN) || q.Has("excludedAttributes") {
		t.Errorf("1.1 was asked %v", q)
	}
	g, err := c.Create(ctx, "/Groups", scim.NewObject("schemas", []any{scim.GroupURN}, "displayName", "g", "members", []any{scim.NewObject("value", "1")}))
	if err != nil {
		t.Fatal(err)
	}
	if g, err = c.Patch(ctx, "/Groups", g.ID(), "", ops(
		scim.Operation{Op: "remove", Path: `members[value eq "1"]`}, scim.Operation{Op: "add", Path: "members", Value: []any{scim.NewObject("value", "2")}},
	)); err != nil || len(g.List("members")) != 1 || g.List("members")[0].(*scim.Object).String("value") != "2" || g.List("schemas")[0] != scim.GroupURN {
		t.Errorf("%v, %v", g, err)
	}
	if o, err := c.Config(ctx); err != nil || o.Sub("patch").Get("supported") != true {
		t.Errorf("%v, %v", o, err)
	}
	_, err = c.Create(ctx, "/Users", user("kim"))
	if e := failure(t, err); e.Status != 409 || !e.SCIM {
		t.Errorf("%+v", e)
	}
	n := 0
	for _, err := range c.All(ctx, "/Users", client.Query{}) {
		if n++; err != nil {
			t.Error(err)
		}
	}
	if n != 1 {
		t.Errorf("%d users", n)
	}
	for name, err := range map[string]error{
		"bulk":   second(c.Bulk(ctx, []client.Operation{{Method: "DELETE", Path: "/Users/1"}}, 0)),
		"cursor": second(c.List(ctx, "/Users", client.Query{ByCursor: true})),
		"patch":  second(c.Patch(ctx, "/Users", "1", "", ops(scim.Operation{Op: "replace", Path: `emails[type eq "work"].value`, Value: "x"}))),
	} {
		if e := failure(t, err); !errors.Is(e, errors.ErrUnsupported) || e.Sent {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func second[T any](_ T, err error) error { return err }
