//go:build unix

package main

import (
	"net"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// Who is about to be replaced accepts on until told otherwise, and is told by a deadline:
// so what another process is given must not make a call to the socket wait.
func TestR12_AListenerThatIsGivenAwayDoesNotWaitInTheSystem(t *testing.T) {
	t.Parallel()
	for _, at := range [][2]string{{"tcp", "127.0.0.1:0"}, {"unix", filepath.Join(shortDir(t), "s")}} {
		ln, err := net.Listen(at[0], at[1])
		if err != nil {
			t.Fatal(err)
		}
		f, err := duplicate(ln)
		if err != nil {
			t.Fatal(err)
		}
		other := exec.Command("true")
		other.ExtraFiles = append(other.ExtraFiles, f)
		if err := other.Run(); err != nil {
			t.Fatal(err)
		}
		raw, err := ln.(syscall.Conn).SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		if err := raw.Control(func(fd uintptr) {
			if flags, _, err := syscall.Syscall(syscall.SYS_FCNTL, fd, syscall.F_GETFL, 0); err != 0 || flags&syscall.O_NONBLOCK == 0 {
				t.Errorf("%s: its flags are %#x, %v", at[0], flags, err)
			}
		}); err != nil {
			t.Fatal(err)
		}
		_ = f.Close()
		_ = ln.Close()
	}
}
