package main

import (
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
)

// Z06: a reload under load. Each answer is that of one whole configuration, a
// request that begins after it was taken has the answer of the new one, and no
// request fails for it.
func TestZ06_AReloadUnderLoadIsOneConfigurationOrTheOther(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	p := l.in("campus", "alice")
	const open, shut = "allow: { signed_in: true }", "allow: { groups: [nobody-is-here] }"
	rounds := 6
	if os.Getenv("GATEHOUSE_FAULTS") != "" {
		rounds = 100
	}
	// inForce counts the configurations taken; it is odd while one is on its way.
	var inForce, asked, cut, broken, wrong atomic.Int64
	// What is under way when its right ends is cut: the doors shut while it was.
	ends := func(before int64) {
		if before%4 == 1 || before%4 == 0 && inForce.Load() != before {
			cut.Add(1)
		} else {
			broken.Add(1)
		}
	}
	var stop atomic.Bool
	var wg sync.WaitGroup
	for range 8 {
		q := p.copied(l, "wiki", "wiki")
		wg.Go(func() {
			for !stop.Load() {
				before := inForce.Load()
				r, _ := http.NewRequest(http.MethodGet, l.at("wiki", "/"), nil)
				resp, err := q.client.Transport.RoundTrip(withCookies(r, q))
				if err != nil {
					ends(before)
					continue
				}
				resp.Body.Close()
				asked.Add(1)
				switch {
				case resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusForbidden:
					ends(before)
				case before%2 == 0 && inForce.Load() == before && (resp.StatusCode == http.StatusOK) != (before%4 == 0):
					wrong.Add(1)
				}
			}
		})
	}
	for round := range rounds {
		seen := asked.Load()
		eventually(t, "requests come through", func() bool { return asked.Load() > seen+50 })
		from, to := open, shut
		if round%2 == 1 {
			from, to = shut, open
		}
		inForce.Add(1)
		l.reload(func(yaml string) string { return strings.ReplaceAll(yaml, from, to) })
		inForce.Add(1)
	}
	stop.Store(true)
	wg.Wait()
	if n := broken.Load(); n > 0 {
		t.Errorf("%d of %d requests failed, and %d more as their right ended", n, asked.Load(), cut.Load())
	}
	if n := wrong.Load(); n > 0 {
		t.Errorf("%d of %d requests had the answer of another configuration", n, asked.Load())
	}
}

// What a process lives with from its start is not changed by a reload, and never
// silently: nothing of that configuration is taken, and the log says what it takes.
func TestAReloadRefusesWhatItCanNotChange(t *testing.T) {
	t.Parallel()
	l := newLab(t, func(c *labConfig) { c.TLS = true })
	before := l.p.site.Load()
	read := func(name string) string {
		raw, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		return string(raw)
	}
	whole := read(l.config)
	if err := os.WriteFile(l.dir+"/other.crt", []byte(read(l.dir+"/tls.crt")), 0o600); err != nil {
		t.Fatal(err)
	}
	for key, change := range map[string][2]string{
		"store":                       {"/gatehouse.db", "/other.db"},
		"server.listen":               {"  listen: 127.0.0.1:", "  listen: 127.0.0.2:"},
		"server.tls":                  {"/tls.crt", "/other.crt"},
		"server.proxy_protocol":       {"store: bolt", "  proxy_protocol: [ 10.0.0.0/8 ]\nstore: bolt"},
		"limits.header_size":          {"limits: {", "limits: { header_size: 40KiB,"},
		"limits.requests_per_address": {"requests_per_address: 1", "requests_per_address: 2"},
		"limits.sign_ins_per_person":  {"sign_ins_per_person: 1", "sign_ins_per_person: 2"},
	} {
		next := strings.Replace(whole, change[0], change[1], 1)
		next = strings.Replace(next, "title: Wiki", "title: Taken by halves", 1)
		if next == whole {
			t.Fatalf("%s is not in the file", key)
		}
		if err := os.WriteFile(l.config, []byte(next), 0o600); err != nil {
			t.Fatal(err)
		}
		l.hup <- syscall.SIGHUP
		eventually(t, key+" is refused", func() bool { return strings.Contains(l.log.String(), "a change of "+key+" needs a restart") })
		if l.p.site.Load() != before {
			t.Errorf("%s: the configuration was taken", key)
		}
		if good, _ := l.p.config.last(); good {
			t.Errorf("%s: the metric says that it was", key)
		}
	}
}

// Of a certificate a reload says what the start says: what browsers refuse is served and
// told, what can not be used is not taken.
func TestAReloadSaysWhatIsWrongWithTheCertificate(t *testing.T) {
	t.Parallel()
	l := newLab(t, func(c *labConfig) { c.TLS = true })
	const told = "the certificate is not for else.where.test, so browsers refuse it there"
	if strings.Contains(l.log.String(), told) {
		t.Fatal("it is told before it is so")
	}
	l.reload(func(yaml string) string {
		return strings.Replace(yaml, "host: wiki.localhost", "host: else.where.test", 1)
	})
	eventually(t, "it is told that the certificate is for other hosts", func() bool { return strings.Contains(l.log.String(), told) })

	other := t.TempDir()
	writePair(t, other)
	key, err := os.ReadFile(other + "/tls.key")
	if err == nil {
		err = os.WriteFile(l.dir+"/tls.key", key, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	before := l.p.site.Load()
	l.hup <- syscall.SIGHUP
	eventually(t, "a certificate with the key of another is refused", func() bool { good, _ := l.p.config.last(); return !good })
	if l.p.site.Load() != before || !strings.Contains(l.log.String(), "the certificate can not be used with its key") {
		t.Errorf("the configuration was taken, or nobody says why not: %s", l.log)
	}
}
