package gateway

import (
	"errors"
	"net/url"
	"time"

	"github.com/gatehouse-sso/gatehouse/federation"
	"github.com/gatehouse-sso/gatehouse/gateway/session"
	"github.com/gatehouse-sso/gatehouse/provisioning"
)

// Somebody who is signed in can add another identity of theirs: by a fresh sign-in
// there, in the same browser, for a link that was asked for in this very session.
//
//	a page of ours ─ sealed: session, user, when ─▶ /login?link= ─▶ identity provider
//	                                                                      │
//	   still that session? nobody else's? ◀──────── callback ─────────────┘
//	      └─ Directory.Link; the session stays the one there was
//
// Mail addresses and names are no reason to think that two identities are one
// person; that somebody could sign in as both is.

// linking is a wish to link, sealed.
type linking struct {
	Session string    `json:"s"`
	User    string    `json:"u"`
	At      time.Time `json:"t"`
}

// LinkURL is where the person of a session goes to add an identity at a provider;
// they come back to a page of ours.
func (g *Gateway) LinkURL(s *session.Session, provider, back string) (string, error) {
	if g.providers[provider] == nil {
		return "", refusal{code: ReasonProviderUnknown, detail: "identity provider " + provider}
	}
	sealed, err := g.c.Keys.Seal("link", linking{s.ID, s.UserID, g.c.Now()})
	if err != nil {
		return "", err
	}
	return g.c.Public.String() + "/.gatehouse/login?" + url.Values{"link": {sealed}, "idp": {provider}, "return": {back}}.Encode(), nil
}

// beginLink sends the browser to the provider at which an identity is added.
func (v *visit) beginLink(q url.Values, dest destination) {
	var l linking
	if err := v.g.c.Keys.Open("link", q.Get("link"), &l); err != nil || v.session == nil || v.session.ID != l.Session || v.session.UserID != l.User {
		v.refuse(refusal{code: ReasonLink, detail: "a link that this session did not ask for"})
		return
	}
	if age := v.g.c.Now().Sub(l.At); age < -flowSkew || age > flowLife {
		v.refuse(refusal{code: ReasonLink, detail: "a link asked for " + age.Round(time.Second).String() + " ago"})
		return
	}
	p := v.g.providers[q.Get("idp")]
	if p == nil {
		v.refuse(refusal{code: ReasonProviderUnknown, detail: "identity provider " + q.Get("idp")})
		return
	}
	v.linking = l.User
	v.begin(p, dest, "", federation.Login{Fresh: true})
}

// link adds the identity that somebody just proved to the user who asked for it.
func (v *visit) link(p *Provider, f flow, id federation.Identity) error {
	ctx := v.r.Context()
	s, err := v.g.c.Sessions.Peek(ctx, f.Before)
	if errors.Is(err, session.ErrNone) || err == nil && s.UserID != f.Link {
		return refusal{code: ReasonLink, detail: "the session that asked for the link is over"}
	}
	if err != nil {
		return err
	}
	if err := v.g.c.Directory.Spend(ctx, id.Once); err != nil {
		return err
	}
	var taken *provisioning.Conflict
	if _, _, err := v.g.c.Directory.Link(ctx, f.Link, id.Ref, p.ID, provisioning.Self); errors.As(err, &taken) {
		return refusal{code: ReasonLinkTaken, detail: "the identity is another user's"}
	} else if err != nil {
		return err
	}
	dest := v.g.destination(f.Return)
	to, err := url.Parse(dest.url)
	if err != nil {
		return err
	}
	query := to.Query()
	query.Set("done", "identity_added")
	to.RawQuery = query.Encode()
	v.goTo(to.String())
	return nil
}
