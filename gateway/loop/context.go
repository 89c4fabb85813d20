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
	after []*func() // nil: it was stopped
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
	id := len(c.after)
	c.after = append(c.after, &f)
	return func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.err != nil || c.after[id] == nil {
			return false
		}
		c.after[id] = nil
		return true
	}
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
	for _, f := range c.after {
		if f != nil {
			go (*f)()
		}
	}
	c.after = nil
}
