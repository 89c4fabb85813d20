package web

import "time"

// Me is what is known about the person in front of the page, who says so and who
// learns of it; and what they can do about it.
type Me struct {
	Desk
	UserName  string
	Created   time.Time
	Claims    []ClaimRow
	Roles     []string // titles
	Groups    []string
	Grants    []GrantRow
	Services  []RecipientRow
	Targets   []RecipientRow
	Sessions  []SessionRow
	Links     []LinkRow
	Add       []Choice // identity providers, by ID and Title
	ExportURL string
}

// A ClaimRow is what one source says.
type ClaimRow struct {
	Attribute string   // ours
	Values    []string // that it says
	Source    string   // who, in words; empty: Kind says it
	Kind      string   // idp, client, feed, admin, self, …
	At        time.Time
}

// A GrantRow is a role that somebody was given by name.
type GrantRow struct {
	Role, By     string
	Since, Until time.Time // zero Until: without end
}

// A RecipientRow is a service or target that learns something.
type RecipientRow struct {
	Title    string
	Sent     []SentRow
	Withheld []string  // attributes of ours that stay back
	Seen, At time.Time // used last, told last; zero: not known
	State    string    // of an account: done, pending, failed; empty: there is none to speak of
}

// A SentRow is one attribute that goes out.
type SentRow struct {
	Attribute, Name string // ours, theirs
	Values          []string
	Purpose         string
}

// A SessionRow is one sign-in that lasts.
type SessionRow struct {
	ID, Provider         string
	Created, Seen, Until time.Time
	Current              bool
}

// A LinkRow is an identity that one can sign in with. Keeps is why it has to
// stay: only or current; empty: it can be taken away.
type LinkRow struct {
	Provider, ProviderID, Issuer, Subject string
	Since                                 time.Time
	Keeps                                 string
}

func (p Me) view() view { return p.desk("me") }
