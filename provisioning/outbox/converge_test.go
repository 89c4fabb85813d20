package outbox_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gatehouse-sso/gatehouse/authz"
	"github.com/gatehouse-sso/gatehouse/provisioning"
	"github.com/gatehouse-sso/gatehouse/provisioning/connector"
	"github.com/gatehouse-sso/gatehouse/provisioning/connector/connectortest"
	"github.com/gatehouse-sso/gatehouse/provisioning/guard"
	"github.com/gatehouse-sso/gatehouse/provisioning/outbox"
	"github.com/gatehouse-sso/gatehouse/provisioning/scim"
	"github.com/gatehouse-sso/gatehouse/provisioning/task"
)

// A creation whose answer is held until twenty updates are acknowledged: one POST
// and at most two changes of each account, and the last state in the end.
func TestTwentyUpdatesBehindASlowCreationAreFewCalls(t *testing.T) {
	people := 60
	if big {
		people = 200
	}
	bubble(t, func(t *testing.T) {
		crm := newPlace(t, "crm")
		w := newWorld(t, open(t), crm.target())
		acknowledged := make(chan struct{})
		crm.awkward.When(-1, func(r *http.Request) bool { return r.Method == http.MethodPost }, func(rw http.ResponseWriter, r *http.Request, target http.Handler) {
			<-acknowledged
			target.ServeHTTP(rw, r)
		})
		w.start()
		ids := make([]string, people)
		var wg sync.WaitGroup
		for i := range people {
			wg.Go(func() {
				ids[i] = w.person(fmt.Sprintf("p%03d", i), "0", "").ID
				for n := 1; n <= 20; n++ {
					w.set(ids[i], "title", fmt.Sprint(n))
				}
			})
		}
		wg.Wait()
		close(acknowledged)
		w.quiet()
		posts, patches := map[string]int{}, map[string]int{}
		for _, c := range crm.awkward.Changes() {
			if c.Method == http.MethodPost {
				var body struct{ ExternalID string }
				if err := json.Unmarshal([]byte(c.Body), &body); err != nil {
					t.Fatal(err)
				}
				posts[body.ExternalID]++
				continue
			}
			patches[c.URI[strings.LastIndex(c.URI, "/")+1:]]++
		}
		some := false
		for i, id := range ids {
			l := w.link("crm", id)
			if posts[id] != 1 || patches[l.RemoteID] > 2 {
				t.Errorf("p%03d: %d creations, %d changes", i, posts[id], patches[l.RemoteID])
			}
			some = some || patches[l.RemoteID] > 0
		}
		var wanted []string
		for i := range people {
			wanted = append(wanted, fmt.Sprintf(`p%03d active "20" ""`, i))
		}
		want(t, "in the end", crm.holds(t), wanted)
		if !some {
			t.Error("nothing was updated behind a creation: this shows nothing")
		}
	})
}

// Five targets: one is none of theirs, one throws, one never answers. The two
// others do not notice.
func TestATargetThatThrowsHarmsNoOther(t *testing.T) {
	bubble(t, func(t *testing.T) {
		one, two, hung := newPlace(t, "one"), newPlace(t, "two"), newPlace(t, "hung")
		throws := &fake{before: func(context.Context, connector.Account) error { panic("a mistake in a connector") }}
		alien := newPlace(t, "alien")
		notTheirs := alien.target()
		notTheirs.Scope = func(authz.Subject) bool { return false }
		hung.awkward.Next(-1, connectortest.Hang())
		w := newWorld(t, open(t), one.target(), notTheirs, throws.target("throws", throws), hung.target(), two.target())
		w.start()
		var wanted []string
		var ana provisioning.User
		for i := range 30 {
			u := w.person(fmt.Sprintf("p%02d", i), "", "")
			if i == 0 {
				ana = u
			}
			wanted = append(wanted, fmt.Sprintf(`p%02d active "" ""`, i))
		}
		time.Sleep(time.Second) // less than any limit of the hung target
		for _, p := range []*place{one, two} {
			want(t, p.id, p.holds(t), wanted)
		}
		if n := len(alien.awkward.Seen()); n != 0 {
			t.Errorf("the target that is not theirs was asked %d times", n)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if s := w.states(ana.ID); s["one"] != outbox.Done || s["two"] != outbox.Done || s["throws"] == outbox.Done || s["hung"] == outbox.Done || s["alien"] != "" {
			t.Errorf("states %v", s)
		}
		if l := w.link("throws", ana.ID); l.Error != "" && !strings.Contains(l.Error, "broke") {
			t.Errorf("of the target that throws is known %+v", l)
		}
		// It is tried again: a throw is not the end.
		throws.before = nil
		hung.awkward.Behave()
		w.quiet()
		if s := w.states(ana.ID); s["throws"] != outbox.Done || s["hung"] != outbox.Done {
			t.Errorf("in the end %v", s)
		}
	})
}

// A target that takes five calls a second says so with 429; it gets less and
// less until that holds, nobody's attempt counts as a failure, and later it gets
// more again.
func TestATargetThatIsAskedTooOftenIsAskedLess(t *testing.T) {
	bubble(t, func(t *testing.T) {
		crm := newPlace(t, "crm")
		tg := crm.target()
		tg.Rate = 40
		w := newWorld(t, open(t), tg)
		const most = 10
		var mu sync.Mutex
		var second int64
		var served, refused int
		crm.awkward.Next(-1, func(rw http.ResponseWriter, r *http.Request, target http.Handler) {
			mu.Lock()
			if now := time.Now().Unix(); now != second {
				second, served = now, 0
			}
			served++
			over := served > most
			if over {
				refused++
			}
			mu.Unlock()
			if over {
				rw.WriteHeader(http.StatusTooManyRequests)
				return
			}
			target.ServeHTTP(rw, r)
		})
		for i := range 80 {
			w.person(fmt.Sprintf("p%03d", i), "", "")
		}
		w.start()
		for range 600 {
			time.Sleep(time.Second)
			synctest.Wait()
			for _, tk := range w.tasks() {
				if tk.Attempts != 0 {
					t.Fatalf("an attempt was burned: %+v", tk)
				}
			}
			if len(w.tasks()) == 0 {
				break
			}
		}
		if n := len(crm.holds(t)); n != 80 || refused == 0 {
			t.Fatalf("%d accounts, %d calls were refused", n, refused)
		}
		slow := w.box.Targets()[0].Rate
		crm.awkward.Behave()
		time.Sleep(time.Hour)
		for i := range 5 {
			w.person(fmt.Sprintf("q%03d", i), "", "")
		}
		w.quiet()
		if now := w.box.Targets()[0].Rate; slow >= 40 || now != 40 {
			t.Errorf("it got %d calls a second, and %d an hour later", slow, now)
		}
	})
}

// More than 40 % of fifty runs fail: people can see it, one run at a time looks,
// and when that goes well the target is asked as before, by itself.
func TestATargetThatMostlyFailsIsInQuarantine(t *testing.T) {
	bubble(t, func(t *testing.T) {
		crm := newPlace(t, "crm")
		w := newWorld(t, open(t), crm.target())
		w.start()
		crm.awkward.Writes(-1, connectortest.Fail(400, ""))
		var ids []string
		for i := range 60 {
			ids = append(ids, w.person(fmt.Sprintf("p%03d", i), "", "").ID)
		}
		time.Sleep(20 * time.Minute)
		synctest.Wait()
		if v := w.box.Targets()[0]; v.State != "quarantine" || v.Quarantined.IsZero() || v.Failed*100 <= v.Runs*40 {
			t.Fatalf("it is %+v", v)
		}
		// It survives a restart.
		w.box = outbox.New(w.config)
		if err := w.box.Load(t.Context()); err != nil {
			t.Fatal(err)
		}
		if v := w.box.Targets()[0]; v.State != "quarantine" {
			t.Fatalf("after a restart it is %+v", v)
		}
		crm.awkward.Behave()
		for _, id := range ids {
			w.set(id, "title", "Dr")
		}
		w.quiet()
		if v := w.box.Targets()[0]; v.State != "working" || !v.Quarantined.IsZero() {
			t.Errorf("when it is well again it is %+v", v)
		}
		if got := len(crm.holds(t)); got != 60 {
			t.Errorf("%d accounts", got)
		}
		kinds := strings.Join(w.events(""), " ")
		if !strings.Contains(kinds, "target.quarantined") || !strings.Contains(kinds, "target.recovered") {
			t.Errorf("recorded are %s", kinds)
		}
	})
}

func TestAPausedTargetIsLeftAloneAndCatchesUp(t *testing.T) {
	bubble(t, func(t *testing.T) {
		crm := newPlace(t, "crm")
		st := open(t)
		w := newWorld(t, st, crm.target())
		w.start()
		if err := w.box.Pause(t.Context(), "crm", "admin", "an upgrade"); err != nil {
			t.Fatal(err)
		}
		ana := w.person("ana", "0", "")
		for i := range 30 {
			w.set(ana.ID, "title", fmt.Sprint(i))
		}
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		if n := len(crm.awkward.Seen()); n != 0 {
			t.Errorf("it was asked %d times", n)
		}
		if tk, _ := w.task(ana.ID); tk.Attempts != 0 {
			t.Errorf("the task is %+v", tk)
		}
		// A restart does not forget it.
		w.box = outbox.New(w.config)
		if err := w.box.Load(t.Context()); err != nil {
			t.Fatal(err)
		}
		if v := w.box.Targets()[0]; v.State != "paused" || v.Paused == nil || v.Paused.Why != "an upgrade" {
			t.Errorf("after a restart it is %+v", v)
		}
		if err := w.box.Resume(t.Context(), "crm", "admin"); err != nil {
			t.Fatal(err)
		}
		w.quiet()
		want(t, "afterwards", crm.holds(t), []string{`ana active "29" ""`})
		want(t, "sent", crm.sent(), []string{"POST"})
	})
}

func TestTheBreakerOpensHalfOpensAndCloses(t *testing.T) {
	bubble(t, func(t *testing.T) {
		crm := newPlace(t, "crm")
		w := newWorld(t, open(t), crm.target())
		for i := range 20 {
			w.person(fmt.Sprintf("p%02d", i), "", "")
		}
		crm.awkward.Next(-1, connectortest.Fail(503, ""))
		w.start()
		time.Sleep(time.Second)
		asked := func() int { return len(crm.awkward.Seen()) }
		first := asked()
		if first < 5 || first > 12 { // five in a row, and what the four of the lane had begun
			t.Errorf("%d requests until it opened", first)
		}
		if v := w.box.Targets()[0]; v.State != "waiting" || v.Again < 29*time.Second || v.Again > 30*time.Second {
			t.Errorf("it is %+v", v)
		}
		time.Sleep(w.box.Targets()[0].Again - time.Millisecond)
		synctest.Wait()
		if asked() != first {
			t.Errorf("%d requests while it was open", asked()-first)
		}
		time.Sleep(time.Millisecond)
		synctest.Wait()
		if asked() != first+1 {
			t.Errorf("half open, %d requests", asked()-first)
		}
		if v := w.box.Targets()[0]; v.Again < 59*time.Second || v.Again > time.Minute {
			t.Errorf("the second time it is %+v", v)
		}
		crm.awkward.Behave()
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if v := w.box.Targets()[0]; v.State != "working" || len(crm.holds(t)) != 20 {
			t.Errorf("closed it is %+v, with %d accounts", v, len(crm.holds(t)))
		}
	})
}

// The account is disabled first, and deleted when its time has come; who is back
// before keeps it.
func TestAnAccountIsDisabledBeforeItIsDeleted(t *testing.T) {
	bubble(t, func(t *testing.T) {
		crm := newPlace(t, "crm")
		tg := crm.target()
		tg.Leave, tg.DeleteAfter = outbox.Delete, 30*time.Hour
		w := newWorld(t, open(t), tg)
		w.start()
		ana, ben := w.person("ana", "", ""), w.person("ben", "", "")
		synctest.Wait()
		w.set(ana.ID, "department", "")
		w.set(ben.ID, "department", "")
		time.Sleep(20 * time.Hour)
		synctest.Wait()
		want(t, "after 20 hours", crm.holds(t), []string{`ana disabled "" ""`, `ben disabled "" ""`})
		w.set(ben.ID, "department", "IT")
		time.Sleep(9 * time.Hour)
		synctest.Wait()
		want(t, "after 29 hours", crm.holds(t), []string{`ana disabled "" ""`, `ben active "" ""`})
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		want(t, "after 31 hours", crm.holds(t), []string{`ben active "" ""`})
		time.Sleep(60 * time.Hour)
		synctest.Wait()
		want(t, "long after", crm.holds(t), []string{`ben active "" ""`})
		if left := w.tasks(); len(left) > 0 {
			t.Errorf("left to do: %+v", left)
		}
	})
}

// B09: a scope that is mended wrongly would take thirty accounts, of which three
// may go at once. All are held, people can see whom, and some are approved.
func TestB09_AChangedScopeIsHeldBackAndApproved(t *testing.T) {
	bubble(t, func(t *testing.T) {
		crm := newPlace(t, "crm")
		st := open(t)
		tg := crm.target()
		tg.Form = "all"
		w := newWorld(t, st, tg)
		w.guarded(3)
		w.begin()
		stop := w.start()
		var ids []string
		for i := range 30 {
			ids = append(ids, w.person(fmt.Sprintf("p%02d", i), "", "").ID)
		}
		w.quiet()
		time.Sleep(2 * time.Hour) // what is younger than an hour does not count
		stop()
		tg.Form, tg.Scope = "few", func(s authz.Subject) bool { return s.UserName == "p00" || s.UserName == "p01" }
		w = newWorld(t, st, tg)
		w.guarded(3)
		sum := map[string]int{}
		crm.awkward.Behave()
		next, err := w.box.Preview(t.Context(), "crm", "", 0, func(x outbox.Would) error { sum[x.What]++; return nil })
		if err != nil || next != "" || sum[outbox.WouldDisable] != 28 || len(sum) != 1 || len(crm.awkward.Seen()) > 0 {
			t.Errorf("the preview says %v, %q, %v, after %d requests", sum, next, err, len(crm.awkward.Seen()))
		}
		w.begin()
		w.start()
		time.Sleep(time.Minute)
		synctest.Wait()
		disabled := func() (n int) {
			for _, line := range crm.holds(t) {
				if strings.Contains(line, "disabled") {
					n++
				}
			}
			return n
		}
		if n := disabled(); n != 0 {
			t.Fatalf("%d of 28 are disabled before anybody said so", n)
		}
		cases, err := w.guard.Cases(t.Context(), guard.Target("crm"), "", true, 0)
		if err != nil || len(cases) != 1 || cases[0].Held != 28 {
			t.Fatalf("cases %+v, %v", cases, err)
		}
		if tk, _ := w.task(ids[5]); tk.State != task.Parked || !strings.Contains(tk.Error, guard.ReasonHeld) {
			t.Errorf("a task that is held is %+v", tk)
		}
		// Other work goes on, and a person's own wish is not held.
		w.set(ids[0], "title", "Dr")
		w.active(ids[29], false)
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := disabled(); n != 1 || !slices.Contains(crm.holds(t), `p00 active "Dr" ""`) {
			t.Errorf("%d are disabled: %q", n, crm.holds(t))
		}
		if err := w.guard.Approve(t.Context(), cases[0].ID, "admin", ids[2], ids[3]); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := disabled(); n != 3 {
			t.Errorf("%d are disabled after two were approved", n)
		}
		// Who is back in scope leaves the case, whatever becomes of it.
		tg.Form, tg.Scope = "all", func(authz.Subject) bool { return true }
		w.stop()
		w = newWorld(t, st, tg)
		w.guarded(3)
		w.begin()
		w.start()
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := disabled(); n != 1 {
			t.Errorf("%d are disabled after the scope was mended, want the one of a person's own wish", n)
		}
	})
}

// A person decides what no program may: whose account one is.
func TestACaseIsAnsweredByAPerson(t *testing.T) {
	for _, c := range []struct {
		answer outbox.Answer
		holds  []string
	}{
		{outbox.AnswerAdopt, []string{`ana active "Dr" ""`}},
		{outbox.AnswerIgnore, []string{`ana active "theirs" ""`}},
		{outbox.AnswerCreate, []string{`ana active "theirs" ""`}}, // the target has one account of a name: it stays a case
	} {
		t.Run(string(c.answer), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				crm := newPlace(t, "crm")
				w := newWorld(t, open(t), crm.target())
				w.start()
				id := crm.plant(t, `{"userName":"ana","title":"theirs","active":true}`)
				ana := w.person("ana", "Dr", "")
				w.quiet()
				list, err := w.box.Cases(t.Context(), "crm", "", 0)
				if err != nil || len(list) != 1 || len(list[0].Candidates) != 1 || list[0].Candidates[0].RemoteID != id || !list[0].Candidates[0].SameName {
					t.Fatalf("cases %+v, %v", list, err)
				}
				if err := w.box.Resolve(t.Context(), "crm", ana.ID, outbox.AnswerAdopt, "another", "admin"); err == nil {
					t.Error("an account that is not among the candidates was taken")
				}
				if err := w.box.Resolve(t.Context(), "crm", ana.ID, c.answer, id, "admin"); err != nil {
					t.Fatal(err)
				}
				w.quiet()
				want(t, "held", crm.holds(t), c.holds)
				list, _ = w.box.Cases(t.Context(), "", "", 0)
				if open := c.answer == outbox.AnswerCreate; (len(list) == 1) != open {
					t.Errorf("cases %+v", list)
				}
				// A change of an ignored user is no reason to ask the target.
				asked := len(crm.awkward.Seen())
				w.set(ana.ID, "title", "Prof")
				w.quiet()
				if n := len(crm.awkward.Seen()) - asked; (n == 0) != (c.answer == outbox.AnswerIgnore) {
					t.Errorf("%d requests after a change", n)
				}
			})
		})
	}
}

// Of each account the last attempts are kept, for a while, with names and
// without values.
func TestOperationsAreKeptWithoutValuesAndBounded(t *testing.T) {
	bubble(t, func(t *testing.T) {
		crm := newPlace(t, "crm")
		w := newWorld(t, open(t), crm.target())
		w.start()
		ana := w.person("ana", "Dr Secret", "ana@private.test")
		w.quiet()
		ben := w.person("ben", "", "")
		w.quiet()
		list, err := w.box.Operations(t.Context(), outbox.Question{UserID: ana.ID})
		if err != nil || len(list) != 1 || list[0].Did != "created" || len(list[0].Steps) != 5 {
			t.Fatalf("operations %+v, %v", list, err)
		}
		raw, _ := json.Marshal(list)
		for _, value := range []string{"Secret", "private.test", `"ana"`, bearer} {
			if strings.Contains(string(raw), value) {
				t.Errorf("the record tells %q: %s", value, raw)
			}
		}
		if !strings.Contains(string(raw), "title") {
			t.Errorf("the record does not name what was sent: %s", raw)
		}
		crm.awkward.Next(-1, connectortest.Fail(422, ""))
		for i := range 12 {
			w.set(ana.ID, "title", fmt.Sprint(i))
			w.quiet()
		}
		list, _ = w.box.Operations(t.Context(), outbox.Question{UserID: ana.ID})
		if len(list) != 5 || list[0].Class != "invalid" || list[0].Error == "" || list[0].At.Before(list[4].At) {
			t.Errorf("after many attempts %d are kept, the last is %+v", len(list), list[0])
		}
		if failed, _ := w.box.Operations(t.Context(), outbox.Question{Target: "crm", Failed: true}); len(failed) != 5 {
			t.Errorf("%d failed", len(failed))
		}
		if all, _ := w.box.Operations(t.Context(), outbox.Question{Target: "crm"}); len(all) != 6 {
			t.Errorf("%d at the target", len(all))
		}
		if other, _ := w.box.Operations(t.Context(), outbox.Question{Target: "cr"}); len(other) != 0 {
			t.Errorf("%d at another target", len(other))
		}
		time.Sleep(31 * 24 * time.Hour)
		if next, err := w.box.Sweep(t.Context(), ""); err != nil || next != "" {
			t.Errorf("sweep: %q, %v", next, err)
		}
		if list, _ = w.box.Operations(t.Context(), outbox.Question{UserID: ben.ID}); len(list) != 0 {
			t.Errorf("a month later %d are kept", len(list))
		}
	})
}

// members lists who is in the groups of a place: "staff: ana ben".
func (p *place) members(t testing.TB) (list []string) {
	t.Helper()
	page, err := p.groups.List(context.Background(), scim.Query{Start: 1, Count: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]string{}
	for _, r := range p.resources(t) {
		names[r.ID()] = r.String("userName")
	}
	for _, g := range page.Resources {
		var in []string
		for _, m := range g.List("members") {
			in = append(in, names[m.(*scim.Object).String("value")])
		}
		slices.Sort(in)
		list = append(list, strings.TrimSpace(g.String("displayName")+": "+strings.Join(in, " ")))
	}
	slices.Sort(list)
	return list
}

func (w *world) group(name string) string {
	w.t.Helper()
	g, err := w.dir.CreateGroup(context.Background(), provisioning.Group{Store: "primary", Name: name}, provisioning.Admin, provisioning.Move{})
	if err != nil {
		w.t.Fatal(err)
	}
	return g.ID
}

func (w *world) join(group string, users ...string) {
	w.t.Helper()
	for _, u := range users {
		if _, _, err := w.dir.AddMember(context.Background(), group, u, provisioning.Admin); err != nil {
			w.t.Fatal(err)
		}
	}
}

func (w *world) part(group, user string) {
	w.t.Helper()
	if _, _, err := w.dir.RemoveMember(context.Background(), group, user, provisioning.Admin); err != nil {
		w.t.Fatal(err)
	}
}

func TestGroupsFollowTheDirectory(t *testing.T) {
	bubble(t, func(t *testing.T) {
		crm := newPlace(t, "crm")
		tg := crm.target()
		tg.Groups = func(g provisioning.Group) bool { return strings.HasPrefix(g.Name, "staff") }
		w := newWorld(t, open(t), tg)
		w.start()
		ana, ben := w.person("ana", "", ""), w.person("ben", "", "")
		out, _, err := w.dir.Create(t.Context(), provisioning.User{Store: "primary", UserName: "out", Active: true}, provisioning.Admin)
		if err != nil {
			t.Fatal(err)
		}
		staff, private := w.group("staff"), w.group("private")
		w.join(staff, ana.ID, ben.ID, out.ID) // the last has no account there
		w.join(private, ana.ID)
		w.quiet()
		want(t, "joined", crm.members(t), []string{"staff: ana ben"})
		w.part(staff, ben.ID)
		w.quiet()
		want(t, "parted", crm.members(t), []string{"staff: ana"})
		if _, err := w.dir.RenameGroup(t.Context(), staff, "staff of today", provisioning.Admin); err != nil {
			t.Fatal(err)
		}
		w.quiet()
		want(t, "renamed", crm.members(t), []string{"staff of today: ana"})
		// Who gets an account later is in the group then, who loses the scope is not.
		w.set(out.ID, "department", "IT")
		w.set(ana.ID, "department", "")
		w.quiet()
		want(t, "the account comes, the other goes", crm.members(t), []string{"staff of today: out"})
		// Somebody deletes it there: it is made again, with everybody.
		for _, g := range func() []*scim.Resource {
			p, _ := crm.groups.List(t.Context(), scim.Query{Start: 1, Count: 10})
			return p.Resources
		}() {
			if err := crm.groups.Delete(t.Context(), g.ID(), func(*scim.Resource) error { return nil }); err != nil {
				t.Fatal(err)
			}
		}
		w.join(staff, ben.ID)
		w.quiet()
		want(t, "made again", crm.members(t), []string{"staff of today: ben out"})
		if err := w.dir.DeleteGroup(t.Context(), staff, provisioning.Admin); err != nil {
			t.Fatal(err)
		}
		w.quiet()
		want(t, "deleted", crm.members(t), nil)
	})
}

// A group's size does not matter: what changes is sent, in pieces, and a member
// whom the target refuses keeps no other out.
func TestMembersAreSentInPieces(t *testing.T) {
	bubble(t, func(t *testing.T) {
		crm := newPlace(t, "crm")
		tg := crm.target()
		tg.Groups = func(provisioning.Group) bool { return true }
		w := newWorld(t, open(t), tg)
		staff := w.group("staff")
		people := make([]string, 130)
		for i := range people {
			people[i] = w.person(fmt.Sprintf("p%03d", i), "", "").ID
		}
		w.start()
		w.quiet()
		bad := w.link("crm", people[7]).RemoteID
		crm.awkward.Behave()
		crm.awkward.When(-1, func(r *http.Request) bool {
			body, _ := io.ReadAll(r.Body)
			r.Body = io.NopCloser(strings.NewReader(string(body)))
			return strings.Contains(string(body), bad)
		}, connectortest.Fail(400, ""))
		w.stop()
		w = newWorld(t, w.st, tg)
		w.join(staff, people...)
		w.start()
		w.quiet()
		page, _ := crm.groups.List(t.Context(), scim.Query{Start: 1, Count: 10})
		if n := len(page.Resources[0].List("members")); n != 129 {
			t.Fatalf("%d members", n)
		}
		if n := len(crm.sent()); n > 2+2*9+130 {
			t.Errorf("%d requests", n)
		}
		crm.awkward.Behave()
		w.part(staff, people[3])
		w.quiet()
		if sent := crm.awkward.Changes(); len(sent) != 1 || len(sent[0].Body) > 400 {
			t.Errorf("one who goes is %d requests: %.300s", len(sent), fmt.Sprint(sent))
		}
	})
}

// A manager is named by the target's ID of their account, once there is one.
func TestAReferenceWaitsForBothAccounts(t *testing.T) {
	bubble(t, func(t *testing.T) {
		crm := newPlace(t, "crm")
		w := newWorld(t, open(t), crm.naming())
		w.start()
		ana := w.person("ana", "", "")
		w.set(ana.ID, "manager", "boss")
		w.quiet()
		named := func() string {
			for _, r := range crm.resources(t) {
				if r.String("userName") == "ana" {
					return names(r)
				}
			}
			return "no account"
		}
		if got := named(); got != "" {
			t.Fatalf("before the manager is there, the account names %q", got)
		}
		boss := w.person("boss", "", "")
		w.quiet()
		if got, id := named(), w.link("crm", boss.ID).RemoteID; id == "" {
			t.Fatal("the manager has no account")
		} else if got != "" && got != id {
			t.Errorf("the account names %q, the manager's is %q", got, id)
		}
		// The first reference named nobody, so a name that means somebody only now is found by a change.
		w.set(ana.ID, "title", "Dr")
		w.quiet()
		if got, id := named(), w.link("crm", boss.ID).RemoteID; got != id {
			t.Errorf("the account names %q, the manager's is %q", got, id)
		}
		// Another account of the manager's is followed.
		if err := crm.store.Delete(t.Context(), w.link("crm", boss.ID).RemoteID, func(*scim.Resource) error { return nil }); err != nil {
			t.Fatal(err)
		}
		w.set(boss.ID, "title", "Prof")
		w.quiet()
		if got, id := named(), w.link("crm", boss.ID).RemoteID; got != id {
			t.Errorf("made again, the account names %q, the manager's is %q", got, id)
		}
	})
}
