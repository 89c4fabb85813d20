package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/gatehouse-sso/gatehouse/configs"
	"github.com/gatehouse-sso/gatehouse/provisioning"
	"github.com/gatehouse-sso/gatehouse/provisioning/audit"
	"github.com/gatehouse-sso/gatehouse/provisioning/client"
	"github.com/gatehouse-sso/gatehouse/provisioning/connector"
	"github.com/gatehouse-sso/gatehouse/provisioning/intake/scim"
	"github.com/gatehouse-sso/gatehouse/provisioning/outbox"
	rfc "github.com/gatehouse-sso/gatehouse/provisioning/scim"
	"github.com/gatehouse-sso/gatehouse/provisioning/scim/dialect"
	v1 "github.com/gatehouse-sso/gatehouse/provisioning/scim/v1"
)

// inbound is where clients are answered.
type inbound struct{ v2, v1, token http.Handler }

// takeIn makes the servers for clients.
func (s *site) takeIn(p *process) (in inbound, err error) {
	ours := s.cfg.Server.PublicURL.String() + "/.gatehouse/scim/"
	refused := func(code, from string) {
		p.recorder.Record(audit.Event{Kind: "client.refused", Code: code, From: from})
	}
	passages, err := s.passages()
	if err != nil {
		return in, err
	}
	in.v2, err = scim.New(scim.Config{
		Attributes: declared(s.cfg), Passages: passages, Store: p.store, PassKey: p.passing, Audit: p.audit.Append,
		Base: ours + "v2", Directory: s.directory, Clients: s.clients, Key: p.cursors, Log: p.log, Refused: refused,
		EndSessions: s.endSessions, Settle: s.settle(p), Guard: s.guard,
		Now:       p.now,
		Rewritten: func(client string, made []dialect.Rewrite) { p.dialects.Add(client, p.now(), made) },
	})
	in.v1 = &v1.Handler{Base: ours + "v1", Server: in.v2, At: ours + "v2"}
	in.token = s.clients.TokenEndpoint(refused)
	return in, err
}

// declared are the attributes of the configuration that have a place in SCIM.
func declared(cfg *configs.Config) (list []scim.Attribute) {
	for _, a := range cfg.Attributes {
		if a.SCIM == nil {
			continue
		}
		made := scim.Attribute{Schema: a.SCIM.Schema, Ours: a.ID, Attribute: rfc.Attribute{
			Name: a.SCIM.Name, Description: cmp.Or(a.Title, a.ID), Type: rfc.Type(a.SCIM.Type), MultiValued: a.Multi, Required: a.SCIM.Required, CaseExact: a.SCIM.CaseExact,
			Mutability: rfc.Mutable(a.SCIM.Mutability), Returned: rfc.Returned(a.SCIM.Returned), Uniqueness: rfc.NotUnique,
		}}
		if made.Type == rfc.Reference {
			made.ReferenceTypes = []string{"external"}
		}
		if a.SCIM.Unique {
			made.Uniqueness = rfc.ServerUnique
		}
		list = append(list, made)
	}
	return list
}

// unique are the attributes of which only one user may have a value.
func unique(cfg *configs.Config) (list []string) {
	for _, a := range cfg.Attributes {
		if a.SCIM != nil && a.SCIM.Unique {
			list = append(list, a.ID)
		}
	}
	return list
}

// passages are the targets as push-only clients reach them: without the directory
// and without a queue, and told no more than the release policy lets them know.
func (s *site) passages() (list []scim.Passage, err error) {
	if !slices.ContainsFunc(s.cfg.Clients, func(c configs.Client) bool { return c.Mode == string(client.PushOnly) }) {
		return nil, nil
	}
	for _, t := range s.cfg.Targets {
		if t.CSV != nil || t.Webhook != nil {
			continue // check has seen to it that no such client has them
		}
		c, err := s.connector(t)
		if err != nil {
			return nil, fmt.Errorf("target %s: %w", t.ID, err)
		}
		names, ours := namesOf(t), map[string]string{}
		for _, r := range t.Release {
			if path := names.place(r.Attribute, r.As); path != "" {
				ours[path] = r.Attribute
			}
		}
		list = append(list, scim.Passage{
			ID: t.ID, Connector: c.Connector, Timeout: 2 * c.timeout, Limit: connector.NewLimit(c.rate, nil),
			Account: func(u provisioning.User) (connector.Account, error) {
				sub := s.rules.policy.Roles(s.directory.SubjectOf(u, nil))
				return account(s.rules.release.Release("target:"+t.ID, sub), names, s.directory.FullName(u.Store, u.UserName)), nil
			},
			Names: ours,
		})
	}
	return list, nil
}

// settle runs the tasks of a user at the targets that a client pushes to, and says
// how far they are.
func (s *site) settle(p *process) func(context.Context, *client.Client, string) []scim.Target {
	return func(ctx context.Context, c *client.Client, userID string) (list []scim.Target) {
		states, err := s.outbox.States(ctx, userID)
		var wg sync.WaitGroup
		for _, st := range states {
			if c.Pushes(st.Target) && st.Status != outbox.Done {
				wg.Go(func() { _ = p.runner.Now(ctx, outbox.Kind, outbox.Key(st.Target, userID)) }) // what it says is in the state
			}
		}
		wg.Wait()
		if err == nil {
			states, err = s.outbox.States(context.WithoutCancel(ctx), userID)
		}
		if err != nil {
			p.log.ErrorContext(ctx, "how far targets are can not be read", "user", userID, "error", err)
		}
		for _, st := range states {
			if c.Pushes(st.Target) {
				list = append(list, scim.Target{ID: st.Target, State: st.Status})
			}
		}
		return list
	}
}

// clients are those of the configuration, with what they may.
func (p *process) clients(cfg *configs.Config) (*client.Registry, error) {
	public := cfg.Server.PublicURL.String()
	r := client.NewRegistry(client.Config{Store: p.store, Key: p.access[0], AlsoTaken: p.access[1:], Token: public + "/.gatehouse/oauth2/token", Issuer: public, Now: p.now, Limits: p.limits})
	for _, c := range cfg.Clients {
		made := client.Client{
			ID: c.ID, Title: c.Title, UserStores: c.UserStores, Mode: client.Mode(c.Mode), Targets: c.Targets, Groups: c.Groups,
			Read: mayOf(c.Read), Write: mayOf(c.Write), Rate: c.Rate,
		}
		made.Dialect, _ = dialect.Named(c.Profile) // check knows no other
		if len(made.UserStores) == 0 {
			made.UserStores = storeIDs(cfg)
			if c.ID != client.Resident {
				made.UserStores = made.UserStores[:1]
			}
		}
		if l := c.Links; l != nil {
			i := slices.IndexFunc(cfg.IdentityProviders, func(p configs.IdentityProvider) bool { return p.ID == l.IdentityProvider })
			made.Links = &client.Links{Provider: l.IdentityProvider, Issuer: cfg.IdentityProviders[i].OIDC.Issuer.String(), UserName: l.Subject == "userName"}
		}
		creds, err := credentials(c)
		if err != nil {
			return nil, fmt.Errorf("client %s: %w", c.ID, err)
		}
		if err := r.Add(made, creds...); err != nil {
			return nil, err
		}
	}
	return r, nil
}

func credentials(c configs.Client) (creds []client.Credential, err error) {
	for _, cr := range c.Credentials {
		until := cr.Expires.End()
		switch b, o := cr.Basic, cr.OAuth2; {
		case b != nil:
			creds = append(creds, client.Credential{User: b.User, Password: b.Password.Value(), Until: until})
		case o != nil && o.Keys != "":
			raw, err := os.ReadFile(string(o.Keys))
			if err != nil {
				return nil, err
			}
			keys, err := client.ParseKeys(raw)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", o.Keys, err)
			}
			for _, k := range keys {
				creds = append(creds, client.Credential{Key: k, Until: until})
			}
		case o != nil:
			creds = append(creds, client.Credential{Secret: o.Secret.Value(), Until: until})
		default:
			creds = append(creds, client.Credential{Bearer: cr.Bearer.Value(), Until: until})
		}
	}
	return creds, nil
}

// mayOf are the attributes of a list in the configuration: nil is all of them,
// the word none is no other than those that always are.
func mayOf(list []string) []string {
	if slices.Equal(list, []string{"none"}) {
		return []string{}
	}
	return list
}

// mayMistakes are names in read and write that no attribute has.
func mayMistakes(cfg *configs.Config) (out []configs.Mistake) {
	known := []string{"externalId"} // common to all resources (RFC 7643 section 3.1), so in no schema
	for _, a := range rfc.UserType().Schema.Attributes {
		known = append(known, a.Name)
	}
	for _, e := range rfc.UserType().Extensions {
		known = append(known, e.Schema.ID)
	}
	for _, a := range declared(cfg) {
		if !slices.Contains(known, a.Schema) {
			known = append(known, a.Schema)
		}
	}
	for i, c := range cfg.Clients {
		for key, list := range map[string][]string{"read": c.Read, "write": c.Write} {
			for j, name := range mayOf(list) {
				if !slices.ContainsFunc(known, func(k string) bool { return strings.EqualFold(k, name) }) {
					out = append(out, configs.At(cfg.Pos("clients", i, key, j), fmt.Sprintf("users have no attribute %q in SCIM", name), "write one of "+strings.Join(known, ", ")))
				}
			}
		}
	}
	return out
}

func random32() ([]byte, error) {
	b := make([]byte, 32)
	rand.Read(b)
	return b, nil
}
