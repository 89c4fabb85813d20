package v1_test

import (
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gatehouse-sso/gatehouse/provisioning/scim"
	"github.com/gatehouse-sso/gatehouse/provisioning/scim/v1"
)

// Whatever a 1.1 client sends, the answer is of 1.1 and no failure of the server.
func FuzzV1(f *testing.F) {
	f.Add("POST", "/Users", []byte(kim))
	f.Add("PATCH", "/Users/x", []byte(`{"meta":{"attributes":["title"]},"emails":[{"value":"a","operation":"delete"}]}`))
	f.Add("POST", "/Bulk", []byte(`{"Operations":[{"method":"POST","path":"/Users","bulkId":"u","data":`+kim+`},{"method":"PATCH","path":"/Users/bulkId:u","data":{"title":"x"}}]}`))
	f.Add("GET", "/Users.xml", []byte(nil))
	f.Fuzz(func(t *testing.T, method, path string, body []byte) {
		if in, err := scim.Decode(body); err == nil {
			out := v1.Write(v1.Read(in, scim.UserURN))
			if len(v1.Read(out, scim.UserURN).AppendJSON(nil)) == 0 {
				t.Fatal("nothing is left")
			}
			if p, err := v1.ReadPatch(in); err == nil {
				if _, err := scim.ParsePatch(p.Object()); err != nil && len(p.Operations) <= scim.MaxOperations {
					t.Fatalf("%s makes no patch: %v", body, err)
				}
			}
		}
		for _, c := range method {
			if c < 'A' || c > 'Z' {
				return
			}
		}
		if method == "" || !strings.HasPrefix(path, "/") || strings.ContainsAny(path, " \r\n\t\x00%?#\x7f") {
			return
		}
		s := open(t)
		r := httptest.NewRequest(method, "http://inside.test/x", strings.NewReader(string(body)))
		r.URL.Path = "/scim/v1" + path
		r.Header.Set("Authorization", "Bearer t")
		w := httptest.NewRecorder()
		s.h.ServeHTTP(w, r)
		if w.Code >= 500 || w.Code == 0 {
			t.Fatalf("%s %s %q: %d %s", method, path, body, w.Code, w.Body)
		}
		if w.Body.Len() > 0 {
			o, err := scim.Limits{Bytes: 1 << 24}.Decode(w.Body.Bytes())
			if err != nil || w.Code >= 400 && len(o.List("Errors")) != 1 {
				t.Fatalf("%s %s %q: %d %s %v", method, path, body, w.Code, w.Body, err)
			}
		}
	})
}
