// Package storetest is the suite that every engine of package store passes, and
// the wrappers that make an engine awkward, for tests of what is built on one.
//
// Each law is a function over a store that nobody else uses. The package's own
// tests run each law on an engine that breaks it, and see it fail.
package storetest

import (
	"context"
	"errors"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/gatehouse-sso/gatehouse/provisioning/store"
)

// Test runs the suite. open makes an empty store; the suite closes it.
func Test(t *testing.T, open func(t *testing.T) store.Store) {
	for _, l := range laws {
		t.Run(l.name, func(t *testing.T) {
			t.Parallel()
			l.check(&env{
				TB:       t,
				ctx:      t.Context(),
				patience: 30 * time.Second, linger: 5 * time.Millisecond,
				open: func() store.Store {
					s := open(t)
					t.Cleanup(func() { s.Close() })
					return s
				},
				forAll: func(f func(*rapid.T)) { rapid.Check(t, f) },
			})
		})
	}
}

// A law is one promise of the contract.
type law struct {
	name  string
	check func(*env)
}

// An env is what a law runs in: a test, or a recorder that expects it to fail.
type env struct {
	rapid.TB
	ctx      context.Context
	patience time.Duration // how long to wait for what must happen
	linger   time.Duration // how long to wait for what need not
	open     func() store.Store
	forAll   func(func(*rapid.T)) // checks a property
}

// update runs fn and fails if it does not commit.
func (e *env) update(s store.Store, fn func(store.Tx) error) {
	e.Helper()
	if err := s.Update(e.ctx, fn); err != nil {
		e.Fatalf("Update: %v", err)
	}
}

func (e *env) view(s store.Store, fn func(store.Tx) error) {
	e.Helper()
	if err := s.View(e.ctx, fn); err != nil {
		e.Fatalf("View: %v", err)
	}
}

// put commits pairs: key, value, key, value, ….
func (e *env) put(s store.Store, pairs ...string) {
	e.Helper()
	e.update(s, func(tx store.Tx) error {
		for i := 0; i < len(pairs); i += 2 {
			if err := tx.Put([]byte(pairs[i]), []byte(pairs[i+1])); err != nil {
				return err
			}
		}
		return nil
	})
}

// all returns what the store holds under prefix: key, value, key, value, ….
func (e *env) all(s store.Store, prefix string) (pairs []string) {
	e.Helper()
	e.view(s, func(tx store.Tx) (err error) {
		pairs, err = scan(tx, prefix, string(store.End([]byte(prefix))), 0)
		return err
	})
	return pairs
}

// scan collects a Scan; an empty to is no bound.
func scan(tx store.Tx, from, to string, limit int) (pairs []string, err error) {
	var end []byte
	if to != "" {
		end = []byte(to)
	}
	for p, err := range tx.Scan([]byte(from), end, limit) {
		if err != nil {
			return nil, err
		}
		pairs = append(pairs, string(p.Key), string(p.Val))
	}
	return pairs, nil
}

// get returns a value, or "(none)".
func get(tx store.Tx, key string) (string, error) {
	v, ok, err := tx.Get([]byte(key))
	if err != nil {
		return "", err
	}
	if !ok {
		return "(none)", nil
	}
	return string(v), nil
}

// together runs n functions at the same time and returns their errors.
func (e *env) together(n int, f func(i int) error) []error {
	errs := make([]error, n)
	done := make(chan struct{}, n)
	for i := range n {
		go func() {
			defer func() { done <- struct{}{} }()
			errs[i] = f(i)
		}()
	}
	timeout := time.After(e.patience)
	for range n {
		select {
		case <-done:
		case <-timeout:
			e.Fatalf("transactions wait for each other")
		}
	}
	return errs
}

// meeting lets n transactions read before any of them writes, on engines where
// that can be. On engines that run one after the other, the first gives up
// waiting: the time bounds the search for an interleaving and decides nothing.
func (e *env) meeting(n int) (meet func()) {
	here := make(chan struct{}, n)
	all := make(chan struct{})
	return func() {
		select {
		case here <- struct{}{}:
			if len(here) == n {
				select {
				case <-all:
				default:
					close(all)
				}
			}
		default: // a second try
			return
		}
		select {
		case <-all:
		case <-time.After(e.linger):
		}
	}
}

// Twice runs every function first in a transaction that is discarded. What is
// built on a store must bear it: an engine may run a function again.
func Twice(s store.Store) store.Store { return &twice{s} }

type twice struct{ store.Store }

var errDiscard = errors.New("storetest: discarded")

func (t *twice) Update(ctx context.Context, fn func(store.Tx) error) error {
	err := t.Store.Update(ctx, func(tx store.Tx) error {
		_ = fn(tx) // the second run says what it is
		return errDiscard
	})
	if !errors.Is(err, errDiscard) {
		return err
	}
	return t.Store.Update(ctx, fn)
}

func (t *twice) View(ctx context.Context, fn func(store.Tx) error) error {
	err := t.Store.View(ctx, func(tx store.Tx) error {
		_ = fn(tx)
		return errDiscard
	})
	if !errors.Is(err, errDiscard) {
		return err
	}
	return t.Store.View(ctx, fn)
}

// A Failing store takes Left updates more, and says ErrRefused to all others.
type Failing struct {
	store.Store
	Left int
}

// ErrRefused is what a Failing store's Update says.
var ErrRefused = errors.New("storetest: refused")

// Update is as in [store.Store].
func (f *Failing) Update(ctx context.Context, fn func(store.Tx) error) error {
	if f.Left--; f.Left < 0 {
		return ErrRefused
	}
	return f.Store.Update(ctx, fn)
}

// ErrUncertain is what Flaky's Update says.
var ErrUncertain = errors.New("storetest: may or may not have happened")

// Flaky makes an Update that was committed say ErrUncertain whenever chance says
// so. chance must be safe to call from several goroutines.
func Flaky(s store.Store, chance func() bool) store.Store { return &flaky{s, chance} }

type flaky struct {
	store.Store
	chance func() bool
}

func (f *flaky) Update(ctx context.Context, fn func(store.Tx) error) error {
	if err := f.Store.Update(ctx, fn); err != nil {
		return err
	}
	if f.chance() {
		return ErrUncertain
	}
	return nil
}
