package scim_test

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatehouse-sso/gatehouse/provisioning"
	"github.com/gatehouse-sso/gatehouse/provisioning/client"
	"github.com/gatehouse-sso/gatehouse/provisioning/scim/scimtest"
)

// crowd is a world with as many users as GATEHOUSE_BENCH_USERS says, else 10,000,
// and their IDs.
func crowd(b *testing.B) (*world, []string) {
	b.Helper()
	n, err := strconv.Atoi(os.Getenv("GATEHOUSE_BENCH_USERS"))
	if err != nil {
		n = 10_000
	}
	w := newWorld(b, client.Client{ID: "all", UserStores: []string{"primary"}, Groups: []string{"*"}})
	w.quiet = true
	return w, w.fill(n)
}

// paced collects garbage as the gateway does while little is alive, unless GOGC says
// something else: see paceHeap of cmd/gatehouse.
func paced(b *testing.B) {
	if os.Getenv("GOGC") == "" {
		was := debug.SetGCPercent(400)
		b.Cleanup(func() { debug.SetGCPercent(was) })
	}
}

// measured runs fn as often as it is asked to, and reports the processor time of
// each, which another program on the machine changes little.
func measured(b *testing.B, fn func(i int)) {
	paced(b)
	b.ReportAllocs()
	before := used(b)
	i := 0
	for b.Loop() {
		fn(i)
		i++
	}
	b.ReportMetric(float64(used(b)-before)/float64(time.Microsecond)/float64(b.N), "cpu-µs/op")
}

func person(i int) string {
	return fmt.Sprintf(`"userName":"u%d@x.test","externalId":"p%d","active":true,"name":{"givenName":"A","familyName":"B"},"emails":[{"value":"u%d@x.test","type":"work","primary":true}],"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User":{"department":"IT"}`, i, i, i)
}

// raw makes a request without a network and without net/http reading it, which is
// measured with the gateway (make bench).
func (w *world) raw(b *testing.B, status int, method, path, body string) {
	at, err := url.Parse("/.gatehouse/scim/v2" + path)
	if err != nil {
		b.Fatal(err)
	}
	r := &http.Request{Method: method, URL: at, Header: http.Header{"Authorization": {"Bearer " + all}}, Body: io.NopCloser(strings.NewReader(body))}
	rec := received{header: http.Header{}}
	if w.h.ServeHTTP(&rec, r); rec.status != status {
		b.Fatalf("%d %s", rec.status, rec.body)
	}
}

// received is an answer.
type received struct {
	header http.Header
	status int
	body   []byte
}

func (r *received) Header() http.Header    { return r.header }
func (r *received) WriteHeader(status int) { r.status = status }
func (r *received) Write(b []byte) (int, error) {
	r.body = b
	return len(b), nil
}

func BenchmarkGet(b *testing.B) {
	w, ids := crowd(b)
	measured(b, func(i int) { w.raw(b, 200, "GET", "/Users/"+ids[i*7919%len(ids)], "") })
}

// BenchmarkGetAgain reads few users again and again, as somebody does who syncs.
func BenchmarkGetAgain(b *testing.B) {
	w, ids := crowd(b)
	measured(b, func(i int) { w.raw(b, 200, "GET", "/Users/"+ids[i%1000], "") })
}

func BenchmarkFilter(b *testing.B) {
	w, ids := crowd(b)
	for name, filter := range map[string]string{"userName": `userName eq "u%06d"`, "externalId": `externalId eq "e%d"`, "mail": `emails.value eq "u%06d@x.test"`} {
		b.Run(name, func(b *testing.B) {
			measured(b, func(i int) {
				w.raw(b, 200, "GET", "/Users?"+url.Values{"filter": {fmt.Sprintf(filter, i*7919%len(ids))}}.Encode(), "")
			})
		})
	}
}

func BenchmarkPage(b *testing.B) {
	w, ids := crowd(b)
	b.Run("in the middle", func(b *testing.B) {
		measured(b, func(i int) { w.raw(b, 200, "GET", fmt.Sprintf("/Users?startIndex=%d&count=100", len(ids)/2), "") })
	})
	b.Run("total", func(b *testing.B) {
		measured(b, func(i int) { w.raw(b, 200, "GET", "/Users?count=0", "") })
	})
}

func BenchmarkCreate(b *testing.B) {
	w := newWorld(b, client.Client{ID: "all", UserStores: []string{"primary"}})
	w.quiet = true
	var next atomic.Int64 // each name is new
	for _, n := range []int{1, 16, 64} {
		b.Run(fmt.Sprint(n, " clients"), func(b *testing.B) {
			paced(b)
			b.ReportAllocs()
			b.SetParallelism(max(1, n/runtime.GOMAXPROCS(0)))
			before := used(b)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					w.raw(b, 201, "POST", "/Users", scimtest.User(person(int(next.Add(1)))))
				}
			})
			b.ReportMetric(float64(used(b)-before)/float64(time.Microsecond)/float64(b.N), "cpu-µs/op")
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "users/s")
		})
	}
}

func BenchmarkPatchActive(b *testing.B) {
	w, ids := crowd(b)
	measured(b, func(i int) {
		w.raw(b, 200, "PATCH", "/Users/"+ids[0], scimtest.Patch(fmt.Sprintf(`{"op":"replace","path":"active","value":%v}`, i%2 == 0)))
	})
}

// BenchmarkPatchOneMember of groups of several sizes.
func BenchmarkPatchOneMember(b *testing.B) {
	w := newWorld(b, client.Client{ID: "all", UserStores: []string{"primary"}, Groups: []string{"*"}})
	w.quiet = true
	ids := w.fill(50_001)
	for _, n := range []int{10, 1000, 50_000} {
		g, err := w.dir.CreateGroup(b.Context(), provisioning.Group{Store: "primary", Name: fmt.Sprint("g", n)}, provisioning.Admin, provisioning.Move{Join: ids[:n]})
		if err == nil {
			err = w.dir.Clear(b.Context(), g.ID)
		}
		if err != nil {
			b.Fatal(err)
		}
		add := scimtest.Patch(`{"op":"add","path":"members","value":[{"value":"` + ids[n] + `"}]}`)
		remove := scimtest.Patch(`{"op":"remove","path":"members[value eq \"` + ids[n] + `\"]"}`)
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			measured(b, func(i int) { w.raw(b, 204, "PATCH", "/Groups/"+g.ID, []string{add, remove}[i%2]) })
		})
	}
}
