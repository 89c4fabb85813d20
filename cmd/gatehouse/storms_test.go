package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/gatehouse-sso/gatehouse/federation"
	"github.com/gatehouse-sso/gatehouse/federation/oidc"
	"github.com/gatehouse-sso/gatehouse/gateway/session"
	"github.com/gatehouse-sso/gatehouse/provisioning/store"
	webapi "github.com/gatehouse-sso/gatehouse/web/api"
)

// often is how often to do something that a row wants done often: GATEHOUSE_FAULTS=1
// makes it so.
func often(few, all int) int {
	if os.Getenv("GATEHOUSE_FAULTS") != "" {
		return all
	}
	return few
}

// R14, R15: an identity provider that is down, or so slow that it might as well be.
// Who is signed in notices nothing; who signs in is told whose fault it is, within the
// time that a provider has; and when it is well again, so is signing in.
func TestR14R15_AnIdentityProviderThatAilsStopsOnlySignIns(t *testing.T) {
	t.Parallel()
	n := often(3, 100)
	y := newYard(t, crowd(n+2), nil)
	c, in := y.started(t)
	if err := newGuest(y, c, y.people[1].User).reach(); err != nil { // who knows the provider
		t.Fatal(err)
	}
	well := make(chan struct{})
	idle := c.goroutines(t)
	codes := []string{federation.ReasonUnavailable, oidc.ReasonTokenEndpoint}
	for what, ails := range map[string]http.HandlerFunc{
		"hangs up": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"fails":    func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusInternalServerError) },
		"babbles":  func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>Sign in to the Wi-Fi</html>") },
		"says nothing": func(w http.ResponseWriter, r *http.Request) {
			select {
			case <-well:
			case <-r.Context().Done():
			}
		},
		"drips": func(w http.ResponseWriter, r *http.Request) {
			for tick := time.NewTicker(time.Second); ; {
				select {
				case <-tick.C:
				case <-well:
					return
				case <-r.Context().Done():
					return
				}
				fmt.Fprint(w, " ")
				_ = http.NewResponseController(w).Flush()
			}
		},
	} {
		y.ails.Store(&ails)
		var wg sync.WaitGroup
		for i := range n {
			wg.Go(func() {
				g := newGuest(y, c, y.people[i+2].User)
				defer g.client.CloseIdleConnections()
				page, err := g.get(y.wiki())
				if err == nil {
					page, err = g.do(http.MethodPost, page.Request.URL.String(), map[string][]string{"user": {g.user}})
				}
				if err != nil || page.StatusCode < 400 || !strings.Contains(page.body, "Campus") || !slices.ContainsFunc(codes, func(c string) bool { return strings.Contains(page.body, c) }) {
					t.Errorf("the provider %s, and who signs in sees %d, %v: %.600s", what, page.StatusCode, err, page.body)
				}
			})
		}
		for range 20 {
			if page, err := in.get(y.wiki()); err != nil || page.StatusCode != http.StatusOK {
				t.Errorf("the provider %s, and who is signed in sees %d, %v", what, page.StatusCode, err)
			}
		}
		wg.Wait()
	}
	close(well)
	y.ails.Store(nil)
	for i := range n {
		g := newGuest(y, c, y.people[i+2].User)
		if err := g.reach(); err != nil {
			t.Errorf("the provider is well again: %v", err)
		}
		g.client.CloseIdleConnections()
	}
	eventually(t, "nothing is left of the sign-ins that failed", func() bool { return c.goroutines(t) < idle+60+4*n })
}

// goroutines of the program, as its metrics say.
func (c *child) goroutines(t *testing.T) int {
	t.Helper()
	return c.gauge(t, "go_goroutines")
}

// gauge is a value of the program's metrics.
func (c *child) gauge(t *testing.T, name string) int {
	t.Helper()
	resp, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/metrics", c.y.config.Admin))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		if value, ok := strings.CutPrefix(lines.Text(), name+" "); ok {
			f, err := strconv.ParseFloat(value, 64)
			if err != nil {
				t.Fatal(err)
			}
			return int(f)
		}
	}
	t.Fatalf("there is no %s", name)
	return 0
}

// R33: everybody signs in at once. Each is who they are, and nobody is refused.
func TestR33_AStormOfSignInsMixesNobodyUp(t *testing.T) {
	t.Parallel()
	n := often(40, 5000)
	y := newYard(t, crowd(n), func(c *yardConfig) { c.Mode = "async" })
	c := newChild(y)
	if err := c.start(); err != nil {
		t.Fatalf("%v\n%s", err, c.log)
	}
	next := make(chan string)
	var wg sync.WaitGroup
	var again atomic.Int64
	for range 32 {
		wg.Go(func() {
			for user := range next {
				g := newGuest(y, c, user) // whose page must bear their own name
				if err := g.reach(); err != nil {
					t.Errorf("%s: %v", user, err)
				}
				again.Add(int64(g.retries))
				g.client.CloseIdleConnections()
			}
		})
	}
	for _, p := range y.people {
		next <- p.User
	}
	close(next)
	wg.Wait()
	if again.Load() > int64(n/1000) {
		t.Errorf("of %d sign-ins %d had to be begun again", n, again.Load())
	}
	if users := c.gauge(t, "gatehouse_sessions_active"); users != n {
		t.Errorf("%d sessions of %d people", users, n)
	}
}

// R34: the log goes into a pipe that nobody reads. Requests are answered all the
// same, and when somebody reads again the log is there, each line whole.
func TestR34_ALogThatNobodyReadsHoldsUpNobody(t *testing.T) {
	t.Parallel()
	y := newYard(t, crowd(1), nil)
	raw, err := os.ReadFile(y.file())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(y.file(), []byte(strings.Replace(string(raw), "\nstore:", "\n  access_log: true\nstore:", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	c := newChild(y)
	c.stderr = w
	if err := c.start(); err != nil {
		t.Fatal(err)
	}
	_ = w.Close()
	g := newGuest(y, c, y.people[0].User)
	if err := g.reach(); err != nil {
		t.Fatal(err)
	}
	n, sent := often(400, 5000), 0
	for sent < n {
		page, err := g.get(strings.Replace(y.wiki(), "/report", "/"+strings.Repeat("p", 450), 1))
		if err != nil || page.StatusCode != http.StatusOK {
			t.Fatalf("request %d: %d, %v", sent, page.StatusCode, err)
		}
		sent++
	}
	read := make(chan int)
	go func() {
		lines, asked := bufio.NewScanner(r), 0
		for lines.Scan() {
			var line struct {
				Msg, Path string
				Lines     int
			}
			if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
				t.Errorf("half a line: %q", lines.Text())
			}
			if strings.HasPrefix(line.Path, "/ppp") {
				asked++
			}
			asked += line.Lines
		}
		read <- asked
	}()
	if code := c.terminate(); code != 0 {
		t.Errorf("it ended with %d", code)
	}
	if got := <-read; got < n {
		t.Errorf("of %d requests the log accounts for %d", n, got)
	}
}

// What finds no room is counted, and said.
func TestLinesThatAreLostAreCounted(t *testing.T) {
	t.Parallel()
	r, w := io.Pipe()
	s := newSpout(w)
	line := []byte(strings.Repeat("x", 1023) + "\n")
	for range 3000 {
		if n, err := s.Write(line); n != len(line) || err != nil {
			t.Fatal(n, err)
		}
	}
	read := make(chan string)
	go func() { b, _ := io.ReadAll(r); read <- string(b) }()
	s.close()
	_ = w.Close()
	text := <-read
	whole := strings.Count(text, string(line))
	var said struct{ Lines int }
	for l := range strings.Lines(text) {
		if strings.HasPrefix(l, "{") {
			if err := json.Unmarshal([]byte(l), &said); err != nil {
				t.Error(err)
			}
		}
	}
	if whole < 1000 || whole+said.Lines != 3000 {
		t.Errorf("%d lines came and %d are said to be lost, of 3000", whole, said.Lines)
	}
}

// R41: hours under load of all kinds: sign-ins, requests, refusals, sign-outs,
// reloads. Memory and goroutines are in the end what they were after the first round,
// and the store has nobody's session who signed out.
// GATEHOUSE_SOAK says how long, as 8h; without it, some rounds.
func TestR41_LoadForHoursLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	y := newYard(t, crowd(6), func(c *yardConfig) { c.Mode = "async" })
	c, _ := y.started(t)
	round := func() {
		var wg sync.WaitGroup
		for _, p := range y.people {
			wg.Go(func() {
				g := newGuest(y, c, p.User)
				defer g.client.CloseIdleConnections()
				if err := g.reach(); err != nil {
					t.Errorf("%s: %v", p.User, err)
					return
				}
				for range often(30, 500) {
					if page, err := g.get(y.wiki()); err != nil || page.StatusCode != http.StatusOK {
						t.Errorf("%s: %d, %v", p.User, page.StatusCode, err)
						return
					}
				}
				page, err := g.get(strings.Replace(y.wiki(), "/report", "/.gatehouse/logout", 1))
				if err == nil {
					page, err = g.do(http.MethodPost, page.Request.URL.String(), url.Values{"scope": {"here"}})
				}
				if err != nil || page.StatusCode != http.StatusOK {
					t.Errorf("%s signs out: %d, %v", p.User, page.StatusCode, err)
				}
			})
		}
		_ = c.cmd.Process.Signal(syscall.SIGHUP)
		wg.Wait()
	}
	soak, err := time.ParseDuration(os.Getenv("GATEHOUSE_SOAK"))
	if err != nil && os.Getenv("GATEHOUSE_SOAK") != "" {
		t.Fatal(err)
	}
	round()
	round()
	// What the operating system counts has garbage in it that is not collected yet.
	alive, goroutines := c.gauge(t, "go_gc_heap_live_bytes"), c.goroutines(t)
	rounds, end := often(3, 60), time.Now().Add(soak)
	for i := 0; i < rounds || time.Now().Before(end); i++ {
		if round(); t.Failed() {
			return
		}
	}
	after := c.gauge(t, "go_gc_heap_live_bytes")
	t.Logf("alive %d KiB after two rounds, %d KiB in the end; goroutines %d and %d", alive>>10, after>>10, goroutines, c.goroutines(t))
	// Each reload leaves idle connections of the configuration before, for a while.
	if n := c.goroutines(t); n > goroutines+100+3*rounds {
		t.Errorf("%d goroutines were %d", n, goroutines)
	}
	if after > alive+32<<20 {
		t.Errorf("what is alive grew from %d to %d bytes", alive, after)
	}
	if code := c.terminate(); code != 0 {
		t.Errorf("it ended with %d", code)
	}
	// Everybody but the first signed out; of them nothing is left but the record.
	_, p := y.opened(t)
	defer p.store.Close()
	if n, err := session.New(session.Config{Store: p.store, Now: time.Now}).Count(t.Context()); err != nil || n != 1 {
		t.Errorf("the store has %d sessions, %v", n, err)
	}
	if err := p.store.View(t.Context(), func(tx store.Tx) error {
		keys := 0
		for _, err := range tx.Scan(store.Key("session_key", "r"), store.Key("session_key", "s"), 0) {
			if err != nil {
				return err
			}
			keys++
		}
		if keys > 2 { // at the gateway's own host and at the wiki's
			t.Errorf("the store has %d keys of one session", keys)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
}

// D07: who was signed out after a backup was made stays signed out when it is
// restored.
func TestD07_ARestoredBackupRevivesNoSession(t *testing.T) {
	t.Parallel()
	y := newYard(t, crowd(2), nil)
	c, revoked := y.started(t)
	other := newGuest(y, c, y.people[1].User)
	if err := other.reach(); err != nil {
		t.Fatal(err)
	}
	backup := y.dir + "/backup.db"
	if out, err := c.verb("store", "backup", backup); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	if out, err := c.verb("sessions", "end", "--user", y.people[0].User); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	c.terminate()
	if out, err := c.verb("store", "restore", backup); err != nil || !strings.Contains(out, "sessions of the backup ended") {
		t.Fatalf("%v %s", err, out)
	}
	if err := c.start(); err != nil {
		t.Fatal(err)
	}
	for _, g := range []*guest{revoked, other} {
		client := *g.client
		client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
		resp, err := client.Get(y.wiki())
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusUnauthorized {
			t.Errorf("after a backup was restored %s gets %s without a sign-in", g.user, resp.Status)
		}
	}
	if err := other.reach(); err != nil { // who may, signs in again
		t.Error(err)
	}
}

// The sessions of a backup are over before it is in its place, so that none comes to
// life however a restore ends.
func TestD07_ABackupWithSessionsIsNeverInThePlaceOfTheStore(t *testing.T) {
	t.Parallel()
	y := newYard(t, crowd(1), nil)
	c, _ := y.started(t)
	backup := y.dir + "/backup.db"
	if out, err := c.verb("store", "backup", backup); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	c.terminate()
	cfg, mistakes := loadAll(y.file())
	if len(mistakes) > 0 {
		t.Fatal(mistakes)
	}
	sessions := func(path string) int {
		t.Helper()
		sealer, err := openSealer(cfg, false)
		if err != nil {
			t.Fatal(err)
		}
		p, err := openProcessAt(t.Context(), cfg, path, sealer, slog.New(slog.DiscardHandler), time.Now)
		if err != nil {
			t.Fatal(err)
		}
		a, err := p.admin(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		var list []webapi.Session
		if _, err := a.call(t.Context(), http.MethodGet, "sessions", nil, &list); err != nil {
			t.Error(err)
		}
		if err := a.close(); err != nil {
			t.Error(err)
		}
		return len(list)
	}
	before, err := os.ReadFile(cfg.Store.Bolt())
	if err != nil {
		t.Fatal(err)
	}
	whole, ended, err := prepare(t.Context(), cfg, backup)
	if err != nil || ended != 1 {
		t.Fatalf("%d sessions ended, %v", ended, err)
	}
	if now, err := os.ReadFile(cfg.Store.Bolt()); err != nil || !bytes.Equal(now, before) {
		t.Errorf("the store is another before the backup is prepared: %v", err)
	}
	if n := sessions(whole); n != 0 {
		t.Errorf("%d sessions are in what takes the place of the store", n)
	}
	if n := sessions(cfg.Store.Bolt()); n != 1 {
		t.Errorf("%d sessions are in the store until then, want the one that began", n)
	}
}

// A file that the configuration names is read again when it changes, without a
// signal.
func TestAFileThatTheConfigurationNamesIsReadAgain(t *testing.T) {
	t.Parallel()
	y := newYard(t, crowd(1), nil)
	c, _ := y.started(t)
	taken := func() int { return strings.Count(c.log.String(), "configuration taken") }
	before := taken()
	if err := os.WriteFile(y.dir+"/client.secret", []byte(yardClientSecret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the configuration is read again", func() bool { return taken() > before })
	// One that can not be used changes nothing, and is said.
	if err := os.Remove(y.dir + "/target.secret"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "what is missing is said", func() bool { return strings.Contains(c.log.String(), "target.secret can not be used") })
	if err := newGuest(y, c, y.people[0].User).reach(); err != nil {
		t.Error(err)
	}
}
