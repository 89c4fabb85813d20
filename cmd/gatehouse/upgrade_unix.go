//go:build unix

package main

import (
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
