package api

import (
	"strings"
	"time"

	"github.com/gatehouse-sso/gatehouse/authz"
	"github.com/gatehouse-sso/gatehouse/provisioning/audit"
	"github.com/gatehouse-sso/gatehouse/provisioning/outbox"
	"github.com/gatehouse-sso/gatehouse/provisioning/task"
)

// An Overview is how things are today.
type Overview struct {
	Since    time.Time    `json:"since"` // of the counts: midnight, UTC
	SignIns  int          `json:"sign_ins"`
	Refused  int          `json:"refused"` // sign-ins
	Denied   int          `json:"denied"`
	More     bool         `json:"more,omitempty"` // there were more than were counted
	Hours    []Hour       `json:"hours"`          // since midnight
	Targets  []TargetWork `json:"targets"`
	Ends     []End        `json:"ends"`            // those that come first
	Backup   time.Time    `json:"backup,omitzero"` // the last one; zero: there was none
	Requests int          `json:"requests"`        // that nobody has decided, 100 at most
}

// An Hour of the day and what happened in it.
type Hour struct {
	Hour    int `json:"hour"`
	SignIns int `json:"sign_ins"`
	Refused int `json:"refused"`
	Denied  int `json:"denied"`
}

// TargetWork is what waits at a target.
type TargetWork struct {
	outbox.TargetView
	Pending int           `json:"pending"`
	Dead    int           `json:"dead"` // parked
	Oldest  time.Duration `json:"oldest"`
}

// An End is when something is not good any more: a certificate, a document.
type End struct {
	Use   string    `json:"use"` // tls, saml, metadata
	ID    string    `json:"id,omitempty"`
	Until time.Time `json:"until"`
}

// Settings are what the gateway runs with. They come from its configuration
// file, and are changed there.
type Settings struct {
	Version   string    `json:"version"`
	File      string    `json:"file"` // of the configuration
	Good      bool      `json:"good"` // what was read last was taken
	Taken     time.Time `json:"taken,omitzero"`
	PublicURL string    `json:"public_url"`
	Listen    string    `json:"listen"`
	Languages []string  `json:"languages"`
	Store     string    `json:"store"`
	Size      int64     `json:"size"`           // of the store, in bytes
	Free      int64     `json:"free,omitempty"` // beside it, in bytes
	Backup    time.Time `json:"backup,omitzero"`
	Keys      []Key     `json:"keys"`
	Duties    []Duty    `json:"duties"`
}

// A Key of the gateway or of an identity provider; nothing of it is secret.
type Key struct {
	Use   string    `json:"use"`
	ID    string    `json:"id"`
	Kind  string    `json:"kind,omitempty"`
	Until time.Time `json:"until,omitzero"`
}

// A Duty and who has it, by the configuration.
type Duty struct {
	Duty   string   `json:"duty"`
	Roles  []string `json:"roles,omitempty"`
	Groups []string `json:"groups,omitempty"`
	Users  []string `json:"users,omitempty"`
}

// A Service behind the gateway.
type Service struct {
	ID          string          `json:"id"`
	Title       string          `json:"title"`
	Description string          `json:"description,omitempty"`
	URL         string          `json:"url"`
	Upstreams   []string        `json:"upstreams"`
	Providers   []string        `json:"identity_providers,omitempty"` // empty: all
	Headers     string          `json:"headers"`                      // preset
	Rules       []Rule          `json:"rules"`
	Release     []ReleasedValue `json:"release"`
	Provisioned []string        `json:"provisioned_by,omitempty"`
	Contact     string          `json:"contact,omitempty"`
	Offers      []string        `json:"offers,omitempty"` // roles that people may ask for
}

// A Rule of a service.
type Rule struct {
	ID      string   `json:"id"`
	Text    string   `json:"text,omitempty"`
	Effect  string   `json:"effect"` // allow, deny
	Methods []string `json:"methods,omitempty"`
	Paths   []string `json:"paths,omitempty"`
	Whom    []Clause `json:"whom"` // all of these
}

// A Clause of a rule: any of its values will do.
type Clause struct {
	Kind   string   `json:"kind"` // as in authz.Clause
	Values []string `json:"values,omitempty"`
}

// A ReleasedValue is what a service or a target may learn.
type ReleasedValue struct {
	Attribute string   `json:"attribute"`
	As        string   `json:"as,omitempty"`
	Values    []string `json:"values,omitempty"`
	Purpose   string   `json:"purpose,omitempty"`
	Basis     string   `json:"basis,omitempty"`
	When      string   `json:"when,omitempty"`
}

// A Provider is an identity provider and how what it publishes stands.
type Provider struct {
	ID         string    `json:"id"`
	Title      string    `json:"title"`
	Protocol   string    `json:"protocol"`
	Issuer     string    `json:"issuer"` // or entity ID; empty: not known yet
	Recipient  string    `json:"recipient"`
	Callback   string    `json:"callback"`
	Metadata   string    `json:"metadata,omitempty"` // address of ours
	Read       time.Time `json:"read,omitzero"`
	ValidUntil time.Time `json:"valid_until,omitzero"`
	Error      string    `json:"error,omitempty"`
	Keys       []Key     `json:"keys"`
	Mapping    []Mapped  `json:"mapping"`
	Mode       string    `json:"mode"`
	UserStore  string    `json:"user_store"`
}

// Mapped is an attribute of ours and what it is made of.
type Mapped struct {
	Attribute string   `json:"attribute"`
	From      []string `json:"from"` // attributes of theirs
}

// A Trial is what an identity provider said in a sign-in that let nobody in.
type Trial struct {
	Provider string              `json:"provider"`
	At       time.Time           `json:"at"`
	Code     string              `json:"code,omitempty"` // why a sign-in would be refused
	Error    string              `json:"error,omitempty"`
	Issuer   string              `json:"issuer,omitempty"`
	Subject  string              `json:"subject,omitempty"`
	ACR      string              `json:"acr,omitempty"`
	AMR      []string            `json:"amr,omitempty"`
	SignedIn time.Time           `json:"signed_in,omitzero"`
	Said     map[string][]string `json:"said,omitempty"`
	User     *User               `json:"user,omitempty"`  // who it would be
	Fresh    bool                `json:"fresh,omitempty"` // and is not yet
}

// Begun is where a trial goes on.
type Begun struct {
	URL string `json:"url"`
}

// An Attribute that people can have.
type Attribute struct {
	ID    string `json:"id"`
	Title string `json:"title"`
	Multi bool   `json:"multi,omitempty"` // it can have several values
}

// Events are a page of those that were asked for, the newest first. Only so many
// are looked at for one page, so it may hold few, or none, and not be the last.
type Events struct {
	Events []audit.Event `json:"events"`
	// Names of the users in them who are there, by ID.
	Names map[string]string `json:"names"`
	Next  uint64            `json:"next,omitempty"` // those before this number come next; 0: these were all
}

// Tasks are a page of those that were asked for, in the order of kind and key. Like
// Events it may hold none and not be the last.
type Tasks struct {
	Tasks []task.Task `json:"tasks"`
	// Names of what the keys are made of, by ID: users, groups, targets and others;
	// empty: not known.
	Names map[string]string `json:"names"`
	Next  string            `json:"next,omitempty"` // those after this one come next; empty: these were all
}

// About names what a task is about, as far as that is known.
func (v Tasks) About(t task.Task) (list []string) {
	for _, part := range strings.Split(t.Key, "/") {
		if name := v.Names[part]; name != "" {
			list = append(list, name)
		}
	}
	return list
}

// A Group of the directory.
type Group struct {
	ID       string    `json:"id"`
	Name     string    `json:"name"` // with the prefix of its user store
	Modified time.Time `json:"modified"`
	Members  []Member  `json:"members,omitempty"`
	Inside   []string  `json:"inside,omitempty"` // groups in it
	More     string    `json:"more,omitempty"`   // where the next page of members begins
}

// A Member of a group.
type Member struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

// An OwnedService is a service as those see it who answer for it.
type OwnedService struct {
	Service
	SignedIn int          `json:"signed_in"` // people who are, now
	Granted  []Grant      `json:"granted"`   // roles that open it, given by name
	Waiting  []Request    `json:"waiting"`   // requests that were made because of it
	Events   []OwnedEvent `json:"events"`    // the newest first
}

// An OwnedEvent is what happened at a service, with names and without what is of
// no concern there.
type OwnedEvent struct {
	At   time.Time `json:"at"`
	Kind string    `json:"kind"`
	Code string    `json:"code,omitempty"` // reason code
	Flow string    `json:"flow,omitempty"` // support code
	User string    `json:"user,omitempty"` // whom it is about
	By   string    `json:"by,omitempty"`
	Text string    `json:"text,omitempty"`
}

// A Flow is all that a support code leads to.
type Flow struct {
	Code     string             `json:"code"`
	Events   []audit.Event      `json:"events"`
	Names    map[string]string  `json:"names"`             // of the users in them who are there, by ID
	Refused  string             `json:"refused,omitempty"` // reason code
	User     *User              `json:"user,omitempty"`
	Provider *Provider          `json:"identity_provider,omitempty"`
	Said     []string           `json:"said,omitempty"` // names of what the provider said
	Mapped   []Mapped           `json:"mapped,omitempty"`
	Service  string             `json:"service,omitempty"`
	Rules    []authz.Reason     `json:"rules,omitempty"` // as they decide about the person now
	Outcome  string             `json:"outcome,omitempty"`
	Released []string           `json:"released,omitempty"` // names
	Withheld []authz.Withheld   `json:"withheld,omitempty"`
	Steps    []outbox.Operation `json:"steps,omitempty"`
}
