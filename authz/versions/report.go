package versions

import (
	"context"
	"slices"
	"time"

	"github.com/gatehouse-sso/gatehouse/authz"
	"github.com/gatehouse-sso/gatehouse/provisioning/store"
)

// A Report compares two policies over people: all of them, or those who came. It
// has counts, and IDs of a few to look at; never a value.
type Report struct {
	Kind     string    `json:"kind"`               // Impact or Shadow
	Revision string    `json:"revision,omitempty"` // of the draft that it is about
	Base     int       `json:"base"`               // version that it was compared with
	By       string    `json:"by,omitempty"`
	Started  time.Time `json:"started"`
	Until    time.Time `json:"until,omitzero"` // of a Shadow: when it ends by itself
	Ended    time.Time `json:"ended,omitzero"`
	Tree     tree      `json:"tree,omitempty"` // of a Shadow: what is tried
	Tally
}

// Kinds of reports; there is at most one of each.
const (
	Impact = "impact" // the draft over everybody
	Shadow = "shadow" // a draft beside the policy in force, over those who come
)

// A Tally counts differences. The zero Tally has seen nobody.
type Tally struct {
	Compared   int               `json:"compared"` // releases that were made both ways
	Recipients map[string]*Count `json:"recipients,omitempty"`
}

// A Count is of one recipient.
type Count struct {
	Compared int            `json:"compared"`
	Differ   int            `json:"differ"`          // releases among them that are not the same
	Gains    map[string]int `json:"gains,omitempty"` // by the recipient's names of attributes
	Loses    map[string]int `json:"loses,omitempty"`
	Changes  map[string]int `json:"changes,omitempty"`
	Some     []string       `json:"some,omitempty"` // IDs of users for whom something differs, at most MaxSome
}

// MaxSome is how many people a Count names.
const MaxSome = 10

// Add counts what differs for one person at one recipient.
func (t *Tally) Add(to, userID string, diff []authz.Difference) {
	if t.Recipients == nil {
		t.Recipients = map[string]*Count{}
	}
	c := t.Recipients[to]
	if c == nil {
		c = &Count{Gains: map[string]int{}, Loses: map[string]int{}, Changes: map[string]int{}}
		t.Recipients[to] = c
	}
	t.Compared++
	c.Compared++
	if len(diff) == 0 {
		return
	}
	c.Differ++
	for _, d := range diff {
		switch d.What {
		case authz.Gains:
			c.Gains[d.Name]++
		case authz.Loses:
			c.Loses[d.Name]++
		case authz.Changes:
			c.Changes[d.Name]++
		}
	}
	if len(c.Some) < MaxSome && !slices.Contains(c.Some, userID) {
		c.Some = append(c.Some, userID)
	}
}

// Merge adds what another has counted.
func (t *Tally) Merge(o Tally) {
	if t.Recipients == nil && o.Recipients != nil {
		t.Recipients = map[string]*Count{}
	}
	t.Compared += o.Compared
	for to, c := range o.Recipients {
		mine := t.Recipients[to]
		if mine == nil {
			mine = &Count{}
			t.Recipients[to] = mine
		}
		mine.Compared += c.Compared
		mine.Differ += c.Differ
		mine.Gains, mine.Loses, mine.Changes = plus(mine.Gains, c.Gains), plus(mine.Loses, c.Loses), plus(mine.Changes, c.Changes)
		for _, id := range c.Some {
			if len(mine.Some) < MaxSome && !slices.Contains(mine.Some, id) {
				mine.Some = append(mine.Some, id)
			}
		}
	}
}

func plus(a, b map[string]int) map[string]int {
	if a == nil {
		a = map[string]int{}
	}
	for k, n := range b {
		a[k] += n
	}
	return a
}

var reports = &store.Table[Report]{Name: "release_report", Key: func(r Report) string { return r.Kind }}

// ReadReport is the report of a kind; ok is false if there is none.
func ReadReport(tx store.Tx, kind string) (r Report, ok bool, err error) {
	return reports.Get(tx, kind)
}

// PutReport stores a report in place of the one of its kind.
func PutReport(tx store.Tx, r Report) error { return reports.Put(tx, r) }

// Report is ReadReport in a transaction of its own.
func (v *Versions) Report(ctx context.Context, kind string) (r Report, ok bool, err error) {
	err = v.c.Store.View(ctx, func(tx store.Tx) error {
		r, ok, err = reports.Get(tx, kind)
		return err
	})
	return r, ok, err
}

// Try begins to compare the draft with the policy in force, over those who come,
// until a time. What it tries is the draft as it is: later changes of the draft
// are not tried.
func (v *Versions) Try(ctx context.Context, by string, until time.Time) (r Report, err error) {
	err = v.c.Store.Update(ctx, func(tx store.Tx) error {
		d, ok, err := drafts.Get(tx, "draft")
		if err == nil && !ok {
			err = &Refusal{ReasonNone, "there is no draft to try"}
		}
		if err != nil {
			return err
		}
		now := v.c.Now().UTC()
		if !until.After(now) {
			return &Refusal{ReasonInvalid, "that time is over"}
		}
		r = Report{Kind: Shadow, Revision: d.Revision, Base: d.Base, By: by, Started: now, Until: until.UTC(), Tree: d.Tree}
		if err := reports.Put(tx, r); err != nil {
			return err
		}
		return v.c.Record(tx, Event{Kind: "release.tried", By: by})
	})
	return r, err
}

// Stop ends what Try began; what it counted stays.
func (v *Versions) Stop(ctx context.Context, by string) (r Report, err error) {
	err = v.c.Store.Update(ctx, func(tx store.Tx) error {
		var ok bool
		if r, ok, err = reports.Get(tx, Shadow); err != nil {
			return err
		}
		if !ok || !r.Ended.IsZero() {
			return &Refusal{ReasonNone, "nothing is tried"}
		}
		r.Ended = v.c.Now().UTC()
		if err := reports.Put(tx, r); err != nil {
			return err
		}
		return v.c.Record(tx, Event{Kind: "release.try_stopped", By: by})
	})
	return r, err
}

// Tried is the policy that Try tries now, if it does.
func (v *Versions) Tried(ctx context.Context) (r Report, p Policy, ok bool, err error) {
	err = v.c.Store.View(ctx, func(tx store.Tx) error {
		if r, ok, err = reports.Get(tx, Shadow); err != nil {
			return err
		}
		if ok = ok && r.Ended.IsZero() && v.c.Now().Before(r.Until); ok {
			p, err = grow(tx, r.Tree)
		}
		return err
	})
	return r, p, ok, err
}

// Count adds to what was tried since a time; of another try it counts nothing.
func (v *Versions) Count(ctx context.Context, started time.Time, t Tally) error {
	return v.c.Store.Update(ctx, func(tx store.Tx) error {
		r, ok, err := reports.Get(tx, Shadow)
		if err != nil || !ok || !r.Started.Equal(started) {
			return err
		}
		r.Merge(t)
		return reports.Put(tx, r)
	})
}
