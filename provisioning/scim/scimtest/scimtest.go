// Package scimtest says what a SCIM server must do, row by row, over HTTP: what
// servers get wrong and what clients rely on. Whoever puts another Store
// behind the server runs it:
//
//	func TestConformance(t *testing.T) { scimtest.Test(t, open) }
//
// Each row begins with an empty server of users and groups, whose groups know
// their members (no member that does not exist, no circle), and that grants the
// client everything. A row that a server can not show is named in Skip, with the reason.
package scimtest

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/gatehouse-sso/gatehouse/provisioning/scim"
)

// A Server is what is tested.
type Server struct {
	Base   string       // its absolute address, without a slash at the end
	Client *http.Client // adds the credentials of the client, if the request has none
	// Skip are rows, by their name in Rows, that this server can not show, and why.
	Skip map[string]string
}

// Open makes an empty Server.
type Open func(t testing.TB) Server

// A Row is one promise.
type Row struct {
	Name string // SC13_UserNameIsUniqueInAnyCase: the row of the list, and what it promises
	Run  func(t *testing.T, open Open)
}

// Test runs every row.
func Test(t *testing.T, open Open) {
	for _, r := range Rows {
		t.Run(r.Name, func(t *testing.T) {
			t.Parallel()
			if why, ok := open(t).Skip[r.Name]; ok {
				t.Skip(why)
			}
			r.Run(t, open)
		})
	}
}

// Local is a client that asks a handler without a network and adds a header.
func Local(h http.Handler, name, value string) *http.Client {
	return &http.Client{Transport: local{h, name, value}}
}

type local struct {
	h           http.Handler
	name, value string
}

func (l local) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.RequestURI = r.URL.RequestURI()
	if _, set := r.Header[l.name]; !set {
		r.Header.Set(l.name, l.value)
	}
	if r.Body == nil {
		r.Body = http.NoBody
	}
	w := httptest.NewRecorder()
	l.h.ServeHTTP(w, r)
	return w.Result(), nil
}

// site is a Server with the test that asks it.
type site struct {
	t testing.TB
	Server
}

func begin(t testing.TB, open Open) site {
	t.Helper()
	return site{t, open(t)}
}

type answer struct {
	*http.Response
	body string
	obj  *scim.Object
}

// do asks below Base. headers are pairs; an empty value stands for a header without a value.
func (s site) do(method, path, body string, headers ...string) answer {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), method, s.Base+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	if body != "" {
		r.Header.Set("Content-Type", scim.MediaType)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header[http.CanonicalHeaderKey(headers[i])] = []string{headers[i+1]}
	}
	return s.ask(r)
}

func (s site) ask(r *http.Request) answer {
	s.t.Helper()
	resp, err := s.Client.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	a := answer{resp, string(data), nil}
	if len(data) == 0 {
		return a
	}
	if a.obj, err = (scim.Limits{Bytes: 64 << 20, Values: 1 << 20}).Decode(data); err != nil {
		s.t.Fatalf("%s %s: %v in %.500s", r.Method, r.URL.Path, err, data)
	}
	if ct := resp.Header.Get("Content-Type"); ct != scim.MediaType && !strings.Contains(r.URL.Path, "/Events/") {
		s.t.Errorf("%s %s: the content type is %q", r.Method, r.URL.Path, ct)
	}
	if bytes.Contains(data, []byte(":null")) || bytes.Contains(data, []byte("[null")) {
		s.t.Errorf("%s %s answers null: %.500s", r.Method, r.URL.Path, data)
	}
	return a
}

// want fails unless the answer has this status and, if it is an error, the form of one and this scimType.
func (a answer) want(t testing.TB, status int, typ string) answer {
	t.Helper()
	if a.StatusCode != status {
		t.Fatalf("%d, want %d: %.1000s", a.StatusCode, status, a.body)
	}
	if status >= 400 {
		if a.obj.String("status") != fmt.Sprint(status) || a.obj.String("scimType") != typ || a.obj.String("detail") == "" || fmt.Sprint(a.obj.List("schemas")) != "["+scim.ErrorURN+"]" {
			t.Errorf("the error is %.1000s, want status %q and scimType %q", a.body, fmt.Sprint(status), typ)
		}
	}
	return a
}

// total is how many a list says that there are.
func (a answer) total() string { return fmt.Sprint(a.obj.Get("totalResults")) }

// each gives an attribute of every resource of a list.
func (a answer) each(name string) []string {
	all := []string{}
	for _, r := range a.obj.List("Resources") {
		all = append(all, r.(*scim.Object).String(name))
	}
	return all
}

// user makes one and returns its path.
func (s site) user(rest string) string {
	s.t.Helper()
	return s.made(s.do("POST", "/Users", User(rest)))
}

// group makes one with members, by their paths or ids, and returns its path.
func (s site) group(name string, members ...string) string {
	s.t.Helper()
	return s.made(s.do("POST", "/Groups", Group(name, members...)))
}

func (s site) made(a answer) string {
	s.t.Helper()
	loc := a.want(s.t, 201, "").Header.Get("Location")
	path, ok := strings.CutPrefix(loc, s.Base)
	if !ok {
		s.t.Fatalf("the location %q is not below %q", loc, s.Base)
	}
	return path
}

func (s site) get(path string) answer {
	s.t.Helper()
	return s.do("GET", path, "").want(s.t, 200, "")
}

// id is the last part of a path.
func id(path string) string { return path[strings.LastIndexByte(path, '/')+1:] }

// User is the message of a user with these members of JSON.
func User(rest string) string { return `{"schemas":["` + scim.UserURN + `"],` + rest + `}` }

// Group is the message of a group.
func Group(name string, members ...string) string {
	var list []any
	for _, m := range members {
		list = append(list, scim.NewObject("value", id(m)))
	}
	return string(scim.NewObject("schemas", []any{scim.GroupURN}, "displayName", name, "members", list).AppendJSON(nil))
}

// Patch is the message of a patch with these operations.
func Patch(ops ...string) string {
	return `{"schemas":["` + scim.PatchURN + `"],"Operations":[` + strings.Join(ops, ",") + `]}`
}

// Bulk is the message of a bulk with these operations.
func Bulk(rest string, ops ...string) string {
	return `{"schemas":["` + scim.BulkRequestURN + `"],` + rest + `"Operations":[` + strings.Join(ops, ",") + `]}`
}

// users is the address of a query with these parameters.
func users(pairs ...string) string { return query("/Users", pairs...) }

func query(path string, pairs ...string) string {
	q := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		q.Add(pairs[i], pairs[i+1])
	}
	return path + "?" + q.Encode()
}
