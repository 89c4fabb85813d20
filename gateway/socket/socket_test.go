package socket

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// pair is a connection and its other end.
func pair(t *testing.T, network string) (ours, theirs net.Conn) {
	t.Helper()
	at := "127.0.0.1:0"
	if network == "unix" {
		at = filepath.Join(t.TempDir(), "s")
	}
	ln, err := net.Listen(network, at)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if ours, err = net.Dial(network, ln.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if theirs, err = ln.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ours.Close(); theirs.Close() })
	return ours, theirs
}

// much is more than fits into a socket.
var much = bytes.Repeat([]byte("0123456789abcdef"), 1<<20)

// What can happen to a connection, and what its user learns of it.
var happenings = map[string]func(c, other net.Conn) (n int, err error){
	"it is read": func(c, other net.Conn) (int, error) {
		_, _ = other.Write([]byte("hello"))
		p := make([]byte, 3)
		n, err := c.Read(p)
		if string(p[:n]) != "hel" {
			return n, errors.New(string(p))
		}
		return n, err
	},
	"nothing is asked for": func(c, _ net.Conn) (int, error) { return c.Read(nil) },
	"nothing is said":      func(c, _ net.Conn) (int, error) { return c.Write(nil) },
	"it is waited for": func(c, other net.Conn) (int, error) {
		go func() { _, _ = other.Write([]byte("later")) }()
		return io.ReadFull(c, make([]byte, 5))
	},
	"the other side ends": func(c, other net.Conn) (int, error) {
		_ = other.Close()
		return c.Read(make([]byte, 1))
	},
	"much is written": func(c, other net.Conn) (int, error) {
		got := make(chan []byte)
		go func() { all, _ := io.ReadAll(other); got <- all }()
		n, err := c.Write(much)
		_ = c.Close()
		if !bytes.Equal(<-got, much) {
			return n, errors.New("something else came")
		}
		return n, err
	},
	"the time is over": func(c, _ net.Conn) (int, error) {
		_ = c.SetReadDeadline(time.Unix(1, 0))
		return c.Read(make([]byte, 1))
	},
	"the time is over while it is read": func(c, _ net.Conn) (int, error) {
		_ = c.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
		return c.Read(make([]byte, 1))
	},
	"the time is over while it is written": func(c, _ net.Conn) (int, error) {
		_ = c.SetWriteDeadline(time.Now().Add(10 * time.Millisecond))
		n, err := c.Write(much)
		return min(n, 1), err // how much went out is the kernel's affair
	},
	"it is closed while it is read": func(c, _ net.Conn) (int, error) {
		go c.Close()
		return c.Read(make([]byte, 1))
	},
	"it was closed": func(c, _ net.Conn) (int, error) {
		_ = c.Close()
		return c.Write([]byte("x"))
	},
	"nobody reads any more": func(c, other net.Conn) (n int, err error) {
		_ = other.Close()
		for err == nil {
			_, err = c.Write([]byte("x"))
		}
		return 0, err
	},
}

// kind of an error, as far as anybody tells them apart.
func kind(err error) string {
	var e net.Error
	switch {
	case err == nil:
		return "none"
	case errors.Is(err, io.EOF):
		return "the end"
	case errors.Is(err, net.ErrClosed):
		return "closed"
	case errors.Is(err, os.ErrDeadlineExceeded) && errors.As(err, &e) && e.Timeout():
		return "late"
	case errors.Is(err, syscall.EPIPE), errors.Is(err, syscall.ECONNRESET):
		return "gone"
	}
	return err.Error()
}

func TestAConnectionDoesWhatItDidWithout(t *testing.T) {
	t.Parallel()
	for _, network := range []string{"tcp", "unix"} {
		for what, happen := range happenings {
			plain, other := pair(t, network)
			wantN, wantErr := happen(plain, other)
			ours, other := pair(t, network)
			c := Of(ours)
			if c == nil {
				t.Skip("sockets can not be looked at here")
			}
			n, err := happen(c, other)
			if n != wantN || kind(err) != kind(wantErr) {
				t.Errorf("%s, %s: %d, %v; package net says %d, %v", network, what, n, err, wantN, wantErr)
			}
		}
	}
}

func TestItIsSeenWhatTheOtherSideDid(t *testing.T) {
	t.Parallel()
	ours, theirs := pair(t, "unix") // where what was sent is there at once
	c := Of(ours)
	if c == nil {
		t.Skip("sockets can not be looked at here")
	}
	look := func(when string, silent, left bool, waiting int) {
		t.Helper()
		if s, l, n := c.Silent(), c.Left(), c.Waiting(); s != silent || l != left || n != waiting && n != 0 {
			t.Errorf("%s: silent %v, left %v, %d bytes waiting", when, s, l, n)
		}
	}
	look("at first", true, false, 0)
	if _, err := theirs.Write([]byte("abc")); err != nil {
		t.Fatal(err)
	}
	look("with something there", false, false, 3)
	theirs.Close()
	look("with something there, and then the end", false, false, 3)
	if _, err := c.Read(make([]byte, 3)); err != nil {
		t.Fatal(err)
	}
	look("at the end", false, true, 0)
	c.Close()
	look("closed", false, true, 0)
	if Of(struct{ net.Conn }{ours}) != nil {
		t.Error("there is a socket where there is none")
	}
}

func TestCallsDoNotAllocate(t *testing.T) {
	ours, theirs := pair(t, "tcp")
	c := Of(ours)
	if c == nil {
		t.Skip("sockets can not be looked at here")
	}
	p := make([]byte, 1)
	if n := testing.AllocsPerRun(100, func() {
		_, _ = theirs.Write(p)
		_, _ = c.Read(p)
		_, _ = c.Write(p)
		_, _ = theirs.Read(p)
		_ = c.Silent()
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
