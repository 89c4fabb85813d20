package scim_test

import (
	"testing"

	"github.com/gatehouse-sso/gatehouse/provisioning/client"
	"github.com/gatehouse-sso/gatehouse/provisioning/scim/scimtest"
)

// all is a client that may do everything.
const all = "all-token"

func TestDirectoryKeepsWhatSCIMPromises(t *testing.T) {
	t.Parallel()
	scimtest.Test(t, func(t testing.TB) scimtest.Server {
		w := newWorld(t, client.Client{ID: "all", UserStores: []string{"primary"}, Groups: []string{"*"}})
		return scimtest.Server{Base: base, Client: scimtest.Local(w.h, "Authorization", "Bearer "+all)}
	})
}
