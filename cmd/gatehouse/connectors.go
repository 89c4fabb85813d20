package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/gatehouse-sso/gatehouse/configs"
	"github.com/gatehouse-sso/gatehouse/provisioning/connector"
	"github.com/gatehouse-sso/gatehouse/provisioning/connector/csv"
	"github.com/gatehouse-sso/gatehouse/provisioning/connector/external"
	"github.com/gatehouse-sso/gatehouse/provisioning/connector/oauth"
	"github.com/gatehouse-sso/gatehouse/provisioning/connector/scim2"
	"github.com/gatehouse-sso/gatehouse/provisioning/connector/scimuser"
	"github.com/gatehouse-sso/gatehouse/provisioning/connector/webhook"
	"github.com/gatehouse-sso/gatehouse/provisioning/task"
)

// connection is the connector of a target, and how it is called.
type connection struct {
	connector.Connector
	address string        // where the accounts are; another means other accounts
	timeout time.Duration // of one request
	rate    int           // calls a second; 0: no limit
	// schedule is when a call that failed is made again; nil: as outbox does.
	schedule []time.Duration
}

// connector makes the connector that a target's configuration says.
func (s *site) connector(t configs.Target) (connection, error) {
	switch {
	case t.SCIM2 != nil:
		return s.scim2(*t.SCIM2)
	case t.SCIM11 != nil:
		return s.scim11(*t.SCIM11)
	case t.CSV != nil:
		return s.csv(t)
	case t.Webhook != nil:
		return s.webhook(t.ID, *t.Webhook)
	case t.Exec != nil:
		return s.exec(*t.Exec)
	case t.HTTP != nil:
		return s.http(*t.HTTP)
	case t.LDAP != nil:
		return s.ldap(*t.LDAP)
	}
	return connection{}, errors.New("it has no connector")
}

func (s *site) csv(t configs.Target) (connection, error) {
	multi := multi(s.cfg)
	c := csv.Config{
		Store: s.store, Target: t.ID, Place: s.place(t.CSV.Folder, t.CSV.SFTP), Delta: t.CSV.Content == "delta", Every: t.CSV.Every, Keep: t.CSV.Keep,
		BOM: t.CSV.BOM, Harmless: t.CSV.Harmless,
	}
	for _, r := range t.Release {
		c.Columns = append(c.Columns, csv.Column{Name: ownNames.place(r.Attribute, r.As), Multi: multi[r.Attribute]})
	}
	s.writers[t.ID] = csv.New(c)
	return connection{Connector: s.writers[t.ID], address: c.Place.String(), timeout: 10 * time.Second}, nil
}

// writeFile is the task.Handler of csv.Kind.
func (s *site) writeFile(ctx context.Context, key string) error {
	target, _, _ := strings.Cut(key, "/")
	w := s.writers[target]
	if w == nil {
		return &task.Retry{After: time.Hour, Reason: "target " + target + " writes no files by the configuration"}
	}
	return w.Write(ctx)
}

func (s *site) scim2(t configs.SCIM2) (connection, error) {
	client, auth, err := s.caller(t.Auth, t.CA, t.Timeout)
	if err != nil {
		return connection{}, err
	}
	c := scim2.Config{
		URL: t.URL.String(), Client: client, Auth: auth, Profile: scim2.Profiles[t.Profile], PageSize: t.PageSize, Domain: t.Domain,
		Update: updates[t.Patch],
	}
	conn, err := scim2.New(c)
	return connection{Connector: conn, address: c.URL, timeout: t.Timeout, rate: t.Rate}, err
}

// updates are ways to change an account, by their words; auto has none.
var updates = map[string]scim2.Update{"patch": scim2.Patch, "put": scim2.Put}

func (s *site) scim11(t configs.SCIM11) (connection, error) {
	client, auth, err := s.caller(t.Auth, t.CA, t.Timeout)
	if err != nil {
		return connection{}, err
	}
	c := scim2.Config{
		URL: t.URL.String(), Client: client, Auth: auth, V1: true, Domain: t.Domain, Update: updates[t.Patch],
		Profile: scim2.Profile{NewPassword: t.NewPassword},
	}
	conn, err := scim2.New(c)
	return connection{Connector: conn, address: c.URL, timeout: t.Timeout, rate: t.Rate}, err
}

func (s *site) webhook(target string, t configs.Webhook) (connection, error) {
	client, _, err := s.caller(configs.Auth{}, t.CA, t.Timeout)
	if err != nil {
		return connection{}, err
	}
	c := webhook.Config{URL: t.URL.String(), Client: client, Source: s.cfg.Server.PublicURL.String() + "/.gatehouse/targets/" + target}
	for _, secret := range t.Secrets {
		c.Secrets = append(c.Secrets, secret.Value())
	}
	conn, err := webhook.New(c)
	return connection{Connector: conn, address: c.URL, timeout: t.Timeout, rate: t.Rate, schedule: webhook.Schedule}, err
}

func (s *site) exec(t configs.Exec) (connection, error) {
	program, err := filepath.Abs(string(t.Program))
	if err != nil {
		return connection{}, err
	}
	e := external.Exec{Program: program, Args: t.Args, Timeout: t.Timeout}
	for _, name := range slices.Sorted(maps.Keys(t.Env)) {
		e.Env = append(e.Env, name+"="+t.Env[name].Value())
	}
	carrier, err := external.NewExec(e, t.AtOnce)
	if err != nil {
		return connection{}, err
	}
	return connection{Connector: external.New(carrier), address: program + " " + strings.Join(t.Args, " "), timeout: t.Timeout, rate: t.Rate}, nil
}

func (s *site) http(t configs.HTTP) (connection, error) {
	client, auth, err := s.caller(t.Auth, t.CA, t.Timeout)
	if err != nil {
		return connection{}, err
	}
	carrier, err := external.NewHTTP(t.URL.String(), client, auth)
	if err != nil {
		return connection{}, err
	}
	return connection{Connector: external.New(carrier), address: t.URL.String(), timeout: t.Timeout, rate: t.Rate}, nil
}

// caller is what calls a target, and what adds to a request who we are. What is
// asked and answered can be seen in the record of an operation, without values.
func (s *site) caller(a configs.Auth, ca configs.File, timeout time.Duration) (*http.Client, func(*http.Request), error) {
	client, auth, err := s.plainCaller(a, ca, timeout)
	if err == nil {
		client.Transport = connector.Traced(client.Transport)
	}
	return client, auth, err
}

func (s *site) plainCaller(a configs.Auth, ca configs.File, timeout time.Duration) (*http.Client, func(*http.Request), error) {
	roots, err := rootsFrom(string(ca))
	if err != nil {
		return nil, nil, err
	}
	client := outboundClient(s.cfg.Outbound.Allow, roots, timeout)
	if m := a.MTLS; m != nil {
		chain, err := os.ReadFile(string(m.Cert))
		if err != nil {
			return nil, nil, err
		}
		cert, err := tls.X509KeyPair(chain, []byte(m.Key.Value()))
		if err != nil {
			return nil, nil, fmt.Errorf("client certificate: %w", err)
		}
		client.Transport.(*http.Transport).TLSClientConfig.Certificates = []tls.Certificate{cert}
	}
	switch {
	case !a.Bearer.IsZero():
		return client, scim2.Bearer(a.Bearer.Value()), nil
	case a.Basic != nil:
		return client, scim2.Basic(a.Basic.User, a.Basic.Password.Value()), nil
	case a.Header != nil:
		return client, func(r *http.Request) { r.Header.Set(a.Header.Name, a.Header.Value.Value()) }, nil
	case a.OAuth2 != nil:
		client.Transport, err = tokens(*a.OAuth2, *client)
		return client, nil, err
	}
	return client, nil, nil
}

// tokens adds a token to what a client sends. The client itself, with its
// certificate, asks the authorization server.
func tokens(o configs.TokenSource, client http.Client) (*oauth.Transport, error) {
	c := oauth.Config{
		TokenURL: o.TokenURL.String(), ClientID: o.ClientID, Secret: o.ClientSecret.Value(), KeyID: o.KeyID, Audience: o.Audience,
		Scopes: o.Scopes, Resource: address(o.Resource), Client: &client,
	}
	if !o.PrivateKey.IsZero() {
		var err error
		if c.Key, err = privateKey(o.PrivateKey.Value()); err != nil {
			return nil, err
		}
	}
	return oauth.New(client.Transport, c)
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
func namesOf(t configs.Target) names {
	if t.Exec != nil || t.HTTP != nil {
		return ownNames
	}
	if t.CSV != nil {
		return csvNames
	}
	if t.LDAP != nil {
		return ldapNames(*t.LDAP)
	}
	return scimNames
}

// ownNames are what a connector of one's own gets: ours, or what the release
// says instead.
var ownNames = names{
	usual: func(attribute string) string { return attribute },
	check: func(name string) error {
		switch name {
		case "user_name", "external_id", "active", "id":
			return errors.New("the account says that itself")
		}
		return nil
	},
	called: "name of an attribute",
	mend:   "call it otherwise with as",
}

// csvNames are the headings of columns.
var csvNames = names{usual: ownNames.usual, check: csv.CheckColumn, called: "heading of a column", mend: "call it otherwise with as"}

var scimNames = names{
	usual:  scimuser.DefaultPath,
	check:  func(path string) error { return scimuser.CheckPath(path) },
	called: "SCIM path",
	say:    "give its SCIM path with as, such as name.honorificPrefix",
	mend:   `write one such as name.givenName or emails[type eq "work"].value`,
}
