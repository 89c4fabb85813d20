//go:build race

package socket

import "syscall"

// The race detector is told by package syscall that what was written before a byte
// was sent can be read by who received it.

func read(fd uintptr, p []byte) (n int, err error) {
	for n, err = syscall.Read(int(fd), p); err == syscall.EINTR; n, err = syscall.Read(int(fd), p) {
	}
	return max(n, 0), err
}

func write(fd uintptr, p []byte) (n int, err error) {
	for n, err = syscall.Write(int(fd), p); err == syscall.EINTR; n, err = syscall.Write(int(fd), p) {
	}
	return max(n, 0), err
}
