package ldap

import (
	"context"
	"iter"
	"slices"
	"strconv"
	"strings"

	goldap "github.com/go-ldap/ldap/v3"

	"github.com/gatehouse-sso/gatehouse/provisioning/connector"
	"github.com/gatehouse-sso/gatehouse/provisioning/ldapconn"
)

var errNoGroups = connector.CanNot("nothing says where groups are in this directory: configure groups")

func (k *Connector) groupsDo(ctx context.Context, fn func(*ldapconn.Conn) error) error {
	if k.c.Groups.Base == "" {
		return errNoGroups
	}
	return k.c.Pool.Do(ctx, fn)
}

func (k *Connector) groupFilter(filter string) string {
	c := k.c.Groups.Classes
	return ldapconn.And(ldapconn.Equal("objectClass", c[len(c)-1]), filter)
}

func (k *Connector) groupQuery(filter string, limit int, attrs ...string) ldapconn.Query {
	g := k.c.Groups
	return ldapconn.Query{Base: g.Base, Filter: k.groupFilter(filter), Limit: limit, Attrs: append(attrs, g.Naming, g.ExternalID, k.c.Dialect.IDAttribute())}
}

func (k *Connector) groupByID(l *ldapconn.Conn, id string, attrs ...string) (*goldap.Entry, error) {
	filter, ok := k.c.Dialect.ByID(id)
	if !ok {
		return nil, ldapconn.Errorf(connector.Invalid, "that is no %s", k.c.Dialect.IDAttribute())
	}
	there, err := l.Search(k.groupQuery(filter, 2, attrs...))
	switch {
	case err != nil:
		return nil, noBase(err)
	case len(there) == 0:
		return nil, ldapconn.Errorf(connector.Gone, "no group has this %s", k.c.Dialect.IDAttribute())
	case len(there) > 1 || ldapconn.ID(there[0], k.c.Dialect) != id:
		return nil, ldapconn.Errorf(connector.Route, "the directory answered with another entry than was asked for")
	}
	return there[0], nil
}

func (k *Connector) group(e *goldap.Entry) connector.Group {
	return connector.Group{ID: ldapconn.ID(e, k.c.Dialect), ExternalID: ldapconn.Value(e, k.c.Groups.ExternalID), Name: ldapconn.Value(e, k.c.Groups.Naming)}
}

// SyncGroup makes the group agree with want.
func (k *Connector) SyncGroup(ctx context.Context, want connector.Group, have string) (id string, err error) {
	id = have
	if want.Name == "" {
		return id, ldapconn.Errorf(connector.Invalid, "the group has no name")
	}
	err = k.groupsDo(ctx, func(l *ldapconn.Conn) error {
		var e *goldap.Entry
		if have != "" {
			if e, err = k.groupByID(l, have); err != nil {
				return err
			}
		} else if want.ExternalID != "" {
			there, err := l.Search(k.groupQuery(ldapconn.Equal(k.c.Groups.ExternalID, want.ExternalID), 2))
			if err != nil {
				return noBase(err)
			}
			if len(there) > 1 {
				return ldapconn.Errorf(connector.Conflict, "several groups have the external ID")
			}
			if len(there) == 1 {
				e = there[0]
			}
		}
		if e == nil {
			id, err = k.createGroup(l, want)
			return err
		}
		id = ldapconn.ID(e, k.c.Dialect)
		return k.updateGroup(l, e, want)
	})
	return id, err
}

func (k *Connector) createGroup(l *ldapconn.Conn, want connector.Group) (string, error) {
	g := k.c.Groups
	dn := ldapconn.RDN(g.Naming, want.Name) + "," + g.Base
	r := goldap.NewAddRequest(dn, nil)
	r.Attribute("objectClass", g.Classes)
	r.Attribute(g.Naming, []string{want.Name})
	if want.ExternalID != "" {
		r.Attribute(g.ExternalID, []string{want.ExternalID})
	}
	if k.ad() {
		// Unlike an account's, it may be long (MS-SAMR, 3.1.1.8.4).
		r.Attribute(samName, []string{shortened(strings.Map(groupRune, want.Name), 256)})
	}
	if g.Placeholder != "" {
		r.Attribute(g.Member, []string{g.Placeholder})
	}
	if err := l.Add(r); err != nil {
		return "", noBase(err)
	}
	there, err := l.Search(ldapconn.Query{Base: dn, Object: true, Attrs: []string{k.c.Dialect.IDAttribute()}})
	if err != nil || len(there) != 1 || ldapconn.ID(there[0], k.c.Dialect) == "" {
		return "", &connector.Error{Class: connector.Transient, Ambiguous: true, Text: "the group was made and can not be read", Err: err}
	}
	return ldapconn.ID(there[0], k.c.Dialect), nil
}

func groupRune(r rune) rune {
	if r < ' ' || strings.ContainsRune(`"/\[]:;|=,+*?<>@`, r) {
		return '_'
	}
	return r
}

func (k *Connector) updateGroup(l *ldapconn.Conn, e *goldap.Entry, want connector.Group) error {
	g, dn := k.c.Groups, e.DN
	if ldapconn.Value(e, g.Naming) != want.Name && strings.EqualFold(k.naming(dn), g.Naming) {
		rdn := ldapconn.RDN(g.Naming, want.Name)
		if err := l.Rename(dn, rdn, ""); err != nil {
			return err
		}
		_, parent := ldapconn.Split(dn)
		dn = rdn + "," + parent
	}
	r := goldap.NewModifyRequest(dn, nil)
	if want.ExternalID != "" && !sameSet(ldapconn.Values(e, g.ExternalID), []string{want.ExternalID}) {
		r.Replace(g.ExternalID, []string{want.ExternalID})
	}
	return l.Modify(r)
}

// FindGroup returns the groups that want might already be.
func (k *Connector) FindGroup(ctx context.Context, want connector.Group) (out []connector.Group, err error) {
	g := k.c.Groups
	err = k.groupsDo(ctx, func(l *ldapconn.Conn) error {
		out = nil
		for _, f := range []struct{ attr, value string }{{g.ExternalID, want.ExternalID}, {g.Naming, want.Name}} {
			if f.value == "" {
				continue
			}
			there, err := l.Search(k.groupQuery(ldapconn.Equal(f.attr, f.value), handful))
			if err != nil {
				return noBase(err)
			}
			for _, e := range there {
				if found := k.group(e); !slices.Contains(out, found) {
					out = append(out, found)
				}
			}
		}
		return nil
	})
	return out, err
}

// RemoveGroup deletes the group.
func (k *Connector) RemoveGroup(ctx context.Context, have string) error {
	return k.groupsDo(ctx, func(l *ldapconn.Conn) error {
		e, err := k.groupByID(l, have)
		if err == nil {
			err = l.Delete(e.DN)
		}
		return unlessGone(err)
	})
}

// ChangeMembers sends nothing but the edges that change.
func (k *Connector) ChangeMembers(ctx context.Context, group string, add, remove []string) error {
	return k.groupsDo(ctx, func(l *ldapconn.Conn) error {
		e, err := k.groupByID(l, group)
		if err != nil {
			return err
		}
		joins, err := k.names(l, add, true)
		if err != nil {
			return err
		}
		leaves, err := k.names(l, remove, false)
		if err != nil {
			return err
		}
		if err := k.edges(l, e.DN, joins, true); err != nil {
			return err
		}
		if p := k.c.Groups.Placeholder; p != "" && len(joins) > 0 {
			if err := k.edges(l, e.DN, []string{p}, false); err != nil {
				return err
			}
		}
		return k.edges(l, e.DN, leaves, false)
	})
}

// names are the distinguished names of accounts. Who is to join has to be there.
func (k *Connector) names(l *ldapconn.Conn, ids []string, must bool) (dns []string, err error) {
	for _, id := range ids {
		e, err := k.byID(l, id)
		switch {
		case err == nil:
			dns = append(dns, e.DN)
		case connector.ClassOf(err) != connector.Gone:
			return nil, err
		case must:
			return nil, ldapconn.Errorf(connector.Invalid, "an account that is to join a group is not there")
		}
	}
	return dns, nil
}

// edges adds members or takes them away: all at once and, if one of them is
// there already or not any more, each by itself.
func (k *Connector) edges(l *ldapconn.Conn, dn string, members []string, join bool) error {
	if len(members) == 0 {
		return nil
	}
	err := k.edge(l, dn, members, join)
	if !settled(err) || len(members) == 1 {
		return unlessSettled(err)
	}
	for _, m := range members {
		if err := unlessSettled(k.edge(l, dn, []string{m}, join)); err != nil {
			return err
		}
	}
	return nil
}

func (k *Connector) edge(l *ldapconn.Conn, dn string, members []string, join bool) error {
	g := k.c.Groups
	r := goldap.NewModifyRequest(dn, nil)
	if join {
		r.Add(g.Member, members)
		return l.Modify(r)
	}
	r.Delete(g.Member, members)
	err := l.Modify(r)
	if ldapconn.Code(err) == goldap.LDAPResultObjectClassViolation && g.Placeholder != "" && !slices.Contains(members, g.Placeholder) {
		// They were the last ones.
		r = goldap.NewModifyRequest(dn, nil)
		r.Add(g.Member, []string{g.Placeholder})
		r.Delete(g.Member, members)
		err = l.Modify(r)
	}
	return err
}

// settled: it is so already. Active Directory says of a member that is there that
// the entry exists, and of one that is not that it is unwilling (MS-ADTS, 3.1.1.5.3).
func settled(err error) bool {
	switch ldapconn.Code(err) {
	case goldap.LDAPResultNoSuchAttribute, goldap.LDAPResultAttributeOrValueExists, goldap.LDAPResultEntryAlreadyExists:
		return true
	}
	return ldapconn.ADCode(err) == notInGroup
}

// notInGroup is ERROR_MEMBER_NOT_IN_GROUP (MS-ERREF, 2.2).
const notInGroup = "00000561"

func unlessSettled(err error) error {
	if settled(err) {
		return nil
	}
	return err
}

// Members yields who is in the group and is an account.
func (k *Connector) Members(ctx context.Context, group string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		var ids []string
		err := k.groupsDo(ctx, func(l *ldapconn.Conn) error {
			e, err := k.groupByID(l, group, k.c.Groups.Member)
			if err != nil {
				return err
			}
			members, err := l.All(e, k.c.Groups.Member)
			if err != nil {
				return err
			}
			ids = nil
			for _, dn := range members {
				if !slices.ContainsFunc(k.places(), func(base string) bool { return ldapconn.Below(dn, base) }) {
					continue
				}
				there, err := l.Search(ldapconn.Query{Base: dn, Object: true, Filter: k.people(""), Attrs: []string{k.c.Dialect.IDAttribute()}})
				if err = unlessGone(err); err != nil {
					return err
				}
				for _, m := range there {
					ids = append(ids, ldapconn.ID(m, k.c.Dialect))
				}
			}
			return nil
		})
		for _, id := range ids {
			if !yield(id, nil) {
				return
			}
		}
		if err != nil {
			yield("", err)
		}
	}
}

// AllGroups yields all groups.
func (k *Connector) AllGroups(ctx context.Context) iter.Seq2[connector.Group, error] {
	return func(yield func(connector.Group, error) bool) {
		if k.c.Groups.Base == "" {
			yield(connector.Group{}, errNoGroups)
			return
		}
		for e, err := range k.c.Pool.Walk(ctx, k.groupQuery("", 0)) {
			if err != nil {
				yield(connector.Group{}, noBase(err))
				return
			}
			if !yield(k.group(e), nil) {
				return
			}
		}
	}
}

// Probe tries what accounts and groups need, with an account that it takes away
// again.
func (k *Connector) Probe(ctx context.Context) (connector.Report, error) {
	r := connector.Report{Caps: k.Caps()}
	var root ldapconn.Root
	if err := k.c.Pool.Do(ctx, func(l *ldapconn.Conn) (err error) { root, err = l.Root(); return err }); err != nil {
		return r, err
	}
	found := func(what string, ok bool, text string) {
		f := connector.Finding{What: what, OK: ok}
		if !ok {
			f.Text = text
		}
		r.Findings = append(r.Findings, f)
	}
	found("paged results", root.Can(goldap.ControlTypePaging), "a walk over more entries than one answer may have fails")
	found("Active Directory", root.ActiveDirectory == k.ad(), "the configuration says "+strconv.FormatBool(k.ad())+", the server the opposite: change kind")
	if err := k.Test(ctx); err != nil {
		return r, err
	}
	want := connector.Account{ExternalID: connector.ProbePrefix + randomName(), UserName: connector.ProbePrefix + randomName(), Active: true, Attributes: map[string][]string{"title": {"Probe"}}}
	id, err := k.Sync(ctx, want, "")
	try := func(what, text string, err error) bool {
		if err != nil {
			text += ": " + err.Error()
		}
		found(what, err == nil, text)
		return err == nil
	}
	if !try("an account is made", "there can be no accounts", err) {
		return r, nil
	}
	defer func() {
		// Also when time is up.
		_ = k.Remove(context.WithoutCancel(ctx), id)
	}()
	want.Attributes["title"] = nil
	_, err = k.Sync(ctx, want, id)
	try("an attribute is cleared", "accounts keep what they should not have", err)
	want.UserName += "-2"
	_, err = k.Sync(ctx, want, id)
	r.Caps.NoRename = !try("an account is renamed", "a user name stays what it was", err)
	if k.disables() {
		want.Active = false
		_, err = k.Sync(ctx, want, id)
		r.Caps.NoDisable = !try("an account is disabled", "who leaves keeps an account that is on", err)
	}
	r.Caps.NoRemove = !try("an account is deleted", "accounts can be disabled at most", k.Remove(ctx, id))
	return r, nil
}
