package main

import (
	"context"
	"strings"

	"github.com/gatehouse-sso/gatehouse/configs"
	"github.com/gatehouse-sso/gatehouse/federation/oidc"
	"github.com/gatehouse-sso/gatehouse/provisioning"
	"github.com/gatehouse-sso/gatehouse/provisioning/client"
	"github.com/gatehouse-sso/gatehouse/provisioning/guard"
	"github.com/gatehouse-sso/gatehouse/provisioning/intake/scim"
	"github.com/gatehouse-sso/gatehouse/provisioning/lifecycle"
	"github.com/gatehouse-sso/gatehouse/provisioning/outbox"
	"github.com/gatehouse-sso/gatehouse/provisioning/reconcile"
	"github.com/gatehouse-sso/gatehouse/provisioning/store"
)

// What takes people and accounts away, and what keeps it from taking too many.

// newGuard makes the mass-change guard of a site. The site's directory and
// lifecycle are there when it is asked.
func (p *process) newGuard(s *site) *guard.Guard {
	limits := guardLimits(s.cfg)
	return guard.New(guard.Config{
		Store: p.store, Audit: p.audit.Append, Now: p.now,
		Limits: func(scope string) guard.Limits {
			if l, ok := limits[scope]; ok {
				return l
			}
			return limits[""]
		},
		Population: s.population,
		Protected:  s.protected,
		Resume: func(tx store.Tx, it guard.Item) error {
			if it.Act.Object == reconcile.Stray {
				return s.reconcile.Resume(tx, it)
			}
			if strings.HasPrefix(it.Act.Scope, guard.Target("")) {
				return s.outbox.ResumeTx(tx, it)
			}
			if mine, err := s.directories.Resume(tx, it); mine || err != nil {
				return err
			}
			if c := s.clients.Of(sourceOf(it.Act.Scope)); c != nil && c.Mode == client.PushOnly {
				return nil // nothing is kept by which to do it: the client asks again
			}
			return s.lifecycle.Resume(tx, it)
		},
	})
}

// guardLimits are the limits by scope; those of "" are for all others.
func guardLimits(cfg *configs.Config) map[string]guard.Limits {
	general := limitsOver(guard.Defaults, cfg.Guard.Limits)
	m := map[string]guard.Limits{"": general}
	for _, t := range cfg.Targets {
		m[guard.Target(t.ID)] = limitsOver(general, t.Guard)
	}
	for _, c := range cfg.Clients {
		m[guard.Source(string(provisioning.SourceClient(c.ID)))] = limitsOver(general, c.Guard)
	}
	for _, src := range cfg.Sources {
		m[guard.Source(string(provisioning.SourceFeed(src.ID)))] = limitsOver(general, src.Guard)
	}
	return m
}

// limitsOver are limits with what a configuration says instead.
func limitsOver(l guard.Limits, c configs.GuardLimits) guard.Limits {
	for to, from := range map[*guard.Limit]*configs.Allowance{&l.Removal: c.Removals, &l.Membership: c.Memberships, &l.Sensitive: c.Sensitive} {
		if from != nil {
			*to = guard.Limit{Count: from.Count, Percent: float64(from.Percent)}
		}
	}
	if c.Shrink > 0 {
		l.Shrink = float64(c.Shrink)
	}
	if c.Expire > 0 {
		l.Expire = c.Expire
	}
	return l
}

// sourceOf is the source that a scope is of.
func sourceOf(scope string) provisioning.Source {
	return provisioning.Source(strings.TrimPrefix(scope, guard.Source("")))
}

// population is how many people or accounts a scope has.
func (s *site) population(tx store.Tx, scope string) (n int, err error) {
	if target, ok := strings.CutPrefix(scope, guard.Target("")); ok {
		return outbox.CountTx(tx, target)
	}
	stores := storeIDs(s.cfg)
	by := sourceOf(scope)
	if c := s.clients.Of(by); c != nil {
		if c.Mode == client.PushOnly {
			return scim.CountPassing(tx, c.ID)
		}
		stores = c.UserStores
	}
	for _, src := range s.cfg.Sources {
		if by == provisioning.SourceFeed(src.ID) {
			stores = storesOf(s.cfg, src)
		}
	}
	for _, id := range stores {
		k, err := s.directory.CountTx(tx, id)
		if err != nil {
			return 0, err
		}
		n += k
	}
	return n, nil
}

// protected says why somebody is never taken away by itself.
func (s *site) protected(tx store.Tx, userID string) (why string, err error) {
	u, ok, err := s.directory.UserTx(tx, userID)
	if err != nil || !ok {
		return "", err
	}
	sub, err := s.directory.SubjectTx(tx, u)
	if err != nil {
		return "", err
	}
	sub = s.rules.policy.Roles(sub)
	name := s.directory.FullName(u.Store, u.UserName)
	for _, pattern := range s.cfg.Guard.Protect.Users {
		if client.Like(provisioning.Fold(pattern), provisioning.Fold(name)) {
			return "the configuration protects " + pattern, nil
		}
	}
	if s.rules.protected(sub) {
		return "the configuration protects a role or group of theirs", nil
	}
	if !u.Active || !s.rules.admin(sub) {
		return "", nil
	}
	other, err := s.otherAdmin(tx, userID)
	if err != nil || other {
		return "", err
	}
	return "nobody else could administer the gateway", nil
}

// otherAdmin looks for another active administrator.
func (s *site) otherAdmin(tx store.Tx, userID string) (bool, error) {
	for u, err := range s.directory.UsersTx(tx) {
		if err != nil {
			return false, err
		}
		if u.ID == userID || !u.Active {
			continue
		}
		sub, err := s.directory.SubjectTx(tx, u)
		if err != nil {
			return false, err
		}
		if s.rules.admin(s.rules.policy.Roles(sub)) {
			return true, nil
		}
	}
	return false, nil
}

// newLifecycle makes what watches people come and go.
func (p *process) newLifecycle(s *site) *lifecycle.Lifecycle {
	c := lifecycle.Config{
		Store: p.store, Directory: s.directory, Guard: s.guard, Audit: p.audit.Append, Now: p.now, Inactive: map[string]lifecycle.Inactivity{},
		// An administrator and the gateway itself know what they do; a client may
		// have lost its own data.
		Guarded:     func(by provisioning.Source) bool { return s.clients.Of(by) != nil || by == lifecycle.By },
		EndSessions: s.endSessions,
	}
	s.asked, c.Sealer, c.Probes = map[string]*oidc.Provider{}, p.sealer, map[string]lifecycle.Probe{}
	for _, idp := range s.cfg.IdentityProviders {
		if pr := idp.Probe; pr != nil {
			c.Probes[idp.ID] = lifecycle.Probe{Every: pr.Every, Confirmations: pr.Confirmations, Ask: func(ctx context.Context, renewal, subject string) (string, error) {
				return s.asked[idp.ID].Renew(ctx, renewal, subject, pr.By == "userinfo")
			}}
		}
	}
	for _, u := range s.cfg.UserStores {
		if i := u.Inactive; i != nil {
			c.Inactive[u.ID] = lifecycle.Inactivity{After: i.After, Warn: i.Warn, Then: i.Then}
		}
	}
	return lifecycle.New(c)
}
