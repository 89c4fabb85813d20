// Package boltstore keeps a store in one bbolt file, for one process.
//
//	View    bolt read transaction → fn
//	Update  queue → whoever finds the writer free is the leader and takes all that wait:
//	          bolt transaction
//	            each waiter runs its own fn on an overlay: what fn says nil to goes
//	            into the bolt transaction, what it fails with stays outside
//	          one commit, one fsync, for all of them
//	          watchers learn; waiters return
//
// There is no timer in it: a lone Update commits at once, and while a commit
// waits for the disk the next group gathers. A later fn of a group sees what an
// earlier one did; nobody returns before the disk has it, so what is seen is
// never taken back.
//
// # The files
//
// PATH is the database, PATH.id a small file that says that it was made. A
// missing or empty database beside PATH.id is refused, because an installation
// that forgot everybody would let the next person set it up.
//
// The database has two buckets. In "store" each key is a store key, and its
// value is four bytes of CRC-32C (big endian) over key and value, and the value.
// In "meta", "format" is "1" and "id" is the content of PATH.id. The whole file
// is read and checked when it is opened, before bbolt may touch it, since bbolt
// trusts what it maps: see [Inspect].
package boltstore

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"iter"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"syscall"

	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"github.com/gatehouse-sso/gatehouse/provisioning/store"
)

// Options of Open. The zero Options are right for a server.
type Options struct {
	// Check also runs bbolt's own consistency check after the one that always runs.
	Check bool
}

// A Store is a bbolt file. Make one with Open.
type Store struct {
	path   string
	db     *bolt.DB
	file   *os.File // db's
	hub    *hub
	writer chan struct{} // holds one token while somebody leads

	mu     sync.Mutex
	queue  []*job
	closed bool
	broken error // why nothing may be written until the file is opened again
	wedged bool  // broken, and bbolt holds locks that it will never release
}

var _ store.Store = (*Store)(nil)

var (
	bucketData = []byte("store")
	bucketMeta = []byte("meta")
)

// Close waits for transactions that run, refuses others, and ends watches.
func (s *Store) Close() error {
	s.writer <- struct{}{}
	defer func() { <-s.writer }()
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	waiting, wedged := s.queue, s.wedged
	s.queue = nil
	s.mu.Unlock()
	for _, j := range waiting {
		j.done <- store.ErrClosed
	}
	s.hub.close()
	if wedged {
		return s.file.Close() // which lets go of the lock
	}
	return s.db.Close()
}

// View is as in [store.Store]. A View that runs long keeps the file from
// reusing pages, so it is for reading, not for waiting.
func (s *Store) View(ctx context.Context, fn func(store.Tx) error) (err error) {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	wedged, broken := s.wedged, s.broken
	s.mu.Unlock()
	if wedged {
		return broken
	}
	var tx *bolt.Tx
	if err := s.locking(func() (err error) { tx, err = s.db.Begin(false); return err }); err != nil {
		return err
	}
	defer tx.Rollback()
	t := &txn{s: s, bucket: tx.Bucket(bucketData)}
	defer t.end()
	return fn(t)
}

// A job is one Update that waits.
type job struct {
	turn chan *txn  // the leader's: run your fn on this
	ran  chan error // the waiter's: what fn said
	done chan error // the leader's: what Update returns
}

// Update is as in [store.Store]. fn runs in the caller's goroutine, and must not
// call the store: it would wait for itself.
func (s *Store) Update(ctx context.Context, fn func(store.Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	j := &job{turn: make(chan *txn), ran: make(chan error, 1), done: make(chan error, 1)}
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return store.ErrClosed
	}
	s.queue = append(s.queue, j)
	s.mu.Unlock()

	writer, cancel := s.writer, ctx.Done()
	for {
		select {
		case writer <- struct{}{}:
			runtime.Gosched() // whoever is about to ask for the same may join; it takes no time where nobody is
			group := s.take()
			switch {
			case len(group) == 1 && group[0] == j: // nobody else: no need for goroutines to meet
				s.lead(group, func(_ *job, tx *txn) error { return run(ctx, tx, fn) })
			case len(group) > 0:
				go s.lead(group, (*job).handOver)
			default: // another leader has taken us, and all others
				<-s.writer
				writer = nil
			}
		case tx := <-j.turn:
			j.answer(func() error { return run(ctx, tx, fn) })
		case err := <-j.done:
			return err
		case <-cancel:
			if s.withdraw(j) {
				return ctx.Err()
			}
			cancel = nil // too late: the answer comes soon
		}
	}
}

// maxGroup bounds what one commit holds in memory.
const maxGroup = 1024

// take takes the jobs of one group out of the queue, those that waited longest.
func (s *Store) take() []*job {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := min(len(s.queue), maxGroup)
	group := s.queue[:n:n]
	s.queue = s.queue[n:]
	return group
}

// withdraw takes j out of the queue, and reports whether it was still there.
func (s *Store) withdraw(j *job) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, q := range s.queue {
		if q == j {
			s.queue = append(s.queue[:i:i], s.queue[i+1:]...)
			return true
		}
	}
	return false
}

// run calls fn, unless it is too late to begin.
func run(ctx context.Context, tx *txn, fn func(store.Tx) error) error {
	defer tx.end()
	if err := ctx.Err(); err != nil {
		return err
	}
	return fn(tx)
}

// handOver lets the waiter run its fn on tx, and returns what fn said.
func (j *job) handOver(tx *txn) error {
	j.turn <- tx
	return <-j.ran
}

// errNoReturn stands for a fn that did not return.
var errNoReturn = errors.New("boltstore: the function of an Update did not return")

// answer tells the leader how run ended, also if it panics or ends its goroutine.
func (j *job) answer(run func() error) {
	err := errNoReturn
	defer func() { j.ran <- err }()
	err = run()
}

// lead runs and commits a group, and gives the writer back. It answers every job.
func (s *Store) lead(group []*job, run func(*job, *txn) error) {
	defer func() { <-s.writer }()
	results := make([]error, len(group))
	changed, err := s.commit(group, run, results)
	s.hub.publish(changed)
	for i, j := range group {
		if err != nil {
			// Also for those whose fn failed: it may have failed because of
			// what it saw of the others, and that did not happen.
			results[i] = err
		}
		j.done <- results[i]
	}
}

// commit fills results with what each fn said, and returns the keys that are
// on disk, or why none of it is.
func (s *Store) commit(group []*job, run func(*job, *txn) error, results []error) (changed [][]byte, err error) {
	s.mu.Lock()
	broken := s.broken
	s.mu.Unlock()
	if broken != nil {
		return nil, broken
	}
	var tx *bolt.Tx
	if err := s.locking(func() (err error) { tx, err = s.db.Begin(true); return err }); err != nil {
		return nil, err
	}
	committing := false
	defer func() {
		if !committing { // also if a fn panics here
			err = errors.Join(err, s.locking(tx.Rollback))
		}
	}()
	bucket := tx.Bucket(bucketData)
	for i, j := range group {
		t := &txn{s: s, bucket: bucket, over: &overlay{}}
		results[i] = run(j, t)
		if t.err != nil {
			results[i] = t.err
		}
		if results[i] != nil {
			continue
		}
		// After an error bbolt may have done a part of it, so the whole group is void.
		if err := s.guard(func() error { return t.over.apply(bucket) }); err != nil {
			return nil, err
		}
		changed = append(changed, t.over.keys...)
	}
	if len(changed) == 0 {
		return nil, nil
	}
	committing = true
	if err := s.locking(tx.Commit); err != nil {
		return nil, s.failed(err)
	}
	return changed, nil
}

// failed decides whether the store may be written after a commit failed. A full
// disk is found while data pages are written, before anything refers to them, so
// the next Update may try again. After any other failure nobody knows what the
// disk has: a later fsync would succeed without the pages an earlier one lost.
func (s *Store) failed(err error) error {
	var write *os.PathError
	full := errors.As(err, &write) && write.Op == "write" &&
		(errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT))
	if full {
		return fmt.Errorf("store %s: nothing was written, the disk is full: %w", s.path, err)
	}
	err = fmt.Errorf("store %s: a commit failed, so nothing is written until the store is opened again: %w", s.path, err)
	s.mu.Lock()
	s.broken = err
	s.mu.Unlock()
	return err
}

// guard calls f and makes errors of what bbolt does on a damaged or closed file:
// panic, or touch mapped pages that are not there.
func (s *Store) guard(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer s.caught(&err)
	if err := f(); errors.Is(err, berrors.ErrDatabaseNotOpen) {
		return store.ErrClosed
	} else {
		return err
	}
}

// caught, deferred, makes an error of a panic of bbolt's.
func (s *Store) caught(err *error) {
	if p := recover(); p != nil {
		*err = s.damaged(fmt.Sprint(p))
		s.mu.Lock()
		s.broken = *err
		s.mu.Unlock()
	}
}

// locking is guard for what takes or releases bbolt's locks: if that panics,
// nothing may wait for them again.
func (s *Store) locking(f func() error) error {
	sound := false
	defer func() {
		if !sound {
			s.mu.Lock()
			s.wedged = true
			s.mu.Unlock()
		}
	}()
	return s.guard(func() error {
		err := f()
		sound = true
		return err
	})
}

// damaged says what to do about it, which is never to start anew.
func (s *Store) damaged(what string) error { return damaged(s.path, what) }

func damaged(path, what string) error {
	return fmt.Errorf("%w: %s: %s. Nothing was changed. Stop every gatehouse that uses it, put the latest backup in its place, and start again", store.ErrDamaged, path, what)
}

// Watch is as in [store.Store].
func (s *Store) Watch(ctx context.Context, prefix []byte) iter.Seq[[]byte] {
	return s.hub.watch(ctx, bytes.Clone(prefix))
}

// castagnoli is the table of CRC-32C; it never changes.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

const sumSize = 4

func sum(key, val []byte) uint32 {
	return crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, val)
}

// pack makes the value that bbolt keeps.
func pack(key, val []byte) []byte {
	return append(binary.BigEndian.AppendUint32(make([]byte, 0, sumSize+len(val)), sum(key, val)), val...)
}

// unpack returns the value inside a packed one, without copying it.
func unpack(key, packed []byte) (val []byte, ok bool) {
	if len(packed) < sumSize {
		return nil, false
	}
	val = packed[sumSize:]
	return val, binary.BigEndian.Uint32(packed) == sum(key, val)
}
