package ldapconn_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-ldap/ldap/v3"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/gatehouse-sso/gatehouse/provisioning/connector"
	"github.com/gatehouse-sso/gatehouse/provisioning/ldapconn"
	"github.com/gatehouse-sso/gatehouse/provisioning/ldapconn/ldaptest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// checkDN fails if a value in a name is more or less than a value.
func checkDN(t interface{ Fatalf(string, ...any) }, s string) {
	dn := ldapconn.RDN("cn", s) + ",ou=people,dc=x"
	p, err := ldap.ParseDN(dn)
	if err != nil {
		t.Fatalf("%q makes %q, which is no name: %v", s, dn, err)
	}
	if len(p.RDNs) != 3 || len(p.RDNs[0].Attributes) != 1 || p.RDNs[0].Attributes[0].Type != "cn" || p.RDNs[0].Attributes[0].Value != s {
		t.Fatalf("%q makes %q, which is %+v", s, dn, p)
	}
	if rdn, parent := ldapconn.Split(dn); rdn != ldapconn.RDN("cn", s) || parent != "ou=people,dc=x" {
		t.Fatalf("%q comes apart as %q and %q", dn, rdn, parent)
	}
	if !ldapconn.Below(dn, "OU=People, DC=X") || ldapconn.Below(ldapconn.RDN("cn", s+",ou=people,dc=x"), "ou=people,dc=x") {
		t.Fatalf("%q is in the wrong place", dn)
	}
}

// checkFilter fails if a value in a filter is more or less than a value.
func checkFilter(t interface{ Fatalf(string, ...any) }, s string) {
	filter := ldapconn.And(ldapconn.Equal("uid", s), "(objectClass=person)")
	p, err := ldap.CompileFilter(filter)
	if err != nil {
		t.Fatalf("%q makes %q, which is no filter: %v", s, filter, err)
	}
	if p.Tag != ldap.FilterAnd || len(p.Children) != 2 || p.Children[0].Tag != ldap.FilterEqualityMatch {
		t.Fatalf("%q makes %q, which has another structure", s, filter)
	}
	if got := p.Children[0].Children[1].Data.String(); got != s {
		t.Fatalf("%q makes %q, which looks for %q", s, filter, got)
	}
}

var hostile = []string{
	"", " ", "  ", " a ", "#", "#0401", `\`, `\2a`, "*", "*)(uid=*", "a,b+c=d;e<f>g\"h", "a\x00b", "a\nb", "=", ")", "(", "|", "é", "Cafe\u0301", "👩‍💻", "\xff\xfe", "a\\", `a\,b`, "\u202e", "a/b", " \\20",
}

func TestNoValueChangesTheStructureOfAName(t *testing.T) {
	t.Parallel()
	for _, s := range hostile {
		if s != "" {
			checkDN(t, s)
		}
	}
	rapid.Check(t, func(t *rapid.T) { checkDN(t, rapid.StringN(1, 40, -1).Draw(t, "value")) })
	rapid.Check(t, func(t *rapid.T) {
		checkDN(t, string(rapid.SliceOfN(rapid.SampledFrom([]byte(`,+="\<>;# *()|&!=a0`+"\x00\xff\xc3\xa9\n")), 1, 20).Draw(t, "value")))
	})
}

func TestNoValueChangesTheStructureOfAFilter(t *testing.T) {
	t.Parallel()
	for _, s := range hostile {
		checkFilter(t, s)
	}
	rapid.Check(t, func(t *rapid.T) { checkFilter(t, rapid.String().Draw(t, "value")) })
	rapid.Check(t, func(t *rapid.T) {
		checkFilter(t, string(rapid.SliceOfN(rapid.SampledFrom([]byte(`,+="\<>;# *()|&!=a0`+"\x00\xff\xc3\xa9\n")), 0, 20).Draw(t, "value")))
	})
}

func FuzzEscape(f *testing.F) {
	for _, s := range hostile {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if s != "" {
			checkDN(t, s)
		}
		checkFilter(t, s)
	})
}

func TestNormalNamesAreEqualWhereNamesAre(t *testing.T) {
	t.Parallel()
	for _, same := range [][]string{
		{"cn=Ana  Kim,dc=x", "CN=ana kim, DC=X", `cn=ana\20kim,dc=x`},
		{"cn=a+uid=b,dc=x", "UID=b + CN=a,dc=x"},
		{`cn=a\,b,dc=x`, `cn=a\2cb,dc=x`},
	} {
		for _, s := range same[1:] {
			if a, b := ldapconn.Normal(same[0]), ldapconn.Normal(s); a != b {
				t.Errorf("%q is %q and %q is %q", same[0], a, s, b)
			}
		}
	}
	if ldapconn.Normal(`cn=a\,b,dc=x`) == ldapconn.Normal("cn=a,b=b,dc=x") {
		t.Error("two names are taken for one")
	}
}

func TestIDsAreReadAndLookedForInBothDialects(t *testing.T) {
	t.Parallel()
	const id = "12345678-9abc-def0-1122-334455667788"
	ad := "\x78\x56\x34\x12\xbc\x9a\xf0\xde\x11\x22\x33\x44\x55\x66\x77\x88" // MS-DTYP, 2.3.4.1
	for d, raw := range map[ldapconn.Dialect]string{ldapconn.RFC: id, ldapconn.ActiveDirectory: ad} {
		e := ldap.NewEntry("cn=x", map[string][]string{d.IDAttribute(): {raw}})
		if got := ldapconn.ID(e, d); got != id {
			t.Errorf("%s %q is read as %q", d.IDAttribute(), raw, got)
		}
		filter, ok := d.ByID(id)
		p, err := ldap.CompileFilter(filter)
		if !ok || err != nil || p.Children[1].Data.String() != raw {
			t.Errorf("it is looked for by %q", filter)
		}
		for _, bad := range []string{"", "*", id[1:], strings.ToUpper(id), "{" + id + "}", "urn:uuid:" + id} {
			if _, ok := d.ByID(bad); ok {
				t.Errorf("%q is taken for an ID", bad)
			}
		}
		if got := ldapconn.ID(ldap.NewEntry("cn=x", map[string][]string{d.IDAttribute(): {"short"}}), d); got != "" {
			t.Errorf("nonsense is read as %q", got)
		}
	}
}

func pool(t *testing.T, c ldapconn.Config) *ldapconn.Pool {
	t.Helper()
	p, err := ldapconn.New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

func look(ctx context.Context, p *ldapconn.Pool) error {
	return p.Do(ctx, func(c *ldapconn.Conn) error { _, err := c.Root(); return err })
}

func TestB11_CertificateOfADirectoryIsVerified(t *testing.T) {
	t.Parallel()
	for _, overTLS := range []bool{true, false} {
		s, late := ldaptest.Start(t, ldaptest.Options{TLS: overTLS}), ldaptest.Start(t, ldaptest.Options{TLS: overTLS, Untimely: true})
		other := ldaptest.Start(t, ldaptest.Options{TLS: overTLS})
		named := *s.URL
		named.Host = net.JoinHostPort("localhost", s.URL.Port())
		good := ldapconn.Config{URL: s.URL, StartTLS: !overTLS, Roots: s.Roots, BindDN: ldaptest.BindDN, Password: ldaptest.Password}
		if err := look(t.Context(), pool(t, good)); err != nil {
			t.Errorf("with its own authority: %v", err)
		}
		s.Forget()
		for name, change := range map[string]func(*ldapconn.Config){
			"those of the system": func(c *ldapconn.Config) { c.Roots = nil },
			"another authority":   func(c *ldapconn.Config) { c.Roots = other.Roots },
			"another name":        func(c *ldapconn.Config) { c.URL = &named },
			"it is over":          func(c *ldapconn.Config) { c.URL, c.Roots = late.URL, late.Roots },
		} {
			c := good
			change(&c)
			if err := look(t.Context(), pool(t, c)); connector.ClassOf(err) != connector.Route || err == nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		for _, r := range append(s.Requests(), late.Requests()...) {
			if r.Op == "bind" {
				t.Error("the password was sent all the same")
			}
		}
	}
}

func TestPasswordDoesNotGoInTheClear(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		"ldap://dir.example": false, "ldap://10.0.0.1:389": false, "ldap://localhost.example": false, "ldap://[::ffff:10.0.0.1]": false, "ldap://0.0.0.0": false,
		"ldaps://dir.example": true, "ldap://127.0.0.1": true, "ldap://[::1]:389": true, "ldap://localhost": true, "ldap://dir.localhost:3389": true,
	} {
		u, _ := url.Parse(text)
		if _, err := ldapconn.New(ldapconn.Config{URL: u, BindDN: "cn=x", Password: "y"}); (err == nil) != want {
			t.Errorf("%s: %v", text, err)
		}
		if u.Scheme == "ldap" {
			for _, c := range []ldapconn.Config{{StartTLS: true}, {InsecurePlain: true}} {
				c.URL, c.BindDN, c.Password = u, "cn=x", "y"
				if _, err := ldapconn.New(c); err != nil {
					t.Errorf("%s: %v", text, err)
				}
			}
		}
	}
	// A server that refuses StartTLS is not spoken to in the clear.
	s := ldaptest.Start(t, ldaptest.Options{})
	s.Answer(func(r ldaptest.Request) *ldaptest.Rude {
		if r.Op == "starttls" {
			return &ldaptest.Rude{Code: ldap.LDAPResultProtocolError}
		}
		return nil
	})
	if err := look(t.Context(), s.Pool(t)); connector.ClassOf(err) != connector.Route || err == nil {
		t.Errorf("got %v", err)
	}
	for _, r := range s.Requests() {
		if r.Op != "starttls" {
			t.Errorf("%s was sent", r.Op)
		}
	}
}

func TestBadConfigurationIsRefused(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "http://x", "ldap://", "ldap://x/dc=y", "ldap://u:p@x", "ldap://x?y"} {
		u, _ := url.Parse(text)
		if _, err := ldapconn.New(ldapconn.Config{URL: u}); err == nil {
			t.Errorf("%q was taken", text)
		}
	}
	u := &url.URL{Scheme: "ldaps", Host: "x"}
	for _, c := range []ldapconn.Config{{URL: nil}, {URL: u, StartTLS: true}, {URL: u, BindDN: "cn=x"}} {
		if _, err := ldapconn.New(c); err == nil {
			t.Errorf("%+v was taken", c)
		}
	}
}

func TestB07_HostileAnswersOfADirectoryAreBounded(t *testing.T) {
	t.Parallel()
	deep := []byte{0x04, 0x00}
	for range 200 {
		deep = append([]byte{0x30, 0x82, byte(len(deep) >> 8), byte(len(deep))}, deep...)
	}
	for name, raw := range map[string][]byte{
		"a length of 2 GiB":          {0x30, 0x84, 0x7f, 0xff, 0xff, 0xff, 0x02, 0x01},
		"a length of 2 GiB inside":   {0x30, 0x0a, 0x02, 0x01, 0x02, 0x04, 0x84, 0x7f, 0xff, 0xff, 0xff, 0x00},
		"no end":                     {0x30, 0x80, 0x02, 0x01},
		"a length of nine bytes":     {0x30, 0x89, 1, 1, 1, 1, 1, 1, 1, 1, 1},
		"another tag":                []byte("HTTP/1.1 400 Bad Request\r\n\r\n"),
		"a tag of several bytes":     {0x30, 0x04, 0x1f, 0x81, 0x01, 0x00},
		"elements within elements":   deep,
		"an inner longer than outer": {0x30, 0x05, 0x02, 0x01, 0x02, 0x61, 0x7f},
	} {
		s := ldaptest.Start(t, ldaptest.Options{})
		p := s.Pool(t)
		if err := look(t.Context(), p); err != nil {
			t.Fatal(err)
		}
		s.Answer(func(ldaptest.Request) *ldaptest.Rude { return &ldaptest.Rude{Raw: raw} })
		ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
		err := look(ctx, p)
		cancel()
		if connector.ClassOf(err) != connector.Transient || err == nil || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v", name, err)
		}
		s.Answer(nil)
		if err := look(t.Context(), p); err != nil {
			t.Errorf("after %s: %v", name, err)
		}
	}
}

func TestServerThatNeverAnswersIsLeft(t *testing.T) {
	t.Parallel()
	s := ldaptest.Start(t, ldaptest.Options{})
	p := s.Pool(t)
	ctx, cancel := context.WithCancel(t.Context())
	s.Answer(func(r ldaptest.Request) *ldaptest.Rude {
		if r.Op != "search" {
			return nil
		}
		cancel()
		return &ldaptest.Rude{Hang: true}
	})
	var ce *connector.Error
	if err := look(ctx, p); !errors.As(err, &ce) || ce.Class != connector.Transient || ce.Ambiguous {
		t.Errorf("got %v", err)
	}
	s.Answer(nil)
	if err := look(t.Context(), p); err != nil {
		t.Error(err)
	}
}

func TestManyAtOnceShareConnections(t *testing.T) {
	t.Parallel()
	s := ldaptest.Start(t, ldaptest.Options{})
	p := s.Pool(t)
	done := make(chan error)
	for range 50 {
		go func() { done <- look(t.Context(), p) }()
	}
	for range 50 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	binds := 0
	for _, r := range s.Requests() {
		if r.Op == "bind" {
			binds++
		}
	}
	if binds < 1 || binds > 8 {
		t.Errorf("%d connections were opened, want at most 8", binds)
	}
}

// sync asks what changed below ou=people.
func sync(t *testing.T, p *ldapconn.Pool, cookie []byte) (ch ldapconn.Changes, err error) {
	t.Helper()
	err = p.Do(t.Context(), func(c *ldapconn.Conn) (err error) {
		ch, err = c.Sync(t.Context(), ldapconn.Query{Base: ldaptest.People, Filter: "(uid=*)"}, cookie)
		return err
	})
	return ch, err
}

func put(s *ldaptest.Server, n int) string {
	return s.Put(fmt.Sprintf("uid=p%d,%s", n, ldaptest.People), map[string][]string{"objectClass": {"inetOrgPerson"}, "cn": {"x"}, "sn": {"x"}})
}

func TestChangesAreToldBySyncrepl(t *testing.T) {
	t.Parallel()
	for _, present := range []bool{false, true} {
		s := ldaptest.Start(t, ldaptest.Options{})
		p := s.Pool(t)
		if present {
			s.SayPresent()
		}
		a, b := put(s, 1), put(s, 2)
		ch, err := sync(t, p, nil)
		if err != nil || len(ch.Changed) != 2 || ch.Present != nil || len(ch.Cookie) == 0 {
			t.Fatalf("%+v, %v", ch, err)
		}
		c := put(s, 3)
		s.Drop("uid=p2," + ldaptest.People)
		next, err := sync(t, p, ch.Cookie)
		if err != nil || len(next.Changed) != 1 || next.Changed[0] != c {
			t.Fatalf("%+v, %v", next, err)
		}
		if present && (!next.Present[a] || next.Present[b] || len(next.Deleted) > 0) || !present && (next.Present != nil || len(next.Deleted) != 1 || next.Deleted[0] != b) {
			t.Errorf("present %v: %+v", present, next)
		}
		if again, err := sync(t, p, next.Cookie); err != nil || len(again.Changed)+len(again.Deleted) > 0 || bytes.Equal(next.Cookie, ch.Cookie) {
			t.Errorf("%+v, %v", again, err)
		}
		if _, err := sync(t, p, []byte("of another server")); !errors.Is(err, ldapconn.ErrStale) {
			t.Errorf("with a cookie of nobody: %v", err)
		}
		s.Answer(func(r ldaptest.Request) *ldaptest.Rude {
			if r.Op == "search" {
				return &ldaptest.Rude{Drop: true}
			}
			return nil
		})
		if _, err := sync(t, p, next.Cookie); connector.ClassOf(err) != connector.Transient || err == nil {
			t.Errorf("broken off: %v", err)
		}
	}
}

func TestChangesAreToldByDirSync(t *testing.T) {
	t.Parallel()
	s := ldaptest.Start(t, ldaptest.Options{AD: true})
	p := s.Pool(t)
	ask := func(cookie []byte) (ch ldapconn.Changes) {
		err := p.Do(t.Context(), func(c *ldapconn.Conn) (err error) {
			ch, err = c.DirSync(ldapconn.Query{Base: ldaptest.Suffix, Filter: "(uid=*)"}, cookie)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return ch
	}
	var ids []string
	for n := range 5 {
		ids = append(ids, put(s, n))
	}
	ch := ask(nil)
	if len(ch.Changed) != 5 {
		t.Fatalf("%+v", ch)
	}
	s.Drop("uid=p0," + ldaptest.People)
	s.Set("uid=p1,"+ldaptest.People, "title", "Dr")
	if next := ask(ch.Cookie); len(next.Changed) != 1 || next.Changed[0] != ids[1] || len(next.Deleted) != 1 || next.Deleted[0] != ids[0] {
		t.Errorf("%+v", next)
	}
}

func FuzzMessage(f *testing.F) {
	f.Add([]byte{0x30, 0x0c, 0x02, 0x01, 0x01, 0x61, 0x07, 0x0a, 0x01, 0x00, 0x04, 0x00, 0x04, 0x00})
	f.Add([]byte{0x30, 0x84, 0x7f, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, raw []byte) {
		m, err := ldapconn.Message(bytes.NewReader(raw))
		if err == nil && (!bytes.HasPrefix(raw, m) || len(m) < 2) {
			t.Errorf("%x was read of %x", m, raw)
		}
	})
}
