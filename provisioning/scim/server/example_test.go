package server_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/gatehouse-sso/gatehouse/provisioning/scim"
	"github.com/gatehouse-sso/gatehouse/provisioning/scim/memstore"
	"github.com/gatehouse-sso/gatehouse/provisioning/scim/server"
)

// A SCIM server: users and groups in memory, one token, one address.
func Example() {
	const base = "https://sso.example/scim/v2"
	d := memstore.NewDirectory(base, nil)
	s, err := server.New(server.Config{
		Base:         base,
		Authenticate: server.Bearer("secret"),
		Resources: []server.Resource{
			{Type: scim.UserType(), Store: d.Users},
			{Type: scim.GroupType(), Store: d.Groups, Quiet: true},
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}

	// http.ListenAndServe(":8080", s) serves it; here it is asked without a network.
	ask := func(method, path, body string) *scim.Object {
		r := httptest.NewRequest(method, base+path, strings.NewReader(body))
		r.Header.Set("Authorization", "Bearer secret")
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		fmt.Println(method, path, w.Code, http.StatusText(w.Code))
		o, _ := scim.Decode(w.Body.Bytes())
		return o
	}
	kim := ask("POST", "/Users", `{"schemas":["`+scim.UserURN+`"],"userName":"kim","emails":[{"value":"kim@example.org","type":"work"}]}`)
	ask("POST", "/Groups", `{"schemas":["`+scim.GroupURN+`"],"displayName":"staff","members":[{"value":"`+kim.String("id")+`"}]}`)
	list := ask("GET", "/Users?filter=emails[type+eq+%22work%22].value+ew+%22@example.org%22", "")
	for _, r := range list.List("Resources") {
		u := r.(*scim.Object)
		fmt.Println(u.String("userName"), "is in", u.List("groups")[0].(*scim.Object).String("display"))
	}
	// Output:
	// POST /Users 201 Created
	// POST /Groups 201 Created
	// GET /Users?filter=emails[type+eq+%22work%22].value+ew+%22@example.org%22 200 OK
	// kim is in staff
}
