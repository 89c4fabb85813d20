package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/acme"
)

// An askedFor is what an authority was asked for, and what it says to that.
type askedFor struct {
	sync.Mutex
	hosts []string
	at    []time.Duration
	bad   map[string]error
	slow  chan struct{} // nil: it answers at once
	rsa   bool          // a certificate of another kind was asked for
}

func newAsked(t *testing.T, log io.Writer) (*askedFor, *notary) {
	began, a := time.Now(), &askedFor{bad: map[string]error{}}
	served := func(host string) bool { return slices.Contains([]string{"gate.test", "wiki.test", "old.test"}, host) }
	return a, &notary{log: slog.New(slog.NewTextHandler(log, nil)), lacks: map[string]lack{}, serves: served, get: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		if a.slow != nil {
			<-a.slow
		}
		a.Lock()
		defer a.Unlock()
		a.hosts, a.at = append(a.hosts, hello.ServerName), append(a.at, time.Since(began))
		a.rsa = a.rsa || len(hello.SupportedProtos) == 0 && !slices.Contains(hello.CipherSuites, tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256)
		return &tls.Certificate{}, a.bad[hello.ServerName]
	}}
}

func TestEachHostHasACertificateBeforeAnybodyComes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, n := newAsked(t, io.Discard)
		n.keep(t.Context(), []string{"gate.test", "wiki.test"})
		slices.Sort(a.hosts)
		if got := strings.Join(a.hosts, " "); got != "gate.test wiki.test" {
			t.Errorf("asked for %s", got)
		}
		if len(n.raised()) > 0 {
			t.Error(n.raised())
		}
	})
}

// An authority that refuses is asked seldom, whoever comes and whatever is reloaded;
// the alarm names the host and lasts until there is a certificate.
func TestAnAuthorityThatRefusesIsAskedSeldomAndTheHostIsAnAlarm(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		a, n := newAsked(t, &log)
		a.bad["wiki.test"] = errors.New("no such name")
		ctx, reload := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { n.keep(ctx, []string{"wiki.test"}); close(ended) }()
		time.Sleep(15 * time.Minute)
		synctest.Wait()
		const alarm = "there is no certificate for wiki.test: no such name"
		if got := n.raised(); !slices.Equal(got, []string{alarm}) {
			t.Errorf("alarms: %q", got)
		}
		if !strings.Contains(log.String(), alarm) || !strings.Contains(log.String(), "asked_again_in=2m0s") {
			t.Errorf("log: %s", &log)
		}
		a.Lock()
		asked := len(a.hosts)
		a.Unlock()
		if _, err := n.show(&tls.ClientHelloInfo{ServerName: "WIKI.test"}); err == nil || len(a.hosts) != asked {
			t.Errorf("a handshake had the authority asked: %v", err)
		}
		if _, err := n.show(&tls.ClientHelloInfo{ServerName: "wiki.test", SupportedProtos: []string{acme.ALPNProto}}); err == nil || len(a.hosts) != asked+1 {
			t.Errorf("the authority's own handshake did not come through: %v", err)
		}
		a.Lock()
		a.hosts, a.at = a.hosts[:asked], a.at[:asked]
		a.Unlock()
		reload()
		<-ended
		ended = make(chan struct{})
		go func() { n.keep(t.Context(), []string{"gate.test", "wiki.test"}); close(ended) }()
		time.Sleep(3 * time.Hour)
		synctest.Wait()
		a.Lock()
		delete(a.bad, "wiki.test")
		a.Unlock()
		<-ended
		if got := n.raised(); len(got) > 0 {
			t.Errorf("there is a certificate, and alarms: %q", got)
		}
		var minutes []int
		for i, host := range a.hosts {
			if host == "wiki.test" {
				minutes = append(minutes, int(a.at[i].Minutes()))
			}
		}
		if want := []int{0, 2, 6, 14, 30, 62, 122, 182, 242}; !slices.Equal(minutes, want) {
			t.Errorf("asked at minutes %v, want %v", minutes, want)
		}
		n.keep(t.Context(), []string{"gate.test"})
	})
}

// Whatever strangers say in a handshake, the authority is not asked again for what it
// refused, nor for a second certificate of a host that has one.
func TestStrangersDoNotHaveTheAuthorityAsked(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, n := newAsked(t, io.Discard)
		a.bad["wiki.test"] = errors.New("no such name")
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		go n.keep(ctx, []string{"gate.test", "wiki.test"})
		synctest.Wait()
		for _, hello := range []tls.ClientHelloInfo{
			{}, {ServerName: "else.test"}, {ServerName: "wiki.test"}, {ServerName: "WIKI.test"},
			{ServerName: "\uff57\uff49\uff4b\uff49.test"}, // as idna reads it, wiki.test
			{ServerName: "wiki.test", SupportedProtos: []string{acme.ALPNProto, "h2"}},
			{ServerName: "wiki.test", SupportedProtos: []string{"h2", acme.ALPNProto}},
		} {
			if _, err := n.show(&hello); err == nil || len(a.hosts) != 2 {
				t.Errorf("%q %q: the authority was asked for %q, %v", hello.ServerName, hello.SupportedProtos, a.hosts, err)
			}
		}
		if _, err := n.show(&tls.ClientHelloInfo{ServerName: "gate.test", CipherSuites: []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256}}); err != nil || a.rsa {
			t.Errorf("another kind of certificate was asked for: %v, %v", a.rsa, err)
		}
	})
}

func TestAHostThatIsGoneIsNoAlarm(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, n := newAsked(t, io.Discard)
		a.bad["old.test"] = errors.New("no such name")
		ctx, reload := context.WithCancel(t.Context())
		go n.keep(ctx, []string{"old.test"})
		synctest.Wait()
		reload()
		if len(n.raised()) != 1 {
			t.Error(n.raised())
		}
		n.keep(t.Context(), []string{"gate.test"})
		if len(n.raised()) != 0 {
			t.Error(n.raised())
		}
	})
}

// A slow authority holds neither a reload nor the end up.
func TestASlowAuthorityIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, n := newAsked(t, io.Discard)
		a.slow = make(chan struct{})
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { n.keep(ctx, []string{"gate.test"}); close(ended) }()
		synctest.Wait()
		stop()
		<-ended
		if len(n.raised()) != 0 {
			t.Error(n.raised())
		}
		close(a.slow)
	})
}

// oneAnswer is an authority that says one thing.
type oneAnswer struct {
	status int
	body   string
	err    error
}

func (a oneAnswer) RoundTrip(*http.Request) (*http.Response, error) {
	if a.err != nil {
		return nil, a.err
	}
	return &http.Response{StatusCode: a.status, Body: io.NopCloser(strings.NewReader(a.body))}, nil
}

func TestWhatAnAuthorityRefusesIsLoggedWithItsReason(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		oneAnswer
		want string
	}{
		{oneAnswer{err: errors.New("connection refused")}, "connection refused"},
		{oneAnswer{status: 429, body: `{"type":"urn:ietf:params:acme:error:rateLimited","detail":"too many"}`}, "429 urn:ietf:params:acme:error:rateLimited too many"},
		{oneAnswer{status: 400, body: `{"type":"urn:ietf:params:acme:error:badNonce"}`}, ""},
		{oneAnswer{status: 502, body: "<html>"}, "502"},
		{oneAnswer{status: 200, body: `{"status":"invalid","challenges":[{},{"error":{"type":"urn:ietf:params:acme:error:dns","detail":"NXDOMAIN"}}]}`}, "urn:ietf:params:acme:error:dns NXDOMAIN"},
		{oneAnswer{status: 200, body: `{"status":"invalid","error":{"type":"urn:ietf:params:acme:error:caa","detail":"CAA forbids"}}`}, "urn:ietf:params:acme:error:caa CAA forbids"},
		{oneAnswer{status: 200, body: `{"status":"pending","challenges":[{}]}`}, ""},
		{oneAnswer{status: 200, body: strings.Repeat("-----BEGIN CERTIFICATE-----", 4000)}, ""},
	} {
		var log bytes.Buffer
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://acme.test/order/1", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := refusals{c.oneAnswer, slog.New(slog.NewTextHandler(&log, nil))}.RoundTrip(r)
		if got := log.String(); (c.want == "") != (got == "") || !strings.Contains(got, c.want) {
			t.Errorf("%d %.80s: logged %q, want %q", c.status, c.body, got, c.want)
		}
		if err != nil {
			continue
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil || string(body) != c.body {
			t.Errorf("%d bytes of %d came through (%v)", len(body), len(c.body), err)
		}
		_ = resp.Body.Close()
	}
}
