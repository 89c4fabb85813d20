package files_test

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/gatehouse-sso/gatehouse/provisioning"
	"github.com/gatehouse-sso/gatehouse/provisioning/audit"
	"github.com/gatehouse-sso/gatehouse/provisioning/guard"
	"github.com/gatehouse-sso/gatehouse/provisioning/intake/files"
	"github.com/gatehouse-sso/gatehouse/provisioning/store"
	"github.com/gatehouse-sso/gatehouse/provisioning/store/boltstore"
	"github.com/gatehouse-sso/gatehouse/provisioning/task"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A world is a directory into which files are taken.
type world struct {
	t      *testing.T
	store  store.Store
	dir    *provisioning.Directory
	guard  *guard.Guard
	files  *files.Files
	runner *task.Runner
	left   []string
	folder string // Config.Dir
}

func open(t testing.TB) store.Store {
	t.Helper()
	s, err := boltstore.Open(filepath.Join(t.TempDir(), "db"), boltstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

var hr = files.Source{
	ID: "hr", By: provisioning.SourceFeed("hr"), UserStores: []string{"primary", "partners"}, Pattern: "*.csv", Poll: time.Minute, Content: files.Delta,
}

func newWorld(t *testing.T, s store.Store, change ...func(*files.Source)) *world {
	t.Helper()
	w := &world{t: t, store: s, folder: t.TempDir()}
	w.assemble(change...)
	return w
}

// assemble is what happens at a start: everything but the store and the folder is made anew.
func (w *world) assemble(change ...func(*files.Source)) {
	w.t.Helper()
	log := audit.New(nil)
	var err error
	w.dir, err = provisioning.New(provisioning.Config{
		Store: w.store, UserStores: []string{"primary", "partners"},
		Followers: []provisioning.Follower{func(tx store.Tx, _, _ provisioning.User, d provisioning.Delta) error {
			return log.Append(tx, audit.Event{Kind: "user.changed", UserID: d.UserID, By: string(d.By)})
		}},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	// Whom this world made is not so young that the guard would not count them.
	w.guard = guard.New(guard.Config{Store: w.store, Now: func() time.Time { return time.Now().Add(2 * time.Hour) }})
	src := hr
	for _, c := range change {
		c(&src)
	}
	w.files, err = files.New(files.Config{
		Store: w.store, Directory: w.dir, Guard: w.guard, Sources: []files.Source{src}, Dir: w.folder,
		Attribute: func(name string) bool {
			return slices.Contains([]string{"mail", "display_name", "groups", "valid_until"}, name)
		},
		Multi: func(name string) bool { return name == "groups" },
		Left:  func(_ context.Context, id string) error { w.left = append(w.left, id); return nil },
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.runner = task.NewRunner(task.Config{Store: w.store, Handlers: map[string]task.Handler{
		files.Kind: w.files.Handle, files.KindPoll: w.files.HandlePoll, guard.TaskCase: w.guard.HandleCase,
	}})
}

// upload takes a file to its end.
func (w *world) upload(text string, u files.Upload) files.Import {
	w.t.Helper()
	if u.Source == "" {
		u.Source = "hr"
	}
	if u.File == "" {
		u.File = "staff.csv"
	}
	imp, err := w.files.Receive(w.t.Context(), u, strings.NewReader(text))
	if err != nil {
		w.t.Fatal(err)
	}
	return w.finish(imp)
}

func (w *world) finish(imp files.Import) files.Import {
	w.t.Helper()
	if imp.State.Final() {
		return imp
	}
	if err := w.runner.Now(w.t.Context(), files.Kind, imp.Key()); err != nil {
		w.t.Fatal(err)
	}
	imp, err := w.files.Import(w.t.Context(), imp.ID)
	if err != nil {
		w.t.Fatal(err)
	}
	if !imp.State.Final() {
		w.t.Fatalf("the import stands at %+v", imp)
	}
	return imp
}

// people are who is in the directory: "name active mail", with a user store other
// than the first before the name.
func (w *world) people() []string {
	w.t.Helper()
	var list []string
	for u, err := range w.dir.Users(w.t.Context(), "", 0) {
		if err != nil {
			w.t.Fatal(err)
		}
		list = append(list, fmt.Sprintf("%s %v %s", w.dir.FullName(u.Store, u.UserName), u.Active, strings.Join(provisioning.Effective(u, "mail"), "|")))
	}
	slices.Sort(list)
	return list
}

func (w *world) user(name string) provisioning.User {
	w.t.Helper()
	where, rest := w.dir.SplitName(name)
	u, err := w.dir.ByName(w.t.Context(), where, rest)
	if err != nil {
		w.t.Fatal(err)
	}
	return u
}

// results are the rows of a result file without the heading: "row name status reason".
func (w *world) results(imp files.Import) []string {
	w.t.Helper()
	file, err := os.Open(w.files.ResultFile(imp.ID))
	if err != nil {
		w.t.Fatal(err)
	}
	defer file.Close()
	rows, err := csv.NewReader(file).ReadAll()
	if err != nil {
		w.t.Fatal(err)
	}
	var list []string
	for _, r := range rows[1:] {
		list = append(list, strings.TrimSpace(strings.Join(r[:4], " ")))
	}
	return list
}

// all is the whole store, but for what imports themselves keep.
func all(t testing.TB, s store.Store) map[string]string {
	t.Helper()
	m := map[string]string{}
	err := s.View(context.Background(), func(tx store.Tx) error {
		for p, err := range tx.Scan(nil, nil, 0) {
			if err != nil {
				return err
			}
			parts, err := store.Parts(p.Key)
			if err != nil {
				return err
			}
			if !slices.Contains([]string{"import", "import_result", "progress", "task"}, parts[0]) {
				m[string(p.Key)] = string(p.Val)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func want(t testing.TB, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s:\n got %q\nwant %q", what, got, want)
	}
}

func isRefused(t testing.TB, what string, imp files.Import, code string) {
	t.Helper()
	if imp.State != files.Refused || imp.Refusal == nil || imp.Refusal.Code != code {
		t.Errorf("%s: %s %v, want refused for %s", what, imp.State, imp.Refusal, code)
	}
}

var errStop = errors.New("stop")
