package boltstore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	bolt "go.etcd.io/bbolt"
)

// InspectFile is [Inspect] of a file that nobody writes to.
func InspectFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("open store: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("open store: %w", err)
	}
	if err := Inspect(f, info.Size()); err != nil {
		return damaged(path, err.Error())
	}
	return nil
}

// compactBytes are written in one transaction of Compact.
const compactBytes = 4 << 20

// Compact writes a database anew without the pages that nothing uses, into a file
// that must not be there. Nobody may have the database open for writing; it is
// read and checked first, and so is what was written.
func Compact(from, to string) error {
	if _, err := os.Lstat(to); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("compact store: %s is there already", to)
	}
	if err := InspectFile(from); err != nil {
		return err
	}
	src, err := bolt.Open(from, 0o600, &bolt.Options{ReadOnly: true, Timeout: lockWait, FreelistType: bolt.FreelistMapType})
	if err != nil {
		return fmt.Errorf("compact store: %w", err)
	}
	defer func() { _ = src.Close() }() // nothing was written to it
	dst, err := bolt.Open(to, 0o600, settings(nil))
	if err != nil {
		return fmt.Errorf("compact store: %w", err)
	}
	dst.AllocSize = os.Getpagesize() // grow by what is needed
	err = bolt.Compact(dst, src, compactBytes)
	if err = errors.Join(err, dst.Close()); err == nil {
		if err = InspectFile(to); err == nil {
			return syncDir(filepath.Dir(to))
		}
	}
	return fmt.Errorf("compact store: %w", errors.Join(err, os.Remove(to)))
}
