package tracing

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/sdk/trace/tracetest"
)

// exported runs a tracer, and returns what ended in the meantime.
func exported(t *testing.T, c Config, use func(*Tracer)) tracetest.SpanStubs {
	t.Helper()
	sink := &kept{}
	tr := newTracer(c, sink)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	tr.Start(ctx)
	go func() { tr.Run(ctx); close(done) }()
	use(tr)
	cancel()
	<-done
	return sink.spans
}

// kept is an exporter that keeps what it got when it is shut down.
type kept struct {
	tracetest.InMemoryExporter
	spans tracetest.SpanStubs
}

func (k *kept) Shutdown(ctx context.Context) error {
	k.spans = k.GetSpans()
	return k.InMemoryExporter.Shutdown(ctx)
}

func TestOffCostsNothing(t *testing.T) { // alone, as it counts
	var tr *Tracer
	r, err := http.NewRequest("GET", "http://wiki.test/", nil)
	if err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(100, func() {
		s := tr.Request(r, true)
		c := s.Child("gatehouse.authorize")
		c.Say(KeyRule, "everyone")
		c.Failed("x")
		c.End()
		s.Outgoing("GET").Carry(r.Header)
		s.Causes("u")
		s.Name("x")
		s.Status(500)
		s.End()
		tr.Task(context.Background(), "gatehouse.task sync", "u").End()
		if s.ID() != "" {
			t.Error("a trace without a tracer")
		}
	}); n != 0 {
		t.Errorf("%v allocations for nothing", n)
	}
	tr.Start(t.Context())
	tr.Run(t.Context())
}

// How much is kept is the gateway's to decide, and of who is believed; what follows
// something that is kept is kept.
func TestSampling(t *testing.T) {
	t.Parallel()
	const theirs = "00-11111111111111111111111111111111-2222222222222222-0"
	spans := exported(t, Config{Sample: 0}, func(tr *Tracer) {
		r, err := http.NewRequest("GET", "http://wiki.test/", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Traceparent", theirs+"1")
		tr.Request(r, false).End()
		if s := tr.Task(t.Context(), "early", "kim"); s != nil {
			defer s.End()
		}
		s := tr.Request(r, true)
		s.Name("believed")
		s.Causes("kim")
		s.End()
		tr.Task(t.Context(), "follows", "kim").End()
		tr.Task(t.Context(), "another's", "pat").End()
		r.Header.Set("Traceparent", theirs+"0")
		tr.Request(r, true).End()
	})
	var names []string
	for _, s := range spans {
		names = append(names, s.Name)
	}
	if got := strings.Join(names, " "); got != "believed follows" {
		t.Errorf("kept: %s", got)
	}
	if l := spans[1].Links; len(l) != 1 || l[0].SpanContext.TraceID() != spans[0].SpanContext.TraceID() {
		t.Errorf("linked to %v", l)
	}
}

func TestCausesAreBounded(t *testing.T) {
	t.Parallel()
	exported(t, Config{Sample: 1}, func(tr *Tracer) {
		r, err := http.NewRequest("GET", "http://wiki.test/", nil)
		if err != nil {
			t.Fatal(err)
		}
		s := tr.Request(r, false)
		defer s.End()
		for i := range 3 * maxCauses {
			s.Causes(strconv.Itoa(i))
		}
		if len(tr.causes) > maxCauses || len(tr.order) != len(tr.causes) {
			t.Errorf("%d causes in the order of %d", len(tr.causes), len(tr.order))
		}
	})
}
