package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"errors"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatehouse-sso/gatehouse/provisioning/connector/scim2"
)

var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}

func TestB01_AddressesThatOnlyOurNetworkReachesAreRefused(t *testing.T) {
	t.Parallel()
	for _, a := range []string{
		"127.0.0.1", "127.8.8.8", "::1", "0.0.0.0", "::", "0.1.2.3", "169.254.169.254", "fe80::1", "fe80::1%eth0", "10.0.0.1", "172.16.0.1", "172.31.255.255",
		"192.168.1.1", "fd00::1", "fc00::1", "fec0::1", "100.64.0.1", "192.0.0.1", "192.0.2.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "192.88.99.1",
		"224.0.0.1", "239.1.1.1", "255.255.255.255", "240.0.0.1", "ff02::1", "ff0e::1", "2001:db8::1", "3fff::1", "5f00::1", "100::1",
		"::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::ffff:0:127.0.0.1", "::127.0.0.1", "::10.0.0.1",
		"64:ff9b::127.0.0.1", "64:ff9b::10.0.0.1", "64:ff9b::8.8.8.8", "64:ff9b:1::10.0.0.1", "2002:7f00:1::1", "2002:a00:1::", "2001:0:7f00:1::", "fd00:ec2::254",
	} {
		if mayCall(netip.MustParseAddr(a), nil) {
			t.Errorf("%s may be called", a)
		}
	}
	for _, a := range []string{"1.1.1.1", "8.8.8.8", "::ffff:8.8.8.8", "2606:4700:4700::1111", "2a00:1450:4001::1", "172.32.0.1", "100.128.0.1", "11.0.0.1"} {
		if !mayCall(netip.MustParseAddr(a), nil) {
			t.Errorf("%s may not be called", a)
		}
	}
	for a, want := range map[string]bool{"127.0.0.1": true, "::ffff:127.0.0.1": true, "::1": true, "10.0.0.1": false, "64:ff9b::127.0.0.1": false} {
		if got := mayCall(netip.MustParseAddr(a), loopback); got != want {
			t.Errorf("with loopback allowed, %s may be called: %v", a, got)
		}
	}
}

// B01: however an address is written, the guard sees the number that is dialled.
// A server listens there, and hears nothing.
func TestB01_HoweverItIsWritten(t *testing.T) {
	t.Parallel()
	var reached atomic.Int32
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Add(1) }))
	t.Cleanup(s.Close)
	_, port, _ := net.SplitHostPort(s.Listener.Addr().String())
	guarded := outboundClient(nil, nil, 5*time.Second)
	t.Cleanup(guarded.CloseIdleConnections)
	for _, host := range []string{"127.0.0.1", "localhost", "LOCALHOST", "localhost.", "[::ffff:127.0.0.1]", "[::1]", "0.0.0.0", "[::]", "0x7f.1", "2130706433", "0177.0.0.1", "127.1", "user@127.0.0.1"} {
		resp, err := guarded.Get("http://" + host + ":" + port + "/")
		if err == nil {
			_ = resp.Body.Close()
			t.Errorf("%s was called", host)
			continue
		}
		var unknown *net.DNSError
		if !errors.Is(err, errPrivate) && !errors.As(err, &unknown) && !strings.Contains(err.Error(), "cannot assign requested address") {
			t.Errorf("%s: %v", host, err)
		}
		if (host == "127.0.0.1" || host == "localhost") && !errors.Is(err, errPrivate) {
			t.Errorf("%s is refused for another reason: %v", host, err)
		}
	}
	for _, address := range []string{"file:///etc/passwd", "gopher://127.0.0.1/", "ftp://127.0.0.1/"} {
		if resp, err := guarded.Get(address); err == nil {
			_ = resp.Body.Close()
			t.Errorf("%s was read", address)
		}
	}
	if n := reached.Load(); n != 0 {
		t.Errorf("%d requests arrived", n)
	}
	allowed := outboundClient(loopback, nil, 5*time.Second)
	t.Cleanup(allowed.CloseIdleConnections)
	resp, err := allowed.Get(s.URL)
	if err != nil || reached.Load() != 1 {
		t.Fatalf("with loopback allowed: %v", err)
	}
	_ = resp.Body.Close()
	// A target's address with a name in it is no address.
	if _, err := scim2.New(scim2.Config{URL: "http://user@127.0.0.1/scim/v2"}); err == nil {
		t.Error("a target's address may carry a user")
	}
}

// A name that leads to an allowed address when it is looked up first and to
// another one the second time is judged by what is dialled, each time.
func TestB01R39_ANameThatChangesItsMindIsJudgedEachTime(t *testing.T) {
	t.Parallel()
	var reached atomic.Int32
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Add(1) }))
	t.Cleanup(s.Close)
	_, port, _ := net.SplitHostPort(s.Listener.Addr().String())
	var answer atomic.Pointer[netip.Addr]
	resolver := nameServer(t, func() netip.Addr { return *answer.Load() })
	call := func(at string, allow []netip.Prefix) error {
		a := netip.MustParseAddr(at)
		answer.Store(&a)
		d := outboundDialer(allow)
		d.Resolver, d.Timeout = resolver, 200*time.Millisecond
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		conn, err := d.DialContext(ctx, "tcp", net.JoinHostPort("rebind.test", port))
		if err == nil {
			_ = conn.Close()
		}
		return err
	}
	if err := call("127.0.0.1", loopback); err != nil {
		t.Fatalf("an address that is allowed: %v", err)
	}
	for _, at := range []string{"10.1.2.3", "169.254.169.254", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "fd00::1", "192.168.1.1"} {
		if err := call(at, loopback); !errors.Is(err, errPrivate) {
			t.Errorf("a name that became %s: %v", at, err)
		}
	}
	if err := call("127.0.0.1", nil); !errors.Is(err, errPrivate) {
		t.Errorf("with nothing allowed: %v", err)
	}
}

// nameServer answers every question with one address.
func nameServer(t *testing.T, answer func() netip.Addr) *net.Resolver {
	t.Helper()
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pc.Close() })
	go func() {
		buf := make([]byte, 1500)
		for {
			n, from, err := pc.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = pc.WriteTo(reply(buf[:n], answer()), from)
		}
	}()
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "udp", pc.LocalAddr().String())
	}}
}

// reply answers a DNS query (RFC 1035, 4.1) for the kind of address that a is;
// one for the other kind gets no records.
func reply(query []byte, a netip.Addr) []byte {
	end := 12
	for query[end] != 0 {
		end += int(query[end]) + 1
	}
	end += 5 // the root, type and class
	kind := binary.BigEndian.Uint16(query[end-4:])
	out := append([]byte(nil), query[:end]...)
	copy(out[2:12], []byte{0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0})
	addr := a.AsSlice()
	if (kind == 1) == (len(addr) == 4) && (kind == 1 || kind == 28) {
		out[7] = 1
		out = append(out, 0xc0, 12, 0, byte(kind), 0, 1, 0, 0, 0, 0, 0, byte(len(addr)))
		out = append(out, addr...)
	}
	return out
}

// B02: a redirect is an answer, not an order; whoever sends one learns nothing.
func TestB02_RedirectsAreNotFollowed(t *testing.T) {
	t.Parallel()
	var leaked atomic.Int32
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { leaked.Add(1) }))
	t.Cleanup(other.Close)
	c := outboundClient(loopback, nil, 5*time.Second)
	t.Cleanup(c.CloseIdleConnections)
	for _, status := range []int{301, 302, 303, 307, 308} {
		from := httptest.NewServer(http.RedirectHandler(other.URL, status))
		t.Cleanup(from.Close)
		r, err := http.NewRequest(http.MethodPost, from.URL, strings.NewReader("secret"))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer secret")
		resp, err := c.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != status || leaked.Load() != 0 {
			t.Errorf("%d: answered %d, followed %d times", status, resp.StatusCode, leaked.Load())
		}
	}
}

// B11: a certificate that is not right is refused, and nothing turns that off;
// one of an authority that is trusted passes.
func TestB11_WrongCertificatesAreRefused(t *testing.T) {
	t.Parallel()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, ca, ca, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	root, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	trusted := x509.NewCertPool()
	trusted.AddCert(root)
	for _, c := range []struct {
		name    string
		roots   *x509.CertPool
		version uint16
		edit    func(*x509.Certificate)
		want    string // in the error; empty: it passes
	}{
		{"as it should be", trusted, tls.VersionTLS13, nil, ""},
		{"of an authority nobody trusts", nil, tls.VersionTLS13, nil, "unknown authority"},
		{"expired", trusted, tls.VersionTLS13, func(x *x509.Certificate) { x.NotAfter = now.Add(-30 * time.Minute) }, "expired"},
		{"not valid yet", trusted, tls.VersionTLS13, func(x *x509.Certificate) { x.NotBefore = now.Add(30 * time.Minute) }, "not yet valid"},
		{"for another host", trusted, tls.VersionTLS13, func(x *x509.Certificate) { x.IPAddresses, x.DNSNames = nil, []string{"other.test"} }, "IP SANs"},
		{"over TLS 1.1", trusted, tls.VersionTLS11, nil, "protocol version"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			leaf := &x509.Certificate{
				SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "target"}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
				IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
			}
			if c.edit != nil {
				c.edit(leaf)
			}
			der, err := x509.CreateCertificate(rand.Reader, leaf, root, key.Public(), key)
			if err != nil {
				t.Fatal(err)
			}
			s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") }))
			s.Config.ErrorLog = log.New(io.Discard, "", 0)
			s.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, MinVersion: tls.VersionTLS10, MaxVersion: c.version}
			s.StartTLS()
			t.Cleanup(s.Close)
			client := outboundClient(loopback, c.roots, 5*time.Second)
			t.Cleanup(client.CloseIdleConnections)
			resp, err := client.Get(s.URL)
			if err == nil {
				_ = resp.Body.Close()
			}
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("the call ended with %v", err)
			}
		})
	}
}
