package api

import (
	"time"

	"github.com/gatehouse-sso/gatehouse/authz"
	"github.com/gatehouse-sso/gatehouse/gateway/bearer"
	"github.com/gatehouse-sso/gatehouse/provisioning"
	"github.com/gatehouse-sso/gatehouse/provisioning/client"
	"github.com/gatehouse-sso/gatehouse/provisioning/connector"
	"github.com/gatehouse-sso/gatehouse/provisioning/guard"
	"github.com/gatehouse-sso/gatehouse/provisioning/lifecycle"
	"github.com/gatehouse-sso/gatehouse/provisioning/outbox"
	"github.com/gatehouse-sso/gatehouse/provisioning/scim/dialect"
)

// A User as pages and tools show them.
type User struct {
	ID         string                          `json:"id"`
	UserName   string                          `json:"user_name"` // with the prefix of its user store
	Active     bool                            `json:"active"`
	Attributes map[string][]string             `json:"attributes"`
	Claims     map[string][]provisioning.Claim `json:"claims,omitempty"`
	Roles      []string                        `json:"roles"`
	Groups     []string                        `json:"groups"`
	Grants     []Grant                         `json:"grants,omitempty"`
	Links      []provisioning.Link             `json:"links,omitempty"`
	Accounts   []outbox.State                  `json:"accounts,omitempty"`
	Evidence   []lifecycle.Evidence            `json:"evidence,omitempty"` // that they have left, or are about to
	Version    uint64                          `json:"version"`
	Created    time.Time                       `json:"created"`
	Modified   time.Time                       `json:"modified"`
}

// First is the first of some values, or nothing.
func First(values []string) string {
	if len(values) == 0 {
		return ""
	}
	return values[0]
}

// A WayIn is a link by which somebody comes in once.
type WayIn struct {
	URL   string    `json:"url"`
	Until time.Time `json:"until"`
}

// A Session as pages and tools show it: nothing that opens it.
type Session struct {
	ID       string    `json:"id"`
	User     string    `json:"user"`
	UserID   string    `json:"user_id"`
	Provider string    `json:"identity_provider"`
	ACR      string    `json:"acr,omitempty"`
	Created  time.Time `json:"created"`
	Seen     time.Time `json:"seen"`
	Until    time.Time `json:"until"`
	Waiting  bool      `json:"waiting,omitempty"`
}

// An Explanation is the decision about somebody at a service with its trace, and
// what would be released.
type Explanation struct {
	User    User           `json:"user"`
	Service string         `json:"service"`
	Outcome string         `json:"outcome"` // deny, login, step_up, allow
	Code    string         `json:"code,omitempty"`
	Reasons []authz.Reason `json:"reasons"`
	Needs   authz.Needs    `json:"needs,omitzero"`
	// Naming is how the service may know them again: unnamed, pairwise or named.
	Naming   string           `json:"naming,omitempty"`
	Sent     []authz.Released `json:"sent"`
	Withheld []authz.Withheld `json:"withheld"`
	Headers  []Header         `json:"headers"`
	Targets  []TargetPreview  `json:"targets,omitempty"`
}

// No: the answer to "may they?" is no.
func (x Explanation) No() bool { return x.Outcome != authz.Allow.String() }

// A Header that a service would receive.
type Header struct {
	Name   string
	Values []string
}

// A TargetPreview is what a target would get.
type TargetPreview struct {
	Target  string           `json:"target"`
	Account bool             `json:"account"` // whether the person should have one
	Sent    []authz.Released `json:"sent"`
}

// A Probe is what a target can do, as was found.
type Probe struct {
	Caps     connector.Caps      `json:"caps"`
	Findings []connector.Finding `json:"findings"`
}

// A Preview is one page of what would become of people's accounts.
type Preview struct {
	Would []outbox.Would `json:"would"`
	// Next is where the next page begins; empty: this was the last.
	Next string         `json:"next,omitempty"`
	Sums map[string]int `json:"sums"`
}

// A Case is one of outbox with the user's name.
type Case struct {
	outbox.Case
	Name string `json:"name"`
}

// Held is what a target or a source would take away, and a person has to approve.
type Held struct {
	Case  *guard.Case `json:"case,omitempty"`
	Items []HeldItem  `json:"items"`
	Next  string      `json:"next,omitempty"` // after which there are more
}

// A HeldItem is one person of those.
type HeldItem struct {
	Name   string `json:"name"`
	UserID string `json:"user"`
	How    string `json:"how"`
	Reason string `json:"reason"`
}

// A ClientView is a client: a system that may provision users.
type ClientView struct {
	ID         string   `json:"id"`
	Title      string   `json:"title,omitempty"`
	Mode       string   `json:"mode"`
	Profile    string   `json:"profile"`
	UserStores []string `json:"user_stores"`
	Targets    []string `json:"targets,omitempty"`
	Groups     []string `json:"groups,omitempty"`
	Ways       []string `json:"credentials"` // of what kinds those of the configuration are
	Tokens     int      `json:"tokens"`      // that were made, those that have ended included
}

// A MadeToken is the only answer that ever holds a token.
type MadeToken struct {
	client.Token
	Text string `json:"token"`
}

// A MadeServiceToken is the only answer that ever holds a service token.
type MadeServiceToken struct {
	bearer.Token
	Text string `json:"token"`
}

// A Habit is what a client's messages have, again and again, that is not SCIM.
type Habit struct {
	dialect.Count
	What string `json:"what"`
}
