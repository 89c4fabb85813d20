package task

import (
	"time"

	"github.com/gatehouse-sso/gatehouse/provisioning/store"
)

// A worker that is about to be free goes on with what is due next in its lane: the
// commit that ends the one run begins the other, so that many short runs are one
// commit each. Nobody waits for this commit alone, and no look is needed to find
// work where there is more.
//
//	look ─▶ begin ─▶ handler ─▶ Conclude: end, begin the next ─▶ handler ─▶ Conclude …

// stay is how long a worker goes on so. Then it is looked anew what is due longest,
// in whatever lane.
const stay = time.Second

// mayGoOn: the run's worker may take the next task of its lane.
func (u *run) mayGoOn() bool {
	return u.stays.After(time.Now()) && u.ctx.Err() == nil && (u.r.c.Closed == nil || u.r.c.Closed(u.kind, u.lane) == 0)
}

// goOn takes the next task of the lane, if one is due that nobody has.
func (u *run) goOn(tx store.Tx) error {
	u.letGo() // the transaction may run again
	already := moment(u.r.c.Now())
	for _, rank := range []string{rankFirst, rankOther} {
		from := store.Key(u.kind, u.lane, rank)
		// Of those that stand before it workers have each one, and may have taken another.
		for t, err := range entries(tx, from, store.End(from), 2*u.r.c.PerLane+1) {
			if err != nil {
				return err
			}
			if t.at > already {
				break
			}
			if u.r.reserve(t) {
				return u.takeNext(tx, t)
			}
		}
	}
	return nil
}

func (u *run) takeNext(tx store.Tx, t entry) error {
	next := u.r.newRun(t)
	next.stays, u.next = u.stays, next
	return turnRow(tx, t.kind, t.key, func(tx store.Tx, have *row) (f fate) {
		_, next.taken, f = next.take(tx, have, false)
		return f
	})
}

// letGo gives back what goOn reserved, where it did not come to be taken.
func (u *run) letGo() {
	if u.next != nil {
		u.r.release(u.next.entry)
		u.next = nil
	}
}

// reserve marks what is due as a worker's; false: it is another's.
func (r *Runner) reserve(t entry) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, has := r.busy[t.id]
	if !has {
		r.busy[t.id] = t
	}
	return !has
}

func (r *Runner) release(t entry) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.busy, t.id)
}
