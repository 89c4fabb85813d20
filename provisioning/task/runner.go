package task

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"iter"
	mathrand "math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gatehouse-sso/gatehouse/provisioning/store"
)

const (
	leaseTime  = time.Minute          // what a run holds; renewed three times in it
	firstDelay = 2 * time.Second      // the bound of the delay doubles with each failure,
	mostDelay  = 15 * time.Minute     // up to this
	giveUp     = 72 * time.Hour       // of failures, then it is parked
	leastDelay = time.Second          // after a Retry, or when the store fails
	idle       = time.Minute          // the longest wait without a look
	finishTime = 10 * time.Second     // to store an outcome when the run's ctx is over
	breath     = 2 * time.Millisecond // after a look that found more than it may begin: the next finds more workers
	tries      = 12                   // of a transaction that the store is not sure of; 4 seconds
	maxError   = 500                  // bytes
)

// Config of a Runner.
type Config struct {
	Store    store.Store
	Handlers map[string]Handler // by kind; tasks of other kinds are left alone
	// Prepare, by kind, is called in the transaction that begins a run, for what
	// has to be there before the Handler does anything; Prepared gives the Handler
	// what it returned. As it may be called again, it touches nothing but its Tx.
	Prepare map[string]func(tx store.Tx, key string) any
	Workers int // at the same time; 0: 16
	// PerLane is how many of the workers may be busy in one lane of a kind;
	// what is due beyond that is not touched. 0: all of them.
	PerLane int
	// Closed is for how long nothing in a lane of a kind is worth a look, as when
	// what it works on can not be reached; what is due there stays as it is. Now
	// does not ask it. nil: every lane is open.
	Closed func(kind, lane string) time.Duration
	Owner  string           // this process, in leases; empty: random
	Now    func() time.Time // nil: time.Now
	// Alone: no other process can have the store, so what is running when Run
	// begins was left by a crash.
	Alone bool
	// Damaged is told, in the transaction that takes it away, of an entry that
	// says a task is due which no task stands behind. nil: nobody is.
	Damaged func(tx store.Tx, kind, key string) error
}

// A Runner runs what is due.
type Runner struct {
	c    Config
	self string // begins every claim of this Runner

	free chan struct{} // has a token when a worker has ended

	mu   sync.Mutex
	busy map[string]entry // what workers have, by ID
	runs map[string]*run  // runs under way, by ID
}

// NewRunner makes a Runner; it does nothing until Run or Now.
func NewRunner(c Config) *Runner {
	if c.Workers <= 0 {
		c.Workers = 16
	}
	if c.PerLane <= 0 {
		c.PerLane = c.Workers
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	self := rand.Text()
	if c.Owner != "" {
		self = c.Owner + " " + self
	}
	return &Runner{c: c, self: self + " ", free: make(chan struct{}, 1), busy: map[string]entry{}, runs: map[string]*run{}}
}

// Run works until ctx ends, then waits for handlers to return (their ctx is
// done too) and returns nil. What a crash left running is taken up when its lease
// is over, or at once if the Config says Alone. It returns an error only if the
// store was closed.
func (r *Runner) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()

	jobs := make(chan entry, r.c.Workers) // no more are busy
	defer close(jobs)
	for range r.c.Workers {
		wg.Go(func() {
			for t := range jobs {
				r.work(ctx, t)
			}
		})
	}
	wake := make(chan struct{}, 1)
	wg.Go(func() {
		for key := range r.c.Store.Watch(ctx, tasks.Prefix()) {
			if r.notice(key) {
				signal(wake)
			}
		}
	})
	orphans := r.c.Alone
	for {
		var wait time.Duration
		var crowd bool
		var err error
		if orphans {
			if err = r.takeOrphans(ctx); err == nil {
				orphans = false
			}
		}
		var due []entry
		began := time.Now()
		if err == nil {
			due, wait, crowd, err = r.look(ctx)
		}
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, store.ErrClosed):
			return fmt.Errorf("run tasks: %w", err)
		case err != nil:
			wait = leastDelay
		}
		for _, t := range due {
			jobs <- t
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-wake:
		case <-r.free:
		case <-timer.C:
		}
		timer.Stop()
		if rest := breath - time.Since(began); crowd && rest > 0 {
			select {
			case <-ctx.Done():
			case <-time.After(rest):
			}
		}
	}
}

// notice tells the run of a row that changed; all of them if key is nil. It
// reports whether there may be something to begin: what a worker has is looked at
// when the worker ends.
func (r *Runner) notice(key []byte) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if row, ok := tasks.KeyOf(key); ok {
		if run := r.runs[row]; run != nil {
			run.glance()
		}
		_, has := r.busy[row]
		return !has
	}
	for _, run := range r.runs {
		run.glance()
	}
	return true
}

func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// look finds what is due and marks it busy, as much as there are free workers,
// and says how long nothing more will be due. What is due but has no worker needs
// no time: a worker that ends is a reason to look again. crowd: it found all that
// may begin, and there may be more.
func (r *Runner) look(ctx context.Context) (due []entry, wait time.Duration, crowd bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	free := r.c.Workers - len(r.busy)
	if free <= 0 {
		return nil, idle, false, nil
	}
	now := r.c.Now()
	err = r.c.Store.View(ctx, func(tx store.Tx) error {
		due, wait, crowd = nil, idle, false
		for kind := range r.c.Handlers {
			for lane, err := range lanes(tx, kind) {
				if err != nil {
					return err
				}
				some, next, full, err := r.lookIn(tx, kind, lane, free, now)
				if err != nil {
					return err
				}
				crowd = crowd || full
				due, wait = append(due, some...), min(wait, next)
			}
		}
		return nil
	})
	if err != nil {
		return nil, 0, false, err
	}
	slices.SortFunc(due, func(a, b entry) int {
		return cmp.Or(cmp.Compare(a.rank, b.rank), cmp.Compare(a.at, b.at), cmp.Compare(a.kind, b.kind), cmp.Compare(a.key, b.key))
	})
	crowd = crowd || len(due) > free
	due = due[:min(len(due), free)]
	for _, t := range due {
		r.busy[t.id] = t
	}
	return due, wait, crowd, nil
}

// An entry is what the index says of a row. A look reads no rows: there may be
// many, and whoever begins a run reads its row in any case.
type entry struct {
	id             string // key of the row
	value          string // of the index
	kind, key      string
	lane, rank, at string
}

func entries(tx store.Tx, from, to []byte, limit int) iter.Seq2[entry, error] {
	return func(yield func(entry, error) bool) {
		for e, err := range tasks.Entries(tx, "due", string(from), string(to), store.Entry{}, limit) {
			if err != nil {
				yield(entry{}, err)
				return
			}
			place, err := store.Parts([]byte(e.Value))
			name, nerr := store.Parts([]byte(e.Key))
			if err != nil || nerr != nil || len(place) != 4 || len(name) != 2 {
				yield(entry{}, fmt.Errorf("%w: the index of tasks holds a key that is no entry", store.ErrDamaged))
				return
			}
			if !yield(entry{e.Key, e.Value, name[0], name[1], place[1], place[2], place[3]}, nil) {
				return
			}
		}
	}
}

// lanes yields the lanes of a kind in which there is something. It reads one
// entry of each, however many there are.
func lanes(tx store.Tx, kind string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		from, end := store.Key(kind), store.End(store.Key(kind))
		for {
			lane, found := "", false
			for t, err := range entries(tx, from, end, 1) {
				if err != nil {
					yield("", err)
					return
				}
				lane, found = t.lane, true
			}
			if !found || !yield(lane, nil) {
				return
			}
			from = store.End(store.Key(kind, lane))
		}
	}
}

// lookIn finds what is due in one lane, those that overtake before the others, at
// most as much as may run there; wait is how long nothing more will be due, full
// that as much was found as may run.
func (r *Runner) lookIn(tx store.Tx, kind, lane string, free int, now time.Time) (due []entry, wait time.Duration, full bool, err error) {
	busy := 0 // they may still stand in the index
	for _, t := range r.busy {
		if t.kind == kind && t.lane == lane {
			busy++
		}
	}
	room := min(free, r.c.PerLane-busy)
	if room == 0 {
		return nil, idle, false, nil
	}
	if r.c.Closed != nil {
		if wait := r.c.Closed(kind, lane); wait > 0 {
			return nil, min(wait, idle), false, nil
		}
	}
	wait = idle
	already := moment(now)
	for _, rank := range []string{rankFirst, rankOther} {
		from := store.Key(kind, lane, rank)
		for t, err := range entries(tx, from, store.End(from), busy+room+1) {
			if err != nil {
				return nil, 0, false, err
			}
			if t.at > already {
				at, err := time.Parse(momentForm, t.at)
				if err != nil {
					return nil, 0, false, fmt.Errorf("%w: a task is due at %q", store.ErrDamaged, t.at)
				}
				wait = min(wait, at.Sub(now))
				break
			}
			if _, has := r.busy[t.id]; !has && len(due) < room {
				due = append(due, t)
			}
		}
		if len(due) == room {
			break
		}
	}
	return due, wait, len(due) == room, nil
}

// work runs a task that was due, and what its worker goes on with.
func (r *Runner) work(ctx context.Context, t entry) {
	defer signal(r.free)
	first := r.newRun(t)
	first.stays = time.Now().Add(stay)
	for u := first; u != nil; u = u.next {
		r.try(ctx, u)
		r.release(u.entry)
	}
}

// try runs a task, unless it turns out that it is another's, or none.
func (r *Runner) try(ctx context.Context, u *run) {
	got, err := u.taken, error(nil)
	if !got {
		got, _, err = u.begin(ctx, false)
	}
	if err == nil && !got {
		err = r.setAside(ctx, u.entry)
	}
	switch {
	case err != nil: // the store's fault; not again at once
		select {
		case <-ctx.Done():
		case <-time.After(leastDelay):
		}
	case got:
		_ = u.do(ctx) // it is in the row
	}
}

// setAside takes away an entry that no row stands behind: it would be looked at
// again and again, and stand before what is due.
func (r *Runner) setAside(ctx context.Context, t entry) error {
	return r.c.Store.Update(ctx, func(tx store.Tx) error {
		wrong, err := tasks.Unindex(tx, "due", store.Entry{Value: t.value, Key: t.id})
		if err != nil || !wrong || r.c.Damaged == nil {
			return err
		}
		return r.c.Damaged(tx, t.kind, t.key)
	})
}

// Now runs one task in the caller's goroutine, due or not, unless it runs
// elsewhere already: then it waits for that run. It returns what the handler
// said, nil if there is no such task, or ctx's error. A task that is parked is
// not run: that is a *Park; one that a person stopped is ErrPaused or
// ErrCancelled. What a run elsewhere said is a *Park, a *Retry or an
// error of the same text. The outcome is stored as if Run had done it.
func (r *Runner) Now(ctx context.Context, kind, key string) error {
	if r.c.Handlers[kind] == nil {
		return fmt.Errorf("run task: there is no handler for kind %q", kind)
	}
	run := r.newRun(entry{id: id(kind, key), kind: kind, key: key})
	got, t, err := run.begin(ctx, true)
	if err != nil {
		return fmt.Errorf("run task %s %s: %w", kind, key, err)
	}
	if !got && t.State == Running {
		if got, t, err = r.follow(ctx, run); err != nil {
			return fmt.Errorf("run task %s %s: %w", kind, key, err)
		}
	}
	switch {
	case got:
		return run.do(ctx)
	case t.State == Parked:
		return &Park{Reason: t.Error}
	case t.State == Paused:
		return ErrPaused
	case t.State == Cancelled:
		return ErrCancelled
	case t.State == Waiting && t.Snoozed:
		return &Retry{After: max(0, t.Due.Sub(r.c.Now())), Reason: t.Error}
	case t.State == Waiting:
		return errors.New(t.Error)
	}
	return nil // it is true
}

// follow waits until a run elsewhere has ended, or its lease has. If the run did
// not cover the last Add, follow takes the task; otherwise it returns the row
// that the run left.
func (r *Runner) follow(ctx context.Context, run *run) (got bool, t row, err error) {
	ctx, cancel := context.WithCancel(ctx)
	changed := make(chan struct{}, 1)
	watching := make(chan struct{})
	go func() {
		defer close(watching)
		for range r.c.Store.Watch(ctx, store.Key(tasks.Name, "r", run.id)) {
			signal(changed)
		}
	}()
	defer func() { cancel(); <-watching }()
	for {
		t = row{}
		err := r.c.Store.View(ctx, func(tx store.Tx) (err error) {
			t, _, err = tasks.Get(tx, run.id)
			return err
		})
		if err != nil {
			return false, t, err
		}
		var wait time.Duration
		switch {
		case t.State == Running && t.Lease.After(r.c.Now()):
			wait = t.Lease.Sub(r.c.Now())
		case t.State == Running, t.State == Waiting && t.Version > t.Ran:
			if got, t, err = run.begin(ctx, true); got || err != nil || t.State != Running {
				return got, t, err
			}
			continue
		default:
			return false, t, nil
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return false, t, ctx.Err()
		case <-changed:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// stop makes a row what a person wished it to be.
func (t *row) stop() {
	t.State, t.Wish, t.Claim, t.Lease = t.Wish, "", "", time.Time{}
}

// end says what becomes of a row after a run, whose task waits again unless it is
// removed, parked or stopped by a person. stopped: the run was told to stop, so that its error says
// nothing about the task.
func (t *row) end(said error, stopped bool, now time.Time) fate {
	again := t.Version > t.Ran // Due is when the Add wants it
	if said == nil && !again {
		return remove
	}
	switch {
	case t.Wish != "":
		t.stop()
		return put
	case again:
		return put
	case stopped:
		t.Due, t.Ran = now, 0
		return put
	}
	var retry *Retry
	var park *Park
	t.Snoozed = false
	switch {
	case errors.As(said, &retry):
		t.Due, t.Error, t.Snoozed = now.Add(max(retry.After, leastDelay)), bound(retry.Reason), true
	case errors.As(said, &park):
		t.State, t.Error = Parked, bound(park.Reason)
	default:
		if t.Attempts++; t.Failing.IsZero() {
			t.Failing = now
		}
		t.Due, t.Error = now.Add(delay(t.Attempts)), bound(said.Error())
		if now.Sub(t.Failing) >= giveUp {
			t.State = Parked
		}
	}
	return put
}

// delay after n failures: full jitter, so that what failed together does not
// come back together.
func delay(n int) time.Duration {
	bound := mostDelay
	if n < 20 {
		bound = min(bound, firstDelay<<(n-1))
	}
	return time.Duration(mathrand.Int64N(int64(bound) + 1))
}

// bound cuts an error to what a row may hold. It is never empty.
func bound(s string) string {
	if s == "" {
		return "no reason given"
	}
	if len(s) > maxError {
		s = strings.ToValidUTF8(s[:maxError-len("…")], "") + "…"
	}
	return strings.ToValidUTF8(s, "?")
}

// takeOrphans ends the leases of runs that are not this Runner's.
func (r *Runner) takeOrphans(ctx context.Context) error {
	after := ""
	for {
		var page []row
		err := r.c.Store.View(ctx, func(tx store.Tx) error {
			page = nil
			for t, err := range tasks.All(tx, after, 500) {
				if err != nil {
					return err
				}
				page = append(page, t)
			}
			return nil
		})
		if err != nil || len(page) == 0 {
			return err
		}
		for _, t := range page {
			if t.State != Running || strings.HasPrefix(t.Claim, r.self) {
				continue
			}
			err := r.change(ctx, t.Kind, t.Key, func(_ store.Tx, have *row) fate {
				if have == nil || have.State != Running || have.Claim != t.Claim {
					return leave
				}
				have.Lease = time.Time{}
				return put
			})
			if err != nil {
				return err
			}
		}
		last := page[len(page)-1]
		after = id(last.Kind, last.Key)
	}
}
