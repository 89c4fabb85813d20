//go:build unix

package main

import (
	"fmt"
	"net/http"
	"sync"
	"syscall"
	"testing"
	"time"
)

// R23: a fifth of a processor's time. Everything takes longer, and nothing fails,
// hangs or is lost.
func TestR23_WithLittleProcessorTimeEverythingIsDoneLater(t *testing.T) {
	t.Parallel()
	y := newYard(t, crowd(often(4, 60)), nil)
	c, in := y.started(t)
	stop, still := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(still)
		for {
			_ = c.cmd.Process.Signal(syscall.SIGSTOP)
			select {
			case <-stop:
				_ = c.cmd.Process.Signal(syscall.SIGCONT)
				return
			case <-time.After(40 * time.Millisecond):
			}
			_ = c.cmd.Process.Signal(syscall.SIGCONT)
			time.Sleep(10 * time.Millisecond)
		}
	}()
	var wg sync.WaitGroup
	for _, p := range y.people[1:] {
		wg.Go(func() {
			if err := newGuest(y, c, p.User).reach(); err != nil {
				t.Errorf("%s: %v", p.User, err)
			}
		})
	}
	for range often(20, 1000) {
		if page, err := in.get(y.wiki()); err != nil || page.StatusCode != http.StatusOK {
			t.Errorf("%d, %v", page.StatusCode, err)
		}
	}
	wg.Wait()
	close(stop)
	<-still
	resp, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/readyz", y.config.Admin))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("it is not ready: %s", resp.Status)
	}
	if code := c.terminate(); code != 0 {
		t.Errorf("it ended with %d", code)
	}
	y.check(t)
}
