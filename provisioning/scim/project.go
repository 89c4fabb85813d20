package scim

import "strings"

// A Projection says which attributes an answer has (RFC 7644 section 3.9). The
// zero Projection is what is returned by default.
type Projection struct {
	only, except map[string]bool // lower-case paths without filters
}

// Projection reads the parameters attributes and excludedAttributes: lists of
// paths with commas between, in any case. A filter in a path is left aside.
// Names that the type does not have choose nothing.
func (rt *ResourceType) Projection(attributes, excluded string) Projection {
	return Projection{rt.pathSet(attributes), rt.pathSet(excluded)}
}

func (rt *ResourceType) pathSet(list string) map[string]bool {
	if strings.TrimSpace(list) == "" {
		return nil
	}
	set := map[string]bool{}
	for _, text := range strings.Split(list, ",") {
		p, err := rt.Path(strings.TrimSpace(text))
		if err != nil {
			continue
		}
		p.Filter = nil
		set[lowerName(p.String())] = true
		if p.Sub != "" { // asking for a part asks for what it is part of, but not for all of it
			p.Sub = ""
			set[lowerName(p.String())+"."] = true
		}
		if p.URN != "" {
			set[lowerName(p.URN)+":"] = true
		}
	}
	return set
}

// Given reports whether a client asked for other attributes than the default ones.
func (p Projection) Given() bool { return p.only != nil || p.except != nil }

// Wants reports whether an answer has an attribute of the core schema, or a part
// of it, that is returned by default.
func (p Projection) Wants(name string) bool {
	name = lowerName(name)
	return !p.except[name] && (p.only == nil || p.only[name] || p.only[name+"."])
}

// AppendJSON appends an answer that has of r what is wanted: never what is never
// returned, always what is always returned, and of the rest what was asked for.
// location, unless it is empty, is what its meta says beside what is there.
func (rt *ResourceType) AppendJSON(b []byte, r *Resource, p Projection, location string) []byte {
	w := writer{append(b, '{'), p}
	atts := finder{list: rt.all}
	extended := false
	for _, m := range r.members {
		a := atts.find(m.name)
		if a == nil {
			continue
		}
		if a.Name == "meta" && !extended { // extensions stand before it
			w.extensions(rt, r)
			extended = true
		}
		more := member{}
		if a.Name == "meta" && location != "" {
			more = member{"location", location}
		}
		w.attribute(a, m.value, "", false, more)
	}
	if !extended {
		w.extensions(rt, r)
	}
	return append(w.b, '}')
}

// A writer writes what a Projection wants.
type writer struct {
	b []byte
	Projection
}

func (w *writer) extensions(rt *ResourceType, r *Resource) {
	for _, m := range r.members {
		ext := rt.Extension(m.name)
		if ext == nil {
			continue
		}
		sub, _ := m.value.(*Object)
		key := w.key("", ext.ID)
		if w.except[key] {
			continue
		}
		w.object(ext.ID, ext.Attributes, sub, key+":", w.only[key], member{})
	}
}

// name writes the name of a member, after a comma if it is not the first.
func (w *writer) name(name string) {
	if w.b[len(w.b)-1] != '{' {
		w.b = append(w.b, ',')
	}
	w.b = append(appendString(w.b, name), ':')
}

// object writes a member that has members, unless none of them is wanted. prefix is what
// stands before their names in a path; all: the whole was asked for.
func (w *writer) object(name string, attrs []*Attribute, o *Object, prefix string, all bool, more member) {
	before := len(w.b)
	w.name(name)
	if !w.members(attrs, o, prefix, all, more) {
		w.b = w.b[:before]
	}
}

// members writes an object and reports whether anything is in it.
func (w *writer) members(attrs []*Attribute, o *Object, prefix string, all bool, more member) bool {
	w.b = append(w.b, '{')
	from := len(w.b)
	known := finder{list: attrs}
	if o != nil {
		for _, m := range o.members {
			if a := known.find(m.name); a != nil {
				w.attribute(a, m.value, prefix, all, member{})
			}
		}
	}
	if more.name != "" {
		w.attribute(known.find(more.name), more.value, prefix, all, member{})
	}
	w.b = append(w.b, '}')
	return len(w.b) > from+1
}

// attribute writes what is wanted of an attribute.
func (w *writer) attribute(a *Attribute, v any, prefix string, all bool, more member) {
	key := w.key(prefix, a.Name)
	whole := all || w.only[key]
	parts := w.only != nil && w.only[key+"."]
	switch {
	case unassigned(v), a.Returned == Never, a.Mutability == WriteOnly:
		return
	case a.Returned == Always:
	case w.except[key]:
		return
	case w.only != nil && !whole && !parts:
		return
	case a.Returned == OnRequest && !whole && !parts:
		return
	}
	if a.Type != Complex {
		w.name(a.Name)
		w.b = appendValue(w.b, v)
		return
	}
	whole = whole || w.only == nil
	if o, ok := v.(*Object); ok {
		w.object(a.Name, a.Sub, o, key+".", whole, more)
		return
	}
	before := len(w.b)
	w.name(a.Name)
	w.b = append(w.b, '[')
	from := len(w.b)
	list, _ := v.([]any)
	for _, v := range list {
		at := len(w.b)
		if at > from {
			w.b = append(w.b, ',')
		}
		el, _ := v.(*Object)
		if !w.members(a.Sub, el, key+".", whole, member{}) {
			w.b = w.b[:at]
		}
	}
	if len(w.b) == from {
		w.b = w.b[:before]
		return
	}
	w.b = append(w.b, ']')
}

// key is how the sets name an attribute; nothing if a client asked for none.
func (p Projection) key(prefix, name string) string {
	if !p.Given() {
		return ""
	}
	return prefix + lowerName(name)
}
