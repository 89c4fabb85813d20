package outbox_test

import (
	"encoding/base64"
	"encoding/json"
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
	"github.com/gatehouse-sso/gatehouse/provisioning/connector/webhook"
	"github.com/gatehouse-sso/gatehouse/provisioning/outbox"
)

// A listener keeps what a webhook is told: of each user the last, and how often.
type listener struct {
	mu    sync.Mutex
	ids   map[string]bool
	told  map[string][]string // by user name: types of events, in the order in which they came
	last  map[string]bool     // by user name: active
	lose  int                 // answers that are still to be lost
	never string              // a user whose events are refused
	tries []time.Time         // when they were refused
	over  int                 // how often 410 was the answer, while it is not negative
}

func (l *listener) RoundTrip(r *http.Request) (*http.Response, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	raw, _ := io.ReadAll(r.Body)
	var e struct {
		ID, Type, Subject string
		Data              struct {
			Resource struct {
				UserName string
				Active   bool
			}
		}
	}
	if err := json.Unmarshal(raw, &e); err != nil {
		return nil, err
	}
	u := e.Data.Resource
	if l.over >= 0 {
		l.over++
		return &http.Response{StatusCode: http.StatusGone, Header: http.Header{}, Body: http.NoBody, Request: r}, nil
	}
	answer := &http.Response{StatusCode: http.StatusNoContent, Header: http.Header{}, Body: http.NoBody, Request: r}
	if u.UserName == l.never && l.never != "" {
		answer.StatusCode = http.StatusBadRequest
		l.tries = append(l.tries, time.Now())
		return answer, nil
	}
	if !l.ids[e.ID] {
		l.ids[e.ID] = true
		name := u.UserName
		if name == "" {
			name = e.Subject
		}
		l.told[name] = append(l.told[name], strings.TrimSuffix(strings.TrimPrefix(e.Type, "gatehouse.user."), ".v1"))
		l.last[name] = u.Active
	}
	if l.lose > 0 {
		l.lose--
		return nil, io.ErrUnexpectedEOF
	}
	return answer, nil
}

func (l *listener) target(t *testing.T) outbox.Target {
	t.Helper()
	w, err := webhook.New(webhook.Config{URL: "https://hook.test/", Client: &http.Client{Transport: l}, Source: "https://gate.test", Secrets: []string{"whsec_" + base64.StdEncoding.EncodeToString(make([]byte, 24))}})
	if err != nil {
		t.Fatal(err)
	}
	return outbox.Target{
		ID: "hook", Connector: w, Schedule: webhook.Schedule,
		Scope: func(s authz.Subject) bool { return len(s.Attributes["department"]) > 0 },
		Account: func(u provisioning.User, s authz.Subject) (connector.Account, error) {
			return connector.Account{UserName: u.UserName, Attributes: map[string][]string{"title": s.Attributes["title"]}}, nil
		},
	}
}

func newListener() *listener {
	return &listener{over: -1, ids: map[string]bool{}, told: map[string][]string{}, last: map[string]bool{}}
}

func (l *listener) heard(t *testing.T, name string, want ...string) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	if !slices.Equal(l.told[name], want) {
		t.Errorf("of %s it was told %v, want %v", name, l.told[name], want)
	}
}

func TestASinkIsToldOfEachUserInOrder(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newListener()
		l.lose = 2 // the first creation arrives three times, and is one event
		w := newWorld(t, open(t), l.target(t))
		defer w.start()()
		ana := w.person("ana", "Dr", "ana@x.test")
		w.quiet()
		l.heard(t, "ana", "created")
		w.set(ana.ID, "title", "Prof")
		w.quiet()
		w.active(ana.ID, false)
		w.quiet()
		w.active(ana.ID, true)
		w.quiet()
		l.heard(t, "ana", "created", "updated", "updated", "updated")
		w.remove(ana.ID) // what is left is to be disabled
		w.quiet()
		l.heard(t, "ana", "created", "updated", "updated", "updated", "updated")
		if l.last["ana"] {
			t.Error("a deleted user is active")
		}
	})
}

func TestWhatASinkRefusesHoldsUpNobodyElse(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newListener()
		l.never = "eve"
		w := newWorld(t, open(t), l.target(t))
		defer w.start()()
		eve := w.person("eve", "Dr", "eve@x.test")
		ana := w.person("ana", "Dr", "ana@x.test")
		bob := w.person("bob", "Dr", "bob@x.test")
		time.Sleep(time.Hour)
		synctest.Wait()
		l.heard(t, "ana", "created")
		l.heard(t, "bob", "created")
		l.heard(t, "eve")
		if w.states(ana.ID)["hook"] != w.states(bob.ID)["hook"] || w.states(eve.ID)["hook"] == w.states(ana.ID)["hook"] {
			t.Errorf("ana %v, bob %v, eve %v", w.states(ana.ID), w.states(bob.ID), w.states(eve.ID))
		}
		l.mu.Lock()
		l.never = ""
		l.mu.Unlock()
		w.quiet()
		l.heard(t, "eve", "created")
	})
}

func TestASinkIsTriedAsScheduled(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newListener()
		l.never = "eve"
		w := newWorld(t, open(t), l.target(t))
		defer w.start()()
		eve := w.person("eve", "Dr", "eve@x.test")
		time.Sleep(100 * time.Hour)
		synctest.Wait()
		var gaps []time.Duration
		for i, at := range l.tries[1:] {
			gaps = append(gaps, at.Sub(l.tries[i]).Round(time.Second))
		}
		if !slices.Equal(gaps, webhook.Schedule) {
			t.Errorf("it was tried after %v, want %v", gaps, webhook.Schedule)
		}
		if task, ok := w.task(eve.ID); !ok || task.State != "parked" {
			t.Errorf("after the last the task is %+v", task)
		}
		w.set(eve.ID, "title", "Prof")
		time.Sleep(time.Hour)
		synctest.Wait()
		if n := len(l.tries); n < len(webhook.Schedule)+3 {
			t.Errorf("%d tries an hour after a change: it does not begin again", n)
		}
	})
}

// A receiver that says 410 is told nothing more, by this process nor by the next,
// until an administrator has it told again; then it hears what it missed.
func TestASinkThatSaysItIsOverIsLeftAlone(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newListener()
		l.over = 0
		st := open(t)
		w := newWorld(t, st, l.target(t))
		stop := w.start()
		w.person("ana", "Dr", "")
		time.Sleep(time.Hour)
		stop()
		w = newWorld(t, st, l.target(t))
		if err := w.box.Load(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.start()
		bob := w.person("bob", "Dr", "")
		time.Sleep(100 * time.Hour)
		synctest.Wait()
		view := w.box.Targets()[0]
		if l.over != 1 || view.State != "paused" || !strings.Contains(view.Why, "410") || view.Paused.By != "the target" {
			t.Errorf("asked %d times; it is %+v", l.over, view)
		}
		if w.settle(bob.ID, time.Second) && w.states(bob.ID)["hook"] == outbox.Done || l.over != 1 {
			t.Errorf("who waits: %v, asked %d times", w.states(bob.ID), l.over)
		}
		l.mu.Lock()
		l.over = -1
		l.mu.Unlock()
		if err := w.box.Resume(t.Context(), "hook", "root"); err != nil {
			t.Fatal(err)
		}
		w.quiet()
		l.heard(t, "ana", "created")
		l.heard(t, "bob", "created")
	})
}
