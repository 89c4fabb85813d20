package outbox_test

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatehouse-sso/gatehouse/provisioning/connector/scim2"
	"github.com/gatehouse-sso/gatehouse/provisioning/scim"
	scimclient "github.com/gatehouse-sso/gatehouse/provisioning/scim/client"
	"github.com/gatehouse-sso/gatehouse/provisioning/scim/memstore"
	"github.com/gatehouse-sso/gatehouse/provisioning/scim/server"
	"github.com/gatehouse-sso/gatehouse/provisioning/task"
)

// BenchmarkConverge is one account coming into step with a target that is asked
// over HTTP on this machine, while many do: a creation, an update of one
// attribute, and a look that finds nothing to change. The target is our own SCIM
// server, in this process, so that its CPU time is in the figure; and npm's
// scimmy-routers, whose is not, if GATEHOUSE_BENCH_SCIMMY names a folder with its
// modules and the script that starts it (make bench does).
func BenchmarkConverge(b *testing.B) {
	for _, server := range []struct {
		name  string
		start func(*testing.B) string
	}{{"own", ownServer}, {"scimmy", scimmyServer}} {
		for _, c := range []struct{ name, attr string }{{"create", ""}, {"update", "title"}, {"unchanged", "nickname"}} {
			b.Run(server.name+"/"+c.name, func(b *testing.B) {
				counted := &counter{rt: &http.Transport{MaxIdleConnsPerHost: 16}}
				base, client := server.start(b), &http.Client{Transport: counted}
				b.Cleanup(client.CloseIdleConnections)
				conn, err := scim2.New(scim2.Config{URL: base, Client: client, Auth: scim2.Bearer(bearer), Update: scim2.Patch})
				if err != nil {
					b.Fatal(err)
				}
				w := newWorld(b, open(b), (&place{id: "crm", conn: conn}).target())
				w.fill(b.N)
				if c.attr != "" {
					w.drain()
					w.everybody(c.attr)
				}
				asked, cpu := counted.n.Load(), cpuTime()
				b.ResetTimer()
				w.drain()
				b.StopTimer()
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "accounts/s")
				b.ReportMetric(float64((cpuTime()-cpu).Microseconds())/float64(b.N), "cpu-µs/op")
				b.ReportMetric(float64(counted.n.Load()-asked)/float64(b.N), "requests/op")
				cl, err := scimclient.New(base, client, scim2.Bearer(bearer))
				if err != nil {
					b.Fatal(err)
				}
				if page, err := cl.List(b.Context(), "/Users", scimclient.Query{Start: 1, Count: 1}); err != nil || page.Total != b.N {
					b.Fatalf("%d accounts for %d people, %v", page.Total, b.N, err)
				}
			})
		}
	}
}

// counter counts requests.
type counter struct {
	rt *http.Transport
	n  atomic.Int64
}

func (c *counter) RoundTrip(r *http.Request) (*http.Response, error) {
	c.n.Add(1)
	return c.rt.RoundTrip(r)
}

// CloseIdleConnections is for http.Client.
func (c *counter) CloseIdleConnections() { c.rt.CloseIdleConnections() }

// ownServer starts our own SCIM server, in memory, and returns its address.
func ownServer(b *testing.B) string {
	var h http.Handler
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { h.ServeHTTP(w, r) }))
	b.Cleanup(s.Close)
	h, err := server.New(server.Config{Base: s.URL + "/scim/v2", Authenticate: server.Bearer(bearer), Resources: []server.Resource{{Type: scim.UserType(), Store: memstore.New(scim.UserType(), nil)}}})
	if err != nil {
		b.Fatal(err)
	}
	return s.URL + "/scim/v2"
}

// scimmyServer starts npm's.
func scimmyServer(b *testing.B) string {
	dir := os.Getenv("GATEHOUSE_BENCH_SCIMMY")
	if dir == "" {
		b.Skip("GATEHOUSE_BENCH_SCIMMY is not set: run make bench")
	}
	cmd := exec.Command("node", filepath.Join(dir, "scimmy.mjs"))
	cmd.Env = append(os.Environ(), "TOKEN="+bearer, "USERS=0", "MEMBERS=0")
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { in.Close(); _ = cmd.Wait() }) // it ends with its input
	address, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	return "http://" + strings.TrimSpace(address) + "/scim/v2"
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
	if len(list) > 0 && list[0].State == task.Parked {
		w.t.Fatalf("it will never be done: %s", list[0].Error)
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
