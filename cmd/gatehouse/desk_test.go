package main

import (
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// deskPages are all pages of the desk of administrators, by the duties that open
// them besides administrators'.
var deskPages = map[string][]string{
	"/overview":                        {"helpdesk", "auditors"},
	"/people":                          {"helpdesk", "auditors"},
	"/people?q=b":                      {"helpdesk", "auditors"},
	"/person?name=bob":                 {"helpdesk", "auditors"},
	"/person?name=bob&service=payroll": {"helpdesk", "auditors"},
	"/person/delete?name=bob":          {"helpdesk", "auditors"},
	"/groups":                          {"helpdesk", "auditors"},
	"/group?group=crew":                {"helpdesk", "auditors"},
	"/services":                        {"helpdesk", "auditors", "release_editors"},
	"/service?id=payroll":              {"helpdesk", "auditors", "release_editors"},
	"/targets":                         {"helpdesk", "auditors"},
	"/target?id=directory":             {"helpdesk", "auditors"},
	"/target?id=directory&name=bob":    {"helpdesk", "auditors"},
	"/tasks":                           {"helpdesk", "auditors"},
	"/tasks?kind=sync&state=waiting":   {"helpdesk", "auditors"},
	"/providers":                       {"helpdesk", "auditors"},
	"/provider?id=campus":              {"helpdesk", "auditors"},
	"/provider?id=partner":             {"helpdesk", "auditors"},
	"/clients":                         {"auditors"},
	"/client?client=hr":                {"auditors"},
	"/audit":                           {"auditors"},
	"/audit?kind=login&verify=yes":     {"auditors"},
	"/flow":                            {"helpdesk", "auditors"},
	"/settings":                        {"auditors"},
}

// deskPath is where the pages are.
const deskPath = "/.gatehouse/admin"

// inDuty is a world in which people of Campus have a duty each, besides carol.
func inDuty(t *testing.T) *world {
	w := newWorld(t)
	w.reconfigure(func(s string) string {
		return strings.Replace(s, "admins: { roles: [gatehouse-admin] }", `admins:
  roles: [gatehouse-admin]
  helpdesk: { users: [alice] }
  auditors: { users: [bob] }
`, 1)
	})
	return w
}

// Each page of the desk opens for administrators and for the duties that the table
// names, in every language, and for nobody else.
func TestA05_EachPageOpensForItsDutiesAlone(t *testing.T) {
	t.Parallel()
	w := inDuty(t)
	people := map[string]*person{}
	for _, name := range []string{"alice", "bob", "carol"} {
		people[name] = w.person()
		people[name].open(w.at("", "/")).signIn("campus", name).wants(http.StatusOK)
	}
	dana := w.person()
	dana.open(w.at("", "/")).signIn("partner", "dana").wants(http.StatusOK)
	w.admin(http.MethodPost, "groups", url.Values{"name": {"crew"}}, nil)
	w.admin(http.MethodPost, "group/member", url.Values{"group": {"crew"}, "name": {"bob"}}, nil)
	duty := map[string]string{"alice": "helpdesk", "bob": "auditors"}
	for path, duties := range deskPages {
		for name, p := range people {
			want := http.StatusForbidden
			if name == "carol" || strings.Contains(strings.Join(duties, " "), duty[name]) {
				want = http.StatusOK
			}
			if p.open(w.at("", deskPath+path)); p.status != want {
				t.Errorf("%s for %s: %d, want %d\n%s", path, name, p.status, want, p.body)
			}
		}
		if dana.open(w.at("", deskPath+path)); dana.status != http.StatusForbidden {
			t.Errorf("%s for dana, who has no duty: %d", path, dana.status)
		}
		// Who only looks finds no form that changes anything.
		if bob := people["bob"]; bob.status == http.StatusOK && strings.Contains(bob.body, `method="post"`) {
			t.Errorf("%s offers an auditor to change something", path)
		}
	}
	// What a page would do for an administrator the API does not do for the others.
	for _, name := range []string{"alice", "bob"} {
		p := people[name].open(w.at("", deskPath+"/people"))
		p.do(http.MethodPost, w.at("", deskPath+"/person?name=dana"), url.Values{"do": {"disable"}, "name": {"partners/dana"}})
		if p.status != http.StatusForbidden {
			t.Errorf("%s switched somebody off: %d", name, p.status)
		}
	}
}

// reconfigure changes the demo's file, and waits until it is in force.
func (w *world) reconfigure(change func(string) string) {
	w.t.Helper()
	file, before := filepath.Join(w.dir, "gatehouse.yaml"), w.p.site.Load()
	raw, err := os.ReadFile(file)
	if err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(change(string(raw))), 0o600); err != nil {
		w.t.Fatal(err)
	}
	eventually(w.t, "the configuration is taken", func() bool { return w.p.site.Load() != before })
}
