package guard_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/gatehouse-sso/gatehouse/provisioning/audit"
	"github.com/gatehouse-sso/gatehouse/provisioning/guard"
	"github.com/gatehouse-sso/gatehouse/provisioning/store"
	"github.com/gatehouse-sso/gatehouse/provisioning/store/boltstore"
	"github.com/gatehouse-sso/gatehouse/provisioning/store/storetest"
	"github.com/gatehouse-sso/gatehouse/provisioning/task"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a guard over a real store, with a clock that the test moves.
type world struct {
	testing.TB
	store   store.Store // each transaction twice
	kept    store.Store // the same, each once
	guard   *guard.Guard
	now     time.Time
	of      int // the population
	resumed []string
	events  []string
	saved   map[string]string // who is protected, and why
}

func newWorld(t testing.TB) *world {
	t.Helper()
	st, err := boltstore.Open(filepath.Join(t.TempDir(), "db"), boltstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	w := &world{TB: t, store: storetest.Twice(st), kept: st, now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), saved: map[string]string{}}
	w.guard = guard.New(w.config())
	return w
}

func (w *world) config() guard.Config {
	return guard.Config{
		Store: w.store, Now: func() time.Time { return w.now },
		Population: func(store.Tx, string) (int, error) { return w.of, nil },
		Protected:  func(_ store.Tx, subject string) (string, error) { return w.saved[subject], nil },
		Resume: func(tx store.Tx, it guard.Item) error {
			w.resumed = append(w.resumed, it.Act.Subject)
			return task.Add(tx, "resumed", it.Act.Subject, w.now)
		},
		Audit: func(_ store.Tx, e audit.Event) error {
			w.events = append(w.events, e.Kind)
			return nil
		},
	}
}

func removal(subject string) guard.Act {
	return guard.Act{Scope: guard.Target("crm"), Kind: guard.Removal, Subject: subject, How: "disable", Reason: "left the scope"}
}

func (w *world) ask(a guard.Act) guard.Answer {
	w.Helper()
	ans, err := w.guard.Ask(w.Context(), a)
	if err != nil {
		w.Fatal(err)
	}
	return ans
}

// goes asks for n removals and counts those that may be done.
func (w *world) goes(from, n int, with func(*guard.Act)) (done int) {
	w.Helper()
	for i := range n {
		a := removal(fmt.Sprintf("u%05d", from+i))
		if with != nil {
			with(&a)
		}
		if w.ask(a).Go() {
			done++
		}
	}
	return done
}

func (w *world) open() guard.Case {
	w.Helper()
	list, err := w.guard.Cases(w.Context(), "", "", true, 0)
	if err != nil || len(list) != 1 {
		w.Fatalf("open cases: %+v, %v", list, err)
	}
	return list[0]
}

// run carries decisions to the items, as the runner does.
func (w *world) run(id string) {
	w.Helper()
	if err := w.guard.HandleCase(w.Context(), id); err != nil {
		w.Fatal(err)
	}
}

func TestB09_RemovalsBeyondTheLimitAreHeld(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ of, want int }{{0, 10}, {200, 10}, {400, 20}, {1000, 50}} {
		w := newWorld(t)
		w.of = c.of
		if got := w.goes(0, c.want+5, nil); got != c.want {
			t.Errorf("of %d accounts %d may go, want %d", c.of, got, c.want)
		}
		ans := w.ask(removal("another"))
		if ans.Code() != guard.ReasonHeld || ans.Case != w.open().ID || !strings.Contains(ans.Text, fmt.Sprintf("%d of %d", c.want, c.of)) {
			t.Errorf("the next one is answered %+v", ans)
		}
		if k := w.open(); k.Held != 6 {
			t.Errorf("the case holds %d, want 6", k.Held)
		}
		if !slices.Contains(w.events, "guard.held") {
			t.Errorf("nobody is told: %q", w.events)
		}
	}
}

func TestB09_EveryScopeAndKindHasItsOwnLimit(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if got := w.goes(0, 11, nil); got != 10 {
		t.Fatalf("%d may go", got)
	}
	if got := w.goes(0, 11, func(a *guard.Act) { a.Scope = guard.Source("hr") }); got != 10 {
		t.Errorf("of another scope %d may go, want 10", got)
	}
	w = newWorld(t)
	if got := w.goes(0, 60, func(a *guard.Act) { a.Kind = guard.Membership }); got != 50 {
		t.Errorf("%d memberships may end, want 50", got)
	}
	w = newWorld(t)
	if got := w.goes(0, 20, func(a *guard.Act) { a.Kind = "else" }); got != 0 {
		t.Errorf("%d acts of no kind may be done", got)
	}
}

func TestB09_TheLimitIsOfAnHourAndOfAPass(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if got := w.goes(0, 10, nil); got != 10 {
		t.Fatalf("%d may go", got)
	}
	w.now = w.now.Add(61 * time.Minute)
	if got := w.goes(10, 10, nil); got != 10 {
		t.Errorf("an hour later %d may go, want 10", got)
	}
	w = newWorld(t)
	slow := func(a *guard.Act) { a.Cycle = "file 1"; w.now = w.now.Add(20 * time.Minute) }
	if got := w.goes(0, 12, slow); got != 10 {
		t.Errorf("of a slow pass %d may go, want 10", got)
	}
}

func TestB09_TheClockGoingBackAllowsNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.goes(0, 10, nil)
	w.now = w.now.Add(-3 * time.Hour)
	if got := w.goes(10, 1, nil); got != 0 {
		t.Error("what was counted before the clock jumped back counts no more")
	}
}

func TestAskingTwiceCountsOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for range 5 {
		if got := w.goes(0, 10, nil); got != 10 {
			t.Fatalf("%d may go", got)
		}
	}
	if got := w.goes(10, 1, nil); got != 0 {
		t.Error("the eleventh may go")
	}
}

func TestWhatWasMadeAMomentAgoIsNotCounted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if got := w.goes(0, 100, func(a *guard.Act) { a.Since = w.now.Add(-59 * time.Minute) }); got != 100 {
		t.Errorf("%d of 100 may go", got)
	}
	if got := w.goes(100, 11, func(a *guard.Act) { a.Since = w.now.Add(-61 * time.Minute) }); got != 10 {
		t.Errorf("%d of what is older may go, want 10", got)
	}
}

func TestAPersonsOwnWishIsNotHeld(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.goes(0, 12, nil)
	held := w.open().Held
	if got := w.goes(11, 1, func(a *guard.Act) { a.Asked = true }); got != 1 {
		t.Error("what an administrator asked for is held")
	}
	if now := w.open().Held; now != held-1 {
		t.Errorf("the case holds %d, and held %d before one was done", now, held)
	}
	if got := w.goes(20, 1, nil); got != 0 {
		t.Error("the rest is not held any more")
	}
}

func TestProtectedPeopleAreNeverRemovedByThemselves(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.saved["root"] = "the last administrator"
	ans := w.ask(removal("root"))
	if ans.Go() || ans.Code() != guard.ReasonProtected || ans.Text != "the last administrator" {
		t.Errorf("answered %+v", ans)
	}
	w.ask(removal("root"))
	if n := strings.Count(strings.Join(w.events, " "), "guard.protected"); n > 2 { // the store runs everything twice
		t.Errorf("recorded %d times", n)
	}
	if !w.ask(removal("kim")).Go() {
		t.Error("nobody else may go")
	}
}

func TestACaseIsApprovedWholeInPartOrNotAtAll(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.goes(0, 40, nil)
	id := w.open().ID
	if err := w.guard.Approve(t.Context(), id, "carol", "u00015", "u00016"); err != nil {
		t.Fatal(err)
	}
	if err := w.guard.Reject(t.Context(), id, "carol", "u00017"); err != nil {
		t.Fatal(err)
	}
	for subject, want := range map[string]guard.Verdict{"u00015": guard.Go, "u00016": guard.Go, "u00017": guard.Rejected, "u00018": guard.Held} {
		if ans := w.ask(removal(subject)); ans.Verdict != want {
			t.Errorf("%s: %+v, want %v", subject, ans, want)
		}
	}
	if k := w.open(); k.Held != 27 || k.Approved != 2 || k.Rejected != 1 {
		t.Errorf("the case is %+v", k)
	}
	if err := w.guard.Approve(t.Context(), id, "carol", "nobody"); !errors.Is(err, guard.ErrNotFound) {
		t.Errorf("approving what is not held: %v", err)
	}
	if err := w.guard.Approve(t.Context(), id, "carol"); err != nil {
		t.Fatal(err)
	}
	if !w.ask(removal("u00018")).Go() {
		t.Error("what is approved may not go before the task has run")
	}
	w.run(id)
	if got := w.goes(18, 22, nil); got != 22 {
		t.Errorf("%d of 22 approved may go", got)
	}
	if ans := w.ask(removal("u00017")); ans.Code() != guard.ReasonRejected {
		t.Errorf("what was rejected is answered %+v", ans)
	}
	k, err := w.guard.Case(t.Context(), id)
	if err != nil || k.State != guard.CaseClosed || k.Held != 0 || k.Approved != 29 || k.By != "carol" {
		t.Errorf("in the end %+v, %v", k, err)
	}
	slices.Sort(w.resumed)
	if got := slices.Compact(w.resumed); len(got) != 30 {
		t.Errorf("%d were made to ask again, want 30", len(got))
	}
	if err := w.guard.Approve(t.Context(), id, "carol"); !errors.Is(err, guard.ErrNotFound) {
		t.Errorf("deciding twice: %v", err)
	}
}

func TestACaseNobodyDecidesIsRejected(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.goes(0, 12, nil)
	id := w.open().ID
	w.now = w.now.Add(7*24*time.Hour - time.Second)
	var retry *task.Retry
	if err := w.guard.HandleCase(t.Context(), id); !errors.As(err, &retry) || retry.After != time.Second {
		t.Fatalf("before its time: %v", err)
	}
	if ans := w.ask(removal("u00011")); ans.Verdict != guard.Held {
		t.Errorf("before its time: %+v", ans)
	}
	w.now = w.now.Add(time.Second)
	w.run(id)
	if ans := w.ask(removal("u00011")); ans.Code() != guard.ReasonRejected {
		t.Errorf("after a week: %+v", ans)
	}
	// A decision does not count for ever: then a person is asked again.
	w.now = w.now.Add(7 * 24 * time.Hour)
	if ans := w.ask(removal("u00011")); !ans.Go() {
		t.Errorf("a week after that: %+v", ans)
	}
}

func TestForeseenRemovalsAreHeldFromTheFirst(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	scope, ctx := guard.Target("crm"), t.Context()
	if ans, err := w.guard.Foresee(ctx, scope, "file 1", guard.Removal, 10); err != nil || !ans.Go() {
		t.Fatalf("ten: %+v, %v", ans, err)
	}
	ans, err := w.guard.Foresee(ctx, scope, "file 2", guard.Removal, 11)
	if err != nil || ans.Code() != guard.ReasonHeld {
		t.Fatalf("eleven: %+v, %v", ans, err)
	}
	if got := w.goes(0, 11, func(a *guard.Act) { a.Cycle = "file 2" }); got != 0 {
		t.Errorf("%d may go", got)
	}
	if k := w.open(); k.Held != 11 || k.Cycle != "file 2" {
		t.Errorf("the case is %+v", k)
	}
}

func TestWhoIsBackIsForgotten(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.goes(0, 12, nil)
	id := w.open().ID
	for _, subject := range []string{"u00001", "u00011", "never asked"} {
		if err := w.store.Update(t.Context(), func(tx store.Tx) error { return w.guard.WithdrawTx(tx, removal(subject)) }); err != nil {
			t.Fatal(err)
		}
	}
	if k := w.open(); k.Held != 1 {
		t.Errorf("the case holds %d, want 1", k.Held)
	}
	if err := w.guard.Approve(t.Context(), id, "carol"); err != nil {
		t.Fatal(err)
	}
	w.run(id)
	// The hour is still full, and the approval was not about them.
	if ans := w.ask(removal("u00011")); ans.Verdict != guard.Held {
		t.Errorf("who came back and left again: %+v", ans)
	}
}

// A store that says it does not know whether it committed, and handlers that are
// killed on their way, lose no item and decide none twice.
func TestDecisionsSurviveAStoreThatIsNotSure(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.goes(0, 60, nil)
	id := w.open().ID
	if err := w.guard.Approve(t.Context(), id, "carol"); err != nil {
		t.Fatal(err)
	}
	n := 0
	c := w.config()
	c.Store = storetest.Flaky(w.store, func() bool { n++; return n%3 != 0 })
	flaky := guard.New(c)
	tries := 0
	for tries < 100 && flaky.HandleCase(t.Context(), id) != nil {
		tries++
	}
	if tries == 0 || tries == 100 {
		t.Fatalf("it took %d tries", tries+1)
	}
	k, err := w.guard.Case(t.Context(), id)
	if err != nil || k.State != guard.CaseClosed || k.Approved != 50 || k.Held != 0 {
		t.Errorf("in the end %+v, %v", k, err)
	}
	list, err := task.List(t.Context(), w.store, task.Task{}, 0)
	if err != nil {
		t.Fatal(err)
	}
	resumed := 0
	for _, tk := range list {
		if tk.Kind == "resumed" {
			resumed++
		}
	}
	if resumed != 50 {
		t.Errorf("%d were made to ask again, want 50", resumed)
	}
}

// What a person decides about some is decided in several transactions: where one of them
// was refused, they decide the same again, about all of them.
func TestR04_ADecisionAboutSomeThatWasRefusedHalfwayIsMadeAgain(t *testing.T) {
	t.Parallel()
	some := []string{"u00010", "u00011", "u00012", "u00013", "u00014", "u00015", "u00016", "u00017"}
	whole := false
	for works := 0; !whole; works++ {
		w := newWorld(t)
		w.goes(0, 40, nil)
		id := w.open().ID
		c := w.config()
		c.Store = &storetest.Failing{Store: w.store, Left: works}
		whole = guard.New(c).Approve(t.Context(), id, "carol", some...) == nil
		if works > 9 {
			t.Fatal("it takes more than 9 transactions")
		}
		if err := w.guard.Approve(t.Context(), id, "carol", some...); err != nil {
			t.Errorf("again after %d transactions: %v", works, err)
		}
		if k := w.open(); k.Approved != len(some) || k.Held != 30-len(some) {
			t.Errorf("after %d transactions the case is %+v", works, k)
		}
		if err := w.guard.Reject(t.Context(), id, "carol", some...); !errors.Is(err, guard.ErrNotFound) {
			t.Errorf("what was approved is rejected: %v", err)
		}
	}
}

// Who decided about whom is recorded, also where the rest of a case waits on.
func TestADecisionAboutSomeIsRecordedOfEach(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.goes(0, 40, nil)
	id := w.open().ID
	var got []string
	c := w.config()
	c.Audit = func(_ store.Tx, e audit.Event) error {
		got = append(got, e.Kind+" "+e.UserID+" by "+e.By)
		return nil
	}
	c.Store = w.kept
	g := guard.New(c)
	if err := errors.Join(g.Approve(t.Context(), id, "carol", "u00010", "u00012"), g.Reject(t.Context(), id, "dave", "u00011")); err != nil {
		t.Fatal(err)
	}
	if want := []string{"guard.approved u00010 by carol", "guard.approved u00012 by carol", "guard.rejected u00011 by dave"}; !slices.Equal(got, want) {
		t.Errorf("recorded are %q, want %q", got, want)
	}
}

func TestWhatDoesNotCountAnyMoreIsSwept(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.goes(0, 30, func(a *guard.Act) { a.Cycle = "file 1" })
	w.now = w.now.Add(40 * 24 * time.Hour)
	for more := true; more; {
		var err error
		if more, err = w.guard.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	left := map[string]int{}
	if err := w.store.View(t.Context(), func(tx store.Tx) error {
		clear(left)
		for p, err := range tx.Scan(store.Key("guard_item", "r"), store.End(store.Key("guard_item", "r")), 0) {
			if err != nil {
				return err
			}
			left[string(p.Val[:8])]++
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if n := left[`{"v":1,"`]; n != 20 {
		t.Errorf("%d items are left, want the 20 that wait for somebody", n)
	}
	if w.open().Held != 20 {
		t.Errorf("the case is %+v", w.open())
	}
}

// TestModelOfTheGuard: whatever is asked in whatever order, of one hour no more
// than the limit is let through that nobody approved, and everything else is in a case.
func TestModelOfTheGuard(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(t)
		free, held, approved := map[string]bool{}, map[string]bool{}, map[string]bool{}
		for range rapid.IntRange(1, 40).Draw(rt, "steps") {
			subject := fmt.Sprintf("u%d", rapid.IntRange(0, 25).Draw(rt, "subject"))
			switch rapid.IntRange(0, 9).Draw(rt, "what") {
			case 0:
				if len(held) > 0 {
					id := w.open().ID
					if err := w.guard.Approve(t.Context(), id, "carol"); err != nil {
						rt.Fatal(err)
					}
					w.run(id)
					for s := range held {
						approved[s] = true
					}
					clear(held)
				}
			default:
				switch ans := w.ask(removal(subject)); {
				case ans.Go() && (free[subject] || approved[subject]):
				case ans.Go() && !held[subject]:
					free[subject] = true
				case ans.Verdict == guard.Held && !free[subject] && !approved[subject]:
					held[subject] = true
				default:
					rt.Fatalf("%s: %+v", subject, ans)
				}
			}
			if len(free) > 10 {
				rt.Fatalf("%d were let through", len(free))
			}
			if len(held) > 0 && w.open().Held != len(held) {
				rt.Fatalf("the case holds %d, want %d", w.open().Held, len(held))
			}
		}
	})
}

func TestAListIsBelievedOnlyWhenItIsWhole(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		walk guard.Walk
		code string
	}{
		"the same":                    {guard.Walk{Had: 100, Got: 100}, ""},
		"the first time":              {guard.Walk{Got: 3}, ""},
		"nobody, and nobody before":   {guard.Walk{}, ""},
		"nobody any more":             {guard.Walk{Had: 1}, guard.ReasonEmpty},
		"nobody, but it said 5":       {guard.Walk{TotalBefore: 5, TotalAfter: 5}, guard.ReasonEmpty},
		"it broke off":                {guard.Walk{Had: 100, Got: 100, Err: io.ErrUnexpectedEOF}, guard.ReasonPartial},
		"there is more":               {guard.Walk{Had: 100, Got: 100, More: true}, guard.ReasonPartial},
		"fewer than it said":          {guard.Walk{Had: 100, Got: 90, TotalBefore: 100, TotalAfter: 100}, guard.ReasonPartial},
		"one fewer than it said":      {guard.Walk{Had: 100, Got: 99, TotalBefore: 100, TotalAfter: 100}, ""},
		"two percent more at the end": {guard.Walk{Had: 100, Got: 100, TotalBefore: 98, TotalAfter: 100}, ""},
		"three percent more":          {guard.Walk{Had: 100, Got: 100, TotalBefore: 97, TotalAfter: 100}, guard.ReasonUnstable},
		"three percent fewer":         {guard.Walk{Had: 100, Got: 97, TotalBefore: 100, TotalAfter: 97}, guard.ReasonUnstable},
		"half of them":                {guard.Walk{Had: 100, Got: 50}, ""},
		"less than half":              {guard.Walk{Had: 100, Got: 49}, guard.ReasonShrunk},
		"a limit of its own":          {guard.Walk{Had: 100, Got: 89, Shrink: 10}, guard.ReasonShrunk},
	} {
		err := c.walk.Sound()
		var u *guard.Unsound
		switch {
		case c.code == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case c.code != "" && (!errors.As(err, &u) || u.Reason() != c.code):
			t.Errorf("%s: %v, want %s", name, err, c.code)
		case c.code != "" && guard.Reasons[c.code] == "":
			t.Errorf("%s has no sentence", c.code)
		}
	}
}

// TestStoredForm pins what is in the store.
func TestStoredForm(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.ask(guard.Act{Scope: "source:hr", Kind: guard.Removal, Subject: "u1", How: "delete", Cycle: "f", Reason: "missing", Since: time.Unix(0, 0).UTC()})
	want := []string{
		`{"v":1,"row":{"act":{"scope":"source:hr","kind":"removal","subject":"u1","how":"delete","cycle":"f","reason":"missing","since":"1970-01-01T00:00:00Z"},"state":"passed","at":"2026-03-01T12:00:00Z"}}`,
		`{"v":1,"row":{"scope":"source:hr","minutes":{"removal":{"29539440":1}},"at":"2026-03-01T12:00:00Z"}}`,
		`{"v":1,"row":{"scope":"source:hr","cycle":"f","sum":{"removal":1},"at":"2026-03-01T12:00:00Z"}}`,
	}
	var got []string
	if err := w.store.View(context.Background(), func(tx store.Tx) error {
		got = nil
		for p, err := range tx.Scan(nil, nil, 0) {
			if err != nil {
				return err
			}
			if len(p.Val) > 0 && p.Val[0] == '{' {
				got = append(got, string(p.Val))
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got, want) {
		t.Errorf("stored\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// B09: what is done together is let through together, or not at all.
func TestB09_ActsThatGoTogetherAreHeldTogether(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	many := func(from, n int) (acts []guard.Act) {
		for i := range n {
			acts = append(acts, removal(fmt.Sprintf("u%05d", from+i)))
		}
		return acts
	}
	ask := func(acts []guard.Act) guard.Verdict {
		t.Helper()
		ans, err := w.guard.AskAll(t.Context(), acts)
		if err != nil {
			t.Fatal(err)
		}
		return ans.Verdict
	}
	if v := ask(nil); v != guard.Go {
		t.Errorf("nothing at all is %v", v)
	}
	if v := ask(many(0, 7)); v != guard.Go {
		t.Errorf("7 of 10 are %v", v)
	}
	if v := ask(many(0, 10)); v != guard.Go { // seven of them are counted already
		t.Errorf("the same 7 and 3 more are %v", v)
	}
	fresh := many(100, 8)
	for i := range fresh {
		fresh[i].Since = w.now // of a minute ago
	}
	if v := ask(fresh); v != guard.Go {
		t.Errorf("what was just made is %v", v)
	}
	// Not even the first of those that would pass the limit together.
	for range 2 {
		if v := ask(many(200, 20)); v != guard.Held || w.open().Held != 20 {
			t.Fatalf("%v, and %d wait", v, w.open().Held)
		}
	}
	if v := ask(many(219, 2)); v != guard.Held || w.open().Held != 21 {
		t.Errorf("one that waits and one more: %v, and %d wait", v, w.open().Held)
	}
	id := w.open().ID
	if err := w.guard.Approve(t.Context(), id, "admin"); err != nil {
		t.Fatal(err)
	}
	if v := ask(many(200, 20)); v != guard.Go {
		t.Errorf("what a person approved is %v", v)
	}
	w.run(id)
	if v := ask(many(200, 21)); v != guard.Go {
		t.Errorf("later it is %v", v)
	}
	// One that was rejected stops the others, which are not counted.
	if v := ask(many(300, 20)); v != guard.Held {
		t.Fatal(v)
	}
	id = w.open().ID
	if err := w.guard.Reject(t.Context(), id, "admin", "u00300"); err != nil {
		t.Fatal(err)
	}
	if err := w.guard.Approve(t.Context(), id, "admin"); err != nil {
		t.Fatal(err)
	}
	w.run(id)
	w.now = w.now.Add(2 * time.Hour)
	if v := ask(append(many(300, 1), many(400, 9)...)); v != guard.Rejected {
		t.Error(v)
	}
	if v := ask(many(400, 10)); v != guard.Go {
		t.Errorf("what was stopped was counted: %v", v)
	}
}

// BenchmarkHoldAll holds the removal of 50,000 memberships, which one request asks for,
// and then finds all of them approved.
func BenchmarkHoldAll(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		st, err := boltstore.Open(filepath.Join(b.TempDir(), "db"), boltstore.Options{})
		if err != nil {
			b.Fatal(err)
		}
		g := guard.New(guard.Config{Store: st})
		since := map[string]time.Time{}
		for i := range 50_000 {
			since[fmt.Sprintf("user-%05d", i)] = time.Time{}
		}
		acts := guard.Memberships(guard.Source("scim:hr"), "group", "group", "the group was deleted", since)
		b.StartTimer()
		began := time.Now()
		ans, err := g.AskAll(b.Context(), acts)
		if err != nil || ans.Verdict != guard.Held {
			b.Fatal(ans, err)
		}
		b.ReportMetric(time.Since(began).Seconds(), "s-to-hold")
		if err := g.Approve(b.Context(), ans.Case, "carol"); err != nil {
			b.Fatal(err)
		}
		began = time.Now()
		if ans, err = g.AskAll(b.Context(), acts); err != nil || !ans.Go() {
			b.Fatal(ans, err)
		}
		b.ReportMetric(time.Since(began).Seconds(), "s-to-repeat")
		b.StopTimer()
		if err := st.Close(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}
