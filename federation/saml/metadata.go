package saml

import (
	"crypto"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/gatehouse-sso/gatehouse/federation"
)

// The two bindings by which a request can be sent, for Config.Binding.
const (
	Redirect = "redirect"
	Post     = "post"
)

const (
	bindingRedirect = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect"
	bindingPost     = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST"
)

// maxSigningKeys is how many keys a provider may sign with: each one costs a
// verification for every forged answer.
const maxSigningKeys = 10

// A peer is what metadata says about one identity provider.
type peer struct {
	entityID   string
	keys       []crypto.PublicKey
	sso        map[string]*url.URL // by Redirect, Post
	slo        map[string]exit     // the same for logout
	errorURL   string
	wantSigned bool
	validUntil time.Time // zero: it did not say
}

// An exit is where logout messages go to: requests, and answers to requests of
// the provider's.
type exit struct{ requests, answers *url.URL }

// metadataRules is what a document must satisfy besides being metadata.
type metadataRules struct {
	entityID   string // if not empty, the one it must describe
	signers    []crypto.PublicKey
	validUntil bool          // it must have one
	longest    time.Duration // it may not lie further ahead; zero: any
	now        time.Time
}

// readMetadata reads the EntityDescriptor of one identity provider
// (saml-metadata-2.0-os §2.3.2). Errors say what is wrong in a sentence.
func readMetadata(b []byte, rules metadataRules) (*peer, error) {
	doc, err := read(b, maxMetadata)
	if err != nil {
		return nil, err
	}
	if err := doc.load(&tokenSet{}); err != nil {
		return nil, err
	}
	root := doc.root
	if root.name == (name{nsMetadata, "EntitiesDescriptor"}) {
		return nil, fmt.Errorf("the document describes many entities; metadata of a single identity provider is needed")
	}
	if root.name != (name{nsMetadata, "EntityDescriptor"}) {
		return nil, fmt.Errorf("the document is not SAML metadata: its root is not an EntityDescriptor")
	}
	if len(rules.signers) > 0 {
		if root, err = signedMetadata(doc, rules.signers); err != nil {
			return nil, err
		}
	}
	p := &peer{entityID: root.attrValue("entityID"), sso: map[string]*url.URL{}, slo: map[string]exit{}}
	if p.entityID == "" || len(p.entityID) > maxEntityID {
		return nil, fmt.Errorf("the document has no usable entityID")
	}
	if rules.entityID != "" && p.entityID != rules.entityID {
		return nil, fmt.Errorf("the document describes %.200q, not %q", p.entityID, rules.entityID)
	}
	idp, ok := root.one(nsMetadata, "IDPSSODescriptor")
	if !ok {
		return nil, fmt.Errorf("the document describes several identity providers")
	}
	if idp == nil || !speaksSAML2(idp) {
		return nil, fmt.Errorf("the document describes no SAML 2.0 identity provider")
	}
	for _, n := range []*node{root, idp} {
		if err := p.validity(n, rules); err != nil {
			return nil, err
		}
	}
	if rules.validUntil && p.validUntil.IsZero() {
		return nil, fmt.Errorf("the document has no validUntil, so an old one could be played back for ever")
	}
	if err := p.signingKeys(idp); err != nil {
		return nil, err
	}
	for _, n := range idp.all(nsMetadata, "SingleSignOnService") {
		binding := map[string]string{bindingRedirect: Redirect, bindingPost: Post}[n.attrValue("Binding")]
		if binding == "" || p.sso[binding] != nil {
			continue
		}
		if p.sso[binding], err = location(n.attrValue("Location")); err != nil {
			return nil, fmt.Errorf("the SingleSignOnService: %w", err)
		}
	}
	if len(p.sso) == 0 {
		return nil, fmt.Errorf("the document offers no sign-in by the redirect or POST binding")
	}
	for _, n := range idp.all(nsMetadata, "SingleLogoutService") {
		p.exit(n)
	}
	if u, err := location(idp.attrValue("errorURL")); err == nil {
		p.errorURL = u.String()
	}
	want := idp.attrValue("WantAuthnRequestsSigned")
	p.wantSigned = want == "true" || want == "1"
	return p, nil
}

// exit takes the first exit of each binding. One that can not be used is none: it
// is no reason to let nobody in.
func (p *peer) exit(n *node) {
	binding := map[string]string{bindingRedirect: Redirect, bindingPost: Post}[n.attrValue("Binding")]
	requests, err := location(n.attrValue("Location"))
	if _, have := p.slo[binding]; err != nil || binding == "" || have {
		return
	}
	x := exit{requests, requests}
	if at, given := n.attr("ResponseLocation"); given {
		if x.answers, err = location(at); err != nil {
			return
		}
	}
	p.slo[binding] = x
}

// signedMetadata gives the root as one of the pinned keys signed it. The
// Signature is the first child (saml-metadata-2.0-os §2.3.2).
func signedMetadata(doc *document, signers []crypto.PublicKey) (*node, error) {
	if len(doc.root.kids) == 0 || doc.root.kids[0].name != (name{nsSignature, "Signature"}) {
		return nil, fmt.Errorf("the document is not signed, but a signer is pinned")
	}
	if _, err := shape(doc.root); err != nil {
		return nil, err
	}
	return trust{keys: signers}.verify(doc, nil, doc.root, doc.root.kids[0])
}

// validity takes the nearest validUntil, and refuses one that has passed or
// that lies too far ahead.
func (p *peer) validity(n *node, rules metadataRules) error {
	until, err := instant(n, "validUntil", false)
	if err != nil || until.IsZero() {
		return err
	}
	if !rules.now.Before(until) {
		return fmt.Errorf("the document was valid until %s, which is over", stamp(until))
	}
	if rules.longest > 0 && until.After(rules.now.Add(rules.longest)) {
		return fmt.Errorf("the document wants to be valid until %s; at most %s ahead is accepted", stamp(until), rules.longest)
	}
	if p.validUntil.IsZero() || until.Before(p.validUntil) {
		p.validUntil = until
	}
	return nil
}

func speaksSAML2(idp *node) bool {
	for _, s := range strings.Fields(idp.attrValue("protocolSupportEnumeration")) {
		if s == nsProtocol {
			return true
		}
	}
	return false
}

// signingKeys collects the keys of all KeyDescriptors that are for signing or
// do not say what for. Weak keys are passed over; if none is left, that is
// the error. The dates of a certificate mean nothing here (IIP-MD12).
func (p *peer) signingKeys(idp *node) error {
	var weak error
	for _, k := range idp.all(nsMetadata, "KeyDescriptor") {
		if use, given := k.attr("use"); given && use != "signing" {
			continue
		}
		k.walk(func(n, _ *node) {
			if n.name != (name{nsSignature, "X509Certificate"}) {
				return
			}
			c, err := parseCertificate(n.text)
			if err == nil {
				err = usable(c.PublicKey)
			}
			if err != nil {
				weak = err
				return
			}
			p.keys = append(p.keys, c.PublicKey)
		})
	}
	switch {
	case len(p.keys) > maxSigningKeys:
		return fmt.Errorf("the document has %d signing keys; at most %d are accepted", len(p.keys), maxSigningKeys)
	case len(p.keys) == 0 && weak != nil:
		return fmt.Errorf("the document has no usable signing key: %w", weak)
	case len(p.keys) == 0:
		return fmt.Errorf("the document has no signing key")
	}
	return nil
}

// location accepts an https address, or an http one on this machine.
func location(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.User != nil || u.Fragment != "" {
		return nil, fmt.Errorf("%.100q is not an address", s)
	}
	if u.Scheme != "https" && (u.Scheme != "http" || !loopback(u.Hostname())) {
		return nil, fmt.Errorf("%.100q is not an https address", s)
	}
	return u, nil
}

// loopback reports whether a host name means this machine wherever it is
// resolved (RFC 6761 §6.3).
func loopback(host string) bool {
	if ip := net.ParseIP(host); ip != nil {
		return ip.IsLoopback()
	}
	return host == "localhost" || strings.HasSuffix(host, ".localhost")
}

// unavailable is how every trouble with metadata ends.
func unavailable(err error) *federation.Refusal {
	return federation.Refuse(federation.ReasonUnavailable, "the identity provider's metadata can not be used: %w", err)
}
