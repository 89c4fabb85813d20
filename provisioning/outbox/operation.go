package outbox

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"time"

	"github.com/gatehouse-sso/gatehouse/provisioning/connector"
	"github.com/gatehouse-sso/gatehouse/provisioning/store"
	"github.com/gatehouse-sso/gatehouse/provisioning/task"
)

// The steps of an attempt, in order.
const (
	StepTest   = "test"   // whether the target may be asked at all
	StepLoad   = "load"   // the user, and what is known of the account
	StepScope  = "scope"  // whether the user should have one
	StepMatch  = "match"  // which account is theirs
	StepChange = "change" // what was done to it
)

// A Step of an attempt. Its text is for administrators and has no value of a
// person.
type Step struct {
	Name string `json:"name"`
	OK   bool   `json:"ok"`
	Text string `json:"text"`
}

// An Operation is the record of one attempt to make a target agree about a
// user. It has the steps that were reached, and what was asked of the target, as
// names without values.
type Operation struct {
	Target string           `json:"target"`
	UserID string           `json:"user"`
	Slot   int              `json:"slot"` // which of the few that are kept of an account
	At     time.Time        `json:"at"`
	Took   time.Duration    `json:"took"`
	Steps  []Step           `json:"steps"`
	Did    string           `json:"did,omitempty"`   // created, adopted, updated, disabled, deleted; empty: nothing
	Class  string           `json:"class,omitempty"` // of the error
	Error  string           `json:"error,omitempty"`
	Next   time.Time        `json:"next,omitzero"` // when it is tried again, if that is known
	Calls  []connector.Call `json:"calls,omitempty"`
}

// slots is how many operations are kept of an account, and keepOperations for how
// long; so the records of a directory are bounded by its accounts.
const (
	slots          = 5
	keepOperations = 30 * 24 * time.Hour
)

var operations = store.Table[Operation]{
	Name: "operation",
	Key:  func(o Operation) string { return string(store.Key(o.Target, o.UserID, strconv.Itoa(o.Slot))) },
	Index: map[string]func(Operation) []string{
		"user": func(o Operation) []string { return []string{o.UserID} },
		"failed": func(o Operation) []string {
			if o.Error == "" {
				return nil
			}
			return []string{o.Target}
		},
	},
}

// step notes a step that was reached.
func (r *run) step(name string, ok bool, format string, args ...any) {
	r.steps = append(r.steps, Step{name, ok, bounded(fmt.Sprintf(format, args...))})
}

// operation is the record of the attempt.
func (r *run) operation(err error) Operation {
	now := r.o.c.Now()
	op := Operation{Target: r.t.ID, UserID: r.userID, At: r.began, Took: now.Sub(r.began), Steps: r.steps, Did: r.did, Calls: r.trace.Calls()}
	if err == nil {
		return op
	}
	op.Error = bounded(err.Error())
	var ce *connector.Error
	if errors.As(err, &ce) {
		op.Class = ce.Class.String()
	}
	var retry *task.Retry
	if errors.As(r.o.instruct(r, err), &retry) {
		op.Next = now.Add(retry.After)
	}
	return op
}

// A Question chooses operations.
type Question struct {
	Target string // empty: of all
	UserID string // empty: of all
	Failed bool   // only those that failed; needs a Target
	After  string // goes on after this one, by its Key
	Limit  int    // 0: all
}

// Key names an operation, for After.
func (o Operation) Key() string { return operations.Key(o) }

// Operations lists what was tried: of one user newest first, else in the order of
// their keys.
func (o *Outbox) Operations(ctx context.Context, q Question) (list []Operation, err error) {
	err = o.c.Store.View(ctx, func(tx store.Tx) error {
		list = list[:0]
		var rows iter.Seq2[Operation, error]
		switch {
		case q.UserID != "":
			rows = operations.Find(tx, "user", q.UserID, "", 0)
		case q.Failed && q.Target != "":
			rows = operations.Find(tx, "failed", q.Target, q.After, q.Limit)
		default:
			rows = operations.All(tx, max(q.After, string(store.Key(q.Target))), 0)
			if q.Target == "" {
				rows = operations.All(tx, q.After, 0)
			}
		}
		for op, err := range rows {
			if err != nil {
				return err
			}
			if q.Target != "" && op.Target != q.Target {
				if q.UserID == "" {
					break // the rows of a target stand together
				}
				continue
			}
			if q.Failed && op.Error == "" {
				continue
			}
			list = append(list, op)
			if q.UserID == "" && q.Limit > 0 && len(list) == q.Limit {
				break
			}
		}
		return nil
	})
	if q.UserID != "" {
		slices.SortFunc(list, func(a, b Operation) int { return b.At.Compare(a.At) })
		if q.Limit > 0 {
			list = list[:min(len(list), q.Limit)]
		}
	}
	return list, err
}

// sweepPage is how many records Sweep looks at in one call.
const sweepPage = 200

// Sweep takes away records that are too old, a bounded part of them, from after
// on. It returns where to go on; empty: that was all.
func (o *Outbox) Sweep(ctx context.Context, after string) (next string, err error) {
	var old []string
	err = o.c.Store.View(ctx, func(tx store.Tx) error {
		old, next = nil, ""
		n := 0
		for op, err := range operations.All(tx, after, sweepPage) {
			if err != nil {
				return err
			}
			if o.c.Now().Sub(op.At) > keepOperations {
				old = append(old, op.Key())
			}
			if n++; n == sweepPage {
				next = op.Key()
			}
		}
		return nil
	})
	if err != nil {
		return "", err
	}
	for page := range slices.Chunk(old, 25) { // a record is up to three keys
		if err := o.c.Store.Update(ctx, func(tx store.Tx) error {
			for _, key := range page {
				if err := operations.Delete(tx, key); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			return "", err
		}
	}
	return next, nil
}
