//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/websocket"

	"github.com/gatehouse-sso/gatehouse/cmd/gatehouse/porttest"
	"github.com/gatehouse-sso/gatehouse/federation/idptest"
	"github.com/gatehouse-sso/gatehouse/provisioning/scim"
	"github.com/gatehouse-sso/gatehouse/provisioning/scim/memstore"
	scimserver "github.com/gatehouse-sso/gatehouse/provisioning/scim/server"
)

// A gate is a running gatehouse: the demo, or one with a configuration of the
// test.
type gate struct {
	*process
	scheme, domain string
	port           int
	config         string // the file
}

// at is an address at a host of the gateway: "", "wiki", "payroll".
func (g *gate) at(host, path string) string {
	if host != "" {
		host += "."
	}
	return fmt.Sprintf("%s://%s%s:%d%s", g.scheme, host, g.domain, g.port, path)
}

// demo starts `gatehouse demo`.
func demo(t testing.TB) *gate {
	t.Helper()
	dir, port := t.TempDir(), porttest.Free(t, 4)
	p := start(t, "Ctrl-C ends it", exec.Command(program, "demo", "--port", fmt.Sprint(port), "--data", dir, "-v"))
	return &gate{process: p, scheme: "http", domain: "localhost", port: port, config: filepath.Join(dir, "gatehouse.yaml")}
}

// serveIn starts `gatehouse run` in dir and on port, which the test has found:
// the server section is made here, the rest of the configuration is the test's.
func serveIn(t testing.TB, dir string, port int, rest string) *gate {
	t.Helper()
	config := write(t, dir, "gatehouse.yaml", fmt.Sprintf(`version: 1
server: { listen: "127.0.0.1:%d", public_url: "http://localhost:%d", admin_listen: "127.0.0.1:%d" }
store: bolt:./gatehouse.db
outbound: { allow: [127.0.0.0/8, "::1/128"] }
%s`, port, port, port+1, rest))
	g := &gate{scheme: "http", domain: "localhost", port: port, config: config}
	g.restart(t)
	return g
}

// wikiService is the section of a configuration with a service for everyone: the
// one of this test, as wiki under a domain. more are further lines of its.
func wikiService(t testing.TB, domain string, more ...string) string {
	t.Helper()
	return fmt.Sprintf(`services:
  - id: wiki
    title: Wiki
    host: wiki.%s
    upstream: "%s"
    access: [ { id: all, text: Everyone., allow: { signed_in: true } } ]
    release: [ user_name, mail, groups ]
`, domain, service(t)) + strings.Join(more, "\n") + "\n"
}

// restart starts it, again, with what its store remembers.
func (g *gate) restart(t testing.TB) {
	t.Helper()
	g.process = start(t, `"msg":"ready"`, exec.Command(program, "run", "-v", "-c", g.config))
}

// verb runs another verb of gatehouse and returns what it prints.
func (g *gate) verb(t testing.TB, argv ...string) string {
	t.Helper()
	out, err := exec.Command(program, append(argv, "-c", g.config)...).CombinedOutput()
	if err != nil {
		t.Fatalf("gatehouse %s: %v\n%s", strings.Join(argv, " "), err, out)
	}
	return string(out)
}

// supportCode on a page.
var supportCode = regexp.MustCompile(`\b[2-9A-HJ-NP-Z]{4}-[2-9A-HJ-NP-Z]{4}\b`)

// found says that the support code on a page leads an administrator to the
// reason.
func (g *gate) found(t testing.TB, v view, reason string) {
	t.Helper()
	code := supportCode.FindString(v.Text)
	if code == "" {
		t.Fatalf("no support code on the page:\n%s", v.Text)
	}
	// The page does not wait for the event to be written.
	out := ""
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if out = g.verb(t, "audit", "--flow", code); strings.Contains(out, reason) {
			return
		}
	}
	t.Errorf("audit --flow %s does not say %s:\n%s", code, reason, out)
}

// listen serves h on a port of loopback until the test ends.
func listen(t testing.TB, h func(base string) http.Handler) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	base := "http://" + ln.Addr().String()
	srv := &http.Server{Handler: h(base), ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = srv.Serve(ln) }() // until Close
	t.Cleanup(func() { _ = srv.Close() })
	return base
}

// campusOP is an OpenID provider of the test's own, with the people of Campus.
func campusOP(t testing.TB, g func(path string) string) (*idptest.OP, string) {
	t.Helper()
	var op *idptest.OP
	base := listen(t, func(base string) http.Handler {
		op = idptest.NewOP(idptest.OPConfig{
			Issuer: base, Title: campus, People: idptest.Campus(),
			Clients: []idptest.OPClient{{ID: "gatehouse", Title: "Gatehouse", Secret: "e2e", RedirectURIs: []string{g("/.gatehouse/oidc/campus/callback")}}},
		})
		return op.Handler()
	})
	return op, base
}

// A target is a SCIM server that can be told to wait.
type target struct {
	base string
	mu   sync.Mutex
	wait chan struct{} // closed when requests may go on; nil: at once
}

func newTarget(t testing.TB) *target {
	t.Helper()
	tg := &target{}
	rt := scim.UserType()
	tg.base = listen(t, func(base string) http.Handler {
		srv, err := scimserver.New(scimserver.Config{
			Base: base, Resources: []scimserver.Resource{{Type: rt, Store: memstore.New(rt, nil)}},
			Authenticate: scimserver.Bearer("e2e"), Log: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			t.Fatal(err)
		}
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			tg.mu.Lock()
			wait := tg.wait
			tg.mu.Unlock()
			if wait != nil {
				select {
				case <-wait:
				case <-r.Context().Done():
					return
				}
			}
			srv.ServeHTTP(w, r)
		})
	})
	return tg
}

// pause lets requests wait until what is returned is called.
func (tg *target) pause() (resume func()) {
	wait := make(chan struct{})
	tg.mu.Lock()
	tg.wait = wait
	tg.mu.Unlock()
	return sync.OnceFunc(func() {
		tg.mu.Lock()
		tg.wait = nil
		tg.mu.Unlock()
		close(wait)
	})
}

// echoed is what the service of a test says it received.
type echoed struct {
	Method, Path, Host string
	Headers            http.Header
}

// service is behind the gateways of the tests: it echoes, streams, takes and
// gives much.
func service(t testing.TB) string {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(echoed{r.Method, r.URL.RequestURI(), r.Host, r.Header})
	})
	mux.HandleFunc("/page", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, "<!doctype html><html lang=en><title>Service</title><h1>Service page</h1>")
	})
	mux.Handle("/ws", websocket.Handler(func(c *websocket.Conn) {
		user := c.Request().Header.Get("X-Forwarded-User")
		var text string
		for websocket.Message.Receive(c, &text) == nil {
			_ = websocket.Message.Send(c, user+" said "+text)
		}
	}))
	mux.HandleFunc("/events", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for i := 1; ; i++ {
			fmt.Fprintf(w, "data: %s %d\n\n", r.Header.Get("X-Forwarded-User"), i)
			if http.NewResponseController(w).Flush() != nil {
				return
			}
			select {
			case <-time.After(100 * time.Millisecond):
			case <-r.Context().Done():
				return
			}
		}
	})
	mux.HandleFunc("/upload", func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		if err != nil {
			return // the one who sends is gone
		}
		fmt.Fprint(w, n)
	})
	mux.HandleFunc("/download", func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "zeros.bin", time.Unix(1, 0), io.NewSectionReader(zeros{}, 0, gibibyte))
	})
	return listen(t, func(string) http.Handler { return mux })
}

const gibibyte = 1 << 30

// zeros is an endless file of them.
type zeros struct{}

func (zeros) ReadAt(p []byte, _ int64) (int, error) { clear(p); return len(p), nil }
func (zeros) Read(p []byte) (int, error)            { clear(p); return len(p), nil }

// received asks a service in the browser what it received.
func (p *person) received(to string) echoed {
	p.t.Helper()
	p.open(to)
	v := p.at(to)
	var e echoed
	if err := json.Unmarshal([]byte(v.Text), &e); err != nil {
		p.t.Fatalf("%v in %s", err, v.Text)
	}
	return e
}

// header says what a service must have received.
func (e echoed) header(t testing.TB, name, want string) {
	t.Helper()
	if got := strings.Join(e.Headers[name], "|"); got != want {
		t.Errorf("%s = %q, want %q", name, got, want)
	}
}
