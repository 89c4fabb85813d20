package main

import (
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gatehouse-sso/gatehouse/configs"
	"github.com/gatehouse-sso/gatehouse/provisioning/intake/ldap"
	"github.com/gatehouse-sso/gatehouse/provisioning/ldapconn/ldaptest"
	webapi "github.com/gatehouse-sso/gatehouse/web/api"
)

// directories is a lab that reads one directory and keeps accounts in another.
type directories struct {
	*lab
	from, to *ldaptest.Server
}

// ldapServer is the part of a configuration that says where a directory is.
func ldapServer(t *testing.T, s *ldaptest.Server) string {
	t.Helper()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, s.CA, 0o600); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf(`server: { url: "%s", start_tls: true, ca: "%s", bind: "%s", password: "%s" }`, s.URL, ca, ldaptest.BindDN, ldaptest.Password)
}

func newDirectories(t *testing.T) *directories {
	t.Helper()
	d := &directories{from: ldaptest.Start(t, ldaptest.Options{}), to: ldaptest.Start(t, ldaptest.Options{})}
	for i := range 30 {
		d.put(fmt.Sprintf("p%02d", i))
	}
	d.from.Put("cn=staff,"+ldaptest.Groups, map[string][]string{"objectClass": {"groupOfNames"}, "member": {personDN("p00"), personDN("p01")}})
	d.lab = newLab(t, nil)
	d.reload(func(yaml string) string {
		yaml = strings.Replace(yaml, "targets:\n", fmt.Sprintf(`sources:
  - id: uni
    title: University
    ldap:
      %s
      base: %s
      attributes: { mail: mail, display_name: 'claims.cn[0]', family_name: sn }
      groups: { base: "%s" }
      every: 24h
targets:
  - id: posix
    ldap:
      %s
      base: %s
      disable: { move_to: "%s" }
    users: { groups: [staff] }
    release: [ mail, family_name ]
`, ldapServer(t, d.from), ldaptest.People, ldaptest.Groups, ldapServer(t, d.to), ldaptest.People, ldaptest.Away), 1)
		return yaml
	})
	eventually(t, "the source is read", func() bool { return d.sources()[0].State.Last != nil })
	return d
}

func personDN(name string) string { return "uid=" + name + "," + ldaptest.People }

func (d *directories) put(name string) {
	d.from.Put(personDN(name), map[string][]string{"objectClass": {"inetOrgPerson"}, "cn": {"Person " + name}, "sn": {"Doe"}, "mail": {name + "@uni.test"}})
}

func (d *directories) sources() (list []ldap.Status) {
	d.admin(http.MethodGet, "sources", nil, &list)
	return list
}

func (d *directories) read(full bool) ldap.Report {
	var st ldap.Status
	d.admin(http.MethodPost, "source/run", url.Values{"id": {"uni"}, "full": {fmt.Sprint(full)}}, &st)
	return *st.State.Last
}

// Who is in one directory has an account in another, through ours, and loses it
// when they leave; what is too much at once waits for a person.
func TestPeopleGoFromOneDirectoryToAnother(t *testing.T) {
	t.Parallel()
	d := newDirectories(t)
	if r := d.sources()[0].State.Last; r.Created != 30 || r.Joined != 2 {
		t.Fatalf("the first reading: %+v", r)
	}
	eventually(t, "two accounts", func() bool { return len(d.to.Entries(ldaptest.People)) == 2 })
	e := d.to.Entry(personDN("p00"))
	if !slices.Equal(e.Attrs["mail"], []string{"p00@uni.test"}) || !slices.Equal(e.Attrs["sn"], []string{"Doe"}) || len(e.Attrs["employeenumber"]) != 1 {
		t.Errorf("the account is %+v", e)
	}
	var diag ldap.Diagnosis
	d.admin(http.MethodGet, "source/test", url.Values{"id": {"uni"}, "entry": {"p00"}}, &diag)
	if !diag.OK || diag.Sample.UserName != "p00" || diag.Sample.User == "" {
		t.Errorf("%+v", diag)
	}

	d.from.Drop(personDN("p00"))
	var pre ldap.Report
	d.admin(http.MethodGet, "source/preview", url.Values{"id": {"uni"}}, &pre)
	if pre.Disabled != 1 || len(pre.Changes) != 1 || pre.Changes[0].Name != "p00" {
		t.Errorf("the preview says %+v", pre)
	}
	if r := d.read(false); r.Whole || r.Disabled != 1 {
		t.Errorf("what changed: %+v", r)
	}
	eventually(t, "the account is disabled", func() bool { return d.to.Entry("uid=p00,"+ldaptest.Away).DN != "" })

	for i := 5; i < 17; i++ {
		d.from.Drop(personDN(fmt.Sprintf("p%02d", i)))
	}
	if r := d.read(true); r.Held != 12 || r.Disabled > 0 {
		t.Errorf("many are gone: %+v", r)
	}
	var held webapi.Held
	d.admin(http.MethodGet, "source/held", url.Values{"id": {"uni"}}, &held)
	if len(held.Items) != 12 || held.Case == nil {
		t.Fatalf("%+v", held)
	}
	d.admin(http.MethodPost, "source/held", url.Values{"id": {"uni"}, "answer": {"approve"}}, nil)
	eventually(t, "they are disabled", func() bool {
		var u webapi.User
		d.admin(http.MethodGet, "user", url.Values{"name": {"p05"}}, &u)
		return !u.Active
	})
}

func TestMistakesAboutDirectoriesAreFoundBeforeTheyAreAsked(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	raw, err := os.ReadFile(l.config)
	if err != nil {
		t.Fatal(err)
	}
	server := `server: { url: "ldaps://ldap.uni.example", bind: cn=g, password: x }`
	for name, c := range map[string]struct{ section, want string }{
		"a filter":                    {`sources: [ { id: uni, ldap: { ` + server + `, base: "ou=p", filter: "(uid=" } } ]`, "this is no filter"},
		"a base":                      {`sources: [ { id: uni, ldap: { ` + server + `, base: "ou=p,x" } } ]`, "this is no distinguished name"},
		"an expression":               {`sources: [ { id: uni, ldap: { ` + server + `, base: "ou=p", attributes: { mail: "claims.mail[" } } } ]`, "mail"},
		"an expression about nothing": {`sources: [ { id: uni, ldap: { ` + server + `, base: "ou=p", user_name: "size(claims) > 1 ? 'a' : 'b'" } } ]`, "which attributes it reads"},
		"nowhere to put it":           {`targets: [ { id: dir, users: { all: true }, release: [ groups ], ldap: { ` + server + `, base: "ou=p" } } ]`, "nothing says where groups goes"},
		"the connector's own":         {`targets: [ { id: dir, users: { all: true }, release: [ { attribute: mail, as: UID } ], ldap: { ` + server + `, base: "ou=p" } } ]`, "is set by the connector itself"},
		"nothing":                     {`sources: [ { id: uni, ldap: { ` + server + `, base: "ou=p", filter: "(uid=*)", attributes: { mail: mail } } } ]`, ""},
	} {
		text := string(raw)
		if strings.HasPrefix(c.section, "targets") {
			text = text[:strings.Index(text, "targets:\n")] + text[strings.Index(text, "admins:"):]
		}
		file := filepath.Join(t.TempDir(), "gatehouse.yaml")
		if err := os.WriteFile(file, []byte(text+c.section+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		_, mistakes := loadAll(file, configs.AllowInlineSecrets)
		switch {
		case c.want == "" && len(mistakes) > 0:
			t.Errorf("%s: %v", name, mistakes)
		case c.want != "" && (len(mistakes) != 1 || !strings.Contains(mistakes[0].String(), c.want) || mistakes[0].Line != strings.Count(text, "\n")+1):
			t.Errorf("%s: %v, want %q", name, mistakes, c.want)
		}
	}
}
