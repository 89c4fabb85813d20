// Package audit is the record of what happened: appended, never changed.
//
// An [Event] is written in the transaction that does what it tells of, so there
// is no deed without its record and no record of what did not happen. It names
// people by our IDs and attributes by name; values are not kept.
//
// Each row holds the hash of the one before it and of itself:
//
//	prev₁ = ""           hash₁ = SHA-256(canonical JSON of event 1 with prev₁)
//	prevₙ = hashₙ₋₁      hashₙ = SHA-256(canonical JSON of event n with prevₙ)
//	head  = (n, hashₙ)
//
// [Verify] finds a row that was changed, removed, added or put elsewhere. It can
// not find that somebody who may write the store made the whole chain again;
// for that the last hash is to be kept in another place too.
//
// It knows neither users nor policies: whoever acts makes the Event.
package audit

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/gatehouse-sso/gatehouse/provisioning/store"
)

// An Event is one thing that happened. What is empty is not known or does not apply.
type Event struct {
	Seq      uint64    `json:"seq"`            // from 1, without gaps; given by Append
	At       time.Time `json:"at"`             // when; zero: given by Append. Order is Seq's, whatever the clock does
	Kind     string    `json:"kind"`           // login, login.refused, denied, user.changed, session.ended, …
	Code     string    `json:"code,omitempty"` // reason code
	Flow     string    `json:"flow,omitempty"` // support code
	UserID   string    `json:"user,omitempty"`
	By       string    `json:"by,omitempty"` // who did it: a source, or an administrator's user ID
	Service  string    `json:"service,omitempty"`
	Provider string    `json:"provider,omitempty"`
	Target   string    `json:"target,omitempty"`
	From     string    `json:"from,omitempty"` // network address
	Text     string    `json:"text,omitempty"`
	Names    []string  `json:"names,omitempty"` // of attributes, not their values
	Prev     string    `json:"prev"`            // hash of the event before; given by Append
	Hash     string    `json:"hash,omitempty"`  // given by Append
}

// Limits of an Event's parts, in bytes once control characters are escaped. What
// is longer is cut, and ends in "…".
const (
	MaxWord  = 128
	MaxText  = 1024
	MaxNames = 200
)

// ErrTampered is what Verify's errors are, by errors.Is, if the record is not
// what was written.
var ErrTampered = errors.New("audit: the record was tampered with")

// A TamperedError says where the chain does not hold.
type TamperedError struct {
	Seq  uint64 // the event at which it was noticed
	Text string
}

func (e *TamperedError) Error() string {
	return fmt.Sprintf("%v: event %d: %s", ErrTampered, e.Seq, e.Text)
}

// Is reports ErrTampered.
func (e *TamperedError) Is(target error) bool { return target == ErrTampered }

// Keys are the sequence number counted down, so that the newest come first.
var events = &store.Table[Event]{
	Name: "audit",
	Key:  func(e Event) string { return rowKey(e.Seq) },
	Index: map[string]func(Event) []string{
		"flow": func(e Event) []string { return some(e.Flow) },
		"kind": func(e Event) []string { return some(e.Kind) },
		"user": func(e Event) []string { return some(e.UserID) },
	},
}

func some(s string) []string {
	if s == "" {
		return nil
	}
	return []string{s}
}

func rowKey(seq uint64) string { return fmt.Sprintf("%020d", math.MaxUint64-seq) }

// head is the end of the chain.
type head struct {
	Seq  uint64 `json:"seq"`
	Hash string `json:"hash"`
}

var headKey = store.Key("audit", "h")

func readHead(tx store.Tx) (h head, err error) {
	b, ok, err := tx.Get(headKey)
	if err != nil || !ok {
		return head{}, err
	}
	if err := json.Unmarshal(b, &h); err != nil {
		return head{}, fmt.Errorf("%w: the head of the audit record can not be read: %w", store.ErrDamaged, err)
	}
	return h, nil
}

// A Log appends.
type Log struct{ now func() time.Time }

// New makes a Log; nil is time.Now.
func New(now func() time.Time) *Log {
	if now == nil {
		now = time.Now
	}
	return &Log{now}
}

// Append writes an event in the caller's transaction, with five keys at most.
// An event without a kind is an error.
func (l *Log) Append(tx store.Tx, e Event) error {
	if e.Kind == "" {
		return errors.New("audit: an event has no kind")
	}
	h, err := readHead(tx)
	if err != nil {
		return err
	}
	if e.At.IsZero() {
		e.At = l.now()
	}
	e = clean(e)
	e.Seq, e.Prev = h.Seq+1, h.Hash
	e.Hash = hash(e)
	if err := events.Put(tx, e); err != nil {
		return fmt.Errorf("append to the audit record: %w", err)
	}
	b, err := json.Marshal(head{e.Seq, e.Hash})
	if err != nil {
		return err
	}
	return tx.Put(headKey, b)
}

// hash is over the canonical JSON: the fields in their order, without Hash.
func hash(e Event) string {
	e.Hash = ""
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(e); err != nil {
		// Strings, integers and a time of a year with four digits: see clean.
		panic(err)
	}
	sum := sha256.Sum256(bytes.TrimSuffix(b.Bytes(), []byte("\n")))
	return hex.EncodeToString(sum[:])
}

// clean makes an event safe to store and to print on one line.
func clean(e Event) Event {
	e.At = e.At.UTC().Truncate(time.Millisecond)
	if y := e.At.Year(); y < 0 || y > 9999 {
		e.At = time.Time{}
	}
	for _, word := range []*string{&e.Kind, &e.Code, &e.Flow, &e.UserID, &e.By, &e.Service, &e.Provider, &e.Target, &e.From} {
		*word = Escape(*word, MaxWord)
	}
	e.Text = Escape(e.Text, MaxText)
	names := e.Names
	e.Names = nil
	for i, name := range names {
		if i == MaxNames {
			e.Names = append(e.Names, "…")
			break
		}
		e.Names = append(e.Names, Escape(name, MaxWord))
	}
	return e
}

// Escape writes what can not be seen, or is no UTF-8, as Go does in a quoted
// string, and cuts what is longer than limit bytes.
func Escape(s string, limit int) string {
	var b strings.Builder
	fits := 0 // bytes after which there is still room for "…"
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		piece := s[i : i+n]
		if r == utf8.RuneError && n == 1 {
			piece = fmt.Sprintf(`\x%02x`, s[i])
		} else if r != ' ' && !strconv.IsPrint(r) {
			piece = strings.Trim(strconv.QuoteRuneToASCII(r), "'")
		}
		if b.Len()+len(piece) > limit {
			return b.String()[:fits] + "…"
		}
		b.WriteString(piece)
		if b.Len() <= limit-len("…") {
			fits = b.Len()
		}
		i += n
	}
	return b.String()
}

// A Query selects events. All that is given must hold.
type Query struct {
	Flow, UserID, Kind string
	Before             uint64 // only events with a lower Seq; 0: from the newest
	Limit              int    // at most; 0: all
}

// wants is needed beside the index, which covers one field.
func (q Query) wants(e Event) bool {
	return (q.Flow == "" || e.Flow == q.Flow) && (q.UserID == "" || e.UserID == q.UserID) && (q.Kind == "" || e.Kind == q.Kind)
}

// scan reads with the index that leaves least.
func (q Query) scan(tx store.Tx, after string, n int) iter.Seq2[Event, error] {
	switch {
	case q.Flow != "":
		return events.Find(tx, "flow", q.Flow, after, n)
	case q.UserID != "":
		return events.Find(tx, "user", q.UserID, after, n)
	case q.Kind != "":
		return events.Find(tx, "kind", q.Kind, after, n)
	}
	return events.All(tx, after, n)
}

// Events yields what a query selects, the newest first. It reads pages, each in
// a transaction of its own; what is appended meanwhile is not among them.
func Events(ctx context.Context, st store.Store, q Query) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		got := 0
		for e, err := range walk(ctx, st, q) {
			if err != nil {
				yield(Event{}, fmt.Errorf("read the audit record: %w", err))
				return
			}
			if !q.wants(e) {
				continue
			}
			if !yield(e, nil) {
				return
			}
			if got++; got == q.Limit {
				return
			}
		}
	}
}

// pageSize events are read in one transaction.
const pageSize = 200

func walk(ctx context.Context, st store.Store, q Query) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		after := ""
		if q.Before > 0 {
			after = rowKey(q.Before)
		}
		for {
			var page []Event
			err := st.View(ctx, func(tx store.Tx) error {
				page = page[:0]
				for e, err := range q.scan(tx, after, pageSize) {
					if err != nil {
						return err
					}
					page = append(page, e)
				}
				return nil
			})
			if err != nil {
				yield(Event{}, err)
				return
			}
			for _, e := range page {
				if !yield(e, nil) {
					return
				}
				after = rowKey(e.Seq)
			}
			if len(page) < pageSize {
				return
			}
		}
	}
}

// Verify follows the chain from the head to the first event. An error that is
// ErrTampered is a *TamperedError. What is appended meanwhile is not looked at.
func Verify(ctx context.Context, st store.Store) error {
	var h head
	if err := st.View(ctx, func(tx store.Tx) (err error) {
		if h, err = readHead(tx); err != nil {
			return err
		}
		newest := uint64(0)
		for e, err := range events.All(tx, "", 1) {
			if err != nil {
				return err
			}
			newest = e.Seq
		}
		if newest != h.Seq {
			return &TamperedError{max(newest, h.Seq), fmt.Sprintf("the newest event is %d, and the head says %d", newest, h.Seq)}
		}
		return nil
	}); err != nil {
		return fmt.Errorf("verify the audit record: %w", err)
	}
	seq, want := h.Seq, h.Hash
	for e, err := range walk(ctx, st, Query{Before: h.Seq + 1}) {
		if err != nil {
			return fmt.Errorf("verify the audit record: %w", err)
		}
		switch {
		case e.Seq != seq:
			return &TamperedError{seq, fmt.Sprintf("it is missing; event %d is in its place", e.Seq)}
		case hash(e) != e.Hash:
			return &TamperedError{seq, "it was changed"}
		case e.Hash != want:
			return &TamperedError{seq, "it is not the one that the event after it was written behind"}
		}
		seq, want = seq-1, e.Prev
	}
	if seq != 0 || want != "" {
		return &TamperedError{seq, "it is missing, or what is first was not the first"}
	}
	return nil
}
