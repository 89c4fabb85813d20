package reconcile_test

import (
	"context"
	"errors"
	"iter"
	"net/http"
	"strings"
	"testing"

	"github.com/gatehouse-sso/gatehouse/provisioning"
	"github.com/gatehouse-sso/gatehouse/provisioning/connector"
	"github.com/gatehouse-sso/gatehouse/provisioning/guard"
	"github.com/gatehouse-sso/gatehouse/provisioning/reconcile"
	"github.com/gatehouse-sso/gatehouse/provisioning/store"
	"github.com/gatehouse-sso/gatehouse/provisioning/task"
)

// found checks that a report found what was done at the target.
func found(t *testing.T, rep reconcile.Report, want map[string]int) {
	t.Helper()
	for what, n := range want {
		got := rep.Drift[what]
		if what == reconcile.Deleted || what == reconcile.Unmatched || what == reconcile.Unlinked {
			got = rep.Count(what)
		}
		if got != n {
			t.Errorf("%s: %d were found, want %d; %+v %+v", what, got, n, rep.Matrix, rep.Drift)
		}
	}
}

func TestB14_DriftIsFoundMendedAndThenGone(t *testing.T) {
	t.Parallel()
	w, p := newWorld(t, reconcile.Target{})
	ids := w.populate(300)
	want := w.drift(ids)

	written, tasks := p.writes.Load(), w.tasks()
	found(t, w.reconcile(reconcile.Preview), want)
	if n := p.writes.Load() - written; n != 0 {
		t.Errorf("the preview wrote %d times", n)
	}
	if got := w.tasks(); got != tasks {
		t.Errorf("after the preview %d tasks wait, before it %d", got, tasks)
	}

	rep := w.reconcile(reconcile.Run)
	found(t, rep, want)
	if n := rep.Matrix[reconcile.Linked][reconcile.Mended]; n != want["title"]+want["active"] {
		t.Errorf("mended: %+v", rep.Matrix)
	}
	if n := rep.Matrix[reconcile.Deleted][reconcile.Created]; n != want[reconcile.Deleted] {
		t.Errorf("created again: %+v", rep.Matrix)
	}
	for _, id := range ids {
		l := w.link(id)
		if l.RemoteID == "" {
			t.Fatalf("user %s has no account any more", id)
		}
	}

	written = p.writes.Load()
	rep = w.reconcile(reconcile.Run)
	if n := p.writes.Load() - written; n != 0 {
		t.Errorf("the second run wrote %d times: %+v", n, rep.Matrix)
	}
	if rep.Count(reconcile.Linked) != 300 || rep.Matrix[reconcile.Linked][reconcile.InStep] != 300 || rep.Count(reconcile.Unmatched) != want[reconcile.Unmatched] {
		t.Errorf("the second run found %+v", rep.Matrix)
	}
	if n := w.rows("reconcile_seen"); n != 0 {
		t.Errorf("%d working rows are left", n)
	}
}

func (w *world) tasks() int {
	list, err := task.List(w.Context(), w.store, task.Task{}, 0)
	if err != nil {
		w.Fatal(err)
	}
	return len(list)
}

func (w *world) rows(table string) (n int) {
	if err := w.store.View(w.Context(), func(tx store.Tx) error {
		n = 0
		for _, err := range tx.Scan(store.Key(table, "r"), store.End(store.Key(table, "r")), 0) {
			if err != nil {
				return err
			}
			n++
		}
		return nil
	}); err != nil {
		w.Fatal(err)
	}
	return n
}

// TestB14_EachAttributeHasItsPolicy: ours wins, theirs wins, or it is shown.
func TestB14_EachAttributeHasItsPolicy(t *testing.T) {
	t.Parallel()
	for policy, want := range map[reconcile.Policy]struct{ title, theirs, after string }{
		reconcile.Ours:       {"Clerk", "Clerk", reconcile.Mended},
		reconcile.Theirs:     {"Chief", "Chief", reconcile.Taken},
		reconcile.ReportOnly: {"Clerk", "Chief", reconcile.Differs},
	} {
		w, _ := newWorld(t, reconcile.Target{Drift: map[string]reconcile.Policy{"title": policy}, Attribute: map[string]string{"title": "title"}})
		id := w.populate(1)[0]
		if _, err := w.conn.Sync(t.Context(), connector.Account{ExternalID: id, UserName: "user000000", Active: true, Attributes: map[string][]string{"title": {"Chief"}}}, w.link(id).RemoteID); err != nil {
			t.Fatal(err)
		}
		rep := w.reconcile(reconcile.Run)
		if rep.Matrix[reconcile.Linked][want.after] != 1 {
			t.Errorf("%s: %+v", policy, rep.Matrix)
		}
		u, err := w.dir.User(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		there, err := w.conn.(connector.Getter).Get(t.Context(), w.link(id).RemoteID)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(provisioning.Effective(u, "title"), ","); got != want.title {
			t.Errorf("%s: the user's title is %q, want %q", policy, got, want.title)
		}
		if got := strings.Join(there.Attributes["title"], ","); got != want.theirs {
			t.Errorf("%s: the account's title is %q, want %q", policy, got, want.theirs)
		}
	}
}

// TestB09_WhatNobodyOwnsIsTakenAwayOnlyAfterAPersonSaidSo: and only if it is still nobody's then.
func TestB09_WhatNobodyOwnsIsTakenAwayOnlyAfterAPersonSaidSo(t *testing.T) {
	t.Parallel()
	for _, how := range []string{reconcile.Delete, reconcile.Disable} {
		w, p := newWorld(t, reconcile.Target{Unmatched: how})
		w.populate(3)
		var strays []string
		for _, name := range []string{"one", "two"} {
			id, err := w.conn.Sync(t.Context(), connector.Account{UserName: name, Active: true}, "")
			if err != nil {
				t.Fatal(err)
			}
			strays = append(strays, id)
		}
		written := p.writes.Load()
		rep := w.reconcile(reconcile.Run)
		if rep.Matrix[reconcile.Unmatched][reconcile.Held] != 2 || p.writes.Load() != written {
			t.Errorf("%s: %+v, %d writes", how, rep.Matrix, p.writes.Load()-written)
		}
		w.reconcile(reconcile.Run) // asks no second time
		cases, err := w.guard.Cases(t.Context(), guard.Target("crm"), "", true, 0)
		if err != nil || len(cases) != 1 || cases[0].Held != 2 {
			t.Fatalf("cases: %+v, %v", cases, err)
		}
		if err := w.guard.Approve(t.Context(), cases[0].ID, "carol", strays[0]); err != nil {
			t.Fatal(err)
		}
		for _, id := range strays {
			if err := w.rec.HandleStray(t.Context(), "crm/"+id); err != nil {
				t.Fatal(err)
			}
		}
		for i, id := range strays {
			a, err := w.conn.(connector.Getter).Get(t.Context(), id)
			switch {
			case i == 1 && (err != nil || !a.Active):
				t.Errorf("%s: what nobody approved is gone: %+v, %v", how, a, err)
			case i == 0 && how == reconcile.Delete && connector.ClassOf(err) != connector.Gone:
				t.Errorf("what was approved is there: %v", err)
			case i == 0 && how == reconcile.Disable && (err != nil || a.Active):
				t.Errorf("what was approved is active: %+v, %v", a, err)
			}
		}
	}
}

func TestAnAccountThatMayBeSomebodysIsDisputed(t *testing.T) {
	t.Parallel()
	w, p := newWorld(t, reconcile.Target{Unmatched: reconcile.Delete})
	w.populate(2)
	// It bears the external ID of a user who has an account already.
	list, err := w.box.Accounts(t.Context(), "", "", 1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.conn.Sync(t.Context(), connector.Account{UserName: "second", Active: true}, ""); err != nil {
		t.Fatal(err)
	}
	all, err := w.conn.Find(t.Context(), connector.Account{UserName: "second"})
	if err != nil || len(all) != 1 {
		t.Fatalf("%+v, %v", all, err)
	}
	if _, err := w.conn.Sync(t.Context(), connector.Account{ExternalID: list[0].UserID, UserName: "second", Active: true}, all[0].ID); err != nil {
		t.Fatal(err)
	}
	written := p.writes.Load()
	rep := w.reconcile(reconcile.Run)
	if rep.Count(reconcile.Disputed) != 1 || rep.Some[0].Text != "the user has another account there" || p.writes.Load() != written {
		t.Errorf("%+v %+v", rep.Matrix, rep.Some)
	}
}

// TestB09_AListThatIsNotWholeSaysNothingAboutWhoIsMissing
func TestB09_AListThatIsNotWholeSaysNothingAboutWhoIsMissing(t *testing.T) {
	t.Parallel()
	for code, change := range map[string]func(*shrunk){
		guard.ReasonEmpty:   func(s *shrunk) { s.show = 0 },
		guard.ReasonShrunk:  func(s *shrunk) { s.show = 5 },
		guard.ReasonPartial: func(s *shrunk) { s.show = 15; s.total = 20 },
	} {
		w, p := newWorld(t, reconcile.Target{Deleted: reconcile.Unlink})
		ids := w.populate(20)
		s := &shrunk{Connector: w.conn}
		change(s)
		if rep := w.reconcileAs(p, s); rep.Unsound != code || rep.Count(reconcile.Deleted) != 0 {
			t.Errorf("%s: %+v", code, rep)
		}
		if w.link(ids[19]).RemoteID == "" {
			t.Errorf("%s: somebody was forgotten", code)
		}
	}
}

// shrunk lists only some of what there is, and says nothing of the rest.
type shrunk struct {
	connector.Connector
	show, total int
}

func (s *shrunk) List(ctx context.Context, q connector.Listing) (connector.Page, error) {
	p, err := s.Connector.(connector.Lister).List(ctx, q)
	p.Accounts, p.Next, p.Total = p.Accounts[:min(s.show, len(p.Accounts))], "", s.total
	return p, err
}

// TestAWalkThatSkipsSomebodyTakesThemNotForGone: a list by index may lose whom
// another's deletion moved to a page that was read already.
func TestAWalkThatSkipsSomebodyTakesThemNotForGone(t *testing.T) {
	t.Parallel()
	w, p := newWorld(t, reconcile.Target{Deleted: reconcile.Unlink})
	ids := w.populate(100)
	rep := w.reconcileAs(p, &shrunk{Connector: w.conn, show: 99})
	if rep.Unsound != "" || rep.Matrix[reconcile.Linked][reconcile.InStep] != 100 {
		t.Errorf("%+v", rep)
	}
	for _, id := range ids {
		if w.link(id).RemoteID == "" {
			t.Fatal("somebody was forgotten")
		}
	}
}

// TestAReconciliationGoesOnWhereItWas: when the target breaks off, and when it is
// paused and begun again by the same command.
func TestAReconciliationGoesOnWhereItWas(t *testing.T) {
	t.Parallel()
	w, p := newWorld(t, reconcile.Target{})
	ids := w.populate(350)
	want := w.drift(ids)
	lists := 0
	p.before = func(r *http.Request) bool {
		if r.Method != http.MethodGet || r.URL.Path != "/Users" || r.URL.Query().Get("filter") != "" {
			return true
		}
		lists++
		return lists != 3 && lists != 5
	}
	key := reconcile.Key("crm", reconcile.Run)
	if err := w.rec.Start(t.Context(), "crm", reconcile.Run); err != nil {
		t.Fatal(err)
	}
	for try := 1; ; try++ {
		err := w.rec.Handle(t.Context(), key)
		var ce *connector.Error
		if err == nil && try == 3 {
			break
		}
		if !errors.As(err, &ce) || try == 3 {
			t.Fatalf("try %d: %v", try, err)
		}
	}
	if lists != 6 {
		t.Errorf("%d pages were asked for, want the 4 there are and 2 that failed", lists)
	}
	rep, _, err := w.rec.Report(t.Context(), "crm", reconcile.Run)
	if err != nil {
		t.Fatal(err)
	}
	found(t, rep, want)

	if err := task.Pause(t.Context(), w.store, reconcile.Kind, key); err != nil {
		t.Fatal(err)
	}
	if err := w.rec.Start(t.Context(), "crm", reconcile.Run); err != nil {
		t.Fatal(err)
	}
	var got task.Task
	if err := w.store.View(t.Context(), func(tx store.Tx) (err error) {
		got, _, err = task.Get(tx, reconcile.Kind, key)
		return err
	}); err != nil || got.State != task.Waiting {
		t.Errorf("the same command leaves it %s, %v", got.State, err)
	}
}

// TestAListThatIsReadFromItsBeginningAgainCountsWhole: whom the attempt before saw counts
// too, where a target can only be read in one go, or forgot how far it was read.
func TestAListThatIsReadFromItsBeginningAgainCountsWhole(t *testing.T) {
	t.Parallel()
	for name, broken := range map[string]func(connector.Connector) connector.Connector{
		"in one go": func(c connector.Connector) connector.Connector { return &brokenOff{Connector: c, at: 250} },
		"a cursor":  func(c connector.Connector) connector.Connector { return &forgetful{Connector: c, at: 3} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, _ := newWorld(t, reconcile.Target{})
			ids := w.populate(350)
			if err := w.conn.Remove(t.Context(), w.link(ids[7]).RemoteID); err != nil {
				t.Fatal(err)
			}
			again := reconcile.New(reconcile.Config{
				Store: w.store, Directory: w.dir, Outbox: w.box, Guard: w.guard, Run: w.runner.Now,
				Targets: []reconcile.Target{{ID: "crm", Connector: broken(w.conn), Deleted: reconcile.Unlink}},
			})
			key := reconcile.Key("crm", reconcile.Run)
			if err := again.Start(t.Context(), "crm", reconcile.Run); err != nil {
				t.Fatal(err)
			}
			if err := again.Handle(t.Context(), key); err == nil {
				t.Fatal("it did not break off")
			}
			if err := again.Handle(t.Context(), key); err != nil {
				t.Fatal(err)
			}
			rep, _, err := again.Report(t.Context(), "crm", reconcile.Run)
			if err != nil || rep.Unsound != "" || rep.Matrix[reconcile.Linked][reconcile.InStep] != 349 || rep.Matrix[reconcile.Deleted][reconcile.Forgotten] != 1 {
				t.Errorf("%+v, %v", rep, err)
			}
		})
	}
}

// brokenOff can be read in one go alone, and the first time not to its end.
type brokenOff struct {
	connector.Connector
	at int // after so many accounts
}

func (b *brokenOff) Accounts(ctx context.Context) iter.Seq2[connector.Account, error] {
	return func(yield func(connector.Account, error) bool) {
		left := b.at
		for a, err := range b.Connector.Accounts(ctx) {
			if left--; left == 0 {
				b.at = 0
				yield(a, &connector.Error{Class: connector.Transient, Text: "it broke off"})
				return
			}
			if !yield(a, err) {
				return
			}
		}
	}
}

// forgetful does not know one of its cursors any more.
type forgetful struct {
	connector.Connector
	at int // which page
}

func (f *forgetful) List(ctx context.Context, q connector.Listing) (connector.Page, error) {
	if f.at--; f.at == 0 {
		return connector.Page{}, &connector.Error{Class: connector.Invalid, Text: "what cursor?"}
	}
	return f.Connector.(connector.Lister).List(ctx, q)
}

func TestAnIncrementalPassReadsWhatWasChanged(t *testing.T) {
	t.Parallel()
	w, p := newWorld(t, reconcile.Target{})
	ids := w.populate(5)
	w.reconcile(reconcile.Run)
	if err := w.conn.Remove(t.Context(), w.link(ids[0]).RemoteID); err != nil {
		t.Fatal(err)
	}
	if _, err := w.conn.Sync(t.Context(), connector.Account{ExternalID: ids[1], UserName: "user000001", Active: false}, w.link(ids[1]).RemoteID); err != nil {
		t.Fatal(err)
	}
	filter := ""
	p.before = func(r *http.Request) bool {
		if f := r.URL.Query().Get("filter"); strings.Contains(f, "lastModified") {
			filter = f
		}
		return true
	}
	rep := w.reconcile(reconcile.Incremental)
	if filter == "" || rep.Drift["active"] != 1 || rep.Count(reconcile.Deleted) != 0 {
		t.Errorf("filter %q, report %+v", filter, rep)
	}
}

func TestWhatCanNotBeListedCanNotBeReconciled(t *testing.T) {
	t.Parallel()
	w, _ := newWorld(t, reconcile.Target{})
	again := reconcile.New(reconcile.Config{Store: w.store, Directory: w.dir, Outbox: w.box, Guard: w.guard,
		Targets: []reconcile.Target{{ID: "crm", Connector: silent{w.conn}}}})
	if err := again.Start(t.Context(), "crm", reconcile.Run); !errors.Is(err, reconcile.ErrNoList) {
		t.Errorf("%v", err)
	}
	if err := w.rec.Start(t.Context(), "erp", reconcile.Run); !errors.Is(err, reconcile.ErrNoTarget) {
		t.Errorf("%v", err)
	}
	if err := w.rec.Start(t.Context(), "crm", "somehow"); err == nil {
		t.Error("any mode will do")
	}
}

type silent struct{ connector.Connector }

func (silent) Caps() connector.Caps { return connector.Caps{NoList: true} }
