// Package task is durable work.
//
// A task says what must become true ("target T agrees about user U"), not what
// to send: it has a kind and a key and no payload. [Add] puts it into the
// caller's transaction, so work is never lost and never there without its
// reason. A [Runner] calls the kind's [Handler] until it says that it is true.
// Adding a task that already waits makes it due again; adding one that is
// running makes it run once more afterwards. One task never runs twice at once.
package task

import (
	"context"
	"fmt"
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

// A Task as it is stored and shown.
type Task struct {
	Kind, Key string
	State     State
	Due       time.Time
	Attempts  int // failures since it was last true or added
	Error     string
	Added     time.Time
	Version   uint64 // counts Adds; a run that began before an Add does not end it
}

// State of a task. A task that became true has no row.
type State string

// States.
const (
	Waiting State = "waiting"
	Running State = "running"
	Parked  State = "parked"
)

// Add makes sure that the task (kind, key) runs at due or soon after.
func Add(tx store.Tx, kind, key string, due time.Time) error { panic("to be written") }

// Get returns the task, if it is not done.
func Get(tx store.Tx, kind, key string) (Task, bool, error) { panic("to be written") }

// Config of a Runner.
type Config struct {
	Store    store.Store
	Handlers map[string]Handler // by kind
	Workers  int                // at the same time; 0: 16
	Owner    string             // this process, in leases; empty: random
	Now      func() time.Time   // nil: time.Now
}

// A Runner runs what is due.
type Runner struct{}

// NewRunner makes a Runner; it does nothing until Run or Now.
func NewRunner(c Config) *Runner { panic("to be written") }

// Run works until ctx ends, then waits for handlers to return (their ctx is
// done too). What a crash left running is taken up when its lease is over, or
// at once when this process is the only one that can have the store.
func (r *Runner) Run(ctx context.Context) error { panic("to be written") }

// Now runs one task in the caller's goroutine, due or not, unless it runs
// elsewhere already: then it waits for that run. It returns what the handler
// said, nil if there is no such task, or ctx's error. The outcome is stored as
// if Run had done it.
func (r *Runner) Now(ctx context.Context, kind, key string) error { panic("to be written") }
