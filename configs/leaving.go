package configs

import (
	"fmt"
	"slices"
	"time"
)

// Guard keeps a mistake from taking everybody's access at once: what is beyond a limit waits until a person has approved it.
type Guard struct {
	// Limits of every source and target that has none of its own.
	Limits GuardLimits `yaml:"limits"`
	// Protect are people who are never disabled or deleted by a source, a date or a target's rules: accounts for emergencies. The last administrator is always one of them.
	Protect Protected `yaml:"protect"`
	// SensitiveAttributes are attributes that open doors, whose changes at a target are counted.
	SensitiveAttributes Some[string] `yaml:"sensitive_attributes"`
}

// GuardLimits are how much one source may take away, or one target lose, in one pass and within any hour.
type GuardLimits struct {
	// Removals are users or accounts that are disabled or deleted. Left out: as `guard.limits` says, or else 10 or 5 percent, whichever is more.
	Removals *Allowance `yaml:"removals"`
	// Memberships are people taken out of groups. Left out: as `guard.limits` says, or else 50 or 20 percent.
	Memberships *Allowance `yaml:"memberships"`
	// Sensitive are changes of sensitive attributes. Left out: as `guard.limits` says, or else 10 or 20 percent.
	Sensitive *Allowance `yaml:"sensitive"`
	// Shrink is by how many percent a full list may be shorter than the last one before nobody is taken away because of it. Left out: as `guard.limits` says, or else 50.
	Shrink int `yaml:"shrink" jsonschema:"minimum=1"`
	// Expire is how long somebody can approve what is held; then it is rejected. Left out: as `guard.limits` says, or else 168h.
	Expire time.Duration `yaml:"expire"`
}

// Allowance is the larger of a number and a share.
type Allowance struct {
	// Count allows so many. Left out: none.
	Count int `yaml:"count" jsonschema:"minimum=0"`
	// Percent allows such a share of what there is. Left out: none.
	Percent int `yaml:"percent" jsonschema:"minimum=0"`
}

// Protected are people by role, by group or by name; any one is enough.
type Protected struct {
	// Roles they have.
	Roles Some[string] `yaml:"roles"`
	// Groups they are in.
	Groups Some[string] `yaml:"groups"`
	// Users by name, in which `*` stands for any text; with the user store before it where it is not the first: `partners/kim`.
	Users Some[string] `yaml:"users"`
}

// Inactive says what becomes of people who do not sign in any more.
type Inactive struct {
	// After so long without a sign-in they are taken to have left.
	After time.Duration `yaml:"after" jsonschema:"required"`
	// Warn them so long before; each is a warning of its own.
	Warn Some[time.Duration] `yaml:"warn"`
	// Then their user is disabled or deleted.
	Then string `yaml:"then" jsonschema:"enum=disable,enum=delete,default=disable"`
}

// Probe asks an OpenID provider now and then whether people are still there, with a refresh token that is kept sealed.
type Probe struct {
	// By is what is asked: `refresh_token`, whether the token is renewed, or `userinfo` too.
	By string `yaml:"by" jsonschema:"enum=refresh_token,enum=userinfo,default=refresh_token"`
	// Every is how often a person is asked about.
	Every time.Duration `yaml:"every" jsonschema:"default=24h"`
	// Confirmations is how often in a row the provider must say a clear no, before the person is disabled. A provider that fails says nothing.
	Confirmations int `yaml:"confirmations" jsonschema:"default=3,minimum=1"`
}

// guardLimits checks limits.
func (k *checker) guardLimits(at where, l GuardLimits) {
	for name, a := range map[string]*Allowance{"removals": l.Removals, "memberships": l.Memberships, "sensitive": l.Sensitive} {
		if a != nil && a.Percent > 100 {
			k.say(at.key(name).key("percent"), fmt.Sprintf("percent is %d", a.Percent), "write 0 to 100; 100 allows everything")
		}
	}
	if l.Shrink > 100 {
		k.say(at.key("shrink"), fmt.Sprintf("shrink is %d", l.Shrink), "write 1 to 100")
	}
	if l.Expire > 30*24*time.Hour {
		k.say(at.key("expire"), "nobody remembers for so long what is held", "write 720h or less")
	}
}

func (k *checker) guard(at where, g Guard) {
	k.guardLimits(at.key("limits"), g.Limits)
	k.refers(at.key("protect").key("roles"), "role", g.Protect.Roles, k.roles, "roles")
	k.refers(at.key("sensitive_attributes"), "attribute", g.SensitiveAttributes, slices.Concat(k.attributes, given), "attributes")
}

func (k *checker) inactive(at where, i Inactive) {
	if i.After > 0 && i.After < 24*time.Hour {
		k.say(at.key("after"), "people who do not sign in for a day have not left", "write 24h or more, such as 4320h for half a year")
	}
	for j, w := range i.Warn {
		if w >= i.After && i.After > 0 {
			k.say(at.key("warn").index(j), "the warning would come at once", "write less than after")
		}
	}
}
