//go:build unix

package external_test

import (
	"os"
	"syscall"
)

// lock waits until no other process has the file.
func lock(f *os.File) error { return syscall.Flock(int(f.Fd()), syscall.LOCK_EX) }
