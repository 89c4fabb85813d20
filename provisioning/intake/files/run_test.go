package files_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatehouse-sso/gatehouse/provisioning/folder"
	"github.com/gatehouse-sso/gatehouse/provisioning/folder/foldertest"
	"github.com/gatehouse-sso/gatehouse/provisioning/intake/files"
	"github.com/gatehouse-sso/gatehouse/provisioning/store"
	"github.com/gatehouse-sso/gatehouse/provisioning/store/storetest"
	"github.com/gatehouse-sso/gatehouse/provisioning/task"
)

// list is a full file about n people.
func list(n int) string {
	var b strings.Builder
	b.WriteString("user_name,external_id,mail\n")
	for i := range n {
		fmt.Fprintf(&b, "p%04d,%d,p%04d@x.test\n", i, i, i)
	}
	return b.String()
}

// whole fails unless an import did each of n rows once, and everybody is there once.
func whole(t *testing.T, w *world, imp files.Import, n int) {
	t.Helper()
	if imp.State != files.Imported || imp.Did != (files.Counts{Rows: int64(n), Created: int64(n)}) {
		t.Errorf("%s: did %+v", imp.State, imp.Did)
	}
	rows := w.results(imp)
	for i := range n {
		if want := fmt.Sprintf("%d p%04d created", i+1, i); len(rows) != n || rows[i] != want {
			t.Fatalf("%d rows in the result, row %d says %q, want %q", len(rows), i+1, rows[min(i, len(rows)-1)], want)
		}
	}
	if got := len(w.people()); got != n {
		t.Errorf("%d people, want %d", got, n)
	}
}

// R29: an import that is cut short at any transaction goes on, each row is done
// once, and the result says what truly became of it. The store forgets its
// answers meanwhile.
func TestR29_ABrokenImportDoesEachRowOnce(t *testing.T) {
	t.Parallel()
	const people = 350
	for _, kind := range []string{"cut", "flaky", "twice"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			s := &cutting{Store: open(t)}
			s.left.Store(1 << 40)
			var under store.Store = s
			var n atomic.Int64
			switch kind {
			case "flaky":
				under = storetest.Flaky(s, func() bool { return n.Add(1)%3 == 0 })
			case "twice":
				under = storetest.Twice(s)
			}
			w := newWorld(t, under)
			imp, err := w.files.Receive(t.Context(), files.Upload{Source: "hr", File: "staff.csv", Content: files.Full}, strings.NewReader(list(people)))
			if err != nil {
				t.Fatal(err)
			}
			runs := 0
			for !imp.State.Final() {
				if runs++; runs > 500 {
					t.Fatalf("it does not end: %+v", imp)
				}
				if s.left.Store(1 << 40); kind == "cut" {
					s.left.Store(int64(3 + runs%7))
				}
				err := w.files.Handle(t.Context(), imp.Key())
				s.left.Store(1 << 40)
				if err != nil && !errors.Is(err, errCut) && !errors.Is(err, storetest.ErrUncertain) {
					t.Fatal(err)
				}
				w.assemble()
				if imp, err = w.files.Import(t.Context(), imp.ID); err != nil {
					t.Fatal(err)
				}
			}
			if kind == "cut" && runs < 10 {
				t.Errorf("it was cut only %d times: the test shows little", runs)
			}
			whole(t, w, imp, people)
		})
	}
}

var errCut = errors.New("the process is gone")

// cutting lets so many transactions through.
type cutting struct {
	store.Store
	left atomic.Int64
}

func (c *cutting) Update(ctx context.Context, fn func(store.Tx) error) error {
	if c.left.Add(-1) < 0 {
		return c.Store.Update(ctx, func(store.Tx) error { return errCut })
	}
	return c.Store.Update(ctx, fn)
}

func TestAPausedImportGoesOnByTheSameFile(t *testing.T) {
	t.Parallel()
	const people = 600
	s := open(t)
	w := newWorld(t, s)
	u := files.Upload{Source: "hr", File: "staff.csv", Content: files.Full}
	imp, err := w.files.Receive(t.Context(), u, strings.NewReader(list(people)))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.runner.Run(ctx) }()
	at := func() task.Task {
		var got task.Task
		if err := s.View(t.Context(), func(tx store.Tx) (err error) { got, _, err = task.Look(tx, files.Kind, imp.Key()); return err }); err != nil {
			t.Fatal(err)
		}
		return got
	}
	for p := at().Progress; p == nil || p.Note != "applying" || p.Done == 0; p = at().Progress {
		time.Sleep(time.Millisecond)
	}
	if err := task.Pause(t.Context(), s, files.Kind, imp.Key()); err != nil {
		t.Fatal(err)
	}
	for at().State == task.Running {
		time.Sleep(time.Millisecond)
	}
	if got := at(); got.State != task.Paused || got.Progress.Done == people {
		t.Fatalf("it stands at %s %+v", got.State, got.Progress)
	}
	same, err := w.files.Receive(t.Context(), u, strings.NewReader(list(people)))
	if err != nil || same.ID != imp.ID {
		t.Fatalf("the same file is another import: %+v, %v", same, err)
	}
	for at().State != task.Done {
		time.Sleep(time.Millisecond)
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if imp, err = w.files.Import(t.Context(), imp.ID); err != nil {
		t.Fatal(err)
	}
	whole(t, w, imp, people)
}

func TestACancelledImportSaysWhatWasDone(t *testing.T) {
	t.Parallel()
	s := &cutting{Store: open(t)}
	s.left.Store(1 << 40)
	w := newWorld(t, s)
	imp, err := w.files.Receive(t.Context(), files.Upload{Source: "hr", File: "staff.csv"}, strings.NewReader(list(500)))
	if err != nil {
		t.Fatal(err)
	}
	s.left.Store(12)
	_ = w.files.Handle(t.Context(), imp.Key()) // cut in the middle
	s.left.Store(1 << 40)
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(task.ErrCancelled)
	if err := w.files.Handle(ctx, imp.Key()); err != nil && !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if imp, err = w.files.Import(t.Context(), imp.ID); err != nil {
		t.Fatal(err)
	}
	rows, people := w.results(imp), w.people()
	if imp.State != files.Stopped || len(people) == 0 || len(people) == 500 || len(rows) != len(people) || imp.Did.Created != int64(len(people)) {
		t.Errorf("%s: did %+v, %d rows in the result, %d people", imp.State, imp.Did, len(rows), len(people))
	}
}

// poll looks into the folder once, and does what came of it.
func (w *world) poll() {
	w.t.Helper()
	var later *task.Retry
	if err := w.files.HandlePoll(w.t.Context(), "hr/folder"); !errors.As(err, &later) {
		w.t.Fatalf("the look ends with %v", err)
	}
	imports, err := w.files.Imports(w.t.Context(), "", 0)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, imp := range imports {
		w.finish(imp)
	}
}

func TestFilesOfAFolderAreTakenOnceAndPutAway(t *testing.T) {
	t.Parallel()
	places := map[string]func(t *testing.T) (folder.Place, string){
		"local": func(t *testing.T) (folder.Place, string) { dir := t.TempDir(); return folder.Local(dir), dir },
		"sftp":  func(t *testing.T) (folder.Place, string) { s := foldertest.Serve(t); return s.Place(), s.Dir },
	}
	for name, place := range places {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, dir := place(t)
			st := open(t)
			w := newWorld(t, st, func(s *files.Source) { s.Place = p })
			put := func(name, text string) {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			lies := func(what string, want ...string) {
				t.Helper()
				var got []string
				err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
					if err == nil && !e.IsDir() {
						rel, _ := filepath.Rel(dir, path)
						got = append(got, rel)
					}
					return err
				})
				if slices.Sort(want); err != nil || !slices.Equal(got, want) {
					t.Errorf("%s: there are %q, want %q", what, got, want)
				}
			}
			put("notes.txt", "no")
			put("half.csv.part", "no")
			put("a.csv", "user_name,mail\nana,1@x.test\n")
			w.poll()
			lies("after one look", "a.csv", "half.csv.part", "notes.txt")
			put("a.csv", "user_name,mail\nana,1@x.test\nben,1@x.test\n") // it grew
			w.poll()
			want(t, "while it grows", w.people(), nil)
			w.poll()
			lies("when it was still", "archive/a.csv", "half.csv.part", "notes.txt", "result_a.csv")
			want(t, "people", w.people(), []string{"ana true 1@x.test", "ben true 1@x.test"})

			// With .done at once, one after another by name; a checksum is checked.
			put("c.csv", "user_name,mail\nana,3@x.test\n")
			put("b.csv", "user_name,mail\nana,2@x.test\n")
			put("c.csv.done", "")
			put("b.csv.done", "")
			put("b.csv.sha256", "0000  b.csv\n")
			w.poll()
			lies("the first", "archive/a.csv", "c.csv", "c.csv.done", "error/b.csv", "half.csv.part", "notes.txt", "result_a.csv", "result_b.csv")
			want(t, "after a wrong checksum", w.people(), []string{"ana true 1@x.test", "ben true 1@x.test"})

			// A crash leaves a file in processing.
			if err := os.MkdirAll(filepath.Join(dir, "processing"), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(filepath.Join(dir, "c.csv"), filepath.Join(dir, "processing/c.csv")); err != nil {
				t.Fatal(err)
			}
			w.assemble(func(s *files.Source) { s.Place = p })
			w.poll()
			want(t, "after the crash", w.people(), []string{"ana true 3@x.test", "ben true 1@x.test"})

			// The same again, under another name, is nothing.
			put("d.csv", "user_name,mail\nana,3@x.test\n")
			put("d.csv.done", "")
			before := all(t, st)
			w.poll()
			if len(all(t, st)) != len(before) {
				t.Error("the same file changed something")
			}
			lies("in the end", "archive/a.csv", "archive/c.csv", "archive/d.csv", "error/b.csv", "half.csv.part", "notes.txt", "result_a.csv", "result_b.csv", "result_c.csv")
		})
	}
}

func TestAFileThatIsTooLargeIsNotKept(t *testing.T) {
	t.Parallel()
	w := newWorld(t, open(t))
	endless := io.LimitReader(zeros{}, 2<<30)
	_, err := w.files.Receive(t.Context(), files.Upload{Source: "hr"}, endless)
	var no *files.Refusal
	if !errors.As(err, &no) || no.Code != files.ReasonTooLarge {
		t.Errorf("it says %v", err)
	}
	if left, _ := os.ReadDir(w.folder); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
	if _, err := w.files.Receive(t.Context(), files.Upload{Source: "nobody"}, endless); !errors.Is(err, files.ErrNotFound) {
		t.Errorf("an unknown source: %v", err)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// A name that leaves no room for what stands beside a file holds up no other.
func TestB05_AFileWithTooLongANameHoldsUpNobody(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w := newWorld(t, open(t), func(s *files.Source) { s.Place = folder.Local(dir) })
	for _, n := range []int{100, 190, 196} {
		long := strings.Repeat("a", n) + ".csv"
		for name, text := range map[string]string{long: "user_name\nlong" + strconv.Itoa(n) + "\n", long + ".done": ""} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, text := range map[string]string{"b.csv": "user_name\nben\n", "b.csv.done": ""} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for range 4 {
		w.poll()
	}
	want(t, "people", w.people(), []string{"ben true ", "long100 true "})
	if list, err := os.ReadDir(filepath.Join(dir, "processing")); err != nil || len(list) != 0 {
		t.Errorf("in processing are %v, %v", list, err)
	}
}
