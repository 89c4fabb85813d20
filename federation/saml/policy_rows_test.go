package saml_test

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/beevik/etree"
	"github.com/gatehouse-sso/gatehouse/federation"
	"github.com/gatehouse-sso/gatehouse/federation/idptest"
	"github.com/gatehouse-sso/gatehouse/federation/saml"
	"github.com/google/go-cmp/cmp"
)

// subject changes the Subject before it is signed.
func subject(f func(s *etree.Element)) idptest.IDPFault {
	return policy(func(r *etree.Element) { f(at(r, "Assertion", "Subject")) })
}

// foreign is a NameID of another namespace.
func foreign() *etree.Element {
	x := etree.NewElement("x:NameID")
	x.CreateAttr("xmlns:x", "urn:evil:evil")
	x.SetText("admin@x")
	return x
}

func TestS30_NameIDOfAnotherNamespaceIsRefused(t *testing.T) {
	rows(t, []row{
		{"instead", subject(func(s *etree.Element) { s.RemoveChild(at(s, "NameID")); s.InsertChildAt(0, foreign()) }), saml.ReasonSubject},
		{"before", subject(func(s *etree.Element) { s.InsertChildAt(0, foreign()) }), saml.ReasonSubject},
		{"after", subject(func(s *etree.Element) { s.InsertChildAt(1, foreign()) }), saml.ReasonSubject},
		{"last", subject(func(s *etree.Element) { s.AddChild(foreign()) }), saml.ReasonSubject},
		{"within", subject(func(s *etree.Element) { at(s, "NameID").AddChild(foreign()) }), saml.ReasonSubject},
		{"a subject of another namespace", policy(func(r *etree.Element) {
			x := etree.NewElement("x:Subject")
			x.CreateAttr("xmlns:x", "urn:evil:evil")
			x.AddChild(foreign())
			at(r, "Assertion").AddChild(x)
		}), saml.ReasonStructure},
		{"SAML 1.1", subject(func(s *etree.Element) {
			at(s, "NameID").CreateAttr("xmlns:saml", "urn:oasis:names:tc:SAML:1.0:assertion")
		}), saml.ReasonSubject},
	})
}

func TestS31_TwoNamesAreRefused(t *testing.T) {
	rows(t, []row{
		{"two NameIDs", subject(func(s *etree.Element) {
			second := at(s, "NameID").Copy()
			second.SetText("admin")
			s.InsertChildAt(1, second)
		}), saml.ReasonSubject},
		{"two subjects", policy(func(r *etree.Element) {
			s := at(r, "Assertion", "Subject")
			second := s.Copy()
			at(second, "NameID").SetText("admin")
			at(r, "Assertion").InsertChildAt(s.Index()+1, second)
		}), saml.ReasonStructure},
		{"encrypted and plain", subject(func(s *etree.Element) { s.InsertChildAt(1, etree.NewElement("saml:EncryptedID")) }), saml.ReasonEncryption},
		{"base and plain", subject(func(s *etree.Element) { s.InsertChildAt(1, etree.NewElement("saml:BaseID")) }), saml.ReasonSubject},
		{"text beside", subject(func(s *etree.Element) { s.CreateText("admin") }), saml.ReasonSubject},
	})
}

func TestS32_BlankOrPaddedNameIsRefused(t *testing.T) {
	var all []row
	for name, v := range map[string]string{"empty": "", "blank": "  ", "newline first": "\nalice", "newline last": "alice\n", "tab": "\talice", "no-break space": "\u00a0alice"} {
		all = append(all, row{name, set(v, "Assertion", "Subject", "NameID"), saml.ReasonSubject})
	}
	rows(t, all)
}

func TestS33_NamesAreComparedByTheirBytes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	seen := map[string]bool{}
	twins := []string{"alice", "Alice", "ALICE", "al\u0131ce", "\uff41lice", "alice\u0301", "alic\u00e9", "alice@x", "alice@X", "ａlice"}
	for _, n := range twins {
		id, err := w.signIn(t, set(n, "Assertion", "Subject", "NameID"))
		if err != nil || id.Ref.Subject != n {
			t.Errorf("%q became %q (%v)", n, id.Ref.Subject, err)
		}
		seen[id.Ref.Subject] = true
	}
	if len(seen) != len(twins)-1 { // the last is the fifth, written otherwise
		t.Errorf("%d names became %d", len(twins)-1, len(seen))
	}
	for _, n := range []string{"ali\u202ece", "ali\u200bce", "ali\u0085ce", "ali\tce", "\u2066alice", strings.Repeat("a", 257), strings.Repeat("x", 10_000)} {
		w.refused(t, set(n, "Assertion", "Subject", "NameID"), saml.ReasonSubject)
	}
	w.refused(t, text(func(s string) string { return strings.Replace(s, dana, "ali&#0;ce", 1) }), saml.ReasonXML)
}

// attributes adds elements to the AttributeStatement.
func attributes(els ...*etree.Element) idptest.IDPFault {
	return policy(func(r *etree.Element) {
		for _, e := range els {
			at(r, "Assertion", "AttributeStatement").AddChild(e.Copy())
		}
	})
}

func TestS34_SameAttributeTwiceMustSayTheSame(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	mail, oid := "urn:mace:dir:attribute-def:mail", "urn:oid:0.9.2342.19200300.100.1.3"
	second := func(el *etree.Element) idptest.IDPFault {
		return policy(func(r *etree.Element) {
			at(r, "Assertion").CreateElement("saml:AttributeStatement").AddChild(el.Copy())
		})
	}
	for name, f := range map[string]idptest.IDPFault{
		"one name twice":        attributes(idptest.IDPAttribute(oid, "", "admin@partner.example")),
		"two names":             attributes(idptest.IDPAttribute(mail, "", "admin@partner.example")),
		"the basic name":        attributes(idptest.IDPAttribute("mail", "", "admin@partner.example")),
		"more values":           attributes(idptest.IDPAttribute(oid, "", "dana@partner.example", "admin@partner.example")),
		"no values":             attributes(idptest.IDPAttribute(oid, "")),
		"two statements":        second(idptest.IDPAttribute(oid, "", "admin@partner.example")),
		"two of our own making": attributes(idptest.IDPAttribute("x", "", "1"), idptest.IDPAttribute("x", "", "2")),
	} {
		t.Run(name, func(t *testing.T) { w.refused(t, f, saml.ReasonAttributes) })
	}
	id := w.accepted(t, attributes(idptest.IDPAttribute(mail, "", "dana@partner.example")))
	if diff := cmp.Diff([]string{"dana@partner.example"}, id.Attributes["mail"]); diff != "" {
		t.Error(diff)
	}
	id = w.accepted(t, second(idptest.IDPAttribute("urn:oid:2.5.4.11", "", "Physics")))
	if diff := cmp.Diff([]string{"Physics"}, id.Attributes["ou"]); diff != "" || len(id.Attributes["mail"]) != 1 {
		t.Error("two statements are not read as one:", diff)
	}
}

func TestS35_FriendlyNameIsIgnored(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id := w.accepted(t, attributes(idptest.IDPAttribute("urn:x", "groups", "admins"), idptest.IDPAttribute("urn:y", "mail", "root@x")))
	if _, there := id.Attributes["groups"]; there {
		t.Error("a friendly name became an attribute")
	}
	if diff := cmp.Diff([]string{"dana@partner.example"}, id.Attributes["mail"]); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"admins"}, id.Attributes["urn:x"]); diff != "" {
		t.Error("it is not kept under its own name:", diff)
	}
}

// audiences replaces the restrictions.
func audiences(restrictions ...[]string) idptest.IDPFault {
	return policy(func(r *etree.Element) {
		c := at(r, "Assertion", "Conditions")
		c.RemoveChild(at(c, "AudienceRestriction"))
		for _, auds := range restrictions {
			ar := c.CreateElement("saml:AudienceRestriction")
			for _, a := range auds {
				ar.CreateElement("saml:Audience").SetText(a)
			}
		}
	})
}

func TestS36_NoAudienceIsRefused(t *testing.T) {
	rows(t, []row{
		{"no restriction", audiences(), saml.ReasonAudience},
		{"an empty one", audiences([]string{}), saml.ReasonAudience},
		{"an empty audience", audiences([]string{""}), saml.ReasonAudience},
	})
}

func TestS37_AudienceOfAnotherIsRefused(t *testing.T) {
	var all []row
	for _, a := range []string{"https://other.example", entity + "/", entity + "x", strings.ToUpper(entity), " " + entity, entity + "\n"} {
		all = append(all, row{a, audiences([]string{a}), saml.ReasonAudience})
	}
	rows(t, all)
}

func TestS38_EveryAudienceRestrictionMustHold(t *testing.T) {
	rows(t, []row{
		{"ours first", audiences([]string{entity}, []string{"https://other.example"}), saml.ReasonAudience},
		{"ours last", audiences([]string{"https://other.example"}, []string{entity}), saml.ReasonAudience},
	})
	newWorld(t).accepted(t, audiences([]string{entity}, []string{"https://other.example", entity}))
}

func TestS39_AnyAudienceOfARestrictionWillDo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for i := range 3 {
		auds := []string{"https://a.example", "https://b.example", "https://c.example"}
		auds[i] = entity
		w.accepted(t, audiences(auds))
	}
}

func TestS40_NoConfirmationIsRefused(t *testing.T) {
	rows(t, []row{{"none", drop("Assertion", "Subject", "SubjectConfirmation"), saml.ReasonConfirmation}})
}

func TestS41_OtherConfirmationsAreRefused(t *testing.T) {
	const cm = "urn:oasis:names:tc:SAML:2.0:cm:"
	rows(t, []row{
		{"holder of key", attr("Method", cm+"holder-of-key", "Assertion", "Subject", "SubjectConfirmation"), saml.ReasonConfirmation},
		{"sender vouches", attr("Method", cm+"sender-vouches", "Assertion", "Subject", "SubjectConfirmation"), saml.ReasonConfirmation},
		{"no method", attr("Method", "", "Assertion", "Subject", "SubjectConfirmation"), saml.ReasonConfirmation},
	})
	// Beside a bearer confirmation they do not matter.
	newWorld(t).accepted(t, subject(func(s *etree.Element) {
		x := at(s, "SubjectConfirmation").Copy()
		x.CreateAttr("Method", cm+"sender-vouches")
		s.InsertChildAt(1, x)
	}))
}

var scData = []string{"Assertion", "Subject", "SubjectConfirmation", "SubjectConfirmationData"}

func TestS42_BearerWithoutItsDataIsRefused(t *testing.T) {
	rows(t, []row{
		{"no data", drop(scData...), saml.ReasonConfirmation},
		{"no recipient", attr("Recipient", "", scData...), saml.ReasonRecipient},
		{"no end", attr("NotOnOrAfter", "", scData...), saml.ReasonConfirmation},
		{"an end that is none", attr("NotOnOrAfter", "tomorrow", scData...), saml.ReasonConfirmation},
		{"two data", subject(func(s *etree.Element) {
			at(s, "SubjectConfirmation").AddChild(at(s, "SubjectConfirmation", "SubjectConfirmationData").Copy())
		}), saml.ReasonConfirmation},
		{"a name in the confirmation", subject(func(s *etree.Element) {
			at(s, "SubjectConfirmation").InsertChildAt(0, at(s, "NameID").Copy())
		}), saml.ReasonConfirmation},
	})
}

func TestS43_BearerWithABeginningIsRefused(t *testing.T) {
	rows(t, []row{{"NotBefore", attr("NotBefore", "2020-01-01T00:00:00Z", scData...), saml.ReasonConfirmation}})
}

func TestS44_RecipientMustBeOurAddress(t *testing.T) {
	var all []row
	for _, to := range []string{
		strings.Replace(acs, "gate.example", "evil.example", 1), strings.Replace(acs, "gate.example", "gate.example:8443", 1),
		strings.Replace(acs, "https:", "http:", 1), strings.Replace(acs, "gate.example", "GATE.example", 1), acs + "/", acs + "?x=y", strings.Replace(acs, "partner", "campus", 1),
	} {
		all = append(all, row{to, attr("Recipient", to, scData...), saml.ReasonRecipient})
	}
	rows(t, all)
}

func TestS45_AnswerToAnotherRequestIsRefused(t *testing.T) {
	rows(t, []row{
		{"response: missing", attr("InResponseTo", ""), saml.ReasonInResponseTo},
		{"response: unknown", attr("InResponseTo", "_unknown"), saml.ReasonInResponseTo},
		{"assertion: missing", attr("InResponseTo", "", scData...), saml.ReasonInResponseTo},
		{"assertion: unknown", attr("InResponseTo", "_unknown", scData...), saml.ReasonInResponseTo},
	})
	// Two browsers: what one was given is of no use in the other, even with
	// the other's RelayState.
	w := newWorld(t)
	stolen, _ := w.answer(t, idptest.IDPFault{})
	_, victim := w.answer(t, idptest.IDPFault{})
	id, err := w.sp.Finish(post(t, stolen), victim)
	isRefusal(t, id, err, federation.ReasonStateUnknown)
	stolen.Set("RelayState", victim.State)
	id, err = w.sp.Finish(post(t, stolen), victim)
	isRefusal(t, id, err, saml.ReasonInResponseTo)
}

// A ledger records what was used up, as the directory does.
type ledger struct {
	mu   sync.Mutex
	used map[string]bool
}

func (l *ledger) use(id federation.Identity) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, o := range id.Once {
		if l.used[o.Key] {
			return false
		}
	}
	for _, o := range id.Once {
		l.used[o.Key] = true
	}
	return true
}

func TestS46_AnswerWorksOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	form, pending := w.answer(t, idptest.IDPFault{})
	l := &ledger{used: map[string]bool{}}
	var wg sync.WaitGroup
	var mu sync.Mutex
	wins := 0
	for range 50 {
		wg.Go(func() {
			id, err := w.sp.Finish(post(t, form), pending)
			if err == nil && l.use(id) {
				mu.Lock()
				wins++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if wins != 1 {
		t.Errorf("it worked %d times", wins)
	}
	// The marks live as long as the answer could be accepted.
	id, err := w.sp.Finish(post(t, form), pending)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range id.Once {
		w.clock.advance(o.Until.Sub(w.clock.now()))
		if _, err := w.sp.Finish(post(t, form), pending); err == nil {
			t.Errorf("after the mark %q may be forgotten, the answer is still accepted", o.Key)
		}
	}
}

func TestS47_TimesHoldWithinTheSkewAndNotBeyond(t *testing.T) {
	t.Parallel()
	const skew = 3 * time.Minute
	when := func(key string, path ...string) func(time.Time) idptest.IDPFault {
		return func(at time.Time) idptest.IDPFault { return attr(key, stamp(at), path...) }
	}
	for _, tt := range []struct {
		name   string
		f      func(time.Time) idptest.IDPFault
		future bool // it is refused for lying in the future, else for lying in the past
		code   string
	}{
		{"NotBefore", when("NotBefore", "Assertion", "Conditions"), true, saml.ReasonNotYetValid},
		{"IssueInstant of the response", when("IssueInstant"), true, saml.ReasonNotYetValid},
		{"IssueInstant of the assertion", when("IssueInstant", "Assertion"), true, saml.ReasonNotYetValid},
		{"AuthnInstant", when("AuthnInstant", "Assertion", "AuthnStatement"), true, saml.ReasonNotYetValid},
		{"NotOnOrAfter of the conditions", when("NotOnOrAfter", "Assertion", "Conditions"), false, saml.ReasonExpired},
		{"NotOnOrAfter of the confirmation", when("NotOnOrAfter", scData...), false, saml.ReasonExpired},
		{"SessionNotOnOrAfter", when("SessionNotOnOrAfter", "Assertion", "AuthnStatement"), false, saml.ReasonExpired},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			inside, outside := w.clock.now().Add(skew-time.Second), w.clock.now().Add(skew+time.Second)
			if !tt.future {
				inside, outside = w.clock.now().Add(-skew+time.Second), w.clock.now().Add(-skew-time.Second)
			}
			w.accepted(t, tt.f(inside))
			r := w.refused(t, tt.f(outside), tt.code)
			if !strings.Contains(r.Detail, "clock skew") {
				t.Errorf("it does not speak of clocks: %v", r)
			}
			if tt.future {
				w.refused(t, tt.f(w.clock.now().AddDate(1, 0, 0)), tt.code)
			}
			for _, bad := range []string{"yesterday", "2026-11-22", "2026-11-22T10:00:00"} {
				if _, err := w.signIn(t, badTime(tt.name, bad)); err == nil {
					t.Errorf("%q is taken for a time", bad)
				}
			}
		})
	}
}

// badTime puts text where a time of that name is.
func badTime(name, text string) idptest.IDPFault {
	key, _, _ := strings.Cut(name, " ")
	switch {
	case strings.HasSuffix(name, "confirmation"):
		return attr(key, text, scData...)
	case strings.HasSuffix(name, "response"):
		return attr(key, text)
	case strings.HasSuffix(name, "assertion"):
		return attr(key, text, "Assertion")
	case strings.HasPrefix(name, "Not"):
		return attr(key, text, "Assertion", "Conditions")
	}
	return attr(key, text, "Assertion", "AuthnStatement")
}

func TestS48_MissingPartsAreRefused(t *testing.T) {
	rows(t, []row{
		{"conditions", drop("Assertion", "Conditions"), saml.ReasonConditions},
		{"end of the conditions", attr("NotOnOrAfter", "", "Assertion", "Conditions"), saml.ReasonStructure},
		{"subject", drop("Assertion", "Subject"), saml.ReasonSubject},
		{"name", drop("Assertion", "Subject", "NameID"), saml.ReasonSubject},
		{"authentication statement", drop("Assertion", "AuthnStatement"), saml.ReasonAuthn},
		{"authentication context", drop("Assertion", "AuthnStatement", "AuthnContext"), saml.ReasonAuthn},
		{"authentication instant", attr("AuthnInstant", "", "Assertion", "AuthnStatement"), saml.ReasonStructure},
		{"two authentication statements", policy(func(r *etree.Element) {
			at(r, "Assertion").AddChild(at(r, "Assertion", "AuthnStatement").Copy())
		}), saml.ReasonAuthn},
		{"issuer of the assertion", signed(idptest.IDPSignResponse, drop("Assertion", "Issuer")), saml.ReasonIssuer},
		{"issuer of the response", signed(idptest.IDPSignAssertion, drop("Issuer")), saml.ReasonIssuer},
		{"status", drop("Status"), saml.ReasonStructure},
		{"status code", drop("Status", "StatusCode"), saml.ReasonStructure},
		{"ID of the response, unsigned", signed(idptest.IDPSignAssertion, attr("ID", "")), saml.ReasonStructure},
		{"ID of the assertion", policy(func(r *etree.Element) { at(r, "Assertion").RemoveAttr("ID") }), saml.ReasonStructure},
		{"ID with white space", attr("ID", "_a b", "Assertion"), saml.ReasonStructure},
		{"version of the response", attr("Version", ""), saml.ReasonStructure},
		{"version 1.1 of the response", attr("Version", "1.1"), saml.ReasonStructure},
		{"version 1.1 of the assertion", attr("Version", "1.1", "Assertion"), saml.ReasonStructure},
		{"issue instant of the response", attr("IssueInstant", ""), saml.ReasonStructure},
		{"issue instant of the assertion", attr("IssueInstant", "", "Assertion"), saml.ReasonStructure},
		{"text in the assertion", policy(func(r *etree.Element) { at(r, "Assertion").CreateText("x") }), saml.ReasonStructure},
		{"order of the assertion", policy(func(r *etree.Element) {
			a := at(r, "Assertion")
			c := at(a, "Conditions")
			a.RemoveChild(c)
			a.AddChild(c)
		}), saml.ReasonStructure},
	})
}

func TestS49_SessionOfTheProviderEndsOurs(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	st := []string{"Assertion", "AuthnStatement"}
	w.refused(t, attr("SessionNotOnOrAfter", stamp(w.clock.now().Add(-time.Hour)), st...), saml.ReasonExpired)
	end := w.clock.now().Add(20 * time.Minute)
	if id := w.accepted(t, attr("SessionNotOnOrAfter", stamp(end), st...)); !id.Context.Until.Equal(end) {
		t.Errorf("Until = %v, want %v", id.Context.Until, end)
	}
	if id := w.accepted(t, attr("SessionNotOnOrAfter", "", st...)); !id.Context.Until.IsZero() {
		t.Errorf("Until = %v, though nothing was said", id.Context.Until)
	}
}

func TestS50_UnknownConditionIsRefused(t *testing.T) {
	add := func(tag, ns string) idptest.IDPFault {
		return policy(func(r *etree.Element) {
			x := at(r, "Assertion", "Conditions").CreateElement(tag)
			if ns != "" {
				x.CreateAttr("xmlns:x", ns)
			}
		})
	}
	rows(t, []row{
		{"of another namespace", add("x:Condition", "urn:example:x"), saml.ReasonConditions},
		{"of SAML's, extended", add("saml:Condition", ""), saml.ReasonConditions},
		{"a known word in another namespace", add("x:OneTimeUse", "urn:example:x"), saml.ReasonConditions},
		{"text", policy(func(r *etree.Element) { at(r, "Assertion", "Conditions").CreateText("x") }), saml.ReasonConditions},
	})
	w := newWorld(t)
	w.accepted(t, add("saml:OneTimeUse", ""))
	w.accepted(t, add("saml:ProxyRestriction", ""))
}

func TestS51_WeakerContextIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.login = federation.Login{ACR: []string{"urn:example:never", idptest.ACRMulti}}
	if id := w.accepted(t, idptest.IDPFault{}); id.Context.ACR != idptest.ACRMulti {
		t.Errorf("ACR = %q", id.Context.ACR)
	}
	w.refused(t, idptest.IDPFault{Weak: true}, federation.ReasonStepUp)
	w.refused(t, drop("Assertion", "AuthnStatement", "AuthnContext", "AuthnContextClassRef"), federation.ReasonStepUp)
	form, pending := w.answerFor(t, "erik", idptest.IDPFault{}) // he has no second factor
	id, err := w.sp.Finish(post(t, form), pending)
	isRefusal(t, id, err, federation.ReasonStepUp)
}

func TestS52_FailureIsAFailureWhateverComesWithIt(t *testing.T) {
	const st = "urn:oasis:names:tc:SAML:2.0:status:"
	status := func(code, sub, message string) idptest.IDPFault {
		return policy(func(r *etree.Element) {
			s := at(r, "Status", "StatusCode")
			s.CreateAttr("Value", code)
			if sub != "" {
				s.CreateElement("samlp:StatusCode").CreateAttr("Value", sub)
			}
			at(r, "Status").CreateElement("samlp:StatusMessage").SetText(message)
		})
	}
	rows(t, []row{
		{"requester", status(st+"Requester", "", "<script>alert(1)</script>"), federation.ReasonDenied},
		{"responder", status(st+"Responder", st+"AuthnFailed", "<script>alert(1)</script>"), federation.ReasonDenied},
		{"of its own", status("<script>", "<img>", "x"), federation.ReasonDenied},
		{"nothing", status("", "", ""), federation.ReasonDenied},
		{"success of another kind", status("urn:x:Success", st+"Success", ""), federation.ReasonDenied},
		{"unsigned", idptest.IDPFault{Cancel: true, Sign: idptest.IDPSignNothing}, federation.ReasonDenied},
		{"signed", idptest.IDPFault{Cancel: true}, federation.ReasonDenied},
	})
}

func TestS53_DestinationMustBeOurAddress(t *testing.T) {
	t.Parallel()
	for _, sign := range everySigning {
		w := newWorld(t)
		for _, to := range []string{"", "https://evil.example/acs", acs + "/", strings.ToUpper(acs)} {
			f := attr("Destination", to)
			f.Sign = sign
			w.refused(t, f, saml.ReasonDestination)
			f = idptest.IDPFault{Sign: sign, Forge: f.Policy}
			w.refused(t, f, saml.ReasonDestination)
		}
	}
}

// second is another identity provider, with another key, whom the same
// gateway trusts by another Provider.
func second(t *testing.T) *world {
	return newWorld(t, func(c *saml.Config, i *idptest.IDPConfig) {
		c.ID, i.Base, i.Keys = "other", "https://idp.other.example", []idptest.IDPKey{idpKey2()}
	})
}

func TestS54_AnotherProvidersAnswerIsRefused(t *testing.T) {
	t.Parallel()
	a, b := newWorld(t), second(t)
	ch, pending, err := a.sp.Begin(t.Context(), federation.Login{})
	if err != nil {
		t.Fatal(err)
	}
	q := question(t, a.idp, ch)
	asA := policy(func(r *etree.Element) {
		at(r, "Issuer").SetText(a.idp.EntityID())
		at(r, "Assertion", "Issuer").SetText(a.idp.EntityID())
	})
	inside := policy(func(r *etree.Element) { at(r, "Issuer").SetText(a.idp.EntityID()) })
	withFormat := policy(func(r *etree.Element) {
		asA.Policy(r)
		at(r, "Issuer").CreateAttr("Format", "urn:oasis:names:tc:SAML:2.0:nameid-format:transient")
	})
	for name, tt := range map[string]struct {
		idp  *idptest.IDP
		f    idptest.IDPFault
		code string
	}{
		"B as B":                 {b.idp, idptest.IDPFault{}, saml.ReasonIssuer},
		"B as A":                 {b.idp, asA, saml.ReasonSignature},
		"A outside, B inside":    {b.idp, inside, saml.ReasonSignature},
		"A's key, B inside":      {a.idp, set("https://idp.other.example/metadata", "Assertion", "Issuer"), saml.ReasonIssuer},
		"issuer is no entity":    {a.idp, withFormat, saml.ReasonIssuer},
		"issuer padded":          {a.idp, set(a.idp.EntityID()+" ", "Assertion", "Issuer"), saml.ReasonIssuer},
		"issuer in another case": {a.idp, set(strings.ToUpper(a.idp.EntityID()), "Assertion", "Issuer"), saml.ReasonIssuer},
	} {
		form, err := tt.idp.Answer(q, "dana", tt.f)
		if err != nil {
			t.Fatal(err)
		}
		id, err := a.sp.Finish(post(t, form), pending)
		if err == nil {
			t.Fatalf("%s is accepted", name)
		}
		isRefusal(t, id, err, tt.code)
	}
	form, _ := a.idp.Answer(q, "dana", idptest.IDPFault{})
	if _, err := a.sp.Finish(post(t, form), pending); err != nil {
		t.Errorf("positive control: %v", err)
	}
	a.accepted(t, idptest.IDPFault{})
	b.accepted(t, idptest.IDPFault{})
}

const subjectIDName, pairwiseIDName = "urn:oasis:names:tc:SAML:attribute:subject-id", "urn:oasis:names:tc:SAML:attribute:pairwise-id"

func TestS55_SameNameAtTwoProvidersIsTwoPeople(t *testing.T) {
	t.Parallel()
	a, b := newWorld(t), second(t)
	f := attributes(idptest.IDPAttribute(subjectIDName, "", "bob@a.example"))
	ida, err := a.signIn(t, f)
	if err != nil {
		t.Fatal(err)
	}
	idb, err := b.signIn(t, f)
	if err != nil {
		t.Fatal(err)
	}
	if ida.Ref.Subject != "bob@a.example" || idb.Ref.Subject != "bob@a.example" || ida.Ref == idb.Ref {
		t.Errorf("%v and %v", ida.Ref, idb.Ref)
	}
}

func TestS56_UnaskedAnswersAreRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, relay := range []string{"", "https://evil.example", "//evil.example", "javascript:alert(1)", "/"} {
		form, _ := w.answer(t, idptest.IDPFault{Policy: func(r *etree.Element) {
			r.RemoveAttr("InResponseTo")
			at(r, scData...).RemoveAttr("InResponseTo")
		}})
		form.Set("RelayState", relay)
		id, err := w.sp.Finish(post(t, form), federation.Pending{})
		isRefusal(t, id, err, federation.ReasonStateUnknown)
		// Not even with a Pending that somebody emptied.
		id, err = w.sp.Finish(post(t, form), federation.Pending{State: relay, Began: w.clock.now()})
		isRefusal(t, id, err, federation.ReasonStateUnknown, saml.ReasonInResponseTo)
	}
	w.accepted(t, idptest.IDPFault{})
}

func TestS74_SubjectIdentifiersFollowTheirGrammar(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, nm := range []string{subjectIDName, pairwiseIDName} {
		for _, bad := range []string{
			"", "bob", "@a.example", "bob@", "b b@a.example", "bob@a@b", "=bob@a.example", "bob@-a", "bob@a_b", "bøb@a.example", " bob@a.example", "bob@a.example\n",
			strings.Repeat("a", 128) + "@a.example", "bob@" + strings.Repeat("a", 128), "bob%@a", "bob!x@a",
		} {
			w.refused(t, attributes(idptest.IDPAttribute(nm, "", bad)), saml.ReasonSubject)
		}
		w.refused(t, attributes(idptest.IDPAttribute(nm, "", "a@a", "b@a")), saml.ReasonSubject)
		w.refused(t, attributes(idptest.IDPAttribute(nm, "")), saml.ReasonSubject)
		for in, want := range map[string]string{"Bob=1-2@A.Example": "bob=1-2@a.example", "bob@a.example": "bob@a.example", "0@0": "0@0", strings.Repeat("a", 127) + "@x": strings.Repeat("a", 127) + "@x"} {
			id, err := w.signIn(t, attributes(idptest.IDPAttribute(nm, "", in)))
			if err != nil || id.Ref.Subject != want {
				t.Errorf("%s is read as %q (%v), want %q", in, id.Ref.Subject, err, want)
			}
		}
	}
	// Only the attribute of the profile is it.
	id := w.accepted(t, attributes(idptest.IDPAttribute("subject-id", "subject-id", "root@a.example")))
	if _, there := id.Attributes["subject-id"]; there {
		t.Error("an attribute took the name of the identifier")
	}
	id, err := w.signIn(t, attributes(idptest.IDPAttribute(pairwiseIDName, "", "p@a"), idptest.IDPAttribute(subjectIDName, "", "s@a")))
	if err != nil || id.Ref.Subject != "s@a" {
		t.Errorf("of both, %q names the person (%v)", id.Ref.Subject, err)
	}
}

func TestSubjectIsWhatIsConfigured(t *testing.T) {
	t.Parallel()
	const format = "urn:oasis:names:tc:SAML:"
	nameID := func(value, f string) idptest.IDPFault {
		return subject(func(s *etree.Element) {
			id := at(s, "NameID")
			id.SetText(value)
			id.CreateAttr("Format", f)
			if f == "" {
				id.RemoveAttr("Format")
			}
		})
	}
	transient, email := format+"2.0:nameid-format:transient", format+"1.1:nameid-format:emailAddress"
	unspecified, entityFormat := format+"1.1:nameid-format:unspecified", format+"2.0:nameid-format:entity"

	byDefault := newWorld(t)
	for _, f := range []string{transient, email, unspecified, entityFormat, ""} {
		byDefault.refused(t, nameID("x@y", f), saml.ReasonSubjectFormat)
	}
	for source, f := range map[string]string{saml.EmailNameID: email, saml.UnspecifiedNameID: unspecified} {
		w := newWorld(t, func(c *saml.Config, _ *idptest.IDPConfig) { c.Subject = []string{source} })
		id, err := w.signIn(t, nameID("x@y", f))
		if err != nil || id.Ref.Subject != "x@y" {
			t.Errorf("%s: %v %v", source, id.Ref, err)
		}
		id, err = w.signIn(t, nameID("x@y", transient))
		isRefusal(t, id, err, saml.ReasonSubjectFormat)
	}
	w := newWorld(t, func(c *saml.Config, _ *idptest.IDPConfig) { c.Subject = []string{"eduPersonPrincipalName"} })
	id, err := w.signIn(t, nameID("another-each-time", transient))
	if err != nil || id.Ref.Subject != "dana@partner.example" {
		t.Errorf("by an attribute: %v %v", id.Ref, err)
	}
	id, err = w.signIn(t, drop("Assertion", "Subject", "NameID"))
	if err != nil || id.Ref.Subject != "dana@partner.example" {
		t.Errorf("by an attribute, without a NameID: %v %v", id.Ref, err)
	}
	id, err = w.signIn(t, both(set("x", "Assertion", "Subject", "NameID"), drop("Assertion", "AttributeStatement")))
	isRefusal(t, id, err, saml.ReasonSubjectFormat)
}

func TestQualifiersAreAPartOfAPersistentName(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	qualify := func(nq, spnq, value string) idptest.IDPFault {
		return subject(func(s *etree.Element) {
			id := at(s, "NameID")
			id.SetText(value)
			id.RemoveAttr("NameQualifier")
			id.RemoveAttr("SPNameQualifier")
			if nq != "-" {
				id.CreateAttr("NameQualifier", nq)
			}
			if spnq != "-" {
				id.CreateAttr("SPNameQualifier", spnq)
			}
		})
	}
	for _, tt := range []struct{ nq, spnq, value, want string }{
		{"-", "-", "v", "v"},
		{w.idp.EntityID(), "-", "v", "v"},
		{w.idp.EntityID(), entity, "v", "v"},
		{"https://proxied.example", entity, "v", "!https://proxied.example!v"},
		{"-", "-", "a!b!c", "a!b!c"},
	} {
		id, err := w.signIn(t, qualify(tt.nq, tt.spnq, tt.value))
		if err != nil || id.Ref.Subject != tt.want {
			t.Errorf("%+v is read as %q (%v)", tt, id.Ref.Subject, err)
		}
	}
	w.refused(t, qualify("-", "https://other.example", "v"), saml.ReasonSubject)
	w.refused(t, qualify("-", "", "v"), saml.ReasonSubject)
	w.refused(t, qualify("", "-", "v"), saml.ReasonSubject)
	w.refused(t, qualify("a!b", "-", "v"), saml.ReasonSubject)
	w.refused(t, qualify("-", "-", "!https://proxied.example!v"), saml.ReasonSubject)
	id := w.accepted(t, idptest.IDPFault{})
	want := `<saml:NameID xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion" Format="urn:oasis:names:tc:SAML:2.0:nameid-format:persistent" NameQualifier="` +
		w.idp.EntityID() + `" SPNameQualifier="` + entity + `">` + dana + `</saml:NameID>`
	if id.Context.LogoutHint != want {
		t.Errorf("the hint for logout is %s", id.Context.LogoutHint)
	}
}

func TestAttributeValuesAreReadAsTheyAre(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	eptid := etree.NewElement("saml:Attribute")
	eptid.CreateAttr("Name", "urn:oid:1.3.6.1.4.1.5923.1.1.1.10")
	eptid.CreateElement("saml:AttributeValue").CreateElement("saml:NameID").SetText("opaque")
	null := idptest.IDPAttribute("urn:null", "", "gone")
	value := at(null, "AttributeValue")
	value.CreateAttr("xmlns:xsi", "http://www.w3.org/2001/XMLSchema-instance")
	value.CreateAttr("xsi:nil", "true")
	complicated := idptest.IDPAttribute("urn:complicated", "", "")
	at(complicated, "AttributeValue").CreateElement("saml:Advice")
	id := w.accepted(t, attributes(eptid, null, complicated,
		idptest.IDPAttribute("urn:padded", "", " a ", "a"), idptest.IDPAttribute("urn:none", ""), idptest.IDPAttribute("urn:empty", "", "")))
	for key, want := range map[string][]string{
		"eduPersonTargetedID": {"opaque"}, "urn:null": {}, "urn:padded": {" a ", "a"}, "urn:none": {}, "urn:empty": {""},
	} {
		got, there := id.Attributes[key]
		if diff := cmp.Diff(want, got); diff != "" || !there {
			t.Errorf("%s: %s", key, diff)
		}
	}
	if _, there := id.Attributes["urn:complicated"]; there {
		t.Error("a value that is XML was read as text")
	}
	w.refused(t, attributes(idptest.IDPAttribute("", "", "x")), saml.ReasonAttributes)
	w.refused(t, attributes(etree.NewElement("saml:EncryptedAttribute")), saml.ReasonEncryption)
	w.refused(t, attributes(etree.NewElement("saml:Advice")), saml.ReasonAttributes)
	w.refused(t, attributes(idptest.IDPAttribute("http://schemas.microsoft.com/claims/groups.link", "", "https://graph.example/x")), saml.ReasonOverage)
}

// What is kept with a session is of bounded size.
func TestLongQualifiersAreRefused(t *testing.T) {
	long := strings.Repeat("x", 1025)
	rows(t, []row{
		{"NameQualifier", attr("NameQualifier", long, "Assertion", "Subject", "NameID"), saml.ReasonSubject},
		{"SPProvidedID", attr("SPProvidedID", long, "Assertion", "Subject", "NameID"), saml.ReasonSubject},
		{"SessionIndex", attr("SessionIndex", long, "Assertion", "AuthnStatement"), saml.ReasonAuthn},
		{"context", set(long, "Assertion", "AuthnStatement", "AuthnContext", "AuthnContextClassRef"), saml.ReasonAuthn},
		{"ID", attr("ID", "_"+long, "Assertion"), saml.ReasonStructure},
	})
}

func TestPeopleInAThousandGroupsGetIn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	many := make([]string, 1000)
	for i := range many {
		many[i] = "urn:group:" + strings.Repeat("x", i%20) + string(rune('a'+i%26))
	}
	id := w.accepted(t, attributes(idptest.IDPAttribute("groups", "", many...)))
	if len(id.Attributes["groups"]) != 1000 {
		t.Errorf("%d groups", len(id.Attributes["groups"]))
	}
	enc := attributes(idptest.IDPAttribute("groups", "", many...))
	enc.Encryption = &idptest.IDPEncryption{Data: idptest.IDPAES256}
	w.accepted(t, enc)
	w.refused(t, attributes(idptest.IDPAttribute("groups", "", append(many, "one more")...)), federation.ReasonTooMany)
	w.refused(t, attributes(idptest.IDPAttribute("fat", "", strings.Repeat("x", 64<<10))), federation.ReasonTooMany)
}
