package outbox

import (
	"iter"

	"github.com/gatehouse-sso/gatehouse/provisioning"
	"github.com/gatehouse-sso/gatehouse/provisioning/connector"
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

// An Expected is what there should be of a user at a target, and what is known
// of it.
type Expected struct {
	User    provisioning.User // zero: there is none any more
	Wanted  bool              // in scope
	Account connector.Account // what should be, if Wanted
	Link    Link
	Begun   bool  // there is an account, or may be one
	Invalid error // why the account can not be worked out
	Leave   Leave // what becomes of the account of somebody who is not Wanted
}

// Expect says what there should be of a user at a target.
func (o *Outbox) Expect(tx store.Tx, target, userID string) (Expected, error) {
	t := o.targets[target]
	if t == nil {
		return Expected{}, ErrNoTarget
	}
	r := run{o: o, t: t, userID: userID}
	err := r.loadTx(tx)
	e := Expected{User: r.user, Wanted: r.want, Account: r.acct, Link: r.link, Begun: r.link.begun(), Leave: t.Leave}
	if is(err, connector.Invalid) {
		e.Invalid, err = err, nil
	}
	return e, err
}

// OwnerTx is the link that an account of a target belongs to, if there is one.
func OwnerTx(tx store.Tx, target, remoteID string) (Link, bool, error) {
	return links.Lookup(tx, "remote", string(store.Key(target, remoteID)))
}

// UnlinkTx forgets a user's account at a target, if it is still that one. What
// the target holds stays as it is.
func UnlinkTx(tx store.Tx, target, userID, remoteID string) error {
	l, ok, err := links.Get(tx, Key(target, userID))
	if err != nil || !ok || l.RemoteID != remoteID {
		return err
	}
	return links.Delete(tx, Key(target, userID))
}
