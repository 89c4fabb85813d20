//go:build unix

package loop

import "syscall"

// supported: it can be seen here whether the other side has left.
const supported = true

// left reports whether a client has closed its side, with nothing unread before
// that.
func left(raw syscall.RawConn) bool {
	gone := false
	if err := raw.Control(func(fd uintptr) {
		var b [1]byte
		n, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		gone = n == 0 && err == nil || n < 0 && err != syscall.EAGAIN && err != syscall.EWOULDBLOCK && err != syscall.EINTR
	}); err != nil {
		return true
	}
	return gone
}
