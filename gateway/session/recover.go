package session

import (
	"context"
	"errors"
	"time"

	"github.com/gatehouse-sso/gatehouse/provisioning/store"
)

// Who has the machine can always come in, whatever policy and identity providers
// say: by a code that was made there, which begins a session of nobody in the
// directory. Such a session needs no row of a user, so there is no account that
// could be provisioned, granted something, or stolen between two uses.
//
// A code works once, for RecoveryLink, and only the latest. The store holds its
// hash: what is not there does not work, so a store that is lost takes the codes
// with it.

// Recovery is the provider, and the user, of a session that a code began. No
// identity provider may be called so, and no user is: theirs are random.
const Recovery = "recover"

const (
	// RecoveryLink is how long a code can be used.
	RecoveryLink = 10 * time.Minute
	// RecoveryLife is how long its session lasts at most.
	RecoveryLife = 30 * time.Minute
)

// ErrRecovery: no such code, or used, or old.
var ErrRecovery = errors.New("session: the code does not let anybody in")

type recovery struct {
	Hash  string    `json:"hash"`
	Until time.Time `json:"until"`
}

var recoveries = store.Table[recovery]{
	Name: "session_recovery",
	Key:  func(r recovery) string { return r.Hash },
}

// Recovers reports whether a code of the machine began the session.
func (s *Session) Recovers() bool { return s.Provider == Recovery && s.UserID == Recovery }

// OfferRecovery makes a code, in place of the one before. also is called in the
// transaction that keeps it; its error undoes that.
func (s *Store) OfferRecovery(ctx context.Context, also func(store.Tx) error) (code string, until time.Time, err error) {
	code, sum := random()
	until = s.c.Now().Add(RecoveryLink)
	err = s.c.Store.Update(ctx, func(tx store.Tx) error {
		before, err := collect(recoveries.All(tx, "", 0))
		if err != nil {
			return err
		}
		for _, r := range before {
			if err := recoveries.Delete(tx, r.Hash); err != nil {
				return err
			}
		}
		if err := recoveries.Put(tx, recovery{encode(sum[:]), until}); err != nil {
			return err
		}
		return also(tx)
	})
	return code, until, err
}

// Recover uses a code up and begins its session, as Begin does, in one transaction:
// where that fails the code is as good as before. It returns the value of host's
// cookie; ErrRecovery, or the store's error. also is as in OfferRecovery.
func (s *Store) Recover(ctx context.Context, code, host, before, flow string, also func(store.Tx) error) (cookie string, err error) {
	// What can not be a code is looked for as if it could: the hash is that of none.
	sum, _ := hash(code)
	now := s.c.Now()
	b := s.Beginning(Row{Session: Session{UserID: Recovery, Provider: Recovery, AuthTime: now, Until: now.Add(RecoveryLife)}, Flow: flow}, host, before)
	return b.Cookie, b.Begun(ctx, s.c.Store.Update(ctx, func(tx store.Tx) error {
		r, ok, err := recoveries.Get(tx, encode(sum[:]))
		switch {
		case err != nil:
			return err
		case !ok || !now.Before(r.Until):
			return ErrRecovery
		}
		if err := recoveries.Delete(tx, r.Hash); err != nil {
			return err
		}
		if err := also(tx); err != nil {
			return err
		}
		return b.Tx(tx)
	}))
}
