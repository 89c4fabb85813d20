//go:build unix

package main

import (
	"fmt"
	"net"
	"os"
	"syscall"
)

// upgradeSignals ask a gateway to be replaced.
var upgradeSignals = []os.Signal{syscall.SIGUSR2}

// closeOnExec keeps n descriptors from the programs that this one starts.
func closeOnExec(first, n int) {
	for fd := first; fd < first+n; fd++ {
		syscall.CloseOnExec(fd)
	}
}

// duplicate is the socket of a listener for another process. The two are one to the
// system: that a call to it does not wait is of both. The File that net makes of a
// listener takes that away as soon as its number is asked for, and then whoever accepts
// here waits in the system, where neither a deadline nor Close wakes them.
func duplicate(ln net.Listener) (*os.File, error) {
	sc, ok := ln.(syscall.Conn)
	if !ok {
		return nil, fmt.Errorf("a listener of type %T has no socket", ln)
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return nil, err
	}
	var f *os.File
	var failed error
	err = raw.Control(func(fd uintptr) {
		syscall.ForkLock.RLock()
		defer syscall.ForkLock.RUnlock()
		n, err := syscall.Dup(int(fd))
		if err != nil {
			failed = os.NewSyscallError("dup", err)
			return
		}
		syscall.CloseOnExec(n)
		f = os.NewFile(uintptr(n), ln.Addr().String())
	})
	if err == nil {
		err = failed
	}
	return f, err
}
