package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/gatehouse-sso/gatehouse/federation"
	"github.com/gatehouse-sso/gatehouse/provisioning"
	"github.com/gatehouse-sso/gatehouse/provisioning/store"
	"github.com/gatehouse-sso/gatehouse/provisioning/task"
)

// TaskProbe is the kind of the tasks that ask an identity provider about a
// person; their key is the provider's ID, a slash and the user's ID.
const TaskProbe = "lifecycle.probe"

// A Probe asks an identity provider whether people are still there.
type Probe struct {
	Every time.Duration
	// Confirmations is how often in a row the provider must say a clear no before
	// the person is taken to have left.
	Confirmations int
	// Ask asks with what the provider gave at a sign-in or the last time, and
	// returns what to ask with the next time. An error that is federation.ErrGone
	// is a clear no; every other says nothing.
	Ask func(ctx context.Context, renewal, subject string) (next string, err error)
}

// A grantRow is what a provider gave for asking about a person.
type grantRow struct {
	Provider string    `json:"provider"`
	UserID   string    `json:"user"`
	Subject  string    `json:"subject"`
	Sealed   []byte    `json:"sealed"`            // the refresh token
	Asking   bool      `json:"asking,omitempty"`  // it may be used up: the answer is not known
	Refused  int       `json:"refused,omitempty"` // clear answers of no in a row
	At       time.Time `json:"at"`                // of the sign-in, or of the last answer
	Error    string    `json:"error,omitempty"`   // why the last answer says nothing
}

var grants = &store.Table[grantRow]{
	Name:  "grant",
	Key:   func(g grantRow) string { return grantKey(g.Provider, g.UserID) },
	Index: map[string]func(grantRow) []string{"user": func(g grantRow) []string { return []string{g.UserID} }},
}

func grantKey(provider, userID string) string { return provider + "/" + userID }

// sealKey is what a sealed token belongs to.
func sealKey(key string) []byte { return store.Key("grant", key) }

// SealedGrants are the rows of what providers gave, to be sealed again.
var SealedGrants = store.Sealed[grantRow]{
	Table: grants,
	Key:   func(g grantRow) []byte { return sealKey(grants.Key(g)) },
	Part:  func(g *grantRow) *[]byte { return &g.Sealed },
}

// granted keeps what came with a sign-in, for asking later.
func (l *Lifecycle) granted(tx store.Tx, u provisioning.User, id federation.Identity) error {
	p, ok := l.c.Probes[id.Provider]
	if !ok || l.c.Sealer == nil {
		return nil
	}
	key := grantKey(id.Provider, u.ID)
	if id.Renewal == "" { // what it gave before stays, and is as good as before
		g, ok, err := grants.Get(tx, key)
		if err != nil || !ok {
			return err
		}
		g.Refused = 0
		return grants.Put(tx, g)
	}
	if err := grants.Put(tx, grantRow{
		Provider: id.Provider, UserID: u.ID, Subject: id.Ref.Subject, Sealed: l.c.Sealer.Seal(sealKey(key), []byte(id.Renewal)), At: l.now(),
	}); err != nil {
		return err
	}
	return task.Add(tx, TaskProbe, key, l.now().Add(p.Every))
}

// forgetGrants removes what was given for a user.
func (l *Lifecycle) forgetGrants(tx store.Tx, userID string) error {
	var keys []string
	for g, err := range grants.Find(tx, "user", userID, "", mostForgotten) {
		if err != nil {
			return err
		}
		keys = append(keys, grants.Key(g))
	}
	for _, key := range keys {
		if err := grants.Delete(tx, key); err != nil {
			return err
		}
	}
	return nil
}

// HandleProbe is the task.Handler of TaskProbe.
func (l *Lifecycle) HandleProbe(ctx context.Context, key string) error {
	provider, userID, _ := strings.Cut(key, "/")
	p, configured := l.c.Probes[provider]
	var g grantRow
	var lost, idle bool
	err := l.c.Store.Update(ctx, func(tx store.Tx) error {
		var ok bool
		var err error
		if g, ok, err = grants.Get(tx, key); err != nil || !ok {
			idle = true
			return err
		}
		u, there, err := l.c.Directory.UserTx(tx, userID)
		if err != nil {
			return err
		}
		// A token that may be used up says nothing by being refused: the next
		// sign-in brings another.
		if idle, lost = !configured || !there || !u.Active, g.Asking; idle || lost {
			return grants.Delete(tx, key)
		}
		if wait := p.Every - l.now().Sub(g.At); wait > 0 {
			return nil
		}
		g.Asking = true
		return grants.Put(tx, g)
	})
	switch {
	case err != nil:
		return err
	case idle || lost:
		return nil
	case !g.Asking: // it was not due
		return &task.Retry{After: p.Every - l.now().Sub(g.At), Reason: "until the provider is asked again"}
	}
	token, err := l.c.Sealer.Open(sealKey(key), g.Sealed)
	if err != nil {
		return l.forgetGrant(ctx, key) // sealed with a key that is not there any more
	}
	next, asked := p.Ask(ctx, string(token), g.Subject)
	ctx = context.WithoutCancel(ctx)
	by := provisioning.SourceIDP(provider)
	g.Asking, g.At, g.Error = false, l.now(), ""
	switch {
	case asked == nil:
		g.Refused = 0
	case errors.Is(asked, federation.ErrGone):
		g.Refused++
	default: // a provider that fails is evidence of nothing
		g.Error = asked.Error()
	}
	if next != "" {
		g.Sealed = l.c.Sealer.Seal(sealKey(key), []byte(next))
	}
	err = l.c.Store.Update(ctx, func(tx store.Tx) error {
		if now, ok, err := grants.Get(tx, key); err != nil || !ok || !now.Asking {
			return err // a sign-in came in between, and counts
		}
		if err := grants.Put(tx, g); err != nil {
			return err
		}
		switch {
		case asked == nil:
			return evidences.Delete(tx, evidenceKey(userID, KindProbe, by))
		case g.Error == "":
			return l.noteTx(tx, Evidence{UserID: userID, Kind: KindProbe, By: by, Text: fmt.Sprintf("%v (%d of %d)", asked, min(g.Refused, p.Confirmations), p.Confirmations)})
		}
		return nil
	})
	if err != nil {
		return err
	}
	if g.Refused >= max(1, p.Confirmations) {
		ans, err := l.Leave(ctx, Departure{UserID: userID, By: by, Kind: KindProbe, Text: asked.Error()})
		if err != nil {
			return err
		}
		if ans.Go() {
			return l.forgetGrant(ctx, key)
		}
	}
	return &task.Retry{After: p.Every, Reason: "until the provider is asked again"}
}

func (l *Lifecycle) forgetGrant(ctx context.Context, key string) error {
	return l.c.Store.Update(ctx, func(tx store.Tx) error { return grants.Delete(tx, key) })
}
