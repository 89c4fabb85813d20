package main

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatehouse-sso/gatehouse/federation/idptest"
	"github.com/gatehouse-sso/gatehouse/gateway/session"
	"github.com/gatehouse-sso/gatehouse/provisioning/store"
	webapi "github.com/gatehouse-sso/gatehouse/web/api"
)

// in is a person who is signed in at the wiki.
func (l *lab) in(provider, user string) *person {
	l.t.Helper()
	p := l.person()
	p.open(l.at("wiki", "/")).signIn(provider, user).wants(http.StatusOK)
	return p
}

// copied is a browser that has nothing but a copy of another's session cookie.
func (p *person) copied(l *lab, from, to string) *person {
	t := l.person()
	ck := *p.sessionAt(l.at(from, "/"))
	ck.Path = "/"
	t.setCookie(l.at(to, "/"), &ck)
	return t
}

// program asks as a program does, without following anything.
func (p *person) program(method, to string, cookies ...*http.Cookie) *person {
	p.w.t.Helper()
	r, err := http.NewRequest(method, to, nil)
	if err != nil {
		p.w.t.Fatal(err)
	}
	for _, ck := range cookies {
		r.AddCookie(ck)
	}
	return p.stay("/").send(r).stay("")
}

func TestT01_ASignInMakesAnotherSessionAndEndsTheOneBefore(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	// What somebody planted before the sign-in is not what it becomes.
	p := l.person()
	name := session.Cookie{Insecure: true, Port: fmt.Sprint(l.port)}.Name("")
	for _, host := range []string{"", "wiki"} {
		p.setCookie(l.at(host, "/"), &http.Cookie{Name: name, Value: base64.RawURLEncoding.EncodeToString(make([]byte, 32)), Path: "/"})
	}
	p.open(l.at("wiki", "/")).signIn("campus", "alice").wants(http.StatusOK)
	gate, wiki := p.sessionAt(l.at("", "/")).Value, p.sessionAt(l.at("wiki", "/")).Value
	if gate == wiki || strings.Trim(gate, "A") == "" || strings.Trim(wiki, "A") == "" {
		t.Fatalf("cookies are %s and %s", gate, wiki)
	}
	before := p.copied(l, "wiki", "wiki")
	beforeHome := p.copied(l, "", "")
	if !before.signedIn("wiki", "alice") {
		t.Fatal("a session is not where its cookie is")
	}
	// Stepping up is a sign-in too.
	p.open(l.at("payroll", "/")).submit(url.Values{"user": {"alice"}})
	p.submit(url.Values{"user": {"alice"}, "factor": {"yes"}}).wants(http.StatusOK, `"X-Forwarded-User":["alice"]`)
	if after := p.sessionAt(l.at("", "/")).Value; after == gate {
		t.Error("the cookie of the gateway's host is the same after stepping up")
	}
	if before.signedIn("wiki", "alice") {
		t.Error("the session from before the step-up lives at the wiki")
	}
	if beforeHome.open(l.at("", "/")); !strings.Contains(beforeHome.url.Path, "/login") {
		t.Errorf("the session from before the step-up lives at the portal: %s", beforeHome.url)
	}
	if p.open(l.at("wiki", "/")).wants(http.StatusOK); !p.signedIn("wiki", "alice") {
		t.Error("whoever stepped up is not let in elsewhere")
	}
}

func TestT01_AnAnswerFromAnotherSiteEndsTheSessionBeforeToo(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	p := l.in("partner", "dana")
	before, beforeHome := p.copied(l, "wiki", "wiki"), p.copied(l, "", "")
	if !before.signedIn("wiki", "partners/dana") {
		t.Fatal("a session is not where its cookie is")
	}
	// As a browser does, the jar keeps cookies that are Lax from a POST that
	// another site's page makes.
	p.client.Jar = lax{p.client.Jar}
	p.open(l.at("", "/.gatehouse/login?switch=1&idp=partner&return="+url.QueryEscape(l.at("wiki", "/"))))
	p.submit(url.Values{"user": {"dana"}}).wants(http.StatusOK, `"X-Forwarded-User":["partners/dana"]`)
	if before.signedIn("wiki", "partners/dana") {
		t.Error("the session from before lives at the wiki")
	}
	if beforeHome.open(l.at("", "/")); !strings.Contains(beforeHome.url.Path, "/login") {
		t.Errorf("the session from before lives at the portal: %s", beforeHome.url)
	}
}

// lax keeps session cookies from where SAML answers are posted to.
type lax struct{ http.CookieJar }

func (j lax) Cookies(u *url.URL) []*http.Cookie {
	list := j.CookieJar.Cookies(u)
	if strings.HasSuffix(u.Path, "/acs") {
		list = slices.DeleteFunc(list, func(ck *http.Cookie) bool { return isSessionCookie(ck.Name) })
	}
	return list
}

func TestT02T06A01_SigningOutEndsTheSessionAndOnlyThePersonCan(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	p := l.in("campus", "alice")
	thief := p.copied(l, "wiki", "wiki")
	out := l.at("", "/.gatehouse/logout")
	// T06: a link, an image, a form of another site.
	for _, h := range []http.Header{
		{"Origin": {"https://evil.example"}},
		{"Origin": {"null"}},
		{},
		{"Sec-Fetch-Site": {"cross-site"}, "Origin": {l.at("", "")}},
		{"Sec-Fetch-Site": {"same-site"}, "Origin": {l.at("wiki", "")}},
		{"Origin": {l.at("wiki", "")}},
		{"Origin": {l.at("", ""), l.at("", "")}},
	} {
		for _, to := range []string{out, l.at("", "/")} { // and every other page of ours
			r, _ := http.NewRequest(http.MethodPost, to, strings.NewReader(""))
			r.Header = h.Clone()
			r.Header.Set("Accept", "text/html")
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			t.Log(to, h)
			l.refused("request.cross_site", p, func() { p.send(r) })
		}
	}
	p.do(http.MethodGet, out, nil).wants(http.StatusOK, "Alice Liddell")
	l.guarded(p)
	if !p.signedIn("wiki", "alice") {
		t.Fatal("a GET signed out")
	}
	// What browsers of today say of a page of ours that has no referrer.
	r, _ := http.NewRequest(http.MethodPost, out, strings.NewReader(""))
	r.Header = http.Header{"Sec-Fetch-Site": {"same-origin"}, "Origin": {"null"}, "Accept": {"text/html"}}
	p.send(r).wants(http.StatusOK)
	if thief.signedIn("wiki", "alice") {
		t.Error("a copied cookie works after signing out")
	}
	if thief.program(http.MethodGet, l.at("wiki", "/")); thief.status != http.StatusUnauthorized || !strings.Contains(thief.body, "session.required") {
		t.Errorf("a program with the copied cookie gets %d %s", thief.status, thief.body)
	}
	last := l.recorded()
	if e := last[len(last)-1]; e.Kind != "session.ended" && last[len(last)-2].Kind != "session.ended" {
		t.Errorf("the last event is %+v", e)
	}
	// The same by the form on the page, by Origin alone.
	q := l.in("partner", "dana")
	q.open(out).submit(nil).wants(http.StatusOK)
	if q.signedIn("wiki", "partners/dana") {
		t.Error("the button does not sign out")
	}
}

func TestT03_CookiesAreForOneHostAndNoScript(t *testing.T) {
	t.Parallel()
	l := newLab(t, func(c *labConfig) { c.TLS = true })
	p := l.in("campus", "alice")
	q := l.in("partner", "dana")
	q.open(l.at("", "/.gatehouse/logout")).submit(nil)
	purposes := map[string]int{}
	for _, s := range append(p.trail.all(), q.trail.all()...) {
		if !strings.HasSuffix(s.url.Host, fmt.Sprint(":", l.port)) {
			continue
		}
		for _, line := range s.header["Set-Cookie"] {
			ck, err := http.ParseSetCookie(line)
			if err != nil {
				t.Fatal(err)
			}
			if len(line) > 4096 || !strings.HasPrefix(ck.Name, "__Host-gatehouse") || !ck.Secure || !ck.HttpOnly || ck.Path != "/" || ck.Domain != "" {
				t.Errorf("%s: %s", s.url.Path, line)
			}
			purpose, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(ck.Name, "__Host-gatehouse"), "-"), "-")
			purposes[purpose]++
			switch {
			case purpose == "login":
				// The answer may be a POST from another site; it opens nothing.
				if ck.MaxAge > 0 && ck.SameSite != http.SameSiteLaxMode && !(ck.SameSite == http.SameSiteNoneMode && strings.Contains(s.url.RawQuery, "idp=partner")) {
					t.Errorf("%s: %s", s.url, line)
				}
			case ck.SameSite != http.SameSiteLaxMode:
				t.Errorf("%s: %s", s.url.Path, line)
			}
			if purpose == "" && ck.Value != "" && (ck.MaxAge != 0 || !ck.Expires.IsZero()) {
				t.Errorf("the session cookie outlives the browser: %s", line)
			}
		}
	}
	for _, want := range []string{"", "login", "bind", "idp", "round"} {
		if purposes[want] == 0 {
			t.Errorf("no cookie for %q among %v", want, purposes)
		}
	}
}

func TestT04_TwoSessionCookiesAreNone(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	victim, attacker := l.in("campus", "alice"), l.in("campus", "bob")
	a, b := victim.sessionAt(l.at("wiki", "/")), attacker.sessionAt(l.at("wiki", "/"))
	for _, line := range []string{
		a.Name + "=" + a.Value + "; " + b.Name + "=" + b.Value,
		b.Name + "=" + b.Value + "; " + a.Name + "=" + a.Value,
		a.Name + "=" + a.Value + "; " + a.Name + "=" + a.Value,
		a.Name + "=; " + b.Name + "=" + b.Value,
	} {
		p := l.person()
		r, _ := http.NewRequest(http.MethodGet, l.at("wiki", "/"), nil)
		r.Header.Set("Cookie", line)
		r.Header.Set("Accept", "text/html")
		l.refused("request.cookies", p, func() { p.send(r) })
		if p.status != http.StatusBadRequest || !strings.Contains(strings.Join(p.header["Set-Cookie"], "\n"), a.Name+"=; Path=/; Max-Age=0") {
			t.Errorf("%d, Set-Cookie %q", p.status, p.header["Set-Cookie"])
		}
	}
	// Names that are ours to some readers only are nobody's here, and not sent on.
	for _, line := range []string{
		"\u2000" + b.Name + "=" + b.Value, "$Version=1; " + strings.ToUpper(b.Name) + "=" + b.Value,
		"__Host-gatehouse=" + b.Value, "__Secure-gatehouse=" + b.Value, b.Name + " =" + b.Value + "x",
	} {
		r, _ := http.NewRequest(http.MethodGet, l.at("wiki", "/"), nil)
		r.Header.Set("Cookie", line+"; "+a.Name+"="+a.Value)
		p := l.person().send(r)
		if p.status != http.StatusOK && p.status != http.StatusBadRequest || p.status == http.StatusOK && !strings.Contains(p.body, `"X-Forwarded-User":["alice"]`) || strings.Contains(p.body, b.Value) {
			t.Errorf("%q: %d %s", line, p.status, p.body)
		}
		r.Header.Set("Cookie", line)
		if p := l.person().send(r); p.status != http.StatusUnauthorized {
			t.Errorf("%q alone: %d %s", line, p.status, p.body)
		}
	}
	l.behaves()
}

func TestT07_IdleAndLifetimeEndAtTheirSecond(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	p := l.in("campus", "alice")
	l.clock.advance(30*time.Minute - 2*time.Second)
	if !p.signedIn("wiki", "alice") {
		t.Fatal("idle for less than 30 minutes, and out")
	}
	l.clock.advance(30*time.Minute + time.Second)
	if p.signedIn("wiki", "alice") {
		t.Error("idle for more than 30 minutes, and in")
	}
	p = l.in("campus", "alice")
	for range 8*3 - 1 {
		l.clock.advance(20 * time.Minute)
		if !p.signedIn("wiki", "alice") {
			t.Fatal("in use within its lifetime, and out")
		}
	}
	l.clock.advance(20*time.Minute - 5*time.Second)
	if !p.signedIn("wiki", "alice") {
		t.Error("out before its lifetime ended")
	}
	l.clock.advance(6 * time.Second)
	if p.signedIn("wiki", "alice") {
		t.Error("in use after eight hours, and in")
	}
	// The clock back does not bring it back.
	l.clock.advance(-time.Hour)
	l.restart()
	l.clock.advance(time.Hour)
	if p.signedIn("wiki", "alice") {
		t.Error("a session came back")
	}
}

func TestT08_AChangedCookieIsNone(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	p := l.in("campus", "alice")
	ck := *p.sessionAt(l.at("wiki", "/"))
	try := func(value string) (int, string) {
		c := ck
		c.Value = value
		q := l.person().program(http.MethodGet, l.at("wiki", "/"), &c)
		return q.status, q.body
	}
	if st, body := try(ck.Value); st != http.StatusOK {
		t.Fatalf("%d %s", st, body)
	}
	raw, err := base64.RawURLEncoding.DecodeString(ck.Value)
	if err != nil || len(raw) != 32 {
		t.Fatalf("%d bytes, %v", len(raw), err)
	}
	for bit := range 8 * len(raw) {
		if bit%7 != 0 {
			continue // every bit is in the tests of package session
		}
		raw[bit/8] ^= 1 << (bit % 8)
		if st, body := try(base64.RawURLEncoding.EncodeToString(raw)); st != http.StatusUnauthorized {
			t.Errorf("bit %d: %d %s", bit, st, body)
		}
		raw[bit/8] ^= 1 << (bit % 8)
	}
	for _, v := range []string{ck.Value[:42], ck.Value + "A", ck.Value + "=", strings.ToLower(ck.Value), strings.Repeat("A", 8<<10), "%00", "!", " " + ck.Value + " .", base64.StdEncoding.EncodeToString(raw)} {
		if st, body := try(v); st != http.StatusUnauthorized {
			t.Errorf("%.60q: %d %s", v, st, body)
		}
	}
	if !p.signedIn("wiki", "alice") {
		t.Error("somebody's guesses ended a session")
	}
}

func TestT09_SessionsOutliveTheKeysThatSealSignInsUnderWay(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	p, late := l.in("campus", "alice"), l.person()
	a := late.fetch(l.at("wiki", "/"), "partner", "dana")
	// The keys are made anew: their rows go.
	err := l.p.store.Update(t.Context(), func(tx store.Tx) error {
		return tx.Delete(store.Key("gateway_key", "r", "cookie"))
	})
	if err != nil {
		t.Fatal(err)
	}
	l.restart()
	if !p.signedIn("wiki", "alice") {
		t.Error("a session hangs on a key")
	}
	l.refused("login.state_unknown", late, func() { late.bring(a) })
	l.behaves()
}

func TestT10_ACookieIsOfOneHostOfOneGateway(t *testing.T) {
	t.Parallel()
	l, m := newLab(t, nil), newLab(t, nil)
	p := l.in("campus", "alice")
	p.open(l.at("payroll", "/")) // has its own cookie there, or none
	for _, way := range [][2]string{{"wiki", "payroll"}, {"wiki", ""}, {"", "wiki"}} {
		thief := p.copied(l, way[0], way[1])
		if thief.stay("/.gatehouse/").do(http.MethodGet, l.at(way[1], "/"), nil); thief.status != http.StatusSeeOther {
			t.Errorf("the cookie of %q opens %q: %d %s", way[0], way[1], thief.status, thief.body)
		}
	}
	// Another gateway, under this one's name for the cookie or its own.
	ck := *p.sessionAt(l.at("wiki", "/"))
	for _, name := range []string{ck.Name, session.Cookie{Insecure: true, Port: fmt.Sprint(m.port)}.Name("")} {
		c := ck
		c.Name = name
		if q := m.person().program(http.MethodGet, m.at("wiki", "/"), &c); q.status != http.StatusUnauthorized || strings.Contains(q.body, c.Value) {
			t.Errorf("%s: %d %s", name, q.status, q.body)
		}
	}
	if !p.signedIn("wiki", "alice") {
		t.Error("the session of whom it was copied from ended")
	}
}

func TestT11J06_WhoIsDisabledOrDeletedIsOutAtTheNextRequestAndStaysOut(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	for _, who := range both {
		p, q := l.in(who.provider, who.user), l.in(who.provider, who.user)
		l.admin(http.MethodPost, "user/active", url.Values{"name": {who.name}, "active": {"false"}}, nil)
		if p.signedIn("wiki", who.name) || q.signedIn("wiki", who.name) {
			t.Errorf("%s is disabled and let in", who.name)
		}
		back := l.person()
		a := back.fetch(l.at("wiki", "/"), who.provider, who.user)
		l.refused("user.inactive", back, func() { back.bring(a) })
		l.admin(http.MethodPost, "user/active", url.Values{"name": {who.name}, "active": {"true"}}, nil)
		if p.signedIn("wiki", who.name) {
			t.Errorf("an ended session of %s is back", who.name)
		}
		p = l.in(who.provider, who.user)

		// A change by anybody else than the verb ends no session, and lets
		// nobody in all the same.
		s := l.p.site.Load()
		userStore, userName := s.directory.SplitName(who.name)
		u, err := s.directory.ByName(t.Context(), userStore, userName)
		if err != nil {
			t.Fatal(err)
		}
		l.admin(http.MethodDelete, "user", url.Values{"name": {who.name}}, nil)
		if p.signedIn("wiki", who.name) {
			t.Errorf("%s is deleted and let in", who.name)
		}
		if _, err := s.sessions.EndUser(t.Context(), u.ID, session.ReasonAdmin); err != nil {
			t.Fatal(err)
		}
	}
}

func TestT12J11_GroupsOfTheNextSignInCountAtTheNextRequest(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	for round, groups := range [][]string{{"staff", "fin"}, {"staff"}, {"fin", "other"}, {}} {
		l.campus.Misbehave(idptest.OPUserinfoSays(map[string]any{"groups": groups}))
		p := l.in("campus", "alice")
		var got struct{ Headers http.Header }
		p.do(http.MethodGet, l.at("wiki", "/"), nil).wants(http.StatusOK).decode(&got)
		want := append([]string{}, groups...)
		if have := got.Headers.Get("X-Forwarded-Groups"); len(strings.FieldsFunc(have, func(r rune) bool { return r == ',' })) != len(want) || len(want) > 0 && !strings.Contains(have, want[0]) {
			t.Errorf("round %d: groups %q, want %q", round, have, want)
		}
		// Access shrinks and grows with them.
		fin := strings.Contains(strings.Join(groups, " "), "fin")
		if p.open(l.at("payroll", "/")); (p.status == http.StatusForbidden) == fin {
			t.Errorf("round %d: payroll says %d to groups %v", round, p.status, groups)
		}
	}
}

func TestT13_NoRequestThatBeginsAfterTheEndSucceeds(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	for range 3 {
		p := l.in("campus", "alice")
		var ended atomic.Bool
		var wg sync.WaitGroup
		var late, before atomic.Int64
		for range 20 {
			q := p.copied(l, "wiki", "wiki")
			wg.Go(func() {
				for over := false; !over; {
					over = ended.Load() // before the request begins
					r, _ := http.NewRequest(http.MethodGet, l.at("wiki", "/"), nil)
					resp, err := q.client.Transport.RoundTrip(withCookies(r, q))
					if err != nil {
						continue // cut while it was under way, which is no success
					}
					resp.Body.Close()
					switch ok := resp.StatusCode == http.StatusOK; {
					case ok && over:
						late.Add(1)
					case ok:
						before.Add(1)
					}
				}
			})
		}
		eventually(t, "requests come through", func() bool { return before.Load() > 50 })
		out := p.open(l.at("", "/.gatehouse/logout"))
		out.submit(nil).wants(http.StatusOK)
		ended.Store(true)
		wg.Wait()
		if n := late.Load(); n > 0 {
			t.Errorf("%d requests that began after the sign-out were let in", n)
		}
	}
}

func withCookies(r *http.Request, p *person) *http.Request {
	for _, ck := range p.client.Jar.Cookies(r.URL) {
		r.AddCookie(ck)
	}
	return r
}

func TestT14_NobodyIsTakenForSomebodyElse(t *testing.T) {
	t.Parallel()
	people, each := 24, 1
	if os.Getenv("GATEHOUSE_FAULTS") != "" {
		people, each = 200, 4
	}
	var list []idptest.Person
	for i := range people {
		user := fmt.Sprintf("person%03d", i)
		list = append(list, idptest.Person{User: user, ID: "id-" + user, Name: "Name of " + user, Mail: user + "@campus.example", Groups: []string{"g-" + user}})
	}
	l := newLab(t, func(c *labConfig) { c.People = append(c.People, list...) })
	var wg sync.WaitGroup
	for _, who := range list {
		wg.Go(func() {
			p := l.in("campus", who.User)
			var own sync.WaitGroup
			for range 12 { // at once: with many more a process would run out of files
				own.Go(func() {
					for range each {
						r, _ := http.NewRequest(http.MethodGet, l.at("wiki", "/"), nil)
						q := l.person()
						q.send(withCookies(r, p)).wants(http.StatusOK)
						q.client.CloseIdleConnections()
						var got struct{ Headers http.Header }
						q.decode(&got)
						h := got.Headers
						if h.Get("X-Forwarded-User") != who.User || h.Get("X-Forwarded-Email") != who.Mail || h.Get("X-Forwarded-Groups") != who.Groups[0] {
							t.Errorf("%s was taken for %v", who.User, h)
						}
						if claims := tokenOf(t, h.Get("X-Gatehouse-Jwt")); claims["mail"] != who.Mail {
							t.Errorf("%s got the token %v", who.User, claims)
						}
					}
				})
			}
			own.Wait()
		})
	}
	wg.Wait()
}

func TestT15_OnlyHashesAreStored(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	var live []string
	for _, who := range both {
		p := l.in(who.provider, who.user)
		live = append(live, p.sessionAt(l.at("", "/")).Value, p.sessionAt(l.at("wiki", "/")).Value)
		for _, s := range p.trail.all() {
			if v := query(s.header.Get("Location")).Get("ticket"); v != "" {
				live = append(live, v)
			}
		}
		for _, ck := range withCookies(&http.Request{URL: mustURL(t, l.at("wiki", "/")), Header: http.Header{}}, p).Cookies() {
			live = append(live, ck.Value)
		}
	}
	file, err := os.ReadFile(l.dir + "/gatehouse.db")
	if err != nil {
		t.Fatal(err)
	}
	if len(live) < 8 || len(file) < 10_000 {
		t.Fatalf("%d secrets, %d bytes", len(live), len(file))
	}
	for _, v := range live {
		raw, _ := base64.RawURLEncoding.DecodeString(v)
		if strings.Contains(string(file), v) || len(raw) >= 16 && strings.Contains(string(file), string(raw)) {
			t.Errorf("%.12s… is in the file", v)
		}
	}
	// The file does hold what a session is about.
	if !strings.Contains(string(file), "partners") || !strings.Contains(string(file), "session_key") {
		t.Error("this is not the file that was meant")
	}
	token := regexp.MustCompile(`eyJ[\w-]+\.[\w-]+\.[\w-]+`) // less of one is in what is random, now and then
	if p := l.in("campus", "alice").open(l.at("wiki", "/")); !token.MatchString(p.body) || token.Match(file) {
		t.Errorf("a token is in the file, or not looked for: %.40q", token.Find(file))
	}
}

func mustURL(t testing.TB, s string) *url.URL {
	t.Helper()
	u, err := url.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestT16_WithoutAStoreNobodyIsTakenForAnybody(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	p, known := l.in("campus", "alice"), l.in("campus", "bob")
	ck := *p.sessionAt(l.at("wiki", "/"))
	// The site forgets, as it does when a watch breaks, and can not ask again.
	l.reload(func(s string) string { return s + "# changed\n" })
	if err := l.p.store.Close(); err != nil {
		t.Fatal(err)
	}
	defer func() { l.stop = func() {} }() // it will say that the store is closed
	for _, q := range []*person{l.person().program(http.MethodGet, l.at("wiki", "/"), &ck), p.stay("/").do(http.MethodGet, l.at("wiki", "/"), nil), known.stay("/").do(http.MethodGet, l.at("wiki", "/"), nil)} {
		if q.status != http.StatusServiceUnavailable || strings.Contains(q.body, "alice") || !strings.Contains(q.body, "store.unavailable") {
			t.Errorf("%d %s", q.status, q.body)
		}
	}
	if q := l.person().program(http.MethodGet, l.at("wiki", "/")); q.status != http.StatusUnauthorized {
		t.Errorf("nobody gets %d %s", q.status, q.body)
	}
}

func TestT19_ATicketIsForOneHostOneBrowserAndOnce(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	// offer is a browser on its way back to the wiki, with its ticket.
	home := l.in("campus", "alice")
	offer := func() (*person, string) {
		p := home.twin(l)
		p.stay("/.gatehouse/session").open(l.at("wiki", "/page"))
		p.stay("")
		to := p.header.Get("Location")
		if !strings.HasPrefix(to, l.at("wiki", "/.gatehouse/session?ticket=")) {
			t.Fatalf("%d, to %q", p.status, to)
		}
		return p, to
	}
	p, to := offer()
	p.do(http.MethodGet, to, nil).wants(http.StatusOK, `"X-Forwarded-User":["alice"]`)
	l.refused("session.ticket", p, func() { p.do(http.MethodGet, to, nil) })

	p, to = offer()
	other := l.person() // has no binding at all
	l.refused("session.ticket", other, func() { other.do(http.MethodGet, to, nil) })
	l.refused("session.ticket", p, func() { p.do(http.MethodGet, to, nil) }) // it is used up

	// A browser with another binding begins again, as whoever it is: nobody.
	_, to = offer()
	other = l.person()
	other.open(l.at("wiki", "/"))
	if other.do(http.MethodGet, to, nil); !strings.Contains(other.url.Path, "/login") || other.sessionFree(l) != nil {
		t.Errorf("another browser came to %s: %s", other.url, other.body)
	}
	p, to = offer()
	l.refused("session.ticket", p, func() { p.do(http.MethodGet, strings.Replace(to, "wiki.", "payroll.", 1), nil) })

	// A change of the configuration comes between.
	p, to = offer()
	l.reload(func(s string) string { return s + "# changed\n" })
	p.stay("/page").do(http.MethodGet, to, nil)
	if p.status != http.StatusSeeOther || sessionCookie(p.header) == "" {
		t.Errorf("after a change of the configuration: %d, %v", p.status, p.header)
	}
	p.stay("").open(l.at("wiki", "/page")).wants(http.StatusOK)
	l.refused("session.ticket", p, func() { p.do(http.MethodGet, to, nil) })

	p, to = offer()
	l.clock.advance(31 * time.Second)
	l.refused("session.ticket", p, func() { p.do(http.MethodGet, to, nil) })
	p, to = offer()
	l.clock.advance(25 * time.Second)
	p.do(http.MethodGet, to, nil).wants(http.StatusOK)

	p, to = offer()
	var wg sync.WaitGroup
	var in atomic.Int64
	for range 50 {
		q := l.person()
		q.client.Jar = p.client.Jar
		wg.Go(func() {
			q.stay("/page").do(http.MethodGet, to, nil)
			if q.status == http.StatusSeeOther && sessionCookie(q.header) != "" {
				in.Add(1)
			}
		})
	}
	wg.Wait()
	if in.Load() != 1 {
		t.Errorf("%d of 50 redeemed one ticket", in.Load())
	}
	for _, ticket := range []string{"", "x", strings.Repeat("A", 43), strings.Repeat("A", 9000)} {
		p := l.person()
		l.refused("session.ticket", p, func() { p.do(http.MethodGet, l.at("wiki", "/.gatehouse/session?ticket="+ticket), nil) })
	}
	l.behaves()
}

// sessionFree is the session cookie for the wiki, or nil.
func (p *person) sessionFree(l *lab) *http.Cookie {
	for _, ck := range p.client.Jar.Cookies(mustURL(l.t, l.at("wiki", "/"))) {
		if isSessionCookie(ck.Name) {
			return ck
		}
	}
	return nil
}

func TestT22_AnAdministratorEndsAllSessionsOfAUser(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	var browsers []*person
	for range 3 {
		browsers = append(browsers, l.in("campus", "alice"))
	}
	bob := l.in("campus", "bob")
	var list []webapi.Session
	l.admin(http.MethodGet, "sessions", url.Values{"name": {"alice"}}, &list)
	if len(list) != 3 || list[0].User != "alice" {
		t.Fatalf("sessions are %+v", list)
	}
	l.admin(http.MethodDelete, "sessions", url.Values{"id": {list[0].ID}}, nil)
	left := 0
	for _, p := range browsers {
		if p.signedIn("wiki", "alice") {
			left++
		}
	}
	if left != 2 {
		t.Errorf("%d sessions are left of three after one was ended", left)
	}
	events := len(l.recorded())
	l.admin(http.MethodDelete, "sessions", url.Values{"name": {"alice"}}, nil)
	for _, p := range browsers {
		if p.signedIn("wiki", "alice") {
			t.Error("an ended session lives")
		}
	}
	ended := 0
	for _, e := range l.recorded()[events:] {
		if e.Kind == "session.ended" && e.UserID == list[0].UserID {
			ended++
		}
	}
	if ended != 2 {
		t.Errorf("%d of two ends are recorded", ended)
	}
	if !bob.signedIn("wiki", "bob") {
		t.Error("somebody else is out too")
	}
}

func TestSigningInInCirclesEndsWithAPage(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	// A browser that keeps everything but the wiki's session.
	p := l.in("campus", "alice")
	p.client.Jar = withoutSessionOf{p.client.Jar, fmt.Sprint("wiki.localhost:", l.port)}
	p.open(l.at("wiki", "/round")).wants(http.StatusForbidden, "login.loop")
	arrivals := 0
	for _, s := range p.trail.all() {
		if s.url.Path == "/.gatehouse/session" {
			arrivals++
		}
	}
	if arrivals != 1+3 {
		t.Errorf("went round %d times", arrivals-1)
	}
	// Trying again is possible, another address is another round, and a
	// browser that behaves never meets it.
	p.open(l.at("wiki", "/round")).wants(http.StatusForbidden, "login.loop")
	q := l.in("campus", "bob")
	for range 10 {
		q.client.Jar = q.twin(l).client.Jar
		q.open(l.at("wiki", "/round")).wants(http.StatusOK)
	}
	// A step-up after which the same is wanted is one round only: the vault
	// wants a method that Campus never uses.
	r := l.in("campus", "alice")
	r.open(l.at("vault", "/")).submit(url.Values{"user": {"alice"}}).wants(http.StatusForbidden, "login.loop")
	r.open(l.at("wiki", "/")).wants(http.StatusOK, `"X-Forwarded-User":["alice"]`)
}

// withoutSessionOf is a jar that drops the session cookie of one host.
type withoutSessionOf struct {
	http.CookieJar
	host string
}

func (j withoutSessionOf) SetCookies(u *url.URL, list []*http.Cookie) {
	var keep []*http.Cookie
	for _, ck := range list {
		if u.Host != j.host || !isSessionCookie(ck.Name) {
			keep = append(keep, ck)
		}
	}
	j.CookieJar.SetCookies(u, keep)
}

func (j withoutSessionOf) Cookies(u *url.URL) (list []*http.Cookie) {
	for _, ck := range j.CookieJar.Cookies(u) {
		if u.Host != j.host || !isSessionCookie(ck.Name) {
			list = append(list, ck)
		}
	}
	return list
}

func TestStrictSessionsArriveByAPageOfOurOwn(t *testing.T) {
	t.Parallel()
	l := newLab(t, func(c *labConfig) { c.Strict = true })
	p := l.person()
	p.open(l.at("wiki", "/report")).signIn("partner", "dana") // settle follows the Refresh
	if want := l.at("wiki", "/report"); p.url.String() != want {
		t.Fatalf("came to %s, want %s: %s", p.url, want, p.body)
	}
	goOn := 0
	for _, s := range p.trail.all() {
		for _, ck := range (&http.Response{Header: s.header}).Cookies() {
			if isSessionCookie(ck.Name) {
				if ck.SameSite != http.SameSiteStrictMode || s.status != http.StatusOK || s.header.Get("Refresh") == "" {
					t.Errorf("%s: %d, %s, Refresh %q", s.url.Path, s.status, ck, s.header.Get("Refresh"))
				}
				goOn++
			}
		}
	}
	if goOn != 2 {
		t.Errorf("%d session cookies", goOn)
	}
}

// decode reads the echo of a service.
func (p *person) decode(v any) {
	p.w.t.Helper()
	decodeJSON(p.w.t, p.body, v)
}
