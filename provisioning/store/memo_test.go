package store_test

import (
	"testing"

	"github.com/gatehouse-sso/gatehouse/provisioning/store"
)

func TestMemoIsNeverWrong(t *testing.T) {
	t.Parallel()
	type row struct{ ID, Text string }
	table := &store.Table[row]{Name: "memo", Key: func(r row) string { return r.ID }}
	decoded := 0
	m := store.Memo[row, string]{Table: table, Of: func(r row) string { decoded++; return r.Text }}
	st := open(t)
	put := func(text string) {
		if err := st.Update(t.Context(), func(tx store.Tx) error { return table.Put(tx, row{"a", text}) }); err != nil {
			t.Fatal(err)
		}
	}
	get := func() (p *string) {
		if err := st.View(t.Context(), func(tx store.Tx) (err error) {
			p, err = m.Get(tx, "a")
			return err
		}); err != nil {
			t.Fatal(err)
		}
		return p
	}
	if get() != nil {
		t.Error("what is not there was found")
	}
	put("one")
	a := get()
	if a != get() || *a != "one" || decoded != 1 {
		t.Errorf("%q after %d decodings", *a, decoded)
	}
	put("two")
	if b := get(); *b != "two" || *a != "one" {
		t.Errorf("%q and %q", *a, *b)
	}
	// Inside a transaction what it wrote itself counts, and outside only if it is committed.
	_ = st.Update(t.Context(), func(tx store.Tx) error {
		if err := table.Put(tx, row{"a", "three"}); err != nil {
			return err
		}
		if p, err := m.Get(tx, "a"); err != nil || *p != "three" {
			t.Errorf("%v, %v", p, err)
		}
		return store.ErrConflict
	})
	if b := get(); *b != "two" {
		t.Errorf("%q was never committed", *b)
	}
}
