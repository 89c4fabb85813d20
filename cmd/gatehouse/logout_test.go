package main

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/beevik/etree"

	"github.com/gatehouse-sso/gatehouse/federation/idptest"
	"github.com/gatehouse-sso/gatehouse/gateway/session"
	webapi "github.com/gatehouse-sso/gatehouse/web/api"
)

// theirs are the sessions of a person at an identity provider, by its own names.
func (l *lab) theirs(provider, user string) (names []string) {
	l.t.Helper()
	list, err := l.p.site.Load().sessions.Find(l.t.Context(), session.Filter{Provider: provider}, "", 0)
	if err != nil {
		l.t.Fatal(err)
	}
	for _, row := range list {
		u, err := l.p.site.Load().directory.User(l.t.Context(), row.UserID)
		if err != nil {
			l.t.Fatal(err)
		}
		if u.UserName == user {
			names = append(names, row.ProviderSession)
		}
	}
	return names
}

// backChannel posts a logout token to the gateway, as an OpenID provider does.
func (l *lab) backChannel(provider, token string) *person {
	l.t.Helper()
	r, err := http.NewRequest(http.MethodPost, l.at("", "/.gatehouse/oidc/"+provider+"/backchannel-logout"), strings.NewReader(url.Values{"logout_token": {token}}.Encode()))
	if err != nil {
		l.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return l.person().send(r)
}

// endings are the reasons of the sessions that ended since events were recorded.
func (l *lab) endings(events int) (why []string) {
	for _, e := range l.recorded()[events:] {
		if e.Kind == "session.ended" {
			why = append(why, e.Code)
		}
	}
	return why
}

func (l *lab) alive(what string, want bool, p *person, user string) {
	l.t.Helper()
	if got := p.signedIn("wiki", user); got != want {
		l.t.Errorf("%s: %s is signed in: %t", what, user, got)
	}
}

func TestO35O36O37_AnOpenIDProvidersWordEndsItsSessionsAndNoOthers(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	alice := idptest.Campus()[0].ID
	first := l.in("campus", "alice")
	sid := l.theirs("campus", "alice")[0]
	second, college, bob := l.in("campus", "alice"), l.in("college", "carol"), l.in("campus", "bob")
	all := func(what string, one, two bool) {
		t.Helper()
		l.alive(what, one, first, "alice")
		l.alive(what, two, second, "alice")
		l.alive(what, true, bob, "bob")
		l.alive(what, true, college, "carol")
	}
	for code, token := range map[string]string{
		"oidc.logout_token": l.campus.LogoutToken("gatehouse", alice, "", idptest.OPOmits("events")),
		"oidc.issuer":       l.campus.LogoutToken("gatehouse", alice, "", idptest.OPWrongIssuer(l.college.Issuer())),
		"oidc.audience":     l.campus.LogoutToken("another", alice, sid, idptest.OPFault{}),
		"oidc.expired":      l.campus.LogoutToken("gatehouse", alice, sid, idptest.OPAgeOf("iat", -time.Hour)),
		"oidc.signature":    l.college.LogoutToken("gatehouse", alice, sid, idptest.OPWrongIssuer(l.campus.Issuer())),
		"login.malformed":   "",
	} {
		p := l.backChannel("campus", token)
		if p.status != http.StatusBadRequest || p.header.Get("Cache-Control") != "no-store" || !strings.Contains(p.body, code) {
			t.Errorf("%s: %d %v %s", code, p.status, p.header, p.body)
		}
	}
	all("after bad tokens", true, true)
	// The same person by name at another provider is another person.
	if p := l.backChannel("college", l.college.LogoutToken("gatehouse", alice, sid, idptest.OPFault{})); p.status != http.StatusOK {
		t.Errorf("a good token of another provider: %d %s", p.status, p.body)
	}
	all("after another provider's token", true, true)
	// A session of somebody else is not hers to end.
	if p := l.backChannel("campus", l.campus.LogoutToken("gatehouse", idptest.Campus()[1].ID, sid, idptest.OPFault{})); p.status != http.StatusOK {
		t.Errorf("a good token that fits nothing: %d %s", p.status, p.body)
	}
	all("after a token of two people", true, true)

	events := len(l.recorded())
	token := l.campus.LogoutToken("gatehouse", "", sid, idptest.OPFault{})
	if p := l.backChannel("campus", token); p.status != http.StatusOK || p.header.Get("Cache-Control") != "no-store" || p.body != "" {
		t.Errorf("a good token: %d %v %s", p.status, p.header, p.body)
	}
	all("after a token of one session", false, true)
	if why := l.endings(events); len(why) != 1 || why[0] != session.ReasonProvider {
		t.Errorf("recorded are %v", why)
	}
	whole := l.campus.LogoutToken("gatehouse", alice, "", idptest.OPFault{})
	if p := l.backChannel("campus", whole); p.status != http.StatusOK {
		t.Errorf("a good token of a person: %d %s", p.status, p.body)
	}
	all("after a token of the person", false, false)
	// It is good for one use, also for the process that comes after this one.
	first = l.in("campus", "alice")
	for range 2 {
		if p := l.backChannel("campus", whole); p.status != http.StatusBadRequest || !strings.Contains(p.body, "login.replayed") {
			t.Errorf("used again: %d %s", p.status, p.body)
		}
		l.alive("after a token that was used", true, first, "alice")
		l.restart()
	}
}

// carries brings a logout message of a SAML provider, in a browser.
func (p *person) carries(to string, form url.Values, err error) *person {
	p.w.t.Helper()
	if err != nil {
		p.w.t.Fatal(err)
	}
	if form == nil {
		return p.do(http.MethodGet, to, nil)
	}
	return p.do(http.MethodPost, to, form)
}

func TestS66S67S68_ASAMLProvidersRequestEndsWhatItNamesAndNothingElse(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	entity := l.at("", "/.gatehouse/saml/partner/metadata")
	dana := idptest.Partner()[0].ID
	for _, binding := range []string{idptest.IDPByRedirect, idptest.IDPByPost} {
		first := l.in("partner", "dana")
		index := l.theirs("partner", "dana")[0]
		second := l.in("partner", "dana")
		both := func(what string, one, two bool) {
			t.Helper()
			l.alive(what, one, first, "partners/dana")
			l.alive(what, two, second, "partners/dana")
		}
		ask := func(idp *idptest.IDP, lo idptest.IDPLogout, f idptest.IDPFault) *person {
			t.Helper()
			lo.Binding, lo.Relay = binding, "their state"
			p := l.person()
			return p.carries(idp.Logout(lo, f))
		}
		one := idptest.IDPLogout{To: entity, Person: dana, Sessions: []string{index}}
		for code, f := range map[string]idptest.IDPFault{
			"saml.signature_missing": {Sign: idptest.IDPSignNothing},
			"saml.signature":         {Key: idptest.NewIDPKey("ECDSA")},
			"saml.destination":       {Policy: func(el *etree.Element) { el.CreateAttr("Destination", entity) }},
			"saml.expired":           {Policy: func(el *etree.Element) { el.CreateAttr("IssueInstant", "2020-01-01T00:00:00Z") }},
		} {
			if p := ask(l.partner, one, f); p.status != http.StatusForbidden || !strings.Contains(p.body, code) {
				t.Errorf("%s: %d at %s\n%s", code, p.status, p.url, p.body)
			}
		}
		other := one
		other.Sessions = []string{"_another"}
		ask(l.partner, other, idptest.IDPFault{})
		other = one
		other.Person = strings.ToLower(dana)
		ask(l.partner, other, idptest.IDPFault{})
		ask(l.partner, one, idptest.IDPFault{Policy: func(el *etree.Element) { el.SelectElement("saml:NameID").CreateAttr("NameQualifier", "x") }})
		ask(l.guild, idptest.IDPLogout{To: l.at("", "/.gatehouse/saml/guild/metadata"), Person: dana, Sessions: []string{index}}, idptest.IDPFault{})
		both("before a request that fits", true, true)

		heard := len(l.partner.Heard())
		events := len(l.recorded())
		lo := one
		lo.Binding, lo.Relay = binding, "their state"
		to, form, err := l.partner.Logout(lo, idptest.IDPFault{})
		p := l.person()
		if p.carries(to, form, err).settle().wants(http.StatusOK); !strings.HasPrefix(p.url.String(), strings.TrimSuffix(l.partner.EntityID(), "/metadata")+"/slo") {
			t.Errorf("the browser ends at %s", p.url)
		}
		both("after a request of one session", false, true)
		if why := l.endings(events); len(why) != 1 || why[0] != session.ReasonProvider {
			t.Errorf("recorded are %v", why)
		}
		if h := l.partner.Heard()[heard:]; len(h) != 1 || !h[0].Response || h[0].Status != "Success" || h[0].Relay != "their state" {
			t.Errorf("the identity provider heard %+v", h)
		}
		if p := l.person().carries(to, form, err); p.status != http.StatusForbidden || !strings.Contains(p.body, "login.replayed") {
			t.Errorf("used again: %d %s", p.status, p.body)
		}
		ask(l.partner, idptest.IDPLogout{To: entity, Person: dana}, idptest.IDPFault{})
		both("after a request of all", false, false)
	}
}

func TestO43_SigningOutAtAnOpenIDProviderEndsHereFirstAndComesBackHere(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	out := l.at("", "/.gatehouse/logout")
	p := l.in("campus", "alice")
	thief := p.copied(l, "wiki", "wiki")
	p.open(out).wants(http.StatusOK, `value="provider"`, "Sign out here and at Campus")
	p.stay("/end_session").post(url.Values{"scope": {"provider"}})
	p.stay("")
	l.alive("before the provider knows", false, thief, "alice")
	p.settle().wants(http.StatusOK, "Campus says that your session there has ended too")
	if p.url.Path != "/.gatehouse/signed-out" || l.campus.Count("end_session") != 1 {
		t.Errorf("it ends at %s; the provider was asked %d times", p.url, l.campus.Count("end_session"))
	}
	// An answer without our state, or with another's, is none; it leads nowhere.
	for _, query := range []string{"", "?state=x", "?state=x&state=y", "?state=&post_logout_redirect_uri=https://evil.example/&rd=https://evil.example"} {
		p = l.in("campus", "alice")
		p.open(out).post(url.Values{"scope": {"provider"}})
		steps := len(p.trail.all())
		p.open(l.at("", "/.gatehouse/signed-out"+query)).wants(http.StatusOK, "has not said that it did")
		if n := len(p.trail.all()) - steps; n != 1 || strings.Contains(p.body, `"https://evil`) {
			t.Errorf("%s: %d steps\n%s", query, n, p.body)
		}
		l.alive(query, false, p, "alice")
	}
	// A browser that did not sign out is told nothing, and its session stays.
	q := l.in("campus", "bob")
	q.open(l.at("", "/.gatehouse/signed-out?state=x"))
	l.alive("a stranger's link", true, q, "bob")
	l.person().open(l.at("", "/.gatehouse/signed-out")).wants(http.StatusOK, "You are not signed in here")
	// Here only: the page says where one is still signed in.
	q.open(out).submit(url.Values{"scope": {"here"}}).wants(http.StatusOK, "You are still signed in at", "Campus")
	// A provider that has no way out is not offered, and where it is asked for all the same the page says so.
	l.college.Misbehave(idptest.OPFault{Discovery: func(d map[string]any) { delete(d, "end_session_endpoint") }})
	q = l.in("college", "carol")
	q.open(out)
	if q.wants(http.StatusOK); strings.Contains(q.body, `value="provider"`) {
		t.Error("what can not be done is offered")
	}
	q.submit(url.Values{"scope": {"provider"}}).wants(http.StatusOK, "can not be asked")
	l.alive("where the provider can not be asked", false, q, "carol")
}

func TestSigningOutEverywhereEndsEveryBrowser(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	one := l.in("campus", "alice")
	one.open(l.at("", "/.gatehouse/logout"))
	if strings.Contains(one.body, `value="everywhere"`) {
		t.Error("everywhere is here, and is offered")
	}
	two, bob := l.in("campus", "alice"), l.in("campus", "bob")
	events := len(l.recorded())
	one.open(l.at("", "/.gatehouse/logout")).wants(http.StatusOK, `value="everywhere"`)
	one.submit(url.Values{"scope": {"everywhere"}}).wants(http.StatusOK, "other browsers", "Campus says")
	l.alive("this browser", false, one, "alice")
	l.alive("the other browser", false, two, "alice")
	l.alive("somebody else", true, bob, "bob")
	if why := l.endings(events); len(why) != 2 || why[0] != session.ReasonEverywhere || why[1] != session.ReasonSignedOut {
		t.Errorf("recorded are %v", why)
	}
}

func TestS69_SAMLSignOutEndsAtOurPageWhateverIsAnswered(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	out, entity := l.at("", "/.gatehouse/logout"), l.at("", "/.gatehouse/saml/partner/metadata")
	p := l.in("partner", "dana")
	index := l.theirs("partner", "dana")[0]
	p.open(out).submit(url.Values{"scope": {"provider"}}).wants(http.StatusOK, "Partner University says that your session there has ended too")
	if h := l.partner.Heard(); len(h) != 1 || h[0].Response || h[0].Person != idptest.Partner()[0].ID || len(h[0].Sessions) != 1 || h[0].Sessions[0] != index {
		t.Errorf("the identity provider heard %+v", h)
	}
	l.alive("after", false, p, "partners/dana")
	l.partner.Misbehave(idptest.IDPFault{Cancel: true})
	p = l.in2("partner", "dana", func() { l.partner.Misbehave(idptest.IDPFault{}) }, func() { l.partner.Misbehave(idptest.IDPFault{Cancel: true}) })
	p.open(out).submit(url.Values{"scope": {"provider"}}).wants(http.StatusOK, "You are still signed in at", "Partner University")
	l.alive("after the provider's no", false, p, "partners/dana")
	l.partner.Misbehave(idptest.IDPFault{})

	// An answer to nothing, with a place to go to.
	for _, relay := range []string{"https://evil.example/", "x"} {
		for _, binding := range []string{idptest.IDPByRedirect, idptest.IDPByPost} {
			p = l.in("partner", "dana")
			to, form, err := l.partner.LoggedOut("_unknown", idptest.IDPLogout{To: entity, Relay: relay, Binding: binding}, idptest.IDPFault{})
			if p.carries(to, form, err); p.status != http.StatusBadRequest || strings.Contains(p.body, "evil") || p.url.Host != mustURL(t, out).Host {
				t.Errorf("%s: %d at %s", relay, p.status, p.url)
			}
			l.alive("after an answer to nothing", true, p, "partners/dana")
			// And while a sign-out is under way.
			p.open(out).post(url.Values{"scope": {"provider"}})
			if p.carries(to, form, err); p.status < 400 || p.status > 499 || strings.Contains(p.body, "evil") {
				t.Errorf("%s: %d at %s", relay, p.status, p.url)
			}
			p.open(l.at("", "/.gatehouse/signed-out")).wants(http.StatusOK, "has not said that it did")
		}
	}
}

// in2 is in, between two acts.
func (l *lab) in2(provider, user string, before, after func()) *person {
	l.t.Helper()
	before()
	defer after()
	return l.in(provider, user)
}

func TestO27_ASignInThatOthersBeginGoesToAKnownProviderAndComesBackHere(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	begin := func(q url.Values) *person {
		return l.person().stay("/authorize").do(http.MethodGet, l.at("", "/.gatehouse/login?"+q.Encode()), nil)
	}
	good := url.Values{"iss": {l.campus.Issuer()}, "target_link_uri": {l.at("wiki", "/page")}, "login_hint": {"bob"}, "scopes": {"admin"}, "scope": {"offline_access admin"}, "redirect_uri": {"https://evil.example/"}, "acr_values": {"weak"}}
	p := begin(good)
	to := mustURL(t, p.header.Get("Location"))
	q := to.Query()
	if !strings.HasPrefix(to.String(), l.campus.Issuer()+"/authorize") || q.Get("login_hint") != "bob" || q.Has("scopes") || q.Has("acr_values") ||
		strings.Contains(q.Get("scope"), "admin") || strings.Contains(q.Get("scope"), "offline") || q.Get("redirect_uri") != l.at("", "/.gatehouse/oidc/campus/callback") {
		t.Errorf("it asks %s", to)
	}
	p.stay("").open(to.String()).submit(url.Values{"user": {"bob"}}).wants(http.StatusOK)
	if p.url.String() != l.at("wiki", "/page") {
		t.Errorf("it ends at %s", p.url)
	}
	for _, target := range []string{"https://evil.example/", "//evil.example/", "javascript:alert(1)", l.at("wiki", "") + ".evil.example/", ""} {
		bad := url.Values{"iss": good["iss"], "target_link_uri": {target}}
		p := begin(bad)
		if p.stay("").open(p.header.Get("Location")).submit(url.Values{"user": {"bob"}}).wants(http.StatusOK); p.url.String() != l.at("", "/") {
			t.Errorf("%s: it ends at %s", target, p.url)
		}
	}
	for _, iss := range []string{"https://evil.example", l.campus.Issuer() + "/", strings.ToUpper(l.campus.Issuer()), ""} {
		if p := begin(url.Values{"iss": {iss}, "target_link_uri": good["target_link_uri"]}); p.status != http.StatusNotFound || !strings.Contains(p.body, "login.provider_unknown") {
			t.Errorf("iss %q: %d at %s", iss, p.status, p.url)
		}
	}
	if p := begin(url.Values{"iss": {l.campus.Issuer(), l.college.Issuer()}}); p.status != http.StatusBadRequest {
		t.Errorf("two issuers: %d", p.status)
	}
}

func TestSessionsAreListedAndEndedByPersonProviderAndService(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	alice, dana, bob := l.in("campus", "alice"), l.in("partner", "dana"), l.in("campus", "bob")
	bob.open(l.at("campus-only", "/")).wants(http.StatusOK)
	count := func(q url.Values) int {
		var list []webapi.Session
		l.admin(http.MethodGet, "sessions", q, &list)
		return len(list)
	}
	for q, want := range map[string]int{"": 3, "idp=campus": 2, "idp=partner": 1, "idp=college": 0, "service=wiki": 3, "service=campus-only": 1, "service=vault": 0, "name=alice": 1, "name=alice&idp=partner": 0, "idp=campus&service=campus-only": 1} {
		v, _ := url.ParseQuery(q)
		if n := count(v); n != want {
			t.Errorf("%q: %d sessions, want %d", q, n, want)
		}
	}
	events := len(l.recorded())
	var ended map[string]int
	if l.admin(http.MethodDelete, "sessions", url.Values{"service": {"campus-only"}}, &ended); ended["ended"] != 1 {
		t.Errorf("ended by service: %v", ended)
	}
	l.alive("by service", false, bob, "bob")
	l.alive("by service", true, alice, "alice")
	if l.admin(http.MethodDelete, "sessions", url.Values{"idp": {"campus"}}, &ended); ended["ended"] != 1 {
		t.Errorf("ended by identity provider: %v", ended)
	}
	l.alive("by identity provider", false, alice, "alice")
	l.alive("by identity provider", true, dana, "partners/dana")
	for _, why := range l.endings(events) {
		if why != session.ReasonAdmin {
			t.Errorf("recorded is %s", why)
		}
	}
}
