package outbox_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gatehouse-sso/gatehouse/provisioning/connector"
	"github.com/gatehouse-sso/gatehouse/provisioning/outbox"
	"github.com/gatehouse-sso/gatehouse/provisioning/scim"
	"github.com/gatehouse-sso/gatehouse/provisioning/store"
)

// A life ends at a step: just before something has an effect, or just after it
// had one and before anybody hears of it. After that nothing has an effect.
type life struct {
	mu    sync.Mutex
	left  int // steps until the end; negative: it does not end
	ended bool
	end   chan struct{}
}

var errDead = errors.New("the process is dead")

func newLife(steps int) *life { return &life{left: steps, end: make(chan struct{})} }

func (l *life) step() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return errDead
	}
	if l.left == 0 {
		l.ended = true
		close(l.end)
		return errDead
	}
	l.left--
	return nil
}

// mortalStore and mortalConnector belong to a process.
type mortalStore struct {
	store.Store
	l *life
}

func (m mortalStore) Update(ctx context.Context, fn func(store.Tx) error) error {
	if err := m.l.step(); err != nil {
		return err
	}
	if err := m.Store.Update(ctx, fn); err != nil {
		return err
	}
	return m.l.step()
}

type mortalConnector struct {
	c connector.Connector
	l *life
}

func (m mortalConnector) Sync(ctx context.Context, want connector.Account, have string) (string, error) {
	if err := m.l.step(); err != nil {
		return "", err
	}
	id, err := m.c.Sync(ctx, want, have)
	if dead := m.l.step(); dead != nil {
		return "", dead
	}
	return id, err
}

func (m mortalConnector) Find(ctx context.Context, want connector.Account) ([]connector.Account, error) {
	if err := m.l.step(); err != nil {
		return nil, err
	}
	return m.c.Find(ctx, want)
}

func (m mortalConnector) Remove(ctx context.Context, have string) error {
	if err := m.l.step(); err != nil {
		return err
	}
	err := m.c.Remove(ctx, have)
	if dead := m.l.step(); dead != nil {
		return dead
	}
	return err
}

func (m mortalConnector) Accounts(ctx context.Context) iter.Seq2[connector.Account, error] {
	return m.c.Accounts(ctx)
}

// B03, R29: whatever step a process dies at, the next one ends with exactly the
// account that should be there, made once.
func TestB03R29_DeathBetweenAnyTwoStepsMakesOneAccount(t *testing.T) {
	type scene struct {
		crm  *place
		tg   outbox.Target
		w    *world
		user string
	}
	known := func(s *scene) { s.w.start(); s.w.quiet() } // the account is there before the process that dies
	for _, c := range []struct {
		name          string
		leave         outbox.Leave
		before, cause func(*scene)
		meanwhile     func(*scene) // between the two processes
		holds         []string
		created       int // creations at the target, all told; negative: one or none
	}{
		{"create", "", nil, nil, nil, []string{`ana active "Dr" ""`}, 1},
		{"update", "", known, func(s *scene) { s.w.set(s.user, "title", "Prof"); s.w.set(s.user, "mail", "a@x.test") }, nil, []string{`ana active "Prof" "a@x.test"`}, 1},
		{"disable", "", known, func(s *scene) { s.w.set(s.user, "department", "") }, nil, []string{`ana disabled "Dr" ""`}, 1},
		{"delete", outbox.Delete, known, func(s *scene) { s.w.remove(s.user) }, nil, nil, 1},
		{"adopt", "", func(s *scene) { s.crm.plant(s.w.t, `{"userName":"ana","title":"old"}`) }, nil, nil, []string{`ana active "Dr" ""`}, 0},
		{"make again", "", func(s *scene) {
			known(s)
			_ = s.crm.store.Delete(context.Background(), s.crm.resources(s.w.t)[0].ID(), func(*scim.Resource) error { return nil })
		}, func(s *scene) { s.w.set(s.user, "title", "Prof") }, nil, []string{`ana active "Prof" ""`}, 2},
		{"create, and then the user is gone", outbox.Delete, nil, nil, func(s *scene) { s.w.remove(s.user) }, nil, -1},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			deaths := 0
			for steps := 0; ; steps++ {
				alive := false
				synctest.Test(t, func(t *testing.T) {
					s := &scene{crm: newPlace(t, "crm")}
					made := 0
					s.crm.awkward.When(-1, func(r *http.Request) bool { return r.Method == http.MethodPost }, func(w http.ResponseWriter, r *http.Request, target http.Handler) {
						made++
						target.ServeHTTP(w, r)
					})
					s.tg = s.crm.target()
					s.tg.Leave, s.tg.Adopt = c.leave, outbox.ByUserName
					st := open(t)
					s.w = newWorld(t, st, s.tg)
					s.user = s.w.person("ana", "Dr", "").ID
					if c.before != nil {
						c.before(s)
					}
					if s.w.stop != nil {
						s.w.stop() // the first process ends in an orderly way
					}

					l := newLife(steps)
					dying := s.tg
					dying.Connector = mortalConnector{s.crm.conn, l}
					s.w = worldOver(t, st, mortalStore{st, l}, dying)
					if c.cause != nil {
						c.cause(s)
					}
					stop := s.w.start()
					quiet := make(chan struct{})
					go func() { defer close(quiet); time.Sleep(time.Hour) }()
					select {
					case <-l.end:
					case <-quiet:
						alive = true
					}
					stop()
					<-quiet

					s.w = newWorld(t, st, s.tg)
					if c.meanwhile != nil {
						c.meanwhile(s)
					}
					s.w.start()
					s.w.quiet()
					want(t, fmt.Sprintf("after a death at step %d the target", steps), s.crm.holds(t), c.holds)
					if left := s.w.tasks(); len(left) > 0 {
						t.Errorf("step %d: left to do: %+v", steps, left)
					}
					// A creation whose answer nobody heard is found, not made again.
					if made != c.created && (c.created >= 0 || made > 1) {
						t.Errorf("step %d: %d creations, want %d", steps, made, c.created)
					}
					if l := s.w.link("crm", s.user); len(c.holds) == 1 && (l.RemoteID != s.crm.resources(t)[0].ID() || l.Error != "" || !l.Intent.IsZero()) {
						t.Errorf("step %d: known is %+v", steps, l)
					}
				})
				if alive {
					break
				}
				if deaths++; t.Failed() {
					break
				}
			}
			if deaths < 5 {
				t.Errorf("only %d deaths: the steps are not counted", deaths)
			}
			t.Logf("%d deaths", deaths)
		})
	}
}
