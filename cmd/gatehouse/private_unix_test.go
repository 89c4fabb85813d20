//go:build unix

package main

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// Whoever comes to the administrators' socket before it is its owner's alone finds
// nobody who listens.
func TestTheAdministratorsSocketTakesNobodyBeforeItIsTheOwnersAlone(t *testing.T) {
	t.Parallel()
	path := filepath.Join(shortDir(t), "admin.sock")
	private := func() {
		t.Helper()
		if info, err := os.Stat(path); err != nil || info.Mode() != os.ModeSocket|0o600 {
			t.Errorf("the socket is %v, %v", info, err)
		}
	}
	bound, err := bindPrivate(path)
	if err != nil {
		t.Fatal(err)
	}
	private()
	if c, err := net.Dial("unix", path); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("a socket that may still be everybody's answers: %v, %v", c, err)
	}
	_ = bound.Close()
	ln, err := listenUser(path) // in place of the one that is there
	if err != nil {
		t.Fatal(err)
	}
	private()
	tellsWhere(t, ln)
	if got := hello(t, "unix", path, ""); got == "" {
		t.Error("nobody answers at the socket")
	}
	_ = ln.Close()
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is left behind: %v", err)
	}
}
