package notice

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/gatehouse-sso/gatehouse/provisioning/access"
	"github.com/gatehouse-sso/gatehouse/provisioning/connector"
	"github.com/gatehouse-sso/gatehouse/provisioning/store"
	"github.com/gatehouse-sso/gatehouse/provisioning/task"
)

// An event says that a request came to a state, to programs: by IDs alone.
type event struct {
	ID      string    `json:"id"`
	State   string    `json:"state"`
	User    string    `json:"user"`
	Role    string    `json:"role"`
	Service string    `json:"service,omitempty"`
	Until   time.Time `json:"until"`
	By      string    `json:"by,omitempty"`
}

// EventType is the type of the CloudEvents that an address is told; what they
// are about is "requests/" and the ID of one.
const EventType = "gatehouse.request.v1"

// over says that an address answered 410.
type over struct {
	Address string    `json:"address"` // a digest
	At      time.Time `json:"at"`
}

var overs = store.Table[over]{Name: "notify_over", Key: func(o over) string { return o.Address }}

// wantsNoMore is why a task is parked, and what its Progress notes of that: a
// task that has it and runs all the same was asked for by a person.
const wantsNoMore = "the webhook's address said 410 and wants no more events; requeue this task to try it all the same"

// HandleHook is the task.Handler of KindHook.
func (n *Notices) HandleHook(ctx context.Context, key string) error {
	state, id, _ := strings.Cut(key, "/")
	r, ok, err := n.request(ctx, id)
	if err != nil || !ok || n.Hook == nil {
		return err
	}
	closed, asked := false, false
	if err := n.Store.View(ctx, func(tx store.Tx) (err error) {
		if _, closed, err = overs.Get(tx, n.Hook.Address()); err == nil {
			_, asked, err = task.Load(tx, KindHook, key)
		}
		return err
	}); err != nil {
		return err
	}
	if closed && !asked {
		return n.park(ctx, key, nil)
	}
	e := event{ID: r.ID, State: state, User: r.UserID, Role: r.Role, Service: r.Service, Until: r.Until}
	if state == r.State && state != access.Pending {
		e.By = r.By
		if !r.Granted.IsZero() {
			e.Until = r.Granted
		}
	}
	err = n.Hook.Send(ctx, key, EventType, "requests/"+r.ID, e)
	var said *connector.Error
	if errors.As(err, &said) {
		if said.Over {
			return n.park(ctx, key, func(tx store.Tx) error {
				return overs.Put(tx, over{Address: n.Hook.Address(), At: n.Now()})
			})
		}
		if said.After > 0 {
			return &task.Retry{After: said.After, Reason: said.Text}
		}
		if said.Class != connector.Transient {
			return &task.Park{Reason: fmt.Sprintf("the webhook will not take it: %v", err)}
		}
	}
	if err == nil && asked {
		return n.reopen(ctx, key)
	}
	return err
}

// park ends a run whose event the address does not want, and notes that.
func (n *Notices) park(ctx context.Context, key string, also func(store.Tx) error) error {
	said := &task.Park{Reason: wantsNoMore}
	if err := task.Conclude(ctx, n.Store, said, func(tx store.Tx) error {
		if also != nil {
			if err := also(tx); err != nil {
				return err
			}
		}
		return task.Save(tx, KindHook, key, task.Progress{Note: wantsNoMore})
	}); err != nil {
		return err
	}
	return said
}

// reopen notes that the address takes events again, as that of a task was taken,
// and has those sent that it was not told of.
func (n *Notices) reopen(ctx context.Context, key string) error {
	list, err := task.List(ctx, n.Store, task.Task{Kind: KindHook}, 0)
	if err != nil {
		return err
	}
	for _, t := range list {
		if t.Kind != KindHook || t.State != task.Parked || t.Error != wantsNoMore {
			continue
		}
		if err := task.Requeue(ctx, n.Store, t.Kind, t.Key); err != nil && !errors.Is(err, task.ErrNotFound) {
			return err
		}
	}
	return task.Conclude(ctx, n.Store, nil, func(tx store.Tx) error {
		if err := overs.Delete(tx, n.Hook.Address()); err != nil {
			return err
		}
		return task.Forget(tx, KindHook, key)
	})
}
