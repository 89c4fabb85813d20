package gateway

import (
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/gatehouse-sso/gatehouse/web"
)

// maxForm bounds the body of anything posted to the gateway itself: a SAML
// answer of 1 MiB, and what base64 and form encoding make of it.
const maxForm = 2 << 20

// bodyTime is how long a client may take to send a body to the gateway itself.
const bodyTime = 30 * time.Second

// ours serves what is below /.gatehouse/ on every host: it never reaches a
// service. Signing in and out is done on the gateway's own host; the other
// hosts send the browser there.
func (v *visit) ours(rest string) {
	v.r.Body = http.MaxBytesReader(v.w, v.r.Body, maxForm)
	_ = http.NewResponseController(v.w).SetReadDeadline(time.Now().Add(bodyTime)) // not every writer has one
	get, post := v.r.Method == http.MethodGet || v.r.Method == http.MethodHead, v.r.Method == http.MethodPost
	home := v.host == v.g.host
	at := func(path string, ok bool) bool {
		if rest != path {
			return false
		}
		if !ok {
			v.refuse(refusal{code: ReasonMethod, detail: v.r.Method + " " + v.path})
			rest = ""
		}
		return ok
	}
	asset, isAsset := strings.CutPrefix(rest, "assets/")
	provider := v.g.callbacks[rest]
	switch {
	case isAsset && get:
		r := v.r.Clone(v.r.Context())
		r.URL.Path = "/.gatehouse/assets/" + asset
		v.g.assets.ServeHTTP(v.w, r)
	case at("session", get):
		v.redeem()
	case at("jwks.json", get):
		v.jwks()
	case at("language", get):
		v.g.language.ServeHTTP(v.w, v.r)
	case !home && (rest == "login" || rest == "logout"):
		v.toHome(rest)
	case !home:
		v.unknown(rest)
	case at("login", get):
		v.login()
	case at("logout", get || post):
		v.logout()
	case provider != nil && (get || post):
		v.finish(provider)
	case strings.HasSuffix(rest, "/metadata") && get:
		v.metadata(rest)
	default:
		v.unknown(rest)
	}
}

// unknown ends a visit to an address of ours that there is not, unless it has
// been answered.
func (v *visit) unknown(rest string) {
	if rest != "" {
		v.refuse(refusal{code: ReasonPathUnknown, detail: "nothing of ours is at " + v.path})
	}
}

// toHome sends the browser from a service's host to the gateway's.
func (v *visit) toHome(rest string) {
	back := v.g.origin(v.host) + "/"
	if ret := v.r.URL.Query().Get("return"); rest == "login" && ret != "" {
		back = v.g.destination(ret).url
	}
	v.redirect(v.g.c.Public.String() + "/.gatehouse/" + rest + "?" + url.Values{"return": {back}}.Encode())
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

func (v *visit) metadata(rest string) {
	for _, p := range v.g.providers {
		if p.Metadata == nil || "saml/"+p.ID+"/metadata" != rest {
			continue
		}
		doc, err := p.Metadata()
		if err != nil {
			v.refuse(err)
			return
		}
		h := v.w.Header()
		h.Set("Content-Type", "application/samlmetadata+xml")
		h.Set("X-Content-Type-Options", "nosniff")
		_, _ = v.w.Write(doc)
		return
	}
	v.unknown(rest)
}

// logout asks, and at a POST of the same origin ends the session on every host.
func (v *visit) logout() {
	if err := v.recall(); err != nil {
		v.refuse(err)
		return
	}
	again := v.g.c.Public.String() + "/"
	if v.session == nil {
		v.answer(http.StatusOK, "", web.SignedOut{AgainURL: again})
		return
	}
	if v.r.Method != http.MethodPost {
		v.answer(http.StatusOK, "", web.Confirm{
			Who: web.Who{Name: v.name(), Provider: v.providerTitle()}, From: v.g.allTitles(),
			Action: "/.gatehouse/logout", BackURL: v.g.destination(v.r.URL.Query().Get("return")).url,
		})
		return
	}
	if err := sameOrigin.Check(v.r); err != nil || !v.originIsOurs() {
		v.refuse(refusal{code: ReasonCrossSite, detail: "sign-out asked for by another site"})
		return
	}
	g, err := v.g.c.Sessions.Get(v.r, v.host)
	if err == nil {
		g.Options.MaxAge = -1
		err = g.Save(v.r, v.w)
	}
	if err != nil {
		v.refuse(err)
		return
	}
	v.answer(http.StatusOK, "", web.SignedOut{From: v.g.allTitles(), NotFrom: []string{v.providerTitle()}, AgainURL: again})
}

// sameOrigin refuses what browsers mark as another site's doing.
var sameOrigin = http.NewCrossOriginProtection()

// originIsOurs is for browsers that send an Origin but no Sec-Fetch-Site.
func (v *visit) originIsOurs() bool {
	o := v.r.Header["Origin"]
	return len(o) == 0 || len(o) == 1 && o[0] == v.g.origin(v.host)
}

// allTitles names what a session of this gateway opens.
func (g *Gateway) allTitles() (list []string) {
	for _, s := range g.c.Services {
		list = append(list, s.Title)
	}
	return list
}
