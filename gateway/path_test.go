package gateway

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/gatehouse-sso/gatehouse/authz"
)

// paths and what becomes of them: "" is refused, else the decoded path that is
// decided about.
var paths = []struct{ target, path string }{
	{"/", "/"},
	{"/public/x", "/public/x"},
	{"/admin/x", "/admin/x"},
	{"/admin", "/admin"},
	{"/admin/", "/admin/"},
	{"/Admin/x", "/Admin/x"},
	{"/%61dmin/x", "/admin/x"},
	{"/public/%C3%A9", "/public/é"},
	{"/public/a%20b", "/public/a b"},
	{"/public/a%25", "/public/a%"},
	{"/public/a+b", "/public/a+b"},
	{"/public/a:b@c", "/public/a:b@c"},
	{"/public/a.b", "/public/a.b"},
	{"/public/.well-known", "/public/.well-known"},
	{"/public/...a", "/public/...a"},
	{"/public/[x]", "/public/[x]"},
	{"/public/x?y=/admin/../z//", "/public/x"},
	{"/public/../admin/x", ""},
	{"/public/..", ""},
	{"/..", ""},
	{"/.", ""},
	{"/public/./admin", ""},
	{"/public/%2e%2e/admin/x", ""},
	{"/public/%2E./admin/x", ""},
	{"/public/.%2e/admin", ""},
	{"/public/%2e", ""},
	{"/public/..%2fadmin/x", ""},
	{"/public%2fx", ""},
	{"/public%2Fx", ""},
	{"/public/%252e%252e/admin", ""},
	{"/public/..%252fadmin", ""},
	{"/public%252fx", ""},
	{"//admin/x", ""},
	{"/public//admin", ""},
	{"/public///x", ""},
	{"/admin//", ""},
	{"/public/..;/admin/x", ""},
	{"/public/x;y=1", ""},
	{"/admin;x=1", ""},
	{"/public/%3b/x", ""},
	{`/public/..\admin`, ""},
	{`/public\x`, ""},
	{"/public/..%5cadmin", ""},
	{"/public%5Cx", ""},
	{"/public/%00", ""},
	{"/admin%00/x", ""},
	{"/admin%0a", ""},
	{"/admin%0d%0aX:1", ""},
	{"/admin%7f", ""},
	{"/admin.", ""},
	{"/admin./x", ""},
	{"/admin%20/x", ""},
	{"/admin%20", ""},
	{"/public/%EF%BC%8E%EF%BC%8E/admin", ""}, // full-width dots
	{"/public%EF%BC%8Fx", ""},                // full-width slash
	{"/public%E2%88%95x", ""},                // division slash
	{"/public/%E2%80%A5/admin", ""},          // two dot leader
	{"/public/%EF%BC%85%32%65/x", ""},        // full-width percent
	{"/public/%EF%BC%9B", ""},                // full-width semicolon
	{"/public/%E2%84%80", ""},                // ℀ contains a slash
	{"/public/%c0%ae%c0%ae/admin", ""},       // overlong dots
	{"/public/%ff", ""},
	{"/public/%", ""},
	{"/public/%zz", ""},
	{"/public/%u002e", ""},
	{"/public/x#/admin", ""},
	{"*", ""},
	{"admin", ""},
	{"", ""},
}

func TestP07_WhatIsDecidedIsWhatIsForwarded(t *testing.T) {
	t.Parallel()
	// Three kinds of rules about paths, each of which lets in what is below
	// /public and nothing else.
	kinds := map[string][]authz.Rule{
		"allow":      {{ID: "a", Paths: []string{"/public", "/public/*", "/"}, Allow: any1()}},
		"deny":       {{ID: "a", Allow: any1()}, {ID: "d", Paths: []string{"/admin", "/admin/*", "/Admin/*"}, Deny: any1()}},
		"expression": {{ID: "a", Allow: &authz.Match{Anyone: true, When: `!request.path.startsWith("/admin") && !request.path.startsWith("/Admin")`}}},
	}
	if len(paths) < 40 {
		t.Fatal("the matrix is too small")
	}
	for kind, rules := range kinds {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			f := newFront(t, func(f *front, c *Config) {
				p, mistakes := authz.Compile(nil, []authz.ServiceRules{{ID: "wiki", Rules: rules}, {ID: "payroll"}, {ID: "open"}, {ID: "raw"}})
				if mistakes != nil {
					t.Fatal(mistakes)
				}
				c.Policy = p
			})
			for _, tc := range paths {
				n := f.echo.count()
				a, err := f.tryRaw("wiki", "GET "+tc.target+" HTTP/1.1\r\nHost: "+f.at("wiki")+"\r\n\r\n")
				if err != nil {
					t.Errorf("%q: %v", tc.target, err)
					continue
				}
				reached := f.echo.count() > n
				switch {
				case tc.path == "":
					// net/http refuses some itself, without a code.
					if a.StatusCode != http.StatusBadRequest || a.code() != ReasonPath && !strings.HasPrefix(a.body, "400 Bad Request") || reached {
						t.Errorf("%q: %d %q, reached the service: %v", tc.target, a.StatusCode, a.code(), reached)
					}
				case strings.HasPrefix(strings.ToLower(tc.path), "/admin"):
					if a.StatusCode == 200 || reached {
						t.Errorf("%q: passed a rule about /admin", tc.target)
					}
				default:
					s := a.seen()
					if a.StatusCode != 200 || s.URI != tc.target {
						t.Errorf("%q: %d, the service got %q", tc.target, a.StatusCode, s.URI)
						continue
					}
					u, err := url.ParseRequestURI(s.URI)
					if err != nil || u.Path != tc.path {
						t.Errorf("%q: the service reads %q, decided about %q", tc.target, u.Path, tc.path)
					}
				}
			}
		})
	}
}

func TestP08_AQueryIsNoPath(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	for _, target := range []string{"/admin/?x=/public", "/admin/x?/public/x", "/x?path=/public/"} {
		f.refused(f.ask(nil, "GET", "wiki", target), 401, ReasonSignIn)
	}
	if n := f.echo.count(); n != 0 {
		t.Errorf("%d requests reached the service", n)
	}
	f.passed(f.ask(nil, "GET", "wiki", "/public/x?x=/admin"))
}

func TestP09_AFragmentIsRefused(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	alice := f.guest("alice", "admins")
	f.refused(f.ask(alice, "GET", "wiki", "/admin/x#/public"), 400, ReasonPath)
	f.refused(f.ask(nil, "GET", "wiki", "/public/x?a#b"), 400, ReasonPath)
	if f.echo.count() != 0 || f.recorded(ReasonPath) != 2 {
		t.Errorf("%d reached the service, %d recorded", f.echo.count(), f.recorded(ReasonPath))
	}
	f.refused(f.ask(alice, "GET", "wiki", "/admin/x%23y"), 400, ReasonPath)
	f.passed(f.ask(alice, "GET", "wiki", "/admin/x?a=%23"))
}

// A space in a line of HTTP/1 ends the target. HTTP/2 has no such line, but the
// service gets one.
func TestP16_NoTargetOfHTTP2EndsEarlyInTheLineOfAService(t *testing.T) {
	t.Parallel()
	f := newFront(t, overTLS)
	for target, status := range map[string]string{
		"/x?a=b": "200", "/x?a%20b": "200",
		"/x?a HTTP/1.0": "400", "/x?a HTTP/1.1": "400", "/x? ": "400", "/x y": "400", "/x?a\r\nHost: payroll.test": "", "/x?a\tHTTP/1.1": "",
	} {
		if got := f.h2conn(t, "open").get(1, f.at("open"), target); got != status {
			t.Errorf("%q: the status is %q, want %q", target, got, status)
		}
	}
	for line := range strings.SplitSeq(f.echo.bytes(), "\r\n") {
		if strings.HasPrefix(line, "GET ") && strings.Count(line, " ") != 2 {
			t.Errorf("the service got the line %q", line)
		}
	}
}

func TestP24_TheServiceGetsTheQueryAsItCame(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	alice := f.guest("alice")
	many := strings.Repeat("a=1&", 6000) + "last=1" // 24 KB
	for _, q := range []string{"a=1&a=2", "a=1;b=2", "a=%zz", "%", "a&b&&c=", "x=y&evil;z", "redirect=//evil.test/..", many} {
		s := f.passed(f.ask(alice, "GET", "wiki", "/x?"+q))
		if s.URI != "/x?"+q {
			t.Errorf("%.60q became %.60q", q, s.URI)
		}
	}
	if s := f.passed(f.ask(alice, "GET", "wiki", "/x?")); s.URI != "/x?" {
		t.Errorf("an empty query became %q", s.URI)
	}
	a := f.ask(alice, "GET", "wiki", "/x?"+strings.Repeat("a=1&", 20000)) // more than a head may have
	if a.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("80 KB of query: %d", a.StatusCode)
	}
}

func TestP27_OwnPathsHaveOneOwner(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	alice := f.guest("alice")
	for _, host := range []string{"wiki", "open", "gate"} {
		for _, p := range []string{"/.gatehouse/jwks.json", "/%2egatehouse/jwks.json", "/.gatehouse%2Fjwks.json", "//.gatehouse/jwks.json", "/x/../.gatehouse/jwks.json",
			"/.gatehouse/../.gatehouse/jwks.json", "/.gatehouse/;/jwks.json", "/.gatehouse//jwks.json", "/.gatehouse/nothing", "/.gatehouse/", "/.gatehouse", "/.gatehouse/verify/../x"} {
			a := f.ask(alice, "GET", host, p)
			switch {
			case strings.HasSuffix(p, "egatehouse/jwks.json") || p == "/.gatehouse/jwks.json":
				if a.StatusCode != 200 || a.Header.Get("Content-Type") != "application/jwk-set+json" {
					t.Errorf("%s%s: %d", host, p, a.StatusCode)
				}
			case a.StatusCode != 400 && a.StatusCode != 404:
				t.Errorf("%s%s: %d %.100q", host, p, a.StatusCode, a.body)
			}
		}
	}
	if n := f.echo.count(); n != 0 {
		t.Errorf("%d requests to our own paths reached a service: %v", n, f.echo.all())
	}
	// Control: another spelling is an ordinary path of the service.
	f.passed(f.ask(alice, "GET", "wiki", "/.GATEHOUSE/jwks.json"))
}

func FuzzPath(f *testing.F) {
	for _, p := range paths {
		f.Add(p.target)
	}
	f.Fuzz(func(t *testing.T, target string) {
		u, err := url.ParseRequestURI(target)
		if err != nil {
			return
		}
		p, err := canonicalPath(u)
		if err != nil {
			return
		}
		// A second server, that decodes for itself, reads the same; and one
		// that decodes twice, cleans, or looks at backslashes, finds nothing to do.
		again, err := url.ParseRequestURI(u.EscapedPath())
		if err != nil || again.Path != p || u.Path != p {
			t.Fatalf("%q: decided about %q, forwarded as %q", target, p, u.EscapedPath())
		}
		if twice, err := url.PathUnescape(p); err == nil && twice != p {
			t.Fatalf("%q decodes once more to %q", p, twice)
		}
		if !strings.HasPrefix(p, "/") || strings.Contains(p, "//") || strings.ContainsAny(p, "\\;#\x00\r\n") || !utf8.ValidString(p) {
			t.Fatalf("%q was accepted", p)
		}
		for seg := range strings.SplitSeq(p, "/") {
			if seg == "." || seg == ".." || strings.HasSuffix(seg, ".") || strings.HasSuffix(seg, " ") {
				t.Fatalf("segment %q of %q was accepted", seg, p)
			}
		}
	})
}

func TestOneServiceInManyPaths(t *testing.T) {
	t.Parallel()
	var list []*service
	for _, p := range []string{"/", "/pay", "/pay/slips", "/payroll"} {
		list = append(list, &service{Service: Service{ID: p, Host: "h.test", Path: p}})
	}
	r, err := newRoutes(list)
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{"/": "/", "/pa": "/", "/pay": "/pay", "/pay/": "/pay", "/pay/x": "/pay", "/pay/slips": "/pay/slips", "/pay/slipsy": "/pay", "/payroll/x": "/payroll", "/payx": "/"} {
		if s, known := r.match("h.test", path); !known || s.ID != want {
			t.Errorf("%s is at %v, want %s", path, s, want)
		}
	}
	if _, err := newRoutes(append(list, &service{Service: Service{ID: "again", Host: "h.test", Path: "/pay"}})); err == nil || !strings.Contains(err.Error(), "/pay") {
		t.Errorf("two services at one address: %v", fmt.Sprint(err))
	}
}
