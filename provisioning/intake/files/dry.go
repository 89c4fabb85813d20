package files

import (
	"iter"
	"maps"
	"slices"

	"github.com/gatehouse-sso/gatehouse/provisioning/store"
)

// A dry transaction sees its own writes and keeps them to itself.
type dry struct {
	store.Tx
	wrote map[string][]byte // nil: deleted
}

func newDry(tx store.Tx) *dry { return &dry{tx, map[string][]byte{}} }

func (d *dry) Get(key []byte) ([]byte, bool, error) {
	if val, ok := d.wrote[string(key)]; ok {
		return slices.Clone(val), val != nil, nil
	}
	return d.Tx.Get(key)
}

func (d *dry) Put(key, val []byte) error {
	d.wrote[string(key)] = append([]byte{}, val...)
	return nil
}

func (d *dry) Delete(key []byte) error {
	d.wrote[string(key)] = nil
	return nil
}

// Scan merges what is there with what was written when it began.
func (d *dry) Scan(from, to []byte, limit int) iter.Seq2[store.Pair, error] {
	wrote := maps.Clone(d.wrote)
	var mine []string
	for key := range wrote {
		if key >= string(from) && (to == nil || key < string(to)) {
			mine = append(mine, key)
		}
	}
	slices.Sort(mine)
	return func(yield func(store.Pair, error) bool) {
		n := 0
		give := func(p store.Pair) bool {
			n++
			return yield(p, nil) && n != limit
		}
		written := func(before string, all bool) bool { // those of mine that come first
			for len(mine) > 0 && (all || mine[0] < before) {
				key := mine[0]
				mine = mine[1:]
				if val := wrote[key]; val != nil && !give(store.Pair{Key: []byte(key), Val: slices.Clone(val)}) {
					return false
				}
			}
			return true
		}
		for p, err := range d.Tx.Scan(from, to, 0) {
			if err != nil {
				yield(p, err)
				return
			}
			if !written(string(p.Key), false) {
				return
			}
			if _, mine := wrote[string(p.Key)]; !mine && !give(p) {
				return
			}
		}
		written("", true)
	}
}

// counted counts the keys that are written, as the limit of a transaction does.
type counted struct {
	store.Tx
	keys map[string]bool
}

func newCounted(tx store.Tx) *counted { return &counted{tx, map[string]bool{}} }

func (c *counted) Put(key, val []byte) error {
	c.keys[string(key)] = true
	return c.Tx.Put(key, val)
}

func (c *counted) Delete(key []byte) error {
	c.keys[string(key)] = true
	return c.Tx.Delete(key)
}
