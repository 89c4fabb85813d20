package main

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/gatehouse-sso/gatehouse/configs"
	"github.com/gatehouse-sso/gatehouse/federation/saml"
	"github.com/gatehouse-sso/gatehouse/gateway"
	"github.com/gatehouse-sso/gatehouse/gateway/metrics"
	"github.com/gatehouse-sso/gatehouse/provisioning/outbox"
	"github.com/gatehouse-sso/gatehouse/provisioning/reconcile"
	"github.com/gatehouse-sso/gatehouse/provisioning/store"
	"github.com/gatehouse-sso/gatehouse/provisioning/task"
)

// meter is what the gateway tells of a service.
func (p *process) meter(service string) gateway.Meter { return p.meters.Service(service) }

// signedIn counts an answer of an identity provider.
func (s *site) signedIn(p *process) func(provider, reason string, took time.Duration) {
	return func(provider, reason string, took time.Duration) {
		outcome := "done"
		if reason != "" {
			outcome = "refused"
		}
		p.meters.SignIn(protocolOf(s.cfg, provider), provider, outcome, reason, took)
	}
}

func protocolOf(cfg *configs.Config, provider string) string {
	for _, c := range cfg.IdentityProviders {
		if c.ID == provider && c.SAML != nil {
			return "saml"
		}
	}
	return "oidc"
}

// tried counts an attempt at a target.
func (p *process) tried(op outbox.Operation) {
	did, outcome := op.Did, "done"
	if did == "" {
		did = "none"
	}
	if op.Error != "" {
		if outcome = op.Class; outcome == "" {
			outcome = "error"
		}
	}
	p.meters.Task(op.Target, did, outcome, op.Took)
}

// scimMeter counts requests of clients, by the kind of resource that the path
// below prefix names.
func (p *process) scimMeter(h http.Handler) http.Handler {
	known := map[string]string{}
	for _, k := range []string{"Users", "Groups", "Bulk", "Me", "Schemas", "ResourceTypes", "ServiceProviderConfig", ".search"} {
		known[strings.ToLower(k)] = k
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, rest, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/.gatehouse/scim/"), "/")
		kind, _, _ := strings.Cut(rest, "/")
		resource := known[strings.ToLower(kind)]
		if resource == "" {
			resource = "other"
		}
		began, seen := time.Now(), &statusWriter{ResponseWriter: w, status: http.StatusOK}
		defer func() { p.meters.SCIM(metrics.Method(r.Method), resource, seen.status, time.Since(began)) }()
		h.ServeHTTP(seen, r)
	})
}

// A statusWriter knows the status that was said.
type statusWriter struct {
	http.ResponseWriter
	status int
}

// Unwrap is for http.ResponseController.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// A timed store tells how long its transactions take.
type timed struct {
	store.Store
	told func(op string, took time.Duration)
}

func (t timed) View(ctx context.Context, fn func(store.Tx) error) error {
	began := time.Now()
	err := t.Store.View(ctx, fn)
	t.told("view", time.Since(began))
	return err
}

func (t timed) Update(ctx context.Context, fn func(store.Tx) error) error {
	began := time.Now()
	err := t.Store.Update(ctx, fn)
	t.told("update", time.Since(began))
	return err
}

// levelsKept is for how long what costs a walk over rows is not counted again.
const levelsKept = 15 * time.Second

// levels reads what a scrape asks for.
type levels struct {
	p  *process
	mu sync.Mutex

	at      time.Time
	counted []metrics.Level
}

func (l *levels) read(ctx context.Context) []metrics.Level {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.p.site.Load()
	if s == nil {
		return nil
	}
	if l.at.IsZero() || time.Since(l.at) >= levelsKept {
		counted, err := l.p.count(ctx, s)
		if err != nil {
			l.p.log.Error("levels for metrics can not be read", "error", err)
		}
		l.at, l.counted = time.Now(), counted
	}
	list := append(l.p.states(s), l.counted...)
	return append(list, l.p.config.levels()...)
}

// count reads levels for which rows are walked over.
func (p *process) count(ctx context.Context, s *site) (list []metrics.Level, err error) {
	sessions, err := s.sessions.Count(ctx)
	if err != nil {
		return nil, err
	}
	list = append(list, metrics.Level{Name: metrics.Sessions, Value: float64(sessions)})
	now := p.now()
	for _, t := range s.cfg.Targets {
		pending, dead, oldest := 0, 0, time.Duration(0)
		err := p.store.View(ctx, func(tx store.Tx) error {
			pending, dead, oldest = 0, 0, 0
			for row, err := range task.All(tx, task.Task{Kind: outbox.Kind, Key: t.ID + "/"}, 0) {
				if err != nil {
					return err
				}
				if row.Kind != outbox.Kind || !strings.HasPrefix(row.Key, t.ID+"/") {
					break
				}
				switch row.State {
				case task.Waiting, task.Running:
					pending++
					oldest = max(oldest, now.Sub(row.Added))
				case task.Parked:
					dead++
				}
			}
			return nil
		})
		if err != nil {
			return list, err
		}
		list = append(list,
			metrics.Level{Name: metrics.TasksPending, Labels: []string{t.ID}, Value: float64(pending)},
			metrics.Level{Name: metrics.TasksDead, Labels: []string{t.ID}, Value: float64(dead)},
			metrics.Level{Name: metrics.TaskOldest, Labels: []string{t.ID}, Value: oldest.Seconds()})
		rep, err := s.lastWhole(ctx, t.ID)
		if err != nil {
			return list, err
		}
		if rep.Ended.IsZero() {
			continue
		}
		list = append(list, metrics.Level{Name: metrics.ReconcileSuccess, Labels: []string{t.ID}, Value: stamp(rep.Ended)})
		for situation, became := range rep.Matrix {
			n := 0
			for what, count := range became {
				if situation != reconcile.Linked || what != reconcile.InStep {
					n += count
				}
			}
			list = append(list, metrics.Level{Name: metrics.ReconcileDrift, Labels: []string{t.ID, situation}, Value: float64(n)})
		}
	}
	return list, nil
}

// lastWhole is the last comparison of a target that went through, the zero Report
// if there is none.
func (s *site) lastWhole(ctx context.Context, target string) (last reconcile.Report, err error) {
	for _, m := range []reconcile.Mode{reconcile.Run, reconcile.Preview} {
		rep, ok, err := s.reconcile.Report(ctx, target, m)
		if err != nil && !errors.Is(err, reconcile.ErrNoTarget) {
			return last, err
		}
		if ok && rep.Unsound == "" && rep.Ended.After(last.Ended) {
			last = rep
		}
	}
	return last, nil
}

// states reads levels that are at hand.
func (p *process) states(s *site) (list []metrics.Level) {
	for _, t := range s.outbox.Targets() {
		for _, state := range []string{"working", "waiting", "quarantine", "paused"} {
			list = append(list, metrics.Level{Name: metrics.TargetState, Labels: []string{t.ID, state}, Value: truth(t.State == state)})
		}
	}
	list = append(list, s.upstreamLevels(p)...)
	for _, made := range s.providers {
		sp, ok := made.Provider.(*saml.Provider)
		if !ok {
			continue
		}
		st := sp.Status()
		if !st.Read.IsZero() {
			list = append(list, metrics.Level{Name: metrics.MetadataSuccess, Labels: []string{made.ID}, Value: stamp(st.Read)})
		}
		if !st.ValidUntil.IsZero() {
			list = append(list, metrics.Level{Name: metrics.MetadataUntil, Labels: []string{made.ID}, Value: stamp(st.ValidUntil)})
		}
	}
	for use, until := range p.certificates(s.cfg) {
		list = append(list, metrics.Level{Name: metrics.CertificateUntil, Labels: []string{use}, Value: stamp(until)})
	}
	path := s.cfg.Store.Bolt()
	if info, err := os.Stat(path); err == nil {
		list = append(list, metrics.Level{Name: metrics.StoreSize, Value: float64(info.Size())})
	}
	if free, ok := freeBytes(filepath.Dir(path)); ok {
		list = append(list, metrics.Level{Name: metrics.StoreFree, Value: float64(free)})
	}
	return list
}

// certificates are those of the gateway, and when they end; the zero time is one that
// the authority has not given. One in a file that can not be read is left out: what
// uses it says so itself.
func (p *process) certificates(cfg *configs.Config) map[string]time.Time {
	ends := map[string]time.Time{}
	switch t := cfg.Server.TLS; {
	case t.Cert != "":
		if list, err := certificates(string(t.Cert)); err == nil {
			ends["tls"] = list[0].NotAfter
		}
	case t.ACME != nil:
		for _, host := range hosts(cfg) {
			ends["tls:"+host] = p.certificateEnds(host)
		}
	}
	for _, idp := range cfg.IdentityProviders {
		if idp.SAML == nil || len(idp.SAML.Keys) == 0 {
			continue
		}
		if list, err := certificates(string(idp.SAML.Keys[0].Certificate.File)); err == nil {
			ends["saml:"+idp.ID] = list[0].NotAfter
		}
	}
	return ends
}

// certificateEnds is when the certificate that an authority gave for a host ends.
func (p *process) certificateEnds(host string) (end time.Time) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	raw, err := certCache{p.store, p.sealer}.Get(ctx, host)
	for block, rest := pem.Decode(raw); err == nil && block != nil; block, rest = pem.Decode(rest) {
		if cert, err := x509.ParseCertificate(block.Bytes); block.Type == "CERTIFICATE" && err == nil {
			return cert.NotAfter
		}
	}
	return end
}

// A taking is what became of the configuration that was read last.
type taking struct {
	mu   sync.Mutex
	good bool
	at   time.Time
}

// note says whether a configuration was taken.
func (t *taking) note(good bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.good = good; good {
		t.at = time.Now()
	}
}

// last is whether the configuration that was read last was taken, and when one was.
func (t *taking) last() (good bool, at time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.good, t.at
}

func (t *taking) levels() []metrics.Level {
	t.mu.Lock()
	defer t.mu.Unlock()
	return []metrics.Level{{Name: metrics.ConfigGood, Value: truth(t.good)}, {Name: metrics.ConfigTaken, Value: stamp(t.at)}}
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// stamp is a time as Prometheus has them; 0 is never.
func stamp(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMilli()) / 1000
}

// accessLog is where each request gets a line, if the configuration wants that.
func (p *process) accessLog(cfg *configs.Config) *gateway.AccessLog {
	if !cfg.Server.AccessLog {
		return nil
	}
	return p.requests
}
