package session

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/gatehouse-sso/gatehouse/provisioning/store"
	"github.com/gatehouse-sso/gatehouse/provisioning/store/boltstore"
	"github.com/gatehouse-sso/gatehouse/provisioning/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const home = "gate.example.org"

func open(t testing.TB) store.Store {
	t.Helper()
	st, err := boltstore.Open(filepath.Join(t.TempDir(), "x.db"), boltstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	return st
}

// bed is a Store that runs, in a bubble of its own time.
type bed struct {
	*Store
	t     testing.TB
	st    store.Store
	ended *sync.Map
	stop  func()
}

// cookieFor gets a cookie value of a host for a session, as a browser does.
func (b *bed) cookieFor(id, host string) (string, error) {
	browser := Nonce()
	ticket, err := b.Offer(b.t.Context(), id, host, Binding(browser))
	if err != nil {
		return "", err
	}
	cookie, err := b.Redeem(b.t.Context(), ticket, host, browser)
	return cookie, err
}

func newBed(t testing.TB, st store.Store, c Config) *bed {
	t.Helper()
	b := &bed{t: t, st: st, ended: &sync.Map{}}
	c.Store = st
	if c.Ended == nil {
		c.Ended = func(id string) { b.ended.Store(id, true) }
	}
	b.Store = New(c)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); b.Run(ctx) }()
	b.stop = sync.OnceFunc(func() { cancel(); <-done })
	t.Cleanup(b.stop)
	synctest.Wait()
	return b
}

// begin begins a session and returns the cookie's value.
func (s *Store) begin(ctx context.Context, row *Row, host, before string) (string, error) {
	b := s.Beginning(*row, host, before)
	err := s.Begin(ctx, b)
	*row = b.Row
	return b.Cookie, err
}

// signIn signs in as the gateway does, in place of what the browser had.
func (b *bed) signIn(user string, had *http.Cookie) (*http.Cookie, string) {
	b.t.Helper()
	r := request(had)
	g, err := b.New(r, home)
	if err != nil {
		b.t.Fatal(err)
	}
	Sign(g, Row{Session: Session{UserID: user, Provider: "campus"}})
	w := httptest.NewRecorder()
	if err := g.Save(r, w); err != nil {
		b.t.Fatal(err)
	}
	if len(w.Result().Cookies()) != 1 {
		b.t.Fatalf("cookies are %v", w.Result().Cookies())
	}
	return w.Result().Cookies()[0], g.ID
}

func request(cookies ...*http.Cookie) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "https://"+home+"/", nil)
	for _, ck := range cookies {
		if ck != nil {
			r.AddCookie(ck)
		}
	}
	return r
}

func (b *bed) is(ck *http.Cookie, host, user string) {
	b.t.Helper()
	s, err := b.Lookup(request(ck), host)
	switch {
	case user == "" && !errors.Is(err, ErrNone):
		b.t.Errorf("want nobody, got %+v, %v", s, err)
	case user != "" && (err != nil || s.UserID != user):
		b.t.Errorf("want %s, got %+v, %v", user, s, err)
	}
}

func (b *bed) stored(id string) Row {
	b.t.Helper()
	row, err := b.row(b.t.Context(), id)
	if err != nil {
		b.t.Fatal(err)
	}
	return row
}

// bubble runs a test in time of its own.
func bubble(t *testing.T, fn func(t *testing.T)) {
	t.Parallel()
	synctest.Test(t, fn)
}

func TestT07_IdleTimeEndsAtItsSecondAndEachUseBeginsItAnew(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBed(t, open(t), Config{})
		ck, id := b.signIn("alice", nil)
		for range 5 {
			time.Sleep(30*time.Minute - time.Nanosecond)
			b.is(ck, home, "alice")
		}
		time.Sleep(30 * time.Minute)
		if _, err := b.Peek(t.Context(), id); !errors.Is(err, ErrNone) {
			t.Errorf("Peek says %v", err)
		}
		b.is(ck, home, "")
		// The sweep takes it away.
		time.Sleep(3*SeenEvery + time.Second)
		if list, err := b.Find(t.Context(), Filter{User: "alice"}, "", 0); err != nil || len(list) != 0 {
			t.Errorf("%v, %v are left", list, err)
		}
	})
}

func TestT07_LifetimeEndsAtItsSecondHoweverUsed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBed(t, open(t), Config{Lifetime: time.Hour})
		ck, _ := b.signIn("alice", nil)
		for range 59 {
			time.Sleep(time.Minute)
			b.is(ck, home, "alice")
		}
		time.Sleep(time.Minute - time.Nanosecond)
		b.is(ck, home, "alice")
		time.Sleep(time.Nanosecond)
		b.is(ck, home, "")

		// What the identity provider says can only be shorter.
		for until, want := range map[time.Duration]time.Duration{10 * time.Minute: 10 * time.Minute, 9 * time.Hour: time.Hour, 0: time.Hour} {
			row := Row{Session: Session{UserID: "bob"}}
			if until > 0 {
				row.Until = time.Now().Add(until)
			}
			if _, err := b.begin(t.Context(), &row, home, ""); err != nil {
				t.Fatal(err)
			}
			if got := row.Until.Sub(row.Created); got != want {
				t.Errorf("asserted for %s, lives for %s, want %s", until, got, want)
			}
		}
	})
}

func TestPeekIsNoUse(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBed(t, open(t), Config{})
		ck, id := b.signIn("alice", nil)
		time.Sleep(20 * time.Minute)
		if _, err := b.Peek(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Minute)
		b.is(ck, home, "")
	})
}

func TestLastUseIsWrittenBehindAndSurvivesARestart(t *testing.T) {
	bubble(t, func(t *testing.T) {
		st := open(t)
		counted := &counting{Store: st}
		b := newBed(t, counted, Config{})
		ck, id := b.signIn("alice", nil)
		begun := time.Now()
		time.Sleep(30 * time.Second)
		writes := counted.n.Load()
		for range 1000 {
			b.is(ck, home, "alice")
		}
		if n := counted.n.Load() - writes; n != 0 {
			t.Errorf("a thousand uses cost %d writes", n)
		}
		if got := b.stored(id).Seen; !got.Equal(begun) {
			t.Errorf("stored at once: %s", got)
		}
		time.Sleep(SeenEvery)
		if got := b.stored(id).Seen; !got.Equal(begun.Add(30 * time.Second)) {
			t.Errorf("a minute later %s is stored", got.Sub(begun))
		}
		if n := counted.n.Load() - writes; n != 1 {
			t.Errorf("%d writes for one session that was used", n)
		}
		// What was not written is when the process ends.
		time.Sleep(10 * time.Second)
		b.is(ck, home, "alice")
		b.stop()
		if got := b.stored(id).Seen; !got.Equal(begun.Add(100 * time.Second)) {
			t.Errorf("at the end %s is stored", got.Sub(begun))
		}
		c := newBed(t, st, Config{})
		time.Sleep(30*time.Minute - time.Second)
		c.is(ck, home, "alice")
	})
}

func TestTheFirstPageAfterASignInIsNotWrittenOnceMore(t *testing.T) {
	bubble(t, func(t *testing.T) {
		counted := &counting{Store: open(t)}
		b := newBed(t, counted, Config{})
		ck, id := b.signIn("alice", nil)
		begun, writes := time.Now(), counted.n.Load()
		time.Sleep(seenNear)
		b.is(ck, home, "alice")
		time.Sleep(2 * SeenEvery)
		if n := counted.n.Load() - writes; n != 0 || !b.stored(id).Seen.Equal(begun) {
			t.Errorf("%d writes, stored is %v after the beginning", n, b.stored(id).Seen.Sub(begun))
		}
		// It counts all the same.
		time.Sleep(28*time.Minute - time.Nanosecond)
		b.is(ck, home, "alice")
		// Any later one is written.
		time.Sleep(SeenEvery)
		if got := b.stored(id).Seen.Sub(begun); got != seenNear+30*time.Minute-time.Nanosecond {
			t.Errorf("stored is %v after the beginning", got)
		}
	})
}

// D12: sessions that end leave nothing behind, so that a store does not grow with the
// years but with who is there at a time.
func TestD12_AStoreGrowsWithWhoIsThereAndNotWithTheYears(t *testing.T) {
	bubble(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "x.db")
		st, err := boltstore.Open(path, boltstore.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = st.Close() })
		b := newBed(t, st, Config{Idle: 10 * time.Minute, Lifetime: time.Hour, PerUser: 1 << 30})
		days, people := 4, 40
		if os.Getenv("GATEHOUSE_FAULTS") != "" {
			days, people = 100, 1000
		}
		var sizes []int64
		for range days {
			var wg sync.WaitGroup
			for i := range people {
				wg.Go(func() { b.signIn(fmt.Sprint("user ", i), nil) })
			}
			wg.Wait()
			if n, err := b.Count(t.Context()); err != nil || n != people {
				t.Errorf("%d sessions of %d people, %v", n, people, err)
			}
			time.Sleep(2 * time.Hour)
			synctest.Wait()
			if n, err := b.Count(t.Context()); err != nil || n != 0 {
				t.Errorf("%d sessions a long time after their end, %v", n, err)
			}
			if left := rows(t, st); left > 0 {
				t.Errorf("%d rows are left of them", left)
			}
			info, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			sizes = append(sizes, info.Size())
		}
		if first, last := sizes[1], sizes[len(sizes)-1]; last > first*3/2 {
			t.Errorf("the file grew from %d to %d bytes: %v", first, last, sizes)
		}
	})
}

// rows counts what is stored of sessions, their indexes with them.
func rows(t *testing.T, st store.Store) (n int) {
	t.Helper()
	if err := st.View(t.Context(), func(tx store.Tx) error {
		for _, err := range tx.Scan(nil, nil, 0) {
			if err != nil {
				return err
			}
			n++
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestForgettingARowDoesNotMakeItsSessionIdle(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBed(t, &refusing{Store: open(t)}, Config{})
		ck, id := b.signIn("alice", nil)
		no := b.st.(*refusing)
		no.writes.Store(true) // the last use stays in memory
		time.Sleep(29 * time.Minute)
		b.is(ck, home, "alice")
		for _, forget := range []func(){func() { b.forget(id) }, func() { b.forgetAll(true) }, func() { b.forgetAll(false) }} {
			forget()
			time.Sleep(29 * time.Minute)
			if _, err := b.Peek(t.Context(), id); err != nil {
				t.Errorf("Peek says %v", err)
			}
			b.is(ck, home, "alice")
		}
		no.writes.Store(false)
		time.Sleep(2 * SeenEvery)
		if got := b.stored(id).Seen; time.Since(got) > 3*SeenEvery {
			t.Errorf("%s ago is stored", time.Since(got))
		}
		// What is over and written is let go of.
		b.forgetAll(false)
		time.Sleep(2 * SeenEvery)
		b.mu.Lock()
		defer b.mu.Unlock()
		if len(b.uses) != 0 {
			t.Errorf("%d uses are kept", len(b.uses))
		}
	})
}

// refusing is a store that may have no room.
type refusing struct {
	store.Store
	writes atomic.Bool
}

func (r *refusing) Update(ctx context.Context, fn func(store.Tx) error) error {
	if r.writes.Load() {
		return errors.New("no room")
	}
	return r.Store.Update(ctx, fn)
}

// counting counts transactions that write.
type counting struct {
	store.Store
	n, reads atomic.Int64
}

func (c *counting) Update(ctx context.Context, fn func(store.Tx) error) error {
	c.n.Add(1)
	return c.Store.Update(ctx, fn)
}

func (c *counting) View(ctx context.Context, fn func(store.Tx) error) error {
	c.reads.Add(1)
	return c.Store.View(ctx, fn)
}

func TestAKnownSessionIsLookedUpWithoutTheStore(t *testing.T) {
	bubble(t, func(t *testing.T) {
		counted := &counting{Store: open(t)}
		b := newBed(t, counted, Config{})
		ck, _ := b.signIn("alice", nil)
		synctest.Wait()
		b.is(ck, home, "alice")
		before := counted.reads.Load()
		b.is(ck, home, "alice")
		if n := counted.reads.Load() - before; n != 0 {
			t.Errorf("%d reads for a session that is remembered", n)
		}
		// Without Run nobody would say that it ended, so nothing is remembered.
		b.stop()
		before = counted.reads.Load()
		b.is(ck, home, "alice")
		b.is(ck, home, "alice")
		if n := counted.reads.Load() - before; n != 2 {
			t.Errorf("%d reads for two lookups of a store that does not run", n)
		}
	})
}

// Hashes begin alike once in a universe, and then nobody gets another's session.
func TestKeysThatBeginAlikeAreNotTakenForEachOther(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBed(t, open(t), Config{})
		_, alice := b.signIn("alice", nil)
		_, bob := b.signIn("bob", nil)
		sums := map[string][32]byte{alice: {0: 1, 31: 1}, bob: {0: 1, 31: 2}}
		for id, sum := range sums {
			if err := b.st.Update(t.Context(), func(tx store.Tx) error {
				return keyRows.Insert(tx, key{encode(sum[:]), home, id, time.Now()})
			}); err != nil {
				t.Fatal(err)
			}
		}
		at := func(id string) *door {
			d, gen := b.door(sums[id])
			if d != nil {
				return d
			}
			d, err := b.load(t.Context(), sums[id], gen)
			if err != nil {
				t.Fatal(err)
			}
			return d
		}
		for range 3 {
			for id := range sums {
				if d := at(id); d.of.ID != id {
					t.Fatalf("the key of %s leads to %s", id, d.of.ID)
				}
			}
		}
		doors := 0
		for d := at(alice).of.keys; d != nil; d = d.next {
			doors++
		}
		if doors != 2 {
			t.Errorf("alice has %d keys in memory", doors)
		}
		at(bob)
		b.forget(alice)
		if d, _ := b.door(sums[bob]); d == nil || d.of.ID != bob {
			t.Error("bob's key went with alice's")
		}
		if d, _ := b.door(sums[alice]); d != nil {
			t.Errorf("alice's key leads to %s", d.of.ID)
		}
	})
}

// Who is here is not read: only what is not in memory, or was not used for long.
func TestSweepReadsNoRowOfWhoIsHere(t *testing.T) {
	bubble(t, func(t *testing.T) {
		st := &getting{Store: open(t)}
		b := newBed(t, st, Config{})
		ck, alice := b.signIn("alice", nil)
		_, bob := b.signIn("bob", nil)
		for range 40 {
			time.Sleep(time.Minute)
			b.is(ck, home, "alice")
		}
		synctest.Wait()
		reads := func() int64 {
			before := st.n.Load()
			b.sweep(t.Context())
			return st.n.Load() - before
		}
		if n := reads(); n != 0 {
			t.Errorf("%d rows are read where only alice is left", n)
		}
		if _, err := b.Row(t.Context(), bob); !errors.Is(err, ErrNone) {
			t.Errorf("bob, who did not come: %v", err)
		}
		b.forget(alice)
		if n := reads(); n != 1 {
			t.Errorf("%d rows are read of one that is not in memory", n)
		}
		b.is(ck, home, "alice")
	})
}

// getting counts the rows that reading transactions get.
type getting struct {
	store.Store
	n atomic.Int64
}

func (g *getting) View(ctx context.Context, fn func(store.Tx) error) error {
	return g.Store.View(ctx, func(tx store.Tx) error { return fn(gettingTx{tx, g}) })
}

type gettingTx struct {
	store.Tx
	g *getting
}

func (tx gettingTx) Get(key []byte) ([]byte, bool, error) {
	tx.g.n.Add(1)
	return tx.Tx.Get(key)
}

func TestT02_WhatEndsOnOneReplicaEndsOnAll(t *testing.T) {
	bubble(t, func(t *testing.T) {
		st := open(t)
		a, b := newBed(t, st, Config{}), newBed(t, st, Config{})
		ck, id := a.signIn("alice", nil)
		a.is(ck, home, "alice")
		b.is(ck, home, "alice")
		if err := a.End(t.Context(), id, ReasonAdmin); err != nil {
			t.Fatal(err)
		}
		a.is(ck, home, "")
		synctest.Wait()
		b.is(ck, home, "")
		if _, told := b.ended.Load(id); !told {
			t.Error("nobody was told on the other replica")
		}
		// Used on one, it is not idle on the other.
		ck, _ = a.signIn("alice", nil)
		b.is(ck, home, "alice")
		time.Sleep(20 * time.Minute)
		a.is(ck, home, "alice")
		time.Sleep(15 * time.Minute)
		b.is(ck, home, "alice")
	})
}

func TestT01_ASignInEndsTheSessionThatTheBrowserHad(t *testing.T) {
	bubble(t, func(t *testing.T) {
		st := &refusing{Store: open(t)}
		b := newBed(t, st, Config{})
		first, before := b.signIn("alice", nil)
		second, after := b.signIn("bob", first)
		if before == after || first.Value == second.Value {
			t.Fatal("it is the same session")
		}
		b.is(first, home, "")
		b.is(second, home, "bob")
		if list, _ := b.Find(t.Context(), Filter{User: ""}, "", 0); len(list) != 1 {
			t.Errorf("%d sessions are stored", len(list))
		}
		// If the sign-in can not be stored, the one before goes on.
		st.writes.Store(true)
		r := request(second)
		g, err := b.New(r, home)
		if err != nil {
			t.Fatal(err)
		}
		Sign(g, Row{Session: Session{UserID: "carol"}})
		w := httptest.NewRecorder()
		if err := g.Save(r, w); err == nil || len(w.Result().Cookies()) > 0 {
			t.Errorf("error %v, cookies %v", err, w.Result().Cookies())
		}
		b.is(second, home, "bob")
	})
}

func TestTheOldestOfTooManySessionsEnds(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBed(t, open(t), Config{PerUser: 3})
		var all []*http.Cookie
		for range 5 {
			ck, _ := b.signIn("alice", nil)
			all = append(all, ck)
			time.Sleep(time.Minute)
		}
		other, _ := b.signIn("bob", nil)
		for i, ck := range all {
			b.is(ck, home, map[bool]string{true: "alice"}[i >= 2])
		}
		b.is(other, home, "bob")
		// Tabs that sign in together are one browser: whichever cookie stays
		// must be good.
		all = all[:0]
		for range 6 {
			ck, _ := b.signIn("carol", nil)
			all = append(all, ck)
		}
		for _, ck := range all {
			b.is(ck, home, "carol")
		}
		time.Sleep(time.Minute)
		b.signIn("carol", nil)
		if list, _ := b.Find(t.Context(), Filter{User: "carol"}, "", 0); len(list) != 3 {
			t.Errorf("carol has %d sessions", len(list))
		}
	})
}

// stumbling refuses all but the next few writes, where it is told to.
type stumbling struct {
	store.Store
	works *int
}

func (s *stumbling) Update(ctx context.Context, fn func(store.Tx) error) error {
	if s.works != nil {
		if *s.works--; *s.works < 0 {
			return errors.New("the disk is full")
		}
	}
	return s.Store.Update(ctx, fn)
}

// Who has begun a session is told so, though the store refuses to end an old one: that
// goes when they sign in next.
func TestR04_ASignInIsNotRefusedForAnOldSessionThatStays(t *testing.T) {
	bubble(t, func(t *testing.T) {
		st := &stumbling{Store: open(t)}
		b := newBed(t, st, Config{PerUser: 2})
		for range 2 {
			b.signIn("alice", nil)
			time.Sleep(TicketLife)
		}
		one := 1
		st.works = &one
		ck, id := b.signIn("alice", nil)
		if s, err := b.Lookup(request(ck), home); err != nil || s.ID != id {
			t.Fatalf("the session that began: %v", err)
		}
		st.works = nil
		time.Sleep(TicketLife)
		b.signIn("alice", nil)
		if left, err := b.Find(t.Context(), Filter{User: "alice"}, "", 0); err != nil || len(left) != 2 {
			t.Errorf("%d sessions are left, %v", len(left), err)
		}
	})
}

// Who opened a host is known for a month, also when they are signed out, and then
// no more.
func TestVisitsOutliveSessionsAndEnd(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBed(t, open(t), Config{})
		visit := func(user, host string) string {
			_, id := b.signIn(user, nil)
			if _, err := b.cookieFor(id, host); err != nil {
				t.Fatal(err)
			}
			return id
		}
		is := func(host string, want ...string) {
			t.Helper()
			got, err := b.Visitors(t.Context(), host, "", 10)
			if err != nil || !slices.Equal(got, want) {
				t.Errorf("%s: %v, %v; want %v", host, got, err, want)
			}
		}
		began := time.Now().UTC()
		id := visit("alice", "wiki.example.org")
		visit("bob", "wiki.example.org")
		visit("bob", "wiki.example.org.other") // begins like the other, and is another
		if err := b.End(t.Context(), id, ReasonSignedOut); err != nil {
			t.Fatal(err)
		}
		is("wiki.example.org", "alice", "bob")
		is("wiki.example.org.other", "bob")
		is("payroll.example.org")
		hosts, err := b.Visited(t.Context(), "alice")
		if err != nil || len(hosts) != 1 || !hosts["wiki.example.org"].Equal(began) {
			t.Errorf("alice was at %v, %v", hosts, err)
		}
		if some, err := b.Visitors(t.Context(), "wiki.example.org", "alice", 10); err != nil || !slices.Equal(some, []string{"bob"}) {
			t.Errorf("after alice: %v, %v", some, err)
		}
		time.Sleep(VisitsKept - time.Hour)
		visit("bob", "wiki.example.org")
		time.Sleep(2 * time.Hour)
		is("wiki.example.org", "bob")
		is("wiki.example.org.other")
		time.Sleep(visitEvery)
		left := 0
		if err := b.st.View(t.Context(), func(tx store.Tx) error {
			left = 0
			for _, err := range visitRows.All(tx, "", 0) {
				if err != nil {
					return err
				}
				left++
			}
			return nil
		}); err != nil || left != 1 {
			t.Errorf("%d visits are stored, %v; want 1", left, err)
		}
	})
}

// Of somebody who is gone no session is left and no visit, however many there were;
// others keep theirs.
func TestWhoIsGoneIsForgotten(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBed(t, open(t), Config{})
		for _, user := range []string{"alice", "bob"} {
			for i := range 45 {
				_, id := b.signIn(user, nil)
				if _, err := b.cookieFor(id, fmt.Sprintf("host-%d.example.org", i)); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := b.Forget(t.Context(), "alice"); err != nil {
			t.Fatal(err)
		}
		for user, want := range map[string]bool{"alice": false, "bob": true} {
			hosts, err := b.Visited(t.Context(), user)
			if err != nil || len(hosts) > 0 != want {
				t.Errorf("%s was at %d hosts, %v", user, len(hosts), err)
			}
			list, err := b.Find(t.Context(), Filter{User: user}, "", 0)
			if err != nil || len(list) > 0 != want {
				t.Errorf("%s has %d sessions, %v", user, len(list), err)
			}
		}
	})
}

func TestT10_AKeyIsOfOneHost(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBed(t, open(t), Config{})
		ck, id := b.signIn("alice", nil)
		key := func(host string) *http.Cookie {
			v, err := b.cookieFor(id, host)
			if err != nil {
				t.Fatal(err)
			}
			return b.Cookie(v)
		}
		wiki := key("wiki.example.org")
		b.is(wiki, "wiki.example.org", "alice")
		b.is(wiki, home, "")
		b.is(wiki, "payroll.example.org", "")
		b.is(ck, "wiki.example.org", "")

		// Another key for the host, made in the same moment by another tab,
		// leaves the first; later it takes its place.
		tab := key("wiki.example.org")
		b.is(wiki, "wiki.example.org", "alice")
		b.is(tab, "wiki.example.org", "alice")
		time.Sleep(TicketLife)
		later := key("wiki.example.org")
		b.is(wiki, "wiki.example.org", "")
		b.is(tab, "wiki.example.org", "")
		b.is(later, "wiki.example.org", "alice")

		// Many hosts: the gateway's own key stays, the oldest of the others go,
		// and all ends in one transaction.
		last := later
		for i := range 3 * maxKeys {
			time.Sleep(time.Second)
			last = key(fmt.Sprintf("s%d.example.org", i))
		}
		b.is(ck, home, "alice")
		b.is(last, fmt.Sprintf("s%d.example.org", 3*maxKeys-1), "alice")
		b.is(later, "wiki.example.org", "")
		if err := b.End(t.Context(), id, ReasonAdmin); err != nil {
			t.Fatal(err)
		}
		if _, err := b.cookieFor(id, home); !errors.Is(err, ErrNone) {
			t.Errorf("a key for an ended session: %v", err)
		}
		left := 0
		_ = b.st.View(t.Context(), func(tx store.Tx) error {
			for range keyRows.All(tx, "", 0) {
				left++
			}
			return nil
		})
		if left != 0 {
			t.Errorf("%d keys are left", left)
		}
	})
}

func TestT19_TicketsAreForOneHostOneBrowserOnceAndThirtySeconds(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBed(t, open(t), Config{})
		_, id := b.signIn("alice", nil)
		const host = "wiki.example.org"
		browser := Nonce()
		offer := func() string {
			v, err := b.Offer(t.Context(), id, host, Binding(browser))
			if err != nil {
				t.Fatal(err)
			}
			return v
		}
		redeem := func(ticket, host, browser string) error {
			v, err := b.Redeem(t.Context(), ticket, host, browser)
			if err == nil {
				b.is(b.Cookie(v), host, "alice")
			} else if v != "" {
				t.Error("a key with an error")
			}
			return err
		}
		ticket := offer()
		if err := redeem(ticket, host, browser); err != nil {
			t.Fatal(err)
		}
		for name, err := range map[string]error{
			"again": redeem(ticket, host, browser), "other host": redeem(offer(), home, browser), "other browser": redeem(offer(), host, Nonce()),
			"no browser": redeem(offer(), host, ""), "no binding": redeem(offer(), host, "x"), "none": redeem("", host, browser), "unknown": redeem(Nonce(), host, browser),
		} {
			if !errors.Is(err, ErrTicket) {
				t.Errorf("%s: %v", name, err)
			}
		}
		ticket = offer()
		time.Sleep(TicketLife - time.Nanosecond)
		if err := redeem(ticket, host, browser); err != nil {
			t.Error(err)
		}
		ticket = offer()
		time.Sleep(TicketLife)
		if err := redeem(ticket, host, browser); !errors.Is(err, ErrTicket) {
			t.Errorf("at its end: %v", err)
		}
		// A ticket for nothing that could be a browser's binds nobody.
		empty, err := b.Offer(t.Context(), id, host, "")
		if err != nil {
			t.Fatal(err)
		}
		if err := redeem(empty, host, ""); !errors.Is(err, ErrTicket) {
			t.Errorf("without a binding: %v", err)
		}
		ticket = offer()
		if err := b.End(t.Context(), id, ReasonAdmin); err != nil {
			t.Fatal(err)
		}
		if err := redeem(ticket, host, browser); !errors.Is(err, ErrNone) {
			t.Errorf("of an ended session: %v", err)
		}
		if _, err := b.Offer(t.Context(), id, host, Binding(browser)); !errors.Is(err, ErrNone) {
			t.Errorf("for an ended session: %v", err)
		}
	})
}

func TestT19_ATicketWorksOnceWhicheverStoreOfTheProcessAndInNoOtherProcess(t *testing.T) {
	bubble(t, func(t *testing.T) {
		st, h := open(t), NewHandover()
		old, next, other := newBed(t, st, Config{Handover: h}), newBed(t, st, Config{Handover: h}), newBed(t, st, Config{})
		_, id := old.signIn("alice", nil)
		const host = "wiki.example.org"
		browser := Nonce()
		offer := func() string {
			v, err := old.Offer(t.Context(), id, host, Binding(browser))
			ok(t, err)
			return v
		}
		ticket := offer()
		if v, err := other.Redeem(t.Context(), ticket, host, browser); !errors.Is(err, ErrElsewhere) || v != "" {
			t.Errorf("in another process: %q, %v", v, err)
		}
		if _, err := next.Redeem(t.Context(), ticket, host, browser); err != nil {
			t.Errorf("after the configuration changed: %v", err)
		}
		for name, b := range map[string]*bed{"old": old, "new": next} {
			if _, err := b.Redeem(t.Context(), ticket, host, browser); !errors.Is(err, ErrTicket) {
				t.Errorf("again, by the %s store: %v", name, err)
			}
		}
		// What nobody brings is let go of.
		for range 10 {
			offer()
		}
		time.Sleep(TicketLife)
		offer()
		if n := len(h.tickets); n != 1 {
			t.Errorf("%d tickets are kept", n)
		}
	})
}

// handed begins a session and hands it over to a host.
func (b *bed) handed(user, host string) (first, second *http.Cookie, id string) {
	b.t.Helper()
	browser := Nonce()
	begins := b.Beginning(Row{Session: Session{UserID: user}}, home, "")
	if err := b.Begin(b.t.Context(), begins); err != nil {
		b.t.Fatal(err)
	}
	secret, err := b.Redeem(b.t.Context(), begins.Offer(host, Binding(browser)), host, browser)
	if err != nil {
		b.t.Fatal(err)
	}
	return b.Cookie(begins.Cookie), b.Cookie(secret), begins.Row.ID
}

func TestAKeyWorksAtOnceAndIsStoredWithinASecond(t *testing.T) {
	bubble(t, func(t *testing.T) {
		st, h := open(t), NewHandover()
		b := newBed(t, st, Config{Handover: h})
		const host = "wiki.example.org"
		var cookies []*http.Cookie
		var ids []string
		for _, user := range []string{"alice", "bob", "carol"} {
			_, ck, id := b.handed(user, host)
			b.is(ck, host, user)
			cookies, ids = append(cookies, ck), append(ids, id)
		}
		// A change of the configuration, and whatever makes a session be read again.
		newBed(t, st, Config{Handover: h}).is(cookies[0], host, "alice")
		b.forget(ids[1])
		b.is(cookies[1], host, "bob")
		// Another process does not know it yet, and what a crash takes is no session.
		newBed(t, st, Config{}).is(cookies[0], host, "")
		if err := b.End(t.Context(), ids[2], ReasonAdmin); err != nil {
			t.Fatal(err)
		}
		b.is(cookies[2], host, "")

		time.Sleep(keysBehind)
		synctest.Wait()
		if len(h.keys) > 0 {
			t.Errorf("%d keys are not stored", len(h.keys))
		}
		after := newBed(t, st, Config{})
		after.is(cookies[0], host, "alice")
		after.is(cookies[1], host, "bob")
		after.is(cookies[2], host, "")
		b.is(cookies[2], host, "")
		n := 0
		ok(t, st.View(t.Context(), func(tx store.Tx) error {
			for _, err := range keyRows.All(tx, "", 0) {
				ok(t, err)
				n++
			}
			return nil
		}))
		if n != 4 {
			t.Errorf("%d keys are stored, want those of two sessions for two hosts", n)
		}
		if rows, err := b.Find(t.Context(), Filter{Host: host}, "", 0); err != nil || len(rows) != 2 {
			t.Errorf("found %d sessions of the host, %v", len(rows), err)
		}
	})
}

func TestSessionsOfAHostAreFoundBeforeTheirKeysAreStored(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBed(t, open(t), Config{})
		const host = "wiki.example.org"
		_, ck, _ := b.handed("alice", host)
		if n, err := b.EndAll(t.Context(), Filter{Host: host}, ReasonAdmin); n != 1 || err != nil {
			t.Errorf("%d ended, %v", n, err)
		}
		b.is(ck, host, "")
	})
}

func TestWhoIsForgottenLeavesNoVisitThatIsStoredLater(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBed(t, open(t), Config{})
		b.handed("alice", "wiki.example.org")
		ok(t, b.Forget(t.Context(), "alice"))
		time.Sleep(keysBehind)
		synctest.Wait()
		if hosts, err := b.Visited(t.Context(), "alice"); len(hosts) > 0 || err != nil {
			t.Errorf("visited %v, %v", hosts, err)
		}
	})
}

func TestKeysAreStoredWhenAStoreStops(t *testing.T) {
	bubble(t, func(t *testing.T) {
		st := open(t)
		b := newBed(t, st, Config{})
		_, ck, _ := b.handed("alice", "wiki.example.org")
		b.stop()
		newBed(t, st, Config{}).is(ck, "wiki.example.org", "alice")
	})
}

// Keys that can not be stored are few.
func TestWhoseKeyCanNotWaitWaitsForTheStore(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := NewHandover()
		b := newBed(t, open(t), Config{Handover: h})
		for range maxBehind {
			_, sum := random()
			h.keys[sum] = made{key: key{Hash: encode(sum[:]), Host: "x", Session: "none"}, user: "nobody"}
		}
		_, ck, _ := b.handed("alice", "wiki.example.org")
		if len(h.keys) != maxBehind {
			t.Errorf("%d keys wait", len(h.keys))
		}
		clear(h.keys)
		newBed(t, b.st, Config{}).is(ck, "wiki.example.org", "alice")
	})
}

func TestEndingIsRecordedOrDoesNotHappen(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var fail atomic.Bool
		var seen atomic.Int64
		b := newBed(t, storetest.Twice(open(t)), Config{EndedTx: func(tx store.Tx, s Row, why string) error {
			if fail.Load() {
				return errors.New("no record")
			}
			seen.Add(1)
			return tx.Put(store.Key("record", s.ID), []byte("ended"))
		}})
		ck, id := b.signIn("alice", nil)
		fail.Store(true)
		if err := b.End(t.Context(), id, ReasonAdmin); err == nil {
			t.Error("ended without a record")
		}
		b.is(ck, home, "alice")
		fail.Store(false)
		if n, err := b.EndUser(t.Context(), "alice", ReasonAdmin); n != 1 || err != nil {
			t.Errorf("%d, %v", n, err)
		}
		b.is(ck, home, "")
		if err := b.End(t.Context(), id, ReasonAdmin); err != nil {
			t.Errorf("ending what has ended: %v", err)
		}
	})
}

func TestAHoldIsLiftedOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		st := open(t)
		a, b := newBed(t, st, Config{}), newBed(t, st, Config{})
		row := Row{Session: Session{UserID: "alice", Hold: &Hold{Until: time.Now().Add(time.Minute)}}}
		v, err := a.begin(t.Context(), &row, home, "")
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range []*bed{a, b} {
			if s, err := x.Lookup(request(x.Cookie(v)), home); err != nil || s.Hold == nil {
				t.Errorf("%+v, %v", s, err)
			}
		}
		if err := a.Release(t.Context(), row.ID, nil); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		for _, x := range []*bed{a, b} {
			if s, err := x.Lookup(request(x.Cookie(v)), home); err != nil || s.Hold != nil {
				t.Errorf("%+v, %v", s, err)
			}
		}
		if err := a.Release(t.Context(), "none", nil); !errors.Is(err, ErrNone) {
			t.Error(err)
		}
	})
}

func TestT13_NothingThatBeginsAfterEndFindsTheSession(t *testing.T) {
	t.Parallel()
	st := open(t)
	s := New(Config{Store: st})
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { s.Run(ctx) })
	defer running.Wait()
	defer cancel()
	for range 20 {
		row := Row{Session: Session{UserID: "alice"}}
		v, err := s.begin(t.Context(), &row, home, "")
		if err != nil {
			t.Fatal(err)
		}
		var over atomic.Bool
		var wg sync.WaitGroup
		var late atomic.Int64
		for i := range 8 {
			wg.Go(func() {
				for last := false; !last; {
					last = over.Load() // read before the lookup begins
					_, err := s.Lookup(request(s.Cookie(v)), home)
					if err == nil && last {
						late.Add(1)
					}
					if i == 0 && !last {
						s.forget(row.ID) // have the others read it again and again
					}
				}
			})
		}
		if err := s.End(t.Context(), row.ID, ReasonAdmin); err != nil {
			t.Fatal(err)
		}
		over.Store(true)
		wg.Wait()
		if n := late.Load(); n > 0 {
			t.Fatalf("%d lookups that began after the end found the session", n)
		}
	}
}

func TestT13_AReadThatAnEndOvertookIsNotRemembered(t *testing.T) {
	t.Parallel()
	st := &between{Store: open(t)}
	s := New(Config{Store: st})
	s.told = true // as if it ran; nobody else makes it forget
	row := Row{Session: Session{UserID: "alice"}}
	v, err := s.begin(t.Context(), &row, home, "")
	if err != nil {
		t.Fatal(err)
	}
	s.forget(row.ID)
	st.then = func() {
		st.then = nil
		if err := s.End(t.Context(), row.ID, ReasonAdmin); err != nil {
			t.Error(err)
		}
	}
	if _, err := s.Lookup(request(s.Cookie(v)), home); err != nil {
		t.Errorf("began before the end: %v", err)
	}
	if got, err := s.Lookup(request(s.Cookie(v)), home); !errors.Is(err, ErrNone) {
		t.Errorf("began after the end: %+v, %v", got, err)
	}
}

func TestWhatBeganIsLookedUpWithoutTheStore(t *testing.T) {
	bubble(t, func(t *testing.T) {
		st := &counting{Store: open(t)}
		b := newBed(t, st, Config{})
		browser := Nonce()
		begins := b.Beginning(Row{Session: Session{UserID: "alice", AMR: []string{"pwd"}}}, home, "")
		if err := b.Begin(t.Context(), begins); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		reads := st.reads.Load()
		secret, err := b.Redeem(t.Context(), begins.Offer("app.example.org", Binding(browser)), "app.example.org", browser)
		if err != nil {
			t.Fatal(err)
		}
		got, err := b.Lookup(request(b.Cookie(secret)), "app.example.org")
		if err != nil || got != begins.Session() || got.Ready == nil {
			t.Errorf("got %+v, %v, began %+v", got, err, begins.Session())
		}
		if n := st.reads.Load() - reads; n != 0 {
			t.Errorf("the store was read %d times", n)
		}
		// It is as the store would tell it.
		b.forget(begins.Row.ID)
		read, err := b.Lookup(request(b.Cookie(secret)), "app.example.org")
		if err != nil || read == got {
			t.Fatalf("%+v, %v", read, err)
		}
		a, z := *got, *read
		a.Ready, z.Ready = nil, nil
		if !a.Created.Equal(z.Created) || !a.Until.Equal(z.Until) {
			t.Errorf("began from %v to %v, stored is from %v to %v", a.Created, a.Until, z.Created, z.Until)
		}
		a.Created, a.Until, z.Created, z.Until = time.Time{}, time.Time{}, time.Time{}, time.Time{}
		if !reflect.DeepEqual(a, z) {
			t.Errorf("began %+v, stored is %+v", a, z)
		}
	})
}

func TestT13_WhatHappensToASessionWhileItBeginsCounts(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		happens func(*testing.T, *Store, string)
		want    error
		held    bool
	}{
		"nothing":    {func(*testing.T, *Store, string) {}, nil, false},
		"it is held": {func(t *testing.T, s *Store, id string) { ok(t, s.Release(t.Context(), id, &Hold{Continue: true})) }, nil, true},
		"it ends":    {func(t *testing.T, s *Store, id string) { ok(t, s.End(t.Context(), id, ReasonAdmin)) }, ErrNone, false},
	} {
		for _, when := range []string{"begins", "gets a key"} {
			t.Run(name+" as it "+when, func(t *testing.T) {
				st := &between{Store: open(t)}
				s := New(Config{Store: st})
				s.told = true // as if it ran; nobody else makes it forget
				browser := Nonce()
				b := s.Beginning(Row{Session: Session{UserID: "alice"}}, home, "")
				happens := func() {
					st.stored = nil
					c.happens(t, s, b.Row.ID)
				}
				if when == "begins" {
					st.stored = happens
				}
				ok(t, s.Begin(t.Context(), b))
				if when != "begins" {
					st.stored = happens
					b.live.whole = false // its key is stored before it is used
				}
				secret, err := s.Redeem(t.Context(), b.Offer("app.example.org", Binding(browser)), "app.example.org", browser)
				if err == nil {
					var got *Session
					if got, err = s.Lookup(request(s.Cookie(secret)), "app.example.org"); err == nil && (got.Hold != nil) != c.held {
						t.Errorf("it is held: %v", got.Hold)
					}
				}
				if !errors.Is(err, c.want) {
					t.Errorf("got %v, want %v", err, c.want)
				}
			})
		}
	}
}

func TestASessionEndsByTheClockOnTheWallAlsoWhereItBegan(t *testing.T) {
	t.Parallel()
	b := New(Config{Store: open(t)}).Beginning(Row{}, home, "")
	if b.Row.Until != b.Row.Until.Round(0) { //nolint:staticcheck // what == tells apart is meant: a monotonic clock, which stands while a machine sleeps
		t.Errorf("it ends at %v", b.Row.Until)
	}
}

func TestT13_ASessionThatDidNotBeginIsNotRemembered(t *testing.T) {
	t.Parallel()
	s := New(Config{Store: open(t)})
	s.told = true
	b := s.Beginning(Row{Session: Session{UserID: "alice"}}, home, "")
	undone := errors.New("undone")
	err := b.Begun(t.Context(), s.c.Store.Update(t.Context(), func(tx store.Tx) error { return errors.Join(b.Tx(tx), undone) }))
	if !errors.Is(err, undone) {
		t.Fatal(err)
	}
	if got, err := s.Peek(t.Context(), b.Row.ID); !errors.Is(err, ErrNone) {
		t.Errorf("%+v, %v", got, err)
	}
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// between does something when a read is over and its reader does not have it yet,
// or when something is stored and its writer does not know.
type between struct {
	store.Store
	then, stored func()
}

func (b *between) Update(ctx context.Context, fn func(store.Tx) error) error {
	err := b.Store.Update(ctx, fn)
	if b.stored != nil {
		b.stored()
	}
	return err
}

func (b *between) View(ctx context.Context, fn func(store.Tx) error) error {
	err := b.Store.View(ctx, fn)
	if b.then != nil {
		b.then()
	}
	return err
}

func TestT15_IDsAreUniqueAndOnlyHashesAreStored(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for range 10_000 {
		v, sum := random()
		raw, err := base64.RawURLEncoding.DecodeString(v)
		if err != nil || len(raw) != 32 || seen[v] {
			t.Fatalf("%q: %v", v, err)
		}
		if again, err := hash(v); err != nil || again != sum {
			t.Fatalf("%q hashes to %x and %x: %v", v, sum, again, err)
		}
		seen[v] = true
	}
	st := open(t)
	s := New(Config{Store: st})
	row := Row{Session: Session{UserID: "alice"}}
	v, err := s.begin(t.Context(), &row, home, "")
	if err != nil {
		t.Fatal(err)
	}
	ticket, err := s.Offer(t.Context(), row.ID, home, Binding(Nonce()))
	if err != nil {
		t.Fatal(err)
	}
	_ = st.View(t.Context(), func(tx store.Tx) error {
		for p, err := range tx.Scan(nil, nil, 0) {
			if err != nil {
				t.Error(err)
			}
			for _, secret := range []string{v, ticket} {
				if raw, _ := base64.RawURLEncoding.DecodeString(secret); strings.Contains(string(p.Key)+string(p.Val), secret) || strings.Contains(string(p.Key)+string(p.Val), string(raw)) {
					t.Errorf("a secret is in the row %q", p.Key)
				}
			}
		}
		return nil
	})
}

func TestT08_EveryChangedBitIsAnotherCookie(t *testing.T) {
	t.Parallel()
	s := New(Config{Store: open(t)})
	row := Row{Session: Session{UserID: "alice"}}
	v, err := s.begin(t.Context(), &row, home, "")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := s.Lookup(request(s.Cookie(v)), home); err != nil || got.ID != row.ID {
		t.Fatalf("%+v, %v", got, err)
	}
	raw, _ := base64.RawURLEncoding.DecodeString(v)
	for bit := range 256 {
		raw[bit/8] ^= 1 << (bit % 8)
		if _, err := s.Lookup(request(s.Cookie(encode(raw))), home); !errors.Is(err, ErrNone) {
			t.Errorf("bit %d: %v", bit, err)
		}
		raw[bit/8] ^= 1 << (bit % 8)
	}
	// 43 characters hold 258 bits: the two left over must be zero.
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	good := 0
	for _, c := range alphabet {
		if _, err := s.Lookup(request(s.Cookie(v[:42]+string(c))), home); err == nil {
			good++
		}
	}
	if good != 1 {
		t.Errorf("%d spellings of one cookie are good", good)
	}
}

func TestT04_TwoCookiesOfOurNameAreAmbiguous(t *testing.T) {
	t.Parallel()
	s := New(Config{Store: open(t)})
	row := Row{Session: Session{UserID: "alice"}}
	v, err := s.begin(t.Context(), &row, home, "")
	if err != nil {
		t.Fatal(err)
	}
	for _, second := range []*http.Cookie{s.Cookie(v), {Name: s.c.Cookie.Name(""), Value: "x"}, {Name: s.c.Cookie.Name("")}} {
		for _, list := range [][]*http.Cookie{{s.Cookie(v), second}, {second, s.Cookie(v)}} {
			if got, err := s.Lookup(request(list...), home); !errors.Is(err, ErrAmbiguous) || got != nil {
				t.Errorf("%v: %+v, %v", list, got, err)
			}
		}
	}
	// To a page nobody is signed in, and signing out takes the cookie away.
	r := request(s.Cookie(v), s.Cookie(v))
	g, err := s.Get(r, home)
	if err != nil || From(g) != nil || !g.IsNew {
		t.Fatalf("%+v, %v", g, err)
	}
	g.Options.MaxAge = -1
	w := httptest.NewRecorder()
	if err := g.Save(r, w); err != nil || w.Result().Cookies()[0].MaxAge >= 0 {
		t.Errorf("%v, %v", err, w.Result().Cookies())
	}
	if _, err := s.Lookup(request(s.Cookie(v)), home); err != nil {
		t.Errorf("somebody's second cookie ended the session: %v", err)
	}
}

func TestT16_NotKnowingIsAnErrorOfTheStore(t *testing.T) {
	t.Parallel()
	st := open(t)
	s := New(Config{Store: st})
	row := Row{Session: Session{UserID: "alice"}}
	v, err := s.begin(t.Context(), &row, home, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Lookup(request(s.Cookie(v)), home); got != nil || err == nil || errors.Is(err, ErrNone) {
		t.Errorf("%+v, %v", got, err)
	}
	if g, err := s.New(request(s.Cookie(v)), home); err == nil || From(g) != nil {
		t.Errorf("%+v, %v", g, err)
	}
	if got, err := s.Lookup(request(), home); got != nil || !errors.Is(err, ErrNone) {
		t.Errorf("without a cookie: %+v, %v", got, err)
	}
}

func TestOurNamesAreOurs(t *testing.T) {
	t.Parallel()
	for _, c := range []Cookie{{}, {Insecure: true, Port: "8080"}} {
		for _, purpose := range []string{"", "bind", "login-x-y"} {
			name := c.Name(purpose)
			if !Ours(name) || !Ours(strings.ToUpper(name)) {
				t.Errorf("%q is not ours", name)
			}
			ck := c.Make(purpose, "v")
			if ck.Secure == c.Insecure || !ck.HttpOnly || ck.Path != "/" || ck.Domain != "" || ck.SameSite != http.SameSiteLaxMode || strings.HasPrefix(name, "__Host-") == c.Insecure {
				t.Errorf("%s", ck)
			}
		}
	}
	for _, name := range []string{"gatehouse", "__Secure-gatehouse", "gatehouse_language", "GATEHOUSE-80"} {
		if !Ours(name) {
			t.Errorf("%q is not ours", name)
		}
	}
	for _, name := range []string{"session", "gatehouses", "my-gatehouse", "__Host-other", ""} {
		if Ours(name) {
			t.Errorf("%q is ours", name)
		}
	}
}

func FuzzCookie(f *testing.F) {
	st := open(f)
	s := New(Config{Store: st})
	row := Row{Session: Session{UserID: "alice"}}
	v, err := s.begin(f.Context(), &row, home, "")
	if err != nil {
		f.Fatal(err)
	}
	name := s.c.Cookie.Name("")
	for _, seed := range []string{name + "=" + v, name + "=" + v[:42], name + "=", name + "=a; " + name + "=b", "\u2000" + name + "=" + v, `$Version=1; ` + name + `="` + v + `"`, strings.Repeat("a=;", 100)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, header string) {
		r := request()
		r.Header["Cookie"] = []string{header}
		got, err := s.Lookup(r, home)
		bears := slices.ContainsFunc(r.CookiesNamed(name), func(ck *http.Cookie) bool { return ck.Value == v })
		switch {
		case err == nil && (got.ID != row.ID || !bears):
			t.Errorf("%q opens a session", header)
		case err != nil && !errors.Is(err, ErrNone) && !errors.Is(err, ErrAmbiguous):
			t.Errorf("%q: %v", header, err)
		}
	})
}
