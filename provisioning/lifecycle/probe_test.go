package lifecycle_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-sso/gatehouse/federation"
	"github.com/gatehouse-sso/gatehouse/provisioning"
	"github.com/gatehouse-sso/gatehouse/provisioning/lifecycle"
	"github.com/gatehouse-sso/gatehouse/provisioning/store"
	"github.com/gatehouse-sso/gatehouse/provisioning/task"
)

// asker is an identity provider that answers as the test says.
type asker struct {
	answer error
	got    []string
	n      int
}

func (a *asker) ask(_ context.Context, renewal, _ string) (string, error) {
	a.got = append(a.got, renewal)
	if a.answer != nil {
		return "", a.answer
	}
	a.n++
	return fmt.Sprintf("token-%d", a.n), nil
}

func newProbed(t *testing.T) (*world, *asker, provisioning.User, func(token string)) {
	t.Helper()
	w := newWorld(t, lifecycle.Inactivity{After: 900 * 24 * time.Hour})
	a := &asker{}
	w.life = lifecycle.New(lifecycle.Config{
		Store: w.store, Directory: w.dir, Guard: w.guard, Now: func() time.Time { return w.now }, Sealer: mustSeal(t),
		Probes: map[string]lifecycle.Probe{"campus": {Every: 24 * time.Hour, Confirmations: 3, Ask: a.ask}},
	})
	u := w.create("kim")
	ref := federation.Ref{Issuer: "https://idp", Subject: "kim"}
	if _, _, err := w.dir.Link(t.Context(), u.ID, ref, "campus", provisioning.Admin); err != nil {
		t.Fatal(err)
	}
	return w, a, u, func(token string) {
		t.Helper()
		if _, _, err := w.dir.Login(t.Context(), federation.Identity{Ref: ref, Provider: "campus", Renewal: token}, provisioning.JIT{Provider: "campus"}, ""); err != nil {
			t.Fatal(err)
		}
	}
}

// probe asks, a day later.
func (w *world) probe(id string) {
	w.Helper()
	w.now = w.now.Add(24 * time.Hour)
	var retry *task.Retry
	if err := w.life.HandleProbe(w.Context(), "campus/"+id); err != nil && !errors.As(err, &retry) {
		w.Fatal(err)
	}
}

func TestWhomAProviderNoLongerKnowsLeavesAfterConfirmations(t *testing.T) {
	t.Parallel()
	w, a, u, signIn := newProbed(t)
	signIn("first")
	w.probe(u.ID)
	w.probe(u.ID)
	if got := strings.Join(a.got, " "); got != "first token-1" {
		t.Errorf("asked with %q", got)
	}
	a.answer = federation.ErrGone
	w.probe(u.ID)
	w.probe(u.ID)
	if got := strings.Join(w.evidence(u.ID), ""); !w.active(u.ID) || !strings.Contains(got, "probe by idp:campus ×2") || !strings.Contains(got, "(2 of 3)") {
		t.Errorf("after two of three: active %t, evidence %q", w.active(u.ID), got)
	}
	// A sign-in takes it back.
	a.answer = nil
	signIn("second")
	if got := w.evidence(u.ID); len(got) != 0 {
		t.Errorf("evidence against somebody who signed in: %q", got)
	}
	a.answer = federation.ErrGone
	for range 3 {
		w.probe(u.ID)
	}
	if got := strings.Join(w.evidence(u.ID), ""); w.active(u.ID) || !strings.HasSuffix(got, "→ disabled") {
		t.Errorf("after three of three: active %t, evidence %q", w.active(u.ID), got)
	}
}

func TestAProviderThatFailsIsEvidenceOfNothing(t *testing.T) {
	t.Parallel()
	w, a, u, signIn := newProbed(t)
	signIn("first")
	a.answer = errors.New("503")
	for range 20 {
		w.probe(u.ID)
	}
	if got := w.evidence(u.ID); !w.active(u.ID) || len(got) != 0 || len(a.got) != 20 {
		t.Errorf("active %t, evidence %q, asked %d times", w.active(u.ID), got, len(a.got))
	}
}

// TestATokenThatMayBeUsedUpIsEvidenceOfNothing: if the process dies between the
// question and our note of the answer, the token that we have may be an old one.
func TestATokenThatMayBeUsedUpIsEvidenceOfNothing(t *testing.T) {
	t.Parallel()
	w, a, u, signIn := newProbed(t)
	signIn("first")
	func() {
		defer func() { _ = recover() }()
		w.now = w.now.Add(24 * time.Hour)
		broken := lifecycle.New(lifecycle.Config{
			Store: w.store, Directory: w.dir, Guard: w.guard, Now: func() time.Time { return w.now }, Sealer: mustSeal(t),
			Probes: map[string]lifecycle.Probe{"campus": {Every: 24 * time.Hour, Ask: func(context.Context, string, string) (string, error) { panic("killed") }}},
		})
		_ = broken.HandleProbe(t.Context(), "campus/"+u.ID)
	}()
	a.answer = federation.ErrGone
	for range 5 {
		w.probe(u.ID)
	}
	if len(a.got) != 0 || !w.active(u.ID) {
		t.Errorf("asked %d times with a token that may be used up; active %t", len(a.got), w.active(u.ID))
	}
	signIn("second") // brings another
	w.probe(u.ID)
	if len(a.got) != 1 {
		t.Errorf("after a sign-in asked %d times", len(a.got))
	}
}

func mustSeal(t *testing.T) *store.Sealer {
	s, err := store.NewSealer(bytes.Repeat([]byte{7}, store.SecretSize), "test")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestB12_RefreshTokensAreSealedAndGoWithTheirUser(t *testing.T) {
	t.Parallel()
	w, _, u, signIn := newProbed(t)
	const secret = "a refresh token that nobody may read"
	signIn(secret)
	held := func(what string) (found bool) {
		t.Helper()
		if err := w.store.View(t.Context(), func(tx store.Tx) error {
			for p, err := range tx.Scan(nil, nil, 0) {
				if err != nil {
					return err
				}
				found = found || strings.Contains(string(p.Key)+string(p.Val), what)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		return found
	}
	if held(secret) || !held(`"sealed"`) {
		t.Errorf("the token stands in the store in the clear: %t; sealed: %t", held(secret), held(`"sealed"`))
	}
	if err := w.dir.Delete(t.Context(), u.ID, provisioning.Admin); err != nil {
		t.Fatal(err)
	}
	if held(`"sealed"`) {
		t.Error("the token outlives its user")
	}
}
