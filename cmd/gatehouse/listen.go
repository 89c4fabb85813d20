package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/pires/go-proxyproto"

	"github.com/gatehouse-sso/gatehouse/configs"
)

// listenFront listens where people come in: at an address, on a Unix socket, or
// on a socket that systemd or the process before has opened. From listed peers every
// connection begins with the PROXY protocol, which says who the person is; from
// others it never does, so that nobody else can say it.
func listenFront(c configs.Server, from *heir) (*inlet, net.Listener, error) {
	g, err := from.inlet(frontInlet, string(c.Listen), func() (net.Listener, error) { return listenAt(string(c.Listen)) })
	if err != nil {
		return nil, nil, fmt.Errorf("listen: %w — stop what has the address, or change server.listen", err)
	}
	var ln net.Listener = g
	if g.Addr().Network() == "unix" {
		ln = here{ln}
	}
	if len(c.ProxyProtocol) == 0 {
		return g, ln, nil
	}
	return g, &proxyproto.Listener{Listener: ln, ReadHeaderTimeout: 5 * time.Second, ConnPolicy: func(o proxyproto.ConnPolicyOptions) (proxyproto.Policy, error) {
		if within(o.Upstream, c.ProxyProtocol) {
			return proxyproto.REQUIRE, nil
		}
		return proxyproto.SKIP, nil
	}}, nil
}

// within reports whether a peer is in one of the networks.
func within(a net.Addr, networks []netip.Prefix) bool {
	ap, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return false
	}
	addr := ap.Addr().Unmap().WithZone("")
	for _, n := range networks {
		if n.Contains(addr) {
			return true
		}
	}
	return false
}

// systemdListen begins the addresses of sockets that systemd opens.
const systemdListen = "systemd"

func listenAt(at string) (net.Listener, error) {
	if name, ok := strings.CutPrefix(at, systemdListen); ok {
		return inherited(strings.TrimPrefix(name, ":"))
	}
	path, ok := strings.CutPrefix(at, "unix:")
	if !ok {
		return net.Listen("tcp", at)
	}
	// A socket that a crash left is in the way; one that answers is not ours to take.
	if c, err := net.DialTimeout("unix", path, time.Second); err == nil {
		return nil, errors.Join(fmt.Errorf("%s: somebody answers there", path), c.Close())
	}
	if info, err := os.Lstat(path); err == nil && info.Mode().Type() == fs.ModeSocket {
		if err := os.Remove(path); err != nil {
			return nil, err
		}
	}
	ln, err := net.Listen("unix", path)
	if err != nil {
		return nil, tooLong(path, err)
	}
	// The folder decides who may come in.
	if err := os.Chmod(path, 0o666); err != nil { //nolint:gosec // a proxy of another user connects to it
		return nil, errors.Join(err, ln.Close())
	}
	return ln, nil
}

// tooLong says of an error that a socket's path is too long, if that is why.
func tooLong(path string, err error) error {
	if errors.Is(err, syscall.EINVAL) { // what the system says of it
		return fmt.Errorf("the path of a socket is too long with %d bytes, put it into a folder with a shorter one: %w", len(path), err)
	}
	return err
}

// here is a listener that only this machine reaches: who comes, comes from
// loopback, for everything that asks where from.
type here struct{ net.Listener }

func (h here) Accept() (net.Conn, error) {
	c, err := h.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return fromHere{c}, nil
}

type fromHere struct{ net.Conn }

func (fromHere) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }

// firstInherited is the number of the first descriptor that systemd hands over
// (sd_listen_fds(3)).
const firstInherited = 3

// inherited is a socket that systemd opened for us: the one of that name, or the
// only one.
func inherited(name string) (net.Listener, error) {
	n, err := strconv.Atoi(os.Getenv("LISTEN_FDS"))
	if pid := os.Getenv("LISTEN_PID"); err != nil || n < 1 || pid != strconv.Itoa(os.Getpid()) {
		return nil, errors.New("systemd has handed over no socket: start the program by a socket unit")
	}
	names := strings.Split(os.Getenv("LISTEN_FDNAMES"), ":")
	for i := range n {
		if name == "" && n > 1 {
			return nil, errors.New("systemd has handed over several sockets: write systemd:NAME, with the FileDescriptorName of one")
		}
		if name != "" && (i >= len(names) || names[i] != name) {
			continue
		}
		f := os.NewFile(uintptr(firstInherited+i), "systemd:"+name)
		ln, err := net.FileListener(f) // works on a duplicate
		if err = errors.Join(err, f.Close()); err != nil {
			return nil, err
		}
		return ln, nil
	}
	return nil, fmt.Errorf("systemd has handed over no socket called %q", name)
}

// notify tells systemd how we are (sd_notify(3)). Where nobody asks, nobody is told.
func notify(state string) {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return
	}
	c, err := net.Dial("unixgram", path)
	if err != nil {
		slog.Warn("systemd was not told", "state", state, "error", err)
		return
	}
	defer c.Close()
	if _, err := c.Write([]byte(state)); err != nil {
		slog.Warn("systemd was not told", "state", state, "error", err)
	}
}

// frontTLS is how the front speaks TLS; nil: something else does.
func frontTLS(p *process, cfg *configs.Config) (*tls.Config, error) {
	switch tc := cfg.Server.TLS; {
	case tc.Cert != "":
		pair := &keyPair{cert: string(tc.Cert), key: string(tc.Key), log: p.log}
		if _, err := pair.get(nil); err != nil {
			return nil, fmt.Errorf("certificate: %w", err)
		}
		return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: pair.get}, nil
	case p.notary != nil:
		return p.notary.tls(), nil
	}
	return nil, nil
}

// certificate reads the certificate of a configuration as the front will: what keeps
// it from being used, and what keeps browsers from believing it. Of a file that can
// not be read, configs has told already.
func certificate(cfg *configs.Config, now time.Time) (mistakes, surprises []configs.Mistake) {
	tc := cfg.Server.TLS
	if tc.Cert == "" || cfg.Server.PublicURL == nil {
		return nil, nil
	}
	at := cfg.Pos("server", "tls", "cert")
	pair, err := tls.LoadX509KeyPair(string(tc.Cert), string(tc.Key))
	if unread := (*os.PathError)(nil); errors.As(err, &unread) {
		return nil, nil
	}
	if err != nil {
		return []configs.Mistake{configs.At(at, "the certificate can not be used with its key: "+strings.TrimPrefix(err.Error(), "tls: "),
			"cert is a PEM file with the certificate and its chain, key one with the private key of that certificate")}, nil
	}
	say := func(what, cure string) { surprises = append(surprises, configs.At(at, what, cure)) }
	switch leaf := pair.Leaf; {
	case now.After(leaf.NotAfter):
		say("the certificate ended on "+leaf.NotAfter.UTC().Format(time.DateOnly)+", so browsers refuse it", "put a new one in its place; it is read while the gateway runs")
	case now.Before(leaf.NotBefore):
		say("the certificate begins on "+leaf.NotBefore.UTC().Format(time.DateOnly)+", so browsers refuse it until then", "look at the clock of this machine, or at the certificate")
	}
	var others []string
	for _, host := range hosts(cfg) {
		if host != "" && pair.Leaf.VerifyHostname(host) != nil {
			others = append(others, host)
		}
	}
	if len(others) > 0 {
		say("the certificate is not for "+strings.Join(others, ", ")+", so browsers refuse it there", "get one that names every host of this file")
	}
	return nil, surprises
}

// keyPair is a certificate that is read again when its file changes. A file
// that can not be read leaves the last good one in use.
type keyPair struct {
	cert, key string
	log       *slog.Logger
	mu        sync.Mutex
	checked   time.Time
	changed   time.Time
	last      *tls.Certificate
}

func (k *keyPair) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.last != nil && time.Since(k.checked) < 5*time.Second {
		return k.last, nil
	}
	k.checked = time.Now()
	info, err := os.Stat(k.cert)
	if err == nil && k.last != nil && info.ModTime().Equal(k.changed) {
		return k.last, nil
	}
	if err == nil {
		var pair tls.Certificate
		if pair, err = tls.LoadX509KeyPair(k.cert, k.key); err == nil {
			k.last, k.changed = &pair, info.ModTime()
			return k.last, nil
		}
	}
	if k.last != nil {
		k.log.Error("certificate not read again; the last good one stays", "file", k.cert, "error", err)
		return k.last, nil
	}
	return nil, err
}
