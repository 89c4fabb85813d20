package store_test

import (
	"strconv"
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
	_ = get() // it is remembered when it is asked for again
	a := get()
	if a != get() || *a != "one" || decoded != 2 {
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

// every is a transaction in which each number is a row.
type every struct{ store.Tx }

func (every) Get(key []byte) ([]byte, bool, error) {
	parts, err := store.Parts(key)
	return []byte(`{"v":1,"row":` + parts[2] + `}`), err == nil, err
}

// Who reads every row once takes no place from a row that is read again and again.
func TestMemoKeepsWhatIsReadAgain(t *testing.T) {
	t.Parallel()
	decoded := 0
	m := store.Memo[int, int]{Table: &store.Table[int]{Name: "memo", Key: strconv.Itoa}, Of: func(n int) int { decoded++; return n }}
	get := func(i int) *int {
		p, err := m.Get(every{}, strconv.Itoa(i))
		if err != nil || *p != i {
			t.Fatalf("%v, %v", p, err)
		}
		return p
	}
	get(0)
	often := get(0)
	const rows = 40_000 // several for each place
	for i := 1; i < rows; i++ {
		get(i)
	}
	if get(0) != often {
		t.Error("those that were read once took its place")
	}
	if decoded != rows+1 {
		t.Errorf("%d were decoded", decoded)
	}
}
