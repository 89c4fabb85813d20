package outbox_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gatehouse-sso/gatehouse/provisioning"
	"github.com/gatehouse-sso/gatehouse/provisioning/guard"
	"github.com/gatehouse-sso/gatehouse/provisioning/task"
)

var feed = provisioning.SourceFeed("hr")

// oneCase is the only open case of the target.
func (w *world) oneCase() guard.Case {
	w.t.Helper()
	cases, err := w.guard.Cases(w.t.Context(), guard.Target("crm"), "", true, 0)
	if err != nil || len(cases) != 1 {
		w.t.Fatalf("cases %+v, %v", cases, err)
	}
	return cases[0]
}

// B09: a source takes thirty people out of a group, of whom three may go at once.
// What an administrator does is not held; who comes back leaves the case; what is
// approved is done, what is rejected is not.
func TestB09_ManyMembershipsAtATargetAreHeld(t *testing.T) {
	bubble(t, func(t *testing.T) {
		crm := newPlace(t, "crm")
		tg := crm.target()
		tg.Groups = func(provisioning.Group) bool { return true }
		w := newWorld(t, open(t), tg)
		w.guarded(3)
		w.start()
		staff := w.group("staff")
		var ids []string
		for i := range 30 {
			ids = append(ids, w.person(fmt.Sprintf("p%02d", i), "", "").ID)
		}
		w.join(staff, ids...)
		w.quiet()
		in := func() int { return strings.Count(crm.members(t)[0], " p") }
		if in() != 30 {
			t.Fatalf("%d members", in())
		}
		pass := func() { time.Sleep(time.Minute); synctest.Wait() }
		for _, id := range ids[:28] {
			if _, _, err := w.dir.RemoveMember(t.Context(), staff, id, feed); err != nil {
				t.Fatal(err)
			}
		}
		pass()
		held := w.oneCase()
		if in() != 27 || held.Held != 25 {
			t.Fatalf("%d are still in it, %d are held", in(), held.Held)
		}
		w.part(staff, ids[29]) // an administrator
		pass()
		if in() != 26 || w.oneCase().Held != 25 {
			t.Errorf("%d are still in it after an administrator took one out, %d are held", in(), w.oneCase().Held)
		}
		items, err := w.guard.Items(t.Context(), held.ID, guard.ItemHeld, "", 0)
		if err != nil || len(items) != 25 || items[0].Act.Kind != guard.Membership || items[0].Act.Object != staff {
			t.Fatalf("%d items, %+v, %v", len(items), items[:1], err)
		}
		back, one, two := items[0].Act.Subject, items[1].Act.Subject, items[2].Act.Subject
		w.join(staff, back)
		pass()
		if w.oneCase().Held != 24 || in() != 26 {
			t.Errorf("with one back %d are in it, %d are held", in(), w.oneCase().Held)
		}
		if err := w.guard.Approve(t.Context(), held.ID, "admin", one, two); err != nil {
			t.Fatal(err)
		}
		pass()
		if in() != 24 {
			t.Errorf("after two were approved %d are in it", in())
		}
		if err := w.guard.Reject(t.Context(), held.ID, "admin"); err != nil {
			t.Fatal(err)
		}
		w.quiet()
		if in() != 24 || len(w.tasks()) > 0 {
			t.Errorf("after the others were rejected %d are in it, and there is %+v", in(), w.tasks())
		}
	})
}

// B09: a source changes an attribute that opens doors of ten people, three of
// whom may be changed at once. The others stand as they were, also with what else
// changed of them, until a person has said yes; what an administrator changes, and
// other attributes, are not held.
func TestB09_ManySensitiveChangesAreHeld(t *testing.T) {
	bubble(t, func(t *testing.T) {
		crm := newPlace(t, "crm")
		tg := crm.target()
		tg.Sensitive = []string{"title"}
		w := newWorld(t, open(t), tg)
		w.guarded(3)
		w.start()
		var ids []string
		for i := range 12 {
			ids = append(ids, w.person(fmt.Sprintf("p%02d", i), "", "").ID)
		}
		w.quiet()
		time.Sleep(2 * time.Hour) // what is younger than an hour does not count
		say := func(id, attr, value string) {
			t.Helper()
			if _, _, err := w.dir.Change(t.Context(), id, feed, func(u *provisioning.User) error { u.Say(feed, attr, value); return nil }); err != nil {
				t.Fatal(err)
			}
		}
		pass := func() { time.Sleep(time.Minute); synctest.Wait() }
		chiefs := func() (n int) {
			for _, line := range crm.holds(t) {
				if strings.Contains(line, "Chief") {
					n++
				}
			}
			return n
		}
		for _, id := range ids[:10] {
			say(id, "title", "Chief")
		}
		say(ids[11], "mail", "p11@x.test")
		w.set(ids[10], "title", "Chief") // an administrator
		pass()
		held := w.oneCase()
		if chiefs() != 4 || held.Held != 7 || !slices.Contains(crm.holds(t), `p11 active "" "p11@x.test"`) {
			t.Fatalf("%d are changed, %d are held: %q", chiefs(), held.Held, crm.holds(t))
		}
		items, err := w.guard.Items(t.Context(), held.ID, guard.ItemHeld, "", 0)
		if err != nil || items[0].Act.Kind != guard.Sensitive || items[0].Act.Object != "title" {
			t.Fatalf("%+v, %v", items, err)
		}
		back, one := items[0].Act.Subject, items[1].Act.Subject
		if tk, _ := w.task(one); tk.State != task.Parked || !strings.Contains(tk.Error, guard.ReasonHeld) {
			t.Errorf("a task that is held is %+v", tk)
		}
		if _, _, err := w.dir.Change(t.Context(), back, feed, func(u *provisioning.User) error { u.Say(feed, "title"); return nil }); err != nil {
			t.Fatal(err)
		}
		if err := w.guard.Approve(t.Context(), held.ID, "admin", one); err != nil {
			t.Fatal(err)
		}
		pass()
		if _, parked := w.task(back); parked || chiefs() != 5 || w.oneCase().Held != 5 {
			t.Errorf("one is back, one approved: %d are changed, %d are held", chiefs(), w.oneCase().Held)
		}
	})
}
