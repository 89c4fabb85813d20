package gateway

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/gatehouse-sso/gatehouse/provisioning/store"
)

// A Key is one of the gateway's own secrets. Those of one purpose follow each
// other:
//
//	made ──announced──▶ From: in use ──its follower's From──▶ still taken ──▶ Until: gone
//
// While it is announced, whoever checks what it makes can learn of it; while it is
// still taken, what it made is good.
type Key struct {
	Purpose string
	Created time.Time
	From    time.Time // zero: since ever
	Until   time.Time // zero: no end is known
	Plain   []byte
}

// A key row, as stored. Sealed is under the row's own key, so that two rows
// can not be exchanged. The ID is the purpose, or of a follower PURPOSE/TIME.
type keyRow struct {
	ID      string    `json:"id"`
	Sealed  []byte    `json:"sealed"`
	Created time.Time `json:"created"`
	From    time.Time `json:"from,omitzero"`
	Until   time.Time `json:"until,omitzero"`
}

var keyTable = store.Table[keyRow]{Name: "gateway_key", Key: func(k keyRow) string { return k.ID }}

// KeyPrefix is what to watch to learn that keys are others.
func KeyPrefix() []byte { return keyTable.Prefix() }

func keySeal(id string) []byte { return store.Key("gateway_key", id) }

// SealedKeys are the rows of keys, to be sealed again.
var SealedKeys = store.Sealed[keyRow]{
	Table: &keyTable,
	Key:   func(k keyRow) []byte { return keySeal(k.ID) },
	Part:  func(k *keyRow) *[]byte { return &k.Sealed },
}

func (k keyRow) purpose() string {
	purpose, _, _ := strings.Cut(k.ID, "/")
	return purpose
}

// Secret reads what is kept sealed under a purpose, or keeps what fresh makes.
func Secret(ctx context.Context, st store.Store, sealer *store.Sealer, purpose string, now time.Time, fresh func() ([]byte, error)) ([]byte, error) {
	ring, err := Ring(ctx, st, sealer, purpose, now, fresh)
	if err != nil {
		return nil, err
	}
	return ring[0].Plain, nil
}

// Ring reads the keys of a purpose that are not gone, or keeps what fresh makes
// where there is none. The one in use is the first; then come those that are
// announced, then those that are still taken.
func Ring(ctx context.Context, st store.Store, sealer *store.Sealer, purpose string, now time.Time, fresh func() ([]byte, error)) (ring []Key, err error) {
	err = st.Update(ctx, func(tx store.Tx) (err error) {
		if ring, err = ringOf(tx, sealer, purpose, now); err != nil || len(ring) > 0 {
			return err
		}
		plain, err := fresh()
		if err != nil {
			return err
		}
		ring = []Key{{Purpose: purpose, Created: now, Plain: plain}}
		return keyTable.Put(tx, keyRow{ID: purpose, Sealed: sealer.Seal(keySeal(purpose), plain), Created: now})
	})
	if err != nil {
		return nil, fmt.Errorf("gateway key %s: %w", purpose, err)
	}
	return ring, nil
}

func rowsOf(tx store.Tx, purpose string) (rows []keyRow, err error) {
	for row, err := range keyTable.All(tx, "", 0) { // a handful
		if err != nil {
			return nil, err
		}
		if row.purpose() == purpose {
			rows = append(rows, row)
		}
	}
	return rows, nil
}

func ringOf(tx store.Tx, sealer *store.Sealer, purpose string, now time.Time) (ring []Key, err error) {
	rows, err := rowsOf(tx, purpose)
	if err != nil {
		return nil, err
	}
	for _, row := range rows {
		if row.gone(now) {
			continue
		}
		plain, err := sealer.Open(keySeal(row.ID), row.Sealed)
		if err != nil {
			return nil, err
		}
		ring = append(ring, Key{purpose, row.Created, row.From, row.Until, plain})
	}
	slices.SortFunc(ring, func(a, b Key) int { return cmp.Or(b.From.Compare(a.From), b.Created.Compare(a.Created)) }) // the last first
	inUse := slices.IndexFunc(ring, func(k Key) bool { return !k.From.After(now) })
	if inUse < 0 { // only announced ones: a clock that went back
		return ring, nil
	}
	return slices.Concat(ring[inUse:inUse+1], ring[:inUse], ring[inUse+1:]), nil
}

func (k keyRow) gone(now time.Time) bool { return !k.Until.IsZero() && !now.Before(k.Until) }

// ErrAnnounced: a follower of the key is announced already.
var ErrAnnounced = errors.New("another key is announced already")

// Rotate makes a key of a purpose that follows the one in use: it is announced for a
// time before it is used, and the one in use is still taken for a time after that.
// With neither it takes the place of all others at once, and nothing that they
// made is good any more. also writes what belongs to it in the same transaction.
func Rotate(ctx context.Context, st store.Store, sealer *store.Sealer, purpose string, now time.Time, announce, keep time.Duration, fresh func() ([]byte, error), also func(store.Tx) error) (Key, error) {
	plain, err := fresh()
	if err != nil {
		return Key{}, err
	}
	k := Key{Purpose: purpose, Created: now, From: now.Add(announce), Plain: plain}
	err = st.Update(ctx, func(tx store.Tx) error {
		rows, err := rowsOf(tx, purpose)
		if err != nil {
			return err
		}
		for _, row := range rows {
			switch {
			case row.gone(now), announce == 0 && keep == 0:
				err = keyTable.Delete(tx, row.ID)
			case row.From.After(now):
				err = fmt.Errorf("%w, and will be used from %s", ErrAnnounced, row.From.UTC().Format(time.RFC3339))
			case row.Until.IsZero():
				row.Until = k.From.Add(keep)
				err = keyTable.Put(tx, row)
			}
			if err != nil {
				return err
			}
		}
		id := purpose + "/" + now.UTC().Format("20060102T150405.000000000Z")
		if err := keyTable.Put(tx, keyRow{ID: id, Sealed: sealer.Seal(keySeal(id), plain), Created: now, From: k.From}); err != nil {
			return err
		}
		return also(tx)
	})
	if err != nil {
		return Key{}, fmt.Errorf("rotate key %s: %w", purpose, err)
	}
	return k, nil
}

// AllKeys are the keys that are not gone, without what is secret in them.
func AllKeys(ctx context.Context, st store.Store, now time.Time) (list []Key, err error) {
	err = st.View(ctx, func(tx store.Tx) error {
		list = nil
		for row, err := range keyTable.All(tx, "", 0) {
			if err != nil {
				return err
			}
			if !row.gone(now) {
				list = append(list, Key{Purpose: row.purpose(), Created: row.Created, From: row.From, Until: row.Until})
			}
		}
		return nil
	})
	return list, err
}
