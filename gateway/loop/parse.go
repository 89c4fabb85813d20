package loop

import (
	"bytes"
	"context"
	"net/http"
	"net/textproto"
	"net/url"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// A head says where the parts of a request are in the bytes that it was read
// from. It is used again for the next request.
type head struct {
	method string
	target span
	fields []field
	host   span
	close  bool
	n      int // length of the head, with the empty line at its end
	body   int // length of the body behind it
}

type span struct{ from, to int }

type field struct{ name, value span }

// maxFields is more than the gateway lets through (its limit has a page of its own).
const maxFields = 128

// What bytes can be.
type verdict int

const (
	whole   verdict = iota // a usual request with all of its body
	partial                // the beginning of one, as far as can be seen
	odd                    // something for net/http to judge
)

// read looks for a request at the beginning of b. The grammar is that of RFC 9112
// without anything that it lets servers tolerate: what does not fit is not
// refused here, but judged by net/http.
func (h *head) read(b []byte) verdict {
	*h = head{fields: h.fields[:0]}
	end := bytes.IndexByte(b, '\n')
	if end < 0 {
		return partial
	}
	if !h.requestLine(b[:end]) {
		return odd
	}
	hosts, lengths := 0, 0
	for at := end + 1; ; {
		size := bytes.IndexByte(b[at:], '\n')
		if size < 0 {
			return partial
		}
		if size == 1 && b[at] == '\r' {
			h.n = at + 2
			break
		}
		f, ok := readField(b[:at+size], at)
		if !ok || len(h.fields) == maxFields {
			return odd
		}
		h.fields = append(h.fields, f)
		at += size + 1
		value := b[f.value.from:f.value.to]
		switch special(b[f.name.from:f.name.to]) {
		case "host":
			hosts++
			h.host = f.value
		case "content-length":
			lengths++
			if h.body, ok = readLength(value); !ok {
				return odd
			}
		case "connection":
			switch {
			case bytes.EqualFold(value, []byte("keep-alive")):
			case bytes.EqualFold(value, []byte("close")):
				h.close = true
			default:
				return odd
			}
		case "odd":
			return odd
		}
	}
	switch {
	case hosts != 1 || h.host.from == h.host.to || lengths > 1:
		return odd
	case len(b)-h.n < h.body:
		return partial
	}
	return whole
}

// requestLine reads "GET /path HTTP/1.1\r".
func (h *head) requestLine(line []byte) bool {
	sp := bytes.IndexByte(line, ' ')
	rest, ok := bytes.CutSuffix(line, []byte(" HTTP/1.1\r"))
	if sp < 0 || !ok || len(rest) <= sp+1 || rest[sp+1] != '/' {
		return false
	}
	switch string(line[:sp]) {
	case http.MethodGet:
		h.method = http.MethodGet
	case http.MethodHead:
		h.method = http.MethodHead
	case http.MethodPost:
		h.method = http.MethodPost
	case http.MethodPut:
		h.method = http.MethodPut
	case http.MethodPatch:
		h.method = http.MethodPatch
	case http.MethodDelete:
		h.method = http.MethodDelete
	case http.MethodOptions:
		h.method = http.MethodOptions
	default:
		return false
	}
	for _, c := range rest[sp+1:] {
		if c <= ' ' || c >= 0x7f || c == '#' {
			return false
		}
	}
	h.target = span{sp + 1, len(rest)}
	return true
}

// readField reads "Name: value\r" from at to the end of b.
func readField(b []byte, at int) (f field, ok bool) {
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
	return field{span{at, colon}, span{from, end}}, true
}

// token are the bytes of a name (RFC 9110, section 5.6.2).
var token = func() (t [256]bool) {
	for c := range t {
		t[c] = httpguts.IsTokenRune(rune(c)) && c < 0x80
	}
	return t
}()

// readLength reads what can be the length of a body that is here.
func readLength(value []byte) (n int, ok bool) {
	for _, c := range value {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int(c-'0')
	}
	return n, len(value) > 0 && len(value) <= 5
}

// special is how a field is called that says something about the connection or
// about where its request ends; "odd" for those that no usual request has.
func special(name []byte) string {
	is := func(s string) bool { return strings.EqualFold(s, string(name)) }
	switch len(name) { // most names need no further look
	case 2:
		if is("te") {
			return "odd"
		}
	case 4:
		if is("host") {
			return "host"
		}
	case 6:
		if is("expect") {
			return "odd"
		}
	case 7:
		if is("upgrade") || is("trailer") {
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
		if is("http2-settings") {
			return "odd"
		}
	case 17:
		if is("transfer-encoding") {
			return "odd"
		}
	}
	return ""
}

// request makes of a whole request what net/http's server makes of it. nil: it
// would refuse it, or its address is one to judge there.
func (h *head) request(ctx context.Context, b []byte) *http.Request {
	text := string(b[:h.n]) // everything below is part of it
	host := text[h.host.from:h.host.to]
	if !httpguts.ValidHostHeader(host) {
		return nil
	}
	target := text[h.target.from:h.target.to]
	u, err := url.ParseRequestURI(target)
	if err != nil {
		return nil
	}
	values := make([]string, len(h.fields))
	header := make(http.Header, len(h.fields))
	for i, f := range h.fields {
		if f.value == h.host {
			continue
		}
		name := textproto.CanonicalMIMEHeaderKey(text[f.name.from:f.name.to])
		values[i] = text[f.value.from:f.value.to]
		if before := header[name]; before != nil {
			header[name] = append(before, values[i])
		} else {
			header[name] = values[i : i+1 : i+1]
		}
	}
	if p := header["Pragma"]; p != nil && p[0] == "no-cache" && header["Cache-Control"] == nil {
		header["Cache-Control"] = []string{"no-cache"} // as net/http has it
	}
	r := blank.WithContext(ctx)
	r.Method, r.URL, r.Proto, r.ProtoMajor, r.ProtoMinor = h.method, u, "HTTP/1.1", 1, 1
	r.Header, r.Host, r.RequestURI, r.Close = header, host, target, h.close
	r.Body, r.ContentLength = http.NoBody, int64(h.body)
	return r
}

var blank http.Request
