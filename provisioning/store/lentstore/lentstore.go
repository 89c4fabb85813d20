// Package lentstore is a store that another process of this machine has open.
//
// A process that is about to be replaced has given the file to its successor,
// and still serves requests that began before: it reads and writes by asking
// the successor, over a Unix socket that only their user may open.
//
//	the one that leaves                     the one that has the file
//	store.Store ── Switch ── Store ──conn──▶ Serve ── store.Store
//	                         one connection a View, Update or Watch
//
// A transaction is the owner's own: each Get, Scan, Put and Delete is asked for
// and answered, and fn runs where it was written. So limits, snapshots and
// conflicts are the owner's, and there is nothing to be reconciled afterwards. A
// borrower that dies or falls silent in the middle has done nothing: its
// connection ends, or takes too long, and the owner drops the transaction.
//
// A Watch that loses its connection yields a gap at once and again when it has
// another: who remembers what the store said forgets it, and as long as nobody
// answers, nobody knows, and nobody passes.
package lentstore

import (
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"iter"
	"net"
	"time"

	"github.com/gatehouse-sso/gatehouse/provisioning/store"
)

// What the two say to each other, as gob. A borrower begins with one opening;
// then, for each call of the transaction, an ask and an answer.
type (
	opening struct {
		What   string // "view", "update" or "watch"
		Prefix []byte // of what is watched
	}
	ask struct {
		What     string // "get", "scan", "more", "put", "delete", or the last: "commit", "drop"
		Key, Val []byte // From and To of a scan
		Bounded  bool   // it has a To
		Limit    int
		Scan     int // which scan, of "more"
	}
	answer struct {
		What string // "begin": run fn; "told": the answer to an ask, or a key of a watch; "gap"; "over"
		Pair store.Pair
		OK   bool
		Page []store.Pair
		Scan int // to ask for more of; 0: the page is the last
		Code int // of a sentinel; 0: none
		Text string
	}
)

// sentinels are the errors that keep their identity on the way.
var sentinels = []error{nil, store.ErrConflict, store.ErrLimit, store.ErrClosed, store.ErrDamaged, store.ErrReadOnly, context.Canceled, context.DeadlineExceeded}

func (a *answer) fail(err error) {
	if err == nil {
		return
	}
	a.Text = err.Error()
	for code, s := range sentinels {
		if code > 0 && errors.Is(err, s) {
			a.Code = code
		}
	}
}

func (a *answer) err() error {
	switch {
	case a.Text == "":
		return nil
	case a.Code > 0 && a.Code < len(sentinels):
		return &told{a.Text, sentinels[a.Code]}
	}
	return errors.New(a.Text)
}

// told is an error of the owner's, with its words.
type told struct {
	text string
	is   error
}

func (t *told) Error() string { return t.text }
func (t *told) Unwrap() error { return t.is }

const (
	patience = 30 * time.Second // for the owner to say something
	again    = 50 * time.Millisecond
)

// A Store is what a borrower has. Make one with Open.
type Store struct {
	dial   func(context.Context) (net.Conn, error)
	ctx    context.Context // until Close
	cancel context.CancelFunc
}

var _ store.Store = (*Store)(nil)

// Open returns a store whose owner answers where dial leads. It calls nobody.
func Open(dial func(context.Context) (net.Conn, error)) *Store {
	ctx, cancel := context.WithCancel(context.Background())
	return &Store{dial, ctx, cancel}
}

// Close ends what is under way. The owner's store stays as it is.
func (s *Store) Close() error {
	s.cancel()
	return nil
}

// View is as in [store.Store].
func (s *Store) View(ctx context.Context, fn func(store.Tx) error) error {
	return s.run(ctx, "view", fn)
}

// Update is as in [store.Store].
func (s *Store) Update(ctx context.Context, fn func(store.Tx) error) error {
	return s.run(ctx, "update", fn)
}

// A line is a connection to the owner.
type line struct {
	net.Conn
	enc *gob.Encoder
	dec *gob.Decoder
}

// open dials and says what is wanted. The line breaks with ctx and with the store.
func (s *Store) open(ctx context.Context, o opening) (l *line, done func(), err error) {
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	if s.ctx.Err() != nil {
		return nil, nil, store.ErrClosed
	}
	c, err := s.dial(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("reach the process that has the store: %w", err)
	}
	byCaller := context.AfterFunc(ctx, func() { _ = c.Close() })
	byStore := context.AfterFunc(s.ctx, func() { _ = c.Close() })
	done = func() { byCaller(); byStore(); _ = c.Close() }
	l = &line{c, gob.NewEncoder(c), gob.NewDecoder(c)}
	if err := l.enc.Encode(o); err != nil {
		done()
		return nil, nil, s.because(ctx, err)
	}
	return l, done, nil
}

// because says why a line broke.
func (s *Store) because(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case s.ctx.Err() != nil:
		return store.ErrClosed
	}
	return fmt.Errorf("the process that has the store: %w", err)
}

func (s *Store) run(ctx context.Context, what string, fn func(store.Tx) error) error {
	l, done, err := s.open(ctx, opening{What: what})
	if err != nil {
		return err
	}
	defer done()
	var said error // by fn, the last time it ran
	for {
		var a answer
		if err := l.dec.Decode(&a); err != nil {
			return s.because(ctx, err)
		}
		switch a.What {
		case "begin":
			t := &txn{l: l}
			said = fn(t)
			t.dead = true
			last := ask{What: "commit"}
			if said != nil {
				last.What = "drop"
			}
			if err := l.enc.Encode(last); err != nil {
				if said != nil {
					return said // it is the owner's too that nothing happened
				}
				return s.because(ctx, err)
			}
		case "over":
			if err := a.err(); err != nil {
				return err
			}
			return said
		default:
			return fmt.Errorf("the process that has the store says %q", a.What)
		}
	}
}

// Watch is as in [store.Store].
func (s *Store) Watch(ctx context.Context, prefix []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for ctx.Err() == nil && s.ctx.Err() == nil {
			if !s.watch(ctx, prefix, yield) {
				return
			}
			select {
			case <-ctx.Done():
			case <-s.ctx.Done():
			case <-time.After(again):
			}
		}
	}
}

// watch watches for as long as one connection lasts, and says whether another is
// wanted. What comes after it is a gap.
func (s *Store) watch(ctx context.Context, prefix []byte, yield func([]byte) bool) bool {
	l, done, err := s.open(ctx, opening{"watch", prefix})
	if err != nil {
		return true
	}
	defer done()
	for {
		var a answer
		err := l.dec.Decode(&a)
		switch {
		case ctx.Err() != nil || s.ctx.Err() != nil:
			return false
		case err != nil:
			return yield(nil)
		case a.What == "gap" && !yield(nil), a.What == "told" && !yield(a.Pair.Key):
			return false
		}
	}
}

// errOver is what a Tx says after its function returned.
var errOver = errors.New("lentstore: the transaction is over")

// A txn is a store.Tx.
type txn struct {
	l    *line
	dead bool
}

func (t *txn) ask(q ask) (a answer, err error) {
	if t.dead {
		return a, errOver
	}
	if err := t.l.enc.Encode(q); err != nil {
		return a, err
	}
	if err := t.l.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return a, err
	}
	if err := t.l.dec.Decode(&a); err != nil {
		return a, err
	}
	return a, errors.Join(a.err(), t.l.SetReadDeadline(time.Time{}))
}

// Get is as in [store.Tx].
func (t *txn) Get(key []byte) ([]byte, bool, error) {
	a, err := t.ask(ask{What: "get", Key: key})
	if err != nil || !a.OK {
		return nil, false, err
	}
	return whole(a.Pair.Val), true, nil
}

// whole undoes that gob leaves out what is empty.
func whole(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// Scan is as in [store.Tx]. It comes page by page, all of one scan of the owner's.
func (t *txn) Scan(from, to []byte, limit int) iter.Seq2[store.Pair, error] {
	return func(yield func(store.Pair, error) bool) {
		for q := (ask{What: "scan", Key: from, Val: to, Bounded: to != nil, Limit: limit}); ; {
			a, err := t.ask(q)
			if err != nil {
				yield(store.Pair{}, err)
				return
			}
			for _, p := range a.Page {
				if !yield(store.Pair{Key: p.Key, Val: whole(p.Val)}, nil) {
					return
				}
				if t.dead {
					yield(store.Pair{}, errOver)
					return
				}
			}
			if a.Scan == 0 {
				return
			}
			q = ask{What: "more", Scan: a.Scan}
		}
	}
}

// Put is as in [store.Tx].
func (t *txn) Put(key, val []byte) error {
	_, err := t.ask(ask{What: "put", Key: key, Val: val})
	return err
}

// Delete is as in [store.Tx].
func (t *txn) Delete(key []byte) error {
	_, err := t.ask(ask{What: "delete", Key: key})
	return err
}
