package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"
)

// An inlet is a listener that can stop taking connections, which then wait in
// its backlog, and can be given to another process, which takes them.
type inlet struct {
	net.Listener
	name, at string // what it is for, and the address as configured

	mu     sync.Mutex
	opened chan struct{} // closed while connections are taken
	gone   chan struct{} // closed by Close
	once   sync.Once
}

func newInlet(name, at string, ln net.Listener) *inlet {
	in := &inlet{Listener: ln, name: name, at: at, opened: make(chan struct{}), gone: make(chan struct{})}
	close(in.opened)
	return in
}

// deadliner is what listeners of the operating system can do besides.
type deadliner interface{ SetDeadline(t time.Time) error }

// shut stops taking connections. What is in the backlog stays there.
func (in *inlet) shut() error {
	ln, ok := in.Listener.(deadliner)
	if !ok {
		return fmt.Errorf("the listener %s can not be given away", in.name)
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	in.opened = make(chan struct{})
	return ln.SetDeadline(time.Unix(1, 0))
}

// open takes connections again.
func (in *inlet) open() error {
	in.mu.Lock()
	defer in.mu.Unlock()
	err := in.Listener.(deadliner).SetDeadline(time.Time{}) // shut has asked whether it is one
	close(in.opened)
	return err
}

// Accept waits while the inlet is shut.
func (in *inlet) Accept() (net.Conn, error) {
	for {
		in.mu.Lock()
		opened := in.opened
		in.mu.Unlock()
		select {
		case <-opened:
		case <-in.gone:
			return nil, net.ErrClosed
		}
		c, err := in.Listener.Accept()
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return c, err
		}
	}
}

// Close ends waiting too.
func (in *inlet) Close() error {
	in.once.Do(func() { close(in.gone) })
	return in.Listener.Close()
}

// leave makes Close leave the path of a Unix socket where it is: whoever has the
// socket now has the path.
func (in *inlet) leave() {
	if u, ok := in.Listener.(*net.UnixListener); ok {
		u.SetUnlinkOnClose(false)
	}
}

// own makes Close remove the path of a Unix socket that another process made.
func (in *inlet) own() {
	if u, ok := in.Listener.(*net.UnixListener); ok {
		u.SetUnlinkOnClose(true)
	}
}
