package web

import (
	"net/url"
	"time"
)

// A Page is one of the structs of this package. Every field may be empty, and
// every text may come from a stranger: what is empty is left out, what is
// dangerous is shown as text. A field named URL becomes a link only if it is
// http, https or a path on the same host.
type Page interface {
	view() view
}

// A view is what rendering needs to know of a page besides its fields.
type view struct {
	template string
	refresh  int    // seconds; 0: stays, less: goes on at once
	next     string // where a refresh goes; empty: here again
	form     string // where its form is posted to
	posts    bool   // has a form that posts itself
	confirms bool   // has a form for a person to post
	secret   bool   // its address says what nobody else may know
	desk     *Desk  // around it; its forms are for a person to post, to ourselves
}

// Who is the person in front of the page. The zero Who is nobody, and is not
// mentioned.
type Who struct {
	Name     string
	Provider string // title of the identity provider they came through
}

// A Chooser asks where the person has an account.
type Chooser struct {
	Service string // title of what they want to open
	Choices []Choice
	// Query is what they searched for; Choices is what was found.
	Query string
	// Search shows the search field: a GET to the same address with ?q=. Keep
	// are the other parameters that it carries along.
	Search bool
	Keep   url.Values
	// Remembers is true if a choice made here is kept in a cookie of its own;
	// the page then says what that holds.
	Remembers bool
	// ForgetURL makes this browser forget the choice that is Last.
	ForgetURL string
}

// A Choice is one identity provider.
type Choice struct {
	ID, Title, LogoURL, URL string
	Text                    string // a second line: domain, country
	Last                    bool   // what this browser chose the last time; shown first
}

// A Welcome asks what is to be known of a person before they go on. It is a POST
// to Action of user_name, where they may choose it, and of "attribute." and the
// name of each that is asked; Fields go with it.
type Welcome struct {
	Provider, Service   string
	First               bool // their account is not made yet
	Choose              bool
	UserName            string
	Known               []KnownValue
	Asked               []AskedValue
	Wrong               string // the attribute, or user_name, whose answer will not do
	Taken               bool   // because somebody else has that name
	Action              string
	Fields              url.Values
	CancelURL           string
	Contact, ContactURL string
}

// A KnownValue is what an identity provider says of the person.
type KnownValue struct {
	Attribute string
	Values    []string
}

// An AskedValue is what it does not say.
type AskedValue struct {
	Attribute, Value string
	Required         bool
}

// Denied says who is not let in, to what, why, and what can be done about it.
// Code is access.no_rule, access.denied_by_rule, access.step_up or
// user.inactive.
type Denied struct {
	Service       string
	Who           Who
	Code, Support string
	At            time.Time
	Rules         []Unmet
	// Contact is a mail address or a name; with ContactURL it is a link there.
	Contact, ContactURL                     string
	StepUpURL, AskURL, SwitchURL, LogoutURL string
	// Waiting is what they have asked for already. While RefreshSeconds is
	// positive the browser looks again by itself.
	Waiting        *Waiting
	RefreshSeconds int
}

// Unmet is a requirement that the person does not meet.
type Unmet struct {
	Text string   // the rule's own words
	Have []string // what the person has instead, where they may know
}

// MissingAttribute says that an identity provider did not tell something that
// an account can not be made without.
type MissingAttribute struct {
	Service, Provider string
	Attribute         string // by our name
	// Recipient is how the provider knows us: our entity ID or client ID.
	Recipient string
	// ErrorURL is the provider's own page for this case, where it has one.
	ErrorURL            string
	Contact, ContactURL string
	RetryURL, SwitchURL string
	Code, Support       string
	At                  time.Time
}

// Preparing waits for accounts in other systems. While RefreshSeconds is
// positive the browser comes back by itself, to RetryURL if there is one. With
// Code and no refresh it failed; when every target is done it is ready.
type Preparing struct {
	Service               string
	Targets               []TargetState
	RefreshSeconds        int
	RetryURL, ContinueURL string
	Contact, ContactURL   string
	Code, Support         string
	At                    time.Time
}

// TargetState is how far one system is. State is "done" or "failed";
// everything else is still being worked on.
type TargetState struct {
	Title, State, Text string
}

// Failed is every other end: the identity provider's error or ours. What is
// said follows from Code; Text is what someone else said about it, and is
// quoted as theirs.
type Failed struct {
	Code, Support string
	Service       string
	Provider      string // where they wanted to sign in, and who said Text
	Text          string
	At            time.Time

	RetryURL, HomeURL   string
	Contact, ContactURL string
}

// SignedOut says from what the person is signed out, and from what not.
type SignedOut struct {
	// Nobody: nobody was signed in at the gateway's own host, so nothing has ended.
	Nobody bool
	From   []string
	// Others is how many sessions of theirs ended in other browsers.
	Others int
	// Provider is the title of the identity provider, and State what is known of
	// the session there.
	Provider, State string
	AgainURL        string
}

// What can be known of an identity provider's own session.
const (
	Ended  = "ended"  // it says that it is over
	Asked  = "asked"  // it was asked to end it, and has not said that it did
	Kept   = "kept"   // it was not asked, or said no
	CanNot = "cannot" // it offers no way to be asked
)

// Portal shows the services that there are for a person.
type Portal struct {
	Who      Who
	Services []Tile

	MeURL, AdminURL, LogoutURL string
	RequestsURL, DecideURL     string
	Deciding                   int // requests that wait for the person to decide
}

// A Tile is one service of the portal.
type Tile struct {
	Title, Description, LogoURL, URL string
	// Allowed tiles are links; the others say Why not, and offer AskURL, or show
	// what was asked for.
	Allowed     bool
	Why, AskURL string
	Waiting     *Waiting
}

// PostForm sends Fields to Action, by itself if scripts run and by a button
// if not. Action comes from configuration or metadata, never from a request.
type PostForm struct {
	Action string
	Fields url.Values
	To     string // title of who receives it
}

// GoOn leads to URL, by itself and by a link. It is the answer to a POST of
// ours that must end at somebody else: browsers hold a redirect after a form
// to the form-action of the page that had the form, and ours is 'self'.
type GoOn struct {
	URL string
	To  string // title of who is there
}

// ReturnByGet tells that a form was not sent on because nobody was signed in
// any more, and leads to where it was going, by way of signing in.
type ReturnByGet struct {
	Service, URL string
}

// Confirm asks before signing out. Yes is a POST of Fields to Action, which
// is a path on the same host; if the answer must lead to an identity provider,
// it is a PostForm or a GoOn, not a redirect.
type Confirm struct {
	Who     Who
	From    []string // what one will be signed out from
	Action  string
	Fields  url.Values
	BackURL string
	// The choices beside the plain one, which is the field scope with "here":
	// AtProvider is the title of the identity provider if it can be asked to end
	// its session too ("provider"), Everywhere is true if there are sessions in
	// other browsers ("everywhere").
	AtProvider string
	Everywhere bool
}

// Recover asks whoever has a link of the machine to come in by it. Yes is a POST
// of Fields to Action, which is a path on the same host.
type Recover struct {
	Action string
	Fields url.Values
}

func (p Recover) view() view {
	return view{template: "recover", form: p.Action, confirms: true, secret: true}
}
func (p Chooser) view() view          { return view{template: "chooser"} }
func (p Welcome) view() view          { return view{template: "welcome", form: p.Action, confirms: true} }
func (p Denied) view() view           { return view{template: "denied", refresh: p.RefreshSeconds} }
func (p MissingAttribute) view() view { return view{template: "missing"} }
func (p Preparing) view() view {
	return view{template: "preparing", refresh: p.RefreshSeconds, next: p.RetryURL}
}

// Stage is working, failed or ready.
func (p Preparing) Stage() string {
	switch {
	case p.RefreshSeconds > 0:
		return "working"
	case p.Code != "":
		return "failed"
	}
	for _, t := range p.Targets {
		if t.State != "done" {
			return "working"
		}
	}
	return "ready"
}

func (p Failed) view() view      { return view{template: "failed"} }
func (p SignedOut) view() view   { return view{template: "signedout"} }
func (p Portal) view() view      { return view{template: "portal"} }
func (p PostForm) view() view    { return view{template: "post", form: p.Action, posts: true} }
func (p GoOn) view() view        { return view{template: "goon", refresh: -1, next: p.URL} }
func (p ReturnByGet) view() view { return view{template: "return"} }
func (p Confirm) view() view     { return view{template: "confirm", form: p.Action, confirms: true} }
