package lifecycle_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/gatehouse-sso/gatehouse/federation"
	"github.com/gatehouse-sso/gatehouse/provisioning"
	"github.com/gatehouse-sso/gatehouse/provisioning/guard"
	"github.com/gatehouse-sso/gatehouse/provisioning/lifecycle"
	"github.com/gatehouse-sso/gatehouse/provisioning/store"
	"github.com/gatehouse-sso/gatehouse/provisioning/store/boltstore"
	"github.com/gatehouse-sso/gatehouse/provisioning/store/storetest"
	"github.com/gatehouse-sso/gatehouse/provisioning/task"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const hr = provisioning.Source("scim:hr")

// world is a directory with its lifecycle, and a clock that the test moves.
type world struct {
	testing.TB
	now   time.Time // zero: the real one
	store store.Store
	dir   *provisioning.Directory
	guard *guard.Guard
	life  *lifecycle.Lifecycle
	ended []string // whose sessions were ended
}

func newWorld(t testing.TB, rule lifecycle.Inactivity) *world {
	t.Helper()
	st, err := boltstore.Open(filepath.Join(t.TempDir(), "db"), boltstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	w := &world{TB: t, store: storetest.Twice(st), now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	now := func() time.Time {
		if w.now.IsZero() {
			return time.Now()
		}
		return w.now
	}
	w.guard = guard.New(guard.Config{Store: w.store, Now: now, Resume: func(tx store.Tx, it guard.Item) error { return w.life.Resume(tx, it) }})
	w.dir, err = provisioning.New(provisioning.Config{
		Store: w.store, UserStores: []string{"primary"}, Now: now,
		Followers: []provisioning.Follower{func(tx store.Tx, before, after provisioning.User, d provisioning.Delta) error {
			return w.life.Follow(tx, before, after, d)
		}},
		SignedIn: []func(store.Tx, provisioning.User, federation.Identity, string) error{func(tx store.Tx, u provisioning.User, id federation.Identity, flow string) error {
			return w.life.SignedIn(tx, u, id, flow)
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	w.life = lifecycle.New(lifecycle.Config{
		Store: w.store, Directory: w.dir, Guard: w.guard, Now: now, Inactive: map[string]lifecycle.Inactivity{"primary": rule},
		Guarded: func(by provisioning.Source) bool { return by == hr || by == lifecycle.By },
		EndSessions: func(_ context.Context, userID string) error {
			w.ended = append(w.ended, userID)
			return nil
		},
	})
	return w
}

func (w *world) create(name string, attrs ...string) provisioning.User {
	w.Helper()
	u := provisioning.User{Store: "primary", UserName: name, Active: true}
	for i := 0; i < len(attrs); i += 2 {
		u.Say(hr, attrs[i], attrs[i+1])
	}
	u, _, err := w.dir.Create(w.Context(), u, hr)
	if err != nil {
		w.Fatal(err)
	}
	return u
}

func (w *world) set(id string, by provisioning.Source, active bool) error {
	_, _, err := w.dir.Change(w.Context(), id, by, func(u *provisioning.User) error {
		u.Active = active
		return nil
	})
	return err
}

func (w *world) active(id string) bool {
	w.Helper()
	u, err := w.dir.User(w.Context(), id)
	if err != nil {
		w.Fatal(err)
	}
	return u.Active
}

func (w *world) evidence(id string) (out []string) {
	w.Helper()
	list, err := w.life.Evidence(w.Context(), id)
	if err != nil {
		w.Fatal(err)
	}
	for _, e := range list {
		out = append(out, fmt.Sprintf("%s by %s ×%d: %s → %s", e.Kind, e.By, e.Count, e.Text, e.Outcome))
	}
	return out
}

// work runs what is due of this package's tasks, as the runner does.
func (w *world) work() {
	w.Helper()
	handlers := map[string]task.Handler{
		lifecycle.TaskApproved: w.life.HandleApproved, lifecycle.TaskDates: w.life.HandleDates,
		lifecycle.TaskInactive: w.life.HandleInactive, guard.TaskCase: w.guard.HandleCase,
	}
	list, err := task.List(w.Context(), w.store, task.Task{}, 0)
	if err != nil {
		w.Fatal(err)
	}
	for _, t := range list {
		if h := handlers[t.Kind]; h != nil {
			var retry *task.Retry
			var park *task.Park
			if err := h(w.Context(), t.Key); err != nil && !errors.As(err, &retry) && !errors.As(err, &park) {
				w.Fatalf("%s %s: %v", t.Kind, t.Key, err)
			}
		}
	}
}

// TestB09_AClientThatTakesManyAwayIsHeld: what is too much is undone, kept, and
// done once a person has approved it.
func TestB09_AClientThatTakesManyAwayIsHeld(t *testing.T) {
	t.Parallel()
	w := newWorld(t, lifecycle.Inactivity{After: 90 * 24 * time.Hour})
	var ids []string
	for i := range 16 {
		ids = append(ids, w.create(fmt.Sprintf("kim%d", i)).ID)
	}
	w.now = w.now.Add(2 * time.Hour)
	for i, id := range ids[:12] {
		err := w.set(id, hr, false)
		var no *guard.Refused
		switch {
		case i < 10 && err != nil:
			t.Fatalf("number %d: %v", i+1, err)
		case i >= 10 && (!errors.As(err, &no) || no.Reason() != guard.ReasonHeld):
			t.Fatalf("number %d: %v", i+1, err)
		}
	}
	if err := w.dir.Delete(t.Context(), ids[12], hr); err == nil {
		t.Error("a deletion beyond the limit succeeds")
	}
	for _, id := range ids[10:] {
		if !w.active(id) {
			t.Error("somebody is inactive although it was refused")
		}
	}
	if err := w.set(ids[15], provisioning.Admin, false); err != nil {
		t.Errorf("an administrator is held: %v", err)
	}
	cases, err := w.guard.Cases(t.Context(), guard.Source(string(hr)), "", true, 0)
	if err != nil || len(cases) != 1 || cases[0].Held != 3 {
		t.Fatalf("cases: %+v, %v", cases, err)
	}
	if err := w.guard.Approve(t.Context(), cases[0].ID, "carol"); err != nil {
		t.Fatal(err)
	}
	w.work()
	w.work()
	if w.active(ids[10]) || w.active(ids[11]) || !w.active(ids[13]) {
		t.Error("what was approved is not what was done")
	}
	if _, err := w.dir.User(t.Context(), ids[12]); !errors.Is(err, provisioning.ErrNotFound) {
		t.Errorf("the deletion that was approved: %v", err)
	}
	// And the client's own repetition succeeds.
	if err := w.set(ids[10], hr, false); err != nil {
		t.Error(err)
	}
}

func TestWhoWasMadeAMomentAgoCanBeTakenAwayAtWill(t *testing.T) {
	t.Parallel()
	w := newWorld(t, lifecycle.Inactivity{After: 90 * 24 * time.Hour})
	for i := range 30 {
		if err := w.set(w.create(fmt.Sprintf("kim%d", i)).ID, hr, false); err != nil {
			t.Fatal(err)
		}
	}
}

// TestDatesActOnTheMinute: also when the gateway was restarted in between, and
// also when the dates change.
func TestDatesActOnTheMinute(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, lifecycle.Inactivity{After: 90 * 24 * time.Hour})
		w.now = time.Time{}
		running := func(fn func()) {
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error)
			r := task.NewRunner(task.Config{Store: w.store, Alone: true, Handlers: map[string]task.Handler{lifecycle.TaskDates: w.life.HandleDates}})
			go func() { done <- r.Run(ctx) }()
			fn()
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		from, until := time.Now().Add(90*time.Minute), time.Now().Add(180*time.Minute)
		u := w.create("kim", lifecycle.ValidFrom, from.Format(time.RFC3339), lifecycle.ValidUntil, until.Format(time.RFC3339))
		at := func(when time.Time, active bool) {
			t.Helper()
			time.Sleep(time.Until(when))
			synctest.Wait()
			if got := w.active(u.ID); got != active {
				t.Errorf("at %v: active %t, evidence %q", when, got, w.evidence(u.ID))
			}
		}
		running(func() {
			time.Sleep(time.Second)
			at(time.Now(), false)
			at(from.Add(-30*time.Minute), false)
		})
		time.Sleep(10 * time.Minute) // nothing runs
		running(func() {
			at(from.Add(-time.Second), false)
			at(from.Add(2*time.Second), true)
			if got := w.evidence(u.ID); len(got) != 0 {
				t.Errorf("evidence against somebody who may be there: %q", got)
			}
			at(until.Add(-time.Second), true)
			at(until.Add(2*time.Second), false)
			if got := strings.Join(w.evidence(u.ID), "\n"); !strings.Contains(got, "valid until") || !strings.HasSuffix(got, "→ disabled") {
				t.Errorf("evidence %q", got)
			}
			later := until.Add(time.Hour)
			if _, _, err := w.dir.Change(t.Context(), u.ID, hr, func(u *provisioning.User) error {
				u.Say(hr, lifecycle.ValidUntil, later.Format(time.RFC3339))
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			at(time.Now().Add(2*time.Second), true)
			at(later.Add(2*time.Second), false)
		})
	})
}

func TestDatesOfDaysAndOnesThatCanNotBeRead(t *testing.T) {
	t.Parallel()
	w := newWorld(t, lifecycle.Inactivity{After: 90 * 24 * time.Hour})
	day := w.create("day", lifecycle.ValidUntil, "2026-03-31")
	bad := w.create("bad", lifecycle.ValidUntil, "next summer")
	off := w.create("off", lifecycle.ValidUntil, "2026-03-31")
	if err := w.set(off.ID, provisioning.Admin, false); err != nil {
		t.Fatal(err)
	}
	w.now = time.Date(2026, 3, 31, 23, 59, 59, 0, time.UTC)
	w.work()
	if !w.active(day.ID) {
		t.Error("who may stay until the 31st is not there on the 31st")
	}
	w.now = w.now.Add(time.Second)
	w.work()
	if w.active(day.ID) {
		t.Error("who may stay until the 31st is there on the first")
	}
	if got := strings.Join(w.evidence(bad.ID), ""); !w.active(bad.ID) || !strings.Contains(got, `"next summer", which is neither a date`) {
		t.Errorf("a date that can not be read: active %t, evidence %q", w.active(bad.ID), got)
	}
	// A date does not let in whom an administrator has kept out.
	if _, _, err := w.dir.Change(t.Context(), off.ID, hr, func(u *provisioning.User) error { u.Say(hr, lifecycle.ValidUntil, "2027-03-31"); return nil }); err != nil {
		t.Fatal(err)
	}
	w.work()
	if w.active(off.ID) {
		t.Error("somebody whom an administrator disabled is let in by a date")
	}
}

func TestWhoDoesNotSignInIsWarnedAndThenLeaves(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	w := newWorld(t, lifecycle.Inactivity{After: 90 * day, Warn: []time.Duration{30 * day, 7 * day}})
	gone, back := w.create("gone"), w.create("back")
	if err := w.life.Begin(t.Context()); err != nil {
		t.Fatal(err)
	}
	ref := federation.Ref{Issuer: "https://idp", Subject: "back"}
	if _, _, err := w.dir.Link(t.Context(), back.ID, ref, "campus", provisioning.Admin); err != nil {
		t.Fatal(err)
	}
	start := w.now
	warnings := func() int {
		t.Helper()
		list, err := w.life.Unsent(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		return len(list)
	}
	for _, c := range []struct {
		after    time.Duration
		warnings int
	}{{59 * day, 0}, {60 * day, 2}, {61 * day, 2}, {83 * day, 4}} {
		w.now = start.Add(c.after)
		w.work()
		w.work()
		if got := warnings(); got != c.warnings {
			t.Errorf("after %v: %d warnings, want %d", c.after, got, c.warnings)
		}
	}
	n, err := w.life.Unsent(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.life.Sent(t.Context(), n[0]); err != nil || warnings() != 3 {
		t.Errorf("a warning that was sent is to be sent again: %v", err)
	}
	id := federation.Identity{Ref: ref, Provider: "campus"}
	if _, _, err := w.dir.Login(t.Context(), id, provisioning.JIT{Provider: "campus"}, ""); err != nil {
		t.Fatal(err)
	}
	if got := w.evidence(back.ID); len(got) != 0 {
		t.Errorf("evidence against somebody who signed in: %q", got)
	}
	w.now = start.Add(90 * day)
	w.work()
	if w.active(gone.ID) || !w.active(back.ID) {
		t.Errorf("active: who is gone %t, who is back %t", w.active(gone.ID), w.active(back.ID))
	}
	if got := strings.Join(w.evidence(gone.ID), ""); got != "inactive by lifecycle ×3: not seen since 2026-03-01 → disabled" {
		t.Errorf("evidence %q", got)
	}
	// Whoever is let in again begins anew.
	if err := w.set(gone.ID, provisioning.Admin, true); err != nil {
		t.Fatal(err)
	}
	w.now = w.now.Add(29 * day)
	w.work()
	if !w.active(gone.ID) {
		t.Error("whoever was let in again leaves at once")
	}
}

func TestB09_ManyWhoDoNotSignInAreHeld(t *testing.T) {
	t.Parallel()
	w := newWorld(t, lifecycle.Inactivity{After: 48 * time.Hour})
	var ids []string
	for i := range 14 {
		ids = append(ids, w.create(fmt.Sprintf("kim%02d", i)).ID)
	}
	if err := w.life.Begin(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.now = w.now.Add(49 * time.Hour)
	w.work()
	out := 0
	for _, id := range ids {
		if !w.active(id) {
			out++
		}
	}
	if out != 10 || len(w.ended) != 10 {
		t.Errorf("%d are out, %d lost their sessions, want 10", out, len(w.ended))
	}
	if got := strings.Join(w.evidence(ids[13]), ""); !strings.Contains(got, "held for approval in case") {
		t.Errorf("evidence %q", got)
	}
	cases, err := w.guard.Cases(t.Context(), "", "", true, 0)
	if err != nil || len(cases) != 1 {
		t.Fatalf("cases: %+v, %v", cases, err)
	}
	if err := w.guard.Approve(t.Context(), cases[0].ID, "carol"); err != nil {
		t.Fatal(err)
	}
	w.work()
	w.work()
	if w.active(ids[13]) || !strings.HasSuffix(strings.Join(w.evidence(ids[13]), ""), "→ disabled") {
		t.Errorf("after the approval: active %t, %q", w.active(ids[13]), w.evidence(ids[13]))
	}
}

func TestLeavingIsNotedWithItsReason(t *testing.T) {
	t.Parallel()
	w := newWorld(t, lifecycle.Inactivity{After: 90 * 24 * time.Hour})
	kim, ali := w.create("kim"), w.create("ali")
	d := lifecycle.Departure{UserID: kim.ID, By: "file:staff", Kind: lifecycle.KindMissing, Text: "not in staff.csv of 1 March"}
	for range 2 { // again is nothing more
		if ans, err := w.life.Leave(t.Context(), d); err != nil || !ans.Go() {
			t.Fatalf("%+v, %v", ans, err)
		}
	}
	if got := strings.Join(w.evidence(kim.ID), ""); w.active(kim.ID) || got != "missing by file:staff ×1: not in staff.csv of 1 March → disabled" {
		t.Errorf("active %t, evidence %q", w.active(kim.ID), got)
	}
	if err := w.life.Clear(t.Context(), kim.ID, lifecycle.KindMissing, "file:staff"); err != nil || len(w.evidence(kim.ID)) != 0 {
		t.Errorf("taken back: %q, %v", w.evidence(kim.ID), err)
	}
	d.UserID, d.How = ali.ID, lifecycle.Delete
	if _, err := w.life.Leave(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	if _, err := w.dir.User(t.Context(), ali.ID); !errors.Is(err, provisioning.ErrNotFound) {
		t.Errorf("who was to be deleted: %v", err)
	}
	if got := w.evidence(ali.ID); len(got) != 0 {
		t.Errorf("what was known of a deleted user is kept: %q", got)
	}
}

// B09: memberships that were held end once they are approved.
func TestB09_AnApprovedMembershipEnds(t *testing.T) {
	t.Parallel()
	w := newWorld(t, lifecycle.Inactivity{After: 90 * 24 * time.Hour})
	kim, lee := w.create("kim"), w.create("lee")
	g, err := w.dir.CreateGroup(t.Context(), provisioning.Group{Store: "primary", Name: "staff"}, hr, provisioning.Move{Join: []string{kim.ID, lee.ID}})
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{kim.ID, lee.ID} {
		a := guard.Act{Scope: guard.Source(string(hr)), Kind: guard.Membership, Subject: id, Object: g.ID, How: "remove"}
		if err := w.store.Update(t.Context(), func(tx store.Tx) error { return w.guard.HoldTx(tx, a, "by hand") }); err != nil {
			t.Fatal(err)
		}
	}
	cases, err := w.guard.Cases(t.Context(), "", "", true, 0)
	if err != nil || len(cases) != 1 {
		t.Fatal(cases, err)
	}
	if err := errors.Join(w.guard.Reject(t.Context(), cases[0].ID, "carol", lee.ID), w.guard.Approve(t.Context(), cases[0].ID, "carol")); err != nil {
		t.Fatal(err)
	}
	w.work()
	w.work()
	for id, want := range map[string]int{kim.ID: 0, lee.ID: 1} {
		if in, err := w.dir.GroupsOf(t.Context(), id); err != nil || len(in) != want || !w.active(id) {
			t.Errorf("%s is in %v, %v", id, in, err)
		}
	}
}

// B09: a group that is to go, or to leave another, goes by itself once that is approved
// for all whom it concerns; and whoever is in it in another way too stays.
func TestB09_WhatGoesAsAWholeGoesOnceItIsApprovedForAll(t *testing.T) {
	t.Parallel()
	w := newWorld(t, lifecycle.Inactivity{After: 90 * 24 * time.Hour})
	kim, lee, ann := w.create("kim"), w.create("lee"), w.create("ann")
	group := func(name string, m provisioning.Move) string {
		t.Helper()
		g, err := w.dir.CreateGroup(t.Context(), provisioning.Group{Store: "primary", Name: name}, hr, m)
		if err != nil {
			t.Fatal(err)
		}
		return g.ID
	}
	inner := group("inner", provisioning.Move{Join: []string{kim.ID, lee.ID}})
	outer := group("outer", provisioning.Move{Join: []string{kim.ID, ann.ID}, Nest: []string{inner}})
	in := func(userID string) (names string) {
		t.Helper()
		all, err := w.dir.Memberships(t.Context(), userID)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range all {
			names += " " + m.Name
		}
		return names
	}
	hold := func(group, whole string) string {
		t.Helper()
		since, err := w.dir.EverybodySince(t.Context(), whole)
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range guard.Memberships(guard.Source(string(hr)), group, whole, "too many", since) {
			if err := w.store.Update(t.Context(), func(tx store.Tx) error { return w.guard.HoldTx(tx, a, "by hand") }); err != nil {
				t.Fatal(err)
			}
		}
		cases, err := w.guard.Cases(t.Context(), "", "", true, 0)
		if err != nil || len(cases) != 1 {
			t.Fatal(cases, err)
		}
		return cases[0].ID
	}

	c := hold(outer, inner)
	if err := w.guard.Approve(t.Context(), c, "carol", kim.ID); err != nil {
		t.Fatal(err)
	}
	w.work()
	if got := in(lee.ID); got != " inner outer" {
		t.Errorf("approved for kim alone, it has been done: lee is in%s", got)
	}
	if err := w.guard.Approve(t.Context(), c, "carol"); err != nil {
		t.Fatal(err)
	}
	w.work()
	w.work()
	for id, want := range map[string]string{lee.ID: " inner", kim.ID: " inner outer", ann.ID: " outer"} {
		if got := in(id); got != want {
			t.Errorf("%s is in%s, want%s", id, got, want)
		}
	}

	if err := w.guard.Reject(t.Context(), hold(inner, inner), "carol"); err != nil {
		t.Fatal(err)
	}
	w.work()
	w.work()
	if got := in(lee.ID); got != " inner" {
		t.Errorf("the group is gone although a person said no: lee is in%s", got)
	}
	if err := w.guard.Approve(t.Context(), hold(outer, outer), "carol"); err != nil {
		t.Fatal(err)
	}
	w.work()
	w.work()
	if got := in(ann.ID) + in(kim.ID); got != " inner" {
		t.Errorf("the group is still there: ann and kim are in%s", got)
	}
}
