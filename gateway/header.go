package gateway

import (
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"net/textproto"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/gatehouse-sso/gatehouse/authz"
)

// A HeaderRule says in which request header a service gets an attribute.
type HeaderRule struct {
	Name      string
	Attribute string // ours; JWTAttribute: the signed token
	List      string // how several values go: "join" (default), "repeat", "json"
	Separator string // for join; "": ",". It and the backslash are escaped by a backslash inside a value
	Text      string // how text goes: "utf8" (default), "percent", "rfc2047"

	several bool // the attribute can have several values: see Several
}

// Several are rules that know which attributes can have several values. A single
// value of those is escaped like many: a group called "users,admin" must not look
// like two.
func Several(rules []HeaderRule, multi func(attribute string) bool) []HeaderRule {
	rules = slices.Clone(rules)
	for i := range rules {
		rules[i].several = multi(rules[i].Attribute)
	}
	return rules
}

// JWTAttribute is the attribute that stands for the signed token itself.
const JWTAttribute = "jwt"

// jwtHeader always bears the token, in every preset.
const jwtHeader = "X-Gatehouse-Jwt"

// Presets are the headers that services know from elsewhere. Each is sent only
// if its attribute is released to the service.
var Presets = map[string][]HeaderRule{
	"default": {
		{Name: "X-Forwarded-User", Attribute: "user_name"},
		{Name: "X-Forwarded-Preferred-Username", Attribute: "user_name"},
		{Name: "X-Forwarded-Email", Attribute: "mail"},
		{Name: "X-Forwarded-Groups", Attribute: "groups"},
	},
	"remote-user": remoteUser,
	"authelia":    remoteUser,
	"oauth2-proxy": {
		{Name: "X-Forwarded-User", Attribute: "user_name"},
		{Name: "X-Forwarded-Preferred-Username", Attribute: "user_name"},
		{Name: "X-Forwarded-Email", Attribute: "mail"},
		{Name: "X-Forwarded-Groups", Attribute: "groups"},
		{Name: "X-Auth-Request-User", Attribute: "user_name"},
		{Name: "X-Auth-Request-Preferred-Username", Attribute: "user_name"},
		{Name: "X-Auth-Request-Email", Attribute: "mail"},
		{Name: "X-Auth-Request-Groups", Attribute: "groups"},
	},
	"pomerium": {
		{Name: "X-Pomerium-Jwt-Assertion", Attribute: JWTAttribute},
		{Name: "X-Pomerium-Claim-User", Attribute: "user_name"},
		{Name: "X-Pomerium-Claim-Email", Attribute: "mail"},
		{Name: "X-Pomerium-Claim-Name", Attribute: "display_name"},
		{Name: "X-Pomerium-Claim-Groups", Attribute: "groups"},
	},
	"authentik": {
		{Name: "X-Authentik-Username", Attribute: "user_name"},
		{Name: "X-Authentik-Email", Attribute: "mail"},
		{Name: "X-Authentik-Name", Attribute: "display_name"},
		{Name: "X-Authentik-Uid", Attribute: "pairwise_id"},
		{Name: "X-Authentik-Groups", Attribute: "groups", Separator: "|"},
		{Name: "X-Authentik-Jwt", Attribute: JWTAttribute},
	},
	"shibboleth": {
		{Name: "Remote-User", Attribute: "user_name"},
		{Name: "Eppn", Attribute: "eppn"},
		{Name: "Mail", Attribute: "mail", Separator: ";"},
		{Name: "Displayname", Attribute: "display_name"},
		{Name: "Givenname", Attribute: "given_name"},
		{Name: "Sn", Attribute: "family_name"},
		{Name: "Affiliation", Attribute: "affiliation", Separator: ";"},
		{Name: "Entitlement", Attribute: "entitlement", Separator: ";"},
		{Name: "Ismemberof", Attribute: "groups", Separator: ";"},
		{Name: "Persistent-Id", Attribute: "pairwise_id"},
	},
}

var remoteUser = []HeaderRule{
	{Name: "Remote-User", Attribute: "user_name"},
	{Name: "Remote-Email", Attribute: "mail"},
	{Name: "Remote-Name", Attribute: "display_name"},
	{Name: "Remote-Groups", Attribute: "groups"},
}

// A Header of a request that goes to a service.
type Header struct {
	Name   string
	Values []string
}

// Outgoing is what a service receives about a person, without the token: the
// release, in the headers of its rules. A value that its encoding can not carry
// (control characters in "utf8") stays back; so nothing can start a header of
// its own. The tools show it as the gateway sends it.
func Outgoing(rules []HeaderRule, rel authz.Release) []Header {
	var out []Header
	for _, rule := range rules {
		for _, v := range rel.Sent {
			if v.Attribute != rule.Attribute {
				continue
			}
			if vals := rule.encode(v.Values); len(vals) > 0 {
				out = append(out, Header{http.CanonicalHeaderKey(rule.Name), vals})
			}
			break
		}
	}
	return out
}

// maxHeader bounds what one header may carry, in bytes. What is longer is not
// cut, which would change its meaning: it is not sent.
const maxHeader = 16 << 10

func (h HeaderRule) encode(vals []string) []string {
	var out []string
	if h.List == "json" {
		out = []string{asciiJSON(vals)}
	} else {
		sep := h.Separator
		if sep == "" {
			sep = ","
		}
		esc := strings.NewReplacer(`\`, `\\`, sep, `\`+sep)
		for _, v := range vals {
			t, ok := h.text(v)
			if !ok {
				continue
			}
			if h.List != "repeat" && (h.several || len(vals) > 1) {
				t = esc.Replace(t)
			}
			out = append(out, t)
		}
		if h.List != "repeat" && len(out) > 0 {
			out = []string{strings.Join(out, sep)}
		}
	}
	n := 0
	for _, v := range out {
		n += len(v)
	}
	if n > maxHeader {
		return nil
	}
	return out
}

func (h HeaderRule) text(v string) (string, bool) {
	switch h.Text {
	case "percent":
		var b strings.Builder
		for i := range len(v) {
			if c := v[i]; c <= ' ' || c >= 0x7f || c == '%' {
				fmt.Fprintf(&b, "%%%02X", c)
			} else {
				b.WriteByte(c)
			}
		}
		return b.String(), true
	case "rfc2047":
		if clean := plain(v); !clean {
			return "", false
		}
		return mime.QEncoding.Encode("utf-8", v), true
	default:
		return v, plain(v)
	}
}

// plain reports that a value can stand in a header as it is, and is read there
// as it was written: no control characters, no space at an end.
func plain(v string) bool {
	if v == "" || !utf8.ValidString(v) || v != strings.TrimSpace(v) {
		return false
	}
	return !strings.ContainsFunc(v, func(r rune) bool { return r < 0x20 || r == 0x7f || r >= 0x80 && r < 0xa0 })
}

// asciiJSON is a JSON array in ASCII.
func asciiJSON(vals []string) string {
	raw, _ := json.Marshal(vals) // strings always marshal
	var b strings.Builder
	for _, r := range string(raw) {
		switch {
		case r < 0x80:
			b.WriteRune(r)
		case r >= 0x10000:
			r -= 0x10000
			fmt.Fprintf(&b, `\u%04x\u%04x`, 0xd800+r>>10, 0xdc00+r&0x3ff)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}

// A wall takes identity out of what a client sends. Names are compared folded:
// case, and whatever is no letter or digit against "-", make no difference,
// because there are servers to which they make none.
type wall struct {
	names    map[string]bool
	prefixes []string
}

// Whatever begins so speaks of identity or of the original request somewhere.
var wallPrefixes = []string{
	"x-gatehouse-", "x-forwarded-", "x-auth-request-", "x-pomerium-", "x-authentik-", "x-authelia-",
	"x-webauth-", "x-remote-", "remote-", "x-vouch-", "x-original-", "x-rewrite-", "x-http-method", "x-envoy-",
	"shib-", "ajp-", "oidc-claim-", "oidc-access-", "oidc-id-", "oidc-userinfo",
}

var wallNames = []string{
	"forwarded", "x-real-ip", "x-client-ip", "true-client-ip", "x-cluster-client-ip", "cf-connecting-ip", "fastly-client-ip",
	"x-method-override", "x-host", "x-user", "x-email", "x-groups", "x-roles", "x-username", "x-forwarded",
	"x-ssl-client-cert", "x-client-cert", "ssl-client-cert", "x-ssl-client-verify", "x-auth-user", "x-authenticated-user",
	"x-access-token", "x-auth-token", "x-id-token", "proxy-authorization", "trailer",
}

// newWall adds every name that any service of this gateway gets.
func newWall(services []*service) *wall {
	w := &wall{names: map[string]bool{}, prefixes: wallPrefixes}
	for _, n := range wallNames {
		w.names[n] = true
	}
	add := func(rules []HeaderRule) {
		for _, r := range rules {
			w.names[string(fold(nil, r.Name))] = true
		}
	}
	for _, p := range Presets {
		add(p)
	}
	for _, s := range services {
		add(s.Headers)
	}
	return w
}

// fold appends the folded name to dst.
func fold(dst []byte, name string) []byte {
	for i := range len(name) {
		c := name[i]
		switch {
		case 'A' <= c && c <= 'Z':
			c += 'a' - 'A'
		case !('a' <= c && c <= 'z' || '0' <= c && c <= '9'):
			c = '-'
		}
		dst = append(dst, c)
	}
	return dst
}

// strip removes every header that the wall holds back.
func (w *wall) strip(h http.Header) {
	for name := range h {
		if w.holds(name) {
			delete(h, name)
		}
	}
}

// holds reports whether the wall holds back what a client sends under a name.
func (w *wall) holds(name string) bool {
	var buf [128]byte
	f := fold(buf[:0], name)
	return w.names[string(f)] || slices.ContainsFunc(w.prefixes, func(p string) bool { return len(f) >= len(p) && string(f[:len(p)]) == p })
}

// without are the names of the wall, less those that a proxy is told of for a
// service in any case.
func (w *wall) without(s *service) (list []string) {
	for name := range w.names {
		if !slices.Contains(s.names, http.CanonicalHeaderKey(name)) && !slices.Contains(s.tokens, http.CanonicalHeaderKey(name)) {
			list = append(list, name)
		}
	}
	slices.Sort(list)
	return list
}

// ValidHeaderName reports whether a service may get a header of this name: a
// token that neither HTTP nor the gateway uses for something else.
func ValidHeaderName(name string) bool {
	if name == "" || len(name) > 100 || strings.ContainsFunc(name, func(r rune) bool {
		return !(r == '-' || '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z')
	}) {
		return false
	}
	switch textproto.CanonicalMIMEHeaderKey(name) {
	case "Host", "Connection", "Content-Length", "Transfer-Encoding", "Te", "Trailer", "Upgrade", "Keep-Alive", "Cookie",
		"Authorization", "Proxy-Authorization", "Content-Type", "Content-Encoding", "Expect", "Origin", "Referer":
		return false
	}
	return true
}
