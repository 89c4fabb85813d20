package provisioning

import (
	"cmp"
	"slices"
	"strconv"
)

// Diff is the difference between a user before and after a change by one
// source. A zero User is nobody: from it is a creation, to it a deletion. When
// a claim was made, versions and times are no difference.
func Diff(old, new User, by Source) Delta {
	d := Delta{UserID: cmp.Or(new.ID, old.ID), By: by}
	d.Created = old.ID == "" && new.ID != ""
	d.Deleted = old.ID != "" && new.ID == ""
	field := func(name, a, b string) {
		if a != b {
			d.Fields = append(d.Fields, Field{Name: name, Old: one(a), New: one(b)})
		}
	}
	field("user_name", old.UserName, new.UserName)
	field("external_id", old.ExternalID, new.ExternalID)
	field("store", old.Store, new.Store)
	field("active", active(old), active(new))
	if !sameGrants(old.Grants, new.Grants) {
		d.Fields = append(d.Fields, Field{Name: "granted", Old: roles(old.Grants), New: roles(new.Grants)})
	}
	if !slices.Equal(old.Consents, new.Consents) {
		d.Fields = append(d.Fields, Field{Name: "consents", Old: said(old.Consents), New: said(new.Consents)})
	}
	for attr := range union(old.Attributes, new.Attributes) {
		a, b := Effective(old, attr), Effective(new, attr)
		if !slices.Equal(a, b) || !sameClaims(old.Attributes[attr], new.Attributes[attr]) {
			d.Fields = append(d.Fields, Field{Name: attr, Old: a, New: b})
		}
	}
	slices.SortFunc(d.Fields, func(a, b Field) int { return cmp.Compare(a.Name, b.Name) })
	return d
}

func one(s string) []string {
	if s == "" {
		return nil
	}
	return []string{s}
}

func active(u User) string {
	if u.ID == "" {
		return ""
	}
	return strconv.FormatBool(u.Active)
}

func union(a, b map[string][]Claim) map[string]bool {
	all := make(map[string]bool, len(a)+len(b))
	for k := range a {
		all[k] = true
	}
	for k := range b {
		all[k] = true
	}
	return all
}

func sameClaims(a, b []Claim) bool {
	return slices.EqualFunc(a, b, func(x, y Claim) bool {
		return x.Source == y.Source && slices.Equal(x.Values, y.Values)
	})
}
