package reconcile

import (
	"context"
	"fmt"
	"strings"

	"github.com/gatehouse-sso/gatehouse/provisioning/connector"
	"github.com/gatehouse-sso/gatehouse/provisioning/guard"
	"github.com/gatehouse-sso/gatehouse/provisioning/outbox"
	"github.com/gatehouse-sso/gatehouse/provisioning/store"
	"github.com/gatehouse-sso/gatehouse/provisioning/task"
)

// Stray is the guard.Act.Object of an account that is nobody's; the Act's Subject
// is the target's ID of it.
const Stray = "account of nobody"

// TaskStray is the kind of the tasks that take away what a person approved; their
// key is the target, a slash and the target's ID of the account.
const TaskStray = "reconcile.stray"

// Resume adds the task of an approved stray, for guard.Config.Resume.
func (r *Reconciler) Resume(tx store.Tx, it guard.Item) error {
	target := strings.TrimPrefix(it.Act.Scope, guard.Target(""))
	return task.Add(tx, TaskStray, target+"/"+it.Act.Subject, r.c.Now())
}

// HandleStray is the task.Handler of TaskStray. It looks once more whether the
// account is nobody's.
func (r *Reconciler) HandleStray(ctx context.Context, key string) error {
	id, remote, _ := strings.Cut(key, "/")
	t := r.targets[id]
	if t == nil {
		return &task.Park{Reason: "target " + id + " is not in the configuration"}
	}
	var it guard.Item
	var owned bool
	err := r.c.Store.View(ctx, func(tx store.Tx) (err error) {
		if it, _, err = r.c.Guard.LookTx(tx, guard.Act{Scope: guard.Target(id), Kind: guard.Removal, Subject: remote, Object: Stray}); err != nil {
			return err
		}
		_, owned, err = outbox.OwnerTx(tx, id, remote)
		return err
	})
	if err != nil || owned || it.State != guard.ItemApproved {
		return err
	}
	if err := r.limits[id].Wait(ctx); err != nil {
		return err
	}
	if it.Act.How == Delete {
		return t.Connector.Remove(ctx, remote)
	}
	g, ok := t.Connector.(connector.Getter)
	if !ok {
		return &task.Park{Reason: "the target can not be asked for one account, so it can not be disabled without changing what else it has"}
	}
	a, err := g.Get(ctx, remote)
	if connector.ClassOf(err) == connector.Gone && err != nil {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read account at %s: %w", id, err)
	}
	_, err = t.Connector.Sync(ctx, connector.Account{ExternalID: a.ExternalID, UserName: a.UserName}, remote)
	return err
}
