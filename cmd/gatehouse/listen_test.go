package main

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/acme/autocert"

	"github.com/gatehouse-sso/gatehouse/configs"
	"github.com/gatehouse-sso/gatehouse/provisioning/store"
	"github.com/gatehouse-sso/gatehouse/provisioning/store/boltstore"
)

// tellsWhere serves, on a listener, the address that each request is from.
func tellsWhere(t *testing.T, ln net.Listener) {
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.RemoteAddr) })}
	go func() { _ = srv.Serve(ln) }()
	t.Cleanup(func() { _ = srv.Close() })
}

// hello sends a request after these bytes, and returns the body of the answer,
// or its status if that is no 200; "" for no answer.
func hello(t *testing.T, network, addr, first string) string {
	t.Helper()
	c, err := net.Dial(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, first+"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return ""
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return resp.Status
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Error(err)
	}
	return string(body)
}

func TestTheProxyProtocolIsBelievedOfListedPeersAlone(t *testing.T) {
	t.Parallel()
	const said = "PROXY TCP4 203.0.113.9 198.51.100.1 4000 443\r\n"
	for _, c := range []struct{ peers, first, want string }{
		{"127.0.0.0/8", said, "203.0.113.9:4000"},
		{"127.0.0.0/8", "PROXY TCP6 2001:db8::9 2001:db8::1 4000 443\r\n", "[2001:db8::9]:4000"},
		{"127.0.0.0/8", "", ""}, // a listed peer that does not say it
		{"127.0.0.0/8", "PROXY TCP4 203.0.113.9 garbage\r\n", ""},
		{"10.0.0.0/8", said, "400 Bad Request"}, // somebody who pretends
		{"10.0.0.0/8", "", "127.0.0.1"},
		{"", said, "400 Bad Request"},
	} {
		s := configs.Server{Listen: "127.0.0.1:0"}
		if c.peers != "" {
			s.ProxyProtocol = []netip.Prefix{netip.MustParsePrefix(c.peers)}
		}
		_, ln, err := listenFront(s, nil)
		if err != nil {
			t.Fatal(err)
		}
		tellsWhere(t, ln)
		if got := hello(t, "tcp", ln.Addr().String(), c.first); got != c.want && (c.want != "127.0.0.1" || !strings.HasPrefix(got, "127.0.0.1:")) {
			t.Errorf("%q from %s: %q, want %q", c.first, c.peers, got, c.want)
		}
	}
}

// shortDir is a folder whose path fits into the address of a socket.
func shortDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "gh")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func TestAPathThatIsTooLongForASocketIsSaidToBe(t *testing.T) {
	t.Parallel()
	path := filepath.Join(shortDir(t), strings.Repeat("long", 30))
	for name, listen := range map[string]func() (net.Listener, error){
		"for everybody": func() (net.Listener, error) { return listenAt("unix:" + path) },
		"for this user": func() (net.Listener, error) { return listenUser(path) },
	} {
		if ln, err := listen(); err == nil || !strings.Contains(err.Error(), "too long") || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v, %v", name, ln, err)
		}
	}
}

func TestListensOnASocket(t *testing.T) {
	t.Parallel()
	dir := shortDir(t)
	path := filepath.Join(dir, "front")
	at := configs.Server{Listen: configs.Listen("unix:" + path)}
	// What a crash left is taken over.
	left, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	left.(*net.UnixListener).SetUnlinkOnClose(false)
	_ = left.Close()
	_, ln, err := listenFront(at, nil)
	if err != nil {
		t.Fatal(err)
	}
	tellsWhere(t, ln)
	if got := hello(t, "unix", path, ""); got != "127.0.0.1:0" {
		t.Errorf("who comes by the socket comes from %q", got)
	}
	// What is alive is not.
	if _, _, err := listenFront(at, nil); err == nil || !strings.Contains(err.Error(), "somebody answers") {
		t.Errorf("the socket of somebody else was taken: %v", err)
	}
	if got := hello(t, "unix", path, ""); got != "127.0.0.1:0" {
		t.Errorf("and is gone: %q", got)
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := listenFront(configs.Server{Listen: configs.Listen("unix:" + file)}, nil); err == nil {
		t.Error("a file was taken for a socket")
	}
	if _, err := os.Stat(file); err != nil {
		t.Error("a file is gone that was no socket")
	}
}

// The test is started anew as systemd would start the program.
func TestListensWhereSystemdDoes(t *testing.T) {
	if name := os.Getenv("GATEHOUSE_TEST_SYSTEMD"); name != "" {
		t.Setenv("LISTEN_PID", fmt.Sprint(os.Getpid()))
		_, ln, err := listenFront(configs.Server{Listen: configs.Listen(name)}, nil)
		if err != nil {
			t.Fatal(err)
		}
		notify("READY=1")
		_ = http.Serve(ln, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "hello by "+name) }))
		return
	}
	t.Parallel()
	at := &net.UnixAddr{Name: filepath.Join(shortDir(t), "notify")}
	told, err := net.ListenUnixgram("unixgram", at)
	if err != nil {
		t.Fatal(err)
	}
	defer told.Close()
	for _, c := range []struct{ listen, want string }{
		{"systemd:web", "hello by systemd:web"},
		{"systemd:absent", `no socket called "absent"`},
		{"systemd", "several sockets"},
	} {
		var files []*os.File
		var addr string
		for range 2 {
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			f, err := ln.(*net.TCPListener).File()
			if err = errors.Join(err, ln.Close()); err != nil {
				t.Fatal(err)
			}
			addr, files = ln.Addr().String(), append(files, f)
		}
		var out strings.Builder
		ctx, cancel := context.WithCancel(t.Context())
		cmd := exec.CommandContext(ctx, os.Args[0], "-test.run", "^TestListensWhereSystemdDoes$")
		cmd.Env = append(os.Environ(), "GATEHOUSE_TEST_SYSTEMD="+c.listen, "LISTEN_FDS=2", "LISTEN_FDNAMES=other:web", "NOTIFY_SOCKET="+at.Name)
		cmd.ExtraFiles, cmd.Stdout, cmd.Stderr = files, &out, &out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			_ = f.Close()
		}
		works := strings.HasPrefix(c.want, "hello")
		if works {
			b := make([]byte, 100)
			if n, err := told.Read(b); err != nil || string(b[:n]) != "READY=1" {
				t.Errorf("systemd was told %q, %v", b[:n], err)
			}
			if got := hello(t, "tcp", addr, ""); got != c.want {
				t.Errorf("%s: %q", c.listen, got)
			}
			cancel()
		}
		_ = cmd.Wait() // it was killed, or has said why not
		cancel()
		if !works && !strings.Contains(out.String(), c.want) {
			t.Errorf("%s: said %q, want %q", c.listen, out.String(), c.want)
		}
	}
}

func TestCertificatesAreKeptSealedAndForOurHostsAlone(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "db")
	st, err := boltstore.Open(file, boltstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	sealer, err := store.NewSealer(make([]byte, store.SecretSize), "gateway keys")
	if err != nil {
		t.Fatal(err)
	}
	cache := certCache{st, sealer}
	const secret = "a private key in PEM"
	if _, err := cache.Get(t.Context(), "wiki.test"); !errors.Is(err, autocert.ErrCacheMiss) {
		t.Errorf("nothing there: %v", err)
	}
	if err := cache.Put(t.Context(), "wiki.test", []byte(secret)); err != nil {
		t.Fatal(err)
	}
	if got, err := cache.Get(t.Context(), "wiki.test"); string(got) != secret || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	if raw, err := os.ReadFile(file); err != nil || strings.Contains(string(raw), secret) {
		t.Errorf("the key lies open in the file (%v)", err)
	}
	// A row that somebody moved is no certificate of another host.
	if err := st.Update(t.Context(), func(tx store.Tx) error {
		row, _, err := certTable.Get(tx, "wiki.test")
		if err != nil {
			return err
		}
		row.Name = "payroll.test"
		return certTable.Put(tx, row)
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := cache.Get(t.Context(), "payroll.test"); !errors.Is(err, store.ErrSeal) {
		t.Errorf("a row under another name: %v", err)
	}
	if err := cache.Delete(t.Context(), "wiki.test"); err != nil {
		t.Fatal(err)
	}
	if _, err := cache.Get(t.Context(), "wiki.test"); !errors.Is(err, autocert.ErrCacheMiss) {
		t.Errorf("deleted: %v", err)
	}

	p := &process{store: st, sealer: sealer, log: slog.New(slog.DiscardHandler)}
	u, err := url.Parse("https://gate.test")
	if err != nil {
		t.Fatal(err)
	}
	p.site.Store(&site{cfg: &configs.Config{Server: configs.Server{PublicURL: u}, Services: []configs.Service{{Host: "wiki.test"}}}})
	m, err := newNotary(p, configs.ACME{Email: "ops@gate.test"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for host, want := range map[string]bool{"gate.test": true, "wiki.test": true, "evil.test": false, "": false, "x.wiki.test": false} {
		if err := m.HostPolicy(t.Context(), host); (err == nil) != want {
			t.Errorf("%q: %v", host, err)
		}
	}
	// The authority is called like everything else that is called.
	if m.Client.Key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	m.Client.DirectoryURL = "https://127.0.0.1:1/dir"
	if _, err := m.Client.Discover(t.Context()); !errors.Is(err, errPrivate) {
		t.Errorf("an authority at a private address was called: %v", err)
	}
}

// What keeps browsers from believing a certificate, or the gateway from using it, is
// told before anybody meets it.
func TestACertificateThatBrowsersWouldRefuseIsTold(t *testing.T) {
	t.Parallel()
	now := time.Date(2027, 3, 1, 0, 0, 0, 0, time.UTC)
	dir := t.TempDir()
	write := func(name string, from, to time.Time, hosts ...string) {
		t.Helper()
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		c := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: from, NotAfter: to, DNSNames: hosts}
		der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
		if err != nil {
			t.Fatal(err)
		}
		private, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		for ext, block := range map[string]*pem.Block{".crt": {Type: "CERTIFICATE", Bytes: der}, ".key": {Type: "PRIVATE KEY", Bytes: private}} {
			if err := os.WriteFile(filepath.Join(dir, name+ext), pem.EncodeToMemory(block), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	before, after := now.AddDate(0, -1, 0), now.AddDate(0, 1, 0)
	write("good", before, after, "gate.test", "*.gate.test")
	write("ended", now.AddDate(0, -2, 0), before, "gate.test", "*.gate.test")
	write("early", after, now.AddDate(0, 2, 0), "gate.test", "*.gate.test")
	write("else", before, after, "gate.test")
	for tls, want := range map[string]string{
		"{ cert: good.crt, key: good.key }":   "",
		"{ cert: ended.crt, key: ended.key }": "note g.yaml:2:55: the certificate ended on 2027-02-01, so browsers refuse it — put a new one in its place; it is read while the gateway runs",
		"{ cert: early.crt, key: early.key }": "note g.yaml:2:55: the certificate begins on 2027-04-01, so browsers refuse it until then — look at the clock of this machine, or at the certificate",
		"{ cert: else.crt, key: else.key }":   "note g.yaml:2:55: the certificate is not for wiki.gate.test, so browsers refuse it there — get one that names every host of this file",
		"{ cert: good.crt, key: else.key }":   "g.yaml:2:55: the certificate can not be used with its key: private key does not match public key — cert is a PEM file with the certificate and its chain, key one with the private key of that certificate",
		"{ cert: good.key, key: good.crt }":   "g.yaml:2:55: the certificate can not be used with its key: failed to find certificate PEM data in certificate input, but did find a private key; PEM inputs may have been switched — cert is a PEM file with the certificate and its chain, key one with the private key of that certificate",
		"{ cert: none.crt, key: none.key }":   "", // configs tells of it
		"proxy":                               "",
	} {
		cfg, _ := configs.Parse(filepath.Join(dir, "g.yaml"), []byte("version: 1\nserver: { public_url: https://gate.test, tls: "+tls+" }\nstore: bolt:x\n"+
			"services: [ { id: wiki, host: wiki.gate.test, upstream: http://10.0.0.1 } ]\n"))
		mistakes, surprises := certificate(cfg, now)
		var got []string
		for _, m := range mistakes {
			got = append(got, m.String())
		}
		for _, s := range surprises {
			got = append(got, "note "+s.String())
		}
		if told := strings.ReplaceAll(strings.Join(got, "\n"), dir+string(filepath.Separator), ""); told != want {
			t.Errorf("%s:\ngot  %s\nwant %s", tls, told, want)
		}
	}
}
