package lean

import (
	"bytes"
	"net/http"

	"github.com/gatehouse-sso/gatehouse/gateway/field"
)

// maxFields of a head that is read here. What has more, in whatever way, is read by
// http.ReadResponse, as is everything else that is not usual.
const maxFields = 64

// usual reads a response whose head is here as a whole, is written in the usual way,
// and has a body of known length. It holds until the connection is given back. nil:
// it is another, and nothing was read.
func (c *conn) usual(r *http.Request) *http.Response {
	b, _ := c.br.Peek(c.br.Buffered()) // what is buffered can be peeked at
	c.fields = c.fields[:0]
	end := bytes.IndexByte(b, '\n')
	status, words, ok := statusLine(b[:max(end, 0)])
	if !ok || r.Method == http.MethodHead {
		return nil
	}
	length, lengths := int64(0), 0
	at := end + 1
	for {
		size := bytes.IndexByte(b[at:], '\n')
		if size == 1 && b[at] == '\r' {
			at += 2
			break
		}
		if size < 0 || len(c.fields) == maxFields {
			return nil
		}
		f, ok := field.Read(b[:at+size], at)
		if !ok {
			return nil
		}
		at += size + 1
		c.fields = append(c.fields, f)
		value := f.Value.Of(b)
		switch field.Special(f.Name.Of(b)) {
		case "content-length":
			lengths++
			if length, ok = field.Length(value); !ok {
				return nil
			}
		case "connection":
			if !bytes.EqualFold(value, []byte("keep-alive")) {
				return nil
			}
		case "odd":
			return nil
		}
	}
	if lengths != 1 {
		return nil
	}
	text := string(b[:at]) // everything below is part of it
	_, _ = c.br.Discard(at)
	field.Add(c.header, text, c.fields)
	c.resp = http.Response{
		Status: words.In(text), StatusCode: status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: c.header, ContentLength: length, Body: http.NoBody, Request: r,
	}
	return &c.resp
}

// statusLine reads "HTTP/1.1 200 OK\r". Responses that come before others, or have
// no body for what they are, are not usual.
func statusLine(line []byte) (status int, words field.Span, ok bool) {
	rest, ok := bytes.CutPrefix(line, []byte("HTTP/1.1 "))
	if !ok || len(rest) < 5 || rest[3] != ' ' || rest[len(rest)-1] != '\r' {
		return 0, words, false
	}
	for _, c := range rest[:3] {
		if c < '0' || c > '9' {
			return 0, words, false
		}
		status = status*10 + int(c-'0')
	}
	for _, c := range rest[3 : len(rest)-1] {
		if c < ' ' || c >= 0x7f {
			return 0, words, false
		}
	}
	usual := status >= 200 && status != http.StatusNoContent && status != http.StatusNotModified
	return status, field.Span{From: len(line) - len(rest), To: len(line) - 1}, usual
}
