package provisioning

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"reflect"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/gatehouse-sso/gatehouse/federation"
	"github.com/gatehouse-sso/gatehouse/provisioning/store"
	"github.com/gatehouse-sso/gatehouse/provisioning/task"
)

// Config of a Directory.
type Config struct {
	Store      store.Store
	UserStores []string // IDs; the first is where names without a prefix are looked for
	// Precedence of sources after administrators; those not named come last.
	Precedence []Source
	// Multi are attributes that have several values, besides the usual ones
	// (groups, affiliation, entitlement, …).
	Multi map[string]bool
	// Unique are attributes of which, as far as clients say it, no two users have the
	// same value, in any spelling that folds to the same. See BuildUnique.
	Unique []string
	// TrustSelf are attributes that rules may read although only the person says so.
	TrustSelf []string
	// Followers learn of every change of a user, in this order.
	Followers []Follower
	// GroupFollowers learn of changes of groups themselves, not of their members.
	GroupFollowers []GroupFollower
	// SignedIn is called at each accepted sign-in, in its transaction, after
	// the Followers.
	SignedIn []func(tx store.Tx, u User, id federation.Identity, flow string) error
	Now      func() time.Time // nil: time.Now
}

// A GroupFollower is told of a group as a Follower is of a user: before is zero
// at a creation, after at a deletion.
type GroupFollower func(tx store.Tx, before, after Group, by Source) error

// A Directory keeps users, their links and the groups. It is the only thing
// that writes them. Its methods may be called from many goroutines.
type Directory struct {
	Config
	precedence map[Source]int
	multi      map[string]bool
	stores     map[string]bool
	newID      func() string
	memo       *store.Memo[userRow, User]
	groups     *store.Memo[groupRow, Group]
	actor      string // see As
}

// New makes a Directory over a store. It reads and writes nothing yet.
func New(c Config) (*Directory, error) {
	d := &Directory{Config: c, precedence: make(map[Source]int), multi: make(map[string]bool), stores: make(map[string]bool), memo: &store.Memo[userRow, User]{}, groups: &store.Memo[groupRow, Group]{}}
	if c.Store == nil {
		return nil, errors.New("directory: no store")
	}
	if len(c.UserStores) == 0 {
		return nil, errors.New("directory: no user store")
	}
	for _, id := range c.UserStores {
		switch {
		case !plainID(id):
			return nil, fmt.Errorf("directory: user store %q: an ID is 1 to 64 of a-z, 0-9, - and _", id)
		case d.stores[id]:
			return nil, fmt.Errorf("directory: user store %q is there twice", id)
		}
		d.stores[id] = true
	}
	for i, s := range c.Precedence {
		if _, ok := d.precedence[s]; ok || s == Admin {
			return nil, fmt.Errorf("directory: source %q is in the order of precedence twice; administrators are always first", s)
		}
		d.precedence[s] = i + 1
	}
	for attr, yes := range c.Multi {
		d.multi[attr] = yes
	}
	if d.Now == nil {
		d.Now = time.Now
	}
	d.memo.Table, d.memo.Of = users, d.userOf
	d.groups.Table, d.groups.Of = groups, groupOf
	d.newID = func() string { return uuid.Must(uuid.NewV7()).String() }
	return d, nil
}

func plainID(id string) bool {
	return id != "" && len(id) <= 64 && strings.Trim(id, "abcdefghijklmnopqrstuvwxyz0123456789-_") == ""
}

// now is the time as it is stored: UTC, whole milliseconds.
func (d *Directory) now() time.Time { return d.Now().UTC().Truncate(time.Millisecond) }

// SplitName takes the user store's prefix from a name: partners/kim. A name
// without one is in the first user store.
func (d *Directory) SplitName(name string) (userStore, rest string) {
	if s, rest, ok := strings.Cut(name, "/"); ok && d.stores[Fold(s)] {
		return Fold(s), rest
	}
	return d.UserStores[0], name
}

// Create makes a user. It gives it its ID, version 1 and its times; u may not
// have any of them. A taken name is a *Conflict. Links are made with it, by the
// word of whoever creates: of a Link only Ref and Provider are read. A Ref that
// another user has is a *Conflict, and then there is no user either.
func (d *Directory) Create(ctx context.Context, u User, by Source, with ...Link) (User, Delta, error) {
	if u.ID != "" || u.Version != 0 || !u.Created.IsZero() || !u.Modified.IsZero() {
		return User{}, Delta{}, &Invalid{"id", "version and times of a user are given by the directory"}
	}
	u.ID = d.newID()
	var out result
	err := d.sure(ctx, &out, func(tx store.Tx) (result, error) {
		// A repeated try finds what the first one made.
		if old, ok, err := d.UserTx(tx, u.ID); err != nil || ok {
			return result{u: old}, err
		}
		return d.createLinked(tx, u, by, with)
	})
	if err != nil {
		return User{}, Delta{}, fmt.Errorf("create user: %w", err)
	}
	return out.u, out.d, nil
}

// CreateTx is Create inside a transaction. After a *Conflict or an *Invalid nothing
// was written, so the caller may go on.
func (d *Directory) CreateTx(tx store.Tx, u User, by Source, with ...Link) (User, Delta, error) {
	if u.ID != "" || u.Version != 0 || !u.Created.IsZero() || !u.Modified.IsZero() {
		return User{}, Delta{}, &Invalid{"id", "version and times of a user are given by the directory"}
	}
	u.ID = d.newID()
	out, err := d.createLinked(tx, u, by, with)
	return out.u, out.d, err
}

// createLinked makes a user with links. It writes links last, when nothing else
// can be refused.
func (d *Directory) createLinked(tx store.Tx, u User, by Source, with []Link) (result, error) {
	dl := Delta{By: by}
	for _, l := range with {
		if err := checkRef(l.Ref); err != nil {
			return result{}, &Invalid{"link", err.Error()}
		}
		if _, taken, err := d.linked(tx, l.Ref); err != nil || taken {
			return result{}, cmpErr(err, &Conflict{"link", l.Ref.Subject})
		}
		dl.Linked = append(dl.Linked, l.Ref)
	}
	out, err := d.create(tx, u, dl)
	if err != nil {
		return result{}, err
	}
	for _, l := range with {
		if err := links.Put(tx, linkRow{l.Ref, l.Provider, u.ID, d.now()}); err != nil {
			return result{}, err
		}
	}
	return out, nil
}

// ChangeTx is Change inside a transaction. After a *Conflict or an *Invalid nothing
// was written, so the caller may go on.
func (d *Directory) ChangeTx(tx store.Tx, id string, by Source, fn func(*User) error) (User, Delta, error) {
	out, err := d.changeTx(tx, id, Delta{By: by}, fn)
	return out.u, out.d, err
}

// Change is how a user changes, whoever asks. fn gets a copy to change; it may
// be called again, so it touches nothing else. ID, Version and times are not
// fn's to change; claims of another source only if by is Admin or System. If
// nothing differs, nothing is written and the Delta is empty. fn's error is
// returned as it is, wrapped.
func (d *Directory) Change(ctx context.Context, id string, by Source, fn func(*User) error) (User, Delta, error) {
	var out result
	err := d.update(ctx, func(tx store.Tx) (err error) {
		out, err = d.changeTx(tx, id, Delta{By: by}, fn)
		return err
	})
	if err != nil {
		return User{}, Delta{}, fmt.Errorf("change user %s: %w", id, err)
	}
	return out.u, out.d, nil
}

// result is what a change made of a user.
type result struct {
	u User
	d Delta
}

func (d *Directory) changeTx(tx store.Tx, id string, dl Delta, fn func(*User) error) (result, error) {
	before, ok, err := d.UserTx(tx, id)
	if err != nil {
		return result{}, err
	}
	if !ok {
		return result{}, ErrNotFound
	}
	after := before.Clone()
	if err := fn(&after); err != nil {
		return result{}, err
	}
	if after.ID != before.ID || after.Version != before.Version || !after.Created.Equal(before.Created) || !after.Modified.Equal(before.Modified) {
		return result{}, &Invalid{"id", "version and times of a user are given by the directory"}
	}
	return d.commit(tx, before, after, dl)
}

func (d *Directory) create(tx store.Tx, u User, dl Delta) (result, error) {
	if _, dead, err := tombstones.Get(tx, u.ID); err != nil || dead {
		return result{}, cmpErr(err, errors.New("the ID of a deleted user is not given again"))
	}
	return d.commit(tx, User{}, u.Clone(), dl)
}

// commit is the one place where a user's row is written, unless it is deleted.
// dl says by whom, and what else than the row differs.
func (d *Directory) commit(tx store.Tx, before, after User, dl Delta) (result, error) {
	now := d.now()
	for attr, claims := range after.Attributes {
		for i, c := range claims {
			claims[i].Values = distinct(c.Values)
			claims[i].At = now
			for _, old := range before.Attributes[attr] {
				if old.Source == c.Source && slices.Equal(old.Values, claims[i].Values) {
					claims[i].At = old.At
				}
			}
		}
	}
	d.order(&after)
	diff := Diff(before, after, dl.By)
	dl.UserID, dl.Created, dl.Fields = diff.UserID, diff.Created, diff.Fields
	if dl.Empty() {
		return result{u: before}, nil
	}
	if err := d.check(before, after, dl.By); err != nil {
		return result{}, err
	}
	dl.At, after.Modified = now, now
	after.Version = before.Version + 1
	if dl.Created {
		after.Created = now
	}
	if err := users.Put(tx, rowOf(after)); errors.Is(err, store.ErrConflict) {
		return result{}, &Conflict{"user_name", after.UserName}
	} else if err != nil {
		return result{}, err
	}
	if err := tallyOf(tx, before, after); err != nil {
		return result{}, err
	}
	if err := d.keepUnique(tx, before, after, dl.By); err != nil {
		return result{}, err
	}
	if err := d.follow(tx, before, after, dl); err != nil {
		return result{}, err
	}
	return result{after, dl}, nil
}

// As is the same Directory for one of those who are Admin together: what they change by
// that word says who they are.
func (d *Directory) As(actor string) *Directory {
	own := *d
	own.actor = actor
	return &own
}

// follow tells the Followers; each has its own copies.
func (d *Directory) follow(tx store.Tx, before, after User, dl Delta) error {
	if dl.By == Admin {
		dl.Actor = d.actor
	}
	for _, f := range d.Followers {
		if err := f(tx, before.Clone(), after.Clone(), dl); err != nil {
			return err
		}
	}
	return nil
}

// update is an Update of the store. What a Follower refused, and wants kept, it
// notes when all is undone.
func (d *Directory) update(ctx context.Context, fn func(store.Tx) error) error {
	err := d.Store.Update(ctx, fn)
	var n Noted
	if errors.As(err, &n) {
		if nerr := d.Store.Update(ctx, n.Note); nerr != nil {
			return errors.Join(err, nerr)
		}
	}
	return err
}

// check refuses what may not be stored.
func (d *Directory) check(before, after User, by Source) error {
	if err := d.checkName(after.Store, "user_name", after.UserName); err != nil {
		return err
	}
	if text := badText(after.ExternalID, MaxName); text != "" {
		return &Invalid{"external_id", text}
	}
	for attr, claims := range after.Attributes {
		if text := badAttribute(attr); text != "" {
			return &Invalid{fmt.Sprintf("attribute %q", attr), text}
		}
		for i, c := range claims {
			if c.Source == "" {
				return &Invalid{attr, "has a claim without a source"}
			}
			if slices.ContainsFunc(claims[:i], func(o Claim) bool { return o.Source == c.Source }) {
				return &Invalid{attr, fmt.Sprintf("has two claims of %s", c.Source)}
			}
			for _, v := range c.Values {
				if !utf8.ValidString(v) {
					return &Invalid{attr, "is not valid UTF-8"}
				}
			}
			if len(c.Values) > MaxValues {
				return tooLarge(fmt.Sprintf("are too many: %q has %d values; allowed are %d", attr, len(c.Values), MaxValues))
			}
		}
	}
	if text := badGrants(after.Grants); text != "" {
		return &Invalid{"granted", text}
	}
	if text := badConsents(after.Consents); text != "" {
		return &Invalid{"consents", text}
	}
	if atMost(after) > MaxUser {
		b, err := json.Marshal(rowOf(after))
		if err != nil {
			return err
		}
		if len(b) > MaxUser {
			return tooLarge(fmt.Sprintf("of all sources take %d bytes as they are stored; allowed are %d", len(b), MaxUser))
		}
	}
	return owned(before, after, by)
}

// atMost is a number of bytes that a user does not exceed as stored: JSON makes up to
// six of one, and what is around the texts is shorter than what is counted for it.
func atMost(u User) int {
	text, around := len(u.ID)+len(u.Store)+len(u.UserName)+len(u.ExternalID), 512
	for attr, claims := range u.Attributes {
		text, around = text+len(attr), around+16
		for _, c := range claims {
			text, around = text+len(c.Source), around+128
			for _, v := range c.Values {
				text, around = text+len(v), around+4
			}
		}
	}
	for _, c := range u.Consents {
		text, around = text+len(c.To)+len(c.Attribute)+len(c.Said), around+128
	}
	for _, g := range u.Grants {
		text, around = text+len(g.Role)+len(g.By)+len(g.Request), around+256
	}
	return 6*text + around
}

// owned refuses a change of what somebody else said. At a sign-in the person
// speaks too.
func owned(before, after User, by Source) error {
	if by == Admin || by == System {
		return nil
	}
	if by != Access && !sameGrants(before.Grants, after.Grants) {
		return &Invalid{"granted", fmt.Sprintf("can not be changed by %s", by)}
	}
	if by != Self && !slices.Equal(before.Consents, after.Consents) {
		return &Invalid{"consents", fmt.Sprintf("can not be changed by %s", by)}
	}
	for attr := range union(before.Attributes, after.Attributes) {
		others := func(u User) []Claim {
			return slices.DeleteFunc(slices.Clone(u.Attributes[attr]), func(c Claim) bool {
				return c.Source == by || c.Source == Self && strings.HasPrefix(string(by), "idp:")
			})
		}
		if !sameClaims(others(before), others(after)) {
			return &Invalid{attr, fmt.Sprintf("as said by others can not be changed by %s", by)}
		}
	}
	return nil
}

// tooLarge is the Invalid of too many or too long attributes.
func tooLarge(text string) *Invalid { return &Invalid{"attributes", text} }

// CheckName refuses what can not be a user name in a user store.
func (d *Directory) CheckName(userStore, name string) error {
	return d.checkName(userStore, "user_name", name)
}

// checkName refuses a name that is not one, or that would be read as a name in
// another user store.
func (d *Directory) checkName(userStore, field, name string) error {
	if !d.stores[userStore] {
		return &Invalid{"store", fmt.Sprintf("%q is not a user store", userStore)}
	}
	if text := badName(name); text != "" {
		return &Invalid{field, text}
	}
	if prefix, _, ok := strings.Cut(name, "/"); ok && userStore == d.UserStores[0] && d.stores[Fold(prefix)] {
		return &Invalid{field, fmt.Sprintf("%q begins like a name in the user store %s", name, Fold(prefix))}
	}
	return nil
}

// Delete removes a user at once and for ever: a tombstone keeps the ID from
// being given again. Links and memberships, however many, are cleared after
// that; until then they lead nowhere. That the user is not there is ErrNotFound.
// Each of checks is asked in the same transaction; an error of it leaves the
// user and is returned, wrapped.
func (d *Directory) Delete(ctx context.Context, id string, by Source, checks ...func(User) error) error {
	err := d.update(ctx, func(tx store.Tx) error {
		before, ok, err := d.UserTx(tx, id)
		if err != nil {
			return err
		}
		if !ok {
			return ErrNotFound
		}
		for _, check := range checks {
			if err := check(before.Clone()); err != nil {
				return err
			}
		}
		dl := Diff(before, User{}, by)
		dl.At = d.now()
		for m, err := range members.Find(tx, "user", id, "", 0) {
			if err != nil {
				return err
			}
			dl.Left = append(dl.Left, m.Group)
		}
		if err := users.Delete(tx, id); err != nil {
			return err
		}
		if err := tallyOf(tx, before, User{}); err != nil {
			return err
		}
		if err := d.keepUnique(tx, before, User{}, by); err != nil {
			return err
		}
		if err := tombstones.Put(tx, tombstoneRow{id, "user", by, dl.At}); err != nil {
			return err
		}
		if err := task.Add(tx, TaskClear, id, dl.At); err != nil {
			return err
		}
		return d.follow(tx, before, User{}, dl)
	})
	if err != nil {
		return fmt.Errorf("delete user %s: %w", id, err)
	}
	return nil
}

// User returns a user by ID, or ErrNotFound.
func (d *Directory) User(ctx context.Context, id string) (User, error) {
	return view(ctx, d, "user "+id, func(tx store.Tx) (User, bool, error) { return d.UserTx(tx, id) })
}

// UserTx is User inside a transaction.
func (d *Directory) UserTx(tx store.Tx, id string) (User, bool, error) {
	u, err := d.memo.Get(tx, id)
	if err != nil || u == nil {
		return User{}, false, err
	}
	return u.Clone(), true, nil
}

// ByNameTx is ByName inside a transaction; that there is none is not an error.
func (d *Directory) ByNameTx(tx store.Tx, userStore, name string) (User, bool, error) {
	r, ok, err := users.Lookup(tx, "name", pair(userStore, Fold(name)))
	if err != nil || !ok {
		return User{}, false, err
	}
	return d.userOf(r), true, nil
}

// ByName returns the user who has a name in a user store, in any spelling that
// folds to the same, or ErrNotFound.
func (d *Directory) ByName(ctx context.Context, userStore, name string) (User, error) {
	return view(ctx, d, fmt.Sprintf("user %q in %s", name, userStore), func(tx store.Tx) (User, bool, error) {
		return d.ByNameTx(tx, userStore, name)
	})
}

// Users yields users ordered by ID, those after a given ID, at most limit (0:
// all). It reads pages, each as of its own moment.
func (d *Directory) Users(ctx context.Context, after string, limit int) iter.Seq2[User, error] {
	return pages(ctx, d, after, limit, User.key, func(tx store.Tx, after string, n int) iter.Seq2[userRow, error] {
		return users.All(tx, after, n)
	}, d.userOf)
}

// UsersTx yields all users, ordered by ID, as they are in tx.
func (d *Directory) UsersTx(tx store.Tx) iter.Seq2[User, error] {
	return func(yield func(User, error) bool) {
		for r, err := range users.All(tx, "", 0) {
			if !yield(d.userOf(r), err) || err != nil {
				return
			}
		}
	}
}

// Search yields users of a store whose folded name begins with prefix, ordered
// by it, those after a given name, at most limit (0: all).
func (d *Directory) Search(ctx context.Context, userStore, prefix, after string, limit int) iter.Seq2[User, error] {
	from := namePrefix(userStore, Fold(prefix))
	to := string(store.End([]byte(from)))
	if after != "" {
		after = pair(userStore, Fold(after))
	}
	key := func(u User) string { return pair(u.Store, Fold(u.UserName)) }
	return pages(ctx, d, after, limit, key, func(tx store.Tx, after string, n int) iter.Seq2[userRow, error] {
		return users.Range(tx, "by_name", laterOf(from, after), to, n)
	}, d.userOf)
}

func linksOf(tx store.Tx, userID string) (all []Link, err error) {
	for r, err := range links.Find(tx, "user", userID, "", 0) {
		if err != nil {
			return nil, err
		}
		all = append(all, Link(r))
	}
	return all, nil
}

// Links returns a user's links.
func (d *Directory) Links(ctx context.Context, userID string) ([]Link, error) {
	var all []Link
	err := d.Store.View(ctx, func(tx store.Tx) (err error) {
		all, err = linksOf(tx, userID)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("links of user %s: %w", userID, err)
	}
	return all, nil
}

// Link binds a Ref to a user, by an administrator's word or because the person
// proved to be both; nothing else ever links to a user who is there. A Ref that
// another user has is a *Conflict.
func (d *Directory) Link(ctx context.Context, userID string, ref federation.Ref, provider string, by Source) (User, Delta, error) {
	if err := checkRef(ref); err != nil {
		return User{}, Delta{}, &Invalid{"link", err.Error()}
	}
	return d.relink(ctx, userID, Delta{By: by, Linked: []federation.Ref{ref}}, func(tx store.Tx) (bool, error) {
		owner, ok, err := d.linked(tx, ref)
		if err != nil || ok && owner.ID == userID {
			return false, err
		}
		if ok {
			return false, &Conflict{"link", ref.Subject}
		}
		return true, links.Put(tx, linkRow{ref, provider, userID, d.now()})
	})
}

// Unlink takes a Ref away from a user. Each of checks is asked in the same
// transaction about those that are left; its error leaves it.
func (d *Directory) Unlink(ctx context.Context, userID string, ref federation.Ref, by Source, checks ...func(left []Link) error) (User, Delta, error) {
	return d.relink(ctx, userID, Delta{By: by, Unlinked: []federation.Ref{ref}}, func(tx store.Tx) (bool, error) {
		r, ok, err := links.Get(tx, refKey(ref))
		if err != nil || !ok || r.UserID != userID {
			return false, err
		}
		if err := links.Delete(tx, refKey(ref)); err != nil {
			return false, err
		}
		left, err := linksOf(tx, userID)
		for _, check := range checks {
			err = errors.Join(err, check(left))
		}
		return true, err
	})
}

// relink is a change of a user's edges or links: fn makes it and says whether
// there was anything to do.
func (d *Directory) relink(ctx context.Context, userID string, dl Delta, fn func(tx store.Tx) (bool, error)) (User, Delta, error) {
	var out result
	err := d.update(ctx, func(tx store.Tx) error {
		u, ok, err := d.UserTx(tx, userID)
		if err != nil {
			return err
		}
		if !ok {
			return ErrNotFound
		}
		out = result{u: u}
		did, err := fn(tx)
		if err != nil || !did {
			return err
		}
		out, err = d.commit(tx, u, u.Clone(), dl)
		return err
	})
	if err != nil {
		return User{}, Delta{}, fmt.Errorf("change user %s: %w", userID, err)
	}
	return out.u, out.d, nil
}

// sure runs an update that may be repeated, again if the store can not tell
// whether it happened. If a repeated try finds exactly what an earlier one
// made, the earlier one's Delta is the true one.
func (d *Directory) sure(ctx context.Context, out *result, fn func(store.Tx) (result, error)) error {
	var earlier []result
	for try := 1; ; try++ {
		var own error
		ran := false
		err := d.Store.Update(ctx, func(tx store.Tx) error {
			ran = true
			*out, own = fn(tx)
			return own
		})
		if err == nil {
			for _, e := range earlier {
				if out.d.Empty() && reflect.DeepEqual(e.u, out.u) {
					out.d = e.d
				}
			}
			return nil
		}
		if own != nil || !ran || try == 3 || ctx.Err() != nil || errors.Is(err, store.ErrLimit) || errors.Is(err, store.ErrClosed) || errors.Is(err, store.ErrDamaged) {
			return err
		}
		earlier = append(earlier, *out)
	}
}

func (u User) key() string { return u.ID }

// pageSize rows are read in one transaction, so that a slow reader holds none open.
const pageSize = 200

// pages yields what read finds after a key, a page at a time. key is what read
// continues after.
func pages[R, T any](ctx context.Context, d *Directory, after string, limit int, key func(T) string, read func(tx store.Tx, after string, n int) iter.Seq2[R, error], of func(R) T) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var zero T
		for got := 0; ; {
			n := pageSize
			if limit > 0 {
				n = min(n, limit-got)
			}
			var page []T
			err := d.Store.View(ctx, func(tx store.Tx) error {
				page = page[:0]
				for r, err := range read(tx, after, n) {
					if err != nil {
						return err
					}
					page = append(page, of(r))
				}
				return nil
			})
			if err != nil {
				yield(zero, err)
				return
			}
			for _, v := range page {
				if !yield(v, nil) {
					return
				}
				after = key(v)
			}
			if got += len(page); len(page) < n || got == limit {
				return
			}
		}
	}
}

// namePrefix begins all tuples (userStore, name) whose name begins with prefix.
func namePrefix(userStore, prefix string) string { return string(store.Key(userStore)) + prefix }

// laterOf is the lower bound of a page: from, or just behind the last value seen.
func laterOf(from, after string) string {
	if after == "" {
		return from
	}
	return max(from, after+"\x00")
}

// view reads one thing; that it is not there is ErrNotFound.
func view[T any](ctx context.Context, d *Directory, what string, fn func(store.Tx) (T, bool, error)) (T, error) {
	var v T
	err := d.Store.View(ctx, func(tx store.Tx) error {
		var ok bool
		var err error
		v, ok, err = fn(tx)
		if err == nil && !ok {
			err = ErrNotFound
		}
		return err
	})
	if err != nil {
		var zero T
		return zero, fmt.Errorf("%s: %w", what, err)
	}
	return v, nil
}

// cmpErr is the first error that is one.
func cmpErr(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
