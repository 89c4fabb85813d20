package session

import (
	"context"
	"errors"
	"fmt"
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
// one at the same moment and the last of them stayed.
var (
	ErrTicket  = errors.New("session: ticket is not valid here")
	ErrBinding = fmt.Errorf("%w: it is for another browser", ErrTicket)
)

type ticket struct {
	Hash    string    `json:"hash"`
	Session string    `json:"session"`
	Host    string    `json:"host"`
	Bind    string    `json:"bind"` // Binding of the browser's value
	URL     string    `json:"url"`
	Until   time.Time `json:"until"`
}

var tickets = store.Table[ticket]{
	Name:  "session_ticket",
	Key:   func(t ticket) string { return t.Hash },
	Index: map[string]func(ticket) []string{"until": func(t ticket) []string { return []string{stamp(t.Until)} }},
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

// Offer makes a ticket that lets the browser bound by bind into session id at
// host, to go on to url.
func (s *Store) Offer(ctx context.Context, id, host, bind, url string) (string, error) {
	t, secret := s.newTicket(id, host, bind, url)
	err := s.c.Store.Update(ctx, func(tx store.Tx) error {
		if _, ok, err := sessionRows.Get(tx, id); err != nil || !ok {
			return orNone(err)
		}
		return s.offer(tx, t)
	})
	return secret, err
}

func (s *Store) newTicket(id, host, bind, url string) (t ticket, secret string) {
	secret, sum := random()
	return ticket{encode(sum[:]), id, host, bind, url, s.c.Now().Add(TicketLife)}, secret
}

// offer writes a ticket. Whoever makes one takes a few old ones away.
func (s *Store) offer(tx store.Tx, t ticket) error {
	old, err := collect(tickets.Range(tx, "until", "", stamp(s.c.Now()), 4))
	if err != nil {
		return err
	}
	for _, t := range old {
		if err := tickets.Drop(tx, t); err != nil {
			return err
		}
	}
	return tickets.Insert(tx, t)
}

// Redeem turns a ticket into the value of host's cookie and the address to go
// on to. A ticket is used up even by a redeemer it was not for. ErrNone says
// that the session has ended meanwhile, ErrBinding that the browser is bound by
// another value; with both comes the address at which to begin again.
func (s *Store) Redeem(ctx context.Context, secret, host, browser string) (cookie, url string, err error) {
	sum, err := hash(secret)
	if err != nil {
		return "", "", ErrTicket
	}
	var t ticket
	var a added
	var not error // what is wrong with the redeemer
	err = s.c.Store.Update(ctx, func(tx store.Tx) error {
		var ok bool
		var err error
		if t, ok, err = tickets.Get(tx, encode(sum[:])); err != nil {
			return err
		} else if !ok {
			return ErrTicket
		}
		if err := tickets.Drop(tx, t); err != nil {
			return err
		}
		a, url, not = added{}, t.URL, nil
		switch bind := Binding(browser); {
		case t.Host != host || t.Bind == "" || bind == "" || !s.c.Now().Before(t.Until):
			url, not = "", ErrTicket
		case t.Bind != bind:
			not = ErrBinding
		default:
			a, err = s.addKey(tx, t.Session, host)
			if errors.Is(err, ErrNone) {
				not, err = err, nil
			}
		}
		return err
	})
	if err != nil {
		return "", "", err
	}
	if not == nil {
		s.addedKey(a)
	}
	return a.secret, url, not
}
