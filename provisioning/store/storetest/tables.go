package storetest

import (
	"cmp"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strconv"
	"strings"

	"pgregory.net/rapid"

	"github.com/gatehouse-sso/gatehouse/provisioning/store"
)

// A pet is the row of the suite's tables.
type pet struct {
	ID, Name string
	Tags     []string
	Note     string
}

func pets(name string) *store.Table[pet] {
	return &store.Table[pet]{
		Name:   name,
		Key:    func(p pet) string { return p.ID },
		Unique: map[string]func(pet) []string{"name": func(p pet) []string { return []string{strings.ToLower(p.Name)} }},
		Index:  map[string]func(pet) []string{"tag": func(p pet) []string { return p.Tags }},
	}
}

func ids(rows iter.Seq2[pet, error]) (string, error) {
	var got []string
	for p, err := range rows {
		if err != nil {
			return "", err
		}
		got = append(got, p.ID)
	}
	return strings.Join(got, " "), nil
}

// tableModel runs random changes of a table and compares every way to read it
// with what a map of rows says; at the end nothing may be left in the table's range.
func tableModel(e *env) {
	s := e.open()
	id := rapid.SampledFrom([]string{"1", "2", "3", "1\x00", "é"})
	name := rapid.SampledFrom([]string{"Rex", "rex", "tom", "", "a\x00b"})
	tag := rapid.SampledFrom([]string{"x", "y", "xy", "", "x\x00"})
	run := 0
	e.forAll(func(r *rapid.T) {
		run++
		t := pets(fmt.Sprintf("pets%d", run))
		rows := map[string]pet{}
		for range rapid.IntRange(1, 8).Draw(r, "changes") {
			p := pet{ID: id.Draw(r, "id"), Name: name.Draw(r, "name"), Tags: rapid.SliceOfN(tag, 0, 3).Draw(r, "tags")}
			del := rapid.IntRange(0, 3).Draw(r, "delete") == 0
			holder := ""
			for _, o := range rows {
				if o.ID != p.ID && strings.EqualFold(o.Name, p.Name) {
					holder = o.ID
				}
			}
			err := s.Update(e.ctx, func(tx store.Tx) error {
				if del {
					return t.Delete(tx, p.ID)
				}
				return t.Put(tx, p)
			})
			var c *store.ConflictError
			switch {
			case del && err == nil:
				delete(rows, p.ID)
			case !del && holder == "" && err == nil:
				rows[p.ID] = p
			case !del && holder != "" && errors.Is(err, store.ErrConflict) && errors.As(err, &c) && c.Key == holder && c.Index == "name":
			default:
				r.Fatalf("change of %+v (delete %v, name held by %q): %v", p, del, holder, err)
			}
			if err := s.View(e.ctx, func(tx store.Tx) error { return agrees(tx, t, rows) }); err != nil {
				r.Fatalf("after change of %+v (delete %v): %v", p, del, err)
			}
		}
		err := s.Update(e.ctx, func(tx store.Tx) error {
			for id := range rows {
				if err := t.Delete(tx, id); err != nil {
					return err
				}
			}
			left, err := scan(tx, string(store.Key(t.Name)), string(store.End(store.Key(t.Name))), 0)
			if err == nil && len(left) > 0 {
				err = fmt.Errorf("a table without rows leaves %q behind", left)
			}
			return err
		})
		if err != nil {
			r.Fatalf("%v", err)
		}
	})
}

// agrees compares the table with rows.
func agrees(tx store.Tx, t *store.Table[pet], rows map[string]pet) error {
	expect := func(what string, seq iter.Seq2[pet, error], want ...string) error {
		got, err := ids(seq)
		if err == nil && got != strings.Join(want, " ") {
			err = fmt.Errorf("%s = %q, want %q", what, got, strings.Join(want, " "))
		}
		return err
	}
	sorted := slices.Sorted(maps.Keys(rows))
	errs := []error{
		expect("All", t.All(tx, "", 0), sorted...),
		expect("All limited", t.All(tx, "", 2), sorted[:min(2, len(sorted))]...),
	}
	if len(sorted) > 0 {
		errs = append(errs, expect("All after the first", t.All(tx, sorted[0], 0), sorted[1:]...))
	}
	if none, err := t.Empty(tx); err != nil || none != (len(rows) == 0) {
		errs = append(errs, fmt.Errorf("Empty() = %v, %v of %d rows", none, err, len(rows)))
	}
	type at struct{ tag, id string }
	var tagged []at
	for _, p := range rows {
		got, ok, err := t.Lookup(tx, "name", strings.ToLower(p.Name))
		if err != nil || !ok || got.ID != p.ID {
			errs = append(errs, fmt.Errorf("Lookup(%q) = %+v, %v, %v", p.Name, got, ok, err))
		}
		tags := slices.Compact(slices.Sorted(slices.Values(p.Tags)))
		for _, tag := range tags {
			tagged = append(tagged, at{tag, p.ID})
		}
	}
	slices.SortFunc(tagged, func(a, b at) int { return cmp.Or(cmp.Compare(a.tag, b.tag), cmp.Compare(a.id, b.id)) })
	between := func(from, to string) (ids []string) {
		for _, a := range tagged {
			if a.tag >= from && (to == "" || a.tag < to) {
				ids = append(ids, a.id)
			}
		}
		return ids
	}
	errs = append(errs,
		expect("Range", t.Range(tx, "tag", "", "", 0), between("", "")...),
		expect("Range x to xy", t.Range(tx, "tag", "x", "xy", 0), between("x", "xy")...),
		expect("Range from xy", t.Range(tx, "tag", "xy", "", 0), between("xy", "")...))
	if all := between("", ""); len(all) > 1 {
		errs = append(errs, expect("Range limited", t.Range(tx, "tag", "", "", 1), all[0]))
	}
	for _, tag := range []string{"x", "y", "xy", "", "x\x00", "none"} {
		var want []string
		for _, a := range tagged {
			if a.tag == tag {
				want = append(want, a.id)
			}
		}
		errs = append(errs, expect("Find "+tag, t.Find(tx, "tag", tag, "", 0), want...))
		if keys, err := t.Keys(tx, "tag", tag); err != nil || !slices.Equal(keys, want) {
			errs = append(errs, fmt.Errorf("Keys(%q) = %q, %v, want %q", tag, keys, err, want))
		}
		if len(want) > 0 {
			errs = append(errs, expect("Find after the first "+tag, t.Find(tx, "tag", tag, want[0], 1), want[1:min(2, len(want))]...))
		}
	}
	for _, n := range []string{"rex", "tom", "", "a\x00b", "nobody"} {
		_, ok, err := t.Lookup(tx, "name", n)
		there := slices.ContainsFunc(sorted, func(id string) bool { return strings.ToLower(rows[id].Name) == n })
		if err != nil || ok != there {
			errs = append(errs, fmt.Errorf("Lookup(%q) = %v, %v, want %v", n, ok, err, there))
		}
	}
	return errors.Join(errs...)
}

func conflict(e *env) {
	s, t := e.open(), pets("pets")
	e.update(s, func(tx store.Tx) error { return t.Put(tx, pet{ID: "1", Name: "Rex"}) })
	before := e.all(s, "")
	err := s.Update(e.ctx, func(tx store.Tx) error {
		err := t.Put(tx, pet{ID: "2", Name: "REX", Tags: []string{"x"}})
		var c *store.ConflictError
		if !errors.As(err, &c) || !errors.Is(err, store.ErrConflict) {
			return fmt.Errorf("put said %w, want a *ConflictError", err)
		}
		e.same("conflict", *c, store.ConflictError{Table: "pets", Index: "name", Value: "rex", Key: "1"})
		return nil // a conflict leaves nothing to undo
	})
	if err != nil {
		e.Fatalf("%v", err)
	}
	e.same("after the conflict", e.all(s, ""), before)
	e.update(s, func(tx store.Tx) error { return t.Put(tx, pet{ID: "1", Name: "rEx", Note: "keeps its name"}) })
	e.update(s, func(tx store.Tx) error { return t.Delete(tx, "1") })
	e.update(s, func(tx store.Tx) error { return t.Put(tx, pet{ID: "2", Name: "rex"}) })
}

func uniqueRace(e *env) {
	s, t := e.open(), pets("pets")
	for round := range 4 {
		const n = 8
		meet := e.meeting(n)
		errs := e.together(n, func(i int) error {
			return s.Update(e.ctx, func(tx store.Tx) error {
				if _, _, err := t.Lookup(tx, "name", strconv.Itoa(round)); err != nil {
					return err
				}
				meet()
				return t.Put(tx, pet{ID: fmt.Sprintf("%d/%d", round, i), Name: strconv.Itoa(round)})
			})
		})
		won := 0
		for _, err := range errs {
			switch {
			case err == nil:
				won++
			case !errors.Is(err, store.ErrConflict):
				e.Fatalf("Put: %v", err)
			}
		}
		e.same("rows that got the name", won, 1)
	}
}

func tableWhileReading(e *env) {
	s, t := e.open(), pets("pets")
	e.update(s, func(tx store.Tx) error {
		for i := range 5 {
			if err := t.Put(tx, pet{ID: strconv.Itoa(i), Name: strconv.Itoa(i), Tags: []string{"x"}}); err != nil {
				return err
			}
		}
		return nil
	})
	e.update(s, func(tx store.Tx) error {
		var seen []string
		for p, err := range t.Find(tx, "tag", "x", "", 0) {
			if err != nil {
				return err
			}
			seen = append(seen, p.ID)
			switch p.ID {
			case "0": // a row that is gone when its turn comes, and one that has another tag
				if err := errors.Join(t.Delete(tx, "1"), t.Put(tx, pet{ID: "2", Name: "2", Tags: []string{"y"}})); err != nil {
					return err
				}
			default:
				if err := t.Delete(tx, p.ID); err != nil {
					return err
				}
			}
		}
		e.same("seen", seen, []string{"0", "3", "4"})
		return nil
	})
	e.view(s, func(tx store.Tx) error {
		got, err := ids(t.All(tx, "", 0))
		e.same("left", got, "0 2")
		return err
	})
}
