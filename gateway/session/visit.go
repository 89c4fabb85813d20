package session

import (
	"context"
	"time"

	"github.com/gatehouse-sso/gatehouse/provisioning/store"
)

// A Visit is when somebody last opened a host. It outlives their sessions, for
// VisitsKept, so that it can be told who uses a service of those who are not there
// just now.
type Visit struct {
	Host   string    `json:"host"`
	UserID string    `json:"user"`
	At     time.Time `json:"at"` // of the first key in a day
}

// VisitsKept is how long a visit is remembered, and visitEvery how far At may lag
// behind, so that most visits cost no write.
const (
	VisitsKept = 30 * 24 * time.Hour
	visitEvery = 24 * time.Hour
)

// The key orders by host; no host has a space.
var visitRows = store.Table[Visit]{
	Name:  "session_visit",
	Key:   func(v Visit) string { return v.Host + " " + v.UserID },
	Index: map[string]func(Visit) []string{"user": func(v Visit) []string { return []string{v.UserID} }},
}

func (s *Store) visitTx(tx store.Tx, host, userID string) error {
	now := s.c.Now().UTC()
	v, ok, err := visitRows.Get(tx, host+" "+userID)
	if err != nil || ok && now.Sub(v.At) < visitEvery && !now.Before(v.At) {
		return err
	}
	return visitRows.Put(tx, Visit{host, userID, now})
}

// Visitors are the users who opened a host within VisitsKept, in the order of
// their IDs: those after an ID, at most limit.
func (s *Store) Visitors(ctx context.Context, host, after string, limit int) (ids []string, err error) {
	if err := s.writeKeys(ctx); err != nil {
		return nil, err
	}
	oldest := s.c.Now().Add(-VisitsKept)
	err = s.c.Store.View(ctx, func(tx store.Tx) error {
		ids = nil
		for v, err := range visitRows.All(tx, host+" "+after, 0) {
			if err != nil {
				return err
			}
			if v.Host != host || len(ids) == limit {
				return nil
			}
			if v.At.After(oldest) {
				ids = append(ids, v.UserID)
			}
		}
		return nil
	})
	return ids, err
}

// Visited are the hosts that a user opened within VisitsKept, each with when they
// were last there: to a minute of sessions that there are, to a day of others.
func (s *Store) Visited(ctx context.Context, userID string) (hosts map[string]time.Time, err error) {
	if err := s.writeKeys(ctx); err != nil {
		return nil, err
	}
	oldest := s.c.Now().Add(-VisitsKept)
	err = s.c.Store.View(ctx, func(tx store.Tx) error {
		hosts = map[string]time.Time{}
		latest := func(host string, at time.Time) {
			if at.After(hosts[host]) {
				hosts[host] = at
			}
		}
		for v, err := range visitRows.Find(tx, "user", userID, "", 0) {
			if err != nil {
				return err
			}
			if v.At.After(oldest) {
				latest(v.Host, v.At)
			}
		}
		for row, err := range sessionRows.Find(tx, "user", userID, "", 0) {
			if err != nil {
				return err
			}
			for k, err := range keyRows.Find(tx, "session", row.ID, "", 0) {
				if err != nil {
					return err
				}
				latest(k.Host, row.Seen)
			}
		}
		return nil
	})
	return hosts, err
}

// Forget ends the sessions of somebody who is gone, and removes their visits.
func (s *Store) Forget(ctx context.Context, userID string) error {
	if _, err := s.EndUser(ctx, userID, ReasonUser); err != nil {
		return err
	}
	if err := s.writeKeys(ctx); err != nil { // no visit of theirs comes after this
		return err
	}
	for {
		var some []string
		const bucket = 20
		err := s.c.Store.Update(ctx, func(tx store.Tx) error {
			some = nil
			for v, err := range visitRows.Find(tx, "user", userID, "", bucket) {
				if err != nil {
					return err
				}
				some = append(some, v.Host+" "+v.UserID)
			}
			for _, key := range some {
				if err := visitRows.Delete(tx, key); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil || len(some) < bucket {
			return err
		}
	}
}

// forgetVisits removes those that are older than VisitsKept; what fails is tried
// a day later.
func (s *Store) forgetVisits(ctx context.Context) {
	oldest, after := s.c.Now().Add(-VisitsKept), ""
	const bucket = 500
	for ctx.Err() == nil {
		var old []string
		n := 0
		if s.c.Store.View(ctx, func(tx store.Tx) error {
			old, n = nil, 0
			for v, err := range visitRows.All(tx, after, bucket) {
				if err != nil {
					return err
				}
				n, after = n+1, v.Host+" "+v.UserID
				if !v.At.After(oldest) {
					old = append(old, after)
				}
			}
			return nil
		}) != nil {
			return
		}
		for _, k := range old {
			_ = s.c.Store.Update(ctx, func(tx store.Tx) error { return visitRows.Delete(tx, k) })
		}
		if n < bucket {
			return
		}
	}
}
