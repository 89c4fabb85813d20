package dialect

import (
	"strings"

	"github.com/gatehouse-sso/gatehouse/provisioning/scim"
)

// members puts right the values in o of the attributes of the core schema and
// of extensions. What is null stays so: it asks for something.
func (t *turn) members(o *scim.Object) {
	for _, name := range names(o) {
		v := o.Get(name)
		if ext := t.rt.Extension(name); ext != nil {
			if sub, ok := v.(*scim.Object); ok {
				t.attributes(sub, ext.Attributes)
			}
		} else if a := t.rt.Attribute(name); a != nil && v != nil {
			o.Set(name, t.value(a, v))
		}
	}
}

// attributes puts right the values in o of attrs.
func (t *turn) attributes(o *scim.Object, attrs []*scim.Attribute) {
	for _, name := range names(o) {
		if a := find(attrs, name); a != nil && o.Get(name) != nil {
			o.Set(name, t.value(a, o.Get(name)))
		}
	}
}

// value puts right what is sent as the value of an attribute.
func (t *turn) value(a *scim.Attribute, v any) any {
	list, isList := v.([]any)
	for isList && !a.MultiValued && len(list) == 1 && t.has(valueList) {
		t.did(valueList, scim.NewObject(a.Name, v))
		v = list[0]
		if el, ok := v.(*scim.Object); ok && a.Type != scim.Complex && el.Get("value") != nil {
			v = el.Get("value")
		}
		list, isList = v.([]any)
	}
	if !isList {
		if text, ok := v.(string); ok && a.MultiValued && a.Type == scim.Complex && t.has(valueText) {
			return []any{t.element(a, text)}
		}
		return t.element(a, v)
	}
	out := make([]any, len(list))
	for i, v := range list {
		out[i] = t.element(a, v)
	}
	return out
}

// element puts right one value.
func (t *turn) element(a *scim.Attribute, v any) any {
	if text, ok := v.(string); ok {
		if truth, ok := truthOf(text); ok && a.Type == scim.Boolean && t.has(booleanText) {
			t.did(booleanText, scim.NewObject(a.Name, text))
			return truth
		}
		if a.Type == scim.Complex && find(a.Sub, "value") != nil && t.has(valueText) {
			t.did(valueText, scim.NewObject(a.Name, text))
			v = scim.NewObject("value", text)
		}
	}
	el, ok := v.(*scim.Object)
	if !ok || a.Type != scim.Complex {
		return v
	}
	t.rename(a, el, displayName, "displayName", "display")
	t.rename(a, el, managerID, "managerId", "value")
	if right := unwrapped(el); right != nil && t.has(valueJSON) {
		t.did(valueJSON, scim.NewObject(a.Name, el))
		el = right
	}
	t.attributes(el, a.Sub)
	return el
}

// rename gives a member of a value the name that the schema has for it.
func (t *turn) rename(a *scim.Attribute, el *scim.Object, rule, from, to string) {
	v := el.Get(from)
	if v == nil || !t.has(rule) || find(a.Sub, to) == nil || el.Get(to) != nil || rule == displayName && find(a.Sub, from) != nil {
		return
	}
	t.did(rule, scim.NewObject(a.Name, el))
	el.Delete(from)
	el.Set(to, v)
}

// unwrapped is a value whose parts stand as JSON in its member value; nil: they
// do not.
func unwrapped(el *scim.Object) *scim.Object {
	text := el.String("value")
	if !strings.HasPrefix(text, "{") {
		return nil
	}
	in, err := scim.Decode([]byte(text))
	value := in.String("value")
	if value == "" {
		value = in.String("id")
	}
	if err != nil || value == "" || strings.HasPrefix(value, "{") {
		return nil
	}
	out := el.Clone()
	out.Set("value", value)
	if name := in.String("displayName"); name != "" && out.Get("display") == nil {
		out.Set("display", name)
	}
	return out
}

func truthOf(text string) (truth, ok bool) {
	switch {
	case strings.EqualFold(text, "true"):
		return true, true
	case strings.EqualFold(text, "false"):
		return false, true
	}
	return false, false
}

// bareName is the user name in a resource, without the user store before it.
func bareName(o *scim.Object) string {
	name := o.String("userName")
	if _, rest, ok := strings.Cut(name, "/"); ok {
		return rest
	}
	return name
}

func names(o *scim.Object) []string {
	var list []string
	for name := range o.All() {
		list = append(list, name)
	}
	return list
}

func find(attrs []*scim.Attribute, name string) *scim.Attribute {
	for _, a := range attrs {
		if sameName(a.Name, name) {
			return a
		}
	}
	return nil
}

// sameName compares names of attributes and schemas, which are ASCII.
func sameName(a, b string) bool { return len(a) == len(b) && strings.EqualFold(a, b) }
