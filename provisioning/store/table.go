package store

import "iter"

// A Table keeps values of one type, as JSON, with the indexes that find them by
// something else. It is a value that describes, made once as a package variable;
// it holds no state. Key layout, each part a tuple element (see [Key]):
//
//	Name, "r", key          → the row
//	Name, "u", index, value → key of the row that has it   (unique)
//	Name, "i", index, value, key → nothing                 (plain)
//
// Put reads the old row to take its index entries away; so an index never
// points to a row that does not say so.
type Table[T any] struct {
	Name   string
	Key    func(T) string
	Unique map[string]func(T) []string // Put says ErrConflict if another row has the value
	Index  map[string]func(T) []string
}

// Get returns the row with this key.
func (t *Table[T]) Get(tx Tx, key string) (v T, ok bool, err error) { panic("to be written") }

// Put writes v, replacing a row with its key, and its index entries. An error
// that is ErrConflict is a *ConflictError naming the index.
func (t *Table[T]) Put(tx Tx, v T) error { panic("to be written") }

// Delete removes the row and its index entries; that it is not there is no error.
func (t *Table[T]) Delete(tx Tx, key string) error { panic("to be written") }

// Lookup returns the row that has value in a unique index.
func (t *Table[T]) Lookup(tx Tx, index, value string) (v T, ok bool, err error) {
	panic("to be written")
}

// Find yields the rows that have value in a plain index, ordered by key,
// those with a key greater than after, at most limit (0: all).
func (t *Table[T]) Find(tx Tx, index, value, after string, limit int) iter.Seq2[T, error] {
	panic("to be written")
}

// Range yields the rows whose plain index has a value v with from <= v < to
// (empty to: no bound), ordered by that value, at most limit (0: all).
func (t *Table[T]) Range(tx Tx, index, from, to string, limit int) iter.Seq2[T, error] {
	panic("to be written")
}

// All yields rows ordered by key, those greater than after, at most limit (0: all).
func (t *Table[T]) All(tx Tx, after string, limit int) iter.Seq2[T, error] { panic("to be written") }

// Prefix is what to Watch to learn of rows (not index entries) of this table.
func (t *Table[T]) Prefix() []byte { panic("to be written") }

// KeyOf is the row's key inside a raw key that Watch yielded under Prefix.
func (t *Table[T]) KeyOf(raw []byte) (key string, ok bool) { panic("to be written") }

// Key encodes a tuple so that bytes order as tuples do and no part can be
// mistaken for two: 0x00 in a part becomes 0x00 0xFF, each part ends in 0x00 0x01.
func Key(parts ...string) []byte { panic("to be written") }

// Parts decodes a Key.
func Parts(key []byte) ([]string, error) { panic("to be written") }

// End is the first key after all that begin with prefix (nil: none).
func End(prefix []byte) []byte { panic("to be written") }
