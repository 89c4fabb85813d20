package outbox_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gatehouse-sso/gatehouse/provisioning/connector"
	"github.com/gatehouse-sso/gatehouse/provisioning/connector/connectortest"
	"github.com/gatehouse-sso/gatehouse/provisioning/outbox"
	"github.com/gatehouse-sso/gatehouse/provisioning/scim"
	"github.com/gatehouse-sso/gatehouse/provisioning/store"
	"github.com/gatehouse-sso/gatehouse/provisioning/task"
)

func (w *world) settle(id string, within time.Duration) bool {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	done, err := w.box.Settle(ctx, id)
	if err != nil {
		w.t.Fatal(err)
	}
	return done
}

func TestASignInWaitsForTheTargetsItShould(t *testing.T) {
	bubble(t, func(t *testing.T) {
		crm, hr, log := newPlace(t, "crm"), newPlace(t, "hr"), newPlace(t, "log")
		waiting := func(p *place) outbox.Target { tg := p.target(); tg.Wait = true; return tg }
		log.awkward.Next(-1, connectortest.Hang()) // nobody waits for it
		w := newWorld(t, open(t), waiting(crm), waiting(hr), log.target())
		w.start()

		began := time.Now()
		ana := w.person("ana", "Dr", "")
		if !w.settle(ana.ID, time.Second) || time.Since(began) != 0 {
			t.Errorf("not settled after %v: %v", time.Since(began), w.states(ana.ID))
		}
		if d := cmp.Diff(map[string]string{"crm": outbox.Done, "hr": outbox.Done, "log": outbox.Pending}, w.states(ana.ID)); d != "" {
			t.Error(d)
		}
		want(t, "the target", crm.holds(t), []string{`ana active "Dr" ""`})
		if list, err := w.box.States(t.Context(), ana.ID); err != nil || len(list) != 3 || list[0].Title != "The crm" || list[0].RemoteID == "" || !list[1].Wait || list[2].Wait {
			t.Errorf("states: %+v, %v", list, err)
		}

		// One is slow: the deadline holds, the other is done, and it goes on behind.
		hr.awkward.Next(-1, connectortest.Hang())
		began = time.Now()
		ben := w.person("ben", "Dr", "")
		if w.settle(ben.ID, time.Second) || time.Since(began) != time.Second {
			t.Errorf("settled with a target that hangs, after %v", time.Since(began))
		}
		if s := w.states(ben.ID); s["crm"] != outbox.Done || s["hr"] == outbox.Done {
			t.Errorf("states %v", s)
		}
		hr.awkward.Behave()
		log.awkward.Behave()
		w.quiet()
		if !w.settle(ben.ID, time.Second) {
			t.Errorf("not settled when it is up again: %v", w.states(ben.ID))
		}
		want(t, "the slow one", hr.holds(t), []string{`ana active "Dr" ""`, `ben active "Dr" ""`})
	})
}

// A slowDisk takes a second for every commit; what is committed is seen then.
type slowDisk struct{ store.Store }

func (s slowDisk) Update(ctx context.Context, fn func(store.Tx) error) error {
	time.Sleep(time.Second)
	return s.Store.Update(ctx, fn)
}

// While the run is being noted, the target is searched already, and nobody waits
// until it is noted that the target agrees: with a disk and a target that take a
// second for everything, a creation is waited for for two.
func TestWhoWaitsDoesSoForTheDiskOrTheTargetNotForBoth(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := &fake{before: func(context.Context, connector.Account) error { time.Sleep(time.Second); return nil }}
		tg := f.target("crm", f)
		tg.Wait = true
		st := open(t)
		w := worldOver(t, st, slowDisk{st}, tg)
		ana := w.person("ana", "", "")
		began := time.Now()
		if !w.settle(ana.ID, time.Minute) || time.Since(began) != 2*time.Second {
			t.Errorf("it took %v: %v", time.Since(began), w.states(ana.ID))
		}
		time.Sleep(time.Minute)
		want(t, "what was asked of the target", f.calls(), []string{"sync ana"})
	})
}

// A target that heals lets the waiting in at their next look: that look does
// not wait for the task's own delay.
func TestALookAtAFailedTargetTriesIt(t *testing.T) {
	bubble(t, func(t *testing.T) {
		crm := newPlace(t, "crm")
		tg := crm.target()
		tg.Wait = true
		w := newWorld(t, open(t), tg)
		w.start()
		crm.awkward.Next(-1, connectortest.Fail(503, ""))
		ana := w.person("ana", "Dr", "")
		for range 8 {
			if w.settle(ana.ID, time.Second) {
				t.Fatal("settled with a target that is down")
			}
		}
		if s, _ := w.box.States(t.Context(), ana.ID); len(s) != 1 || s[0].Status != outbox.Failed || !strings.Contains(s[0].Error, "503") {
			t.Errorf("states %+v", s)
		}
		crm.awkward.Behave()
		time.Sleep(time.Second) // it is left alone, and who waits looks once a second
		if got, _ := w.task(ana.ID); !got.Due.After(time.Now()) {
			t.Fatalf("the task is due already, so this shows nothing: %+v", got)
		}
		began := time.Now()
		if !w.settle(ana.ID, time.Second) || time.Since(began) != 0 {
			t.Errorf("healed, and not settled: %v", w.states(ana.ID))
		}
	})
}

// A target that lets through one call a second, and a run that needs two: those
// who look once a second must not each time begin anew.
func TestWhoeverKeepsLookingDoesNotKeepARunFromItsEnd(t *testing.T) {
	bubble(t, func(t *testing.T) {
		crm := newPlace(t, "crm")
		tg := crm.target()
		tg.Wait, tg.Rate = true, 1
		w := newWorld(t, open(t), tg)
		crm.awkward.Next(2, connectortest.Fail(429, "2"))
		ana := w.person("ana", "Dr", "")
		for looks := 0; !w.settle(ana.ID, 900*time.Millisecond); looks++ {
			if looks == 100 {
				t.Fatalf("after %d looks: %v", looks, w.states(ana.ID))
			}
			time.Sleep(100 * time.Millisecond)
		}
		want(t, "the target", crm.holds(t), []string{`ana active "Dr" ""`})
	})
}

func TestWhatIsParkedIsNotTriedByASignIn(t *testing.T) {
	bubble(t, func(t *testing.T) {
		crm := newPlace(t, "crm")
		crm.plant(t, `{"userName":"ana"}`)
		tg := crm.target()
		tg.Wait = true
		w := newWorld(t, open(t), tg)
		ana := w.person("ana", "Dr", "")
		w.start()
		w.quiet()
		crm.awkward.Behave()
		began := time.Now()
		if w.settle(ana.ID, time.Minute) || time.Since(began) != 0 || len(crm.awkward.Seen()) != 0 {
			t.Errorf("after %v and %d requests: %v", time.Since(began), len(crm.awkward.Seen()), w.states(ana.ID))
		}
		if s := w.states(ana.ID); s["crm"] != outbox.Failed {
			t.Errorf("states %v", s)
		}
		// An operator who has looked may have it tried again.
		crm.edit(t, crm.resources(t)[0].ID(), func(r *scim.Resource) { r.Set("externalId", ana.ID) })
		if err := task.Requeue(t.Context(), w.st, outbox.Kind, outbox.Key("crm", ana.ID)); err != nil {
			t.Fatal(err)
		}
		if !w.settle(ana.ID, time.Second) {
			t.Errorf("states %v", w.states(ana.ID))
		}
	})
}

func TestWhoHasNoAccountsHasNothingToWaitFor(t *testing.T) {
	bubble(t, func(t *testing.T) {
		crm := newPlace(t, "crm")
		tg := crm.target()
		tg.Wait = true
		w := newWorld(t, open(t), tg)
		ana := w.person("ana", "", "")
		w.set(ana.ID, "department", "")
		for _, id := range []string{"nobody", ana.ID} {
			if id == ana.ID {
				w.settle(id, time.Second) // the task that her creation made
			}
			if !w.settle(id, time.Second) || len(w.states(id)) != 0 {
				t.Errorf("%s waits for %v", id, w.states(id))
			}
		}
		if n := len(crm.awkward.Changes()); n != 0 {
			t.Errorf("%d writes", n)
		}
	})
}

// B06: a target that never answers keeps nobody else's accounts waiting.
func TestB06_AStuckTargetKeepsNoOtherWaiting(t *testing.T) {
	bubble(t, func(t *testing.T) {
		stuck, well := newPlace(t, "crm"), newPlace(t, "hr")
		stuck.awkward.Next(-1, connectortest.Hang())
		w := newWorld(t, open(t), stuck.target(), well.target())
		w.start()
		const people = 30
		for i := range people {
			w.person(fmt.Sprintf("p%02d", i), "", "")
		}
		time.Sleep(time.Second) // less than a request may take
		if n := len(well.holds(t)); n != people {
			t.Errorf("the other target has %d of %d", n, people)
		}
		if n := len(stuck.awkward.Seen()); n != 4 {
			t.Errorf("%d requests hang, want as many as the lane is wide", n)
		}
		stuck.awkward.Behave()
		w.quiet()
		if n := len(stuck.holds(t)); n != people {
			t.Errorf("in the end it has %d of %d", n, people)
		}
	})
}

// B10: with thousands of creations queued, what takes access away is next, also
// when its first try fails.
func TestB10_RemovalsOvertakeCreations(t *testing.T) {
	queued := 2000
	if big {
		queued = 10_000
	}
	bubble(t, func(t *testing.T) {
		f := &fake{}
		failed := false
		f.before = func(_ context.Context, want connector.Account) error {
			time.Sleep(100 * time.Millisecond)
			if want.UserName == "gone" && !want.Active && !failed {
				failed = true
				return &connector.Error{Text: "try again"}
			}
			return nil
		}
		st := open(t)
		w := newWorld(t, st, f.target("crm", f))
		stop := w.start()
		gone, off, out := w.person("gone", "", ""), w.person("off", "", ""), w.person("out", "", "")
		w.quiet()
		stop()
		w = newWorld(t, st, f.target("crm", f))
		w.fill(queued)
		w.start()
		time.Sleep(time.Second)
		began, before := time.Now(), len(f.calls())
		w.remove(gone.ID)
		w.active(off.ID, false)
		w.set(out.ID, "department", "")
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if time.Since(began) != 5*time.Second {
			t.Errorf("it took %v", time.Since(began))
		}
		log := f.calls()
		for _, name := range []string{"gone", "off", "out"} {
			if !slices.Contains(log, "disable "+name) {
				t.Errorf("%s is not disabled 5 seconds later; done are %d of %d creations", name, len(log), queued)
			}
		}
		if n := len(log) - before; n < 20 || len(log) >= queued {
			t.Errorf("%d calls in those 5 seconds, %d in all: this shows nothing", n, len(log))
		}
	})
}

// fill makes people, and so tasks, many in one commit.
func (w *world) fill(n int) {
	w.t.Helper()
	var wg sync.WaitGroup
	for g := range 50 {
		wg.Go(func() {
			for i := g; i < n; i += 50 {
				w.person(fmt.Sprintf("p%05d", i), "", "")
			}
		})
	}
	wg.Wait()
	if got := len(w.tasks()); got != n {
		w.t.Fatalf("%d tasks for %d people", got, n)
	}
}
