package access_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/gatehouse-sso/gatehouse/authz"
	"github.com/gatehouse-sso/gatehouse/provisioning"
	"github.com/gatehouse-sso/gatehouse/provisioning/access"
	"github.com/gatehouse-sso/gatehouse/provisioning/audit"
	"github.com/gatehouse-sso/gatehouse/provisioning/store"
	"github.com/gatehouse-sso/gatehouse/provisioning/store/boltstore"
	"github.com/gatehouse-sso/gatehouse/provisioning/store/storetest"
	"github.com/gatehouse-sso/gatehouse/provisioning/task"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a directory where the group of leads decides about finance. Every
// transaction is tried twice.
type world struct {
	testing.TB
	store  store.Store
	dir    *provisioning.Directory
	access *access.Access
	told   map[string]string // request → state, as told
	bob    string
	dana   string // a lead
	erik   string // a lead
}

func newWorld(t testing.TB) *world {
	t.Helper()
	st, err := boltstore.Open(filepath.Join(t.TempDir(), "db"), boltstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	w := &world{TB: t, store: storetest.Twice(st), told: map[string]string{}}
	w.dir, err = provisioning.New(provisioning.Config{Store: w.store, UserStores: []string{"primary"}, Followers: []provisioning.Follower{
		func(tx store.Tx, before, after provisioning.User, d provisioning.Delta) error {
			return w.access.Follow(tx, before, after, d)
		},
	}})
	if err != nil {
		t.Fatal(err)
	}
	leads := func(s authz.Subject) bool { return slices.Contains(s.Attributes["groups"], "leads") }
	log := audit.New(nil)
	w.access = access.New(access.Config{
		Store: w.store, Directory: w.dir, Resolve: func(s authz.Subject) authz.Subject { return s }, Audit: log.Append,
		Roles: []access.Role{{ID: "finance", Title: "Finance", Longest: 90 * 24 * time.Hour, Approves: leads}, {ID: "secret"}},
		Told:  func(_ store.Tx, r access.Request) error { w.told[r.ID] = r.State; return nil },
	})
	w.bob, w.dana, w.erik = w.create("bob"), w.create("dana", "leads"), w.create("erik", "leads")
	return w
}

func (w *world) create(name string, groups ...string) string {
	w.Helper()
	u := provisioning.User{Store: "primary", UserName: name, Active: true}
	u.Say(provisioning.Admin, "groups", groups...)
	u, _, err := w.dir.Create(w.Context(), u, provisioning.Admin)
	if err != nil {
		w.Fatal(err)
	}
	return u.ID
}

func (w *world) ask(user string, days int) (access.Request, error) {
	return w.access.Ask(w.Context(), access.Request{UserID: user, Role: "finance", Service: "payroll", Reason: "month end", Until: time.Now().Add(time.Duration(days) * 24 * time.Hour)})
}

func (w *world) asked(user string, days int) access.Request {
	w.Helper()
	r, err := w.ask(user, days)
	if err != nil {
		w.Fatal(err)
	}
	return r
}

// granted is what policy sees.
func (w *world) granted(user string) []string {
	w.Helper()
	s, err := w.dir.Subject(w.Context(), user)
	if err != nil {
		w.Fatal(err)
	}
	return s.Granted
}

func (w *world) refused(code string, err error) {
	w.Helper()
	var r *access.Refusal
	if !errors.As(err, &r) || r.Code != code {
		w.Errorf("refused with %v, want the code %s", err, code)
	}
}

func (w *world) events() (list []string) {
	w.Helper()
	for e, err := range audit.Events(w.Context(), w.store, audit.Query{Limit: 1000}) {
		if err != nil {
			w.Fatal(err)
		}
		list = append(list, e.Kind)
	}
	slices.Reverse(list)
	return list
}

func TestAnApprovedRequestGrantsTheRoleUntilItsEnd(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	before, _ := w.dir.User(t.Context(), w.bob)
	r := w.asked(w.bob, 30)
	if len(w.granted(w.bob)) != 0 || w.told[r.ID] != access.Pending {
		t.Fatalf("asking gives %q and tells %q", w.granted(w.bob), w.told)
	}
	shorter := time.Now().Add(7 * 24 * time.Hour)
	r, err := w.access.Decide(t.Context(), r.ID, w.dana, access.Answer{Approve: true, Until: shorter, Text: "a week will do"})
	if err != nil {
		t.Fatal(err)
	}
	u, err := w.dir.User(t.Context(), w.bob)
	if err != nil {
		t.Fatal(err)
	}
	if len(u.Grants) != 1 || u.Grants[0].Role != "finance" || u.Grants[0].By != w.dana || u.Grants[0].Request != r.ID || u.Grants[0].Until.Sub(shorter).Abs() > time.Millisecond {
		t.Errorf("the grant is %+v", u.Grants)
	}
	if u.Version != before.Version+1 || !slices.Equal(w.granted(w.bob), []string{"finance"}) || w.told[r.ID] != access.Approved {
		t.Errorf("version %d, granted %q, told %q", u.Version, w.granted(w.bob), w.told)
	}
	if want := []string{"request.made", "request.approved"}; !slices.Equal(w.events(), want) {
		t.Errorf("audited %q, want %q", w.events(), want)
	}
	// It is decided once.
	_, err = w.access.Decide(t.Context(), r.ID, w.erik, access.Answer{})
	w.refused(access.ReasonDecided, err)
}

func TestNobodyDecidesAboutThemselvesOrWithoutTheDuty(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	yes := access.Answer{Approve: true}
	r := w.asked(w.dana, 5)
	_, err := w.access.Decide(t.Context(), r.ID, w.dana, yes)
	w.refused(access.ReasonOwn, err)
	_, err = w.access.Decide(t.Context(), r.ID, w.bob, yes)
	w.refused(access.ReasonApprover, err)
	_, err = w.access.Decide(t.Context(), r.ID, "", yes)
	w.refused(access.ReasonApprover, err)
	_, err = w.access.Decide(t.Context(), "nothing", w.erik, yes)
	w.refused(access.ReasonUnknown, err)
	_, err = w.access.Grant(t.Context(), w.dana, "finance", time.Time{}, w.dana)
	w.refused(access.ReasonOwn, err)
	// Who was disabled since decides nothing.
	if _, _, err := w.dir.Change(t.Context(), w.erik, provisioning.Admin, func(u *provisioning.User) error { u.Active = false; return nil }); err != nil {
		t.Fatal(err)
	}
	_, err = w.access.Decide(t.Context(), r.ID, w.erik, yes)
	w.refused(access.ReasonApprover, err)
	if len(w.granted(w.dana)) != 0 {
		t.Errorf("dana has %q", w.granted(w.dana))
	}
	if _, err := w.access.Decide(t.Context(), r.ID, access.Machine, yes); err != nil {
		t.Error(err)
	}
}

func TestAskingHasLimits(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ask := func(change func(*access.Request)) error {
		r := access.Request{UserID: w.bob, Role: "finance", Reason: "month end", Until: time.Now().Add(time.Hour)}
		change(&r)
		_, err := w.access.Ask(t.Context(), r)
		return err
	}
	w.refused(access.ReasonRole, ask(func(r *access.Request) { r.Role = "secret" }))
	w.refused(access.ReasonRole, ask(func(r *access.Request) { r.Role = "nothing" }))
	w.refused(access.ReasonWhy, ask(func(r *access.Request) { r.Reason = " \n" }))
	w.refused(access.ReasonUntil, ask(func(r *access.Request) { r.Until = time.Time{} }))
	w.refused(access.ReasonUntil, ask(func(r *access.Request) { r.Until = time.Now().Add(-time.Second) }))
	w.refused(access.ReasonUntil, ask(func(r *access.Request) { r.Until = time.Now().Add(91 * 24 * time.Hour) }))
	if err := ask(func(r *access.Request) { r.UserID = "nobody" }); !errors.Is(err, provisioning.ErrNotFound) {
		t.Errorf("nobody asked: %v", err)
	}
	for i := range 10 {
		r := w.asked(w.bob, 1)
		_, err := w.ask(w.bob, 1)
		w.refused(access.ReasonWaiting, err)
		if i%2 == 0 {
			_, err = w.access.Withdraw(t.Context(), r.ID, w.bob)
		} else {
			_, err = w.access.Decide(t.Context(), r.ID, w.erik, access.Answer{Text: "no"})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	_, err := w.ask(w.bob, 1)
	w.refused(access.ReasonLimit, err)
	w.asked(w.dana, 1) // others may
	long := strings.Repeat("ü", access.MaxReason)
	if r, err := w.access.Ask(t.Context(), access.Request{UserID: w.erik, Role: "finance", Reason: long, Until: time.Now().Add(time.Hour)}); err != nil || len(r.Reason) != access.MaxReason {
		t.Errorf("a long reason is kept with %d bytes: %v", len(r.Reason), err)
	}
}

func TestAnApprovalNeverShortensWhatThereIs(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if _, err := w.access.Grant(t.Context(), w.bob, "finance", time.Now().Add(60*24*time.Hour), w.dana); err != nil {
		t.Fatal(err)
	}
	before, _ := w.dir.User(t.Context(), w.bob)
	if _, err := w.access.Decide(t.Context(), w.asked(w.bob, 5).ID, w.erik, access.Answer{Approve: true}); err != nil {
		t.Fatal(err)
	}
	if after, _ := w.dir.User(t.Context(), w.bob); after.Grants[0] != before.Grants[0] {
		t.Errorf("%+v became %+v", before.Grants, after.Grants)
	}
	_, err := w.access.Decide(t.Context(), w.asked(w.bob, 5).ID, w.erik, access.Answer{Approve: true, Until: time.Now().Add(6 * 24 * time.Hour)})
	w.refused(access.ReasonUntil, err) // more than was asked for
	if _, err := w.access.Revoke(t.Context(), w.bob, "finance", w.dana); err != nil {
		t.Fatal(err)
	}
	_, err = w.access.Revoke(t.Context(), w.bob, "finance", w.dana)
	w.refused(access.ReasonNone, err)
}

// TestEndsActOnTime: also when nothing ran in between, and whatever waits is
// closed when its time is over.
func TestEndsActOnTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		running := func(fn func()) {
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error)
			r := task.NewRunner(task.Config{Store: w.store, Alone: true, Handlers: map[string]task.Handler{
				access.TaskEnds: w.access.HandleEnds, access.TaskLapse: w.access.HandleLapse, access.TaskForget: w.access.HandleForget,
			}})
			go func() { done <- r.Run(ctx) }()
			fn()
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		rows := func() int { u, _ := w.dir.User(t.Context(), w.bob); return len(u.Grants) }
		give := func(d time.Duration) {
			t.Helper()
			if _, err := w.access.Grant(t.Context(), w.bob, "finance", time.Now().Add(d), access.Machine); err != nil {
				t.Fatal(err)
			}
		}
		running(func() {
			give(3 * time.Hour)
			waits := w.asked(w.dana, 1)
			time.Sleep(time.Hour)
			give(10 * time.Hour) // longer: the first end does nothing
			time.Sleep(9 * time.Hour)
			if rows() != 1 || len(w.granted(w.bob)) != 1 {
				t.Error("what was made longer ended at its first end")
			}
			give(time.Hour) // shorter
			time.Sleep(time.Hour + 2*time.Second)
			if rows() != 0 {
				t.Error("what was made shorter goes on")
			}
			time.Sleep(24 * time.Hour)
			if r, _, err := w.access.Get(t.Context(), waits.ID, access.Machine); err != nil || r.State != access.Lapsed || w.told[waits.ID] != access.Lapsed {
				t.Errorf("a request that nobody decided: %+v, %v", r, err)
			}
			give(time.Hour)
		})
		time.Sleep(2 * time.Hour) // nothing runs
		if rows() != 1 || len(w.granted(w.bob)) != 0 {
			t.Errorf("%d rows; what has ended grants %q", rows(), w.granted(w.bob))
		}
		running(func() {
			time.Sleep(time.Second)
			if rows() != 0 {
				t.Error("what ended meanwhile is not taken away")
			}
			for i := range 9 {
				r := w.asked(w.bob, 1)
				if _, err := w.access.Withdraw(t.Context(), r.ID, w.bob); err != nil {
					t.Fatal(i, err)
				}
			}
			if err := w.dir.Delete(t.Context(), w.bob, provisioning.Admin); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
			if list, err := w.access.Of(t.Context(), w.bob, 100); err != nil || len(list) != 0 {
				t.Errorf("of a deleted user stay %d requests, %v", len(list), err)
			}
		})
	})
}

func TestOnlyThoseWhomItConcernsSeeARequest(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.asked(w.bob, 5)
	mine := w.asked(w.dana, 5)
	for by, want := range map[string]string{w.bob: "sees", w.dana: "decides", access.Machine: "decides", w.create("kim"): "nothing"} {
		got := "nothing"
		if _, decides, err := w.access.Get(t.Context(), r.ID, by); err == nil && decides {
			got = "decides"
		} else if err == nil {
			got = "sees"
		}
		if got != want {
			t.Errorf("%s: %s, want %s", by, got, want)
		}
	}
	list := func(id string) (out []string) {
		s, err := w.dir.Subject(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		open, err := w.access.Open(t.Context(), s, "", 10)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range open {
			out = append(out, r.ID)
		}
		return out
	}
	if got := fmt.Sprint(list(w.erik), list(w.dana), list(w.bob)); got != fmt.Sprint([]string{r.ID, mine.ID}, []string{r.ID}, []string{}) {
		t.Errorf("to decide: %s", got)
	}
}
