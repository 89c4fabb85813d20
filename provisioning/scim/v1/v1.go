// Package v1 is SCIM 1.1 in terms of SCIM 2.0: what differs on the wire is
// turned into what package scim knows, and back.
//
//	            Read, ReadPatch, ReadText
//	1.1 message ─────────────────────────▶ 2.0 message
//	            ◀───────────────────────── Write, WritePatch, WriteText
//
// What differs: the names of the schemas, manager.managerId, the form of a
// PATCH (part of a resource; meta.attributes are cleared, members with the
// operation "delete" leave), the form of errors and of a bulk's answer. A
// [Handler] does it for a whole 2.0 server, so that there is one server and not
// two. XML, which 1.1 leaves to the server, is refused.
package v1

import (
	"errors"
	"fmt"
	"strings"

	"github.com/gatehouse-sso/gatehouse/provisioning/scim"
)

// Schemas of SCIM 1.1; the core one is that of users, groups and messages.
const (
	CoreURN       = "urn:scim:schemas:core:1.0"
	EnterpriseURN = "urn:scim:schemas:extension:enterprise:1.0"
)

// MediaType is what messages are sent as.
const MediaType = "application/json"

// Read makes a 2.0 resource of a 1.1 one, whose core schema in 2.0 is core.
func Read(in *scim.Object, core string) *scim.Object {
	out := new(scim.Object)
	for name, v := range in.All() {
		switch {
		case strings.EqualFold(name, "schemas"):
			v = mapList(v, func(s string) string {
				switch {
				case strings.EqualFold(s, CoreURN):
					return core
				case strings.EqualFold(s, EnterpriseURN):
					return scim.EnterpriseUserURN
				}
				return s
			})
		case strings.EqualFold(name, EnterpriseURN):
			name, v = scim.EnterpriseUserURN, renameManager(v, "managerId", "value")
		}
		out.Set(name, v)
	}
	return out
}

// Write makes a 1.1 resource of a 2.0 one. What 1.1 does not know, such as
// meta.resourceType and a member's $ref, is left out.
func Write(in *scim.Object) *scim.Object {
	out := new(scim.Object)
	for name, v := range in.All() {
		switch {
		case strings.EqualFold(name, "schemas"):
			v = mapList(v, func(s string) string {
				switch s {
				case scim.UserURN, scim.GroupURN:
					return CoreURN
				case scim.EnterpriseUserURN:
					return EnterpriseURN
				}
				return s
			})
		case strings.EqualFold(name, scim.EnterpriseUserURN):
			name, v = EnterpriseURN, renameManager(v, "value", "managerId")
		case strings.EqualFold(name, "meta"):
			if m, ok := v.(*scim.Object); ok {
				m = m.Clone()
				m.Delete("resourceType")
				v = m
			}
		default:
			v = withoutRef(v)
		}
		out.Set(name, v)
	}
	return out
}

func mapList(v any, to func(string) string) any {
	list, ok := v.([]any)
	if !ok {
		return v
	}
	var out []any
	for _, v := range list {
		if s, ok := v.(string); ok {
			v = to(s)
		}
		out = append(out, v)
	}
	return out
}

func renameManager(v any, from, to string) any {
	ext, ok := v.(*scim.Object)
	if !ok || ext.Sub("manager").String(from) == "" {
		return v
	}
	out := new(scim.Object)
	for name, v := range ext.All() {
		if strings.EqualFold(name, "manager") {
			m := new(scim.Object)
			for name, v := range ext.Sub("manager").All() {
				if strings.EqualFold(name, from) {
					name = to
				}
				m.Set(name, v)
			}
			v = withoutRef(m)
		}
		out.Set(name, v)
	}
	return out
}

func withoutRef(v any) any {
	switch v := v.(type) {
	case *scim.Object:
		if v.Get("$ref") != nil {
			v = v.Clone()
			v.Delete("$ref")
		}
		return v
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = withoutRef(v[i])
		}
		return out
	}
	return v
}

// ReadText makes a path, a filter or a list of names of 1.1 one of 2.0.
func ReadText(s string) string {
	return replaceFold(replaceFold(replaceFold(s, CoreURN+":", ""), EnterpriseURN, scim.EnterpriseUserURN), "manager.managerId", "manager.value")
}

// WriteText is the reverse of ReadText.
func WriteText(s string) string {
	s = replaceFold(replaceFold(s, scim.UserURN+":", ""), scim.GroupURN+":", "")
	return replaceFold(replaceFold(s, scim.EnterpriseUserURN, EnterpriseURN), "manager.value", "manager.managerId")
}

// replaceFold replaces old in any case, outside of quoted text.
func replaceFold(s, old, with string) string {
	var b strings.Builder
	quoted := false
	for i := 0; i < len(s); {
		switch {
		case !quoted && len(s)-i >= len(old) && strings.EqualFold(s[i:i+len(old)], old):
			b.WriteString(with)
			i += len(old)
			continue
		case s[i] == '\\' && quoted && i+1 < len(s):
			b.WriteByte(s[i])
			i++
		case s[i] == '"':
			quoted = !quoted
		}
		b.WriteByte(s[i])
		i++
	}
	return b.String()
}

func bad(typ, format string, args ...any) error {
	return scim.Errorf(400, typ, format, args...)
}

// ReadPatch makes a 2.0 patch of a 1.1 one (SCIM 1.1 section 3.3.2): what
// meta.attributes name is cleared; then members with the operation "delete"
// leave; then values are set, and added to attributes that have several.
func ReadPatch(in *scim.Object) (scim.Patch, error) {
	var remove, leave, set []scim.Operation
	for _, v := range in.Sub("meta").List("attributes") {
		name, ok := v.(string)
		if !ok || name == "" {
			return scim.Patch{}, bad(scim.InvalidSyntax, "meta.attributes must be an array of names")
		}
		remove = append(remove, scim.Operation{Op: "remove", Path: ReadText(name)})
	}
	var each func(prefix string, in *scim.Object) error
	each = func(prefix string, in *scim.Object) error {
		for name, v := range in.All() {
			path := prefix + name
			switch v := v.(type) {
			case nil:
				remove = append(remove, scim.Operation{Op: "remove", Path: path})
			case []any:
				var add []any
				for _, el := range v {
					o, _ := el.(*scim.Object)
					if !strings.EqualFold(o.String("operation"), "delete") {
						add = append(add, withoutOperation(el))
						continue
					}
					which, err := chooses(o)
					if err != nil {
						return fmt.Errorf("%s: %w", name, err)
					}
					leave = append(leave, scim.Operation{Op: "remove", Path: path + "[" + which + "]"})
				}
				if len(add) > 0 {
					set = append(set, scim.Operation{Op: "add", Path: path, Value: add})
				}
			default:
				if ext, ok := v.(*scim.Object); ok && strings.HasPrefix(strings.ToLower(name), "urn:") {
					if err := each(name+":", ext); err != nil {
						return err
					}
					continue
				}
				set = append(set, scim.Operation{Op: "replace", Path: path, Value: v})
			}
		}
		return nil
	}
	body := Read(in, "")
	for _, name := range []string{"schemas", "id", "meta"} {
		body.Delete(name)
	}
	if err := each("", body); err != nil {
		e := *scim.AsError(err)
		return scim.Patch{}, &e
	}
	ops := append(append(remove, leave...), set...)
	if len(ops) == 0 {
		return scim.Patch{}, bad(scim.InvalidSyntax, "the patch changes nothing: it has no attributes")
	}
	return scim.Patch{Operations: ops}, nil
}

func withoutOperation(v any) any {
	if o, ok := v.(*scim.Object); ok && o.Get("operation") != nil {
		o = o.Clone()
		o.Delete("operation")
		return o
	}
	return v
}

// chooses is the filter that finds the value that a delete means.
func chooses(o *scim.Object) (string, error) {
	var f scim.Filter
	for name, v := range o.All() {
		switch strings.ToLower(name) {
		case "operation", "display", "$ref":
			continue
		}
		eq := scim.Compare{Path: scim.Path{Name: name}, Op: scim.Eq, Value: v}
		if _, nested := v.(*scim.Object); nested || v == nil {
			return "", bad(scim.InvalidValue, "a value with the operation delete must have plain sub-attributes")
		}
		if f == nil {
			f = eq
		} else {
			f = scim.And{Left: f, Right: eq}
		}
	}
	if f == nil {
		return "", bad(scim.InvalidValue, "a value with the operation delete must say which one is meant")
	}
	return f.String(), nil
}

// WritePatch makes a 1.1 patch of a 2.0 one. What 1.1 can not say, such as a
// change of one value that a filter chooses, is errors.ErrUnsupported; a PUT can do it.
func WritePatch(p scim.Patch) (*scim.Object, error) {
	w := patchWriter{out: scim.NewObject("schemas", []any{CoreURN})}
	for _, op := range p.Operations {
		if op.Path != "" {
			if err := w.write(op); err != nil {
				return nil, err
			}
			continue
		}
		in, ok := op.Value.(*scim.Object)
		if !ok {
			return nil, errUnsupported(op)
		}
		for name, v := range in.All() {
			if strings.EqualFold(name, "schemas") {
				continue
			}
			if err := w.write(scim.Operation{Op: op.Op, Path: name, Value: v}); err != nil {
				return nil, err
			}
		}
	}
	if len(w.clear) > 0 {
		w.out.Set("meta", scim.NewObject("attributes", w.clear))
	}
	return Write(w.out), nil
}

type patchWriter struct {
	out   *scim.Object
	clear []any
}

func errUnsupported(op scim.Operation) error {
	return fmt.Errorf("scim 1.1 has no patch for %s %s: %w", op.Op, op.Path, errors.ErrUnsupported)
}

func (w *patchWriter) write(op scim.Operation) error {
	p, err := scim.ParsePath(op.Path)
	if err != nil {
		return err
	}
	to := w.out
	if p.URN != "" && p.URN != scim.UserURN && p.URN != scim.GroupURN {
		if p.Name == "" {
			return errUnsupported(op)
		}
		if to = w.out.Sub(p.URN); to == nil {
			to = new(scim.Object)
		}
	}
	values, many := op.Value.([]any)
	if o, ok := op.Value.(*scim.Object); ok && strings.EqualFold(p.Name, "members") {
		values, many = []any{o}, true
	}
	empty := op.Value == nil || many && len(values) == 0
	switch {
	case p.Filter != nil:
		gone, ok := deletes(p.Filter, nil)
		if op.Op != "remove" || p.Sub != "" || !ok {
			return errUnsupported(op)
		}
		to.Set(p.Name, append(to.List(p.Name), gone...))
	case op.Op == "remove" || op.Op == "replace" && empty:
		w.clear = append(w.clear, WriteText(op.Path))
		return nil
	case empty:
		return nil
	case p.Sub != "":
		el := to.Sub(p.Name)
		if el == nil {
			el = new(scim.Object)
		}
		el.Set(p.Sub, op.Value)
		to.Set(p.Name, el)
	case many && op.Op == "replace":
		w.clear = append(w.clear, WriteText(op.Path))
		to.Set(p.Name, values)
	case many:
		to.Set(p.Name, append(to.List(p.Name), values...))
	default:
		to.Set(p.Name, op.Value)
	}
	if to != w.out {
		w.out.Set(p.URN, to)
	}
	return nil
}

// deletes are the values that a filter of value eq, joined by or, chooses.
func deletes(f scim.Filter, list []any) ([]any, bool) {
	switch f := f.(type) {
	case scim.Or:
		list, ok := deletes(f.Left, list)
		if !ok {
			return nil, false
		}
		return deletes(f.Right, list)
	case scim.Compare:
		if v, ok := f.Value.(string); ok && f.Op == scim.Eq && f.Path.Name == "value" {
			return append(list, scim.NewObject("value", v, "operation", "delete")), true
		}
	}
	return nil, false
}
