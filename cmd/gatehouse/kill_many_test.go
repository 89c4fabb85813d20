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

// B03, R01, R29, R30: the process dies at nine points while many accounts are made at
// three targets: before a creation, after it and before its answer, and after
// the answer and before it is noted, at each of them; and answers are lost
// besides. In the end there is one account each, made once.
func TestB03R01R29R30_KilledAtNinePointsWhileManyAreProvisioned(t *testing.T) {
	t.Parallel()
	people, patience := 45, 10*time.Minute
	if os.Getenv("GATEHOUSE_FAULTS") != "" {
		people, patience = 2000, time.Hour
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
	// Each point is met at so many creations of its own, in whatever order the
	// targets get on.
	left, every := map[string]int{}, max(1, people/len(points)/2)
	for i, p := range points {
		left[p] = every * (i + 1)
	}
	y.event = func(what string) {
		mu.Lock()
		defer mu.Unlock()
		c.mu.Lock()
		ready := c.ready
		c.mu.Unlock()
		if !ready || left[what] == 0 { // one that is dead can not be killed
			return
		}
		if left[what]--; left[what] > 0 {
			return
		}
		c.kill()
		died <- what
	}
	if err := c.start(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for range points {
		select {
		case <-died:
		case <-ctx.Done():
			mu.Lock()
			defer mu.Unlock()
			t.Fatalf("it was not killed everywhere: %v", left)
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
