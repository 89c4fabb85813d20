// Package memorytest lets a process have little memory, by a control group of the
// kernel, as containers are held. It needs the right to make one.
package memorytest

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"testing"
)

// Confine lets a process have so many bytes of memory, the pages of files included,
// and no more: the kernel takes those back, and kills the process if that is not
// enough. most is what it had at most, as the kernel counts; ok says whether all of
// this could be done.
func Confine(t testing.TB, pid, limit int) (most func() int, ok bool) {
	t.Helper()
	for _, v := range []struct{ root, limit, most string }{
		{"/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.max_usage_in_bytes"},
		{"/sys/fs/cgroup", "memory.max", "memory.peak"},
	} {
		dir, err := os.MkdirTemp(v.root, "gatehouse-test-")
		if err != nil {
			continue
		}
		t.Cleanup(func() { _ = os.Remove(dir) })
		write := func(file string, n int) bool {
			return os.WriteFile(filepath.Join(dir, file), []byte(strconv.Itoa(n)), 0o600) == nil
		}
		most := func() int {
			raw, err := os.ReadFile(filepath.Join(dir, v.most))
			if n, err := strconv.Atoi(string(bytes.TrimSpace(raw))); err == nil {
				return n
			}
			t.Fatalf("what it had at most is not known: %q, %v", raw, err)
			return 0
		}
		_, err = os.Stat(filepath.Join(dir, v.most)) // kernels before 5.19 may not have it
		if err == nil && write(v.limit, limit) && write("cgroup.procs", pid) {
			return most, true
		}
	}
	return nil, false
}
