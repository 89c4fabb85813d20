package idptest

import (
	"bytes"
	"compress/flate"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/beevik/etree"
)

// The bindings of single logout, for IDPLogout.
const (
	IDPByRedirect = idpRedirect
	IDPByPost     = idpPost
)

// An IDPLogout is what the provider wants ended.
type IDPLogout struct {
	To       string   // entity ID of the service provider
	Person   string   // the NameID
	Sessions []string // SessionIndexes; none: all of the person
	Relay    string   // RelayState; empty: none
	Binding  string   // IDPByRedirect if empty
}

// An IDPHeard is a logout message that came to the provider and was found good.
type IDPHeard struct {
	Response bool // an answer to a request of the provider's
	From     string
	Person   string
	Sessions []string
	Status   string // of an answer: the last word of its StatusCode
	To       string // of an answer: InResponseTo
	Relay    string
}

// Heard are the logout messages that came so far.
func (p *IDP) Heard() []IDPHeard {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]IDPHeard(nil), p.heard...)
}

// Logout makes a LogoutRequest: where it goes, with its query, and the form to
// post there, nil for the redirect binding. In a fault Policy is before and
// Forge after everything is signed; Query changes what stands in the address.
func (p *IDP) Logout(l IDPLogout, f IDPFault) (to string, form url.Values, err error) {
	el := p.logoutMessage("samlp:LogoutRequest", l.To, l.Binding)
	el.CreateAttr("NotOnOrAfter", idpTime(p.cfg.Now().Add(idpAssertionLife)))
	id := el.CreateElement("saml:NameID")
	id.CreateAttr("Format", "urn:oasis:names:tc:SAML:2.0:nameid-format:persistent")
	id.CreateAttr("NameQualifier", p.EntityID())
	id.CreateAttr("SPNameQualifier", l.To)
	id.SetText(l.Person)
	for _, s := range l.Sessions {
		el.CreateElement("samlp:SessionIndex").SetText(s)
	}
	return p.sendLogout("SAMLRequest", el, l, f)
}

// LoggedOut makes a LogoutResponse to the request with that ID.
func (p *IDP) LoggedOut(request string, l IDPLogout, f IDPFault) (to string, form url.Values, err error) {
	el := p.logoutMessage("samlp:LogoutResponse", l.To, l.Binding)
	el.CreateAttr("InResponseTo", request)
	el.CreateElement("samlp:Status").CreateElement("samlp:StatusCode").CreateAttr("Value", idpStatus+"Success")
	if f.Cancel {
		setStatus(el, "Responder", "RequestDenied")
	}
	return p.sendLogout("SAMLResponse", el, l, f)
}

func (p *IDP) logoutMessage(tag, to, binding string) *etree.Element {
	p.mu.Lock()
	peer := p.peers[to]
	p.mu.Unlock()
	el := etree.NewElement(tag)
	el.CreateAttr("xmlns:samlp", idpProtocol)
	el.CreateAttr("xmlns:saml", idpAsserted)
	el.CreateAttr("ID", idpID())
	el.CreateAttr("Version", "2.0")
	el.CreateAttr("IssueInstant", idpTime(p.cfg.Now()))
	el.CreateAttr("Destination", peer.slo[orRedirect(binding)])
	el.CreateElement("saml:Issuer").SetText(p.EntityID())
	return el
}

func orRedirect(binding string) string {
	if binding == "" {
		return idpRedirect
	}
	return binding
}

func (p *IDP) sendLogout(param string, el *etree.Element, l IDPLogout, f IDPFault) (string, url.Values, error) {
	p.mu.Lock()
	key, peer := p.keys[0], p.peers[l.To]
	p.mu.Unlock()
	if f.Key.Private != nil {
		key = f.Key
	}
	to := peer.slo[orRedirect(l.Binding)]
	if to == "" {
		return "", nil, fmt.Errorf("the service %q is told of no sign-outs", l.To)
	}
	if f.Policy != nil {
		f.Policy(el)
	}
	post := orRedirect(l.Binding) == idpPost
	if post && f.Sign != IDPSignNothing {
		key.sign(el, 1, f)
	}
	if f.Forge != nil {
		f.Forge(el)
	}
	b := idpBytes(el)
	if f.Text != nil {
		b = f.Text(b)
	}
	if post {
		form := url.Values{param: {base64.StdEncoding.EncodeToString(b)}}
		if l.Relay != "" {
			form.Set("RelayState", l.Relay)
		}
		return to, form, nil
	}
	var packed bytes.Buffer
	w, err := flate.NewWriter(&packed, flate.DefaultCompression)
	if err == nil {
		_, err = w.Write(b)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		return "", nil, err
	}
	query := param + "=" + url.QueryEscape(base64.StdEncoding.EncodeToString(packed.Bytes()))
	if l.Relay != "" {
		query += "&RelayState=" + url.QueryEscape(l.Relay)
	}
	if f.Sign != IDPSignNothing {
		query = key.signQuery(query, f.Hash)
	}
	if f.Query != nil {
		query = f.Query(query)
	}
	return to + "?" + query, nil, nil
}

// signQuery appends a signature over the query (saml-bindings-2.0-os §3.4.4.1).
func (k IDPKey) signQuery(query string, hash crypto.Hash) string {
	if hash == 0 {
		hash = crypto.SHA256
	}
	method, _ := idpMethod(k.Private, hash)
	query += "&SigAlg=" + url.QueryEscape(method)
	value, err := k.Private.Sign(rand.Reader, idpSum(hash, []byte(query)), hash)
	if err != nil {
		panic(err) // keys are in memory
	}
	if pub, ok := k.Private.Public().(*ecdsa.PublicKey); ok {
		value = sideBySide(value, (pub.Curve.Params().BitSize+7)/8)
	}
	return query + "&Signature=" + url.QueryEscape(base64.StdEncoding.EncodeToString(value))
}

// SignQuery is the query with a signature of the provider's own.
func (p *IDP) SignQuery(query string) string {
	p.mu.Lock()
	key := p.keys[0]
	p.mu.Unlock()
	return key.signQuery(query, 0)
}

// ReadLogout reads and checks a logout message: its signature, which it must
// have, its Destination and its age. The ID is that of a request.
func (p *IDP) ReadLogout(r *http.Request) (h IDPHeard, id string, err error) {
	get := r.Method == http.MethodGet
	if err := r.ParseForm(); err != nil {
		return h, "", errors.New("the form can not be read")
	}
	param := "SAMLRequest"
	if h.Response = r.Form.Has("SAMLResponse"); h.Response {
		param = "SAMLResponse"
	}
	h.Relay = r.Form.Get("RelayState")
	var raw []byte
	if get {
		raw, err = inflate(r.URL.Query().Get(param))
	} else {
		raw, err = base64.StdEncoding.DecodeString(r.PostForm.Get(param))
	}
	if err != nil || len(raw) == 0 {
		return h, "", errors.New("there is no logout message that can be read")
	}
	var m struct {
		ID, Destination, InResponseTo string    `xml:",attr"`
		Version                       string    `xml:",attr"`
		IssueInstant                  time.Time `xml:",attr"`
		Issuer                        string    `xml:"urn:oasis:names:tc:SAML:2.0:assertion Issuer"`
		NameID                        string    `xml:"urn:oasis:names:tc:SAML:2.0:assertion NameID"`
		SessionIndex                  []string  `xml:"urn:oasis:names:tc:SAML:2.0:protocol SessionIndex"`
		Status                        struct {
			StatusCode struct {
				Value string `xml:",attr"`
			} `xml:"urn:oasis:names:tc:SAML:2.0:protocol StatusCode"`
		} `xml:"urn:oasis:names:tc:SAML:2.0:protocol Status"`
	}
	if err := xml.Unmarshal(raw, &m); err != nil {
		return h, "", errors.New("there is no logout message that can be read")
	}
	h.From, h.Person, h.Sessions, h.To = m.Issuer, m.NameID, m.SessionIndex, m.InResponseTo
	h.Status = m.Status.StatusCode.Value[strings.LastIndexByte(m.Status.StatusCode.Value, ':')+1:]
	p.mu.Lock()
	peer, known := p.peers[m.Issuer]
	p.mu.Unlock()
	now := p.cfg.Now()
	switch {
	case !known:
		return h, "", fmt.Errorf("the service %q is not known here", m.Issuer)
	case m.Version != "2.0" || m.ID == "" || m.Destination != p.cfg.Base+"/slo":
		return h, "", fmt.Errorf("the logout message is addressed to %q", m.Destination)
	case m.IssueInstant.Before(now.Add(-idpRequestLife)) || m.IssueInstant.After(now.Add(idpRequestLife)):
		return h, "", fmt.Errorf("the logout message was made at %s", m.IssueInstant)
	}
	var signed bool
	if get {
		signed, err = checkQuery(r.URL.RawQuery, param, peer.signing)
	} else {
		signed, err = p.checkEnveloped(raw, peer.signing)
	}
	if err == nil && !signed {
		err = errors.New("the logout message is not signed")
	}
	return h, m.ID, err
}

// serveSLO takes logout messages. The provider keeps no sessions, so a request
// is answered at once, and an answer is only shown.
func (p *IDP) serveSLO(w http.ResponseWriter, r *http.Request) {
	page := signInPage{Title: p.cfg.Title, Protocol: "SAML 2.0", Heading: "You are signed out", Message: p.cfg.Title + " keeps no session; nothing is left to end."}
	r.Body = http.MaxBytesReader(w, r.Body, 4*idpRequestSize)
	h, id, err := p.ReadLogout(r)
	if err != nil {
		page.Heading, page.Message = "This message can not be answered", err.Error()
		page.render(w, http.StatusBadRequest)
		return
	}
	p.mu.Lock()
	p.heard = append(p.heard, h)
	fault := p.fault
	p.mu.Unlock()
	if h.Response {
		page.render(w, http.StatusOK)
		return
	}
	l := IDPLogout{To: h.From, Relay: h.Relay}
	if r.Method == http.MethodPost {
		l.Binding = IDPByPost
	}
	to, form, err := p.LoggedOut(id, l, IDPFault{Cancel: fault.Cancel})
	switch {
	case err != nil:
		page.Heading, page.Message = "This message can not be answered", err.Error()
		page.render(w, http.StatusBadRequest)
	case form != nil:
		renderPost(w, p.cfg.Title, to, form)
	default:
		http.Redirect(w, r, to, http.StatusSeeOther)
	}
}
