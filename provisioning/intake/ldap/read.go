package ldap

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"time"

	goldap "github.com/go-ldap/ldap/v3"

	"github.com/gatehouse-sso/gatehouse/provisioning"
	"github.com/gatehouse-sso/gatehouse/provisioning/connector"
	"github.com/gatehouse-sso/gatehouse/provisioning/guard"
	"github.com/gatehouse-sso/gatehouse/provisioning/ldapconn"
	"github.com/gatehouse-sso/gatehouse/provisioning/store"
	"github.com/gatehouse-sso/gatehouse/provisioning/task"
)

const (
	bucket    = 50 // entries that one thread works on
	threads   = 8
	saveEvery = time.Second // how often progress is stored
)

var zeroTime time.Time

// reading is one reading of a source.
type reading struct {
	*Reader
	s       *Source
	st      State
	dry     bool // a preview: nothing is kept
	whole   bool
	method  Method
	root    ldapconn.Root
	mu      sync.Mutex
	rep     Report
	seen    map[string]bool // people whom the walk showed
	stamped string          // the latest time at which an entry changed
}

// errDry throws the transaction of a preview away.
var errDry = errors.New("a preview keeps nothing")

// update is a transaction, which a preview throws away.
func (r *reading) update(ctx context.Context, fn func(tx store.Tx) error) error {
	err := r.c.Store.Update(ctx, func(tx store.Tx) error {
		err := fn(tx)
		if err == nil && r.dry {
			err = errDry
		}
		return err
	})
	if errors.Is(err, errDry) {
		return nil
	}
	return err
}

// read reads a source once: what changed, or everything where that is due, was
// asked for, or can not be told.
func (r *Reader) read(ctx context.Context, s *Source) (Report, error) {
	run := &reading{Reader: r, s: s}
	var p task.Progress
	err := r.c.Store.View(ctx, func(tx store.Tx) (err error) {
		if run.st, _, err = states.Get(tx, s.ID); err == nil {
			p, _, err = task.Load(tx, Kind, s.ID)
		}
		return err
	})
	if err != nil {
		return Report{}, err
	}
	// A reading that was broken off goes on under its name, so that the guard
	// counts what it did already.
	run.rep = Report{Cycle: string(p.Cursor), Began: r.now()}
	if run.rep.Cycle == "" {
		run.rep.Cycle = newCycle()
	}
	if err := s.Pool.Do(ctx, func(c *ldapconn.Conn) (err error) { run.root, err = c.Root(); return err }); err != nil {
		return run.rep, err
	}
	run.method = s.method(run.root)
	st := run.st
	run.whole = st.Ask || st.Full.IsZero() || run.method == None || r.c.Now().Sub(st.Full) >= s.FullEvery ||
		st.Form != s.Form || st.Method != run.method || st.Server != run.root.Server
	if !run.whole {
		err = run.changes(ctx)
		if errors.Is(err, ldapconn.ErrStale) {
			run.whole, run.rep.Counts, run.rep.Problems = true, Counts{}, nil
		}
	}
	if run.whole {
		err = run.everything(ctx, p)
	}
	if err != nil {
		return run.rep, err
	}
	return run.rep, run.finish(ctx)
}

// Preview says what reading everything would do now. It changes nothing.
func (r *Reader) Preview(ctx context.Context, id string) (Report, error) {
	s := r.sources[id]
	if s == nil {
		return Report{}, ErrNotFound
	}
	run := &reading{Reader: r, s: s, dry: true, whole: true, method: None, rep: Report{Cycle: newCycle(), Preview: true, Began: r.now()}}
	err := r.c.Store.View(ctx, func(tx store.Tx) (err error) {
		run.st, _, err = states.Get(tx, s.ID)
		return err
	})
	if err == nil {
		err = run.everything(ctx, task.Progress{})
	}
	run.rep.Whole, run.rep.Ended = true, r.now()
	return run.rep, err
}

// finish stores where the next reading begins.
func (r *reading) finish(ctx context.Context) error {
	r.rep.Whole, r.rep.Ended = r.whole, r.now()
	return r.c.Store.Update(ctx, func(tx store.Tx) error {
		was, _, err := states.Get(tx, r.s.ID)
		if err != nil {
			return err
		}
		st := r.st
		st.Source, st.Error, st.Tried = r.s.ID, "", r.rep.Ended
		st.Last = &r.rep
		if r.whole {
			st.Form, st.Method, st.Server = r.s.Form, r.method, r.root.Server
			// Who asked meanwhile wants to see what is now.
			st.Ask = was.Ask && !r.st.Ask
			if r.rep.Unsound == "" {
				st.People, st.Full = r.rep.Read, r.rep.Ended
			}
		} else {
			st.Ask = was.Ask
		}
		if err := states.Put(tx, st); err != nil {
			return err
		}
		if err := task.Forget(tx, Kind, r.s.ID); err != nil {
			return err
		}
		if st.Ask {
			return task.Add(tx, Kind, r.s.ID, r.c.Now())
		}
		return nil
	})
}

// since asks what changed below the base of a query since a cookie, and gives the
// next one. It asks about everything there: what does not match the query's filter
// any more has changed too.
func (r *reading) since(ctx context.Context, q ldapconn.Query, cookie []byte) (ch ldapconn.Changes, err error) {
	q.Filter = ""
	err = r.s.Pool.Do(ctx, func(c *ldapconn.Conn) error {
		switch r.method {
		case Syncrepl:
			ch, err = c.Sync(ctx, q, cookie)
		case DirSync:
			ch, err = c.DirSync(q, cookie)
		}
		return err
	})
	return ch, err
}

// everything reads all there is.
func (r *reading) everything(ctx context.Context, p task.Progress) error {
	p.Cursor, p.Total, p.Done, p.Base, p.Failed = []byte(r.rep.Cycle), int64(r.st.People), 0, 0, 0
	if err := r.save(ctx, &p, "reading people"); err != nil {
		return err
	}
	// What changes from here on is told once more afterwards.
	if r.method == Syncrepl || r.method == DirSync {
		ch, err := r.since(ctx, r.s.people(), nil)
		if err != nil {
			return err
		}
		r.st.PeopleCookie = ch.Cookie
		if r.s.Groups != nil {
			ch, err := r.since(ctx, r.s.groups(), nil)
			if err != nil {
				return err
			}
			r.st.GroupsCookie = ch.Cookie
		}
	}
	r.seen = map[string]bool{}
	walked := r.people(ctx, &p)
	if cause := context.Cause(ctx); cause != nil {
		return cause // a person stopped it, or the program ends
	}
	had := r.st.People
	if had == 0 {
		var err error
		if had, err = r.known(ctx); err != nil {
			return err
		}
	}
	shrink := guard.Defaults.Shrink
	if r.c.Guard != nil {
		shrink = r.c.Guard.Limits(r.s.scope()).Shrink
	}
	w := guard.Walk{Had: had, Got: r.rep.Read, Err: walked, Shrink: shrink}
	if unsound := w.Sound(); unsound != nil {
		r.rep.Unsound = unsound.Error()
		if walked != nil {
			return walked // and nothing about groups either
		}
		return nil
	}
	if err := r.save(ctx, &p, "looking for people who are gone"); err != nil {
		return err
	}
	var gone []string
	for row, err := range r.rows(ctx) {
		if err != nil {
			return err
		}
		if !r.seen[row.Remote] {
			gone = append(gone, row.Remote)
		}
	}
	if err := r.missing(ctx, gone); err != nil {
		return err
	}
	if r.s.Groups != nil && !r.dry {
		if err := r.save(ctx, &p, "reading groups"); err != nil {
			return err
		}
		if err := r.allGroups(ctx); err != nil {
			return err
		}
	}
	if r.method == Timestamp {
		// What changed while it was read may have an earlier time than what was read last.
		from := earlier(r.stamped, r.now().Sub(r.rep.Began)+overlap)
		r.st.PeopleCookie, r.st.GroupsCookie = from, from
	}
	return r.expired(ctx)
}

// save stores how far it is.
func (r *reading) save(ctx context.Context, p *task.Progress, note string) error {
	if r.dry {
		return nil
	}
	p.Note = note
	return r.c.Store.Update(ctx, func(tx store.Tx) error { return task.Save(tx, Kind, r.s.ID, *p) })
}

// people takes everybody whom the directory shows, and says why it ended early.
func (r *reading) people(ctx context.Context, p *task.Progress) error {
	var saved time.Time
	return task.InThreads(ctx, threads, chunks(r.s.Pool.Walk(ctx, r.s.people())), r.entries, func(some []*goldap.Entry) error {
		for _, e := range some {
			r.seen[ldapconn.ID(e, r.s.Dialect)] = true
			r.stamped = max(r.stamped, ldapconn.Value(e, r.s.stamp()))
		}
		p.Done += int64(len(some))
		r.mu.Lock()
		r.rep.Read += len(some)
		p.Failed = int64(r.rep.Skipped)
		r.mu.Unlock()
		if now := r.c.Now(); now.Sub(saved) >= saveEvery {
			saved = now
			return r.save(ctx, p, p.Note)
		}
		return nil
	})
}

// chunks makes buckets of what a walk yields.
func chunks(walk iter.Seq2[*goldap.Entry, error]) iter.Seq2[[]*goldap.Entry, error] {
	return func(yield func([]*goldap.Entry, error) bool) {
		var some []*goldap.Entry
		for e, err := range walk {
			if err != nil {
				yield(nil, err)
				return
			}
			if some = append(some, e); len(some) == bucket {
				if !yield(some, nil) {
					return
				}
				some = nil
			}
		}
		if len(some) > 0 {
			yield(some, nil)
		}
	}
}

// entries takes some people. Those of whom nothing differs cost one look together.
func (r *reading) entries(ctx context.Context, some []*goldap.Entry) error {
	var todo []said
	err := r.c.Store.View(ctx, func(tx store.Tx) error {
		todo = nil
		for _, e := range some {
			h, err := r.s.hear(e)
			if p, is := hurt(err, h); is {
				p.Entry = cmp.Or(p.Entry, e.DN)
				r.note(p, outcome{what: skipped})
				continue
			} else if err != nil {
				return err
			}
			differs, err := r.differs(tx, r.s, h)
			if err != nil {
				return err
			}
			if !differs {
				r.note(Problem{}, outcome{what: unchanged})
				continue
			}
			todo = append(todo, h)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, h := range todo {
		if err := r.one(ctx, h); err != nil {
			return err
		}
	}
	return nil
}

// one takes one person.
func (r *reading) one(ctx context.Context, h said) error {
	var out outcome
	err := r.update(ctx, func(tx store.Tx) (err error) {
		out, err = r.take(tx, r.s, h, r.rep.Cycle)
		return err
	})
	if p, is := hurt(err, h); is {
		r.note(p, outcome{what: skipped})
		return nil
	}
	if err != nil {
		return fmt.Errorf("take entry %s: %w", h.remote, err)
	}
	return r.became(ctx, h, out)
}

// became notes what became of a person, and ends the sessions of who was disabled.
func (r *reading) became(ctx context.Context, h said, out outcome) error {
	var p Problem
	if out.why != nil {
		p, _ = hurt(out.why, h)
	}
	r.note(p, out)
	r.show(h.name, out)
	if out.user != "" && !r.dry && r.c.Left != nil {
		return r.c.Left(ctx, out.user)
	}
	return nil
}

// note counts an outcome, and keeps a problem that is one.
func (r *reading) note(p Problem, out outcome) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := &r.rep.Counts
	if n := map[what]*int{created: &c.Created, changed: &c.Changed, unchanged: &c.Unchanged, disabled: &c.Disabled, deleted: &c.Deleted, skipped: &c.Skipped}[out.what]; n != nil {
		*n++
	}
	if out.why != nil {
		c.Held++
	}
	if p.Code != "" && len(r.rep.Problems) < maxShown {
		r.rep.Problems = append(r.rep.Problems, p)
	}
}

// show keeps what a preview is to show.
func (r *reading) show(name string, out outcome) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.dry && out.what != unchanged && out.what != "" && len(r.rep.Changes) < maxShown {
		r.rep.Changes = append(r.rep.Changes, Change{Name: name, What: string(out.what), Fields: fieldNames(out.fields)})
	}
}

// rows are all people of the source whom we know of and who are not gone, read in
// pages, each as of its own moment.
func (r *reading) rows(ctx context.Context) iter.Seq2[person, error] {
	return func(yield func(person, error) bool) {
		for after := ""; ; {
			var page []person
			err := r.c.Store.View(ctx, func(tx store.Tx) error {
				page = nil
				for p, err := range persons.Find(tx, "source", r.s.ID, after, 200) {
					if err != nil {
						return err
					}
					page = append(page, p)
				}
				return nil
			})
			if err != nil {
				yield(person{}, err)
				return
			}
			for _, p := range page {
				after = p.key()
				if p.Gone.IsZero() && !yield(p, nil) {
					return
				}
			}
			if len(page) < 200 {
				return
			}
		}
	}
}

func (r *reading) known(ctx context.Context) (n int, err error) {
	for _, err := range r.rows(ctx) {
		if err != nil {
			return 0, err
		}
		n++
	}
	return n, nil
}

// missing disables those who are gone, each when the directory has said so.
func (r *reading) missing(ctx context.Context, gone []string) error {
	if len(gone) == 0 {
		return nil
	}
	if r.c.Guard != nil && !r.dry && !r.s.Keep {
		// If they are too many, not even the first ones are disabled.
		if _, err := r.c.Guard.Foresee(ctx, r.s.scope(), r.rep.Cycle, guard.Removal, len(gone)); err != nil {
			return err
		}
	}
	for _, id := range gone {
		e, err := r.find(ctx, id, r.s.people())
		if err != nil {
			return err
		}
		if e != nil { // the walk passed it by
			if err := r.entries(ctx, []*goldap.Entry{e}); err != nil {
				return err
			}
			continue
		}
		if err := r.leave(ctx, id); err != nil {
			return err
		}
	}
	return nil
}

// find searches for one entry by its ID, as the query would find it; nil: the
// directory says that there is none.
func (r *reading) find(ctx context.Context, id string, q ldapconn.Query) (*goldap.Entry, error) {
	filter, ok := r.s.Dialect.ByID(id)
	if !ok {
		return nil, fmt.Errorf("%q is no %s", id, r.s.Dialect.IDAttribute())
	}
	q.Filter, q.Limit = ldapconn.And(q.Filter, filter), 2
	var list []*goldap.Entry
	err := r.s.Pool.Do(ctx, func(c *ldapconn.Conn) (err error) {
		list, err = c.Search(q)
		return err
	})
	switch {
	case err != nil:
		return nil, err
	case len(list) == 0:
		return nil, nil
	case len(list) > 1 || ldapconn.ID(list[0], r.s.Dialect) != id:
		return nil, ldapconn.Errorf(connector.Route, "the directory answered with another entry than was asked for")
	}
	return list[0], nil
}

// leave disables somebody who is gone.
func (r *reading) leave(ctx context.Context, id string) error {
	out := outcome{what: confirmed}
	h := said{remote: id}
	err := r.update(ctx, func(tx store.Tx) error {
		out = outcome{what: confirmed}
		row, known, err := persons.Get(tx, person{Source: r.s.ID, Remote: id}.key())
		if err != nil || !known || !row.Gone.IsZero() {
			return err
		}
		u, there, err := r.c.Directory.UserTx(tx, row.User)
		if err != nil {
			return err
		}
		if !there { // somebody deleted the user
			return persons.Delete(tx, row.key())
		}
		h.name = u.UserName
		if u.Active && !r.s.Keep {
			why, err := r.ask(tx, r.s, row.User, r.rep.Cycle, "disable", "is not in the directory any more")
			if err != nil {
				return err
			}
			if why != nil {
				out.why = why
				return nil
			}
			if _, _, err := r.c.Directory.ChangeTx(tx, row.User, r.s.by(), func(u *provisioning.User) error { u.Active = false; return nil }); err != nil {
				return err
			}
			out.what, out.user = disabled, row.User
		}
		row.Active, row.Gone = false, r.now()
		if r.s.Keep {
			row.Active = u.Active
		}
		return persons.Put(tx, row)
	})
	if err != nil {
		return fmt.Errorf("entry %s is gone: %w", id, err)
	}
	r.mu.Lock()
	r.rep.Missing++
	r.mu.Unlock()
	return r.became(ctx, h, out)
}

// expired deletes the users of those who are gone for long enough.
func (r *reading) expired(ctx context.Context) error {
	if r.s.DeleteAfter <= 0 || r.dry {
		return nil
	}
	var late []person
	err := r.c.Store.View(ctx, func(tx store.Tx) error {
		late = nil
		for p, err := range persons.Find(tx, "source", r.s.ID, "", 0) {
			if err != nil {
				return err
			}
			if !p.Gone.IsZero() && r.c.Now().Sub(p.Gone) >= r.s.DeleteAfter {
				late = append(late, p)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, p := range late {
		e, err := r.find(ctx, p.Remote, r.s.people())
		if err != nil {
			return err
		}
		if e != nil {
			if err := r.entries(ctx, []*goldap.Entry{e}); err != nil {
				return err
			}
			continue
		}
		if err := r.end(ctx, p); err != nil {
			return err
		}
	}
	return nil
}

// end deletes a user.
func (r *reading) end(ctx context.Context, p person) error {
	out, h := outcome{}, said{remote: p.Remote}
	err := r.c.Store.Update(ctx, func(tx store.Tx) error {
		why, err := r.ask(tx, r.s, p.User, r.rep.Cycle, "delete", "is gone from the directory for "+r.s.DeleteAfter.String())
		out.why = why
		return err
	})
	if err != nil || out.why != nil {
		if err == nil {
			err = r.became(ctx, h, out)
		}
		return err
	}
	err = r.c.Directory.Delete(ctx, p.User, r.s.by())
	if err != nil && !errors.Is(err, provisioning.ErrNotFound) {
		return err
	}
	out.what, out.user = deleted, p.User
	if err := r.c.Store.Update(ctx, func(tx store.Tx) error { return persons.Delete(tx, p.key()) }); err != nil {
		return err
	}
	return r.became(ctx, h, out)
}

// changes reads what changed since the last time.
func (r *reading) changes(ctx context.Context) error {
	people, next, err := r.told(ctx, r.s.people(), r.st.PeopleCookie)
	if err != nil {
		return err
	}
	for _, id := range people.Changed {
		e, err := r.find(ctx, id, r.s.people())
		if err != nil {
			return err
		}
		if e == nil {
			people.Deleted = append(people.Deleted, id)
			continue
		}
		r.rep.Read++
		if err := r.entries(ctx, []*goldap.Entry{e}); err != nil {
			return err
		}
	}
	gone, err := r.ours(ctx, people.Deleted)
	if err != nil {
		return err
	}
	if people.Present != nil {
		for _, id := range slices.Concat(people.Changed, people.Deleted) {
			people.Present[id] = true // looked at already
		}
		for row, err := range r.rows(ctx) {
			if err != nil {
				return err
			}
			if !people.Present[row.Remote] {
				gone = append(gone, row.Remote)
			}
		}
	}
	if err := r.missing(ctx, gone); err != nil {
		return err
	}
	if r.s.Groups != nil {
		groups, nextGroups, err := r.told(ctx, r.s.groups(), r.st.GroupsCookie)
		if err != nil {
			return err
		}
		// A change of who is one of ours, or where, is a change of the groups they are in.
		if r.rep.Created > 0 || len(groups.Changed)+len(groups.Deleted) > 0 || groups.Present != nil {
			if err := r.allGroups(ctx); err != nil {
				return err
			}
		}
		r.st.GroupsCookie = nextGroups
	}
	r.st.PeopleCookie = next
	return r.expired(ctx)
}

// ours are those of some entries that are people of the source, and not known to
// be gone.
func (r *reading) ours(ctx context.Context, ids []string) (some []string, err error) {
	for part := range slices.Chunk(ids, 200) {
		var found []string
		err := r.c.Store.View(ctx, func(tx store.Tx) error {
			found = nil
			for _, id := range part {
				row, known, err := persons.Get(tx, person{Source: r.s.ID, Remote: id}.key())
				if err != nil {
					return err
				}
				if known && row.Gone.IsZero() {
					found = append(found, id)
				}
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		some = append(some, found...)
	}
	return some, nil
}

// told is what the directory tells of changes, by whatever method.
func (r *reading) told(ctx context.Context, q ldapconn.Query, cookie []byte) (ldapconn.Changes, []byte, error) {
	if r.method != Timestamp {
		ch, err := r.since(ctx, q, cookie)
		return ch, ch.Cookie, err
	}
	if len(cookie) == 0 {
		return ldapconn.Changes{}, nil, ldapconn.ErrStale
	}
	q.Filter = "(" + r.s.stamp() + ">=" + ldapconn.EscapeFilter(string(cookie)) + ")" // of everything, as since does
	q.Attrs = []string{r.s.Dialect.IDAttribute(), r.s.stamp()}
	var ch ldapconn.Changes
	latest := cookie
	for e, err := range r.s.Pool.Walk(ctx, q) {
		if err != nil {
			return ch, nil, err
		}
		if id := ldapconn.ID(e, r.s.Dialect); id != "" {
			ch.Changed = append(ch.Changed, id)
		}
		if at := []byte(ldapconn.Value(e, r.s.stamp())); bytes.Compare(at, latest) > 0 {
			latest = at
		}
	}
	return ch, earlier(string(latest), overlap), nil
}

// overlap is how much is read twice: servers that copy from each other keep the
// time at which a change was made first.
const overlap = 5 * time.Minute

// earlier is a generalized time (RFC 4517, 3.3.13) so much earlier; empty if it is none.
func earlier(stamp string, by time.Duration) []byte {
	whole, _, _ := strings.Cut(strings.TrimSuffix(stamp, "Z"), ".")
	t, err := time.Parse("20060102150405", whole)
	if err != nil {
		return nil
	}
	return []byte(t.Add(-by).Format("20060102150405") + "Z")
}
