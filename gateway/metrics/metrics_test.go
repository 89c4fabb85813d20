package metrics_test

import (
	"context"
	"encoding/json"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gatehouse-sso/gatehouse/gateway/metrics"
)

func scrape(m *metrics.Metrics) string {
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	return w.Body.String()
}

func TestTheRequestPathAllocatesNothing(t *testing.T) {
	s := metrics.New("test").Service("wiki")
	count := func() {
		s.Request("GET", 200, time.Millisecond)
		s.Decision("allow", "everyone")
		s.Evaluated(time.Microsecond)
	}
	count()
	if n := testing.AllocsPerRun(1000, count); n != 0 {
		t.Errorf("%v allocations to count a request", n)
	}
}

func BenchmarkRequest(b *testing.B) {
	s := metrics.New("test").Service("wiki")
	b.ReportAllocs()
	for b.Loop() {
		s.Request("GET", 200, time.Millisecond)
		s.Decision("allow", "everyone")
	}
}

func TestEveryMetricOfTheTableIsServed(t *testing.T) {
	t.Parallel()
	m := metrics.New("test")
	var levels []metrics.Level
	for _, d := range metrics.All {
		if d.Kind == metrics.Gauge && d.Name != metrics.BuildInfo {
			levels = append(levels, metrics.Level{Name: d.Name, Labels: slices.Repeat([]string{"x"}, len(d.Labels)), Value: 7})
		}
	}
	m.Levels(func(context.Context) []metrics.Level { return levels })
	s := m.Service("wiki")
	s.Request("GET", 200, time.Second)
	s.Decision("deny", "")
	s.Asked("deny", "")
	s.Evaluated(time.Second)
	s.Released("mail")
	m.SignIn("oidc", "campus", "refused", "oidc.nonce", time.Second)
	m.SCIM("GET", "Users", 200, time.Second)
	m.Task("crm", "created", "done", time.Second)
	m.Transaction("view", time.Second)
	m.AuditFailed(2)
	m.Limited("address")
	text := scrape(m)
	for _, d := range metrics.All {
		if !strings.Contains(text, "# TYPE "+d.Name+" "+string(d.Kind)+"\n") {
			t.Errorf("%s is not served", d.Name)
		}
	}
	for _, want := range []string{
		`http_server_request_duration_seconds_count{http_request_method="GET",http_response_status_code="200",http_route="wiki"} 1`,
		`gatehouse_audit_write_failures_total 2`, `gatehouse_tasks_pending{target="x"} 7`,
	} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("no line %s", want)
		}
	}
}

// What a client makes up becomes no label: it could fill the memory.
func TestMethodsThatAnybodyMayMakeUpAreOne(t *testing.T) {
	t.Parallel()
	m := metrics.New("test")
	s := m.Service("wiki")
	s.Request("BREW", 405, 0)
	s.Request("PROPFIND", 405, 0)
	if text := scrape(m); !strings.Contains(text, `http_request_method="_OTHER",http_response_status_code="405",http_route="wiki"} 2`) || strings.Contains(text, "BREW") {
		t.Error(text)
	}
}

func TestALevelThatIsInNoTableIsAnErrorNotSilence(t *testing.T) {
	t.Parallel()
	m := metrics.New("test")
	m.Levels(func(context.Context) []metrics.Level { return []metrics.Level{{Name: "made_up", Value: 1}} })
	if text := scrape(m); strings.Contains(text, "made_up 1") || !strings.Contains(text, "gatehouse_build_info") {
		t.Error(text)
	}
}

func TestCountingIsForManyAtOnce(t *testing.T) {
	t.Parallel()
	m := metrics.New("test")
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			s := m.Service("wiki")
			for n := range 100 {
				s.Request("GET", 200+(i+n)%5, time.Millisecond)
			}
		})
	}
	wg.Wait()
	total := 0
	for _, l := range strings.Split(scrape(m), "\n") {
		if strings.HasPrefix(l, metrics.RequestSeconds+"_count") {
			n := 0
			for _, c := range l[strings.LastIndexByte(l, ' ')+1:] {
				n = 10*n + int(c-'0')
			}
			total += n
		}
	}
	if total != 800 {
		t.Errorf("%d of 800 requests were counted", total)
	}
}

// The names in expressions of Prometheus, less its own words.
var (
	name   = regexp.MustCompile(`\b(?:gatehouse|http_server)_[a-z_]+\b`)
	suffix = regexp.MustCompile(`_(?:bucket|count|sum)$`)
	label  = regexp.MustCompile(`\bby \(([a-z_, ]+)\)`)
	inside = regexp.MustCompile(`\b((?:gatehouse|http_server)_[a-z_]+)\{([a-z_]+)`)
)

// check says what in a text is not in the table; it returns the names used.
func check(t *testing.T, where, text string) (used []string) {
	t.Helper()
	table := map[string]metrics.Description{}
	labels := map[string]bool{"le": true}
	for _, d := range metrics.All {
		table[d.Name] = d
		for _, l := range d.Labels {
			labels[l] = true
		}
	}
	base := func(n string) string {
		if b := suffix.ReplaceAllString(n, ""); table[b].Kind == metrics.Histogram {
			return b
		}
		return n
	}
	for _, n := range name.FindAllString(text, -1) {
		d, ok := table[base(n)]
		if !ok {
			t.Errorf("%s: there is no metric %s", where, n)
		} else if d.Kind == metrics.Histogram && n == d.Name {
			t.Errorf("%s: %s is a histogram: name its _bucket, _count or _sum", where, n)
		}
		used = append(used, base(n))
	}
	for _, m := range label.FindAllStringSubmatch(text, -1) {
		for l := range strings.SplitSeq(m[1], ", ") {
			if !labels[l] {
				t.Errorf("%s: there is no label %s", where, l)
			}
		}
	}
	for _, m := range inside.FindAllStringSubmatch(text, -1) {
		if !slices.Contains(table[base(m[1])].Labels, m[2]) {
			t.Errorf("%s: %s has no label %s", where, m[1], m[2])
		}
	}
	return used
}

func read(t *testing.T, file string) string {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func TestAlertsNameMetricsThatExistAndHaveALineInTheRunbook(t *testing.T) {
	t.Parallel()
	text := read(t, "../../deploy/prometheus/alerts.yaml")
	if used := check(t, "alerts", text); len(used) < 15 {
		t.Errorf("only %d names were found", len(used))
	}
	book := read(t, "../../docs/how-to/runbook.md")
	alerts := regexp.MustCompile(`- alert: (\w+)`).FindAllStringSubmatch(text, -1)
	for _, a := range alerts {
		if !strings.Contains(book, "\n## "+a[1]+"\n") {
			t.Errorf("the runbook has no heading %s", a[1])
		}
	}
	if n := strings.Count(book, "\n## "); n != len(alerts) || n == 0 {
		t.Errorf("the runbook has %d headings for %d alerts", n, len(alerts))
	}
}

func TestTheDashboardShowsEveryMetricAndNoOther(t *testing.T) {
	t.Parallel()
	var board struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal([]byte(read(t, "../../deploy/grafana/gatehouse.json")), &board); err != nil {
		t.Fatal(err)
	}
	shown := map[string]bool{}
	for _, p := range board.Panels {
		for _, q := range p.Targets {
			for _, n := range check(t, p.Title, q.Expr) {
				shown[n] = true
			}
		}
	}
	for _, d := range metrics.All {
		if !shown[d.Name] {
			t.Errorf("no panel shows %s", d.Name)
		}
	}
}
