package provisioning

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/gatehouse-sso/gatehouse/authz"
)

// MaxConsents is how many a user can have.
const MaxConsents = 1000

// A Consent is what a person said, or was told, about one attribute and one
// recipient. Only they themselves, Admin and System change Consents.
type Consent struct {
	To        string    `json:"to"` // as the release policy names it: "service:wiki"
	Attribute string    `json:"attribute"`
	Said      string    `json:"said"` // authz.Given, Refused or Told
	At        time.Time `json:"at"`
}

// Consent notes what the user said, in the place of what they said before.
func (u *User) Consent(c Consent) {
	u.Consents = slices.DeleteFunc(slices.Clone(u.Consents), func(o Consent) bool { return o.To == c.To && o.Attribute == c.Attribute })
	u.Consents = append(u.Consents, c)
	slices.SortFunc(u.Consents, compareConsents)
}

func compareConsents(a, b Consent) int {
	return cmp.Or(cmp.Compare(a.To, b.To), cmp.Compare(a.Attribute, b.Attribute))
}

// badConsents says what is wrong with them.
func badConsents(list []Consent) string {
	if len(list) > MaxConsents {
		return fmt.Sprintf("are more than %d", MaxConsents)
	}
	for i, c := range list {
		switch {
		case c.To == "" || c.Attribute == "":
			return "have one without a recipient or an attribute"
		case c.Said != authz.Given && c.Said != authz.Refused && c.Said != authz.Told:
			return fmt.Sprintf("have one that says %q", c.Said)
		case i > 0 && compareConsents(list[i-1], c) >= 0:
			return "are not in order, or one is there twice"
		}
	}
	return ""
}

// said are consents as an administrator reads them in a Delta.
func said(list []Consent) (out []string) {
	for _, c := range list {
		out = append(out, c.To+" "+c.Attribute+" "+c.Said)
	}
	return out
}
