package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/gatehouse-sso/gatehouse/authz"
	"github.com/gatehouse-sso/gatehouse/configs"
	"github.com/gatehouse-sso/gatehouse/provisioning"
	"github.com/gatehouse-sso/gatehouse/provisioning/audit"
	"github.com/gatehouse-sso/gatehouse/provisioning/client"
	"github.com/gatehouse-sso/gatehouse/provisioning/connector"
	"github.com/gatehouse-sso/gatehouse/provisioning/outbox"
	"github.com/gatehouse-sso/gatehouse/provisioning/store"
)

// newOutbox makes what keeps the targets of a site in step, and what compares
// them with the directory.
func (p *process) newOutbox(ctx context.Context, s *site, clients *client.Registry) (*outbox.Outbox, error) {
	var targets []outbox.Target
	for _, t := range s.cfg.Targets {
		made, err := s.target(t)
		if err != nil {
			return nil, fmt.Errorf("target %s: %w", t.ID, err)
		}
		targets = append(targets, made)
	}
	o := outbox.New(outbox.Config{
		Store: p.store, Directory: s.directory, Roles: s.rules.policy.Roles, Targets: targets, Guard: s.guard, Audit: p.audit.Append, Tried: p.tried, Now: p.now,
		Run: func(ctx context.Context, kind, key string) error { return p.runner.Now(ctx, kind, key) },
		Skip: func(by provisioning.Source, target string) bool {
			c := clients.Of(by)
			return c != nil && !c.Pushes(target)
		},
	})
	s.reconcile = p.newReconciler(s, o, targets)
	return o, o.Load(ctx)
}

// closed is for how long a lane of tasks need not be looked at.
func (p *process) closed(kind, lane string) time.Duration {
	if s := p.site.Load(); s != nil {
		return s.outbox.Closed(kind, lane)
	}
	return 0
}

// damaged records that an entry was set aside which named a task that was not
// there: what it was about may have to be looked at by hand.
func (p *process) damaged(tx store.Tx, kind, key string) error {
	return p.audit.Append(tx, audit.Event{Kind: "task.damaged", Text: "an entry of what is due named no task and was taken away: " + kind + " " + key})
}

// target makes a target: its connector, and what its accounts hold: the user
// name, and what the release policy lets it have.
func (s *site) target(t configs.Target) (outbox.Target, error) {
	c, err := s.connector(t)
	if err != nil {
		return outbox.Target{}, err
	}
	form, err := formOf(s.cfg, t, c.address)
	if err != nil {
		return outbox.Target{}, err
	}
	names := namesOf(t)
	made := outbox.Target{
		ID: t.ID, Title: t.Title, Connector: c.Connector, Scope: s.rules.scopes[t.ID], Leave: outbox.Leave(t.Leave), DeleteAfter: t.DeleteAfter,
		Adopt: outbox.Adopt(t.Adopt), Timeout: 2 * c.timeout, Rate: c.rate, Wait: t.Wait, Form: form,
		Account: func(u provisioning.User, sub authz.Subject) (connector.Account, error) {
			return account(s.rules.release.Release("target:"+t.ID, sub), names, s.directory.FullName(u.Store, u.UserName)), nil
		},
	}
	if len(t.Groups) > 0 {
		made.Groups = func(g provisioning.Group) bool {
			name := provisioning.Fold(s.directory.FullName(g.Store, g.Name))
			return slices.ContainsFunc(t.Groups, func(pattern string) bool { return client.Like(provisioning.Fold(pattern), name) })
		}
	}
	for _, r := range t.Release {
		path := names.place(r.Attribute, r.As)
		if r.Reference && path != "" {
			made.References = append(made.References, path)
		}
		if path != "" && slices.Contains(s.cfg.Guard.SensitiveAttributes, r.Attribute) {
			made.Sensitive = append(made.Sensitive, path)
		}
	}
	return made, nil
}

// formOf stands for what the configuration says of who has an account at a target
// and what it holds.
func formOf(cfg *configs.Config, t configs.Target, address string) (string, error) {
	return hashed(struct {
		URL     string
		Users   configs.Scope
		Release []configs.Release
		Groups  []string
		Leave   string
		Roles   []configs.Role
		Types   []configs.AttributeType
	}{address, t.Users, acting(t.Release), t.Groups, t.Leave, cfg.Roles, cfg.AttributeTypes()})
}

// acting are releases without what is said about them for people to read.
func acting(list []configs.Release) []configs.Release {
	list = slices.Clone(list)
	for i := range list {
		list[i].Purpose, list[i].Retention = "", ""
	}
	return list
}

// hashed stands for plain data: other data has another.
func hashed(v any) (string, error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:]), nil
}

// account is what a target may know, under the target's own names. An attribute
// that it may know in principle and that the person has not is cleared there.
func account(rel authz.Release, n names, userName string) connector.Account {
	a := connector.Account{UserName: userName, Attributes: map[string][]string{}}
	for _, v := range rel.Sent {
		if path := n.place(v.Attribute, v.Name); path != "" {
			a.Attributes[path] = v.Values
		}
	}
	for _, name := range rel.Missing() {
		if path := n.place(name, name); path != "" {
			a.Attributes[path] = nil
		}
	}
	return a
}
