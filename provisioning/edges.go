package provisioning

import (
	"context"
	"fmt"
	"time"

	"github.com/gatehouse-sso/gatehouse/provisioning/store"
)

// MembersSince says of those of some users who are directly in a group since when.
func (d *Directory) MembersSince(ctx context.Context, groupID string, userIDs []string) (since map[string]time.Time, err error) {
	err = d.Store.View(ctx, func(tx store.Tx) error {
		since = make(map[string]time.Time, len(userIDs))
		for _, id := range userIDs {
			at, in, err := inSince(tx, groupID, id)
			if err != nil {
				return err
			}
			if in {
				since[id] = at
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("members of group %s: %w", groupID, err)
	}
	return since, nil
}

// EverybodySince says of all users in a group, directly or through others, since when
// they are in the group through which they are.
func (d *Directory) EverybodySince(ctx context.Context, groupID string) (since map[string]time.Time, err error) {
	err = d.Store.View(ctx, func(tx store.Tx) error {
		since = make(map[string]time.Time)
		seen := map[string]bool{}
		for todo := []string{groupID}; len(todo) > 0; {
			id := todo[len(todo)-1]
			if todo = todo[:len(todo)-1]; seen[id] {
				continue
			}
			seen[id] = true
			for user, err := range inGroup(tx, id, "", 0) {
				if err != nil {
					return err
				}
				at, _, err := inSince(tx, id, user)
				if err != nil {
					return err
				}
				if old, twice := since[user]; !twice || at.Before(old) {
					since[user] = at
				}
			}
			for n, err := range nests.Find(tx, "parent", id, "", 0) {
				if err != nil {
					return err
				}
				todo = append(todo, n.Child)
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("members of group %s: %w", groupID, err)
	}
	return since, nil
}

// inSince reports whether a user is directly in a group, and since when.
func inSince(tx store.Tx, groupID, userID string) (time.Time, bool, error) {
	s, ok, err := shiftOf(tx, groupID, userID)
	if err != nil || ok {
		return s.At, s.In, err
	}
	m, in, err := members.Get(tx, pair(groupID, userID))
	return m.Since, in, err
}
