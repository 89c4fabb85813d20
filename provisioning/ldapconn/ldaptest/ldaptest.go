// Package ldaptest is a directory made small: an LDAP server for tests, over
// real connections, that keeps what it is told and refuses what a real one
// refuses. It speaks as OpenLDAP does or, where Active Directory differs, as
// that does, by the wire formats of its published protocol documents. It
// notes every request as it came.
package ldaptest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"maps"
	"math/big"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	ber "github.com/go-asn1-ber/asn1-ber"
	"github.com/go-ldap/ldap/v3"
	"github.com/google/uuid"

	"github.com/gatehouse-sso/gatehouse/provisioning/ldapconn"
)

// Suffix is the tree that every Server has, with ou=people, ou=gone and ou=groups in it.
const (
	Suffix = "dc=example,dc=org"
	People = "ou=people," + Suffix
	Away   = "ou=gone," + Suffix
	Groups = "ou=groups," + Suffix
	// BindDN may do everything, with Password.
	BindDN   = "cn=admin," + Suffix
	Password = "s3cret-of-the-directory"
)

// Options of a Server.
type Options struct {
	AD       bool // Active Directory
	TLS      bool // ldaps; otherwise ldap with StartTLS
	Untimely bool // its certificate is over
	MaxPage  int  // entries of one answer; 0: 1000
}

// A Request as it came.
type Request struct {
	Op     string // "bind", "search", "add", "modify", "rename", "delete", "starttls", "whoami"
	DN     string
	Raw    []byte // the whole message
	Secure bool
	// Controls are their OIDs.
	Controls []string
}

// An Entry that a Server keeps. Names of attributes are in lower case.
type Entry struct {
	DN    string
	Attrs map[string][]string
}

// A Server is a directory.
type Server struct {
	URL   *url.URL
	Roots *x509.CertPool
	CA    []byte // the same in PEM

	o    Options
	tls  *tls.Config
	ln   net.Listener
	mu   sync.Mutex
	tree map[string]*entry // by normal DN
	gone []tomb
	csn  int
	log  []Request
	rude func(Request) *Rude
	wg   sync.WaitGroup
	all  map[net.Conn]bool
	// Present makes answers to a search for changes say who is there instead of
	// who is gone.
	present bool
	hidden  string
	normal  map[string]string // of names that were compared: to parse them takes most of a test
}

type entry struct {
	Entry
	id  uuid.UUID
	csn int
}

type tomb struct {
	id  uuid.UUID
	csn int
}

// Rude is how a request is answered instead.
type Rude struct {
	Code    uint16
	Message string
	Do      bool   // it is carried out all the same
	Drop    bool   // the connection is closed instead of an answer
	Raw     []byte // these bytes are the answer
	Hang    bool   // there is no answer
	Instead string // a search finds the entry of this name
}

// Start runs a Server until the test ends.
func Start(t testing.TB, o Options) *Server {
	t.Helper()
	s := &Server{o: o, tree: map[string]*entry{}, normal: map[string]string{}, all: map[net.Conn]bool{}}
	if s.o.MaxPage == 0 {
		s.o.MaxPage = 1000
	}
	s.certificate(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.ln = ln
	scheme := "ldap"
	if o.TLS {
		scheme = "ldaps"
		s.ln = tls.NewListener(ln, s.tls)
	}
	s.URL = &url.URL{Scheme: scheme, Host: ln.Addr().String()}
	for dn, class := range map[string]string{Suffix: "dcObject", People: "organizationalUnit", Away: "organizationalUnit", Groups: "organizationalUnit"} {
		s.put(dn, map[string][]string{"objectClass": {class}})
	}
	s.wg.Go(s.accept)
	t.Cleanup(s.stop)
	return s
}

func (s *Server) stop() {
	_ = s.ln.Close()
	s.mu.Lock()
	for c := range s.all {
		_ = c.Close()
	}
	s.mu.Unlock()
	s.wg.Wait()
}

// Cut closes every connection there is, as a server does that is tired of them.
func (s *Server) Cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.all {
		_ = c.Close()
	}
}

// Pool is how a test reaches the Server: over TLS where it speaks it.
func (s *Server) Pool(t testing.TB) *ldapconn.Pool {
	t.Helper()
	p, err := ldapconn.New(ldapconn.Config{URL: s.URL, StartTLS: !s.o.TLS, Roots: s.Roots, BindDN: BindDN, Password: Password, Timeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// Answer has fn say how a request is answered; nil, or its nil: as it should.
func (s *Server) Answer(fn func(Request) *Rude) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rude = fn
}

// SayPresent has answers to searches for changes say who is there, not who is gone.
func (s *Server) SayPresent() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.present = true
}

// Hide keeps one entry out of walks, as a server does that is being changed while
// it is read; a search for it finds it.
func (s *Server) Hide(dn string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hidden = ldapconn.Normal(dn)
}

// Requests are those that came since the last call of Forget.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.log)
}

// Changes are those Requests that change something.
func (s *Server) Changes() []Request {
	return slices.DeleteFunc(s.Requests(), func(r Request) bool {
		return !slices.Contains([]string{"add", "modify", "rename", "delete"}, r.Op)
	})
}

// Forget empties Requests.
func (s *Server) Forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log = nil
}

// Put makes an entry, or replaces it, as somebody else would; it returns its ID.
func (s *Server) Put(dn string, attrs map[string][]string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.put(dn, attrs).id.String()
}

func (s *Server) put(dn string, attrs map[string][]string) *entry {
	e := s.tree[ldapconn.Normal(dn)]
	if e == nil {
		e = &entry{Entry: Entry{DN: dn}, id: uuid.New()}
		s.tree[ldapconn.Normal(dn)] = e
	}
	e.Attrs = map[string][]string{}
	for name, values := range attrs {
		e.Attrs[strings.ToLower(name)] = slices.Clone(values)
	}
	e.withRDN()
	s.touch(e)
	return e
}

func (s *Server) touch(e *entry) {
	s.csn++
	e.csn = s.csn
}

// withRDN adds the values of its name to an entry.
func (e *entry) withRDN() {
	dn, err := ldap.ParseDN(e.DN)
	if err != nil || len(dn.RDNs) == 0 {
		return
	}
	for _, a := range dn.RDNs[0].Attributes {
		name := strings.ToLower(a.Type)
		if !hasFold(e.Attrs[name], a.Value) {
			e.Attrs[name] = append(e.Attrs[name], a.Value)
		}
	}
}

// GiveID has an entry be the one that had an ID, as it is after a rename.
func (s *Server) GiveID(dn, id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.tree[ldapconn.Normal(dn)]
	e.id = uuid.MustParse(id)
	s.gone = slices.DeleteFunc(s.gone, func(t tomb) bool { return t.id == e.id })
	s.touch(e)
}

// Set changes one attribute of an entry; no values: it goes.
func (s *Server) Set(dn, attr string, values ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.tree[ldapconn.Normal(dn)]
	if e.Attrs[strings.ToLower(attr)] = values; len(values) == 0 {
		delete(e.Attrs, strings.ToLower(attr))
	}
	s.touch(e)
}

// Drop removes an entry.
func (s *Server) Drop(dn string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop(ldapconn.Normal(dn))
}

func (s *Server) drop(key string) {
	s.csn++
	s.gone = append(s.gone, tomb{s.tree[key].id, s.csn})
	delete(s.tree, key)
}

// Entries are those below a base, without it, ordered by name.
func (s *Server) Entries(base string) []Entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []Entry
	for _, key := range slices.Sorted(maps.Keys(s.tree)) {
		if e := s.tree[key]; ldapconn.Below(e.DN, base) && ldapconn.Normal(base) != key {
			out = append(out, e.clone())
		}
	}
	return out
}

// Entry is one by its name; the zero Entry: it is not there.
func (s *Server) Entry(dn string) Entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.tree[ldapconn.Normal(dn)]; e != nil {
		return e.clone()
	}
	return Entry{}
}

// ID of the entry that has a name.
func (s *Server) ID(dn string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tree[ldapconn.Normal(dn)].id.String()
}

func (e *entry) clone() Entry {
	c := Entry{e.DN, map[string][]string{}}
	for name, values := range e.Attrs {
		c.Attrs[name] = slices.Clone(values)
	}
	return c
}

func (s *Server) certificate(t testing.TB) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	until := time.Now().Add(time.Hour)
	if s.o.Untimely {
		until = time.Now().Add(-time.Minute)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "directory"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: until,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, _ := x509.ParseCertificate(der)
	s.Roots = x509.NewCertPool()
	s.Roots.AddCert(cert)
	s.CA = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	s.tls = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, MinVersion: tls.VersionTLS12}
}

func (s *Server) accept() {
	for {
		c, err := s.ln.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		s.all[c] = true
		s.mu.Unlock()
		s.wg.Go(func() {
			s.serve(c)
			s.mu.Lock()
			delete(s.all, c)
			s.mu.Unlock()
		})
	}
}

var ops = map[ber.Tag]string{
	ldap.ApplicationBindRequest: "bind", ldap.ApplicationSearchRequest: "search", ldap.ApplicationAddRequest: "add", ldap.ApplicationModifyRequest: "modify",
	ldap.ApplicationModifyDNRequest: "rename", ldap.ApplicationDelRequest: "delete", ldap.ApplicationExtendedRequest: "extended",
}

// call is one request under way.
type call struct {
	*Server
	id      any
	op      *ber.Packet
	control map[string][]byte
	secure  bool
	replies []*ber.Packet // entries, and what else comes before the result
	attach  []*ber.Packet // controls of the result
}

func (s *Server) serve(conn net.Conn) {
	plain := conn
	defer func() { _ = plain.Close(); _ = conn.Close() }()
	secure, admin := s.o.TLS, false
	for {
		p, err := ber.ReadPacket(conn)
		if err != nil || len(p.Children) < 2 {
			return
		}
		c := &call{Server: s, id: p.Children[0].Value, op: p.Children[1], control: map[string][]byte{}, secure: secure}
		r := Request{Op: ops[c.op.Tag], Raw: p.Bytes(), Secure: secure}
		if len(p.Children) > 2 {
			for _, ctl := range p.Children[2].Children {
				oid := text(ctl.Children[0])
				c.control[oid] = ctl.Children[len(ctl.Children)-1].ByteValue
				r.Controls = append(r.Controls, oid)
			}
		}
		if c.op.Tag == ldap.ApplicationUnbindRequest {
			return
		}
		switch r.Op {
		case "delete":
			r.DN = c.op.Data.String()
		case "bind":
			r.DN = text(c.op.Children[1])
		case "extended":
			r.Op = map[string]string{"1.3.6.1.4.1.1466.20037": "starttls", "1.3.6.1.4.1.4203.1.11.3": "whoami"}[c.op.Children[0].Data.String()]
		case "search", "add", "modify", "rename":
			r.DN = text(c.op.Children[0])
		}
		s.mu.Lock()
		s.log = append(s.log, r)
		var rude *Rude
		if s.rude != nil {
			rude = s.rude(r)
		}
		var code uint16
		var message string
		switch {
		case rude != nil && rude.Instead != "":
			c.replies = append(c.replies, c.envelope(c.entry(c.tree[ldapconn.Normal(rude.Instead)], nil)))
		case rude != nil && !rude.Do:
			code, message = rude.Code, rude.Message
		case r.Op == "bind":
			if code = c.bind(); code == 0 {
				admin = text(c.op.Children[1]) != ""
			}
		case r.Op == "starttls" || r.Op == "whoami":
		case !admin && s.o.AD && r.DN != "":
			code, message = ldap.LDAPResultOperationsError, "000004DC: LdapErr: DSID-0C0909AF, comment: In order to perform this operation a successful bind must be completed"
		case !admin && r.Op != "search":
			code = ldap.LDAPResultInsufficientAccessRights
		default:
			code, message = c.run(r.Op)
		}
		s.mu.Unlock()
		switch {
		case rude != nil && rude.Hang:
			continue
		case rude != nil && rude.Drop:
			return
		case rude != nil && rude.Raw != nil:
			_, _ = conn.Write(rude.Raw)
			continue
		}
		for _, reply := range c.replies {
			if _, err := conn.Write(reply.Bytes()); err != nil {
				return
			}
		}
		if _, err := conn.Write(c.result(c.op.Tag, code, message).Bytes()); err != nil {
			return
		}
		if r.Op == "starttls" && code == 0 {
			t := tls.Server(conn, s.tls)
			if t.Handshake() != nil {
				return
			}
			conn, secure = t, true
		}
	}
}

func (c *call) envelope(op *ber.Packet, controls ...*ber.Packet) *ber.Packet {
	m := sequence(ber.NewInteger(ber.ClassUniversal, ber.TypePrimitive, ber.TagInteger, c.id, ""), op)
	if len(controls) > 0 {
		list := ber.Encode(ber.ClassContext, ber.TypeConstructed, 0, nil, "")
		for _, ctl := range controls {
			list.AppendChild(ctl)
		}
		m.AppendChild(list)
	}
	return m
}

func (c *call) result(tag ber.Tag, code uint16, message string) *ber.Packet {
	answer := map[ber.Tag]ber.Tag{ldap.ApplicationSearchRequest: ldap.ApplicationSearchResultDone, ldap.ApplicationDelRequest: ldap.ApplicationDelResponse}
	t, ok := answer[tag]
	if !ok {
		t = tag + 1
	}
	op := ber.Encode(ber.ClassApplication, ber.TypeConstructed, t, nil, "")
	op.AppendChild(ber.NewInteger(ber.ClassUniversal, ber.TypePrimitive, ber.TagEnumerated, int64(code), ""))
	op.AppendChild(octets(""))
	op.AppendChild(octets(message))
	return c.envelope(op, c.attach...)
}

func (c *call) bind() uint16 {
	dn, password := text(c.op.Children[1]), c.op.Children[2].Data.String()
	if dn == "" && password == "" || ldapconn.Normal(dn) == ldapconn.Normal(BindDN) && password == Password {
		return ldap.LDAPResultSuccess
	}
	return ldap.LDAPResultInvalidCredentials
}

func (c *call) run(op string) (uint16, string) {
	switch op {
	case "search":
		return c.search(), ""
	case "add":
		return c.add()
	case "modify":
		return c.modify()
	case "rename":
		return c.rename(), ""
	case "delete":
		key := ldapconn.Normal(c.op.Data.String())
		switch {
		case c.tree[key] == nil:
			return ldap.LDAPResultNoSuchObject, ""
		case c.hasChildren(key):
			return ldap.LDAPResultNotAllowedOnNonLeaf, ""
		}
		c.drop(key)
		return 0, ""
	}
	return ldap.LDAPResultProtocolError, ""
}

func (s *Server) hasChildren(key string) bool {
	for other := range s.tree {
		if other != key && strings.HasSuffix(other, ","+key) {
			return true
		}
	}
	return false
}

func (c *call) add() (uint16, string) {
	dn := text(c.op.Children[0])
	key := ldapconn.Normal(dn)
	_, parent := ldapconn.Split(dn)
	if _, err := ldap.ParseDN(dn); err != nil {
		return ldap.LDAPResultInvalidDNSyntax, ""
	}
	if c.tree[ldapconn.Normal(parent)] == nil {
		return ldap.LDAPResultNoSuchObject, ""
	}
	if c.tree[key] != nil {
		return ldap.LDAPResultEntryAlreadyExists, "00002071: UpdErr: DSID-030503C8, problem 6005 (ENTRY_EXISTS)"
	}
	e := &entry{Entry: Entry{dn, map[string][]string{}}, id: uuid.New()}
	for _, a := range c.op.Children[1].Children {
		name := strings.ToLower(text(a.Children[0]))
		for _, v := range a.Children[1].Children {
			e.Attrs[name] = append(e.Attrs[name], text(v))
		}
		if len(e.Attrs[name]) == 0 {
			return ldap.LDAPResultInvalidAttributeSyntax, ""
		}
	}
	e.withRDN()
	if code, why := c.valid(e, nil); code != 0 {
		return code, why
	}
	c.tree[key] = e
	c.touch(e)
	return 0, ""
}

// valid is what a schema wants.
func (c *call) valid(e, before *entry) (uint16, string) {
	class := e.Attrs["objectclass"]
	if len(class) == 0 || hasFold(class, "inetOrgPerson") && !c.o.AD && (len(e.Attrs["cn"]) == 0 || len(e.Attrs["sn"]) == 0) {
		return ldap.LDAPResultObjectClassViolation, ""
	}
	if hasFold(class, "groupOfNames") && len(e.Attrs["member"]) == 0 {
		return ldap.LDAPResultObjectClassViolation, "object class 'groupOfNames' requires attribute 'member'"
	}
	if len(e.Attrs["displayname"]) > 1 || len(e.Attrs["employeenumber"]) > 1 {
		return ldap.LDAPResultConstraintViolation, ""
	}
	if c.o.AD {
		return c.validAD(e, before)
	}
	return 0, ""
}

const (
	adDisabled = 2
	adNormal   = 512
)

// validAD is what Active Directory wants of an account (MS-SAMR, MS-ADTS 3.1.1.3.1.5).
func (c *call) validAD(e, before *entry) (uint16, string) {
	if name := e.Attrs["samaccountname"]; len(name) > 0 {
		if len([]rune(name[0])) > 20 && hasFold(e.Attrs["objectclass"], "user") || strings.ContainsAny(name[0], `"/\[]:;|=,+*?<>@`) {
			return ldap.LDAPResultConstraintViolation, "00000523: SysErr: DSID-031A124C, problem 22 (Invalid argument)"
		}
		for _, o := range c.tree {
			if o != e && o != before && hasFold(o.Attrs["samaccountname"], name[0]) {
				return ldap.LDAPResultEntryAlreadyExists, "00000524: UpdErr: DSID-031A11F2, problem 6005 (ENTRY_EXISTS)"
			}
		}
	}
	for _, attr := range []string{"objectguid", "pwdlastset"} {
		if before == nil && len(e.Attrs[attr]) > 0 && attr == "objectguid" {
			return ldap.LDAPResultConstraintViolation, ""
		}
	}
	if pw := e.Attrs["unicodepwd"]; len(pw) > 0 {
		if !c.secure || len(pw[0]) < 4 || len(pw[0])%2 != 0 || !strings.HasPrefix(pw[0], "\"\x00") || !strings.HasSuffix(pw[0], "\"\x00") {
			return ldap.LDAPResultUnwillingToPerform, "0000001F: SvcErr: DSID-031A12D2, problem 5003 (WILL_NOT_PERFORM), data 0"
		}
		delete(e.Attrs, "unicodepwd") // it is never read
		e.Attrs["pwdlastset"] = []string{"133800000000000000"}
	}
	if !hasFold(e.Attrs["objectclass"], "user") {
		return 0, ""
	}
	if len(e.Attrs["pwdlastset"]) == 0 {
		e.Attrs["pwdlastset"] = []string{"0"}
	}
	if len(e.Attrs["useraccountcontrol"]) == 0 {
		e.Attrs["useraccountcontrol"] = []string{"546"}
	}
	flags, err := strconv.Atoi(e.Attrs["useraccountcontrol"][0])
	if err != nil || flags&adDisabled == 0 && flags&32 == 0 && e.Attrs["pwdlastset"][0] == "0" {
		return ldap.LDAPResultUnwillingToPerform, "0000052D: SvcErr: DSID-031A124C, problem 5003 (WILL_NOT_PERFORM), data 0"
	}
	return 0, ""
}

func (c *call) modify() (uint16, string) {
	key := ldapconn.Normal(text(c.op.Children[0]))
	before := c.tree[key]
	if before == nil {
		return ldap.LDAPResultNoSuchObject, ""
	}
	e := &entry{Entry: before.clone(), id: before.id}
	for _, ch := range c.op.Children[1].Children {
		how := ch.Children[0].Value.(int64)
		name := strings.ToLower(text(ch.Children[1].Children[0]))
		var values []string
		for _, v := range ch.Children[1].Children[1].Children {
			values = append(values, text(v))
		}
		if name == strings.ToLower(ldapconn.RFC.IDAttribute()) || name == "objectguid" {
			return ldap.LDAPResultConstraintViolation, ""
		}
		switch how {
		case 0:
			for _, v := range values {
				if c.has(name, e.Attrs[name], v) {
					return ldap.LDAPResultAttributeOrValueExists, ""
				}
				e.Attrs[name] = append(e.Attrs[name], v)
			}
		case 1:
			if len(values) == 0 && len(e.Attrs[name]) == 0 {
				return ldap.LDAPResultNoSuchAttribute, ""
			}
			for _, v := range values {
				i := slices.IndexFunc(e.Attrs[name], func(o string) bool { return c.same(name, o, v) })
				if i < 0 {
					return ldap.LDAPResultNoSuchAttribute, ""
				}
				e.Attrs[name] = slices.Delete(e.Attrs[name], i, i+1)
			}
			if len(values) == 0 {
				e.Attrs[name] = nil
			}
		case 2:
			e.Attrs[name] = values
		}
		if len(e.Attrs[name]) == 0 {
			delete(e.Attrs, name)
		}
	}
	dn, _ := ldap.ParseDN(e.DN)
	for _, a := range dn.RDNs[0].Attributes {
		if !hasFold(e.Attrs[strings.ToLower(a.Type)], a.Value) {
			return ldap.LDAPResultNotAllowedOnRDN, ""
		}
	}
	if code, why := c.valid(e, before); code != 0 {
		return code, why
	}
	c.tree[key] = e
	c.touch(e)
	return 0, ""
}

func (c *call) rename() uint16 {
	key := ldapconn.Normal(text(c.op.Children[0]))
	before := c.tree[key]
	if before == nil {
		return ldap.LDAPResultNoSuchObject
	}
	_, parent := ldapconn.Split(before.DN)
	if len(c.op.Children) > 3 {
		parent = c.op.Children[3].Data.String()
	}
	if c.tree[ldapconn.Normal(parent)] == nil {
		return ldap.LDAPResultNoSuchObject
	}
	to := text(c.op.Children[1]) + "," + parent
	if _, err := ldap.ParseDN(to); err != nil {
		return ldap.LDAPResultInvalidDNSyntax
	}
	if other := c.tree[ldapconn.Normal(to)]; other != nil && other != before {
		return ldap.LDAPResultEntryAlreadyExists
	}
	if c.hasChildren(key) {
		return ldap.LDAPResultNotAllowedOnNonLeaf
	}
	e := &entry{Entry: before.clone(), id: before.id}
	if c.op.Children[2].Value.(bool) {
		old, _ := ldap.ParseDN(before.DN)
		for _, a := range old.RDNs[0].Attributes {
			name := strings.ToLower(a.Type)
			e.Attrs[name] = slices.DeleteFunc(e.Attrs[name], func(v string) bool { return c.same(name, v, a.Value) })
		}
	}
	e.DN = to
	e.withRDN()
	delete(c.tree, key)
	c.tree[ldapconn.Normal(to)] = e
	c.touch(e)
	return 0
}

func (s *Server) has(name string, values []string, v string) bool {
	return slices.ContainsFunc(values, func(o string) bool { return s.same(name, o, v) })
}

// same compares as the attribute's matching rule does.
func (s *Server) same(name, a, b string) bool {
	if name == "member" {
		return s.norm(a) == s.norm(b)
	}
	return fold(a, b)
}

func (s *Server) norm(dn string) string {
	n, ok := s.normal[dn]
	if !ok {
		n = ldapconn.Normal(dn)
		s.normal[dn] = n
	}
	return n
}

func hasFold(values []string, v string) bool {
	return slices.ContainsFunc(values, func(o string) bool { return fold(o, v) })
}

// fold compares as caseIgnoreMatch does (RFC 4517, 4.2.11).
func fold(a, b string) bool {
	return strings.EqualFold(strings.Join(strings.Fields(a), " "), strings.Join(strings.Fields(b), " "))
}

func text(p *ber.Packet) string {
	if s, ok := p.Value.(string); ok {
		return s
	}
	return p.Data.String()
}

func octets(s string) *ber.Packet {
	return ber.NewString(ber.ClassUniversal, ber.TypePrimitive, ber.TagOctetString, s, "")
}

func sequence(children ...*ber.Packet) *ber.Packet {
	p := ber.Encode(ber.ClassUniversal, ber.TypeConstructed, ber.TagSequence, nil, "")
	for _, c := range children {
		p.AppendChild(c)
	}
	return p
}
