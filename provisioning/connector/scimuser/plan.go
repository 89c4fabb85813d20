// Package scimuser lays an Account out as a SCIM User, and reads one back.
//
// The names of an Account's attributes are SCIM paths. What differs between a
// User that is there and a wanted Account comes out twice: as the User made to
// fit, for a PUT, and as the operations that do the same, for a PATCH. It asks
// nobody and knows no target; whoever speaks SCIM to one, or tells one of users
// in SCIM's shape, shares it.
package scimuser

import (
	"encoding/json"
	"fmt"
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/gatehouse-sso/gatehouse/provisioning/connector"
	"github.com/gatehouse-sso/gatehouse/provisioning/scim"
)

// DefaultPath is the SCIM path where one of our own attributes usually goes;
// empty: there is none, and the configuration has to say.
func DefaultPath(ourAttribute string) string { return defaultPaths[ourAttribute] }

var defaultPaths = map[string]string{
	"mail":               `emails[type eq "work"].value`,
	"email":              `emails[type eq "work"].value`,
	"display_name":       "displayName",
	"given_name":         "name.givenName",
	"family_name":        "name.familyName",
	"middle_name":        "name.middleName",
	"nickname":           "nickName",
	"title":              "title",
	"user_type":          "userType",
	"preferred_language": "preferredLanguage",
	"locale":             "locale",
	"timezone":           "timezone",
	"zoneinfo":           "timezone",
	"profile":            "profileUrl",
	"phone":              `phoneNumbers[type eq "work"].value`,
	"mobile":             `phoneNumbers[type eq "mobile"].value`,
	"roles":              "roles.value",
	"entitlements":       "entitlements.value",
	"department":         scim.EnterpriseUserURN + ":department",
	"division":           scim.EnterpriseUserURN + ":division",
	"organization":       scim.EnterpriseUserURN + ":organization",
	"cost_center":        scim.EnterpriseUserURN + ":costCenter",
	"employee_number":    scim.EnterpriseUserURN + ":employeeNumber",
	"street_address":     `addresses[type eq "work"].streetAddress`,
	"locality":           `addresses[type eq "work"].locality`,
	"region":             `addresses[type eq "work"].region`,
	"postal_code":        `addresses[type eq "work"].postalCode`,
	"country":            `addresses[type eq "work"].country`,
}

// CheckPath reports why a path can not be the name of an Account's attribute.
func CheckPath(path string, extensions ...*scim.Schema) error {
	_, err := resolve(Type(extensions...), path)
	return err
}

// resolve finds what a path names. Under a schema that is not known it is
// taken as it is.
func resolve(rt *scim.ResourceType, text string) (scim.Path, error) {
	p, err := scim.ParsePath(text)
	if err != nil {
		return p, fmt.Errorf("%s: %w", text, err)
	}
	unknown := p.URN != "" && rt.Extension(p.URN) == nil && !strings.EqualFold(p.URN, scim.UserURN)
	known, err := rt.Path(text)
	if err != nil && unknown && p.Name != "" && p.Filter == nil {
		return p, nil
	}
	if err != nil {
		return p, fmt.Errorf("%s: %w", text, err)
	}
	p = known
	attr, sub := p.Attribute()
	switch {
	case attr == nil:
		return p, fmt.Errorf("%s is a whole schema, not an attribute", text)
	case p.URN == "" && slices.Contains([]string{"id", "externalId", "userName", "active", "schemas"}, p.Name):
		return p, fmt.Errorf("%s is no attribute to be mapped: the account says it itself", text)
	case attr.Mutability == scim.ReadOnly || sub != nil && sub.Mutability == scim.ReadOnly:
		return p, fmt.Errorf("%s can not be set by a client", text)
	case attr.Mutability == scim.WriteOnly:
		return p, fmt.Errorf("%s can not be read back, so it can not be kept in step", text)
	case attr.Type == scim.Complex && sub == nil && (!attr.MultiValued || subOf(attr, "value") == nil):
		return p, fmt.Errorf("%s has parts: name one of them", text)
	}
	if p.Filter != nil {
		if _, err := template(p.Filter); err != nil {
			return p, fmt.Errorf("%s: %w", text, err)
		}
	}
	return p, nil
}

func subOf(a *scim.Attribute, name string) *scim.Attribute {
	for _, s := range a.Sub {
		if s.Name == name {
			return s
		}
	}
	return nil
}

// Type is the type of a User with more schemas.
func Type(extensions ...*scim.Schema) *scim.ResourceType {
	var exts []scim.Extension
	for _, s := range extensions {
		exts = append(exts, scim.Extension{Schema: s})
	}
	return scim.UserType().With(exts...)
}

// Plan changes o, what the target holds, into what want says, and returns the
// operations that do the same there; none: nothing differs. Its error is a
// *connector.Error of the class Invalid.
func Plan(rt *scim.ResourceType, o *scim.Object, want connector.Account) ([]scim.Operation, error) {
	var ops []scim.Operation
	set := func(name string, v any) {
		if o.Get(name) != v {
			ops = append(ops, setOp(o.Get(name) != nil, name, v))
			o.Set(name, v)
		}
	}
	if want.ExternalID != "" {
		set("externalId", want.ExternalID)
	}
	set("userName", want.UserName)
	set("active", want.Active)

	names := make([]string, 0, len(want.Attributes))
	for name := range want.Attributes {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		p, err := resolve(rt, name)
		if err == nil {
			var more []scim.Operation
			more, err = agree(o, p, want.Attributes[name])
			ops = append(ops, more...)
		}
		if err != nil {
			return nil, &connector.Error{Class: connector.Invalid, Text: err.Error()}
		}
	}
	return ops, nil
}

func setOp(there bool, path string, v any) scim.Operation {
	if there {
		return scim.Operation{Op: "replace", Path: path, Value: v}
	}
	return scim.Operation{Op: "add", Path: path, Value: v}
}

// agree makes o have the values at p, and no others there.
func agree(o *scim.Object, p scim.Path, texts []string) ([]scim.Operation, error) {
	attr, sub := p.Attribute()
	leaf := attr
	if sub != nil {
		leaf = sub
	} else if attr != nil && attr.Type == scim.Complex {
		leaf = subOf(attr, "value")
		p.Sub = leaf.Name
	}
	want, err := typed(leaf, texts)
	if err != nil {
		return nil, fmt.Errorf("%s %w", p, err)
	}
	if same(p.Values(o), want) {
		return nil, nil
	}
	if attr != nil && attr.MultiValued {
		if attr.Type != scim.Complex {
			old := o.Get(p.Name)
			o.Set(p.Name, want)
			return []scim.Operation{setOp(old != nil, p.Name, want)}, nil
		}
		return agreeMany(o, p, want)
	}
	if len(want) > 1 {
		return nil, fmt.Errorf("%s takes one value and there are %d", p, len(want))
	}
	in := holder(o, p)
	last := p.Sub
	if last == "" {
		last = p.Name
	}
	old := in.Get(last)
	if len(want) == 0 {
		in.Delete(last)
		return []scim.Operation{{Op: "remove", Path: p.String()}}, nil
	}
	in.Set(last, want[0])
	return []scim.Operation{setOp(old != nil, p.String(), want[0])}, nil
}

// holder is the object in o that has the last part of a path; it is made if it is not there.
func holder(o *scim.Object, p scim.Path) *scim.Object {
	enter := func(in *scim.Object, name string) *scim.Object {
		if in.Sub(name) == nil {
			in.Set(name, new(scim.Object))
		}
		return in.Sub(name)
	}
	if p.URN != "" {
		o = enter(o, p.URN)
	}
	if p.Sub != "" {
		o = enter(o, p.Name)
	}
	return o
}

// agreeMany is agree for values that have parts, such as e-mail addresses.
// Where one value becomes another it is changed in place and keeps its other
// parts. Where there is none yet the whole value is added, because a filter
// that matches nothing is an error at strict targets.
func agreeMany(o *scim.Object, p scim.Path, want []any) ([]scim.Operation, error) {
	in := o
	top := scim.Path{URN: p.URN, Name: p.Name}
	if p.URN != "" {
		in = holder(o, scim.Path{URN: p.URN, Name: p.Name})
	}
	all := in.List(p.Name)
	hits := slices.DeleteFunc(slices.Clone(all), func(v any) bool { return !chosen(p, v) })

	switch {
	case len(want) == 0 && p.Sub != "value":
		for _, v := range hits {
			v.(*scim.Object).Delete(p.Sub)
		}
		return []scim.Operation{{Op: "remove", Path: p.String()}}, nil
	case len(want) == 0: // without its value the rest of it means nothing
		in.Set(p.Name, slices.DeleteFunc(slices.Clone(all), func(v any) bool { return chosen(p, v) }))
		p.Sub = ""
		return []scim.Operation{{Op: "remove", Path: p.String()}}, nil
	case len(want) == 1 && len(hits) > 0 && p.Sub != "value", len(want) == 1 && len(hits) == 1 && p.Filter != nil:
		there := false
		for _, v := range hits {
			there = there || v.(*scim.Object).Get(p.Sub) != nil
			v.(*scim.Object).Set(p.Sub, want[0])
		}
		return []scim.Operation{setOp(there, p.String(), want[0])}, nil
	}

	var kept, added []any
	for _, v := range all {
		if !chosen(p, v) || slices.Contains(want, v.(*scim.Object).Get(p.Sub)) {
			kept = append(kept, v)
		}
	}
	for _, w := range want {
		if slices.ContainsFunc(hits, func(v any) bool { return v.(*scim.Object).Get(p.Sub) == w }) {
			continue
		}
		el, err := template(p.Filter)
		if err != nil {
			return nil, err
		}
		el.Set(p.Sub, w)
		added = append(added, el)
	}
	in.Set(p.Name, append(slices.Clone(kept), added...))
	if len(kept) == len(all) {
		return []scim.Operation{{Op: "add", Path: top.String(), Value: added}}, nil
	}
	return []scim.Operation{{Op: "replace", Path: top.String(), Value: in.Get(p.Name)}}, nil
}

func chosen(p scim.Path, v any) bool {
	el, ok := v.(*scim.Object)
	return ok && (p.Filter == nil || p.Filter.Match(el))
}

// template is a value that a filter chooses: it has what the filter compares with eq.
func template(f scim.Filter) (*scim.Object, error) {
	el := new(scim.Object)
	switch f := f.(type) {
	case nil:
		return el, nil
	case scim.Compare:
		if f.Op == scim.Eq && f.Value != nil {
			el.Set(f.Path.Name, f.Value)
			return el, nil
		}
	case scim.And:
		left, err := template(f.Left)
		if err != nil {
			return nil, err
		}
		right, err := template(f.Right)
		if err != nil {
			return nil, err
		}
		for name, v := range right.All() {
			left.Set(name, v)
		}
		return left, nil
	}
	return nil, fmt.Errorf("the filter %s does not say what a value is to look like: use eq and and", f)
}

// typed turns texts into values of the attribute's type; an attribute that is not known takes strings.
func typed(a *scim.Attribute, texts []string) ([]any, error) {
	out := []any{}
	for _, t := range texts {
		if t == "" {
			continue
		}
		var v any = t
		if a != nil {
			switch a.Type {
			case scim.Boolean:
				b, err := strconv.ParseBool(t)
				if err != nil {
					return nil, fmt.Errorf("must be true or false")
				}
				v = b
			case scim.Integer, scim.Decimal:
				if _, err := strconv.ParseFloat(t, 64); err != nil || !json.Valid([]byte(t)) {
					return nil, fmt.Errorf("must be a number")
				}
				v = json.Number(t)
			}
		}
		if !slices.Contains(out, v) {
			out = append(out, v)
		}
	}
	return out, nil
}

// same reports whether both have the same values, in any order.
func same(a, b []any) bool {
	within := func(a, b []any) bool {
		return !slices.ContainsFunc(a, func(v any) bool { return !slices.Contains(b, v) })
	}
	return within(a, b) && within(b, a)
}

// Writable takes away what only the target sets: a strict one refuses it in a PUT.
func Writable(rt *scim.ResourceType, o *scim.Object) *scim.Object {
	out := new(scim.Object)
	for name, v := range o.All() {
		if a := rt.Attribute(name); a == nil || a.Mutability != scim.ReadOnly || a.Name == "id" {
			out.Set(name, v)
		}
	}
	return out
}

// WithSchemas adds the schemas of what is in o to those that it lists.
func WithSchemas(o *scim.Object) *scim.Object {
	schemas := slices.Clone(o.List("schemas"))
	add := func(urn string) {
		if !slices.ContainsFunc(schemas, func(s any) bool { s, ok := s.(string); return ok && strings.EqualFold(s.(string), urn) }) {
			schemas = append(schemas, urn)
		}
	}
	add(scim.UserURN)
	for name := range o.All() {
		if len(name) > 4 && strings.EqualFold(name[:4], "urn:") {
			add(name)
		}
	}
	out := scim.NewObject("schemas", schemas)
	for name, v := range o.All() {
		if name != "schemas" {
			out.Set(name, v)
		}
	}
	return out
}

// New is a User to be created.
func New(rt *scim.ResourceType, want connector.Account) (*scim.Object, error) {
	o := new(scim.Object)
	if _, err := Plan(rt, o, want); err != nil {
		return nil, err
	}
	if list := o.List("emails"); len(list) > 0 && !slices.ContainsFunc(list, isPrimary) {
		list[0].(*scim.Object).Set("primary", true) // many targets need one to write to
	}
	return WithSchemas(o), nil
}

func isPrimary(v any) bool {
	el, ok := v.(*scim.Object)
	return ok && el.Get("primary") == true
}

// Account is what the target holds, with a path for each value. Values of an
// attribute that have a type are told apart by it.
func Account(r *scim.Resource) connector.Account {
	a := connector.Account{ID: r.ID(), ExternalID: r.ExternalID(), UserName: r.String("userName"), Attributes: map[string][]string{}}
	a.Active, _ = r.Get("active").(bool)
	for name, v := range r.All() {
		switch strings.ToLower(name) {
		case "schemas", "id", "externalid", "username", "active", "meta":
			continue
		}
		if o, ok := v.(*scim.Object); ok && len(name) > 4 && strings.EqualFold(name[:4], "urn:") {
			for sub, v := range o.All() {
				flatten(a.Attributes, name+":"+sub, v)
			}
			continue
		}
		flatten(a.Attributes, name, v)
	}
	return a
}

func flatten(out map[string][]string, path string, v any) {
	switch v := v.(type) {
	case *scim.Object:
		for sub, v := range v.All() {
			flatten(out, path+"."+sub, v)
		}
	case []any:
		for _, v := range v {
			el, ok := v.(*scim.Object)
			if !ok {
				flatten(out, path, v)
				continue
			}
			at := path
			if t := el.String("type"); t != "" {
				at += "[" + scim.Compare{Path: scim.Path{Name: "type"}, Op: scim.Eq, Value: t}.String() + "]"
			}
			for sub, v := range el.All() {
				if sub != "type" {
					flatten(out, at+"."+sub, v)
				}
			}
		}
	case nil:
	default:
		out[path] = append(out[path], fmt.Sprint(v))
	}
}
