package outbox_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatehouse-sso/gatehouse/provisioning"
	"github.com/gatehouse-sso/gatehouse/provisioning/connector/connectortest"
	"github.com/gatehouse-sso/gatehouse/provisioning/outbox"
	"github.com/gatehouse-sso/gatehouse/provisioning/scim"
	"github.com/gatehouse-sso/gatehouse/provisioning/store"
	"github.com/gatehouse-sso/gatehouse/provisioning/store/storetest"
)

// B03, B07: accounts, whom they name, and who is in a group come to be as the
// directory says, each once, at a target that loses a fifth of its answers in one
// way or another, over a store that does not know of each third commit whether it
// happened. Long: 2,000 users, with every fault over every store.
func TestB03B07_GroupsAndReferencesOverWhatIsAwkward(t *testing.T) {
	stores := map[string]func(store.Store) store.Store{
		"plain": func(s store.Store) store.Store { return s },
		"twice": storetest.Twice,
		"flaky": func(s store.Store) store.Store {
			return storetest.Flaky(s, func() bool { return rand.IntN(3) == 0 })
		},
	}
	people := 25
	if big {
		people = 2000
	}
	for fault, over := range map[string][]string{"lost": {"plain", "twice", "flaky"}, "cut": {"flaky"}, "hang": {"flaky"}, "500": {"flaky"}} {
		if big {
			over = []string{"plain", "twice", "flaky"}
		}
		for _, kind := range over {
			t.Run(fault+" over "+kind, func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					crm := newPlace(t, "crm")
					tg := crm.naming()
					tg.Groups = func(provisioning.Group) bool { return true }
					tricks := 0
					crm.awkward.When(-1, func(*http.Request) bool {
						if rand.IntN(5) > 0 {
							return false
						}
						tricks++
						return true
					}, faults[fault]())
					st := open(t)
					w := worldOver(t, st, stores[kind](st), tg)
					var mu sync.Mutex
					var ids []string
					boss := w.person("boss", "", "")
					staff := w.group("staff")
					var wg sync.WaitGroup
					for i := range people {
						wg.Go(func() {
							u := w.person(fmt.Sprintf("p%04d", i), "", "")
							w.set(u.ID, "manager", "boss")
							w.join(staff, u.ID)
							mu.Lock()
							defer mu.Unlock()
							ids = append(ids, u.ID)
						})
					}
					wg.Wait()
					w.start()
					time.Sleep(4 * time.Hour) // it goes on by itself
					crm.awkward.Behave()
					w.quiet()
					if tricks == 0 {
						t.Error("nothing went wrong, so this shows nothing")
					}
					if left := w.tasks(); len(left) > 0 {
						t.Fatalf("left to do: %+v", left[0])
					}
					known := w.link("crm", boss.ID).RemoteID
					var has []string
					for _, r := range crm.resources(t) {
						has = append(has, r.ExternalID())
						if got := names(r); r.ExternalID() != boss.ID && (got == "" || got != known) {
							t.Errorf("the account of %s names %q, the manager's is %q", r.String("userName"), got, known)
						}
					}
					wanted := append(ids, boss.ID)
					slices.Sort(has)
					slices.Sort(wanted)
					if !slices.Equal(has, wanted) {
						t.Errorf("%d accounts for %d people", len(has), len(wanted))
					}
					if in := crm.members(t); len(in) != 1 || strings.Count(in[0], " p") != people {
						t.Errorf("groups %.300q", in)
					}
				})
			})
		}
	}
}

// Whoever is named by many accounts has them all sent again, though every second
// commit on the way there breaks off: what was done by then is not done again.
func TestManyWhoNameOneAreReachedThoughEachRunBreaksOff(t *testing.T) {
	bubble(t, func(t *testing.T) {
		crm := newPlace(t, "crm")
		st := open(t)
		var awkward atomic.Bool
		w := worldOver(t, st, storetest.Flaky(st, func() bool { return awkward.Load() && rand.IntN(2) == 0 }), crm.naming())
		w.start()
		boss := w.person("boss", "", "")
		w.active(boss.ID, false)
		const people = 150
		for i := range people {
			w.set(w.person(fmt.Sprintf("p%03d", i), "", "").ID, "manager", "boss")
		}
		w.quiet()
		awkward.Store(true)
		w.active(boss.ID, true)
		w.quiet()
		known, named := w.link("crm", boss.ID).RemoteID, 0
		for _, r := range crm.resources(t) {
			if names(r) == known {
				named++
			}
		}
		if known == "" || named != people {
			t.Errorf("%d of %d accounts name the manager's, %q", named, people, known)
		}
	})
}

// forgetful refuses what is written next after it was told to.
type forgetful struct {
	store.Store
	next atomic.Bool
}

func (f *forgetful) Update(ctx context.Context, fn func(store.Tx) error) error {
	if f.next.CompareAndSwap(true, false) {
		return errors.New("the disk is full")
	}
	return f.Store.Update(ctx, fn)
}

// A group that we made is ours to delete, also if the store refused to note that it was
// made, and one that was there before is not.
func TestR04_AGroupWhoseCreationCouldNotBeNotedIsDeletedInItsTime(t *testing.T) {
	bubble(t, func(t *testing.T) {
		crm := newPlace(t, "crm")
		tg := crm.target()
		tg.Adopt, tg.Groups = outbox.ByUserName, func(provisioning.Group) bool { return true }
		o, err := scim.Decode([]byte(`{"schemas":["` + scim.GroupURN + `"],"displayName":"theirs"}`))
		if err != nil {
			t.Fatal(err)
		}
		theirs, err := scim.GroupType().New(o)
		if err == nil {
			_, err = crm.groups.Create(t.Context(), theirs)
		}
		if err != nil {
			t.Fatal(err)
		}
		st := open(t)
		background := &forgetful{Store: st}
		w := worldOver(t, st, background, tg)
		w.start()
		for _, name := range []string{"ours", "theirs"} {
			crm.awkward.When(1, func(r *http.Request) bool {
				if strings.HasPrefix(r.URL.Path, "/scim/v2/Groups") && r.Method != http.MethodGet {
					background.next.Store(true)
				}
				return false
			}, connectortest.Fail(500, ""))
			id := w.group(name)
			w.quiet()
			crm.awkward.Behave()
			if background.next.Load() || !slices.Contains(crm.members(t), name+":") {
				t.Fatalf("%s: the target has %q, and the store refused nothing", name, crm.members(t))
			}
			if err := w.dir.DeleteGroup(t.Context(), id, provisioning.Admin); err != nil {
				t.Fatal(err)
			}
			w.quiet()
			want(t, name+" deleted", crm.members(t), []string{"theirs:"})
		}
	})
}

// What we may have created ourselves is taken although nothing else is, also when the
// store refused that at first.
func TestR04_AnAccountOfOursThatCouldNotBeClaimedAtOnceIsClaimedLater(t *testing.T) {
	bubble(t, func(t *testing.T) {
		crm := newPlace(t, "crm")
		tg := crm.target()
		tg.Adopt = outbox.Never
		st := open(t)
		background := &forgetful{Store: st}
		w := worldOver(t, st, background, tg)
		crm.awkward.Writes(1, connectortest.DropReply())
		searched := 0
		crm.awkward.When(1, func(r *http.Request) bool {
			if r.Method == http.MethodGet && len(crm.holds(t)) == 1 {
				searched++
				background.next.Store(searched == 1)
			}
			return false
		}, connectortest.Fail(500, ""))
		ana := w.person("ana", "Dr", "")
		w.start()
		w.quiet()
		if got, waits := w.task(ana.ID); waits || searched < 2 {
			t.Errorf("searched %d times, and waiting is %+v", searched, got)
		}
		want(t, "claimed", crm.holds(t), []string{`ana active "Dr" ""`})
	})
}
