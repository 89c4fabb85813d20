package files

import (
	"bufio"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"strconv"
	"time"

	"github.com/gatehouse-sso/gatehouse/provisioning/sheet"
	"github.com/gatehouse-sso/gatehouse/provisioning/store"
	"github.com/gatehouse-sso/gatehouse/provisioning/task"
)

// keepFor is how long the results of imports are kept, and what is known of them.
const keepFor = 30 * 24 * time.Hour

// end makes a state final: it writes the result, puts the file of a folder where
// it belongs, and forgets what is not needed any more. Each step may be repeated.
func (r *run) end(ctx context.Context, s State, why *Refusal) error {
	next := r.imp
	next.Refusal, next.End = why, s
	if next.State != Writing {
		next.State, next.Next = Writing, 0
	}
	if next.Next == 0 {
		counts, err := r.writeResult(ctx, next, s, why)
		if err != nil {
			return err
		}
		if s != Previewed && s != Refused {
			counts.Missing = next.Would.Missing
			next.Did = counts
		}
		next.Next = 1
		if err := r.save(ctx, next, r.p); err != nil {
			return err
		}
	}
	if r.imp.Claimed {
		if err := r.hand(ctx, s); err != nil {
			return err
		}
	}
	if err := r.forget(ctx, r.imp.ID); err != nil {
		return err
	}
	next = r.imp
	next.State, next.Ended, next.Next = s, r.now(), 0
	p := task.Progress{Started: r.p.Started, Since: r.p.Started, Total: next.Rows, Done: next.Did.Rows, Failed: next.Did.Failed, Note: string(s)}
	if s == Previewed {
		p.Done, p.Failed = next.Would.Rows, next.Would.Failed
	}
	err := r.sure(ctx, func(tx store.Tx) error {
		if s == Imported && next.Content == Full {
			if err := lasts.Put(tx, last{next.Source, next.Rows, next.ID, next.Ended}); err != nil {
				return err
			}
		}
		if next.Claimed {
			if err := task.Add(tx, KindPoll, pollKey(next.Source), r.c.Now()); err != nil {
				return err
			}
		}
		return firstErr(imports.Put(tx, next), task.Save(tx, Kind, next.Key(), p))
	})
	if err != nil {
		return err
	}
	r.imp = next
	return remove(r.spool(next.ID))
}

// results yields what is kept of the rows of an import, those that are missing
// last.
func (f *Files) results(ctx context.Context, id string) iter.Seq2[result, error] {
	return func(yield func(result, error) bool) {
		for after := string(store.Key(id)); ; {
			var page []chunk
			err := f.c.Store.View(ctx, func(tx store.Tx) error {
				page = nil
				for c, err := range chunks.All(tx, after, 50) {
					if err != nil {
						return err
					}
					page = append(page, c)
				}
				return nil
			})
			if err != nil {
				yield(result{}, err)
				return
			}
			for _, c := range page {
				if c.Import != id {
					return
				}
				for _, r := range c.List {
					if !yield(r, nil) {
						return
					}
				}
				after = chunks.Key(c)
			}
			if len(page) == 0 {
				return
			}
		}
	}
}

// writeResult writes the file that says what became of each row.
func (r *run) writeResult(ctx context.Context, imp Import, s State, why *Refusal) (counts Counts, err error) {
	path := r.ResultFile(imp.ID)
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return counts, fmt.Errorf("write result: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	buf := bufio.NewWriter(file)
	w := csv.NewWriter(buf)
	w.UseCRLF = true
	_ = w.Write([]string{"row", "user_name", "status", "reason", "text"}) // Error tells
	if why != nil {
		_ = w.Write([]string{"", "", string(s), why.Code, sheet.Harmless(why.Text)})
	}
	for out, err := range r.results(ctx, imp.ID) {
		if err != nil {
			return counts, err
		}
		n := ""
		if out.N > 0 {
			n = strconv.FormatInt(out.N, 10)
			counts.Rows++
		}
		counts.add([]result{out})
		if err := w.Write([]string{n, sheet.Harmless(out.Name), string(out.Status), out.Code, sheet.Harmless(out.Text)}); err != nil {
			return counts, fmt.Errorf("write result: %w", err)
		}
	}
	w.Flush()
	if err := firstErr(w.Error(), buf.Flush(), file.Sync()); err != nil {
		return counts, fmt.Errorf("write result: %w", err)
	}
	return counts, nil
}

// hand puts the result beside where the file came from, and the file away.
func (r *run) hand(ctx context.Context, s State) error {
	d, err := r.s.Place.Open(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = d.Close() }()
	err = d.Write(preResult+r.imp.File, func(w io.Writer) error {
		file, err := os.Open(r.ResultFile(r.imp.ID))
		if err != nil {
			return err
		}
		defer func() { _ = file.Close() }()
		_, err = io.Copy(w, file)
		return err
	})
	if err != nil {
		return err
	}
	dir := dirArchive
	if s != Imported {
		dir = dirError
	}
	return put(d, r.imp.File, dir, r.imp.Received)
}

// forget removes the results of an import from the store.
func (f *Files) forget(ctx context.Context, id string) error {
	for more := true; more; {
		if err := f.sure(ctx, func(tx store.Tx) error {
			more = false
			var keys []string
			for c, err := range chunks.All(tx, string(store.Key(id)), store.MaxKeys-reserve) {
				if err != nil {
					return err
				}
				if c.Import == id {
					keys = append(keys, chunks.Key(c))
				}
			}
			for _, key := range keys {
				if err := chunks.Delete(tx, key); err != nil {
					return err
				}
			}
			more = len(keys) == store.MaxKeys-reserve
			return nil
		}); err != nil {
			return err
		}
	}
	return nil
}

// tidy ends imports whose task was cancelled while nothing ran that could have
// done so, and forgets what is old.
func (f *Files) tidy(ctx context.Context, s *source) error {
	var stopped, old []Import
	err := f.c.Store.View(ctx, func(tx store.Tx) error {
		stopped, old = nil, nil
		for imp, err := range imports.Find(tx, "source", s.ID, "", 0) {
			if err != nil {
				return err
			}
			if imp.State.Final() {
				if f.c.Now().Sub(imp.Ended) > keepFor {
					old = append(old, imp)
				}
				continue
			}
			t, ok, err := task.Get(tx, Kind, imp.Key())
			if err != nil {
				return err
			}
			if ok && t.State == task.Cancelled {
				stopped = append(stopped, imp)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, imp := range stopped {
		if err := (&run{Files: f, s: s, imp: imp}).end(ctx, Stopped, nil); err != nil {
			return err
		}
	}
	for _, imp := range old {
		err := f.sure(ctx, func(tx store.Tx) error {
			return firstErr(imports.Delete(tx, imp.ID), task.Forget(tx, Kind, imp.Key()))
		})
		if err = firstErr(err, remove(f.ResultFile(imp.ID)), remove(f.spool(imp.ID))); err != nil {
			return err
		}
	}
	return nil
}

// Import returns an import by ID, or ErrNotFound.
func (f *Files) Import(ctx context.Context, id string) (imp Import, err error) {
	err = f.c.Store.View(ctx, func(tx store.Tx) error {
		var ok bool
		if imp, ok, err = imports.Get(tx, id); err == nil && !ok {
			err = fmt.Errorf("%w: %s", ErrNotFound, id)
		}
		return err
	})
	return imp, err
}

// Imports lists imports, oldest first, those after an ID, at most limit (0: all).
func (f *Files) Imports(ctx context.Context, after string, limit int) (list []Import, err error) {
	err = f.c.Store.View(ctx, func(tx store.Tx) error {
		list = nil
		for imp, err := range imports.All(tx, after, limit) {
			if err != nil {
				return err
			}
			list = append(list, imp)
		}
		return nil
	})
	return list, err
}
