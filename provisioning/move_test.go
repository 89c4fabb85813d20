package provisioning

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/gatehouse-sso/gatehouse/provisioning/store"
)

func (w *world) crowd(t testing.TB, n int) (ids []string) {
	t.Helper()
	for i := range n {
		ids = append(ids, w.mustCreate(t, fmt.Sprint("u", i)).ID)
	}
	return ids
}

func (w *world) mustMove(t testing.TB, g Group, m Move) Group {
	t.Helper()
	g, err := w.Move(t.Context(), g.ID, "scim:hr", m, nil)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func (w *world) inside(t testing.TB, g Group) []string {
	t.Helper()
	ids := []string{}
	for id, err := range w.Members(t.Context(), g.ID, "", 0) {
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	return ids
}

// rows counts what a table holds, entries of its indexes included.
func (w *world) rows(t testing.TB, table string) (n int) {
	t.Helper()
	w.scan(t, store.Key(table), func([]byte, []byte) { n++ })
	return n
}

// watched looks at a group after each transaction.
type watched struct {
	store.Store
	look func()
}

func (s *watched) Update(ctx context.Context, fn func(store.Tx) error) error {
	err := s.Store.Update(ctx, fn)
	if s.look != nil {
		look := s.look
		s.look = nil // what it reads is not looked at
		look()
		s.look = look
	}
	return err
}

func TestLargeMoveHappensAtOnce(t *testing.T) {
	t.Parallel()
	s := &watched{}
	w := newWorld(t, func(st store.Store) store.Store { s.Store = st; return s })
	all := w.crowd(t, 100)
	g := w.mustGroup(t, "Staff")
	w.mustMove(t, g, Move{Join: all[:5]})
	w.clock.move(time.Minute)

	seen := map[string]int{}
	s.look = func() { seen[strings.Join(w.inside(t, g), " ")]++ }
	var names []string
	after, err := w.Move(t.Context(), g.ID, "scim:hr", Move{Join: all[5:], Leave: all[:2]}, func(g *Group) error {
		names = append(names, g.Name)
		g.Name = "Everybody"
		return nil
	})
	if err != nil || after.Name != "Everybody" || after.Version != 2 || after.Moves != 6 || !after.Modified.Equal(noon.Add(time.Minute)) {
		t.Errorf("the group is %+v, %v", after, err)
	}
	if _, was := seen[strings.Join(all[:5], " ")]; len(seen) != 2 || !was || seen[strings.Join(all[2:], " ")] != 1 {
		t.Errorf("%d states were seen: %v", len(seen), slices.Collect(maps.Values(seen)))
	}
	// It is true before anybody is told, and still when all are.
	check := func() {
		if diff := cmp.Diff(all[2:], w.inside(t, g)); diff != "" {
			t.Error(diff)
		}
		for i, id := range []string{all[0], all[4], all[99]} {
			if got := w.groupNames(t, id); (len(got) == 1) != (i > 0) {
				t.Errorf("%s is in %v", id, got)
			}
		}
	}
	check()
	if n := len(w.tolds(t, all[99])); n != 1 {
		t.Errorf("the last member was told %d times before the task", n)
	}
	s.look = func() {
		if got := w.inside(t, g); len(got) != 98 {
			t.Fatalf("%d members while they become edges", len(got))
		}
	}
	w.runTasks(t)
	s.look = nil
	check()
	for i, id := range []string{all[0], all[99]} { // the second is told of the name after that
		ts := w.tolds(t, id)
		if d := ts[len(ts)-1-i].Delta; i == 0 && !slices.Equal(d.Left, []string{g.ID}) || i == 1 && !slices.Equal(d.Joined, []string{g.ID}) || d.By != "scim:hr" {
			t.Errorf("%s was told %+v", id, d)
		}
	}
	if w.rows(t, "shift")+w.rows(t, "flip") != 0 {
		t.Error("shifts are left")
	}
	// Again, it makes no difference.
	before := w.dump(t)
	if again := w.mustMove(t, g, Move{Join: all[5:], Leave: all[:2]}); again != after {
		t.Errorf("%+v, not %+v", again, after)
	}
	if diff := cmp.Diff(before, w.dump(t)); diff != "" {
		t.Error(diff)
	}
}

func TestMoveThatIsRefusedLeavesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	all := w.crowd(t, 40)
	g, inner := w.mustGroup(t, "Staff"), w.mustGroup(t, "IT")
	w.mustMove(t, g, Move{Join: all[:1]})
	no := errors.New("no")
	before := w.dump(t)
	for _, n := range []int{3, 40} {
		for name, c := range map[string]struct {
			m    Move
			edit func(*Group) error
			want error
		}{
			"by its edit":           {Move{Join: all[:n]}, func(*Group) error { return no }, no},
			"nobody of that ID":     {Move{Leave: all[:1], Join: append(slices.Clone(all[1:n]), "nobody")}, nil, ErrNotFound},
			"itself inside":         {Move{Join: all[:n], Nest: []string{g.ID}}, nil, ErrCycle},
			"no such group inside":  {Move{Join: all[:n], Nest: []string{"nowhere"}}, nil, ErrNotFound},
			"a version of its own":  {Move{Join: all[:n]}, func(g *Group) error { g.Moves++; return nil }, new(Invalid)},
			"too many groups":       {Move{Join: all[:n], Nest: make([]string, MaxNests+1)}, nil, new(Invalid)},
			"a name that is taken":  {Move{Join: all[:n]}, func(g *Group) error { g.Name = "it"; return nil }, new(Conflict)},
			"one that is no group":  {Move{Join: all[:n]}, func(g *Group) error { g.Store = "nowhere"; return nil }, new(Invalid)},
			"more than one reason ": {Move{Join: append(slices.Clone(all[:n]), "nobody"), Nest: []string{inner.ID}}, func(*Group) error { return no }, nil},
		} {
			_, err := w.Move(t.Context(), g.ID, Admin, c.m, c.edit)
			var invalid *Invalid
			var taken *Conflict
			switch c.want.(type) {
			case nil:
				if err == nil {
					t.Errorf("%s: no error", name)
				}
			case *Invalid:
				if !errors.As(err, &invalid) {
					t.Errorf("%s: %v", name, err)
				}
			case *Conflict:
				if !errors.As(err, &taken) || taken.Reason() != ReasonConflict {
					t.Errorf("%s: %v", name, err)
				}
			default:
				if !errors.Is(err, c.want) {
					t.Errorf("%s: %v", name, err)
				}
			}
			if diff := cmp.Diff(before, w.dump(t)); diff != "" {
				t.Fatalf("%s with %d: %s", name, n, diff)
			}
		}
	}
	if _, err := w.CreateGroup(t.Context(), Group{Store: "primary", Name: "New"}, Admin, Move{Join: append(all, "nobody")}); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	if diff := cmp.Diff(before, w.dump(t)); diff != "" {
		t.Error(diff)
	}
	made, err := w.CreateGroup(t.Context(), Group{Store: "primary", Name: "New"}, Admin, Move{Join: all, Nest: []string{inner.ID}})
	if err != nil || made.Version != 1 {
		t.Fatal(made, err)
	}
	if in, err := w.Inside(t.Context(), made.ID); len(w.inside(t, made)) != 40 || err != nil || len(in) != 1 {
		t.Error("not everybody is in", err)
	}
}

// What a process that died has left aside is never in force, and swept.
func TestShiftsOfTheDeadAreSwept(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	all := w.crowd(t, 40)
	g := w.mustGroup(t, "Staff")
	if n, err := w.aside(t.Context(), "of-the-dead", g.ID, Move{Join: all}); n != 40 || err != nil {
		t.Fatal(n, err)
	}
	if got := w.inside(t, g); len(got) != 0 || w.groupNames(t, all[0]) != nil {
		t.Errorf("%v are in it", got)
	}
	sweep := func() {
		for more := true; more; {
			var err error
			if more, err = w.Sweep(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	if sweep(); w.rows(t, "shift") != 40*3 {
		t.Error("the shifts of somebody who may still be at it were swept")
	}
	w.mustMove(t, g, Move{Join: all[:20]}) // another, in force
	w.clock.move(shiftLife + time.Minute)
	if sweep(); w.rows(t, "shift") != 20*3 || len(w.inside(t, g)) != 20 {
		t.Errorf("%d rows are left", w.rows(t, "shift"))
	}
	w.mustMove(t, g, Move{Leave: all[:20]})
	if err := w.DeleteGroup(t.Context(), g.ID, Admin); err != nil {
		t.Fatal(err)
	}
	w.runTasks(t)
	w.clock.move(shiftLife + time.Minute)
	if sweep(); w.rows(t, "shift")+w.rows(t, "flip")+w.rows(t, "roll") != 0 {
		t.Error("something is left")
	}
}

func TestSC58_ParallelMovesAllHappen(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	all := w.crowd(t, 60)
	g := w.mustGroup(t, "Staff")
	w.mustMove(t, g, Move{Join: all[50:]})
	var wg sync.WaitGroup
	for i := range 5 { // five large ones, and ten small ones
		wg.Go(func() { w.mustMove(t, g, Move{Join: all[8*i : 8*i+8]}) })
		wg.Go(func() { w.mustMove(t, g, Move{Join: all[40+2*i : 42+2*i]}) })
		wg.Go(func() { w.mustMove(t, g, Move{Leave: all[50+2*i : 52+2*i]}) })
	}
	wg.Wait()
	w.runTasks(t)
	if diff := cmp.Diff(all[:50], w.inside(t, g)); diff != "" {
		t.Error(diff)
	}
	// A change written aside counts as one; of the others each member does.
	if got, _ := w.Group(t.Context(), g.ID); got.Moves != 1+5+10+10 {
		t.Errorf("%d changes were counted", got.Moves)
	}
}

// Whatever happens while large changes are on their way, and however far they
// have come: who is in a group is what the changes say, one after the other.
func TestMovesDoWhatAModelDoes(t *testing.T) {
	t.Parallel()
	runs := 0
	rapid.Check(t, func(rt *rapid.T) {
		if runs++; runs > 25 && !big {
			return // each opens a store
		}
		w := newWorld(t)
		all := w.crowd(t, 15)
		gs := []Group{w.mustGroup(t, "a"), w.mustGroup(t, "b")}
		in := []map[string]bool{{}, {}}
		gone := map[string]bool{}
		some := func(label string) []string {
			return rapid.SliceOfNDistinct(rapid.SampledFrom(all), 0, 12, rapid.ID[string]).Draw(rt, label)
		}
		rt.Repeat(map[string]func(*rapid.T){
			"move": func(rt *rapid.T) {
				i := rapid.IntRange(0, 1).Draw(rt, "group")
				join := slices.DeleteFunc(some("join"), func(id string) bool { return gone[id] })
				leave := slices.DeleteFunc(some("leave"), func(id string) bool { return slices.Contains(join, id) })
				w.mustMove(t, gs[i], Move{Join: join, Leave: leave})
				for _, id := range leave {
					delete(in[i], id)
				}
				for _, id := range join {
					in[i][id] = true
				}
			},
			"one": func(rt *rapid.T) {
				i, id := rapid.IntRange(0, 1).Draw(rt, "group"), rapid.SampledFrom(all).Draw(rt, "user")
				if gone[id] {
					rt.Skip()
				}
				var err error
				if rapid.Bool().Draw(rt, "in") {
					in[i][id] = true
					_, _, err = w.AddMember(t.Context(), gs[i].ID, id, Admin)
				} else {
					delete(in[i], id)
					_, _, err = w.RemoveMember(t.Context(), gs[i].ID, id, Admin)
				}
				if err != nil {
					rt.Fatal(err)
				}
			},
			"step": func(rt *rapid.T) {
				if _, err := w.ClearStep(t.Context(), gs[rapid.IntRange(0, 1).Draw(rt, "group")].ID); err != nil {
					rt.Fatal(err)
				}
			},
			"one becomes an edge": func(rt *rapid.T) {
				g := gs[rapid.IntRange(0, 1).Draw(rt, "group")]
				if err := w.st.Update(t.Context(), func(tx store.Tx) error {
					f, ok, err := flips.Get(tx, g.ID)
					if err != nil || !ok {
						return err
					}
					for s := range shifts.Find(tx, "change", f.Change, "", 1) {
						return w.settleOne(tx, f, s)
					}
					return nil
				}); err != nil {
					rt.Fatal(err)
				}
			},
			"delete": func(rt *rapid.T) {
				id := rapid.SampledFrom(all).Draw(rt, "user")
				if gone[id] || len(gone) > 3 {
					rt.Skip()
				}
				if err := w.Delete(t.Context(), id, Admin); err != nil {
					rt.Fatal(err)
				}
				gone[id] = true
				delete(in[0], id)
				delete(in[1], id)
			},
			"": func(rt *rapid.T) {
				for i, g := range gs {
					got := slices.DeleteFunc(w.inside(t, g), func(id string) bool { return gone[id] })
					if want := slices.Sorted(maps.Keys(in[i])); !slices.Equal(got, want) {
						rt.Fatalf("%s has %v, want %v", g.Name, got, want)
					}
				}
				for _, id := range all {
					want := ""
					for i, g := range gs {
						if in[i][id] {
							want += g.Name
						}
					}
					if gone[id] {
						continue
					}
					if got := strings.Join(w.groupNames(t, id), ""); got != want {
						rt.Fatalf("%s is in %q, want %q", id, got, want)
					}
				}
			},
		})
		// Told in the end is what is true.
		w.runTasks(t)
		for _, id := range all {
			if gone[id] {
				continue
			}
			heard := map[string]bool{}
			for _, x := range w.tolds(t, id) {
				for _, g := range x.Delta.Joined {
					heard[g] = true
				}
				for _, g := range x.Delta.Left {
					delete(heard, g)
				}
			}
			for i, g := range gs {
				if heard[g.ID] != in[i][id] {
					rt.Fatalf("%s was told that it is in %s: %v", id, g.Name, heard[g.ID])
				}
			}
		}
	})
}
