package scim

import (
	"cmp"
	"encoding/json"
	"strings"
	"unicode/utf8"
)

// Limits of a message.
type Limits struct {
	Bytes  int // of the message; 0: MaxBody
	Values int // of one array; 0: MaxValues
}

// Decode reads one JSON object and refuses what could be understood in two
// ways: a name given twice, also in another case, text after the object,
// invalid UTF-8. It refuses more than MaxBody bytes and MaxDepth levels.
func Decode(data []byte) (*Object, error) { return Limits{}.Decode(data) }

// DecodeText is Decode of a text.
func DecodeText(text string) (*Object, error) { return Limits{}.decode(text) }

// Decode is the function Decode with limits of its own.
func (l Limits) Decode(data []byte) (*Object, error) {
	if most := cmp.Or(l.Bytes, MaxBody); len(data) > most { // too large to be copied first
		return nil, tooLong(most)
	}
	return l.decode(string(data))
}

func tooLong(most int) error {
	return Errorf(413, "", "the message is larger than %d bytes", most)
}

func (l Limits) decode(text string) (*Object, error) {
	l = Limits{cmp.Or(l.Bytes, MaxBody), cmp.Or(l.Values, MaxValues)}
	if len(text) > l.Bytes {
		return nil, tooLong(l.Bytes)
	}
	if !utf8.ValidString(text) {
		return nil, bad(InvalidSyntax, "the message is not valid UTF-8")
	}
	d := decoder{text: text, limits: l}
	v, err := d.value(1)
	if err != nil {
		return nil, err
	}
	o, ok := v.(*Object)
	if !ok {
		return nil, bad(InvalidSyntax, "the message must be a JSON object")
	}
	if d.next() != 0 || d.at < len(d.text) {
		return nil, bad(InvalidSyntax, "there is text after the JSON object")
	}
	return o, nil
}

// A decoder reads JSON (RFC 8259) from its beginning to its end. Every message, and
// every user that is read from a store, passes through it, so it makes nothing but
// the Objects: strings without escapes are parts of the text.
type decoder struct {
	text   string
	at     int // bytes read
	limits Limits
}

// next is the byte after white space, which is not read yet; 0: there is none.
func (d *decoder) next() byte {
	for ; d.at < len(d.text); d.at++ {
		switch c := d.text[d.at]; c {
		case ' ', '\t', '\r', '\n':
		default:
			return c
		}
	}
	return 0
}

// wrong is what is said of text that is no JSON where it stands.
func (d *decoder) wrong() error {
	if d.at >= len(d.text) {
		return bad(InvalidSyntax, "the JSON ends too early")
	}
	return bad(InvalidSyntax, "the message is not valid JSON at byte %d", d.at)
}

func (d *decoder) value(depth int) (any, error) {
	switch c := d.next(); {
	case c == '"':
		return d.quoted()
	case c == '{', c == '[':
		if depth > MaxDepth {
			return nil, bad(InvalidSyntax, "the message is nested deeper than %d levels", MaxDepth)
		}
		d.at++
		if c == '{' {
			return d.object(depth)
		}
		return d.array(depth)
	case c == '-', isDigit(c):
		return d.number()
	}
	for _, w := range words {
		if strings.HasPrefix(d.text[d.at:], w.text) {
			d.at += len(w.text)
			return w.value, nil
		}
	}
	if rest := d.text[d.at:]; rest == "" || strings.HasPrefix("true", rest) || strings.HasPrefix("false", rest) || strings.HasPrefix("null", rest) {
		d.at = len(d.text)
	}
	return nil, d.wrong()
}

var words = []struct {
	text  string
	value any
}{{"true", true}, {"false", false}, {"null", nil}}

// manyNames is how many names of one object are compared with each other; more
// than that are looked up.
const manyNames = 16

func (d *decoder) object(depth int) (any, error) {
	o := empty()
	var seen map[string]bool // lower-case names, once they are many
	for first := true; ; first = false {
		switch c := d.next(); {
		case c == '}' && first:
			d.at++
			return o, nil
		case c != '"':
			return nil, d.wrong()
		}
		name, err := d.quoted()
		if err != nil {
			return nil, err
		}
		if seen == nil && len(o.members) > manyNames {
			seen = make(map[string]bool, 2*manyNames)
			for _, m := range o.members {
				seen[lowerName(m.name)] = true
			}
		}
		twice := seen == nil && o.index(name) >= 0
		if seen != nil {
			key := lowerName(name)
			twice, seen[key] = seen[key], true
		}
		if twice {
			return nil, bad(InvalidSyntax, "the name %q is given twice in one object", clip(name))
		}
		if d.next() != ':' {
			return nil, d.wrong()
		}
		d.at++
		v, err := d.value(depth + 1)
		if err != nil {
			return nil, err
		}
		if unassigned(v) {
			v = nil
		}
		o.members = append(o.members, member{name, v})
		switch d.next() {
		case ',':
			d.at++
		case '}':
			d.at++
			return o, nil
		default:
			return nil, d.wrong()
		}
	}
}

func (d *decoder) array(depth int) (any, error) {
	a := []any{}
	if d.next() == ']' {
		d.at++
		return a, nil
	}
	for {
		v, err := d.value(depth + 1)
		if err != nil {
			return nil, err
		}
		if v != nil {
			if len(a) == d.limits.Values {
				return nil, Errorf(413, "", "an array has more than %d values", d.limits.Values)
			}
			a = append(a, v)
		}
		switch d.next() {
		case ',':
			d.at++
		case ']':
			d.at++
			return a, nil
		default:
			return nil, d.wrong()
		}
	}
}

// quoted reads a string.
func (d *decoder) quoted() (string, error) {
	from := d.at + 1
	plain := true
	for d.at = from; d.at < len(d.text); d.at++ {
		switch c := d.text[d.at]; {
		case c == '"':
			d.at++
			if plain {
				return d.text[from : d.at-1], nil
			}
			var s string
			if err := json.Unmarshal([]byte(d.text[from-1:d.at]), &s); err != nil {
				d.at = from
				return "", d.wrong()
			}
			return s, nil
		case c == '\\':
			plain = false
			d.at++
		case c < ' ':
			return "", d.wrong()
		}
	}
	d.at = len(d.text)
	return "", d.wrong()
}

func (d *decoder) number() (any, error) {
	from := d.at
	d.skip('-', '-')
	switch {
	case d.skip('0', '0'):
	case !d.digits():
		return nil, d.wrong()
	}
	if d.skip('.', '.') && !d.digits() {
		return nil, d.wrong()
	}
	if d.skip('e', 'E') {
		d.skip('+', '-')
		if !d.digits() {
			return nil, d.wrong()
		}
	}
	return json.Number(d.text[from:d.at]), nil
}

// skip reads one of two bytes, if it is there.
func (d *decoder) skip(a, b byte) bool {
	if d.at < len(d.text) && (d.text[d.at] == a || d.text[d.at] == b) {
		d.at++
		return true
	}
	return false
}

// digits reads at least one.
func (d *decoder) digits() bool {
	from := d.at
	for d.at < len(d.text) && isDigit(d.text[d.at]) {
		d.at++
	}
	return d.at > from
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }
