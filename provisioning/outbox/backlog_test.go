package outbox_test

import (
	"context"
	"runtime"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gatehouse-sso/gatehouse/provisioning/connector"
)

// R30: a long backlog outlives twenty deaths of the process: each account is made
// once and none is forgotten, what takes access away is still next, and what
// waits is not held in memory. Long: 100,000 users.
//
// It is not parallel, so that the memory is its own.
func TestR30_ALongBacklogOutlivesTwentyDeaths(t *testing.T) {
	const deaths, mostMemory = 20, 16 << 20
	people := 500
	if big {
		people = 100_000
	}
	synctest.Test(t, func(t *testing.T) {
		f := &fake{before: func(context.Context, connector.Account) error {
			time.Sleep(100 * time.Millisecond)
			return nil
		}}
		st := open(t)
		w := newWorld(t, st, f.target("crm", f))
		off := w.person("off", "", "")
		stop := w.start()
		w.quiet()
		stop()
		w.fill(people)
		for death := range deaths {
			before := heap()
			// An account is more than five steps, and many are left in the end.
			l := newLife(people * 4 / deaths)
			w = worldOver(t, st, mortalStore{st, l}, f.target("crm", mortalConnector{f, l}))
			stop := w.start()
			if death == deaths/2 {
				w.active(off.ID, false)
				time.Sleep(5 * time.Second)
				if log, left := f.calls(), len(w.tasks()); !slices.Contains(log, "disable off") || left < people/4 {
					t.Errorf("5 seconds after somebody was disabled, with %d creations left, the target heard of it: %v", left, slices.Contains(log, "disable off"))
				}
			} else {
				time.Sleep(time.Second)
			}
			if more := int64(heap()) - int64(before); more > mostMemory {
				t.Errorf("start %d takes %d MiB", death, more>>20)
			}
			select {
			case <-l.end:
			case <-time.After(24 * time.Hour):
				t.Fatalf("it did not die %d times: an account is fewer steps than this test takes it for", death+1)
			}
			stop()
		}
		if left := len(w.tasks()); left == 0 {
			t.Error("nothing was left at the last death: this shows nothing")
		}
		w = newWorld(t, st, f.target("crm", f))
		w.start()
		w.quiet()
		if left := w.tasks(); len(left) > 0 {
			t.Errorf("%d tasks are left, %+v", len(left), left[0])
		}
		names := map[string]bool{}
		for _, a := range f.held {
			names[a.UserName] = true
		}
		if len(f.held) != people+1 || len(names) != people+1 || f.n != people+1 {
			t.Errorf("%d accounts of %d users, made %d times, want %d", len(f.held), len(names), f.n, people+1)
		}
	})
}

// heap is how much memory is in use.
func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
