package main

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gatehouse-sso/gatehouse/gateway/metrics"
)

func TestDocsMetricsAreCurrent(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	b.WriteString("| name | kind | labels | |\n|---|---|---|---|\n")
	for _, d := range metrics.All {
		labels := "–"
		if len(d.Labels) > 0 {
			labels = "`" + strings.Join(d.Labels, "` `") + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", d.Name, d.Kind, labels, d.Help)
	}
	made(t, "docs/reference/metrics.md", b.String())
}

// operate asks the administrators' listener.
func operate(p *process, path string) (int, string) {
	w := httptest.NewRecorder()
	operations(p).ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	raw, _ := io.ReadAll(w.Result().Body)
	return w.Code, string(raw)
}

func TestASignInAndItsRequestsAreCountedWithoutAName(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	p := l.in("campus", "alice")
	p.open(l.at("wiki", "/page?secret=1"))
	_, text := operate(l.p, "/metrics")
	for _, want := range []string{
		`http_server_request_duration_seconds_count{http_request_method="GET",http_response_status_code="200",http_route="wiki"} `,
		`gatehouse_sign_ins_total{outcome="done",protocol="oidc",provider="campus",reason=""} 1`,
		`gatehouse_authz_decisions_total{decision="allow",`,
		`gatehouse_authz_decisions_total{decision="login",`,
		"gatehouse_attributes_released_total{", "gatehouse_sessions_active 1", "gatehouse_config_last_reload_successful 1",
		"gatehouse_store_size_bytes ", "gatehouse_store_free_bytes ", `gatehouse_store_txn_duration_seconds_count{op="update"} `,
		"gatehouse_build_info{", "gatehouse_audit_write_failures_total 0",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s", want)
		}
	}
	if strings.Contains(text, "alice") || strings.Contains(text, "secret") {
		t.Error("a person, or an address, is in the metrics")
	}
}

func TestRefusedSignInsAreCountedByReason(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	p := l.person()
	p.open(l.at("", "/.gatehouse/oidc/campus/callback?code=x&state=made-up"))
	if _, text := operate(l.p, "/metrics"); !strings.Contains(text, `gatehouse_sign_ins_total{outcome="refused",protocol="oidc",provider="campus",reason="login.state_unknown"} 1`) {
		t.Error("the refusal was not counted")
	}
}

func TestReadyMeansThatRequestsCanBeServed(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	if status, text := operate(l.p, "/readyz"); status != http.StatusOK || text != "ready\n" {
		t.Fatalf("%d %s", status, text)
	}
	l.p.draining.Store(true)
	if status, text := operate(l.p, "/readyz"); status != http.StatusServiceUnavailable || !strings.Contains(text, "draining") {
		t.Errorf("while draining: %d %s", status, text)
	}
	l.p.draining.Store(false)
	if err := l.p.store.Close(); err != nil {
		t.Fatal(err)
	}
	if status, text := operate(l.p, "/readyz"); status != http.StatusServiceUnavailable || !strings.Contains(text, "store") {
		t.Errorf("without a store: %d %s", status, text)
	}
	if status, _ := operate(l.p, "/healthz"); status != http.StatusOK {
		t.Errorf("alive: %d", status)
	}
}

func TestTheAccessLogHasNoSecrets(t *testing.T) {
	t.Parallel()
	l := newLab(t, func(c *labConfig) { c.AccessLog = true })
	p := l.in("campus", "alice")
	p.open(l.at("wiki", "/page?password=hunter2"))
	var line string
	eventually(t, "the line is written", func() bool {
		for s := range strings.Lines(l.log.String()) {
			if strings.Contains(s, `"msg":"access"`) && strings.Contains(s, `"path":"/page"`) {
				line = s
			}
		}
		return line != ""
	})
	for _, want := range []string{`"status":200`, `"service":"wiki"`, `"method":"GET"`, `"user":"`, `"provider":"campus"`, `"from":"127.0.0.1"`} {
		if !strings.Contains(line, want) {
			t.Errorf("no %s in %s", want, line)
		}
	}
	for s := range strings.Lines(l.log.String()) {
		if strings.Contains(s, `"msg":"access"`) && (strings.Contains(s, "hunter2") || strings.Contains(s, "code=") || strings.Contains(s, "?")) {
			t.Errorf("a secret in %s", s)
		}
	}
}

func TestWhatIsCalledASecretIsNotLogged(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	log := slog.New(slog.NewJSONHandler(&b, &slog.HandlerOptions{ReplaceAttr: redact}))
	log.Info("x", "client_secret", "hunter2", slog.Group("in", "Set-Cookie", "hunter2"), "user", "kim")
	if s := b.String(); strings.Contains(s, "hunter2") || !strings.Contains(s, "kim") {
		t.Error(s)
	}
}

func TestTooManySignInsAreRefusedWithAPageAndCounted(t *testing.T) {
	t.Parallel()
	l := newLab(t, func(c *labConfig) { c.PerPerson = 2 })
	l.in("campus", "alice")
	l.in("campus", "alice")
	p := l.person().open(l.at("wiki", "/"))
	p.bring(p.fetch(l.at("wiki", "/"), "campus", "alice"))
	if p.status != http.StatusTooManyRequests || p.header.Get("Retry-After") == "" {
		t.Errorf("%d, Retry-After %q", p.status, p.header.Get("Retry-After"))
	}
	l.in("campus", "bob") // another person does not pay for it
	_, text := operate(l.p, "/metrics")
	for _, want := range []string{`gatehouse_rate_limited_total{by="person"} 1`, `reason="request.too_many"} 1`} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s", want)
		}
	}
}
