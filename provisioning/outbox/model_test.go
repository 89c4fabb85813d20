package outbox_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/gatehouse-sso/gatehouse/provisioning"
	"github.com/gatehouse-sso/gatehouse/provisioning/connector/connectortest"
	"github.com/gatehouse-sso/gatehouse/provisioning/outbox"
	"github.com/gatehouse-sso/gatehouse/provisioning/scim"
	"github.com/gatehouse-sso/gatehouse/provisioning/task"
)

// A step of a story: something changes, something goes wrong, or time passes.
type step struct {
	What   string
	Person int
	Value  string
	Pause  time.Duration
}

var steps = []string{"create", "title", "mail", "rename", "off", "on", "out", "in", "remove", "fault", "fault", "erase", "restart", "wait", "wait", "wait"}

var faults = map[string]func() connectortest.Trick{
	"500": func() connectortest.Trick { return connectortest.Fail(500, "") }, "429": func() connectortest.Trick { return connectortest.Fail(429, "7") },
	"401": func() connectortest.Trick { return connectortest.Fail(401, "") }, "page": func() connectortest.Trick { return connectortest.HTML(502) },
	"lost": connectortest.DropReply, "cut": connectortest.Cut, "hang": connectortest.Hang,
}

// B04: whatever changes and whatever goes wrong, and in whatever order, once the
// target behaves it holds what the directory says, each account once.
func TestB04_InTheEndTheTargetIsAsTheDirectorySays(t *testing.T) {
	names := []string{"500", "429", "401", "page", "lost", "cut", "hang"}
	story := rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) step {
		s := step{What: rapid.SampledFrom(steps).Draw(rt, "what"), Person: rapid.IntRange(0, 3).Draw(rt, "person")}
		switch s.What {
		case "fault":
			s.Value = rapid.SampledFrom(names).Draw(rt, "fault")
		case "wait":
			s.Pause = time.Duration(rapid.SampledFrom([]int{0, 1, 5, 40, 1200}).Draw(rt, "seconds")) * time.Second
		default:
			s.Value = rapid.StringMatching(`[a-c]{0,2}`).Draw(rt, "value")
		}
		return s
	}), 5, 60)
	rapid.Check(t, func(rt *rapid.T) {
		plan := story.Draw(rt, "story")
		leave := rapid.SampledFrom([]outbox.Leave{outbox.Disable, outbox.Delete}).Draw(rt, "leave")
		var err error
		// A failure belongs to rapid, which is outside the bubble.
		synctest.Test(t, func(t *testing.T) { err = tell(t, plan, leave) })
		if err != nil {
			rt.Fatal(err)
		}
	})
}

// tell plays a story and compares the end.
func tell(t *testing.T, plan []step, leave outbox.Leave) error {
	crm := newPlace(t, "crm")
	tg := crm.target()
	tg.Leave = leave
	st := open(t)
	w := newWorld(t, st, tg)
	stop := w.start()
	people := map[int]string{} // the user of a person, while there is one
	every := map[string]bool{} // everyone there ever was
	for i, s := range plan {
		id, there := people[s.Person]
		switch {
		case s.What == "fault":
			crm.awkward.Next(2, faults[s.Value]())
		case s.What == "wait":
			time.Sleep(s.Pause)
		case s.What == "restart":
			stop()
			w = newWorld(t, st, tg)
			stop = w.start()
		case s.What == "erase":
			for _, r := range crm.resources(t) {
				if r.ExternalID() == id && there {
					_ = crm.store.Delete(t.Context(), r.ID(), func(*scim.Resource) error { return nil })
				}
			}
		case s.What == "create" && !there:
			// A name is never used twice: at a target that disables it stays taken.
			people[s.Person] = w.person(fmt.Sprintf("p%d-%d", s.Person, i), s.Value, "").ID
			every[people[s.Person]] = true
		case !there:
		case s.What == "title":
			w.set(id, "title", s.Value)
		case s.What == "mail":
			w.set(id, "mail", strings.TrimPrefix(s.Value+"@x.test", "@x.test"))
		case s.What == "rename":
			w.change(id, func(u *provisioning.User) { u.UserName = fmt.Sprintf("p%d-%d", s.Person, i) })
		case s.What == "off", s.What == "on":
			w.active(id, s.What == "on")
		case s.What == "out":
			w.set(id, "department", "")
		case s.What == "in":
			w.set(id, "department", "IT")
		case s.What == "remove":
			w.remove(id)
			delete(people, s.Person)
		}
	}
	crm.awkward.Behave()
	w.quiet()
	// What was erased behind our back is noticed at the next change.
	for _, id := range people {
		w.set(id, "nickname", "last")
	}
	w.quiet()
	stop()

	for _, tk := range w.tasks() {
		return fmt.Errorf("left to do: %+v (%s)", tk, task.Parked)
	}
	held := map[string]*scim.Resource{}
	for _, r := range crm.resources(t) {
		if held[r.ExternalID()] != nil || !every[r.ExternalID()] {
			return fmt.Errorf("an account too many for %q: %q", r.ExternalID(), crm.holds(t))
		}
		held[r.ExternalID()] = r
	}
	living := map[string]bool{}
	for _, id := range people {
		living[id] = true
		u, err := w.dir.User(context.Background(), id)
		if err != nil {
			return err
		}
		r, in := held[id], len(u.Attributes["department"]) > 0
		switch {
		case in && u.Active && r == nil:
			return fmt.Errorf("%s has no account", u.UserName)
		case r == nil:
			continue
		case !in && leave == outbox.Delete:
			return fmt.Errorf("%s is out of scope and has an account", u.UserName)
		}
		if on := r.Get("active") == true; on != (in && u.Active) {
			return fmt.Errorf("%s: active at the target: %v, in scope %v, active here %v", u.UserName, on, in, u.Active)
		}
		if !in {
			continue
		}
		addr := ""
		for _, e := range r.List("emails") {
			addr = e.(*scim.Object).String("value")
		}
		got := []string{r.String("userName"), r.String("title"), addr}
		if wanted := []string{u.UserName, strings.Join(provisioning.Effective(u, "title"), ""), strings.Join(provisioning.Effective(u, "mail"), "")}; !slices.Equal(got, wanted) {
			return fmt.Errorf("the target holds %q, the directory says %q", got, wanted)
		}
	}
	for id, r := range held {
		if !living[id] && (leave == outbox.Delete || r.Get("active") == true) {
			return fmt.Errorf("the user of %s is gone and the account is not", r.String("userName"))
		}
	}
	for id := range every {
		if l := w.link("crm", id); (l.RemoteID != "") != (held[id] != nil) && l.Target != "" {
			return errors.New("what is known of an account is not so: " + fmt.Sprintf("%+v", l))
		}
	}
	return nil
}
