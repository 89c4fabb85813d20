package gateway

import (
	"net/http"
	"testing"
)

// C01: what a program proves itself with must be its own doing. A browser keeps a
// password for Basic and sends it with whatever any page asks for; a body
// without a type needs no leave of ours.
func TestC01_APageOfAnotherSiteCanNotUseAPasswordThatABrowserKeeps(t *testing.T) {
	t.Parallel()
	served := 0
	f := newFront(t, func(_ *front, c *Config) {
		c.Own = map[string]http.Handler{"scim/v2/": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if _, _, ok := r.BasicAuth(); ok {
				served++
			}
		})}
		c.Aliases = map[string]string{"/scim2/": "scim/v2/"}
	})
	basic := "Authorization: Basic YWRtaW46YWRtaW4="
	for _, path := range []string{"/.gatehouse/scim/v2/Users", "/scim2/Users"} {
		for _, lines := range [][]string{
			{"Sec-Fetch-Site: cross-site"},
			{"Sec-Fetch-Site: same-site", "Origin: http://" + f.at("wiki")},
			{"Origin: https://evil.example"},
			{"Origin: null"},
			{"Origin: http://" + f.at("gate"), "Sec-Fetch-Site: cross-site"},
			{"Origin: http://" + f.at("gate"), "Origin: https://evil.example"},
		} {
			f.refused(f.ask(nil, "POST", "gate", path, append(lines, basic, "Content-Length: 0")...), http.StatusForbidden, ReasonCrossSite)
		}
		if served != 0 {
			t.Fatalf("%s: %d requests of other sites were served", path, served)
		}
		for _, lines := range [][]string{nil, {"Sec-Fetch-Site: none"}, {"Origin: http://" + f.at("gate")}} {
			if a := f.ask(nil, "POST", "gate", path, append(lines, basic, "Content-Length: 0")...); a.StatusCode != http.StatusOK {
				t.Errorf("%s %q: %d", path, lines, a.StatusCode)
			}
		}
		if served != 3 {
			t.Errorf("%s: %d of 3 programs were served", path, served)
		}
		served = 0
	}
}

// P06: whoever can name one group at their identity provider must not be in two
// at the service.
func TestP06_OneValueWithASeparatorNeverLooksLikeTwo(t *testing.T) {
	t.Parallel()
	f := newFront(t, func(_ *front, c *Config) { c.Multi = func(attr string) bool { return attr == "groups" } })
	both := f.passed(f.ask(f.guest("ann", "staff", "admins"), "GET", "wiki", "/")).Header.Get("X-Forwarded-Groups")
	one := f.passed(f.ask(f.guest("eve", "admins,staff"), "GET", "wiki", "/")).Header.Get("X-Forwarded-Groups")
	if both != "admins,staff" || one != `admins\,staff` {
		t.Errorf("two groups are %q, one with a comma is %q", both, one)
	}
	// A name that can only be one is not a list.
	rules := Several([]HeaderRule{{Name: "X-Name", Attribute: "display_name"}}, f.g.c.Multi)
	if got := Outgoing(rules, authzRelease("display_name", []string{"Doe, John"})); got[0].Values[0] != "Doe, John" {
		t.Errorf("a name is %q", got)
	}
}

// P22: a browser that is told to forget cookies forgets those of the whole
// domain, so a service could sign people out everywhere.
func TestP22_AServiceCanNotMakeABrowserForgetOurCookies(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	for said, want := range map[string]string{
		`"cookies"`: "", `"*"`: `"cache", "storage"`, `"cache", "cookies","storage"`: `"cache", "storage"`, `"cache"`: `"cache"`,
	} {
		f.rawSays("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nClear-Site-Data: " + said + "\r\n\r\nok")
		if got := f.ask(nil, "GET", "raw", "/").Header.Get("Clear-Site-Data"); got != want {
			t.Errorf("%s: the browser is told %q, want %q", said, got, want)
		}
	}
}
