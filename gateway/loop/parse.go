package loop

import (
	"bytes"
	"net/http"
	"net/url"
	"strings"

	"golang.org/x/net/http/httpguts"

	"github.com/gatehouse-sso/gatehouse/gateway/field"
)

// A head says where the parts of a request are in the bytes that it was read
// from. It is used again for the next request.
type head struct {
	method string
	target field.Span
	fields []field.Field // less the host's
	host   field.Span
	close  bool
	n      int // length of the head, with the empty line at its end
	body   int // length of the body behind it
}

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
		f, ok := field.Read(b[:at+size], at)
		if !ok || len(h.fields) == maxFields {
			return odd
		}
		at += size + 1
		value := f.Value.Of(b)
		switch special(f.Name.Of(b)) {
		case "host":
			hosts++
			h.host = f.Value
			continue
		case "content-length":
			lengths++
			n, ok := field.Length(value)
			if !ok || n > bufferSize {
				return odd
			}
			h.body = int(n)
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
		h.fields = append(h.fields, f)
	}
	switch {
	case hosts != 1 || h.host.From == h.host.To || lengths > 1:
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
	h.target = field.Span{From: sp + 1, To: len(rest)}
	return true
}

// special is field.Special, with what else a request may say.
func special(name []byte) string {
	is := func(s string) bool { return strings.EqualFold(s, string(name)) }
	switch len(name) { // as there
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
		if is("upgrade") {
			return "odd"
		}
	case 14:
		if is("http2-settings") {
			return "odd"
		}
	}
	return field.Special(name)
}

// request makes of a whole request, in x, what net/http's server makes of it. false:
// it would refuse it, or its address is one to judge there.
func (h *head) request(x *exchange, b []byte) bool {
	text := string(b[:h.n]) // everything below is part of it
	host, target := h.host.In(text), h.target.In(text)
	if !httpguts.ValidHostHeader(host) || !address(&x.url, target) {
		return false
	}
	header := make(http.Header, len(h.fields))
	field.Add(header, text, h.fields)
	r := &x.request
	*r = *blank.WithContext(&x.ctx)
	r.Method, r.URL, r.Proto, r.ProtoMajor, r.ProtoMinor = h.method, &x.url, "HTTP/1.1", 1, 1
	r.Header, r.Host, r.RequestURI, r.Close = header, host, target, h.close
	r.Body, r.ContentLength = http.NoBody, int64(h.body)
	return true
}

var blank http.Request

// address reads the target of a request. Most have a path in which every byte
// stands for itself, which is then both text and meaning.
func address(u *url.URL, target string) bool {
	path, query, behind := strings.Cut(target, "?")
	if isPlain(path) {
		u.Path, u.RawQuery, u.ForceQuery = path, query, behind && query == ""
		return true
	}
	read, err := url.ParseRequestURI(target)
	if err != nil {
		return false
	}
	*u = *read
	return true
}

func isPlain(path string) bool {
	for i := range len(path) {
		if !plain[path[i]] {
			return false
		}
	}
	return !strings.HasPrefix(path, "//") // which would be a host
}

// plain are the bytes of a path that are never written in another way.
var plain = func() (t [256]bool) {
	for c := range t {
		t[c] = 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("/-_.~", byte(c)) >= 0
	}
	return t
}()
