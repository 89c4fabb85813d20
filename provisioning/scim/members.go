package scim

// Members takes apart a patch of a type that has members: what it does to them,
// and the rest, so that a MemberStore need not read who else is in a group. It
// reports false for a patch that can not be said so, because it replaces the
// members, or chooses them by something else than their value, or is not valid;
// then nothing but the whole resource will do.
func (rt *ResourceType) Members(p Patch) (Members, Patch, bool) {
	a := rt.Attribute("members")
	if a == nil || a.Type != Complex || !a.MultiValued || find(a.Sub, "value") == nil {
		return Members{}, p, false
	}
	e := edges{attr: a, at: map[string]int{}}
	rest := p
	rest.Operations = nil
	for i, op := range p.Operations {
		op.at = max(op.at, i+1)
		keep, ok := e.take(rt, op)
		if !ok {
			return Members{}, p, false
		}
		if keep != nil {
			rest.Operations = append(rest.Operations, *keep)
		}
	}
	if len(e.last) == 0 {
		return Members{}, p, false
	}
	var m Members
	for _, x := range e.last {
		if x.el != nil {
			m.Add = append(m.Add, x.el)
		} else {
			m.Remove = append(m.Remove, x.id)
		}
	}
	return m, rest, true
}

// edges are the members that operations name; of each only the last one counts.
type edges struct {
	attr *Attribute
	last []edge
	at   map[string]int // where in last an id is
}

type edge struct {
	id string
	el *Object // nil: leaves
}

func (e *edges) set(id string, el *Object) {
	if i, ok := e.at[id]; ok {
		e.last[i].el = el
		return
	}
	e.at[id] = len(e.last)
	e.last = append(e.last, edge{id, el})
}

// take reads one operation and returns what of it is about something else.
func (e *edges) take(rt *ResourceType, op Operation) (rest *Operation, ok bool) {
	if op.Path == "" {
		in, _ := op.Value.(*Object)
		i := in.indexOf("members")
		if i < 0 {
			return &op, true
		}
		if op.Op != "add" || !e.add(in.members[i].value) {
			return nil, false
		}
		others := in.Clone()
		if others.Delete("members"); others.Len() == 0 {
			return nil, true
		}
		op.Value = others
		return &op, true
	}
	p, err := rt.Path(op.Path)
	switch {
	case err != nil:
		return nil, false
	case p.attr != e.attr:
		return &op, true
	case p.Sub != "":
		return nil, false
	case op.Op == "add" && p.Filter == nil:
		return nil, e.add(op.Value)
	case op.Op == "remove" && p.Filter != nil && unassigned(op.Value):
		return nil, e.remove(p.Filter)
	}
	return nil, false
}

func (e *edges) add(v any) bool {
	if _, isList := v.([]any); !isList {
		v = []any{v}
	}
	v, err := e.attr.coerce(v)
	if err != nil {
		return false
	}
	for _, v := range listOf(v) {
		el, _ := v.(*Object)
		if el.String("value") == "" {
			return false
		}
		e.set(el.String("value"), el)
	}
	return true
}

// remove takes value eq "a", and several of these joined by or.
func (e *edges) remove(f Filter) bool {
	switch f := f.(type) {
	case Or:
		return e.remove(f.Left) && e.remove(f.Right)
	case Compare:
		id, isText := f.Value.(string)
		if !isText || f.Op != Eq || f.Path.Name != "value" {
			return false
		}
		e.set(id, nil)
		return true
	}
	return false
}

func (o *Object) indexOf(name string) int {
	if o == nil {
		return -1
	}
	return o.index(name)
}
