package saml_test

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/gatehouse-sso/gatehouse/federation"
	"github.com/gatehouse-sso/gatehouse/federation/idptest"
)

// FuzzResponse asserts that whatever comes, nothing panics, every refusal is
// one, and nobody gets in whom the identity provider did not sign in.
func FuzzResponse(f *testing.F) {
	w := newWorld(f)
	ch, pending, err := w.sp.Begin(f.Context(), federation.Login{})
	if err != nil {
		f.Fatal(err)
	}
	q := question(f, w.idp, ch)
	for _, fault := range append(mistakes(), idptest.IDPFault{}, idptest.IDPFault{Encryption: sealed256},
		idptest.IDPFault{Sign: idptest.IDPSignResponse}, idptest.IDPFault{Sign: idptest.IDPSignAssertion}) {
		b, err := w.idp.Response(q, "dana", fault)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	for _, path := range vectors(f) {
		f.Add(vector(f, path))
	}
	form, _ := w.idp.Answer(q, "dana", idptest.IDPFault{})
	f.Fuzz(func(t *testing.T, raw []byte) {
		form.Set("SAMLResponse", base64.StdEncoding.EncodeToString(raw))
		id, err := w.sp.Finish(post(t, form), pending)
		if err != nil {
			if strings.Contains(err.Error(), "reading the answer failed with") {
				t.Fatalf("a panic was caught: %v", err)
			}
			wellMade(t, id, err)
			return
		}
		if id.Ref != (federation.Ref{Issuer: w.idp.EntityID(), Subject: dana}) {
			t.Fatalf("accepted as %v", id.Ref)
		}
	})
}
