// Package client says who may provision users into the directory, with what,
// and as what.
//
//	request ──Registry.Authenticate──▶ Client: its source, its user stores,
//	                                   whether its users are linked to a provider
//
// A [Client] is a system, not a person: it proves itself at each request by a
// header, never by a cookie or a parameter of the address, and every way not
// to be known looks the same from outside. Of a credential only a keyed hash
// is kept in memory, and all of them are compared, each in constant time, so
// that neither a dump nor a clock gives one away.
//
// A name that a client uses may begin with a user store: mysql/kim. Which
// stores there are for it is the client's own: all others do not exist for it,
// and neither do the users in them. A name without a store is in its first.
//
// It knows no protocol of provisioning: SCIM is one that asks here.
package client

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/gatehouse-sso/gatehouse/federation"
	"github.com/gatehouse-sso/gatehouse/provisioning"
	"github.com/gatehouse-sso/gatehouse/provisioning/scim/dialect"
	"github.com/gatehouse-sso/gatehouse/provisioning/store"
)

// Resident is the ID of the only client that Basic authentication can mean.
const Resident = "resident"

// Mode says where what a client does goes.
type Mode string

// Modes. The zero Mode persists: what a client changes stays in the directory,
// but that somebody loses access is pushed to every account all the same.
const (
	Persist        Mode = "persist"
	PersistAndPush Mode = "persist-and-push"
)

// A Client is a system that may provision users. The zero Client may nothing.
type Client struct {
	ID, Title string
	// UserStores that it may use; its own, for names without one, first.
	UserStores []string
	Mode       Mode
	// Targets to which its changes are pushed; empty: all.
	Targets []string
	// Groups are those of its stores that it may see and change, by name or
	// with * for any text; empty: none. Groups open doors.
	Groups []string
	// Read and Write are the attributes of users, by their names in SCIM, that it
	// may see and change; nil: all. What it may not see it can not look for. Who may
	// not write userName neither creates nor deletes.
	Read, Write []string
	// Links, if not nil, makes each user whom it creates known to an identity
	// provider.
	Links *Links
	// Dialect of SCIM that it speaks.
	Dialect dialect.Dialect
}

// Links say that a client is the authority on who the people of an identity
// provider are: an administrator's choice, since it decides who signs in as whom.
type Links struct {
	Provider, Issuer string
	// UserName: the provider's subject is the user name; otherwise it is the
	// external ID.
	UserName bool
}

// Ref is what the provider calls a user whom the client calls so.
func (l *Links) Ref(userName, externalID string) federation.Ref {
	if l.UserName {
		return federation.Ref{Issuer: l.Issuer, Subject: userName}
	}
	return federation.Ref{Issuer: l.Issuer, Subject: externalID}
}

// Source of what the client says.
func (c *Client) Source() provisioning.Source { return provisioning.SourceClient(c.ID) }

// Pushes reports whether what the client does is pushed to a target.
func (c *Client) Pushes(target string) bool {
	return c.Mode == PersistAndPush && (len(c.Targets) == 0 || slices.Contains(c.Targets, target))
}

// May reports whether the client may use a user store.
func (c *Client) May(userStore string) bool { return slices.Contains(c.UserStores, userStore) }

// Manages reports whether the client may see and change a group.
func (c *Client) Manages(g provisioning.Group) bool {
	return c.May(g.Store) && slices.ContainsFunc(c.Groups, func(pattern string) bool {
		return Like(provisioning.Fold(pattern), provisioning.Fold(g.Name))
	})
}

// Reads reports whether the client may see an attribute of users.
func (c *Client) Reads(attr string) bool { return c.Read == nil || has(c.Read, attr) }

// Writes reports whether the client may change an attribute of users.
func (c *Client) Writes(attr string) bool { return c.Write == nil || has(c.Write, attr) }

func has(list []string, attr string) bool {
	return slices.ContainsFunc(list, func(s string) bool { return strings.EqualFold(s, attr) })
}

// Like matches a pattern in which * stands for any text.
func Like(pattern, s string) bool {
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return pattern == s
	}
	last := parts[len(parts)-1]
	s, ok := strings.CutPrefix(s, parts[0])
	if !ok || !strings.HasSuffix(s, last) {
		return false
	}
	s = strings.TrimSuffix(s, last)
	for _, part := range parts[1 : len(parts)-1] {
		if _, s, ok = strings.Cut(s, part); !ok {
			return false
		}
	}
	return true
}

// ErrStore: a name begins with a user store that the client does not have.
var ErrStore = errors.New("there is no such user store for this client")

// Split takes the user store from a name. A name with a slash whose beginning
// is no store of the client's is ErrStore.
func (c *Client) Split(name string) (userStore, rest string, err error) {
	prefix, rest, ok := strings.Cut(name, "/")
	switch {
	case ok && c.May(provisioning.Fold(prefix)):
		return provisioning.Fold(prefix), rest, nil
	case ok || len(c.UserStores) == 0:
		return "", "", ErrStore
	}
	return c.UserStores[0], name, nil
}

// Join is the name of a user as the client has it: with the store before it,
// unless that is its first.
func (c *Client) Join(userStore, name string) string {
	if len(c.UserStores) > 0 && userStore == c.UserStores[0] {
		return name
	}
	return userStore + "/" + name
}

// A Credential is a bearer token, or a user name and a password for Basic.
type Credential struct{ Bearer, User, Password string }

// Reason codes.
const ReasonUnauthorized = "client.unauthorized"

// Reasons says each code in one sentence for an administrator.
var Reasons = map[string]string{
	ReasonUnauthorized: "The request bears no credential of any client, or more than one.",
}

// ErrUnauthorized is every failure to authenticate.
var ErrUnauthorized error = unauthorized{}

type unauthorized struct{}

func (unauthorized) Error() string { return "the request bears no valid credential of a client" }

// Reason is the reason code.
func (unauthorized) Reason() string { return ReasonUnauthorized }

// A Registry knows the clients and their credentials. It does not change.
type Registry struct {
	key   [32]byte // of this process: a hash that leaks can not be tried elsewhere
	known []known
	basic bool
	byID  map[string]*Client
}

type known struct {
	sum    [sha256.Size]byte
	client *Client
}

// NewRegistry makes an empty Registry, which refuses everybody.
func NewRegistry() *Registry {
	r := &Registry{byID: map[string]*Client{}}
	rand.Read(r.key[:])
	return r
}

// Add makes a client known with its credentials; several serve at a time, so
// that one can be exchanged for another without a gap.
func (r *Registry) Add(c Client, credentials ...Credential) error {
	switch {
	case c.ID == "" || r.byID[c.ID] != nil:
		return fmt.Errorf("client %q: the ID is empty or taken", c.ID)
	case len(c.UserStores) == 0:
		return fmt.Errorf("client %s has no user store", c.ID)
	case len(credentials) == 0:
		return fmt.Errorf("client %s has no credential", c.ID)
	}
	var more []known
	for _, cr := range credentials {
		basic := cr.User != "" || cr.Password != ""
		switch {
		case basic == (cr.Bearer != ""):
			return fmt.Errorf("client %s: a credential is a bearer token, or a user name and a password", c.ID)
		case basic && c.ID != Resident:
			return fmt.Errorf("client %s: Basic authentication is for the client %s alone", c.ID, Resident)
		case basic && (cr.User == "" || cr.Password == "" || strings.Contains(cr.User, ":")):
			return fmt.Errorf("client %s: Basic needs a user name without a colon and a password", c.ID)
		}
		k := known{r.sum(cr), &c}
		for _, o := range append(r.known, more...) {
			if o.sum == k.sum {
				return fmt.Errorf("client %s has a credential that %s has too", c.ID, o.client.ID)
			}
		}
		more = append(more, k)
		r.basic = r.basic || basic
	}
	r.known = append(r.known, more...)
	r.byID[c.ID] = &c
	return nil
}

// Basic reports whether some client can use Basic authentication.
func (r *Registry) Basic() bool { return r.basic }

// Of is the client that a source stands for; nil: it is none of these.
func (r *Registry) Of(by provisioning.Source) *Client {
	id, ok := strings.CutPrefix(string(by), string(provisioning.SourceClient("")))
	if !ok {
		return nil
	}
	return r.byID[id]
}

// Authenticate finds the client that makes a request: by its one Authorization
// header. Any other is ErrUnauthorized.
func (r *Registry) Authenticate(req *http.Request) (*Client, error) {
	sum := r.sum(offered(req))
	var who *Client
	for _, k := range r.known {
		if subtle.ConstantTimeCompare(sum[:], k.sum[:]) == 1 {
			who = k.client
		}
	}
	if who == nil {
		return nil, ErrUnauthorized
	}
	return who, nil
}

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

func (r *Registry) sum(c Credential) (sum [sha256.Size]byte) {
	m := hmac.New(sha256.New, r.key[:])
	m.Write(store.Key(c.Bearer, c.User, c.Password))
	return [sha256.Size]byte(m.Sum(nil))
}

type contextKey struct{}

// With puts the client into a context.
func With(ctx context.Context, c *Client) context.Context {
	return context.WithValue(ctx, contextKey{}, c)
}

// From is the client of a context. Without one it is a Client that may nothing.
func From(ctx context.Context) *Client {
	if c, ok := ctx.Value(contextKey{}).(*Client); ok {
		return c
	}
	return &Client{}
}
