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
	agreements := o.agreements(userID) // before the look: what is over since is in the store
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
			switch a, agrees := agreements[t.ID]; {
			case waiting && agrees && a.version == u.Version && a.remote == "":
				continue // there is none, which is about to be noted
			case waiting && agrees && a.version == u.Version:
				s.Error, s.RemoteID = "", a.remote
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
	for {
		states, err := o.States(context.WithoutCancel(ctx), userID)
		if err != nil {
			return false, err
		}
		states = slices.DeleteFunc(states, func(s State) bool { return !open(s) })
		if len(states) == 0 {
			return true, nil
		}
		var runs []*awaited
		again := false // a run was there before us, and may have looked before what we wait for
		for _, s := range states {
			a, ours := o.now(Key(s.Target, userID))
			runs, again = append(runs, a), again || !ours
		}
		for _, a := range runs {
			select {
			case <-a.agreed:
			case <-a.over: // what it says is in the state
			case <-ctx.Done():
			}
		}
		if again && ctx.Err() == nil {
			continue
		}
		states, err = o.States(context.WithoutCancel(ctx), userID)
		return err == nil && !slices.ContainsFunc(states, open), err
	}
}

// An awaited run is one that somebody waits for. They go on as soon as the target
// agrees: should that never be noted, the next run finds the account.
type awaited struct {
	agreed, over chan struct{}
	agreement    // before agreed is closed
	scout        *scout
}

// An agreement of a target with the directory.
type agreement struct {
	version uint64 // of the user that it agrees about
	remote  string // its ID of their account; empty: there is none
}

// agreed tells those who wait that the target has the account as it should be.
func (o *Outbox) agreed(key string, r *run) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if a := o.running[key]; a != nil && !closed(a.agreed) {
		a.agreement = agreement{r.user.Version, r.link.RemoteID}
		close(a.agreed)
	}
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// agreements about a user that are not noted yet, by target.
func (o *Outbox) agreements(userID string) map[string]agreement {
	o.mu.Lock()
	defer o.mu.Unlock()
	m := map[string]agreement{}
	for _, t := range o.c.Targets {
		if a := o.running[Key(t.ID, userID)]; a != nil && closed(a.agreed) {
			m[t.ID] = a.agreement
		}
	}
	return m
}

// now runs a task for somebody who waits for it, unless it runs for somebody
// already who may still learn from it; ours says that it does not. A run is not
// cut short when they wait no longer: at a target that is slow, or lets through
// one call a second, it would never come to its end while they keep coming back.
func (o *Outbox) now(key string) (a *awaited, ours bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if a := o.running[key]; a != nil {
		if closed(a.agreed) { // about somebody who changed since: they wait until it is noted
			return &awaited{over: a.over}, false
		}
		return a, false
	}
	ctx, cancel := context.WithTimeout(context.WithValue(o.open, waiting{}, true), longestRun)
	a = &awaited{agreed: make(chan struct{}), over: make(chan struct{}), scout: o.send(ctx, key)}
	o.running[key] = a
	o.runs.Go(func() {
		defer cancel()
		_ = o.c.Run(ctx, Kind, key) // what it says is in the state
		o.mu.Lock()
		defer o.mu.Unlock()
		delete(o.running, key)
		close(a.over)
	})
	return a, true
}

// longestRun is how long a run goes on that nobody may wait for any more; then
// it is the task runner's.
const longestRun = time.Minute

// Close ends what runs for people who wait, and returns when it has ended.
func (o *Outbox) Close() {
	o.close()
	o.runs.Wait()
}
