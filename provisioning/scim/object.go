package scim

import (
	"bytes"
	"encoding/json"
	"iter"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// An Object is a JSON object: members in their order, whose names are found in
// any case. A value is a string, a bool, a json.Number, an *Object, or a []any
// of these. The zero Object is empty. An absent member, null and an empty
// array are the same thing, unassigned (RFC 7643 section 2.5); Get gives nil
// for all three. Only an Object from Decode has unassigned members, all of them
// null, because a PATCH that gives one asks for something.
type Object struct{ members []member }

type member struct {
	name  string
	value any
}

// few is how many members most Objects have at most.
const few = 4

// empty makes an Object with room for a few members, in one piece with them: that many
// Objects are made of every message and for every answer.
func empty() *Object {
	o := new(struct {
		Object
		room [few]member
	})
	o.members = o.room[:0]
	return &o.Object
}

// NewObject makes an Object of names and values that alternate.
func NewObject(pairs ...any) *Object {
	o := empty()
	if n := len(pairs) / 2; n > few {
		o.members = make([]member, 0, n)
	}
	for i := 0; i+1 < len(pairs); i += 2 {
		o.Set(pairs[i].(string), pairs[i+1])
	}
	return o
}

// Get returns the value of a member, nil if it is unassigned.
func (o *Object) Get(name string) any {
	if o == nil {
		return nil
	}
	if i := o.index(name); i >= 0 {
		return o.members[i].value
	}
	return nil
}

// String returns a member that is a string, or the empty string.
func (o *Object) String(name string) string {
	s, _ := o.Get(name).(string)
	return s
}

// Sub returns a member that is an Object, or nil; a nil Object is empty.
func (o *Object) Sub(name string) *Object {
	sub, _ := o.Get(name).(*Object)
	return sub
}

// List returns a member that is an array, or nil.
func (o *Object) List(name string) []any {
	l, _ := o.Get(name).([]any)
	return l
}

// Set gives a member a value and keeps its place, or appends it. An unassigned value removes it.
func (o *Object) Set(name string, v any) {
	if unassigned(v) {
		o.Delete(name)
		return
	}
	if i := o.index(name); i >= 0 {
		o.members[i] = member{name, v}
		return
	}
	o.members = append(o.members, member{name, v})
}

// Delete removes a member.
func (o *Object) Delete(name string) {
	if i := o.index(name); i >= 0 {
		o.members = slices.Delete(o.members, i, i+1)
	}
}

// Len counts the members.
func (o *Object) Len() int {
	if o == nil {
		return 0
	}
	return len(o.members)
}

// All yields names and values in order. The Object must not be changed meanwhile.
func (o *Object) All() iter.Seq2[string, any] {
	return func(yield func(string, any) bool) {
		if o == nil {
			return
		}
		for _, m := range o.members {
			if !yield(m.name, m.value) {
				return
			}
		}
	}
}

// Clone copies an Object with everything in it.
func (o *Object) Clone() *Object {
	if o == nil {
		return nil
	}
	c := &Object{members: make([]member, len(o.members))}
	for i, m := range o.members {
		c.members[i] = member{m.name, cloneValue(m.value)}
	}
	return c
}

// Equal reports whether both hold the same, whatever the order of members.
// Names are compared in any case, values exactly.
func (o *Object) Equal(p *Object) bool {
	return o.Len() == p.Len() && o.within(p)
}

// within reports whether every member of o is in p with the same value.
func (o *Object) within(p *Object) bool {
	for name, v := range o.All() {
		if !equalValue(v, p.Get(name)) {
			return false
		}
	}
	return true
}

func (o *Object) index(name string) int {
	return slices.IndexFunc(o.members, func(m member) bool { return sameName(m.name, name) })
}

func cloneValue(v any) any {
	switch v := v.(type) {
	case *Object:
		return v.Clone()
	case []any:
		c := make([]any, len(v))
		for i := range v {
			c[i] = cloneValue(v[i])
		}
		return c
	}
	return v
}

func equalValue(a, b any) bool {
	switch a := a.(type) {
	case *Object:
		b, ok := b.(*Object)
		return ok && a.Equal(b)
	case []any:
		b, ok := b.([]any)
		return ok && slices.EqualFunc(a, b, equalValue)
	}
	switch b.(type) {
	case *Object, []any:
		return false
	}
	return a == b
}

func unassigned(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case []any:
		return len(v) == 0
	case *Object:
		return v == nil
	}
	return false
}

// sameName compares names as SCIM does: ASCII letters in any case, and no
// other letter that Unicode would fold onto one of them.
func sameName(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	if a == b {
		return true
	}
	for i := range len(a) {
		if a[i] != b[i] && lower(a[i]) != lower(b[i]) {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

func lowerName(s string) string {
	for i := range len(s) {
		if lower(s[i]) != s[i] {
			b := []byte(s)
			for j := i; j < len(b); j++ {
				b[j] = lower(b[j])
			}
			return string(b)
		}
	}
	return s
}

// Fold is what two values of an attribute that is not caseExact have in common
// if they are the same: case folded, in normal form C (RFC 7644 section 7.8).
func Fold(s string) string {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return norm.NFC.String(cases.Fold().String(norm.NFC.String(s)))
		}
	}
	return lowerName(s)
}

// clip keeps what a client sent short enough to be repeated to it.
func clip(s string) string {
	if len(s) > 80 {
		return strings.ToValidUTF8(s[:80], "") + "…"
	}
	return s
}

// MarshalJSON writes the members in their order.
func (o *Object) MarshalJSON() ([]byte, error) { return o.AppendJSON(nil), nil }

// AppendJSON appends the Object as JSON.
func (o *Object) AppendJSON(b []byte) []byte { return appendValue(b, o) }

func appendValue(b []byte, v any) []byte {
	switch v := v.(type) {
	case string:
		return appendString(b, v)
	case bool:
		return strconv.AppendBool(b, v)
	case json.Number:
		return append(b, v...)
	case int:
		return strconv.AppendInt(b, int64(v), 10)
	case *Object:
		b = append(b, '{')
		for i, m := range v.members {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(appendString(b, m.name), ':')
			b = appendValue(b, m.value)
		}
		return append(b, '}')
	case []any:
		b = append(b, '[')
		for i, e := range v {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendValue(b, e)
		}
		return append(b, ']')
	}
	return append(b, "null"...)
}

func appendString(b []byte, s string) []byte {
	plain, ascii := true, true
	for i := range len(s) {
		switch c := s[i]; {
		case c < ' ':
			return appendEscaped(b, s)
		case c == '"' || c == '\\':
			plain = false
		case c >= utf8.RuneSelf:
			ascii = false
		}
	}
	if !ascii {
		return appendEscaped(b, s)
	}
	b = append(b, '"')
	if plain {
		return append(append(b, s...), '"')
	}
	for i := range len(s) { // as in every entity tag
		if s[i] == '"' || s[i] == '\\' {
			b = append(b, '\\')
		}
		b = append(b, s[i])
	}
	return append(b, '"')
}

func appendEscaped(b []byte, s string) []byte {
	var buf bytes.Buffer
	e := json.NewEncoder(&buf)
	e.SetEscapeHTML(false)
	_ = e.Encode(s) // a string can always be encoded
	return append(b, bytes.TrimSuffix(buf.Bytes(), []byte("\n"))...)
}

// A Resource is an Object that a ResourceType made: it holds attributes that
// the type knows, in their schemas' spelling and of their types.
type Resource struct{ Object }

// ID is the server's name of the resource.
func (r *Resource) ID() string { return r.String("id") }

// ExternalID is the client's name of the resource.
func (r *Resource) ExternalID() string { return r.String("externalId") }

// Version is meta.version, an entity tag such as W/"3".
func (r *Resource) Version() string { return r.Sub("meta").String("version") }

// Clone copies the Resource with everything in it.
func (r *Resource) Clone() *Resource { return &Resource{*r.Object.Clone()} }

// Equal reports whether both say the same, meta aside.
func (r *Resource) Equal(s *Resource) bool {
	a, b := &r.Object, &s.Object
	if a.Get("meta") != nil || b.Get("meta") != nil {
		a, b = &Object{slices.Clone(a.members)}, &Object{slices.Clone(b.members)}
		a.Delete("meta")
		b.Delete("meta")
	}
	return a.Equal(b)
}
