package client

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/gatehouse-sso/gatehouse/provisioning"
	"github.com/gatehouse-sso/gatehouse/provisioning/store"
)

// A Credential is one way in which a client proves who it is: exactly one of
// Bearer, User with Password, Secret, and Key.
type Credential struct {
	Bearer         string
	User, Password string           // for Basic
	Secret         string           // to get access tokens with
	Key            crypto.PublicKey // of the key that signs assertions to get access tokens with
	Until          time.Time        // zero: for ever
}

// Reason codes.
const (
	ReasonUnauthorized = "client.unauthorized"
	ReasonThrottled    = "client.throttled"
	ReasonAssertion    = "client.assertion"
	ReasonRequest      = "client.token_request"
)

// Reasons says each code in one sentence for an administrator.
var Reasons = map[string]string{
	ReasonUnauthorized: "The request bears no credential of any client, or more than one.",
	ReasonThrottled:    "There were too many wrong credentials from this address, or the client makes more requests than it may.",
	ReasonAssertion:    "The assertion by which a client asked for an access token is not valid here, not valid any more, or was used before.",
	ReasonRequest:      "What was asked of the token endpoint is not a request for an access token that it gives.",
}

// ErrUnauthorized is every failure to authenticate.
var ErrUnauthorized error = unauthorized{}

type unauthorized struct{}

func (unauthorized) Error() string { return "the request bears no valid credential of a client" }

// Reason is the reason code.
func (unauthorized) Reason() string { return ReasonUnauthorized }

// Throttled says when to come again.
type Throttled struct{ After time.Duration }

func (t *Throttled) Error() string {
	return fmt.Sprintf("too many requests: come again in %v", t.After.Round(time.Second))
}

// Reason is the reason code.
func (*Throttled) Reason() string { return ReasonThrottled }

// Config of a Registry. The zero Config is one without tokens that were made, and
// whose access tokens are of no use to another process.
type Config struct {
	Store store.Store // nil: no tokens are made and no assertions taken
	// Key of 32 bytes signs access tokens; nil: a random one. Those of AlsoTaken are as
	// good: they were in use before, or will be.
	Key       []byte
	AlsoTaken [][]byte
	// Token is the address of the token endpoint, Issuer the gateway's own: what an
	// assertion must be meant for.
	Token, Issuer string
	Now           func() time.Time // nil: time.Now
	// Limits slow down who guesses; a configuration that replaces another hands them
	// on. nil: fresh ones.
	Limits *Limits
}

// A Registry knows the clients and their credentials. What it was given does not
// change; tokens that are made come and go in the store.
type Registry struct {
	Config
	seed  [32]byte // of this process: a hash that leaks can not be tried elsewhere
	known []known
	basic bool
	byID  map[string]*Client
	order []*Client
	since map[string]time.Time // when clients came; see TakeForce
}

// known is a credential of a client.
type known struct {
	sum    [sha256.Size]byte // of what is sent; zero for keys
	mark   string            // which access tokens came from it
	key    crypto.PublicKey
	secret bool // for the token endpoint
	until  time.Time
	client *Client
}

// NewRegistry makes an empty Registry, which refuses everybody.
func NewRegistry(c Config) *Registry {
	r := &Registry{Config: c, byID: map[string]*Client{}}
	rand.Read(r.seed[:])
	if r.Key == nil {
		r.Key = make([]byte, 32)
		rand.Read(r.Key)
	}
	if r.Now == nil {
		r.Now = time.Now
	}
	if r.Limits == nil {
		r.Limits = NewLimits()
	}
	return r
}

// Add makes a client known with its credentials; several serve at a time, so
// that one can be exchanged for another without a gap. One without any can be
// given tokens (see Make).
func (r *Registry) Add(c Client, credentials ...Credential) error {
	switch {
	case c.ID == "" || r.byID[c.ID] != nil:
		return fmt.Errorf("client %q: the ID is empty or taken", c.ID)
	case len(c.UserStores) == 0:
		return fmt.Errorf("client %s has no user store", c.ID)
	}
	var more []known
	basic := r.basic
	for _, cr := range credentials {
		isBasic := cr.User != "" || cr.Password != ""
		kinds := 0
		for _, is := range []bool{isBasic, cr.Bearer != "", cr.Secret != "", cr.Key != nil} {
			if is {
				kinds++
			}
		}
		switch {
		case kinds != 1:
			return fmt.Errorf("client %s: a credential is a bearer token, a user name and a password, a secret, or a key", c.ID)
		case isBasic && c.ID != Resident:
			return fmt.Errorf("client %s: Basic authentication is for the client %s alone", c.ID, Resident)
		case isBasic && (cr.User == "" || cr.Password == "" || strings.Contains(cr.User, ":")):
			return fmt.Errorf("client %s: Basic needs a user name without a colon and a password", c.ID)
		case strings.HasPrefix(cr.Bearer, tokenPrefix) || strings.HasPrefix(cr.Bearer, accessPrefix):
			return fmt.Errorf("client %s: tokens that begin with %s or %s are made by the gateway alone", c.ID, tokenPrefix, accessPrefix)
		}
		k := known{client: &c, until: cr.Until, secret: cr.Secret != "", key: cr.Key}
		if cr.Secret != "" {
			cr.User = c.ID // a secret is the client's own
		}
		if cr.Key == nil {
			k.sum = r.sum(cr)
		} else if err := checkKey(cr.Key); err != nil {
			return fmt.Errorf("client %s: %w", c.ID, err)
		}
		var err error
		if k.mark, err = r.mark(c.ID, cr); err != nil {
			return fmt.Errorf("client %s: %w", c.ID, err)
		}
		for _, o := range append(r.known, more...) {
			if o.mark == k.mark || o.key == nil && k.key == nil && o.sum == k.sum {
				return fmt.Errorf("client %s has a credential that %s has too", c.ID, o.client.ID)
			}
		}
		more = append(more, k)
		basic = basic || isBasic
	}
	r.known, r.basic = append(r.known, more...), basic
	r.byID[c.ID] = &c
	r.order = append(r.order, &c)
	return nil
}

// Basic reports whether some client can use Basic authentication.
func (r *Registry) Basic() bool { return r.basic }

// Clients are all that were added, in that order.
func (r *Registry) Clients() []*Client { return slices.Clone(r.order) }

// Of is the client that a source stands for; nil: it is none of these.
func (r *Registry) Of(by provisioning.Source) *Client {
	id, ok := strings.CutPrefix(string(by), string(provisioning.SourceClient("")))
	if !ok {
		return nil
	}
	return r.byID[id]
}

// Authenticate finds the client that makes a request: by its one Authorization
// header. Any other is ErrUnauthorized, or *Throttled where that happens too
// often; so is a client that makes too many requests.
func (r *Registry) Authenticate(req *http.Request) (*Client, error) {
	cr := offered(req)
	// A password may be short enough to be guessed: then not even a right one helps.
	if cr.User != "" {
		if err := r.Limits.guesses.full(network(req), cr.User, r.Now()); err != nil {
			return nil, err
		}
	}
	who, err := r.whose(req.Context(), cr)
	if err != nil {
		return nil, err
	}
	if who == nil {
		if err := r.Limits.guesses.take(network(req), cr.User, r.Now()); err != nil {
			return nil, err
		}
		return nil, ErrUnauthorized
	}
	if who.Rate > 0 {
		if err := r.Limits.calls.spend(who.ID, float64(who.Rate), r.Now()); err != nil {
			return nil, err
		}
	}
	return who, nil
}

// whose is the client that has a credential, nil if none has.
func (r *Registry) whose(ctx context.Context, cr Credential) (who *Client, err error) {
	switch {
	case strings.HasPrefix(cr.Bearer, tokenPrefix):
		return r.made(ctx, cr.Bearer)
	case strings.HasPrefix(cr.Bearer, accessPrefix):
		return r.access(cr.Bearer), nil
	}
	sum := r.sum(cr)
	for _, k := range r.known {
		if subtle.ConstantTimeCompare(sum[:], k.sum[:]) == 1 && k.key == nil && !k.secret && k.alive(r.Now()) {
			who = k.client
		}
	}
	return who, nil
}

func (k known) alive(now time.Time) bool { return k.until.IsZero() || now.Before(k.until) }

// offered is the credential of a request. What is none is the empty one, which
// nobody has.
func offered(req *http.Request) Credential {
	lines := req.Header.Values("Authorization")
	if len(lines) != 1 {
		return Credential{}
	}
	if user, password, ok := req.BasicAuth(); ok {
		return Credential{User: user, Password: password}
	}
	scheme, token, _ := strings.Cut(lines[0], " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return Credential{}
	}
	return Credential{Bearer: strings.TrimLeft(token, " ")}
}

// sum is a hash of a credential that is of no use to another process. Nobody is shown
// one, so that what is secret may stand before what is hashed.
func (r *Registry) sum(c Credential) [sha256.Size]byte {
	var room [256]byte
	return sha256.Sum256(store.AppendKey(append(room[:0], r.seed[:]...), c.Bearer, c.User, c.Password, c.Secret))
}

// network is where a request comes from, by the gateway's own word: an IPv4 address,
// or the network of an IPv6 address that one customer usually has.
func network(req *http.Request) string {
	text := req.Header.Get("X-Forwarded-For")
	a, err := netip.ParseAddr(text)
	if err != nil {
		return text
	}
	if a = a.Unmap(); a.Is6() {
		return netip.PrefixFrom(a.WithZone(""), 64).Masked().String()
	}
	return a.String()
}
