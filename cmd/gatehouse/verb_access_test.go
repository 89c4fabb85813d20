package main

import (
	"bytes"
	"net/http"
	"net/url"
	"strings"
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

// Who takes a list for the whole of it decides wrongly.
func TestAListThatMayGoOnSaysSo(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	l.admin(http.MethodPost, "users", url.Values{"name": {"ada"}}, nil)
	l.admin(http.MethodPost, "users", url.Values{"name": {"ben"}}, nil)
	for limit, want := range map[string]string{"2": "these are the first 2;", "3": ""} {
		cmd, out, said := usersCommand(), new(bytes.Buffer), new(bytes.Buffer)
		cmd.SetOut(out)
		cmd.SetErr(said)
		cmd.SetArgs([]string{"list", "-c", l.config, "--limit", limit})
		if err := cmd.ExecuteContext(t.Context()); err != nil || !strings.Contains(out.String(), "ben") {
			t.Fatalf("%v: %s%s", err, out, said)
		}
		if got := said.String(); (want == "") != (got == "") || !strings.HasPrefix(got, want) {
			t.Errorf("of two, at most %s: %q", limit, got)
		}
	}
}
