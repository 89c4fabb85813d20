package audit

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/gatehouse-sso/gatehouse/provisioning/store"
	"github.com/gatehouse-sso/gatehouse/provisioning/store/boltstore"
)

var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

func open(t testing.TB) store.Store {
	t.Helper()
	st, err := boltstore.Open(filepath.Join(t.TempDir(), "audit.db"), boltstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	return st
}

func appendAll(t testing.TB, st store.Store, events ...Event) {
	t.Helper()
	l := New(func() time.Time { return noon })
	for _, e := range events {
		if err := st.Update(t.Context(), func(tx store.Tx) error { return l.Append(tx, e) }); err != nil {
			t.Fatal(err)
		}
	}
}

func read(t testing.TB, st store.Store, q Query) []Event {
	t.Helper()
	var all []Event
	for e, err := range Events(t.Context(), st, q) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, e)
	}
	return all
}

func seqs(events []Event) (all []uint64) {
	for _, e := range events {
		all = append(all, e.Seq)
	}
	return all
}

// What sha256sum says of the JSON of the two events of TestStoredFormOfAnEvent,
// without their last field and with < and > as they are.
const (
	first  = "77a2cad06bab34988179a7d797eafa604059865f86a1fbbf0537ace5ea0c4147"
	second = "d31b35695088e3b777b021ebb67dcf0fb6b673e9f87a5710da395a8c8d214801"
)

func TestStoredFormOfAnEvent(t *testing.T) {
	t.Parallel()
	st := open(t)
	appendAll(t, st,
		Event{Kind: "login", Flow: "F1", UserID: "u1", Provider: "campus", From: "192.0.2.1"},
		Event{Kind: "user.changed", Flow: "F1", UserID: "u1", By: "idp:campus", Names: []string{"mail", "<groups>"}, At: noon.Add(time.Second)},
	)
	var got strings.Builder
	if err := st.View(t.Context(), func(tx store.Tx) error {
		for p, err := range tx.Scan([]byte{0}, nil, 0) {
			if err != nil {
				return err
			}
			fmt.Fprintf(&got, "%q %s\n", p.Key, p.Val)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	want := `"audit\x00\x01h\x00\x01" {"seq":2,"hash":"` + second + `"}
"audit\x00\x01i\x00\x01flow\x00\x01F1\x00\x0118446744073709551613\x00\x01" 
"audit\x00\x01i\x00\x01flow\x00\x01F1\x00\x0118446744073709551614\x00\x01" 
"audit\x00\x01i\x00\x01kind\x00\x01login\x00\x0118446744073709551614\x00\x01" 
"audit\x00\x01i\x00\x01kind\x00\x01user.changed\x00\x0118446744073709551613\x00\x01" 
"audit\x00\x01i\x00\x01user\x00\x01u1\x00\x0118446744073709551613\x00\x01" 
"audit\x00\x01i\x00\x01user\x00\x01u1\x00\x0118446744073709551614\x00\x01" 
"audit\x00\x01r\x00\x0118446744073709551613\x00\x01" {"v":1,"row":{"seq":2,"at":"2026-11-21T12:00:01Z","kind":"user.changed","flow":"F1","user":"u1","by":"idp:campus","names":["mail","\u003cgroups\u003e"],"prev":"` + first + `","hash":"` + second + `"}}
"audit\x00\x01r\x00\x0118446744073709551614\x00\x01" {"v":1,"row":{"seq":1,"at":"2026-11-21T12:00:00Z","kind":"login","flow":"F1","user":"u1","provider":"campus","from":"192.0.2.1","prev":"","hash":"` + first + `"}}
`
	if diff := cmp.Diff(want, got.String()); diff != "" {
		t.Error(diff)
	}
}

func TestEventsAreFoundByFlowUserAndKindNewestFirst(t *testing.T) {
	t.Parallel()
	st := open(t)
	for i := range 450 {
		appendAll(t, st, Event{Kind: []string{"login", "denied"}[i%2], Flow: fmt.Sprintf("F%d", i/3), UserID: fmt.Sprintf("u%d", i%5)})
	}
	all := read(t, st, Query{})
	for q, want := range map[*Query]func(Event) bool{
		{}:                             func(Event) bool { return true },
		{Kind: "denied"}:               func(e Event) bool { return e.Kind == "denied" },
		{Flow: "F7"}:                   func(e Event) bool { return e.Flow == "F7" },
		{UserID: "u3"}:                 func(e Event) bool { return e.UserID == "u3" },
		{UserID: "u3", Kind: "login"}:  func(e Event) bool { return e.UserID == "u3" && e.Kind == "login" },
		{Flow: "F7", Kind: "login"}:    func(e Event) bool { return e.Flow == "F7" && e.Kind == "login" },
		{Flow: "F7", UserID: "nobody"}: func(Event) bool { return false },
		{Kind: "login", Before: 101}:   func(e Event) bool { return e.Kind == "login" && e.Seq < 101 },
		{Before: 1}:                    func(Event) bool { return false },
	} {
		var expected []uint64
		for i := len(all); i > 0; i-- {
			if e := all[len(all)-i]; want(e) {
				expected = append(expected, e.Seq)
			}
		}
		if diff := cmp.Diff(expected, seqs(read(t, st, *q))); diff != "" {
			t.Errorf("%+v: %s", *q, diff)
		}
		var paged []uint64
		for {
			page := *q
			page.Limit = 37
			if len(paged) > 0 {
				page.Before = paged[len(paged)-1]
			}
			got := seqs(read(t, st, page))
			paged = append(paged, got...)
			if len(got) < 37 {
				break
			}
		}
		if diff := cmp.Diff(expected, paged); diff != "" {
			t.Errorf("%+v by pages: %s", *q, diff)
		}
	}
	if len(all) != 450 || all[0].Seq != 450 || all[449].Seq != 1 {
		t.Errorf("%d events from %d", len(all), all[0].Seq)
	}
}

func TestWhatIsRolledBackIsNotRecorded(t *testing.T) {
	t.Parallel()
	st := open(t)
	appendAll(t, st, Event{Kind: "one"})
	undo := errors.New("undo")
	err := st.Update(t.Context(), func(tx store.Tx) error {
		if err := New(nil).Append(tx, Event{Kind: "two"}); err != nil {
			return err
		}
		return undo
	})
	if !errors.Is(err, undo) {
		t.Fatal(err)
	}
	appendAll(t, st, Event{Kind: "three"})
	if got := read(t, st, Query{}); len(got) != 2 || got[0].Seq != 2 || got[0].Kind != "three" {
		t.Errorf("%+v", got)
	}
	if err := Verify(t.Context(), st); err != nil {
		t.Error(err)
	}
}

func TestParallelAppendsMakeOneChain(t *testing.T) {
	t.Parallel()
	st := open(t)
	l := New(nil)
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() {
			if err := st.Update(context.Background(), func(tx store.Tx) error {
				return l.Append(tx, Event{Kind: "k", UserID: fmt.Sprint(i)})
			}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if err := Verify(t.Context(), st); err != nil {
		t.Error(err)
	}
	if got := read(t, st, Query{}); len(got) != 100 || got[0].Seq != 100 {
		t.Errorf("%d events", len(got))
	}
}

func TestAnEventWithoutAKindIsRefused(t *testing.T) {
	t.Parallel()
	st := open(t)
	if err := st.Update(t.Context(), func(tx store.Tx) error { return New(nil).Append(tx, Event{Text: "x"}) }); err == nil {
		t.Error("accepted")
	}
	appendAll(t, st, Event{Kind: "x"})
}

func TestVerifyFindsTampering(t *testing.T) {
	t.Parallel()
	get := func(tx store.Tx, seq uint64) Event {
		e, ok, err := events.Get(tx, rowKey(seq))
		if err != nil || !ok {
			t.Fatal(ok, err)
		}
		return e
	}
	change := func(seq uint64, fn func(*Event)) func(store.Tx) error {
		return func(tx store.Tx) error {
			e := get(tx, seq)
			fn(&e)
			return events.Put(tx, e)
		}
	}
	for name, tamper := range map[string]func(store.Tx) error{
		"changed":           change(3, func(e *Event) { e.UserID = "somebody else" }),
		"changed, rehashed": change(3, func(e *Event) { e.Code = "x"; e.Hash = hash(*e) }),
		"time moved":        change(4, func(e *Event) { e.At = e.At.Add(time.Hour) }),
		"name added":        change(2, func(e *Event) { e.Names = append(e.Names, "mail") }),
		"hash changed":      change(5, func(e *Event) { e.Hash = strings.Repeat("0", 64) }),
		"first changed":     change(1, func(e *Event) { e.Kind = "x" }),
		"removed":           func(tx store.Tx) error { return events.Delete(tx, rowKey(3)) },
		"first removed":     func(tx store.Tx) error { return events.Delete(tx, rowKey(1)) },
		"newest removed":    func(tx store.Tx) error { return events.Delete(tx, rowKey(5)) },
		"head removed":      func(tx store.Tx) error { return tx.Delete(headKey) },
		"head put back": func(tx store.Tx) error {
			return tx.Put(headKey, fmt.Appendf(nil, `{"seq":4,"hash":%q}`, get(tx, 4).Hash))
		},
		"all but head removed": func(tx store.Tx) error {
			for seq := range uint64(5) {
				if err := events.Delete(tx, rowKey(seq+1)); err != nil {
					return err
				}
			}
			return nil
		},
		"one added": func(tx store.Tx) error {
			e := get(tx, 5)
			e.Seq, e.Prev = 6, e.Hash
			e.Hash = hash(e)
			return events.Put(tx, e)
		},
		"two swapped": func(tx store.Tx) error {
			a, b := get(tx, 2), get(tx, 3)
			a.Seq, b.Seq = b.Seq, a.Seq
			return errors.Join(events.Put(tx, a), events.Put(tx, b))
		},
		"two swapped, rehashed": func(tx store.Tx) error {
			a, b := get(tx, 2), get(tx, 3)
			a.Seq, b.Seq = b.Seq, a.Seq
			b.Prev = a.Prev
			b.Hash = hash(b)
			a.Prev = b.Hash
			a.Hash = hash(a)
			return errors.Join(events.Put(tx, a), events.Put(tx, b))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			st := open(t)
			for i := range 5 {
				appendAll(t, st, Event{Kind: "k", UserID: fmt.Sprint("u", i), Names: []string{"a"}})
			}
			if err := Verify(t.Context(), st); err != nil {
				t.Fatalf("before: %v", err)
			}
			if err := st.Update(t.Context(), tamper); err != nil {
				t.Fatal(err)
			}
			if err := Verify(t.Context(), st); !errors.Is(err, ErrTampered) {
				t.Errorf("not found: %v", err)
			}
		})
	}
	if err := Verify(t.Context(), open(t)); err != nil {
		t.Errorf("empty: %v", err)
	}
}

func TestTextIsBoundedAndOnOneLine(t *testing.T) {
	t.Parallel()
	st := open(t)
	long := strings.Repeat("ü", 5000)
	names := make([]string, 500)
	for i := range names {
		names[i] = long
	}
	appendAll(t, st, Event{Kind: "login\n2026 login", Text: "a\x1b[31mb\u202ec\x00\xff d", UserID: long, Names: names,
		At: time.Date(20000, 1, 1, 0, 0, 0, 0, time.UTC)}, Event{Kind: "x", Text: long})
	got := read(t, st, Query{})
	if e := got[1]; e.Kind != `login\n2026 login` || e.Text != `a\x1b[31mb\u202ec\x00\xff d` {
		t.Errorf("%q %q", e.Kind, e.Text)
	}
	if e := got[1]; len(e.UserID) > MaxWord || len(e.Names) != MaxNames+1 || len(e.Names[0]) > MaxWord {
		t.Errorf("%d %d", len(e.UserID), len(e.Names))
	}
	if e := got[0]; len(e.Text) > MaxText || len(e.Text) < MaxText-4 || !strings.HasSuffix(e.Text, "ü…") {
		t.Errorf("%d …%q", len(e.Text), e.Text[len(e.Text)-5:])
	}
	if err := Verify(t.Context(), st); err != nil {
		t.Error(err)
	}
}

func TestEscapeIsBoundedValidAndVisible(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := string(rapid.SliceOf(rapid.Byte()).Draw(t, "bytes")) + rapid.String().Draw(t, "text")
		limit := rapid.IntRange(3, 40).Draw(t, "limit")
		got := Escape(s, limit)
		if len(got) > limit || !utf8.ValidString(got) || strings.ContainsFunc(got, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			t.Fatalf("%q → %q", s, got)
		}
		if again := Escape(got, limit); again != got {
			t.Fatalf("%q → %q → %q", s, got, again)
		}
	})
}

func BenchmarkAppend(b *testing.B) {
	st := open(b)
	l := New(nil)
	for b.Loop() {
		if err := st.Update(b.Context(), func(tx store.Tx) error {
			return l.Append(tx, Event{Kind: "login", Flow: "F", UserID: "u", Provider: "campus"})
		}); err != nil {
			b.Fatal(err)
		}
	}
}
