package gateway

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/gatehouse-sso/gatehouse/gateway/session"
)

// frame is an unmasked frame of a service.
func frame(op byte, payload []byte) []byte {
	b := []byte{0x80 | op}
	switch n := len(payload); {
	case n < 126:
		b = append(b, byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, 126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 127), uint64(n))
	}
	return append(b, payload...)
}

// lastWord is the close frame of ours.
func lastWord(code string) []byte {
	return frame(opClose, append([]byte{0x03, 0xf0}, code...))
}

// serves a WebSocket that says what is given, and then nothing until it is cut.
func socketOf(says []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		c, brw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer c.Close()
		_, _ = brw.WriteString("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		_, _ = brw.Write(says)
		_ = brw.Flush()
		_, _ = io.Copy(io.Discard, c)
	}
}

func TestP19_AWebSocketThatIsCutIsToldWhy(t *testing.T) {
	t.Parallel()
	for what, c := range map[string]struct {
		says []byte
		told bool
	}{
		"between frames":          {frame(1, []byte("hello")), true},
		"after a long frame":      {append(frame(2, make([]byte, 70_000)), frame(1, []byte("hello"))...), true},
		"within a frame":          {append([]byte{0x81, 100}, "hello"...), false},
		"within a head":           {append(frame(1, []byte("hello")), 0x81), false},
		"after the service's bye": {append(frame(1, []byte("hello")), frame(opClose, []byte{3, 232})...), false},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			f := newFront(t)
			f.echo.does(socketOf(c.says))
			alice := f.guest("alice")
			cut := f.stays(alice, "wiki", "web socket")
			if strings.HasPrefix(what, "within a head") || strings.HasPrefix(what, "after the service") {
				time.Sleep(50 * time.Millisecond) // the last bytes come after those that were waited for; without them the test asks less
			}
			alice.end()
			got := []byte(<-cut)
			if told := bytes.HasSuffix(got, lastWord(ReasonRevoked)); told != c.told {
				t.Errorf("it ends with %q", got[max(0, len(got)-40):])
			}
			eventually(t, "the cut is recorded", func() bool { return f.recorded(ReasonRevoked) == 1 })
		})
	}
}

func TestACutNamesItsReason(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	f.echo.does(lasting["server-sent events"].serve)
	fin := f.guest("fin", "fin")
	cut := f.stays(fin, "payroll", "server-sent events")
	if _, err := f.dir.User(t.Context(), fin.user.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := f.sessions.EndUser(t.Context(), fin.user.ID, session.ReasonAdmin); err != nil {
		t.Fatal(err)
	}
	<-cut
	eventually(t, "the cut is recorded", func() bool { return f.recorded(ReasonRevoked) == 1 })
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, e := range f.events {
		if e.Kind == "stream.cut" && (e.UserID != fin.user.ID || e.Service != "payroll" || e.From == "") {
			t.Errorf("recorded is %+v", e)
		}
	}
}

// However the bytes of frames are cut into writes, it is known where they end.
func TestFramesAreFollowedThroughAnyWrites(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		var all []byte
		ends := map[int]bool{0: true}
		for range rapid.IntRange(1, 5).Draw(rt, "frames") {
			n := rapid.SampledFrom([]int{0, 1, 125, 126, 127, 65535, 65536}).Draw(rt, "length")
			all = append(all, frame(2, make([]byte, n))...)
			ends[len(all)] = true
		}
		at := rapid.IntRange(0, len(all)).Draw(rt, "cut")
		s := &socket{}
		for p := all[:at]; len(p) > 0; {
			n := rapid.IntRange(1, len(p)).Draw(rt, "write")
			s.follow(p[:n])
			p = p[n:]
		}
		if between := s.left == 0 && len(s.head) == 0; between != ends[at] {
			rt.Fatalf("after %d bytes it is between frames: %t", at, between)
		}
	})
}

func TestAClientThatTakesNothingHoldsUpNoGoodbye(t *testing.T) {
	t.Parallel()
	a, b := net.Pipe() // without a buffer: a write waits for its reader
	defer a.Close()
	defer b.Close()
	s := &socket{Conn: a}
	s.goodbye("x") // returns
	if !s.closed {
		t.Error("it was not tried")
	}
	w := &socket{Conn: a}
	_ = a.SetWriteDeadline(time.Time{})
	done := make(chan struct{})
	go func() { defer close(done); _, _ = w.Write(frame(1, []byte("hello"))) }()
	for w.mu.TryLock() {
		w.mu.Unlock() // until the write is under way
		time.Sleep(time.Millisecond)
	}
	w.goodbye("x") // returns
	if err := a.Close(); err != nil {
		t.Error(err)
	}
	<-done
}
