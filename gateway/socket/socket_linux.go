package socket

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

func (c *Conn) prepare() { c.read, c.write, c.look = c.readFrom, c.writeTo, c.lookAt }

// Read is as that of a net.Conn.
func (c *Conn) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	c.in = transfer{p: p}
	err := c.raw.Read(c.read)
	t := c.in
	c.in = transfer{}
	switch {
	case err != nil:
		return 0, err
	case t.err != nil:
		return 0, c.failed("read", t.err)
	case t.n == 0:
		return 0, io.EOF
	}
	return t.n, nil
}

func (c *Conn) readFrom(fd uintptr) (done bool) {
	c.in.n, c.in.err = read(fd, c.in.p)
	return !errors.Is(c.in.err, syscall.EAGAIN)
}

// Write is as that of a net.Conn.
func (c *Conn) Write(p []byte) (int, error) {
	c.out = transfer{p: p}
	err := c.raw.Write(c.write)
	t := c.out
	c.out = transfer{}
	if err == nil && t.err != nil {
		err = c.failed("write", t.err)
	}
	return t.n, err
}

func (c *Conn) writeTo(fd uintptr) (done bool) {
	for c.out.n < len(c.out.p) {
		n, err := write(fd, c.out.p[c.out.n:])
		if c.out.err = err; err != nil {
			return !errors.Is(err, syscall.EAGAIN)
		}
		c.out.n += n
	}
	return true
}

// failed is an error as package net has it.
func (c *Conn) failed(op string, err error) error {
	return &net.OpError{Op: op, Net: c.LocalAddr().Network(), Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: os.NewSyscallError(op, err)}
}

// Waiting is how many bytes can be read at once.
func (c *Conn) Waiting() (n int) {
	if err := c.raw.Control(func(fd uintptr) { n, _ = unix.IoctlGetInt(int(fd), unix.SIOCINQ) }); err != nil {
		return 0
	}
	return n
}
