package upstream

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"
)

// A Check is how a member is asked whether it is well.
type Check struct {
	Path    string        // that a GET is for
	Host    string        // that it names; empty: the member's own
	Every   time.Duration // from the end of one to the next
	Timeout time.Duration
	Fails   int   // in a row, until it is down
	Passes  int   // in a row, until it is up again
	Status  []int // that will do; empty: 200 to 399
}

// maxChecked is how much of an answer is read, in bytes, so that its connection
// can be used again.
const maxChecked = 64 << 10

// Run asks each member again and again, until ctx ends. The first answer counts
// by itself; from then on Fails and Passes in a row do.
func (s *Set) Run(ctx context.Context) {
	if s.Check == nil {
		return
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	for _, m := range s.members {
		wg.Go(func() {
			for wait := time.NewTimer(0); ; wait.Reset(s.Check.Every) {
				select {
				case <-ctx.Done():
					wait.Stop()
					return
				case <-wait.C:
				}
				if err := s.ask(ctx, m); ctx.Err() == nil {
					s.note(m, err)
				}
			}
		})
	}
}

// ask a member once.
func (s *Set) ask(ctx context.Context, m *Member) error {
	ctx, cancel := context.WithTimeout(ctx, s.Check.Timeout)
	defer cancel()
	u := *m.URL
	u.Path = s.Check.Path
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return err
	}
	r.Host = s.Check.Host
	r.Header.Set("User-Agent", "gatehouse-check")
	resp, err := s.Transport.RoundTrip(r)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if _, err := io.CopyN(io.Discard, resp.Body, maxChecked); err != nil && err != io.EOF { //nolint:errorlint // CopyN says it as it is
		return err
	}
	if list := s.Check.Status; len(list) > 0 && !slices.Contains(list, resp.StatusCode) || len(list) == 0 && (resp.StatusCode < 200 || resp.StatusCode > 399) {
		return fmt.Errorf("the answer %d", resp.StatusCode)
	}
	return nil
}

// note what a check has shown.
func (s *Set) note(m *Member, err error) {
	down := m.down.Load()
	if (err != nil) == down {
		m.streak.Store(0)
		m.known.Store(true)
		return
	}
	need := s.Check.Passes
	if err != nil {
		need = s.Check.Fails
	}
	if n := m.streak.Add(1); m.known.Swap(true) && int(n) < need {
		return
	}
	m.streak.Store(0)
	m.down.Store(err != nil)
	if err != nil {
		s.tell(m, Down, err)
		return
	}
	// Whatever requests have shown before, it answers now.
	m.fails.Store(0)
	m.gone.Store(false)
	m.until.Store(0)
	s.tell(m, Well, nil)
}
