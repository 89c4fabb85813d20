package ldap_test

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode/utf16"

	ber "github.com/go-asn1-ber/asn1-ber"
	goldap "github.com/go-ldap/ldap/v3"
	"go.uber.org/goleak"

	"github.com/gatehouse-sso/gatehouse/provisioning/connector"
	"github.com/gatehouse-sso/gatehouse/provisioning/connector/connectortest"
	"github.com/gatehouse-sso/gatehouse/provisioning/connector/ldap"
	"github.com/gatehouse-sso/gatehouse/provisioning/ldapconn"
	"github.com/gatehouse-sso/gatehouse/provisioning/ldapconn/ldaptest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// lab is a connector with its directory.
type lab struct {
	*ldaptest.Server
	*ldap.Connector
}

func open(t *testing.T, o ldaptest.Options, change func(*ldap.Config)) lab {
	t.Helper()
	s := ldaptest.Start(t, o)
	c := ldap.Config{Pool: s.Pool(t), Base: ldaptest.People, Groups: ldap.GroupConfig{Base: ldaptest.Groups}}
	if o.AD {
		c.Dialect = ldapconn.ActiveDirectory
	} else {
		c.Disable = ldap.Disable{Attribute: "employeeType", Off: "disabled"}
	}
	if change != nil {
		change(&c)
	}
	k, err := ldap.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return lab{s, k}
}

func first(values []string) string { return append(values, "")[0] }

func (l lab) harness(t *testing.T, read func(ldaptest.Entry) connector.Account, plant func(connector.Account) (dn string, attrs map[string][]string)) connectortest.Harness {
	return connectortest.Harness{
		Connector: l.Connector, Mail: "mail", Title: "title",
		Held: func() (all []connector.Account) {
			for _, e := range l.Entries(ldaptest.Suffix) {
				if slices.Contains(e.Attrs["objectclass"], "inetOrgPerson") || slices.Contains(e.Attrs["objectclass"], "user") {
					a := read(e)
					a.ID, a.ExternalID = l.ID(e.DN), first(e.Attrs["employeenumber"])
					a.Attributes = map[string][]string{"mail": e.Attrs["mail"], "title": e.Attrs["title"]}
					all = append(all, a)
				}
			}
			return all
		},
		Plant: func(a connector.Account) string {
			dn, attrs := plant(a)
			if a.ExternalID != "" {
				attrs["employeeNumber"] = []string{a.ExternalID}
			}
			for name, values := range a.Attributes {
				attrs[name] = values
			}
			return l.Put(dn, attrs)
		},
		HeldGroups: func() map[connector.Group][]string {
			out := map[connector.Group][]string{}
			for _, e := range l.Entries(ldaptest.Groups) {
				g := connector.Group{ID: l.ID(e.DN), ExternalID: first(e.Attrs["description"]), Name: first(e.Attrs["cn"])}
				out[g] = []string{}
				for _, dn := range e.Attrs["member"] {
					if dn != ldaptest.Groups { // the placeholder
						out[g] = append(out[g], l.ID(dn))
					}
				}
			}
			return out
		},
		PlantGroup: func(g connector.Group) string {
			attrs := map[string][]string{"objectClass": {"groupOfNames", "group"}, "member": {ldaptest.Groups}}
			if g.ExternalID != "" {
				attrs["description"] = []string{g.ExternalID}
			}
			return l.Put(ldapconn.RDN("cn", g.Name)+","+ldaptest.Groups, attrs)
		},
	}
}

func person(a connector.Account) map[string][]string {
	return map[string][]string{"objectClass": {"inetOrgPerson"}, "uid": {a.UserName}, "cn": {a.UserName}, "sn": {"x"}}
}

// Each way in which a directory says that an account is off.
func TestConnector(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		disable ldap.Disable
		off     func(ldaptest.Entry) bool
	}{
		"an attribute":            {ldap.Disable{Attribute: "employeeType", Off: "disabled"}, func(e ldaptest.Entry) bool { return first(e.Attrs["employeetype"]) == "disabled" }},
		"an attribute with words": {ldap.Disable{Attribute: "employeeType", Off: "off", On: "on"}, func(e ldaptest.Entry) bool { return first(e.Attrs["employeetype"]) == "off" }},
		"a place":                 {ldap.Disable{MoveTo: ldaptest.Away}, func(e ldaptest.Entry) bool { return ldapconn.Below(e.DN, ldaptest.Away) }},
		"a password policy": {ldap.Disable{Attribute: "pwdAccountLockedTime", Off: "000001010000Z"}, func(e ldaptest.Entry) bool {
			return first(e.Attrs["pwdaccountlockedtime"]) == "000001010000Z"
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			connectortest.Test(t, func(t *testing.T) connectortest.Harness {
				l := open(t, ldaptest.Options{}, func(k *ldap.Config) { k.Disable = c.disable })
				return l.harness(t, func(e ldaptest.Entry) connector.Account {
					return connector.Account{UserName: first(e.Attrs["uid"]), Active: !c.off(e)}
				}, func(a connector.Account) (string, map[string][]string) {
					attrs, place := person(a), ldaptest.People
					if d := c.disable; !a.Active && d.MoveTo != "" {
						place = d.MoveTo
					} else if d.Attribute != "" && (!a.Active || d.On != "") {
						attrs[d.Attribute] = []string{map[bool]string{true: d.On, false: d.Off}[a.Active]}
					}
					return ldapconn.RDN("uid", a.UserName) + "," + place, attrs
				})
			})
		})
	}
}

func TestConnectorForActiveDirectory(t *testing.T) {
	t.Parallel()
	connectortest.Test(t, func(t *testing.T) connectortest.Harness {
		l := open(t, ldaptest.Options{AD: true, TLS: true}, nil)
		n := 0
		return l.harness(t, func(e ldaptest.Entry) connector.Account {
			return connector.Account{UserName: first(e.Attrs["userprincipalname"]), Active: first(e.Attrs["useraccountcontrol"]) == "512"}
		}, func(a connector.Account) (string, map[string][]string) {
			n++
			return ldapconn.RDN("cn", a.UserName) + "," + ldaptest.People, map[string][]string{
				"objectClass": {"top", "person", "organizationalPerson", "user"}, "userPrincipalName": {a.UserName}, "sAMAccountName": {fmt.Sprintf("planted%d", n)},
				"userAccountControl": {map[bool]string{true: "512", false: "514"}[a.Active]}, "pwdLastSet": {map[bool]string{true: "133800000000000000", false: "0"}[a.Active]},
			}
		})
	})
}

func ana(attrs map[string][]string) connector.Account {
	return connector.Account{ExternalID: "0199-ana", UserName: "ana", Active: true, Attributes: attrs}
}

func (l lab) sync(t *testing.T, want connector.Account, have string) string {
	t.Helper()
	id, err := l.Sync(t.Context(), want, have)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// ops are what was sent to change something.
func (l lab) ops() (out []string) {
	for _, r := range l.Changes() {
		out = append(out, r.Op)
	}
	return out
}

func TestOnlyWhatDiffersIsSent(t *testing.T) {
	t.Parallel()
	l := open(t, ldaptest.Options{}, nil)
	id := l.sync(t, ana(map[string][]string{"mail": {"a@x", "b@x"}, "title": {"Dr"}}), "")
	l.Forget()
	l.sync(t, ana(map[string][]string{"mail": {"b@x", "a@x"}, "title": {"Dr"}, "mobile": nil}), id)
	if ops := l.ops(); len(ops) > 0 {
		t.Errorf("nothing differed and %v was sent", ops)
	}
	l.sync(t, ana(map[string][]string{"mail": {"b@x", "a@x"}, "title": {"Prof"}}), id)
	if ops := l.ops(); !slices.Equal(ops, []string{"modify"}) {
		t.Fatalf("sent %v", ops)
	}
	if raw := l.Changes()[0].Raw; !bytes.Contains(raw, []byte("Prof")) || bytes.Contains(raw, []byte("a@x")) {
		t.Errorf("one title changed and this was sent: %q", raw)
	}
	l.Forget()
	renamed := ana(map[string][]string{"title": {"Dean"}})
	renamed.UserName = "ana.k"
	l.sync(t, renamed, id)
	if ops := l.ops(); !slices.Equal(ops, []string{"rename", "modify"}) {
		t.Errorf("sent %v, want the rename first", ops)
	}
	if e := l.Entry("uid=ana.k," + ldaptest.People); first(e.Attrs["title"]) != "Dean" || !slices.Equal(e.Attrs["uid"], []string{"ana.k"}) {
		t.Errorf("the directory holds %+v", e)
	}
	l.Forget()
	renamed.UserName = "Ana.K" // the same name to the directory
	l.sync(t, renamed, id)
	if e := l.Entry("uid=ana.k," + ldaptest.People); !slices.Equal(e.Attrs["uid"], []string{"Ana.K"}) {
		t.Errorf("the directory holds %+v", e)
	}
}

func TestTemporaryLockOfAPasswordPolicyIsLeftAlone(t *testing.T) {
	t.Parallel()
	l := open(t, ldaptest.Options{}, func(c *ldap.Config) {
		c.Disable = ldap.Disable{Attribute: "pwdAccountLockedTime", Off: "000001010000Z"}
	})
	id := l.sync(t, ana(nil), "")
	l.Set("uid=ana,"+ldaptest.People, "pwdAccountLockedTime", "20261101120000Z")
	l.Forget()
	l.sync(t, ana(nil), id)
	if ops := l.ops(); len(ops) > 0 {
		t.Errorf("somebody who tried too many passwords was unlocked: %v", ops)
	}
}

func TestRequiredAttributesAreNeverMissing(t *testing.T) {
	t.Parallel()
	l := open(t, ldaptest.Options{}, nil)
	id := l.sync(t, ana(map[string][]string{"sn": {"Kim"}}), "")
	l.sync(t, ana(map[string][]string{"SN": nil}), id)
	if e := l.Entry("uid=ana," + ldaptest.People); !slices.Equal(e.Attrs["sn"], []string{"ana"}) || !slices.Equal(e.Attrs["cn"], []string{"ana"}) {
		t.Errorf("the directory holds %+v", e)
	}
}

func TestEntryNamedOtherwiseKeepsItsName(t *testing.T) {
	t.Parallel()
	l := open(t, ldaptest.Options{}, nil)
	dn := "cn=Ana Kim,ou=people," + ldaptest.Suffix
	id := l.Put(dn, map[string][]string{"objectClass": {"inetOrgPerson"}, "uid": {"old"}, "sn": {"Kim"}})
	l.sync(t, ana(nil), id)
	if e := l.Entry(dn); !slices.Equal(e.Attrs["uid"], []string{"ana"}) || first(e.Attrs["employeenumber"]) != "0199-ana" {
		t.Errorf("the directory holds %+v", e)
	}
}

func TestWhatCanNotBeDoneIsSaid(t *testing.T) {
	t.Parallel()
	l := open(t, ldaptest.Options{}, func(c *ldap.Config) { c.Disable, c.Groups = ldap.Disable{}, ldap.GroupConfig{} })
	id := l.sync(t, ana(nil), "")
	off := ana(nil)
	off.Active = false
	_, err := l.Sync(t.Context(), off, id)
	_, gerr := l.SyncGroup(t.Context(), connector.Group{Name: "staff"}, "")
	for _, err := range []error{err, gerr} {
		if connector.ClassOf(err) != connector.Invalid || !strings.Contains(fmt.Sprint(err), "configure") {
			t.Errorf("got %v", err)
		}
	}
	if caps := l.Caps(); !caps.NoDisable || !caps.NoGroups {
		t.Errorf("it says of itself %+v", caps)
	}
	if caps := open(t, ldaptest.Options{AD: true}, nil).Caps(); caps != (connector.Caps{}) {
		t.Errorf("of Active Directory it says %+v", caps)
	}
}

func TestAttributesThatAreTheConnectorsOwnAreRefused(t *testing.T) {
	t.Parallel()
	l, ad := open(t, ldaptest.Options{AD: true}, nil), ldap.Config{Dialect: ldapconn.ActiveDirectory}
	for _, name := range []string{"", "a b", "uid)(x", "objectClass", "CN", "userPrincipalName", "employeeNumber", "unicodePwd", "userPassword", "useraccountcontrol", "objectGUID", "memberOf", "cn;lang-de"} {
		if ldap.CheckAttribute(ad, name) == nil {
			t.Errorf("%q was taken", name)
		}
		if _, err := l.Sync(t.Context(), ana(map[string][]string{name: {"x"}}), ""); connector.ClassOf(err) != connector.Invalid {
			t.Errorf("%q: %v", name, err)
		}
	}
	if err := ldap.CheckAttribute(ad, "description;lang-de"); err != nil {
		t.Error(err)
	}
	if ops := l.ops(); len(ops) > 0 {
		t.Errorf("%v was sent", ops)
	}
}

func TestResultCodesHaveTheirClasses(t *testing.T) {
	t.Parallel()
	l := open(t, ldaptest.Options{}, nil)
	id := l.sync(t, ana(nil), "")
	moved := ana(map[string][]string{"title": {"Dr"}})
	for code, class := range map[uint16]connector.Class{
		1: connector.Transient, 2: connector.Route, 3: connector.Transient, 8: connector.Auth, 10: connector.Route, 11: connector.Transient, 13: connector.Auth,
		17: connector.Invalid, 19: connector.Invalid, 21: connector.Invalid, 49: connector.Auth, 50: connector.Invalid, 51: connector.Transient, 52: connector.Transient,
		53: connector.Invalid, 65: connector.Invalid, 68: connector.Conflict, 80: connector.Transient,
	} {
		l.Answer(func(r ldaptest.Request) *ldaptest.Rude {
			if r.Op != "modify" {
				return nil
			}
			return &ldaptest.Rude{Code: code, Message: "0000052D: it is about uid=ana," + ldaptest.People}
		})
		_, err := l.Sync(t.Context(), moved, id)
		if got := connector.ClassOf(err); err == nil || got != class {
			t.Errorf("result %d is %v (%v), want %v", code, got, err, class)
		}
		if s := fmt.Sprint(err); strings.Contains(s, "uid=ana") || code != 68 && !strings.Contains(s, "0000052D") {
			t.Errorf("the error says %q", s)
		}
	}
}

func (l lab) lose(op string, do bool) {
	lost := false
	l.Answer(func(r ldaptest.Request) *ldaptest.Rude {
		if r.Op != op || lost {
			return nil
		}
		lost = true
		return &ldaptest.Rude{Drop: true, Do: do}
	})
}

func TestB03_LostReplyOfALDAPServerMakesOneAccount(t *testing.T) {
	t.Parallel()
	for _, ad := range []bool{false, true} {
		l := open(t, ldaptest.Options{AD: ad}, nil)
		l.lose("add", true)
		_, err := l.Sync(t.Context(), ana(nil), "")
		var ce *connector.Error
		if ce, _ = err.(*connector.Error); ce == nil || !ce.Ambiguous || ce.Class != connector.Transient {
			t.Fatalf("a lost reply is %v, want something ambiguous", err)
		}
		found, err := l.Find(t.Context(), ana(nil))
		if err != nil || len(found) != 1 {
			t.Fatalf("found %v, %v", found, err)
		}
		if id := l.sync(t, ana(nil), ""); id != found[0].ID {
			t.Errorf("the account is %s and was %s", id, found[0].ID)
		}
		if n := len(l.Entries(ldaptest.People)); n != 1 {
			t.Errorf("there are %d accounts", n)
		}
		if a, err := l.Get(t.Context(), found[0].ID); err != nil || !a.Active {
			t.Errorf("the account is %+v, %v", a, err)
		}
	}
}

func TestConnectionThatWentStaleIsReplaced(t *testing.T) {
	t.Parallel()
	l := open(t, ldaptest.Options{}, nil)
	l.sync(t, ana(nil), "")
	for range 3 {
		l.Cut()
		l.sync(t, ana(nil), "")
	}
}

func TestBadCredentialsAreSaidSo(t *testing.T) {
	t.Parallel()
	s := ldaptest.Start(t, ldaptest.Options{})
	p, err := ldapconn.New(ldapconn.Config{URL: s.URL, BindDN: ldaptest.BindDN, Password: "wrong"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	k, err := ldap.New(ldap.Config{Pool: p, Base: ldaptest.People})
	if err != nil {
		t.Fatal(err)
	}
	if err := k.Test(t.Context()); connector.ClassOf(err) != connector.Auth {
		t.Errorf("got %v", err)
	}
}

func TestPlaceThatIsNotThereIsNotAnAccountThatIsGone(t *testing.T) {
	t.Parallel()
	l := open(t, ldaptest.Options{}, func(c *ldap.Config) { c.Base = "ou=nowhere," + ldaptest.Suffix })
	_, serr := l.Sync(t.Context(), ana(nil), "")
	_, gerr := l.Get(t.Context(), "0199a7c1-0000-7000-8000-0123456789ab")
	for _, err := range []error{serr, gerr, l.Remove(t.Context(), "0199a7c1-0000-7000-8000-0123456789ab"), l.Test(t.Context())} {
		if connector.ClassOf(err) != connector.Route || err == nil {
			t.Errorf("got %v", err)
		}
	}
	l = open(t, ldaptest.Options{}, nil)
	if err := l.Test(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := l.Get(t.Context(), "0199a7c1-0000-7000-8000-0123456789ab"); connector.ClassOf(err) != connector.Gone {
		t.Errorf("of nobody it says %v", err)
	}
}

func TestB08_IdentifierThatIsNoneIsNotAskedFor(t *testing.T) {
	t.Parallel()
	l := open(t, ldaptest.Options{}, nil)
	l.sync(t, ana(nil), "")
	l.Forget()
	for _, id := range []string{"*", "x)(uid=*", "uid=ana," + ldaptest.People, "../1", "{0199a7c1-0000-7000-8000-0123456789ab}", "0199A7C1-0000-7000-8000-0123456789AB", "\x00"} {
		if _, err := l.Sync(t.Context(), ana(nil), id); connector.ClassOf(err) != connector.Invalid {
			t.Errorf("%q: %v", id, err)
		}
		if err := l.Remove(t.Context(), id); connector.ClassOf(err) != connector.Invalid || err == nil {
			t.Errorf("remove %q: %v", id, err)
		}
	}
	if n := len(l.Requests()); n > 0 {
		t.Errorf("%d requests were sent", n)
	}
	if n := len(l.Entries(ldaptest.People)); n != 1 {
		t.Errorf("%d accounts are left", n)
	}
}

func TestAnotherEntryThanAskedForIsRefused(t *testing.T) {
	t.Parallel()
	l := open(t, ldaptest.Options{}, nil)
	id := l.sync(t, ana(nil), "")
	l.sync(t, connector.Account{ExternalID: "0199-bob", UserName: "bob", Active: true}, "")
	l.Forget()
	l.Answer(func(r ldaptest.Request) *ldaptest.Rude {
		if r.Op == "search" && bytes.Contains(r.Raw, []byte("entryUUID\x04\x24")) {
			return &ldaptest.Rude{Instead: "uid=bob," + ldaptest.People}
		}
		return nil
	})
	off := ana(nil)
	off.Active = false
	_, err := l.Sync(t.Context(), off, id)
	for _, err := range []error{err, l.Remove(t.Context(), id)} {
		if connector.ClassOf(err) != connector.Route || err == nil {
			t.Errorf("got %v", err)
		}
	}
	if ops := l.ops(); len(ops) > 0 {
		t.Errorf("%v was sent", ops)
	}
}

// utf16le is how Active Directory wants a text.
func utf16le(s string) []byte {
	var b []byte
	for _, u := range utf16.Encode([]rune(s)) {
		b = append(b, byte(u), byte(u>>8))
	}
	return b
}

// attributes of an add request, from its bytes.
func attributes(t *testing.T, raw []byte) map[string][]string {
	t.Helper()
	p, err := ber.DecodePacketErr(raw)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][]string{}
	for _, a := range p.Children[1].Children[1].Children {
		if len(a.Children) < 2 {
			continue
		}
		name := a.Children[0].Data.String()
		for _, v := range a.Children[1].Children {
			out[name] = append(out[name], v.Data.String())
		}
	}
	return out
}

func TestActiveDirectoryAccountIsMadeDisabledAndEnabledWhole(t *testing.T) {
	t.Parallel()
	l := open(t, ldaptest.Options{AD: true, TLS: true}, func(c *ldap.Config) { c.UPNSuffix = "corp.example" })
	want := ana(map[string][]string{"mail": {"ana@x"}})
	id := l.sync(t, want, "")
	ch := l.Changes()
	if len(ch) != 2 || ch[0].Op != "add" || ch[1].Op != "modify" || !ch[0].Secure {
		t.Fatalf("sent %v", l.ops())
	}
	add := attributes(t, ch[0].Raw)
	if got := add["userAccountControl"]; !slices.Equal(got, []string{"514"}) {
		t.Errorf("it was added with userAccountControl %q", got)
	}
	if got := add["userPrincipalName"]; !slices.Equal(got, []string{"ana@corp.example"}) {
		t.Errorf("userPrincipalName %q", got)
	}
	if got := add["sAMAccountName"]; !slices.Equal(got, []string{"ana"}) {
		t.Errorf("sAMAccountName %q", got)
	}
	pw := []byte(first(add["unicodePwd"]))
	if n := len(pw); n < 60 || n%2 != 0 || !bytes.HasPrefix(pw, utf16le(`"`)) || !bytes.HasSuffix(pw, utf16le(`"`)) || bytes.Count(pw, []byte{0}) != n/2 {
		t.Errorf("the password was sent as %s", hex.EncodeToString(pw))
	}
	if !bytes.Contains(ch[1].Raw, []byte("userAccountControl")) || !bytes.Contains(ch[1].Raw, []byte("512")) {
		t.Errorf("it was not enabled by %q", ch[1].Raw)
	}
	e := l.Entry("cn=ana," + ldaptest.People)
	if first(e.Attrs["useraccountcontrol"]) != "512" {
		t.Errorf("the directory holds %+v", e)
	}
	// The ID is looked for as the bytes of the GUID.
	l.Forget()
	if a, err := l.Get(t.Context(), id); err != nil || a.UserName != "ana" {
		t.Fatalf("got %+v, %v", a, err)
	}
	swap := []byte{}
	plain, _ := hex.DecodeString(strings.ReplaceAll(id, "-", ""))
	for _, i := range []int{3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15} {
		swap = append(swap, plain[i])
	}
	if raw := l.Requests()[0].Raw; !bytes.Contains(raw, append([]byte("\x04\x0aobjectGUID\x04\x10"), swap...)) {
		t.Errorf("the GUID %s was looked for by %q", id, raw)
	}
	// Flags of others stay.
	l.Set("cn=ana,"+ldaptest.People, "userAccountControl", "66048")
	want.Active = false
	l.sync(t, want, id)
	if e := l.Entry("cn=ana," + ldaptest.People); first(e.Attrs["useraccountcontrol"]) != "66050" {
		t.Errorf("after disabling userAccountControl is %q", e.Attrs["useraccountcontrol"])
	}
}

func TestActiveDirectoryAccountLeftHalfMadeIsFinished(t *testing.T) {
	t.Parallel()
	l := open(t, ldaptest.Options{AD: true, TLS: true}, nil)
	l.lose("modify", false)
	id, err := l.Sync(t.Context(), ana(nil), "")
	if err == nil || id == "" {
		t.Fatalf("the enabling got lost and it says %q, %v", id, err)
	}
	if e := l.Entry("cn=ana," + ldaptest.People); first(e.Attrs["useraccountcontrol"]) != "514" {
		t.Fatalf("the directory holds %+v", e)
	}
	if again := l.sync(t, ana(nil), ""); again != id {
		t.Errorf("it is %s and was %s", again, id)
	}
	if e := l.Entry("cn=ana," + ldaptest.People); first(e.Attrs["useraccountcontrol"]) != "512" {
		t.Errorf("the directory holds %+v", e)
	}
}

func TestSAMAccountNamesFitAndDiffer(t *testing.T) {
	t.Parallel()
	l := open(t, ldaptest.Options{AD: true, TLS: true}, nil)
	for i, name := range []string{"a-very-long-user-name-of-one", "a-very-long-user-name-of-two", "x/y[z]:a;b|c=d", "kim@a.example", strings.Repeat("long", 30)} {
		want := connector.Account{ExternalID: fmt.Sprint(i), UserName: name, Active: true}
		l.sync(t, want, "")
	}
	seen := map[string]bool{}
	for _, e := range l.Entries(ldaptest.People) {
		name := first(e.Attrs["samaccountname"])
		if n := len([]rune(name)); n == 0 || n > 20 || strings.ContainsAny(name, `"/\[]:;|=,+*?<>@`) || seen[name] {
			t.Errorf("%s has the sAMAccountName %q", e.DN, name)
		}
		seen[name] = true
	}
	if len(seen) != 5 {
		t.Errorf("there are %d", len(seen))
	}
	_, err := l.Sync(t.Context(), connector.Account{UserName: "other", Active: true, Attributes: map[string][]string{"sAMAccountName": {strings.Repeat("x", 21)}}}, "")
	if connector.ClassOf(err) != connector.Invalid || !strings.Contains(fmt.Sprint(err), "20") {
		t.Errorf("21 characters: %v", err)
	}
}

func TestActiveDirectoryWithoutTLSIsRefused(t *testing.T) {
	t.Parallel()
	s := ldaptest.Start(t, ldaptest.Options{AD: true})
	p, err := ldapconn.New(ldapconn.Config{URL: s.URL, BindDN: ldaptest.BindDN, Password: ldaptest.Password})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ldap.New(ldap.Config{Pool: p, Dialect: ldapconn.ActiveDirectory, Base: ldaptest.People}); err == nil {
		t.Error("it was taken")
	}
	if _, err := ldap.New(ldap.Config{Pool: s.Pool(t), Dialect: ldapconn.ActiveDirectory, Base: ldaptest.People}); err != nil {
		t.Error(err)
	}
}

func TestWalkGoesOverPages(t *testing.T) {
	t.Parallel()
	l := open(t, ldaptest.Options{AD: true, MaxPage: 10}, nil)
	for i := range 25 {
		name := fmt.Sprintf("p%02d", i)
		l.Put("cn="+name+","+ldaptest.People, map[string][]string{"objectClass": {"user"}, "userPrincipalName": {name}, "userAccountControl": {"512"}})
	}
	l.Forget()
	n := 0
	for _, err := range l.Accounts(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	searches := slices.DeleteFunc(l.Requests(), func(r ldaptest.Request) bool { return r.Op != "search" })
	if n != 25 || len(searches) != 3 || !slices.Contains(searches[0].Controls, goldap.ControlTypePaging) {
		t.Errorf("%d accounts in %d searches with %v", n, len(searches), searches[0].Controls)
	}
	// Half a walk is not a walk.
	asked := 0
	l.Answer(func(ldaptest.Request) *ldaptest.Rude { // the connection is there already
		if asked++; asked == 2 {
			return &ldaptest.Rude{Code: goldap.LDAPResultBusy}
		}
		return nil
	})
	var last error
	for _, last = range l.Accounts(t.Context()) {
	}
	if connector.ClassOf(last) != connector.Transient || last == nil {
		t.Errorf("a walk that broke off ends with %v", last)
	}
}

func groupOf(t *testing.T, l lab, members ...string) (id string) {
	t.Helper()
	id, err := l.SyncGroup(t.Context(), connector.Group{ExternalID: "0199-staff", Name: "Staff"}, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.ChangeMembers(t.Context(), id, members, nil); err != nil {
		t.Fatal(err)
	}
	return id
}

func (l lab) members(t *testing.T, id string) (out []string) {
	t.Helper()
	for m, err := range l.Members(t.Context(), id) {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, m)
	}
	slices.Sort(out)
	return out
}

func TestGroupsAndTheirEdges(t *testing.T) {
	t.Parallel()
	for _, ad := range []bool{false, true} {
		t.Run(map[bool]string{true: "Active Directory", false: "OpenLDAP"}[ad], func(t *testing.T) {
			t.Parallel()
			l := open(t, ldaptest.Options{AD: ad}, nil)
			var ids []string
			for _, name := range []string{"ana", "bob", "cem"} {
				ids = append(ids, l.sync(t, connector.Account{ExternalID: name + "-id", UserName: name, Active: true}, ""))
			}
			slices.Sort(ids)
			g := groupOf(t, l, ids[0], ids[1])
			if again := groupOf(t, l, ids[0], ids[1]); again != g {
				t.Errorf("the group was made twice: %s, %s", g, again)
			}
			dn := "cn=Staff," + ldaptest.Groups
			if e := l.Entry(dn); len(e.Attrs["member"]) != 2 {
				t.Errorf("the directory holds %+v", e)
			}
			l.Forget()
			// One is there already, one is not, one leaves who is not in it.
			if err := l.ChangeMembers(t.Context(), g, []string{ids[1], ids[2]}, nil); err != nil {
				t.Fatal(err)
			}
			stays, err := l.Get(t.Context(), ids[0])
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range l.Changes() {
				if r.Op != "modify" || bytes.Contains(r.Raw, []byte("="+stays.UserName+",")) {
					t.Errorf("more than the edges that change was sent: %q", r.Raw)
				}
			}
			if got := l.members(t, g); !slices.Equal(got, ids) {
				t.Errorf("in the group are %v, want %v", got, ids)
			}
			// The last one leaves: the group is never without a member where it may not be.
			for range 2 {
				if err := l.ChangeMembers(t.Context(), g, nil, ids); err != nil {
					t.Fatal(err)
				}
			}
			if got := l.members(t, g); len(got) != 0 {
				t.Errorf("in the group are %v", got)
			}
			e := l.Entry(dn)
			if want := map[bool]int{true: 0, false: 1}[ad]; len(e.Attrs["member"]) != want {
				t.Errorf("the empty group has the members %v", e.Attrs["member"])
			}
			if _, err := l.SyncGroup(t.Context(), connector.Group{ExternalID: "0199-staff", Name: "Crew, #1"}, g); err != nil {
				t.Fatal(err)
			}
			all := []connector.Group{}
			for got, err := range l.AllGroups(t.Context()) {
				if err != nil {
					t.Fatal(err)
				}
				all = append(all, got)
			}
			if want := []connector.Group{{ID: g, ExternalID: "0199-staff", Name: "Crew, #1"}}; !slices.Equal(all, want) {
				t.Errorf("the groups are %v, want %v", all, want)
			}
			if found, err := l.FindGroup(t.Context(), connector.Group{ExternalID: "other", Name: "crew, #1"}); err != nil || len(found) != 1 {
				t.Errorf("found %v, %v", found, err)
			}
			for range 2 {
				if err := l.RemoveGroup(t.Context(), g); err != nil {
					t.Fatal(err)
				}
			}
			if err := l.ChangeMembers(t.Context(), g, ids, nil); connector.ClassOf(err) != connector.Gone {
				t.Errorf("of a group that is gone it says %v", err)
			}
		})
	}
}

func TestMembersOfALargeActiveDirectoryGroupAreReadInRanges(t *testing.T) {
	t.Parallel()
	l := open(t, ldaptest.Options{AD: true}, nil)
	var dns []string
	for i := range 3200 {
		dn := fmt.Sprintf("cn=p%04d,%s", i, ldaptest.People)
		dns = append(dns, dn)
		if i%100 == 0 {
			l.Put(dn, map[string][]string{"objectClass": {"user"}, "userPrincipalName": {fmt.Sprint(i)}})
		}
	}
	id := l.Put("cn=all,"+ldaptest.Groups, map[string][]string{"objectClass": {"group"}, "member": dns})
	l.Forget()
	if got := l.members(t, id); len(got) != 32 {
		t.Errorf("%d of 32 members were found", len(got))
	}
	asked := 0
	for _, r := range l.Requests() {
		asked += bytes.Count(r.Raw, []byte("member;range="))
	}
	if asked != 2 {
		t.Errorf("%d ranges were asked for, want 2 after the first", asked)
	}
}

func TestProbeTriesAndLeavesNothing(t *testing.T) {
	t.Parallel()
	for _, ad := range []bool{false, true} {
		l := open(t, ldaptest.Options{AD: ad}, nil)
		r, err := l.Probe(t.Context())
		if err != nil || r.Caps != (connector.Caps{}) || len(r.Findings) < 7 {
			t.Errorf("%+v, %v", r, err)
		}
		for _, f := range r.Findings {
			if !f.OK {
				t.Errorf("%+v", f)
			}
		}
		if left := l.Entries(ldaptest.People); len(left) > 0 {
			t.Errorf("it left %v", left)
		}
		l.Answer(func(r ldaptest.Request) *ldaptest.Rude {
			if r.Op == "rename" {
				return &ldaptest.Rude{Code: goldap.LDAPResultInsufficientAccessRights}
			}
			return nil
		})
		if r, err := l.Probe(t.Context()); err != nil || !r.Caps.NoRename {
			t.Errorf("renaming is refused and it says %+v, %v", r, err)
		}
	}
}

func TestBadConfigurationIsRefused(t *testing.T) {
	t.Parallel()
	pool := ldaptest.Start(t, ldaptest.Options{}).Pool(t)
	good := ldap.Config{Pool: pool, Base: ldaptest.People}
	for name, change := range map[string]func(*ldap.Config){
		"no base":                 func(c *ldap.Config) { c.Base = "" },
		"a base that is no name":  func(c *ldap.Config) { c.Base = "people" },
		"an attribute of two":     func(c *ldap.Config) { c.UserName = "uid)(x" },
		"one for two":             func(c *ldap.Config) { c.ExternalID = "UID" },
		"two ways of disabling":   func(c *ldap.Config) { c.Disable = ldap.Disable{Attribute: "x", Off: "y", MoveTo: ldaptest.Away} },
		"an attribute without":    func(c *ldap.Config) { c.Disable = ldap.Disable{Attribute: "x"} },
		"a place that is no name": func(c *ldap.Config) { c.Disable = ldap.Disable{MoveTo: "x"} },
		"groups in no place":      func(c *ldap.Config) { c.Groups.Base = "x" },
		"nobody to ask":           func(c *ldap.Config) { c.Pool = nil },
	} {
		c := good
		change(&c)
		if _, err := ldap.New(c); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
	if _, err := ldap.New(good); err != nil {
		t.Error(err)
	}
}
