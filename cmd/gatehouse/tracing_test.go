package main

import (
	"compress/gzip"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// A gatherer takes traces as a collector of OpenTelemetry does.
type gatherer struct {
	mu    sync.Mutex
	spans []*tracepb.Span
	raw   strings.Builder // as it came, for what must be nowhere
	auth  []string
}

func (g *gatherer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	zr, err := gzip.NewReader(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	raw, err := io.ReadAll(zr)
	var m collector.ExportTraceServiceRequest
	if err == nil {
		err = proto.Unmarshal(raw, &m)
	}
	if err != nil || r.URL.Path != "/v1/traces" {
		http.Error(w, fmt.Sprint(err, r.URL), http.StatusBadRequest)
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.auth = append(g.auth, r.Header.Get("Authorization"))
	g.raw.Write(raw)
	for _, rs := range m.ResourceSpans {
		for _, ss := range rs.ScopeSpans {
			g.spans = append(g.spans, ss.Spans...)
		}
	}
	w.Header().Set("Content-Type", "application/x-protobuf")
}

// all are the spans of a name.
func (g *gatherer) all(name string) (list []*tracepb.Span) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, s := range g.spans {
		if s.Name == name {
			list = append(list, s)
		}
	}
	return list
}

// facts are what a span says.
func facts(s *tracepb.Span) string {
	var list []string
	for _, a := range s.Attributes {
		v := a.Value.GetStringValue()
		if v == "" {
			v = fmt.Sprint(a.Value.GetIntValue())
		}
		list = append(list, a.Key+"="+v)
	}
	slices.Sort(list)
	return strings.Join(list, " ")
}

// trace makes a lab's gateway tell a collector.
func (l *lab) trace(more string) *gatherer {
	g := &gatherer{}
	at := l.serve(g)
	l.reload(func(s string) string {
		return strings.Replace(s, "\nstore:", fmt.Sprintf("\n  tracing: { url: %q, headers: { Authorization: Bearer-of-the-collector }%s }\nstore:", at+"/v1/traces", more), 1)
	})
	return g
}

// A sign-in, a request and the account that follows are told, each in its place, and
// nobody is named.
func TestTracesSayWhatTookTheTimeAndNotWho(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	g := l.trace("")
	p := l.in("campus", "alice")
	stranger := "00-11111111111111111111111111111111-2222222222222222-01"
	r, err := http.NewRequest(http.MethodGet, l.at("wiki", "/page-of-alice?secret=1"), nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Traceparent", stranger)
	r.Header.Set("Tracestate", "theirs=1")
	if p.send(r); p.status != http.StatusOK {
		t.Fatalf("%d %s", p.status, p.body)
	}
	l.person().program(http.MethodGet, l.at("wiki", "/x")) // nobody
	eventually(t, "alice has an account", func() bool { return strings.Contains(l.pushed.String(), "POST /scim/v2/Users") })
	l.stop() // which delivers the rest
	if !slices.Contains(g.auth, "Bearer-of-the-collector") {
		t.Errorf("the collector was told %q", g.auth)
	}

	// The request, with what it was busy with below it.
	byID := map[string]*tracepb.Span{}
	for _, s := range g.spans {
		byID[string(s.SpanId)] = s
	}
	var request *tracepb.Span
	for _, s := range g.all("GET wiki") {
		if strings.Contains(facts(s), "http.response.status_code=200") {
			request = s // the last is that of the page
		}
	}
	if request == nil {
		t.Fatalf("no span of a request among %d", len(g.spans))
	}
	if want := "gatehouse.service.id=wiki http.request.method=GET http.response.status_code=200 http.route=wiki url.scheme=http"; facts(request) != want {
		t.Errorf("a request says %s", facts(request))
	}
	below := map[string]*tracepb.Span{}
	for _, s := range g.spans {
		if string(s.ParentSpanId) == string(request.SpanId) {
			below[s.Name] = s
		}
	}
	if s := below["gatehouse.authorize"]; s == nil || facts(s) != "gatehouse.decision=allow gatehouse.rule.id=everyone" {
		t.Errorf("the decision of a request: %v", s)
	}
	up := below["GET"]
	if up == nil || up.Kind != tracepb.Span_SPAN_KIND_CLIENT || !strings.Contains(facts(up), "http.response.status_code=200") {
		t.Fatalf("the service's part of a request: %v", up)
	}
	// The service got its place, and not the stranger's.
	want := fmt.Sprintf("00-%s-%s-01", hex.EncodeToString(up.TraceId), hex.EncodeToString(up.SpanId))
	if !strings.Contains(p.body, `"Traceparent":["`+want+`"]`) || strings.Contains(p.body, "theirs=1") || hex.EncodeToString(request.TraceId) == stranger[3:35] {
		t.Errorf("the service was told %s, want %s", p.body, want)
	}
	// The sign-in, and the account that follows it.
	in := g.all("gatehouse.sign_in")
	if len(in) != 1 || facts(in[0]) != "gatehouse.identity_provider.id=campus" || byID[string(in[0].ParentSpanId)] == nil {
		t.Fatalf("sign-ins: %v", in)
	}
	if heard := g.all("gatehouse.oidc.response"); len(heard) != 1 || string(heard[0].ParentSpanId) != string(in[0].SpanId) {
		t.Errorf("what the provider said: %v", heard)
	}
	tasks := g.all("gatehouse.task sync")
	linked := slices.ContainsFunc(tasks, func(s *tracepb.Span) bool {
		return strings.Contains(facts(s), "gatehouse.target.id=directory") && len(s.Links) == 1 && string(s.Links[0].TraceId) == string(in[0].TraceId)
	})
	if !linked {
		t.Errorf("no account follows the sign-in: %v", tasks)
	}
	for _, s := range g.all("GET wiki") {
		if strings.Contains(facts(s), "error.type=session.required") {
			linked = false
		}
	}
	if linked {
		t.Error("no span says why somebody was not let in")
	}
	for _, name := range []string{"alice", "Liddell", "campus.example", "secret", "page-of", "127.0.0.1"} {
		if strings.Contains(g.raw.String(), name) {
			t.Errorf("%q is in what the collector was told", name)
		}
	}
}

// A trace that a proxy of ours began goes on; when nothing is traced, what a client
// says of its own passes as it came.
func TestATraceOfAProxyOfOursGoesOn(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	ask := func(p *person) string {
		r, err := http.NewRequest(http.MethodGet, l.at("wiki", "/"), nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Traceparent", "00-11111111111111111111111111111111-2222222222222222-01")
		r.Header.Set("Tracestate", "ours=1")
		return p.send(r).body
	}
	p := l.in("campus", "alice")
	if got := ask(p); !strings.Contains(got, "1111-2222222222222222-01") || !strings.Contains(got, "ours=1") {
		t.Errorf("nobody traces, and the service was told %s", got)
	}
	l.reload(func(s string) string {
		return strings.Replace(s, "\nstore:", "\n  trusted_proxies: [127.0.0.0/8]\nstore:", 1)
	})
	g := l.trace("")
	if got := ask(p); !strings.Contains(got, `"00-11111111111111111111111111111111-`) || strings.Contains(got, "2222222222222222") || !strings.Contains(got, "ours=1") {
		t.Errorf("the service was told %s", got)
	}
	l.stop()
	if !slices.ContainsFunc(g.all("GET wiki"), func(s *tracepb.Span) bool { return hex.EncodeToString(s.ParentSpanId) == "2222222222222222" }) {
		t.Error("the request is not below the proxy's span")
	}
}

// A collector that is away costs no request and no end of memory.
func TestACollectorThatIsAwayHoldsNothingUp(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	l.reload(func(s string) string {
		return strings.Replace(s, "\nstore:", "\n  tracing: { url: \"http://127.0.0.1:1/v1/traces\" }\nstore:", 1)
	})
	p := l.in("campus", "alice")
	for range 20 {
		p.open(l.at("wiki", "/")).wants(http.StatusOK)
	}
	l.stop()
	if !strings.Contains(l.log.String(), "traces are lost") {
		t.Error("nobody was told that traces are lost")
	}
}
