package reconcile_test

import (
	"context"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gatehouse-sso/gatehouse/provisioning/connector"
	"github.com/gatehouse-sso/gatehouse/provisioning/reconcile"
)

// A diary is a target without accounts that notes when it was read, and how.
type diary struct {
	connector.Connector
	mu          sync.Mutex
	full, since []time.Time // when all, and when what was changed lately
}

func (d *diary) List(_ context.Context, q connector.Listing) (connector.Page, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if q.Since.IsZero() {
		d.full = append(d.full, time.Now())
	} else {
		d.since = append(d.since, time.Now())
	}
	return connector.Page{}, nil
}

// Reconciliations begin when the plan says, also after a restart and when the
// clock of the last one is long past; each at most a tenth of its interval late.
func TestReconciliationsBeginOnTime(t *testing.T) {
	t.Parallel()
	day := 24 * time.Hour
	for name, c := range map[string]struct {
		plan  reconcile.Plan
		full  []time.Duration // since the test began, at midnight, without what is added to spread them
		since int             // incremental ones in two days and a half
	}{
		"never":                 {},
		"every night at two":    {plan: reconcile.Plan{Every: day, At: 2 * time.Hour}, full: []time.Duration{2 * time.Hour, 26 * time.Hour, 50 * time.Hour}},
		"every other night":     {plan: reconcile.Plan{Every: 2 * day, At: 2 * time.Hour}, full: []time.Duration{2 * time.Hour, 50 * time.Hour}},
		"every twenty hours":    {plan: reconcile.Plan{Every: 20 * time.Hour}, full: []time.Duration{0, 20 * time.Hour, 40 * time.Hour, 60 * time.Hour}},
		"a look every 25 hours": {plan: reconcile.Plan{Incremental: 25 * time.Hour}, full: []time.Duration{0}, since: 2},
		"a report every night":  {plan: reconcile.Plan{Every: day, At: 23 * time.Hour, Mode: reconcile.Preview}, full: []time.Duration{23 * time.Hour, 47 * time.Hour}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				began := time.Now() // midnight, in a bubble
				d := &diary{}
				path := filepath.Join(t.TempDir(), "db")
				for _, life := range []time.Duration{30 * time.Hour, 30*time.Hour + 59*time.Minute} { // a process, and the one after it
					w := openWorld(t, path, d, reconcile.Target{Plan: c.plan})
					if err := w.rec.Begin(t.Context()); err != nil {
						t.Fatal(err)
					}
					ctx, cancel := context.WithCancel(t.Context())
					ended := make(chan error)
					go func() { ended <- w.runner.Run(ctx) }()
					time.Sleep(life)
					cancel()
					if err := <-ended; err != nil {
						t.Error(err)
					}
					w.box.Close()
					if err := w.store.Close(); err != nil {
						t.Fatal(err)
					}
				}
				got := d.full
				if c.since > 0 && len(got) > 0 && len(d.since) != c.since {
					t.Errorf("it was looked at %v, after %v", d.since, got)
				}
				late := min(c.plan.Every/10, time.Hour) + 2*time.Minute
				if !slices.EqualFunc(got, c.full, func(at time.Time, want time.Duration) bool {
					behind := at.Sub(began) - want
					return behind >= 0 && behind <= late
				}) {
					t.Errorf("it was read at %v; want %v, each at most %v later", got, c.full, late)
				}
			})
		})
	}
}
