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
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/gatehouse-sso/gatehouse/provisioning/memorytest"
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
	peak := make(chan int, 1)
	go func() {
		most := 0
		for ctx.Err() == nil {
			most = max(most, ownMemory())
			time.Sleep(20 * time.Millisecond)
		}
		peak <- most
	}()
	done := make(chan error)
	go func() { done <- w.runner.Run(ctx) }() // takes up what the one before left
	rep := w.reconcile(reconcile.Mode(os.Getenv("RECONCILE_MODE")))
	rep.Some = nil
	raw, err := json.Marshal(rep)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	<-done
	fmt.Printf("REPORT %s\nOWN %d\n", raw, <-peak)
}

// ownMemory is what this process has resident that is not the store's file, in
// KiB; 0 where that can not be found out.
func ownMemory() int {
	status, err := os.ReadFile("/proc/self/status")
	m := regexp.MustCompile(`RssAnon:\s+([0-9]+) kB`).FindSubmatch(status)
	if err != nil || m == nil {
		return 0
	}
	n, _ := strconv.Atoi(string(m[1]))
	return n
}

// child runs a reconciliation in another process, and kills it as it makes its
// kill-th request, unless that is 0. The report is zero if it was killed.
func child(t *testing.T, path string, p *place, m reconcile.Mode, kill int64) (rep reconcile.Report, memory string) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestTheProcessThatIsKilled$", "-test.timeout=20m")
	cmd.Env = append(os.Environ(), "RECONCILE_STORE="+path, "RECONCILE_URL="+p.url, "RECONCILE_MODE="+string(m))
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var requests atomic.Int64
	p.hook.Store(func() {
		if requests.Add(1) == kill {
			_ = cmd.Process.Kill()
		}
	})
	memory = "not confined"
	if big {
		if _, ok := memorytest.Confine(t, cmd.Process.Pid, maxResident); ok {
			memory = fmt.Sprintf("confined to %d MiB", maxResident>>20)
		}
	}
	err := cmd.Wait()
	m1 := regexp.MustCompile(`REPORT (.*)\n`).FindStringSubmatch(out.String())
	if m1 == nil {
		if kill == 0 {
			t.Fatalf("the process: %v\n%s", err, out.String())
		}
		return rep, memory
	}
	if err := json.Unmarshal([]byte(m1[1]), &rep); err != nil {
		t.Fatal(err)
	}
	own, _ := strconv.Atoi(regexp.MustCompile(`OWN ([0-9]+)`).FindStringSubmatch(out.String())[1])
	if own > maxResident>>10 {
		t.Errorf("%d MiB were resident", own>>10)
	}
	return rep, fmt.Sprintf("%s, of which %d MiB at most were not the store's file", memory, own>>10)
}

// maxResident is what a reconciliation may have of memory, in bytes: the mapped
// pages of the store's file included.
const maxResident = 200 << 20

// TestR29_AReconciliationThatIsKilledGoesOn reconciles a target over a socket in a process
// that is killed again and again. In the long form the target has 100,000 accounts,
// one percent of them drifted in each of five ways.
func TestR29_AReconciliationThatIsKilledGoesOn(t *testing.T) {
	t.Parallel()
	users, kills, after := 400, 3, int64(9)
	if big {
		users, kills, after = 100_000, 8, int64(1500)
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
	rep, memory := child(t, path, p, reconcile.Preview, 0)
	found(t, rep, want)
	t.Logf("preview: %v, %s; %v", time.Since(began).Round(time.Second), memory, rep.Matrix)
	if n := p.writes.Load() - written; n != 0 {
		t.Errorf("the preview wrote %d times", n)
	}

	began = time.Now()
	killed := 0
	for killed < kills {
		if rep, memory = child(t, path, p, reconcile.Run, after); !rep.Ended.IsZero() {
			break
		}
		killed++
	}
	if killed != kills {
		t.Errorf("it was killed %d times, want %d", killed, kills)
	}
	reads := p.reads.Load()
	if rep.Ended.IsZero() {
		rep, memory = child(t, path, p, reconcile.Run, 0)
	}
	t.Logf("run, killed %d times: %v, %s, %d reads after the last kill; %v",
		killed, time.Since(began).Round(time.Second), memory, p.reads.Load()-reads, rep.Matrix)

	written = p.writes.Load()
	began = time.Now()
	rep, memory = child(t, path, p, reconcile.Run, 0)
	t.Logf("second run: %v, %s; %v", time.Since(began).Round(time.Second), memory, rep.Matrix)
	if n := p.writes.Load() - written; n != 0 {
		t.Errorf("the second run wrote %d times", n)
	}
	each := users / 100
	if rep.Matrix[reconcile.Linked][reconcile.InStep] != users || rep.Count(reconcile.Linked) != users || rep.Count(reconcile.Unmatched) != each || rep.Count(reconcile.Deleted) != 0 {
		t.Errorf("in the end %+v", rep.Matrix)
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
