package saml_test

import (
	"crypto/rand"
	"encoding/base64"
	mathrand "math/rand/v2"
	"os"
	"strings"
	"testing"

	"github.com/beevik/etree"
	"github.com/gatehouse-sso/gatehouse/federation"
	"github.com/gatehouse-sso/gatehouse/federation/idptest"
	"github.com/gatehouse-sso/gatehouse/federation/saml"
)

// sealing gives every way to encrypt that is accepted.
func sealing() map[string]idptest.IDPEncryption {
	out := map[string]idptest.IDPEncryption{}
	for name, alg := range map[string]string{"AES-128": idptest.IDPAES128, "AES-192": idptest.IDPAES192, "AES-256": idptest.IDPAES256} {
		out[name+", OAEP"] = idptest.IDPEncryption{Data: alg}
		out[name+", OAEP, SHA-1 named"] = idptest.IDPEncryption{Data: alg, Digest: idptest.IDPSHA1}
		out[name+", OAEP, SHA-256"] = idptest.IDPEncryption{Data: alg, Digest: idptest.IDPSHA256}
		out[name+", OAEP of 1.1"] = idptest.IDPEncryption{Data: alg, Key: idptest.IDPOAEP11}
		out[name+", OAEP of 1.1, SHA-256, MGF SHA-1"] = idptest.IDPEncryption{Data: alg, Key: idptest.IDPOAEP11, Digest: idptest.IDPSHA256, MGF: idptest.IDPMGF1}
		out[name+", OAEP of 1.1, SHA-256 twice"] = idptest.IDPEncryption{Data: alg, Key: idptest.IDPOAEP11, Digest: idptest.IDPSHA256, MGF: idptest.IDPMGF256}
	}
	return out
}

var sealed256 = &idptest.IDPEncryption{Data: idptest.IDPAES256}

func TestEveryAcceptedEncryptionIsRead(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for name, enc := range sealing() {
		t.Run(name, func(t *testing.T) { w.accepted(t, idptest.IDPFault{Encryption: &enc}) })
	}
	for name, f := range signing(idptest.IDPFault{Encryption: sealed256}) {
		t.Run(name, func(t *testing.T) { w.accepted(t, f) })
	}
	w.refused(t, idptest.IDPFault{Encryption: sealed256, Sign: idptest.IDPSignNothing}, saml.ReasonSignatureMissing)
	without := newWorld(t, func(c *saml.Config, _ *idptest.IDPConfig) { c.Decryption = nil })
	without.refused(t, idptest.IDPFault{Encryption: &idptest.IDPEncryption{Data: idptest.IDPAES256, To: sealedTo(t)}}, saml.ReasonEncryption)
}

// The EncryptedKey may stand beside the EncryptedData, and may say whose it is.
func TestKeysBesideTheDataAreFound(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	beside := func(recipient string) idptest.IDPFault {
		return idptest.IDPFault{Encryption: sealed256, Sealed: func(e *etree.Element) {
			info := at(e, "EncryptedData", "KeyInfo")
			key := at(info, "EncryptedKey")
			info.RemoveChild(key)
			info.CreateElement("ds:RetrievalMethod").CreateAttr("URI", "#_key")
			key.CreateAttr("xmlns:xenc", "http://www.w3.org/2001/04/xmlenc#")
			key.CreateAttr("xmlns:ds", "http://www.w3.org/2000/09/xmldsig#")
			key.CreateAttr("Id", "_key")
			key.CreateAttr("Recipient", recipient)
			e.AddChild(key)
		}}
	}
	w.accepted(t, beside(entity))
	w.refused(t, beside("https://other.example"), saml.ReasonEncryption)
}

func setAlg(alg string, path ...string) func(e *etree.Element) {
	return func(e *etree.Element) { at(e, path...).CreateAttr("Algorithm", alg) }
}

func cipherText(b []byte, path ...string) func(e *etree.Element) {
	return func(e *etree.Element) {
		at(e, append(path, "CipherData", "CipherValue")...).SetText(base64.StdEncoding.EncodeToString(b))
	}
}

var (
	encData = []string{"EncryptedData"}
	encKey  = []string{"EncryptedData", "KeyInfo", "EncryptedKey"}
)

func TestS57_EncryptedGarbageIsRefused(t *testing.T) {
	t.Parallel()
	const xenc = "http://www.w3.org/2001/04/xmlenc#"
	random := func(n int) []byte { b := make([]byte, n); _, _ = rand.Read(b); return b }
	many := func(n int) func(e *etree.Element) {
		return func(e *etree.Element) {
			info := at(e, "EncryptedData", "KeyInfo")
			for range n {
				info.AddChild(at(info, "EncryptedKey").Copy())
			}
		}
	}
	two := func(a, b func(*etree.Element)) func(*etree.Element) {
		return func(e *etree.Element) { a(e); b(e) }
	}
	w := newWorld(t)
	for name, tt := range map[string]struct {
		f    func(e *etree.Element)
		code string
	}{
		"CBC, 17 bytes":     {two(setAlg(xenc+"aes128-cbc", "EncryptedData", "EncryptionMethod"), cipherText(random(17), encData...)), saml.ReasonAlgorithm},
		"CBC":               {setAlg(xenc+"aes256-cbc", "EncryptedData", "EncryptionMethod"), saml.ReasonAlgorithm},
		"3DES":              {setAlg(xenc+"tripledes-cbc", "EncryptedData", "EncryptionMethod"), saml.ReasonAlgorithm},
		"no algorithm":      {setAlg("", "EncryptedData", "EncryptionMethod"), saml.ReasonAlgorithm},
		"RSA 1.5":           {setAlg(xenc+"rsa-1_5", append(encKey, "EncryptionMethod")...), saml.ReasonAlgorithm},
		"key wrap":          {setAlg(xenc+"kw-aes128", append(encKey, "EncryptionMethod")...), saml.ReasonAlgorithm},
		"GCM, 11 bytes":     {cipherText(random(11), encData...), saml.ReasonEncryption},
		"GCM, 12 bytes":     {cipherText(random(12), encData...), saml.ReasonEncryption},
		"GCM, 27 bytes":     {cipherText(random(27), encData...), saml.ReasonEncryption},
		"GCM, 28 bytes":     {cipherText(random(28), encData...), saml.ReasonEncryption},
		"GCM, random":       {cipherText(random(500), encData...), saml.ReasonEncryption},
		"empty":             {cipherText(nil, encData...), saml.ReasonEncryption},
		"empty key":         {cipherText(nil, encKey...), saml.ReasonEncryption},
		"random key":        {cipherText(random(256), encKey...), saml.ReasonEncryption},
		"long key":          {cipherText(random(4096), encKey...), saml.ReasonEncryption},
		"not base64":        {func(e *etree.Element) { at(e, "EncryptedData", "CipherData", "CipherValue").SetText("%%%") }, saml.ReasonEncryption},
		"a key for AES-128": {setAlg(idptest.IDPAES128, "EncryptedData", "EncryptionMethod"), saml.ReasonEncryption},
		"another digest": {func(e *etree.Element) {
			at(e, append(encKey, "EncryptionMethod")...).CreateElement("ds:DigestMethod").CreateAttr("Algorithm", idptest.IDPSHA256)
		}, saml.ReasonEncryption},
		"an unknown digest": {func(e *etree.Element) {
			at(e, append(encKey, "EncryptionMethod")...).CreateElement("ds:DigestMethod").CreateAttr("Algorithm", "urn:x:md5")
		}, saml.ReasonAlgorithm},
		"no data":        {func(e *etree.Element) { e.RemoveChild(at(e, "EncryptedData")) }, saml.ReasonEncryption},
		"data twice":     {func(e *etree.Element) { e.AddChild(at(e, "EncryptedData").Copy()) }, saml.ReasonEncryption},
		"no key":         {func(e *etree.Element) { at(e, "EncryptedData").RemoveChild(at(e, "EncryptedData", "KeyInfo")) }, saml.ReasonEncryption},
		"no cipher data": {func(e *etree.Element) { at(e, "EncryptedData").RemoveChild(at(e, "EncryptedData", "CipherData")) }, saml.ReasonEncryption},
		"a reference for a text": {func(e *etree.Element) {
			d := at(e, "EncryptedData", "CipherData")
			d.RemoveChild(at(d, "CipherValue"))
			d.CreateElement("xenc:CipherReference").CreateAttr("URI", "http://127.0.0.1:1/")
		}, saml.ReasonEncryption},
		"key within a key": {func(e *etree.Element) {
			key := at(e, encKey...)
			inner := key.Copy()
			key.RemoveChild(at(key, "CipherData"))
			key.AddChild(inner)
		}, saml.ReasonEncryption},
		"400 keys": {many(400), saml.ReasonEncryption},
		"5 keys":   {many(4), saml.ReasonEncryption},
	} {
		t.Run(name, func(t *testing.T) {
			// Anybody can send it: nothing is signed.
			w.refused(t, idptest.IDPFault{Sign: idptest.IDPSignNothing, Encryption: sealed256, Sealed: tt.f}, tt.code)
		})
	}
}

func TestS58_EveryFailedDecryptionLooksTheSame(t *testing.T) {
	t.Parallel()
	variants := 150
	if os.Getenv("GATEHOUSE_FAULTS") != "" {
		variants = 2000
	}
	w := newWorld(t)
	ch, pending, err := w.sp.Begin(t.Context(), federation.Login{})
	if err != nil {
		t.Fatal(err)
	}
	q := question(t, w.idp, ch)
	good, err := w.idp.Response(q, "dana", idptest.IDPFault{Encryption: sealed256, Sign: idptest.IDPSignAssertion})
	if err != nil {
		t.Fatal(err)
	}
	form, _ := w.idp.Answer(q, "dana", idptest.IDPFault{Encryption: sealed256})
	if _, err := w.sp.Finish(post(t, form), pending); err != nil {
		t.Fatalf("positive control: %v", err)
	}
	rnd := mathrand.New(mathrand.NewPCG(1, 2))
	for i := range variants {
		doc := etree.NewDocument()
		if err := doc.ReadFromBytes(good); err != nil {
			t.Fatal(err)
		}
		e := at(doc.Root(), "EncryptedAssertion")
		path := encData
		if i%2 == 0 {
			path = encKey
		}
		el := at(e, append(path, "CipherData", "CipherValue")...)
		b, err := base64.StdEncoding.DecodeString(el.Text())
		if err != nil {
			t.Fatal(err)
		}
		switch i % 6 {
		case 0, 1, 2, 3:
			b[rnd.IntN(len(b))] ^= byte(1 + rnd.IntN(255))
		case 4:
			b = b[:rnd.IntN(len(b))]
		case 5:
			b = append(b, byte(i))
		}
		el.SetText(base64.StdEncoding.EncodeToString(b))
		raw, err := doc.WriteToBytes()
		if err != nil {
			t.Fatal(err)
		}
		form.Set("SAMLResponse", base64.StdEncoding.EncodeToString(raw))
		id, err := w.sp.Finish(post(t, form), pending)
		isRefusal(t, id, err, saml.ReasonEncryption)
		if want := "saml.encryption: the encrypted assertion can not be decrypted"; err.Error() != want {
			t.Fatalf("variant %d is answered %q, want %q", i, err, want)
		}
	}
}

func TestS59_UnsignedAssertionIsNotSignedByEncryption(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.refused(t, idptest.IDPFault{Sign: idptest.IDPSignNothing, Encryption: sealed256}, saml.ReasonSignatureMissing)
	w.refused(t, idptest.IDPFault{Key: evilKey(), Sign: idptest.IDPSignAssertion, Encryption: sealed256}, saml.ReasonSignature)
	// What is not an assertion, or more than one, does not become one inside.
	seal := func(plain func(assertion string) string) idptest.IDPFault {
		return idptest.IDPFault{Sign: idptest.IDPSignAssertion, Forge: func(r *etree.Element) {
			a := at(r, "Assertion")
			doc := etree.NewDocumentWithRoot(a.Copy())
			s, err := doc.WriteToString()
			if err != nil {
				t.Error(err)
			}
			enc := *sealed256
			enc.To = sealedTo(t)
			e, err := enc.Seal([]byte(plain(s)))
			if err != nil {
				t.Error(err)
			}
			r.RemoveChild(a)
			r.AddChild(e)
		}}
	}
	w.accepted(t, seal(func(s string) string { return s }))
	w.refused(t, seal(func(s string) string { return s + s }), saml.ReasonXML)
	w.refused(t, seal(func(s string) string { return "<!DOCTYPE r>" + s }), saml.ReasonXML)
	w.refused(t, seal(func(string) string { return "no XML" }), saml.ReasonXML)
	w.refused(t, seal(func(string) string { return "<a/>" }), saml.ReasonStructure)
	w.refused(t, seal(func(s string) string {
		return `<saml:EncryptedAssertion xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion">` + s + `</saml:EncryptedAssertion>`
	}), saml.ReasonStructure)
	w.refused(t, seal(func(s string) string { return strings.Replace(s, dana, "root", 1) }), saml.ReasonSignature)
	w.refused(t, seal(func(s string) string {
		return strings.Replace(s, "</saml:Assertion>", "<saml:Advice>"+s+"</saml:Advice></saml:Assertion>", 1)
	}), saml.ReasonStructure)
	// Nor one that bears the ID of its response.
	twin := policy(func(r *etree.Element) { at(r, "Assertion").CreateAttr("ID", r.SelectAttrValue("ID", "")) })
	twin.Encryption = sealed256
	w.refused(t, twin, saml.ReasonStructure)
	// Nor beside a plain one.
	w.refused(t, idptest.IDPFault{Sign: idptest.IDPSignAssertion, Forge: func(r *etree.Element) {
		seal(func(s string) string { return s }).Forge(r)
		r.AddChild(etree.NewElement("saml:Assertion"))
	}}, saml.ReasonStructure)
}

func TestS60_OtherSignedXMLIsNotAResponse(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	as := func(f func(r *etree.Element)) idptest.IDPFault {
		return idptest.IDPFault{Sign: idptest.IDPSignResponse, Policy: f}
	}
	w.refused(t, as(func(r *etree.Element) { r.Tag = "LogoutResponse" }), saml.ReasonStructure)
	w.refused(t, as(func(r *etree.Element) { r.Tag = "ArtifactResponse" }), saml.ReasonStructure)
	w.refused(t, as(func(r *etree.Element) { r.Space = "saml" }), saml.ReasonStructure)
	w.refused(t, text(func(string) string { return string(w.idp.SignedMetadata(idpKey())) }), saml.ReasonStructure)
	w.refused(t, idptest.IDPFault{Text: func(b []byte) []byte {
		doc := etree.NewDocument()
		if err := doc.ReadFromBytes(b); err != nil {
			t.Error(err)
		}
		out := etree.NewDocumentWithRoot(at(doc.Root(), "Assertion").Copy())
		b, _ = out.WriteToBytes()
		return b
	}}, saml.ReasonStructure)
	// An assertion of the Advice, signed by the right key, is no answer either,
	// and having one is not SSO.
	advise := func(sign idptest.IDPSign, move bool) idptest.IDPFault {
		return idptest.IDPFault{Sign: sign, Forge: func(r *etree.Element) {
			a := at(r, "Assertion")
			inner := a.Copy()
			inner.CreateAttr("ID", "_inner")
			adv := etree.NewElement("saml:Advice")
			adv.AddChild(inner)
			a.InsertChildAt(at(a, "AuthnStatement").Index(), adv)
			if move {
				r.RemoveChild(a)
				r.AddChild(inner)
			}
		}, Policy: nil}
	}
	w.refused(t, advise(idptest.IDPSignAssertion, false), saml.ReasonStructure)
	w.refused(t, advise(idptest.IDPSignAssertion, true), saml.ReasonStructure)
	f := advise(idptest.IDPSignBoth, false)
	f.Policy, f.Forge = f.Forge, nil
	w.refused(t, f, saml.ReasonStructure)
}
