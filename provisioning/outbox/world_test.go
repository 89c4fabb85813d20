package outbox_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/gatehouse-sso/gatehouse/authz"
	"github.com/gatehouse-sso/gatehouse/provisioning"
	"github.com/gatehouse-sso/gatehouse/provisioning/audit"
	"github.com/gatehouse-sso/gatehouse/provisioning/connector"
	"github.com/gatehouse-sso/gatehouse/provisioning/connector/connectortest"
	"github.com/gatehouse-sso/gatehouse/provisioning/connector/scim2"
	"github.com/gatehouse-sso/gatehouse/provisioning/guard"
	"github.com/gatehouse-sso/gatehouse/provisioning/outbox"
	"github.com/gatehouse-sso/gatehouse/provisioning/scim"
	"github.com/gatehouse-sso/gatehouse/provisioning/scim/memstore"
	"github.com/gatehouse-sso/gatehouse/provisioning/scim/server"
	"github.com/gatehouse-sso/gatehouse/provisioning/store"
	"github.com/gatehouse-sso/gatehouse/provisioning/store/boltstore"
	"github.com/gatehouse-sso/gatehouse/provisioning/store/storetest"
	"github.com/gatehouse-sso/gatehouse/provisioning/task"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// big is true where long runs are wanted.
var big = os.Getenv("GATEHOUSE_FAULTS") != ""

const (
	mail   = `emails[type eq "work"].value`
	bearer = "the target's token"
)

// A place is a real target: a SCIM server over a memstore, something awkward in
// front of it, and the connector that speaks to it. The wire between them is
// in this process, so that time in a bubble is everybody's.
type place struct {
	id      string
	awkward *connectortest.Awkward
	store   *memstore.Store
	groups  *memstore.Store
	conn    connector.Connector
}

func newPlace(t testing.TB, id string) *place {
	t.Helper()
	p := &place{id: id, awkward: &connectortest.Awkward{}, store: memstore.New(scim.UserType(), nil), groups: memstore.New(scim.GroupType(), nil)}
	h, err := server.New(server.Config{
		Base: "http://" + id + ".test/scim/v2", Authenticate: server.Bearer(bearer),
		Resources: []server.Resource{{Type: scim.UserType(), Store: p.store}, {Type: scim.GroupType(), Store: p.groups}},
	})
	if err != nil {
		t.Fatal(err)
	}
	p.awkward.Handler = h
	p.conn, err = scim2.New(scim2.Config{
		URL: "http://" + id + ".test/scim/v2", Client: &http.Client{Transport: wire{p.awkward}}, Auth: scim2.Bearer(bearer), Update: scim2.Patch,
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// A wire calls a handler. A client that goes away is noticed by the handler's
// context alone, as on a network.
type wire struct{ h http.Handler }

func (w wire) RoundTrip(r *http.Request) (*http.Response, error) {
	if tr := httptrace.ContextClientTrace(r.Context()); tr != nil && tr.GotConn != nil {
		tr.GotConn(httptrace.GotConnInfo{})
	}
	in := r.Clone(r.Context())
	in.RequestURI = r.URL.RequestURI()
	if in.Body == nil {
		in.Body = http.NoBody
	}
	type answer struct {
		resp *http.Response
		err  error
	}
	said := make(chan answer, 1)
	go func() {
		rec := httptest.NewRecorder()
		defer func() {
			if recover() != nil {
				said <- answer{nil, io.ErrUnexpectedEOF}
			}
		}()
		w.h.ServeHTTP(rec, in)
		said <- answer{rec.Result(), nil}
	}()
	select {
	case a := <-said:
		return a.resp, a.err
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
}

// target is the place as the outbox knows it: those who have a department have
// an account, which has their title and mail address.
func (p *place) target() outbox.Target {
	return outbox.Target{
		ID: p.id, Title: "The " + p.id, Connector: p.conn,
		Scope: func(s authz.Subject) bool { return len(s.Attributes["department"]) > 0 },
		Account: func(u provisioning.User, s authz.Subject) (connector.Account, error) {
			return connector.Account{UserName: u.UserName, Attributes: map[string][]string{
				"title": s.Attributes["title"], mail: s.Attributes["mail"],
			}}, nil
		},
	}
}

// manager is where an account names that of another user.
const manager = scim.EnterpriseUserURN + ":manager.value"

// naming is the target with accounts that name the manager's.
func (p *place) naming() outbox.Target {
	tg := p.target()
	tg.References = []string{manager}
	plain := tg.Account
	tg.Account = func(u provisioning.User, s authz.Subject) (connector.Account, error) {
		a, err := plain(u, s)
		a.Attributes[manager] = s.Attributes["manager"]
		return a, err
	}
	return tg
}

// names is whom the account of a resource names.
func names(r *scim.Resource) string {
	return r.Sub(scim.EnterpriseUserURN).Sub("manager").String("value")
}

// holds lists what is really there, by user name: "ana active title mail".
func (p *place) holds(t testing.TB) []string {
	t.Helper()
	var list []string
	for _, r := range p.resources(t) {
		state := "disabled"
		if r.Get("active") == true {
			state = "active"
		}
		addr := ""
		for _, e := range r.List("emails") {
			addr = e.(*scim.Object).String("value")
		}
		list = append(list, fmt.Sprintf("%s %s %q %q", r.String("userName"), state, r.String("title"), addr))
	}
	slices.Sort(list)
	return list
}

func (p *place) resources(t testing.TB) []*scim.Resource {
	t.Helper()
	page, err := p.store.List(context.Background(), scim.Query{Start: 1, Count: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	return page.Resources
}

// plant makes an account as somebody else would.
func (p *place) plant(t testing.TB, json string) string {
	t.Helper()
	o, err := scim.Decode([]byte(json))
	if err != nil {
		t.Fatal(err)
	}
	o.Set("schemas", []any{scim.UserURN})
	r, err := scim.UserType().New(o)
	if err == nil {
		r, err = p.store.Create(context.Background(), r)
	}
	if err != nil {
		t.Fatal(err)
	}
	return r.ID()
}

// edit changes an account as somebody else would.
func (p *place) edit(t testing.TB, id string, fn func(*scim.Resource)) {
	t.Helper()
	_, err := p.store.Change(context.Background(), id, func(r *scim.Resource) (*scim.Resource, error) {
		r = r.Clone()
		fn(r)
		return r, nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A world is a directory with an outbox, and what works off its tasks.
type world struct {
	t      testing.TB
	st     store.Store
	dir    *provisioning.Directory
	box    *outbox.Outbox
	config outbox.Config
	guard  *guard.Guard
	runner *task.Runner
	stop   func() // ends what start began
}

func open(t testing.TB) store.Store {
	t.Helper()
	st, err := boltstore.Open(filepath.Join(t.TempDir(), "db"), boltstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	return st
}

// newWorld is a world over a store, with these targets.
func newWorld(t testing.TB, st store.Store, targets ...outbox.Target) *world {
	return worldOver(t, st, st, targets...)
}

// worldOver has another store for what works in the background than for the
// directory itself.
func worldOver(t testing.TB, st, background store.Store, targets ...outbox.Target) *world {
	return makeWorld(t, st, background, 16, 4, targets...)
}

// newWorkers is newWorld with as many workers as said, and of them at each target.
func newWorkers(t testing.TB, st store.Store, workers, perLane int, targets ...outbox.Target) *world {
	return makeWorld(t, st, st, workers, perLane, targets...)
}

func makeWorld(t testing.TB, st, background store.Store, workers, perLane int, targets ...outbox.Target) *world {
	t.Helper()
	w := &world{t: t, st: st}
	log := audit.New(time.Now)
	var err error
	w.dir, err = provisioning.New(provisioning.Config{
		Store: st, UserStores: []string{"primary"},
		Followers: []provisioning.Follower{func(tx store.Tx, before, after provisioning.User, d provisioning.Delta) error {
			return w.box.Follow(tx, before, after, d)
		}},
		GroupFollowers: []provisioning.GroupFollower{func(tx store.Tx, before, after provisioning.Group, by provisioning.Source) error {
			return w.box.FollowGroup(tx, before, after, by)
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	w.config = outbox.Config{
		Store: background, Directory: w.dir, Roles: func(s authz.Subject) authz.Subject { return s }, Targets: targets, Audit: log.Append,
		Run: func(ctx context.Context, kind, key string) error { return w.runner.Now(ctx, kind, key) },
	}
	w.box = outbox.New(w.config)
	w.runner = task.NewRunner(task.Config{Store: background, Workers: workers, PerLane: perLane, Alone: true, Closed: func(kind, lane string) time.Duration { return w.box.Closed(kind, lane) }, Prepare: map[string]func(store.Tx, string) any{
		outbox.Kind: func(tx store.Tx, key string) any { return w.box.Prepare(tx, key) },
	}, Handlers: map[string]task.Handler{
		outbox.Kind:            func(ctx context.Context, key string) error { return w.box.Handle(ctx, key) },
		outbox.KindEverybody:   func(ctx context.Context, key string) error { return w.box.HandleEverybody(ctx, key) },
		outbox.KindRefs:        func(ctx context.Context, key string) error { return w.box.HandleRefs(ctx, key) },
		outbox.KindGroup:       func(ctx context.Context, key string) error { return w.box.HandleGroup(ctx, key) },
		outbox.KindLater:       func(ctx context.Context, key string) error { return w.box.HandleLater(ctx, key) },
		guard.TaskCase:         func(ctx context.Context, key string) error { return w.guard.HandleCase(ctx, key) },
		provisioning.TaskClear: w.dir.Clear,
	}})
	t.Cleanup(func() { w.box.Close() })
	return w
}

// guarded puts a guard before what a target would lose, that lets n accounts,
// memberships and sensitive changes go.
func (w *world) guarded(n int) {
	w.guard = guard.New(guard.Config{
		Store: w.st, Limits: func(string) guard.Limits {
			return guard.Limits{Removal: guard.Limit{Count: n}, Membership: guard.Limit{Count: n}, Sensitive: guard.Limit{Count: n}}
		},
		Resume: func(tx store.Tx, it guard.Item) error { return w.box.ResumeTx(tx, it) },
	})
	w.config.Guard = w.guard
	w.box = outbox.New(w.config)
}

// start works off tasks until the test, or what it returns, ends it.
func (w *world) start() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = w.runner.Run(ctx) }()
	var once sync.Once
	w.stop = func() { once.Do(func() { cancel(); <-done }) }
	w.t.Cleanup(w.stop)
	return w.stop
}

// person makes a user with a department; title and mail may be empty.
func (w *world) person(name, title, addr string) provisioning.User {
	w.t.Helper()
	u, _, err := w.dir.Create(context.Background(), provisioning.User{
		Store: "primary", UserName: name, Active: true, Attributes: attributes("department", "IT", "title", title, "mail", addr),
	}, provisioning.Admin)
	if err != nil {
		w.t.Fatal(err)
	}
	return u
}

func attributes(pairs ...string) map[string][]provisioning.Claim {
	m := map[string][]provisioning.Claim{}
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			m[pairs[i]] = []provisioning.Claim{{Source: provisioning.Admin, Values: []string{pairs[i+1]}}}
		}
	}
	return m
}

func (w *world) change(id string, fn func(*provisioning.User)) {
	w.t.Helper()
	for {
		_, _, err := w.dir.Change(context.Background(), id, provisioning.Admin, func(u *provisioning.User) error { fn(u); return nil })
		if err == nil {
			return
		}
		if !errors.Is(err, storetest.ErrUncertain) {
			w.t.Fatal(err)
		}
	}
}

// set gives an attribute one value, or none if that is empty.
func (w *world) set(id, attr, value string) {
	w.t.Helper()
	w.change(id, func(u *provisioning.User) {
		if delete(u.Attributes, attr); u.Attributes == nil {
			u.Attributes = map[string][]provisioning.Claim{}
		}
		maps.Copy(u.Attributes, attributes(attr, value))
	})
}

func (w *world) active(id string, active bool) {
	w.t.Helper()
	w.change(id, func(u *provisioning.User) { u.Active = active })
}

func (w *world) remove(id string) {
	w.t.Helper()
	if err := w.dir.Delete(context.Background(), id, provisioning.Admin); err != nil && !errors.Is(err, storetest.ErrUncertain) {
		w.t.Fatal(err)
	}
}

// tasks are those that are not done.
func (w *world) tasks() []task.Task {
	w.t.Helper()
	list, err := task.List(context.Background(), w.st, task.Task{}, 0)
	if err != nil {
		w.t.Fatal(err)
	}
	return slices.DeleteFunc(list, func(t task.Task) bool { return t.Kind == provisioning.TaskClear })
}

// task is the task of a user, at the only target that has one.
func (w *world) task(id string) (task.Task, bool) {
	w.t.Helper()
	for _, t := range w.tasks() {
		if _, user, _ := cutKey(t.Key); user == id {
			return t, true
		}
	}
	return task.Task{}, false
}

func cutKey(key string) (target, user string, ok bool) {
	for i := range key {
		if key[i] == '/' {
			return key[:i], key[i+1:], true
		}
	}
	return key, "", false
}

// quiet lets time pass in the bubble until nothing is left to do but what is
// parked.
func (w *world) quiet() {
	w.t.Helper()
	for range 2000 {
		synctest.Wait()
		if !slices.ContainsFunc(w.tasks(), func(t task.Task) bool { return t.State != task.Parked }) {
			return
		}
		time.Sleep(time.Minute)
	}
	w.t.Fatalf("it never got quiet: %+v", w.tasks())
}

// link is what is known of a user's account at a target.
func (w *world) link(target, id string) outbox.Link {
	w.t.Helper()
	list, err := w.box.Accounts(context.Background(), id, "", 0)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, l := range list {
		if l.Target == target {
			return l
		}
	}
	return outbox.Link{}
}

func (w *world) states(id string) map[string]string {
	w.t.Helper()
	list, err := w.box.States(context.Background(), id)
	if err != nil {
		w.t.Fatal(err)
	}
	m := map[string]string{}
	for _, s := range list {
		m[s.Target] = s.Status
	}
	return m
}

// events are the kinds of what was recorded of a user's accounts, oldest first.
func (w *world) events(id string) (kinds []string) {
	w.t.Helper()
	var all []audit.Event
	for e, err := range audit.Events(context.Background(), w.st, audit.Query{UserID: id}) {
		if err != nil {
			w.t.Fatal(err)
		}
		all = append(all, e)
	}
	slices.SortFunc(all, func(a, b audit.Event) int { return cmp.Compare(a.Seq, b.Seq) })
	for _, e := range all {
		kinds = append(kinds, e.Kind)
	}
	return kinds
}

// bubble runs a test in time of its own.
func bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, f)
}

func want(t testing.TB, what string, got, wanted []string) {
	t.Helper()
	if !slices.Equal(got, wanted) {
		t.Errorf("%s:\n got %q\nwant %q", what, got, wanted)
	}
}

func (p *place) sent() (list []string) {
	for _, s := range p.awkward.Changes() {
		list = append(list, s.Method)
	}
	return list
}
