package provisioning

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gatehouse-sso/gatehouse/provisioning/store"
	"github.com/gatehouse-sso/gatehouse/provisioning/task"
)

func (w *world) mustGroup(t testing.TB, name string) Group {
	t.Helper()
	g, err := w.CreateGroup(t.Context(), Group{Store: "primary", Name: name}, Admin, Move{})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func (w *world) mustJoin(t testing.TB, g Group, userID string) Delta {
	t.Helper()
	_, d, err := w.AddMember(t.Context(), g.ID, userID, Admin)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func (w *world) groupNames(t testing.TB, userID string) []string {
	t.Helper()
	s, err := w.Subject(t.Context(), userID)
	if err != nil {
		t.Fatal(err)
	}
	gs, err := w.GroupsOf(t.Context(), userID)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, g := range gs {
		names = append(names, w.FullName(g.Store, g.Name))
	}
	slices.Sort(names)
	if diff := cmp.Diff(s.Groups, names); diff != "" {
		t.Error(diff)
	}
	return names
}

// runTasks does what the directory asked for, as a Runner would.
func (w *world) runTasks(t testing.TB) (ran int) {
	t.Helper()
	r := task.NewRunner(task.Config{Store: w.st, Handlers: map[string]task.Handler{TaskClear: w.Clear}})
	for {
		todo, err := task.List(t.Context(), w.st, task.Task{}, 0)
		if err != nil {
			t.Fatal(err)
		}
		if len(todo) == 0 {
			return ran
		}
		for _, x := range todo {
			if err := r.Now(t.Context(), x.Kind, x.Key); err != nil {
				t.Fatal(err)
			}
			ran++
		}
	}
}

func TestMembershipIsAChangeOfTheUser(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"plain", "twice"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, engines[name]...)
			u, g := w.mustCreate(t, "kim"), w.mustGroup(t, "Finance")
			w.clock.move(time.Minute)
			d := w.mustJoin(t, g, u.ID)
			if diff := cmp.Diff(Delta{UserID: u.ID, By: Admin, At: noon.Add(time.Minute), Joined: []string{g.ID}}, d); diff != "" {
				t.Error(diff)
			}
			got, err := w.User(t.Context(), u.ID)
			if err != nil || got.Version != 2 || !got.Modified.Equal(noon.Add(time.Minute)) {
				t.Errorf("%+v %v", got, err)
			}
			if diff := cmp.Diff([]string{"Finance"}, w.groupNames(t, u.ID)); diff != "" {
				t.Error(diff)
			}
			_, d, err = w.RemoveMember(t.Context(), g.ID, u.ID, Admin)
			if diff := cmp.Diff(Delta{UserID: u.ID, By: Admin, At: noon.Add(time.Minute), Left: []string{g.ID}}, d); diff != "" || err != nil {
				t.Error(err, diff)
			}
			if ts := w.tolds(t, u.ID); len(ts) != 3 || ts[1].Delta.Joined == nil || ts[2].Delta.Left == nil {
				t.Errorf("%+v", ts)
			}
			if got := w.groupNames(t, u.ID); got != nil {
				t.Error(got)
			}
			g.Moves, g.Modified = 2, noon.Add(time.Minute)
			if again, err := w.Group(t.Context(), g.ID); err != nil || again != g {
				t.Errorf("the group is %+v, want %+v: %v", again, g, err)
			}
			before := w.dump(t)
			for _, err := range []error{
				second(w.AddMember(t.Context(), "nowhere", u.ID, Admin)),
				second(w.AddMember(t.Context(), g.ID, "nobody", Admin)),
				w.Nest(t.Context(), g.ID, "nowhere", Admin),
				w.Nest(t.Context(), "nowhere", g.ID, Admin),
				w.DeleteGroup(t.Context(), "nowhere", Admin),
				second3(w.RenameGroup(t.Context(), "nowhere", "x", Admin)),
			} {
				if !errors.Is(err, ErrNotFound) {
					t.Error(err)
				}
			}
			if diff := cmp.Diff(before, w.dump(t)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func second(_ User, _ Delta, err error) error { return err }
func second3(_ Group, err error) error        { return err }

func TestC14_FiftyParallelJoinsAreAllThere(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g := w.mustGroup(t, "all")
	var want []string
	for i := range 50 {
		want = append(want, w.mustCreate(t, fmt.Sprint("u", i)).ID)
	}
	var wg sync.WaitGroup
	for _, id := range want {
		wg.Go(func() { w.mustJoin(t, g, id) })
	}
	wg.Wait()
	list := func(after string, limit int) (ids []string) {
		for id, err := range w.Members(t.Context(), g.ID, after, limit) {
			if err != nil {
				t.Fatal(err)
			}
			ids = append(ids, id)
		}
		return ids
	}
	if diff := cmp.Diff(want, list("", 0)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(want[10:15], list(want[9], 5)); diff != "" {
		t.Error(diff)
	}
}

func TestAJoinWritesTheSameHoweverLargeTheGroup(t *testing.T) {
	t.Parallel()
	size := 3_000
	if big {
		size = 50_000
	}
	var counted int
	w := newWorld(t, func(s store.Store) store.Store { return &counting{s, &counted} })
	w.Followers = nil
	g := w.mustGroup(t, "all")
	join := func() int {
		t.Helper()
		u := w.mustCreate(t, fmt.Sprint("u", w.count(t, "user")))
		counted = 0
		w.mustJoin(t, g, u.ID)
		return counted
	}
	first := join()
	for i := 0; i < size; i += clearBatch {
		if err := w.st.Update(t.Context(), func(tx store.Tx) error {
			for j := range clearBatch {
				if err := members.Put(tx, memberRow{Group: g.ID, User: fmt.Sprint("m", i+j), By: Admin}); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	if last := join(); first != last || first == 0 || first > 10 {
		t.Errorf("%d keys for the first, %d for member %d", first, last, w.count(t, "member"))
	}
}

// counting counts keys written.
type counting struct {
	store.Store
	n *int
}

func (c *counting) Update(ctx context.Context, fn func(store.Tx) error) error {
	return c.Store.Update(ctx, func(tx store.Tx) error { return fn(&countingTx{tx, c.n}) })
}

type countingTx struct {
	store.Tx
	n *int
}

func (c *countingTx) Put(key, val []byte) error { *c.n++; return c.Tx.Put(key, val) }
func (c *countingTx) Delete(key []byte) error   { *c.n++; return c.Tx.Delete(key) }

func TestNestedGroupsAreReachedOnceAndNeverInCircles(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u := w.mustCreate(t, "kim")
	a, b, c, e := w.mustGroup(t, "a"), w.mustGroup(t, "b"), w.mustGroup(t, "c"), w.mustGroup(t, "e")
	nest := func(parent, child Group) error { return w.Nest(t.Context(), parent.ID, child.ID, Admin) }
	// kim in a; a in b and c; b and c in e.
	w.mustJoin(t, a, u.ID)
	for _, x := range [][2]Group{{b, a}, {c, a}, {e, b}, {e, c}, {e, c}} {
		if err := nest(x[0], x[1]); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]string{"a", "b", "c", "e"}, w.groupNames(t, u.ID)); diff != "" {
		t.Error(diff)
	}
	before := w.dump(t)
	for _, x := range [][2]Group{{a, a}, {a, b}, {a, e}, {b, e}} {
		if err := nest(x[0], x[1]); !errors.Is(err, ErrCycle) {
			t.Errorf("%s in %s: %v", x[1].Name, x[0].Name, err)
		}
	}
	if diff := cmp.Diff(before, w.dump(t)); diff != "" {
		t.Error(diff)
	}
	if in, err := w.Inside(t.Context(), e.ID); err != nil || len(in) != 2 || in[0].Name != "b" {
		t.Errorf("%v %v", in, err)
	}
	w.runTasks(t)
	if err := w.Unnest(t.Context(), b.ID, a.ID, Admin); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"a", "c", "e"}, w.groupNames(t, u.ID)); diff != "" {
		t.Error(diff)
	}
	if err := nest(a, b); err != nil {
		t.Errorf("no circle any more: %v", err)
	}

	// Two edges that together make a circle are not both made.
	x, y := w.mustGroup(t, "x"), w.mustGroup(t, "y")
	var wg sync.WaitGroup
	errs := make([]error, 2)
	wg.Go(func() { errs[0] = nest(x, y) })
	wg.Go(func() { errs[1] = nest(y, x) })
	wg.Wait()
	if (errs[0] == nil) == (errs[1] == nil) {
		t.Error(errs)
	}
}

func TestC19_AGroupMadeAgainOrElsewhereIsAnother(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u := w.mustCreate(t, "kim", func(u *User) { u.Store = "partners" })
	theirs, err := w.CreateGroup(t.Context(), Group{Store: "partners", Name: "finance"}, Admin, Move{})
	if err != nil {
		t.Fatal(err)
	}
	ours := w.mustGroup(t, "finance")
	w.mustJoin(t, theirs, u.ID)
	if diff := cmp.Diff([]string{"partners/finance"}, w.groupNames(t, u.ID)); diff != "" {
		t.Error(diff)
	}
	// Deleted and made again is another group.
	if err := w.DeleteGroup(t.Context(), theirs.ID, Admin); err != nil {
		t.Fatal(err)
	}
	if _, err := w.CreateGroup(t.Context(), Group{Store: "partners", Name: "finance"}, Admin, Move{}); err != nil {
		t.Fatal(err)
	}
	if got := w.groupNames(t, u.ID); got != nil {
		t.Error(got)
	}
	if g, err := w.GroupByName(t.Context(), "primary", "FINANCE"); err != nil || g != ours {
		t.Error(g, err)
	}
}

func TestMembersAreToldWhenTheirGroupChanges(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"plain", "twice"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, engines[name]...)
			outer, inner, innermost, other := w.mustGroup(t, "outer"), w.mustGroup(t, "inner"), w.mustGroup(t, "innermost"), w.mustGroup(t, "other")
			for _, x := range [][2]Group{{outer, inner}, {inner, innermost}} {
				if err := w.Nest(t.Context(), x[0].ID, x[1].ID, Admin); err != nil {
					t.Fatal(err)
				}
			}
			var people []User // in outer, inner, innermost, other in turn; enough for several steps
			for i := range 3*clearBatch + 4 {
				u := w.mustCreate(t, fmt.Sprint("u", i))
				w.mustJoin(t, []Group{outer, inner, innermost, other}[min(i%12, 3)], u.ID)
				people = append(people, u)
			}
			gone := people[1]
			if err := w.Delete(t.Context(), gone.ID, Admin); err != nil {
				t.Fatal(err)
			}
			w.runTasks(t)

			last := func(u User) Delta {
				ts := w.tolds(t, u.ID)
				return ts[len(ts)-1].Delta
			}
			check := func(what string, touched map[int]bool, want func(Delta, int) bool) {
				t.Helper()
				before := map[string]uint64{}
				for _, u := range people {
					before[u.ID] = uint64(len(w.tolds(t, u.ID)))
				}
				w.runTasks(t)
				for i, u := range people {
					n := uint64(len(w.tolds(t, u.ID))) - before[u.ID]
					if yes := touched[min(i%12, 3)] && u.ID != gone.ID; yes && (n == 0 || !want(last(u), i)) || !yes && n != 0 {
						t.Errorf("%s: %s told %d times, last %+v", what, u.UserName, n, last(u))
					}
				}
			}
			regrouped := func(d Delta, _ int) bool { return len(d.Regrouped) == 1 && d.By == System }

			if _, err := w.RenameGroup(t.Context(), outer.ID, "Outside", Admin); err != nil {
				t.Fatal(err)
			}
			if got := w.groupNames(t, people[0].ID); !slices.Contains(got, "Outside") {
				t.Error("renamed only after the task")
			}
			check("renamed", map[int]bool{0: true, 1: true, 2: true}, regrouped)
			if _, err := w.RenameGroup(t.Context(), outer.ID, "Outside", Admin); err != nil {
				t.Fatal(err)
			}
			if n := w.runTasks(t); n != 0 {
				t.Errorf("%d tasks for nothing", n)
			}
			if err := w.Unnest(t.Context(), inner.ID, innermost.ID, Admin); err != nil {
				t.Fatal(err)
			}
			check("unnested", map[int]bool{2: true}, regrouped)
			if err := w.Nest(t.Context(), inner.ID, innermost.ID, Admin); err != nil {
				t.Fatal(err)
			}
			check("nested", map[int]bool{2: true}, regrouped)

			if err := w.DeleteGroup(t.Context(), inner.ID, Admin); err != nil {
				t.Fatal(err)
			}
			if got := w.groupNames(t, people[2].ID); cmp.Diff([]string{"innermost"}, got) != "" {
				t.Errorf("still in %v before the task", got)
			}
			check("deleted", map[int]bool{1: true, 2: true}, func(d Delta, i int) bool {
				return i%12 == 1 && cmp.Diff([]string{inner.ID}, d.Left) == "" || i%12 == 2 && regrouped(d, i)
			})
			if n := w.count(t, "nest"); n != 0 {
				t.Errorf("%d edges between groups are left", n)
			}
			if n := w.count(t, "touch"); n != 0 {
				t.Errorf("%d requests are left", n)
			}
			for _, err := range w.Members(t.Context(), inner.ID, "", 0) {
				t.Error("a member is left", err)
			}
			if err := second(w.AddMember(t.Context(), inner.ID, people[0].ID, Admin)); !errors.Is(err, ErrNotFound) {
				t.Error(err)
			}
		})
	}
}

func TestDeletedGroupsLeaveNothingButTheirTombstones(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u := w.mustCreate(t, "kim")
	var chain []Group
	for i := range 4 {
		chain = append(chain, w.mustGroup(t, fmt.Sprint("g", i)))
		w.mustJoin(t, chain[i], u.ID)
		if i > 0 {
			if err := w.Nest(t.Context(), chain[i-1].ID, chain[i].ID, Admin); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, i := range []int{2, 1, 3, 0} { // inner ones before outer ones, and after them
		if err := w.DeleteGroup(t.Context(), chain[i].ID, Admin); err != nil {
			t.Fatal(err)
		}
	}
	w.runTasks(t)
	for table, want := range map[string]int{"group": 0, "member": 0, "nest": 0, "touch": 0, "task": 0, "tombstone": 4} {
		if n := w.count(t, table); n != want {
			t.Errorf("%d rows of %s", n, table)
		}
	}
}

func TestClearingMayBreakOffAnywhere(t *testing.T) {
	t.Parallel()
	fail := 1 << 30
	w := newWorld(t, func(s store.Store) store.Store { return &breaking{s, &fail} })
	g := w.mustGroup(t, "g")
	var ids []string
	for i := range clearBatch + 5 {
		ids = append(ids, w.mustCreate(t, fmt.Sprint("u", i)).ID)
		w.mustJoin(t, g, ids[i])
	}
	if _, err := w.RenameGroup(t.Context(), g.ID, "h", Admin); err != nil {
		t.Fatal(err)
	}
	broken := 0
	for round := 1; ; round++ {
		fail = round // the first update that does not happen
		if err := w.Clear(t.Context(), g.ID); err == nil {
			break
		}
		broken++
	}
	if broken < 3 {
		t.Errorf("broke off %d times", broken)
	}
	for _, id := range ids {
		ts := w.tolds(t, id)
		if len(ts) < 3 || ts[len(ts)-1].Delta.Regrouped == nil {
			t.Errorf("%s was not told: %d", id, len(ts))
		}
	}
	// A change while its members are told is told to all of them.
	fail = 1 << 30
	for _, name := range []string{"i", "j"} {
		if _, err := w.RenameGroup(t.Context(), g.ID, name, Admin); err != nil {
			t.Fatal(err)
		}
		if name == "i" {
			if more, err := w.ClearStep(t.Context(), g.ID); err != nil || !more {
				t.Fatal(more, err)
			}
		}
	}
	before := len(w.tolds(t, ids[0]))
	w.runTasks(t)
	if n := len(w.tolds(t, ids[0])); n != before+1 {
		t.Errorf("the first member was told %d times", n-before)
	}
}

func TestAChangeWhileMembersAreToldIsToldToAll(t *testing.T) {
	t.Parallel()
	var before func()
	w := newWorld(t, func(s store.Store) store.Store { return &hooked{s, &before} })
	g := w.mustGroup(t, "g")
	var ids []string
	for i := range 3 {
		ids = append(ids, w.mustCreate(t, fmt.Sprint("u", i)).ID)
		w.mustJoin(t, g, ids[i])
	}
	rename := func(name string) {
		if _, err := w.RenameGroup(t.Context(), g.ID, name, Admin); err != nil {
			t.Fatal(err)
		}
	}
	rename("first")
	updates := 0
	before = func() {
		if updates++; updates == len(ids)+1 { // all are told, which is not noted yet
			before = nil
			rename("second")
		}
	}
	if more, err := w.ClearStep(t.Context(), g.ID); err != nil || !more || before != nil {
		t.Fatal(more, err)
	}
	w.runTasks(t)
	for _, id := range ids {
		if n := len(w.tolds(t, id)); n != 4 { // created, joined, first, second
			t.Errorf("%s was told %d times", id, n)
		}
	}
}

// hooked calls a function before each update.
type hooked struct {
	store.Store
	before *func()
}

func (h *hooked) Update(ctx context.Context, fn func(store.Tx) error) error {
	if f := *h.before; f != nil {
		f()
	}
	return h.Store.Update(ctx, fn)
}

// breaking lets only so many updates happen.
type breaking struct {
	store.Store
	left *int
}

func (b *breaking) Update(ctx context.Context, fn func(store.Tx) error) error {
	if *b.left--; *b.left < 0 {
		return errors.New("broken off")
	}
	return b.Store.Update(ctx, fn)
}

func TestGroupsAreFoundAndTold(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var heard []string
	w.GroupFollowers = append(w.GroupFollowers, func(_ store.Tx, before, after Group, by Source) error {
		heard = append(heard, fmt.Sprintf("%s→%s v%d by %s", before.Name, after.Name, after.Version, by))
		return nil
	})
	g := w.mustGroup(t, "Staff")
	changed, err := w.ChangeGroup(t.Context(), g.ID, "scim:hr", func(g *Group) error { g.ExternalID = "e"; g.Name = "staff"; return nil })
	if err != nil || changed.Version != 2 || changed.Name != "staff" {
		t.Fatal(changed, err)
	}
	if same, err := w.ChangeGroup(t.Context(), g.ID, Admin, func(g *Group) error { return nil }); err != nil || same != changed {
		t.Error(same, err)
	}
	w.mustGroup(t, "other")
	before := w.dump(t)
	for _, fn := range []func(*Group) error{
		func(g *Group) error { g.Name = "OTHER"; return nil },
		func(g *Group) error { g.Name = ""; return nil },
		func(g *Group) error { g.Store = "x"; return nil },
		func(g *Group) error { g.ID = "x"; return nil },
		func(g *Group) error { g.Version++; return nil },
		func(g *Group) error { g.ExternalID = strings.Repeat("x", 999); return nil },
	} {
		if _, err := w.ChangeGroup(t.Context(), g.ID, Admin, fn); reason(err) != ReasonInvalid && reason(err) != ReasonConflict {
			t.Error(err)
		}
	}
	if diff := cmp.Diff(before, w.dump(t)); diff != "" {
		t.Error(diff)
	}
	var names []string
	for g, err := range w.SearchGroups(t.Context(), "primary", "S", "", 0) {
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, g.Name)
	}
	for g, err := range w.Groups(t.Context(), g.ID, 0) {
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, g.Name)
	}
	if diff := cmp.Diff([]string{"staff", "other"}, names); diff != "" {
		t.Error(diff)
	}
	if err := w.DeleteGroup(t.Context(), g.ID, Admin); err != nil {
		t.Fatal(err)
	}
	want := []string{"→Staff v1 by admin", "Staff→staff v2 by scim:hr", "→other v1 by admin", "staff→ v0 by admin"}
	if diff := cmp.Diff(want, slices.DeleteFunc(heard, func(s string) bool { return strings.Contains(s, "→OTHER") })); diff != "" {
		t.Error(diff)
	}
}
