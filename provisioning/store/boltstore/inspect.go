package boltstore

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"io"
)

// The parts of bbolt's file format (version 2) that Inspect reads. A page begins
// with its header:
//
//	id u64 · flags u16 · count u16 · overflow u32 (pages that follow and belong to it)
//
// A meta page, of which there are two, goes on with
//
//	magic u32 · version u32 · page size u32 · flags u32 · root bucket (page u64 · sequence u64)
//	free list u64 · pages u64 · transaction u64 · FNV-1a-64 of the 56 bytes before
//
// A branch page has elements of  position u32 · key size u32 · page u64 , a leaf page
// of  flags u32 · position u32 · key size u32 · value size u32 . A position counts from its
// element. The value of a leaf element with the bucket flag is the bucket's page and
// sequence, and if that page is 0 the bucket's only page itself.
const (
	pageHead  = 16
	metaSize  = 64
	elemSize  = 16
	bucketTop = 16

	flagBranch = 0x01
	flagLeaf   = 0x02
	flagMeta   = 0x04

	leafBucket = 0x01

	magic      = 0xED0CDAED
	version    = 2
	noFreelist = ^uint64(0)
)

// Inspect reads a database and returns what is wrong with it, in a sentence. It
// follows every page from the root: that pages lie inside the file, that none is
// used twice, that keys are in order, and that each value is what was written.
//
// Both meta pages must be good. bbolt goes back to the older one when the newer is
// not, and so would forget the last transaction that was acknowledged. A crash
// can not make this so: a meta page's content lies in one sector, which a disk
// writes whole or not at all.
func Inspect(r io.ReaderAt, size int64) error {
	if size == 0 {
		return fmt.Errorf("the file is empty")
	}
	old, err := readMeta(r, 0, 0)
	if err != nil {
		return err
	}
	m, err := readMeta(r, 1, int64(old.pageSize))
	if err != nil {
		return err
	}
	// bbolt writes that of each transaction to page 0 or 1 by turns, but begins a backup
	// with its only one on both, the second as if of the transaction before: so it is
	// two behind after the first transaction, if that went to page 0.
	apart := uint64(1)
	if m.tx%2 == 0 && old.tx == m.tx+2 {
		apart = 2
	}
	if old.tx > m.tx {
		old, m = m, old
	}
	in := &inspector{r: r, pageSize: int64(m.pageSize), pages: m.pages}
	switch {
	case old.pageSize != m.pageSize || m.tx-old.tx != apart:
		return fmt.Errorf("its two meta pages do not belong together")
	case m.freelist != noFreelist:
		return fmt.Errorf("it was written by another program, which left a list of free pages")
	case m.pages > uint64(size)/uint64(m.pageSize):
		return fmt.Errorf("the file is cut short: %d bytes of %d", size, m.pages*uint64(m.pageSize))
	}
	in.used = make([]bool, m.pages)
	in.used[0], in.used[1] = true, true
	return in.tree(m.root, nil, nil, func(key, val []byte, isBucket bool) error {
		if !isBucket {
			return fmt.Errorf("a value stands where a bucket should")
		}
		return in.bucket(key, val)
	})
}

type meta struct {
	pageSize                  uint32
	root, freelist, pages, tx uint64
}

func readMeta(r io.ReaderAt, id uint64, at int64) (meta, error) {
	b := make([]byte, pageHead+metaSize)
	if _, err := r.ReadAt(b, at); err != nil {
		return meta{}, fmt.Errorf("meta page %d can not be read: %w", id, err)
	}
	n, m := binary.NativeEndian, b[pageHead:]
	h := fnv.New64a()
	h.Write(m[:56])
	v := meta{n.Uint32(m[8:]), n.Uint64(m[16:]), n.Uint64(m[32:]), n.Uint64(m[40:]), n.Uint64(m[48:])}
	switch {
	case n.Uint32(m) != magic || n.Uint32(m[4:]) != version:
		return meta{}, fmt.Errorf("meta page %d is not that of a bbolt database", id)
	case n.Uint64(m[56:]) != h.Sum64() || n.Uint64(b) != id || n.Uint16(b[8:]) != flagMeta:
		return meta{}, fmt.Errorf("meta page %d is damaged", id)
	case v.pageSize < 1024 || v.pageSize > 1<<16 || v.pageSize&(v.pageSize-1) != 0:
		return meta{}, fmt.Errorf("meta page %d has a page size of %d", id, v.pageSize)
	}
	return v, nil
}

// An inspector walks the trees of one database.
type inspector struct {
	r        io.ReaderAt
	pageSize int64
	pages    uint64 // pages from here on are not used
	used     []bool // by something that was walked
}

// leafFunc judges one pair of a leaf.
type leafFunc func(key, val []byte, isBucket bool) error

// bucket walks the bucket that val describes.
func (in *inspector) bucket(name, val []byte) error {
	if len(val) < bucketTop {
		return fmt.Errorf("bucket %q is cut short", name)
	}
	leaf := func(key, val []byte, isBucket bool) error {
		if isBucket {
			return fmt.Errorf("a bucket stands where a value should")
		}
		if _, ok := unpack(key, val); !ok && string(name) == string(bucketData) {
			return fmt.Errorf("the value of key %q is not what was written", key)
		}
		return nil
	}
	if root := binary.NativeEndian.Uint64(val); root != 0 {
		return in.tree(root, nil, nil, leaf)
	}
	inline := val[bucketTop:]
	if len(inline) < pageHead || binary.NativeEndian.Uint16(inline[8:]) != flagLeaf {
		return fmt.Errorf("bucket %q is damaged", name)
	}
	return in.page(0, inline, nil, nil, leaf)
}

// tree walks a page and all below it. Its keys must be at least from and, if
// to is not nil, below to.
func (in *inspector) tree(id uint64, from, to []byte, leaf leafFunc) error {
	if id >= in.pages {
		return fmt.Errorf("page %d is outside of the %d pages", id, in.pages)
	}
	head := make([]byte, pageHead)
	if _, err := in.r.ReadAt(head, int64(id)*in.pageSize); err != nil {
		return fmt.Errorf("page %d can not be read: %w", id, err)
	}
	n := binary.NativeEndian
	more := uint64(n.Uint32(head[12:]))
	if n.Uint64(head) != id || more >= in.pages-id {
		return fmt.Errorf("page %d has a damaged header", id)
	}
	for p := id; p <= id+more; p++ {
		if in.used[p] {
			return fmt.Errorf("page %d is used twice", p)
		}
		in.used[p] = true
	}
	b := make([]byte, int64(more+1)*in.pageSize)
	if _, err := in.r.ReadAt(b, int64(id)*in.pageSize); err != nil {
		return fmt.Errorf("page %d can not be read: %w", id, err)
	}
	return in.page(id, b, from, to, leaf)
}

// page walks the elements of a page whose bytes are b.
func (in *inspector) page(id uint64, b, from, to []byte, leaf leafFunc) error {
	n := binary.NativeEndian
	flags, count := n.Uint16(b[8:]), uint64(n.Uint16(b[10:]))
	if flags != flagBranch && flags != flagLeaf || flags == flagBranch && count == 0 ||
		pageHead+count*elemSize > uint64(len(b)) {
		return fmt.Errorf("page %d has a damaged header", id)
	}
	// part is size bytes that begin pos after the element at elem, if they are inside.
	part := func(elem, pos, size uint64) ([]byte, bool) {
		start := elem + pos
		if start < pageHead+count*elemSize || start+size > uint64(len(b)) {
			return nil, false
		}
		return b[start : start+size : start+size], true
	}
	type child struct {
		key []byte
		id  uint64
	}
	var children []child
	for i := range count {
		at := pageHead + i*elemSize
		e := b[at:]
		pos, keySize := uint64(n.Uint32(e)), uint64(n.Uint32(e[4:]))
		if flags == flagLeaf {
			pos, keySize = uint64(n.Uint32(e[4:])), uint64(n.Uint32(e[8:]))
		}
		key, ok := part(at, pos, keySize)
		if !ok {
			return fmt.Errorf("page %d is damaged at element %d", id, i)
		}
		if bytes.Compare(key, from) < 0 || to != nil && bytes.Compare(key, to) >= 0 {
			return fmt.Errorf("page %d has its keys out of order at element %d", id, i)
		}
		from = append(bytes.Clone(key), 0) // the least that may follow
		if flags == flagBranch {
			children = append(children, child{key, n.Uint64(e[8:])})
			continue
		}
		val, ok := part(at, pos+keySize, uint64(n.Uint32(e[12:])))
		if kind := n.Uint32(e); !ok || kind > leafBucket {
			return fmt.Errorf("page %d is damaged at element %d", id, i)
		} else if err := leaf(key, val, kind == leafBucket); err != nil {
			return fmt.Errorf("page %d, element %d: %w", id, i, err)
		}
	}
	for i, c := range children {
		end := to
		if i+1 < len(children) {
			end = children[i+1].key
		}
		if err := in.tree(c.id, c.key, end, leaf); err != nil {
			return err
		}
	}
	return nil
}
