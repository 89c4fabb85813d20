package scim

import (
	"context"
	"fmt"
	"time"

	"github.com/gatehouse-sso/gatehouse/provisioning"
	"github.com/gatehouse-sso/gatehouse/provisioning/client"
	"github.com/gatehouse-sso/gatehouse/provisioning/guard"
	"github.com/gatehouse-sso/gatehouse/provisioning/store"
)

// What a client would take away from people is asked for before it is done. That it
// disables or deletes users of the Directory is a Follower's to ask; here are the
// groups, and the users of whom nothing is kept.

// mayLeave asks whether all of those may lose a group whom a move takes out of it, by
// themselves or with a group that they are in.
func (s groups) mayLeave(ctx context.Context, groupID string, m provisioning.Move) error {
	if s.Guard == nil || len(m.Leave)+len(m.Unnest) == 0 {
		return nil
	}
	out, err := s.Directory.MembersSince(ctx, groupID, m.Leave)
	if err != nil {
		return err
	}
	acts := losses(ctx, groupID, "", "was taken out of the group", out)
	for _, inner := range m.Unnest {
		if out, err = s.Directory.EverybodySince(ctx, inner); err != nil {
			return err
		}
		acts = append(acts, losses(ctx, groupID, inner, "the group inside it was taken out of it", out)...)
	}
	return s.mayLose(ctx, groupID, acts)
}

// mayGo asks whether a group may go, and with it what it means for those in it.
func (s groups) mayGo(ctx context.Context, groupID string) error {
	if s.Guard == nil {
		return nil
	}
	out, err := s.Directory.EverybodySince(ctx, groupID)
	if err != nil {
		return err
	}
	return s.mayLose(ctx, groupID, losses(ctx, groupID, groupID, "the group was deleted", out))
}

// losses are the acts by which the client of a context takes a group from people.
func losses(ctx context.Context, groupID, whole, why string, since map[string]time.Time) []guard.Act {
	by := client.From(ctx).Source()
	return guard.Memberships(guard.Source(string(by)), groupID, whole, fmt.Sprintf("%s: %s", by, why), since)
}

func (s groups) mayLose(ctx context.Context, groupID string, acts []guard.Act) error {
	ans, err := s.Guard.AskAll(ctx, acts)
	if err != nil || ans.Go() {
		return err
	}
	return answer(s.Guard.Refuse(acts[0], ans), groupID)
}

// CountPassing is how many users a push-only client has.
func CountPassing(tx store.Tx, clientID string) (n int, err error) {
	for _, err := range passings.Entries(tx, "client", clientID, clientID+"\x00", store.Entry{}, 0) {
		if err != nil {
			return 0, err
		}
		n++
	}
	return n, nil
}

// mayTake asks whether the accounts of a passing user may be disabled or deleted.
func (s passages) mayTake(ctx context.Context, p passing, how string) error {
	if s.Guard == nil {
		return nil
	}
	by := client.From(ctx).Source()
	a := guard.Act{
		Scope: guard.Source(string(by)), Kind: guard.Removal, Subject: p.ID, How: how, Since: p.Created,
		Reason: fmt.Sprintf("%s %sd a user who only passes through", by, how),
	}
	ans, err := s.Guard.Ask(ctx, a)
	if err != nil || ans.Go() {
		return err
	}
	return answer(s.Guard.Refuse(a, ans), p.ID)
}
