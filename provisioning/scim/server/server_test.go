package server_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gatehouse-sso/gatehouse/provisioning/scim"
	"github.com/gatehouse-sso/gatehouse/provisioning/scim/memstore"
	"github.com/gatehouse-sso/gatehouse/provisioning/scim/server"
)

const (
	host  = "http://inside.test"
	base  = "https://sso.test/scim/v2"
	token = "good-token"
)

// site is a server that is asked without a network.
type site struct {
	t   testing.TB
	h   http.Handler
	now *time.Time
}

func open(t testing.TB, with func(*server.Config)) site {
	t.Helper()
	now := time.Date(2026, 11, 21, 9, 0, 0, 0, time.UTC)
	clock := func() time.Time { return now }
	c := server.Config{
		Base:         base,
		Authenticate: server.Bearer("other-token", token),
		Resources: []server.Resource{
			{Type: scim.UserType(), Store: memstore.New(scim.UserType(), clock)},
			{Type: scim.GroupType(), Store: memstore.New(scim.GroupType(), clock), Quiet: true},
		},
		Log: slog.New(slog.DiscardHandler),
	}
	if with != nil {
		with(&c)
	}
	s, err := server.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return site{t, s, &now}
}

type answer struct {
	*http.Response
	body string
	obj  *scim.Object
}

// do asks with a good token; headers are pairs, and an empty value removes one.
func (s site) do(method, path, body string, headers ...string) answer {
	s.t.Helper()
	r := httptest.NewRequest(method, host+path, strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer "+token)
	if body != "" {
		r.Header.Set("Content-Type", scim.MediaType)
	}
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
		if ct := a.Header.Get("Content-Type"); ct != "application/scim+json" {
			s.t.Errorf("%s %s: the content type is %q", method, path, ct)
		}
		if strings.Contains(a.body, ":null") || strings.Contains(a.body, "[null") {
			s.t.Errorf("%s %s answers null: %s", method, path, a.body)
		}
	}
	return a
}

// want fails unless the answer has this status and, if it is an error, this scimType.
func (a answer) want(t testing.TB, status int, typ string) answer {
	t.Helper()
	if a.StatusCode != status {
		t.Fatalf("%d, want %d: %s", a.StatusCode, status, a.body)
	}
	if status >= 400 {
		if a.obj.String("status") != fmt.Sprint(status) || a.obj.String("scimType") != typ || a.obj.String("detail") == "" || fmt.Sprint(a.obj.List("schemas")) != "["+scim.ErrorURN+"]" {
			t.Errorf("the error is %s, want status %q and scimType %q", a.body, fmt.Sprint(status), typ)
		}
	}
	return a
}

// user makes one and returns its path at the server.
func (s site) user(rest string) string {
	s.t.Helper()
	a := s.do("POST", "/scim/v2/Users", userJSON(rest)).want(s.t, 201, "")
	return strings.TrimPrefix(a.Header.Get("Location"), "https://sso.test")
}

func userJSON(rest string) string { return `{"schemas":["` + scim.UserURN + `"],` + rest + `}` }
func patchJSON(ops ...string) string {
	return `{"schemas":["` + scim.PatchURN + `"],"Operations":[` + strings.Join(ops, ",") + `]}`
}

func query(pairs ...string) string {
	q := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		q.Add(pairs[i], pairs[i+1])
	}
	return "/scim/v2/Users?" + q.Encode()
}

func TestSC01_MediaTypes(t *testing.T) {
	t.Parallel()
	s := open(t, nil)
	at := s.user(`"userName":"a"`)
	for i, ct := range []string{"application/scim+json", "application/json", "application/scim+json; charset=utf-8", "application/json;charset=UTF-8", "APPLICATION/JSON", ""} {
		s.do("POST", "/scim/v2/Users", userJSON(fmt.Sprintf(`"userName":"m%d"`, i)), "Content-Type", ct).want(t, 201, "")
	}
	for _, ct := range []string{"application/xml", "text/xml", "text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin1", "application/json; charset", "multipart/form-data"} {
		s.do("POST", "/scim/v2/Users", userJSON(`"userName":"b"`), "Content-Type", ct).want(t, 415, "")
		s.do("PUT", at, userJSON(`"userName":"b"`), "Content-Type", ct).want(t, 415, "")
		s.do("PATCH", at, patchJSON(`{"op":"remove","path":"title"}`), "Content-Type", ct).want(t, 415, "")
	}
	for _, accept := range []string{"*/*", "text/json", "application/json", "application/scim+json", ""} {
		s.do("GET", at, "", "Accept", accept).want(t, 200, "")
	}
	// do checks the content type of all of these.
	s.do("GET", "/scim/v2/nothing", "").want(t, 404, "")
	s.do("GET", at, "", "Authorization", "").want(t, 401, "")
	s.do("POST", "/scim/v2/Users", "{").want(t, 400, scim.InvalidSyntax)
}

func TestSC02_ErrorsTellNothingInside(t *testing.T) {
	t.Parallel()
	var log strings.Builder
	s := open(t, func(c *server.Config) {
		c.Resources = []server.Resource{{Type: scim.UserType(), Store: broken{}}}
		c.Log = slog.New(slog.NewTextHandler(&log, nil))
	})
	a := s.do("GET", "/scim/v2/Users/x", "").want(t, 500, "")
	if strings.Contains(a.body, "disk") || !strings.Contains(log.String(), "disk sda1 is on fire") {
		t.Errorf("the client was told %s, the log %s", a.body, log.String())
	}
}

type broken struct{ scim.Store }

func (broken) Get(context.Context, string) (*scim.Resource, error) {
	return nil, errors.New("disk sda1 is on fire")
}

func TestSC03_LocationIsTheConfiguredAddress(t *testing.T) {
	t.Parallel()
	s := open(t, nil)
	a := s.do("POST", "/scim/v2/Users", userJSON(`"userName":"a"`), "X-Forwarded-Host", "evil.test").want(t, 201, "")
	loc := a.Header.Get("Location")
	if want := base + "/Users/" + a.obj.String("id"); loc != want || a.obj.Sub("meta").String("location") != want {
		t.Errorf("the location is %q and %q, want %q", loc, a.obj.Sub("meta").String("location"), want)
	}
	got := s.do("GET", strings.TrimPrefix(loc, "https://sso.test"), "").want(t, 200, "")
	if got.body != a.body {
		t.Error(cmp.Diff(a.body, got.body))
	}
}

func TestSC04_Delete(t *testing.T) {
	t.Parallel()
	s := open(t, nil)
	at := s.user(`"userName":"a"`)
	a := s.do("DELETE", at, "", "Accept", "application/scim+json", "Content-Type", "application/scim+json").want(t, 204, "")
	if a.body != "" || a.Header.Get("Content-Type") != "" {
		t.Errorf("a deletion answers %q", a.body)
	}
	s.do("DELETE", at, "").want(t, 404, "")
	s.do("GET", at, "").want(t, 404, "")
	s.do("PUT", at, userJSON(`"userName":"a"`)).want(t, 404, "")
	s.do("PATCH", at, patchJSON(`{"op":"remove","path":"title"}`)).want(t, 404, "")
	if again := s.user(`"userName":"a"`); again == at {
		t.Error("the id was used again")
	}
}

func TestSC05_MethodsAndRoutes(t *testing.T) {
	t.Parallel()
	s := open(t, nil)
	at := s.user(`"userName":"a"`)
	for _, c := range []struct{ method, path, allow string }{
		{"PUT", "/scim/v2/Users", "GET, POST"}, {"DELETE", "/scim/v2/Users", "GET, POST"}, {"PATCH", "/scim/v2/Groups", "GET, POST"},
		{"POST", at, "GET, PUT, PATCH, DELETE"}, {"POST", "/scim/v2/Schemas", "GET"}, {"PUT", "/scim/v2/ServiceProviderConfig", "GET"}, {"DELETE", "/scim/v2/ResourceTypes/User", "GET"},
	} {
		if got := s.do(c.method, c.path, "").want(t, 405, "").Header.Get("Allow"); got != c.allow {
			t.Errorf("%s %s: allowed are %q, want %q", c.method, c.path, got, c.allow)
		}
	}
	for _, path := range []string{"/", "/scim/v2", "/scim/v2/", "/scim/v2x/Users", "/scim/v1/Users", "/scim/v2/Users/a/b", "/scim/v2//Users", "/scim/v2/Users//", "/scim/v2/ServiceProviderConfig/x", "/scim/v2/Users/%zz", "/scim/v2/Users/.."} {
		r := &http.Request{Method: "GET", URL: &url.URL{Path: path, RawPath: path}, Header: http.Header{"Authorization": {"Bearer " + token}}}
		w := httptest.NewRecorder()
		s.h.ServeHTTP(w, r)
		if w.Code != 404 {
			t.Errorf("%s: %d, want 404", path, w.Code)
		}
	}
}

func TestC01_OnlyABearerTokenOpens(t *testing.T) {
	t.Parallel()
	s := open(t, nil)
	at := s.user(`"userName":"a"`)
	var first string
	for _, path := range []string{at, "/scim/v2/Users", "/scim/v2/Users/nobody", "/scim/v2/Groups", "/scim/v2/Bulk", "/scim/v2/ServiceProviderConfig", "/scim/v2/Schemas", "/scim/v2/nothing", "/elsewhere"} {
		for _, method := range []string{"GET", "POST", "PUT", "PATCH", "DELETE"} {
			for _, auth := range []string{"", "Bearer", "Bearer ", "Bearer bad", "Bearer " + token + "x", "Bearer  " + token, "Basic " + token, token, "bearer\t" + token} {
				a := s.do(method, path+"?access_token="+token, "", "Authorization", auth, "Cookie", "token="+token).want(t, 401, "")
				if a.Header.Get("WWW-Authenticate") == "" {
					t.Fatalf("%s %s: no WWW-Authenticate", method, path)
				}
				if first == "" {
					first = a.body
				}
				if a.body != first {
					t.Fatalf("%s %s with %q is told %s", method, path, auth, a.body)
				}
			}
		}
	}
	for _, auth := range []string{"Bearer " + token, "bearer " + token, "Bearer other-token"} {
		s.do("GET", at, "", "Authorization", auth).want(t, 200, "")
	}
	twice := httptest.NewRequest("GET", host+at, nil)
	twice.Header["Authorization"] = []string{"Bearer " + token, "Bearer " + token}
	w := httptest.NewRecorder()
	if s.h.ServeHTTP(w, twice); w.Code != 401 {
		t.Errorf("two headers Authorization: %d", w.Code)
	}
	none := open(t, func(c *server.Config) { c.Authenticate = server.Bearer("") })
	none.do("GET", "/scim/v2/Users", "", "Authorization", "Bearer ").want(t, 401, "")
	busy := open(t, func(c *server.Config) {
		c.Authenticate = func(*http.Request) (context.Context, error) { return nil, scim.Errorf(403, "", "not from there") }
	})
	busy.do("GET", "/scim/v2/Users", "").want(t, 403, "")
}

func TestC17_BadBodiesAreRefused(t *testing.T) {
	t.Parallel()
	s := open(t, nil)
	for body, status := range map[string]int{
		userJSON(`"userName":"a","userName":"b"`): 400, userJSON(`"userName":"a","active":true,"Active":false`): 400, userJSON(`"userName":"a"`) + "x": 400,
		userJSON(`"userName":"a","x":` + strings.Repeat("[", 100_000)): 400, userJSON("\"userName\":\"\xff\""): 400, `[]`: 400, `null`: 400, ``: 400,
		userJSON(`"userName":"` + strings.Repeat("x", 10<<20) + `"`): 413,
	} {
		typ := scim.InvalidSyntax
		if status == 413 {
			typ = ""
		}
		s.do("POST", "/scim/v2/Users", body).want(t, status, typ)
	}
	s.do("GET", "/scim/v2/Users", "").want(t, 200, "")
}

func TestSC08_AddressesAsClientsWriteThem(t *testing.T) {
	t.Parallel()
	s := open(t, nil)
	at := s.user(`"userName":"a"`)
	for _, path := range []string{"/scim/v2/Users/?filter=userName+eq+%22a%22", "/scim/v2/users?filter=userName%20eq%20%22a%22", "/scim/v2/USERS/?FILTER=userName+eq+%22a%22&StartIndex=1"} {
		if a := s.do("GET", path, "").want(t, 200, ""); fmt.Sprint(a.obj.Get("totalResults")) != "1" {
			t.Errorf("%s: %s", path, a.body)
		}
	}
	s.do("GET", at+"/", "").want(t, 200, "")
	for _, path := range []string{"/ServiceProviderConfig", "/ServiceProviderConfigs", "/serviceConfiguration", "/serviceproviderconfig/"} {
		if a := s.do("GET", "/scim/v2"+path, "").want(t, 200, ""); a.obj.Sub("patch").Get("supported") != true {
			t.Errorf("%s: %s", path, a.body)
		}
	}
}

func TestSC12_ProjectionOnEveryMethod(t *testing.T) {
	t.Parallel()
	s := open(t, nil)
	const full = `"userName":"a","title":"Dr","emails":[{"value":"x","type":"work"}]`
	a := s.do("POST", "/scim/v2/Users?attributes=title", userJSON(full)).want(t, 201, "")
	at := strings.TrimPrefix(a.Header.Get("Location"), "https://sso.test")
	for _, a := range []answer{
		a,
		s.do("GET", at+"?attributes=title", ""),
		s.do("PUT", at+"?attributes=title", userJSON(full)),
		s.do("PATCH", at+"?attributes=TITLE", patchJSON(`{"op":"add","path":"nickName","value":"n"}`)),
		s.do("GET", at+"?excludedAttributes=userName,emails,nickName,meta", ""),
	} {
		want := scim.NewObject("schemas", []any{scim.UserURN}, "id", a.obj.String("id"), "title", "Dr")
		if !a.obj.Equal(want) || a.obj.String("id") == "" {
			t.Errorf("%s %s", a.Status, a.body)
		}
	}
	l := s.do("GET", query("attributes", `emails[type eq "work"]`), "").want(t, 200, "")
	if el := l.obj.List("Resources")[0].(*scim.Object); el.Len() != 3 || len(el.List("emails")) != 1 {
		t.Error(l.body)
	}
}

func TestC07_PasswordIsForgotten(t *testing.T) {
	t.Parallel()
	s := open(t, nil)
	at := s.user(`"userName":"a","password":"hunter2"`)
	for _, a := range []answer{
		s.do("GET", at+"?attributes=password", ""), s.do("GET", at, ""), s.do("PUT", at, userJSON(`"userName":"a","password":"hunter3"`)),
		s.do("PATCH", at+"?attributes=password,title", patchJSON(`{"op":"replace","path":"password","value":"hunter4"}`)), s.do("GET", query("attributes", "password"), ""),
	} {
		if strings.Contains(a.body, "hunter") || strings.Contains(a.body, "password") || a.StatusCode != 200 {
			t.Errorf("%d %s", a.StatusCode, a.body)
		}
	}
	if v := s.do("GET", at, "").Header.Get("ETag"); v != `W/"1"` {
		t.Errorf("forgetting passwords made version %s", v)
	}
	s.do("GET", query("filter", `password sw "h"`), "").want(t, 400, scim.InvalidFilter)
	s.do("GET", query("sortBy", "password"), "").want(t, 400, scim.InvalidPath)
}

func TestSC13_UserNameIsUniqueInAnyCase(t *testing.T) {
	t.Parallel()
	s := open(t, nil)
	at := s.user(`"userName":"Café","externalId":"E"`)
	for _, name := range []string{"Café", "CAFÉ", "cafe\u0301"} {
		s.do("POST", "/scim/v2/Users", userJSON(`"userName":"`+name+`"`)).want(t, 409, scim.Uniqueness)
	}
	other := s.user(`"userName":"other","externalId":"E"`)
	s.do("PUT", other, userJSON(`"userName":"CAFÉ"`)).want(t, 409, scim.Uniqueness)
	s.do("PATCH", other, patchJSON(`{"op":"replace","path":"userName","value":"cafÉ"}`)).want(t, 409, scim.Uniqueness)
	s.do("PATCH", at, patchJSON(`{"op":"replace","path":"userName","value":"CAFÉ"}`)).want(t, 200, "") // its own
	for filter, want := range map[string]string{`userName eq "café"`: "1", `externalId eq "E"`: "2", `externalId eq "e"`: "0", `userName eq "café" and externalId eq "x"`: "0", `id eq "x"`: "0"} {
		if a := s.do("GET", query("filter", filter), "").want(t, 200, ""); fmt.Sprint(a.obj.Get("totalResults")) != want {
			t.Errorf("%s: %s, want %s", filter, a.body, want)
		}
	}
}

func TestC03_ExternalIDIsNoID(t *testing.T) {
	t.Parallel()
	s := open(t, nil)
	at := s.user(`"userName":"victim"`)
	id := at[strings.LastIndexByte(at, '/')+1:]
	s.user(`"userName":"attacker","externalId":"` + id + `"`)
	if a := s.do("GET", at, "").want(t, 200, ""); a.obj.String("userName") != "victim" {
		t.Error(a.body)
	}
}

func TestSC17_Meta(t *testing.T) {
	t.Parallel()
	s := open(t, nil)
	at := s.user(`"userName":"a","title":"Dr"`)
	meta := func() string { return string(s.do("GET", at, "").obj.Sub("meta").AppendJSON(nil)) }
	want := func(modified, version string) string {
		return `{"resourceType":"User","created":"2026-11-21T09:00:00.000Z","lastModified":"` + modified + `","version":"W/\"` + version + `\"","location":"https://sso.test` + at + `"}`
	}
	first := want("2026-11-21T09:00:00.000Z", "1")
	if got := meta(); got != first {
		t.Error(cmp.Diff(first, got))
	}
	*s.now = s.now.Add(time.Hour)
	for _, a := range []answer{
		s.do("PUT", at, userJSON(`"userName":"a","title":"Dr"`)), s.do("PATCH", at, patchJSON(`{"op":"replace","path":"title","value":"Dr"}`)),
		s.do("PATCH", at, patchJSON(`{"op":"remove","path":"nickName"}`)), s.do("PATCH", at, patchJSON(`{"op":"add","path":"nickName","value":"x"}`, `{"op":"remove","path":"userName"}`)),
	} {
		if got := meta(); got != first {
			t.Errorf("%s: nothing changed, but %s", a.Status, cmp.Diff(first, got))
		}
	}
	s.do("PATCH", at, patchJSON(`{"op":"replace","path":"title","value":"Mr"}`, `{"op":"add","path":"nickName","value":"x"}`)).want(t, 200, "")
	if got := meta(); got != want("2026-11-21T10:00:00.000Z", "2") {
		t.Error(got)
	}
}

func TestSC31_FiltersOverHTTP(t *testing.T) {
	t.Parallel()
	s := open(t, nil)
	s.user(`"userName":"a b+c","active":true,"emails":[{"value":"a@x","type":"work"}],"nickName":"O\"B \\ ü"`)
	s.user(`"userName":"z","active":false,"emails":[{"value":"a@x","type":"home"}]`)
	for filter, want := range map[string]string{
		`userName%20eq%20%22a%20b%2Bc%22`: "1", `userName+eq+%22a+b%2Bc%22`: "1", `nickName+eq+%22O%5C%22B+%5C%5C+%C3%BC%22`: "1",
		`emails%5Btype+eq+%22work%22%5D`: "1", `emails[value+eq+%22a@x%22]`: "2", `meta.resourceType+eq+%22User%22`: "2", `meta.resourceType+eq+%22Group%22`: "0",
		`meta.lastModified+gt+%222015-10-10T14:38:21.8617979-07:00%22`: "2", `(ActiVe+eq+true)+and+meta.lastmodified+ge+%222021-09-23T19:35:41.8420572Z%22`: "1", `not+(active+eq+true)`: "1",
	} {
		a := s.do("GET", "/scim/v2/Users?filter="+filter, "").want(t, 200, "")
		if got := fmt.Sprint(a.obj.Get("totalResults")); got != want {
			t.Errorf("%s finds %s, want %s", filter, got, want)
		}
	}
	for _, filter := range []string{`colour eq "x"`, `userName sw O`, `userName eq`, ``, `title pr and meta.location eq "x"`, strings.Repeat("(", 5000), `title pr or 1 eq 1`} {
		s.do("GET", query("filter", filter), "").want(t, 400, scim.InvalidFilter)
	}
	s.do("GET", query("filter", `title pr`, "filter", `userName pr`), "").want(t, 400, scim.InvalidSyntax)
	s.do("GET", query("filter", `title pr`, "Filter", `userName pr`), "").want(t, 400, scim.InvalidSyntax)
	s.do("GET", "/scim/v2/Users?filter=%zz", "").want(t, 400, scim.InvalidSyntax)
}

func TestSC37_Paging(t *testing.T) {
	t.Parallel()
	s := open(t, func(c *server.Config) { c.MaxPage, c.DefaultPage = 4, 3 })
	var empty struct {
		Resources json.RawMessage
	}
	a := s.do("GET", query("filter", `userName eq "0e6ac8b6"`), "").want(t, 200, "")
	if err := json.Unmarshal([]byte(a.body), &empty); err != nil || string(empty.Resources) != "[]" {
		t.Errorf("no match answers %s", a.body)
	}
	if want := `{"schemas":["urn:ietf:params:scim:api:messages:2.0:ListResponse"],"totalResults":0,"startIndex":1,"itemsPerPage":0,"Resources":[]}`; a.body != want {
		t.Error(cmp.Diff(want, a.body))
	}
	for i := range 6 {
		s.user(fmt.Sprintf(`"userName":"u%d"`, i))
	}
	for _, c := range []struct {
		params []string
		want   string // start, then the users
	}{
		{nil, "1 u0 u1 u2"}, {[]string{"count", "2"}, "1 u0 u1"}, {[]string{"count", "2", "startIndex", "3"}, "3 u2 u3"}, {[]string{"startIndex", "6"}, "6 u5"}, {[]string{"startIndex", "7"}, "7"},
		{[]string{"count", "0"}, "1"}, {[]string{"count", "-1"}, "1"}, {[]string{"startIndex", "0"}, "1 u0 u1 u2"}, {[]string{"startIndex", "-5", "count", "1"}, "1 u0"},
		{[]string{"count", "1000000000"}, "1 u0 u1 u2 u3"}, {[]string{"startIndex", "1000000000000"}, "1000000000000"}, {[]string{"count", "99999999999999999999"}, "1 u0 u1 u2 u3"}, {[]string{"startIndex", "-99999999999999999999", "count", "1"}, "1 u0"},
		{[]string{"filter", `userName ge "u4"`}, "1 u4 u5"}, {[]string{"filter", `userName ge "u1"`, "startIndex", "3", "count", "2"}, "3 u3 u4"},
	} {
		a := s.do("GET", query(c.params...), "").want(t, 200, "")
		got := fmt.Sprint(a.obj.Get("startIndex"))
		for _, r := range a.obj.List("Resources") {
			got += " " + r.(*scim.Object).String("userName")
		}
		if got != c.want || fmt.Sprint(a.obj.Get("itemsPerPage")) != fmt.Sprint(len(a.obj.List("Resources"))) {
			t.Errorf("%v: %q, want %q", c.params, got, c.want)
		}
		if len(c.params) == 0 || c.params[0] != "filter" {
			if fmt.Sprint(a.obj.Get("totalResults")) != "6" {
				t.Errorf("%v: %s", c.params, a.body)
			}
		}
	}
	for _, bad := range []string{"x", "1.5", "1e9", "", "0x1", " 1"} {
		s.do("GET", query("count", bad), "").want(t, 400, scim.InvalidValue)
		s.do("GET", query("startIndex", bad), "").want(t, 400, scim.InvalidValue)
	}
}

func TestSC38_DeletionKeepsTheOrder(t *testing.T) {
	t.Parallel()
	s := open(t, nil)
	var at []string
	for i := range 5 {
		at = append(at, s.user(fmt.Sprintf(`"userName":"u%d","externalId":"e"`, i)))
	}
	s.do("PATCH", at[0], patchJSON(`{"op":"add","path":"title","value":"x"}`)).want(t, 200, "")
	s.do("DELETE", at[1], "").want(t, 204, "")
	s.do("PATCH", at[3], patchJSON(`{"op":"add","path":"title","value":"x"}`)).want(t, 200, "")
	for _, path := range []string{query(), query("filter", `externalId eq "e"`)} {
		got := ""
		for _, r := range s.do("GET", path, "").obj.List("Resources") {
			got += r.(*scim.Object).String("userName") + " "
		}
		if got != "u0 u2 u3 u4 " {
			t.Errorf("%s: %s", path, got)
		}
	}
}

func TestSC50_Put(t *testing.T) {
	t.Parallel()
	s := open(t, nil)
	at := s.user(`"userName":"a","active":true,"title":"Dr","emails":[{"value":"x"}]`)
	a := s.do("PUT", at, userJSON(`"userName":"b","id":"mine","meta":{"version":"9"}`)).want(t, 200, "")
	if a.obj.String("userName") != "b" || a.obj.Get("title") != nil || a.obj.Get("emails") != nil || a.obj.Get("active") != true || !strings.HasSuffix(at, a.obj.String("id")) || a.obj.Sub("meta").String("version") != `W/"2"` {
		t.Error(a.body)
	}
	s.do("PUT", at, userJSON(`"title":"x"`)).want(t, 400, scim.InvalidValue)
	s.do("PUT", at, `{"userName":"b"}`).want(t, 400, scim.InvalidSyntax)
	s.do("PUT", "/scim/v2/Users/made-up", userJSON(`"userName":"c"`)).want(t, 404, "")
	if a := s.do("GET", query("filter", `userName eq "c"`), ""); fmt.Sprint(a.obj.Get("totalResults")) != "0" {
		t.Error("a PUT created a user")
	}
}

func TestSC56_AnswerToPatch(t *testing.T) {
	t.Parallel()
	s := open(t, nil)
	at := s.user(`"userName":"a"`)
	if a := s.do("PATCH", at, patchJSON(`{"op":"add","path":"title","value":"x"}`)).want(t, 200, ""); a.obj.String("title") != "x" {
		t.Error(a.body)
	}
	g := s.do("POST", "/scim/v2/Groups", `{"schemas":["`+scim.GroupURN+`"],"displayName":"g","members":[{"value":"1"}]}`).want(t, 201, "")
	at = strings.TrimPrefix(g.Header.Get("Location"), "https://sso.test")
	if a := s.do("PATCH", at, patchJSON(`{"op":"add","path":"members","value":[{"value":"2"}]}`)).want(t, 204, ""); a.body != "" || a.Header.Get("ETag") != `W/"2"` {
		t.Errorf("%q %v", a.body, a.Header)
	}
	if a := s.do("PATCH", at+"?attributes=members", patchJSON(`{"op":"replace","value":{"members":[]}}`)).want(t, 200, ""); a.obj.Get("members") != nil {
		t.Error(a.body)
	}
}

func TestSC57_Conditions(t *testing.T) {
	t.Parallel()
	s := open(t, nil)
	at := s.user(`"userName":"a"`)
	add := patchJSON(`{"op":"add","path":"title","value":"x"}`)
	for _, tag := range []string{`W/"1"`, `"1"`, `*`, `W/"7", W/"1"`} {
		a := s.do("GET", at, "", "If-None-Match", tag).want(t, 304, "")
		if a.body != "" || a.Header.Get("ETag") != `W/"1"` {
			t.Errorf("%s: %q %v", tag, a.body, a.Header)
		}
	}
	s.do("GET", at, "", "If-None-Match", `W/"2"`).want(t, 200, "")
	for _, tag := range []string{`W/"2"`, `W/"11"`, `1`, `""`, `x`} {
		s.do("PATCH", at, add, "If-Match", tag).want(t, 412, scim.InvalidVers)
		s.do("PUT", at, userJSON(`"userName":"b"`), "If-Match", tag).want(t, 412, scim.InvalidVers)
		s.do("DELETE", at, "", "If-Match", tag).want(t, 412, scim.InvalidVers)
	}
	if v := s.do("PATCH", at, add, "If-Match", `W/"1"`).want(t, 200, "").Header.Get("ETag"); v != `W/"2"` {
		t.Errorf("the entity tag is %s", v)
	}
	if v := s.do("PUT", at, userJSON(`"userName":"b"`), "If-Match", `"2"`).want(t, 200, "").Header.Get("ETag"); v != `W/"3"` {
		t.Errorf("the entity tag is %s", v)
	}
	s.do("DELETE", at, "", "If-Match", `W/"3"`).want(t, 204, "")

	strict := open(t, func(c *server.Config) { c.RequireIfMatch = true })
	at = strict.user(`"userName":"a"`)
	strict.do("PATCH", at, add).want(t, 428, "")
	strict.do("PUT", at, userJSON(`"userName":"b"`)).want(t, 428, "")
	strict.do("DELETE", at, "").want(t, 428, "")
	strict.do("DELETE", at, "", "If-Match", "*").want(t, 204, "")
}

func TestSC58_AdditionsAtTheSameTimeAllSurvive(t *testing.T) {
	t.Parallel()
	s := open(t, nil)
	g := s.do("POST", "/scim/v2/Groups", `{"schemas":["`+scim.GroupURN+`"],"displayName":"g"}`).want(t, 201, "")
	at := strings.TrimPrefix(g.Header.Get("Location"), "https://sso.test")
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			if a := s.do("PATCH", at, patchJSON(fmt.Sprintf(`{"op":"add","path":"members","value":[{"value":"m%d"}]}`, i))); a.StatusCode != 204 {
				t.Errorf("%d: %s", a.StatusCode, a.body)
			}
		})
	}
	wg.Wait()
	if n := len(s.do("GET", at, "").obj.List("members")); n != 50 {
		t.Errorf("%d members survived, want 50", n)
	}
}

func TestCreationsAtTheSameTimeMakeOneUser(t *testing.T) {
	t.Parallel()
	s := open(t, nil)
	var wg sync.WaitGroup
	var mu sync.Mutex
	codes := map[int]int{}
	for range 50 {
		wg.Go(func() {
			a := s.do("POST", "/scim/v2/Users", userJSON(`"userName":"same"`))
			mu.Lock()
			defer mu.Unlock()
			codes[a.StatusCode]++
		})
	}
	wg.Wait()
	if diff := cmp.Diff(map[int]int{201: 1, 409: 49}, codes); diff != "" {
		t.Error(diff)
	}
}

func TestSC62_Discovery(t *testing.T) {
	t.Parallel()
	s := open(t, nil)
	for path, want := range map[string]string{"/ResourceTypes": "2", "/Schemas": "3"} {
		a := s.do("GET", "/scim/v2"+path, "").want(t, 200, "")
		if fmt.Sprint(a.obj.Get("totalResults")) != want || fmt.Sprint(len(a.obj.List("Resources"))) != want {
			t.Errorf("%s: %s", path, a.body)
		}
		for _, r := range a.obj.List("Resources") {
			loc := r.(*scim.Object).Sub("meta").String("location")
			one := s.do("GET", strings.TrimPrefix(loc, "https://sso.test"), "").want(t, 200, "")
			if !one.obj.Equal(r.(*scim.Object)) {
				t.Errorf("%s is listed otherwise than it is", loc)
			}
		}
	}
	if a := s.do("GET", "/scim/v2/Schemas", ""); !strings.Contains(a.body, "User Account") || !strings.Contains(a.body, `"multiValued":false`) {
		t.Error("the schemas do not describe a user account")
	}
	s.do("GET", "/scim/v2/Schemas/"+strings.ToUpper(scim.UserURN), "").want(t, 200, "")
	for _, path := range []string{"/Schemas/urn:x", "/ResourceTypes/Robot"} {
		s.do("GET", "/scim/v2"+path, "").want(t, 404, "")
	}
	for _, path := range []string{"/Schemas", "/ResourceTypes", "/ServiceProviderConfig"} {
		s.do("GET", "/scim/v2"+path+"?filter=id+pr", "").want(t, 403, "")
		s.do("POST", "/scim/v2"+path, "{}").want(t, 405, "")
	}
}

// Every attribute that the type knows is described with every characteristic.
func TestSC62_EveryAttributeIsDescribed(t *testing.T) {
	t.Parallel()
	a := open(t, nil).do("GET", "/scim/v2/Schemas/"+scim.UserURN, "").want(t, 200, "")
	n := 0
	var check func(list []any)
	check = func(list []any) {
		for _, v := range list {
			at := v.(*scim.Object)
			for _, name := range []string{"name", "type", "multiValued", "description", "required", "caseExact", "mutability", "returned", "uniqueness"} {
				if v := at.Get(name); v == nil || v == "" {
					t.Errorf("%s has no %s", at.String("name"), name)
				}
			}
			n++
			check(at.List("subAttributes"))
		}
	}
	check(a.obj.List("attributes"))
	if n < 60 {
		t.Errorf("only %d attributes are described", n)
	}
}

func TestSC63_WhatIsAdvertisedIsTrue(t *testing.T) {
	t.Parallel()
	s := open(t, nil)
	at := s.user(`"userName":"a"`)
	c := s.do("GET", "/scim/v2/ServiceProviderConfig", "").want(t, 200, "")
	feature := func(name string) bool { return c.obj.Sub(name).Get("supported") == true }
	try := func(name string, a answer) {
		t.Helper()
		if ok := a.StatusCode/100 == 2; ok != feature(name) || !ok && a.StatusCode != 501 && a.StatusCode != 400 {
			t.Errorf("%s is advertised as %v and answered with %d", name, feature(name), a.StatusCode)
		}
	}
	try("patch", s.do("PATCH", at, patchJSON(`{"op":"add","path":"title","value":"x"}`)))
	try("filter", s.do("GET", query("filter", "title pr"), ""))
	try("sort", s.do("GET", query("sortBy", "title"), ""))
	try("bulk", s.do("POST", "/scim/v2/Bulk", `{"schemas":["`+scim.BulkRequestURN+`"],"Operations":[{"method":"DELETE","path":"/Users/x"}]}`))
	if tagged := s.do("GET", at, "").Header.Get("ETag") != ""; tagged != feature("etag") {
		t.Errorf("etag is advertised as %v, and is %v", feature("etag"), tagged)
	}
	if feature("changePassword") {
		t.Error("changing passwords is advertised, but they are forgotten")
	}
	s.do("GET", "/scim/v2/Me", "").want(t, 501, "")
	if a := s.do("GET", query("cursor", ""), ""); (a.StatusCode == 200) != (c.obj.Sub("pagination").Get("cursor") == true) {
		t.Errorf("cursors are answered with %d", a.StatusCode)
	}
	for i := range 205 {
		s.user(fmt.Sprintf(`"userName":"u%d"`, i))
	}
	if a := s.do("GET", query("count", "1000"), ""); fmt.Sprint(len(a.obj.List("Resources"))) != fmt.Sprint(c.obj.Sub("filter").Get("maxResults")) {
		t.Errorf("the largest page has %d, advertised are %v", len(a.obj.List("Resources")), c.obj.Sub("filter").Get("maxResults"))
	}
}

func TestBadConfigurationIsRefused(t *testing.T) {
	t.Parallel()
	good := server.Config{Base: base, Authenticate: server.Bearer("x"), Resources: []server.Resource{{Type: scim.UserType(), Store: memstore.New(scim.UserType(), nil)}}}
	if _, err := server.New(good); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*server.Config){
		"no base": func(c *server.Config) { c.Base = "" }, "relative": func(c *server.Config) { c.Base = "/scim/v2" }, "slash": func(c *server.Config) { c.Base += "/" }, "scheme": func(c *server.Config) { c.Base = "ftp://x/scim" }, "query": func(c *server.Config) { c.Base += "?x=1" },
		"open to all": func(c *server.Config) { c.Authenticate = nil }, "empty": func(c *server.Config) { c.Resources = nil },
	} {
		c := good
		spoil(&c)
		if _, err := server.New(c); err == nil {
			t.Errorf("%s: was taken", name)
		}
	}
}

func BenchmarkPost(b *testing.B) {
	s := open(b, nil)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		i++
		s.raw(b, 201, "POST", "/scim/v2/Users", userJSON(fmt.Sprintf(`"userName":"u%d@x.test","externalId":"e%d","active":true,"name":{"givenName":"A","familyName":"B"},"emails":[{"value":"u%d@x.test","type":"work","primary":true}],"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User":{"department":"IT"}`, i, i, i)))
	}
}

func BenchmarkGet(b *testing.B) {
	s, at := crowd(b)
	b.ReportAllocs()
	for b.Loop() {
		s.raw(b, 200, "GET", at, "")
	}
}

func BenchmarkFilterUserName(b *testing.B) {
	s, _ := crowd(b)
	b.ReportAllocs()
	for b.Loop() {
		s.raw(b, 200, "GET", query("filter", `userName eq "u5000@x.test"`), "")
	}
}

func BenchmarkPatchActive(b *testing.B) {
	s, at := crowd(b)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		i++
		s.raw(b, 200, "PATCH", at, patchJSON(fmt.Sprintf(`{"op":"replace","path":"active","value":%v}`, i%2 == 0)))
	}
}

// crowd is a server with 10,000 users, and the path of one.
func crowd(b *testing.B) (site, string) {
	s := open(b, nil)
	at := ""
	for i := range 10_000 {
		w := s.raw(b, 201, "POST", "/scim/v2/Users", userJSON(fmt.Sprintf(`"userName":"u%d@x.test","externalId":"e%d","active":true,"name":{"givenName":"A","familyName":"B"},"emails":[{"value":"u%d@x.test","type":"work","primary":true}]`, i, i, i)))
		at = strings.TrimPrefix(w.Header().Get("Location"), "https://sso.test")
	}
	return s, at
}

// raw asks and checks no more than the status.
func (s site) raw(b *testing.B, status int, method, path, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, host+path, strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer "+token)
	w := httptest.NewRecorder()
	if s.h.ServeHTTP(w, r); w.Code != status {
		b.Fatalf("%d %s", w.Code, w.Body)
	}
	return w
}
