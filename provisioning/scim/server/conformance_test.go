package server_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"strconv"
	"sync"
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

// 20,000 users are walked while 50 are deleted and 50 made, at the same time and
// from other clients: who stays is seen, and once.
func TestSC38_TwentyThousandWalked(t *testing.T) {
	t.Parallel()
	for _, method := range []string{"startIndex", "cursor"} {
		t.Run(method, func(t *testing.T) {
			t.Parallel()
			d := memstore.NewDirectory(base, nil)
			s, err := server.New(server.Config{Base: base, Authenticate: server.Bearer(token), Resources: []server.Resource{{Type: scim.UserType(), Store: d.Users}}})
			if err != nil {
				t.Fatal(err)
			}
			var all []string
			for i := range 20_000 {
				r, err := d.Users.Create(t.Context(), &scim.Resource{Object: *scim.NewObject("schemas", []any{scim.UserURN}, "userName", fmt.Sprint("u", i))})
				if err != nil {
					t.Fatal(err)
				}
				all = append(all, r.ID())
			}
			gone := map[string]bool{}
			var wg sync.WaitGroup
			begin := make(chan struct{})
			for i := range 50 {
				id := all[i*397%len(all)]
				gone[id] = true
				wg.Go(func() {
					<-begin
					if err := d.Users.Delete(context.Background(), id, func(*scim.Resource) error { return nil }); err != nil {
						t.Error(err)
					}
				})
				wg.Go(func() {
					<-begin
					if _, err := d.Users.Create(context.Background(), &scim.Resource{Object: *scim.NewObject("schemas", []any{scim.UserURN}, "userName", fmt.Sprint("n", i))}); err != nil {
						t.Error(err)
					}
				})
			}
			times := map[string]int{}
			for next, n := map[string]string{"startIndex": "1"}[method], 0; ; {
				r := httptest.NewRequest("GET", host+query(method, next, "count", "200", "attributes", "id"), nil)
				r.Header.Set("Authorization", "Bearer "+token)
				w := httptest.NewRecorder()
				s.ServeHTTP(w, r)
				o, err := scim.Decode(w.Body.Bytes())
				if err != nil || w.Code != 200 {
					t.Fatalf("%d %v", w.Code, err)
				}
				list := o.List("Resources")
				for _, v := range list {
					times[v.(*scim.Object).String("id")]++
				}
				if n += len(list); n == 400 {
					close(begin)
				}
				total, _ := strconv.Atoi(fmt.Sprint(o.Get("totalResults")))
				if next = strconv.Itoa(n + 1); method == "cursor" {
					next = o.String("nextCursor")
				}
				if next == "" || len(list) == 0 || method == "startIndex" && n >= total {
					break
				}
			}
			wg.Wait()
			for _, id := range all {
				if n := times[id]; n > 1 || n == 0 && !gone[id] {
					t.Errorf("%s was seen %d times", id, n)
				}
			}
		})
	}
}
