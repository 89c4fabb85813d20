package provisioning

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gatehouse-sso/gatehouse/federation"
	"github.com/gatehouse-sso/gatehouse/provisioning/store"
)

// TestStoredForm pins the bytes that a directory writes, and that it reads them.
// What differs here is a change of format: rows that are there must stay readable.
func TestStoredForm(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Followers, w.SignedIn = nil, nil
	n := 0
	w.newID = func() string { n++; return fmt.Sprintf("id-%d", n) }
	fill(t, w)
	var got strings.Builder
	w.scan(t, nil, func(key, val []byte) {
		if strings.HasPrefix(string(key), "task\x00") {
			return // another package's
		}
		fmt.Fprintf(&got, "%q %q\n", key, val)
	})
	file := filepath.Join("testdata", "stored.txt")
	if *update {
		if err := os.WriteFile(file, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Error(diff)
	}

	// The same bytes in another store are the same directory.
	other := newWorld(t)
	for line := range strings.Lines(string(want)) {
		k, v, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		key, err1 := strconv.Unquote(k)
		val, err2 := strconv.Unquote(v)
		if err1 != nil || err2 != nil {
			t.Fatal(err1, err2)
		}
		if err := other.st.Update(t.Context(), func(tx store.Tx) error { return tx.Put([]byte(key), []byte(val)) }); err != nil {
			t.Fatal(err)
		}
	}
	for name, read := range map[string]func(*world) (any, error){
		"subject": func(w *world) (any, error) { return w.Subject(t.Context(), "id-1") },
		"user":    func(w *world) (any, error) { return w.ByName(t.Context(), "primary", "STRASSE") },
		"links":   func(w *world) (any, error) { return w.Links(t.Context(), "id-1") },
		"groups":  func(w *world) (any, error) { return w.GroupsOf(t.Context(), "id-1") },
	} {
		a, err1 := read(w)
		b, err2 := read(other)
		if diff := cmp.Diff(a, b); diff != "" || err1 != nil || err2 != nil {
			t.Errorf("%s: %v %v %s", name, err1, err2, diff)
		}
	}
	spent := campus("s1")
	spent.Once = []federation.Once{{Key: "assertion 1", Until: noon.Add(5 * time.Minute)}}
	other.refused(t, spent, jit(t, "campus"), federation.ReasonReplayed)
}

func fill(t *testing.T, w *world) {
	t.Helper()
	id := campus("s1", "preferred_username", "Straße", "mail", "kim@x", "groups", "a")
	id.Once = []federation.Once{{Key: "assertion 1", Until: noon.Add(90*time.Second + time.Millisecond)}, {Key: "state 1"}}
	u, _ := w.mustLogin(t, id)
	w.clock.move(1500 * time.Millisecond)
	w.mustChange(t, u.ID, Admin, func(u *User) { u.ExternalID = "hr\\7"; u.Say(Admin, "course", "<x>") })
	outer, inner := w.mustGroup(t, "Staff"), w.mustGroup(t, "IT")
	w.mustJoin(t, inner, u.ID)
	if err := w.Nest(t.Context(), outer.ID, inner.ID, "scim:hr"); err != nil {
		t.Fatal(err)
	}
	gone := w.mustCreate(t, "gone", func(u *User) { u.Store = "partners" })
	if err := w.Delete(t.Context(), gone.ID, Admin); err != nil {
		t.Fatal(err)
	}
	old := campus("s1", "mail", "kim@x", "groups", "a")
	old.Once = []federation.Once{{Key: "assertion 0", Until: noon.Add(-2 * time.Hour)}}
	w.mustLogin(t, old)
	if _, err := w.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
}
