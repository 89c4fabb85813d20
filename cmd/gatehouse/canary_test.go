package main

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/gatehouse-sso/gatehouse/federation/idptest"
)

// canaries are values of one person that are nowhere else: each is kept from the
// wiki and from the target for another reason.
var canaries = map[string]string{
	"mail":               "canarymail7q",  // the person does not agree
	"groups":             "canarygroup8w", // its value is not among those that may go
	"scoped_affiliation": "canaryaffil9x", // no rule is about it
}

// shows names the canaries that a text has, plain or in base64.
func shows(text string) (found []string) {
	for attribute, canary := range canaries {
		there := strings.Contains(strings.ToLower(text), canary)
		for at := range 3 {
			raw := base64.RawStdEncoding.EncodeToString([]byte(strings.Repeat("x", at) + canary))
			// Characters at both ends depend on what stands beside.
			there = there || strings.Contains(text, raw[(at*8+5)/6:len(raw)-1])
		}
		if there {
			found = append(found, attribute)
		}
	}
	slices.Sort(found)
	return found
}

// A value that is withheld is in no header, token, push, log, trace, audit event,
// metric or page of others, whatever its person does and whoever looks around; even while
// a draft that would release it is tried beside.
func TestAWithheldValueIsNowhere(t *testing.T) {
	t.Parallel()
	l := newLab(t, func(c *labConfig) {
		c.AccessLog = true
		c.People = idptest.Campus()
		bob := &c.People[1]
		bob.Mail, bob.Groups, bob.Affiliation = canaries["mail"]+"@campus.example", append(bob.Groups, canaries["groups"]), []string{canaries["scoped_affiliation"] + "@campus.example"}
	})
	l.reload(func(s string) string {
		for old, next := range map[string]string{
			"[ user_name, mail, display_name, groups ]":      "[ user_name, { attribute: mail, basis: consent }, display_name, { attribute: groups, values: [ students ] } ]\n    release_in: editor",
			"release: [ mail, display_name ]":                "release: [ { attribute: mail, basis: consent }, display_name, { attribute: groups, as: title, values: [ students ] } ]\n    release_in: editor",
			"attributes: { mail: email, display_name: name,": "attributes: { scoped_affiliation: eduperson_scoped_affiliation, mail: email, display_name: name,",
			"admins: { roles: [gatehouse-admin] }":           "admins:\n  roles: [gatehouse-admin]\n  release_editors: { users: [alice] }\n  auditors: { users: [partners/dana] }",
		} {
			s = strings.Replace(s, old, next, 1)
		}
		return s
	})
	traces := l.trace("")
	e := editor{t: t, w: l.world}
	for _, to := range []string{"service:wiki", "target:directory"} {
		as := map[string]string{"service:wiki": "", "target:directory": "userType"}[to]
		e.must("POST /v1/release/rule", url.Values{"to": {to}, "revision": {e.revision()}, "attribute": {"scoped_affiliation"}, "as": {as}}, nil)
		e.must("POST /v1/release/rule", url.Values{"to": {to}, "revision": {e.revision()}, "was": {"mail"}, "attribute": {"mail"}}, nil)
		groups := map[string]string{"service:wiki": "groups", "target:directory": "title"}[to]
		e.must("POST /v1/release/rule", url.Values{"to": {to}, "revision": {e.revision()}, "was": {groups}, "attribute": {"groups"}, "as": {groups}, "values": {"canary*"}}, nil)
	}
	e.must("POST /v1/release/trial", nil, nil)

	var pages []string // that somebody else sees, or that say no
	look := func(p *person, addresses ...string) {
		for _, to := range addresses {
			p.open(to)
			pages = append(pages, to+"\n"+p.body)
		}
	}
	bob, alice, dana := l.person(), l.in("campus", "alice"), l.in("partner", "dana")
	alice.agree()
	bob.open(l.at("wiki", "/")).signIn("campus", "bob").wants(http.StatusOK, "would learn about you", canaries["mail"])
	bob.agree().wants(http.StatusOK, "X-Forwarded-User")
	bob.program(http.MethodGet, l.at("wiki", "/feed")).wants(http.StatusOK)
	look(bob, l.at("admins", "/page"), l.at("payroll", "/"), l.at("vault", "/"), l.at("", "/.gatehouse/admin"))
	eventually(t, "the target has bob", func() bool { return l.hasAccount("bob") })
	for _, p := range []*person{alice, dana} {
		for _, path := range []string{"/release", "/release/draft", "/release/affected", "/release/history", "/release/cases", "/overview", "/services", "/service?id=wiki", "/targets",
			"/target?id=directory", "/tasks", "/audit", "/flow", "/settings", "/clients"} {
			look(p, l.at("", deskPath+path))
		}
		look(p, l.at("", "/"), l.at("", "/.gatehouse/me"), l.at("", "/.gatehouse/api/v1/audit"))
	}
	code := bob.open(l.at("admins", "/page")).wants(http.StatusForbidden).header.Get("X-Gatehouse-Support")
	look(dana, l.at("", deskPath+"/flow?code="+code))

	_, metrics := operate(l.p, "/metrics")
	events, err := json.Marshal(l.recorded())
	if err != nil {
		t.Fatal(err)
	}
	var trial json.RawMessage
	e.must("GET /v1/release/trial", nil, &trial)
	if !strings.Contains(string(trial), "scoped_affiliation") {
		t.Errorf("the trial met nobody: %s", trial)
	}
	for where, text := range map[string]string{
		"what the wiki got": l.got(), "what the target got": l.pushed.String(), "the logs": l.log.String(), "audit events": string(events),
		"metrics": metrics, "the trial": string(trial), "pages": strings.Join(pages, "\n"),
	} {
		if text == "" {
			t.Errorf("%s: nothing was recorded", where)
		}
		if found := shows(text); len(found) > 0 {
			t.Errorf("%q: withheld, and yet in %s", found, where)
			for line := range strings.Lines(text) {
				if len(shows(line)) > 0 {
					t.Log(line[:min(len(line), 700)])
				}
			}
		}
	}

	for _, before := range []string{"", "a", "ab"} {
		if text := base64.URLEncoding.EncodeToString([]byte(before + canaries["mail"] + "@campus.example")); len(shows(text)) != 1 {
			t.Errorf("in %q nothing is found", text)
		}
	}
	// They are there to be found: bob sees them, and once they are released so do others.
	if found := shows(bob.open(l.at("", "/.gatehouse/me")).body); len(found) != len(canaries) {
		t.Errorf("bob himself sees only %q", found)
	}
	e.must("POST /v1/release/publish", url.Values{"revision": {e.revision()}}, nil)
	bob.program(http.MethodGet, l.at("wiki", "/feed")).wants(http.StatusOK)
	if found := shows(l.got()); len(found) != len(canaries) {
		t.Errorf("the wiki gets only %q although all is released", found)
	}
	eventually(t, "the target gets what is released", func() bool { return len(shows(l.pushed.String())) == len(canaries) })
	// Traces tell of all of this, and of no value, released or not.
	l.stop() // which delivers the rest
	for _, name := range []string{"GET wiki", "gatehouse.authorize", "gatehouse.task sync"} {
		if len(traces.all(name)) == 0 {
			t.Errorf("no trace tells of %q", name)
		}
	}
	if found := shows(traces.raw.String()); len(found) > 0 {
		t.Errorf("%q: in a trace", found)
	}
}

// got is all that upstreams received, with what their tokens say.
func (l *lab) got() string {
	l.t.Helper()
	var b strings.Builder
	for _, line := range l.upstream.got() {
		b.WriteString(line + "\n")
		var r struct{ Headers http.Header }
		decodeJSON(l.t, line, &r)
		claims, err := json.Marshal(tokenOf(l.t, r.Headers.Get("X-Gatehouse-Jwt")))
		if err != nil {
			l.t.Fatal(err)
		}
		b.WriteString(string(claims) + "\n")
	}
	return b.String()
}
