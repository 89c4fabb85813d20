package boltstore_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"path/filepath"
	"runtime"
	"sync"
	"testing"

	"github.com/gatehouse-sso/gatehouse/provisioning/store"
	"github.com/gatehouse-sso/gatehouse/provisioning/store/boltstore"
	"github.com/gatehouse-sso/gatehouse/provisioning/store/storetest"
)

func open(t testing.TB, path string) *boltstore.Store {
	t.Helper()
	s, err := boltstore.Open(path, boltstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestWhatWasWrittenIsThereAfterOpeningAgain(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "dir", "gatehouse.db")
	s := open(t, path)
	if err := s.Update(t.Context(), func(tx store.Tx) error { return tx.Put([]byte("a"), []byte("1")) }); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s, err := boltstore.Open(path, boltstore.Options{Check: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	err = s.View(context.Background(), func(tx store.Tx) error {
		if v, ok, err := tx.Get([]byte("a")); err != nil || !ok || string(v) != "1" {
			t.Errorf("Get = %q, %v, %v", v, ok, err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestStore(t *testing.T) {
	t.Parallel()
	storetest.Test(t, func(t *testing.T) store.Store { return open(t, filepath.Join(t.TempDir(), "db")) })
}

func TestStoreTwice(t *testing.T) {
	t.Parallel()
	storetest.Test(t, func(t *testing.T) store.Store {
		return storetest.Twice(open(t, filepath.Join(t.TempDir(), "db")))
	})
}

// held starts an Update that stays in its function until release is called, and
// n others, which wait for it.
func held(t *testing.T, s *boltstore.Store, ctx context.Context, n int, fn func(i int, tx store.Tx) error) (release func() []error) {
	t.Helper()
	inside, out := make(chan struct{}), make(chan struct{})
	errs := make([]error, n+1)
	var wg sync.WaitGroup
	wg.Go(func() {
		errs[n] = s.Update(context.Background(), func(store.Tx) error { close(inside); <-out; return nil })
	})
	<-inside
	for i := range n {
		wg.Go(func() { errs[i] = s.Update(ctx, func(tx store.Tx) error { return fn(i, tx) }) })
	}
	for s.Waiting() < n {
		runtime.Gosched()
	}
	return func() []error { close(out); wg.Wait(); return errs }
}

func TestWhatWaitsIsCommittedTogether(t *testing.T) {
	t.Parallel()
	s := open(t, filepath.Join(t.TempDir(), "db"))
	before := s.Commits()
	release := held(t, s, t.Context(), 50, func(i int, tx store.Tx) error {
		v, _, err := tx.Get([]byte("n")) // each sees what the one before it did
		if err != nil {
			return err
		}
		return tx.Put([]byte("n"), append(v, 'x'))
	})
	for _, err := range release() {
		if err != nil {
			t.Error(err)
		}
	}
	if got, err := read(s); err != nil || len(got["n"]) != 50 {
		t.Errorf("%q, %v", got, err)
	}
	if n := s.Commits() - before; n != 1 {
		t.Errorf("50 Updates that waited made %d commits, want 1", n)
	}
}

func TestAnUpdateThatWritesNothingCommitsNothing(t *testing.T) {
	t.Parallel()
	s := open(t, filepath.Join(t.TempDir(), "db"))
	before := s.Commits()
	if err := s.Update(t.Context(), func(tx store.Tx) error { _, _, err := tx.Get([]byte("a")); return err }); err != nil {
		t.Fatal(err)
	}
	if n := s.Commits() - before; n != 0 {
		t.Errorf("%d commits", n)
	}
}

func TestAWaitingUpdateHeedsItsContext(t *testing.T) {
	t.Parallel()
	s := open(t, filepath.Join(t.TempDir(), "db"))
	ctx, cancel := context.WithCancel(t.Context())
	release := held(t, s, ctx, 3, func(int, store.Tx) error { t.Error("the function ran"); return nil })
	cancel()
	for s.Waiting() > 0 { // they leave while the first is still inside
		runtime.Gosched()
	}
	errs := release()
	for _, err := range errs[:3] {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("Update = %v", err)
		}
	}
	if errs[3] != nil {
		t.Error(errs[3])
	}
}

func TestCloseRefusesWhatWaits(t *testing.T) {
	t.Parallel()
	s := open(t, filepath.Join(t.TempDir(), "db"))
	release := held(t, s, t.Context(), 0, nil)
	done := make(chan error)
	go func() { done <- s.Close() }()
	if errs := release(); errs[0] != nil {
		t.Errorf("the Update that ran when Close was called: %v", errs[0])
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// A watcher that does not listen is told that it missed something, once the
// changes are too many to keep.
func TestAWatcherThatIsFarBehindIsToldOfAGap(t *testing.T) {
	t.Parallel()
	s := open(t, filepath.Join(t.TempDir(), "db"))
	next, stop := iter.Pull(s.Watch(t.Context(), []byte("k/")))
	defer stop()
	if key, ok := next(); !ok || key != nil {
		t.Fatalf("first: %q, %v", key, ok)
	}
	rows := map[string]string{}
	for i := range 20_000 {
		rows[fmt.Sprintf("k/%d", i)] = ""
	}
	write(t, s, rows)
	if key, ok := next(); !ok || key != nil {
		t.Errorf("after 20000 changes: %q, %v; want a gap", key, ok)
	}
	write(t, s, map[string]string{"k/1": "", "other": ""})
	write(t, s, map[string]string{"k/1": ""})
	write(t, s, map[string]string{"k/2": ""})
	for _, want := range []string{"k/1", "k/2"} {
		if key, ok := next(); !ok || string(key) != want {
			t.Errorf("%q, %v; want %q, as changes of one key become one", key, ok, want)
		}
	}
}
