package boltstore_test

import (
	"bytes"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"

	bolt "go.etcd.io/bbolt"

	"github.com/gatehouse-sso/gatehouse/provisioning/store"
)

// BenchmarkUpdate writes 1 KiB rows with 1, 16 and 64 goroutines, beside bbolt's own
// Update and Batch in the same run.
func BenchmarkUpdate(b *testing.B) {
	val := make([]byte, 1024)
	for _, n := range []int{1, 16, 64} {
		b.Run(fmt.Sprintf("store/%d", n), func(b *testing.B) {
			s := open(b, filepath.Join(b.TempDir(), "db"))
			inParallel(b, n, func(key []byte) error {
				return s.Update(b.Context(), func(tx store.Tx) error { return tx.Put(key, val) })
			})
		})
		for name, update := range map[string]func(*bolt.DB, func(*bolt.Tx) error) error{"bolt": (*bolt.DB).Update, "batch": (*bolt.DB).Batch} {
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				db, err := bolt.Open(filepath.Join(b.TempDir(), "db"), 0o600, &bolt.Options{FreelistType: bolt.FreelistMapType, NoFreelistSync: true})
				if err != nil {
					b.Fatal(err)
				}
				defer db.Close()
				if err := db.Update(func(tx *bolt.Tx) error { _, err := tx.CreateBucket([]byte("b")); return err }); err != nil {
					b.Fatal(err)
				}
				inParallel(b, n, func(key []byte) error {
					return update(db, func(tx *bolt.Tx) error { return tx.Bucket([]byte("b")).Put(key, val) })
				})
			})
		}
	}
}

// inParallel calls f with b.N keys of 10000, from n goroutines.
func inParallel(b *testing.B, n int, f func(key []byte) error) {
	var at atomic.Int64
	done := make(chan error)
	b.ReportAllocs()
	b.ResetTimer()
	for range n {
		go func() {
			var err error
			for i := at.Add(1); i <= int64(b.N) && err == nil; i = at.Add(1) {
				err = f(fmt.Appendf(nil, "%05d", i*7919%10_000))
			}
			done <- err
		}()
	}
	for range n {
		if err := <-done; err != nil {
			b.Error(err)
		}
	}
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "updates/s")
}

// BenchmarkView reads one key of 10000, beside bbolt's own View in the same run.
func BenchmarkView(b *testing.B) {
	path := filepath.Join(b.TempDir(), "db")
	s := open(b, path)
	rows := map[string]string{}
	for i := range 10_000 {
		rows[fmt.Sprintf("%05d", i)] = string(make([]byte, 1024))
	}
	write(b, s, rows)
	keys := slices.Sorted(maps.Keys(rows))
	b.Run("store", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			err := s.View(b.Context(), func(tx store.Tx) error {
				_, ok, err := tx.Get([]byte(keys[i*7919%len(keys)]))
				if !ok {
					b.Error("it is not there")
				}
				return err
			})
			if err != nil {
				b.Fatal(err)
			}
		}
	})
	s.Close()
	db, err := bolt.Open(path, 0o600, nil)
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	b.Run("bolt", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			err := db.View(func(tx *bolt.Tx) error {
				if v := bytes.Clone(tx.Bucket([]byte("store")).Get([]byte(keys[i*7919%len(keys)]))); v == nil {
					b.Error("it is not there")
				}
				return nil
			})
			if err != nil {
				b.Fatal(err)
			}
		}
	})
}
