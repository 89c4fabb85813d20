package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/gatehouse-sso/gatehouse/provisioning"
	"github.com/gatehouse-sso/gatehouse/provisioning/connector/connectortest"
	"github.com/gatehouse-sso/gatehouse/provisioning/task"
)

// fill makes users in the yard's store, with nothing running that could
// provision them.
func (y *yard) fill(n int) {
	y.t.Helper()
	cfg, mistakes := loadAll(y.file())
	if len(mistakes) > 0 {
		y.t.Fatal(mistakes)
	}
	p, err := openProcess(y.t.Context(), cfg, slog.New(slog.DiscardHandler), time.Now)
	if err != nil {
		y.t.Fatal(err)
	}
	defer p.store.Close()
	s, err := p.newSite(y.t.Context(), cfg, nil)
	if err != nil {
		y.t.Fatal(err)
	}
	p.site.Store(s)
	var wg sync.WaitGroup
	for worker := range 20 {
		wg.Go(func() {
			for i := worker; i < n; i += 20 {
				if _, _, err := s.directory.Create(y.t.Context(), provisioning.User{Store: "primary", UserName: fmt.Sprintf("p%05d", i), Active: true}, provisioning.Admin); err != nil {
					y.t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

// B03, R01, R29: the process dies at nine points while many accounts are made at
// three targets: before a creation, after it and before its answer, and after
// the answer and before it is noted, at each of them; and answers are lost
// besides. In the end there is one account each, made once.
func TestB03R01R29_KilledAtNinePointsWhileManyAreProvisioned(t *testing.T) {
	t.Parallel()
	people := 45
	if os.Getenv("GATEHOUSE_FAULTS") != "" {
		people = 2000
	}
	y := newYard(t, nil, nil)
	y.targets = append(y.targets, y.newTarget("library"))
	if err := y.write(func(c *yardConfig) { c.Mode, c.First, c.Targets = "async", "pass", y.targets }); err != nil {
		t.Fatal(err)
	}
	y.fill(people)
	const lost = 2 // answers, of each target for each of its points
	var points []string
	for _, when := range []string{": creation asked for", ": created, not answered", ": answered"} {
		for _, g := range y.targets {
			points = append(points, g.id+when)
			g.awkward.When(lost, func(r *http.Request) bool { return r.Method == http.MethodPost }, connectortest.DropReply())
		}
	}
	c := newChild(y)
	died := make(chan string)
	var mu sync.Mutex
	at, seen := 0, 0
	every := max(1, people/len(points)/2)
	y.event = func(what string) {
		mu.Lock()
		defer mu.Unlock()
		c.mu.Lock()
		ready := c.ready
		c.mu.Unlock()
		if !ready || at == len(points) || what != points[at] { // one that is dead can not be killed
			return
		}
		if seen++; seen < every {
			return
		}
		c.kill()
		at, seen = at+1, 0
		died <- what
	}
	if err := c.start(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	for range points {
		select {
		case <-died:
		case <-ctx.Done():
			t.Fatalf("it was not killed at %s", points[at])
		}
		if err := c.start(); err != nil {
			t.Fatal(err)
		}
	}
	for y.left(c) > 0 {
		select {
		case <-ctx.Done():
			t.Fatalf("%d are left", y.left(c))
		case <-time.After(200 * time.Millisecond):
		}
	}
	if code := c.terminate(); code != 0 {
		t.Errorf("it ends with %d: %s", code, c.log)
	}
	for _, g := range y.targets {
		held := g.holds(t)
		ours := map[string]bool{}
		for _, r := range held {
			ours[r.ExternalID()] = true
		}
		if made := g.created + 3*lost; len(held) != people || len(ours) != people || made != people {
			t.Errorf("%s holds %d accounts of %d users, made %d times, want %d", g.id, len(held), len(ours), made, people)
		}
	}
	cfg, _ := loadAll(y.file())
	p, err := openProcess(t.Context(), cfg, slog.New(slog.DiscardHandler), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	defer p.store.Close()
	if list, err := task.List(t.Context(), p.store, task.Task{}, 0); err != nil || len(list) > 0 {
		t.Errorf("left to do: %+v, %v", list, err)
	}
}
