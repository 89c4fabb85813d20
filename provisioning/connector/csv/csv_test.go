package csv_test

import (
	"context"
	"crypto/sha256"
	stdcsv "encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/gatehouse-sso/gatehouse/provisioning/connector"
	"github.com/gatehouse-sso/gatehouse/provisioning/connector/connectortest"
	"github.com/gatehouse-sso/gatehouse/provisioning/connector/csv"
	"github.com/gatehouse-sso/gatehouse/provisioning/folder"
	"github.com/gatehouse-sso/gatehouse/provisioning/folder/foldertest"
	"github.com/gatehouse-sso/gatehouse/provisioning/store"
	"github.com/gatehouse-sso/gatehouse/provisioning/store/boltstore"
	"github.com/gatehouse-sso/gatehouse/provisioning/store/storetest"
	"github.com/gatehouse-sso/gatehouse/provisioning/task"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T) store.Store {
	t.Helper()
	s, err := boltstore.Open(filepath.Join(t.TempDir(), "db"), boltstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// A clock gives each file a name of its own.
func clock() func() time.Time {
	var n atomic.Int64
	return func() time.Time { return time.Date(2026, 11, 21, 2, 15, 0, int(n.Add(1))*1e6, time.UTC) }
}

func config(s store.Store, p folder.Place) csv.Config {
	return csv.Config{Store: s, Target: "doors", Place: p, Columns: []csv.Column{{Name: "mail"}, {Name: "title"}, {Name: "groups", Multi: true}}, Now: clock()}
}

// read reads a file of the folder.
func read(t *testing.T, path string) (head []string, rows [][]string) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	all, err := stdcsv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	return all[0], all[1:]
}

// names are the files of a folder without what stands beside them.
func names(t *testing.T, dir string) []string {
	t.Helper()
	list, err := filepath.Glob(filepath.Join(dir, "users_*.csv"))
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func write(t *testing.T, c *csv.Connector) {
	t.Helper()
	if err := c.Write(context.Background()); err != nil {
		t.Fatal(err)
	}
}

func accountOf(row []string) connector.Account {
	a := connector.Account{ExternalID: row[0], UserName: row[1], Active: row[2] == "true", Attributes: map[string][]string{}}
	for i, name := range []string{"mail", "title"} {
		if row[3+i] != "" {
			a.Attributes[name] = []string{row[3+i]}
		}
	}
	return a
}

// held is what the last full file says.
func held(t *testing.T, dir string) []connector.Account {
	files := names(t, dir)
	if len(files) == 0 {
		return nil
	}
	_, rows := read(t, files[len(files)-1])
	var all []connector.Account
	for _, r := range rows {
		all = append(all, accountOf(r))
	}
	return all
}

// replayed is what somebody holds who did what every delta file says.
func replayed(t *testing.T, dir string) []connector.Account {
	m := map[string]connector.Account{}
	for _, f := range names(t, dir) {
		_, rows := read(t, f)
		for _, r := range rows {
			a := accountOf(r)
			if op := r[len(r)-2]; op == "delete" {
				delete(m, a.ExternalID)
			} else {
				m[a.ExternalID] = a
			}
		}
	}
	var all []connector.Account
	for _, a := range m {
		all = append(all, a)
	}
	return all
}

// The suite of connectors, against what stands in files, here and on a machine
// that speaks SFTP. IDs are ours, so they are added to what was read.
func TestConnector(t *testing.T) {
	t.Parallel()
	for name, delta := range map[string]bool{"full": false, "delta": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			connectortest.Test(t, func(t *testing.T) connectortest.Harness {
				var p folder.Place
				dir := t.TempDir()
				if p = folder.Local(dir); delta {
					s := foldertest.Serve(t)
					dir, p = s.Dir, s.Place()
				}
				conf := config(open(t), p)
				conf.Delta = delta
				c := csv.New(conf)
				return connectortest.Harness{
					Connector: c, Mail: "mail", Title: "title",
					Held: func() []connector.Account {
						write(t, c)
						ids := map[string]string{}
						for a, err := range c.Accounts(context.Background()) {
							if err != nil {
								t.Fatal(err)
							}
							ids[a.ExternalID+" "+a.UserName] = a.ID
						}
						all := held(t, dir)
						if delta {
							all = replayed(t, dir)
						}
						for i := range all {
							all[i].ID = ids[all[i].ExternalID+" "+all[i].UserName]
						}
						return all
					},
					Plant: func(a connector.Account) string {
						id, err := c.Sync(context.Background(), a, "")
						if err != nil {
							t.Fatal(err)
						}
						return id
					},
				}
			})
		})
	}
}

func sync1(t *testing.T, c *csv.Connector, a connector.Account, have string) string {
	t.Helper()
	id, err := c.Sync(t.Context(), a, have)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestDeltaFilesSayWhatChanged(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	conf := config(open(t), folder.Local(dir))
	conf.Delta = true
	c := csv.New(conf)
	ana := connector.Account{ExternalID: "1", UserName: "ana", Active: true, Attributes: map[string][]string{"groups": {"a;b", "c"}}}
	ben := connector.Account{ExternalID: "2", UserName: "ben", Active: true}
	cem := connector.Account{ExternalID: "3", UserName: "cem", Active: true}
	a, b := sync1(t, c, ana, ""), sync1(t, c, ben, "")
	gone := sync1(t, c, cem, "")
	if err := c.Remove(t.Context(), gone); err != nil { // before any file: nobody hears of Cem
		t.Fatal(err)
	}
	ana.Attributes = map[string][]string{"title": {"Dr"}}
	sync1(t, c, ana, a)
	write(t, c)
	write(t, c) // nothing changed since
	ben.Active = false
	sync1(t, c, ben, b)
	write(t, c)
	ben.Active = true
	sync1(t, c, ben, b)
	if err := c.Remove(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	write(t, c)
	want := [][]string{
		{"2,ben,true,,,,add,2", `1,ana,true,,Dr,a\;b;c,add,5`},
		{"2,ben,false,,,,disable,6"},
		{"2,ben,true,,,,update,7", `1,ana,false,,Dr,a\;b;c,delete,8`},
	}
	files := names(t, dir)
	if len(files) != len(want) {
		t.Fatalf("files %v, want %d", files, len(want))
	}
	for i, f := range files {
		head, rows := read(t, f)
		if got := strings.Join(head, ","); got != "external_id,user_name,active,mail,title,groups,_op,_seq" {
			t.Errorf("heading %s", got)
		}
		var got []string
		for _, r := range rows {
			got = append(got, strings.Join(r, ","))
		}
		if !slices.Equal(got, want[i]) {
			t.Errorf("file %d says %q, want %q", i, got, want[i])
		}
	}
}

func TestAFileIsWholeWithItsChecksumAndOldOnesGo(t *testing.T) {
	t.Parallel()
	s := foldertest.Serve(t)
	conf := config(open(t), s.Place())
	conf.Keep, conf.BOM, conf.Harmless = 2, true, true
	c := csv.New(conf)
	if err := os.WriteFile(filepath.Join(s.Dir, "users_notes.csv"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	a := connector.Account{ExternalID: "1", UserName: "=cmd|' /C calc'!A0", Active: true}
	id := ""
	for i := range 4 {
		a.Attributes = map[string][]string{"title": {fmt.Sprint("+", i)}}
		id = sync1(t, c, a, id)
		write(t, c)
	}
	list, err := os.ReadDir(s.Dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range list {
		got = append(got, e.Name())
	}
	last := ""
	for _, name := range got {
		if strings.HasSuffix(name, "_full.csv") {
			last = name
			raw, err := os.ReadFile(filepath.Join(s.Dir, name))
			if err != nil || !strings.HasPrefix(string(raw), "\ufeffexternal_id,") {
				t.Errorf("%s begins %.20q, %v", name, raw, err)
			}
			sum, err := os.ReadFile(filepath.Join(s.Dir, name+".sha256"))
			if err != nil || string(sum) != fmt.Sprintf("%x  %s\n", sha(raw), name) {
				t.Errorf("checksum %q, %v", sum, err)
			}
		}
	}
	if len(got) != 7 || !slices.Contains(got, "users_notes.csv") || !slices.Contains(got, last+".done") {
		t.Errorf("the folder holds %q", got)
	}
	raw, _ := os.ReadFile(filepath.Join(s.Dir, last))
	if !strings.Contains(string(raw), "1,'=cmd|' /C calc'!A0,true,,'+3,") {
		t.Errorf("it says %q", raw)
	}
}

func TestChangesAreGatheredIntoOneFile(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		dir, s := t.TempDir(), open(t)
		conf := config(s, folder.Local(dir))
		conf.Every, conf.Now = 5*time.Minute, time.Now
		c := csv.New(conf)
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			done <- task.NewRunner(task.Config{Store: s, Handlers: map[string]task.Handler{csv.Kind: func(ctx context.Context, _ string) error { return c.Write(ctx) }}}).Run(ctx)
		}()
		for i := range 10 {
			sync1(t, c, connector.Account{ExternalID: fmt.Sprint(i), UserName: fmt.Sprint("p", i), Active: true}, "")
			time.Sleep(20 * time.Second)
		}
		time.Sleep(99 * time.Second)
		if got := names(t, dir); len(got) != 0 {
			t.Errorf("before the time is over: %v", got)
		}
		time.Sleep(time.Hour)
		if got := names(t, dir); len(got) != 1 || len(held(t, dir)) != 10 {
			t.Errorf("files %v with %d accounts", got, len(held(t, dir)))
		}
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// R29: wherever it breaks off, no change is missing from the files, and each is
// told by the same number.
func TestR29_NoChangeIsMissingFromTheFiles(t *testing.T) {
	t.Parallel()
	var n atomic.Int64
	var flaky atomic.Bool
	dir := t.TempDir()
	s := storetest.Flaky(open(t), func() bool { return flaky.Load() && n.Add(1)%3 == 0 })
	broken := &breaking{Place: folder.Local(dir)}
	conf := config(s, broken)
	conf.Delta = true
	c := csv.New(conf)
	flaky.Store(true)
	want := map[string]string{}
	for round := range 12 {
		for i := range 3 {
			id, name := fmt.Sprint(i), fmt.Sprintf("p%d.%d", i, round)
			for {
				if _, err := c.Sync(t.Context(), connector.Account{ExternalID: id, UserName: name, Active: true}, ""); err == nil {
					break
				}
			}
			want[id] = name
		}
		broken.after.Store(int64(round % 5))
		for c.Write(t.Context()) != nil {
			broken.after.Store(100)
		}
	}
	got := map[string]string{}
	seqs := map[string]string{}
	for _, a := range replayed(t, dir) {
		got[a.ExternalID] = a.UserName
	}
	for _, f := range names(t, dir) {
		_, rows := read(t, f)
		for _, r := range rows {
			seq, what := r[len(r)-1], strings.Join(r[:3], " ")
			if was := seqs[seq]; was != "" && was != what {
				t.Errorf("%s is %q and %q", seq, was, what)
			}
			seqs[seq] = what
		}
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("the files say %v, want %v", got, want)
	}
	if len(names(t, dir)) <= 12 {
		t.Error("nothing was repeated: the test shows nothing")
	}
}

var errBroken = errors.New("the line is cut")

// breaking is a place that fails after some calls.
type breaking struct {
	folder.Place
	after atomic.Int64
}

func (b *breaking) Open(ctx context.Context) (folder.Folder, error) {
	f, err := b.Place.Open(ctx)
	return &breakingFolder{f, b}, err
}

type breakingFolder struct {
	folder.Folder
	b *breaking
}

func (b *breakingFolder) Write(name string, fn func(io.Writer) error) error {
	if b.b.after.Add(-1) < 0 {
		return errBroken
	}
	return b.Folder.Write(name, fn)
}

// B11: a place that is not the one it should be gets nothing.
func TestB11_FilesGoNowhereElse(t *testing.T) {
	t.Parallel()
	s := foldertest.Serve(t)
	p := s.Place()
	p.KnownHosts = s.KnownHosts(s.Other())
	c := csv.New(config(open(t), p))
	sync1(t, c, connector.Account{ExternalID: "1", UserName: "ana", Active: true}, "")
	if err := c.Write(t.Context()); !errors.Is(err, folder.ErrRefused) {
		t.Errorf("write: %v", err)
	}
	if err := c.Test(t.Context()); connector.ClassOf(err) != connector.Auth {
		t.Errorf("test: %v", err)
	}
	if got := names(t, s.Dir); len(got) != 0 {
		t.Errorf("it holds %v", got)
	}
}
func sha(b []byte) [32]byte { return sha256.Sum256(b) }

// What changes while a file is written is in the next one, whether or not this one
// has it already.
func TestAChangeWhileAFileIsWrittenIsNotForgotten(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	during := &hooked{Place: folder.Local(dir)}
	conf := config(open(t), during)
	conf.Delta = true
	c := csv.New(conf)
	ana := connector.Account{ExternalID: "1", UserName: "ana", Active: true}
	id := sync1(t, c, ana, "")
	during.hook = func() {
		ana.UserName = "anna"
		sync1(t, c, ana, id)
	}
	write(t, c)
	during.hook = func() {}
	write(t, c)
	if got := replayed(t, dir); len(names(t, dir)) != 2 || len(got) != 1 || got[0].UserName != "anna" {
		t.Errorf("%d files say %v", len(names(t, dir)), got)
	}
}

// hooked is a place where something happens once a file is there.
type hooked struct {
	folder.Place
	hook func()
}

func (h *hooked) Open(ctx context.Context) (folder.Folder, error) {
	f, err := h.Place.Open(ctx)
	return &hookedFolder{f, h}, err
}

type hookedFolder struct {
	folder.Folder
	h *hooked
}

func (h *hookedFolder) Write(name string, fn func(io.Writer) error) error {
	err := h.Folder.Write(name, fn)
	if strings.HasSuffix(name, ".csv") {
		h.h.hook()
	}
	return err
}
