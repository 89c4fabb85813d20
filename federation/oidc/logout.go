package oidc

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"mime"
	"net/http"
	"net/url"
	"time"

	gooidc "github.com/coreos/go-oidc/v3/oidc"

	"github.com/gatehouse-sso/gatehouse/federation"
)

var _ federation.Leaver = (*Provider)(nil)

// Leave asks the provider to end its session (OpenID Connect RP-Initiated
// Logout 1.0 section 2). An ID token of the sign-in says which.
func (p *Provider) Leave(ctx context.Context, s federation.SignedIn) (federation.Challenge, federation.Pending, error) {
	m, err := p.published.get(ctx, false)
	if err != nil {
		return federation.Challenge{}, federation.Pending{}, unavailable(err)
	}
	if m.end == "" {
		return federation.Challenge{}, federation.Pending{}, federation.ErrNoLogout
	}
	u, err := url.Parse(m.end)
	if err != nil {
		return federation.Challenge{}, federation.Pending{}, unavailable(err)
	}
	pending := federation.Pending{State: rand.Text(), Began: p.cfg.Now(), Keep: map[string]string{keepProvider: p.cfg.ID}}
	q := u.Query()
	q.Set("client_id", p.cfg.ClientID)
	if s.Hint != "" {
		q.Set("id_token_hint", s.Hint)
	}
	if p.cfg.PostLogoutURL != "" {
		q.Set("post_logout_redirect_uri", p.cfg.PostLogoutURL)
		q.Set("state", pending.State)
	}
	u.RawQuery = q.Encode()
	return federation.Challenge{URL: u}, pending, nil
}

// Left checks that the browser came back with the state of Leave. Nothing is
// signed in this protocol: that it came back is all that the provider says.
func (p *Provider) Left(r *http.Request, pending federation.Pending) error {
	states := r.URL.Query()["state"]
	if len(states) != 1 || pending.Keep[keepProvider] != p.cfg.ID ||
		states[0] == "" || subtle.ConstantTimeCompare([]byte(states[0]), []byte(pending.State)) != 1 {
		return federation.Refuse(federation.ReasonStateUnknown, "the answer's state is not that of this sign-out")
	}
	if age := p.cfg.Now().Sub(pending.Began); age > Lifetime || age < -p.cfg.Skew {
		return federation.Refuse(federation.ReasonStateExpired, "the sign-out was begun %v ago", age.Round(time.Second))
	}
	return nil
}

// logoutEvent is the one event that a logout token is about (OpenID Connect
// Back-Channel Logout 1.0 section 2.4), and logoutAge how old a token may be.
const (
	logoutEvent = "http://schemas.openid.net/event/backchannel-logout"
	logoutAge   = 5 * time.Minute
)

// Over checks a logout token (OpenID Connect Back-Channel Logout 1.0 section
// 2.6).
func (p *Provider) Over(r *http.Request) (federation.Ending, error) {
	e, err := p.over(r)
	if err == nil {
		return e, nil
	}
	var ref *federation.Refusal
	if !errors.As(err, &ref) {
		ref = unavailable(err)
	}
	return federation.Ending{}, ref
}

func (p *Provider) over(r *http.Request) (federation.Ending, error) {
	var none federation.Ending
	token, err := logoutToken(r)
	if err != nil {
		return none, err
	}
	ctx, cancel := context.WithTimeout(r.Context(), finishTime)
	defer cancel()
	payload, _, err := p.signed(ctx, token, "jwt", "logout+jwt")
	if err != nil {
		return none, err
	}
	c, err := decode(payload)
	if err != nil {
		return none, federation.Refuse(ReasonLogout, "the logout token's claims: %w", err)
	}
	now := p.cfg.Now()
	for _, check := range []error{p.checkIssuer(c), p.checkAudience(c), p.checkTimes(c, now), p.checkLogout(c, now)} {
		if check != nil {
			return none, check
		}
	}
	// The library's own checks, as a second opinion.
	verifier := gooidc.NewVerifier(p.cfg.Issuer, already(payload), &gooidc.Config{
		ClientID:             p.cfg.ClientID,
		SupportedSigningAlgs: p.cfg.Algorithms,
		Now:                  func() time.Time { return now.Add(-p.cfg.Skew) },
	})
	if _, err := verifier.VerifyLogout(ctx, token); err != nil {
		return none, federation.Refuse(ReasonLogout, "%s", brief(err.Error()))
	}
	jti, _ := c.text("jti")
	issued, _ := c.instant("iat")
	e := federation.Ending{Once: []federation.Once{{
		Key:   "oidc logout " + p.cfg.Issuer + " " + p.cfg.ClientID + " " + jti,
		Until: issued.Add(logoutAge + 2*p.cfg.Skew),
	}}}
	e.Name, _ = c.text("sub")
	if sid, ok := c.text("sid"); ok {
		e.Sessions = []string{sid}
	}
	return e, nil
}

// logoutToken takes the token out of the form, and out of no other place.
func logoutToken(r *http.Request) (string, error) {
	if kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); r.Method != http.MethodPost || kind != "application/x-www-form-urlencoded" {
		return "", federation.Refuse(federation.ReasonMalformed, "a logout token comes as a form that is posted")
	}
	if r.PostForm == nil {
		r.Body = http.MaxBytesReader(nil, r.Body, maxToken+1024)
	}
	if err := r.ParseForm(); err != nil {
		var big *http.MaxBytesError
		if errors.As(err, &big) {
			return "", federation.Refuse(federation.ReasonTooLarge, "the form is longer than %d bytes", big.Limit)
		}
		return "", federation.Refuse(federation.ReasonMalformed, "the form can not be read")
	}
	vals := r.PostForm["logout_token"]
	if len(vals) != 1 || vals[0] == "" || r.URL.Query().Has("logout_token") {
		return "", federation.Refuse(federation.ReasonMalformed, "the form has no logout token, or not one alone")
	}
	return vals[0], nil
}

// checkLogout checks what makes a JWT of this provider a logout token, and no
// other kind that it signs.
func (p *Provider) checkLogout(c object, now time.Time) error {
	issued, _ := c.instant("iat") // checkTimes has seen that there is one
	if now.Sub(issued) > logoutAge+p.cfg.Skew {
		return federation.Refuse(ReasonExpired, "it was issued at %s, %v are accepted", issued.UTC().Format(time.RFC3339), logoutAge)
	}
	if _, there := c["nonce"]; there {
		return federation.Refuse(ReasonLogout, "it has a nonce, as ID tokens have")
	}
	events, _ := c["events"].(object)
	if _, ok := events[logoutEvent].(object); !ok {
		return federation.Refuse(ReasonLogout, "it is not about the event of a logout")
	}
	if jti, ok := c.text("jti"); !ok || len(jti) > maxSubject {
		return federation.Refuse(ReasonLogout, "it has no usable jti, so it could be used again")
	}
	named := false
	for _, name := range []string{"sub", "sid"} {
		if _, there := c[name]; !there {
			continue
		}
		if v, ok := c.text(name); !ok || len(v) > maxSubject {
			return federation.Refuse(ReasonLogout, "its %s can not be used", name)
		}
		named = true
	}
	if !named {
		return federation.Refuse(ReasonLogout, "it names neither a person nor a session")
	}
	return nil
}
