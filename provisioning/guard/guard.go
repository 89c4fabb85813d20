// Package guard keeps a mistake from taking everybody's access at once.
//
// Whoever is about to take something away (disable or delete an account or a
// user, end a membership, change an attribute that opens doors) asks first, in
// a transaction. Up to a limit the answer is yes. Beyond it the act is kept as
// an item of a case, and so is everything else of that scope, until a person
// has approved all of it, some or none; after a week without an answer
// it is none. Nothing that was asked is lost, and nothing is done by itself.
//
//	act ──Ask──▶ asked for by a person? ── yes ─────────────────▶ Go
//	               protected?           ── yes ─────────────────▶ Protected
//	               decided already?     ── yes ─────────────────▶ Go, Rejected
//	               a case is open, or the limit of the cycle
//	               or of the last hour would be passed? ─ yes ──▶ Held: item of a case
//	               otherwise: counted  ─────────────────────────▶ Go
//
//	case ──Approve──▶ Resume each item ──▶ whoever asked asks again: Go
//	     ──Reject───▶ forgotten after a week; until then: Rejected
//
// A scope is one direction of one system: "target:crm", "source:hr". A cycle is
// one pass over it: one imported file, one reconciliation. What is asked twice is
// counted once. An act against something younger than an hour is not
// counted: whoever makes and unmakes does no harm.
//
// A limit does not help where the whole list is wrong. Before anything that is
// missing from a list is taken away, [Walk.Sound] says whether the list can be
// believed at all; where it can not, nobody is taken away, and nobody is asked.
//
// An example, of a target that is to lose an account:
//
//	answer, err := g.Ask(ctx, guard.Act{
//		Scope: guard.Target("crm"), Kind: guard.Removal, Subject: userID,
//		How: "disable", Reason: "no longer among the users of the target", Since: user.Created,
//	})
//	if err != nil {
//		return err
//	}
//	if !answer.Go() {
//		return &task.Park{Reason: answer.Text} // Resume adds the task again
//	}
//
// and of a file that is to be imported, where what it would do is known before:
//
//	if err := walk.Sound(); err != nil {
//		return err // an empty file changes nobody
//	}
//	answer, err := g.Foresee(ctx, guard.Source("hr"), fileID, guard.Removal, len(missing))
//	// if it is not Go, the acts below are all held, from the first one on
//
// It knows neither users nor targets, and carries nothing out.
package guard

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/gatehouse-sso/gatehouse/provisioning/audit"
	"github.com/gatehouse-sso/gatehouse/provisioning/store"
	"github.com/gatehouse-sso/gatehouse/provisioning/task"
)

// Target is the scope of what a target would lose.
func Target(id string) string { return "target:" + id }

// Source is the scope of what a source would take away: "hr", "scim:hr", "idp:campus".
func Source(id string) string { return "source:" + id }

// A Kind of act has a limit of its own.
type Kind string

// Kinds.
const (
	Removal    Kind = "removal"    // an account or a user is disabled or deleted
	Membership Kind = "membership" // somebody is taken out of a group
	Sensitive  Kind = "sensitive"  // an attribute that opens doors is changed
)

// An Act takes something away. Scope, Kind, Subject, Object and Whole together are
// what makes two of them the same.
type Act struct {
	Scope   string `json:"scope"`
	Kind    Kind   `json:"kind"`
	Subject string `json:"subject"`          // whom it is about: a user's ID
	Object  string `json:"object,omitempty"` // of a Membership the group, of Sensitive the attribute
	// Whole is what goes as a whole, of a Membership that does not end by itself: the
	// group inside Object that is taken out of it, or Object, which is deleted.
	Whole  string `json:"whole,omitempty"`
	How    string `json:"how,omitempty"`    // for whoever carries it out: "disable", "delete", "remove"
	Cycle  string `json:"cycle,omitempty"`  // the pass that it belongs to; empty: none
	Reason string `json:"reason,omitempty"` // in words, for who has to approve it
	// Since when there is what would be taken away. Zero: long since.
	Since time.Time `json:"since,omitzero"`
	// Asked: a person wants this very act. It is counted and never held.
	Asked bool `json:"-"`
}

// Memberships are the acts by which people lose a group, each by itself or as a Whole;
// since says whom it concerns, and since when they are in it.
func Memberships(scope, group, whole, reason string, since map[string]time.Time) (acts []Act) {
	for _, id := range slices.Sorted(maps.Keys(since)) {
		acts = append(acts, Act{Scope: scope, Kind: Membership, Subject: id, Object: group, Whole: whole, How: "remove", Since: since[id], Reason: reason})
	}
	return acts
}

// A Verdict about an act. The zero Verdict holds it.
type Verdict int

// Verdicts.
const (
	Held      Verdict = iota // an item of a case; do not do it
	Go                       // do it
	Rejected                 // a person said no, or nobody said anything; do not do it
	Protected                // never by itself; do not do it
)

// Reason codes.
const (
	ReasonHeld      = "guard.held"
	ReasonRejected  = "guard.rejected"
	ReasonProtected = "guard.protected"
	ReasonEmpty     = "guard.empty"
	ReasonPartial   = "guard.partial"
	ReasonUnstable  = "guard.unstable"
	ReasonShrunk    = "guard.shrunk"
)

// Reasons says each code in one sentence for an administrator.
var Reasons = map[string]string{
	ReasonHeld:      "More would be taken away than the limit allows, so a person has to approve it.",
	ReasonRejected:  "A person rejected the removal, or nobody approved it in time.",
	ReasonProtected: "The person is protected from being removed automatically.",
	ReasonEmpty:     "The source or target listed nobody although it had people before, so nobody is taken away.",
	ReasonPartial:   "The source or target could not be read to its end, so nobody is taken away.",
	ReasonUnstable:  "The list changed too much while it was read, so nobody is taken away.",
	ReasonShrunk:    "The list is so much shorter than before that it is taken for a mistake, so nobody is taken away.",
}

// An Answer to an act. The zero Answer holds it.
type Answer struct {
	Verdict Verdict
	Case    string // of an act that is held or rejected: the case's ID
	Text    string // why not, for an administrator; empty if it may be done
}

// Go reports that the act may be carried out.
func (a Answer) Go() bool { return a.Verdict == Go }

// Code is the reason code of an answer that is not Go.
func (a Answer) Code() string {
	switch a.Verdict {
	case Go:
		return ""
	case Rejected:
		return ReasonRejected
	case Protected:
		return ReasonProtected
	}
	return ReasonHeld
}

// A Limit is the larger of a number and a share of what there is.
type Limit struct {
	Count   int
	Percent float64
}

// Of is how many acts are allowed where there are n.
func (l Limit) Of(n int) int { return max(l.Count, int(float64(n)*l.Percent/100)) }

// Limits of one scope, each for one cycle and for any hour.
type Limits struct {
	Removal, Membership, Sensitive Limit
	// Shrink is by how many percent a list may be shorter than it was before
	// it is not believed. 0: 50.
	Shrink float64
	Expire time.Duration // of a case nobody decides, and of a decision; 0: 7 days
}

// Defaults are the limits of a scope about which nothing is configured.
var Defaults = Limits{
	Removal: Limit{10, 5}, Membership: Limit{50, 20}, Sensitive: Limit{10, 20}, Shrink: 50, Expire: 7 * 24 * time.Hour,
}

// of a kind. What is no kind has no allowance.
func (l Limits) of(k Kind) Limit {
	switch k {
	case Removal:
		return l.Removal
	case Membership:
		return l.Membership
	case Sensitive:
		return l.Sensitive
	}
	return Limit{}
}

// Config of a Guard.
type Config struct {
	Store store.Store
	// Limits of a scope. nil: Defaults for all.
	Limits func(scope string) Limits
	// Population is how many a scope has, of which a Limit is a share. nil: none,
	// so that only the number counts. It is asked now and then.
	Population func(tx store.Tx, scope string) (int, error)
	// Protected says why somebody is never removed by itself; empty: they may be. nil: nobody is.
	Protected func(tx store.Tx, subject string) (why string, err error)
	// Resume makes whoever asked ask again, once an item is approved or rejected:
	// it adds a task. It may write 6 keys. nil: they ask again by themselves.
	Resume func(tx store.Tx, it Item) error
	// Audit, if not nil, records cases and decisions in their transactions.
	Audit func(tx store.Tx, e audit.Event) error
	Now   func() time.Time // nil: time.Now
}

// A Guard answers acts and keeps cases. Its methods may be called from many goroutines.
type Guard struct {
	c Config

	mu         sync.Mutex
	population map[string]counted
}

// counted is how many a scope had, and when.
type counted struct {
	n  int
	at time.Time
}

// New makes a Guard.
func New(c Config) *Guard {
	if c.Limits == nil {
		c.Limits = func(string) Limits { return Defaults }
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return &Guard{c: c, population: map[string]counted{}}
}

// Limits of a scope, with what is left out filled in.
func (g *Guard) Limits(scope string) Limits {
	l := g.c.Limits(scope)
	if l.Shrink <= 0 {
		l.Shrink = Defaults.Shrink
	}
	if l.Expire <= 0 {
		l.Expire = Defaults.Expire
	}
	return l
}

// now is the time as it is stored: UTC, whole milliseconds.
func (g *Guard) now() time.Time { return g.c.Now().UTC().Truncate(time.Millisecond) }

// window is the sliding hour.
const window = time.Hour

// Ask answers an act in a transaction of its own, which is committed before
// Ask returns: then the act may be carried out, if the Answer is Go.
func (g *Guard) Ask(ctx context.Context, a Act) (ans Answer, err error) {
	err = g.c.Store.Update(ctx, func(tx store.Tx) error {
		ans, err = g.AskTx(tx, a)
		return err
	})
	if err != nil {
		return Answer{}, fmt.Errorf("ask guard of %s: %w", a.Scope, err)
	}
	return ans, nil
}

// AskTx answers an act in the caller's transaction, with at most 16 keys. If the
// transaction is undone, an act that was held is forgotten: whoever undoes it
// because of the answer asks again in another one.
func (g *Guard) AskTx(tx store.Tx, a Act) (Answer, error) {
	if a.Scope == "" || a.Subject == "" || a.Kind == "" {
		return Answer{}, errors.New("guard: an act needs a scope, a kind and a subject")
	}
	now, lim := g.now(), g.Limits(a.Scope)
	it, known, err := items.Get(tx, itemKey(a))
	if err != nil {
		return Answer{}, err
	}
	if a.Asked {
		return Answer{Verdict: Go}, g.pass(tx, a, it, known, now)
	}
	if known {
		ans, settled, err := g.settled(tx, it, a, lim, now)
		if err != nil || settled {
			return ans, err
		}
	}
	why, err := g.protected(tx, a)
	if err != nil {
		return Answer{}, err
	}
	if why != "" {
		return Answer{Verdict: Protected, Text: why}, g.keepProtected(tx, a, it, known, why, now)
	}
	if !a.Since.IsZero() && now.Sub(a.Since) < window {
		return Answer{Verdict: Go}, nil
	}
	c, open, err := openCase(tx, a.Scope)
	if err != nil {
		return Answer{}, err
	}
	if !open {
		over, text, err := g.over(tx, a.Scope, a.Cycle, a.Kind, 1, now)
		if err != nil {
			return Answer{}, err
		}
		if !over {
			return Answer{Verdict: Go}, g.pass(tx, a, it, known, now)
		}
		if c, err = g.open(tx, a.Scope, a.Cycle, text, now); err != nil {
			return Answer{}, err
		}
	}
	return g.hold(tx, &c, a, now)
}

// AskAll answers acts of one scope and kind that are carried out together or not at
// all, each before any: if they all fit into the limit they are counted and the Answer
// is Go; if not, each of them is kept as an item of the case. It takes transactions of
// its own, so that there may be any number of acts.
func (g *Guard) AskAll(ctx context.Context, acts []Act) (ans Answer, err error) {
	if len(acts) == 0 {
		return Answer{Verdict: Go}, nil
	}
	fresh, allowed := 0, 0
	err = g.c.Store.View(ctx, func(tx store.Tx) error {
		fresh, allowed, ans = 0, 0, Answer{Verdict: Go}
		now, lim := g.now(), g.Limits(acts[0].Scope)
		for _, a := range acts {
			it, known, err := items.Get(tx, itemKey(a))
			if err != nil {
				return err
			}
			var was Answer
			settled := false
			if known {
				if was, settled, err = g.settled(tx, it, a, lim, now); err != nil {
					return err
				}
			}
			switch {
			case settled && !was.Go():
				ans = was
			case settled:
				allowed++
			case !settled && (a.Since.IsZero() || now.Sub(a.Since) >= window):
				fresh++
			}
		}
		return nil
	})
	if err == nil && (allowed == len(acts) || ans.Verdict != Go && ans.Verdict != Held) {
		return ans, nil
	}
	if err == nil && ans.Go() && fresh > 0 {
		_, err = g.Foresee(ctx, acts[0].Scope, acts[0].Cycle, acts[0].Kind, fresh) // opens the case if they are too many
	}
	if err == nil {
		ans, err = g.askEach(ctx, acts)
	}
	if err != nil {
		return Answer{}, fmt.Errorf("ask guard: %w", err)
	}
	return ans, nil
}

// asked is how many acts are asked in one transaction: each writes 3 keys, and all
// together 16 more; hands is how many such transactions wait for the disk together.
const asked, hands = 25, 16

// askEach asks acts in transactions of its own. The Answer is Go if it is so for all.
func (g *Guard) askEach(ctx context.Context, acts []Act) (Answer, error) {
	parts := slices.Collect(slices.Chunk(acts, asked))
	answers, errs := make([]Answer, len(parts)), make([]error, len(parts))
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(hands, len(parts)) {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(parts); i = int(next.Add(1)) - 1 {
				errs[i] = g.c.Store.Update(ctx, func(tx store.Tx) error {
					answers[i] = Answer{Verdict: Go}
					for _, a := range parts[i] {
						was, err := g.AskTx(tx, a)
						if err != nil {
							return err
						}
						if answers[i].Go() {
							answers[i] = was
						}
					}
					return nil
				})
			}
		})
	}
	wg.Wait()
	ans := Answer{Verdict: Go}
	for _, was := range answers {
		if ans.Go() {
			ans = was
		}
	}
	return ans, errors.Join(errs...)
}

// settled is the answer to an act that was asked before, if that still holds.
func (g *Guard) settled(tx store.Tx, it Item, a Act, lim Limits, now time.Time) (ans Answer, yes bool, err error) {
	age := now.Sub(it.At)
	switch it.State {
	case ItemPassed:
		return Answer{Verdict: Go}, age < window || a.Cycle != "" && a.Cycle == it.Act.Cycle, nil
	case ItemApproved:
		return Answer{Verdict: Go}, age < lim.Expire, nil
	case ItemRejected:
		return Answer{Rejected, it.Case, "it was rejected: " + it.Why}, age < lim.Expire, nil
	case ItemHeld:
		c, ok, err := cases.Get(tx, it.Case)
		switch {
		case err != nil || !ok:
			return Answer{}, false, err
		case c.State == CaseApproved:
			return Answer{Verdict: Go}, true, nil
		case c.State == CaseRejected:
			return Answer{Rejected, c.ID, "it was rejected"}, true, nil
		}
		return held(c), true, nil
	}
	return Answer{}, false, nil
}

func held(c Case) Answer {
	return Answer{Held, c.ID, fmt.Sprintf("held for approval in case %s: %s", c.ID, c.Text)}
}

func (g *Guard) protected(tx store.Tx, a Act) (string, error) {
	if g.c.Protected == nil || a.Kind != Removal {
		return "", nil
	}
	return g.c.Protected(tx, a.Subject)
}

// keepProtected keeps that somebody was to be removed who is protected, and
// records it the first time.
func (g *Guard) keepProtected(tx store.Tx, a Act, it Item, known bool, why string, now time.Time) error {
	if known && it.State == ItemProtected && now.Sub(it.At) < window {
		return nil
	}
	if err := items.Put(tx, Item{Act: a, State: ItemProtected, Why: why, At: now}); err != nil {
		return err
	}
	return g.record(tx, audit.Event{Kind: "guard.protected", Code: ReasonProtected, UserID: a.Subject, Text: a.Scope + ": " + why})
}

// pass counts an act and lets it through.
func (g *Guard) pass(tx store.Tx, a Act, it Item, known bool, now time.Time) error {
	if known && it.State == ItemHeld {
		if err := g.leaveCase(tx, it); err != nil {
			return err
		}
	}
	if err := items.Put(tx, Item{Act: a, State: ItemPassed, At: now}); err != nil {
		return err
	}
	return count(tx, a, now)
}

// over says whether n more acts of a kind would pass the limit, and which.
func (g *Guard) over(tx store.Tx, scope, cycle string, k Kind, n int, now time.Time) (bool, string, error) {
	lim := g.Limits(scope).of(k)
	hour, pass, err := sums(tx, scope, cycle, k, now)
	if err != nil {
		return false, "", err
	}
	if most := max(hour, pass) + n; most <= lim.Count {
		return false, "", nil // so the population need not be counted
	}
	of, err := g.of(tx, scope, now)
	if err != nil {
		return false, "", err
	}
	allowed := lim.Of(of)
	switch {
	case pass+n > allowed:
		return true, fmt.Sprintf("this pass would make %d acts of the kind %s, and %d of %d are allowed", pass+n, k, allowed, of), nil
	case hour+n > allowed:
		return true, fmt.Sprintf("within an hour there would be %d acts of the kind %s, and %d of %d are allowed", hour+n, k, allowed, of), nil
	}
	return false, "", nil
}

// recount is for how long a population is remembered.
const recount = 10 * time.Minute

// of is how many a scope has.
func (g *Guard) of(tx store.Tx, scope string, now time.Time) (int, error) {
	if g.c.Population == nil {
		return 0, nil
	}
	g.mu.Lock()
	have, ok := g.population[scope]
	g.mu.Unlock()
	if age := now.Sub(have.at); ok && age >= 0 && age < recount {
		return have.n, nil
	}
	n, err := g.c.Population(tx, scope)
	if err != nil {
		return 0, err
	}
	g.mu.Lock()
	g.population[scope] = counted{n, now}
	g.mu.Unlock()
	return n, nil
}

// HoldTx makes an act an item of its scope's case whatever the limits are, and
// opens one if none is: a person has to approve it. text says why. What was
// decided about it already stays decided.
func (g *Guard) HoldTx(tx store.Tx, a Act, text string) error {
	it, known, err := items.Get(tx, itemKey(a))
	now := g.now()
	if err != nil || known && (it.State == ItemHeld || it.State != ItemPassed && now.Sub(it.At) < g.Limits(a.Scope).Expire) {
		return err
	}
	c, open, err := openCase(tx, a.Scope)
	if err == nil && !open {
		c, err = g.open(tx, a.Scope, a.Cycle, text, now)
	}
	if err != nil {
		return err
	}
	_, err = g.hold(tx, &c, a, now)
	return err
}

// A Refused undoes a change of the directory that was not let through, and keeps
// it for a person to approve: it is a provisioning.Noted.
type Refused struct {
	Answer Answer
	act    Act
	guard  *Guard
}

// Refuse makes the error by which a transaction is undone that was not let through.
func (g *Guard) Refuse(a Act, ans Answer) *Refused { return &Refused{ans, a, g} }

func (r *Refused) Error() string { return r.Answer.Code() + ": " + r.Answer.Text }

// Reason is the reason code.
func (r *Refused) Reason() string { return r.Answer.Code() }

// Note asks again, in a transaction that is not undone.
func (r *Refused) Note(tx store.Tx) (err error) {
	r.Answer, err = r.guard.AskTx(tx, r.act) // the case that it was in is undone
	return err
}

// Foresee says whether n acts of a kind that a cycle is about to make would pass
// its limit. If so a case is opened at once, so that all of them are held,
// and not only what is beyond the limit.
func (g *Guard) Foresee(ctx context.Context, scope, cycle string, k Kind, n int) (ans Answer, err error) {
	err = g.c.Store.Update(ctx, func(tx store.Tx) error {
		ans, err = g.foresee(tx, scope, cycle, k, n)
		return err
	})
	if err != nil {
		return Answer{}, fmt.Errorf("ask guard of %s: %w", scope, err)
	}
	return ans, nil
}

func (g *Guard) foresee(tx store.Tx, scope, cycle string, k Kind, n int) (Answer, error) {
	c, open, err := openCase(tx, scope)
	if err != nil || open {
		return held(c), err
	}
	now := g.now()
	over, text, err := g.over(tx, scope, cycle, k, n, now)
	if err != nil || !over {
		return Answer{Verdict: Go}, err
	}
	if c, err = g.open(tx, scope, cycle, text, now); err != nil {
		return Answer{}, err
	}
	return held(c), nil
}

// open opens the case of a scope.
func (g *Guard) open(tx store.Tx, scope, cycle, text string, now time.Time) (Case, error) {
	c := Case{
		ID: uuid.Must(uuid.NewV7()).String(), Scope: scope, Cycle: cycle, Text: text, State: CaseOpen,
		Opened: now, Expires: now.Add(g.Limits(scope).Expire),
	}
	if err := cases.Put(tx, c); err != nil {
		return Case{}, err
	}
	if err := task.Add(tx, TaskCase, c.ID, c.Expires); err != nil {
		return Case{}, err
	}
	return c, g.record(tx, audit.Event{Kind: "guard.held", Code: ReasonHeld, Text: fmt.Sprintf("%s: case %s: %s", scope, c.ID, text)})
}

// hold makes an act an item of an open case.
func (g *Guard) hold(tx store.Tx, c *Case, a Act, now time.Time) (Answer, error) {
	if err := items.Put(tx, Item{Act: a, State: ItemHeld, Case: c.ID, At: now}); err != nil {
		return Answer{}, err
	}
	c.Held++
	return held(*c), cases.Put(tx, *c)
}

// WithdrawTx forgets that an act was asked: there is nothing to take away any
// more, because the person is back. What was decided about it does not count for
// the next time.
func (g *Guard) WithdrawTx(tx store.Tx, a Act) error {
	it, ok, err := items.Get(tx, itemKey(a))
	if err != nil || !ok {
		return err
	}
	if it.State == ItemHeld {
		if err := g.leaveCase(tx, it); err != nil {
			return err
		}
	}
	return items.Delete(tx, itemKey(a))
}

// LookTx is what is known of an act that was asked.
func (g *Guard) LookTx(tx store.Tx, a Act) (Item, bool, error) { return items.Get(tx, itemKey(a)) }

// leaveCase takes an item out of its case: it is done, or there is nothing to do.
func (g *Guard) leaveCase(tx store.Tx, it Item) error {
	c, ok, err := cases.Get(tx, it.Case)
	if err != nil || !ok {
		return err
	}
	c.Held--
	return cases.Put(tx, c)
}

func (g *Guard) record(tx store.Tx, e audit.Event) error {
	if g.c.Audit == nil {
		return nil
	}
	return g.c.Audit(tx, e)
}

// ErrNotFound: there is no such case, or it is decided.
var ErrNotFound = errors.New("no such open case")
