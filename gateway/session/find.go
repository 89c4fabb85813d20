package session

import (
	"context"
	"iter"
	"slices"
	"strings"

	"github.com/gatehouse-sso/gatehouse/provisioning/store"
)

// Reasons for which a session ends, as the audit log has them.
const (
	ReasonSignedOut  = "session.signed_out"
	ReasonEverywhere = "session.signed_out_everywhere"
	ReasonProvider   = "session.signed_out_at_provider"
	ReasonAdmin      = "session.ended_by_administrator"
	ReasonUser       = "session.user_changed"
	ReasonReplaced   = "session.replaced"
	ReasonTooMany    = "session.too_many"
	ReasonOver       = "session.over"
)

// Reasons says each in one sentence for an administrator.
var Reasons = map[string]string{
	ReasonSignedOut:  "The person signed out.",
	ReasonEverywhere: "The person signed out everywhere.",
	ReasonProvider:   "The identity provider said that its session is over.",
	ReasonAdmin:      "An administrator ended it.",
	ReasonUser:       "The person was disabled or deleted, or may not sign in that way any more.",
	ReasonReplaced:   "The same browser signed in again.",
	ReasonTooMany:    "The person had more sessions than the configuration allows; this was the oldest.",
	ReasonOver:       "Its time, or the time that it may be idle, was over.",
}

// A Filter says which sessions: those of which everything fits that is not
// empty. The zero Filter is all.
type Filter struct {
	User     string // ID
	Provider string // identity provider
	Host     string // a host that was visited with it
	Except   string // ID of one that does not fit
	// Of Provider alone: Name is what Named makes of a person there, and Sessions
	// are its own names of sessions, of which any will do.
	Name     string
	Sessions []string
}

// Find returns the sessions that a filter fits, from after, at most limit if
// that is not 0, ordered by ID.
func (s *Store) Find(ctx context.Context, f Filter, after string, limit int) (list []Row, err error) {
	if f.Host != "" {
		if err := s.writeKeys(ctx); err != nil {
			return nil, err
		}
	}
	err = s.c.Store.View(ctx, func(tx store.Tx) error {
		list = nil
		opened, err := f.opened(tx)
		if err != nil {
			return err
		}
		for row, err := range f.rows(tx, after) {
			if err != nil {
				return err
			}
			if !f.fits(row) {
				continue
			}
			if there, err := opened(row.ID); err != nil {
				return err
			} else if !there {
				continue
			}
			if list = append(list, row); len(list) == limit {
				break
			}
		}
		return nil
	})
	slices.SortFunc(list, func(a, b Row) int { return strings.Compare(a.ID, b.ID) })
	return slices.CompactFunc(list, func(a, b Row) bool { return a.ID == b.ID }), err
}

// EndAll ends the sessions that a filter fits, and says how many there were.
func (s *Store) EndAll(ctx context.Context, f Filter, why string) (int, error) {
	n := 0
	for after := ""; ; {
		list, err := s.Find(ctx, f, after, 100)
		if err != nil || len(list) == 0 {
			return n, err
		}
		for _, row := range list {
			if err := s.End(ctx, row.ID, why); err != nil {
				return n, err
			}
			n++
		}
		if len(f.Sessions) == 0 {
			after = list[len(list)-1].ID
		}
	}
}

// rows are those that a filter may fit, by the index that leaves the fewest.
func (f Filter) rows(tx store.Tx, after string) iter.Seq2[Row, error] {
	switch {
	case len(f.Sessions) > 0:
		return func(yield func(Row, error) bool) {
			for _, name := range f.Sessions {
				for row, err := range sessionRows.Find(tx, "theirs", Named(f.Provider, "session", name), after, 0) {
					if !yield(row, err) {
						return
					}
				}
			}
		}
	case f.Name != "":
		return sessionRows.Find(tx, "theirs", f.Name, after, 0)
	case f.User != "":
		return sessionRows.Find(tx, "user", f.User, after, 0)
	case f.Provider != "":
		return sessionRows.Find(tx, "provider", f.Provider, after, 0)
	}
	return sessionRows.All(tx, after, 0)
}

func (f Filter) fits(s Row) bool {
	return (f.Except == "" || s.ID != f.Except) && (f.User == "" || s.UserID == f.User) && (f.Provider == "" || s.Provider == f.Provider) &&
		(f.Name == "" || s.ProviderName == f.Name) && (len(f.Sessions) == 0 || slices.Contains(f.Sessions, s.ProviderSession))
}

// opened tells of sessions whether they have a key for the host. Where the filter may
// fit many, all keys are read once; else those of each session.
func (f Filter) opened(tx store.Tx) (func(id string) (bool, error), error) {
	switch {
	case f.Host == "":
		return func(string) (bool, error) { return true, nil }, nil
	case f.User != "" || f.Name != "" || len(f.Sessions) > 0:
		return func(id string) (bool, error) {
			for k, err := range keyRows.Find(tx, "session", id, "", 0) {
				if err != nil || k.Host == f.Host {
					return err == nil, err
				}
			}
			return false, nil
		}, nil
	}
	ids := map[string]bool{}
	for k, err := range keyRows.All(tx, "", 0) {
		if err != nil {
			return nil, err
		}
		if k.Host == f.Host {
			ids[k.Session] = true
		}
	}
	return func(id string) (bool, error) { return ids[id], nil }, nil
}
