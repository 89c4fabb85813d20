package main

import (
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gatehouse-sso/gatehouse/provisioning/scim"
	"github.com/gatehouse-sso/gatehouse/provisioning/scim/memstore"
	"github.com/gatehouse-sso/gatehouse/provisioning/scim/server"
)

func TestEveryUserIsListed(t *testing.T) {
	t.Parallel()
	users := memstore.New(scim.UserType(), nil)
	for i := range 250 {
		r := &scim.Resource{Object: *scim.NewObject("schemas", []any{scim.UserURN}, "userName", fmt.Sprintf("u%d", i), "active", i != 7)}
		if _, err := users.Create(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	s, err := server.New(server.Config{Base: "https://x.test/scim/v2", Authenticate: server.Bearer("t"), Resources: []server.Resource{{Type: scim.UserType(), Store: users}}})
	if err != nil {
		t.Fatal(err)
	}
	ts := httptest.NewServer(s)
	defer ts.Close()
	var out strings.Builder
	if err := list(t.Context(), &out, ts.URL+"/scim/v2", "t"); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(out.String(), "\n"); n != 250 || strings.Count(out.String(), " u7 (inactive)\n") != 1 || strings.Count(out.String(), "inactive") != 1 {
		t.Errorf("%d lines: %.300s", n, out.String())
	}
	if err := list(t.Context(), &out, ts.URL+"/scim/v2", "wrong"); err == nil || !strings.Contains(err.Error(), "401") {
		t.Errorf("with another token: %v", err)
	}
}
