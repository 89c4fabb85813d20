package gateway

import (
	"errors"
	"math"
	"net/netip"
	"strconv"
	"time"

	"github.com/maypok86/otter/v2"
	"golang.org/x/time/rate"
)

// A Pace bounds what people may ask for before they are known: requests without
// a session, by address, and sign-ins, by the person whom an identity provider
// named. Who is signed in is never slowed. It lasts as long as the process, so that
// a changed configuration forgives nobody.
type Pace struct {
	addresses, people *otter.Cache[string, *rate.Limiter]
	address, person   rate.Limit
	bursts            [2]int
	refused           func(by string)
	now               func() time.Time
}

// PaceConfig of a Pace.
type PaceConfig struct {
	// PerAddress is how many requests a second one address, or one network of
	// IPv6 with 64 bits, may send without a session; ten times as many at once.
	PerAddress int
	// PerPerson is how many sign-ins a minute one person may finish; as many at
	// once.
	PerPerson int
	Refused   func(by string) // is told of each refusal: of an "address" or a "person"; may be nil
	Now       func() time.Time
}

// pacedMost is how many addresses, and people, are remembered. One that is
// forgotten begins anew; a flood from more than these is none that counting
// addresses could stop.
const pacedMost = 100_000

// NewPace makes a Pace.
func NewPace(c PaceConfig) *Pace {
	made := func() *otter.Cache[string, *rate.Limiter] {
		return otter.Must(&otter.Options[string, *rate.Limiter]{MaximumSize: pacedMost})
	}
	p := &Pace{
		addresses: made(), people: made(), address: rate.Limit(c.PerAddress), person: rate.Every(time.Minute) * rate.Limit(c.PerPerson),
		bursts: [2]int{10 * c.PerAddress, c.PerPerson}, refused: c.Refused, now: c.Now,
	}
	if p.now == nil {
		p.now = time.Now
	}
	return p
}

// fromAddress takes one request of an address.
func (p *Pace) fromAddress(a netip.Addr) error {
	if p == nil {
		return nil
	}
	a = a.Unmap().WithZone("")
	if a.Is6() { // whoever has one address of IPv6 has 2^64
		if net, err := a.Prefix(64); err == nil {
			a = net.Addr()
		}
	}
	return p.take("address", p.addresses, a.String(), p.address, p.bursts[0])
}

// ofPerson takes one sign-in of a person.
func (p *Pace) ofPerson(issuer, subject string) error {
	if p == nil {
		return nil
	}
	return p.take("person", p.people, issuer+"\x00"+subject, p.person, p.bursts[1])
}

func (p *Pace) take(by string, known *otter.Cache[string, *rate.Limiter], key string, limit rate.Limit, burst int) error {
	l, ok := known.GetIfPresent(key)
	if !ok {
		l, _ = known.SetIfAbsent(key, rate.NewLimiter(limit, burst))
	}
	now := p.now()
	if l.AllowN(now, 1) {
		return nil
	}
	if p.refused != nil {
		p.refused(by)
	}
	wait := max(1, int(math.Ceil((1-l.TokensAt(now))/float64(limit))))
	return refusal{code: ReasonTooMany, detail: "too many requests of one " + by, after: wait}
}

// paced refuses who is not signed in and sends too much. It reports whether the
// visit is over.
func (v *visit) paced() bool {
	if v.session != nil || v.bears != nil {
		return false
	}
	err := v.g.c.Pace.fromAddress(v.from)
	if err != nil {
		v.refuse(err)
	}
	return err != nil
}

// comeAgain tells the caller when, if the refusal knows.
func (v *visit) comeAgain(err error) {
	var r refusal
	if errors.As(err, &r) && r.after > 0 {
		v.w.Header().Set("Retry-After", strconv.Itoa(r.after))
	}
}
