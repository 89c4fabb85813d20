package web

import "net/url"

// A Consent shows who learns what about the person, and asks about what needs
// their word. It is a POST of Fields, and of "given" with the Key of each
// value that they agree to; with "none" they agree to nothing.
type Consent struct {
	Desk
	Service string // title of what they want to use; empty: it is about all
	To      []ConsentTo
	Asks    bool // something needs their word
	Fields  url.Values
}

// A ConsentTo is a recipient.
type ConsentTo struct {
	Title  string
	Values []ConsentValue
}

// A ConsentValue is one attribute that it learns.
type ConsentValue struct {
	Key, Attribute string
	Values         []string
	Purpose, Basis string
	Asked          bool // goes there only if they agree
	Given          bool
}

func (p Consent) view() view { return p.desk("consent") }
