package main

import (
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/gatehouse-sso/gatehouse/gateway/upstream"
)

// The whole way, from the configuration to the metric: upstreams that come and go
// under a person who works.
func TestAServiceOutlivesItsUpstreams(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	p := l.in("campus", "alice")
	path := filepath.Join(l.dir, "s") // a socket has a short name
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	var sick atomic.Bool
	socket := &httptest.Server{Listener: ln, Config: &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { //nolint:gosec // of a test
		if sick.Load() && r.URL.Path == "/healthz" {
			w.WriteHeader(http.StatusInternalServerError)
		}
		w.Header().Set("X-From", "socket")
	})}}
	socket.Start()
	t.Cleanup(socket.Close)
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X-From", "other") }))
	t.Cleanup(other.Close)
	l.reload(func(yaml string) string {
		was := yaml[strings.Index(yaml, "host: wiki.localhost\n"):]
		was = was[:strings.Index(was, "    access")]
		return strings.Replace(yaml, was, "host: wiki.localhost\n    upstream: [ \"unix://"+path+"\", "+other.URL+" ]\n    eject: { failures: 1 }\n"+
			"    health: { path: /healthz, every: 500ms, timeout: 500ms, fails: 1, passes: 1, status: [200] }\n", 1)
	})
	from := func() map[string]int {
		got := map[string]int{}
		for range 10 {
			p.open(l.at("wiki", "/"))
			got[p.header.Get("X-From")]++
		}
		return got
	}
	state := func(want string) func() bool {
		return func() bool {
			_, text := operate(l.p, "/metrics")
			return strings.Contains(text, want+"\n")
		}
	}
	if got := from(); got["socket"] == 0 || got["other"] == 0 {
		t.Errorf("answers came from %v", got)
	}
	sick.Store(true)
	eventually(t, "its check takes the socket out", state(`gatehouse_upstream_state{service="wiki",state="down",upstream="unix://`+path+`"} 1`))
	if got := from(); got["other"] != 10 {
		t.Errorf("answers came from %v", got)
	}
	other.Close()
	eventually(t, "its check takes the other out", state(`gatehouse_upstream_state{service="wiki",state="well",upstream="`+other.URL+`"} 0`))
	if p.open(l.at("wiki", "/")); p.status != http.StatusServiceUnavailable || !strings.Contains(p.body, "upstream.down") || p.header.Get("Retry-After") != "1" {
		t.Errorf("all are down: %d, Retry-After %q, %.300s", p.status, p.header.Get("Retry-After"), p.body)
	}
	// What is known outlives a reload.
	l.reload(func(yaml string) string { return strings.Replace(yaml, "title: Wiki", "title: The wiki", 1) })
	if st := l.p.site.Load().upstreams["wiki"].Members()[1].State(l.clock.now()); st != upstream.Down {
		t.Errorf("after a reload the other is %v", st)
	}
	sick.Store(false)
	eventually(t, "the socket is back", func() bool { return from()["socket"] == 10 })
	if log := l.log.String(); !strings.Contains(log, `"state":"down"`) || !strings.Contains(log, `"state":"well"`) {
		t.Error("the log has no line for the changes")
	}
}
