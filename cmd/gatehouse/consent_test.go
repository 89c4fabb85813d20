package main

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"github.com/gatehouse-sso/gatehouse/authz"
)

// consenting is a lab whose wiki gets mail only by consent, and whose target gets
// it so too.
func consenting(t *testing.T, notice bool) *lab {
	l := newLab(t, nil)
	l.reload(func(s string) string {
		wiki := "[ user_name, { attribute: mail, basis: consent, purpose: News of the wiki }, display_name, groups ]"
		if notice {
			wiki = "[ user_name, display_name ]\n    notice: true"
		} else {
			s = strings.Replace(s, "release: [ mail, display_name ]", "release: [ { attribute: mail, basis: consent }, display_name ]", 1)
		}
		return strings.Replace(s, "[ user_name, mail, display_name, groups ]", wiki, 1)
	})
	return l
}

// agree answers the page in front: to these keys, yes.
func (p *person) agree(keys ...string) *person {
	p.w.t.Helper()
	if len(keys) == 0 {
		return p.submitAll(url.Values{"none": {"1"}})
	}
	return p.submitAll(url.Values{"given": keys})
}

// submitAll posts the first form, with every value of fields that are there several times.
func (p *person) submitAll(with url.Values) *person {
	p.w.t.Helper()
	form := url.Values{}
	walk(p.doc, func(n *html.Node) bool {
		if n.Data == "input" && attr(n, "type") == "hidden" {
			form.Add(attr(n, "name"), attr(n, "value"))
		}
		return true
	})
	for k, v := range with {
		form[k] = v
	}
	return p.do(http.MethodPost, p.w.at("", "/.gatehouse/consent"), form).settle()
}

func TestWhatNeedsConsentGoesOutOnlyWithIt(t *testing.T) {
	t.Parallel()
	l := consenting(t, false)
	bob := l.person()
	bob.open(l.at("wiki", "/page?x=1")).signIn("campus", "bob").wants(http.StatusOK, "What Wiki would learn about you", "bob@campus.example", "News of the wiki")
	// A program of his gets on without, and without his mail.
	bob.program(http.MethodGet, l.at("wiki", "/feed")).wants(http.StatusOK)
	if strings.Contains(bob.body, "bob@campus.example") {
		t.Error("his mail went out before he was asked")
	}
	bob.open(l.at("wiki", "/page?x=1"))
	bob.agree().wants(http.StatusOK, "X-Forwarded-User")
	if strings.Contains(bob.body, "bob@campus.example") || bob.url.String() != l.at("wiki", "/page?x=1") {
		t.Errorf("after a no, at %s: %s", bob.url, bob.body)
	}
	// He is not asked again, and changes his mind by himself.
	bob.open(l.at("wiki", "/")).wants(http.StatusOK, "X-Forwarded-User")
	bob.open(l.at("", "/.gatehouse/consent")).wants(http.StatusOK, "What others learn about you", "service:wiki mail", "target:directory mail")
	bob.agree("service:wiki mail", "target:directory mail").wants(http.StatusOK, "Your choice is kept")
	eventually(t, "the wiki learns his mail", func() bool { return strings.Contains(bob.open(l.at("wiki", "/")).body, "bob@campus.example") })
	eventually(t, "the target learns his mail", func() bool { return strings.Contains(l.account("bob"), "bob@campus.example") })
	// What he takes back is taken away everywhere.
	bob.open(l.at("", "/.gatehouse/consent"))
	bob.agree("service:wiki mail").wants(http.StatusOK)
	eventually(t, "the target forgets his mail", func() bool { a := l.account("bob"); return a != "" && !strings.Contains(a, "bob@campus.example") })
	if !strings.Contains(bob.open(l.at("wiki", "/")).body, "bob@campus.example") {
		t.Error("the wiki lost what it may have")
	}
}

func TestNobodyAgreesToWhatTheyWereNotShown(t *testing.T) {
	t.Parallel()
	l := consenting(t, false)
	bob := l.person()
	bob.open(l.at("wiki", "/")).signIn("campus", "bob").wants(http.StatusOK, "What Wiki would learn")
	// Given, but not shown; shown, but of a recipient that there is not; and from elsewhere.
	bob.submitAll(url.Values{"shown": {"service:payroll mail"}, "given": {"service:wiki mail", "service:payroll mail"}})
	r, err := http.NewRequest(http.MethodPost, l.at("", "/.gatehouse/consent"), strings.NewReader("shown=service%3Awiki+mail&given=service%3Awiki+mail"))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Sec-Fetch-Site", "cross-site")
	bob.send(r).wants(http.StatusForbidden, "request.cross_site")
	u, err := l.p.site.Load().directory.ByName(t.Context(), "primary", "bob")
	if err != nil {
		t.Fatal(err)
	}
	if len(u.Consents) > 0 {
		t.Errorf("kept %v", u.Consents)
	}
}

func TestANoticeIsShownOnceAndAgainOnlyForMore(t *testing.T) {
	t.Parallel()
	l := consenting(t, true)
	bob := l.person()
	bob.open(l.at("wiki", "/")).signIn("campus", "bob").wants(http.StatusOK, "What Wiki would learn about you")
	bob.agree().wants(http.StatusOK, "X-Forwarded-User")
	bob.open(l.at("wiki", "/")).wants(http.StatusOK, "X-Forwarded-User")
	l.reload(func(s string) string {
		return strings.Replace(s, "[ user_name, display_name ]\n", "[ user_name, display_name, mail ]\n", 1)
	})
	bob.open(l.at("wiki", "/")).wants(http.StatusOK, "What Wiki would learn about you", "bob@campus.example")
	if strings.Contains(bob.body, "Ångström</bdi></dd>") {
		t.Error("he is told again what he was told before")
	}
	bob.agree().wants(http.StatusOK, "X-Forwarded-User", "bob@campus.example")
	u, err := l.p.site.Load().directory.ByName(t.Context(), "primary", "bob")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range u.Consents {
		if c.Said != authz.Told {
			t.Errorf("kept %v of a notice", c)
		}
	}
}
