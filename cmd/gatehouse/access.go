package main

import (
	"context"
	"crypto/tls"
	"slices"

	"github.com/gatehouse-sso/gatehouse/authz"
	"github.com/gatehouse-sso/gatehouse/configs"
	"github.com/gatehouse-sso/gatehouse/provisioning/access"
	"github.com/gatehouse-sso/gatehouse/provisioning/connector/webhook"
	"github.com/gatehouse-sso/gatehouse/provisioning/notice"
	"github.com/gatehouse-sso/gatehouse/provisioning/store"
	"github.com/gatehouse-sso/gatehouse/provisioning/task"
	"github.com/gatehouse-sso/gatehouse/web"
	"github.com/gatehouse-sso/gatehouse/web/portal"
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
	if !r.Approvers.Nobody() {
		return true
	}
	return slices.ContainsFunc(cfg.Services, func(s configs.Service) bool { return slices.Contains(s.Denied.Request, r.ID) })
}

// newAccess makes what gives roles and takes them back.
func (p *process) newAccess(s *site) *access.Access {
	c := access.Config{
		Store: p.store, Directory: s.directory, Resolve: s.rules.policy.Roles, Audit: p.audit.Append, Now: p.now,
		Told: func(tx store.Tx, r access.Request) error { return s.notices.Told(tx, r) },
	}
	for _, r := range s.cfg.Roles {
		title := r.Title
		if title == "" {
			title = r.ID
		}
		role := access.Role{ID: r.ID, Title: title, Longest: r.Longest, Approves: s.rules.approves[r.ID], Answers: s.rules.answers[r.ID], Owners: map[string]func(authz.Subject) bool{}}
		for _, sv := range s.cfg.Services {
			if sv.OwnersApprove && slices.Contains(sv.Denied.Request, r.ID) {
				role.Owners[sv.ID] = s.rules.owners[sv.ID]
			}
		}
		c.Roles = append(c.Roles, role)
	}
	return access.New(c)
}

// accessTasks are the handlers of what package access does by itself.
func (p *process) accessTasks(handlers map[string]task.Handler) map[string]task.Handler {
	handlers[access.TaskEnds] = func(ctx context.Context, key string) error { return p.site.Load().access.HandleEnds(ctx, key) }
	handlers[access.TaskLapse] = func(ctx context.Context, key string) error { return p.site.Load().access.HandleLapse(ctx, key) }
	handlers[access.TaskForget] = func(ctx context.Context, key string) error { return p.site.Load().access.HandleForget(ctx, key) }
	handlers[notice.KindRequest] = func(ctx context.Context, key string) error { return p.site.Load().notices.Handle(ctx, key) }
	handlers[notice.KindMail] = func(ctx context.Context, key string) error { return p.site.Load().notices.HandleMail(ctx, key) }
	handlers[notice.KindHook] = func(ctx context.Context, key string) error { return p.site.Load().notices.HandleHook(ctx, key) }
	return handlers
}

// newNotices makes what tells people of requests.
func (p *process) newNotices(s *site, pages *web.Pages) (*notice.Notices, error) {
	public := s.cfg.Server.PublicURL.String()
	c := notice.Config{
		Store: p.store, Directory: s.directory, Access: s.access, Say: pages.Say, Service: s.serviceTitle,
		RequestsURL: public + portal.RequestsPath, DecideURL: public + portal.RequestsPath + "/open", Log: p.log, Now: p.now,
	}
	allow := s.cfg.Outbound.Allow
	if m := s.cfg.Notify.SMTP; m != nil {
		roots, err := rootsFrom(string(m.CA))
		if err != nil {
			return nil, err
		}
		if c.Mail, err = notice.NewMail(notice.MailConfig{
			Host: m.Host, Port: m.Port, TLS: m.TLS, User: m.User, Password: m.Password.Value(), From: m.From, Timeout: m.Timeout,
			TLSConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, Dial: outboundDialer(allow).DialContext,
		}); err != nil {
			return nil, err
		}
	}
	if h := s.cfg.Notify.Webhook; h != nil {
		roots, err := rootsFrom(string(h.CA))
		if err != nil {
			return nil, err
		}
		w := webhook.Config{URL: h.URL.String(), Client: outboundClient(allow, roots, h.Timeout), Source: public + "/.gatehouse/requests", Now: p.now}
		for _, secret := range h.Secrets {
			w.Secrets = append(w.Secrets, secret.Value())
		}
		if c.Hook, err = webhook.NewSender(w); err != nil {
			return nil, err
		}
	}
	return notice.New(c), nil
}
