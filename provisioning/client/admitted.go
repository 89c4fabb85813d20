package client

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/gatehouse-sso/gatehouse/provisioning/store"
)

// An admittedRow is a client of the configuration in force, and since when it is one
// without a break. Zero: from before that was written down.
type admittedRow struct {
	Client string    `json:"client"`
	Since  time.Time `json:"since,omitzero"`
}

var admitted = &store.Table[admittedRow]{Name: "client", Key: func(r admittedRow) string { return r.Client }}

// TakeForce makes it known that the Registry's clients are those of the configuration
// in force. The tokens of all others end, for good: a client that comes back under the
// same ID is another one, and neither tokens that were made for the one before nor
// access tokens that it was given are any good. also is as of Make, for each token.
// It is called before the Registry is asked, and may be repeated.
func (r *Registry) TakeForce(ctx context.Context, also func(store.Tx, Token) error) error {
	if r.Store == nil {
		return nil
	}
	if err := r.Admit(ctx); err != nil {
		return err
	}
	gone := map[string]bool{}
	err := r.Store.View(ctx, func(tx store.Tx) error {
		for row, err := range admitted.All(tx, "", 0) {
			if err != nil {
				return err
			}
			gone[row.Client] = r.byID[row.Client] == nil
		}
		for row, err := range tokens.All(tx, "", 0) { // also of those who were gone before that was written down
			if err != nil {
				return err
			}
			gone[row.Client] = r.byID[row.Client] == nil
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("clients: %w", err)
	}
	for id, yes := range gone {
		if !yes {
			continue
		}
		if err := r.dismiss(ctx, id, also); err != nil {
			return fmt.Errorf("client %s: %w", id, err)
		}
	}
	return nil
}

// Admit writes down which clients there are, and since when; that others are gone is
// for TakeForce to say.
func (r *Registry) Admit(ctx context.Context) error {
	since := map[string]time.Time{}
	err := r.Store.View(ctx, func(tx store.Tx) error {
		clear(since)
		for row, err := range admitted.All(tx, "", 0) {
			if err != nil {
				return err
			}
			since[row.Client] = row.Since
		}
		return nil
	})
	var came []admittedRow
	var now time.Time // of the first who are written down nobody knows since when they are there
	if len(since) > 0 {
		now = r.Now().UTC().Truncate(time.Second)
	}
	for _, c := range r.order {
		if _, known := since[c.ID]; !known {
			came = append(came, admittedRow{c.ID, now})
			since[c.ID] = now
		}
	}
	for some := range slices.Chunk(came, store.MaxKeys) {
		if err != nil {
			break
		}
		err = r.Store.Update(ctx, func(tx store.Tx) error {
			for _, row := range some {
				if err := admitted.Put(tx, row); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err != nil {
		return fmt.Errorf("clients: %w", err)
	}
	r.since = since
	return nil
}

// dismiss ends the tokens of a client, some at a time, and then forgets it.
func (r *Registry) dismiss(ctx context.Context, id string, also func(store.Tx, Token) error) error {
	const batch = 10
	for more := true; more; {
		err := r.Store.Update(ctx, func(tx store.Tx) error {
			var list []Token
			for row, err := range tokens.Find(tx, "client", id, "", batch) {
				if err != nil {
					return err
				}
				list = append(list, row.Token)
			}
			for _, t := range list {
				if err := tokens.Delete(tx, t.ID); err != nil {
					return err
				}
				if also != nil {
					if err := also(tx, t); err != nil {
						return err
					}
				}
			}
			if more = len(list) == batch; more {
				return nil
			}
			return admitted.Delete(tx, id)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// of is the client with an ID, unless what it was given is from before it came: nil.
func (r *Registry) of(id string, given time.Time) *Client {
	if given.Before(r.since[id]) {
		return nil
	}
	return r.byID[id]
}
