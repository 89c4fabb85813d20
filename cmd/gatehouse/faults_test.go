package main

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/gatehouse-sso/gatehouse/gateway/session"
	"github.com/gatehouse-sso/gatehouse/provisioning/audit"
	"github.com/gatehouse-sso/gatehouse/provisioning/store/boltstore"
)

// started is the program over a yard, and somebody who is signed in.
func (y *yard) started(t *testing.T) (*child, *guest) {
	t.Helper()
	c := newChild(y)
	if err := c.start(); err != nil {
		t.Fatalf("%v\n%s", err, c.log)
	}
	g := newGuest(y, c, y.people[0].User)
	if err := g.reach(); err != nil {
		t.Fatal(err)
	}
	return c, g
}

// R10: SIGTERM while requests are under way. Each of them is answered whole, a
// stream is ended, none is begun, and the program ends with 0 within its drain time.
func TestR10_WhatIsUnderWayAtSIGTERMIsAnswered(t *testing.T) {
	t.Parallel()
	n := 20
	if os.Getenv("GATEHOUSE_FAULTS") != "" {
		n = 200
	}
	y := newYard(t, crowd(1), nil)
	arrived, release := make(chan struct{}, n), make(chan struct{})
	answer := sync.OnceFunc(func() { close(release) })
	defer answer()
	service := y.serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/events" {
			y.upstream.ServeHTTP(w, r)
			return
		}
		body, _ := io.ReadAll(r.Body)
		if r.URL.Path == "/slow" {
			arrived <- struct{}{}
			<-release
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"X-Forwarded-User":["%s"],"got":%d}`, r.Header.Get("X-Forwarded-User"), len(body))
	}))
	if err := y.write(func(c *yardConfig) { c.Upstream = service }); err != nil {
		t.Fatal(err)
	}
	c, g := y.started(t)
	stream := g.stream(t)
	body := bytes.Repeat([]byte("upload "), 10_000)
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			r, _ := http.NewRequest(http.MethodPost, fmt.Sprintf("http://wiki.localhost:%d/slow", y.port), bytes.NewReader(body))
			r.Header.Set("Origin", "http://"+r.URL.Host)
			resp, err := g.client.Do(r)
			if err != nil {
				t.Error(err)
				return
			}
			defer resp.Body.Close()
			said, err := io.ReadAll(resp.Body)
			if want := fmt.Sprintf(`"got":%d}`, len(body)); err != nil || resp.StatusCode != http.StatusOK || !bytes.HasSuffix(said, []byte(want)) {
				t.Errorf("%d %.100s, %v", resp.StatusCode, said, err)
			}
		})
	}
	for range n {
		<-arrived
	}
	code := make(chan int, 1)
	go func() { code <- c.terminate() }()
	eventually(t, "it drains", func() bool { return bytes.Contains([]byte(c.log.String()), []byte("draining")) })
	eventually(t, "no connection is taken any more", func() bool {
		conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", y.port))
		if err == nil {
			_ = conn.Close()
		}
		return err != nil
	})
	answer()
	wg.Wait()
	if _, err := io.Copy(io.Discard, stream); err == nil {
		t.Error("the stream ends as if it were whole")
	}
	if got := <-code; got != 0 {
		t.Errorf("it ends with %d: %s", got, c.log)
	}
	y.check(t)
}

// R40: signals as they come, many of them. It serves on the whole time, and ends once.
func TestR40_ManySignalsHaveOneOutcome(t *testing.T) {
	t.Parallel()
	y := newYard(t, crowd(1), nil)
	c, g := y.started(t)
	for range 100 {
		if err := c.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
	}
	if page, err := g.get(y.wiki()); err != nil || page.StatusCode != http.StatusOK {
		t.Errorf("after many SIGHUP: %d, %v", page.StatusCode, err)
	}
	for range 20 {
		_ = c.cmd.Process.Signal(syscall.SIGHUP)
		_ = c.cmd.Process.Signal(syscall.SIGTERM)
	}
	<-c.ended
	if got := c.cmd.ProcessState.ExitCode(); got != 0 {
		t.Errorf("it ends with %d: %s", got, c.log)
	}
	y.check(t)
}

// R35: backups while people sign in and work. Each is read whole, and has everything
// that was acknowledged before it began.
func TestR35_ABackupUnderLoadIsWhole(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	var stop atomic.Bool
	var wg sync.WaitGroup
	p := l.in("campus", "alice")
	for range 3 {
		q := p.copied(l, "wiki", "wiki")
		wg.Go(func() {
			for !stop.Load() {
				r, _ := http.NewRequest(http.MethodGet, l.at("payroll", "/"), nil) // refused, and so recorded
				if resp, err := q.client.Transport.RoundTrip(r); err == nil {
					_ = resp.Body.Close()
				}
			}
		})
	}
	for i, user := range []string{"bob", "carol"} {
		l.in("college", user) // acknowledged before
		to := filepath.Join(t.TempDir(), "backup.db")
		f, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		if err := l.p.bolt.Load().Backup(t.Context(), f); err != nil {
			t.Fatal(err)
		}
		_ = f.Close()
		if err := boltstore.InspectFile(to); err != nil {
			t.Errorf("backup %d: %v", i, err)
		}
		st, err := boltstore.Open(to, boltstore.Options{Check: true})
		if err != nil {
			t.Fatal(err)
		}
		if n, err := session.New(session.Config{Store: st, Now: l.clock.now}).Count(t.Context()); err != nil || n < i+2 {
			t.Errorf("backup %d has %d sessions, %v", i, n, err)
		}
		if err := audit.Verify(t.Context(), st); err != nil {
			t.Errorf("the record of backup %d: %v", i, err)
		}
		_ = st.Close()
	}
	stop.Store(true)
	wg.Wait()
}

// R38: a certificate that is replaced is used within seconds; one whose key is of
// another, or that is half written, leaves the good one in use.
func TestR38_ACertificateIsReplacedWhileItIsUsed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	writePair(t, dir)
	pair := &keyPair{cert: filepath.Join(dir, "tls.crt"), key: filepath.Join(dir, "tls.key"), log: slog.New(slog.DiscardHandler)}
	first, err := pair.get(nil)
	if err != nil {
		t.Fatal(err)
	}
	looks := 0
	again := func() *tls.Certificate {
		t.Helper()
		looks++
		pair.checked = time.Time{} // as after some seconds
		stamp := time.Now().Add(time.Duration(looks) * time.Minute)
		_ = os.Chtimes(pair.cert, stamp, stamp)
		got, err := pair.get(nil)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	other := t.TempDir()
	writePair(t, other)
	move := func(name string) {
		t.Helper()
		raw, err := os.ReadFile(filepath.Join(other, name))
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), raw, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	move("tls.crt") // and not yet the key
	if again() != first {
		t.Error("a certificate without its key is used")
	}
	move("tls.key")
	second := again()
	if bytes.Equal(second.Certificate[0], first.Certificate[0]) {
		t.Error("the other certificate is not used")
	}
	if err := os.WriteFile(pair.cert, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if again() != second {
		t.Error("half a certificate is used")
	}
}
