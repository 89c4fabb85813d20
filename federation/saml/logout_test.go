package saml_test

import (
	"crypto"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/beevik/etree"
	"github.com/gatehouse-sso/gatehouse/federation"
	"github.com/gatehouse-sso/gatehouse/federation/idptest"
	"github.com/gatehouse-sso/gatehouse/federation/saml"
	"github.com/google/go-cmp/cmp"
)

const slo = "https://gate.example/.gatehouse/saml/partner/slo"

func withLogout(c *saml.Config, _ *idptest.IDPConfig) { c.SLOURL = slo }

var bindings = map[string]string{"redirect": idptest.IDPByRedirect, "POST": idptest.IDPByPost}

// carried is what the browser brings us from the identity provider.
func carried(t testing.TB, to string, form url.Values, err error) *http.Request {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	if form == nil {
		return httptest.NewRequest(http.MethodGet, to, nil)
	}
	r := httptest.NewRequest(http.MethodPost, to, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return r
}

// ends brings a logout request of dana's.
func (w *world) ends(t testing.TB, binding string, f idptest.IDPFault) (federation.Ending, error) {
	t.Helper()
	to, form, err := w.idp.Logout(idptest.IDPLogout{To: entity, Person: dana, Sessions: []string{"_s1"}, Relay: "r&1", Binding: binding}, f)
	return w.sp.Over(carried(t, to, form, err))
}

// keeps wants a logout request refused, and the same without the fault taken.
func (w *world) keeps(t *testing.T, binding string, f idptest.IDPFault, codes ...string) {
	t.Helper()
	e, err := w.ends(t, binding, f)
	notEnded(t, e, err, codes...)
	if e, err := w.ends(t, binding, idptest.IDPFault{}); err != nil || !slices.Equal(e.Sessions, []string{"_s1"}) {
		t.Errorf("an honest request is refused: %+v, %v", e, err)
	}
}

func notEnded(t testing.TB, e federation.Ending, err error, codes ...string) {
	t.Helper()
	if e.Name != "" || e.Sessions != nil || e.Once != nil || e.Answer != nil {
		t.Errorf("refused, but with an ending: %+v", e)
	}
	isRefusal(t, federation.Identity{}, err, codes...)
}

func TestS66_LogoutRequestMustBeSigned(t *testing.T) {
	t.Parallel()
	w := newWorld(t, withLogout)
	weak := newWorld(t, withLogout, withRSA)
	for name, binding := range bindings {
		t.Run(name, func(t *testing.T) {
			w.keeps(t, binding, idptest.IDPFault{Sign: idptest.IDPSignNothing}, saml.ReasonSignatureMissing)
			w.keeps(t, binding, idptest.IDPFault{Key: evilKey()}, saml.ReasonSignature)
			weak.keeps(t, binding, idptest.IDPFault{Hash: crypto.SHA1}, saml.ReasonAlgorithm)
		})
	}
	person := func(el *etree.Element) { el.SelectElement("saml:NameID").SetText("somebody-else") }
	w.keeps(t, idptest.IDPByPost, forge(person), saml.ReasonSignature)
	// A signature within counts for nothing in the redirect binding.
	w.keeps(t, idptest.IDPByRedirect, idptest.IDPFault{Sign: idptest.IDPSignNothing, Forge: func(el *etree.Element) {
		sig := etree.NewElement("ds:Signature")
		sig.CreateAttr("xmlns:ds", "http://www.w3.org/2000/09/xmldsig#")
		el.InsertChildAt(1, sig)
	}}, saml.ReasonSignatureMissing)
	w.keeps(t, idptest.IDPByRedirect, idptest.IDPFault{Forge: func(el *etree.Element) {
		sig := etree.NewElement("ds:Signature")
		sig.CreateAttr("xmlns:ds", "http://www.w3.org/2000/09/xmldsig#")
		el.InsertChildAt(1, sig)
	}}, saml.ReasonStructure)
}

func TestS67_EveryChangeOfASignedQueryIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t, withLogout)
	part := func(q, name string) string {
		for p := range strings.SplitSeq(q, "&") {
			if strings.HasPrefix(p, name+"=") {
				return p
			}
		}
		t.Fatalf("no %s in %s", name, q)
		return ""
	}
	lower := func(s string) string {
		return strings.NewReplacer("%2B", "%2b", "%2F", "%2f", "%3D", "%3d", "%3A", "%3a").Replace(s)
	}
	for name, change := range map[string]func(q string) string{
		"another algorithm": func(q string) string {
			return strings.Replace(q, part(q, "SigAlg"), "SigAlg="+url.QueryEscape("http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha384"), 1)
		},
		"another key type": func(q string) string {
			return strings.Replace(q, part(q, "SigAlg"), "SigAlg="+url.QueryEscape("http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"), 1)
		},
		"another RelayState":  func(q string) string { return strings.Replace(q, part(q, "RelayState"), "RelayState=r2", 1) },
		"an empty RelayState": func(q string) string { return strings.Replace(q, part(q, "RelayState"), "RelayState=", 1) },
		"no RelayState":       func(q string) string { return strings.Replace(q, part(q, "RelayState")+"&", "", 1) },
		"RelayState first": func(q string) string {
			return part(q, "RelayState") + "&" + strings.Replace(q, part(q, "RelayState")+"&", "", 1)
		},
		"SigAlg first": func(q string) string {
			return part(q, "SigAlg") + "&" + strings.Replace(q, "&"+part(q, "SigAlg"), "", 1)
		},
		"Signature first": func(q string) string {
			return part(q, "Signature") + "&" + strings.Replace(q, "&"+part(q, "Signature"), "", 1)
		},
		"the request twice":    func(q string) string { return part(q, "SAMLRequest") + "&" + q },
		"another one before":   func(q string) string { return "SAMLRequest=x&" + q },
		"another one after":    func(q string) string { return q + "&SAMLRequest=x" },
		"RelayState twice":     func(q string) string { return q + "&" + part(q, "RelayState") },
		"Signature twice":      func(q string) string { return q + "&" + part(q, "Signature") },
		"a response beside it": func(q string) string { return q + "&SAMLResponse=x" },
		"hex in lower case": func(q string) string {
			return lower(part(q, "SAMLRequest")) + strings.TrimPrefix(q, part(q, "SAMLRequest"))
		},
		"SigAlg in lower case": func(q string) string { return strings.Replace(q, part(q, "SigAlg"), lower(part(q, "SigAlg")), 1) },
		"a letter escaped": func(q string) string {
			return strings.Replace(q, "RelayState=r", "RelayState=%72", 1)
		},
		"a name escaped":    func(q string) string { return strings.Replace(q, "RelayState=", "Relay%53tate=", 1) },
		"a name hidden":     func(q string) string { return "SAMLRe%71uest=x&" + q },
		"another message":   func(q string) string { return strings.Replace(q, "SAMLRequest=", "SAMLRequest=A", 1) },
		"as a response":     func(q string) string { return strings.Replace(q, "SAMLRequest=", "SAMLResponse=", 1) },
		"half a signature":  func(q string) string { return q[:len(q)-20] },
		"no signature":      func(q string) string { return strings.Replace(q, "&"+part(q, "Signature"), "", 1) },
		"no algorithm":      func(q string) string { return strings.Replace(q, "&"+part(q, "SigAlg"), "", 1) },
		"a semicolon":       func(q string) string { return q + ";x=y" },
		"another encoding":  func(q string) string { return q + "&SAMLEncoding=x" },
		"a query that ends": func(q string) string { return q + "%" },
	} {
		t.Run(name, func(t *testing.T) {
			changed := false
			w.keeps(t, idptest.IDPByRedirect, idptest.IDPFault{Query: func(q string) string {
				out := change(q)
				changed = out != q
				return out
			}}, saml.ReasonSignature, saml.ReasonSignatureMissing, saml.ReasonAlgorithm, federation.ReasonMalformed)
			if !changed {
				t.Error("nothing was changed")
			}
		})
	}
	// What is not part of the message is nobody's business.
	if _, err := w.ends(t, idptest.IDPByRedirect, idptest.IDPFault{Query: func(q string) string { return "client-request-id=7&" + q }}); err != nil {
		t.Errorf("a parameter of the provider's own: %v", err)
	}
	// The bytes count, not what they mean: a provider may escape as it likes.
	to, _, err := w.idp.Logout(idptest.IDPLogout{To: entity, Person: dana, Relay: "r1"}, idptest.IDPFault{Sign: idptest.IDPSignNothing, Query: func(q string) string { return w.idp.SignQuery(lower(q)) }})
	if _, err := w.sp.Over(carried(t, to, nil, err)); err != nil {
		t.Errorf("escaped in lower case and signed so: %v", err)
	}
}

func TestS63_LogoutInflatesNothingUnsigned(t *testing.T) { // alone: what all goroutines allocate is counted
	w := newWorld(t, withLogout)
	packed := url.QueryEscape(bomb(t, 1<<24))
	unsigned := httptest.NewRequest(http.MethodGet, slo+"?SAMLRequest="+packed, nil)
	var e federation.Ending
	var err error
	if n := allocated(func() { e, err = w.sp.Over(unsigned) }); n > 4<<20 {
		t.Errorf("an unsigned bomb made us allocate %d bytes", n)
	}
	notEnded(t, e, err, saml.ReasonSignatureMissing)
	signed := httptest.NewRequest(http.MethodGet, slo+"?"+w.idp.SignQuery("SAMLRequest="+packed), nil)
	if n := allocated(func() { e, err = w.sp.Over(signed) }); n > 8<<20 {
		t.Errorf("a signed bomb made us allocate %d bytes", n)
	}
	notEnded(t, e, err, federation.ReasonTooLarge)
}

func TestS68_LogoutRequestSaysExactlyWhomAndWhich(t *testing.T) {
	t.Parallel()
	w := newWorld(t, withLogout)
	id := w.accepted(t, idptest.IDPFault{})
	nameID := func(change func(*etree.Element)) idptest.IDPFault {
		return policy(func(el *etree.Element) { change(el.SelectElement("saml:NameID")) })
	}
	attr := func(name, val string) idptest.IDPFault {
		return policy(func(el *etree.Element) { el.CreateAttr(name, val) })
	}
	for name, binding := range bindings {
		t.Run(name, func(t *testing.T) {
			e, err := w.ends(t, binding, idptest.IDPFault{})
			if err != nil || e.Name != id.Context.Name || e.Name == "" || !cmp.Equal(e.Sessions, []string{"_s1"}) || len(e.Once) != 1 {
				t.Fatalf("dana's request: %+v, %v; she signed in as %q", e, err, id.Context.Name)
			}
			for what, f := range map[string]idptest.IDPFault{
				"somebody else":          nameID(func(n *etree.Element) { n.SetText("somebody-else") }),
				"in another case":        nameID(func(n *etree.Element) { n.SetText(strings.ToLower(n.Text())) }),
				"of another qualifier":   nameID(func(n *etree.Element) { n.CreateAttr("NameQualifier", "https://other.example") }),
				"at another service":     nameID(func(n *etree.Element) { n.CreateAttr("SPNameQualifier", "https://other.example") }),
				"in another format":      nameID(func(n *etree.Element) { n.CreateAttr("Format", "urn:oasis:names:tc:SAML:2.0:nameid-format:transient") }),
				"with a format left out": nameID(func(n *etree.Element) { n.RemoveAttr("Format") }),
			} {
				if e, err := w.ends(t, binding, f); err != nil || e.Name == id.Context.Name {
					t.Errorf("%s is taken for dana: %+v, %v", what, e, err)
				}
			}
			bare := nameID(func(n *etree.Element) { n.RemoveAttr("NameQualifier"); n.RemoveAttr("SPNameQualifier") })
			if e, err := w.ends(t, binding, bare); err != nil || e.Name != id.Context.Name {
				t.Errorf("qualifiers that go without saying: %+v, %v", e, err)
			}
			w.keeps(t, binding, attr("Destination", "https://other.example/slo"), saml.ReasonDestination)
			w.keeps(t, binding, policy(func(el *etree.Element) { el.RemoveAttr("Destination") }), saml.ReasonDestination)
			w.keeps(t, binding, attr("NotOnOrAfter", "2026-11-22T09:00:00Z"), saml.ReasonExpired)
			w.keeps(t, binding, attr("IssueInstant", "2026-11-22T09:00:00Z"), saml.ReasonExpired)
			w.keeps(t, binding, attr("IssueInstant", "2026-11-22T11:00:00Z"), saml.ReasonNotYetValid)
			w.keeps(t, binding, attr("Version", "1.1"), saml.ReasonStructure)
			w.keeps(t, binding, policy(func(el *etree.Element) { el.SelectElement("saml:Issuer").SetText("https://other.example") }), saml.ReasonIssuer)
			w.keeps(t, binding, policy(func(el *etree.Element) { el.RemoveChild(el.SelectElement("saml:NameID")) }), saml.ReasonSubject)
			w.keeps(t, binding, policy(func(el *etree.Element) { el.AddChild(el.SelectElement("saml:NameID").Copy()) }), saml.ReasonStructure)
			w.keeps(t, binding, nameID(func(n *etree.Element) { n.SetText("") }), saml.ReasonSubject)
			w.keeps(t, binding, policy(func(el *etree.Element) { el.SelectElement("samlp:SessionIndex").SetText("") }), saml.ReasonStructure)
			w.keeps(t, binding, policy(func(el *etree.Element) { el.Tag = "ManageNameIDRequest" }), saml.ReasonStructure)
			w.keeps(t, binding, idptest.IDPFault{Text: func(b []byte) []byte { return append([]byte("<!DOCTYPE x>"), b...) }}, saml.ReasonXML)
		})
	}
	// Its ID makes a request good for one use; a repetition is the same one.
	to, form, err := w.idp.Logout(idptest.IDPLogout{To: entity, Person: dana}, idptest.IDPFault{})
	one, err1 := w.sp.Over(carried(t, to, form, err))
	two, err2 := w.sp.Over(carried(t, to, form, err))
	other, err3 := w.ends(t, "", idptest.IDPFault{})
	if err := errors.Join(err1, err2, err3); err != nil {
		t.Fatal(err)
	}
	if one.Once[0] != two.Once[0] || one.Once[0].Key == other.Once[0].Key || !one.Once[0].Until.After(w.clock.now().Add(5*time.Minute)) {
		t.Errorf("what makes a request good for one use is %+v, %+v, %+v", one.Once, two.Once, other.Once)
	}
	// A sign-in's answer is no logout request, however well it is signed.
	form, _ = w.answer(t, idptest.IDPFault{})
	e, err := w.sp.Over(carried(t, slo, url.Values{"SAMLRequest": form["SAMLResponse"]}, nil))
	notEnded(t, e, err, saml.ReasonStructure)
}

func TestLogoutRequestIsAnsweredTheWayItCame(t *testing.T) {
	t.Parallel()
	w := newWorld(t, withLogout, withRSA)
	for name, binding := range bindings {
		for ended, status := range map[bool]string{true: "Success", false: "Responder"} {
			e, err := w.ends(t, binding, idptest.IDPFault{})
			if err != nil {
				t.Fatal(err)
			}
			ch, err := e.Answer(t.Context(), ended)
			if err != nil || (ch.Form != nil) != (binding == idptest.IDPByPost) {
				t.Fatalf("%s: %+v, %v", name, ch, err)
			}
			h, _, err := w.idp.ReadLogout(carried(t, ch.URL.String(), ch.Form, nil))
			if err != nil || !h.Response || h.Status != status || h.From != entity || h.Relay != "r&1" || h.To == "" {
				t.Errorf("%s: the identity provider hears %+v, %v", name, h, err)
			}
		}
	}
}

func TestSignOutAsksForExactlyThisSession(t *testing.T) {
	t.Parallel()
	for name, binding := range map[string]string{"redirect": saml.Redirect, "POST": saml.Post} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, withLogout, withRSA, func(c *saml.Config, _ *idptest.IDPConfig) { c.Binding = binding })
			id := w.accepted(t, idptest.IDPFault{})
			ch, p, err := w.sp.Leave(t.Context(), federation.SignedIn{Session: id.Context.Session, Hint: id.Context.LogoutHint})
			if err != nil || (ch.Form != nil) != (binding == saml.Post) {
				t.Fatal(ch, err)
			}
			h, request, err := w.idp.ReadLogout(carried(t, ch.URL.String(), ch.Form, nil))
			if err != nil || h.Response || h.Person != dana || !cmp.Equal(h.Sessions, []string{id.Context.Session}) || h.Relay != p.State {
				t.Fatalf("the identity provider hears %+v, %v", h, err)
			}
			l := idptest.IDPLogout{To: entity, Relay: h.Relay, Binding: bindings[name]}
			to, form, err := w.idp.LoggedOut(request, l, idptest.IDPFault{})
			if err := w.sp.Left(carried(t, to, form, err), p); err != nil {
				t.Errorf("its answer is refused: %v", err)
			}
			to, form, err = w.idp.LoggedOut(request, l, idptest.IDPFault{Cancel: true})
			isRefusal(t, federation.Identity{}, w.sp.Left(carried(t, to, form, err), p), federation.ReasonDenied)
		})
	}
	all := newWorld(t, withLogout)
	id := all.accepted(t, idptest.IDPFault{})
	ch, _, err := all.sp.Leave(t.Context(), federation.SignedIn{Hint: id.Context.LogoutHint})
	if err != nil {
		t.Fatal(err)
	}
	if h, _, err := all.idp.ReadLogout(carried(t, ch.URL.String(), ch.Form, nil)); err != nil || len(h.Sessions) != 0 {
		t.Errorf("everything: the identity provider hears %+v, %v", h, err)
	}
	for name, w := range map[string]*world{
		"no exit": newWorld(t, withLogout, func(_ *saml.Config, i *idptest.IDPConfig) { i.NoLogout = true }),
		"nowhere": newWorld(t),
		"no name": all,
	} {
		hint := id.Context.LogoutHint
		if name == "no name" {
			hint = ""
		}
		if ch, _, err := w.sp.Leave(t.Context(), federation.SignedIn{Hint: hint}); !errors.Is(err, federation.ErrNoLogout) || ch.URL != nil {
			t.Errorf("%s: %+v, %v", name, ch, err)
		}
	}
}

func TestS69_LogoutResponseMustAnswerOurRequest(t *testing.T) {
	t.Parallel()
	w := newWorld(t, withLogout)
	id := w.accepted(t, idptest.IDPFault{})
	ch, p, err := w.sp.Leave(t.Context(), federation.SignedIn{Session: id.Context.Session, Hint: id.Context.LogoutHint})
	if err != nil {
		t.Fatal(err)
	}
	_, request, err := w.idp.ReadLogout(carried(t, ch.URL.String(), ch.Form, nil))
	if err != nil {
		t.Fatal(err)
	}
	left := func(t testing.TB, request, relay, binding string, f idptest.IDPFault) error {
		to, form, err := w.idp.LoggedOut(request, idptest.IDPLogout{To: entity, Relay: relay, Binding: binding}, f)
		return w.sp.Left(carried(t, to, form, err), p)
	}
	for name, binding := range bindings {
		t.Run(name, func(t *testing.T) {
			refused := func(err error, codes ...string) {
				t.Helper()
				isRefusal(t, federation.Identity{}, err, codes...)
			}
			refused(left(t, "_unknown", p.State, binding, idptest.IDPFault{}), saml.ReasonInResponseTo)
			refused(left(t, "", p.State, binding, idptest.IDPFault{}), saml.ReasonInResponseTo)
			refused(left(t, request, "https://evil.example/", binding, idptest.IDPFault{}), federation.ReasonStateUnknown)
			refused(left(t, request, "", binding, idptest.IDPFault{}), federation.ReasonStateUnknown)
			refused(left(t, request, p.State, binding, idptest.IDPFault{Sign: idptest.IDPSignNothing}), saml.ReasonSignatureMissing)
			refused(left(t, request, p.State, binding, idptest.IDPFault{Key: evilKey()}), saml.ReasonSignature)
			refused(left(t, request, p.State, binding, policy(func(el *etree.Element) { el.CreateAttr("Destination", acs) })), saml.ReasonDestination)
			refused(left(t, request, p.State, binding, policy(func(el *etree.Element) { el.RemoveChild(el.SelectElement("samlp:Status")) })), saml.ReasonStructure)
			if err := left(t, request, p.State, binding, idptest.IDPFault{}); err != nil {
				t.Errorf("an honest answer is refused: %v", err)
			}
		})
	}
	refusedRequest, err := w.ends(t, "", idptest.IDPFault{})
	if err != nil || refusedRequest.Name == "" {
		t.Fatal(err)
	}
	to, form, err := w.idp.Logout(idptest.IDPLogout{To: entity, Person: dana, Relay: p.State}, idptest.IDPFault{})
	isRefusal(t, federation.Identity{}, w.sp.Left(carried(t, to, form, err), p), federation.ReasonMalformed)
}

func FuzzLogout(f *testing.F) {
	w := newWorld(f, withLogout)
	to, _, err := w.idp.Logout(idptest.IDPLogout{To: entity, Person: dana, Sessions: []string{"_s1"}, Relay: "r1"}, idptest.IDPFault{})
	if err != nil {
		f.Fatal(err)
	}
	_, good, _ := strings.Cut(to, "?")
	f.Add(good)
	f.Add("SAMLRequest=x&RelayState=&SigAlg=&Signature=")
	f.Fuzz(func(t *testing.T, raw string) {
		r := httptest.NewRequest(http.MethodGet, slo, nil)
		r.URL.RawQuery = raw
		// Only the very bytes that were signed, and what means nothing beside them.
		if _, err := w.sp.Over(r); err == nil && !strings.Contains(raw, good) && !strings.Contains(raw, strings.SplitN(good, "&Signature", 2)[0]) {
			t.Errorf("taken: %s", raw)
		}
	})
}
