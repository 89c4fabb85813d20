//go:build unix

package outbox_test

import (
	"syscall"
	"time"
)

// cpuTime is the time of processors that this process has taken.
func cpuTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
