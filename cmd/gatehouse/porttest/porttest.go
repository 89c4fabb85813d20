// Package porttest finds ports for programs that have to be told theirs before they
// listen.
package porttest

import (
	"fmt"
	"net"
	"os"
	"sync/atomic"
	"testing"
)

// next is where to look next, so that tests that run at the same time do not get the
// same; other runs begin elsewhere.
var next = func() *atomic.Int64 {
	var n atomic.Int64
	n.Store(int64(os.Getpid()%4000) * 4)
	return &n
}()

// Free finds n free ports in a row. They are below those that an operating system gives
// away by itself, so that nothing takes one between the look and the use.
func Free(t testing.TB, n int) int {
	t.Helper()
	for range 1000 {
		port := 12000 + int((next.Add(int64(n))-int64(n))%20000)
		var all []net.Listener
		for i := range n {
			ln, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port+i))
			if err != nil {
				break
			}
			all = append(all, ln)
		}
		for _, ln := range all {
			_ = ln.Close()
		}
		if len(all) == n {
			return port
		}
	}
	t.Fatalf("there are no %d free ports in a row", n)
	return 0
}
