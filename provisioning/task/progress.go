package task

import (
	"fmt"
	"time"

	"github.com/gatehouse-sso/gatehouse/provisioning/store"
)

// A Progress is how far long work is. Its handler saves it in the transaction
// that did a part of the work; so what Cursor says is done, is done. It stays
// when the task is done, to be seen, until the task is added again.
type Progress struct {
	Done   int64  `json:"done"`             // of whatever the work counts: rows, users, accounts
	Total  int64  `json:"total,omitempty"`  // 0: not known
	Failed int64  `json:"failed,omitempty"` // among those done
	Cursor []byte `json:"cursor,omitempty"` // the handler's: where to go on
	Note   string `json:"note,omitempty"`   // what is being done, in a few words

	Started time.Time `json:"started"`       // the work, by its first run
	At      time.Time `json:"at"`            // of the last Save
	Since   time.Time `json:"since"`         // the run that saved it last began
	Base    int64     `json:"base,omitzero"` // Done when it began
	Ended   time.Time `json:"ended,omitzero"`
}

// Rate is how much was done a second, in the run that saved it last; 0 if that
// can not be said yet.
func (p Progress) Rate() float64 {
	took := p.At.Sub(p.Since).Seconds()
	if took <= 0 || p.Done <= p.Base {
		return 0
	}
	return float64(p.Done-p.Base) / took
}

// Left is how long the rest takes at that rate; 0 if that can not be said.
func (p Progress) Left() time.Duration {
	rate := p.Rate()
	if rate == 0 || p.Done >= p.Total {
		return 0
	}
	return time.Duration(float64(p.Total-p.Done) / rate * float64(time.Second)).Round(time.Second)
}

// progresses are kept beside the tasks, so that what only looks for something to
// do does not read cursors.
var progresses = store.Table[progress]{Name: "progress", Key: func(p progress) string { return id(p.Kind, p.Key) }}

type progress struct {
	Kind string `json:"kind"`
	Key  string `json:"key"`
	Progress
}

// Load returns the Progress of a task to its handler, as a run begins: what is
// there from an earlier run, or an empty one and false. Those who only look
// call [Get] or [Look].
func Load(tx store.Tx, kind, key string) (Progress, bool, error) {
	p, ok, err := progresses.Get(tx, id(kind, key))
	if err != nil {
		return Progress{}, false, err
	}
	now := time.Now().UTC()
	if !ok || !p.Ended.IsZero() {
		return Progress{Started: now, Since: now}, false, nil
	}
	p.Since, p.Base = now, p.Done
	return p.Progress, true, nil
}

// Save stores p, as of now, as the Progress of a task.
func Save(tx store.Tx, kind, key string, p Progress) error {
	p.At = time.Now().UTC()
	if p.Started.IsZero() {
		p.Started, p.Since = p.At, p.At
	}
	if err := progresses.Put(tx, progress{kind, key, p}); err != nil {
		return fmt.Errorf("save progress of task %s %s: %w", kind, key, err)
	}
	return nil
}

// Forget removes the Progress of a task, so that it begins anew.
func Forget(tx store.Tx, kind, key string) error { return progresses.Delete(tx, id(kind, key)) }

// ended notes that the work of a task is done.
func ended(tx store.Tx, kind, key string) error {
	p, ok, err := progresses.Get(tx, id(kind, key))
	if err != nil || !ok {
		return err
	}
	p.Ended, p.Cursor = time.Now().UTC(), nil
	return progresses.Put(tx, p)
}
