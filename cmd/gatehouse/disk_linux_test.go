package main

import (
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// R04: the store's disk is full. Who is signed in works on, who signs in is told that it
// did not happen, and who signs out that they are out, and stay so, or that they are not.
// When there is room again all of it happens, without a restart.
func TestR04_OnAFullDiskWhoIsSignedInWorksOn(t *testing.T) {
	t.Parallel()
	disk := t.TempDir()
	if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=4m,mode=0700"); err != nil {
		if os.Getenv("GATEHOUSE_FAULTS") != "" {
			t.Fatal(err)
		}
		t.Skipf("the right to mount is needed, which is not here: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(disk, syscall.MNT_DETACH) })
	y := newYard(t, crowd(300), func(c *yardConfig) { c.Mode = "async" })
	raw, err := os.ReadFile(y.file())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(y.file(), []byte(strings.Replace(string(raw), "bolt:./gatehouse.db", "bolt:"+disk+"/gatehouse.db", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	c, in := y.started(t)
	leaves := newGuest(y, c, y.people[1].User)
	if err := leaves.reach(); err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(disk, "other")
	f, err := os.Create(other)
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	_ = f.Close()

	// The store has some pages to spare, which are used up first.
	signIn := func(g *guest) guestPage {
		t.Helper()
		page, err := g.get(y.wiki())
		if err == nil {
			page, err = g.do(http.MethodPost, page.Request.URL.String(), url.Values{"user": {g.user}})
		}
		if err != nil {
			t.Fatal(err)
		}
		return page
	}
	signOut := func(g *guest) int {
		t.Helper()
		page, err := g.get(strings.Replace(y.wiki(), "/report", "/.gatehouse/logout", 1))
		if err == nil {
			page, err = g.do(http.MethodPost, page.Request.URL.String(), url.Values{"scope": {"here"}})
		}
		if err != nil {
			t.Fatal(err)
		}
		return page.StatusCode
	}
	var refused *guest
	several := 2
	for ; refused == nil && several < len(y.people); several++ {
		g := newGuest(y, c, y.people[several].User)
		// Who waits for accounts is in.
		if page := signIn(g); page.StatusCode != http.StatusOK && page.Header.Get("Refresh") == "" {
			refused = g
			if page.StatusCode < 500 || !strings.Contains(page.body, "helpdesk@campus.example") {
				t.Errorf("who signs in sees %d: %s", page.StatusCode, page.body)
			}
		}
	}
	if refused == nil {
		t.Fatal("the disk was never full")
	}
	t.Logf("%d people came in before the disk was full", several-1)
	y.people = y.people[:several] // who is here in the end
	for range 20 {
		in.isIn(t)
	}
	isOut := func(when string) {
		t.Helper()
		if page, err := leaves.get(y.wiki()); err != nil || !strings.HasSuffix(page.Request.URL.Path, "/authorize") {
			t.Errorf("%s who signed out sees %v, %d, %v", when, page.Request.URL, page.StatusCode, err)
		}
	}
	switch status := signOut(leaves); {
	case status == http.StatusOK: // it takes less than what it frees
		isOut("on a full disk")
	case status >= 500:
		leaves.isIn(t)
	default:
		t.Errorf("who signs out is told %d", status)
	}
	if !strings.Contains(c.log.String(), "the disk is full") {
		t.Error("the log does not say that the disk is full")
	}

	if err := os.Remove(other); err != nil {
		t.Fatal(err)
	}
	if err := refused.reach(); err != nil {
		t.Errorf("when there is room: %v", err)
	}
	if err := leaves.reach(); err != nil {
		t.Errorf("when there is room: %v", err)
	}
	if status := signOut(leaves); status != http.StatusOK {
		t.Errorf("when there is room, who signs out is told %d", status)
	}
	eventually(t, "nothing is left to do", func() bool { return y.left(c) == 0 })
	c.kill()
	if err := c.start(); err != nil {
		t.Fatalf("%v\n%s", err, c.log)
	}
	in.isIn(t)
	refused.isIn(t)
	isOut("after a crash")
	if code := c.terminate(); code != 0 {
		t.Errorf("it ended with %d", code)
	}
	y.check(t)
}
