package task

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gatehouse-sso/gatehouse/provisioning/store"
	"github.com/gatehouse-sso/gatehouse/provisioning/store/storetest"
)

// marks are what Prepare and Conclude write beside the row of the task.
var marks = store.Table[string]{Name: "mark", Key: func(s string) string { return s }}

func marked(t *testing.T, s store.Store, key string) (ok bool) {
	t.Helper()
	must(t, s.View(t.Context(), func(tx store.Tx) (err error) {
		_, ok, err = marks.Get(tx, key)
		return err
	}))
	return ok
}

// What Prepare writes is there before the handler begins, in the commit that
// begins the run, and what it returns is the handler's; what the handler
// concludes with is in the commit that ends it. So a run is two commits, also if
// every answer to a commit is lost.
func TestARunIsTwoCommits(t *testing.T) {
	for name, said := range map[string]error{"true": nil, "again": &Retry{After: time.Hour, Reason: "later"}, "parked": &Park{Reason: "look"}, "failed": errors.New("down")} {
		for _, awkward := range []bool{false, true} {
			t.Run(fmt.Sprint(name, " awkward ", awkward), func(t *testing.T) {
				bubble(t, func(t *testing.T, real store.Store) {
					var commits atomic.Int32
					var s store.Store = &noting{Store: real, updates: &commits}
					if awkward {
						var flips atomic.Int32
						s = storetest.Flaky(storetest.Twice(real), func() bool { return flips.Add(1)%2 == 1 })
					}
					runs := 0
					r := NewRunner(Config{
						Store: s,
						Prepare: map[string]func(store.Tx, string) any{"sync": func(tx store.Tx, key string) any {
							return marks.Put(tx, "begun "+key) == nil
						}},
						Handlers: handlers(func(ctx context.Context, key string) error {
							runs++
							if Prepared(ctx) != true || !marked(t, real, "begun k") {
								t.Errorf("prepared: %v", Prepared(ctx))
							}
							err := Conclude(context.WithoutCancel(ctx), s, said, func(tx store.Tx) error { return marks.Put(tx, "ended "+key) })
							if err != nil {
								return fmt.Errorf("note: %w", err)
							}
							return said
						}),
					})
					add(t, real, "sync", "k", time.Now())
					err := r.Now(t.Context(), "sync", "k")
					if !errors.Is(err, said) && !awkward || runs != 1 || !marked(t, real, "ended k") {
						t.Fatalf("%d runs, said %v", runs, err)
					}
					if n := commits.Load(); !awkward && n != 2 {
						t.Errorf("%d commits", n)
					}
					got, there := get(t, real, "sync", "k")
					var retry *Retry
					var park *Park
					switch {
					case said == nil:
						if there {
							t.Errorf("it is true, and there is %+v", got)
						}
					case errors.As(said, &retry):
						if got.State != Waiting || time.Until(got.Due) != time.Hour || got.Attempts != 0 || got.Error != "later" {
							t.Errorf("to be run again: %+v", got)
						}
					case errors.As(said, &park):
						if got.State != Parked || got.Error != "look" {
							t.Errorf("parked: %+v", got)
						}
					default:
						if got.State != Waiting || got.Attempts != 1 || got.Error != "down" {
							t.Errorf("failed: %+v", got)
						}
					}
				})
			})
		}
	}
}

// A run that lost its lease concludes its own work and leaves the row to who has
// it; and one that was added to while it ran is run once more.
func TestWhatARunConcludesIsOnlyItsOwn(t *testing.T) {
	bubble(t, func(t *testing.T, s store.Store) {
		add(t, s, "sync", "k", time.Now())
		var meanwhile func()
		r := NewRunner(Config{Store: s, Handlers: handlers(func(ctx context.Context, _ string) error {
			meanwhile()
			return Conclude(ctx, s, nil, func(tx store.Tx) error { return marks.Put(tx, "ended") })
		})})
		other := NewRunner(Config{Store: s, Handlers: handlers(nil)})
		meanwhile = func() {
			must(t, other.takeOrphans(t.Context()))
			if got, _, err := other.newRun(entry{id: id("sync", "k"), kind: "sync", key: "k"}).begin(t.Context(), true); !got || err != nil {
				t.Error(got, err)
			}
		}
		must(t, r.Now(t.Context(), "sync", "k"))
		if got, ok := get(t, s, "sync", "k"); !ok || got.State != Running || !marked(t, s, "ended") {
			t.Errorf("the other's run: %v %+v", ok, got)
		}

		add(t, s, "sync", "two", time.Now())
		meanwhile = func() { add(t, s, "sync", "two", time.Now()) }
		must(t, r.Now(t.Context(), "sync", "two"))
		if got, ok := get(t, s, "sync", "two"); !ok || got.State != Waiting {
			t.Errorf("added while it ran: %v %+v", ok, got)
		}
	})
}

// Where the transaction of Conclude fails, nothing of it is there, and the
// runner stores what the handler says instead.
func TestAConclusionThatFailsIsNone(t *testing.T) {
	bubble(t, func(t *testing.T, s store.Store) {
		add(t, s, "sync", "k", time.Now())
		full := errors.New("it can not be written")
		r := NewRunner(Config{Store: s, Handlers: handlers(func(ctx context.Context, _ string) error {
			return Conclude(ctx, s, nil, func(tx store.Tx) error {
				return errors.Join(marks.Put(tx, "ended"), full)
			})
		})})
		if err := r.Now(t.Context(), "sync", "k"); !errors.Is(err, full) {
			t.Errorf("it says %v", err)
		}
		if got, ok := get(t, s, "sync", "k"); !ok || got.Attempts != 1 || marked(t, s, "ended") {
			t.Errorf("%v %+v", ok, got)
		}
		must(t, Conclude(t.Context(), s, nil, func(tx store.Tx) error { return marks.Put(tx, "nobody's run") }))
		if !marked(t, s, "nobody's run") || Prepared(t.Context()) != nil {
			t.Error("a handler that no runner called")
		}
	})
}

// R08: an entry that says a task is due where none is, or none that is due, is
// taken away and told of, once; what is due behind it is done.
func TestR08_AnEntryWithoutATaskIsSetAside(t *testing.T) {
	bubble(t, func(t *testing.T, s store.Store) {
		began := time.Now()
		add(t, s, "sync", "crm/late", began.Add(time.Hour))
		must(t, s.Update(t.Context(), func(tx store.Tx) error {
			for _, key := range []string{"crm/none", "crm/late"} { // entries that no Put would make
				at := string(store.Key("sync", "crm", rankFirst, moment(began.Add(-time.Hour))))
				if err := tx.Put(store.Key(tasks.Name, "i", "due", at, id("sync", key)), nil); err != nil {
					return err
				}
			}
			return nil
		}))
		add(t, s, "sync", "crm/due", began)
		var views, told atomic.Int32
		var ran record[string]
		start(t, Config{
			Store: &counting{Store: s, views: &views}, Workers: 2, PerLane: 1,
			Handlers: handlers(func(_ context.Context, key string) error { ran.add(key); return nil }),
			Damaged: func(tx store.Tx, kind, key string) error {
				told.Add(1)
				return marks.Put(tx, kind+" "+key)
			},
		})
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := ran.all(); len(got) != 1 || got[0] != "crm/due" {
			t.Errorf("done: %q", got)
		}
		if !marked(t, s, "sync crm/none") || !marked(t, s, "sync crm/late") || told.Load() != 2 {
			t.Errorf("told of %d", told.Load())
		}
		if n := views.Load(); n > 20 {
			t.Errorf("%d looks in a minute", n)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if got := ran.all(); len(got) != 2 || got[1] != "crm/late" {
			t.Errorf("in its time: %q", got)
		}
	})
}

// A worker that is done goes on in its lane with the commit that ended what it had:
// so many runs are one commit each. Where both are too much for one transaction,
// that is refused, and they are two.
func TestAWorkerGoesOnInTheCommitThatEndsARun(t *testing.T) {
	for name, c := range map[string]struct{ rows, commits int }{"small": {1, 11}, "as large as may be": {store.MaxKeys - 4, 29}} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, real store.Store) {
				var commits atomic.Int32
				s := &noting{Store: real, updates: &commits}
				var order []string
				r := NewRunner(Config{Store: s, Workers: 1, Alone: true, Handlers: handlers(func(ctx context.Context, key string) error {
					order = append(order, key)
					return Conclude(ctx, s, nil, func(tx store.Tx) error {
						for i := range c.rows {
							if err := tx.Put(store.Key("x", key, fmt.Sprint(i)), nil); err != nil {
								return err
							}
						}
						return nil
					})
				})})
				for i := range 10 {
					add(t, real, "sync", fmt.Sprint("lane/", i), time.Now().Add(time.Duration(i-10)*time.Second))
				}
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan error)
				go func() { done <- r.Run(ctx) }()
				time.Sleep(time.Second)
				synctest.Wait()
				if n := commits.Load(); int(n) != c.commits {
					t.Errorf("%d commits for 10 runs, want %d", n, c.commits)
				}
				if fmt.Sprint(order) != "[lane/0 lane/1 lane/2 lane/3 lane/4 lane/5 lane/6 lane/7 lane/8 lane/9]" {
					t.Errorf("in the order %v", order)
				}
				cancel()
				must(t, <-done)
			})
		})
	}
}
