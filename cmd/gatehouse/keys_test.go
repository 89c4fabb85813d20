package main

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-sso/gatehouse/configs"
	"github.com/gatehouse-sso/gatehouse/gateway"
	"github.com/gatehouse-sso/gatehouse/provisioning/store"
	"github.com/gatehouse-sso/gatehouse/provisioning/store/storetest"
)

// What was begun with a key ends well after it was rotated: a sign-in under way, a
// session with its token, and metadata that shows both.
func TestKeysAreRotatedWhilePeopleWork(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	in := l.in("campus", "alice")
	under := l.person()
	begun := under.fetch(l.at("wiki", "/"), "college", "bob")
	rotate := func(purpose string) {
		t.Helper()
		before := l.p.site.Load()
		l.admin("POST", "keys", url.Values{"purpose": {purpose}, "announce": {"0"}}, nil)
		eventually(t, "the key is used", func() bool { return l.p.site.Load() != before })
	}
	if _, err := l.p.samlKeys(t.Context(), l.p.site.Load().cfg, configs.SAML{}); err != nil { // the lab's providers have keys that are configured
		t.Fatal(err)
	}
	for _, purpose := range []string{"jwt", "cookie", "access", "saml"} {
		rotate(purpose)
	}
	if !in.signedIn("wiki", "alice") {
		t.Error("a session is lost")
	}
	if under.bring(begun).settle().wants(http.StatusOK); !under.signedIn("wiki", "bob") {
		t.Error("a sign-in under way is lost")
	}
	if n := strings.Count(l.person().open(l.at("", "/.gatehouse/jwks.json")).wants(http.StatusOK).body, `"kid"`); n != 2 {
		t.Errorf("the set shows %d keys, want both", n)
	}
	// The SAML key in use signs, and the metadata announces the one before too.
	if keys, err := l.p.samlKeys(t.Context(), l.p.site.Load().cfg, configs.SAML{}); err != nil || len(keys) != 2 || !keys[0].Certificate.NotBefore.After(keys[1].Certificate.NotBefore.Add(-time.Second)) {
		t.Errorf("%d SAML keys, %v", len(keys), err)
	}
	var list []keyView
	l.admin("GET", "keys", nil, &list)
	states := map[string]int{}
	for _, k := range list {
		states[k.Purpose+" "+k.State]++
	}
	for _, purpose := range []string{"jwt", "cookie", "access", "saml"} {
		if states[purpose+" in use"] != 1 || states[purpose+" still taken"] > 1 {
			t.Errorf("of %s there are %v", purpose, states)
		}
	}
	if states["pairwise in use"] != 1 || states["jwt still taken"] != 1 {
		t.Errorf("there are %v", states)
	}
}

// opened is a process over a yard's configuration, which serves nobody.
func (y *yard) opened(t *testing.T) (*configs.Config, *process) {
	t.Helper()
	cfg, mistakes := loadAll(y.file())
	if len(mistakes) > 0 {
		t.Fatal(mistakes)
	}
	p, err := openProcess(t.Context(), cfg, slog.New(slog.DiscardHandler), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	return cfg, p
}

// vault is a store with keys and sealed certificates, as a gateway leaves it.
func vault(t *testing.T, rows int) (cfg *configs.Config) {
	t.Helper()
	y := newYard(t, nil, nil)
	cfg, p := y.opened(t)
	defer p.store.Close()
	for i := range rows {
		if err := (certCache{p.store, p.sealer}).Put(t.Context(), fmt.Sprintf("host%03d.example", i), fmt.Appendf(nil, "certificate %d", i)); err != nil {
			t.Fatal(err)
		}
	}
	return cfg
}

// opens reads everything that is sealed, with the keys that are there now.
func opens(t *testing.T, cfg *configs.Config, rows int) (pairwise []byte) {
	t.Helper()
	p, err := openProcess(t.Context(), cfg, slog.New(slog.DiscardHandler), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	defer p.store.Close()
	for i := range rows {
		got, err := certCache{p.store, p.sealer}.Get(t.Context(), fmt.Sprintf("host%03d.example", i))
		if err != nil || string(got) != fmt.Sprintf("certificate %d", i) {
			t.Fatalf("row %d opens as %q, %v", i, got, err)
		}
	}
	return p.keys.Pairwise()
}

// R09, D05: the key of the store is another, and the process dies at every one of its
// steps. Each time everything opens, and the next attempt goes on.
func TestR09D05_TheStoresKeyIsRotatedAndDiesAtEachStep(t *testing.T) {
	t.Parallel()
	const rows = 50
	cfg := vault(t, rows)
	pairwise := opens(t, cfg, rows)
	first, err := os.ReadFile(ownKeyFile(cfg))
	if err != nil {
		t.Fatal(err)
	}
	attempt := func(updates int) (resealed, error) {
		p, err := openProcess(t.Context(), cfg, slog.New(slog.DiscardHandler), time.Now)
		if err != nil {
			t.Fatal(err)
		}
		defer p.store.Close()
		p.store = &storetest.Failing{Store: p.store, Left: updates}
		return p.rotateStoreKey(t.Context(), cfg, "")
	}
	deaths := 0
	for ; ; deaths++ {
		_, err := attempt(deaths)
		if got := opens(t, cfg, rows); !bytes.Equal(got, pairwise) {
			t.Fatal("another key makes pairwise identifiers")
		}
		if err == nil {
			break
		}
		if !errors.Is(err, storetest.ErrRefused) {
			t.Fatal(err)
		}
	}
	if deaths < 3 {
		t.Errorf("it died %d times only", deaths)
	}
	second, err := os.ReadFile(ownKeyFile(cfg))
	if err != nil || bytes.Equal(second, first) || bytes.Count(second, []byte("\n")) != 1 {
		t.Errorf("the key is %d bytes, %v", len(second), err)
	}
	// The control: with the key from before nothing opens any more.
	if err := os.WriteFile(ownKeyFile(cfg), first, 0o600); err != nil {
		t.Fatal(err)
	}
	if p, err := openProcess(t.Context(), cfg, slog.New(slog.DiscardHandler), time.Now); !errors.Is(err, store.ErrSeal) || !strings.Contains(err.Error(), "put that back, or name it with store_key_before") {
		t.Errorf("with the key from before: %v", err)
		_ = p.store.Close()
	}
}

// R01: the same with SIGKILL, at moments that nobody chose.
func TestR01_KilledWhileTheStoresKeyIsRotated(t *testing.T) {
	t.Parallel()
	rows, kills := 60, 4
	if os.Getenv("GATEHOUSE_FAULTS") != "" {
		rows, kills = 3000, 100
	}
	cfg := vault(t, rows)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(filepath.Dir(cfg.Store.Bolt()), "gatehouse.yaml")
	run := func() *exec.Cmd {
		cmd := exec.Command(exe, "keys", "rotate", "store", "-c", file)
		cmd.Env = append(os.Environ(), asProgram+"=1")
		return cmd
	}
	began := time.Now()
	if out, err := run().CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	whole := time.Since(began)
	died := 0
	for i := range kills {
		cmd := run()
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		timer := time.AfterFunc(whole*time.Duration(i+1)/time.Duration(kills+1), func() { _ = cmd.Process.Kill() })
		if cmd.Wait() != nil {
			died++
		}
		timer.Stop()
		opens(t, cfg, rows)
	}
	if out, err := run().CombinedOutput(); err != nil || !strings.Contains(string(out), "0 could not be opened") {
		t.Fatalf("%v: %s", err, out)
	}
	opens(t, cfg, rows)
	if raw, err := os.ReadFile(ownKeyFile(cfg)); err != nil || bytes.Count(raw, []byte("\n")) != 1 {
		t.Errorf("%d bytes of keys are left, %v", len(raw), err)
	}
	t.Logf("%d of %d died", died, kills)
}

// A key that is configured is rotated by naming both, for as long as it takes.
func TestAConfiguredStoreKeyIsRotatedByNamingBoth(t *testing.T) {
	t.Parallel()
	y := newYard(t, nil, nil)
	keys := map[string]string{"one": strings.Repeat("1", 32), "two": strings.Repeat("2f", 32) + "\n"}
	for name, key := range keys {
		if err := os.WriteFile(filepath.Join(y.dir, name), []byte(key), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	with := func(lines string) *process {
		t.Helper()
		if err := y.write(nil); err != nil {
			t.Fatal(err)
		}
		raw, err := os.ReadFile(y.file())
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(y.file(), append(raw, lines...), 0o600); err != nil {
			t.Fatal(err)
		}
		_, p := y.opened(t)
		return p
	}
	rotate := func(p *process) (resealed, error) {
		cfg, _ := loadAll(y.file())
		defer p.store.Close()
		return p.rotateStoreKey(t.Context(), cfg, "")
	}
	var no errNo
	if _, err := rotate(with("store_key: { file: one }\n")); !errors.As(err, &no) || !strings.Contains(err.Error(), "store_key_before") {
		t.Errorf("without the key from before: %v", err)
	}
	done, err := rotate(with("store_key: { file: two }\nstore_key_before: { file: one }\n"))
	if err != nil || done.Rows < 5 || done.Lost != 0 {
		t.Fatalf("%+v, %v", done, err)
	}
	p := with("store_key: { file: two }\n") // everything opens
	if list, err := gateway.AllKeys(t.Context(), p.store, time.Now()); err != nil || len(list) < 5 {
		t.Errorf("%v, %v", list, err)
	}
	p.older = func() bool { return true }
	if _, err := rotate(p); !errors.As(err, &no) || !strings.Contains(err.Error(), "before an upgrade") {
		t.Errorf("beside an old process: %v", err)
	}
}

// What is no key is a mistake in the file, and not an end of the gateway that starts.
func TestAStoreKeyThatIsNoneIsAMistakeInTheFile(t *testing.T) {
	t.Parallel()
	y := newYard(t, nil, nil)
	if err := y.write(nil); err != nil {
		t.Fatal(err)
	}
	good, err := os.ReadFile(y.file())
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]int{
		strings.Repeat("1", 32): 0, strings.Repeat("2f", 32) + "\n": 0,
		"yLNqDEZyJ6wG0kKXmG0KXr0Vx3n1c4p9l2sYt0vQeA8=\n": 1, strings.Repeat("2f", 31): 1, strings.Repeat("2g", 32): 1, "secret": 1,
	} {
		for name, text := range map[string]string{"store.key": key, "gatehouse.yaml": string(good) + "store_key: { file: store.key }\n"} {
			if err := os.WriteFile(filepath.Join(y.dir, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		_, mistakes := loadAll(y.file())
		if len(mistakes) != want || want > 0 && !strings.Contains(mistakes[0].String(), "this is no key: it has") {
			t.Errorf("%q: %v", key, mistakes)
		}
	}
}

// A key that was made is used, though the first attempt to take it failed: here for want
// of a file that the configuration names.
func TestAKeyThatCouldNotBeTakenIsTakenLater(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	file := filepath.Join(l.dir, "saml.crt")
	if err := os.Rename(file, file+".away"); err != nil {
		t.Fatal(err)
	}
	before := l.p.site.Load()
	l.admin("POST", "keys", url.Values{"purpose": {"access"}, "announce": {"0"}, "keep": {"0"}}, nil)
	eventually(t, "the attempt fails", func() bool { return strings.Contains(l.log.String(), "are not used yet") })
	if l.p.site.Load() != before {
		t.Fatal("the site is another without the file")
	}
	if err := os.Rename(file+".away", file); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the key is used", func() bool { return l.p.site.Load() != before })
}
