package saml

import (
	"slices"
	"time"

	"github.com/gatehouse-sso/gatehouse/federation"
)

const methodBearer = "urn:oasis:names:tc:SAML:2.0:cm:bearer"

// A visit is one answer's circumstances: what the policy compares with.
type visit struct {
	issuer, me, acs, inResponseTo string
	now                           time.Time
	skew                          time.Duration
	pending                       federation.Pending
}

// A verdict is what the policy found in an assertion with which nothing is
// wrong.
type verdict struct {
	id         string
	nameID     *node // nil if the person is named by an attribute alone
	context    federation.Context
	statements []*node   // attribute statements
	until      time.Time // from then on it is too old, the skew included
}

// judge applies the rules of the Web Browser SSO profile (saml-profiles-2.0-os
// §4.1.4.2–4.1.4.3) to a response and the assertion in it, both as signed.
// It is a function of its arguments.
func (v visit) judge(response, assertion *node) (verdict, error) {
	if err := header(assertion); err != nil {
		return verdict{}, err
	}
	if err := order(assertion); err != nil {
		return verdict{}, err
	}
	if err := issuedBy(assertion, v.issuer); err != nil {
		return verdict{}, err
	}
	for _, n := range []*node{response, assertion} {
		if err := v.issued(n); err != nil {
			return verdict{}, err
		}
	}
	a := verdict{id: assertion.attrValue("ID"), statements: assertion.all(nsAssertion, "AttributeStatement")}
	end, err := v.conditions(assertion)
	if err != nil {
		return verdict{}, err
	}
	subject, ok := assertion.one(nsAssertion, "Subject")
	if !ok || subject == nil {
		return verdict{}, federation.Refuse(ReasonSubject, "the assertion has no subject")
	}
	if a.nameID, err = nameIDOf(subject); err != nil {
		return verdict{}, err
	}
	confirmed, err := v.confirmation(subject)
	if err != nil {
		return verdict{}, err
	}
	if confirmed.Before(end) {
		end = confirmed
	}
	a.until = end.Add(v.skew)
	if a.context, err = v.authn(assertion); err != nil {
		return verdict{}, err
	}
	return a, nil
}

// issued checks that an IssueInstant does not lie ahead.
func (v visit) issued(n *node) error {
	at, err := instant(n, "IssueInstant", true)
	if err != nil {
		return err
	}
	return v.notAhead(at, "the "+n.local+" was issued")
}

// instant reads an xs:dateTime in UTC or with an offset (RFC 3339). A zero
// time stands for an absent attribute that need not be there.
func instant(n *node, attr string, required bool) (time.Time, error) {
	text, ok := n.attr(attr)
	if !ok && !required {
		return time.Time{}, nil
	}
	at, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return time.Time{}, federation.Refuse(ReasonStructure, "the %s of the %s is missing or no time", attr, n.local)
	}
	return at.UTC(), nil
}

// notAhead refuses a moment in the past tense that lies in the future.
func (v visit) notAhead(at time.Time, what string) error {
	if at.After(v.now.Add(v.skew)) {
		return federation.Refuse(ReasonNotYetValid, "%s at %s, but it is %s here: is there clock skew?", what, stamp(at), stamp(v.now))
	}
	return nil
}

// notOver refuses what ended at or before now.
func (v visit) notOver(end time.Time, what string) error {
	if !v.now.Before(end.Add(v.skew)) {
		return federation.Refuse(ReasonExpired, "%s ended at %s, and it is %s here: is there clock skew?", what, stamp(end), stamp(v.now))
	}
	return nil
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// conditions checks the Conditions, all of which must hold, and gives the
// time when they end. What is not understood can not be said to hold
// (saml-core-2.0-os §2.5.1.1). OneTimeUse is always kept here, by Once.
// ProxyRestriction says nothing to one who issues no assertions.
func (v visit) conditions(assertion *node) (time.Time, error) {
	c, ok := assertion.one(nsAssertion, "Conditions")
	if !ok || c == nil || !c.elementsOnly() {
		return time.Time{}, federation.Refuse(ReasonConditions, "the assertion has no conditions")
	}
	begin, err := instant(c, "NotBefore", false)
	if err != nil {
		return time.Time{}, err
	}
	if err := v.notAhead(begin, "the assertion begins to be valid"); err != nil {
		return time.Time{}, err
	}
	end, err := instant(c, "NotOnOrAfter", true)
	if err != nil {
		return time.Time{}, err
	}
	if err := v.notOver(end, "the assertion's validity"); err != nil {
		return time.Time{}, err
	}
	audiences := 0
	for _, k := range c.kids {
		switch k.name {
		case name{nsAssertion, "AudienceRestriction"}:
			audiences++
			if !v.audience(k) {
				return time.Time{}, federation.Refuse(ReasonAudience, "the assertion was not made for %q", v.me)
			}
		case name{nsAssertion, "OneTimeUse"}, name{nsAssertion, "ProxyRestriction"}:
		default:
			return time.Time{}, federation.Refuse(ReasonConditions, "the assertion sets a condition that is not understood")
		}
	}
	if audiences == 0 {
		return time.Time{}, federation.Refuse(ReasonAudience, "the assertion does not say for whom it was made")
	}
	return end, nil
}

// audience reports whether one restriction names us among others.
func (v visit) audience(restriction *node) bool {
	for _, k := range restriction.kids {
		if k.name != (name{nsAssertion, "Audience"}) || !k.plain() {
			return false
		}
	}
	return slices.ContainsFunc(restriction.kids, func(k *node) bool { return k.text == v.me })
}

// confirmation wants at least one bearer confirmation of which everything
// holds, and gives its end. Other confirmations do not matter. The address
// attribute is not looked at: it names what the provider saw, which a proxy
// or a second network makes another than what we see.
func (v visit) confirmation(subject *node) (time.Time, error) {
	refusal := federation.Refuse(ReasonConfirmation, "the assertion has no bearer confirmation")
	for _, c := range subject.all(nsAssertion, "SubjectConfirmation") {
		if c.attrValue("Method") != methodBearer {
			continue
		}
		end, no := v.bearer(c)
		if no == nil {
			return end, nil
		}
		refusal = no
	}
	return time.Time{}, refusal
}

func (v visit) bearer(c *node) (time.Time, *federation.Refusal) {
	if !kidsAre(c, nsAssertion, "SubjectConfirmationData") {
		return time.Time{}, federation.Refuse(ReasonConfirmation, "the bearer confirmation has no data, or more than that")
	}
	data := c.kids[0]
	if _, given := data.attr("NotBefore"); given {
		return time.Time{}, federation.Refuse(ReasonConfirmation, "the bearer confirmation has a NotBefore, which it must not")
	}
	if to := data.attrValue("Recipient"); to != v.acs {
		return time.Time{}, federation.Refuse(ReasonRecipient, "the assertion is for delivery to %.200q, not to %q", to, v.acs)
	}
	if !same(data.attrValue("InResponseTo"), v.inResponseTo) {
		return time.Time{}, federation.Refuse(ReasonInResponseTo, "the assertion answers another request, or none")
	}
	end, err := time.Parse(time.RFC3339Nano, data.attrValue("NotOnOrAfter"))
	if err != nil {
		return time.Time{}, federation.Refuse(ReasonConfirmation, "the bearer confirmation has no end")
	}
	if !v.now.Before(end.Add(v.skew)) {
		return time.Time{}, federation.Refuse(ReasonExpired, "the bearer confirmation ended at %s, and it is %s here: is there clock skew?", stamp(end), stamp(v.now))
	}
	return end.UTC(), nil
}

// authn reads the one AuthnStatement and holds it against what was asked for.
func (v visit) authn(assertion *node) (federation.Context, error) {
	st, ok := assertion.one(nsAssertion, "AuthnStatement")
	if !ok || st == nil {
		return federation.Context{}, federation.Refuse(ReasonAuthn, "the assertion has no authentication statement, or several")
	}
	c := federation.Context{Session: st.attrValue("SessionIndex")}
	var err error
	if c.At, err = instant(st, "AuthnInstant", true); err != nil {
		return federation.Context{}, err
	}
	if err := v.notAhead(c.At, "the person signed in"); err != nil {
		return federation.Context{}, err
	}
	if c.Until, err = instant(st, "SessionNotOnOrAfter", false); err != nil {
		return federation.Context{}, err
	}
	if !c.Until.IsZero() {
		if err := v.notOver(c.Until, "the person's session at the identity provider"); err != nil {
			return federation.Context{}, err
		}
	}
	ctx, ok := st.one(nsAssertion, "AuthnContext")
	if !ok || ctx == nil {
		return federation.Context{}, federation.Refuse(ReasonAuthn, "the authentication statement has no context, or several")
	}
	class, ok := ctx.one(nsAssertion, "AuthnContextClassRef")
	if !ok || class != nil && !class.plain() {
		return federation.Context{}, federation.Refuse(ReasonAuthn, "the authentication statement names several contexts")
	}
	if class != nil {
		c.ACR = class.text
	}
	if len(c.ACR) > maxEntityID || len(c.Session) > maxEntityID {
		return federation.Context{}, federation.Refuse(ReasonAuthn, "the authentication statement has a context or a session of more than %d bytes", maxEntityID)
	}
	want := v.pending.Login
	if len(want.ACR) > 0 && !slices.Contains(want.ACR, c.ACR) {
		return federation.Context{}, federation.Refuse(federation.ReasonStepUp, "the person signed in as %.200q, which is none of the contexts that were asked for", c.ACR)
	}
	if want.Fresh && c.At.Before(v.pending.Began.Add(-v.skew)) {
		return federation.Context{}, federation.Refuse(federation.ReasonStepUp, "the person was to be asked again, but signed in at %s", stamp(c.At))
	}
	if want.MaxAge > 0 && c.At.Before(v.pending.Began.Add(-want.MaxAge-v.skew)) {
		return federation.Context{}, federation.Refuse(federation.ReasonStepUp, "the person signed in at %s, longer ago than was asked for", stamp(c.At))
	}
	return c, nil
}
