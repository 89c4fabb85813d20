package authz

import (
	"cmp"
	"slices"
)

// What changes for a person between two releases to the same recipient.
const (
	Gains   = "gains"   // the recipient learns something that it did not
	Loses   = "loses"   // it gets nothing any more
	Changes = "changes" // it gets other values
)

// A Difference between two releases: the recipient's name of an attribute and
// what becomes of it, without any value. That a service knows people by another
// name in its token is a difference of "sub", which is no attribute's.
type Difference struct {
	Attribute, Name string
	What            string
}

// Compare says what differs for one person between two releases to the same
// recipient, by the recipient's names.
func Compare(was, is Release) (list []Difference) {
	find := func(in []Released, name string) *Released {
		if i := slices.IndexFunc(in, func(r Released) bool { return r.Name == name }); i >= 0 {
			return &in[i]
		}
		return nil
	}
	for _, a := range was.Sent {
		switch b := find(is.Sent, a.Name); {
		case b == nil:
			list = append(list, Difference{a.Attribute, a.Name, Loses})
		case !slices.Equal(a.Values, b.Values):
			list = append(list, Difference{b.Attribute, a.Name, Changes})
		}
	}
	for _, b := range is.Sent {
		if find(was.Sent, b.Name) == nil {
			list = append(list, Difference{b.Attribute, b.Name, Gains})
		}
	}
	if was.Naming != is.Naming {
		list = append(list, Difference{"", "sub", Changes})
	}
	slices.SortFunc(list, func(a, b Difference) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Attribute, b.Attribute))
	})
	return list
}
