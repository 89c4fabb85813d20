package scim

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/gatehouse-sso/gatehouse/provisioning"
	rfc "github.com/gatehouse-sso/gatehouse/provisioning/scim"
)

// A place is where an attribute of ours stands in a SCIM user: a member, or a
// member of a member.
type place struct {
	attr, in, name string
	typ            rfc.Type // empty: a string
	multi          bool
}

// places of attributes that are the same with us and there.
var places = []place{
	{attr: "display_name", name: "displayName"},
	{attr: "given_name", in: "name", name: "givenName"},
	{attr: "family_name", in: "name", name: "familyName"},
	{attr: "title", name: "title"},
	{attr: "preferred_language", name: "preferredLanguage"},
	{attr: "department", in: rfc.EnterpriseUserURN, name: "department"},
	{attr: "employee_number", in: rfc.EnterpriseUserURN, name: "employeeNumber"},
	{attr: "organization", in: rfc.EnterpriseUserURN, name: "organization"},
}

// lists are attributes that have one value with us and several there. The list
// is kept as it was sent; ours is the one that is primary, else the first for
// work, else the first.
var lists = []place{
	{attr: "mail", name: "emails"},
	{attr: "phone", name: "phoneNumbers"},
}

// elsewhere are members that fields of the user, or the server, speak for.
var elsewhere = []string{"schemas", "id", "meta", "userName", "active", "groups"}

// An Attribute is one that the site has declared: what SCIM knows of it, and which
// of ours it is.
type Attribute struct {
	Schema string // the URN of its extension
	rfc.Attribute
	Ours string
}

// A shape is what users look like in SCIM at this site.
type shape struct {
	rt     *rfc.ResourceType
	places []place
}

// shapeOf makes the shape of users with declared attributes.
func shapeOf(more []Attribute) (*shape, error) {
	s := &shape{rt: rfc.UserType(), places: slices.Clone(places)}
	var schemas []*rfc.Schema
	for _, a := range more {
		i := slices.IndexFunc(schemas, func(o *rfc.Schema) bool { return strings.EqualFold(o.ID, a.Schema) })
		if i < 0 {
			i = len(schemas)
			schemas = append(schemas, &rfc.Schema{ID: a.Schema, Name: "Declared", Description: "Attributes that this site has declared"})
		}
		schemas[i].Attributes = append(schemas[i].Attributes, &a.Attribute)
		s.places = append(s.places, place{attr: a.Ours, in: schemas[i].ID, name: a.Name, typ: a.Type, multi: a.MultiValued})
	}
	for _, sch := range schemas {
		raw, err := json.Marshal(sch)
		if err != nil {
			return nil, err
		}
		checked, err := rfc.ParseSchema(raw)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(s.rt.Schemas(), func(o *rfc.Schema) bool { return strings.EqualFold(o.ID, checked.ID) }) {
			return nil, fmt.Errorf("the schema %s is there already", checked.ID)
		}
		s.rt = s.rt.With(rfc.Extension{Schema: checked})
	}
	return s, nil
}

// get is what stands there, as text.
func (p place) get(o *rfc.Object) (values []string) {
	if p.in != "" {
		o = o.Sub(p.in)
	}
	list := []any{o.Get(p.name)}
	if p.multi {
		list = o.List(p.name)
	}
	for _, v := range list {
		switch v := v.(type) {
		case string:
			values = append(values, v)
		case bool:
			values = append(values, strconv.FormatBool(v))
		case json.Number:
			values = append(values, string(v))
		}
	}
	return values
}

// value is text as what stands there; nil: it can not be.
func (p place) value(text string) any {
	switch p.typ {
	case rfc.Boolean:
		if b, err := strconv.ParseBool(text); err == nil {
			return b
		}
		return nil
	case rfc.Integer:
		if _, err := strconv.ParseInt(text, 10, 64); err == nil {
			return json.Number(text)
		}
		return nil
	case rfc.Decimal:
		if x, err := strconv.ParseFloat(text, 64); err == nil && !math.IsInf(x, 0) && !math.IsNaN(x) && json.Valid([]byte(text)) {
			return json.Number(text)
		}
		return nil
	case rfc.DateTime:
		if _, err := rfc.ParseTime(text); err != nil {
			return nil
		}
	}
	if text == "" {
		return nil
	}
	return text
}

// show puts into o what is effective, or takes away what is not.
func (p place) show(o *rfc.Object, u *provisioning.User) {
	if !p.multi {
		p.set(o, p.value(provisioning.First(u, p.attr)))
		return
	}
	var list []any
	for _, text := range provisioning.Effective(*u, p.attr) {
		if v := p.value(text); v != nil {
			list = append(list, v)
		}
	}
	p.set(o, list)
}

// set changes o, and what it has inside, which must be the caller's own; nil: it is
// taken away.
func (p place) set(o *rfc.Object, v any) {
	if p.in == "" {
		o.Set(p.name, v)
		return
	}
	in := o.Sub(p.in)
	switch {
	case in == nil && v == nil:
		return
	case in == nil:
		in = rfc.NewObject()
	}
	if in.Set(p.name, v); in.Len() == 0 {
		o.Delete(p.in)
	} else {
		o.Set(p.in, in)
	}
}

// chosen is the value of a list that is ours.
func chosen(list []any) string {
	rank, out := 0, ""
	for _, v := range list {
		el, _ := v.(*rfc.Object)
		value := el.String("value")
		r := 1
		switch {
		case value == "":
			continue
		case el.Get("primary") == true:
			r = 3
		case strings.EqualFold(el.String("type"), "work"):
			r = 2
		}
		if r > rank {
			rank, out = r, value
		}
	}
	return out
}

// shown is a list as a client reads it: its own, in which the value that is
// effective is primary, added if somebody else said it. The list is not changed.
func shown(list []any, effective string) (out []any, added *rfc.Object) {
	if effective == "" || effective == chosen(list) {
		return list, nil
	}
	found := false
	for _, v := range list {
		el := v.(*rfc.Object).Clone()
		el.Delete("primary")
		if !found && el.String("value") == effective {
			found = true
			el.Set("primary", true)
		}
		out = append(out, el)
	}
	if !found {
		added = rfc.NewObject("value", effective, "type", "work", "primary", true)
		out = append([]any{added}, out...)
	}
	return out, added
}

// keptBy is what a source's claim keeps; an empty Object if there is none.
func keptBy(u *provisioning.User, by provisioning.Source) (*rfc.Object, error) {
	text := provisioning.FirstOf(u, by, provisioning.Kept)
	if text == "" {
		return rfc.NewObject(), nil
	}
	o, err := rfc.DecodeText(text)
	if err != nil {
		return nil, fmt.Errorf("what %s keeps of user %s can not be read: %w", by, u.ID, err)
	}
	return o, nil
}

// namer is the source that gave a user its external ID: of two clients that
// know one user only the first has it found by its own name. Empty: none did.
// mine is what by keeps.
func namer(u *provisioning.User, by provisioning.Source, mine *rfc.Object) (provisioning.Source, error) {
	if u.ExternalID == "" {
		return "", nil
	}
	if mine.String("externalId") != "" {
		return by, nil
	}
	for _, c := range u.Attributes[provisioning.Kept] {
		if c.Source == by {
			continue
		}
		o, err := keptBy(u, c.Source)
		if err != nil {
			return "", err
		}
		if o.String("externalId") != "" {
			return c.Source, nil
		}
	}
	return "", nil
}

// read makes the resource that a source reads of a user, its groups aside. name
// is the user's name as the client has it.
func (sh *shape) read(u *provisioning.User, by provisioning.Source, name string) (*rfc.Resource, error) {
	all, err := keptBy(u, by)
	if err != nil {
		return nil, err
	}
	who, err := namer(u, by, all)
	if err != nil {
		return nil, err
	}
	for _, p := range sh.places {
		p.show(all, u)
	}
	for _, p := range lists {
		list, _ := shown(all.List(p.name), provisioning.First(u, p.attr))
		all.Set(p.name, list)
	}
	if who != by && who != "" {
		all.Delete("externalId")
	} else {
		all.Set("externalId", unlessEmpty(u.ExternalID))
	}
	all.Set("userName", name)
	all.Set("active", u.Active)
	r := sh.rt.Resource(all)
	sh.rt.Stamp(r, u.ID, u.Created, u.Modified, tag(u.Version))
	return r, nil
}

// unlessEmpty is a text as SCIM has it: the empty one is none.
func unlessEmpty(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// tag is the entity tag of a version, or of what is told apart by several numbers.
func tag(numbers ...uint64) string {
	b := append(make([]byte, 0, 48), `W/"`...)
	for i, n := range numbers {
		if i > 0 {
			b = append(b, '-')
		}
		b = strconv.AppendUint(b, n, 10)
	}
	return string(append(b, '"'))
}

// write makes a source say what differs between cur, which read made of u (or
// an empty one, to begin with), and next. What is as it was, is not said: a client
// that sends back what it has read does not make it its own. Name and store are
// left to the caller.
func (sh *shape) write(u *provisioning.User, by provisioning.Source, cur, next *rfc.Resource) error {
	mine, err := keptBy(u, by)
	if err != nil {
		return err
	}
	rest := next.Clone()
	for _, name := range elsewhere {
		rest.Delete(name)
	}
	for _, p := range sh.places {
		if v := p.get(&next.Object); !slices.Equal(v, p.get(&cur.Object)) {
			u.Say(by, p.attr, v...)
		}
		p.set(&rest.Object, nil)
	}
	for _, p := range lists {
		own := mine.List(p.name)
		if now := rest.List(p.name); !same(now, cur.List(p.name)) {
			_, added := shown(own, provisioning.First(u, p.attr))
			own = slices.DeleteFunc(slices.Clone(now), func(v any) bool { return added != nil && v.(*rfc.Object).Equal(added) })
			u.Say(by, p.attr, chosen(own))
		}
		rest.Set(p.name, own)
	}
	if err := writeExternalID(u, by, mine, rest); err != nil {
		return err
	}
	if active, ok := next.Get("active").(bool); ok {
		u.Active = active
	}
	switch {
	case rest.Object.Equal(mine):
	case rest.Len() == 0:
		u.Say(by, provisioning.Kept)
	default:
		u.Say(by, provisioning.Kept, string(sh.ordered(rest).AppendJSON(nil)))
	}
	return nil
}

// ordered is what a claim keeps, in the schemas' order, so that the same is kept
// in the same words however the client said it.
func (sh *shape) ordered(r *rfc.Resource) *rfc.Object {
	rt := sh.rt
	out := inOrder(rt.Schema.Attributes, &r.Object)
	for _, e := range rt.Extensions {
		if sub := out.Sub(e.Schema.ID); sub != nil {
			out.Delete(e.Schema.ID)
			out.Set(e.Schema.ID, inOrder(e.Schema.Attributes, sub))
		}
	}
	return out
}

func inOrder(attrs []*rfc.Attribute, o *rfc.Object) *rfc.Object {
	out := rfc.NewObject()
	for _, a := range attrs {
		v := o.Get(a.Name)
		switch x := v.(type) {
		case *rfc.Object:
			v = inOrder(a.Sub, x)
		case []any:
			list := slices.Clone(x)
			for i, el := range list {
				if el, ok := el.(*rfc.Object); ok {
					list[i] = inOrder(a.Sub, el)
				}
			}
			v = list
		}
		out.Set(a.Name, v)
	}
	for name, v := range o.All() {
		if out.Get(name) == nil {
			out.Set(name, v)
		}
	}
	return out
}

// writeExternalID gives the user the external ID that rest has, and leaves it
// in rest as the mark that this source gave it.
func writeExternalID(u *provisioning.User, by provisioning.Source, mine *rfc.Object, rest *rfc.Resource) error {
	who, err := namer(u, by, mine)
	if err != nil {
		return err
	}
	ext := rest.ExternalID()
	if ext == "" {
		rest.Delete("externalId")
	}
	switch {
	case who == by, who == "" && ext != u.ExternalID:
		u.ExternalID = ext
	case who == "": // given by an administrator, and not changed
		rest.Delete("externalId")
	case ext != "":
		return errNamed
	}
	return nil
}

var errNamed = rfc.Errorf(409, rfc.Uniqueness, "another client has given this user an externalId")

func same(a, b []any) bool {
	return rfc.NewObject("x", a).Equal(rfc.NewObject("x", b))
}
