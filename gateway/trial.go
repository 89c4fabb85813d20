package gateway

import (
	"errors"
	"net/http"
	"net/url"
	"time"

	"github.com/gatehouse-sso/gatehouse/federation"
	"github.com/gatehouse-sso/gatehouse/provisioning/audit"
)

// A Trial is a sign-in that lets nobody in: an administrator looks at what an
// identity provider says of somebody, and nothing follows from it.
//
//	TryURL ──▶ login?try=ticket ──▶ identity provider ──▶ callback ──▶ Config.Tried ──▶ Return
//
// The ticket is sealed, for one administrator and for a minute. The answer is
// checked as any other, and used up; then there is neither a user nor a session.
type Trial struct {
	Key      string // of the caller, who finds the outcome by it
	UserID   string // the administrator who looks
	Provider string
	Return   string // path of the page that shows the outcome
	Began    time.Time
}

// tryPurpose seals tickets.
const tryPurpose = "try"

// ticketLife is how long a ticket is good: it leads through one redirect.
const ticketLife = time.Minute

// TryURL begins a Trial, of which Began is set here.
func (g *Gateway) TryURL(t Trial) (string, error) {
	if g.providers[t.Provider] == nil {
		return "", refusal{code: ReasonProviderUnknown, detail: "identity provider " + t.Provider}
	}
	t.Began = g.c.Now()
	sealed, err := g.c.Keys.Seal(tryPurpose, t)
	return "/.gatehouse/login?" + url.Values{"try": {sealed}}.Encode(), err
}

// try begins the sign-in of a ticket, for whom it was made.
func (v *visit) try(ticket string) {
	var t Trial
	err := v.g.c.Keys.Open(tryPurpose, ticket, &t)
	if age := v.g.c.Now().Sub(t.Began); err == nil && (age < -flowSkew || age > ticketLife) {
		err = errors.New("the ticket is too old")
	}
	if err == nil && (v.session == nil || v.session.UserID != t.UserID) {
		err = errors.New("the ticket is somebody else's")
	}
	p := v.g.providers[t.Provider]
	if err != nil || p == nil {
		v.refuse(refusal{code: ReasonTicket, cause: err, detail: "a trial that can not begin", retry: v.g.c.Public.String() + "/"})
		return
	}
	v.trial = &t
	v.begin(p, v.g.destination(t.Return), "", federation.Login{Fresh: true, All: true})
}

// tried tells what came of a trial, and leads to the page that shows it.
func (v *visit) tried(p *Provider, f flow, id federation.Identity, err error) {
	if err == nil {
		err = v.g.c.Directory.Spend(v.r.Context(), id.Once)
	}
	code := ""
	if err != nil {
		code = reasonOf(err)
	}
	v.g.c.Record(audit.Event{Kind: "login.tried", Code: code, Flow: f.Support, UserID: f.Trial.UserID, Provider: p.ID, From: v.from.String()})
	if v.g.c.Tried != nil {
		v.g.c.Tried(*f.Trial, id, err)
	}
	http.SetCookie(v.w, v.g.c.Cookie.Make("round", ""))
	v.goTo(v.g.destination(f.Return).url)
}
