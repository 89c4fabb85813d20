//go:build !linux

package boltstore_test

// openWide has nothing to widen here.
func openWide(string) {}
