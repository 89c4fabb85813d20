package main

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/beevik/etree"
	"github.com/google/go-cmp/cmp"

	"github.com/gatehouse-sso/gatehouse/federation/idptest"
)

// both are one person at each protocol.
var both = []struct{ provider, user, name string }{{"campus", "alice", "alice"}, {"partner", "dana", "partners/dana"}}

// twin is another browser that has every cookie of this one for the gateway's
// own host.
func (p *person) twin(l *lab) *person {
	t := l.person()
	u, err := url.Parse(l.at("", "/"))
	if err != nil {
		l.t.Fatal(err)
	}
	t.client.Jar.SetCookies(u, p.client.Jar.Cookies(u))
	return t
}

func TestO17S45T05_AnAnswerGoesToTheBrowserThatAskedAndOnce(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	for _, who := range both {
		param := map[string]string{"campus": "state", "partner": "RelayState"}[who.provider]
		fetch := func() (*person, answer) {
			p := l.person()
			return p, p.fetch(l.at("wiki", "/report"), who.provider, who.user)
		}
		// An answer as it should be. T05: in another browser it is nobody's,
		// wherever it was made to be posted from.
		p, a := fetch()
		other := l.person()
		l.refused("login.state_unknown", other, func() { other.bring(a) })
		p.bring(a).wants(http.StatusOK)
		if got, want := p.url.String(), l.at("wiki", "/report"); got != want || !p.signedIn("wiki", who.name) {
			t.Errorf("came back to %s, want %s: %d %s", got, want, p.status, p.body)
		}
		l.refused("login.state_unknown", p, func() { p.bring(a) })

		for name, change := range map[string]func(answer) answer{
			"missing": func(a answer) answer { return a.with(param) },
			"empty":   func(a answer) answer { return a.with(param, "") },
			"other":   func(a answer) answer { return a.with(param, "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA") },
			"long":    func(a answer) answer { return a.with(param, strings.Repeat("A", 600)) },
			"twice":   func(a answer) answer { return a.with(param, "x", "y") }, // O24
		} {
			p, a := fetch()
			t.Log(who.provider, name)
			l.refused("login.state_unknown", p, func() { p.bring(change(a)) })
			p.bring(a).wants(http.StatusOK) // what was not about this flow did not use it up
		}
		// In one browser, an answer to one flow goes into no other.
		p, a = fetch()
		b := p.fetch(l.at("wiki", "/other"), who.provider, who.user)
		if who.provider == "partner" {
			l.refused("saml.in_response_to", p, func() { p.bring(a.with(param, b.form.Get(param))) })
		} else {
			other, _ := url.Parse(b.url)
			l.refused("oidc.token_endpoint", p, func() { p.bring(a.with(param, other.Query().Get(param))) })
		}
	}
	l.behaves()
}

func TestO17_ASignInLivesTenMinutesAndAcrossARestart(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	for _, who := range both {
		p := l.person()
		a := p.fetch(l.at("wiki", "/report"), who.provider, who.user)
		l.restart()
		p.bring(a).wants(http.StatusOK)

		// To the person at the identity provider the ten minutes end; where
		// they wanted to go is not forgotten.
		p = l.person()
		p.open(l.at("wiki", "/report?x=1")).click("idp=" + who.provider)
		l.clock.advance(10*time.Minute + time.Second)
		a = p.answer(who.user)
		l.refused("login.state_expired", p, func() { p.bring(a) })
		p.click("/.gatehouse/login?return=" + url.QueryEscape(l.at("wiki", "/report?x=1")))
		p.signIn(who.provider, who.user)
		if got, want := p.url.String(), l.at("wiki", "/report?x=1"); got != want {
			t.Errorf("came back to %s, want %s", got, want)
		}
		// One second earlier it would have been in time.
		p = l.person()
		p.open(l.at("wiki", "/report")).click("idp=" + who.provider)
		l.clock.advance(10*time.Minute - 5*time.Second)
		p.bring(p.answer(who.user)).wants(http.StatusOK)
	}
}

func TestS45_InResponseToMustBeOurs(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	for name, change := range map[string]func(*etree.Element){
		"missing everywhere": func(r *etree.Element) {
			r.RemoveAttr("InResponseTo")
			idptest.IDPAt(r, "Assertion", "Subject", "SubjectConfirmation", "SubjectConfirmationData").RemoveAttr("InResponseTo")
		},
		"unknown in the response": func(r *etree.Element) { r.CreateAttr("InResponseTo", "_other") },
		"missing in the confirmation": func(r *etree.Element) {
			idptest.IDPAt(r, "Assertion", "Subject", "SubjectConfirmation", "SubjectConfirmationData").RemoveAttr("InResponseTo")
		},
		"unknown in the confirmation": func(r *etree.Element) {
			idptest.IDPAt(r, "Assertion", "Subject", "SubjectConfirmation", "SubjectConfirmationData").CreateAttr("InResponseTo", "_other")
		},
	} {
		p := l.person()
		p.open(l.at("wiki", "/")).click("idp=partner")
		l.partner.Misbehave(idptest.IDPFault{Policy: change})
		a := p.answer("dana")
		l.partner.Misbehave(idptest.IDPFault{})
		t.Log(name)
		l.refused("saml.in_response_to", p, func() { p.bring(a) })
	}
	l.behaves()
}

func TestS46O17_AnAnswerIsUsedOnceWhateverTheBrowserKept(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	for _, who := range both {
		// The code was used at the OpenID provider too, which says so first.
		code := map[string]string{"campus": "oidc.token_endpoint", "partner": "login.replayed"}[who.provider]
		p := l.person()
		a := p.fetch(l.at("wiki", "/"), who.provider, who.user)
		thief := p.twin(l)
		late := p.twin(l)
		p.bring(a).wants(http.StatusOK)
		l.refused("login.state_unknown", p, func() { p.bring(a) })
		l.refused(code, thief, func() { thief.bring(a) })
		l.restart()
		l.refused(code, late, func() { late.bring(a) })

		// Fifty at once: one.
		p = l.person()
		a = p.fetch(l.at("wiki", "/"), who.provider, who.user)
		before := l.rows()
		var twins []*person
		for range 50 {
			twins = append(twins, p.twin(l).stay("/.gatehouse/session"))
		}
		var wg sync.WaitGroup
		for _, twin := range twins {
			wg.Go(func() { twin.bring(a) })
		}
		wg.Wait()
		in := 0
		for _, twin := range twins {
			if twin.status == http.StatusSeeOther || twin.status == http.StatusOK {
				in++
			} else if twin.status < 400 || twin.status > 499 {
				t.Errorf("status %d: %s", twin.status, twin.body)
			}
		}
		// An OpenID provider takes back what it gave for a code that comes twice,
		// so there it may be none.
		if after := l.rows(); in > 1 || in < 1 && who.provider == "partner" || after["session"] != before["session"]+in {
			t.Errorf("%s: %d of 50 passed; %d sessions before, %d after", who.provider, in, before["session"], after["session"])
		}
	}
	l.behaves()
}

func TestS54O20_AnAnswerOfOneProviderGoesIntoNoFlowOfAnother(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	campus, college := "/.gatehouse/oidc/campus/callback", "/.gatehouse/oidc/college/callback"
	// An answer made by the one, brought to the callback of the other.
	for _, pair := range [][2]string{{"campus", "college"}, {"partner", "guild"}} {
		user := map[string]string{"campus": "alice", "partner": "dana"}[pair[0]]
		p := l.person()
		a := p.fetch(l.at("wiki", "/"), pair[0], user)
		a.url = strings.Replace(a.url, pair[0], pair[1], 1)
		l.refused("login.state_unknown", p, func() { p.bring(a) })
	}
	// Mix-up: college's code under campus's state, with and without a true iss.
	for _, iss := range []string{l.college.Issuer(), "https://elsewhere.example", ""} {
		p := l.person()
		a := p.fetch(l.at("wiki", "/"), "campus", "alice")
		b := p.fetch(l.at("wiki", "/"), "college", "alice")
		state := query(a.url).Get("state")
		mixed := b.with("state", state)
		mixed.url = strings.Replace(mixed.url, college, campus, 1)
		if mixed = mixed.with("iss", iss); iss == "" {
			mixed = mixed.with("iss")
		}
		l.refused("oidc.iss_param", p, func() { p.bring(mixed) })
	}
	// The same between SAML providers: the assertion is signed by the wrong one.
	p := l.person()
	a := p.fetch(l.at("wiki", "/"), "partner", "dana")
	b := p.fetch(l.at("wiki", "/"), "guild", "dana")
	a.form.Set("SAMLResponse", b.form.Get("SAMLResponse"))
	// Which check it meets first does not matter, as long as it is refused.
	l.refused("saml.issuer", p, func() { p.bring(a) })
	l.behaves()
}

func query(address string) url.Values {
	u, err := url.Parse(address)
	if err != nil {
		return nil
	}
	return u.Query()
}

func TestO22A06A14_NothingIsMadeOfTheHostThatARequestNames(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	begin := l.at("", "/.gatehouse/login?idp=campus&return="+url.QueryEscape(l.at("wiki", "/")))
	want := l.at("", "/.gatehouse/oidc/campus/callback")
	for _, h := range []http.Header{
		{}, // as it should be
		{"X-Forwarded-Host": {"evil.example"}, "X-Forwarded-Proto": {"https"}, "X-Forwarded-Port": {"1"}},
		{"Forwarded": {`host="evil.example";proto=https`}, "X-Original-Url": {"https://evil.example/"}, "X-Host": {"evil.example"}},
	} {
		r, _ := http.NewRequest(http.MethodGet, begin, nil)
		r.Header = h.Clone()
		r.Header.Set("Accept", "text/html")
		p := l.person().stay("authorize").send(r)
		if got := query(p.header.Get("Location")).Get("redirect_uri"); got != want {
			t.Errorf("with %v redirect_uri is %q (%d), want %q", h, got, p.status, want)
		}
	}
	for _, host := range []string{"evil.example", "localhost.", "LOCALHOST:1", "wiki.localhost.evil.example", "127.0.0.1"} {
		r, _ := http.NewRequest(http.MethodGet, begin, nil)
		r.Host = host
		p := l.person().stay("authorize").send(r)
		to := p.header.Get("Location")
		if p.status == http.StatusSeeOther && query(to).Get("redirect_uri") != want || p.status != http.StatusSeeOther && p.status != http.StatusMisdirectedRequest {
			t.Errorf("host %q: status %d, to %q", host, p.status, to)
		}
	}
	// What is for machines is on no public host, and what is for administrators is on
	// the gateway's own, for them alone.
	alice := l.person()
	alice.open(l.at("wiki", "/")).signIn("campus", "alice")
	for _, path := range []string{"/metrics", "/healthz", "/readyz", "/debug/pprof/", "/debug/vars", "/v1/users", "/.gatehouse/admin/", "/.gatehouse/api/v1/users", "/.gatehouse/healthz", "/.gatehouse/metrics"} {
		for _, host := range []string{"", "wiki"} {
			if host == "wiki" && !strings.HasPrefix(path, "/.gatehouse/") {
				continue // the wiki's own
			}
			want := http.StatusNotFound
			if host == "" && (strings.HasPrefix(path, "/.gatehouse/admin/") || strings.HasPrefix(path, "/.gatehouse/api/")) {
				want = http.StatusForbidden
			}
			if alice.do(http.MethodGet, l.at(host, path), nil); alice.status != want {
				t.Errorf("%s%s: %d, want %d: %s", host, path, alice.status, want, alice.body)
			}
		}
	}
}

func TestO23A02_WhatAnIdentityProviderSaysIsShownAsItsWords(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	for _, said := range []string{`<script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`, strings.Repeat("long ", 3<<10), "a\r\nSet-Cookie: gatehouse=x\r\n\r\n<b>", "javascript:alert(1)"} {
		p := l.person()
		p.open(l.at("wiki", "/")).click("idp=campus")
		l.campus.Misbehave(idptest.OPFault{Redirect: func(v url.Values) {
			v.Del("code")
			v.Set("error", "access_denied")
			v.Set("error_description", said)
			v.Set("error_uri", "https://evil.example/"+said)
		}})
		a := p.answer("alice")
		l.campus.Misbehave(idptest.OPFault{})
		l.refused("login.provider_refused", p, func() { p.bring(a) })
		if strings.Contains(p.body, "<script>alert") || strings.Contains(p.body, "<img src=x") || strings.Contains(p.body, "evil.example") {
			t.Errorf("it is on the page as it came:\n%s", p.body)
		}
		if len(p.body) > 32<<10 || p.header.Get("Refresh") != "" || p.header.Get("Location") != "" {
			t.Errorf("%d bytes, headers %v", len(p.body), p.header)
		}
		l.guarded(p)
	}
	// Names are strangers' text too.
	p := l.person()
	p.open(l.at("payroll", "/")).click("idp=campus")
	l.campus.Misbehave(idptest.OPFault{UserInfo: func(m map[string]any) { m["name"] = `<script>alert(2)</script>{{.}}` }})
	p.submit(url.Values{"user": {"bob"}}).wants(http.StatusForbidden, "access.", "&lt;script&gt;alert(2)&lt;/script&gt;{{.}}")
	l.campus.Misbehave(idptest.OPFault{})
	if strings.Contains(p.body, "<script>alert(2)") {
		t.Error("a name became markup")
	}
	l.behaves()
}

// guarded checks the headers of a page of ours (A04, T21).
func (l *lab) guarded(p *person) {
	l.t.Helper()
	csp := p.header.Get("Content-Security-Policy")
	if !strings.Contains(csp, "frame-ancestors 'none'") || strings.Contains(csp, "unsafe-inline") || p.header.Get("Cache-Control") != "no-store" || p.header.Get("X-Content-Type-Options") != "nosniff" {
		l.t.Errorf("%s: headers %v", p.url, p.header)
	}
}

func TestO24S70_ParametersComeOnceAndWhereTheyBelong(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	for _, name := range []string{"state", "code", "iss"} {
		p := l.person()
		a := p.fetch(l.at("wiki", "/"), "campus", "alice")
		v := query(a.url).Get(name)
		code := "login.malformed"
		if name == "state" {
			code = "login.state_unknown"
		}
		l.refused(code, p, func() { p.bring(a.with(name, v, v)) })
	}
	twice := l.person()
	l.refused("request.parameters", twice, func() {
		twice.open(l.at("", "/.gatehouse/login?return=%2F&return=https%3A%2F%2Fevil.example%2F"))
	})

	saml := func() (*person, answer) {
		p := l.person()
		return p, p.fetch(l.at("wiki", "/"), "partner", "dana")
	}
	p, a := saml()
	calls := l.partner.Asked()
	l.refused("request.method", p, func() { p.do(http.MethodGet, a.url+"?"+a.form.Encode(), nil) })
	p.bring(a).wants(http.StatusOK)
	p, a = saml()
	l.refused("login.malformed", p, func() { p.do(http.MethodPost, a.url+"?"+a.form.Encode(), a.form) })
	p, a = saml()
	l.refused("login.malformed", p, func() { p.bring(a.with("SAMLResponse", a.form.Get("SAMLResponse"), a.form.Get("SAMLResponse"))) })
	p, a = saml()
	l.refused("login.malformed", p, func() {
		p.bring(a.with("SAMLart", "AAQAAMh48/1oXIM+sDo7Dh2qMp1HM4IF5DaRNmDj6RdUmllwn9jJHyEgIi8=").with("SAMLResponse"))
	})
	if got := l.partner.Asked(); got != calls {
		t.Errorf("%d calls went out", got-calls)
	}
	p = l.person()
	b := p.fetch(l.at("wiki", "/"), "campus", "alice")
	l.refused("request.method", p, func() { p.do(http.MethodPost, strings.Split(b.url, "?")[0], query(b.url)) })
	l.behaves()
}

// It is not parallel, so that what is in use is in use by it.
func TestO25_SignInsThatNobodyFinishesCostNothing(t *testing.T) {
	l := newLab(t, nil)
	n := 5_000
	if os.Getenv("GATEHOUSE_FAULTS") != "" {
		n = 100_000
	}
	begin := l.at("", "/.gatehouse/login?idp=campus&return="+url.QueryEscape(l.at("wiki", "/")))
	tr := localTransport()
	defer tr.CloseIdleConnections()
	flood := func() {
		r, err := http.NewRequest(http.MethodGet, begin, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := tr.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		if resp.StatusCode != http.StatusSeeOther || len(resp.Header["Set-Cookie"]) == 0 {
			t.Fatalf("status %d, headers %v", resp.StatusCode, resp.Header)
		}
	}
	for range 100 {
		flood()
	}
	file := filepath.Join(l.dir, "gatehouse.db")
	heap := func() int64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	eventually(t, "the start has nothing left to do", func() bool { return l.rows()["task"] == 0 })
	l.recorded() // and what it had to write is written
	size, rows, before := fileSize(t, file), l.rows(), heap()
	for range n {
		flood()
	}
	if grown := heap() - before; grown > 20<<20 {
		t.Errorf("%d bytes more are in use", grown)
	}
	if grown := fileSize(t, file) - size; grown != 0 {
		t.Errorf("the store grew by %d bytes", grown)
	}
	if diff := cmp.Diff(rows, l.rows()); diff != "" {
		t.Errorf("rows (-before +after):\n%s", diff)
	}
	l.behaves()
}

func fileSize(t *testing.T, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

func TestO26_EveryTabComesBackToItsOwnAddress(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	for _, who := range both {
		// Twenty at once, in one browser.
		p := l.person()
		tabs := make([]*person, 20)
		for i := range tabs {
			tabs[i] = l.person()
			tabs[i].client.Jar = p.client.Jar
		}
		answers := make([]answer, len(tabs))
		each := func(do func(i int)) {
			var wg sync.WaitGroup
			for i := range tabs {
				wg.Go(func() { do(i) })
			}
			wg.Wait()
		}
		each(func(i int) {
			answers[i] = tabs[i].fetch(l.at("wiki", fmt.Sprintf("/tab?n=%d", i)), who.provider, who.user)
		})
		each(func(i int) { tabs[i].bring(answers[i]) })
		for i, tab := range tabs {
			if want := l.at("wiki", fmt.Sprintf("/tab?n=%d", i)); tab.status != http.StatusOK || tab.url.String() != want {
				t.Errorf("%s, tab %d came to %s (%d), want %s", who.provider, i, tab.url, tab.status, want)
			}
		}

		// Twenty-five one after the other: the newest twenty finish; an older
		// one finds its address too, since the browser is signed in by then, and
		// before that it is asked again.
		p = l.person()
		answers = answers[:0]
		for i := range 25 {
			answers = append(answers, p.fetch(l.at("wiki", fmt.Sprintf("/tab?n=%d", i)), who.provider, who.user))
		}
		if n := p.cookieBytes(l.at("", "/")); n > 32<<10 {
			t.Errorf("the browser has %d bytes of cookies for the gateway", n)
		}
		p.bring(answers[0]).wants(http.StatusOK, "idp="+who.provider)
		if got := query(p.url.String()).Get("return"); got != l.at("wiki", "/tab?n=0") {
			t.Errorf("an old tab starts again for %q", got)
		}
		for i := 24; i >= 0; i-- {
			want := l.at("wiki", fmt.Sprintf("/tab?n=%d", i))
			if p.bring(answers[i]); p.status != http.StatusOK || p.url.String() != want {
				t.Errorf("%s, tab %d came to %s (%d), want %s", who.provider, i, p.url, p.status, want)
			}
		}
	}
}

// cookieBytes is how long the Cookie header for an address is.
func (p *person) cookieBytes(address string) int {
	u, err := url.Parse(address)
	if err != nil {
		p.w.t.Fatal(err)
	}
	n := 0
	for _, ck := range p.client.Jar.Cookies(u) {
		n += len(ck.Name) + len(ck.Value) + 3
	}
	return n
}

func TestO26_ManyTabsAtOnceLockNobodyOut(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	p := l.person()
	// All at once, so that none knows of the others.
	var wg sync.WaitGroup
	for i := range 64 {
		tab := l.person().stay("authorize")
		to := l.at("", "/.gatehouse/login?idp=campus&return="+url.QueryEscape(l.at("wiki", fmt.Sprint("/", i))))
		wg.Go(func() {
			tab.do(http.MethodGet, to, nil)
			for _, ck := range (&http.Response{Header: tab.header}).Cookies() {
				p.setCookie(l.at("", "/"), ck)
			}
		})
	}
	wg.Wait()
	// At most one page says that it was too much; then it goes on.
	for range 2 {
		if p.open(l.at("wiki", "/")); p.status == http.StatusOK {
			break
		}
	}
	p.signIn("campus", "alice").wants(http.StatusOK)
	if !p.signedIn("wiki", "alice") {
		t.Errorf("%d: %s", p.status, p.body)
	}
}

func TestO41_AProviderThatIsGoneSignsNobodyInAndVouchesForNobody(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	in, late, stays := l.person(), l.person(), l.person()
	in.open(l.at("wiki", "/")).signIn("college", "carol").wants(http.StatusOK)
	stays.open(l.at("wiki", "/")).signIn("partner", "dana").wants(http.StatusOK)
	a := late.fetch(l.at("wiki", "/"), "college", "bob")
	l.reload(func(s string) string {
		from := strings.Index(s, "  - id: college")
		return s[:from] + s[strings.Index(s, "  - id: closed"):]
	})
	if in.signedIn("wiki", "carol") {
		t.Error("who signed in there is still let in")
	}
	if !stays.signedIn("wiki", "partners/dana") {
		t.Errorf("who signed in elsewhere is not let in: %d %s", stays.status, stays.body)
	}
	l.refused("path.unknown", late, func() { late.bring(a) })
	l.refused("login.provider_unknown", late, func() { late.open(l.at("", "/.gatehouse/login?idp=college&return=%2F")) })
	l.behaves()
}

func TestO42S72_NoTokenOrAssertionGetsOut(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	var secrets []string
	l.campus.Misbehave(idptest.OPFault{Response: func(m map[string]any) {
		for _, k := range []string{"id_token", "access_token"} {
			if s, ok := m[k].(string); ok {
				secrets = append(secrets, s)
			}
		}
	}})
	pages := ""
	visit := func(p *person) {
		for _, to := range []string{l.at("wiki", "/"), l.at("", "/"), l.at("payroll", "/nothing"), l.at("", "/.gatehouse/logout"), l.at("wiki", "/.gatehouse/none")} {
			p.do(http.MethodGet, to, nil)
			pages += p.body
		}
	}
	alice := l.person()
	a := alice.fetch(l.at("wiki", "/"), "campus", "alice")
	secrets = append(secrets, query(a.url).Get("code"))
	alice.bring(a).wants(http.StatusOK)
	visit(alice)
	dana := l.person()
	b := dana.fetch(l.at("wiki", "/"), "partner", "dana")
	dana.bring(b).wants(http.StatusOK)
	visit(dana)
	bad := l.person()
	c := bad.fetch(l.at("wiki", "/"), "partner", "dana")
	raw := c.form.Get("SAMLResponse")
	l.refused("saml.signature", bad, func() { bad.bring(c.with("SAMLResponse", breakDigest(t, raw))) })
	pages += bad.body
	secrets = append(secrets, raw[:200], b.form.Get("SAMLResponse")[:200], "secret-of-campus", "token-of-the-target", "<saml:Assertion", "<ds:X509Certificate")
	for _, p := range []*person{alice, dana} {
		secrets = append(secrets, p.sessionAt(l.at("", "/")).Value, p.sessionAt(l.at("wiki", "/")).Value)
	}
	if len(secrets) < 12 || slices.Contains(secrets, "") {
		t.Fatalf("%d secrets only", len(secrets))
	}
	var audit strings.Builder
	for _, e := range l.recorded() {
		fmt.Fprintf(&audit, "%+v\n", e)
	}
	urls := ""
	for _, p := range []*person{alice, dana, bad} {
		for _, s := range p.trail.all() {
			if strings.Contains(s.url.Host, "wiki.") {
				urls += s.url.String() + " " + s.header.Get("Location") + "\n"
			}
		}
	}
	for where, text := range map[string]string{"a page": pages, "the log": l.log.String(), "the audit log": audit.String(), "what services got": strings.Join(l.upstream.got(), "\n"), "an address of a service": urls} {
		for _, s := range secrets {
			if strings.Contains(text, s) {
				t.Errorf("%.40s… is in %s", s, where)
			}
		}
	}
	// The addresses where codes are must not be told to the next page.
	for _, s := range alice.trail.all() {
		if strings.Contains(s.url.Path, "/callback") && s.header.Get("Referrer-Policy") != "no-referrer" {
			t.Errorf("%s: Referrer-Policy %q", s.url.Path, s.header.Get("Referrer-Policy"))
		}
	}
}

// breakDigest changes what is signed.
func breakDigest(t *testing.T, response string) string {
	t.Helper()
	raw := mustDecode(t, response)
	changed := regexp.MustCompile(`dana@[a-z.]*`).ReplaceAllString(raw, "root@evil.example")
	if changed == raw {
		t.Fatal("there is nothing to change in the response")
	}
	return encodeBase64(changed)
}

func TestO45T21_RedirectsAreReadAndKeptByNobody(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	for _, who := range both {
		p := l.person()
		p.open(l.at("payroll", "/")).signIn(who.provider, who.user)
		p.open(l.at("wiki", "/"))
		p.open(l.at("", "/"))
		p.open(l.at("", "/.gatehouse/logout")).submit(nil)
		p.open(l.at("", "/nothing")).open(l.at("", "/.gatehouse/nothing"))
		ours := 0
		for _, s := range p.trail.all() {
			if !strings.HasSuffix(s.url.Host, fmt.Sprint(":", l.port)) {
				continue // the identity provider's
			}
			cc := s.header.Get("Cache-Control")
			if s.status >= 300 && s.status < 400 {
				ours++
				if s.status != http.StatusSeeOther && s.status != http.StatusFound {
					t.Errorf("%s %s answered with %d", s.method, s.url, s.status)
				}
			}
			upstreams := strings.HasPrefix(s.url.Host, "wiki.") && s.status == http.StatusOK
			if !upstreams && cc != "no-store" {
				t.Errorf("%s %s (%d): Cache-Control %q", s.method, s.url, s.status, cc)
			}
		}
		if ours < 4 {
			t.Errorf("%d redirects only", ours)
		}
	}
	// What may be kept sets no cookie.
	p := l.person().open(l.at("", "/.gatehouse/jwks.json")).wants(http.StatusOK)
	kept := []step{p.trail.all()[0]}
	p = l.person().open(l.at("wiki", "/"))
	css := regexp.MustCompile(`/\.gatehouse/assets/[^"]+\.css`).FindString(p.body)
	kept = append(kept, l.person().open(l.at("wiki", css)).wants(http.StatusOK).trail.all()...)
	for _, s := range kept {
		if !strings.Contains(s.header.Get("Cache-Control"), "max-age") || len(s.header["Set-Cookie"]) > 0 {
			t.Errorf("%s: %v", s.url, s.header)
		}
	}
}

func TestAServiceIsOpenToItsOwnIdentityProvidersOnly(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	p := l.in("partner", "dana")
	p.open(l.at("campus-only", "/public")).wants(http.StatusOK)
	// Who signed in elsewhere is told, and may sign in there and nowhere else.
	p.open(l.at("campus-only", "/x")).wants(http.StatusForbidden, "access.no_rule").click("switch=1")
	p.submit(url.Values{"user": {"alice"}}).wants(http.StatusOK, `"X-Forwarded-User":["alice"]`)
	l.refused("login.provider_unknown", p, func() {
		p.open(l.at("", "/.gatehouse/login?switch=1&idp=partner&return="+url.QueryEscape(l.at("campus-only", "/"))))
	})
	// A program that is signed in elsewhere is refused.
	q := l.in("partner", "dana")
	q.open(l.at("campus-only", "/x")).wants(http.StatusForbidden)
	r, _ := http.NewRequest(http.MethodGet, l.at("campus-only", "/x"), nil)
	if q.send(r); q.status != http.StatusForbidden {
		t.Errorf("%d %s", q.status, q.body)
	}
}
