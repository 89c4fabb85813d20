package connector_test

import (
	"context"
	"errors"
	"iter"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gatehouse-sso/gatehouse/provisioning/connector"
)

// calls counts what arrives.
type calls struct {
	mu sync.Mutex
	n  int
}

func (c *calls) count() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n++
}

func (c *calls) Sync(_ context.Context, _ connector.Account, have string) (string, error) {
	c.count()
	return have, nil
}

func (c *calls) Find(context.Context, connector.Account) ([]connector.Account, error) {
	c.count()
	return nil, nil
}

func (c *calls) Remove(context.Context, string) error {
	c.count()
	return nil
}

func (c *calls) Accounts(context.Context) iter.Seq2[connector.Account, error] {
	c.count()
	return func(yield func(connector.Account, error) bool) { yield(connector.Account{ID: "1"}, nil) }
}

func TestCallsAreSpreadOverTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := &calls{}
		l := connector.Limited(c, 5)
		began := time.Now()
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() {
				for _, err := range []error{
					func() error { _, err := l.Sync(t.Context(), connector.Account{}, "7"); return err }(),
					func() error { _, err := l.Find(t.Context(), connector.Account{}); return err }(),
					l.Remove(t.Context(), "7"),
				} {
					if err != nil {
						t.Error(err)
					}
				}
				for a, err := range l.Accounts(t.Context()) {
					if a.ID != "1" || err != nil {
						t.Errorf("%+v, %v", a, err)
					}
				}
			})
		}
		wg.Wait()
		// 40 calls at 5 a second, the first 5 at once.
		if took := time.Since(began); c.n != 40 || took != 7*time.Second {
			t.Errorf("%d calls in %v, want 40 in 7s", c.n, took)
		}
	})
}

func TestWhoCanNotWaitIsToldAtOnceAndNothingWasSent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := &calls{}
		l := connector.Limited(c, 1)
		if _, err := l.Sync(t.Context(), connector.Account{}, ""); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		id, err := l.Sync(ctx, connector.Account{}, "7")
		_, ferr := l.Find(ctx, connector.Account{})
		var aerr error
		for _, aerr = range l.Accounts(ctx) {
			break
		}
		for _, err := range []error{err, ferr, l.Remove(ctx, "7"), aerr} {
			var ce *connector.Error
			if !errors.As(err, &ce) || ce.Class != connector.Transient || ce.Ambiguous {
				t.Errorf("it says %v, want something transient that did not happen", err)
			}
		}
		if id != "7" || c.n != 1 {
			t.Errorf("the ID is %q, %d calls arrived", id, c.n)
		}
	})
}

func TestNoLimitIsNoLimit(t *testing.T) {
	t.Parallel()
	c := &calls{}
	if connector.Limited(c, 0) != connector.Connector(c) || connector.Limited(c, -1) != connector.Connector(c) {
		t.Error("a limit of nothing wraps the connector")
	}
}
