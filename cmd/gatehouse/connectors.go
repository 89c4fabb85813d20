package main

import (
	"errors"
	"time"

	"github.com/gatehouse-sso/gatehouse/configs"
	"github.com/gatehouse-sso/gatehouse/provisioning/connector"
	"github.com/gatehouse-sso/gatehouse/provisioning/connector/scim2"
	"github.com/gatehouse-sso/gatehouse/provisioning/connector/scimuser"
)

// connection is the connector of a target, and how it is called.
type connection struct {
	connector.Connector
	address string        // where the accounts are; another means other accounts
	timeout time.Duration // of one request
	rate    int           // calls a second; 0: no limit
}

// connector makes the connector that a target's configuration says.
func (s *site) connector(t configs.Target) (connection, error) {
	switch {
	case t.SCIM2 != nil:
		return s.scim2(*t.SCIM2)
	}
	return connection{}, errors.New("it has no connector")
}

func (s *site) scim2(t configs.SCIM2) (connection, error) {
	roots, err := rootsFrom(string(t.CA))
	if err != nil {
		return connection{}, err
	}
	c := scim2.Config{
		URL: t.URL.String(), Client: outboundClient(s.cfg.Outbound.Allow, roots, t.Timeout),
		Update: map[string]scim2.Update{"patch": scim2.Patch, "put": scim2.Put}[t.Patch],
	}
	switch a := t.Auth; {
	case !a.Bearer.IsZero():
		c.Auth = scim2.Bearer(a.Bearer.Value())
	case a.Basic != nil:
		c.Auth = scim2.Basic(a.Basic.User, a.Basic.Password.Value())
	}
	conn, err := scim2.New(c)
	return connection{conn, c.URL, t.Timeout, t.Rate}, err
}

// names are those of attributes at a target.
type names struct {
	usual  func(attribute string) string // where one of ours goes if the release does not say; empty: nowhere
	check  func(name string) error       // why something can not be a name there
	called string                        // what such a name is
	say    string                        // how to say where something goes
	mend   string                        // how to write a name
}

// place is where an attribute goes: what the release calls it, or, if that says
// nothing, where it usually goes.
func (n names) place(attribute, as string) string {
	if as != "" && as != attribute {
		return as
	}
	return n.usual(attribute)
}

// namesOf are those of the accounts at a target.
func namesOf(configs.Target) names {
	return scimNames
}

var scimNames = names{
	usual:  scimuser.DefaultPath,
	check:  func(path string) error { return scimuser.CheckPath(path) },
	called: "SCIM path",
	say:    "give its SCIM path with as, such as name.honorificPrefix",
	mend:   `write one such as name.givenName or emails[type eq "work"].value`,
}
