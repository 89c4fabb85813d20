package saml_test

import (
	"encoding/base64"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/beevik/etree"
	"github.com/gatehouse-sso/gatehouse/federation"
	"github.com/gatehouse-sso/gatehouse/federation/idptest"
	"github.com/gatehouse-sso/gatehouse/federation/saml"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	acs     = "https://gate.example/.gatehouse/saml/partner/acs"
	entity  = "https://gate.example/.gatehouse/saml/partner/metadata"
	idpBase = "https://idp.partner.example"
	dana    = "N5hUw2ByC8rFzP63" // her persistent NameID
)

// Keys are costly, so all tests share these. Most are ECDSA, which signs thirty
// times as fast; withRSA is for tests that are about RSA.
var (
	idpKey    = sync.OnceValue(func() idptest.IDPKey { return idptest.NewIDPKey("ECDSA") })
	idpKey2   = sync.OnceValue(func() idptest.IDPKey { return idptest.NewIDPKey("ECDSA") })
	evilKey   = sync.OnceValue(func() idptest.IDPKey { return idptest.NewIDPKey("ECDSA") })
	rsaKey    = sync.OnceValue(func() idptest.IDPKey { return idptest.NewIDPKey("RSA") })
	smallKey  = sync.OnceValue(func() idptest.IDPKey { return idptest.NewIDPKey("RSA1024") })
	spKey     = sync.OnceValue(func() saml.Key { return saml.Key(idptest.NewIDPKey("ECDSA")) })
	spDecrypt = sync.OnceValue(func() saml.Key { return saml.Key(idptest.NewIDPKey("RSA")) })
	spOlder   = sync.OnceValue(func() saml.Key { return saml.Key(idptest.NewIDPKey("RSA")) })
)

// A clock stands still until it is moved.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func newClock() *clock { return &clock{at: time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)} }

func (c *clock) now() time.Time          { c.mu.Lock(); defer c.mu.Unlock(); return c.at }
func (c *clock) advance(d time.Duration) { c.mu.Lock(); defer c.mu.Unlock(); c.at = c.at.Add(d) }

// A world is one identity provider and the Provider that trusts it.
type world struct {
	t       testing.TB
	clock   *clock
	idp     *idptest.IDP
	sp      *saml.Provider
	login   federation.Login
	control sync.Once
}

type option func(*saml.Config, *idptest.IDPConfig)

func newWorld(t testing.TB, opts ...option) *world {
	t.Helper()
	w := &world{t: t, clock: newClock()}
	ic := idptest.IDPConfig{
		Base: idpBase, Title: "Partner University", People: idptest.Partner(),
		Keys: []idptest.IDPKey{idpKey()}, RequireSigned: true, Now: w.clock.now,
	}
	sc := saml.Config{
		ID: "partner", EntityID: entity, ACSURL: acs,
		Signing: []saml.Key{spKey()}, Decryption: []saml.Key{spDecrypt()}, Now: w.clock.now,
	}
	for _, o := range opts {
		o(&sc, &ic)
	}
	w.idp = idptest.NewIDP(ic)
	if sc.Metadata.URL == "" && sc.Metadata.File == "" && len(sc.Metadata.XML) == 0 {
		sc.Metadata.XML = w.idp.Metadata()
	}
	var err error
	if w.sp, err = saml.New(sc); err != nil {
		t.Fatal(err)
	}
	w.trust(t)
	return w
}

// withRSA gives both sides RSA keys.
func withRSA(c *saml.Config, i *idptest.IDPConfig) {
	i.Keys = []idptest.IDPKey{rsaKey()}
	c.Signing = []saml.Key{saml.Key(rsaKey())}
}

// trust shows the identity provider our metadata.
func (w *world) trust(t testing.TB) {
	t.Helper()
	md, err := w.sp.Metadata(false)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.idp.Trust(md); err != nil {
		t.Fatal(err)
	}
}

// question is what the browser brings to the identity provider.
func question(t testing.TB, idp *idptest.IDP, ch federation.Challenge) idptest.IDPQuestion {
	t.Helper()
	r := &http.Request{Method: http.MethodGet, URL: ch.URL}
	if ch.Form != nil {
		r = httptest.NewRequest(http.MethodPost, ch.URL.String(), strings.NewReader(ch.Form.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	q, err := idp.Question(r)
	if err != nil {
		t.Fatalf("the identity provider refuses the request: %v", err)
	}
	return q
}

// post is the browser's request with a form.
func post(t testing.TB, form url.Values) *http.Request {
	t.Helper()
	r := httptest.NewRequest(http.MethodPost, acs, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return r
}

// answer begins a sign-in of dana and gives the identity provider's answer.
func (w *world) answer(t testing.TB, f idptest.IDPFault) (url.Values, federation.Pending) {
	t.Helper()
	return w.answerFor(t, "dana", f)
}

func (w *world) answerFor(t testing.TB, user string, f idptest.IDPFault) (url.Values, federation.Pending) {
	t.Helper()
	ch, pending, err := w.sp.Begin(t.Context(), w.login)
	if err != nil {
		t.Fatal(err)
	}
	form, err := w.idp.Answer(question(t, w.idp, ch), user, f)
	if err != nil {
		t.Fatal(err)
	}
	return form, pending
}

func (w *world) signIn(t testing.TB, f idptest.IDPFault) (federation.Identity, error) {
	t.Helper()
	form, pending := w.answer(t, f)
	return w.sp.Finish(post(t, form), pending)
}

// accepted wants the sign-in to be dana's.
func (w *world) accepted(t testing.TB, f idptest.IDPFault) federation.Identity {
	t.Helper()
	id, err := w.signIn(t, f)
	if err != nil {
		t.Fatalf("refused: %v", err)
	}
	if want := (federation.Ref{Issuer: w.idp.EntityID(), Subject: dana}); id.Ref != want {
		t.Fatalf("accepted as %v, want %v", id.Ref, want)
	}
	return id
}

// refused wants the sign-in refused with one of codes. When its world ends,
// after all that was refused there, an honest sign-in must be accepted.
func (w *world) refused(t testing.TB, f idptest.IDPFault, codes ...string) *federation.Refusal {
	t.Helper()
	id, err := w.signIn(t, f)
	w.control.Do(func() {
		w.t.Cleanup(func() { w.accepted(w.t, idptest.IDPFault{}) })
	})
	return isRefusal(t, id, err, codes...)
}

// isRefusal checks what is true of every refusal: it has a code of the tables,
// comes with no identity, and repeats nothing that was said about anybody.
func isRefusal(t testing.TB, id federation.Identity, err error, codes ...string) *federation.Refusal {
	t.Helper()
	r := wellMade(t, id, err)
	if len(codes) > 0 && !slices.Contains(codes, r.Code) {
		t.Errorf("refused with %v, want %v", err, codes)
	}
	for _, secret := range []string{dana, "Dana", "Okafor", "dana@", "researchers", "admin", "BEGIN", "MII", "<"} {
		if strings.Contains(err.Error(), secret) {
			t.Errorf("the refusal says %q: %v", secret, err)
		}
	}
	return r
}

// wellMade is the part of isRefusal that holds for any message.
func wellMade(t testing.TB, id federation.Identity, err error) *federation.Refusal {
	t.Helper()
	var r *federation.Refusal
	if !errors.As(err, &r) {
		t.Fatalf("accepted as %v (error %v), want a refusal", id.Ref, err)
	}
	if diff := cmp.Diff(federation.Identity{}, id); diff != "" {
		t.Errorf("refused, but with an identity:\n%s", diff)
	}
	if saml.Reasons[r.Code] == "" && federation.Reasons[r.Code] == "" {
		t.Errorf("code %q is in no table of reasons", r.Code)
	}
	return r
}

// policy, forge and text make faults of one function each.
func policy(f func(response *etree.Element)) idptest.IDPFault { return idptest.IDPFault{Policy: f} }
func forge(f func(response *etree.Element)) idptest.IDPFault  { return idptest.IDPFault{Forge: f} }
func text(f func(string) string) idptest.IDPFault {
	return idptest.IDPFault{Text: func(b []byte) []byte { return []byte(f(string(b))) }}
}

// at is the element at a path below the response.
func at(r *etree.Element, path ...string) *etree.Element { return idptest.IDPAt(r, path...) }

// set changes the text of the element at a path.
func set(value string, path ...string) idptest.IDPFault {
	return policy(func(r *etree.Element) { at(r, path...).SetText(value) })
}

// drop removes the element at a path.
func drop(path ...string) idptest.IDPFault {
	return policy(func(r *etree.Element) { el := at(r, path...); el.Parent().RemoveChild(el) })
}

// attr changes an attribute of the element at a path; an empty value removes it.
func attr(key, value string, path ...string) idptest.IDPFault {
	return policy(func(r *etree.Element) {
		if el := at(r, path...); value == "" {
			el.RemoveAttr(key)
		} else {
			el.CreateAttr(key, value)
		}
	})
}

// signed is f with another choice of what is signed.
func signed(s idptest.IDPSign, f idptest.IDPFault) idptest.IDPFault { f.Sign = s; return f }

// both does the policies of several faults, one after the other.
func both(fs ...idptest.IDPFault) idptest.IDPFault {
	return policy(func(r *etree.Element) {
		for _, f := range fs {
			f.Policy(r)
		}
	})
}

// stamp writes a time as SAML does.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

// xmlOf takes the message out of an answer's form.
func xmlOf(t testing.TB, form url.Values) []byte {
	t.Helper()
	b, err := base64.StdEncoding.DecodeString(form.Get("SAMLResponse"))
	if err != nil {
		t.Fatal(err)
	}
	return b
}
