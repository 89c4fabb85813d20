package client

import (
	"math"
	"sync"
	"time"

	"github.com/gatehouse-sso/gatehouse/provisioning/store"
)

// Limits remember who guessed, and who asked how often. They are bounded, and
// outlive configurations.
type Limits struct {
	guesses pails // by network and whom they claim to be
	calls   pails // by client
}

// Wrong credentials from one network: guessBurst at once, then one each guessEvery.
const (
	guessBurst = 20
	guessEvery = 6 * time.Second
)

// maxPails bounds how many are remembered; then those that are full go, and if
// that is not enough, any.
const maxPails = 50_000

// NewLimits makes Limits that have seen nobody.
func NewLimits() *Limits { return &Limits{} }

// pails are token buckets by key. A pail that is not there is full.
type pails struct {
	mu sync.Mutex
	m  map[string]pail
}

type pail struct {
	left float64
	at   time.Time
}

// level is what is in a pail that fills with rate a second, up to burst.
func (p *pails) level(key string, rate, burst float64, now time.Time) float64 {
	l, ok := p.m[key]
	if !ok {
		return burst
	}
	return min(burst, l.left+rate*max(0, now.Sub(l.at).Seconds()))
}

func (p *pails) set(key string, left float64, now time.Time, full func(string) bool) {
	if p.m == nil {
		p.m = map[string]pail{}
	}
	if _, known := p.m[key]; !known && len(p.m) >= maxPails {
		for k := range p.m {
			if full(k) {
				delete(p.m, k)
			}
		}
		for k := range p.m {
			if len(p.m) < maxPails {
				break
			}
			delete(p.m, k)
		}
	}
	p.m[key] = pail{left, now}
}

const guessRate = float64(time.Second) / float64(guessEvery)

func wait(missing, rate float64) error {
	return &Throttled{time.Duration(math.Ceil(missing/rate)) * time.Second}
}

// full says that there were too many wrong credentials.
func (p *pails) full(from, claimed string, now time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if left := p.level(guess(from, claimed), guessRate, guessBurst, now); left < 1 {
		return wait(1-left, guessRate)
	}
	return nil
}

// take counts a wrong credential, and says if there were too many.
func (p *pails) take(from, claimed string, now time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	key := guess(from, claimed)
	left := p.level(key, guessRate, guessBurst, now)
	if left < 1 {
		return wait(1-left, guessRate)
	}
	p.set(key, left-1, now, func(k string) bool { return p.level(k, guessRate, guessBurst, now) >= guessBurst })
	return nil
}

func guess(from, claimed string) string {
	return string(store.Key(from, claimed[:min(len(claimed), 64)]))
}

// spend counts a request of a client with so many a second, and says if that is
// too many. What it did not use in one second it may use in the next.
func (p *pails) spend(client string, rate float64, now time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	burst := max(2*rate, 1)
	left := p.level(client, rate, burst, now)
	if left < 1 {
		return wait(1-left, rate)
	}
	p.set(client, left-1, now, func(string) bool { return false })
	return nil
}
