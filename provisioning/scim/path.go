package scim

import "strings"

// A Path names what a filter compares or a PATCH operation changes
// (RFC 7644 section 3.10 and figure 7):
//
//	[urn:]name            userName, urn:…:User:department
//	[urn:]name.sub        name.givenName
//	[urn:]name[filter]    emails[type eq "work"]
//	[urn:]name[filter].sub
//	urn                   a whole extension
//
// ParsePath knows only how a path is written. ResourceType.Path also finds what
// it names; only then do its comparisons know caseExact and types.
type Path struct {
	URN    string // of the schema; empty: the core one, or inside brackets the value itself
	Name   string // empty: the whole extension
	Filter Filter // which values; nil: all
	Sub    string

	ext  *Schema    // where URN leads; nil: the resource itself
	attr *Attribute // nil: not resolved, or a whole extension
	sub  *Attribute
}

// ParsePath reads a path.
func ParsePath(text string) (Path, error) {
	p, err := parseText(text, func(ps *parser) (Path, error) {
		path, err := ps.path(0)
		if err == nil && !ps.done() {
			err = ps.unexpected("the end of the path")
		}
		return path, err
	})
	if err != nil {
		return Path{}, bad(InvalidPath, "the path can not be read: %v", err)
	}
	return p, nil
}

// String writes the path so that ParsePath reads it again.
func (p Path) String() string {
	if p.URN == "" && p.Filter == nil && p.Sub == "" {
		return p.Name
	}
	var b strings.Builder
	if p.URN != "" {
		b.WriteString(p.URN)
		if p.Name == "" {
			return b.String()
		}
		b.WriteByte(':')
	}
	b.WriteString(p.Name)
	if p.Filter != nil {
		b.WriteString("[" + p.Filter.String() + "]")
	}
	if p.Sub != "" {
		b.WriteString("." + p.Sub)
	}
	return b.String()
}

// Path reads a path and finds what it names in the type; it answers in the schemas' spelling.
func (rt *ResourceType) Path(text string) (Path, error) {
	p, err := ParsePath(text)
	if err != nil {
		return Path{}, err
	}
	return rt.resolve(p, InvalidPath)
}

// Attribute is what the path leads to, a sub-attribute of it or nil, if
// ResourceType.Path made it. Both are nil for a whole extension.
func (p Path) Attribute() (attr, sub *Attribute) { return p.attr, p.sub }

// resolve finds the attributes that p names. A mistake is an Error of scimType typ.
func (rt *ResourceType) resolve(p Path, typ string) (Path, error) {
	attrs := rt.Attribute
	switch whole := joinURN(p.URN, p.Name); {
	case p.URN == "":
	case rt.Extension(whole) != nil && p.Sub == "" && p.Filter == nil:
		p.ext = rt.Extension(whole)
		p.URN, p.Name = p.ext.ID, ""
		return p, nil
	case sameName(p.URN, rt.Schema.ID):
		p.URN = ""
	case rt.Extension(p.URN) != nil:
		p.ext = rt.Extension(p.URN)
		p.URN = p.ext.ID
		attrs = func(name string) *Attribute { return find(p.ext.Attributes, name) }
	default:
		return p, bad(typ, "%s is no schema of %s", clip(p.URN), rt.Name)
	}
	if p.attr = attrs(p.Name); p.attr == nil {
		return p, bad(typ, "%s has no attribute %s", rt.Name, clip(p.Name))
	}
	p.Name = p.attr.Name
	if p.Filter != nil {
		if !p.attr.MultiValued || p.attr.Type != Complex {
			return p, bad(typ, "%s has no values to choose from with [ ]", p.Name)
		}
		f, err := resolveFilter(p.Filter, func(q Path) (Path, error) { return resolveSub(p.attr, q) })
		if err != nil {
			return p, err
		}
		p.Filter = f
	}
	if p.Sub != "" {
		if p.sub = find(p.attr.Sub, p.Sub); p.sub == nil {
			return p, bad(typ, "%s has no sub-attribute %s", p.Name, clip(p.Sub))
		}
		p.Sub = p.sub.Name
	}
	return p, nil
}

// resolveSub finds what a path inside brackets names.
func resolveSub(of *Attribute, p Path) (Path, error) {
	if p.URN == "" && p.Sub == "" {
		p.attr = find(of.Sub, p.Name)
	}
	if p.attr == nil {
		return p, bad(InvalidFilter, "%s has no sub-attribute %s", of.Name, clip(p.String()))
	}
	p.Name = p.attr.Name
	return p, nil
}

func joinURN(urn, name string) string {
	if name == "" {
		return urn
	}
	return urn + ":" + name
}

// Values lists what the path names in o: every value of a multi-valued
// attribute by itself. What is unassigned gives none.
func (p Path) Values(o *Object) []any {
	c := p.container(o)
	if c == nil {
		return nil
	}
	if p.Name == "" {
		return []any{c}
	}
	var out []any
	for _, v := range listOf(c.Get(p.Name)) {
		el, _ := v.(*Object)
		if p.Filter != nil && !p.Filter.Match(el) {
			continue
		}
		if p.Sub != "" {
			v = el.Get(p.Sub)
		}
		out = append(out, listOf(v)...)
	}
	return out
}

// container is the object that holds the attribute: the resource or an extension in it; nil: there is none.
func (p Path) container(o *Object) *Object {
	if p.URN == "" || p.ext == nil && hasPrefixFold(p.URN, "urn:ietf:params:scim:schemas:core:") {
		return o
	}
	return o.Sub(p.URN)
}

// listOf gives the values that v is: none, one, or those of an array.
func listOf(v any) []any {
	switch v := v.(type) {
	case nil:
		return nil
	case []any:
		return v
	}
	return []any{v}
}
