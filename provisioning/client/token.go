package client

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/gatehouse-sso/gatehouse/provisioning/store"
)

// What begins a token says what it is, also to those who look for secrets in
// places where none should be.
const (
	tokenPrefix  = "gh_token_"
	accessPrefix = "gh_access_"
)

// ErrNotFound: there is no such client or token.
var ErrNotFound = errors.New("there is no such client or token")

// A Token is a bearer token that was made, as it is kept: without what proves.
type Token struct {
	ID      string    `json:"id"` // the first part of the token, no secret
	Client  string    `json:"client"`
	Created time.Time `json:"created"`
	Until   time.Time `json:"until,omitzero"` // zero: for ever
	Used    time.Time `json:"used,omitzero"`  // last, to within an hour
}

type tokenRow struct {
	Token
	Hash []byte `json:"hash"` // SHA-256 of the whole token, which is random
}

var tokens = &store.Table[tokenRow]{
	Name:  "client_token",
	Key:   func(r tokenRow) string { return r.ID },
	Index: map[string]func(tokenRow) []string{"client": func(r tokenRow) []string { return []string{r.Client} }},
}

// usedEvery is how often it is written down that a token was used.
const usedEvery = time.Hour

var base32ID = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// Make makes a token of a client; life 0: without an end. The text is returned
// here and kept nowhere. also writes what belongs to it, such as an audit
// record, in the same transaction; nil: nothing.
func (r *Registry) Make(ctx context.Context, client string, life time.Duration, also func(store.Tx, Token) error) (t Token, text string, err error) {
	if r.byID[client] == nil {
		return Token{}, "", fmt.Errorf("client %q: %w", client, ErrNotFound)
	}
	raw := make([]byte, 42)
	rand.Read(raw)
	t = Token{ID: base32ID.EncodeToString(raw[:10]), Client: client, Created: r.Now().UTC().Truncate(time.Second)}
	if life > 0 {
		t.Until = t.Created.Add(life)
	}
	text = tokenPrefix + t.ID + "_" + base64.RawURLEncoding.EncodeToString(raw[10:])
	sum := sha256.Sum256([]byte(text))
	err = r.Store.Update(ctx, func(tx store.Tx) error {
		if err := tokens.Put(tx, tokenRow{t, sum[:]}); err != nil || also == nil {
			return err
		}
		return also(tx, t)
	})
	if err != nil {
		return Token{}, "", fmt.Errorf("make a token: %w", err)
	}
	return t, text, nil
}

// Tokens lists those of a client; empty: all.
func (r *Registry) Tokens(ctx context.Context, client string) (list []Token, err error) {
	err = r.Store.View(ctx, func(tx store.Tx) error {
		list = nil
		rows := tokens.All(tx, "", 0)
		if client != "" {
			rows = tokens.Find(tx, "client", client, "", 0)
		}
		for row, err := range rows {
			if err != nil {
				return err
			}
			list = append(list, row.Token)
		}
		return nil
	})
	return list, err
}

// Revoke ends a token at once. also is as of Make.
func (r *Registry) Revoke(ctx context.Context, id string, also func(store.Tx, Token) error) (t Token, err error) {
	err = r.Store.Update(ctx, func(tx store.Tx) error {
		row, ok, err := tokens.Get(tx, id)
		if err != nil {
			return err
		}
		if !ok {
			return fmt.Errorf("token %q: %w", id, ErrNotFound)
		}
		t = row.Token
		if err := tokens.Delete(tx, id); err != nil || also == nil {
			return err
		}
		return also(tx, t)
	})
	return t, err
}

// made is the client that a token was made for, nil if none was.
func (r *Registry) made(ctx context.Context, text string) (*Client, error) {
	id, _, _ := strings.Cut(strings.TrimPrefix(text, tokenPrefix), "_")
	if r.Store == nil || id == "" {
		return nil, nil
	}
	var row tokenRow
	var ok bool
	if err := r.Store.View(ctx, func(tx store.Tx) (err error) {
		row, ok, err = tokens.Get(tx, id)
		return err
	}); err != nil {
		return nil, fmt.Errorf("look up a token: %w", err)
	}
	now := r.Now()
	sum := sha256.Sum256([]byte(text))
	if subtle.ConstantTimeCompare(sum[:], row.Hash) != 1 || !ok || !row.Until.IsZero() && !now.Before(row.Until) {
		return nil, nil
	}
	if now.Sub(row.Used) >= usedEvery {
		err := r.Store.Update(ctx, func(tx store.Tx) error {
			again, ok, err := tokens.Get(tx, id)
			if err != nil || !ok {
				return err // revoked meanwhile; the next request will see that
			}
			again.Used = now.UTC().Truncate(time.Second)
			return tokens.Put(tx, again)
		})
		if err != nil {
			return nil, fmt.Errorf("note that a token was used: %w", err)
		}
	}
	return r.of(row.Client, row.Created), nil
}
