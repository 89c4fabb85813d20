package saml_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatehouse-sso/gatehouse/federation"
	"github.com/gatehouse-sso/gatehouse/federation/idptest"
	"github.com/gatehouse-sso/gatehouse/federation/saml"
)

func sealedTo(t testing.TB) *rsa.PublicKey {
	t.Helper()
	return spDecrypt().Certificate.PublicKey.(*rsa.PublicKey)
}

func TestS61_KeysCanBeRolledOver(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "idp.xml")
	w := newWorld(t, func(c *saml.Config, i *idptest.IDPConfig) {
		i.Keys = []idptest.IDPKey{idpKey(), idpKey2()}
		c.Decryption = []saml.Key{spDecrypt(), spOlder()}
		c.Metadata = saml.Metadata{File: file, Refresh: time.Hour}
		publish(t, file, idptest.NewIDP(*i).Metadata())
	})
	w.accepted(t, idptest.IDPFault{Key: idpKey()})
	w.accepted(t, idptest.IDPFault{Key: idpKey2()})
	older := idptest.IDPEncryption{Data: idptest.IDPAES256, To: spOlder().Certificate.PublicKey.(*rsa.PublicKey)}
	w.accepted(t, idptest.IDPFault{Encryption: sealed256})
	w.accepted(t, idptest.IDPFault{Encryption: &older})

	// The first key is withdrawn; after one refresh it is worth nothing.
	w.idp.SetKeys(idpKey2())
	publish(t, file, w.idp.Metadata())
	w.clock.advance(time.Hour)
	w.refused(t, idptest.IDPFault{Key: idpKey()}, saml.ReasonSignature)
	w.accepted(t, idptest.IDPFault{})
}

func publish(t testing.TB, file string, b []byte) {
	t.Helper()
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestS62_DatesOfCertificatesDoNotMatter(t *testing.T) {
	t.Parallel()
	now := newClock().now()
	for name, dates := range map[string][2]time.Time{
		"expired": {now.AddDate(-10, 0, 0), now.AddDate(-5, 0, 0)}, "not yet": {now.AddDate(5, 0, 0), now.AddDate(6, 0, 0)},
	} {
		key := idptest.NewIDPKeyFor("ECDSA", dates[0], dates[1])
		t.Run(name, func(t *testing.T) {
			newWorld(t, func(_ *saml.Config, i *idptest.IDPConfig) { i.Keys = []idptest.IDPKey{key} }).accepted(t, idptest.IDPFault{})
		})
	}
}

// A server gives whatever metadata it is told to.
type server struct {
	*httptest.Server
	handler atomic.Pointer[http.HandlerFunc]
	hits    atomic.Int32
}

func newServer(t testing.TB) *server {
	s := &server{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.hits.Add(1)
		(*s.handler.Load())(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *server) does(h http.HandlerFunc) { s.handler.Store(&h) }
func (s *server) gives(b []byte) {
	s.does(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(b) })
}

// fromURL is a world whose metadata comes from a server.
func fromURL(t testing.TB, opts ...option) (*world, *server) {
	s := newServer(t)
	s.gives(nil)
	w := newWorld(t, append([]option{func(c *saml.Config, _ *idptest.IDPConfig) {
		c.Metadata = saml.Metadata{URL: s.URL, Refresh: time.Hour}
		tr := &http.Transport{DisableKeepAlives: true}
		c.Client = &http.Client{Transport: tr}
	}}, opts...)...)
	s.gives(w.idp.Metadata())
	return w, s
}

func TestS71R16A11_BadMetadataIsRefusedAndTheLastGoodKept(t *testing.T) {
	t.Parallel()
	edit := func(old, repl string) func(w *world) []byte {
		return func(w *world) []byte {
			out := strings.Replace(string(w.idp.Metadata()), old, repl, 1)
			if out == string(w.idp.Metadata()) {
				panic("nothing to edit: " + old)
			}
			return []byte(out)
		}
	}
	validUntil := func(t time.Time) func(w *world) []byte {
		return func(w *world) []byte {
			md := string(w.idp.Metadata())
			i := strings.Index(md, `validUntil="`) + len(`validUntil="`)
			j := i + strings.Index(md[i:], `"`)
			return []byte(md[:i] + stamp(t) + md[j:])
		}
	}
	now := newClock().now().Add(2 * time.Hour) // when it is read
	const post, redirect = `HTTP-POST" Location="https://idp.partner.example/sso"`, `HTTP-Redirect" Location="https://idp.partner.example/sso"`
	for name, tt := range map[string]struct {
		doc  func(w *world) []byte
		says string
	}{
		"empty":          {func(*world) []byte { return nil }, "ends before"},
		"no XML":         {func(*world) []byte { return []byte("<!doctype html><p>Sign in to the Wi-Fi") }, "DOCTYPE"},
		"HTML":           {func(*world) []byte { return []byte("<html><p/></html>") }, "not SAML metadata"},
		"expired":        {validUntil(now.Add(-time.Second)), "which is over"},
		"endless":        {edit(`validUntil="`, `x="`), "no validUntil"},
		"valid too long": {validUntil(now.Add(15 * 24 * time.Hour)), "at most"},
		"other entity":   {edit("/metadata", "/other"), "describes"},
		"no entity":      {edit(`entityID="https://idp.partner.example/metadata"`, ""), "entityID"},
		"an aggregate":   {func(w *world) []byte { return aggregate(w.idp.Metadata()) }, "many entities"},
		"two providers":  {twice("md:IDPSSODescriptor"), "several identity providers"},
		"no provider": {func(w *world) []byte {
			return bytes.ReplaceAll(w.idp.Metadata(), []byte("md:IDPSSODescriptor"), []byte("md:SPSSODescriptor"))
		}, "no SAML 2.0"},
		"another protocol":    {edit(`protocolSupportEnumeration="urn:oasis:names:tc:SAML:2.0:protocol"`, `protocolSupportEnumeration="urn:oasis:names:tc:SAML:1.1:protocol"`), "no SAML 2.0"},
		"javascript:":         {edit(redirect, `HTTP-Redirect" Location="javascript:alert(1)"`), "not an address"},
		"http":                {edit(redirect, `HTTP-Redirect" Location="http://idp.partner.example/sso"`), "not an https address"},
		"file":                {edit(post, `HTTP-POST" Location="file:///etc/passwd"`), "not an address"},
		"user in the address": {edit(post, `HTTP-POST" Location="https://a:b@idp.partner.example/sso"`), "not an address"},
		"no key":              {edit(`use="signing"`, `use="encryption"`), "no signing key"},
		"key is rubbish":      {edit("<ds:X509Certificate>", "<ds:X509Certificate>AAAA"), "no usable signing key"},
		"a negative serial":   {func(w *world) []byte { return certified(w, negative()) }, "no usable signing key"},
		"a key of Ed25519":    {func(w *world) []byte { return certified(w, edwards()) }, "no usable signing key"},
		"small key":           {func(w *world) []byte { w.idp.SetKeys(smallKey()); return w.idp.Metadata() }, "1024 bits"},
		"11 keys": {func(w *world) []byte {
			k := idpKey2()
			w.idp.SetKeys(k, k, k, k, k, k, k, k, k, k, k)
			return w.idp.Metadata()
		}, "at most 10"},
		"no way to sign in": {func(w *world) []byte {
			return bytes.ReplaceAll(w.idp.Metadata(), []byte("SingleSignOnService"), []byte("ArtifactResolutionService"))
		}, "no sign-in"},
		"wants artifacts": {func(w *world) []byte { return bytes.ReplaceAll(w.idp.Metadata(), []byte("HTTP-"), []byte("X-")) }, "no sign-in"},
		"an external entity": {func(w *world) []byte {
			return append([]byte(`<!DOCTYPE r [<!ENTITY e SYSTEM "file:///etc/passwd">]>`), w.idp.Metadata()...)
		}, "DOCTYPE"},
		"too large": {func(w *world) []byte { return append(w.idp.Metadata(), bytes.Repeat([]byte(" "), 2<<20)...) }, "bytes"},
		"too many elements": {func(w *world) []byte {
			return bytes.Replace(w.idp.Metadata(), []byte("<md:NameIDFormat>"), append(bytes.Repeat([]byte("<md:Organization/>"), 5001), "<md:NameIDFormat>"...), 1)
		}, "elements"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, s := fromURL(t)
			w.accepted(t, idptest.IDPFault{})
			w.clock.advance(2 * time.Hour)
			s.gives(tt.doc(w))
			w.idp.SetKeys(idpKey())
			w.accepted(t, idptest.IDPFault{}) // by the last good
			st := w.sp.Status()
			if st.Err == nil || !strings.Contains(st.Err.Error(), tt.says) {
				t.Errorf("the alarm is %v, want something of %q", st.Err, tt.says)
			}
			// The same as the first document leaves nobody to trust.
			fresh, s2 := fromURL(t, func(c *saml.Config, _ *idptest.IDPConfig) { c.IDP = idpBase + "/metadata" })
			fresh.clock.advance(2 * time.Hour)
			s2.gives(tt.doc(fresh))
			_, _, err := fresh.sp.Begin(t.Context(), federation.Login{})
			if !errors.Is(err, federation.ErrUnavailable) {
				t.Fatalf("Begin without metadata: %v", err)
			}
			isRefusal(t, federation.Identity{}, err, federation.ReasonUnavailable)
			// It mends itself, though not at every request.
			hits := s2.hits.Load()
			fresh.idp.SetKeys(idpKey())
			s2.gives(fresh.idp.Metadata())
			if _, _, err := fresh.sp.Begin(t.Context(), federation.Login{}); err == nil || s2.hits.Load() != hits {
				t.Errorf("it asked again at once: %v", err)
			}
			fresh.clock.advance(time.Minute)
			fresh.accepted(t, idptest.IDPFault{})
		})
	}
}

// certified is the metadata with another certificate.
func certified(w *world, der []byte) []byte {
	return regexp.MustCompile(`(<ds:X509Certificate>)[^<]*`).ReplaceAll(w.idp.Metadata(), []byte("${1}"+base64.StdEncoding.EncodeToString(der)))
}

// edwards is a certificate for a key that signs no SAML.
func edwards() []byte {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		panic(err)
	}
	return selfMade(public, private)
}

// negative is a certificate with a serial number that RFC 5280 does not allow, which
// the library makes for nobody.
func negative() []byte {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	serial := []byte{2, 1, 42}
	der := selfMade(&key.PublicKey, key)
	i := bytes.Index(der, serial)
	der[i+2] = 0xd6
	return der
}

func selfMade(public, private any) []byte {
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(42), NotAfter: time.Now().AddDate(1, 0, 0)}, &x509.Certificate{}, public, private)
	if err != nil {
		panic(err)
	}
	return der
}

func aggregate(md []byte) []byte {
	return []byte(`<md:EntitiesDescriptor xmlns:md="urn:oasis:names:tc:SAML:2.0:metadata">` + string(md) + `</md:EntitiesDescriptor>`)
}

func twice(tag string) func(w *world) []byte {
	return func(w *world) []byte {
		md := string(w.idp.Metadata())
		i, j := strings.Index(md, "<"+tag), strings.Index(md, "</"+tag+">")+len("</"+tag+">")
		return []byte(md[:j] + md[i:j] + md[j:])
	}
}

func TestS71A11_BadServersAreSurvived(t *testing.T) {
	t.Parallel()
	var reached atomic.Int32
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Add(1) }))
	defer elsewhere.Close()
	redirect := func(to string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, to, http.StatusFound) }
	}
	for name, h := range map[string]http.HandlerFunc{
		"error":            func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) },
		"not found":        func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) },
		"another host":     redirect(elsewhere.URL),
		"file":             redirect("file:///etc/passwd"),
		"link-local":       redirect("http://169.254.169.254/latest/meta-data"),
		"to itself":        func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/x", http.StatusFound) },
		"hangs up":         func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"100 megabytes":    func(w http.ResponseWriter, _ *http.Request) { _, _ = io.CopyN(w, zeros{}, 100<<20) },
		"a bomb of spaces": func(w http.ResponseWriter, _ *http.Request) { _, _ = io.CopyN(w, zeros{}, 3<<20) },
	} {
		t.Run(name, func(t *testing.T) {
			w, s := fromURL(t)
			w.accepted(t, idptest.IDPFault{})
			w.clock.advance(time.Hour)
			s.does(h)
			w.accepted(t, idptest.IDPFault{})
			if w.sp.Status().Err == nil {
				t.Error("no alarm")
			}
			s.gives(w.idp.Metadata())
			w.clock.advance(time.Minute)
			if err := w.sp.Refresh(t.Context()); err != nil || w.sp.Status().Err != nil {
				t.Errorf("after it is well again: %v, %v", err, w.sp.Status().Err)
			}
			// The last good is not good for ever.
			s.does(h)
			w.clock.advance(8 * 24 * time.Hour)
			_, _, err := w.sp.Begin(t.Context(), federation.Login{})
			isRefusal(t, federation.Identity{}, err, federation.ReasonUnavailable)
		})
	}
	if reached.Load() != 0 {
		t.Error("a redirect to another host was followed")
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = ' '
	}
	return len(b), nil
}

// What an error page says is not metadata, however much it looks like it.
func TestS71_ErrorPageIsNotMetadata(t *testing.T) {
	t.Parallel()
	w, s := fromURL(t)
	for _, status := range []int{http.StatusInternalServerError, http.StatusNotFound, http.StatusAccepted} {
		s.does(func(rw http.ResponseWriter, _ *http.Request) {
			rw.WriteHeader(status)
			_, _ = rw.Write(w.idp.Metadata())
		})
		_, _, err := w.sp.Begin(t.Context(), federation.Login{})
		isRefusal(t, federation.Identity{}, err, federation.ReasonUnavailable)
		w.clock.advance(time.Minute)
	}
	s.gives(w.idp.Metadata())
	w.accepted(t, idptest.IDPFault{})
}

// A server that drips never lets go of the one who asks; the others go on
// with what there is.
func TestS71R15_DrippingServerHoldsUpNobodyElse(t *testing.T) {
	t.Parallel()
	w, s := fromURL(t)
	w.accepted(t, idptest.IDPFault{})
	w.clock.advance(time.Hour)
	asked, release := make(chan struct{}), make(chan struct{})
	s.does(func(rw http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(rw, "<")
		rw.(http.Flusher).Flush()
		close(asked)
		<-release
	})
	done := make(chan error, 1)
	go func() { _, _, err := w.sp.Begin(context.Background(), federation.Login{}); done <- err }()
	<-asked
	for range 20 {
		w.accepted(t, idptest.IDPFault{})
	}
	select {
	case err := <-done:
		t.Fatalf("they had to wait until the server was given up: %v", err)
	default:
	}
	close(release)
	if err := <-done; err != nil {
		t.Errorf("even the one who waited has the last good: %v", err)
	}
	if got := s.hits.Load(); got != 2 {
		t.Errorf("the server was asked %d times, want 2", got)
	}
}

func TestPinnedSignerIsInsistedOn(t *testing.T) {
	t.Parallel()
	w, s := fromURL(t, func(c *saml.Config, _ *idptest.IDPConfig) {
		c.Metadata.Certificates = []*x509.Certificate{idpKey2().Certificate}
		c.Metadata.Refresh = time.Minute
	})
	good := w.idp.SignedMetadata(idpKey2())
	s.gives(good)
	w.accepted(t, idptest.IDPFault{})
	for name, b := range map[string][]byte{
		"unsigned":      w.idp.Metadata(),
		"wrong signer":  w.idp.SignedMetadata(evilKey()),
		"changed":       bytes.Replace(good, []byte("https://idp.partner.example/sso"), []byte("https://idp.evil.example/sso"), 1),
		"wrapped":       bytes.Replace(w.idp.Metadata(), []byte("<md:NameIDFormat>"), append(append([]byte("<md:Extensions>"), good...), "</md:Extensions><md:NameIDFormat>"...), 1),
		"key exchanged": bytes.Replace(good, []byte(`use="signing"`), []byte(`use="encryption"`), 1),
	} {
		s.gives(b)
		w.clock.advance(time.Minute)
		w.accepted(t, idptest.IDPFault{})
		if err := w.sp.Status().Err; err == nil {
			t.Errorf("%s: no alarm", name)
		}
		s.gives(good)
		w.clock.advance(time.Minute)
		w.accepted(t, idptest.IDPFault{})
		if err := w.sp.Status().Err; err != nil {
			t.Errorf("after %s, the good one: %v", name, err)
		}
	}
}

func TestMetadataFromFileAndDocumentIsCheckedAtOnce(t *testing.T) {
	t.Parallel()
	idp := idptest.NewIDP(idptest.IDPConfig{Base: idpBase, Keys: []idptest.IDPKey{idpKey()}, Now: newClock().now})
	base := saml.Config{ID: "partner", EntityID: entity, ACSURL: acs, Signing: []saml.Key{spKey()}, Now: newClock().now}
	for name, tt := range map[string]struct {
		f    func(c *saml.Config)
		says string
	}{
		"nothing":        {func(c *saml.Config) { c.Metadata = saml.Metadata{} }, "exactly one"},
		"two":            {func(c *saml.Config) { c.Metadata.File = "x" }, "exactly one"},
		"no file":        {func(c *saml.Config) { c.Metadata = saml.Metadata{File: "/nonexistent/idp.xml"} }, "no such file"},
		"an aggregate":   {func(c *saml.Config) { c.Metadata.XML = aggregate(idp.Metadata()) }, "many entities"},
		"another entity": {func(c *saml.Config) { c.IDP = "https://other.example" }, "describes"},
		"plain http":     {func(c *saml.Config) { c.Metadata = saml.Metadata{URL: "http://idp.example/md"} }, "no signer"},
		"no address":     {func(c *saml.Config) { c.Metadata = saml.Metadata{URL: "idp.example"} }, "not an http address"},
		"small pinned key": {func(c *saml.Config) {
			c.Metadata.Certificates = []*x509.Certificate{smallKey().Certificate}
		}, "1024 bits"},
		"no key to sign":       {func(c *saml.Config) { c.Signing = nil }, "a key is needed"},
		"key of another":       {func(c *saml.Config) { c.Signing[0].Certificate = spOlder().Certificate }, "another key"},
		"no certificate":       {func(c *saml.Config) { c.Signing[0].Certificate = nil }, "missing"},
		"ECDSA for decryption": {func(c *saml.Config) { c.Decryption = []saml.Key{spKey()} }, "only RSA"},
		"no entity ID":         {func(c *saml.Config) { c.EntityID = "" }, "entity ID"},
		"no address of ours":   {func(c *saml.Config) { c.ACSURL = "/acs" }, "not an address"},
		"http address of ours": {func(c *saml.Config) { c.ACSURL = "http://gate.example/acs" }, "not an https"},
		"logout by javascript": {func(c *saml.Config) { c.SLOURL = "javascript:x" }, "not an address"},
		"unknown binding":      {func(c *saml.Config) { c.Binding = "artifact" }, "not known"},
		"too much skew":        {func(c *saml.Config) { c.Skew = time.Hour }, "differ"},
		"negative values":      {func(c *saml.Config) { c.MaxValues = -1 }, "fewer"},
		"binding not offered": {func(c *saml.Config) {
			c.Binding = saml.Post
			c.Metadata.XML = bytes.ReplaceAll(c.Metadata.XML, []byte("HTTP-POST"), []byte("SOAP"))
		}, "offers no"},
		"signing is wanted": {func(c *saml.Config) {
			c.InsecureUnsignedRequests = true
			c.Metadata.XML = bytes.Replace(c.Metadata.XML, []byte(`Signed="false"`), []byte(`Signed="true"`), 1)
		}, "wants signed"},
	} {
		c := base
		c.Signing = []saml.Key{spKey()}
		c.Metadata = saml.Metadata{XML: idp.Metadata()}
		if _, err := saml.New(c); err != nil {
			t.Fatalf("positive control: %v", err)
		}
		tt.f(&c)
		if _, err := saml.New(c); err == nil || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %v, want something of %q", name, err, tt.says)
		}
	}
	// A document at hand may be without an end; one from an address only if
	// that is allowed.
	endless := bytes.Replace(idp.Metadata(), []byte("validUntil"), []byte("x"), 1)
	c := base
	c.Metadata = saml.Metadata{XML: endless}
	p, err := saml.New(c)
	if err != nil {
		t.Fatal(err)
	}
	if got := p.ErrorURL(); got != idpBase+"/error" {
		t.Errorf("ErrorURL = %q", got)
	}
	w, s := fromURL(t, func(c *saml.Config, _ *idptest.IDPConfig) { c.Metadata.InsecureNoValidUntil = true })
	s.gives(endless)
	w.accepted(t, idptest.IDPFault{})
	// Once it has ended, a document at hand is of no use.
	c.Metadata = saml.Metadata{XML: idp.Metadata()}
	late := newClock()
	c.Now = late.now
	if p, err = saml.New(c); err != nil {
		t.Fatal(err)
	}
	late.advance(8 * 24 * time.Hour)
	_, _, err = p.Begin(t.Context(), federation.Login{})
	isRefusal(t, federation.Identity{}, err, federation.ReasonUnavailable)
}
