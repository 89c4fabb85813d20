package scim

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/gatehouse-sso/gatehouse/provisioning"
	"github.com/gatehouse-sso/gatehouse/provisioning/audit"
	"github.com/gatehouse-sso/gatehouse/provisioning/client"
	"github.com/gatehouse-sso/gatehouse/provisioning/connector"
	rfc "github.com/gatehouse-sso/gatehouse/provisioning/scim"
	"github.com/gatehouse-sso/gatehouse/provisioning/store"
)

// A Passage is a target that the users of push-only clients go to, and nowhere
// else: while the request waits, without a queue.
type Passage struct {
	ID        string
	Connector connector.Connector
	Timeout   time.Duration    // of one request's part
	Limit     *connector.Limit // nil: none
	// Account is what the target is told of a user, and Names are those of our attributes
	// by what an account calls them there.
	Account func(provisioning.User) (connector.Account, error)
	Names   map[string]string
}

// attributes are what an account says of a user, under the names of ours.
func (t Passage) attributes(a connector.Account) map[string][]string {
	m := map[string][]string{}
	for name, ours := range t.Names {
		if values := a.Attributes[name]; len(values) > 0 {
			m[ours] = values
		}
	}
	return m
}

// A passing user is all that is kept of somebody who only passes through: nothing
// personal. Hashes are keyed, so that whoever has the file can not try names.
type passing struct {
	ID       string            `json:"id"` // ours: the external ID at the targets
	Client   string            `json:"client"`
	Name     string            `json:"name"`               // hash of client, user store and folded user name
	External string            `json:"external,omitempty"` // hash of client and what it calls the user
	Store    string            `json:"store"`
	Version  uint64            `json:"version"`
	Created  time.Time         `json:"created"`
	Modified time.Time         `json:"modified"`
	Accounts map[string]string `json:"accounts,omitempty"` // the targets' IDs, by target
	Whole    bool              `json:"whole"`              // every target has agreed at least once
	Begun    bool              `json:"begun,omitempty"`    // a change was, and its end is not known
}

var passings = &store.Table[passing]{
	Name:   "passing",
	Key:    func(p passing) string { return p.ID },
	Unique: map[string]func(passing) []string{"name": func(p passing) []string { return []string{p.Name} }},
	Index: map[string]func(passing) []string{
		"client": func(p passing) []string { return []string{p.Client} },
		"external": func(p passing) []string {
			if p.External == "" {
				return nil
			}
			return []string{p.External}
		},
	},
}

// passages are the users of push-only clients: what SCIM says of them goes to the
// client's targets and comes from the first.
//
//	request ─▶ row (our ID, hashes) ─▶ each target, at the same time ─▶ row (their IDs) ─▶ answer
//
// If a target fails the answer is 502 and names it; the same request again goes on
// where this one ended, and never makes a second account: the row is there before
// the first call and says that something was begun, and our ID is the external ID of
// every account.
type passages struct {
	*Config
	turns *[64]sync.Mutex // no account is changed by two requests at once
}

var errNotKept = rfc.Errorf(http.StatusBadRequest, rfc.InvalidFilter, "nothing is kept of the users of this client: they are found by id, userName or externalId alone")

func (s passages) turn(key string) func() {
	sum := fnv.New32a()
	_, _ = sum.Write([]byte(key)) // a hash takes everything
	m := &s.turns[sum.Sum32()%uint32(len(s.turns))]
	m.Lock()
	return m.Unlock
}

func (s passages) hash(parts ...string) string {
	m := hmac.New(sha256.New, s.PassKey)
	m.Write(store.Key(parts...))
	return hex.EncodeToString(m.Sum(nil))
}

func (s passages) nameHash(c *client.Client, userStore, name string) string {
	return s.hash("name", c.ID, userStore, provisioning.Fold(name))
}

func (s passages) externalHash(c *client.Client, id string) string {
	if id == "" {
		return ""
	}
	return s.hash("external", c.ID, id)
}

// targets are those of a client, in the order of the configuration.
func (s passages) targets(c *client.Client) (list []Passage) {
	for _, p := range s.Passages {
		if len(c.Targets) == 0 || slices.Contains(c.Targets, p.ID) {
			list = append(list, p)
		}
	}
	return list
}

func (s passages) now() time.Time { return s.Now().UTC().Truncate(time.Millisecond) }

// row is a passing user of the client.
func (s passages) row(ctx context.Context, id string) (p passing, err error) {
	err = s.Store.View(ctx, func(tx store.Tx) error {
		var ok bool
		if p, ok, err = passings.Get(tx, id); err == nil && (!ok || p.Client != client.From(ctx).ID) {
			err = rfc.NotFound(id)
		}
		return err
	})
	return p, err
}

// save writes a row, unless another passing user has its name.
func (s passages) save(ctx context.Context, p passing, e *audit.Event) error {
	err := s.Store.Update(ctx, func(tx store.Tx) error {
		if err := passings.Put(tx, p); err != nil || e == nil || s.Audit == nil {
			return err
		}
		return s.Audit(tx, *e)
	})
	if errors.Is(err, store.ErrConflict) {
		return rfc.Errorf(http.StatusConflict, rfc.Uniqueness, "userName is taken")
	}
	return err
}

func (s passages) event(ctx context.Context, kind string, p passing, names []string) *audit.Event {
	return &audit.Event{At: s.now(), Kind: kind, UserID: p.ID, By: string(client.From(ctx).Source()), Names: names, Text: "passed through, not kept"}
}

// user is what a client says, as a user that is nowhere but here.
func (s passages) user(c *client.Client, p passing, r *rfc.Resource) (u provisioning.User, err error) {
	u = provisioning.User{ID: p.ID, Active: true, Version: p.Version}
	if u.Store, u.UserName, err = split(c, r.String("userName")); err != nil {
		return u, err
	}
	return u, s.shape.write(&u, c.Source(), &rfc.Resource{}, r)
}

// Create gives the targets an account each. A user of whom an earlier request has
// left some targets out is gone on with.
func (s passages) Create(ctx context.Context, r *rfc.Resource) (*rfc.Resource, error) {
	c := client.From(ctx)
	if !c.Writes("userName") {
		return nil, errMayNotCreate
	}
	if err := written(c, &rfc.Resource{}, r); err != nil {
		return nil, err
	}
	p := passing{ID: uuid.Must(uuid.NewV7()).String(), Client: c.ID, Version: 1, Created: s.now()}
	p.Modified = p.Created
	u, err := s.user(c, p, r)
	if err != nil {
		return nil, err
	}
	if err := s.Directory.CheckName(u.Store, u.UserName); err != nil {
		return nil, answer(err, "")
	}
	p.Store, p.Name, p.External = u.Store, s.nameHash(c, u.Store, u.UserName), s.externalHash(c, u.ExternalID)
	defer s.turn(p.Name)()
	if err := s.Store.Update(ctx, func(tx store.Tx) error {
		old, ok, err := passings.Lookup(tx, "name", p.Name)
		switch {
		case err != nil:
			return err
		case ok && old.Whole:
			return rfc.Errorf(http.StatusConflict, rfc.Uniqueness, "userName is taken")
		case ok:
			old.External = p.External
			p = old
		}
		return passings.Put(tx, p)
	}); err != nil {
		return nil, err
	}
	u.ID = p.ID
	if may, err := s.push(ctx, &p, change{is: u}); err != nil {
		if len(p.Accounts) == 0 && !may { // nobody has heard of the user
			return nil, errors.Join(err, s.Store.Update(ctx, func(tx store.Tx) error { return passings.Delete(tx, p.ID) }))
		}
		return nil, errors.Join(err, s.save(ctx, p, nil))
	}
	p.Whole, p.Begun = true, false
	if err := s.save(ctx, p, s.event(ctx, "user.created", p, names(&rfc.Resource{}, r))); err != nil {
		return nil, err
	}
	return s.stamped(seen(c, r), p), nil
}

func (s passages) stamped(r *rfc.Resource, p passing) *rfc.Resource {
	r = r.Clone()
	s.shape.rt.Stamp(r, p.ID, p.Created, p.Modified, tag(p.Version))
	return r
}

// names are the attributes in which two resources differ: what the audit record
// may know.
func names(a, b *rfc.Resource) (all []string) {
	for _, r := range []*rfc.Resource{a, b} {
		for name := range r.All() {
			if !always(name) && !slices.Contains(all, name) && !rfc.NewObject("v", a.Get(name)).Equal(rfc.NewObject("v", b.Get(name))) {
				all = append(all, name)
			}
		}
	}
	slices.Sort(all)
	return all
}

// A change of a user, as targets are told of it.
type change struct {
	was, is provisioning.User // was is zero: nothing is known of what was
	// told are the attributes that was and is have from a target: to one that may not
	// have heard of an earlier change they are said though they do not differ. What
	// others have besides is theirs alone, and stays unless it differs.
	told  []string
	again bool // each target may be such a one, else those alone that have no account
}

// push makes every target agree with a user, at the same time, and puts their IDs
// into p. Of an account that is there only what differs is said. may says that
// a target that failed may have done it all the same.
func (s passages) push(ctx context.Context, p *passing, ch change) (may bool, err error) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	failed := map[string]error{}
	ids := map[string]string{}
	for _, t := range s.targets(client.From(ctx)) {
		have := p.Accounts[t.ID]
		wg.Go(func() {
			id, err := t.sync(ctx, ch, have)
			mu.Lock()
			defer mu.Unlock()
			if id != "" {
				ids[t.ID] = id
			}
			if err != nil {
				failed[t.ID] = err
				var ce *connector.Error
				may = may || !errors.As(err, &ce) || ce.Ambiguous
			}
		})
	}
	wg.Wait()
	accounts := map[string]string{}
	for target, id := range p.Accounts {
		accounts[target] = id
	}
	for target, id := range ids {
		accounts[target] = id
	}
	p.Accounts = accounts
	return may, s.failure(ctx, failed)
}

// sync is one target's part of push.
func (t Passage) sync(ctx context.Context, ch change, have string) (string, error) {
	ctx, cancel, err := t.begin(ctx)
	defer cancel()
	if err != nil {
		return have, err
	}
	want, err := t.Account(ch.is)
	if err != nil {
		return have, err
	}
	want.ExternalID, want.Active, want.Version = ch.is.ID, ch.is.Active, ch.is.Version
	again := ch.again || have == ""
	if have == "" {
		there, err := t.Connector.Find(ctx, want)
		if err != nil {
			return "", err
		}
		for _, a := range there {
			if a.ExternalID == ch.is.ID { // of an earlier try, whose answer was lost
				have = a.ID
			} else if a.ExternalID == "" || provisioning.Fold(a.UserName) == provisioning.Fold(want.UserName) {
				return "", &connector.Error{Class: connector.Conflict, Text: "an account of this name is somebody else's"}
			}
		}
	}
	if have != "" && ch.was.ID != "" {
		old, err := t.Account(ch.was)
		if err != nil {
			return have, err
		}
		for name, values := range want.Attributes {
			before, said := old.Attributes[name]
			if said && slices.Equal(before, values) && !(again && slices.Contains(ch.told, t.Names[name])) {
				delete(want.Attributes, name)
			}
		}
	}
	id, err := t.Connector.Sync(ctx, want, have)
	if id == "" {
		id = have
	}
	return id, err
}

// failure is the answer if targets failed: it names them, and nothing of what
// they were told.
func (s passages) failure(ctx context.Context, failed map[string]error) error {
	if len(failed) == 0 {
		return nil
	}
	status, scimType := http.StatusBadGateway, ""
	var texts []string
	for _, t := range s.Passages {
		err := failed[t.ID]
		if err == nil {
			continue
		}
		s.Log.WarnContext(ctx, "a target of a push-only client failed", "target", t.ID, "class", connector.ClassOf(err).String())
		texts = append(texts, fmt.Sprintf("%s (%s)", t.ID, connector.ClassOf(err)))
	}
	if len(failed) == len(texts) && len(texts) == 1 {
		for _, err := range failed {
			switch connector.ClassOf(err) {
			case connector.Conflict:
				status, scimType = http.StatusConflict, rfc.Uniqueness
			case connector.Invalid:
				status, scimType = http.StatusBadRequest, rfc.InvalidValue
			}
		}
	}
	return rfc.Errorf(status, scimType, "not every target has agreed: %s; the same request again goes on with these", strings.Join(texts, ", "))
}

// Get reads a user from the first target.
func (s passages) Get(ctx context.Context, id string) (*rfc.Resource, error) {
	p, err := s.row(ctx, id)
	if err != nil {
		return nil, err
	}
	r, _, _, err := s.read(ctx, p)
	if err != nil {
		return nil, err
	}
	return seen(client.From(ctx), r), nil
}

// read asks the first target that has an account: all of it, also what the client
// may not see. told are the attributes that this target can tell of.
func (s passages) read(ctx context.Context, p passing) (r *rfc.Resource, u provisioning.User, told []string, err error) {
	c := client.From(ctx)
	for _, t := range s.targets(c) {
		have := p.Accounts[t.ID]
		if have == "" {
			continue
		}
		a, err := t.get(ctx, p.ID, have)
		if err != nil {
			return nil, u, nil, s.failure(ctx, map[string]error{t.ID: err})
		}
		u = provisioning.User{ID: p.ID, Store: p.Store, Active: a.Active, Version: p.Version, Created: p.Created, Modified: p.Modified}
		u.UserName = a.UserName
		if _, rest, err := c.Split(a.UserName); err == nil {
			u.UserName = rest
		}
		for attr, values := range t.attributes(a) {
			u.Say(c.Source(), attr, values...)
		}
		r, err = s.shape.read(&u, c.Source(), c.Join(u.Store, u.UserName))
		return r, u, slices.Collect(maps.Values(t.Names)), err
	}
	return nil, u, nil, rfc.Errorf(http.StatusBadGateway, "", "no target has an account of this user yet: create the user again")
}

// begin waits for the turn of a call, and bounds it.
func (t Passage) begin(ctx context.Context) (context.Context, context.CancelFunc, error) {
	ctx, cancel := context.WithTimeout(ctx, t.Timeout)
	if err := t.Limit.Wait(ctx); err != nil {
		return ctx, cancel, &connector.Error{Class: connector.Transient, Text: "waiting for the rate limit", Err: err}
	}
	return ctx, cancel, nil
}

func (t Passage) get(ctx context.Context, ours, have string) (connector.Account, error) {
	ctx, cancel, err := t.begin(ctx)
	defer cancel()
	if err != nil {
		return connector.Account{}, err
	}
	if g, ok := t.Connector.(connector.Getter); ok {
		return g.Get(ctx, have)
	}
	there, err := t.Connector.Find(ctx, connector.Account{ExternalID: ours})
	if err != nil {
		return connector.Account{}, err
	}
	for _, a := range there {
		if a.ID == have {
			return a, nil
		}
	}
	return connector.Account{}, &connector.Error{Class: connector.Gone, Text: "the account is not there"}
}

// Change reads a user, lets fn edit it and tells the targets what differs.
func (s passages) Change(ctx context.Context, id string, fn rfc.Edit) (*rfc.Resource, error) {
	c := client.From(ctx)
	defer s.turn(id)()
	p, err := s.row(ctx, id)
	if err != nil {
		return nil, err
	}
	cur, was, told, err := s.read(ctx, p)
	if err != nil {
		return nil, err
	}
	next, err := fn(seen(c, cur))
	if err != nil {
		return nil, err
	}
	next = withUnseen(c, cur, next)
	if err := written(c, cur, next); err != nil {
		return nil, err
	}
	differ := names(cur, next)
	is, err := s.user(c, p, next)
	switch {
	case err != nil:
		return nil, err
	case len(differ) == 0 && p.Whole && !p.Begun:
		return seen(c, cur), nil
	case is.Store != p.Store:
		return nil, rfc.Errorf(http.StatusBadRequest, rfc.Mutability, "a user can not be moved to another user store")
	}
	if err := s.Directory.CheckName(is.Store, is.UserName); err != nil {
		return nil, answer(err, id)
	}
	if was.Active && !is.Active {
		if err := s.mayTake(ctx, p, "disable"); err != nil {
			return nil, err
		}
	}
	// Who was left out knows nothing of what the first target has.
	ch := change{was, is, told, !p.Whole || p.Begun}
	p.Name, p.Begun = s.nameHash(c, is.Store, is.UserName), true
	if h := s.externalHash(c, is.ExternalID); h != "" {
		p.External = h
	}
	if err := s.save(ctx, p, nil); err != nil { // before a target is told: the name may be taken
		return nil, err
	}
	if _, err := s.push(ctx, &p, ch); err != nil {
		p.Whole = false
		return nil, errors.Join(err, s.save(ctx, p, nil))
	}
	p.Whole, p.Begun, p.Version, p.Modified = true, false, p.Version+1, s.now()
	if err := s.save(ctx, p, s.event(ctx, "user.changed", p, differ)); err != nil {
		return nil, err
	}
	return s.stamped(seen(c, next), p), nil
}

// Delete removes the accounts, and then what is kept.
func (s passages) Delete(ctx context.Context, id string, check func(*rfc.Resource) error) error {
	c := client.From(ctx)
	defer s.turn(id)()
	p, err := s.row(ctx, id)
	if err != nil {
		return err
	}
	if !c.Writes("userName") {
		return errMayNotCreate
	}
	if err := check(s.stamped(&rfc.Resource{}, p)); err != nil {
		return err
	}
	if err := s.mayTake(ctx, p, "delete"); err != nil {
		return err
	}
	failed := map[string]error{}
	left := map[string]string{}
	for _, t := range s.Passages {
		have := p.Accounts[t.ID]
		if have == "" {
			continue
		}
		err := t.remove(ctx, have)
		if err != nil && connector.ClassOf(err) != connector.Gone {
			failed[t.ID], left[t.ID] = err, have
		}
	}
	if err := s.failure(ctx, failed); err != nil {
		p.Accounts = left
		return errors.Join(err, s.save(ctx, p, nil))
	}
	return s.Store.Update(ctx, func(tx store.Tx) error {
		if err := passings.Delete(tx, id); err != nil || s.Audit == nil {
			return err
		}
		return s.Audit(tx, *s.event(ctx, "user.deleted", p, nil))
	})
}

func (t Passage) remove(ctx context.Context, have string) error {
	ctx, cancel, err := t.begin(ctx)
	defer cancel()
	if err != nil {
		return err
	}
	return t.Connector.Remove(ctx, have)
}

// List is Walk.
func (s passages) List(ctx context.Context, q rfc.Query) (page rfc.Page, err error) {
	return s.Walk(ctx, q)
}

// Walk finds users by what is kept of them; each is read from the first target.
func (s passages) Walk(ctx context.Context, q rfc.Query) (page rfc.Page, err error) {
	c := client.From(ctx)
	if !q.Sort.IsZero() {
		return rfc.Page{}, errNotKept
	}
	var rows []passing
	err = s.Store.View(ctx, func(tx store.Tx) (err error) {
		page = rfc.Page{}
		if q.Filter != nil {
			rows, err = s.found(tx, c, q.Filter)
			return err
		}
		rows = nil
		for e, err := range passings.Entries(tx, "client", c.ID, c.ID+"\x00", store.Entry{}, 0) {
			if err != nil {
				return err
			}
			page.Total++
			switch {
			case q.After != "" && e.Key <= q.After, q.After == "" && page.Total < q.Start:
			case len(rows) == q.Count:
				if q.Count > 0 {
					page.Next = rows[q.Count-1].ID
				}
			default:
				p, ok, err := passings.Get(tx, e.Key)
				if err != nil {
					return err
				}
				if ok {
					rows = append(rows, p)
				}
			}
		}
		return nil
	})
	if err != nil {
		return rfc.Page{}, err
	}
	var all []*rfc.Resource
	for _, p := range rows {
		if len(p.Accounts) == 0 {
			continue // being made, or nobody came back to go on with it
		}
		r, _, _, err := s.read(ctx, p)
		if err != nil {
			return rfc.Page{}, err
		}
		all = append(all, seen(c, r))
	}
	if q.Filter == nil {
		page.Resources = all
		return page, nil
	}
	return q.Cut(all)
}

// found are the users that a filter asks for, by one of the ways in which they can
// be: whole and alone, since nothing else is known to try a filter on.
func (s passages) found(tx store.Tx, c *client.Client, f rfc.Filter) (rows []passing, err error) {
	take := func(p passing, ok bool, err error) error {
		if err == nil && ok && p.Client == c.ID {
			rows = append(rows, p)
		}
		return err
	}
	if _, alone := f.(rfc.Compare); !alone {
		return nil, errNotKept
	}
	if id, ok := rfc.Equal(f, "id"); ok {
		err := take(passings.Get(tx, id))
		return rows, err
	}
	if name, ok := rfc.Equal(f, "userName"); ok {
		userStore, rest := own(c, name)
		err := take(passings.Lookup(tx, "name", s.nameHash(c, userStore, rest)))
		return rows, err
	}
	if ext, ok := rfc.Equal(f, "externalId"); ok && ext != "" {
		for p, err := range passings.Find(tx, "external", s.externalHash(c, ext), "", 0) {
			if err := take(p, true, err); err != nil {
				return nil, err
			}
		}
		return rows, nil
	}
	return nil, errNotKept
}

// Earlier is as in [rfc.Ordered]; positions are IDs.
func (passages) Earlier(_ rfc.Query, a, b string) bool { return a < b }

// either is users, or passages for a push-only client.
type either struct {
	users users
	pass  passages
}

var _ rfc.Ordered = either{}

func (s either) of(ctx context.Context) rfc.Ordered {
	if client.From(ctx).Mode == client.PushOnly {
		return s.pass
	}
	return s.users
}

func (s either) Get(ctx context.Context, id string) (*rfc.Resource, error) {
	return s.of(ctx).Get(ctx, id)
}

func (s either) List(ctx context.Context, q rfc.Query) (rfc.Page, error) {
	return s.of(ctx).List(ctx, q)
}

func (s either) Walk(ctx context.Context, q rfc.Query) (rfc.Page, error) {
	return s.of(ctx).Walk(ctx, q)
}

// Earlier tells positions of the one from those of the other by what they look like.
func (s either) Earlier(q rfc.Query, a, b string) bool {
	if strings.HasPrefix(a, "{") {
		return s.users.Earlier(q, a, b)
	}
	return s.pass.Earlier(q, a, b)
}

func (s either) Create(ctx context.Context, r *rfc.Resource) (*rfc.Resource, error) {
	return s.of(ctx).Create(ctx, r)
}

func (s either) Change(ctx context.Context, id string, fn rfc.Edit) (*rfc.Resource, error) {
	return s.of(ctx).Change(ctx, id, fn)
}

func (s either) Delete(ctx context.Context, id string, check func(*rfc.Resource) error) error {
	return s.of(ctx).Delete(ctx, id, check)
}
