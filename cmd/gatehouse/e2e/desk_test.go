//go:build e2e

package e2e

import (
	"regexp"
	"strings"
	"testing"
)

// deskPages are those of the desk of administrators, with something that each says.
var deskPages = [][2]string{
	{"overview", "Support code"}, {"people", "Make a user"}, {"person?name=bob&service=payroll", "May not"}, {"person/delete?name=bob", "Delete for good"},
	{"groups", "Make a group"}, {"sessions?idp=campus", "End all of these sessions"}, {"services", "payroll.localhost"}, {"service?id=payroll", "has a role: Finance office"},
	{"targets", "Staff directory"}, {"target?id=directory&name=bob", "May the target be asked?"}, {"tasks", "given up"},
	{"providers", "SAML 2.0"}, {"provider?id=campus", "Begin a test sign-in"}, {"clients", "HR system"}, {"client?client=hr", "Make a token"},
	{"audit?verify=yes", "Whole"}, {"settings", "Listens at"},
	{"mine", "These are the services for which you answer"}, {"mine/service?id=payroll", "Who may use it"},
}

// deskSights are both themes, one wide and one narrow: made-up boards are looked at
// in all four.
var deskSights = []sight{{"light", 1280}, {"dark", 320}}

// Carol goes through every page of the desk. Each is held to what pages promise, in
// both themes and at 320 pixels.
func TestCarolGoesThroughTheDesk(t *testing.T) {
	both(t, func(t *testing.T, d *gate, p *person) {
		d.changed(t, "    headers: remote-user\n", "    headers: remote-user\n    owners: { users: [carol] }\n")
		bob := newPerson(t, p.scripts)
		bob.open(d.at("payroll", "/")).signIn(campus, "Bob")
		code := supportCode.FindString(bob.sees("Payroll is for the finance office").Text)
		p.open(d.at("", "/.gatehouse/admin/")).signIn(campus, "Carol")
		p.sees("Overview", "Sign-ins", "Staff directory")
		for _, page := range deskPages {
			p.open(d.at("", "/.gatehouse/admin/"+page[0])).sees(page[1])
			p.lookIn("desk-"+strings.Trim(regexp.MustCompile(`[^a-z]+`).ReplaceAllString(page[0], "-"), "-"), deskSights)
		}
		// The code on Bob's page opens all that happened to him.
		p.open(d.at("", "/.gatehouse/admin/overview")).sees("Support code")
		p.types("code", code).press("Open")
		p.sees(code, "access.no_rule", "a role: Finance office", "What the identity provider said", "email")
		p.lookIn("desk-flow", deskSights)

		// A test sign-in as Alice shows what Campus says of her, and lets nobody in.
		p.open(d.at("", "/.gatehouse/admin/provider?id=campus")).press("Begin a test sign-in")
		if !p.scripts {
			p.until("the way to Campus", func(v view) bool { return strings.Contains(v.Text, "Alice") })
		}
		p.press("Alice")
		p.sees("Nobody was let in", "They would be made as alice", "preferred_username", "alice@campus.example")
		p.lookIn("desk-trial", deskSights)
		p.open(d.at("", "/.gatehouse/admin/people")).sees("carol")
		if v := p.sees("carol"); strings.Contains(v.Text, "alice") {
			t.Error("a test sign-in made a user")
		}
	})
}

// Who administers needs no mouse: to find a person, give and take a role, switch them
// off and on, make and delete one, and decide about a request.
func TestTheDeskWorksWithTheKeyboardAlone(t *testing.T) {
	both(t, func(t *testing.T, d *gate, p *person) {
		bob := newPerson(t, p.scripts)
		bob.open(d.at("wiki", "/")).signIn(campus, "Bob").sees("X-Forwarded-User")
		p.open(d.at("", "/.gatehouse/admin/people")).signIn(campus, "Carol").sees("Everybody who is known here")
		p.tabsTo("q").writes("bo").enter().sees("People whose user name begins with bo")
		p.goes("Bob Ångström").enter().sees("Person: Bob Ångström", "Who said what")
		p.tabsTo("role").writes("Fin").goes("Give the role").enter().sees("The role was given.", "Take the role away")
		p.goes("Take the role away").enter().sees("The role was taken away.", "No role was given by name")
		p.goes("Switch the account off").enter().sees("The account was switched off.", "Switched off")
		bob.open(d.at("wiki", "/")).sees(campus, partner) // he is signed out
		p.goes("Switch the account on").enter().sees("The account was switched on.")

		p.goes("People").enter().sees("Make a user")
		p.tabsTo("name").writes("zoe").tabsTo("mail").writes("zoe@campus.example").goes("Make the user").enter().sees("The user was made.", "zoe")
		p.goes("zoe").enter().sees("Person: zoe")
		p.goes("Delete …").enter().sees("Delete a person: zoe")
		p.goes("Delete for good").enter().sees("The person was deleted.")
		p.open(d.at("", "/.gatehouse/admin/person?name=carol")).sees("Person: Carol")
		p.goes("Switch the account off").enter().sees("That was not done", "your own account", "api.own_account")

		d.verb(t, "requests", "make", "bob", "finance", "--service", "payroll", "--reason", "by telephone", "--until", "8h")
		p.open(d.at("", "/.gatehouse/admin/overview")).sees("To decide")
		p.goes("To decide").enter().sees("by telephone")
		p.goes("Approve").enter().sees("The request is approved", "Nothing waits for you")
	})
}
