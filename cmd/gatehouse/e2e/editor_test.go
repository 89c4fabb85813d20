//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// A change of what the wiki learns, from the first look to the way back: Carol
// drafts it and may not publish it, Alice does, and each request of Alice's at the
// wiki has what is in force then. Nobody touches a mouse.
func TestTheReleaseEditorWithTheKeyboardAloneFromDraftToRollback(t *testing.T) {
	both(t, func(t *testing.T, d *gate, carol *person) {
		d.twoPublish(t)
		alice := newPerson(t, carol.scripts)
		alice.open(d.at("wiki", "/")).signIn(campus, "Alice").sees("X-Forwarded-User")
		mail := func(want string) {
			t.Helper()
			alice.received(d.at("wiki", "/headers")).header(t, "X-Forwarded-Email", want)
		}
		mail("alice@campus.example")

		// From the service to what it learns, and what that is of Alice.
		carol.open(d.at("", "/.gatehouse/admin/service?id=wiki")).signIn(campus, "Carol").sees("What it may learn")
		carol.goes("What it learns, in the release editor").enter().sees("What is learnt by: Wiki", "To send notices of changes", "Kept here")
		carol.tabsTo("name").writes("alice").enter()
		carol.sees("6 values would be sent.", "alice@campus.example", "4 are withheld: no rule releases it")

		// One attribute more: shown before it is saved, and refused whole if it is wrong.
		carol.tabsTo("attribute").writes("given").goes("Choose").enter().sees("How it is released: Wiki", "What for")
		carol.tabsTo("as").writes("first").tabsTo("transform").writes("nonsense(").tabsTo("purpose").writes("To greet").tabsTo("basis").writes("contr")
		carol.goes("Save in the draft").enter().sees("That was not done", "service:wiki: given_name: transform: line 1")
		carol.holds("transform", "nonsense(").holds("purpose", "To greet")
		carol.tabsTo("transform").writes("value.upperAscii()")
		if carol.scripts { // it is shown while she types
			carol.sees("7 values would be sent.", "ALICE", "not yet today")
		}
		carol.goes("Look").enter().sees("7 values would be sent.", "ALICE", "not yet today")
		carol.lookIn("release-rule", deskSights)
		carol.goes("Save in the draft").enter().sees("The draft was saved", "first", "changed by the draft", "ALICE", "To greet", "contract")
		// One less, back again, and less for good; of one only some values.
		carol.goes("Release it no more mail").enter().sees("taken out", "goes out today")
		carol.goes("Put it back").enter().until("mail without a mark", func(v view) bool { return !strings.Contains(v.Text, "taken out") })
		carol.goes("Release it no more mail").enter().sees("taken out")
		carol.goes("groups").enter().sees("How it is released: Wiki")
		carol.tabsTo("values").writes("staff").goes("Save in the draft").enter().sees("The draft was saved", "2 are withheld: only other values may go out")
		carol.lookIn("release-recipient", deskSights)
		carol.open(d.at("", "/.gatehouse/admin/release")).sees("Who learns what", "3 changes", "changed by the draft", "From the file")
		carol.lookIn("release-matrix", deskSights)

		// Somebody who is made up becomes a test case, which is tried at once.
		carol.goes("Preview").enter().sees("Somebody made up")
		carol.tabsTo("attributes").writes("given_name: Kim").goes("Look").enter().sees("KIM")
		carol.lookIn("release-preview", deskSights)
		carol.goes("Keep this as a test case").enter().sees("Keep a test case")
		carol.holds("attributes", "given_name: Kim").holds("sends", "first: KIM")
		carol.tabsTo("name").writes("Kim is greeted").goes("Save in the draft").enter().sees("The draft was saved", "Kim is greeted", "Holds")
		carol.lookIn("release-cases", deskSights)

		// What it means for everybody, and on real requests.
		carol.goes("Draft").enter().sees("What differs", "All hold", "somebody else publishes it")
		carol.goes("Look at everybody").enter().sees("Everybody is looked at now")
		carol.comes("Ended", "Look again")
		carol.sees("mail: 2", "first: 2", "groups: 2")
		carol.goes("People concerned").enter().sees("alice", "first", "mail")
		carol.lookIn("release-affected", deskSights)
		carol.goes("Draft").enter().sees("Try the draft")
		carol.goes("Try the draft").enter().sees("The draft is tried now", "End the trial")
		mail("alice@campus.example")
		carol.open(d.at("", "/.gatehouse/admin/release/draft")).sees("End the trial", "1 / 1")
		carol.lookIn("release-draft", deskSights)
		carol.goes("End the trial").enter().sees("The trial has ended")

		// Alice publishes what Carol drafted, and is the first whom it meets.
		alice.open(d.at("", "/.gatehouse/admin/release/draft")).sees("What differs", "carol", "It counts from the next request")
		alice.tabsTo("comment").writes("Less mail").goes("Publish").enter().sees("It is in force", "Version 1", "Less mail")
		mail("")

		// A bundle that breaks the promise to Kim is not published.
		carol.open(d.at("", "/.gatehouse/admin/release/to?to=service:wiki")).sees("Bundle")
		carol.tabsTo("bundle").writes("anon").goes("Take these attributes").enter().sees("The draft was saved", "home_organization", "taken out")
		alice.open(d.at("", "/.gatehouse/admin/release/draft")).sees("1 fails", "would lose user_name")
		alice.tabsTo("accept").writes(" ").goes("Publish").enter().sees("That was not done", "Kim is greeted", "release.case_fails")
		carol.open(d.at("", "/.gatehouse/admin/release/draft")).sees("1 fails")
		carol.goes("Throw the draft away").enter().sees("The draft was thrown away")

		// What was published, what it changed, and the way back.
		carol.goes("History").enter().sees("Version 1", "What the file says", "alice")
		carol.lookIn("release-history", deskSights)
		carol.goes("3 changes").enter().sees("What differs", "To greet")
		carol.lookIn("release-diff", deskSights)
		carol.goes("History").enter().sees("Put into force again")
		carol.goes("Put into force again").enter().sees("It is in force", "Version 2", "Version 0 again")
		mail("alice@campus.example")
	})
}

// twoPublish takes two people to publish a release policy: Alice may, too.
func (g *gate) twoPublish(t testing.TB) {
	t.Helper()
	g.changed(t, "admins: { roles: [gatehouse-admin] }", "admins: { roles: [gatehouse-admin], release_editors: { users: [alice] } }\nrelease: { second_person: true }")
}

// changed changes the demo's configuration, and waits until it has read it again.
func (g *gate) changed(t testing.TB, was, is string) {
	t.Helper()
	raw, err := os.ReadFile(g.config)
	if err != nil {
		t.Fatal(err)
	}
	next := strings.Replace(string(raw), was, is, 1)
	if next == string(raw) {
		t.Fatalf("the demo's configuration does not say %q", was)
	}
	const taken = "configuration taken"
	before := strings.Count(g.log.String(), taken)
	if err := os.WriteFile(g.config, []byte(next), 0o600); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(patience); strings.Count(g.log.String(), taken) == before; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("the configuration is not taken:\n%s", g.log.tail(5))
		}
	}
}

// goes goes with the Tab key to the link or button that bears a label, its unseen
// words included, and checks that the focus can be seen there.
func (p *person) goes(label string) *person {
	p.t.Helper()
	p.tabsWhile(label, fmt.Sprintf(`(e => !(e.matches("a, button") && e.textContent.replace(/\s+/g, " ").trim().startsWith(%q)))`, label))
	return p
}

// tabsTo goes with the Tab key to the field with that id.
func (p *person) tabsTo(id string) *person {
	p.t.Helper()
	p.tabsWhile(id, fmt.Sprintf(`(e => e.id !== %q)`, id))
	return p
}

// tabsWhile presses Tab until what has the focus is not so any more.
func (p *person) tabsWhile(what, so string) {
	p.t.Helper()
	for range 150 {
		p.do("Tab", chromedp.KeyEvent(kb.Tab))
		on := evaluate[struct {
			Still bool
			Sign  string
		}](p, `(e => ({Still: `+so+`(e), Sign: getComputedStyle(e).outlineStyle}))(document.activeElement)`)
		if !on.Still {
			if on.Sign == "none" {
				p.t.Errorf("the focus on %q can not be seen", what)
			}
			return
		}
	}
	p.keep("failed-" + strings.ReplaceAll(p.t.Name(), "/", "-"))
	p.t.Fatalf("the Tab key never reaches %q in %s", what, p.sees("").Text)
}

// holds says what is in the field with that id.
func (p *person) holds(id, want string) *person {
	p.t.Helper()
	if got := evaluate[string](p, fmt.Sprintf(`document.getElementById(%q).value`, id)); got != want {
		p.t.Errorf("the field %s holds %q, want %q", id, got, want)
	}
	return p
}

// comes waits for what a page shows by itself; without scripts, for what it shows
// when one looks again.
func (p *person) comes(part, again string) {
	p.t.Helper()
	p.until(part, func(v view) bool {
		if strings.Contains(v.Text, part) {
			return true
		}
		if !p.scripts && strings.Contains(v.Text, again) {
			p.goes(again).enter()
		}
		return false
	})
}
