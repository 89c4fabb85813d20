package reconcile

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/gatehouse-sso/gatehouse/provisioning/store"
)

// A Finding is what one account came to.
type Finding struct {
	RemoteID  string   `json:"remote"`
	UserID    string   `json:"user,omitempty"`
	Situation string   `json:"situation"`       // as it was found
	Drift     []string `json:"drift,omitempty"` // names of what differed
	After     string   `json:"after"`           // what became of it; of a Preview, what would
	Text      string   `json:"text,omitempty"`
}

// A Report is what a reconciliation found, and what came of it. There is one of
// each target and Mode: the last.
type Report struct {
	Target  string    `json:"target"`
	Mode    Mode      `json:"mode"`
	Started time.Time `json:"started"`
	Ended   time.Time `json:"ended,omitzero"` // zero: it goes on, or waits
	// Matrix counts accounts, by the situation they were found in and what became of them.
	Matrix map[string]map[string]int `json:"matrix,omitempty"`
	// Drift counts accounts, by the names of what differed.
	Drift map[string]int `json:"drift,omitempty"`
	// Unsound is why the list was not believed about who is missing: a reason code.
	Unsound string `json:"unsound,omitempty"`
	Text    string `json:"text,omitempty"` // the same in words
	// Some findings that are not in step, at most MaxFindings.
	Some []Finding `json:"some,omitempty"`
}

// MaxFindings is how many findings a Report names.
const MaxFindings = 200

var reports = &store.Table[Report]{Name: "reconciliation", Key: func(r Report) string { return Key(r.Target, r.Mode) }}

func (r *Report) count(f Finding) {
	if r.Matrix == nil {
		r.Matrix, r.Drift = map[string]map[string]int{}, map[string]int{}
	}
	if r.Matrix[f.Situation] == nil {
		r.Matrix[f.Situation] = map[string]int{}
	}
	r.Matrix[f.Situation][f.After]++
	for _, name := range f.Drift {
		r.Drift[name]++
	}
	if f.After != InStep && len(r.Some) < MaxFindings {
		r.Some = append(r.Some, f)
	}
}

// Count is how many accounts were found in a situation.
func (r Report) Count(situation string) (n int) {
	for _, k := range r.Matrix[situation] {
		n += k
	}
	return n
}

// summary is the matrix in one line.
func (r Report) summary() string {
	var parts []string
	for _, situation := range slices.Sorted(maps.Keys(r.Matrix)) {
		for _, after := range slices.Sorted(maps.Keys(r.Matrix[situation])) {
			parts = append(parts, fmt.Sprintf("%d %s %s", r.Matrix[situation][after], situation, after))
		}
	}
	return strings.Join(parts, ", ")
}

// Report returns the last report of a target in a mode; ok is false if there is none.
func (r *Reconciler) Report(ctx context.Context, target string, m Mode) (rep Report, ok bool, err error) {
	err = r.c.Store.View(ctx, func(tx store.Tx) error {
		rep, ok, err = reports.Get(tx, Key(target, m))
		return err
	})
	return rep, ok, err
}
