// Package folder is where files are handed over: a folder of this machine, or
// one on another, over SFTP.
//
// A [Place] is where it is, a [Folder] is that folder while it is open. Whoever
// hands something over and whoever takes it know nothing of each other, and any of
// them may die at any time; so
//
//   - what is written has another name until it is whole and on the disk (Write),
//   - what is taken is moved away first, which only one can do (Move).
//
// Names are those of files in the folder, or in a folder right inside it. No name
// leads out of it.
package folder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// A Place is where a folder is.
type Place interface {
	// Open opens it. When ctx ends, so does whatever is under way, with an error.
	Open(ctx context.Context) (Folder, error)
	// String names the place to an administrator, without a secret.
	String() string
}

// A Folder is an open folder. It is used by one goroutine.
type Folder interface {
	// List returns the files that are right in it (dir is empty) or right in a
	// folder in it, in no order. A folder that is not there has none.
	List(dir string) ([]File, error)
	// Read opens a file to read it.
	Read(name string) (io.ReadCloser, error)
	// Write makes a file, or replaces it, by what fn writes. Others see it
	// whole or as it was before: until it is on the disk it is called name.part.
	Write(name string, fn func(io.Writer) error) error
	// Move gives a file another name, and makes the folder that the name wants.
	// It is fs.ErrNotExist if there is no such file any more, and fs.ErrExist if
	// the other name is taken.
	Move(from, to string) error
	// Remove removes a file; that it is not there is no error.
	Remove(name string) error
	Close() error
}

// A File is what a folder tells of a file.
type File struct {
	Name     string
	Size     int64
	Modified time.Time
}

// Part ends the name of a file that is not whole yet.
const Part = ".part"

// Errors besides those of io/fs.
var (
	// ErrName: the name is none, or would lead out of the folder.
	ErrName = errors.New("folder: not the name of a file here")
	// ErrRefused: the other machine does not know us, or is not the one it should be.
	ErrRefused = errors.New("folder: refused")
)

// Check refuses a name that is not one of a file in the folder or right inside a
// folder in it.
func Check(name string) error {
	parts := strings.Split(name, "/")
	if len(parts) > 2 {
		return ErrName
	}
	for _, p := range parts {
		if p == "" || strings.HasPrefix(p, ".") || len(p) > 200 || strings.ContainsFunc(p, func(r rune) bool { return r < ' ' || r == '\\' || r == 0x7f }) {
			return ErrName
		}
	}
	return nil
}

// begin says whether something may begin with these names. A connection whose
// context has ended is closed a moment later only: so everything asks first.
func begin(ctx context.Context, names ...string) error {
	for _, n := range names {
		if err := Check(n); err != nil {
			return fmt.Errorf("%w: %q", err, n)
		}
	}
	return ctx.Err()
}

// bounded reads until ctx ends.
type bounded struct {
	ctx context.Context
	io.ReadCloser
}

func (b *bounded) Read(p []byte) (int, error) {
	if err := b.ctx.Err(); err != nil {
		return 0, err
	}
	return b.ReadCloser.Read(p)
}

// inside is the folder of a name, empty if it is not in one.
func inside(name string) string {
	dir, _, ok := strings.Cut(name, "/")
	if !ok {
		return ""
	}
	return dir
}
