package idptest

import (
	"bytes"
	"compress/flate"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/beevik/etree"
	crewjam "github.com/crewjam/saml"
	dsig "github.com/russellhaering/goxmldsig"
)

// IDPConfig is what a SAML identity provider is made of.
type IDPConfig struct {
	// Base is the provider's own URL, without a slash at its end: its metadata
	// is at /metadata under it, which is its entity ID too, its sign-in at /sso
	// and its sign-out at /slo.
	Base   string
	Title  string // on its pages
	People []Person
	// Keys sign: the first does, all are in the metadata. None: a fresh one.
	Keys []IDPKey
	// RequireSigned refuses requests that are not signed, and says so in the
	// metadata. A signature that is there is always checked.
	RequireSigned bool
	// NoLogout leaves single logout out of the metadata.
	NoLogout bool
	// Sign says what is signed; zero is both.
	Sign IDPSign
	// Encryption of assertions, for service providers that have a key for it.
	Encryption IDPEncryption
	// Now is the clock; time.Now if nil.
	Now func() time.Time
}

// IDPSign says which parts of an answer are signed.
type IDPSign int

// What can be signed. The zero IDPSign leaves it to whoever is asked next:
// a fault to the configuration, and the configuration to IDPSignBoth.
const (
	IDPSignResponse  IDPSign = 1
	IDPSignAssertion IDPSign = 2
	IDPSignBoth      IDPSign = IDPSignResponse | IDPSignAssertion
	IDPSignNothing   IDPSign = 4
)

// An IDP is a SAML 2.0 identity provider: Web Browser SSO by the redirect and
// POST bindings, answers by POST; single logout by both. Safe for concurrent use.
type IDP struct {
	cfg IDPConfig

	mu    sync.Mutex
	keys  []IDPKey
	peers map[string]idpPeer // service providers by entity ID
	fault IDPFault
	asked int
	heard []IDPHeard
}

// An idpPeer is a service provider as its metadata describes it.
type idpPeer struct {
	acs     []string
	slo     map[string]string // by binding
	signing []*x509.Certificate
	encrypt *rsa.PublicKey // nil: it takes no encrypted assertions
}

// Lifetimes of what the provider says.
const (
	idpAssertionLife = 5 * time.Minute
	idpSessionLife   = 8 * time.Hour
	idpMetadataLife  = 7 * 24 * time.Hour
	idpRequestLife   = 15 * time.Minute
	idpRequestSize   = 64 << 10
)

const (
	idpProtocol = "urn:oasis:names:tc:SAML:2.0:protocol"
	idpAsserted = "urn:oasis:names:tc:SAML:2.0:assertion"
	idpRedirect = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect"
	idpPost     = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST"
	idpStatus   = "urn:oasis:names:tc:SAML:2.0:status:"
)

// NewIDP makes a provider that trusts nobody yet: see Trust.
func NewIDP(cfg IDPConfig) *IDP {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Sign == 0 {
		cfg.Sign = IDPSignBoth
	}
	if len(cfg.Keys) == 0 {
		cfg.Keys = []IDPKey{NewIDPKey("RSA")}
	}
	return &IDP{cfg: cfg, keys: cfg.Keys, peers: map[string]idpPeer{}}
}

// EntityID is the provider's name.
func (p *IDP) EntityID() string { return p.cfg.Base + "/metadata" }

// SetKeys changes the keys: the first signs, all are in the metadata.
func (p *IDP) SetKeys(keys ...IDPKey) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.keys = keys
}

// Misbehave has the provider do f in every sign-in from here on; the zero
// fault is to behave.
func (p *IDP) Misbehave(f IDPFault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fault = f
}

// Asked is how often the metadata was fetched.
func (p *IDP) Asked() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.asked
}

// Trust lets the service provider with this metadata send people. It is read
// with another library's types, so that it is not only our own that finds it
// good.
func (p *IDP) Trust(metadata []byte) error {
	var e crewjam.EntityDescriptor
	if err := xml.Unmarshal(metadata, &e); err != nil {
		return fmt.Errorf("service provider's metadata: %w", err)
	}
	if e.EntityID == "" || len(e.SPSSODescriptors) != 1 {
		return errors.New("service provider's metadata: one service provider is needed")
	}
	if !p.cfg.Now().Before(e.ValidUntil) {
		return fmt.Errorf("service provider's metadata: it was valid until %s", e.ValidUntil)
	}
	peer := idpPeer{slo: map[string]string{}}
	for _, slo := range e.SPSSODescriptors[0].SingleLogoutServices {
		peer.slo[slo.Binding] = slo.Location
	}
	for _, acs := range e.SPSSODescriptors[0].AssertionConsumerServices {
		if acs.Binding == idpPost {
			peer.acs = append(peer.acs, acs.Location)
		}
	}
	for _, d := range e.SPSSODescriptors[0].KeyDescriptors {
		for _, c := range d.KeyInfo.X509Data.X509Certificates {
			der, err := base64.StdEncoding.DecodeString(c.Data)
			if err != nil {
				return fmt.Errorf("service provider's metadata: certificate: %w", err)
			}
			cert, err := x509.ParseCertificate(der)
			if err != nil {
				return fmt.Errorf("service provider's metadata: %w", err)
			}
			if d.Use == "encryption" {
				peer.encrypt, _ = cert.PublicKey.(*rsa.PublicKey)
			} else {
				peer.signing = append(peer.signing, cert)
			}
		}
	}
	if len(peer.acs) == 0 {
		return errors.New("service provider's metadata: it has nowhere to send answers to")
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.peers[e.EntityID] = peer
	return nil
}

// Metadata describes the provider, valid for a week.
func (p *IDP) Metadata() []byte {
	p.mu.Lock()
	keys := slices.Clone(p.keys)
	p.mu.Unlock()
	el := etree.NewElement("md:EntityDescriptor")
	el.CreateAttr("xmlns:md", "urn:oasis:names:tc:SAML:2.0:metadata")
	el.CreateAttr("ID", idpID())
	el.CreateAttr("entityID", p.EntityID())
	el.CreateAttr("validUntil", idpTime(p.cfg.Now().Add(idpMetadataLife)))
	idp := el.CreateElement("md:IDPSSODescriptor")
	idp.CreateAttr("protocolSupportEnumeration", idpProtocol)
	idp.CreateAttr("WantAuthnRequestsSigned", fmt.Sprint(p.cfg.RequireSigned))
	idp.CreateAttr("errorURL", p.cfg.Base+"/error")
	for _, k := range keys {
		d := idp.CreateElement("md:KeyDescriptor")
		d.CreateAttr("use", "signing")
		info := d.CreateElement("ds:KeyInfo")
		info.CreateAttr("xmlns:ds", dsig.Namespace)
		info.CreateElement("ds:X509Data").CreateElement("ds:X509Certificate").SetText(base64.StdEncoding.EncodeToString(k.Certificate.Raw))
	}
	if !p.cfg.NoLogout {
		for _, b := range []string{idpRedirect, idpPost} {
			slo := idp.CreateElement("md:SingleLogoutService")
			slo.CreateAttr("Binding", b)
			slo.CreateAttr("Location", p.cfg.Base+"/slo")
		}
	}
	idp.CreateElement("md:NameIDFormat").SetText("urn:oasis:names:tc:SAML:2.0:nameid-format:persistent")
	for _, b := range []string{idpRedirect, idpPost} {
		sso := idp.CreateElement("md:SingleSignOnService")
		sso.CreateAttr("Binding", b)
		sso.CreateAttr("Location", p.cfg.Base+"/sso")
	}
	return idpBytes(el)
}

// SignedMetadata is Metadata, signed with k.
func (p *IDP) SignedMetadata(k IDPKey) []byte {
	doc := etree.NewDocument()
	if err := doc.ReadFromBytes(p.Metadata()); err != nil {
		panic(err) // it was just written
	}
	k.sign(doc.Root(), 0, IDPFault{})
	return idpBytes(doc.Root())
}

// Handler serves the provider under the path of its base.
func (p *IDP) Handler() http.Handler {
	path := ""
	if u, err := url.Parse(p.cfg.Base); err == nil {
		path = u.Path
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+path+"/metadata", func(w http.ResponseWriter, _ *http.Request) {
		p.mu.Lock()
		p.asked++
		p.mu.Unlock()
		w.Header().Set("Content-Type", "application/samlmetadata+xml")
		_, _ = w.Write(p.Metadata())
	})
	mux.HandleFunc(path+"/sso", p.serveSSO)
	mux.HandleFunc(path+"/slo", p.serveSLO)
	mux.HandleFunc("GET "+path+"/error", func(w http.ResponseWriter, _ *http.Request) {
		signInPage{Title: p.cfg.Title, Protocol: "SAML 2.0", Heading: "Something went wrong", Message: "The service could not sign you in. Please try again."}.render(w, http.StatusOK)
	})
	mux.HandleFunc("GET "+path+"/{$}", func(w http.ResponseWriter, _ *http.Request) {
		signInPage{Title: p.cfg.Title, Protocol: "SAML 2.0", Heading: p.cfg.Title, Message: "Services send people here to sign in."}.render(w, http.StatusOK)
	})
	return mux
}

// serveSSO takes a request, asks who it is, and answers. It remembers nothing
// in between: the page carries the whole request and it is checked again.
func (p *IDP) serveSSO(w http.ResponseWriter, r *http.Request) {
	page := signInPage{Title: p.cfg.Title, Protocol: "SAML 2.0", Action: r.URL.Path, People: p.cfg.People}
	fail := func(err error) {
		signInPage{Title: p.cfg.Title, Protocol: page.Protocol, Heading: "This request can not be answered", Message: err.Error()}.render(w, http.StatusBadRequest)
	}
	r.Body = http.MaxBytesReader(w, r.Body, 4*idpRequestSize)
	if err := r.ParseForm(); err != nil {
		fail(errors.New("the form can not be read"))
		return
	}
	ask := r
	if raw := r.PostForm.Get("query"); raw != "" {
		ask = &http.Request{Method: http.MethodGet, URL: &url.URL{Path: r.URL.Path, RawQuery: raw}}
	}
	q, err := p.Question(ask)
	if err != nil {
		fail(err)
		return
	}
	page.Client = q.Issuer
	if ask.Method == http.MethodGet {
		page.Hidden = url.Values{"query": {ask.URL.RawQuery}}
	} else {
		page.Hidden = url.Values{"SAMLRequest": {r.PostForm.Get("SAMLRequest")}, "RelayState": {q.RelayState}}
	}
	p.mu.Lock()
	fault := p.fault
	p.mu.Unlock()
	user := r.PostForm.Get("user")
	who, known := personByUser(p.cfg.People, user)
	switch {
	case r.PostForm.Has("cancel"):
		fault.Cancel = true
	case !known:
		page.render(w, http.StatusOK)
		return
	case who.SecondFactor && slices.Contains(q.ACR, ACRMulti) && !r.PostForm.Has("factor"):
		page.Confirm = &who
		page.Hidden.Set("user", user)
		page.render(w, http.StatusOK)
		return
	}
	form, err := p.Answer(q, user, fault)
	if err != nil {
		fail(err)
		return
	}
	renderPost(w, p.cfg.Title, q.ACS, form)
}

// An IDPQuestion is an AuthnRequest that was found good.
type IDPQuestion struct {
	ID, Issuer, ACS, RelayState string
	ACR                         []string
	Force                       bool
	Signed                      bool
	XML                         []byte // as it came
}

// Question reads and checks the AuthnRequest in r: its signature, if there is
// one or if one is required, its Destination, its age, and that the address
// for the answer is one of the service provider's own.
func (p *IDP) Question(r *http.Request) (IDPQuestion, error) {
	var q IDPQuestion
	var err error
	get := r.Method == http.MethodGet
	if get {
		q.RelayState = r.URL.Query().Get("RelayState")
		q.XML, err = inflate(r.URL.Query().Get("SAMLRequest"))
	} else {
		if err := r.ParseForm(); err != nil {
			return q, errors.New("the form can not be read")
		}
		q.RelayState = r.PostForm.Get("RelayState")
		q.XML, err = base64.StdEncoding.DecodeString(r.PostForm.Get("SAMLRequest"))
	}
	if err != nil || len(q.XML) == 0 {
		return q, errors.New("there is no SAML request that can be read")
	}
	if len(q.RelayState) > 80 {
		return q, errors.New("the RelayState has more than 80 bytes")
	}
	var a crewjam.AuthnRequest
	if err := xml.Unmarshal(q.XML, &a); err != nil {
		return q, errors.New("the SAML request is not one for sign-in")
	}
	var contexts struct {
		Requested struct {
			Comparison string   `xml:",attr"`
			Class      []string `xml:"urn:oasis:names:tc:SAML:2.0:assertion AuthnContextClassRef"`
		} `xml:"urn:oasis:names:tc:SAML:2.0:protocol RequestedAuthnContext"`
	}
	if err := xml.Unmarshal(q.XML, &contexts); err != nil {
		return q, errors.New("the SAML request is not one for sign-in")
	}
	q.ID, q.ACS, q.ACR = a.ID, a.AssertionConsumerServiceURL, contexts.Requested.Class
	q.Force = a.ForceAuthn != nil && *a.ForceAuthn
	if a.Issuer != nil {
		q.Issuer = a.Issuer.Value
	}
	p.mu.Lock()
	peer, known := p.peers[q.Issuer]
	p.mu.Unlock()
	now := p.cfg.Now()
	switch {
	case !known:
		return q, fmt.Errorf("the service %q is not known here", q.Issuer)
	case a.Version != "2.0" || q.ID == "":
		return q, errors.New("the SAML request has no ID or is not version 2.0")
	case a.Destination != p.cfg.Base+"/sso":
		return q, fmt.Errorf("the SAML request is addressed to %q", a.Destination)
	case a.IssueInstant.Before(now.Add(-idpRequestLife)) || a.IssueInstant.After(now.Add(idpRequestLife)):
		return q, fmt.Errorf("the SAML request was made at %s", a.IssueInstant)
	case a.ProtocolBinding != "" && a.ProtocolBinding != idpPost:
		return q, errors.New("answers are sent by POST only")
	}
	if q.ACS == "" {
		q.ACS = peer.acs[0]
	}
	if !slices.Contains(peer.acs, q.ACS) {
		return q, fmt.Errorf("the service does not receive answers at %q", q.ACS)
	}
	if get {
		q.Signed, err = checkQuery(r.URL.RawQuery, "SAMLRequest", peer.signing)
	} else {
		q.Signed, err = p.checkEnveloped(q.XML, peer.signing)
	}
	if err != nil {
		return q, err
	}
	if p.cfg.RequireSigned && !q.Signed {
		return q, errors.New("the SAML request is not signed")
	}
	return q, nil
}

// inflate undoes the DEFLATE encoding (saml-bindings-2.0-os §3.4.4.1), up to
// the size that a request may have.
func inflate(s string) ([]byte, error) {
	packed, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.LimitReader(flate.NewReader(bytes.NewReader(packed)), idpRequestSize+1))
	if err == nil && len(b) > idpRequestSize {
		err = errors.New("the SAML request is too large")
	}
	return b, err
}

// checkQuery checks the signature of the redirect binding over the bytes of
// the query as they came.
func checkQuery(raw, param string, certs []*x509.Certificate) (bool, error) {
	part := map[string]string{}
	for _, kv := range strings.Split(raw, "&") {
		k, v, _ := strings.Cut(kv, "=")
		if _, twice := part[k]; twice && (k == param || k == "RelayState" || k == "SigAlg" || k == "Signature") {
			return false, fmt.Errorf("the parameter %s is given twice", k)
		}
		part[k] = v
	}
	if part["Signature"] == "" {
		return false, nil
	}
	signed := param + "=" + part[param]
	if rs, ok := part["RelayState"]; ok {
		signed += "&RelayState=" + rs
	}
	signed += "&SigAlg=" + part["SigAlg"]
	alg, _ := url.QueryUnescape(part["SigAlg"])
	text, _ := url.QueryUnescape(part["Signature"])
	sig, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return false, errors.New("the request's signature is not base64")
	}
	for _, c := range certs {
		if idpVerify(c.PublicKey, alg, []byte(signed), sig) {
			return true, nil
		}
	}
	return false, errors.New("the request's signature is not the service's")
}

// checkEnveloped checks the signature within a request, by goxmldsig's own
// validation.
func (p *IDP) checkEnveloped(raw []byte, certs []*x509.Certificate) (bool, error) {
	doc := etree.NewDocument()
	if err := doc.ReadFromBytes(raw); err != nil || doc.Root() == nil {
		return false, errors.New("the SAML request can not be read")
	}
	if !slices.ContainsFunc(doc.Root().ChildElements(), func(e *etree.Element) bool { return e.Tag == "Signature" }) {
		return false, nil
	}
	check := dsig.NewDefaultValidationContext(&dsig.MemoryX509CertificateStore{Roots: certs})
	if _, err := check.Validate(doc.Root()); err != nil {
		return false, errors.New("the request's signature is not the service's")
	}
	return true, nil
}

// idpID gives a fresh ID.
func idpID() string {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // never fails
	return "_" + hex.EncodeToString(b)
}

func idpTime(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

func idpBytes(el *etree.Element) []byte {
	doc := etree.NewDocument()
	doc.SetRoot(el.Copy())
	b, err := doc.WriteToBytes()
	if err != nil {
		panic(err) // writing to memory
	}
	return b
}
