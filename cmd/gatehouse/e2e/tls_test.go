//go:build e2e

package e2e

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/network"

	"github.com/gatehouse-sso/gatehouse/cmd/gatehouse/porttest"
	"github.com/gatehouse-sso/gatehouse/federation/idptest"
)

// elsewhere is a gateway behind TLS on gate.test, with a SAML identity
// provider on another site, idp.other.test: what it posts comes cross-site.
func elsewhere(t *testing.T) *gate {
	t.Helper()
	dir := t.TempDir()
	pair := site.issue(t, dir, "gate.test", "*.gate.test", "idp.other.test")
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	idp := idptest.NewIDP(idptest.IDPConfig{
		Base: fmt.Sprintf("https://idp.other.test:%d", ln.Addr().(*net.TCPAddr).Port), Title: partner,
		People: idptest.Partner(), RequireSigned: true, Encryption: idptest.IDPEncryption{Data: idptest.IDPAES256, Key: idptest.IDPOAEP11, Digest: idptest.IDPSHA256},
	})
	srv := &http.Server{Handler: idp.Handler(), TLSConfig: &tls.Config{Certificates: []tls.Certificate{pair}}, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = srv.ServeTLS(ln, "", "") }() // until Close
	t.Cleanup(func() { _ = srv.Close() })
	write(t, dir, "idp.xml", string(idp.Metadata()))

	port := porttest.Free(t, 2)
	config := write(t, dir, "gatehouse.yaml", fmt.Sprintf(`version: 1
server: { listen: "127.0.0.1:%d", public_url: "https://gate.test:%d", admin_listen: "127.0.0.1:%d", tls: { cert: cert.pem, key: key.pem } }
store: bolt:./gatehouse.db
identity_providers:
  - id: partner
    title: Partner University
    saml: { metadata: { file: idp.xml }, binding: post }
    attributes: { mail: mail, display_name: displayName }
    provisioning: { mode: async, user_name: 'claims.eduPersonPrincipalName[0].split("@")[0]' }
%s`, port, port, port+1, wikiService(t, "gate.test")))
	g := &gate{scheme: "https", domain: "gate.test", port: port, config: config}
	g.restart(t)
	client := g.client()
	resp, err := client.Get(g.at("", "/.gatehouse/saml/partner/metadata"))
	if err != nil {
		t.Fatal(err)
	}
	if err := idp.Trust(body(t, resp)); err != nil {
		t.Fatal(err)
	}
	return g
}

func TestSAMLFromAnotherSiteOverTLS(t *testing.T) {
	t.Parallel()
	for name, scripts := range map[string]bool{"with scripts": true, "without": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, p := elsewhere(t), newPerson(t, scripts)
			p.open(g.at("wiki", "/report?x=1"))
			if !scripts { // the gateway's own form, which posts to the provider
				p.sees(partner)
				p.press("Continue")
			}
			p.sees("Dana Okafor")
			flow := p.cookie(g.at("", "/"), "__Host-gatehouse-login-")
			if flow.SameSite != network.CookieSameSiteNone || !flow.Secure || !flow.HTTPOnly {
				t.Errorf("the cookie of the sign-in: SameSite=%s Secure=%t HttpOnly=%t", flow.SameSite, flow.Secure, flow.HTTPOnly)
			}
			p.press("Dana")
			if !scripts {
				p.press("Continue")
			}
			p.at(g.at("wiki", "/report?x=1"))
			p.received(g.at("wiki", "/headers")).header(t, "X-Forwarded-User", "dana")
			for _, host := range []string{"", "wiki"} {
				all := p.cookies(g.at(host, "/"))
				ck := all["__Host-gatehouse"]
				if ck == nil {
					t.Fatalf("no session cookie at %s among %v", g.at(host, "/"), all)
				}
				if ck.SameSite != network.CookieSameSiteLax || !ck.Secure || !ck.HTTPOnly || ck.Path != "/" || ck.Domain != strings.TrimPrefix(host+".gate.test", ".") {
					t.Errorf("session cookie at %q: %+v", host, *ck)
				}
				for name := range all {
					if strings.HasPrefix(name, "__Host-gatehouse-login-") {
						t.Errorf("%s is still there after the sign-in", name)
					}
				}
			}
		})
	}
}

// An answer without the cookie of the sign-in that asked for it is refused:
// somebody else's browser could have asked. That a cookie which is not
// SameSite=None does not come along shows that this would be noticed.
func TestAnAnswerFromAnotherSiteWithoutItsFlowIsRefused(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		do   func(p *person, g *gate, flow *network.Cookie)
		ok   bool
	}{
		{"as it is", func(*person, *gate, *network.Cookie) {}, true},
		{"taken away", func(p *person, g *gate, flow *network.Cookie) {
			call(p, network.DeleteCookies, network.DeleteCookiesParams{Name: flow.Name, URL: g.at("", "/")})
		}, false},
		{"SameSite=Lax", func(p *person, g *gate, flow *network.Cookie) {
			yes := true
			call(p, network.SetCookie, network.SetCookieParams{Name: flow.Name, Value: flow.Value, URL: g.at("", "/"), Path: "/", Secure: &yes, HTTPOnly: &yes, SameSite: network.CookieSameSiteLax})
		}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			g, p := elsewhere(t), newPerson(t, false)
			p.open(g.at("wiki", "/report"))
			p.press("Continue")
			p.press("Dana")
			p.sees("sends you back")
			c.do(p, g, p.cookie(g.at("", "/"), "__Host-gatehouse-login-"))
			p.press("Continue")
			if c.ok {
				p.at(g.at("wiki", "/report"))
				return
			}
			v := p.sees("Support code")
			if v.Status != 400 {
				t.Errorf("status %d, want 400", v.Status)
			}
			g.found(t, v, "login.state_unknown")
			if p.cookies(g.at("", "/"))["__Host-gatehouse"] != nil {
				t.Error("there is a session all the same")
			}
		})
	}
}
