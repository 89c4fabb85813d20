package gateway

import (
	"errors"
	"net/http"
	"net/url"

	"github.com/gatehouse-sso/gatehouse/authz"
	"github.com/gatehouse-sso/gatehouse/gateway/session"
	"github.com/gatehouse-sso/gatehouse/provisioning/store"
	"github.com/gatehouse-sso/gatehouse/web"
)

// The way in that depends on no policy and no identity provider:
//
//	gatehouse admin recover ── hash of a code into the store
//	GET /recover?code=…     ── a page with a button; nothing is looked up or changed
//	POST /recover           ── the code is spent and a session begins, both or neither
//
// What looks at links before people do, mail filters and browsers that prefetch,
// sends no forms. The session is good for pages of ours on the gateway's own host
// and nothing else.

// recoverer is the person of such a session, as policy sees them: somebody of
// whom nothing is known.
func recoverer() *authz.Subject {
	return &authz.Subject{ID: session.Recovery, UserName: session.Recovery, Active: true}
}

// recoverAccess is GET and POST /.gatehouse/recover.
func (v *visit) recoverAccess() {
	if v.r.Method != http.MethodPost {
		codes := v.r.URL.Query()["code"]
		if len(codes) != 1 || codes[0] == "" || len(codes[0]) > maxRecoveryCode {
			v.refuse(refusal{code: ReasonParameters, detail: "the link has no code, or several"})
			return
		}
		v.answer(http.StatusOK, "", web.Recover{Action: "/.gatehouse/recover", Fields: url.Values{"code": codes}})
		return
	}
	if !v.fromHere() {
		v.refuse(refusal{code: ReasonCrossSite, detail: "a way in asked for by a page of another site"})
		return
	}
	if err := v.r.ParseForm(); err != nil {
		v.refuse(refusal{code: ReasonParameters, detail: "the form can not be read"})
		return
	}
	gs, err := v.g.c.Sessions.New(v.r, v.host)
	if err != nil {
		v.refuse(refusal{code: ReasonStore, detail: "read session: " + err.Error()})
		return
	}
	cookie, err := v.g.c.Sessions.Recover(v.r.Context(), v.r.PostForm.Get("code"), v.host, gs.ID, v.code(), func(tx store.Tx) error {
		return v.g.c.Recovered(tx, v.code(), v.from.String())
	})
	if errors.Is(err, session.ErrRecovery) {
		v.refuse(refusal{code: ReasonRecovery, detail: "a code that was used, is too old or was never made"})
		return
	}
	if err != nil {
		v.refuse(refusal{code: ReasonStore, detail: "spend the code: " + err.Error()})
		return
	}
	http.SetCookie(v.w, v.g.c.Sessions.Cookie(cookie))
	v.form = true
	v.arrive(v.g.destination("/.gatehouse/admin/").url)
}

// maxRecoveryCode bounds what a page gives back, in bytes.
const maxRecoveryCode = 100

// ours reports whether this is a page of ours on the gateway's own host.
func (g *Gateway) ours(s *service) bool { return s != nil && s.Handler != nil && s.Host == g.host }
