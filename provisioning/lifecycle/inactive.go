package lifecycle

import (
	"context"
	"fmt"
	"time"

	"github.com/gatehouse-sso/gatehouse/federation"
	"github.com/gatehouse-sso/gatehouse/provisioning"
	"github.com/gatehouse-sso/gatehouse/provisioning/audit"
	"github.com/gatehouse-sso/gatehouse/provisioning/store"
	"github.com/gatehouse-sso/gatehouse/provisioning/task"
)

// TaskInactive is the kind of the task that looks for people who do not sign in
// any more; its key is a user store.
const TaskInactive = "lifecycle.inactive"

// Inactivity says when somebody who does not sign in has left.
type Inactivity struct {
	After time.Duration   // without a sign-in
	Warn  []time.Duration // so long before, in any order
	Then  string          // Disable or Delete; empty: Disable
}

// A stage is how far somebody is on their way out.
type stage struct {
	left   bool
	warned int       // how many warnings are due
	end    time.Time // when they will have left
}

// at says how far somebody is who was last seen at a moment.
func (i Inactivity) at(seen, now time.Time) stage {
	s := stage{end: seen.Add(i.After)}
	for _, before := range i.Warn {
		if !now.Before(s.end.Add(-before)) {
			s.warned++
		}
	}
	s.left = !now.Before(s.end)
	return s
}

// A Notice is something to be told to a person, once. Whoever can send mail takes
// those that have not been sent.
type Notice struct {
	UserID string    `json:"user"`
	Kind   string    `json:"kind"`  // of the evidence
	Stage  int       `json:"stage"` // the first warning is 1
	Text   string    `json:"text"`
	At     time.Time `json:"at"`
	Sent   time.Time `json:"sent,omitzero"`
}

var notices = &store.Table[Notice]{
	Name: "notice",
	Key:  func(n Notice) string { return noticeKey(n.UserID, n.Kind, n.Stage) },
	Index: map[string]func(Notice) []string{
		"unsent": func(n Notice) []string {
			if !n.Sent.IsZero() {
				return nil
			}
			return []string{n.At.UTC().Format(time.RFC3339)}
		},
		"user": func(n Notice) []string { return []string{n.UserID} },
	},
}

func noticeKey(userID, kind string, stage int) string {
	return string(store.Key(userID, kind, fmt.Sprintf("%03d", stage)))
}

// Unsent lists notices that have not been sent, oldest first, at most limit.
func (l *Lifecycle) Unsent(ctx context.Context, limit int) (list []Notice, err error) {
	err = l.c.Store.View(ctx, func(tx store.Tx) error {
		list = nil
		for n, err := range notices.Range(tx, "unsent", "", "", limit) {
			if err != nil {
				return err
			}
			list = append(list, n)
		}
		return nil
	})
	return list, err
}

// Sent notes that a notice was sent.
func (l *Lifecycle) Sent(ctx context.Context, n Notice) error {
	return l.c.Store.Update(ctx, func(tx store.Tx) error {
		n, ok, err := notices.Get(tx, noticeKey(n.UserID, n.Kind, n.Stage))
		if err != nil || !ok {
			return err
		}
		n.Sent = l.now()
		return notices.Put(tx, n)
	})
}

// SignedIn is called in the transaction of each sign-in: whoever signs in is there.
func (l *Lifecycle) SignedIn(tx store.Tx, u provisioning.User, id federation.Identity, _ string) error {
	list, err := evidenceOf(tx, u.ID)
	if err != nil {
		return err
	}
	for _, e := range list {
		if e.Kind == KindInactive || e.Kind == KindProbe && e.By == provisioning.SourceIDP(id.Provider) {
			if err := evidences.Delete(tx, evidenceKey(e.UserID, e.Kind, e.By)); err != nil {
				return err
			}
		}
	}
	if err := l.forgetNotices(tx, u.ID); err != nil {
		return err
	}
	if err := l.granted(tx, u, id); err != nil {
		return err
	}
	return l.seen(tx, u.ID)
}

func (l *Lifecycle) forgetNotices(tx store.Tx, userID string) error {
	var list []Notice
	for n, err := range notices.Find(tx, "user", userID, "", mostForgotten) {
		if err != nil {
			return err
		}
		list = append(list, n)
	}
	for _, n := range list {
		if err := notices.Delete(tx, noticeKey(n.UserID, n.Kind, n.Stage)); err != nil {
			return err
		}
	}
	return nil
}

// Begin adds the tasks that the configuration wants.
func (l *Lifecycle) Begin(ctx context.Context) error {
	for id := range l.c.Inactive {
		if err := l.c.Store.Update(ctx, func(tx store.Tx) error { return task.Add(tx, TaskInactive, id, l.now()) }); err != nil {
			return fmt.Errorf("begin with the user store %s: %w", id, err)
		}
	}
	return nil
}

// lookEvery is how often it is looked who does not sign in any more.
const lookEvery = 6 * time.Hour

// HandleInactive is the task.Handler of TaskInactive.
func (l *Lifecycle) HandleInactive(ctx context.Context, userStore string) error {
	rule, ok := l.c.Inactive[userStore]
	if !ok {
		return nil
	}
	cycle := TaskInactive + " " + l.now().Format(time.DateOnly)
	for u, err := range l.c.Directory.Users(ctx, "", 0) {
		if err != nil {
			return err
		}
		if u.Store != userStore || !u.Active {
			continue
		}
		if err := l.idle(ctx, u, rule, cycle); err != nil {
			return err
		}
	}
	return &task.Retry{After: lookEvery, Reason: "until the next look"}
}

// idle warns one user, or takes them away.
func (l *Lifecycle) idle(ctx context.Context, u provisioning.User, rule Inactivity, cycle string) error {
	var last time.Time
	err := l.c.Store.View(ctx, func(tx store.Tx) error {
		s, ok, err := seens.Get(tx, u.ID)
		if last = u.Created; ok && s.At.After(last) {
			last = s.At
		}
		return err
	})
	if err != nil {
		return err
	}
	s := rule.at(last, l.now())
	text := "not seen since " + last.Format(time.DateOnly)
	if s.left {
		_, err := l.Leave(ctx, Departure{UserID: u.ID, By: By, Kind: KindInactive, Text: text, How: rule.Then, Cycle: cycle})
		return err
	}
	if s.warned == 0 {
		return nil
	}
	return l.warn(ctx, Notice{UserID: u.ID, Kind: KindInactive, Stage: s.warned, At: l.now(), Text: text + "; unless there is a sign-in, the account ends on " + s.end.Format(time.DateOnly)})
}

// warn keeps a notice, once.
func (l *Lifecycle) warn(ctx context.Context, n Notice) error {
	return l.c.Store.Update(ctx, func(tx store.Tx) error {
		_, ok, err := notices.Get(tx, noticeKey(n.UserID, n.Kind, n.Stage))
		if err != nil || ok {
			return err
		}
		if err := notices.Put(tx, n); err != nil {
			return err
		}
		if err := l.noteTx(tx, Evidence{UserID: n.UserID, Kind: n.Kind, By: By, Text: n.Text, Warned: n.Stage, Outcome: "warned"}); err != nil || l.c.Audit == nil {
			return err
		}
		return l.c.Audit(tx, audit.Event{Kind: "lifecycle.warned", UserID: n.UserID, By: string(By), Text: fmt.Sprintf("%s, warning %d", n.Kind, n.Stage)})
	})
}
