package server_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gatehouse-sso/gatehouse/provisioning/scim"
	"github.com/gatehouse-sso/gatehouse/provisioning/scim/memstore"
	"github.com/gatehouse-sso/gatehouse/provisioning/scim/scimtest"
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
	a := s.do("POST", "/scim/v2/Users", scimtest.User(rest)).want(s.t, 201, "")
	return strings.TrimPrefix(a.Header.Get("Location"), "https://sso.test")
}

func query(pairs ...string) string {
	q := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		q.Add(pairs[i], pairs[i+1])
	}
	return "/scim/v2/Users?" + q.Encode()
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
		s.do("PUT", at, scimtest.User(`"userName":"a","title":"Dr"`)), s.do("PATCH", at, scimtest.Patch(`{"op":"replace","path":"title","value":"Dr"}`)),
		s.do("PATCH", at, scimtest.Patch(`{"op":"remove","path":"nickName"}`)), s.do("PATCH", at, scimtest.Patch(`{"op":"add","path":"nickName","value":"x"}`, `{"op":"remove","path":"userName"}`)),
	} {
		if got := meta(); got != first {
			t.Errorf("%s: nothing changed, but %s", a.Status, cmp.Diff(first, got))
		}
	}
	s.do("PATCH", at, scimtest.Patch(`{"op":"replace","path":"title","value":"Mr"}`, `{"op":"add","path":"nickName","value":"x"}`)).want(t, 200, "")
	if got := meta(); got != want("2026-11-21T10:00:00.000Z", "2") {
		t.Error(got)
	}
}

func TestSC57_ChangesWithoutAConditionCanBeRefused(t *testing.T) {
	t.Parallel()
	s := open(t, func(c *server.Config) { c.RequireIfMatch = true })
	at := s.user(`"userName":"a"`)
	s.do("PATCH", at, scimtest.Patch(`{"op":"add","path":"title","value":"x"}`)).want(t, 428, "")
	s.do("PUT", at, scimtest.User(`"userName":"b"`)).want(t, 428, "")
	s.do("DELETE", at, "").want(t, 428, "")
	if v := s.do("GET", at, "").Header.Get("ETag"); v != `W/"1"` {
		t.Errorf("the entity tag is %s", v)
	}
	s.do("DELETE", at, "", "If-Match", "*").want(t, 204, "")
}

func TestSC39_CursorsAreOneClientsAndGrowOld(t *testing.T) {
	t.Parallel()
	type key struct{}
	var s site
	s = open(t, func(c *server.Config) {
		c.CursorTimeout = time.Minute
		c.Now = func() time.Time { return *s.now }
		auth := c.Authenticate
		c.Authenticate = func(r *http.Request) (context.Context, error) {
			ctx, err := auth(r)
			return context.WithValue(ctx, key{}, r.Header.Get("Authorization")), err
		}
		c.Who = func(ctx context.Context) string { who, _ := ctx.Value(key{}).(string); return who }
	})
	for i := range 5 {
		s.user(fmt.Sprintf(`"userName":"u%d"`, i))
	}
	next := s.do("GET", query("cursor", "", "count", "2"), "").want(t, 200, "").obj.String("nextCursor")
	if next == "" {
		t.Fatalf("the cursor is %q", next)
	}
	page := query("cursor", next, "count", "2")
	s.do("GET", page, "").want(t, 200, "")
	s.do("GET", page, "", "Authorization", "Bearer other-token").want(t, 400, scim.InvalidCursor)
	*s.now = s.now.Add(time.Minute)
	s.do("GET", page, "").want(t, 200, "")
	*s.now = s.now.Add(time.Second)
	s.do("GET", page, "").want(t, 400, scim.ExpiredCursor)
}

// What the query of an address says is said once, and in the way of addresses.
func TestSC32_AQueryIsReadOnceAndWhole(t *testing.T) {
	t.Parallel()
	s := open(t, nil)
	s.user(`"userName":"a+b c;d&e"`)
	const all = "/scim/v2/Users?"
	for _, q := range []string{
		"", "&&", "filter=userName%20eq%20%22a%2Bb%20c%3Bd%26e%22", "FILTER=userName+eq+%22a%2bb+c%3bd%26e%22&count=1", "&co%75nt=1&", "other=x&startIndex=1", "=&count=1",
	} {
		if a := s.do("GET", all+q, "").want(t, 200, ""); len(a.obj.List("Resources")) != 1 {
			t.Errorf("%s finds %s", q, a.body)
		}
	}
	for _, q := range []string{"count=1&count=1", "count=1&Count=1", "a&b&%61", "count=1;startIndex=1", "%zz", "a=%", "filter=%2"} {
		s.do("GET", all+q, "").want(t, 400, scim.InvalidSyntax)
	}
}

// Two walks of one client look the same; the later one may see somebody twice, but nobody is left out.
func TestSC38_AWalkDoesNotMoveAnother(t *testing.T) {
	t.Parallel()
	s := open(t, nil)
	var at []string
	for i := range 8 {
		at = append(at, s.user(fmt.Sprintf(`"userName":"u%d"`, i)))
	}
	page := func(start string) string {
		got := ""
		for _, v := range s.do("GET", query("startIndex", start, "count", "3"), "").want(t, 200, "").obj.List("Resources") {
			got += v.(*scim.Object).String("userName")
		}
		return got
	}
	if got := page("1"); got != "u0u1u2" {
		t.Fatal(got)
	}
	s.do("DELETE", at[0], "").want(t, 204, "")
	if got := page("1"); got != "u1u2u3" { // another walk begins
		t.Fatal(got)
	}
	for range 2 {
		if got := page("4"); got != "u3u4u5" {
			t.Errorf("after u2 come %s", got)
		}
	}
	// Both went on, so a third one is remembered by itself.
	if got := page("1") + page("4"); got != "u1u2u3"+"u4u5u6" {
		t.Error(got)
	}
}

func TestC02_EventsAreOneClients(t *testing.T) {
	t.Parallel()
	type key struct{}
	s := open(t, func(c *server.Config) {
		c.Async = 1
		auth := c.Authenticate
		c.Authenticate = func(r *http.Request) (context.Context, error) {
			ctx, err := auth(r)
			return context.WithValue(ctx, key{}, r.Header.Get("Authorization")), err
		}
		c.Who = func(ctx context.Context) string { who, _ := ctx.Value(key{}).(string); return who }
	})
	a := s.do("POST", "/scim/v2/Users", scimtest.User(`"userName":"a"`), "Prefer", "respond-async").want(t, 202, "")
	s.h.(*server.Server).Drain()
	path := strings.TrimPrefix(a.Header.Get("Location"), "https://sso.test")
	s.do("GET", path, "", "Authorization", "Bearer other-token").want(t, 404, "")
	r := httptest.NewRequest("GET", host+path, nil)
	r.Header.Set("Authorization", "Bearer "+token)
	w := httptest.NewRecorder()
	if s.h.ServeHTTP(w, r); w.Code != 200 {
		t.Errorf("its own event: %d %s", w.Code, w.Body)
	}
}

func TestC02_AuthorisationIsAskedForEachOperation(t *testing.T) {
	t.Parallel()
	var asked []string
	s := open(t, func(c *server.Config) {
		c.Authorise = func(_ context.Context, a server.Access) error {
			asked = append(asked, a.Method+" "+a.Type.Name)
			if a.Method == "DELETE" || a.Type.Name == "Group" {
				return scim.Errorf(403, "", "not you")
			}
			return nil
		}
	})
	at := s.user(`"userName":"a"`)
	s.do("DELETE", at, "").want(t, 403, "")
	s.do("GET", "/scim/v2/Groups", "").want(t, 403, "")
	s.do("POST", "/scim/v2/Groups/.search", `{"schemas":["`+scim.SearchURN+`"]}`).want(t, 403, "")
	a := s.do("POST", "/scim/v2/Bulk", `{"schemas":["`+scim.BulkRequestURN+`"],"Operations":[{"method":"DELETE","path":"`+strings.TrimPrefix(at, "/scim/v2")+`"},{"method":"POST","bulkId":"b","path":"/Users","data":`+scimtest.User(`"userName":"b"`)+`}]}`).want(t, 200, "")
	if !strings.Contains(a.body, `"403"`) || !strings.Contains(a.body, `"201"`) {
		t.Error(a.body)
	}
	// Over all types, what the client may not read is not there.
	if a := s.do("GET", "/scim/v2/?filter=id+pr", "").want(t, 200, ""); fmt.Sprint(a.obj.Get("totalResults")) != "2" {
		t.Error(a.body)
	}
	want := "POST User,DELETE User,GET Group,GET Group,DELETE User,POST User,GET User,GET Group"
	if got := strings.Join(asked, ","); got != want {
		t.Error(cmp.Diff(want, got))
	}
}

func TestSC53_DialectsAskForMore(t *testing.T) {
	t.Parallel()
	d := &server.Dialect{Make: true, SkipReadOnly: true, Keep: true, PatchStatus: 204,
		Filter: func(_ *scim.ResourceType, text string) (string, error) {
			return strings.ReplaceAll(text, "login", "userName"), nil
		},
		Message: func(_ *scim.ResourceType, method string, in *scim.Object) (*scim.Object, error) {
			if method == "POST" {
				in.Set("nickName", "made")
			}
			return in, nil
		},
		Decode: func(data []byte) (*scim.Object, error) {
			return scim.Decode([]byte(strings.ReplaceAll(string(data), "'", `"`)))
		},
	}
	s := open(t, func(c *server.Config) { c.Dialect = func(context.Context) *server.Dialect { return d } })
	at := s.user(`'userName':'a','title':'Dr','emails':[{'value':'h','type':'home'}]`)
	patch := scimtest.Patch(`{"op":"replace","path":"emails[type eq \"work\"].value","value":"w"}`, `{"op":"replace","path":"id","value":"x"}`, `{"op":"replace","value":{"id":"x","displayName":"d"}}`)
	d.Decode = nil
	s.do("PATCH", at, patch).want(t, 204, "")
	a := s.do("GET", at, "").want(t, 200, "")
	if got := string(scim.NewObject("e", a.obj.List("emails")).AppendJSON(nil)); got != `{"e":[{"value":"h","type":"home"},{"type":"work","value":"w"}]}` || a.obj.String("nickName") != "made" || a.obj.String("displayName") != "d" {
		t.Error(a.body)
	}
	s.do("PATCH", at, scimtest.Patch(`{"op":"replace","path":"emails[type ne \"home\" and type ne \"work\"].value","value":"w"}`)).want(t, 400, scim.NoTarget)
	a = s.do("PUT", at, scimtest.User(`"userName":"b","emails":null`)).want(t, 200, "")
	if a.obj.String("title") != "Dr" || a.obj.Get("emails") != nil || a.obj.String("userName") != "b" {
		t.Error(a.body)
	}
	if a := s.do("GET", query("filter", `login eq "b"`), "").want(t, 200, ""); fmt.Sprint(a.obj.Get("totalResults")) != "1" {
		t.Error(a.body)
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
		s.raw(b, 201, "POST", "/scim/v2/Users", scimtest.User(fmt.Sprintf(`"userName":"u%d@x.test","externalId":"e%d","active":true,"name":{"givenName":"A","familyName":"B"},"emails":[{"value":"u%d@x.test","type":"work","primary":true}],"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User":{"department":"IT"}`, i, i, i)))
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
		s.raw(b, 200, "PATCH", at, scimtest.Patch(fmt.Sprintf(`{"op":"replace","path":"active","value":%v}`, i%2 == 0)))
	}
}

// crowd is a server with 10,000 users, and the path of one.
func crowd(b *testing.B) (site, string) {
	s := open(b, nil)
	at := ""
	for i := range 10_000 {
		w := s.raw(b, 201, "POST", "/scim/v2/Users", scimtest.User(fmt.Sprintf(`"userName":"u%d@x.test","externalId":"e%d","active":true,"name":{"givenName":"A","familyName":"B"},"emails":[{"value":"u%d@x.test","type":"work","primary":true}]`, i, i, i)))
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

// A bulk whose client goes away leaves nothing half made: what was made without the
// references that it has to what came later gets them all the same.
func TestSC60_ABulkWhoseClientGoesAwayLeavesNothingHalfMade(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	groups := &hungUp{Store: memstore.New(scim.GroupType(), time.Now), hangUp: cancel, at: 2}
	s := open(t, func(c *server.Config) { c.Resources[1].Store = groups })
	r := httptest.NewRequestWithContext(ctx, http.MethodPost, base+"/Bulk", strings.NewReader(scimtest.Bulk("",
		`{"method":"POST","path":"/Groups","bulkId":"x","data":`+scimtest.Group("x", "bulkId:y")+`}`,
		`{"method":"POST","path":"/Groups","bulkId":"y","data":`+scimtest.Group("y", "bulkId:x")+`}`)))
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("Content-Type", scim.MediaType)
	w := httptest.NewRecorder()
	s.h.ServeHTTP(w, r)
	page, err := groups.List(t.Context(), scim.Query{Count: 10})
	if err != nil || len(page.Resources) != 2 {
		t.Fatalf("%d groups, %v: %s", len(page.Resources), err, w.Body)
	}
	for _, g := range page.Resources {
		if len(g.List("members")) != 1 {
			t.Errorf("%s is half made: %s", g.String("displayName"), g.AppendJSON(nil))
		}
	}
}

// hungUp is a store whose client goes away when so many resources are made; it does
// nothing for a client that is gone.
type hungUp struct {
	*memstore.Store
	hangUp func()
	at     int
}

func (h *hungUp) Create(ctx context.Context, r *scim.Resource) (*scim.Resource, error) {
	if h.at--; h.at == 0 {
		defer h.hangUp()
	}
	return h.Store.Create(ctx, r)
}

func (h *hungUp) Change(ctx context.Context, id string, fn scim.Edit) (*scim.Resource, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return h.Store.Change(ctx, id, fn)
}

func (h *hungUp) Delete(ctx context.Context, id string, check func(*scim.Resource) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return h.Store.Delete(ctx, id, check)
}
