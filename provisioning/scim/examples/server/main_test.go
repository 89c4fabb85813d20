package main

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/gatehouse-sso/gatehouse/provisioning/scim"
	"github.com/gatehouse-sso/gatehouse/provisioning/scim/scimtest"
)

const (
	host  = "https://x.test"
	token = "Bearer t"
)

func open(t testing.TB) scimtest.Server {
	t.Helper()
	h, err := handler(host, "t")
	if err != nil {
		t.Fatal(err)
	}
	return scimtest.Server{Base: host + "/scim/v2", Client: scimtest.Local(h, "Authorization", token), Skip: map[string]string{
		"SC05_MethodsAndRoutes": "a ServeMux cleans addresses before the server sees them",
	}}
}

func TestConformance(t *testing.T) { scimtest.Test(t, open) }

type asker struct {
	t *testing.T
	scimtest.Server
}

func (a asker) ask(status int, method, path, body string) *scim.Object {
	a.t.Helper()
	r, err := http.NewRequestWithContext(a.t.Context(), method, a.Base+path, strings.NewReader(body))
	if err != nil {
		a.t.Fatal(err)
	}
	resp, err := a.Client.Do(r)
	if err != nil {
		a.t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != status {
		a.t.Fatalf("%s %s: %d %s, %v", method, path, resp.StatusCode, data, err)
	}
	o, err := scim.Decode(data)
	if err != nil {
		a.t.Fatal(err)
	}
	return o
}

// A resource type and an extension that only exist as JSON are served, described, checked and found.
func TestSC62_TypesAndExtensionsOfOnesOwn(t *testing.T) {
	t.Parallel()
	a := asker{t, open(t)}
	const schemas = `"schemas":["urn:example:scim:schemas:1.0:Device"]`
	d := a.ask(201, "POST", "/Devices", `{`+schemas+`,"serial":"SN-1","weight":1.5,"bought":"2026-01-02T03:04:05Z","kind":"tablet"}`)
	a.ask(409, "POST", "/Devices", `{`+schemas+`,"serial":"SN-1"}`)
	a.ask(400, "POST", "/Devices", `{`+schemas+`,"serial":"1"}`)
	a.ask(400, "POST", "/Devices", `{`+schemas+`,"serial":"SN-2","weight":"heavy"}`)
	a.ask(400, "PATCH", "/Devices/"+d.String("id"), scimtest.Patch(`{"op":"replace","path":"serial","value":"SN-2"}`))
	if l := a.ask(200, "GET", "/Devices?filter=weight+gt+1+and+bought+lt+%222027-01-01T00:00:00Z%22", ""); fmt.Sprint(l.Get("totalResults")) != "1" {
		t.Errorf("%s", l.AppendJSON(nil))
	}
	const urn = "urn:example:scim:schemas:1.0:Badge"
	u := a.ask(201, "POST", "/Users", scimtest.User(`"userName":"kim","`+urn+`":{"number":7,"doors":[{"value":"north"}],"pin":"1234","photo":"https://x.test/p","colour":"red"}`))
	badge := u.Sub(urn)
	if badge.Len() != 2 || fmt.Sprint(badge.Get("number")) != "7" || len(u.List("schemas")) != 2 {
		t.Errorf("%s", u.AppendJSON(nil))
	}
	if got := a.ask(200, "GET", "/Users/"+u.String("id")+"?attributes="+urn+":photo", "").Sub(urn); got.Len() != 1 || got.String("photo") == "" {
		t.Errorf("%s", got.AppendJSON(nil))
	}
	for filter, want := range map[string]string{urn + `:number+ge+7`: "1", urn + `:doors[value+eq+%22NORTH%22]`: "1", urn + `:number+lt+7`: "0"} {
		if l := a.ask(200, "GET", "/Users?filter="+filter, ""); fmt.Sprint(l.Get("totalResults")) != want {
			t.Errorf("%s: %s", filter, l.AppendJSON(nil))
		}
	}
	a.ask(400, "GET", "/Users?filter="+urn+`:pin+pr`, "")
	a.ask(400, "POST", "/Users", scimtest.User(`"userName":"lee","`+urn+`":{"number":"seven"}`))
	if s := a.ask(200, "GET", "/Schemas/"+urn, ""); len(s.List("attributes")) != 4 {
		t.Errorf("%s", s.AppendJSON(nil))
	}
	if r := a.ask(200, "GET", "/ResourceTypes/Device", ""); r.String("endpoint") != "/Devices" {
		t.Errorf("%s", r.AppendJSON(nil))
	}
}
