package guard

import (
	"time"

	"github.com/gatehouse-sso/gatehouse/provisioning/store"
)

// An Item is an act that was asked.
type Item struct {
	Act   Act       `json:"act"`
	State string    `json:"state"`
	Case  string    `json:"case,omitempty"` // that it belongs, or belonged, to
	Why   string    `json:"why,omitempty"`  // it is rejected or protected
	At    time.Time `json:"at"`             // since when it is in this state
}

// States of an Item.
const (
	ItemPassed    = "passed"
	ItemHeld      = "held"
	ItemApproved  = "approved"
	ItemRejected  = "rejected"
	ItemProtected = "protected"
)

// A Case is what a person has to decide about a scope: all that would be taken
// away since a limit was passed. A scope has one open case at most.
type Case struct {
	ID       string    `json:"id"`
	Scope    string    `json:"scope"`
	Cycle    string    `json:"cycle,omitempty"` // the pass in which it was opened
	Text     string    `json:"text"`            // which limit was passed
	State    string    `json:"state"`
	Held     int       `json:"held"` // items that wait
	Approved int       `json:"approved,omitempty"`
	Rejected int       `json:"rejected,omitempty"`
	Opened   time.Time `json:"opened"`
	Expires  time.Time `json:"expires"`      // it is rejected then
	By       string    `json:"by,omitempty"` // who decided about all that was left
	At       time.Time `json:"at,omitzero"`  // when
}

// States of a Case. One that is approved or rejected has a State of its own
// until its last item has it too; then it is closed.
const (
	CaseOpen     = "open"
	CaseApproved = "approved"
	CaseRejected = "rejected"
	CaseClosed   = "closed"
)

// Key is what tells an item from all others.
func (it Item) Key() string { return itemKey(it.Act) }

var items = &store.Table[Item]{
	Name: "guard_item",
	Key:  Item.Key,
	Index: map[string]func(Item) []string{
		"case": func(it Item) []string {
			if it.Case == "" {
				return nil
			}
			return []string{caseState(it.Case, it.State)}
		},
		"old": func(it Item) []string {
			if it.State == ItemHeld {
				return nil
			}
			return []string{moment(it.At)}
		},
	},
}

var cases = &store.Table[Case]{
	Name: "guard_case",
	Key:  func(c Case) string { return c.ID },
	Unique: map[string]func(Case) []string{"open": func(c Case) []string {
		if c.State != CaseOpen {
			return nil
		}
		return []string{c.Scope}
	}},
	Index: map[string]func(Case) []string{"scope": func(c Case) []string { return []string{c.Scope} }},
}

func itemKey(a Act) string {
	parts := []string{a.Scope, string(a.Kind), a.Subject, a.Object}
	if a.Whole != "" {
		parts = append(parts, a.Whole)
	}
	return string(store.Key(parts...))
}

func caseState(id, state string) string { return string(store.Key(id, state)) }

func openCase(tx store.Tx, scope string) (Case, bool, error) { return cases.Lookup(tx, "open", scope) }

// moment is a time as text that sorts like it.
func moment(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05Z") }

// A tally counts acts of a scope: of one cycle, or of the last hour by minutes.
type tally struct {
	Scope   string               `json:"scope"`
	Cycle   string               `json:"cycle,omitempty"` // empty: the hour's
	Sum     map[Kind]int         `json:"sum,omitempty"`
	Minutes map[Kind]map[int]int `json:"minutes,omitempty"` // by the minute since 1970
	At      time.Time            `json:"at"`
}

var tallies = &store.Table[tally]{
	Name:  "guard_tally",
	Key:   func(t tally) string { return string(store.Key(t.Scope, t.Cycle)) },
	Index: map[string]func(tally) []string{"old": func(t tally) []string { return []string{moment(t.At.Truncate(window))} }},
}

func minute(t time.Time) int { return int(t.Unix() / 60) }

// count counts an act in its hour, and in its cycle if it has one.
func count(tx store.Tx, a Act, now time.Time) error {
	hour, _, err := tallies.Get(tx, string(store.Key(a.Scope, "")))
	if err != nil {
		return err
	}
	if hour.Minutes == nil {
		hour.Minutes = map[Kind]map[int]int{}
	}
	m := hour.Minutes[a.Kind]
	if m == nil {
		m = map[int]int{}
		hour.Minutes[a.Kind] = m
	}
	for at := range m {
		if at <= minute(now.Add(-window)) {
			delete(m, at)
		}
	}
	m[minute(now)]++
	hour.Scope, hour.At = a.Scope, now
	if err := tallies.Put(tx, hour); err != nil || a.Cycle == "" {
		return err
	}
	pass, _, err := tallies.Get(tx, string(store.Key(a.Scope, a.Cycle)))
	if err != nil {
		return err
	}
	if pass.Sum == nil {
		pass.Sum = map[Kind]int{}
	}
	pass.Sum[a.Kind]++
	pass.Scope, pass.Cycle, pass.At = a.Scope, a.Cycle, now
	return tallies.Put(tx, pass)
}

// sums are how many acts of a kind were let through within the last hour, and in
// a cycle. What a clock that jumped back has put into the future counts.
func sums(tx store.Tx, scope, cycle string, k Kind, now time.Time) (hour, pass int, err error) {
	t, _, err := tallies.Get(tx, string(store.Key(scope, "")))
	if err != nil {
		return 0, 0, err
	}
	for at, n := range t.Minutes[k] {
		if at > minute(now.Add(-window)) {
			hour += n
		}
	}
	if cycle == "" {
		return hour, 0, nil
	}
	t, _, err = tallies.Get(tx, string(store.Key(scope, cycle)))
	return hour, t.Sum[k], err
}
