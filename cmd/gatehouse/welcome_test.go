package main

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"github.com/gatehouse-sso/gatehouse/federation"
	"github.com/gatehouse-sso/gatehouse/provisioning"
)

// asking is a lab whose Partner University asks erik, of whom it sends no mail,
// for his mail and his user name, and where a service wants a mail of the partner.
func asking(t *testing.T) *lab {
	l := newLab(t, func(c *labConfig) { c.Services = []string{"forum"} })
	l.reload(func(s string) string {
		from := "attributes: { mail: mail, display_name: displayName, groups: isMemberOf }\n    provisioning: { mode: async, user_store: partners,"
		to := strings.Replace(from, "mail: mail,", "mail: { from: mail, required: true, ask: true }, nickname: { from: nick, ask: true },", 1)
		to = strings.Replace(to, "mode: async,", "mode: async, prompt: choose,", 1)
		return strings.Replace(s, from, to, 1)
	})
	return l
}

// welcomeOf is the address of the partner's answer for a user, brought to us: the
// page that asks.
func welcomeOf(t *testing.T, l *lab, user string) *person {
	t.Helper()
	p := l.person()
	p.open(l.at("wiki", "/")).signIn("partner", user).wants(http.StatusOK, "/.gatehouse/welcome", "Welcome")
	return p
}

func TestWhoComesFirstIsAskedForWhatTheProviderDoesNotSay(t *testing.T) {
	t.Parallel()
	l := asking(t)
	erik := welcomeOf(t, l, "erik")
	if n := l.rows()["user"]; n != 0 {
		t.Fatalf("%d users before the answers", n)
	}
	// What will not do is said, nothing is made, and what was typed stays.
	erik.submit(url.Values{"user_name": {"eric"}, "attribute.mail": {"nonsense"}}).wants(http.StatusUnprocessableEntity, `value="nonsense"`, `value="eric"`)
	erik.submit(url.Values{"user_name": {"eric"}, "attribute.mail": {""}}).wants(http.StatusUnprocessableEntity)
	if n := l.rows()["user"]; n != 0 {
		t.Fatalf("%d users after answers that will not do", n)
	}
	// Nobody says by the form what they were not asked.
	erik.submit(url.Values{"user_name": {"eric"}, "attribute.mail": {"erik@home.example"}, "attribute.groups": {"fin"}, "attribute.display_name": {"The Dean"}}).wants(http.StatusOK)
	if got := erik.received(); strings.Join(got["X-Forwarded-User"], "") != "partners/eric" || strings.Join(got["X-Forwarded-Email"], "") != "erik@home.example" || strings.Join(got["X-Forwarded-Groups"], "") != "guests" {
		t.Errorf("the wiki received %v", got)
	}
	u, err := l.p.site.Load().directory.ByName(t.Context(), "partners", "eric")
	if err != nil {
		t.Fatal(err)
	}
	if got := u.Says(provisioning.Self, "mail"); len(got) != 1 || len(u.Says(provisioning.Self, "display_name"))+len(u.Says(provisioning.Self, "groups")) > 0 {
		t.Errorf("kept %v", u.Attributes)
	}
	// The next time nothing is asked.
	l.person().open(l.at("wiki", "/")).signIn("partner", "erik").wants(http.StatusOK, "X-Forwarded-User")
}

func TestANameThatSomebodyHasCanNotBeChosen(t *testing.T) {
	t.Parallel()
	l := asking(t)
	welcomeOf(t, l, "dana").submit(url.Values{"user_name": {"dana"}}).wants(http.StatusOK)
	erik := welcomeOf(t, l, "erik")
	erik.submit(url.Values{"user_name": {"DANA"}, "attribute.mail": {"erik@home.example"}}).wants(http.StatusUnprocessableEntity, "Somebody else has that user name")
	erik.submit(url.Values{"user_name": {"erik"}}).wants(http.StatusOK, "X-Forwarded-User")
}

func TestAnswersThatAreForgedReplayedOrOfAnotherBrowserAreRefused(t *testing.T) {
	t.Parallel()
	l := asking(t)
	answers := url.Values{"user_name": {"erik"}, "attribute.mail": {"erik@home.example"}}
	sealed := func(p *person) url.Values {
		form := url.Values{}
		for k, v := range answers {
			form[k] = v
		}
		form.Set("state", hidden(p, "state"))
		return form
	}
	home := l.at("", "/.gatehouse/welcome")
	refused := func(code string, p *person, form url.Values) {
		t.Helper()
		p.do(http.MethodPost, home, form).wants(http.StatusBadRequest, code)
		if n := l.rows()["user"]; n != 0 {
			t.Fatalf("%s: %d users", code, n)
		}
	}
	erik := welcomeOf(t, l, "erik")
	form := sealed(erik)

	bent := sealed(erik)
	bent.Set("state", strings.Replace(form.Get("state"), form.Get("state")[40:44], "AAAA", 1))
	refused(federation.ReasonStateUnknown, erik, bent)
	refused(federation.ReasonStateUnknown, erik, answers)
	refused(federation.ReasonStateUnknown, welcomeOf(t, l, "dana"), form) // another browser's
	refused(federation.ReasonStateUnknown, l.person().open(l.at("", "/")), form)
	erik.from(home, map[string]string{"Sec-Fetch-Site": "cross-site"}).wants(http.StatusForbidden, "request.cross_site")

	erik.do(http.MethodPost, home, form).settle().wants(http.StatusOK, "X-Forwarded-User")
	erik.do(http.MethodPost, home, form)
	if erik.status < 400 {
		t.Errorf("the form was taken twice: %d at %s", erik.status, erik.url)
	}
	if n := l.rows()["user"]; n != 1 {
		t.Errorf("%d users", n)
	}
}

func TestNoRuleBelievesWhatSomebodySaysOfThemselves(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		trust  string
		status int
	}{"not trusted": {"", http.StatusForbidden}, "trusted": {"trust_self: [ mail ]\n", http.StatusOK}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := asking(t)
			l.reload(func(s string) string {
				s = strings.Replace(s, "    access: [ { id: everyone, allow: { signed_in: true } } ]\n    release: [ user_name ]\ntargets:",
					"    access: [ { id: mail, allow: { attributes: { mail: [ erik@home.example ] } } }, { id: when, allow: { when: '\"erik@home.example\" in user.attributes.mail' } } ]\n    release: [ user_name ]\ntargets:", 1)
				return strings.Replace(s, "roles:\n", c.trust+"roles:\n", 1)
			})
			erik := welcomeOf(t, l, "erik")
			erik.submit(url.Values{"user_name": {"erik"}, "attribute.mail": {"erik@home.example"}}).wants(http.StatusOK, "erik@home.example")
			erik.open(l.at("forum", "/")).wants(c.status)
		})
	}
}

// hidden is a field of the form on the page in front that people do not see.
func hidden(p *person, name string) (value string) {
	walk(p.doc, func(n *html.Node) bool {
		if n.Data == "input" && attr(n, "name") == name {
			value = attr(n, "value")
		}
		return true
	})
	return value
}
