package dialect

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"time"
)

// A Count is how often a rule put something right.
type Count struct {
	Rule   string    `json:"rule"`
	Count  int       `json:"count"`
	First  time.Time `json:"first"`
	Last   time.Time `json:"last"`
	Sample string    `json:"sample"` // the last, without values
}

// A Tally counts rewrites by client and rule, in memory. The zero Tally is
// empty and ready. Its methods may be called at the same time.
type Tally struct {
	mu sync.Mutex
	by map[string]map[string]*Count
}

// Add counts what was put right for a client.
func (t *Tally) Add(client string, now time.Time, made []Rewrite) {
	if len(made) == 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.by == nil {
		t.by = map[string]map[string]*Count{}
	}
	rules := t.by[client]
	if rules == nil {
		rules = map[string]*Count{}
		t.by[client] = rules
	}
	for _, r := range made {
		c := rules[r.Rule]
		if c == nil {
			c = &Count{Rule: r.Rule, First: now}
			rules[r.Rule] = c
		}
		c.Count++
		c.Last, c.Sample = now, r.Sample
	}
}

// Of lists the counts of a client by the names of rules.
func (t *Tally) Of(client string) []Count {
	t.mu.Lock()
	defer t.mu.Unlock()
	list := []Count{}
	for c := range maps.Values(t.by[client]) {
		list = append(list, *c)
	}
	slices.SortFunc(list, func(a, b Count) int { return cmp.Compare(a.Rule, b.Rule) })
	return list
}
