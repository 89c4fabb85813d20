package outbox_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
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

// prompt is a target that answers at once: it knows nobody and takes everybody. It
// speaks HTTP, and spends little on it, since its time is in what is measured.
type prompt struct {
	takes time.Duration // before each answer
	busy  atomic.Int64  // nanoseconds that it took, in all
	made  atomic.Int64
	seen  func(title string)
}

// serve answers on one connection until it ends.
func (p *prompt) serve(c net.Conn) {
	defer c.Close()
	in := bufio.NewReader(c)
	for {
		r, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		began := time.Now()
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		time.Sleep(p.takes)
		status, said := p.answer(r.Method, body)
		p.busy.Add(int64(time.Since(began)))
		if _, err := fmt.Fprintf(c, "HTTP/1.1 %s\r\nContent-Type: "+scim.MediaType+"\r\nContent-Length: %d\r\n\r\n%s", status, len(said), said); err != nil {
			return
		}
	}
}

// answer is what was sent with an ID before it, or that nobody was found.
func (p *prompt) answer(method string, body []byte) (status, said string) {
	if method != http.MethodPost {
		return "200 OK", `{"schemas":["urn:ietf:params:scim:api:messages:2.0:ListResponse"],"totalResults":0,"Resources":[]}`
	}
	user, ok := strings.CutPrefix(string(body), "{")
	if !ok || !strings.Contains(user, `"externalId":"`) || !strings.Contains(user, `"userName":"`) {
		return "400 Bad Request", "{}"
	}
	if p.seen != nil {
		_, title, _ := strings.Cut(user, `"title":"`)
		title, _, _ = strings.Cut(title, `"`)
		p.seen(title)
	}
	return "201 Created", `{"id":"` + strconv.FormatInt(p.made.Add(1), 10) + `",` + user
}

// over is a prompt target over HTTP on loopback.
func over(b *testing.B, id string, p *prompt) outbox.Target {
	b.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	var conns sync.WaitGroup
	conns.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			conns.Go(func() { p.serve(c) })
		}
	})
	tr := http.DefaultTransport.(*http.Transport).Clone()
	tr.MaxIdleConnsPerHost = 16
	b.Cleanup(func() { ln.Close(); tr.CloseIdleConnections(); conns.Wait() })
	c, err := scim2.New(scim2.Config{URL: "http://" + ln.Addr().String() + "/scim/v2", Client: &http.Client{Transport: connector.Traced(tr), Timeout: 10 * time.Second}, Auth: scim2.Bearer(bearer), Update: scim2.Patch})
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
	p := &prompt{seen: func(title string) {
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
	var places [3]prompt
	for i := range places {
		places[i].takes = answer
		t := over(b, fmt.Sprintf("t%d", i), &places[i])
		t.Wait = true
		targets = append(targets, t)
	}
	w := newWorkers(b, open(b), 64, 8, targets...)
	defer w.start()()
	var added []time.Duration
	b.ResetTimer()
	for i := range b.N {
		for i := range places {
			places[i].busy.Store(0)
		}
		u := w.person(fmt.Sprintf("p%06d", i), "Engineer", "")
		began := time.Now()
		if !w.settle(u.ID, 10*time.Second) {
			b.Fatalf("the accounts of %s are not there: %v", u.UserName, w.states(u.ID))
		}
		took := time.Since(began)
		slowest := time.Duration(max(places[0].busy.Load(), places[1].busy.Load(), places[2].busy.Load()))
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
