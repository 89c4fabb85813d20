package gateway

import (
	"io"
	"strconv"
	"sync"
	"time"
	"unicode/utf8"
)

// An AccessLog gets a line for each request: a JSON object, as the log has them.
// Lines are written together, some moments after they were made. The nil AccessLog
// is none.
type AccessLog struct {
	w io.Writer

	mu      sync.Mutex
	lines   []byte
	waiting bool // for flush

	writing sync.Mutex // held while lines are written, so that they stay in order
	spare   []byte
}

// Lines are written when there are this many bytes of them, and after this time at
// the latest.
const (
	accessSize = 32 << 10
	accessWait = 200 * time.Millisecond
)

// NewAccessLog writes to w, whole lines at a time.
func NewAccessLog(w io.Writer) *AccessLog { return &AccessLog{w: w} }

// Flush writes what is there.
func (a *AccessLog) Flush() {
	if a == nil {
		return
	}
	a.writing.Lock()
	defer a.writing.Unlock()
	a.mu.Lock()
	lines := a.lines
	a.lines, a.waiting = a.spare[:0], false
	a.mu.Unlock()
	if len(lines) > 0 {
		_, _ = a.w.Write(lines) // there is nowhere to say that it failed
	}
	a.spare = lines
}

// add takes a line. Who fills the buffer writes it; so a log that takes nothing more
// holds requests up, and takes no memory.
func (a *AccessLog) add(line []byte) {
	a.mu.Lock()
	a.lines = append(a.lines, line...)
	full, first := len(a.lines) >= accessSize, !a.waiting
	a.waiting = true
	a.mu.Unlock()
	if full {
		a.Flush()
	} else if first {
		time.AfterFunc(accessWait, a.Flush)
	}
}

// logAccess writes who asked for what and what became of it. Of the address only
// the path: what is behind it may be a secret, as may every header.
func (v *visit) logAccess(status int, took time.Duration) {
	var room [640]byte
	b := append(room[:0], `{"time":"`...)
	b = v.began.Add(took).AppendFormat(b, time.RFC3339Nano)
	b = append(b, `","level":"INFO","msg":"access","from":"`...)
	b = v.from.AppendTo(b)
	b = appendText(append(b, `","method":`...), v.r.Method)
	b = appendText(append(b, `,"host":`...), v.host)
	b = appendText(append(b, `,"path":`...), v.pathLogged())
	b = strconv.AppendInt(append(b, `,"status":`...), int64(status), 10)
	b = strconv.AppendInt(append(b, `,"bytes":`...), v.w.size, 10)
	b = strconv.AppendInt(append(b, `,"took":`...), int64(took), 10)
	if v.service != nil {
		b = appendText(append(b, `,"service":`...), v.service.ID)
	}
	if v.session != nil {
		b = appendText(append(b, `,"user":`...), v.session.UserID)
		b = appendText(append(b, `,"provider":`...), v.session.Provider)
	}
	if v.bears != nil {
		b = appendText(append(b, `,"caller":`...), v.bears.Subject.ID)
	}
	if v.support != "" {
		b = appendText(append(b, `,"support":`...), v.support)
	}
	if id := v.span.ID(); id != "" {
		b = appendText(append(b, `,"trace_id":`...), id)
	}
	v.g.c.Access.add(append(b, "}\n"...))
}

// appendText appends a JSON string (RFC 8259, section 7); what is no UTF-8 becomes
// the replacement character.
func appendText(b []byte, text string) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	for i := 0; i < len(text); {
		switch c := text[i]; {
		case c >= utf8.RuneSelf:
			r, n := utf8.DecodeRuneInString(text[i:])
			b = utf8.AppendRune(b, r)
			i += n
			continue
		case c < ' ' || c == 0x7f:
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		default:
			b = append(b, c)
		}
		i++
	}
	return append(b, '"')
}
