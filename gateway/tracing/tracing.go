// Package tracing tells a collector of OpenTelemetry what a request was busy
// with, and for how long:
//
//	GET wiki                     a request, from its first to its last byte
//	├─ gatehouse.authorize       the decision, and what is released with it
//	└─ GET                       the service's part; it gets the context (W3C Trace Context)
//	POST gatehouse               a sign-in's answer
//	└─ gatehouse.sign_in         the identity provider's word is checked, the user written
//	gatehouse.task sync          an account is brought in step; linked to that sign-in
//
// It knows names of things, never of people: no span has an address, a user, a
// path, a header or a value of one. Off is a nil [Tracer], whose spans are nil and
// do nothing: a request that nobody traces allocates nothing for it.
//
// What a client says about its own trace is believed where whoever asks has found
// it worth believing. Else a trace begins here, and what the client said reaches no
// service: a stranger would decide what is kept, and join what is not theirs.
package tracing

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// Config says where spans go.
type Config struct {
	// Endpoint takes OTLP over HTTP (protobuf): the whole address, as
	// http://127.0.0.1:4318/v1/traces.
	Endpoint *url.URL
	// Headers go with each delivery, as a token of the collector.
	Headers map[string]string
	// Sample is the part of the traces beginning here that are kept, from 0 to 1.
	Sample  float64
	Version string // of this program
	// Lost is told of spans that could not be delivered. nil: nobody is.
	Lost func(error)
}

// A Tracer begins spans. A nil Tracer begins none.
type Tracer struct {
	provider *sdk.TracerProvider
	exporter sdk.SpanExporter
	t        trace.Tracer
	lost     func(error)

	mu     sync.Mutex
	causes map[string]trace.SpanContext // by user
	order  []string                     // of causes, the oldest first
}

// maxCauses bounds how many sign-ins are remembered for the tasks that follow them.
const maxCauses = 4096

// New makes a Tracer. It connects to nobody; Start and Run deliver.
func New(c Config) *Tracer {
	opts := []otlptracehttp.Option{
		otlptracehttp.WithEndpointURL(c.Endpoint.String()), otlptracehttp.WithHeaders(c.Headers), otlptracehttp.WithCompression(otlptracehttp.GzipCompression),
		otlptracehttp.WithTimeout(deliverTime),
		// A client of our own: what the collector answers leads nowhere else.
		otlptracehttp.WithHTTPClient(&http.Client{Timeout: deliverTime, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}),
	}
	return newTracer(c, otlptracehttp.NewUnstarted(opts...))
}

const (
	deliverTime = 10 * time.Second
	// maxWaiting spans wait for delivery; more are dropped, so that a collector that
	// is away costs a bounded memory.
	maxWaiting = 4096
	// bestEffort is how long the last delivery may take when the program ends.
	bestEffort = 2 * time.Second
)

func newTracer(c Config, exporter sdk.SpanExporter) *Tracer {
	if c.Lost == nil {
		c.Lost = func(error) {}
	}
	// The resource says what this program is, and no more: the host and the user it
	// runs as are not the collector's to know.
	res := resource.NewSchemaless(attribute.String("service.name", "gatehouse"), attribute.String("service.version", c.Version))
	p := sdk.NewTracerProvider(sdk.WithResource(res), sdk.WithSampler(sdk.ParentBased(following{sdk.TraceIDRatioBased(c.Sample)})), sdk.WithRawSpanLimits(sdk.SpanLimits{
		AttributeValueLengthLimit: 256, AttributeCountLimit: 16, EventCountLimit: 0, LinkCountLimit: 1,
	}))
	return &Tracer{provider: p, exporter: exporter, t: p.Tracer("gatehouse"), lost: c.Lost, causes: map[string]trace.SpanContext{}}
}

// following keeps what follows something that is kept, however few traces are.
type following struct{ sdk.Sampler }

func (f following) ShouldSample(p sdk.SamplingParameters) sdk.SamplingResult {
	for _, l := range p.Links {
		if l.SpanContext.IsSampled() {
			return sdk.AlwaysSample().ShouldSample(p)
		}
	}
	return f.Sampler.ShouldSample(p)
}

// Start has what ends from now on delivered. Run has to follow.
func (t *Tracer) Start(ctx context.Context) {
	if t == nil {
		return
	}
	if s, ok := t.exporter.(interface{ Start(context.Context) error }); ok {
		if err := s.Start(ctx); err != nil {
			t.lost(err)
			return
		}
	}
	t.provider.RegisterSpanProcessor(sdk.NewBatchSpanProcessor(told{t.exporter, t.lost}, sdk.WithMaxQueueSize(maxWaiting), sdk.WithExportTimeout(deliverTime)))
}

// Run waits until ctx ends, and delivers what is left.
func (t *Tracer) Run(ctx context.Context) {
	if t == nil {
		return
	}
	<-ctx.Done()
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), bestEffort)
	defer cancel()
	if err := t.provider.Shutdown(last); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		t.lost(err)
	}
}

// told is an exporter whose failures somebody hears of.
type told struct {
	sdk.SpanExporter
	lost func(error)
}

func (e told) ExportSpans(ctx context.Context, spans []sdk.ReadOnlySpan) error {
	if err := e.SpanExporter.ExportSpans(ctx, spans); err != nil {
		e.lost(fmt.Errorf("deliver %d spans: %w", len(spans), err))
	}
	return nil
}

// A Span is a piece of work that is timed. A nil Span is none.
type Span struct {
	t   *Tracer
	ctx context.Context // with s
	s   trace.Span
	// follows is the user whose sign-in may yet become known as its cause; empty: none.
	follows string
}

var w3c propagation.TraceContext

// Request begins the span of a request. believed: what the client says about its
// trace counts.
func (t *Tracer) Request(r *http.Request, believed bool) *Span {
	if t == nil {
		return nil
	}
	ctx := context.Background()
	if believed {
		ctx = w3c.Extract(ctx, propagation.HeaderCarrier(r.Header))
	}
	ctx, s := t.t.Start(ctx, r.Method, trace.WithSpanKind(trace.SpanKindServer))
	return &Span{t: t, ctx: ctx, s: s}
}

// Task begins the span of something done for a user, linked to the sign-in of
// theirs that caused it, where that was here and not long ago.
func (t *Tracer) Task(ctx context.Context, name, userID string) *Span {
	if t == nil {
		return nil
	}
	opts := []trace.SpanStartOption{trace.WithNewRoot(), trace.WithSpanKind(trace.SpanKindInternal)}
	cause, ok := t.cause(userID)
	if ok {
		opts = append(opts, trace.WithLinks(trace.Link{SpanContext: cause}))
		userID = ""
	}
	ctx, s := t.t.Start(ctx, name, opts...)
	return &Span{t: t, ctx: ctx, s: s, follows: userID}
}

func (t *Tracer) cause(userID string) (trace.SpanContext, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	c, ok := t.causes[userID]
	return c, ok
}

// Child begins a span within this one.
func (s *Span) Child(name string) *Span { return s.child(name, trace.SpanKindInternal) }

// Outgoing begins the span of a request to somebody else.
func (s *Span) Outgoing(name string) *Span { return s.child(name, trace.SpanKindClient) }

func (s *Span) child(name string, kind trace.SpanKind) *Span {
	if s == nil {
		return nil
	}
	ctx, c := s.t.t.Start(s.ctx, name, trace.WithSpanKind(kind))
	return &Span{t: s.t, ctx: ctx, s: c}
}

// Causes makes tasks for a user follow this span.
func (s *Span) Causes(userID string) {
	if s == nil || !s.s.SpanContext().IsSampled() {
		return
	}
	s.t.mu.Lock()
	defer s.t.mu.Unlock()
	if _, there := s.t.causes[userID]; !there {
		if len(s.t.order) == maxCauses {
			delete(s.t.causes, s.t.order[0])
			s.t.order = s.t.order[1:]
		}
		s.t.order = append(s.t.order, userID)
	}
	s.t.causes[userID] = s.s.SpanContext()
}

// Names of what a span says. The values are names of the configuration, of our
// reason codes, or numbers.
const (
	KeyMethod   = "http.request.method"
	KeyStatus   = "http.response.status_code"
	KeyRoute    = "http.route" // the service
	KeyScheme   = "url.scheme"
	KeyError    = "error.type" // a reason code
	KeyService  = "gatehouse.service.id"
	KeyDecision = "gatehouse.decision"
	KeyRule     = "gatehouse.rule.id"
	KeyProvider = "gatehouse.identity_provider.id"
	KeyTarget   = "gatehouse.target.id"
)

// Say notes a fact; empty ones are left out.
func (s *Span) Say(key, value string) {
	if s != nil && value != "" {
		s.s.SetAttributes(attribute.String(key, value))
	}
}

// Status notes the status of an answer. Those from 500 on are errors.
func (s *Span) Status(code int) {
	if s == nil {
		return
	}
	s.s.SetAttributes(attribute.Int(KeyStatus, code))
	if code >= http.StatusInternalServerError {
		s.s.SetStatus(codes.Error, "")
	}
}

// Failed notes a failure by its reason code: what an error says may name people.
func (s *Span) Failed(code string) {
	if s == nil || code == "" {
		return
	}
	s.Say(KeyError, code)
	s.s.SetStatus(codes.Error, "")
}

// Name changes what the span is called.
func (s *Span) Name(name string) {
	if s != nil {
		s.s.SetName(name)
	}
}

// End ends the span.
func (s *Span) End() {
	if s == nil {
		return
	}
	// A task may begin before the sign-in that caused it has come to saying so.
	if s.follows != "" {
		if cause, ok := s.t.cause(s.follows); ok {
			s.s.AddLink(trace.Link{SpanContext: cause})
		}
	}
	s.s.End()
}

// ID is the trace's, in hexadecimal; empty: there is none.
func (s *Span) ID() string {
	if s == nil {
		return ""
	}
	return s.s.SpanContext().TraceID().String()
}

// Carry puts the context of this span into the headers of a request, in place of
// any that is there. A nil span leaves them as they are.
func (s *Span) Carry(h http.Header) {
	if s == nil {
		return
	}
	delete(h, "Traceparent")
	delete(h, "Tracestate")
	w3c.Inject(s.ctx, propagation.HeaderCarrier(h))
}
