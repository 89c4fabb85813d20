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
)

// long is a handler that does one of n buckets a second, and keeps count.
func long(s store.Store, n int64, cause chan<- error) Handler {
	return func(ctx context.Context, key string) error {
		var p Progress
		if err := s.View(ctx, func(tx store.Tx) (err error) {
			p, _, err = Load(tx, "sync", key)
			return err
		}); err != nil {
			return err
		}
		for p.Total = n; p.Done < n; {
			select {
			case <-ctx.Done():
				cause <- context.Cause(ctx)
				return ctx.Err()
			case <-time.After(time.Second):
			}
			p.Done++
			p.Cursor = fmt.Append(nil, p.Done)
			if err := s.Update(ctx, func(tx store.Tx) error { return Save(tx, "sync", key, p) }); err != nil {
				return err
			}
		}
		return nil
	}
}

func look(t *testing.T, s store.Store, kind, key string) (got Task, ok bool) {
	t.Helper()
	if err := s.View(t.Context(), func(tx store.Tx) (err error) {
		got, ok, err = Look(tx, kind, key)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return got, ok
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestAPausedRunGoesOnBehindItsLastBucket(t *testing.T) {
	bubble(t, func(t *testing.T, s store.Store) {
		cause := make(chan error, 9)
		c := Config{Store: s, Handlers: handlers(long(s, 100, cause))}
		stop := start(t, c)
		add(t, s, "sync", "k", time.Now())
		time.Sleep(10*time.Second + 500*time.Millisecond)
		must(t, Pause(t.Context(), s, "sync", "k"))
		synctest.Wait()
		got, _ := get(t, s, "sync", "k")
		if got.State != Paused || got.Attempts != 0 || got.Progress == nil || got.Progress.Done != 10 || string(got.Progress.Cursor) != "10" {
			t.Fatalf("paused: %+v", got)
		}
		if why := <-cause; !errors.Is(why, ErrPaused) {
			t.Errorf("the run was told to stop because %v", why)
		}
		add(t, s, "sync", "k", time.Now()) // what happens meanwhile does not start it
		time.Sleep(time.Hour)
		stop()
		start(t, c) // nor does a restart
		time.Sleep(time.Hour)
		if got, _ := get(t, s, "sync", "k"); got.State != Paused || got.Progress.Done != 10 {
			t.Fatalf("it went on by itself: %+v", got)
		}
		if err := NewRunner(c).Now(t.Context(), "sync", "k"); !errors.Is(err, ErrPaused) {
			t.Errorf("Now of a paused task: %v", err)
		}
		began := time.Now()
		must(t, Resume(t.Context(), s, "sync", "k"))
		time.Sleep(30*time.Second + 500*time.Millisecond)
		got, _ = get(t, s, "sync", "k")
		if p := got.Progress; got.State != Running || p.Done != 40 || p.Rate() != 1 || p.Left() != time.Minute {
			t.Errorf("after 30 s more: %v, %d done, %v a second, %v left", got.State, p.Done, p.Rate(), p.Left())
		}
		time.Sleep(2 * time.Minute)
		got, ok := look(t, s, "sync", "k")
		if !ok || got.State != Done || got.Progress.Done != 100 || !got.Progress.Ended.Equal(began.Add(90*time.Second)) {
			t.Errorf("in the end: %v %+v", ok, got)
		}
	})
}

func TestACrashGoesOnBehindItsLastBucket(t *testing.T) {
	bubble(t, func(t *testing.T, s store.Store) {
		cause := make(chan error, 9)
		c := Config{Store: s, Alone: true, Handlers: handlers(long(s, 20, cause))}
		stop := start(t, c)
		add(t, s, "sync", "k", time.Now())
		time.Sleep(10*time.Second + 500*time.Millisecond)
		stop()
		start(t, c)
		began := time.Now()
		for got, _ := look(t, s, "sync", "k"); got.State != Done; got, _ = look(t, s, "sync", "k") {
			time.Sleep(100 * time.Millisecond)
		}
		if took := time.Since(began); took < 10*time.Second || took > 11*time.Second {
			t.Errorf("the second half of 20 s took %v", took)
		}
		add(t, s, "sync", "k", time.Now()) // and the next one begins at the beginning
		time.Sleep(5*time.Second + 500*time.Millisecond)
		if got, _ := get(t, s, "sync", "k"); got.Progress.Done != 5 {
			t.Errorf("added again: %+v", got.Progress)
		}
	})
}

func TestACancelledTaskStaysUntilItIsAddedAgain(t *testing.T) {
	bubble(t, func(t *testing.T, s store.Store) {
		cause := make(chan error, 9)
		c := Config{Store: s, Handlers: handlers(long(s, 100, cause))}
		start(t, c)
		add(t, s, "sync", "k", time.Now())
		time.Sleep(10*time.Second + 500*time.Millisecond)
		must(t, Cancel(t.Context(), s, "sync", "k"))
		synctest.Wait()
		if why := <-cause; !errors.Is(why, ErrCancelled) {
			t.Errorf("the run was told to stop because %v", why)
		}
		if err := Resume(t.Context(), s, "sync", "k"); !errors.Is(err, ErrCancelled) {
			t.Errorf("Resume of what was cancelled: %v", err)
		}
		time.Sleep(time.Hour)
		if got, _ := get(t, s, "sync", "k"); got.State != Cancelled || got.Progress.Done != 10 {
			t.Errorf("cancelled: %+v", got)
		}
		if err := NewRunner(c).Now(t.Context(), "sync", "k"); !errors.Is(err, ErrCancelled) {
			t.Errorf("Now of a cancelled task: %v", err)
		}
		add(t, s, "sync", "k", time.Now())
		time.Sleep(3*time.Second + 500*time.Millisecond)
		if got, _ := get(t, s, "sync", "k"); got.State != Running || got.Progress.Done != 3 {
			t.Errorf("added again: %+v %+v", got, got.Progress)
		}
	})
}

// Whoever pauses may do so while nothing runs that could obey, and what runs may
// die before it does.
func TestAWishOutlivesTheProcess(t *testing.T) {
	for name, wish := range map[State]func(context.Context, store.Store, string, string) error{Paused: Pause, Cancelled: Cancel} {
		t.Run(string(name), func(t *testing.T) {
			bubble(t, func(t *testing.T, s store.Store) {
				add(t, s, "sync", "k", time.Now())
				crashed := NewRunner(Config{Store: s, Handlers: handlers(nil)})
				if got, _, err := crashed.newRun(entry{id: id("sync", "k"), kind: "sync", key: "k"}).begin(t.Context(), false); !got || err != nil {
					t.Fatal(got, err)
				}
				must(t, wish(t.Context(), s, "sync", "k"))
				var runs atomic.Int32
				start(t, Config{Store: s, Alone: true, Handlers: handlers(func(context.Context, string) error { runs.Add(1); return nil })})
				time.Sleep(time.Hour)
				if got, _ := get(t, s, "sync", "k"); got.State != name || runs.Load() != 0 {
					t.Errorf("%+v after %d runs", got, runs.Load())
				}
				must(t, Requeue(t.Context(), s, "sync", "k"))
				synctest.Wait()
				if _, ok := get(t, s, "sync", "k"); ok || runs.Load() != 1 {
					t.Errorf("there %v after %d runs", ok, runs.Load())
				}
			})
		})
	}
}

// Without Run there is nobody who watches; the renewal of the lease looks too.
func TestARunByNowIsStoppedToo(t *testing.T) {
	bubble(t, func(t *testing.T, s store.Store) {
		r := NewRunner(Config{Store: s, Handlers: handlers(func(ctx context.Context, _ string) error {
			<-ctx.Done()
			return context.Cause(ctx)
		})})
		add(t, s, "sync", "k", time.Now())
		said := make(chan error, 1)
		go func() { said <- r.Now(t.Context(), "sync", "k") }()
		synctest.Wait()
		must(t, Pause(t.Context(), s, "sync", "k"))
		if err := <-said; !errors.Is(err, ErrPaused) {
			t.Errorf("Now: %v", err)
		}
		if got, _ := get(t, s, "sync", "k"); got.State != Paused {
			t.Errorf("%+v", got)
		}
	})
}

func TestWhatWaitsOrIsParkedCanBePaused(t *testing.T) {
	bubble(t, func(t *testing.T, s store.Store) {
		var runs atomic.Int32
		said := error(&Park{Reason: "no"})
		start(t, Config{Store: s, Handlers: handlers(func(context.Context, string) error { runs.Add(1); return said })})
		add(t, s, "sync", "parked", time.Now())
		synctest.Wait()
		add(t, s, "sync", "waits", time.Now().Add(time.Minute))
		for _, key := range []string{"parked", "waits"} {
			must(t, Pause(t.Context(), s, "sync", key))
			add(t, s, "sync", key, time.Now())
		}
		time.Sleep(time.Hour)
		if runs.Load() != 1 {
			t.Fatalf("%d runs before and while they are paused, want 1", runs.Load())
		}
		said = nil
		for _, key := range []string{"parked", "waits"} {
			must(t, Resume(t.Context(), s, "sync", key))
		}
		synctest.Wait()
		if runs.Load() != 3 {
			t.Errorf("%d runs after they were resumed, want 3", runs.Load())
		}
		for _, fn := range []func(context.Context, store.Store, string, string) error{Pause, Cancel, Resume, Requeue} {
			if err := fn(t.Context(), s, "sync", "waits"); !errors.Is(err, ErrNotFound) {
				t.Errorf("of what is done: %v", err)
			}
		}
	})
}

// The stored form of a progress, byte for byte.
func TestStoredFormOfProgress(t *testing.T) {
	t.Parallel()
	s := open(t)
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	var raw []byte
	must(t, s.Update(t.Context(), func(tx store.Tx) (err error) {
		if err := progresses.Put(tx, progress{"import", "hr", Progress{Done: 7, Total: 9, Failed: 1, Cursor: []byte("x"), Note: "reading", Started: at, At: at, Since: at, Base: 2, Ended: at}}); err != nil {
			return err
		}
		raw, _, err = tx.Get([]byte("progress\x00\x01r\x00\x01import\x00\xff\x01hr\x00\xff\x01\x00\x01"))
		return err
	}))
	want := `{"v":1,"row":{"kind":"import","key":"hr","done":7,"total":9,"failed":1,"cursor":"eA==","note":"reading","started":"2026-01-02T03:04:05Z","at":"2026-01-02T03:04:05Z","since":"2026-01-02T03:04:05Z","base":2,"ended":"2026-01-02T03:04:05Z"}}`
	if string(raw) != want {
		t.Errorf("stored %s", raw)
	}
}
