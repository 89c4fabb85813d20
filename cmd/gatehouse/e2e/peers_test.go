//go:build e2e

package e2e

import (
	"bytes"
	"compress/flate"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"embed"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"io/fs"
	"math/big"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-sso/gatehouse/cmd/gatehouse/porttest"
)

//go:embed peers/*.mjs peers/*.cjs peers/simplesamlphp peers/sftp peers/slapd
var peerFiles embed.FS

// node runs a program of peers/ beside the modules that run.sh installed.
func node(t testing.TB, script string, env ...string) *process {
	t.Helper()
	installed, err := modules()
	if err != nil {
		t.Fatal(err)
	}
	raw, err := peerFiles.ReadFile("peers/" + script)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	path := write(t, dir, script, string(raw))
	if err := os.Symlink(installed, filepath.Join(dir, "node_modules")); err != nil {
		t.Fatal(err)
	}
	name := os.Getenv("GATEHOUSE_E2E_NODE")
	if name == "" {
		name = "node"
	}
	cmd := exec.Command(name, path)
	cmd.Env = append(os.Environ(), env...)
	return start(t, "ready", cmd)
}

// A pair is an RSA key with a certificate, as files.
type pair struct{ dir, cert, key string }

func newPair(t testing.TB, name string) pair {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(1, 0, 0)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	return pair{dir,
		write(t, dir, "server.crt", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))),
		write(t, dir, "server.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw}))),
	}
}

// peerGate is a gateway with one identity provider, called peer.
func peerGate(t testing.TB, port int, provider string) *gate {
	t.Helper()
	return serveIn(t, t.TempDir(), port, fmt.Sprintf(`identity_providers:
  - id: peer
    title: Peer
%s
%s`, provider, wikiService(t, "localhost")))
}

// metadataOf fetches an identity provider's metadata into a file. None of the
// peers says in it how long it is valid, and what is fetched again and again
// must.
func metadataOf(t testing.TB, from string) string {
	t.Helper()
	resp, err := http.Get(from)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s\n%s", from, resp.Status, body(t, resp))
	}
	return write(t, t.TempDir(), "idp.xml", string(body(t, resp)))
}

func TestPeerOIDCProvider(t *testing.T) {
	t.Parallel()
	port, idp := porttest.Free(t, 2), porttest.Free(t, 1)
	callback := fmt.Sprintf("http://localhost:%d/.gatehouse/oidc/peer/callback", port)
	node(t, "oidc-provider.mjs", fmt.Sprint("PORT=", idp), "CALLBACK="+callback)
	secret := write(t, t.TempDir(), "secret", "a-secret-for-tests-alone")
	g := peerGate(t, port, fmt.Sprintf(`    oidc: { issuer: "http://localhost:%d", client_id: gatehouse, client_secret: { file: "%s" }, scopes: [openid, profile, email, groups], userinfo: true }
    attributes: { mail: email, display_name: name, groups: groups }
    provisioning: { mode: async, user_name: preferred_username }`, idp, secret))
	login := func(t *testing.T, p *person, who string) {
		p.open(g.at("wiki", "/report?x=1"))
		p.sees("Sign-in")
		p.types("login", who).types("password", "any")
		p.press("Sign-in")
		p.sees("Authorize")
		p.press("Continue")
	}
	for name, scripts := range map[string]bool{"with scripts": true, "without": false} {
		t.Run(name, func(t *testing.T) {
			p := newPerson(t, scripts)
			login(t, p, "ada")
			p.at(g.at("wiki", "/report?x=1"))
			e := p.received(g.at("wiki", "/headers"))
			e.header(t, "X-Forwarded-User", "ada")
			e.header(t, "X-Forwarded-Email", "ada@peer.example")
			e.header(t, "X-Forwarded-Groups", "math,staff")
		})
	}
	t.Run("an answer that names another issuer is refused", func(t *testing.T) {
		p := newPerson(t, true)
		p.meddles("*/.gatehouse/oidc/peer/callback*", func(to string, form url.Values) (string, url.Values) {
			u, err := url.Parse(to)
			if err != nil {
				return to, form
			}
			q := u.Query()
			q.Set("iss", "http://other.example")
			u.RawQuery = q.Encode()
			return u.String(), form
		})
		login(t, p, "bob")
		g.found(t, p.sees("Support code"), "oidc.iss_param")
	})
}

func TestPeerSamlp(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, sign string
		encrypt    bool
		reason     string // empty: accepted
	}{
		{"signed assertion", "assertion", false, ""},
		{"signed response and assertion", "both", false, ""},
		{"signed assertion, encrypted with AES-256-GCM", "assertion", true, ""},
		{"signed response and assertion, encrypted with AES-256-GCM", "both", true, ""},
		// What is in the assertion has to be vouched for where it stands.
		{"signed response alone", "response", false, "saml.signature_missing"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			port, idp, theirs, ours := porttest.Free(t, 2), porttest.Free(t, 1), newPair(t, "samlp"), newPair(t, "gatehouse")
			to := ""
			if c.encrypt {
				to = ours.cert
			}
			node(t, "samlp.cjs", fmt.Sprint("PORT=", idp), fmt.Sprintf("ACS=http://localhost:%d/.gatehouse/saml/peer/acs", port),
				"CERT="+theirs.cert, "KEY="+theirs.key, "ENCRYPT_TO="+to, "SIGN="+c.sign)
			g := peerGate(t, port, fmt.Sprintf(`    saml:
      metadata: { file: "%s" }
      keys: [ { certificate: { file: "%s" }, key: { file: "%s" } } ]
      subject: nameid:unspecified
    attributes:
      mail: http://schemas.xmlsoap.org/ws/2005/05/identity/claims/emailaddress
      display_name: http://schemas.xmlsoap.org/ws/2005/05/identity/claims/name
    provisioning: { mode: async, user_name: http://schemas.xmlsoap.org/ws/2005/05/identity/claims/nameidentifier }`, metadataOf(t, fmt.Sprintf("http://localhost:%d/metadata", idp)), ours.cert, ours.key))
			p, sent := newPerson(t, true), make(chan string, 1)
			p.meddles("*/.gatehouse/saml/peer/acs", func(to string, form url.Values) (string, url.Values) {
				raw, _ := base64.StdEncoding.DecodeString(form.Get("SAMLResponse")) // empty shows below
				sent <- string(raw)
				return to, form
			})
			p.open(g.at("wiki", "/report?x=1"))
			if c.reason != "" {
				g.found(t, p.sees("Support code"), c.reason)
			} else {
				p.at(g.at("wiki", "/report?x=1"))
				e := p.received(g.at("wiki", "/headers"))
				e.header(t, "X-Forwarded-User", "ada")
				e.header(t, "X-Forwarded-Email", "ada@peer.example")
			}
			if was := strings.Contains(<-sent, "http://www.w3.org/2009/xmlenc11#aes256-gcm"); was != c.encrypt {
				t.Errorf("encrypted with AES-256-GCM: %t, want %t", was, c.encrypt)
			}
		})
	}
}

// simpleSAMLphp starts one and a gateway that knows it, and lets them know
// each other by their metadata.
func simpleSAMLphp(t testing.TB, env ...string) (g *gate, base string) {
	t.Helper()
	port, idp, keys := porttest.Free(t, 2), porttest.Free(t, 1), newPair(t, "simplesamlphp")
	config := t.TempDir()
	sub, err := fs.Sub(peerFiles, "peers/simplesamlphp")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(config, sub); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(keys.dir, "tmp"), 0o700); err != nil {
		t.Fatal(err)
	}
	base = fmt.Sprintf("http://localhost:%d", idp)
	cmd := exec.Command("php", "-d", "variables_order=EGPCS", "-S", fmt.Sprintf("127.0.0.1:%d", idp), "-t", "/usr/share/simplesamlphp/www")
	cmd.Env = append(os.Environ(), "SIMPLESAMLPHP_CONFIG_DIR="+filepath.Join(config, "config"), "SSP_BASE="+base, "SSP_HOME="+keys.dir)
	cmd.Env = append(cmd.Env, env...)
	start(t, "started", cmd)
	g = peerGate(t, port, fmt.Sprintf(`    saml: { metadata: { file: "%s" } }
    attributes: { mail: mail, display_name: displayName }
    provisioning: { mode: async, user_name: uid }`, metadataOf(t, base+"/saml2/idp/metadata.php")))
	resp, err := g.client().Get(g.at("", "/.gatehouse/saml/peer/metadata"))
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("our metadata: %s", resp.Status)
	}
	write(t, keys.dir, "sp.xml", string(body(t, resp)))
	return g, base
}

// adaSignsIn at SimpleSAMLphp's own page.
func adaSignsIn(p *person, g *gate) {
	p.t.Helper()
	p.open(g.at("wiki", "/report?x=1"))
	p.sees("Username")
	p.types("username", "ada").types("password", "ada")
	p.press("Login")
	if !p.scripts {
		p.press("Submit")
	}
}

func TestPeerSimpleSAMLphp(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		env     []string
		scripts bool
		reason  string // empty: accepted
	}{
		{"signed response and assertion", []string{"SIGN=both"}, true, ""},
		{"signed response and assertion, without scripts", []string{"SIGN=both"}, false, ""},
		{"signed assertion", []string{"SIGN=assertion"}, true, ""},
		// Our metadata says that we want assertions signed, and it heeds that.
		{"set to sign the response alone", []string{"SIGN=response"}, true, ""},
		// CBC can be decrypted by whoever may ask often enough, and it is all
		// that this version has.
		{"encrypted with AES-CBC", []string{"SIGN=both", "ENCRYPT=1"}, true, "saml.algorithm"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			g, _ := simpleSAMLphp(t, c.env...)
			p := newPerson(t, c.scripts)
			adaSignsIn(p, g)
			if c.reason != "" {
				g.found(t, p.sees("Support code"), c.reason)
				return
			}
			p.at(g.at("wiki", "/report?x=1"))
			e := p.received(g.at("wiki", "/headers"))
			e.header(t, "X-Forwarded-User", "ada")
			e.header(t, "X-Forwarded-Email", "ada@peer.example")
		})
	}
}

// SimpleSAMLphp checks our signature: it takes our request as it is (above),
// and does not when one character differs.
func TestPeerSimpleSAMLphpRefusesARequestThatSomebodyChanged(t *testing.T) {
	t.Parallel()
	g, _ := simpleSAMLphp(t, "SIGN=both")
	p := newPerson(t, true)
	p.meddles("*/saml2/idp/SSOService.php*", func(to string, form url.Values) (string, url.Values) {
		u, err := url.Parse(to)
		if err != nil {
			return to, form
		}
		q := u.Query()
		raw, err := base64.StdEncoding.DecodeString(q.Get("SAMLRequest"))
		if err != nil || len(raw) == 0 {
			return to, form
		}
		xml, err := io.ReadAll(flate.NewReader(bytes.NewReader(raw)))
		if err != nil {
			return to, form
		}
		// Another second, same length: nothing but the signature can tell.
		at := bytes.Index(xml, []byte("IssueInstant=\"")) + len("IssueInstant=\"2026-11-22T01:02:0")
		xml[at] = '0' + (xml[at]-'0'+1)%10
		var packed bytes.Buffer
		w, _ := flate.NewWriter(&packed, flate.BestCompression) // the level is one
		_, _ = w.Write(xml)
		_ = w.Close()
		q.Set("SAMLRequest", base64.StdEncoding.EncodeToString(packed.Bytes()))
		u.RawQuery = q.Encode()
		return u.String(), form
	})
	p.open(g.at("wiki", "/report"))
	v := p.sees("ignature")
	if strings.Contains(v.Text, "Username") {
		t.Errorf("it asks for a password all the same:\n%s", v.Text)
	}
}

// Whoever changes what SimpleSAMLphp said is refused.
func TestPeerSimpleSAMLphpAnswerThatSomebodyChangedIsRefused(t *testing.T) {
	t.Parallel()
	g, _ := simpleSAMLphp(t, "SIGN=both")
	p := newPerson(t, true)
	p.meddles("*/.gatehouse/saml/peer/acs", func(to string, form url.Values) (string, url.Values) {
		raw, err := base64.StdEncoding.DecodeString(form.Get("SAMLResponse"))
		if err == nil && bytes.Contains(raw, []byte(">ada<")) {
			form.Set("SAMLResponse", base64.StdEncoding.EncodeToString(bytes.ReplaceAll(raw, []byte(">ada<"), []byte(">eve<"))))
		}
		return to, form
	})
	adaSignsIn(p, g)
	g.found(t, p.sees("Support code"), "saml.signature")
}
