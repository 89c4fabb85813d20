package scim_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/gatehouse-sso/gatehouse/federation"
	"github.com/gatehouse-sso/gatehouse/provisioning"
	"github.com/gatehouse-sso/gatehouse/provisioning/audit"
	"github.com/gatehouse-sso/gatehouse/provisioning/client"
	intake "github.com/gatehouse-sso/gatehouse/provisioning/intake/scim"
	"github.com/gatehouse-sso/gatehouse/provisioning/scim"
	"github.com/gatehouse-sso/gatehouse/provisioning/scim/scimtest"
	"github.com/gatehouse-sso/gatehouse/provisioning/store"
	"github.com/gatehouse-sso/gatehouse/provisioning/store/boltstore"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	base     = "https://gate.test/.gatehouse/scim/v2"
	password = "hunter2-in-clear"
)

// A world is a directory in a file, with the server over it and these clients:
// hr (primary; its externalId names people of campus), uni (partners), and
// resident (all stores, by Basic).
type world struct {
	t      testing.TB
	h      http.Handler
	dir    *provisioning.Directory
	st     *counted
	reg    *client.Registry
	audit  *audit.Log
	file   string
	deltas []provisioning.Delta
	from   string // where requests come from
	quiet  bool   // nothing of what happens is written down
	config intake.Config

	mu      sync.Mutex
	refused []string
	ended   []string // users whose sessions were ended
	fail    error    // of ending sessions
}

func newWorld(t testing.TB, more ...client.Client) *world {
	t.Helper()
	w := &world{t: t, file: filepath.Join(t.TempDir(), "db")}
	st, err := boltstore.Open(w.file, boltstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	w.st, w.audit = &counted{Store: st}, audit.New(nil)
	w.dir, err = provisioning.New(provisioning.Config{
		Store: w.st, UserStores: []string{"primary", "partners", "mysql"}, Multi: map[string]bool{"course": true},
		Precedence: []provisioning.Source{"scim:hr", "scim:resident", "idp:campus"},
		Followers: []provisioning.Follower{func(_ store.Tx, _, _ provisioning.User, d provisioning.Delta) error {
			if !w.quiet {
				w.deltas = append(w.deltas, d)
			}
			return nil
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	reg := client.NewRegistry(client.Config{})
	for _, c := range []struct {
		client.Client
		cred []client.Credential
	}{
		{client.Client{ID: "hr", UserStores: []string{"primary"}, Groups: []string{"hr-*"}, Links: &client.Links{Provider: "campus", Issuer: "https://campus.test"}}, []client.Credential{{Bearer: "old-hr-token"}, {Bearer: "hr-token"}}},
		{client.Client{ID: "uni", UserStores: []string{"partners"}}, []client.Credential{{Bearer: "uni-token"}}},
		{client.Client{ID: "resident", UserStores: []string{"primary", "partners", "mysql"}}, []client.Credential{{User: "admin", Password: "admin"}}},
	} {
		if err := reg.Add(c.Client, c.cred...); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range more {
		if err := reg.Add(c, client.Credential{Bearer: c.ID + "-token"}); err != nil {
			t.Fatal(err)
		}
	}
	w.reg = reg
	w.serve(intake.Config{})
	return w
}

// serve answers by a Config, filled in with what every one of the tests has.
func (w *world) serve(c intake.Config) {
	w.t.Helper()
	w.config = c
	c.Base, c.Directory, c.Clients, c.Log = base, w.dir, w.reg, slog.New(slog.DiscardHandler)
	c.Refused = func(code, from string) { w.refused = append(w.refused, code+" "+from) }
	c.EndSessions = func(_ context.Context, id string) error {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.ended = append(w.ended, id)
		return w.fail
	}
	var err error
	if w.h, err = intake.New(c); err != nil {
		w.t.Fatal(err)
	}
}

type answer struct {
	*http.Response
	body string
	obj  *scim.Object
}

// do asks as who: a bearer token, or "user:password"; headers are pairs.
func (w *world) do(who, method, path, body string, headers ...string) answer {
	w.t.Helper()
	return w.doFor(w.t.Context(), who, method, path, body, headers...)
}

// doFor is do for as long as somebody waits for the answer.
func (w *world) doFor(ctx context.Context, who, method, path, body string, headers ...string) answer {
	w.t.Helper()
	r := httptest.NewRequestWithContext(ctx, method, "http://inside.test/.gatehouse/scim/v2"+path, strings.NewReader(body))
	if user, pass, ok := strings.Cut(who, ":"); ok {
		r.SetBasicAuth(user, pass)
	} else if who != "" {
		r.Header.Set("Authorization", "Bearer "+who)
	}
	r.Header.Set("X-Forwarded-For", cmp.Or(w.from, "192.0.2.7"))
	if body != "" {
		r.Header.Set("Content-Type", scim.MediaType)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	rec := httptest.NewRecorder()
	w.h.ServeHTTP(rec, r)
	data, _ := io.ReadAll(rec.Result().Body)
	a := answer{rec.Result(), string(data), nil}
	if len(data) > 0 {
		o, err := scim.Decode(data)
		if err != nil {
			w.t.Fatalf("%s %s: %v in %s", method, path, err, data)
		}
		a.obj = o
	}
	return a
}

const (
	hr       = "hr-token"
	uni      = "uni-token"
	resident = "admin:admin"
)

// want fails unless the answer has this status and, if it is an error, this scimType.
func (a answer) want(t testing.TB, status int, typ string) answer {
	t.Helper()
	if a.StatusCode != status {
		t.Fatalf("%d, want %d: %s", a.StatusCode, status, a.body)
	}
	if status >= 400 && (a.obj.String("scimType") != typ || a.obj.String("detail") == "" || a.obj.String("status") != fmt.Sprint(status)) {
		t.Errorf("the error is %s, want scimType %q", a.body, typ)
	}
	return a
}

// user makes one and returns its ID.
func (w *world) user(who, rest string) string {
	w.t.Helper()
	return w.do(who, "POST", "/Users", scimtest.User(rest)).want(w.t, 201, "").obj.String("id")
}

// named makes a user of this name, whom nothing links.
func (w *world) named(who, name string) string {
	w.t.Helper()
	return w.user(who, `"userName":"`+name+`"`)
}

func (w *world) get(who, id string) *scim.Object {
	w.t.Helper()
	return w.do(who, "GET", "/Users/"+id, "").want(w.t, 200, "").obj
}

// found are the IDs that a filter finds.
func (w *world) found(who, filter string) []string {
	w.t.Helper()
	a := w.do(who, "GET", "/Users?"+url.Values{"filter": {filter}}.Encode(), "").want(w.t, 200, "")
	return ids(a.obj)
}

func ids(list *scim.Object) []string {
	all := []string{}
	for _, r := range list.List("Resources") {
		all = append(all, r.(*scim.Object).String("id"))
	}
	return all
}

// stored is the user as the directory has it.
func (w *world) stored(id string) provisioning.User {
	w.t.Helper()
	u, err := w.dir.User(w.t.Context(), id)
	if err != nil {
		w.t.Fatal(err)
	}
	return u
}

func (w *world) endings() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.ended)
}

// login signs somebody in at campus, with its claims.
func (w *world) login(subject, name, mail string) (provisioning.User, error) {
	w.t.Helper()
	userName, err := provisioning.CompileFrom("preferred_username")
	if err != nil {
		w.t.Fatal(err)
	}
	mapping, err := provisioning.CompileMapping([]provisioning.MapRule{{Attribute: "mail", From: "email"}, {Attribute: "title", From: "title"}})
	if err != nil {
		w.t.Fatal(err)
	}
	u, _, err := w.dir.Login(w.t.Context(), federation.Identity{
		Ref: federation.Ref{Issuer: "https://campus.test", Subject: subject}, Provider: "campus",
		Attributes: map[string][]string{"preferred_username": {name}, "email": {mail}, "title": {"as campus says"}},
	}, provisioning.JIT{Provider: "campus", Mode: provisioning.Blocking, UserStore: "primary", UserName: userName, Mapping: mapping}, "")
	return u, err
}

func (w *world) mustLogin(subject, name, mail string) provisioning.User {
	w.t.Helper()
	u, err := w.login(subject, name, mail)
	if err != nil {
		w.t.Fatal(err)
	}
	return u
}

// count is how many users there are.
func (w *world) count() (n int) {
	w.t.Helper()
	for _, err := range w.dir.Users(w.t.Context(), "", 0) {
		if err != nil {
			w.t.Fatal(err)
		}
		n++
	}
	return n
}

func reason(err error) string {
	var r interface{ Reason() string }
	if errors.As(err, &r) {
		return r.Reason()
	}
	return ""
}

// sent is do with a content type of one's own.
func (w *world) sent(who, method, path, body string, headers ...string) answer {
	w.t.Helper()
	r := httptest.NewRequest(method, "http://inside.test/.gatehouse/scim/v2"+path, strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer "+who)
	r.Header.Set("Content-Type", scim.MediaType)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	rec := httptest.NewRecorder()
	w.h.ServeHTTP(rec, r)
	return answer{Response: rec.Result(), body: rec.Body.String()}
}
