//go:build unix && !linux

package socket

func (c *Conn) prepare() { c.look = c.lookAt }

// Waiting can not be known here.
func (c *Conn) Waiting() int { return 0 }
