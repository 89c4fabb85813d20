package scim

import (
	"slices"
	"strings"
)

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

// Project copies from r what an answer has: never what is never returned,
// always what is always returned, and of the rest what was asked for.
func (rt *ResourceType) Project(r *Resource, p Projection) *Resource {
	var exts []member
	for name, v := range r.All() {
		if ext := rt.Extension(name); ext != nil {
			sub, _ := v.(*Object)
			key := p.key("", ext.ID)
			if o := p.project(ext.Attributes, sub, key+":", p.only[key]); o.Len() > 0 && !p.except[key] {
				exts = append(exts, member{ext.ID, o})
			}
		}
	}
	out := &Resource{*p.project(rt.all, &r.Object, "", false)}
	meta := out.index("meta")
	if meta < 0 {
		meta = len(out.members)
	}
	out.members = slices.Insert(out.members, meta, exts...)
	return out
}

// project copies what is wanted of the attributes in o. prefix is what stands
// before their names in a path; all: the whole was asked for.
func (p Projection) project(attrs []*Attribute, o *Object, prefix string, all bool) *Object {
	out := &Object{members: make([]member, 0, o.Len()+1)}
	for name, v := range o.All() {
		a := find(attrs, name)
		if a == nil {
			continue
		}
		key := p.key(prefix, a.Name)
		whole := all || p.only[key]
		parts := p.only != nil && p.only[key+"."]
		switch {
		case a.Returned == Never || a.Mutability == WriteOnly:
			continue
		case a.Returned == Always:
		case p.except[key]:
			continue
		case p.only != nil && !whole && !parts:
			continue
		case a.Returned == OnRequest && !whole && !parts:
			continue
		}
		if a.Type == Complex {
			v = p.parts(a, v, key, whole || p.only == nil)
		}
		if !unassigned(v) {
			out.members = append(out.members, member{a.Name, v})
		}
	}
	return out
}

// key is how the sets name an attribute; nothing if a client asked for none.
func (p Projection) key(prefix, name string) string {
	if !p.Given() {
		return ""
	}
	return prefix + lowerName(name)
}

func (p Projection) parts(a *Attribute, v any, key string, whole bool) any {
	if whole && p.except == nil && !slices.ContainsFunc(a.Sub, func(s *Attribute) bool { return s.Returned != ByDefault }) {
		return v
	}
	one := func(v any) any {
		el, _ := v.(*Object)
		if sub := p.project(a.Sub, el, key+".", whole); sub.Len() > 0 {
			return sub
		}
		return nil
	}
	list, ok := v.([]any)
	if !ok {
		if o := one(v); o != nil {
			return o
		}
		return nil
	}
	var out []any
	for _, v := range list {
		if o := one(v); o != nil {
			out = append(out, o)
		}
	}
	return out
}
