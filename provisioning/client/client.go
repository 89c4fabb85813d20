// Package client says who may provision users into the directory, with what,
// and as what.
//
//	request ──Registry.Authenticate──▶ Client: its source, its user stores,
//	            ▲                      what it may read and write, and how fast
//	            │ access token
//	secret or signed assertion ──Registry.Token──
//
// A [Client] is a system, not a person: it proves itself at each request by a
// header, never by a cookie or a parameter of the address, and every way not
// to be known looks the same from outside. It may do so by
//
//   - a bearer token of the configuration, or one that was made here: shown once,
//     kept as a hash, with an end, several at a time so that one can follow another
//   - an access token, which lives for minutes, got for a client secret or an
//     assertion that it signed (RFC 6749 section 4.4, RFC 7523); it ends with the
//     credential that it was got for
//   - Basic, which only the client resident can have
//
// Of credentials only keyed hashes are kept in memory, and all of them are
// compared, each in constant time, so that neither a dump nor a clock gives one
// away. Who guesses is slowed down, by address and by whom they claim to be.
//
// A name that a client uses may begin with a user store: mysql/kim. Which
// stores there are for it is the client's own: all others do not exist for it,
// and neither do the users in them. A name without a store is in its first.
//
// It knows no protocol of provisioning: SCIM is one that asks here.
package client

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/gatehouse-sso/gatehouse/federation"
	"github.com/gatehouse-sso/gatehouse/provisioning"
	"github.com/gatehouse-sso/gatehouse/provisioning/scim/dialect"
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
	// PushOnly keeps nothing personal: what the client says goes to its targets while
	// the request waits.
	PushOnly Mode = "push-only"
)

// A Client is a system that may provision users. The zero Client may nothing.
type Client struct {
	ID, Title string
	// UserStores that it may use; its own, for names without one, first.
	UserStores []string
	Mode       Mode
	// Targets to which its changes are pushed; empty: all.
	Targets []string
	// Rate is how many requests it may make in a second; 0: any number.
	Rate int
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
