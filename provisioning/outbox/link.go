package outbox

import (
	"context"
	"iter"
	"time"

	"github.com/gatehouse-sso/gatehouse/provisioning/connector"
	"github.com/gatehouse-sso/gatehouse/provisioning/store"
)

// A Link is what is known of a user's account at a target. There is none where
// nothing was ever begun.
type Link struct {
	Target   string    `json:"target"`
	UserID   string    `json:"user"`
	RemoteID string    `json:"remote,omitempty"`    // no two users have the same at one target
	UserName string    `json:"user_name,omitempty"` // as last sent
	Sent     []string  `json:"sent,omitempty"`      // names of the attributes that the target may have of us, ordered
	Intent   time.Time `json:"intent,omitzero"`     // a creation was begun and its end is not known
	Applied  uint64    `json:"applied,omitempty"`   // version of the user that the target agrees about
	Disabled bool      `json:"disabled,omitempty"`  // the account was last seen to be there and not active
	Invalid  int       `json:"invalid,omitempty"`   // refusals in a row that trying again will not change
	Tries    int       `json:"tries,omitempty"`     // runs of the target's Schedule that failed
	Error    string    `json:"error,omitempty"`     // of the last run; empty: it went well
	At       time.Time `json:"at"`                  // of the last run
	Digest   string    `json:"digest,omitempty"`    // stands for the account as it was last wanted
	Since    time.Time `json:"since,omitzero"`      // when the account was created or taken over
	Left     time.Time `json:"left,omitzero"`       // since when the user should have none
	Asked    bool      `json:"asked,omitempty"`     // a person took the user's access away
	Held     bool      `json:"held,omitempty"`      // the account is to be taken away, and a person has to say yes
	HeldDoor bool      `json:"held_door,omitempty"` // an attribute that opens doors is to change, and a person has to say yes
	Meant    bool      `json:"meant,omitempty"`     // a person changed the user since the account was last sent
	Case     bool      `json:"case,omitempty"`      // a Case waits for an answer
	Answer   Answer    `json:"answer,omitempty"`    // of a person to a Case, until it is carried out; AnswerIgnore stays
	Runs     int       `json:"runs,omitempty"`      // counted
	// Doors stands for the values of those attributes that open doors, as last sent.
	Doors map[string]string `json:"doors,omitempty"`
}

// begun: there is an account, or there may be one.
func (l *Link) begun() bool { return l.RemoteID != "" || !l.Intent.IsZero() }

// forget: there is no account, and none is on its way.
func (l *Link) forget() {
	*l = Link{Target: l.Target, UserID: l.UserID, Applied: l.Applied, Invalid: l.Invalid, Runs: l.Runs, Case: l.Case}
}

var links = store.Table[Link]{
	Name: "account",
	Key:  func(l Link) string { return Key(l.Target, l.UserID) },
	Unique: map[string]func(Link) []string{"remote": func(l Link) []string {
		if l.RemoteID == "" {
			return nil
		}
		return []string{string(store.Key(l.Target, l.RemoteID))}
	}},
	Index: map[string]func(Link) []string{"user": func(l Link) []string { return []string{l.UserID} }},
}

// errTaken: the account belongs to somebody else.
var errTaken = &connector.Error{Class: connector.Conflict, Text: "the account at the target is another user's already"}

// Accounts lists what is known of a user's accounts, or of all if userID is
// empty, from after (a Key) on, at most limit.
func (o *Outbox) Accounts(ctx context.Context, userID, after string, limit int) (list []Link, err error) {
	err = o.c.Store.View(ctx, func(tx store.Tx) error {
		list = list[:0]
		var rows iter.Seq2[Link, error] = links.All(tx, after, limit)
		if userID != "" {
			rows = links.Find(tx, "user", userID, after, limit)
		}
		for l, err := range rows {
			if err != nil {
				return err
			}
			list = append(list, l)
		}
		return nil
	})
	return list, err
}
