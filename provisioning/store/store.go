// Package store is the contract between the directory and a database.
//
// A [Store] is ordered bytes with serializable transactions, nothing more: no
// expiry, no locks, no sequences. Expiry is a time in the row, a lock is a row
// with an owner and a time, IDs are random. Entities and their indexes are
// written once, above the engines, by [Table]. Engines live in subpackages and
// pass the suite in storetest.
//
// Every engine enforces the limits below, those of the smallest one, so that
// what works on one machine works on a cluster.
package store

import (
	"context"
	"errors"
	"iter"
)

// Limits of one transaction and its parts, enforced by every engine.
const (
	MaxKey     = 1024    // bytes in a key; none is empty
	MaxValue   = 1 << 19 // bytes in a value
	MaxKeys    = 100     // keys written (put or deleted) in one transaction
	MaxTxBytes = 1 << 20 // bytes of keys and values written in one transaction
)

var (
	// ErrConflict: a unique value is taken by another row.
	ErrConflict = errors.New("store: conflict")
	// ErrLimit: a transaction, key or value is larger than the limits.
	ErrLimit = errors.New("store: limit exceeded")
	// ErrClosed: the store is closed.
	ErrClosed = errors.New("store: closed")
	// ErrDamaged: what is on disk is not what was written. Never repaired by
	// starting anew.
	ErrDamaged = errors.New("store: damaged")
	// ErrReadOnly: a write in a View.
	ErrReadOnly = errors.New("store: read-only transaction")
)

// A Store holds ordered key-value pairs.
type Store interface {
	// View runs fn on a consistent snapshot. The Tx is dead when fn returns. fn
	// does not call Update: engines may let a writer wait for readers.
	View(ctx context.Context, fn func(Tx) error) error
	// Update commits if fn returns nil; otherwise nothing happened and fn's
	// error is returned as it is. Committed transactions are serializable. fn
	// may run again, so it touches nothing but its Tx, and does not call the
	// store. An error of Update's own means: may or may not have happened,
	// except that with ErrLimit, ErrClosed, or a ctx that was done before,
	// nothing happened. A limit that was exceeded fails Update even if fn does
	// not return that error.
	Update(ctx context.Context, fn func(Tx) error) error
	// Watch yields keys under prefix as they change, from any replica; nil
	// first and after any gap: read everything again. It ends with ctx, or
	// when the store is closed.
	Watch(ctx context.Context, prefix []byte) iter.Seq[[]byte]
	Close() error
}

// A Tx sees its own writes. Slices it returns are the caller's to keep; slices
// given to it are copied. Asking for a key that could not be written is no error:
// it is not there. A Tx is used by one goroutine.
type Tx interface {
	Get(key []byte) (val []byte, ok bool, err error)
	// Scan yields pairs with from <= key < to in order, at most limit of them
	// (0: all). A nil to means no upper bound. Writing during a Scan of the
	// same range is allowed and not seen by it.
	Scan(from, to []byte, limit int) iter.Seq2[Pair, error]
	Put(key, val []byte) error
	Delete(key []byte) error
}

// A Pair is a key and its value.
type Pair struct{ Key, Val []byte }
