//go:build e2e

package e2e

import (
	"regexp"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// deskPages are those of the desk of administrators, with something that each says.
var deskPages = [][2]string{
	{"overview", "Support code"}, {"people", "Make a user"}, {"person?name=bob&service=payroll", "May not"}, {"person/delete?name=bob", "Delete for good"},
	{"groups", "Make a group"}, {"services", "payroll.localhost"}, {"service?id=payroll", "has a role: finance"},
	{"targets", "Staff directory"}, {"target?id=directory&name=bob", "May the target be asked?"}, {"tasks", "given up"},
	{"providers", "SAML 2.0"}, {"provider?id=campus", "Begin a test sign-in"}, {"clients", "HR system"}, {"client?client=hr", "Make a token"},
	{"audit?verify=yes", "Whole"}, {"settings", "Listens at"},
}

// deskSights are both themes, one wide and one narrow: made-up boards are looked at
// in all four.
var deskSights = []sight{{"light", 1280}, {"dark", 320}}

// Carol goes through every page of the desk. Each is held to what pages promise, in
// both themes and at 320 pixels. What she does is done, with scripts and
// without, and by keyboard alone where she searches.
func TestCarolGoesThroughTheDesk(t *testing.T) {
	both(t, func(t *testing.T, d *gate, p *person) {
		bob := newPerson(t, p.scripts)
		bob.open(d.at("payroll", "/")).signIn(campus, "Bob")
		code := supportCode.FindString(bob.sees("Payroll is for the finance office").Text)
		p.open(d.at("", "/.gatehouse/admin/")).signIn(campus, "Carol")
		p.sees("Overview", "Sign-ins", "Staff directory")
		for _, page := range deskPages {
			p.open(d.at("", "/.gatehouse/admin/"+page[0])).sees(page[1])
			p.lookIn("desk-"+strings.Trim(regexp.MustCompile(`[^a-z]+`).ReplaceAllString(page[0], "-"), "-"), deskSights)
		}
		p.deskByKeyboard(d)
		p.deskChanges(d)

		// The code on Bob's page opens all that happened to him.
		p.open(d.at("", "/.gatehouse/admin/overview")).sees("Support code")
		p.types("code", code).press("Open")
		p.sees(code, "access.no_rule", "a role: finance", "What the identity provider said", "email")
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

// deskByKeyboard searches with nothing but the keyboard.
func (p *person) deskByKeyboard(d *gate) {
	p.t.Helper()
	p.open(d.at("", "/.gatehouse/admin/people")).sees("Everybody who is known here")
	for range 60 {
		p.do("Tab", chromedp.KeyEvent(kb.Tab))
		if evaluate[string](p, `document.activeElement.id`) == "q" {
			break
		}
	}
	p.do("bo, Enter", chromedp.KeyEvent("bo"), chromedp.KeyEvent(kb.Enter))
	p.sees("People whose user name begins with bo")
	for range 60 {
		p.do("Tab", chromedp.KeyEvent(kb.Tab))
		if evaluate[string](p, `document.activeElement.innerText`) == "Bob Ångström" {
			break
		}
	}
	p.do("Enter", chromedp.KeyEvent(kb.Enter))
	p.sees("Person: Bob Ångström", "Who said what")
}

// deskChanges makes a user, switches them off, and deletes them.
func (p *person) deskChanges(d *gate) {
	p.t.Helper()
	p.open(d.at("", "/.gatehouse/admin/people")).sees("Make a user")
	p.types("name", "zoe").types("mail", "zoe@campus.example").press("Make the user")
	p.sees("The user was made.", "zoe")
	p.open(d.at("", "/.gatehouse/admin/person?name=zoe")).press("Switch the account off")
	p.sees("The account was switched off.", "Switched off")
	p.press("Delete …")
	p.sees("Delete a person: zoe")
	p.press("Delete for good")
	p.sees("The person was deleted.")
	p.open(d.at("", "/.gatehouse/admin/person?name=carol")).press("Switch the account off")
	p.sees("That was not done", "your own account", "api.own_account")
}
