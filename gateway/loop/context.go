package loop

import (
	"context"
	"sync"
)

// A requestContext ends when its request has been served or its client has left.
// The channel is made when somebody asks for it, which is next to never.
type requestContext struct {
	context.Context // of the connection

	mu    sync.Mutex
	err   error
	done  chan struct{}
	first afterwards
}

// over is the channel of contexts that had ended before anybody asked.
var over = func() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

func (c *requestContext) Done() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.done == nil {
		if c.err != nil {
			c.done = over
		} else {
			c.done = make(chan struct{})
		}
	}
	return c.done
}

func (c *requestContext) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// AfterFunc is for the context package, and for who knows that a context may have
// it: f runs on a goroutine of its own once c has ended, unless stop comes first.
func (c *requestContext) AfterFunc(f func()) (stop func() bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		go f()
		return func() bool { return false }
	}
	a := &c.first
	if a.c != nil {
		a = &afterwards{next: c.first.next}
		c.first.next = a
	}
	a.c, a.f = c, f
	return a.stop
}

// afterwards is what is to happen once a context has ended. The first is part of its
// context; most have no other.
type afterwards struct {
	c    *requestContext
	f    func() // nil: it was stopped
	next *afterwards
}

// stop reports whether it was in time.
func (a *afterwards) stop() bool {
	a.c.mu.Lock()
	defer a.c.mu.Unlock()
	if a.c.err != nil || a.f == nil {
		return false
	}
	a.f = nil
	return true
}

func (c *requestContext) cancel() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return
	}
	c.err = context.Canceled
	if c.done != nil {
		close(c.done)
	}
	for a := &c.first; a != nil; a = a.next {
		if a.f != nil {
			go a.f()
		}
	}
	c.first.next = nil
}
