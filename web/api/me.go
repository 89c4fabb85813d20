package api

import (
	"time"

	"github.com/gatehouse-sso/gatehouse/authz"
	"github.com/gatehouse-sso/gatehouse/provisioning"
	"github.com/gatehouse-sso/gatehouse/provisioning/audit"
)

// Me is what is known about the person who asks, and who learns of it.
type Me struct {
	ID       string                          `json:"id"`
	UserName string                          `json:"user_name"`
	Active   bool                            `json:"active"`
	Created  time.Time                       `json:"created"`
	Modified time.Time                       `json:"modified"`
	Claims   map[string][]provisioning.Claim `json:"claims"` // by attribute: who says what since when
	Roles    []string                        `json:"roles"`  // titles
	Groups   []string                        `json:"groups"`
	Grants   []Grant                         `json:"grants"` // roles given by name
	Services []Learner                       `json:"services"`
	Targets  []Learner                       `json:"targets"`
	Sessions []MySession                     `json:"sessions"`
	Links    []MyLink                        `json:"links"`
	// Providers are identity providers at which one can be added.
	Providers []string `json:"providers"`
}

// A Learner is a service or a target that learns something about a person.
type Learner struct {
	ID       string           `json:"id"`
	Title    string           `json:"title"`
	Sent     []authz.Released `json:"sent"`                // as things are
	Withheld []authz.Withheld `json:"withheld"`            // what it does not learn although it is listed for it
	Seen     time.Time        `json:"last_used,omitzero"`  // of a service: as the sessions there are know
	At       time.Time        `json:"last_told,omitzero"`  // of a target
	Since    time.Time        `json:"has_since,omitzero"`  // of a target: an account
	Status   string           `json:"status,omitempty"`    // of a target: done, pending, failed
	Told     []string         `json:"attributes,omitzero"` // of a target: names of all that it was told
}

// MySession is a sign-in of the person who asks.
type MySession struct {
	ID       string    `json:"id"`
	Provider string    `json:"identity_provider"`
	Created  time.Time `json:"created"`
	Seen     time.Time `json:"seen"`
	Until    time.Time `json:"until"`
	Current  bool      `json:"current,omitempty"` // the one that asks
}

// MyLink is an identity with which the person who asks can sign in.
type MyLink struct {
	Provider string    `json:"identity_provider"`
	Issuer   string    `json:"issuer"`
	Subject  string    `json:"subject"`
	Since    time.Time `json:"since"`
	// Keeps says why it can not be taken away: "only" or "current"; empty: it can.
	Keeps string `json:"keeps,omitempty"`
}

// Everything is all that is stored about a person, as a file.
type Everything struct {
	Made     time.Time     `json:"made"`
	Me       Me            `json:"me"`
	Requests []Request     `json:"requests"`
	Events   []audit.Event `json:"events"` // of the audit log, the latest first
}

// Link is where to go on.
type Link struct {
	URL string `json:"url"`
}
