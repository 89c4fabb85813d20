package scim

import (
	"encoding/json"
	"math"
	"strconv"
	"strings"
	"time"
)

// Match reports whether both hold.
func (f And) Match(o *Object) bool { return f.Left.Match(o) && f.Right.Match(o) }

// Match reports whether one holds.
func (f Or) Match(o *Object) bool { return f.Left.Match(o) || f.Right.Match(o) }

// Match reports whether the filter does not hold.
func (f Not) Match(o *Object) bool { return !f.Filter.Match(o) }

// Match reports whether there is a value.
func (f Has) Match(o *Object) bool { return present(f.Path.Values(o)) }

// Match compares.
func (f Compare) Match(o *Object) bool {
	values := f.Path.Values(o)
	switch {
	case f.Op == Pr:
		return present(values)
	case f.Value == nil:
		return present(values) == (f.Op == Ne)
	case len(values) == 0:
		return f.Op == Ne
	}
	lit := f.lit
	if lit.kind == "" {
		lit = dynamic(f.Value)
	}
	for _, v := range values {
		if el, ok := v.(*Object); ok { // a complex value is compared by its value
			v = el.Get("value")
		}
		if lit.compare(f.Op, v) {
			return true
		}
	}
	return false
}

// present reports whether there is a value that is not empty.
func present(values []any) bool {
	for _, v := range values {
		if o, ok := v.(*Object); v != "" && (!ok || o.Len() > 0) {
			return true
		}
	}
	return false
}

// A literal is the value of a comparison, made ready once.
type literal struct {
	kind  Type
	exact bool
	text  string
	num   float64
	time  time.Time
	truth bool
}

// dynamic makes a literal without a schema: what it is, is how it is written.
func dynamic(v any) literal {
	switch v := v.(type) {
	case string:
		return literal{kind: String, text: Fold(v)}
	case json.Number:
		n, _ := number(v)
		return literal{kind: Decimal, num: n}
	case bool:
		return literal{kind: Boolean, truth: v}
	}
	return literal{}
}

// newLiteral makes the literal of a resolved comparison and refuses what can not be compared.
func newLiteral(f Compare) (literal, error) {
	a := f.Path.attr
	if f.Path.sub != nil {
		a = f.Path.sub
	} else if a.Type == Complex && f.Op != Pr && f.Value != nil {
		if a = find(a.Sub, "value"); a == nil {
			return literal{}, bad(InvalidFilter, "%s is complex: compare one of its sub-attributes", f.Path.Name)
		}
	}
	if f.Op == Pr {
		return literal{}, nil
	}
	if f.Value == nil {
		if f.Op != Eq && f.Op != Ne {
			return literal{}, bad(InvalidFilter, "null can be compared with eq and ne only")
		}
		return literal{}, nil
	}
	lit := dynamic(f.Value)
	lit.exact = a.CaseExact
	wrong := func() (literal, error) {
		return literal{}, bad(InvalidFilter, "%s is of type %s and can not be compared with %s", f.Path, a.Type, appendValue(nil, f.Value))
	}
	text, isText := f.Value.(string)
	switch a.Type {
	case String, Reference, Binary:
		if !isText {
			return wrong()
		}
		if lit.kind = String; lit.exact || a.Type == Binary {
			lit.exact, lit.text = true, text
		}
	case DateTime:
		t, err := ParseTime(text)
		if f.Op == Co || f.Op == Sw || f.Op == Ew {
			if !isText {
				return wrong()
			}
			lit.exact, lit.text = true, text
			break
		}
		if err != nil {
			return wrong()
		}
		lit.kind, lit.time = DateTime, t
	case Integer, Decimal:
		n, isNumber := f.Value.(json.Number)
		if !isNumber {
			return wrong()
		}
		if _, ok := number(n); !ok {
			return wrong()
		}
	case Boolean:
		if lit.kind != Boolean {
			return wrong()
		}
	}
	textOp := f.Op == Co || f.Op == Sw || f.Op == Ew
	ordered := f.Op == Gt || f.Op == Ge || f.Op == Lt || f.Op == Le
	if textOp && lit.kind != String || ordered && (a.Type == Boolean || a.Type == Binary) {
		return literal{}, bad(InvalidFilter, "%s is of type %s, which has no %s", f.Path, a.Type, f.Op)
	}
	return lit, nil
}

func (l literal) compare(op Op, v any) bool {
	var c int // as of strings.Compare
	switch l.kind {
	case String:
		s, ok := v.(string)
		if !ok {
			return op == Ne
		}
		if !l.exact {
			s = Fold(s)
		}
		switch op {
		case Co:
			return strings.Contains(s, l.text)
		case Sw:
			return strings.HasPrefix(s, l.text)
		case Ew:
			return strings.HasSuffix(s, l.text)
		}
		c = strings.Compare(s, l.text)
	case DateTime:
		s, _ := v.(string)
		t, err := ParseTime(s)
		if err != nil {
			return op == Ne
		}
		c = t.Compare(l.time)
	case Decimal:
		n, isNumber := v.(json.Number)
		x, ok := number(n)
		if !isNumber || !ok {
			return op == Ne
		}
		switch {
		case x < l.num:
			c = -1
		case x > l.num:
			c = 1
		}
	case Boolean:
		b, ok := v.(bool)
		if !ok || b != l.truth {
			return op == Ne
		}
	}
	switch op {
	case Eq:
		return c == 0
	case Ne:
		return c != 0
	case Gt:
		return c > 0
	case Ge:
		return c >= 0
	case Lt:
		return c < 0
	case Le:
		return c <= 0
	}
	return false
}

func number(n json.Number) (float64, bool) {
	x, err := strconv.ParseFloat(string(n), 64)
	return x, err == nil && !math.IsInf(x, 0)
}

// ParseTime reads a dateTime (RFC 7643 section 2.3.5): an xsd:dateTime with any
// number of fractional digits; without an offset it is UTC.
func ParseTime(s string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		if u, err := time.ParseInLocation("2006-01-02T15:04:05.999999999", s, time.UTC); err == nil {
			return u, nil
		}
	}
	return t, err
}
