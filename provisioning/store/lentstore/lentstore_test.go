package lentstore_test

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/gatehouse-sso/gatehouse/provisioning/store"
	"github.com/gatehouse-sso/gatehouse/provisioning/store/boltstore"
	"github.com/gatehouse-sso/gatehouse/provisioning/store/lentstore"
	"github.com/gatehouse-sso/gatehouse/provisioning/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// owner opens a file and lends it. stop ends the lending.
func owner(t *testing.T) (st *boltstore.Store, dial func(context.Context) (net.Conn, error), stop func()) {
	t.Helper()
	dir, err := os.MkdirTemp("", "lent")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	st, err = boltstore.Open(filepath.Join(dir, "db"), boltstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	ln, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan struct{})
	go func() { defer close(served); lentstore.Serve(ctx, ln, st) }()
	stop = func() { cancel(); <-served }
	t.Cleanup(stop)
	return st, func(ctx context.Context) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", ln.Addr().String())
	}, stop
}

func TestStore(t *testing.T) {
	t.Parallel()
	storetest.Test(t, func(t *testing.T) store.Store {
		_, dial, _ := owner(t)
		return lentstore.Open(dial)
	})
}

func TestSwitchIsAStore(t *testing.T) {
	t.Parallel()
	storetest.Test(t, func(t *testing.T) store.Store {
		st, err := boltstore.Open(filepath.Join(t.TempDir(), "db"), boltstore.Options{})
		if err != nil {
			t.Fatal(err)
		}
		return lentstore.NewSwitch(st)
	})
}

func put(t *testing.T, s store.Store, key, val string) {
	t.Helper()
	if err := s.Update(t.Context(), func(tx store.Tx) error { return tx.Put([]byte(key), []byte(val)) }); err != nil {
		t.Fatal(err)
	}
}

// wants checks what a key holds; "" is nothing.
func wants(t *testing.T, s store.Store, key, want string) {
	t.Helper()
	err := s.View(t.Context(), func(tx store.Tx) error {
		if v, _, err := tx.Get([]byte(key)); err != nil || string(v) != want {
			t.Errorf("%s is %q, %v; want %q", key, v, err, want)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A borrower that falls silent with the owner's writer in its hand loses it, and
// what it had written is not there.
func TestASilentBorrowerHoldsUpNobodyForEver(t *testing.T) {
	t.Parallel()
	st, dial, _ := owner(t)
	far := lentstore.Open(dial)
	defer far.Close()
	inside, out, done := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		done <- far.Update(context.Background(), func(tx store.Tx) error {
			err := tx.Put([]byte("half"), []byte("written"))
			close(inside)
			<-out
			return err
		})
	}()
	<-inside
	put(t, st, "owner", "writes on") // as soon as the silence is over
	close(out)
	if err := <-done; err == nil {
		t.Error("the silent borrower is told that its transaction was committed")
	}
	wants(t, st, "half", "")
	put(t, far, "far", "writes again")
	wants(t, st, "far", "writes again")
}

// When the owner is gone, a watch says at once that there is a gap, and nothing
// can be read: nobody knows, so nobody passes.
func TestAnOwnerThatDiesLeavesAGap(t *testing.T) {
	t.Parallel()
	st, dial, stop := owner(t)
	far := lentstore.Open(dial)
	defer far.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	told := make(chan string)
	go func() {
		defer close(told)
		for key := range far.Watch(ctx, nil) {
			told <- string(key)
		}
	}()
	if first := <-told; first != "" {
		t.Fatalf("a watch begins with %q", first)
	}
	put(t, st, "a", "1")
	if key := <-told; key != "a" {
		t.Fatalf("it tells of %q", key)
	}
	stop()
	if key := <-told; key != "" {
		t.Errorf("after the owner's end it tells of %q, want a gap", key)
	}
	if err := far.View(ctx, func(store.Tx) error { return nil }); err == nil {
		t.Error("a store without an owner can be read")
	}
	cancel()
	for range told {
	}
}

// What waits for an exchange goes on with the next engine, and so do watches; a
// transaction that runs is waited for.
func TestAnExchangeWaitsAndIsWaitedFor(t *testing.T) {
	t.Parallel()
	first, err := boltstore.Open(filepath.Join(t.TempDir(), "db"), boltstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	second, dial, _ := owner(t)
	s := lentstore.NewSwitch(first)
	defer s.Close()
	ctx, cancel := context.WithCancel(t.Context())
	told := make(chan string, 10)
	go func() {
		defer close(told)
		for key := range s.Watch(ctx, nil) {
			told <- string(key)
		}
	}()
	<-told
	inside, out := make(chan struct{}), make(chan struct{})
	go func() {
		_ = s.Update(ctx, func(tx store.Tx) error { close(inside); <-out; return tx.Put([]byte("before"), nil) })
	}()
	<-inside
	short, over := context.WithCancel(ctx)
	over()
	if err := s.Exchange(short, func(store.Store) (store.Store, error) { panic("a transaction runs") }); !errors.Is(err, context.Canceled) {
		t.Errorf("an exchange that was given up says %v", err)
	}
	exchanging, waited := make(chan error), make(chan error)
	go func() {
		exchanging <- s.Exchange(ctx, func(old store.Store) (store.Store, error) {
			go func() {
				waited <- s.Update(ctx, func(tx store.Tx) error { return tx.Put([]byte("waited"), []byte("1")) })
			}()
			return lentstore.Open(dial), old.Close()
		})
	}()
	close(out)
	if err := errors.Join(<-exchanging, <-waited); err != nil {
		t.Fatal(err)
	}
	wants(t, second, "waited", "1")
	wants(t, second, "before", "")
	put(t, second, "later", "1")
	var all []string
	for key := range told {
		if all = append(all, key); key == "later" {
			break
		}
	}
	if all[0] != "before" || all[1] != "" {
		t.Errorf("the watch told %q, want what was before, a gap, and so on", all)
	}
	cancel()
	for range told {
	}
}
