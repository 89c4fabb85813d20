package saml_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/beevik/etree"
	"github.com/gatehouse-sso/gatehouse/federation"
	"github.com/gatehouse-sso/gatehouse/federation/federationtest"
	"github.com/gatehouse-sso/gatehouse/federation/idptest"
	"github.com/gatehouse-sso/gatehouse/federation/saml"
)

// TestProviderKeepsThePromisesOfAll runs the suite that OpenID Connect passes
// too. One side asks by the redirect binding, the other by POST.
func TestProviderKeepsThePromisesOfAll(t *testing.T) {
	t.Parallel()
	federationtest.Test(t, federationtest.Harness{
		Reasons: saml.Reasons,
		Start: func(t *testing.T) federationtest.World {
			c := newClock()
			return federationtest.World{
				One: side(t, c, "one", saml.Redirect, idpKey()), Two: side(t, c, "two", saml.Post, idpKey2()),
				Advance: c.advance, Now: c.now,
			}
		},
	})
}

func side(t *testing.T, c *clock, id, binding string, key idptest.IDPKey) federationtest.Side {
	w := newWorld(t, func(sc *saml.Config, ic *idptest.IDPConfig) {
		if binding == saml.Post { // goxmldsig, which checks it there, knows ECDSA only in another form
			sc.Signing = []saml.Key{saml.Key(rsaKey())}
		}
		sc.ID, sc.Binding, sc.Now = id, binding, c.now
		ic.Base, ic.Keys, ic.Now = "https://"+id+".example", []idptest.IDPKey{key}, c.now
	})
	s := federationtest.Side{
		Provider: w.sp, ID: id, Issuer: w.idp.EntityID(), Strong: idptest.ACRMulti, Groups: "isMemberOf", Proof: "SAMLResponse",
		Answer: func(t *testing.T, ch federation.Challenge, act federationtest.Act) *http.Request {
			f := idptest.IDPFault{Cancel: act.Cancel, Weak: act.Weak, Before: act.Before}
			f.Policy = func(r *etree.Element) {
				if act.Cancel || r.SelectElement("saml:Assertion") == nil {
					return
				}
				statement := at(r, "Assertion", "AttributeStatement")
				if act.Groups > 0 {
					groups := make([]string, act.Groups)
					for i := range groups {
						groups[i] = "group-" + itoa(i)
					}
					for _, a := range statement.ChildElements() {
						if a.SelectAttrValue("FriendlyName", "") == "isMemberOf" {
							statement.RemoveChild(a)
						}
					}
					statement.AddChild(idptest.IDPAttribute("urn:oid:1.3.6.1.4.1.5923.1.5.1.1", "", groups...))
				}
				if act.Fat > 0 {
					statement.AddChild(idptest.IDPAttribute("urn:fat", "", strings.Repeat("x", act.Fat)))
				}
			}
			form, err := w.idp.Answer(question(t, w.idp, ch), act.User, f)
			if err != nil {
				t.Fatal(err)
			}
			return post(t, form)
		},
	}
	for _, p := range idptest.Partner() {
		attrs := map[string][]string{"displayName": {p.Name}, "eduPersonScopedAffiliation": p.Affiliation, "isMemberOf": p.Groups}
		if p.Mail != "" {
			attrs["mail"] = []string{p.Mail}
		}
		s.People = append(s.People, federationtest.Person{User: p.User, Subject: p.ID, SecondFactor: p.SecondFactor, Attributes: attrs})
	}
	return s
}
