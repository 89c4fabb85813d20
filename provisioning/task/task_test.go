package task

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/gatehouse-sso/gatehouse/provisioning/store"
	"github.com/gatehouse-sso/gatehouse/provisioning/store/boltstore"
	"github.com/gatehouse-sso/gatehouse/provisioning/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T) store.Store {
	t.Helper()
	s, err := boltstore.Open(filepath.Join(t.TempDir(), "db"), boltstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// add adds a task and repeats it while the store is not sure.
func add(t testing.TB, s store.Store, kind, key string, due time.Time) {
	t.Helper()
	for {
		err := s.Update(context.Background(), func(tx store.Tx) error { return Add(tx, kind, key, due) })
		if err == nil {
			return
		}
		if !errors.Is(err, storetest.ErrUncertain) {
			t.Fatal(err)
		}
	}
}

func get(t testing.TB, s store.Store, kind, key string) (got Task, ok bool) {
	t.Helper()
	err := s.View(context.Background(), func(tx store.Tx) (err error) {
		got, ok, err = Get(tx, kind, key)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return got, ok
}

// start runs a Runner until the test, or what it returns, ends it.
func start(t *testing.T, c Config) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- NewRunner(c).Run(ctx) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				t.Errorf("Run: %v", err)
			}
		})
	}
	t.Cleanup(stop)
	return stop
}

func handlers(h Handler) map[string]Handler { return map[string]Handler{"sync": h} }

// A record is what handlers left, for the test to look at while they go on.
type record[T any] struct {
	mu   sync.Mutex
	list []T
}

// add returns how many there are.
func (r *record[T]) add(v T) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.list = append(r.list, v)
	return len(r.list)
}

func (r *record[T]) all() []T {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.list)
}

// bubble runs f in a synctest bubble, where time passes when everybody waits.
func bubble(t *testing.T, f func(t *testing.T, s store.Store)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) { f(t, open(t)) })
}

func TestATaskRunsAtOnceAndIsGone(t *testing.T) {
	bubble(t, func(t *testing.T, s store.Store) {
		ran := make(chan string, 9)
		start(t, Config{Store: s, Handlers: handlers(func(_ context.Context, key string) error { ran <- key; return nil })})
		synctest.Wait()
		began := time.Now()
		add(t, s, "sync", "crm/kim", began)
		if key := <-ran; key != "crm/kim" || time.Since(began) != 0 {
			t.Errorf("ran %q after %v, want at once", key, time.Since(began))
		}
		synctest.Wait()
		if got, ok := get(t, s, "sync", "crm/kim"); ok {
			t.Errorf("a task that is true is still there: %+v", got)
		}
	})
}

func TestATaskRunsWhenItIsDue(t *testing.T) {
	bubble(t, func(t *testing.T, s store.Store) {
		began := time.Now()
		ran := make(chan time.Duration, 9)
		start(t, Config{Store: s, Handlers: handlers(func(context.Context, string) error { ran <- time.Since(began); return nil })})
		add(t, s, "sync", "later", began.Add(10*time.Hour))
		add(t, s, "sync", "soon", began.Add(90*time.Second))
		for _, want := range []time.Duration{90 * time.Second, 10 * time.Hour} {
			if got := <-ran; got != want {
				t.Errorf("ran after %v, want %v", got, want)
			}
		}
	})
}

func TestAddsMerge(t *testing.T) {
	bubble(t, func(t *testing.T, s store.Store) {
		now := time.Now()
		add(t, s, "sync", "k", now.Add(time.Hour))
		add(t, s, "sync", "k", now.Add(time.Minute))
		add(t, s, "sync", "k", now.Add(2*time.Hour))
		want := Task{Kind: "sync", Key: "k", State: Waiting, Due: now.Add(time.Minute), Added: now, Version: 3}
		if got, ok := get(t, s, "sync", "k"); !ok || cmp.Diff(want, got) != "" {
			t.Errorf("%v, %s", ok, cmp.Diff(want, got))
		}
		var runs atomic.Int32
		start(t, Config{Store: s, Handlers: handlers(func(context.Context, string) error { runs.Add(1); return nil })})
		time.Sleep(3 * time.Hour)
		synctest.Wait()
		if n := runs.Load(); n != 1 {
			t.Errorf("three Adds made %d runs, want 1", n)
		}
	})
}

func TestAnAddDuringARunMakesItRunOnceMore(t *testing.T) {
	for name, first := range map[string]error{"success": nil, "error": errors.New("down"), "park": &Park{"no"}, "retry": &Retry{After: time.Hour}} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, s store.Store) {
				var runs atomic.Int32
				var second time.Time
				start(t, Config{Store: s, Handlers: handlers(func(context.Context, string) error {
					if runs.Add(1) > 1 {
						second = time.Now()
						return nil
					}
					time.Sleep(time.Second)
					add(t, s, "sync", "k", time.Now())
					add(t, s, "sync", "k", time.Now())
					return first
				})})
				began := time.Now()
				add(t, s, "sync", "k", began)
				time.Sleep(2 * time.Hour)
				synctest.Wait()
				if n := runs.Load(); n != 2 || second.Sub(began) != time.Second {
					t.Errorf("%d runs, the second after %v; want 2, 1s", n, second.Sub(began))
				}
				if got, ok := get(t, s, "sync", "k"); ok {
					t.Errorf("still there: %+v", got)
				}
			})
		})
	}
}

func TestFailuresBackOffAndParkAfterThreeDays(t *testing.T) {
	bubble(t, func(t *testing.T, s store.Store) {
		began := time.Now()
		var ran record[time.Time]
		var down atomic.Bool
		down.Store(true)
		start(t, Config{Store: s, Handlers: handlers(func(context.Context, string) error {
			ran.add(time.Now())
			if !down.Load() {
				return nil
			}
			return errors.New("down " + strings.Repeat("é", 1000))
		})})
		add(t, s, "sync", "k", began)
		time.Sleep(80 * time.Hour)
		synctest.Wait()
		got, ok := get(t, s, "sync", "k")
		runs := ran.all()
		if !ok || got.State != Parked || got.Attempts != len(runs) {
			t.Fatalf("after 80 hours: %v %+v", ok, got)
		}
		if len(got.Error) > 500 || !utf8.ValidString(got.Error) || !strings.HasPrefix(got.Error, "down éé") {
			t.Errorf("the error is %d bytes: %q", len(got.Error), got.Error)
		}
		for i := 1; i < len(runs); i++ {
			most := 15 * time.Minute
			if i < 10 {
				most = min(most, 2*time.Second<<(i-1))
			}
			if gap := runs[i].Sub(runs[i-1]); gap < 0 || gap > most {
				t.Errorf("after %d failures it waited %v, want at most %v", i, gap, most)
			}
		}
		if last := runs[len(runs)-1].Sub(began); last < 72*time.Hour || last > 72*time.Hour+15*time.Minute {
			t.Errorf("it was tried for %v, want 72 hours", last)
		}
		// 72 hours of 7.5 minutes on average are about 580 runs.
		if n := len(runs); n < 450 || n > 750 {
			t.Errorf("%d runs in 72 hours", n)
		}
		n := len(runs)
		down.Store(false)
		if err := Requeue(t.Context(), s, "sync", "k"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if _, ok := get(t, s, "sync", "k"); ok || len(ran.all()) != n+1 {
			t.Errorf("after Requeue: %d more runs, still there: %v", len(ran.all())-n, ok)
		}
		if err := Requeue(t.Context(), s, "sync", "k"); !errors.Is(err, ErrNotFound) {
			t.Errorf("Requeue of what is not there: %v", err)
		}
	})
}

func TestRetryIsNoAttempt(t *testing.T) {
	bubble(t, func(t *testing.T, s store.Store) {
		began := time.Now()
		var ran record[time.Duration]
		start(t, Config{Store: s, Handlers: handlers(func(context.Context, string) error {
			if ran.add(time.Since(began)) <= 400 {
				return fmt.Errorf("sync: %w", &Retry{After: 20 * time.Minute, Reason: "429"})
			}
			return nil
		})})
		add(t, s, "sync", "k", began)
		time.Sleep(100*time.Hour + time.Second) // longer than failures are borne
		synctest.Wait()
		got, ok := get(t, s, "sync", "k")
		if !ok || got.State != Waiting || got.Attempts != 0 || got.Error != "429" || !got.Due.After(time.Now()) {
			t.Errorf("after 100 hours of Retry: %v %+v", ok, got)
		}
		at := ran.all()
		if len(at) != 301 || at[1] != 20*time.Minute {
			t.Errorf("%d runs, the second after %v", len(at), at[1])
		}
		time.Sleep(40 * time.Hour)
		synctest.Wait()
		if _, ok := get(t, s, "sync", "k"); ok {
			t.Error("it became true and is still there")
		}
	})
}

func TestAParkedTaskWaitsForAnAdd(t *testing.T) {
	bubble(t, func(t *testing.T, s store.Store) {
		var runs atomic.Int32
		c := Config{Store: s, Handlers: handlers(func(context.Context, string) error {
			if runs.Add(1) == 1 {
				return &Park{Reason: "invalid phone"}
			}
			return nil
		})}
		start(t, c)
		add(t, s, "sync", "k", time.Now())
		time.Sleep(100 * time.Hour)
		synctest.Wait()
		if got, _ := get(t, s, "sync", "k"); got.State != Parked || got.Error != "invalid phone" || runs.Load() != 1 {
			t.Errorf("%+v after %d runs", got, runs.Load())
		}
		var park *Park
		if err := NewRunner(c).Now(t.Context(), "sync", "k"); !errors.As(err, &park) || park.Reason != "invalid phone" {
			t.Errorf("Now of a parked task: %v", err)
		}
		add(t, s, "sync", "k", time.Now())
		synctest.Wait()
		if _, ok := get(t, s, "sync", "k"); ok || runs.Load() != 2 {
			t.Errorf("after Add: there %v, %d runs", ok, runs.Load())
		}
	})
}

func TestKindsWithoutHandlerAreLeftAlone(t *testing.T) {
	bubble(t, func(t *testing.T, s store.Store) {
		for i := range 100 { // more than there are workers, and due earlier
			add(t, s, "another", fmt.Sprint(i), time.Now().Add(-time.Hour))
		}
		add(t, s, "sync", "k", time.Now())
		ran := make(chan struct{}, 200)
		c := Config{Store: s, Workers: 1, Handlers: handlers(func(context.Context, string) error { ran <- struct{}{}; return nil })}
		start(t, c)
		<-ran
		time.Sleep(time.Hour)
		list, err := List(t.Context(), s, Task{}, 0)
		if err != nil || len(list) != 100 || len(ran) != 0 {
			t.Errorf("%d tasks left, %d more runs, %v", len(list), len(ran), err)
		}
		if err := NewRunner(c).Now(t.Context(), "another", "1"); err == nil {
			t.Error("Now runs a kind that has no handler")
		}
	})
}

func TestListPages(t *testing.T) {
	t.Parallel()
	s := open(t)
	for _, kind := range []string{"a", "b"} {
		for i := range 5 {
			add(t, s, kind, fmt.Sprint(i), time.Now())
		}
	}
	var got []string
	for after := (Task{}); ; {
		page, err := List(t.Context(), s, after, 3)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			break
		}
		for _, p := range page {
			got = append(got, p.Kind+p.Key)
		}
		after = page[len(page)-1]
	}
	if d := cmp.Diff(strings.Fields("a0 a1 a2 a3 a4 b0 b1 b2 b3 b4"), got); d != "" {
		t.Error(d)
	}
}

func TestACrashIsTakenUpWhenItsLeaseIsOver(t *testing.T) {
	for _, alone := range []bool{false, true} {
		t.Run(fmt.Sprint("alone ", alone), func(t *testing.T) {
			bubble(t, func(t *testing.T, s store.Store) {
				began := time.Now()
				add(t, s, "sync", "k", began)
				crashed := NewRunner(Config{Store: s, Owner: "node", Handlers: handlers(nil)})
				if got, _, err := crashed.newRun(entry{id: id("sync", "k"), kind: "sync", key: "k"}).begin(t.Context(), false); !got || err != nil {
					t.Fatal(got, err)
				}
				ran := make(chan time.Duration, 9)
				start(t, Config{Store: s, Owner: "node", Alone: alone, Handlers: handlers(func(context.Context, string) error { ran <- time.Since(began); return nil })})
				want := leaseTime
				if alone {
					want = 0
				}
				if got := <-ran; got != want {
					t.Errorf("taken up after %v, want %v", got, want)
				}
			})
		})
	}
}

func TestALongRunKeepsItsLease(t *testing.T) {
	bubble(t, func(t *testing.T, s store.Store) {
		var runs, at atomic.Int32
		c := Config{Store: s, Handlers: handlers(func(ctx context.Context, _ string) error {
			runs.Add(1)
			if at.Add(1) > 1 {
				t.Error("twice at once")
			}
			defer at.Add(-1)
			select {
			case <-time.After(time.Hour):
			case <-ctx.Done():
				t.Error("the run was stopped")
			}
			return nil
		})}
		start(t, c)
		start(t, c)
		add(t, s, "sync", "k", time.Now())
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		if _, ok := get(t, s, "sync", "k"); ok || runs.Load() != 1 {
			t.Errorf("there %v after %d runs", ok, runs.Load())
		}
	})
}

// A process that was suspended finds its lease gone: it is told to stop, and what
// it says is not written over what another did.
func TestALostLeaseStopsTheRunAndKeepsItsOutcomeOut(t *testing.T) {
	bubble(t, func(t *testing.T, s store.Store) {
		stopped := make(chan error, 1)
		start(t, Config{Store: s, Handlers: handlers(func(ctx context.Context, _ string) error {
			<-ctx.Done()
			stopped <- context.Cause(ctx)
			return nil
		})})
		add(t, s, "sync", "k", time.Now())
		synctest.Wait()
		other := NewRunner(Config{Store: s, Handlers: handlers(nil)})
		if err := other.takeOrphans(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got, _, err := other.newRun(entry{id: id("sync", "k"), kind: "sync", key: "k"}).begin(t.Context(), false); !got || err != nil {
			t.Fatal(got, err)
		}
		if err := <-stopped; !errors.Is(err, errLost) {
			t.Errorf("stopped because %v", err)
		}
		synctest.Wait()
		if got, ok := get(t, s, "sync", "k"); !ok || got.State != Running {
			t.Errorf("the other's run is %v %+v", ok, got)
		}
	})
}

func TestAStoppedRunIsNoFailure(t *testing.T) {
	bubble(t, func(t *testing.T, s store.Store) {
		stop := start(t, Config{Store: s, Handlers: handlers(func(ctx context.Context, _ string) error {
			<-ctx.Done()
			return fmt.Errorf("request: %w", ctx.Err())
		})})
		add(t, s, "sync", "k", time.Now())
		synctest.Wait()
		if got, _ := get(t, s, "sync", "k"); got.State != Running {
			t.Fatalf("%+v", got)
		}
		time.Sleep(time.Second)
		stop()
		got, ok := get(t, s, "sync", "k")
		if !ok || got.State != Waiting || got.Attempts != 0 || got.Due.After(time.Now()) {
			t.Errorf("after the end of Run: %v %+v", ok, got)
		}
	})
}

func TestAPanicIsAFailure(t *testing.T) {
	bubble(t, func(t *testing.T, s store.Store) {
		c := Config{Store: s, Handlers: handlers(func(context.Context, string) error { panic("nil map") })}
		add(t, s, "sync", "k", time.Now())
		if err := NewRunner(c).Now(t.Context(), "sync", "k"); err == nil || !strings.Contains(err.Error(), "nil map") {
			t.Errorf("Now = %v", err)
		}
		if got, ok := get(t, s, "sync", "k"); !ok || got.Attempts != 1 || !strings.Contains(got.Error, "nil map") {
			t.Errorf("%v %+v", ok, got)
		}
	})
}

func TestNowRunsWhatIsNotDue(t *testing.T) {
	bubble(t, func(t *testing.T, s store.Store) {
		boom := errors.New("boom")
		said := boom
		r := NewRunner(Config{Store: s, Handlers: handlers(func(context.Context, string) error { return said })})
		if err := r.Now(t.Context(), "sync", "k"); err != nil {
			t.Errorf("Now of nothing: %v", err)
		}
		add(t, s, "sync", "k", time.Now().Add(time.Hour))
		if err := r.Now(t.Context(), "sync", "k"); err != boom {
			t.Errorf("Now = %v, want what the handler said", err)
		}
		if got, ok := get(t, s, "sync", "k"); !ok || got.State != Waiting || got.Attempts != 1 || got.Error != "boom" {
			t.Errorf("the outcome was not stored: %v %+v", ok, got)
		}
		said = nil
		if err := r.Now(t.Context(), "sync", "k"); err != nil {
			t.Error(err)
		}
		if _, ok := get(t, s, "sync", "k"); ok {
			t.Error("it is true and still there")
		}
	})
}

func TestNowWaitsForARunElsewhere(t *testing.T) {
	for name, c := range map[string]struct {
		said error
		ok   func(error) bool
	}{
		"success": {nil, func(err error) bool { return err == nil }},
		"error":   {errors.New("down"), func(err error) bool { return err != nil && err.Error() == "down" }},
		"retry":   {&Retry{time.Hour, "429"}, func(err error) bool { var r *Retry; return errors.As(err, &r) && r.After == time.Hour }},
		"park":    {&Park{"no"}, func(err error) bool { var p *Park; return errors.As(err, &p) && p.Reason == "no" }},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, s store.Store) {
				began := time.Now()
				var runs atomic.Int32
				conf := Config{Store: s, Handlers: handlers(func(context.Context, string) error {
					runs.Add(1)
					time.Sleep(5 * time.Second)
					return c.said
				})}
				stop := start(t, conf)
				add(t, s, "sync", "k", began)
				synctest.Wait()
				short, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				r := NewRunner(conf)
				if err := r.Now(short, "sync", "k"); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("Now with a deadline of a second = %v", err)
				}
				if err := r.Now(t.Context(), "sync", "k"); !c.ok(err) || time.Since(began) != 5*time.Second || runs.Load() != 1 {
					t.Errorf("Now = %v after %v and %d runs", err, time.Since(began), runs.Load())
				}
				stop()
			})
		})
	}
}

func TestNowRunsWhatWasAddedDuringARunElsewhere(t *testing.T) {
	bubble(t, func(t *testing.T, s store.Store) {
		began := time.Now()
		var runs, at atomic.Int32
		conf := Config{Store: s, Handlers: handlers(func(context.Context, string) error {
			if at.Add(1) > 1 {
				t.Error("twice at once")
			}
			defer at.Add(-1)
			runs.Add(1)
			time.Sleep(5 * time.Second)
			return nil
		})}
		start(t, conf)
		add(t, s, "sync", "k", began)
		synctest.Wait()
		add(t, s, "sync", "k", began)
		if err := NewRunner(conf).Now(t.Context(), "sync", "k"); err != nil || time.Since(began) != 10*time.Second || runs.Load() != 2 {
			t.Errorf("Now = %v after %v and %d runs; want the run that covers the Add", err, time.Since(began), runs.Load())
		}
	})
}

// Two Runners with eight workers each, over awkward stores, while tasks are added
// again and again: none runs twice at once, and each runs after its last Add.
func TestNoTaskRunsTwiceAtOnce(t *testing.T) {
	var count atomic.Uint32
	for name, wrap := range map[string]func(store.Store) store.Store{
		"plain": func(s store.Store) store.Store { return s },
		"twice": storetest.Twice,
		"flaky": func(s store.Store) store.Store {
			return storetest.Flaky(s, func() bool { return count.Add(1)%3 == 0 })
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := wrap(open(t))
			const n = 200
			var added, done [n]atomic.Int64 // counts; done is the count that a successful run saw at its beginning
			var at [n]atomic.Int32
			left := make(chan struct{}, 1)
			c := Config{Store: s, Workers: 8, Handlers: handlers(func(_ context.Context, key string) error {
				var i int
				fmt.Sscan(key, &i)
				if at[i].Add(1) > 1 {
					t.Errorf("task %d runs twice at once", i)
				}
				defer at[i].Add(-1)
				saw := added[i].Load()
				time.Sleep(200 * time.Microsecond)
				done[i].Store(saw)
				signal(left)
				return nil
			})}
			start(t, c)
			start(t, c)
			var wg sync.WaitGroup
			for w := range 4 {
				wg.Go(func() {
					for i := range n {
						if i%4 == w || i%10 == 0 {
							added[i].Add(1)
							add(t, s, "sync", fmt.Sprint(i), time.Now())
						}
					}
				})
			}
			wg.Wait()
			for {
				list, err := List(t.Context(), s, Task{}, 0)
				if err != nil {
					t.Fatal(err)
				}
				if len(list) == 0 {
					break
				}
				select {
				case <-left:
				case <-time.After(50 * time.Millisecond): // the last row goes after its handler
				}
			}
			for i := range n {
				if done[i].Load() != added[i].Load() {
					t.Errorf("task %d: the last run saw %d of %d Adds", i, done[i].Load(), added[i].Load())
				}
			}
		})
	}
}

// B06: work that never ends fills its own lane and no other, and what waits there
// costs no writes.
func TestAFullLaneKeepsNoOtherWaiting(t *testing.T) {
	bubble(t, func(t *testing.T, s store.Store) {
		began := time.Now()
		for i := range 50 {
			add(t, s, "sync", fmt.Sprintf("stuck/%02d", i), began)
		}
		var writes atomic.Int32
		var at, most atomic.Int32
		done := make(chan string, 100)
		start(t, Config{Store: &noting{Store: s, updates: &writes}, Workers: 6, PerLane: 2, Handlers: handlers(func(ctx context.Context, key string) error {
			if !strings.HasPrefix(key, "stuck/") {
				done <- key
				return nil
			}
			most.Store(max(most.Load(), at.Add(1)))
			defer at.Add(-1)
			<-ctx.Done()
			return ctx.Err()
		})})
		synctest.Wait()
		if n := writes.Load(); n != 2 {
			t.Errorf("%d transactions to begin two tasks", n)
		}
		for i := range 20 {
			add(t, s, "sync", fmt.Sprintf("well/%02d", i), began)
			add(t, s, "sync", fmt.Sprintf("no lane %02d", i), began)
		}
		time.Sleep(40 * breath)
		if len(done) != 40 {
			t.Errorf("%d of 40 tasks of other lanes done after %v", len(done), time.Since(began))
		}
		if most.Load() != 2 {
			t.Errorf("%d at once in a lane of 2", most.Load())
		}
	})
}

// B10: what was added to overtake does so, also after it failed.
func TestAddFirstOvertakesItsLane(t *testing.T) {
	bubble(t, func(t *testing.T, s store.Store) {
		began := time.Now()
		for i := range 500 {
			add(t, s, "sync", fmt.Sprintf("crm/%03d", i), began.Add(-time.Hour))
		}
		var ran record[string]
		start(t, Config{Store: s, Workers: 1, Handlers: handlers(func(_ context.Context, key string) error {
			n := ran.add(key)
			time.Sleep(time.Second)
			if key == "crm/zoe" && n < 50 {
				return &Retry{After: 5 * time.Second, Reason: "429"}
			}
			return nil
		})})
		time.Sleep(20*time.Second + 500*time.Millisecond)
		if err := s.Update(t.Context(), func(tx store.Tx) error { return AddFirst(tx, "sync", "crm/zoe", time.Now()) }); err != nil {
			t.Fatal(err)
		}
		add(t, s, "sync", "crm/zoe", time.Now()) // does not take it back
		time.Sleep(60 * time.Second)
		var at []int
		for i, key := range ran.all() {
			if key == "crm/zoe" {
				at = append(at, i)
			}
		}
		// Runs begin each second: the 21st is under way when it is added, and it
		// runs again 5 seconds after each of its own.
		if len(at) < 5 || at[0] != 21 {
			t.Fatalf("it ran as number %v", at)
		}
		for i := 1; i < len(at); i++ {
			if gap := at[i] - at[i-1]; gap > 7 {
				t.Errorf("it ran as number %v: between two of them %d others overtook it", at, gap-1)
			}
		}
	})
}

// A Runner that has nothing to do looks once a minute and when something changes.
func TestNothingToDoIsQuiet(t *testing.T) {
	bubble(t, func(t *testing.T, s store.Store) {
		var views atomic.Int32
		start(t, Config{Store: &counting{s, &views}, Handlers: handlers(func(context.Context, string) error { return nil })})
		add(t, s, "sync", "k", time.Now().Add(24*time.Hour))
		time.Sleep(time.Hour)
		if n := views.Load(); n > 63 {
			t.Errorf("%d looks in an hour", n)
		}
	})
}

// noting counts what it is asked to write.
type noting struct {
	store.Store
	updates *atomic.Int32
}

func (n *noting) Update(ctx context.Context, fn func(store.Tx) error) error {
	n.updates.Add(1)
	return n.Store.Update(ctx, fn)
}

type counting struct {
	store.Store
	views *atomic.Int32
}

func (c *counting) View(ctx context.Context, fn func(store.Tx) error) error {
	c.views.Add(1)
	return c.Store.View(ctx, fn)
}

// The stored form of a task, byte for byte: rows outlive the program.
func TestStoredForm(t *testing.T) {
	t.Parallel()
	s := open(t)
	at := time.Date(2026, 1, 2, 3, 4, 5, 600, time.UTC)
	err := s.Update(t.Context(), func(tx store.Tx) error {
		return tasks.Put(tx, row{Kind: "sync", Key: "crm/kim", State: Waiting, Due: at, Attempts: 2, Failing: at, Error: "down", Added: at, Version: 3, Ran: 2})
	})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"task\x00\x01i\x00\x01due\x00\x01sync\x00\xff\x01crm\x00\xff\x012\x00\xff\x012026-01-02T03:04:05.000000600\x00\xff\x01\x00\x01sync\x00\xff\x01crm/kim\x00\xff\x01\x00\x01": "",
		"task\x00\x01r\x00\x01sync\x00\xff\x01crm/kim\x00\xff\x01\x00\x01": `{"v":1,"row":{"kind":"sync","key":"crm/kim","state":"waiting","due":"2026-01-02T03:04:05.0000006Z","attempts":2,"failing":"2026-01-02T03:04:05.0000006Z","error":"down","added":"2026-01-02T03:04:05.0000006Z","version":3,"ran":2}}`,
	}
	got := map[string]string{}
	err = s.View(t.Context(), func(tx store.Tx) error {
		for p, err := range tx.Scan(nil, nil, 0) {
			if err != nil {
				return err
			}
			got[string(p.Key)] = string(p.Val)
		}
		return nil
	})
	if d := cmp.Diff(want, got); err != nil || d != "" {
		t.Errorf("%v %s", err, d)
	}
}
