//go:build linux

package boltstore_test

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/gatehouse-sso/gatehouse/provisioning/store"
)

// openWide lets this process make files that everybody may write.
func openWide(string) { syscall.Umask(0) }

// TestR04 fills a small file system with another file.
func TestR04_AFullDiskLosesNothingAndIsGotOver(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := mountSmall(dir); err != nil {
		t.Skipf("a file system of its own can not be mounted: %v", err)
	}
	defer unmount(dir)
	s := open(t, filepath.Join(dir, "db"))
	defer s.Close()
	rows := map[string]string{}
	put := func(i int) error {
		key, val := fmt.Sprintf("%05d", i), strings.Repeat("v", 5000)
		err := s.Update(t.Context(), func(tx store.Tx) error { return tx.Put([]byte(key), []byte(val)) })
		if err == nil {
			rows[key] = val
		}
		return err
	}
	for i := range 100 {
		if err := put(i); err != nil {
			t.Fatal(err)
		}
	}
	other := filepath.Join(dir, "other")
	f, err := os.Create(other)
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	f.Close()
	full := 0
	for i := 100; i < 1000 && full < 5; i++ {
		if err := put(i); err != nil {
			full++
			if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "the disk is full") {
				t.Errorf("on a full disk: %v", err)
			}
		}
	}
	if full == 0 {
		t.Fatal("the disk was never full")
	}
	if got, err := read(s); err != nil || !maps.Equal(got, rows) {
		t.Errorf("on a full disk there are %d rows of %d, %v", len(got), len(rows), err)
	}
	if err := os.Remove(other); err != nil {
		t.Fatal(err)
	}
	for i := 2000; i < 2010; i++ {
		if err := put(i); err != nil {
			t.Errorf("when there is space again: %v", err)
		}
	}
	s.Close()
	if got, err := read(open(t, filepath.Join(dir, "db"))); err != nil || !maps.Equal(got, rows) {
		t.Errorf("after opening again there are %d rows of %d, %v", len(got), len(rows), err)
	}
}
func mountSmall(dir string) error {
	return syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=4m,mode=0700")
}

func unmount(dir string) { _ = syscall.Unmount(dir, syscall.MNT_DETACH) }
