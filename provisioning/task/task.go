// Package task is durable work.
//
// A task says what must become true ("target T agrees about user U"), not what
// to send: it has a kind and a key and no payload. [Add] puts it into the
// caller's transaction, so work is never lost and never there without its
// reason. A [Runner] calls the kind's [Handler] until it says that it is true.
// Adding a task that already waits makes it due again; adding one that is
// running makes it run once more afterwards. One task never runs twice at once.
//
//	Add ──▶ waiting ──due──▶ running ──nil──▶ gone
//	           ▲  ▲             │
//	           │  └─ backoff ───┤ error, Retry, Added meanwhile
//	           └─── Add ── parked ◀── Park, or 72 hours of errors
//
// A key may begin with a lane and a slash ("T/U"). A [Runner] can bound how much
// runs in one lane at the same time, so that a lane where nothing gets done does
// not keep the others waiting; and what was added with [AddFirst] overtakes all
// that is due in its lane.
//
// A run holds a lease in the task's row, which it renews. Every change of a row
// is a transaction that first looks whether the lease is still its own; so a
// process that was believed dead can not overwrite what another did since, and a
// commit whose answer was lost can be asked for again.
package task

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/gatehouse-sso/gatehouse/provisioning/store"
)

// A Handler makes it true. nil: it is true. *Retry: again after that time, not
// counted as an attempt. *Park: a person is needed, or a change that Adds it
// again. Any other error: again, with growing delays.
type Handler func(ctx context.Context, key string) error

// Retry asks to be run again after a time, without counting as a failure.
type Retry struct {
	After  time.Duration
	Reason string
}

func (r *Retry) Error() string { return fmt.Sprintf("again in %v: %s", r.After, r.Reason) }

// Park stops trying until the task is added again.
type Park struct{ Reason string }

func (p *Park) Error() string { return "parked: " + p.Reason }

// A Task as it is shown.
type Task struct {
	Kind, Key string
	State     State
	Due       time.Time // Waiting: when it runs; Running: when it began
	Attempts  int       // failures since it was last true or added
	Error     string    // what the last run said, at most 500 bytes
	Added     time.Time // last
	Version   uint64    // counts Adds; a run that began before an Add does not end it
}

// State of a task. A task that became true has no row.
type State string

// States.
const (
	Waiting State = "waiting"
	Running State = "running"
	Parked  State = "parked"
)

// ErrNotFound: there is no such task; it may be done.
var ErrNotFound = errors.New("task: not found")

// A row is a Task as it is stored, in table "task" under the tuple (kind, key).
type row struct {
	Kind     string    `json:"kind"`
	Key      string    `json:"key"`
	State    State     `json:"state"`
	First    bool      `json:"first,omitempty"` // until it is done, it overtakes others of its lane
	Due      time.Time `json:"due"`
	Attempts int       `json:"attempts,omitempty"`
	Failing  time.Time `json:"failing,omitzero"` // since when every run failed
	Error    string    `json:"error,omitempty"`
	Snoozed  bool      `json:"snoozed,omitempty"` // the last run said Retry
	Added    time.Time `json:"added"`
	Version  uint64    `json:"version"`
	Ran      uint64    `json:"ran,omitempty"`   // the Version that the last run began with
	Claim    string    `json:"claim,omitempty"` // who runs it: owner and a random part for each run
	Lease    time.Time `json:"lease,omitzero"`  // until when, if not renewed
}

func (r row) task() Task {
	return Task{Kind: r.Kind, Key: r.Key, State: r.State, Due: r.Due, Attempts: r.Attempts, Error: r.Error, Added: r.Added, Version: r.Version}
}

// tasks has one index: when somebody must look at a row. That is when it is due,
// or when the lease of its run is over.
var tasks = store.Table[row]{
	Name: "task",
	Key:  func(r row) string { return id(r.Kind, r.Key) },
	Index: map[string]func(row) []string{"due": func(r row) []string {
		if r.State == Parked {
			return nil
		}
		return []string{string(store.Key(r.Kind, r.lane(), r.rank(), moment(r.at())))}
	}},
}

func id(kind, key string) string { return string(store.Key(kind, key)) }

// lane is what the key has before its first slash, empty if there is none.
func (r row) lane() string {
	lane, _, ok := strings.Cut(r.Key, "/")
	if !ok {
		return ""
	}
	return lane
}

// The ranks, as they are ordered.
const (
	rankFirst = "1"
	rankOther = "2"
)

func (r row) rank() string {
	if r.First {
		return rankFirst
	}
	return rankOther
}

// at is when somebody must look at the row.
func (r row) at() time.Time {
	if r.State == Running {
		return r.Lease
	}
	return r.Due
}

// moment is a time as text that orders as time does.
func moment(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000000000") }

// Add makes sure that the task (kind, key) runs at due or soon after. If it waits
// already, the earlier time holds: a handler that is called before its time says
// Retry.
func Add(tx store.Tx, kind, key string, due time.Time) error { return enter(tx, kind, key, due, false) }

// AddFirst is Add of what can not wait: until it is done, the task overtakes all
// others that are due in its lane, also when it has to be tried again.
func AddFirst(tx store.Tx, kind, key string, due time.Time) error {
	return enter(tx, kind, key, due, true)
}

func enter(tx store.Tx, kind, key string, due time.Time, first bool) error {
	r, ok, err := tasks.Get(tx, id(kind, key))
	if err != nil {
		return fmt.Errorf("add task %s %s: %w", kind, key, err)
	}
	// While a run goes on, Due is when it began; the first Add since then sets it.
	asked := ok && (r.State == Waiting || r.State == Running && r.Version > r.Ran)
	if !asked || due.Before(r.Due) {
		r.Due = due
	}
	if !ok || r.State == Parked {
		r.State = Waiting
	}
	r.Kind, r.Key, r.Added, r.First = kind, key, time.Now(), r.First || first
	r.Attempts, r.Failing, r.Error, r.Snoozed = 0, time.Time{}, "", false
	r.Version++
	if err := tasks.Put(tx, r); err != nil {
		return fmt.Errorf("add task %s %s: %w", kind, key, err)
	}
	return nil
}

// Get returns the task, if it is not done.
func Get(tx store.Tx, kind, key string) (Task, bool, error) {
	r, ok, err := tasks.Get(tx, id(kind, key))
	return r.task(), ok, err
}

// All yields tasks ordered by kind and key, those after the given one (the zero
// Task: from the beginning), at most limit (0: all).
func All(tx store.Tx, after Task, limit int) iter.Seq2[Task, error] {
	from := ""
	if after.Kind != "" || after.Key != "" {
		from = id(after.Kind, after.Key)
	}
	return func(yield func(Task, error) bool) {
		for r, err := range tasks.All(tx, from, limit) {
			if !yield(r.task(), err) {
				return
			}
		}
	}
}

// List returns tasks as All does.
func List(ctx context.Context, s store.Store, after Task, limit int) (list []Task, err error) {
	err = s.View(ctx, func(tx store.Tx) error {
		list = nil
		for t, err := range All(tx, after, limit) {
			if err != nil {
				return err
			}
			list = append(list, t)
		}
		return nil
	})
	return list, err
}

// Requeue makes a task that waits or is parked due at once, as Add does, and one
// that runs run again. It is ErrNotFound if there is none.
func Requeue(ctx context.Context, s store.Store, kind, key string) error {
	return s.Update(ctx, func(tx store.Tx) error {
		_, ok, err := Get(tx, kind, key)
		if err != nil {
			return err
		}
		if !ok {
			return fmt.Errorf("%w: %s %s", ErrNotFound, kind, key)
		}
		return Add(tx, kind, key, time.Now())
	})
}
