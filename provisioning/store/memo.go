package store

import (
	"bytes"
	"hash/maphash"
	"sync/atomic"
)

// A Memo remembers what rows of a table were decoded to. It reads a row's bytes
// each time and compares them with those that it decoded, so it is never wrong,
// whoever wrote, and needs to be told of nothing. It has a fixed number of places;
// rows that fall to one place take it from each other. Fill in Table and Of before
// its first use; it may be used from many goroutines.
type Memo[T, U any] struct {
	Table *Table[T]
	Of    func(T) U // makes of a row what is remembered
	slots [memoSize]atomic.Pointer[remembered[U]]
}

const memoSize = 8192

type remembered[U any] struct {
	key   string
	raw   []byte
	value U
}

// memoSeed spreads keys over places.
var memoSeed = maphash.MakeSeed()

// Get returns what the row with this key is, nil if it is not there. It is shared,
// and the same pointer for as long as the row is the same and was not forgotten:
// the caller changes nothing in it.
func (m *Memo[T, U]) Get(tx Tx, key string) (*U, error) {
	raw, ok, err := tx.Get(Key(m.Table.Name, "r", key))
	if err != nil || !ok {
		return nil, err
	}
	slot := &m.slots[maphash.String(memoSeed, key)%memoSize]
	if r := slot.Load(); r != nil && r.key == key && bytes.Equal(r.raw, raw) {
		return &r.value, nil
	}
	row, err := m.Table.decode(raw, key)
	if err != nil {
		return nil, err
	}
	r := &remembered[U]{key, raw, m.Of(row)}
	slot.Store(r)
	return &r.value, nil
}
