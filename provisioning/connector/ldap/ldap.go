// Package ldap keeps accounts and groups in an LDAP directory: OpenLDAP and
// its like, and Active Directory.
//
// An account is an entry. It is known by what never changes (entryUUID,
// objectGUID), not by its distinguished name, and bears our user's ID in an
// attribute, so that it can be found again. What differs is changed, and nothing
// else:
//
//	read ── not there ──▶ name taken? ──▶ add disabled* ──▶ enable*
//	   └─── there ──▶ rename or move ──▶ one modify of what differs
//	                                                      * Active Directory
//
// LDAP has no word for an account that is off. How a directory says it is
// configured: by the value of an attribute, by moving the entry elsewhere, or, in
// Active Directory, by a bit of userAccountControl. Where nothing is configured
// the connector can not disable, and says so.
package ldap

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	goldap "github.com/go-ldap/ldap/v3"

	"github.com/gatehouse-sso/gatehouse/provisioning/connector"
	"github.com/gatehouse-sso/gatehouse/provisioning/ldapconn"
)

// Config of a Connector. Names of attributes that are left out are those that
// the dialect usually has.
type Config struct {
	Pool    *ldapconn.Pool
	Dialect ldapconn.Dialect
	Base    string   // where accounts are made, and below which they are looked for
	Classes []string // object classes of an account that is made
	// Naming is the attribute of the relative distinguished name. Its value is the
	// user name.
	Naming     string
	UserName   string // attribute
	ExternalID string // attribute, with one value
	UPNSuffix  string // Active Directory: follows a user name that has no @
	Disable    Disable
	Groups     GroupConfig
}

// Disable is how an account is off; the zero Disable: it can not be, but in
// Active Directory, which has its own way.
type Disable struct {
	Attribute string // has the value Off when it is off, and On, if not empty, when it is not
	Off, On   string
	MoveTo    string // accounts that are off are below this entry
}

func (d Disable) zero() bool { return d == Disable{} }

// GroupConfig is where groups are; without a Base there are none.
type GroupConfig struct {
	Base       string
	Classes    []string
	Naming     string // attribute of the relative distinguished name: the group's name
	Member     string // attribute: distinguished names
	ExternalID string // attribute, with one value
	// Placeholder is the member of a group that has none, where the schema wants one.
	Placeholder string
}

// A Connector speaks to one directory.
type Connector struct {
	c Config
	// required are attributes that an account can not be without, and that have the
	// user name where nothing else is known.
	required []string
	own      []string // Config.own
}

var (
	_ connector.Connector = (*Connector)(nil)
	_ connector.Getter    = (*Connector)(nil)
	_ connector.Tester    = (*Connector)(nil)
	_ connector.Prober    = (*Connector)(nil)
	_ connector.Able      = (*Connector)(nil)
	_ connector.Groups    = (*Connector)(nil)
)

// Attributes of Active Directory.
const (
	accountControl = "userAccountControl"
	samName        = "sAMAccountName"
	password       = "unicodePwd"
	passwordSet    = "pwdLastSet"
)

// Flags of userAccountControl (MS-ADTS, 2.2.16).
const (
	flagDisabled = 0x2
	flagNormal   = 0x200
)

// withDefaults fills in what is left out.
func (c Config) withDefaults() Config {
	ad := c.Dialect == ldapconn.ActiveDirectory
	pick := func(have, rfc, active string) string {
		if have == "" && ad {
			return active
		}
		return cmp.Or(have, rfc)
	}
	c.Naming = pick(c.Naming, "uid", "cn")
	c.UserName = pick(c.UserName, "uid", "userPrincipalName")
	c.ExternalID = cmp.Or(c.ExternalID, "employeeNumber")
	if len(c.Classes) == 0 {
		c.Classes = []string{"inetOrgPerson"}
		if ad {
			c.Classes = []string{"top", "person", "organizationalPerson", "user"}
		}
	}
	g := &c.Groups
	g.Naming, g.Member, g.ExternalID = cmp.Or(g.Naming, "cn"), cmp.Or(g.Member, "member"), cmp.Or(g.ExternalID, "description")
	if len(g.Classes) == 0 {
		g.Classes = []string{pick("", "groupOfNames", "group")}
	}
	if !ad {
		g.Placeholder = cmp.Or(g.Placeholder, g.Base)
	}
	return c
}

// own are the attributes that the connector itself sets, in lower case.
func (c Config) own() []string {
	list := []string{"objectClass", "entryUUID", "objectGUID", "memberOf", "userPassword", password, c.Naming, c.UserName, c.ExternalID, c.Disable.Attribute}
	if c.Dialect == ldapconn.ActiveDirectory {
		list = append(list, accountControl, passwordSet)
	}
	for i, name := range list {
		list[i] = strings.ToLower(name)
	}
	return list
}

// New makes a Connector. It asks the directory nothing yet.
func New(c Config) (*Connector, error) {
	k := &Connector{c: c.withDefaults()}
	if !k.ad() && slices.ContainsFunc(k.c.Classes, func(s string) bool { return strings.EqualFold(s, "inetOrgPerson") || strings.EqualFold(s, "person") }) {
		k.required = []string{"cn", "sn"}
	}
	k.own = k.c.own()
	if err := k.check(); err != nil {
		return nil, err
	}
	return k, nil
}

func (k *Connector) check() error {
	c := k.c
	for _, dn := range []string{c.Base, c.Disable.MoveTo, c.Groups.Base, c.Groups.Placeholder} {
		if dn == "" && dn != c.Base {
			continue
		}
		if err := ldapconn.CheckDN(dn); err != nil {
			return fmt.Errorf("%q is no distinguished name: %w", dn, err)
		}
	}
	for _, a := range slices.Concat(c.Classes, c.Groups.Classes, []string{c.Naming, c.UserName, c.ExternalID, c.Groups.Naming, c.Groups.Member, c.Groups.ExternalID, cmp.Or(c.Disable.Attribute, "x")}) {
		if !ldapconn.IsAttribute(a) {
			return fmt.Errorf("%q is no name of an attribute or class", a)
		}
	}
	switch {
	case c.Pool == nil:
		return errors.New("no directory")
	case strings.EqualFold(c.ExternalID, c.UserName) || strings.EqualFold(c.ExternalID, c.Naming):
		return errors.New("the external ID needs an attribute of its own")
	case c.Disable.Attribute != "" && c.Disable.MoveTo != "":
		return errors.New("an account is disabled by an attribute or by moving it, not by both")
	case c.Disable.Attribute != "" && c.Disable.Off == "":
		return errors.New("nothing says which value disables")
	case c.Dialect == ldapconn.ActiveDirectory && !c.Pool.Secure():
		return errors.New("active directory takes passwords over TLS only, and has no account without one: use ldaps or StartTLS")
	}
	return nil
}

// DefaultAttribute is the attribute where one of our own usually goes; empty:
// there is none, and the configuration has to say.
func DefaultAttribute(ours string, d ldapconn.Dialect) string {
	if a, ok := activeAttributes[ours]; ok && d == ldapconn.ActiveDirectory {
		return a
	}
	return usualAttributes[ours]
}

var usualAttributes = map[string]string{
	"mail": "mail", "email": "mail", "display_name": "displayName", "given_name": "givenName", "family_name": "sn",
	"title": "title", "user_type": "employeeType", "preferred_language": "preferredLanguage", "phone": "telephoneNumber", "mobile": "mobile",
	"department": "departmentNumber", "organization": "o", "street_address": "street", "locality": "l",
	"region": "st", "postal_code": "postalCode",
}

var activeAttributes = map[string]string{
	"department": "department", "division": "division", "organization": "company", "street_address": "streetAddress", "country": "co",
}

// CheckAttribute reports why an attribute can not be one of an Account.
func CheckAttribute(c Config, name string) error {
	return checkAttribute(c.withDefaults().own(), name)
}

func checkAttribute(own []string, name string) error {
	base, _, _ := strings.Cut(strings.ToLower(name), ";")
	switch {
	case !ldapconn.IsAttribute(name):
		return fmt.Errorf("%q is no name of an attribute", name)
	case slices.Contains(own, base):
		return fmt.Errorf("%s is set by the connector itself", name)
	}
	return nil
}

// Caps is what the directory can not do.
func (k *Connector) Caps() connector.Caps {
	return connector.Caps{NoDisable: !k.disables(), NoGroups: k.c.Groups.Base == ""}
}

func (k *Connector) ad() bool { return k.c.Dialect == ldapconn.ActiveDirectory }

func (k *Connector) disables() bool { return k.ad() || !k.c.Disable.zero() }

// flags: the account is off by a bit of userAccountControl.
func (k *Connector) flags() bool { return k.ad() && k.c.Disable.zero() }

// Sync makes the account agree with want.
func (k *Connector) Sync(ctx context.Context, want connector.Account, have string) (id string, err error) {
	attrs, err := k.wanted(want)
	if err != nil {
		return have, err
	}
	id = have
	err = k.c.Pool.Do(ctx, func(l *ldapconn.Conn) error {
		e, err := k.find(l, want, have)
		if err != nil {
			return err
		}
		if e == nil {
			id, err = k.create(l, want, attrs)
			return err
		}
		id = ldapconn.ID(e, k.c.Dialect)
		return k.update(l, e, want, attrs)
	})
	return id, err
}

// find reads the account with an ID or, without one, with the external ID; nil:
// there is none.
func (k *Connector) find(l *ldapconn.Conn, want connector.Account, have string) (*goldap.Entry, error) {
	if have != "" {
		return k.byID(l, have)
	}
	if want.ExternalID == "" {
		return nil, nil
	}
	there, err := k.search(l, ldapconn.Equal(k.c.ExternalID, want.ExternalID), 2)
	if err != nil || len(there) == 0 {
		return nil, err
	}
	if len(there) > 1 {
		return nil, ldapconn.Errorf(connector.Conflict, "several accounts have the external ID")
	}
	return there[0], nil
}

// byID reads an entry; that it is not there is an error of class Gone.
func (k *Connector) byID(l *ldapconn.Conn, id string) (*goldap.Entry, error) {
	filter, ok := k.c.Dialect.ByID(id)
	if !ok {
		return nil, ldapconn.Errorf(connector.Invalid, "that is no %s", k.c.Dialect.IDAttribute())
	}
	there, err := k.search(l, filter, 2)
	switch {
	case err != nil:
		return nil, err
	case len(there) == 0:
		return nil, ldapconn.Errorf(connector.Gone, "no entry has this %s", k.c.Dialect.IDAttribute())
	case len(there) > 1 || ldapconn.ID(there[0], k.c.Dialect) != id:
		return nil, ldapconn.Errorf(connector.Route, "the directory answered with another entry than was asked for")
	}
	return there[0], nil
}

// places are the bases below which accounts are.
func (k *Connector) places() []string {
	all := []string{k.c.Base}
	if to := k.c.Disable.MoveTo; to != "" && !ldapconn.Below(to, k.c.Base) {
		if ldapconn.Below(k.c.Base, to) {
			return []string{to}
		}
		all = append(all, to)
	}
	return all
}

func (k *Connector) search(l *ldapconn.Conn, filter string, limit int) ([]*goldap.Entry, error) {
	var all []*goldap.Entry
	for _, base := range k.places() {
		some, err := l.Search(ldapconn.Query{Base: base, Filter: k.people(filter), Attrs: k.attrs(), Limit: limit})
		if err != nil {
			return nil, noBase(err)
		}
		all = append(all, some...)
	}
	return all, nil
}

// people narrows a filter to accounts.
func (k *Connector) people(filter string) string {
	return ldapconn.And(ldapconn.Equal("objectClass", k.c.Classes[len(k.c.Classes)-1]), filter)
}

// attrs are those that are read: what users have set, and the ID.
func (k *Connector) attrs() []string {
	list := []string{"*", k.c.Dialect.IDAttribute()}
	if a := k.c.Disable.Attribute; a != "" {
		list = append(list, a) // it may be operational
	}
	return list
}

// noBase: a base that is not there is a mistake of the configuration, not an
// account that is gone.
func noBase(err error) error {
	if connector.ClassOf(err) == connector.Gone {
		return &connector.Error{Class: connector.Route, Text: "the place for the entries is not in the directory", Err: err}
	}
	return err
}

// wanted are the attributes of an account as they are to be, by their names;
// those without values are to go.
func (k *Connector) wanted(want connector.Account) (map[string][]string, error) {
	invalid := func(err error) error {
		return &connector.Error{Class: connector.Invalid, Text: err.Error()}
	}
	if want.UserName == "" {
		return nil, invalid(errors.New("the account has no user name"))
	}
	if !want.Active && !k.disables() {
		return nil, connector.CanNot("nothing says how an account of this directory is disabled: configure disable")
	}
	attrs := map[string][]string{}
	for name, values := range want.Attributes {
		if err := checkAttribute(k.own, name); err != nil {
			return nil, invalid(err)
		}
		attrs[name] = distinct(values)
		if strings.EqualFold(name, samName) && k.ad() {
			for _, v := range attrs[name] {
				if sam(v) != v {
					return nil, invalid(errors.New("sAMAccountName has at most 20 characters and none of \"/\\[]:;|=,+*?<>@"))
				}
			}
		}
	}
	if k.ad() && strings.EqualFold(k.c.UserName, samName) && sam(want.UserName) != want.UserName {
		return nil, invalid(errors.New("the user name can not be a sAMAccountName: at most 20 characters and none of \"/\\[]:;|=,+*?<>@"))
	}
	for _, name := range k.required {
		if values, mapped := folded(attrs, name); mapped && len(values) == 0 {
			delete(attrs, spelled(attrs, name))
			attrs[name] = []string{want.UserName}
		}
	}
	return attrs, nil
}

func distinct(values []string) []string {
	var out []string
	for _, v := range values {
		if v != "" && !slices.Contains(out, v) {
			out = append(out, v)
		}
	}
	return out
}

// folded finds a name in any case.
func folded(attrs map[string][]string, name string) ([]string, bool) {
	v, ok := attrs[spelled(attrs, name)]
	return v, ok
}

func spelled(attrs map[string][]string, name string) string {
	for have := range attrs {
		if strings.EqualFold(have, name) {
			return have
		}
	}
	return name
}

// login is the value of the attribute that has the user name.
func (k *Connector) login(userName string) string {
	if k.ad() && strings.EqualFold(k.c.UserName, "userPrincipalName") && k.c.UPNSuffix != "" && !strings.Contains(userName, "@") {
		return userName + "@" + k.c.UPNSuffix
	}
	return userName
}

// userName is the other way round.
func (k *Connector) userName(e *goldap.Entry) string {
	v := ldapconn.Value(e, k.c.UserName)
	if k.ad() && k.c.UPNSuffix != "" {
		if name, ok := strings.CutSuffix(v, "@"+k.c.UPNSuffix); ok {
			return name
		}
	}
	return v
}

// rdn is the relative distinguished name of an account.
func (k *Connector) rdn(userName string) string {
	if strings.EqualFold(k.c.Naming, k.c.UserName) {
		return ldapconn.RDN(k.c.Naming, k.login(userName))
	}
	return ldapconn.RDN(k.c.Naming, shortened(userName, 64)) // the bound of a common name (X.520)
}

// sam makes a user name a sAMAccountName (MS-ADTS, 3.1.1.6): what stands before
// the @, without what is not allowed. What is too long keeps its beginning and
// gets a mark that differs where names do.
func sam(userName string) string {
	name := userName
	if before, _, ok := strings.Cut(userName, "@"); ok && before != "" {
		name = before
	}
	name = strings.Map(func(r rune) rune {
		if r < ' ' || strings.ContainsRune(`"/\[]:;|=,+*?<>@`, r) {
			return '_'
		}
		return r
	}, strings.TrimRight(strings.TrimSpace(name), "."))
	return shortened(name, 20)
}

// shortened cuts a text to n characters; what is cut off leaves a mark.
func shortened(s string, n int) string {
	r := []rune(s)
	if len(r) <= n {
		return s
	}
	sum := sha256.Sum256([]byte(s))
	mark := "-" + strings.ToLower(base32.StdEncoding.EncodeToString(sum[:])[:6])
	return string(r[:n-len(mark)]) + mark
}

// place is where an account belongs whose parent is now there.
func (k *Connector) place(active bool, parent string) string {
	to := k.c.Disable.MoveTo
	switch {
	case to == "":
		return cmp.Or(parent, k.c.Base)
	case !active && (parent == "" || !ldapconn.Below(parent, to)):
		return to
	case active && (parent == "" || ldapconn.Below(parent, to)):
		return k.c.Base
	}
	return parent
}

func (k *Connector) create(l *ldapconn.Conn, want connector.Account, attrs map[string][]string) (string, error) {
	taken, err := k.search(l, k.byName(want.UserName), 1)
	if err != nil {
		return "", err
	}
	if len(taken) > 0 {
		return "", ldapconn.Errorf(connector.Conflict, "another account has the user name")
	}
	dn := k.rdn(want.UserName) + "," + k.place(want.Active, "")
	r := goldap.NewAddRequest(dn, nil)
	set := map[string][]string{"objectClass": k.c.Classes, k.c.UserName: {k.login(want.UserName)}}
	if !strings.EqualFold(k.c.Naming, k.c.UserName) {
		set[k.c.Naming] = []string{shortened(want.UserName, 64)}
	}
	if want.ExternalID != "" {
		set[k.c.ExternalID] = []string{want.ExternalID}
	}
	for name, values := range attrs {
		if len(values) > 0 {
			set[name] = values
		}
	}
	for _, name := range k.required {
		if _, ok := folded(set, name); !ok {
			set[name] = []string{want.UserName}
		}
	}
	if a := k.c.Disable.Attribute; a != "" {
		if v := k.switched(want.Active); v != "" {
			set[a] = []string{v}
		}
	}
	if k.ad() {
		if _, ok := folded(set, samName); !ok {
			set[samName] = []string{sam(want.UserName)}
		}
		// Nobody can use it before it is whole.
		set[accountControl] = []string{strconv.Itoa(flagNormal | flagDisabled)}
		set[password] = []string{randomPassword()}
	}
	for _, name := range slices.Sorted(maps.Keys(set)) {
		r.Attribute(name, set[name])
	}
	if err := l.Add(r); err != nil {
		return "", noBase(err)
	}
	there, err := l.Search(ldapconn.Query{Base: dn, Object: true, Attrs: k.attrs()})
	if err != nil || len(there) != 1 || ldapconn.ID(there[0], k.c.Dialect) == "" {
		return "", &connector.Error{Class: connector.Transient, Ambiguous: true, Text: "the account was made and can not be read", Err: err}
	}
	id := ldapconn.ID(there[0], k.c.Dialect)
	if !k.ad() {
		return id, nil
	}
	return id, k.update(l, there[0], want, attrs)
}

// switched is the value of the attribute that disables.
func (k *Connector) switched(active bool) string {
	if active {
		return k.c.Disable.On
	}
	return k.c.Disable.Off
}

// randomPassword is one that nobody knows, as Active Directory wants to have it:
// in quotes, in UTF-16 (MS-ADTS, 3.1.1.3.1.5). People sign in at their identity provider.
func randomPassword() string {
	var b []byte
	for _, u := range utf16.Encode([]rune(`"` + rand.Text() + `aA1!"`)) {
		b = binary.LittleEndian.AppendUint16(b, u)
	}
	return string(b)
}

// active says whether an account is on.
func (k *Connector) active(e *goldap.Entry) bool {
	d := k.c.Disable
	switch {
	case k.flags():
		flags, err := strconv.ParseInt(ldapconn.Value(e, accountControl), 10, 64)
		return err == nil && flags&flagDisabled == 0
	case d.Attribute != "":
		return !slices.ContainsFunc(ldapconn.Values(e, d.Attribute), func(v string) bool { return strings.EqualFold(v, d.Off) })
	case d.MoveTo != "":
		return !ldapconn.Below(e.DN, d.MoveTo)
	}
	return true
}

// update makes an entry agree: its name and place first, then all else at once.
func (k *Connector) update(l *ldapconn.Conn, e *goldap.Entry, want connector.Account, attrs map[string][]string) error {
	dn, err := k.rename(l, e, want)
	if err != nil {
		return err
	}
	r := goldap.NewModifyRequest(dn, nil)
	set := func(name string, values ...string) {
		if !sameSet(ldapconn.Values(e, name), values) {
			r.Replace(name, values)
		}
	}
	renamed := ldapconn.Value(e, k.c.UserName) != k.login(want.UserName)
	if !strings.EqualFold(k.c.UserName, k.naming(e.DN)) {
		set(k.c.UserName, k.login(want.UserName))
	}
	if want.ExternalID != "" {
		set(k.c.ExternalID, want.ExternalID)
	}
	for _, name := range slices.Sorted(maps.Keys(attrs)) {
		set(name, attrs[name]...)
	}
	if _, mapped := folded(attrs, samName); k.ad() && renamed && !mapped && !strings.EqualFold(k.c.UserName, samName) {
		set(samName, sam(want.UserName))
	}
	if a := k.c.Disable.Attribute; a != "" && k.active(e) != want.Active {
		set(a, distinct([]string{k.switched(want.Active)})...)
	}
	if k.flags() {
		flags, err := strconv.ParseInt(ldapconn.Value(e, accountControl), 10, 64)
		if err != nil {
			return ldapconn.Errorf(connector.Route, "the account has no userAccountControl that can be read")
		}
		next := flags | flagDisabled
		if want.Active {
			next = flags &^ flagDisabled
			if v := ldapconn.Value(e, passwordSet); flags&flagDisabled != 0 && (v == "" || v == "0") {
				set(password, randomPassword()) // without one it can not be enabled
			}
		}
		set(accountControl, strconv.FormatInt(next, 10))
	}
	err = l.Modify(r)
	if ldapconn.Code(err) == goldap.LDAPResultEntryAlreadyExists { // Active Directory: a name of the account
		return ldapconn.Errorf(connector.Conflict, "another account has the user name")
	}
	return err
}

// naming is the attribute of an entry's relative distinguished name, if it has one.
func (k *Connector) naming(dn string) string {
	p, err := goldap.ParseDN(dn)
	if err != nil || len(p.RDNs) == 0 || len(p.RDNs[0].Attributes) != 1 {
		return ""
	}
	return p.RDNs[0].Attributes[0].Type
}

// rename gives an entry its name and place, and returns its distinguished name.
// An entry that is named by something else than the user name keeps that.
func (k *Connector) rename(l *ldapconn.Conn, e *goldap.Entry, want connector.Account) (string, error) {
	rdn, parent := ldapconn.Split(e.DN)
	to := k.place(want.Active, parent)
	if strings.EqualFold(k.naming(e.DN), k.c.Naming) {
		p, _ := goldap.ParseDN(e.DN)
		if wanted := k.rdn(want.UserName); ldapconn.RDN(k.c.Naming, p.RDNs[0].Attributes[0].Value) != wanted {
			rdn = wanted
		}
	}
	was, _ := ldapconn.Split(e.DN)
	if rdn == was && to == parent {
		return e.DN, nil
	}
	if rdn != was {
		others, err := k.search(l, k.byName(want.UserName), 2)
		if err != nil {
			return "", err
		}
		id := ldapconn.ID(e, k.c.Dialect)
		if slices.ContainsFunc(others, func(o *goldap.Entry) bool { return ldapconn.ID(o, k.c.Dialect) != id }) {
			return "", ldapconn.Errorf(connector.Conflict, "another account has the user name")
		}
	}
	superior := ""
	if to != parent {
		superior = to
	}
	if err := l.Rename(e.DN, rdn, superior); err != nil {
		if to != parent {
			return "", noBase(err)
		}
		return "", err
	}
	return rdn + "," + to, nil
}

// byName is the filter for those who have a user name.
func (k *Connector) byName(userName string) string {
	filter := ldapconn.Equal(k.c.UserName, k.login(userName))
	if k.ad() && !strings.EqualFold(k.c.UserName, samName) {
		filter = ldapconn.Or(filter, ldapconn.Equal(samName, sam(userName)))
	}
	return filter
}

func sameSet(a, b []string) bool {
	return len(a) == len(b) && !slices.ContainsFunc(a, func(v string) bool { return !slices.Contains(b, v) })
}

// handful is how many accounts Find returns at most.
const handful = 5

// Find returns the accounts that want might already be.
func (k *Connector) Find(ctx context.Context, want connector.Account) ([]connector.Account, error) {
	var out []connector.Account
	err := k.c.Pool.Do(ctx, func(l *ldapconn.Conn) error {
		out = nil
		for _, f := range []struct{ filter, value string }{{ldapconn.Equal(k.c.ExternalID, want.ExternalID), want.ExternalID}, {k.byName(want.UserName), want.UserName}} {
			if f.value == "" {
				continue
			}
			there, err := k.search(l, f.filter, handful)
			if err != nil {
				return err
			}
			for _, e := range there {
				a := k.account(e)
				if !slices.ContainsFunc(out, func(o connector.Account) bool { return o.ID == a.ID }) {
					out = append(out, a)
				}
			}
		}
		return nil
	})
	return out, err
}

// account is what an entry holds.
func (k *Connector) account(e *goldap.Entry) connector.Account {
	a := connector.Account{ID: ldapconn.ID(e, k.c.Dialect), ExternalID: ldapconn.Value(e, k.c.ExternalID), UserName: k.userName(e), Active: k.active(e), Attributes: map[string][]string{}}
	for _, attr := range e.Attributes {
		text := !slices.ContainsFunc(attr.Values, func(v string) bool { return !utf8.ValidString(v) })
		if text && checkAttribute(k.own, attr.Name) == nil {
			a.Attributes[attr.Name] = attr.Values
		}
	}
	return a
}

// Get reads one account.
func (k *Connector) Get(ctx context.Context, id string) (a connector.Account, err error) {
	err = k.c.Pool.Do(ctx, func(l *ldapconn.Conn) error {
		e, err := k.byID(l, id)
		if err == nil {
			a = k.account(e)
		}
		return err
	})
	return a, err
}

// Remove deletes the account.
func (k *Connector) Remove(ctx context.Context, have string) error {
	return k.c.Pool.Do(ctx, func(l *ldapconn.Conn) error {
		e, err := k.byID(l, have)
		if err == nil {
			err = l.Delete(e.DN)
		}
		return unlessGone(err)
	})
}

func unlessGone(err error) error {
	if err != nil && connector.ClassOf(err) == connector.Gone {
		return nil
	}
	return err
}

// Accounts yields all accounts.
func (k *Connector) Accounts(ctx context.Context) iter.Seq2[connector.Account, error] {
	return func(yield func(connector.Account, error) bool) {
		for _, base := range k.places() {
			for e, err := range k.c.Pool.Walk(ctx, ldapconn.Query{Base: base, Filter: k.people(""), Attrs: k.attrs()}) {
				if err != nil {
					yield(connector.Account{}, noBase(err))
					return
				}
				if !yield(k.account(e), nil) {
					return
				}
			}
		}
	}
}

// Test reads the place of the accounts.
func (k *Connector) Test(ctx context.Context) error {
	return k.c.Pool.Do(ctx, func(l *ldapconn.Conn) error {
		for _, base := range k.places() {
			there, err := l.Search(ldapconn.Query{Base: base, Object: true, Attrs: []string{"1.1"}})
			if err != nil {
				return noBase(err)
			}
			if len(there) != 1 {
				return ldapconn.Errorf(connector.Route, "the place for the entries can not be read")
			}
		}
		return nil
	})
}

// randomName is a part of a name that nobody has.
func randomName() string { return strings.ToLower(rand.Text())[:10] }
