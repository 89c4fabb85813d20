package idptest

import "slices"

// ACRs that the identity providers of this package know: one factor, and two.
const (
	ACRSingle = "https://refeds.org/profile/sfa"
	ACRMulti  = "https://refeds.org/profile/mfa"
)

// A Person can sign in at an identity provider of this package.
type Person struct {
	User  string // what the button's form field says: alice
	ID    string // opaque and stable: the OIDC sub, the SAML persistent NameID
	Name  string // display name
	Given string
	// Family is empty where a person has one name only.
	Family string
	Mail   string // empty: the provider releases none
	Groups []string
	// Affiliation is eduPersonScopedAffiliation: value@scope.
	Affiliation []string
	// SecondFactor: the person confirms with one if that is asked for.
	SecondFactor bool
	// About is one line for the sign-in page: who this is.
	About string
}

// Campus are the people of the demo's OpenID provider.
func Campus() []Person {
	return []Person{
		{
			User: "alice", ID: "q7Zc0f2mV9sKxT41", Name: "Alice Liddell", Given: "Alice", Family: "Liddell",
			Mail: "alice@campus.example", Groups: []string{"fin", "staff", "finance-approvers"},
			Affiliation:  []string{"staff@campus.example", "member@campus.example"},
			SecondFactor: true, About: "Staff, finance office",
		},
		{
			User: "bob", ID: "J3nYt8RwE6uHbD05", Name: "Bob Ångström", Given: "Bob", Family: "Ångström",
			Mail: "bob@campus.example", Groups: []string{"students"},
			Affiliation:  []string{"student@campus.example", "member@campus.example"},
			SecondFactor: true, About: "Student, helps out in the finance office",
		},
		{
			User: "carol", ID: "X1pLa7GkS4vQoM92", Name: "Carol Núñez", Given: "Carol", Family: "Núñez",
			Mail: "carol@campus.example", Groups: []string{"staff", "gatehouse-admin"},
			Affiliation:  []string{"staff@campus.example", "member@campus.example"},
			SecondFactor: true, About: "Staff, administrator of Gatehouse",
		},
		{
			User: "frida", ID: "B6wQe3ZoR1tNyK58", Name: "Frida Lindqvist", Given: "Frida", Family: "Lindqvist",
			Mail: "frida@campus.example", Groups: []string{"staff"},
			Affiliation: []string{"staff@campus.example", "member@campus.example"},
			About:       "Staff, begins today",
		},
	}
}

// Partner are the people of the demo's SAML identity provider.
func Partner() []Person {
	return []Person{
		{
			User: "dana", ID: "N5hUw2ByC8rFzP63", Name: "Dana Okafor", Given: "Dana", Family: "Okafor",
			Mail: "dana@partner.example", Groups: []string{"researchers"},
			Affiliation:  []string{"faculty@partner.example", "member@partner.example"},
			SecondFactor: true, About: "Researcher",
		},
		{
			User: "erik", ID: "T9gMd4KqA0jVeX17", Name: "Erik Sørensen", Given: "Erik", Family: "Sørensen",
			Groups:      []string{"guests"},
			Affiliation: []string{"affiliate@partner.example"},
			About:       "Guest, releases no mail address",
		},
	}
}

// personByUser finds a person by the name on the button.
func personByUser(people []Person, user string) (Person, bool) {
	i := slices.IndexFunc(people, func(p Person) bool { return p.User == user })
	if i < 0 {
		return Person{}, false
	}
	return people[i], true
}
