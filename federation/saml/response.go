package saml

import (
	"crypto"
	"crypto/subtle"
	"strings"

	"github.com/gatehouse-sso/gatehouse/federation"
)

const (
	statusSuccess = "urn:oasis:names:tc:SAML:2.0:status:Success"
	statusNoAuthn = "urn:oasis:names:tc:SAML:2.0:status:NoAuthnContext"
	formatEntity  = "urn:oasis:names:tc:SAML:2.0:nameid-format:entity"
	maxEntityID   = 1024 // saml-core-2.0-os §8.3.6
	maxID         = 256
)

// An opener turns the bytes of an answer into the one assertion that somebody
// signed. Everything in it is what this answer must match.
type opener struct {
	trust        trust
	keys         []crypto.Decrypter
	tags         *tokenSet
	issuer       string // the identity provider
	me           string // our entity ID
	acs          string
	inResponseTo string
	// Which signatures are insisted on; one of the two is always needed.
	responseSigned, assertionSigned bool
}

// open checks everything about the answer that does not need a clock, and
// gives the response and its assertion, each as it was signed. The response
// is what was received if only the assertion is signed; by then it has passed
// outer and has nothing more to say.
func (o opener) open(raw []byte) (response, assertion *node, err error) {
	doc, err := read(raw, maxMessage)
	if err != nil {
		return nil, nil, err
	}
	response = doc.root
	if response.name != (name{nsProtocol, "Response"}) {
		return nil, nil, federation.Refuse(ReasonStructure, "the message is not a SAML response")
	}
	ids, err := shape(response)
	if err != nil {
		return nil, nil, err
	}
	if err := o.outer(response); err != nil {
		return nil, nil, err
	}
	asserted, err := assertionOf(response)
	if err != nil {
		return nil, nil, err
	}
	if err := doc.load(o.tags); err != nil {
		return nil, nil, err
	}

	sig, _ := response.one(nsSignature, "Signature")
	if sig == nil && o.responseSigned {
		return nil, nil, federation.Refuse(ReasonSignatureMissing, "the response is not signed, which this identity provider must do")
	}
	if sig != nil {
		if response, err = o.trust.verify(doc, nil, response, sig); err != nil {
			return nil, nil, err
		}
		if err := o.outer(response); err != nil {
			return nil, nil, err
		}
		sealed, err := assertionOf(response)
		if err != nil {
			return nil, nil, err
		}
		if asserted.local == "EncryptedAssertion" {
			asserted = sealed // the ciphertext that was signed
		}
	}

	path := []int{asserted.pos}
	if asserted.local == "EncryptedAssertion" {
		plain, err := decrypt(asserted, o.keys, o.me)
		if err != nil {
			return nil, nil, err
		}
		if doc, err = read(plain, maxMessage); err != nil {
			return nil, nil, err
		}
		if err := doc.load(o.tags); err != nil {
			return nil, nil, err
		}
		if asserted, path = doc.root, nil; asserted.name != (name{nsAssertion, "Assertion"}) {
			return nil, nil, federation.Refuse(ReasonStructure, "what was encrypted is not an assertion")
		}
		inner, err := shape(asserted)
		if err != nil {
			return nil, nil, err
		}
		for id := range inner {
			if ids[id] {
				return nil, nil, federation.Refuse(ReasonStructure, "the same ID is given twice")
			}
		}
	}

	own, _ := asserted.one(nsSignature, "Signature")
	switch {
	case own != nil:
		assertion, err = o.trust.verify(doc, path, asserted, own)
	case o.assertionSigned:
		err = federation.Refuse(ReasonSignatureMissing, "the assertion is not signed, which this identity provider must do")
	case sig == nil:
		err = federation.Refuse(ReasonSignatureMissing, "neither the response nor its assertion is signed")
	case path == nil:
		assertion = asserted // decrypted from what the response's signature covers
	default:
		assertion, err = assertionOf(response)
	}
	if err != nil {
		return nil, nil, err
	}
	return response, assertion, nil
}

// shape checks where things stand in a whole document, signed or not, and
// gives its IDs. It is a list of what may be, in the order of the schema;
// anything that would give two readers two opinions is refused.
func shape(root *node) (map[string]bool, error) {
	ids := map[string]bool{}
	var err error
	refuse := func(format string, args ...any) {
		if err == nil {
			err = federation.Refuse(ReasonStructure, format, args...)
		}
	}
	responses, assertions, signatures := 0, 0, 0
	root.walk(func(n, parent *node) {
		for _, a := range n.attrs {
			if a.space == "" && strings.EqualFold(a.local, "ID") || a.name == (name{nsXML, "id"}) {
				if ids[a.value] {
					refuse("the same ID is given twice")
				}
				ids[a.value] = true
			}
		}
		switch n.name {
		case name{nsProtocol, "Response"}:
			responses++
		case name{nsAssertion, "Assertion"}, name{nsAssertion, "EncryptedAssertion"}:
			if assertions++; parent != root && n != root {
				refuse("an assertion stands where none may be")
			}
		case name{nsSignature, "Signature"}:
			if signatures++; parent == nil || parent != root && parent.name != (name{nsAssertion, "Assertion"}) {
				refuse("a signature stands where none may be")
			}
		case name{nsSignature, "Object"}, name{nsSignature, "Manifest"}:
			refuse("a signature holds an object")
		}
	})
	if responses > 1 {
		refuse("the answer holds %d responses", responses)
	}
	if assertions > 1 {
		refuse("the answer holds %d assertions; exactly one is accepted", assertions)
	}
	if err != nil {
		return nil, err
	}
	for _, n := range append([]*node{root}, root.all(nsAssertion, "Assertion")...) {
		if n.name.space == nsMetadata {
			continue // metadata has its own order
		}
		if err := order(n); err != nil {
			return nil, err
		}
	}
	return ids, nil
}

// order checks the children of a message or an Assertion against the sequence
// of the schema (saml-core-2.0-os §2.3.3, §3.2.2, §3.7). A step that ends with
// an asterisk may be taken again.
func order(n *node) error {
	var steps []string
	switch n.local {
	case "Response":
		steps = []string{nsAssertion + " Issuer", nsSignature + " Signature", nsProtocol + " Extensions", nsProtocol + " Status",
			nsAssertion + " Assertion", nsAssertion + " EncryptedAssertion"}
	case "Assertion":
		steps = []string{nsAssertion + " Issuer", nsSignature + " Signature", nsAssertion + " Subject", nsAssertion + " Conditions",
			nsAssertion + " Advice", nsAssertion + " Statement*"}
	case "LogoutRequest":
		steps = []string{nsAssertion + " Issuer", nsSignature + " Signature", nsProtocol + " Extensions", nsAssertion + " NameID",
			nsAssertion + " EncryptedID", nsProtocol + " SessionIndex*"}
	case "LogoutResponse":
		steps = []string{nsAssertion + " Issuer", nsSignature + " Signature", nsProtocol + " Extensions", nsProtocol + " Status"}
	}
	if !n.elementsOnly() {
		return federation.Refuse(ReasonStructure, "there is text between the elements of the %s", n.local)
	}
	step := 0
	for _, k := range n.kids {
		at := -1
		for i := step; i < len(steps); i++ {
			space, local, _ := strings.Cut(strings.TrimSuffix(steps[i], "*"), " ")
			if k.name == (name{space, local}) && local != "Statement" || local == "Statement" && k.space == space && statement(k.local) {
				at = i
				break
			}
		}
		if at < 0 {
			return federation.Refuse(ReasonStructure, "the %s holds an element in the wrong place, twice, or that SAML does not know", n.local)
		}
		if step = at; !strings.HasSuffix(steps[at], "*") {
			step++
		}
	}
	return nil
}

func statement(local string) bool {
	return local == "AuthnStatement" || local == "AttributeStatement" || local == "AuthzDecisionStatement"
}

// assertionOf gives the one assertion of a response, plain or encrypted.
func assertionOf(response *node) (*node, error) {
	found := append(response.all(nsAssertion, "Assertion"), response.all(nsAssertion, "EncryptedAssertion")...)
	if len(found) != 1 {
		return nil, federation.Refuse(ReasonStructure, "the answer holds %d assertions; exactly one is accepted", len(found))
	}
	return found[0], nil
}

// outer checks what a Response says about itself: that it is version 2.0,
// comes from this identity provider, goes to this address, answers this
// request, and says Success (saml-core-2.0-os §3.2.2, saml-bindings-2.0-os
// §3.5.5.2). It is asked before any signature is looked at, to be cheap, and
// again of what was signed.
func (o opener) outer(r *node) error {
	if err := header(r); err != nil {
		return err
	}
	if err := issuedBy(r, o.issuer); err != nil {
		return err
	}
	if to := r.attrValue("Destination"); to != o.acs {
		return federation.Refuse(ReasonDestination, "the response is addressed to %.200q, not to %q", to, o.acs)
	}
	if !same(r.attrValue("InResponseTo"), o.inResponseTo) {
		return federation.Refuse(ReasonInResponseTo, "the response answers another request, or none")
	}
	return success(r)
}

// header checks Version and ID, which every message and assertion has.
func header(n *node) error {
	if v := n.attrValue("Version"); v != "2.0" {
		return federation.Refuse(ReasonStructure, "the %s has version %.20q; 2.0 is accepted", n.local, v)
	}
	if id := n.attrValue("ID"); id == "" || len(id) > maxID || strings.ContainsAny(id, " \t\r\n") {
		return federation.Refuse(ReasonStructure, "the %s has no usable ID", n.local)
	}
	return nil
}

// issuedBy checks the Issuer of a Response or an Assertion byte for byte.
func issuedBy(n *node, want string) error {
	is, ok := n.one(nsAssertion, "Issuer")
	if !ok || is == nil || !is.plain() {
		return federation.Refuse(ReasonIssuer, "the %s does not name its issuer", n.local)
	}
	if f, given := is.attr("Format"); given && f != formatEntity {
		return federation.Refuse(ReasonIssuer, "the issuer of the %s is not an entity", n.local)
	}
	if is.text != want {
		return federation.Refuse(ReasonIssuer, "the %s was issued by %.200q, not by %q", n.local, is.text, want)
	}
	return nil
}

// success reads the Status. What the provider says in words is not repeated:
// it may be anything, and may be from anybody.
func success(r *node) error {
	st, ok := r.one(nsProtocol, "Status")
	if !ok || st == nil {
		return federation.Refuse(ReasonStructure, "the response has no status")
	}
	code, ok := st.one(nsProtocol, "StatusCode")
	if !ok || code == nil {
		return federation.Refuse(ReasonStructure, "the response has no status")
	}
	if code.attrValue("Value") == statusSuccess {
		return nil
	}
	detail := shortStatus(code.attrValue("Value"))
	if sub, _ := code.one(nsProtocol, "StatusCode"); sub != nil {
		if sub.attrValue("Value") == statusNoAuthn {
			return federation.Refuse(federation.ReasonStepUp, "the identity provider can not sign the person in as strongly as was asked")
		}
		detail += ", " + shortStatus(sub.attrValue("Value"))
	}
	return federation.Refuse(federation.ReasonDenied, "the identity provider answered %s", detail)
}

// shortStatus gives the last word of a status that SAML defines; others are
// only said to be others.
func shortStatus(uri string) string {
	word, ok := strings.CutPrefix(uri, "urn:oasis:names:tc:SAML:2.0:status:")
	if !ok || len(word) > 40 || strings.Trim(word, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz") != "" {
		return "a status of its own"
	}
	return word
}

// same compares what must be equal and not empty.
func same(a, b string) bool {
	return b != "" && subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1
}
