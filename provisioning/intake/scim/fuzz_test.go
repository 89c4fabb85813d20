package scim_test

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gatehouse-sso/gatehouse/provisioning"
	"github.com/gatehouse-sso/gatehouse/provisioning/client"
	intake "github.com/gatehouse-sso/gatehouse/provisioning/intake/scim"
	"github.com/gatehouse-sso/gatehouse/provisioning/scim"
	"github.com/gatehouse-sso/gatehouse/provisioning/scim/dialect"
	"github.com/gatehouse-sso/gatehouse/provisioning/scim/scimtest"
	"github.com/gatehouse-sso/gatehouse/provisioning/store"
	"github.com/gatehouse-sso/gatehouse/provisioning/store/boltstore"
)

// What a client sends, in any dialect, is answered by SCIM and by no failure of the
// server; what was refused has changed nothing, and what was taken can be read.
func FuzzDirectory(f *testing.F) {
	dialects := []string{"", "entra", "okta", "wso2"}
	for i, s := range []struct{ method, path, body string }{
		{"POST", "/Users", scimtest.User(`"userName":"lee","externalId":"e","emails":[{"value":"a@x.test"}],"groups":[],"password":"p"`)},
		{"POST", "/Users", `{"schemas":[],"userName":'partners/lee',"EnterpriseUser":{"manager":{"managerId":"1"}}}`},
		{"PUT", "/Users/KIM", scimtest.User(`"userName":"kim2","active":"False","name":{"givenName":"K"},"roles":[{"value":"r","primary":true}]`)},
		{"PATCH", "/Users/KIM", scimtest.Patch(`{"op":"Replace","path":"emails[type eq \"work\"].value","value":"b@x.test"}`, `{"op":"add","value":{"name.givenName":"K","active":false}}`)},
		{"PATCH", "/Users/KIM", scimtest.Patch(`{"op":"add","path":"title","value":"x"}`, `{"op":"remove","path":"userName"}`)},
		{"POST", "/Groups", groupJSON(`"displayName":"g","members":[{"value":"KIM","display":"K"},{"value":"GROUP"}]`)},
		{"PUT", "/Groups/GROUP", groupJSON(`"displayName":"other","members":[]`)},
		{"PATCH", "/Groups/GROUP", scimtest.Patch(`{"op":"add","path":"members","value":[{"value":"KIM"}]}`, `{"op":"remove","path":"members[value eq \"x\"]"}`, `{"op":"replace","path":"displayName","value":""}`)},
		{"POST", "/Bulk", `{"schemas":["urn:ietf:params:scim:api:messages:2.0:BulkRequest"],"failOnErrors":1,"Operations":[{"method":"POST","path":"/Users","bulkId":"a","data":` + scimtest.User(`"userName":"a"`) + `},{"method":"DELETE","path":"/Users/KIM"},{"method":"PATCH","path":"/Groups/GROUP","data":` + scimtest.Patch(`{"op":"add","path":"members","value":[{"value":"bulkId:a"}]}`) + `}]}`},
		{"POST", "/.search", `{"schemas":["` + scim.SearchURN + `"],"filter":"userName eq \"kim\" or displayName sw \"s\"","count":2}`},
	} {
		f.Add(i%len(dialects), s.method, s.path, s.body)
	}
	f.Fuzz(func(t *testing.T, speaks int, method, path, body string) {
		w := small(t, dialects[max(speaks, 0)%len(dialects)])
		r, err := http.NewRequest(method, "http://inside.test/.gatehouse/scim/v2/", strings.NewReader(w.filled(body)))
		if err != nil {
			return // no HTTP
		}
		path = w.filled(path)
		if p, query, ok := strings.Cut(path, "?"); ok {
			r.URL.RawQuery, path = query, p
		}
		r.URL.Path += strings.TrimPrefix(path, "/")
		r.Header.Set("Authorization", "Bearer all-token")
		before := w.content(t)
		rec := httptest.NewRecorder()
		w.h.ServeHTTP(rec, r)
		if rec.Code >= 500 && rec.Code != http.StatusNotImplemented {
			t.Fatalf("%s %q %q: %d %s", method, path, body, rec.Code, rec.Body)
		}
		if raw := rec.Body.Bytes(); len(raw) > 0 {
			if _, err := (scim.Limits{Bytes: 1 << 24}).Decode(raw); err != nil {
				t.Fatalf("%s %q %q is answered with %d %s: %v", method, path, body, rec.Code, raw, err)
			}
		}
		after := w.content(t)
		if changed := before != after; changed && (rec.Code >= 400 || method == http.MethodGet || strings.Contains(path, ".search")) {
			t.Fatalf("%s %q %q: %d, and yet something is written:\n%s\n%s", method, path, body, rec.Code, before, after)
		}
		// All that is there can be read, whoever wrote it.
		for _, kind := range []string{"/Users", "/Groups"} {
			r := httptest.NewRequest("GET", "http://inside.test/.gatehouse/scim/v2"+kind+"?count=200", nil)
			r.Header.Set("Authorization", "Bearer all-token")
			rec := httptest.NewRecorder()
			if w.h.ServeHTTP(rec, r); rec.Code != 200 {
				t.Fatalf("after %s %q %q: %d %s", method, path, body, rec.Code, rec.Body)
			}
		}
	})
}

// A tiny is a directory with a user and a group, and a client that may do everything.
type tiny struct {
	h          http.Handler
	st         store.Store
	kim, group string
}

func small(t *testing.T, profile string) *tiny {
	t.Helper()
	st, err := boltstore.Open(t.TempDir()+"/db", boltstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	d, err := provisioning.New(provisioning.Config{Store: st, UserStores: []string{"primary", "partners"}})
	if err != nil {
		t.Fatal(err)
	}
	c := client.Client{ID: "all", UserStores: []string{"primary", "partners"}, Groups: []string{"*"}}
	c.Dialect, _ = dialect.Named(profile)
	reg := client.NewRegistry(client.Config{Store: st})
	if err := reg.Add(c, client.Credential{Bearer: "all-token"}); err != nil {
		t.Fatal(err)
	}
	w := &tiny{st: st}
	if w.h, err = intake.New(intake.Config{Base: base, Directory: d, Clients: reg, Log: slog.New(slog.NewTextHandler(io.Discard, nil))}); err != nil {
		t.Fatal(err)
	}
	u, _, err := d.Create(t.Context(), provisioning.User{Store: "primary", UserName: "kim", Active: true}, c.Source())
	if err != nil {
		t.Fatal(err)
	}
	g, err := d.CreateGroup(t.Context(), provisioning.Group{Store: "primary", Name: "staff"}, c.Source(), provisioning.Move{Join: []string{u.ID}})
	if err != nil {
		t.Fatal(err)
	}
	w.kim, w.group = u.ID, g.ID
	return w
}

// filled puts the IDs of the user and the group where a text names them.
func (w *tiny) filled(text string) string {
	return strings.NewReplacer("KIM", w.kim, "GROUP", w.group).Replace(text)
}

// content is everything in the store.
func (w *tiny) content(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	if err := w.st.View(t.Context(), func(tx store.Tx) error {
		b.Reset()
		for p, err := range tx.Scan(nil, nil, 0) {
			if err != nil {
				return err
			}
			fmt.Fprintf(&b, "%q=%q\n", p.Key, p.Val)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return b.String()
}
