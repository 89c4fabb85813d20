//go:build e2e

package e2e

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// both walks a journey with scripts and without, each in a demo of its own.
func both(t *testing.T, journey func(t *testing.T, d *gate, p *person)) {
	t.Parallel()
	for name, scripts := range map[string]bool{"with scripts": true, "without": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			journey(t, demo(t), newPerson(t, scripts))
		})
	}
}

func TestAliceSignsInAtCampusAndTheWikiKnowsHer(t *testing.T) {
	both(t, func(t *testing.T, d *gate, p *person) {
		p.open(d.at("wiki", "/"))
		p.sees("Wiki", campus, partner)
		p.look("chooser")
		p.press(campus)
		p.sees("Alice Liddell", "Gatehouse")
		p.look("campus")
		p.press("Alice Liddell")
		p.sees("X-Forwarded-User", "alice@campus.example")
		p.at(d.at("wiki", "/"))
		p.look("wiki")
		e := p.received(d.at("wiki", "/headers"))
		e.header(t, "X-Forwarded-User", "alice")
		e.header(t, "X-Forwarded-Email", "alice@campus.example")
		e.header(t, "X-Forwarded-Groups", "fin,finance-approvers,staff")
		e.header(t, "X-Gatehouse-Provisioned", "done")
		e.header(t, "Cookie", "")
		p.open(fmt.Sprintf("http://localhost:%d/", d.port+3))
		p.sees("alice", "Alice Liddell")
		p.look("target")
	})
}

func TestDanaSignsInBySAMLAndComesBackToHerReport(t *testing.T) {
	both(t, func(t *testing.T, d *gate, p *person) {
		p.open(d.at("wiki", "/report?x=1&y=%C3%A4"))
		p.sees("Wiki", partner)
		p.press(partner)
		p.sees("Dana Okafor")
		p.look("partner")
		p.press("Dana Okafor")
		if !p.scripts {
			p.sees("sends you back")
			p.press("Continue")
		}
		p.at(d.at("wiki", "/report?x=1&y=%C3%A4"))
		p.received(d.at("wiki", "/headers")).header(t, "X-Forwarded-User", "partners/dana")
	})
}

func TestBobIsToldWhyPayrollIsClosedAndTheSupportCodeLeadsThere(t *testing.T) {
	both(t, func(t *testing.T, d *gate, p *person) {
		p.open(d.at("payroll", "/"))
		p.signIn(campus, "Bob")
		v := p.sees(
			"Payroll is for the finance office, signed in with a second factor.", // what is missing
			"Bob Ångström", campus, // who he is
			"payroll@campus.example", // whom to ask
		)
		if v.Status != 403 {
			t.Errorf("status %d, want 403", v.Status)
		}
		p.look("denied")
		d.found(t, v, "access.no_rule")
		p.press("Deutsch")
		p.until("the same in German", func(v view) bool { return strings.Contains(v.Text, "Payroll") && !strings.Contains(v.Text, "You are") })
		if lang := evaluate[string](p, "document.documentElement.lang"); lang != "de" {
			t.Errorf("the page's language is %q", lang)
		}
		p.look("denied-german")
	})
}

func TestAliceIsAskedForHerSecondFactorAndPasses(t *testing.T) {
	both(t, func(t *testing.T, d *gate, p *person) {
		p.open(d.at("wiki", "/"))
		p.signIn(campus, "Alice")
		p.at(d.at("wiki", "/"))
		p.open(d.at("payroll", "/slips?month=2"))
		p.press("Alice Liddell")
		p.sees("a second factor was asked for")
		p.look("campus-second-factor")
		p.press("Confirm with your second factor")
		p.at(d.at("payroll", "/slips?month=2"))
		p.open(d.at("payroll", "/"))
		p.sees("Payroll", "Remote-User", "alice")
		p.look("payroll")
	})
}

func TestErikLearnsWhichAttributeIsMissing(t *testing.T) {
	both(t, func(t *testing.T, d *gate, p *person) {
		p.open(d.at("wiki", "/"))
		p.signIn(partner, "Erik")
		v := p.sees(partner, "mail", "helpdesk@campus.example")
		if v.Status != 403 {
			t.Errorf("status %d, want 403", v.Status)
		}
		p.look("missing-attribute")
		d.found(t, v, "jit.attribute_missing")
	})
}

// Twenty tabs are opened before anybody signs in, and each is signed in on its
// own: none may take another's place.
func TestTwentyTabsAtOnceComeBackToWhereTheyWere(t *testing.T) {
	t.Parallel()
	for _, idp := range []struct{ title, who string }{{campus, "Alice"}, {partner, "Dana"}} {
		t.Run(idp.title, func(t *testing.T) {
			t.Parallel()
			d, p := demo(t), newPerson(t, true)
			tabs, want := make([]*person, 20), make([]string, 20)
			for i := range tabs {
				tabs[i], want[i] = p.tab(), d.at("wiki", fmt.Sprintf("/tab/%d?q=%d", i, i))
			}
			var all sync.WaitGroup
			for i, tab := range tabs {
				all.Go(func() { _, _ = chromedp.Call(tab.ctx, page.Navigate, page.NavigateParams{URL: want[i]}) }) // where it came to is seen below
			}
			all.Wait()
			for _, tab := range tabs {
				tab.sees("Wiki", idp.title)
				tab.press(idp.title)
				tab.sees(idp.who)
			}
			for _, tab := range slices.Backward(tabs) {
				tab.press(idp.who)
			}
			for i, tab := range tabs {
				tab.at(want[i])
			}
			p.open(d.at("wiki", "/after"))
			p.at(d.at("wiki", "/after"))
		})
	}
}

// What somebody wrote into a form while their session ended is neither kept
// nor sent on: they are told, and come back by GET.
func TestAFormSentWithoutASessionIsNotForwardedAndTheyAreTold(t *testing.T) {
	both(t, func(t *testing.T, d *gate, p *person) {
		p.open(d.at("wiki", "/"))
		p.signIn(campus, "Bob")
		p.at(d.at("wiki", "/"))
		evaluate[int](p, `document.body.innerHTML = '<form method="post" action="/save?page=7"><input name="text" value="precious"><button>Save</button></form>', 0`)
		call(p, network.DeleteCookies, network.DeleteCookiesParams{Name: p.cookie(d.at("wiki", "/"), fmt.Sprintf("gatehouse-%d", d.port)).Name, URL: d.at("wiki", "/")})
		for name := range p.cookies(d.at("wiki", "/")) {
			call(p, network.DeleteCookies, network.DeleteCookiesParams{Name: name, URL: d.at("wiki", "/")})
		}
		for name := range p.cookies(d.at("", "/")) {
			call(p, network.DeleteCookies, network.DeleteCookiesParams{Name: name, URL: d.at("", "/")})
		}
		p.press("Save")
		v := p.sees("was not sent", "Wiki")
		if v.Status != 401 {
			t.Errorf("status %d, want 401", v.Status)
		}
		p.look("return-by-get")
		p.press("Sign in")
		p.signIn(campus, "Bob")
		if v := p.at(d.at("wiki", "/save?page=7")); !strings.Contains(v.Text, `"method": "GET"`) || strings.Contains(v.Text, "precious") {
			t.Errorf("the wiki got:\n%s", v.Text)
		}
	})
}

func TestSigningOutHereEndsItInTheOtherTab(t *testing.T) {
	both(t, func(t *testing.T, d *gate, p *person) {
		p.open(d.at("wiki", "/"))
		p.signIn(campus, "Carol")
		p.at(d.at("wiki", "/"))
		other := p.tab()
		other.open(d.at("wiki", "/other"))
		other.at(d.at("wiki", "/other"))
		p.press("Sign out")
		p.sees("Carol Núñez", "Wiki", "Payroll")
		p.look("confirm")
		p.press("Sign out")
		p.sees("signed out", campus)
		p.look("signed-out")
		other.open(d.at("wiki", "/other"))
		other.sees("Wiki", campus, partner)
	})
}

func TestThePortalShowsWhatOneMayUse(t *testing.T) {
	both(t, func(t *testing.T, d *gate, p *person) {
		p.open(d.at("", "/"))
		p.signIn(campus, "Bob")
		p.sees("Bob Ångström", "Wiki", "Payroll is for the finance office")
		p.look("portal")
		p.press("Wiki")
		p.at(d.at("wiki", "/"))
	})
}

func TestWhoeverSaysNoAtTheProviderIsToldAndCanTryAgain(t *testing.T) {
	both(t, func(t *testing.T, d *gate, p *person) {
		for _, idp := range []string{campus, partner} {
			p.open(d.at("wiki", "/again"))
			p.press(idp)
			p.press("Cancel")
			if idp == partner && !p.scripts {
				p.press("Continue")
			}
			v := p.sees(idp, "Support code")
			p.look("failed-cancelled-" + strings.Fields(strings.ToLower(idp))[0])
			d.found(t, v, "login.provider_refused")
		}
		p.press("again")
		p.signIn(campus, "Alice")
		p.at(d.at("wiki", "/again"))
	})
}

func TestADisabledUserIsToldSo(t *testing.T) {
	both(t, func(t *testing.T, d *gate, p *person) {
		p.open(d.at("wiki", "/"))
		p.signIn(campus, "Bob")
		p.at(d.at("wiki", "/"))
		d.verb(t, "users", "disable", "bob")
		p.open(d.at("wiki", "/again"))
		p.until("no wiki", func(v view) bool {
			return v.URL != d.at("wiki", "/") && v.Status != 200 || strings.Contains(v.Text, campus)
		})
		p.open(d.at("wiki", "/once-more"))
		v := p.until("an answer", func(v view) bool { return v.URL != d.at("wiki", "/again") })
		if strings.Contains(v.Text, partner) { // the session ended with the user
			p.signIn(campus, "Bob")
			v = p.sees("Support code")
		}
		if v.Status != 403 {
			t.Errorf("status %d, want 403:\n%s", v.Status, v.Text)
		}
		p.look("inactive")
		d.found(t, v, "user.inactive")
	})
}

func TestAnAddressThatIsNobodysIsRefusedInWords(t *testing.T) {
	both(t, func(t *testing.T, d *gate, p *person) {
		for _, c := range []struct {
			to, name string
			status   int
		}{{d.at("nobody", "/"), "failed-host", 421}, {d.at("", "/.gatehouse/nothing"), "failed-path", 404}, {d.at("wiki", "/a%2fb"), "failed-ambiguous", 400}} {
			p.open(c.to)
			if v := p.until("an error page", func(v view) bool { return v.URL == c.to && v.Text != "" }); v.Status != c.status {
				t.Errorf("%s: status %d, want %d:\n%s", c.to, v.Status, c.status, v.Text)
			}
			p.look(c.name)
		}
	})
}

// reaches goes with the Tab key to what bears the label, and checks that the
// focus can be seen there.
func (p *person) reaches(label string) *person {
	p.t.Helper()
	for range 25 {
		p.do("Tab", chromedp.KeyEvent(kb.Tab))
		on := evaluate[struct{ Text, Outline string }](p, `(e => ({Text: e.innerText || e.value || "", Outline: getComputedStyle(e).outlineStyle + " " + getComputedStyle(e).outlineWidth}))(document.activeElement)`)
		if on.Outline == "none 0px" {
			p.t.Errorf("the focus on %q can not be seen", on.Text)
		}
		if strings.Contains(on.Text, label) {
			return p
		}
	}
	p.t.Fatalf("the Tab key never reaches %q", label)
	return nil
}

func (p *person) enter() *person {
	p.t.Helper()
	p.do("Enter", chromedp.KeyEvent(kb.Enter))
	return p
}

func TestEverythingCanBeDoneWithTheKeyboardAlone(t *testing.T) {
	both(t, func(t *testing.T, d *gate, p *person) {
		p.open(d.at("payroll", "/"))
		p.sees(campus, partner)
		p.reaches(campus).enter()
		p.sees("Bob Ångström")
		p.reaches("Bob Ångström").enter()
		p.sees("Payroll is for the finance office")
		p.reaches("Sign out").enter()
		p.sees("Wiki", "Payroll", "Bob Ångström")
		p.reaches("Sign out").enter()
		p.sees("signed out")
	})
}
