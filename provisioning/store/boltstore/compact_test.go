package boltstore_test

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"testing"

	"github.com/gatehouse-sso/gatehouse/provisioning/store"
	"github.com/gatehouse-sso/gatehouse/provisioning/store/boltstore"
)

// pairs are all that a store at path holds.
func pairs(t *testing.T, path string) map[string]string {
	t.Helper()
	s, err := boltstore.Open(path, boltstore.Options{Check: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	all := map[string]string{}
	if err := s.View(t.Context(), func(tx store.Tx) error {
		for p, err := range tx.Scan(nil, nil, 0) {
			if err != nil {
				return err
			}
			all[string(p.Key)] = string(p.Val)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return all
}

// worn is a store with some rows that are there and many that are not any more.
func worn(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "a.db")
	s, err := boltstore.Open(path, boltstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for round := range 40 {
		if err := s.Update(t.Context(), func(tx store.Tx) error {
			for i := range 40 {
				key := fmt.Appendf(nil, "key-%03d-%03d", round, i)
				if err := tx.Put(key, make([]byte, 4000)); err != nil {
					return err
				}
				if round >= 2 {
					if err := tx.Delete(fmt.Appendf(nil, "key-%03d-%03d", round-2, i)); err != nil {
						return err
					}
				}
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestCompactKeepsEveryRowAndDropsTheRest(t *testing.T) {
	t.Parallel()
	from := worn(t)
	to := filepath.Join(t.TempDir(), "b.db")
	if err := boltstore.Compact(from, to); err != nil {
		t.Fatal(err)
	}
	was, err := os.Stat(from)
	if err != nil {
		t.Fatal(err)
	}
	is, err := os.Stat(to)
	if err != nil {
		t.Fatal(err)
	}
	if is.Size() >= was.Size() {
		t.Errorf("%d bytes became %d", was.Size(), is.Size())
	}
	if a, b := pairs(t, from), pairs(t, to); len(a) != 80 || !maps.Equal(a, b) {
		t.Errorf("%d rows became %d", len(a), len(b))
	}
	if err := boltstore.Compact(from, to); err == nil {
		t.Error("a file that was there was replaced")
	}
}

func TestADamagedFileIsNotCompacted(t *testing.T) {
	t.Parallel()
	from := worn(t)
	f, err := os.OpenFile(from, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte{1, 2, 3, 4, 5, 6, 7, 8}, 0); err != nil {
		t.Fatal(err)
	}
	f.Close()
	to := filepath.Join(t.TempDir(), "b.db")
	if err := boltstore.Compact(from, to); !errors.Is(err, store.ErrDamaged) {
		t.Errorf("%v", err)
	}
	if _, err := os.Stat(to); err == nil {
		t.Error("something was left")
	}
}

func TestCopyTakesEveryRowIntoAnEmptyStore(t *testing.T) {
	t.Parallel()
	from := worn(t)
	to := filepath.Join(t.TempDir(), "b.db")
	a, err := boltstore.Open(from, boltstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	b, err := boltstore.Open(to, boltstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	n, err := store.Copy(t.Context(), b, a)
	if err != nil || n != 80 {
		t.Errorf("%d rows, %v", n, err)
	}
	if _, err := store.Copy(t.Context(), b, a); !errors.Is(err, store.ErrNotEmpty) {
		t.Errorf("into one that is not empty: %v", err)
	}
	if err := errors.Join(a.Close(), b.Close()); err != nil {
		t.Fatal(err)
	}
	if a, b := pairs(t, from), pairs(t, to); !maps.Equal(a, b) {
		t.Error("the copy is another")
	}
}
