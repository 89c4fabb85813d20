package provisioning

import (
	"context"
	"fmt"
	"iter"
	"time"

	"github.com/gatehouse-sso/gatehouse/provisioning/store"
)

// usersForm counts the sets of indexes that the table of users has had. Rows of
// a store that was built for a smaller one lack entries: see Build.
const usersForm = 2

// Build makes a store fit this program: rows that were written before there was
// an index get their entries, and users are counted. Nothing else may write
// meanwhile. It may be broken off, and goes on from there. progress, which may be
// nil, is told how many rows are done.
func Build(ctx context.Context, st store.Store, progress func(rows int)) error {
	for rows, done := 0, false; !done; {
		n := 0
		err := st.Update(ctx, func(tx store.Tx) error {
			b, _, err := builts.Get(tx, users.Name)
			if err != nil {
				return err
			}
			if done = b.Done && b.Form >= usersForm; done {
				return nil
			}
			if b.Form != usersForm {
				b = builtRow{Table: users.Name, Form: usersForm}
			}
			if b.After, n, err = users.Reindex(tx, b.After); err != nil {
				return err
			}
			if n > 0 {
				return builts.Put(tx, b)
			}
			return nil
		})
		if err == nil && !done && n == 0 {
			err = count(ctx, st)
			done = true
		}
		if err != nil {
			return fmt.Errorf("build indexes of users: %w", err)
		}
		if rows += n; progress != nil && n > 0 {
			progress(rows)
		}
	}
	return nil
}

// count writes how many users there are in each user store, and that all is built.
func count(ctx context.Context, st store.Store) error {
	n := map[string]int{}
	for after, more := (store.Entry{}), true; more; {
		var page []store.Entry
		err := st.View(ctx, func(tx store.Tx) (err error) {
			page, err = some(users.Entries(tx, "store", "", "", after, 10*pageSize))
			return err
		})
		if err != nil {
			return err
		}
		for _, e := range page {
			n[e.Value]++
			after = e
		}
		more = len(page) > 0
	}
	return st.Update(ctx, func(tx store.Tx) error {
		for r, err := range tallies.All(tx, "", 0) {
			if err != nil {
				return err
			}
			if err := tallies.Delete(tx, tallies.Key(r)); err != nil {
				return err
			}
		}
		for userStore, users := range n {
			if err := tallies.Put(tx, tallyRow{Store: userStore, Users: users}); err != nil {
				return err
			}
		}
		return builts.Put(tx, builtRow{Table: users.Name, Form: usersForm, Done: true})
	})
}

// tallyParts are the rows that the number of users of one store is spread over.
const tallyParts = 8

// tallyOf counts a user who came, went or moved to another store.
func tallyOf(tx store.Tx, before, after User) error {
	if before.ID != "" && after.ID != "" && before.Store == after.Store {
		return nil
	}
	for _, c := range []struct {
		User
		n int
	}{{before, -1}, {after, 1}} {
		if c.ID == "" {
			continue
		}
		r := tallyRow{Store: c.Store, Part: c.ID[len(c.ID)-1] % tallyParts}
		old, _, err := tallies.Get(tx, tallies.Key(r))
		if err != nil {
			return err
		}
		r.Users = old.Users + c.n
		if err := tallies.Put(tx, r); err != nil {
			return err
		}
	}
	return nil
}

// Count is how many users there are in a user store.
func (d *Directory) Count(ctx context.Context, userStore string) (n int, err error) {
	err = d.Store.View(ctx, func(tx store.Tx) error {
		n, err = d.CountTx(tx, userStore)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("count users of %s: %w", userStore, err)
	}
	return n, nil
}

// CountTx is Count inside a transaction.
func (d *Directory) CountTx(tx store.Tx, userStore string) (n int, err error) {
	for part := range byte(tallyParts) {
		r, _, err := tallies.Get(tx, tallies.Key(tallyRow{Store: userStore, Part: part}))
		if err != nil {
			return 0, err
		}
		n += r.Users
	}
	return n, nil
}

// An Order is one in which the users of a user store can be read from any place
// on: the name of an index.
type Order string

// Orders.
const (
	ByCreation Order = "store"    // by ID, which is the order of creation
	ByUserName Order = "by_name"  // by the folded user name
	ByModified Order = "modified" // by the time of the last change
)

// A Place is one between two users in an Order. The zero Place is before all.
type Place = store.Entry

// Place is just behind a user.
func (o Order) Place(u User) Place {
	switch o {
	case ByUserName:
		return Place{Value: pair(u.Store, Fold(u.UserName)), Key: u.ID}
	case ByModified:
		return Place{Value: pair(u.Store, instant(u.Modified)), Key: u.ID}
	}
	return Place{Value: u.Store, Key: u.ID}
}

// At is just before all users of a store who changed at a time or later, in
// ByModified.
func (o Order) At(userStore string, t time.Time) Place {
	return Place{Value: pair(userStore, instant(t.UTC().Truncate(time.Millisecond)))}
}

// bounds are the index values of a user store.
func (o Order) bounds(userStore string) (from, to string) {
	if o == ByCreation {
		return userStore, userStore + "\x00"
	}
	from = string(store.Key(userStore))
	return from, string(store.End([]byte(from)))
}

// InOrder yields the users of a store behind a place, at most limit (0: all),
// for reading only, as Peek does. It reads pages, each as of its own moment.
func (d *Directory) InOrder(ctx context.Context, userStore string, o Order, after Place, limit int) iter.Seq2[*User, error] {
	from, to := o.bounds(userStore)
	return d.peekAll(ctx, string(o), from, to, after, limit)
}

// peekAll yields the users whom entries of an index name.
func (d *Directory) peekAll(ctx context.Context, index, from, to string, after Place, limit int) iter.Seq2[*User, error] {
	return func(yield func(*User, error) bool) {
		for got := 0; ; {
			n := pageSize
			if limit > 0 {
				n = min(n, limit-got)
			}
			var page []*User
			last := after
			err := d.Store.View(ctx, func(tx store.Tx) error {
				page = page[:0]
				for e, err := range users.Entries(tx, index, from, to, after, n) {
					if err != nil {
						return err
					}
					u, err := d.memo.Get(tx, e.Key)
					if err == nil && u == nil {
						err = fmt.Errorf("%w: index %s of users names %q, who is not there", store.ErrDamaged, index, e.Key)
					}
					if err != nil {
						return err
					}
					page = append(page, u)
					last = e
				}
				return nil
			})
			if err != nil {
				yield(nil, err)
				return
			}
			for _, u := range page {
				if !yield(u, nil) {
					return
				}
			}
			after = last
			if got += len(page); len(page) < n || got == limit {
				return
			}
		}
	}
}

// Skip is the place behind the next n users after a place, and how many there
// were. It reads no users, only their index.
func (d *Directory) Skip(ctx context.Context, userStore string, o Order, after Place, n int) (to Place, skipped int, err error) {
	from, end := o.bounds(userStore)
	if to = after; n <= 0 {
		return to, 0, nil
	}
	err = d.Store.View(ctx, func(tx store.Tx) (err error) {
		to, skipped, err = users.Skip(tx, string(o), from, end, after, n)
		return err
	})
	return to, skipped, err
}

// ByMail yields the users of a store who may have a mail address, of their own or
// among those that a client keeps, in any spelling that folds to the same, for
// reading only, as Peek does. It may yield others, whom the caller tells apart.
func (d *Directory) ByMail(ctx context.Context, userStore, address string) iter.Seq2[*User, error] {
	return func(yield func(*User, error) bool) {
		for _, value := range []string{mailKey(userStore, address), pair(userStore, manyMails)} {
			for u, err := range d.peekAll(ctx, "mail", value, value+"\x00", Place{}, 0) {
				if !yield(u, err) {
					return
				}
			}
		}
	}
}

// ByExternalID yields the users of a store whom a client calls so, byte for
// byte, for reading only, as Peek does. It is the client's matter that there is one.
func (d *Directory) ByExternalID(ctx context.Context, userStore, externalID string) iter.Seq2[*User, error] {
	value := pair(userStore, externalID)
	return d.peekAll(ctx, "external", value, value+"\x00", Place{}, 0)
}

// Peek is User for reading only: what it points to is shared. The same pointer
// means that nothing has changed.
func (d *Directory) Peek(ctx context.Context, id string) (u *User, err error) {
	err = d.Store.View(ctx, func(tx store.Tx) error {
		u, err = d.peekTx(tx, id)
		return err
	})
	return u, err
}

// PeekInGroups is Peek with the groups that the user is in, as of the same moment.
func (d *Directory) PeekInGroups(ctx context.Context, id string) (*User, []Membership, error) {
	var p peeked
	err := d.Store.View(ctx, func(tx store.Tx) error { return d.peekInGroups(tx, id, &p) })
	return p.u, p.in, err
}

// PeekByName is ByName as PeekInGroups reads.
func (d *Directory) PeekByName(ctx context.Context, userStore, name string) (*User, []Membership, error) {
	var p peeked
	err := d.Store.View(ctx, func(tx store.Tx) error {
		id, ok, err := users.LookupKey(tx, "name", pair(userStore, Fold(name)))
		switch {
		case err != nil:
			return fmt.Errorf("user %q in %s: %w", name, userStore, err)
		case !ok:
			return ErrNotFound
		}
		return d.peekInGroups(tx, id, &p)
	})
	return p.u, p.in, err
}

// peeked is what PeekInGroups finds.
type peeked struct {
	u  *User
	in []Membership
}

func (d *Directory) peekInGroups(tx store.Tx, id string, p *peeked) (err error) {
	if p.u, err = d.peekTx(tx, id); err == nil {
		p.in, err = (&ascent{d: d, tx: tx}).memberships(id)
	}
	return err
}

func (d *Directory) peekTx(tx store.Tx, id string) (*User, error) {
	u, err := d.memo.Get(tx, id)
	switch {
	case err != nil:
		return nil, fmt.Errorf("user %s: %w", id, err)
	case u == nil:
		return nil, ErrNotFound
	}
	return u, nil
}
