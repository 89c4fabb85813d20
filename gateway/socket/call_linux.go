//go:build !race

package socket

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Sockets are asked as sockets: by read and write, the kernel would treat them as
// files first.

func read(fd uintptr, p []byte) (int, error) { return call(unix.SYS_RECVFROM, fd, p, 0) }
func write(fd uintptr, p []byte) (int, error) {
	return call(unix.SYS_SENDTO, fd, p, unix.MSG_NOSIGNAL)
}

func peek(fd uintptr) (int, error) {
	var b [1]byte
	return call(unix.SYS_RECVFROM, fd, b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
}

// call receives or sends at once or not at all.
func call(number, fd uintptr, p []byte, flags uintptr) (int, error) {
	for {
		n, _, err := syscall.RawSyscall6(number, fd, uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), flags, 0, 0)
		switch err {
		case 0:
			return int(n), nil
		case syscall.EINTR:
		default:
			return 0, err
		}
	}
}
