package server_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/gatehouse-sso/gatehouse/provisioning/scim"
	"github.com/gatehouse-sso/gatehouse/provisioning/scim/scimtest"
)

// Whatever a bulk says, the answer is SCIM's and no failure of the server, and
// what it says was not made was not made.
func FuzzBulk(f *testing.F) {
	user := func(id, name, manager string) string {
		return `{"method":"POST","path":"/Users","bulkId":"` + id + `","data":` + scimtest.User(`"userName":"`+name+`","`+scim.EnterpriseUserURN+`":{"manager":{"value":"`+manager+`"}}`) + `}`
	}
	group := func(id, member string) string {
		return `{"method":"POST","path":"/Groups","bulkId":"` + id + `","data":` + scimtest.Group("g"+id, member) + `}`
	}
	f.Add([]byte(scimtest.Bulk(`"failOnErrors":1,`, user("a", "a", "bulkId:b"), user("b", "b", "bulkId:a"))))
	f.Add([]byte(scimtest.Bulk("", group("x", "bulkId:y"), group("y", "bulkId:x"), group("z", "bulkId:z"))))
	f.Add([]byte(scimtest.Bulk("", user("a", "bulkId:a", "x"), `{"method":"DELETE","path":"/Users/bulkId:a"}`, `{"method":"PATCH","path":"/Users/bulkId:a","data":{}}`)))
	f.Fuzz(func(t *testing.T, body []byte) {
		s := directory(t)
		ask := func(method, path, body string) (int, *scim.Object) {
			r, err := http.NewRequestWithContext(t.Context(), method, s.Base+path, strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			resp, err := s.Client.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			data := make([]byte, 0, 1<<10)
			for buf := make([]byte, 1<<12); ; {
				n, err := resp.Body.Read(buf)
				if data = append(data, buf[:n]...); err != nil {
					break
				}
			}
			o, err := scim.Limits{Bytes: 1 << 24}.Decode(data)
			if err != nil {
				t.Fatalf("%q is answered with %d %s: %v", body, resp.StatusCode, data, err)
			}
			return resp.StatusCode, o
		}
		status, o := ask("POST", "/Bulk", string(body))
		if status >= 500 || status == 200 && len(o.List("Operations")) == 0 {
			t.Fatalf("%q: %d %s", body, status, o.AppendJSON(nil))
		}
		made := 0
		for _, v := range o.List("Operations") {
			op := v.(*scim.Object)
			switch st := op.String("status"); {
			case len(st) != 3 || st[0] == '5':
				t.Fatalf("%q: %s", body, op.AppendJSON(nil))
			case st == "201":
				made++
			case st == "204" && op.String("method") == "DELETE":
				made--
			}
		}
		there := 0
		for _, path := range []string{"/Users", "/Groups"} {
			_, l := ask("GET", path+"?count=0", "")
			n, _ := l.Get("totalResults").(interface{ Int64() (int64, error) }).Int64()
			there += int(n)
		}
		if there != made {
			t.Fatalf("%q says that %d are made, and there are %d: %s", body, made, there, o.AppendJSON(nil))
		}
	})
}
