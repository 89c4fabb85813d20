package folder_test

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/gatehouse-sso/gatehouse/provisioning/folder"
	"github.com/gatehouse-sso/gatehouse/provisioning/folder/foldertest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// both runs a test on a folder of this machine and on one over SFTP; dir is where
// its files are.
func both(t *testing.T, fn func(t *testing.T, p folder.Place, dir string)) {
	t.Run("local", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		fn(t, folder.Local(dir), dir)
	})
	t.Run("sftp", func(t *testing.T) {
		t.Parallel()
		s := foldertest.Serve(t)
		fn(t, s.Place(), s.Dir)
	})
}

func open(t *testing.T, p folder.Place) folder.Folder {
	t.Helper()
	f, err := p.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

func text(s string) func(io.Writer) error {
	return func(w io.Writer) error { _, err := io.WriteString(w, s); return err }
}

func read(t *testing.T, f folder.Folder, name string) string {
	t.Helper()
	r, err := f.Read(name)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func names(t *testing.T, f folder.Folder) string {
	t.Helper()
	list, err := f.List("")
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range list {
		all = append(all, e.Name)
	}
	return strings.Join(all, " ")
}

func TestAFileIsWhatWasWritten(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, p folder.Place, dir string) {
		f := open(t, p)
		long := strings.Repeat("né\n", 100_000)
		for name, s := range map[string]string{"a.csv": long, "b c.csv": "", "error/ä.csv": "x"} {
			for range 2 { // the second replaces the first
				if err := f.Write(name, text(s)); err != nil {
					t.Fatal(err)
				}
			}
			if got := read(t, f, name); got != s {
				t.Errorf("%s holds %d bytes, %d were written", name, len(got), len(s))
			}
			if onDisk, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(onDisk) != s {
				t.Errorf("%s on the disk: %v", name, err)
			}
		}
		list, err := f.List("")
		if err != nil || len(list) != 2 {
			t.Fatalf("it lists %v, %v", list, err)
		}
		for _, e := range list {
			if e.Name == "a.csv" && (e.Size != int64(len(long)) || time.Since(e.Modified) > time.Hour) {
				t.Errorf("listed as %+v", e)
			}
		}
	})
}

func TestAFileThatBreaksOffIsNotThere(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, p folder.Place, dir string) {
		f := open(t, p)
		if err := f.Write("a.csv", text("old")); err != nil {
			t.Fatal(err)
		}
		boom := errors.New("boom")
		err := f.Write("a.csv", func(w io.Writer) error {
			if err := text("new")(w); err != nil {
				return err
			}
			if got := read(t, f, "a.csv"); got != "old" {
				t.Errorf("while it is written others see %q", got)
			}
			return boom
		})
		if !errors.Is(err, boom) {
			t.Errorf("it says %v", err)
		}
		if got := names(t, f); got != "a.csv" || read(t, f, "a.csv") != "old" {
			t.Errorf("left: %s", got)
		}
	})
}

func TestOneOfTwoMovesAFile(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, p folder.Place, dir string) {
		a, b := open(t, p), open(t, p)
		if err := a.Write("x.csv", text("1")); err != nil {
			t.Fatal(err)
		}
		if err := a.Move("x.csv", "processing/x.csv"); err != nil {
			t.Fatal(err)
		}
		if err := b.Move("x.csv", "processing/x.csv"); !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrExist) {
			t.Errorf("the second: %v", err)
		}
		for dir, want := range map[string]int{"": 0, "processing": 1, "none": 0} {
			if list, err := a.List(dir); err != nil || len(list) != want {
				t.Errorf("%q holds %v, %v, want %d", dir, list, err, want)
			}
		}
		if err := a.Write("x.csv", text("2")); err != nil {
			t.Fatal(err)
		}
		if err := b.Move("x.csv", "processing/x.csv"); !errors.Is(err, fs.ErrExist) {
			t.Errorf("onto one that is there: %v", err)
		}
		if got := read(t, a, "processing/x.csv"); got != "1" {
			t.Errorf("it was replaced by %q", got)
		}
		for range 2 {
			if err := a.Remove("processing/x.csv"); err != nil {
				t.Error(err)
			}
		}
	})
}

func TestNoNameLeadsOut(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, p folder.Place, dir string) {
		f := open(t, p)
		outside := filepath.Join(t.TempDir(), "secret")
		if err := os.WriteFile(outside, []byte("secret"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := f.Write("good.csv", text("x")); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"", ".", "..", "../secret", "/etc/passwd", "a/../../b", "a/b/c", ".hidden", "a//b", "a\x00b", `..\x`, "a\nb", strings.Repeat("x", 300), outside} {
			if _, err := f.Read(name); !errors.Is(err, folder.ErrName) {
				t.Errorf("read %q: %v", name, err)
			}
			for _, err := range []error{f.Write(name, text("x")), f.Move(name, "x"), f.Move("good.csv", name), f.Remove(name)} {
				if !errors.Is(err, folder.ErrName) {
					t.Errorf("%q: %v", name, err)
				}
			}
		}
		for _, dir := range []string{"..", "a/b", "/etc"} {
			if _, err := f.List(dir); !errors.Is(err, folder.ErrName) {
				t.Errorf("list %q: %v", dir, err)
			}
		}
		if err := os.Symlink(outside, filepath.Join(dir, "link.csv")); err != nil {
			t.Fatal(err)
		}
		if got := names(t, f); got != "good.csv" {
			t.Errorf("it lists %s", got)
		}
	})
}

// B06: a machine that hangs holds nobody up beyond their time.
func TestAnEndedContextEndsWhatIsUnderWay(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, p folder.Place, dir string) {
		ctx, cancel := context.WithCancel(t.Context())
		f, err := p.Open(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Write("a.csv", text("x")); err != nil {
			t.Fatal(err)
		}
		err = f.Write("b.csv", func(w io.Writer) error {
			defer cancel()
			return text("x")(w)
		})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("it writes beyond its end: %v", err)
		}
		if _, err := os.Stat(filepath.Join(dir, "b.csv")); err == nil {
			t.Error("what its end cut off is there")
		}
		if _, err := f.List(""); !errors.Is(err, context.Canceled) {
			t.Errorf("list: %v", err)
		}
		for what, err := range map[string]error{"write": f.Write("b.csv", text("x")), "move": f.Move("a.csv", "c.csv"), "remove": f.Remove("a.csv")} {
			if !errors.Is(err, context.Canceled) {
				t.Errorf("%s after its end: %v", what, err)
			}
		}
		if err := f.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	t.Run("silent", func(t *testing.T) {
		t.Parallel()
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		p := foldertest.Serve(t).Place()
		p.Address, p.Timeout = l.Addr().String(), 50*time.Millisecond
		if _, err := p.Open(t.Context()); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a machine that says nothing: %v", err)
		}
	})
}

func TestACutConnectionIsAnError(t *testing.T) {
	t.Parallel()
	s := foldertest.Serve(t)
	f, err := s.Place().Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	err = f.Write("a.csv", func(w io.Writer) error {
		s.Hang()
		return text(strings.Repeat("x", 1<<20))(w)
	})
	if err == nil {
		t.Error("a file went through a connection that was cut")
	}
	_ = f.Close()
	if _, err := os.Stat(filepath.Join(s.Dir, "a.csv")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it is there: %v", err)
	}
}

// B11: the machine is the one it should be, or nothing is said to it.
func TestB11_SFTPHostKeyIsPinned(t *testing.T) {
	t.Parallel()
	s := foldertest.Serve(t)
	good := s.Place()
	open(t, good)
	withPassword := good
	withPassword.Key, withPassword.Password = nil, s.Password
	open(t, withPassword)

	other := good
	other.KnownHosts = s.KnownHosts(s.Other())
	nobody := good
	nobody.KnownHosts = filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(nobody.KnownHosts, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	wrong := withPassword
	wrong.Password = "guess"
	stranger := good
	stranger.User = "root"
	for name, c := range map[string]struct {
		p    folder.SFTP
		want string
	}{
		"another key": {other, "another key"}, "no key": {nobody, "no key is known"}, "wrong password": {wrong, "does not let drop in"}, "another user": {stranger, "does not let root in"},
	} {
		_, err := c.p.Open(t.Context())
		if !errors.Is(err, folder.ErrRefused) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	missing := good
	missing.KnownHosts = filepath.Join(t.TempDir(), "none")
	if _, err := missing.Open(t.Context()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without known_hosts: %v", err)
	}
}
