// Package scim is the SCIM 2.0 server over the Directory: how a client makes,
// changes and removes users before, and without, any sign-in.
//
//	request ──client.Registry──▶ Client ──scim/server──▶ users ──▶ Directory
//	            401                        protocol        │        one transaction:
//	                                                       │        row, links, audit, outbox
//	                                    places: SCIM ⇄ claims of the source scim:‹client›
//
// There is one space of identities. A client sees every user of its user
// stores, also those who came by a sign-in; for it nobody else exists. What it
// says of a user are claims of its own, beside those of others: it replaces and
// takes away only these, and reads what is effective. What SCIM has and we have
// no name for is kept as it was sent, for that client alone. A password is
// taken and forgotten: nobody signs in with one here.
//
// Nobody is found at a sign-in by a name or a mail address that a client wrote,
// or the client could choose whose account somebody gets. A client that an
// administrator made the authority on a provider's people (client.Links) names
// the provider's subject when it creates a user; then the first sign-in finds
// that user. Only a creation does that: a client can not link a user who is
// there, and what names a subject does not change.
//
// Of the users of a push-only client there is nothing here: what it says goes to
// its targets while it waits, and comes from there (see passages).
//
// A user who is set inactive, or deleted, loses all sessions before the answer
// is sent. That targets follow is the outbox's doing, as with every change.
package scim

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/gatehouse-sso/gatehouse/provisioning"
	"github.com/gatehouse-sso/gatehouse/provisioning/audit"
	"github.com/gatehouse-sso/gatehouse/provisioning/client"
	"github.com/gatehouse-sso/gatehouse/provisioning/guard"
	rfc "github.com/gatehouse-sso/gatehouse/provisioning/scim"
	"github.com/gatehouse-sso/gatehouse/provisioning/scim/dialect"
	"github.com/gatehouse-sso/gatehouse/provisioning/scim/server"
	"github.com/gatehouse-sso/gatehouse/provisioning/store"
)

// Config of the server.
type Config struct {
	Base      string // the absolute address clients use, as of server.Config
	Directory *provisioning.Directory
	Clients   *client.Registry
	// EndSessions ends all sessions of a user. nil: there are none.
	EndSessions func(ctx context.Context, userID string) error
	// Refused is told of requests of nobody: a reason code, and from where. It
	// must not block. nil: nobody is told.
	Refused func(code, from string)
	// Guard is asked before a client takes many people out of groups, or many passing
	// users away. nil: nobody is asked.
	Guard *guard.Guard
	// Settle brings the targets that a client pushes to up to date with a user, until
	// ctx ends, and says how far each is. It is asked where a client prefers to wait
	// (RFC 7240). nil: nobody waits.
	Settle func(ctx context.Context, c *client.Client, userID string) []Target
	// Passages are the targets of push-only clients. Of their users the Store keeps
	// what stands in passing; PassKey, of 32 bytes, keys its hashes. Audit may be nil.
	Passages []Passage
	Store    store.Store
	PassKey  []byte
	Audit    func(store.Tx, audit.Event) error
	// Key seals cursors; nil: they end with the process.
	Key []byte
	// Rewritten is told what of a client's messages was put right, as its Dialect
	// says. It must not block. nil: nobody is told.
	Rewritten func(clientID string, made []dialect.Rewrite)
	Now       func() time.Time // nil: time.Now
	Log       *slog.Logger     // nil: slog.Default
	// Attributes of users that the site has declared, beside those of the RFC.
	Attributes []Attribute

	shape *shape
}

// New makes the server.
func New(c Config) (http.Handler, error) {
	if c.EndSessions == nil {
		c.EndSessions = func(context.Context, string) error { return nil }
	}
	if c.Refused == nil {
		c.Refused = func(string, string) {}
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	var err error
	if c.shape, err = shapeOf(c.Attributes); err != nil {
		return nil, fmt.Errorf("scim: attributes of users: %w", err)
	}
	srv, err := server.New(server.Config{
		Base: c.Base, Log: c.Log, Basic: c.Clients.Basic(),
		Resources: []server.Resource{
			{Type: c.shape.rt, Store: either{users{&c}, passages{&c, new([64]sync.Mutex)}}},
			{Type: rfc.GroupType(), Store: groups{&c, new([64]sync.Mutex)}, Quiet: true},
		},
		Dialect: c.speaks, Key: c.Key, Async: maxAsync, Now: c.Now,
		Who: func(ctx context.Context) string { return client.From(ctx).ID },
		Authenticate: func(r *http.Request) (context.Context, error) {
			return r.Context(), visitOf(r.Context()).err
		},
	})
	if err != nil {
		return nil, err
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header()["Cache-Control"], w.Header()["X-Content-Type-Options"] = noStore, noSniff
		v := &visit{Context: r.Context(), patience: patience(r.Header.Values("Prefer"))}
		var who *client.Client
		if who, v.err = c.admit(w, r); v.err == nil {
			v.Context = client.With(v.Context, who)
		}
		srv.ServeHTTP(&answering{w, v}, r.WithContext(v))
	}), nil
}

// Values of headers that every answer has; one slice for all, which nobody changes.
var noStore, noSniff = []string{"no-store"}, []string{"nosniff"}

// maxAsync changes at a time may go on after they were answered.
const maxAsync = 64

// A visit is one request, and the context of its work.
type visit struct {
	context.Context
	err      error         // why nobody asks
	patience time.Duration // how long it prefers to wait for targets

	mu      sync.Mutex
	targets []Target
}

type visitKey struct{}

// Value finds the visit too.
func (v *visit) Value(key any) any {
	if key == (visitKey{}) {
		return v
	}
	return v.Context.Value(key)
}

// visitOf is the visit that a context belongs to; nil: none.
func visitOf(ctx context.Context) *visit {
	v, _ := ctx.Value(visitKey{}).(*visit)
	return v
}

// admit finds out who asks. Who is refused is told to Refused.
func (c *Config) admit(w http.ResponseWriter, r *http.Request) (*client.Client, error) {
	who, err := c.Clients.Authenticate(r)
	if err == nil {
		return who, nil
	}
	var known interface{ Reason() string }
	if !errors.As(err, &known) {
		c.Log.ErrorContext(r.Context(), "clients can not be told apart", "error", err)
		return nil, rfc.Errorf(http.StatusServiceUnavailable, "", "it can not be found out now who asks: try again later")
	}
	from := r.Header.Get("X-Forwarded-For") // the gateway's own word
	c.Log.InfoContext(r.Context(), "client refused", "code", known.Reason(), "from", from, "method", r.Method, "path", r.URL.Path)
	c.Refused(known.Reason(), from)
	var later *client.Throttled
	if errors.As(err, &later) {
		w.Header().Set("Retry-After", strconv.Itoa(int(later.After/time.Second)))
		return nil, rfc.Errorf(http.StatusTooManyRequests, "", "%v", later)
	}
	return nil, err
}

// scimNames are what SCIM calls the fields of a user or group.
var scimNames = map[string]string{"user_name": "userName", "external_id": "externalId", "group name": "displayName", "store": "userName"}

// answer turns an error of the Directory into one that can be sent.
func answer(err error, id string) error {
	var taken *provisioning.Conflict
	var invalid *provisioning.Invalid
	var held *guard.Refused
	switch {
	case err == nil:
		return nil
	case errors.As(err, &held): // it is kept; the same request succeeds once a person has approved it
		return rfc.Errorf(http.StatusTooManyRequests, "", "%s", guard.Reasons[held.Reason()])
	case errors.Is(err, provisioning.ErrNotFound):
		return rfc.NotFound(id)
	case errors.As(err, &taken) && taken.Field == "link":
		return rfc.Errorf(http.StatusConflict, rfc.Uniqueness, "another user is linked to this person of the identity provider")
	case errors.As(err, &taken):
		return rfc.Errorf(http.StatusConflict, rfc.Uniqueness, "%s is taken", scimName(taken.Field))
	case errors.Is(err, provisioning.ErrCycle):
		return rfc.Errorf(http.StatusBadRequest, rfc.InvalidValue, "members: a group can not be inside itself")
	case errors.Is(err, store.ErrLimit), errors.As(err, &invalid) && invalid.Field == "attributes":
		return rfc.Errorf(http.StatusRequestEntityTooLarge, "", "the resource is larger than what can be kept")
	case errors.As(err, &invalid):
		return rfc.Errorf(http.StatusBadRequest, rfc.InvalidValue, "%s %s", scimName(invalid.Field), invalid.Text)
	}
	return err
}

func scimName(field string) string {
	if name, ok := scimNames[field]; ok {
		return name
	}
	return field
}
