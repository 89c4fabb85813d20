package main

import (
	"testing"
	"time"
)

func TestAnEndIsPrintedAsItCanBeTyped(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, time.December, 1, 9, 30, 0, 0, time.UTC)
	for typed, want := range map[string]string{
		"": "without end", "2026-12-31": "2026-12-31", "2027-01-01T00:00:00Z": "2026-12-31", "2026-12-31T17:00:00Z": "2026-12-31 17:00:00", "8h": "2026-12-01 17:30:00",
	} {
		if end, err := endOf(typed, now); err != nil || endText(end) != want {
			t.Errorf("%q is printed as %q, %v; want %q", typed, endText(end), err, want)
		}
	}
}
