package outbox

import (
	"context"
	"slices"
	"time"

	"github.com/gatehouse-sso/gatehouse/provisioning/store"
	"github.com/gatehouse-sso/gatehouse/provisioning/task"
)

// Status of a user at a target.
const (
	Done    = "done"
	Pending = "pending"
	Failed  = "failed" // the last run failed; it may be tried again
)

// State is how far a user's account at a target is.
type State struct {
	Target, Title string
	Wait          bool
	Status        string // Done, Pending, Failed
	Error         string // for administrators
	RemoteID      string
}

// States tells how far a user's accounts are, at the targets that have one or
// should, in the order of the configuration.
func (o *Outbox) States(ctx context.Context, userID string) (list []State, err error) {
	err = o.c.Store.View(ctx, func(tx store.Tx) error {
		list = list[:0]
		u, _, err := o.c.Directory.UserTx(tx, userID)
		if err != nil {
			return err
		}
		for _, t := range o.c.Targets {
			l, known, err := links.Get(tx, Key(t.ID, userID))
			if err != nil {
				return err
			}
			tk, waiting, err := task.Get(tx, Kind, Key(t.ID, userID))
			if err != nil {
				return err
			}
			if !known && !waiting {
				continue
			}
			s := State{Target: t.ID, Title: t.Title, Wait: t.Wait, Status: Done, Error: l.Error, RemoteID: l.RemoteID}
			switch {
			case waiting && tk.State == task.Running && l.RemoteID != "" && l.Error == "" && l.Intent.IsZero() && l.Applied == u.Version && u.ID != "":
				// The run has noted that the target agrees, and is about to end.
			case waiting && (tk.State == task.Parked || tk.Error != ""):
				s.Status, s.Error = Failed, tk.Error
			case waiting:
				s.Status = Pending
				_, s.Error = o.targets[t.ID].mayAsk(o.c.Now())
			}
			list = append(list, s)
		}
		return nil
	})
	return list, err
}

// Settle runs a user's tasks at the targets that sign-ins wait for, at the same
// time, until ctx ends, and reports whether every one of them agrees. What is
// not done by then goes on in the background.
func (o *Outbox) Settle(ctx context.Context, userID string) (done bool, err error) {
	return o.settle(ctx, userID, func(s State) bool { return s.Wait && s.Status != Done })
}

// Arrive does the same for some targets, until the user has an account at each
// that they should have one at.
func (o *Outbox) Arrive(ctx context.Context, userID string, targets []string) (there bool, err error) {
	return o.settle(ctx, userID, func(s State) bool { return slices.Contains(targets, s.Target) && s.Missing() })
}

// Missing: there is no account yet, and one is on its way.
func (s State) Missing() bool { return s.RemoteID == "" && s.Status != Done }

func (o *Outbox) settle(ctx context.Context, userID string, open func(State) bool) (bool, error) {
	states, err := o.States(ctx, userID)
	if err != nil {
		return false, err
	}
	if !slices.ContainsFunc(states, open) {
		return true, nil
	}
	var runs []<-chan struct{}
	for _, s := range states {
		if open(s) {
			runs = append(runs, o.now(Key(s.Target, userID)))
		}
	}
	for _, done := range runs {
		select {
		case <-done: // what it says is in the state
		case <-ctx.Done():
		}
	}
	states, err = o.States(context.WithoutCancel(ctx), userID)
	return err == nil && !slices.ContainsFunc(states, open), err
}

// now runs a task for somebody who waits for it, unless it runs for somebody
// already, and tells when that is over. A run is not cut short when they wait no
// longer: at a target that is slow, or lets through one call a second, it would
// never come to its end while they keep coming back.
func (o *Outbox) now(key string) <-chan struct{} {
	o.mu.Lock()
	defer o.mu.Unlock()
	if done := o.running[key]; done != nil {
		return done
	}
	done := make(chan struct{})
	o.running[key] = done
	o.runs.Go(func() {
		ctx, cancel := context.WithTimeout(context.WithValue(o.open, waiting{}, true), longestRun)
		defer cancel()
		_ = o.c.Run(ctx, Kind, key) // what it says is in the state
		o.mu.Lock()
		defer o.mu.Unlock()
		delete(o.running, key)
		close(done)
	})
	return done
}

// longestRun is how long a run goes on that nobody may wait for any more; then
// it is the task runner's.
const longestRun = time.Minute

// Close ends what runs for people who wait, and returns when it has ended.
func (o *Outbox) Close() {
	o.close()
	o.runs.Wait()
}
