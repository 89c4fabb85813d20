package main

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

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

// An office issues certificates.
type office struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

func newOffice(t *testing.T, name string) office {
	t.Helper()
	o := office{key: keyOf(t), cert: &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}}
	der, err := x509.CreateCertificate(rand.Reader, o.cert, o.cert, o.key.Public(), o.key)
	if err != nil {
		t.Fatal(err)
	}
	if o.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return o
}

func (o office) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(o.cert)
	return p
}

// issue makes a certificate for a name, and its key, in PEM.
func (o office) issue(t *testing.T, name string) (cert, key []byte) {
	t.Helper()
	own := keyOf(t)
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}, o.cert, own.Public(), o.key)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(own)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw})
}

// A service that lets only known programs in knows the gateway by its certificate,
// over either version of HTTP, and the gateway knows the service by its own authority
// and name. What is wrong on either side is no connection, and no answer of the
// service.
func TestAServiceAndTheGatewayKnowEachOtherByTheirCertificates(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	p := l.in("campus", "alice")
	ours, others := newOffice(t, "ours"), newOffice(t, "others")
	file := func(name string, raw []byte) string {
		path := filepath.Join(l.dir, name)
		if err := os.WriteFile(path, raw, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	caOf := func(o office) []byte { return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: o.cert.Raw}) }
	gate, gateKey := ours.issue(t, "gate.test")
	stranger, strangerKey := others.issue(t, "gate.test")
	files := strings.NewReplacer(
		"OUR-CA", file("ours.pem", caOf(ours)), "OTHER-CA", file("others.pem", caOf(others)),
		"GATE-CERT", file("gate.pem", gate), "GATE-KEY", file("gate.key", gateKey),
		"STRANGER-CERT", file("stranger.pem", stranger), "STRANGER-KEY", file("stranger.key", strangerKey))

	cert, key := ours.issue(t, "wiki.inside")
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	var answers atomic.Int64
	wiki := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answers.Add(1)
		w.Header().Set("X-Caller", r.TLS.PeerCertificates[0].Subject.CommonName+" over "+r.Proto)
	}))
	wiki.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ours.pool(), MinVersion: tls.VersionTLS12}
	wiki.EnableHTTP2 = true
	wiki.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	wiki.StartTLS()
	t.Cleanup(wiki.Close)

	// Why a service refuses comes after the handshake, if the service does not hang up
	// sooner than that is read: there the log may know no more than that.
	for _, c := range []struct{ what, more, caller, why string }{
		{"both as they should be", "{ ca: OUR-CA, server_name: wiki.inside, cert: GATE-CERT, key: { file: GATE-KEY } }", "gate.test over HTTP/2.0", ""},
		{"over HTTP/1.1", "{ ca: OUR-CA, server_name: wiki.inside, cert: GATE-CERT, key: { file: GATE-KEY } }\n    protocol: http1", "gate.test over HTTP/1.1", ""},
		{"no certificate of the gateway", "{ ca: OUR-CA, server_name: wiki.inside }", "", ""},
		{"one that the service does not trust", "{ ca: OUR-CA, server_name: wiki.inside, cert: STRANGER-CERT, key: { file: STRANGER-KEY } }", "", ""},
		{"a service of another authority", "{ ca: OTHER-CA, server_name: wiki.inside, cert: GATE-CERT, key: { file: GATE-KEY } }", "", "unknown authority"},
		{"a service of another name", "{ ca: OUR-CA, server_name: payroll.inside, cert: GATE-CERT, key: { file: GATE-KEY } }", "", "not payroll.inside"},
	} {
		l.reload(func(yaml string) string {
			was := yaml[strings.Index(yaml, "host: wiki.localhost\n"):]
			was = was[:strings.Index(was, "    access")]
			return strings.Replace(yaml, was, "host: wiki.localhost\n    upstream: \""+wiki.URL+"\"\n    upstream_tls: "+files.Replace(c.more)+"\n", 1)
		})
		before := answers.Load()
		p.open(l.at("wiki", "/"))
		if c.caller != "" {
			if got := p.header.Get("X-Caller"); p.status != http.StatusOK || got != c.caller {
				t.Errorf("%s: %d from %q\n%.300s", c.what, p.status, got, p.body)
			}
			continue
		}
		if p.status != http.StatusBadGateway || !strings.Contains(p.body, "upstream.unreachable") {
			t.Errorf("%s: %d %.300s", c.what, p.status, p.body)
		}
		if answers.Load() != before {
			t.Errorf("%s: the service was reached", c.what)
		}
		if log := l.log.String(); !strings.Contains(log, c.why) {
			t.Errorf("%s: the log does not say %q", c.what, c.why)
		}
	}
}
