//go:build e2e

package e2e

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/gatehouse-sso/gatehouse/cmd/gatehouse/porttest"
)

// absent is a host that the name servers of these tests do not know.
const absent = "absent.gate.test."

// names answers every question for an address with this machine's, by TCP.
func names(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				for resolve(c) == nil {
				}
			}()
		}
	}()
	return ln.Addr().String()
}

// resolve answers one question (RFC 1035, section 4.2.2).
func resolve(c net.Conn) error {
	var size [2]byte
	if _, err := io.ReadFull(c, size[:]); err != nil {
		return err
	}
	raw := make([]byte, binary.BigEndian.Uint16(size[:]))
	if _, err := io.ReadFull(c, raw); err != nil {
		return err
	}
	var m dnsmessage.Message
	if err := m.Unpack(raw); err != nil {
		return err
	}
	m.Response, m.Authoritative, m.Additionals = true, true, nil
	for _, q := range m.Questions {
		if q.Name.String() == absent {
			m.RCode = dnsmessage.RCodeNameError
		} else if q.Type == dnsmessage.TypeA {
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class, TTL: 1}, Body: &dnsmessage.AResource{A: [4]byte{127, 0, 0, 1}}})
		}
	}
	out, err := m.Pack()
	if err != nil {
		return err
	}
	_, err = c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(out))), out...))
	return err
}

// Certificates come from an authority that is somebody else's program, for the hosts
// of the configuration and no other, before anybody comes, are renewed in time, and are
// there after a restart. Of a host that can have none it is said why.
func TestCertificatesComeFromAnAuthorityAndAreRenewed(t *testing.T) {
	t.Parallel()
	pebble, err := exec.LookPath(filepath.Join(tools, "pebble"))
	if err != nil {
		t.Fatal("pebble is not there — `make e2e` installs what these tests need")
	}
	dir, port := t.TempDir(), porttest.Free(t, 4)
	site.issue(t, dir, "localhost", "pebble.test")
	raw, err := json.Marshal(map[string]any{"pebble": map[string]any{
		"listenAddress": fmt.Sprintf("127.0.0.1:%d", port+2), "managementListenAddress": fmt.Sprintf("127.0.0.1:%d", port+3),
		"certificate": filepath.Join(dir, "cert.pem"), "privateKey": filepath.Join(dir, "key.pem"),
		"httpPort": 1, "tlsPort": port, "retryAfter": map[string]int{"authz": 1, "order": 1}, "keyAlgorithm": "ecdsa",
		// In seconds: the next is asked for when a third is left, and may meet an authority
		// that has every tenth message sent again.
		"profiles": map[string]any{"default": map[string]any{"description": "short", "validityPeriod": 36}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(pebble, "-config", write(t, dir, "pebble.json", string(raw)), "-dnsserver", names(t), "-strict")
	cmd.Env = append(cmd.Environ(), "PEBBLE_VA_NOSLEEP=1", "PEBBLE_WFE_NONCEREJECT=10")
	start(t, "ACME directory available", cmd)

	g := &gate{scheme: "https", domain: "gate.test", port: port}
	write(t, dir, "campus", "e2e")
	g.config = write(t, dir, "gatehouse.yaml", fmt.Sprintf(`version: 1
server:
  listen: "127.0.0.1:%[1]d"
  public_url: "https://gate.test:%[1]d"
  admin_listen: "127.0.0.1:%[2]d"
  tls: { acme: { email: ops@gate.test, directory: "https://localhost:%[3]d/dir", ca: cert.pem } }
store: bolt:./gatehouse.db
outbound: { allow: [127.0.0.0/8] }
identity_providers:
  - id: campus
    oidc: { issuer: "https://localhost:1", client_id: gatehouse, client_secret: { file: campus } }
    provisioning: { mode: async }
services:
  - { id: wiki, host: wiki.gate.test, upstream: "http://127.0.0.1:1", access: [ { id: all, allow: { signed_in: true } } ] }
  - { id: gone, host: absent.gate.test, upstream: "http://127.0.0.1:1", access: [ { id: all, allow: { signed_in: true } } ] }
`, port, port+1, port+2))
	g.restart(t)

	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: site.pool()}}, Timeout: patience}
	resp, err := client.Get(fmt.Sprintf("https://localhost:%d/roots/0", port+3))
	if err != nil {
		t.Fatal(err)
	}
	root, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	roots := x509.NewCertPool()
	if err != nil || !roots.AppendCertsFromPEM(root) {
		t.Fatalf("the authority's root: %v %s", err, root)
	}
	shown := func(host string) (*x509.Certificate, error) {
		c, err := tls.DialWithDialer(&net.Dialer{Timeout: patience}, "tcp", fmt.Sprintf("127.0.0.1:%d", port), &tls.Config{ServerName: host, RootCAs: roots})
		if err != nil {
			return nil, err
		}
		defer c.Close()
		return c.ConnectionState().PeerCertificates[0], nil
	}
	operations := func(path string) string {
		resp, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d%s", port+1, path))
		if err != nil {
			t.Fatal(err)
		}
		return string(body(t, resp))
	}
	// Nobody has come yet.
	for _, host := range []string{"gate.test", "wiki.gate.test"} {
		for end := time.Now().Add(patience); !strings.Contains(operations("/metrics"), `gatehouse_certificate_not_after_timestamp_seconds{use="tls:`+host+`"} 1.`); time.Sleep(100 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%s has no certificate, and nobody came", host)
			}
		}
	}
	for end := time.Now().Add(patience); !strings.Contains(operations("/readyz"), "alarm: there is no certificate for absent.gate.test"); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("a host that can have no certificate is no alarm: %s", operations("/readyz"))
		}
	}
	if said := operations("/readyz"); !strings.HasPrefix(said, "ready\n") {
		t.Errorf("for want of a certificate the gateway would get no connections, and so none: %s", said)
	}
	if !strings.Contains(g.log.String(), "Could not resolve URL") {
		t.Error("the log does not have what the authority said")
	}
	if !strings.Contains(operations("/metrics"), `gatehouse_certificate_not_after_timestamp_seconds{use="tls:absent.gate.test"} 0`) {
		t.Error("the metrics do not have it")
	}
	first, err := shown("gate.test")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := shown("wiki.gate.test"); err != nil {
		t.Errorf("a service's host: %v", err)
	}
	if c, err := shown("stranger.gate.test"); err == nil {
		t.Errorf("a host that is none of the gateway's got a certificate for %v", c.DNSNames)
	}
	var last *x509.Certificate
	for end := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
		if last, err = shown("gate.test"); err != nil {
			t.Fatal(err)
		}
		if last.SerialNumber.Cmp(first.SerialNumber) != 0 {
			break
		}
		if time.Now().After(end) {
			t.Fatal("a certificate of which a third of its time is left was not renewed")
		}
	}
	g.end(syscall.SIGTERM)
	g.restart(t)
	if _, err := shown("gate.test"); err != nil {
		t.Errorf("after a restart: %v", err)
	}
}
