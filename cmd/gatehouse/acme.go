package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/acme"
	"golang.org/x/crypto/acme/autocert"

	"github.com/gatehouse-sso/gatehouse/configs"
	"github.com/gatehouse-sso/gatehouse/provisioning/store"
)

// A notary has certificates for the hosts of the gateway, from an authority that
// speaks ACME (RFC 8555). Each host is asked for as soon as the configuration has it,
// so that the first who comes finds a certificate; autocert renews it when a third of
// its time is left. Control is proved by TLS-ALPN (RFC 8737) on the front itself:
// this is why a host without a certificate is an alarm, and no reason not to be
// ready. A gateway that gets no connections could never prove anything.
type notary struct {
	*autocert.Manager
	get    func(*tls.ClientHelloInfo) (*tls.Certificate, error) // the Manager's
	serves func(host string) bool                               // by the configuration in force
	log    *slog.Logger

	asking sync.Mutex // one host at a time: authorities count what is asked at once
	mu     sync.Mutex
	lacks  map[string]lack // by host
}

// A lack is a host for which the authority gave no certificate.
type lack struct {
	why  string
	wait time.Duration // before it is asked again
	next time.Time     // when that is
}

// newNotary makes the one of a configuration. Account and certificates are in the
// store, sealed.
func newNotary(p *process, c configs.ACME, allow []netip.Prefix) (*notary, error) {
	roots, err := rootsFrom(string(c.CA))
	if err != nil {
		return nil, err
	}
	asked := outboundClient(allow, roots, 30*time.Second)
	asked.Transport = refusals{asked.Transport, p.log}
	served := func(host string) bool {
		s := p.site.Load()
		return s != nil && serves(s.cfg, host)
	}
	m := &autocert.Manager{
		Prompt: autocert.AcceptTOS, Email: c.Email, Cache: certCache{p.store, p.sealer},
		Client: &acme.Client{HTTPClient: asked, UserAgent: "gatehouse", DirectoryURL: address(c.Directory)},
		HostPolicy: func(_ context.Context, host string) error {
			if !served(host) {
				return notServed(host)
			}
			return nil
		},
	}
	if e := c.EAB; e != nil {
		key, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(e.Key.Value(), "="))
		if err != nil {
			return nil, errors.New("the key of the external account is no base64url")
		}
		m.ExternalAccountBinding = &acme.ExternalAccountBinding{KID: e.ID, Key: key}
	}
	return &notary{Manager: m, get: m.GetCertificate, serves: served, log: p.log, lacks: map[string]lack{}}, nil
}

// tls is how the front speaks with these certificates.
func (n *notary) tls() *tls.Config {
	c := n.TLSConfig()
	c.MinVersion, c.GetCertificate = tls.VersionTLS12, n.show
	return c
}

// show is the certificate for a handshake. Where there is none the handshake ends:
// strangers do not make the authority be asked sooner, nor for anything else. So the
// Manager, which knows other spellings of a host and two kinds of certificates, hears
// of a stranger no more than the host.
func (n *notary) show(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	host := strings.ToLower(hello.ServerName)
	n.mu.Lock()
	l, lacks := n.lacks[host]
	n.mu.Unlock()
	switch {
	case !n.serves(host):
		return nil, notServed(host)
	case slices.Equal(hello.SupportedProtos, []string{acme.ALPNProto}):
		return n.get(hello) // the authority's own: to show it a proof, nobody is asked
	case lacks:
		return nil, errors.New(l.why)
	}
	return n.get(wants(host))
}

// wants is a handshake for which the Manager has, or gets, the certificate of a host:
// one with an ECDSA key, which is what every browser takes. One with an RSA key
// besides would be made when a stranger says that it takes nothing else, or ahead, and
// double what the authority is asked for; who has such clients brings a certificate.
func wants(host string) *tls.ClientHelloInfo {
	return &tls.ClientHelloInfo{ServerName: host, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}}
}

func notServed(host string) error { return fmt.Errorf("%q is no host of this gateway", host) }

// serves reports whether a host is one of a configuration's.
func serves(cfg *configs.Config, host string) bool {
	return host == cfg.Server.PublicURL.Hostname() || slices.ContainsFunc(cfg.Services, func(s configs.Service) bool { return s.Host == host })
}

// hosts are those of a configuration, its own first.
func hosts(cfg *configs.Config) []string {
	list := []string{cfg.Server.PublicURL.Hostname()}
	for _, s := range cfg.Services {
		if !slices.Contains(list, s.Host) {
			list = append(list, s.Host)
		}
	}
	return list
}

// An authority that refused is asked again after the first of these, then after twice
// as long, up to the last: no more than five times in the first hour, which is what
// Let's Encrypt lets a host fail.
const (
	askAgainFirst = 2 * time.Minute
	askAgainLast  = time.Hour
)

// keep sees to it that hosts have certificates, until they have or ctx ends. A nil
// notary has nothing to do.
func (n *notary) keep(ctx context.Context, hosts []string) {
	if n == nil {
		return
	}
	n.mu.Lock()
	maps.DeleteFunc(n.lacks, func(host string, _ lack) bool { return !slices.Contains(hosts, host) })
	n.mu.Unlock()
	var wg sync.WaitGroup
	for _, host := range hosts {
		wg.Go(func() {
			for n.pause(ctx, host); ctx.Err() == nil && !n.ask(ctx, host); n.pause(ctx, host) {
			}
		})
	}
	wg.Wait()
}

// pause until a host may be asked for. What was refused under the configuration
// before is not asked for sooner under this one.
func (n *notary) pause(ctx context.Context, host string) {
	n.mu.Lock()
	l, lacks := n.lacks[host]
	n.mu.Unlock()
	if !lacks {
		return
	}
	select {
	case <-ctx.Done():
	case <-time.After(time.Until(l.next)):
	}
}

// ask gets a host's certificate, from the store or from the authority, and reports
// whether there is one. An authority that takes its time is not waited for longer than
// ctx; what it says then is used all the same.
func (n *notary) ask(ctx context.Context, host string) bool {
	answered := make(chan error, 1)
	go func() {
		n.asking.Lock()
		defer n.asking.Unlock()
		if ctx.Err() != nil {
			return
		}
		_, err := n.get(wants(host))
		answered <- err
	}()
	var err error
	select {
	case <-ctx.Done():
		return false
	case err = <-answered:
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if err == nil {
		delete(n.lacks, host)
		return true
	}
	l := lack{"there is no certificate for " + host + ": " + err.Error(), min(max(2*n.lacks[host].wait, askAgainFirst), askAgainLast), time.Time{}}
	l.next = time.Now().Add(l.wait)
	n.lacks[host] = l
	n.log.Error("certificates", "error", l.why, "asked_again_in", l.wait.String())
	return false
}

// raised are the alarms that last, in words.
func (n *notary) raised() (list []string) {
	if n == nil {
		return nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, l := range n.lacks {
		list = append(list, l.why)
	}
	slices.Sort(list)
	return list
}

// refusals is a transport to an authority that logs what it refuses, and why: of a
// challenge that failed, and of a renewal, autocert says nothing.
type refusals struct {
	http.RoundTripper
	log *slog.Logger
}

// maxAnswer is how much of an authority's answer is looked at.
const maxAnswer = 64 << 10

func (t refusals) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := t.RoundTripper.RoundTrip(r)
	if err != nil {
		t.log.Warn("the authority for certificates was not reached", "address", r.URL.String(), "error", err)
		return nil, err
	}
	head, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, errors.Join(err, resp.Body.Close())
	}
	if why := refused(resp.StatusCode, head); why != "" {
		t.log.Warn("the authority for certificates refused", "address", r.URL.String(), "reason", why)
	}
	resp.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(head), resp.Body), resp.Body}
	return resp, nil
}

// refused is what an answer says against us: as an error (RFC 8555, section 6.7), or
// within an authorization or order that came to nothing (section 7.1). A nonce that is
// used up is no refusal.
func refused(status int, answer []byte) string {
	type problem struct{ Type, Detail string }
	var a struct {
		problem
		Error      *problem
		Challenges []struct{ Error *problem }
	}
	_ = json.Unmarshal(answer, &a) // certificates and errors of proxies before the authority are no JSON
	if status >= http.StatusBadRequest {
		if a.Type == "urn:ietf:params:acme:error:badNonce" {
			return ""
		}
		return strings.TrimSpace(fmt.Sprintf("%d %s %s", status, a.Type, a.Detail))
	}
	for _, c := range a.Challenges {
		if a.Error == nil {
			a.Error = c.Error
		}
	}
	if a.Error == nil {
		return ""
	}
	return a.Error.Type + " " + a.Error.Detail
}

// certCache keeps what ACME needs again.
type certCache struct {
	st     store.Store
	sealer *store.Sealer
}

type certRow struct {
	Name   string `json:"name"`
	Sealed []byte `json:"sealed"`
}

var certTable = store.Table[certRow]{Name: "certificate", Key: func(r certRow) string { return r.Name }}

func certSeal(name string) []byte { return store.Key("certificate", name) }

// sealedCertificates are the rows of certificates, to be sealed again.
var sealedCertificates = store.Sealed[certRow]{
	Table: &certTable,
	Key:   func(r certRow) []byte { return certSeal(r.Name) },
	Part:  func(r *certRow) *[]byte { return &r.Sealed },
}

func (c certCache) Get(ctx context.Context, name string) (plain []byte, err error) {
	err = c.st.View(ctx, func(tx store.Tx) error {
		row, ok, err := certTable.Get(tx, name)
		if err != nil {
			return err
		}
		if !ok {
			return autocert.ErrCacheMiss
		}
		plain, err = c.sealer.Open(certSeal(name), row.Sealed)
		return err
	})
	return plain, err
}

func (c certCache) Put(ctx context.Context, name string, plain []byte) error {
	return c.st.Update(ctx, func(tx store.Tx) error {
		return certTable.Put(tx, certRow{name, c.sealer.Seal(certSeal(name), plain)})
	})
}

func (c certCache) Delete(ctx context.Context, name string) error {
	return c.st.Update(ctx, func(tx store.Tx) error { return certTable.Delete(tx, name) })
}
