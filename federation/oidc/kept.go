package oidc

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// How often what a provider publishes is fetched.
const (
	keptLife  = time.Hour       // then it is fetched again
	keptPause = time.Minute     // at least, between attempts to have a newer one
	keptRetry = 5 * time.Second // at least, between attempts to have one at all
)

// kept is something that a provider publishes: fetched when it is first needed,
// fetched again when it is old or does not fit any more, and kept if that does
// not succeed. However many ask, one fetch is under way at a time, and after the
// first success not more than one in keptPause is begun.
type kept[T any] struct {
	fetch func(context.Context) (T, error)
	now   func() time.Time

	mu     sync.Mutex
	val    T
	have   bool
	got    time.Time     // when val was fetched
	tried  time.Time     // when the last attempt to have a newer one began, or the first failed
	err    error         // of the last attempt
	flight chan struct{} // closed when the fetch under way has ended; nil: there is none
}

// get gives the value; with renew a newer one than before, if that is allowed and
// succeeds. An error means that there never was one.
func (k *kept[T]) get(ctx context.Context, renew bool) (T, error) {
	k.mu.Lock()
	now := k.now()
	pause := keptRetry
	if k.have {
		pause = keptPause
	}
	want := !k.have || renew || now.Sub(k.got) > keptLife
	// A clock that was put back must not hold up the next attempt.
	due := k.tried.IsZero() || now.Sub(k.tried) >= pause || now.Before(k.tried)
	if want && due && k.flight == nil {
		k.begin(ctx, now)
	}
	flight := k.flight
	k.mu.Unlock()
	if want && flight != nil {
		select {
		case <-flight:
		case <-ctx.Done():
			var zero T
			return zero, ctx.Err()
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.have {
		var zero T
		return zero, k.err
	}
	return k.val, nil
}

// begin starts the fetch; k.mu is held. The fetch outlives the request that
// caused it, because others may wait for it too; the client bounds its time.
func (k *kept[T]) begin(ctx context.Context, now time.Time) {
	first := !k.have
	flight := make(chan struct{})
	k.flight = flight
	ctx = context.WithoutCancel(ctx)
	go func() {
		val, err := k.safely(ctx)
		k.mu.Lock()
		defer k.mu.Unlock()
		if k.tried = now; first && err == nil {
			k.tried = time.Time{} // the first success costs no attempt to renew
		}
		if k.err = err; err == nil {
			k.val, k.have, k.got = val, true, now
		}
		k.flight = nil
		close(flight)
	}()
}

// safely is fetch, where a panic over what a stranger sent is an error: outside
// of a request's own goroutine it would end the process.
func (k *kept[T]) safely(ctx context.Context) (val T, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("reading what the provider publishes: %v", p)
		}
	}()
	return k.fetch(ctx)
}

// state is what there is, without a fetch.
func (k *kept[T]) state() (val T, got time.Time, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.val, k.got, k.err
}
