package scim

import (
	"fmt"
	"net/http"
	"slices"
)

// A Patch is a list of operations that happen all or not at all (RFC 7644 section 3.5.2).
type Patch struct {
	Operations []Operation
	// Make lets an add or replace whose filter chooses no value make one that
	// it would choose, where the filter says what that is: comparisons with eq joined by and.
	Make bool
	// SkipReadOnly leaves alone what a client can not change, where the RFC wants a refusal.
	SkipReadOnly bool
}

// An Operation changes what Path names. Without a path, add and replace take
// an Object and change each attribute in it.
type Operation struct {
	Op    string // "add", "replace" or "remove"
	Path  string
	Value any // as the members of an Object

	at int // its number in the message, for errors; 0: its place in the list
	rules
}

// rules are what holds for all operations of a Patch.
type rules struct {
	make, skip bool
	work       *int // values looked at so far; nil: not counted
}

// spend counts values that are looked at, so that many operations on many
// values do not take minutes.
func (r rules) spend(values int) error {
	if r.work == nil {
		return nil
	}
	if *r.work += values + 1; *r.work > MaxPatchWork {
		return Errorf(http.StatusRequestEntityTooLarge, "", "the operations look at more than %d values: send them in several requests", MaxPatchWork)
	}
	return nil
}

// ParsePatch reads the message. Names of members and operations may be in any
// case; members that are none of PATCH's are ignored.
func ParsePatch(in *Object) (Patch, error) {
	if err := checkSchema(in, PatchURN); err != nil {
		return Patch{}, err
	}
	list := in.List("Operations")
	switch {
	case len(list) == 0:
		return Patch{}, bad(InvalidSyntax, "Operations must be an array with at least one operation")
	case len(list) > MaxOperations:
		return Patch{}, Errorf(413, "", "there are more than %d operations", MaxOperations)
	}
	var p Patch
	for i, v := range list {
		o, ok := v.(*Object)
		if !ok {
			return Patch{}, bad(InvalidSyntax, "operation %d is not an object", i+1)
		}
		op := Operation{Op: lowerName(o.String("op")), Value: o.Get("value"), at: i + 1}
		if path := o.Get("path"); path != nil {
			if op.Path, ok = path.(string); !ok {
				return Patch{}, bad(InvalidPath, "the path of operation %d is not a string", i+1)
			}
		}
		if op.Op != "add" && op.Op != "replace" && op.Op != "remove" {
			return Patch{}, bad(InvalidSyntax, "operation %d is %q: it must be add, replace or remove", i+1, clip(o.String("op")))
		}
		p.Operations = append(p.Operations, op)
	}
	return p, nil
}

// Object is the patch as a message.
func (p Patch) Object() *Object {
	ops := []any{}
	for _, op := range p.Operations {
		o := NewObject("op", op.Op)
		if op.Path != "" {
			o.Set("path", op.Path)
		}
		o.Set("value", op.Value)
		ops = append(ops, o)
	}
	return NewObject("schemas", []any{PatchURN}, "Operations", ops)
}

// Patch applies the operations to a copy of cur. If one fails there is no
// result. A result that is Equal to cur means that there was nothing to do.
//
// Removing what is not there is no error: it is what was asked for. Replacing
// values that a filter chooses is one, noTarget, if it chooses none. A remove
// that carries a value is refused, because reading it without its value could
// take away far more than was meant.
func (rt *ResourceType) Patch(cur *Resource, p Patch) (*Resource, error) {
	next := cur.Clone()
	work := 0
	for i, op := range p.Operations {
		op.rules = rules{p.Make, p.SkipReadOnly, &work}
		if err := rt.apply(next, op); err != nil {
			e := *AsError(err)
			e.Detail = fmt.Sprintf("operation %d: %s", max(op.at, i+1), e.Detail)
			return nil, &e
		}
	}
	if err := rt.checkImmutable(cur, next); err != nil {
		return nil, err
	}
	return next, rt.finish(next)
}

func (rt *ResourceType) apply(r *Resource, op Operation) error {
	if op.Op == "remove" && !unassigned(op.Value) {
		return bad(InvalidSyntax, "a remove takes no value: say in the path what to remove")
	}
	if op.Path != "" {
		p, err := rt.Path(op.Path)
		if err != nil {
			return err
		}
		return r.change(p, op)
	}
	if op.Op == "remove" {
		return bad(NoTarget, "a remove must have a path")
	}
	in, ok := op.Value.(*Object)
	if !ok {
		return bad(InvalidSyntax, "without a path the value must be an object")
	}
	for name, v := range in.All() {
		p, err := rt.member(name)
		if err != nil {
			return err
		}
		if p.attr != nil && p.attr.Name == "schemas" {
			continue // it follows from the rest
		}
		if err := r.change(p, Operation{Op: op.Op, Value: v, rules: op.rules}); err != nil {
			return err
		}
	}
	return nil
}

// member finds what a member of a value without a path is: an attribute or an
// extension by its plain name, no path.
func (rt *ResourceType) member(name string) (Path, error) {
	if ext := rt.Extension(name); ext != nil {
		return Path{URN: ext.ID, ext: ext}, nil
	}
	if a := rt.Attribute(name); a != nil {
		return Path{Name: a.Name, attr: a}, nil
	}
	return Path{}, bad(InvalidPath, "%s has no attribute %q", rt.Name, clip(name))
}

// change applies one operation at a resolved path.
func (r *Resource) change(p Path, op Operation) error {
	if p.attr == nil {
		return r.changeExtension(p, op)
	}
	for _, a := range []*Attribute{p.attr, p.sub} {
		if a != nil && (a.Mutability == ReadOnly || a.Name == "schemas" && a == p.attr && p.ext == nil) {
			if op.skip {
				return nil
			}
			return bad(Mutability, "%s can not be changed by a client", p)
		}
	}
	c := p.container(&r.Object)
	if c == nil {
		if op.Op == "remove" {
			return nil
		}
		c = new(Object)
	}
	given, _ := op.Value.([]any)
	err := op.spend(len(c.List(p.attr.Name)) + len(given))
	switch {
	case err != nil:
	case p.Filter == nil && p.sub == nil:
		err = p.attr.set(c, op)
	case !p.attr.MultiValued:
		err = p.changeSub(c, op)
	default:
		err = p.changeValues(c, op)
	}
	if err == nil && p.ext != nil {
		r.Set(p.ext.ID, c)
	}
	return err
}

func (r *Resource) changeExtension(p Path, op Operation) error {
	if op.Op == "remove" || unassigned(op.Value) {
		for _, a := range p.ext.Attributes {
			if a.Mutability == ReadOnly && r.Sub(p.ext.ID).Get(a.Name) != nil {
				return bad(Mutability, "%s can not be removed: its attribute %s is read-only", p.ext.ID, a.Name)
			}
		}
		r.Delete(p.ext.ID) // required attributes are looked at in the end
		return nil
	}
	in, ok := op.Value.(*Object)
	if !ok {
		return bad(InvalidValue, "the value of %s must be an object", p.ext.ID)
	}
	for name, v := range in.All() {
		a := find(p.ext.Attributes, name)
		if a == nil {
			return bad(InvalidPath, "%s has no attribute %q", p.ext.ID, clip(name))
		}
		if err := r.change(Path{URN: p.ext.ID, Name: a.Name, ext: p.ext, attr: a}, Operation{Op: op.Op, Value: v, rules: op.rules}); err != nil {
			return err
		}
	}
	return nil
}

// set applies an operation to a whole attribute of c.
func (a *Attribute) set(c *Object, op Operation) error {
	if op.Op == "remove" || op.Op == "replace" && unassigned(op.Value) {
		if a.Required {
			return bad(Mutability, "%s is required and can not be removed", a.Name)
		}
		c.Delete(a.Name)
		return nil
	}
	if in, ok := op.Value.(*Object); ok && op.Op == "replace" && a.Type == Complex && !a.MultiValued {
		if err := a.clear(c, in); err != nil {
			return err
		}
	}
	v := op.Value
	if _, isList := v.([]any); a.MultiValued && !isList && v != nil {
		v = []any{v}
	}
	v, err := a.coerce(v)
	if err != nil {
		return err
	}
	if unassigned(v) {
		return nil
	}
	switch {
	case a.MultiValued && op.Op == "add":
		old := c.List(a.Name)
		all := merge(old, v.([]any))
		if len(all) > MaxValues {
			return Errorf(413, "", "%s would have more than %d values", a.Name, MaxValues)
		}
		c.Set(a.Name, all)
		return onePrimary(a, old, all)
	case a.Type == Complex && !a.MultiValued:
		// Sub-attributes that are not given stay, also with replace.
		sub := c.Sub(a.Name)
		if sub == nil {
			sub = new(Object)
		}
		if err := a.mergeInto(sub, v.(*Object)); err != nil {
			return err
		}
		c.Set(a.Name, sub)
	default:
		c.Set(a.Name, v)
	}
	return nil
}

// clear takes away the sub-attributes that a replacement gives as unassigned.
func (a *Attribute) clear(c, in *Object) error {
	el := c.Sub(a.Name)
	for name, v := range in.All() {
		sub := find(a.Sub, name)
		if !unassigned(v) || sub == nil || el.Get(name) == nil || sub.Mutability == ReadOnly {
			continue
		}
		if sub.Required || sub.Mutability == Immutable {
			return bad(Mutability, "%s.%s can not be removed", a.Name, sub.Name)
		}
		if el.Delete(sub.Name); el.Len() == 0 {
			c.Delete(a.Name)
		}
	}
	return nil
}

// mergeInto sets the sub-attributes that v has; those that can be set once must agree.
func (a *Attribute) mergeInto(el, v *Object) error {
	for name, x := range v.All() {
		if err := find(a.Sub, name).mayBecome(el.Get(name), x); err != nil {
			return err
		}
		el.Set(name, x)
	}
	return nil
}

func (a *Attribute) mayBecome(old, next any) error {
	if a.Mutability == Immutable && old != nil && !equalValue(old, next) {
		return bad(Mutability, "%s can not be changed once it is set", a.Name)
	}
	return nil
}

// changeSub applies an operation to a sub-attribute of a single complex attribute.
func (p Path) changeSub(c *Object, op Operation) error {
	el := c.Sub(p.attr.Name)
	if el == nil {
		el = new(Object)
	}
	if err := p.setSub(el, op); err != nil {
		return err
	}
	if el.Len() == 0 {
		c.Delete(p.attr.Name)
	} else {
		c.Set(p.attr.Name, el)
	}
	return nil
}

func (p Path) setSub(el *Object, op Operation) error {
	old := el.Get(p.sub.Name)
	if err := p.sub.set(el, op); err != nil {
		return err
	}
	return p.sub.mayBecome(old, el.Get(p.sub.Name))
}

// changeValues applies an operation to some values of a multi-valued attribute, or to their sub-attribute.
func (p Path) changeValues(c *Object, op Operation) error {
	old := c.List(p.attr.Name)
	hit := func(v any) bool {
		el, ok := v.(*Object)
		return ok && (p.Filter == nil || p.Filter.Match(el))
	}
	if !slices.ContainsFunc(old, hit) {
		if op.Op == "remove" {
			return nil
		}
		if op.make && !unassigned(op.Value) {
			return p.makeValue(c, op)
		}
		return bad(NoTarget, "%s matches no value", p)
	}
	var value *Object
	if p.sub == nil && op.Op != "remove" && !unassigned(op.Value) {
		v, err := p.attr.coerceOne(op.Value)
		if err != nil {
			return err
		}
		if value, _ = v.(*Object); value == nil {
			return bad(InvalidValue, "the value has no sub-attribute of %s", p.attr.Name)
		}
	}
	all := make([]any, 0, len(old))
	changed := map[any]bool{}
	for _, v := range old {
		el, _ := v.(*Object)
		if !hit(v) {
			all = append(all, v)
			continue
		}
		switch {
		case p.sub != nil:
			if err := p.setSub(el, op); err != nil {
				return err
			}
			if el.Len() == 0 {
				continue
			}
		case value == nil: // remove, or replace with nothing
			continue
		case op.Op == "add":
			if err := p.attr.mergeInto(el, value.Clone()); err != nil {
				return err
			}
		default:
			el = value.Clone()
		}
		changed[el] = true
		all = append(all, el)
	}
	if len(all) == 0 && p.attr.Required {
		return bad(Mutability, "%s is required and can not be removed", p.attr.Name)
	}
	c.Set(p.attr.Name, all)
	left := slices.DeleteFunc(slices.Clone(all), func(v any) bool { return changed[v] })
	return onePrimary(p.attr, left, all)
}

// makeValue adds a value that the filter would have chosen.
func (p Path) makeValue(c *Object, op Operation) error {
	el := new(Object)
	if p.Filter == nil || !describe(p.Filter, el) {
		return bad(NoTarget, "%s matches no value, and does not say what one would be", p)
	}
	if p.sub != nil {
		el.Set(p.sub.Name, op.Value)
	} else {
		v, ok := op.Value.(*Object)
		if !ok {
			return bad(InvalidValue, "the value of %s must be an object", p)
		}
		for name, x := range v.All() {
			el.Set(name, x)
		}
	}
	return p.attr.set(c, Operation{Op: "add", Value: []any{el}})
}

// describe gives el what a filter says that a value is equal to.
func describe(f Filter, el *Object) bool {
	switch f := f.(type) {
	case And:
		return describe(f.Left, el) && describe(f.Right, el)
	case Compare:
		if f.Op == Eq && f.Value != nil && el.Get(f.Path.Name) == nil {
			el.Set(f.Path.Name, f.Value)
			return true
		}
	}
	return false
}

// onePrimary keeps at most one value primary: one that an operation made so
// takes it from the one that was. old are the values that it left alone.
func onePrimary(a *Attribute, old, all []any) error {
	seen := map[any]bool{}
	for _, v := range old {
		if isPrimary(v) {
			seen[v] = true
		}
	}
	var winner any
	for _, v := range all {
		if !isPrimary(v) || seen[v] {
			continue
		}
		if winner != nil {
			return bad(InvalidValue, "%s would have several values that are primary: there can be one", a.Name)
		}
		winner = v
	}
	if winner != nil {
		for v := range seen {
			v.(*Object).Set("primary", false)
		}
	}
	return nil
}

// merge appends those of more that are not there yet. A complex value is there
// if one has the same in every sub-attribute that it gives.
func merge(old, more []any) []any {
	all := slices.Clone(old)
	byKey := map[any][]any{} // what could be the same, by value
	for _, v := range old {
		byKey[keyOf(v)] = append(byKey[keyOf(v)], v)
	}
	for _, v := range more {
		k := keyOf(v)
		if !slices.ContainsFunc(byKey[k], func(o any) bool { return sameOrWithin(v, o) }) {
			all = append(all, v)
			byKey[k] = append(byKey[k], v)
		}
	}
	return all
}

func keyOf(v any) any {
	if o, ok := v.(*Object); ok {
		v = o.Get("value")
	}
	if _, ok := v.([]any); ok {
		return nil // can not be a key; those without one are compared with each other
	}
	return v
}

func sameOrWithin(v, in any) bool {
	a, ok := v.(*Object)
	b, ok2 := in.(*Object)
	if ok && ok2 {
		return a.within(b)
	}
	return equalValue(v, in)
}
