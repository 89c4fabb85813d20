package scim2_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gatehouse-sso/gatehouse/provisioning/connector"
	"github.com/gatehouse-sso/gatehouse/provisioning/connector/connectortest"
	"github.com/gatehouse-sso/gatehouse/provisioning/connector/scim2"
	"github.com/gatehouse-sso/gatehouse/provisioning/scim"
	"github.com/gatehouse-sso/gatehouse/provisioning/scim/memstore"
	"github.com/gatehouse-sso/gatehouse/provisioning/scim/server"
	v1 "github.com/gatehouse-sso/gatehouse/provisioning/scim/v1"
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
	client  *http.Client // its own: a test server that closes disturbs what goes through http.DefaultTransport
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
	return target{store, groups, a, s.URL + "/scim/v2", s.Client()}
}

func (g target) connect(t *testing.T, c scim2.Config) *scim2.Connector {
	t.Helper()
	c.URL, c.Client = g.url, g.client
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

// Over the words of SCIM 1.1, in front of our own server.
func TestConnectorOverSCIM11(t *testing.T) {
	for name, how := range map[string]scim2.Update{"as it can": scim2.Auto, "by PUT": scim2.Put} {
		t.Run(name, func(t *testing.T) {
			connectortest.Test(t, func(t *testing.T) connectortest.Harness {
				return harness(t, scim2.Config{V1: true, Update: how}, func(good http.Handler) http.Handler {
					return &v1.Handler{Base: "http://target.test/scim/v2", Server: good, At: "http://target.test/scim/v2"}
				})
			})
		})
	}
}

// What goes over the wire is 1.1, in the shapes that its servers know.
func TestSCIM11SpeaksItsOwnWords(t *testing.T) {
	t.Parallel()
	var sent []string
	target := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sent = append(sent, r.Method+" "+r.URL.Path+" "+r.URL.Query().Get("filter")+" "+readAll(r))
		w.Header().Set("Content-Type", "application/json")
		switch {
		case r.Method == http.MethodPost:
			w.WriteHeader(http.StatusCreated)
			_, _ = io.WriteString(w, `{"schemas":["urn:scim:schemas:core:1.0"],"id":"1","userName":"ana","active":true}`)
		case strings.HasSuffix(r.URL.Path, "/Users"):
			_, _ = io.WriteString(w, `{"schemas":["urn:scim:schemas:core:1.0"],"totalResults":0,"Resources":[]}`)
		case r.URL.Path == "/v1/Users/2":
			w.WriteHeader(http.StatusNotFound)
			_, _ = io.WriteString(w, `{"Errors":[{"description":"there is none","code":"404"}]}`)
		case strings.HasPrefix(r.URL.Path, "/v1/ServiceProviderConfig"):
			_, _ = io.WriteString(w, `{"schemas":["urn:scim:schemas:core:1.0"],"patch":{"supported":true}}`)
		case strings.HasPrefix(r.URL.Path, "/v1/Groups/"):
			w.WriteHeader(http.StatusNoContent)
		default:
			_, _ = io.WriteString(w, `{"schemas":["urn:scim:schemas:core:1.0"],"id":"1","externalId":"0199-ana","userName":"ana","active":true,"title":"Dr","urn:scim:schemas:extension:enterprise:1.0":{"manager":{"managerId":"7"}}}`)
		}
	}))
	t.Cleanup(target.Close)
	c, err := scim2.New(scim2.Config{URL: target.URL + "/v1", Client: target.Client(), V1: true})
	if err != nil {
		t.Fatal(err)
	}
	manager := scim.EnterpriseUserURN + ":manager.value"
	sync(t, c, connector.Account{ExternalID: "0199-ana", UserName: "ana", Active: true, Attributes: map[string][]string{manager: {"7"}}}, "")
	sync(t, c, connector.Account{ExternalID: "0199-ana", UserName: "ana", Attributes: map[string][]string{"title": nil}}, "1")
	if err := c.ChangeMembers(t.Context(), "g", []string{"2"}, []string{"1"}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Sync(t.Context(), connector.Account{UserName: "ana"}, "2"); connector.ClassOf(err) != connector.Gone {
		t.Errorf("got %v, want gone", err)
	}
	var writes []string
	for _, s := range sent {
		if !strings.HasPrefix(s, "GET ") {
			writes = append(writes, s)
		}
	}
	want := []string{
		`POST /v1/Users  {"schemas":["urn:scim:schemas:core:1.0","urn:scim:schemas:extension:enterprise:1.0"],"externalId":"0199-ana","userName":"ana","active":true,"urn:scim:schemas:extension:enterprise:1.0":{"manager":{"managerId":"7"}}}`,
	}
	if diff := cmp.Diff(want, writes[:1]); diff != "" {
		t.Error(diff)
	}
	for _, w := range writes {
		if strings.Contains(w, `"operation":"delete"`) && strings.Contains(w, `{"value":"2"}`) {
			t.Errorf("members come and go in one message: %s", w)
		}
	}
	for _, part := range []string{`{"value":"2"}`, `PATCH /v1/Users/1  {"schemas":["urn:scim:schemas:core:1.0"]`, `"active":false`, `"meta":{"attributes":["title"]}`, `PATCH /v1/Groups/g  `, `"operation":"delete"`} {
		if !strings.Contains(strings.Join(writes, "\n"), part) {
			t.Errorf("nothing says %s in\n%s", part, strings.Join(writes, "\n"))
		}
	}
	if !strings.Contains(strings.Join(sent, "\n"), `GET /v1/Users externalId eq "0199-ana"`) {
		t.Errorf("it searched so: %s", sent)
	}
}
