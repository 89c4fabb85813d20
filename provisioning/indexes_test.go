package provisioning

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gatehouse-sso/gatehouse/provisioning/store"
)

func (w *world) ids(t testing.TB, users func(func(*User, error) bool)) []string {
	t.Helper()
	ids := []string{}
	for u, err := range users {
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, u.ID)
	}
	return ids
}

func (w *world) mustCount(t testing.TB, userStore string) int {
	t.Helper()
	n, err := w.Count(t.Context(), userStore)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// A store that was written before there were indexes gets them, in as many steps
// as it takes, and broken off anywhere.
func TestD10R37_AStoreOfAnEarlierFormIsBuiltAlsoWhereThatIsBrokenOff(t *testing.T) {
	t.Parallel()
	load := func(w *world) {
		t.Helper()
		raw, err := os.ReadFile(filepath.Join("testdata", "stored-1.txt"))
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(raw)) {
			k, v, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
			key, err1 := strconv.Unquote(k)
			val, err2 := strconv.Unquote(v)
			if err := errors.Join(err1, err2, w.st.Update(t.Context(), func(tx store.Tx) error { return tx.Put([]byte(key), []byte(val)) })); err != nil {
				t.Fatal(err)
			}
		}
		// As the program before wrote them: rows, and the indexes that it had.
		old := *users
		old.Index = map[string]func(userRow) []string{"by_name": users.Index["by_name"], "external": users.Index["external"]}
		for i := range 120 {
			u := userRow{
				ID: fmt.Sprintf("old-%03d", i), Store: "primary", UserName: fmt.Sprint("old", i), Modified: noon.Add(time.Duration(i) * time.Minute),
				Attributes: map[string][]Claim{"mail": {{Source: Admin, Values: []string{fmt.Sprintf("Old%d@x", i)}}}},
			}
			if err := w.st.Update(t.Context(), func(tx store.Tx) error { return old.Put(tx, u) }); err != nil {
				t.Fatal(err)
			}
		}
	}
	whole := newWorld(t)
	load(whole)
	if n := whole.mustCount(t, "primary"); n != 0 {
		t.Fatal("it was counted before", n)
	}
	rows := 0
	if err := Build(t.Context(), whole.st, func(n int) { rows = n }); err != nil || rows != 121 {
		t.Fatal(rows, err)
	}
	want := whole.dump(t)
	if n := whole.mustCount(t, "primary"); n != 121 {
		t.Errorf("%d users are counted", n)
	}
	if got := whole.ids(t, whole.ByMail(t.Context(), "primary", "oLD7@x")); !slices.Equal(got, []string{"old-007"}) {
		t.Error(got)
	}
	if got := whole.ids(t, whole.InOrder(t.Context(), "primary", ByModified, Place{}, 3)); !slices.Equal(got, []string{"old-000", "id-1", "old-001"}) {
		t.Error(got)
	}
	if err := Build(t.Context(), whole.st, func(int) { t.Error("built again") }); err != nil {
		t.Error(err)
	}
	for _, stop := range []int{1, 2, 3, 4} {
		w := newWorld(t)
		load(w)
		ctx, cancel := context.WithCancel(t.Context())
		n := 0
		err := Build(ctx, w.st, func(int) {
			if n++; n == stop {
				cancel()
			}
		})
		if !errors.Is(err, context.Canceled) && n >= stop {
			t.Fatal(n, err)
		}
		if err := Build(t.Context(), w.st, nil); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, w.dump(t)); diff != "" {
			t.Error(diff)
		}
		cancel()
	}
}

func TestUsersAreCountedAsTheyComeAndGo(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"plain", "twice"} {
		w := newWorld(t, engines[name]...)
		ids := w.crowd(t, 20)
		other := w.mustCreate(t, "x", func(u *User) { u.Store = "partners" })
		w.mustChange(t, other.ID, Admin, func(u *User) { u.UserName = "y" })
		if err := w.Delete(t.Context(), ids[3], Admin); err != nil {
			t.Fatal(err)
		}
		_ = w.Delete(t.Context(), ids[3], Admin)
		if a, b := w.mustCount(t, "primary"), w.mustCount(t, "partners"); a != 19 || b != 1 {
			t.Errorf("%s: %d and %d", name, a, b)
		}
		w.mustChange(t, other.ID, Admin, func(u *User) { u.Store = "primary" })
		if a, b := w.mustCount(t, "primary"), w.mustCount(t, "partners"); a != 20 || b != 0 {
			t.Errorf("%s: %d and %d", name, a, b)
		}
		if err := count(t.Context(), w.st); err != nil {
			t.Fatal(err)
		}
		if a, b := w.mustCount(t, "primary"), w.mustCount(t, "partners"); a != 20 || b != 0 {
			t.Errorf("%s: %d and %d when counted anew", name, a, b)
		}
	}
}

func TestUsersAreReadInEachOrderFromAnyPlace(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var all []User
	for _, name := range []string{"carol", "Bob", "änne", "alice", "bobby"} {
		w.clock.move(time.Second)
		all = append(all, w.mustCreate(t, name))
	}
	w.mustCreate(t, "aaron", func(u *User) { u.Store = "partners" })
	w.clock.move(time.Second)
	w.mustChange(t, all[1].ID, Admin, func(u *User) { u.Say(Admin, "title", "x") })
	for o, want := range map[Order][]int{ByCreation: {0, 1, 2, 3, 4}, ByUserName: {3, 1, 4, 0, 2}, ByModified: {0, 2, 3, 4, 1}} {
		var ids []string
		for _, i := range want {
			ids = append(ids, all[i].ID)
		}
		if diff := cmp.Diff(ids, w.ids(t, w.InOrder(t.Context(), "primary", o, Place{}, 0))); diff != "" {
			t.Errorf("%s: %s", o, diff)
		}
		for n := range 7 {
			at, skipped, err := w.Skip(t.Context(), "primary", o, Place{}, n)
			if err != nil || skipped != min(n, 5) {
				t.Errorf("%s: %d skipped of %d, %v", o, skipped, n, err)
			}
			if diff := cmp.Diff(ids[min(n, 5):min(n+2, 5)], w.ids(t, w.InOrder(t.Context(), "primary", o, at, 2))); diff != "" {
				t.Errorf("%s after %d: %s", o, n, diff)
			}
		}
	}
	at := ByModified.At("primary", all[2].Modified)
	if got := w.ids(t, w.InOrder(t.Context(), "primary", ByModified, at, 0)); !slices.Equal(got, []string{all[2].ID, all[3].ID, all[4].ID, all[1].ID}) {
		t.Error(got)
	}
}

// Also somebody with very many or very long addresses is found by each.
func TestEveryAddressIsFound(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	long := strings.Repeat("ä", 400) + "@x"
	var many []string
	for i := range 40 {
		many = append(many, fmt.Sprintf("m%d@x", i))
	}
	for name, mails := range map[string][]string{"one": {"One@X"}, "long": {long}, "many": many} {
		w.mustCreate(t, name, func(u *User) { u.Say("scim:hr", "mail", mails...) })
	}
	kept := w.mustCreate(t, "kept", func(u *User) { u.Say("scim:hr", Kept, `{"emails":[{"value":"home@x","type":"home"},{"type":"work"}]}`) })
	w.mustCreate(t, "broken", func(u *User) { u.Say("scim:hr", Kept, `{"emails":7`) })
	names := func(addr string) (got []string) {
		for u, err := range w.ByMail(t.Context(), "primary", addr) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, u.UserName)
		}
		slices.Sort(got)
		return got
	}
	for addr, want := range map[string][]string{"one@x": {"many", "one"}, strings.ToUpper(long): {"long", "many"}, "m7@x": {"many"}, "HOME@x": {"kept", "many"}} {
		if got := names(addr); !slices.Equal(got, want) {
			t.Errorf("%.20s finds %v, want %v", addr, got, want)
		}
	}
	w.mustChange(t, kept.ID, "scim:hr", func(u *User) { u.Say("scim:hr", Kept) })
	if got := names("home@x"); !slices.Equal(got, []string{"many"}) {
		t.Errorf("who has it no more is found: %v", got)
	}
}

func TestPeekIsTheSameUntilSomethingChanges(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u := w.mustCreate(t, "kim")
	peek := func() *User {
		p, err := w.Peek(t.Context(), u.ID)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	_ = peek() // who is read again is remembered
	a := peek()
	if a != peek() || a.UserName != "kim" {
		t.Error("the same user is another")
	}
	w.mustChange(t, u.ID, Admin, func(u *User) { u.Active = false })
	if b := peek(); a == b || b.Active || !a.Active {
		t.Error("what changed is not seen, or what was read has changed")
	}
	// What others get is theirs to change.
	got, err := w.User(t.Context(), u.ID)
	if err != nil {
		t.Fatal(err)
	}
	got.Say(Admin, "title", "x")
	if len(peek().Attributes) != 0 {
		t.Error("a copy is shared")
	}
	if err := w.Delete(t.Context(), u.ID, Admin); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Peek(t.Context(), u.ID); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
}
