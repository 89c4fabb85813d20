// Package socket reads and writes the sockets of connections, and looks at them.
//
// A socket of Go's never blocks: what can not be read or written at once comes
// back, and then its goroutine waits. So telling the scheduler before each call that
// it may take long, and afterwards that it did not, is for nothing; and where the
// machine has much to do it is worse, since the scheduler takes what is late for
// blocked, and wakes another thread. Here calls are made as they are. Where that can
// not be done, they are those of package net.
package socket

import (
	"net"
	"syscall"
)

// A Conn is a connection with its socket. Reading is for one goroutine at a time,
// and so is writing; the rest is as with every net.Conn.
type Conn struct {
	net.Conn
	raw syscall.RawConn

	in, out transfer
	silent  bool // what look saw
	// Methods, made once, so that no call allocates.
	read, write, look func(fd uintptr) bool
}

// A transfer is a call under way.
type transfer struct {
	p   []byte
	n   int
	err error
}

// Of is the Conn of a connection; nil: it has no socket that can be looked at.
func Of(nc net.Conn) *Conn {
	sc, ok := nc.(syscall.Conn)
	if !ok || !Supported {
		return nil
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return nil
	}
	c := &Conn{Conn: nc, raw: raw}
	c.prepare()
	return c
}
