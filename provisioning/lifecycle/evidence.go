package lifecycle

import (
	"context"
	"time"

	"github.com/gatehouse-sso/gatehouse/provisioning"
	"github.com/gatehouse-sso/gatehouse/provisioning/store"
)

// Kinds of evidence.
const (
	KindDates    = "dates"
	KindInactive = "inactive"
	KindMissing  = "missing" // from a file or another list that names everybody
	KindProbe    = "probe"
)

// Evidence is one sign that somebody has left, or is about to: what says so,
// since when and how often. There is one of a kind and source for each user; it
// goes when the sign does.
type Evidence struct {
	UserID  string              `json:"user"`
	Kind    string              `json:"kind"`
	By      provisioning.Source `json:"by"`
	Text    string              `json:"text"`              // in words
	First   time.Time           `json:"first"`             // since when
	Last    time.Time           `json:"last"`              // it was seen last
	Count   int                 `json:"count"`             // how often it was seen
	Warned  int                 `json:"warned,omitempty"`  // how many warnings went out
	Outcome string              `json:"outcome,omitempty"` // what came of it: disabled, deleted, or why not
}

var evidences = &store.Table[Evidence]{
	Name:  "evidence",
	Key:   func(e Evidence) string { return evidenceKey(e.UserID, e.Kind, e.By) },
	Index: map[string]func(Evidence) []string{"user": func(e Evidence) []string { return []string{e.UserID} }},
}

func evidenceKey(userID, kind string, by provisioning.Source) string {
	return string(store.Key(userID, kind, string(by)))
}

// A seenRow is when somebody was last seen to be there: at a sign-in, or when they
// were let in again. It is written once a day at most.
type seenRow struct {
	UserID string    `json:"user"`
	At     time.Time `json:"at"`
}

var seens = &store.Table[seenRow]{Name: "seen", Key: func(s seenRow) string { return s.UserID }}

// seenEvery is how exact that is.
const seenEvery = 24 * time.Hour

// Evidence lists what is known about somebody's leaving.
func (l *Lifecycle) Evidence(ctx context.Context, userID string) (list []Evidence, err error) {
	err = l.c.Store.View(ctx, func(tx store.Tx) error {
		list, err = evidenceOf(tx, userID)
		return err
	})
	return list, err
}

func evidenceOf(tx store.Tx, userID string) (list []Evidence, err error) {
	for e, err := range evidences.Find(tx, "user", userID, "", 0) {
		if err != nil {
			return nil, err
		}
		list = append(list, e)
	}
	return list, nil
}

// note keeps the evidence of a departure.
func (l *Lifecycle) note(ctx context.Context, d Departure, outcome string) error {
	return l.c.Store.Update(ctx, func(tx store.Tx) error {
		return l.noteTx(tx, Evidence{UserID: d.UserID, Kind: d.Kind, By: d.By, Text: d.Text, Outcome: outcome})
	})
}

// noteTx adds to the evidence that there is. What e does not say stays as it was.
func (l *Lifecycle) noteTx(tx store.Tx, e Evidence) error {
	old, ok, err := evidences.Get(tx, evidenceKey(e.UserID, e.Kind, e.By))
	if err != nil {
		return err
	}
	e.First, e.Last, e.Count, e.Warned = l.now(), l.now(), 1, max(e.Warned, old.Warned)
	if ok {
		e.First, e.Count = old.First, old.Count+1
	}
	if e.Outcome == "" {
		e.Outcome = old.Outcome
	}
	return evidences.Put(tx, e)
}

// outcome says what came of all evidence of one source.
func (l *Lifecycle) outcome(ctx context.Context, userID string, by provisioning.Source, what string) error {
	return l.c.Store.Update(ctx, func(tx store.Tx) error {
		list, err := evidenceOf(tx, userID)
		if err != nil {
			return err
		}
		for _, e := range list {
			if e.By != by {
				continue
			}
			e.Outcome = what
			if err := evidences.Put(tx, e); err != nil {
				return err
			}
		}
		return nil
	})
}

// Clear takes a sign back: the person is in the file again, the provider knows
// them again.
func (l *Lifecycle) Clear(ctx context.Context, userID, kind string, by provisioning.Source) error {
	return l.c.Store.Update(ctx, func(tx store.Tx) error { return evidences.Delete(tx, evidenceKey(userID, kind, by)) })
}

// mostForgotten bounds what is forgotten of one user in one transaction; there
// is a handful of each.
const mostForgotten = 10

// forget removes what was known of a user who is deleted.
func (l *Lifecycle) forget(tx store.Tx, userID string) error {
	list, err := evidenceOf(tx, userID)
	if err != nil {
		return err
	}
	for _, e := range list[:min(len(list), mostForgotten)] {
		if err := evidences.Delete(tx, evidenceKey(e.UserID, e.Kind, e.By)); err != nil {
			return err
		}
	}
	if err := l.forgetNotices(tx, userID); err != nil {
		return err
	}
	if err := l.forgetGrants(tx, userID); err != nil {
		return err
	}
	return seens.Delete(tx, userID)
}

// seen notes that somebody is there, unless that was noted a little while ago.
func (l *Lifecycle) seen(tx store.Tx, userID string) error {
	now := l.now()
	s, ok, err := seens.Get(tx, userID)
	if err != nil || ok && now.Sub(s.At) < seenEvery && !s.At.After(now) {
		return err
	}
	return seens.Put(tx, seenRow{userID, now})
}
