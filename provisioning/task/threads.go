package task

import (
	"context"
	"errors"
	"iter"
	"sync"
)

// InThreads does long work in several goroutines: do is called for each bucket,
// up to threads at the same time (0: one), and then done, for one bucket at a
// time and in the order in which they came, when it and all before it are done.
// So what done saves is always a point where everything before is done and can
// be gone on from. Buckets are taken no faster than they are done.
//
// It stops at the first error, of buckets, do, done or ctx, and returns that of
// the earliest bucket that has one, when all that was under way is over. Buckets
// behind it may have been done without done: doing them again must do no harm.
func InThreads[B any](ctx context.Context, threads int, buckets iter.Seq2[B, error], do func(context.Context, B) error, done func(B) error) error {
	threads = max(threads, 1)
	work, cancel := context.WithCancel(ctx)
	defer cancel()

	type bucket struct {
		b    B
		said chan error
	}
	order := make(chan bucket, threads-1) // in the order of buckets; one more is in last's hands
	free := make(chan struct{}, threads)
	var last error
	var ending, doing sync.WaitGroup
	ending.Go(func() {
		for b := range order {
			err := <-b.said
			if err == nil && last == nil {
				err = done(b.b)
			}
			if err != nil && last == nil {
				last = err
				cancel()
			}
		}
	})

	for b, err := range buckets {
		said := make(chan error, 1)
		if err == nil {
			err = work.Err()
		}
		if err != nil {
			said <- err
			order <- bucket{b, said}
			break
		}
		free <- struct{}{}
		order <- bucket{b, said}
		doing.Go(func() {
			said <- do(work, b)
			<-free
		})
	}
	close(order)
	doing.Wait()
	ending.Wait()
	if cause := context.Cause(ctx); cause != nil && errors.Is(last, context.Canceled) {
		return cause
	}
	return last
}
