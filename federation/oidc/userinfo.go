package oidc

import (
	"context"
	"errors"
	"mime"
	"net/url"
	"slices"

	"github.com/gatehouse-sso/gatehouse/federation"
)

// attributes is everything said about the person, in the ID token, at the
// userinfo endpoint, and, if there are too many groups for those, at GroupsURL.
func (p *Provider) attributes(ctx context.Context, m published, claims object, access string, all bool) (map[string][]string, error) {
	attrs, err := claims.attributes(p.cfg.GroupsClaim)
	if err != nil {
		return nil, err
	}
	over := claims.overage(p.cfg.GroupsClaim)
	if m.userinfo != "" && (p.cfg.UserInfo == Always || p.cfg.UserInfo == Auto && (all || p.lacks(attrs))) {
		info, err := p.userinfo(ctx, m, claims, access)
		if err != nil {
			return nil, err
		}
		more, err := info.attributes(p.cfg.GroupsClaim)
		if err != nil {
			return nil, err
		}
		attrs = merge(attrs, more)
		over = over || info.overage(p.cfg.GroupsClaim)
	}
	if over {
		if p.cfg.GroupsURL == "" {
			return nil, federation.Refuse(ReasonOverage, "the provider names %s, but does not list them", p.cfg.GroupsClaim)
		}
		if attrs[p.cfg.GroupsClaim], err = p.groups(ctx, access); err != nil {
			return nil, err
		}
	}
	return attrs, within(attrs)
}

// lacks reports whether userinfo may know something that the ID token does not say and
// somebody reads.
func (p *Provider) lacks(said map[string][]string) bool {
	return p.cfg.Reads == nil || slices.ContainsFunc(p.cfg.Reads, func(name string) bool { _, ok := said[name]; return !ok })
}

// userinfo asks the userinfo endpoint (OpenID Connect Core 5.3). Its answer counts
// only if it is about the subject of the ID token.
func (p *Provider) userinfo(ctx context.Context, m published, claims object, access string) (object, error) {
	body, contentType, err := p.fetch(ctx, m.userinfo, access)
	if err != nil {
		return nil, fetchRefused(ReasonUserInfo, err)
	}
	kind, _, _ := mime.ParseMediaType(contentType)
	switch kind {
	case "application/json":
	case "application/jwt":
		if body, _, err = p.signed(ctx, string(body), "jwt"); err != nil {
			var ref *federation.Refusal
			if errors.As(err, &ref) && ref.Code == federation.ReasonUnavailable {
				return nil, err
			}
			return nil, federation.Refuse(ReasonUserInfo, "the signed answer: %w", err)
		}
	default:
		return nil, federation.Refuse(ReasonUserInfo, "the answer is of the type %q", brief(contentType))
	}
	info, err := decode(body)
	if err != nil {
		return nil, federation.Refuse(ReasonUserInfo, "the answer: %w", err)
	}
	if sub, ok := info.text("sub"); !ok || sub != claims["sub"] {
		return nil, federation.Refuse(ReasonUserInfo, "the answer is about another subject than the ID token")
	}
	if kind == "application/jwt" {
		if _, ok := info["iss"]; ok && p.checkIssuer(info) != nil {
			return nil, federation.Refuse(ReasonUserInfo, "the signed answer is by another issuer")
		}
		if _, ok := info["aud"]; ok {
			if aud, _ := info.list("aud"); len(aud) != 1 || aud[0] != p.cfg.ClientID {
				return nil, federation.Refuse(ReasonUserInfo, "the signed answer is for another client")
			}
		}
	}
	return info, nil
}

// maxPages bounds how many answers the groups of one person may come in.
const maxPages = 10

// groups fetches the groups of the person that the access token is for.
func (p *Provider) groups(ctx context.Context, access string) ([]string, error) {
	at, err := url.Parse(p.cfg.GroupsURL)
	if err != nil {
		return nil, federation.Refuse(ReasonOverage, "%w", err)
	}
	host := at.Scheme + "://" + at.Host
	out := []string{}
	for range maxPages {
		body, _, err := p.fetch(ctx, at.String(), access)
		if err != nil {
			return nil, fetchRefused(ReasonOverage, err)
		}
		page, err := decode(body)
		if err != nil {
			return nil, federation.Refuse(ReasonOverage, "the list of groups: %w", err)
		}
		values, ok := page["value"].([]any)
		if !ok {
			return nil, federation.Refuse(ReasonOverage, "the list of groups has no value")
		}
		for _, v := range values {
			if o, ok := v.(object); ok {
				v = o["id"]
			}
			s, ok := v.(string)
			if !ok || s == "" {
				return nil, federation.Refuse(ReasonOverage, "the list of groups holds something that is neither a text nor has an id")
			}
			out = append(out, s)
		}
		next, more := page["@odata.nextLink"]
		if !more {
			return out, nil
		}
		link, _ := next.(string)
		if at, err = url.Parse(link); err != nil || at.Scheme+"://"+at.Host != host || at.User != nil {
			return nil, federation.Refuse(ReasonOverage, "the list of groups goes on at another host")
		}
		if len(out) > maxValues {
			break
		}
	}
	return nil, federation.Refuse(federation.ReasonTooMany, "the list of groups goes on after %d", len(out))
}

// fetchRefused tells a provider that says no (code) from one that is not there.
func fetchRefused(code string, err error) error {
	var status *statusError
	if errors.As(err, &status) && status.code < 500 {
		return federation.Refuse(code, "%w", err)
	}
	return unavailable(err)
}
