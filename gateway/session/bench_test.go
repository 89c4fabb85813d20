package session

import (
	"fmt"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gatehouse-sso/gatehouse/provisioning/store/boltstore"
)

// BenchmarkBegin is what the session costs of a sign-in, in a store that has 20,000,
// where so many begin at the same time, which share commits.
func BenchmarkBegin(b *testing.B) {
	st, err := boltstore.Open(filepath.Join(b.TempDir(), "store"), boltstore.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer st.Close()
	s, next := New(Config{Store: st}), 0
	begin := func(n, hands int) {
		var wg sync.WaitGroup
		for hand := range hands {
			wg.Go(func() {
				for i := hand; i < n; i += hands {
					who := fmt.Sprint("u", next+i)
					row := Row{Session: Session{UserID: who, Provider: "op", AuthTime: time.Now()}, ProviderSession: who, ProviderName: Named("op", "name", who)}
					if err := s.Begin(b.Context(), s.Beginning(row, "wiki.example", "")); err != nil {
						b.Error(err)
					}
				}
			})
		}
		wg.Wait()
		next += n
	}
	begin(20_000, 64)
	for _, hands := range []int{1, 4, 16} {
		b.Run(fmt.Sprint(hands), func(b *testing.B) {
			before := processorTime(b)
			begin(b.N, hands)
			b.ReportMetric(float64((processorTime(b)-before).Microseconds())/float64(b.N), "cpu-µs/op")
		})
	}
}

func processorTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
