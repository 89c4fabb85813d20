package oidc

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	gooidc "github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/gatehouse-sso/gatehouse/federation"
)

// oauth is the configuration as x/oauth2 wants it. Its basic authentication
// form-urlencodes both parts, as RFC 6749 section 2.3.1 says.
func (p *Provider) oauth(m published) *oauth2.Config {
	style := oauth2.AuthStyleInHeader
	switch p.cfg.AuthMethod {
	case Post, PrivateKeyJWT, None:
		style = oauth2.AuthStyleInParams
	case "":
		if slices.Contains(m.methods, string(Post)) && !slices.Contains(m.methods, string(Basic)) {
			style = oauth2.AuthStyleInParams
		}
	}
	return &oauth2.Config{
		ClientID:     p.cfg.ClientID,
		ClientSecret: p.cfg.Secret,
		Endpoint:     oauth2.Endpoint{AuthURL: m.auth, TokenURL: m.token, AuthStyle: style},
		RedirectURL:  p.cfg.RedirectURL,
		Scopes:       p.cfg.Scopes,
	}
}

// tokens are what the token endpoint gave.
type tokens struct{ id, access, refresh string }

// exchange gives code and verifier for tokens.
func (p *Provider) exchange(ctx context.Context, m published, code, verifier string) (tokens, error) {
	opts, err := p.proof(m)
	if err != nil {
		return tokens{}, err
	}
	opts = append(opts, oauth2.VerifierOption(verifier))
	tok, err := p.oauth(m).Exchange(gooidc.ClientContext(ctx, p.client), code, opts...)
	if err != nil {
		return tokens{}, exchangeRefused(err)
	}
	if !strings.EqualFold(tok.Type(), "Bearer") {
		return tokens{}, federation.Refuse(ReasonTokenEndpoint, "the access token is of the type %q", brief(tok.Type()))
	}
	id, _ := tok.Extra("id_token").(string)
	if id == "" {
		return tokens{}, federation.Refuse(ReasonToken, "the token endpoint gave none")
	}
	return tokens{id: id, access: tok.AccessToken, refresh: tok.RefreshToken}, nil
}

// proof is how the client proves itself beyond what x/oauth2 does.
func (p *Provider) proof(m published) ([]oauth2.AuthCodeOption, error) {
	if p.signer == nil {
		return nil, nil
	}
	a, err := p.assertion(m)
	if err != nil {
		return nil, federation.Refuse(ReasonTokenEndpoint, "sign the client assertion: %w", err)
	}
	return []oauth2.AuthCodeOption{
		oauth2.SetAuthURLParam("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
		oauth2.SetAuthURLParam("client_assertion", a),
	}, nil
}

// exchangeRefused tells a provider that says no from one that is not there. The
// body of the answer is not repeated.
func exchangeRefused(err error) error {
	var no *oauth2.RetrieveError
	if errors.As(err, &no) {
		status := 0
		if no.Response != nil {
			status = no.Response.StatusCode
		}
		if status >= 500 {
			return federation.Refuse(federation.ReasonUnavailable, "the token endpoint answers with status %d", status)
		}
		return federation.Refuse(ReasonTokenEndpoint, "it answers with status %d %s: %s", status, brief(no.ErrorCode), brief(no.ErrorDescription))
	}
	var net interface{ Timeout() bool } // *url.Error, context.DeadlineExceeded
	if errors.As(err, &net) || errors.Is(err, context.Canceled) {
		return unavailable(err)
	}
	return federation.Refuse(ReasonTokenEndpoint, "its answer can not be read: %s", brief(err.Error()))
}

// assertion is a JWT that proves who the client is (RFC 7523 section 3), good
// for a minute and for one use.
func (p *Provider) assertion(m published) (string, error) {
	now := p.cfg.Now()
	aud := p.cfg.AssertionAudience
	if aud == "" {
		aud = m.token
	}
	payload, err := json.Marshal(map[string]any{
		"iss": p.cfg.ClientID, "sub": p.cfg.ClientID, "aud": aud, "jti": rand.Text(),
		"iat": now.Unix(), "exp": now.Add(time.Minute).Unix(),
	})
	if err != nil {
		return "", err
	}
	jws, err := p.signer.Sign(payload)
	if err != nil {
		return "", err
	}
	return jws.CompactSerialize()
}

// idToken checks everything about the ID token (OpenID Connect Core 3.1.3.7) and
// gives its claims.
func (p *Provider) idToken(ctx context.Context, t tokens, code string, pending federation.Pending) (object, error) {
	payload, alg, err := p.signed(ctx, t.id, "jwt")
	if err != nil {
		return nil, err
	}
	c, err := decode(payload)
	if err != nil {
		return nil, federation.Refuse(federation.ReasonClaims, "the ID token's claims: %w", err)
	}
	now := p.cfg.Now()
	for _, check := range []error{
		p.checkIssuer(c),
		p.checkAudience(c),
		p.checkTimes(c, now),
		checkNonce(c, pending.Keep[keepNonce]),
		checkHash(c, "at_hash", alg, t.access),
		checkHash(c, "c_hash", alg, code),
		checkSub(c),
		p.checkContext(c, pending, now),
	} {
		if check != nil {
			return nil, check
		}
	}
	// The library's own checks, as a second opinion.
	verifier := gooidc.NewVerifier(p.cfg.Issuer, already(payload), &gooidc.Config{
		ClientID:             p.cfg.ClientID,
		SupportedSigningAlgs: p.cfg.Algorithms,
		Now:                  func() time.Time { return now.Add(-p.cfg.Skew) },
	})
	if _, err := verifier.Verify(ctx, t.id); err != nil {
		return nil, federation.Refuse(ReasonToken, "%s", brief(err.Error()))
	}
	return c, nil
}

// already is the payload of a token whose signature was checked.
type already []byte

func (a already) VerifySignature(context.Context, string) ([]byte, error) { return a, nil }

func (p *Provider) checkIssuer(c object) error {
	if iss, _ := c.text("iss"); iss != p.cfg.Issuer {
		return federation.Refuse(ReasonIssuer, "it is by %q, configured is %q", brief(iss), p.cfg.Issuer)
	}
	return nil
}

func (p *Provider) checkAudience(c object) error {
	aud, ok := c.list("aud")
	if !ok || !slices.Contains(aud, p.cfg.ClientID) {
		return federation.Refuse(ReasonAudience, "it is for %s, not for %q", brief(fmt.Sprint(c["aud"])), p.cfg.ClientID)
	}
	azp, ok := c["azp"]
	if ok && azp != p.cfg.ClientID {
		return federation.Refuse(ReasonAZP, "it was issued to %s", brief(fmt.Sprint(azp)))
	}
	if !ok && len(aud) > 1 {
		return federation.Refuse(ReasonAZP, "it is for %d clients and names none as the one", len(aud))
	}
	return nil
}

func (p *Provider) checkTimes(c object, now time.Time) error {
	exp, ok := c.instant("exp")
	if !ok {
		return federation.Refuse(ReasonExpired, "it has no exp that is a time")
	}
	if !now.Before(exp.Add(p.cfg.Skew)) {
		return federation.Refuse(ReasonExpired, "it was good until %s", exp.UTC().Format(time.RFC3339))
	}
	for _, name := range []string{"iat", "nbf", "auth_time"} {
		t, ok := c.instant(name)
		if _, there := c[name]; !there && name != "iat" {
			continue
		}
		if !ok {
			return federation.Refuse(ReasonIssuedAt, "it has no %s that is a time", name)
		}
		if t.After(now.Add(p.cfg.Skew)) {
			return federation.Refuse(ReasonIssuedAt, "its %s is %s, which is yet to come", name, t.UTC().Format(time.RFC3339))
		}
	}
	return nil
}

func checkNonce(c object, want string) error {
	nonce, _ := c.text("nonce")
	if subtle.ConstantTimeCompare([]byte(nonce), []byte(want)) != 1 {
		return federation.Refuse(ReasonNonce, "its nonce is not that of this sign-in")
	}
	return nil
}

// checkHash checks at_hash or c_hash, which may be absent in this flow.
func checkHash(c object, name, alg, of string) error {
	v, there := c[name]
	if !there {
		return nil
	}
	h := hashOf(alg).New()
	h.Write([]byte(of))
	sum := h.Sum(nil)
	want := base64.RawURLEncoding.EncodeToString(sum[:len(sum)/2])
	if got, _ := v.(string); subtle.ConstantTimeCompare([]byte(got), []byte(want)) != 1 {
		return federation.Refuse(ReasonHash, "its %s does not fit", name)
	}
	return nil
}

func checkSub(c object) error {
	sub, _ := c.text("sub")
	if err := subject(sub); err != nil {
		return federation.Refuse(federation.ReasonClaims, "the claim sub %w", err)
	}
	return nil
}

// checkContext checks that the person proved who they are as was asked for.
// What was asked for travels in the browser's own Pending, so a provider, or a
// person who edits the request on its way, can not make it less.
func (p *Provider) checkContext(c object, pending federation.Pending, now time.Time) error {
	l := pending.Login
	if acr, _ := c.text("acr"); len(l.ACR) > 0 && !slices.Contains(l.ACR, acr) {
		return federation.Refuse(federation.ReasonStepUp, "asked for was %s, the person signed in with %q", strings.Join(l.ACR, " or "), brief(acr))
	}
	if !l.Fresh && l.MaxAge == 0 {
		return nil
	}
	at, ok := c.instant("auth_time")
	if !ok {
		return federation.Refuse(federation.ReasonStepUp, "the provider does not say when the person signed in (auth_time)")
	}
	earliest := now.Add(-l.MaxAge)
	if l.Fresh {
		earliest = pending.Began
	}
	if at.Before(earliest.Add(-p.cfg.Skew)) {
		return federation.Refuse(federation.ReasonStepUp, "the person signed in %v ago", now.Sub(at).Round(time.Second))
	}
	return nil
}

// maxHint bounds what is kept of an ID token for logout, in bytes. A longer one
// would not fit into an address.
const maxHint = 4 << 10

// contextOf is how and when the person signed in. Without auth_time the time is
// not known, and so it is never recent enough for a rule that asks.
func contextOf(c object, idToken string) federation.Context {
	var out federation.Context
	out.ACR, _ = c.text("acr")
	out.AMR, _ = c.list("amr")
	out.At, _ = c.instant("auth_time")
	out.Name, _ = c.text("sub")
	if sid, _ := c.text("sid"); len(sid) <= 255 {
		out.Session = sid
	}
	if len(idToken) <= maxHint {
		out.LogoutHint = idToken
	}
	return out
}
