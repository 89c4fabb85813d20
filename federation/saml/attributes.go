package saml

import (
	"slices"
	"strings"

	"github.com/gatehouse-sso/gatehouse/federation"
)

// Friendly gives the name under which an attribute is kept: the usual short
// one for names that the directories and federations of the world share, else
// the Name as it is. A name in the basic format ("mail") is its own.
// FriendlyName is not asked: anybody may write anything there.
func Friendly(nm string) string {
	if short, ok := strings.CutPrefix(nm, "urn:mace:dir:attribute-def:"); ok {
		for _, known := range names {
			if known == short {
				return short
			}
		}
	}
	if short, ok := names[nm]; ok {
		return short
	}
	return nm
}

// names are the attributes of X.500, inetOrgPerson, eduPerson, SCHAC, the
// subject identifier profile, and the claims of Microsoft's products. It is
// a table, not a state: nothing writes to it.
var names = map[string]string{
	"urn:oasis:names:tc:SAML:attribute:subject-id":  SubjectID,
	"urn:oasis:names:tc:SAML:attribute:pairwise-id": PairwiseID,

	"urn:oid:0.9.2342.19200300.100.1.1":  "uid",
	"urn:oid:0.9.2342.19200300.100.1.3":  "mail",
	"urn:oid:0.9.2342.19200300.100.1.41": "mobile",
	"urn:oid:2.5.4.3":                    "cn",
	"urn:oid:2.5.4.4":                    "sn",
	"urn:oid:2.5.4.10":                   "o",
	"urn:oid:2.5.4.11":                   "ou",
	"urn:oid:2.5.4.12":                   "title",
	"urn:oid:2.5.4.20":                   "telephoneNumber",
	"urn:oid:2.5.4.42":                   "givenName",
	"urn:oid:2.16.840.1.113730.3.1.3":    "employeeNumber",
	"urn:oid:2.16.840.1.113730.3.1.4":    "employeeType",
	"urn:oid:2.16.840.1.113730.3.1.39":   "preferredLanguage",
	"urn:oid:2.16.840.1.113730.3.1.241":  "displayName",

	"urn:oid:1.3.6.1.4.1.5923.1.1.1.1":  "eduPersonAffiliation",
	"urn:oid:1.3.6.1.4.1.5923.1.1.1.2":  "eduPersonNickname",
	"urn:oid:1.3.6.1.4.1.5923.1.1.1.5":  "eduPersonPrimaryAffiliation",
	"urn:oid:1.3.6.1.4.1.5923.1.1.1.6":  "eduPersonPrincipalName",
	"urn:oid:1.3.6.1.4.1.5923.1.1.1.7":  "eduPersonEntitlement",
	"urn:oid:1.3.6.1.4.1.5923.1.1.1.9":  "eduPersonScopedAffiliation",
	"urn:oid:1.3.6.1.4.1.5923.1.1.1.10": "eduPersonTargetedID",
	"urn:oid:1.3.6.1.4.1.5923.1.1.1.11": "eduPersonAssurance",
	"urn:oid:1.3.6.1.4.1.5923.1.1.1.13": "eduPersonUniqueId",
	"urn:oid:1.3.6.1.4.1.5923.1.1.1.16": "eduPersonOrcid",
	"urn:oid:1.3.6.1.4.1.5923.1.5.1.1":  "isMemberOf",
	"urn:oid:1.3.6.1.4.1.25178.1.2.9":   "schacHomeOrganization",
	"urn:oid:1.3.6.1.4.1.25178.1.2.10":  "schacHomeOrganizationType",
	"urn:oid:1.3.6.1.4.1.25178.1.2.14":  "schacPersonalUniqueCode",

	"http://schemas.xmlsoap.org/ws/2005/05/identity/claims/emailaddress": "mail",
	"http://schemas.xmlsoap.org/ws/2005/05/identity/claims/givenname":    "givenName",
	"http://schemas.xmlsoap.org/ws/2005/05/identity/claims/surname":      "sn",
	"http://schemas.microsoft.com/identity/claims/displayname":           "displayName",
	"http://schemas.microsoft.com/ws/2008/06/identity/claims/groups":     "groups",
}

// maxAttributes is how many bytes all names and values have together.
const maxAttributes = 64 << 10

// groupsLink is what Microsoft's provider sends in place of more than 150
// groups. Read as an attribute it would mean: no groups.
const groupsLink = "http://schemas.microsoft.com/claims/groups.link"

// attributesOf reads the attribute statements into one map, under the names
// that Friendly gives. An attribute that is given twice, also under two names
// that mean the same, must have the same values each time: which of two
// different ones is meant nobody can say. Values are kept byte for byte. An
// attribute without values is a statement and stays, with none. A value that
// is XML makes its attribute unreadable and it is left out, except for a
// NameID, whose text is taken (eduPersonTargetedID).
func attributesOf(statements []*node, limit int) (map[string][]string, error) {
	attrs, size := map[string][]string{}, 0
	for _, st := range statements {
		if !st.elementsOnly() {
			return nil, federation.Refuse(ReasonAttributes, "the attribute statement holds text between its elements")
		}
		for _, a := range st.kids {
			switch a.name {
			case name{nsAssertion, "Attribute"}:
			case name{nsAssertion, "EncryptedAttribute"}:
				return nil, federation.Refuse(ReasonEncryption, "an attribute is encrypted by itself, which is not supported: the whole assertion can be")
			default:
				return nil, federation.Refuse(ReasonAttributes, "the attribute statement holds an element that SAML does not know")
			}
			nm := a.attrValue("Name")
			if nm == "" || clean(nm) != nil {
				return nil, federation.Refuse(ReasonAttributes, "an attribute has no usable name")
			}
			if nm == groupsLink {
				return nil, federation.Refuse(ReasonOverage, "the identity provider sent a link instead of the person's groups; let it send fewer groups, or only those assigned to this service")
			}
			vals, readable, err := valuesOf(a, limit)
			if err != nil {
				return nil, err
			}
			if !readable {
				continue
			}
			key := Friendly(nm)
			if (key == SubjectID || key == PairwiseID) && !strings.HasPrefix(nm, "urn:oasis:") {
				continue // it is called like the identifier, and is not it
			}
			if before, twice := attrs[key]; twice && !slices.Equal(before, vals) {
				return nil, federation.Refuse(ReasonAttributes, "the attribute %q is given twice with different values", key)
			}
			attrs[key] = vals
			for size += len(key); len(vals) > 0; vals = vals[1:] {
				size += len(vals[0])
			}
			if size > maxAttributes {
				return nil, federation.Refuse(federation.ReasonTooMany, "the attributes have more than %d bytes", maxAttributes)
			}
		}
	}
	return attrs, nil
}

// valuesOf gives the values of one attribute; readable is false if one of
// them is XML of a kind that has no text.
func valuesOf(a *node, limit int) (vals []string, readable bool, err error) {
	vals = []string{}
	if !a.elementsOnly() {
		return nil, false, federation.Refuse(ReasonAttributes, "an attribute holds text outside its values")
	}
	if len(a.kids) > limit {
		return nil, false, federation.Refuse(federation.ReasonTooMany, "the attribute %q has %d values; at most %d are accepted", a.attrValue("Name"), len(a.kids), limit)
	}
	for _, k := range a.kids {
		switch {
		case k.name != name{nsAssertion, "AttributeValue"}:
			return nil, false, federation.Refuse(ReasonAttributes, "an attribute holds something that is not a value")
		case nilled(k):
		case k.plain():
			vals = append(vals, k.text)
		case kidsAre(k, nsAssertion, "NameID") && k.kids[0].plain():
			vals = append(vals, k.kids[0].text)
		default:
			return nil, false, nil
		}
	}
	return vals, true, nil
}

// nilled reports xsi:nil, which is how a null value is written.
func nilled(k *node) bool {
	return slices.ContainsFunc(k.attrs, func(a attribute) bool {
		return a.name == name{nsXSI, "nil"} && (a.value == "true" || a.value == "1")
	})
}
