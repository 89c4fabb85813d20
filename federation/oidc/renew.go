package oidc

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	gooidc "github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/gatehouse-sso/gatehouse/federation"
)

// Renew asks the provider whether a person is still there: it gives what an
// Identity had as Renewal for another (RFC 6749 section 6), and, if userinfo is
// set and sub is what names people, asks the userinfo endpoint with the access token
// that came with it. next
// is what to ask with the next time, also together with an error, unless it is
// empty. An error that is federation.ErrGone is the provider's clear no:
// invalid_grant, or 401 for the very token that it has just given. Every other
// error says nothing about the person.
func (p *Provider) Renew(ctx context.Context, renewal, subject string, userinfo bool) (next string, err error) {
	ctx, cancel := context.WithTimeout(ctx, finishTime)
	defer cancel()
	m, err := p.published.get(ctx, false)
	if err != nil {
		return "", unavailable(err)
	}
	opts, err := p.proof(m)
	if err != nil {
		return "", err
	}
	opts = append(opts, oauth2.SetAuthURLParam("grant_type", "refresh_token"), oauth2.SetAuthURLParam("refresh_token", renewal))
	cfg := p.oauth(m)
	cfg.RedirectURL = "" // it belongs to codes
	tok, err := cfg.Exchange(gooidc.ClientContext(ctx, p.client), "", opts...)
	var no *oauth2.RetrieveError
	if errors.As(err, &no) && no.ErrorCode == "invalid_grant" && no.Response != nil && no.Response.StatusCode/100 == 4 {
		return "", fmt.Errorf("%w: the token endpoint answers invalid_grant", federation.ErrGone)
	}
	if err != nil {
		return "", exchangeRefused(err)
	}
	if next = tok.RefreshToken; next == "" {
		next = renewal // it is good for more than one use
	}
	if !userinfo || m.userinfo == "" || p.cfg.SubjectClaim != "sub" {
		return next, nil
	}
	_, err = p.userinfo(ctx, m, object{"sub": subject}, tok.AccessToken)
	var status *statusError
	if errors.As(err, &status) && status.code == http.StatusUnauthorized {
		return next, fmt.Errorf("%w: the userinfo endpoint does not know them", federation.ErrGone)
	}
	return next, err
}
