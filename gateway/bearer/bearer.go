// Package bearer knows programs by what they bear: a credential in the
// Authorization header of each request (RFC 6750).
//
//	Bearer gh_service_…  ─▶ Tokens: made here, shown once, for some paths of some
//	                        services, until an end
//	Bearer eyJ…          ─▶ Issuer: a JWT of a listed issuer, for a listed audience
//	                        and subject, until its own end
//
// Both become a [Caller]: a subject of policy that says what it is, so that the
// same rules decide and the same release tells the service. It is never a person,
// and no rule about people lets it in.
//
// A credential that is not believed is a refusal, never nobody: who shows
// something forged is not let in as if they had shown nothing. Whatever can not be
// found out refuses too. Who guesses is slowed down, by network.
//
// The request path reads memory alone, but for a JWT that was not seen in the last
// minute. Tokens are kept true by Store.Watch, from this process and from any
// replica; a revocation is in force before Revoke returns.
package bearer

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/gatehouse-sso/gatehouse/authz"
)

// Reason codes.
const (
	ReasonUnknown   = "caller.unknown"
	ReasonScope     = "caller.scope"
	ReasonJWT       = "caller.jwt"
	ReasonKeys      = "caller.keys"
	ReasonThrottled = "caller.throttled"
)

// Reasons says each code in one sentence for an administrator.
var Reasons = map[string]string{
	ReasonUnknown:   "A program's token is none that is known here, or has ended.",
	ReasonScope:     "A program's token is not for this service or path.",
	ReasonJWT:       "A program's JWT is not one that the service takes: its issuer, audience, subject, times, algorithm or signature.",
	ReasonKeys:      "The keys of an issuer could not be had, so its JWTs can not be checked.",
	ReasonThrottled: "Too many tokens that are none came from one network.",
}

// A Refusal is why a credential was not believed. Its detail is for the log.
type Refusal struct {
	Code, Detail string
	After        time.Duration // when to come again; 0: not known
}

func (r *Refusal) Error() string { return r.Code + ": " + r.Detail }

// Reason is the reason code.
func (r *Refusal) Reason() string { return r.Code }

func refused(code, format string, args ...any) error {
	return &Refusal{Code: code, Detail: fmt.Sprintf(format, args...)}
}

// A Caller is a program that proved who it is. It is shared: read it only.
type Caller struct {
	Subject authz.Subject
	Until   time.Time // when the credential ends
	// Key is the same for the same credential, and gives nothing of it away.
	Key string

	token *Token // ours; nil: claims are
	claims
}

// Mark of a credential's kind in Subject.Caller, and of programs among the names
// of subjects: no user store can be called so, since IDs have no colon.
const (
	tokenCaller = "token:"
	subjects    = "caller:"
)

// A Service is what one service takes.
type Service struct {
	Tokens  bool // those made here whose scope it is in
	Issuers []*Issuer
}

// Config of Callers.
type Config struct {
	Services map[string]Service // by ID; one that is not here takes nothing
	Tokens   *Tokens
	Keys     *Keys
	Limits   *Limits
	Now      func() time.Time
}

// Callers knows who may call the services of one configuration, besides people.
type Callers struct {
	Config

	mu   sync.Mutex
	seen map[seenKey]seenJWT
}

// A JWT that was checked is believed for a while without another look at its
// signature. seenMost bounds how many are remembered.
const (
	seenFor  = time.Minute
	seenMost = 10_000
)

type seenKey struct {
	service string
	sum     [sha256.Size]byte
}

type seenJWT struct {
	caller *Caller
	at     time.Time
}

// New makes Callers.
func New(c Config) *Callers { return &Callers{Config: c, seen: map[seenKey]seenJWT{}} }

// Takes reports whether a service takes any credential.
func (c *Callers) Takes(service string) bool {
	if c == nil {
		return false
	}
	s := c.Services[service]
	return s.Tokens || len(s.Issuers) > 0
}

// maxBearer bounds a credential, in bytes.
const maxBearer = 8 << 10

// Credential is the one in Authorization headers; "" if they have another scheme
// or there are none. More than one is a refusal.
func Credential(authorization []string) (string, error) {
	var found string
	for _, a := range authorization {
		scheme, rest, _ := strings.Cut(a, " ")
		if !strings.EqualFold(scheme, "Bearer") {
			continue
		}
		if len(authorization) > 1 {
			return "", refused(ReasonUnknown, "%d Authorization headers", len(authorization))
		}
		if found = strings.TrimSpace(rest); found == "" || len(found) > maxBearer || strings.ContainsAny(found, " \t,") {
			return "", refused(ReasonUnknown, "not the form of a token")
		}
	}
	return found, nil
}

// Know tells who bears a credential, asking for a path of a service; or why they
// are not believed.
func (c *Callers) Know(ctx context.Context, credential, service, path string, from netip.Addr) (*Caller, error) {
	s := c.Services[service]
	if strings.HasPrefix(credential, tokenPrefix) {
		if !s.Tokens {
			return nil, refused(ReasonScope, "%s takes no tokens", service)
		}
		k, err := c.Tokens.know(credential)
		if err == nil {
			err = c.still(k, s, service, path)
		}
		return c.answer(k, err, from)
	}
	key := seenKey{service, sha256.Sum256([]byte(credential))}
	c.mu.Lock()
	was, ok := c.seen[key]
	c.mu.Unlock()
	now := c.Now()
	if age := now.Sub(was.at); ok && age >= 0 && age < seenFor {
		return c.answer(was.caller, c.still(was.caller, s, service, path), from)
	}
	if err := c.Limits.spent(from, now); err != nil {
		return nil, err // before anything that costs
	}
	k, err := c.judge(ctx, credential, s)
	if err == nil {
		k.Key = fmt.Sprintf("jwt:%s:%x", service, key.sum)
		c.mu.Lock()
		if len(c.seen) >= seenMost {
			clear(c.seen)
		}
		c.seen[key] = seenJWT{k, now}
		c.mu.Unlock()
	}
	return c.answer(k, err, from)
}

func (c *Callers) answer(k *Caller, err error, from netip.Addr) (*Caller, error) {
	if err == nil {
		return k, nil
	}
	if r, ok := err.(*Refusal); ok && (r.Code == ReasonUnknown || r.Code == ReasonJWT) { //nolint:errorlint // they are made here
		err = c.Limits.wrong(from, c.Now(), err)
	}
	return nil, err
}

// Asker is the token by whose bearer a decision is asked for.
func (c *Callers) Asker(credential string, from netip.Addr) (*Token, error) {
	k, err := c.Tokens.know(credential)
	if err == nil {
		switch t := c.Tokens.current(k.token.ID); {
		case t == nil || !c.Now().Before(t.Until):
			err = refused(ReasonUnknown, "the token %s has ended", k.token.ID)
		case len(t.Asks) == 0:
			err = refused(ReasonScope, "the token %s is for no decisions", t.ID)
		default:
			c.Tokens.use(t.ID, c.Now())
			return t, nil
		}
	}
	_, err = c.answer(nil, err, from)
	return nil, err
}

// Still says why a caller who was known before is not any more; nil: they are.
func (c *Callers) Still(k *Caller, service, path string) error {
	if c == nil {
		return refused(ReasonScope, "no service takes programs any more")
	}
	return c.still(k, c.Services[service], service, path)
}

func (c *Callers) still(k *Caller, s Service, service, path string) error {
	now := c.Now()
	if k.token != nil {
		switch t := c.Tokens.current(k.token.ID); {
		case t == nil:
			return refused(ReasonUnknown, "the token %s was revoked", k.token.ID)
		case !now.Before(t.Until):
			return refused(ReasonUnknown, "the token %s has ended", t.ID)
		case !s.Tokens || !t.covers(service, path):
			return refused(ReasonScope, "the token %s is not for %s%s", t.ID, service, path)
		}
		c.Tokens.use(k.token.ID, now)
		return nil
	}
	for _, i := range s.Issuers {
		if subjects+i.ID == k.Subject.Store && i.fits(k.claims, now) == nil {
			return nil
		}
	}
	return refused(ReasonJWT, "%s takes no such JWT any more, or it has ended", service)
}

// Limits remember who guessed. They are bounded, and outlive configurations.
type Limits struct {
	mu sync.Mutex
	m  map[netip.Prefix]*rate.Limiter
}

// Wrong credentials from one network: guessBurst at once, then one each
// guessEvery. maxGuessers bounds how many networks are remembered.
const (
	guessBurst  = 20
	guessEvery  = 6 * time.Second
	maxGuessers = 50_000
)

// NewLimits makes Limits that have seen nobody.
func NewLimits() *Limits { return &Limits{m: map[netip.Prefix]*rate.Limiter{}} }

// of is the limiter of a network, nil if it guessed nothing yet.
func (l *Limits) of(from netip.Addr, make bool) *rate.Limiter {
	bits := 32
	if from = from.Unmap().WithZone(""); from.Is6() {
		bits = 64 // whoever has one address of IPv6 has 2^64
	}
	network, _ := from.Prefix(bits) // the zero Prefix for who has no address
	lim := l.m[network]
	if lim == nil && make {
		if len(l.m) >= maxGuessers {
			clear(l.m)
		}
		lim = rate.NewLimiter(rate.Every(guessEvery), guessBurst)
		l.m[network] = lim
	}
	return lim
}

// spent says that a network has guessed too often.
func (l *Limits) spent(from netip.Addr, now time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if lim := l.of(from, false); lim != nil && lim.TokensAt(now) < 1 {
		return &Refusal{Code: ReasonThrottled, Detail: "too many wrong tokens from one network", After: guessEvery}
	}
	return nil
}

// wrong counts one, and is what to say of it.
func (l *Limits) wrong(from netip.Addr, now time.Time, why error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.of(from, true).AllowN(now, 1) {
		return why
	}
	return &Refusal{Code: ReasonThrottled, Detail: "too many wrong tokens from one network; " + why.Error(), After: guessEvery}
}
