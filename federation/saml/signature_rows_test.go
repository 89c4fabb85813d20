package saml_test

import (
	"crypto"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/beevik/etree"
	"github.com/gatehouse-sso/gatehouse/federation/idptest"
	"github.com/gatehouse-sso/gatehouse/federation/saml"
)

// A row is one way to be refused.
type row struct {
	name  string
	fault idptest.IDPFault
	code  string
}

// rows runs them in one world, with an honest sign-in after all.
func rows(t *testing.T, rows []row, opts ...option) {
	t.Parallel()
	w := newWorld(t, opts...)
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) { w.refused(t, r.fault, r.code) })
	}
}

// signing gives a fault for each way to sign.
func signing(f idptest.IDPFault) map[string]idptest.IDPFault {
	out := map[string]idptest.IDPFault{}
	for name, s := range map[string]idptest.IDPSign{
		"signed response": idptest.IDPSignResponse, "signed assertion": idptest.IDPSignAssertion, "both signed": idptest.IDPSignBoth,
	} {
		g := f
		g.Sign = s
		out[name] = g
	}
	return out
}

func TestEachWayToSignIsAccepted(t *testing.T) {
	t.Parallel()
	w := newWorld(t, withRSA)
	for name, f := range signing(idptest.IDPFault{}) {
		t.Run(name, func(t *testing.T) {
			w.accepted(t, f)
			f.Hash = crypto.SHA384
			w.accepted(t, f)
			f.Hash = crypto.SHA512
			w.accepted(t, f)
		})
	}
	ec := newWorld(t)
	for _, f := range signing(idptest.IDPFault{}) {
		ec.accepted(t, f)
	}
}

func TestS01_UnsignedResponseIsRefused(t *testing.T) {
	rows(t, []row{{"nothing signed", idptest.IDPFault{Sign: idptest.IDPSignNothing}, saml.ReasonSignatureMissing}})
}

func TestRequiredSignatureIsInsistedOn(t *testing.T) {
	t.Parallel()
	response := newWorld(t, func(c *saml.Config, _ *idptest.IDPConfig) { c.RequireSignedResponse = true })
	response.refused(t, idptest.IDPFault{Sign: idptest.IDPSignAssertion}, saml.ReasonSignatureMissing)
	response.accepted(t, idptest.IDPFault{Sign: idptest.IDPSignResponse})
	assertion := newWorld(t, func(c *saml.Config, _ *idptest.IDPConfig) { c.RequireSignedAssertion = true })
	assertion.refused(t, idptest.IDPFault{Sign: idptest.IDPSignResponse}, saml.ReasonSignatureMissing)
	assertion.accepted(t, idptest.IDPFault{Sign: idptest.IDPSignAssertion})
}

func TestS02_KeyInTheMessageIsNotTrusted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for name, f := range signing(idptest.IDPFault{Key: evilKey()}) {
		t.Run(name, func(t *testing.T) { w.refused(t, f, saml.ReasonSignature) })
	}
}

// evilAssertion is a copy of a that names somebody else, with an ID of its own.
func evilAssertion(a *etree.Element) *etree.Element {
	e := a.Copy()
	e.CreateAttr("ID", "_evil")
	at(e, "Subject", "NameID").SetText("admin")
	return e
}

func signatureOf(el *etree.Element) *etree.Element {
	for _, k := range el.ChildElements() {
		if k.Tag == "Signature" {
			return k
		}
	}
	return nil
}

// without is a copy of el that has lost its own signature.
func without(el *etree.Element) *etree.Element {
	c := el.Copy()
	if s := signatureOf(c); s != nil {
		c.RemoveChild(s)
	}
	return c
}

// wrapResponse makes the root evil and hides the signed original with hide.
func wrapResponse(r *etree.Element, hide func(r, sig, original *etree.Element)) {
	original := without(r)
	r.CreateAttr("ID", "_evilresponse")
	at(r, "Assertion", "Subject", "NameID").SetText("admin")
	at(r, "Assertion").CreateAttr("ID", "_evil")
	hide(r, signatureOf(r), original)
}

func TestS03_XSW1_ResponseClonedIntoItsSignature(t *testing.T) {
	wrapped(t, []idptest.IDPSign{idptest.IDPSignResponse, idptest.IDPSignBoth}, func(r *etree.Element) {
		wrapResponse(r, func(_, sig, original *etree.Element) { sig.AddChild(original) })
	})
}

func TestS04_XSW2_ResponseClonedBeforeItsSignature(t *testing.T) {
	wrapped(t, []idptest.IDPSign{idptest.IDPSignResponse, idptest.IDPSignBoth}, func(r *etree.Element) {
		wrapResponse(r, func(r, sig, original *etree.Element) { r.InsertChildAt(sig.Index(), original) })
	})
}

// wrapped runs a wrapping attack on answers signed in these ways.
func wrapped(t *testing.T, signs []idptest.IDPSign, f func(r *etree.Element)) {
	t.Parallel()
	w := newWorld(t)
	for _, s := range signs {
		w.refused(t, idptest.IDPFault{Sign: s, Forge: f}, saml.ReasonStructure)
	}
}

var (
	assertionSigned = []idptest.IDPSign{idptest.IDPSignAssertion}
	everySigning    = []idptest.IDPSign{idptest.IDPSignAssertion, idptest.IDPSignResponse, idptest.IDPSignBoth}
)

func TestS05_XSW3_EvilAssertionBeforeTheSignedOne(t *testing.T) {
	wrapped(t, everySigning, func(r *etree.Element) {
		a := at(r, "Assertion")
		r.InsertChildAt(a.Index(), without(evilAssertion(a)))
	})
	newWorld(t).refused(t, idptest.IDPFault{Sign: idptest.IDPSignAssertion, Forge: func(r *etree.Element) {
		r.AddChild(without(evilAssertion(at(r, "Assertion"))))
	}}, saml.ReasonStructure)
}

func TestS06_XSW4_SignedAssertionInsideTheEvilOne(t *testing.T) {
	wrapped(t, everySigning, func(r *etree.Element) {
		a := at(r, "Assertion")
		evil := without(evilAssertion(a))
		r.RemoveChild(a)
		evil.AddChild(a)
		r.AddChild(evil)
	})
}

func TestS07_XSW5_EvilAssertionCarriesTheSignature(t *testing.T) {
	wrapped(t, assertionSigned, func(r *etree.Element) {
		a := at(r, "Assertion")
		evil := evilAssertion(a)
		r.RemoveChild(a)
		r.AddChild(evil)
		r.AddChild(without(a))
	})
	// The same with the original gone: the signature covers nothing that is here.
	newWorld(t).refused(t, idptest.IDPFault{Sign: idptest.IDPSignAssertion, Forge: func(r *etree.Element) {
		a := at(r, "Assertion")
		r.AddChild(evilAssertion(a))
		r.RemoveChild(a)
	}}, saml.ReasonStructure)
	// And with its ID kept.
	newWorld(t).refused(t, idptest.IDPFault{Sign: idptest.IDPSignAssertion, Forge: func(r *etree.Element) {
		at(r, "Assertion", "Subject", "NameID").SetText("admin")
	}}, saml.ReasonSignature)
}

func TestS08_XSW6_OriginalInsideTheSignature(t *testing.T) {
	wrapped(t, assertionSigned, func(r *etree.Element) {
		a := at(r, "Assertion")
		evil := evilAssertion(a)
		r.RemoveChild(a)
		signatureOf(evil).AddChild(without(a))
		r.AddChild(evil)
	})
}

func TestS09_XSW7_EvilAssertionInExtensions(t *testing.T) {
	wrapped(t, assertionSigned, func(r *etree.Element) {
		ext := etree.NewElement("samlp:Extensions")
		ext.AddChild(without(evilAssertion(at(r, "Assertion"))))
		r.InsertChildAt(at(r, "Status").Index(), ext)
	})
	// Extensions as such are allowed.
	newWorld(t).accepted(t, policy(func(r *etree.Element) {
		ext := etree.NewElement("samlp:Extensions")
		ext.CreateElement("x:note").CreateAttr("xmlns:x", "urn:example:x")
		r.InsertChildAt(at(r, "Status").Index(), ext)
	}))
}

func TestS10_XSW8_OriginalInAnObject(t *testing.T) {
	for _, prefix := range []string{"ds:", ""} {
		t.Run("prefix "+prefix, func(t *testing.T) {
			wrapped(t, assertionSigned, func(r *etree.Element) {
				a := at(r, "Assertion")
				evil := evilAssertion(a)
				r.RemoveChild(a)
				obj := signatureOf(evil).CreateElement(prefix + "Object")
				if prefix == "" {
					obj.CreateAttr("xmlns", "http://www.w3.org/2000/09/xmldsig#")
				}
				obj.AddChild(without(a))
				r.AddChild(evil)
			})
		})
	}
}

func TestS11_AssertionInAnObjectOfASignedResponse(t *testing.T) {
	rows(t, []row{{"object", idptest.IDPFault{Sign: idptest.IDPSignResponse, Forge: func(r *etree.Element) {
		signatureOf(r).CreateElement("ds:Object").AddChild(without(evilAssertion(at(r, "Assertion"))))
	}}, saml.ReasonStructure},
		{"empty object", idptest.IDPFault{Sign: idptest.IDPSignResponse, Forge: func(r *etree.Element) {
			signatureOf(r).CreateElement("ds:Object")
		}}, saml.ReasonStructure},
		{"in the key info", idptest.IDPFault{Sign: idptest.IDPSignResponse, Forge: func(r *etree.Element) {
			at(signatureOf(r), "KeyInfo").AddChild(without(evilAssertion(at(r, "Assertion"))))
		}}, saml.ReasonStructure}})
}

func TestS12_SameIDTwiceIsRefused(t *testing.T) {
	same := func(r *etree.Element) *etree.Element {
		e := without(evilAssertion(at(r, "Assertion")))
		e.CreateAttr("ID", at(r, "Assertion").SelectAttrValue("ID", ""))
		return e
	}
	other := func(key string) idptest.IDPFault {
		return idptest.IDPFault{Sign: idptest.IDPSignAssertion, Forge: func(r *etree.Element) {
			ext := etree.NewElement("samlp:Extensions")
			x := ext.CreateElement("x:x")
			x.CreateAttr("xmlns:x", "urn:example:x")
			x.CreateAttr(key, at(r, "Assertion").SelectAttrValue("ID", ""))
			r.InsertChildAt(at(r, "Status").Index(), ext)
		}}
	}
	rows(t, []row{
		{"first", forge(func(r *etree.Element) { r.InsertChildAt(at(r, "Assertion").Index(), same(r)) }), saml.ReasonStructure},
		{"last", forge(func(r *etree.Element) { r.AddChild(same(r)) }), saml.ReasonStructure},
		{"another element", other("ID"), saml.ReasonStructure},
		{"spelled Id", other("Id"), saml.ReasonStructure},
		{"spelled xml:id", other("xml:id"), saml.ReasonStructure},
		{"the response", policy(func(r *etree.Element) {
			at(r, "Assertion").CreateAttr("ID", r.SelectAttrValue("ID", ""))
		}), saml.ReasonStructure},
	})
}

func TestS13_TwoSignedAssertionsAreRefused(t *testing.T) {
	rows(t, []row{{"alice and bob", idptest.IDPFault{Sign: idptest.IDPSignAssertion, Policy: func(r *etree.Element) {
		r.AddChild(evilAssertion(at(r, "Assertion")))
	}}, saml.ReasonStructure}})
}

func TestS14_SignedResponseWithTwoAssertionsIsRefused(t *testing.T) {
	rows(t, []row{
		{"two", idptest.IDPFault{Sign: idptest.IDPSignResponse, Policy: func(r *etree.Element) {
			r.AddChild(evilAssertion(at(r, "Assertion")))
		}}, saml.ReasonStructure},
		{"none", idptest.IDPFault{Sign: idptest.IDPSignResponse, Policy: func(r *etree.Element) {
			r.RemoveChild(at(r, "Assertion"))
		}}, saml.ReasonStructure},
	})
}

func TestS15_CommentInDigestValueIsRefused(t *testing.T) {
	comment := func(path ...string) func(r *etree.Element) {
		return func(r *etree.Element) {
			el := at(signatureOf(at(r, "Assertion")), path...)
			el.InsertChildAt(0, etree.NewComment("c29tZXRoaW5nIGVsc2U="))
		}
	}
	rows(t, []row{
		{"digest value", idptest.IDPFault{Sign: idptest.IDPSignAssertion, Forge: comment("SignedInfo", "Reference", "DigestValue")}, saml.ReasonStructure},
		{"signature value", idptest.IDPFault{Sign: idptest.IDPSignAssertion, Forge: comment("SignatureValue")}, saml.ReasonStructure},
		{"signed info", idptest.IDPFault{Sign: idptest.IDPSignAssertion, Forge: comment("SignedInfo")}, saml.ReasonStructure},
		{"signature", idptest.IDPFault{Sign: idptest.IDPSignAssertion, Forge: comment()}, saml.ReasonStructure},
	})
}

func TestS16_TwoSignedInfosAreRefused(t *testing.T) {
	second := func(at int) func(r *etree.Element) {
		return func(r *etree.Element) {
			sig := signatureOf(idptest.IDPAt(r, "Assertion"))
			sig.InsertChildAt(at, idptest.IDPAt(sig, "SignedInfo").Copy())
		}
	}
	rows(t, []row{
		{"first", idptest.IDPFault{Sign: idptest.IDPSignAssertion, Forge: second(0)}, saml.ReasonStructure},
		{"last", idptest.IDPFault{Sign: idptest.IDPSignAssertion, Forge: second(3)}, saml.ReasonStructure},
	})
}

func TestS17_SeveralReferencesAreRefused(t *testing.T) {
	add := func(bogusFirst bool) func(info *etree.Element) {
		return func(info *etree.Element) {
			ref := at(info, "Reference")
			bogus := ref.Copy()
			bogus.CreateAttr("URI", "#_evil")
			if bogusFirst {
				info.InsertChildAt(ref.Index(), bogus)
			} else {
				info.AddChild(bogus)
			}
		}
	}
	rows(t, []row{
		{"bogus first", idptest.IDPFault{SignedInfo: add(true)}, saml.ReasonStructure},
		{"bogus last", idptest.IDPFault{SignedInfo: add(false)}, saml.ReasonStructure},
	})
}

func TestS18_ExtraTransformsAreRefused(t *testing.T) {
	transform := func(alg string, at int) func(info *etree.Element) {
		return func(info *etree.Element) {
			ts := idptest.IDPAt(info, "Reference", "Transforms")
			x := etree.NewElement("ds:Transform")
			x.CreateAttr("Algorithm", alg)
			ts.InsertChildAt(at, x)
		}
	}
	var all []row
	for name, alg := range map[string]string{
		"XPath": "http://www.w3.org/TR/1999/REC-xpath-19991116", "XSLT": "http://www.w3.org/TR/1999/REC-xslt-19991116",
		"base64": "http://www.w3.org/2000/09/xmldsig#base64", "a third": "http://www.w3.org/2001/10/xml-exc-c14n#",
		"enveloped again": "http://www.w3.org/2000/09/xmldsig#enveloped-signature",
	} {
		for i := range 3 {
			all = append(all,
				row{name + " signed " + string(rune('0'+i)), idptest.IDPFault{SignedInfo: transform(alg, i)}, saml.ReasonStructure},
				row{name + " added " + string(rune('0'+i)), idptest.IDPFault{Forge: func(r *etree.Element) {
					transform(alg, i)(at(signatureOf(r), "SignedInfo"))
				}}, saml.ReasonStructure})
		}
	}
	change := func(i int, alg string) idptest.IDPFault {
		return idptest.IDPFault{SignedInfo: func(info *etree.Element) {
			at(info, "Reference", "Transforms").ChildElements()[i].CreateAttr("Algorithm", alg)
		}}
	}
	all = append(all,
		row{"inclusive canonicalisation", change(1, "http://www.w3.org/TR/2001/REC-xml-c14n-20010315"), saml.ReasonAlgorithm},
		row{"with comments", change(1, "http://www.w3.org/2001/10/xml-exc-c14n#WithComments"), saml.ReasonAlgorithm},
		row{"not enveloped", change(0, "http://www.w3.org/2001/10/xml-exc-c14n#"), saml.ReasonStructure},
		row{"one alone", idptest.IDPFault{SignedInfo: func(info *etree.Element) {
			ts := at(info, "Reference", "Transforms")
			ts.RemoveChild(ts.ChildElements()[0])
		}}, saml.ReasonStructure},
		row{"canonicalisation with comments", idptest.IDPFault{SignedInfo: func(info *etree.Element) {
			at(info, "CanonicalizationMethod").CreateAttr("Algorithm", "http://www.w3.org/2001/10/xml-exc-c14n#WithComments")
		}}, saml.ReasonAlgorithm},
	)
	rows(t, all)
}

func TestS19_SecretFromAPublicKeyIsRefused(t *testing.T) {
	swap := func(alg string, info func(*etree.Element) []byte) idptest.IDPFault {
		return idptest.IDPFault{Sign: idptest.IDPSignAssertion, Forge: func(r *etree.Element) {
			a := at(r, "Assertion")
			at(a, "Subject", "NameID").SetText("admin")
			sig := signatureOf(a)
			sum := sha256.Sum256(idptest.IDPCanonical(without(a)))
			at(sig, "SignedInfo", "Reference", "DigestValue").SetText(base64.StdEncoding.EncodeToString(sum[:]))
			at(sig, "SignedInfo", "SignatureMethod").CreateAttr("Algorithm", alg)
			at(sig, "SignatureValue").SetText(base64.StdEncoding.EncodeToString(info(at(sig, "SignedInfo"))))
		}}
	}
	mac := func(key []byte) func(*etree.Element) []byte {
		return func(info *etree.Element) []byte {
			m := hmac.New(sha256.New, key)
			m.Write(idptest.IDPCanonical(info))
			return m.Sum(nil)
		}
	}
	rows(t, []row{
		{"certificate as secret", swap("http://www.w3.org/2001/04/xmldsig-more#hmac-sha256", mac(rsaKey().Certificate.Raw)), saml.ReasonAlgorithm},
		{"key as secret", swap("http://www.w3.org/2001/04/xmldsig-more#hmac-sha256", mac(rsaKey().Certificate.RawSubjectPublicKeyInfo)), saml.ReasonAlgorithm},
		{"no algorithm", swap("", mac(nil)), saml.ReasonAlgorithm},
		{"unknown algorithm", swap("urn:example:none", mac(nil)), saml.ReasonAlgorithm},
		{"algorithm of another key", swap("http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256", mac(nil)), saml.ReasonSignature},
		{"digest alone corrected", swap("http://www.w3.org/2001/04/xmldsig-more#rsa-sha256", mac(nil)), saml.ReasonSignature},
	}, withRSA)
}

func TestS20_SHA1IsRefusedUnlessAllowed(t *testing.T) {
	t.Parallel()
	f := idptest.IDPFault{Hash: crypto.SHA1}
	newWorld(t, withRSA).refused(t, f, saml.ReasonAlgorithm)
	newWorld(t, withRSA).refused(t, idptest.IDPFault{SignedInfo: func(info *etree.Element) {
		at(info, "Reference", "DigestMethod").CreateAttr("Algorithm", idptest.IDPSHA1)
	}}, saml.ReasonAlgorithm)
	newWorld(t, withRSA).refused(t, idptest.IDPFault{Hash: crypto.SHA1, SignedInfo: func(info *etree.Element) {
		at(info, "Reference", "DigestMethod").CreateAttr("Algorithm", idptest.IDPSHA256)
	}}, saml.ReasonAlgorithm)
	newWorld(t, withRSA, func(c *saml.Config, _ *idptest.IDPConfig) { c.InsecureSHA1 = true }).accepted(t, f)
}

// canary is a client that counts what it is asked for, and gets nothing.
type canary struct{ hits atomic.Int32 }

func (c *canary) RoundTrip(*http.Request) (*http.Response, error) {
	c.hits.Add(1)
	return nil, http.ErrHandlerTimeout
}

func TestS21_ReferenceToAnythingElseIsRefused(t *testing.T) {
	t.Parallel()
	bird := &canary{}
	silent := func(c *saml.Config, _ *idptest.IDPConfig) { c.Client = &http.Client{Transport: bird} }
	listener := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { bird.hits.Add(1) }))
	defer listener.Close()
	for name, uri := range map[string]string{
		"empty": "", "other": "#_other", "bare": "x", "external": listener.URL + "/x.xml", "xpointer": "#xpointer(/)", "hash alone": "#",
	} {
		w := newWorld(t, silent)
		t.Run(name+" signed so", func(t *testing.T) {
			w.refused(t, idptest.IDPFault{SignedInfo: func(info *etree.Element) { at(info, "Reference").CreateAttr("URI", uri) }}, saml.ReasonStructure)
		})
		t.Run(name+" changed", func(t *testing.T) {
			w.refused(t, forge(func(r *etree.Element) { at(signatureOf(r), "SignedInfo", "Reference").CreateAttr("URI", uri) }), saml.ReasonSignature)
		})
	}
	w := newWorld(t, silent)
	w.refused(t, idptest.IDPFault{SignedInfo: func(info *etree.Element) { at(info, "Reference").RemoveAttr("URI") }}, saml.ReasonStructure)
	w.refused(t, forge(func(r *etree.Element) {
		kid := at(signatureOf(r), "KeyInfo").CreateElement("ds:RetrievalMethod")
		kid.CreateAttr("URI", listener.URL+"/key")
		at(r, "Assertion", "Subject", "NameID").SetText("admin")
	}), saml.ReasonSignature)
	if n := bird.hits.Load(); n != 0 {
		t.Errorf("%d requests were made", n)
	}
}

func TestS22_SignatureInTheWrongPlaceIsRefused(t *testing.T) {
	move := func(sign idptest.IDPSign, to func(el, sig *etree.Element)) idptest.IDPFault {
		return idptest.IDPFault{Sign: sign, Forge: func(r *etree.Element) {
			el := r
			if sign == idptest.IDPSignAssertion {
				el = at(r, "Assertion")
			}
			sig := signatureOf(el)
			el.RemoveChild(sig)
			to(el, sig)
		}}
	}
	last := func(el, sig *etree.Element) { el.AddChild(sig) }
	first := func(el, sig *etree.Element) { el.InsertChildAt(0, sig) }
	rows(t, []row{
		{"after the subject", move(idptest.IDPSignAssertion, func(el, sig *etree.Element) {
			el.InsertChildAt(at(el, "Subject").Index()+1, sig)
		}), saml.ReasonStructure},
		{"last in the assertion", move(idptest.IDPSignAssertion, last), saml.ReasonStructure},
		{"before the issuer", move(idptest.IDPSignAssertion, first), saml.ReasonStructure},
		{"last in the response", move(idptest.IDPSignResponse, last), saml.ReasonStructure},
		{"within the subject", move(idptest.IDPSignAssertion, func(el, sig *etree.Element) { at(el, "Subject").AddChild(sig) }), saml.ReasonStructure},
		{"twice", move(idptest.IDPSignAssertion, func(el, sig *etree.Element) {
			el.InsertChildAt(1, sig)
			el.InsertChildAt(1, sig.Copy())
		}), saml.ReasonStructure},
	})
}

func TestS23_NamespaceWithoutCanonicalFormIsRefused(t *testing.T) {
	ns := func(key, value string) idptest.IDPFault {
		return text(func(s string) string {
			return strings.Replace(s, "<samlp:Response ", "<samlp:Response "+key+"=\""+value+"\" ", 1)
		})
	}
	rows(t, []row{
		{"relative", ns("xmlns:x", "1"), saml.ReasonXML},
		{"relative, signed", policy(func(r *etree.Element) { r.CreateAttr("xmlns:x", "1") }), saml.ReasonXML},
		{"empty", ns("xmlns:x", ""), saml.ReasonXML},
		{"no default", ns("xmlns", ""), saml.ReasonXML},
		{"xmlns itself", ns("xmlns:xmlns", "urn:example:x"), saml.ReasonXML},
		{"xml as another", ns("xmlns:xml", "urn:example:x"), saml.ReasonXML},
		{"xml's name for another", ns("xmlns:x", "http://www.w3.org/XML/1998/namespace"), saml.ReasonXML},
		{"declared twice", ns("xmlns:samlp", "urn:example:x"), saml.ReasonXML},
	})
	// A namespace that nobody uses is no harm.
	newWorld(t).accepted(t, policy(func(r *etree.Element) { r.CreateAttr("xmlns:x", "urn:example:x") }))
}

func TestS24_XMLThatChangesWhenWrittenIsRefused(t *testing.T) {
	var all []row
	for _, s := range []string{
		`<x::Root/>`, `<x::Element></::Element>`, `<Element ::attr="foo"></Element>`, `</x::Element>`, `<x:>`, `</x:>`,
		`<Root :="value"/>`, `<Root x:="value"/>`, `<Root xmlns="urn:x:x" xmlns:="urn:y:y"></Root>`,
		`<! <<!-- -->!-->"--> " ><! ">" <X/>>`, `<! <<!-- -->!-- x --> y>`, `<Root>]]></Root>`, `<Root :a="x"/>`, `<x:undeclared/>`,
		`<a b="1" b="2"/>`, `<a xmlns:p="urn:x:x" xmlns:q="urn:x:x" p:b="1" q:b="2"/>`, "<a>\x00</a>", "<a>\xff</a>", `<a>&unknown;</a>`, `<a b=c/>`,
	} {
		all = append(all, row{s, text(func(x string) string {
			return strings.Replace(x, "<saml:AttributeStatement>", "<saml:AttributeStatement>"+s, 1)
		}), saml.ReasonXML})
	}
	rows(t, all)
}

func TestS25_DoctypeIsRefused(t *testing.T) {
	var all []row
	for name, s := range map[string]string{
		"plain":      `<!DOCTYPE r>`,
		"internal":   `<!DOCTYPE r [<!ELEMENT r ANY>]>`,
		"entity":     `<!DOCTYPE r [<!ENTITY e "x">]>`,
		"attlist":    `<!DOCTYPE samlp:Response [<!ATTLIST samlp:Response ID ID #IMPLIED>]>`,
		"brackets":   `<!DOCTYPE foo [<!ENTITY a "b]>"> <!ENTITY c "d">]>`,
		"in comment": `<!DOCTYPE r [<!-- ]> <samlp:Response/> --> ]>`,
		"notation":   `<!DOCTYPE r [<!NOTATION n PUBLIC "x">]>`,
	} {
		all = append(all, row{name, text(func(x string) string { return s + x }), saml.ReasonXML},
			row{name + " after a declaration", text(func(x string) string { return `<?xml version="1.0"?>` + s + x }), saml.ReasonXML})
	}
	rows(t, all)
	newWorld(t).accepted(t, text(func(x string) string { return `<?xml version="1.0" encoding="UTF-8"?>` + "\n" + x + "\n" }))
}

func TestS26_EntitiesAreNeverResolved(t *testing.T) {
	t.Parallel()
	var hits atomic.Int32
	listener := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { hits.Add(1) }))
	defer listener.Close()
	laughs := `<!DOCTYPE r [<!ENTITY l0 "lol">`
	for i := range 9 {
		laughs += `<!ENTITY l` + string(rune('1'+i)) + ` "` + strings.Repeat("&l"+string(rune('0'+i))+";", 10) + `">`
	}
	laughs += `]>`
	for name, dtd := range map[string]string{
		"file":       `<!DOCTYPE r [<!ENTITY e SYSTEM "file:///etc/passwd">]>`,
		"http":       `<!DOCTYPE r [<!ENTITY e SYSTEM "` + listener.URL + `/x">]>`,
		"parameter":  `<!DOCTYPE r [<!ENTITY % e SYSTEM "` + listener.URL + `/x"> %e;]>`,
		"dtd":        `<!DOCTYPE r SYSTEM "` + listener.URL + `/x.dtd">`,
		"many laugh": laughs,
		"no dtd":     "",
	} {
		w := newWorld(t)
		t.Run(name, func(t *testing.T) {
			w.refused(t, text(func(x string) string {
				return dtd + strings.Replace(x, dana, "&e;&l9;", 1)
			}), saml.ReasonXML)
		})
	}
	if n := hits.Load(); n != 0 {
		t.Errorf("%d requests were made", n)
	}
}

func TestS27_AnythingOutsideTheRootIsRefused(t *testing.T) {
	after := func(s string) idptest.IDPFault { return text(func(x string) string { return x + s }) }
	before := func(s string) idptest.IDPFault { return text(func(x string) string { return s + x }) }
	rows(t, []row{
		{"second root", after("<a/>"), saml.ReasonXML},
		{"the same again", text(func(x string) string { return x + x }), saml.ReasonXML},
		{"text after", after("x"), saml.ReasonXML},
		{"comment after", after("<!-- x -->"), saml.ReasonXML},
		{"comment before", before("<!-- x -->"), saml.ReasonXML},
		{"text before", before("x"), saml.ReasonXML},
		{"byte order mark", before("\ufeff"), saml.ReasonXML},
		{"instruction after", after("<?x y?>"), saml.ReasonXML},
		{"instruction before", before("<?x y?>"), saml.ReasonXML},
		{"declaration not first", before("\n<?xml version=\"1.0\"?>"), saml.ReasonXML},
		{"another encoding", before("<?xml version=\"1.0\" encoding=\"UTF-7\"?>"), saml.ReasonXML},
		{"XML 1.1", before("<?xml version=\"1.1\"?>"), saml.ReasonXML},
		{"end tag after", after("</a>"), saml.ReasonXML},
		{"cut short", text(func(x string) string { return x[:len(x)-1] }), saml.ReasonXML},
		{"nothing but space", text(func(string) string { return " \n" }), saml.ReasonXML},
	})
}

// said signs dana in under a name and gives what became of it when the text
// of the signed answer is changed.
func said(t *testing.T, name string, f func(string) string) (string, map[string][]string) {
	t.Helper()
	w := newWorld(t)
	fault := set(name, "Assertion", "Subject", "NameID")
	fault.Text = func(b []byte) []byte {
		out := f(string(b))
		if out == string(b) {
			t.Fatal("the fault changes nothing")
		}
		return []byte(out)
	}
	id, err := w.signIn(t, fault)
	if err != nil {
		isRefusal(t, id, err)
		return "", nil
	}
	return id.Ref.Subject, id.Attributes
}

func TestS28_CommentDoesNotSplitAName(t *testing.T) {
	t.Parallel()
	for _, c := range []string{"<!---->", "<!-- x -->", "<!--<NameID>-->"} {
		got, _ := said(t, "root@x.evil", func(s string) string { return strings.Replace(s, "root@x.evil", "root@x"+c+".evil", 1) })
		if got != "root@x.evil" {
			t.Errorf("with %s the name is %q", c, got)
		}
		_, attrs := said(t, "root@x.evil", func(s string) string {
			return strings.Replace(s, "dana@partner.example</saml:AttributeValue", "dana@"+c+"partner.example</saml:AttributeValue", 1)
		})
		if got := attrs["mail"]; len(got) != 1 || got[0] != "dana@partner.example" {
			t.Errorf("with %s the mail is %q", c, got)
		}
	}
}

func TestS29_NothingElseSplitsAName(t *testing.T) {
	t.Parallel()
	for cut, want := range map[string]string{
		"root@x<![CDATA[.evil]]>":     "root@x.evil",
		"<![CDATA[root@x]]>.evil":     "root@x.evil",
		"root@x&#46;evil":             "root@x.evil",
		"root@x&#x2e;evil":            "root@x.evil",
		"root@x<?pi?>.evil":           "", // refused
		"root@x<x/>.evil":             "",
		"root@x<![CDATA[]]>.evil":     "", // an empty section does not survive the round trip
		"root@x&undefined;.evil":      "",
		"root@x<!---->&#46;<!-->evil": "",
	} {
		got, _ := said(t, "root@x.evil", func(s string) string { return strings.Replace(s, "root@x.evil", cut, 1) })
		if got != want {
			t.Errorf("%s is read as %q, want %q", cut, got, want)
		}
	}
}
