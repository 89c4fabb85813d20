package lean

import "golang.org/x/sys/unix"

// waiting is how many bytes can be read without waiting.
func (c *conn) waiting() (n int) {
	if c.raw == nil {
		return 0
	}
	if ctl := c.raw.Control(func(fd uintptr) { n, _ = unix.IoctlGetInt(int(fd), unix.SIOCINQ) }); ctl != nil {
		return 0
	}
	return n
}
