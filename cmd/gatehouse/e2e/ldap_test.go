//go:build e2e

package e2e

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatehouse-sso/gatehouse/cmd/gatehouse/porttest"
	"github.com/gatehouse-sso/gatehouse/provisioning/connector"
	"github.com/gatehouse-sso/gatehouse/provisioning/connector/connectortest"
	"github.com/gatehouse-sso/gatehouse/provisioning/connector/ldap"
	"github.com/gatehouse-sso/gatehouse/provisioning/ldapconn"
)

// A slapd is OpenLDAP on loopback. What it holds is read and planted with
// OpenLDAP's own tools.
type slapd struct {
	t    testing.TB
	port int
	ca   string // PEM file
	pool *x509.CertPool
	n    atomic.Int32
}

const (
	suffix    = "dc=example,dc=org"
	adminDN   = "cn=admin," + suffix
	adminPass = "admin"
)

// newSlapd starts one that remembers so many deletions for those who ask what changed.
func newSlapd(t testing.TB, sessionlog int) *slapd {
	t.Helper()
	dir := t.TempDir()
	s := &slapd{t: t, port: porttest.Free(t, 1)}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "slapd"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	crt := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	s.pool = x509.NewCertPool()
	s.pool.AppendCertsFromPEM(crt)
	s.ca = write(t, dir, "server.crt", string(crt))
	write(t, dir, "server.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw})))
	if err := os.Mkdir(filepath.Join(dir, "db"), 0o700); err != nil {
		t.Fatal(err)
	}
	read := func(name string) string {
		b, err := fs.ReadFile(peerFiles, "peers/slapd/"+name)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	conf := write(t, dir, "slapd.conf", strings.NewReplacer("@DIR@", dir, "@SESSIONLOG@", fmt.Sprint(sessionlog)).Replace(read("slapd.conf")))
	base := write(t, dir, "base.ldif", read("base.ldif"))
	if out, err := exec.Command("/usr/sbin/slapadd", "-f", conf, "-l", base).CombinedOutput(); err != nil {
		t.Fatalf("slapadd: %v\n%s", err, out)
	}
	start(t, "slapd starting", exec.Command("/usr/sbin/slapd", "-f", conf, "-h", fmt.Sprintf("ldap://127.0.0.1:%d/", s.port), "-d", "256"))
	return s
}

func (s *slapd) url() *url.URL {
	return &url.URL{Scheme: "ldap", Host: fmt.Sprintf("127.0.0.1:%d", s.port)}
}

// tool runs ldapadd, ldapmodify or ldapsearch.
func (s *slapd) tool(in, name string, argv ...string) string {
	s.t.Helper()
	cmd := exec.Command(name, append([]string{"-x", "-H", s.url().String(), "-D", adminDN, "-w", adminPass}, argv...)...)
	cmd.Stdin = strings.NewReader(in)
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		s.t.Fatalf("%s %v: %v\n%s\n%s", name, argv, err, said.String(), in)
	}
	return string(out)
}

// ldif writes an attribute; base64 takes every value.
func ldif(name string, values ...string) (out string) {
	for _, v := range values {
		out += name + ":: " + base64.StdEncoding.EncodeToString([]byte(v)) + "\n"
	}
	return out
}

func (s *slapd) add(dn string, attrs ...string) {
	s.t.Helper()
	s.tool(ldif("dn", dn)+strings.Join(attrs, ""), "ldapadd")
}

// modify changes an entry: "replace: mail\nmail: x".
func (s *slapd) modify(dn, change string) {
	s.t.Helper()
	s.tool(ldif("dn", dn)+"changetype: modify\n"+change+"\n", "ldapmodify")
}

// An entry as ldapsearch shows it; names are in lower case.
type entry map[string][]string

func (e entry) first(name string) string { return append(e[name], "")[0] }

// search lists what is directly below a base, with operational attributes.
func (s *slapd) search(base string) (all []entry) {
	s.t.Helper()
	out := s.tool("", "ldapsearch", "-LLL", "-o", "ldif-wrap=no", "-b", base, "-s", "one", "(objectClass=*)", "*", "+")
	for _, block := range strings.Split(out, "\n\n") {
		e := entry{}
		for _, line := range strings.Split(block, "\n") {
			name, v, ok := strings.Cut(line, ": ")
			if !ok {
				continue
			}
			if enc, is := strings.CutSuffix(name, ":"); is {
				raw, err := base64.StdEncoding.DecodeString(v)
				if err != nil {
					s.t.Fatal(err)
				}
				name, v = enc, string(raw)
			}
			e[strings.ToLower(name)] = append(e[strings.ToLower(name)], v)
		}
		if len(e) > 0 {
			all = append(all, e)
		}
	}
	return all
}

// place makes a tree of its own for a test.
func (s *slapd) place() (people, gone, groups string) {
	base := fmt.Sprintf("ou=t%d,%s", s.n.Add(1), suffix)
	for _, dn := range []string{base, "ou=people," + base, "ou=gone," + base, "ou=groups," + base} {
		s.add(dn, "objectClass: organizationalUnit\n")
	}
	return "ou=people," + base, "ou=gone," + base, "ou=groups," + base
}

func TestPeerSlapdKeepsTheLawsOfConnectors(t *testing.T) {
	t.Parallel()
	s := newSlapd(t, 100)
	for name, how := range map[string]struct {
		disable func(gone string) ldap.Disable
		off     func(e entry) bool
	}{
		"by the password policy": {
			func(string) ldap.Disable {
				return ldap.Disable{Attribute: "pwdAccountLockedTime", Off: "000001010000Z"}
			},
			func(e entry) bool { return e.first("pwdaccountlockedtime") == "000001010000Z" },
		},
		"by another place": {
			func(gone string) ldap.Disable { return ldap.Disable{MoveTo: gone} },
			func(e entry) bool { return strings.Contains(e.first("dn"), ",ou=gone,") },
		},
	} {
		t.Run(name, func(t *testing.T) {
			connectortest.Test(t, func(t *testing.T) connectortest.Harness { return s.harness(t, how.disable, how.off) })
		})
	}
}

func (s *slapd) harness(t *testing.T, disable func(gone string) ldap.Disable, off func(entry) bool) connectortest.Harness {
	people, gone, groups := s.place()
	pool, err := ldapconn.New(ldapconn.Config{URL: s.url(), StartTLS: true, Roots: s.pool, BindDN: adminDN, Password: adminPass})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	d := disable(gone)
	c, err := ldap.New(ldap.Config{Pool: pool, Base: people, Disable: d, Groups: ldap.GroupConfig{Base: groups}})
	if err != nil {
		t.Fatal(err)
	}
	list := func() []entry { return append(s.search(people), s.search(gone)...) }
	return connectortest.Harness{
		Connector: c, Mail: "mail", Title: "title",
		Held: func() (all []connector.Account) {
			for _, e := range list() {
				all = append(all, connector.Account{
					ID: e.first("entryuuid"), UserName: e.first("uid"), ExternalID: e.first("employeenumber"), Active: !off(e),
					Attributes: map[string][]string{"mail": e["mail"], "title": e["title"]},
				})
			}
			return all
		},
		Plant: func(a connector.Account) string {
			dn := ldapconn.RDN("uid", a.UserName) + "," + people
			if !a.Active && d.MoveTo != "" {
				dn = ldapconn.RDN("uid", a.UserName) + "," + d.MoveTo
			}
			attrs := []string{"objectClass: inetOrgPerson\n", ldif("uid", a.UserName), ldif("cn", a.UserName), ldif("sn", "x"), ldif("mail", a.Attributes["mail"]...), ldif("title", a.Attributes["title"]...)}
			if a.ExternalID != "" {
				attrs = append(attrs, ldif("employeeNumber", a.ExternalID))
			}
			if !a.Active && d.Attribute != "" {
				attrs = append(attrs, ldif(d.Attribute, d.Off))
			}
			s.add(dn, attrs...)
			for _, e := range list() {
				if e.first("uid") == a.UserName {
					return e.first("entryuuid")
				}
			}
			t.Fatalf("%s was not planted", a.UserName)
			return ""
		},
		HeldGroups: func() map[connector.Group][]string {
			ids := map[string]string{}
			for _, e := range list() {
				ids[ldapconn.Normal(e.first("dn"))] = e.first("entryuuid")
			}
			out := map[connector.Group][]string{}
			for _, e := range s.search(groups) {
				g := connector.Group{ID: e.first("entryuuid"), Name: e.first("cn"), ExternalID: e.first("description")}
				out[g] = []string{}
				for _, dn := range e["member"] {
					if dn != groups {
						out[g] = append(out[g], ids[ldapconn.Normal(dn)])
					}
				}
			}
			return out
		},
		PlantGroup: func(g connector.Group) string {
			attrs := []string{"objectClass: groupOfNames\n", ldif("cn", g.Name), ldif("member", groups)}
			if g.ExternalID != "" {
				attrs = append(attrs, ldif("description", g.ExternalID))
			}
			s.add(ldapconn.RDN("cn", g.Name)+","+groups, attrs...)
			for _, e := range s.search(groups) {
				if e.first("cn") == g.Name {
					return e.first("entryuuid")
				}
			}
			t.Fatalf("the group %s was not planted", g.Name)
			return ""
		},
	}
}

// reading is what the verb says of one.
type reading struct {
	Whole                                                     bool
	Read, Created, Changed, Unchanged, Disabled, Joined, Left int
	Unsound                                                   string
}

func (g *gate) read(t testing.TB, argv ...string) reading {
	t.Helper()
	var v struct{ State struct{ Last reading } }
	out := g.verb(t, append([]string{"sources", "run", "campus", "--json"}, argv...)...)
	if err := json.Unmarshal([]byte(out), &v); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return v.State.Last
}

// users are the names of users, with a - before those who are disabled.
func (g *gate) users(t testing.TB) (names []string) {
	t.Helper()
	var list []struct {
		UserName string `json:"user_name"`
		Active   bool
	}
	out := g.verb(t, "users", "list", "--json", "--limit", "2000")
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, u := range list {
		if !u.Active {
			u.UserName = "-" + u.UserName
		}
		names = append(names, u.UserName)
	}
	slices.Sort(names)
	return names
}

// A user store is filled from slapd, follows what changes by syncrepl, with and
// without its session log, and is not emptied by it at once.
func TestPeerSlapdFillsAUserStoreAndIsFollowed(t *testing.T) {
	t.Parallel()
	for name, sessionlog := range map[string]int{"it remembers deletions": 1000, "it says who is left": 0} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSlapd(t, sessionlog)
			people, _, groups := s.place()
			dn := func(n int) string { return fmt.Sprintf("uid=p%04d,%s", n, people) }
			const many = 700 // more than slapd's sizelimit
			var all strings.Builder
			for i := range many {
				fmt.Fprintf(&all, "dn: %s\nobjectClass: inetOrgPerson\nuid: p%04d\ncn: Person %d\nsn: %d\nmail: p%d@x.test\n\n", dn(i), i, i, i, i)
			}
			s.tool(all.String(), "ldapadd")
			s.add("cn=staff,"+groups, "objectClass: groupOfNames\ncn: staff\n", ldif("member", dn(1), dn(2)))
			secret := write(t, t.TempDir(), "password", "read")
			g := serveIn(t, t.TempDir(), porttest.Free(t, 2), fmt.Sprintf(`sources:
  - id: campus
    ldap:
      server: { url: "%s", start_tls: true, ca: "%s", bind: "cn=reader,%s", password: { file: "%s" } }
      base: "%s"
      attributes: { mail: mail, display_name: cn }
      groups: { base: "%s" }
      every: 1h
%s`, s.url(), s.ca, suffix, secret, people, groups, wikiService(t, "localhost")))
			g.read(t) // the first reading may have begun by itself
			if n := len(g.users(t)); n != many {
				t.Fatalf("there are %d users", n)
			}
			if out := g.verb(t, "sources", "test", "campus", "p0001"); !strings.Contains(out, "from cn") || !strings.Contains(out, "changes are told by syncrepl") || strings.Contains(out, "FAILS") {
				t.Errorf("the test says:\n%s", out)
			}
			if out := g.verb(t, "users", "show", "p0001"); !strings.Contains(out, "said by feed:campus") || !strings.Contains(out, "staff") {
				t.Errorf("the user is:\n%s", out)
			}
			if r := g.read(t); r.Whole || r.Created+r.Changed+r.Disabled+r.Joined+r.Left > 0 {
				t.Errorf("nothing changed: %+v", r)
			}

			s.modify(dn(5), "replace: mail\nmail: other@x.test")
			s.tool(dn(6)+"\n", "ldapdelete")
			s.tool(fmt.Sprintf("dn: %s\nobjectClass: inetOrgPerson\nuid: new\ncn: New\nsn: New\n\n", "uid=new,"+people), "ldapadd")
			s.tool(fmt.Sprintf("dn: %s\nchangetype: modrdn\nnewrdn: uid=renamed\ndeleteoldrdn: 1\n\n", dn(7)), "ldapmodify")
			s.modify("cn=staff,"+groups, "delete: member\nmember: "+dn(2))
			r := g.read(t)
			if r.Whole || r.Created != 1 || r.Changed != 2 || r.Disabled != 1 || r.Left != 1 {
				t.Errorf("five things changed: %+v", r)
			}
			users := g.users(t)
			for _, want := range []string{"new", "-p0006", "renamed", "p0005"} {
				if !slices.Contains(users, want) {
					t.Errorf("%s is not among the users", want)
				}
			}
			if r := g.read(t, "--full"); !r.Whole || r.Created+r.Changed+r.Disabled > 0 {
				t.Errorf("reading everything found more: %+v", r)
			}

			// Emptied, it takes nobody away.
			var gone strings.Builder
			for _, e := range s.search(people) {
				gone.WriteString(e.first("dn") + "\n")
			}
			s.tool(gone.String(), "ldapdelete")
			if r := g.read(t, "--full"); r.Unsound == "" || r.Disabled > 0 {
				t.Errorf("it is empty: %+v", r)
			}
			if now := g.users(t); !slices.Equal(now, users) {
				t.Errorf("%d users became %d", len(users), len(now))
			}
			g.read(t)
			if now := g.users(t); !slices.Equal(now, users) {
				t.Error("what changed took away whom everything did not")
			}
		})
	}
}
