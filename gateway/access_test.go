package gateway

import (
	"bytes"
	"encoding/json"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"
)

func TestTextOfTheAccessLogIsWhatEncodingJSONReads(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text := string(rapid.SliceOf(rapid.OneOf(rapid.Byte(), rapid.SampledFrom([]byte("\"\\\n\x7f/a")))).Draw(t, "text"))
		line := appendText(nil, text)
		var got string
		if err := json.Unmarshal(line, &got); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if want := strings.Map(func(r rune) rune { return r }, text); got != want {
			t.Errorf("%q became %q", text, got)
		}
		if bytes.ContainsFunc(line, func(r rune) bool { return r < ' ' }) || !utf8.Valid(line) {
			t.Errorf("%q is no line", line)
		}
	})
}

// written is a log that tells how often it was written to.
type written struct {
	mu    sync.Mutex
	lines []byte
	times int
}

func (w *written) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lines, w.times = append(w.lines, p...), w.times+1
	return len(p), nil
}

func (w *written) got() (lines string, times int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return string(w.lines), w.times
}

func TestTheAccessLogWritesManyLinesAtOnceAndNoneIsLost(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := &written{}
		a := NewAccessLog(w)
		line := []byte(strings.Repeat("x", 99) + "\n")
		a.add(line)
		synctest.Wait()
		if _, times := w.got(); times != 0 {
			t.Error("a line was written by itself")
		}
		time.Sleep(accessWait)
		synctest.Wait()
		if lines, times := w.got(); times != 1 || len(lines) != 100 {
			t.Errorf("after a moment %d bytes, written %d times", len(lines), times)
		}
		const hands, each = 8, 500
		var wg sync.WaitGroup
		for range hands {
			wg.Go(func() {
				for range each {
					a.add(line)
				}
			})
		}
		wg.Wait()
		a.Flush()
		lines, times := w.got()
		if len(lines) != 100*(hands*each+1) || strings.Trim(lines, "x\n") != "" || strings.Count(lines, string(line)) != hands*each+1 {
			t.Errorf("%d bytes of %d", len(lines), 100*(hands*each+1))
		}
		if most := 2 * (2 + hands*each*100/accessSize); times > most {
			t.Errorf("written %d times, at most %d", times, most)
		}
		var none *AccessLog
		none.Flush()
	})
}
