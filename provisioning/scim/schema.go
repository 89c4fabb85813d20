package scim

import (
	"embed"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
)

// Type of an attribute's values (RFC 7643 section 2.3).
type Type string

// Types.
const (
	String    Type = "string"
	Boolean   Type = "boolean"
	Decimal   Type = "decimal"
	Integer   Type = "integer"
	DateTime  Type = "dateTime"
	Binary    Type = "binary"
	Reference Type = "reference"
	Complex   Type = "complex"
)

// Mutable says who may change an attribute.
type Mutable string

// Kinds of mutability.
const (
	ReadWrite Mutable = "readWrite"
	ReadOnly  Mutable = "readOnly"
	Immutable Mutable = "immutable"
	WriteOnly Mutable = "writeOnly"
)

// Returned says when an answer contains an attribute.
type Returned string

// When an attribute is returned.
const (
	Always    Returned = "always"
	Never     Returned = "never"
	ByDefault Returned = "default"
	OnRequest Returned = "request"
)

// Unique says among what an attribute's value is unique.
type Unique string

// Kinds of uniqueness.
const (
	NotUnique    Unique = "none"
	ServerUnique Unique = "server"
	GlobalUnique Unique = "global"
)

// An Attribute with its characteristics (RFC 7643 section 2.2 and 7). What a
// definition in JSON leaves out has the RFC's default: a single string, not
// required, any case, readWrite, returned by default, not unique.
type Attribute struct {
	Name           string       `json:"name"`
	Type           Type         `json:"type"`
	MultiValued    bool         `json:"multiValued"`
	Description    string       `json:"description"`
	Required       bool         `json:"required"`
	Canonical      []string     `json:"canonicalValues,omitempty"` // suggestions: other values are taken too
	CaseExact      bool         `json:"caseExact"`
	Mutability     Mutable      `json:"mutability"`
	Returned       Returned     `json:"returned"`
	Uniqueness     Unique       `json:"uniqueness"`
	ReferenceTypes []string     `json:"referenceTypes,omitempty"`
	Sub            []*Attribute `json:"subAttributes,omitempty"`
}

// UnmarshalJSON reads a definition and fills in the defaults.
func (a *Attribute) UnmarshalJSON(data []byte) error {
	type plain Attribute
	p := plain{Type: String, Mutability: ReadWrite, Returned: ByDefault, Uniqueness: NotUnique}
	if err := json.Unmarshal(data, &p); err != nil {
		return err
	}
	*a = Attribute(p)
	return nil
}

func find(attrs []*Attribute, name string) *Attribute {
	for _, a := range attrs {
		if sameName(a.Name, name) {
			return a
		}
	}
	return nil
}

// A finder finds attributes one after the other: quickly where they are asked for in
// their order, as resources have them.
type finder struct {
	list []*Attribute
	next int
}

func (f *finder) find(name string) *Attribute {
	for range f.list {
		a := f.list[f.next]
		if f.next++; f.next == len(f.list) {
			f.next = 0
		}
		if sameName(a.Name, name) {
			return a
		}
	}
	return nil
}

// A Schema names attributes.
type Schema struct {
	ID          string       `json:"id"`
	Name        string       `json:"name"`
	Description string       `json:"description"`
	Attributes  []*Attribute `json:"attributes"`
}

// ParseSchema reads a definition as RFC 7643 section 7 writes it.
func ParseSchema(data []byte) (*Schema, error) {
	s := new(Schema)
	if err := json.Unmarshal(data, s); err != nil {
		return nil, fmt.Errorf("read schema: %w", err)
	}
	if !hasPrefixFold(s.ID, "urn:") {
		return nil, fmt.Errorf("read schema: the id %q is not a URN", s.ID)
	}
	if err := checkAttributes(s.Attributes, true); err != nil {
		return nil, fmt.Errorf("read schema %s: %w", s.ID, err)
	}
	return s, nil
}

func checkAttributes(attrs []*Attribute, top bool) error {
	seen := map[string]bool{}
	for _, a := range attrs {
		switch {
		case !validName(a.Name):
			return fmt.Errorf("%q is not an attribute name", a.Name)
		case seen[lowerName(a.Name)]:
			return fmt.Errorf("attribute %s is defined twice", a.Name)
		case !slices.Contains([]Type{String, Boolean, Decimal, Integer, DateTime, Binary, Reference, Complex}, a.Type):
			return fmt.Errorf("attribute %s has the unknown type %q", a.Name, a.Type)
		case !slices.Contains([]Mutable{ReadWrite, ReadOnly, Immutable, WriteOnly}, a.Mutability):
			return fmt.Errorf("attribute %s has the unknown mutability %q", a.Name, a.Mutability)
		case !slices.Contains([]Returned{Always, Never, ByDefault, OnRequest}, a.Returned):
			return fmt.Errorf("attribute %s is returned %q, which is unknown", a.Name, a.Returned)
		case !slices.Contains([]Unique{NotUnique, ServerUnique, GlobalUnique}, a.Uniqueness):
			return fmt.Errorf("attribute %s has the unknown uniqueness %q", a.Name, a.Uniqueness)
		case (a.Type == Complex) != (len(a.Sub) > 0):
			return fmt.Errorf("attribute %s must be complex and have sub-attributes, or neither", a.Name)
		case a.Type == Complex && !top:
			return fmt.Errorf("sub-attribute %s must not be complex", a.Name)
		}
		seen[lowerName(a.Name)] = true
		if err := checkAttributes(a.Sub, false); err != nil {
			return fmt.Errorf("%s: %w", a.Name, err)
		}
	}
	return nil
}

func hasPrefixFold(s, prefix string) bool {
	return len(s) >= len(prefix) && sameName(s[:len(prefix)], prefix)
}

// An Extension is a schema that adds attributes to a resource type, under its own URN.
type Extension struct {
	Schema   *Schema
	Required bool
}

// A ResourceType is a kind of resource: where it lives, and which attributes it has.
type ResourceType struct {
	Name        string // "User"
	Endpoint    string // "/Users"
	Description string
	Schema      *Schema
	Extensions  []Extension

	urns  []any                 // of the core schema and the extensions
	core  any                   // the value of schemas of a resource without extensions
	name  any                   // Name, as a value
	all   []*Attribute          // common attributes and the schema's own
	attrs map[string]*Attribute // the same by lower-case name
}

// NewResourceType makes a ResourceType. It panics if an attribute of the
// schema has the name of a common one: that is a mistake in the program.
func NewResourceType(name, endpoint, description string, core *Schema, ext ...Extension) *ResourceType {
	rt := &ResourceType{
		Name: name, Endpoint: endpoint, Description: description, Schema: core, Extensions: ext,
		all:   slices.Concat(schema("common").Attributes, core.Attributes),
		attrs: map[string]*Attribute{},
		core:  []any{core.ID},
		name:  name,
	}
	for _, s := range rt.Schemas() {
		rt.urns = append(rt.urns, s.ID)
	}
	for _, a := range rt.all {
		if rt.attrs[lowerName(a.Name)] != nil {
			panic("scim: attribute " + a.Name + " of " + core.ID + " is defined twice")
		}
		rt.attrs[lowerName(a.Name)] = a
	}
	return rt
}

// Attribute finds a common attribute or one of the core schema, in any case; nil: there is none.
func (rt *ResourceType) Attribute(name string) *Attribute { return rt.attrs[lowerName(name)] }

// Extension finds the schema of an extension by its URN, in any case; nil: there is none.
func (rt *ResourceType) Extension(urn string) *Schema {
	for _, e := range rt.Extensions {
		if sameName(e.Schema.ID, urn) {
			return e.Schema
		}
	}
	return nil
}

// Schemas lists the core schema and the extensions.
func (rt *ResourceType) Schemas() []*Schema {
	all := []*Schema{rt.Schema}
	for _, e := range rt.Extensions {
		all = append(all, e.Schema)
	}
	return all
}

// With is the same type with further extensions.
func (rt *ResourceType) With(ext ...Extension) *ResourceType {
	return NewResourceType(rt.Name, rt.Endpoint, rt.Description, rt.Schema, append(slices.Clone(rt.Extensions), ext...)...)
}

//go:embed schemas/*.json
var schemaFiles embed.FS

// schema reads a definition of the RFC from our own files; a test reads them all.
func schema(name string) *Schema {
	data, err := schemaFiles.ReadFile("schemas/" + name + ".json")
	if err != nil {
		panic(err)
	}
	s, err := ParseSchema(data)
	if err != nil {
		panic(err)
	}
	return s
}

var userType = sync.OnceValue(func() *ResourceType {
	return NewResourceType("User", "/Users", "User Account", schema("user"), Extension{Schema: schema("enterprise")})
})

var groupType = sync.OnceValue(func() *ResourceType {
	return NewResourceType("Group", "/Groups", "Group", schema("group"))
})

// UserType is the User of RFC 7643 section 4.1 with the enterprise extension of section 4.3.
func UserType() *ResourceType { return userType() }

// GroupType is the Group of RFC 7643 section 4.2.
func GroupType() *ResourceType { return groupType() }
