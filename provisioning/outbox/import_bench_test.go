package outbox_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatehouse-sso/gatehouse/authz"
	"github.com/gatehouse-sso/gatehouse/provisioning"
	"github.com/gatehouse-sso/gatehouse/provisioning/connector"
	"github.com/gatehouse-sso/gatehouse/provisioning/connector/scim2"
	"github.com/gatehouse-sso/gatehouse/provisioning/outbox"
	"github.com/gatehouse-sso/gatehouse/provisioning/scim"
)

// prompt is a target that answers at once: it knows nobody and takes everybody.
type prompt struct {
	made atomic.Int64
	seen func(externalID, title string)
}

func (p *prompt) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", scim.MediaType)
	switch r.Method {
	case http.MethodPost:
		var in map[string]any
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		in["id"] = strconv.FormatInt(p.made.Add(1), 10)
		if p.seen != nil {
			title, _ := in["title"].(string)
			p.seen(in["externalId"].(string), title)
		}
		w.WriteHeader(http.StatusCreated)
		_ = json.NewEncoder(w).Encode(in)
	default:
		_, _ = io.WriteString(w, `{"schemas":["urn:ietf:params:scim:api:messages:2.0:ListResponse"],"totalResults":0,"Resources":[]}`)
	}
}

// over is a target over HTTP on loopback.
func over(b *testing.B, id string, h http.Handler) outbox.Target {
	b.Helper()
	s := httptest.NewServer(h)
	b.Cleanup(s.Close)
	tr := http.DefaultTransport.(*http.Transport).Clone()
	tr.MaxIdleConnsPerHost = 16
	b.Cleanup(tr.CloseIdleConnections)
	c, err := scim2.New(scim2.Config{URL: s.URL + "/scim/v2", Client: &http.Client{Transport: connector.Traced(tr), Timeout: 10 * time.Second}, Auth: scim2.Bearer(bearer), Update: scim2.Patch})
	if err != nil {
		b.Fatal(err)
	}
	return outbox.Target{
		ID: id, Connector: c, Scope: func(authz.Subject) bool { return true },
		Account: func(u provisioning.User, s authz.Subject) (connector.Account, error) {
			return connector.Account{UserName: u.UserName, Attributes: map[string][]string{"title": s.Attributes["title"], mail: s.Attributes["mail"]}}, nil
		},
	}
}

// A first import: b.N users are created and provisioned to eight targets that
// answer at once. Targets run in this process, so their time is in it.
//
//	go test -run '^$' -bench Import -benchtime 10000x ./provisioning/outbox
func BenchmarkImport(b *testing.B) {
	var targets []outbox.Target
	var ps []*prompt
	for i := range 8 {
		p := &prompt{}
		ps = append(ps, p)
		targets = append(targets, over(b, fmt.Sprintf("t%d", i), p))
	}
	w := newWorkers(b, open(b), 64, 8, targets...)
	began, cpu := time.Now(), cpuTime()
	b.ResetTimer()
	stop := w.start()
	var wg sync.WaitGroup
	for g := range 32 {
		wg.Go(func() {
			for i := g; i < b.N; i += 32 {
				w.person(fmt.Sprintf("p%06d", i), "Engineer", fmt.Sprintf("p%06d@mail.test", i))
			}
		})
	}
	wg.Wait()
	for w.waiting() {
		time.Sleep(20 * time.Millisecond)
	}
	b.StopTimer()
	took := time.Since(began)
	stop()
	for _, p := range ps {
		if n := p.made.Load(); n != int64(b.N) {
			b.Fatalf("%d accounts for %d users", n, b.N)
		}
	}
	b.ReportMetric(float64(b.N)/took.Seconds(), "users/s")
	b.ReportMetric(float64((cpuTime()-cpu).Microseconds())/float64(8*b.N), "cpu-µs/account")
}

// How long after a change was acknowledged the target has it, while a hundred
// users are created in a second.
//
//	go test -run '^$' -bench Lag -benchtime 2000x ./provisioning/outbox
func BenchmarkLag(b *testing.B) {
	var mu sync.Mutex
	done := map[string]time.Time{}
	there := map[string]time.Time{}
	p := &prompt{seen: func(_, title string) {
		mu.Lock()
		defer mu.Unlock()
		there[title] = time.Now()
	}}
	w := newWorkers(b, open(b), 64, 8, over(b, "crm", p))
	defer w.start()()
	b.ResetTimer()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	var wg sync.WaitGroup
	for i := range b.N {
		<-tick.C
		wg.Go(func() {
			name := fmt.Sprintf("p%06d", i)
			w.person(name, name, "")
			mu.Lock()
			defer mu.Unlock()
			done[name] = time.Now()
		})
	}
	wg.Wait()
	for w.waiting() {
		time.Sleep(20 * time.Millisecond)
	}
	var lags []time.Duration
	for name, at := range done {
		lags = append(lags, max(0, there[name].Sub(at)))
	}
	slices.Sort(lags)
	at := func(q float64) float64 {
		return float64(lags[min(len(lags)-1, int(q*float64(len(lags))))].Microseconds()) / 1000
	}
	b.ReportMetric(at(0.5), "p50-ms")
	b.ReportMetric(at(0.99), "p99-ms")
}

// What a sign-in that waits for three targets takes longer than the slowest of
// them does: they take 20 ms for each of their two answers, to the search and to
// the creation. The time is that of the wait, not of the sign-in before it.
//
//	go test -run '^$' -bench Wait -benchtime 300x ./provisioning/outbox
func BenchmarkWait(b *testing.B) {
	const answer = 20 * time.Millisecond
	var targets []outbox.Target
	var busy [3]atomic.Int64 // nanoseconds that a target took for the user who waits
	for i := range busy {
		p := &prompt{}
		t := over(b, fmt.Sprintf("t%d", i), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			began := time.Now()
			time.Sleep(answer)
			p.ServeHTTP(w, r)
			busy[i].Add(int64(time.Since(began)))
		}))
		t.Wait = true
		targets = append(targets, t)
	}
	w := newWorkers(b, open(b), 64, 8, targets...)
	defer w.start()()
	var added []time.Duration
	b.ResetTimer()
	for i := range b.N {
		for t := range busy {
			busy[t].Store(0)
		}
		u := w.person(fmt.Sprintf("p%06d", i), "Engineer", "")
		began := time.Now()
		if !w.settle(u.ID, 10*time.Second) {
			b.Fatalf("the accounts of %s are not there: %v", u.UserName, w.states(u.ID))
		}
		took := time.Since(began)
		slowest := time.Duration(max(busy[0].Load(), busy[1].Load(), busy[2].Load()))
		if slowest < 2*answer {
			b.Fatalf("the slowest target took %v", slowest)
		}
		added = append(added, took-slowest)
	}
	b.StopTimer()
	slices.Sort(added)
	at := func(q float64) float64 {
		return float64(added[min(len(added)-1, int(q*float64(len(added))))].Microseconds()) / 1000
	}
	b.ReportMetric(at(0.5), "added-p50-ms")
	b.ReportMetric(at(0.99), "added-p99-ms")
}
