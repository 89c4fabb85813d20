package v1_test

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gatehouse-sso/gatehouse/provisioning/scim"
	"github.com/gatehouse-sso/gatehouse/provisioning/scim/memstore"
	"github.com/gatehouse-sso/gatehouse/provisioning/scim/server"
	"github.com/gatehouse-sso/gatehouse/provisioning/scim/v1"
)

// site is a 1.1 server that is asked without a network.
type site struct {
	t testing.TB
	h http.Handler
}

func open(t testing.TB) site {
	t.Helper()
	s, err := server.New(server.Config{
		Base: "https://sso.test/scim/v2", Authenticate: server.Bearer("t"), Log: slog.New(slog.DiscardHandler),
		Resources: []server.Resource{
			{Type: scim.UserType(), Store: memstore.New(scim.UserType(), nil)},
			{Type: scim.GroupType(), Store: memstore.New(scim.GroupType(), nil)},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return site{t, &v1.Handler{Base: "https://sso.test/scim/v1", Server: s, At: "https://sso.test/scim/v2"}}
}

type answer struct {
	*http.Response
	body string
	obj  *scim.Object
}

func (s site) do(method, path, body string, headers ...string) answer {
	s.t.Helper()
	r := httptest.NewRequest(method, "http://inside.test/scim/v1"+path, strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer t")
	r.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(headers); i += 2 {
		if r.Header.Del(headers[i]); headers[i+1] != "" {
			r.Header.Set(headers[i], headers[i+1])
		}
	}
	w := httptest.NewRecorder()
	s.h.ServeHTTP(w, r)
	data, _ := io.ReadAll(w.Result().Body)
	a := answer{w.Result(), string(data), nil}
	if len(data) > 0 {
		o, err := scim.Decode(data)
		if err != nil {
			s.t.Fatalf("%s %s: %v in %s", method, path, err, data)
		}
		a.obj = o
		if ct := a.Header.Get("Content-Type"); ct != "application/json" {
			s.t.Errorf("%s %s: the content type is %q", method, path, ct)
		}
		if strings.Contains(a.body, ":2.0") || strings.Contains(a.body, "/scim/v2") {
			s.t.Errorf("%s %s answers in words of 2.0: %s", method, path, a.body)
		}
	}
	return a
}

// want fails unless the answer has this status and, if it is an error, the form of 1.1.
func (a answer) want(t testing.TB, status int) answer {
	t.Helper()
	if a.StatusCode != status {
		t.Fatalf("%d, want %d: %s", a.StatusCode, status, a.body)
	}
	if status >= 400 {
		list := a.obj.List("Errors")
		if len(list) != 1 || list[0].(*scim.Object).String("code") != fmt.Sprint(status) || list[0].(*scim.Object).String("description") == "" {
			t.Errorf("the error is %s", a.body)
		}
	}
	return a
}

const kim = `{"schemas":["urn:scim:schemas:core:1.0","urn:scim:schemas:extension:enterprise:1.0"],"userName":"kim","title":"Dr","name":{"givenName":"Kim","familyName":"Lee"},` +
	`"emails":[{"value":"a@x","type":"work"},{"value":"b@x","type":"home"}],"urn:scim:schemas:extension:enterprise:1.0":{"department":"IT","manager":{"managerId":"7"}}}`

func TestSC65_ResourcesInTheWordsOf11(t *testing.T) {
	t.Parallel()
	s := open(t)
	made := s.do("POST", "/Users", kim).want(t, 201)
	id := made.obj.String("id")
	if loc := made.Header.Get("Location"); loc != "https://sso.test/scim/v1/Users/"+id || made.obj.Sub("meta").String("location") != loc {
		t.Errorf("the location is %q: %s", loc, made.body)
	}
	if made.Header.Get("ETag") != `W/"1"` || made.obj.Sub("meta").Get("resourceType") != nil {
		t.Error(made.body)
	}
	ext := made.obj.Sub(v1.EnterpriseURN)
	if ext.String("department") != "IT" || ext.Sub("manager").String("managerId") != "7" || cmp.Diff([]any{v1.CoreURN, v1.EnterpriseURN}, made.obj.List("schemas")) != "" {
		t.Error(made.body)
	}
	if got := s.do("GET", "/Users/"+id+".json", ""); got.StatusCode != 404 {
		t.Errorf("an id ends in .json: %d", got.StatusCode)
	}
	if got := s.do("GET", "/Users/"+id, "").want(t, 200); got.body != made.body {
		t.Error(cmp.Diff(made.body, got.body))
	}
	for _, q := range []string{
		`filter=urn:scim:schemas:core:1.0:userName+eq+%22kim%22`, `filter=userName+eq+%22kim%22&sortBy=userName`, `filter=urn:scim:schemas:extension:enterprise:1.0:department+eq+%22IT%22`,
		`filter=urn:scim:schemas:extension:enterprise:1.0:manager.managerId+eq+%227%22`,
	} {
		l := s.do("GET", "/Users?"+q, "").want(t, 200)
		if fmt.Sprint(l.obj.Get("totalResults")) != "1" || len(l.obj.List("Resources")) != 1 || cmp.Diff([]any{v1.CoreURN}, l.obj.List("schemas")) != "" {
			t.Errorf("%s: %s", q, l.body)
		}
	}
	if l := s.do("GET", "/Users?filter=userName+eq+%22nobody%22", "").want(t, 200); !strings.Contains(l.body, `"Resources":[]`) {
		t.Error(l.body)
	}
	if a := s.do("PUT", "/Users/"+id, `{"schemas":["urn:scim:schemas:core:1.0"],"userName":"kim2"}`, "If-Match", `W/"1"`).want(t, 200); a.obj.Get("title") != nil || a.obj.String("userName") != "kim2" {
		t.Error(a.body)
	}
	s.do("PUT", "/Users/"+id, `{"schemas":["urn:scim:schemas:core:1.0"],"userName":"kim3"}`, "If-Match", `W/"1"`).want(t, 412)
	s.do("GET", "/Users/"+id, "", "If-None-Match", `W/"2"`).want(t, 304)
	s.do("DELETE", "/Users/"+id, "").want(t, 204)
	s.do("GET", "/Users/"+id, "").want(t, 404)
}

func TestSC65_Patch(t *testing.T) {
	t.Parallel()
	s := open(t)
	id := s.do("POST", "/Users", kim).want(t, 201).obj.String("id")
	a := s.do("PATCH", "/Users/"+id, `{"schemas":["urn:scim:schemas:core:1.0"],"nickName":"k","name":{"givenName":"Kimberly"},"meta":{"attributes":["title","urn:scim:schemas:extension:enterprise:1.0:manager"]},`+
		`"emails":[{"value":"a@x","operation":"delete"},{"value":"c@x","type":"other"}],"urn:scim:schemas:extension:enterprise:1.0":{"department":"HR"}}`).want(t, 200)
	want := `{"schemas":["urn:scim:schemas:core:1.0","urn:scim:schemas:extension:enterprise:1.0"],"userName":"kim","name":{"givenName":"Kimberly","familyName":"Lee"},` +
		`"emails":[{"value":"b@x","type":"home"},{"value":"c@x","type":"other"}],"nickName":"k","urn:scim:schemas:extension:enterprise:1.0":{"department":"HR"}}`
	got := a.obj.Clone()
	got.Delete("id")
	got.Delete("meta")
	if w, _ := scim.Decode([]byte(want)); !got.Equal(w) {
		t.Error(cmp.Diff(want, string(got.AppendJSON(nil))))
	}
	for _, bad := range []string{
		`{"schemas":["urn:scim:schemas:core:1.0"]}`, `{"emails":[{"operation":"delete"}]}`, `{"emails":[{"type":{"a":1},"operation":"delete"}]}`,
		`{"meta":{"attributes":[1]}}`, `{"meta":{"attributes":["userName"]}}`, `{"colour":"x"}`, `{"title":"a","title":"b"}`, `{`,
	} {
		s.do("PATCH", "/Users/"+id, bad).want(t, 400)
	}
	if b := s.do("GET", "/Users/"+id, ""); b.body != a.body {
		t.Error("a refused patch changed something")
	}

	a = s.do("PATCH", "/Users/"+id, `{"emails":[{"value":"only@x"}],"meta":{"attributes":["emails"]}}`).want(t, 200) // cleared, then set
	if got := string(scim.NewObject("e", a.obj.List("emails")).AppendJSON(nil)); got != `{"e":[{"value":"only@x"}]}` {
		t.Error(got)
	}
	g := s.do("POST", "/Groups", `{"schemas":["urn:scim:schemas:core:1.0"],"displayName":"g","members":[{"value":"1"},{"value":"2"}]}`).want(t, 201)
	g = s.do("PATCH", "/Groups/"+g.obj.String("id"), `{"members":[{"value":"1","operation":"delete"},{"display":"x","value":"3"}]}`).want(t, 200)
	if got := string(scim.NewObject("m", g.obj.List("members")).AppendJSON(nil)); got != `{"m":[{"value":"2"},{"display":"x","value":"3"}]}` {
		t.Error(got)
	}
}

func TestSC65_MethodOverride(t *testing.T) {
	t.Parallel()
	s := open(t)
	id := s.do("POST", "/Users", kim).want(t, 201).obj.String("id")
	s.do("POST", "/Users/"+id, `{"title":"Mr"}`, "X-HTTP-Method-Override", "PATCH").want(t, 200)
	s.do("GET", "/Users/"+id, "", "X-HTTP-Method-Override", "DELETE").want(t, 200)
	s.do("POST", "/Users/"+id, "", "X-HTTP-Method-Override", "TRACE").want(t, 400)
	s.do("POST", "/Users/"+id, "", "X-HTTP-Method-Override", "delete").want(t, 204)
	s.do("GET", "/Users/"+id, "").want(t, 404)
}

func TestSC65_Bulk(t *testing.T) {
	t.Parallel()
	s := open(t)
	a := s.do("POST", "/Bulk", `{"schemas":["urn:scim:schemas:core:1.0"],"failOnErrors":2,"Operations":[`+
		`{"method":"POST","path":"/Groups","bulkId":"g","data":{"schemas":["urn:scim:schemas:core:1.0"],"displayName":"g","members":[{"value":"bulkId:u"}]}},`+
		`{"method":"POST","path":"/Users","bulkId":"u","data":`+kim+`},`+
		`{"method":"PATCH","path":"/Users/bulkId:u","data":{"title":"Mr"}},`+
		`{"method":"DELETE","path":"/Users/nobody"}]}`).want(t, 200)
	var codes []string
	for _, v := range a.obj.List("Operations") {
		op := v.(*scim.Object)
		codes = append(codes, op.Sub("status").String("code"))
		if loc := op.String("location"); loc != "" && !strings.HasPrefix(loc, "https://sso.test/scim/v1/") {
			t.Error(loc)
		}
	}
	if fmt.Sprint(codes) != "[201 201 200 404]" {
		t.Errorf("%v: %s", codes, a.body)
	}
	if l := s.do("GET", "/Users?filter=title+eq+%22Mr%22", ""); fmt.Sprint(l.obj.Get("totalResults")) != "1" {
		t.Error(l.body)
	}
}

func TestSC65_Envelope(t *testing.T) {
	t.Parallel()
	s := open(t)
	c := s.do("GET", "/ServiceProviderConfigs", "").want(t, 200)
	if c.obj.Sub("patch").Get("supported") != true || c.obj.Sub("xmlDataFormat").Get("supported") != false || c.obj.Get("pagination") != nil {
		t.Error(c.body)
	}
	l := s.do("GET", "/Schemas", "").want(t, 200)
	if n := len(l.obj.List("Resources")); n != 3 {
		t.Errorf("%d schemas", n)
	}
	one := s.do("GET", "/Schemas/urn:scim:schemas:core:1.0:User", "").want(t, 200)
	if one.obj.String("endpoint") != "/Users" || one.obj.List("attributes")[0].(*scim.Object).Get("readOnly") != false {
		t.Error(one.body)
	}
	for _, accept := range []string{"application/xml", "text/xml;q=1"} {
		s.do("GET", "/Users", "", "Accept", accept).want(t, 406)
	}
	s.do("GET", "/Users.xml", "").want(t, 406)
	s.do("POST", "/Users", "<User/>", "Content-Type", "application/xml").want(t, 415)
	s.do("GET", "/Users", "", "Accept", "application/xml, application/json").want(t, 200)
	s.do("GET", "/Users.json", "").want(t, 200)
	for _, path := range []string{"/Me", "/.search", "/ResourceTypes", "/nothing", "/Bulk/x"} {
		s.do("GET", path, "").want(t, 404)
	}
	s.do("DELETE", "/Users", "").want(t, 405)
	if a := s.do("POST", "/Users", "{", "Authorization", "").want(t, 401); a.Header.Get("WWW-Authenticate") == "" {
		t.Error("no WWW-Authenticate")
	}
	s.do("POST", "/Users", `{"userName":"`+strings.Repeat("x", 2<<20)+`"}`).want(t, 413)
	s.do("POST", "/Users", kim).want(t, 201)
	s.do("POST", "/Users", kim).want(t, 409)
}
