package saml

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1" //nolint:gosec // only where an administrator allowed it
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"fmt"
	"hash"
	"math/big"
	"strings"

	"github.com/beevik/etree"
	"github.com/gatehouse-sso/gatehouse/federation"
	dsig "github.com/russellhaering/goxmldsig"
)

const (
	algEnveloped   = "http://www.w3.org/2000/09/xmldsig#enveloped-signature"
	algRSASHA1     = "http://www.w3.org/2000/09/xmldsig#rsa-sha1"
	algRSASHA256   = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"
	algECDSASHA256 = "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256"
	algSHA1        = "http://www.w3.org/2000/09/xmldsig#sha1"
	algSHA256      = "http://www.w3.org/2001/04/xmlenc#sha256"
)

// digestOf gives the hash of a DigestMethod.
func digestOf(uri string, allowSHA1 bool) (crypto.Hash, bool) {
	switch uri {
	case algSHA256:
		return crypto.SHA256, true
	case "http://www.w3.org/2001/04/xmldsig-more#sha384":
		return crypto.SHA384, true
	case "http://www.w3.org/2001/04/xmlenc#sha512":
		return crypto.SHA512, true
	case algSHA1:
		return crypto.SHA1, allowSHA1
	}
	return 0, false
}

// methodOf gives key type and hash of a SignatureMethod. There is no HMAC in
// it: a public key must never come to serve as a secret.
func methodOf(uri string, allowSHA1 bool) (kind string, h crypto.Hash, ok bool) {
	switch uri {
	case algRSASHA256:
		return "rsa", crypto.SHA256, true
	case "http://www.w3.org/2001/04/xmldsig-more#rsa-sha384":
		return "rsa", crypto.SHA384, true
	case "http://www.w3.org/2001/04/xmldsig-more#rsa-sha512":
		return "rsa", crypto.SHA512, true
	case algECDSASHA256:
		return "ecdsa", crypto.SHA256, true
	case "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha384":
		return "ecdsa", crypto.SHA384, true
	case "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha512":
		return "ecdsa", crypto.SHA512, true
	case algRSASHA1:
		return "rsa", crypto.SHA1, allowSHA1
	}
	return "", 0, false
}

// sum hashes b. The hash functions are named here so that they are linked in.
func sum(h crypto.Hash, b []byte) []byte {
	var d hash.Hash
	switch h {
	case crypto.SHA1:
		d = sha1.New() //nolint:gosec // see digestOf
	case crypto.SHA384:
		d = sha512.New384()
	case crypto.SHA512:
		d = sha512.New()
	default:
		d = sha256.New()
	}
	d.Write(b)
	return d.Sum(nil)
}

// usable says why a public key is not accepted for signatures, nil if it is.
func usable(key crypto.PublicKey) error {
	switch k := key.(type) {
	case *rsa.PublicKey:
		if n := k.N.BitLen(); n < 2048 || n > 16384 {
			return fmt.Errorf("an RSA key has %d bits; 2048 to 16384 are accepted", n)
		}
	case *ecdsa.PublicKey:
		if n := k.Curve.Params().BitSize; n < 256 {
			return fmt.Errorf("an ECDSA key has %d bits; at least 256 are accepted", n)
		}
	default:
		return fmt.Errorf("keys of type %T are not accepted", key)
	}
	return nil
}

// verifyBytes checks a signature value as XML Signature writes it: PKCS #1
// for RSA; r and s side by side for ECDSA (RFC 4050 §3.3).
func verifyBytes(key crypto.PublicKey, kind string, h crypto.Hash, msg, sig []byte) bool {
	switch k := key.(type) {
	case *rsa.PublicKey:
		return kind == "rsa" && rsa.VerifyPKCS1v15(k, h, sum(h, msg), sig) == nil
	case *ecdsa.PublicKey:
		size := (k.Curve.Params().BitSize + 7) / 8
		if kind != "ecdsa" || len(sig) != 2*size {
			return false
		}
		r, s := new(big.Int).SetBytes(sig[:size]), new(big.Int).SetBytes(sig[size:])
		return ecdsa.Verify(k, sum(h, msg), r, s)
	}
	return false
}

// A trust is what signatures are checked against: keys from metadata, never
// from the message.
type trust struct {
	keys []crypto.PublicKey
	sha1 bool
}

// verify checks the one signature that stands directly in el, which is found
// in the document at the positions path, and returns what that signature
// covers: el parsed again from the bytes that were hashed. The order of the
// steps keeps work small for whoever has no key: until SignedInfo is known to
// be genuine, nothing but SignedInfo is canonicalised.
func (t trust) verify(doc *document, path []int, el, sig *node) (*node, error) {
	id, _ := el.attr("ID")
	info, value, err := signatureParts(sig)
	if err != nil {
		return nil, err
	}
	infoPath := append(append([]int(nil), path...), sig.pos, info.pos)
	prefixes, err := inclusive(info.kids[0])
	if err != nil {
		return nil, err
	}
	canon, err := canonical(doc.tree, infoPath, -1, prefixes)
	if err != nil {
		return nil, err
	}
	if info, err = scan(canon, maxMetadata, nil); err != nil {
		return nil, err
	}
	// From here on info is what was signed, if the signature is good.
	ref, err := readSignedInfo(info, t.sha1)
	if err != nil {
		return nil, err
	}
	good := false
	for _, k := range t.keys {
		good = good || verifyBytes(k, ref.kind, ref.method, canon, value)
	}
	if !good {
		return nil, federation.Refuse(ReasonSignature, "no key of the identity provider's metadata made this signature")
	}
	if id == "" || ref.uri != "#"+id {
		return nil, federation.Refuse(ReasonStructure, "the signature covers another element than the one that holds it")
	}
	if canon, err = canonical(doc.tree, path, sig.pos, ref.prefixes); err != nil {
		return nil, err
	}
	if subtle.ConstantTimeCompare(sum(ref.hash, canon), ref.digest) != 1 {
		return nil, federation.Refuse(ReasonSignature, "what was signed has been changed")
	}
	seen, err := scan(canon, 2*maxMetadata, nil)
	if err != nil {
		return nil, err
	}
	if seen.name != el.name || seen.attrValue("ID") != id {
		return nil, federation.Refuse(ReasonStructure, "the signature covers another element than the one that holds it")
	}
	return seen, nil
}

// signatureParts takes a Signature apart and insists on its shape:
// SignedInfo, SignatureValue and at most a KeyInfo, which is not read.
func signatureParts(sig *node) (info *node, value []byte, err error) {
	odd := federation.Refuse(ReasonStructure, "the signature is not built as SAML builds it")
	commented := false
	sig.walk(func(n, _ *node) { commented = commented || n.commented })
	if commented || len(sig.kids) < 2 || len(sig.kids) > 3 || !sig.elementsOnly() {
		return nil, nil, odd
	}
	for i, want := range []string{"SignedInfo", "SignatureValue", "KeyInfo"}[:len(sig.kids)] {
		if sig.kids[i].name != (name{nsSignature, want}) {
			return nil, nil, odd
		}
	}
	info = sig.kids[0]
	if len(info.kids) == 0 || info.kids[0].name != (name{nsSignature, "CanonicalizationMethod"}) {
		return nil, nil, odd
	}
	value, ok := sig.kids[1].binary()
	if !ok {
		return nil, nil, odd
	}
	return info, value, nil
}

// A reference is what a SignedInfo says.
type reference struct {
	kind     string // "rsa" or "ecdsa"
	method   crypto.Hash
	uri      string
	prefixes string // InclusiveNamespaces of the transform
	hash     crypto.Hash
	digest   []byte
}

// readSignedInfo accepts exactly what saml-core-2.0-os §5.4 describes: one
// Reference, the enveloped transform and then exclusive canonicalisation.
func readSignedInfo(info *node, allowSHA1 bool) (reference, error) {
	odd := federation.Refuse(ReasonStructure, "the signature is not built as SAML builds it")
	if info.name != (name{nsSignature, "SignedInfo"}) || !kidsAre(info, nsSignature, "CanonicalizationMethod", "SignatureMethod", "Reference") {
		return reference{}, odd
	}
	method, refEl := info.kids[1], info.kids[2]
	if len(method.kids) > 0 || !kidsAre(refEl, nsSignature, "Transforms", "DigestMethod", "DigestValue") {
		return reference{}, odd
	}
	transforms, digestMethod, digestValue := refEl.kids[0], refEl.kids[1], refEl.kids[2]
	if !kidsAre(transforms, nsSignature, "Transform", "Transform") || len(digestMethod.kids) > 0 {
		return reference{}, odd
	}
	var ref reference
	var ok bool
	if ref.kind, ref.method, ok = methodOf(method.attrValue("Algorithm"), allowSHA1); !ok {
		return reference{}, federation.Refuse(ReasonAlgorithm, "the signature's method is not accepted: %.100q", method.attrValue("Algorithm"))
	}
	if ref.hash, ok = digestOf(digestMethod.attrValue("Algorithm"), allowSHA1); !ok {
		return reference{}, federation.Refuse(ReasonAlgorithm, "the signature's digest method is not accepted: %.100q", digestMethod.attrValue("Algorithm"))
	}
	first, second := transforms.kids[0], transforms.kids[1]
	if first.attrValue("Algorithm") != algEnveloped || len(first.kids) > 0 {
		return reference{}, odd
	}
	var err error
	if ref.prefixes, err = inclusive(second); err != nil {
		return reference{}, err
	}
	ref.uri = refEl.attrValue("URI")
	if ref.digest, ok = digestValue.binary(); !ok {
		return reference{}, odd
	}
	return ref, nil
}

// kidsAre reports whether the children of n are exactly these, in this order,
// with nothing but white space around them.
func kidsAre(n *node, space string, locals ...string) bool {
	if len(n.kids) != len(locals) || !n.elementsOnly() {
		return false
	}
	for i, l := range locals {
		if n.kids[i].name != (name{space, l}) {
			return false
		}
	}
	return true
}

// inclusive reads the prefix list of an exclusive canonicalisation, and
// refuses every other method.
func inclusive(method *node) (string, error) {
	if method.attrValue("Algorithm") != nsExcC14N {
		return "", federation.Refuse(ReasonAlgorithm, "the signature uses a transform or canonicalisation that is not accepted: %.100q", method.attrValue("Algorithm"))
	}
	if len(method.kids) == 0 {
		return "", nil
	}
	if !kidsAre(method, nsExcC14N, "InclusiveNamespaces") || len(method.kids[0].kids) > 0 {
		return "", federation.Refuse(ReasonStructure, "the signature is not built as SAML builds it")
	}
	return method.kids[0].attrValue("PrefixList"), nil
}

// canonical gives the exclusive canonical form (xml-exc-c14n, without
// comments) of the element at path, without its child number drop if that is
// not negative.
func canonical(el *etree.Element, path []int, drop int, prefixes string) ([]byte, error) {
	outer := map[string]string{}
	for _, i := range path {
		for _, a := range el.Attr {
			if a.Space == "xmlns" || a.Space == "" && a.Key == "xmlns" {
				outer[a.FullKey()] = a.Value
			}
		}
		el = el.ChildElements()[i]
	}
	c := el.Copy()
	if drop >= 0 {
		c.RemoveChild(c.ChildElements()[drop])
	}
	for key, space := range outer {
		if c.SelectAttr(key) == nil {
			c.CreateAttr(key, space)
		}
	}
	b, err := dsig.MakeC14N10ExclusiveCanonicalizerWithPrefixList(prefixes).Canonicalize(c)
	if err != nil {
		return nil, federation.Refuse(ReasonXML, "the XML has no canonical form")
	}
	return b, nil
}

// signingMethod is the SignatureMethod of signBytes with this key.
func signingMethod(key crypto.Signer) string {
	if _, isEC := key.Public().(*ecdsa.PublicKey); isEC {
		return algECDSASHA256
	}
	return algRSASHA256
}

// signBytes signs msg by signingMethod and gives the value as verifyBytes
// takes it.
func signBytes(key crypto.Signer, msg []byte) ([]byte, error) {
	sig, err := key.Sign(rand.Reader, sum(crypto.SHA256, msg), crypto.SHA256)
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	pub, isEC := key.Public().(*ecdsa.PublicKey)
	if !isEC {
		return sig, nil
	}
	var v struct{ R, S *big.Int }
	if _, err := asn1.Unmarshal(sig, &v); err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	size := (pub.Curve.Params().BitSize + 7) / 8
	sig = make([]byte, 2*size)
	v.R.FillBytes(sig[:size])
	v.S.FillBytes(sig[size:])
	return sig, nil
}

// signElement puts an enveloped signature into the root el, as its child
// number at. el has an ID.
func signElement(el *etree.Element, at int, key crypto.Signer, cert *x509.Certificate) error {
	canonicaliser := dsig.MakeC14N10ExclusiveCanonicalizerWithPrefixList("")
	canon, err := canonicaliser.Canonicalize(el.Copy())
	if err != nil {
		return fmt.Errorf("sign: %w", err)
	}
	sig := etree.NewElement("ds:Signature")
	sig.CreateAttr("xmlns:ds", nsSignature)
	info := sig.CreateElement("ds:SignedInfo")
	info.CreateElement("ds:CanonicalizationMethod").CreateAttr("Algorithm", nsExcC14N)
	info.CreateElement("ds:SignatureMethod").CreateAttr("Algorithm", signingMethod(key))
	ref := info.CreateElement("ds:Reference")
	ref.CreateAttr("URI", "#"+el.SelectAttrValue("ID", ""))
	transforms := ref.CreateElement("ds:Transforms")
	transforms.CreateElement("ds:Transform").CreateAttr("Algorithm", algEnveloped)
	transforms.CreateElement("ds:Transform").CreateAttr("Algorithm", nsExcC14N)
	ref.CreateElement("ds:DigestMethod").CreateAttr("Algorithm", algSHA256)
	ref.CreateElement("ds:DigestValue").SetText(base64.StdEncoding.EncodeToString(sum(crypto.SHA256, canon)))

	apart := info.Copy()
	apart.CreateAttr("xmlns:ds", nsSignature)
	if canon, err = canonicaliser.Canonicalize(apart); err != nil {
		return fmt.Errorf("sign: %w", err)
	}
	value, err := signBytes(key, canon)
	if err != nil {
		return err
	}
	sig.CreateElement("ds:SignatureValue").SetText(base64.StdEncoding.EncodeToString(value))
	sig.CreateElement("ds:KeyInfo").CreateElement("ds:X509Data").CreateElement("ds:X509Certificate").
		SetText(base64.StdEncoding.EncodeToString(cert.Raw))
	el.InsertChildAt(at, sig)
	return nil
}

// parseCertificate reads a certificate as metadata writes it: base64, broken
// into lines as anybody likes.
func parseCertificate(text string) (*x509.Certificate, error) {
	der, err := base64.StdEncoding.DecodeString(squeeze(text))
	if err != nil {
		return nil, fmt.Errorf("a certificate is not base64")
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("a certificate can not be read")
	}
	return c, nil
}

// shortAlgorithm is the last part of an algorithm's URI, for sentences.
func shortAlgorithm(uri string) string {
	if i := strings.LastIndexAny(uri, "#/"); i >= 0 {
		uri = uri[i+1:]
	}
	return fmt.Sprintf("%.40q", uri)
}
