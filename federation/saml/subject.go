package saml

import (
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/beevik/etree"
	"github.com/gatehouse-sso/gatehouse/federation"
)

// What can name a person, for Config.Subject. Any other value there is the
// name of an attribute, as Identity.Attributes has it.
const (
	SubjectID         = "subject-id"         // the attribute (saml-subject-id-attr-v1.0 §3.3)
	PairwiseID        = "pairwise-id"        // the attribute (§3.4)
	PersistentNameID  = "nameid:persistent"  // a NameID of that format (saml-core-2.0-os §8.3.7)
	EmailNameID       = "nameid:email"       // §8.3.2; it may be given to another person one day
	UnspecifiedNameID = "nameid:unspecified" // §8.3.1; also a NameID without format
)

const (
	formatPersistent  = "urn:oasis:names:tc:SAML:2.0:nameid-format:persistent"
	formatTransient   = "urn:oasis:names:tc:SAML:2.0:nameid-format:transient"
	formatEmail       = "urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress"
	formatUnspecified = "urn:oasis:names:tc:SAML:1.1:nameid-format:unspecified"
)

// maxSubject is how many characters a person's name has at most
// (saml-core-2.0-os §8.3.7 for persistent ones; taken for all).
const maxSubject = 256

// nameIDOf gives the NameID of a Subject, nil if it has none. Whatever else
// names the person, a NameID that is there must be well made: one, in SAML's
// namespace, text alone, not blank.
func nameIDOf(subject *node) (*node, error) {
	var id *node
	for i, k := range subject.kids {
		switch {
		case k.name == name{nsAssertion, "NameID"} && i == 0:
			id = k
		case k.name == name{nsAssertion, "EncryptedID"}:
			return nil, federation.Refuse(ReasonEncryption, "the person's name is encrypted by itself, which is not supported: the whole assertion can be")
		case k.name != name{nsAssertion, "SubjectConfirmation"}:
			return nil, federation.Refuse(ReasonSubject, "the subject names the person twice, or not in SAML's own way")
		}
	}
	if !subject.elementsOnly() {
		return nil, federation.Refuse(ReasonSubject, "the subject holds text beside its elements")
	}
	if id == nil {
		return nil, nil
	}
	if !id.plain() {
		return nil, federation.Refuse(ReasonSubject, "the person's name holds elements")
	}
	if slices.ContainsFunc(id.attrs, func(a attribute) bool { return len(a.value) > maxEntityID }) {
		return nil, federation.Refuse(ReasonSubject, "a qualifier of the person's name is longer than %d bytes", maxEntityID)
	}
	return id, clean(id.text)
}

// clean refuses a name that is blank, begins or ends with white space, or
// holds characters that a reader does not see. Nothing is ever trimmed or
// folded: a name that is not the same bytes is another name.
func clean(s string) error {
	switch {
	case s == "":
		return federation.Refuse(ReasonSubject, "the person's name is empty")
	case strings.TrimSpace(s) != s:
		return federation.Refuse(ReasonSubject, "the person's name begins or ends with white space")
	case utf8.RuneCountInString(s) > maxSubject:
		return federation.Refuse(ReasonSubject, "the person's name is longer than %d characters", maxSubject)
	case strings.ContainsFunc(s, func(r rune) bool { return unicode.IsControl(r) || unicode.Is(unicode.Cf, r) }):
		return federation.Refuse(ReasonSubject, "the person's name holds characters that can not be seen")
	}
	return nil
}

// subjectOf names the person by the first of the sources that the assertion
// has. A source that is there but can not be used refuses; it is never
// skipped, or else whoever could spoil one could choose the next.
func (v visit) subjectOf(sources []string, nameID *node, attrs map[string][]string) (string, error) {
	for _, source := range sources {
		switch source {
		case PersistentNameID, EmailNameID, UnspecifiedNameID:
			if nameID != nil && formatOf(nameID) == source {
				return v.qualified(nameID)
			}
		default:
			vals, ok := attrs[source]
			if !ok {
				continue
			}
			if len(vals) != 1 {
				return "", federation.Refuse(ReasonSubject, "the attribute %q names the person and has %d values; exactly one is accepted", source, len(vals))
			}
			if source == SubjectID || source == PairwiseID {
				return scoped(source, vals[0])
			}
			return vals[0], clean(vals[0])
		}
	}
	if nameID == nil {
		return "", federation.Refuse(ReasonSubject, "the assertion does not name the person: it has none of %s", strings.Join(sources, ", "))
	}
	if nameID.attrValue("Format") == formatTransient {
		return "", federation.Refuse(ReasonSubjectFormat, "the person's name is transient, another at each sign-in; one of %s is needed", strings.Join(sources, ", "))
	}
	return "", federation.Refuse(ReasonSubjectFormat, "the person's name has %s; one of %s is needed", describeFormat(nameID), strings.Join(sources, ", "))
}

// formatOf gives the source that a NameID can be, "" if none.
func formatOf(id *node) string {
	switch f, given := id.attr("Format"); {
	case f == formatPersistent:
		return PersistentNameID
	case f == formatEmail:
		return EmailNameID
	case f == formatUnspecified, !given:
		return UnspecifiedNameID
	}
	return ""
}

// describeFormat names a format that SAML defines; others are only said to be
// others, since the provider may have written anything there.
func describeFormat(id *node) string {
	f, given := id.attr("Format")
	short, ok := strings.CutPrefix(f, "urn:oasis:names:tc:SAML:")
	switch {
	case !given:
		return "no format"
	case ok && len(short) < 60 && strings.Contains(short, ":nameid-format:"):
		return "the format " + strconv.Quote(short)
	}
	return "a format of the identity provider's own"
}

// qualified gives a NameID as a subject. A persistent one is unique only
// together with its qualifiers (saml-core-2.0-os §8.3.7): SPNameQualifier must
// be us, and a NameQualifier other than the issuer is put before the value as
// "!qualifier!value"; so that this can not be said in a plain value, a plain
// value must not begin with "!".
func (v visit) qualified(id *node) (string, error) {
	if sp, given := id.attr("SPNameQualifier"); given && sp != v.me {
		return "", federation.Refuse(ReasonSubject, "the person's name was made for %.200q, not for us", sp)
	}
	if strings.HasPrefix(id.text, "!") {
		return "", federation.Refuse(ReasonSubject, "the person's name begins with an exclamation mark")
	}
	q, given := id.attr("NameQualifier")
	if !given || q == v.issuer {
		return id.text, nil
	}
	if q == "" || strings.Contains(q, "!") || clean(q) != nil {
		return "", federation.Refuse(ReasonSubject, "the qualifier of the person's name can not be used")
	}
	return "!" + q + "!" + id.text, nil
}

// scoped checks a subject-id or pairwise-id against its grammar
// (saml-subject-id-attr-v1.0 §3.3.1: "compared case-insensitively") and gives
// its canonical form, in lower case.
func scoped(source, s string) (string, error) {
	id, scope, ok := strings.Cut(s, "@")
	if !ok || !word(id, "=-") || !word(scope, ".-") {
		return "", federation.Refuse(ReasonSubject, "the %s is not of the form name@scope", source)
	}
	return strings.ToLower(s), nil
}

// word reports 1 to 127 letters and digits of ASCII and others, of which the
// first is a letter or digit.
func word(s, others string) bool {
	for i := range len(s) {
		c := s[i]
		alnum := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !alnum && (i == 0 || strings.IndexByte(others, c) < 0) {
			return false
		}
	}
	return len(s) > 0 && len(s) <= 127
}

// asXML writes a NameID as the element that single logout sends back.
func asXML(id *node) string {
	el := etree.NewElement("saml:NameID")
	el.CreateAttr("xmlns:saml", nsAssertion)
	for _, a := range id.attrs {
		if a.space == "" {
			el.CreateAttr(a.local, a.value)
		}
	}
	el.SetText(id.text)
	doc := etree.NewDocumentWithRoot(el)
	s, err := doc.WriteToString()
	if err != nil {
		return ""
	}
	return s
}
