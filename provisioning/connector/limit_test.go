package connector_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gatehouse-sso/gatehouse/provisioning/connector"
)

func TestCallsAreSpreadOverTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := connector.NewLimit(5, nil)
		began := time.Now()
		var wg sync.WaitGroup
		for range 40 {
			wg.Go(func() {
				if err := l.Wait(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if took := time.Since(began); took != 7*time.Second { // the first 5 at once
			t.Errorf("40 calls in %v, want 7s", took)
		}
	})
}

func TestWhoCanNotWaitIsToldAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := connector.NewLimit(1, nil)
		if err := l.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		began := time.Now()
		if err := l.Wait(ctx); err == nil || time.Since(began) != 0 {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}

func TestALimitHalvesAndComesBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		rate := func(l *connector.Limit) int {
			if err := l.Wait(t.Context()); err != nil {
				t.Fatal(err)
			}
			return l.Rate()
		}
		l := connector.NewLimit(40, nil)
		time.Sleep(time.Minute)
		for _, want := range []int{20, 10, 5, 2, 1, 1} {
			l.Slow()
			l.Slow() // the same second: about calls that were made before
			if got := l.Rate(); got != want {
				t.Errorf("%d calls a second, want %d", got, want)
			}
			time.Sleep(time.Second)
		}
		time.Sleep(3 * time.Minute)
		if got := rate(l); got != 4 {
			t.Errorf("three minutes later %d", got)
		}
		time.Sleep(2 * time.Hour)
		if got := rate(l); got != 40 {
			t.Errorf("two hours later %d", got)
		}
		// Without a limit of its own it begins where the target said no.
		free := connector.NewLimit(0, nil)
		for range 30 {
			if got := rate(free); got != 0 {
				t.Fatalf("a limit of nothing is %d", got)
			}
		}
		free.Slow()
		if got := free.Rate(); got != 15 {
			t.Errorf("after 30 calls in a second it gets %d", got)
		}
		time.Sleep(16 * time.Minute)
		if got := rate(free); got != 0 {
			t.Errorf("a quarter of an hour later there is a limit of %d", got)
		}
		var none *connector.Limit
		if none.Slow(); none.Wait(t.Context()) != nil || none.Rate() != 0 {
			t.Error("no limit limits")
		}
	})
}
