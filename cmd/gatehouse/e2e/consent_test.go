//go:build e2e

package e2e

import "testing"

// Bob is asked before the wiki learns his mail address, gives it, and takes it back;
// Alice gives nothing and uses the wiki all the same. By keyboard alone.
func TestConsentIsGivenAndTakenBack(t *testing.T) {
	both(t, func(t *testing.T, d *gate, bob *person) {
		d.changed(t, "To send notices of changes }", "To send notices of changes, basis: consent }")
		page := d.at("wiki", "/page?x=1")
		mail := func(p *person, want string) {
			t.Helper()
			p.received(d.at("wiki", "/headers")).header(t, "X-Forwarded-Email", want)
		}
		bob.open(page).signIn(campus, "Bob").sees("What Wiki would learn about you", "bob@campus.example", "To send notices of changes")
		bob.lookIn("consent", deskSights)
		bob.tabsTo(bob.given()).writes(" ").goes("Save and continue").enter()
		bob.at(page)
		mail(bob, "bob@campus.example")

		bob.open(d.at("", "/.gatehouse/consent")).sees("What others learn about you", "bob@campus.example")
		bob.tabsTo(bob.given()).writes(" ").goes("Save and continue").enter().sees("Your choice is kept")
		mail(bob, "")
		bob.open(page)
		bob.at(page) // nobody asks twice

		alice := newPerson(t, bob.scripts)
		alice.open(page).signIn(campus, "Alice").sees("What Wiki would learn about you")
		alice.goes("Continue without any of it").enter()
		alice.at(page)
		mail(alice, "")
	})
}

// given is the id of the first box that one ticks to agree.
func (p *person) given() string {
	p.t.Helper()
	return evaluate[string](p, `document.querySelector("input[name=given]").id`)
}
