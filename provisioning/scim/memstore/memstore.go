// Package memstore keeps SCIM resources of one type in memory: for tests, for
// demonstrations, and as the smallest complete example of a scim.Store.
//
// A resource that is stored is never changed, only replaced, so readers need no
// copies. Values that their schema calls unique are unique, in any case where
// the attribute is not caseExact. Passwords never come here: the server drops
// them. A position in the order of creation is a number that is never used again.
package memstore

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/gatehouse-sso/gatehouse/provisioning/scim"
)

// A Store is a scim.Store. Make one with New.
type Store struct {
	rt     *scim.ResourceType
	now    func() time.Time
	unique []*scim.Attribute

	mu       *sync.RWMutex
	byID     map[string]*row
	order    []*row                       // as they were created
	byValue  map[string]map[string]string // unique attribute, then value: id
	external map[string][]*row            // by externalId
	seq      uint64

	// prepare completes the members of a group, or refuses them. changed is told
	// of what was written; nil stands for what is not there. See Directory.
	prepare func(id string, members []any) ([]any, error)
	changed func(old, next *scim.Resource)
}

type row struct {
	seq      uint64
	version  uint64
	created  time.Time
	resource *scim.Resource
}

// New makes an empty Store. now gives the time; nil: time.Now.
func New(rt *scim.ResourceType, now func() time.Time) *Store {
	if now == nil {
		now = time.Now
	}
	s := &Store{rt: rt, now: now, mu: new(sync.RWMutex), byID: map[string]*row{}, byValue: map[string]map[string]string{}, external: map[string][]*row{}}
	s.prepare = func(_ string, members []any) ([]any, error) { return members, nil }
	s.changed = func(_, _ *scim.Resource) {}
	for _, a := range rt.Schema.Attributes {
		if a.Uniqueness != scim.NotUnique && a.Type == scim.String && !a.MultiValued {
			s.unique = append(s.unique, a)
			s.byValue[a.Name] = map[string]string{}
		}
	}
	return s
}

// Get returns a resource.
func (s *Store) Get(_ context.Context, id string) (*scim.Resource, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	r, ok := s.byID[id]
	if !ok {
		return nil, scim.NotFound(id)
	}
	return r.resource, nil
}

// List returns a page in the order of creation.
func (s *Store) List(_ context.Context, q scim.Query) (scim.Page, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var p scim.Page
	for _, r := range s.candidates(q.Filter) {
		if q.Filter != nil && !q.Filter.Match(&r.resource.Object) {
			continue
		}
		p.Total++
		if p.Total >= q.Start && len(p.Resources) < q.Count {
			p.Resources = append(p.Resources, r.resource)
		}
	}
	return p, nil
}

// Walk returns a page in any order. In the order of creation it reads what
// it returns, and the rest only to count what a filter matches.
func (s *Store) Walk(_ context.Context, q scim.Query) (scim.Page, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	rows := s.candidates(q.Filter)
	if !q.Sort.IsZero() {
		var all []*scim.Resource
		for _, r := range rows {
			if q.Filter == nil || q.Filter.Match(&r.resource.Object) {
				all = append(all, r.resource)
			}
		}
		return q.Cut(all)
	}
	after := uint64(0)
	if q.After != "" {
		var err error
		if after, err = strconv.ParseUint(q.After, 10, 64); err != nil {
			return scim.Page{}, scim.Errorf(http.StatusBadRequest, scim.InvalidCursor, "the cursor does not fit the query")
		}
	}
	if q.Filter == nil {
		from := q.Start - 1
		if q.After != "" {
			from, _ = slices.BinarySearchFunc(rows, after+1, func(r *row, seq uint64) int { return cmp.Compare(r.seq, seq) })
		}
		from = min(max(from, 0), len(rows))
		to := min(from+q.Count, len(rows))
		return page(rows[from:to], len(rows), to < len(rows)), nil
	}
	var found []*row
	total, follow := 0, 0
	for _, r := range rows {
		if !q.Filter.Match(&r.resource.Object) {
			continue
		}
		total++
		switch {
		case q.After != "" && r.seq <= after, q.After == "" && total < q.Start:
		case len(found) < q.Count:
			found = append(found, r)
		default:
			follow++
		}
	}
	return page(found, total, follow > 0), nil
}

// Earlier is as in [scim.Ordered].
func (s *Store) Earlier(q scim.Query, a, b string) bool {
	if !q.Sort.IsZero() {
		return q.Earlier(a, b)
	}
	x, err1 := strconv.ParseUint(a, 10, 64)
	y, err2 := strconv.ParseUint(b, 10, 64)
	return err1 == nil && err2 == nil && x < y
}

func page(rows []*row, total int, more bool) scim.Page {
	p := scim.Page{Total: total}
	for _, r := range rows {
		p.Resources = append(p.Resources, r.resource)
	}
	if more && len(rows) > 0 {
		p.Next = strconv.FormatUint(rows[len(rows)-1].seq, 10)
	}
	return p
}

// candidates are those that can match, found by an index where the filter allows it.
func (s *Store) candidates(f scim.Filter) []*row {
	one := func(id string) []*row {
		if r, ok := s.byID[id]; ok {
			return []*row{r}
		}
		return nil
	}
	if f == nil {
		return s.order
	}
	if id, ok := scim.Equal(f, "id"); ok {
		return one(id)
	}
	if ext, ok := scim.Equal(f, "externalId"); ok {
		return s.external[ext]
	}
	for _, a := range s.unique {
		if v, ok := scim.Equal(f, a.Name); ok {
			return one(s.byValue[a.Name][key(a, v)])
		}
	}
	return s.order
}

// Create keeps a resource under an id that can not be guessed, and that sorts
// as the resources were created.
func (s *Store) Create(_ context.Context, r *scim.Resource) (*scim.Resource, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.checkUnique(r, ""); err != nil {
		return nil, err
	}
	members, err := s.prepare("", r.List("members"))
	if err != nil {
		return nil, err
	}
	now := s.now()
	s.seq++
	made := &row{seq: s.seq, created: now, resource: r.Clone()}
	if len(members) > 0 {
		made.resource.Set("members", members)
	}
	s.stamp(made, fmt.Sprintf("%08x-%s", s.seq, rand.Text()), now)
	s.byID[made.resource.ID()] = made
	s.order = append(s.order, made)
	s.index(made)
	s.changed(nil, made.resource)
	return s.byID[made.resource.ID()].resource, nil
}

// Change replaces a resource by what fn makes of it.
func (s *Store) Change(_ context.Context, id string, fn scim.Edit) (*scim.Resource, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.byID[id]
	if !ok {
		return nil, scim.NotFound(id)
	}
	next, err := fn(r.resource)
	if err != nil {
		return nil, err
	}
	next = next.Clone()
	if members := next.List("members"); len(members) > 0 {
		if members, err = s.prepare(id, members); err != nil {
			return nil, err
		}
		next.Set("members", members)
	}
	if next.Equal(r.resource) {
		return r.resource, nil
	}
	return s.put(r, next)
}

// put replaces what a row holds.
func (s *Store) put(r *row, next *scim.Resource) (*scim.Resource, error) {
	id, old := r.resource.ID(), r.resource
	if err := s.checkUnique(next, id); err != nil {
		return nil, err
	}
	s.unindex(r)
	r.resource = next
	s.stamp(r, id, s.now())
	s.index(r)
	s.changed(old, next)
	return r.resource, nil
}

// ChangeMembers changes a resource that has members without comparing all of them.
func (s *Store) ChangeMembers(_ context.Context, id string, fn scim.Edit, m scim.Members) (*scim.Resource, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.byID[id]
	if !ok {
		return nil, scim.NotFound(id)
	}
	cur := without(r.resource)
	next, err := fn(cur)
	if err != nil {
		return nil, err
	}
	add := make([]any, len(m.Add))
	for i, el := range m.Add {
		add[i] = el
	}
	if add, err = s.prepare(id, add); err != nil {
		return nil, err
	}
	members, changed := edit(r.resource.List("members"), add, m.Remove)
	if !changed && next.Equal(cur) {
		return cur, nil
	}
	next = next.Clone()
	next.Set("members", members)
	if next, err = s.put(r, next); err != nil {
		return nil, err
	}
	return without(next), nil
}

func without(r *scim.Resource) *scim.Resource {
	c := &scim.Resource{}
	for name, v := range r.All() {
		if name != "members" {
			c.Set(name, v)
		}
	}
	return c
}

// edit makes another list of old, whose elements it shares.
func edit(old, add []any, remove []string) (members []any, changed bool) {
	leave, there := map[string]bool{}, map[string]bool{}
	for _, id := range remove {
		leave[id] = true
	}
	for _, v := range old {
		id := v.(*scim.Object).String("value")
		if leave[id] {
			changed = true
			continue
		}
		there[id] = true
		members = append(members, v)
	}
	for _, el := range add {
		if !there[el.(*scim.Object).String("value")] {
			changed = true
			members = append(members, el)
		}
	}
	return members, changed
}

// Delete removes a resource.
func (s *Store) Delete(_ context.Context, id string, check func(*scim.Resource) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.byID[id]
	if !ok {
		return scim.NotFound(id)
	}
	if err := check(r.resource); err != nil {
		return err
	}
	s.unindex(r)
	delete(s.byID, id)
	at, _ := slices.BinarySearchFunc(s.order, r, bySeq)
	s.order = slices.Delete(s.order, at, at+1)
	s.changed(r.resource, nil)
	return nil
}

func bySeq(a, b *row) int { return cmp.Compare(a.seq, b.seq) }

func (s *Store) stamp(r *row, id string, now time.Time) {
	r.version++
	s.rt.Stamp(r.resource, id, r.created, now, `W/"`+strconv.FormatUint(r.version, 10)+`"`)
}

func key(a *scim.Attribute, v string) string {
	if a.CaseExact {
		return v
	}
	return scim.Fold(v)
}

func (s *Store) checkUnique(r *scim.Resource, id string) error {
	for _, a := range s.unique {
		v := r.String(a.Name)
		if other, taken := s.byValue[a.Name][key(a, v)]; v != "" && taken && other != id {
			return scim.Errorf(http.StatusConflict, scim.Uniqueness, "%s is taken", a.Name)
		}
	}
	return nil
}

func (s *Store) index(r *row) {
	for _, a := range s.unique {
		if v := r.resource.String(a.Name); v != "" {
			s.byValue[a.Name][key(a, v)] = r.resource.ID()
		}
	}
	if ext := r.resource.ExternalID(); ext != "" {
		at, _ := slices.BinarySearchFunc(s.external[ext], r, bySeq)
		s.external[ext] = slices.Insert(s.external[ext], at, r)
	}
}

func (s *Store) unindex(r *row) {
	for _, a := range s.unique {
		delete(s.byValue[a.Name], key(a, r.resource.String(a.Name)))
	}
	ext := r.resource.ExternalID()
	rest := slices.DeleteFunc(s.external[ext], func(x *row) bool { return x == r })
	if len(rest) == 0 {
		delete(s.external, ext)
	} else {
		s.external[ext] = rest
	}
}

var (
	_ scim.Walker      = (*Store)(nil)
	_ scim.MemberStore = (*Store)(nil)
)
