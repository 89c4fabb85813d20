package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gatehouse-sso/gatehouse/provisioning"
	"github.com/gatehouse-sso/gatehouse/provisioning/store"
	"github.com/gatehouse-sso/gatehouse/provisioning/task"
)

// TaskDates is the kind of the tasks that let people in and keep them out on
// time; their key is the user's ID.
const TaskDates = "lifecycle.dates"

// By is the source of what this package does by itself.
const By provisioning.Source = "lifecycle"

// The attributes that say from and until when somebody is let in. Each is a time
// (RFC 3339), or a date (2026-12-31), which begins and ends as the day does in UTC.
const (
	ValidFrom  = "valid_from"
	ValidUntil = "valid_until"
)

// A span is from when and until when somebody is let in. Zero: no bound.
type span struct{ from, until time.Time }

// spanOf reads what the sources say of a user, by precedence.
func spanOf(u provisioning.User) (s span, err error) {
	if s.from, err = moment(u, ValidFrom, 0); err != nil {
		return span{}, err
	}
	// Who may stay until the 31st is there on the 31st.
	s.until, err = moment(u, ValidUntil, 24*time.Hour)
	return s, err
}

func moment(u provisioning.User, attr string, day time.Duration) (time.Time, error) {
	values := provisioning.Effective(u, attr)
	if len(values) == 0 {
		return time.Time{}, nil
	}
	if t, err := time.Parse(time.RFC3339, values[0]); err == nil {
		return t, nil
	}
	t, err := time.Parse(time.DateOnly, values[0])
	if err != nil {
		return time.Time{}, fmt.Errorf("%s is %q, which is neither a date such as 2026-12-31 nor a time such as 2026-12-31T17:00:00+01:00", attr, values[0])
	}
	return t.Add(day), nil
}

// at says whether a moment is inside, in words why not, and when that changes next.
func (s span) at(now time.Time) (inside bool, why string, next time.Time) {
	switch {
	case !s.from.IsZero() && now.Before(s.from):
		return false, "valid from " + s.from.Format(time.RFC3339), s.from
	case !s.until.IsZero() && !now.Before(s.until):
		return false, "valid until " + s.until.Format(time.RFC3339), time.Time{}
	}
	return true, "", s.until
}

// dated adds the task of a user who has dates, or had.
func (l *Lifecycle) dated(tx store.Tx, u provisioning.User) error {
	_, had, err := evidences.Get(tx, evidenceKey(u.ID, KindDates, By))
	if err != nil {
		return err
	}
	if !had && len(u.Attributes[ValidFrom]) == 0 && len(u.Attributes[ValidUntil]) == 0 {
		return nil
	}
	inside, why, next := l.inside(u)
	if inside && why == "" && u.Active && !had {
		if next.IsZero() {
			return nil
		}
		return task.Add(tx, TaskDates, u.ID, next)
	}
	return task.AddFirst(tx, TaskDates, u.ID, l.now())
}

// inside is at for a user. Dates that can not be read bound nothing.
func (l *Lifecycle) inside(u provisioning.User) (inside bool, why string, next time.Time) {
	s, err := spanOf(u)
	if err != nil {
		return true, err.Error(), time.Time{}
	}
	return s.at(l.now())
}

// HandleDates is the task.Handler of TaskDates.
func (l *Lifecycle) HandleDates(ctx context.Context, userID string) error {
	u, err := l.c.Directory.User(ctx, userID)
	if errors.Is(err, provisioning.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	inside, why, next := l.inside(u)
	switch {
	case !inside:
		ans, err := l.Leave(ctx, Departure{UserID: userID, By: By, Kind: KindDates, Text: why})
		if err != nil {
			return err
		}
		if !ans.Go() {
			return &task.Park{Reason: ans.Text} // Resume does it once it is approved
		}
	case why != "":
		return l.note(ctx, Departure{UserID: userID, By: By, Kind: KindDates, Text: why}, "nothing, since it can not be read")
	default:
		if err := l.back(ctx, u); err != nil {
			return err
		}
	}
	if wait := next.Sub(l.c.Now()); !next.IsZero() {
		return &task.Retry{After: wait, Reason: "until the next of the user's dates"}
	}
	return nil
}

// back lets somebody in again whom their dates kept out.
func (l *Lifecycle) back(ctx context.Context, u provisioning.User) error {
	var e Evidence
	var had bool
	err := l.c.Store.View(ctx, func(tx store.Tx) (err error) {
		e, had, err = evidences.Get(tx, evidenceKey(u.ID, KindDates, By))
		return err
	})
	if err != nil || !had {
		return err
	}
	if e.Outcome == Disable+"d" && !u.Active {
		if _, _, err := l.c.Directory.Change(ctx, u.ID, By, func(u *provisioning.User) error {
			u.Active = true
			return nil
		}); err != nil {
			return err
		}
	}
	return l.Clear(ctx, u.ID, KindDates, By)
}
