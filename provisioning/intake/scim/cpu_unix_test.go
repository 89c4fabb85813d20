//go:build unix

package scim_test

import (
	"syscall"
	"testing"
	"time"
)

// used is the time of processors that this process has taken.
func used(b *testing.B) time.Duration {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		b.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}
