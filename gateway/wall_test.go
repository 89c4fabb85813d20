package gateway

import (
	"io"
	"maps"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// managed are all names that the gateway holds back.
func managed(f *front) []string {
	var names []string
	for n := range f.g.wall.names {
		names = append(names, n)
	}
	for _, p := range f.g.wall.prefixes {
		names = append(names, p+"x")
	}
	slices.Sort(names)
	return names
}

// forged asserts that nothing of a client's lies reached the service.
func forged(t *testing.T, s seen) {
	t.Helper()
	for name, vals := range s.Header {
		if strings.Contains(strings.Join(vals, ","), "forged") {
			t.Errorf("%s: %q reached the service", name, vals)
		}
	}
}

func TestP01_IdentityHeadersOfClientsAreRemovedEverywhere(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	alice := f.guest("alice")
	routes := []struct {
		what         string
		who          *guest
		method, host string
		path         string
		lines        []string
		proto        int // status
	}{
		{"protected", alice, "GET", "wiki", "/", nil, 200},
		{"public path, nobody", nil, "GET", "wiki", "/public/x", nil, 200},
		{"public path, signed in", alice, "GET", "wiki", "/public/x", nil, 200},
		{"public service", nil, "POST", "open", "/", []string{"Content-Length: 0"}, 200},
		{"preflight", nil, "OPTIONS", "open", "/", []string{"Origin: http://other.test", "Access-Control-Request-Method: PUT"}, 200},
		{"web socket", alice, "GET", "wiki", "/ws", []string{"Connection: Upgrade", "Upgrade: websocket"}, 200},
		{"other upgrade", alice, "GET", "wiki", "/ws", []string{"Connection: Upgrade, X-Other", "Upgrade: foo", "X-Other: 1"}, 200},
	}
	names := managed(f)
	if len(names) < 60 {
		t.Fatalf("only %d names", len(names))
	}
	for _, r := range routes {
		for part := range slices.Chunk(names, 40) { // at most 100 header lines
			lines := slices.Clone(r.lines)
			for _, n := range part {
				lines = append(lines, n+": forged")
			}
			s := f.passed(f.ask(r.who, r.method, r.host, r.path, lines...))
			forged(t, s)
			if got, want := s.Header.Get("X-Forwarded-User"), map[bool]string{true: "alice"}[r.who != nil]; got != want {
				t.Errorf("%s: X-Forwarded-User is %q, want %q", r.what, got, want)
			}
		}
	}
	// The gateway's own error page says nothing that was sent either.
	a := f.ask(nil, "GET", "wiki", "/", "X-Forwarded-User: forged")
	f.refused(a, 401, ReasonSignIn)
	if strings.Contains(a.body, "forged") {
		t.Error("the refusal repeats the header")
	}
	// Control: what is nobody's name goes through.
	if s := f.passed(f.ask(alice, "GET", "wiki", "/", "X-Request-Id: 7")); s.Header.Get("X-Request-Id") != "7" {
		t.Error("an ordinary header did not reach the service")
	}
}

// Whichever way a request comes, whoever sends it and wherever it goes: of what the
// client says about itself nothing arrives, and of what we say nothing is missing.
// In short as many names in one request as there may be; in whole each by itself, in
// three spellings, which are more than 10,000 requests.
func TestP01_TheHeaderWallHoldsWhicheverWayARequestComes(t *testing.T) {
	t.Parallel()
	kinds := []struct {
		what, who, method, host, path string
		lines                         http.Header
		body                          io.Reader // its length is not said
	}{
		{"a page", "alice", "GET", "wiki", "/", nil, nil},
		{"a public page, of nobody", "", "GET", "wiki", "/public/x", nil, nil},
		{"a public page", "alice", "GET", "wiki", "/public/x", nil, nil},
		{"a public service, of nobody", "", "GET", "open", "/", nil, nil},
		{"a public service", "alice", "GET", "open", "/", nil, nil},
		{"a preflight", "", "OPTIONS", "open", "/", http.Header{"Origin": {"http://other.test"}, "Access-Control-Request-Method": {"PUT"}}, nil},
		{"another preset", "alice", "GET", "payroll", "/", nil, nil},
		{"an address with everything", "alice", "GET", "wiki", "/%C3%A4/b%20c?d=%2f&e", nil, nil},
		{"a form", "alice", "POST", "wiki", "/form", http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}, strings.NewReader("")},
		{"an upload", "alice", "PUT", "wiki", "/file", nil, strings.NewReader("")},
		{"a removal", "alice", "DELETE", "wiki", "/file", nil, nil},
		{"a stream", "alice", "GET", "wiki", "/events", http.Header{"Accept": {"text/event-stream"}}, nil},
	}
	asks := map[string][]string{"X-Original-Method": nil, "X-Original-Url": nil, "X-Forwarded-For": nil} // what the proxy says itself
	ways := []struct {
		name   string
		change func(*front, *Config)
		make   func(f *front, r *http.Request)
		asked  bool                             // by another proxy
		by     func(f *front) http.RoundTripper // that asks; nil: the client comes to the gateway
	}{
		{"HTTP/1", func(*front, *Config) {}, func(*front, *http.Request) {}, false, nil},
		{"HTTP/2", overTLS, func(*front, *http.Request) {}, false, nil},
		{"WebSocket", func(*front, *Config) {}, func(_ *front, r *http.Request) {
			maps.Copy(r.Header, http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {"dGhlIHNhbXBsZSBub25jZQ=="}})
			delete(r.Header, "Origin")
		}, false, nil},
		{"forward-auth", func(_ *front, c *Config) {
			c.Proxies = []Proxy{{ID: "edge", Kind: "nginx", From: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}}
		}, func(f *front, r *http.Request) {
			maps.Copy(r.Header, http.Header{"X-Original-Method": {r.Method}, "X-Original-Url": {r.URL.String()}, "X-Forwarded-For": {"192.0.2.7"}})
			r.Method, r.Body, r.ContentLength, r.URL = http.MethodGet, nil, 0, r.URL.ResolveReference(&url.URL{Path: verifyPath})
		}, true, nil},
		{"gRPC", behind("envoy"), func(*front, *http.Request) {}, false, func(f *front) http.RoundTripper { return f.envoy() }},
		{"gRPC with raw headers", behind("envoy"), func(*front, *http.Request) {}, false, func(f *front) http.RoundTripper {
			e := f.envoy()
			e.raw = true
			return e
		}},
	}
	long := whole(0, 1) == 1
	for _, way := range ways {
		t.Run(way.name, func(t *testing.T) {
			t.Parallel()
			f := newFront(t, way.change)
			f.t = t
			alice, c := f.guest("alice", "fin"), f.client()
			defer c.CloseIdleConnections()
			c.Timeout = 0
			if way.by != nil {
				c.Transport = way.by(f)
			}
			var names [][]string
			for _, name := range managed(f) {
				if _, own := asks[http.CanonicalHeaderKey(name)]; own && way.asked {
					continue
				}
				names = append(names, []string{name}, []string{strings.ReplaceAll(name, "-", "_")}, []string{strings.ToUpper(name)})
			}
			if !long {
				var all []string
				for _, n := range names {
					all = append(all, n[0])
				}
				names = slices.Collect(slices.Chunk(all, 60)) // at most 100 header lines
			}
			sent, forged, missing := 0, 0, 0
			for _, k := range kinds {
				for _, list := range names {
					var who *guest
					if k.who != "" {
						who = alice
					}
					r := f.request(who, k.method, k.host, k.path, k.body)
					if k.body != nil {
						r.ContentLength, r.Body = -1, io.NopCloser(strings.NewReader("some=text"))
					}
					maps.Copy(r.Header, k.lines)
					for _, n := range list {
						r.Header[n] = []string{"forged"}
					}
					way.make(f, r)
					resp, err := c.Do(r)
					if err != nil {
						t.Fatal(err)
					}
					raw, err := io.ReadAll(resp.Body)
					if err != nil {
						t.Fatal(err)
					}
					resp.Body.Close()
					sent++
					got, user := resp.Header, map[string]string{"payroll": "Remote-User", "wiki": "X-Forwarded-User", "open": "X-Forwarded-User"}[k.host]
					if !way.asked {
						got = answer{resp, string(raw)}.seen().Header
					}
					if resp.StatusCode != http.StatusOK || got.Get(user) != k.who || (got.Get("X-Gatehouse-Jwt") != "") != (k.who != "") {
						missing++
						t.Errorf("%s with %.3q: %d, %v", k.what, list, resp.StatusCode, got)
					}
					for name, values := range got {
						if slices.ContainsFunc(values, func(v string) bool { return strings.Contains(v, "forged") }) {
							forged++
							t.Errorf("%s: %s reached the service", k.what, name)
						}
					}
				}
			}
			t.Logf("%d requests, %d forged, %d missing", sent, forged, missing)
		})
	}
}

// spellings are all ways to write a name with other separators, some with
// other letters.
func spellings(name string, seps string) []string {
	list := []string{""}
	for i, part := range strings.FieldsFunc(name, func(r rune) bool { return r == '-' }) {
		var longer []string
		for _, l := range list {
			if i == 0 {
				longer = append(longer, l+part)
				continue
			}
			for _, s := range seps {
				longer = append(longer, l+string(s)+part)
			}
		}
		list = longer
	}
	for i := range list {
		switch i % 3 {
		case 1:
			list[i] = strings.ToUpper(list[i])
		case 2:
			list[i] = strings.ToLower(list[i])
		}
	}
	return list
}

func TestP02_NoSpellingOfAManagedNamePasses(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	alice := f.guest("alice")
	for _, name := range []string{"X-Auth-User", "X-Forwarded-User", "X-Forwarded-Preferred-Username", "Remote-Groups", "X-Gatehouse-Jwt", "X-Pomerium-Claim-Groups"} {
		all := spellings(name, "-_.")
		if !slices.Contains(all, strings.ToUpper(strings.Replace(name, "-", "_", 1))) && len(all) < 3 {
			t.Fatal("no spellings")
		}
		for part := range slices.Chunk(all, 60) {
			var lines []string
			for _, n := range part {
				lines = append(lines, n+": forged")
			}
			forged(t, f.passed(f.ask(alice, "GET", "wiki", "/", lines...)))
		}
		// Odd but legal in a token; there are servers that make them all "_".
		var lines []string
		for _, n := range spellings(name, "~")[:1] {
			lines = append(lines, n+": forged")
		}
		forged(t, f.passed(f.ask(alice, "GET", "wiki", "/", lines...)))
	}
	for _, bad := range []string{"X-Forwarded-User : forged", " X-Forwarded-User: forged", "X Forwarded User: forged", "X-Forwarded-User\x00: forged", "X-Forwardéd-User: forged"} {
		n := f.echo.count()
		if a := f.ask(alice, "GET", "wiki", "/", bad); a.StatusCode == 200 {
			// A line that begins with a space belongs to the one before.
			forged(t, a.seen())
			for k := range a.seen().Header {
				if strings.Contains(strings.ToLower(k), "forwarded") && !slices.Contains([]string{"X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-User", "X-Forwarded-Email", "X-Forwarded-Preferred-Username"}, k) {
					t.Errorf("%q became %q", bad, k)
				}
			}
		} else if f.echo.count() != n {
			t.Errorf("%q was refused and forwarded", bad)
		}
	}
}

func TestP03_ConnectionCanNotNameOurHeadersAway(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		what string
		set  []func(*front, *Config)
	}{{"http", nil}, {"https", []func(*front, *Config){overTLS}}} {
		f := newFront(t, tc.set...)
		alice := f.guest("alice")
		for _, lines := range [][]string{
			{"Connection: X-Forwarded-User"},
			{"Connection: x-forwarded-user, X-Gatehouse-Jwt", "Connection: X-Forwarded-Email"},
			{"Connection:  \tX-Forwarded-User\t , keep-alive"},
			{"Connection: close, X-Forwarded-User, X-Forwarded-For, Host, Cookie"},
			{"Connection: Upgrade, X-Forwarded-User", "Upgrade: websocket"},
			{"Proxy-Connection: X-Forwarded-User", "Keep-Alive: X-Forwarded-User"},
		} {
			s := f.passed(f.ask(alice, "GET", "wiki", "/", lines...))
			for _, n := range []string{"X-Forwarded-User", "X-Forwarded-Email", "X-Gatehouse-Jwt", "X-Forwarded-For", "X-Forwarded-Host"} {
				if len(s.Header[n]) != 1 || s.Header[n][0] == "" {
					t.Errorf("%s %q: %s is %q at the service", tc.what, lines, n, s.Header[n])
				}
			}
		}
	}
}

func TestP04_TrailersAreNotForwarded(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	alice := f.guest("alice")
	a := f.raw("POST / HTTP/1.1\r\nHost: " + f.at("wiki") + "\r\n" + alice.cookie("wiki") +
		"Transfer-Encoding: chunked\r\nTrailer: X-Forwarded-User, X-Checksum\r\n\r\n3\r\nabc\r\n0\r\nX-Forwarded-User: forged\r\nX-Checksum: forged\r\n\r\n")
	s := f.passed(a)
	forged(t, s)
	if s.Body != "abc" || len(s.Trailer) != 0 || s.Header["Trailer"] != nil || strings.Contains(f.echo.bytes(), "forged") {
		t.Errorf("the service got body %q, trailer %q, header %q", s.Body, s.Trailer, s.Header["Trailer"])
	}
	// Trailers that nobody announced.
	a = f.raw("POST / HTTP/1.1\r\nHost: " + f.at("wiki") + "\r\n" + alice.cookie("wiki") +
		"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nRemote-User: forged\r\n\r\n")
	forged(t, f.passed(a))
	if strings.Contains(f.echo.bytes(), "forged") {
		t.Error("a trailer reached the service")
	}
}

func TestP05_RepeatedLinesBecomeOneValueOfOurs(t *testing.T) {
	t.Parallel()
	f := newFront(t, overTLS)
	alice := f.guest("alice")
	lines := []string{"X-Forwarded-User: forged", "X-Forwarded-User: forged2", "x-forwarded-user: forged3", "X_Forwarded_User: forged4"}
	s := f.passed(f.ask(alice, "GET", "wiki", "/", lines...))
	forged(t, s)
	if diff := cmp.Diff([]string{"alice"}, s.Header["X-Forwarded-User"]); diff != "" {
		t.Error(diff)
	}
	r := f.request(alice, "GET", "wiki", "/", nil)
	r.Header["X-Forwarded-User"], r.Header["X_forwarded_user"] = []string{"forged", "forged"}, []string{"forged"}
	s = f.passed(f.h2(t, r))
	forged(t, s)
	if diff := cmp.Diff([]string{"alice"}, s.Header["X-Forwarded-User"]); diff != "" {
		t.Error(diff)
	}
}

func TestP06_ValuesCanNotStartHeaders(t *testing.T) {
	t.Parallel()
	rules := []HeaderRule{
		{Name: "X-Plain", Attribute: "nick"},
		{Name: "X-Percent", Attribute: "nick", Text: "percent"},
		{Name: "X-Word", Attribute: "nick", Text: "rfc2047"},
		{Name: "X-Json", Attribute: "nick", List: "json"},
		{Name: "X-Repeat", Attribute: "nick", List: "repeat"},
	}
	long := strings.Repeat("a", maxHeader+1)
	for _, tc := range []struct {
		what string
		vals []string
		want []Header
	}{
		{"plain", []string{"ann"}, []Header{{"X-Plain", []string{"ann"}}, {"X-Percent", []string{"ann"}}, {"X-Word", []string{"ann"}}, {"X-Json", []string{`["ann"]`}}, {"X-Repeat", []string{"ann"}}}},
		{"CR LF", []string{"a\r\nX-Admin: 1"}, []Header{{"X-Percent", []string{"a%0D%0AX-Admin:%201"}}, {"X-Json", []string{`["a\r\nX-Admin: 1"]`}}}},
		{"LF alone", []string{"a\nX-Admin: 1"}, []Header{{"X-Percent", []string{"a%0AX-Admin:%201"}}, {"X-Json", []string{`["a\nX-Admin: 1"]`}}}},
		{"NUL", []string{"a\x00b"}, []Header{{"X-Percent", []string{"a%00b"}}, {"X-Json", []string{`["a\u0000b"]`}}}},
		{"comma", []string{"a,b", "c\\d"}, []Header{{"X-Plain", []string{`a\,b,c\\d`}}, {"X-Percent", []string{`a\,b,c\\d`}}, {"X-Word", []string{`a\,b,c\\d`}}, {"X-Json", []string{`["a,b","c\\d"]`}}, {"X-Repeat", []string{"a,b", `c\d`}}}},
		{"beyond ASCII", []string{"Zoë 🦊"}, []Header{{"X-Plain", []string{"Zoë 🦊"}}, {"X-Percent", []string{"Zo%C3%AB%20%F0%9F%A6%8A"}}, {"X-Word", []string{"=?utf-8?q?Zo=C3=AB_=F0=9F=A6=8A?="}}, {"X-Json", []string{`["Zo\u00eb \ud83e\udd8a"]`}}, {"X-Repeat", []string{"Zoë 🦊"}}}},
		{"C1", []string{"a\u0085b"}, []Header{{"X-Percent", []string{"a%C2%85b"}}, {"X-Json", []string{`["a\u0085b"]`}}}},
		{"no UTF-8", []string{"a\xffb"}, []Header{{"X-Percent", []string{"a%FFb"}}, {"X-Json", []string{`["a\ufffdb"]`}}}},
		{"spaces around", []string{" a "}, []Header{{"X-Percent", []string{"%20a%20"}}, {"X-Json", []string{`[" a "]`}}}},
		{"one of two", []string{"a\r\nb", "c"}, []Header{{"X-Plain", []string{"c"}}, {"X-Percent", []string{"a%0D%0Ab,c"}}, {"X-Word", []string{"c"}}, {"X-Json", []string{`["a\r\nb","c"]`}}, {"X-Repeat", []string{"c"}}}},
		{"too long", []string{long}, nil},
	} {
		t.Run(tc.what, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, Outgoing(rules, authzRelease("nick", tc.vals))); diff != "" {
				t.Error(diff)
			}
		})
	}
	// And over the wire, from a user's row to the service.
	f := newFront(t)
	eve := f.guest("eve", "g\r\nX-Admin: 1", "staff,admins")
	s := f.passed(f.ask(eve, "GET", "wiki", "/"))
	if s.Header["X-Admin"] != nil || strings.Contains(f.echo.bytes(), "X-Admin: 1") {
		t.Error("a value started a header")
	}
	if got := s.Header.Get("X-Forwarded-Groups"); got != `staff\,admins` && got != "staff,admins" {
		t.Errorf("groups are %q", got)
	}
	// One group that contains a comma must not look like two where there are several.
	if got := Outgoing(Presets["default"], authzRelease("groups", []string{"a,b", "c"})); got[0].Values[0] != `a\,b,c` {
		t.Errorf("groups are %q", got)
	}
}

func FuzzHeaderNames(f *testing.F) {
	w := newWall(nil)
	for _, s := range []string{"X-Forwarded-User", "x_forwarded_user", "X.Gatehouse.Jwt", "Accept", "Remote~User", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		h := http.Header{name: {"forged"}}
		w.strip(h)
		folded := strings.Map(func(r rune) rune {
			switch {
			case 'a' <= r && r <= 'z', '0' <= r && r <= '9':
				return r
			case 'A' <= r && r <= 'Z':
				return r + 'a' - 'A'
			}
			return '-'
		}, asLatin(name))
		held := w.names[folded] || slices.ContainsFunc(w.prefixes, func(p string) bool { return strings.HasPrefix(folded, p) })
		if _, passed := h[name]; passed == held {
			t.Errorf("%q folds to %q; held %v, passed %v", name, folded, held, passed)
		}
	})
}

// asLatin makes one rune of every byte.
func asLatin(s string) string {
	var b strings.Builder
	for i := range len(s) {
		b.WriteRune(rune(s[i]))
	}
	return b.String()
}

func TestHeaderNamesThatServicesMayNotGet(t *testing.T) {
	t.Parallel()
	for _, n := range []string{"", "Host", "connection", "Content-Length", "Transfer-Encoding", "Cookie", "Authorization", "X_User", "X User", "X:User", "Expect", "Upgrade", strings.Repeat("a", 101)} {
		if ValidHeaderName(n) {
			t.Errorf("%q is valid", n)
		}
	}
	for name, rules := range Presets {
		for _, r := range rules {
			if !ValidHeaderName(r.Name) || r.Name != http.CanonicalHeaderKey(r.Name) {
				t.Errorf("preset %s: %q", name, r.Name)
			}
		}
	}
}
