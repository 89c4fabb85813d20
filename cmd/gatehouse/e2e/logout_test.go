//go:build e2e

package e2e

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-sso/gatehouse/cmd/gatehouse/porttest"
)

// ended waits until the record says why sessions ended, so many times.
func (g *gate) ended(t testing.TB, reason string, times int) {
	t.Helper()
	out := ""
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if out = g.verb(t, "audit", "--kind", "session.ended"); strings.Count(out, reason) == times {
			return
		}
	}
	t.Errorf("%d sessions should have ended with %s:\n%s", times, reason, out)
}

// What a sign-out's last page says when the identity provider has said that its
// session is over too.
const overThere = "Peer says that your session there has ended too."

// oidcProvider starts one that signs people out, and a gateway that knows it.
func oidcProvider(t *testing.T) (g *gate, base string) {
	t.Helper()
	port, idp := porttest.Free(t, 2), porttest.Free(t, 1)
	ours := fmt.Sprintf("http://localhost:%d/.gatehouse/", port)
	node(t, "oidc-provider.mjs", fmt.Sprint("PORT=", idp), "CALLBACK="+ours+"oidc/peer/callback", "SIGNED_OUT="+ours+"signed-out", "BACKCHANNEL="+ours+"oidc/peer/backchannel-logout")
	base = fmt.Sprintf("http://localhost:%d", idp)
	return peerGate(t, port, fmt.Sprintf(`    oidc: { issuer: "%s", client_id: gatehouse, client_secret: { file: "%s" }, scopes: [openid, profile, email, groups], userinfo: true }
    attributes: { mail: email }
    provisioning: { mode: async, user_name: preferred_username }`, base, write(t, t.TempDir(), "secret", "a-secret-for-tests-alone"))), base
}

// signsInAtOIDCProvider goes through its two forms.
func (p *person) signsInAtOIDCProvider(g *gate, who string) {
	p.t.Helper()
	p.open(g.at("wiki", "/report"))
	p.sees("Sign-in")
	p.types("login", who).types("password", "any")
	p.press("Sign-in")
	p.press("Continue")
	p.at(g.at("wiki", "/report"))
}

// Who signs out here and there is signed out at oidc-provider too, which asks first,
// comes back, and does not know them any more.
func TestPeerOIDCProviderIsSignedOutOf(t *testing.T) {
	t.Parallel()
	for name, scripts := range map[string]bool{"with scripts": true, "without": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, _ := oidcProvider(t)
			p := newPerson(t, scripts)
			p.signsInAtOIDCProvider(g, "ada")
			p.open(g.at("", "/.gatehouse/logout"))
			p.press("Sign out here and at Peer")
			p.press("Yes, sign me out")
			p.sees("You are signed out", overThere)
			p.open(g.at("wiki", "/report"))
			p.sees("Sign-in")
		})
	}
}

// Who signs out at oidc-provider is signed out here, by the word that it sends behind
// the browser's back; nobody else is.
func TestPeerOIDCProviderEndsSessionsByItsBackChannel(t *testing.T) {
	t.Parallel()
	g, base := oidcProvider(t)
	ada, bob := newPerson(t, true), newPerson(t, true)
	ada.signsInAtOIDCProvider(g, "ada")
	bob.signsInAtOIDCProvider(g, "bob")
	ada.open(base + "/session/end")
	ada.press("Yes, sign me out")
	g.ended(t, "session.signed_out_at_provider", 1)
	ada.open(g.at("wiki", "/report"))
	ada.sees("Sign-in")
	bob.received(g.at("wiki", "/headers")).header(t, "X-Forwarded-User", "bob")
}

// Who signs out here and there is signed out at SimpleSAMLphp too, which checks our
// signature and signs its answer.
func TestPeerSimpleSAMLphpIsSignedOutOf(t *testing.T) {
	t.Parallel()
	for name, scripts := range map[string]bool{"with scripts": true, "without": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, _ := simpleSAMLphp(t, "SIGN=both")
			p := newPerson(t, scripts)
			adaSignsIn(p, g)
			p.at(g.at("wiki", "/report?x=1"))
			p.open(g.at("", "/.gatehouse/logout"))
			p.press("Sign out here and at Peer")
			p.sees("You are signed out", overThere)
			p.open(g.at("wiki", "/report"))
			p.sees("Username")
		})
	}
}

// Who signs out at SimpleSAMLphp is signed out here by the request that it signs, and
// goes back there with our answer, of which it checks the signature.
func TestPeerSimpleSAMLphpSignsPeopleOut(t *testing.T) {
	t.Parallel()
	g, base := simpleSAMLphp(t, "SIGN=both")
	p := newPerson(t, true)
	adaSignsIn(p, g)
	p.at(g.at("wiki", "/report?x=1"))
	back := base + "/module.php/core/frontpage_welcome.php?signed-out"
	p.open(base + "/saml2/idp/initSLO.php?RelayState=" + url.QueryEscape(back))
	p.at(back)
	g.ended(t, "session.signed_out_at_provider", 1)
	p.open(g.at("wiki", "/report"))
	p.sees("Username")
}

// A request of SimpleSAMLphp that somebody changed ends nothing.
func TestPeerSimpleSAMLphpLogoutRequestThatSomebodyChangedIsRefused(t *testing.T) {
	t.Parallel()
	g, base := simpleSAMLphp(t, "SIGN=both")
	p := newPerson(t, true)
	adaSignsIn(p, g)
	p.at(g.at("wiki", "/report?x=1"))
	stop := p.meddles("*/.gatehouse/saml/peer/slo*", func(to string, form url.Values) (string, url.Values) {
		return strings.Replace(to, "RelayState=", "RelayState=x", 1), form
	})
	p.open(base + "/saml2/idp/initSLO.php?RelayState=" + url.QueryEscape(base+"/index.php?signed-out"))
	g.found(t, p.sees("Support code"), "saml.signature")
	stop()
	p.received(g.at("wiki", "/headers")).header(t, "X-Forwarded-User", "ada")
}
