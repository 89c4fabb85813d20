//go:build e2e

package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

// plainPayroll takes the second factor from the demo's rule, so that the role is
// all that is missing.
func (g *gate) plainPayroll(t testing.TB) {
	t.Helper()
	g.changed(t, `, acr: ["https://refeds.org/profile/mfa"]`, "")
}

// The whole loop with three people in three browsers: Bob is denied and asks,
// Alice approves, the page that Bob wanted opens without another sign-in; and Carol
// finds all of it in the audit log.
func TestThreePeopleTurnADenialIntoAccess(t *testing.T) {
	both(t, func(t *testing.T, d *gate, bob *person) {
		d.plainPayroll(t)
		alice, carol := newPerson(t, bob.scripts), newPerson(t, bob.scripts)
		alice.open(d.at("wiki", "/"))
		alice.signIn(campus, "Alice").sees("X-Forwarded-User", "alice")

		page := d.at("payroll", "/slips/2026-11?for=bob")
		bob.open(page)
		bob.signIn(campus, "Bob").sees("You can’t open Payroll yet", "Ask for access")
		bob.look("denied-ask")
		bob.press("Ask for access")
		bob.sees("Ask for access to Payroll", "Payroll is for the finance office", "Why do you need it?")
		bob.look("ask")
		bob.do("why", chromedp.SendKeys(chromedp.CSS("#reason"), "The November closing"))
		bob.press("Send the request")
		bob.sees("Your request was sent", "Waiting", "The November closing")
		bob.look("requests-waiting")
		if bob.scripts { // the day that he chose is told as a day where all of it counts
			for zone, moment := range map[string]bool{"Asia/Tokyo": false, "America/New_York": true} {
				call(bob, emulation.SetTimezoneOverride, emulation.SetTimezoneOverrideParams{TimezoneID: zone})
				bob.open(d.at("", "/.gatehouse/requests")).sees("The November closing")
				if end := evaluate[string](bob, `document.querySelector('time:not([datetime*="T"])').textContent`); strings.Contains(end, ":") != moment {
					t.Errorf("in %s the request is wanted until %q", zone, end)
				}
			}
			call(bob, emulation.SetTimezoneOverride, emulation.SetTimezoneOverrideParams{})
		}
		bob.open(page)
		bob.sees("You have asked for access", "Finance office")
		bob.look("denied-waiting")

		alice.open(d.at("", "/"))
		alice.press("To decide")
		alice.sees("Bob Ångström asks for Finance office", "The November closing", "Would open", "Payroll")
		alice.look("deciding")
		alice.do("an answer", chromedp.SendKeys(chromedp.CSS(`input[name="text"]`), "Until the closing is done."))
		alice.press("Approve")
		alice.sees("The request is approved", "Nothing waits for you")

		bob.open(page)
		bob.at(page)
		bob.sees("Remote-User") // in the same session: nobody asked who he is
		bob.open(d.at("", "/.gatehouse/requests"))
		bob.sees("Approved", "Until the closing is done.", "Open Payroll")
		bob.look("requests-approved")

		bob.open(d.at("", "/.gatehouse/me"))
		bob.sees("What is said about you", "bob@campus.example", "Given by alice", "This browser")
		bob.look("me")

		carol.open(d.at("", "/.gatehouse/api/v1/audit?kind=request.approved"))
		carol.signIn(campus, "Carol").sees("request.approved", "payroll", "role finance")
	})
}

// writes types into whatever has the focus.
func (p *person) writes(text string) *person {
	p.t.Helper()
	p.do("type", chromedp.KeyEvent(text))
	return p
}

func TestAskingAndDecidingWorkWithTheKeyboardAlone(t *testing.T) {
	both(t, func(t *testing.T, d *gate, bob *person) {
		d.plainPayroll(t)
		alice := newPerson(t, bob.scripts)
		alice.open(d.at("wiki", "/"))
		alice.signIn(campus, "Alice").sees("X-Forwarded-User")
		page := d.at("payroll", "/")
		bob.open(page)
		bob.signIn(campus, "Bob").sees("Ask for access")
		bob.reaches("Ask for access").enter().sees("Why do you need it?")
		// What was refused is typed again in the field that it is about.
		bob.tabsTo("reason").writes(" ").reaches("Send the request").enter()
		bob.sees("That was not done", "Say why")
		bob.tabsTo("reason").writes("Keys alone").reaches("Send the request").enter()
		bob.sees("Your request was sent", "Keys alone")
		alice.open(d.at("", "/.gatehouse/requests/open"))
		alice.sees("Keys alone")
		alice.reaches("Approve").enter().sees("The request is approved")
		bob.open(page)
		bob.at(page)
		bob.sees("Remote-User")
	})
}

// A denial that somebody decides about looks again by itself, and becomes the page.
func TestAPageThatWaitsOpensByItself(t *testing.T) {
	t.Parallel()
	d, bob := demo(t), newPerson(t, false)
	d.plainPayroll(t)
	bob.open(d.at("payroll", "/"))
	bob.signIn(campus, "Bob").sees("Ask for access")
	id := strings.Fields(d.verb(t, "requests", "make", "bob", "finance", "--service", "payroll", "--reason", "by telephone", "--until", "8h"))[2]
	bob.open(d.at("payroll", "/"))
	bob.sees("You have asked for access")
	d.verb(t, "requests", "approve", id)
	bob.until("the page, without a hand on it", func(v view) bool { return strings.Contains(v.Text, "Remote-User") })
	if out := d.verb(t, "roles", "list", "finance"); !strings.Contains(out, "bob") {
		t.Error(fmt.Sprint("Bob has no role: ", out))
	}
}
