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
	"encoding/binary"
	"errors"
	"iter"
	"maps"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/gatehouse-sso/gatehouse/provisioning/store"
)

// A Session is one sign-in, as far as requests need it. Values handed out are
// shared: read them only.
type Session struct {
	ID       string    `json:"id"` // a UUID of version 7 (RFC 9562), not a secret
	UserID   string    `json:"user"`
	Provider string    `json:"provider"` // identity provider
	ACR      string    `json:"acr,omitempty"`
	AMR      []string  `json:"amr,omitempty"`
	AuthTime time.Time `json:"auth_time"`
	Created  time.Time `json:"created"`
	Until    time.Time `json:"until"` // the end whatever happens
	// Hold, while it is not nil, keeps the session from every service.
	Hold *Hold `json:"hold,omitempty"`

	// Ready is where the request path keeps what it has worked out for the session,
	// for as long as the session is in memory. nil: it is not.
	Ready *atomic.Value `json:"-"`
}

// A Row is all that the store knows of a session.
type Row struct {
	Session
	Seen    time.Time `json:"seen"` // little more than SeenEvery behind at most
	Issuer  string    `json:"issuer"`
	Subject string    `json:"subject"`
	// ProviderSession, ProviderName and LogoutHint are for single logout; the
	// name is what Named makes, the hint is sealed by whoever signs in.
	ProviderSession string `json:"provider_session,omitempty"`
	ProviderName    string `json:"provider_name,omitempty"`
	LogoutHint      string `json:"logout_hint,omitempty"`
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

var sessionRows = store.Table[Row]{
	Name: "session",
	Key:  func(s Row) string { return s.ID },
	Index: map[string]func(Row) []string{
		"user":     func(s Row) []string { return []string{s.UserID} },
		"provider": func(s Row) []string { return []string{s.Provider} },
		"until":    func(s Row) []string { return []string{stamp(s.Until)} },
		"theirs": func(s Row) (keys []string) {
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
	EndedTx func(tx store.Tx, s Row, why string) error
	// Ended, if not nil, learns of each session that stopped being as it was:
	// ended here or elsewhere. It must not block.
	Ended func(id string)
	// Handover is the process's; nil: one of the Store's own.
	Handover *Handover
}

// SeenEvery is how far the stored last use of a session may lag behind, so
// that being used costs no write.
const SeenEvery = time.Minute

// seenNear is how much later than what is stored a use must be to be written: the
// first page after a sign-in is not, or each sign-in would be written twice.
const seenNear = 5 * time.Second

// A Store keeps sessions. It is a gorilla sessions.Store.
type Store struct {
	c      Config
	cookie string // name of the session's

	mu   sync.RWMutex
	told bool   // whether the store tells of changes, so that rows may be remembered
	gen  uint64 // counts removals, so that a read that began before one is not remembered after it
	byID map[string]*live
	byK  map[uint64]*door // by what its hash begins with; of two that begin alike, one is read again each time
	// uses are those of sessions that are not remembered: forgetting a row must not
	// make its session look idle.
	uses map[string]*use
	// words are what many sessions have in common (hosts, providers, how people
	// proved themselves), each once.
	words map[string]string
}

// Bounds of what is remembered. A session beyond maxLive takes the place of some
// other, which is read again when it is used.
const (
	maxLive  = 200_000
	maxWords = 1000
)

// live is a session in memory. There may be very many, so it is small: the texts
// that are its own are one, and its keys are a list.
type live struct {
	Session
	ready atomic.Value
	use   *use
	keys  *door
	whole bool // all its keys are here
}

// A door is a key that leads to a session: its hash, and the host that it is for.
type door struct {
	sum  [32]byte
	host string
	of   *live
	next *door // of the same session
}

// short is what the hash of a key begins with.
func short(sum [32]byte) uint64 { return binary.BigEndian.Uint64(sum[:]) }

// use is when a session was last used, and what of that is stored, in
// nanoseconds since 1970.
type use struct {
	seen, written atomic.Int64
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
	if c.Handover == nil {
		c.Handover = NewHandover()
	}
	return &Store{c: c, cookie: c.Cookie.Name(""), byID: map[string]*live{}, byK: map[uint64]*door{}, uses: map[string]*use{}, words: map[string]string{}}
}

// Run keeps what is remembered true, writes last uses and keys behind and sweeps
// what is over, until ctx ends.
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
	wg.Go(func() { s.storeKeys(ctx) })
	tick := time.NewTicker(SeenEvery)
	defer tick.Stop()
	var cleared time.Time
	for {
		select {
		case <-ctx.Done():
			flush, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
			s.Flush(flush)
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
	secret, err := only(s.cookie, r)
	if err != nil {
		return nil, err
	}
	sum, err := hash(secret)
	if err != nil {
		return nil, err
	}
	d, gen := s.door(sum)
	if d == nil {
		if d, err = s.load(r.Context(), sum, gen); err != nil {
			return nil, err
		}
	}
	if d.host != host || s.over(d.of, true) {
		return nil, ErrNone
	}
	return &d.of.Session, nil
}

// door is the key with this hash, if it is in memory; gen is for load.
func (s *Store) door(sum [32]byte) (d *door, gen uint64) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if d = s.byK[short(sum)]; d != nil && d.sum != sum {
		d = nil // another that begins alike
	}
	return d, s.gen
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
		l = s.liven(row)
		s.mu.Unlock()
	}
	if s.over(l, false) {
		return nil, ErrNone
	}
	return &l.Session, nil
}

// Each calls do with every session in memory.
func (s *Store) Each(do func(*Session)) {
	s.mu.RLock()
	all := slices.Collect(maps.Values(s.byID))
	s.mu.RUnlock()
	for _, l := range all {
		do(&l.Session)
	}
}

// Row is all of a session that Lookup or Peek returned, or ErrNone.
func (s *Store) Row(ctx context.Context, id string) (Row, error) { return s.row(ctx, id) }

// over says whether a session has ended by itself; if not, it may count a use.
func (s *Store) over(l *live, used bool) bool {
	now := s.c.Now()
	at, seen := now.UnixNano(), l.use.seen.Load()
	if !now.Before(l.Until) || time.Duration(at-seen) >= s.c.Idle {
		return true
	}
	if used && at > seen {
		l.use.seen.Store(at)
	}
	return false
}

func (s *Store) row(ctx context.Context, id string) (row Row, err error) {
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
func (s *Store) load(ctx context.Context, sum [32]byte, gen uint64) (*door, error) {
	k, held := s.c.Handover.held(sum)
	var row Row
	err := s.c.Store.View(ctx, func(tx store.Tx) error {
		ok := held
		var err error
		if !ok {
			k, ok, err = keyRows.Get(tx, encode(sum[:]))
		}
		if err != nil || !ok {
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
		l = s.liven(row)
	}
	if s.told && s.gen == gen {
		s.remember(l)
		return s.open(l, sum, k.Host), nil
	}
	s.uses[l.ID] = l.use
	return &door{sum: sum, host: k.Host, of: l}, nil
}

// remember keeps a session in memory. The caller has s.mu.
func (s *Store) remember(l *live) {
	if s.byID[l.ID] == nil && len(s.byID) >= maxLive {
		for other := range s.byID { // they come in no order
			s.drop(other)
			break
		}
	}
	s.byID[l.ID] = l
	delete(s.uses, l.ID)
}

// open lets a key lead to a session in memory. The caller has s.mu.
func (s *Store) open(l *live, sum [32]byte, host string) *door {
	d := l.keys
	for d != nil && d.sum != sum {
		d = d.next
	}
	if d == nil {
		d = &door{sum, s.word(host), l, l.keys}
		l.keys = d
	}
	s.byK[short(sum)] = d
	return d
}

// liven makes of a row what is kept in memory. What another replica stored of its
// use counts too. The caller has s.mu.
func (s *Store) liven(row Row) *live {
	u := s.uses[row.ID]
	if u == nil {
		u = &use{}
	}
	u.stored(row.Seen)
	l := &live{use: u}
	ids := row.ID + row.UserID
	l.Session = Session{
		ID: ids[:len(row.ID)], UserID: ids[len(row.ID):], Provider: s.word(row.Provider),
		ACR: s.word(row.ACR), AMR: row.AMR, AuthTime: row.AuthTime,
		Created: row.Created, Until: row.Until, Hold: row.Hold, Ready: &l.ready,
	}
	for i, how := range l.AMR {
		l.AMR[i] = s.word(how)
	}
	return l
}

// word is a text that many sessions have in common. The caller has s.mu.
func (s *Store) word(text string) string {
	if w, ok := s.words[text]; ok {
		return w
	}
	if len(s.words) < maxWords {
		s.words[text] = text
	}
	return text
}

// late: a use is not stored yet that is worth it.
func (u *use) late() bool { return u.seen.Load()-u.written.Load() > int64(seenNear) }

func (u *use) stored(seen time.Time) {
	at := seen.UnixNano()
	if at > u.written.Load() {
		u.written.Store(at)
	}
	if at > u.seen.Load() {
		u.seen.Store(at)
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
	case err == nil && equal(row.Session, l.Session):
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
	s.drop(id)
}

// drop takes a session out of memory. The caller has s.mu.
func (s *Store) drop(id string) {
	l := s.byID[id]
	if l == nil {
		return
	}
	for d := l.keys; d != nil; d = d.next {
		if s.byK[short(d.sum)] == d {
			delete(s.byK, short(d.sum))
		}
	}
	delete(s.byID, id)
	s.uses[id] = l.use // writeSeen lets go of it
}

// forgetAll, when a watch begins or ends, or had a gap.
func (s *Store) forgetAll(told bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gen++
	s.told = told
	for id, l := range s.byID {
		s.uses[id] = l.use
	}
	clear(s.byID)
	clear(s.byK)
}

// A Beginning is a session that is about to begin: with its first key, in place of
// the session that the browser had. Tx writes it, in a transaction of its own (see
// [Store.Begin]) or of whoever writes something with it; Begun follows.
type Beginning struct {
	Row    Row
	Cookie string // the value of host's cookie

	s            *Store
	host, before string
	sum          [32]byte
	mine         []Row // what the user had, if it was as much as PerUser
	live         *live // nil: it is not remembered
}

// Beginning begins to begin a session. The row's user may be filled in until Tx.
func (s *Store) Beginning(row Row, host, before string) *Beginning {
	now := s.c.Now().Round(0) // as it will be read again
	// IDs that are in order of time: rows of those who sign in together are neighbours,
	// and a commit writes half as many pages.
	row.ID, row.Created, row.Seen = uuid.Must(uuid.NewV7()).String(), now, now
	if end := now.Add(s.c.Lifetime); row.Until.IsZero() || end.Before(row.Until) {
		row.Until = end
	}
	b := &Beginning{s: s, Row: row, host: host, before: before}
	b.Cookie, b.sum = random()
	return b
}

// Tx writes it.
func (b *Beginning) Tx(tx store.Tx) (err error) {
	// Whatever was fixed or copied before the sign-in is worth nothing after it.
	if err := b.s.endTx(tx, b.before, ReasonReplaced); err != nil {
		return err
	}
	if b.mine, err = b.s.tooMany(tx, b.Row.UserID); err != nil {
		return err
	}
	if err := sessionRows.Insert(tx, b.Row); err != nil {
		return err
	}
	b.remember()
	return keyRows.Insert(tx, key{encode(b.sum[:]), b.host, b.Row.ID, b.Row.Created})
}

// tooMany are the sessions of a user who has PerUser of them, or more.
func (s *Store) tooMany(tx store.Tx, userID string) ([]Row, error) {
	have := 0
	for _, err := range sessionRows.Entries(tx, "user", userID, userID+"\x00", store.Entry{}, s.c.PerUser) {
		if err != nil {
			return nil, err
		}
		have++
	}
	if have < s.c.PerUser {
		return nil, nil
	}
	return collect(sessionRows.Find(tx, "user", userID, "", 0))
}

// remember keeps the session in memory before it is anywhere else: so whatever ends
// or changes it, from the moment it is stored, finds it there. No key leads to it
// yet, and nobody knows its ID.
func (b *Beginning) remember() {
	s := b.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.told {
		b.live = s.liven(b.Row)
		s.remember(b.live)
	}
}

// open lets the first key lead to the session in memory, if nothing has happened to
// it since it was stored.
func (b *Beginning) open() {
	s := b.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if b.live != nil && s.byID[b.Row.ID] == b.live {
		s.open(b.live, b.sum, b.host)
		b.live.whole = true
	}
}

// Offer is [Store.Offer] for the session that has begun.
func (b *Beginning) Offer(host, bind string) string { return b.s.offer(b.Row.ID, host, bind) }

// Session is the session that has begun, as requests will find it.
func (b *Beginning) Session() *Session {
	if b.live != nil {
		return &b.live.Session
	}
	return &b.Row.Session
}

// Begun is told what became of the transaction, and returns that if it failed. It
// ends the user's oldest sessions beyond PerUser, as far as the store lets it.
func (b *Beginning) Begun(ctx context.Context, failed error) error {
	if b.before != "" { // even after a failure: then the next lookup asks the store
		b.s.forget(b.before)
		b.s.ended(b.before)
	}
	if failed != nil {
		b.s.forget(b.Row.ID)
		return failed
	}
	b.open()
	slices.SortFunc(b.mine, func(a, b Row) int { return a.Created.Compare(b.Created) })
	// What began just now is another tab of the same browser, more likely than
	// not, and perhaps the one whose cookie stays.
	for len(b.mine) >= b.s.c.PerUser && b.Row.Created.Sub(b.mine[0].Created) >= TicketLife {
		if b.s.End(ctx, b.mine[0].ID, ReasonTooMany) != nil {
			break // this one has begun all the same; those go with the next sign-in
		}
		b.mine = b.mine[1:]
	}
	return nil
}

// Begin writes a session that begins.
func (s *Store) Begin(ctx context.Context, b *Beginning) error {
	return b.Begun(ctx, s.c.Store.Update(ctx, b.Tx))
}

// maxKeys is how many keys one session may have, so that ending it stays far
// below store.MaxKeys. Who visits more hosts gets another key for the one
// whose key went, without being asked anything.
const maxKeys = 32

// added is a key that was made, in place of others or not.
type added struct {
	id, host string
	secret   string
	sum      [32]byte
	replaces bool
	live     *live // the session in memory before the key was stored; nil: it was not there
}

// addKey makes a cookie value for one more host of a session. What the browser
// had for this host goes, unless it was made just now: tabs that open together
// must not take each other's away.
func (s *Store) addKey(tx store.Tx, id, host string) (added, error) {
	a := added{id: id, host: host}
	a.secret, a.sum = random()
	now := s.c.Now()
	row, ok, err := sessionRows.Get(tx, id)
	if err != nil || !ok {
		return added{}, orNone(err)
	}
	if err := s.visitTx(tx, host, row.UserID); err != nil {
		return added{}, err
	}
	have, err := collect(keyRows.Find(tx, "session", id, "", 0))
	if err != nil {
		return added{}, err
	}
	slices.SortFunc(have, func(a, b key) int { return a.Made.Compare(b.Made) })
	left := len(have)
	for i, k := range have {
		// The first key is the gateway's own, by which the others come.
		if k.Host == host && now.Sub(k.Made) >= TicketLife || left >= maxKeys && i > 0 {
			if err := keyRows.Delete(tx, k.Hash); err != nil {
				return added{}, err
			}
			a.replaces = true
			left--
		}
	}
	s.mu.RLock()
	a.live = s.byID[id]
	s.mu.RUnlock()
	return a, keyRows.Insert(tx, key{encode(a.sum[:]), host, id, now})
}

// addedKey makes what is remembered agree with a key that was stored. Where the
// session in memory is another than before, or gone, something happened to it, and
// the next lookup asks the store.
func (s *Store) addedKey(a added) {
	if a.replaces {
		s.forget(a.id)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if a.live != nil && s.byID[a.id] == a.live {
		s.open(a.live, a.sum, a.host)
	}
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

// Flush writes now what Run writes behind: keys, and the last use of sessions.
func (s *Store) Flush(ctx context.Context) {
	_ = s.writeKeys(ctx) // what is lost is made again
	s.writeSeen(ctx)
}

// writeSeen stores the last use of sessions that were used, and lets go of uses
// that say no more than the rows do.
func (s *Store) writeSeen(ctx context.Context) {
	var late []string // there may be very many
	s.mu.Lock()
	for id, l := range s.byID {
		if l.use.late() {
			late = append(late, id)
		}
	}
	for id, u := range s.uses {
		if u.late() {
			late = append(late, id)
		} else {
			delete(s.uses, id)
		}
	}
	s.mu.Unlock()
	slices.Sort(late)
	const each = store.MaxKeys / 2 // rows in a transaction: no index has their last use
	for batch := range slices.Chunk(late, each) {
		seen := make(map[string]time.Time, len(batch))
		s.mu.RLock()
		for _, id := range batch {
			if u := s.useOf(id); u != nil {
				seen[id] = time.Unix(0, u.seen.Load())
			}
		}
		s.mu.RUnlock()
		err := s.c.Store.Update(ctx, func(tx store.Tx) error {
			for id, at := range seen {
				row, ok, err := sessionRows.Get(tx, id)
				if err != nil {
					return err
				}
				if !ok || !at.After(row.Seen) {
					continue // ended, or used later elsewhere
				}
				used := row
				used.Seen = at
				if err := sessionRows.Swap(tx, row, used); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return // a minute later again
		}
		s.mu.RLock()
		for id, at := range seen {
			if u := s.useOf(id); u != nil {
				u.stored(at)
			}
		}
		s.mu.RUnlock()
	}
}

// useOf is the use of a session that is remembered, or was; else nil. The caller
// has s.mu.
func (s *Store) useOf(id string) *use {
	if l := s.byID[id]; l != nil {
		return l.use
	}
	return s.uses[id]
}

// seen is the last use of a session, which may not be written yet.
func (s *Store) seen(row Row) time.Time {
	s.mu.RLock()
	u := s.useOf(row.ID)
	s.mu.RUnlock()
	if u == nil {
		return row.Seen
	}
	if at := time.Unix(0, u.seen.Load()); at.After(row.Seen) {
		return at
	}
	return row.Seen
}

// lives: a session is in memory and not over.
func (s *Store) lives(id string) bool {
	s.mu.RLock()
	l := s.byID[id]
	s.mu.RUnlock()
	return l != nil && !s.over(l, false)
}

// sweep removes sessions that are over.
func (s *Store) sweep(ctx context.Context) {
	now := s.c.Now()
	var over []string
	_ = s.c.Store.View(ctx, func(tx store.Tx) error {
		for e, err := range sessionRows.Entries(tx, "until", "", "", store.Entry{}, 0) {
			if err != nil {
				return err
			}
			if s.lives(e.Key) {
				continue // most; to read all rows would be much garbage at once
			}
			row, ok, err := sessionRows.Get(tx, e.Key)
			if err != nil {
				return err
			}
			if ok && (!now.Before(row.Until) || now.Sub(s.seen(row)) >= s.c.Idle+2*SeenEvery) {
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
