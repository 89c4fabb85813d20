package main

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/gatehouse-sso/gatehouse/configs"
	"github.com/gatehouse-sso/gatehouse/provisioning/outbox"
	"github.com/gatehouse-sso/gatehouse/provisioning/reconcile"
	"github.com/gatehouse-sso/gatehouse/provisioning/store"
	"github.com/gatehouse-sso/gatehouse/provisioning/task"
)

// share is which part of a target's calls a reconciliation may take, in percent:
// changes that people wait for go on meanwhile.
const share = 30

// newReconciler makes what compares targets with the directory.
func (p *process) newReconciler(s *site, o *outbox.Outbox, made []outbox.Target) *reconcile.Reconciler {
	var targets []reconcile.Target
	for i, t := range s.cfg.Targets {
		c := t.Reconcile
		r := reconcile.Target{
			ID: t.ID, Connector: made[i].Connector, Drift: map[string]reconcile.Policy{}, Attribute: map[string]string{},
			Unlinked: c.Unlinked, Unmatched: c.Unmatched, Deleted: c.Deleted,
			Plan: reconcile.Plan{Every: c.Every, At: timeOf(c.At), Incremental: c.Incremental, Mode: reconcile.Run},
		}
		if made[i].Rate > 0 {
			r.Rate = max(1, made[i].Rate*share/100)
		}
		if c.Mode == "report" {
			r.Plan.Mode = reconcile.Preview
		}
		names := namesOf(t)
		for _, d := range c.Drift {
			place := d.Attribute // user_name and active are called so
			for _, rel := range t.Release {
				if rel.Attribute == d.Attribute {
					place = names.place(rel.Attribute, rel.As)
				}
			}
			r.Drift[place], r.Attribute[place] = reconcile.Policy(d.Policy), d.Attribute
		}
		targets = append(targets, r)
	}
	return reconcile.New(reconcile.Config{
		Store: p.store, Directory: s.directory, Outbox: o, Guard: s.guard, Targets: targets, Audit: p.audit.Append, Now: p.now,
		Run: func(ctx context.Context, kind, key string) error { return p.runner.Now(ctx, kind, key) },
	})
}

// timeOf is a time of day since midnight; check has looked at it.
func timeOf(day string) time.Duration {
	t, err := time.Parse("15:04", day)
	if err != nil {
		return 0
	}
	return time.Duration(t.Hour())*time.Hour + time.Duration(t.Minute())*time.Minute
}

// theirs are the targets that say something about users.
func theirs(cfg *configs.Config) (list []string) {
	for _, t := range cfg.Targets {
		for _, d := range t.Reconcile.Drift {
			if d.Policy == "theirs" {
				list = append(list, t.ID)
				break
			}
		}
	}
	return list
}

// reconcile begins a reconciliation, or lets it go on.
func (a *api) reconcile(r *http.Request) (any, error) {
	id, mode := r.FormValue("target"), reconcile.Mode(r.FormValue("mode"))
	switch err := a.s.reconcile.Start(r.Context(), id, mode); {
	case errors.Is(err, reconcile.ErrNoTarget):
		return nil, errNone("there is no target " + id + " — `gatehouse targets list` shows those there are")
	case errors.Is(err, reconcile.ErrNoList):
		return nil, errNo(err.Error())
	case err != nil:
		return nil, err
	}
	var t task.Task
	err := a.p.store.View(r.Context(), func(tx store.Tx) (err error) {
		t, _, err = task.Look(tx, reconcile.Kind, reconcile.Key(id, mode))
		return err
	})
	return t, err
}

// report shows what the last reconciliation of a target found.
func (a *api) report(r *http.Request) (any, error) {
	id, mode := r.FormValue("target"), reconcile.Mode(r.FormValue("mode"))
	rep, ok, err := a.s.reconcile.Report(r.Context(), id, mode)
	if err == nil && !ok {
		err = errNone(strings.TrimSpace("the target "+id+" was never reconciled so") + " — `gatehouse reconcile " + id + "` does it")
	}
	return rep, err
}
