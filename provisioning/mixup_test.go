package provisioning

import (
	"errors"
	"path/filepath"
	"testing"

	"github.com/gatehouse-sso/gatehouse/federation"
	"github.com/gatehouse-sso/gatehouse/provisioning/store/boltstore"
)

// S54, J01: the name of a SAML identity provider is what its metadata says, and
// it writes that itself. One that takes another's name must become nobody by it,
// neither whom the other knows, nor somebody whom the other will know.
func TestS54J01_AProviderThatTakesAnothersNameIsNobodyByIt(t *testing.T) {
	t.Parallel()
	st, err := boltstore.Open(filepath.Join(t.TempDir(), "db"), boltstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	config := Config{Store: st, UserStores: []string{"primary", "partners"}, Precedence: []Source{"idp:campus", "idp:partner", "idp:campus-mfa"}}
	d, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	name, err := CompileFrom("name")
	if err != nil {
		t.Fatal(err)
	}
	login := func(d *Directory, provider, subject, userName string, same ...string) (string, error) {
		u, _, err := d.Login(t.Context(), federation.Identity{
			Ref: federation.Ref{Issuer: "https://campus.test", Subject: subject}, Provider: provider, Attributes: map[string][]string{"name": {userName}},
		}, JIT{Provider: provider, Mode: Async, UserStore: "primary", UserName: name, SameIssuer: same}, "")
		return u.ID, err
	}
	refused := func(what string, err error) {
		t.Helper()
		var r *Refusal
		if !errors.As(err, &r) || r.Code != ReasonTaken || r.Attribute != "link" {
			t.Errorf("%s: %v", what, err)
		}
	}
	alice, err := login(d, "campus", "alice-sub", "alice")
	if err != nil {
		t.Fatal(err)
	}
	_, err = login(d, "partner", "alice-sub", "alice")
	refused("as one whom the other knows", err)
	if _, err := login(d, "partner", "bob-sub", "early"); err != nil {
		t.Fatal(err)
	}
	_, err = login(d, "campus", "bob-sub", "bob")
	refused("before one whom the other will know", err)

	// Who is the same by the administrator's word is; and a provider may get
	// another ID in the configuration.
	if id, err := login(d, "campus-mfa", "alice-sub", "alice", "campus"); err != nil || id != alice {
		t.Errorf("by a second registration at the same issuer: %q, %v", id, err)
	}
	if id, err := login(d, "campus", "alice-sub", "alice"); err != nil || id != alice {
		t.Errorf("by the provider itself: %q, %v", id, err)
	}
	config.Precedence = []Source{"idp:university", "idp:partner"}
	renamed, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	if id, err := login(renamed, "university", "alice-sub", "alice"); err != nil || id != alice {
		t.Errorf("by the provider under another ID: %q, %v", id, err)
	}
}
