//go:build linux

package boltstore_test

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/gatehouse-sso/gatehouse/provisioning/store"
	"github.com/gatehouse-sso/gatehouse/provisioning/store/boltstore"
)

// openWide lets this process make files that everybody may write.
func openWide(string) { syscall.Umask(0) }

// TestR04 fills a small file system with another file.
func TestR04_AFullDiskLosesNothingAndIsGotOver(t *testing.T) {
	t.Parallel()
	dir := smallDisk(t)
	s := open(t, filepath.Join(dir, "db"))
	defer s.Close()
	rows := map[string]string{}
	put := func(i int) error {
		key, val := fmt.Sprintf("%05d", i), strings.Repeat("v", 5000)
		err := s.Update(t.Context(), func(tx store.Tx) error { return tx.Put([]byte(key), []byte(val)) })
		if err == nil {
			rows[key] = val
		}
		return err
	}
	for i := range 100 {
		if err := put(i); err != nil {
			t.Fatal(err)
		}
	}
	other := filepath.Join(dir, "other")
	f, err := os.Create(other)
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	f.Close()
	full := 0
	for i := 100; i < 1000 && full < 5; i++ {
		if err := put(i); err != nil {
			full++
			if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "the disk is full") {
				t.Errorf("on a full disk: %v", err)
			}
		}
	}
	if full == 0 {
		t.Fatal("the disk was never full")
	}
	if got, err := read(s); err != nil || !maps.Equal(got, rows) {
		t.Errorf("on a full disk there are %d rows of %d, %v", len(got), len(rows), err)
	}
	if err := os.Remove(other); err != nil {
		t.Fatal(err)
	}
	for i := 2000; i < 2010; i++ {
		if err := put(i); err != nil {
			t.Errorf("when there is space again: %v", err)
		}
	}
	s.Close()
	if got, err := read(open(t, filepath.Join(dir, "db"))); err != nil || !maps.Equal(got, rows) {
		t.Errorf("after opening again there are %d rows of %d, %v", len(got), len(rows), err)
	}
}

// smallDisk is a file system of 4 MiB.
func smallDisk(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	needs(t, "the right to mount", syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=4m,mode=0700"))
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	return dir
}

// needs skips a test that this machine can not show, unless all is to be shown.
func needs(t *testing.T, what string, err error) {
	t.Helper()
	switch {
	case err == nil:
	case os.Getenv("GATEHOUSE_FAULTS") != "":
		t.Fatalf("%s is needed: %v", what, err)
	default:
		t.Skipf("%s is needed, which is not here; `make faults` insists on it: %v", what, err)
	}
}

// traced is a child under strace, which looks at what it asks of the disk, and
// interferes.
func traced(t *testing.T, verb, path string, args ...string) *exec.Cmd {
	t.Helper()
	tool, err := exec.LookPath("strace")
	if err == nil {
		err = exec.Command(tool, "-o", os.DevNull, "true").Run() // it may not be allowed to trace
	}
	needs(t, "strace", err)
	cmd := child(t, verb, path)
	cmd.Path, cmd.Args = tool, append(append([]string{tool, "-f", "-qq"}, args...), cmd.Args[0])
	return cmd
}

// At each of the calls that put a commit onto the disk, the process dies.
func TestR02_KilledAtEachStepOfACommitNothingAcknowledgedIsLost(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "db")
	open(t, path).Close()
	acked := 0
	for step := 1; step <= many(12, 200); step++ {
		cmd := traced(t, "ledger", path, "-o", os.DevNull, "-e", "trace=pwrite64,fdatasync", "-e", "inject=pwrite64,fdatasync:signal=SIGKILL:when="+strconv.Itoa(step))
		acked += life(t, path, fmt.Sprintf("a kill at call %d", step), cmd, func() {})
	}
	if acked == 0 {
		t.Error("nothing was acknowledged")
	}
	t.Logf("%d transactions were acknowledged", acked)
}

// One write, or one wish to keep what was written, fails, and the disk is well again.
// From then on nothing is said to be kept, what was is read, and the next process has it.
func TestR03_ADiskThatFailedOnceIsNotBelievedAgain(t *testing.T) {
	t.Parallel()
	said := regexp.MustCompile(`^((?:kept \d+\n)*)(?:refused true\n){5}read (\d*)\n$`)
	for _, call := range []string{"fdatasync", "pwrite64"} {
		failed := 0
		for step := 1; step <= many(4, 60); step++ {
			path := filepath.Join(t.TempDir(), "db")
			open(t, path).Close()
			out, err := traced(t, "stubborn", path, "-o", os.DevNull, "-e", "trace="+call, "-e", "inject="+call+":error=EIO:when="+strconv.Itoa(step)).Output()
			m := said.FindStringSubmatch(string(out))
			if m == nil {
				if strings.Contains(string(out), "kept") || err == nil || !strings.Contains(string(out), syscall.EIO.Error()) { // it was opened, or not for this
					t.Errorf("%s %d fails (%v):\n%s", call, step, err, out)
				}
				continue
			}
			failed++
			rows, err := read(open(t, path))
			// Of the first that was refused nobody knows: a reader may see it.
			for who, v := range map[string]string{"that process": m[2], "the next": rows["n"]} {
				n, _ := strconv.Atoi(v) // "": nothing was kept
				if kept := strings.Count(m[1], "\n"); err != nil || n != kept && n != kept+1 {
					t.Errorf("%s %d failed, %d were kept, and %s reads %q, %v", call, step, kept, who, v, err)
				}
			}
		}
		if failed < many(4, 60)/2 {
			t.Errorf("%s failed %d times under an open store", call, failed)
		}
		t.Logf("%s failed %d times", call, failed)
	}
}

// A disk asked for a write: data at an offset, or, without data, that all before is
// kept.
type asked struct {
	at   int64
	data []byte
	said string // by the program, at this moment
}

// disk reads what strace saw.
func disk(t *testing.T, path string) (list []asked) {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(raw)) {
		_, call, _ := strings.Cut(strings.TrimSpace(line), " ")
		call = strings.TrimSpace(call)
		switch {
		case strings.HasPrefix(call, "fdatasync("), strings.HasPrefix(call, "fsync("):
			list = append(list, asked{})
		case strings.HasPrefix(call, "pwrite64("), strings.HasPrefix(call, "write(1"):
			_, rest, _ := strings.Cut(call, `"`)
			text, rest, ok := strings.Cut(rest, `"`)
			if !ok || strings.HasPrefix(rest, "...") {
				t.Fatalf("strace cut off %q", call[:80])
			}
			data := make([]byte, 0, len(text)/4)
			for h := range strings.SplitSeq(strings.TrimPrefix(text, `\x`), `\x`) {
				b, err := strconv.ParseUint(h, 16, 8)
				if err != nil {
					t.Fatalf("strace says %q", h)
				}
				data = append(data, byte(b))
			}
			if strings.HasPrefix(call, "write(") {
				list = append(list, asked{said: string(data)})
				continue
			}
			numbers := strings.Split(strings.TrimPrefix(rest, ", "), ", ")
			at, err := strconv.ParseInt(strings.TrimRight(strings.Fields(numbers[1])[0], ") "), 10, 64)
			if err != nil {
				t.Fatalf("strace says %q", rest)
			}
			list = append(list, asked{at: at, data: data})
		}
	}
	return list
}

// Power that goes at any moment leaves of what was not synced any part, in any
// order, in sectors of 512 bytes. What such a disk has is opened, with everything
// acknowledged, or it is refused.
func TestR07_PowerThatGoesAtAnyMomentLosesNothingAcknowledged(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path, log := filepath.Join(dir, "db"), filepath.Join(dir, "calls")
	s := open(t, path)
	// Room, so that the file does not grow while it is watched: what a length is
	// after a power cut is the file system's to promise.
	for i := range 60 {
		write(t, s, map[string]string{fmt.Sprintf("room/%d", i): strings.Repeat("r", 60000)})
	}
	for i := range 60 {
		if err := s.Update(t.Context(), func(tx store.Tx) error { return tx.Delete(fmt.Appendf(nil, "room/%d", i)) }); err != nil {
			t.Fatal(err)
		}
	}
	s.Close()
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	cmd := traced(t, "ledger", path, "-o", log, "-s", "1000000", "-xx", "-e", "trace=pwrite64,fdatasync,fsync,write,ftruncate", "-e", "inject=fdatasync:signal=SIGKILL:when="+strconv.Itoa(many(12, 240)))
	if acked := life(t, path, "a kill", cmd, func() {}); acked == 0 {
		t.Fatal("nothing was acknowledged")
	}
	calls := disk(t, log)

	kept := bytes.Clone(before)                               // what is certainly on the disk
	var loose []asked                                         // what may be
	var said [ledgerWorkers]int                               // what was acknowledged
	put := func(image []byte, at int64, data []byte) []byte { // data at at
		if need := int(at) + len(data); need > len(image) {
			image = append(image, make([]byte, need-len(image))...)
		}
		copy(image[at:], data)
		return image
	}
	images, opened, refused := 0, 0, 0
	rng := rand.New(rand.NewPCG(7, 7))
	look := func(image []byte) {
		images++
		file := filepath.Join(dir, "image")
		if err := errors.Join(os.WriteFile(file, image, 0o600), copyFile(path+".id", file+".id")); err != nil {
			t.Fatal(err)
		}
		s, err := boltstore.Open(file, boltstore.Options{Check: true})
		if err != nil {
			refused++
			if !errors.Is(err, store.ErrDamaged) {
				t.Errorf("image %d: %v", images, err)
			}
			return
		}
		defer s.Close()
		opened++
		rows, err := read(s)
		if err != nil {
			t.Errorf("image %d: %v", images, err)
			return
		}
		whole(t, fmt.Sprintf("a power cut, image %d,", images), rows, said)
	}
	for _, c := range calls {
		switch {
		case c.said != "":
			for line := range strings.Lines(c.said) {
				w, i := 0, 0
				if _, err := fmt.Sscanf(line, "%d %d\n", &w, &i); err == nil {
					said[w] = i
				}
			}
		case c.data != nil:
			loose = append(loose, c)
		default:
			// The power goes while the disk is asked to keep all of it.
			for range many(3, 4) {
				image := bytes.Clone(kept)
				for _, i := range rng.Perm(len(loose)) {
					at, data := loose[i].at, loose[i].data
					for from := 0; from < len(data); from += 512 {
						if rng.IntN(4) > 0 {
							image = put(image, at+int64(from), data[from:min(from+512, len(data))])
						}
					}
				}
				look(image)
			}
			for _, l := range loose {
				kept = put(kept, l.at, l.data)
			}
			loose = nil
		}
	}
	t.Logf("%d images: %d opened, %d refused", images, opened, refused)
	if opened < images*9/10 || images < many(20, 2000) {
		t.Errorf("of %d images %d were opened and %d refused", images, opened, refused)
	}
}

func copyFile(from, to string) error {
	raw, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, raw, 0o600)
}

// A file system that can not be written, or is not there, is said to be that, and
// nothing is lost by having tried.
func TestR05_AFileSystemThatCanNotBeWrittenIsRefusedInWords(t *testing.T) {
	t.Parallel()
	for _, cause := range []error{syscall.EROFS, syscall.EACCES, &os.PathError{Op: "write", Path: "db", Err: syscall.EROFS}} {
		// It became so under an open store: reads go on.
		s := open(t, filepath.Join(t.TempDir(), "db"))
		rows := map[string]string{"a": "1"}
		write(t, s, rows)
		_ = s.Failed(cause)
		if err := s.Update(t.Context(), func(tx store.Tx) error { return tx.Put([]byte("b"), nil) }); !errors.Is(err, cause) {
			t.Errorf("after %v: %v", cause, err)
		}
		if got, err := read(s); err != nil || !maps.Equal(got, rows) {
			t.Errorf("after %v: %v, %v", cause, got, err)
		}
	}
	// Where the folder should be is a file.
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if s, err := boltstore.Open(filepath.Join(dir, "file", "db"), boltstore.Options{}); err == nil {
		s.Close()
		t.Error("a store in a file was opened")
	} else if !errors.Is(err, syscall.ENOTDIR) {
		t.Error(err)
	}
	// It is mounted for reading.
	at := smallDisk(t)
	path := filepath.Join(at, "db")
	s := open(t, path)
	rows := map[string]string{"a": "1"}
	write(t, s, rows)
	s.Close()
	if err := syscall.Mount("tmpfs", at, "tmpfs", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	if s, err := boltstore.Open(path, boltstore.Options{}); err == nil {
		s.Close()
		t.Error("a store that can not be written was opened")
	} else if !errors.Is(err, syscall.EROFS) || errors.Is(err, store.ErrDamaged) {
		t.Error(err)
	}
	if err := syscall.Mount("tmpfs", at, "tmpfs", syscall.MS_REMOUNT, "mode=0700"); err != nil {
		t.Fatal(err)
	}
	s = open(t, path)
	defer s.Close()
	if got, err := read(s); err != nil || !maps.Equal(got, rows) {
		t.Errorf("when it can be written again: %v, %v", got, err)
	}
}
