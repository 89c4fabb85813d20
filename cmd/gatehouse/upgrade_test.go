//go:build unix

package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// newFleet is a yard whose program is replaced again and again, with people who
// are signed in.
func newFleet(t *testing.T, people int, env ...string) (*fleet, []*guest) {
	t.Helper()
	y := newYard(t, crowd(people), nil)
	f := &fleet{child: newChild(y)}
	f.env = env
	if err := f.start(); err != nil {
		t.Fatalf("%v\n%s", err, f.log)
	}
	f.pid = f.cmd.Process.Pid
	// The one that runs in the end has the log too, so the first is gone only when it is.
	t.Cleanup(func() { _ = syscall.Kill(f.pid, syscall.SIGKILL) })
	var guests []*guest
	for _, p := range y.people {
		g := newGuest(y, f.child, p.User)
		if err := g.reach(); err != nil {
			t.Fatal(err)
		}
		guests = append(guests, g)
	}
	return f, guests
}

// A fleet is the program, in one process after another.
type fleet struct {
	*child
	pid int // of the one that has the store
}

var tookOver = regexp.MustCompile(`process (\d+) has taken over`)

// upgrade replaces the program by itself.
func (f *fleet) upgrade(t *testing.T) {
	t.Helper()
	out, err := f.verb("upgrade")
	m := tookOver.FindStringSubmatch(out)
	if err != nil || m == nil {
		t.Fatalf("upgrade: %v: %s\n%s", err, out, f.log)
	}
	f.pid, _ = strconv.Atoi(m[1]) // it matched
}

func (f *fleet) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(f.pid, s); err != nil {
		t.Fatal(err)
	}
}

// says waits until the log of all of them has a text more often than n times.
func (f *fleet) says(t *testing.T, text string, n int) {
	t.Helper()
	eventually(t, "the log says "+text, func() bool { return strings.Count(f.log.String(), text) > n })
}

// open begins an answer that lasts, and returns its body after the first line.
func (g *guest) stream(t *testing.T) *bufio.Reader {
	t.Helper()
	r, err := http.NewRequest(http.MethodGet, strings.Replace(g.y.wiki(), "/report", "/events", 1), nil)
	if err != nil {
		t.Fatal(err)
	}
	client := *g.client
	client.Timeout = 0
	resp, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() })
	body := bufio.NewReader(resp.Body)
	if line, err := body.ReadString('\n'); err != nil || line != "data: hello\n" {
		t.Fatalf("the stream begins with %d %q, %v", resp.StatusCode, line, err)
	}
	return body
}

// R11, R12: the program is replaced and its configuration changed again and again
// while people send forms. None of them fails, none is sent twice, sessions live on,
// and the audit chain is whole.
func TestR11R12_UpgradesAndReloadsUnderLoadFailNoRequest(t *testing.T) {
	t.Parallel()
	upgrades, reloads, atLeast := 3, 9, 0
	if os.Getenv("GATEHOUSE_FAULTS") != "" {
		upgrades, reloads, atLeast = 20, 200, 50_000
	}
	f, guests := newFleet(t, 2)
	var asked, failed atomic.Int64
	var stop atomic.Bool
	var wg sync.WaitGroup
	for i := range 8 {
		g := guests[i%len(guests)]
		tr := localTransport() // a browser of its own
		tr.MaxIdleConnsPerHost, tr.DisableKeepAlives = 2, i >= 6
		defer tr.CloseIdleConnections()
		client := &http.Client{Transport: tr, Jar: g.client.Jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
		wg.Go(func() {
			for n := 0; !stop.Load(); n++ {
				// A form is not sent again by the client, whatever befalls it.
				text := fmt.Sprintf("form %d of %d.", n, i)
				r, _ := http.NewRequest(http.MethodPost, g.y.wiki(), io.NopCloser(strings.NewReader(text)))
				r.Header.Set("Origin", "http://"+r.URL.Host)
				resp, err := client.Do(r)
				status, body := 0, []byte(nil)
				if err == nil {
					status = resp.StatusCode
					body, err = io.ReadAll(resp.Body)
					_ = resp.Body.Close()
				}
				asked.Add(1)
				if err != nil || status != http.StatusOK || !strings.Contains(string(body), text) {
					if failed.Add(1) < 5 {
						t.Errorf("request %d of %d: %d, %v", n, i, status, err)
					}
				}
			}
		})
	}
	enough := sync.OnceFunc(func() { stop.Store(true); wg.Wait() })
	defer enough() // also where this ends early: they report to it
	more := func() {
		seen := asked.Load()
		eventually(t, "requests come through", func() bool { return asked.Load() > seen+20 })
	}
	began := time.Now()
	for n := range upgrades {
		more()
		f.upgrade(t)
		for k := range reloads / upgrades {
			taken := strings.Count(f.log.String(), "configuration taken")
			if err := f.y.write(func(c *yardConfig) { c.Timeout = fmt.Sprintf("%ds", 5+(n+k)%2) }); err != nil {
				t.Fatal(err)
			}
			f.signal(t, syscall.SIGHUP)
			f.says(t, "configuration taken", taken)
		}
	}
	took := time.Since(began)
	for asked.Load() < int64(atLeast) {
		more()
	}
	enough()
	forms := map[string]int{}
	for _, raw := range f.y.upstream.got() {
		if m := regexp.MustCompile(`form \d+ of \d+\.`).FindString(raw); m != "" {
			forms[m]++
		}
	}
	twice := 0
	for _, n := range forms {
		if n > 1 {
			twice++
		}
	}
	if failed.Load() > 0 || twice > 0 || len(forms) != int(asked.Load()) {
		t.Errorf("%d of %d requests failed, the service got %d, %d of them twice", failed.Load(), asked.Load(), len(forms), twice)
	}
	t.Logf("%d upgrades and %d reloads in %v, %d requests, %d failed", upgrades, reloads/upgrades*upgrades, took.Round(time.Millisecond), asked.Load(), failed.Load())
	f.end(t)
}

// end ends the last one, waits for all, and looks at what they left.
func (f *fleet) end(t *testing.T) {
	t.Helper()
	f.signal(t, syscall.SIGTERM)
	<-f.ended
	for _, name := range []string{"admin.sock", "lent.sock"} {
		if _, err := os.Lstat(filepath.Join(f.y.dir, name)); err == nil {
			t.Errorf("%s is left", name)
		}
	}
	f.y.check(t)
}

// R12: a stream that began before an upgrade goes on in the old process, two
// upgrades long; it is cut when the newest process hears that its right has ended,
// and the old processes end when nothing is left to serve.
func TestR12_AStreamFromBeforeAnUpgradeIsCutWhenItsRightEnds(t *testing.T) {
	t.Parallel()
	f, guests := newFleet(t, 2)
	ended, stays := guests[0].stream(t), guests[1].stream(t)
	f.upgrade(t)
	f.upgrade(t)
	// Both still go on: the old process has the store lent, through every hand.
	done := make(chan error, 1)
	go func() {
		_, err := io.Copy(io.Discard, ended)
		done <- err
	}()
	select {
	case err := <-done:
		t.Fatalf("the stream ended with the upgrade: %v", err)
	case <-time.After(recheckBySelf + recheckBySelf/4): // longer than between two looks at all streams
	}
	if out, err := f.verb("sessions", "end", "--user", guests[0].user); err != nil || !strings.Contains(out, "1 session ended") {
		t.Fatalf("%v: %s", err, out)
	}
	select {
	case <-done:
	case <-time.After(30 * time.Second):
		t.Fatal("the stream goes on after the session was ended")
	}
	// It was recorded by the process that cut it, which has no store of its own.
	eventually(t, "the cut is in the audit log", func() bool {
		out, err := f.verb("audit", "--kind", "stream.cut")
		return err == nil && strings.Contains(out, "session.revoked")
	})
	// A reload is one for every process: who may not pass by the rules in force is cut.
	if err := f.y.write(nil); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(f.y.file())
	if err != nil {
		t.Fatal(err)
	}
	shut := strings.Replace(string(raw), "allow: { signed_in: true }", "allow: { groups: [nobody-is-here] }", 1)
	if err := os.WriteFile(f.y.file(), []byte(shut), 0o600); err != nil {
		t.Fatal(err)
	}
	f.signal(t, syscall.SIGHUP)
	go func() {
		_, err := io.Copy(io.Discard, stays)
		done <- err
	}()
	select {
	case <-done:
	case <-time.After(30 * time.Second):
		t.Fatal("the stream goes on after the rules have changed")
	}
	f.end(t)
}

// recheckBySelf is how often the gateway looks at all streams.
const recheckBySelf = 2 * time.Second

// R12, R13: a new process that does not come up changes nothing, whether it fails
// before it was given the store or after.
func TestR12R13_AnUpgradeThatFailsChangesNothing(t *testing.T) {
	t.Parallel()
	at := filepath.Join(shortDir(t), "notify")
	systemd, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: at, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer systemd.Close()
	f, guests := newFleet(t, 1, "NOTIFY_SOCKET="+at)
	ended := make(chan error, 1)
	go func(stream io.Reader) {
		_, err := io.Copy(io.Discard, stream)
		ended <- err
	}(guests[0].stream(t))
	works := func() {
		t.Helper()
		if page, err := guests[0].get(f.y.wiki()); err != nil || page.StatusCode != http.StatusOK {
			t.Fatalf("after an upgrade that failed: %d, %v", page.StatusCode, err)
		}
		select {
		case err := <-ended:
			t.Fatalf("the stream was ended: %v", err)
		default:
		}
	}
	fails := func(want string) {
		t.Helper()
		out, err := f.verb("upgrade")
		if err == nil || !strings.Contains(out, want) {
			t.Fatalf("upgrade: %v: %s; want %q", err, out, want)
		}
		works()
	}
	// Its configuration is checked before anything is given away. The tool reads
	// it too, so the signal asks.
	raw, err := os.ReadFile(f.y.file())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(f.y.file(), append(raw, "nonsense: 1\n"...), 0o600); err != nil {
		t.Fatal(err)
	}
	f.signal(t, syscall.SIGUSR2)
	f.says(t, "not upgraded; this process goes on", 0)
	works()
	// It has the store, and can not open it: the key is away.
	if err := os.WriteFile(f.y.file(), raw, 0o600); err != nil {
		t.Fatal(err)
	}
	key := filepath.Join(f.y.dir, "gatehouse.db.key")
	if err := os.Rename(key, key+".away"); err != nil {
		t.Fatal(err)
	}
	fails("ended before it was serving")
	if err := os.Rename(key+".away", key); err != nil {
		t.Fatal(err)
	}
	f.upgrade(t)
	works()
	var said []string
	for want := fmt.Sprintf("MAINPID=%d", f.pid); !slices.Contains(said, want); {
		raw := make([]byte, 100)
		n, err := systemd.Read(raw)
		if err != nil {
			t.Fatal(err)
		}
		if said = append(said, string(raw[:n])); strings.HasPrefix(said[len(said)-1], "MAINPID=") && said[len(said)-1] != want {
			t.Fatalf("systemd is told %q, want %s last", said, want)
		}
	}
	if n := strings.Count(f.log.String(), "another process has taken over"); n != 1 {
		t.Errorf("%d processes have taken over, want 1", n)
	}
	f.end(t)
}
