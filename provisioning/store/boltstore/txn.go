package boltstore

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
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
	lookup *bolt.Cursor // of Get; it keeps its way through the tree, so that each need not make one
	over   *overlay     // nil: read-only
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
	err = t.s.guard(func() error {
		if t.lookup == nil {
			t.lookup = t.bucket.Cursor()
		}
		found, packed := t.lookup.Seek(key)
		if !bytes.Equal(found, key) {
			return nil
		}
		v, sound := unpack(key, packed)
		if !sound {
			return t.unsound(key)
		}
		val, ok = append([]byte{}, v...), true
		return nil
	})
	return val, ok, err
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
		disk := &cursor{t: t, to: to, c: t.bucket.Cursor()}
		theirs, ok, err := disk.seek(from)
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
				theirs, ok, err = disk.next()
				if err != nil { // what came before it is still sound
					ok = false
				}
			default:
				w := mine[0]
				mine = mine[1:]
				if ok && bytes.Equal(theirs.Key, w.key) {
					theirs, ok, err = disk.next()
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

// A cursor reads copies of pairs below to.
type cursor struct {
	t  *txn
	c  *bolt.Cursor
	to []byte
}

func (c *cursor) seek(from []byte) (store.Pair, bool, error) {
	return c.step(func() ([]byte, []byte) { return c.c.Seek(from) })
}

func (c *cursor) next() (store.Pair, bool, error) { return c.step(c.c.Next) }

func (c *cursor) step(f func() ([]byte, []byte)) (p store.Pair, ok bool, err error) {
	err = c.t.s.guard(func() error {
		key, packed := f()
		if key == nil || c.to != nil && bytes.Compare(key, c.to) >= 0 {
			return nil
		}
		val, sound := unpack(key, packed)
		if !sound {
			return c.t.unsound(key)
		}
		p, ok = store.Pair{Key: bytes.Clone(key), Val: append([]byte{}, val...)}, true
		return nil
	})
	return p, ok, err
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
