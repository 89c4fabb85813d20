package idptest_test

import (
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/gatehouse-sso/gatehouse/federation"
	"github.com/gatehouse-sso/gatehouse/federation/idptest"
	"github.com/gatehouse-sso/gatehouse/federation/saml"
)

var samlKey = sync.OnceValue(func() idptest.IDPKey { return idptest.NewIDPKey("RSA") })

// page is one page in a person's browser: its only form.
type page struct {
	status int
	body   string
	action string
	fields url.Values
}

var (
	actionOf = regexp.MustCompile(`<form method="post" action="([^"]*)"`)
	hiddenOf = regexp.MustCompile(`<input type="hidden" name="([^"]*)" value="([^"]*)">`)
)

func read(t *testing.T, r *http.Response, err error) page {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	p := page{status: r.StatusCode, body: string(b), fields: url.Values{}}
	if m := actionOf.FindStringSubmatch(p.body); m != nil {
		u, err := r.Request.URL.Parse(html.UnescapeString(m[1]))
		if err != nil {
			t.Fatal(err)
		}
		p.action = u.String()
	}
	for _, m := range hiddenOf.FindAllStringSubmatch(p.body, -1) {
		p.fields.Add(html.UnescapeString(m[1]), html.UnescapeString(m[2]))
	}
	return p
}

// samlWorld is the identity provider behind HTTP, and a Provider that has its
// metadata from there.
func samlWorld(t *testing.T, binding string) (*saml.Provider, *idptest.IDP, *http.Client) {
	t.Helper()
	var idp *idptest.IDP
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { idp.Handler().ServeHTTP(w, r) }))
	t.Cleanup(srv.Close)
	idp = idptest.NewIDP(idptest.IDPConfig{
		Base: srv.URL, Title: "Partner University", People: idptest.Partner(), Keys: []idptest.IDPKey{samlKey()}, RequireSigned: true,
		Encryption: idptest.IDPEncryption{Data: idptest.IDPAES256},
	})
	key := saml.Key(samlKey())
	sp, err := saml.New(saml.Config{
		ID: "partner", EntityID: "https://gate.example/md", ACSURL: "https://gate.example/acs", Binding: binding,
		Signing: []saml.Key{key}, Decryption: []saml.Key{key}, Metadata: saml.Metadata{URL: srv.URL + "/metadata"},
	})
	if err != nil {
		t.Fatal(err)
	}
	md, err := sp.Metadata(true)
	if err != nil {
		t.Fatal(err)
	}
	if err := idp.Trust(md); err != nil {
		t.Fatal(err)
	}
	jar, _ := cookiejar.New(nil)
	return sp, idp, &http.Client{Jar: jar}
}

// follow takes a challenge to the identity provider.
func follow(t *testing.T, c *http.Client, ch federation.Challenge) page {
	t.Helper()
	if ch.Form != nil {
		r, err := c.PostForm(ch.URL.String(), ch.Form)
		return read(t, r, err)
	}
	r, err := c.Get(ch.URL.String())
	return read(t, r, err)
}

// press presses a button of a page.
func press(t *testing.T, c *http.Client, p page, name, value string) page {
	t.Helper()
	if name != "" && !strings.Contains(p.body, `name="`+name+`" value="`+value+`"`) {
		t.Fatalf("the page has no button %s=%s:\n%s", name, value, p.body)
	}
	v := p.fields
	if name != "" {
		v.Set(name, value)
	}
	r, err := c.PostForm(p.action, v)
	return read(t, r, err)
}

func answerOf(t *testing.T, p page) *http.Request {
	t.Helper()
	if p.action != "https://gate.example/acs" || p.fields.Get("SAMLResponse") == "" || !strings.Contains(p.body, `<button class="main">Continue</button>`) {
		t.Fatalf("this is no answer:\n%s", p.body)
	}
	r := httptest.NewRequest(http.MethodPost, p.action, strings.NewReader(p.fields.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return r
}

func TestSAMLPageSignsIn(t *testing.T) {
	t.Parallel()
	for _, binding := range []string{saml.Redirect, saml.Post} {
		t.Run(binding, func(t *testing.T) {
			t.Parallel()
			sp, idp, c := samlWorld(t, binding)
			for _, who := range idptest.Partner() {
				ch, pending, err := sp.Begin(t.Context(), federation.Login{})
				if err != nil {
					t.Fatal(err)
				}
				id, err := sp.Finish(answerOf(t, press(t, c, follow(t, c, ch), "user", who.User)), pending)
				if err != nil {
					t.Fatal(err)
				}
				if want := (federation.Ref{Issuer: idp.EntityID(), Subject: who.ID}); id.Ref != want || len(id.Attributes["mail"]) == 0 != (who.Mail == "") {
					t.Errorf("%v %v", id.Ref, id.Attributes)
				}
			}
			ch, pending, err := sp.Begin(t.Context(), federation.Login{})
			if err != nil {
				t.Fatal(err)
			}
			id, err := sp.Finish(answerOf(t, press(t, c, follow(t, c, ch), "cancel", "yes")), pending)
			if r, ok := err.(*federation.Refusal); !ok || r.Code != federation.ReasonDenied {
				t.Errorf("cancelled: %v %v", id, err)
			}
			if n := idp.Asked(); n != 1 {
				t.Errorf("the metadata was fetched %d times", n)
			}
		})
	}
}

func TestSAMLPageAsksForTheSecondFactor(t *testing.T) {
	t.Parallel()
	sp, _, c := samlWorld(t, "")
	ch, pending, err := sp.Begin(t.Context(), federation.Login{ACR: []string{idptest.ACRMulti}})
	if err != nil {
		t.Fatal(err)
	}
	asked := press(t, c, follow(t, c, ch), "user", "dana")
	id, err := sp.Finish(answerOf(t, press(t, c, asked, "factor", "yes")), pending)
	if err != nil || id.Context.ACR != idptest.ACRMulti {
		t.Errorf("%q %v", id.Context.ACR, err)
	}
	ch, pending, _ = sp.Begin(t.Context(), federation.Login{ACR: []string{idptest.ACRMulti}})
	_, err = sp.Finish(answerOf(t, press(t, c, follow(t, c, ch), "user", "erik")), pending)
	if r, ok := err.(*federation.Refusal); !ok || r.Code != federation.ReasonStepUp {
		t.Errorf("erik has no second factor: %v", err)
	}
}

func TestSAMLPageRefusesBadRequests(t *testing.T) {
	t.Parallel()
	sp, idp, c := samlWorld(t, "")
	ch, _, err := sp.Begin(t.Context(), federation.Login{})
	if err != nil {
		t.Fatal(err)
	}
	if p := follow(t, c, ch); p.status != http.StatusOK || !strings.Contains(p.body, "Dana Okafor") {
		t.Fatalf("positive control: %d\n%s", p.status, p.body)
	}
	for name, f := range map[string]func(q url.Values){
		"relay state changed": func(q url.Values) { q.Set("RelayState", "x") },
		"unsigned":            func(q url.Values) { q.Del("SigAlg"); q.Del("Signature") },
		"no request":          func(q url.Values) { q.Del("SAMLRequest") },
		"rubbish":             func(q url.Values) { q.Set("SAMLRequest", "<script>") },
	} {
		u := *ch.URL
		q := u.Query()
		f(q)
		u.RawQuery = q.Encode()
		p := follow(t, c, federation.Challenge{URL: &u})
		if p.status != http.StatusBadRequest || p.action != "" || strings.Contains(p.body, "<script>") {
			t.Errorf("%s: %d\n%s", name, p.status, p.body)
		}
	}
	for name, md := range map[string]string{
		"rubbish": "<a>", "an identity provider": string(idp.Metadata()), "expired": `<EntityDescriptor xmlns="urn:oasis:names:tc:SAML:2.0:metadata" entityID="x"><SPSSODescriptor/></EntityDescriptor>`,
	} {
		if err := idp.Trust([]byte(md)); err == nil {
			t.Errorf("it trusts %s", name)
		}
	}
}
