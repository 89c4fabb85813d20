package connector

import (
	"context"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// A Limit is how fast a target may be called, over all who call it. It adapts: a
// target that says that it is asked too often gets half as many calls, and then
// one a second more each minute until it has what was configured again. One call
// of a Connector may be several requests, so this bounds the calls and not the
// requests. A nil Limit lets everything through.
type Limit struct {
	most int // calls a second as configured; 0: no limit
	now  func() time.Time

	mu     sync.Mutex
	bucket *rate.Limiter // nil: no limit
	rate   int           // of the bucket
	back   int           // the rate at which a limit that was not configured ends
	raised time.Time     // when the rate was last changed
	calls  [2]int        // in this second, and in the one before
	second int64
}

// NewLimit makes a Limit of calls a second; 0: none until the target wants one.
// now: nil is time.Now.
func NewLimit(perSecond int, now func() time.Time) *Limit {
	if now == nil {
		now = time.Now
	}
	l := &Limit{most: perSecond, now: now}
	if perSecond > 0 {
		l.set(perSecond)
	}
	return l
}

func (l *Limit) set(perSecond int) {
	l.rate, l.raised = perSecond, l.now()
	l.bucket = rate.NewLimiter(rate.Limit(perSecond), perSecond)
}

// Wait returns when a call may be made, or with ctx's error.
func (l *Limit) Wait(ctx context.Context) error {
	if l == nil {
		return nil
	}
	b := l.take()
	if b == nil {
		return nil
	}
	return b.Wait(ctx)
}

// take counts a call, and raises the rate if it is time.
func (l *Limit) take() *rate.Limiter {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	switch s := now.Unix(); s {
	case l.second:
	case l.second + 1:
		l.calls[1], l.calls[0], l.second = l.calls[0], 0, s
	default:
		l.calls, l.second = [2]int{}, s
	}
	l.calls[0]++
	if steps := int(now.Sub(l.raised) / time.Minute); l.bucket != nil && l.rate != l.most && steps > 0 {
		next := l.rate + steps
		switch {
		case l.most > 0:
			next = min(next, l.most)
		case next >= l.back:
			l.bucket, l.rate = nil, 0
			return nil
		}
		l.rate, l.raised = next, now
		l.bucket.SetLimitAt(now, rate.Limit(next))
		l.bucket.SetBurstAt(now, next)
	}
	return l.bucket
}

// Slow halves the rate: the target said that it is asked too often. What it says
// again within a second is about calls that were made before.
func (l *Limit) Slow() {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	if l.bucket == nil {
		l.back = max(l.calls[0], l.calls[1], 2)
		l.set(max(1, l.back/2))
		return
	}
	if now.Sub(l.raised) < time.Second {
		return
	}
	l.rate, l.raised = max(1, l.rate/2), now
	l.bucket.SetLimitAt(now, rate.Limit(l.rate))
	l.bucket.SetBurstAt(now, l.rate)
}

// Rate is how many calls a second it lets through; 0: any number.
func (l *Limit) Rate() int {
	if l == nil {
		return 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.rate
}
