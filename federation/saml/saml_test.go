package saml_test

import (
	"testing"

	"github.com/gatehouse-sso/gatehouse/federation/idptest"
	"github.com/google/go-cmp/cmp"
)

func TestHonestSignInSaysWhatWasAsserted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id := w.accepted(t, idptest.IDPFault{})
	want := map[string][]string{
		"displayName": {"Dana Okafor"}, "givenName": {"Dana"}, "sn": {"Okafor"}, "mail": {"dana@partner.example"},
		"eduPersonPrincipalName":     {"dana@partner.example"},
		"eduPersonScopedAffiliation": {"faculty@partner.example", "member@partner.example"},
		"isMemberOf":                 {"researchers"},
	}
	if diff := cmp.Diff(want, id.Attributes); diff != "" {
		t.Errorf("attributes (-want +got):\n%s", diff)
	}
	if id.Provider != "partner" || id.Context.ACR != idptest.ACRSingle || !id.Context.At.Equal(w.clock.now()) || id.Context.Session == "" {
		t.Errorf("context: %+v", id.Context)
	}
}
