package store

import (
	"bytes"
	"hash/maphash"
	"sync/atomic"
)

// A Memo remembers what rows of a table were decoded to. It reads a row's bytes
// each time and compares them with those that it decoded, so it is never wrong,
// whoever wrote, and needs to be told of nothing. It has a fixed number of places.
// A row takes a place when it is asked for twice before another one that falls to
// that place: so who reads all rows once leaves those that are read again and again
// where they are, and nothing behind. Fill in Table and Of before its first use; it
// may be used from many goroutines.
type Memo[T, U any] struct {
	Table *Table[T]
	Of    func(T) U // makes of a row what is remembered
	slots [memoSize]slot[U]
}

type slot[U any] struct {
	holds atomic.Pointer[remembered[U]]
	asked atomic.Uint64 // hash of the key that was asked for last, and is not here
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
	hash := maphash.String(memoSeed, key)
	slot := &m.slots[hash%memoSize]
	old := slot.holds.Load()
	if old != nil && old.key == key && bytes.Equal(old.raw, raw) {
		return &old.value, nil
	}
	row, err := m.Table.decode(raw, key)
	if err != nil {
		return nil, err
	}
	r := &remembered[U]{key, raw, m.Of(row)}
	if slot.asked.Swap(hash) == hash || old != nil && old.key == key {
		slot.holds.Store(r)
	}
	return &r.value, nil
}
