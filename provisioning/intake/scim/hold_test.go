package scim

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/gatehouse-sso/gatehouse/provisioning"
	"github.com/gatehouse-sso/gatehouse/provisioning/client"
	rfc "github.com/gatehouse-sso/gatehouse/provisioning/scim"
	"github.com/gatehouse-sso/gatehouse/provisioning/store/boltstore"
)

// C08C14: what a client's edit costs, it costs nobody else: the store is free while it
// is worked out, and still nothing that happens meanwhile is undone.
func TestC08C14_ALongPatchHoldsNobodyUpAndUndoesNothing(t *testing.T) {
	t.Parallel()
	st, err := boltstore.Open(filepath.Join(t.TempDir(), "db"), boltstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	d, err := provisioning.New(provisioning.Config{Store: st, UserStores: []string{"primary"}})
	if err != nil {
		t.Fatal(err)
	}
	sh, err := shapeOf(nil)
	if err != nil {
		t.Fatal(err)
	}
	s := users{&Config{shape: sh, Directory: d, EndSessions: func(context.Context, string) error { return nil }}}
	ctx := client.With(t.Context(), &client.Client{ID: "hr", UserStores: []string{"primary"}})
	u, _, err := d.Create(ctx, provisioning.User{Store: "primary", UserName: "kim", Active: true}, "scim:hr")
	if err != nil {
		t.Fatal(err)
	}
	calls := 0
	got, err := s.Change(ctx, u.ID, func(cur *rfc.Resource) (*rfc.Resource, error) {
		if calls++; calls == 1 { // while this takes its time, somebody else changes the user
			soon, cancel := context.WithTimeout(ctx, 20*time.Second) // so that a test that would hang fails
			defer cancel()
			if _, _, err := d.Change(soon, u.ID, "scim:hr", func(u *provisioning.User) error {
				u.Say("scim:hr", "title", "Dean")
				return nil
			}); err != nil {
				t.Fatalf("the store is held: %v", err)
			}
		}
		next := cur.Clone()
		next.Set("displayName", "Kim")
		return next, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if calls != 2 || got.String("title") != "Dean" || got.String("displayName") != "Kim" {
		t.Errorf("after %d edits: %s", calls, got.AppendJSON(nil))
	}
}
