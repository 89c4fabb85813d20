package scimtest

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gatehouse-sso/gatehouse/provisioning/scim"
)

// SC01_MediaTypes: SCIM's own type on every answer, and what clients send is taken.
func SC01_MediaTypes(t *testing.T, open Open) {
	s := begin(t, open)
	at := s.user(`"userName":"a"`)
	for i, ct := range []string{"application/scim+json", "application/json", "application/scim+json; charset=utf-8", "application/json;charset=UTF-8", "APPLICATION/JSON", ""} {
		s.do("POST", "/Users", User(fmt.Sprintf(`"userName":"m%d"`, i)), "Content-Type", ct).want(t, 201, "")
	}
	for _, ct := range []string{"application/xml", "text/xml", "text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin1", "application/json; charset", "multipart/form-data"} {
		s.do("POST", "/Users", User(`"userName":"b"`), "Content-Type", ct).want(t, 415, "")
		s.do("PUT", at, User(`"userName":"b"`), "Content-Type", ct).want(t, 415, "")
		s.do("PATCH", at, Patch(`{"op":"remove","path":"title"}`), "Content-Type", ct).want(t, 415, "")
		s.do("POST", "/Bulk", Bulk("", `{"method":"DELETE","path":"/Users/x"}`), "Content-Type", ct).want(t, 415, "")
	}
	for _, accept := range []string{"*/*", "text/json", "application/json", "application/scim+json", ""} {
		s.do("GET", at, "", "Accept", accept).want(t, 200, "")
	}
	// ask checks the content type of all of these.
	s.do("GET", "/nothing", "").want(t, 404, "")
	s.do("GET", at, "", "Authorization", "").want(t, 401, "")
	s.do("POST", "/Users", "{").want(t, 400, scim.InvalidSyntax)
}

// SC02_Errors: an error has SCIM's form, with the status as text and a scimType of the list.
func SC02_Errors(t *testing.T, open Open) {
	s := begin(t, open)
	at := s.user(`"userName":"a"`)
	for _, c := range []struct {
		a      answer
		status int
		typ    string
	}{
		{s.do("GET", users("filter", "colour pr"), ""), 400, scim.InvalidFilter},
		{s.do("POST", "/Users", User(`"userName":"A"`)), 409, scim.Uniqueness},
		{s.do("PATCH", at, Patch(`{"op":"replace","path":"id","value":"x"}`)), 400, scim.Mutability},
		{s.do("PATCH", at, "[]"), 400, scim.InvalidSyntax},
		{s.do("PATCH", at, Patch(`{"op":"add","path":"no such","value":1}`)), 400, scim.InvalidPath},
		{s.do("PATCH", at, Patch(`{"op":"remove"}`)), 400, scim.NoTarget},
		{s.do("POST", "/Users", User(`"userName":5`)), 400, scim.InvalidValue},
		{s.do("PUT", at, User(`"userName":"a"`), "If-Match", `W/"no"`), 412, scim.InvalidVers},
		{s.do("GET", "/Users/nobody", ""), 404, ""},
		{s.do("DELETE", "/Users", ""), 405, ""},
	} {
		c.a.want(t, c.status, c.typ)
		if d := c.a.obj.String("detail"); strings.Contains(d, ".go") || strings.Contains(d, "goroutine") {
			t.Errorf("the detail tells of our inside: %s", d)
		}
	}
}

// SC03_Location: what a creation answers is where the resource is, at the configured address.
func SC03_Location(t *testing.T, open Open) {
	s := begin(t, open)
	a := s.do("POST", "/Users", User(`"userName":"a"`), "X-Forwarded-Host", "evil.test").want(t, 201, "")
	loc := a.Header.Get("Location")
	if want := s.Base + "/Users/" + a.obj.String("id"); loc != want || a.obj.Sub("meta").String("location") != want {
		t.Errorf("the location is %q and %q, want %q", loc, a.obj.Sub("meta").String("location"), want)
	}
	if got := s.get(strings.TrimPrefix(loc, s.Base)); got.body != a.body {
		t.Error(cmp.Diff(a.body, got.body))
	}
}

// SC04_Delete: 204 without a body, 404 from then on, and the name is free.
func SC04_Delete(t *testing.T, open Open) {
	s := begin(t, open)
	at := s.user(`"userName":"a"`)
	a := s.do("DELETE", at, "", "Accept", "application/scim+json", "Content-Type", "application/scim+json").want(t, 204, "")
	if a.body != "" || a.Header.Get("Content-Type") != "" {
		t.Errorf("a deletion answers %q", a.body)
	}
	s.do("DELETE", at, "").want(t, 404, "")
	s.do("GET", at, "").want(t, 404, "")
	s.do("PUT", at, User(`"userName":"a"`)).want(t, 404, "")
	s.do("PATCH", at, Patch(`{"op":"remove","path":"title"}`)).want(t, 404, "")
	if again := s.user(`"userName":"a"`); again == at {
		t.Error("the id was used again")
	}
}

// SC05_MethodsAndRoutes: 405 says what is allowed, 404 what is not there, 401 how to get in.
func SC05_MethodsAndRoutes(t *testing.T, open Open) {
	s := begin(t, open)
	at := s.user(`"userName":"a"`)
	for _, c := range []struct{ method, path, allow string }{
		{"PUT", "/Users", "GET, POST"}, {"DELETE", "/Users", "GET, POST"}, {"PATCH", "/Groups", "GET, POST"},
		{"POST", at, "GET, PUT, PATCH, DELETE"}, {"POST", "/Schemas", "GET"}, {"PUT", "/ServiceProviderConfig", "GET"}, {"DELETE", "/ResourceTypes/User", "GET"},
		{"GET", "/Bulk", "POST"}, {"GET", "/.search", "POST"}, {"DELETE", "/Users/.search", "POST"},
	} {
		if got := s.do(c.method, c.path, "").want(t, 405, "").Header.Get("Allow"); got != c.allow {
			t.Errorf("%s %s: allowed are %q, want %q", c.method, c.path, got, c.allow)
		}
	}
	base, err := url.Parse(s.Base)
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"", "/", "x/Users", "/Users/a/b", "//Users", "/Users//", "/ServiceProviderConfig/x", "/Bulk/x", "/nothing", "/Users/.."} {
		u := *base
		u.Path += path
		r := (&http.Request{Method: "GET", URL: &u, Header: http.Header{}}).WithContext(context.Background())
		s.ask(r).want(t, 404, "")
	}
	if a := s.do("GET", at, "", "Authorization", "").want(t, 401, ""); a.Header.Get("WWW-Authenticate") == "" {
		t.Error("no WWW-Authenticate")
	}
}

// SC06_JSON: names in any case come out as the schema spells them; what can be read in two ways, or is too deep or too large, is refused.
func SC06_JSON(t *testing.T, open Open) {
	s := begin(t, open)
	a := s.get(s.made(s.do("POST", "/Users", strings.Replace(User(`"USERNAME":"a","Name":{"FAMILYNAME":"B"},"`+strings.ToUpper(scim.EnterpriseUserURN)+`":{"Department":"IT"}`), "schemas", "SCHEMAS", 1))))
	if a.obj.Sub("name").String("familyName") != "B" || !strings.Contains(a.body, `"userName":"a"`) || !strings.Contains(a.body, `"`+scim.EnterpriseUserURN+`":{"department":"IT"}`) {
		t.Error(a.body)
	}
	for body, status := range map[string]int{
		User(`"userName":"b","userName":"c"`): 400, User(`"userName":"b","active":true,"Active":false`): 400, User(`"userName":"b"`) + "x": 400,
		User(`"userName":"b","x":` + strings.Repeat("[", 100_000)): 400, User(`"userName":"b","x":` + strings.Repeat(`{"a":`, 50) + "1" + strings.Repeat("}", 50)): 400,
		User("\"userName\":\"\xff\""): 400, `[]`: 400, `null`: 400, ``: 400, `{"userName":"b"}`: 400, User(`"userName":"b"`)[1:]: 400,
		User(`"userName":"b","emails":[` + strings.Repeat(`{},`, 10_001) + `{}]`): 413,
		User(`"userName":"` + strings.Repeat("x", 10<<20) + `"`):                  413,
		strings.Repeat(" ", 10<<20) + User(`"userName":"b"`):                      413,
	} {
		typ := scim.InvalidSyntax
		if status == 413 {
			typ = ""
		}
		s.do("POST", "/Users", body).want(t, status, typ)
	}
	if n := s.get("/Users").total(); n != "1" {
		t.Errorf("refused messages made %s users", n)
	}
}

// SC07_SchemasMustBeNamed: a message says what it is.
func SC07_SchemasMustBeNamed(t *testing.T, open Open) {
	s := begin(t, open)
	at := s.user(`"userName":"a"`)
	for _, schemas := range []string{`"schemas":[],`, `"schemas":null,`, ``, `"schemas":["urn:x"],`, `"schemas":"` + scim.UserURN + `",`} {
		s.do("POST", "/Users", `{`+schemas+`"userName":"b"}`).want(t, 400, scim.InvalidSyntax)
		s.do("PUT", at, `{`+schemas+`"userName":"b"}`).want(t, 400, scim.InvalidSyntax)
		s.do("PATCH", at, `{`+schemas+`"Operations":[{"op":"remove","path":"title"}]}`).want(t, 400, scim.InvalidSyntax)
		s.do("POST", "/Bulk", `{`+schemas+`"Operations":[{"method":"DELETE","path":"/Users/x"}]}`).want(t, 400, scim.InvalidSyntax)
		s.do("POST", "/.search", `{`+schemas+`"count":1}`).want(t, 400, scim.InvalidSyntax)
	}
	a := s.do("POST", "/Users", `{"schemas":["urn:of:somebody:else","`+strings.ToUpper(scim.UserURN)+`"],"userName":"b"}`).want(t, 201, "")
	if diff := cmp.Diff([]any{scim.UserURN}, a.obj.List("schemas")); diff != "" {
		t.Error(diff)
	}
}

// SC08_Addresses: as clients write them, with a slash at the end and in any case.
func SC08_Addresses(t *testing.T, open Open) {
	s := begin(t, open)
	at := s.user(`"userName":"a"`)
	for _, path := range []string{"/Users/?filter=userName+eq+%22a%22", "/users?filter=userName%20eq%20%22a%22", "/USERS/?FILTER=userName+eq+%22a%22&StartIndex=1"} {
		if a := s.get(path); a.total() != "1" {
			t.Errorf("%s: %s", path, a.body)
		}
	}
	s.get(at + "/")
	for _, path := range []string{"/ServiceProviderConfig", "/ServiceProviderConfigs", "/serviceConfiguration", "/serviceproviderconfig/"} {
		if a := s.get(path); a.obj.Sub("patch").Get("supported") != true {
			t.Errorf("%s: %s", path, a.body)
		}
	}
}
