//go:build !linux

package external

// endMarked can not look into the environment of processes here.
func endMarked(string) {}
