package main

import (
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// Z06: a reload under load. Each answer is that of one whole configuration, a
// request that begins after it was taken has the answer of the new one, and no
// request fails for it.
func TestZ06_AReloadUnderLoadIsOneConfigurationOrTheOther(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	p := l.in("campus", "alice")
	const open, shut = "allow: { signed_in: true }", "allow: { groups: [nobody-is-here] }"
	rounds := 6
	if os.Getenv("GATEHOUSE_FAULTS") != "" {
		rounds = 100
	}
	// inForce counts the configurations taken; it is odd while one is on its way.
	var inForce, asked, broken, wrong atomic.Int64
	var stop atomic.Bool
	var wg sync.WaitGroup
	for range 8 {
		q := p.copied(l, "wiki", "wiki")
		wg.Go(func() {
			for !stop.Load() {
				before := inForce.Load()
				r, _ := http.NewRequest(http.MethodGet, l.at("wiki", "/"), nil)
				resp, err := q.client.Transport.RoundTrip(withCookies(r, q))
				if err != nil {
					broken.Add(1)
					continue
				}
				resp.Body.Close()
				asked.Add(1)
				switch {
				case resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusForbidden:
					broken.Add(1)
				case before%2 == 0 && inForce.Load() == before && (resp.StatusCode == http.StatusOK) != (before%4 == 0):
					wrong.Add(1)
				}
			}
		})
	}
	for round := range rounds {
		seen := asked.Load()
		eventually(t, "requests come through", func() bool { return asked.Load() > seen+50 })
		from, to := open, shut
		if round%2 == 1 {
			from, to = shut, open
		}
		inForce.Add(1)
		l.reload(func(yaml string) string { return strings.ReplaceAll(yaml, from, to) })
		inForce.Add(1)
	}
	stop.Store(true)
	wg.Wait()
	// What is under way when its right ends is cut, so a few may break off when
	// the doors shut; none when they open, and none is answered by half.
	if n := broken.Load(); n > int64(rounds*8) {
		t.Errorf("%d of %d requests failed", n, asked.Load())
	}
	if n := wrong.Load(); n > 0 {
		t.Errorf("%d of %d requests had the answer of another configuration", n, asked.Load())
	}
}
