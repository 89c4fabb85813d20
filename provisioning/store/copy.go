package store

import (
	"context"
	"errors"
	"fmt"
)

// ErrNotEmpty: there is something where a copy should go.
var ErrNotEmpty = errors.New("store: it holds something already")

// copyBytes bounds one transaction of Copy below MaxTxBytes, whatever the next
// pair is.
const copyBytes = MaxTxBytes - MaxValue - MaxKey

// Copy puts every pair of one store into another, which must be empty, and
// returns how many there were. What changes in from meanwhile may or may not be
// in the copy, so nobody should use it. A copy that failed half-way leaves to as
// it came; it is to be thrown away.
func Copy(ctx context.Context, to, from Store) (n int, err error) {
	err = to.View(ctx, func(tx Tx) error {
		for _, err := range tx.Scan(nil, nil, 1) {
			return errors.Join(ErrNotEmpty, err)
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	var next []byte
	for {
		var batch []Pair
		size := 0
		err := from.View(ctx, func(tx Tx) error {
			batch, size = nil, 0
			for p, err := range tx.Scan(next, nil, MaxKeys) {
				if err != nil {
					return err
				}
				batch = append(batch, p)
				if size += len(p.Key) + len(p.Val); size >= copyBytes {
					return nil
				}
			}
			return nil
		})
		if err != nil {
			return n, fmt.Errorf("copy store: read: %w", err)
		}
		if len(batch) == 0 {
			return n, nil
		}
		err = to.Update(ctx, func(tx Tx) error {
			for _, p := range batch {
				if err := tx.Put(p.Key, p.Val); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return n, fmt.Errorf("copy store: write: %w", err)
		}
		n += len(batch)
		next = append(batch[len(batch)-1].Key, 0) // the least that follows
	}
}
