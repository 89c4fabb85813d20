package session

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/gatehouse-sso/gatehouse/provisioning/store"
)

// A browser gives the gateway's cookie to the gateway's host alone. To sign in
// at a service's host too, the gateway makes a one-time ticket for that host,
// bound to a random value that the service's host put into this very browser
// before it sent the person away; the service's host redeems it for a key. A
// ticket that leaks is of no use in another browser, at another host, a second
// time or after TicketLife.

// TicketLife is how long a ticket can be redeemed.
const TicketLife = 30 * time.Second

// ErrTicket: no such ticket, or not for this host, or used, or old, or in a
// browser that keeps no cookies. ErrBinding is one of those too: the browser has
// another binding, because it is another browser, or because several tabs got
// one at the same moment and the last of them stayed. So is ErrElsewhere: another
// process made it, such as the one before an upgrade, and nobody here knows whether
// it was used.
var (
	ErrTicket    = errors.New("session: ticket is not valid here")
	ErrBinding   = fmt.Errorf("%w: it is for another browser", ErrTicket)
	ErrElsewhere = fmt.Errorf("%w: another process made it", ErrTicket)
)

// A Handover is what one process has under way between hosts, also while its Stores
// are replaced: tickets, which live and die with it, so that each works once without
// being stored; and keys that were made and are not stored yet. The zero Handover
// is not ready, make one with NewHandover.
//
// A key that a crash takes is made again, unasked, when its browser comes next: the
// session is stored, and so is the key of the gateway's own host.
type Handover struct {
	process string // part of each ticket
	wake    chan struct{}
	writing sync.Mutex // one at a time stores keys

	mu      sync.Mutex
	tickets map[[32]byte]ticket
	swept   time.Time
	keys    map[[32]byte]made
}

// made is a key that is not stored yet, and whose visit it is.
type made struct {
	key
	user string
}

// Bounds of a Handover. A ticket beyond maxTickets takes the place of some other: so
// many are not asked for in the moment that one needs. With maxBehind keys that can
// not be stored, others have to wait for the store.
const (
	maxTickets = 100_000
	maxBehind  = 10_000
)

type ticket struct {
	session, host string
	bind          string // Binding of the browser's value
	until         time.Time
}

// NewHandover makes an empty one.
func NewHandover() *Handover {
	return &Handover{process: Nonce()[:11], wake: make(chan struct{}, 1), tickets: map[[32]byte]ticket{}, keys: map[[32]byte]made{}}
}

// offer keeps a ticket and returns what the browser takes along.
func (h *Handover) offer(t ticket, now time.Time) string {
	secret, sum := random()
	h.mu.Lock()
	defer h.mu.Unlock()
	if now.Sub(h.swept) >= TicketLife || now.Before(h.swept) {
		h.swept = now
		for sum, t := range h.tickets {
			if !now.Before(t.until) {
				delete(h.tickets, sum)
			}
		}
	}
	if len(h.tickets) >= maxTickets {
		for other := range h.tickets { // they come in no order
			delete(h.tickets, other)
			break
		}
	}
	h.tickets[sum] = t
	return h.process + "." + secret
}

// take uses a ticket up.
func (h *Handover) take(text string) (ticket, error) {
	process, secret, _ := strings.Cut(text, ".")
	sum, err := hash(secret)
	if err != nil {
		return ticket{}, ErrTicket
	}
	if process != h.process {
		return ticket{}, ErrElsewhere
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	t, ok := h.tickets[sum]
	if !ok {
		return ticket{}, ErrTicket
	}
	delete(h.tickets, sum)
	return t, nil
}

// hold keeps a key until it is stored, unless there are too many.
func (h *Handover) hold(sum [32]byte, k made) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.keys) >= maxBehind {
		return false
	}
	h.keys[sum] = k
	select {
	case h.wake <- struct{}{}:
	default:
	}
	return true
}

// held is a key that is not stored yet.
func (h *Handover) held(sum [32]byte) (k key, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	m, ok := h.keys[sum]
	return m.key, ok
}

// some are at most n of the keys that are not stored yet.
func (h *Handover) some(n int) map[[32]byte]made {
	h.mu.Lock()
	defer h.mu.Unlock()
	list := make(map[[32]byte]made, min(n, len(h.keys)))
	for sum, k := range h.keys {
		if len(list) == n {
			break
		}
		list[sum] = k
	}
	return list
}

func (h *Handover) stored(list map[[32]byte]made) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for sum := range list {
		delete(h.keys, sum)
	}
}

// Nonce makes a value for a browser to hold.
func Nonce() string {
	v, _ := random()
	return v
}

// Binding is what may be shown of a browser's value: its hash. It is empty,
// and binds nothing, if value is not a Nonce.
func Binding(value string) string {
	sum, err := hash(value)
	if err != nil {
		return ""
	}
	return encode(sum[:])
}

// IsBinding reports whether text looks like a Binding.
func IsBinding(text string) bool { return len(text) == 43 }

// Offer makes a ticket that lets the browser bound by bind into session id at host.
func (s *Store) Offer(ctx context.Context, id, host, bind string) (string, error) {
	if _, err := s.Peek(ctx, id); err != nil {
		return "", err
	}
	return s.offer(id, host, bind), nil
}

func (s *Store) offer(id, host, bind string) string {
	now := s.c.Now()
	return s.c.Handover.offer(ticket{id, host, bind, now.Add(TicketLife)}, now)
}

// Redeem turns a ticket into the value of host's cookie. A ticket is used up even by
// a redeemer it was not for. ErrNone says that the session has ended meanwhile.
func (s *Store) Redeem(ctx context.Context, secret, host, browser string) (cookie string, err error) {
	t, err := s.c.Handover.take(secret)
	if err != nil {
		return "", err
	}
	switch bind := Binding(browser); {
	case t.host != host || t.bind == "" || bind == "" || !s.c.Now().Before(t.until):
		return "", ErrTicket
	case t.bind != bind:
		return "", ErrBinding
	}
	if cookie, ok := s.addKeyBehind(t.session, host); ok {
		return cookie, nil
	}
	var a added
	if err := s.c.Store.Update(ctx, func(tx store.Tx) error {
		a, err = s.addKey(tx, t.session, host)
		return err
	}); err != nil {
		return "", err
	}
	s.addedKey(a)
	return a.secret, nil
}

// addKeyBehind makes a cookie value for one more host of a session all of whose keys
// are in memory, if none has to go for it. It is stored within keysBehind.
func (s *Store) addKeyBehind(id, host string) (secret string, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.byID[id]
	if l == nil || !l.whole {
		return "", false
	}
	n := 0
	for k := l.keys; k != nil; k = k.next {
		if n++; k.host == host {
			return "", false
		}
	}
	if n >= maxKeys {
		return "", false
	}
	secret, sum := random()
	if !s.c.Handover.hold(sum, made{key{encode(sum[:]), host, id, s.c.Now()}, l.UserID}) {
		return "", false
	}
	s.open(l, sum, host)
	return secret, true
}

// keysBehind is how long keys wait for others, to be stored with them.
const keysBehind = time.Second

// storeKeys stores the keys that wait, until ctx ends.
func (s *Store) storeKeys(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.c.Handover.wake:
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(keysBehind):
		}
		if s.writeKeys(ctx) != nil {
			select { // later again
			case s.c.Handover.wake <- struct{}{}:
			default:
			}
		}
	}
}

// writeKeys stores the keys that wait.
func (s *Store) writeKeys(ctx context.Context) error {
	s.c.Handover.writing.Lock()
	defer s.c.Handover.writing.Unlock()
	const each = 16 // keys in a transaction, with their visits and index entries far below store.MaxKeys
	for {
		list := s.c.Handover.some(each)
		if len(list) == 0 {
			return nil
		}
		if err := s.c.Store.Update(ctx, func(tx store.Tx) error {
			for _, m := range list {
				if err := s.visitTx(tx, m.Host, m.user); err != nil {
					return err
				}
				_, ok, err := sessionRows.Get(tx, m.Session)
				if ok { // else it has ended
					err = keyRows.Insert(tx, m.key)
				}
				if err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			return err
		}
		s.c.Handover.stored(list)
	}
}
