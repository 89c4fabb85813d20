// Package metrics owns what Gatehouse counts: every name, its labels and its
// sentence stand in one table, [All], from which the reference page is made and
// against which dashboards and alerts are checked. Nothing else knows
// Prometheus.
//
//	request path   Service, one for each, made with its site: what it observes is found by
//	               a struct key in a map that is replaced, never changed: no lock, no
//	               allocation, no label put together
//	other events   a method each
//	levels         read when somebody asks: Levels
//
// Labels hold names of the configuration, reason codes and words of HTTP. No
// person, address or support code is ever one.
package metrics

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"runtime"
	"runtime/debug"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// A Metrics counts for one process. Make one with New.
type Metrics struct {
	registry *prometheus.Registry
	counters map[string]*prometheus.CounterVec
	times    map[string]*prometheus.HistogramVec
	levels   levels

	mu       sync.Mutex
	services map[string]*Service
}

// alive is what the last collection left of the heap: unlike all other figures of
// memory it does not depend on when somebody asks.
var alive = collectors.GoRuntimeMetricsRule{Matcher: regexp.MustCompile(`^/gc/heap/live:bytes$`)}

// New makes a Metrics with a registry of its own.
func New(version string) *Metrics {
	m := &Metrics{
		registry: prometheus.NewPedanticRegistry(), counters: map[string]*prometheus.CounterVec{}, times: map[string]*prometheus.HistogramVec{},
		services: map[string]*Service{}, levels: levels{descs: map[string]*prometheus.Desc{}},
	}
	m.registry.MustRegister(collectors.NewGoCollector(collectors.WithGoCollectorRuntimeMetrics(alive)), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	for _, d := range All {
		switch d.Kind {
		case Counter:
			m.counters[d.Name] = prometheus.NewCounterVec(prometheus.CounterOpts{Name: d.Name, Help: d.Help}, d.Labels)
			m.registry.MustRegister(m.counters[d.Name])
		case Histogram:
			m.times[d.Name] = prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: d.Name, Help: d.Help, Buckets: d.Buckets}, d.Labels)
			m.registry.MustRegister(m.times[d.Name])
		case Gauge:
			m.levels.descs[d.Name] = prometheus.NewDesc(d.Name, d.Help, d.Labels, nil)
		}
	}
	m.registry.MustRegister(&m.levels)
	revision := ""
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				revision = s.Value
			}
		}
	}
	m.levels.build = Level{BuildInfo, []string{version, revision, runtime.Version()}, 1}
	// Counters without labels are there from the beginning, so that a first
	// failure is an increase.
	m.counters[AuditFailures].WithLabelValues()
	m.counters[RateLimited].WithLabelValues("address")
	m.counters[RateLimited].WithLabelValues("person")
	return m
}

// Handler answers a scrape.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError})
}

// A Level is the value of a gauge at the moment.
type Level struct {
	Name   string
	Labels []string // in the order of All
	Value  float64
}

// Levels says who is asked for levels at each scrape; the one before is not
// asked any more. read must be quick, and may be called from several goroutines.
func (m *Metrics) Levels(read func(context.Context) []Level) { m.levels.read.Store(&read) }

type levels struct {
	descs map[string]*prometheus.Desc
	build Level
	read  atomic.Pointer[func(context.Context) []Level]
}

func (l *levels) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range l.descs {
		ch <- d
	}
}

// scrapeTime is how long levels may take to be read.
const scrapeTime = 5 * time.Second

func (l *levels) Collect(ch chan<- prometheus.Metric) {
	list := []Level{l.build}
	if read := l.read.Load(); read != nil {
		ctx, cancel := context.WithTimeout(context.Background(), scrapeTime)
		defer cancel()
		list = append(list, (*read)(ctx)...)
	}
	for _, v := range list {
		d, ok := l.descs[v.Name]
		if !ok {
			ch <- prometheus.NewInvalidMetric(prometheus.NewDesc("gatehouse_unknown", "", nil, nil), fmt.Errorf("%s is in no table", v.Name))
			continue
		}
		made, err := prometheus.NewConstMetric(d, prometheus.GaugeValue, v.Value, v.Labels...)
		if err != nil {
			made = prometheus.NewInvalidMetric(d, err)
		}
		ch <- made
	}
}

// A Service counts requests to one service, on the request path.
type Service struct {
	m         *Metrics
	id        string
	requests  known[request, prometheus.Observer]
	decisions known[decision, prometheus.Counter]
	evaluated prometheus.Observer
}

type request struct {
	method string
	status int
}

type decision struct{ outcome, rule string }

// Service of an ID; "gatehouse" is what the gateway answers itself. There is one
// for each ID as long as the process runs.
func (m *Metrics) Service(id string) *Service {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.services[id]
	if s == nil {
		s = &Service{m: m, id: id, evaluated: m.times[DecisionSeconds].WithLabelValues()}
		m.services[id] = s
	}
	return s
}

// Request counts one that was answered, or, with status 499, whose client left
// before it was.
func (s *Service) Request(method string, status int, took time.Duration) {
	method = Method(method)
	s.requests.get(request{method, status}, func() prometheus.Observer {
		return s.m.times[RequestSeconds].WithLabelValues(method, strconv.Itoa(status), s.id)
	}).Observe(took.Seconds())
}

// Method is a method of HTTP as a label: what anybody may make up is _OTHER, as
// OpenTelemetry has it.
func Method(m string) string {
	switch m {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions:
		return m
	}
	return "_OTHER"
}

// Decision counts one, by the rule that made it; "" is none.
func (s *Service) Decision(outcome, rule string) {
	s.decisions.get(decision{outcome, rule}, func() prometheus.Counter {
		return s.m.counters[Decisions].WithLabelValues(s.id, outcome, rule)
	}).Inc()
}

// Asked counts a decision that somebody asked for, as Decision does one about a request.
func (s *Service) Asked(outcome, rule string) {
	s.m.counters[QuestionDecisions].WithLabelValues(s.id, outcome, rule).Inc()
}

// Evaluated is told how long the rules took, where nothing was remembered.
func (s *Service) Evaluated(took time.Duration) { s.evaluated.Observe(took.Seconds()) }

// Released counts that the service was told an attribute of somebody, once in a
// session.
func (s *Service) Released(attribute string) {
	s.m.counters[Released].WithLabelValues(s.id, attribute).Inc()
}

// known finds what was resolved before. Its keys are few: they come from the
// configuration and from lists of ours.
type known[K comparable, V any] struct {
	mu sync.Mutex
	m  atomic.Pointer[map[K]V]
}

func (k *known[K, V]) get(key K, resolve func() V) V {
	if m := k.m.Load(); m != nil {
		if v, ok := (*m)[key]; ok {
			return v
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	next := map[K]V{}
	if m := k.m.Load(); m != nil {
		maps.Copy(next, *m)
	}
	v, ok := next[key]
	if !ok {
		v = resolve()
		next[key] = v
		k.m.Store(&next)
	}
	return v
}

// SignIn counts the end of a sign-in: outcome "done", or "refused" with its reason
// code, and how long the answer of the identity provider was worked on.
func (m *Metrics) SignIn(protocol, provider, outcome, reason string, took time.Duration) {
	m.counters[SignIns].WithLabelValues(protocol, provider, outcome, reason).Inc()
	m.times[SignInSeconds].WithLabelValues(protocol, provider).Observe(took.Seconds())
}

// SCIM counts a request of a client that provisions into us.
func (m *Metrics) SCIM(method, resource string, status int, took time.Duration) {
	m.times[SCIMSeconds].WithLabelValues(method, resource, strconv.Itoa(status)).Observe(took.Seconds())
}

// Task counts one attempt to bring an account in step: what was done, and
// "done" or the class of the error.
func (m *Metrics) Task(target, operation, outcome string, took time.Duration) {
	m.counters[Tasks].WithLabelValues(target, operation, outcome).Inc()
	m.times[TaskSeconds].WithLabelValues(target, operation).Observe(took.Seconds())
}

// Transaction is told how long a transaction of the store took: "view" or
// "update".
func (m *Metrics) Transaction(op string, took time.Duration) {
	m.times[TransactionSeconds].WithLabelValues(op).Observe(took.Seconds())
}

// AuditFailed counts events that could not be written.
func (m *Metrics) AuditFailed(events int) {
	m.counters[AuditFailures].WithLabelValues().Add(float64(events))
}

// Limited counts a request that was refused because there were too many, of
// one "address" or one "person".
func (m *Metrics) Limited(by string) { m.counters[RateLimited].WithLabelValues(by).Inc() }
