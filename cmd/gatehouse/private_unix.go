//go:build unix

package main

import (
	"errors"
	"net"
	"os"
	"syscall"
)

// listenPrivate listens on a new Unix socket that is this user's alone from the
// first connection that it takes.
func listenPrivate(path string) (net.Listener, error) {
	f, err := bindPrivate(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	const backlog = 4096 // the system makes it as long as it allows
	if err := syscall.Listen(int(f.Fd()), backlog); err != nil {
		return nil, errors.Join(&os.PathError{Op: "listen", Path: path, Err: err}, os.Remove(path))
	}
	ln, err := net.FileListener(f) // works on a duplicate
	if err != nil {
		return nil, errors.Join(err, os.Remove(path))
	}
	ln.(*net.UnixListener).SetUnlinkOnClose(true)
	return ln, nil
}

// bindPrivate gives a new socket its path and its mode. It does not listen yet, so
// whoever comes before it has its mode is refused by the system; net.Listen would
// let them in, and the umask is the whole process's.
func bindPrivate(path string) (_ *os.File, err error) {
	syscall.ForkLock.RLock()
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err == nil {
		syscall.CloseOnExec(fd)
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	f := os.NewFile(uintptr(fd), path)
	if err := syscall.Bind(fd, &syscall.SockaddrUnix{Name: path}); err != nil {
		return nil, errors.Join(&os.PathError{Op: "bind", Path: path, Err: err}, f.Close())
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(err, f.Close(), os.Remove(path))
	}
	return f, nil
}
