package dialect

import (
	"strings"

	"github.com/gatehouse-sso/gatehouse/provisioning/scim"
)

// operation puts right one operation of a PATCH; it may become several.
func (t *turn) operation(op *scim.Object) []any {
	if name := op.String("op"); name != strings.ToLower(name) && t.has(opCase) {
		t.did(opCase, op)
		op.Set("op", strings.ToLower(name))
	}
	if path := op.String("path"); path != "" {
		return t.withPath(op, path)
	}
	value, ok := op.Get("value").(*scim.Object)
	if !ok {
		return []any{op}
	}
	if t.has(idInValue) && value.Get("id") != nil {
		t.did(idInValue, op)
		if value.Delete("id"); value.Len() == 0 {
			return nil
		}
	}
	t.shortNames(value)
	if t.has(pathInKey) {
		for _, name := range names(value) {
			if t.rt.Attribute(name) == nil && t.rt.Extension(name) == nil && t.leads(t.longPath(name)) {
				t.did(pathInKey, op)
				return t.split(op, value)
			}
		}
	}
	t.members(value)
	return []any{op}
}

// split makes of each name in a value an operation.
func (t *turn) split(op, value *scim.Object) []any {
	var ops []any
	for name, v := range value.All() {
		one := scim.NewObject("op", op.Get("op"), "path", name, "value", v)
		ops = append(ops, t.withPath(one, name)...)
	}
	return ops
}

// leads reports whether a path names something in the type.
func (t *turn) leads(path string) bool {
	_, err := t.rt.Path(path)
	return err == nil
}

// withPath puts right an operation with a path.
func (t *turn) withPath(op *scim.Object, path string) []any {
	if long := t.longPath(path); long != path {
		path = long
		op.Set("path", path)
	}
	if right := t.filter(path); right != path {
		path = right
		op.Set("path", path)
	}
	p, err := t.rt.Path(path)
	if err != nil {
		return []any{op}
	}
	attr, sub := p.Attribute()
	v := op.Get("value")
	switch {
	case v == nil:
	case attr == nil: // a whole extension
		if in, ok := v.(*scim.Object); ok {
			if ext := t.rt.Extension(p.URN); ext != nil {
				t.attributes(in, ext.Attributes)
			}
		}
	case sub != nil:
		op.Set("value", t.value(sub, v))
	case p.Filter != nil:
		op.Set("value", t.element(attr, v))
	default:
		op.Set("value", t.value(attr, v))
	}
	if op.String("op") == "remove" && op.Get("value") != nil && t.has(removeValue) {
		return t.remove(op, p, attr)
	}
	if p.Filter != nil && sub != nil && op.String("op") != "remove" && t.has(pathMakes) {
		t.did(pathMakes, op)
	}
	return []any{op}
}

// remove turns the value of a remove into a path. A value that says nothing that
// the path does not say is left out.
func (t *turn) remove(op *scim.Object, p scim.Path, attr *scim.Attribute) []any {
	if attr == nil {
		return []any{op}
	}
	if p.Filter != nil || !attr.MultiValued {
		t.did(removeValue, op)
		op.Delete("value")
		return []any{op}
	}
	list, ok := op.Get("value").([]any)
	if !ok {
		list = []any{op.Get("value")}
	}
	var ops []any
	for _, v := range list {
		el, _ := v.(*scim.Object)
		id := el.String("value")
		if id == "" || p.Sub != "" { // what is meant is not said: the engine refuses it
			return []any{op}
		}
		q := p
		q.Filter = scim.Compare{Path: scim.Path{Name: "value"}, Op: scim.Eq, Value: id}
		ops = append(ops, scim.NewObject("op", "remove", "path", q.String()))
	}
	t.did(removeValue, op)
	return ops
}

// longPath gives a path that begins with a short name of an extension the URN, and
// a manager's managerId its name.
func (t *turn) longPath(path string) string {
	if t.has(schemaShort) && t.rt.Extension(scim.EnterpriseUserURN) != nil {
		for _, short := range shortNames {
			if len(path) >= len(short) && sameName(path[:len(short)], short) {
				rest := path[len(short):]
				if rest != "" && rest[0] != '.' && rest[0] != ':' {
					continue
				}
				t.did(schemaShort, scim.NewObject("path", path))
				path = scim.EnterpriseUserURN
				if rest != "" {
					path += ":" + rest[1:]
				}
				break
			}
		}
	}
	if head, ok := cutSuffixFold(path, ":manager.managerId"); ok && t.has(managerID) {
		t.did(managerID, scim.NewObject("path", path))
		path = head + ":manager.value"
	}
	return path
}

func cutSuffixFold(s, suffix string) (string, bool) {
	if at := len(s) - len(suffix); at >= 0 && strings.EqualFold(s[at:], suffix) {
		return s[:at], true
	}
	return s, false
}
