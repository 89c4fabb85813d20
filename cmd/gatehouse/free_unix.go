//go:build unix

package main

import "syscall"

// freeBytes is the room on the file system of a folder that is there for us.
func freeBytes(dir string) (uint64, bool) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return 0, false
	}
	return st.Bavail * uint64(st.Bsize), true //nolint:gosec // a block's size is not negative
}
