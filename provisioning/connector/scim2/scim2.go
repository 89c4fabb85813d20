// Package scim2 is the connector to targets that speak SCIM 2.0 (RFC 7644), or
// 1.1, which is the same but for its words.
//
// The names of an Account's attributes are SCIM paths. Sync reads what the
// target holds, works out what differs, and sends only that:
//
//	have == ""   search ─▶ one has our externalId: as below
//	                    └▶ POST
//	have != ""   GET ─▶ difference ─▶ none: nothing is sent
//	                               ├▶ PATCH of what differs
//	                               └▶ PUT of what was read with the difference in it
//
// externalId is our user's ID, which nobody else can have chosen by chance, so
// an account that has it is ours and a repeated creation finds it. Whether an
// account that only has the same userName may be adopted is not decided here.
//
// Targets take these liberties, and each is dealt with: no PATCH (PUT is used
// if their ServiceProviderConfig says so, or PATCH is answered 405 or 501); no
// search by externalId (userName is used), or none at all, or filters that are
// ignored (all accounts are read); active ignored in a creation; a value filter
// that matches nothing refused (the whole value is added instead); versions
// without quotes (then there is no If-Match).
package scim2

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/gatehouse-sso/gatehouse/provisioning/connector"
	"github.com/gatehouse-sso/gatehouse/provisioning/connector/scimuser"
	"github.com/gatehouse-sso/gatehouse/provisioning/scim"
	"github.com/gatehouse-sso/gatehouse/provisioning/scim/client"
)

// Update is how an account is changed.
type Update string

// Ways to change an account.
const (
	Auto  Update = ""      // as the target says that it can
	Patch Update = "patch" // what differs
	Put   Update = "put"   // all that the target holds, with what differs in it
)

// Config of a Connector.
type Config struct {
	URL    string       // https://crm.example/scim/v2
	Client *http.Client // does the calls; nil: the default transport
	// Auth adds credentials to a request: Bearer, Basic, or nil for none.
	Auth func(*http.Request)
	// Profile says what is known of the target; Update and PageSize, where they
	// are given, count before its own.
	Profile Profile
	Update  Update
	// V1 speaks SCIM 1.1. What its PATCH can not say goes by PUT.
	V1 bool
	// Domain is a user store at the target that user names have before them
	// there, with a slash (WSO2); empty: none.
	Domain string
	// Extensions are schemas of the target's own that paths may name. A path
	// under a schema that is not known is taken for a single string.
	Extensions []*scim.Schema
	PageSize   int // of Accounts; 0: 100
}

// Bearer authenticates with a token.
func Bearer(token string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) }
}

// Basic authenticates with a user name and a password.
func Basic(user, password string) func(*http.Request) {
	return func(r *http.Request) { r.SetBasicAuth(user, password) }
}

// A Connector speaks to one target. Make one with New.
type Connector struct {
	client  *client.Client
	profile Profile
	v1      bool
	domain  string // with its slash
	rt      *scim.ResourceType
	update  Update
	page    int
	found   atomic.Pointer[Update] // what Auto turned out to be
}

var _ connector.Connector = (*Connector)(nil)

// New makes a Connector; it asks the target nothing.
func New(c Config) (*Connector, error) {
	cl, err := client.New(c.URL, c.Client, c.Profile.dress(c.Auth))
	if err != nil {
		return nil, fmt.Errorf("scim2: %w", err)
	}
	if c.V1 {
		cl = cl.V1()
	}
	c.Update, c.PageSize = cmp.Or(c.Update, c.Profile.Update), cmp.Or(c.PageSize, c.Profile.PageSize, 100)
	if c.Update != Auto && c.Update != Patch && c.Update != Put {
		return nil, fmt.Errorf("scim2: the way to update %q must be patch or put, or empty", c.Update)
	}
	if c.Domain != "" {
		c.Domain += "/"
	}
	return &Connector{client: cl, profile: c.Profile, v1: c.V1, domain: c.Domain, rt: scimuser.Type(c.Extensions...), update: c.Update, page: c.PageSize}, nil
}

const users = "/Users"

// Sync makes the target agree with want.
func (c *Connector) Sync(ctx context.Context, want connector.Account, have string) (string, error) {
	want.UserName = c.domain + want.UserName
	if have != "" {
		return have, c.change(ctx, want, have)
	}
	if connector.Looked(ctx) {
		return c.create(ctx, want)
	}
	mine, err := c.search(ctx, "externalId", want.ExternalID)
	if noSearch(err) {
		mine, err = c.search(ctx, "userName", want.UserName)
	}
	if err != nil {
		return "", classify(err, false)
	}
	mine = slices.DeleteFunc(mine, func(a connector.Account) bool { return !has(a, "externalId", want.ExternalID) })
	switch len(mine) {
	case 0:
		return c.create(ctx, want)
	case 1:
		return mine[0].ID, c.change(ctx, want, mine[0].ID)
	}
	return "", &connector.Error{Class: connector.Conflict, Text: fmt.Sprintf("%d accounts have the external ID of this user", len(mine))}
}

func (c *Connector) create(ctx context.Context, want connector.Account) (string, error) {
	o, err := scimuser.New(c.rt, want)
	if err == nil {
		err = c.profile.fits(c.rt, o)
	}
	if err != nil {
		return "", err
	}
	c.profile.complete(o)
	made, err := c.client.Create(ctx, users, scimuser.WithSchemas(o))
	if status(err) == http.StatusConflict {
		// It may be ours, at a target that does not find by external ID.
		if mine, serr := c.search(ctx, "userName", want.UserName); serr == nil && len(mine) == 1 && has(mine[0], "externalId", want.ExternalID) {
			return mine[0].ID, c.change(ctx, want, mine[0].ID)
		}
	}
	if err != nil {
		return "", classify(err, true)
	}
	id := made.ID()
	if id == "" {
		return "", &connector.Error{Class: connector.Route, Ambiguous: true, Text: "the target answered a creation without an id"}
	}
	if active, said := made.Get("active").(bool); said && active != want.Active {
		return id, c.change(ctx, want, id)
	}
	return id, nil
}

// change reads the account and sends what differs. What changed between
// reading and sending is read once more.
func (c *Connector) change(ctx context.Context, want connector.Account, id string) error {
	for again := true; ; again = false {
		cur, err := c.read(ctx, users, id)
		if err != nil {
			return err
		}
		next := cur.Object.Clone()
		ops, err := scimuser.Plan(c.rt, next, want)
		if err == nil && len(ops) > 0 {
			err = c.profile.fits(c.rt, next)
		}
		if err != nil || len(ops) == 0 {
			return err
		}
		match := tag(cur)
		how := c.how(ctx)
		if how == Patch {
			_, err = c.client.Patch(ctx, users, id, match, scim.Patch{Operations: ops})
			if errors.Is(err, errors.ErrUnsupported) {
				how = Put
			} else if s := status(err); c.update == Auto && (s == http.StatusMethodNotAllowed || s == http.StatusNotImplemented) {
				how = Put
				c.found.Store(&how)
			}
		}
		if how == Put {
			_, err = c.client.Replace(ctx, users, id, match, c.replacement(next))
		}
		if err == nil {
			return nil
		}
		if status(err) != http.StatusPreconditionFailed || !again {
			return classify(err, true)
		}
	}
}

// replacement is what a PUT sends of an account: all of it but what only the
// target sets.
func (c *Connector) replacement(o *scim.Object) *scim.Object {
	return scimuser.WithSchemas(scimuser.Writable(c.rt, o))
}

// how says how to change accounts, and asks the target once if nobody decided it.
func (c *Connector) how(ctx context.Context) Update {
	if c.update != Auto {
		return c.update
	}
	if known := c.found.Load(); known != nil {
		return *known
	}
	how := Patch
	o, err := c.client.Config(ctx)
	if err == nil && o.Sub("patch").Get("supported") == false {
		how = Put
	}
	if err == nil || status(err)/100 == 4 {
		c.found.Store(&how)
	}
	return how
}

// Find returns the accounts that have the external ID, or else the user name, of want.
func (c *Connector) Find(ctx context.Context, want connector.Account) ([]connector.Account, error) {
	var got []connector.Account
	var err error
	if connector.Sent(ctx) {
		got, err = c.search(ctx, "externalId", want.ExternalID)
	}
	if noSearch(err) || err == nil && len(got) == 0 {
		got, err = c.search(ctx, "userName", c.domain+want.UserName)
	}
	if err != nil {
		return nil, classify(err, false)
	}
	for i := range got {
		got[i].UserName = c.ours(got[i].UserName)
	}
	return got, nil
}

// ours is a user name without the domain that it has at the target.
func (c *Connector) ours(name string) string {
	if len(name) > len(c.domain) && strings.EqualFold(name[:len(c.domain)], c.domain) {
		return name[len(c.domain):]
	}
	return name
}

// search asks for accounts by one attribute and keeps those that really have
// the value. A target that answers with others does not filter, so what it left
// out says nothing, and all its accounts are looked at; so they are if it can
// not even search by user name.
func (c *Connector) search(ctx context.Context, attr, value string) ([]connector.Account, error) {
	if value == "" {
		return nil, nil
	}
	f := scim.Compare{Path: scim.Path{Name: attr}, Op: scim.Eq, Value: value}
	page, err := c.client.List(ctx, users, client.Query{Filter: f, Count: 5})
	ignored := attr == "userName" && noSearch(err)
	if err != nil && !ignored {
		return nil, err
	}
	var got []connector.Account
	for _, r := range page.Resources {
		if a := scimuser.Account(r); !has(a, attr, value) {
			ignored = true
		} else if a.ID == "" {
			return nil, &connector.Error{Class: connector.Route, Text: "the target lists an account without an id"}
		} else {
			got = append(got, a)
		}
	}
	if !ignored || err == nil && page.Total <= len(page.Resources) {
		return got, nil
	}
	got = nil
	for r, err := range c.walk(ctx, users) {
		if err != nil {
			return nil, err
		}
		if a := scimuser.Account(r); has(a, attr, value) {
			got = append(got, a)
		}
	}
	return got, nil
}

// has reports whether the account is one that was searched for.
func has(a connector.Account, attr, value string) bool {
	if attr == "externalId" {
		return a.ExternalID == value && value != ""
	}
	return scim.Fold(a.UserName) == scim.Fold(value)
}

// noSearch reports that the target does not search by this attribute.
func noSearch(err error) bool {
	var e *client.Error
	return errors.As(err, &e) && !e.HTML && (e.Status == http.StatusBadRequest || e.Status == http.StatusNotImplemented)
}

// Remove deletes the account.
func (c *Connector) Remove(ctx context.Context, have string) error {
	if c.profile.NoUsersRemoved {
		return connector.CanNot("accounts of this target are only ever disabled")
	}
	return c.remove(ctx, users, have)
}

func (c *Connector) remove(ctx context.Context, endpoint, have string) error {
	err := c.client.Delete(ctx, endpoint, have)
	if c.profile.MissingIs400 && status(err) == http.StatusBadRequest {
		if _, rerr := c.read(ctx, endpoint, have); rerr != nil {
			return gone(rerr)
		}
	}
	return gone(classify(err, true))
}

// gone is the error of a deletion: what is not there needs none.
func gone(err error) error {
	if err != nil && connector.ClassOf(err) == connector.Gone {
		return nil
	}
	return err
}

// Test asks for one account, which needs the right address and credentials.
func (c *Connector) Test(ctx context.Context) error {
	_, err := c.client.List(ctx, users, client.Query{Start: 1, Count: 1})
	return classify(err, false)
}

// Accounts yields all accounts.
func (c *Connector) Accounts(ctx context.Context) iter.Seq2[connector.Account, error] {
	return func(yield func(connector.Account, error) bool) {
		for r, err := range c.walk(ctx, users) {
			if err != nil {
				yield(connector.Account{}, err)
				return
			}
			a := scimuser.Account(r)
			a.UserName = c.ours(a.UserName)
			if !yield(a, nil) {
				return
			}
		}
	}
}

// walk yields all resources of an endpoint, if the target can without these
// attributes. A walk that could have missed some ends with an error, so that
// nobody is taken for gone who is only on another page.
func (c *Connector) walk(ctx context.Context, endpoint string, without ...string) iter.Seq2[*scim.Resource, error] {
	return func(yield func(*scim.Resource, error) bool) {
		seen := map[string]bool{}
		total := -1
		for start := 1; total < 0 || start <= total; {
			page, err := c.client.List(ctx, endpoint, client.Query{Start: start, Count: c.page, Without: without})
			if err != nil {
				yield(nil, classify(err, false))
				return
			}
			if total >= 0 && page.Total != total || len(page.Resources) == 0 && start <= page.Total {
				yield(nil, &connector.Error{Text: "what is there changed while it was listed, or a page was empty"})
				return
			}
			total = page.Total
			start += len(page.Resources)
			for _, r := range page.Resources {
				if r.ID() == "" || seen[r.ID()] {
					yield(nil, &connector.Error{Class: connector.Route, Text: "the target lists something twice, or without an id"})
					return
				}
				seen[r.ID()] = true
				if !yield(r, nil) {
					return
				}
			}
		}
	}
}

// tag is the version of a resource for If-Match; empty if it has none that can
// stand there.
func tag(r *scim.Resource) string {
	if v := r.Version(); strings.HasSuffix(v, `"`) {
		return v
	}
	return ""
}

func status(err error) int {
	var e *client.Error
	if errors.As(err, &e) {
		return e.Status
	}
	return 0
}

// classify makes a *connector.Error of a failed call; write: the call was to change something.
func classify(err error, write bool) error {
	if err == nil {
		return nil
	}
	if done := (*connector.Error)(nil); errors.As(err, &done) {
		return done
	}
	var e *client.Error
	if !errors.As(err, &e) {
		return &connector.Error{Text: "call the target", Err: err}
	}
	out := &connector.Error{Class: class(e), After: e.After, Throttled: e.Status == http.StatusTooManyRequests, Text: e.Error()}
	out.Ambiguous = write && e.Sent && (e.Status == 0 || e.Unreadable || e.Status >= 500 || e.Status == http.StatusRequestTimeout)
	return out
}

func class(e *client.Error) connector.Class {
	switch s := e.Status; {
	case errors.Is(e, client.ErrID):
		return connector.Invalid
	case s == 0, s == http.StatusRequestTimeout, s == http.StatusTooEarly, s == http.StatusTooManyRequests, s >= 500:
		return connector.Transient
	case s == http.StatusUnauthorized, s == http.StatusForbidden:
		return connector.Auth
	case e.Unreadable, e.HTML, s < 400, s == http.StatusMethodNotAllowed:
		return connector.Route
	case s == http.StatusNotFound, s == http.StatusGone:
		if e.SCIM && e.OfOne {
			return connector.Gone
		}
		return connector.Route
	case s == http.StatusConflict, s == http.StatusPreconditionFailed:
		return connector.Conflict
	}
	return connector.Invalid
}
