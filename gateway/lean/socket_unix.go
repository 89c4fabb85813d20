//go:build unix

package lean

import "syscall"

// quiet: the connection is open, and nothing came that nobody asked for.
func (c *conn) quiet() bool {
	var n int
	var err error
	if ctl := c.raw.Read(func(fd uintptr) bool {
		var b [1]byte
		n, _, err = syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		return true
	}); ctl != nil {
		return false
	}
	return n <= 0 && (err == syscall.EAGAIN || err == syscall.EWOULDBLOCK)
}
