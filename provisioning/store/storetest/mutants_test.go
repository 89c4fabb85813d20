package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/gatehouse-sso/gatehouse/provisioning/store"
	"github.com/gatehouse-sso/gatehouse/provisioning/store/boltstore"
)

func engine(t *testing.T) store.Store {
	s, err := boltstore.Open(filepath.Join(t.TempDir(), "db"), boltstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// The optimistic engine is sound, so it passes: what makes its mutants fail is
// what was broken in them. It is also an engine that runs functions again.
func TestAnOptimisticEnginePasses(t *testing.T) {
	t.Parallel()
	Test(t, func(t *testing.T) store.Store {
		return &optimistic{Store: engine(t), keys: true, ranges: true}
	})
}

// Each law fails on an engine that breaks it, and each mutant fails a law. Named are
// the laws that make the order in which a mutant fails; others meet it by chance.
func TestMutantsAreCaught(t *testing.T) {
	t.Parallel()
	t.Run("none", func(t *testing.T) {
		t.Parallel()
		for _, l := range laws {
			if fails(t, l, 30*time.Second, func(s store.Store) store.Store { return s }) {
				t.Errorf("law %s fails on an engine that keeps it", l.name)
			}
		}
	})
	seen := map[string]bool{}
	for _, m := range mutants {
		for _, name := range m.laws {
			seen[name] = true
		}
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			for _, name := range m.laws {
				i := slices.IndexFunc(laws, func(l law) bool { return l.name == name })
				if i < 0 {
					t.Fatalf("there is no law %s", name)
				}
				if !fails(t, laws[i], 2*time.Second, m.make) {
					t.Errorf("%s does not notice", name)
				}
			}
		})
	}
	for _, l := range laws {
		if !seen[l.name] {
			t.Errorf("law %s was never seen to fail", l.name)
		}
	}
}

// fails runs a law on a mutant.
func fails(t *testing.T, l law, patience time.Duration, mutant func(store.Store) store.Store) bool {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r := &recorder{}
	done := make(chan struct{})
	go func() {
		defer close(done)
		l.check(&env{
			TB: r, ctx: ctx, patience: patience, linger: 100 * time.Millisecond,
			open: func() store.Store { return mutant(engine(t)) },
			forAll: func(f func(*rapid.T)) {
				// Examples instead of Check: there is no need to make them small.
				g := rapid.Custom(func(t *rapid.T) (v bool) {
					defer func() {
						if p := recover(); p != nil { // what a *rapid.T does to fail, or to draw again
							v = strings.Contains(fmt.Sprintf("%T %[1]v", p), "stopTest")
						}
					}()
					f(t)
					return false
				})
				for seed := range 60 {
					if g.Example(seed) {
						r.Fatalf("example %d", seed)
					}
				}
			},
		})
	}()
	<-done
	return r.Failed()
}

// A recorder is a TB that only remembers whether the test failed.
type recorder struct {
	rapid.TB // nil: what is not below must not be called
	mu       sync.Mutex
	failed   bool
}

func (r *recorder) Helper()      {}
func (r *recorder) Name() string { return "mutant" }
func (r *recorder) Failed() bool { r.mu.Lock(); defer r.mu.Unlock(); return r.failed }
func (r *recorder) Fail()        { r.mu.Lock(); defer r.mu.Unlock(); r.failed = true }

func (r *recorder) Logf(string, ...any)   {}
func (r *recorder) Errorf(string, ...any) { r.Fail() }
func (r *recorder) Fatalf(string, ...any) { r.Fail(); runtime.Goexit() }

// A mutant is an engine that was broken on purpose, and the laws that notice.
type mutant struct {
	name string
	laws []string
	make func(store.Store) store.Store
}

var mutants = []mutant{
	{"a View reads what is there at the moment", []string{"AViewIsOneMoment"}, views(func(s store.Store, tx store.Tx) store.Tx {
		return &twist{Tx: tx, get: func(key []byte) (val []byte, ok bool, err error) {
			err = s.View(context.Background(), func(tx store.Tx) error { val, ok, err = tx.Get(key); return err })
			return val, ok, err
		}, scan: func(from, to []byte, limit int) iter.Seq2[store.Pair, error] {
			return func(yield func(store.Pair, error) bool) {
				for n := 0; limit == 0 || n < limit; n++ {
					var next *store.Pair
					_ = s.View(context.Background(), func(tx store.Tx) error {
						for p := range tx.Scan(from, to, 1) {
							next = &p
						}
						return nil
					})
					if next == nil || !yield(*next, nil) {
						return
					}
					from = append(next.Key, 0)
					time.Sleep(100 * time.Microsecond)
				}
			}
		}}
	})},
	{"Get does not see own writes", []string{"AnUpdateSeesItsOwnWrites", "AStoreIsAMap"}, updates(func(s store.Store, tx store.Tx) store.Tx {
		return &twist{Tx: tx, get: func(key []byte) (val []byte, ok bool, err error) {
			err = s.View(context.Background(), func(tx store.Tx) error { val, ok, err = tx.Get(key); return err })
			return val, ok, err
		}}
	})},
	{"Scan does not see own writes", []string{"AnUpdateSeesItsOwnWrites", "AStoreIsAMap"}, updates(func(s store.Store, tx store.Tx) store.Tx {
		return &twist{Tx: tx, scan: func(from, to []byte, limit int) iter.Seq2[store.Pair, error] {
			return func(yield func(store.Pair, error) bool) {
				_ = s.View(context.Background(), func(tx store.Tx) error {
					tx.Scan(from, to, limit)(yield)
					return nil
				})
			}
		}}
	})},
	{"a commit is not atomic", []string{"AnUpdateIsWholeOrNotAtAll"}, func(s store.Store) store.Store {
		return &hooked{Store: s, update: func(ctx context.Context, fn func(store.Tx) error) error {
			var writes []func(store.Tx) error
			err := s.Update(ctx, func(tx store.Tx) error {
				writes = nil
				err := fn(&twist{Tx: tx, put: func(key, val []byte) error {
					key, val = bytes.Clone(key), bytes.Clone(val)
					writes = append(writes, func(tx store.Tx) error { return tx.Put(key, val) })
					return tx.Put(key, val)
				}})
				return errors.Join(err, errDiscard)
			})
			if err.Error() != errDiscard.Error() {
				return err
			}
			for _, w := range writes {
				if err := s.Update(ctx, w); err != nil {
					return err
				}
				time.Sleep(100 * time.Microsecond)
			}
			return nil
		}}
	}},
	{"reads are not checked at commit", []string{"CountersLoseNothing", "WritesAreNotSkewed", "AUniqueValueHasOneRow"}, func(s store.Store) store.Store {
		return &optimistic{Store: s, ranges: true}
	}},
	{"ranges are not checked at commit", []string{"PhantomsAreSeen"}, func(s store.Store) store.Store {
		return &optimistic{Store: s, keys: true}
	}},
	{"ranges are checked for what came, not for what went", []string{"PhantomsAreSeen"}, func(s store.Store) store.Store {
		return &optimistic{Store: s, keys: true, ranges: true, blindToDeletes: true}
	}},
	{"only what is written is checked (snapshot isolation)", []string{"WritesAreNotSkewed"}, func(s store.Store) store.Store {
		return &optimistic{Store: s, keys: true, onlyWritten: true}
	}},
	{"a failed function is committed", []string{"AnErrorMeansNothingHappened", "AFailureDisturbsNobodyElse", "AWatchTellsCommittedChangesUnderItsPrefix"}, func(s store.Store) store.Store {
		return &hooked{Store: s, update: func(ctx context.Context, fn func(store.Tx) error) error {
			var said error
			if err := s.Update(ctx, func(tx store.Tx) error { said = fn(tx); return nil }); err != nil {
				return err
			}
			return said
		}}
	}},
	{"errors are wrapped", []string{"AnErrorMeansNothingHappened"}, func(s store.Store) store.Store {
		return &hooked{Store: s, update: func(ctx context.Context, fn func(store.Tx) error) error {
			if err := s.Update(ctx, fn); err != nil {
				return fmt.Errorf("update: %w", err)
			}
			return nil
		}}
	}},
	{"one failure fails the others", []string{"AFailureDisturbsNobodyElse"}, func(s store.Store) store.Store {
		var mu sync.Mutex
		var last error
		return &hooked{Store: s, update: func(ctx context.Context, fn func(store.Tx) error) error {
			err := s.Update(ctx, fn)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				return last
			}
			last = err
			return err
		}}
	}},
	{"a panic commits", []string{"APanicMeansNothingHappened"}, func(s store.Store) store.Store {
		return &hooked{Store: s, update: func(ctx context.Context, fn func(store.Tx) error) error {
			return s.Update(ctx, func(tx store.Tx) error {
				done := make(chan error, 1)
				go func() {
					defer func() { _ = recover(); close(done) }()
					done <- fn(tx)
				}()
				return <-done
			})
		}}
	}},
	{"long keys are dropped, not refused", []string{"LimitsAreExact"}, putting(func(tx store.Tx, key, val []byte) error {
		if len(key) > store.MaxKey {
			return nil
		}
		return tx.Put(key, val)
	})},
	{"large values are dropped, not refused", []string{"LimitsAreExact", "AnExceededLimitCanNotBeHidden"}, putting(func(tx store.Tx, key, val []byte) error {
		if len(val) > store.MaxValue {
			return nil
		}
		return tx.Put(key, val)
	})},
	{"the largest value is refused", []string{"LimitsAreExact"}, putting(func(tx store.Tx, key, val []byte) error {
		if len(val) >= store.MaxValue {
			return store.ErrLimit
		}
		return tx.Put(key, val)
	})},
	{"each write counts as a key", []string{"LimitsAreExact"}, updates(func(_ store.Store, tx store.Tx) store.Tx {
		n := 0
		return &twist{Tx: tx, put: func(key, val []byte) error {
			if n++; n > store.MaxKeys {
				return store.ErrLimit
			}
			return tx.Put(key, val)
		}}
	})},
	{"no limit of a transaction", []string{"LimitsAreExact"}, updates(func(_ store.Store, tx store.Tx) store.Tx {
		size, n := 0, 0
		return &twist{Tx: tx, put: func(key, val []byte) error {
			n++
			if size += len(key) + len(val); n > store.MaxKeys || size > store.MaxTxBytes {
				return nil
			}
			return tx.Put(key, val)
		}}
	})},
	{"a refused write is forgotten", []string{"AnExceededLimitCanNotBeHidden"}, putting(func(tx store.Tx, key, val []byte) error {
		if len(val) > store.MaxValue {
			return store.ErrLimit
		}
		return tx.Put(key, val)
	})},
	{"keys are folded", []string{"KeysAndValuesAreAnyBytes", "ScansAreOrderedAndBounded"}, putting(func(tx store.Tx, key, val []byte) error {
		return tx.Put(bytes.ToLower(key), val)
	})},
	{"an empty value is a deletion", []string{"KeysAndValuesAreAnyBytes", "AStoreIsAMap"}, putting(func(tx store.Tx, key, val []byte) error {
		if len(val) == 0 {
			return tx.Delete(key)
		}
		return tx.Put(key, val)
	})},
	{"the end of a range is inside", []string{"ScansAreOrderedAndBounded", "AStoreIsAMap"}, scanning(func(tx store.Tx, from, to []byte, limit int) iter.Seq2[store.Pair, error] {
		if to != nil {
			to = append(bytes.Clone(to), 0)
		}
		return tx.Scan(from, to, limit)
	})},
	{"the beginning of a range is outside", []string{"ScansAreOrderedAndBounded", "AStoreIsAMap"}, scanning(func(tx store.Tx, from, to []byte, limit int) iter.Seq2[store.Pair, error] {
		return tx.Scan(append(bytes.Clone(from), 0), to, limit)
	})},
	{"a limit is one more", []string{"ScansAreOrderedAndBounded", "ATableIsWhatItsRowsSay"}, scanning(func(tx store.Tx, from, to []byte, limit int) iter.Seq2[store.Pair, error] {
		if limit > 0 {
			limit++
		}
		return tx.Scan(from, to, limit)
	})},
	{"a range backwards", []string{"ScansAreOrderedAndBounded", "PagesMeetWithoutGaps"}, scanning(func(tx store.Tx, from, to []byte, limit int) iter.Seq2[store.Pair, error] {
		return func(yield func(store.Pair, error) bool) {
			var all []store.Pair
			for p := range tx.Scan(from, to, limit) {
				all = append(all, p)
			}
			for _, p := range slices.Backward(all) {
				if !yield(p, nil) {
					return
				}
			}
		}
	})},
	{"a page loses its last pair", []string{"PagesMeetWithoutGaps"}, scanning(func(tx store.Tx, from, to []byte, limit int) iter.Seq2[store.Pair, error] {
		return func(yield func(store.Pair, error) bool) {
			n := 0
			for p, err := range tx.Scan(from, to, limit) {
				if n++; n == 5 && limit > 5 {
					continue
				}
				if !yield(p, err) {
					return
				}
			}
		}
	})},
	{"a scan sees what is written meanwhile", []string{"AScanDoesNotSeeWritesMadeMeanwhile"}, scanning(func(tx store.Tx, from, to []byte, limit int) iter.Seq2[store.Pair, error] {
		return func(yield func(store.Pair, error) bool) {
			for n := 0; limit == 0 || n < limit; n++ {
				found := false
				for p := range tx.Scan(from, to, 1) {
					found, from = true, append(bytes.Clone(p.Key), 0)
					if !yield(p, nil) {
						return
					}
				}
				if !found {
					return
				}
			}
		}
	})},
	{"slices given are kept", []string{"SlicesBelongToTheirHolder"}, func(s store.Store) store.Store {
		return &hooked{Store: s, update: func(ctx context.Context, fn func(store.Tx) error) error {
			return s.Update(ctx, func(tx store.Tx) error {
				var writes []store.Pair
				if err := fn(&twist{Tx: tx, put: func(key, val []byte) error {
					writes = append(writes, store.Pair{Key: key, Val: val})
					return nil
				}}); err != nil {
					return err
				}
				for _, w := range writes {
					if err := tx.Put(w.Key, w.Val); err != nil {
						return err
					}
				}
				return nil
			})
		}}
	}},
	{"slices returned are shared", []string{"SlicesBelongToTheirHolder"}, views(func(_ store.Store, tx store.Tx) store.Tx {
		var cache [][]byte
		return &twist{Tx: tx, scan: func(from, to []byte, limit int) iter.Seq2[store.Pair, error] {
			return func(yield func(store.Pair, error) bool) {
				i := 0
				for p, err := range tx.Scan(from, to, limit) {
					if i == len(cache) {
						cache = append(cache, p.Val)
					}
					p.Val = cache[i]
					i++
					if !yield(p, err) {
						return
					}
				}
			}
		}}
	})},
	{"a View writes", []string{"AViewDoesNotWrite"}, func(s store.Store) store.Store {
		return &hooked{Store: s, view: s.Update}
	}},
	{"a View ignores writes", []string{"AViewDoesNotWrite"}, views(func(_ store.Store, tx store.Tx) store.Tx {
		return &twist{Tx: tx, put: func(_, _ []byte) error { return nil }}
	})},
	{"a dead transaction answers", []string{"ATransactionEndsWithItsFunction"}, views(func(_ store.Store, tx store.Tx) store.Tx {
		return &twist{Tx: tx, get: func(key []byte) ([]byte, bool, error) {
			v, ok, _ := tx.Get(key)
			return v, ok, nil
		}}
	})},
	{"a closed store is empty", []string{"AClosedStoreSaysSo"}, func(s store.Store) store.Store {
		return &hooked{Store: s, view: func(ctx context.Context, fn func(store.Tx) error) error {
			if err := s.View(ctx, fn); !errors.Is(err, store.ErrClosed) {
				return err
			}
			return nil
		}}
	}},
	{"contexts are ignored", []string{"ACancelledContextStartsNothing"}, func(s store.Store) store.Store {
		return &hooked{Store: s, update: func(ctx context.Context, fn func(store.Tx) error) error {
			return s.Update(context.WithoutCancel(ctx), fn)
		}}
	}},
	{"a watch begins in silence", []string{"AWatchBeginsWithAGap"}, watches(func(s store.Store, ctx context.Context, prefix []byte, yield func([]byte) bool) {
		for key := range s.Watch(ctx, prefix) {
			if key != nil && !yield(key) {
				return
			}
		}
	})},
	{"a watch forgets deletions", []string{"AWatchTellsCommittedChangesUnderItsPrefix"}, watches(func(s store.Store, ctx context.Context, prefix []byte, yield func([]byte) bool) {
		for key := range s.Watch(ctx, prefix) {
			there := key == nil
			_ = s.View(ctx, func(tx store.Tx) error { _, ok, err := tx.Get(key); there = there || ok; return err })
			if there && !yield(key) {
				return
			}
		}
	})},
	{"a watch looks at the name of its prefix", []string{"AWatchTellsCommittedChangesUnderItsPrefix"}, watches(func(s store.Store, ctx context.Context, prefix []byte, yield func([]byte) bool) {
		for key := range s.Watch(ctx, bytes.TrimSuffix(prefix, []byte("/"))) {
			if !yield(key) {
				return
			}
		}
	})},
	{"a slow watcher misses changes", []string{"ASlowWatcherHindersNobodyAndMissesNothing"}, watches(func(s store.Store, ctx context.Context, prefix []byte, yield func([]byte) bool) {
		first := true
		for key := range s.Watch(ctx, prefix) {
			if (key == nil && !first) || bytes.HasSuffix(key, []byte("/7")) {
				continue
			}
			first = false
			if !yield(key) {
				return
			}
		}
	})},
	{"a slow watcher hinders writers", []string{"ASlowWatcherHindersNobodyAndMissesNothing"}, func(s store.Store) store.Store {
		busy := make(chan struct{}, 1)
		return &hooked{Store: s,
			update: func(ctx context.Context, fn func(store.Tx) error) error {
				busy <- struct{}{}
				defer func() { <-busy }()
				return s.Update(ctx, fn)
			},
			watch: func(ctx context.Context, prefix []byte, yield func([]byte) bool) {
				for key := range s.Watch(ctx, prefix) {
					select {
					case busy <- struct{}{}:
					case <-ctx.Done():
						return
					}
					more := yield(key)
					<-busy
					if !more {
						return
					}
				}
			}}
	}},
	{"a watch outlives its context", []string{"AWatchEndsWithItsContext"}, watches(func(s store.Store, _ context.Context, prefix []byte, yield func([]byte) bool) {
		s.Watch(context.Background(), prefix)(yield)
	})},
	{"a deletion is lost", []string{"AStoreIsAMap", "AnUpdateSeesItsOwnWrites"}, deleting(func(store.Tx, []byte) error { return nil })},
	{"index entries are left behind", []string{"ATableIsWhatItsRowsSay", "AConflictNamesTheRowAndWritesNothing"}, deleting(func(tx store.Tx, key []byte) error {
		if parts, err := store.Parts(key); err == nil && len(parts) > 1 && parts[1] != "r" {
			return nil
		}
		return tx.Delete(key)
	})},
	{"unique values are not looked up", []string{"AConflictNamesTheRowAndWritesNothing", "AUniqueValueHasOneRow", "ATableIsWhatItsRowsSay"}, updates(func(_ store.Store, tx store.Tx) store.Tx {
		return &twist{Tx: tx, get: func(key []byte) ([]byte, bool, error) {
			if parts, err := store.Parts(key); err == nil && len(parts) > 1 && parts[1] == "u" {
				return nil, false, nil
			}
			return tx.Get(key)
		}}
	})},
	{"an index keeps rows that are gone", []string{"ATableCanBeChangedWhileItIsRead"}, deleting(func(tx store.Tx, key []byte) error {
		if parts, err := store.Parts(key); err == nil && len(parts) > 1 && parts[1] == "i" {
			return nil
		}
		return tx.Delete(key)
	})},
}

// A hooked store has some of its methods replaced.
type hooked struct {
	store.Store
	view, update func(context.Context, func(store.Tx) error) error
	watch        func(context.Context, []byte, func([]byte) bool)
}

func (h *hooked) View(ctx context.Context, fn func(store.Tx) error) error {
	if h.view == nil {
		return h.Store.View(ctx, fn)
	}
	return h.view(ctx, fn)
}

func (h *hooked) Update(ctx context.Context, fn func(store.Tx) error) error {
	if h.update == nil {
		return h.Store.Update(ctx, fn)
	}
	return h.update(ctx, fn)
}

func (h *hooked) Watch(ctx context.Context, prefix []byte) iter.Seq[[]byte] {
	if h.watch == nil {
		return h.Store.Watch(ctx, prefix)
	}
	return func(yield func([]byte) bool) { h.watch(ctx, prefix, yield) }
}

// A twist is a transaction that has some of its methods replaced.
type twist struct {
	store.Tx
	get  func(key []byte) ([]byte, bool, error)
	scan func(from, to []byte, limit int) iter.Seq2[store.Pair, error]
	put  func(key, val []byte) error
	del  func(key []byte) error
}

func (t *twist) Get(key []byte) ([]byte, bool, error) {
	if t.get == nil {
		return t.Tx.Get(key)
	}
	return t.get(key)
}

func (t *twist) Scan(from, to []byte, limit int) iter.Seq2[store.Pair, error] {
	if t.scan == nil {
		return t.Tx.Scan(from, to, limit)
	}
	return t.scan(from, to, limit)
}

func (t *twist) Put(key, val []byte) error {
	if t.put == nil {
		return t.Tx.Put(key, val)
	}
	return t.put(key, val)
}

func (t *twist) Delete(key []byte) error {
	if t.del == nil {
		return t.Tx.Delete(key)
	}
	return t.del(key)
}

// views and updates twist each transaction of that kind.
func views(f func(store.Store, store.Tx) store.Tx) func(store.Store) store.Store {
	return func(s store.Store) store.Store {
		return &hooked{Store: s, view: func(ctx context.Context, fn func(store.Tx) error) error {
			return s.View(ctx, func(tx store.Tx) error { return fn(f(s, tx)) })
		}}
	}
}

func updates(f func(store.Store, store.Tx) store.Tx) func(store.Store) store.Store {
	return func(s store.Store) store.Store {
		return &hooked{Store: s, update: func(ctx context.Context, fn func(store.Tx) error) error {
			return s.Update(ctx, func(tx store.Tx) error { return fn(f(s, tx)) })
		}}
	}
}

func putting(f func(tx store.Tx, key, val []byte) error) func(store.Store) store.Store {
	return updates(func(_ store.Store, tx store.Tx) store.Tx {
		return &twist{Tx: tx, put: func(key, val []byte) error { return f(tx, key, val) }}
	})
}

func deleting(f func(tx store.Tx, key []byte) error) func(store.Store) store.Store {
	return updates(func(_ store.Store, tx store.Tx) store.Tx {
		return &twist{Tx: tx, del: func(key []byte) error { return f(tx, key) }}
	})
}

func scanning(f func(tx store.Tx, from, to []byte, limit int) iter.Seq2[store.Pair, error]) func(store.Store) store.Store {
	twisted := func(_ store.Store, tx store.Tx) store.Tx {
		return &twist{Tx: tx, scan: func(from, to []byte, limit int) iter.Seq2[store.Pair, error] { return f(tx, from, to, limit) }}
	}
	return func(s store.Store) store.Store { return views(twisted)(updates(twisted)(s)) }
}

func watches(f func(s store.Store, ctx context.Context, prefix []byte, yield func([]byte) bool)) func(store.Store) store.Store {
	return func(s store.Store) store.Store {
		return &hooked{Store: s, watch: func(ctx context.Context, prefix []byte, yield func([]byte) bool) { f(s, ctx, prefix, yield) }}
	}
}

// An optimistic engine runs functions beside each other and checks at commit that
// what they read is still so, as an engine on a cluster does. Its fields are
// the checks.
type optimistic struct {
	store.Store
	keys, ranges   bool
	onlyWritten    bool // of the keys read, only those that are written too
	blindToDeletes bool // a range that lost keys is as it was
}

var errAgain = errors.New("storetest: run again")

func (o *optimistic) Update(ctx context.Context, fn func(store.Tx) error) error {
	for {
		err := o.try(ctx, fn)
		if !errors.Is(err, errAgain) {
			return err
		}
		time.Sleep(50 * time.Microsecond)
	}
}

type rangeRead struct {
	from, to []byte
	limit    int
	keys     []string
}

func (o *optimistic) try(ctx context.Context, fn func(store.Tx) error) error {
	var dead, limit error
	reads, writes := map[string]string{}, map[string]*[]byte{}
	var ranges []*rangeRead
	var said error
	err := o.Store.View(ctx, func(base store.Tx) error {
		seen := func(key, val []byte, ok bool) { reads[string(key)] = fmt.Sprint(ok, string(val)) }
		scanBase := func(from, to []byte, limit int) ([]store.Pair, error) {
			r := &rangeRead{from: bytes.Clone(from), to: bytes.Clone(to), limit: limit}
			ranges = append(ranges, r)
			var all []store.Pair
			for p, err := range base.Scan(from, to, limit) {
				if err != nil {
					return nil, err
				}
				seen(p.Key, p.Val, true)
				r.keys = append(r.keys, string(p.Key))
				all = append(all, p)
			}
			return all, nil
		}
		write := func(key []byte, val *[]byte) error {
			switch {
			case dead != nil:
				return dead
			case limit != nil:
				return limit
			}
			before, had := writes[string(key)]
			writes[string(key)] = val
			size := 0
			for k, v := range writes {
				size += len(k)
				if v != nil {
					size += len(*v)
				}
			}
			if len(key) == 0 || len(key) > store.MaxKey || val != nil && len(*val) > store.MaxValue || len(writes) > store.MaxKeys || size > store.MaxTxBytes {
				limit = store.ErrLimit
				if delete(writes, string(key)); had {
					writes[string(key)] = before
				}
			}
			return limit
		}
		said = fn(&twist{Tx: base,
			get: func(key []byte) ([]byte, bool, error) {
				if v, mine := writes[string(key)]; dead == nil && mine {
					if v == nil {
						return nil, false, nil
					}
					return bytes.Clone(*v), true, nil
				}
				v, ok, err := base.Get(key)
				if err == nil {
					seen(key, v, ok)
				}
				return v, ok, err
			},
			scan: func(from, to []byte, limit int) iter.Seq2[store.Pair, error] {
				return func(yield func(store.Pair, error) bool) {
					all, err := scanBase(from, to, 0)
					if err != nil {
						yield(store.Pair{}, err)
						return
					}
					all = slices.DeleteFunc(all, func(p store.Pair) bool { _, mine := writes[string(p.Key)]; return mine })
					for k, v := range writes {
						if v != nil && k >= string(from) && (to == nil || k < string(to)) {
							all = append(all, store.Pair{Key: []byte(k), Val: bytes.Clone(*v)})
						}
					}
					slices.SortFunc(all, func(a, b store.Pair) int { return bytes.Compare(a.Key, b.Key) })
					for i, p := range all {
						if limit > 0 && i == limit || !yield(p, nil) {
							return
						}
					}
				}
			},
			put: func(key, val []byte) error { v := append([]byte{}, val...); return write(key, &v) },
			del: func(key []byte) error { return write(key, nil) },
		})
		dead = errors.New("storetest: the transaction is over")
		return nil
	})
	switch {
	case err != nil:
		return err
	case limit != nil:
		return limit
	case said != nil:
		return said
	}
	return o.Store.Update(ctx, func(tx store.Tx) error {
		for key, was := range reads {
			_, written := writes[key]
			if !o.keys || o.onlyWritten && !written {
				continue
			}
			v, ok, err := tx.Get([]byte(key))
			if err != nil {
				return err
			}
			if fmt.Sprint(ok, string(v)) != was && (ok || !o.blindToDeletes) {
				return errAgain
			}
		}
		for _, r := range ranges {
			if !o.ranges {
				continue
			}
			var now []string
			for p, err := range tx.Scan(r.from, r.to, r.limit) {
				if err != nil {
					return err
				}
				now = append(now, string(p.Key))
			}
			came := slices.ContainsFunc(now, func(k string) bool { return !slices.Contains(r.keys, k) })
			if came || len(now) != len(r.keys) && !o.blindToDeletes {
				return errAgain
			}
		}
		for key, val := range writes {
			var err error
			if val == nil {
				err = tx.Delete([]byte(key))
			} else {
				err = tx.Put([]byte(key), *val)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}
