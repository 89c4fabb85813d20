package folder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
)

// Local is a folder of this machine. It is there already.
func Local(dir string) Place { return local(dir) }

type local string

func (l local) String() string { return string(l) }

func (l local) Open(ctx context.Context) (Folder, error) {
	root, err := os.OpenRoot(string(l))
	if err != nil {
		return nil, fmt.Errorf("open folder: %w", err)
	}
	return &localFolder{ctx, root}, nil
}

// localFolder stays in its folder: os.Root follows no link that leads out of it.
type localFolder struct {
	ctx  context.Context // of Open: a Folder lives no longer
	root *os.Root
}

func (l *localFolder) List(dir string) ([]File, error) {
	at := "."
	if dir != "" {
		at = dir
	}
	if err := begin(l.ctx, path.Join(dir, "x")); err != nil {
		return nil, err
	}
	entries, err := fs.ReadDir(l.root.FS(), at)
	if dir != "" && errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list folder: %w", err)
	}
	var list []File
	for _, e := range entries {
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue // somebody took it since
		}
		if err != nil {
			return nil, fmt.Errorf("list folder: %w", err)
		}
		if info.Mode().IsRegular() && Check(e.Name()) == nil {
			list = append(list, File{e.Name(), info.Size(), info.ModTime()})
		}
	}
	return list, nil
}

func (l *localFolder) Read(name string) (io.ReadCloser, error) {
	if err := begin(l.ctx, name); err != nil {
		return nil, err
	}
	f, err := l.root.Open(name)
	if err != nil {
		return nil, fmt.Errorf("read file: %w", err)
	}
	return &bounded{l.ctx, f}, nil
}

func (l *localFolder) Write(name string, fn func(io.Writer) error) error {
	if err := begin(l.ctx, name, name+Part); err != nil {
		return err
	}
	if err := l.makeDir(name); err != nil {
		return err
	}
	part := name + Part
	f, err := l.root.OpenFile(part, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("write file: %w", err)
	}
	err = fn(f)
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, l.ctx.Err(), f.Close())
	if err == nil {
		err = l.root.Rename(part, name)
	}
	if err != nil {
		_ = l.root.Remove(part)
		return fmt.Errorf("write file: %w", err)
	}
	return l.sync(inside(name))
}

// sync brings what a folder lists to the disk.
func (l *localFolder) sync(dir string) error {
	if dir == "" {
		dir = "."
	}
	d, err := l.root.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func (l *localFolder) makeDir(name string) error {
	dir := inside(name)
	if dir == "" {
		return nil
	}
	if err := l.root.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("make folder: %w", err)
	}
	return nil
}

func (l *localFolder) Move(from, to string) error {
	if err := begin(l.ctx, from, to); err != nil {
		return err
	}
	if err := l.makeDir(to); err != nil {
		return err
	}
	if _, err := l.root.Lstat(to); err == nil {
		return fmt.Errorf("move file to %s: %w", to, fs.ErrExist)
	}
	if err := l.root.Rename(from, to); err != nil {
		return fmt.Errorf("move file: %w", err)
	}
	return errors.Join(l.sync(inside(from)), l.sync(inside(to)))
}

func (l *localFolder) Remove(name string) error {
	if err := begin(l.ctx, name); err != nil {
		return err
	}
	if err := l.root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove file: %w", err)
	}
	return nil
}

func (l *localFolder) Close() error { return l.root.Close() }
