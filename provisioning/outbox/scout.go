package outbox

import (
	"context"
	"strings"

	"github.com/gatehouse-sso/gatehouse/provisioning/connector"
	"github.com/gatehouse-sso/gatehouse/provisioning/store"
	"github.com/gatehouse-sso/gatehouse/provisioning/task"
)

// A scout looks whether an account is there while the run that wants to know is
// still being noted, for a person who waits:
//
//	task taken, intent written ──on disk──┐
//	search ───────────────────────────────┴─▶ adopt or create
//
// So they wait for the disk or for the target, not for both. What it found is used
// only where nobody had begun anything with the account, neither when it set out
// nor when the run was taken; else there may be more by now.
type scout struct {
	acct  connector.Account // that was looked for
	there []connector.Account
	err   error
	trace *connector.Trace
	back  chan struct{} // closed when the rest may be read
}

// send sends a scout ahead of a run. It has nothing to say where the run may not
// be, or has something else to do than to look.
func (o *Outbox) send(ctx context.Context, key string) *scout {
	s := &scout{trace: new(connector.Trace), back: make(chan struct{})}
	id, userID, _ := strings.Cut(key, "/")
	t := o.targets[id]
	if t == nil {
		close(s.back)
		return s
	}
	o.runs.Go(func() {
		defer close(s.back)
		r := o.newRun(t, userID)
		r.trace = s.trace
		idle := false
		err := whole(func() error {
			return o.c.Store.View(ctx, func(tx store.Tx) error {
				tk, waits, err := task.Get(tx, Kind, key)
				idle = waits && tk.State == task.Waiting
				if err != nil || !idle {
					return err
				}
				return r.loadTx(tx)
			})
		})
		wait, _ := t.mayAsk(o.c.Now())
		if err != nil || !idle || wait > 0 || r.known || !r.want || !r.user.Active || connector.CapsOf(t.Connector).NoFind {
			return
		}
		s.acct = r.acct
		s.err = whole(func() (err error) {
			s.there, err = r.search(ctx)
			return err
		})
	})
	return s
}

// sent is the scout that was sent ahead of a run, by whoever waits for it; nil: none.
func (o *Outbox) sent(key string) *scout {
	o.mu.Lock()
	defer o.mu.Unlock()
	if a := o.running[key]; a != nil {
		return a.scout
	}
	return nil
}

// heard is what a scout that was sent ahead of the run has found; false: nothing
// that is of use.
func (r *run) heard(ctx context.Context) (there []connector.Account, ok bool, err error) {
	s := r.scout
	r.scout = nil
	if s == nil || r.known {
		return nil, false, nil
	}
	select {
	case <-s.back:
	case <-ctx.Done():
		return nil, false, nil
	}
	if s.acct.ExternalID != r.acct.ExternalID || s.acct.UserName != r.acct.UserName {
		return nil, false, nil
	}
	r.trace = s.trace
	return s.there, true, s.err
}
