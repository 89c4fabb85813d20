package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"text/template"
	"time"

	"github.com/gatehouse-sso/gatehouse/cmd/gatehouse/porttest"
	"github.com/gatehouse-sso/gatehouse/federation/idptest"
	"github.com/gatehouse-sso/gatehouse/provisioning"
	"github.com/gatehouse-sso/gatehouse/provisioning/audit"
	"github.com/gatehouse-sso/gatehouse/provisioning/connector/connectortest"
	"github.com/gatehouse-sso/gatehouse/provisioning/scim"
	"github.com/gatehouse-sso/gatehouse/provisioning/scim/memstore"
	scimserver "github.com/gatehouse-sso/gatehouse/provisioning/scim/server"
	"github.com/gatehouse-sso/gatehouse/provisioning/store"
	"github.com/gatehouse-sso/gatehouse/provisioning/store/boltstore"
	"github.com/gatehouse-sso/gatehouse/provisioning/task"
)

// asProgram makes this test binary the program itself.
const asProgram = "GATEHOUSE_TEST_RUNS_THE_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		os.Exit(Main())
	}
	// The race detector has a program wait a second before it ends, in case another
	// thread is reporting. The hundreds that are started here need not.
	if os.Getenv("GORACE") == "" {
		_ = os.Setenv("GORACE", "atexit_sleep_ms=0")
	}
	os.Exit(m.Run())
}

// A yard is what stands around a gateway with one OpenID provider and two
// targets that blocking sign-ins wait for, which live in this process.
type yard struct {
	t        testing.TB
	dir      string
	port     int
	op       *idptest.OP
	people   []idptest.Person
	targets  []*yardTarget
	upstream *mirror
	config   yardConfig
	ails     atomic.Pointer[http.HandlerFunc] // answers in place of the provider, but for its pages; nil: it is well
	// event, if not nil, is told what is about to happen, by whom it happens.
	event func(string)
}

type yardTarget struct {
	id      string
	awkward *connectortest.Awkward
	store   *memstore.Store
	url     string
	mu      sync.Mutex
	created int // answers 201
}

// yardConfig is what a yard's configuration can be asked for.
type yardConfig struct {
	Mode, OnFailure, Timeout string
	First                    string // first_request of the wiki
	Port, Admin              int
	OP, Upstream             string
	Targets                  []*yardTarget
}

// URL and ID are for the configuration.
func (g *yardTarget) URL() string { return g.url }

// ID of the target.
func (g *yardTarget) ID() string { return g.id }

const yardYAML = `version: 1
server:
  listen: 127.0.0.1:{{.Port}}
  public_url: http://localhost:{{.Port}}
  admin_listen: 127.0.0.1:{{.Admin}}
store: bolt:./gatehouse.db
identity_providers:
  - id: campus
    title: Campus
    oidc: { issuer: "{{.OP}}", client_id: gatehouse, client_secret: { file: client.secret } }
    attributes: { mail: email, display_name: name }
    provisioning: { mode: {{.Mode}}, on_failure: {{.OnFailure}}, timeout: {{.Timeout}}, user_name: preferred_username }
services:
  - id: wiki
    title: Wiki
    host: wiki.localhost
    upstream: "{{.Upstream}}"
    access: [ { id: everyone, allow: { signed_in: true } } ]
    release: [ user_name, mail ]
    provisioned_by: [{{range $i, $t := .Targets}}{{if $i}}, {{end}}{{$t.ID}}{{end}}]
    first_request: {{.First}}
    provisioned_within: 1s
targets:
{{- range .Targets}}
  - id: {{.ID}}
    title: The {{.ID}} system
    scim2: { url: "{{.URL}}/scim/v2", auth: { bearer: { file: target.secret } }, timeout: 5s }
    users: { all: true }
    release: [ mail, display_name ]
    wait: true
{{- end}}
help: { contact: helpdesk@campus.example }
limits: { requests_per_address: 1000000, sign_ins_per_person: 1000000 } # what a test sends from one address is none
outbound: { allow: [127.0.0.0/8, "::1/128"] }
`

const (
	yardClientSecret = "the-client-secret-of-the-yard-0001"
	yardTargetSecret = "the-bearer-token-of-the-yard-00002"
)

func newYard(t testing.TB, people []idptest.Person, with func(*yardConfig)) *yard {
	t.Helper()
	y := &yard{t: t, dir: shortDir(t), port: porttest.Free(t, 4), people: people, upstream: &mirror{}}
	c := yardConfig{Mode: "blocking", OnFailure: "deny", Timeout: "5s", First: "hold", Port: y.port, Admin: y.port + 1, Upstream: y.serve(y.upstream)}
	for _, id := range []string{"crm", "hr"} {
		y.targets = append(y.targets, y.newTarget(id))
	}
	c.Targets = y.targets
	h := &later{}
	c.OP = y.serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if ails := y.ails.Load(); ails != nil && r.URL.Path != "/authorize" {
			(*ails)(w, r)
			return
		}
		if r.URL.Path == "/token" {
			y.happens("token asked for")
			h.ServeHTTP(w, r)
			y.happens("token given")
			return
		}
		h.ServeHTTP(w, r)
	}))
	y.op = idptest.NewOP(idptest.OPConfig{
		Issuer: c.OP, People: people, Algorithm: "ES256", ClaimsInIDToken: true,
		Clients: []idptest.OPClient{{ID: "gatehouse", Secret: yardClientSecret, RedirectURIs: []string{fmt.Sprintf("http://localhost:%d/.gatehouse/oidc/campus/callback", y.port)}}},
	})
	h.Handler = y.op.Handler()
	y.config = c
	if err := y.write(with); err != nil {
		t.Fatal(err)
	}
	return y
}

// write writes the yard's configuration, changed by with.
func (y *yard) write(with func(*yardConfig)) error {
	if with != nil {
		with(&y.config)
	}
	var text bytes.Buffer
	if err := template.Must(template.New("").Parse(yardYAML)).Execute(&text, y.config); err != nil {
		return err
	}
	for name, content := range map[string]string{"gatehouse.yaml": text.String(), "client.secret": yardClientSecret, "target.secret": yardTargetSecret} {
		if err := os.WriteFile(filepath.Join(y.dir, name), []byte(content), 0o600); err != nil {
			return err
		}
	}
	return nil
}

func (y *yard) serve(h http.Handler) string {
	s := httptest.NewServer(h)
	y.t.Cleanup(s.Close)
	return s.URL
}

func (y *yard) happens(what string) {
	if y.event != nil {
		y.event(what)
	}
}

func (y *yard) newTarget(id string) *yardTarget {
	g := &yardTarget{id: id, store: memstore.New(scim.UserType(), nil), awkward: &connectortest.Awkward{}}
	g.url = y.serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			g.awkward.ServeHTTP(w, r)
			return
		}
		y.happens(id + ": creation asked for")
		rec := httptest.NewRecorder()
		g.awkward.ServeHTTP(rec, r)
		if rec.Code == http.StatusCreated {
			g.mu.Lock()
			g.created++
			g.mu.Unlock()
		}
		y.happens(id + ": created, not answered")
		maps.Copy(w.Header(), rec.Header())
		w.WriteHeader(rec.Code)
		_, _ = w.Write(rec.Body.Bytes())
		_ = http.NewResponseController(w).Flush()
		y.happens(id + ": answered")
	}))
	srv, err := scimserver.New(scimserver.Config{
		Base: g.url + "/scim/v2", Resources: []scimserver.Resource{{Type: scim.UserType(), Store: g.store}}, Authenticate: scimserver.Bearer(yardTargetSecret),
	})
	if err != nil {
		y.t.Fatal(err)
	}
	g.awkward.Handler = srv
	return g
}

func (g *yardTarget) holds(t testing.TB) []*scim.Resource {
	t.Helper()
	page, err := g.store.List(context.Background(), scim.Query{Start: 1, Count: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	return page.Resources
}

func (y *yard) file() string { return filepath.Join(y.dir, "gatehouse.yaml") }

func (y *yard) wiki() string { return fmt.Sprintf("http://wiki.localhost:%d/report", y.port) }

// crowd are people with a mail address each.
func crowd(n int) []idptest.Person {
	var list []idptest.Person
	for i := range n {
		name := fmt.Sprintf("p%03d", i)
		list = append(list, idptest.Person{User: name, ID: "subject-of-" + name, Name: "Person " + name, Mail: name + "@campus.example", Groups: []string{"staff"}})
	}
	return list
}

// A child is the program, as a process of its own, that is killed and begun again.
type child struct {
	y      *yard
	log    *buffer
	env    []string // besides the test's own
	stderr *os.File // where its log goes; nil: into log

	mu    sync.Mutex
	cmd   *exec.Cmd
	ended chan struct{} // of cmd
	up    *sync.Cond    // waits until it runs
	ready bool
}

func newChild(y *yard) *child {
	c := &child{y: y, log: &buffer{}}
	c.up = sync.NewCond(&c.mu)
	y.t.Cleanup(func() { c.kill() })
	return c
}

// start begins the process and waits until it answers.
func (c *child) start() error {
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(exe, "run", "-c", c.y.file())
	cmd.Env = append(append(os.Environ(), asProgram+"=1"), c.env...)
	cmd.Stderr = c.log
	if c.stderr != nil {
		cmd.Stderr = c.stderr
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	c.mu.Lock()
	c.cmd, c.ended = cmd, ended
	c.mu.Unlock()
	tr := localTransport()
	defer tr.CloseIdleConnections()
	hc := &http.Client{Transport: tr, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	for {
		select {
		case <-ended:
			return errors.New("the program ended by itself")
		default:
		}
		if resp, err := hc.Get(c.y.wiki()); err == nil {
			_ = resp.Body.Close()
			c.mu.Lock()
			c.ready = true
			c.up.Broadcast()
			c.mu.Unlock()
			return nil
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// kill ends the process without a warning, and returns when it is dead.
func (c *child) kill() {
	c.mu.Lock()
	cmd, ended := c.cmd, c.ended
	c.ready = false
	c.mu.Unlock()
	if cmd != nil {
		_ = cmd.Process.Kill()
		<-ended
	}
}

// wait returns when the process runs.
func (c *child) wait() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for !c.ready {
		c.up.Wait()
	}
}

// terminate asks it to end, and returns its exit code.
func (c *child) terminate() int {
	c.mu.Lock()
	cmd, ended := c.cmd, c.ended
	c.mu.Unlock()
	_ = cmd.Process.Signal(syscall.SIGTERM)
	<-ended
	return cmd.ProcessState.ExitCode()
}

// A guest is a browser that does not give up: when the gateway is gone it waits
// and opens the page again.
type guest struct {
	y       *yard
	c       *child
	user    string
	client  *http.Client
	retries int
}

func newGuest(y *yard, c *child, user string) *guest {
	jar, _ := cookiejar.New(nil) // no options, no error
	tr := localTransport()
	y.t.Cleanup(tr.CloseIdleConnections)
	return &guest{y: y, c: c, user: user, client: &http.Client{Jar: jar, Transport: tr, Timeout: 30 * time.Second}}
}

// reach opens the wiki until it is there, signing in where asked.
func (g *guest) reach() error {
	for ; g.retries < 60; g.retries++ {
		g.c.wait()
		done, err := g.attempt()
		if done {
			return nil
		}
		var ue *url.Error
		if err != nil && !errors.As(err, &ue) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return err
		}
	}
	return errors.New("tried too often")
}

func (g *guest) attempt() (done bool, err error) {
	page, err := g.get(g.y.wiki())
	for range 40 {
		if err != nil {
			return false, err
		}
		switch at := page.Request.URL; {
		case page.StatusCode >= 500 && page.Header.Get("Refresh") == "":
			return false, nil // an answer of a gateway that is about to die, or a time-out
		case strings.HasSuffix(at.Path, "/authorize"):
			page, err = g.do(http.MethodPost, at.String(), url.Values{"user": {g.user}})
			if err == nil {
				g.y.happens("signed in")
			}
		case page.Header.Get("Refresh") != "":
			page, err = g.get(at.String())
		case page.StatusCode == http.StatusOK && strings.Contains(page.body, `"X-Forwarded-User":["`+g.user+`"]`):
			return true, nil
		case page.StatusCode == http.StatusBadRequest || page.StatusCode == http.StatusUnauthorized || page.StatusCode == http.StatusForbidden || page.StatusCode == http.StatusOK:
			return false, nil // a sign-in that was cut, or used already; again from the beginning
		default:
			return false, fmt.Errorf("%s: %d: %s", at, page.StatusCode, page.body)
		}
	}
	return false, errors.New("the page never came to rest")
}

// isIn opens the wiki, and signs in nowhere.
func (g *guest) isIn(t *testing.T) {
	t.Helper()
	page, err := g.get(g.y.wiki())
	if err != nil || page.StatusCode != http.StatusOK || !strings.Contains(page.body, `"X-Forwarded-User":["`+g.user+`"]`) {
		t.Errorf("%s's session is lost: %v, %v", g.user, page, err)
	}
}

type guestPage struct {
	*http.Response
	body string
}

func (g *guest) get(to string) (guestPage, error) { return g.do(http.MethodGet, to, nil) }

func (g *guest) do(method, to string, form url.Values) (guestPage, error) {
	r, err := http.NewRequest(method, to, strings.NewReader(form.Encode()))
	if err != nil {
		return guestPage{}, err
	}
	r.Header.Set("Accept", "text/html")
	r.Header.Set("Sec-Fetch-Mode", "navigate")
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Origin", r.URL.Scheme+"://"+r.URL.Host)
	}
	resp, err := g.client.Do(r)
	if err != nil {
		return guestPage{}, err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	return guestPage{resp, string(raw)}, err
}

// R01, R02, R29, R42, B03: the gateway is killed again and again, at each step of
// blocking sign-ins with two targets. In the end each person is one user with one
// link and one account at each target, nothing is left to do, and nothing that
// anybody saw done is lost: not a sign-in, not a session, not a line of the record.
func TestR01R29B03_KilledAtAnyStepOfASignInNothingIsLostOrDouble(t *testing.T) {
	persons, kills := 40, 9
	if os.Getenv("GATEHOUSE_FAULTS") != "" {
		persons, kills = 300, 45
	}
	y := newYard(t, crowd(persons), nil)
	c := newChild(y)
	began := time.Now()

	// The killer waits for its share of sign-ins, then for its moment.
	moments := []string{
		"token asked for", "token given", "signed in", "crm: creation asked for", "crm: created, not answered", "crm: answered",
		"hr: created, not answered", "hr: answered", "any time",
	}
	var mu sync.Mutex
	moment, skip, dead := "", 0, make(chan struct{}, 1)
	struck := map[string]int{}
	y.event = func(what string) {
		mu.Lock()
		defer mu.Unlock()
		if moment != what {
			return
		}
		if skip--; skip >= 0 {
			return
		}
		moment = ""
		struck[what]++
		c.kill()
		dead <- struct{}{}
	}
	if err := c.start(); err != nil {
		t.Fatalf("%v\n%s", err, c.log)
	}
	arrived := make(chan struct{}, persons)
	failed := make(chan error, persons)
	guests := make([]*guest, persons)
	var wg sync.WaitGroup
	queue := make(chan int, persons)
	for i, p := range y.people {
		guests[i] = newGuest(y, c, p.User)
		queue <- i
	}
	close(queue)
	for range 4 {
		wg.Go(func() {
			for i := range queue {
				if err := guests[i].reach(); err != nil {
					failed <- fmt.Errorf("%s: %w", guests[i].user, err)
				}
				arrived <- struct{}{}
			}
		})
	}
	in := 0
	var slowest time.Duration
	for k := range kills {
		for in < (k+1)*persons/(kills+4) {
			<-arrived
			in++
		}
		what := moments[k%len(moments)]
		if what == "any time" {
			time.Sleep(time.Duration(rand.IntN(30)) * time.Millisecond)
			c.kill()
			mu.Lock()
			struck[what]++
			mu.Unlock()
		} else {
			mu.Lock()
			moment, skip = what, rand.IntN(2)
			mu.Unlock()
			select {
			case <-dead:
			case <-time.After(60 * time.Second):
				t.Fatalf("the moment %q never came\n%s", what, c.log)
			}
		}
		at := time.Now()
		if err := c.start(); err != nil {
			t.Fatalf("after kill %d: %v\n%s", k+1, err, c.log)
		}
		slowest = max(slowest, time.Since(at))
	}
	wg.Wait()
	close(failed)
	for err := range failed {
		t.Error(err)
	}

	// What was acknowledged is there: each browser's session, across all those deaths.
	retries := 0
	for _, g := range guests {
		retries += g.retries
		g.isIn(t)
	}
	eventually(t, "nothing is left to do", func() bool { return y.left(c) == 0 })
	if code := c.terminate(); code != 0 {
		t.Errorf("it ended with exit code %d:\n%s", code, c.log)
	}
	y.check(t)
	t.Logf("%d persons, %d kills in %v: %v", persons, kills, time.Since(began).Round(time.Millisecond), struck)
	t.Logf("%d sign-ins were begun again; creations at the targets: %d and %d; slowest start %v", retries, y.targets[0].created, y.targets[1].created, slowest.Round(time.Millisecond))
}

// R01: the key that a sign-in leaves at a service's host is stored behind it. If a
// crash takes it, the browser is led by the gateway's host to another, and the person
// is asked nothing.
func TestR01_AKeyThatACrashTookIsMadeAgainUnasked(t *testing.T) {
	t.Parallel()
	y := newYard(t, crowd(3), func(c *yardConfig) { c.Mode = "async" })
	c := newChild(y)
	if err := c.start(); err != nil {
		t.Fatalf("%v\n%s", err, c.log)
	}
	var guests []*guest
	for _, p := range y.people {
		g := newGuest(y, c, p.User)
		if err := g.reach(); err != nil {
			t.Fatal(err)
		}
		guests = append(guests, g)
	}
	c.kill()
	// On a slow machine some were stored before that. They go, too.
	st, err := boltstore.Open(filepath.Join(y.dir, "gatehouse.db"), boltstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	kept := map[string]int{}
	if err := st.Update(t.Context(), func(tx store.Tx) error {
		clear(kept)
		for p, err := range tx.Scan(store.Key("session_key", "r"), store.Key("session_key", "s"), 0) {
			var k struct {
				Row struct{ Hash, Host, Session string }
			}
			if err := errors.Join(err, json.Unmarshal(p.Val, &k)); err != nil {
				return err
			}
			kept[k.Row.Host]++
			if k.Row.Host == "wiki.localhost" {
				if err := errors.Join(tx.Delete(p.Key), tx.Delete(store.Key("session_key", "i", "session", k.Row.Session, k.Row.Hash))); err != nil {
					return err
				}
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	if kept["localhost"] != len(guests) {
		t.Errorf("after the crash there are keys for %v; each guest's for the gateway's own host was to be there", kept)
	}
	if err := c.start(); err != nil {
		t.Fatalf("%v\n%s", err, c.log)
	}
	for _, g := range guests {
		g.isIn(t)
		g.client.CheckRedirect = func(*http.Request, []*http.Request) error { return errors.New("led somewhere else once more") }
		g.isIn(t)
	}
	if code := c.terminate(); code != 0 {
		t.Errorf("it ended with exit code %d:\n%s", code, c.log)
	}
	y.check(t)
}

// T19: a ticket dies with the process that made it, whether it was used or not: the
// next one gives no cookie for it, and leads its browser on by the gateway's session.
func TestT19_ATicketFromBeforeACrashIsWorthNothing(t *testing.T) {
	t.Parallel()
	y := newYard(t, crowd(1), func(c *yardConfig) { c.Mode = "async" })
	c := newChild(y)
	if err := c.start(); err != nil {
		t.Fatalf("%v\n%s", err, c.log)
	}
	g := newGuest(y, c, y.people[0].User)
	var tickets []string
	g.client.CheckRedirect = func(r *http.Request, _ []*http.Request) error {
		if r.URL.Path == "/.gatehouse/session" {
			if tickets = append(tickets, r.URL.String()); len(tickets) == 1 {
				return http.ErrUseLastResponse
			}
		}
		return nil
	}
	page, err := g.get(y.wiki())
	if err == nil {
		_, err = g.do(http.MethodPost, page.Request.URL.String(), url.Values{"user": {g.user}})
	}
	if err != nil || len(tickets) != 1 {
		t.Fatalf("%v, tickets %q", err, tickets)
	}
	g.isIn(t) // by another ticket
	if len(tickets) != 2 {
		t.Fatalf("tickets %q", tickets)
	}
	c.kill()
	if err := c.start(); err != nil {
		t.Fatalf("%v\n%s", err, c.log)
	}
	for name, ticket := range map[string]string{"never brought": tickets[0], "used": tickets[1]} {
		g.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
		page, err := g.get(ticket)
		if err != nil || page.StatusCode != http.StatusSeeOther || page.Header.Get("Location") != y.wiki() || sessionCookie(page.Header) != "" {
			t.Errorf("%s: %v, %v", name, page, err)
		}
		g.client.CheckRedirect = nil
		g.isIn(t)
	}
	if code := c.terminate(); code != 0 {
		t.Errorf("it ended with exit code %d:\n%s", code, c.log)
	}
}

// left is how many tasks the running program still has.
func (y *yard) left(c *child) int {
	c.wait()
	out, err := c.verb("tasks", "list")
	if err != nil {
		y.t.Fatalf("%v: %s", err, out)
	}
	return strings.Count(out, "sync")
}

// verb runs the program with another verb beside the running one.
func (c *child) verb(args ...string) (string, error) {
	exe, err := os.Executable()
	if err != nil {
		return "", err
	}
	cmd := exec.Command(exe, append(args, "-c", c.y.file())...)
	cmd.Env = append(os.Environ(), asProgram+"=1")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// check opens the store that the program left, and compares it with the people
// and with the targets.
func (y *yard) check(t *testing.T) {
	t.Helper()
	ctx := t.Context()
	cfg, mistakes := loadAll(y.file())
	if len(mistakes) > 0 {
		t.Fatal(mistakes)
	}
	p, err := openProcess(ctx, cfg, slog.New(slog.DiscardHandler), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	defer p.store.Close()
	s, err := p.newSite(ctx, cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := audit.Verify(ctx, p.store); err != nil {
		t.Error(err)
	}
	events := map[string]map[string]int{} // user, kind
	for e, err := range audit.Events(ctx, p.store, audit.Query{}) {
		if err != nil {
			t.Fatal(err)
		}
		if events[e.UserID] == nil {
			events[e.UserID] = map[string]int{}
		}
		events[e.UserID][e.Kind]++
	}
	var names []string
	for u, err := range s.directory.Users(ctx, "", 0) {
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, u.UserName)
		y.checkOne(t, s, u, events[u.ID])
	}
	slices.Sort(names)
	var wanted []string
	for _, q := range y.people {
		wanted = append(wanted, q.User)
	}
	if !slices.Equal(names, wanted) {
		t.Errorf("the users are %q", names)
	}
	for _, g := range y.targets {
		if n := len(g.holds(t)); n != len(y.people) {
			t.Errorf("%s holds %d accounts for %d people", g.id, n, len(y.people))
		}
	}
	if list, err := task.List(ctx, p.store, task.Task{}, 0); err != nil || len(list) > 0 {
		t.Errorf("left to do: %+v, %v", list, err)
	}
}

func (y *yard) checkOne(t *testing.T, s *site, u provisioning.User, events map[string]int) {
	t.Helper()
	links, err := s.directory.Links(t.Context(), u.ID)
	if err != nil || len(links) != 1 || links[0].Ref.Subject != "subject-of-"+u.UserName {
		t.Errorf("%s has the links %+v, %v", u.UserName, links, err)
	}
	if events["user.created"] != 1 || events["login"] < 1 {
		t.Errorf("of %s is recorded %v", u.UserName, events)
	}
	accounts, err := s.outbox.Accounts(t.Context(), u.ID, "", 0)
	if err != nil || len(accounts) != len(y.targets) {
		t.Errorf("%s has the accounts %+v, %v", u.UserName, accounts, err)
		return
	}
	for i, g := range y.targets { // both are ordered by ID
		var there []*scim.Resource
		for _, r := range g.holds(t) {
			if r.ExternalID() == u.ID || r.String("userName") == u.UserName {
				there = append(there, r)
			}
		}
		if len(there) != 1 || there[0].ID() != accounts[i].RemoteID || there[0].ExternalID() != u.ID || there[0].Get("active") != true || there[0].String("displayName") != "Person "+u.UserName {
			t.Errorf("%s at %s: known is %+v, there is %v", u.UserName, g.id, accounts[i], there)
		}
		if n := events["account.created"] + events["account.adopted"]; n < len(y.targets) {
			t.Errorf("of %s are recorded %d accounts: %v", u.UserName, n, events)
		}
	}
}
