package gateway

import (
	"fmt"
	"net/http"
	"net/netip"
	"testing"
	"time"
)

func TestWhoIsNotSignedInIsPacedByAddress(t *testing.T) {
	t.Parallel()
	told := 0
	f := newFront(t, func(_ *front, c *Config) {
		c.Pace = NewPace(PaceConfig{PerAddress: 2, PerPerson: 5, Refused: func(string) { told++ }})
	})
	alice := f.guest("alice", "fin")
	alice.cookie("wiki")
	for i := range 20 {
		if w := f.ask(nil, "GET", "wiki", fmt.Sprintf("/%d", i)); w.StatusCode != http.StatusUnauthorized {
			t.Fatalf("request %d: %d", i, w.StatusCode)
		}
	}
	w := f.ask(nil, "GET", "wiki", "/")
	f.refused(w, http.StatusTooManyRequests, ReasonTooMany)
	if w.Header.Get("Retry-After") != "1" {
		t.Errorf("Retry-After: %q", w.Header.Get("Retry-After"))
	}
	if told != 1 {
		t.Errorf("%d refusals were counted", told)
	}
	// The same address, with a session: never.
	for range 50 {
		f.passed(f.ask(alice, "GET", "wiki", "/"))
	}
}

func TestPaceKnowsAddressesApartAndForgivesInTime(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	p := NewPace(PaceConfig{PerAddress: 1, PerPerson: 2, Now: func() time.Time { return now }})
	at := func(s string) bool { return p.fromAddress(netip.MustParseAddr(s)) == nil }
	drain := func(s string) (n int) {
		for at(s) {
			n++
		}
		return n
	}
	if n := drain("192.0.2.1"); n != 10 {
		t.Errorf("%d at once", n)
	}
	if at("::ffff:192.0.2.1") {
		t.Error("another spelling of the address is another address")
	}
	if !at("192.0.2.2") {
		t.Error("another address pays for it")
	}
	drain("2001:db8:1:1::1")
	if at("2001:db8:1:1:ffff::2") {
		t.Error("an address of the same network is another")
	}
	if !at("2001:db8:1:2::1") {
		t.Error("another network pays for it")
	}
	now = now.Add(time.Second)
	if first, second := at("192.0.2.1"), at("192.0.2.1"); !first || second {
		t.Error("one a second is forgiven")
	}
	for i := range 3 {
		if err := p.ofPerson("i", "kim"); (err == nil) != (i < 2) {
			t.Errorf("sign-in %d of a person: %v; want two, and no third", i+1, err)
		}
	}
	if p.ofPerson("j", "kim") != nil {
		t.Error("another person pays for it")
	}
	now = now.Add(30 * time.Second)
	if p.ofPerson("i", "kim") != nil {
		t.Error("a sign-in was not forgiven")
	}
}
