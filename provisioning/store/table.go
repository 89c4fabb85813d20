package store

import (
	"bytes"
	"encoding/json"
	"fmt"
	"iter"
	"slices"
)

// A Table keeps values of one type, as JSON, with the indexes that find them by
// something else. It is a value that describes, made once as a package variable;
// it holds no state. Key layout, each part a tuple element (see [Key]):
//
//	Name, "r", key                → {"v":1,"row":…}     the row
//	Name, "u", index, value       → key of the row that has it   (unique)
//	Name, "i", index, value, key  → nothing                      (plain)
//
// v is the form of the row, so that a program can tell rows it can not read
// from rows that are broken: it refuses a form that is not its own.
//
// Put reads the old row to take its index entries away; so an index never
// points to a row that does not say so. The functions must say the same of the
// same value for as long as rows live. An index that is added to a table finds
// only rows that were put since, until [Table.Reindex] has passed over all.
type Table[T any] struct {
	Name   string
	Key    func(T) string              // never empty
	Unique map[string]func(T) []string // Put says ErrConflict if another row has the value
	Index  map[string]func(T) []string
	// Read reads the JSON of a row that Put wrote, for rows that are read so often that
	// encoding/json is too slow. false: it is not as Put writes it, and read as any
	// other JSON is. nil: all are.
	Read func(row []byte) (T, bool)
}

// form is the stored form of rows, the v in {"v":1,…}.
const form = 1

// stored is what the value of a row's key is.
type stored[T any] struct {
	V   int `json:"v"`
	Row T   `json:"row"`
}

// A ConflictError says which unique value is taken. It is ErrConflict.
type ConflictError struct {
	Table, Index, Value string
	Key                 string // of the row that has the value
}

func (e *ConflictError) Error() string {
	return fmt.Sprintf("store: conflict: %s %q in %s is taken by %q", e.Index, e.Value, e.Table, e.Key)
}

// Is makes the error ErrConflict.
func (e *ConflictError) Is(target error) bool { return target == ErrConflict }

// Get returns the row with this key.
func (t *Table[T]) Get(tx Tx, key string) (v T, ok bool, err error) {
	b, ok, err := tx.Get(Key(t.Name, "r", key))
	if err != nil || !ok {
		return v, false, err
	}
	v, err = t.decode(b, key)
	return v, err == nil, err
}

// Around the row in what is stored, as Put writes it.
var rowBegins, rowEnds = []byte(`{"v":1,"row":`), []byte(`}`)

func (t *Table[T]) decode(b []byte, key string) (T, error) {
	if t.Read != nil {
		if row, ok := bytes.CutPrefix(b, rowBegins); ok {
			if row, ok = bytes.CutSuffix(row, rowEnds); ok {
				if v, ok := t.Read(row); ok {
					return v, nil
				}
			}
		}
	}
	var s stored[T]
	err := json.Unmarshal(b, &s)
	if err != nil || s.V != form {
		var none T
		var head struct {
			V int `json:"v"`
		}
		if json.Unmarshal(b, &head) == nil && head.V > form {
			return none, fmt.Errorf("store: row %q of %s has form %d, this program reads form %d: it was written by a later version", key, t.Name, head.V, form)
		}
		return none, fmt.Errorf("%w: row %q of %s can not be read: %w", ErrDamaged, key, t.Name, err)
	}
	return s.Row, nil
}

// Put writes v, replacing a row with its key, and its index entries. An error
// that is ErrConflict is a *ConflictError naming the index; nothing was written
// then, so the caller may go on.
func (t *Table[T]) Put(tx Tx, v T) error {
	old, had, err := t.Get(tx, t.Key(v))
	if err != nil {
		return err
	}
	var before []entry
	if had {
		before = t.entries(old, t.Key(v))
	}
	return t.put(tx, before, v)
}

// Swap is Put for who has read, in the same transaction and with Get, the row
// that v replaces: it is not read again. old is as Get returned it.
func (t *Table[T]) Swap(tx Tx, old, v T) error {
	if t.Key(old) != t.Key(v) {
		return fmt.Errorf("store: row %q of %s does not replace row %q", t.Key(v), t.Name, t.Key(old))
	}
	return t.put(tx, t.entries(old, t.Key(old)), v)
}

// put writes v where the index entries are those given.
func (t *Table[T]) put(tx Tx, before []entry, v T) error {
	key := t.Key(v)
	if key == "" {
		return fmt.Errorf("store: row of %s has no key", t.Name)
	}
	row, err := json.Marshal(stored[T]{form, v})
	if err != nil {
		return fmt.Errorf("store: encode row %q of %s: %w", key, t.Name, err)
	}
	after := t.entries(v, key)

	// All reads come before all writes, so that a conflict leaves nothing behind.
	for _, e := range after {
		if !e.unique {
			continue
		}
		switch holder, taken, err := tx.Get(e.raw); {
		case err != nil:
			return err
		case taken && string(holder) != key:
			return &ConflictError{Table: t.Name, Index: e.index, Value: e.value, Key: string(holder)}
		}
	}
	for _, e := range before {
		if !slices.ContainsFunc(after, e.same) {
			if err := tx.Delete(e.raw); err != nil {
				return err
			}
		}
	}
	for _, e := range after {
		if !slices.ContainsFunc(before, e.same) {
			if err := tx.Put(e.raw, e.val); err != nil {
				return err
			}
		}
	}
	return tx.Put(Key(t.Name, "r", key), row)
}

// Insert is Put for who has found, in the same transaction and with Get, that
// there is no row with v's key.
func (t *Table[T]) Insert(tx Tx, v T) error { return t.put(tx, nil, v) }

// Delete removes the row and its index entries; that it is not there is no error.
func (t *Table[T]) Delete(tx Tx, key string) error {
	v, ok, err := t.Get(tx, key)
	if err != nil || !ok {
		return err
	}
	return t.Drop(tx, v)
}

// Drop is Delete for who has read the row in the same transaction and with Get.
func (t *Table[T]) Drop(tx Tx, v T) error {
	key := t.Key(v)
	for _, e := range t.entries(v, key) {
		if err := tx.Delete(e.raw); err != nil {
			return err
		}
	}
	return tx.Delete(Key(t.Name, "r", key))
}

// An entry is one key that an index holds for a row.
type entry struct {
	raw, val     []byte
	index, value string
	unique       bool
}

func (e entry) same(o entry) bool { return bytes.Equal(e.raw, o.raw) }

// entries lists the index entries of v, each once, in the order of their keys.
func (t *Table[T]) entries(v T, key string) []entry {
	es := make([]entry, 0, len(t.Unique)+len(t.Index))
	for index, values := range t.Unique {
		for _, value := range values(v) {
			es = append(es, entry{Key(t.Name, "u", index, value), []byte(key), index, value, true})
		}
	}
	for index, values := range t.Index {
		for _, value := range values(v) {
			es = append(es, entry{Key(t.Name, "i", index, value, key), nil, index, value, false})
		}
	}
	slices.SortFunc(es, func(a, b entry) int { return bytes.Compare(a.raw, b.raw) })
	return slices.CompactFunc(es, entry.same)
}

// Lookup returns the row that has value in a unique index.
func (t *Table[T]) Lookup(tx Tx, index, value string) (v T, ok bool, err error) {
	key, ok, err := t.LookupKey(tx, index, value)
	if err != nil || !ok {
		return v, false, err
	}
	v, ok, err = t.Get(tx, key)
	if err == nil && !ok {
		err = fmt.Errorf("%w: index %s of %s names row %q, which is not there", ErrDamaged, index, t.Name, key)
	}
	return v, ok, err
}

// LookupKey is the key of the row that has value in a unique index.
func (t *Table[T]) LookupKey(tx Tx, index, value string) (key string, ok bool, err error) {
	if _, known := t.Unique[index]; !known {
		return "", false, fmt.Errorf("store: table %s has no unique index %q", t.Name, index)
	}
	raw, ok, err := tx.Get(Key(t.Name, "u", index, value))
	return string(raw), ok, err
}

// Find yields the rows that have value in a plain index, ordered by key,
// those with a key greater than after, at most limit (0: all).
func (t *Table[T]) Find(tx Tx, index, value, after string, limit int) iter.Seq2[T, error] {
	prefix := Key(t.Name, "i", index, value)
	from := prefix
	if after != "" {
		from = next(Key(t.Name, "i", index, value, after))
	}
	return t.indexed(tx, index, from, End(prefix), limit)
}

// Range yields the rows whose plain index has a value v with from <= v < to
// (empty to: no bound), ordered by that value and then by key, at most limit
// (0: all). A row with several such values comes once for each.
func (t *Table[T]) Range(tx Tx, index, from, to string, limit int) iter.Seq2[T, error] {
	end := End(Key(t.Name, "i", index))
	if to != "" {
		end = Key(t.Name, "i", index, to)
	}
	return t.indexed(tx, index, Key(t.Name, "i", index, from), end, limit)
}

// All yields rows ordered by key, those greater than after, at most limit (0: all).
func (t *Table[T]) All(tx Tx, after string, limit int) iter.Seq2[T, error] {
	from := t.Prefix()
	to := End(from)
	if after != "" {
		from = next(Key(t.Name, "r", after))
	}
	return func(yield func(T, error) bool) {
		for p, err := range tx.Scan(from, to, limit) {
			var v T
			if err == nil {
				key, _ := t.KeyOf(p.Key)
				v, err = t.decode(p.Val, key)
			}
			if !yield(v, err) || err != nil {
				return
			}
		}
	}
}

// indexed yields the rows that entries of a plain index in [from, to) name.
// Rows that the caller deletes or changes while it reads, so that the entry no
// longer holds, are passed over.
func (t *Table[T]) indexed(tx Tx, index string, from, to []byte, limit int) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		values, known := t.Index[index]
		if !known {
			yield(none, fmt.Errorf("store: table %s has no index %q", t.Name, index))
			return
		}
		n := 0
		for p, err := range tx.Scan(from, to, 0) {
			if err != nil {
				yield(none, err)
				return
			}
			parts, err := Parts(p.Key)
			if err != nil || len(parts) != 5 {
				yield(none, fmt.Errorf("%w: index %s of %s holds a key that is no entry", ErrDamaged, index, t.Name))
				return
			}
			v, ok, err := t.Get(tx, parts[4])
			if err == nil && !ok {
				var still bool
				if _, still, err = tx.Get(p.Key); still {
					err = fmt.Errorf("%w: index %s of %s names row %q, which is not there", ErrDamaged, index, t.Name, parts[4])
				}
			}
			if err != nil {
				yield(none, err)
				return
			}
			if !ok || !slices.Contains(values(v), parts[3]) {
				continue
			}
			if !yield(v, nil) {
				return
			}
			if n++; n == limit {
				return
			}
		}
	}
}

// Keys are those of the rows that have value in a plain index, in order. It reads no rows.
func (t *Table[T]) Keys(tx Tx, index, value string) (keys []string, err error) {
	from := Key(t.Name, "i", index, value)
	for p, err := range tx.Scan(from, End(from), 0) {
		if err != nil {
			return nil, err
		}
		e, err := t.entryOf(index, p.Key)
		if err != nil {
			return nil, err
		}
		keys = append(keys, e.Key)
	}
	return keys, nil
}

// Empty reports whether there are no rows.
func (t *Table[T]) Empty(tx Tx) (bool, error) {
	from := t.Prefix()
	for _, err := range tx.Scan(from, End(from), 1) {
		return false, err
	}
	return true, nil
}

// An Entry is what a plain index holds for a row. The zero Entry is before all.
type Entry struct{ Value, Key string }

// Entries yields the entries of a plain index with values from <= v < to (empty
// to: no bound) that come after an entry, in order, at most limit (0: all). It
// reads no rows: to count them, or to find the nth.
func (t *Table[T]) Entries(tx Tx, index, from, to string, after Entry, limit int) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		for p, err := range t.scan(tx, index, from, to, after, limit) {
			var e Entry
			if err == nil {
				e, err = t.entryOf(index, p.Key)
			}
			if !yield(e, err) || err != nil {
				return
			}
		}
	}
}

// Skip passes over n entries as Entries would yield them. It returns the last, or
// after if there is none, and how many there were.
func (t *Table[T]) Skip(tx Tx, index, from, to string, after Entry, n int) (last Entry, skipped int, err error) {
	var key []byte
	for p, err := range t.scan(tx, index, from, to, after, n) {
		if err != nil {
			return Entry{}, 0, err
		}
		key = p.Key
		skipped++
	}
	if key == nil {
		return after, 0, nil
	}
	last, err = t.entryOf(index, key)
	return last, skipped, err
}

func (t *Table[T]) scan(tx Tx, index, from, to string, after Entry, limit int) iter.Seq2[Pair, error] {
	var begin, end []byte
	if after != (Entry{}) && after.Value >= from {
		begin = next(Key(t.Name, "i", index, after.Value, after.Key))
	} else {
		begin = Key(t.Name, "i", index, from)
	}
	if to != "" {
		end = Key(t.Name, "i", index, to)
	} else {
		end = End(Key(t.Name, "i", index))
	}
	return tx.Scan(begin, end, limit)
}

func (t *Table[T]) entryOf(index string, key []byte) (Entry, error) {
	parts, err := Parts(key)
	if err != nil || len(parts) != 5 {
		return Entry{}, fmt.Errorf("%w: index %s of %s holds a key that is no entry", ErrDamaged, index, t.Name)
	}
	return Entry{parts[3], parts[4]}, nil
}

// Unindex takes away an entry of a plain index whose row is not there, or does
// not say so, which only damage can make. It reports whether it was such a one.
func (t *Table[T]) Unindex(tx Tx, index string, e Entry) (wrong bool, err error) {
	raw := Key(t.Name, "i", index, e.Value, e.Key)
	if _, there, err := tx.Get(raw); err != nil || !there {
		return false, err
	}
	v, ok, err := t.Get(tx, e.Key)
	if err != nil || ok && slices.Contains(t.Index[index](v), e.Value) {
		return false, err
	}
	return true, tx.Delete(raw)
}

// reindexRows are looked at in one step of Reindex at most.
const reindexRows = 1000

// Reindex writes plain index entries that rows after a key lack, as many as one
// transaction takes. It returns the key of the last row that it looked at and
// their number; none: there are no more. It may be repeated. A unique index can
// not be added so: who has a value is a decision.
func (t *Table[T]) Reindex(tx Tx, after string) (last string, rows int, err error) {
	last = after
	wrote := 0
	for v, err := range t.All(tx, after, reindexRows) {
		if err != nil {
			return "", 0, err
		}
		key := t.Key(v)
		for _, e := range t.entries(v, key) {
			if e.unique {
				continue
			}
			switch _, there, err := tx.Get(e.raw); {
			case err != nil:
				return "", 0, err
			case there:
				continue
			}
			if err := tx.Put(e.raw, e.val); err != nil {
				return "", 0, err
			}
			wrote++
		}
		last = key
		if rows++; wrote >= MaxKeys/2 { // what one row has fits into the other half
			break
		}
	}
	return last, rows, nil
}

// next is the first key after key.
func next(key []byte) []byte { return append(key, 0) }

// Prefix is what to Watch to learn of rows (not index entries) of this table.
func (t *Table[T]) Prefix() []byte { return Key(t.Name, "r") }

// KeyOf is the row's key inside a raw key that Watch yielded under Prefix.
func (t *Table[T]) KeyOf(raw []byte) (key string, ok bool) {
	parts, err := Parts(raw)
	if err != nil || len(parts) != 3 || parts[0] != t.Name || parts[1] != "r" {
		return "", false
	}
	return parts[2], true
}
