package main

import (
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/beevik/etree"

	"github.com/gatehouse-sso/gatehouse/federation/idptest"
	webapi "github.com/gatehouse-sso/gatehouse/web/api"
)

func TestS52S53S73_ARefusedSignInMakesNobody(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	// A fault in front of somebody who was never here.
	for name, c := range map[string]struct {
		fault idptest.OPFault
		code  string
	}{
		"signature":       {idptest.OPBadSignature(), "oidc.signature"},
		"no signature":    {idptest.OPAlgNone("none"), "oidc.algorithm"},
		"other key":       {idptest.OPForeignKey("RS256", ""), "oidc.signature"},
		"nonce":           {idptest.OPOtherNonce(), "oidc.nonce"},
		"audience":        {idptest.OPWrongAudience(), "oidc.audience"},
		"two audiences":   {idptest.OPTwoAudiences(), "oidc.azp"},
		"issuer":          {idptest.OPWrongIssuer("https://evil.example"), "oidc.issuer"},
		"expired":         {idptest.OPAge(-time.Hour), "oidc.expired"},
		"other person":    {idptest.OPUserinfoOtherSub(), "oidc.userinfo"},
		"too many groups": {idptest.OPGroupsOverage("https://graph.example/groups"), "oidc.groups_overage"},
		"iss parameter":   {idptest.OPRedirectSays("iss", "https://evil.example"), "oidc.iss_param"},
		"no user name":    {idptest.OPUserinfoSays(map[string]any{"preferred_username": nil}), "jit.attribute_missing"},
	} {
		p := l.person()
		p.open(l.at("wiki", "/")).click("idp=campus")
		l.campus.Misbehave(c.fault)
		t.Log(name)
		l.refused(c.code, p, func() { p.bring(p.answer("carol")) })
		l.campus.Misbehave(idptest.OPFault{})
	}
	at := idptest.IDPAt
	for name, c := range map[string]struct {
		fault idptest.IDPFault
		code  string
	}{
		"nothing signed": {idptest.IDPFault{Sign: idptest.IDPSignNothing}, "saml.signature_missing"},
		"other key":      {idptest.IDPFault{Key: idptest.NewIDPKey("ECDSA")}, "saml.signature"},
		"changed after":  {idptest.IDPFault{Forge: func(r *etree.Element) { at(r, "Assertion", "Subject", "NameID").SetText("admin") }}, "saml.signature"},
		"status":         {idptest.IDPFault{Cancel: true}, "login.provider_refused"},
		"audience": {idptest.IDPFault{Policy: func(r *etree.Element) {
			at(r, "Assertion", "Conditions", "AudienceRestriction", "Audience").SetText("https://other.example")
		}}, "saml.audience"},
		"destination":    {idptest.IDPFault{Policy: func(r *etree.Element) { r.CreateAttr("Destination", "https://other.example/acs") }}, "saml.destination"},
		"no destination": {idptest.IDPFault{Policy: func(r *etree.Element) { r.RemoveAttr("Destination") }}, "saml.destination"},
		"second NameID":  {idptest.IDPFault{Policy: func(r *etree.Element) { at(r, "Assertion", "Subject").CreateElement("saml:NameID").SetText("admin") }}, "saml.subject"},
		"DOCTYPE":        {idptest.IDPFault{Text: func(b []byte) []byte { return append([]byte("<!DOCTYPE r>"), b...) }}, "saml.xml"},
		"no subject":     {idptest.IDPFault{Policy: func(r *etree.Element) { at(r, "Assertion").RemoveChild(at(r, "Assertion", "Subject")) }}, "saml.subject"},
		"no confirmation": {idptest.IDPFault{Policy: func(r *etree.Element) {
			s := at(r, "Assertion", "Subject")
			s.RemoveChild(at(s, "SubjectConfirmation"))
		}}, "saml.confirmation"},
	} {
		p := l.person()
		p.open(l.at("wiki", "/")).click("idp=partner")
		l.partner.Misbehave(c.fault)
		t.Log(name)
		l.refused(c.code, p, func() { p.bring(p.answer("dana")) })
		l.partner.Misbehave(idptest.IDPFault{})
	}
	// J08: a provider that may not make users.
	p := l.person()
	l.refused("jit.off", p, func() { p.open(l.at("wiki", "/")).signIn("closed", "carol") })
	l.behaves()
}

func TestS56_AnAnswerThatNobodyAskedForGoesNowhere(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	acs := l.at("", "/.gatehouse/saml/partner/acs")
	for _, relay := range []string{"", "https://evil.example/", "//evil.example", "javascript:alert(1)", l.at("wiki", "/")} {
		form, err := l.partner.Answer(idptest.IDPQuestion{Issuer: l.at("", "/.gatehouse/saml/partner/metadata"), ACS: acs, RelayState: relay}, "dana", idptest.IDPFault{Policy: func(r *etree.Element) {
			r.RemoveAttr("InResponseTo")
			idptest.IDPAt(r, "Assertion", "Subject", "SubjectConfirmation", "SubjectConfirmationData").RemoveAttr("InResponseTo")
		}})
		if err != nil {
			t.Fatal(err)
		}
		p := l.person()
		l.refused("login.state_unknown", p, func() { p.do(http.MethodPost, acs, form) })
		if strings.Contains(p.body, "evil.example") || p.header.Get("Location") != "" {
			t.Errorf("%q leads on: %v %s", relay, p.header, p.body)
		}
	}
	l.behaves()
}

func TestJ01J02J04_WhoIsAlikeIsNotTheSame(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	l.in("campus", "alice")
	// College has an alice with the same identifier, name and mail.
	p := l.person()
	a := p.fetch(l.at("wiki", "/"), "college", "alice")
	l.refused("jit.conflict", p, func() { p.bring(a) })
	// With a name of her own she is somebody else, whatever her mail says.
	l.college.Misbehave(idptest.OPUserinfoSays(map[string]any{"preferred_username": "alice2"}))
	q := l.in("college", "alice")
	l.college.Misbehave(idptest.OPFault{})
	if !q.signedIn("wiki", "alice2") {
		t.Errorf("%d %s", q.status, q.body)
	}
	if rows := l.rows(); rows["user"] != 2 || rows["link"] != 2 {
		t.Errorf("rows are %v", rows)
	}
	var one webapi.User
	l.admin(http.MethodGet, "user", url.Values{"name": {"alice"}}, &one)
	if len(one.Links) != 1 || one.Links[0].Provider != "campus" {
		t.Errorf("alice is linked to %+v", one.Links)
	}
}

func TestJ05_FiftyFirstSignInsAtOnceMakeOneUser(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	for _, who := range both {
		before := l.rows()
		browsers, answers := make([]*person, 50), make([]answer, 50)
		for i := range browsers {
			browsers[i] = l.person()
			answers[i] = browsers[i].fetch(l.at("wiki", "/"), who.provider, who.user)
		}
		var wg sync.WaitGroup
		for i, p := range browsers {
			wg.Go(func() { p.bring(answers[i]) })
		}
		wg.Wait()
		for i, p := range browsers {
			if p.status != http.StatusOK || !strings.Contains(p.body, `"X-Forwarded-User":["`+who.name+`"]`) {
				t.Errorf("browser %d: %d at %s: %s", i, p.status, p.url, p.body)
			}
		}
		eventually(t, "no work waits", func() bool { return l.rows()["task"] == 0 })
		after := l.rows()
		for _, table := range []string{"user", "link", "account"} {
			if after[table] != before[table]+1 {
				t.Errorf("%s: %d rows of %s before, %d after", who.provider, before[table], table, after[table])
			}
		}
		created := 0
		for _, e := range l.recorded() {
			if e.Kind == "user.created" && e.Flow != "" {
				created++
			}
		}
		if want := after["user"]; created != want {
			t.Errorf("%d users are recorded as made, want %d", created, want)
		}
	}
	if n := l.posts.Load(); n != 2 {
		t.Errorf("the target was asked for %d accounts, want 2", n)
	}
}

func TestJ09J10_NobodyIsAnAdministratorByAWordOfTheirOwn(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	// The first user of all, with every group that sounds like one.
	groups := []string{"admin", "admins", "gatehouse-admin ", "Gatehouse-Admin", "partners/gatehouse-admin", "gateway-admins"}
	l.campus.Misbehave(idptest.OPUserinfoSays(map[string]any{"groups": groups, "roles": []string{"gatehouse-admin"}}))
	p := l.in("campus", "bob")
	p.open(l.at("admins", "/")).wants(http.StatusForbidden, "access.")
	// The right group of another provider.
	l.campus.Misbehave(idptest.OPFault{})
	l.college.Misbehave(idptest.OPUserinfoSays(map[string]any{"groups": []string{"gatehouse-admin"}}))
	q := l.in("college", "carol")
	q.open(l.at("admins", "/")).wants(http.StatusForbidden, "access.")
	l.college.Misbehave(idptest.OPFault{})
	// The one that is mapped.
	l.campus.Misbehave(idptest.OPUserinfoSays(map[string]any{"groups": []string{"gatehouse-admin"}}))
	r := l.in("campus", "alice")
	r.open(l.at("admins", "/")).wants(http.StatusOK)
}
