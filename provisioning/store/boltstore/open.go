package boltstore

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"time"

	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

const (
	// format of the database file, in the meta bucket.
	format = "1"
	// lockWait is how long Open waits for another process to let go.
	lockWait = 500 * time.Millisecond
	// mapped is the address space taken at the start. Growing it later waits for
	// every reader.
	mapped = 1 << 28
)

var (
	keyFormat = []byte("format")
	keyID     = []byte("id")
)

// Open opens the database at path. It makes one if there is none and there
// never was: neither path nor path.id. Directories are made with mode 0700, files
// with 0600, and a file that others may read is refused.
//
// A file that is damaged, cut short or empty, or that is missing beside its
// path.id, is store.ErrDamaged, and is left as it is. A file that another
// process has open is refused within a second.
func Open(path string, o Options) (*Store, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	if err := makeDir(filepath.Dir(path)); err != nil {
		return nil, err
	}
	if err := makeFile(path); err != nil {
		return nil, err
	}
	s := &Store{path: path, hub: newHub(), writer: make(chan struct{}, 1)}
	err = s.guard(func() (err error) {
		s.db, err = bolt.Open(path, 0o600, settings(func(path string, flag int, mode os.FileMode) (f *os.File, err error) {
			s.file, err = openChecked(path, flag, mode)
			return s.file, err
		}))
		return err
	})
	if err != nil {
		if errors.Is(err, berrors.ErrTimeout) {
			err = errInUse(path)
		}
		return nil, err
	}
	if err := s.settle(o); err != nil {
		return nil, errors.Join(err, s.db.Close())
	}
	return s, nil
}

func settings(open func(string, int, os.FileMode) (*os.File, error)) *bolt.Options {
	return &bolt.Options{
		Timeout:         lockWait,
		FreelistType:    bolt.FreelistMapType,
		NoFreelistSync:  true, // it would be written at each commit
		InitialMmapSize: mapped,
		OpenFile:        open,
	}
}

func errInUse(path string) error {
	return fmt.Errorf("store %s is in use by another process; one file serves one gatehouse at a time", path)
}

// makeDir makes the directory, or checks the one that is there.
func makeDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make the store's directory: %w", err)
	}
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("open the store's directory: %w", err)
	}
	if runtime.GOOS != "windows" && info.Mode()&0o002 != 0 && info.Mode()&os.ModeSticky == 0 {
		return fmt.Errorf("anybody on this machine may replace files in %s, so no store is kept there; run chmod o-w %s", dir, dir)
	}
	return nil
}

// makeFile makes the database if there was never one. It appears whole or not at
// all: a crash half-way leaves a file under another name, never an empty one.
func makeFile(path string) error {
	switch _, err := os.Stat(path); {
	case err == nil:
		return nil
	case !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("open store: %w", err)
	}
	switch _, err := os.Stat(marker(path)); {
	case err == nil:
		return damaged(path, fmt.Sprintf("the database is missing, though %s says that there was one", marker(path)))
	case !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("open store: %w", err)
	}
	part, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".part-*")
	if err != nil {
		return fmt.Errorf("make store: %w", err)
	}
	defer os.Remove(part.Name())
	if err := part.Close(); err != nil {
		return fmt.Errorf("make store: %w", err)
	}
	db, err := bolt.Open(part.Name(), 0o600, settings(nil))
	if err != nil {
		return fmt.Errorf("make store: %w", err)
	}
	err = db.Update(func(tx *bolt.Tx) error {
		meta, err := tx.CreateBucket(bucketMeta)
		if err != nil {
			return err
		}
		_, err = tx.CreateBucket(bucketData)
		return errors.Join(err, meta.Put(keyFormat, []byte(format)), meta.Put(keyID, []byte(rand.Text())))
	})
	if err := errors.Join(err, db.Close()); err != nil {
		return fmt.Errorf("make store: %w", err)
	}
	// A link does not replace what another process has made meanwhile.
	err = os.Link(part.Name(), path)
	if err != nil && !errors.Is(err, fs.ErrExist) {
		err = os.Rename(part.Name(), path) // a file system without links
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("make store: %w", err)
	}
	return syncDir(filepath.Dir(path))
}

// openChecked opens and locks a file that is there, and reads all of it before
// bbolt does.
func openChecked(path string, flag int, mode os.FileMode) (_ *os.File, err error) {
	f, err := os.OpenFile(path, flag&^os.O_CREATE, mode)
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	defer func() {
		if err != nil {
			f.Close()
		}
	}()
	if err := lock(f, lockWait); err != nil {
		return nil, err
	}
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, fmt.Errorf("open store: %w", err)
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("open store: %s is not a file", path)
	case runtime.GOOS != "windows" && info.Mode()&0o077 != 0:
		return nil, fmt.Errorf("store %s may be read by others (mode %04o); run chmod 600 %s", path, info.Mode().Perm(), path)
	}
	if err := Inspect(f, info.Size()); err != nil {
		return nil, damaged(path, err.Error())
	}
	return f, nil
}

// settle checks that the open database is ours, and writes the marker if it is
// not there: the database was just made, or was put there from a backup.
func (s *Store) settle(o Options) error {
	var id []byte
	err := s.db.View(func(tx *bolt.Tx) error {
		meta := tx.Bucket(bucketMeta)
		if meta == nil || tx.Bucket(bucketData) == nil {
			return fmt.Errorf("%s is not a store of gatehouse", s.path)
		}
		if f := meta.Get(keyFormat); string(f) != format {
			return fmt.Errorf("store %s has format %q, this program reads format %q; use the version of gatehouse that wrote it", s.path, f, format)
		}
		id = bytes.Clone(meta.Get(keyID))
		if !o.Check {
			return nil
		}
		var faults []error
		for err := range tx.Check() {
			faults = append(faults, err)
		}
		if len(faults) > 0 {
			return s.damaged(fmt.Sprintf("bbolt's check found %d faults, the first: %v", len(faults), faults[0]))
		}
		return nil
	})
	if err != nil {
		return err
	}
	have, err := os.ReadFile(marker(s.path))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return writeWhole(marker(s.path), id)
	case err != nil:
		return fmt.Errorf("open store: %w", err)
	case !bytes.Equal(bytes.TrimSpace(have), id):
		return fmt.Errorf("store %s belongs to another installation than %s; if it is the one you want, remove %s", s.path, marker(s.path), marker(s.path))
	}
	return nil
}

// marker is the file that says that a database was made at path.
func marker(path string) string { return path + ".id" }

// Replace puts the database at from, which nobody has open, in the place of the one at
// path, in the same directory. What was there is kept under the name that it returns;
// empty: nothing was. A crash before the last step leaves what was there in use, or, if
// from is of another installation, refused until Replace is called again.
func Replace(path, from string) (aside string, err error) {
	suffix := ".before-" + time.Now().UTC().Format("20060102T150405.000000000")
	for _, name := range []string{path, marker(path)} {
		switch err := keep(name, name+suffix); {
		case err == nil && name == path:
			aside = path + suffix
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			return aside, fmt.Errorf("keep what was there: %w", err)
		}
	}
	// A marker without a database is refused; without either, one would be made anew.
	for _, move := range [][2]string{{marker(from), marker(path)}, {from, path}} {
		if err := os.Rename(move[0], move[1]); err != nil {
			return aside, fmt.Errorf("replace store: %w", err)
		}
	}
	return aside, syncDir(filepath.Dir(path))
}

// keep gives a file another name, and leaves it the first where it can.
func keep(name, as string) error {
	err := os.Link(name, as)
	if err == nil || errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrExist) {
		return err
	}
	return os.Rename(name, as) // a file system without links
}

// Remove removes the database at path, which nobody has open, and its marker.
func Remove(path string) error {
	var errs []error
	for _, name := range []string{path, marker(path)} {
		if err := os.Remove(name); !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// writeWhole writes a file that appears whole or not at all.
func writeWhole(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".part-*")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer os.Remove(f.Name())
	_, err = f.Write(append(data, '\n'))
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return syncDir(filepath.Dir(path))
}

// syncDir makes names durable, where directories can be synced.
func syncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync directory: %w", err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("sync directory %s: %w", dir, err)
	}
	return nil
}

// Backup writes a copy of the database, as of one moment, to w. It makes the copy
// beside the database first, so that a slow w does not keep pages from being
// used again, and checks it before w gets a byte. A restored copy is put at path;
// path.id may stay.
func (s *Store) Backup(ctx context.Context, w io.Writer) error {
	f, err := os.CreateTemp(filepath.Dir(s.path), filepath.Base(s.path)+".backup-*")
	if err != nil {
		return fmt.Errorf("back up store: %w", err)
	}
	defer os.Remove(f.Name())
	defer f.Close()
	var size int64
	err = s.locking(func() error {
		return s.db.View(func(tx *bolt.Tx) error {
			size, err = tx.WriteTo(&ctxWriter{ctx, f})
			return err
		})
	})
	if err == nil {
		err = Inspect(f, size)
	}
	if err == nil {
		_, err = io.Copy(&ctxWriter{ctx, w}, io.NewSectionReader(f, 0, size))
	}
	if ctx.Err() != nil {
		err = ctx.Err() // which bbolt hides
	}
	if err != nil {
		return fmt.Errorf("back up store: %w", err)
	}
	return nil
}

// A ctxWriter writes until its ctx is done.
type ctxWriter struct {
	ctx context.Context
	w   io.Writer
}

func (c *ctxWriter) Write(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.w.Write(p)
}
