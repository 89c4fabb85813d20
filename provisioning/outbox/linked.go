package outbox

import (
	"iter"

	"github.com/gatehouse-sso/gatehouse/provisioning/store"
)

// LinkedTx yields the links of a target whose account is known there, ordered by
// the target's ID of it, those after a given one, at most limit (0: all).
func LinkedTx(tx store.Tx, target, after string, limit int) iter.Seq2[Link, error] {
	return func(yield func(Link, error) bool) {
		from, to := remoteRange(target, after)
		for p, err := range tx.Scan(from, to, limit) {
			var l Link
			if err == nil {
				l, _, err = links.Get(tx, string(p.Val))
			}
			if !yield(l, err) || err != nil {
				return
			}
		}
	}
}

// CountTx is how many accounts of ours are known at a target.
func CountTx(tx store.Tx, target string) (n int, err error) {
	from, to := remoteRange(target, "")
	for _, err := range tx.Scan(from, to, 0) {
		if err != nil {
			return 0, err
		}
		n++
	}
	return n, nil
}

// remoteRange are the raw keys of the unique index "remote" of one target: its
// values are tuples (target, ID), and so are ordered by the ID.
func remoteRange(target, after string) (from, to []byte) {
	index := store.Key(links.Name, "u", "remote")
	value := func(parts ...string) []byte {
		entry := store.Key(string(store.Key(parts...)))
		return append(append([]byte(nil), index...), entry[:len(entry)-2]...) // without the end of the value
	}
	to = store.End(value(target))
	if after == "" {
		return value(target), to
	}
	return append(value(target, after), 0x00, 0x02), to
}
