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
// A person can [Pause] a task, whatever its state: a run is told to stop, and
// nothing but [Resume] starts it again. [Cancel] ends it until it is added again.
//
// Work that is too long for one go is done in buckets. Its handler keeps a
// [Progress] with a cursor, saved in the transaction that did a bucket: a run
// that was stopped by a person or a crash goes on behind the last one.
// [InThreads] does several buckets at the same time.
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
	Progress  *Progress // of long work that keeps one
}

// State of a task. A task that became true has no row; Done is how it is shown
// if it kept a Progress.
type State string

// States.
const (
	Waiting   State = "waiting"
	Running   State = "running"
	Parked    State = "parked"
	Paused    State = "paused"
	Cancelled State = "cancelled"
	Done      State = "done"
)

// Why the context of a handler is done, as its cause, when a person stopped the
// task; and what [Runner.Now] says of a task that is stopped.
var (
	ErrPaused    = errors.New("task: paused")
	ErrCancelled = errors.New("task: cancelled")
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
	Wish     State     `json:"wish,omitempty"`  // Paused or Cancelled: what becomes of a run that a person told to stop
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
		if r.State != Waiting && r.State != Running {
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
func moment(t time.Time) string { return t.UTC().Format(momentForm) }

const momentForm = "2006-01-02T15:04:05.000000000"

// Add makes sure that the task (kind, key) runs at due or soon after. If it waits
// already, the earlier time holds: a handler that is called before its time says
// Retry. A task that is paused stays so and covers the Add when it is resumed.
func Add(tx store.Tx, kind, key string, due time.Time) error { return enter(tx, kind, key, due, false) }

// AddFirst is Add of what can not wait: until it is done, the task overtakes all
// others that are due in its lane, also when it has to be tried again.
func AddFirst(tx store.Tx, kind, key string, due time.Time) error {
	return enter(tx, kind, key, due, true)
}

func enter(tx store.Tx, kind, key string, due time.Time, first bool) error {
	was, ok, err := tasks.Get(tx, id(kind, key))
	if err != nil {
		return fmt.Errorf("add task %s %s: %w", kind, key, err)
	}
	r := was
	// While a run goes on, Due is when it began; the first Add since then sets it.
	asked := ok && (r.State == Waiting || r.State == Running && r.Version > r.Ran)
	if !asked || due.Before(r.Due) {
		r.Due = due
	}
	if !ok || r.State == Cancelled {
		if err := Forget(tx, kind, key); err != nil {
			return fmt.Errorf("add task %s %s: %w", kind, key, err)
		}
	}
	if !ok || r.State == Parked || r.State == Cancelled {
		r.State = Waiting
	}
	if r.Wish == Cancelled { // what is cancelled is the run, not what is asked for after it
		r.Wish = ""
	}
	r.Kind, r.Key, r.Added, r.First = kind, key, time.Now(), r.First || first
	r.Attempts, r.Failing, r.Error, r.Snoozed = 0, time.Time{}, "", false
	r.Version++
	if ok {
		err = tasks.Swap(tx, was, r)
	} else {
		err = tasks.Insert(tx, r)
	}
	if err != nil {
		return fmt.Errorf("add task %s %s: %w", kind, key, err)
	}
	return nil
}

// Get returns the task, if it is not done.
func Get(tx store.Tx, kind, key string) (Task, bool, error) {
	r, ok, err := tasks.Get(tx, id(kind, key))
	if err != nil || !ok {
		return Task{}, false, err
	}
	t, err := shown(tx, r)
	return t, err == nil, err
}

// Look is Get, and finds what is done too, as long as its Progress is kept.
func Look(tx store.Tx, kind, key string) (Task, bool, error) {
	t, ok, err := Get(tx, kind, key)
	if err != nil || ok {
		return t, ok, err
	}
	p, ok, err := progresses.Get(tx, id(kind, key))
	return Task{Kind: kind, Key: key, State: Done, Progress: &p.Progress}, ok, err
}

// shown is a row with its Progress.
func shown(tx store.Tx, r row) (Task, error) {
	t := r.task()
	p, ok, err := progresses.Get(tx, id(r.Kind, r.Key))
	if ok {
		t.Progress = &p.Progress
	}
	return t, err
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
			var t Task
			if err == nil {
				t, err = shown(tx, r)
			}
			if !yield(t, err) {
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

// Requeue makes a task that waits, or that was parked, paused or cancelled, due at
// once, as Add does, and one that runs run again. It is ErrNotFound if there is
// none.
func Requeue(ctx context.Context, s store.Store, kind, key string) error {
	return s.Update(ctx, func(tx store.Tx) error {
		return turn(tx, kind, key, func(r *row) error {
			resume(r)
			if err := tasks.Put(tx, *r); err != nil {
				return err
			}
			return Add(tx, kind, key, time.Now())
		})
	})
}

// Pause stops a task until Resume: it does not run, whatever is added, and a run
// under way is told to stop, with ErrPaused as the cause. What the run has
// finished by then counts. It is ErrNotFound if there is no such task.
func Pause(ctx context.Context, s store.Store, kind, key string) error {
	return stop(ctx, s, kind, key, Paused)
}

// Cancel ends a task that is not done, and a run under way with ErrCancelled as
// the cause. The row stays, to be seen, until the task is added again, which
// begins it anew. It is ErrNotFound if there is no such task.
func Cancel(ctx context.Context, s store.Store, kind, key string) error {
	return stop(ctx, s, kind, key, Cancelled)
}

func stop(ctx context.Context, s store.Store, kind, key string, as State) error {
	return s.Update(ctx, func(tx store.Tx) error {
		return turn(tx, kind, key, func(r *row) error {
			switch r.State {
			case Running:
				r.Wish = as
			case Cancelled: // there is nothing left to pause
			default:
				r.State = as
			}
			return tasks.Put(tx, *r)
		})
	})
}

// Resume lets a task that was paused run again, at once; one that is not paused
// is left as it is. It is ErrNotFound if there is no such task, and ErrCancelled
// if it was cancelled.
func Resume(ctx context.Context, s store.Store, kind, key string) error {
	return s.Update(ctx, func(tx store.Tx) error {
		return turn(tx, kind, key, func(r *row) error {
			if r.State == Cancelled || r.Wish == Cancelled {
				return fmt.Errorf("%w: %s %s", ErrCancelled, kind, key)
			}
			resume(r)
			return tasks.Put(tx, *r)
		})
	})
}

func resume(r *row) {
	if r.State == Paused {
		r.State, r.Due = Waiting, time.Now()
	}
	r.Wish = ""
}

// turn changes the row of a task, which must be there.
func turn(tx store.Tx, kind, key string, fn func(*row) error) error {
	r, ok, err := tasks.Get(tx, id(kind, key))
	if err != nil {
		return err
	}
	if !ok {
		return fmt.Errorf("%w: %s %s", ErrNotFound, kind, key)
	}
	return fn(&r)
}
