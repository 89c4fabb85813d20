package api

import (
	"time"

	"github.com/gatehouse-sso/gatehouse/authz"
	"github.com/gatehouse-sso/gatehouse/authz/versions"
	"github.com/gatehouse-sso/gatehouse/provisioning/task"
)

// A Release is the release policy at a glance, with some of its recipients.
type Release struct {
	InForce      ReleaseVersion     `json:"in_force"`
	Draft        *ReleaseDraft      `json:"draft,omitempty"`
	SecondPerson bool               `json:"second_person"`
	Attributes   []ReleaseAttribute `json:"attributes"`
	Providers    []string           `json:"identity_providers"` // at which people may have signed in
	Recipients   []ReleaseRecipient `json:"recipients"`
	More         bool               `json:"more"`           // there are more recipients
	Lost         []string           `json:"lost,omitempty"` // published rules that the file has no place for
}

// A ReleaseVersion that was published. Number 0 is the file alone.
type ReleaseVersion struct {
	Number  int       `json:"number"`
	By      string    `json:"by,omitempty"` // by name
	At      time.Time `json:"at,omitzero"`
	Comment string    `json:"comment,omitempty"`
	Authors []string  `json:"authors,omitempty"` // who changed the draft, by name
	Again   int       `json:"again"`             // the version that it says again; -1: none
	Changes int       `json:"changes"`           // names of attributes that it changed
}

// A ReleaseDraft is what may be published.
type ReleaseDraft struct {
	Revision string    `json:"revision"`
	Base     int       `json:"base"`
	Behind   bool      `json:"behind"` // another version was published since it was begun
	By       string    `json:"by"`     // by name
	Authors  []string  `json:"authors"`
	At       time.Time `json:"at"`
	Changes  int       `json:"changes"`
	Failing  int       `json:"failing"` // test cases that do not hold
	Mine     bool      `json:"mine"`    // whoever asks changed it too
}

// A ReleaseAttribute that can be released.
type ReleaseAttribute struct {
	ID    string `json:"id"`
	Title string `json:"title"`
}

// A ReleaseRecipient is a service or a target.
type ReleaseRecipient struct {
	To       string          `json:"to"` // "service:wiki"
	Kind     string          `json:"kind"`
	ID       string          `json:"id"`
	Title    string          `json:"title"`
	Edited   bool            `json:"edited"`        // release editors keep it; else the file does
	Pos      string          `json:"pos,omitempty"` // where in the file
	Basis    bool            `json:"basis"`         // it takes nothing without one
	Requires []string        `json:"requires,omitempty"`
	Rules    []versions.Rule `json:"rules"`
	Changed  []string        `json:"changed,omitempty"` // names that differ from what is in force
	Lost     []string        `json:"lost,omitempty"`
}

// A ReleasePreview is what a recipient would learn about one person.
type ReleasePreview struct {
	To       string           `json:"to"`
	Title    string           `json:"title"`
	Account  bool             `json:"account"`          // at a target: whether the person has one
	Naming   string           `json:"naming,omitempty"` // at a service: how it may know them again
	Sent     []authz.Released `json:"sent"`
	Withheld []authz.Withheld `json:"withheld"`
	Missing  []string         `json:"missing,omitempty"` // required, and not sent
	Headers  []Header         `json:"headers,omitempty"`
	// Differs from what goes there by what is in force.
	Differs []authz.Difference `json:"differs,omitempty"`
}

// A ReleaseDiff is what differs between two policies.
type ReleaseDiff struct {
	Was     string            `json:"was"`
	Is      string            `json:"is"`
	Changes []versions.Change `json:"changes"`
	Titles  map[string]string `json:"titles"` // of recipients
}

// A ReleaseCase with what came of it.
type ReleaseCase struct {
	versions.Case
	Wrong []string `json:"wrong,omitempty"`
}

// A ReleaseNeed is what people would lose that a service requires.
type ReleaseNeed struct {
	To        string `json:"to"`
	Title     string `json:"title"`
	Attribute string `json:"attribute"`
	People    int    `json:"people"` // who would lose it
	Of        int    `json:"of"`     // who used it lately, 10,000 at most
	Days      int    `json:"days"`   // what lately is
	Even      bool   `json:"even"`   // nobody could have it any more, whoever comes
}

// A ReleaseReport is a comparison of a draft with what is in force.
type ReleaseReport struct {
	versions.Report
	Titles map[string]string `json:"titles"`
	Names  map[string]string `json:"names"` // of users, by ID
	Stale  bool              `json:"stale"` // the draft is another by now
	Task   *task.Task        `json:"task,omitempty"`
}

// Affected is one person for whom a draft changes something.
type Affected struct {
	UserID   string       `json:"user"`
	UserName string       `json:"user_name"`
	At       []AffectedAt `json:"at"`
}

// AffectedAt is what changes for a person at one recipient.
type AffectedAt struct {
	To    string             `json:"to"`
	Title string             `json:"title"`
	Diff  []authz.Difference `json:"diff"`
}

// AffectedPage is some of those for whom a draft changes something.
type AffectedPage struct {
	People []Affected `json:"people"`
	Looked int        `json:"looked"`         // how many users were looked at for this page
	Next   string     `json:"next,omitempty"` // where to go on; empty: that was everybody
}
