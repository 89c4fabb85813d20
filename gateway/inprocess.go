package gateway

import (
	"net/http"
	"time"

	"github.com/gatehouse-sso/gatehouse/authz"
	"github.com/gatehouse-sso/gatehouse/gateway/session"
	"github.com/gatehouse-sso/gatehouse/web"
)

// inProcess serves a service that lives in this process: it gets the person,
// with roles, and their session in the request's context instead of in headers,
// and may render what it likes. Its unsafe requests must come from its own origin.
func (v *visit) inProcess(r *http.Request) {
	changes := r.Method != http.MethodGet && r.Method != http.MethodHead && r.Method != http.MethodOptions
	if changes && !v.fromHere() {
		v.refuse(refusal{code: ReasonCrossSite, detail: "posted by another site"})
		return
	}
	_ = http.NewResponseController(v.w).SetReadDeadline(time.Now().Add(bodyTime)) // not every writer has one
	who, err := v.who.subject(r.Context())
	if err != nil {
		v.refuse(refusal{code: ReasonStore, detail: "load user: " + err.Error()})
		return
	}
	ctx := authz.WithSubject(r.Context(), *who)
	if v.session != nil {
		row, err := v.row()
		if err != nil {
			v.refuse(err)
			return
		}
		ctx = session.WithCurrent(ctx, row)
	}
	r = r.Clone(ctx)
	// Of cookies it sees the language alone.
	lang, err := r.Cookie(web.LanguageCookie)
	delete(r.Header, "Cookie")
	if err == nil {
		r.AddCookie(lang)
	}
	if !v.service.KeepAuthorization {
		delete(r.Header, "Authorization")
	}
	r.Header["X-Forwarded-For"] = []string{v.from.String()}
	r.URL.Path, r.URL.RawPath = v.path, ""
	v.service.Handler.ServeHTTP(v.w, r)
	if changes {
		v.g.people.forget(who.ID) // the next request sees what they changed about themselves
	}
}

var _ http.Handler = (*Gateway)(nil)
