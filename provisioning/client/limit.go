package client

import (
	"container/list"
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

// maxPails bounds how many are remembered; then the one that was used longest ago goes.
const maxPails = 50_000

// NewLimits makes Limits that have seen nobody.
func NewLimits() *Limits { return &Limits{} }

// pails are token buckets by key. A pail that is not there is full. What one request
// costs does not depend on how many there are.
type pails struct {
	mu  sync.Mutex
	m   map[string]*list.Element // of pail
	use list.List                // the one used longest ago first
}

type pail struct {
	key  string
	left float64
	at   time.Time
	full time.Time // when it is again
}

// level is what is in a pail that fills with rate a second, up to burst.
func (p *pails) level(key string, rate, burst float64, now time.Time) float64 {
	e := p.m[key]
	if e == nil {
		return burst
	}
	l := e.Value.(pail)
	return min(burst, l.left+rate*max(0, now.Sub(l.at).Seconds()))
}

// set notes what is left in a pail. For each that it adds it forgets up to two that
// are full again, and one more if there are too many.
func (p *pails) set(key string, left, rate, burst float64, now time.Time) {
	l := pail{key, left, now, now.Add(time.Duration((burst - left) / rate * float64(time.Second)))}
	if e := p.m[key]; e != nil {
		e.Value = l
		p.use.MoveToBack(e)
		return
	}
	if p.m == nil {
		p.m = map[string]*list.Element{}
	}
	for range 2 {
		if e := p.use.Front(); e != nil && !now.Before(e.Value.(pail).full) {
			p.forget(e)
		}
	}
	if len(p.m) >= maxPails {
		p.forget(p.use.Front())
	}
	p.m[key] = p.use.PushBack(l)
}

func (p *pails) forget(e *list.Element) {
	delete(p.m, e.Value.(pail).key)
	p.use.Remove(e)
}

const guessRate = float64(time.Second) / float64(guessEvery)

// wait says when to come again to a pail that is empty. Who keeps coming is not forgotten.
func (p *pails) wait(key string, missing, rate float64) error {
	if e := p.m[key]; e != nil {
		p.use.MoveToBack(e)
	}
	return &Throttled{time.Duration(math.Ceil(missing/rate)) * time.Second}
}

// full says that there were too many wrong credentials.
func (p *pails) full(from, claimed string, now time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	key := guess(from, claimed)
	if left := p.level(key, guessRate, guessBurst, now); left < 1 {
		return p.wait(key, 1-left, guessRate)
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
		return p.wait(key, 1-left, guessRate)
	}
	p.set(key, left-1, guessRate, guessBurst, now)
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
		return p.wait(client, 1-left, rate)
	}
	p.set(client, left-1, rate, burst, now)
	return nil
}
