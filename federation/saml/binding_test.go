package saml_test

import (
	"bytes"
	"compress/flate"
	"encoding/base64"
	"encoding/xml"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/beevik/etree"
	crewjam "github.com/crewjam/saml"
	"github.com/gatehouse-sso/gatehouse/federation"
	"github.com/gatehouse-sso/gatehouse/federation/idptest"
	"github.com/gatehouse-sso/gatehouse/federation/saml"
	"github.com/google/go-cmp/cmp"
)

// bomb is b bytes of nothing, deflated.
func bomb(t testing.TB, n int64) string {
	t.Helper()
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, flate.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.CopyN(w, zeros{}, n)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(b.Bytes())
}

// allocated is how many bytes f allocates. Tests that use it do not run beside
// others.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

func TestS63_DeflateBombIsNotInflated(t *testing.T) {
	w := newWorld(t)
	packed := bomb(t, 8<<20)
	_, pending, err := w.sp.Begin(t.Context(), federation.Login{})
	if err != nil {
		t.Fatal(err)
	}
	q := url.Values{"SAMLResponse": {packed}, "RelayState": {pending.State}}
	for _, r := range []*http.Request{
		httptest.NewRequest(http.MethodGet, acs+"?"+q.Encode(), nil),
		post(t, q), // a POST is not inflated at all
	} {
		if n := allocated(func() {
			id, err := w.sp.Finish(r, pending)
			isRefusal(t, id, err, federation.ReasonMalformed, saml.ReasonXML)
		}); n > 4<<20 {
			t.Errorf("%d bytes were allocated", n)
		}
	}
	// The identity provider of our own is as careful.
	if n := allocated(func() {
		r := httptest.NewRequest(http.MethodGet, idpBase+"/sso?SAMLRequest="+url.QueryEscape(packed), nil)
		if _, err := w.idp.Question(r); err == nil {
			t.Error("the bomb is taken for a request")
		}
	}); n > 4<<20 {
		t.Errorf("%d bytes were allocated", n)
	}
	w.accepted(t, idptest.IDPFault{})
}

// A meter counts what is read of an endless body.
type meter struct {
	io.Reader
	n int64
}

func (m *meter) Read(b []byte) (int, error) {
	n, err := m.Reader.Read(b)
	m.n += int64(n)
	return n, err
}

func (m *meter) Close() error { return nil }

func TestS64_OversizedPostIsCutOff(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	form, pending := w.answer(t, idptest.IDPFault{})
	body := &meter{Reader: io.MultiReader(strings.NewReader("RelayState="+pending.State+"&SAMLResponse="), io.LimitReader(letters{}, 64<<20))}
	r := httptest.NewRequest(http.MethodPost, acs, body)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	id, err := w.sp.Finish(r, pending)
	isRefusal(t, id, err, federation.ReasonTooLarge)
	if body.n > 1<<20+64<<10 {
		t.Errorf("%d bytes were read", body.n)
	}
	// What fits the form may still be too large a message.
	form.Set("SAMLResponse", base64.StdEncoding.EncodeToString(bytes.Repeat([]byte("x"), 256<<10+1)))
	id, err = w.sp.Finish(post(t, form), pending)
	isRefusal(t, id, err, federation.ReasonTooLarge)
	w.accepted(t, idptest.IDPFault{})
}

type letters struct{}

func (letters) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = 'A'
	}
	return len(b), nil
}

func TestS65_ShapesThatCostAreRefusedEarly(t *testing.T) {
	const room = 250 << 10
	head, tail := `<samlp:Response xmlns:samlp="urn:oasis:names:tc:SAML:2.0:protocol"`, `</samlp:Response>`
	fill := func(s string) string { return strings.Repeat(s, room/len(s)) }
	var prefixes, attrs, long strings.Builder
	for i := 0; prefixes.Len() < room-100; i++ {
		prefixes.WriteString(` xmlns:p` + itoa(i) + `="urn:x:` + itoa(i) + `"`)
	}
	for i := 0; attrs.Len() < room-100; i++ {
		attrs.WriteString(` a` + itoa(i) + `=""`)
	}
	space := "urn:x:" + strings.Repeat("y", 100<<10)
	long.WriteString(head + ` xmlns:l="` + space + `">` + strings.Repeat(`<a><l:b/></a>`, 2000) + tail)
	few := head
	for i := range 60 {
		few += ` xmlns:p` + itoa(i) + `="urn:x:` + strings.Repeat("y", 240) + itoa(i) + `"`
	}
	var spread strings.Builder
	for i := range 70 {
		spread.WriteString(`<a xmlns:p` + itoa(i) + `="urn:x:x"/>`)
	}
	for name, tt := range map[string]struct {
		xml  string
		code string
	}{
		"depth":                {strings.Repeat("<a>", room/7) + strings.Repeat("</a>", room/7), saml.ReasonXML},
		"depth, never closed":  {fill("<a>"), saml.ReasonXML},
		"siblings":             {head + ">" + fill("<a/>") + tail, federation.ReasonTooLarge},
		"comments":             {head + ">" + fill("<!---->") + tail, federation.ReasonTooLarge},
		"declarations":         {head + prefixes.String() + `/>`, saml.ReasonXML},
		"attributes":           {head + attrs.String() + `/>`, saml.ReasonXML},
		"prefixes, spread":     {head + ">" + spread.String() + tail, saml.ReasonXML},
		"a long namespace":     {long.String(), saml.ReasonXML},
		"empty signature":      {head + `><Signature xmlns="http://www.w3.org/2000/09/xmldsig#"/>` + strings.Repeat("<a/>", 1100) + tail, saml.ReasonStructure},
		"references":           {head + ">" + fill("&amp;") + tail, saml.ReasonStructure},
		"many long namespaces": {few + ">" + strings.Repeat("<a/>", 4900) + tail, saml.ReasonStructure},
		"too large":            {head + ">" + fill("<a/>") + fill("<a/>") + tail, federation.ReasonTooLarge},
		"end tags":             {fill("</a>"), saml.ReasonXML},
		"attribute value":      {head + ` x="` + fill("&lt;") + `"/>`, saml.ReasonStructure},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			form, pending := w.answer(t, idptest.IDPFault{})
			form.Set("SAMLResponse", base64.StdEncoding.EncodeToString([]byte(tt.xml)))
			r := post(t, form)
			// A message of 256 KiB costs some multiples of itself, and not more
			// for any shape.
			if n := allocated(func() {
				id, err := w.sp.Finish(r, pending)
				isRefusal(t, id, err, tt.code)
			}); n > 32<<20 {
				t.Errorf("%d bytes were allocated for %d", n, len(tt.xml))
			}
			w.accepted(t, idptest.IDPFault{})
		})
	}
}

// The dearest thing that somebody can do who holds a genuine signature over
// something else: have the whole budget canonicalised.
func TestS65_CanonicalisationStaysWithinItsBudget(t *testing.T) {
	w := newWorld(t)
	f := idptest.IDPFault{Forge: func(r *etree.Element) {
		ext := etree.NewElement("samlp:Extensions")
		for i := range 50 {
			ext.CreateAttr("xmlns:p"+itoa(i), "urn:x:"+strings.Repeat("y", 240)+itoa(i))
		}
		for i := range 4000 {
			x := ext.CreateElement("p" + itoa(i%50) + ":x")
			for j := range 3 {
				x.CreateAttr("p"+itoa((i+7*j)%50)+":a", "")
			}
		}
		r.InsertChildAt(at(r, "Status").Index(), ext)
	}}
	form, pending := w.answer(t, f)
	r := post(t, form)
	if n := allocated(func() {
		id, err := w.sp.Finish(r, pending)
		isRefusal(t, id, err, saml.ReasonSignature)
	}); n > 256<<20 {
		t.Errorf("%d bytes were allocated", n)
	}
	w.accepted(t, idptest.IDPFault{})
}

func itoa(i int) string {
	return string(rune('a'+i/676%26)) + string(rune('a'+i/26%26)) + string(rune('a'+i%26)) + strings.Repeat("z", i/17576)
}

func TestS70_OneAnswerInOnePlace(t *testing.T) {
	t.Parallel()
	bird := &canary{}
	w := newWorld(t, func(c *saml.Config, _ *idptest.IDPConfig) { c.Client = &http.Client{Transport: bird} })
	form, pending := w.answer(t, idptest.IDPFault{})
	with := func(key string, vals ...string) url.Values {
		v := url.Values{}
		for k, x := range form {
			v[k] = x
		}
		v[key] = vals
		return v
	}
	query := func(q string, v url.Values) *http.Request {
		r := post(t, v)
		r.URL.RawQuery = q
		return r
	}
	good := form.Get("SAMLResponse")
	for name, r := range map[string]*http.Request{
		"GET":                   httptest.NewRequest(http.MethodGet, acs+"?"+form.Encode(), nil),
		"artifact":              post(t, url.Values{"SAMLart": {"AAQAAMh48/1oXIM"}, "RelayState": {pending.State}}),
		"artifact by GET":       httptest.NewRequest(http.MethodGet, acs+"?SAMLart=AAQAAMh48&RelayState="+pending.State, nil),
		"artifact and answer":   post(t, with("SAMLart", "AAQAAMh48/1oXIM")),
		"artifact in the query": query("SAMLart=AAQAAMh48", form),
		"request and answer":    post(t, with("SAMLRequest", good)),
		"answer in both places": query("SAMLResponse=x", form),
		"state in both places":  query("RelayState="+pending.State, form),
		"two answers":           post(t, with("SAMLResponse", good, good)),
		"an empty one first":    post(t, with("SAMLResponse", "", good)),
		"no answer":             post(t, with("SAMLResponse")),
		"two states":            post(t, with("RelayState", pending.State, pending.State)),
		"a multipart form":      multipart(t, form),
	} {
		id, err := w.sp.Finish(r, pending)
		if err == nil {
			t.Fatalf("%s is accepted", name)
		}
		isRefusal(t, id, err, federation.ReasonMalformed, federation.ReasonStateUnknown)
	}
	if _, err := w.sp.Finish(post(t, form), pending); err != nil {
		t.Errorf("positive control: %v", err)
	}
	// Line breaks within base64 are usual; other things are not.
	broken := regexp.MustCompile(".{76}").ReplaceAllString(good, "$0\r\n")
	if _, err := w.sp.Finish(post(t, with("SAMLResponse", broken)), pending); err != nil {
		t.Errorf("in lines: %v", err)
	}
	id, err := w.sp.Finish(post(t, with("SAMLResponse", good[:80]+"!"+good[80:])), pending)
	isRefusal(t, id, err, federation.ReasonMalformed)
	if n := bird.hits.Load(); n != 0 {
		t.Errorf("%d requests were made", n)
	}
}

func multipart(t testing.TB, form url.Values) *http.Request {
	t.Helper()
	var b strings.Builder
	for k, v := range form {
		b.WriteString("--x\r\nContent-Disposition: form-data; name=\"" + k + "\"\r\n\r\n" + v[0] + "\r\n")
	}
	r := httptest.NewRequest(http.MethodPost, acs, strings.NewReader(b.String()+"--x--\r\n"))
	r.Header.Set("Content-Type", "multipart/form-data; boundary=x")
	return r
}

// mistakes are answers refused at every depth of the reader.
func mistakes() []idptest.IDPFault {
	return []idptest.IDPFault{
		{Sign: idptest.IDPSignNothing}, {Key: evilKey()}, {Cancel: true},
		set("https://other.example", "Issuer"), set("", "Assertion", "Subject", "NameID"),
		audiences([]string{"https://other.example"}), attr("Destination", "x"), attr("Recipient", "x", scData...),
		attributes(idptest.IDPAttribute("urn:oid:0.9.2342.19200300.100.1.3", "", "admin@partner.example")),
		subject(func(s *etree.Element) { s.AddChild(foreign()) }),
		subject(func(s *etree.Element) { at(s, "NameID").CreateAttr("Format", "urn:x:"+dana) }),
		text(func(s string) string { return "<!DOCTYPE r>" + s }),
		text(func(s string) string { return strings.Replace(s, dana, dana+"</x>", 1) }),
		{Encryption: sealed256, Key: evilKey()},
		forge(func(r *etree.Element) { at(r, "Assertion", "Subject", "NameID").SetText("admin") }),
	}
}

func TestS72_RefusalsRepeatNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for i, f := range mistakes() {
		form, pending := w.answer(t, f)
		id, err := w.sp.Finish(post(t, form), pending)
		r := isRefusal(t, id, err)
		for _, value := range []string{"Dana", "Okafor", "dana@partner.example", dana, "faculty@", form.Get("SAMLResponse")[:60]} {
			if strings.Contains(r.Error(), value) || strings.Contains(r.Detail, value) {
				t.Errorf("mistake %d: the refusal repeats %q: %v", i, value, r)
			}
		}
		if len(r.Error()) > 600 {
			t.Errorf("mistake %d: the refusal has %d bytes", i, len(r.Error()))
		}
	}
}

func TestS73_RefusalGivesNoIdentity(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for i, f := range mistakes() {
		id, err := w.signIn(t, f)
		if err == nil {
			t.Errorf("mistake %d is accepted", i)
		}
		if diff := cmp.Diff(federation.Identity{}, id); diff != "" {
			t.Errorf("mistake %d: somebody to make a user of: %s", i, diff)
		}
	}
	w.accepted(t, idptest.IDPFault{})
}

func byPost(c *saml.Config, _ *idptest.IDPConfig) { c.Binding = saml.Post }

func TestS75_RequestSaysWhatItMustAndNoMore(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string][]option{
		"redirect":        {withRSA},
		"post":            {withRSA, byPost},
		"redirect, ECDSA": nil,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, opts...)
			seen := map[string]bool{}
			for range 20 {
				ch, pending, err := w.sp.Begin(t.Context(), federation.Login{})
				if err != nil {
					t.Fatal(err)
				}
				q := question(t, w.idp, ch) // which checks the signature
				var a crewjam.AuthnRequest
				if err := xml.Unmarshal(q.XML, &a); err != nil {
					t.Fatal(err)
				}
				if !q.Signed || a.NameIDPolicy != nil || a.Subject != nil || a.RequestedAuthnContext != nil || q.Force ||
					a.AssertionConsumerServiceURL != acs || a.Destination != idpBase+"/sso" || a.Issuer.Value != entity || a.Version != "2.0" ||
					!a.IssueInstant.Equal(w.clock.now()) || q.RelayState != pending.State || len(q.RelayState) > 80 {
					t.Fatalf("%s", q.XML)
				}
				if seen[a.ID] || len(a.ID) < 33 || a.ID[0] != '_' {
					t.Fatalf("ID %q", a.ID)
				}
				seen[a.ID] = true
				if !strings.Contains(ch.URL.RawQuery, "sha256") && ch.Form == nil {
					t.Errorf("not signed with SHA-256: %s", ch.URL)
				}
				if ch.Form != nil && !bytes.Contains(q.XML, []byte("rsa-sha256")) {
					t.Errorf("not signed with SHA-256: %s", q.XML)
				}
			}
			ch, _, err := w.sp.Begin(t.Context(), federation.Login{ACR: []string{"urn:a:a", "urn:b:b"}, Fresh: true})
			if err != nil {
				t.Fatal(err)
			}
			q := question(t, w.idp, ch)
			if diff := cmp.Diff([]string{"urn:a:a", "urn:b:b"}, q.ACR); diff != "" || !q.Force {
				t.Errorf("%v %s", q.Force, diff)
			}
		})
	}
}

// Every change of the bytes that were signed is noticed.
func TestSignatureOfARequestCoversAllOfIt(t *testing.T) {
	t.Parallel()
	w := newWorld(t, withRSA)
	ch, _, err := w.sp.Begin(t.Context(), federation.Login{})
	if err != nil {
		t.Fatal(err)
	}
	raw := ch.URL.RawQuery
	ask := func(query string) error {
		_, err := w.idp.Question(&http.Request{Method: http.MethodGet, URL: &url.URL{RawQuery: query}})
		return err
	}
	if err := ask(raw); err != nil {
		t.Fatalf("positive control: %v", err)
	}
	for name, q := range map[string]string{
		"relay state":    strings.Replace(raw, "&RelayState=", "&RelayState=x", 1),
		"no relay state": regexp.MustCompile(`&RelayState=[^&]*`).ReplaceAllString(raw, ""),
		"algorithm":      strings.Replace(raw, "rsa-sha256", "rsa-sha512", 1),
		"no signature":   regexp.MustCompile(`&SigAlg=.*`).ReplaceAllString(raw, ""),
		"hex in lower":   strings.Replace(raw, "%2F", "%2f", 1),
		"twice":          raw + "&SAMLRequest=x",
	} {
		if q == raw {
			t.Errorf("%s changes nothing", name)
		} else if err := ask(q); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}

func TestOwnMetadataIsReadByOthers(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *saml.Config, _ *idptest.IDPConfig) {
		c.SLOURL = strings.Replace(acs, "/acs", "/slo", 1)
		c.Signing = []saml.Key{saml.Key(rsaKey()), spKey()}
		c.Decryption = []saml.Key{spDecrypt(), spOlder()}
	})
	for _, sign := range []bool{false, true} {
		b, err := w.sp.Metadata(sign)
		if err != nil {
			t.Fatal(err)
		}
		var e crewjam.EntityDescriptor
		if err := xml.Unmarshal(b, &e); err != nil {
			t.Fatal(err)
		}
		sp := e.SPSSODescriptors[0]
		if e.EntityID != entity || !e.ValidUntil.After(w.clock.now()) || !*sp.AuthnRequestsSigned || !*sp.WantAssertionsSigned {
			t.Errorf("%s", b)
		}
		if len(sp.AssertionConsumerServices) != 1 || sp.AssertionConsumerServices[0].Location != acs || len(sp.SingleLogoutServices) != 2 {
			t.Errorf("%s", b)
		}
		use := map[string]int{}
		for _, k := range sp.KeyDescriptors {
			use[k.Use]++
		}
		if diff := cmp.Diff(map[string]int{"signing": 2, "encryption": 1}, use); diff != "" {
			t.Error(diff)
		}
		if bytes.Contains(b, []byte("Signature>")) != sign {
			t.Errorf("signed: %v\n%s", !sign, b)
		}
	}
}
