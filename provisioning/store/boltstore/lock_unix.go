//go:build !windows && !plan9 && !solaris && !aix && !android

package boltstore

import (
	"fmt"
	"os"
	"syscall"
	"time"
)

// lock takes the lock that bbolt takes, on the same open file, so that the file
// is checked while nobody writes it. Taking it again, as bbolt does, is harmless.
func lock(f *os.File, wait time.Duration) error {
	for end := time.Now().Add(wait); ; time.Sleep(20 * time.Millisecond) {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		switch {
		case err == nil:
			return nil
		case err != syscall.EWOULDBLOCK && err != syscall.EINTR:
			return fmt.Errorf("lock store %s: %w", f.Name(), err)
		case time.Now().After(end):
			return errInUse(f.Name())
		}
	}
}
