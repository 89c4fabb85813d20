package main

import "time"

// A skim goes over the rows of a list that leaves some of them out, for one page. It
// ends when whoever waits for the page has waited long enough, and the page says
// where the next one goes on. However slow the machine is, it gets on.
type skim struct {
	rows, most int
	until      time.Time
}

const (
	leastLooked = 100 // rows, whatever time that takes
	mostLooked  = 20_000
	lookTime    = 300 * time.Millisecond
)

func (a *api) skim() *skim { return &skim{most: a.looks, until: time.Now().Add(lookTime)} }

// on reports whether to look at one more row.
func (s *skim) on() bool {
	s.rows++
	return s.rows < s.most && (s.rows < leastLooked || time.Now().Before(s.until))
}
