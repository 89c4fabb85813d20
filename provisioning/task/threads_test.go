package task

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

func upTo(n int, fail map[int]error) iter.Seq2[int, error] {
	return func(yield func(int, error) bool) {
		for i := range n {
			if !yield(i, fail[i]) {
				return
			}
		}
	}
}

// Whatever fails and however long each bucket takes: done is called for a
// beginning of the buckets, in order, each after do; the error is the first one's.
func TestBucketsAreDoneInOrder(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, 12).Draw(t, "buckets")
		threads := rapid.IntRange(0, 5).Draw(t, "threads")
		took := rapid.SliceOfN(rapid.IntRange(0, 3), n, n).Draw(t, "seconds")
		fails := func(label string) map[int]error {
			m := map[int]error{}
			for _, i := range rapid.SliceOfN(rapid.IntRange(0, 12), 0, 2).Draw(t, label) {
				m[i] = fmt.Errorf("%s %d", label, i)
			}
			return m
		}
		inYield, inDo, inDone := fails("yield"), fails("do"), fails("done")
		var did [12]atomic.Bool
		var at atomic.Int32
		var saved []int
		err := InThreads(t.Context(), threads, upTo(n, inYield), func(ctx context.Context, i int) error {
			if int(at.Add(1)) > max(threads, 1) {
				t.Errorf("more than %d at once", threads)
			}
			defer at.Add(-1)
			for range took[i] {
				time.Sleep(time.Microsecond)
			}
			did[i].Store(true)
			return inDo[i]
		}, func(i int) error {
			if !did[i].Load() {
				t.Errorf("bucket %d is not done", i)
			}
			if inDone[i] == nil {
				saved = append(saved, i)
			}
			return inDone[i]
		})
		want, first := []int{}, error(nil)
		for i := range n {
			if first = errors.Join(inYield[i], nil); inYield[i] == nil {
				if first = inDo[i]; first == nil {
					first = inDone[i]
				}
			}
			if first != nil {
				break
			}
			want = append(want, i)
		}
		if !slices.Equal(saved, want) {
			t.Errorf("done %v, want %v", saved, want)
		}
		if (first == nil) != (err == nil) || first != nil && err.Error() != first.Error() {
			t.Errorf("it says %v, want %v", err, first)
		}
	})
}

func TestBucketsStopWithTheirContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		go func() {
			time.Sleep(10*time.Second + 500*time.Millisecond)
			cancel(ErrPaused)
		}()
		saved := 0
		err := InThreads(ctx, 3, upTo(1000, nil), func(ctx context.Context, i int) error {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(time.Second):
				return nil
			}
		}, func(int) error { saved++; return nil })
		if !errors.Is(err, ErrPaused) || saved != 30 {
			t.Errorf("%d of 3 a second in 10 s are done, and it says %v", saved, err)
		}
	})
}
