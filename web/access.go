package web

import "time"

// Ask is the form with which somebody asks for a role. With Choices they first
// choose which.
type Ask struct {
	Desk
	Service string   // title of what they want to open; empty: nothing in particular
	Rules   []string // what it wants, in its own words
	Choices []Choice // of Title and URL
	// Role that is asked for, by Title; the form is about RoleID, ServiceID and
	// BackURL, which it carries along.
	Role, RoleID, ServiceID, BackURL string
	// Reason and Until are what was typed: a day, YYYY-MM-DD, from Earliest to
	// Latest; empty: no bound. Where a day is too long, the end is At.
	Reason, Until    string
	Earliest, Latest string
	At               time.Time
	LongestReason    int // in bytes
}

// Requests are those of the person in front of the page.
type Requests struct {
	Desk
	Rows []RequestRow
}

// A RequestRow is one request of the person. State is pending, approved, denied,
// withdrawn or lapsed.
type RequestRow struct {
	ID, Role, Service, Reason, State string
	OpenURL                          string // the page that they wanted to open
	Made, Until                      time.Time
	Granted, Decided                 time.Time // zero: not
	Decider, Text                    string    // who decided, and said what
}

// Deciding are the requests that wait for the person in front of the page.
type Deciding struct {
	Desk
	Rows    []DecisionRow
	MoreURL string
}

// A DecisionRow is one request to decide about, with what one has to know.
type DecisionRow struct {
	ID, Name, UserName string // of the request; who asks
	Role, Service      string
	Reason             string
	Made, Until        time.Time
	Has                []string // roles and groups of theirs
	Opens, Accounts    []string // services and targets that the role would give them
	// Shorter and Text are what was typed; Earliest and Latest bound the day.
	Shorter, Text    string
	Earliest, Latest string
}

// Waiting is a request that somebody decides about.
type Waiting struct {
	Role        string
	Made, Until time.Time
	URL         string // where it can be seen, and withdrawn
}

func (p Ask) view() view      { return p.desk("ask") }
func (p Requests) view() view { return p.desk("requests") }
func (p Deciding) view() view { return p.desk("deciding") }
