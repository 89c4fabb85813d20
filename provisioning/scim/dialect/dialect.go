// Package dialect makes legal SCIM of what some clients send instead.
//
// The engine of package scim keeps to the RFCs. What a client of a known make
// gets wrong, always in the same way, is put right before the engine sees it:
//
//	bytes ──Decode──▶ Object ──Resource, Patch──▶ Object ──▶ the engine
//	text  ──Filter──▶ text
//
// A [Dialect] is a set of rules, each with a name. Everything here is pure:
// what was put right comes back as a list of [Rewrite]s, each with a sample in
// which no value of a person is left, and a [Tally] counts them, so that a
// client that changes its habits is seen. What no rule knows is left as it is,
// for the engine to refuse.
package dialect

import (
	"slices"

	"github.com/gatehouse-sso/gatehouse/provisioning/scim"
)

// A Rewrite is one thing that was put right.
type Rewrite struct {
	Rule   string // one of Rules
	Sample string // what was sent, without values
}

// Names of rules.
const (
	opCase         = "op.case"
	booleanText    = "boolean.text"
	valueList      = "value.list"
	valueText      = "value.text"
	valueJSON      = "value.json"
	displayName    = "display.name"
	managerID      = "manager.id"
	pathInKey      = "path.in-key"
	pathMakes      = "path.makes"
	removeValue    = "remove.value"
	idInValue      = "id.in-value"
	schemasForeign = "schemas.foreign"
	schemasMissing = "schemas.missing"
	schemaShort    = "schema.short-name"
	filterUnquoted = "filter.unquoted"
	jsonQuotes     = "json.quotes"
	rolesEveryone  = "roles.everyone"
	familyName     = "name.family"
	memberUnknown  = "member.unknown"
)

// Rules says what each rule puts right, in one sentence for an administrator.
var Rules = map[string]string{
	opCase:         "The name of a PATCH operation has capital letters: Replace is replace.",
	booleanText:    `A truth value is sent as text: "False" is false.`,
	valueList:      "The value of an attribute that has one value is sent as a list of one.",
	valueText:      "A value that is an object is sent as text: a manager or a member by the bare ID.",
	valueJSON:      "A value is sent as JSON inside a text: it is taken out.",
	displayName:    "A value has displayName where the schema says display.",
	managerID:      "The manager has managerId where the schema says value.",
	pathInKey:      "Without a path, a name in the value is a path: each becomes an operation.",
	pathMakes:      `A path chooses a value that may not be there, emails[type eq "work"].value: it is made if it is not.`,
	removeValue:    "A remove names in its value what to remove: it is put into the path.",
	idInValue:      "A PATCH repeats the id of the resource: it is left out.",
	schemasForeign: "The message lists a schema that is not one of the resource: it is left out.",
	schemasMissing: "The message lists no schemas: the one of its type is put in.",
	schemaShort:    "The enterprise extension has a short name, EnterpriseUser or wso2Extension: it gets its URN.",
	filterUnquoted: "A text in a filter is not in quotes: it is put into them.",
	jsonQuotes:     "A JSON text is in single quotes: it is put into double ones.",
	rolesEveryone:  "The user is sent without the role Internal/everyone, which everybody has: it is put in.",
	familyName:     "The user is sent without a family name: it is the user name.",
	memberUnknown:  "A group's member is nobody there is: it is left out.",
}

// A Dialect is how clients of one make speak. The zero Dialect is the RFCs'.
type Dialect struct {
	Name  string
	rules []string
}

// Dialects that there are.
var (
	RFC   = Dialect{Name: "rfc"}
	Entra = Dialect{"entra", []string{
		opCase, booleanText, valueList, valueText, valueJSON, displayName, pathInKey, pathMakes, removeValue, schemasForeign, filterUnquoted, memberUnknown,
	}}
	Okta = Dialect{"okta", []string{opCase, idInValue}}
	WSO2 = Dialect{"wso2", []string{
		opCase, booleanText, valueText, managerID, pathInKey, pathMakes, schemasMissing, schemaShort, filterUnquoted, jsonQuotes, rolesEveryone, familyName,
	}}
)

// Named finds a Dialect by its name; the empty name is the RFCs'.
func Named(name string) (Dialect, bool) {
	if name == "" {
		return RFC, true
	}
	all := []Dialect{RFC, Entra, Okta, WSO2}
	i := slices.IndexFunc(all, func(d Dialect) bool { return d.Name == name })
	if i < 0 {
		return Dialect{}, false
	}
	return all[i], true
}

// Strict reports whether nothing is put right: what is not legal is refused.
func (d Dialect) Strict() bool { return len(d.rules) == 0 }

func (d Dialect) has(rule string) bool { return slices.Contains(d.rules, rule) }

// Quiet reports whether these clients expect no resource in the answer to a
// PATCH, also of a user.
func (d Dialect) Quiet() bool { return d.Name == Entra.Name }

// MakesValues reports whether a PATCH makes the value that a path chooses, such
// as emails[type eq "work"].value, where there is none.
func (d Dialect) MakesValues() bool { return d.has(pathMakes) }

// Strangers reports whether a group may be sent with members whom there are
// not; they are left out. Stranger is the Rewrite.
func (d Dialect) Strangers() bool { return d.has(memberUnknown) }

// Stranger is what leaving such a member out is counted as.
func (d Dialect) Stranger() Rewrite { return Rewrite{memberUnknown, `{"members":[{"value":"…"}]}`} }

// Decode reads a message as scim.Decode does, and what the dialect writes
// instead of JSON.
func (d Dialect) Decode(data []byte) (*scim.Object, []Rewrite, error) {
	var made []Rewrite
	if d.has(jsonQuotes) && len(data) <= scim.MaxBody {
		if better, changed := doubleQuotes(data); changed {
			data, made = better, []Rewrite{{jsonQuotes, "'…'"}}
		}
	}
	o, err := scim.Decode(data)
	return o, made, err
}

// Resource puts right what is sent as a whole resource, by POST or PUT. The
// Object that it is given stays as it is.
func (d Dialect) Resource(rt *scim.ResourceType, in *scim.Object) (*scim.Object, []Rewrite) {
	if d.Strict() {
		return in, nil
	}
	t := &turn{Dialect: d, rt: rt}
	out := in.Clone()
	t.schemas(out, rt.Schema.ID)
	t.shortNames(out)
	t.members(out)
	t.defaults(out)
	return out, t.made
}

// Patch puts right the message of a PATCH. The Object that it is given stays as
// it is.
func (d Dialect) Patch(rt *scim.ResourceType, in *scim.Object) (*scim.Object, []Rewrite) {
	if d.Strict() {
		return in, nil
	}
	t := &turn{Dialect: d, rt: rt}
	out := in.Clone()
	t.schemas(out, scim.PatchURN)
	var ops []any
	for _, v := range out.List("Operations") {
		if op, ok := v.(*scim.Object); ok {
			ops = append(ops, t.operation(op)...)
		} else {
			ops = append(ops, v)
		}
		if len(ops) > scim.MaxOperations { // the engine refuses as many
			break
		}
	}
	out.Set("Operations", ops)
	return out, t.made
}

// Filter puts right a filter.
func (d Dialect) Filter(rt *scim.ResourceType, text string) (string, []Rewrite) {
	if d.Strict() {
		return text, nil
	}
	t := &turn{Dialect: d, rt: rt}
	return t.filter(text), t.made
}

// A turn puts one message right.
type turn struct {
	Dialect
	rt   *scim.ResourceType
	made []Rewrite
}

// did notes a rewrite of what is shown by a sample.
func (t *turn) did(rule string, was *scim.Object) {
	t.made = append(t.made, Rewrite{rule, sample(was)})
}

// schemas leaves in a message the schemas that it can have, and at least want.
func (t *turn) schemas(o *scim.Object, want string) {
	list := o.List("schemas")
	if len(list) == 0 {
		if t.has(schemasMissing) {
			t.did(schemasMissing, scim.NewObject())
			o.Set("schemas", []any{want})
		}
		return
	}
	if !t.has(schemasForeign) {
		return
	}
	kept := slices.DeleteFunc(slices.Clone(list), func(v any) bool {
		urn, ok := v.(string)
		return ok && !sameName(urn, want) && !sameName(urn, t.rt.Schema.ID) && t.rt.Extension(urn) == nil
	})
	if len(kept) < len(list) {
		t.did(schemasForeign, scim.NewObject("schemas", []any{"…"}))
		o.Set("schemas", kept)
	}
}

// shortNames gives extensions that bear a short name their URN. One that is
// there by both names is left alone: nobody knows which is meant.
func (t *turn) shortNames(o *scim.Object) {
	if !t.has(schemaShort) || t.rt.Extension(scim.EnterpriseUserURN) == nil {
		return
	}
	for _, short := range shortNames {
		if v := o.Get(short); v != nil && o.Get(scim.EnterpriseUserURN) == nil {
			t.did(schemaShort, scim.NewObject(short, v))
			o.Delete(short)
			o.Set(scim.EnterpriseUserURN, v)
		}
	}
}

var shortNames = []string{"EnterpriseUser", "wso2Extension"}

// defaults puts in what the server that these clients know gives everybody.
func (t *turn) defaults(o *scim.Object) {
	if t.rt.Schema.ID != scim.UserURN {
		return
	}
	if name := bareName(o); t.has(familyName) && name != "" {
		whole := o.Sub("name")
		if whole == nil {
			whole = scim.NewObject()
		}
		if o.Get("name") == nil || o.Sub("name") != nil && whole.String("familyName") == "" {
			t.did(familyName, scim.NewObject("userName", name))
			whole.Set("familyName", name)
			o.Set("name", whole)
		}
	}
	if list, ok := o.Get("roles").([]any); t.has(rolesEveryone) && (ok || o.Get("roles") == nil) {
		if !slices.ContainsFunc(list, func(v any) bool { el, _ := v.(*scim.Object); return el.String("value") == everyone }) {
			t.did(rolesEveryone, scim.NewObject("roles", list))
			o.Set("roles", append(slices.Clone(list), scim.NewObject("value", everyone, "type", "default")))
		}
	}
}

const everyone = "Internal/everyone"
