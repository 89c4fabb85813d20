// Package extauthz reads what Envoy asks by gRPC about a request, and writes what
// it is answered: the call Check of envoy.service.auth.v3.Authorization, as far as
// it says something about HTTP.
//
//	body of the call ──▶ Message ──▶ Read ──▶ Request
//	body of the answer ◀── Yes, or No
//
// It is no server of gRPC: a call of one message is a POST with five bytes before
// the message, and an answer has its status in a trailer, which net/http speaks.
//
// Nor are the messages those that are generated from Envoy's definitions, which
// would bring all that those refer to, and some megabytes of it, for a dozen fields
// that have not moved since there is a version 3. What is read twice the same way
// by everybody is read; what could be read in two ways (a field said twice, a
// header in two places) is refused, though Protocol Buffers has a rule for it. The
// tests ask with the generated messages, and a fuzz test compares the reader with
// them.
package extauthz

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"
	"google.golang.org/protobuf/encoding/protowire"
)

// Path is where the call is.
const Path = "/envoy.service.auth.v3.Authorization/Check"

// A Request is what Envoy says of the request that it asks about.
type Request struct {
	Method, Scheme, Host string
	Path                 string      // with the query, as it came
	Header               http.Header // with canonical names; lines of one name may have been joined by ","
	From                 netip.Addr  // who is at the other end of Envoy's connection
}

// Is reports whether a request is the call, by its form.
func Is(r *http.Request) bool {
	if r.ProtoMajor != 2 || r.Method != http.MethodPost || r.URL.Path != Path {
		return false
	}
	kind := r.Header.Get("Content-Type")
	return kind == "application/grpc" || kind == "application/grpc+proto"
}

// Timeout is how long the caller waits at most; 0: it did not say, or not in a way
// that can be understood.
func Timeout(h http.Header) time.Duration {
	text := h.Get("Grpc-Timeout")
	if text == "" || len(text) > 9 {
		return 0
	}
	n, err := strconv.ParseUint(text[:len(text)-1], 10, 32)
	unit, ok := units[text[len(text)-1]]
	if err != nil || !ok {
		return 0
	}
	return time.Duration(min(n, uint64(longest/unit))) * unit
}

var units = map[byte]time.Duration{'H': time.Hour, 'M': time.Minute, 'S': time.Second, 'm': time.Millisecond, 'u': time.Microsecond, 'n': time.Nanosecond}

const longest = time.Hour

// Message reads the message of a call, of at most limit bytes. There must be one.
func Message(body io.Reader, limit int) ([]byte, error) {
	var head [prefix]byte
	if _, err := io.ReadFull(body, head[:]); err != nil {
		return nil, fmt.Errorf("the beginning of its message: %w", err)
	}
	if head[0] != 0 {
		return nil, errors.New("its message is compressed, and nobody said that it may be")
	}
	size := binary.BigEndian.Uint32(head[1:])
	if uint64(size) > uint64(limit) {
		return nil, &http.MaxBytesError{Limit: int64(limit)}
	}
	msg := make([]byte, size)
	if _, err := io.ReadFull(body, msg); err != nil {
		return nil, fmt.Errorf("its message: %w", err)
	}
	if n, err := io.ReadFull(body, head[:1]); n > 0 {
		return nil, errors.New("it has more than one message")
	} else if !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("its end: %w", err)
	}
	return msg, nil
}

// prefix is the length of what is before a message: whether it is compressed, and
// how long it is.
const prefix = 5

// Fields of the messages, as Envoy numbers them.
const (
	checkAttributes = 1

	attributesSource  = 1
	attributesRequest = 4
	peerAddress       = 1
	addressSocket     = 1
	socketAddress     = 2
	requestHTTP       = 2

	httpMethod    = 2
	httpHeaders   = 3
	httpPath      = 4
	httpHost      = 5
	httpScheme    = 6
	httpQuery     = 7
	httpFragment  = 8
	httpHeaderMap = 13

	entryKey   = 1
	entryValue = 2
	entryRaw   = 3

	headerMapHeaders = 1
)

// Read reads a CheckRequest. Bodies of requests, and whatever else Envoy can be made
// to say, are not looked at.
func Read(msg []byte) (Request, error) {
	r := Request{Header: http.Header{}}
	var attributes, source, address, socket, request, about, list, from []byte
	var query, fragment string
	var entries, lines int
	err := errors.Join(
		parts(msg, one(checkAttributes, &attributes)),
		parts(attributes, one(attributesSource, &source), one(attributesRequest, &request)),
		parts(source, one(peerAddress, &address)),
		parts(address, one(addressSocket, &socket)),
		parts(socket, one(socketAddress, &from)),
		parts(request, one(requestHTTP, &about)),
		parts(about,
			text(httpMethod, &r.Method), text(httpPath, &r.Path), text(httpHost, &r.Host), text(httpScheme, &r.Scheme),
			text(httpQuery, &query), text(httpFragment, &fragment), one(httpHeaderMap, &list),
			each(httpHeaders, func(entry []byte) error {
				entries++
				return r.joined(entry)
			})),
		parts(list, each(headerMapHeaders, func(entry []byte) error {
			lines++
			return r.line(entry)
		})),
	)
	if err != nil {
		return Request{}, err
	}
	if r.From, err = netip.ParseAddr(string(from)); err != nil {
		return Request{}, errors.New("the address of who asked is not there")
	}
	switch {
	case r.Method == "", r.Path == "", r.Host == "", r.Scheme == "":
		return Request{}, errors.New("method, scheme, host and path are not all there")
	case query != "", fragment != "":
		return Request{}, errors.New("query or fragment is beside the path, where it is in two places or none")
	case entries > 0 && lines > 0:
		return Request{}, errors.New("headers are in two places")
	}
	return r, nil
}

// joined takes a header from the map that has each name once.
func (r *Request) joined(entry []byte) error {
	var name, value []byte
	if err := parts(entry, one(entryKey, &name), one(entryValue, &value)); err != nil {
		return err
	}
	if canonical := http.CanonicalHeaderKey(string(name)); r.Header[canonical] != nil {
		return fmt.Errorf("header %s is there twice", canonical)
	}
	return r.header(string(name), string(value))
}

// line takes a line from the list that has each as it came.
func (r *Request) line(entry []byte) error {
	var name, value, raw []byte
	if err := parts(entry, one(entryKey, &name), one(entryValue, &value), one(entryRaw, &raw)); err != nil {
		return err
	}
	if len(value) > 0 && len(raw) > 0 {
		return fmt.Errorf("header %q has two values", name)
	}
	return r.header(string(name), string(value)+string(raw))
}

func (r *Request) header(name, value string) error {
	if strings.HasPrefix(name, ":") {
		return nil // what HTTP/2 has as headers is said elsewhere
	}
	if !httpguts.ValidHeaderFieldName(name) || !httpguts.ValidHeaderFieldValue(value) {
		return fmt.Errorf("%q is no header", name)
	}
	name = http.CanonicalHeaderKey(name)
	r.Header[name] = append(r.Header[name], value)
	return nil
}

// A part is a field of a message that somebody wants.
type part struct {
	number protowire.Number
	take   func(value []byte) error
}

// one is a field that may be there once.
func one(n protowire.Number, into *[]byte) part {
	return part{n, func(value []byte) error {
		if *into != nil {
			return fmt.Errorf("field %d is there twice", n)
		}
		*into = value
		return nil
	}}
}

// text is one of text.
func text(n protowire.Number, into *string) part {
	var raw []byte
	once := one(n, &raw)
	return part{n, func(value []byte) error {
		*into = string(value)
		return once.take(value)
	}}
}

// each is a field that may be there any number of times.
func each(n protowire.Number, take func(value []byte) error) part { return part{n, take} }

// parts gives what a message has to those who want it, and passes over the rest.
func parts(msg []byte, want ...part) error {
	for len(msg) > 0 {
		number, kind, n := protowire.ConsumeTag(msg)
		if n < 0 {
			return protowire.ParseError(n)
		}
		msg = msg[n:]
		if kind != protowire.BytesType { // a number, or nothing of ours
			if n = protowire.ConsumeFieldValue(number, kind, msg); n < 0 {
				return protowire.ParseError(n)
			}
			msg = msg[n:]
			continue
		}
		value, n := protowire.ConsumeBytes(msg)
		if n < 0 {
			return protowire.ParseError(n)
		}
		msg = msg[n:]
		for _, p := range want {
			if p.number == number {
				if err := p.take(value[:len(value):len(value)]); err != nil {
					return err
				}
			}
		}
	}
	return nil
}
