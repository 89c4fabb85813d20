package api

import (
	"time"

	"github.com/gatehouse-sso/gatehouse/provisioning"
	"github.com/gatehouse-sso/gatehouse/provisioning/access"
)

// A Request for a role, with names in place of IDs.
type Request struct {
	access.Request
	UserName     string `json:"user_name"`
	RoleTitle    string `json:"role_title"`
	ServiceTitle string `json:"service_title,omitempty"`
	Decider      string `json:"decider,omitempty"` // who decided, by name
}

// A Grant is one role that one person was given by name.
type Grant struct {
	UserName string `json:"user_name"`
	UserID   string `json:"user"`
	provisioning.Grant
	RoleTitle string `json:"role_title"`
	Granter   string `json:"granter"` // who gave it, by name
}

// Askable is what somebody can ask for, because a service is not open to them
// or because they know what they want.
type Askable struct {
	Service string   `json:"service,omitempty"` // ID
	Title   string   `json:"title,omitempty"`   // of the service
	URL     string   `json:"url,omitempty"`     // the page they wanted, if it is one of this gateway
	Wants   []string `json:"wants"`             // by the service, in its own words
	Roles   []Role   `json:"roles"`
}

// A Role that can be asked for.
type Role struct {
	ID     string    `json:"id"`
	Title  string    `json:"title"`
	Latest time.Time `json:"latest,omitzero"` // end that it can have; zero: any
	// Waiting is a request for it that nobody has decided.
	Waiting *Request `json:"waiting,omitempty"`
}

// A Decision is a request that waits for one, with what whoever decides has to
// know.
type Decision struct {
	Request
	Name     string    `json:"name,omitempty"` // that people are called by
	Has      []string  `json:"has"`            // roles and groups of theirs
	Opens    []string  `json:"opens"`          // titles of services that the role would open to them
	Accounts []string  `json:"accounts"`       // titles of targets at which it would give them an account
	Latest   time.Time `json:"latest"`         // end that can be approved
}

// Waiting is how much waits for somebody to decide; of many, the first hundred.
type Waiting struct {
	Decides bool `json:"decides"` // they decide about something
	Count   int  `json:"count"`
	Owns    int  `json:"owns"` // services for which they answer
}
