package scim2_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/gatehouse-sso/gatehouse/provisioning/connector"
	"github.com/gatehouse-sso/gatehouse/provisioning/connector/connectortest"
	"github.com/gatehouse-sso/gatehouse/provisioning/connector/scim2"
	"github.com/gatehouse-sso/gatehouse/provisioning/scim"
	"github.com/gatehouse-sso/gatehouse/provisioning/scim/memstore"
	"github.com/gatehouse-sso/gatehouse/provisioning/scim/server"
)

const (
	secret = "a-secret-token"
	mail   = `emails[type eq "work"].value`
)

// target is our own server over a memstore, with an Awkward before it.
type target struct {
	store   *memstore.Store
	groups  *memstore.Store
	awkward *connectortest.Awkward
	url     string
}

func open(t *testing.T) target {
	t.Helper()
	a := &connectortest.Awkward{}
	s := httptest.NewServer(a)
	t.Cleanup(s.Close)
	store, groups := memstore.New(scim.UserType(), nil), memstore.New(scim.GroupType(), nil)
	h, err := server.New(server.Config{
		Base:         s.URL + "/scim/v2",
		Authenticate: server.Bearer(secret),
		Resources:    []server.Resource{{Type: scim.UserType(), Store: store}, {Type: scim.GroupType(), Store: groups}},
	})
	if err != nil {
		t.Fatal(err)
	}
	a.Handler = h
	return target{store, groups, a, s.URL + "/scim/v2"}
}

func (g target) connect(t *testing.T, c scim2.Config) *scim2.Connector {
	t.Helper()
	c.URL = g.url
	if c.Auth == nil {
		c.Auth = scim2.Bearer(secret)
	}
	if c.PageSize == 0 {
		c.PageSize = 7
	}
	con, err := scim2.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return con
}

func (g target) held(t *testing.T) []*scim.Resource {
	t.Helper()
	p, err := g.store.List(context.Background(), scim.Query{Start: 1, Count: 1000})
	if err != nil {
		t.Fatal(err)
	}
	return p.Resources
}

// plant makes a resource of JSON and returns its id.
func (g target) plant(t *testing.T, json string) string {
	t.Helper()
	o, err := scim.Decode([]byte(json))
	if err != nil {
		t.Fatal(err)
	}
	o.Set("schemas", []any{scim.UserURN})
	r, err := scim.UserType().New(o)
	if err != nil {
		t.Fatal(err)
	}
	if r, err = g.store.Create(context.Background(), r); err != nil {
		t.Fatal(err)
	}
	return r.ID()
}

// values lists the strings at a path of a resource.
func values(t *testing.T, r *scim.Resource, path string) []string {
	t.Helper()
	p, err := scim.UserType().Path(path)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, v := range p.Values(&r.Object) {
		out = append(out, v.(string))
	}
	return out
}

func harness(t *testing.T, c scim2.Config, stubborn ...func(http.Handler) http.Handler) connectortest.Harness {
	g := open(t)
	for _, in := range stubborn {
		g.awkward.Handler = in(g.awkward.Handler)
	}
	return connectortest.Harness{
		Connector: g.connect(t, c),
		Mail:      mail,
		Title:     "title",
		Awkward:   g.awkward,
		Secret:    secret,
		HeldGroups: func() map[connector.Group][]string {
			p, err := g.groups.List(context.Background(), scim.Query{Start: 1, Count: 1000})
			if err != nil {
				t.Fatal(err)
			}
			out := map[connector.Group][]string{}
			for _, r := range p.Resources {
				var in []string
				for _, m := range r.List("members") {
					in = append(in, m.(*scim.Object).String("value"))
				}
				out[connector.Group{ID: r.ID(), ExternalID: r.ExternalID(), Name: r.String("displayName")}] = in
			}
			return out
		},
		PlantGroup: func(want connector.Group) string {
			r, err := scim.GroupType().New(scim.NewObject("schemas", []any{scim.GroupURN}, "displayName", want.Name))
			if err == nil {
				r, err = g.groups.Create(context.Background(), r)
			}
			if err != nil {
				t.Fatal(err)
			}
			return r.ID()
		},
		Held: func() []connector.Account {
			var out []connector.Account
			for _, r := range g.held(t) {
				out = append(out, connector.Account{
					ID: r.ID(), ExternalID: r.ExternalID(), UserName: r.String("userName"), Active: r.Get("active") == true,
					Attributes: map[string][]string{mail: values(t, r, mail), "title": values(t, r, "title")},
				})
			}
			return out
		},
		Plant: func(a connector.Account) string {
			o := scim.NewObject("userName", a.UserName, "active", a.Active)
			if a.ExternalID != "" {
				o.Set("externalId", a.ExternalID)
			}
			for _, v := range a.Attributes["title"] {
				o.Set("title", v)
			}
			for _, v := range a.Attributes[mail] {
				o.Set("emails", []any{scim.NewObject("value", v, "type", "work")})
			}
			return g.plant(t, string(o.AppendJSON(nil)))
		},
	}
}

func TestConnector(t *testing.T) {
	connectortest.Test(t, func(t *testing.T) connectortest.Harness { return harness(t, scim2.Config{}) })
}

func TestConnectorByPatch(t *testing.T) {
	connectortest.Test(t, func(t *testing.T) connectortest.Harness { return harness(t, scim2.Config{Update: scim2.Patch}) })
}

func TestConnectorByPut(t *testing.T) {
	connectortest.Test(t, func(t *testing.T) connectortest.Harness { return harness(t, scim2.Config{Update: scim2.Put}) })
}

func readAll(r *http.Request) string {
	b, _ := io.ReadAll(r.Body)
	return string(b)
}

func asError(err error, e **connector.Error) bool { return errors.As(err, e) }

func ptr[T any](v T) *T { return &v }
