package outbox_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gatehouse-sso/gatehouse/authz"
	"github.com/gatehouse-sso/gatehouse/provisioning"
	"github.com/gatehouse-sso/gatehouse/provisioning/connector"
	"github.com/gatehouse-sso/gatehouse/provisioning/connector/connectortest"
	"github.com/gatehouse-sso/gatehouse/provisioning/outbox"
	"github.com/gatehouse-sso/gatehouse/provisioning/scim"
	"github.com/gatehouse-sso/gatehouse/provisioning/store"
	"github.com/gatehouse-sso/gatehouse/provisioning/store/storetest"
	"github.com/gatehouse-sso/gatehouse/provisioning/task"
)

// The whole life of an account, over stores that are as they should be and
// over awkward ones.
func TestAnAccountFollowsItsUser(t *testing.T) {
	for name, wrap := range map[string]func(store.Store) store.Store{
		"plain": func(s store.Store) store.Store { return s },
		"twice": storetest.Twice,
		"flaky": func(s store.Store) store.Store {
			return storetest.Flaky(s, func() bool { return rand.IntN(3) == 0 })
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				crm := newPlace(t, "crm")
				st := open(t)
				w := worldOver(t, st, wrap(st), crm.target())
				w.start()
				ana := w.person("ana", "Dr", "ana@x.test")
				w.quiet()
				want(t, "created", crm.holds(t), []string{`ana active "Dr" "ana@x.test"`})
				if r := crm.resources(t)[0]; r.ExternalID() != ana.ID {
					t.Errorf("the account has the external ID %q, want %q", r.ExternalID(), ana.ID)
				}
				w.set(ana.ID, "title", "Prof")
				w.quiet()
				want(t, "changed", crm.holds(t), []string{`ana active "Prof" "ana@x.test"`})
				w.set(ana.ID, "mail", "")
				w.quiet()
				want(t, "without a mail address", crm.holds(t), []string{`ana active "Prof" ""`})
				w.change(ana.ID, func(u *provisioning.User) { u.UserName = "anna" })
				w.quiet()
				want(t, "renamed", crm.holds(t), []string{`anna active "Prof" ""`})
				w.active(ana.ID, false)
				w.quiet()
				want(t, "deactivated", crm.holds(t), []string{`anna disabled "Prof" ""`})
				w.active(ana.ID, true)
				w.quiet()
				want(t, "activated", crm.holds(t), []string{`anna active "Prof" ""`})
				w.set(ana.ID, "department", "")
				w.quiet()
				want(t, "out of scope", crm.holds(t), []string{`anna disabled "Prof" ""`})
				w.set(ana.ID, "department", "HR")
				w.quiet()
				want(t, "in scope again", crm.holds(t), []string{`anna active "Prof" ""`})
				w.remove(ana.ID)
				w.quiet()
				want(t, "deleted", crm.holds(t), []string{`anna disabled "Prof" ""`})
				if l := w.link("crm", ana.ID); !l.Disabled || l.RemoteID == "" || l.Error != "" {
					t.Errorf("of the account is known %+v", l)
				}
				if name == "plain" {
					want(t, "recorded", w.events(ana.ID), strings.Fields("account.created account.updated account.updated account.updated account.updated "+
						"account.updated account.disabled account.updated account.disabled"))
				}
			})
		})
	}
}

func TestTheTargetSaysWhatBecomesOfAnAccount(t *testing.T) {
	for _, c := range []struct {
		leave             outbox.Leave
		out, deleted      []string
		again             []string
		writesAfterDelete int
	}{
		{"", []string{`ana disabled "Dr" ""`}, []string{`ana disabled "Dr" ""`}, []string{`ana active "Dr" ""`}, 1},
		{outbox.Disable, []string{`ana disabled "Dr" ""`}, []string{`ana disabled "Dr" ""`}, []string{`ana active "Dr" ""`}, 1},
		{outbox.Delete, nil, nil, []string{`ana active "Dr" ""`}, 1},
		{outbox.Keep, []string{`ana active "Dr" ""`}, []string{`ana active "Dr" ""`}, []string{`ana active "Dr" ""`}, 0},
	} {
		t.Run("leave "+string(c.leave), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				crm := newPlace(t, "crm")
				tg := crm.target()
				tg.Leave = c.leave
				w := newWorld(t, open(t), tg)
				w.start()
				ana := w.person("ana", "Dr", "")
				w.quiet()
				w.set(ana.ID, "department", "")
				w.quiet()
				want(t, "out of scope", crm.holds(t), c.out)
				w.set(ana.ID, "department", "IT")
				w.quiet()
				want(t, "in scope again", crm.holds(t), c.again)
				crm.awkward.Behave()
				w.remove(ana.ID)
				w.quiet()
				want(t, "deleted", crm.holds(t), c.deleted)
				if n := len(crm.awkward.Changes()); n != c.writesAfterDelete {
					t.Errorf("sent %q", crm.sent())
				}
				if l := w.link("crm", ana.ID); c.leave == outbox.Delete && l.RemoteID != "" {
					t.Errorf("of the deleted account is known %+v", l)
				}
				if s, gone := w.states(ana.ID), c.leave == outbox.Delete; gone != (len(s) == 0) {
					t.Errorf("states %v", s)
				}
			})
		})
	}
}

func TestWhoIsInactiveGetsNoAccount(t *testing.T) {
	bubble(t, func(t *testing.T) {
		crm := newPlace(t, "crm")
		w := newWorld(t, open(t), crm.target())
		ana := w.person("ana", "", "")
		w.active(ana.ID, false)
		ben := w.person("ben", "", "")
		w.remove(ben.ID)
		w.start()
		w.quiet()
		if s := crm.awkward.Seen(); len(s) > 0 || w.link("crm", ana.ID).Target != "" {
			t.Errorf("the target was asked %v; known is %+v", s, w.link("crm", ana.ID))
		}
		w.active(ana.ID, true)
		w.quiet()
		want(t, "activated", crm.holds(t), []string{`ana active "" ""`})
	})
}

func TestWhatWasDeletedAtTheTargetIsMadeAgain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		crm := newPlace(t, "crm")
		w := newWorld(t, open(t), crm.target())
		w.start()
		ana, ben := w.person("ana", "Dr", ""), w.person("ben", "", "")
		w.quiet()
		for _, r := range crm.resources(t) {
			if err := crm.store.Delete(t.Context(), r.ID(), func(*scim.Resource) error { return nil }); err != nil {
				t.Fatal(err)
			}
		}
		w.set(ana.ID, "title", "Prof")
		w.active(ben.ID, false)
		w.quiet()
		want(t, "of two that were deleted there", crm.holds(t), []string{`ana active "Prof" ""`})
		if l := w.link("crm", ben.ID); l.RemoteID != "" {
			t.Errorf("an account that is not there is known: %+v", l)
		}
		w.active(ben.ID, true)
		w.quiet()
		want(t, "once both are active", crm.holds(t), []string{`ana active "Prof" ""`, `ben active "" ""`})
	})
}

// Nobody can have heard of somebody who was made a moment ago: they are looked for
// by name alone. Once they may have been heard of, they are looked for by our ID,
// also by who comes after us.
func TestWhoIsNewIsLookedForByNameAlone(t *testing.T) {
	bubble(t, func(t *testing.T) {
		crm := newPlace(t, "crm")
		w := newWorld(t, open(t), crm.target())
		time.Sleep(time.Second)
		stop := w.start()
		asked := func(name string) (list []string) {
			t.Helper()
			crm.awkward.Behave()
			before := len(crm.awkward.Seen())
			if name == "lost" {
				crm.awkward.Writes(1, connectortest.DropReply())
			}
			w.person(name, "", "")
			w.quiet()
			for _, s := range crm.awkward.Seen()[before:] {
				_, by, _ := strings.Cut(s.URI, "filter=")
				by, _, _ = strings.Cut(by, "%20")
				list = append(list, strings.TrimSpace(s.Method+" "+by))
			}
			return list
		}
		want(t, "somebody new", asked("new"), []string{"GET userName", "POST"})
		want(t, "whose first creation was answered in vain", asked("lost"), []string{"GET userName", "POST", "GET externalId", "GET"})
		stop()
		old := w.person("old", "", "")
		w = newWorld(t, w.st, crm.target())
		before := len(crm.awkward.Seen())
		w.start()
		w.quiet()
		if s := crm.awkward.Seen()[before]; !strings.Contains(s.URI, "filter=externalId") {
			t.Errorf("%s is first looked for by %s", old.ID, s.URI)
		}
	})
}

func TestAnAccountThatIsThereAlready(t *testing.T) {
	for _, c := range []struct {
		name    string
		planted []string // %s is the user's ID
		adopt   outbox.Adopt
		holds   []string // nil: as planted, and parked
		event   string
	}{
		{"bears our external ID", []string{`{"userName":"someone","externalId":"%s","title":"old"}`}, "", []string{`ana active "Dr" ""`}, "account.adopted"},
		{"bears our external ID, the policy takes none", []string{`{"userName":"someone","externalId":"%s","title":"old"}`}, outbox.Never, nil, ""},
		{"has the name, the policy wants the external ID", []string{`{"userName":"ANA","title":"old"}`}, "", nil, ""},
		{"has the name, the policy allows names", []string{`{"userName":"ANA","title":"old"}`}, outbox.ByUserName, []string{`ana active "Dr" ""`}, "account.adopted"},
		{"has the name and is somebody else's", []string{`{"userName":"ana","externalId":"another","title":"old"}`}, outbox.ByUserName, nil, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				crm := newPlace(t, "crm")
				tg := crm.target()
				tg.Adopt = c.adopt
				w := newWorld(t, open(t), tg)
				ana := w.person("ana", "Dr", "")
				var first string
				for _, p := range c.planted {
					if strings.Contains(p, "%s") {
						p = fmt.Sprintf(p, ana.ID)
					}
					first = crm.plant(t, p)
				}
				before := crm.holds(t)
				w = newWorld(t, w.st, tg) // whoever was there before we began may be known anywhere
				w.start()
				w.quiet()
				if c.holds != nil {
					want(t, "adopted", crm.holds(t), c.holds)
					want(t, "recorded", w.events(ana.ID), []string{c.event})
					if l := w.link("crm", ana.ID); l.RemoteID != first {
						t.Errorf("known is %+v, want the account %s", l, first)
					}
					return
				}
				want(t, "disputed", crm.holds(t), before)
				got, ok := w.task(ana.ID)
				if !ok || got.State != task.Parked || !strings.Contains(got.Error, "not known to be this person's") {
					t.Fatalf("the task is %+v", got)
				}
				if w.states(ana.ID)["crm"] != outbox.Failed {
					t.Errorf("states %v", w.states(ana.ID))
				}
				if n := len(crm.awkward.Changes()); n > 0 {
					t.Errorf("a disputed account was written to: %q", crm.sent())
				}
				// Somebody looks, renames the other account, and the next change arms it again.
				crm.edit(t, first, func(r *scim.Resource) { r.Set("userName", "ana.other"); r.Delete("externalId") })
				w.set(ana.ID, "title", "Prof")
				w.quiet()
				if got := crm.holds(t); len(got) != 2 || got[1] != `ana.other active "old" ""` && got[1] != `ana.other disabled "old" ""` || got[0] != `ana active "Prof" ""` {
					t.Errorf("after it was looked at: %q", got)
				}
				if len(w.tasks()) > 0 {
					t.Errorf("left to do: %+v", w.tasks())
				}
			})
		})
	}
}

// An account that one user has is not written to for another, although at the
// target it looks as if it were nobody's.
func TestAnAccountOfAnotherUserIsNeverTaken(t *testing.T) {
	bubble(t, func(t *testing.T) {
		crm := newPlace(t, "crm")
		tg := crm.target()
		tg.Adopt = outbox.ByUserName
		w := newWorld(t, open(t), tg)
		w.start()
		ana := w.person("ana", "Dr", "ana@x.test")
		w.quiet()
		id := w.link("crm", ana.ID).RemoteID
		crm.edit(t, id, func(r *scim.Resource) { r.Delete("externalId"); r.Set("userName", "ben") })
		crm.awkward.Behave()
		ben := w.person("ben", "", "")
		w.quiet()
		want(t, "Ana's account", crm.holds(t), []string{`ben active "Dr" "ana@x.test"`})
		if ext := crm.resources(t)[0].ExternalID(); ext != "" {
			t.Errorf("Ana's account bears the external ID %q", ext)
		}
		want(t, "sent for Ben", crm.sent(), nil)
		if got, ok := w.task(ben.ID); !ok || got.State != task.Parked || !strings.Contains(got.Error, "another user's") {
			t.Errorf("Ben's task is %+v", got)
		}
		if w.link("crm", ben.ID).RemoteID != "" || w.link("crm", ana.ID).RemoteID != id {
			t.Errorf("links: %+v and %+v", w.link("crm", ana.ID), w.link("crm", ben.ID))
		}
		// Ana's next change puts it right, and then Ben's creates.
		w.set(ana.ID, "title", "Prof")
		w.quiet()
		w.set(ben.ID, "title", "Dr")
		w.quiet()
		want(t, "in the end", crm.holds(t), []string{`ana active "Prof" "ana@x.test"`, `ben active "Dr" ""`})
	})
}

// sameID is a target that answers every creation with the same ID.
type sameID struct{ fake }

func (s *sameID) Sync(ctx context.Context, want connector.Account, have string) (string, error) {
	_, err := s.fake.Sync(ctx, want, have)
	return "7", err
}

func TestATargetThatGivesAnIDTwiceIsNotBelieved(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := &sameID{}
		w := newWorld(t, open(t), f.target("crm", f))
		w.start()
		ana := w.person("ana", "Dr", "")
		w.quiet()
		ben := w.person("ben", "Dr", "")
		w.quiet()
		if l := w.link("crm", ana.ID); l.RemoteID != "7" || l.Error != "" {
			t.Errorf("Ana's: %+v", l)
		}
		if l := w.link("crm", ben.ID); l.RemoteID != "" || !strings.Contains(l.Error, "another user's") {
			t.Errorf("Ben's: %+v", l)
		}
		if got, _ := w.task(ben.ID); got.State != task.Parked {
			t.Errorf("Ben's task is %+v", got)
		}
	})
}

func TestWhatIsReleasedNoMoreIsCleared(t *testing.T) {
	bubble(t, func(t *testing.T) {
		crm := newPlace(t, "crm")
		full := crm.target()
		st := open(t)
		w := newWorld(t, st, full)
		stop := w.start()
		ana := w.person("ana", "Dr", "ana@x.test")
		w.quiet()
		stop()
		crm.edit(t, w.link("crm", ana.ID).RemoteID, func(r *scim.Resource) { r.Set("nickName", "Annie") })
		// The configuration changes: titles are not released any more.
		less := full
		less.Account = func(u provisioning.User, s authz.Subject) (connector.Account, error) {
			a, err := full.Account(u, s)
			delete(a.Attributes, "title")
			return a, err
		}
		w = newWorld(t, st, less)
		w.start()
		w.set(ana.ID, "mail", "a@x.test")
		w.quiet()
		want(t, "without the title", crm.holds(t), []string{`ana active "" "a@x.test"`})
		if r := crm.resources(t)[0]; r.String("nickName") != "Annie" {
			t.Error("what we never sent was touched")
		}
		if l := w.link("crm", ana.ID); len(l.Sent) != 1 || l.Sent[0] != mail {
			t.Errorf("the target is thought to have %q", l.Sent)
		}
	})
}

// The process dies when the target has an attribute and before that is noted; by
// the next, the attribute is not released any more.
func TestWhatMayHaveBeenSentIsClearedToo(t *testing.T) {
	t.Parallel()
	for steps := 0; ; steps++ {
		alive, had := false, false
		synctest.Test(t, func(t *testing.T) {
			crm := newPlace(t, "crm")
			full, less := crm.target(), crm.target()
			less.Account = func(u provisioning.User, s authz.Subject) (connector.Account, error) {
				return connector.Account{UserName: u.UserName}, nil
			}
			st := open(t)
			w := newWorld(t, st, full)
			stop := w.start()
			ana := w.person("ana", "", "")
			w.quiet()
			stop()
			l := newLife(steps)
			dying := full
			dying.Connector = mortalConnector{crm.conn, l}
			w = worldOver(t, st, mortalStore{st, l}, dying)
			w.set(ana.ID, "title", "Dr")
			stop = w.start()
			over := time.After(time.Hour)
			select {
			case <-l.end:
			case <-over:
				alive = true
			}
			stop()
			had = crm.holds(t)[0] == `ana active "Dr" ""`
			w = newWorld(t, st, less)
			w.start()
			w.set(ana.ID, "nickname", "Annie")
			w.quiet()
			want(t, fmt.Sprintf("after a death at step %d", steps), crm.holds(t), []string{`ana active "" ""`})
		})
		if alive || t.Failed() {
			if !had {
				t.Error("the title never arrived, so this shows nothing")
			}
			return
		}
	}
}

// A creation was begun and its user is gone: what others have under that name is
// theirs.
func TestTheNameAloneIsNoReasonToTakeAnAccountAway(t *testing.T) {
	bubble(t, func(t *testing.T) {
		crm := newPlace(t, "crm")
		w := newWorld(t, open(t), crm.target())
		crm.awkward.Writes(1, connectortest.Hang())
		ana := w.person("ana", "", "")
		if err := w.runner.Now(t.Context(), "sync", "crm/"+ana.ID); err == nil {
			t.Fatal("a target that hangs has answered")
		}
		crm.plant(t, `{"userName":"ana","active":true}`)
		w.remove(ana.ID)
		w.start()
		w.quiet()
		want(t, "another Ana's account", crm.holds(t), []string{`ana active "" ""`})
		if l := w.link("crm", ana.ID); l.Target != "" {
			t.Errorf("known is %+v", l)
		}
	})
}

func TestATargetThatIsNotConfiguredWaits(t *testing.T) {
	bubble(t, func(t *testing.T) {
		crm, hr := newPlace(t, "crm"), newPlace(t, "hr")
		st := open(t)
		w := newWorld(t, st, crm.target(), hr.target())
		ana := w.person("ana", "Dr", "") // two tasks, nobody works them off
		w = newWorld(t, st, hr.target())
		stop := w.start()
		synctest.Wait()
		time.Sleep(100 * time.Hour)
		synctest.Wait()
		want(t, "the one that is left", hr.holds(t), []string{`ana active "Dr" ""`})
		got, ok := w.task(ana.ID)
		if !ok || got.State != task.Waiting || got.Error != "target crm is not in the configuration" || got.Attempts != 0 {
			t.Errorf("the other's task is %v %+v", ok, got)
		}
		if n := len(crm.awkward.Seen()); n != 0 {
			t.Errorf("a target that is not configured was asked %d times", n)
		}
		if done, err := w.box.Settle(t.Context(), ana.ID); !done || err != nil {
			t.Errorf("a sign-in waits for it: %v, %v", done, err)
		}
		stop()
		w = newWorld(t, st, crm.target(), hr.target())
		w.start()
		w.quiet()
		want(t, "when it is back", crm.holds(t), []string{`ana active "Dr" ""`})
	})
}

func TestTenChangesAreOneUpdate(t *testing.T) {
	bubble(t, func(t *testing.T) {
		crm := newPlace(t, "crm")
		st := open(t)
		w := newWorld(t, st, crm.target())
		stop := w.start()
		ana := w.person("ana", "Dr", "")
		w.quiet()
		stop()
		crm.awkward.Behave()
		w = newWorld(t, st, crm.target())
		for i := range 10 {
			w.set(ana.ID, "title", fmt.Sprint("Title ", i))
		}
		w.start()
		w.quiet()
		want(t, "sent", crm.sent(), []string{"PATCH"})
		want(t, "held", crm.holds(t), []string{`ana active "Title 9" ""`})
	})
}

// B04: while an update is on its way the user changes ten times, and is disabled;
// what was on its way does not last.
func TestB04_AStaleWriteDoesNotLast(t *testing.T) {
	bubble(t, func(t *testing.T) {
		crm := newPlace(t, "crm")
		w := newWorld(t, open(t), crm.target())
		w.start()
		ana := w.person("ana", "Dr", "")
		w.quiet()
		crm.awkward.Behave()
		var at, most atomic.Int32
		crm.awkward.Writes(-1, func(rw http.ResponseWriter, r *http.Request, target http.Handler) {
			most.Store(max(most.Load(), at.Add(1)))
			time.Sleep(3 * time.Second)
			target.ServeHTTP(rw, r)
			at.Add(-1)
		})
		w.set(ana.ID, "title", "Prof")
		synctest.Wait()
		for i := range 10 {
			w.set(ana.ID, "title", fmt.Sprint("Title ", i))
		}
		w.active(ana.ID, false)
		synctest.Wait()
		want(t, "while the first is on its way", crm.holds(t), []string{`ana active "Dr" ""`})
		w.quiet()
		want(t, "sent", crm.sent(), []string{"PATCH", "PATCH"})
		want(t, "held", crm.holds(t), []string{`ana disabled "Title 9" ""`})
		if most.Load() != 1 {
			t.Errorf("%d writes to one account at once", most.Load())
		}
		if l := w.link("crm", ana.ID); l.Applied != 13 {
			t.Errorf("applied is version %d, want 13", l.Applied)
		}
	})
}

// The answer to enabling an account is lost and the user leaves the scope: the
// account is disabled, whatever we believed of it.
func TestAnAccountThatMayBeEnabledIsDisabled(t *testing.T) {
	bubble(t, func(t *testing.T) {
		crm := newPlace(t, "crm")
		st := open(t)
		w := newWorld(t, st, crm.target())
		stop := w.start()
		ana := w.person("ana", "", "")
		w.quiet()
		w.active(ana.ID, false)
		w.quiet()
		// It is enabled, and the process dies before it notes that.
		crm.edit(t, w.link("crm", ana.ID).RemoteID, func(r *scim.Resource) { r.Set("active", true) })
		stop()
		w = newWorld(t, st, crm.target())
		w.start()
		w.remove(ana.ID)
		w.quiet()
		want(t, "after the user is gone", crm.holds(t), []string{`ana disabled "" ""`})
	})
}

// Between the note that a creation may begin and the creation, the user goes.
func TestWhoGoesWhileTheirAccountIsAboutToBeMadeHasNone(t *testing.T) {
	for _, leave := range []outbox.Leave{outbox.Disable, outbox.Delete} {
		t.Run(string(leave), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				crm := newPlace(t, "crm")
				tg := crm.target()
				tg.Leave = leave
				w := newWorld(t, open(t), tg)
				w.start()
				crm.awkward.Next(2, func(rw http.ResponseWriter, r *http.Request, target http.Handler) {
					time.Sleep(time.Second) // the searches before the creations
					target.ServeHTTP(rw, r)
				})
				ana := w.person("ana", "", "")
				ben := w.person("ben", "", "")
				synctest.Wait()
				if w.link("crm", ana.ID).Intent.IsZero() || w.link("crm", ben.ID).Intent.IsZero() || len(crm.sent()) > 0 {
					t.Error("the creation is not noted or is done already, so this shows nothing")
				}
				w.remove(ana.ID)
				w.set(ben.ID, "department", "")
				w.quiet()
				for _, a := range crm.holds(t) {
					if leave == outbox.Delete || !strings.Contains(a, "disabled") {
						t.Errorf("the target holds %s", a)
					}
				}
			})
		})
	}
}

func TestAnAccountThatCanNotBeWorkedOutIsParked(t *testing.T) {
	bubble(t, func(t *testing.T) {
		crm := newPlace(t, "crm")
		tg := crm.target()
		inner := tg.Account
		tg.Account = func(u provisioning.User, s authz.Subject) (connector.Account, error) {
			if len(s.Attributes["title"]) == 0 {
				return connector.Account{}, errors.New("no title")
			}
			return inner(u, s)
		}
		w := newWorld(t, open(t), tg)
		w.start()
		ana := w.person("ana", "", "")
		w.quiet()
		if got, _ := w.task(ana.ID); got.State != task.Parked || !strings.Contains(got.Error, "no title") {
			t.Errorf("the task is %+v", got)
		}
		w.set(ana.ID, "title", "Dr")
		w.quiet()
		want(t, "once it can be", crm.holds(t), []string{`ana active "Dr" ""`})
	})
}
