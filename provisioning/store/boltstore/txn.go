package boltstore

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"runtime/debug"
	"slices"

	bolt "go.etcd.io/bbolt"

	"github.com/gatehouse-sso/gatehouse/provisioning/store"
)

// errOver is what a Tx says after its function returned.
var errOver = errors.New("boltstore: the transaction is over")

// A txn is a store.Tx. Writes wait in the overlay until fn has returned nil, so
// the bucket does not change while fn reads it, and cursors stay true.
type txn struct {
	s      *Store
	bucket *bolt.Bucket
	over   *overlay // nil: read-only
	spare  *bolt.Cursor
	dead   bool
	err    error // a limit that was passed; fn can not hide it
}

func (t *txn) end() { t.dead = true }

// Get is as in [store.Tx].
func (t *txn) Get(key []byte) (val []byte, ok bool, err error) {
	if t.dead {
		return nil, false, errOver
	}
	if t.over != nil {
		if w, found := t.over.get(key); found {
			return bytes.Clone(w.val), !w.del, nil
		}
	}
	return t.onDisk(key)
}

// onDisk is what the bucket has.
func (t *txn) onDisk(key []byte) (val []byte, ok bool, err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer t.s.caught(&err)
	c := t.cursor()
	at, packed := c.Seek(key)
	if packed == nil || !bytes.Equal(at, key) {
		t.spare = c
		return nil, false, nil
	}
	v, sound := unpack(key, packed)
	if !sound {
		return nil, false, t.unsound(key)
	}
	t.spare = c
	return append([]byte{}, v...), true, nil
}

// cursor is one of the bucket's that nobody uses. Who is done with it makes it the
// spare one: a function reads many keys, and each would need its own.
func (t *txn) cursor() (c *bolt.Cursor) {
	if c, t.spare = t.spare, nil; c == nil {
		c = t.bucket.Cursor()
	}
	return c
}

func (t *txn) unsound(key []byte) error {
	return t.s.damaged(fmt.Sprintf("the value of key %q is not what was written", key))
}

// Scan is as in [store.Tx].
func (t *txn) Scan(from, to []byte, limit int) iter.Seq2[store.Pair, error] {
	return func(yield func(store.Pair, error) bool) {
		if t.dead {
			yield(store.Pair{}, errOver)
			return
		}
		var mine []write // in order, as they are when the scan begins
		if t.over != nil {
			mine = t.over.between(from, to)
		}
		disk := cursor{t: t, c: t.cursor(), from: from, to: to}
		defer func() { t.spare = disk.c }()
		theirs, ok, err := disk.step()
		for n := 0; limit <= 0 || n < limit; {
			var p store.Pair
			switch {
			case err != nil:
				yield(store.Pair{}, err)
				return
			case !ok && len(mine) == 0:
				return
			case len(mine) == 0 || ok && bytes.Compare(theirs.Key, mine[0].key) < 0:
				p = theirs
				theirs, ok, err = disk.step()
				if err != nil { // what came before it is still sound
					ok = false
				}
			default:
				w := mine[0]
				mine = mine[1:]
				if ok && bytes.Equal(theirs.Key, w.key) {
					theirs, ok, err = disk.step()
				}
				if w.del {
					continue
				}
				p = store.Pair{Key: bytes.Clone(w.key), Val: bytes.Clone(w.val)}
			}
			n++
			if !yield(p, nil) {
				return
			}
			if t.dead {
				err = errOver
			}
		}
	}
}

// A cursor reads copies of pairs, from the first that is not before from to the
// last before to.
type cursor struct {
	t        *txn
	c        *bolt.Cursor
	from, to []byte
	begun    bool
}

func (c *cursor) step() (p store.Pair, ok bool, err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer c.t.s.caught(&err)
	var key, packed []byte
	if c.begun {
		key, packed = c.c.Next()
	} else {
		key, packed = c.c.Seek(c.from)
		c.begun = true
	}
	if key == nil || c.to != nil && bytes.Compare(key, c.to) >= 0 {
		return store.Pair{}, false, nil
	}
	val, sound := unpack(key, packed)
	if !sound {
		return store.Pair{}, false, c.t.unsound(key)
	}
	return store.Pair{Key: bytes.Clone(key), Val: append([]byte{}, val...)}, true, nil
}

// Put is as in [store.Tx].
func (t *txn) Put(key, val []byte) error {
	return t.write(write{key: bytes.Clone(key), val: append([]byte{}, val...)})
}

// Delete is as in [store.Tx].
func (t *txn) Delete(key []byte) error {
	return t.write(write{key: bytes.Clone(key), del: true})
}

func (t *txn) write(w write) error {
	switch {
	case t.dead:
		return errOver
	case t.over == nil:
		return store.ErrReadOnly
	case t.err != nil:
		return t.err
	}
	t.err = t.over.add(w)
	return t.err
}

// An overlay is what one fn has written. There are at most store.MaxKeys of
// them, so a sorted slice is the simplest thing that is fast.
type overlay struct {
	writes []write // ordered by key, each key once
	keys   [][]byte
	bytes  int
}

type write struct {
	key, val []byte
	del      bool
}

func (w write) size() int { return len(w.key) + len(w.val) }

func (o *overlay) find(key []byte) (int, bool) {
	return slices.BinarySearchFunc(o.writes, key, func(w write, key []byte) int { return bytes.Compare(w.key, key) })
}

func (o *overlay) get(key []byte) (write, bool) {
	i, found := o.find(key)
	if !found {
		return write{}, false
	}
	return o.writes[i], true
}

// add records w if the limits allow it.
func (o *overlay) add(w write) error {
	switch {
	case len(w.key) == 0:
		return fmt.Errorf("%w: a key is empty", store.ErrLimit)
	case len(w.key) > store.MaxKey:
		return fmt.Errorf("%w: a key of %d bytes, %d are allowed", store.ErrLimit, len(w.key), store.MaxKey)
	case len(w.val) > store.MaxValue:
		return fmt.Errorf("%w: a value of %d bytes, %d are allowed", store.ErrLimit, len(w.val), store.MaxValue)
	}
	i, found := o.find(w.key)
	keys, size := len(o.writes)+1, o.bytes+w.size()
	if found {
		keys, size = len(o.writes), size-o.writes[i].size()
	}
	switch {
	case keys > store.MaxKeys:
		return fmt.Errorf("%w: more than %d keys written in one transaction", store.ErrLimit, store.MaxKeys)
	case size > store.MaxTxBytes:
		return fmt.Errorf("%w: more than %d bytes written in one transaction", store.ErrLimit, store.MaxTxBytes)
	}
	o.bytes = size
	if found {
		o.writes[i] = w
	} else {
		o.writes = slices.Insert(o.writes, i, w)
	}
	return nil
}

// between returns the writes with from <= key < to.
func (o *overlay) between(from, to []byte) []write {
	i, _ := o.find(from)
	j := len(o.writes)
	if to != nil {
		j, _ = o.find(to)
	}
	return slices.Clone(o.writes[i:max(i, j)])
}

// apply writes it into the bucket.
func (o *overlay) apply(b *bolt.Bucket) error {
	for _, w := range o.writes {
		var err error
		if w.del {
			err = b.Delete(w.key)
		} else {
			err = b.Put(w.key, pack(w.key, w.val))
		}
		if err != nil {
			return fmt.Errorf("boltstore: write: %w", err)
		}
		o.keys = append(o.keys, w.key)
	}
	return nil
}
