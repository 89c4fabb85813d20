package provisioning

import (
	"slices"
	"strings"

	"github.com/gatehouse-sso/gatehouse/provisioning/store"
)

// An ascent finds the groups that users are in, directly and through others, in one
// transaction. What it has read of a group serves for the next user.
type ascent struct {
	d      *Directory
	tx     store.Tx
	looked bool // for flips
	flips  bool // there are some
	steps  map[string]step
}

// A step is a group and those that it is directly inside of. A deleted group leads
// nowhere, although its edges may still be there.
type step struct {
	group   Group
	there   bool
	parents []string
}

func (a *ascent) memberships(userID string) (all []Membership, err error) {
	direct, err := a.direct(userID)
	if err != nil || len(direct) == 0 {
		return nil, err
	}
	gs, err := a.above(direct)
	for _, g := range gs {
		all = append(all, Membership{g, slices.Contains(direct, g.ID)})
	}
	slices.SortFunc(all, func(a, b Membership) int { return strings.Compare(a.order(), b.order()) })
	return all, err
}

// direct are the IDs of groups that a user is directly in.
func (a *ascent) direct(userID string) (ids []string, err error) {
	edges, err := members.Keys(a.tx, "user", userID)
	if err != nil {
		return nil, err
	}
	for _, edge := range edges {
		parts, err := store.Parts([]byte(edge))
		if err != nil {
			return nil, err
		}
		ids = append(ids, parts[0])
	}
	if !a.looked {
		none, err := flips.Empty(a.tx)
		if err != nil {
			return nil, err
		}
		a.looked, a.flips = true, !none
	}
	if !a.flips {
		return ids, nil
	}
	for s, err := range shifts.Find(a.tx, "user", userID, "", 0) {
		if err != nil {
			return nil, err
		}
		f, ok, err := flips.Get(a.tx, s.Group)
		if err != nil {
			return nil, err
		}
		if !ok || f.Change != s.Change {
			continue
		}
		i := slices.Index(ids, s.Group)
		switch {
		case s.In && i < 0:
			ids = append(ids, s.Group)
		case !s.In && i >= 0:
			ids = slices.Delete(ids, i, i+1)
		}
	}
	return ids, nil
}

// above returns the groups with these IDs and all that they are inside of, each once.
func (a *ascent) above(ids []string) (all []Group, err error) {
	seen := make(map[string]bool)
	for todo := slices.Clone(ids); len(todo) > 0; {
		id := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if seen[id] {
			continue
		}
		seen[id] = true
		s, err := a.step(id)
		if err != nil {
			return nil, err
		}
		if s.there {
			all = append(all, s.group)
			todo = append(todo, s.parents...)
		}
	}
	return all, nil
}

func (a *ascent) step(id string) (s step, err error) {
	if s, known := a.steps[id]; known {
		return s, nil
	}
	g, err := a.d.groups.Get(a.tx, id)
	if err != nil {
		return step{}, err
	}
	if g != nil {
		s = step{group: *g, there: true}
		for n, err := range nests.Find(a.tx, "child", id, "", 0) {
			if err != nil {
				return step{}, err
			}
			s.parents = append(s.parents, n.Parent)
		}
	}
	if a.steps == nil {
		a.steps = make(map[string]step)
	}
	a.steps[id] = s
	return s, nil
}
