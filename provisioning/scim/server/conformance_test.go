package server_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"

	"github.com/gatehouse-sso/gatehouse/provisioning/scim"
	"github.com/gatehouse-sso/gatehouse/provisioning/scim/memstore"
	"github.com/gatehouse-sso/gatehouse/provisioning/scim/scimtest"
	"github.com/gatehouse-sso/gatehouse/provisioning/scim/server"
)

// directory is a server over memstore, whose client is the user me.
func directory(t testing.TB) scimtest.Server {
	t.Helper()
	d := memstore.NewDirectory(base, nil)
	s, err := server.New(server.Config{
		Base: base, Authenticate: server.Bearer(token), Async: 4, Log: slog.New(slog.DiscardHandler),
		Resources: []server.Resource{{Type: scim.UserType(), Store: d.Users}, {Type: scim.GroupType(), Store: d.Groups, Quiet: true}},
		Me: func(ctx context.Context) (string, string, error) {
			f, err := scim.UserType().Filter(`userName eq "me"`)
			if err != nil {
				return "", "", err
			}
			p, err := d.Users.List(ctx, scim.Query{Filter: f, Start: 1, Count: 1})
			if err != nil || p.Total == 0 {
				return "", "", errors.Join(scim.NotFound("me"), err)
			}
			return "User", p.Resources[0].ID(), nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Drain)
	return scimtest.Server{Base: base, Client: scimtest.Local(s, "Authorization", "Bearer "+token)}
}

// plain hides that a memstore can do more than a Store must.
type plain struct{ scim.Store }

func simple(t testing.TB) scimtest.Server {
	t.Helper()
	d := memstore.NewDirectory(base, nil)
	s, err := server.New(server.Config{
		Base: base, Authenticate: server.Bearer(token), Log: slog.New(slog.DiscardHandler),
		Resources: []server.Resource{{Type: scim.UserType(), Store: plain{d.Users}}, {Type: scim.GroupType(), Store: plain{d.Groups}, Quiet: true}},
	})
	if err != nil {
		t.Fatal(err)
	}
	const counted = "a Store that only counts can not go on where somebody was"
	return scimtest.Server{Base: base, Client: scimtest.Local(s, "Authorization", "Bearer "+token), Skip: map[string]string{
		"SC38_WalksLoseNobody": counted, "SC38_WalksAtTheSameTime": counted,
	}}
}

func TestConformance(t *testing.T) {
	t.Parallel()
	t.Run("memstore", func(t *testing.T) { t.Parallel(); scimtest.Test(t, directory) })
	t.Run("a store that does the least", func(t *testing.T) { t.Parallel(); scimtest.Test(t, simple) })
}
