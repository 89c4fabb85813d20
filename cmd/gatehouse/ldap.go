package main

import (
	"github.com/gatehouse-sso/gatehouse/configs"
	"github.com/gatehouse-sso/gatehouse/provisioning/connector/ldap"
	"github.com/gatehouse-sso/gatehouse/provisioning/ldapconn"
)

// directoryServer are the connections to a directory.
func (s *site) directoryServer(c configs.LDAPServer) (*ldapconn.Pool, error) {
	roots, err := rootsFrom(string(c.CA))
	if err != nil {
		return nil, err
	}
	return ldapconn.New(ldapconn.Config{
		URL: c.URL.URL(), StartTLS: c.StartTLS, Roots: roots, BindDN: c.Bind, Password: c.Password.Value(), InsecurePlain: c.InsecurePlain,
		Timeout: c.Timeout, Dial: outboundDialer(s.cfg.Outbound.Allow).DialContext,
	})
}

func ldapDialect(kind string) ldapconn.Dialect {
	if kind == "active-directory" {
		return ldapconn.ActiveDirectory
	}
	return ldapconn.RFC
}

// ldapConfig is what a target's configuration says, but for the connections.
func ldapConfig(t configs.LDAPTarget) ldap.Config {
	c := ldap.Config{
		Dialect: ldapDialect(t.Kind), Base: t.Base, Classes: t.Classes, Naming: t.Naming, UserName: t.UserName, ExternalID: t.ExternalID, UPNSuffix: t.UPNSuffix,
		Disable: ldap.Disable{Attribute: t.Disable.Attribute, Off: t.Disable.Off, On: t.Disable.On, MoveTo: t.Disable.MoveTo},
	}
	if g := t.Groups; g != nil {
		c.Groups = ldap.GroupConfig{Base: g.Base, Classes: g.Classes, ExternalID: g.ExternalID, Placeholder: g.Placeholder}
	}
	return c
}

func (s *site) ldap(t configs.LDAPTarget) (connection, error) {
	c := ldapConfig(t)
	var err error
	if c.Pool, err = s.directoryServer(t.Server); err != nil {
		return connection{}, err
	}
	conn, err := ldap.New(c)
	return connection{Connector: conn, address: string(t.Server.URL) + "/" + t.Base, timeout: t.Server.Timeout, rate: t.Rate}, err
}

// ldapNames are attributes of entries.
func ldapNames(t configs.LDAPTarget) names {
	c := ldapConfig(t)
	return names{
		usual:  func(attribute string) string { return ldap.DefaultAttribute(attribute, c.Dialect) },
		check:  func(name string) error { return ldap.CheckAttribute(c, name) },
		called: "attribute of an account there",
		say:    "name an attribute of the directory with as, such as description",
		mend:   "name another attribute of the directory with as",
	}
}

// ldapMistakes are those in what only LDAP itself can read: names of entries, and filters.
func ldapMistakes(cfg *configs.Config) (out []configs.Mistake) {
	entry := func(dn string, path ...any) {
		if dn == "" {
			return
		}
		if err := ldapconn.CheckDN(dn); err != nil {
			out = append(out, configs.At(cfg.Pos(path...), "this is no distinguished name: "+err.Error(), "write one such as ou=people,dc=uni,dc=example"))
		}
	}
	filter := func(f string, path ...any) {
		if f == "" {
			return
		}
		if err := ldapconn.CheckFilter(f); err != nil {
			out = append(out, configs.At(cfg.Pos(path...), "this is no filter: "+err.Error(), "write one such as (objectClass=inetOrgPerson)"))
		}
	}
	for i, t := range cfg.Targets {
		if l := t.LDAP; l != nil {
			entry(l.Base, "targets", i, "ldap", "base")
			entry(l.Disable.MoveTo, "targets", i, "ldap", "disable", "move_to")
			if l.Groups != nil {
				entry(l.Groups.Base, "targets", i, "ldap", "groups", "base")
				entry(l.Groups.Placeholder, "targets", i, "ldap", "groups", "placeholder")
			}
		}
	}
	for i, s := range cfg.Sources {
		if l := s.LDAP; l != nil {
			entry(l.Base, "sources", i, "ldap", "base")
			filter(l.Filter, "sources", i, "ldap", "filter")
			if l.Groups != nil {
				entry(l.Groups.Base, "sources", i, "ldap", "groups", "base")
				filter(l.Groups.Filter, "sources", i, "ldap", "groups", "filter")
			}
		}
	}
	return out
}
