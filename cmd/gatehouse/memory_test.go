package main

import (
	"os"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/gatehouse-sso/gatehouse/federation/idptest"
	"github.com/gatehouse-sso/gatehouse/provisioning/memorytest"
)

// R22: a process that may have 128 MiB, the pages of its store included, signs
// thousands in and makes their accounts at two targets. The kernel does not have to
// end it, and whoever came is still signed in.
func TestR22_WithLittleMemoryManySignInAndNobodyIsLost(t *testing.T) {
	if os.Getenv("GATEHOUSE_FAULTS") == "" {
		t.Skip("the long form only: the limit is the kernel's, and counts the race detector too")
	}
	info, _ := debug.ReadBuildInfo()
	if slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"}) {
		t.Skip("the race detector takes several times the memory")
	}
	const persons, hands, limit = 10_000, 16, 128 << 20
	people := crowd(persons)
	slices.SortFunc(people, func(a, b idptest.Person) int { return strings.Compare(a.User, b.User) })
	y := newYard(t, people, nil)
	c := newChild(y)
	if err := c.start(); err != nil {
		t.Fatal(err)
	}
	pid := c.cmd.Process.Pid
	most, ok := memorytest.Confine(t, pid, limit)
	if !ok {
		t.Skip("this needs the right to make a control group")
	}
	guests := make([]*guest, persons)
	for _, what := range []string{"signs in", "comes again"} {
		var wg sync.WaitGroup
		for hand := range hands {
			wg.Go(func() {
				for i := hand; i < persons && !t.Failed(); i += hands {
					g := guests[i]
					if g == nil {
						g = newGuest(y, c, y.people[i].User)
						guests[i] = g
						if err := g.reach(); err != nil {
							t.Errorf("%s %s: %v", g.user, what, err)
						}
					} else if page, err := g.get(y.wiki()); err != nil || page.StatusCode != 200 || page.Request.URL.String() != y.wiki() {
						t.Errorf("%s %s: %v, at %v", g.user, what, err, page.Request.URL)
					}
					g.client.CloseIdleConnections()
				}
			})
		}
		wg.Wait()
		select {
		case <-c.ended:
			t.Fatalf("it ended: %v\n%s", c.cmd.ProcessState, c.log)
		default:
		}
		status, _ := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "status"))
		t.Logf("everybody %s: its group had %d bytes at most, %s", what, most(), regexp.MustCompile("RssAnon:.*").Find(status))
	}
	c.kill()
	y.check(t)
}
