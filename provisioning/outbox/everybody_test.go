package outbox_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gatehouse-sso/gatehouse/authz"
	"github.com/gatehouse-sso/gatehouse/provisioning"
	"github.com/gatehouse-sso/gatehouse/provisioning/connector"
)

func (w *world) begin() {
	w.t.Helper()
	if err := w.box.Begin(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

// A configuration that says something else of a target reaches everybody who is
// there, without a change of theirs.
func TestAChangedTargetReachesEverybody(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const people = 30
		crm, hr := newPlace(t, "crm"), newPlace(t, "hr")
		st := open(t)
		one := crm.target()
		one.Form = "titles"
		w := newWorld(t, st, one)
		w.begin()
		stop := w.start()
		for i := range people {
			w.person(fmt.Sprintf("p%02d", i), "Dr", "")
		}
		w.quiet()
		stop()

		// Nothing is different: nobody is asked.
		crm.awkward.Behave()
		w = newWorld(t, st, one)
		w.begin()
		stop = w.start()
		w.quiet()
		stop()
		if n := len(crm.awkward.Seen()); n != 0 {
			t.Errorf("%d requests without a difference", n)
		}

		// Titles are not released any more, and there is another target.
		two := hr.target()
		two.Form = "first"
		one.Form = "no titles"
		account := one.Account
		one.Account = func(u provisioning.User, s authz.Subject) (connector.Account, error) {
			a, err := account(u, s)
			delete(a.Attributes, "title")
			return a, err
		}
		w = newWorld(t, st, one, two)
		w.begin()
		w.start()
		w.quiet()
		var without, with []string
		for i := range people {
			without = append(without, fmt.Sprintf(`p%02d active "" ""`, i))
			with = append(with, fmt.Sprintf(`p%02d active "Dr" ""`, i))
		}
		want(t, "the target that changed", crm.holds(t), without)
		want(t, "the target that was added", hr.holds(t), with)
	})
}

// A scope that lets nobody in any more may be a mistake.
func TestAChangedTargetTakesNobodysAccountAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		crm := newPlace(t, "crm")
		st := open(t)
		tg := crm.target()
		tg.Form = "everybody"
		w := newWorld(t, st, tg)
		w.begin()
		stop := w.start()
		ana := w.person("ana", "", "")
		w.person("ben", "", "")
		w.quiet()
		stop()
		tg.Form, tg.Scope = "nobody", func(authz.Subject) bool { return false }
		w = newWorld(t, st, tg)
		w.begin()
		w.start()
		w.quiet()
		want(t, "after the change", crm.holds(t), []string{`ana active "" ""`, `ben active "" ""`})
		w.set(ana.ID, "title", "Dr")
		w.quiet()
		want(t, "after Ana's change", crm.holds(t), []string{`ana disabled "" ""`, `ben active "" ""`})
	})
}

func TestATargetThatGoesWhileEverybodyIsAskedIsAskedLater(t *testing.T) {
	bubble(t, func(t *testing.T) {
		crm := newPlace(t, "crm")
		st := open(t)
		tg := crm.target()
		w := newWorld(t, st)
		w.person("ana", "", "")
		tg.Form = "first"
		w = newWorld(t, st, tg)
		w.begin()
		w = newWorld(t, st) // it is gone before anybody was asked
		stop := w.start()
		time.Sleep(10 * time.Hour)
		synctest.Wait()
		stop()
		w = newWorld(t, st, tg)
		w.begin()
		w.start()
		w.quiet()
		want(t, "when it is back", crm.holds(t), []string{`ana active "" ""`})
	})
}
