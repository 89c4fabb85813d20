package scim2

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/gatehouse-sso/gatehouse/provisioning/connector"
	"github.com/gatehouse-sso/gatehouse/provisioning/connector/scimuser"
	"github.com/gatehouse-sso/gatehouse/provisioning/scim"
	"github.com/gatehouse-sso/gatehouse/provisioning/scim/client"
)

var _ connector.Prober = (*Connector)(nil)

// cleaning is how long a probe may take to clear away what it made.
const cleaning = 30 * time.Second

// A probe tries on one account and one group of its own what a target can do.
type probe struct {
	c      *Connector
	report connector.Report
	name   string
	user   string // ID of the account; empty: there is none
	group  string
}

// Probe finds out by experiment what the target can do. What follows from a
// finding for the configuration stands in its text. An error means that it could
// not go on; the report says how far it came.
func (c *Connector) Probe(ctx context.Context) (connector.Report, error) {
	p := &probe{c: c, name: connector.ProbePrefix + strings.ToLower(rand.Text()[:12])}
	p.report.Caps = c.Caps()
	err := p.run(ctx)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleaning)
	defer cancel()
	for _, left := range []struct {
		endpoint string
		id       *string
	}{{groups, &p.group}, {users, &p.user}} {
		if *left.id == "" {
			continue
		}
		if rerr := c.remove(ctx, left.endpoint, *left.id); rerr != nil && err == nil {
			err = fmt.Errorf("%s of the name %s is left behind: %w", left.endpoint, p.name, rerr)
		}
	}
	return p.report, err
}

func (p *probe) found(what string, ok bool, text string) {
	if ok {
		text = ""
	}
	p.report.Findings = append(p.report.Findings, connector.Finding{What: what, OK: ok, Text: text})
}

func (p *probe) run(ctx context.Context) error {
	if err := p.c.Test(ctx); err != nil {
		p.found("list users", false, "the address or the credentials are wrong")
		return err
	}
	p.found("list users", true, "")
	_, err := p.c.client.Config(ctx)
	p.found("ServiceProviderConfig", err == nil, "what it can do is not known before it is tried")

	if err := p.create(ctx); err != nil {
		return err
	}
	p.search(ctx)
	if err := p.changes(ctx); err != nil {
		return err
	}
	p.groups(ctx)
	return p.deletion(ctx)
}

func (p *probe) create(ctx context.Context) error {
	o := scim.NewObject("schemas", []any{scim.UserURN}, "externalId", p.name, "userName", p.c.domain+p.name, "displayName", p.name, "active", true,
		"name", scim.NewObject("givenName", "Gatehouse", "familyName", "Probe"),
		"emails", []any{scim.NewObject("type", "work", "value", p.name+"@example.com", "primary", true)})
	p.c.profile.complete(o)
	made, err := p.c.client.Create(ctx, users, scimuser.WithSchemas(o))
	if err == nil && made.ID() == "" {
		err = &connector.Error{Class: connector.Route, Text: "the target answered a creation without an id"}
	}
	if err != nil {
		p.found("create an account", false, "no further experiment was made: "+err.Error())
		return classify(err, true)
	}
	p.user = made.ID()
	p.found("create an account", true, "")
	_, err = p.c.client.Create(ctx, users, scimuser.WithSchemas(o))
	p.found("refuse a second account of the same name", status(err) == http.StatusConflict, "a repeated creation is only found by a search")
	_, err = p.c.client.Get(ctx, users, rand.Text())
	p.found("404 for an account that is not there", status(err) == http.StatusNotFound, fmt.Sprintf("it answers %d: write profile: entra if that is what it is", status(err)))
	return nil
}

func (p *probe) search(ctx context.Context) {
	for _, by := range []struct{ attr, value string }{{"externalId", p.name}, {"userName", p.c.domain + p.name}} {
		attr := by.attr
		eq := func(value string) (client.Page, error) {
			return p.c.client.List(ctx, users, client.Query{Filter: scim.Compare{Path: scim.Path{Name: attr}, Op: scim.Eq, Value: value}, Count: 2})
		}
		page, err := eq(by.value)
		hit := err == nil && slices.ContainsFunc(page.Resources, func(r *scim.Resource) bool { return r.ID() == p.user })
		p.found("find by "+attr, hit, "accounts are found another way, and the list of all is read if need be")
		page, err = eq(by.value + "-nobody")
		p.found("find nobody where "+attr+" is nobody's", err == nil && len(page.Resources) == 0, "filters are ignored: every search reads the list of all accounts")
	}
	page, err := p.c.client.List(ctx, users, client.Query{Start: 1, Count: 1})
	p.found("pages of the size that is asked for", err == nil && len(page.Resources) <= 1, "a walk through all accounts is not sure to see each once")
}

// read is the account as it is, or an empty one.
func (p *probe) read(ctx context.Context) *scim.Resource {
	r, err := p.c.read(ctx, users, p.user)
	if err != nil {
		return &scim.Resource{}
	}
	return r
}

func (p *probe) changes(ctx context.Context) error {
	was := p.read(ctx)
	if was.ID() == "" {
		p.found("read an account", false, "no further experiment was made")
		return &connector.Error{Class: connector.Route, Text: "the account that was just made can not be read"}
	}
	p.found("read an account", true, "")
	p.found("keep the external ID", was.ExternalID() == p.name, "accounts are known by their IDs alone: adopt: user_name finds them again")

	patch := func(match string, ops ...scim.Operation) error {
		_, err := p.c.client.Patch(ctx, users, p.user, match, scim.Patch{Operations: ops})
		return err
	}
	err := patch("", scim.Operation{Op: "replace", Path: "displayName", Value: p.name + " 2"})
	patches := err == nil && p.read(ctx).String("displayName") == p.name+" 2"
	p.found("PATCH", patches, "write patch: put")
	if patches {
		err = patch("", scim.Operation{Op: "replace", Path: `emails[type eq "work"].value`, Value: p.name + "@example.org"})
		p.found("PATCH of one of several values", err == nil && strings.Contains(string(p.read(ctx).AppendJSON(nil)), p.name+"@example.org"), "write patch: put, or release no such attribute")
	}
	cur := p.read(ctx)
	next := cur.Object.Clone()
	next.Set("displayName", p.name+" 3")
	_, err = p.c.client.Replace(ctx, users, p.user, tag(cur), p.c.replacement(next))
	puts := err == nil && p.read(ctx).String("displayName") == p.name+" 3"
	p.found("PUT", puts, "write patch: patch")
	if !patches && !puts {
		return &connector.Error{Class: connector.Route, Text: "accounts can be changed neither by PATCH nor by PUT"}
	}
	set := func(name string, v any) bool {
		cur := p.read(ctx)
		if patches {
			_ = patch("", scim.Operation{Op: "replace", Path: name, Value: v})
		} else {
			next := cur.Object.Clone()
			next.Set(name, v)
			_, _ = p.c.client.Replace(ctx, users, p.user, tag(cur), p.c.replacement(next))
		}
		return p.read(ctx).Get(name) == v
	}
	off := set("active", false)
	p.report.Caps.NoDisable = !off
	p.found("disable", off, "nobody can be disabled: write leave: delete")
	p.found("enable again", set("active", true), "who was disabled stays so")
	renamed := set("userName", p.c.domain+p.name+"-renamed")
	p.report.Caps.NoRename = !renamed
	p.found("rename", renamed, "a user name stays what it was")

	if old := tag(cur); old != "" && patches {
		err := patch(old, scim.Operation{Op: "replace", Path: "displayName", Value: "stale"})
		p.found("refuse a change to another version", status(err) == http.StatusPreconditionFailed, "two writers may overwrite each other")
	} else {
		p.found("versions (ETag)", false, "two writers may overwrite each other")
	}
	return nil
}

func (p *probe) groups(ctx context.Context) {
	id, err := p.c.SyncGroup(ctx, connector.Group{ExternalID: p.name, Name: p.name}, "")
	p.group = id
	p.report.Caps.NoGroups = err != nil
	p.found("create a group", err == nil, "release no groups to it")
	if err != nil {
		return
	}
	has := func() bool {
		for id, err := range p.c.Members(ctx, p.group) {
			if err != nil {
				return false
			}
			if id == p.user {
				return true
			}
		}
		return false
	}
	err = p.c.ChangeMembers(ctx, p.group, []string{p.user}, nil)
	p.found("add a member", err == nil && has(), "groups stay empty there")
	err = p.c.ChangeMembers(ctx, p.group, nil, []string{p.user})
	p.found("take a member out", err == nil && !has(), "write profile: aws if that is what it is")
	err = p.c.RemoveGroup(ctx, p.group)
	p.found("delete a group", err == nil, "groups stay when they are deleted here")
	if err == nil {
		p.group = ""
	}
}

func (p *probe) deletion(ctx context.Context) error {
	if err := p.c.remove(ctx, users, p.user); err != nil {
		p.report.Caps.NoRemove = true
		p.found("delete an account", false, "write leave: disable; the account "+p.name+" is left there")
		p.user = ""
		return nil
	}
	_, err := p.c.read(ctx, users, p.user)
	p.user = ""
	there := connector.ClassOf(err) != connector.Gone || err == nil
	p.report.Caps.NoRemove = there
	p.found("delete an account", !there, "it is still there after that: write leave: disable, or the profile salesforce or slack; the account "+p.name+" is left there")
	return nil
}
