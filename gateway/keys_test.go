package gateway

import (
	"bytes"
	"encoding/json"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/gatehouse-sso/gatehouse/provisioning/store"
	"github.com/gatehouse-sso/gatehouse/provisioning/store/boltstore"
)

// A key that follows another is shown before it signs, and the one before is shown
// for a time after that: whatever a service has remembered of the set for less than
// that, it can check each token. What was sealed before opens. With nothing between
// them, nothing that the other made is good.
func TestKeysFollowEachOtherWithNothingBetween(t *testing.T) {
	t.Parallel()
	st, err := boltstore.Open(filepath.Join(t.TempDir(), "db"), boltstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	sealer, err := store.NewSealer(bytes.Repeat([]byte{7}, store.SecretSize), "test")
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 5, 4, 10, 0, 0, 0, time.UTC)
	keys, err := LoadKeys(t.Context(), st, sealer, func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	set := func() (s jose.JSONWebKeySet) {
		if err := json.Unmarshal(keys.JWKS(), &s); err != nil {
			t.Fatal(err)
		}
		return s
	}
	token := func() (*jwt.JSONWebToken, string) {
		raw, err := keys.Sign(map[string]any{"sub": "kim"})
		if err != nil {
			t.Fatal(err)
		}
		tok, err := jwt.ParseSigned(raw, []jose.SignatureAlgorithm{jose.ES256})
		if err != nil {
			t.Fatal(err)
		}
		return tok, tok.Headers[0].KeyID
	}
	checks := func(tok *jwt.JSONWebToken, s jose.JSONWebKeySet) bool {
		return tok.Claims(s, &map[string]any{}) == nil
	}
	rotate := func(purpose string, announce, keep time.Duration, fresh func() ([]byte, error)) error {
		_, err := Rotate(t.Context(), st, sealer, purpose, now, announce, keep, fresh, func(store.Tx) error { return nil })
		return errors.Join(err, keys.Reload(t.Context()))
	}
	first, firstID := token()
	sealed, err := keys.Seal("hint", "before")
	if err != nil {
		t.Fatal(err)
	}
	remembered := set()
	if len(remembered.Keys) != 1 {
		t.Fatalf("%d keys to begin with", len(remembered.Keys))
	}

	if err := errors.Join(rotate(PurposeJWT, time.Hour, time.Hour, FreshJWT), rotate(PurposeCookie, time.Minute, time.Hour, FreshSecret)); err != nil {
		t.Fatal(err)
	}
	if err := rotate(PurposeJWT, time.Hour, time.Hour, FreshJWT); !errors.Is(err, ErrAnnounced) {
		t.Errorf("a second follower: %v", err)
	}
	if tok, id := token(); id != firstID || !checks(tok, remembered) || len(set().Keys) != 2 {
		t.Errorf("while it is announced %s signs, of %d keys", id, len(set().Keys))
	}
	remembered = set()
	now = now.Add(time.Hour)
	second, secondID := token()
	if secondID == firstID || !checks(second, remembered) || !checks(first, set()) {
		t.Error("when the second signs, a service that has remembered the set can not check it, or can the first no more")
	}
	var what string
	if err := keys.Open("hint", sealed, &what); err != nil || what != "before" {
		t.Errorf("what was sealed before opens as %q, %v", what, err)
	}
	if late, err := keys.Seal("hint", "after"); err != nil || keys.Open("hint", late, &what) != nil || what != "after" {
		t.Errorf("sealed by the second: %q, %v", what, err)
	}
	now = now.Add(time.Hour)
	if checks(first, set()) || len(set().Keys) != 1 || set().Keys[0].KeyID != secondID {
		t.Error("the first is still shown")
	}

	// Somebody else has the key: nothing of it is good any more.
	if err := errors.Join(rotate(PurposeJWT, 0, 0, FreshJWT), rotate(PurposeCookie, 0, 0, FreshSecret)); err != nil {
		t.Fatal(err)
	}
	if tok, id := token(); id == secondID || checks(second, set()) || !checks(tok, set()) || keys.Open("hint", sealed, &what) == nil {
		t.Error("after a key was replaced at once, what it made is still good")
	}
	// Another process reads the same.
	again, err := LoadKeys(t.Context(), st, sealer, func() time.Time { return now })
	if err != nil || !bytes.Equal(again.JWKS(), keys.JWKS()) {
		t.Errorf("another process: %v", err)
	}
}
