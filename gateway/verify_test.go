package gateway

import (
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"

	auth "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"github.com/gatehouse-sso/gatehouse/provisioning/audit"
)

// behind makes a front answer a proxy of a kind on this machine.
func behind(kind string) func(*front, *Config) {
	return func(_ *front, c *Config) {
		c.Proxies = []Proxy{{ID: "edge", Kind: kind, From: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}}
	}
}

// browse are the headers that make a caller a browser.
const browse = "Accept: text/html"

// question sends what a proxy of a kind sends about a request.
func (f *front) question(kind string, p *guest, method, host, uri string, lines ...string) answer {
	f.t.Helper()
	lines = append(lines, "X-Forwarded-For: 192.0.2.7")
	switch k := ProxyKinds[kind]; {
	case k.Behind:
		return f.ask(p, method, host, verifyPath+uri, lines...)
	case k.URL != "":
		return f.ask(p, "GET", host, verifyPath, append(lines, k.Method+": "+method, k.URL+": http://"+f.at(host)+uri)...)
	default:
		return f.ask(p, "GET", host, verifyPath, append(lines, k.Method+": "+method, k.Scheme+": http", k.Host+": "+f.at(host), k.URI+": "+uri)...)
	}
}

// A question is what a proxy asks about.
type question struct {
	who               *guest
	method, host, uri string
	lines             []string
}

// questions are of every kind: passed, refused, led to a sign-in, malformed.
func (f *front) questions() []question {
	alice, fin := f.guest("alice"), f.guest("fin", "fin", "admins")
	return []question{
		{alice, "GET", "wiki", "/report?x=1", nil},
		{alice, "POST", "wiki", "/admin/x", nil},
		{alice, "GET", "wiki", "/admin/x", []string{browse}},
		{alice, "HEAD", "wiki", "/admin/x", []string{browse}},
		{fin, "DELETE", "wiki", "/admin/x", nil},
		{fin, "GET", "payroll", "/", nil},
		{alice, "GET", "payroll", "/", nil},
		{alice, "GET", "payroll", "/", []string{browse}},
		{nil, "GET", "wiki", "/", nil},
		{nil, "GET", "wiki", "/", []string{browse}},
		{nil, "GET", "wiki", "/r?a=b", []string{browse}},
		{nil, "POST", "wiki", "/", []string{browse}},
		{nil, "GET", "wiki", "/public/x", nil},
		{nil, "GET", "wiki", "/public/..%2fadmin", nil},
		{nil, "GET", "wiki", "/public/../admin/", nil},
		{nil, "GET", "wiki", "//public/", nil},
		{nil, "GET", "wiki", "/public;x/", nil},
		{nil, "GET", "open", "/", nil},
		{alice, "TRACE", "wiki", "/", nil},
		{alice, "get", "wiki", "/", nil},
	}
}

// back is where an answer that leads to a sign-in would lead back to.
func (a answer) back() string {
	_, back, _ := strings.Cut(a.Header.Get("Location"), "&return=")
	return back
}

// What a proxy is told is what the gateway would have done itself.
func TestAProxyIsAnsweredAsARequestIsDecided(t *testing.T) {
	t.Parallel()
	for kind, k := range ProxyKinds {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			f := newFront(t, behind(kind))
			for _, c := range f.questions() {
				if k.Behind && c.method == "TRACE" {
					continue // a question with that method is one already
				}
				direct := f.ask(c.who, c.method, c.host, c.uri, c.lines...)
				asked := f.question(kind, c.who, c.method, c.host, c.uri, c.lines...)
				want := direct.StatusCode
				switch {
				case k.Bare && want == http.StatusSeeOther:
					want = http.StatusUnauthorized
				case k.Bare && want >= 400 && want != http.StatusUnauthorized:
					want = http.StatusForbidden
				}
				what := fmt.Sprint(c.who.name(), " ", c.method, " ", c.host, c.uri)
				if asked.StatusCode != want || asked.code() != direct.code() && asked.code() != "" {
					t.Errorf("%s: %d %q, and itself %d %q", what, asked.StatusCode, asked.code(), direct.StatusCode, direct.code())
				}
				if asked.back() != direct.back() {
					t.Errorf("%s: to %q, and itself to %q", what, asked.Header.Get("Location"), direct.Header.Get("Location"))
				}
				if direct.StatusCode != http.StatusOK {
					for name := range asked.Header {
						if f.g.wall.names[string(fold(nil, name))] || strings.HasPrefix(name, "X-Gatehouse-") {
							t.Errorf("%s: a refusal bears %s", what, name)
						}
					}
					continue
				}
				got, itself := http.Header{}, http.Header{}
				for _, name := range []string{"X-Forwarded-User", "X-Forwarded-Preferred-Username", "X-Forwarded-Email", "X-Forwarded-Groups", "Remote-User", "Remote-Email", "Remote-Groups", "X-Gatehouse-Jwt"} {
					itself[name] = direct.seen().Header[name]
					if got[name] = asked.Header[name]; asked.Header.Get(name) == "" {
						got[name] = nil
					}
				}
				if d := cmp.Diff(itself, got); d != "" {
					t.Errorf("%s: the service receives otherwise (-itself +asked):\n%s", what, d)
				}
				if c.who != nil && asked.Header.Get("X-Gatehouse-Jwt") == "" {
					t.Errorf("%s: no token", what)
				}
			}
		})
	}
}

func TestP10_OnlyAListedProxyMayAskAndOnlyInItsOwnWay(t *testing.T) {
	t.Parallel()
	nobodyAsks := newFront(t)
	for _, at := range []string{verifyPath, verifyPage, verifyPath + "/public/x", "/oauth2/auth"} {
		if a := nobodyAsks.ask(nil, "GET", "gate", at, "X-Original-Method: GET", "X-Original-URL: http://"+nobodyAsks.at("open")+"/", "X-Forwarded-For: 192.0.2.7"); a.StatusCode/100 == 2 {
			t.Errorf("without a list, %s answers %d", at, a.StatusCode)
		}
	}
	nobodyAsks.refused(nobodyAsks.question("nginx", nil, "GET", "open", "/"), 404, ReasonPathUnknown)

	elsewhere := newFront(t, behind("nginx"), func(_ *front, c *Config) {
		c.Proxies[0].From = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	})
	for kind := range ProxyKinds {
		elsewhere.refused(elsewhere.question(kind, nil, "GET", "open", "/"), 403, ReasonProxy)
	}
	if elsewhere.recorded(ReasonProxy) == 0 {
		t.Error("nothing is recorded of it")
	}

	f := newFront(t, behind("nginx"))
	alice := f.guest("alice")
	whole := []string{"X-Original-Method: GET", "X-Original-URL: http://" + f.at("wiki") + "/", "X-Forwarded-For: 192.0.2.7"}
	without := func(i int, more ...string) []string {
		return append(slices.Delete(slices.Clone(whole), i, i+1), more...)
	}
	if a := f.ask(alice, "GET", "wiki", verifyPath, whole...); a.StatusCode != 200 {
		t.Fatalf("control: %d %s", a.StatusCode, a.body)
	}
	open := "http://" + f.at("open") + "/"
	for name, lines := range map[string][]string{
		"no method":          without(0),
		"no address":         without(1),
		"no person":          without(2),
		"two methods":        append(slices.Clone(whole), "X-Original-Method: HEAD"),
		"two addresses":      append(slices.Clone(whole), "X-Original-URL: "+open),
		"an empty method":    without(0, "X-Original-Method:"),
		"another kind's":     {"X-Forwarded-Method: GET", "X-Forwarded-Proto: http", "X-Forwarded-Host: " + f.at("open"), "X-Forwarded-Uri: /", "X-Forwarded-For: 192.0.2.7"},
		"another spelling":   without(1, "X_Original_URL: "+open),
		"no path":            without(1, "X-Original-URL: http://"+f.at("wiki")),
		"only a path":        without(1, "X-Original-URL: /public/x"),
		"another scheme":     without(1, "X-Original-URL: https://"+f.at("open")+"/"),
		"an unknown host":    without(1, "X-Original-URL: http://other.test/"),
		"user info":          without(1, "X-Original-URL: http://open.test@other.test/"),
		"a fragment":         without(1, "X-Original-URL: "+open+"#x"),
		"an address of ours": without(1, "X-Original-URL: http://"+f.at("open")+"/.gatehouse/assets/"),
		"dots":               without(1, "X-Original-URL: "+open+"../x"),
		"a space":            without(1, "X-Original-URL: "+open+"a b"),
	} {
		if a := f.ask(alice, "GET", "wiki", verifyPath, lines...); a.StatusCode != http.StatusForbidden || a.Header.Get("X-Gatehouse-Jwt") != "" {
			t.Errorf("%s: %d", name, a.StatusCode)
		}
	}
	// A proxy that keeps the address of the question from clients may know it by its bytes.
	for _, at := range []string{"/.gatehouse/%76erify", "/%2egatehouse/verify", "/.gatehouse/verif%79"} {
		f.refused(f.ask(alice, "GET", "wiki", at, whole...), 403, ReasonProxy)
	}
	for _, at := range []string{"/oauth2/%61uth", "/api/authz/auth%2drequest"} {
		if a := f.ask(nil, "GET", "wiki", at, without(1, "X-Original-URL: "+open)...); a.StatusCode != 401 {
			t.Errorf("%s answers %d", at, a.StatusCode)
		}
	}
	// What a client adds in the way of another kind says nothing.
	a := f.ask(nil, "GET", "wiki", verifyPath, append(slices.Clone(whole), "X-Forwarded-Method: GET", "X-Forwarded-Proto: http", "X-Forwarded-Host: "+f.at("open"), "X-Forwarded-Uri: /", "X-Rewrite-URL: /public/x")...)
	f.refused(a, 401, ReasonSignIn)
}

// A proxy that serves one service whatever the host would open it by the rules of
// another, which anybody may have. It is answered about what is behind it, and about
// nothing else: not by a yes, not by where to sign in, and not on the page.
func TestP12_AProxyIsAnsweredAboutNoServiceThatIsNotBehindIt(t *testing.T) {
	t.Parallel()
	for kind, k := range ProxyKinds {
		f := newFront(t, behind(kind), func(_ *front, c *Config) { c.Proxies[0].Services = []string{"wiki", "payroll"} })
		alice := f.guest("alice")
		if a := f.question(kind, alice, "GET", "wiki", "/"); a.StatusCode != 200 {
			t.Fatalf("%s, control: %d %s", kind, a.StatusCode, a.body)
		}
		before := f.recorded(ReasonNotBehind)
		asked := map[string]answer{"nobody": f.question(kind, nil, "GET", "open", "/", browse), "alice": f.question(kind, alice, "GET", "open", "/", browse)}
		if k.Checks {
			asked["alice, by gRPC"] = f.envoy().through(alice, "GET", "open", "/", browse)
		}
		for who, a := range asked {
			if a.StatusCode != http.StatusForbidden || a.Header.Get("X-Gatehouse-Jwt") != "" || !strings.Contains(a.body, ReasonNotBehind) {
				t.Errorf("%s, %s: %d %s", kind, who, a.StatusCode, a.body)
			}
		}
		if k.Bare {
			a := f.ask(nil, "GET", "open", verifyPage, "X-Original-Method: GET", "X-Original-URL: http://"+f.at("open")+"/", "X-Forwarded-For: 192.0.2.7")
			f.refused(a, 403, ReasonNotBehind)
		}
		if got := f.recorded(ReasonNotBehind) - before; got == 0 {
			t.Errorf("%s: nothing is recorded of it", kind)
		}
	}
}

// Which address a proxy asks from decides how it asks, so no address may be in
// doubt.
func TestProxiesThatCouldBeTakenForEachOtherAreRefused(t *testing.T) {
	t.Parallel()
	net := func(s string) []netip.Prefix { return []netip.Prefix{netip.MustParsePrefix(s)} }
	for name, list := range map[string][]Proxy{
		"no kind":    {{ID: "a", Kind: "squid", From: net("10.0.0.1/32")}},
		"no address": {{ID: "a", Kind: "nginx"}},
		"overlap":    {{ID: "a", Kind: "nginx", From: net("10.0.0.0/8")}, {ID: "b", Kind: "caddy", From: net("10.0.0.1/32")}},
		"services":   {{ID: "a", Kind: "nginx", From: net("10.0.0.0/8"), Services: []string{"wiki"}}, {ID: "b", Kind: "nginx", From: net("10.0.0.1/32")}},
	} {
		if checkProxies(list) == nil {
			t.Errorf("%s is taken", name)
		}
	}
	if err := checkProxies([]Proxy{{ID: "a", Kind: "nginx", From: net("10.0.0.0/8")}, {ID: "b", Kind: "nginx", From: net("10.0.0.1/32")}, {ID: "c", Kind: "caddy", From: net("192.0.2.0/24")}}); err != nil {
		t.Errorf("control: %v", err)
	}
}

// A proxy that keeps only the status asks again for what the person is to see.
func TestAPersonBehindABareProxySeesTheSamePages(t *testing.T) {
	t.Parallel()
	f := newFront(t, behind("nginx"))
	alice := f.guest("alice")
	page := func(p *guest, method, host, uri string, lines ...string) answer {
		return f.ask(p, "GET", host, verifyPage, append(lines, "X-Forwarded-For: 192.0.2.7", "X-Original-Method: "+method, "X-Original-URL: http://"+f.at(host)+uri)...)
	}
	if a := page(alice, "GET", "payroll", "/", browse); a.StatusCode != 403 || !strings.Contains(a.body, "Payroll is for the finance office.") {
		t.Errorf("the denial page: %d %.200s", a.StatusCode, a.body)
	}
	a := page(nil, "GET", "wiki", "/report?x=1", browse)
	to, err := url.Parse(a.Header.Get("Location"))
	if err != nil || a.StatusCode != 303 || to.Path != "/.gatehouse/login" || to.Query().Get("return") != "http://"+f.at("wiki")+"/report?x=1" || to.Query().Get("bind") == "" {
		t.Errorf("to the sign-in: %d %s", a.StatusCode, a.Header.Get("Location"))
	}
	if ck := a.Cookies(); len(ck) != 1 || ck[0].Name != f.c.Cookie.Name("bind") {
		t.Errorf("cookies %v", ck)
	}
	f.refused(page(nil, "GET", "wiki", "/"), 401, ReasonSignIn)
	// Whoever may pass by now goes there again; nothing about them is in a page.
	if a := page(alice, "GET", "wiki", "/x", browse); a.StatusCode != 303 || a.Header.Get("Location") != "http://"+f.at("wiki")+"/x" || a.Header.Get("X-Gatehouse-Jwt") != "" {
		t.Errorf("who may pass: %d to %q", a.StatusCode, a.Header.Get("Location"))
	}
}

func TestP21_AProxyGetsTheCookiesWithoutOurs(t *testing.T) {
	t.Parallel()
	f := newFront(t, behind("traefik"), func(_ *front, c *Config) { c.Services[1].KeepAuthorization = true })
	alice := f.guest("alice", "fin")
	a := f.question("traefik", alice, "GET", "wiki", "/", "Cookie: theme=dark", "Authorization: Bearer theirs")
	if got := a.Header["Cookie"]; a.StatusCode != 200 || !cmp.Equal(got, []string{"theme=dark"}) || a.Header.Get("Authorization") != "" {
		t.Errorf("%d, cookies %q, Authorization %q", a.StatusCode, got, a.Header["Authorization"])
	}
	a = f.question("traefik", alice, "GET", "payroll", "/", "Authorization: Bearer theirs")
	if a.StatusCode != 200 || a.Header.Get("Cookie") != "" || a.Header.Get("Authorization") != "Bearer theirs" {
		t.Errorf("%d, cookies %q, Authorization %q", a.StatusCode, a.Header["Cookie"], a.Header["Authorization"])
	}
}

func TestP20_AWebSocketBehindAProxyMustComeFromTheServicesOwnPages(t *testing.T) {
	t.Parallel()
	f := newFront(t, behind("caddy"))
	alice := f.guest("alice")
	ws := []string{"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 13"}
	f.refused(f.question("caddy", alice, "GET", "wiki", "/ws", append(ws, "Origin: http://evil.test")...), 403, ReasonCrossSite)
	if a := f.question("caddy", alice, "GET", "wiki", "/ws", append(ws, "Origin: http://"+f.at("wiki"))...); a.StatusCode != 200 {
		t.Errorf("control: %d %s", a.StatusCode, a.body)
	}
}

// A person ends being let in at the next question, and the address that rules
// see is theirs, not the proxy's.
func TestAProxyLearnsAtOnceThatASessionEnded(t *testing.T) {
	t.Parallel()
	f := newFront(t, behind("envoy"))
	alice := f.guest("alice")
	if a := f.question("envoy", alice, "GET", "wiki", "/x"); a.StatusCode != 200 {
		t.Fatalf("control: %d %s", a.StatusCode, a.body)
	}
	alice.end()
	f.refused(f.question("envoy", alice, "GET", "wiki", "/x"), 401, ReasonSignIn)
	f.mu.Lock()
	defer f.mu.Unlock()
	if !slices.ContainsFunc(f.events, func(e audit.Event) bool { return e.From == "192.0.2.7" }) && f.g.c.TrustedProxies == nil {
		t.Error("the proxy's address is believed to be the person's")
	}
}

// Nor is it one where nothing is said, or only that it be sent.
func TestSayingNothingIsNoYes(t *testing.T) {
	t.Parallel()
	for kind := range ProxyKinds {
		f := newFront(t, behind(kind))
		for what, flush := range map[string]bool{"nothing": false, "a flush": true} {
			ask := func(r *http.Request) *recorder {
				w := newRecorder()
				v := &visit{g: f.g, r: r}
				v.reply = reply{ResponseWriter: w}
				v.w = &v.reply
				if err := v.question(); err != nil || v.proxy == nil {
					t.Fatal(kind, err, v.proxy)
				}
				if flush {
					_ = http.NewResponseController(v.w).Flush()
				}
				v.end()
				return w
			}
			k, r := ProxyKinds[kind], f.request(nil, "GET", "open", "/", nil)
			r.RequestURI, r.RemoteAddr = verifyPath, "127.0.0.1:1"
			r.Header = http.Header{"X-Forwarded-For": {"192.0.2.7"}, k.Method: {"GET"}, k.URL: {r.URL.String()}, k.Scheme: {"http"}, k.Host: {r.Host}, k.URI: {"/"}}
			if k.Behind {
				r.RequestURI += "/"
			}
			r.URL.Path = verifyPath
			if w := ask(r); w.Code != http.StatusForbidden {
				t.Errorf("%s: %s is told as %d", kind, what, w.Code)
			}
			if !k.Checks {
				continue
			}
			var m auth.CheckResponse
			if w := ask(f.envoy().call(nil, "")); w.Body.Len() < 5 || proto.Unmarshal(w.Body.Bytes()[5:], &m) != nil || m.GetDeniedResponse().GetStatus().GetCode() != http.StatusForbidden {
				t.Errorf("%s by gRPC: %s is told as %v", kind, what, &m)
			}
		}
	}
}

// No page by mistake is a yes.
func TestOnlyAnApprovalIsAYes(t *testing.T) {
	t.Parallel()
	for _, bare := range []bool{true, false} {
		for st := 200; st < 600; st++ {
			w := newRecorder()
			(&verdict{ResponseWriter: w, bare: bare}).WriteHeader(st)
			if got := w.Code; got/100 == 2 || bare && got != 401 && got != 403 {
				t.Errorf("bare %t: %d is told as %d", bare, st, got)
			}
		}
		w := newRecorder()
		_, _ = (&verdict{ResponseWriter: w, bare: bare}).Write([]byte("page"))
		if w.Code != http.StatusForbidden {
			t.Errorf("bare %t: a page without a status is told as %d", bare, w.Code)
		}
	}
}

func BenchmarkForwardAuth(b *testing.B) {
	f := newFront(b, behind("nginx"))
	alice := f.guest("alice")
	cookie := strings.TrimSuffix(strings.TrimPrefix(alice.cookie("wiki"), "Cookie: "), "\r\n")
	ask := func() *http.Request {
		r := &http.Request{Method: "GET", Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Host: f.at("wiki"), RequestURI: verifyPath, URL: &url.URL{Path: verifyPath}, Body: http.NoBody, RemoteAddr: "127.0.0.1:5000", Header: http.Header{
			"Cookie": {cookie}, "X-Original-Method": {"GET"}, "X-Original-Url": {"http://" + f.at("wiki") + "/report/7"}, "X-Forwarded-For": {"192.0.2.7"},
		}}
		return r
	}
	b.ReportAllocs()
	for b.Loop() {
		w := newRecorder()
		f.g.ServeHTTP(w, ask())
		if w.Code != 200 || w.Header().Get("X-Gatehouse-Jwt") == "" {
			b.Fatal(w.Code, w.Body)
		}
	}
}

// TestNginxHoldsBackEveryNameOfTheWall keeps configs/forward-auth/gatehouse-wall.conf
// true: nginx takes a header away only by its name.
func TestNginxHoldsBackEveryNameOfTheWall(t *testing.T) {
	t.Parallel()
	var names []string
	for n := range newWall(nil).names {
		// These are HTTP's own, or no identity.
		if n != "trailer" && n != "proxy-authorization" {
			names = append(names, http.CanonicalHeaderKey(n))
		}
	}
	for _, k := range ProxyKinds {
		for _, n := range []string{k.Method, k.URL, k.Scheme, k.Host, k.URI} {
			if n != "" && !slices.Contains(names, n) && n != k.Scheme && n != k.Host {
				names = append(names, n)
			}
		}
	}
	slices.Sort(names)
	text := "# What only Gatehouse may say: each name of each preset, and names that services take\n# for a person's. A name that nginx.conf gives a value to itself is not here. nginx\n# drops other spellings (underscores, dots) by itself: leave underscores_in_headers off\n# and ignore_invalid_headers on.\n# It knows no beginnings of names: what else your service believes (Shib-…, Oidc-Claim-…,\n# X-Vouch-…, X-Http-Method-…) belongs here too.\n"
	for _, n := range slices.Compact(names) {
		switch n {
		case "X-Forwarded-User", "X-Forwarded-Preferred-Username", "X-Forwarded-Email", "X-Forwarded-Groups":
		default:
			text += fmt.Sprintf("proxy_set_header %s \"\";\n", n)
		}
	}
	const file = "../configs/forward-auth/gatehouse-wall.conf"
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(file)
	if d := cmp.Diff(text, string(have)); err != nil || d != "" {
		t.Errorf("UPDATE=1 writes it again: %v\n%s", err, d)
	}
}
