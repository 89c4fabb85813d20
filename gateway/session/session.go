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
	// ProviderSession and LogoutHint are for single logout.
	ProviderSession string    `json:"provider_session,omitempty"`
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
	Hash    string `json:"hash"` // base64url of SHA-256
	Host    string `json:"host"`
	Session string `json:"session"`
}

var sessionRows = store.Table[Session]{
	Name: "session",
	Key:  func(s Session) string { return s.ID },
	Index: map[string]func(Session) []string{
		"user":     func(s Session) []string { return []string{s.UserID} },
		"provider": func(s Session) []string { return []string{s.Provider} },
		"until":    func(s Session) []string { return []string{stamp(s.Until)} },
	},
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
	// EndedTx, if not nil, is called in the transaction that ends a session;
	// its error undoes that.
	EndedTx func(tx store.Tx, s Session) error
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
	gen  uint64 // counts removals, so that a read that began before one is not remembered after it
	byID map[string]*live
	byK  map[string]*remembered // by hash, raw bytes
	// last keeps the last use of what was forgotten, until it is written or
	// too old to matter: forgetting must not make a session look idle.
	last map[string]time.Time
}

// live is a session in memory, with what changes on each use.
type live struct {
	*Session
	mu      sync.Mutex
	seen    time.Time
	written time.Time
	keys    []string // hashes that lead here, to forget them together
}

type remembered struct {
	host string
	l    *live
}

// New makes a Store. Run keeps it true; without Run it reads everything from
// the store each time.
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
	return &Store{c: c, byID: map[string]*live{}, byK: map[string]*remembered{}, last: map[string]time.Time{}}
}

// Run keeps what is remembered true, writes last uses behind and sweeps what is
// over, until ctx ends.
func (s *Store) Run(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		for raw := range s.c.Store.Watch(ctx, sessionRows.Prefix()) {
			if raw == nil {
				s.forgetAll()
			} else if id, ok := sessionRows.KeyOf(raw); ok {
				s.refresh(ctx, id)
			}
		}
	})
	tick := time.NewTicker(SeenEvery)
	defer tick.Stop()
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
			s.dropLast()
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
	m, gen := s.byK[string(sum[:])], s.gen
	s.mu.RUnlock()
	if m == nil {
		if m, err = s.load(r.Context(), sum, gen); err != nil {
			return nil, err
		}
	}
	if m.host != host {
		return nil, ErrNone
	}
	return m.l.use(s.c.Now(), s.c.Idle)
}

// Peek returns a session by its ID, if it is not over; it does not count as a
// use. ErrNone, or the store's own error.
func (s *Store) Peek(ctx context.Context, id string) (*Session, error) {
	now := s.c.Now()
	s.mu.RLock()
	l := s.byID[id]
	s.mu.RUnlock()
	if l == nil {
		var row Session
		err := s.c.Store.View(ctx, func(tx store.Tx) error {
			var ok bool
			var err error
			if row, ok, err = sessionRows.Get(tx, id); err != nil || !ok {
				return orNone(err)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		l = &live{Session: &row, seen: row.Seen}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !now.Before(l.Until) || now.Sub(l.seen) >= s.c.Idle {
		return nil, ErrNone
	}
	return l.Session, nil
}

// use counts a use and says whether the session still is.
func (l *live) use(now time.Time, idle time.Duration) (*Session, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !now.Before(l.Until) || now.Sub(l.seen) >= idle {
		return nil, ErrNone
	}
	if now.After(l.seen) {
		l.seen = now
	}
	return l.Session, nil
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
		l = &live{Session: &row, seen: row.Seen, written: row.Seen}
		if t := s.last[row.ID]; t.After(row.Seen) {
			l.seen = t
		}
	}
	m := &remembered{k.Host, l}
	if s.gen == gen {
		s.byID[row.ID] = l
		s.byK[string(sum[:])] = m
		l.keys = append(l.keys, string(sum[:]))
	}
	return m, nil
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
	var row Session
	var ok bool
	err := s.c.Store.View(ctx, func(tx store.Tx) (err error) {
		row, ok, err = sessionRows.Get(tx, id)
		return err
	})
	if l == nil {
		if err != nil || !ok {
			s.ended(id)
		}
		return
	}
	// Only the last use moved: that is our own writing behind.
	if same := row; err == nil && ok {
		same.Seen = l.Seen
		if equal(same, *l.Session) {
			return
		}
	}
	s.forget(id)
	s.ended(id)
}

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
		s.keepLast(l)
	}
}

func (s *Store) forgetAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gen++
	for _, l := range s.byID {
		s.keepLast(l)
	}
	clear(s.byID)
	clear(s.byK)
}

func (s *Store) keepLast(l *live) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.seen.After(l.written) {
		s.last[l.ID] = l.seen
	}
}

// begin writes a session and its first key, then ends the user's oldest
// sessions beyond PerUser. It returns the cookie's value.
func (s *Store) begin(ctx context.Context, row *Session, host string) (string, error) {
	now := s.c.Now()
	row.ID, row.Created, row.Seen = uuid.NewString(), now, now
	if end := now.Add(s.c.Lifetime); row.Until.IsZero() || end.Before(row.Until) {
		row.Until = end
	}
	secret, sum := random()
	var mine []Session
	err := s.c.Store.Update(ctx, func(tx store.Tx) (err error) {
		if mine, err = collect(sessionRows.Find(tx, "user", row.UserID, "", 0)); err != nil {
			return err
		}
		if err := sessionRows.Put(tx, *row); err != nil {
			return err
		}
		return keyRows.Put(tx, key{encode(sum[:]), host, row.ID})
	})
	if err != nil {
		return "", err
	}
	slices.SortFunc(mine, func(a, b Session) int { return a.Created.Compare(b.Created) })
	for len(mine) >= s.c.PerUser {
		if err := s.End(ctx, mine[0].ID); err != nil {
			return "", err
		}
		mine = mine[1:]
	}
	return secret, nil
}

// AddKey makes a cookie value for one more host of a session.
func (s *Store) AddKey(ctx context.Context, id, host string) (string, error) {
	secret, sum := random()
	err := s.c.Store.Update(ctx, func(tx store.Tx) error {
		if _, ok, err := sessionRows.Get(tx, id); err != nil || !ok {
			return orNone(err)
		}
		// A browser that lost its cookie comes back for another; old keys of
		// this host are of no use to anybody.
		old, err := collect(keyRows.Find(tx, "session", id, "", 0))
		if err != nil {
			return err
		}
		dropped := 0
		for _, k := range old {
			if k.Host == host {
				if err := keyRows.Delete(tx, k.Hash); err != nil {
					return err
				}
				dropped++
			}
		}
		if len(old)-dropped >= maxKeys {
			return errTooManyKeys
		}
		return keyRows.Put(tx, key{encode(sum[:]), host, id})
	})
	if err == nil {
		s.forget(id) // its old key of this host
	}
	return secret, err
}

// maxKeys is how many hosts one session may have keys for; more could not be
// ended in one transaction.
const maxKeys = 24

var errTooManyKeys = errors.New("session: keys for too many hosts")

// end removes a session and its keys.
func (s *Store) end(tx store.Tx, row Session) error {
	ks, err := collect(keyRows.Find(tx, "session", row.ID, "", 0))
	if err != nil {
		return err
	}
	for _, k := range ks {
		if err := keyRows.Delete(tx, k.Hash); err != nil {
			return err
		}
	}
	if err := sessionRows.Delete(tx, row.ID); err != nil {
		return err
	}
	if s.c.EndedTx == nil {
		return nil
	}
	return s.c.EndedTx(tx, row)
}

// End ends a session, on every host. When it returns nil no request can begin
// with it any more in this process. That there is none is success.
func (s *Store) End(ctx context.Context, id string) error {
	err := s.c.Store.Update(ctx, func(tx store.Tx) error {
		row, ok, err := sessionRows.Get(tx, id)
		if err != nil || !ok {
			return err
		}
		return s.end(tx, row)
	})
	// Forgotten even if the store says no: then the next lookup asks it again.
	s.forget(id)
	s.ended(id)
	return err
}

// EndUser ends all sessions of a user, and says how many there were.
func (s *Store) EndUser(ctx context.Context, userID string) (int, error) {
	n := 0
	for {
		mine, err := s.Of(ctx, userID, "", 100)
		if err != nil || len(mine) == 0 {
			return n, err
		}
		for _, row := range mine {
			if err := s.End(ctx, row.ID); err != nil {
				return n, err
			}
			n++
		}
	}
}

// Release lifts the hold of a session, or moves its end if until is later.
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

// Of returns the sessions of a user, or of everybody if userID is empty, from
// after, at most limit, ordered by ID.
func (s *Store) Of(ctx context.Context, userID, after string, limit int) (list []Session, err error) {
	err = s.c.Store.View(ctx, func(tx store.Tx) error {
		rows := sessionRows.All(tx, after, limit)
		if userID != "" {
			rows = sessionRows.Find(tx, "user", userID, after, limit)
		}
		list, err = collect(rows)
		return err
	})
	return list, err
}

// writeSeen stores the last use of sessions that were used.
func (s *Store) writeSeen(ctx context.Context) {
	s.mu.RLock()
	var used []*live
	for _, l := range s.byID {
		l.mu.Lock()
		if l.seen.Sub(l.written) >= SeenEvery {
			used = append(used, l)
		}
		l.mu.Unlock()
	}
	s.mu.RUnlock()
	const each = 16 // rows in a transaction, with their index entries far below store.MaxKeys
	for len(used) > 0 && ctx.Err() == nil {
		n := min(each, len(used))
		batch := used[:n]
		used = used[n:]
		err := s.c.Store.Update(ctx, func(tx store.Tx) error {
			for _, l := range batch {
				row, ok, err := sessionRows.Get(tx, l.ID)
				if err != nil {
					return err
				}
				if !ok {
					continue
				}
				l.mu.Lock()
				row.Seen = l.seen
				l.mu.Unlock()
				if err := sessionRows.Put(tx, row); err != nil {
					return err
				}
			}
			return nil
		})
		if err == nil {
			for _, l := range batch {
				l.mu.Lock()
				l.written = l.seen
				l.mu.Unlock()
			}
		}
	}
}

// dropLast lets go of last uses that say no more than the rows do.
func (s *Store) dropLast() {
	now := s.c.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, t := range s.last {
		if now.Sub(t) >= s.c.Idle {
			delete(s.last, id)
		}
	}
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
			if !now.Before(row.Until) || now.Sub(row.Seen) >= s.c.Idle+2*SeenEvery {
				over = append(over, row.ID)
			}
		}
		return nil
	})
	for _, id := range over {
		if ctx.Err() != nil {
			return
		}
		_ = s.End(ctx, id) // what fails is tried a minute later
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
