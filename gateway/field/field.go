// Package field reads the header fields of an HTTP/1.1 message that is written in
// the usual way: whole lines that end in CR and LF, names that are tokens, values
// without control characters. That is the grammar of RFC 9112 without anything
// that it lets recipients tolerate, so it can not be read in two ways. What does
// not fit is not refused here; who asked gives it to net/http to judge.
package field

import (
	"net/http"
	"net/textproto"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// A Span is a part of the bytes that a message was read from.
type Span struct{ From, To int }

// Of is the part itself.
func (s Span) Of(b []byte) []byte { return b[s.From:s.To] }

// In is the same of a text.
func (s Span) In(text string) string { return text[s.From:s.To] }

// A Field is where the name and the value of one field are.
type Field struct{ Name, Value Span }

// Read reads "Name: value\r" from at to the end of b.
func Read(b []byte, at int) (f Field, ok bool) {
	end := len(b) - 1
	if end < at || b[end] != '\r' {
		return f, false
	}
	colon := at
	for ; colon < end && b[colon] != ':'; colon++ {
		if !token[b[colon]] {
			return f, false
		}
	}
	if colon == at || colon == end {
		return f, false
	}
	from := colon + 1
	for from < end && (b[from] == ' ' || b[from] == '\t') {
		from++
	}
	for end > from && (b[end-1] == ' ' || b[end-1] == '\t') {
		end--
	}
	for _, c := range b[from:end] {
		if c < ' ' && c != '\t' || c == 0x7f {
			return f, false
		}
	}
	return Field{Span{at, colon}, Span{from, end}}, true
}

// token are the bytes of a name (RFC 9110, section 5.6.2).
var token = func() (t [256]bool) {
	for c := range t {
		t[c] = httpguts.IsTokenRune(rune(c)) && c < 0x80
	}
	return t
}()

// Add adds fields of a text to h as net/http has them.
func Add(h http.Header, text string, fields []Field) {
	values := make([]string, len(fields)) // one for all of them
	for i, f := range fields {
		name := textproto.CanonicalMIMEHeaderKey(f.Name.In(text))
		values[i] = f.Value.In(text)
		if before := h[name]; before != nil {
			h[name] = append(before, values[i])
		} else {
			h[name] = values[i : i+1 : i+1]
		}
	}
	if p := h["Pragma"]; p != nil && p[0] == "no-cache" && h["Cache-Control"] == nil {
		h["Cache-Control"] = []string{"no-cache"}
	}
}

// Special is what a field says about the connection, or about where its message
// ends: "connection", "content-length", "odd" for one that no usual message has, and
// nothing for all others.
func Special(name []byte) string {
	is := func(s string) bool { return strings.EqualFold(s, string(name)) }
	switch len(name) { // most names need no further look
	case 7:
		if is("trailer") {
			return "odd"
		}
	case 10:
		if is("connection") {
			return "connection"
		}
	case 14:
		if is("content-length") {
			return "content-length"
		}
	case 17:
		if is("transfer-encoding") {
			return "odd"
		}
	}
	return ""
}

// Length reads how long a body is; ok: it is less than 10 GB.
func Length(value []byte) (n int64, ok bool) {
	for _, c := range value {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	return n, 0 < len(value) && len(value) <= 10
}
