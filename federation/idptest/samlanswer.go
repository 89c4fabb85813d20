package idptest

import (
	"bytes"
	"cmp"
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"errors"
	"html/template"
	"math/big"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/beevik/etree"
	dsig "github.com/russellhaering/goxmldsig"
)

// An IDPFault is what an IDP does otherwise than it should. Policy is broken
// before anything is signed, as a careless or hostile provider would; answers
// are forged after it, as an attacker on the way would. The zero IDPFault
// changes nothing.
type IDPFault struct {
	Cancel bool          // answer that the person said no
	Weak   bool          // answer with the ordinary context, whatever was asked
	Before time.Duration // the person signed in that long ago, and is not asked again

	Policy     func(response *etree.Element)  // before anything is signed
	SignedInfo func(info *etree.Element)      // before the SignatureValue is made
	Sealed     func(encrypted *etree.Element) // the EncryptedAssertion, before the response is signed
	Forge      func(response *etree.Element)  // after everything is signed
	Text       func(xml []byte) []byte        // what is sent
	Query      func(string) string            // of a logout message by redirect: what stands in the address

	Sign       IDPSign        // zero: as configured
	Key        IDPKey         // signs instead of the provider's own
	Hash       crypto.Hash    // of signature and digest; zero: SHA-256
	Encryption *IDPEncryption // nil: as configured
}

// An IDPEncryption says how assertions are encrypted: the URIs of XML
// Encryption. The zero value encrypts nothing.
type IDPEncryption struct {
	Data   string // block encryption, such as xmlenc11#aes256-gcm
	Key    string // key transport; empty: xmlenc#rsa-oaep-mgf1p
	Digest string // its digest; empty: not said, which means SHA-1
	MGF    string // its mask, for xmlenc11#rsa-oaep; empty: not said, SHA-1
	To     *rsa.PublicKey
}

// Algorithms for IDPEncryption.
const (
	IDPAES128 = "http://www.w3.org/2009/xmlenc11#aes128-gcm"
	IDPAES192 = "http://www.w3.org/2009/xmlenc11#aes192-gcm"
	IDPAES256 = "http://www.w3.org/2009/xmlenc11#aes256-gcm"
	IDPOAEP   = "http://www.w3.org/2001/04/xmlenc#rsa-oaep-mgf1p"
	IDPOAEP11 = "http://www.w3.org/2009/xmlenc11#rsa-oaep"
	IDPSHA1   = "http://www.w3.org/2000/09/xmldsig#sha1"
	IDPSHA256 = "http://www.w3.org/2001/04/xmlenc#sha256"
	IDPMGF1   = "http://www.w3.org/2009/xmlenc11#mgf1sha1"
	IDPMGF256 = "http://www.w3.org/2009/xmlenc11#mgf1sha256"
)

// An IDPKey signs for an identity provider.
type IDPKey struct {
	Private     crypto.Signer
	Certificate *x509.Certificate
}

// NewIDPKey makes a key of the kind RSA (2048 bits), RSA1024 or ECDSA (P-256),
// with a certificate of its own that is valid for ten years.
func NewIDPKey(kind string) IDPKey {
	now := time.Now()
	return NewIDPKeyFor(kind, now.Add(-time.Hour), now.AddDate(10, 0, 0))
}

// NewIDPKeyFor is NewIDPKey with the dates of the certificate.
func NewIDPKeyFor(kind string, from, to time.Time) IDPKey {
	var key crypto.Signer
	var err error
	switch kind {
	case "ECDSA":
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "RSA1024":
		key, err = rsa.GenerateKey(rand.Reader, 1024)
	default:
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	}
	if err != nil {
		panic(err) // without chance there is nothing to test
	}
	t := &x509.Certificate{
		SerialNumber: big.NewInt(now63()), Subject: pkix.Name{CommonName: "idptest"},
		NotBefore: from, NotAfter: to,
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		panic(err) // as above
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err) // it was just made
	}
	return IDPKey{Private: key, Certificate: cert}
}

// now63 is a serial number: random, positive.
func now63() int64 {
	n, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		panic(err)
	}
	return n.Int64() + 1
}

// Answer makes the form that answers q for the person with that user name.
func (p *IDP) Answer(q IDPQuestion, user string, f IDPFault) (url.Values, error) {
	b, err := p.Response(q, user, f)
	if err != nil {
		return nil, err
	}
	form := url.Values{"SAMLResponse": {base64.StdEncoding.EncodeToString(b)}}
	if q.RelayState != "" {
		form.Set("RelayState", q.RelayState)
	}
	return form, nil
}

// Response makes the XML of an answer.
func (p *IDP) Response(q IDPQuestion, user string, f IDPFault) ([]byte, error) {
	who, ok := personByUser(p.cfg.People, user)
	if !ok && !f.Cancel {
		return nil, errors.New("nobody of that name is here")
	}
	p.mu.Lock()
	key, peer := p.keys[0], p.peers[q.Issuer]
	p.mu.Unlock()
	if f.Key.Private != nil {
		key = f.Key
	}
	sign := cmp.Or(f.Sign, p.cfg.Sign)
	enc := p.cfg.Encryption
	if f.Encryption != nil {
		enc = *f.Encryption
	}
	if enc.To == nil {
		enc.To = peer.encrypt
	}

	response := p.response(q, f)
	acr := ACRSingle
	if who.SecondFactor && slices.Contains(q.ACR, ACRMulti) && !f.Weak {
		acr = ACRMulti
	}
	switch {
	case f.Cancel:
		setStatus(response, "Responder", "RequestDenied")
	case len(q.ACR) > 0 && !slices.Contains(q.ACR, acr) && !f.Weak:
		setStatus(response, "Responder", "NoAuthnContext")
	default:
		response.AddChild(p.assertion(q, who, acr, f))
	}
	if f.Policy != nil {
		f.Policy(response)
	}
	for _, a := range response.SelectElements("saml:Assertion") {
		if sign&IDPSignAssertion != 0 {
			key.sign(a, 1, f)
		}
		if enc.Data != "" && enc.To != nil {
			sealed, err := enc.seal(a)
			if err != nil {
				return nil, err
			}
			if f.Sealed != nil {
				f.Sealed(sealed)
			}
			response.InsertChildAt(a.Index(), sealed)
			response.RemoveChild(a)
		}
	}
	if sign&IDPSignResponse != 0 {
		key.sign(response, 1, f)
	}
	if f.Forge != nil {
		f.Forge(response)
	}
	b := idpBytes(response)
	if f.Text != nil {
		b = f.Text(b)
	}
	return b, nil
}

func (p *IDP) response(q IDPQuestion, _ IDPFault) *etree.Element {
	r := etree.NewElement("samlp:Response")
	r.CreateAttr("xmlns:samlp", idpProtocol)
	r.CreateAttr("xmlns:saml", idpAsserted)
	r.CreateAttr("ID", idpID())
	r.CreateAttr("Version", "2.0")
	r.CreateAttr("IssueInstant", idpTime(p.cfg.Now()))
	r.CreateAttr("Destination", q.ACS)
	r.CreateAttr("InResponseTo", q.ID)
	r.CreateElement("saml:Issuer").SetText(p.EntityID())
	r.CreateElement("samlp:Status").CreateElement("samlp:StatusCode").CreateAttr("Value", idpStatus+"Success")
	return r
}

func setStatus(response *etree.Element, top, sub string) {
	code := response.SelectElement("samlp:Status").SelectElement("samlp:StatusCode")
	code.CreateAttr("Value", idpStatus+top)
	code.CreateElement("samlp:StatusCode").CreateAttr("Value", idpStatus+sub)
}

// assertion says who signed in. It declares its own namespaces, so that it can
// be encrypted apart from the response.
func (p *IDP) assertion(q IDPQuestion, who Person, acr string, f IDPFault) *etree.Element {
	now := p.cfg.Now()
	a := etree.NewElement("saml:Assertion")
	a.CreateAttr("xmlns:saml", idpAsserted)
	a.CreateAttr("ID", idpID())
	a.CreateAttr("Version", "2.0")
	a.CreateAttr("IssueInstant", idpTime(now))
	a.CreateElement("saml:Issuer").SetText(p.EntityID())

	subject := a.CreateElement("saml:Subject")
	id := subject.CreateElement("saml:NameID")
	id.CreateAttr("Format", "urn:oasis:names:tc:SAML:2.0:nameid-format:persistent")
	id.CreateAttr("NameQualifier", p.EntityID())
	id.CreateAttr("SPNameQualifier", q.Issuer)
	id.SetText(who.ID)
	sc := subject.CreateElement("saml:SubjectConfirmation")
	sc.CreateAttr("Method", "urn:oasis:names:tc:SAML:2.0:cm:bearer")
	data := sc.CreateElement("saml:SubjectConfirmationData")
	data.CreateAttr("InResponseTo", q.ID)
	data.CreateAttr("NotOnOrAfter", idpTime(now.Add(idpAssertionLife)))
	data.CreateAttr("Recipient", q.ACS)

	c := a.CreateElement("saml:Conditions")
	c.CreateAttr("NotBefore", idpTime(now))
	c.CreateAttr("NotOnOrAfter", idpTime(now.Add(idpAssertionLife)))
	c.CreateElement("saml:AudienceRestriction").CreateElement("saml:Audience").SetText(q.Issuer)

	st := a.CreateElement("saml:AuthnStatement")
	st.CreateAttr("AuthnInstant", idpTime(now.Add(-f.Before)))
	st.CreateAttr("SessionIndex", idpID())
	st.CreateAttr("SessionNotOnOrAfter", idpTime(now.Add(idpSessionLife)))
	st.CreateElement("saml:AuthnContext").CreateElement("saml:AuthnContextClassRef").SetText(acr)

	attrs := a.CreateElement("saml:AttributeStatement")
	for _, at := range who.samlAttributes() {
		if len(at.values) > 0 {
			attrs.AddChild(IDPAttribute("urn:oid:"+at.oid, at.friendly, at.values...))
		}
	}
	return a
}

type samlAttribute struct {
	oid, friendly string
	values        []string
}

// samlAttributes are what is released about a person, under the names that
// the research federations use.
func (p Person) samlAttributes() []samlAttribute {
	some := func(s string) []string {
		if s == "" {
			return nil
		}
		return []string{s}
	}
	scope := ""
	if len(p.Affiliation) > 0 {
		_, scope, _ = cutLast(p.Affiliation[0], "@")
	}
	return []samlAttribute{
		{"2.16.840.1.113730.3.1.241", "displayName", some(p.Name)},
		{"2.5.4.42", "givenName", some(p.Given)},
		{"2.5.4.4", "sn", some(p.Family)},
		{"0.9.2342.19200300.100.1.3", "mail", some(p.Mail)},
		{"1.3.6.1.4.1.5923.1.1.1.6", "eduPersonPrincipalName", []string{p.User + "@" + scope}},
		{"1.3.6.1.4.1.5923.1.1.1.9", "eduPersonScopedAffiliation", p.Affiliation},
		{"1.3.6.1.4.1.5923.1.5.1.1", "isMemberOf", p.Groups},
	}
}

func cutLast(s, sep string) (before, after string, ok bool) {
	if i := bytes.LastIndex([]byte(s), []byte(sep)); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// IDPAttribute makes an Attribute element with a name in the URI format.
func IDPAttribute(nm, friendly string, values ...string) *etree.Element {
	a := etree.NewElement("saml:Attribute")
	a.CreateAttr("Name", nm)
	a.CreateAttr("NameFormat", "urn:oasis:names:tc:SAML:2.0:attrname-format:uri")
	if friendly != "" {
		a.CreateAttr("FriendlyName", friendly)
	}
	for _, v := range values {
		a.CreateElement("saml:AttributeValue").SetText(v)
	}
	return a
}

// IDPAt finds the only element at a path of local names below el, whatever
// their prefixes: IDPAt(response, "Assertion", "Subject", "NameID"). It panics
// if there is none, since a fault that does nothing tests nothing.
func IDPAt(el *etree.Element, path ...string) *etree.Element {
	for _, tag := range path {
		kids := el.ChildElements()
		i := slices.IndexFunc(kids, func(k *etree.Element) bool { return k.Tag == tag })
		if i < 0 {
			panic("there is no " + tag + " in " + el.Tag)
		}
		el = kids[i]
	}
	return el
}

// Sign puts an enveloped signature of key into el, where SAML has it: after
// the Issuer. Forgers use it too.
func (k IDPKey) Sign(el *etree.Element) { k.sign(el, 1, IDPFault{}) }

// sign puts an enveloped signature into el as its child number at. It is put
// together here and not by a library, because it must be possible to do it
// wrongly.
func (k IDPKey) sign(el *etree.Element, at int, f IDPFault) {
	hash := f.Hash
	if hash == 0 {
		hash = crypto.SHA256
	}
	method, digest := idpMethod(k.Private, hash)
	sig := etree.NewElement("ds:Signature")
	sig.CreateAttr("xmlns:ds", dsig.Namespace)
	info := sig.CreateElement("ds:SignedInfo")
	info.CreateElement("ds:CanonicalizationMethod").CreateAttr("Algorithm", dsig.CanonicalXML10ExclusiveAlgorithmId.String())
	info.CreateElement("ds:SignatureMethod").CreateAttr("Algorithm", method)
	ref := info.CreateElement("ds:Reference")
	ref.CreateAttr("URI", "#"+el.SelectAttrValue("ID", ""))
	transforms := ref.CreateElement("ds:Transforms")
	for _, t := range []dsig.AlgorithmID{dsig.EnvelopedSignatureAltorithmId, dsig.CanonicalXML10ExclusiveAlgorithmId} {
		transforms.CreateElement("ds:Transform").CreateAttr("Algorithm", t.String())
	}
	ref.CreateElement("ds:DigestMethod").CreateAttr("Algorithm", digest)
	ref.CreateElement("ds:DigestValue").SetText(base64.StdEncoding.EncodeToString(idpSum(hash, IDPCanonical(el))))
	if f.SignedInfo != nil {
		f.SignedInfo(info)
	}
	apart := info.Copy()
	apart.CreateAttr("xmlns:ds", dsig.Namespace)
	value, err := k.Private.Sign(rand.Reader, idpSum(hash, IDPCanonical(apart)), hash)
	if err != nil {
		panic(err) // keys are in memory
	}
	if pub, ok := k.Private.Public().(*ecdsa.PublicKey); ok {
		value = sideBySide(value, (pub.Curve.Params().BitSize+7)/8)
	}
	sig.CreateElement("ds:SignatureValue").SetText(base64.StdEncoding.EncodeToString(value))
	sig.CreateElement("ds:KeyInfo").CreateElement("ds:X509Data").CreateElement("ds:X509Certificate").
		SetText(base64.StdEncoding.EncodeToString(k.Certificate.Raw))
	if kids := el.ChildElements(); at < len(kids) {
		el.InsertChildAt(kids[at].Index(), sig)
	} else {
		el.AddChild(sig)
	}
}

// sideBySide turns an ASN.1 signature of ECDSA into r and s of size bytes
// each, which is how XML Signature writes it.
func sideBySide(der []byte, size int) []byte {
	var v struct{ R, S *big.Int }
	if _, err := asn1.Unmarshal(der, &v); err != nil {
		panic(err) // it was just made
	}
	return append(v.R.FillBytes(make([]byte, size)), v.S.FillBytes(make([]byte, size))...)
}

// IDPCanonical is the exclusive canonical form of el where it stands.
func IDPCanonical(el *etree.Element) []byte {
	c := el.Copy()
	for up := el.Parent(); up != nil; up = up.Parent() {
		for _, a := range up.Attr {
			if (a.Space == "xmlns" || a.FullKey() == "xmlns") && c.SelectAttr(a.FullKey()) == nil {
				c.CreateAttr(a.FullKey(), a.Value)
			}
		}
	}
	b, err := dsig.MakeC14N10ExclusiveCanonicalizerWithPrefixList("").Canonicalize(c)
	if err != nil {
		panic(err) // a fault made XML that has no canonical form
	}
	return b
}

func idpMethod(key crypto.Signer, h crypto.Hash) (method, digest string) {
	if _, ec := key.Public().(*ecdsa.PublicKey); ec {
		return dsig.ECDSASHA256SignatureMethod, IDPSHA256
	}
	switch h {
	case crypto.SHA1:
		return dsig.RSASHA1SignatureMethod, IDPSHA1
	case crypto.SHA384:
		return dsig.RSASHA384SignatureMethod, "http://www.w3.org/2001/04/xmldsig-more#sha384"
	case crypto.SHA512:
		return dsig.RSASHA512SignatureMethod, "http://www.w3.org/2001/04/xmlenc#sha512"
	}
	return dsig.RSASHA256SignatureMethod, IDPSHA256
}

func idpSum(h crypto.Hash, b []byte) []byte {
	d := h.New()
	d.Write(b)
	return d.Sum(nil)
}

// idpVerify checks a signature of the redirect binding.
func idpVerify(key crypto.PublicKey, alg string, msg, sig []byte) bool {
	sum := sha256.Sum256(msg)
	switch k := key.(type) {
	case *rsa.PublicKey:
		return alg == dsig.RSASHA256SignatureMethod && rsa.VerifyPKCS1v15(k, crypto.SHA256, sum[:], sig) == nil
	case *ecdsa.PublicKey:
		half := len(sig) / 2
		return alg == dsig.ECDSASHA256SignatureMethod &&
			ecdsa.Verify(k, sum[:], new(big.Int).SetBytes(sig[:half]), new(big.Int).SetBytes(sig[half:]))
	}
	return false
}

// seal encrypts an assertion (xmlenc-core1 §5.2.4, §5.5.2).
func (e IDPEncryption) seal(assertion *etree.Element) (*etree.Element, error) {
	return e.Seal(idpBytes(assertion))
}

// Seal makes an EncryptedAssertion of any plaintext.
func (e IDPEncryption) Seal(plain []byte) (*etree.Element, error) {
	size := map[string]int{IDPAES128: 16, IDPAES192: 24, IDPAES256: 32}[e.Data]
	if size == 0 {
		return nil, errors.New("this block encryption is not made here")
	}
	secret := make([]byte, size)
	iv := make([]byte, 12)
	_, _ = rand.Read(secret)
	_, _ = rand.Read(iv)
	block, err := aes.NewCipher(secret)
	if err != nil {
		return nil, err
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		return nil, err
	}
	opts := rsa.OAEPOptions{Hash: crypto.SHA1, MGFHash: crypto.SHA1}
	if e.Digest == IDPSHA256 {
		opts.Hash = crypto.SHA256
	}
	if e.MGF == IDPMGF256 {
		opts.MGFHash = crypto.SHA256
	}
	wrapped, err := rsa.EncryptOAEPWithOptions(rand.Reader, e.To, secret, &opts)
	if err != nil {
		return nil, err
	}
	out := etree.NewElement("saml:EncryptedAssertion")
	out.CreateAttr("xmlns:saml", idpAsserted)
	data := out.CreateElement("xenc:EncryptedData")
	data.CreateAttr("xmlns:xenc", "http://www.w3.org/2001/04/xmlenc#")
	data.CreateAttr("Type", "http://www.w3.org/2001/04/xmlenc#Element")
	data.CreateElement("xenc:EncryptionMethod").CreateAttr("Algorithm", e.Data)
	info := data.CreateElement("ds:KeyInfo")
	info.CreateAttr("xmlns:ds", dsig.Namespace)
	key := info.CreateElement("xenc:EncryptedKey")
	method := key.CreateElement("xenc:EncryptionMethod")
	method.CreateAttr("Algorithm", cmp.Or(e.Key, IDPOAEP))
	if e.Digest != "" {
		method.CreateElement("ds:DigestMethod").CreateAttr("Algorithm", e.Digest)
	}
	if e.MGF != "" {
		mgf := method.CreateElement("xenc11:MGF")
		mgf.CreateAttr("xmlns:xenc11", "http://www.w3.org/2009/xmlenc11#")
		mgf.CreateAttr("Algorithm", e.MGF)
	}
	setCipher(key, wrapped)
	setCipher(data, append(iv, gcm.Seal(nil, iv, plain, nil)...))
	return out, nil
}

func setCipher(el *etree.Element, b []byte) {
	el.CreateElement("xenc:CipherData").CreateElement("xenc:CipherValue").SetText(base64.StdEncoding.EncodeToString(b))
}

// renderPost sends the answer on its way: a form that a script posts, with a
// button for those without one.
func renderPost(w http.ResponseWriter, title, to string, form url.Values) {
	const script = "document.forms[0].submit()"
	sum := sha256.Sum256([]byte(script))
	var b bytes.Buffer
	err := postTemplate.Execute(&b, map[string]any{"Title": title, "To": to, "Form": form, "Script": template.JS(script)})
	if err != nil {
		http.Error(w, "the page can not be made", http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src '"+pageStyleHash+"'; script-src 'sha256-"+
		base64.StdEncoding.EncodeToString(sum[:])+"'; base-uri 'none'; frame-ancestors 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-store")
	_, _ = w.Write(b.Bytes())
}

// postTemplate is read only.
var postTemplate = template.Must(template.New("post").Parse(`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Continue – {{.Title}}</title>
<style>` + pageStyle + `</style>
</head>
<body>
<main>
<h1>You are signed in</h1>
<p class="sub">{{.Title}} sends you back to the service.</p>
<form method="post" action="{{.To}}">
{{range $name, $values := .Form}}{{range $values}}<input type="hidden" name="{{$name}}" value="{{.}}">
{{end}}{{end}}<button class="main">Continue</button>
</form>
</main>
<script>{{.Script}}</script>
</body>
</html>
`))
