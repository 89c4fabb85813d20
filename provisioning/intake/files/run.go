package files

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/gatehouse-sso/gatehouse/provisioning/guard"
	"github.com/gatehouse-sso/gatehouse/provisioning/store"
	"github.com/gatehouse-sso/gatehouse/provisioning/task"
)

const (
	checkBucket = 500 // rows that are tried, or whose results are kept, together
	applyBucket = 100 // rows that one thread does
	reserve     = 4   // keys of a transaction that are kept for what is about the bucket
	startWorst  = 30  // keys of a row, until it is known how many it is
	tries       = 8   // of a transaction that the store is not sure of
	wait        = 2 * time.Second
	unknown     = time.Hour // until a source is looked for again that is not configured
)

// run is a run of an import's task.
type run struct {
	*Files
	s   *source
	imp Import
	p   task.Progress
}

// Handle is the task.Handler of Kind.
func (f *Files) Handle(ctx context.Context, key string) error {
	sourceID, id, _ := strings.Cut(key, "/")
	s := f.sources[sourceID]
	if s == nil {
		return &task.Retry{After: unknown, Reason: "source " + sourceID + " is not in the configuration"}
	}
	r := &run{Files: f, s: s}
	before := ""
	// Also of a run that is to stop at once: what was cancelled is to be ended.
	err := f.c.Store.View(context.WithoutCancel(ctx), func(tx store.Tx) (err error) {
		var ok bool
		if r.imp, ok, err = imports.Get(tx, id); err != nil || !ok {
			return firstErr(err, errNone)
		}
		if before, err = f.before(tx, r.imp); err != nil {
			return err
		}
		r.p, _, err = task.Load(tx, Kind, key)
		return err
	})
	switch {
	case errors.Is(err, errNone):
		return nil
	case err != nil:
		return err
	case r.imp.State.Final():
		return nil
	case before != "":
		return &task.Retry{After: wait, Reason: "the import of " + before + " comes first"}
	}
	if err = ctx.Err(); r.imp.State == Reading && r.imp.Refusal != nil {
		err = r.imp.Refusal // it was known when the file came
	} else if err == nil {
		err = r.run(ctx)
	}
	var no *Refusal
	switch {
	case errors.As(err, &no):
		return r.end(ctx, Refused, no)
	case errors.Is(context.Cause(ctx), task.ErrCancelled):
		return firstErr(r.end(context.WithoutCancel(ctx), Stopped, nil), err)
	}
	return err
}

var errNone = errors.New("there is no such import any more")

// before is the file that has to be done before an import, as one source's files
// are done in the order in which they came. Those that change nobody need not wait.
func (f *Files) before(tx store.Tx, imp Import) (string, error) {
	for other, err := range imports.Find(tx, "source", imp.Source, "", 0) {
		if err != nil {
			return "", err
		}
		if other.ID >= imp.ID {
			break
		}
		if imp.Preview || other.Preview || other.State.Final() {
			continue
		}
		if t, ok, err := task.Get(tx, Kind, other.Key()); err != nil || ok && t.State != task.Cancelled {
			return other.File, err
		}
	}
	return "", nil
}

func (r *run) run(ctx context.Context) error {
	for {
		var err error
		switch r.imp.State {
		case Reading:
			err = r.read(ctx)
		case Checking:
			err = r.check(ctx)
		case Applying:
			err = r.apply(ctx)
		case Missing:
			err = r.missing(ctx)
		case Writing:
			return r.end(ctx, r.outcome(), r.imp.Refusal)
		default:
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// outcome is what comes after Writing.
func (r *run) outcome() State {
	switch {
	case r.imp.End != "":
		return r.imp.End
	case r.imp.Preview:
		return Previewed
	}
	return Imported
}

// rows yields the rows of the file behind the first skip ones. They are read
// from the beginning, so that a second row about a person is known.
func (r *run) rows(skip int64) iter.Seq2[row, error] {
	return func(yield func(row, error) bool) {
		file, err := os.Open(r.spool(r.imp.ID))
		if err != nil {
			yield(row{}, fmt.Errorf("open import: %w", err))
			return
		}
		defer func() { _ = file.Close() }()
		for row, err := range r.s.read(file) {
			if err == nil && row.N <= skip {
				continue
			}
			if !yield(row, err) {
				return
			}
		}
	}
}

// A bucket is some rows that follow each other, and what became of them.
type bucket struct {
	rows []row
	list []result
}

// buckets yields the rows behind the first skip ones, n at a time.
func (r *run) buckets(skip int64, n int) iter.Seq2[*bucket, error] {
	return func(yield func(*bucket, error) bool) {
		b := &bucket{}
		for row, err := range r.rows(skip) {
			if err != nil {
				yield(nil, err)
				return
			}
			if b.rows = append(b.rows, row); len(b.rows) == n {
				if !yield(b, nil) {
					return
				}
				b = &bucket{}
			}
		}
		if len(b.rows) > 0 {
			yield(b, nil)
		}
	}
}

// columns are what the file's columns are to us.
func (r *run) columns() ([]string, error) {
	file, err := os.Open(r.spool(r.imp.ID))
	if err != nil {
		return nil, fmt.Errorf("open import: %w", err)
	}
	defer func() { _ = file.Close() }()
	t, err := r.s.open(file)
	if err != nil {
		return nil, err
	}
	return t.columns, nil
}

// enter goes on to a state.
func (r *run) enter(ctx context.Context, s State, total int64) error {
	next := r.imp
	next.State, next.Next = s, 0
	now := time.Now().UTC()
	p := task.Progress{Started: r.p.Started, Since: now, Total: total, Note: string(s)}
	return r.save(ctx, next, p)
}

// save stores how far the import is.
func (r *run) save(ctx context.Context, next Import, p task.Progress) error {
	err := r.sure(ctx, func(tx store.Tx) error {
		return firstErr(imports.Put(tx, next), task.Save(tx, Kind, next.Key(), p))
	})
	if err == nil {
		r.imp, r.p = next, p
	}
	return err
}

// sure is an Update that is repeated while the store can not tell whether it
// happened; what fn does may be done twice.
func (f *Files) sure(ctx context.Context, fn func(store.Tx) error) error {
	for try := 1; ; try++ {
		var own error
		err := f.c.Store.Update(ctx, func(tx store.Tx) error { own = fn(tx); return own })
		if err == nil || own != nil || try == tries || ctx.Err() != nil || errors.Is(err, store.ErrLimit) || errors.Is(err, store.ErrClosed) {
			return err
		}
	}
}

// did goes on behind some rows of a state.
func (r *run) did(ctx context.Context, rows int64, counts func(*Import) *Counts, list []result) error {
	next, p := r.imp, r.p
	next.Next += rows
	c := counts(&next)
	c.Rows += rows
	c.add(list)
	p.Done, p.Failed = next.Next, c.Failed
	return r.save(ctx, next, p)
}

func would(i *Import) *Counts { return &i.Would }
func done(i *Import) *Counts  { return &i.Did }

// read finds out whether it is such a file at all, and how many rows it has.
func (r *run) read(ctx context.Context) error {
	var n, bad, nameless int64
	for row, err := range r.rows(0) {
		if err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		n++
		if row.Refusal != nil {
			bad++
			if row.Refusal.Code == ReasonNameless {
				nameless++
			}
		}
	}
	if n == 0 {
		return refuse(ReasonEmpty, "the file has a heading and no rows")
	}
	next := r.imp
	next.Rows = n
	if next.Content == Full {
		if nameless > 0 {
			return refuse(ReasonForm, fmt.Sprintf("%d rows of a full file have no user name, so it is not known who is missing", nameless))
		}
		if err := r.sound(ctx, n); err != nil {
			return err
		}
	}
	r.imp = next
	return r.enter(ctx, Checking, n)
}

// sound refuses a full file that is so much shorter than the last one that it is
// taken for a mistake.
func (r *run) sound(ctx context.Context, n int64) error {
	if r.imp.Shrunk {
		return nil
	}
	var was last
	err := r.c.Store.View(ctx, func(tx store.Tx) (err error) {
		was, _, err = lasts.Get(tx, r.s.ID)
		return err
	})
	if err != nil {
		return err
	}
	w := guard.Walk{Had: int(was.Rows), Got: int(n)}
	if r.c.Guard != nil {
		w.Shrink = r.c.Guard.Limits(scope(r.s)).Shrink
	}
	var no *guard.Unsound
	if errors.As(w.Sound(), &no) {
		return refuse(no.Code, no.Text)
	}
	return nil
}

// tolerable bounds how many rows may be wrong in a file that is taken at all.
func tolerable(rows, wrong int64) bool { return wrong <= 10 || wrong*10 <= rows }

// check tries every row on a transaction that is thrown away.
func (r *run) check(ctx context.Context) error {
	columns, err := r.columns()
	if err != nil {
		return err
	}
	imp := r.imp // r's own goes on meanwhile
	err = task.InThreads(ctx, r.s.Threads, r.buckets(r.imp.Next, checkBucket), func(ctx context.Context, b *bucket) error {
		for _, row := range b.rows {
			var out result
			if err := r.c.Store.View(ctx, func(tx store.Tx) (err error) {
				out, err = r.do(newDry(tx), r.s, imp, columns, row)
				return err
			}); err != nil {
				return err
			}
			b.list = append(b.list, out)
		}
		return nil
	}, func(b *bucket) error {
		if r.imp.Preview {
			if err := r.sure(ctx, func(tx store.Tx) error {
				return chunks.Put(tx, chunk{Import: r.imp.ID, First: b.list[0].N, List: brief(b.list)})
			}); err != nil {
				return err
			}
		}
		return r.did(ctx, int64(len(b.rows)), would, b.list)
	})
	if err != nil {
		return err
	}
	if err := r.foresee(ctx); err != nil {
		return err
	}
	if r.imp.Preview {
		return r.enter(ctx, Writing, 0)
	}
	return r.enter(ctx, Applying, r.imp.Rows)
}

// brief bounds what is kept of results.
func brief(list []result) []result {
	for i := range list {
		if t := list[i].Text; len(t) > 300 {
			list[i].Text = strings.ToValidUTF8(t[:300], "") + "…"
		}
	}
	return list
}

// foresee says whether the import is to go on: whether too many rows are wrong,
// who is missing, and whether more would be disabled than may be at once.
func (r *run) foresee(ctx context.Context) error {
	if c := r.imp.Would; !tolerable(c.Rows, c.Failed) && !r.imp.Preview {
		return refuse(ReasonErrors, fmt.Sprintf("%d of %d rows can not be used; gatehouse import --preview shows which", c.Failed, c.Rows))
	}
	var gone int64
	if r.imp.Content == Full && !r.s.Keep {
		var page []result
		flush := func() error {
			if !r.imp.Preview || len(page) == 0 {
				return nil
			}
			list := page
			page = nil
			return r.sure(ctx, func(tx store.Tx) error {
				return chunks.Put(tx, chunk{Import: r.imp.ID, Who: list[0].User, List: list})
			})
		}
		for p, err := range r.absent(ctx) {
			if err != nil {
				return err
			}
			gone++
			if page = append(page, result{Name: p.name, User: p.User, Status: Disabled, Text: "not in the file any more"}); len(page) == checkBucket {
				if err := flush(); err != nil {
					return err
				}
			}
		}
		if err := flush(); err != nil {
			return err
		}
	}
	next := r.imp
	next.Would.Missing = gone
	next.Would.Disabled += gone
	if n := int(next.Would.Disabled); n > 0 && r.c.Guard != nil {
		if r.imp.Preview {
			next.Notes = append(next.Notes, fmt.Sprintf("%d would be disabled; what is beyond the limit of the mass-change guard would wait for approval", n))
		} else if _, err := r.c.Guard.Foresee(ctx, scope(r.s), r.imp.ID, guard.Removal, n); err != nil {
			return err
		}
	}
	r.imp = next
	return nil
}

// apply does what the rows say.
func (r *run) apply(ctx context.Context) error {
	columns, err := r.columns()
	if err != nil {
		return err
	}
	imp := r.imp // r's own goes on meanwhile
	err = task.InThreads(ctx, r.s.Threads, r.buckets(r.imp.Next, applyBucket), func(ctx context.Context, b *bucket) (err error) {
		b.list, err = r.together(ctx, imp, columns, b.rows)
		return err
	}, func(b *bucket) error { return r.did(ctx, int64(len(b.rows)), done, b.list) })
	if err != nil {
		return err
	}
	if imp.Content == Full && !r.s.Keep {
		return r.enter(ctx, Missing, r.imp.Would.Missing)
	}
	return r.enter(ctx, Writing, 0)
}

// together does some rows, as many in a transaction as its limits hold. Each
// transaction keeps the results of its rows, so that what was done before a crash,
// or by a commit whose answer was lost, is known and not done again.
func (r *run) together(ctx context.Context, imp Import, columns []string, rows []row) (all []result, err error) {
	worst, most := startWorst, len(rows)
	for try := 0; len(rows) > 0; {
		known, err := r.known(ctx, imp.ID, rows)
		if err != nil {
			return nil, err
		}
		if len(known) > 0 {
			all, rows = append(all, known...), rows[len(known):]
			continue
		}
		var list []result
		var own error
		err = r.c.Store.Update(ctx, func(tx store.Tx) error {
			list, own = nil, nil
			c := newCounted(tx)
			for _, row := range rows[:min(most, len(rows))] {
				before := len(c.keys)
				if len(list) > 0 && before+worst+reserve > store.MaxKeys {
					break
				}
				out, err := r.do(c, r.s, imp, columns, row)
				if err != nil {
					own = err
					return err
				}
				list = append(list, out)
				worst = max(worst, len(c.keys)-before)
			}
			own = chunks.Put(tx, chunk{Import: imp.ID, First: rows[0].N, List: brief(list)})
			return own
		})
		switch {
		case err == nil:
			try, most = 0, len(rows)
			all, rows = append(all, list...), rows[len(list):]
			err = r.tell(ctx, list)
		case errors.Is(err, store.ErrLimit) && most > 1:
			most = max(1, min(len(list), most)/2)
			err = nil
		case errors.Is(err, store.ErrLimit): // one person alone is more than a transaction holds
			no := result{N: rows[0].N, Name: rows[0].Name}.failed(refuse(ReasonTooLarge, "the row changes more than one transaction can hold"))
			if err = r.sure(ctx, func(tx store.Tx) error { return chunks.Put(tx, chunk{Import: imp.ID, First: no.N, List: []result{no}}) }); err == nil {
				all, rows, most = append(all, no), rows[1:], len(rows)
			}
		case own == nil && try < tries && ctx.Err() == nil && !errors.Is(err, store.ErrClosed):
			try++ // it may have happened: known tells
			err = nil
		}
		if err != nil {
			return nil, err
		}
	}
	return all, nil
}

// known are the results of the first rows, as far as these were done already.
func (r *run) known(ctx context.Context, id string, rows []row) (list []result, err error) {
	err = r.c.Store.View(ctx, func(tx store.Tx) error {
		c, ok, err := chunks.Get(tx, chunkKey(id, rows[0].N, ""))
		if ok {
			list = c.List
		}
		return err
	})
	return list, err
}

// tell ends what people do who were disabled.
func (f *Files) tell(ctx context.Context, list []result) error {
	if f.c.Left == nil {
		return nil
	}
	for _, out := range list {
		if out.Status == Disabled {
			if err := f.c.Left(ctx, out.User); err != nil {
				return err
			}
		}
	}
	return nil
}

// An absentee is a person whom a source does not list any more.
type absentee struct {
	person
	name string
}

// absent yields the source's people who are active and not in the file.
func (r *run) absent(ctx context.Context) iter.Seq2[absentee, error] {
	return func(yield func(absentee, error) bool) {
		listed := map[[16]byte]bool{}
		for row, err := range r.rows(0) {
			if err != nil {
				yield(absentee{}, err)
				return
			}
			listed[short(row.key())] = true
		}
		for after := ""; ; {
			var page []absentee
			read := 0
			err := r.c.Store.View(ctx, func(tx store.Tx) error {
				page, read = nil, 0
				for p, err := range persons.Find(tx, "source", r.s.ID, after, checkBucket) {
					if err != nil {
						return err
					}
					read++
					after = persons.Key(p)
					if listed[short(p.Key)] {
						continue
					}
					u, ok, err := r.c.Directory.UserTx(tx, p.User)
					if err != nil {
						return err
					}
					if !ok || !u.Active || numbered(p.Key) && listed[short(row{Store: u.Store, Name: u.UserName}.name())] {
						continue // the last: the file has them without their number, as who finds them
					}
					page = append(page, absentee{p, r.c.Directory.FullName(u.Store, u.UserName)})
				}
				return nil
			})
			if err != nil {
				yield(absentee{}, err)
				return
			}
			for _, p := range page {
				if !yield(p, nil) {
					return
				}
			}
			if read < checkBucket {
				return
			}
		}
	}
}

func short(key string) [16]byte {
	sum := sha256.Sum256([]byte(key))
	return [16]byte(sum[:16])
}

// missing disables who is not in a full file any more. Whoever was done stands so
// in their own row, and is not done again.
func (r *run) missing(ctx context.Context) error {
	n := int64(0)
	for p, err := range r.absent(ctx) {
		if err != nil {
			return err
		}
		if p.Gone == r.imp.ID {
			continue
		}
		var list []result
		err = r.sure(ctx, func(tx store.Tx) error {
			list = nil
			now, ok, err := persons.Get(tx, persons.Key(p.person))
			if err != nil || !ok {
				return err
			}
			out, did, err := r.leave(tx, r.s, r.imp, now)
			if err != nil || !did {
				return err
			}
			list = []result{out}
			return chunks.Put(tx, chunk{Import: r.imp.ID, Who: p.User, List: list})
		})
		if err == nil {
			err = r.tell(ctx, list)
		}
		if err != nil {
			return err
		}
		if n++; n%50 == 0 {
			next, p := r.imp, r.p
			next.Next += 50
			p.Done = next.Next
			if err := r.save(ctx, next, p); err != nil {
				return err
			}
		}
	}
	return r.enter(ctx, Writing, 0)
}

// spool is where the file of an import is kept.
func (f *Files) spool(id string) string { return filepath.Join(f.c.Dir, id+".csv") }

// ResultFile is where the result of an import is, once it has ended.
func (f *Files) ResultFile(id string) string { return filepath.Join(f.c.Dir, id+".result.csv") }

// remove removes a file of ours; that it is not there is no error.
func remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
