package saml

import (
	"bytes"
	"compress/flate"
	"context"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/beevik/etree"
	"github.com/gatehouse-sso/gatehouse/federation"
)

// Single logout (saml-profiles-2.0-os §4.4) by the browser, in both directions
// and by both bindings. What comes is looked at in this order, so that whoever
// has no key costs little:
//
//	redirect  parameters: each once, spelled and ordered as signed
//	          signature over the very octets of the query        saml.signature…
//	          then inflated, within maxMessage, and read
//	POST      read, shape checked, signature in the root, and read again as signed
//	both      version, issuer, Destination, times
//	          the person and the sessions, or what is answered

var _ federation.Leaver = (*Provider)(nil)

const (
	// logoutAge is how old a logout message may be that does not say itself.
	logoutAge = 5 * time.Minute
	// maxRelay bounds what is sent back as RelayState, in bytes. The standard has
	// 80; identity providers have more.
	maxRelay = 1024
	// maxSessions is how many sessions one request may name.
	maxSessions = 100

	deflateEncoding = "urn:oasis:names:tc:SAML:2.0:bindings:URL-Encoding:DEFLATE"
	statusResponder = "urn:oasis:names:tc:SAML:2.0:status:Responder"
	reasonUser      = "urn:oasis:names:tc:SAML:2.0:logout:user"
)

// Leave makes a LogoutRequest (saml-core-2.0-os §3.7.1). It is always signed:
// where there is no key, or the session holds no NameID, nobody is asked.
func (p *Provider) Leave(ctx context.Context, s federation.SignedIn) (federation.Challenge, federation.Pending, error) {
	idp, err := p.from.current(ctx)
	if err != nil {
		return federation.Challenge{}, federation.Pending{}, err
	}
	binding, ok := idp.exitBy(p.c.Binding)
	name := etree.NewDocument()
	if !ok || s.Hint == "" || len(p.c.Signing) == 0 || p.c.SLOURL == "" || name.ReadFromString(s.Hint) != nil || name.Root() == nil {
		return federation.Challenge{}, federation.Pending{}, federation.ErrNoLogout
	}
	to := idp.slo[binding].requests
	pending := federation.Pending{State: token(), Began: p.c.Now(), Keep: map[string]string{keepID: "_" + token()}}
	el := p.logoutMessage("samlp:LogoutRequest", pending.Keep[keepID], to)
	el.CreateAttr("NotOnOrAfter", stamp(pending.Began.Add(logoutAge)))
	el.CreateAttr("Reason", reasonUser)
	el.AddChild(name.Root())
	if s.Session != "" {
		el.CreateElement("samlp:SessionIndex").SetText(s.Session)
	}
	ch, err := p.send(parcel{asRequest, el, pending.State, true}, binding, to)
	if err != nil {
		return federation.Challenge{}, federation.Pending{}, err
	}
	return ch, pending, nil
}

// exitBy chooses how a logout message goes: as wanted, else the redirect first.
func (p *peer) exitBy(wanted string) (binding string, ok bool) {
	for _, b := range []string{wanted, Redirect, Post} {
		if _, ok := p.slo[b]; ok {
			return b, true
		}
	}
	return "", false
}

func (p *Provider) logoutMessage(tag, id string, to *url.URL) *etree.Element {
	el := etree.NewElement(tag)
	el.CreateAttr("xmlns:samlp", nsProtocol)
	el.CreateAttr("xmlns:saml", nsAssertion)
	el.CreateAttr("ID", id)
	el.CreateAttr("Version", "2.0")
	el.CreateAttr("IssueInstant", stamp(p.c.Now()))
	el.CreateAttr("Destination", to.String())
	el.CreateElement("saml:Issuer").SetText(p.c.EntityID)
	return el
}

// Left checks a LogoutResponse (saml-core-2.0-os §3.7.2).
func (p *Provider) Left(r *http.Request, pending federation.Pending) (err error) {
	defer refusePanic(&err)
	got, err := p.receive(r, asResponse)
	if err != nil {
		return err
	}
	if !same(got.relay, pending.State) {
		return federation.Refuse(federation.ReasonStateUnknown, "the answer belongs to another sign-out")
	}
	if !same(got.root.attrValue("InResponseTo"), pending.Keep[keepID]) {
		return federation.Refuse(ReasonInResponseTo, "the response answers another request, or none")
	}
	return success(got.root)
}

// Over checks a LogoutRequest (saml-core-2.0-os §3.7.1).
func (p *Provider) Over(r *http.Request) (e federation.Ending, err error) {
	defer refusePanic(&err)
	got, err := p.receive(r, asRequest)
	if err != nil {
		return e, err
	}
	v, root := got.visit, got.root
	end, err := instant(root, "NotOnOrAfter", false)
	if err != nil {
		return e, err
	}
	if !end.IsZero() {
		if err := v.notOver(end, "the logout request"); err != nil {
			return e, err
		}
	}
	id, ok := root.one(nsAssertion, "NameID")
	switch {
	case len(root.all(nsAssertion, "EncryptedID")) > 0:
		return e, federation.Refuse(ReasonEncryption, "the person's name is encrypted by itself, which is not supported")
	case !ok || id == nil || !id.plain():
		return e, federation.Refuse(ReasonSubject, "the logout request does not name the person")
	}
	if err := clean(id.text); err != nil {
		return e, err
	}
	indexes := root.all(nsProtocol, "SessionIndex")
	if len(indexes) > maxSessions {
		return e, federation.Refuse(federation.ReasonTooLarge, "the logout request names %d sessions; %d are accepted", len(indexes), maxSessions)
	}
	var sessions []string
	for _, n := range indexes {
		if !n.plain() || n.text == "" || len(n.text) > maxEntityID {
			return e, federation.Refuse(ReasonStructure, "the logout request names a session that none can be called")
		}
		sessions = append(sessions, n.text)
	}
	request := root.attrValue("ID")
	issued, err := instant(root, "IssueInstant", true)
	if err != nil {
		return e, err
	}
	return federation.Ending{
		Name: v.nameOf(id), Sessions: sessions,
		Once: []federation.Once{{Key: "saml logout " + strconv.Quote(v.issuer) + " " + request, Until: issued.Add(logoutAge + 2*v.skew)}},
		Answer: func(ctx context.Context, ended bool) (federation.Challenge, error) {
			return p.logoutResponse(ctx, got, request, ended)
		},
	}, nil
}

// logoutResponse answers a request the way it came, where the identity provider
// takes answers so.
func (p *Provider) logoutResponse(ctx context.Context, got letter, request string, ended bool) (federation.Challenge, error) {
	idp, err := p.from.current(ctx)
	if err != nil {
		return federation.Challenge{}, err
	}
	binding, ok := idp.exitBy(got.binding)
	if !ok || len(p.c.Signing) == 0 {
		return federation.Challenge{}, federation.ErrNoLogout
	}
	to := idp.slo[binding].answers
	el := p.logoutMessage("samlp:LogoutResponse", "_"+token(), to)
	el.CreateAttr("InResponseTo", request)
	status := statusSuccess
	if !ended {
		status = statusResponder
	}
	el.CreateElement("samlp:Status").CreateElement("samlp:StatusCode").CreateAttr("Value", status)
	return p.send(parcel{asResponse, el, got.relay, true}, binding, to)
}

// nameOf is a NameID with everything that makes it one of a kind. In a
// persistent or transient name, qualifiers that are not given are those of the
// two sides (saml-core-2.0-os §8.3.7–8.3.8), and a format that is not given is
// the unspecified one (§2.2.2). Nothing else stands for anything else.
func (v visit) nameOf(id *node) string {
	format, given := id.attr("Format")
	if !given {
		format = formatUnspecified
	}
	name := strconv.Quote(format)
	for _, q := range []struct{ attr, absent string }{{"NameQualifier", v.issuer}, {"SPNameQualifier", v.me}} {
		val, given := id.attr(q.attr)
		if !given && (format == formatPersistent || format == formatTransient) {
			val = q.absent
		}
		name += " " + strconv.Quote(val)
	}
	return name + " " + strconv.Quote(id.text)
}

// A letter is a logout message that the identity provider has signed.
type letter struct {
	binding string // that it came by
	root    *node  // as signed
	relay   string // RelayState
	visit   visit
}

// receive takes a message in the parameter param out of a request, and checks all
// that requests and responses have in common.
func (p *Provider) receive(r *http.Request, param string) (letter, error) {
	idp, err := p.from.current(r.Context())
	if err != nil {
		return letter{}, err
	}
	t := trust{keys: idp.keys, sha1: p.c.InsecureSHA1}
	l := letter{visit: visit{issuer: idp.entityID, me: p.c.EntityID, now: p.c.Now(), skew: p.c.Skew}}
	want := name{nsProtocol, map[string]string{asRequest: "LogoutRequest", asResponse: "LogoutResponse"}[param]}
	if r.Method == http.MethodPost {
		l.binding = Post
		l.root, l.relay, err = t.posted(r, param, want)
	} else {
		l.binding = Redirect
		l.root, l.relay, err = t.redirected(r.URL.RawQuery, param, want)
	}
	if err != nil {
		return letter{}, err
	}
	if err := header(l.root); err != nil {
		return letter{}, err
	}
	if err := issuedBy(l.root, l.visit.issuer); err != nil {
		return letter{}, err
	}
	if to := l.root.attrValue("Destination"); !same(to, p.c.SLOURL) {
		return letter{}, federation.Refuse(ReasonDestination, "the message is addressed to %.200q, not to %q", to, p.c.SLOURL)
	}
	if err := l.visit.issued(l.root); err != nil {
		return letter{}, err
	}
	at, _ := instant(l.root, "IssueInstant", true)
	return l, l.visit.notOver(at.Add(logoutAge), "the time of the message")
}

// messageParams are all parameters that have a meaning in either binding.
var messageParams = []string{asRequest, asResponse, "SAMLart", "RelayState", "SigAlg", "Signature", "SAMLEncoding"}

// posted reads a message by the POST binding (saml-bindings-2.0-os §3.5).
func (t trust) posted(r *http.Request, param string, want name) (*node, string, error) {
	if r.PostForm == nil {
		r.Body = http.MaxBytesReader(nil, r.Body, maxForm)
		if err := r.ParseForm(); err != nil {
			return nil, "", unreadable(err)
		}
	}
	query := r.URL.Query()
	for _, name := range messageParams {
		if n := len(r.PostForm[name]); query.Has(name) || n > 1 || n > 0 && name != param && name != "RelayState" {
			return nil, "", federation.Refuse(federation.ReasonMalformed, "the message has the parameter %s twice, or where none may be", name)
		}
	}
	raw, err := base64.StdEncoding.DecodeString(squeeze(r.PostForm.Get(param)))
	if err != nil || len(raw) == 0 {
		return nil, "", federation.Refuse(federation.ReasonMalformed, "the message is missing, or not base64")
	}
	relay := r.PostForm.Get("RelayState")
	if len(relay) > maxRelay {
		return nil, "", federation.Refuse(federation.ReasonTooLarge, "the RelayState has %d bytes", len(relay))
	}
	doc, sig, err := logoutDocument(raw, want)
	if err != nil {
		return nil, "", err
	}
	if sig == nil {
		return nil, "", federation.Refuse(ReasonSignatureMissing, "the message is not signed")
	}
	root, err := t.verify(doc, nil, doc.root, sig)
	return root, relay, err
}

func unreadable(err error) error {
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		return federation.Refuse(federation.ReasonTooLarge, "the message is larger than %d bytes", maxForm)
	}
	return federation.Refuse(federation.ReasonMalformed, "the message's form can not be read")
}

// redirected reads a message by the redirect binding (saml-bindings-2.0-os
// §3.4.4.1), whose signature is over the query as the identity provider wrote it.
func (t trust) redirected(raw, param string, want name) (*node, string, error) {
	if len(raw) > maxForm {
		return nil, "", federation.Refuse(federation.ReasonTooLarge, "the message is larger than %d bytes", maxForm)
	}
	q, err := readQuery(raw)
	if err != nil {
		return nil, "", err
	}
	if q.plain(param) == "" || q.has(asRequest) && q.has(asResponse) || q.has("SAMLart") {
		return nil, "", federation.Refuse(federation.ReasonMalformed, "the address holds no message of the kind, or more than one")
	}
	if enc := q.plain("SAMLEncoding"); q.has("SAMLEncoding") && enc != deflateEncoding {
		return nil, "", federation.Refuse(federation.ReasonMalformed, "the message is packed in a way that is not known")
	}
	relay := q.plain("RelayState")
	if len(relay) > maxRelay {
		return nil, "", federation.Refuse(federation.ReasonTooLarge, "the RelayState has %d bytes", len(relay))
	}
	if err := t.checkQuery(q, param); err != nil {
		return nil, "", err
	}
	packed, err := base64.StdEncoding.DecodeString(squeeze(q.plain(param)))
	if err != nil {
		return nil, "", federation.Refuse(federation.ReasonMalformed, "the message is not base64")
	}
	text, err := io.ReadAll(io.LimitReader(flate.NewReader(bytes.NewReader(packed)), maxMessage+1))
	if err != nil {
		return nil, "", federation.Refuse(federation.ReasonMalformed, "the message can not be unpacked")
	}
	doc, sig, err := logoutDocument(text, want)
	if err != nil {
		return nil, "", err
	}
	if sig != nil {
		return nil, "", federation.Refuse(ReasonStructure, "the message is signed within too, which this binding forbids")
	}
	return doc.root, relay, nil
}

// checkQuery checks the signature over the octets that stand in the query.
func (t trust) checkQuery(q query, param string) error {
	if !q.has("SigAlg") || !q.has("Signature") {
		return federation.Refuse(ReasonSignatureMissing, "the message is not signed")
	}
	kind, h, ok := methodOf(q.plain("SigAlg"), t.sha1)
	if !ok {
		return federation.Refuse(ReasonAlgorithm, "the signature's method is not accepted: %.100q", q.plain("SigAlg"))
	}
	sig, err := base64.StdEncoding.Strict().DecodeString(squeeze(q.plain("Signature")))
	if err != nil {
		return federation.Refuse(ReasonSignature, "the signature is not base64")
	}
	msg := param + "=" + q.raw[param]
	if q.has("RelayState") {
		msg += "&RelayState=" + q.raw["RelayState"]
	}
	msg += "&SigAlg=" + q.raw["SigAlg"]
	for _, k := range t.keys {
		if verifyBytes(k, kind, h, []byte(msg), sig) {
			return nil
		}
	}
	return federation.Refuse(ReasonSignature, "no key of the identity provider's metadata made this signature")
}

// A query holds the parameters of messages as they were written, escapes and
// all.
type query struct{ raw map[string]string }

func (q query) has(name string) bool { _, ok := q.raw[name]; return ok }

// plain is a parameter without escapes; readQuery has seen that it has a reading.
func (q query) plain(name string) string { s, _ := url.QueryUnescape(q.raw[name]); return s }

// readQuery takes the message's parameters out of a query. Each is there at most
// once, under its plain name, and those that are signed in the order in which
// they are: then no two readers can take different ones. Other parameters mean
// nothing.
func readQuery(raw string) (query, error) {
	q := query{map[string]string{}}
	odd := federation.Refuse(federation.ReasonMalformed, "the address holds a parameter twice, in another order or in another spelling than is signed")
	if _, err := url.ParseQuery(raw); err != nil {
		return q, odd
	}
	order := []string{asRequest, asResponse, "RelayState", "SigAlg", "Signature"}
	last := -1
	for part := range bytes.SplitSeq([]byte(raw), []byte("&")) {
		written, val, _ := bytes.Cut(part, []byte("="))
		name, err := url.QueryUnescape(string(written))
		if err != nil {
			return q, odd
		}
		if !slices.Contains(messageParams, name) {
			continue
		}
		at := slices.Index(order, name)
		if q.has(name) || string(written) != name || at >= 0 && at < last {
			return q, odd
		}
		last = max(last, at)
		q.raw[name] = string(val)
	}
	return q, nil
}

// logoutDocument reads a message and checks its shape; sig is the signature that
// stands in its root, nil if none does.
func logoutDocument(raw []byte, want name) (doc *document, sig *node, err error) {
	if doc, err = read(raw, maxMessage); err != nil {
		return nil, nil, err
	}
	if doc.root.name != want {
		return nil, nil, federation.Refuse(ReasonStructure, "the message is not a %s", want.local)
	}
	if _, err := shape(doc.root); err != nil {
		return nil, nil, err
	}
	if err := doc.load(&tokenSet{}); err != nil {
		return nil, nil, err
	}
	sig, _ = doc.root.one(nsSignature, "Signature") // shape has seen that there are not two
	return doc, sig, nil
}

// refusePanic makes a refusal of a panic, as in Finish.
func refusePanic(err *error) {
	if v := recover(); v != nil {
		*err = federation.Refuse(ReasonStructure, "reading the message failed with a %T", v)
	}
}
