package reconcile_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/gatehouse-sso/gatehouse/provisioning/outbox"
	"github.com/gatehouse-sso/gatehouse/provisioning/reconcile"
	"github.com/gatehouse-sso/gatehouse/provisioning/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestTheProcessThatIsKilled is that process: it reconciles the target at
// RECONCILE_URL and prints what it found, and how much memory it had.
func TestTheProcessThatIsKilled(t *testing.T) {
	if os.Getenv("RECONCILE_STORE") == "" {
		t.Skip("only what TestR29_AReconciliationThatIsKilledGoesOn starts")
	}
	w := openWorld(t, os.Getenv("RECONCILE_STORE"), connect(t, os.Getenv("RECONCILE_URL")), reconcile.Target{})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- w.runner.Run(ctx) }() // takes up what the one before left
	defer func() { cancel(); <-done }()
	rep := w.reconcile(reconcile.Mode(os.Getenv("RECONCILE_MODE")))
	rep.Some = nil
	raw, err := json.Marshal(rep)
	if err != nil {
		t.Fatal(err)
	}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	fmt.Printf("REPORT %s\n%s", raw, status)
}

// child runs a reconciliation in another process, and kills it after a time
// unless that is 0. The report is zero if it was killed.
func child(t *testing.T, path, url string, m reconcile.Mode, kill time.Duration) (rep reconcile.Report, resident, anonymous int) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestTheProcessThatIsKilled$", "-test.timeout=20m")
	cmd.Env = append(os.Environ(), "RECONCILE_STORE="+path, "RECONCILE_URL="+url, "RECONCILE_MODE="+string(m))
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if kill > 0 {
		timer := time.AfterFunc(kill, func() { _ = cmd.Process.Kill() })
		defer timer.Stop()
	}
	err := cmd.Wait()
	m1 := regexp.MustCompile(`REPORT (.*)\n`).FindStringSubmatch(out.String())
	if m1 == nil {
		if kill == 0 {
			t.Fatalf("the process: %v\n%s", err, out.String())
		}
		return rep, 0, 0
	}
	if err := json.Unmarshal([]byte(m1[1]), &rep); err != nil {
		t.Fatal(err)
	}
	kib := func(what string) int {
		m := regexp.MustCompile(what + `:\s+([0-9]+) kB`).FindStringSubmatch(out.String())
		if m == nil {
			t.Fatalf("%s is not in %s", what, out.String())
		}
		n, _ := strconv.Atoi(m[1])
		return n
	}
	return rep, kib("VmHWM"), kib("RssAnon")
}

// maxResident is what a reconciliation may have of memory, in KiB: the mapped
// pages of the store's file included.
const maxResident = 200 << 10

// TestR29_AReconciliationThatIsKilledGoesOn reconciles a target over a socket in a process
// that is killed again and again. In the long form the target has 100,000 accounts,
// one percent of them drifted in each of five ways.
func TestR29_AReconciliationThatIsKilledGoesOn(t *testing.T) {
	t.Parallel()
	users, kills, after := 400, 2, 300*time.Millisecond
	if big {
		users, kills, after = 100_000, 8, 4*time.Second
	}
	p := newPlace(t)
	path := filepath.Join(t.TempDir(), "db")
	w := openWorld(t, path, connect(t, p.url), reconcile.Target{})
	began := time.Now()
	ids := w.populate(users)
	want := w.drift(ids)
	if err := w.store.Close(); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d accounts made in %v", users, time.Since(began).Round(time.Second))

	written := p.writes.Load()
	began = time.Now()
	rep, resident, anonymous := child(t, path, p.url, reconcile.Preview, 0)
	found(t, rep, want)
	t.Logf("preview: %v, %d MiB resident at most, %d MiB of it not the store's file; %v", time.Since(began).Round(time.Second), resident>>10, anonymous>>10, rep.Matrix)
	if n := p.writes.Load() - written; n != 0 {
		t.Errorf("the preview wrote %d times", n)
	}
	most := resident

	began = time.Now()
	killed := 0
	for killed < kills {
		if rep, _, _ = child(t, path, p.url, reconcile.Run, after+time.Duration(killed)*after/7); !rep.Ended.IsZero() {
			break
		}
		killed++
	}
	reads := p.reads.Load()
	if rep.Ended.IsZero() {
		rep, resident, anonymous = child(t, path, p.url, reconcile.Run, 0)
		most = max(most, resident)
	}
	t.Logf("run, killed %d times: %v, %d MiB resident at most, %d MiB of it not the store's file, %d reads after the last kill; %v",
		killed, time.Since(began).Round(time.Second), resident>>10, anonymous>>10, p.reads.Load()-reads, rep.Matrix)

	written = p.writes.Load()
	began = time.Now()
	rep, resident, anonymous = child(t, path, p.url, reconcile.Run, 0)
	t.Logf("second run: %v, %d MiB resident at most, %d MiB of it not the store's file; %v", time.Since(began).Round(time.Second), resident>>10, anonymous>>10, rep.Matrix)
	if n := p.writes.Load() - written; n != 0 {
		t.Errorf("the second run wrote %d times", n)
	}
	each := users / 100
	if rep.Matrix[reconcile.Linked][reconcile.InStep] != users || rep.Count(reconcile.Linked) != users || rep.Count(reconcile.Unmatched) != each || rep.Count(reconcile.Deleted) != 0 {
		t.Errorf("in the end %+v", rep.Matrix)
	}
	if most = max(most, resident); most > maxResident {
		t.Errorf("%d MiB were resident, allowed are %d", most>>10, maxResident>>10)
	}
	// Every user has one account, and the directory knows it.
	w = openWorld(t, path, connect(t, p.url), reconcile.Target{})
	if err := w.store.View(context.Background(), func(tx store.Tx) error {
		if n, err := outbox.CountTx(tx, "crm"); err != nil || n != users {
			t.Errorf("%d accounts are known, want %d, %v", n, users, err)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}
