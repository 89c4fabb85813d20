package bearer

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gatehouse-sso/gatehouse/authz"
	"github.com/gatehouse-sso/gatehouse/provisioning/store"
)

// tokenPrefix begins a token and says what it is, also to those who look for
// secrets in places where none should be.
const tokenPrefix = "gh_service_"

// reasonStore is the gateway's own code for a store that can not be read.
const reasonStore = "store.unavailable"

// MaxLife of a token, which is asked for again before it is made longer.
const MaxLife = 366 * 24 * time.Hour

// ErrNotFound: there is no such token.
var ErrNotFound = errors.New("there is no such token")

// A Token lets a program call services, as it is kept: without what proves.
type Token struct {
	ID   string `json:"id"`   // the first part of the token, no secret
	Name string `json:"name"` // of the program; several tokens may have it, so that one can follow another
	// Uses are what it may be used for, and Asks the services about which it may ask
	// for decisions.
	Uses    []Scope   `json:"uses,omitempty"`
	Asks    []string  `json:"asks,omitempty"`
	Created time.Time `json:"created"`
	Until   time.Time `json:"until"`
	Used    time.Time `json:"used,omitzero"` // last, to within some minutes
}

// A Scope is a part of a service: a path and what is below it.
type Scope struct {
	Service string `json:"service"`
	Path    string `json:"path"`
}

func (s Scope) String() string {
	if s.Path == "/" {
		return s.Service
	}
	return s.Service + ":" + s.Path
}

func (t *Token) covers(service, path string) bool {
	return slices.ContainsFunc(t.Uses, func(s Scope) bool {
		rest, ok := strings.CutPrefix(path, strings.TrimSuffix(s.Path, "/"))
		return s.Service == service && ok && (rest == "" || rest[0] == '/')
	})
}

// May reports whether the token's bearer may ask for decisions about a service.
func (t *Token) May(service string) bool { return slices.Contains(t.Asks, service) }

type tokenRow struct {
	Token
	Hash []byte `json:"hash"` // HMAC-SHA-256 of the whole token
}

var tokens = &store.Table[tokenRow]{Name: "service_token", Key: func(r tokenRow) string { return r.ID }}

// TokensConfig of Tokens.
type TokensConfig struct {
	Store store.Store
	Key   []byte // of the hashes: without it, the store tells nobody whether a guess is right
	Now   func() time.Time
	// Ended is told that a token ended before its time.
	Ended func()
	// Failed is told what the store said where nobody waits for it.
	Failed func(error)
}

// Tokens are those that were made here. They live as long as the process.
type Tokens struct {
	TokensConfig

	mu   sync.RWMutex
	m    map[string]known // by ID
	used map[string]time.Time
}

// known is a token as the request path finds it.
type known struct {
	row    tokenRow
	caller *Caller
}

// usedEvery is how often it is written down that tokens were used.
const usedEvery = time.Minute

var base32ID = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// LoadTokens reads what was made before.
func LoadTokens(ctx context.Context, c TokensConfig) (*Tokens, error) {
	t := &Tokens{TokensConfig: c, used: map[string]time.Time{}}
	return t, t.load(ctx)
}

// load reads all of them again.
func (t *Tokens) load(ctx context.Context) error {
	var rows []tokenRow
	err := t.Store.View(ctx, func(tx store.Tx) error {
		rows = nil
		for row, err := range tokens.All(tx, "", 0) {
			if err != nil {
				return err
			}
			rows = append(rows, row)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("read tokens: %w", err)
	}
	t.mu.Lock()
	before, all := t.m, make(map[string]known, len(rows))
	for _, row := range rows {
		all[row.ID] = before[row.ID].with(row)
	}
	ended := false
	for id := range before {
		_, still := all[id]
		ended = ended || !still
	}
	t.m = all
	t.mu.Unlock()
	if ended && t.Ended != nil {
		t.Ended()
	}
	return nil
}

// with is a row made ready; the program is called by its token's name. A row that
// only says when it was used leaves the caller as it was, with everything that is
// remembered under it.
func (k known) with(row tokenRow) known {
	if k.caller != nil && k.row.Until.Equal(row.Until) && slices.Equal(k.row.Uses, row.Uses) {
		return known{row, k.caller}
	}
	name := subjects + "token"
	return known{row, &Caller{
		Subject: authz.Subject{ID: name + "/" + row.Name, Store: name, UserName: row.Name, Active: true, Caller: tokenCaller + row.Name},
		Until:   row.Until, Key: "token:" + row.ID, token: &row.Token,
	}}
}

// Run keeps them true, and writes down which were used, until ctx ends.
func (t *Tokens) Run(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		for raw := range t.Store.Watch(ctx, tokens.Prefix()) {
			if id, ok := tokens.KeyOf(raw); raw != nil && ok {
				t.look(ctx, id)
			} else if err := t.load(ctx); err != nil {
				t.forget(ctx, err)
			}
		}
	})
	tick := time.NewTicker(usedEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
			t.writeUsed(last)
			cancel()
			return
		case <-tick.C:
			t.mu.RLock()
			lost := t.m == nil
			t.mu.RUnlock()
			if lost {
				if err := t.load(ctx); err != nil {
					t.failed(err)
				}
			}
			t.writeUsed(ctx)
		}
	}
}

// look reads one again.
func (t *Tokens) look(ctx context.Context, id string) {
	var row tokenRow
	var ok bool
	if err := t.Store.View(ctx, func(tx store.Tx) (err error) {
		row, ok, err = tokens.Get(tx, id)
		return err
	}); err != nil {
		t.forget(ctx, err)
		return
	}
	t.put(id, row, ok)
}

// put takes over what the store says of one.
func (t *Tokens) put(id string, row tokenRow, ok bool) {
	t.mu.Lock()
	was, had := t.m[id]
	switch {
	case t.m == nil: // all are read again
	case !ok:
		delete(t.m, id)
	default:
		t.m[id] = was.with(row)
	}
	t.mu.Unlock()
	if had && !ok && t.Ended != nil {
		t.Ended()
	}
}

// forget all: nobody is believed whose token may have been revoked. They are read
// again when Run next writes.
func (t *Tokens) forget(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	t.mu.Lock()
	t.m = nil
	t.mu.Unlock()
	t.failed(err)
}

func (t *Tokens) failed(err error) {
	if t.Failed != nil {
		t.Failed(err)
	}
}

// know finds who bears a token.
func (t *Tokens) know(text string) (*Caller, error) {
	id, _, _ := strings.Cut(strings.TrimPrefix(text, tokenPrefix), "_")
	t.mu.RLock()
	k, ok := t.m[id]
	lost := t.m == nil
	t.mu.RUnlock()
	if lost {
		return nil, refused(reasonStore, "the tokens can not be read")
	}
	if !hmac.Equal(t.hash(text), k.row.Hash) || !ok {
		return nil, refused(ReasonUnknown, "no such token")
	}
	return k.caller, nil
}

func (t *Tokens) hash(text string) []byte {
	h := hmac.New(sha256.New, t.Key)
	h.Write([]byte(text))
	return h.Sum(nil)
}

// current is a token that was not revoked; nil: it was.
func (t *Tokens) current(id string) *Token {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if k, ok := t.m[id]; ok {
		return &k.row.Token
	}
	return nil
}

// use notes that a token was used.
func (t *Tokens) use(id string, now time.Time) {
	t.mu.RLock()
	noted := now.Sub(t.used[id]) < usedEvery
	t.mu.RUnlock()
	if noted {
		return
	}
	t.mu.Lock()
	t.used[id] = now
	t.mu.Unlock()
}

// writeUsed writes down when tokens were used last.
func (t *Tokens) writeUsed(ctx context.Context) {
	t.mu.Lock()
	used := maps.Clone(t.used)
	t.mu.Unlock()
	for id, at := range used {
		err := t.Store.Update(ctx, func(tx store.Tx) error {
			row, ok, err := tokens.Get(tx, id)
			if err != nil || !ok || !row.Used.Before(at.Truncate(time.Second)) {
				return err
			}
			row.Used = at.UTC().Truncate(time.Second)
			return tokens.Put(tx, row)
		})
		if err != nil {
			t.failed(fmt.Errorf("note that a token was used: %w", err))
			return // the others are for the next time
		}
		t.mu.Lock()
		if t.used[id].Equal(at) && t.Now().Sub(at) >= usedEvery {
			delete(t.used, id)
		}
		t.mu.Unlock()
	}
}

// Make makes a token that lives for life, of at most MaxLife. The text is
// returned here and kept nowhere. also writes what belongs to it, such as an
// audit record, in the same transaction; nil: nothing.
func (t *Tokens) Make(ctx context.Context, name string, uses []Scope, asks []string, life time.Duration, also func(store.Tx, Token) error) (made Token, text string, err error) {
	raw := make([]byte, 42)
	rand.Read(raw)
	made = Token{ID: base32ID.EncodeToString(raw[:10]), Name: name, Uses: uses, Asks: asks, Created: t.Now().UTC().Truncate(time.Second)}
	made.Until = made.Created.Add(min(life, MaxLife))
	text = tokenPrefix + made.ID + "_" + base64.RawURLEncoding.EncodeToString(raw[10:])
	row := tokenRow{made, t.hash(text)}
	if err := t.Store.Update(ctx, func(tx store.Tx) error {
		if err := tokens.Put(tx, row); err != nil || also == nil {
			return err
		}
		return also(tx, made)
	}); err != nil {
		return Token{}, "", fmt.Errorf("make a token: %w", err)
	}
	t.put(made.ID, row, true)
	return made, text, nil
}

// List is all of them, by name and then by age.
func (t *Tokens) List(ctx context.Context) (list []Token, err error) {
	err = t.Store.View(ctx, func(tx store.Tx) error {
		list = nil
		for row, err := range tokens.All(tx, "", 0) {
			if err != nil {
				return err
			}
			list = append(list, row.Token)
		}
		return nil
	})
	t.mu.RLock()
	defer t.mu.RUnlock()
	for i := range list {
		if at := t.used[list[i].ID]; at.After(list[i].Used) {
			list[i].Used = at.UTC().Truncate(time.Second)
		}
	}
	slices.SortFunc(list, func(a, b Token) int {
		if n := strings.Compare(a.Name, b.Name); n != 0 {
			return n
		}
		return a.Created.Compare(b.Created)
	})
	return list, err
}

// Revoke ends a token at once. also is as of Make.
func (t *Tokens) Revoke(ctx context.Context, id string, also func(store.Tx, Token) error) (was Token, err error) {
	err = t.Store.Update(ctx, func(tx store.Tx) error {
		row, ok, err := tokens.Get(tx, id)
		if err != nil {
			return err
		}
		if !ok {
			return fmt.Errorf("token %q: %w", id, ErrNotFound)
		}
		was = row.Token
		if err := tokens.Delete(tx, id); err != nil || also == nil {
			return err
		}
		return also(tx, was)
	})
	if err == nil {
		t.put(id, tokenRow{}, false)
	}
	return was, err
}
