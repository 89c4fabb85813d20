package gateway

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/gatehouse-sso/gatehouse/federation"
)

// maxForm bounds the body of anything posted to the gateway itself: a SAML
// answer of 1 MiB, and what base64 and form encoding make of it.
const maxForm = 2 << 20

// bodyTime is how long a client may take to send a body to the gateway itself.
const bodyTime = 30 * time.Second

// ours serves what is below /.gatehouse/ on every host: it never reaches a
// service.
func (v *visit) ours(rest string) {
	v.r.Body = http.MaxBytesReader(v.w, v.r.Body, maxForm)
	_ = http.NewResponseController(v.w).SetReadDeadline(time.Now().Add(bodyTime)) // not every writer has one
	switch serve, allow := v.endpoint(rest); {
	case serve == nil:
		v.refuse(refusal{code: ReasonPathUnknown, detail: "nothing of ours is at " + v.path})
	case !strings.Contains(allow, v.r.Method):
		v.w.Header().Set("Allow", allow)
		v.refuse(refusal{code: ReasonMethod, detail: v.r.Method + " " + v.path})
	case v.signsIn(rest) && v.paced():
	default:
		serve()
	}
}

// signsIn reports whether an address of ours is a step of a sign-in. Programs, and
// identity providers that tell of a logout, have limits of their own or none:
// what ends a session must not be lost.
func (v *visit) signsIn(rest string) bool {
	return rest == "login" || rest == "session" || rest == "recover" || v.g.callbacks[rest] != nil
}

// Methods of our endpoints, as in an Allow header.
const (
	reads     = "GET, HEAD"
	posts     = "POST"
	readsPost = "GET, HEAD, POST"
	getPost   = "GET, POST"
)

// endpoint finds what serves an address of ours, and with which methods.
// Signing in and out is done on the gateway's own host; the other hosts send the
// browser there.
func (v *visit) endpoint(rest string) (serve func(), allow string) {
	home := v.host == v.g.host
	provider := v.g.callbacks[rest]
	switch {
	case strings.HasPrefix(rest, "assets/"):
		return v.asset, reads
	case rest == "session":
		return v.redeem, reads
	case rest == "jwks.json":
		return v.jwks, reads
	case rest == "language":
		return func() { v.g.language.ServeHTTP(v.w, v.r) }, reads
	case len(v.g.c.Proxies) > 0 && (rest == "verify" || strings.HasPrefix(rest, "verify/")):
		return func() { v.refuse(refusal{code: ReasonProxy, detail: "asked from " + v.r.RemoteAddr}) }, v.r.Method
	case !home && rest == "login":
		return v.loginAtHome, readsPost
	case !home && rest == "logout":
		return v.logoutAtHome, readsPost
	case !home:
		return nil, ""
	case v.g.program(rest) != nil:
		return func() { v.hand(v.g.program(rest), rest) }, v.r.Method // it says itself which it takes
	case rest == "login":
		return v.login, reads
	case rest == "recover":
		return v.recoverAccess, readsPost
	case rest == "welcome":
		return v.welcome, posts
	case rest == "logout":
		return v.logout, readsPost
	case rest == "signed-out":
		return v.signedOut, reads
	case provider != nil && provider.CrossSite:
		return func() { v.finish(provider) }, posts
	case provider != nil:
		return func() { v.finish(provider) }, reads
	}
	for _, p := range v.g.providers {
		leaver, leaves := p.Provider.(federation.Leaver)
		switch {
		case leaves && rest == "oidc/"+p.ID+"/backchannel-logout" && !p.CrossSite:
			return func() { v.backChannel(p, leaver) }, posts
		case leaves && rest == "saml/"+p.ID+"/slo" && p.CrossSite:
			return func() { v.slo(p, leaver) }, getPost
		}
		if p.Metadata != nil && rest == "saml/"+p.ID+"/metadata" {
			return func() { v.metadata(p) }, reads
		}
	}
	return nil, ""
}

// program finds who serves programs at a path of ours.
func (g *Gateway) program(rest string) http.Handler {
	for prefix, h := range g.c.Own {
		if strings.HasPrefix(rest, prefix) {
			return h
		}
	}
	return nil
}

// hand hands a request over to h. Cookies prove nothing there: a browser sends
// them whoever asked it to. It does the same with a password for Basic that
// somebody once typed, so pages of others are refused; programs never say that
// they are one.
func (v *visit) hand(h http.Handler, rest string) {
	origin, site := v.r.Header["Origin"], v.r.Header.Get("Sec-Fetch-Site")
	if len(origin) > 0 && !v.fromHere() || site != "" && site != "same-origin" && site != "none" {
		v.refuse(refusal{code: ReasonCrossSite, detail: "a program's address, asked for by a page of another site"})
		return
	}
	r := v.r.Clone(v.r.Context())
	delete(r.Header, "Cookie")
	r.Header["X-Forwarded-For"] = []string{v.from.String()}
	r.URL.Path, r.URL.RawPath = "/.gatehouse/"+rest, ""
	h.ServeHTTP(v.w, r)
}

// alias is the path below /.gatehouse/ that an alias on the own host stands for.
func (v *visit) alias() (rest string, ok bool) {
	if v.host != v.g.host {
		return "", false
	}
	for from, to := range v.g.c.Aliases {
		if rest, ok = strings.CutPrefix(v.path, from); ok {
			return to + rest, true
		}
	}
	return "", false
}

func (v *visit) asset() {
	r := v.r.Clone(v.r.Context())
	r.URL.Path = v.path
	v.g.assets.ServeHTTP(v.w, r)
}

// loginAtHome sends the browser from a service's host to the gateway's, to sign in.
func (v *visit) loginAtHome() {
	back := v.g.origin(v.host) + "/"
	if ret := v.r.URL.Query().Get("return"); ret != "" {
		back = v.g.destination(ret).url
	}
	v.toHome("login", url.Values{"return": {back}})
}

// toHome sends the browser to an address of ours on the gateway's own host.
func (v *visit) toHome(rest string, query url.Values) {
	v.redirect(v.g.c.Public.String() + "/.gatehouse/" + rest + "?" + query.Encode())
}

// redirect with a status after which a browser always GETs.
func (v *visit) redirect(to string) {
	v.w.Header().Set("Cache-Control", "no-store")
	v.w.Header().Set("Referrer-Policy", "no-referrer")
	http.Redirect(v.w, v.r, to, http.StatusSeeOther)
}

func (v *visit) jwks() {
	h := v.w.Header()
	h.Set("Content-Type", "application/jwk-set+json")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "public, max-age=300")
	_, _ = v.w.Write(v.g.c.Keys.JWKS())
}

func (v *visit) metadata(p *Provider) {
	doc, err := p.Metadata()
	if err != nil {
		v.refuse(err)
		return
	}
	h := v.w.Header()
	h.Set("Content-Type", "application/samlmetadata+xml")
	h.Set("X-Content-Type-Options", "nosniff")
	_, _ = v.w.Write(doc)
}

// fromHere reports whether a request that changes something was made by a page
// of this very origin. Browsers say so in Sec-Fetch-Site, those from before 2023
// in Origin; whoever says neither is not believed. A page without referrer sends
// "Origin: null" even to its own origin, so that counts only where nothing better
// is said, and then against it.
func (v *visit) fromHere() bool {
	if site := v.r.Header["Sec-Fetch-Site"]; len(site) > 0 {
		return len(site) == 1 && site[0] == "same-origin"
	}
	origin := v.r.Header["Origin"]
	return len(origin) == 1 && origin[0] == v.g.origin(v.host)
}

// allTitles names what a session of this gateway opens.
func (g *Gateway) allTitles() (list []string) {
	for _, s := range g.c.Services {
		if !slices.Contains(list, s.Title) { // our own pages are all called as the gateway is
			list = append(list, s.Title)
		}
	}
	return list
}
