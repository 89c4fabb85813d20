//go:build unix

package socket

import (
	"errors"
	"syscall"
)

// Supported: it can be seen here what the other side did.
const Supported = true

// Silent reports whether the connection is open, and nothing came by it.
func (c *Conn) Silent() bool {
	c.silent = false
	return c.raw.Read(c.look) == nil && c.silent
}

func (c *Conn) lookAt(fd uintptr) (done bool) {
	_, err := peek(fd)
	c.silent = errors.Is(err, syscall.EAGAIN)
	return true
}

// Left reports whether the other side has closed the connection, with nothing
// unread before that. It may be asked while somebody reads.
func (c *Conn) Left() (left bool) {
	err := c.raw.Control(func(fd uintptr) {
		n, err := peek(fd)
		left = n == 0 && err == nil || err != nil && !errors.Is(err, syscall.EAGAIN) && !errors.Is(err, syscall.EINTR)
	})
	return left || err != nil
}
