package configs

import (
	"cmp"
	"maps"
	"slices"
)

// builtin are the attributes that every site knows without saying so.
var builtin = []AttributeType{
	{"affiliation", "Affiliation", true},
	{"assurance", "Assurance", true},
	{"department", "Department", false},
	{"display_name", "Name", false},
	{"employee_number", "Employee number", false},
	{"entitlement", "Entitlements", true},
	{"eppn", "Principal name", false},
	{"family_name", "Family name", false},
	{"given_name", "Given name", false},
	{"groups", "Groups", true},
	{"home_organization", "Home organisation", false},
	{"mail", "Mail address", false},
	{"orcid", "ORCID iD", false},
	{"organization", "Organisation", false},
	{"phone", "Telephone", false},
	{"preferred_language", "Preferred language", false},
	{"scoped_affiliation", "Affiliation with its organisation", true},
	{"subject_id", "Subject identifier", false},
	{"title", "Job title", false},
	{"valid_from", "Let in from", false},
	{"valid_until", "Let in until", false},
}

// given are what is known of every user without any identity provider saying
// so: they can be released and read, never mapped.
var given = []string{"acr", "active", "external_id", "id", "identity_provider", "pairwise_id", "roles", "store", "user_name", "user_store"}

// releasable are those among them that a release can name.
var releasable = []string{"acr", "id", "identity_provider", "pairwise_id", "roles", "user_name", "user_store"}

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
