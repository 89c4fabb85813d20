package gateway

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"time"

	"github.com/gatehouse-sso/gatehouse/federation"
	"github.com/gatehouse-sso/gatehouse/gateway/session"
	"github.com/gatehouse-sso/gatehouse/web"
)

// A sign-out ends what is ours first, and then asks the identity provider, if
// the person wants that:
//
//	/logout of a service ── leaving ──▶ /logout ── asks
//	POST /logout ── session ended ──▶ /signed-out             scope=here
//	     └─ Leave ──(browser)──▶ identity provider            scope=provider, everywhere
//	                                  │ its answer
//	        /signed-out ◀─────────────┤ OpenID Connect
//	        /saml/{idp}/slo ◀─────────┘ SAML, then /signed-out
//
// What is known of it by then is in a cookie, and so the last page can say what
// ended and what did not. When a person signs out at the identity provider, that
// one comes by itself, with a message that it has signed:
//
//	/oidc/{idp}/backchannel-logout ◀── identity provider
//	/saml/{idp}/slo ◀── browser ◀───── identity provider; answered the same way

// away is what a browser carries for us while its person signs out, sealed.
type away struct {
	Provider string             `json:"p"`
	Pending  federation.Pending `json:"f"`
	State    string             `json:"s"` // of the identity provider's session: web.Asked …
	Others   int                `json:"n,omitempty"`
	Support  string             `json:"c"`
}

// The values of the field scope: what a person wants ended.
const (
	scopeHere       = "here"
	scopeProvider   = "provider"
	scopeEverywhere = "everywhere"
)

// leaving is what a service's host tells the gateway's own about a sign-out that begins
// there, sealed: by which session it knows the person. The own host may know another in
// this browser, or none. It is good for nothing but to end that session.
type leaving struct {
	Session string    `json:"s"`
	Until   time.Time `json:"u"`
}

// logoutAtHome sends the browser from a service's host to the gateway's, to sign out.
func (v *visit) logoutAtHome() {
	if err := v.recall(); err != nil {
		v.refuse(err)
		return
	}
	query := url.Values{"return": {v.g.origin(v.host) + "/"}}
	if v.session != nil {
		sealed, err := v.g.c.Keys.Seal("leaving", leaving{v.session.ID, v.g.c.Now().Add(awayLife)})
		if err != nil {
			v.refuse(err)
			return
		}
		query.Set("leaving", sealed)
	}
	v.toHome("logout", query)
}

// leaving is the session that logoutAtHome told of, if it lasts and is not the one that
// this host knows itself.
func (v *visit) leaving() (*session.Session, error) {
	var l leaving
	sealed := v.r.FormValue("leaving")
	if sealed == "" || v.g.c.Keys.Open("leaving", sealed, &l) != nil || v.g.c.Now().After(l.Until) || v.session != nil && v.session.ID == l.Session {
		return nil, nil
	}
	s, err := v.g.c.Sessions.Peek(v.r.Context(), l.Session)
	if err != nil && !errors.Is(err, session.ErrNone) {
		return nil, refusal{code: ReasonStore, detail: "look up session: " + err.Error()}
	}
	return s, nil
}

// logout asks, and at a POST of the same origin ends the session on every host.
func (v *visit) logout() {
	err := v.recall()
	there, failed := v.leaving()
	switch {
	case failed != nil:
		v.refuse(failed)
	case err != nil && (there == nil || reasonOf(err) != ReasonCookies): // whoever has two cookies here may have one there
		v.refuse(err)
	case v.session == nil && there == nil:
		v.nobody()
	case v.r.Method != http.MethodPost:
		v.confirm(there)
	case !v.fromHere():
		v.refuse(refusal{code: ReasonCrossSite, detail: "sign-out asked for by another site"})
	default:
		v.signOut(v.r.PostFormValue("scope"), there)
	}
}

// nobody says that no session is known here, so none has ended.
func (v *visit) nobody() {
	v.answer(http.StatusOK, "", web.SignedOut{Nobody: true, AgainURL: v.g.c.Public.String() + "/"})
}

// confirm asks what is to end. Only what can be done is offered.
func (v *visit) confirm(there *session.Session) {
	page := web.Confirm{From: v.g.allTitles(), Action: "/.gatehouse/logout", BackURL: v.g.destination(v.r.URL.Query().Get("return")).url}
	if there != nil {
		page.Fields = url.Values{"leaving": {v.r.FormValue("leaving")}}
	}
	if v.session == nil {
		v.answer(http.StatusOK, "", page)
		return
	}
	page.Who = web.Who{Name: v.name(), Provider: v.providerTitle()}
	row, err := v.row()
	if err != nil {
		v.refuse(err)
		return
	}
	if _, _, err := v.leave(row, scopeProvider); err == nil {
		page.AtProvider = v.providerTitle()
	}
	mine, err := v.g.c.Sessions.Find(v.r.Context(), session.Filter{User: v.session.UserID}, "", 2)
	if err != nil {
		v.refuse(refusal{code: ReasonStore, detail: "look for sessions: " + err.Error()})
		return
	}
	page.Everywhere = len(mine) > 1
	v.answer(http.StatusOK, "", page)
}

// row is all of the session of the visit; what is at hand, if it has just ended.
func (v *visit) row() (*session.Row, error) {
	row, err := v.g.c.Sessions.Row(v.r.Context(), v.session.ID)
	if errors.Is(err, session.ErrNone) {
		return &session.Row{Session: *v.session}, nil
	}
	if err != nil {
		return nil, refusal{code: ReasonStore, detail: "read session: " + err.Error()}
	}
	return &row, nil
}

// leave makes what asks the identity provider of a session to end its own.
func (v *visit) leave(s *session.Row, scope string) (federation.Challenge, federation.Pending, error) {
	p := v.g.providers[s.Provider]
	if p == nil { // nobody's session, or that of one who is gone
		return federation.Challenge{}, federation.Pending{}, federation.ErrNoLogout
	}
	leaver, ok := p.Provider.(federation.Leaver)
	if !ok {
		return federation.Challenge{}, federation.Pending{}, federation.ErrNoLogout
	}
	as := federation.SignedIn{Session: s.ProviderSession}
	if s.LogoutHint != "" {
		if err := v.g.c.Keys.Open("logout", s.LogoutHint, &as.Hint); err != nil {
			return federation.Challenge{}, federation.Pending{}, err
		}
	}
	if scope == scopeEverywhere {
		as.Session = ""
	}
	return leaver.Leave(v.r.Context(), as)
}

// signOut ends the session, or with scopeEverywhere all of the person, and then
// asks the identity provider, unless the person wants it to end here only. First it ends
// the one by which a service knows them, if that is another.
func (v *visit) signOut(scope string, there *session.Session) {
	if there != nil {
		if err := v.g.c.Sessions.End(v.r.Context(), there.ID, session.ReasonSignedOut); err != nil {
			v.refuse(refusal{code: ReasonStore, detail: "end session: " + err.Error()})
			return
		}
	}
	if v.session == nil {
		v.farewell(away{Provider: there.Provider, State: web.Kept, Support: v.code()})
		return
	}
	title := v.providerTitle()
	s, err := v.row()
	if err != nil {
		v.refuse(err)
		return
	}
	out := away{Provider: s.Provider, State: web.Kept, Support: v.code()}
	gs, err := v.g.c.Sessions.Get(v.r, v.host)
	if err == nil && scope == scopeEverywhere { // the others first: what fails can be asked for again with this one
		out.Others, err = v.g.c.Sessions.EndAll(v.r.Context(), session.Filter{User: s.UserID, Except: s.ID}, session.ReasonEverywhere)
	}
	if err == nil {
		gs.Options.MaxAge = -1
		err = gs.Save(v.r, v.w)
	}
	if err != nil {
		v.refuse(refusal{code: ReasonStore, detail: "end session: " + err.Error()})
		return
	}
	v.session = nil
	if scope != scopeProvider && scope != scopeEverywhere {
		v.farewell(out)
		return
	}
	challenge, pending, err := v.leave(s, scope)
	if err != nil {
		v.noteAt(s.Provider, "logout.not_asked", reasonOf(err), err)
		out.State = web.CanNot
		v.farewell(out)
		return
	}
	out.State, out.Pending = web.Asked, pending
	if err := v.carry(out); err != nil {
		v.refuse(err)
		return
	}
	if challenge.Form != nil {
		v.answer(http.StatusOK, "", web.PostForm{Action: challenge.URL.String(), Fields: challenge.Form, To: title})
		return
	}
	v.answer(http.StatusOK, "", web.GoOn{URL: challenge.URL.String(), To: title})
}

// awayLife is how long a browser keeps what is known of a sign-out.
const awayLife = 10 * time.Minute

// carry gives the browser what is known of a sign-out.
func (v *visit) carry(out away) error {
	sealed, err := v.g.c.Keys.Seal("away", out)
	if err != nil {
		return err
	}
	ck := v.g.c.Cookie.Make("away", sealed)
	ck.MaxAge = int(awayLife.Seconds())
	if p := v.g.providers[out.Provider]; p.CrossSite && ck.Secure {
		ck.SameSite = http.SameSiteNoneMode // answers by POST need it too
	}
	http.SetCookie(v.w, ck)
	return nil
}

// carried is what carry gave; the zero value if there is none.
func (v *visit) carried() (out away) {
	ck, err := v.r.Cookie(v.g.c.Cookie.Name("away"))
	if err != nil || v.g.c.Keys.Open("away", ck.Value, &out) != nil || v.g.providers[out.Provider] == nil {
		return away{}
	}
	return out
}

// signedOut is where a sign-out ends: the page that says what ended. A provider
// that says so by a state comes here itself.
func (v *visit) signedOut() {
	out := v.carried()
	if out.Provider == "" {
		if err := v.recall(); err != nil {
			v.refuse(err)
		} else if v.session != nil {
			v.redirect(v.g.c.Public.String() + "/.gatehouse/logout")
		} else {
			v.nobody()
		}
		return
	}
	p := v.g.providers[out.Provider]
	if leaver, ok := p.Provider.(federation.Leaver); ok && out.State == web.Asked && !p.CrossSite {
		v.support = out.Support
		if err := leaver.Left(v.r, out.Pending); err != nil {
			v.noteAt(p.ID, "logout.unanswered", reasonOf(err), err)
		} else if out.State = web.Ended; v.carry(out) != nil {
			out.State = web.Asked
		}
	}
	v.farewell(out)
}

// farewell says what ended and what did not.
func (v *visit) farewell(out away) {
	page := web.SignedOut{From: v.g.allTitles(), Others: out.Others, AgainURL: v.g.c.Public.String() + "/"}
	if p := v.g.providers[out.Provider]; p != nil {
		page.Provider, page.State = p.Title, out.State
	}
	v.answer(http.StatusOK, "", page)
}

// slo takes SAML logout messages that a browser brings: an answer to ours, or
// the identity provider's own request.
func (v *visit) slo(p *Provider, leaver federation.Leaver) {
	given := v.r.URL.Query()
	if v.r.Method == http.MethodPost {
		if err := v.r.ParseForm(); err != nil {
			v.refuseLogout(p, refusal{code: federation.ReasonMalformed, detail: err.Error()})
			return
		}
		given = v.r.PostForm
	}
	if given.Has("SAMLResponse") {
		v.left(p, leaver)
		return
	}
	e, err := leaver.Over(v.r)
	if err == nil {
		err = v.over(p, e)
	}
	var refused *federation.Refusal
	if errors.As(err, &refused) {
		v.refuseLogout(p, err)
		return
	}
	if err != nil {
		v.noteAt(p.ID, "logout.refused", reasonOf(err), err)
	}
	ended := err == nil
	challenge, err := e.Answer(v.r.Context(), ended)
	switch {
	case err != nil && !ended:
		v.refuseLogout(p, refusal{code: ReasonStore, detail: "the sessions could not be ended"})
	case err != nil: // it takes no answers
		v.answer(http.StatusOK, "", web.SignedOut{From: v.g.allTitles(), AgainURL: v.g.c.Public.String() + "/"})
	case challenge.Form != nil:
		v.answer(http.StatusOK, "", web.PostForm{Action: challenge.URL.String(), Fields: challenge.Form, To: p.Title})
	default:
		v.redirect(challenge.URL.String())
	}
}

// left takes the identity provider's answer to our request. Whatever it says, the
// next page is ours.
func (v *visit) left(p *Provider, leaver federation.Leaver) {
	out := v.carried()
	if out.Provider != p.ID || out.State != web.Asked {
		v.refuseLogout(p, refusal{code: federation.ReasonStateUnknown, detail: "this browser has no such sign-out under way"})
		return
	}
	v.support = out.Support
	err := leaver.Left(v.r, out.Pending)
	var refused *federation.Refusal
	switch {
	case err == nil:
		out.State = web.Ended
	case errors.As(err, &refused) && refused.Code == federation.ReasonDenied:
		v.noteAt(p.ID, "logout.refused", refused.Code, err)
		out.State = web.Kept
	default:
		v.refuseLogout(p, err)
		return
	}
	if err := v.carry(out); err != nil {
		v.refuse(err)
		return
	}
	v.redirect(v.g.c.Public.String() + "/.gatehouse/signed-out")
}

func (v *visit) refuseLogout(p *Provider, err error) {
	code := reasonOf(err)
	v.noteAt(p.ID, "logout.refused", code, err)
	v.answer(status(code), code, v.failed(err, code))
}

// over ends the sessions that an identity provider says are over. It looks for
// its message among those that were used, ends, and then records it: what breaks
// in between may be said again.
func (v *visit) over(p *Provider, e federation.Ending) error {
	ctx := v.r.Context()
	if err := v.g.c.Directory.Spent(ctx, e.Once); err != nil {
		return err
	}
	f := session.Filter{Provider: p.ID, Sessions: e.Sessions}
	if e.Name != "" {
		f.Name = session.Named(p.ID, "person", e.Name)
	}
	if f.Name == "" && len(f.Sessions) == 0 {
		return federation.Refuse(federation.ReasonMalformed, "the message names neither a person nor a session")
	}
	n, err := v.g.c.Sessions.EndAll(ctx, f, session.ReasonProvider)
	if err != nil {
		return refusal{code: ReasonStore, detail: "end sessions: " + err.Error()}
	}
	v.g.c.Log.InfoContext(ctx, "signed out at identity provider", "provider", p.ID, "sessions", n, "support", v.code())
	return v.g.c.Directory.Spend(ctx, e.Once)
}

// backChannel takes an OpenID provider's logout token (OpenID Connect
// Back-Channel Logout 1.0 section 2.8).
func (v *visit) backChannel(p *Provider, leaver federation.Leaver) {
	h := v.w.Header()
	h.Set("Cache-Control", "no-store")
	e, err := leaver.Over(v.r)
	if err == nil {
		err = v.over(p, e)
	}
	if err == nil {
		return // 200
	}
	code := reasonOf(err)
	v.noteAt(p.ID, "logout.refused", code, err)
	h.Set("Content-Type", "application/json")
	v.w.WriteHeader(http.StatusBadRequest)
	_ = json.NewEncoder(v.w).Encode(map[string]string{"error": "invalid_request", "error_description": code + " (support code " + v.code() + ")"})
}
