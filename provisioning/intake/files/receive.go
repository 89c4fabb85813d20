package files

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/gatehouse-sso/gatehouse/provisioning/folder"
	"github.com/gatehouse-sso/gatehouse/provisioning/store"
	"github.com/gatehouse-sso/gatehouse/provisioning/task"
)

// An Upload is a file that somebody brings, and what they want of it.
type Upload struct {
	Source  string
	File    string // its name
	Content Content
	Preview bool
	Shrunk  bool // see Import
}

// Receive takes a file and makes the task that takes people in from it. The same
// file again goes on with an import that is not done, also one that was paused,
// and is no other one if it was done: the Import is then that of the first time,
// with its final State.
func (f *Files) Receive(ctx context.Context, u Upload, file io.Reader) (Import, error) {
	s := f.sources[u.Source]
	if s == nil {
		return Import{}, fmt.Errorf("%w: there is no source %q", ErrNotFound, u.Source)
	}
	imp := Import{Source: s.ID, File: path.Base(u.File), Content: u.Content, Preview: u.Preview, Shrunk: u.Shrunk}
	if imp.Content == "" {
		imp.Content = s.Content
	}
	return f.receive(ctx, imp, file, "")
}

// receive copies a file aside, bounded, and stores its Import. want is its
// checksum in hex, if it came with one.
func (f *Files) receive(ctx context.Context, imp Import, file io.Reader, want string) (Import, error) {
	imp.ID = uuid.Must(uuid.NewV7()).String()
	imp.Received, imp.State = f.now(), Reading
	sum, size, err := f.keep(ctx, imp.ID, file)
	if err != nil {
		return Import{}, errors.Join(err, remove(f.spool(imp.ID)))
	}
	imp.SHA256, imp.Size = sum, size
	if want != "" && want != sum {
		imp.Refusal = refuse(ReasonSum, "the checksum that came with the file is another one")
	}
	var other Import
	err = f.sure(ctx, func(tx store.Tx) error {
		var there bool
		var err error
		if other, there, err = f.same(tx, imp); err != nil || there {
			return err
		}
		if err := imports.Put(tx, imp); err != nil {
			return err
		}
		return task.Add(tx, Kind, imp.Key(), f.c.Now())
	})
	if err == nil && other.ID == "" {
		return imp, nil
	}
	if rerr := remove(f.spool(imp.ID)); err == nil {
		err = rerr
	}
	if err == nil && !other.State.Final() {
		err = task.Requeue(ctx, f.c.Store, Kind, other.Key())
	}
	return other, err
}

// same finds the import that a file would repeat: one that is not done, or one
// whose effect still stands. A full file stands until there is another one.
func (f *Files) same(tx store.Tx, imp Import) (Import, bool, error) {
	full, _, err := lasts.Get(tx, imp.Source)
	if err != nil {
		return Import{}, false, err
	}
	for other, err := range imports.Find(tx, "same", string(store.Key(imp.Source, string(imp.Content), imp.SHA256)), "", 0) {
		switch {
		case err != nil:
			return Import{}, false, err
		case other.ID == imp.ID: // this one, by a commit whose answer was lost
			return Import{}, true, nil
		case other.Preview != imp.Preview || other.Shrunk != imp.Shrunk:
		case other.State.Final():
			if other.State == Imported && (imp.Content == Delta || full.Import == other.ID) {
				return other, true, nil
			}
		default:
			if t, ok, err := task.Get(tx, Kind, other.Key()); err != nil || ok && t.State != task.Cancelled {
				return other, true, err
			}
		}
	}
	return Import{}, false, nil
}

// keep copies a file aside and to the disk.
func (f *Files) keep(ctx context.Context, id string, file io.Reader) (sum string, size int64, err error) {
	out, err := os.OpenFile(f.spool(id), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return "", 0, fmt.Errorf("keep import: %w", err)
	}
	hash := sha256.New()
	size, err = io.Copy(io.MultiWriter(out, hash), io.LimitReader(&until{ctx, file}, f.c.MaxSize+1))
	if err == nil {
		err = out.Sync()
	}
	if err = errors.Join(err, out.Close()); err != nil {
		return "", 0, fmt.Errorf("keep import: %w", err)
	}
	if size > f.c.MaxSize {
		return "", 0, refuse(ReasonTooLarge, fmt.Sprintf("the file is larger than %d bytes", f.c.MaxSize))
	}
	return hex.EncodeToString(hash.Sum(nil)), size, nil
}

// until reads until ctx ends.
type until struct {
	ctx context.Context
	r   io.Reader
}

func (u *until) Read(p []byte) (int, error) {
	if err := u.ctx.Err(); err != nil {
		return 0, err
	}
	return u.r.Read(p)
}

// Folders inside that of a source, and names beside a file's.
const (
	dirProcessing = "processing/"
	dirArchive    = "archive/"
	dirError      = "error/"
	preResult     = "result_"
	sufDone       = ".done"
	sufSum        = ".sha256"

	// putTime goes before the name of a file that is put away where one of that
	// name is; it is the longest of what names are given.
	putTime = "20060102T150405.000Z_"
)

// HandlePoll is the task.Handler of KindPoll: it looks into a folder, takes the
// next file if there is one, and comes back.
func (f *Files) HandlePoll(ctx context.Context, key string) error {
	id, _, _ := strings.Cut(key, "/")
	s := f.sources[id]
	if s == nil || s.Place == nil {
		return nil // it is not configured any more
	}
	if err := f.tidy(ctx, s); err != nil {
		return err
	}
	again := &task.Retry{After: s.Poll, Reason: "looks at the folder now and then"}
	busy, err := f.busy(ctx, s)
	if err != nil {
		return err
	}
	if busy { // when it ends, it wakes this one
		return again
	}
	took, err := f.take(ctx, s)
	switch {
	case err != nil:
		return fmt.Errorf("source %s: %w", s.ID, err)
	case took:
		return &task.Retry{After: time.Second, Reason: "takes the next file"}
	}
	return again
}

// takeTime is how long a look at a folder may take, and the copy of a file.
const takeTime = 15 * time.Minute

// pollKey is the key of the task that looks at a source's folder; the source is
// its lane, so that a machine that hangs holds up nobody else.
func pollKey(source string) string { return source + "/folder" }

// busy: a file of the folder is worked on.
func (f *Files) busy(ctx context.Context, s *source) (busy bool, err error) {
	err = f.c.Store.View(ctx, func(tx store.Tx) error {
		busy = false
		for imp, err := range imports.Find(tx, "source", s.ID, "", 0) {
			if err != nil {
				return err
			}
			busy = busy || imp.Claimed && !imp.State.Final()
		}
		return nil
	})
	return busy, err
}

// take claims one file and makes its Import.
func (f *Files) take(ctx context.Context, s *source) (took bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, takeTime)
	defer cancel()
	d, err := s.Place.Open(ctx)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	name, err := s.next(d)
	if err != nil || name == "" {
		return false, err
	}
	want, err := sumOf(d, name)
	if err != nil {
		return false, err
	}
	file, err := d.Read(dirProcessing + name)
	if err != nil {
		return false, err
	}
	imp, err := f.receive(ctx, Import{Source: s.ID, File: name, Content: s.Content, Claimed: true}, file, want)
	_ = file.Close()
	var no *Refusal
	switch {
	case errors.As(err, &no):
		f.c.Log.Warn("a file was refused", "source", s.ID, "file", name, "reason", no.Code)
		return true, put(d, name, dirError, f.now())
	case err != nil:
		return false, err
	case imp.State.Final() || imp.File != name:
		f.c.Log.Info("a file was taken in before", "source", s.ID, "file", name, "import", imp.ID)
		return true, put(d, name, dirArchive, f.now())
	}
	return true, nil
}

// next claims the next file: one that a crash left in processing, or the first by
// name that is complete.
func (s *source) next(d folder.Folder) (string, error) {
	left, err := d.List(strings.TrimSuffix(dirProcessing, "/"))
	if err != nil {
		return "", err
	}
	slices.SortFunc(left, func(a, b folder.File) int { return strings.Compare(a.Name, b.Name) })
	for _, file := range left {
		if !strings.HasSuffix(file.Name, folder.Part) {
			return file.Name, nil
		}
	}
	list, err := d.List("")
	if err != nil {
		return "", err
	}
	for _, name := range s.complete(list) {
		err := d.Move(name, dirProcessing+name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue // somebody was quicker
		case err != nil:
			return "", err
		}
		return name, nil
	}
	return "", nil
}

// complete are the files that are meant and will not grow any more: those with
// NAME.done beside them, and those that are as they were at the last look.
func (s *source) complete(list []folder.File) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	done := map[string]bool{}
	for _, file := range list {
		if name, ok := strings.CutSuffix(file.Name, sufDone); ok {
			done[name] = true
		}
	}
	seen := map[string]folder.File{}
	var names []string
	for _, file := range list {
		if ok, err := path.Match(s.Pattern, file.Name); err != nil || !ok || strings.HasPrefix(file.Name, preResult) ||
			strings.HasSuffix(file.Name, folder.Part) || strings.HasSuffix(file.Name, sufDone) || strings.HasSuffix(file.Name, sufSum) {
			continue
		}
		if folder.Check(putTime+file.Name) != nil { // what stands beside it, and where it is put away, have names too
			s.c.Log.Warn("a file is left where it is: its name is too long", "source", s.ID, "file", file.Name)
			continue
		}
		seen[file.Name] = file
		if was, known := s.seen[file.Name]; done[file.Name] || known && was.Size == file.Size && was.Modified.Equal(file.Modified) {
			names = append(names, file.Name)
		}
	}
	s.seen = seen
	slices.Sort(names)
	return names
}

// sumOf is the checksum that came with a file, as sha256sum writes it; empty if
// none did.
func sumOf(d folder.Folder, name string) (string, error) {
	r, err := d.Read(name + sufSum)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	defer func() { _ = r.Close() }()
	b, err := io.ReadAll(io.LimitReader(r, 1024))
	if err != nil {
		return "", err
	}
	sum, _, _ := strings.Cut(strings.TrimSpace(string(b)), " ")
	return strings.ToLower(sum), nil
}

// put moves a file out of processing, and removes what stood beside it. Where one
// of the name is already, it gets the time before its own.
func put(d folder.Folder, name, dir string, now time.Time) error {
	err := d.Move(dirProcessing+name, dir+name)
	if errors.Is(err, fs.ErrExist) {
		err = d.Move(dirProcessing+name, dir+now.Format(putTime)+name)
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = nil // it was done before a crash
	}
	return firstErr(err, d.Remove(name+sufDone), d.Remove(name+sufSum))
}
