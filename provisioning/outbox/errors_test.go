package outbox_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gatehouse-sso/gatehouse/provisioning/connector"
	"github.com/gatehouse-sso/gatehouse/provisioning/connector/connectortest"
	"github.com/gatehouse-sso/gatehouse/provisioning/task"
)

func TestATargetThatIsDownIsTriedAgainWithGrowingDelays(t *testing.T) {
	for name, trick := range map[string]connectortest.Trick{
		"500": connectortest.Fail(500, ""), "503": connectortest.Fail(503, ""), "408": connectortest.Fail(408, ""),
		"hangs": connectortest.Hang(), "drops": connectortest.DropReply(), "cuts": connectortest.Cut(), "says 0": connectortest.Fail(503, "0"),
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				crm := newPlace(t, "crm")
				w := newWorld(t, open(t), crm.target())
				w.start()
				crm.awkward.Next(-1, trick)
				ana := w.person("ana", "Dr", "")
				time.Sleep(time.Hour)
				synctest.Wait()
				got, ok := w.task(ana.ID)
				if !ok || got.State == task.Parked || got.Attempts < 5 || got.Attempts > 25 || got.Error == "" {
					t.Fatalf("after an hour the task is %v %+v", ok, got)
				}
				if l := w.link("crm", ana.ID); l.RemoteID != "" || !strings.Contains(l.Error, "transient") {
					t.Errorf("known is %+v", l)
				}
				crm.awkward.Behave()
				w.quiet()
				want(t, "once it is up", crm.holds(t), []string{`ana active "Dr" ""`})
			})
		})
	}
}

func TestAmbiguousAnswersAreSearchedFor(t *testing.T) {
	for name, trick := range map[string]connectortest.Trick{"lost": connectortest.DropReply(), "cut": connectortest.Cut(), "huge": connectortest.Huge(2 << 20)} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				crm := newPlace(t, "crm")
				w := newWorld(t, open(t), crm.target())
				crm.awkward.Writes(1, trick)
				ana := w.person("ana", "Dr", "")
				if err := w.runner.Now(t.Context(), "sync", "crm/"+ana.ID); err == nil {
					t.Fatal("the first answer was taken")
				}
				if l := w.link("crm", ana.ID); l.Intent.IsZero() || l.RemoteID != "" {
					t.Errorf("after it known is %+v", l)
				}
				w.start()
				w.quiet()
				want(t, "held", crm.holds(t), []string{`ana active "Dr" ""`})
				want(t, "sent", crm.sent(), []string{"POST"})
				want(t, "recorded", w.events(ana.ID), []string{"account.adopted"})
			})
		})
	}
}

// R28: the target carries a creation out after we have given up on it.
func TestR28_ACreationThatArrivesLateIsNotMadeTwice(t *testing.T) {
	for _, gone := range []bool{false, true} {
		t.Run(fmt.Sprint("the user is gone by then ", gone), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				crm := newPlace(t, "crm")
				tg := crm.target()
				tg.Timeout = 2 * time.Second
				w := newWorld(t, open(t), tg)
				w.start()
				crm.awkward.Writes(1, func(_ http.ResponseWriter, r *http.Request, target http.Handler) {
					time.Sleep(20 * time.Second)
					r = r.WithContext(context.WithoutCancel(r.Context()))
					(wire{target}).RoundTrip(r) // nobody hears the answer
				})
				// The second is refused by the target as it would a taken name.
				ana := w.person("ana", "Dr", "")
				time.Sleep(2*time.Second + time.Millisecond)
				synctest.Wait()
				if gone {
					w.remove(ana.ID)
				}
				w.quiet()
				state := "active"
				if gone {
					state = "disabled"
				}
				if got := crm.holds(t); len(got) != 1 || !strings.HasPrefix(got[0], "ana "+state) {
					t.Errorf("the target holds %q", got)
				}
			})
		})
	}
}

func TestRetryAfterIsASnoozeAndNoAttempt(t *testing.T) {
	for _, c := range []struct {
		says string
		want time.Duration
	}{{"120", 2 * time.Minute}, {"1000000000", 24 * time.Hour}, {"99999999999999999999", 24 * time.Hour}, {"Sat, 01 Jan 2000 00:05:00 GMT", 5 * time.Minute}} {
		t.Run(c.says, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				crm, hr := newPlace(t, "crm"), newPlace(t, "hr")
				w := newWorld(t, open(t), crm.target(), hr.target())
				w.start()
				crm.awkward.Next(1, connectortest.Fail(429, c.says))
				began := time.Now()
				ana := w.person("ana", "Dr", "")
				synctest.Wait()
				got, ok := w.task(ana.ID)
				if !ok || got.Attempts != 0 || got.Due.Sub(began) != c.want {
					t.Fatalf("the task is %v %+v, want it in %v", ok, got, c.want)
				}
				// Others do not ask it either, and other targets do not care.
				asked := len(crm.awkward.Seen())
				w.person("ben", "Dr", "")
				time.Sleep(c.want - time.Second)
				synctest.Wait()
				if n := len(crm.awkward.Seen()); n != asked {
					t.Errorf("it was asked %d times before the time that it said", n-asked)
				}
				want(t, "another target", hr.holds(t), []string{`ana active "Dr" ""`, `ben active "Dr" ""`})
				time.Sleep(3 * time.Second)
				synctest.Wait()
				want(t, "then", crm.holds(t), []string{`ana active "Dr" ""`, `ben active "Dr" ""`})
			})
		})
	}
}

func TestWrongCredentialsOrAddressOpenTheBreaker(t *testing.T) {
	for name, trick := range map[string]connectortest.Trick{
		"401": connectortest.Fail(401, ""), "403": connectortest.Fail(403, ""), "404 without SCIM": connectortest.Fail(404, ""), "405": connectortest.Fail(405, ""),
		"a page": connectortest.HTML(200), "a page for 404": connectortest.HTML(404), "a redirect": connectortest.Redirect(302, "http://elsewhere.test/"),
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				crm := newPlace(t, "crm")
				w := newWorld(t, open(t), crm.target())
				crm.awkward.Next(-1, trick)
				const people = 12
				var wanted []string
				for i := range people {
					w.person(fmt.Sprintf("p%02d", i), "", "")
					wanted = append(wanted, fmt.Sprintf(`p%02d active "" ""`, i))
				}
				w.start()
				synctest.Wait()
				first := len(crm.awkward.Seen())
				if first < 1 || first > 8 { // the lane is 4 wide; a search that is refused may be tried by name
					t.Errorf("%d requests at once for %d people", first, people)
				}
				time.Sleep(time.Hour)
				synctest.Wait()
				// 30 s, 1, 2, 4, 8, 15, 15 minutes: in an hour it opens 8 times.
				if n := len(crm.awkward.Seen()); n > 8*8 {
					t.Errorf("%d requests in an hour", n)
				}
				for _, tk := range w.tasks() {
					if tk.State != task.Waiting || tk.Attempts != 0 || tk.Error == "" || time.Until(tk.Due) > 15*time.Minute {
						t.Fatalf("a task is %+v", tk)
					}
				}
				crm.awkward.Behave()
				time.Sleep(16 * time.Minute)
				synctest.Wait()
				want(t, "once it is right", crm.holds(t), wanted)
				// It begins with the shortest time again.
				crm.awkward.Next(-1, trick)
				w.person("zoe", "", "")
				synctest.Wait()
				if left := w.tasks(); len(left) != 1 || time.Until(left[0].Due) > 30*time.Second {
					t.Errorf("the next time: %+v", left)
				}
			})
		})
	}
}

// B05: what the target will never take is asked three times and parked, where
// it is seen; everybody else's goes on. A change arms it again.
func TestB05_WhatIsRefusedForGoodIsParked(t *testing.T) {
	bubble(t, func(t *testing.T) {
		crm := newPlace(t, "crm")
		w := newWorld(t, open(t), crm.target())
		w.start()
		var asked atomic.Int32
		crm.awkward.When(-1, func(r *http.Request) bool { return r.Method == "POST" && strings.Contains(bodyOf(r), `"bad title"`) },
			func(rw http.ResponseWriter, _ *http.Request, _ http.Handler) {
				asked.Add(1)
				rw.WriteHeader(http.StatusBadRequest)
			})
		ana := w.person("ana", "bad title", "")
		w.person("ben", "Dr", "")
		w.quiet()
		want(t, "the others", crm.holds(t), []string{`ben active "Dr" ""`})
		got, ok := w.task(ana.ID)
		if !ok || got.State != task.Parked || !strings.Contains(got.Error, "invalid") || asked.Load() != 3 {
			t.Fatalf("after %d refusals the task is %v %+v", asked.Load(), ok, got)
		}
		time.Sleep(200 * time.Hour)
		synctest.Wait()
		if asked.Load() != 3 {
			t.Errorf("a parked task was tried: %d", asked.Load())
		}
		w.set(ana.ID, "mail", "ana@x.test") // still bad: three more
		w.quiet()
		if asked.Load() != 6 {
			t.Errorf("%d refusals after a change, want 6", asked.Load())
		}
		w.set(ana.ID, "title", "Dr")
		w.quiet()
		want(t, "after another", crm.holds(t), []string{`ana active "Dr" "ana@x.test"`, `ben active "Dr" ""`})
		if l := w.link("crm", ana.ID); l.Invalid != 0 || l.Error != "" {
			t.Errorf("known is %+v", l)
		}
	})
}

// B08: an ID that the target gives is one segment of an address, whatever it says.
func TestB08_AnIDOfTheTargetLeadsNowhereElse(t *testing.T) {
	bubble(t, func(t *testing.T) {
		crm := newPlace(t, "crm")
		crm.plant(t, `{"userName":"boss","title":"Boss"}`)
		w := newWorld(t, open(t), crm.target())
		w.start()
		crm.awkward.Writes(1, connectortest.Say(201, "application/scim+json", `{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User"],"id":"../../Users/1?x=","userName":"ana"}`))
		ana := w.person("ana", "Dr", "")
		w.quiet()
		if l := w.link("crm", ana.ID); l.RemoteID != "../../Users/1?x=" {
			t.Fatalf("known is %+v", l)
		}
		crm.awkward.Behave()
		w.set(ana.ID, "title", "Prof")
		w.quiet()
		want(t, "held", crm.holds(t), []string{`ana active "Prof" ""`, `boss disabled "Boss" ""`})
		for _, s := range crm.awkward.Seen() {
			path, _, _ := strings.Cut(s.URI, "?")
			if rest, ok := strings.CutPrefix(path, "/scim/v2/Users"); !ok || strings.Count(rest, "/") > 1 || strings.Contains(rest, "..%") && rest != "/..%2F..%2FUsers%2F1%3Fx=" {
				t.Errorf("asked for %s", s.URI)
			}
		}
	})
}

// B02: credentials do not follow a redirect.
func TestB02_CredentialsStayWithTheTarget(t *testing.T) {
	bubble(t, func(t *testing.T) {
		crm := newPlace(t, "crm")
		w := newWorld(t, open(t), crm.target())
		crm.awkward.Next(1, connectortest.Redirect(307, "http://other.test/scim/v2/Users"))
		ana := w.person("ana", "Dr", "")
		err := w.runner.Now(t.Context(), "sync", "crm/"+ana.ID)
		if err == nil || !strings.Contains(err.Error(), "route") {
			t.Errorf("a redirect: %v", err)
		}
		if n := len(crm.awkward.Seen()); n != 1 {
			t.Errorf("%d requests, want the one that was redirected", n)
		}
		w.start()
		w.quiet()
		want(t, "without a redirect", crm.holds(t), []string{`ana active "Dr" ""`})
	})
}

// B07: whatever a target answers, it is bounded, and what we keep of it too.
func TestB07_HostileAnswersLeaveLittleBehind(t *testing.T) {
	long := strings.Repeat("é", 4000)
	for name, trick := range map[string]connectortest.Trick{
		"long detail": connectortest.Say(400, "application/scim+json", `{"schemas":["urn:ietf:params:scim:api:messages:2.0:Error"],"scimType":"`+long+`","detail":"`+long+`"}`),
		"10 MB":       connectortest.Huge(10 << 20),
		"a page":      connectortest.HTML(500),
		"no JSON":     connectortest.Say(201, "application/scim+json", "{{{"),
		"no id":       connectortest.Say(201, "application/scim+json", `{"userName":"ana"}`),
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				crm := newPlace(t, "crm")
				w := newWorld(t, open(t), crm.target())
				crm.awkward.Writes(-1, trick)
				ana := w.person("ana", "Dr", "")
				if err := w.runner.Now(t.Context(), "sync", "crm/"+ana.ID); err == nil {
					t.Fatal("it was taken for an answer")
				}
				got, ok := w.task(ana.ID)
				if l := w.link("crm", ana.ID); !ok || len(got.Error) > 500 || len(l.Error) > 500 || l.Error == "" || strings.Contains(l.Error, "éé") {
					t.Errorf("kept: %q and %q", got.Error, l.Error)
				}
				crm.awkward.Behave()
				w.start()
				w.quiet()
				if got := crm.holds(t); len(got) != 1 {
					t.Errorf("in the end it holds %q", got)
				}
			})
		})
	}
}

// R27: an hour without a target. Everything that changed meanwhile arrives once,
// in no more calls than there are users and attempts.
func TestR27_AnHourWithoutTheTarget(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := &fake{}
		down := &atomic.Bool{}
		var calls atomic.Int64
		f.before = func(context.Context, connector.Account) error {
			calls.Add(1)
			if down.Load() {
				return &connector.Error{Text: "dial", Err: fmt.Errorf("network is unreachable")}
			}
			return nil
		}
		w := newWorld(t, open(t), f.target("crm", f))
		w.start()
		down.Store(true)
		const people = 16
		var ids []string
		for i := range people {
			ids = append(ids, w.person(fmt.Sprintf("p%02d", i), "", "").ID)
		}
		for round := range 3 {
			time.Sleep(20 * time.Minute)
			for i, id := range ids {
				if i%4 == round {
					w.set(id, "title", fmt.Sprint("Title ", round))
				}
			}
		}
		w.remove(ids[people-1])
		down.Store(false)
		calls.Store(0)
		w.quiet()
		if len(w.tasks()) > 0 {
			t.Fatalf("left: %+v", w.tasks())
		}
		got := f.calls()
		slices.Sort(got)
		if len(got) != people-1 || len(slices.Compact(got)) != people-1 {
			t.Errorf("%d writes for %d people", len(got), people-1)
		}
		if n := calls.Load(); n > 2*people {
			t.Errorf("%d calls", n)
		}
		for _, a := range f.held {
			i, title := 0, ""
			if _, err := fmt.Sscanf(a.UserName, "p%d", &i); err != nil {
				t.Fatal(err)
			}
			if i%4 < 3 {
				title = fmt.Sprint("Title ", i%4)
			}
			if got := strings.Join(a.Attributes["title"], ""); got != title {
				t.Errorf("the account of %s has the title %q, want %q", a.UserName, got, title)
			}
		}
	})
}

// bodyOf reads a request's body and puts it back.
func bodyOf(r *http.Request) string {
	b, _ := io.ReadAll(r.Body)
	r.Body = io.NopCloser(bytes.NewReader(b))
	return string(b)
}
