package reconcile

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gatehouse-sso/gatehouse/provisioning/audit"
	"github.com/gatehouse-sso/gatehouse/provisioning/connector"
	"github.com/gatehouse-sso/gatehouse/provisioning/guard"
	"github.com/gatehouse-sso/gatehouse/provisioning/outbox"
	"github.com/gatehouse-sso/gatehouse/provisioning/store"
	"github.com/gatehouse-sso/gatehouse/provisioning/task"
)

// pass is one reconciliation as it goes.
type pass struct {
	r     *Reconciler
	t     *Target
	mode  Mode
	key   string
	limit *connector.Limit
	prog  task.Progress
	at    place
	rep   Report
}

// A place is where a pass is: the cursor of its task's progress.
type place struct {
	Phase  string    `json:"phase"`
	Cursor string    `json:"cursor,omitempty"` // of the target's list, or the last known account that was looked for
	Since  time.Time `json:"since,omitzero"`   // of an incremental pass
	Had    int       `json:"had"`              // accounts that were known when it began
	Got    int       `json:"got"`              // accounts that were listed
	First  int       `json:"first"`            // how many the target said there are, at first
	Last   int       `json:"last"`             // and at last
}

// Phases.
const (
	phaseClear = ""     // rows of an earlier pass go
	phaseWalk  = "walk" // what the target has
	phaseMiss  = "miss" // what it should have and did not list
	phaseEnd   = "end"  // rows of this pass go
)

// seenRow is an account that this pass has listed.
type seenRow struct {
	Pass string `json:"pass"` // the task's key
	ID   string `json:"id"`
}

var seen = &store.Table[seenRow]{Name: "reconcile_seen", Key: func(s seenRow) string { return seenKey(s.Pass, s.ID) }}

func seenKey(pass, id string) string { return string(store.Key(pass, id)) }

// cycle names the pass to the guard.
func (p *pass) cycle() string { return p.key + " " + p.rep.Started.Format(time.RFC3339) }

// run goes on with the pass from where it is, to its end.
func (p *pass) run(ctx context.Context) error {
	if err := p.load(ctx); err != nil {
		return err
	}
	for _, phase := range []struct {
		name string
		do   func(context.Context) error
	}{{phaseClear, p.clear}, {phaseWalk, p.walk}, {phaseMiss, p.miss}, {phaseEnd, p.clear}} {
		if p.at.Phase != phase.name {
			continue
		}
		if err := phase.do(ctx); err != nil {
			return err
		}
	}
	return nil
}

// load reads where the pass is, or begins one.
func (p *pass) load(ctx context.Context) error {
	return p.r.c.Store.Update(ctx, func(tx store.Tx) error {
		prog, going, err := task.Load(tx, Kind, p.key)
		if err != nil {
			return err
		}
		p.prog, p.at = prog, place{}
		if p.rep, _, err = reports.Get(tx, p.key); err != nil {
			return err
		}
		if going && len(prog.Cursor) > 0 {
			if err := json.Unmarshal(prog.Cursor, &p.at); err != nil {
				return fmt.Errorf("%w: the cursor of %s can not be read", store.ErrDamaged, p.key)
			}
			return nil
		}
		began := p.r.c.Now().UTC().Truncate(time.Millisecond)
		if p.mode == Incremental {
			p.at.Since = p.since(tx)
		}
		if p.at.Had, err = outbox.CountTx(tx, p.t.ID); err != nil {
			return err
		}
		p.rep = Report{Target: p.t.ID, Mode: p.mode, Started: began}
		p.prog.Total = int64(p.at.Had)
		return p.save(tx)
	})
}

// overlap is by how much an incremental pass looks back further than the last one
// began, since clocks differ.
const overlap = 5 * time.Minute

// since is when the last pass that ended began.
func (p *pass) since(tx store.Tx) (at time.Time) {
	for _, m := range []Mode{Run, Incremental} {
		if old, ok, err := reports.Get(tx, Key(p.t.ID, m)); err == nil && ok && !old.Ended.IsZero() && old.Unsound == "" && old.Started.After(at) {
			at = old.Started
		}
	}
	if at.IsZero() {
		return at
	}
	return at.Add(-overlap)
}

// save stores where the pass is and what it found.
func (p *pass) save(tx store.Tx) (err error) {
	if p.prog.Cursor, err = json.Marshal(p.at); err != nil {
		return err
	}
	if err := reports.Put(tx, p.rep); err != nil {
		return err
	}
	return task.Save(tx, Kind, p.key, p.prog)
}

// clear removes the rows of a pass, before its beginning and after its end.
func (p *pass) clear(ctx context.Context) error {
	for more := true; more; {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		err := p.r.c.Store.Update(ctx, func(tx store.Tx) error {
			var dead []string
			for s, err := range seen.All(tx, string(store.Key(p.key)), writes) {
				if err != nil {
					return err
				}
				if s.Pass == p.key {
					dead = append(dead, seen.Key(s))
				}
			}
			for _, key := range dead {
				if err := seen.Delete(tx, key); err != nil {
					return err
				}
			}
			if more = len(dead) == writes; more {
				return nil
			}
			return p.next(tx)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// next goes on to the next phase.
func (p *pass) next(tx store.Tx) error {
	switch p.at.Phase {
	case phaseClear:
		p.at.Phase = phaseWalk
		p.prog.Note = "reading what the target has"
	case phaseWalk:
		p.at.Phase, p.at.Cursor = phaseMiss, ""
		p.prog.Note = "looking for what it did not list"
	case phaseMiss:
		p.at.Phase = phaseEnd
	default:
		p.rep.Ended = p.r.c.Now().UTC().Truncate(time.Millisecond)
		p.prog.Note = ""
		if err := p.ended(tx); err != nil {
			return err
		}
	}
	return p.save(tx)
}

func (p *pass) ended(tx store.Tx) error {
	if p.r.c.Audit == nil {
		return nil
	}
	return p.r.c.Audit(tx, audit.Event{Kind: "target.reconciled", Target: p.t.ID, Code: p.rep.Unsound, Text: fmt.Sprintf("%s: %s", p.mode, p.rep.summary())})
}

// walk puts every account of the target into its situation.
func (p *pass) walk(ctx context.Context) error {
	for page, err := range p.pages(ctx) {
		if err == nil {
			err = p.page(ctx, page)
		}
		var ce *connector.Error
		switch {
		case err == nil:
			continue
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.As(err, &ce) && ce.Class == connector.Invalid && p.at.Cursor != "" && !errors.Is(err, connector.ErrCanNot):
			// The target does not know its own cursor any more.
			if err := p.restart(ctx); err != nil {
				return err
			}
			return &task.Retry{After: time.Second, Reason: "the target forgot how far it was read; it is read from the beginning"}
		}
		return err
	}
	return p.r.c.Store.Update(ctx, func(tx store.Tx) error { return p.next(tx) })
}

// restart forgets what was read, and begins the walk once more.
func (p *pass) restart(ctx context.Context) error {
	p.at.Phase, p.at.Cursor, p.at.Got = phaseClear, "", 0
	p.rep = Report{Target: p.t.ID, Mode: p.mode, Started: p.rep.Started}
	p.prog.Done, p.prog.Failed = 0, 0
	return p.clear(ctx)
}

// fallback is how many accounts a page has of a target that has none.
const fallback = 100

// pages yields the target's accounts from the cursor on.
func (p *pass) pages(ctx context.Context) iter.Seq2[connector.Page, error] {
	return func(yield func(connector.Page, error) bool) {
		lister, ok := p.t.Connector.(connector.Lister)
		if !ok {
			p.everything(ctx, yield)
			return
		}
		for first := p.at.Cursor == ""; ; first = false {
			if err := p.limit.Wait(ctx); err != nil {
				yield(connector.Page{}, err)
				return
			}
			page, err := lister.List(ctx, connector.Listing{Cursor: p.at.Cursor, Since: p.at.Since})
			if errors.Is(err, connector.ErrCanNot) && !p.at.Since.IsZero() && first {
				p.at.Since = time.Time{} // then everything is read
				continue
			}
			if err == nil && page.Next != "" && page.Next == p.at.Cursor {
				err = &connector.Error{Class: connector.Route, Text: "the target's list does not go on"}
			}
			if err == nil && first {
				p.at.First = page.Total
			}
			p.at.Last = page.Total
			if !yield(page, err) || err != nil || page.Next == "" {
				return
			}
		}
	}
}

// everything yields in pages what can only be read in one go. It begins anew
// after a break.
func (p *pass) everything(ctx context.Context, yield func(connector.Page, error) bool) {
	var page connector.Page
	if err := p.restart(ctx); err != nil {
		yield(page, err)
		return
	}
	if err := p.limit.Wait(ctx); err != nil {
		yield(page, err)
		return
	}
	for a, err := range p.t.Connector.Accounts(ctx) {
		if err != nil {
			yield(page, err)
			return
		}
		if page.Accounts = append(page.Accounts, a); len(page.Accounts) < fallback {
			continue
		}
		if !yield(page, nil) {
			return
		}
		page.Accounts = nil
	}
	yield(page, nil)
}

// page judges the accounts of a page, does what follows, and saves that.
func (p *pass) page(ctx context.Context, page connector.Page) error {
	var list []finding
	err := p.r.c.Store.View(ctx, func(tx store.Tx) error {
		list = list[:0]
		known := map[string]bool{}
		for _, a := range page.Accounts {
			_, again, err := seen.Get(tx, seenKey(p.key, a.ID))
			if err != nil {
				return err
			}
			if again || known[a.ID] {
				continue // it is on two pages
			}
			known[a.ID] = true
			f, err := p.judge(tx, a)
			if err != nil {
				return err
			}
			list = append(list, f)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := p.react(ctx, list); err != nil {
		return err
	}
	return p.finish(ctx, list, func() { p.at.Cursor = page.Next; p.at.Got += len(list) })
}

// miss looks for the accounts that are known and were not listed.
func (p *pass) miss(ctx context.Context) error {
	if p.mode != Incremental || p.at.Since.IsZero() {
		w := guard.Walk{Had: p.at.Had, Got: p.at.Got, TotalBefore: p.at.First, TotalAfter: p.at.Last, Shrink: p.r.shrink(p.t.ID)}
		var u *guard.Unsound
		if errors.As(w.Sound(), &u) {
			p.rep.Unsound, p.rep.Text = u.Code, u.Text
		}
	}
	whole := p.rep.Unsound == "" && (p.mode != Incremental || p.at.Since.IsZero())
	for more := whole; more; {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		var gone []outbox.Link
		last := ""
		err := p.r.c.Store.View(ctx, func(tx store.Tx) error {
			gone, last = nil, ""
			for l, err := range outbox.LinkedTx(tx, p.t.ID, p.at.Cursor, missPage) {
				if err != nil {
					return err
				}
				last = l.RemoteID
				if _, there, err := seen.Get(tx, seenKey(p.key, l.RemoteID)); err != nil {
					return err
				} else if there {
					continue
				}
				if gone = append(gone, l); len(gone) == fallback {
					break
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		if more = last != ""; !more {
			break
		}
		list, err := p.lookFor(ctx, gone)
		if err != nil {
			return err
		}
		if err := p.react(ctx, list); err != nil {
			return err
		}
		if err := p.finish(ctx, list, func() { p.at.Cursor = last }); err != nil {
			return err
		}
	}
	return p.r.c.Store.Update(ctx, func(tx store.Tx) error { return p.next(tx) })
}

// askers is how many accounts are looked for at the same time, at the rate that
// the target gets in any case.
const askers = 8

// lookFor asks for each account that was not listed.
func (p *pass) lookFor(ctx context.Context, gone []outbox.Link) ([]finding, error) {
	list := make([]finding, len(gone))
	each := func(yield func(int, error) bool) {
		for i := range gone {
			if !yield(i, nil) {
				return
			}
		}
	}
	err := task.InThreads(ctx, askers, each, func(ctx context.Context, i int) (err error) {
		list[i], err = p.missing(ctx, gone[i])
		return err
	}, func(int) error { return nil })
	return list, err
}

// missPage is how many known accounts are compared with those seen in one transaction.
const missPage = 1000

// react does what follows from findings, unless it is a preview: what is to be
// written in transactions of a bounded size, then what the target is to be asked for.
func (p *pass) react(ctx context.Context, list []finding) error {
	if p.mode == Preview {
		return nil
	}
	for rest := list; len(rest) > 0; {
		n, keys := 0, 0
		for n < len(rest) && (n == 0 || keys+rest[n].cost() <= writes) {
			keys += rest[n].cost()
			n++
		}
		some := rest[:n]
		rest = rest[n:]
		if keys == 0 {
			continue
		}
		if err := p.r.c.Store.Update(ctx, func(tx store.Tx) error {
			for _, f := range some {
				if f.write != nil {
					if err := f.write(tx); err != nil {
						return err
					}
				}
				if f.heal == "" {
					continue
				}
				if err := task.Add(tx, outbox.Kind, f.heal, p.r.c.Now()); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			return err
		}
	}
	return p.heal(ctx, list)
}

// cost is how many keys a finding writes.
func (f finding) cost() int {
	if f.heal != "" {
		return f.keys + 4
	}
	return f.keys
}

// healers is how many accounts are mended at the same time.
const healers = 4

// heal mends what can be mended, and notes what came of it. What fails is the
// outbox's matter from then on.
func (p *pass) heal(ctx context.Context, list []finding) error {
	free := make(chan struct{}, healers)
	var wg sync.WaitGroup
	for i := range list {
		f := &list[i]
		if f.heal == "" && f.take == nil {
			continue
		}
		free <- struct{}{}
		wg.Go(func() {
			defer func() { <-free }()
			p.healOne(ctx, f)
		})
	}
	wg.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

func (p *pass) healOne(ctx context.Context, f *finding) {
	var err error
	if f.take != nil {
		err = f.take(ctx)
	}
	if err == nil && f.heal != "" {
		if err = p.limit.Wait(ctx); err == nil {
			err = p.r.c.Run(ctx, outbox.Kind, f.heal)
		}
	}
	var park *task.Park
	switch {
	case err == nil && f.After == Created:
		f.After = p.recreated(ctx, f)
	case err == nil:
	case errors.As(err, &park) && strings.HasPrefix(park.Reason, "guard."):
		f.After, f.Text = Held, park.Reason
	default:
		f.After, f.Text = Failed, err.Error()
	}
}

// recreated says what came of an account that was gone.
func (p *pass) recreated(ctx context.Context, f *finding) (after string) {
	after = Forgotten
	err := p.r.c.Store.View(ctx, func(tx store.Tx) error {
		e, err := p.r.c.Outbox.Expect(tx, p.t.ID, f.UserID)
		if e.Link.RemoteID != "" {
			after = Created
		}
		return err
	})
	if err != nil {
		return Failed
	}
	return after
}

// finish counts findings, and saves that they are done.
func (p *pass) finish(ctx context.Context, list []finding, advance func()) error {
	rows := slices.DeleteFunc(slices.Clone(list), func(f finding) bool { return f.seen == "" })
	for len(rows) > writes {
		some := rows[:writes]
		rows = rows[writes:]
		if err := p.r.c.Store.Update(ctx, func(tx store.Tx) error { return p.mark(tx, some) }); err != nil {
			return err
		}
	}
	advance()
	for _, f := range list {
		p.rep.count(f.Finding)
		p.prog.Done++
		if f.After == Failed {
			p.prog.Failed++
		}
	}
	p.prog.Total = max(p.prog.Total, int64(p.at.Last), p.prog.Done)
	return p.r.c.Store.Update(ctx, func(tx store.Tx) error {
		if err := p.mark(tx, rows); err != nil {
			return err
		}
		return p.save(tx)
	})
}

func (p *pass) mark(tx store.Tx, list []finding) error {
	for _, f := range list {
		if err := seen.Put(tx, seenRow{p.key, f.seen}); err != nil {
			return err
		}
	}
	return nil
}

func (r *Reconciler) shrink(target string) float64 {
	if r.c.Guard == nil {
		return 0
	}
	return r.c.Guard.Limits(guard.Target(target)).Shrink
}
