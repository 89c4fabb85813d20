package main

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"
)

// logger writes JSON lines where nobody watches and text where somebody does.
// out takes lines that are made by hand; when it is closed, what was logged has gone
// out, or can not.
func logger(level slog.Level) (log *slog.Logger, out *spout) {
	opts := &slog.HandlerOptions{Level: level, ReplaceAttr: redact}
	out = newSpout(os.Stderr)
	if info, err := os.Stderr.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
		return slog.New(slog.NewTextHandler(out, opts)), out
	}
	return slog.New(slog.NewJSONHandler(out, opts)), out
}

const (
	// maxUnwritten bytes of the log wait for whoever takes them.
	maxUnwritten = 1 << 20
	// lastWords is how long the end of the program waits for that.
	lastWords = time.Second
)

// A spout carries lines to somewhere that may stand still, as a pipe does that
// nobody reads, and holds nobody up. What waits is bounded; lines for which there is
// no room are lost, counted, and their number is said once there is room. What must
// not be lost is no line of a log but an event of the audit log.
type spout struct {
	to   io.Writer
	mu   sync.Mutex
	some *sync.Cond // there is something to write, or there will be nothing more

	waiting []byte
	lost    int
	ended   bool
	done    chan struct{} // closed when all is written
}

func newSpout(to io.Writer) *spout {
	s := &spout{to: to, done: make(chan struct{})}
	s.some = sync.NewCond(&s.mu)
	go s.run()
	return s
}

// Write takes a line.
func (s *spout) Write(line []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.waiting)+len(line) > maxUnwritten {
		s.lost += bytes.Count(line, []byte{'\n'})
	} else {
		s.waiting = append(s.waiting, line...)
	}
	s.some.Signal()
	return len(line), nil
}

func (s *spout) run() {
	defer close(s.done)
	var out []byte
	for {
		s.mu.Lock()
		for len(s.waiting) == 0 && s.lost == 0 && !s.ended {
			s.some.Wait()
		}
		if len(s.waiting) == 0 && s.lost == 0 {
			s.mu.Unlock()
			return
		}
		lost := s.lost
		out, s.waiting, s.lost = s.waiting, out[:0], 0
		s.mu.Unlock()
		if lost > 0 {
			out = fmt.Appendf(out, `{"time":%q,"level":"WARN","msg":"lines of this log are lost: nobody took them","lines":%d}`+"\n", time.Now().Format(time.RFC3339Nano), lost)
		}
		_, _ = s.to.Write(out) // there is nobody else to tell
	}
}

// close waits for what is there to be written, within bounds.
func (s *spout) close() {
	s.mu.Lock()
	s.ended = true
	s.some.Signal()
	s.mu.Unlock()
	select {
	case <-s.done:
	case <-time.After(lastWords):
	}
}
