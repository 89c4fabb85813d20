package scim

import (
	"encoding/base64"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"
)

// New makes the resource that a POST asks for. Names come out in the schemas'
// spelling. What a client can not set is left out, and so is what the type does
// not know; a value of the wrong type and a missing required one are refused.
func (rt *ResourceType) New(in *Object) (*Resource, error) {
	if err := checkSchema(in, rt.Schema.ID); err != nil {
		return nil, err
	}
	r := &Resource{}
	for name, v := range in.All() {
		if ext := rt.Extension(name); ext != nil {
			o, err := newExtension(ext, v)
			if err != nil {
				return nil, err
			}
			r.Set(ext.ID, o)
		} else if a := rt.Attribute(name); a != nil && a.Mutability != ReadOnly && a.Name != "schemas" {
			v, err := a.coerce(v)
			if err != nil {
				return nil, err
			}
			r.Set(a.Name, v)
		}
	}
	return r, rt.finish(r)
}

// Replace makes the resource that a PUT asks for (RFC 7644 section 3.5.1). What
// is left out is cleared, but three things stay: what clients can not set, what
// they can not read back, and active, so that forgetting it neither locks a
// person out nor lets one in.
func (rt *ResourceType) Replace(cur *Resource, in *Object) (*Resource, error) {
	next, err := rt.New(in)
	if err != nil {
		return nil, err
	}
	for name, v := range cur.All() {
		a := rt.Attribute(name)
		if a == nil || next.Get(name) != nil {
			continue
		}
		if a.Mutability == ReadOnly || a.Mutability == WriteOnly || a.Name == "active" {
			next.Set(a.Name, cloneValue(v))
		}
	}
	if err := rt.checkImmutable(cur, next); err != nil {
		return nil, err
	}
	return next, rt.finish(next)
}

// ReplaceGiven is Replace for a client that leaves out what it has nothing to
// say about: that stays as it is. What it gives as null, or as an empty array, is cleared.
func (rt *ResourceType) ReplaceGiven(cur *Resource, in *Object) (*Resource, error) {
	all := in.Clone()
	for name, v := range cur.All() {
		i := all.index(name)
		if ext := rt.Extension(name); ext != nil && i >= 0 {
			given, _ := all.members[i].value.(*Object)
			old, _ := v.(*Object)
			for name, v := range old.All() {
				if given != nil && given.index(name) < 0 {
					given.Set(name, cloneValue(v))
				}
			}
		} else if i < 0 {
			all.Set(name, cloneValue(v))
		}
	}
	return rt.Replace(cur, all)
}

// checkSchema refuses a message that does not say that it is of a schema. Other
// schemas beside it are none of our business.
func checkSchema(in *Object, urn string) error {
	for _, s := range in.List("schemas") {
		if s, ok := s.(string); ok && sameName(s, urn) {
			return nil
		}
	}
	return bad(InvalidSyntax, "the attribute schemas must list %s", urn)
}

// Resource makes a resource of attributes that are in their schemas' spelling and of
// their types already, as a Store has them: in the order of the schemas, and with the
// names of those that it has. What is no attribute is left out.
func (rt *ResourceType) Resource(o *Object) *Resource {
	r := &Resource{Object{make([]member, 1, o.Len()+3)}} // room for what Stamp adds
	var schemas []any                                    // nil: the core one alone
	for _, a := range rt.all {
		if v := o.Get(a.Name); !unassigned(v) && a.Name != "schemas" {
			r.members = append(r.members, member{a.Name, v})
		}
	}
	for i, e := range rt.Extensions {
		if sub := o.Sub(e.Schema.ID); sub.Len() > 0 {
			r.members = append(r.members, member{e.Schema.ID, sub})
			if schemas == nil {
				schemas = append(make([]any, 0, len(rt.urns)), rt.urns[0])
			}
			schemas = append(schemas, rt.urns[i+1])
		}
	}
	if r.members[0] = (member{"schemas", rt.core}); schemas != nil {
		r.members[0].value = schemas
	}
	return r
}

// Stamp gives a resource of this type what only a server gives: its id and its
// meta, without the location, which is for who knows the address to add. Times
// are written in UTC with milliseconds.
func (rt *ResourceType) Stamp(r *Resource, id string, created, modified time.Time, version string) {
	if r.Get("id") == nil {
		at := min(1, len(r.members)) // after schemas
		r.members = slices.Insert(r.members, at, member{"id", id})
	} else {
		r.Set("id", id)
	}
	r.Delete("meta") // it comes last
	meta := empty()
	meta.members = append(meta.members, member{"resourceType", rt.name}, member{"created", stamp(created)}, member{"lastModified", stamp(modified)}, member{"version", version})
	r.members = append(r.members, member{"meta", meta})
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

// finish checks what must hold of a whole resource and says which schemas it has.
func (rt *ResourceType) finish(r *Resource) error {
	schemas := []any{rt.Schema.ID}
	for _, a := range rt.Schema.Attributes {
		if a.Required && missing(r.Get(a.Name)) {
			return bad(InvalidValue, "the attribute %s is required", a.Name)
		}
	}
	for _, e := range rt.Extensions {
		o := r.Sub(e.Schema.ID)
		if o.Len() == 0 {
			r.Delete(e.Schema.ID)
			if e.Required {
				return bad(InvalidValue, "the extension %s is required", e.Schema.ID)
			}
			continue
		}
		schemas = append(schemas, e.Schema.ID)
		for _, a := range e.Schema.Attributes {
			if a.Required && missing(o.Get(a.Name)) {
				return bad(InvalidValue, "the attribute %s of %s is required", a.Name, e.Schema.ID)
			}
		}
	}
	if r.Get("schemas") == nil { // it comes first
		r.members = append([]member{{"schemas", schemas}}, r.members...)
	} else {
		r.Set("schemas", schemas)
	}
	return nil
}

func missing(v any) bool { return v == nil || v == "" }

// checkImmutable refuses to change what was set once and for all.
func (rt *ResourceType) checkImmutable(cur, next *Resource) error {
	check := func(attrs []*Attribute, a, b *Object) error {
		for _, at := range attrs {
			if at.Mutability == Immutable && a.Get(at.Name) != nil && !equalValue(a.Get(at.Name), b.Get(at.Name)) {
				return bad(Mutability, "the attribute %s can not be changed once it is set", at.Name)
			}
		}
		return nil
	}
	if err := check(rt.Schema.Attributes, &cur.Object, &next.Object); err != nil {
		return err
	}
	for _, e := range rt.Extensions {
		if err := check(e.Schema.Attributes, cur.Sub(e.Schema.ID), next.Sub(e.Schema.ID)); err != nil {
			return err
		}
	}
	return nil
}

func newExtension(s *Schema, v any) (any, error) {
	in, ok := v.(*Object)
	if !ok {
		return nil, bad(InvalidValue, "%s must be an object", s.ID)
	}
	return newObject(s.Attributes, in, s.ID)
}

// newObject takes from in what attrs name and a client may set; nil: nothing.
func newObject(attrs []*Attribute, in *Object, of string) (any, error) {
	out := new(Object)
	for name, v := range in.All() {
		a := find(attrs, name)
		if a == nil || a.Mutability == ReadOnly {
			continue
		}
		v, err := a.coerce(v)
		if err != nil {
			return nil, err
		}
		out.Set(a.Name, v)
	}
	if out.Len() == 0 {
		return nil, nil
	}
	for _, a := range attrs {
		if a.Required && missing(out.Get(a.Name)) {
			return nil, bad(InvalidValue, "the sub-attribute %s of %s is required", a.Name, of)
		}
	}
	return out, nil
}

// coerce checks that v is what the attribute takes and spells names as the
// schema does; nil: unassigned.
func (a *Attribute) coerce(v any) (any, error) {
	if unassigned(v) {
		return nil, nil
	}
	if !a.MultiValued {
		return a.coerceOne(v)
	}
	in, ok := v.([]any)
	if !ok {
		return nil, bad(InvalidValue, "%s has several values: it must be an array", a.Name)
	}
	out := make([]any, 0, len(in))
	primary := 0
	for _, v := range in {
		v, err := a.coerceOne(v)
		if err != nil {
			return nil, err
		}
		if v == nil {
			continue
		}
		if isPrimary(v) {
			primary++
		}
		out = append(out, v)
	}
	if primary > 1 {
		return nil, bad(InvalidValue, "%s has %d values that are primary: there can be one", a.Name, primary)
	}
	return out, nil
}

func isPrimary(v any) bool {
	o, ok := v.(*Object)
	return ok && o.Get("primary") == true
}

func (a *Attribute) coerceOne(v any) (any, error) {
	s, isText := v.(string)
	n, isNumber := v.(json.Number)
	ok := false
	switch a.Type {
	case String, Reference:
		ok = isText
	case Binary:
		ok = isText && isBase64(s)
	case DateTime:
		_, err := ParseTime(s)
		ok = isText && err == nil
	case Boolean:
		_, ok = v.(bool)
	case Integer:
		_, err := strconv.ParseInt(string(n), 10, 64)
		ok = isNumber && err == nil
	case Decimal:
		_, fits := number(n)
		ok = isNumber && fits
	case Complex:
		if o, isObject := v.(*Object); isObject {
			return newObject(a.Sub, o, a.Name)
		}
	}
	if !ok {
		return nil, bad(InvalidValue, "%s must be of type %s", a.Name, a.Type)
	}
	return v, nil
}

// isBase64 takes both alphabets, with padding or without (RFC 7643 section 2.3.6).
func isBase64(s string) bool {
	s = strings.TrimRight(s, "=")
	if strings.ContainsAny(s, "-_") {
		_, err := base64.RawURLEncoding.DecodeString(s)
		return err == nil
	}
	_, err := base64.RawStdEncoding.DecodeString(s)
	return err == nil
}
