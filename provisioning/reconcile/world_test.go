package reconcile_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatehouse-sso/gatehouse/authz"
	"github.com/gatehouse-sso/gatehouse/provisioning"
	"github.com/gatehouse-sso/gatehouse/provisioning/connector"
	"github.com/gatehouse-sso/gatehouse/provisioning/connector/scim2"
	"github.com/gatehouse-sso/gatehouse/provisioning/guard"
	"github.com/gatehouse-sso/gatehouse/provisioning/outbox"
	"github.com/gatehouse-sso/gatehouse/provisioning/reconcile"
	"github.com/gatehouse-sso/gatehouse/provisioning/scim"
	"github.com/gatehouse-sso/gatehouse/provisioning/scim/memstore"
	"github.com/gatehouse-sso/gatehouse/provisioning/scim/server"
	"github.com/gatehouse-sso/gatehouse/provisioning/store"
	"github.com/gatehouse-sso/gatehouse/provisioning/store/boltstore"
	"github.com/gatehouse-sso/gatehouse/provisioning/task"
)

// big is true where long runs are wanted.
var big = os.Getenv("GATEHOUSE_FAULTS") != ""

const (
	bearer = "the target's token"
	hr     = provisioning.Source("scim:hr")
)

// A place is a real SCIM server on loopback that counts what is written to it.
type place struct {
	store  *memstore.Store
	url    string
	writes atomic.Int64
	reads  atomic.Int64
	before func(*http.Request) bool // false: the request gets a 503
	hook   atomic.Value             // func(), at each request
}

func newPlace(t testing.TB) *place {
	t.Helper()
	p := &place{store: memstore.New(scim.UserType(), nil)}
	p.before = func(*http.Request) bool { return true }
	h, err := server.New(server.Config{
		Base: "http://target.test/scim/v2", Authenticate: server.Bearer(bearer),
		Resources: []server.Resource{{Type: scim.UserType(), Store: p.store}},
	})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			p.reads.Add(1)
		} else {
			p.writes.Add(1)
		}
		if hook, ok := p.hook.Load().(func()); ok {
			hook()
		}
		if !p.before(r) {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		r.URL.Path = "/scim/v2" + r.URL.Path
		h.ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	p.url = srv.URL
	return p
}

func connect(t testing.TB, url string) *scim2.Connector {
	c, err := scim2.New(scim2.Config{URL: url, Client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 32}}, Auth: scim2.Bearer(bearer), Update: scim2.Patch})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// world is a directory, an outbox and a reconciler over a store file.
type world struct {
	testing.TB
	store  store.Store
	dir    *provisioning.Directory
	guard  *guard.Guard
	box    *outbox.Outbox
	rec    *reconcile.Reconciler
	runner *task.Runner
	conn   connector.Connector
}

// openWorld opens a world whose target is at a connector; over is what the
// configuration says of its reconciliation.
func openWorld(t testing.TB, path string, conn connector.Connector, over reconcile.Target) *world {
	t.Helper()
	st, err := boltstore.Open(path, boltstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	w := &world{TB: t, store: st, conn: conn}
	w.dir, err = provisioning.New(provisioning.Config{
		Store: st, UserStores: []string{"primary"}, Precedence: []provisioning.Source{reconcile.Source("crm")},
		Followers: []provisioning.Follower{func(tx store.Tx, before, after provisioning.User, d provisioning.Delta) error {
			return w.box.Follow(tx, before, after, d)
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	w.guard = guard.New(guard.Config{Store: st, Resume: func(tx store.Tx, it guard.Item) error {
		if it.Act.Object == reconcile.Stray {
			return w.rec.Resume(tx, it)
		}
		return task.Add(tx, outbox.Kind, outbox.Key("crm", it.Act.Subject), time.Now())
	}})
	run := func(ctx context.Context, kind, key string) error { return w.runner.Now(ctx, kind, key) }
	w.box = outbox.New(outbox.Config{
		Store: st, Directory: w.dir, Roles: func(s authz.Subject) authz.Subject { return s }, Guard: w.guard, Run: run,
		Targets: []outbox.Target{{
			ID: "crm", Connector: conn, Adopt: outbox.ByUserName,
			Scope: func(s authz.Subject) bool { return len(s.Attributes["department"]) > 0 },
			Account: func(u provisioning.User, s authz.Subject) (connector.Account, error) {
				return connector.Account{UserName: u.UserName, Attributes: map[string][]string{"title": s.Attributes["title"]}}, nil
			},
		}},
	})
	over.ID, over.Connector = "crm", conn
	w.rec = reconcile.New(reconcile.Config{Store: st, Directory: w.dir, Outbox: w.box, Guard: w.guard, Targets: []reconcile.Target{over}, Run: run})
	w.runner = task.NewRunner(task.Config{Store: st, Workers: 16, PerLane: 8, Alone: true, Handlers: map[string]task.Handler{
		outbox.Kind: w.box.Handle, reconcile.Kind: w.rec.Handle, reconcile.TaskStray: w.rec.HandleStray, guard.TaskCase: w.guard.HandleCase,
		reconcile.TaskPlan: func(ctx context.Context, key string) error {
			time.Sleep(time.Millisecond) // no machine is on time to the nanosecond
			return w.rec.HandlePlan(ctx, key)
		},
	}})
	return w
}

func newWorld(t testing.TB, over reconcile.Target) (*world, *place) {
	t.Helper()
	p := newPlace(t)
	return openWorld(t, filepath.Join(t.TempDir(), "db"), connect(t, p.url), over), p
}

// populate makes n users with accounts.
func (w *world) populate(n int) (ids []string) {
	w.Helper()
	ids = make([]string, n)
	w.atOnce(n, func(i int) error {
		u := provisioning.User{Store: "primary", UserName: fmt.Sprintf("user%06d", i), Active: true}
		u.Say(hr, "department", "IT")
		u.Say(hr, "title", "Clerk")
		u, _, err := w.dir.Create(context.Background(), u, hr)
		if err == nil {
			ids[i] = u.ID
			err = w.runner.Now(context.Background(), outbox.Kind, outbox.Key("crm", u.ID))
		}
		return err
	})
	return ids
}

// atOnce does n things in many goroutines.
func (w *world) atOnce(n int, do func(i int) error) {
	w.Helper()
	var wg sync.WaitGroup
	var next atomic.Int64
	for range 32 {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				if err := do(i); err != nil {
					w.Errorf("number %d: %v", i, err)
					return
				}
			}
		})
	}
	wg.Wait()
	if w.Failed() {
		w.FailNow()
	}
}

// reconcile runs one reconciliation to its end.
func (w *world) reconcile(m reconcile.Mode) reconcile.Report {
	w.Helper()
	if err := w.rec.Start(w.Context(), "crm", m); err != nil {
		w.Fatal(err)
	}
	if err := w.runner.Now(w.Context(), reconcile.Kind, reconcile.Key("crm", m)); err != nil {
		w.Fatal(err)
	}
	rep, ok, err := w.rec.Report(w.Context(), "crm", m)
	if err != nil || !ok || rep.Ended.IsZero() {
		w.Fatalf("the report is %+v, %t, %v", rep, ok, err)
	}
	return rep
}

// reconcileAs runs a reconciliation that reads the target through another
// connector and forgets who is gone. It must write nothing to the target.
func (w *world) reconcileAs(p *place, c connector.Connector) reconcile.Report {
	w.Helper()
	again := reconcile.New(reconcile.Config{
		Store: w.store, Directory: w.dir, Outbox: w.box, Guard: w.guard, Run: w.runner.Now,
		Targets: []reconcile.Target{{ID: "crm", Connector: c, Deleted: reconcile.Unlink}},
	})
	if err := again.Start(w.Context(), "crm", reconcile.Run); err != nil {
		w.Fatal(err)
	}
	written := p.writes.Load()
	if err := again.Handle(w.Context(), reconcile.Key("crm", reconcile.Run)); err != nil {
		w.Fatal(err)
	}
	rep, _, err := again.Report(w.Context(), "crm", reconcile.Run)
	if err != nil || p.writes.Load() != written {
		w.Errorf("%d writes, %v", p.writes.Load()-written, err)
	}
	return rep
}

// link is what is known of a user's account.
func (w *world) link(userID string) outbox.Link {
	w.Helper()
	list, err := w.box.Accounts(w.Context(), userID, "", 0)
	if err != nil {
		w.Fatal(err)
	}
	if len(list) == 0 {
		return outbox.Link{}
	}
	return list[0]
}

// drift does by hand at the target what administrators there do: of every five
// hundred accounts, five of each kind.
func (w *world) drift(ids []string) (want map[string]int) {
	w.Helper()
	ctx := context.Background()
	each := len(ids) / 100
	at := func(kind, i int) string { return w.link(ids[kind*each+i]).RemoteID }
	sync := func(id string, a connector.Account) error {
		_, err := w.conn.Sync(ctx, a, id)
		return err
	}
	name := func(kind, i int) string { return fmt.Sprintf("user%06d", kind*each+i) }
	w.atOnce(each, func(i int) error {
		return errors.Join(
			sync(at(0, i), connector.Account{ExternalID: ids[i], UserName: name(0, i), Active: true, Attributes: map[string][]string{"title": {"Chief"}}}),
			sync(at(1, i), connector.Account{ExternalID: ids[each+i], UserName: name(1, i), Active: false}),
			w.conn.Remove(ctx, at(2, i)),
			sync("", connector.Account{UserName: fmt.Sprintf("stray%06d", i), Active: true}),
			w.store.Update(ctx, func(tx store.Tx) error { return outbox.UnlinkTx(tx, "crm", ids[3*each+i], at(3, i)) }),
		)
	})
	return map[string]int{"title": each, "active": each, reconcile.Deleted: each, reconcile.Unmatched: each, reconcile.Unlinked: each}
}
