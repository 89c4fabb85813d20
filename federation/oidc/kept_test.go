package oidc

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestKeptFetchesOnceForAllWhoWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		fetched := 0
		k := kept[int]{now: time.Now, fetch: func(context.Context) (int, error) {
			fetched++
			time.Sleep(3 * time.Second)
			return fetched, nil
		}}
		all := func(renew bool, want int) {
			t.Helper()
			var wg sync.WaitGroup
			for range 50 {
				wg.Go(func() {
					if v, err := k.get(t.Context(), renew); err != nil || v != want {
						t.Errorf("%d, %v; want %d", v, err, want)
					}
				})
			}
			wg.Wait()
		}
		all(false, 1)
		all(true, 2) // right after the first, there may be a newer one
		all(true, 2) // not again within the minute
		time.Sleep(time.Minute)
		all(false, 2)
		all(true, 3)
		time.Sleep(keptLife + time.Second)
		all(false, 4)
		if fetched != 4 {
			t.Errorf("fetched %d times, want 4", fetched)
		}
	})
}

func TestKeptOutlivesItsFirstCallerAndKeepsTheLastGood(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		fail := errors.New("down")
		var err error
		fetched := 0
		k := kept[int]{now: time.Now, fetch: func(ctx context.Context) (int, error) {
			fetched++
			time.Sleep(3 * time.Second)
			if ctx.Err() != nil {
				return 0, ctx.Err()
			}
			return fetched, err
		}}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := k.get(ctx, false); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("who goes away is told %v", err)
		}
		if v, err := k.get(t.Context(), false); v != 1 || err != nil {
			t.Errorf("who waits gets %d, %v from the same fetch", v, err)
		}
		err = fail
		time.Sleep(2 * keptLife)
		for range 3 {
			if v, err := k.get(t.Context(), true); v != 1 || err != nil {
				t.Errorf("%d, %v; want the last good one", v, err)
			}
		}
		if fetched != 2 {
			t.Errorf("fetched %d times, want 2", fetched)
		}
	})
}

func TestKeptTurnsAPanicIntoAnError(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := 0
		k := kept[int]{now: time.Now, fetch: func(context.Context) (int, error) {
			if n++; n < 3 {
				panic("over what a stranger sent")
			}
			return n, nil
		}}
		for range 4 {
			if _, err := k.get(t.Context(), false); err == nil || !strings.Contains(err.Error(), "stranger") {
				t.Errorf("%v", err)
			}
		}
		if n != 1 {
			t.Errorf("%d attempts at once, want 1", n)
		}
		time.Sleep(keptRetry)
		_, _ = k.get(t.Context(), false)
		time.Sleep(keptRetry)
		if v, err := k.get(t.Context(), false); v != 3 || err != nil {
			t.Errorf("%d, %v", v, err)
		}
	})
}
