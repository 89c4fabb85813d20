package outbox

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gatehouse-sso/gatehouse/provisioning/audit"
	"github.com/gatehouse-sso/gatehouse/provisioning/connector"
	"github.com/gatehouse-sso/gatehouse/provisioning/store"
)

// targetRow is what is kept of a target beside its accounts.
type targetRow struct {
	Target string `json:"target"`
	// Form that its accounts were last asked to have.
	Form        string    `json:"form"`
	Paused      *Paused   `json:"paused,omitempty"`
	Quarantined time.Time `json:"quarantined,omitzero"`
}

var targetRows = store.Table[targetRow]{Name: "target", Key: func(r targetRow) string { return r.Target }}

// Paused says that a person has a target left alone, until a person takes it up
// again. What changes meanwhile waits, however much that is: one run a user.
type Paused struct {
	Since time.Time `json:"since"`
	By    string    `json:"by"`
	Why   string    `json:"why,omitempty"`
}

// ErrNoTarget: the configuration has no such target.
var ErrNoTarget = errors.New("outbox: there is no such target")

// Load reads what people and time have decided about targets. It is called
// before anything runs.
func (o *Outbox) Load(ctx context.Context) error {
	err := o.c.Store.View(ctx, func(tx store.Tx) error {
		for id, t := range o.targets {
			row, _, err := targetRows.Get(tx, id)
			if err != nil {
				return err
			}
			t.paused.Store(row.Paused)
			if !row.Quarantined.IsZero() {
				t.health.keep(row.Quarantined)
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("load targets: %w", err)
	}
	return nil
}

// keep goes on with a quarantine that began earlier: one run may see.
func (h *health) keep(since time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.quarantined, h.until, h.why = since, since, "it was in quarantine when the gateway started"
}

// edit changes the row of a target, and records why.
func (o *Outbox) edit(ctx context.Context, id string, e audit.Event, fn func(*targetRow)) error {
	return o.c.Store.Update(ctx, func(tx store.Tx) error {
		row, _, err := targetRows.Get(tx, id)
		if err != nil {
			return err
		}
		row.Target = id
		fn(&row)
		if err := targetRows.Put(tx, row); err != nil {
			return err
		}
		e.Target = id
		return record(tx, o.c.Audit, e)
	})
}

// Pause leaves a target alone.
func (o *Outbox) Pause(ctx context.Context, id, by, why string) error {
	t := o.targets[id]
	if t == nil {
		return ErrNoTarget
	}
	p := &Paused{o.c.Now(), by, bounded(why)}
	if err := o.edit(ctx, id, audit.Event{Kind: "target.paused", By: by, Text: why}, func(r *targetRow) { r.Paused = p }); err != nil {
		return fmt.Errorf("pause target %s: %w", id, err)
	}
	t.paused.Store(p)
	return nil
}

// Resume has a target asked again, also one that is left alone after failures.
func (o *Outbox) Resume(ctx context.Context, id, by string) error {
	t := o.targets[id]
	if t == nil {
		return ErrNoTarget
	}
	if err := o.edit(ctx, id, audit.Event{Kind: "target.resumed", By: by}, func(r *targetRow) { r.Paused = nil }); err != nil {
		return fmt.Errorf("resume target %s: %w", id, err)
	}
	t.paused.Store(nil)
	t.health.retry()
	return nil
}

// report tells a target's health how a run went, and people what that changed.
func (o *Outbox) report(ctx context.Context, t *target, err error, counted bool) {
	why := ""
	if err != nil {
		why = bounded(err.Error())
	}
	now := o.c.Now()
	var e audit.Event
	switch t.health.report(now, err, why, counted) {
	case same:
		return
	case opened:
		e = audit.Event{Kind: "target.left_alone", Text: why}
		_ = o.c.Store.Update(ctx, func(tx store.Tx) error { e.Target = t.ID; return record(tx, o.c.Audit, e) }) // the health page says it too
		return
	case entered:
		e = audit.Event{Kind: "target.quarantined", Text: why}
	case left:
		e, now = audit.Event{Kind: "target.recovered"}, time.Time{}
	}
	_ = o.edit(ctx, t.ID, e, func(r *targetRow) { r.Quarantined = now }) // a restart would only begin it anew
}

// A TargetView is a target as people see it.
type TargetView struct {
	ID     string         `json:"id"`
	Title  string         `json:"title,omitempty"`
	Caps   connector.Caps `json:"caps,omitzero"`
	Paused *Paused        `json:"paused,omitempty"`
	Health
}

// Targets are those of the configuration, in its order.
func (o *Outbox) Targets() (list []TargetView) {
	for _, c := range o.c.Targets {
		t := o.targets[c.ID]
		v := TargetView{ID: t.ID, Title: t.Title, Caps: connector.CapsOf(t.Connector), Paused: t.paused.Load(), Health: t.health.view(o.c.Now())}
		if v.Rate = t.limit.Rate(); v.Paused != nil {
			v.State, v.Why = "paused", v.Paused.Why
		}
		list = append(list, v)
	}
	return list
}

// ErrNoTest: the connector has no test, or no probe.
var ErrNoTest = errors.New("outbox: the connector of this target has no such thing")

// Test asks a target whether its address and our credentials are right.
func (o *Outbox) Test(ctx context.Context, id string) error {
	t := o.targets[id]
	if t == nil {
		return ErrNoTarget
	}
	c, ok := t.Connector.(connector.Tester)
	if !ok {
		return ErrNoTest
	}
	err := t.call(ctx, c.Test)
	if err == nil {
		t.health.retry()
	}
	return err
}

// Probe finds out by experiment what a target can do.
func (o *Outbox) Probe(ctx context.Context, id string) (connector.Report, error) {
	t := o.targets[id]
	if t == nil {
		return connector.Report{}, ErrNoTarget
	}
	c, ok := t.Connector.(connector.Prober)
	if !ok {
		return connector.Report{}, ErrNoTest
	}
	return c.Probe(ctx)
}
