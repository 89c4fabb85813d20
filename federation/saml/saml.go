package saml

import (
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/gatehouse-sso/gatehouse/federation"
)

// A Key is a private key with the certificate that metadata shows for it.
// Nobody checks the certificate's dates or issuer.
type Key struct {
	Private     crypto.Signer
	Certificate *x509.Certificate
}

// Config is what a Provider needs. The zero value of everything but ID,
// EntityID, ACSURL, Metadata and Signing is the safe choice.
type Config struct {
	ID       string // of the provider in our configuration
	EntityID string // ours, as service provider
	ACSURL   string // where answers come to; compared byte for byte
	SLOURL   string // where logout messages come to, compared byte for byte; empty: nowhere

	// Signing keys: the first signs, all are in our metadata, so that a new
	// one can be announced before it is used. RSA or ECDSA.
	Signing []Key
	// Decryption keys: RSA. All decrypt, the first is in our metadata, so that
	// an old one can go on decrypting. None: encrypted assertions are refused.
	Decryption []Key

	// IDP is the identity provider's entity ID. Empty: the one that its
	// metadata names when it is first read.
	IDP      string
	Metadata Metadata
	// Binding of requests: Redirect or Post. Empty: what the identity provider
	// offers, the redirect first.
	Binding string

	// InsecureUnsignedRequests sends requests without a signature.
	InsecureUnsignedRequests bool
	// InsecureSHA1 accepts SHA-1 in signatures and their digests.
	InsecureSHA1 bool
	// RequireSignedResponse and RequireSignedAssertion insist on that one
	// signature. One of the two must be there in any case.
	RequireSignedResponse  bool
	RequireSignedAssertion bool

	// Subject lists what names a person, in order of preference: SubjectID,
	// PairwiseID, PersistentNameID, EmailNameID, UnspecifiedNameID or the name
	// of an attribute. Empty: the first three.
	Subject []string
	// MaxValues is how many values one attribute may have; zero means 1,000.
	MaxValues int
	// Skew is how far clocks may differ; zero means three minutes, at most ten
	// are accepted.
	Skew time.Duration

	Client *http.Client     // for metadata; nil: a plain one
	Now    func() time.Time // nil: time.Now
}

const (
	defaultSkew = 3 * time.Minute
	mostSkew    = 10 * time.Minute
	// maxForm is how large the form of an answer may be: a decoded message of
	// maxMessage needs about 350 KB in base64.
	maxForm = 1 << 20
	// pendingFor is how long an answer may take.
	pendingFor = 10 * time.Minute
)

// A Provider signs people in at one SAML identity provider.
type Provider struct {
	c         Config
	from      *source
	keys      []crypto.Decrypter
	deflaters sync.Pool // of *flate.Writer
	tags      tokenSet  // that survive: nearly all of an answer were in the answer before
}

var _ federation.Provider = (*Provider)(nil)

// New checks the configuration. It reads metadata that is given as a document
// or a file, and reports what is wrong with it; what comes from an address is
// fetched when it is first needed.
func New(c Config) (*Provider, error) {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Skew == 0 {
		c.Skew = defaultSkew
	}
	if c.MaxValues == 0 {
		c.MaxValues = 1000
	}
	if len(c.Subject) == 0 {
		c.Subject = []string{SubjectID, PairwiseID, PersistentNameID}
	}
	p := &Provider{c: c}
	if err := p.check(); err != nil {
		return nil, fmt.Errorf("saml provider %q: %w", c.ID, err)
	}
	var err error
	if p.from, err = newSource(c.Metadata, c.IDP, c.Client, c.Now); err != nil {
		return nil, fmt.Errorf("saml provider %q: %w", c.ID, err)
	}
	p.from.check = p.serves
	if c.Metadata.URL == "" {
		if _, err := p.from.current(context.Background()); err != nil {
			return nil, fmt.Errorf("saml provider %q: %w", c.ID, err)
		}
	}
	return p, nil
}

// check finds every mistake of the configuration itself.
func (p *Provider) check() error {
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	c := p.c
	if c.ID == "" || c.EntityID == "" || len(c.EntityID) > maxEntityID {
		wrong("an ID and an entity ID of at most %d bytes are needed", maxEntityID)
	}
	if _, err := location(c.ACSURL); err != nil {
		wrong("the address for answers: %w", err)
	}
	if c.SLOURL != "" {
		if _, err := location(c.SLOURL); err != nil {
			wrong("the address for logout: %w", err)
		}
	}
	if c.Binding != "" && c.Binding != Redirect && c.Binding != Post {
		wrong("the binding %q is not known: redirect and post are", c.Binding)
	}
	if len(c.Signing) == 0 && !c.InsecureUnsignedRequests {
		wrong("a key is needed to sign requests")
	}
	for _, k := range c.Signing {
		if err := k.usable(); err != nil {
			wrong("a signing key: %w", err)
		}
	}
	for _, k := range c.Decryption {
		if err := k.usable(); err != nil {
			wrong("a decryption key: %w", err)
		} else if d, ok := k.Private.(crypto.Decrypter); !ok || !isRSA(k.Private.Public()) {
			wrong("a decryption key: only RSA keys can decrypt")
		} else {
			p.keys = append(p.keys, d)
		}
	}
	if c.Skew < 0 || c.Skew > mostSkew {
		wrong("clocks may differ by at most %s", mostSkew)
	}
	if c.MaxValues < 0 {
		wrong("an attribute can not have fewer than no values")
	}
	return errors.Join(errs...)
}

func (k Key) usable() error {
	if k.Private == nil || k.Certificate == nil {
		return errors.New("the key or its certificate is missing")
	}
	if pub, ok := k.Private.Public().(interface{ Equal(crypto.PublicKey) bool }); !ok || !pub.Equal(k.Certificate.PublicKey) {
		return errors.New("the certificate belongs to another key")
	}
	return usable(k.Private.Public())
}

func isRSA(k crypto.PublicKey) bool { _, ok := k.(*rsa.PublicKey); return ok }

// serves says whether what an identity provider offers and wants fits our
// configuration.
func (p *Provider) serves(idp *peer) error {
	if p.c.Binding != "" && idp.sso[p.c.Binding] == nil {
		return fmt.Errorf("the identity provider offers no sign-in by the %s binding", p.c.Binding)
	}
	if idp.wantSigned && p.c.InsecureUnsignedRequests {
		return errors.New("the identity provider wants signed requests")
	}
	return nil
}

// Status says how the identity provider's metadata stands.
func (p *Provider) Status() Status { return p.from.status() }

// Refresh reads the metadata again if it is due. Begin and Finish do so too;
// whoever calls this now and then spares people the wait.
func (p *Provider) Refresh(ctx context.Context) error {
	if _, err := p.from.current(ctx); err != nil {
		return err
	}
	return p.from.status().Err
}

// Reread reads the metadata at once, also if it is not due.
func (p *Provider) Reread(ctx context.Context) error {
	p.from.reading.Lock()
	defer p.from.reading.Unlock()
	p.from.refresh(ctx)
	return p.from.status().Err
}

// ErrorURL is where the identity provider wants people sent whom it could not
// help (saml-metadata-2.0-os §2.4.1); "" if it does not say.
func (p *Provider) ErrorURL() string {
	if idp := p.from.inUse(); idp != nil {
		return idp.errorURL
	}
	return ""
}

// Finish checks an answer that came by the POST binding. Its errors are all
// *federation.Refusal, and hold nothing of the assertion.
func (p *Provider) Finish(r *http.Request, pending federation.Pending) (id federation.Identity, err error) {
	// Nothing here is known to panic; but what arrives is anybody's, and it
	// goes through three libraries that have been seen to.
	defer func() {
		if v := recover(); v != nil {
			id, err = federation.Identity{}, federation.Refuse(ReasonStructure, "reading the answer failed with a %T", v)
		}
	}()
	raw, err := answer(r, pending)
	if err != nil {
		return federation.Identity{}, err
	}
	now := p.c.Now()
	if pending.Began.After(now.Add(p.c.Skew)) || now.After(pending.Began.Add(pendingFor)) {
		return federation.Identity{}, federation.Refuse(federation.ReasonStateExpired, "the sign-in was begun at %s, and it is %s", stamp(pending.Began), stamp(now))
	}
	idp, err := p.from.current(r.Context())
	if err != nil {
		return federation.Identity{}, err
	}
	return p.identity(raw, idp, pending, now)
}

// answer takes the message out of the form. It insists on one place for each
// parameter, so that nothing in front of us can have read another.
func answer(r *http.Request, pending federation.Pending) ([]byte, error) {
	if r.Method != http.MethodPost {
		return nil, federation.Refuse(federation.ReasonMalformed, "an answer comes by POST, not by %.10s", r.Method)
	}
	if r.PostForm == nil {
		r.Body = http.MaxBytesReader(nil, r.Body, maxForm)
		if err := r.ParseForm(); err != nil {
			var large *http.MaxBytesError
			if errors.As(err, &large) {
				return nil, federation.Refuse(federation.ReasonTooLarge, "the answer is larger than %d bytes", maxForm)
			}
			return nil, federation.Refuse(federation.ReasonMalformed, "the answer's form can not be read")
		}
	}
	query := r.URL.Query()
	for _, param := range []string{"SAMLResponse", "SAMLRequest", "SAMLart", "RelayState"} {
		if query.Has(param) {
			return nil, federation.Refuse(federation.ReasonMalformed, "the answer has the parameter %s in its address", param)
		}
	}
	if r.PostForm.Has("SAMLart") || r.PostForm.Has("SAMLRequest") {
		return nil, federation.Refuse(federation.ReasonMalformed, "the form holds an artifact or a request, not an answer alone")
	}
	state, err := federation.StateOf(r)
	if err != nil {
		return nil, err
	}
	if !same(state, pending.State) {
		return nil, federation.Refuse(federation.ReasonStateUnknown, "the answer belongs to another sign-in")
	}
	vals := r.PostForm["SAMLResponse"]
	if len(vals) != 1 || vals[0] == "" {
		return nil, federation.Refuse(federation.ReasonMalformed, "the form holds %d answers", len(vals))
	}
	if len(vals[0]) > maxForm {
		return nil, federation.Refuse(federation.ReasonTooLarge, "the answer is larger than %d bytes", maxForm)
	}
	raw, err := base64.StdEncoding.DecodeString(squeeze(vals[0]))
	if err != nil {
		return nil, federation.Refuse(federation.ReasonMalformed, "the answer is not base64")
	}
	return raw, nil
}

// identity makes of the bytes of an answer what is known of the person. It is
// a function of its arguments and the configuration.
func (p *Provider) identity(raw []byte, idp *peer, pending federation.Pending, now time.Time) (federation.Identity, error) {
	v := visit{
		issuer: idp.entityID, me: p.c.EntityID, acs: p.c.ACSURL, inResponseTo: pending.Keep[keepID],
		now: now, skew: p.c.Skew, pending: pending,
	}
	o := opener{
		trust: trust{keys: idp.keys, sha1: p.c.InsecureSHA1}, keys: p.keys, tags: &p.tags,
		issuer: v.issuer, me: v.me, acs: v.acs, inResponseTo: v.inResponseTo,
		responseSigned: p.c.RequireSignedResponse, assertionSigned: p.c.RequireSignedAssertion,
	}
	response, assertion, err := o.open(raw)
	if err != nil {
		return federation.Identity{}, err
	}
	a, err := v.judge(response, assertion)
	if err != nil {
		return federation.Identity{}, err
	}
	attrs, err := attributesOf(a.statements, p.c.MaxValues)
	if err != nil {
		return federation.Identity{}, err
	}
	subject, err := v.subjectOf(p.c.Subject, a.nameID, attrs)
	if err != nil {
		return federation.Identity{}, err
	}
	if a.nameID != nil {
		a.context.LogoutHint, a.context.Name = asXML(a.nameID), v.nameOf(a.nameID)
	}
	// A flow is over at the latest when its Pending is, so neither of the two
	// can come again after that.
	end := pending.Began.Add(pendingFor + p.c.Skew)
	if a.until.Before(end) {
		end = a.until
	}
	return federation.Identity{
		Ref:        federation.Ref{Issuer: v.issuer, Subject: subject},
		Provider:   p.c.ID,
		Attributes: attrs,
		Context:    a.context,
		Once: []federation.Once{
			{Key: "saml assertion " + strconv.Quote(v.issuer) + " " + a.id, Until: end},
			{Key: "saml flow " + strconv.Quote(v.issuer) + " " + pending.State, Until: pending.Began.Add(pendingFor + p.c.Skew)},
		},
	}, nil
}
