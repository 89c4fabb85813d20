package outbox

import (
	"errors"
	"sync"
	"time"

	"github.com/gatehouse-sso/gatehouse/provisioning/connector"
)

// health is how a target does, and so whether it is asked. It is a breaker that
// a target can ask for itself (Retry-After), that opens by failures of the
// target and never by what is wrong with one account, and that lets one run
// through to see before it lets all.
//
//	closed ── 5 transient failures in a row, or 1 of credentials or address ──▶ open
//	   ▲      more than 40 % of at least 50 runs in an hour failed ─────────────▶ open, in quarantine
//	   │                                                                          │ 30 s, twice as long
//	   └──── it goes well ◀── one run ◀── half open ◀─────────────────────────────┘ each time, up to 15 min
//
// The zero health is closed.
type health struct {
	mu      sync.Mutex
	until   time.Time     // left alone; zero: closed
	last    time.Duration // what it was last opened for
	why     string
	failing int       // transient failures in a row
	trying  bool      // half open, and one run is out to see
	soft    bool      // open by transient failures alone: who waits may look
	looked  time.Time // when somebody who waits last did

	window      [60]minute // by minute of the hour
	quarantined time.Time  // since when; zero: it is not
}

// minute counts the runs of one minute.
type minute struct {
	at           int64 // minutes since 1970
	runs, failed int
}

const (
	openFirst      = 30 * time.Second
	openMost       = 15 * time.Minute
	openAfter      = 5               // transient failures in a row
	firstThrottled = 2 * time.Second // where the target does not say how long
	peek           = time.Second     // another look while one run is out to see
	leastRuns      = 50              // in the window, for a quarantine
	mostFailed     = 40              // per cent of them
)

// admit says whether a run may be made; if not, in how long it is worth another
// look, and why not. A run that was admitted has to be told by report.
func (h *health) admit(now time.Time) (wait time.Duration, why string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if wait, why = h.closedFor(now); wait == 0 && !h.until.IsZero() {
		h.trying = true
	}
	return wait, why
}

// look is admit for a person who waits for the account: a target that seems to
// be down is looked at once a second as long as somebody does, so that they need
// not wait until its time has come.
func (h *health) look(now time.Time) (wait time.Duration, why string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.soft && !h.trying && h.until.After(now) && now.Sub(h.looked) >= peek {
		h.until, h.looked = now, now
	}
	if wait, why = h.closedFor(now); wait == 0 && !h.until.IsZero() {
		h.trying = true
	}
	return wait, why
}

// wait is admit for who only looks.
func (h *health) wait(now time.Time) (time.Duration, string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.closedFor(now)
}

func (h *health) closedFor(now time.Time) (time.Duration, string) {
	switch {
	case h.until.IsZero():
		return 0, ""
	case h.until.After(now):
		return h.until.Sub(now), h.why
	case h.trying:
		return peek, h.why
	}
	return 0, h.why
}

// A turn is what a report changed that somebody should know.
type turn int

const (
	same turn = iota
	opened
	entered // quarantine
	left    // quarantine
)

// report tells how a run went. what could not be asked at all (our own store, a
// context that ended) is neither good nor bad. counted: for the quarantine.
func (h *health) report(now time.Time, err error, why string, counted bool) turn {
	h.mu.Lock()
	defer h.mu.Unlock()
	probe := h.trying && !h.until.After(now)
	h.trying = false
	var ce *connector.Error
	if err != nil && !errors.As(err, &ce) {
		return same
	}
	if counted && (ce == nil || !ce.Throttled) {
		h.count(now, err != nil)
	}
	bad := ce != nil && (ce.Class == connector.Transient || ce.Class == connector.Auth || ce.Class == connector.Route)
	switch {
	case ce != nil && (ce.Throttled || ce.After > 0):
		// It says when, or it is asked less and less often.
		after := ce.After
		if after == 0 {
			h.last = min(max(2*h.last, firstThrottled), openMost)
			after = h.last
		}
		if now.Add(after).After(h.until) {
			h.until, h.why, h.soft = now.Add(after), why, false
		}
		return same
	case ce != nil && ce.Class == connector.Transient && !probe:
		if h.failing++; h.failing < openAfter {
			break
		}
		fallthrough
	case bad:
		was := h.until
		h.soft = ce.Class == connector.Transient
		h.open(now, why)
		if was.IsZero() {
			return opened
		}
	case probe || h.until.IsZero():
		h.until, h.last, h.why, h.failing = time.Time{}, 0, "", 0
		if probe && err == nil && !h.quarantined.IsZero() {
			h.quarantined, h.window = time.Time{}, [60]minute{}
			return left
		}
	}
	if runs, failed := h.counts(now); h.quarantined.IsZero() && runs >= leastRuns && failed*100 > runs*mostFailed {
		h.quarantined = now
		h.open(now, "more than 40 % of what was tried in the last hour failed; the last: "+why)
		return entered
	}
	return same
}

// open leaves the target alone, longer each time.
func (h *health) open(now time.Time, why string) {
	if !h.until.After(now) {
		if now.Sub(h.looked) >= peek || h.last == 0 { // what a waiting person's look finds makes it no longer
			h.last = min(max(2*h.last, openFirst), openMost)
		}
		h.until = now.Add(h.last)
	}
	h.why, h.failing = why, 0
}

func (h *health) count(now time.Time, failed bool) {
	at := now.Unix() / 60
	m := &h.window[at%60]
	if m.at != at {
		*m = minute{at: at}
	}
	m.runs++
	if failed {
		m.failed++
	}
}

func (h *health) counts(now time.Time) (runs, failed int) {
	oldest := now.Unix()/60 - 59
	for _, m := range h.window {
		if m.at >= oldest {
			runs, failed = runs+m.runs, failed+m.failed
		}
	}
	return runs, failed
}

// retry lets the next run through: somebody has seen to it.
func (h *health) retry() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.until.IsZero() {
		h.until = time.Unix(0, 0)
	}
}

// A Health is how a target does, for people.
type Health struct {
	State       string        `json:"state"` // working; waiting: left alone for a while; quarantine; paused
	Why         string        `json:"why,omitempty"`
	Again       time.Duration `json:"again,omitempty"` // when it is asked again
	Quarantined time.Time     `json:"quarantined,omitzero"`
	Runs        int           `json:"runs"` // in the last hour
	Failed      int           `json:"failed"`
	Rate        int           `json:"rate,omitempty"` // calls a second that it gets at most
}

func (h *health) view(now time.Time) Health {
	h.mu.Lock()
	defer h.mu.Unlock()
	v := Health{State: "working", Quarantined: h.quarantined}
	v.Runs, v.Failed = h.counts(now)
	if v.Again, v.Why = h.closedFor(now); v.Again > 0 {
		v.State = "waiting"
	}
	if !h.quarantined.IsZero() {
		v.State, v.Why = "quarantine", h.why
	}
	return v
}
