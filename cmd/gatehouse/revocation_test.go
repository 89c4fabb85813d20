package main

import (
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/gatehouse-sso/gatehouse/federation/idptest"
	webapi "github.com/gatehouse-sso/gatehouse/web/api"
)

// TestFaultsRevocationIsFelt ends sessions in every way there is, each time with a
// stream open, and asserts that no request that begins afterwards is let in and
// that every stream ends. How long both took is printed; with GATEHOUSE_FAULTS=1
// of 1,000 trials.
func TestFaultsRevocationIsFelt(t *testing.T) {
	t.Parallel()
	trials := 8
	if os.Getenv("GATEHOUSE_FAULTS") != "" {
		trials = 1000
	}
	l := newLab(t, nil)
	alice := idptest.Campus()[0].ID
	ways := []struct {
		name string
		end  func(p *person, sid, id string)
	}{
		{"sign-out", func(p *person, _, _ string) {
			p.open(l.at("", "/.gatehouse/logout")).post(url.Values{"scope": {"here"}})
		}},
		{"administrator", func(_ *person, _, id string) { l.admin(http.MethodDelete, "sessions", url.Values{"id": {id}}, nil) }},
		{"back channel", func(_ *person, sid, _ string) {
			if p := l.backChannel("campus", l.campus.LogoutToken("gatehouse", alice, sid, idptest.OPFault{})); p.status != http.StatusOK {
				t.Errorf("back channel: %d %s", p.status, p.body)
			}
		}},
		{"disabled", func(*person, string, string) {
			l.admin(http.MethodPost, "user/active", url.Values{"name": {"alice"}, "active": {"false"}}, nil)
		}},
	}
	refused, cut := map[string][]time.Duration{}, map[string][]time.Duration{}
	for i := range trials {
		way := ways[i%len(ways)]
		p := l.in("campus", "alice")
		sid := l.theirs("campus", "alice")[0]
		var list []webapi.Session
		l.admin(http.MethodGet, "sessions", url.Values{"name": {"alice"}}, &list)
		q := p.copied(l, "wiki", "wiki")
		r, err := http.NewRequest(http.MethodGet, l.at("wiki", "/events"), nil)
		if err != nil {
			t.Fatal(err)
		}
		stream, err := q.client.Transport.RoundTrip(withCookies(r, q))
		if err != nil || stream.StatusCode != http.StatusOK {
			t.Fatal(stream, err)
		}
		if _, err := io.ReadFull(stream.Body, make([]byte, 5)); err != nil {
			t.Fatal(err)
		}
		ended := make(chan time.Time, 1)
		go func() {
			_, _ = io.Copy(io.Discard, stream.Body)
			ended <- time.Now()
			_ = stream.Body.Close()
		}()
		if q.program(http.MethodGet, l.at("wiki", "/")); q.status != http.StatusOK {
			t.Fatalf("%s: a request before it gets %d", way.name, q.status)
		}
		began := time.Now()
		way.end(p, sid, list[0].ID)
		if q.program(http.MethodGet, l.at("wiki", "/")); q.status != http.StatusUnauthorized {
			t.Fatalf("%s: a request that begins afterwards gets %d", way.name, q.status)
		}
		refused[way.name] = append(refused[way.name], time.Since(began))
		cut[way.name] = append(cut[way.name], (<-ended).Sub(began))
		l.admin(http.MethodPost, "user/active", url.Values{"name": {"alice"}, "active": {"true"}}, nil)
		q.client.CloseIdleConnections()
		p.client.CloseIdleConnections()
	}
	t.Logf("%-14s %8s %28s %28s", "", "trials", "next request refused", "stream cut")
	for _, way := range ways {
		a, b := refused[way.name], cut[way.name]
		slices.Sort(a)
		slices.Sort(b)
		of := func(d []time.Duration, part float64) time.Duration {
			return d[min(len(d)-1, int(part*float64(len(d))))].Round(100 * time.Microsecond)
		}
		t.Logf("%-14s %8d   p50 %-9s p99 %-9s   p50 %-9s p99 %-9s", way.name, len(a), of(a, .5), of(a, .99), of(b, .5), of(b, .99))
	}
}
