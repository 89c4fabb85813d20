// Package session keeps sign-ins on the server: what the browser holds is an
// opaque random key for one host, what the store holds is its hash.
//
// One sign-in is one [Session]. Each host that the person visits has a cookie
// of its own, because a browser gives a __Host- cookie to one host only, so a
// row of its own: a key. All keys of a sign-in lead to the same session, and so
// idle time, logout and revocation are one thing:
//
//	cookie (random, 256 bit) ──SHA-256──▶ key row {host, session} ──▶ session row
//
// The request path is [Store.Lookup]: a hash, two map reads, no disk. The maps
// are kept true by Store.Watch, from this process and from any replica; ending a
// session takes it out of the maps before End returns. Pages use the
// gorilla/sessions interface, which Store implements: Get, New, Save.
//
// A theft of the store gives nobody a session; a copied cookie of one host
// works at no other.
package session

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"iter"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/gatehouse-sso/gatehouse/provisioning/store"
)

// A Session is one sign-in. Values handed out are shared: read them only.
type Session struct {
	ID       string    `json:"id"` // random, not a secret
	UserID   string    `json:"user"`
	Provider string    `json:"provider"` // identity provider
	Issuer   string    `json:"issuer"`
	Subject  string    `json:"subject"`
	ACR      string    `json:"acr,omitempty"`
	AMR      []string  `json:"amr,omitempty"`
	AuthTime time.Time `json:"auth_time"`
	// ProviderSession, ProviderName and LogoutHint are for single logout; the
	// name is what Named makes, the hint is sealed by whoever signs in.
	ProviderSession string    `json:"provider_session,omitempty"`
	ProviderName    string    `json:"provider_name,omitempty"`
	LogoutHint      string    `json:"logout_hint,omitempty"`
	Created         time.Time `json:"created"`
	Seen            time.Time `json:"seen"`  // as stored; at most SeenEvery behind
	Until           time.Time `json:"until"` // the end whatever happens
	// Hold, while it is not nil, keeps the session from every service.
	Hold *Hold `json:"hold,omitempty"`
	// Flow is the support code of the sign-in.
	Flow string `json:"flow,omitempty"`
}

// A Hold makes a session wait for accounts at targets.
type Hold struct {
	Until time.Time `json:"until"`
	// Continue: after Until the session is let through all the same.
	Continue bool `json:"continue,omitempty"`
}

// A key is what a browser has for one host.
type key struct {
	Hash    string    `json:"hash"` // base64url of SHA-256
	Host    string    `json:"host"`
	Session string    `json:"session"`
	Made    time.Time `json:"made"`
}

var sessionRows = store.Table[Session]{
	Name: "session",
	Key:  func(s Session) string { return s.ID },
	Index: map[string]func(Session) []string{
		"user":     func(s Session) []string { return []string{s.UserID} },
		"provider": func(s Session) []string { return []string{s.Provider} },
		"until":    func(s Session) []string { return []string{stamp(s.Until)} },
		"theirs": func(s Session) (keys []string) {
			if s.ProviderSession != "" {
				keys = append(keys, Named(s.Provider, "session", s.ProviderSession))
			}
			if s.ProviderName != "" {
				keys = append(keys, s.ProviderName)
			}
			return keys
		},
	},
}

// Named is what an identity provider calls a person or, with kind "session", a
// session: of one length, and readable to nobody.
func Named(provider, kind, name string) string {
	sum := sha256.Sum256(store.Key(provider, kind, name))
	return encode(sum[:])
}

var keyRows = store.Table[key]{
	Name:  "session_key",
	Key:   func(k key) string { return k.Hash },
	Index: map[string]func(key) []string{"session": func(k key) []string { return []string{k.Session} }},
}

// stamp orders as time does.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000000000Z") }

var (
	// ErrNone: there is no session, or it is over.
	ErrNone = errors.New("no session")
	// ErrAmbiguous: the request bears our cookie more than once. Somebody may
	// have planted one; neither is believed.
	ErrAmbiguous = errors.New("session cookie sent more than once")
)

// Config of a Store.
type Config struct {
	Store    store.Store
	Cookie   Cookie
	Idle     time.Duration // 0: 30 minutes
	Lifetime time.Duration // 0: 8 hours
	PerUser  int           // the oldest is ended when there are more; 0: 10
	Strict   bool          // SameSite=Strict for the session cookie
	Now      func() time.Time
	// EndedTx, if not nil, is called in the transaction that ends a session, with
	// the reason; its error undoes that.
	EndedTx func(tx store.Tx, s Session, why string) error
	// Ended, if not nil, learns of each session that stopped being as it was:
	// ended here or elsewhere. It must not block.
	Ended func(id string)
}

// SeenEvery is how far the stored last use of a session may lag behind, so
// that being used costs no write.
const SeenEvery = time.Minute

// A Store keeps sessions. It is a gorilla sessions.Store.
type Store struct {
	c Config

	mu   sync.RWMutex
	told bool   // whether the store tells of changes, so that rows may be remembered
	gen  uint64 // counts removals, so that a read that began before one is not remembered after it
	byID map[string]*live
	byK  map[[32]byte]*remembered // by hash
	// uses are apart from what is remembered of rows: forgetting a row must not
	// make its session look idle.
	uses map[string]*use
}

// live is a session in memory.
type live struct {
	*Session
	use  *use
	keys [][32]byte // hashes that lead here, to forget them together
}

type remembered struct {
	host string
	l    *live
}

// use is when a session was last used, and what of that is stored.
type use struct {
	mu            sync.Mutex
	seen, written time.Time
}

// New makes a Store. Run keeps what it remembers true; without Run it
// remembers nothing.
func New(c Config) *Store {
	if c.Idle == 0 {
		c.Idle = 30 * time.Minute
	}
	if c.Lifetime == 0 {
		c.Lifetime = 8 * time.Hour
	}
	if c.PerUser == 0 {
		c.PerUser = 10
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return &Store{c: c, byID: map[string]*live{}, byK: map[[32]byte]*remembered{}, uses: map[string]*use{}}
}

// Run keeps what is remembered true, writes last uses behind and sweeps what is
// over, until ctx ends.
func (s *Store) Run(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		for raw := range s.c.Store.Watch(ctx, sessionRows.Prefix()) {
			if raw == nil {
				s.forgetAll(true)
			} else if id, ok := sessionRows.KeyOf(raw); ok {
				s.refresh(ctx, id)
			}
		}
		s.forgetAll(false) // nobody tells us any more
	})
	tick := time.NewTicker(SeenEvery)
	defer tick.Stop()
	var cleared time.Time
	for {
		select {
		case <-ctx.Done():
			flush, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
			s.writeSeen(flush)
			cancel()
			return
		case <-tick.C:
			s.writeSeen(ctx)
			s.sweep(ctx)
			if now := s.c.Now(); now.Sub(cleared) >= visitEvery {
				cleared = now
				s.forgetVisits(ctx)
			}
		}
	}
}

// Lookup is the request path: the session whose cookie for this host the
// request bears. ErrNone, ErrAmbiguous, or the store's own error, which means
// that nobody knows and nobody passes. A lookup counts as a use.
func (s *Store) Lookup(r *http.Request, host string) (*Session, error) {
	secret, err := s.c.Cookie.read(r)
	if err != nil {
		return nil, err
	}
	sum, err := hash(secret)
	if err != nil {
		return nil, err
	}
	s.mu.RLock()
	m, gen := s.byK[sum], s.gen
	s.mu.RUnlock()
	if m == nil {
		if m, err = s.load(r.Context(), sum, gen); err != nil {
			return nil, err
		}
	}
	if m.host != host || s.over(m.l, true) {
		return nil, ErrNone
	}
	return m.l.Session, nil
}

// Peek returns a session by its ID, if it is not over; it does not count as a
// use. ErrNone, or the store's own error.
func (s *Store) Peek(ctx context.Context, id string) (*Session, error) {
	s.mu.RLock()
	l := s.byID[id]
	s.mu.RUnlock()
	if l == nil {
		row, err := s.row(ctx, id)
		if err != nil {
			return nil, err
		}
		s.mu.Lock()
		l = &live{Session: &row, use: s.useOf(&row)}
		s.mu.Unlock()
	}
	if s.over(l, false) {
		return nil, ErrNone
	}
	return l.Session, nil
}

// over says whether a session has ended by itself; if not, it may count a use.
func (s *Store) over(l *live, used bool) bool {
	now := s.c.Now()
	l.use.mu.Lock()
	defer l.use.mu.Unlock()
	if !now.Before(l.Until) || now.Sub(l.use.seen) >= s.c.Idle {
		return true
	}
	if used && now.After(l.use.seen) {
		l.use.seen = now
	}
	return false
}

func (s *Store) row(ctx context.Context, id string) (row Session, err error) {
	err = s.c.Store.View(ctx, func(tx store.Tx) error {
		var ok bool
		var err error
		if row, ok, err = sessionRows.Get(tx, id); err != nil || !ok {
			return orNone(err)
		}
		return nil
	})
	return row, err
}

// load reads a key and its session, and remembers them unless something was
// removed meanwhile.
func (s *Store) load(ctx context.Context, sum [32]byte, gen uint64) (*remembered, error) {
	var k key
	var row Session
	err := s.c.Store.View(ctx, func(tx store.Tx) error {
		var ok bool
		var err error
		if k, ok, err = keyRows.Get(tx, encode(sum[:])); err != nil || !ok {
			return orNone(err)
		}
		if row, ok, err = sessionRows.Get(tx, k.Session); err != nil || !ok {
			return orNone(err)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.byID[row.ID]
	if l == nil {
		l = &live{Session: &row, use: s.useOf(&row)}
	}
	m := &remembered{k.Host, l}
	if s.told && s.gen == gen {
		s.byID[row.ID] = l
		s.byK[sum] = m
		l.keys = append(l.keys, sum)
	}
	return m, nil
}

// useOf finds or begins the use of a session. What another replica stored
// counts too. The caller has s.mu.
func (s *Store) useOf(row *Session) *use {
	u := s.uses[row.ID]
	if u == nil {
		u = &use{}
		s.uses[row.ID] = u
	}
	u.stored(row.Seen)
	return u
}

func (u *use) stored(seen time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if seen.After(u.written) {
		u.written = seen
	}
	if seen.After(u.seen) {
		u.seen = seen
	}
}

func orNone(err error) error {
	if err != nil {
		return err
	}
	return ErrNone
}

// refresh makes what is remembered of a session agree with its row.
func (s *Store) refresh(ctx context.Context, id string) {
	s.mu.RLock()
	l := s.byID[id]
	s.mu.RUnlock()
	row, err := s.row(ctx, id)
	switch {
	case err == nil && l == nil:
		return
	case err == nil && equal(row, *l.Session):
		l.use.stored(row.Seen) // only the last use moved: a writing behind, ours or another replica's
		return
	}
	s.forget(id)
	s.ended(id)
}

// equal: whoever may pass with the one may pass with the other.
func equal(a, b Session) bool {
	ha, hb := a.Hold, b.Hold
	if (ha == nil) != (hb == nil) || ha != nil && *ha != *hb {
		return false
	}
	return a.UserID == b.UserID && a.ACR == b.ACR && a.Until.Equal(b.Until) && a.Provider == b.Provider
}

func (s *Store) ended(id string) {
	if s.c.Ended != nil {
		s.c.Ended(id)
	}
}

func (s *Store) forget(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gen++
	if l := s.byID[id]; l != nil {
		for _, k := range l.keys {
			delete(s.byK, k)
		}
		delete(s.byID, id)
	}
}

// forgetAll, when a watch begins or ends, or had a gap.
func (s *Store) forgetAll(told bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gen++
	s.told = told
	clear(s.byID)
	clear(s.byK)
}

// begin writes a session and its first key in place of the session that the
// browser had, then ends the user's oldest sessions beyond PerUser. It returns
// the cookie's value.
func (s *Store) begin(ctx context.Context, row *Session, host, before string) (string, error) {
	now := s.c.Now()
	row.ID, row.Created, row.Seen = uuid.NewString(), now, now
	if end := now.Add(s.c.Lifetime); row.Until.IsZero() || end.Before(row.Until) {
		row.Until = end
	}
	secret, sum := random()
	var mine []Session
	err := s.c.Store.Update(ctx, func(tx store.Tx) (err error) {
		// Whatever was fixed or copied before the sign-in is worth nothing after it.
		if err := s.endTx(tx, before, ReasonReplaced); err != nil {
			return err
		}
		if mine, err = collect(sessionRows.Find(tx, "user", row.UserID, "", 0)); err != nil {
			return err
		}
		if err := sessionRows.Put(tx, *row); err != nil {
			return err
		}
		return keyRows.Put(tx, key{encode(sum[:]), host, row.ID, now})
	})
	if before != "" {
		s.forget(before)
		s.ended(before)
	}
	if err != nil {
		return "", err
	}
	slices.SortFunc(mine, func(a, b Session) int { return a.Created.Compare(b.Created) })
	// What began just now is another tab of the same browser, more likely than
	// not, and perhaps the one whose cookie stays.
	for len(mine) >= s.c.PerUser && now.Sub(mine[0].Created) >= TicketLife {
		if err := s.End(ctx, mine[0].ID, ReasonTooMany); err != nil {
			return "", err
		}
		mine = mine[1:]
	}
	return secret, nil
}

// maxKeys is how many keys one session may have, so that ending it stays far
// below store.MaxKeys. Who visits more hosts gets another key for the one
// whose key went, without being asked anything.
const maxKeys = 32

// AddKey makes a cookie value for one more host of a session. What the browser
// had for this host goes, unless it was made just now: tabs that open together
// must not take each other's away.
func (s *Store) AddKey(ctx context.Context, id, host string) (string, error) {
	secret, sum := random()
	now := s.c.Now()
	err := s.c.Store.Update(ctx, func(tx store.Tx) error {
		row, ok, err := sessionRows.Get(tx, id)
		if err != nil || !ok {
			return orNone(err)
		}
		if err := s.visitTx(tx, host, row.UserID); err != nil {
			return err
		}
		have, err := collect(keyRows.Find(tx, "session", id, "", 0))
		if err != nil {
			return err
		}
		slices.SortFunc(have, func(a, b key) int { return a.Made.Compare(b.Made) })
		left := len(have)
		for i, k := range have {
			// The first key is the gateway's own, by which the others come.
			if k.Host == host && now.Sub(k.Made) >= TicketLife || left >= maxKeys && i > 0 {
				if err := keyRows.Delete(tx, k.Hash); err != nil {
					return err
				}
				left--
			}
		}
		return keyRows.Put(tx, key{encode(sum[:]), host, id, now})
	})
	if err != nil {
		return "", err
	}
	s.forget(id) // its old keys
	return secret, nil
}

// endTx removes a session and its keys, if it is there.
func (s *Store) endTx(tx store.Tx, id, why string) error {
	row, ok, err := sessionRows.Get(tx, id)
	if err != nil || !ok {
		return err
	}
	ks, err := collect(keyRows.Find(tx, "session", id, "", 0))
	if err != nil {
		return err
	}
	for _, k := range ks {
		if err := keyRows.Delete(tx, k.Hash); err != nil {
			return err
		}
	}
	if err := sessionRows.Delete(tx, id); err != nil || s.c.EndedTx == nil {
		return err
	}
	return s.c.EndedTx(tx, row, why)
}

// End ends a session, on every host, for a reason of Reasons. When it returns
// nil no request can begin with it any more in this process. That there is none
// is success.
func (s *Store) End(ctx context.Context, id, why string) error {
	err := s.c.Store.Update(ctx, func(tx store.Tx) error { return s.endTx(tx, id, why) })
	// Forgotten even if the store says no: then the next lookup asks it again.
	s.forget(id)
	s.ended(id)
	return err
}

// EndUser ends all sessions of a user, and says how many there were.
func (s *Store) EndUser(ctx context.Context, userID, why string) (int, error) {
	return s.EndAll(ctx, Filter{User: userID}, why)
}

// Release replaces the hold of a session; nil lifts it.
func (s *Store) Release(ctx context.Context, id string, hold *Hold) error {
	err := s.c.Store.Update(ctx, func(tx store.Tx) error {
		row, ok, err := sessionRows.Get(tx, id)
		if err != nil || !ok {
			return orNone(err)
		}
		row.Hold = hold
		return sessionRows.Put(tx, row)
	})
	s.forget(id)
	return err
}

// Count is how many sessions there are that have not reached their end, those
// included that were not used for long and wait to be swept.
func (s *Store) Count(ctx context.Context) (n int, err error) {
	err = s.c.Store.View(ctx, func(tx store.Tx) error {
		n = 0
		for _, err := range sessionRows.Entries(tx, "until", stamp(s.c.Now()), "", store.Entry{}, 0) {
			if err != nil {
				return err
			}
			n++
		}
		return nil
	})
	return n, err
}

// Flush writes the last use of sessions now, as Run does from time to time.
func (s *Store) Flush(ctx context.Context) { s.writeSeen(ctx) }

// writeSeen stores the last use of sessions that were used, and lets go of uses
// that say no more than the rows do.
func (s *Store) writeSeen(ctx context.Context) {
	seen := map[string]time.Time{}
	s.mu.Lock()
	for id, u := range s.uses {
		u.mu.Lock()
		if u.seen.After(u.written) {
			seen[id] = u.seen
		} else if s.byID[id] == nil {
			delete(s.uses, id)
		}
		u.mu.Unlock()
	}
	s.mu.Unlock()
	const each = 12 // rows in a transaction, with their index entries far below store.MaxKeys
	for batch := range slices.Chunk(slices.Sorted(maps.Keys(seen)), each) {
		err := s.c.Store.Update(ctx, func(tx store.Tx) error {
			for _, id := range batch {
				row, ok, err := sessionRows.Get(tx, id)
				if err != nil {
					return err
				}
				if !ok || !seen[id].After(row.Seen) {
					continue // ended, or used later elsewhere
				}
				row.Seen = seen[id]
				if err := sessionRows.Put(tx, row); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return // a minute later again
		}
		s.mu.RLock()
		for _, id := range batch {
			if u := s.uses[id]; u != nil {
				u.stored(seen[id])
			}
		}
		s.mu.RUnlock()
	}
}

// seen is the last use of a session, which may not be written yet.
func (s *Store) seen(row Session) time.Time {
	s.mu.RLock()
	u := s.uses[row.ID]
	s.mu.RUnlock()
	if u == nil {
		return row.Seen
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.seen.After(row.Seen) {
		return u.seen
	}
	return row.Seen
}

// sweep removes sessions that are over.
func (s *Store) sweep(ctx context.Context) {
	now := s.c.Now()
	var over []string
	_ = s.c.Store.View(ctx, func(tx store.Tx) error {
		for row, err := range sessionRows.All(tx, "", 0) {
			if err != nil {
				return err
			}
			if !now.Before(row.Until) || now.Sub(s.seen(row)) >= s.c.Idle+2*SeenEvery {
				over = append(over, row.ID)
			}
		}
		return nil
	})
	for _, id := range over {
		if ctx.Err() != nil {
			return
		}
		_ = s.End(ctx, id, ReasonOver) // what fails is tried a minute later
	}
}

func collect[T any](seq iter.Seq2[T, error]) (list []T, err error) {
	for v, err := range seq {
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	return list, nil
}

// random makes a cookie value of 256 bits and its hash.
func random() (secret string, sum [32]byte) {
	var b [32]byte
	rand.Read(b[:])
	return encode(b[:]), sha256.Sum256(b[:])
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// hash of a cookie's value; ErrNone if it can not be one of ours.
func hash(secret string) (sum [32]byte, err error) {
	var b [32]byte
	if len(secret) != 43 {
		return sum, ErrNone
	}
	n, err := base64.RawURLEncoding.Strict().Decode(b[:], []byte(secret))
	if err != nil || n != 32 {
		return sum, ErrNone
	}
	return sha256.Sum256(b[:]), nil
}
