package oidc

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	gooidc "github.com/coreos/go-oidc/v3/oidc"

	"github.com/gatehouse-sso/gatehouse/federation"
)

// published is what of the provider's metadata is used.
type published struct {
	auth, token, userinfo, keys string
	end                         string   // end_session_endpoint; empty: none
	issParam                    bool     // promises the parameter iss, RFC 9207
	methods                     []string // token_endpoint_auth_methods_supported
}

// discover fetches the metadata (OpenID Connect Discovery 1.0 section 4).
func (p *Provider) discover(ctx context.Context) (published, error) {
	var none published
	op, err := gooidc.NewProvider(gooidc.ClientContext(ctx, p.client), p.cfg.Issuer)
	if err != nil {
		return none, fmt.Errorf("discovery: %s", brief(err.Error()))
	}
	var raw json.RawMessage
	if err := op.Claims(&raw); err != nil {
		return none, fmt.Errorf("discovery: %s", brief(err.Error()))
	}
	doc, err := decode(raw)
	if err != nil {
		return none, fmt.Errorf("discovery document: %w", err)
	}
	if iss, _ := doc.text("issuer"); iss != p.cfg.Issuer {
		return none, fmt.Errorf("discovery document: the issuer is %q, configured is %q", brief(iss), p.cfg.Issuer)
	}
	var m published
	for _, e := range []struct {
		name     string
		to       *string
		required bool
	}{
		{"authorization_endpoint", &m.auth, true},
		{"token_endpoint", &m.token, true},
		{"jwks_uri", &m.keys, true},
		{"userinfo_endpoint", &m.userinfo, p.cfg.UserInfo == Always},
	} {
		v, ok := doc.text(e.name)
		if !ok && !e.required {
			continue
		}
		if err := p.endpoint(v); err != nil {
			return none, fmt.Errorf("discovery document: %s: %w", e.name, err)
		}
		*e.to = v
	}
	// A way out that can not be used is none: it is no reason to let nobody in.
	if v, ok := doc.text("end_session_endpoint"); ok && p.endpoint(v) == nil {
		m.end = v
	}
	m.issParam = doc["authorization_response_iss_parameter_supported"] == true
	m.methods, _ = doc.list("token_endpoint_auth_methods_supported")
	return m, nil
}

// endpoint checks an address that the provider publishes: where the issuer has
// https, everything has.
func (p *Provider) endpoint(raw string) error {
	u, err := url.Parse(raw)
	switch {
	case err != nil || u.Host == "" || u.User != nil || u.Fragment != "" || u.Opaque != "":
		return fmt.Errorf("%q is no address", brief(raw))
	case u.Scheme == "https", u.Scheme == "http" && strings.HasPrefix(p.cfg.Issuer, "http://"):
		return nil
	}
	return fmt.Errorf("%q must begin with https", brief(raw))
}

// fetch gets a document, with a bearer token if there is one. A status that is
// not 200 is a *statusError.
func (p *Provider) fetch(ctx context.Context, address, bearer string) (body []byte, contentType string, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, "", err
	}
	r.Header.Set("Accept", "application/json, application/jwt;q=0.9, application/jwk-set+json;q=0.9")
	if bearer != "" {
		r.Header.Set("Authorization", "Bearer "+bearer)
	}
	resp, err := p.client.Do(r)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, "", &statusError{resp.StatusCode}
	}
	body, err = io.ReadAll(resp.Body)
	return body, resp.Header.Get("Content-Type"), err
}

type statusError struct{ code int }

func (e *statusError) Error() string {
	return fmt.Sprintf("the provider answers with status %d", e.code)
}

// unavailable is the refusal for a provider that did not answer, or nonsense.
func unavailable(err error) *federation.Refusal {
	return &federation.Refusal{Code: federation.ReasonUnavailable, Detail: brief(err.Error()), Err: err}
}
