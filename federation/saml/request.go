package saml

import (
	"bytes"
	"compress/flate"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/url"
	"strconv"

	"github.com/beevik/etree"
	"github.com/gatehouse-sso/gatehouse/federation"
)

// keepID is where Pending keeps the ID of the request.
const keepID = "request"

// Begin makes an AuthnRequest (saml-core-2.0-os §3.4.1). It asks for no
// NameID format: identity providers refuse what they do not have. A MaxAge
// can not be said in SAML, so the person is then asked again. The hint is not
// sent, since the Subject of a request is an order and not a hint.
func (p *Provider) Begin(ctx context.Context, l federation.Login) (federation.Challenge, federation.Pending, error) {
	idp, err := p.from.current(ctx)
	if err != nil {
		return federation.Challenge{}, federation.Pending{}, err
	}
	binding := p.c.Binding
	if binding == "" {
		binding = Redirect
		if idp.sso[Redirect] == nil {
			binding = Post
		}
	}
	to := idp.sso[binding]
	pending := federation.Pending{
		State: token(),
		Began: p.c.Now(),
		Login: l,
		Keep:  map[string]string{keepID: "_" + token()},
	}
	ch, err := p.send(parcel{asRequest, p.authnRequest(pending, to.String()), pending.State, !p.c.InsecureUnsignedRequests}, binding, to)
	if err != nil {
		return federation.Challenge{}, federation.Pending{}, err
	}
	return ch, pending, nil
}

// token gives 160 random bits as 40 hexadecimal digits: an ID may not begin
// with a digit but for its underscore, and a RelayState has 80 bytes at most.
func token() string {
	b := make([]byte, 20)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

func (p *Provider) authnRequest(pending federation.Pending, to string) *etree.Element {
	el := etree.NewElement("samlp:AuthnRequest")
	el.CreateAttr("xmlns:samlp", nsProtocol)
	el.CreateAttr("xmlns:saml", nsAssertion)
	el.CreateAttr("ID", pending.Keep[keepID])
	el.CreateAttr("Version", "2.0")
	el.CreateAttr("IssueInstant", stamp(pending.Began))
	el.CreateAttr("Destination", to)
	el.CreateAttr("AssertionConsumerServiceURL", p.c.ACSURL)
	el.CreateAttr("ProtocolBinding", bindingPost)
	if pending.Login.Fresh || pending.Login.MaxAge > 0 {
		el.CreateAttr("ForceAuthn", "true")
	}
	el.CreateElement("saml:Issuer").SetText(p.c.EntityID)
	if len(pending.Login.ACR) > 0 {
		ctx := el.CreateElement("samlp:RequestedAuthnContext")
		ctx.CreateAttr("Comparison", "exact")
		for _, acr := range pending.Login.ACR {
			ctx.CreateElement("saml:AuthnContextClassRef").SetText(acr)
		}
	}
	return el
}

// The two parameters that a message travels in.
const (
	asRequest  = "SAMLRequest"
	asResponse = "SAMLResponse"
)

// A parcel is a message of ours with what goes beside it.
type parcel struct {
	param   string // asRequest or asResponse
	message *etree.Element
	relay   string // RelayState; empty: none
	signed  bool
}

func (p *Provider) send(m parcel, binding string, to *url.URL) (federation.Challenge, error) {
	if binding == Post {
		return p.byPost(m, to)
	}
	return p.byRedirect(m, to)
}

// byPost signs the message itself (saml-bindings-2.0-os §3.5.4).
func (p *Provider) byPost(m parcel, to *url.URL) (federation.Challenge, error) {
	if m.signed {
		if err := signElement(m.message, 1, p.c.Signing[0].Private, p.c.Signing[0].Certificate); err != nil {
			return federation.Challenge{}, err
		}
	}
	b, err := etree.NewDocumentWithRoot(m.message).WriteToBytes()
	if err != nil {
		return federation.Challenge{}, fmt.Errorf("write message: %w", err)
	}
	u := *to
	form := url.Values{m.param: {base64.StdEncoding.EncodeToString(b)}}
	if m.relay != "" {
		form.Set("RelayState", m.relay)
	}
	return federation.Challenge{URL: &u, Form: form}, nil
}

// byRedirect deflates the message into the query and signs the query
// (saml-bindings-2.0-os §3.4.4.1). What is signed are the very bytes that are
// sent.
func (p *Provider) byRedirect(m parcel, to *url.URL) (federation.Challenge, error) {
	b, err := etree.NewDocumentWithRoot(m.message).WriteToBytes()
	if err != nil {
		return federation.Challenge{}, fmt.Errorf("write message: %w", err)
	}
	packed, err := p.deflate(b)
	if err != nil {
		return federation.Challenge{}, fmt.Errorf("deflate message: %w", err)
	}
	query := m.param + "=" + url.QueryEscape(base64.StdEncoding.EncodeToString(packed))
	if m.relay != "" {
		query += "&RelayState=" + url.QueryEscape(m.relay)
	}
	if m.signed {
		key := p.c.Signing[0].Private
		query += "&SigAlg=" + url.QueryEscape(signingMethod(key))
		sig, err := signBytes(key, []byte(query))
		if err != nil {
			return federation.Challenge{}, err
		}
		query += "&Signature=" + url.QueryEscape(base64.StdEncoding.EncodeToString(sig))
	}
	u := *to
	if u.RawQuery != "" {
		query = u.RawQuery + "&" + query
	}
	u.RawQuery = query
	return federation.Challenge{URL: &u}, nil
}

// deflate compresses as RFC 1951 says, without a header. A writer is some 800
// KiB, so they are kept for those who come next.
func (p *Provider) deflate(b []byte) ([]byte, error) {
	var packed bytes.Buffer
	w, ok := p.deflaters.Get().(*flate.Writer)
	if ok {
		w.Reset(&packed)
	} else {
		var err error
		if w, err = flate.NewWriter(&packed, flate.BestCompression); err != nil {
			return nil, err
		}
	}
	defer p.deflaters.Put(w)
	if _, err := w.Write(b); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return packed.Bytes(), nil
}

// metadataDays is how long our own metadata says it is valid.
const metadataDays = 14

// Metadata is our own description as a service provider
// (saml-metadata-2.0-os §2.4.4), valid for 14 days from now. It is signed with
// the first signing key if sign is true.
func (p *Provider) Metadata(sign bool) ([]byte, error) {
	el := etree.NewElement("md:EntityDescriptor")
	el.CreateAttr("xmlns:md", nsMetadata)
	el.CreateAttr("xmlns:ds", nsSignature)
	el.CreateAttr("entityID", p.c.EntityID)
	el.CreateAttr("ID", "_"+token())
	el.CreateAttr("validUntil", stamp(p.c.Now().AddDate(0, 0, metadataDays)))
	sp := el.CreateElement("md:SPSSODescriptor")
	sp.CreateAttr("protocolSupportEnumeration", nsProtocol)
	sp.CreateAttr("AuthnRequestsSigned", strconv.FormatBool(!p.c.InsecureUnsignedRequests))
	sp.CreateAttr("WantAssertionsSigned", "true")
	for _, k := range p.c.Signing {
		describe(sp, "signing", k)
	}
	if len(p.c.Decryption) > 0 {
		d := describe(sp, "encryption", p.c.Decryption[0])
		for _, alg := range []string{algAES256, algAES192, algAES128, algOAEP, algOAEP11} {
			d.CreateElement("md:EncryptionMethod").CreateAttr("Algorithm", alg)
		}
	}
	if p.c.SLOURL != "" {
		for _, b := range []string{bindingRedirect, bindingPost} {
			endpoint(sp, "md:SingleLogoutService", b, p.c.SLOURL)
		}
	}
	acs := endpoint(sp, "md:AssertionConsumerService", bindingPost, p.c.ACSURL)
	acs.CreateAttr("index", "0")
	acs.CreateAttr("isDefault", "true")
	if sign {
		if len(p.c.Signing) == 0 {
			return nil, fmt.Errorf("saml provider %q: no key to sign metadata with", p.c.ID)
		}
		if err := signElement(el, 0, p.c.Signing[0].Private, p.c.Signing[0].Certificate); err != nil {
			return nil, err
		}
	}
	doc := etree.NewDocument()
	doc.CreateProcInst("xml", `version="1.0" encoding="UTF-8"`)
	doc.SetRoot(el)
	return doc.WriteToBytes()
}

func describe(sp *etree.Element, use string, k Key) *etree.Element {
	d := sp.CreateElement("md:KeyDescriptor")
	d.CreateAttr("use", use)
	d.CreateElement("ds:KeyInfo").CreateElement("ds:X509Data").CreateElement("ds:X509Certificate").
		SetText(base64.StdEncoding.EncodeToString(k.Certificate.Raw))
	return d
}

func endpoint(sp *etree.Element, tag, binding, at string) *etree.Element {
	e := sp.CreateElement(tag)
	e.CreateAttr("Binding", binding)
	e.CreateAttr("Location", at)
	return e
}
