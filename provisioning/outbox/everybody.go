package outbox

import (
	"context"
	"fmt"

	"github.com/gatehouse-sso/gatehouse/provisioning/store"
	"github.com/gatehouse-sso/gatehouse/provisioning/task"
)

// KindEverybody is the kind of the tasks that follow from a change of a
// target's configuration; their key is the target's ID.
const KindEverybody = "sync.everybody"

// forms keep, for each target, the Form that its accounts were last asked to have.
var forms = store.Table[form]{Name: "target", Key: func(f form) string { return f.Target }}

type form struct {
	Target string `json:"target"`
	Form   string `json:"form"`
}

// Begin sees to it that targets whose Form is another than it was come into
// step. It is called when the configuration is in force.
func (o *Outbox) Begin(ctx context.Context) error {
	for _, t := range o.c.Targets {
		err := o.c.Store.Update(ctx, func(tx store.Tx) error {
			was, _, err := forms.Get(tx, t.ID)
			if err != nil || was.Form == t.Form {
				return err
			}
			if err := forms.Put(tx, form{t.ID, t.Form}); err != nil {
				return err
			}
			return task.Add(tx, KindEverybody, t.ID, o.c.Now())
		})
		if err != nil {
			return fmt.Errorf("begin with target %s: %w", t.ID, err)
		}
	}
	return nil
}

// pageOfEverybody is how many users get a task in one transaction: each is up to
// three keys of store.MaxKeys.
const pageOfEverybody = 25

// HandleEverybody is the task.Handler of KindEverybody. It adds the task of each
// user who should have an account at the target. Who should have none any more
// keeps it until something about them changes: a mistake in a configuration must
// not take everybody's account at once.
func (o *Outbox) HandleEverybody(ctx context.Context, id string) error {
	t := o.targets[id]
	if t == nil {
		return &task.Retry{After: unknownTarget, Reason: "target " + id + " is not in the configuration"}
	}
	var page []string
	add := func() error {
		return o.c.Store.Update(ctx, func(tx store.Tx) error {
			for _, userID := range page {
				u, ok, err := o.c.Directory.UserTx(tx, userID)
				if err != nil {
					return err
				}
				s, err := o.subject(tx, u)
				if err != nil {
					return err
				}
				if !ok || !t.wants(u, s) {
					continue
				}
				if err := task.Add(tx, Kind, Key(id, userID), o.c.Now()); err != nil {
					return err
				}
			}
			return nil
		})
	}
	for u, err := range o.c.Directory.Users(ctx, "", 0) {
		if err != nil {
			return err
		}
		if page = append(page, u.ID); len(page) < pageOfEverybody {
			continue
		}
		if err := add(); err != nil {
			return err
		}
		page = page[:0]
	}
	return add()
}
