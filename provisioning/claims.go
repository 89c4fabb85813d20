package provisioning

import (
	"cmp"
	"maps"
	"slices"
)

// alwaysMulti are the attributes of which a person may have several at once,
// so that what all sources say is true together. Config.Multi adds to them.
func alwaysMulti(attr string) bool {
	switch attr {
	case "affiliation", "assurance", "emails", "entitlement", "groups", "member_of", "organizations",
		"phones", "scoped_affiliation":
		return true
	}
	return false
}

// reserved are names that mean something else than an attribute.
func reserved(attr string) bool {
	switch attr {
	case "acr", "active", "consents", "external_id", "granted", "id", "identity_provider", "pairwise_id", "roles", "store",
		"user_name", "user_store":
		return true
	}
	return false
}

// Effective is what an attribute is: of one that has several values the union,
// in the order of precedence and then as said; of any other the whole claim
// of the first source by precedence.
func Effective(u User, attr string) []string {
	claims := u.Attributes[attr]
	if len(claims) == 0 {
		return nil
	}
	if len(claims) == 1 || !isMulti(attr, claims) {
		return slices.Clone(claims[0].Values)
	}
	var all []string
	for _, c := range claims {
		all = append(all, c.Values...)
	}
	return distinct(all)
}

// First is the first value of Effective; empty: there is none.
func First(u *User, attr string) string {
	claims := u.Attributes[attr]
	for _, c := range claims {
		if len(c.Values) > 0 {
			return c.Values[0]
		}
		if !isMulti(attr, claims) {
			break
		}
	}
	return ""
}

func isMulti(attr string, claims []Claim) bool {
	return alwaysMulti(attr) || slices.ContainsFunc(claims, func(c Claim) bool { return c.Multi })
}

// Say makes source say these values of an attribute, instead of what it said;
// no values: it says nothing. When it was said is set by the Directory.
func (u *User) Say(by Source, attr string, values ...string) {
	values = distinct(values)
	claims := slices.Clone(u.Attributes[attr])
	i := slices.IndexFunc(claims, func(c Claim) bool { return c.Source == by })
	switch {
	case i < 0 && len(values) == 0:
		return
	case i < 0:
		claims = append(claims, Claim{Source: by, Values: values})
	case len(values) == 0:
		claims = slices.Delete(claims, i, i+1)
	default:
		claims[i] = Claim{Source: by, Values: values}
	}
	if u.Attributes == nil {
		u.Attributes = make(map[string][]Claim)
	}
	if len(claims) == 0 {
		delete(u.Attributes, attr)
		return
	}
	u.Attributes[attr] = claims
}

// Says is what one source says of an attribute.
func (u User) Says(by Source, attr string) []string {
	for _, c := range u.Attributes[attr] {
		if c.Source == by {
			return slices.Clone(c.Values)
		}
	}
	return nil
}

// FirstOf is the first value that one source says of an attribute; empty: it says nothing.
func FirstOf(u *User, by Source, attr string) string {
	for _, c := range u.Attributes[attr] {
		if c.Source == by && len(c.Values) > 0 {
			return c.Values[0]
		}
	}
	return ""
}

// Clone is a copy that shares nothing.
func (u User) Clone() User {
	u.Grants = slices.Clone(u.Grants)
	u.Consents = slices.Clone(u.Consents)
	u.Attributes = maps.Clone(u.Attributes)
	for attr, claims := range u.Attributes {
		claims = slices.Clone(claims)
		for i := range claims {
			claims[i].Values = slices.Clone(claims[i].Values)
		}
		u.Attributes[attr] = claims
	}
	return u
}

// distinct keeps the first of equal values, and no empty ones, in order.
func distinct(values []string) []string {
	seen := make(map[string]bool, len(values))
	var out []string
	for _, v := range values {
		if v != "" && !seen[v] {
			seen[v] = true
			out = append(out, v)
		}
	}
	return out
}

// sameValues reports that two claims say the same. Identity providers name a
// person's several groups in whatever order their database has; where an
// attribute has several values that is no change.
func sameValues(attr string, multi bool, a, b []string) bool {
	if !multi && !alwaysMulti(attr) {
		return slices.Equal(a, b)
	}
	return len(a) == len(b) && slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}

// order puts claims into the order of precedence, drops empty ones and marks
// the attributes that are configured to have several values.
func (d *Directory) order(u *User) {
	for attr, claims := range u.Attributes {
		claims = slices.DeleteFunc(claims, func(c Claim) bool { return len(c.Values) == 0 })
		if len(claims) == 0 {
			delete(u.Attributes, attr)
			continue
		}
		for i := range claims {
			claims[i].Multi = d.multi[attr]
		}
		if len(claims) == 1 {
			u.Attributes[attr] = claims
			continue
		}
		slices.SortStableFunc(claims, func(a, b Claim) int {
			return cmp.Or(cmp.Compare(d.rank(a.Source), d.rank(b.Source)), cmp.Compare(a.Source, b.Source))
		})
		u.Attributes[attr] = claims
	}
	if len(u.Attributes) == 0 {
		u.Attributes = nil
	}
}

// rank of a source: administrators, then as configured, then all others.
func (d *Directory) rank(s Source) int {
	if s == Admin {
		return 0
	}
	if i, ok := d.precedence[s]; ok {
		return i
	}
	return len(d.precedence) + 1
}
