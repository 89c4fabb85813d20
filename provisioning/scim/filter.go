package scim

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"
)

// A Filter is a condition on a resource (RFC 7644 section 3.4.2.2): one of
// And, Or, Not, Compare and Has.
type Filter interface {
	// Match reports whether the condition holds. A filter that came from
	// ParseFilter, not from ResourceType.Filter, knows no schema: it compares
	// strings in any case.
	Match(o *Object) bool
	// String writes the filter so that ParseFilter reads the same again.
	String() string
}

// And, Or and Not combine filters.
type (
	And struct{ Left, Right Filter }
	Or  struct{ Left, Right Filter }
	Not struct{ Filter Filter }
)

// Compare compares the values at a path. If there are several, one that fits is enough.
type Compare struct {
	Path  Path
	Op    Op
	Value any // a string, json.Number, bool or nil; nil with Pr

	lit literal
}

// Has holds if there is a value at the path: emails[type eq "work"].
type Has struct{ Path Path }

// Op is a comparison.
type Op string

// Comparisons.
const (
	Eq Op = "eq"
	Ne Op = "ne" // also holds if the attribute is unassigned
	Co Op = "co"
	Sw Op = "sw"
	Ew Op = "ew"
	Pr Op = "pr"
	Gt Op = "gt"
	Ge Op = "ge"
	Lt Op = "lt"
	Le Op = "le"
)

// ParseFilter reads a filter. It refuses more than MaxFilter bytes and MaxFilterDepth levels.
func ParseFilter(text string) (Filter, error) {
	f, err := parseText(text, func(ps *parser) (Filter, error) {
		f, err := ps.or(0)
		if err == nil && !ps.done() {
			err = ps.unexpected("and, or, or the end of the filter")
		}
		return f, err
	})
	if err != nil {
		return nil, bad(InvalidFilter, "the filter can not be read: %v", err)
	}
	return f, nil
}

// Filter reads a filter and finds the attributes that it names. One that the
// type does not have is refused, and so is one that is never returned: what
// may not be read may not be guessed (RFC 7644 section 7.5.2).
func (rt *ResourceType) Filter(text string) (Filter, error) {
	f, err := ParseFilter(text)
	if err != nil {
		return nil, err
	}
	return resolveFilter(f, func(p Path) (Path, error) { return rt.resolve(p, InvalidFilter) })
}

// FilterAmong is Filter for a query over several types: an attribute that this
// type does not have, but another one has, counts as unassigned.
func (rt *ResourceType) FilterAmong(text string, types []*ResourceType) (Filter, error) {
	f, err := ParseFilter(text)
	if err != nil {
		return nil, err
	}
	return resolveFilter(f, func(p Path) (Path, error) {
		own, err := rt.resolve(p, InvalidFilter)
		if err == nil {
			return own, nil
		}
		for _, other := range types {
			if q, err := other.resolve(p, InvalidFilter); err == nil {
				return q, nil // no resource of this type has a value there
			}
		}
		return own, err
	})
}

func resolveFilter(f Filter, resolve func(Path) (Path, error)) (Filter, error) {
	var err error
	switch f := f.(type) {
	case And:
		if f.Left, err = resolveFilter(f.Left, resolve); err == nil {
			f.Right, err = resolveFilter(f.Right, resolve)
		}
		return f, err
	case Or:
		if f.Left, err = resolveFilter(f.Left, resolve); err == nil {
			f.Right, err = resolveFilter(f.Right, resolve)
		}
		return f, err
	case Not:
		f.Filter, err = resolveFilter(f.Filter, resolve)
		return f, err
	case Has:
		if f.Path, err = resolve(f.Path); err == nil {
			err = readable(f.Path)
		}
		return f, err
	case Compare:
		if f.Path, err = resolve(f.Path); err == nil {
			if err = readable(f.Path); err == nil {
				f.lit, err = newLiteral(f)
			}
		}
		return f, err
	}
	return nil, bad(InvalidFilter, "the filter is empty")
}

func readable(p Path) error {
	if p.attr == nil {
		return bad(InvalidFilter, "%s is a schema, not an attribute", p)
	}
	for _, a := range []*Attribute{p.attr, p.sub} {
		if a != nil && (a.Returned == Never || a.Mutability == WriteOnly) {
			return bad(InvalidFilter, "%s may not be asked for", a.Name)
		}
	}
	return nil
}

func (f And) String() string { return andTerm(f.Left, false) + " and " + andTerm(f.Right, true) }
func (f Or) String() string  { return f.Left.String() + " or " + orRight(f.Right) }
func (f Not) String() string { return "not (" + f.Filter.String() + ")" }
func (f Has) String() string { return f.Path.String() }
func (f Compare) String() string {
	if f.Op == Pr {
		return f.Path.String() + " pr"
	}
	return f.Path.String() + " " + string(f.Op) + " " + string(appendValue(nil, f.Value))
}

// andTerm writes a side of an "and": an "or" there needs parentheses, and so
// does an "and" on the right, because reading groups from the left.
func andTerm(f Filter, right bool) string {
	switch f.(type) {
	case Or:
		return "(" + f.String() + ")"
	case And:
		if right {
			return "(" + f.String() + ")"
		}
	}
	return f.String()
}

func orRight(f Filter) string {
	if _, ok := f.(Or); ok {
		return "(" + f.String() + ")"
	}
	return f.String()
}

// Equal returns the value that the attribute at path must have for the filter
// to hold, if it says so by itself or as a side of an "and". A store can look
// it up in an index and try the filter on what it finds.
func Equal(f Filter, path string) (string, bool) {
	switch f := f.(type) {
	case And:
		if v, ok := Equal(f.Left, path); ok {
			return v, true
		}
		return Equal(f.Right, path)
	case Compare:
		if v, ok := f.Value.(string); ok && f.Op == Eq && sameName(f.Path.String(), path) {
			return v, true
		}
	}
	return "", false
}

// Reads reports whether a filter reads a path that is one of those, what is inside
// brackets aside.
func Reads(f Filter, one func(Path) bool) bool {
	switch f := f.(type) {
	case And:
		return Reads(f.Left, one) || Reads(f.Right, one)
	case Or:
		return Reads(f.Left, one) || Reads(f.Right, one)
	case Not:
		return Reads(f.Filter, one)
	case Compare:
		return one(f.Path)
	case Has:
		return one(f.Path)
	}
	return false
}

// parser reads filters and paths; the grammar is that of RFC 7644 figure 1 and
// 7. Its errors are plain: who calls it says what they are errors of.
type parser struct {
	text string
	at   int
}

func parseText[T any](text string, parse func(*parser) (T, error)) (T, error) {
	var zero T
	if len(text) > MaxFilter {
		return zero, fmt.Errorf("it is longer than %d bytes", MaxFilter)
	}
	if !utf8.ValidString(text) {
		return zero, fmt.Errorf("it is not valid UTF-8")
	}
	return parse(&parser{text: text})
}

func (ps *parser) or(depth int) (Filter, error) {
	left, err := ps.and(depth)
	for err == nil && ps.keyword("or") {
		var right Filter
		if right, err = ps.and(depth); err == nil {
			left = Or{left, right}
		}
	}
	return left, err
}

func (ps *parser) and(depth int) (Filter, error) {
	left, err := ps.term(depth)
	for err == nil && ps.keyword("and") {
		var right Filter
		if right, err = ps.term(depth); err == nil {
			left = And{left, right}
		}
	}
	return left, err
}

func (ps *parser) term(depth int) (Filter, error) {
	ps.space()
	if ps.peek() == '(' {
		return ps.group(depth)
	}
	if start := ps.at; sameName(ps.word(), "not") {
		ps.space()
		if ps.peek() != '(' {
			return nil, ps.unexpected("( after not")
		}
		f, err := ps.group(depth)
		return Not{f}, err
	} else {
		ps.at = start
	}
	return ps.compare(depth)
}

func (ps *parser) group(depth int) (Filter, error) {
	if depth++; depth > MaxFilterDepth {
		return nil, fmt.Errorf("it is nested deeper than %d levels", MaxFilterDepth)
	}
	ps.at++
	f, err := ps.or(depth)
	if err != nil {
		return nil, err
	}
	ps.space()
	return f, ps.expect(')')
}

func (ps *parser) compare(depth int) (Filter, error) {
	p, err := ps.path(depth)
	if err != nil {
		return nil, err
	}
	if p.Name == "" {
		return nil, fmt.Errorf("%s is a schema, not an attribute", clip(p.URN))
	}
	mark := ps.at
	ps.space()
	op := Op(lowerName(ps.word()))
	switch op {
	case Pr:
		return Compare{Path: p, Op: Pr}, nil
	case Eq, Ne, Co, Sw, Ew, Gt, Ge, Lt, Le:
		if ps.peek() != ' ' {
			return nil, ps.unexpected("a space and a value after " + string(op))
		}
		v, err := ps.value()
		return Compare{Path: p, Op: op, Value: v}, err
	}
	ps.at = mark
	if p.Filter != nil {
		return Has{p}, nil
	}
	ps.space()
	return nil, ps.unexpected("a comparison (eq ne co sw ew pr gt ge lt le) after " + clip(p.String()))
}

// path reads a path with what may follow it in brackets.
func (ps *parser) path(depth int) (Path, error) {
	ps.space()
	start := ps.at
	p, ok := splitPath(ps.word())
	if !ok {
		ps.at = start
		return Path{}, ps.unexpected("an attribute")
	}
	if ps.peek() != '[' {
		return p, nil
	}
	if p.Sub != "" || p.Name == "" {
		return Path{}, ps.unexpected("no [ here")
	}
	if depth++; depth > MaxFilterDepth {
		return Path{}, fmt.Errorf("it is nested deeper than %d levels", MaxFilterDepth)
	}
	ps.at++
	f, err := ps.or(depth)
	if err != nil {
		return Path{}, err
	}
	if nested(f) {
		return Path{}, fmt.Errorf("there are [ ] inside [ ]")
	}
	ps.space()
	if err := ps.expect(']'); err != nil {
		return Path{}, err
	}
	p.Filter = f
	if ps.peek() == '.' {
		ps.at++
		start := ps.at
		if p.Sub = ps.word(); !validName(p.Sub) {
			ps.at = start
			return Path{}, ps.unexpected("a sub-attribute after the dot")
		}
	}
	return p, nil
}

func nested(f Filter) bool {
	switch f := f.(type) {
	case And:
		return nested(f.Left) || nested(f.Right)
	case Or:
		return nested(f.Left) || nested(f.Right)
	case Not:
		return nested(f.Filter)
	case Compare:
		return f.Path.Filter != nil
	}
	return true
}

// splitPath takes apart what stands before any bracket. The name after a URN
// begins behind its last colon, since the version in a URN has dots.
func splitPath(word string) (Path, bool) {
	var p Path
	name := word
	if hasPrefixFold(word, "urn:") {
		i := strings.LastIndexByte(word, ':')
		if i+1 == len(word) {
			return p, false
		}
		p.URN, name = word[:i], word[i+1:]
		if c := name[0]; c < 'A' { // a version: the whole word is the URN
			return Path{URN: word}, true
		}
	}
	var dotted bool
	p.Name, p.Sub, dotted = strings.Cut(name, ".")
	return p, validName(p.Name) && (!dotted || validName(p.Sub))
}

// validName reports whether s can be the name of an attribute: ALPHA *(nameChar), or $ref.
func validName(s string) bool {
	if s == "" || sameName(s, "$ref") {
		return s != ""
	}
	for i := range len(s) {
		c := lower(s[i])
		if !('a' <= c && c <= 'z' || i > 0 && ('0' <= c && c <= '9' || c == '-' || c == '_')) {
			return false
		}
	}
	return true
}

func (ps *parser) value() (any, error) {
	ps.space()
	start := ps.at
	if ps.peek() == '"' {
		d := decoder{text: ps.text, at: start}
		s, err := d.quoted()
		if err != nil {
			return nil, ps.unexpected("a JSON string that ends")
		}
		ps.at = d.at
		return s, nil
	}
	switch w := ps.word(); {
	case w == "true":
		return true, nil
	case w == "false":
		return false, nil
	case w == "null":
		return nil, nil
	case w != "" && (w[0] == '-' || '0' <= w[0] && w[0] <= '9') && json.Valid([]byte(w)):
		return json.Number(w), nil
	}
	ps.at = start
	return nil, ps.unexpected(`a value ("text", a number, true, false or null)`)
}

// word takes everything up to a space, a bracket or a quote.
func (ps *parser) word() string {
	start := ps.at
	for ; ps.at < len(ps.text); ps.at++ {
		switch ps.text[ps.at] {
		case ' ', '(', ')', '[', ']', '"':
			return ps.text[start:ps.at]
		}
	}
	return ps.text[start:]
}

// keyword takes a word if it is the one wanted.
func (ps *parser) keyword(want string) bool {
	mark := ps.at
	ps.space()
	if ps.at > mark || ps.after(')') || ps.after(']') || ps.after('"') {
		if sameName(ps.word(), want) {
			return true
		}
	}
	ps.at = mark
	return false
}

func (ps *parser) after(c byte) bool { return ps.at > 0 && ps.text[ps.at-1] == c }

func (ps *parser) space() {
	for ps.peek() == ' ' {
		ps.at++
	}
}

func (ps *parser) done() bool {
	ps.space()
	return ps.at == len(ps.text)
}

func (ps *parser) peek() byte {
	if ps.at < len(ps.text) {
		return ps.text[ps.at]
	}
	return 0
}

func (ps *parser) expect(c byte) error {
	if ps.peek() != c {
		return ps.unexpected(string(c))
	}
	ps.at++
	return nil
}

func (ps *parser) unexpected(want string) error {
	if ps.at >= len(ps.text) {
		return fmt.Errorf("at its end %s is missing", want)
	}
	return fmt.Errorf("at byte %d there must be %s", ps.at+1, want)
}
