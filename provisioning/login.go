package provisioning

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/gatehouse-sso/gatehouse/federation"
	"github.com/gatehouse-sso/gatehouse/provisioning/store"
)

// Mode of just-in-time provisioning. Whatever is not Blocking or Async is off.
type Mode string

// Modes. Both create users; a Blocking sign-in also waits for its targets,
// which is its caller's matter.
const (
	Off      Mode = ""
	Blocking Mode = "blocking"
	Async    Mode = "async"
)

// JIT is what a sign-in at one identity provider may do. The zero JIT lets
// nobody in who is not linked, and takes from those who are what it said.
type JIT struct {
	Provider  string
	Mode      Mode
	UserStore string // where it creates users
	// UserName gives the name of a user who is created; it must find exactly
	// one. The name of a user who is there does not follow it.
	UserName From
	Mapping  Mapping
	// SameIssuer are other providers that an administrator configured for the
	// very issuer of this one: whom they know, it knows.
	SameIssuer []string
	// Prompt is what the person sees before their user is made, and Answers what
	// they said then; nil: they were not asked.
	Prompt  Prompt
	Answers *Answers
}

// Reads are the provider's names that it reads, sorted; nil if it may read any.
func (j JIT) Reads() []string {
	froms := []From{j.UserName}
	for _, m := range j.Mapping.Froms() {
		froms = append(froms, m.From)
	}
	names := []string{}
	for _, f := range froms {
		if f.prog != nil && slices.Contains(f.prog.Reads(), "claims") {
			return nil
		}
		names = append(names, f.Theirs()...)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// maxOnce is how many things one sign-in may use up.
const maxOnce = 8

// Login is what happens when an identity provider has vouched for a person. In
// one transaction what the sign-in used up is recorded, the user found by the
// link or created, the claims of this source replaced and the Followers told.
// Of a known user of whom nothing differs only the first is written. also are called
// with the user at the end of it; the error of one undoes all. They may be called
// again, and touch nothing but tx.
//
// An error that is federation.ErrRefused has changed nothing: it is a
// *federation.Refusal with login.replayed or login.claims, or a *Refusal. An
// answer that is used again is refused, also while, and after, an earlier use.
// Nothing ever links to a user who is there: not a name, not an e-mail address.
func (d *Directory) Login(ctx context.Context, id federation.Identity, j JIT, flow string, also ...func(tx store.Tx, u User) error) (User, Delta, error) {
	if j.Provider == "" || id.Provider != j.Provider {
		return User{}, Delta{}, fmt.Errorf("login: identity of provider %q for the provisioning of %q", id.Provider, j.Provider)
	}
	if err := checkRef(id.Ref); err != nil {
		return User{}, Delta{}, err
	}
	if len(id.Once) > maxOnce {
		return User{}, Delta{}, federation.Refuse(federation.ReasonTooLarge, "a sign-in that uses up %d things", len(id.Once))
	}
	newID, call := d.newID(), d.newID()
	var out result
	with := func(tx store.Tx, r result) (result, error) {
		for _, f := range also {
			if err := f(tx, r.u.Clone()); err != nil {
				return result{}, err
			}
		}
		return r, nil
	}
	err := d.sure(ctx, &out, func(tx store.Tx) (result, error) {
		again, err := d.spend(tx, id.Once, call)
		if err != nil {
			return result{}, err
		}
		if again {
			u, _, err := d.linked(tx, id.Ref)
			if err == nil && !u.Active {
				err = inactive(u)
			}
			if err != nil {
				return result{u: u}, err
			}
			return with(tx, result{u: u})
		}
		r, err := d.login(tx, id, j, newID, Delta{By: SourceIDP(id.Provider), Flow: flow})
		if err != nil {
			return result{}, refusal(err)
		}
		for _, f := range d.SignedIn {
			if err := f(tx, r.u.Clone(), id, flow); err != nil {
				return result{}, err
			}
		}
		return with(tx, r)
	})
	if err != nil {
		return User{}, Delta{}, fmt.Errorf("login at %s: %w", id.Provider, err)
	}
	return out.u, out.d, nil
}

// Rehearse says whom Login would let in, and whether as a new user. It is Login in
// a transaction that is undone, so it finds what Login would, and nothing of it
// stays. What the sign-in used up is not looked at.
func (d *Directory) Rehearse(ctx context.Context, id federation.Identity, j JIT) (u User, fresh bool, err error) {
	newID := d.newID()
	undone := errors.New("a rehearsal")
	err = d.Store.Update(ctx, func(tx store.Tx) error {
		r, err := d.login(tx, id, j, newID, Delta{By: SourceIDP(id.Provider)})
		if err != nil {
			return refusal(err)
		}
		u = r.u.Clone()
		return undone
	})
	if errors.Is(err, undone) {
		return u, u.ID == newID, nil
	}
	return User{}, false, fmt.Errorf("rehearse a login at %s: %w", id.Provider, err)
}

func (d *Directory) login(tx store.Tx, id federation.Identity, j JIT, newID string, dl Delta) (result, error) {
	u, ok, err := d.linked(tx, id.Ref)
	if err != nil {
		return result{}, err
	}
	if ok {
		if err := d.mayVouch(tx, id, j); err != nil {
			return result{}, err
		}
		if !u.Active {
			return result{}, inactive(u)
		}
		said, err := j.answered(u, true, id, d.now())
		if err != nil {
			return result{}, err
		}
		next, err := j.Mapping.Apply(said, id, d.now())
		if err != nil {
			return result{}, err
		}
		return d.commit(tx, u, next, dl)
	}
	if j.Mode != Blocking && j.Mode != Async {
		return result{}, &Refusal{Code: ReasonOff, Detail: fmt.Sprintf("%s may not create users, and this person is not known", j.Provider)}
	}
	name, err := j.name(id)
	if err != nil {
		return result{}, err
	}
	u, err = j.answered(User{ID: newID, Store: j.UserStore, UserName: name, Active: true}, false, id, d.now())
	if err != nil {
		return result{}, err
	}
	if u, err = j.Mapping.Apply(u, id, d.now()); err != nil {
		return result{}, err
	}
	dl.Linked = []federation.Ref{id.Ref}
	if err := links.Put(tx, linkRow{id.Ref, id.Provider, newID, d.now()}); err != nil {
		return result{}, err
	}
	r, err := d.create(tx, u, dl)
	if j.chosen() {
		err = unanswered(err)
	}
	return r, err
}

// chosen reports whether the person chose their user name.
func (j JIT) chosen() bool { return j.Prompt == Choose && j.Answers != nil }

// name is the user name of a user who is created.
func (j JIT) name(id federation.Identity) (string, error) {
	if j.chosen() {
		return strings.TrimSpace(j.Answers.UserName), nil
	}
	names, _, err := j.UserName.Values(id)
	switch {
	case err != nil:
		return "", &Refusal{Code: ReasonMapping, Attribute: "user_name", Theirs: j.UserName.Theirs(), Err: err,
			Detail: fmt.Sprintf("user_name can not be computed: %v", err)}
	case len(names) == 0:
		return "", missing("user_name", j.UserName.lacking(id), "")
	case len(names) > 1:
		return "", federation.Refuse(federation.ReasonClaims, "there are %d values for user_name; it must be one", len(names))
	}
	return names[0], nil
}

// mayVouch refuses a provider that speaks of a person in the name of another one
// that is configured too. A provider may say itself what its name is (SAML
// metadata does), and would be whoever it likes by saying another's.
func (d *Directory) mayVouch(tx store.Tx, id federation.Identity, j JIT) error {
	l, ok, err := links.Get(tx, refKey(id.Ref))
	if err != nil || !ok || l.Provider == id.Provider || slices.Contains(j.SameIssuer, l.Provider) {
		return err
	}
	if _, configured := d.precedence[SourceIDP(l.Provider)]; !configured {
		return nil // it was renamed
	}
	return &Refusal{Code: ReasonTaken, Attribute: "link", UserID: l.UserID,
		Detail: fmt.Sprintf("%s names a person as %s does, by the same issuer %q: an identity provider speaks for itself alone", id.Provider, l.Provider, id.Ref.Issuer)}
}

func inactive(u User) *Refusal {
	return &Refusal{Code: ReasonInactive, UserID: u.ID, Detail: fmt.Sprintf("user %q is deactivated", u.ID)}
}

// refusal gives what is wrong with a new user the code it has at a sign-in.
func refusal(err error) error {
	var taken *Conflict
	var invalid *Invalid
	switch {
	case errors.As(err, &taken):
		return &Refusal{Code: ReasonTaken, Attribute: taken.Field, Err: err,
			Detail: fmt.Sprintf("%s %q belongs to another user, who is not linked to this sign-in", taken.Field, taken.Value)}
	case errors.As(err, &invalid) && invalid.Field == "attributes":
		return &Refusal{Code: ReasonTooLarge, Detail: err.Error(), Err: err}
	case errors.As(err, &invalid):
		return &federation.Refusal{Code: federation.ReasonClaims, Detail: err.Error(), Err: err}
	}
	return err
}

// linked finds the user of a Ref. A link of a deleted user that is not cleared
// yet leads to nobody.
func (d *Directory) linked(tx store.Tx, ref federation.Ref) (User, bool, error) {
	l, ok, err := links.Get(tx, refKey(ref))
	if err != nil || !ok {
		return User{}, false, err
	}
	if l.Ref != ref {
		return User{}, false, fmt.Errorf("%w: a link is stored under another's key", store.ErrDamaged)
	}
	return d.UserTx(tx, l.UserID)
}

// checkRef refuses a Ref that can not be kept byte for byte.
func checkRef(ref federation.Ref) error {
	if text := badSubject(ref.Issuer); text != "" {
		return federation.Refuse(federation.ReasonClaims, "the issuer %s", text)
	}
	if text := badSubject(ref.Subject); text != "" {
		return federation.Refuse(federation.ReasonClaims, "the subject %s", text)
	}
	return nil
}

// refKey is the key of a Ref's link: of one length, whatever the Ref's.
func refKey(ref federation.Ref) string { return digest(store.Key(ref.Issuer, ref.Subject)) }

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// horizonKey holds the latest Until of all rows that were swept. What would be
// refused for its age by then can not be told from what was used and swept, so
// it counts as used. That makes a clock that jumps ahead, and then back,
// refuse sign-ins for a while instead of accepting old ones again.
var horizonKey = store.Key("once", "h")

// spend records what a sign-in used up. A row of the same call means that an
// earlier try, of which that was not known, has happened: again.
func (d *Directory) spend(tx store.Tx, once []federation.Once, call string) (again bool, err error) {
	if len(once) == 0 {
		return false, nil
	}
	horizon, _, err := tx.Get(horizonKey)
	if err != nil {
		return false, err
	}
	seen := make(map[string]bool, len(once))
	for _, o := range once {
		if o.Key == "" {
			return false, federation.Refuse(federation.ReasonMalformed, "a sign-in that can not be told from others")
		}
		key := digest([]byte(o.Key))
		if seen[key] {
			continue
		}
		seen[key] = true
		r, used, err := onces.Get(tx, key)
		switch {
		case err != nil:
			return false, err
		case used && r.Call == call:
			return true, nil
		case used:
			return false, federation.Refuse(federation.ReasonReplayed, "this sign-in was used already")
		case !o.Until.IsZero() && moment(o.Until) <= string(horizon):
			return false, federation.Refuse(federation.ReasonReplayed, "this sign-in is so old that it is not known whether it was used")
		}
		until := o.Until.UTC()
		if y := until.Year(); y < 1 || y > 9998 {
			until = time.Time{} // has no stored form; remembered for ever
		}
		if err := onces.Insert(tx, onceRow{key, until, call}); err != nil {
			return false, err
		}
	}
	return false, nil
}

// Spend records that what works one time only has been used, for those who act
// on other words of an identity provider than a sign-in. The error is a
// *federation.Refusal with login.replayed if it had been.
func (d *Directory) Spend(ctx context.Context, once []federation.Once) error {
	call := d.newID()
	var out result
	err := d.sure(ctx, &out, func(tx store.Tx) (result, error) {
		_, err := d.spend(tx, once, call)
		return result{}, err
	})
	if err != nil {
		return fmt.Errorf("record what was used: %w", err)
	}
	return nil
}

// Spent is the error that Spend would give for what was used, and records
// nothing.
func (d *Directory) Spent(ctx context.Context, once []federation.Once) error {
	return d.Store.View(ctx, func(tx store.Tx) error {
		horizon, _, err := tx.Get(horizonKey)
		if err != nil {
			return err
		}
		for _, o := range once {
			_, used, err := onces.Get(tx, digest([]byte(o.Key)))
			if err != nil {
				return err
			}
			if used || !o.Until.IsZero() && moment(o.Until) <= string(horizon) {
				return federation.Refuse(federation.ReasonReplayed, "this message was used already, or is so old that it is not known whether it was")
			}
		}
		return nil
	})
}

// A spent sign-in is remembered for sweepGrace longer than it could be used, so
// that a clock that is a little wrong forgets nothing.
const sweepGrace = time.Hour

const sweepBatch = 30

// Sweep forgets one batch of used-up sign-ins that are long too old to be
// accepted, and what large changes that came to nothing have left. more says
// that there are others.
func (d *Directory) Sweep(ctx context.Context) (more bool, err error) {
	err = d.Store.Update(ctx, func(tx store.Tx) error {
		more = false
		horizon, _, err := tx.Get(horizonKey)
		if err != nil {
			return err
		}
		limit := moment(d.now().Add(-sweepGrace))
		var dead []onceRow
		for r, err := range onces.Range(tx, "until", "", limit, sweepBatch) {
			if err != nil {
				return err
			}
			dead = append(dead, r)
		}
		for _, r := range dead {
			if err := onces.Delete(tx, r.Key); err != nil {
				return err
			}
			horizon = []byte(max(string(horizon), moment(r.Until)))
		}
		if len(dead) == 0 {
			return nil
		}
		more = len(dead) == sweepBatch
		return tx.Put(horizonKey, horizon)
	})
	if err != nil {
		return false, fmt.Errorf("sweep used sign-ins: %w", err)
	}
	if more {
		return true, nil
	}
	if more, err = d.sweepShifts(ctx); err != nil {
		return false, fmt.Errorf("sweep changes of groups: %w", err)
	}
	return more, nil
}
