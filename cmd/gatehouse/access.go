package main

import (
	"context"
	"slices"

	"github.com/gatehouse-sso/gatehouse/configs"
	"github.com/gatehouse-sso/gatehouse/provisioning/access"
	"github.com/gatehouse-sso/gatehouse/provisioning/task"
)

// Who administers, and how people come to have roles that they asked for.

// administrator is the duty that has all others.
const administrator = "administrator"

// dutiesOf are the parts of administering that a configuration gives to people,
// by the key under admins.
func dutiesOf(cfg *configs.Config) map[string]configs.People {
	a := cfg.Admins
	return map[string]configs.People{"release_editors": a.ReleaseEditors, "approvers": a.Approvers, "helpdesk": a.Helpdesk, "auditors": a.Auditors}
}

// askable: the configuration means the role to be asked for, by saying who
// approves it or where it is offered. Others are given by administrators alone.
func askable(cfg *configs.Config, r configs.Role) bool {
	if a := r.Approvers; len(a.Roles)+len(a.Groups)+len(a.Users) > 0 {
		return true
	}
	return slices.ContainsFunc(cfg.Services, func(s configs.Service) bool { return slices.Contains(s.Denied.Request, r.ID) })
}

// newAccess makes what gives roles and takes them back.
func (p *process) newAccess(s *site) *access.Access {
	c := access.Config{Store: p.store, Directory: s.directory, Resolve: s.rules.policy.Roles, Audit: p.audit.Append, Now: p.now}
	for _, r := range s.cfg.Roles {
		title := r.Title
		if title == "" {
			title = r.ID
		}
		c.Roles = append(c.Roles, access.Role{ID: r.ID, Title: title, Longest: r.Longest, Approves: s.rules.approves[r.ID]})
	}
	return access.New(c)
}

// accessTasks are the handlers of what package access does by itself.
func (p *process) accessTasks(handlers map[string]task.Handler) map[string]task.Handler {
	handlers[access.TaskEnds] = func(ctx context.Context, key string) error { return p.site.Load().access.HandleEnds(ctx, key) }
	handlers[access.TaskLapse] = func(ctx context.Context, key string) error { return p.site.Load().access.HandleLapse(ctx, key) }
	handlers[access.TaskForget] = func(ctx context.Context, key string) error { return p.site.Load().access.HandleForget(ctx, key) }
	return handlers
}
