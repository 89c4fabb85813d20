package gateway

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// Forward-auth: another proxy serves the service, and asks before each request
// whether it may pass.
//
//	browser ──▶ nginx, Traefik, Caddy, HAProxy, Envoy ──▶ service
//	                 │ GET /.gatehouse/verify        ▲
//	                 ▼                               │ with the headers of the answer
//	              gateway: 200, or what the browser is to get instead
//
// A question describes the original request in headers, or in a message (check.go).
// From a listed proxy, and only from there, that request takes the question's place
// and then goes the way of any other, from its method to its decision: what is
// refused there is refused here. The one difference is the end: instead of being
// passed on, it is approved, and what the service is to receive is in the answer.
//
// Which headers describe the request is part of the configuration, never guessed
// from what is there: a client could send the others. A client who sends the
// right ones is overruled by a proxy that sets all of them, as those in
// configs/forward-auth do, and the gateway's probe finds the one that does not.

// A Proxy asks about requests that it serves itself.
type Proxy struct {
	ID   string
	Kind string // a key of ProxyKinds
	From []netip.Prefix
	// Services that are behind it; empty: all.
	Services []string
}

// Serves reports whether a service is behind the proxy.
func (p Proxy) Serves(service string) bool {
	return len(p.Services) == 0 || slices.Contains(p.Services, service)
}

// A ProxyKind is how proxies of a kind ask, and what they do with an answer.
type ProxyKind struct {
	// Method and URL are headers with the original method and absolute address;
	// or Method, Scheme, Host and URI are, with its parts.
	Method, URL, Scheme, Host, URI string
	// Behind: the question is the original request itself, its path put behind
	// that of the question.
	Behind bool
	// Checks: it may ask by gRPC instead.
	Checks bool
	// Bare: only the status of a refusal counts, 401 or 403. What the person is to
	// see, the proxy asks for at verify/page.
	Bare bool
}

var byParts = ProxyKind{Method: "X-Forwarded-Method", Scheme: "X-Forwarded-Proto", Host: "X-Forwarded-Host", URI: "X-Forwarded-Uri"}

// ProxyKinds are the proxies that can ask.
var ProxyKinds = map[string]ProxyKind{
	"nginx":   {Method: "X-Original-Method", URL: "X-Original-Url", Bare: true},
	"traefik": byParts,
	"caddy":   byParts,
	"haproxy": byParts,
	"envoy":   {Behind: true, Checks: true},
}

// Where questions are asked: ours, and what people have from elsewhere. Proxies
// that put the original path behind it may ask below each.
var (
	verifyPaths  = []string{verifyPath, "/oauth2/auth", "/api/authz/auth-request", "/api/authz/forward-auth"}
	verifyBehind = []string{verifyPath, "/api/authz/ext-authz"}
)

const (
	verifyPath = "/.gatehouse/verify"
	verifyPage = "/.gatehouse/verify/page"
)

// asker is the proxy that sent a request, if it is one that may ask.
func (g *Gateway) asker(remote string) *Proxy {
	ap, err := netip.ParseAddrPort(remote)
	if err != nil {
		return nil
	}
	at := ap.Addr().Unmap().WithZone("")
	for i := range g.c.Proxies {
		if within(at, g.c.Proxies[i].From) {
			return &g.c.Proxies[i]
		}
	}
	return nil
}

// question puts the request that a proxy asks about in the place of the
// question. What is no question stays what it is.
func (v *visit) question() error {
	p := v.g.asker(v.r.RemoteAddr)
	switch checks := v.isCheck(); {
	case checks && p != nil && ProxyKinds[p.Kind].Checks:
		return v.check(p)
	case checks:
		return refusal{code: ReasonProxy, detail: "asked by gRPC from " + v.r.RemoteAddr}
	case p == nil:
		return nil
	}
	// In another spelling it is no question: a proxy whose own rules go by the bytes
	// would have passed it on from a client.
	kind, path := ProxyKinds[p.Kind], v.r.URL.EscapedPath()
	var method, scheme, host, uri string
	var err error
	switch page := kind.Bare && path == verifyPage; {
	case kind.Behind:
		for _, at := range verifyBehind {
			if rest, ok := strings.CutPrefix(v.r.RequestURI, at); ok && strings.HasPrefix(rest, "/") {
				uri = rest
			}
		}
		if uri == "" {
			return nil
		}
		method, scheme, host = v.r.Method, v.g.scheme(), v.r.Host
	case !page && !slices.Contains(verifyPaths, path):
		return nil
	default:
		v.page = page
		method, scheme, host, uri, err = kind.original(v.r.Header)
	}
	v.proxy = p
	if !v.page {
		v.w.ResponseWriter = &verdict{ResponseWriter: v.w.ResponseWriter, bare: kind.Bare}
	}
	if v.r.Header["X-Forwarded-For"] == nil {
		// The person would be taken for the proxy, which some rule may favour.
		err = errors.Join(err, errors.New("X-Forwarded-For is not there"))
	}
	// The server still has the question to answer, with a body even where that asks
	// about HEAD: so it is left as it is.
	v.r = v.r.WithContext(v.r.Context())
	if err := v.instead(method, scheme, host, uri, err); err != nil {
		return err
	}
	v.r.TLS, v.r.Body, v.r.ContentLength = nil, http.NoBody, 0 // those were of the question
	return nil
}

// instead puts a request of these parts in the place of the question that described
// it, unless the question is not as it should be.
func (v *visit) instead(method, scheme, host, uri string, err error) error {
	if err != nil {
		return refusal{code: ReasonQuestion, detail: "proxy " + v.proxy.ID + ": " + err.Error()}
	}
	if scheme != v.g.scheme() {
		return refusal{code: ReasonQuestion, detail: fmt.Sprintf("proxy %s asks about an address with %s", v.proxy.ID, scheme)}
	}
	u, err := url.ParseRequestURI(uri)
	if err != nil || uri[0] != '/' || strings.ContainsFunc(uri, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return refusal{code: ReasonQuestion, detail: fmt.Sprintf("proxy %s asks about %q, which is no path", v.proxy.ID, uri)}
	}
	v.r.Method, v.r.Host, v.r.URL, v.r.RequestURI = method, host, u, uri
	return nil
}

// original is the request that a question describes. Each part must be there
// exactly once.
func (k ProxyKind) original(h http.Header) (method, scheme, host, uri string, err error) {
	one := func(name string) string {
		vals := h[name]
		if len(vals) != 1 || vals[0] == "" {
			err = errors.Join(err, fmt.Errorf("%s is there %d times", name, len(vals)))
			return ""
		}
		return vals[0]
	}
	method = one(k.Method)
	if k.URL == "" {
		scheme, host, uri = one(k.Scheme), one(k.Host), one(k.URI)
		switch scheme { // how some tell of a WebSocket
		case "ws":
			scheme = "http"
		case "wss":
			scheme = "https"
		}
		return method, scheme, host, uri, err
	}
	scheme, rest, _ := strings.Cut(one(k.URL), "://")
	if at := strings.IndexByte(rest, '/'); at > 0 {
		return method, scheme, rest[:at], rest[at:], err
	}
	return "", "", "", "", errors.Join(err, fmt.Errorf("%s is no address with a path", k.URL))
}

// approve answers a proxy that this request may pass, with what its service is
// to receive: the headers about the person, and what is left of the client's
// cookies and Authorization without what is ours. The proxy takes all of them
// from here, also those that are missing.
func (v *visit) approve() {
	r, s := v.r, v.service
	if s.Handler != nil {
		v.refuse(refusal{code: ReasonPathUnknown, detail: s.ID + " is served by the gateway itself"})
		return
	}
	// Upgrade itself does not reach us by every proxy; a WebSocket has this too.
	if r.Header["Sec-Websocket-Key"] != nil || httpguts.HeaderValuesContainsToken(r.Header["Upgrade"], "websocket") {
		if s.NoWebSocket || v.foreign() {
			v.refuse(foreignSocket(r))
			return
		}
	}
	if v.page { // what was refused a moment ago may pass now
		v.redirect(v.here())
		return
	}
	h := v.w.Header()
	if v.checks != nil {
		h = v.checks.give(v)
	}
	// What is not said is said to be empty: a proxy that copies only what is there
	// would leave what the client sent, or write a word of its own.
	for _, name := range []string{"Cookie", "Authorization", "X-Gatehouse-Provisioned"} {
		h[name] = nothing
	}
	for _, name := range s.names {
		h[name] = nothing
	}
	jwt, err := v.ready.jwt(r.Context())
	if err != nil {
		v.refuse(err)
		return
	}
	for text, i := jwt.text(), 0; i < len(s.tokens); i++ {
		h[s.tokens[i]] = text
	}
	v.ready.headers(func(name string, values []string) { h[name] = values })
	if state := v.provisioned(); state != "" {
		h["X-Gatehouse-Provisioned"] = []string{state}
	}
	if rest := withoutOurs(r.Header["Cookie"]); rest != "" {
		h["Cookie"] = []string{rest}
	}
	if auth := r.Header["Authorization"]; auth != nil && s.KeepAuthorization {
		h["Authorization"] = auth
	}
	v.w.Header()["Cache-Control"] = noStore
	v.w.ResponseWriter.(*verdict).yes = true // question put it there
	v.w.WriteHeader(http.StatusOK)
}

var noStore, nothing = []string{"no-store"}, []string{""}

// A verdict is an answer to a proxy that lets pass what gets a 2xx. Only what was
// meant to say yes is one, so that no page by mistake opens a door.
type verdict struct {
	http.ResponseWriter
	bare, yes, said bool
}

func (w *verdict) WriteHeader(st int) {
	w.said = true
	switch {
	case w.yes:
	case st < 300:
		st = http.StatusForbidden
	case w.bare && st < 400:
		st = http.StatusUnauthorized // with the Location of the sign-in
	case w.bare && st != http.StatusUnauthorized:
		st = http.StatusForbidden // anything else is an error to such a proxy
	}
	w.ResponseWriter.WriteHeader(st)
}

func (w *verdict) Write(p []byte) (int, error) {
	if !w.said {
		w.WriteHeader(http.StatusOK)
	}
	return w.ResponseWriter.Write(p)
}

// FlushError is for http.ResponseController. Where nothing is said, a server says 200.
func (w *verdict) FlushError() error {
	if !w.said {
		w.WriteHeader(http.StatusOK)
	}
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// Unwrap is for http.ResponseController.
func (w *verdict) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// checkProxies finds what would make a Proxy ask for nothing.
func checkProxies(list []Proxy) error {
	for i, p := range list {
		if _, ok := ProxyKinds[p.Kind]; !ok {
			return fmt.Errorf("proxy %s: %q is no kind of proxy", p.ID, p.Kind)
		}
		if len(p.From) == 0 {
			return fmt.Errorf("proxy %s: it has no address to ask from", p.ID)
		}
		for _, q := range list[:i] {
			for _, n := range p.From {
				if (q.Kind != p.Kind || !slices.Equal(q.Services, p.Services)) && slices.ContainsFunc(q.From, n.Overlaps) {
					return fmt.Errorf("proxies %s and %s ask from the same addresses, and are of two kinds or before other services", q.ID, p.ID)
				}
			}
		}
	}
	return nil
}
