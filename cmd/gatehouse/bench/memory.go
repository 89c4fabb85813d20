package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gatehouse-sso/gatehouse/gateway/session"
	"github.com/gatehouse-sso/gatehouse/provisioning"
	"github.com/gatehouse-sso/gatehouse/provisioning/store"
	"github.com/gatehouse-sso/gatehouse/provisioning/store/boltstore"
)

// measureMemory prints what many live sessions keep in the gateway's memory. They
// are written to the store before it starts, since so many sign-ins take half an
// hour; then each asks for pages of one service. The most that there was at any moment
// between is printed too.
func measureMemory(ctx context.Context, program, scratch string, sessions int) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	svc, err := start(ctx, others, self, "-role", "service")
	if err != nil {
		return err
	}
	defer svc.in.Close()
	dir, err := os.MkdirTemp(scratch, "gatehouse-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	front, admin, err := twoPorts()
	if err != nil {
		return err
	}
	_, port, _ := net.SplitHostPort(front)
	cookies, err := fillSessions(ctx, filepath.Join(dir, "gatehouse.db"), port, sessions)
	if err != nil {
		return err
	}
	g, err := startIn(ctx, dir, program, svc.line, "", front, admin, 1)
	if err != nil {
		return err
	}
	defer g.stop()
	fmt.Printf("memory, %d live sessions of as many people, MiB without files\n\n", sessions)
	fmt.Printf("%-52s %10s %10s\n", "", "then", "at most")
	ask := func() error { return g.each(ctx, cookies) }
	wait := func(d time.Duration) func() error {
		return func() error { time.Sleep(d); return nil }
	}
	for _, step := range []struct {
		name string
		do   func() error
	}{
		{"before anybody came", wait(time.Second)},
		{"each asked for one page", ask},
		{"each asked for another", ask},
		{"2m later, when last uses were written", wait(2 * time.Minute)},
		{"each asked once more", ask},
		{"10m later", wait(10 * time.Minute)},
	} {
		most := g.most(ctx)
		if err := step.do(); err != nil {
			return err
		}
		fmt.Printf("%-52s %10.0f %10.0f\n", step.name, g.anonymous(), most())
	}
	fmt.Println()
	return nil
}

// most looks at the gateway's memory ten times in a second, until it is asked for the
// most that it saw.
func (g *running) most(ctx context.Context) func() float64 {
	ctx, stop := context.WithCancel(ctx)
	seen := make(chan float64)
	go func() {
		most := g.anonymous()
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				most = max(most, g.anonymous())
			case <-ctx.Done():
				seen <- max(most, g.anonymous())
				return
			}
		}
	}()
	return func() float64 { stop(); return <-seen }
}

// anonymous is the gateway's memory that no file stands behind, in MiB.
func (g *running) anonymous() float64 {
	raw, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", g.cmd.Process.Pid))
	_, rest, _ := strings.Cut(string(raw), "RssAnon:")
	kib, _ := strconv.Atoi(strings.Fields(rest + " 0")[0])
	return float64(kib) / 1024
}

// each sends one request for each cookie.
func (g *running) each(ctx context.Context, cookies []string) error {
	tr := newTransport()
	defer tr.CloseIdleConnections()
	var next atomic.Int64
	var wg sync.WaitGroup
	errs := make([]error, connections)
	for c := range connections {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(cookies)) && errs[c] == nil; i = next.Add(1) - 1 {
				s := side{name: "gatehouse", address: g.address, host: g.appHost, header: http.Header{"Cookie": {cookies[i]}}, seen: fmt.Sprintf("u%d true", i)}
				errs[c] = s.one(ctx, tr, "/1k")
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// fillSessions makes people who are signed in at app.localhost, and returns the
// cookie of each.
func fillSessions(ctx context.Context, file, port string, n int) (cookies []string, err error) {
	if _, err := store.SecretFile(file + ".key"); err != nil {
		return nil, err
	}
	st, err := boltstore.Open(file, boltstore.Options{})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	if err := provisioning.Build(ctx, st, nil); err != nil {
		return nil, err
	}
	by := provisioning.SourceIDP("op")
	d, err := provisioning.New(provisioning.Config{Store: st, UserStores: []string{"primary", "partners"}, Precedence: []provisioning.Source{by}})
	if err != nil {
		return nil, err
	}
	ss := session.New(session.Config{Store: st, Cookie: session.Cookie{Insecure: true, Port: port}})
	cookies = make([]string, n)
	one := func(i int) error {
		u := provisioning.User{Store: "primary", UserName: fmt.Sprintf("u%d", i), Active: true}
		u.Say(by, "mail", fmt.Sprintf("u%d@bench.example", i))
		u.Say(by, "display_name", fmt.Sprintf("Person u%d", i))
		u.Say(by, "given_name", "Person")
		u.Say(by, "family_name", fmt.Sprintf("u%d", i))
		u.Say(by, "groups", "staff", "readers")
		u, _, err := d.Create(ctx, u, by)
		if err != nil {
			return err
		}
		r, w := httptest.NewRequestWithContext(ctx, http.MethodGet, "/", nil), httptest.NewRecorder()
		gs, err := ss.New(r, "app.localhost")
		if err != nil {
			return err
		}
		session.Sign(gs, session.Row{
			Session: session.Session{UserID: u.ID, Provider: "op", AuthTime: time.Now(), AMR: []string{"pwd"}},
			Issuer:  "http://127.0.0.1:1", Subject: fmt.Sprintf("subject-u%d", i), ProviderSession: fmt.Sprintf("session-of-u%d", i), Flow: "AAAA-BBBB",
		})
		if err := gs.Save(r, w); err != nil {
			return err
		}
		ck := w.Result().Cookies()[0]
		cookies[i] = ck.Name + "=" + ck.Value
		return nil
	}
	const hands = 512 // they share transactions
	errs := make([]error, hands)
	var wg sync.WaitGroup
	for h := range hands {
		wg.Go(func() {
			for i := h; i < n && errs[h] == nil; i += hands {
				errs[h] = one(i)
			}
		})
	}
	wg.Wait()
	return cookies, errors.Join(errs...)
}
