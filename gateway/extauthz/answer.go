package extauthz

import (
	"encoding/binary"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
)

// Fields of the answer.
const (
	responseStatus = 1
	responseDenied = 2
	responseOK     = 3

	statusCode = 1 // of google.rpc.Status, and of HttpStatus

	deniedStatus  = 1
	deniedHeaders = 2
	deniedBody    = 3

	okHeaders = 2
	okRemove  = 5

	optionHeader = 1
	optionAppend = 2
)

// Yes is the body of an answer by which a request may pass, with these headers in
// the place of what the client sent under their names, and without those of remove.
// An empty header is one to remove. No name may be both: which comes first differs
// between versions of Envoy.
//
// Several lines of one name become one, with "," between them, since that is all
// that every Envoy does alike. A header stays away if a comma in one of the lines
// would then part what belongs together, or if it is no UTF-8, which a message can
// not carry.
func Yes(set http.Header, remove ...[]string) []byte {
	ok := make([]byte, 0, 4<<10) // enough for most
	for name, lines := range set {
		value := strings.Join(lines, ",")
		if len(lines) > 1 && slices.ContainsFunc(lines, func(l string) bool { return strings.Contains(l, ",") }) || !utf8.ValidString(value) {
			value = ""
		}
		if value == "" {
			ok = protowire.AppendString(protowire.AppendTag(ok, okRemove, protowire.BytesType), strings.ToLower(name))
		} else {
			ok = option(ok, okHeaders, name, value, true)
		}
	}
	for _, names := range remove {
		for _, name := range names {
			ok = protowire.AppendString(protowire.AppendTag(ok, okRemove, protowire.BytesType), name)
		}
	}
	return answer(0, responseOK, ok)
}

// No is the body of an answer that a client gets instead of the service's.
func No(status int, h http.Header, content []byte) []byte {
	denied := sub(nil, deniedStatus, number(nil, statusCode, status))
	for name, lines := range h {
		for i, line := range lines {
			denied = option(denied, deniedHeaders, name, strings.ToValidUTF8(line, "?"), i == 0)
		}
	}
	denied = protowire.AppendString(protowire.AppendTag(denied, deniedBody, protowire.BytesType), strings.ToValidUTF8(string(content), "?"))
	return answer(permissionDenied, responseDenied, denied)
}

// permissionDenied is PERMISSION_DENIED of google.rpc.Code. Whatever is not 0 is a
// no, which Envoy's failure_mode_allow does not touch: it is for errors of gRPC.
const permissionDenied = 7

// answer is a CheckResponse, with what is before a message.
func answer(code int, kind protowire.Number, msg []byte) []byte {
	body := make([]byte, prefix, prefix+len(msg)+16)
	body = sub(body, responseStatus, number(nil, statusCode, code))
	body = sub(body, kind, msg)
	binary.BigEndian.PutUint32(body[1:], uint32(len(body)-prefix))
	return body
}

// option is a header: the first of its name, which takes the place of those that are
// there, or one more. What Envoy does where nothing is said has changed from one
// version to another and back, so the first says it, by the older of the two fields
// for it, which counts in all of them. One more says nothing: cookies of an answer
// are then all kept, by all of them.
func option(b []byte, n protowire.Number, name, value string, first bool) []byte {
	inner := 2 + protowire.SizeBytes(len(name)) + protowire.SizeBytes(len(value)) // tags have a byte
	size := 1 + protowire.SizeBytes(inner)
	if first {
		size += 2
	}
	b = protowire.AppendVarint(protowire.AppendTag(b, n, protowire.BytesType), uint64(size))
	b = protowire.AppendVarint(protowire.AppendTag(b, optionHeader, protowire.BytesType), uint64(inner))
	b = protowire.AppendVarint(protowire.AppendTag(b, entryKey, protowire.BytesType), uint64(len(name)))
	for i := range len(name) {
		c := name[i]
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		b = append(b, c)
	}
	b = protowire.AppendString(protowire.AppendTag(b, entryValue, protowire.BytesType), value)
	if first {
		b = sub(b, optionAppend, nil) // a BoolValue that is false
	}
	return b
}

func sub(b []byte, n protowire.Number, msg []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, n, protowire.BytesType), msg)
}

func number(b []byte, n protowire.Number, v int) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, n, protowire.VarintType), uint64(v))
}
