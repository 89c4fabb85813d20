package ldap

import (
	"maps"
	"slices"
	"time"

	"github.com/gatehouse-sso/gatehouse/provisioning/store"
)

// State is what is known of a source from one reading to the next.
type State struct {
	Source string `json:"source"`
	Form   string `json:"form,omitempty"`
	Ask    bool   `json:"ask,omitempty"` // a person wants everything to be read
	// What the directory gave to ask with what changed since. It is good for one
	// server and one method.
	Method       Method `json:"method,omitempty"`
	Server       string `json:"server,omitempty"`
	PeopleCookie []byte `json:"people_cookie,omitempty"`
	GroupsCookie []byte `json:"groups_cookie,omitempty"`

	People int       `json:"people"` // whom the last whole walk showed
	Full   time.Time `json:"full,omitzero"`
	Last   *Report   `json:"last,omitempty"`
	Error  string    `json:"error,omitempty"` // of the last try, if it failed
	Tried  time.Time `json:"tried,omitzero"`
}

var states = store.Table[State]{Name: "ldap_source", Key: func(s State) string { return s.Source }}

// person is an entry and the user whom it became.
type person struct {
	Source string    `json:"source"`
	Remote string    `json:"remote"` // the entry's ID
	User   string    `json:"user"`
	DN     string    `json:"dn"`     // normal
	Active bool      `json:"active"` // what the directory last said, and was done
	Gone   time.Time `json:"gone,omitzero"`
}

func (p person) key() string { return string(store.Key(p.Source, p.Remote)) }

var persons = store.Table[person]{
	Name: "ldap_person",
	Key:  person.key,
	Unique: map[string]func(person) []string{
		"user": func(p person) []string { return []string{string(store.Key(p.Source, p.User))} },
	},
	Index: map[string]func(person) []string{
		"dn":     func(p person) []string { return []string{string(store.Key(p.Source, p.DN))} },
		"source": func(p person) []string { return []string{p.Source} },
	},
}

// group is an entry and the group that it became.
type group struct {
	Source string `json:"source"`
	Remote string `json:"remote"`
	Group  string `json:"group"`
	DN     string `json:"dn"` // normal
}

func (g group) key() string { return string(store.Key(g.Source, g.Remote)) }

var groups = store.Table[group]{
	Name: "ldap_group",
	Key:  group.key,
	Unique: map[string]func(group) []string{
		"group": func(g group) []string { return []string{g.Group} },
	},
	Index: map[string]func(group) []string{
		"dn":     func(g group) []string { return []string{string(store.Key(g.Source, g.DN))} },
		"source": func(g group) []string { return []string{g.Source} },
	},
}

// Counts of what became, or in a preview would become, of entries.
type Counts struct {
	Read      int `json:"read"`
	Created   int `json:"created"`
	Changed   int `json:"changed"`
	Unchanged int `json:"unchanged"`
	Disabled  int `json:"disabled"`
	Deleted   int `json:"deleted"`
	Held      int `json:"held"` // wait for approval, or were rejected
	Skipped   int `json:"skipped"`
	Missing   int `json:"missing"` // people who are gone, confirmed
	Groups    int `json:"groups"`
	Joined    int `json:"joined"`
	Left      int `json:"left"`
}

// A Report is one reading.
type Report struct {
	Cycle   string    `json:"cycle"`
	Whole   bool      `json:"whole"` // everything was read, not only what changed
	Preview bool      `json:"preview,omitempty"`
	Began   time.Time `json:"began"`
	Ended   time.Time `json:"ended"`
	Counts
	// Unsound says why nobody was taken away for not being there.
	Unsound  string    `json:"unsound,omitempty"`
	Problems []Problem `json:"problems,omitempty"` // the first ones
	Changes  []Change  `json:"changes,omitempty"`  // of a preview: the first ones
}

// maxShown bounds the problems and changes that a Report has.
const maxShown = 100

// A Problem is an entry that can not be used, or not yet.
type Problem struct {
	Entry string `json:"entry"` // its ID, or its name if it shows none
	Name  string `json:"name,omitempty"`
	Code  string `json:"code"`
	Text  string `json:"text"`
}

// A Change is what would become of one user.
type Change struct {
	Name   string   `json:"name"`
	What   string   `json:"what"` // "created", "changed", "disabled", …
	Fields []string `json:"fields,omitempty"`
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
