package provisioning

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/gatehouse-sso/gatehouse/provisioning/store"
	"github.com/gatehouse-sso/gatehouse/provisioning/task"
)

// A Move says who comes into a group and who leaves it. Who is in it already, or
// was not, makes no difference.
type Move struct {
	Join, Leave  []string // IDs of users; none stands in both
	Nest, Unnest []string // IDs of groups; at most MaxNests together
}

// MaxNests bounds the groups that one Move puts inside another or takes out.
const MaxNests = 8

const (
	// directMoves users at most are moved in one transaction, with all that their
	// Followers write; if that is too much for it, they are moved aside.
	directMoves = 6
	// shiftBatch shifts are written in one transaction; each is three keys.
	shiftBatch = 30
	// shiftLife is how long shifts may wait for their flip. Those of a process
	// that died are older.
	shiftLife = time.Hour
)

// errFlipped: a large change of the group has to become edges first.
var errFlipped = errors.New("another change of the group's members is being carried out")

// Move changes who is in a group, and with edit, which may be nil, the group
// itself: all of it or nothing, whatever the number. edit may be called again.
// That a user or group of the Move is not there is ErrNotFound; what would be a
// cycle is ErrCycle; too many groups are an *Invalid.
func (d *Directory) Move(ctx context.Context, id string, by Source, m Move, edit func(*Group) error) (Group, error) {
	g, err := d.move(ctx, id, by, m, func(tx store.Tx) error {
		_, err := d.editGroup(tx, id, by, edit)
		return err
	})
	if err != nil {
		return Group{}, fmt.Errorf("change members of group %s: %w", id, err)
	}
	return g, nil
}

// move lets begin make or change the group in the transaction that moves its members.
func (d *Directory) move(ctx context.Context, id string, by Source, m Move, begin func(store.Tx) error) (g Group, err error) {
	if len(m.Nest)+len(m.Unnest) > MaxNests {
		return Group{}, &Invalid{"members", fmt.Sprintf("are too many groups to put in or take out at once: at most %d", MaxNests)}
	}
	if len(m.Join)+len(m.Leave) <= directMoves {
		err = d.Store.Update(ctx, func(tx store.Tx) (err error) {
			g, err = d.moveTx(tx, id, by, m, begin)
			return err
		})
		if !errors.Is(err, store.ErrLimit) {
			return g, err
		}
	}
	change := d.newID()
	n, err := d.aside(ctx, change, id, m)
	for err == nil {
		err = d.Store.Update(ctx, func(tx store.Tx) (err error) {
			g, err = d.flip(tx, id, change, n, by, m, begin)
			return err
		})
		if !errors.Is(err, errFlipped) {
			break
		}
		err = d.Clear(ctx, id)
	}
	if err != nil {
		// What stays is older than shiftLife one day, and swept.
		_, _ = d.dropShifts(context.WithoutCancel(ctx), change)
	}
	return g, err
}

// moveTx is a Move in one transaction.
func (d *Directory) moveTx(tx store.Tx, id string, by Source, m Move, begin func(store.Tx) error) (Group, error) {
	if err := begin(tx); err != nil {
		return Group{}, err
	}
	if err := d.moveGroups(tx, id, by, m); err != nil {
		return Group{}, err
	}
	for _, list := range []struct {
		ids []string
		in  bool
	}{{m.Leave, false}, {m.Join, true}} {
		for _, userID := range list.ids {
			u, ok, err := d.UserTx(tx, userID)
			switch {
			case err != nil:
				return Group{}, err
			case !ok && list.in:
				return Group{}, fmt.Errorf("user %s: %w", userID, ErrNotFound)
			case !ok:
				continue // deleted: out already
			}
			tell, err := d.place(tx, id, userID, list.in, by)
			if err != nil {
				return Group{}, err
			}
			if tell {
				if _, err := d.commit(tx, u, u.Clone(), moved(id, list.in, by)); err != nil {
					return Group{}, err
				}
			}
		}
	}
	return getGroup(tx, id)
}

func moved(id string, in bool, by Source) Delta {
	if in {
		return Delta{By: by, Joined: []string{id}}
	}
	return Delta{By: by, Left: []string{id}}
}

func (d *Directory) moveGroups(tx store.Tx, id string, by Source, m Move) error {
	for _, child := range m.Unnest {
		if err := d.unnest(tx, id, child, by); err != nil && !errors.Is(err, ErrNotFound) { // deleted: out already
			return err
		}
	}
	for _, child := range m.Nest {
		if err := d.nest(tx, id, child, by); err != nil {
			return err
		}
	}
	return nil
}

// aside writes the shifts of a change, for those of whom it makes a difference,
// and says how many.
func (d *Directory) aside(ctx context.Context, change, id string, m Move) (n int, err error) {
	for _, list := range []struct {
		ids []string
		in  bool
	}{{m.Leave, false}, {m.Join, true}} {
		for batch := range slices.Chunk(list.ids, shiftBatch) {
			wrote := 0
			if err := d.Store.Update(ctx, func(tx store.Tx) error {
				wrote = 0
				for _, userID := range batch {
					if _, ok, err := users.Get(tx, userID); err != nil || !ok {
						if err == nil && list.in {
							err = fmt.Errorf("user %s: %w", userID, ErrNotFound)
						}
						if err != nil {
							return err
						}
						continue
					}
					_, is, err := inSince(tx, id, userID)
					if err != nil {
						return err
					}
					if is == list.in {
						continue
					}
					if err := shifts.Put(tx, shiftRow{change, id, userID, list.in, d.now()}); err != nil {
						return err
					}
					wrote++
				}
				return nil
			}); err != nil {
				return n, err
			}
			n += wrote
		}
	}
	return n, nil
}

// flip puts a change in force.
func (d *Directory) flip(tx store.Tx, id, change string, n int, by Source, m Move, begin func(store.Tx) error) (Group, error) {
	if n > 0 {
		switch f, busy, err := flips.Get(tx, id); {
		case err != nil:
			return Group{}, err
		case busy && f.Change == change: // a repeated try finds what the first one did
			return getGroup(tx, id)
		case busy:
			return Group{}, errFlipped
		}
	}
	if err := begin(tx); err != nil {
		return Group{}, err
	}
	if err := d.moveGroups(tx, id, by, m); err != nil {
		return Group{}, err
	}
	if n > 0 {
		if err := cmpErr(flips.Put(tx, flipRow{id, change, by}), d.roll(tx, id), task.Add(tx, TaskClear, id, d.now())); err != nil {
			return Group{}, err
		}
	}
	return getGroup(tx, id)
}

// shiftOf is the shift in force of a user in a group.
func shiftOf(tx store.Tx, groupID, userID string) (shiftRow, bool, error) {
	f, ok, err := flips.Get(tx, groupID)
	if err != nil || !ok {
		return shiftRow{}, false, err
	}
	return shifts.Get(tx, pair(f.Change, userID))
}

// inGroup yields the IDs of users directly in a group, those after a given one,
// in order, at most limit (0: all).
func inGroup(tx store.Tx, groupID, after string, limit int) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		f, flipped, err := flips.Get(tx, groupID)
		if err != nil {
			yield("", err)
			return
		}
		edges := members.Find(tx, "group", groupID, keyAfter(groupID, after), 0)
		shifted := iter.Seq2[shiftRow, error](func(func(shiftRow, error) bool) {})
		if flipped {
			shifted = shifts.Find(tx, "change", f.Change, keyAfter(f.Change, after), 0)
		}
		next, stop := iter.Pull2(shifted)
		defer stop()
		s, serr, more := next()
		n := 0
		give := func(id string, err error) bool {
			n++
			return yield(id, err) && err == nil && n != limit
		}
		for m, err := range edges {
			for more && serr == nil && s.User < m.User {
				if s.In && !give(s.User, nil) {
					return
				}
				s, serr, more = next()
			}
			if err == nil && more && serr != nil {
				err = serr
			}
			in := true
			if err == nil && more && s.User == m.User {
				in = s.In
				s, serr, more = next()
			}
			if (in || err != nil) && !give(m.User, err) {
				return
			}
		}
		for more {
			if (s.In || serr != nil) && !give(s.User, serr) {
				return
			}
			s, serr, more = next()
		}
	}
}

// keyAfter is the key of an edge after which to go on, none at the beginning.
func keyAfter(first, after string) string {
	if after == "" {
		return ""
	}
	return pair(first, after)
}

// settle makes edges of shifts in force, some at a time, and tells each member
// in a transaction of their own. When all are edges the flip goes.
func (d *Directory) settle(ctx context.Context, id string) (more bool, err error) {
	var f flipRow
	var batch []shiftRow
	err = d.Store.View(ctx, func(tx store.Tx) (err error) {
		if f, more, err = flips.Get(tx, id); err != nil || !more {
			return err
		}
		batch, err = some(shifts.Find(tx, "change", f.Change, "", clearBatch))
		return err
	})
	if err != nil || !more {
		return false, err
	}
	for _, s := range batch {
		if err := d.Store.Update(ctx, func(tx store.Tx) error { return d.settleOne(tx, f, s) }); err != nil {
			return false, err
		}
	}
	if len(batch) > 0 {
		return true, nil
	}
	return true, d.Store.Update(ctx, func(tx store.Tx) error {
		if now, ok, err := flips.Get(tx, id); err != nil || !ok || now.Change != f.Change {
			return err
		}
		return flips.Delete(tx, id)
	})
}

func (d *Directory) settleOne(tx store.Tx, f flipRow, s shiftRow) error {
	now, ok, err := flips.Get(tx, f.Group)
	if err != nil || !ok || now.Change != f.Change {
		return err
	}
	if _, ok, err := shifts.Get(tx, pair(s.Change, s.User)); err != nil || !ok {
		return err // somebody said otherwise since
	}
	if err := shifts.Delete(tx, pair(s.Change, s.User)); err != nil {
		return err
	}
	_, edge, err := members.Get(tx, pair(f.Group, s.User))
	if err != nil || edge == s.In {
		return err
	}
	if _, ok, err := users.Get(tx, s.User); err != nil || !ok {
		return err // deleted: who clears the user takes the edge
	}
	if s.In {
		err = members.Put(tx, memberRow{f.Group, s.User, f.By, s.At})
	} else {
		err = members.Delete(tx, pair(f.Group, s.User))
	}
	if err != nil {
		return err
	}
	return d.told(tx, s.User, moved(f.Group, s.In, f.By))
}

// dropShifts forgets some shifts of a change that is not in force, until there
// are no more.
func (d *Directory) dropShifts(ctx context.Context, change string) (did bool, err error) {
	for more := true; more; did = did || more {
		err := d.Store.Update(ctx, func(tx store.Tx) error {
			batch, err := some(shifts.Find(tx, "change", change, "", shiftBatch))
			if err != nil {
				return err
			}
			more = len(batch) > 0
			for _, s := range batch {
				if f, ok, err := flips.Get(tx, s.Group); err != nil || ok && f.Change == change {
					more = false
					return err
				}
				if err := shifts.Delete(tx, pair(s.Change, s.User)); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return did, err
		}
	}
	return did, nil
}

// sweepShifts forgets the shifts that nobody will put in force.
func (d *Directory) sweepShifts(ctx context.Context) (did bool, err error) {
	for after := ""; ; {
		var s shiftRow
		found := false
		if err := d.Store.View(ctx, func(tx store.Tx) error {
			found = false
			for r, err := range shifts.All(tx, after, 1) {
				s, found = r, err == nil
				return err
			}
			return nil
		}); err != nil || !found {
			return did, err
		}
		if d.now().Sub(s.At) > shiftLife {
			dropped, err := d.dropShifts(ctx, s.Change)
			if did = did || dropped; err != nil {
				return did, err
			}
		}
		after = strings.TrimSuffix(pair(s.Change, ""), "\x00\x01") + "\xff"
	}
}
