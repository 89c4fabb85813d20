package configs

import (
	"cmp"
	"maps"
	"slices"
)

// builtin are the attributes that every site knows without saying so.
var builtin = []AttributeType{
	{"affiliation", "Affiliation", true, nil},
	{"assurance", "Assurance", true, nil},
	{"department", "Department", false, nil},
	{"display_name", "Name", false, nil},
	{"employee_number", "Employee number", false, nil},
	{"entitlement", "Entitlements", true, nil},
	{"eppn", "Principal name", false, nil},
	{"family_name", "Family name", false, nil},
	{"given_name", "Given name", false, nil},
	{"groups", "Groups", true, nil},
	{"home_organization", "Home organisation", false, nil},
	{"mail", "Mail address", false, nil},
	{"orcid", "ORCID iD", false, nil},
	{"organization", "Organisation", false, nil},
	{"phone", "Telephone", false, nil},
	{"preferred_language", "Preferred language", false, nil},
	{"scoped_affiliation", "Affiliation with its organisation", true, nil},
	{"subject_id", "Subject identifier", false, nil},
	{"title", "Job title", false, nil},
	{"valid_from", "Let in from", false, nil},
	{"valid_until", "Let in until", false, nil},
}

// given are what is known of every user without any identity provider saying
// so: they can be released and read, never mapped.
var given = []string{"acr", "active", "external_id", "id", "identity_provider", "pairwise_id", "roles", "store", "user_name", "user_store"}

// releasable are those among them that a release can name.
var releasable = []string{"acr", "id", "identity_provider", "pairwise_id", "roles", "user_name", "user_store"}

// Readable are the names that an expression can read of a user.
func (c *Config) Readable() []string {
	return slices.Concat(ids(c.AttributeTypes(), func(a AttributeType) string { return a.ID }), given)
}

// AttributeTypes are all attributes that users can have here, by ID: the
// built-in ones, those that the file lists, and those that it only maps.
func (c *Config) AttributeTypes() []AttributeType {
	all := map[string]AttributeType{}
	mapped := func(attributes map[string]Mapped) {
		for id, m := range attributes {
			all[id] = AttributeType{ID: id, Title: id, Multi: m.Multi || all[id].Multi}
		}
	}
	for _, p := range c.IdentityProviders {
		mapped(p.Attributes)
	}
	for _, s := range c.Sources {
		if s.LDAP != nil {
			mapped(s.LDAP.Attributes)
		}
	}
	for _, a := range slices.Concat(builtin, c.Attributes) {
		a.Title = cmp.Or(a.Title, a.ID)
		all[a.ID] = a
	}
	return slices.SortedFunc(maps.Values(all), func(a, b AttributeType) int { return cmp.Compare(a.ID, b.ID) })
}
