package boltstore_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/gatehouse-sso/gatehouse/provisioning/store"
	"github.com/gatehouse-sso/gatehouse/provisioning/store/boltstore"
)

// many is how often to do something that should be done often: GATEHOUSE_FAULTS=1
// makes it so.
func many(few, most int) int {
	if os.Getenv("GATEHOUSE_FAULTS") != "" {
		return most
	}
	return few
}

// childEnv makes the test binary a process that uses a store: "open PATH", "ledger PATH",
// "stubborn PATH".
const childEnv = "GATEHOUSE_STORE_CHILD"

func TestMain(m *testing.M) {
	verb, path, _ := strings.Cut(os.Getenv(childEnv), " ")
	switch verb {
	case "":
		os.Exit(m.Run())
	case "ledger":
		ledger(path)
	case "stubborn":
		stubborn(path)
	case "open":
		openWide(path)
	}
	s, err := boltstore.Open(path, boltstore.Options{})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	s.Close()
}

func child(t *testing.T, verb, path string) *exec.Cmd {
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+verb+" "+path)
	cmd.Stderr = os.Stderr
	return cmd
}

func TestD01_FilesAreForTheirOwnerOnly(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("modes are not what guards files here")
	}
	dir := filepath.Join(t.TempDir(), "var", "gatehouse")
	path := filepath.Join(dir, "db")
	if out, err := child(t, "open", path).Output(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for name, want := range map[string]os.FileMode{dir: 0o700, path: 0o600, path + ".id": 0o600} {
		info, err := os.Stat(name)
		if err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v; want %v", name, info.Mode(), err, want)
		}
	}
	if left, _ := filepath.Glob(path + ".*"); len(left) != 1 {
		t.Errorf("left behind: %v", left)
	}
	for _, c := range []struct {
		name string
		mode os.FileMode
	}{{path, 0o644}, {path, 0o620}, {dir, 0o777}} {
		old, _ := os.Stat(c.name)
		if err := os.Chmod(c.name, c.mode); err != nil {
			t.Fatal(err)
		}
		if s, err := boltstore.Open(path, boltstore.Options{}); err == nil {
			s.Close()
			t.Errorf("%s with mode %o is opened", c.name, c.mode)
		} else if !strings.Contains(err.Error(), "chmod") {
			t.Errorf("%s with mode %o: %v, without the cure", c.name, c.mode, err)
		}
		if err := os.Chmod(c.name, old.Mode()); err != nil {
			t.Fatal(err)
		}
	}
	open(t, path) // the control
}

func TestD02_ASecondProcessIsRefused(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "db")
	s := open(t, path)
	out, err := child(t, "again", path).Output()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 || !strings.Contains(string(out), path+" is in use by another process") {
		t.Errorf("a second process: %v, %q", err, out)
	}
	if second, err := boltstore.Open(path, boltstore.Options{}); err == nil {
		second.Close()
		t.Error("a second Open in this process is not refused")
	} else if errors.Is(err, store.ErrDamaged) {
		t.Errorf("a store in use is said to be damaged: %v", err)
	}
	write(t, s, map[string]string{"a": "1"}) // the first goes on
	s.Close()
	if out, err := child(t, "again", path).Output(); err != nil {
		t.Errorf("after Close: %v, %s", err, out)
	}
}

// write commits rows, as many at once as a transaction takes.
func write(t testing.TB, s store.Store, rows map[string]string) {
	t.Helper()
	var keys []string
	for key := range rows {
		keys = append(keys, key)
	}
	for len(keys) > 0 {
		n := min(len(keys), store.MaxKeys)
		err := s.Update(context.Background(), func(tx store.Tx) error {
			for _, key := range keys[:n] {
				if err := tx.Put([]byte(key), []byte(rows[key])); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		keys = keys[n:]
	}
}

func read(s store.Store) (map[string]string, error) {
	rows := map[string]string{}
	err := s.View(context.Background(), func(tx store.Tx) error {
		clear(rows)
		for p, err := range tx.Scan(nil, nil, 0) {
			if err != nil {
				return err
			}
			rows[string(p.Key)] = string(p.Val)
		}
		return nil
	})
	return rows, err
}

// filled makes a database of several levels, with values of several pages, and
// returns its bytes and rows.
func filled(t *testing.T) (file, id []byte, rows map[string]string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "db")
	s := open(t, path)
	rows = map[string]string{}
	r := rand.New(rand.NewPCG(1, 1))
	for i := range 400 {
		n := 50 + r.IntN(400)
		if i%100 == 0 {
			n = 10_000
		}
		rows[fmt.Sprintf("user/%03d", i)] = strings.Repeat(string(rune('a'+r.IntN(26))), n)
	}
	write(t, s, rows)
	for i := range 50 { // leaves pages that are free
		key := fmt.Sprintf("user/%03d", i*8)
		delete(rows, key)
		if err := s.Update(t.Context(), func(tx store.Tx) error { return tx.Delete([]byte(key)) }); err != nil {
			t.Fatal(err)
		}
	}
	s.Close()
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	id, err = os.ReadFile(path + ".id")
	if err != nil {
		t.Fatal(err)
	}
	return file, id, rows
}

// refused opens a file and reports whether it was refused; then it must be in the
// right words and with the file left as it was. If it was not, it must hold rows.
func refused(t *testing.T, name string, file, id []byte, rows map[string]string) bool {
	t.Helper()
	path := filepath.Join(t.TempDir(), "db")
	if err := errors.Join(os.WriteFile(path, file, 0o600), os.WriteFile(path+".id", id, 0o600)); err != nil {
		t.Fatal(err)
	}
	s, err := boltstore.Open(path, boltstore.Options{Check: true})
	if err == nil {
		defer s.Close()
		got, err := read(s)
		if err != nil {
			t.Errorf("%s: it was opened, and then: %v", name, err)
		}
		if !maps.Equal(got, rows) {
			t.Errorf("%s: it was opened and holds something else: %d rows of %d", name, len(got), len(rows))
		}
		write(t, s, map[string]string{"more": "1"})
		return false
	}
	if !errors.Is(err, store.ErrDamaged) || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "backup") {
		t.Errorf("%s: %v; want ErrDamaged that names the file and the cure", name, err)
	}
	if after, err := os.ReadFile(path); err != nil || !bytes.Equal(after, file) {
		t.Errorf("%s: the file was changed", name)
	}
	return true
}

func TestD03R08_DamagedFilesAreRefused(t *testing.T) {
	t.Parallel()
	file, id, rows := filled(t)
	if refused(t, "sound", file, id, rows) {
		t.Fatal("the control is refused")
	}
	zeroed := func(from, to int) []byte {
		f := bytes.Clone(file)
		clear(f[from:to])
		return f
	}
	page := os.Getpagesize()
	// The pages in use: without the tail that bbolt grows the file by.
	used := len(bytes.TrimRight(file, "\x00"))
	for name, f := range map[string][]byte{
		"cut in half":           file[:used/2],
		"one byte":              file[:1],
		"one page":              file[:page],
		"two pages":             file[:2*page],
		"cut short by one byte": file[:used-1],
		"no meta pages":         zeroed(0, 2*page),
		"first meta page":       zeroed(0, page),
		"second meta page":      zeroed(page, 2*page),
		"all zero":              zeroed(0, len(file)),
		"text":                  bytes.Repeat([]byte("users:\n"), 5000),
		"empty":                 {},
	} {
		if !refused(t, name, f, id, rows) {
			t.Errorf("%s: it was opened", name)
		}
	}
	garbage := 0
	n := many(20, 1000)
	for seed := range n {
		r := rand.New(rand.NewPCG(uint64(seed), 3))
		f := bytes.Clone(file[:used])
		for range 40 {
			at := r.IntN(len(f) - 64)
			for i := range 64 {
				f[at+i] = byte(r.Uint32())
			}
		}
		if refused(t, fmt.Sprintf("garbage %d", seed), f, id, rows) {
			garbage++
		}
	}
	if garbage < n*9/10 {
		t.Errorf("of %d files full of garbage only %d were refused", n, garbage)
	}
}

func TestD04_AnEmptyOrMissingFileIsNotANewInstallation(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "db")
	open(t, path).Close()
	sound, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	refuse := func(what, because string) {
		t.Helper()
		s, err := boltstore.Open(path, boltstore.Options{})
		if err == nil {
			s.Close()
			t.Fatalf("%s: it was opened", what)
		}
		if !errors.Is(err, store.ErrDamaged) || !strings.Contains(err.Error(), because) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	refuse("an empty file", "is empty")
	if info, err := os.Stat(path); err != nil || info.Size() != 0 {
		t.Errorf("the empty file was written: %v, %v", info, err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	refuse("a missing file", path+".id")
	if _, err := os.Stat(path); err == nil {
		t.Error("the missing file was made")
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path + ".id"); err != nil {
		t.Fatal(err)
	}
	refuse("an empty file alone", "is empty")

	// A backup in its place opens, and makes the marker again.
	if err := os.WriteFile(path, sound, 0o600); err != nil {
		t.Fatal(err)
	}
	open(t, path).Close()
	if _, err := os.Stat(path + ".id"); err != nil {
		t.Error(err)
	}
	if err := os.WriteFile(path+".id", []byte("ANOTHER\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if s, err := boltstore.Open(path, boltstore.Options{}); err == nil {
		s.Close()
		t.Error("the store of another installation is opened")
	} else if !strings.Contains(err.Error(), "another installation") {
		t.Error(err)
	}
}

// A backup is a database of its own, whichever transaction it was made after and
// however few have followed in it.
func TestABackupOpensAfterEachOfItsTransactions(t *testing.T) {
	t.Parallel()
	s := open(t, filepath.Join(t.TempDir(), "db"))
	defer s.Close()
	for i := range 4 {
		write(t, s, map[string]string{"row": strconv.Itoa(i)})
		backup := filepath.Join(t.TempDir(), "backup")
		f, err := os.OpenFile(backup, os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(s.Backup(t.Context(), f), f.Close()); err != nil {
			t.Fatal(err)
		}
		for j := range 4 {
			b, err := boltstore.Open(backup, boltstore.Options{})
			if err != nil {
				t.Errorf("backup %d after %d transactions: %v", i, j, err)
				break
			}
			write(t, b, map[string]string{"row": strconv.Itoa(i + j)})
			b.Close()
		}
	}
}

// A database is replaced by another at once: before the last step the one that was
// there is in use, and never is there a moment in which one would be made anew.
func TestADatabaseIsReplacedAtOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path, from := filepath.Join(dir, "db"), filepath.Join(dir, "db.part")
	holds := func(path, want string) {
		t.Helper()
		s := open(t, path)
		defer s.Close()
		if got, err := read(s); err != nil || got["row"] != want {
			t.Errorf("%s holds %v, %v, want %s", path, got, err, want)
		}
	}
	s := open(t, path)
	write(t, s, map[string]string{"row": "before"})
	f, err := os.OpenFile(from, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.Backup(t.Context(), f), f.Close(), s.Close()); err != nil {
		t.Fatal(err)
	}
	s = open(t, from)
	write(t, s, map[string]string{"row": "after"})
	s.Close()

	// The last step fails.
	if err := os.Rename(from, from+".gone"); err != nil {
		t.Fatal(err)
	}
	if _, err := boltstore.Replace(path, from); err == nil {
		t.Fatal("a store was replaced by nothing")
	}
	holds(path, "before")
	if err := os.Rename(path, path+".lost"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(from+".id", []byte("ANY\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := boltstore.Replace(path, from); err == nil {
		t.Fatal("a store was replaced by nothing")
	}
	if _, err := boltstore.Open(path, boltstore.Options{}); !errors.Is(err, store.ErrDamaged) {
		t.Errorf("a database that is lost was made anew: %v", err)
	}

	// It does not.
	if err := errors.Join(os.Rename(path+".lost", path), os.Rename(from+".gone", from)); err != nil {
		t.Fatal(err)
	}
	open(t, from).Close() // makes its marker again
	aside, err := boltstore.Replace(path, from)
	if err != nil {
		t.Fatal(err)
	}
	holds(path, "after")
	holds(aside, "before")
	if left, err := filepath.Glob(from + "*"); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestD06R08_ChangedBytesAreRefusedOrHarmless(t *testing.T) {
	t.Parallel()
	file, id, rows := filled(t)
	used := len(bytes.TrimRight(file, "\x00"))
	found := 0
	n := many(60, 1000)
	for seed := range n {
		r := rand.New(rand.NewPCG(uint64(seed), 6))
		f := bytes.Clone(file[:used])
		at := r.IntN(len(f))
		f[at] ^= byte(1 << r.IntN(8))
		if refused(t, fmt.Sprintf("byte %d (seed %d)", at, seed), f, id, rows) {
			found++
		}
	}
	if found == 0 {
		t.Errorf("of %d changed files none was refused", n)
	}
}

// A file that is changed under an open store: reads say so, or are right.
func TestD06_DamageUnderAnOpenStoreIsNeverAWrongValue(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "db")
	s := open(t, path)
	rows := map[string]string{}
	for i := range 300 {
		rows[fmt.Sprintf("user/%03d", i)] = strings.Repeat("v", 300)
	}
	write(t, s, rows)
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	damaged := 0
	for key, want := range rows {
		for off := 0; ; { // every copy, as old ones lie in free pages
			i := bytes.Index(file[off:], []byte(key))
			if i < 0 {
				break
			}
			off += i + len(key)
			if !bytes.HasPrefix(file[off+4:], []byte("vvvv")) {
				continue // a key of a branch page: found when the file is opened
			}
			if _, err := f.WriteAt([]byte{'w'}, int64(off+20)); err != nil {
				t.Fatal(err)
			}
		}
		err := s.View(t.Context(), func(tx store.Tx) error {
			got, ok, err := tx.Get([]byte(key))
			if err == nil && (!ok || string(got) != want) {
				t.Errorf("Get(%s) is wrong: %.20q %v", key, got, ok)
			}
			return err
		})
		if errors.Is(err, store.ErrDamaged) {
			damaged++
		} else if err != nil {
			t.Errorf("Get(%s): %v", key, err)
		}
	}
	if damaged < len(rows)/2 {
		t.Errorf("only %d of %d changed values were noticed", damaged, len(rows))
	}
	if _, err := read(s); !errors.Is(err, store.ErrDamaged) {
		t.Errorf("Scan over damage: %v", err)
	}
	if runtime.GOOS == "windows" {
		return
	}
	if err := f.Truncate(0); err != nil {
		t.Fatal(err)
	}
	if _, err := read(s); !errors.Is(err, store.ErrDamaged) {
		t.Errorf("Scan of a file that was cut off: %v", err)
	}
	err = s.Update(t.Context(), func(tx store.Tx) error { return tx.Put([]byte("a"), nil) })
	if !errors.Is(err, store.ErrDamaged) {
		t.Errorf("Update of a file that was cut off: %v", err)
	}
}

func TestD08_KeysAreDataAndNothingElse(t *testing.T) {
	t.Parallel()
	s := open(t, filepath.Join(t.TempDir(), "db"))
	type thing struct{ ID string }
	table := store.Table[thing]{Name: "things", Key: func(v thing) string { return v.ID }}
	odd := []string{"../../etc/passwd", "a/b", "a\x00b", "a\x00\x01b", "a", "A", "\x00", "' or 1=1 --", "things", "\xff\xfe"}
	for _, id := range odd {
		if err := s.Update(t.Context(), func(tx store.Tx) error { return table.Put(tx, thing{id}) }); err != nil {
			t.Errorf("%q: %v", id, err)
		}
	}
	got := 0
	err := s.View(t.Context(), func(tx store.Tx) error {
		for _, err := range table.All(tx, "", 0) {
			if err != nil {
				return err
			}
			got++
		}
		for _, id := range odd {
			if _, ok, err := table.Get(tx, id); err != nil || !ok {
				t.Errorf("Get(%q) = %v, %v", id, ok, err)
			}
		}
		if _, ok, err := table.Get(tx, strings.Repeat("k", 40_000)); ok || err != nil {
			t.Errorf("Get of 40 kB = %v, %v", ok, err)
		}
		return nil
	})
	if err != nil || got != len(odd) {
		t.Errorf("%d rows of %d, %v", got, len(odd), err)
	}
	err = s.Update(t.Context(), func(tx store.Tx) error { return table.Put(tx, thing{strings.Repeat("k", 40_000)}) })
	if !errors.Is(err, store.ErrLimit) {
		t.Errorf("Put of 40 kB: %v", err)
	}
}

func TestD09_ASlowBackupKeepsNobodyWaiting(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, filepath.Join(dir, "db"))
	rows := map[string]string{}
	for i := range 300 {
		rows[fmt.Sprint(i)] = strings.Repeat("v", 1000)
	}
	write(t, s, rows)
	var copied bytes.Buffer
	size := func() int64 {
		info, err := os.Stat(filepath.Join(dir, "db"))
		if err != nil {
			t.Fatal(err)
		}
		return info.Size()
	}
	before, writes := size(), 0
	err := s.Backup(t.Context(), writerFunc(func(p []byte) (int, error) {
		for range 20 { // more than the file has, if no page could be used again
			write(t, s, map[string]string{"big": strings.Repeat("w", store.MaxValue/8)})
			writes++
		}
		return copied.Write(p)
	}))
	if err != nil || writes == 0 {
		t.Fatal(err, writes)
	}
	if grown := size() - before; grown > 1<<20 {
		t.Errorf("the file grew by %d bytes while a client read the backup", grown)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*backup*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	path := filepath.Join(t.TempDir(), "restored")
	if err := os.WriteFile(path, copied.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := read(open(t, path)); err != nil || !maps.Equal(got, rows) {
		t.Errorf("the restored copy has %d rows, %v", len(got), err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Backup(ctx, &copied); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled Backup: %v", err)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// When fsync failed nobody knows what the disk has, and the next fsync may succeed
// without it. So nothing more is acknowledged, and what was read is still there.
func TestR03_AfterAFailedSyncNothingIsAcknowledged(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "db")
	s := open(t, path)
	rows := map[string]string{"a": "1"}
	write(t, s, rows)
	put := func() error {
		return s.Update(t.Context(), func(tx store.Tx) error { return tx.Put([]byte("a"), []byte("1")) })
	}
	full := s.Failed(&os.PathError{Op: "write", Path: path, Err: syscall.ENOSPC})
	if err := put(); err != nil || !strings.Contains(full.Error(), "disk is full") {
		t.Errorf("after a full disk (%v): %v; want that it goes on", full, err)
	}
	for _, cause := range []error{syscall.EIO, syscall.ENOSPC, &os.PathError{Op: "write", Path: path, Err: syscall.EIO}} {
		if s.Failed(cause); !errors.Is(put(), cause) {
			t.Errorf("after %v: Update = %v", cause, put())
		}
		if got, err := read(s); err != nil || !maps.Equal(got, rows) {
			t.Errorf("after %v: %v, %v", cause, got, err)
		}
		s.Close()
		s = open(t, path)
		if err := put(); err != nil {
			t.Errorf("opened again after %v: %v", cause, err)
		}
	}
}

func TestR09R37_AnotherFormatIsRefusedAndLeftAlone(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "db")
	open(t, path).Close()
	change := func(fn func(*bolt.Tx) error) {
		t.Helper()
		db, err := bolt.Open(path, 0o600, &bolt.Options{NoFreelistSync: true})
		if err == nil {
			err = errors.Join(db.Update(fn), db.Close())
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	change(func(tx *bolt.Tx) error { return tx.Bucket([]byte("meta")).Put([]byte("format"), []byte("2")) })
	before, _ := os.ReadFile(path)
	if s, err := boltstore.Open(path, boltstore.Options{}); err == nil {
		s.Close()
		t.Error("a store of format 2 is opened")
	} else if !strings.Contains(err.Error(), `has format "2"`) {
		t.Error(err)
	}
	if after, _ := os.ReadFile(path); !bytes.Equal(before, after) {
		t.Error("it was changed")
	}
	change(func(tx *bolt.Tx) error { return tx.DeleteBucket([]byte("meta")) })
	if s, err := boltstore.Open(path, boltstore.Options{}); err == nil {
		s.Close()
		t.Error("somebody else's bbolt file is opened")
	} else if !strings.Contains(err.Error(), "is not a store of gatehouse") {
		t.Error(err)
	}
}

const ledgerWorkers = 8

// ledger writes pages and the number of the last one, each worker its own, and
// says which are acknowledged, until it is killed.
func ledger(path string) {
	s, err := boltstore.Open(path, boltstore.Options{})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("open")
	var wg sync.WaitGroup
	for w := range ledgerWorkers {
		wg.Go(func() {
			for {
				n := 0
				err := s.Update(context.Background(), func(tx store.Tx) error {
					v, _, err := tx.Get(fmt.Appendf(nil, "last/%d", w))
					if err != nil {
						return err
					}
					n = 0
					fmt.Sscan(string(v), &n)
					n++
					return errors.Join(
						tx.Put(fmt.Appendf(nil, "left/%d/%06d", w, n), bytes.Repeat([]byte{'l'}, 700)),
						tx.Put(fmt.Appendf(nil, "last/%d", w), fmt.Append(nil, n)),
						tx.Put(fmt.Appendf(nil, "right/%d/%06d", w, n), bytes.Repeat([]byte{'r'}, 100)),
						tx.Delete(fmt.Appendf(nil, "left/%d/%06d", w, n-20)),
						tx.Delete(fmt.Appendf(nil, "right/%d/%06d", w, n-20)))
				})
				if err != nil {
					fmt.Println(err)
					os.Exit(1)
				}
				fmt.Printf("%d %d\n", w, n) // one write: a line is whole
			}
		})
	}
	wg.Wait()
}

// stubborn writes one number after the other, and says which it was told are kept, and
// what it reads. It goes on, for some time, when it is told that one is not.
func stubborn(path string) {
	s, err := boltstore.Open(path, boltstore.Options{})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	row := []byte("n")
	for n, refused := 1, 0; n < 10_000 && refused < 5; n++ {
		err := s.Update(context.Background(), func(tx store.Tx) error { return tx.Put(row, fmt.Append(nil, n)) })
		if err == nil {
			fmt.Println("kept", n)
			continue
		}
		refused++
		fmt.Println("refused", errors.Is(err, syscall.EIO))
	}
	if err := s.View(context.Background(), func(tx store.Tx) error {
		v, _, err := tx.Get(row)
		fmt.Printf("read %s\n", v)
		return err
	}); err != nil {
		fmt.Println(err)
	}
	os.Exit(0)
}

// A life is one process of ledger, from its start to its death. began is called when
// its store is open. What is on the disk afterwards is compared with what was said.
func life(t *testing.T, path, what string, cmd *exec.Cmd, began func()) (acked int) {
	t.Helper()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var said [ledgerWorkers]int
	lines := bufio.NewReader(out)
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			break // a line that is cut off was not acknowledged to anybody
		}
		w, i := 0, 0
		if line == "open\n" {
			began()
		} else if _, err := fmt.Sscanf(line, "%d %d\n", &w, &i); err != nil {
			t.Errorf("the child says %q", line)
			cmd.Process.Kill()
		} else {
			said[w] = i
			acked++
		}
	}
	cmd.Wait()
	s, err := boltstore.Open(path, boltstore.Options{Check: true})
	if err != nil {
		t.Fatalf("after %s: %v", what, err)
	}
	defer s.Close()
	rows, err := read(s)
	if err != nil {
		t.Fatalf("after %s: %v", what, err)
	}
	whole(t, what, rows, said)
	return acked
}

// whole compares the rows of a ledger with what was acknowledged: each worker's are
// those of one moment, not before what it said last.
func whole(t *testing.T, what string, rows map[string]string, said [ledgerWorkers]int) {
	t.Helper()
	want := map[string]string{}
	for w, least := range said {
		last := rows[fmt.Sprintf("last/%d", w)]
		n := 0
		fmt.Sscan(last, &n)
		if n < least {
			t.Errorf("after %s worker %d is at %d, and %d was acknowledged", what, w, n, least)
		}
		if n == 0 {
			continue
		}
		want[fmt.Sprintf("last/%d", w)] = last
		for i := max(1, n-19); i <= n; i++ {
			want[fmt.Sprintf("left/%d/%06d", w, i)] = strings.Repeat("l", 700)
			want[fmt.Sprintf("right/%d/%06d", w, i)] = strings.Repeat("r", 100)
		}
	}
	if !maps.Equal(rows, want) {
		t.Errorf("after %s there are %d rows, %d are whole", what, len(rows), len(want))
	}
}

func TestR01_NothingAcknowledgedIsLostByAKill(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "db")
	acked := 0
	for kill := range many(6, 60) {
		cmd, after := child(t, "ledger", path), time.Duration(rand.IntN(60))*time.Millisecond
		acked += life(t, path, fmt.Sprintf("kill %d", kill), cmd, func() { time.AfterFunc(after, func() { cmd.Process.Kill() }) })
	}
	if acked == 0 {
		t.Error("nothing was acknowledged")
	}
	t.Logf("%d transactions were acknowledged", acked)
}
