//go:build !unix

package socket

// Supported: it can not be seen here what the other side did.
const Supported = false

func (c *Conn) prepare() {}

// Waiting can not be known here.
func (c *Conn) Waiting() int { return 0 }

// Silent can not be known here.
func (c *Conn) Silent() bool { return false }

// Left can not be known here.
func (c *Conn) Left() bool { return false }
