package main

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gatehouse-sso/gatehouse/configs"
	"github.com/gatehouse-sso/gatehouse/provisioning/connector/connectortest"
)

// run runs the yard's gateway in this process, on a clock that a test can turn.
func (y *yard) run(c *clock) *world {
	y.t.Helper()
	w := &world{t: y.t, dir: y.dir, port: y.port, log: &buffer{}}
	load := func() (*configs.Config, []configs.Mistake) { return loadAll(y.file()) }
	cfg, mistakes := load()
	if len(mistakes) > 0 {
		y.t.Fatal(mistakes)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ready, done := make(chan *process, 1), make(chan error, 1)
	log := slog.New(slog.NewJSONHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	go func() {
		done <- serve(ctx, launch{cfg: cfg, load: load, log: log, now: c.now, ready: func(p *process) { ready <- p }})
	}()
	w.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			y.t.Errorf("serve: %v", err)
		}
	})
	y.t.Cleanup(w.stop)
	select {
	case w.p = <-ready:
		begun(y.t, w.p)
	case err := <-done:
		done <- nil
		y.t.Fatalf("the gateway did not start: %v", err)
	}
	return w
}

// arrive opens the wiki and signs in, and stops at the first page after that.
func (y *yard) arrive(p *person, user string) *person {
	y.t.Helper()
	p.do(http.MethodGet, y.wiki(), nil).wants(http.StatusOK, "Sign in")
	return p.do(http.MethodPost, p.url.String(), url.Values{"user": {user}})
}

// told is what the wiki was told in a header.
func (p *person) told(header string) string {
	p.w.t.Helper()
	var v struct{ Headers map[string][]string }
	if err := json.Unmarshal([]byte(p.body), &v); err != nil {
		p.w.t.Fatalf("%d, %v in %s", p.status, err, p.body)
	}
	return strings.Join(v.Headers[header], "|")
}

// A gate is a trick that keeps requests until it is opened.
func gate() (connectortest.Trick, func()) {
	opened := make(chan struct{})
	return func(w http.ResponseWriter, r *http.Request, target http.Handler) {
		select {
		case <-opened:
			target.ServeHTTP(w, r)
		case <-r.Context().Done():
		}
	}, sync.OnceFunc(func() { close(opened) })
}

func TestAHealthyBlockingSignInShowsNoWaitingPage(t *testing.T) {
	t.Parallel()
	y := newYard(t, crowd(3), nil)
	w := y.run(&clock{})
	for _, q := range y.people {
		p := y.arrive(w.person(), q.User).wants(http.StatusOK)
		if got := p.told("X-Gatehouse-Provisioned"); got != "done" || p.told("X-Forwarded-User") != q.User {
			t.Errorf("the first page after the sign-in says %q of %q", got, p.told("X-Forwarded-User"))
		}
	}
	for _, g := range y.targets {
		if n := len(g.holds(t)); n != 3 {
			t.Errorf("%s holds %d accounts", g.id, n)
		}
	}
}

// While a target is down the person sees which one, until the time is up; then
// they are told, with a code to name. When it is up again the next request
// passes, without another sign-in.
func TestABlockingSignInWaitsIsRefusedAndPassesWhenTheTargetIsBack(t *testing.T) {
	t.Parallel()
	y := newYard(t, crowd(1), nil)
	c := &clock{}
	w := y.run(c)
	y.targets[1].awkward.Next(-1, connectortest.Fail(503, ""))
	p := y.arrive(w.person(), "p000").wants(http.StatusServiceUnavailable, "The crm system", "The hr system")
	if p.header.Get("Refresh") == "" || p.header.Get("X-Gatehouse-Reason") == "provisioning.timeout" {
		t.Errorf("the waiting page has the headers %v", p.header)
	}
	if n := len(y.upstream.got()); n != 0 {
		t.Fatalf("the service was reached %d times", n)
	}
	asked := y.op.Count("authorize")
	c.advance(time.Minute)
	p.do(http.MethodGet, y.wiki(), nil)
	if p.status/100 == 2 || p.header.Get("Refresh") != "" || !strings.Contains(p.body, "provisioning.timeout") {
		t.Fatalf("when the time is up: %d %v\n%s", p.status, p.header, p.body)
	}
	code := p.supportCode()
	if !strings.Contains(w.log.String(), code) {
		t.Errorf("the support code %q is not in the log", code)
	}
	y.targets[1].awkward.Behave()
	p.do(http.MethodGet, y.wiki(), nil).wants(http.StatusOK)
	if got := p.told("X-Gatehouse-Provisioned"); got != "done" {
		t.Errorf("once it is back: %q", got)
	}
	if n := y.op.Count("authorize"); n != asked || asked == 0 {
		t.Errorf("the identity provider was asked %d times more", n-asked)
	}
}

// supportCode is the code on a page that a person can name.
func (p *person) supportCode() string {
	p.w.t.Helper()
	for _, word := range strings.FieldsFunc(text(p.doc), func(r rune) bool { return r != '-' && (r < '0' || r > 'Z' || r > '9' && r < 'A') }) {
		if len(word) == 9 && word[4] == '-' {
			return word
		}
	}
	p.w.t.Fatalf("no support code on the page at %s:\n%s", p.url, p.body)
	return ""
}

func TestABlockingSignInMayGoOnWithoutTheTarget(t *testing.T) {
	t.Parallel()
	y := newYard(t, crowd(1), func(c *yardConfig) { c.OnFailure = "continue" })
	c := &clock{}
	w := y.run(c)
	trick, open := gate()
	defer open()
	y.targets[0].awkward.Next(-1, trick)
	p := y.arrive(w.person(), "p000").wants(http.StatusServiceUnavailable, "The crm system")
	c.advance(time.Minute)
	p.do(http.MethodGet, y.wiki(), nil).wants(http.StatusOK)
	if got := p.told("X-Gatehouse-Provisioned"); got != "pending" && got != "failed" {
		t.Errorf("the service is told %q", got)
	}
	open()
	eventually(t, "the account is there and the service is told", func() bool {
		return p.do(http.MethodGet, y.wiki(), nil).wants(http.StatusOK).told("X-Gatehouse-Provisioned") == "done"
	})
	if n := len(y.targets[0].holds(t)); n != 1 {
		t.Errorf("the target holds %d accounts", n)
	}
}

// In async mode the first request waits where the sign-in did not: the person
// comes to a service that can not work for them before their account is there.
func TestTheFirstRequestWaitsForTheAccount(t *testing.T) {
	t.Parallel()
	y := newYard(t, crowd(2), func(c *yardConfig) { c.Mode = "async" })
	w := y.run(&clock{})
	// Targets that answer are there in time, and nobody sees a page.
	// (They may be told of another change at once, which is no reason to wait.)
	y.arrive(w.person(), "p000").wants(http.StatusOK)
	for _, g := range y.targets {
		if n := len(g.holds(t)); n != 1 {
			t.Errorf("the first request passed, and %s holds %d accounts", g.id, n)
		}
	}
	trick, open := gate()
	defer open()
	y.targets[0].awkward.Next(-1, trick)
	p := y.arrive(w.person(), "p001").wants(http.StatusServiceUnavailable, "The crm system", "The hr system")
	if p.header.Get("Refresh") == "" {
		t.Errorf("the page that waits has the headers %v", p.header)
	}
	if n := len(y.upstream.got()); n != 1 {
		t.Fatalf("the service was reached %d times, by one person", n)
	}
	asked := y.op.Count("authorize")
	open()
	eventually(t, "the account is there", func() bool { return p.do(http.MethodGet, y.wiki(), nil).status == http.StatusOK })
	eventually(t, "the service is told that it is done", func() bool {
		return p.do(http.MethodGet, y.wiki(), nil).wants(http.StatusOK).told("X-Gatehouse-Provisioned") == "done"
	})
	if n := y.op.Count("authorize"); n != asked {
		t.Errorf("it took %d more sign-ins", n-asked)
	}
	// What changes later is no reason to wait.
	held, let := gate()
	defer let()
	y.targets[0].awkward.Behave()
	y.targets[0].awkward.Next(-1, held)
	w.admin(http.MethodPost, "user/active", url.Values{"name": {"p000"}, "active": {"false"}}, nil)
	w.admin(http.MethodPost, "user/active", url.Values{"name": {"p000"}, "active": {"true"}}, nil)
	if got := y.arrive(w.person(), "p000").wants(http.StatusOK).told("X-Gatehouse-Provisioned"); got != "pending" {
		t.Errorf("an account that is being changed says %q", got)
	}
}

func TestAnAsyncSignInPassesAtOnce(t *testing.T) {
	t.Parallel()
	y := newYard(t, crowd(1), func(c *yardConfig) { c.Mode, c.First = "async", "pass" })
	w := y.run(&clock{})
	trick, open := gate()
	defer open()
	y.targets[0].awkward.Next(-1, trick)
	p := y.arrive(w.person(), "p000").wants(http.StatusOK)
	if got := p.told("X-Gatehouse-Provisioned"); got != "pending" {
		t.Errorf("while the target thinks, the service is told %q", got)
	}
	open()
	eventually(t, "the service is told that it is done", func() bool {
		return p.do(http.MethodGet, y.wiki(), nil).wants(http.StatusOK).told("X-Gatehouse-Provisioned") == "done"
	})
}

func TestASignInThatMayCreateNobodyLetsNobodyNewIn(t *testing.T) {
	t.Parallel()
	y := newYard(t, crowd(2), nil)
	w := y.run(&clock{})
	known := w.person()
	y.arrive(known, "p000").wants(http.StatusOK)
	w.stop()
	raw, err := os.ReadFile(y.file())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(y.file(), bytes.Replace(raw, []byte("mode: blocking"), []byte("mode: off"), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	w = y.run(&clock{})
	y.arrive(w.person(), "p000").wants(http.StatusOK)
	y.arrive(w.person(), "p001").wants(http.StatusForbidden, "jit.off")
	for _, g := range y.targets {
		if n := len(g.holds(t)); n != 1 {
			t.Errorf("%s holds %d accounts", g.id, n)
		}
	}
}

// What a configuration releases no more is taken back from the targets, without
// anybody having to change or to sign in.
func TestWhatIsReleasedNoMoreIsTakenBackFromTheTarget(t *testing.T) {
	t.Parallel()
	y := newYard(t, crowd(2), nil)
	w := y.run(&clock{})
	for _, q := range y.people {
		y.arrive(w.person(), q.User).wants(http.StatusOK)
	}
	names := func() (n int) {
		for _, r := range y.targets[0].holds(t) {
			if r.String("displayName") != "" {
				n++
			}
		}
		return n
	}
	if names() != 2 {
		t.Fatalf("%d of 2 accounts have a name, so this shows nothing", names())
	}
	w.stop()
	raw, err := os.ReadFile(y.file())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(y.file(), bytes.ReplaceAll(raw, []byte("[ mail, display_name ]"), []byte("[ mail ]")), 0o600); err != nil {
		t.Fatal(err)
	}
	y.run(&clock{})
	eventually(t, "the names are gone", func() bool { return names() == 0 })
	for _, r := range y.targets[0].holds(t) {
		if len(r.List("emails")) != 1 || r.Get("active") != true {
			t.Errorf("more was taken than the name: %v", r)
		}
	}
}

// B12: no secret is in the store's file, in the log, or in what the tools show,
// also when the target repeats what it was sent.
func TestB12_SecretsAreNowhere(t *testing.T) {
	t.Parallel()
	y := newYard(t, crowd(1), nil)
	w := y.run(&clock{})
	y.targets[0].awkward.Writes(1, connectortest.Say(400, "application/scim+json", `{"schemas":["urn:ietf:params:scim:api:messages:2.0:Error"],"scimType":"invalidValue","detail":"token `+yardTargetSecret+`"}`))
	p := y.arrive(w.person(), "p000").settle().wants(http.StatusOK)
	secrets := map[string]string{"the client's secret": yardClientSecret, "the target's token": yardTargetSecret}
	for _, at := range []string{w.at("", "/"), w.at("wiki", "/")} {
		u, _ := url.Parse(at)
		for _, ck := range p.client.Jar.Cookies(u) {
			if strings.Contains(ck.Name, "session") || len(ck.Value) >= 40 {
				secrets["the cookie "+ck.Name+" of "+u.Host] = ck.Value
			}
		}
	}
	if len(secrets) < 4 {
		t.Fatalf("the browser has no session cookies: %v", secrets)
	}
	shown := ""
	for _, path := range []string{"/v1/users", "/v1/tasks", "/v1/sessions", "/v1/audit", "/v1/user?name=p000"} {
		rec := httptest.NewRecorder()
		newAPI(w.p, w.p.site.Load()).ServeHTTP(rec, httptest.NewRequest(http.MethodGet, path, nil))
		shown += rec.Body.String()
	}
	w.stop()
	db, err := os.ReadFile(filepath.Join(y.dir, "gatehouse.db"))
	if err != nil {
		t.Fatal(err)
	}
	for where, data := range map[string]string{"the store's file": string(db), "the log": w.log.String(), "what the tools show": shown} {
		if !strings.Contains(data, "p000") && where != "the log" || len(data) < 100 {
			t.Fatalf("%s does not know the person, so this shows nothing", where)
		}
		for what, secret := range secrets {
			if strings.Contains(data, secret) {
				t.Errorf("%s is in %s", what, where)
			}
		}
	}
}
