//go:build e2e

package e2e

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gatehouse-sso/gatehouse/cmd/gatehouse/porttest"
)

// An sshd is OpenSSH, serving a folder to whoever runs the tests.
type sshd struct {
	*process
	dir    string // where its keys are
	folder string // what it serves
	port   int
}

func openSSH(t testing.TB) *sshd {
	t.Helper()
	raw, err := peerFiles.ReadFile("peers/sftp/run.sh")
	if err != nil {
		t.Fatal(err)
	}
	s := &sshd{dir: t.TempDir(), folder: t.TempDir(), port: porttest.Free(t, 1)}
	path := write(t, s.dir, "run.sh", string(raw))
	cmd := exec.Command("/bin/sh", path, fmt.Sprint(s.port), s.folder)
	cmd.Dir = s.dir
	s.process = start(t, "Server listening", cmd)
	return s
}

// config is the section sftp of a configuration.
func (s *sshd) config(t testing.TB) string {
	t.Helper()
	user := os.Getenv("USER")
	if out, err := exec.Command("id", "-un").Output(); err == nil {
		user = strings.TrimSpace(string(out))
	}
	return fmt.Sprintf(`{ address: "127.0.0.1:%d", user: %s, known_hosts: %s/known_hosts, key: { file: %s/user }, folder: "%s" }`, s.port, user, s.dir, s.dir, s.folder)
}

// put makes a file there as a careful machine does: whole, then NAME.done.
func (s *sshd) put(t testing.TB, name, text string) {
	t.Helper()
	write(t, s.folder, name, text)
	write(t, s.folder, name+".done", "")
}

// aTask is what `gatehouse tasks` prints of one.
type aTask struct {
	Kind, Key, State string
	Progress         *struct {
		Done, Total int
		Note        string
	}
}

// importTask finds the task of the import that goes on.
func (g *gate) importTask(t testing.TB) (found aTask, ok bool) {
	t.Helper()
	var page struct{ Tasks []aTask }
	if err := json.Unmarshal([]byte(g.verb(t, "tasks", "list", "--json")), &page); err != nil {
		t.Fatal(err)
	}
	list := page.Tasks
	i := slices.IndexFunc(list, func(a aTask) bool { return a.Kind == "import" })
	if i < 0 {
		return aTask{}, false
	}
	return list[i], true
}

// until waits until the import is as it should be.
func (g *gate) until(t testing.TB, what string, is func(aTask, bool) bool) aTask {
	t.Helper()
	var last aTask
	for end := time.Now().Add(10 * patience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		task, ok := g.importTask(t)
		if is(task, ok) {
			return task
		}
		last = task
	}
	t.Fatalf("the import never was %s; it is %+v", what, last)
	return last
}

// applied: at least n rows are done, and not all.
func applied(n int) func(aTask, bool) bool {
	return func(a aTask, ok bool) bool {
		return ok && a.Progress != nil && a.Progress.Note == "applying" && a.Progress.Done >= n
	}
}

// A long list of people comes over SFTP from a real sshd. It is looked at first,
// paused, its gateway killed, resumed, killed again; in the end everybody is there
// once, the result says so, and a target that reads files has everybody too. An
// emptied list changes nobody.
//
// GATEHOUSE_FAULTS=1 makes it 100,000 people instead of 3,000, and no target.
func TestPeopleComeFromAListOverSFTP(t *testing.T) {
	t.Parallel()
	people, long := 3_000, os.Getenv("GATEHOUSE_FAULTS") != ""
	if long {
		people = 100_000
	}
	var list strings.Builder
	list.WriteString("Number,Login,Name,E-Mail\n")
	for i := range people {
		fmt.Fprintf(&list, "%d,p%06d,\"Person, %d\",p%06d@x.test\n", i, i, i, i)
	}
	s, dir := openSSH(t), t.TempDir()
	doors := t.TempDir()
	out := &sshd{dir: s.dir, folder: doors, port: s.port}
	config := wikiService(t, "localhost") + fmt.Sprintf(`
sources:
  - id: personnel
    csv: { sftp: %s, poll: 1s, content: full, columns: { external_id: Number, user_name: Login, display_name: Name, mail: E-Mail } }
`, s.config(t))
	if !long {
		config += fmt.Sprintf(`targets:
  - id: doors
    users: { all: true }
    release: [ display_name ]
    csv: { sftp: %s, every: 2s, keep: 3 }
`, out.config(t))
	}
	g := serveIn(t, dir, porttest.Free(t, 2), config)

	local := write(t, dir, "staff.csv", list.String())
	if got := g.verb(t, "import", local, "--source", "personnel", "--full", "--preview"); !strings.Contains(got, fmt.Sprintf("preview of %d rows: %d created, 0 changed", people, people)) {
		t.Errorf("the preview says:\n%s", got)
	}
	if got := g.verb(t, "users", "list", "--json"); strings.TrimSpace(got) != "[]" {
		t.Fatalf("the preview made somebody: %.300s", got)
	}

	began := time.Now()
	s.put(t, "staff.csv", list.String())
	task := g.until(t, "under way", applied(people/10))
	g.verb(t, "tasks", "pause", "import", task.Key)
	g.until(t, "paused", func(a aTask, ok bool) bool { return ok && a.State == "paused" })
	g.end(syscall.SIGKILL)
	g.restart(t)
	stands, _ := g.importTask(t)
	if stands.State != "paused" || stands.Progress.Done < people/10 || stands.Progress.Done == people {
		t.Fatalf("after a restart it is %+v", stands)
	}
	g.verb(t, "tasks", "resume", "import", task.Key)
	g.until(t, "further", applied(people/2))
	g.end(syscall.SIGKILL)
	g.restart(t)
	g.until(t, "done", func(_ aTask, ok bool) bool { return !ok })
	t.Logf("%d rows in %v, with a pause and two kills", people, time.Since(began).Round(time.Millisecond))

	rows := readCSV(t, filepath.Join(s.folder, "result_staff.csv"))
	if len(rows) != people {
		t.Fatalf("the result has %d rows, want %d", len(rows), people)
	}
	for i, r := range rows {
		if r[0] != fmt.Sprint(i+1) || r[1] != fmt.Sprintf("p%06d", i) || r[2] != "created" {
			t.Fatalf("row %d of the result says %q", i+1, r)
		}
	}
	if _, err := os.Stat(filepath.Join(s.folder, "archive", "staff.csv")); err != nil {
		t.Error(err)
	}

	// Who reads the files of the target has everybody, once.
	var got [][]string
	for end := time.Now().Add(10 * patience); !long && time.Now().Before(end) && len(got) != people; time.Sleep(500 * time.Millisecond) {
		if files, _ := filepath.Glob(filepath.Join(doors, "users_*_full.csv.done")); len(files) > 0 {
			got = readCSV(t, strings.TrimSuffix(files[len(files)-1], ".done"))
		}
	}
	names := map[string]bool{}
	for _, r := range got {
		names[r[1]] = true
	}
	if !long && (len(got) != people || len(names) != people) {
		t.Errorf("the last file of the target has %d rows about %d people, want %d", len(got), len(names), people)
	}

	// An emptied list, and one that was cut, change nobody.
	for name, text := range map[string]string{"empty.csv": "Number,Login,Name,E-Mail\n", "cut.csv": list.String()[:list.Len()/3]} {
		s.put(t, name, text)
		result := filepath.Join(s.folder, "result_"+name)
		for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
			if _, err := os.Stat(result); err == nil {
				break
			}
		}
		rows := readCSV(t, result)
		if len(rows) != 1 || rows[0][2] != "refused" {
			t.Errorf("%s: %q", name, rows)
		}
	}
	if got := g.verb(t, "users", "show", fmt.Sprintf("p%06d", people-1), "--json"); !strings.Contains(got, `"active": true`) {
		t.Errorf("the last person is\n%s", got)
	}
}

// readCSV reads a file without its heading; none if it is gone.
func readCSV(t testing.TB, path string) [][]string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	rows, err := csv.NewReader(bufio.NewReader(f)).ReadAll()
	if err != nil || len(rows) == 0 {
		t.Fatalf("%s: %v", path, err)
	}
	return rows[1:]
}
