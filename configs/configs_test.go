package configs

import (
	"path/filepath"
	"testing"
)

// examples are the files that people start from.
func examples(t *testing.T) []string {
	t.Helper()
	all, err := filepath.Glob("*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 4 {
		t.Fatalf("there are %d examples", len(all))
	}
	return all
}
