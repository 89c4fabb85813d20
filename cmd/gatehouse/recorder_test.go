package main

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-sso/gatehouse/provisioning/audit"
	"github.com/gatehouse-sso/gatehouse/provisioning/store/boltstore"
	"github.com/gatehouse-sso/gatehouse/provisioning/store/storetest"
)

// O25, of the record: whoever is not signed in can be refused as often as they
// like, and must not fill the disk by it.
func TestO25_AFloodOfRefusalsDoesNotFillTheRecord(t *testing.T) {
	t.Parallel()
	st, err := boltstore.Open(filepath.Join(t.TempDir(), "g.db"), boltstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	r := newRecorder(st, audit.New(nil), slog.New(slog.DiscardHandler), time.Now)
	const flood = 2 * strangersBurst
	for range flood {
		r.Record(audit.Event{Kind: "refused", Code: "path.unknown", From: "192.0.2.1"})
	}
	// The flood hides neither who is known nor another kind.
	r.Record(audit.Event{Kind: "refused", Code: "path.unknown", UserID: "kim"})
	r.Record(audit.Event{Kind: "login.refused", Code: "login.state_unknown"})
	over, cancel := context.WithCancel(t.Context())
	cancel()
	r.run(over)
	n := map[string]int{}
	known := 0
	for e, err := range audit.Events(t.Context(), st, audit.Query{}) {
		if err != nil {
			t.Fatal(err)
		}
		n[e.Kind]++
		if e.UserID != "" {
			known++
		}
	}
	if n["refused"] < strangersBurst || n["refused"] > strangersBurst+200 || n["audit.dropped"] == 0 {
		t.Errorf("of %d refusals of strangers %d are recorded one by one, and %d times a count", flood, n["refused"], n["audit.dropped"])
	}
	if known != 1 || n["login.refused"] != 1 {
		t.Errorf("of one user %d refusals, of sign-ins %d; want 1 and 1", known, n["login.refused"])
	}
}

// What a store refused for however long is counted, each event once, and the count is
// recorded when it can be written again.
func TestR04_EventsThatCouldNotBeWrittenAreCounted(t *testing.T) {
	t.Parallel()
	st, err := boltstore.Open(filepath.Join(t.TempDir(), "g.db"), boltstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	power := &storetest.Failing{Store: st}
	r := newRecorder(power, audit.New(nil), slog.New(slog.DiscardHandler), time.Now)
	over, cancel := context.WithCancel(t.Context())
	cancel()
	const lost = 5*recordBatch + 1
	for range lost {
		r.Record(audit.Event{Kind: "denied", UserID: "kim"})
	}
	r.run(over)
	power.Left = never
	for range 2 { // the count is there once
		r.Record(audit.Event{Kind: "denied", UserID: "bob"})
		r.run(over)
	}
	var counts []string
	for e, err := range audit.Events(t.Context(), st, audit.Query{Kind: "audit.dropped"}) {
		if err != nil {
			t.Fatal(err)
		}
		counts = append(counts, e.Text)
	}
	if want := fmt.Sprint(lost, " refusals"); len(counts) != 1 || !strings.HasPrefix(counts[0], want) {
		t.Errorf("recorded is %q, want %q once", counts, want)
	}
}
