package outbox_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatehouse-sso/gatehouse/provisioning/connector/scim2"
	"github.com/gatehouse-sso/gatehouse/provisioning/scim"
	"github.com/gatehouse-sso/gatehouse/provisioning/scim/memstore"
	"github.com/gatehouse-sso/gatehouse/provisioning/scim/server"
	"github.com/gatehouse-sso/gatehouse/provisioning/task"
)

// BenchmarkConverge is one account coming into step with a target that is asked
// over HTTP on this machine, while many do: a creation, an update of one
// attribute, and a look that finds nothing to change. The target's own work is in
// it, and is all of the CPU time that is not ours.
func BenchmarkConverge(b *testing.B) {
	for _, c := range []struct{ name, attr string }{{"create", ""}, {"update", "title"}, {"unchanged", "nickname"}} {
		b.Run(c.name, func(b *testing.B) {
			p := &place{id: "crm", store: memstore.New(scim.UserType(), nil)}
			var requests atomic.Int64
			var h http.Handler
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { requests.Add(1); h.ServeHTTP(w, r) }))
			b.Cleanup(s.Close)
			h, err := server.New(server.Config{Base: s.URL + "/scim/v2", Authenticate: server.Bearer(bearer), Resources: []server.Resource{{Type: scim.UserType(), Store: p.store}}})
			if err != nil {
				b.Fatal(err)
			}
			client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16}}
			b.Cleanup(client.CloseIdleConnections)
			if p.conn, err = scim2.New(scim2.Config{URL: s.URL + "/scim/v2", Client: client, Auth: scim2.Bearer(bearer), Update: scim2.Patch}); err != nil {
				b.Fatal(err)
			}
			w := newWorld(b, open(b), p.target())
			w.fill(b.N)
			if c.attr != "" {
				w.drain()
				w.everybody(c.attr)
			}
			asked, cpu := requests.Load(), cpuTime()
			b.ResetTimer()
			w.drain()
			b.StopTimer()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "accounts/s")
			b.ReportMetric(float64((cpuTime()-cpu).Microseconds())/float64(b.N), "cpu-µs/op")
			b.ReportMetric(float64(requests.Load()-asked)/float64(b.N), "requests/op")
			if n := len(p.resources(b)); n != b.N {
				b.Fatalf("%d accounts for %d people", n, b.N)
			}
		})
	}
}

// drain works until no task is left.
func (w *world) drain() {
	w.t.Helper()
	stop := w.start()
	for w.waiting() {
		time.Sleep(time.Millisecond)
	}
	stop()
}

func (w *world) waiting() bool {
	list, err := task.List(context.Background(), w.st, task.Task{}, 1)
	if err != nil {
		w.t.Fatal(err)
	}
	return len(list) > 0
}

// everybody gets another value of an attribute.
func (w *world) everybody(attr string) {
	w.t.Helper()
	var ids []string
	for u, err := range w.dir.Users(context.Background(), "", 0) {
		if err != nil {
			w.t.Fatal(err)
		}
		ids = append(ids, u.ID)
	}
	var wg sync.WaitGroup
	for g := range 50 {
		wg.Go(func() {
			for i := g; i < len(ids); i += 50 {
				w.set(ids[i], attr, fmt.Sprint("value ", i))
			}
		})
	}
	wg.Wait()
}
