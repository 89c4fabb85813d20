package api

import (
	"time"

	"github.com/gatehouse-sso/gatehouse/provisioning"
	"github.com/gatehouse-sso/gatehouse/provisioning/lifecycle"
	"github.com/gatehouse-sso/gatehouse/provisioning/outbox"
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
	Grants     []provisioning.Grant            `json:"grants,omitempty"`
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
